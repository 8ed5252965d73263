#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# A client of the KBS protocol 0.4.0, written from the protocol's text and independent of Coffer's code: python3-jwcrypto does its JWE, JWK and
# JWS. It behaves as the guest components do (a request first, a handshake after 401; reports by fields' names; keys on P-256 and P-521, RSA), and
# asserts what it gets from the broker.
#
#	kbs_client.py URL CA SIMULATED-TEE MEASUREMENT RESOURCE SECRET
#
# SIMULATED-TEE is the program that signs reports in SEV-SNP's format. Prints `ok client.NAME` or `not ok client.NAME: why`.
import base64, hashlib, http.client, json, random, ssl, struct, subprocess, sys, urllib.parse
from jwcrypto import jwe, jwk, jws

url, ca, tee_program, measurement, resource, secret = sys.argv[1:]
where = urllib.parse.urlparse(url)
tls = ssl.create_default_context(cafile=ca)
failed = False


def say(name, good, why=""):
    global failed
    failed = failed or not good
    print(f"ok client.{name}" if good else f"not ok client.{name}: {why}", flush=True)


class Kbs:
    """One HTTP session with its cookie jar, as the guest components' client has one."""

    def __init__(self):
        self.http = http.client.HTTPSConnection(where.hostname, where.port, context=tls, timeout=60)
        self.cookies = {}

    def ask(self, method, path, body=None, headers=None):
        h = dict(headers or {})
        if self.cookies:
            h["cookie"] = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
        if body is not None:
            h["content-type"] = "application/json"
            body = body if isinstance(body, (bytes, str)) else json.dumps(body)
        self.http.request(method, path, body, h)
        r = self.http.getresponse()
        for name, value in r.getheaders():
            if name.lower() == "set-cookie":
                k, v = value.split(";")[0].split("=", 1)
                self.cookies[k] = v
        text = r.read()
        return r.status, json.loads(text) if text else None


def report(data):
    q = bytes.fromhex(measurement) + data + struct.pack("<BB", 0, 0)
    # struct simtee_answer: error, report, a key that is not asked for, the length of the chain, the chain
    out = subprocess.run([tee_program], input=q, stdout=subprocess.PIPE, check=True).stdout
    error, = struct.unpack_from("<i", out)
    assert error == 0, error
    pem = out[1232:].decode()
    certs = [ssl.PEM_cert_to_DER_cert(c + "-----END CERTIFICATE-----\n") for c in pem.split("-----END CERTIFICATE-----\n") if "BEGIN" in c]
    return out[4:4 + 1184], certs


def by_fields(r):
    """As sev's AttestationReport is serialised."""
    def n(at, size):
        return int.from_bytes(r[at:at + size], "little")

    def tcb(at):
        return {"fmc": None, "bootloader": r[at], "tee": r[at + 1], "snp": r[at + 6], "microcode": r[at + 7]}

    def version(at):
        return {"major": r[at + 2], "minor": r[at + 1], "build": r[at]}
    return {
        "version": n(0, 4), "guest_svn": n(4, 4), "policy": n(8, 8), "family_id": list(r[0x10:0x20]), "image_id": list(r[0x20:0x30]),
        "vmpl": n(0x30, 4), "sig_algo": n(0x34, 4), "current_tcb": tcb(0x38), "plat_info": n(0x40, 8), "key_info": n(0x48, 4),
        "report_data": list(r[0x50:0x90]), "measurement": list(r[0x90:0xc0]), "host_data": list(r[0xc0:0xe0]),
        "id_key_digest": list(r[0xe0:0x110]), "author_key_digest": list(r[0x110:0x140]), "report_id": list(r[0x140:0x160]),
        "report_id_ma": list(r[0x160:0x180]), "reported_tcb": tcb(0x180), "cpuid_fam_id": None, "cpuid_mod_id": None, "cpuid_step": None,
        "chip_id": list(r[0x1a0:0x1e0]), "committed_tcb": tcb(0x1e0), "current": version(0x1e8), "committed": version(0x1ec),
        "launch_tcb": tcb(0x1f0), "launch_mit_vector": None, "current_mit_vector": None,
        "signature": {"r": list(r[0x2a0:0x2e8]), "s": list(r[0x2e8:0x330])},
    }


