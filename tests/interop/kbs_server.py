#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# A small key broker as Trustee is one, written from the KBS protocol's text and independent of Coffer's code (python3-cryptography, jwcrypto): the
# enclave's init fetches a volume's key from it. As strict as Trustee: the version exactly 0.4.0, the report by its fields' names, certificates as
# lists of numbers, errors of RFC 7807 with status 401.
#
#	kbs_server.py DIR ROOT.pem VOLUME-ID KEY-FILE MODE
#
# Writes DIR/cert.pem and DIR/url. MODE: trustee (JWE by hand, as Trustee writes it), jwcrypto, padded (base64url with padding), deny, old (0.1.1
# only), wrong-key (a JWE for somebody else).
import base64, datetime, hashlib, http.server, ipaddress, json, os, ssl, subprocess, sys, uuid
from cryptography import x509
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from jwcrypto import jwe, jwk

folder, root, volume, key_file, mode = sys.argv[1:]
volume_key = open(key_file, "rb").read()
if len(volume_key) != 32:
    volume_key = bytes.fromhex(volume_key.decode().strip())
sessions = {}


def problem(name, detail):
    return 401, {"type": "https://github.com/confidential-containers/kbs/errors/" + name, "detail": detail}, None


def report_of(o):
    """The bytes of a report from its fields, each of which must be there, as a deserialiser of a struct wants it."""
    r = bytearray(1184)

    def number(name, at, size, of=o):
        r[at:at + size] = of[name].to_bytes(size, "little")

    def array(name, at, size, of=o):
        assert len(of[name]) == size, name
        r[at:at + size] = bytes(of[name])

    for name, at, size in (("version", 0, 4), ("guest_svn", 4, 4), ("policy", 8, 8), ("vmpl", 0x30, 4), ("sig_algo", 0x34, 4), ("plat_info", 0x40, 8),
                           ("key_info", 0x48, 4)):
        number(name, at, size)
    for name, at, size in (("family_id", 0x10, 16), ("image_id", 0x20, 16), ("report_data", 0x50, 64), ("measurement", 0x90, 48), ("host_data", 0xc0, 32),
                           ("id_key_digest", 0xe0, 48), ("author_key_digest", 0x110, 48), ("report_id", 0x140, 32), ("report_id_ma", 0x160, 32),
                           ("chip_id", 0x1a0, 64)):
        array(name, at, size)
    for name, at in (("current_tcb", 0x38), ("reported_tcb", 0x180), ("committed_tcb", 0x1e0), ("launch_tcb", 0x1f0)):
        for part, offset in (("bootloader", 0), ("tee", 1), ("snp", 6), ("microcode", 7)):
            number(part, at + offset, 1, o[name])
        assert o[name]["fmc"] is None
    for name, at in (("current", 0x1e8), ("committed", 0x1ec)):
        for part, offset in (("build", 0), ("minor", 1), ("major", 2)):
            number(part, at + offset, 1, o[name])
    array("r", 0x2a0, 72, o["signature"])
    array("s", 0x2e8, 72, o["signature"])
    for name in ("cpuid_fam_id", "cpuid_mod_id", "cpuid_step", "launch_mit_vector", "current_mit_vector"):
        assert name in o
    return bytes(r)


def verify(evidence, bound):
    r = report_of(evidence["attestation_report"])
    chain = {c["cert_type"]: bytes(c["data"]) for c in evidence["cert_chain"]}
    for name in ("VCEK", "ASK"):
        with open(f"{folder}/{name}.pem", "wb") as f:
            f.write(x509.load_der_x509_certificate(chain[name]).public_bytes(serialization.Encoding.PEM))
    subprocess.run(["openssl", "verify", "-CAfile", root, "-untrusted", f"{folder}/ASK.pem", f"{folder}/VCEK.pem"], check=True, stdout=subprocess.DEVNULL)
    rs = [int.from_bytes(r[at:at + 72], "little") for at in (0x2a0, 0x2e8)]
    x509.load_der_x509_certificate(chain["VCEK"]).public_key().verify(utils.encode_dss_signature(*rs), r[:0x2a0], ec.ECDSA(hashes.SHA384()))
    assert r[0x50:0x90] == bound + bytes(16), "report data"


def b64(b):
    text = base64.urlsafe_b64encode(b).decode()
    return text if mode == "padded" else text.rstrip("=")


