# SPDX-License-Identifier: Apache-2.0
# The broker part of bench/run: build/bench/broker puts load on a real broker that has one CPU to itself; here its lines become the section of
# RESULTS.md.
#
#	python3 bench/broker.py [-q] [ROW...]
import argparse
import os
import subprocess

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BROKER = os.path.join(ROOT, os.environ.get("B", "build"), "bench/broker")

WHAT = {
	"round": "connection, auth, attest (SNP), resource",
	"round_kept_connection": "the same on a connection that is kept",
	"attest": "auth and attest, connection kept",
	"resource": "a secret, connection kept",
	"handshake": "connection and the smallest request",
	"request": "the smallest request, connection kept",
}
TARGET_ROUNDS, TARGET_START_MS, TARGET_MIB = 400, 50, 30
RUNS = 5


def per_core(row):
	n, _, cpu, *_ = row
	return n / cpu if cpu else 0


def reached(yes):
	return "reached" if yes else "**missed**"


def report(quick, rows=()):
	"""The section of RESULTS.md."""
	runs = []
	for _ in range(1 if quick else RUNS):
		p = subprocess.run([BROKER, "2" if quick else "4", *rows], capture_output=True, text=True, stdin=subprocess.DEVNULL)
		if p.returncode:
			return [f"broker: did not run ({p.stderr.strip()[-200:]})", ""]
		runs.append({})
		for line in p.stdout.splitlines():
			name, *numbers = line.split() or [""]
			if name in WHAT or name.endswith(("_ms", "_mib")):
				runs[-1][name] = [float(n) for n in numbers]
	# A row is that of the run with the median of requests over processor time; of start and memory the highest counts.
	values = {}
	for name in runs[0]:
		if name in WHAT:
			values[name] = sorted((r[name] for r in runs), key=per_core)[len(runs) // 2]
		else:
			values[name] = max(r[name] for r in runs)
	out = ["## The key broker under load", "",
	       "`bench/broker.c`: a real broker on one CPU, SQLite and audit log on a disk, 16 clients on the others, simulated SNP evidence in the real",
	       "format (each attestation checks a P-384 signature). Each grant is durable in the audit log before it is answered; concurrent requests share",
	       "a sync. Per core: requests over the broker's own processor time. Times are of the whole row, with 16 clients waiting.",
	       f"Rows are those of the median of {len(runs)} runs, each with a new broker.", "",
	       "| row | what | per second | per core | p50 | p99 | target |", "|---|---|---:|---:|---:|---:|---:|"]
	for name, what in WHAT.items():
		if name not in values:
			continue
		n, took, cpu, p50, p99 = values[name]
		core = per_core(values[name])
		all_runs = ", ".join(f"{per_core(r[name]):.0f}" for r in runs)
		target = f"≥ {TARGET_ROUNDS}/s per core {reached(core >= TARGET_ROUNDS)} ({all_runs})" if name == "round" else ""
		out.append(f"| {name} | {what} | {n / took:.0f} | {core:.0f} | {p50:.1f} ms | {p99:.1f} ms | {target} |")
	if "round" in values and "handshake" in values and "request" in values:
		cost = {k: values[k][2] / values[k][0] for k in ("round", "handshake", "request")}
		out += ["", f"The connection with its TLS handshake is {100 * (cost['handshake'] - cost['request']) / cost['round']:.0f} % of a round's processor time."]
	memory = values["memory_after_rounds_mib"][0]
	start = values["start_ms"][0]
	out += ["", f"Start to the first request: {start:.0f} ms (target ≤ {TARGET_START_MS} ms, {reached(start <= TARGET_START_MS)}). Resident memory: "
		f"{values['memory_at_start_mib'][0]:.1f} MiB at its start, {memory:.1f} MiB with 16 clients at work (target ≤ {TARGET_MIB} MiB, "
		f"{reached(memory <= TARGET_MIB)}), {values['memory_highest_mib'][0]:.1f} MiB at most in all rows, "
		f"{values['memory_with_1000_connections_mib'][0]:.1f} MiB with 1000 TLS connections open.", ""]
	return out


def main():
	ap = argparse.ArgumentParser()
	ap.add_argument("-q", "--quick", action="store_true")
	ap.add_argument("rows", nargs="*")
	a = ap.parse_args()
	print("\n".join(report(a.quick, a.rows)))


if __name__ == "__main__":
	main()
