// SPDX-License-Identifier: Apache-2.0
// See harness.h.
#include "tests/broker/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attest/binding.h"
#include "attest/simtee.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwe.h"
#include "tests/folder.h"
#include "tests/port.h"

#define MAX_OPTIONS 32

char world[64];
struct machine machine;

void machine_make(struct machine *m, const char *name)
{
	memset(m, 0, sizeof *m);
	snprintf(m->dir, sizeof m->dir, "%s/%s", world, name);
	simtee_root_path(m->dir, m->root_pem, sizeof m->root_pem);
	RAND_bytes(m->measurement, sizeof m->measurement);
	hex_encode(m->measurement_hex, m->measurement, sizeof m->measurement);
}

void world_begin(const char *name)
{
	setenv("NO_COLOR", "1", 1);
	signal(SIGPIPE, SIG_IGN);
	if (!test_folder(world, name))
		exit(1);
	setenv("XDG_CONFIG_HOME", world, 1);	// whoever runs this may have an identity of his own
	machine_make(&machine, "machine");
}

int world_end(void)
{
	return ok_failed != 0;
}

// ---- a broker ----

bool run_prepare(struct run *b, const char *name)
{
	char path[128];
	struct fault f = {""};
	size_t len;
	memset(b, 0, sizeof *b);
	snprintf(b->dir, sizeof b->dir, "%s/%s", world, name);
	snprintf(b->log, sizeof b->log, "%s/%s.log", world, name);
	strcpy(b->listen, "127.0.0.1:0");
	int err = broker_prepare(b->dir, &f);
	snprintf(path, sizeof path, "%s/cert.pem", b->dir);
	if (!err)
		err = file_read(path, 65536, &b->ca, &len, &f);
	return ok("the state folder and its certificate are prepared", !err, "%s", f.text);
}

void run_stays(struct run *b)
{
	snprintf(b->listen, sizeof b->listen, "127.0.0.1:%u", free_port());
}

