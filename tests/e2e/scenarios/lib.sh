# SPDX-License-Identifier: Apache-2.0
# For scenarios with servers: sourced first, natively and inside. Makes a folder of its own and goes there; ends what was started.
#	as            before a command of a server that refuses to be root: runs it as nobody
#	n COUNT       COUNT times SCALE
#	port          prints a TCP port where nobody listens, another one each time
#	await CMD...  until the command succeeds
#	ended PID     waits for a child and prints how it ended
#	many N URL    asks for it N times SCALE times, forty at once, and prints how often which answer came
#	data SEED N   N bytes, for each SEED others, always the same
#	together N CMD...  CMD N times at once, in each with another $i from 1 on; prints how often which digest of output and exit code came
#	meanwhile PID N CMD...  CMD N times, with $i from 1 on, and again until PID has ended
#	children PID  prints them
#	gone PID      until no such process runs any more, whoever's child it is (a zombie does not run)
PATH=$PATH:/usr/sbin:/sbin
LC_ALL=C
SCALE=${SCALE:-1}
export PATH LC_ALL
mkdir work && cd work || exit 1
home=$PWD
as=
if [ "$(id -u)" = 0 ]; then
	as="setpriv --reuid=65534 --regid=65534 --clear-groups --"
	chown 65534:65534 . || exit 1
fi
n() { echo $(($1 * SCALE)); }
port() {
	while :; do
		p_port=$((10000 + $(od -An -N2 -tu2 /dev/urandom) % 20000))
		grep -qsx $p_port "$home/.ports" || grep -qi ":$(printf %04X $p_port) " /proc/net/tcp /proc/net/tcp6 /proc/net/udp 2>/dev/null || break
	done
	echo $p_port | tee -a "$home/.ports"
}
await() {
	a_left=1200
	until "$@" >/dev/null 2>&1; do
		a_left=$((a_left - 1))
		[ $a_left -gt 0 ] || { echo "in vain: $*"; exit 1; }
		sleep 0.05
	done
}
ended() {
	wait "$1"
	echo "${2:-ended} $?"
}
many() {
	curl -s -Z --parallel-max 40 -o /dev/null -w '%{http_code}\n' "$2?[1-$(n "$1")]" | sort | uniq -c
}
data() { seq "$1" 1000000000 2>/dev/null | head -c "$2"; }
together() (
	t_n=$1 t_dir=$(mktemp -d "$home/.together.XXXXXX") && shift || exit 1
	for i in $(seq "$t_n"); do { "$@"; echo "$?"; } | sha256sum >"$t_dir/$i" & done
	wait
	cat "$t_dir"/* | sort | uniq -c
	rm -r "$t_dir"
)
running() { # natively a process number of nobody's may be anybody's child
	case $(sed -n 's/^State:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null) in '' | Z* | X*) return 1 ;; esac
}
children() { grep -ls "^PPid:[[:space:]]*$1\$" /proc/[0-9]*/status | tr -dc '0-9\n'; }
gone() {
	while running "$1"; do sleep 0.05; done
}
meanwhile() {
	m_pid=$1 m_least=$2 i=1 && shift 2
	while [ $i -le "$m_least" ] || running "$m_pid"; do
		"$@"
		i=$((i + 1))
	done
	wait "$m_pid"
}
# What is still there when the script ends: its jobs, and daemons that have this folder (below it) as theirs.
finish() {
	trap - EXIT
	jobs -p >"$home/.jobs" # in this shell: a subshell has none
	for p_pid in $(cat "$home/.jobs") $(ls -l /proc/[0-9]*/cwd 2>/dev/null | sed -n "s|.*/proc/\([0-9]*\)/cwd -> $home\(/.*\)*\$|\1|p"); do
		[ "$p_pid" = $$ ] || kill -9 "$p_pid" 2>/dev/null
	done
}
trap finish EXIT
trap 'exit 143' TERM INT HUP
