# SPDX-License-Identifier: Apache-2.0
# Does throughput sag, does memory grow? redis, nginx and PostgreSQL serve clients outside for an hour (MINUTES), natively and inside, in turn; each
# slice's ratio to native and the enclave's memory are kept. The last quarter is compared with the second (the first fills caches):
# exit code 1 when the median ratio lost more than a tenth or memory grew by more than a twentieth and 4 MiB.
#
#	MINUTES=60 python3 bench/sag.py [FILE]		FILE: each slice as a line of JSON
import json
import os
import shutil
import statistics
import sys
import tempfile
import time

import apps

ROWS = ("redis_P16_SET", "nginx_1k", "pgbench_tpcb_outside")
LOST, GROWN, GROWN_MIB = 0.9, 1.05, 4


def enclave_mib(pid):
	"""What the file holds that is the enclave's memory."""
	for fd in os.listdir(f"/proc/{pid}/fd"):
		path = f"/proc/{pid}/fd/{fd}"
		if os.readlink(path).startswith("/memfd:enclave"):
			return os.stat(path).st_blocks * 512 / (1 << 20)
	raise RuntimeError("the enclave has no memory")


def main():
	minutes, log = float(os.environ.get("MINUTES", "60")), open(sys.argv[1], "w") if len(sys.argv) > 1 else None
	folder, servers, slices = tempfile.mkdtemp(prefix="coffer-sag."), [], []
	os.chmod(folder, 0o755)
	ports = apps.free_ports(3)
	try:
		apps.prepare(folder, ports)
		servers.append(apps.Server("native", folder, ports))
		servers.append(apps.Server("coffer", folder, ports))
		begin = time.monotonic()
		while time.monotonic() - begin < minutes * 60:
			s = {"minute": round((time.monotonic() - begin) / 60, 2)}
			for row in ROWS:
				n, c = (w.row(row, True) for w in servers)
				s[row] = {"native": round(n), "coffer": round(c), "ratio": round(c / n, 3)}
			for w in servers:  # what the transactions leave is no growth of the server's
				w.pg("psql", "-qc", "truncate pgbench_history", "-c", "vacuum pgbench_accounts, pgbench_tellers, pgbench_branches", "-c", "checkpoint")
			s["mib"] = round(enclave_mib(servers[1].process.pid), 1)
			slices.append(s)
			if log:
				print(json.dumps(s), file=log, flush=True)
			if sys.stderr.isatty():
				print(f"\r{s['minute']:.0f} of {minutes:.0f} minutes, {s['mib']:.0f} MiB ", end="", file=sys.stderr)
			time.sleep(max(0.0, 20 - (time.monotonic() - begin) % 20))
	finally:
		for s in servers:
			s.close()
		shutil.rmtree(folder, ignore_errors=True)
	q = len(slices) // 4
	if q < 2:
		sys.exit("too short: fewer than eight slices")
	early, late, bad = slices[q:2 * q], slices[-q:], 0
	for row in ROWS:
		a, b = (statistics.median(s[row]["ratio"] for s in part) for part in (early, late))
		good = b >= a * LOST
		bad += not good
		print(f"{'ok' if good else 'not ok'} {row}: of native {a:.2f} in the second quarter, {b:.2f} in the last")
	a, b = (statistics.median(s["mib"] for s in part) for part in (early, late))
	good = b <= a * GROWN + GROWN_MIB
	bad += not good
	print(f"{'ok' if good else 'not ok'} memory: {a:.0f} MiB in the second quarter, {b:.0f} MiB in the last")
	print(f"{len(ROWS) + 1 - bad} passed, {bad} failed")
	sys.exit(1 if bad else 0)


if __name__ == "__main__":
	main()
