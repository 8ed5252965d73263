# SPDX-License-Identifier: Apache-2.0
# The network part of bench/run: real programs over the loopback inside an enclave, and through the host, against the same programs natively. All of
# it happens in a network namespace of its own, so that no port of the machine is touched; without the right to make one the section says so.
#
#	python3 bench/network.py [-q]
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
B = os.path.join(ROOT, os.environ.get("B", "build"))
COFFER = os.path.join(B, "bin/coffer")
IDLE = os.path.join(B, "bench/idle")
OUTSIDE = "198.51.100.1"	# on the namespace's loopback: what is not inside
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def sh(*argv, **kw):
	return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, **kw)


class Worlds:
	"""Starts a program natively or inside; all of them on one CPU, or free."""

	def __init__(self, folder):
		self.folder = folder
		os.makedirs(folder + "/b")
		shutil.copy(IDLE, folder + "/b/idle")
		with open(folder + "/coffer.yaml", "w") as f:
			f.write("name: bench-network\ncommand: [/bin/sh]\nhost_arguments: true\nworking_directory: /\nenvironment: {PATH: " + PATH + "}\n"
				"network: {connect: any, listen: [7001, 7002]}\nmemory: 4G\ncopy:\n  - b\n  - /bin/sh\n  - /usr/bin/iperf3\n  - /usr/bin/redis-server\n"
				"  - /usr/bin/redis-benchmark\n  - /usr/bin/redis-cli\n  - /usr/bin/sleep\n")
		r = sh(COFFER, "build", cwd=folder)
		if r.returncode:
			raise RuntimeError("coffer build: " + r.stdout + r.stderr)

	def start(self, inside, pinned, *argv):
		argv = [COFFER, "run", "--", *argv] if inside else list(argv)
		if pinned:
			argv = ["taskset", "-c", str(max(os.sched_getaffinity(0))), *argv]
		return subprocess.Popen(argv, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
					start_new_session=True)

	def run(self, inside, pinned, *argv, limit=120):
		p = self.start(inside, pinned, *argv)
		try:
			return p.communicate(timeout=limit)[0]
		except subprocess.TimeoutExpired:
			os.killpg(p.pid, signal.SIGKILL)
			p.wait()
			return ""


def listening(port):
	for _ in range(200):
		if sh("ss", "-Htln", f"sport = :{port}").stdout.strip():
			return
		time.sleep(0.05)
	raise RuntimeError(f"nobody listens on port {port}")


def stop(p):
	if p.poll() is None:
		os.killpg(p.pid, signal.SIGTERM)
	p.communicate()


def gbits(text):
	try:
		return json.loads(text)["end"]["sum_received"]["bits_per_second"] / 1e9
	except (ValueError, KeyError):
		return None


def requests(text):
	"""Requests a second of redis-benchmark's last line in CSV."""
	lines = [line for line in text.splitlines() if line.startswith('"GET"')]
	return float(lines[-1].split('","')[1]) if lines else None


def iperf_within(w, inside, pinned, seconds):
	return gbits(w.run(inside, pinned, "/bin/sh", "-c", "iperf3 -s -p 7100 >/dev/null 2>&1 & server=$!; sleep 0.5; "
			   f"iperf3 -J -c 127.0.0.1 -p 7100 -t {seconds}; kill $server", limit=seconds + 30))


def iperf_through(w, inside, pinned, seconds, back):
	server = w.start(inside, pinned, "/usr/bin/iperf3", "-s", "-1", "-p", "7001")
	try:
		listening(7001)
		return gbits(w.run(False, pinned, "/usr/bin/iperf3", "-J", "-c", OUTSIDE, "-p", "7001", "-t", str(seconds), *(["-R"] if back else [])))
	finally:
		stop(server)


REDIS = ["redis-server", "--save", "", "--protected-mode", "no", "--loglevel", "warning", "--port"]


def redis_within(w, inside, pinned, n):
	return requests(w.run(inside, pinned, "/bin/sh", "-c", "redis-server --save '' --loglevel warning --port 7101 >/dev/null 2>&1 & "
			      "until redis-cli -p 7101 ping >/dev/null 2>&1; do sleep 0.05; done; "
			      f"redis-benchmark -p 7101 --csv -n {n} -t get; redis-cli -p 7101 shutdown nosave; wait"))