// Its URL comes from its first line.
static bool read_url(int fd, char url[128])
{
	char line[256];
	size_t n = 0;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	while (n < sizeof line - 1 && !memchr(line, '\n', n) && poll(&p, 1, 120000) == 1) {
		ssize_t got = read(fd, line + n, sizeof line - 1 - n);
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	line[n] = '\0';
	return sscanf(line, "listening on %127s", url) == 1;
}

// A broker is this program, started anew. A mere copy of a process with threads would wait for ever for a lock that one of them had just then, and
// have all that they had allocated as leaks.
#define BE_BROKER "--be-broker"

__attribute__((constructor)) static void be_broker(int argc, char **argv)
{
	if (argc < 2 || strcmp(argv[1], BE_BROKER))
		return;
	argv[1] = (char *)"broker";
	exit(broker_main(argc - 1, argv + 1));	// not _exit: the leak checker runs
}

bool run_start_with(struct run *b, const char *const *options)
{
	char *argv[MAX_OPTIONS + 7] = {program_invocation_name, BE_BROKER, "--dir", b->dir, "--listen", b->listen};
	int out[2], argc = 6;
	for (int i = 0; options[i] && i < MAX_OPTIONS; i++)
		argv[argc++] = (char *)options[i];
	if (pipe2(out, O_CLOEXEC) < 0)
		return false;
	fflush(stdout);
	b->pid = fork();
	if (b->pid == 0) {
		int log = open(b->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
		dup2(out[1], 1);
		dup2(log, 2);
		execv("/proc/self/exe", argv);
		_exit(127);
	}
	close(out[1]);
	bool up = read_url(out[0], b->url);
	close(out[0]);
	return up;
}

// What a broker that did not end well said last.
static void show_log(const struct run *b)
{
	char *text;
	size_t len;
	if (file_read(b->log, 16 << 20, &text, &len, NULL))
		return;
	printf("%s\n", text + (len > 4000 ? len - 4000 : 0));
	free(text);
}

int run_stop(struct run *b)
{
	int status = -1;
	kill(b->pid, SIGTERM);
	for (int i = 0; i < 3600; i++) { // three minutes: the machine may be busy, and the leak checker takes its time
		if (waitpid(b->pid, &status, WNOHANG) == b->pid) {
			if (status)
				show_log(b);
			return status;
		}
		usleep(50000);
	}
	show_log(b);
	kill(b->pid, SIGKILL);
	waitpid(b->pid, &status, 0);
	return -1;
}

size_t run_log_size(const struct run *b)
{
	struct stat st;
	return stat(b->log, &st) ? 0 : (size_t)st.st_size;
}

bool run_said(const struct run *b, size_t from, const char *text)
{
	bool said = false;
	for (int i = 0; i < 6000 && !said; i++) {
		char *log;
		size_t len;
		if (!file_read(b->log, 16 << 20, &log, &len, NULL)) {
			said = strstr(log + (from < len ? from : len), text);
			free(log);
		}
		if (!said)
			usleep(20000);
	}
	return said;
}

void run_free(struct run *b)
{
	free(b->ca);
	b->ca = NULL;
}

// ---- requests ----

int request(const struct run *b, const char *method, const char *path, const char *headers, const char *body, struct http_reply *reply)
{
	struct http_client *c;
	struct fault f = {""};
	struct http_client_options o = {.url = b->url, .ca_pem = b->ca, .resolve = http_resolve_static, .timeout_ms = 60000};
	int err = http_client_open(&c, &o, &f);
	if (err)
		return err;
	err = http_client_request(c, method, path, headers, body, body ? strlen(body) : 0, reply, &f);
	http_client_close(c);
	return err;
}

void expect(const char *name, const struct run *b, const char *method, const char *path, const char *headers, const char *body, int status,
	    const char *text)
{
	struct http_reply r;
	int err = request(b, method, path, headers, body, &r);
	ok(name, !err && r.status == status && strstr(r.body, text), "%d, status %d: %s", err, err ? 0 : r.status, err ? "" : r.body);
	if (!err)
		http_reply_free(&r);
}

// ---- the owner ----

struct broker_client *owner(const struct run *b)
{
	struct broker_client *c = NULL;
	struct broker_client_options o = {.dir = b->dir, .url = b->url};
	struct fault f = {""};
	if (broker_client_open(&c, &o, &f))
		ok("the owner's client opens", false, "%s", f.text);
	return c;
}

const char *admin_header(const struct run *b)
{
	static char header[128];
	char path[128], *text;
	struct fault f = {""};
	size_t len;
	snprintf(path, sizeof path, "%s/admin.token", b->dir);
	if (file_read(path, 100, &text, &len, &f)) {
		ok("the admin token is read", false, "%s", f.text);
		return "";
	}
	snprintf(header, sizeof header, "Authorization: Bearer %.64s\r\n", text);
	free(text);
	return header;
}

void put_secret(const struct run *b, const char *resource, const char *text)
{
	char path[256];
	struct http_reply r;
	snprintf(path, sizeof path, "/kbs/v0/resource/%s?replace=true", resource);
	int err = request(b, "POST", path, admin_header(b), text, &r);
	if (err || r.status / 100 != 2)
		ok("a secret is stored", false, "%d, %d: %s", err, err ? 0 : r.status, err ? "" : r.body);
	if (!err)
		http_reply_free(&r);
}

void set_policy(const struct run *b, const char *resource, bool allow, const char *measurement_hex)
{
	struct broker_client *c = owner(b);
	struct fault f = {""};
	int err = !c ? -1 : allow ? broker_client_policy_allow(c, resource, measurement_hex, NULL, &f)
				  : broker_client_policy_deny(c, resource, NULL, &f);
	if (err)
		ok("a policy is changed", false, "%s", f.text);
	broker_client_close(c);
}

// ---- clients that attest ----

int machine_evidence(const struct machine *m, const uint8_t report_data[64], struct evidence *out, struct fault *f)
{
	char *pem;
	int err = simtee_report(m->dir, m->measurement, report_data, m->debug, out->report, &pem);
	if (err)
		return fault_set(f, err, "no evidence");
	err = snp_chain_add_pem(&out->chain, pem, strlen(pem), f);
	free(pem);
	return err;
}

bool guest_begin(const struct run *b, const char *tee, struct guest *g)
{
	struct http_reply r;
	char body[160];
	if (!g->key)
		g->key = jwk_new_key("P-256");
	snprintf(body, sizeof body, "{\"version\":\"0.4.0\",\"tee\":\"%s\",\"extra-params\":\"\"}", tee);
	if (request(b, "POST", "/kbs/v0/auth", "", body, &r))
		return false;
	json_t *o = json_loads(r.body, 0, NULL);
	const char *n = json_string_value(json_object_get(o, "nonce"));
	r.cookie[strcspn(r.cookie, ";")] = '\0';
	bool good = r.status == 200 && n && strlen(n) < sizeof g->nonce;
	if (good) {
		strcpy(g->nonce, n);
		snprintf(g->cookie, sizeof g->cookie, "Cookie: %.100s\r\n", r.cookie);
	}
	json_decref(o);
	http_reply_free(&r);
	return good;
}

char *guest_body(EVP_PKEY *key, const char *nonce, struct evidence *e)
{
	static const char *const types[] = {"VCEK", "ASK", "ARK"};
	char report[BASE64_SIZE(SNP_REPORT_BYTES)];
	json_t *chain = json_array();
	base64_encode(report, e->report, sizeof e->report, BASE64_STD);
	for (unsigned int i = 0; i < e->chain.count && i < 3; i++) {
		uint8_t *der = NULL;
		int len = i2d_X509(e->chain.certs[i], &der);
		char text[BASE64_SIZE(4096)];
		base64_encode(text, der, (size_t)len, BASE64_STD);
		json_array_append_new(chain, json_pack("{s:s, s:s}", "cert_type", types[i], "data", text));
		OPENSSL_free(der);
	}
	json_t *o = json_pack("{s:{s:s, s:o}, s:{s:{s:s, s:o}, s:s}}", "runtime-data", "nonce", nonce, "tee-pubkey", jwk_from_key(key),
			      "tee-evidence", "primary_evidence", "attestation_report", report, "cert_chain", chain, "additional_evidence", "");
	char *text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	snp_chain_free(&e->chain);
	return text;
}

int guest_attest(const struct run *b, const struct machine *m, struct guest *g, char **token)
{
	struct evidence e = {.chain = {.count = 0}};
	uint8_t data[64];
	struct fault f = {""};
	struct http_reply r;
	if (!guest_begin(b, "snp", g))
		return -EPROTO;
	json_t *jwk = jwk_from_key(g->key);
	int err = attest_report_data(g->nonce, jwk, "", data);
	json_decref(jwk);
	if (!err)
		err = machine_evidence(m, data, &e, &f);
	if (err)
		return err;
	char *body = guest_body(g->key, g->nonce, &e);
	err = request(b, "POST", "/kbs/v0/attest", g->cookie, body, &r);
	free(body);
	if (err)
		return err;
	int status = r.status;
	json_t *o = token ? json_loads(r.body, 0, NULL) : NULL;
	const char *text = json_string_value(json_object_get(o, "token"));
	if (token)
		*token = text ? strdup(text) : NULL;
	json_decref(o);
	http_reply_free(&r);
	return status;
}

int guest_get(const struct run *b, const struct guest *g, const char *resource, void *out, size_t size, size_t *len)
{
	char path[256];
	struct http_reply r;
	struct fault f = {""};
	snprintf(path, sizeof path, "/kbs/v0/resource/%s", resource);
	int err = request(b, "GET", path, g->cookie, NULL, &r);
	if (err)
		return err;
	int status = r.status;
	json_t *jwe = status == 200 ? json_loads(r.body, 0, NULL) : NULL;
	if (status == 200)
		err = jwe ? jwe_decrypt(g->key, jwe, out, size, len, &f) : -EPROTO;
	json_decref(jwe);
	http_reply_free(&r);
	return err ? err : status;
}

void guest_free(struct guest *g)
{
	EVP_PKEY_free(g->key);
	g->key = NULL;
}
