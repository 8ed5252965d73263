#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# tunnel/web's page in headless Chromium, driven over WebDriver: served from one origin, with a relay at another one that passes
# everything on to the gateway, or changes it. Prints lines as the other tests do.
# ohttp_page.py GATEWAY-HOST:PORT TRUST-FILE OTHER-KEYS-FILE WORK-FOLDER
import http.client, http.server, json, os, sys, threading

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import webdriver
from webdriver import ok

gateway, trust_file, other_keys, work = sys.argv[1:5]
PAGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tunnel/web")
PATH = "/.well-known/ohttp-gateway"
trust = json.load(open(trust_file))
settings = {}
trick = {"name": "pass"}
seen = {"bodies": b"", "preflights": 0}


class Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass


class Page(Quiet):
    def do_GET(self):
        name = self.path.strip("/") or "index.html"
        types = {"html": "text/html", "js": "text/javascript", "json": "application/json"}
        if name == "settings.json":
            body = json.dumps(settings).encode()
        elif name in ("index.html", "page.js", "ohttp.js"):
            body = open(os.path.join(PAGE, name), "rb").read()
        else:
            self.send_response(404)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", types[name.rsplit(".", 1)[1]])
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Relay(Quiet):
    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        seen["bodies"] += body
        seen["preflights"] += self.command == "OPTIONS"
        c = http.client.HTTPConnection(gateway, timeout=120)
        c.request(self.command, self.path, body, {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")})
        r = c.getresponse()
        answer = r.read() if self.command != "POST" or trick["name"] != "pass" else None
        if answer is not None and trick["name"] == "keys" and self.command == "GET":
            doc = json.loads(answer)
            doc["keys"] = ("A" if doc["keys"][40] != "A" else "B").join((doc["keys"][:40], doc["keys"][41:]))
            answer = json.dumps(doc).encode()
        if answer is not None and trick["name"] == "old" and self.command == "GET":
            answer = trick.setdefault("document", answer)
        if answer is not None and trick["name"] == "change" and self.command == "POST":
            answer = answer[:40] + bytes([answer[40] ^ 1]) + answer[41:]
        if answer is not None and trick["name"] == "cut" and self.command == "POST":
            answer = answer[:-20]
        self.send_response(r.status)
        for k, v in r.getheaders():
            if k.lower() not in ("content-length", "transfer-encoding", "connection", "date"):
                self.send_header(k, v)
        if answer is not None:
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)
            seen["bodies"] += answer
        else:  # as it comes
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                while piece := r.read1(65536):
                    seen["bodies"] += piece
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.write(b"0\r\n\r\n")
            except (http.client.HTTPException, ValueError):  # it broke off there: here as well
                self.close_connection = True
        c.close()

    do_GET = do_POST = do_OPTIONS = pass_on


def serve(handler):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_address[1]}"


# The page anew, until it has looked for the gateway; the problem that it shows, or "".
def look(b, page, how="pass"):
    trick["name"] = how
    b.call("/url", {"url": page + "/"})
    b.until("return !document.getElementById('state').innerText.startsWith('Looking')")
    return b.text("#problem")


def ask(b, path, body=None):
    b.run("for (const [k, v] of Object.entries(arguments[0])) document.getElementById(k).value = v",
          {"url": "http://service.test" + path, "method": "POST" if body else "GET", "body": body or ""})
    b.run("document.getElementById('send').click()")
    b.until("return document.getElementById('status').innerText.includes('complete') || !document.getElementById('problem').hidden")
    return b.text("#status"), b.text("#answer"), b.text("#problem")


def refused(b, page, name, why, how="pass"):
    shown = look(b, page, how)
    ok(f"page: {name}", why in shown and b.run("return document.getElementById('send').disabled"), shown or b.text("#state"))


