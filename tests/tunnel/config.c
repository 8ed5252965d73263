// SPDX-License-Identifier: Apache-2.0
// The gateway's configuration: what is read, what is refused and in which words, and which routes are the same.
#include "tunnel/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/attest/ok.h"

static char folder[64], path[96];

static int parse(struct config **c, const char *text, struct fault *f)
{
	return tunnel_config_parse(c, text, strlen(text), path, f);
}

static void put(const char *name, const char *text)
{
	char full[160];
	snprintf(full, sizeof full, "%s/%s", folder, name);
	FILE *f = fopen(full, "w");
	if (!f || fputs(text, f) < 0 || fclose(f))
		abort();
}

static void bad(const char *name, const char *text, const char *why)
{
	struct fault f = {""};
	struct config *c = NULL;
	char label[120];
	int err = parse(&c, text, &f);
	snprintf(label, sizeof label, "tunnel config: refused: %s", name);
	ok(label, err < 0 && !c && strstr(f.text, why) && !strncmp(f.text, path, strlen(path)), "%d '%s'", err, f.text);
	tunnel_config_free(c);
}

#define IN "routes:\n  - name: a\n    ingress: {listen: \"127.0.0.1:1\"}\n    connect: far:2\n"
#define OUT "routes:\n  - name: a\n    egress: {listen: \"127.0.0.1:1\", to: \"near:2\"}\n"
#define ANY "    verify: {insecure_any_server: true}\n"
#define HEX48 "000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000007"

static void test_whole(void)
{
	static const char text[] =
		"workers: 3\nadmin: unix:/run/x.sock\nlog: {format: json, level: debug}\nlimits: {connections: 10, handshakes: 5, memory_mib: 7, window_kib: 64}\n"
		"timeouts: {connect_seconds: 1, handshake_seconds: 2, idle_seconds: 3, drain_seconds: 0, keepalive_seconds: 4}\nroutes:\n"
		"  - name: in\n    ingress: {listen: \"[::1]:0\", accept: socks5, destinations: [\"*\"], mark: 9}\n    connect: \"one.example:1, [2001:db8::1]:2\"\n"
		"    verify: {measurements: [\"" HEX48 "\"], collateral: c}\n    session: {mode: wanted, renew_seconds: 5, cache_seconds: 0}\n"
		"  - name: out\n    egress: {listen: \"unix:/tmp/l\", to: \"unix:/tmp/t\", allow: [\"*.example:443\"]}\n    attest: true\n"
		"    identity: {key: key.pem, subject: me}\n";
	struct fault f = {""};
	struct config *c = NULL;
	put("key.pem", "k");
	if (!ok("tunnel config: all of it", !parse(&c, text, &f), "%s", f.text))
		return;
	const struct settings *s = &c->settings;
	ok("tunnel config: settings", s->workers == 3 && s->admin.sa.ss_family == AF_UNIX && s->log_json && s->log_level == TUNNEL_LOG_DEBUG &&
		s->connections == 10 &&
	   s->handshakes == 5 && s->memory_bytes == 7 << 20 && s->window_bytes == 64 << 10 && s->connect_ms == 1000 && s->handshake_ms == 2000 &&
		s->idle_ms == 3000 &&
	   s->drain_ms == 0 && s->keepalive_ms == 4000, "another value");
	const struct route_config *in = c->routes[0], *out = c->routes[1];
	ok("tunnel config: ingress", in->kind == ROUTE_INGRESS && in->accept.kind == ACCEPT_SOCKS5 && in->gateway_count == 2 &&
		in->gateways[0].port == 1 &&
	   in->gateways[1].host == TARGET_IPV6 && in->gateways[1].port == 2 && in->mux && in->through && in->mark == 9, "another value");
	ok("tunnel config: verify", in->tls.verify && !strcmp(in->tls.measurements[0], HEX48) && !in->tls.measurements[1] && in->tls.no_cache &&
	   in->tls.session == RATLS_SESSION_WANTED && in->tls.renew_seconds == 5 && !in->tls.attest, "another value");
	char want[160];
	snprintf(want, sizeof want, "%s/c", folder);
	ok("tunnel config: files are looked up beside it", !strcmp(in->tls.collateral_dir, want), "%s", in->tls.collateral_dir);
	ok("tunnel config: egress", out->kind == ROUTE_EGRESS && out->has_to && out->to_unix && out->allow && out->tls.attest && !out->tls.verify &&
	   !strcmp(out->tls.subject, "me") && !strcmp(out->to_path.text, "unix:/tmp/t"), "another value");
	tunnel_config_free(c);
}

