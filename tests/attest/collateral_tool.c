// SPDX-License-Identifier: Apache-2.0
// `coffer collateral` from outside: against a server of its own that plays Intel's and AMD's services with collateral made under test
// roots, well and badly; its mirror; files of other tools; and what real services sent, where the vectors are. No network but loopback.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attest/collateral.h"
#include "attest/json.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/http_server.h"
#include "lib/tls.h"
#include "tests/attest/make/dcap.h"
#include "tests/attest/make/snp.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"
#include "tests/folder.h"

enum mood { WELL, HTML, NOT_FOUND, HUGE_ANSWER, BUSY_ONCE, BUSY_LONG, OTHER_PLATFORM, NO_CHAIN, HANGING };

static char folder[64], coffer[512];
static unsigned int port;
static struct made intel, intel_other;
static struct snp_made genoa;
static uint8_t *genoa_crl;
static size_t genoa_crl_len;
static char *genoa_chain;
static atomic_int mood, requests, busy_left;

static char *path(const char *name)
{
	static char out[16][128];
	static int next;
	char *p = out[next++ % 16];
	snprintf(p, 128, "%s/%s", folder, name);
	return p;
}

static void write_file(const char *name, const void *bytes, size_t len)
{
	if (file_write(path(name), bytes, len, 0600, false, NULL))
		abort();
}

static void give(struct http_response *r, const void *bytes, size_t len, const char *type)
{
	r->body = malloc(len + 1);
	memcpy(r->body, bytes, len);
	r->body_len = len;
	r->content_type = type;
}

static void give_chain(struct http_response *r, const char *name, const char *pem)
{
	char *out = r->headers = malloc(3 * strlen(pem) + 100);
	out += sprintf(out, "%s: ", name);
	for (; *pem; pem++)
		out += sprintf(out, *pem == '\n' ? "%%0A" : *pem == ' ' ? "%%20" : *pem == '+' ? "%%2B" : *pem == '=' ? "%%3D" : "%c", *pem);
	strcpy(out, "\r\n");
}

static void hexed(struct http_response *r, const uint8_t *bytes, size_t len)
{
	char *hex = malloc(2 * len + 1);
	hex_encode(hex, bytes, len);
	give(r, hex, 2 * len, "text/plain");
	free(hex);
}

static void play_intel(const char *target, struct http_response *r)
{
	const struct made *m = mood == OTHER_PLATFORM && strstr(target, "/tcb") ? &intel_other : &intel;
	if (!strcmp(target, "/tdx/certification/v4/tcb?fmspc=00806F050000")) {
		give(r, m->tcb, strlen(m->tcb), "application/json");
		if (mood != NO_CHAIN)
			give_chain(r, "TCB-Info-Issuer-Chain", m->tcb_chain);
	} else if (!strcmp(target, "/tdx/certification/v4/qe/identity")) {
		give(r, m->qe, strlen(m->qe), "application/json");
		give_chain(r, "SGX-Enclave-Identity-Issuer-Chain", m->tcb_chain);
	} else if (!strcmp(target, "/sgx/certification/v4/pckcrl?ca=platform&encoding=der")) {
		give(r, m->pck_crl, m->parts.pck_crl.len, "application/pkix-crl");
		give_chain(r, "SGX-PCK-CRL-Issuer-Chain", m->crl_chain);
	} else if (!strcmp(target, "/sgx/certification/v4/rootcacrl")) {
		hexed(r, m->root_crl, m->parts.root_crl.len);
	} else {
		r->status = 404;
	}
}

static void play_amd(const char *target, struct http_response *r)
{
	uint8_t *der = NULL;
	int n = i2d_X509(genoa.chain.certs[0], &der);
	if (!strncmp(target, "/vcek/v1/Genoa/", 15) && strstr(target, "?blSPL=10&teeSPL=00&snpSPL=25&ucodeSPL=88"))
		give(r, der, (size_t)n, "application/octet-stream");
	else if (!strcmp(target, "/vcek/v1/Genoa/cert_chain"))
		give(r, genoa_chain, strlen(genoa_chain), "application/x-pem-file");
	else if (!strcmp(target, "/vcek/v1/Genoa/crl"))
		give(r, genoa_crl, genoa_crl_len, "application/pkix-crl");
	else
		r->status = 404;
	OPENSSL_free(der);
}

