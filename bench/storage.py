# SPDX-License-Identifier: Apache-2.0
# The storage part of bench/run: the same workloads (storage_work.py) natively on plain ext4, natively on encrypted file systems of
# Debian, and in an enclave on a sealed volume; in an enclave whose kernel (build/encrypt-only, bench/encrypt_only.c) only encrypts in place;
# and build/bench/volume, which measures the volume's own code beside an encrypt-only layer, natively.
#
#	python3 bench/storage.py [-q] [-r ROUNDS] [-s MIB] [--only WORLD,...] [--in DIR] [--keep DIR] [WORKLOAD...]
#
# Alone it prints the table. --in: where the files lie (/var/tmp; /dev/shm: without a disk). --keep: the enclave's project, broker and volume
# stay in DIR for the next time.
import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import storage_work

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
B = os.path.join(ROOT, os.environ.get("B", "build"))
COFFER = os.path.join(B, "bin/coffer")
LAYER_COFFER = os.path.join(B, "encrypt-only/bin/coffer")  # make INSECURE_ENCRYPT_ONLY=1 B=build/encrypt-only bins
WORK = os.path.join(ROOT, "bench/storage_work.py")
VOLUME = os.path.join(B, "bench/volume")
PACKAGES = ["/usr/bin/fio", "/usr/bin/python3", "/bin/tar", "/bin/rm", "/bin/sync", "/bin/sh", "/etc/passwd", "/etc/group",
	    "debian:postgresql-15", "debian:postgresql-client-15", "debian:tzdata"]

# Against plain ext4 in the same round: times at most, rates at least.
TARGETS = {
	"seq_read_128k_warm": 1.0, "rand_read_4k_warm": 1.0, "write_4k_fsync": 1.5, "sqlite_1000_transactions_delete": 1.3,
	"sqlite_1000_transactions_wal": 1.3, "sqlite_100k_rows_delete": 1.1, "sqlite_100k_rows_wal": 1.1, "untar_50000_files": 1.0,
	"rm_r_50000_files": 1.0, "postgres_tpcb_1_clients": 0.8, "postgres_tpcb_8_clients": 0.8,
}
ABSOLUTE = {"seq_read_128k_cold": 3000, "seq_write_128k": 2000}  # MB/s in the enclave, whatever the disk does
NATIVE = {"seq_read_128k_cold": "encrypt_only_seq_read", "seq_write_128k_flush": "encrypt_only_seq_write_flush",
	  "rand_read_4k_cold": "encrypt_only_rand_read", "rand_write_4k_flush": "encrypt_only_rand_write_through"}
INSIDE = {"seq_write_128k": 0.94, "seq_write_128k_flush": 0.94, "seq_read_128k_cold": 0.94, "rand_read_4k_cold": 0.85}  # of the layer in an enclave
LIKE = {"seq_write": 0.94, "seq_write_flush": 0.94, "seq_read": 0.94, "rand_read": 0.85, "rand_write_through": 5.0}  # the volume natively against the layer, call by call
PEERS = ("gocryptfs", "securefs")
PEER_WORK = ("seq_write", "seq_write_flush", "seq_read", "rand_read", "rand_write", "write_fsync", "sqlite")
LAYER_WORK = ("seq_write", "seq_write_flush", "seq_read_cold", "rand_read_cold", "rand_write")


def sh(*argv, **kw):
	return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, **kw)


def must(*argv, **kw):
	r = sh(*argv, **kw)
	if r.returncode:
		raise RuntimeError(f"{' '.join(argv)}: {(r.stdout + r.stderr).strip()[-400:]}")
	return r.stdout


def lines(text):
	for line in text.splitlines():
		part = line.split()
		if len(part) == 4 and part[3] in ("lower", "higher"):
			yield (part[0], part[2], part[3]), float(part[1])