# What must be as the RFC's vectors have it; the browser's cryptography is not ours to test, the way in which it is put together is.
VECTOR = """
const [secret, pub, enc, to, info, aad, plain, want] = arguments, done = arguments[arguments.length - 1];
const un = h => Uint8Array.from(h.match(/../g), x => parseInt(x, 16));
const url = b => btoa(String.fromCharCode(...b)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
(async () => {
    const m = await import("./ohttp.js"), e = un(enc);
    const jwk = {kty: "EC", crv: "P-256", x: url(e.slice(1, 33)), y: url(e.slice(33))}, ec = {name: "ECDH", namedCurve: "P-256"};
    const own = {publicKey: await crypto.subtle.importKey("jwk", jwk, ec, true, []),
                 privateKey: await crypto.subtle.importKey("jwk", {...jwk, d: url(un(secret))}, ec, false, ["deriveBits"])};
    const h = await m.hpkeSender(un(to), 1, un(info), own);
    const sealed = await h.sealer.seal(new TextDecoder().decode(un(aad)), un(plain)), exported = await h.export("TestContext", 32);
    const hex = b => Array.from(b, x => x.toString(16).padStart(2, "0")).join("");
    return hex(h.enc) + " " + hex(sealed) + " " + hex(exported);
})().then(done, e => done(String(e)));
"""


def vector(b):
    enc = "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4"
    to = "04fe8c19ce0905191ebc298a9245792531f26f0cece2460639e8bc39cb7f706a826a779b4cf969b8a0e539c7f62fb3d30ad6aa8f80e30f1d128aafd68a2ce72ea0"
    sealed = "5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434"
    exported = "d8f1ea7942adbba7412c6d431c62d01371ea476b823eb697e1f6e6cae1dab85a"
    got = b.call("/execute/async", {"script": VECTOR, "args": ["4995788ef4b9d6132b249ce59a77281493eb39af373d236a1fe415cb0c2d7beb", "", enc, to,
                 "4f6465206f6e2061204772656369616e2055726e", "436f756e742d30", "4265617574792069732074727574682c20747275746820626561757479", ""]})
    ok("page: RFC 9180 A.3.1 in the browser", got == f"{enc} {sealed} {exported}", got)


page, relay = serve(Page), serve(Relay)
settings.update(gateway=relay + PATH, target="http://service.test/", **trust)
b = webdriver.Browser(work)
try:
    shown = look(b, page)
    ok("page: it finds the gateway and believes it", not shown and trust["measurements"][0] in b.text("#state"), shown)
    vector(b)
    status, answer, shown = ask(b, "/a?b=c")
    ok("page: a GET", status.startswith("201") and answer.startswith("GET /a?b=c host=service.test"), f"{status} {answer} {shown}")
    status, answer, shown = ask(b, "/p", "marmalade")
    ok("page: a POST", "body=9:marmalade" in answer, f"{status} {answer} {shown}")
    status, answer, shown = ask(b, "/pieces")
    ok("page: an answer in pieces", answer == "one two three", f"{status} {answer} {shown}")
    status, answer, shown = ask(b, "/big")
    ok("page: a large answer", answer == "b" * 300000, f"{status} {len(answer)} {shown}")
    status, answer, shown = ask(b, "/broken")
    ok("page: an answer that breaks off is not shown as complete", "complete" not in status and shown, f"{status} {answer}")
    ok("page: the relay has read nothing", b"marmalade" not in seen["bodies"] and b"one two" not in seen["bodies"], "the word passed in the clear")
    ok("page: it came from another origin", seen["preflights"] > 0, "no preflight")
    trick["name"] = "change"
    status, answer, shown = ask(b, "/a")
    ok("page: a changed answer", not answer and "changed" in shown, f"{status} {answer} {shown}")
    trick["name"] = "cut"
    status, answer, shown = ask(b, "/pieces")
    ok("page: an answer that is cut short", "complete" not in status and "changed or cut" in shown, f"{status} {answer} {shown}")
    refused(b, page, "other keys than the enclave's", "did not vouch", "keys")
    look(b, page, "old")
    refused(b, page, "an old statement", "old statement", "old")
    settings["measurements"] = ["0" * 96]
    refused(b, page, "another enclave", "another enclave")
    settings.update(trust)
    settings["jwks"] = json.load(open(other_keys))
    refused(b, page, "a token of somebody else", "wrong signature")
    settings.update(trust)
    settings["jwks"] = {"keys": []}
    refused(b, page, "nobody to believe", "whom to believe")
finally:
    b.end()
sys.exit(webdriver.failed)
