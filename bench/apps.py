# SPDX-License-Identifier: Apache-2.0
# The applications part of bench/run: Debian's own programs doing real work natively and inside an enclave, in turn. Work that needs nobody outside runs
# in one shell of each world, which times itself, so that no start of an enclave is in a figure; servers are asked by clients outside, at ports of this
# machine. Files are on tmpfs: natively /dev/shm, inside the enclave's own.
#
#	python3 bench/apps.py [-q] [-r ROUNDS] [ROW...]
import argparse
import os
import pwd
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from shield import NGINX, free_ports, must, nginx_rate, redis_rate, sh, wait_for

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
COFFER = os.path.join(ROOT, os.environ.get("B", "build"), "bin/coffer")
PG = "/usr/lib/postgresql/15/bin"
PATH = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:" + PG
MEMORY_BEYOND = 15  # MiB that an idle PostgreSQL may take inside, more than natively
NOISE = 1.05

# Row: unit, target of the ratio to native (at most for times, at least for rates), placement, and what gVisor's and Gramine's ratios were where both
# were measured, in times slower (another machine).
ROWS = {
	"sh_500_true": ("s", 1.15, "pinned", "20, 35"),
	"gcc_O2": ("s", 1.05, "pinned", "2.0, 1.2"),
	"python_start": ("s", 1.1, "pinned", "4.2, 3.6"),
	"sqlite_100k_1txn_delete": ("s", 1.0, "pinned", "1.5, 0.9"),
	"sqlite_1k_txn_delete": ("s", 1.0, "pinned", "3.0, 0.9"),
	"sqlite_50k_select_delete": ("s", 1.0, "pinned", "6.9, 1.4"),
	"sqlite_100k_1txn_wal": ("s", 1.0, "pinned", "1.4, 1.0"),
	"sqlite_1k_txn_wal": ("s", 1.0, "pinned", "2.6, 0.9"),
	"sqlite_50k_select_wal": ("s", 1.0, "pinned", "3.6, 1.3"),
	"java_start": ("s", 1.1, "free", ""),
	"node_start": ("s", 1.1, "free", "3.0, 1.3"),
	"go_start": ("s", 1.1, "free", ""),
	"make_coffer": ("s", 1.1, "free", ""),
	"pg_initdb": ("s", None, "free", "3.4, -"),
	"pgbench_S": ("/s", 0.9, "free", "10.5, -"),
	"pgbench_tpcb": ("/s", 0.9, "free", "5.4, -"),
	"redis_P16_GET": ("/s", 0.95, "free", "4.5, 1.7"),
	"redis_P16_SET": ("/s", 0.95, "free", "7.2, 2.2"),
	"redis_P1_GET": ("/s", 0.95, "free", "5.5, 1.1"),
	"redis_P1_SET": ("/s", 0.95, "free", "7.2, 1.1"),
	"nginx_1k": ("/s", 0.9, "free", "11.4, 1.4"),
	"nginx_100k": ("/s", 0.9, "free", "13.0, 1.3"),
	"pgbench_S_outside": ("/s", 0.9, "free", ""),
	"pgbench_tpcb_outside": ("/s", 0.9, "free", ""),
}
FIRST_OUTSIDE = list(ROWS).index("redis_P16_GET")