static void play(void *ctx, const struct http_request *q, struct http_response *r)
{
	char target[2 * HTTP_MAX_TARGET + 2];
	(void)ctx;
	requests++;
	snprintf(target, sizeof target, "%s%s%s", q->head->path, *q->head->query ? "?" : "", q->head->query);
	switch (atomic_load(&mood)) {
	case HTML:
		give(r, "<html>Log in</html>", 19, "text/html; charset=utf-8");
		return;
	case NOT_FOUND:
		r->status = 404;
		return;
	case HUGE_ANSWER:
		r->body = calloc(1, 5u << 20);
		r->body_len = 5u << 20;
		return;
	case BUSY_ONCE:
		if (busy_left-- <= 0)
			break;
		r->status = 429;
		r->headers = strdup("Retry-After: 1\r\n");
		return;
	case HANGING:
		while (atomic_load(&mood) == HANGING)
			usleep(10000);
		r->status = 404;
		return;
	case BUSY_LONG:
		r->status = 429;
		r->headers = strdup("Retry-After: 7200\r\n");
		return;
	default:
		break;
	}
	if (strstr(target, "/vcek/"))
		play_amd(target, r);
	else
		play_intel(target, r);
}

// A server that breaks off in the middle of its answers.
struct breaker {
	int listener, stop[2];
	unsigned int port;
	SSL_CTX *tls;
	pthread_t thread;
};

static void *break_off(void *arg)
{
	struct breaker *b = arg;
	static const char half[] = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n{\"tcbInfo\":";
	struct pollfd p[2] = {{.fd = b->listener, .events = POLLIN}, {.fd = b->stop[0], .events = POLLIN}};
	while (poll(p, 2, -1) > 0 && !p[1].revents) {
		int fd = accept4(b->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		struct tls_stream s;
		char buf[4096];
		int64_t deadline = clock_ms() + 20000;
		if (fd < 0 || tls_accept(&s, b->tls, fd, deadline))
			continue;
		if (tls_read(&s, buf, sizeof buf, deadline) > 0)
			tls_write(&s, half, sizeof half - 1, deadline);
		tls_close(&s);
	}
	return NULL;
}

static void breaker_start(struct breaker *b, SSL_CTX *tls)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	b->tls = tls;
	b->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!tls || bind(b->listener, (struct sockaddr *)&a, sizeof a) || listen(b->listener, 16) || getsockname(b->listener, (struct sockaddr *)&a, &len) ||
	    pipe2(b->stop, O_CLOEXEC) || pthread_create(&b->thread, NULL, break_off, b))
		abort();
	b->port = ntohs(a.sin_port);
}

static void breaker_stop(struct breaker *b)
{
	close(b->stop[1]);
	pthread_join(b->thread, NULL);
	close(b->stop[0]);
	close(b->listener);
	SSL_CTX_free(b->tls);
}

static char out[256 << 10];