def redis_through(w, inside, pinned, n):
	server = w.start(inside, pinned, "/usr/bin/" + REDIS[0], *REDIS[1:], "7002", "--bind", "0.0.0.0")
	try:
		listening(7002)
		return requests(w.run(False, pinned, "/usr/bin/redis-benchmark", "-h", OUTSIDE, "-p", "7002", "--csv", "-n", str(n), "-t", "get"))
	finally:
		stop(server)


def idle(w, inside, n):
	out = w.run(inside, False, "/b/idle" if inside else IDLE, str(n))
	return {line.split()[0]: float(line.split()[1]) for line in out.splitlines() if len(line.split()) == 4}


def show(v, unit):
	return "-" if v is None else f"{v:,.0f} {unit}" if v >= 100 else f"{v:.3g} {unit}"


def median(values):
	values = [v for v in values if v is not None]
	return statistics.median(values) if values else None


def row(name, native, coffer, unit, better, target=None):
	n, c = median(native), median(coffer)
	ratio = c / n if n and c else None
	reached = "" if not target or ratio is None else "≥" if better == "higher" else "≤"
	if reached:
		good = ratio >= target if better == "higher" else ratio <= target
		reached += f" {target:g} " + ("reached" if good else "**missed**")
	return f"| {name} | {show(n, unit)} | {show(c, unit)} | {'-' if ratio is None else f'{ratio:.2f}'} | {reached} |"


def measure(quick):
	rounds, seconds, n = (1, 1, 20000) if quick else (5, 3, 200000)
	folder = tempfile.mkdtemp(prefix="coffer-bench-net.")
	out = ["## The network: real programs inside and through the host, against the same natively", "",
	       "iperf3 over TCP (IPv4), redis-benchmark with 50 clients. *Within*: both ends in one world. *Through the host*: the server natively or inside,",
	       "the client native both times. Idle connections: 10,000 inside, both ends; the same number natively, or 2,000 where the machine allows",
	       "no more.", "",
	       "| | native | coffer | ratio | target |", "|---|---:|---:|---:|---|"]
	try:
		w = Worlds(folder)
		for pinned in (True, False):
			where = "pinned" if pinned else "free"
			cases = [
				(f"iperf3 within, {where}", lambda i, p=pinned: iperf_within(w, i, p, seconds), "Gbit/s", 1.5),
				(f"iperf3 through the host, to the server, {where}", lambda i, p=pinned: iperf_through(w, i, p, seconds, False), "Gbit/s", None),
				(f"iperf3 through the host, from the server, {where}", lambda i, p=pinned: iperf_through(w, i, p, seconds, True), "Gbit/s", None),
				(f"redis GET within, {where}", lambda i, p=pinned: redis_within(w, i, p, n), "/s", None),
				(f"redis GET through the host, {where}", lambda i, p=pinned: redis_through(w, i, p, n), "/s", None),
			]
			for name, fn, unit, target in cases:
				native, coffer = [], []
				for _ in range(rounds):
					native.append(fn(False))
					coffer.append(fn(True))
				out.append(row(name, native, coffer, unit, "higher", target))
		a, b = idle(w, False, 10000) or idle(w, False, 2000), idle(w, True, 10000)
		for key, unit in (("connect", "ns"), ("memory", "bytes"), ("poll", "ns"), ("close", "ns")):
			what = {"connect": "one more, made", "memory": "kernel objects of one", "poll": "one speaks among all, epoll", "close": "one closed"}[key]
			out.append(row("idle connections: " + what, [a.get(key)], [b.get(key)], unit, "lower", 1.0 if key == "memory" else None))
	finally:
		shutil.rmtree(folder, ignore_errors=True)
	return out + [""]


def report(quick):
	"""The section of RESULTS.md: measured by this file as a program of its own, in a network namespace."""
	user = [] if os.geteuid() == 0 else ["-r"]
	for tool in ("iperf3", "redis-benchmark"):
		if not shutil.which(tool):
			return [f"network: left out, {tool} is missing", ""]
	r = sh("unshare", "-n", *user, sys.executable, os.path.abspath(__file__), *(["-q"] if quick else []))
	return r.stdout.splitlines() + [""] if r.returncode == 0 else [f"network: did not run ({r.stderr.strip()[-200:]})", ""]


if __name__ == "__main__":
	for command in (["link", "set", "lo", "up"], ["addr", "add", OUTSIDE + "/32", "dev", "lo"]):
		if sh("ip", *command).returncode:
			sys.exit("no network namespace of its own: start it by `bench/run network`")
	print("\n".join(measure("-q" in sys.argv[1:])))
