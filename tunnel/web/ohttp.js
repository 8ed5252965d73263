// SPDX-License-Identifier: Apache-2.0
// Oblivious HTTP (RFC 9458, and its chunked form) for web pages, over the browser's own cryptography: fetches a gateway's keys, believes them only with a
// token of a known verifier and a fresh statement of the key that the token names (docs/ohttp.md), and then asks the server behind the gateway. Whatever
// carries the messages can neither read nor change them.
//
//	const gateway = await open("https://lb.example/.well-known/ohttp-gateway", {jwks, measurements: ["..."]});
//	const answer = await gateway.fetch("https://service.example/v1/answers", {method: "POST", body: "..."});	// a Response; its body comes as it is made

const utf8 = new TextEncoder();
const P256 = 0x0010, HKDF_SHA256 = 1, AEADS = {1: 16, 2: 32};	// AES-128-GCM, AES-256-GCM: how long their keys are
const NONCE = 12, TAG = 16, CHUNK = 16384, PAD = 256, MAX_HEAD = 65536, MAX_DOCUMENT = 1 << 20;
const KEY_PROBLEM = "https://iana.org/assignments/http-problem-types#ohttp-key";

export class Refused extends Error {}

// ---- bytes ----

function join(...parts) {
	const out = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
	let at = 0;
	for (const p of parts) {
		out.set(p, at);
		at += p.length;
	}
	return out;
}

const two = n => new Uint8Array([n >> 8, n & 255]);
const hex = bytes => Array.from(bytes, b => b.toString(16).padStart(2, "0")).join("");

function unbase64(text) {
	if (typeof text !== "string" || !/^[A-Za-z0-9_-]*$/.test(text))
		throw new Refused("malformed base64url");
	return Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), c => c.charCodeAt(0));
}

// An integer of variable length (RFC 9000 section 16).
function number(n) {
	if (n < 64)
		return new Uint8Array([n]);
	if (n < 16384)
		return new Uint8Array([0x40 | n >> 8, n & 255]);
	return new Uint8Array([0x80 | n >>> 24, n >>> 16 & 255, n >>> 8 & 255, n & 255]);	// below 2^30
}

// Takes from the front; undefined: more is needed.
class Reader {
	constructor(bytes) {
		this.bytes = bytes;
		this.at = 0;
	}
	left() {
		return this.bytes.length - this.at;
	}
	number() {
		if (!this.left())
			return undefined;
		const n = 1 << (this.bytes[this.at] >> 6);
		if (this.left() < n)
			return undefined;
		let v = this.bytes[this.at] & 63;
		for (let i = 1; i < n; i++)
			v = v * 256 + this.bytes[this.at + i];
		this.at += n;
		return v;
	}
	take(n) {
		if (n > this.left())
			return undefined;
		this.at += n;
		return this.bytes.subarray(this.at - n, this.at);
	}
}

// ---- HPKE, base mode, sender (RFC 9180) ----

const subtle = globalThis.crypto?.subtle;	// only where the page itself came by a secure way

async function hmac(key, bytes) {
	// A key of zeros is the same as none, which browsers do not take.
	const k = await subtle.importKey("raw", key.length ? key : new Uint8Array(32), {name: "HMAC", hash: "SHA-256"}, false, ["sign"]);
	return new Uint8Array(await subtle.sign("HMAC", k, bytes));
}

const extract = (salt, ikm) => hmac(salt, ikm);
const expand = async (prk, info, n) => (await hmac(prk, join(info, new Uint8Array([1])))).subarray(0, n);	// n <= 32

function labels(suite) {
	const version = utf8.encode("HPKE-v1"), none = new Uint8Array(0);
	return {
		extract: (salt, label, ikm) => extract(salt ?? none, join(version, suite, utf8.encode(label), ikm ?? none)),
		expand: (prk, label, info, n) => expand(prk, join(two(n), version, suite, utf8.encode(label), info), n),
	};
}