static int shell(const char *line)
{
	FILE *p = popen(line, "r");
	size_t n = p ? fread(out, 1, sizeof out - 1, p) : 0;
	out[n] = '\0';
	int status = p ? pclose(p) : -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

__attribute__((format(printf, 1, 2))) static int run(const char *format, ...)
{
	char arguments[3000], line[4096];
	va_list ap;
	va_start(ap, format);
	vsnprintf(arguments, sizeof arguments, format, ap);
	va_end(ap);
	snprintf(line, sizeof line, "%s %s 2>&1", coffer, arguments);
	return shell(line);
}

static void expect(const char *name, int rc, int code, const char *text)
{
	ok(name, rc == code && strstr(out, text), "exit code %d: %.2000s", rc, out);
}

// All files of a store, to compare: whether anything was lost.
static char *contents(const char *store, const char *which)
{
	static char text[2][256 << 10];
	static int next;
	char line[300], *t = text[next++ % 2];
	snprintf(line, sizeof line, "cd %s && sha256sum -- %s", path(store), which);
	FILE *p = popen(line, "r");
	t[fread(t, 1, sizeof text[0] - 1, p)] = '\0';
	pclose(p);
	return t;
}

static void make_everything(void)
{
	struct dcap_spec spec = made_tdx;
	struct snp_spec chip = snp_genoa;
	time_t now = time(NULL);
	spec.tcb_issued = spec.qe_issued = spec.crl_from = now - MADE_DAY;
	spec.tcb_next = spec.qe_next = spec.crl_to = now + 29 * MADE_DAY;
	made_make(&spec, &intel);
	spec.tcb_fmspc = "00906ED50000";
	made_make(&spec, &intel_other);
	chip.version = 2;	// which does not say that it is a Genoa
	chip.family = chip.model = 0;
	chip.crl_to = now + 29 * MADE_DAY;
	snp_make(&chip, &genoa);
	genoa_crl = pki_crl_der(genoa.crl, &genoa_crl_len);
	genoa.crl = NULL;
	genoa_chain = pki_pem(genoa.chain.certs[1], genoa.chain.certs[2], NULL);
	char *root = pki_pem(made_root(), NULL), *ark = pki_pem(snp_made_root(), NULL);
	write_file("root.pem", root, strlen(root));
	write_file("ark.pem", ark, strlen(ark));
	write_file("quote.bin", intel.quote, intel.quote_len);
	write_file("report.bin", genoa.report, sizeof genoa.report);
	static const char policy[] = "insecure_accept_simulated: true\ntees: [tdx, snp]\n";
	write_file("policy.yaml", policy, sizeof policy - 1);
	free(root);
	free(ark);
}

#define ORIGINS "--pcs https://127.0.0.1:%u --kds https://127.0.0.1:%u --ca %s --store %s"

static int fetch(unsigned int at, const char *store, const char *what)
{
	return run("collateral fetch " ORIGINS " %s", at, at, path("ca.pem"), path(store), what);
}

static int verify(const char *evidence, const char *root, const char *collateral, const char *more)
{
	return run("verify %s --collateral %s --insecure-simulated-root %s --policy %s %s", path(evidence), path(collateral), path(root),
		   path("policy.yaml"), more);
}

static void test_fetch(void)
{
	char quote[200], report[200];
	snprintf(quote, sizeof quote, "%s", path("quote.bin"));
	snprintf(report, sizeof report, "%s", path("report.bin"));
	mkdir(path("empty"), 0755);
	int rc = verify("quote.bin", "root.pem", "empty", "");
	ok("collateral: verify says what a store lacks, and what fetches it", rc == 3 && strstr(out, "missing: TCB info of TDX platforms 00806f050000") &&
	   strstr(out, "coffer collateral fetch --store") && strstr(out, quote), "%d %s", rc, out);
	expect("collateral: fetch for a quote", fetch(port, "store", quote), 0, "4 fetched, 0 good as they are, 0 failed");
	expect("collateral: verify with the store", verify("quote.bin", "root.pem", "store", ""), 0, "ACCEPTED");
	ok("collateral: and nothing is said to be missing", !strstr(out, "missing"), "%s", out);
	int before = requests;
	expect("collateral: fetch again", fetch(port, "store", quote), 0, "0 fetched, 4 good as they are, 0 failed");
	ok("collateral: and nobody was asked", requests == before, "%d requests", requests - before);
	expect("collateral: fetch what is about to end", (snprintf(quote + strlen(quote), 40, " --within 40"), fetch(port, "store", quote)), 0, "4 fetched");
	expect("collateral: fetch --renew", fetch(port, "store", "--renew --within 40 --json"), 0, "\"fetched\":4,\"had\":0,\"failed\":0");
	expect("collateral: a report that does not say which product it is of", fetch(port, "store", report), 0, "3 fetched");
	ok("collateral: it is a Genoa", strstr(out, "VCEK of the Genoa chip") && !strstr(out, "Milan"), "%s", out);
	expect("collateral: verify it with the store", verify("report.bin", "ark.pem", "store", ""), 0, "ACCEPTED");
	ok("collateral: with its revocation list", strstr(out, "ok      revocation"), "%s", out);
	expect("collateral: show", run("collateral show --store %s", path("store")), 0, "7 items in");
	expect("collateral: show --json", run("collateral show --json --store %s", path("store")), 0, "\"expired\":0");
	expect("collateral: show what ends soon", run("collateral show --within 40 --store %s", path("store")), 0, "5 of them end within 40 days");
	expect("collateral: show what has expired", run("collateral show --at 2035-01-01T00:00:00Z --store %s", path("store")), 3, "EXPIRED");
	expect("collateral: verify says what has expired", verify("quote.bin", "root.pem", "store", "--at 2030-01-01T00:00:00Z"), 3, "EXPIRED on ");
	expect("collateral: show a store that is not there", run("collateral show --store %s", path("nowhere")), 1, "cannot use the folder");
	expect("collateral: one item", fetch(port, "one", "--item /sgx/certification/v4/pckcrl?ca=platform"), 0, "1 fetched");
	expect("collateral: what no service has", fetch(port, "one", "--item /sgx/certification/v4/secrets"), 1, "no 'secrets' that is known here");
	expect("collateral: no evidence", fetch(port, "one", path("root.pem")), 1, "no evidence");
	expect("collateral: usage", run("collateral"), 2, "fetch, show, import, export or serve");
}

static void bad(const char *name, enum mood m, unsigned int at, const char *text)
{
	char label[120], quote[200];
	// The other items of that service are good, and come anew.
	const char *which = m == OTHER_PLATFORM || m == NO_CHAIN ? "*-tcb-*.json" : "*.json";
	snprintf(quote, sizeof quote, "%s --all --patience 0", path("quote.bin"));
	mood = m;
	char *before = contents("store", which);
	int rc = fetch(at, "store", quote);
	snprintf(label, sizeof label, "collateral: %s: what is said", name);
	expect(label, rc, 1, text);
	snprintf(label, sizeof label, "collateral: %s: nothing is lost", name);
	ok(label, !strcmp(before, contents("store", which)) && *before, "the store changed");
	snprintf(label, sizeof label, "collateral: %s: it says that what is there is good", name);
	ok(label, strstr(out, "the one that is there is good until") || !strstr(out, "FAILED"), "%s", out);
	mood = WELL;
}

static void test_bad_services(SSL_CTX *tls)
{
	struct breaker cut, expired;
	struct fault f = {""};
	time_t now = time(NULL);
	char quote[300];
	bad("a web page", HTML, port, "is there a proxy with a login in between?");
	bad("404", NOT_FOUND, port, "its maker has no such thing (HTTP 404)");
	bad("an answer without end", HUGE_ANSWER, port, "the answer is larger than 4194304 bytes");
	bad("busy for long", BUSY_LONG, port, "asks to come back in 7200 seconds (HTTP 429)");
	bad("another platform's statement", OTHER_PLATFORM, port, "it is about another kind of platform");
	bad("no issuer's chain", NO_CHAIN, port, "its issuer's certificates were not given");
	bad("nobody there", WELL, 1, "Failed to connect");
	breaker_start(&cut, tls);
	bad("cut off", WELL, cut.port, "remaining");
	breaker_stop(&cut);
	struct pki old = pki_make(&(struct pki_spec){"127.0.0.1", NULL, false, "P-256", now - 9 * MADE_DAY, now - MADE_DAY, NULL});
	char *cert = pki_pem(old.cert, NULL), *ca;
	size_t ca_len;
	BIO *bio = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(bio, old.key, NULL, NULL, 0, NULL, NULL);
	char *key = calloc(1, 4096);
	BIO_read(bio, key, 4095);
	BIO_free(bio);
	if (file_read(path("ca.pem"), 1 << 16, &ca, &ca_len, &f))
		abort();
	write_file("ca.pem", cert, strlen(cert));
	breaker_start(&expired, tls_server_context(cert, key, &f));
	bad("an expired certificate", WELL, expired.port, "certificate has expired");
	breaker_stop(&expired);
	write_file("ca.pem", ca, ca_len);
	free(ca);
	free(cert);
	free(key);
	pki_free(&old);

	mood = BUSY_ONCE;
	busy_left = 1;
	snprintf(quote, sizeof quote, "%s --patience 5", path("quote.bin"));
	expect("collateral: busy, then not: fetched all the same", fetch(port, "busy", quote), 0, "4 fetched");
	mood = WELL;
	// No room for the file: the shell's limit; the signal ignored, so that the write fails.
	char *before = contents("store", "tdx-*.json"), line[4096];
	snprintf(line, sizeof line, "trap '' XFSZ; ulimit -f 1; %s collateral fetch " ORIGINS " --all %s 2>&1", coffer, port, port, path("ca.pem"), path("store"),
		 path("quote.bin"));
	FILE *p = popen(line, "r");
	out[fread(out, 1, sizeof out - 1, p)] = '\0';
	int status = pclose(p);
	ok("collateral: no room: what is said", WIFEXITED(status) && WEXITSTATUS(status) == 1 && strstr(out, "File too large"), "%d %s", status, out);
	ok("collateral: no room: nothing is lost", !strcmp(before, contents("store", "tdx-*.json")), "%s became something else", before);
}

// In a mount namespace of its own whose system trusts the server: who names authorities does not trust the system's.
static void test_authorities(void)
{
	char line[2048];
#define UNDER "unshare -m sh -c 'mount --bind %s /etc/ssl/certs && exec %s collateral fetch --pcs https://127.0.0.1:%u --store %s %s%s " \
	      "--item /tdx/certification/v4/qe/identity' 2>&1"
	snprintf(line, sizeof line, "mkdir %s && cp %s %s/ca-certificates.crt && cp %s %s/$(openssl x509 -hash -noout -in %s).0 2>&1", path("system"),
		 path("ca.pem"), path("system"), path("ca.pem"), path("system"), path("ca.pem"));
	int rc = shell(line);
	snprintf(line, sizeof line, UNDER, path("system"), coffer, port, path("trusting"), "", "");
	if (rc || shell(line)) {
		skip("collateral: authorities that are named", "no mount namespace with authorities of its own");
		return;
	}
	snprintf(line, sizeof line, UNDER, path("system"), coffer, port, path("wary"), "--ca ", path("root.pem"));
	expect("collateral: authorities that are named count instead of the system's", shell(line), 1, "certificate");
}

static void test_files(void)
{
	char line[400];
	struct bundle b;
	bundle_init(&b);
	bundle_put_text(&b, "tcb_info", intel.tcb, strlen(intel.tcb));
	bundle_put_text(&b, "tcb_info_issuer_chain", intel.tcb_chain, strlen(intel.tcb_chain));
	bundle_put_text(&b, "qe_identity", intel.qe, strlen(intel.qe));
	bundle_put_text(&b, "qe_identity_issuer_chain", intel.tcb_chain, strlen(intel.tcb_chain));
	bundle_put_text(&b, "pck_crl_issuer_chain", intel.crl_chain, strlen(intel.crl_chain));
	bundle_put_bytes(&b, "root_ca_crl", intel.root_crl, intel.parts.root_crl.len);
	bundle_put_bytes(&b, "pck_crl", intel.pck_crl, intel.parts.pck_crl.len);
	char *text = json_dumps(b.json, JSON_INDENT(2));
	write_file("collateral.json", text, strlen(text));
	free(text);
	bundle_free(&b);
	expect("collateral: import a bundle", run("collateral import %s --store %s", path("collateral.json"), path("imported")), 0, "4 kept, 0 refused");
	expect("collateral: verify with what was imported", verify("quote.bin", "root.pem", "imported", ""), 0, "ACCEPTED");
	expect("collateral: export, complete", run("collateral export %s --output %s --store %s", path("quote.bin"), path("packed.json"), path("imported")), 0, "");
	snprintf(line, sizeof line, "verify %s --insecure-simulated-root %s --policy %s --at recorded", path("packed.json"), path("root.pem"), path("policy.yaml"));
	expect("collateral: what was exported verifies by itself", run("%s", line), 0, "ACCEPTED");
	expect("collateral: export, not complete", run("collateral export %s --output %s --store %s", path("report.bin"), path("none.json"), path("imported")), 1,
	       "it would not be complete");
	ok("collateral: and nothing is written", access(path("none.json"), F_OK), "it was");

	// What Intel's client tool collects: statements as objects, written with white space.
	json_t *tcb = json_loads(intel.tcb, 0, NULL), *qe = json_loads(intel.qe, 0, NULL);
	char *crl = malloc(2 * intel.parts.pck_crl.len + 1), *root = malloc(2 * intel.parts.root_crl.len + 1);
	hex_encode(crl, intel.pck_crl, intel.parts.pck_crl.len);
	hex_encode(root, intel.root_crl, intel.parts.root_crl.len);
	json_t *all = json_pack("{s:[], s:{s:f, s:[{s:s, s:O}], s:{s:s}, s:O, s:{s:{s:s}, s:s, s:s}, s:s}}", "platforms", "collaterals", "version", 4.0,
				"tcbinfos", "fmspc", "00806F050000", "tdx_tcbinfo", tcb, "pckcacrl", "platformCrl", crl, "tdqeidentity", qe, "certificates",
				"SGX-PCK-Certificate-Issuer-Chain", "PLATFORM", intel.crl_chain, "TCB-Info-Issuer-Chain", intel.tcb_chain,
				"SGX-Enclave-Identity-Issuer-Chain", intel.tcb_chain, "rootcacrl", root);
	text = json_dumps(all, JSON_INDENT(4));
	write_file("platform_collaterals.json", text, strlen(text));
	free(text);
	json_decref(all);
	json_decref(tcb);
	json_decref(qe);
	free(crl);
	free(root);
	expect("collateral: import what Intel's client tool collected", run("collateral import %s --store %s", path("platform_collaterals.json"), path("pcs")), 0,
	       "4 kept, 0 refused");
	expect("collateral: verify with that", verify("quote.bin", "root.pem", "pcs", ""), 0, "ACCEPTED");

	mkdir(path("stick"), 0755);
	write_file("stick/answer.json", intel.tcb, strlen(intel.tcb));
	write_file("stick/list.der", intel.pck_crl, intel.parts.pck_crl.len);
	write_file("stick/notes.txt", "to be done", 10);
	write_file("chain.pem", intel.tcb_chain, strlen(intel.tcb_chain));
	expect("collateral: a bare answer wants its issuer's chain", run("collateral import %s --store %s", path("stick/answer.json"), path("stick2")), 1,
	       "its issuer's certificates were not given");
	expect("collateral: a bare answer with it", run("collateral import %s --issuer-chain %s --store %s", path("stick/answer.json"), path("chain.pem"),
	       path("stick2")), 0, "1 kept");
	run("collateral import %s --store %s", path("stick"), path("stick3"));
	ok("collateral: a folder: what is nothing is skipped, what is good is kept", strstr(out, "notes.txt: neither collateral") && strstr(out, "1 kept, 1 refused"),
	   "%s", out);
	expect("collateral: another store", run("collateral import %s --store %s", path("imported"), path("copy")), 0, "4 kept, 0 refused");
	expect("collateral: a file that is nothing", run("collateral import %s --store %s", path("policy.yaml"), path("copy")), 1, "neither collateral nor a bundle");
}

static pid_t mirror_start(const char *options, unsigned int *at)
{
	int fds[2];
	char line[2048], said[1024] = "";
	size_t n = 0;
	if (pipe2(fds, O_CLOEXEC))
		abort();
	snprintf(line, sizeof line, "exec %s collateral serve --listen 127.0.0.1:0 %s", coffer, options);
	pid_t pid = fork();
	if (!pid) {
		dup2(fds[1], 1);
		execl("/bin/sh", "sh", "-c", line, NULL);
		_exit(127);
	}
	close(fds[1]);
	for (ssize_t got; n < sizeof said - 1 && !strchr(said, '\n') && (got = read(fds[0], said + n, sizeof said - 1 - n)) > 0; n += (size_t)got)
		;
	close(fds[0]);
	const char *url = strstr(said, "https://127.0.0.1:");
	*at = url ? (unsigned int)atoi(url + 18) : 0;
	ok("collateral: a mirror starts", *at != 0, "%s", said);
	return pid;
}

static void mirror_stop(pid_t pid)
{
	int status = -1;
	kill(pid, SIGTERM);
	waitpid(pid, &status, 0);
	ok("collateral: a mirror stops in good order", WIFEXITED(status) && !WEXITSTATUS(status), "status %x", status);
}

static const int64_t patience_ms = 60000;

static void mirror_ask(unsigned int at, SSL_CTX *tls, const char *what, struct tls_stream *s)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)at), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int64_t deadline = clock_ms() + patience_ms;
	struct fault f = {""};
	char request[300];
	if (connect(fd, (struct sockaddr *)&a, sizeof a) || fcntl(fd, F_SETFL, O_NONBLOCK) || tls_connect(s, tls, fd, "127.0.0.1", deadline, &f))
		abort();
	snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", what);
	tls_write(s, request, strlen(request), deadline);
}

