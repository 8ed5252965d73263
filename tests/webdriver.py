# SPDX-License-Identifier: Apache-2.0
# For tests in Python: headless Chromium, driven over WebDriver with the standard library alone, and results as the other tests print them.
import json, os, re, subprocess, time, urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
failed = False


def ok(name, passed, why=""):
    global failed
    print(f"ok {name}" if passed else f"not ok {name}: {why}", flush=True)
    failed |= not passed


class Browser:
    # work: a folder for what it writes. capabilities: further ones.
    def __init__(self, work, **capabilities):
        self.base = f"http://127.0.0.1:{self.start(work)}/session"
        options = {"args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
                            f"--user-data-dir={work}/chromium"]}
        self.base += "/" + self.call("", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options, **capabilities}}})["sessionId"]

    # Its port. It takes a free one of IPv4, and ends if it cannot have the same of IPv6: then once more.
    def start(self, work):
        said = ""
        for _ in range(10):
            self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                                           env={**os.environ, "HOME": work, "TMPDIR": work})
            for line in self.driver.stdout:
                said += line
                m = re.search(r"on port (\d+)", line)
                if m and int(m[1]):
                    return m[1]
            self.driver.wait()
        raise RuntimeError("chromedriver does not start: " + said)

    def call(self, path, body=None, method=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data, {"Content-Type": "application/json"}, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=120) as reply:
            return json.load(reply)["value"]

    def run(self, script, *args):
        return self.call("/execute/sync", {"script": script, "args": list(args)})

    # Until the script's value is true; None: it never is.
    def until(self, script, *args):
        for _ in range(1200):
            value = self.run(script, *args)
            if value:
                return value
            time.sleep(0.05)
        return None

    def find(self, css):
        return self.call("/element", {"using": "css selector", "value": css})[ELEMENT]

    def type(self, css, text):
        self.call(f"/element/{self.find(css)}/value", {"text": text})

    def click(self, css):
        self.call(f"/element/{self.find(css)}/click", {})

    def press(self, *keys):
        actions = [{"type": what, "value": k} for k in keys for what in ("keyDown", "keyUp")]
        self.call("/actions", {"actions": [{"type": "key", "id": "k", "actions": actions}]})

    def text(self, css):
        return self.run("return document.querySelector(arguments[0])?.innerText ?? ''", css)

    def end(self):
        try:
            self.call("", method="DELETE")
        finally:
            self.driver.terminate()
            self.driver.wait()
