# SPDX-License-Identifier: Apache-2.0
# For the refusal tests: each states what has to be refused, how it exits, and what the message has to say.
# The current directory is empty and the test's own; $COFFER is the command.
. "${LIB%/e2e/*}/broker.sh"
trap 'exit 130' HUP INT TERM # what each cleans up at its end it cleans up then, too

ok() { echo "ok refusal.$1"; }
no() { echo "not ok refusal.$1: $2"; }

# until_true COMMAND...: asked again and again, for two minutes and more: nothing that works takes that long, however busy the machine.
until_true() {
	for u_try in $(seq 1200); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.1
	done
	return 1
}

# listening PORT: waits until somebody does, on the loopback.
listening() {
	until_true /usr/bin/python3 -c "import socket, sys; s = socket.socket(); sys.exit(s.connect_ex(('127.0.0.1', $1)))"
}

# gone PID...: none of them runs any more.
gone() {
	for g_pid; do
		[ ! -d "/proc/$g_pid" ] || grep -q '^State:.Z' "/proc/$g_pid/status" 2>/dev/null || return 1
	done
}

# stopped PID...: ends them, and waits until they are gone, with what they listened at.
stopped() {
	kill "$@" 2>/dev/null
	wait "$@" 2>/dev/null
	return 0
}

# refused NAME REGEX COMMAND...: ends within two minutes with a code that is not 0 and not a crash, and its message matches.
refused() {
	r_name=$1 r_want=$2
	shift 2
	timeout -k 5 120 "$@" >out 2>err </dev/null
	r_code=$?
	r_text=$(cat out err | tr '\n' ' ' | cut -c1-300)
	if [ $r_code = 0 ]; then
		no "$r_name" "accepted: $r_text"
	elif [ $r_code = 124 ] || [ $r_code = 137 ]; then
		no "$r_name" "no end: $r_text"
	elif [ $r_code -gt 128 ]; then
		no "$r_name" "crashed, code $r_code: $r_text"
	elif ! cat out err | grep -Eqi -- "$r_want"; then
		no "$r_name" "the message does not say '$r_want': $r_text"
	elif [ "$(wc -l <err)" -gt 8 ]; then
		no "$r_name" "more than one clear message: $(wc -l <err) lines"
	else
		ok "$r_name"
	fi
}

# works NAME REGEX COMMAND...: exit code 0 and output that matches.
works() {
	r_name=$1 r_want=$2
	shift 2
	timeout -k 5 120 "$@" >out 2>err </dev/null
	r_code=$?
	if [ $r_code = 0 ] && { [ -z "$r_want" ] || cat out err | grep -Eq -- "$r_want"; }; then
		ok "$r_name"
	else
		no "$r_name" "code $r_code: $(cat out err | tr '\n' ' ' | cut -c1-300)"
	fi
}

# A project in ./NAME with busybox, a shell and what else is named; further lines of coffer.yaml on standard input.
project() {
	p_dir=$1
	shift
	mkdir -p "$p_dir"
	{
		printf 'name: %s\ncommand: [/bin/busybox, echo, as configured]\nworking_directory: /\ncopy:\n  - /bin/busybox\n' "$p_dir"
		for p_item; do
			printf '  - %s\n' "$p_item"
		done
		cat
	} >"$p_dir/coffer.yaml"
}

# flip FILE OFFSET: inverts one byte.
flip() {
	byte=$(od -An -tu1 -j "$2" -N 1 "$1" | tr -d ' ')
	# shellcheck disable=SC2059
	printf "$(printf '\\%03o' $((byte ^ 255)))" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}