# bash, in both worlds: `rows ROW SECONDS` prints the row's value. $1 names the row, $2 how long a rate is measured.
SHELL = r"""
set -u
cd "$TMPDIR" || exit 1
timed() { # timed N COMMAND...: once unmeasured, then N times; seconds a time
	local n=$1 i a b
	shift
	"$@" >/dev/null || exit 1
	a=$EPOCHREALTIME
	for ((i = 0; i < n; i++)); do "$@" >/dev/null; done
	b=$EPOCHREALTIME
	echo "$((10#${b/./} - 10#${a/./})) $n"
}
trues() { local i; for ((i = 0; i < 500; i++)); do /usr/bin/true; done; }
compile() { gcc -O2 -D_GNU_SOURCE -pthread -c -o micro.o "$BENCH/micro.c"; }
postgres() { # postgres WHAT SECONDS
	local as= a b
	[ "$(id -u)" = 0 ] && as="setpriv --reuid=postgres --regid=postgres --clear-groups --"
	mkdir pg && { [ -z "$as" ] || chown postgres:postgres pg; } && chmod 700 pg
	export LC_ALL=C PGDATA=$PWD/pg PGHOST=$PWD/pg PGDATABASE=postgres PGUSER=bench
	a=$EPOCHREALTIME
	$as initdb -A trust -U bench -E SQL_ASCII --no-instructions >log 2>&1 || { cat log >&2; exit 1; }
	b=$EPOCHREALTIME
	[ "$1" != initdb ] || { echo "$((10#${b/./} - 10#${a/./})) 1"; return; }
	$as pg_ctl -w -t 60 -l pg/log -o "-c listen_addresses= -c unix_socket_directories=$PGDATA" start >log 2>&1 || { cat log pg/log >&2; exit 1; }
	pgbench -q -i -s 10 >log 2>&1 || { cat log >&2; exit 1; }
	pgbench -n $1 -c 4 -j 2 -T "$2" >out 2>log || { cat log >&2; exit 1; }
	sed -n 's/^tps = \([0-9.]*\) .*/\1/p' out
	$as pg_ctl -w -m immediate stop >/dev/null
}
case $1 in
sh_500_true) timed 1 trues ;;
gcc_O2) timed 2 compile ;;
python_start) timed 20 python3 -c pass ;;
sqlite_*) python3 "$BENCH/sqlite.py" "$1" ;;
java_start) timed 5 java -Xshare:auto -cp "$BENCH" Hello ;;
node_start) timed 10 node -e 0 ;;
make_coffer) # once: it takes minutes
	mkdir coffer && tar -xf "$BENCH/coffer.tar" -C coffer && cd coffer || exit 1
	a=$EPOCHREALTIME
	CCACHE_DISABLE=1 make -s -j2 "$2" >log 2>&1 || { tail -n 3 log >&2; exit 1; }
	b=$EPOCHREALTIME
	echo "$((10#${b/./} - 10#${a/./})) 1" ;;
go_start) timed 50 "$BENCH/hello" ;;
pg_initdb) postgres initdb 0 ;;
pgbench_S) postgres -S "$2" ;;
pgbench_tpcb) postgres "" "$2" ;;
esac
"""

SQLITE = r"""
import random, sqlite3, sys, time
_, count, what, mode = sys.argv[1].split("_")
db = sqlite3.connect("bench.db", isolation_level=None)
db.execute(f"pragma journal_mode={mode}")
db.execute("pragma synchronous=full")
db.execute("create table t(k integer primary key, v text)")
def fill(n):
	db.execute("begin")
	db.executemany("insert into t values(?, ?)", ((i, "value %060d" % i) for i in range(n)))
	db.execute("commit")
def select():
	r = random.Random(1)
	for _ in range(50000):
		db.execute("select v from t where k = ?", (r.randrange(100000),)).fetchone()
def transactions():
	for i in range(1000):
		db.execute("insert into t values(?, ?)", (i, "value %060d" % i))
if what == "select":
	fill(100000)
t = time.perf_counter()
if what == "select":
	select()
elif count == "100k":
	fill(100000)
else:
	transactions()
print(int((time.perf_counter() - t) * 1e6), 1)
"""

def stop(p):
	"""A process and its group."""
	for s in (signal.SIGTERM, signal.SIGKILL):
		try:
			os.killpg(p.pid, s)
			p.wait(20)
			break
		except (ProcessLookupError, subprocess.TimeoutExpired):
			pass


def prepare(folder, ports):
	"""The project: programs, and in bench/ what they work on. Natively the same bench/ is used."""
	b = folder + "/bench"
	os.makedirs(b + "/www")
	shutil.copy(os.path.join(ROOT, "bench/micro.c"), b)
	for name, text in (("rows", SHELL), ("sqlite.py", SQLITE), ("Hello.java", 'public class Hello { public static void main(String[] a) { System.out.println("hello"); } }\n'),
			   ("hello.go", 'package main\n\nfunc main() { println("hello") }\n')):
		with open(f"{b}/{name}", "w") as f:
			f.write(text)
	must("/usr/bin/javac", "-d", b, b + "/Hello.java")
	must("/usr/bin/go", "build", "-o", b + "/hello", b + "/hello.go", env={**os.environ, "HOME": folder, "GOFLAGS": "-mod=mod", "GO111MODULE": "off", "GOROOT": "/usr/lib/go"})
	for file, size in (("1k", 1 << 10), ("100k", 100 << 10)):
		with open(f"{b}/www/{file}", "wb") as f:
			f.write(b"x" * size)
	with open(folder + "/coffer.yaml", "w") as f:
		f.write("name: bench-apps\ncommand: [/bin/bash]\nhost_arguments: true\nworking_directory: /\nmemory: 8G\n"
			f"environment: {{PATH: \"{PATH}\", BENCH: /bench, TMPDIR: /tmp}}\nnetwork:\n  listen: [{', '.join(map(str, ports))}]\ncopy:\n  - bench\n" +
			"".join(f"  - {i}\n" for i in ("/bin/bash", "/bin/sh", "debian:coreutils", "/usr/bin/sed", "/usr/bin/gcc", "/usr/bin/python3", "/usr/bin/java", "/usr/bin/node",
			"/usr/bin/redis-server", "/usr/sbin/nginx", PG, "/usr/lib/postgresql/15/lib", "/usr/share/postgresql/15", "/usr/share/zoneinfo/UTC", "/usr/bin/setpriv",
			"/etc/passwd", "/etc/group")))
	must(COFFER, "build", "-q", cwd=folder)