class Plain:
	name = "ext4"

	def __init__(self, work):
		self.dir, self.tmp = work + "/plain", f"/dev/shm/{os.path.basename(work)}.tmp"
		os.makedirs(self.dir, exist_ok=True)
		os.makedirs(self.tmp, exist_ok=True)

	def run(self, flags, works, timeout=3000):
		r = sh("/usr/bin/python3", WORK, *flags, "-t", self.tmp, self.dir, *works, timeout=timeout)
		sys.stderr.write(r.stderr)
		return r.stdout

	def empty(self):
		"""Gives back the room on the disk and in the host's page cache."""
		sh("/bin/sh", "-c", f"rm -rf {self.dir}/*")

	def close(self):
		shutil.rmtree(self.tmp, ignore_errors=True)


class Peer(Plain):
	"""gocryptfs or securefs over a folder beside the plain one. Cold: mounted again."""

	def __init__(self, name, work):
		super().__init__(work)
		self.name, self.under, self.dir = name, f"{work}/{name}.under", f"{work}/{name}"
		os.makedirs(self.under, exist_ok=True)
		os.makedirs(self.dir, exist_ok=True)
		self.secret = work + "/secret"
		with open(self.secret, "w") as f:
			f.write("a password of the benchmark")
		if name == "gocryptfs":
			must("gocryptfs", "-init", "-q", "-passfile", self.secret, self.under)
		else:
			must("securefs", "create", "--keyfile", self.secret, "--pass", "x", self.under)
		self.mount()

	def mount(self):
		if self.name == "gocryptfs":
			must("gocryptfs", "-q", "-passfile", self.secret, self.under, self.dir)
		else:
			must("securefs", "mount", "-b", "--keyfile", self.secret, "--pass", "x", self.under, self.dir)
			for _ in range(100):
				if os.path.ismount(self.dir):
					break
				time.sleep(0.05)

	def umount(self):
		for _ in range(100):
			if not sh("fusermount3", "-u", self.dir).returncode or not os.path.ismount(self.dir):
				return
			time.sleep(0.1)

	def run(self, flags, works, timeout=3000):
		out = ""
		for w in works:
			if w.endswith("_cold"):
				self.umount()
				self.mount()
			out += super().run(flags, [w], timeout)
		return out

	def close(self):
		self.umount()
		super().close()