static void mirror_hear(struct tls_stream *s, char *head, size_t size)
{
	int64_t deadline = clock_ms() + patience_ms;
	ssize_t got;
	size_t n;
	for (n = 0; n < size - 1 && (got = tls_read(s, head + n, size - 1 - n, deadline)) > 0; n += (size_t)got)
		;
	head[n] = '\0';
	tls_close(s);
}

// A maker that does not answer keeps those waiting who ask for what only it has, and nobody else.
static void test_waiters(unsigned int at, const char *ca)
{
	struct tls_stream waiting[40], s;
	struct fault f = {""};
	char *pem, head[64 << 10];
	unsigned int told = 0;
	size_t len;
	if (file_read(ca, 1 << 16, &pem, &len, &f))
		abort();
	SSL_CTX *tls = tls_client_context(pem, &f);
	mood = HANGING;
	for (int i = 0; i < 40; i++)
		mirror_ask(at, tls, "/vcek/v1/Milan/crl", &waiting[i]);
	mirror_ask(at, tls, "/vcek/v1/Genoa/cert_chain", &s);
	mirror_hear(&s, head, sizeof head);
	ok("collateral: what a mirror has it gives, however many wait for a maker", !strncmp(head, "HTTP/1.1 200", 12) && mood == HANGING, "%.300s", head);
	mood = WELL;
	for (int i = 0; i < 40; i++) {
		mirror_hear(&waiting[i], head, sizeof head);
		told += !strncmp(head, "HTTP/1.1 503", 12) && strstr(head, "Retry-After: ");
	}
	ok("collateral: of those some are told to come again", told >= 24 && told < 40, "%u of 40", told);
	SSL_CTX_free(tls);
	free(pem);
}