def prepare_make(folder):
	"""Another project: what compiles Coffer, and the committed sources."""
	b = folder + "/bench"
	os.makedirs(b)
	with open(b + "/rows", "w") as f:
		f.write(SHELL)
	must("git", "-C", ROOT, "archive", "-o", b + "/coffer.tar", "HEAD")
	with open(os.path.join(ROOT, "tests/e2e/images/build")) as f:
		items = [line.strip() for line in f if line[0] not in "#\n" and not line.startswith("build/")]
	with open(folder + "/coffer.yaml", "w") as f:
		f.write("name: bench-make\ncommand: [/bin/bash]\nhost_arguments: true\nworking_directory: /\nmemory: 12G\n"
			f"environment: {{PATH: \"{PATH}\", BENCH: /bench, TMPDIR: /tmp}}\ncopy:\n  - bench\n" + "".join(f"  - {i}\n" for i in items))
	must(COFFER, "build", "-q", cwd=folder)


class World:
	def __init__(self, name, folder):
		self.name, self.folder, self.inside = name, folder, name == "coffer"
		self.env = {**os.environ, "PATH": PATH, "BENCH": folder + "/bench", "LC_ALL": "C.UTF-8"}

	def argv(self, argv, pinned=False):
		argv = [COFFER, "run", "--", *argv] if self.inside else list(argv)
		return ["/usr/bin/taskset", "-c", str(max(os.sched_getaffinity(0))), *argv] if pinned else argv

	def argument(self, name, quick):
		if name == "make_coffer":
			return "build/kernel.debug" if quick else "all"
		return "2" if quick else "5"

	def row(self, name, quick):
		"""A row that needs nobody outside: its value."""
		tmp = tempfile.mkdtemp(prefix="coffer-bench.", dir="/dev/shm")
		os.chmod(tmp, 0o755)
		try:
			out = must(*self.argv(["/bin/bash", ("/bench" if self.inside else self.env["BENCH"]) + "/rows", name, self.argument(name, quick)], ROWS[name][2] == "pinned"),
				   cwd=self.folder, env={**self.env, "TMPDIR": tmp}, timeout=600)
		finally:
			shutil.rmtree(tmp, ignore_errors=True)
		v = [float(x) for x in out.split()]
		return v[0] / 1e6 / v[1] if len(v) == 2 else v[0]