def sealed(public):
    """Flattened JWE, epk in the protected header; the key derivation of RFC 7518 section 4.6.2 step by step."""
    def coordinate(name):
        return int.from_bytes(base64.urlsafe_b64decode(public[name] + "=="), "big")
    curve = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}[public["crv"]]
    own = ec.generate_private_key(curve)
    z = own.exchange(ec.ECDH(), ec.EllipticCurvePublicNumbers(coordinate("x"), coordinate("y"), curve).public_key())
    alg = b"ECDH-ES+A256KW"
    kek = hashlib.sha256(b"\0\0\0\1" + z + len(alg).to_bytes(4, "big") + alg + bytes(8) + (256).to_bytes(4, "big")).digest()
    n, size = own.public_key().public_numbers(), (curve.key_size + 7) // 8
    header = {"alg": alg.decode(), "enc": "A256GCM", "epk": {"crv": public["crv"], "kty": "EC", "x": b64(n.x.to_bytes(size, "big")),
                                                            "y": b64(n.y.to_bytes(size, "big"))}}
    protected = b64(json.dumps(header).encode())
    cek, iv = os.urandom(32), os.urandom(12)
    text = AESGCM(cek).encrypt(iv, volume_key, protected.encode())
    return {"protected": protected, "encrypted_key": b64(keywrap.aes_key_wrap(kek, cek)), "iv": b64(iv), "ciphertext": b64(text[:-16]), "tag": b64(text[-16:])}


def by_jwcrypto(public):
    key = jwk.JWK(**{k: v for k, v in public.items() if k != "alg"})
    o = jwe.JWE(volume_key, json.dumps({"alg": "ECDH-ES+A256KW", "enc": "A256GCM"}))
    o.add_recipient(key)
    return json.loads(o.serialize())


def auth(o):
    speaks = "0.1.1" if mode == "old" else "0.4.0"
    if o["version"] != speaks:
        return problem("ProtocolVersion", f"KBS Client Protocol Mismatch: expect {speaks} while the request is {o['version']}")
    assert o["tee"] == "snp" and "extra-params" in o
    session, nonce = str(uuid.uuid4()), base64.b64encode(os.urandom(32)).decode()
    sessions[session] = {"nonce": nonce}
    return 200, {"nonce": nonce, "extra-params": {"selected-hash-algorithm": "sha384"}}, f"kbs-session-id={session}; Expires=Fri, 01 Jan 2100 00:00:00 GMT"


def attest(o, session):
    runtime, evidence = o["runtime-data"], o["tee-evidence"]
    assert runtime["nonce"] == session["nonce"] and isinstance(evidence["additional_evidence"], str)
    bound = json.dumps({"additional-evidence": evidence["additional_evidence"], **runtime}, sort_keys=True, separators=(",", ":")).encode()
    try:
        verify(evidence["primary_evidence"], hashlib.sha384(bound).digest())
    except Exception as e:
        return problem("AttestationError", "verification of evidence failed: " + repr(e))
    session["key"] = runtime["tee-pubkey"]
    return 200, {"token": "header.body.signature"}, None


def resource(path, session):
    if "key" not in session:
        return problem("UnAttestedSession", "the session is not attested")
    if mode == "deny":
        return problem("PolicyDeny", "Access denied by policy")
    if path != "/kbs/v0/resource/default/volume/" + volume:
        return 404, {"type": "https://github.com/confidential-containers/kbs/errors/ResourceNotFound", "detail": "no such resource"}, None
    if mode == "wrong-key":
        return 200, sealed(jwk.JWK.generate(kty="EC", crv="P-256").export_public(as_dict=True)), None
    return 200, (by_jwcrypto if mode == "jwcrypto" else sealed)(session["key"]), None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def serve(self):
        cookie = dict(c.strip().split("=", 1) for c in self.headers.get("cookie", "").split(";") if "=" in c)
        session = sessions.get(cookie.get("kbs-session-id"))
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        try:
            if self.path == "/kbs/v0/auth":
                status, answer, cookie = auth(json.loads(body))
            elif not session:
                status, answer, cookie = problem("SessionNotFound", "no session")
            elif self.path == "/kbs/v0/attest":
                status, answer, cookie = attest(json.loads(body), session)
            else:
                status, answer, cookie = resource(self.path, session)
        except Exception as e:
            status, answer, cookie = problem("RequestFailed", repr(e))
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        if cookie:
            self.send_header("set-cookie", cookie)
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = serve


key = ec.generate_private_key(ec.SECP256R1())
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "Trustee")])
now = datetime.datetime.utcnow()
cert = (x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False).sign(key, hashes.SHA256()))
if not os.path.exists(f"{folder}/cert.pem"):
    with open(f"{folder}/key.pem", "wb") as f:
        f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    with open(f"{folder}/cert.pem", "wb") as f:
        f.write(cert.public_bytes(serialization.Encoding.PEM))
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True)
with open(f"{folder}/url.new", "w") as f:
    f.write(f"https://127.0.0.1:{server.server_port}\n")
os.rename(f"{folder}/url.new", f"{folder}/url")
server.serve_forever()
