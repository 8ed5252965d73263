# SPDX-License-Identifier: Apache-2.0
# The network gateway beside other ways to carry plain connections in TLS 1.3: two ends of each on this machine, with iperf3 and redis behind them. In turn in
# each round, so that what else the machine does meets all alike. Whoever is not installed is left out.
import argparse
import json
import os
import resource
import shutil
import socket
import statistics
import subprocess
import tempfile
import time

TARGETS = {"bulk": 1.5, "aes": 0.9, "latency_us": 40, "handshakes": 0.85, "connections_mib": 200}
CONNECTIONS = 10000
NAMES = {"plain": "no tunnel", "coffer": "Coffer, streams", "single": "Coffer, `mux: false`", "stunnel": "stunnel", "haproxy": "haproxy", "hops": "haproxy, no TLS",
	 "sealed": "bare relays, AES-GCM", "bare": "bare relays"}

MEASURES = ("bulk", "latency", "many", "new", "crowd")


def free_port():
	with socket.socket() as s:
		s.bind(("127.0.0.1", 0))
		return s.getsockname()[1]


def wait_for(port):
	for _ in range(200):
		with socket.socket() as s:
			if not s.connect_ex(("127.0.0.1", port)):
				return
		time.sleep(0.05)
	raise RuntimeError(f"nobody listens at {port}")