class Server(World):
	"""redis, nginx and PostgreSQL in one world, started once; `ports` is where clients go."""

	def __init__(self, name, folder, ports):
		super().__init__(name, folder)
		self.tmp = "/tmp" if self.inside else tempfile.mkdtemp(prefix="coffer-bench.", dir="/dev/shm")
		if not self.inside:
			os.chmod(self.tmp, 0o755)
			ports = free_ports(3)
		self.ports = ports
		bench = "/bench" if self.inside else self.env["BENCH"]
		conf = NGINX.format(dir=self.tmp, www=bench + "/www", port=ports[1], tls="", user="user root root;" if self.inside or os.geteuid() == 0 else "")
		as_ = "setpriv --reuid=postgres --regid=postgres --clear-groups --" if self.inside or os.geteuid() == 0 else ""
		script = f"""cd {self.tmp}; mkdir pg; {"chown postgres:postgres pg" if as_ else ":"}; chmod 700 pg; export LC_ALL=C PGDATA=$PWD/pg
cat >conf <<'EOF'
{conf}EOF
{as_} initdb -A trust -U bench -E SQL_ASCII --no-instructions >log 2>&1
printf 'host all all 0.0.0.0/0 trust\\n' >>pg/pg_hba.conf
redis-server --port {ports[0]} --save '' --bind 0.0.0.0 --protected-mode no --loglevel warning &
nginx -p {self.tmp} -c {self.tmp}/conf &
exec {as_} postgres -D pg -c listen_addresses=0.0.0.0 -c port={ports[2]} -c unix_socket_directories=$PWD/pg -c max_wal_size=64MB -c min_wal_size=32MB
"""
		self.process = subprocess.Popen(self.argv(["/bin/bash", "-c", script]), cwd=folder, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
						stderr=subprocess.DEVNULL, start_new_session=True)
		try:
			for port, hello in zip(ports[:2], (b"PING\r\n", b"GET /1k HTTP/1.0\r\n\r\n")):
				wait_for(self.name, port, hello)
			for _ in range(300):
				if sh(PG + "/pg_isready", "-h", "127.0.0.1", "-p", str(ports[2])).returncode == 0:
					break
				time.sleep(0.1)
			self.pg("pgbench", "-q", "-i", "-s", "10")
		except (RuntimeError, OSError):
			self.close()
			raise

	def pg(self, *argv):
		return must(PG + "/" + argv[0], *argv[1:], env={**self.env, "PGHOST": "127.0.0.1", "PGPORT": str(self.ports[2]), "PGUSER": "bench", "PGDATABASE": "postgres"})

	def row(self, name, quick):
		if name.startswith("redis"):
			_, p, what = name.split("_")
			return redis_rate(self.ports[0], what, (400000 if p == "P16" else 50000) * (1 if quick else 4), "-P", p[1:])
		if name.startswith("nginx"):
			return nginx_rate(self.name, self.ports[1], name[6:], 1 if quick else 4)
		out = self.pg("pgbench", "-n", *(["-S"] if "_S_" in name else []), "-c", "4", "-j", "2", "-T", "2" if quick else "5")
		return float(next(line for line in out.splitlines() if line.startswith("tps")).split()[2])

	def close(self):
		stop(self.process)
		if not self.inside:
			shutil.rmtree(self.tmp, ignore_errors=True)


def session_pss(leader):
	"""MiB of all processes of a session and of what descends from them: PostgreSQL's processes have sessions of their own."""
	total, mine, stat = 0, {leader}, {}
	for d in filter(str.isdigit, os.listdir("/proc")):
		try:
			with open(f"/proc/{d}/stat") as f:
				fields = f.read().rsplit(")", 1)[1].split()
			stat[int(d)] = (int(fields[1]), int(fields[3]))  # parent, session
		except OSError:
			pass
	grew = True
	while grew:
		more = {d for d, (parent, session) in stat.items() if session == leader or parent in mine} - mine
		mine |= more
		grew = bool(more)
	for d in mine:
		try:
			with open(f"/proc/{d}/smaps_rollup") as f:
				total += sum(int(line.split()[1]) for line in f if line.startswith("Pss:"))
		except OSError:
			pass
	return total / 1024


def idle_postgres(world):
	"""MiB of a PostgreSQL that nobody asks: what its processes hold and, where it is no memory of theirs, its folder on tmpfs."""
	tmp = "/tmp" if world.inside else tempfile.mkdtemp(prefix="coffer-bench.", dir="/dev/shm")
	if not world.inside:
		os.chmod(tmp, 0o755)
	as_ = "setpriv --reuid=postgres --regid=postgres --clear-groups --" if world.inside or os.geteuid() == 0 else ""
	script = f"""cd {tmp}; mkdir pg; {"chown postgres:postgres pg" if as_ else ":"}; chmod 700 pg; export LC_ALL=C PGDATA=$PWD/pg
{as_} initdb -A trust -U bench -E SQL_ASCII --no-instructions >log 2>&1
exec {as_} postgres -D pg -c listen_addresses= -c unix_socket_directories=$PWD/pg 2>log"""
	p = subprocess.Popen(world.argv(["/bin/bash", "-c", script]), cwd=world.folder, env=world.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
			     stderr=subprocess.DEVNULL, start_new_session=True)
	try:
		time.sleep(10)
		folder = 0 if world.inside else int(must("du", "-sk", tmp).split()[0]) / 1024
		return session_pss(p.pid) + folder if p.poll() is None else None
	finally:
		stop(p)
		if not world.inside:
			shutil.rmtree(tmp, ignore_errors=True)


def show(v, unit):
	if v is None:
		return "-"
	return f"{v:,.0f} /s" if unit == "/s" else f"{v * 1e3:.3g} ms" if v < 1 else f"{v:.2f} s"


