// SPDX-License-Identifier: Apache-2.0
// `coffer spdm`: SPDM 1.2 over TCP from the shell: a CPU TEE as a responder, and a requester that asks one.
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/tls.h"
#include "spdm/tcp.h"
#include "spdm/trust.h"

#define HEARTBEAT_S 30

struct request {
	struct tls_sides sides;
	enum requester_session session;
	const char *where;
	unsigned int heartbeat_s;
	char **command;		// NULL: standard input and output
};

static const struct option options[] = {
	{"attest", no_argument, NULL, 'a'}, {"insecure-simulate", required_argument, NULL, 's'}, {"endorse", no_argument, NULL, 'e'},
	{"key", required_argument, NULL, 'k'}, {"heartbeat", required_argument, NULL, 'h'}, {"policy", required_argument, NULL, 'p'},
	{"measurement", required_argument, NULL, 'm'}, {"any-measurement", no_argument, NULL, 'M'}, {"collateral", required_argument, NULL, 'C'},
	{"tpm-root", required_argument, NULL, 'T'}, {"insecure-simulated-root", required_argument, NULL, 'r'},
	{"insecure-accept-debug", no_argument, NULL, 'd'}, {"session", required_argument, NULL, 'S'}, {"at", required_argument, NULL, 'n'},
	{"timeout", required_argument, NULL, 'w'}, {"json", no_argument, NULL, 'j'}, {"quiet", no_argument, NULL, 'q'}, {0},
};

// What is wrong with one option, or NULL.
static const char *take_option(struct request *q, int option, struct fault *f)
{
	static const char *const modes[] = {[REQUESTER_EVIDENCE] = "required", [REQUESTER_EVIDENCE_WANTED] = "wanted", [REQUESTER_SESSION] = "off",
					    [REQUESTER_NO_SESSION] = "none"};
	int mode;
	switch (option) {
	case 'h': return tls_number(optarg, 0, 255, &q->heartbeat_s) ? NULL : "--heartbeat takes 0 to 255 seconds";
	case 'S':
		mode = tls_word(optarg, modes, sizeof modes / sizeof *modes);
		if (mode < 0)
			return "--session takes required, wanted, off or none";
		q->session = (enum requester_session)mode;
		return NULL;
	default: return tls_option(&q->sides, option, f);
	}
}

static int failed(int err, const struct fault *f)
{
	cli_fail(f);
	return err == -EKEYREJECTED ? EXIT_REFUSED : EXIT_ERROR;
}

// ---- requester ----

static const char *text_of(json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));
	return s ? s : "?";
}

static void say_responder(const struct request *q, json_t *report)
{
	json_t *spdm = json_object_get(report, "spdm"), *claims = json_object_get(report, "claims");
	if (q->sides.json) {
		char *text = json_dumps(report, JSON_COMPACT | JSON_SORT_KEYS);
		printf("%s\n", text ? text : "{}");
		fflush(stdout);
		free(text);
	} else if (!q->sides.quiet && !strcmp(text_of(report, "verdict"), "accepted")) {
		bool proved = json_is_true(json_object_get(spdm, "proved"));
		fprintf(stderr, "coffer: %s: accepted, hardware %s, measurement %s, %s, %s%s\n", q->where, text_of(claims, "tee"),
			text_of(claims, "measurement"), text_of(spdm, "signature"), text_of(spdm, "hash"), proved ? ", proved in this session" : "");
	}
}

static int requester(struct request *q)
{
	struct requester_options o = {.session = q->session};
	struct requester *r = NULL;
	struct judge *judge;
	struct spdm_tcp *l = NULL;
	struct fault f = {""};
	char host[256];
	int err = judge_open(&judge, &q->sides.o, &f);
	if (err)
		return failed(-EINVAL, &f);
	trust_requester(&o, judge);
	int fd = tls_dial(q->where, host, &f);
	err = fd < 0 ? fd : requester_new(&r, &o, &f);
	if (err && fd >= 0)
		close(fd);
	if (!err)
		err = spdm_tcp_open(&l, fd, r, NULL, q->sides.timeout_ms, &f);
	if (!err) {
		err = spdm_tcp_prove(l, &f);
		json_t *report = requester_report(r);
		say_responder(q, report);
		json_decref(report);
	}
	if (!err && !q->sides.json && requester_open(r))
		err = spdm_tcp_relay(l, STDIN_FILENO, STDOUT_FILENO, false, &f);
	if (!err && requester_open(r))
		err = spdm_tcp_end(l, &f);
	spdm_tcp_close(l);
	judge_close(judge);
	return err ? failed(err, &f) : EXIT_OK;
}

// ---- responder ----

static int run_command(const struct request *q, struct spdm_tcp *l, struct fault *f)
{
	int from, to;
	pid_t pid = tls_command(q->command, NULL, &from, &to);
	if (pid < 0)
		return fault_errno(f, -pid, "cannot start a process");
	int err = spdm_tcp_relay(l, from, to, true, f);
	close(from);
	waitpid(pid, NULL, 0);
	return err;
}

static _Atomic int64_t *evidence;	// of all connections, each of which is a process

static int serve_one(const struct request *q, struct self *self, int fd)
{
	struct responder *r;
	struct spdm_tcp *l = NULL;
	struct fault f = {""};
	bool open = false;
	int err = trust_responder(&r, self, q->heartbeat_s, 0, &f);
	if (!err)
		responder_share_evidence(r, evidence);
	if (err)
		close(fd);
	else
		err = spdm_tcp_open(&l, fd, NULL, r, q->sides.timeout_ms, &f);
	if (!err)
		err = spdm_tcp_answer(l, &open, &f);
	if (!err && open && !q->sides.quiet)
		fprintf(stderr, "coffer: a requester has a session\n");
	if (!err && open)
		err = q->command ? run_command(q, l, &f) : spdm_tcp_relay(l, STDIN_FILENO, STDOUT_FILENO, false, &f);
	spdm_tcp_close(l);
	return err ? failed(err, &f) : EXIT_OK;
}

