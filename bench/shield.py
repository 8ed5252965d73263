# SPDX-License-Identifier: Apache-2.0
# The shield part of bench/run: redis and nginx, unchanged, natively without any protection, in an enclave on published ports, and in an enclave behind the
# network shield with `coffer tunnel` on the clients' side. Everything is on this machine: the shield's row carries both ends of TLS as well. What TLS costs
# without any enclave is beside it: the same nginx by its own TLS, and behind the pairs of bench/tunnel.py.
#
#	python3 bench/shield.py [-q] [-r ROUNDS]
import argparse
import os
import shutil
import signal
import socket
import statistics
import subprocess
import tempfile
import time

import tunnel

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COFFER = os.path.join(ROOT, os.environ.get("B", "build"), "bin/coffer")
TARGET = 0.7
LATENCY_US = 40
WAYS_CASES = ("nginx 1 KiB", "nginx 100 KiB")
CASES = ("redis GET", "redis GET -P 16", "redis SET -P 16", "nginx 1 KiB", "nginx 100 KiB")
APART = ("redis GET -P 16", "redis SET -P 16")  # again with a CPU for the clients alone: which threads share one, chance has no say in
PIECES = 8  # of a measurement of redis in pipelines, in an order that changes: which threads share a CPU changes within a second, and so does this machine
NGINX = """daemon off; worker_processes 2; error_log /dev/null; pid {dir}/pid; {user}
events {{ worker_connections 1000; }}
http {{ access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;
	sendfile on; keepalive_requests 1000000; server {{ listen 0.0.0.0:{port} reuseport; {tls} root {www}; }} }}
"""
APART_IS = ", clients on a CPU of their own"
# Ways to the native nginx; `tls` is its own.
WAYS = {"plain": "no TLS", "tls": "nginx's own TLS, `wrk` by https", "coffer": "two gateways, no enclave", "haproxy": "haproxy before and behind", "stunnel":
	"stunnel before and behind", "sealed": "bare relays, AES-GCM"}


def sh(*argv, **kw):
	return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, **kw)


def must(*argv, **kw):
	r = sh(*argv, **kw)
	if r.returncode:
		raise RuntimeError(" ".join(argv) + ": " + (r.stdout + r.stderr).strip()[-300:])
	return r.stdout


def free_ports(n):
	all_of_them = [socket.create_server(("127.0.0.1", 0)) for _ in range(n)]
	ports = [s.getsockname()[1] for s in all_of_them]
	for s in all_of_them:
		s.close()
	return ports


def redis(port):
	return ["/usr/bin/redis-server", "--port", str(port), "--save", "", "--bind", "0.0.0.0", "--protected-mode", "no", "--loglevel", "warning"]


def wait_for(name, port, hello=b"PING\r\n\r\n"):
	"""Until an answer comes: a listening gateway is not its server yet."""
	for _ in range(300):
		try:
			with socket.create_connection(("127.0.0.1", port), 2) as s:
				s.sendall(hello)
				if s.recv(100):
					return
		except OSError:
			pass
		time.sleep(0.1)
	raise RuntimeError(f"{name}: nobody answers at port {port}")


def redis_rate(port, what, requests, *options, cpu=None):
	on = ["taskset", "-c", str(cpu)] if cpu is not None else []
	out = must(*on, "redis-benchmark", "-p", str(port), "--csv", "-c", "50", "-n", str(requests), "-t", what.lower(), *options)
	return float(next(line for line in out.splitlines() if line.startswith(f'"{what}"')).split('","')[1])


def nginx_rate(name, port, path, seconds, scheme="http"):
	out = must("wrk", "-t", "1", "-c", "50", "-d", str(seconds), f"{scheme}://127.0.0.1:{port}/{path}")
	if "Non-2xx" in out:
		raise RuntimeError(f"{name}: nginx's answers are errors")
	return float(next(line for line in out.splitlines() if line.startswith("Requests/sec")).split()[1])


def family(pid):
	"""A process and all that came of it."""
	yield pid
	for child in sh("ps", "-o", "pid=", "--ppid", str(pid)).stdout.split():
		yield from family(int(child))


class Ways(tunnel.World):
	"""To nginx at a port of this machine."""

	def __init__(self, folder, port):
		self.coffer, self.folder, self.processes, self.pids = COFFER, folder, [], {}
		self.backends = {"nginx": port}
		self.ports = {"plain": self.backends, "tls": {"nginx": tunnel.free_port()}}

	def add_all(self):
		relay = os.path.join(os.path.dirname(os.path.dirname(COFFER)), "bench/relay")
		self.add_coffer("coffer", True)
		if shutil.which("haproxy"):
			self.add_haproxy("haproxy", True)
		if shutil.which("stunnel4"):
			self.add_stunnel()
		if os.path.exists(relay):
			self.add_relays("sealed", relay, "seal", "open")