class World:
	def __init__(self, coffer, folder):
		self.coffer, self.folder, self.processes, self.ports, self.pids = coffer, folder, [], {}, {}
		self.backends = {"iperf": free_port(), "redis": free_port()}
		self.start(["iperf3", "-s", "-B", "127.0.0.1", "-p", str(self.backends["iperf"])])
		self.start(["redis-server", "--bind", "127.0.0.1", "--port", str(self.backends["redis"]), "--save", "", "--maxclients", "20000", "--dir", folder])
		self.ports["plain"] = dict(self.backends)

	def start(self, argv):
		p = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder)
		self.processes.append(p)
		return p.pid

	def write(self, name, text):
		with open(os.path.join(self.folder, name), "w") as f:
			f.write(text)
		return os.path.join(self.folder, name)

	def certificate(self):
		path = os.path.join(self.folder, "both.pem")
		if not os.path.exists(path):
			subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", path, "-out",
					path + ".crt", "-days", "30", "-subj", "/CN=localhost"], check=True, capture_output=True)
			with open(path, "a") as f, open(path + ".crt") as c:
				f.write(c.read())
		return path

	def add_coffer(self, name, mux):
		root = subprocess.run([self.coffer, "broker", "simulated-root"], capture_output=True, text=True, check=True).stdout.strip()
		seven, eight = "7".rjust(96, "0"), "8".rjust(96, "0")
		far, near = {k: free_port() for k in self.backends}, {k: free_port() for k in self.backends}
		session = "    session: {mode: off}\n" if not mux else ""
		ask = f"insecure_simulated_root: {root}"
		egress = "routes:\n" + "".join(
			f"  - name: {k}\n    egress: {{listen: '127.0.0.1:{far[k]}', to: '127.0.0.1:{self.backends[k]}'}}\n    identity: {{insecure_simulate: '{seven}'}}\n"
			f"    verify: {{measurements: ['{eight}'], {ask}}}\n{session}" for k in far)
		ingress = "routes:\n" + "".join(
			f"  - name: {k}\n    ingress: {{listen: '127.0.0.1:{near[k]}'}}\n    connect: 127.0.0.1:{far[k]}\n    mux: {'true' if mux else 'false'}\n"
			f"    identity: {{insecure_simulate: '{eight}'}}\n    verify: {{measurements: ['{seven}'], {ask}}}\n{session}" for k in far)
		pids = [self.start([self.coffer, "tunnel", "run", self.write(name + "-egress.yaml", egress)])]
		for port in far.values():
			wait_for(port)
		pids.append(self.start([self.coffer, "tunnel", "run", self.write(name + "-ingress.yaml", ingress)]))
		self.ready(name, near, pids)

	def workers(self):
		return len(os.sched_getaffinity(0))

	def ready(self, name, near, pids):
		for port in near.values():
			wait_for(port)
		self.ports[name], self.pids[name] = near, pids

	def add_stunnel(self):
		pem = self.certificate()
		far, near = {k: free_port() for k in self.backends}, {k: free_port() for k in self.backends}
		head = f"foreground = yes\npid =\ndebug = 3\nsslVersion = TLSv1.3\ncert = {pem}\nCAfile = {pem}.crt\nverifyPeer = yes\nsessionResume = no\n"
		server = head + "".join(f"[{k}]\naccept = 127.0.0.1:{far[k]}\nconnect = 127.0.0.1:{self.backends[k]}\n" for k in far)
		client = head + "client = yes\n" + "".join(f"[{k}]\naccept = 127.0.0.1:{near[k]}\nconnect = 127.0.0.1:{far[k]}\n" for k in far)
		pids = [self.start(["stunnel4", self.write("server.conf", server)]), self.start(["stunnel4", self.write("client.conf", client)])]
		self.ready("stunnel", near, pids)

	def add_haproxy(self, name, tls):
		pem = self.certificate()
		far, near = {k: free_port() for k in self.backends}, {k: free_port() for k in self.backends}
		head = f"global\n  nbthread {self.workers()}\n  maxconn 4000\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n"
		serve = f" ssl crt {pem} ssl-min-ver TLSv1.3 ca-file {pem}.crt verify required" if tls else ""
		connect = f" ssl crt {pem} ca-file {pem}.crt verify required ssl-min-ver TLSv1.3 no-ssl-reuse" if tls else ""
		server = head + "".join(f"listen {k}\n  bind 127.0.0.1:{far[k]}{serve}\n  server s 127.0.0.1:{self.backends[k]}\n" for k in far)
		client = head + "".join(f"listen {k}\n  bind 127.0.0.1:{near[k]}\n  server s 127.0.0.1:{far[k]}{connect}\n" for k in far)
		pids = [self.start(["haproxy", "-f", self.write(name + "-server.cfg", server)]), self.start(["haproxy", "-f", self.write(name + "-client.cfg", client)])]
		self.ready(name, near, pids)

	# bench/relay.c: what anything that stands on the path needs at the least.
	def add_relays(self, name, program, near_what, far_what):
		far, near = {k: free_port() for k in self.backends}, {k: free_port() for k in self.backends}
		pids = [self.start([program, what, str(at[k]), str(to[k])]) for what, at, to in ((far_what, far, self.backends), (near_what, near, far))
			for k in self.backends]
		for port in far.values():
			wait_for(port)
		self.ready(name, near, pids)

	def all_pids(self):
		return [p.pid for p in self.processes]

	def stop(self):
		for p in self.processes:
			p.terminate()
		for p in self.processes:
			try:
				p.wait(5)
			except subprocess.TimeoutExpired:
				p.kill()


def cpu_s(pids):
	total = 0
	for pid in pids:
		with open(f"/proc/{pid}/stat") as f:
			fields = f.read().rsplit(")", 1)[1].split()
		total += int(fields[11]) + int(fields[12])
	return total / os.sysconf("SC_CLK_TCK")


def rss_mib(pid):
	with open(f"/proc/{pid}/status") as f:
		return [int(line.split()[1]) for line in f if line.startswith("VmRSS")][0] / 1024


# MB/s, and the gateways' CPU time for a gigabyte.
def bulk(world, name, seconds):
	pids = world.pids.get(name, [])
	for _ in range(20):	# the server may be at the end of the test before
		before = cpu_s(pids)
		r = json.loads(subprocess.run(["iperf3", "-c", "127.0.0.1", "-p", str(world.ports[name]["iperf"]), "-t", str(seconds), "-J"], capture_output=True,
					      text=True).stdout)
		if "error" not in r:
			break
		time.sleep(0.5)
	else:
		raise RuntimeError(f"{name}: iperf3: {r['error']}")
	r = r["end"]["sum_received"]
	return r["bits_per_second"] / 8e6, (cpu_s(pids) - before) / (r["bytes"] / 1e9)