struct serving {
	const struct request *q;
	struct self *self;
};

static int serve_child(void *ctx, int fd)
{
	const struct serving *s = ctx;
	return serve_one(s->q, s->self, fd);
}

static int responder(struct request *q)
{
	struct self *self;
	struct fault f = {""};
	struct responder *first;
	int code = EXIT_OK, err = self_open(&self, &q->sides.o, &f);
	if (err)
		return failed(-EINVAL, &f);
	evidence = mmap(NULL, sizeof *evidence, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (evidence == MAP_FAILED) {
		self_close(self);
		return failed(-ENOMEM, &f);
	}
	// Evidence is asked for before anybody waits for it, and so that what cannot be shows at once.
	err = trust_responder(&first, self, q->heartbeat_s, 0, &f);
	int s = err ? -1 : tls_listen(q->where, &f);
	if (!err)
		responder_free(first);
	if (s < 0) {
		self_close(self);
		return failed(err ? err : s, &f);
	}
	if (!q->sides.quiet)
		fprintf(stderr, "coffer: listening at %s\n", q->where);
	if (q->command) {
		tls_serve(s, serve_child, &(struct serving){q, self});
	} else {
		int fd = accept4(s, NULL, NULL, SOCK_CLOEXEC);
		close(s);
		err = fd < 0 ? fault_errno(&f, errno, "accept") : 0;
		code = err ? failed(err, &f) : serve_one(q, self, fd);
	}
	self_close(self);
	return code;
}

static int spdm(int argc, char **argv)
{
	static struct request q = {.sides.timeout_ms = 20000, .heartbeat_s = HEARTBEAT_S};
	struct fault f = {""};
	int option;
	bool serves = argc > 1 && !strcmp(argv[1], "responder");
	if (argc < 2 || (!serves && strcmp(argv[1], "requester")))
		return cli_usage(&command_spdm, "say what: responder or requester");
	argc--, argv++;
	optind = 1;
	// Options may stand before and behind the address, up to a --.
	for (int round = 0; round < 2; round++) {
		while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
			const char *wrong = take_option(&q, option, &f);
			if (wrong)
				return cli_usage(&command_spdm, "%s", wrong);
		}
		if (!round && optind < argc && strcmp(argv[optind - 1], "--"))
			q.where = argv[optind++];
	}
	if (optind < argc)
		q.command = argv + optind;
	if (!q.where || (q.command && (!serves || strcmp(argv[optind - 1], "--"))))
		return cli_usage(&command_spdm,
				 serves ? "responder takes one [ADDRESS:]PORT, and a command behind --" : "requester takes one HOST:PORT");
	if (serves && !q.sides.o.attest)
		return cli_usage(&command_spdm, "a responder shows what it runs on: --attest");
	if (!serves && !q.sides.o.verify)
		return cli_usage(&command_spdm, "which enclaves are meant? --measurement HEX (`coffer measure` prints it), --policy FILE or --any-measurement");
	signal(SIGPIPE, SIG_IGN);
	return serves ? responder(&q) : requester(&q);
}

const struct command command_spdm = {
	"spdm", "SPDM from the shell: a TEE that answers, a requester that asks",
	"usage: coffer spdm responder [ADDRESS:]PORT --attest [OPTIONS] [-- COMMAND...]\n"
	"       coffer spdm requester HOST:PORT [OPTIONS]\n\n"
	"SPDM 1.2 (DMTF DSP0274) over TCP: the responder is a CPU TEE whose certificate carries evidence; the requester checks all of it.\n\n"
	"responder  serves one connection with standard input and output; or every one with a process of COMMAND\n"
	"requester  asks, checks what the responder proves, and passes standard input and output in the secured session. With --json it\n"
	"           prints what is known of the responder instead, and ends\n\n"
	"What the responder shows:\n"
	"  --attest            evidence of the enclave or confidential machine that this runs in\n"
	"  --endorse           with the collateral for it that --collateral has\n"
	"  --key FILE          about this key, ECDSA on P-256 or P-384; else a new one on P-256 that never leaves memory\n"
	"  --insecure-simulate HEX   instead: evidence of simulated hardware that this measurement runs there, which proves nothing\n"
	"  --heartbeat SECONDS a session that is silent for twice as long ends (30); 0: none does\n\n"
	"What it must be, for the requester:\n"
	"  --measurement HEX   this enclave (may be repeated)\n"
	"  --policy FILE       as `coffer verify` takes it; --any-measurement: real hardware, whatever runs there\n"
	"  --collateral DIR    a folder kept by `coffer collateral`; --tpm-root FILE: certificates of makers of TPMs\n"
	"  --session MODE      required (default): new evidence in the session; wanted: where the responder can; off: the certificate's alone;\n"
	"                      none: no session, it is asked and that is all\n"
	"  --at TIME           judge for 2025-06-19T10:16:03Z\n"
	"  --insecure-simulated-root FILE, --insecure-accept-debug   what proves less, or nothing\n\n"
	"  --json              requester: see above\n"
	"  --timeout SECONDS   for all up to the session, and for each message (20); --quiet: no line about the other side\n\n"
	"Exit codes: 0 all passed, 3 the requester refuses the responder (the message says which check and why), 1 the connection failed,\n"
	"2 wrong usage.\n",
	spdm,
};