class Sealed:
	def __init__(self, work, size, cache, memory, name="sealed", command=COFFER):
		self.name, self.binary, self.flags = name, command, ["--drop"] + (["--forgets"] if name == "encrypt-only" else [])
		os.makedirs(work, exist_ok=True)
		self.work, self.project, self.volume = work, work + "/project", work + "/bench.vol"
		self.env = {**os.environ, "COFFER_BROKER_DIR": work + "/broker", "COFFER_SIMTEE_DIR": work + "/simtee"}
		port = 20000 + (2 * os.getpid() + (command == COFFER)) % 20000
		self.url = f"https://127.0.0.1:{port}"
		os.makedirs(self.project + "/bench", exist_ok=True)
		shutil.copy(WORK, self.project + "/bench/storage_work.py")
		ca = next(w for w in self.coffer("broker", "prepare").split() if w.endswith(".pem"))
		root = next(w for w in self.coffer("broker", "simulated-root").split() if w.endswith(".pem"))
		shutil.copy(ca, self.project + "/ca.pem")
		with open(self.project + "/coffer.yaml", "w") as f:
			f.write("name: bench-storage\ncommand: [/usr/bin/python3]\nhost_arguments: true\nworking_directory: /\n"
				"copy:\n  - bench\n" + "".join(f"  - {p}\n" for p in PACKAGES) +
				f"memory: {memory}\nvolume_cache: {cache}M\nvolumes:\n  /vol: {{mode: rw}}\nbroker: {{ca: ca.pem}}\n")
		self.coffer("build", "-q")
		self.broker = subprocess.Popen([self.binary, "broker", "serve", "--listen", self.url[8:], "--insecure-accept-simulated", root],
					       env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
		for _ in range(100):
			if sh(self.binary, "broker", "status", env=self.env).returncode == 0:
				break
			time.sleep(0.1)
		self.size = size
		self.create()

	def create(self):
		if not os.path.exists(self.volume):
			self.coffer("volume", "create", "--size", self.size, self.volume)
		self.coffer("policy", "allow", self.volume, "--measurement", self.coffer("measure").strip())

	def coffer(self, *args, **kw):
		return must(self.binary, *args, env=self.env, cwd=self.project, **kw)

	def command(self, *argv):
		return [self.binary, "run", "--broker", self.url, "-v", self.volume + ":/vol:rw", "--", *argv]

	def run(self, flags, works, timeout=3000):
		if not os.path.exists(self.volume):
			self.create()
		r = sh(*self.command("/usr/bin/python3", "/bench/storage_work.py", *flags, *self.flags, "-t", "/tmp", "/vol", *works),
		       env=self.env, cwd=self.project, timeout=timeout)
		sys.stderr.write(r.stderr)
		return r.stdout

	def empty(self):
		os.unlink(self.volume)

	def close(self):
		self.broker.terminate()
		self.broker.wait()


def free_memory():
	with open("/proc/meminfo") as f:
		return next(int(line.split()[1]) << 10 for line in f if line.startswith("MemFree:"))


def in_memory(work):
	return work.startswith("/dev/shm/")


def warm_memory(path):
	"""A virtual machine may have given idle memory back, and waits 4 to 9 µs for each page that it touches again: that is not the file systems' time.
	Clean pages of a sparse file on the disk fill the free memory; whoever needs some gets it from there."""
	with open(path, "ab") as f:
		f.truncate(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
	with open(path, "rb", buffering=0) as f:
		while free_memory() > 1 << 30 and f.read(16 << 20):
			pass


def measure(work, rounds, quick, size, only, works):
	"""{(name, unit, better): {world: [values]}}; the worlds take turns within each workload."""
	flags, results, worlds, warm = (["-q"] if quick else []) + ["-s", str(size)], {}, [], f"/var/tmp/{os.path.basename(work)}.warm"
	os.chmod(work, 0o711)  # PostgreSQL runs as a user of its own
	try:
		if "ext4" in only:
			worlds.append(Plain(work))
		for p in PEERS:
			if p in only and shutil.which(p):
				worlds.append(Peer(p, work))
		if "sealed" in only:
			# The cache holds the pointers to all blocks of such a file (1 %) and a map of them; the layer has all its tags in memory as well.
			# Where the volume's file takes memory as well, the enclave gets no more than the rest.
			args = f"{max(4, size * 4 // 1024)}G", max(64, size // 48), "10G" if size > 1024 and in_memory(work) else "12G"
			worlds.append(Sealed(work, *args))
			if "encrypt-only" in only and os.path.exists(LAYER_COFFER):
				worlds.append(Sealed(work + "/layer", *args, "encrypt-only", LAYER_COFFER))
		def one(r, of, world):
			of = [w for w in of if not (world.name in PEERS and w.removesuffix("_cold") not in PEER_WORK or
						    world.name == "encrypt-only" and w not in LAYER_WORK)]
			if not of:
				return
			if size > 1024:
				warm_memory(warm)
			print(f"round {r + 1}/{rounds}: {' '.join(of)}, {world.name}", file=sys.stderr)
			try:
				out = world.run(flags, of)
			except subprocess.TimeoutExpired:
				print(f"{world.name}: {' '.join(of)}: no end", file=sys.stderr)
				return
			for key, value in lines(out) if not size > 1024 or world.name in PEERS or r else ():
				results.setdefault((key[0].replace("_files_cold", "_files"), *key[1:]), {}).setdefault(world.name, []).append(value)

		# Large files of two worlds do not fit into memory together: then one world after the other in each round, and its file removed behind it.
		# The next round begins with the world that this one ended with, and the first, that meets the machine's memory, does not count.
		if size > 1024:
			turns = [(r, works, world) for r in range(rounds + 1) for world in worlds[::-1 if r % 2 else 1] if r < rounds or world.name not in PEERS]
		else:
			turns = [(r, [w], world) for r in range(rounds) for w in works for world in worlds]
		for k, (r, of, world) in enumerate(turns):
			one(r, of, world)
			if size > 1024 and (k + 1 == len(turns) or turns[k + 1][2] is not world):
				world.empty()
		for r in range(rounds if "layer" in only and os.path.exists(VOLUME) else 0):
			print(f"round {r + 1}/{rounds}: encrypt-only layer", file=sys.stderr)
			if size > 1024:
				warm_memory(warm)
			for key, value in lines(must(VOLUME, "-s", str(size), "layer", work + "/layer.dat")):
				results.setdefault(key, {}).setdefault("layer", []).append(value)
	finally:
		for w in worlds:
			w.close()
		if os.path.exists(warm):
			os.unlink(warm)
	return results


def median(values):
	return statistics.median(values) if values else None


def ratio(a, b):
	if not a or not b:
		return None
	return statistics.median(x / y for x, y in zip(a, b)) if len(a) == len(b) else median(a) / median(b)


def show(v, unit):
	if v is None:
		return "-"
	if unit == "ns":
		for limit, div, name in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms"), (1e15, 1e9, "s")):
			if v < limit:
				return f"{v / div:.3g} {name}"
	return f"{v:,.0f} {unit}" if v >= 100 else f"{v:.3g} {unit}"


def verdict(good, text):
	return text + (" reached" if good else " **missed**")


def table(results):
	yield "| workload | ext4 | sealed | ratio | target | gocryptfs | securefs |"
	yield "|---|---:|---:|---:|---:|---:|---:|"
	for (name, unit, better), by in results.items():
		if "layer" in by:
			continue
		mine, plain, target = by.get("sealed"), by.get("ext4"), []
		r, v = ratio(mine, plain), median(mine)
		if name in TARGETS and r:
			t = TARGETS[name]
			target.append(verdict(r <= t * 1.05 if better == "lower" else r >= t / 1.05, ("≤ " if better == "lower" else "≥ ") + f"{t:g}"))
		if name in ABSOLUTE and v:
			target.append(verdict(v >= ABSOLUTE[name], f"≥ {ABSOLUTE[name] / 1000:g} GB/s"))
		key = next((k for k in results if k[0] == NATIVE.get(name)), None)
		rr = ratio(mine, results[key].get("layer")) if key and v else None
		if rr:
			target.append(f"{rr:.2f} × encrypt-only natively")
		yield (f"| {name} | {show(median(plain), unit)} | {show(v, unit)} | {'-' if r is None else f'{r:.2f}'} | {'; '.join(target)} | " +
		       " | ".join(show(median(by.get(p)), unit) for p in PEERS) + " |")
	inside = {k: by for k, by in results.items() if "encrypt-only" in by}
	if inside:
		yield ""
		yield "| the same program inside an enclave | encrypt-only | sealed | ratio | target |"
		yield "|---|---:|---:|---:|---|"
	for (name, unit, _), by in inside.items():
		base, mine = by["encrypt-only"], by.get("sealed")
		r = ratio(mine, base)
		target = verdict(r >= INSIDE[name], f"≥ {INSIDE[name]:g}") if r and name in INSIDE else ""
		yield f"| {name} | {show(median(base), unit)} | {show(median(mine), unit)} | {'-' if r is None else f'{r:.2f}'} | {target} |"
	layer = {name: (by["layer"], unit) for (name, unit, _), by in results.items() if "layer" in by}
	if layer:
		yield ""
		yield "| the same calls natively | encrypt-only | volume | ratio | target |"
		yield "|---|---:|---:|---:|---|"
		for name in (n.removeprefix("encrypt_only_") for n in layer if n.startswith("encrypt_only_")):
			base, unit = layer["encrypt_only_" + name]
			mine = layer.get("volume_" + name.replace("_through", "_flush"), (None,))[0]
			r = ratio(mine, base)
			target = verdict(r >= LIKE[name], f"≥ {LIKE[name]:g}") if r and name in LIKE else ""
			yield f"| {name} | {show(median(base), unit)} | {show(median(mine), unit)} | {'-' if r is None else f'{r:.2f}'} | {target} |"


def costs(quick, where):
	"""The volume's own figures (build/bench/volume cost)."""
	yield "| of the volume itself, natively with the owner's tools | |"
	yield "|---|---:|"
	for (name, unit, _), value in lines(must(VOLUME, "-s", "64" if quick else "256", "cost", where, timeout=3000)):
		yield f"| {name} | {show(value, unit)} |"


MEMORY = ("seq_write", "seq_write_flush", "seq_read_cold", "rand_read_cold", "rand_write")
NEAR = ("seq_write", "seq_write_flush", "seq_read", "rand_read", "seq_read_cold", "rand_read_cold", "rand_write", "write_fsync")


def report(rounds, quick, large):
	"""The section of RESULTS.md."""
	out = ["## Storage: a sealed volume against plain files on the same disk, and encrypted file systems of Debian", "",
	       "`bench/storage.py`: the same workloads (`bench/storage_work.py`; fio, SQLite, tar, PostgreSQL) natively on ext4, inside an enclave on a",
	       "sealed volume, and natively on gocryptfs and securefs, in turn; medians. Warm: from the page cache. Cold: the page cache of the enclave",
	       "(or FUSE) is dropped, the host's is not, so ext4's rows say cold and are warm. `_flush`: with an fsync at the end. Memory and room on the",
	       "disk were used before, in all worlds. `encrypt-only` inside: a kernel (`bench/encrypt_only.c`) that encrypts pages of files in place with the",
	       "same cipher, their tags in memory: no tree, no freshness, no crash consistency; the same program, page cache, threads and host calls as the",
	       "sealed volume has. `encrypt-only` natively: the same layer as a loop over a file, in pieces of 256 KiB, without program and page cache; beside",
	       "it stand the volume's own calls in the same pieces.",
	       "`through`: each write of the layer goes to the disk (O_DIRECT), as below a file system; beside it stands the volume's `flush`. MB/s and",
	       "op/s: higher is better.", ""]
	parts = [(256, "/var/tmp", list(storage_work.WORK)), (256, "/dev/shm", MEMORY)] + ([(8192, "/var/tmp", NEAR), (8192, "/dev/shm", MEMORY)] if large else [])
	for size, where, works in parts:
		disk = where == "/var/tmp"
		work = tempfile.mkdtemp(prefix="coffer-storage.", dir=where)
		try:
			results = measure(work, rounds if size == 256 else 1, quick, size, ("ext4", *(PEERS if disk else ()), "sealed", "encrypt-only", "layer"), works)
			if not disk:
				results = {k: v for k, v in results.items() if not k[0].endswith("_through")}
			out += [f"### fio: {size} MiB" + ("" if disk else ", all files in memory (tmpfs instead of ext4): without a disk to wait for"), "",
				*table(results), ""]
			if size == 256 and disk:
				out += [*costs(quick, work + "/cost.vol"), ""]
		except (RuntimeError, OSError, StopIteration, subprocess.TimeoutExpired) as e:
			print(f"storage: {e}", file=sys.stderr)
			out += [f"storage, {size} MiB: did not run ({str(e)[:200]})", ""]
		finally:
			shutil.rmtree(work, ignore_errors=True)
	return out


def main():
	ap = argparse.ArgumentParser()
	ap.add_argument("-q", "--quick", action="store_true")
	ap.add_argument("-r", "--rounds", type=int, default=1)
	ap.add_argument("-s", "--size", type=int, default=256)
	ap.add_argument("--only", default="ext4,gocryptfs,securefs,sealed,encrypt-only,layer")
	ap.add_argument("--in", dest="where", default="/var/tmp")
	ap.add_argument("--keep")
	ap.add_argument("work", nargs="*")
	a = ap.parse_args()
	works = a.work or list(storage_work.WORK)
	work = a.keep or tempfile.mkdtemp(prefix="coffer-storage.", dir=a.where)
	os.makedirs(work, exist_ok=True)
	try:
		print("\n".join(table(measure(work, a.rounds, a.quick, a.size, a.only.split(","), works))))
	finally:
		if not a.keep:
			shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
	main()