def report(rounds, quick, rows=None):
	"""The section of RESULTS.md."""
	for tool in ("redis-benchmark", "redis-server", "wrk", "/usr/sbin/nginx", PG + "/initdb", "/usr/bin/node", "/usr/bin/java", "/usr/bin/go", "gcc"):
		if not shutil.which(tool):
			return [f"applications: left out, {tool} is missing", ""]
	try:
		pwd.getpwnam("postgres")
	except KeyError:
		return ["applications: left out, there is no user postgres", ""]
	rows = rows or list(ROWS)
	folder, values, servers, idle = tempfile.mkdtemp(prefix="coffer-apps."), {}, [], {}
	os.chmod(folder, 0o755)
	ports = free_ports(3)
	try:
		prepare(folder, ports)
		worlds = [World("native", folder), World("coffer", folder)]
		outside = [r for r in rows if list(ROWS).index(r) >= FIRST_OUTSIDE]
		if "make_coffer" in rows:
			os.makedirs(folder + "/make")
			prepare_make(folder + "/make")
			for w in (World("native", folder + "/make"), World("coffer", folder + "/make")):
				print(f"make_coffer, {w.name}", file=sys.stderr)
				values["make_coffer", w.name] = [w.row("make_coffer", quick)]
		for k in range(rounds):
			for r in rows:
				if r not in outside and r != "make_coffer":
					print(f"round {k + 1}/{rounds}: {r}", file=sys.stderr)
					for w in worlds:
						values.setdefault((r, w.name), []).append(w.row(r, quick))
		if outside:
			servers.append(Server("native", folder, ports))
			servers.append(Server("coffer", folder, ports))
		for k in range(rounds):
			for r in outside:
				print(f"round {k + 1}/{rounds}: {r}", file=sys.stderr)
				for w in servers:
					values.setdefault((r, w.name), []).append(w.row(r, quick))
		while servers:
			servers.pop().close()
		if len(rows) == len(ROWS):
			idle = {w.name: idle_postgres(w) for w in worlds}
	except (RuntimeError, StopIteration, OSError, subprocess.TimeoutExpired) as e:
		return [f"applications: did not run ({e})", ""]
	finally:
		for s in servers:
			s.close()
		shutil.rmtree(folder, ignore_errors=True)
	out = ["## Applications", "",
	       "Debian's programs, unchanged, natively and inside, in turn; medians of the rounds, the ratio is the median of the rounds' ratios. `pinned`: the whole world on",
	       "one CPU. Rows from `redis` on: the server inside, its clients outside on the same machine, 50 connections (PostgreSQL: 4). Files on tmpfs.",
	       f"`make_coffer`: {'the kernel' if quick else 'all of Coffer'} by `make -j2`, once. The last column: times slower than native under gVisor",
	       "(systrap, host network) and Gramine (direct), both measured on another machine.", "",
	       "| | native | coffer | ratio | target | | gVisor, Gramine |", "|---|---:|---:|---:|---|---|---|"]
	for r in rows:
		unit, limit, placement, peers = ROWS[r]
		n, c = values[r, "native"], values[r, "coffer"]
		ratio = statistics.median(y / x for x, y in zip(n, c))
		target = ""
		if limit:
			good = ratio >= limit / NOISE if unit == "/s" else ratio <= limit * NOISE
			target = ("≥ " if unit == "/s" else "≤ ") + f"{limit:g} " + ("reached" if good else "**missed**")
		out.append(f"| {r} | {show(statistics.median(n), unit)} | {show(statistics.median(c), unit)} | {ratio:.2f} | {target} | {placement} | {peers} |")
	if idle and None not in idle.values():
		beyond = idle["coffer"] - idle["native"]
		out += ["", f"An idle PostgreSQL, with its database on tmpfs: natively {idle['native']:.1f} MiB, inside {idle['coffer']:.1f} MiB: {beyond:.1f} MiB beyond native "
			f"(≤ {MEMORY_BEYOND} {'reached' if beyond <= MEMORY_BEYOND else '**missed**'})."]
	return out + [""]


if __name__ == "__main__":
	ap = argparse.ArgumentParser()
	ap.add_argument("-q", "--quick", action="store_true")
	ap.add_argument("-r", "--rounds", type=int)
	ap.add_argument("rows", nargs="*")
	a = ap.parse_args()
	print("\n".join(report(a.rounds or (1 if a.quick else 3), a.quick, a.rows)))