static void test_mirror(void)
{
	char options[600], quote[200], ca[600];
	unsigned int at;
	int before;
	snprintf(options, sizeof options, ORIGINS, port, port, path("ca.pem"), path("mirror"));
	pid_t pid = mirror_start(options, &at);
	snprintf(ca, sizeof ca, "%s", path("mirror/.mirror-cert.pem"));
	snprintf(quote, sizeof quote, "%s", path("quote.bin"));
	before = requests;
	// To its clients it is the makers' services.
	expect("collateral: fetch from a mirror that has nothing yet", run("collateral fetch " ORIGINS " %s %s", at, at, ca, path("client"), quote,
	       path("report.bin")), 0, "7 fetched");
	ok("collateral: which asked its origin, for each once", requests == before + 8, "%d requests", requests - before);
	expect("collateral: verify with what came through it", verify("quote.bin", "root.pem", "client", ""), 0, "ACCEPTED");
	expect("collateral: the report as well", verify("report.bin", "ark.pem", "client", ""), 0, "ACCEPTED");
	before = requests;
	expect("collateral: fetch again from it", run("collateral fetch --all " ORIGINS " %s", at, at, ca, path("client"), quote), 0, "4 fetched");
	ok("collateral: without another request to its origin", requests == before, "%d requests", requests - before);
	mood = NOT_FOUND;
	expect("collateral: what its origin does not have", run("collateral fetch " ORIGINS " --item /vcek/v1/Turin/crl", at, at, ca, path("client")), 1,
	       "HTTP 404");
	before = requests;
	run("collateral fetch " ORIGINS " --item /vcek/v1/Turin/crl", at, at, ca, path("client"));
	ok("collateral: is not asked for again at once", requests == before, "%d requests", requests - before);
	mood = WELL;
	test_waiters(at, ca);
	mirror_stop(pid);

	snprintf(options, sizeof options, "--offline --store %s", path("mirror"));
	pid = mirror_start(options, &at);
	before = requests;
	expect("collateral: an offline mirror gives what it has", run("collateral fetch --all " ORIGINS " %s", at, at, ca, path("client"), quote), 0, "4 fetched");
	expect("collateral: and no more", run("collateral fetch " ORIGINS " --item /vcek/v1/Turin/crl", at, at, ca, path("client")), 1, "HTTP 404");
	ok("collateral: and asks nobody", requests == before, "%d requests", requests - before);

	struct tls_stream s;
	struct fault f = {""};
	char *pem, head[64 << 10];
	size_t len;
	if (file_read(ca, 1 << 16, &pem, &len, &f))
		abort();
	SSL_CTX *tls = tls_client_context(pem, &f);
	static const struct { const char *name, *path, *want[4]; } asked[] = {
		{"TCB info", "/tdx/certification/v4/tcb?fmspc=00806f050000", {"HTTP/1.1 200", "TCB-Info-Issuer-Chain: -----BEGIN%20CERTIFICATE-----%0A", "tcbInfo"}},
		{"a list in DER", "/sgx/certification/v4/pckcrl?ca=platform&encoding=der", {"HTTP/1.1 200", "application/pkix-crl", "SGX-PCK-CRL-Issuer-Chain: "}},
		{"a list in PEM", "/sgx/certification/v4/pckcrl?ca=platform", {"HTTP/1.1 200", "application/x-pem-file", "-----BEGIN X509 CRL-----"}},
		{"the identity", "/tdx/certification/v4/qe/identity", {"HTTP/1.1 200", "SGX-Enclave-Identity-Issuer-Chain: ", "enclaveIdentity"}},
		{"AMD's chain", "/vcek/v1/Genoa/cert_chain", {"HTTP/1.1 200", "-----BEGIN CERTIFICATE-----"}},
		{"the status page", "/status", {"HTTP/1.1 200", "text/html", "<td class=good>good", "TCB info of TDX"}},
		{"the status", "/status.json", {"HTTP/1.1 200", "\"offline\":true", "\"days_left\":"}},
		{"a parameter that is not known", "/tdx/certification/v4/tcb?fmspc=00806f050000&x=1", {"HTTP/1.1 400", "'x' that is not known"}},
		{"what no maker has", "/../../etc/passwd", {"HTTP/1.1 404"}},
	};
	for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
		char label[100];
		mirror_ask(at, tls, asked[i].path, &s);
		mirror_hear(&s, head, sizeof head);
		bool all = true;
		for (int w = 0; w < 4 && asked[i].want[w]; w++)
			all &= strstr(head, asked[i].want[w]) != NULL;
		snprintf(label, sizeof label, "collateral: a mirror's answer: %s", asked[i].name);
		ok(label, all, "%.3000s", head);
	}
	SSL_CTX_free(tls);
	free(pem);
	mirror_stop(pid);
}