static void test_refused(void)
{
	bad("no route", "workers: 1\nroutes: []\n", "there is no route");
	bad("an unknown key", "routs: []\n", "nearest known key is 'routes'");
	bad("an unknown key within", IN ANY "    verfy: {}\n", "nearest known key is 'verify'");
	bad("yes for true", OUT "    attest: yes\n", "must be true or false");
	bad("neither way", "routes:\n  - name: a\n    connect: x:1\n", "either `ingress` or `egress`");
	bad("both ways", IN ANY "    egress: {listen: \"127.0.0.1:3\", to: \"near:2\"}\n", "either `ingress` or `egress`");
	bad("nobody is asked for anything", IN, "needs `verify`");
	bad("no far gateway", "routes:\n  - name: a\n    ingress: {listen: \"127.0.0.1:1\"}\n" ANY, "needs `connect`");
	bad("a gateway without a port", "routes:\n  - name: a\n    ingress: {listen: \"127.0.0.1:1\"}\n    connect: far\n" ANY, "no HOST:PORT");
	bad("a name to listen at", "routes:\n  - name: a\n    egress: {listen: \"localhost:1\", to: \"near:2\"}\n", "no numeric ADDRESS:PORT");
	bad("a port too large", "routes:\n  - name: a\n    egress: {listen: \"127.0.0.1:65536\", to: \"near:2\"}\n", "no numeric ADDRESS:PORT");
	bad("a path too long",
		"routes:\n  - name: a\n    egress: {listen: \"unix:/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\", to: \"near:2\"}\n", "a path of 1 to");
	bad("nowhere to go", "routes:\n  - name: a\n    egress: {listen: \"127.0.0.1:1\"}\n", "needs `to`");
	bad("a policy that is not there", IN "    verify: {policy: nope.yaml}\n", "nope.yaml");
	bad("a way in that nobody knows", "routes:\n  - name: a\n    ingress: {listen: \"127.0.0.1:1\", accept: ftp}\n    connect: far:2\n" ANY,
		"'ftp'");
	bad("destinations without streams",
		"routes:\n  - name: a\n    ingress: {listen: \"127.0.0.1:1\", accept: socks5}\n    connect: far:2\n    mux: false\n" ANY,
	    "mux cannot be false");
	bad("a verify that asks nothing", IN "    verify: {collateral: c}\n", "which enclaves are meant");
	bad("anybody, and yet not", IN "    verify: {insecure_any_server: true, any_measurement: true}\n", "which?");
	bad("any server, for clients", OUT "    verify: {insecure_any_server: true}\n", "is about servers");
	bad("two kinds of proof", OUT "    attest: true\n    identity: {token: t}\n", "one of them");
	bad("a simulated measurement that is none", OUT "    identity: {insecure_simulate: abc}\n", "96 hexadecimal");
	bad("a session of another mode", OUT "    session: {mode: maybe}\n", "required, wanted or off");
	bad("one address twice", OUT "  - name: b\n    egress: {listen: \"127.0.0.1:1\", to: \"near:2\"}\n", "both listen at 127.0.0.1:1");
	bad("one name twice", OUT "  - name: a\n    egress: {listen: \"127.0.0.1:9\", to: \"near:2\"}\n", "two of this name");
	bad("a log of another kind", "log: {format: xml}\n" OUT, "text or json");
	bad("an admin that others reach", "admin: 0.0.0.0:1\n" OUT, "no loopback address");
	bad("an admin by name", "admin: localhost:1\n" OUT, "no numeric ADDRESS:PORT");
	bad("a negative number", "limits: {connections: -1}\n" OUT, "must be a number from 1");
	bad("aliases", "routes: &x\n  - *x\n", "not accepted");
}

static bool same(const char *a, const char *b)
{
	struct config *c = NULL, *d = NULL;
	struct fault f = {""};
	bool yes = !parse(&c, a, &f) && !parse(&d, b, &f) && !memcmp(c->routes[0]->digest, d->routes[0]->digest, 32);
	if (!c || !d)
		printf("# %s\n", f.text);
	tunnel_config_free(c);
	tunnel_config_free(d);
	return yes;
}

static void test_same(void)
{
	static const char with_policy[] = IN "    verify: {policy: p.yaml}\n";
	struct config *before = NULL, *after = NULL;
	struct fault f = {""};
	ok("tunnel config: the same text is the same route", same(OUT, OUT), "it is not");
	ok("tunnel config: the order of keys does not matter", same(OUT "    attest: true\n",
		"routes:\n  - attest: true\n    egress: {to: \"near:2\", listen: \"127.0.0.1:1\"}\n"
	   "    name: a\n"), "it does");
	ok("tunnel config: another text is another route", !same(OUT, OUT "    attest: true\n"), "it is not");
	put("p.yaml", "measurements: [\"" HEX48 "\"]\n");
	int err = parse(&before, with_policy, &f);
	put("p.yaml", "measurements: [\"" HEX48 "\"]\ntees: [snp]\n");
	err = err ? err : parse(&after, with_policy, &f);
	ok("tunnel config: another policy is another route", !err && memcmp(before->routes[0]->digest, after->routes[0]->digest, 32), "%s", f.text);
	tunnel_config_free(before);
	tunnel_config_free(after);
}

int main(void)
{
	const char *tmp = getenv("TMPDIR");
	snprintf(folder, sizeof folder, "%s/config.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
	if (!mkdtemp(folder))
		return 1;
	snprintf(path, sizeof path, "%s/gateway.yaml", folder);
	test_whole();
	test_refused();
	test_same();
	char command[128];
	snprintf(command, sizeof command, "rm -rf '%s'", folder);
	return system(command) || ok_failed;
}