async function aeadKey(bytes, use) {
	return subtle.importKey("raw", bytes, "AES-GCM", false, [use]);
}

// Messages under one key, each with the next nonce.
class Sealer {
	constructor(key, nonce) {
		Object.assign(this, {key, nonce, next: 0});
	}
	options(aad) {
		const iv = this.nonce.slice(), v = new DataView(iv.buffer);
		v.setUint32(8, v.getUint32(8) ^ this.next >>> 0);
		if (this.next++ >= 2 ** 32)
			throw new Error("too many messages");
		return {name: "AES-GCM", iv, additionalData: utf8.encode(aad)};
	}
	async seal(aad, bytes) {
		return new Uint8Array(await subtle.encrypt(this.options(aad), this.key, bytes));
	}
	async open(aad, bytes) {
		try {
			return new Uint8Array(await subtle.decrypt(this.options(aad), this.key, bytes));
		} catch {
			throw new Refused("the answer was changed or cut short on its way");
		}
	}
}

// `ephemeral`: only for tests of vectors.
export async function hpkeSender(publicKey, aead, info, ephemeral) {
	const kem = labels(join(utf8.encode("KEM"), two(P256))), hpke = labels(join(utf8.encode("HPKE"), two(P256), two(HKDF_SHA256), two(aead)));
	const to = await subtle.importKey("raw", publicKey, {name: "ECDH", namedCurve: "P-256"}, true, []);
	const own = ephemeral ?? await subtle.generateKey({name: "ECDH", namedCurve: "P-256"}, false, ["deriveBits"]);
	const enc = new Uint8Array(await subtle.exportKey("raw", own.publicKey));
	const dh = new Uint8Array(await subtle.deriveBits({name: "ECDH", public: to}, own.privateKey, 256));
	const shared = await kem.expand(await kem.extract(null, "eae_prk", dh), "shared_secret", join(enc, publicKey), 32);
	const context = join(new Uint8Array([0]), await hpke.extract(null, "psk_id_hash"), await hpke.extract(null, "info_hash", info));
	const secret = await hpke.extract(shared, "secret");
	const key = await aeadKey(await hpke.expand(secret, "key", context, AEADS[aead]), "encrypt");
	const exporter = await hpke.expand(secret, "exp", context, 32);
	const nonce = await hpke.expand(secret, "base_nonce", context, NONCE);
	return {enc, sealer: new Sealer(key, nonce), export: (label, n) => hpke.expand(exporter, "sec", utf8.encode(label), n)};
}

// ---- keys and what vouches for them ----

// application/ohttp-keys: the first with P-256 and an AEAD that browsers have.
export function readKeys(list) {
	const all = new Reader(list);
	let found;
	while (all.left()) {
		const head = all.take(2), one = head && all.take(head[0] << 8 | head[1]);
		if (!one)
			throw new Refused("the gateway's keys are cut short");
		const r = new Reader(one), id = r.take(1), kem = r.take(2);
		if (!id || !kem || (kem[0] << 8 | kem[1]) !== P256)
			continue;
		const key = r.take(65), size = r.take(2), suites = size && r.take(size[0] << 8 | size[1]);
		if (!key || !suites || r.left() || suites.length % 4)
			throw new Refused("the gateway's keys are malformed");
		for (let i = 0; i < suites.length && !found; i += 4) {
			const aead = suites[i + 2] << 8 | suites[i + 3];
			if ((suites[i] << 8 | suites[i + 1]) === HKDF_SHA256 && AEADS[aead])
				found = {id: id[0], key: key.slice(), aead};
		}
	}
	if (!found)
		throw new Refused("the gateway has no key for browsers (P-256 with AES-GCM)");
	return found;
}

function part(text) {
	return JSON.parse(new TextDecoder("utf-8", {fatal: true}).decode(unbase64(text)));
}