// What real services sent for real quotes: the same verdict with a store as with the file.
static void test_vectors(void)
{
	static const struct { const char *quote, *file, *at; } cases[] = {
		{"sgx/dcap-qvl/quote.bin", "sgx/dcap-qvl/collateral.json", "2025-06-25T00:00:00Z"},
		{"tdx/dcap-qvl/quote.bin", "tdx/dcap-qvl/collateral.json", "2025-06-25T00:00:00Z"},
	};
	const char *vectors = getenv("COFFER_VECTORS");
	vectors = vectors ? vectors : "../shared/vectors";
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char quote[300], file[300], label[200];
		snprintf(quote, sizeof quote, "%s/%s", vectors, cases[i].quote);
		snprintf(file, sizeof file, "%s/%s", vectors, cases[i].file);
		snprintf(label, sizeof label, "collateral: %s", cases[i].file);
		if (access(quote, R_OK) || access(file, R_OK)) {
			skip(label, "the vectors are not here");
			continue;
		}
		int rc = run("verify %s --collateral %s --at %s --json", quote, file, cases[i].at);
		char *with_file = strdup(out);
		expect(label, run("collateral import %s --store %s", file, path(i ? "real-tdx" : "real-sgx")), 0, "4 kept, 0 refused");
		int again = run("verify %s --collateral %s --at %s --json", quote, path(i ? "real-tdx" : "real-sgx"), cases[i].at);
		ok(label, rc == again && !strcmp(with_file, out), "%d %d %s %s", rc, again, with_file, out);
		run("collateral show --json --store %s", path(i ? "real-tdx" : "real-sgx"));
		ok("collateral: under Intel's own root", strstr(out, "\"under_makers_root\":true"), "%s", out);
		free(with_file);
	}
	char dir[300];
	snprintf(dir, sizeof dir, "%s/tdx/gcp-ccel/pcs", vectors);
	if (access(dir, R_OK))
		skip("collateral: answers of Intel's service", "the vectors are not here");
	else
		expect("collateral: answers of Intel's service", run("collateral import %s --store %s", dir, path("real-pcs")), 0, "5 kept, 0 refused");
	snprintf(dir, sizeof dir, "%s/snp/virtee", vectors);
	if (access(dir, R_OK))
		skip("collateral: certificates of AMD's", "the vectors are not here");
	else
		expect("collateral: certificates of AMD's", run("collateral import %s/vcek_milan.der %s/cert_chain_milan %s/vcek_turin.der %s/cert_chain_turin --store %s",
		       dir, dir, dir, dir, path("real-amd")), 0, "4 kept, 0 refused");
}

