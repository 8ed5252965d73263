# SPDX-License-Identifier: Apache-2.0
# For tests that need a key broker: one of their own, in the current folder, on a free port of the loopback.
# $COFFER is the command. Sets ca (its certificate), root (that of the simulated TEE), url and broker (process id).
url= broker=

# free_port: a port that nobody has. It is none of those that the system gives to whoever asks for any, so none of them gets it before it is used, or
# while its server is started anew; and never one that it has said before.
free_port() {
	/usr/bin/python3 - <<'P'
import os, random, socket
said = set(open(".ports").read().split()) if os.path.exists(".ports") else ()
first, last = map(int, open("/proc/sys/net/ipv4/ip_local_port_range").read().split())
ports = [p for p in range(11000, 65536) if not first <= p <= last]
while True:
    port = random.choice(ports if len(ports) > 2000 else range(11000, 65536))
    if str(port) in said:
        continue
    try:
        for kind in socket.SOCK_STREAM, socket.SOCK_DGRAM:
            with socket.socket(type=kind) as s:
                s.bind(("", port))
    except OSError:
        continue
    open(".ports", "a").write("%d\n" % port)
    print(port)
    break
P
}

# broker_prepare: its state in ./state, a simulated TEE's in ./simtee.
broker_prepare() {
	export COFFER_BROKER_DIR=$PWD/state COFFER_SIMTEE_DIR=$PWD/simtee
	unset COFFER_BROKER
	"$COFFER" broker prepare >prepare.out 2>&1 && "$COFFER" broker simulated-root >root.out 2>&1 || {
		cat prepare.out root.out >&2
		return 1
	}
	ca=$(grep -o '/[^ ]*\.pem' prepare.out | head -n 1) root=$(grep -o '/[^ ]*\.pem' root.out | head -n 1)
}

# broker_serve OPTION...: starts it, on the address it had before if there was one, and waits until it answers.
broker_serve() {
	b_listen=${url#https://}
	[ -n "$b_listen" ] || b_listen=127.0.0.1:$(free_port)
	"$COFFER" broker serve --listen "$b_listen" "$@" >broker.log 2>&1 </dev/null &
	broker=$!
	for _ in $(seq 1200); do
		if "$COFFER" broker status >/dev/null 2>&1; then
			url=$(cat "$COFFER_BROKER_DIR/address")
			return 0
		fi
		kill -0 $broker 2>/dev/null || break
		sleep 0.1
	done
	echo "the broker does not start: $(tail -n 3 broker.log | tr '\n' ' ')" >&2
	return 1
}

broker_stop() {
	[ -z "$broker" ] || { kill $broker 2>/dev/null; wait $broker 2>/dev/null; }
	broker=
}