class World:
	"""redis and nginx, at ports of this machine; `ports` is where clients go."""

	def __init__(self, name, folder):
		self.name, self.folder, self.processes = name, folder, []
		self.env = {**os.environ, "COFFER_BROKER_DIR": folder + "/broker", "COFFER_SIMTEE_DIR": folder + "/simtee"}
		inside, ports = name != "native", free_ports(2)
		self.ports = ports
		dir = "/tmp" if inside else folder + "/run"
		www = "/www" if inside else folder + "/project/www"
		os.makedirs(folder + "/project/www")
		os.makedirs(folder + "/run")
		for file, size in (("1k", 1 << 10), ("100k", 100 << 10)):
			with open(f"{folder}/project/www/{file}", "wb") as f:
				f.write(b"x" * size)
		conf = folder + "/project/www/nginx.conf"
		with open(conf, "w") as f:
			f.write(NGINX.format(dir=dir, www=www, port=ports[1], user="user root root;" if inside or os.geteuid() == 0 else "",
					     tls="" if inside else self.tls()))
		if not inside:
			self.start(*redis(ports[0]))
			self.start("/usr/sbin/nginx", "-p", dir, "-c", conf)
		else:
			self.enclave(ports, name == "shield")
		for port in self.ports:
			wait_for(self.name, port)

	def tls(self):
		self.ways = Ways(self.folder, self.ports[1])
		pem = self.ways.certificate()
		return (f"listen 127.0.0.1:{self.ways.ports['tls']['nginx']} ssl reuseport; ssl_protocols TLSv1.3; ssl_certificate {pem}.crt; "
			f"ssl_certificate_key {pem};")

	def enclave(self, ports, shield):
		project, kind = self.folder + "/project", ": attested" if shield else ""
		with open(project + "/coffer.yaml", "w") as f:
			f.write("name: bench-shield\ncommand: [/bin/sh]\nhost_arguments: true\nworking_directory: /\nmemory: 2G\n"
				f"network:\n  listen:\n    - {ports[0]}{kind}\n    - {ports[1]}{kind}\n"
				"copy:\n  - www\n  - /bin/sh\n  - /usr/bin/redis-server\n  - /usr/sbin/nginx\n  - /etc/passwd\n  - /etc/group\n")
		root = next(w for w in must(COFFER, "broker", "simulated-root", env=self.env).split() if w.endswith(".pem"))
		must(COFFER, "build", "-q", env=self.env, cwd=project)
		self.start(COFFER, "run", "--", "/bin/sh", "-c", " ".join(redis(ports[0])).replace("--save ", "--save ''") +
			   " & exec /usr/sbin/nginx -p /tmp -c /www/nginx.conf", cwd=project)
		if not shield:
			return
		self.ports = free_ports(2)
		measurement = must(COFFER, "measure", env=self.env, cwd=project).strip()
		with open(self.folder + "/tunnel.yaml", "w") as f:
			f.write("routes:\n" + "".join(
				f"  - name: r{k}\n    ingress: {{listen: 127.0.0.1:{self.ports[k]}}}\n    connect: 127.0.0.1:{ports[k]}\n"
				f"    verify: {{measurements: [\"{measurement}\"], insecure_simulated_root: {root}}}\n" for k in range(2)))
		self.start(COFFER, "tunnel", "run", self.folder + "/tunnel.yaml")

	def start(self, *argv, cwd=None):
		self.processes.append(subprocess.Popen(argv, env=self.env, cwd=cwd or self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
						       stderr=subprocess.DEVNULL, start_new_session=True))

	def close(self):
		for p in reversed(self.processes):
			try:
				os.killpg(p.pid, signal.SIGTERM)
				p.wait(20)
			except (ProcessLookupError, subprocess.TimeoutExpired):
				p.kill()
				p.wait()
		shutil.rmtree(self.folder, ignore_errors=True)

	def pin(self, cpus):
		tunnel.pin([q for p in self.processes for q in family(p.pid)], cpus)

	def latency(self, quick):
		"""Microseconds of a GET by one client, everything on one CPU."""
		out = must("taskset", "-c", "0", "redis-benchmark", "-p", str(self.ports[0]), "--csv", "-c", "1", "-n", str(5000 if quick else 20000), "-t", "get")
		return 1e6 / float(out.splitlines()[-1].replace('"', "").split(",")[1])

	def measure(self, case, quick, cpu=None):
		if case.startswith("redis"):
			_, what, *options = case.split()
			return redis_rate(self.ports[0], what, (40000 if options else 20000) * (1 if quick else 4), *options, cpu=cpu)
		return nginx_rate(self.name, self.ports[1], case.split()[1] + "k", 1 if quick else 4)


