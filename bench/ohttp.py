# SPDX-License-Identifier: Apache-2.0
# The OHTTP part of bench/run: nginx asked directly, through two nginx that only pass HTTP on (the price of two hops), through the same two over TLS 1.3, and
# through both ends of OHTTP, of which the first takes plain HTTP from the client. Everything is on this machine, and evidence is simulated.
#
#	python3 bench/ohttp.py [-q]
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import shield
from shield import COFFER, must

CASES = (("1 KiB, one after the other", 1, "1k"), ("1 KiB, 16 at a time", 16, "1k"), ("1 MiB, one after the other", 1, "1m"))
WAYS = ("directly", "two hops", "two hops, TLS", "OHTTP")
NGINX = """daemon off; worker_processes 2; error_log /dev/null; pid {dir}/pid; {user}
events {{ worker_connections 1000; }}
http {{ access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
	sendfile on; keepalive_requests 1000000; proxy_http_version 1.1; proxy_set_header Connection "";
	upstream files {{ server 127.0.0.1:{files}; keepalive 64; }}
	upstream far {{ server 127.0.0.1:{far}; keepalive 64; }}
	upstream fartls {{ server 127.0.0.1:{fartls}; keepalive 64; }}
	server {{ listen 127.0.0.1:{files}; root {www}; }}
	server {{ listen 127.0.0.1:{far}; location / {{ proxy_pass http://files; }} }}
	server {{ listen 127.0.0.1:{near}; location / {{ proxy_pass http://far; }} }}
	server {{ listen 127.0.0.1:{fartls} ssl; ssl_certificate {pem}.crt; ssl_certificate_key {pem}; ssl_protocols TLSv1.3; location / {{ proxy_pass http://files; }} }}
	server {{ listen 127.0.0.1:{neartls}; location / {{ proxy_pass https://fartls; proxy_ssl_protocols TLSv1.3; }} }} }}
"""


class World:
	def __init__(self, folder):
		self.folder, self.processes = folder, []
		p = dict(zip(("files", "far", "near", "fartls", "neartls", "egress", "ingress"), shield.free_ports(7)))
		self.ports = {"directly": p["files"], "two hops": p["near"], "two hops, TLS": p["neartls"], "OHTTP": p["ingress"]}
		os.makedirs(folder + "/www")
		for name, size in (("1k", 1 << 10), ("1m", 1 << 20)):
			with open(f"{folder}/www/{name}", "wb") as f:
				f.write(b"x" * size)
		pem = folder + "/key.pem"
		must("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", pem, "-out", pem + ".crt", "-days", "30",
		     "-subj", "/CN=bench")
		self.write("nginx.conf", NGINX.format(dir=folder, www=folder + "/www", pem=pem, user="user root root;" if os.geteuid() == 0 else "", **p))
		root, name = must(COFFER, "broker", "simulated-root").strip(), "7".rjust(96, "0")
		self.write("egress.yaml", f"routes:\n  - name: e\n    egress: {{listen: '127.0.0.1:{p['egress']}', to: '127.0.0.1:{p['files']}', ohttp: {{}}}}\n"
			   f"    identity: {{insecure_simulate: '{name}'}}\n")
		self.write("ingress.yaml", f"routes:\n  - name: i\n    ingress: {{listen: '127.0.0.1:{p['ingress']}', accept: ohttp}}\n"
			   f"    connect: 'http://127.0.0.1:{p['egress']}'\n    verify: {{measurements: ['{name}'], insecure_simulated_root: {root}}}\n")
		self.start("/usr/sbin/nginx", "-p", folder, "-c", folder + "/nginx.conf")
		self.pids = [self.start(COFFER, "tunnel", "run", folder + f"/{side}.yaml") for side in ("egress", "ingress")]
		for way, port in self.ports.items():
			for _ in range(300):
				if shield.sh("curl", "-sSf", "-o", "/dev/null", f"http://127.0.0.1:{port}/1k").returncode == 0:
					break
				time.sleep(0.1)
			else:
				raise RuntimeError(f"{way}: nobody answers")

	def write(self, name, text):
		with open(os.path.join(self.folder, name), "w") as f:
			f.write(text)

	def start(self, *argv):
		self.processes.append(subprocess.Popen(argv, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
		return self.processes[-1].pid

	def measure(self, way, connections, path, seconds):
		"""Requests a second, and the median of their times in ms."""
		out = must("wrk", "-t", "1", "-c", str(connections), "-d", str(seconds), "--latency", f"http://127.0.0.1:{self.ports[way]}/{path}")
		if "Non-2xx" in out:
			raise RuntimeError(f"{way}: answers are errors")
		rate = float(re.search(r"Requests/sec:\s*([0-9.]+)", out)[1])
		number, unit = re.search(r"50%\s+([0-9.]+)(us|ms|s)", out).groups()
		return rate, float(number) * {"us": 0.001, "ms": 1, "s": 1000}[unit]

	def close(self):
		for p in self.processes:
			p.terminate()
		for p in self.processes:
			try:
				p.wait(10)
			except subprocess.TimeoutExpired:
				p.kill()
				p.wait()


def report(rounds, quick):
	"""The section of RESULTS.md."""
	for tool in ("wrk", "/usr/sbin/nginx", "curl"):
		if not shutil.which(tool):
			return [f"ohttp: left out, {tool} is missing", ""]
	values = {}
	folder, w = tempfile.mkdtemp(prefix="coffer-ohttp."), None
	try:
		w = World(folder)
		for _ in range(rounds):
			for name, connections, path in CASES:
				for way in WAYS:
					values.setdefault((name, way), []).append(w.measure(way, connections, path, 1 if quick else 3))
	except RuntimeError as e:
		return [f"ohttp: did not run ({e})", ""]
	finally:
		if w:
			w.close()
		shutil.rmtree(folder, ignore_errors=True)
	out = ["## OHTTP", "",
	       "nginx asked by wrk on the same machine: directly; through two nginx that pass HTTP on, without and with TLS 1.3 between them (connections are kept); through",
	       "both ends of OHTTP. Requests a second and, in brackets, the median time of one; medians of the rounds. Each request of OHTTP costs both ends key agreements",
	       "with a new key, which a kept connection of TLS does not.", "", "| | " + " | ".join(WAYS) + " | OHTTP to two hops, TLS |", "|---|" + "---:|" * (len(WAYS) + 1)]
	for name, _, _ in CASES:
		cells = [f"{statistics.median(r for r, _ in values[name, way]):,.0f} ({statistics.median(t for _, t in values[name, way]):.2f} ms)" for way in WAYS]
		ratio = statistics.median(a[0] / b[0] for a, b in zip(values[name, "OHTTP"], values[name, "two hops, TLS"]))
		out.append(f"| {name} | " + " | ".join(cells) + f" | {ratio:.2f} |")
	return out + [""]


if __name__ == "__main__":
	print("\n".join(report(1 if "-q" in sys.argv[1:] else 3, "-q" in sys.argv[1:])))
