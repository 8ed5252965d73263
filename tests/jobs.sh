# SPDX-License-Identifier: Apache-2.0
# For sourcing by bash: parts of a test run at the same time, one for each CPU (JOBS: how many). What each says is kept in a file and
# shown whole, in the order in which they were started.
#
#	jobs_begin FOLDER     their files go there
#	job COMMAND...        starts the next one as soon as there is room; the first has the number 0
#	jobs_end              waits for all
#	jobs_stop             ends those that run, with all that they started: for the caller's trap
#	crowd                 how many times longer than on a quiet machine something may take before it is said to hang
#
# The caller defines `said NUMBER FILE CODE`, which is called for each in its own shell: FILE is its output, CODE how it ended.
declare -A jobs_running=() # process id -> number
jobs_code=() jobs_started=0 jobs_shown=0 jobs_most=${JOBS:-$(nproc 2>/dev/null || echo 2)}

crowd() {
	local load rest
	read -r load rest </proc/loadavg
	awk -v busy="$load" -v cpus="$(nproc)" 'BEGIN { n = busy / cpus; print(n > 1 ? int(n + 0.99) : 1) }'
}

jobs_begin() {
	jobs_dir=$1
}

job() {
	while [ ${#jobs_running[@]} -ge "$jobs_most" ]; do
		jobs_wait
	done
	set -m # a process group of its own: who ends that of the caller would leave what it started without a parent to find it by
	"$@" >"$jobs_dir/$jobs_started" 2>&1 </dev/null &
	set +m
	jobs_running[$!]=$jobs_started
	jobs_started=$((jobs_started + 1))
}

# Waits for one to end, and shows those whose turn it is. (`wait -n` does not tell of one that ended before it was called.)
jobs_wait() {
	local pid
	wait -n "${!jobs_running[@]}" 2>/dev/null
	for pid in "${!jobs_running[@]}"; do
		! kill -0 "$pid" 2>/dev/null || continue
		wait "$pid"
		jobs_code[${jobs_running[$pid]}]=$?
		unset "jobs_running[$pid]"
	done
	while [ -n "${jobs_code[$jobs_shown]:-}" ]; do
		said $jobs_shown "$jobs_dir/$jobs_shown" "${jobs_code[$jobs_shown]}"
		rm -f "$jobs_dir/$jobs_shown"
		jobs_shown=$((jobs_shown + 1))
	done
}

jobs_end() {
	while [ ${#jobs_running[@]} -gt 0 ]; do
		jobs_wait
	done
}

jobs_stop() {
	local pid
	for pid in "${!jobs_running[@]}"; do
		jobs_kill "$pid"
		wait "$pid"
	done
}

# A process before those that it started, so that it starts no more; `timeout` hands the signal on.
jobs_kill() {
	local child children
	children=$(pgrep -P "$1")
	kill "$1" 2>/dev/null
	for child in $children; do
		jobs_kill "$child"
	done
}
