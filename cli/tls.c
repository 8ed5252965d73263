// SPDX-License-Identifier: Apache-2.0
// `coffer tls`: attested TLS from the shell, as openssl's s_client and s_server are for TLS.
#include "cli/tls.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <netdb.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define MAX_CHILDREN 256

struct request {
	struct tls_sides sides;
	const char *name, *where;
	char **command;		// NULL: standard input and output
};

static const struct option options[] = {
	{"attest", no_argument, NULL, 'a'}, {"insecure-simulate", required_argument, NULL, 's'}, {"endorse", no_argument, NULL, 'e'},
	{"token", required_argument, NULL, 't'}, {"key", required_argument, NULL, 'k'}, {"certificate", required_argument, NULL, 'c'},
	{"policy", required_argument, NULL, 'p'}, {"measurement", required_argument, NULL, 'm'}, {"any-measurement", no_argument, NULL, 'M'},
	{"collateral", required_argument, NULL, 'C'}, {"tpm-root", required_argument, NULL, 'T'}, {"token-keys", required_argument, NULL, 'K'},
	{"peer-token", required_argument, NULL, 'P'}, {"insecure-simulated-root", required_argument, NULL, 'r'},
	{"insecure-accept-debug", no_argument, NULL, 'd'}, {"ca", required_argument, NULL, 'A'}, {"insecure-any-server", no_argument, NULL, 'i'},
	{"session", required_argument, NULL, 'S'}, {"renew", required_argument, NULL, 'R'}, {"answer", required_argument, NULL, 'W'},
	{"at", required_argument, NULL, 'n'}, {"name", required_argument, NULL, 'N'}, {"timeout", required_argument, NULL, 'w'},
	{"json", no_argument, NULL, 'j'}, {"quiet", no_argument, NULL, 'q'}, {0},
};

// What is wrong with one option, or NULL.
static const char *take_option(struct request *q, int option, struct fault *f)
{
	static const char *const modes[] = {[RATLS_SESSION_REQUIRED] = "required", [RATLS_SESSION_WANTED] = "wanted", [RATLS_SESSION_OFF] = "off"};
	struct ratls_options *o = &q->sides.o;
	int mode;
	switch (option) {
	case 't': o->token_file = optarg; break;
	case 'c': o->certificate_file = optarg; break;
	case 'K': o->token_keys_file = optarg; break;
	case 'P': o->peer_token_file = optarg; break;
	case 'A': o->ca_file = optarg; break;
	case 'i': o->insecure_any_server = true; break;
	case 'S':
		mode = tls_word(optarg, modes, sizeof modes / sizeof *modes);
		if (mode < 0)
			return "--session takes required, wanted or off";
		o->session = (enum ratls_session)mode;
		break;
	case 'R': return tls_number(optarg, 1, 86400, &o->renew_seconds) ? NULL : "--renew takes seconds";
	case 'W': return tls_number(optarg, 1, 86400, &o->answer_seconds) ? NULL : "--answer takes seconds";
	case 'N': q->name = optarg; break;
	default: return tls_option(&q->sides, option, f);
	}
	return NULL;
}

static int failed(int err, const char *text)
{
	struct fault f;
	snprintf(f.text, sizeof f.text, "%s", text);
	cli_fail(&f);
	return err == -EKEYREJECTED || err == -EACCES ? EXIT_REFUSED : EXIT_ERROR;
}

// "host:port", "[::1]:port", "port" (of all addresses, for servers).
static int resolve(const char *where, bool server, struct addrinfo **out, char host[256], struct fault *f)
{
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = server ? AI_PASSIVE : 0};
	const char *colon = strrchr(where, ':'), *port = colon ? colon + 1 : where;
	size_t n = colon ? (size_t)(colon - where) : 0;
	if ((!colon && !server) || n >= 256 || !*port)
		return fault_set(f, -EINVAL, "'%s' is no HOST:PORT", where);
	if (n > 2 && where[0] == '[' && where[n - 1] == ']')
		snprintf(host, 256, "%.*s", (int)(n - 2), where + 1);
	else
		snprintf(host, 256, "%.*s", (int)n, where);
	int err = getaddrinfo(*host ? host : NULL, port, &hints, out);
	return err ? fault_set(f, -EHOSTUNREACH, "%s: %s", where, gai_strerror(err)) : 0;
}

