// SPDX-License-Identifier: Apache-2.0
// Requests to the broker: with the admin token, or signed with a private key (docs/identity.md) that this page can use but not read.
const encoder = new TextEncoder();
let token = null, key = null;

const base64 = bytes => btoa(String.fromCharCode(...new Uint8Array(bytes)));
const base64url = bytes => base64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
export const fromBase64 = text => Uint8Array.from(atob(text), c => c.charCodeAt(0));

export function leave() {
	token = null;
	key = null;
}

export function useToken(text) {
	leave();
	token = text.trim();
	if (!/^[0-9a-f]{64}$/.test(token))
		throw new Error("The admin token is 64 hexadecimal digits: what admin.token in the broker's folder holds.");
}

const includes = (bytes, part) => bytes.some((_, at) => part.every((b, i) => bytes[at + i] === b));

// Imported twice: once to compute its name (a thumbprint of the public half), then as a key that cannot be taken out.
export async function useKey(pem) {
	leave();
	const found = /-----BEGIN PRIVATE KEY-----([A-Za-z0-9+/=\s]+)-----END PRIVATE KEY-----/.exec(pem);
	if (!found)
		throw new Error(pem.includes("ENCRYPTED") ? "This key is encrypted with a passphrase, which a browser cannot open: use coffer, or a key without one."
			: "This file holds no private key (PKCS#8, PEM).");
	const der = fromBase64(found[1].replace(/\s/g, ""));
	const edwards = includes(der, [0x06, 0x03, 0x2b, 0x65, 0x70]);
	const kind = edwards ? {name: "Ed25519"} : {name: "ECDSA", namedCurve: "P-256"};
	const jwk = await crypto.subtle.exportKey("jwk", await crypto.subtle.importKey("pkcs8", der, kind, true, ["sign"]));
	const names = edwards ? {crv: jwk.crv, kty: jwk.kty, x: jwk.x} : {crv: jwk.crv, kty: jwk.kty, x: jwk.x, y: jwk.y};
	const id = base64url(await crypto.subtle.digest("SHA-256", encoder.encode(JSON.stringify(names))));
	const handle = await crypto.subtle.importKey("pkcs8", der, kind, false, ["sign"]);
	der.fill(0);
	key = {handle, id, edwards};
}

async function signature(method, path, query) {
	const parameters = `("@method" "@authority" "@path" "@query");created=${Math.floor(Date.now() / 1000)};` +
		`nonce="${base64url(crypto.getRandomValues(new Uint8Array(18)))}";keyid="${key.id}";` +
		`alg="${key.edwards ? "ed25519" : "ecdsa-p256-sha256"}";tag="coffer"`;
	const text = `"@method": ${method}\n"@authority": ${location.host.toLowerCase().replace(/:443$/, "")}\n"@path": ${path}\n` +
		`"@query": ?${query}\n"@signature-params": ${parameters}`;
	const kind = key.edwards ? {name: "Ed25519"} : {name: "ECDSA", hash: "SHA-256"};
	const bytes = await crypto.subtle.sign(kind, key.handle, encoder.encode(text));
	return {"Signature-Input": `sig=${parameters}`, "Signature": `sig=:${base64(bytes)}:`};
}

export class Refused extends Error {
	constructor(status, text) {
		super(text);
		this.status = status;
	}
}

// The broker's own words, and each failed check.
async function refusal(reply) {
	let text = `The broker answers ${reply.status}.`;
	try {
		const o = await reply.json();
		text = `${o.title ?? reply.status}: ${o.detail ?? "no reason given"}`;
		for (const r of o.refusals ?? [])
			text += `\n${r.claim}: expected ${r.expected}, found ${r.found}`;
	} catch { /* no JSON: the status says it */ }
	return new Refused(reply.status, text);
}

async function get(path, query = "") {
	const headers = token ? {"Authorization": `Bearer ${token}`} : key ? await signature("GET", path, query) : {};
	let reply;
	try {
		reply = await fetch(query ? `${path}?${query}` : path, {headers, cache: "no-store", credentials: "omit", redirect: "error"});
	} catch {
		throw new Refused(0, "The broker does not answer: is it running, and is its certificate accepted by this browser?");
	}
	if (!reply.ok)
		throw await refusal(reply);
	return reply;
}

export const json = async (path, query) => (await get(path, query)).json();
export const text = async (path, query) => (await get(path, query)).text();
export const bytes = async (path, query) => new Uint8Array(await (await get(path, query)).arrayBuffer());