def in_turn(values, worlds, case, name, quick, cpu=None):
	for k in range(PIECES if "-P" in case else 1):
		for w in worlds[k % len(worlds):] + worlds[:k % len(worlds)]:
			values.setdefault((name, w.name), []).append(w.measure(case, quick, cpu))


def report(rounds, quick):
	"""The section of RESULTS.md."""
	for tool in ("redis-benchmark", "redis-server", "wrk", "/usr/sbin/nginx"):
		if not shutil.which(tool):
			return [f"shield: left out, {tool} is missing", ""]
	worlds, values, ways = [], {}, None
	try:
		for name in ("native", "published", "shield"):
			worlds.append(World(name, tempfile.mkdtemp(prefix="coffer-shield.")))
		ways = worlds[0].ways
		ways.add_all()
		for _ in range(rounds):
			for case in CASES:
				in_turn(values, worlds, case, case, quick)
			cpus = os.sched_getaffinity(0)
			for w in worlds:
				w.pin({0})
			for w in worlds:
				values.setdefault(("latency", w.name), []).append(w.latency(quick))
			for w in worlds:
				w.pin(cpus - {0} or cpus)
			for case in APART:
				in_turn(values, worlds, case, case + APART_IS, quick, 0)
			for w in worlds:
				w.pin(cpus)
			for name, port in ways.ports.items():
				for case in WAYS_CASES:
					values.setdefault((case, "way", name), []).append(nginx_rate(name, port["nginx"], case.split()[1] + "k", 1 if quick else 4,
												     "https" if name == "tls" else "http"))
	except (RuntimeError, StopIteration) as e:
		return [f"shield: did not run ({e})", ""]
	finally:
		if ways:
			ways.stop()
		for w in worlds:
			w.close()
	out = ["## Unchanged servers behind the network shield", "",
	       "redis and nginx answer 50 clients on the same machine: natively without protection; in an enclave on published ports, in plaintext; in an enclave",
	       "behind the shield, the clients going through `coffer tunnel`. Requests a second, medians; the ratio is the shield's to the native one's.", "",
	       "| | native | enclave, published | enclave, shield | ratio | target |", "|---|---:|---:|---:|---:|---|"]
	for case in CASES + tuple(case + APART_IS for case in APART):
		n, p, s = (values[case, w] for w in ("native", "published", "shield"))
		ratio = statistics.median(x / y for x, y in zip(s, n))
		target = ("≥ 0.7 reached" if ratio >= TARGET / 1.05 else "≥ 0.7 **missed**") if case != "redis GET" else ""
		out.append(f"| {case} | {statistics.median(n):,.0f} | {statistics.median(p):,.0f} | {statistics.median(s):,.0f} | {ratio:.2f} | {target} |")
	n, p, s = (statistics.median(values["latency", w]) for w in ("native", "published", "shield"))
	verdict = "reached" if s - n <= LATENCY_US else "**missed**"
	out += ["", "The same nginx natively, with TLS 1.3 (AES-256-GCM) on the way, in the same run:", "",
		"| | " + " | ".join(WAYS_CASES) + " |", "|---|---:|---:|"]
	rows = [(WAYS[name], [values[case, "way", name] for case in WAYS_CASES]) for name in ways.ports]
	for name, columns in rows + [("enclave, shield", [values[case, "shield"] for case in WAYS_CASES])]:
		out.append(f"| {name} | " + " | ".join(f"{statistics.median(v):,.0f}" for v in columns) + " |")
	return out + ["", f"One GET of one client, everything on one CPU: natively {n:.0f} µs, on a published port {p - n:+.0f} µs, behind the shield and through `coffer tunnel` "
		      f"{s - n:+.0f} µs (≤ {LATENCY_US} µs added {verdict}).", ""]


if __name__ == "__main__":
	ap = argparse.ArgumentParser()
	ap.add_argument("-q", "--quick", action="store_true", help="short measurements, one round")
	ap.add_argument("-r", "--rounds", type=int)
	a = ap.parse_args()
	print("\n".join(report(a.rounds or (1 if a.quick else 3), a.quick)))