int tls_dial(const char *where, char host[256], struct fault *f)
{
	struct addrinfo *all, *a;
	int err = resolve(where, false, &all, host, f), fd = -1, why = 0;
	if (err)
		return err;
	for (a = all; a && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || !connect(fd, a->ai_addr, a->ai_addrlen))
			continue;
		why = errno;
		close(fd);
		fd = -1;
	}
	freeaddrinfo(all);
	return fd >= 0 ? fd : fault_errno(f, why ? why : EAFNOSUPPORT, "cannot connect to %s", where);
}

int tls_listen(const char *where, struct fault *f)
{
	struct addrinfo *a;
	char host[256];
	int err = resolve(where, true, &a, host, f);
	if (err)
		return err;
	int s = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s >= 0)
		setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (s < 0 || bind(s, a->ai_addr, a->ai_addrlen) || listen(s, 128)) {
		err = fault_errno(f, errno, "cannot listen at %s", where);
		if (s >= 0)
			close(s);
	}
	freeaddrinfo(a);
	return err ? err : s;
}

static void say_peer(const struct request *q, const char *who, struct ratls_connection *c)
{
	json_t *o = json_loads(ratls_peer(c), 0, NULL), *claims = json_object_get(o, "claims");
	const char *verdict = json_string_value(json_object_get(o, "verdict")), *model = json_string_value(json_object_get(o, "model"));
	const char *tee = json_string_value(json_object_get(claims, "tee")), *measurement = json_string_value(json_object_get(claims, "measurement"));
	bool proved = json_is_true(json_object_get(json_object_get(o, "session"), "proved"));
	if (!q->sides.quiet)
		fprintf(stderr, "coffer: %s: %s%s%s%s%s%s%s%s\n", who, verdict ? verdict : "?", model && strcmp(model, "none") ? ", " : "", model && strcmp(model, "none") ? model : "",
			tee ? ", hardware " : "", tee ? tee : "", measurement ? ", measurement " : "", measurement ? measurement : "", proved ? ", proved in this session" : "");
	json_decref(o);
}

static int client(struct request *q, struct ratls_context *ctx)
{
	struct ratls_connection *c;
	struct ratls_error e = {""};
	struct fault f = {""};
	char host[256];
	int fd = tls_dial(q->where, host, &f);
	if (fd < 0)
		return cli_fail(&f);
	int err = ratls_connect(&c, ctx, fd, q->name ? q->name : host, &e);
	if (err)
		return failed(err, e.text);
	err = ratls_handshake(c, q->sides.timeout_ms);
	if (q->sides.json)
		printf("%s\n", ratls_peer(c));
	else if (!err)
		say_peer(q, q->where, c);
	if (!err && !q->sides.json)
		err = tls_relay(c, STDIN_FILENO, STDOUT_FILENO, false);
	int code = err ? failed(err, err == -EIO ? "standard output is closed" : ratls_reason(c)) : EXIT_OK;
	ratls_close(c, err ? 2000 : q->sides.timeout_ms);
	return code;
}

// COMMAND with the connection's bytes as its input and output. The peer is in COFFER_TLS_PEER.
static int run_command(const struct request *q, struct ratls_connection *c)
{
	int from, to;
	pid_t pid = tls_command(q->command, ratls_peer(c), &from, &to);
	if (pid < 0)
		return pid;
	int err = tls_relay(c, from, to, true);
	close(from);
	waitpid(pid, NULL, 0);
	return err;
}

