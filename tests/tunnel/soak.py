#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Two gateways that are killed, stopped, started anew, held and reloaded at random, while clients send what they know the sum of. Whatever happens a client gets
# the right answer whole, or a reset: never another answer, and never a clean end without one. `make soak-tunnel`, TUNNEL_SECONDS=60, SAN=1 B=build/san.
import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

COFFER = os.path.join(os.path.abspath(os.environ.get("B", "build")), "bin/coffer")
CLIENTS = 24


def free_port():
	"""None that the system gives to a client meanwhile."""
	with open("/proc/sys/net/ipv4/ip_local_port_range") as f:
		low = int(f.read().split()[0])
	while True:
		with socket.socket() as s:
			try:
				s.bind(("127.0.0.1", random.randrange(10000, max(low, 10100))))
				return s.getsockname()[1]
			except OSError:
				pass


def serve(listener):
	def one(c):
		try:
			h = hashlib.sha256()
			while b := c.recv(65536):
				h.update(b)
			c.sendall(h.digest())
			c.close()
		except OSError:
			pass
	while True:
		threading.Thread(target=one, args=(listener.accept()[0],), daemon=True).start()


class World:
	def __init__(self, seed):
		self.random, self.changes, self.over = random.Random(seed), 0, False
		self.stats = {"whole": 0, "reset": 0, "wrong": 0, "cut short": 0}
		self.lock = threading.Lock()
		self.listener = socket.create_server(("127.0.0.1", 0), backlog=512)
		self.root = subprocess.run([COFFER, "broker", "simulated-root"], capture_output=True, text=True, check=True).stdout.strip()
		self.far, self.streams, self.single = free_port(), free_port(), free_port()
		self.bad, self.running = [], {}

	def configure(self):
		seven = "7".rjust(96, "0")
		with open("egress.yaml", "w") as f:
			f.write(f"workers: 2\nlog: {{level: error}}\ntimeouts: {{drain_seconds: 2, keepalive_seconds: 1}}\nroutes:\n  - name: a\n"
				f"    egress: {{listen: '127.0.0.1:{self.far}', to: '127.0.0.1:{self.listener.getsockname()[1]}'}}\n"
				f"    identity: {{insecure_simulate: '{seven}'}}\n")
		verify = f"    connect: 127.0.0.1:{self.far}\n    verify: {{measurements: ['{seven}'], insecure_simulated_root: {self.root}}}\n"
		with open("ingress.yaml", "w") as f:
			f.write(f"workers: 2\nlog: {{level: error}}\nlimits: {{connections: {60 + self.changes}, memory_mib: 8}}\n"
				"timeouts: {drain_seconds: 1, keepalive_seconds: 1, connect_seconds: 3}\nroutes:\n"
				f"  - name: a\n    ingress: {{listen: '127.0.0.1:{self.streams}'}}\n{verify}    session: {{renew_seconds: {1 + self.changes % 3}}}\n"
				f"  - name: b\n    ingress: {{listen: '127.0.0.1:{self.single}'}}\n    mux: false\n{verify}    session: {{renew_seconds: 1}}\n")

	def start(self, name):
		with open(name + ".log", "a") as log:
			self.running[name] = subprocess.Popen([COFFER, "tunnel", "run", name + ".yaml"], stderr=log, stdin=subprocess.DEVNULL)

	def end(self, name, how):
		p = self.running[name]
		p.send_signal(how)
		code = p.wait(30)
		if code != (0 if how == signal.SIGTERM else -how):
			self.bad.append(f"{name} ended with {code}")

	def disturb(self):
		name = self.random.choice(("egress", "ingress"))
		what = self.random.choice(("kill", "stop", "reload", "change", "hold"))
		if what in ("kill", "stop"):
			self.end(name, signal.SIGKILL if what == "kill" else signal.SIGTERM)
			self.start(name)
		elif what == "hold":
			self.running[name].send_signal(signal.SIGSTOP)
			time.sleep(2.5 * self.random.random())
			self.running[name].send_signal(signal.SIGCONT)
		else:
			self.changes += what == "change"
			self.configure()
			self.running[name].send_signal(signal.SIGHUP)
		for n, p in self.running.items():
			if p.poll() is not None:
				with open(n + ".log", errors="replace") as f:
					self.bad.append(f"{n} died with {p.returncode} after {what}: {f.read().strip()[-200:]}")
				self.start(n)

	def count(self, what):
		with self.lock:
			self.stats[what] += 1

	def client(self, seed):
		r = random.Random(seed)
		while not self.over:
			try:
				with socket.create_connection(("127.0.0.1", r.choice((self.streams, self.streams, self.single))), 10) as c:
					c.settimeout(30)
					data, got = r.randbytes(r.choice((0, 1, 100, 5000, 300000, 2000000))), b""
					c.sendall(data)
					if r.random() < .1:
						continue
					c.shutdown(socket.SHUT_WR)
					while b := c.recv(100):
						got += b
				self.count("whole" if got == hashlib.sha256(data).digest() else "cut short" if len(got) < 32 else "wrong")
			except OSError:
				self.count("reset")
				time.sleep(.05)


def main():
	seconds, seed = float(os.environ.get("TUNNEL_SECONDS", "60")), int(os.environ.get("TUNNEL_SEED", "1"))
	with tempfile.TemporaryDirectory() as folder:
		os.chdir(folder)
		w = World(seed)
		threading.Thread(target=serve, args=(w.listener,), daemon=True).start()
		w.configure()
		w.start("egress")
		w.start("ingress")
		clients = [threading.Thread(target=w.client, args=(seed * 1000 + i,), daemon=True) for i in range(CLIENTS)]
		for t in clients:
			t.start()
		until = time.monotonic() + seconds
		while time.monotonic() < until:
			time.sleep(.3 + 1.5 * w.random.random())
			w.disturb()
		w.over = True
		for t in clients:
			t.join(60)
		for name in list(w.running):
			w.end(name, signal.SIGTERM)
		for name in w.running:
			with open(name + ".log", errors="replace") as f:
				w.bad += [line.strip() for line in f if "Sanitizer" in line or "runtime error" in line]
		os.chdir("/")
	if w.stats["wrong"] or w.stats["cut short"] or w.bad or not w.stats["whole"]:
		print(f"not ok tunnel.soak: seed {seed}: {w.stats} {'; '.join(w.bad)[:1000]}")
		sys.exit(1)
	print(f"ok tunnel.soak: {w.stats}")


if __name__ == "__main__":
	main()