// The body of a token that this key signed (ES256).
async function openToken(token, find) {
	const parts = typeof token === "string" ? token.split(".") : [];
	if (parts.length !== 3)
		throw new Refused("no token");
	const header = part(parts[0]);
	if (header.alg !== "ES256")
		throw new Refused("a token that is not signed with ES256");
	const key = await find(header);
	if (!await subtle.verify({name: "ECDSA", hash: "SHA-256"}, key, unbase64(parts[2]), utf8.encode(parts[0] + "." + parts[1])))
		throw new Refused("a token with a wrong signature");
	return part(parts[1]);
}

const importPublic = jwk => subtle.importKey("jwk", {kty: jwk.kty, crv: jwk.crv, x: jwk.x, y: jwk.y}, {name: "ECDSA", namedCurve: "P-256"}, false, ["verify"]);

// The gateway's keys in a document that it gave for this nonce; Refused says what is wrong. `now`: seconds.
export async function checkDocument(doc, nonce, {jwks, measurements, insecureSimulated = false}, now) {
	if (doc?.version !== 1)
		throw new Refused("not the attested keys of a gateway");
	if (!doc.token)
		throw new Refused("the gateway shows evidence, which a page cannot check: let it show a broker's token");
	const claims = await openToken(doc.token, header => {
		const known = jwks.keys.filter(k => k.kty === "EC" && k.crv === "P-256" && (header.kid === undefined ? jwks.keys.length === 1 : k.kid === header.kid));
		if (known.length !== 1)
			throw new Refused("a token that none of the known keys signed");
		return importPublic(known[0]);
	});
	if (!(claims.exp > now))
		throw new Refused("an expired token");
	const cpu = claims.submods?.cpu0, evidence = cpu?.["ear.veraison.annotated-evidence"];
	if (!evidence || (cpu["ear.status"] !== "affirming" && !insecureSimulated))
		throw new Refused("a token that does not affirm the hardware");
	if (!measurements.includes(evidence.measurement))
		throw new Refused(`a gateway in another enclave: measurement ${evidence.measurement}`);
	const said = await openToken(doc.proof, header => {
		if (header.typ !== "coffer-ohttp-keys+jwt")
			throw new Refused("a statement about something else");
		return importPublic(claims["tee-pubkey"] ?? {});
	});
	const list = unbase64(doc.keys), digest = hex(new Uint8Array(await subtle.digest("SHA-256", list)));
	if (said["ohttp-keys"] !== digest)
		throw new Refused("keys that the enclave did not vouch for");
	if (said.nonce !== nonce)
		throw new Refused("an old statement about the keys");
	if (!(said.exp > now))
		throw new Refused("an expired statement about the keys");
	return {...readKeys(list), claims: evidence, until: Math.min(claims.exp, said.exp)};
}

// ---- binary HTTP (RFC 9292) ----

const text = t => {
	const bytes = utf8.encode(t);
	return join(number(bytes.length), bytes);
};

export function writeRequest(method, url, headers, body) {
	const u = new URL(url);
	const fields = [...headers].map(([name, value]) => join(text(name.toLowerCase()), text(value)));
	const section = join(...fields);
	const control = [text(method), text(u.protocol.slice(0, -1)), text(u.host), text(u.pathname + u.search)];
	const plain = join(number(0), ...control, number(section.length), section, number(body.length), body, number(0));
	return join(plain, new Uint8Array((PAD - plain.length % PAD) % PAD));	// zeros behind the end hide small differences in length
}