def redis(world, name, requests, *options, pinned=False):
	argv = ["redis-benchmark", "-p", str(world.ports[name]["redis"]), "-n", str(requests), "-t", "get", "--csv", *options]
	r = subprocess.run(["taskset", "-c", "0", *argv] if pinned else argv, capture_output=True, text=True, check=True)
	return float(r.stdout.splitlines()[-1].replace('"', "").split(",")[1])


def pin(pids, cpus):
	"""What ends meanwhile needs no CPU."""
	for pid in pids:
		try:
			tasks = os.listdir(f"/proc/{pid}/task")
		except FileNotFoundError:
			continue
		for task in tasks:
			try:
				os.sched_setaffinity(int(task), cpus)
			except ProcessLookupError:
				pass


# The gateways' memory with so many connections that have each asked and been answered. The larger of the two.
def crowd(world, name, count):
	soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
	resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
	held = []
	try:
		for _ in range(min(count, hard - 100)):
			held.append(socket.create_connection(("127.0.0.1", world.ports[name]["redis"]), 30))
			held[-1].sendall(b"PING\r\n")
		for s in held:
			if not s.recv(100).startswith(b"+PONG"):
				raise RuntimeError("a connection was not served")
		return len(held), max(rss_mib(p) for p in world.pids[name])
	finally:
		for s in held:
			s.close()


def aes_gcm():
	r = subprocess.run(["openssl", "speed", "-elapsed", "-seconds", "1", "-bytes", "16384", "-evp", "aes-256-gcm"], capture_output=True, text=True)
	return float(r.stdout.split()[-1].rstrip("k")) / 1e3


def measure(world, rounds, quick, measures):
	out = {}

	def add(what, name, value):
		out.setdefault(what, {}).setdefault(name, []).append(value)
	for _ in range(rounds):
		for name in world.ports if "bulk" in measures else ():
			rate, cost = bulk(world, name, 1 if quick else 3)
			add("bulk", name, rate)
			add("cpu", name, cost)
		if "latency" in measures:
			cpus = os.sched_getaffinity(0)
			pin(world.all_pids(), {0})
			for name in world.ports:
				add("latency", name, 1e6 / redis(world, name, 2000 if quick else 20000, "-c", "1", pinned=True))
			pin(world.all_pids(), cpus)
		for name in world.ports:
			if "many" in measures:
				add("many", name, redis(world, name, 5000 if quick else 50000, "-c", "50"))
			if "new" in measures:
				add("new", name, redis(world, name, 200 if quick else 2000, "-c", "4", "-k", "0"))
	return {k: {n: statistics.median(v) for n, v in by.items()} for k, by in out.items()}


def run(coffer, rounds, quick=False, peers=None, measures=MEASURES):
	lacks = [p for p in ("iperf3", "redis-server", "redis-benchmark", "openssl") if not shutil.which(p)]
	if lacks:
		return ["## Network gateway", "", "Not measured: " + ", ".join(lacks) + " not installed.", ""]
	relay = os.path.join(os.path.dirname(os.path.dirname(coffer)), "bench/relay")
	with tempfile.TemporaryDirectory() as folder:
		world = World(coffer, folder)

		def wanted(name, there=True):
			return there and (not peers or name in peers)
		try:
			for port in world.backends.values():
				wait_for(port)
			world.add_coffer("coffer", True)
			if wanted("single"):
				world.add_coffer("single", False)
			if wanted("stunnel", shutil.which("stunnel4")):
				world.add_stunnel()
			if wanted("haproxy", shutil.which("haproxy")):
				world.add_haproxy("haproxy", True)
			if wanted("hops", shutil.which("haproxy")):
				world.add_haproxy("hops", False)
			if wanted("sealed", os.path.exists(relay)):
				world.add_relays("sealed", relay, "seal", "open")
			if wanted("bare", os.path.exists(relay)):
				world.add_relays("bare", relay, "copy", "copy")
			m = measure(world, rounds, quick, measures)
			crowded = crowd(world, "coffer", 500 if quick else CONNECTIONS) if "crowd" in measures else None
			return report(world, m, crowded, aes_gcm())
		finally:
			world.stop()


