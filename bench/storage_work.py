#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
# Storage workloads in a folder: an ordinary program for native file systems and for a sealed volume in an enclave.
#
#	storage_work.py [-q] [-s MIB] [-t TMP] DIR WORKLOAD...
#
# Prints `NAME VALUE UNIT lower|higher`. Cold: the page cache is dropped first where that can be done from here (--cold).
# DIR is on the file system that is measured; TMP is in memory, and holds what is read from or unpacked.
import argparse
import io
import json
import os
import pwd
import random
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import time

FILES, PER_FOLDER = 50000, 100
POSTGRES = "/usr/lib/postgresql/15/bin"


def say(name, value, unit, better):
	print(f"{name} {value:.6g} {unit} {better}", flush=True)


def fio(a, name, rw, bs, *more):
	"""Bandwidth in MB/s and operations a second of one job over the file of the size asked for."""
	path = a.dir + "/fio.dat"
	argv = ["/usr/bin/fio", "--name=" + name, "--filename=" + path, f"--size={a.size}M", "--ioengine=psync", "--rw=" + rw, "--bs=" + bs,
		"--output-format=json", "--randseed=7", "--fallocate=none", "--invalidate=0", "--thread", *more]
	r = subprocess.run(argv, capture_output=True, text=True, cwd=a.tmp)
	if r.returncode:
		raise RuntimeError(f"fio {name}: {r.stderr.strip()[-200:]}")
	job = json.loads(r.stdout[r.stdout.index("{"):])["jobs"][0]
	part = job["write" if "write" in rw else "read"]
	return part["bw_bytes"] / 1e6, part["iops"]


def settle(a):
	subprocess.run(["/bin/sync", "-f", a.dir], check=True)


def drop(a):
	"""Forgets cached contents; a file system that cannot be told so from here is remounted by whoever calls us."""
	if a.drop:
		with open("/proc/sys/vm/drop_caches", "w") as f:
			f.write("1")


def timed(a):
	return ["--time_based", f"--runtime={0.5 if a.quick else 2}"]


def have_file(a):
	if a.forgets and os.path.exists(a.dir + "/fio.dat"):
		os.unlink(a.dir + "/fio.dat")
		a.forgets = False
	if not os.path.exists(a.dir + "/fio.dat") or os.path.getsize(a.dir + "/fio.dat") != a.size << 20:
		fio(a, "make", "write", "128k", "--end_fsync=1")


def warm(a):
	"""The file is there and in the page cache. What follows does not wait for memory that was never used before: to hand that out costs this
	kind of machine more than to encrypt what goes into it, and is no file system's doing."""
	have_file(a)
	fio(a, "warm", "read", "1m")


def renew(a):
	"""No file, but the room on the disk and in memory that it had, also for those who do not overwrite."""
	for _ in range(2 if a.size <= 1024 else 1):
		warm(a)
		os.unlink(a.dir + "/fio.dat")
		settle(a)


def seq_write(a):
	renew(a)
	say("seq_write_128k", fio(a, "seq_write", "write", "128k")[0], "MB/s", "higher")
	settle(a)


def seq_write_flush(a):
	renew(a)
	say("seq_write_128k_flush", fio(a, "seq_write", "write", "128k", "--end_fsync=1")[0], "MB/s", "higher")


def seq_read(a):
	warm(a)
	say("seq_read_128k_warm", fio(a, "seq_read", "read", "128k", *timed(a))[0], "MB/s", "higher")


def rand_read(a):
	warm(a)
	say("rand_read_4k_warm", fio(a, "rand_read", "randread", "4k", "--norandommap", *timed(a))[1], "op/s", "higher")


def seq_read_cold(a):
	warm(a)
	settle(a)
	drop(a)
	say("seq_read_128k_cold", fio(a, "seq_read_cold", "read", "128k")[0], "MB/s", "higher")


def rand_read_cold(a):
	warm(a)
	settle(a)
	drop(a)
	say("rand_read_4k_cold", fio(a, "rand_read_cold", "randread", "4k", f"--io_size={min(a.size, max(a.size // 8, 256))}M")[1], "op/s", "higher")


def rand_write(a):
	warm(a)
	settle(a)
	say("rand_write_4k_flush", fio(a, "rand_write", "randwrite", "4k", "--end_fsync=1")[1], "op/s", "higher")


def write_fsync(a):
	have_file(a)
	settle(a)
	say("write_4k_fsync", 1e9 / fio(a, "write_fsync", "randwrite", "4k", "--fsync=1", *timed(a))[1], "ns", "lower")


def db(a, mode, fresh=True):
	path = a.dir + "/test.db"
	if fresh:
		for end in ("", "-wal", "-shm", "-journal"):
			if os.path.exists(path + end):
				os.unlink(path + end)
	c = sqlite3.connect(path, isolation_level=None)
	c.execute(f"pragma journal_mode={mode}")
	c.execute("pragma synchronous=full")
	c.execute("create table if not exists t(id integer primary key, k text, v text)")
	settle(a)
	return c


def sqlite(a):
	text = "some text of a row that is neither short nor long " * 2
	for mode in ("delete", "wal"):
		c, n = db(a, mode), 200 if a.quick else 1000
		t = time.monotonic()
		for k in range(n):
			c.execute("insert into t(k, v) values(?, ?)", (str(k), text))
		say(f"sqlite_{n}_transactions_{mode}", (time.monotonic() - t) * 1e9, "ns", "lower")
		c.close()
		c = db(a, mode)
		t = time.monotonic()
		c.execute("begin")
		c.executemany("insert into t(k, v) values(?, ?)", ((str(k), text) for k in range(100000)))
		c.execute("commit")
		say(f"sqlite_100k_rows_{mode}", (time.monotonic() - t) * 1e9, "ns", "lower")
		c.close()