static int serve_one(const struct request *q, struct ratls_context *ctx, int fd)
{
	struct ratls_connection *c;
	struct ratls_error e = {""};
	int err = ratls_accept(&c, ctx, fd, &e);
	if (err)
		return failed(err, e.text);
	err = ratls_handshake(c, q->sides.timeout_ms);
	if (q->sides.json)
		fprintf(stderr, "%s\n", ratls_peer(c));
	else if (!err)
		say_peer(q, "a client", c);
	if (!err)
		err = q->command ? run_command(q, c) : tls_relay(c, STDIN_FILENO, STDOUT_FILENO, false);
	int code = err ? failed(err, err == -EIO ? "standard output is closed" : ratls_reason(c)) : EXIT_OK;
	ratls_close(c, err ? 2000 : q->sides.timeout_ms);
	return code;
}

void tls_serve(int s, int (*one)(void *ctx, int fd), void *ctx)
{
	unsigned int children = 0;
	for (;;) {
		while (children && waitpid(-1, NULL, children < MAX_CHILDREN ? WNOHANG : 0) > 0)
			children--;
		int fd = accept4(s, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno != EINTR && errno != ECONNABORTED)
				sleep(1);	// out of descriptors or memory: it passes
			continue;
		}
		pid_t pid = fork();
		if (!pid) {
			close(s);
			_exit(one(ctx, fd));
		}
		children += pid > 0;
		close(fd);
	}
}

struct serving {
	const struct request *q;
	struct ratls_context *ctx;
};

static int serve_child(void *ctx, int fd)
{
	const struct serving *s = ctx;
	return serve_one(s->q, s->ctx, fd);
}

// By a connection that nobody speaks on.
static int make_certificate(struct ratls_context *ctx, struct fault *f)
{
	struct ratls_connection *c;
	struct ratls_error e = {""};
	int pair[2], err;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return fault_errno(f, errno, "cannot make a socket");
	close(pair[1]);
	err = ratls_accept(&c, ctx, pair[0], &e);
	if (err)
		return fault_set(f, err, "%s", e.text);
	ratls_close(c, 0);
	return 0;
}

static int server(struct request *q, struct ratls_context *ctx)
{
	struct fault f = {""};
	// The certificate is made before anybody waits for it, once for all processes, and what cannot be shows at once.
	int code = EXIT_OK, s = make_certificate(ctx, &f) ? -1 : tls_listen(q->where, &f);
	if (s < 0)
		return cli_fail(&f);
	if (!q->sides.quiet)
		fprintf(stderr, "coffer: listening at %s\n", q->where);
	if (q->command) {
		tls_serve(s, serve_child, &(struct serving){q, ctx});
	} else {
		int fd = accept4(s, NULL, NULL, SOCK_CLOEXEC);
		close(s);
		code = fd < 0 ? failed(-errno, strerror(errno)) : serve_one(q, ctx, fd);
	}
	return code;
}

static int tls(int argc, char **argv)
{
	static struct request q = {.sides.timeout_ms = 20000};
	struct ratls_context *ctx;
	struct ratls_error e = {""};
	struct fault f = {""};
	int option;
	bool serves = argc > 1 && !strcmp(argv[1], "server");
	if (argc > 1 && !strcmp(argv[1], "certificate"))
		return tls_certificate(argc - 1, argv + 1);
	if (argc < 2 || (!serves && strcmp(argv[1], "client")))
		return cli_usage(&command_tls, "say what: client, server or certificate");
	argc--, argv++;
	optind = 1;
	// Options may stand before and behind the address, up to a --.
	for (int round = 0; round < 2; round++) {
		while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
			const char *wrong = take_option(&q, option, &f);
			if (wrong)
				return cli_usage(&command_tls, "%s", wrong);
		}
		if (!round && optind < argc && strcmp(argv[optind - 1], "--"))
			q.where = argv[optind++];
	}
	if (optind < argc)
		q.command = argv + optind;
	if (!q.where || (q.command && (!serves || strcmp(argv[optind - 1], "--"))))
		return cli_usage(&command_tls, serves ? "server takes one [ADDRESS:]PORT, and a command behind --" : "client takes one HOST:PORT");
	const struct ratls_options *o = &q.sides.o;
	const char *side = serves ? "client" : "server";
	bool judges = o->token_keys_file || o->tpm_roots_file || o->insecure_simulated_root || o->insecure_accept_debug ||
		      (o->collateral_dir && !o->endorse);
	if (judges && !o->verify)
		return cli_usage(&command_tls, "which %ss are meant? --measurement HEX (`coffer measure` prints it), --policy FILE or "
				 "--any-measurement", side);
	if (!serves && !o->verify && !o->ca_file && !o->insecure_any_server)
		return cli_usage(&command_tls, "say what the server must be: --measurement HEX (`coffer measure` prints it), --policy FILE, --any-measurement "
				 "or --ca FILE; --insecure-any-server takes anybody");
	if (o->token_file && !o->key_file)
		return cli_usage(&command_tls, "a token is about a key: --key FILE");
	if (o->certificate_file && !o->key_file)
		return cli_usage(&command_tls, "--certificate needs the key of it: --key FILE");
	if (o->endorse && !o->collateral_dir)
		return cli_usage(&command_tls, "--endorse sends collateral along: from where? --collateral DIR");
	if (o->peer_token_file && !o->token_keys_file)
		return cli_usage(&command_tls, "--peer-token needs the keys of who may have signed it: --token-keys FILE");
	signal(SIGPIPE, SIG_IGN);
	int err = ratls_context_new(&ctx, &q.sides.o, &e);
	if (err)
		return failed(-EINVAL, e.text);
	int code = serves ? server(&q, ctx) : client(&q, ctx);
	ratls_context_free(ctx);
	return code;
}

