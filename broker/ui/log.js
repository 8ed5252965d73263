// SPDX-License-Identifier: Apache-2.0
// The audit log: reading records, and proving in this browser that one is in it (RFC 9162, section 2.1.3.2).
import {bytes, fromBase64, json, text} from "./ask.js";

const root = "/coffer/v0/audit/";
const encoder = new TextEncoder();
const known = new Map();

export function forget() {
	known.clear();
}

// A signed tree head: three lines, an empty one, signatures.
function parseHead(note) {
	const end = note.indexOf("\n\n");
	const [origin, size, hash] = note.slice(0, end).split("\n");
	const signatures = note.slice(end + 2).split("\n").filter(l => l.startsWith("\u2014 ")).map(l => {
		const [, name, value] = l.split(" ");
		return {name, bytes: fromBase64(value)};
	});
	if (end < 0 || !/^\d+$/.test(size))
		throw new Error("The broker's tree head cannot be read.");
	return {origin, size: Number(size), root: fromBase64(hash), body: encoder.encode(note.slice(0, end + 1)), signatures};
}

export const head = async () => parseHead(await text(root + "head"));

// Records [from, to) as {index, line, record}; those that the broker shows empty are not for this caller, and left out.
export async function records(from, to) {
	let at = from;
	while (at < to) {
		if (known.has(at)) {
			at++;
			continue;
		}
		const lines = (await text(root + "records", `from=${at}&to=${to}`)).split("\n").filter(l => l && !l.startsWith("= "));
		if (!lines.length)
			break;
		for (const line of lines) {
			let record;
			try {
				record = JSON.parse(line);
			} catch {
				record = {event: "unreadable"};
			}
			known.set(at, {index: at, line, record});
			at++;
		}
	}
	const list = [];
	for (let i = from; i < to; i++) {
		if (known.has(i) && known.get(i).record.event)
			list.push(known.get(i));
	}
	return list;
}

async function hash(...parts) {
	const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
	let at = 0;
	for (const p of parts) {
		all.set(p, at);
		at += p.length;
	}
	return new Uint8Array(await crypto.subtle.digest("SHA-256", all));
}

const same = (a, b) => a.length === b.length && a.every((x, i) => x === b[i]);

async function fold(leaf, index, size, path) {
	const zero = Uint8Array.of(0), one = Uint8Array.of(1);
	let fn = BigInt(index), sn = BigInt(size) - 1n, r = await hash(zero, leaf);
	for (const p of path) {
		if (sn === 0n)
			return null;
		if (fn & 1n || fn === sn) {
			r = await hash(one, p, r);
			while (!(fn & 1n) && fn !== 0n) {
				fn >>= 1n;
				sn >>= 1n;
			}
		} else {
			r = await hash(one, r, p);
		}
		fn >>= 1n;
		sn >>= 1n;
	}
	return sn === 0n ? r : null;
}

// NAME+ID+BASE64 of 1 and the Ed25519 key
async function signedBy(h, line) {
	const parts = /^([^+\s]+)\+[0-9a-f]{8}\+(\S+)$/.exec(line.trim());
	const raw = parts && fromBase64(parts[2]);
	if (!raw || raw.length !== 33 || raw[0] !== 1)
		throw new Error("The log's public key cannot be read: NAME+ID+BASE64, as in audit.pub.");
	const key = await crypto.subtle.importKey("raw", raw.slice(1), {name: "Ed25519"}, false, ["verify"]);
	for (const s of h.signatures) {
		if (s.name === parts[1] && await crypto.subtle.verify({name: "Ed25519"}, key, s.bytes.slice(4), h.body))
			return true;
	}
	return false;
}

// What was checked, as lines {good, text}. publicKey: the reader's own copy of audit.pub, or "".
export async function prove(index, publicKey) {
	const h = await head();
	const record = await bytes(root + "record", `index=${index}`);
	const proof = await json(root + "inclusion", `index=${index}&size=${h.size}`);
	const found = await fold(record, index, h.size, proof.hashes.map(fromBase64));
	const lines = [{good: found !== null && same(found, h.root), text: `its hash is in the tree of ${h.size} records that the newest head names`}];
	try {
		lines.push({good: await signedBy(h, publicKey || await text(root + "key")),
			text: publicKey ? "the head is signed with the key that you gave" : "the head is signed with the key that the broker itself gives"});
	} catch (e) {
		lines.push({good: false, text: `the head's signature was not checked: ${e.message}`});
	}
	const shown = known.get(index);
	if (shown)
		lines.push({good: same(encoder.encode(shown.line), record), text: "the record that is shown is the one that was proved"});
	return lines;
}