def in_order(o):
    return {k: in_order(o[k]) for k in sorted(o)} if isinstance(o, dict) else o


def shuffled(o):
    if isinstance(o, dict):
        items = list(o.items())
        random.shuffle(items)
        return {k: shuffled(v) for k, v in items}
    return [shuffled(v) for v in o] if isinstance(o, list) else o


def new_key(kind):
    if kind == "RSA":
        key = jwk.JWK.generate(kty="RSA", size=2048)
        public = {k: v for k, v in key.export_public(as_dict=True).items() if k in ("kty", "n", "e")}
        return key, {**public, "alg": "RSA-OAEP-256"}
    key = jwk.JWK.generate(kty="EC", crv=kind)
    public = {k: v for k, v in key.export_public(as_dict=True).items() if k in ("kty", "crv", "x", "y")}
    return key, {**public, "alg": "ECDH-ES+A256KW"}


def handshake(k, public, form="fields", data="numbers", extra=None, nonce=True, mix=False):
    status, challenge = k.ask("POST", "/kbs/v0/auth", {
        "version": "0.4.0", "tee": "snp", "extra-params": {"supported-hash-algorithms": ["sha256", "sha384", "sha512"]}})
    assert status == 200, challenge
    assert challenge["extra-params"].get("selected-hash-algorithm", "sha384").lower() == "sha384"
    assert len(base64.b64decode(challenge["nonce"], validate=True)) == 32
    runtime = {"nonce": challenge["nonce"], "tee-pubkey": public}
    # RFC 8785 for objects of ASCII text: sorted, nothing between.
    bound = json.dumps({**runtime, "additional-evidence": ""}, sort_keys=True, separators=(",", ":")).encode()
    r, certs = report(hashlib.sha384(bound).digest() + bytes(16))
    code = (lambda b: base64.b64encode(b).decode()) if data == "base64" else list
    chain = [{"cert_type": t, "data": code(c)} for t, c in zip(("VCEK", "ASK", "ARK"), certs)]
    evidence = {"attestation_report": by_fields(r) if form == "fields" else base64.b64encode(r).decode(), "cert_chain": chain}
    if not nonce:
        del runtime["nonce"]
    body = {"runtime-data": runtime, "tee-evidence": {"primary_evidence": evidence, "additional_evidence": ""}, **(extra or {})}
    if mix:
        random.shuffle(chain)
        body = shuffled(body)
    return k.ask("POST", "/kbs/v0/attest", body), body


def opened(key, answer):
    o = jwe.JWE()
    o.deserialize(json.dumps(answer), key)
    header = json.loads(base64.urlsafe_b64decode(answer["protected"] + "=="))
    # Guest components read the header into a struct and authenticate what they write from that: "alg", "enc", then the others in order.
    again = json.dumps({"alg": header["alg"], "enc": header["enc"], **{k: in_order(header[k]) for k in sorted(header)}}, separators=(",", ":"))
    assert base64.urlsafe_b64encode(again.encode()).decode().rstrip("=") == answer["protected"], "a header that cannot be written again: " + again
    # Base64url without padding, all of it, and no member that would be part of what is authenticated.
    assert all("=" not in answer[m] for m in ("protected", "encrypted_key", "iv", "ciphertext", "tag")) and "aad" not in answer, answer
    return o.payload.decode(), header


def get(k, key, headers=None):
    status, answer = k.ask("GET", "/kbs/v0/resource/" + resource, None, headers)
    return opened(key, answer) if status == 200 else (f"{status} {answer}", {})