const struct command command_tls = {
	"tls", "attested TLS from the shell: client, server, certificates",
	"usage: coffer tls client HOST:PORT [OPTIONS]\n"
	"       coffer tls server [ADDRESS:]PORT [OPTIONS] [-- COMMAND...]\n"
	"       coffer tls certificate --key FILE --output FILE [--attest | --insecure-simulate HEX | --token FILE] [--nonce HEX]\n"
	"       coffer tls certificate --show FILE\n\n"
	"client  connects, checks what the server proves, and passes standard input and output. With --json it prints what is known of the\n"
	"        server instead, and ends\n"
	"server  serves one connection with standard input and output; or every one with a process of COMMAND, which finds in\n"
	"        COFFER_TLS_PEER what is known of the client\n"
	"certificate  makes an RA-TLS certificate for a key (made too where there is none), or says what is in one\n\n"
	"What this side shows:\n"
	"  --attest            evidence of the enclave or confidential machine that this runs in\n"
	"  --endorse           with the collateral for it that --collateral has\n"
	"  --token FILE        instead: a broker's token about the key of --key FILE. Read anew when it is needed\n"
	"  --certificate FILE  instead: an ordinary certificate, with --key FILE\n"
	"  --insecure-simulate HEX   instead: evidence of simulated hardware that this measurement runs there, which proves nothing\n\n"
	"What the other side must be:\n"
	"  --measurement HEX   this enclave (may be repeated)\n"
	"  --policy FILE       as `coffer verify` takes it; --any-measurement: real hardware, whatever runs there\n"
	"  --collateral DIR    a folder kept by `coffer collateral`; --tpm-root FILE: certificates of makers of TPMs\n"
	"  --token-keys FILE   a broker's keys (JWKS): its tokens will do instead of evidence; --peer-token FILE: one that was handed over,\n"
	"                      which needs --session off\n"
	"  --session MODE      proofs made in the session: required (default), wanted, off. Other implementations have none\n"
	"  --renew SECONDS     how long a proof is good (300); --answer SECONDS: how long a new one may take (30). Then the peer is cut off\n"
	"  --at TIME           judge for 2025-06-19T10:16:03Z\n"
	"  --ca FILE           instead of evidence: ordinary certificates under these; --name NAME: what for (default: HOST)\n"
	"  --insecure-simulated-root FILE, --insecure-accept-debug, --insecure-any-server   what proves less, or nothing\n\n"
	"  --json              client: see above; server: one line on standard error for each client\n"
	"  --timeout SECONDS   for the handshake (20); --quiet: no line about the peer\n\n"
	"Exit codes: 0 all passed, 3 one side refused the other (the message says which and why), 1 the connection failed, 2 wrong usage.\n",
	tls,
};
