#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# The broker's web page in headless Chromium, driven over WebDriver. Prints lines as the other tests do.
# ui.py URL STATE-FOLDER WORK-FOLDER MEASUREMENT: tests/broker/ui.c has made what is to be seen, and keys in WORK-FOLDER/NAME.key.
import os, re, sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
import webdriver
from webdriver import ok

url, state, work, measurement = sys.argv[1:5]
VIEWS = {"overview": "Overview", "resources": "Resources", "policies": "Policies", "workloads": "Attested workloads", "audit": "Audit log"}


class Browser(webdriver.Browser):
    def view(self, name):
        self.run("location.hash = arguments[0]", name)
        self.until("return document.querySelector(`#nav a[href='#${arguments[0]}'][aria-current]`) && !document.getElementById('view').hasAttribute('aria-busy') && document.querySelector('#view h2')", name)
        return self.text("#view")


def login(b):
    b.call("/url", {"url": url + "/ui/"})
    ok("the page is there", b.until("return document.getElementById('login') && document.title === 'Coffer key broker'"), b.run("return document.documentElement.outerHTML")[:300])
    b.type("#token", "nonsense")
    b.click("#enter")
    ok("what is no token is explained", b.until("return document.getElementById('problem').innerText.includes('64 hexadecimal')"), b.text("#problem"))
    b.run("document.getElementById('token').value = ''")
    b.type("#token", "0" * 64)
    b.click("#enter")
    ok("a refusal is explained in the broker's words", b.until("return /TokenRefused: .*token/.test(document.getElementById('problem').innerText)"), b.text("#problem"))
    ok("and lets nobody in", b.run("return document.getElementById('view').hidden && document.getElementById('nav').hidden"))
    b.run("document.getElementById('token').value = ''")
    b.type("#token", open(state + "/admin.token").read().strip())
    b.press("\ue007")
    ok("the token opens it, with the Enter key", b.until("return !document.getElementById('view').hidden && document.querySelector('#view dl')"), b.text("#problem"))
    ok("nothing is kept", b.run("return document.getElementById('token').value === '' && localStorage.length === 0 && sessionStorage.length === 0 && document.cookie === ''"))
    ok("it says whose it is", b.text("#who") != "", b.text("header"))


def lists(b):
    text = b.view("overview")
    ok("the overview warns of simulated hardware", "INSECURE" in text and "decisions" in text, text)
    text = b.view("resources")
    ok("resources are listed", "default/key/one" in text, text)
    text = b.view("policies")
    ok("policies are listed", "default/key/one" in text and measurement in text, text)
    ok("HTML in a note is shown as text", "<script>window.hacked=1</script><img src=x onerror=window.hacked=2>" in text, text)
    ok("and is not run", b.run("return window.hacked === undefined && !document.querySelector('#view script, #view img')"))
    text = b.view("workloads")
    ok("attested workloads are listed, with what they got", measurement in text and "default/key/one" in text, text)


def elsewhere(b):
    for name in ("constructor", "toString", "__proto__", "hasOwnProperty", "nowhere", "%00", "<img src=x onerror=window.hacked=3>"):
        b.run("document.getElementById('view').replaceChildren(); location.hash = arguments[0]", name)
        shown = b.until("return !document.getElementById('view').hasAttribute('aria-busy') && document.querySelector('#view h2')?.innerText === 'Overview'")
        ok(f"#{name} is no view", shown and not b.text("#problem") and b.run("return window.hacked === undefined"), b.text("#problem") or b.text("#view"))


def audit(b):
    text = b.view("audit")
    ok("the audit log is listed", "attest" in text and "default/key/one" in text, text)
    ok("a refusal says what was expected and what was found", "measurement: expected" in text, text)
    b.type("#word", "default/key/ONE")
    b.press("\ue007")
    found = b.until("return /^\\d+ found$/.test(document.querySelector('.bar [role=status]').innerText) && document.querySelector('.bar [role=status]').innerText")
    rows = b.run("return [...document.querySelectorAll('#view tbody tr')].every(r => r.textContent.includes('default/key/one'))")
    ok("a search finds", found and int(found.split()[0]) > 0 and rows, found)
    b.run("document.querySelector('#word').value = ''")
    b.type("#word", "nowhere-to-be-found")
    b.press("\ue007")
    ok("and finds nothing where there is nothing", b.until("return document.querySelector('.bar [role=status]').innerText === '0 found'"), b.text(".bar"))
    b.view("overview")
    b.view("audit")
    b.click("#view tbody tr:last-child details summary")
    b.click("#view tbody tr:last-child details button")
    b.until("return document.querySelectorAll('.proof .good, .proof .bad').length >= 3")
    text = b.text("#view tbody tr:last-child .proof")
    ok("inclusion is proved in the browser", text.count("\u2713") == 3 and "\u2717" not in text, text)
    b.type("#log-key", open(state + "/audit.pub").read().strip())
    b.click("#view tbody tr:last-child details button")
    ok("also under one's own copy of the key", b.until("return document.querySelector('#view tbody tr:last-child .proof').innerText.includes('key that you gave')") and
       "\u2717" not in b.text("#view tbody tr:last-child .proof"), b.text(".proof"))
    other = open(state + "/audit.pub").read().strip()
    b.run("document.getElementById('log-key').value = arguments[0]", other[:-44] + ("B" if other[-44] != "B" else "C") + other[-43:])
    b.run("document.querySelector('#view tbody tr:last-child .proof').textContent = ''")
    b.click("#view tbody tr:last-child details button")
    b.until("return document.querySelectorAll('#view tbody tr:last-child .proof div').length >= 3")
    ok("another key is told apart", "\u2717" in b.text("#view tbody tr:last-child .proof"), b.text("#view tbody tr:last-child .proof"))