// The head of a response at the front of these bytes, or undefined: more is needed.
function readHead(bytes, ended) {
	const r = new Reader(bytes), framing = r.number();
	if (framing === undefined)
		return undefined;
	if (framing !== 1 && framing !== 3)
		throw new Refused("not a binary HTTP response");
	const known = framing === 1;
	for (;;) {
		const status = r.number();
		if (status === undefined)
			return undefined;
		if (status < 100 || status > 599)
			throw new Refused("a response without a proper status");
		const headers = new Headers();
		if (!(ended && !r.left())) {
			let fields = r;
			if (known) {
				const size = r.number(), section = size === undefined ? undefined : r.take(size);
				if (!section)
					return undefined;
				fields = new Reader(section);
			}
			while (!known || fields.left()) {
				const n = fields.number();
				if (n === 0 && !known)
					break;
				const name = n ? fields.take(n) : undefined, m = name && fields.number();
				const value = m === undefined ? undefined : fields.take(m);
				if (!value) {
					if (known)
						throw new Refused("a malformed field");
					return undefined;
				}
				headers.append(new TextDecoder().decode(name), new TextDecoder("latin1").decode(value));
			}
		}
		if (status >= 200)
			return {status, headers, known, used: r.at};
	}
}

// Takes opened bytes and hands on the head and the content.
class ResponseReader {
	constructor(onHead, onContent) {
		Object.assign(this, {onHead, onContent, bytes: new Uint8Array(0), head: undefined, left: 0, pieces: 0, over: false});
	}
	add(more, ended) {
		this.bytes = join(this.bytes, more);
		if (!this.head) {
			this.head = readHead(this.bytes, ended);
			if (!this.head) {
				if (ended || this.bytes.length > MAX_HEAD)
					throw new Refused("a response whose head is cut short, or too long");
				return;
			}
			this.bytes = this.bytes.slice(this.head.used);
			this.onHead(this.head);
		}
		while (!this.over && this.step(ended))
			;
		if (ended && !this.over)
			throw new Refused("a response that is cut short");
	}
	step(ended) {
		const r = new Reader(this.bytes);
		if (!this.left) {
			if (this.head.known && this.pieces || (ended && !r.left() && !this.pieces)) {
				this.over = true;
				return false;
			}
			const n = r.number();
			if (n === undefined)
				return false;
			this.left = n;
			this.over = n === 0;
			this.pieces += n !== 0;
		}
		const n = Math.min(this.left, r.left());
		if (n)
			this.onContent(r.take(n).slice());
		this.left -= n;
		this.bytes = this.bytes.slice(r.at);
		if (this.head.known && this.pieces && !this.left)
			this.over = true;
		return n > 0;
	}
}

// ---- OHTTP ----

// The request sealed in chunks, and what opens the answer.
export async function encapsulate(keys, plain, ephemeral) {
	const header = join(new Uint8Array([keys.id]), two(P256), two(HKDF_SHA256), two(keys.aead));
	const h = await hpkeSender(keys.key, keys.aead, join(utf8.encode("message/bhttp chunked request\0"), header), ephemeral);
	const parts = [header, h.enc];
	let at = 0;
	for (; plain.length - at > CHUNK; at += CHUNK)
		parts.push(number(CHUNK + TAG), await h.sealer.seal("", plain.subarray(at, at + CHUNK)));
	parts.push(number(0), await h.sealer.seal("final", plain.subarray(at)));
	const entropy = Math.max(NONCE, AEADS[keys.aead]);
	return {request: join(...parts), entropy, async answer(nonce) {
		const prk = await extract(join(h.enc, nonce), await h.export("message/bhttp chunked response", entropy));
		const key = await aeadKey(await expand(prk, utf8.encode("key"), AEADS[keys.aead]), "decrypt");
		return new Sealer(key, await expand(prk, utf8.encode("nonce"), NONCE));
	}};
}