def verdict(ok):
	return "reached" if ok else "**missed**"


def report(world, m, crowded, gcm):
	columns = (("bulk", "bulk MB/s", ".0f"), ("cpu", "CPU s/GB", ".2f"), ("latency", "latency added µs", ".0f"), ("many", "many, requests/s", ".0f"),
		   ("new", "new, requests/s", ".0f"))
	columns = [c for c in columns if c[0] in m]
	if "latency" in m:
		m["latency"] = {n: v - m["latency"]["plain"] for n, v in m["latency"].items()}
	lines = ["## Network gateway", "",
		"Two gateways (or two of the others) on this machine, one after the other in each round; medians. Bulk: one iperf3 stream. CPU: of both gateways. Latency: "
		"what one redis GET takes longer than without a tunnel, everything on one CPU. Many: 50 clients. New: a connection for each request, 4 at a time (Coffer "
		"with `mux: false`: an attested handshake for each, both sides verified; verdicts kept).", "",
		"| | " + " | ".join(c[1] for c in columns) + " |", "|---|" + "---:|" * len(columns)]
	for n in world.ports:
		lines.append(f"| {NAMES[n]} | " + " | ".join(format(m[k][n], form) for k, _, form in columns) + " |")
	lines += ["", f"AES-256-GCM of OpenSSL on one core, 16 KiB pieces: {gcm:.0f} MB/s."]
	if "sealed" in world.ports:
		lines += ["Bare relays (`bench/relay.c`): the least that can stand in the gateways' places: receive, seal or open by AES-256-GCM in pieces of 16 KiB "
			"(or neither), send; blocking, a thread for each direction of a connection."]
	if crowded:
		lines += [f"{crowded[0]} connections through streams: {crowded[1]:.0f} MiB (the larger of the two gateways)."]
	return lines + ["", "Targets: " + "; ".join(goals(world, m, crowded, gcm)) + ".", ""]


def goals(world, m, crowded, gcm):
	out = []

	def ratio(what, of, peer, target, words):
		if what in m and peer in world.ports and of in world.ports:
			r = m[what][of] / m[what][peer]
			out.append(f"{words.format(target)} {verdict(r >= target)} ({r:.2f})")
	ratio("bulk", "coffer", "sealed", TARGETS["aes"], "bulk ≥ {} × AES-GCM on the path, the bare relays with it,")
	if "bulk" in m and "sealed" in world.ports:
		out[-1] += f" (of AES-GCM alone, on one core without any network: {m['bulk']['coffer'] / gcm:.2f}, the bare relays {m['bulk']['sealed'] / gcm:.2f})"
	ratio("bulk", "coffer", "stunnel", TARGETS["bulk"], "bulk ≥ {} × stunnel")
	if "latency" in m:
		least = f", the bare relays without encryption {m['latency']['bare']:.0f}" if "bare" in world.ports else ""
		own = m["latency"]["coffer"]
		out.append(f"latency ≤ {TARGETS['latency_us']} µs {verdict(own <= TARGETS['latency_us'])} ({own:.0f}{least})")
	ratio("new", "single", "stunnel", TARGETS["handshakes"], "new connections ≥ {} × stunnel's")
	if crowded:
		out.append(f"memory ≤ {TARGETS['connections_mib']} MiB {verdict(crowded[1] <= TARGETS['connections_mib'])}")
	return out


if __name__ == "__main__":
	ap = argparse.ArgumentParser()
	ap.add_argument("-q", "--quick", action="store_true", help="short measurements")
	ap.add_argument("-r", "--rounds", type=int, default=1)
	ap.add_argument("-p", "--peers", type=lambda t: t.split(","), help="only these beside Coffer's streams, of " + ", ".join(NAMES))
	ap.add_argument("-m", "--measures", type=lambda t: t.split(","), default=MEASURES, help="only these, of " + ", ".join(MEASURES))
	a = ap.parse_args()
	root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
	print("\n".join(run(os.path.join(root, os.environ.get("B", "build"), "bin/coffer"), a.rounds, a.quick, a.peers, a.measures)))