def attempt(name, kind="P-256", **variant):
    try:
        k = Kbs()
        key, public = new_key(kind)
        (status, answer), _ = handshake(k, public, **variant)
        plain, header = get(k, key) if status == 200 else (f"{status} {answer}", {})
        right = "RSA-OAEP-256" if kind == "RSA" else "ECDH-ES+A256KW"
        say(name, plain == secret and header == {**header, "alg": right, "enc": "A256GCM"} and ("epk" in header) == (kind != "RSA"), plain)
        return k, key, answer
    except Exception as e:  # a test program says what went wrong and goes on
        say(name, False, repr(e))
        return None, None, None


# As the guest components begin: the resource first, the handshake when that is 401.
k = Kbs()
status, answer = k.ask("GET", "/kbs/v0/resource/" + resource)
say("asked_first", status == 401 and isinstance(answer["type"], str) and isinstance(answer["detail"], str), f"{status} {answer}")
key, public = new_key("P-256")
(status, answer), body = handshake(k, public)
say("after_401", status == 200 and get(k, key)[0] == secret, f"{status} {answer}")
status, answer = k.ask("POST", "/kbs/v0/attest", body)
say("nonce_once", status == 401 and isinstance(answer["type"], str), f"{status} {answer}")

attempt("p256")
attempt("p384", "P-384")
attempt("p521", "P-521")
attempt("rsa", "RSA")
attempt("report_base64", form="base64")
attempt("certificates_base64", data="base64")
attempt("any_order", mix=True)
attempt("unknown_members", extra={"init-data": None, "later": {"version": 9}})
attempt("no_nonce_repeated", nonce=False)

# The passport: the token verified with the published keys, by another library.
k, key, answer = attempt("for_a_token")
if answer:
    try:
        status, keys = Kbs().ask("GET", "/.well-known/jwks.json")
        token = jws.JWS()
        token.deserialize(answer["token"])
        header = token.jose_header
        mine = [jwk.JWK(**{m: v for m, v in o.items() if m != "alg"}) for o in keys["keys"] if o["kid"] == header["kid"]][0]
        token.verify(mine)
        claims = json.loads(token.payload)
        say("token_verified", header["alg"] == "ES256" and mine.thumbprint() == header["kid"] and claims["exp"] - claims["iat"] == 300 and
            claims["submods"]["cpu0"]["ear.veraison.annotated-evidence"]["measurement"] == measurement, str(claims)[:300])
        say("token_names_the_key", jwk.JWK(**{m: v for m, v in claims["tee-pubkey"].items() if m != "alg"}).thumbprint() == key.thumbprint())
        plain, _ = get(Kbs(), key, {"authorization": "Bearer " + answer["token"]})
        say("token_as_bearer", plain == secret, plain)
    except Exception as e:
        say("token_verified", False, repr(e))

for version, good in (("0.4.0", True), ("0.4.1", True), ("0.1.1", False), ("0.3.0", False), ("1.0.0", False)):
    status, answer = Kbs().ask("POST", "/kbs/v0/auth", {"version": version, "tee": "snp", "extra-params": ""})
    say(f"version_{version}", status == 200 if good else status == 400 and "0.4" in answer["detail"], f"{status} {answer}")
for tee, good in (("az-snp-vtpm", True), ("azsnpvtpm", True), ("aztdxvtpm", True), ("tpm", True), ("se", False), ("sample", False)):
    status, answer = Kbs().ask("POST", "/kbs/v0/auth", {"version": "0.4.0", "tee": tee, "extra-params": {}})
    say(f"named_{tee}", status == 200 if good else status == 400 and tee in answer["detail"], f"{status} {answer}")
weak = jwk.JWK.generate(kty="RSA", size=1024).export_public(as_dict=True)
(status, answer), _ = handshake(Kbs(), {"kty": "RSA", "n": weak["n"], "e": weak["e"], "alg": "RSA-OAEP-256"})
say("weak_rsa", status == 400 and "2048" in answer["detail"], f"{status} {answer}")
(status, answer), _ = handshake(Kbs(), {**new_key("RSA")[1], "alg": "RSA1_5"})
say("old_padding", status == 400 and "RSA-OAEP-256" in answer["detail"], f"{status} {answer}")
sys.exit(failed)