// Reads the gateway's answer from the relay's stream; gives a Response as soon as its head is there.
function openAnswer(stream, x) {
	return new Promise((resolve, reject) => {
		let out, opener, settled = false, bytes = new Uint8Array(0);
		const body = new ReadableStream({start: c => { out = c; }});
		const onHead = head => {
			settled = true;
			for (const name of ["content-length", "content-encoding"])	// the browser would believe them of the body, which is open already
				head.headers.delete(name);
			resolve(new Response([204, 205, 304].includes(head.status) ? null : body, {status: head.status, headers: head.headers}));
		};
		const reader = new ResponseReader(onHead, piece => out.enqueue(piece));
		const chunks = async ended => {
			if (!opener) {
				if (bytes.length < x.entropy)
					return false;
				opener = await x.answer(bytes.slice(0, x.entropy));
				bytes = bytes.slice(x.entropy);
			}
			for (;;) {
				const r = new Reader(bytes), n = r.number();
				if (n === undefined || (n === 0 && !ended))
					return false;
				const sealed = n === 0 ? r.take(r.left()) : r.take(n);
				if (!sealed)
					return false;
				const last = n === 0;
				reader.add(await opener.open(last ? "final" : "", sealed), last);
				bytes = bytes.slice(r.at);
				if (last)
					return true;
			}
		};
		(async () => {
			const source = stream.getReader();
			for (;;) {
				const {value, done} = await source.read();
				if (value)
					bytes = join(bytes, value);
				const over = await chunks(done);
				if (done && !over)
					throw new Refused("the answer was changed or cut short on its way");
				if (done)
					break;
			}
			out.close();
		})().catch(e => {
			if (settled)
				out.error(e);
			else
				reject(e);
		});
	});
}

class Gateway {
	constructor(url, trust) {
		Object.assign(this, {url: url.replace(/\/$/, ""), trust, keys: undefined, until: 0});
	}

	// New keys when there are none, or they are old.
	async refresh() {
		const now = Date.now() / 1000;
		if (this.keys && now < this.until)
			return this.keys;
		const nonce = hex(crypto.getRandomValues(new Uint8Array(32)));
		const reply = await fetch(`${this.url}/attested?nonce=${nonce}`, {credentials: "omit", cache: "no-store"});
		if (!reply.ok)
			throw new Refused(`the gateway gives no attested keys (status ${reply.status})`);
		const document = await reply.text();
		if (document.length > MAX_DOCUMENT)
			throw new Refused("the gateway's document is too long");
		this.keys = await checkDocument(JSON.parse(document), nonce, this.trust, now);
		this.until = Math.min(now + 300, this.keys.until);
		return this.keys;
	}

	// What is known of the enclave: the verifier's claims.
	get claims() {
		return this.keys?.claims;
	}

	async fetch(input, init = {}) {
		const request = new Request(input, {...init, credentials: "omit"});
		const body = new Uint8Array(await request.arrayBuffer());
		const plain = writeRequest(request.method, request.url, request.headers, body);
		for (let again = request.method === "GET" || request.method === "HEAD"; ; again = false) {
			const x = await encapsulate(await this.refresh(), plain);
			const headers = {"content-type": "message/ohttp-chunked-req"};
			const reply = await fetch(this.url, {method: "POST", headers, body: x.request, credentials: "omit", cache: "no-store", signal: init.signal});
			const type = reply.headers.get("content-type");
			if (reply.status === 200 && type === "message/ohttp-chunked-res")
				return openAnswer(reply.body, x);
			if (reply.status !== 400 || type !== "application/problem+json" || (await reply.json()).type !== KEY_PROBLEM)
				throw new Refused(`no answer of the gateway: what stands before it says status ${reply.status}`);
			// That the key was wrong is the relay's word: only what may be done twice is tried twice.
			this.until = 0;
			if (!again)
				throw new Refused("the gateway has new keys: try again");
		}
	}
}

// trust: {jwks: the verifier's keys, pinned; measurements: of the enclaves that are meant, hex}. Fetches and checks the gateway's keys.
export async function open(url, trust) {
	if (!subtle)
		throw new Refused("this page came by an insecure way: the browser gives it no cryptography (https, or localhost)");
	if (!trust?.jwks?.keys?.length || !trust.measurements?.length)
		throw new Refused("whom to believe must be said: jwks and measurements");
	const g = new Gateway(url, trust);
	await g.refresh();
	return g;
}