int main(int argc, char **argv)
{
	struct http_server_options o = {.address = "127.0.0.1", .handle = play};
	struct http_server *server;
	struct fault f = {""};
	char *cert, *key;
	const char *slash = argc ? strrchr(argv[0], '/') : NULL;
	snprintf(coffer, sizeof coffer, "%.*s../bin/coffer", slash ? (int)(slash + 1 - argv[0]) : 0, argv[0]);
	if (access(coffer, X_OK)) {
		ok("coffer collateral", false, "the command is not built");
		return 1;
	}
	signal(SIGPIPE, SIG_IGN);
	// No proxy of this machine's between loopback and itself.
	setenv("no_proxy", "*", 1);
	if (!test_folder(folder, "collateral") || tls_make_certificate("a test", "127.0.0.1,localhost", &cert, &key, &f))
		return 1;
	write_file("ca.pem", cert, strlen(cert));
	make_everything();
	o.tls = tls_server_context(cert, key, &f);
	if (!o.tls || http_server_start(&server, &o, &f)) {
		printf("not ok collateral: a server for the tests: %s\n", f.text);
		return 1;
	}
	port = http_server_port(server);
	test_fetch();
	test_bad_services(tls_server_context(cert, key, &f));
	test_authorities();
	test_files();
	test_mirror();
	test_vectors();
	http_server_stop(server);
	SSL_CTX_free(o.tls);
	made_free(&intel);
	made_free(&intel_other);
	snp_made_free(&genoa);
	free(genoa_crl);
	free(genoa_chain);
	free(cert);
	free(key);
	return ok_failed != 0;
}
