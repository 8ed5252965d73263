// SPDX-License-Identifier: Apache-2.0
// The broker, whole: a real server on a loopback port, the owner's client, and the enclave's own code (init/attest.c)
// with evidence from the simulated hardware in place of configfs. Every refusal is asserted by its words.
#include "tests/broker/harness.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attest/binding.h"
#include "attest/simtee_sign.h"
#include "broker/audit_client.h"
#include "broker/store.h"
#include "init/exchange.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwe.h"
#include "lib/tls.h"

static struct run b;
static struct machine other_machine;
static const uint8_t volume_id[16] = {0xab, 0xcd, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
static const uint8_t volume_key[32] = "the thirty-two bytes of the key";
#define VOLUME_HEX "abcd030405060708090a0b0c0d0e0f10"
#define RESOURCE "default/volume/" VOLUME_HEX

static const char *require_anchor; // of brokers that are started from now on

static bool start(struct run *of, bool accept_simulated, bool accept_debug)
{
	const char *options[6] = {NULL};
	int n = 0;
	if (accept_simulated) {
		options[n++] = "--insecure-accept-simulated";
		options[n++] = machine.root_pem;
	}
	if (accept_debug)
		options[n++] = "--insecure-accept-debug";
	if (require_anchor) {
		options[n++] = "--require-anchor";
		options[n++] = require_anchor;
	}
	return run_start_with(of, options);
}

// ---- evidence, right and wrong ----

static const struct machine *evidence_of = &machine;
static unsigned int change_at;		// 0: nothing is changed
static uint8_t change_to;
static bool change_after_signing, other_report_data;

static int simulated_evidence(const uint8_t report_data[64], struct evidence *out, struct fault *f)
{
	uint8_t data[64];
	memcpy(data, report_data, 64);
	data[0] ^= other_report_data;
	int err = machine_evidence(evidence_of, data, out, f);
	if (change_at && !change_after_signing) {
		out->report[change_at] = change_to;
		simtee_sign(evidence_of->dir, out->report);
	} else if (change_at) {
		out->report[change_at] ^= change_to;
	}
	return err;
}

static struct coffer_mount_key mounted;
static unsigned int mount_count;
static char said[1024];

static int remember_mount(unsigned int index, const struct settings_volume *v, const struct coffer_mount_key *key,
			  struct fault *f)
{
	(void)index;
	(void)v;
	(void)f;
	mounted = *key;
	mount_count++;
	return 0;
}

static void remember_line(const char *line)
{
	snprintf(said, sizeof said, "%s", line);
}

// The kernel's side of anchors: `volume` is what the last root is, `to_tell` how many more roots the helper is given.
static struct coffer_anchor_state volume;
static unsigned int claims, known, fenced, silent, to_tell;
static unsigned long claimed_epoch;
static bool unmounted;

static int anchor_write(const struct coffer_anchor_record *r)
{
	if (unmounted) {
		unmounted = false;
		return -ENODEV;
	}
	if (r->what == COFFER_ANCHOR_CLAIMED) {
		claims++;
		claimed_epoch = volume.epoch = r->state.epoch;
	}
	known += r->what == COFFER_ANCHOR_KNOWS;
	fenced += r->what == COFFER_ANCHOR_FENCED;
	silent += r->what == COFFER_ANCHOR_SILENT;
	return 0;
}

static int anchor_read(struct coffer_anchor_record *r)
{
	*r = (struct coffer_anchor_record){.what = COFFER_ANCHOR_STATE, .state = volume};
	return 0;
}

static int next_root(struct coffer_anchor_record *r)
{
	*r = (struct coffer_anchor_record){.what = COFFER_ANCHOR_CLOSE};
	if (!to_tell)
		return 0;
	to_tell--;
	volume.generation++;
	volume.digest[0]++;
	*r = (struct coffer_anchor_record){.what = COFFER_ANCHOR_STATE, .state = volume};
	return 0;
}

static const struct attest_ops ops = {simulated_evidence, remember_mount, NULL, NULL, remember_line, anchor_write, anchor_read, NULL, NULL};
static const struct attest_ops helper_ops = {simulated_evidence, remember_mount, NULL, NULL, remember_line, anchor_write, next_root, NULL, NULL};

// What init-attest does, for one volume.
static int attest_as(const char *url, const char *trusted, const char *name, unsigned int timeout, struct fault *f)
{
	struct settings s = {.volume_count = 1, .broker_url = (char *)url, .broker_ca = (char *)trusted,
			     .broker_name = (char *)name, .broker_timeout_s = timeout};
	s.volumes[0].name = "customers.vol";
	s.volumes[0].path = "/data";
	strcpy(s.volumes[0].id, VOLUME_HEX);
	mount_count = 0;
	said[0] = '\0';
	f->text[0] = '\0';
	memset(&mounted, 0, sizeof mounted);
	return attest_run(&s, &ops, NULL, f);
}

// The same with an anchor; *x goes on as its helper.
static int anchored(const char *url, bool read_only, struct exchange **x, struct fault *f)
{
	static struct settings s; // the helper keeps it
	s = (struct settings){.volume_count = 1, .broker_url = (char *)url, .broker_ca = b.ca, .broker_timeout_s = 2, .anchor = true,
			      .anchor_every_ms = 30, .anchor_bound_ms = 7000};
	s.volumes[0].name = "customers.vol";
	s.volumes[0].path = "/data";
	s.volumes[0].read_only = read_only;
	strcpy(s.volumes[0].id, VOLUME_HEX);
	claims = known = fenced = silent = mount_count = 0;
	memset(&mounted, 0, sizeof mounted);
	return attest_run(&s, &ops, x, f);
}

static void serve(struct exchange *x, unsigned int roots)
{
	x->ops = &helper_ops;
	known = fenced = silent = 0;
	to_tell = roots;
	anchor_serve(x);
}

static void refused(const char *name, const char *text1, const char *text2)
{
	struct fault f;
	int err = attest_as(b.url, b.ca, NULL, 2, &f);
	ok(name, err == -EACCES && mount_count == 0 && strstr(f.text, text1) && strstr(f.text, text2), "%d: %s", err,
	   f.text);
	change_at = 0;
	change_after_signing = other_report_data = false;
}

// ---- the protocol by hand ----

static bool begin(char cookie[128], char nonce[64])
{
	struct guest g = {.key = NULL};
	bool good = guest_begin(&b, "snp", &g);
	memcpy(cookie, g.cookie, sizeof g.cookie);
	memcpy(nonce, g.nonce, sizeof g.nonce);
	guest_free(&g);
	return good;
}

// A body for /attest: evidence over `bound_key` and `bound_nonce`, sent along with `sent_key` and `sent_nonce`.
static char *body_of(EVP_PKEY *bound_key, const char *bound_nonce, EVP_PKEY *sent_key, const char *sent_nonce)
{
	struct evidence e = {.chain = {.count = 0}};
	uint8_t data[64];
	json_t *bound = jwk_from_key(bound_key);
	attest_report_data(bound_nonce, bound, "", data);
	json_decref(bound);
	simulated_evidence(data, &e, NULL);
	return guest_body(sent_key, sent_nonce, &e);
}

static void test_protocol(void)
{
	char cookie[128], nonce[64], cookie2[128], nonce2[64];
	EVP_PKEY *key = jwk_new_key("P-256"), *thief = jwk_new_key("P-256"), *p521 = jwk_new_key("P-521");
	struct http_reply r;

	expect("another protocol version is refused with the supported ones", &b, "POST", "/kbs/v0/auth", "",
	       "{\"version\":\"0.1.1\",\"tee\":\"snp\"}", 400, "supported: 0.4.x");
	expect("another TEE is refused with the supported ones", &b, "POST", "/kbs/v0/auth", "",
	       "{\"version\":\"0.4.0\",\"tee\":\"sample\"}", 400, "supported: snp");
	expect("a resource without a session", &b, "GET", "/kbs/v0/resource/" RESOURCE, "", NULL, 401, "no session");
	expect("an unknown session", &b, "GET", "/kbs/v0/resource/" RESOURCE,
	       "Cookie: kbs-session-id=00000000-0000-4000-8000-000000000000\r\n", NULL, 401, "unknown or has expired");

	if (!ok("a session begins", begin(cookie, nonce) && begin(cookie2, nonce2), "no"))
		return;
	ok("nonces differ", strcmp(nonce, nonce2) && strlen(nonce) == 44, "%s %s", nonce, nonce2);
	expect("a session that has not attested gets nothing", &b, "GET", "/kbs/v0/resource/" RESOURCE, cookie, NULL,
	       401, "has not attested");

	char *body = body_of(key, nonce, key, nonce);
	expect("evidence is accepted once", &b, "POST", "/kbs/v0/attest", cookie, body, 200, "\"token\"");
	expect("the same evidence again: the nonce is spent", &b, "POST", "/kbs/v0/attest", cookie, body, 401,
	       "nonce was used already");
	expect("the same evidence in another session: replay", &b, "POST", "/kbs/v0/attest", cookie2, body, 403,
	       "report-data: expected");
	free(body);
	expect("a refused attempt spends the nonce too", &b, "POST", "/kbs/v0/attest", cookie2, "{}", 401,
	       "used already");

	int err = request(&b, "GET", "/kbs/v0/resource/" RESOURCE, cookie, NULL, &r);
	json_t *jwe = err ? NULL : json_loads(r.body, 0, NULL);
	uint8_t plain[64];
	size_t len = 0;
	struct fault f = {""};
	ok("the secret comes as a JWE for the TEE's key",
	   jwe && !jwe_decrypt(key, jwe, plain, sizeof plain, &len, &f) && len == 32 && !memcmp(plain, volume_key, 32),
	   "%d %s", err, f.text);
	ok("no other key opens it", jwe && jwe_decrypt(thief, jwe, plain, sizeof plain, &len, &f) == -EBADMSG, "%s",
	   f.text);
	ok("the secret is not in the answer", !err && !memmem(r.body, r.body_len, volume_key, 16), "it is");
	json_decref(jwe);
	if (!err)
		http_reply_free(&r);

	begin(cookie, nonce);
	body = body_of(key, nonce, thief, nonce);
	expect("evidence bound to another key is refused", &b, "POST", "/kbs/v0/attest", cookie, body, 403,
	       "report-data: expected");
	free(body);
	begin(cookie, nonce);
	body = body_of(key, nonce2, key, nonce2);
	expect("a nonce of one's own is refused by name", &b, "POST", "/kbs/v0/attest", cookie, body, 403,
	       "nonce: expected");
	free(body);
	begin(cookie, nonce);
	body = body_of(p521, nonce, p521, nonce);
	expect("a P-521 key serves as well", &b, "POST", "/kbs/v0/attest", cookie, body, 200, "token");
	free(body);
	begin(cookie, nonce);
	expect("an RSA key is refused", &b, "POST", "/kbs/v0/attest", cookie,
	       "{\"runtime-data\":{\"tee-pubkey\":{\"kty\":\"RSA\"}},\"tee-evidence\":{}}", 400, "tee-pubkey");
	begin(cookie, nonce);
	expect("what is not JSON is refused", &b, "POST", "/kbs/v0/attest", cookie, "{\"runtime", 400, "not JSON");
	expect("unknown paths", &b, "GET", "/kbs/v0/nothing", "", NULL, 404, "nothing here");
	expect("odd resource names", &b, "GET", "/kbs/v0/resource/../../etc", "", NULL, 404, "repository/type/tag");
	expect("health", &b, "GET", "/healthz", "", NULL, 200, "ok");

	expect("writing needs the admin token", &b, "POST", "/kbs/v0/resource/" RESOURCE, "", "x", 401, "admin token");
	expect("deleting needs the admin token", &b, "DELETE", "/kbs/v0/resource/" RESOURCE, "", NULL, 401,
	       "admin token");
	expect("policies need the admin token", &b, "GET", "/coffer/v0/policy", "Authorization: Bearer 00\r\n", NULL,
	       401, "admin token");
	EVP_PKEY_free(key);
	EVP_PKEY_free(thief);
	EVP_PKEY_free(p521);
}

static void test_token(void)
{
	char cookie[128], nonce[64];
	EVP_PKEY *key = jwk_new_key("P-256");
	struct http_reply r;
	begin(cookie, nonce);
	char *body = body_of(key, nonce, key, nonce);
	int err = request(&b, "POST", "/kbs/v0/attest", cookie, body, &r);
	json_t *o = err ? NULL : json_loads(r.body, 0, NULL);
	const char *token = json_string_value(json_object_get(o, "token"));
	char claims[16384] = "";
	const char *dot = token ? strchr(token, '.') : NULL, *dot2 = dot ? strchr(dot + 1, '.') : NULL;
	ssize_t n = dot2 ? base64_decode(claims, sizeof claims - 1, dot + 1, (size_t)(dot2 - dot - 1), BASE64_URL) : -1;
	json_t *c = n > 0 ? json_loadb(claims, (size_t)n, 0, NULL) : NULL;
	const json_t *cpu = json_object_get(json_object_get(c, "submods"), "cpu0");
	const char *status = json_string_value(json_object_get(cpu, "ear.status"));
	ok("the token is an EAR that does not affirm simulated hardware", status && !strcmp(status, "contraindicated"),
	   "%s", status ? status : "none");
	const json_t *annotated = json_object_get(cpu, "ear.veraison.annotated-evidence");
	const char *tee = json_string_value(json_object_get(annotated, "tee"));
	ok("the token says simulated", tee && !strcmp(tee, "simulated"), "%s", tee ? tee : "none");
	json_decref(c);

	// The token is worth as much as the cookie, and a changed one is worth nothing.
	char headers[16384];
	struct http_reply answer;
	uint8_t plain[64];
	size_t len = 0;
	struct fault f = {""};
	snprintf(headers, sizeof headers, "Authorization: Bearer %s\r\n", token ? token : "");
	int err2 = request(&b, "GET", "/kbs/v0/resource/" RESOURCE, headers, NULL, &answer);
	json_t *jwe = err2 ? NULL : json_loads(answer.body, 0, NULL);
	ok("the bearer of a token gets the secret for the token's key", jwe &&
	   !jwe_decrypt(key, jwe, plain, sizeof plain, &len, &f) && len == 32, "%d %s", err2, f.text);
	json_decref(jwe);
	if (!err2)
		http_reply_free(&answer);
	expect("which may have been passed on: it moves no anchor", &b, "POST", "/kbs/v0/anchor/" RESOURCE, headers, "{\"action\":\"claim\"}", 403, "TokenNotEnough");
	char *middle = strchr(headers, '.') + 9;
	*middle = *middle == 'A' ? 'B' : 'A';
	expect("a changed token is refused", &b, "GET", "/kbs/v0/resource/" RESOURCE, headers, NULL, 401,
	       "did not give");
	json_decref(o);
	if (!err)
		http_reply_free(&r);
	free(body);
	EVP_PKEY_free(key);
}

// ---- owner ----

static void test_owner(void)
{
	struct broker_client *c = owner(&b);
	struct fault f = {""};
	uint8_t key[32];
	json_t *list = NULL;
	if (!c)
		return;
	int err = broker_client_put_volume_key(c, volume_id, volume_key, false, &f);
	ok("a key is stored", !err, "%s", f.text);
	err = broker_client_put_volume_key(c, volume_id, volume_key, false, &f);
	ok("an existing key is not replaced by accident", err == -EEXIST && strstr(f.text, "unreadable"), "%s", f.text);
	err = broker_client_put_volume_key(c, volume_id, volume_key, true, &f);
	ok("and is on purpose", !err, "%s", f.text);
	err = broker_client_get_volume_key(c, volume_id, key, &f);
	ok("its owner reads it back", !err && !memcmp(key, volume_key, 32), "%s", f.text);
	uint8_t unknown[16] = {1};
	ok("an unknown key", broker_client_get_volume_key(c, unknown, key, &f) == -ENOENT, "%s", f.text);
	err = broker_client_policy_allow(c, RESOURCE, "ABC", NULL, &f);
	ok("a malformed measurement is refused", err == -EINVAL && strstr(f.text, "96"), "%s", f.text);
	err = broker_client_policy_allow(c, "a/b", machine.measurement_hex, NULL, &f);
	ok("a malformed resource is refused", err == -EINVAL && strstr(f.text, "repository/type/tag"), "%s", f.text);
	err = broker_client_policy_allow(c, RESOURCE, machine.measurement_hex, "loan 1.0", &f);
	ok("a policy is stored", !err, "%s", f.text);
	err = broker_client_policy_list(c, &list, &f);
	const char *note =
		json_string_value(json_object_get(json_array_get(json_object_get(list, "policies"), 0), "note"));
	ok("policies are listed", !err && note && !strcmp(note, "loan 1.0"), "%s", f.text);
	json_decref(list);
	broker_client_close(c);
}

// ---- through the enclave's code ----

static void test_release(void)
{
	struct fault f;
	const char *hex = machine.measurement_hex;
	char other_hex[97];
	uint8_t other[48];
	int err = attest_as(b.url, b.ca, NULL, 2, &f);
	ok("the right enclave gets its key", !err && mount_count == 1 && !memcmp(mounted.key, volume_key, 32) &&
	   mounted.magic == COFFER_MOUNT_KEY_MAGIC && !memcmp(mounted.id, volume_id, 16), "%d: %s", err, f.text);
	char two[300];
	snprintf(two, sizeof two, "https://127.0.0.1:1,%s", b.url);
	err = attest_as(two, b.ca, NULL, 2, &f);
	ok("of two brokers, the one that answers gives it", !err && mount_count == 1, "%d: %s", err, f.text);

	memset(other, 0x77, sizeof other);
	hex_encode(other_hex, other, 48);
	set_policy(&b, RESOURCE, false, NULL);
	refused("without a policy nobody gets it", "no policy allows any", hex);
	set_policy(&b, RESOURCE, true, other_hex);
	refused("another measurement: the one expected is named", "measurement: expected 7777", other_hex);
	refused("another measurement: the one found is named", "found", hex);
	set_policy(&b, RESOURCE, true, machine.measurement_hex);
	err = attest_as(b.url, b.ca, NULL, 2, &f);
	ok("two measurements may be allowed", !err && mount_count == 1, "%d: %s", err, f.text);

	machine.debug = true;
	refused("debug is refused", "dbgstat: expected disabled-since-boot", "found enabled");
	machine.debug = false;
	change_at = 0x90, change_to = 1, change_after_signing = true;
	refused("a changed report is refused", "signature: expected", "changed or signed by another key");
	other_report_data = true;
	refused("a report bound to something else is refused", "report-data: expected", "found");
	evidence_of = &other_machine;
	refused("another machine's simulated hardware is refused", "root: expected AMD's root", SIMTEE_ROOT_NAME);
	evidence_of = &machine;
}

static void test_connection(void)
{
	struct fault f;
	char *cert, *key;
	tls_make_certificate("Somebody else", "localhost,127.0.0.1", &cert, &key, &f);
	int err = attest_as(b.url, cert, NULL, 2, &f);
	ok("a broker with another certificate is not trusted", err == -EKEYREJECTED && strstr(f.text, "not trusted"),
	   "%d: %s", err, f.text);
	free(cert);
	free(key);
	err = attest_as("https://127.0.0.1:1", b.ca, NULL, 2, &f);
	ok("an unreachable broker is tried again, then given up",
	   err == -ECONNREFUSED && strstr(f.text, "within 2 s") && strstr(said, "trying again"), "%d: %s (%s)", err,
	   f.text, said);
	err = attest_as("https://no-such-host.invalid:8443", b.ca, NULL, 0, &f);
	ok("an unknown name says what can be done", err && strstr(f.text, "numeric address"), "%d: %s", err, f.text);
	err = attest_as("http://127.0.0.1:8443", b.ca, NULL, 1, &f);
	ok("plain HTTP is refused", err == -EINVAL && strstr(f.text, "https://"), "%d: %s", err, f.text);
	err = attest_as(b.url, "", NULL, 1, &f);
	ok("no pinned certificate, no trust", err == -EINVAL && strstr(f.text, "broker: ca:"), "%d: %s", err, f.text);
}

static void *many(void *unused)
{
	(void)unused;
	long failed = 0;
	for (int i = 0; i < 10; i++) {
		struct guest g = {.key = NULL};
		uint8_t got[64];
		size_t len;
		failed += guest_attest(&b, &machine, &g, NULL) != 200 || guest_get(&b, &g, RESOURCE, got, sizeof got, &len) != 200;
		guest_free(&g);
	}
	return (void *)failed;
}

// Connections that say nothing (more than the server has places for) do not keep others out.
static void test_slow_clients(void)
{
	union http_address a;
	int idle[160];
	struct fault f;
	char port[8];
	snprintf(port, sizeof port, "%s", strrchr(b.url, ':') + 1);
	http_resolve_static("127.0.0.1", port, &a, 1, &f);
	for (size_t i = 0; i < sizeof idle / sizeof *idle; i++) {
		idle[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(idle[i], &a.sa, sizeof a.in) < 0)
			ok("a silent connection", false, "%s", strerror(errno));
	}
	int64_t before = clock_ms();
	int err = attest_as(b.url, b.ca, NULL, 2, &f);
	ok("silent connections do not keep others waiting", !err && clock_ms() - before < 8000, "%d: %s after %lld ms",
	   err, f.text, (long long)(clock_ms() - before));
	for (size_t i = 0; i < sizeof idle / sizeof *idle; i++)
		close(idle[i]);
}

static void test_concurrent(void)
{
	pthread_t t[8];
	long failed = 0;
	for (int i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, many, NULL);
	for (int i = 0; i < 8; i++) {
		void *n;
		pthread_join(t[i], &n);
		failed += (long)n;
	}
	ok("80 exchanges from 8 clients at a time", failed == 0, "%ld failed", failed);
}

// ---- the audit log ----

static bool found_refusal, found_peer;
static unsigned long lines_seen;

static int look_at(void *ctx, uint64_t index, const char *line, size_t len)
{
	json_t *o = json_loadb(line, len, 0, NULL);
	const char *outcome = json_string_value(json_object_get(o, "outcome"));
	const char *claim = json_string_value(json_object_get(json_array_get(json_object_get(o, "refusals"), 0), "claim"));
	const char *from = json_string_value(json_object_get(o, "from"));
	(void)ctx;
	lines_seen += index != UINT64_MAX;
	found_refusal |= outcome && claim && !strcmp(outcome, "refused") && !strcmp(claim, "measurement");
	found_peer |= from && !strncmp(from, "127.0.0.1:", 10);
	json_decref(o);
	return 0;
}

static struct note kept_head;

static void test_log(void)
{
	struct broker_client *c = owner(&b), *anybody = NULL;
	struct broker_client_options nobody = {.dir = b.dir, .url = b.url, .anonymous = true};
	struct fault f = {""};
	struct note_key k;
	struct merkle_proof p;
	static struct audit_trust t;
	static struct audit_verdict v;
	uint8_t leaf[MERKLE_HASH];
	char *record = NULL;
	json_t *o = NULL;
	if (!c)
		return;
	int err = broker_client_status(c, &o, &f);
	ok("the log has the decisions", !err && json_integer_value(json_object_get(o, "decisions")) > 20, "%s", f.text);
	json_decref(o);
	err = audit_client_key(c, &k, &f) || audit_client_head(c, "", &kept_head, &f);
	ok("its head is signed", !err && note_signed_by(&kept_head, &k, NULL), "%s", f.text);
	err = audit_client_lines(c, 0, kept_head.head.size, look_at, NULL, &f);
	ok("its records are given to the owner", !err && lines_seen == kept_head.head.size, "%lu: %s", lines_seen, f.text);
	ok("a refusal is in it with its reason", found_refusal, "it is not");
	ok("and who asked", found_peer, "it is not");
	err = audit_client_record(c, 5, &record, &f) || audit_client_inclusion(c, 5, kept_head.head.size, &p, &f);
	merkle_leaf(record, record ? strlen(record) : 0, leaf);
	ok("a record is proved", !err && merkle_check_inclusion(leaf, 5, kept_head.head.size, &p, kept_head.head.root), "%s", f.text);
	free(record);
	err = audit_client_record(c, 1u << 30, &record, &f);
	ok("a record that is not there", err == -ENOENT, "%d %s", err, f.text);
	FILE *file = tmpfile();
	err = audit_client_export(c, &kept_head, 0, file, NULL, NULL, &f);
	rewind(file);
	t.has_key = true;
	t.key = k;
	err = err ? err : audit_verify_export(file, &t, &v, &f);
	ok("its export is good", !err && !v.wrong[0], "%s %s", f.text, v.wrong);
	char *text = NULL;
	size_t n = 0;
	rewind(file);
	bool leak = false;
	for (ssize_t len; (len = getline(&text, &n, file)) > 0;)
		leak |= memmem(text, (size_t)len, volume_key, 16) != NULL;
	ok("no key is in it", !leak, "one is");
	free(text);
	fclose(file);
	err = broker_client_open(&anybody, &nobody, &f);
	if (!err)
		err = audit_client_head(anybody, "", &kept_head, &f) || audit_client_consistency(anybody, 3, 9, &p, &f);
	ok("heads and proofs are for everybody", !err, "%s", f.text);
	err = anybody ? audit_client_record(anybody, 1, &record, &f) : 0;
	ok("records are not", err == -EACCES, "%d %s", err, f.text);
	err = anybody ? audit_client_cosign(anybody, &kept_head, &f) : 0;
	ok("a cosignature of nobody is refused", err == -EACCES && strstr(f.text, "audit_witnesses"), "%d %s", err, f.text);
	broker_client_close(anybody);
	broker_client_close(c);
}

// What lies on the disk: private modes, no plain key, and rows that cannot be exchanged or edited unnoticed.
static void test_at_rest(void)
{
	char path[160], *bytes;
	size_t len;
	struct stat st;
	static const char *const secrets[] = {"master.key", "admin.token", "tls.key", "broker.db", "audit.key", "audit/entries"};
	for (size_t i = 0; i < sizeof secrets / sizeof *secrets; i++) {
		snprintf(path, sizeof path, "%s/%s", b.dir, secrets[i]);
		char name[64];
		snprintf(name, sizeof name, "%s is private", secrets[i]);
		ok(name, !stat(path, &st) && (st.st_mode & 0777) == 0600, "mode %o", st.st_mode);
	}
	snprintf(path, sizeof path, "%s/broker.db", b.dir);
	int err = file_read(path, 64 << 20, &bytes, &len, NULL);
	ok("the key is not in the database in the clear", !err && !memmem(bytes, len, volume_key, 16), "it is");
	free(bytes);

	sqlite3 *db;
	sqlite3_open(path, &db);
	// A key under another's name, behind the broker's back.
	sqlite3_exec(db, "INSERT INTO secret_head SELECT 'default/volume/other', head FROM secret_head LIMIT 1;"
		     "INSERT INTO secret_value SELECT 'default/volume/other', version, sealed FROM secret_value LIMIT 1", NULL, NULL, NULL);
	// So with a policy: another's row under a new name, and one with another measurement.
	ok("a policy can be put into the database",
	   sqlite3_exec(db, "INSERT INTO allowed SELECT 'default/volume/moved', measurement, note, created, mac FROM allowed LIMIT 1;"
			"INSERT INTO allowed SELECT 'default/volume/edited', 'ab' || substr(measurement, 3), note, created, mac FROM allowed LIMIT 1",
			NULL, NULL, NULL) == SQLITE_OK && sqlite3_changes(db) == 1, "%s", sqlite3_errmsg(db));
	sqlite3_close(db);
}

// The store itself, beside the running broker, as its decisions ask it.
static void test_forged_policy(void)
{
	char path[160], *text;
	uint8_t master[STORE_MASTER_KEY_BYTES];
	char(*list)[ATTEST_MEASUREMENT_HEX] = NULL;
	unsigned int count = 0;
	struct store *s = NULL;
	struct db *db = NULL;
	struct guard *guard = NULL;
	struct fault f = {""};
	size_t len;
	snprintf(path, sizeof path, "%s/master.key", b.dir);
	if (file_read(path, 100, &text, &len, &f))
		return;
	text[64] = '\0';
	hex_decode(master, sizeof master, text);
	free(text);
	snprintf(path, sizeof path, "%s/broker.db", b.dir);
	int err = db_open(&db, path, &f);
	if (!err)
		err = guard_open(&guard, db, master, NULL, false, &f);
	if (!err)
		err = store_open(&s, db, guard, master, &f);
	ok("the store opens", !err, "%s", f.text);
	if (err) {
		guard_close(guard);
		db_close(db);
		return;
	}
	err = store_allowed(s, "default/volume/moved", &list, &count, &f);
	ok("a moved policy allows nothing", err == -EBADMSG && !count && strstr(f.text, "changed outside"), "%d %u %s", err, count, f.text);
	err = store_allowed(s, "default/volume/edited", &list, &count, &f);
	ok("an edited policy allows nothing", err == -EBADMSG && !count, "%d %u %s", err, count, f.text);
	store_close(s);
	guard_close(guard);
	db_close(db);
}

static void test_after_tampering(void)
{
	struct broker_client *c = owner(&b);
	struct fault f = {""};
	char *log;
	size_t len;
	if (!c)
		return;
	struct note now;
	struct merkle_proof p;
	int err = audit_client_head(c, "", &now, &f) || audit_client_consistency(c, kept_head.head.size, now.head.size, &p, &f);
	ok("after several starts the log goes on from the head that was kept", !err && now.head.size > kept_head.head.size &&
	   merkle_check_consistency(kept_head.head.size, kept_head.head.root, now.head.size, now.head.root, &p), "%s", f.text);
	json_t *list = NULL, *row;
	unsigned int marked = 0, others = 0;
	size_t i;
	err = broker_client_policy_list(c, &list, &f);
	json_array_foreach(json_object_get(list, "policies"), i, row) {
		const char *name = json_string_value(json_object_get(row, "resource"));
		bool forged = name && (strstr(name, "/moved") || strstr(name, "/edited"));
		if (json_is_true(json_object_get(row, "changed_outside")) == forged)
			marked += forged;
		else
			others++;
	}
	ok("what was put in is told from the owner's policies", !err && marked == 2 && others == 0, "%u, %u", marked, others);
	json_decref(list);
	broker_client_close(c);
	test_forged_policy();
	err = file_read(b.log, 1 << 20, &log, &len, NULL);
	ok("the broker's log shows no key", !err && !strstr(log, (const char *)volume_key), "it does");
	free(log);
	expect("a key moved to another name does not open", &b, "GET", "/coffer/v0/key/default/volume/other", admin_header(&b), NULL, 500, "outside the broker");
}

static void test_anchor(void)
{
	struct exchange *x = NULL, *y = NULL;
	struct fault f = {""};
	struct broker_anchor a = {0}, older;
	struct broker_client *c = owner(&b);
	if (!c)
		return;
	volume = (struct coffer_anchor_state){.generation = 40, .digest = {1}};
	ok("nothing is remembered of a new volume", broker_client_anchor_get(c, volume_id, &a, &f) == -ENOENT, "%s", f.text);
	int err = anchored(b.url, false, &x, &f);
	ok("the first mount claims it", !err && x && mounted.anchor == COFFER_ANCHOR_FIRST && claims == 1 && claimed_epoch == 1 &&
	   mounted.every_ms == 30 && mounted.bound_ms == 7000, "%d: %s", err, f.text);
	if (!x)
		return;
	serve(x, 3);
	ok("its helper tells of three roots", known == 3 && !fenced && !silent, "%u %u %u", known, fenced, silent);
	unmounted = true;
	serve(x, 2);
	ok("a volume that was unmounted meanwhile does not end the helper", known == 1 && !unmounted, "%u", known);
	err = broker_client_anchor_get(c, volume_id, &a, &f);
	ok("the owner sees the newest", !err && a.generation == 45 && a.epoch == 1 && !memcmp(a.digest, volume.digest, 32), "%s", f.text);

	volume.generation = 47; // a crash: two commits that the broker was not told of
	struct coffer_anchor_state crashed = volume;
	err = anchored(b.url, false, &y, &f);
	ok("the next mount is given what is remembered, and claims what it found", !err && y && mounted.anchor == COFFER_ANCHOR_KNOWN &&
	   mounted.least.generation == 45 && mounted.least.epoch == 1 && claimed_epoch == 2, "%d: %s", err, f.text);
	broker_client_anchor_get(c, volume_id, &a, &f);
	ok("what it found is remembered from then on", a.generation == 47 && a.epoch == 2, "%lu", (unsigned long)a.generation);
	volume = crashed;
	volume.epoch = 1;
	serve(x, 2);
	ok("the writer before it is fenced", fenced == 2 && !known, "%u %u", known, fenced);
	volume = crashed;
	volume.epoch = 2;
	serve(y, 1);
	ok("the new one is not", known == 1 && !fenced, "%u %u", known, fenced);

	older = a;
	older.generation = 30;
	ok("an older state cannot be claimed", broker_client_anchor_claim(c, volume_id, &a, &older, NULL, &f) == -EEXIST, "%s", f.text);
	broker_client_anchor_get(c, volume_id, &a, &f);
	older = a;
	older.generation--;
	ok("nor one be told, even by the owner", broker_client_anchor_advance(c, volume_id, &older, &f) == -EEXIST, "%s", f.text);
	older = a;
	older.digest[5] ^= 1;
	ok("nor another of the same number", broker_client_anchor_advance(c, volume_id, &older, &f) == -EEXIST, "%s", f.text);
	ok("the same state twice is no error", !broker_client_anchor_advance(c, volume_id, &a, &f), "%s", f.text);
	sqlite3 *db;
	char path[200];
	snprintf(path, sizeof path, "%s/broker.db", b.dir);
	sqlite3_open(path, &db);
	ok("the database itself does not go back", sqlite3_exec(db, "UPDATE anchor SET generation = 1", NULL, NULL, NULL) == SQLITE_CONSTRAINT, "it does");
	older = a;
	older.generation = 12;
	sqlite3_exec(db, "CREATE TRIGGER full BEFORE INSERT ON anchor BEGIN SELECT RAISE(ABORT, 'full'); END", NULL, NULL, NULL);
	ok("setting it may fail", broker_client_anchor_set(c, volume_id, &older, &f) != 0, "it did not");
	ok("what was remembered is remembered still", !broker_client_anchor_get(c, volume_id, &a, &f) && a.generation > 47, "%s", f.text);
	sqlite3_exec(db, "DROP TRIGGER full", NULL, NULL, NULL);
	sqlite3_close(db);
	ok("the owner can set it", !broker_client_anchor_set(c, volume_id, &older, &f) && !broker_client_anchor_get(c, volume_id, &a, &f) &&
	   a.generation == 12 && a.epoch == 3, "%s", f.text);
	serve(y, 1);
	ok("which fences who writes", fenced == 1, "%u", fenced);
	exchange_free(y);

	volume = (struct coffer_anchor_state){.generation = 12};
	memcpy(volume.digest, a.digest, 32);
	err = anchored(b.url, true, &y, &f);
	ok("who only reads is told, and claims nothing", !err && !y && claims == 0 && mounted.anchor == COFFER_ANCHOR_KNOWN &&
	   mounted.least.generation == 12, "%d: %s", err, f.text);
	exchange_free(x);

	err = anchored(b.url, false, &x, &f);
	if (!ok("a writer for the broker's end", !err && x, "%d: %s", err, f.text))
		return;
	expect("the claim needs a session", &b, "POST", "/kbs/v0/anchor/" RESOURCE, "", "{\"action\":\"claim\"}", 401, "no session");
	expect("so does looking", &b, "GET", "/kbs/v0/anchor/" RESOURCE, "", NULL, 401, "no session");
	set_policy(&b, RESOURCE, false, NULL);
	serve(x, 1);
	ok("a policy that is taken back is felt", silent == 1 && !known, "%u %u", known, silent);
	set_policy(&b, RESOURCE, true, machine.measurement_hex);
	broker_client_close(c);
	run_stop(&b);
	serve(x, 2);
	ok("a broker that is gone is silence", silent == 2 && !known && !fenced, "%u %u %u", known, fenced, silent);
	char url[128];
	snprintf(url, sizeof url, "%s", b.url);
	ok("it starts again at its address", start(&b, true, false), "no");
	serve(x, 2);
	ok("the helper proves the enclave anew, and goes on", known == 2, "%u known, %u silent, %u fenced", known, silent, fenced);
	exchange_free(x);
}

int main(void)
{
	struct fault f = {""};

	world_begin("broker");
	machine_make(&other_machine, "other-machine");
	if (!run_prepare(&b, "state"))
		return 1;
	run_stays(&b);
	if (!ok("the broker starts", start(&b, true, false), "no"))
		return 1;
	test_owner();
	test_release();
	test_protocol();
	test_token();
	test_connection();
	test_slow_clients();
	test_concurrent();
	test_log();
	test_anchor();
	struct run twice = b;
	ok("two brokers do not share a folder", !start(&twice, true, false), "they do");
	waitpid(twice.pid, NULL, 0);
	int status = run_stop(&b);
	ok("SIGTERM ends it cleanly", !status, "status %#x", (unsigned int)status);

	ok("it starts again", start(&b, false, false), "no");
	refused("simulated hardware is refused by default", "root: expected AMD's root (Milan, Genoa, Turin), found", SIMTEE_ROOT_NAME);
	refused("and the claim is named", "tee: expected snp", "found unknown");
	status = run_stop(&b);
	ok("SIGTERM ends it cleanly again", !status, "status %#x", (unsigned int)status);

	require_anchor = "any";
	ok("it starts, requiring an anchor", start(&b, true, false), "no");
	refused("volumes without an anchor are refused", "coffer.anchor: expected broker or tpm", "found none");
	struct exchange *x = NULL;
	int err = anchored(b.url, true, &x, &f);
	ok("anchored ones are not", !err && mount_count == 1, "%d: %s", err, f.text);
	exchange_free(x);
	run_stop(&b);
	require_anchor = "tpm";
	ok("it starts, requiring a TPM", start(&b, true, false), "no");
	x = NULL;
	err = anchored(b.url, true, &x, &f);
	ok("the broker's anchor does not do for a TPM's", err == -EACCES && strstr(f.text, "coffer.anchor: expected tpm, found broker"), "%d: %s", err, f.text);
	exchange_free(x);
	run_stop(&b);
	require_anchor = "swtpm";
	ok("an anchor that there is not", !start(&b, true, false), "it starts");
	waitpid(b.pid, NULL, 0);
	require_anchor = NULL;

	test_at_rest();
	char public[160], *was = NULL, *now = NULL;
	size_t len;
	snprintf(public, sizeof public, "%s/audit.pub", b.dir);
	err = file_read(public, 4096, &was, &len, &f);
	if (!err)
		err = file_write(public, "another log's key\n", 18, 0644, false, &f);
	ok("it starts a third time", start(&b, true, true), "no");
	if (!err)
		err = file_read(public, 4096, &now, &len, &f);
	ok("the audit log's public key stands in its file, whatever stood there", !err && !strcmp(was, now), "%d %s", err, f.text);
	free(was);
	free(now);
	err = attest_as(b.url, b.ca, NULL, 2, &f);
	ok("keys and policies outlive the process", !err && !memcmp(mounted.key, volume_key, 32), "%d: %s", err,
	   f.text);
	machine.debug = true;
	err = attest_as(b.url, b.ca, NULL, 2, &f);
	ok("a debug enclave is accepted where that is asked for", !err && mount_count == 1, "%d: %s", err, f.text);
	machine.debug = false;
	test_after_tampering();
	set_policy(&b, RESOURCE, false, NULL);
	refused("a policy that is taken back refuses at once", "measurement: expected", "no policy allows any");
	run_stop(&b);

	run_free(&b);
	return world_end();
}