def looks(b):
    before = b.run("return getComputedStyle(document.body).backgroundColor")
    b.click("#theme")
    after = b.run("return getComputedStyle(document.body).backgroundColor")
    ok("dark and light", before != after, f"{before} {after}")
    b.call("/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}})
    wide = []
    for name in ("overview", "resources", "policies", "workloads", "audit"):
        b.view(name)
        if b.run("return document.documentElement.scrollWidth") > 400:
            wide.append(name)
    ok("it fits 400 pixels", not wide, wide)
    b.call("/goog/cdp/execute", {"cmd": "Emulation.clearDeviceMetricsOverride", "params": {}})
    b.view("overview")
    b.run("document.activeElement.blur()")
    reached = set()
    for _ in range(12):
        b.press("\ue004")
        reached.add(b.run("const a = document.activeElement; return a.id || a.getAttribute('href') || a.tagName"))
    ok("the keyboard reaches everything", {"#main", "#overview", "#resources", "#policies", "#workloads", "#audit", "theme", "leave"} <= reached, reached)
    b.run("document.querySelector('#nav a[href=\"#policies\"]').focus()")
    b.press("\ue007")
    ok("and opens a view", b.until("return document.querySelector('#view h2')?.innerText === 'Policies'"), b.text("#view"))


def walls(b):
    why = b.run("try { document.getElementById('view').innerHTML = '<b>x</b>'; return ''; } catch (e) { return e.name; }")
    ok("the policy lets no text become HTML", why == "TypeError", why)
    b.run("const s = document.createElement('img'); s.src = 'https://127.0.0.1:1/x.png'; document.body.append(s); window.blocked = 0; "
          "document.addEventListener('securitypolicyviolation', () => window.blocked++);"
          "fetch('https://127.0.0.1:1/').catch(() => {})")
    ok("nor anything be fetched from elsewhere", b.until("return window.blocked > 0"), "not blocked")


def by_key(b):
    b.click("#leave")
    ok("one may leave", b.run("return document.getElementById('view').hidden && document.getElementById('view').textContent === '' && !document.getElementById('login').hidden"))
    b.type("#key", state + "/broker.yaml" if os.path.exists(state + "/broker.yaml") else state + "/cert.pem")
    b.click("#enter")
    ok("a file without a key is told", b.until("return document.getElementById('problem').innerText.includes('no private key')"), b.text("#problem"))
    for name in ("alice", "edith", "olga", "oscar", "anna"):
        b.call("/url", {"url": url + "/ui/"})
        b.run("location.reload()")
        b.until("return document.readyState === 'complete' && document.getElementById('login') && !document.getElementById('login').hidden")
        b.type("#key", f"{work}/{name}.key")
        b.click("#enter")
        ok(f"{name}'s private key opens it: each request is signed", b.until("return !document.getElementById('view').hidden && document.querySelector('#view dl')"), b.text("#problem"))
        ok("by the name that the broker knows", name in b.text("#who"), b.text("#who"))
        sees, told = [], []
        for view in VIEWS:
            b.run("document.getElementById('problem').textContent = ''; document.getElementById('view').replaceChildren(); location.hash = ''; location.hash = arguments[0]", view)
            b.until("const problem = document.getElementById('problem').innerText; return !document.getElementById('view').hasAttribute('aria-busy') && "
                    "(document.querySelector('#view h2')?.innerText === arguments[0] || problem)", VIEWS[view])
            (told if f"NotPermitted: {name} may not" in b.text("#problem") else sees if b.text("#view h2") == VIEWS[view] else []).append(view)
        few = name in ("oscar", "anna")
        ok(f"each view is shown to {name}, or it is said who may not see it", (sees, told) == (list(VIEWS)[:1 if few else 5], list(VIEWS)[1:] if few else []),
           f"sees {sees}, is told of {told}: {b.text('#problem')}")
        if not few:
            text = b.view("audit")
            ok("requests with a query are, too", "default/key/one" in text, b.text("#problem"))
            ok("an owner sees the records of its own resources", ("default/other/two" in text) == (name != "olga"), text)
            last = "[...document.querySelectorAll('#view tbody tr')].filter(r => r.textContent.includes('default/key/one')).at(-1)"
            b.run(f"const d = {last}.querySelector('details'); d.open = true; d.querySelector('button').click()")
            b.until(f"return {last}.querySelectorAll('.proof div').length >= 3")
            text = b.run(f"return {last}.querySelector('.proof').innerText")
            ok("and proves the one that is shown", text.count("\u2713") == 3, text)
    b.run("const d = new DataTransfer(); d.items.add(new File(['-----BEGIN ENCRYPTED PRIVATE KEY-----'], 'k')); document.getElementById('leave').click(); "
          "document.getElementById('key').files = d.files")
    b.click("#enter")
    ok("a key under a passphrase is told", b.until("return document.getElementById('problem').innerText.includes('encrypted with a passphrase')"), b.text("#problem"))


browser = Browser(work, acceptInsecureCerts=True, **{"goog:loggingPrefs": {"browser": "ALL"}})
try:
    login(browser)
    lists(browser)
    elsewhere(browser)
    audit(browser)
    looks(browser)
    by_key(browser)
    # What the browser has to say: the refusals that were wanted are the network's lines, and there is nothing else.
    said = [l for l in browser.call("/se/log", {"type": "browser"}) if l["level"] == "SEVERE" and not (l["source"] == "network" and re.search(r"status of 40[134]", l["message"]))]
    ok("no error on the console", not said, said)
    walls(browser)
finally:
    browser.end()
sys.exit(webdriver.failed)