def make_tar(a):
	path, rng = a.tmp + "/tree.tar", random.Random(7)
	if os.path.exists(path):
		return path
	blob = rng.randbytes(1 << 16)
	with tarfile.open(path, "w") as t:
		for k in range(a.files):
			i = tarfile.TarInfo(f"tree/{k // PER_FOLDER:04}/file-{k % PER_FOLDER:03}.txt")
			i.size = min(int(rng.expovariate(1 / 2500)) + 1, 60000)
			i.mtime = 1700000000 + k
			at = rng.randrange(4096)
			t.addfile(i, io.BytesIO(blob[at:at + i.size]))
	return path


def untar(a):
	tar = make_tar(a)
	shutil.rmtree(a.dir + "/tree", ignore_errors=True)
	settle(a)
	t = time.monotonic()
	subprocess.run(["/bin/tar", "xf", tar, "-C", a.dir], check=True)
	mid = time.monotonic()
	settle(a)
	end = time.monotonic()
	say(f"untar_{a.files}_files", (mid - t) * 1e9, "ns", "lower")
	say(f"untar_{a.files}_files_and_sync", (end - t) * 1e9, "ns", "lower")
	drop(a)
	t = time.monotonic()
	n = 0
	for folder, _, names in os.walk(a.dir + "/tree"):
		for name in names:
			with open(folder + "/" + name, "rb") as f:
				n += len(f.read())
	say(f"read_{a.files}_files{'_cold' if a.drop else ''}", (time.monotonic() - t) * 1e9, "ns", "lower")
	t = time.monotonic()
	subprocess.run(["/bin/rm", "-r", a.dir + "/tree"], check=True)
	mid = time.monotonic()
	settle(a)
	end = time.monotonic()
	say(f"rm_r_{a.files}_files", (mid - t) * 1e9, "ns", "lower")
	say(f"rm_r_{a.files}_files_and_sync", (end - t) * 1e9, "ns", "lower")


def postgres(a):
	data, sock = a.dir + "/pg", a.tmp + "/pgsock"
	shutil.rmtree(data, ignore_errors=True)
	os.makedirs(data, mode=0o700)
	os.makedirs(sock, mode=0o777, exist_ok=True)
	who = pwd.getpwnam("postgres")
	os.chown(data, who.pw_uid, who.pw_gid)
	os.chown(sock, who.pw_uid, who.pw_gid)
	env = {"PATH": POSTGRES + ":/usr/bin:/bin", "LC_ALL": "C", "HOME": sock, "PGHOST": sock, "PGUSER": "bench", "PGDATABASE": "postgres", "TZ": "UTC"}

	def run(*argv, **kw):
		r = subprocess.run(argv, env=env, user=who.pw_uid, group=who.pw_gid, extra_groups=[], capture_output=True, text=True, cwd=sock, **kw)
		if r.returncode:
			raise RuntimeError(f"{argv[0]}: {(r.stdout + r.stderr).strip()[-300:]}")
		return r.stdout

	run(POSTGRES + "/initdb", "-D", data, "-U", "bench", "--auth=trust", "--no-sync")
	log = open(sock + "/log", "w")
	server = subprocess.Popen([POSTGRES + "/postgres", "-D", data, "-k", sock, "-c", "listen_addresses=", "-c", "shared_buffers=64MB",
				   "-c", "fsync=on", "-c", "full_page_writes=on"], env=env, user=who.pw_uid, group=who.pw_gid, extra_groups=[],
				  stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=sock)
	try:
		for _ in range(200):
			if subprocess.run([POSTGRES + "/pg_isready", "-q"], env=env).returncode == 0:
				break
			time.sleep(0.1)
		run(POSTGRES + "/pgbench", "-i", "-q", "-s", "2" if a.quick else "10")
		run(POSTGRES + "/psql", "-q", "-c", "checkpoint")
		for clients in (1, 8):
			out = run(POSTGRES + "/pgbench", "-n", "-c", str(clients), "-j", "1", "-T", "3" if a.quick else "10", "-M", "prepared")
			say(f"postgres_tpcb_{clients}_clients", float(out.split("tps = ")[1].split()[0]), "op/s", "higher")
	finally:
		server.terminate()
		server.wait()
		log.close()
	shutil.rmtree(data)


WORK = {f.__name__: f for f in (seq_write, seq_write_flush, seq_read, rand_read, seq_read_cold, rand_read_cold, rand_write, write_fsync, sqlite, untar, postgres)}


def main():
	ap = argparse.ArgumentParser()
	ap.add_argument("-q", "--quick", action="store_true")
	ap.add_argument("-s", "--size", type=int, default=256, help="MiB of fio's file")
	ap.add_argument("-f", "--files", type=int, default=FILES)
	ap.add_argument("-t", "--tmp", default="/tmp")
	ap.add_argument("--drop", action="store_true", help="the page cache can be dropped from here")
	ap.add_argument("--forgets", action="store_true", help="what an earlier run left does not count")
	ap.add_argument("dir")
	ap.add_argument("work", nargs="*")
	a = ap.parse_args()
	if a.quick:
		a.files = min(a.files, 5000)
	for name in a.work or WORK:
		try:
			WORK[name](a)
		except (RuntimeError, OSError, subprocess.SubprocessError, sqlite3.Error) as e:
			print(f"{name}: {e}", file=sys.stderr, flush=True)


if __name__ == "__main__":
	main()
