// SPDX-License-Identifier: Apache-2.0
// Who administers the broker: signatures over requests against published vectors, and against a broker that really runs: altered, late, early,
// repeated, by others; certificates; what each role may do at every endpoint of the route table; identities that somebody edits in the database.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <sqlite3.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "attest/cert.h"
#include "broker/routes.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/httpsig.h"
#include "lib/keyfile.h"
#include "lib/signkey.h"
#include "lib/tls.h"
#include "tests/attest/make/pki.h"
#include "tests/broker/harness.h"

static struct run b;

#define MANY "refusals_per_peer: 1000000\n"	// all this is refused on purpose

// ---- RFC 9421, appendix B ----

static const char p256_key[] =
	"-----BEGIN PUBLIC KEY-----\n"
	"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqIVYZVLCrPZHGHjP17CTW0/+D9Lf\n"
	"w0EkjqF7xB4FivAxzic30tMM4GF+hR6Dxh71Z50VGGdldkkDXZCnTNnoXQ==\n"
	"-----END PUBLIC KEY-----\n";
static const char ed25519_key[] =
	"-----BEGIN PUBLIC KEY-----\n"
	"MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs=\n"
	"-----END PUBLIC KEY-----\n";
static const uint8_t ed25519_private[32] = {
	0x9f, 0x83, 0x62, 0xf8, 0x7a, 0x48, 0x4a, 0x95, 0x4e, 0x6e, 0x74, 0x0c, 0x5b, 0x4c, 0x0e, 0x84,
	0x22, 0x91, 0x39, 0xa2, 0x0a, 0xa8, 0xab, 0x56, 0xff, 0x66, 0x58, 0x6f, 0x6a, 0x7d, 0x29, 0xc5,
};
#define B24_INPUT "sig-b24=(\"@status\" \"content-type\" \"content-digest\" \"content-length\");created=1618884473;keyid=\"test-key-ecc-p256\""
#define B24_SIGNATURE "sig-b24=:wNmSUAhwb5LxtOtOpNa6W5xj067m5hFrj0XQ4fvpaCLx0NKocgPquLgyahnzDnDAUy5eCdlYUEkLIj+32oiasw==:"
#define B26_INPUT "sig-b26=(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" \"content-length\");created=1618884473;keyid=\"test-key-ed25519\""
#define B26_SIGNATURE "sig-b26=:wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==:"
#define RESPONSE_DIGEST "sha-512=:mEWXIS7MaLRuGgxOBdODa3xqM1XdEvxoYhvlCFJ41QJgJc4GTsPp29l5oGX69wWdXymyU0rjJuahq4l5aGgfLQ==:"
#define REQUEST_DIGEST "sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:"

static const char *rfc_value(void *ctx, const char *name)
{
	static const char *const response[][2] = {{"@status", "200"}, {"content-type", "application/json"}, {"content-digest", RESPONSE_DIGEST},
						  {"content-length", "23"}, {NULL, NULL}};
	static const char *const request[][2] = {{"date", "Tue, 20 Apr 2021 02:07:55 GMT"}, {"@method", "POST"}, {"@path", "/foo"},
						 {"@authority", "example.com"}, {"content-type", "application/json"}, {"content-length", "18"},
						 {NULL, NULL}};
	const char *const (*list)[2] = ctx ? request : response;
	for (; (*list)[0]; list++) {
		if (!strcmp((*list)[0], name))
			return (*list)[1];
	}
	return NULL;
}

static int rfc_verify(const char *pem, const char *input, const char *signature, bool is_request)
{
	struct httpsig s;
	struct fault f = {""};
	EVP_PKEY *key = NULL;
	char *base = NULL;
	size_t len;
	int err = httpsig_parse(&s, input, signature, &f);
	if (!err)
		err = signkey_read(pem, strlen(pem), &key, &f);
	if (!err)
		err = httpsig_base(&s, rfc_value, is_request ? &b : NULL, &base, &len, &f);
	if (!err)
		err = httpsig_verify(&s, key, base, len, &f);
	free(base);
	EVP_PKEY_free(key);
	return err;
}

static void test_vectors(void)
{
	struct fault f = {""};
	uint8_t signature[64];
	char text[BASE64_SIZE(64)], id[SIGNKEY_ID];
	ok("RFC 9421 B.2.4, ecdsa-p256-sha256", !rfc_verify(p256_key, B24_INPUT, B24_SIGNATURE, false), "it does not verify");
	ok("RFC 9421 B.2.6, ed25519", !rfc_verify(ed25519_key, B26_INPUT, B26_SIGNATURE, true), "it does not verify");
	ok("another message of the same signature", rfc_verify(ed25519_key, B26_INPUT, B26_SIGNATURE, false) == -EINVAL, "it is taken");
	ok("another key", rfc_verify(p256_key, B26_INPUT, B26_SIGNATURE, true) == -EKEYREJECTED, "it is taken");
	ok("a later time in the parameters", rfc_verify(ed25519_key, "sig-b26=(\"date\" \"@method\" \"@path\" \"@authority\" \"content-type\" "
	   "\"content-length\");created=1618884474;keyid=\"test-key-ed25519\"", B26_SIGNATURE, true) == -EKEYREJECTED, "it is taken");
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, ed25519_private, 32);
	struct httpsig s;
	char *base;
	size_t len;
	httpsig_parse(&s, B26_INPUT, B26_SIGNATURE, &f);
	httpsig_base(&s, rfc_value, &b, &base, &len, &f);
	signkey_sign(key, base, len, signature);
	base64_encode(text, signature, 64, BASE64_STD);
	ok("B.2.6 signed with its private key is the published signature", strstr(B26_SIGNATURE, text), "%s", text);
	free(base);
	EVP_PKEY_free(key);
	// RFC 8037 A.3
	static const uint8_t x[32] = {0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a,
				      0x0e, 0xe1, 0x72, 0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a};
	key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, x, 32);
	ok("RFC 8037 A.3, a key's thumbprint", !signkey_id(key, id) && !strcmp(id, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"), "%s", id);
	EVP_PKEY_free(key);
	static const char body[] = "{\"hello\": \"world\"}";
	ok("RFC 9530: the digest of B.2's request", !httpsig_digest_check(REQUEST_DIGEST, body, strlen(body), &f), "%s", f.text);
	ok("not of another body", httpsig_digest_check(REQUEST_DIGEST, body, strlen(body) - 1, &f) == -EBADMSG, "it is taken");
	ok("several digests, one unknown", !httpsig_digest_check("md5=:AAAA:, " REQUEST_DIGEST, body, strlen(body), &f), "%s", f.text);
	ok("unknown digests alone prove nothing", httpsig_digest_check("md5=:AAAA:", body, strlen(body), &f) == -EINVAL, "it is taken");
}

static void test_strict(void)
{
	static const char *const bad[] = {
		"", "sig", "sig=", "sig=()x", "sig=(\"@method\"", "sig=(\"@method\"  \"@path\")", "sig=(\"@method\" \"@method\")", "sig=(@method)",
		"sig=(\"@Method\")", "sig=(\"@query-param\";name=\"a\")", "sig=(\"@method\");created=01", "sig=(\"@method\");created=-5",
		"sig=(\"@method\");created=1;created=2", "sig=(\"@method\");colour=\"red\"", "sig=(\"@method\");nonce=\"a\\\"b\"",
		"sig=(\"@method\") ;created=1", "sig=(\"@method\"), other=(\"@path\")", "Sig=(\"@method\")", "sig=(\"@method\");keyid=x",
	};
	struct httpsig s;
	struct fault f;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		ok("Signature-Input that is not canonical", httpsig_parse(&s, bad[i], "sig=:" "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
		   "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" "==:", &f) == -EINVAL, "'%s' is taken", bad[i]);
	ok("a signature of another label", httpsig_parse(&s, "a=(\"@method\")", "b=:AA==:", &f) == -EINVAL, "it is taken");
	ok("a signature that is too short", httpsig_parse(&s, "a=(\"@method\")", "a=:AAAA:", &f) == -EINVAL, "it is taken");
}

// ---- a key's file ----

static int say_passphrase(char *out, int size, int writing, void *path)
{
	(void)writing;
	(void)path;
	return snprintf(out, (size_t)size, "correct horse");
}

// How often PBKDF2 goes round; -1: it is encrypted in another way.
static long rounds_of(const char *path)
{
	FILE *in = fopen(path, "re");
	X509_SIG *sealed = in ? PEM_read_PKCS8(in, NULL, NULL, NULL) : NULL;
	const X509_ALGOR *how = NULL;
	if (sealed)
		X509_SIG_get0(sealed, &how, NULL);
	PBE2PARAM *pbes = how ? ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBE2PARAM), how->parameter) : NULL;
	PBKDF2PARAM *kdf = pbes ? ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBKDF2PARAM), pbes->keyfunc->parameter) : NULL;
	long n = kdf ? ASN1_INTEGER_get(kdf->iter) : -1;
	PBKDF2PARAM_free(kdf);
	PBE2PARAM_free(pbes);
	X509_SIG_free(sealed);
	if (in)
		fclose(in);
	return n;
}

static void test_keyfile(void)
{
	struct fault f = {""};
	EVP_PKEY *key = EVP_EC_gen("P-256"), *again = NULL;
	char path[128];
	snprintf(path, sizeof path, "%s/locked.key", world);
	EVP_PKEY_up_ref(key);
	ok("a key is written with a passphrase", !keyfile_write_locked(path, key, say_passphrase, &f), "%s", f.text);
	ok("guesses at it are slow", rounds_of(path) >= 100000, "%ld rounds", rounds_of(path));
	ok("it opens with it", !keyfile_read_locked(path, say_passphrase, &again, &f) && EVP_PKEY_eq(key, again) == 1, "%s", f.text);
	EVP_PKEY_free(again);
	again = NULL;
	ok("not without", keyfile_read(path, &again, &f) == -EINVAL, "it does");
	EVP_PKEY_free(again);
	EVP_PKEY_free(key);
}

// ---- signed requests ----

struct person {
	const char *name, *roles, *resources;
	EVP_PKEY *key;
	char id[SIGNKEY_ID], pem[SIGNKEY_PEM];
};

static struct person alice = {.name = "alice", .roles = "\"admin\"", .resources = ""}, team = {.name = "team-owner", .roles = "\"owner\"", .resources = "\"team\""},
	operator = {.name = "op", .roles = "\"operator\"", .resources = ""}, auditor = {.name = "aud", .roles = "\"auditor\"", .resources = ""},
	approver = {.name = "appr", .roles = "\"approver\"", .resources = ""}, mallory = {.name = "mallory"};

static void make(struct person *p, bool ed25519)
{
	p->key = ed25519 ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519") : EVP_EC_gen("P-256");
	signkey_id(p->key, p->id);
	signkey_pem(p->key, p->pem);
}

// What is signed, where it differs from what is sent.
struct signing {
	EVP_PKEY *key;
	const char *keyid, *method, *authority, *path, *query, *body, *components, *nonce, *tag;
	long long skew;
	bool no_digest;
};

struct signed_message {
	const struct signing *s;
	char digest[HTTPSIG_DIGEST];
};

static const char *signed_value(void *ctx, const char *name)
{
	const struct signed_message *m = ctx;
	return !strcmp(name, "@method") ? m->s->method : !strcmp(name, "@authority") ? m->s->authority : !strcmp(name, "@path") ? m->s->path :
	       !strcmp(name, "@query") ? m->s->query : !strcmp(name, "content-digest") ? m->digest : NULL;
}

#define COVERED "\"@method\" \"@authority\" \"@path\" \"@query\""

// The header lines, malloc'ed.
static char *headers_of(const struct signing *s)
{
	struct signed_message m = {.s = s};
	struct fault f = {""};
	char nonce[33], *lines = NULL, *all = NULL;
	uint8_t random[16];
	RAND_bytes(random, sizeof random);
	hex_encode(nonce, random, sizeof random);
	if (s->body)
		httpsig_digest(s->body, strlen(s->body), m.digest);
	if (httpsig_sign(s->key, s->components ? s->components : s->body ? COVERED " \"content-digest\"" : COVERED, time(NULL) + s->skew,
			 s->nonce ? s->nonce : nonce, s->keyid, s->tag ? s->tag : "coffer", signed_value, &m, &lines, &f))
		ok("a request is signed", false, "%s", f.text);
	else if (asprintf(&all, "%s%s%s%s", lines, s->body && !s->no_digest ? "Content-Digest: " : "", s->no_digest ? "" : m.digest,
			  s->body && !s->no_digest ? "\r\n" : "") < 0)
		abort();
	free(lines);
	return all;
}

static struct signing by(const struct person *p, const char *method, const char *path, const char *body)
{
	return (struct signing){.key = p->key, .keyid = p->id, .method = method, .authority = b.url + 8, .path = path, .query = "?", .body = body};
}

static int ask(const char *method, const char *path, const char *headers, const char *body)
{
	struct http_reply r;
	int err = request(&b, method, path, headers ? headers : "", body, &r), status = err ? err : r.status;
	if (!err)
		http_reply_free(&r);
	return status;
}

static void asked(const char *name, const struct signing *s, const char *method, const char *path, const char *body, int status, const char *text)
{
	char *headers = headers_of(s);
	if (headers)
		expect(name, &b, method, path, headers, body, status, text);
	free(headers);
}

static int as(const struct person *p, const char *method, const char *path, const char *body)
{
	struct signing s = by(p, method, path, body);
	char *headers = headers_of(&s);
	int status = ask(method, path, headers, body);
	free(headers);
	return status;
}

static int add(const struct person *p, const char *roles, const char *resources)
{
	json_t *o = json_pack("{s:s, s:s, s:s}", "action", "add", "name", p->name, "key", p->pem);
	char list[200];
	snprintf(list, sizeof list, "[%s]", roles);
	json_object_set_new(o, "roles", json_loads(list, 0, NULL));
	snprintf(list, sizeof list, "[%s]", resources);
	json_object_set_new(o, "resources", json_loads(list, 0, NULL));
	char *text = json_dumps(o, JSON_COMPACT);
	int status = ask("POST", "/coffer/v0/identity", admin_header(&b), text);
	free(text);
	json_decref(o);
	return status;
}

#define WHOAMI "/coffer/v0/whoami"
#define POLICY "/coffer/v0/policy"
#define DENY "{\"action\":\"deny\",\"resource\":\"team/file/x\"}"

static void test_signed(void)
{
	struct signing s = by(&alice, "GET", WHOAMI, NULL);
	asked("a signed request", &s, "GET", WHOAMI, NULL, 200, "\"name\":\"alice\"");
	s = by(&operator, "GET", WHOAMI, NULL);
	asked("one signed with Ed25519", &s, "GET", WHOAMI, NULL, 200, "\"name\":\"op\"");

	s = by(&alice, "GET", WHOAMI, NULL);
	char *headers = headers_of(&s);
	expect("it is good once", &b, "GET", WHOAMI, headers, NULL, 200, "alice");
	expect("the same one again", &b, "GET", WHOAMI, headers, NULL, 401, "made before");
	expect("for something else", &b, "GET", "/coffer/v0/status", headers, NULL, 401, "does not hold");
	free(headers);
	s = by(&operator, "GET", WHOAMI, NULL);
	s.nonce = "shared";
	asked("a nonce of one key", &s, "GET", WHOAMI, NULL, 200, "op");
	struct signing other = by(&alice, "GET", WHOAMI, NULL);
	other.nonce = "shared";
	asked("is free for another's", &other, "GET", WHOAMI, NULL, 200, "alice");
	asked("but not for its own", &s, "GET", WHOAMI, NULL, 401, "made before");

	const struct { const char *name; long long skew; int status; const char *text; } skews[] = {
		{"a clock 50 s behind", -50, 200, "alice"}, {"a clock 50 s ahead", 50, 200, "alice"},
		{"a clock 70 s behind", -70, 401, "behind the broker's clock"}, {"a clock 90 s ahead", 90, 401, "ahead of the broker's clock"},
		{"a request of last year", -365 * 86400, 401, "behind"},
	};
	for (size_t i = 0; i < sizeof skews / sizeof *skews; i++) {
		s = by(&alice, "GET", WHOAMI, NULL);
		s.skew = skews[i].skew;
		asked(skews[i].name, &s, "GET", WHOAMI, NULL, skews[i].status, skews[i].text);
	}

	s = by(&alice, "POST", POLICY, DENY);
	asked("another body than signed", &s, "POST", POLICY, "{\"action\":\"deny\",\"resource\":\"team/file/y\"}", 401, "not the one of Content-Digest");
	asked("no body at all", &s, "POST", POLICY, NULL, 401, "not the one of Content-Digest");
	s = by(&alice, "POST", POLICY, NULL);
	asked("a body that was not signed", &s, "POST", POLICY, DENY, 401, "needs Content-Digest");
	s = by(&alice, "POST", POLICY, DENY);
	s.components = COVERED;
	asked("a digest that was not signed", &s, "POST", POLICY, DENY, 401, "does not cover content-digest");
	s = by(&alice, "POST", POLICY, DENY);
	s.no_digest = true;
	asked("a digest that is gone", &s, "POST", POLICY, DENY, 401, "needs Content-Digest");
	s = by(&alice, "GET", WHOAMI, NULL);
	asked("another path than signed", &s, "GET", "/coffer/v0/status", NULL, 401, "does not hold");
	asked("another query than signed", &s, "GET", WHOAMI "?replace=true", NULL, 401, "does not hold");
	s = by(&alice, "POST", "/kbs/v0/resource/team/file/x", NULL);
	asked("another method than signed", &s, "DELETE", "/kbs/v0/resource/team/file/x", NULL, 401, "does not hold");
	s = by(&alice, "GET", WHOAMI, NULL);
	s.authority = "other.example:8443";
	asked("signed for another host", &s, "GET", WHOAMI, NULL, 401, "does not hold");
	for (int i = 0; i < 4; i++) {
		static const char *const parts[] = {"\"@authority\" \"@path\" \"@query\"", "\"@method\" \"@path\" \"@query\"", "\"@method\" \"@authority\" \"@query\"",
						    "\"@method\" \"@authority\" \"@path\""};
		s = by(&alice, "GET", WHOAMI, NULL);
		s.components = parts[i];
		asked("not all is signed", &s, "GET", WHOAMI, NULL, 401, "does not cover");
	}
	s = by(&alice, "GET", WHOAMI, NULL);
	s.tag = "something-else";
	asked("signed for another use", &s, "GET", WHOAMI, NULL, 401, "tag=");
	s.tag = NULL;
	s.key = mallory.key;
	asked("somebody else's key under this name", &s, "GET", WHOAMI, NULL, 401, "does not hold");
	s = by(&mallory, "GET", WHOAMI, NULL);
	asked("a key that nobody added", &s, "GET", WHOAMI, NULL, 401, "knows no key");
	s = by(&alice, "GET", WHOAMI, NULL);
	headers = headers_of(&s);
	*strchr(strstr(headers, "Signature: sig=:") + 15, ':') = 'x';
	expect("a broken header", &b, "GET", WHOAMI, headers, NULL, 401, "Signature");
	free(headers);
	expect("a host that is none of the broker's", &b, "GET", WHOAMI, "Signature-Input: sig=()\r\nSignature: sig=:AA==:\r\n", NULL, 401, "64 bytes");
	expect("nobody", &b, "GET", WHOAMI, "", NULL, 401, "admin token");
}

// ---- the role matrix ----

// Who may, by the names of the permissions: written here once more, so that both must agree. `own`: an owner may, for its resources.
static const struct { enum permission p; const char *who; } expected[] = {
	{PERMIT_WHOAMI, "owner operator auditor approver"}, {PERMIT_STATUS, "owner operator auditor approver"}, {PERMIT_METRICS, "operator auditor"},
	{PERMIT_RELOAD, "operator"}, {PERMIT_SECRET_LIST, "owner auditor"}, {PERMIT_SECRET_WRITE, "owner"}, {PERMIT_SECRET_DESTROY, "owner"},
	{PERMIT_SECRET_READ, "owner"}, {PERMIT_ALLOW, "owner"}, {PERMIT_ALLOW_LIST, "owner auditor"}, {PERMIT_ANCHOR_READ, "owner auditor"},
	{PERMIT_ANCHOR_SET, "owner"}, {PERMIT_POLICY_READ, "owner operator auditor approver"}, {PERMIT_POLICY_WRITE, ""}, {PERMIT_AUDIT, "owner auditor"},
	{PERMIT_SIGNER, ""}, {PERMIT_IDENTITY_LIST, "auditor"}, {PERMIT_IDENTITY_WRITE, ""},
	{PERMIT_APPROVAL_LIST, "owner auditor approver"}, {PERMIT_APPROVE, "owner approver"},
};

static const char *who_may(enum permission p)
{
	for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
		if (expected[i].p == p)
			return expected[i].who;
	}
	return NULL;
}

static void test_route(const struct route *t)
{
	static const struct { const struct person *p; const char *role; } people[] = {
		{&team, "owner"}, {&operator, "operator"}, {&auditor, "auditor"}, {&approver, "approver"},
	};
	bool rest = t->path[strlen(t->path) - 1] == '/', post = !strcmp(t->method, "POST") || !strcmp(t->method, "PUT");
	const char *who = who_may(t->permission);
	char path[200], name[300];
	snprintf(path, sizeof path, "%s%s", t->path, rest ? "team/file/x" : "");
	snprintf(name, sizeof name, "%s %s names a permission", t->method, t->path);
	ok(name, t->permission > PERMIT_NOTHING && t->permission < PERMISSIONS && *permission_name(t->permission), "%d", t->permission);
	if (t->permission == PERMIT_ANYBODY || t->permission == PERMIT_ATTESTED)
		return;
	snprintf(name, sizeof name, "%s %s: its permission is one that this test knows", t->method, t->path);
	if (!ok(name, who != NULL, "%s", permission_name(t->permission)))
		return;
	int status = ask(t->method, path, "", post ? "{}" : NULL);
	snprintf(name, sizeof name, "%s %s is not for nobody", t->method, t->path);
	ok(name, status == 401, "status %d", status);
	for (size_t i = 0; i < sizeof people / sizeof *people; i++) {
		bool may = strstr(who, people[i].role) != NULL;
		status = as(people[i].p, t->method, path, post ? "{}" : NULL);
		snprintf(name, sizeof name, "%s %s as %s", t->method, t->path, people[i].role);
		ok(name, may ? status > 0 && status != 401 && status != 403 && status != 429 : status == 403, "status %d", status);
	}
	if (t->resource && strstr(who, "owner")) {
		snprintf(path, sizeof path, "%sother/file/x", t->path);
		status = as(&team, t->method, path, post ? "{}" : NULL);
		snprintf(name, sizeof name, "%s %s of another's resource", t->method, t->path);
		ok(name, status == 403, "status %d", status);
	}
}

static void test_roles(void)
{
	for (const struct route *t = routes; t->path; t++)
		test_route(t);
	for (enum permission p = PERMIT_WHOAMI; p < PERMISSIONS; p++)
		ok("each permission has a name and is known here", *permission_name(p) && who_may(p), "%d", p);
	struct signing s = by(&team, "POST", POLICY, "{\"action\":\"deny\",\"resource\":\"other/file/x\"}");
	asked("an owner denies nothing of another's", &s, "POST", POLICY, s.body, 403, "other/file/x");
	s = by(&team, "POST", POLICY, "{\"action\":\"deny\",\"resource\":\"teams/file/x\"}");
	asked("a prefix ends at a slash", &s, "POST", POLICY, s.body, 403, "teams/file/x");
	s = by(&team, "POST", "/kbs/v0/anchor/other/file/x", "{\"action\":\"set\"}");
	asked("nor sets it another's anchor", &s, "POST", "/kbs/v0/anchor/other/file/x", s.body, 403, "anchor-set");
	s = by(&approver, "POST", "/kbs/v0/anchor/team/file/x", "{\"action\":\"set\"}");
	asked("nor does an approver any", &s, "POST", "/kbs/v0/anchor/team/file/x", s.body, 403, "anchor-set");
}

static void test_own_view(void)
{
	put_secret(&b, "other/file/hidden", "x");
	put_secret(&b, "team/file/mine", "x");
	set_policy(&b, "other/file/hidden", true, machine.measurement_hex);
	set_policy(&b, "team/file/mine", true, machine.measurement_hex);
	struct signing s = by(&team, "GET", POLICY, NULL);
	char *headers = headers_of(&s);
	struct http_reply r;
	if (!request(&b, "GET", POLICY, headers, NULL, &r)) {
		ok("an owner lists what is its own", strstr(r.body, "team/file/mine") && !strstr(r.body, "other/file"), "%s", r.body);
		http_reply_free(&r);
	}
	free(headers);
	s = by(&team, "GET", "/coffer/v0/audit/records", NULL);
	s.query = "?from=0&to=30";
	headers = headers_of(&s);
	if (!request(&b, "GET", "/coffer/v0/audit/records?from=0&to=30", headers, NULL, &r)) {
		ok("an owner's audit log has no other's records", r.status == 200 && !strstr(r.body, "other/file") && strstr(r.body, "{}\n"), "%d %.300s", r.status, r.body);
		http_reply_free(&r);
	}
	free(headers);
}

// ---- coming and going ----

static void test_changes(void)
{
	struct person bob = {.name = "bob"};
	make(&bob, false);
	ok("an owner is added", add(&bob, "\"owner\"", "\"bobs\"") == 200, "no");
	ok("and comes in", as(&bob, "GET", WHOAMI, NULL) == 200, "no");
	ok("not twice", add(&bob, "\"owner\"", "\"bobs\"") == 409, "it is");
	struct person twin = bob;
	twin.name = "twin";
	ok("nor under another name with the same key", add(&twin, "\"auditor\"", "") == 409, "it is");
	ok("an owner has resources", add(&mallory, "\"owner\"", "") == 400, "it has none");
	ok("and nobody else has", add(&mallory, "\"auditor\"", "\"team\"") == 400, "an auditor has");
	ok("a prefix is one", add(&mallory, "\"owner\"", "\"../x\"") == 400 && add(&mallory, "\"owner\"", "\"/\"") == 400, "it is not");
	ok("a role is one", add(&mallory, "\"king\"", "") == 400, "it is not");
	struct signing s = by(&bob, "POST", "/coffer/v0/identity", "{\"action\":\"role\",\"name\":\"bob\",\"roles\":[\"admin\"]}");
	asked("an owner does not make itself an admin", &s, "POST", "/coffer/v0/identity", s.body, 403, "identity-write");
	s = by(&alice, "POST", "/coffer/v0/identity", "{\"action\":\"remove\",\"name\":\"alice\"}");
	asked("the last admin cannot remove itself", &s, "POST", "/coffer/v0/identity", s.body, 409, "last admin");
	s = by(&alice, "POST", "/coffer/v0/identity", "{\"action\":\"role\",\"name\":\"alice\",\"roles\":[\"auditor\"]}");
	asked("nor become something less", &s, "POST", "/coffer/v0/identity", s.body, 409, "last admin");
	s = by(&alice, "POST", "/coffer/v0/identity", "{\"action\":\"remove\",\"name\":\"bob\"}");
	asked("an admin removes an owner", &s, "POST", "/coffer/v0/identity", s.body, 200, "bob");
	s = by(&bob, "GET", WHOAMI, NULL);
	asked("who is nobody at the next request", &s, "GET", WHOAMI, NULL, 401, "knows no key");
	EVP_PKEY_free(bob.key);
}

// ---- certificates ----

static char told[800];	// the last answer

static int with_certificate(const struct pki *p, const char *headers, const char *method, const char *path, const char *body)
{
	struct http_client *c;
	struct http_reply r;
	struct fault f = {""};
	struct http_client_options o = {.url = b.url, .ca_pem = b.ca, .resolve = http_resolve_static, .timeout_ms = 20000, .certificate = p->cert, .key = p->key};
	int err = http_client_open(&c, &o, &f);
	if (err)
		return err;
	err = http_client_request(c, method, path, headers, body, body ? strlen(body) : 0, &r, &f);
	int status = err ? err : r.status;
	snprintf(told, sizeof told, "%s", err ? f.text : r.body);
	if (!err)
		http_reply_free(&r);
	http_client_close(c);
	return status;
}

static int add_certificate(const char *name, const char *member, const char *value)
{
	json_t *o = json_pack("{s:s, s:s, s:s, s:[s]}", "action", "add", "name", name, member, value, "roles", "auditor");
	char *text = json_dumps(o, JSON_COMPACT);
	int status = ask("POST", "/coffer/v0/identity", admin_header(&b), text);
	free(text);
	json_decref(o);
	return status;
}

static void write_config(const char *path, const char *text)
{
	file_write(path, text, strlen(text), 0644, false, NULL);
}

static struct pki ca, listed, old, issued, late, stranger, impostor;

// The authority behind others that count as well.
static void write_authorities(const char *path, int others)
{
	time_t now = time(NULL);
	FILE *f = fopen(path, "w");
	for (int i = 0; i < others; i++) {
		char name[32];
		snprintf(name, sizeof name, "Owners %d", i);
		struct pki one = pki_make(&(struct pki_spec){.name = name, .ca = true, .kind = "P-256", .from = now - 1000, .to = now + 100000});
		PEM_write_X509(f, one.cert);
		pki_free(&one);
	}
	PEM_write_X509(f, ca.cert);
	fclose(f);
}

static void make_certificates(const char *ca_path)
{
	time_t now = time(NULL);
	ca = pki_make(&(struct pki_spec){.name = "Owners", .ca = true, .kind = "P-256", .from = now - 1000, .to = now + 100000});
	listed = pki_make(&(struct pki_spec){.name = "listed", .kind = "P-256", .from = now - 1000, .to = now + 100000});
	old = pki_make(&(struct pki_spec){.name = "old", .kind = "P-256", .from = now - 1000, .to = now - 10});
	issued = pki_make(&(struct pki_spec){.name = "carol", .issuer = &ca, .kind = "P-256", .from = now - 1000, .to = now + 100000});
	late = pki_make(&(struct pki_spec){.name = "carol", .issuer = &ca, .kind = "P-256", .from = now - 1000, .to = now - 10});
	stranger = pki_make(&(struct pki_spec){.name = "dave", .issuer = &ca, .kind = "P-256", .from = now - 1000, .to = now + 100000});
	impostor = pki_make(&(struct pki_spec){.name = "carol", .kind = "P-256", .from = now - 1000, .to = now + 100000});
	write_authorities(ca_path, 20);
}

static bool reloads(const char *path, const char *pem)
{
	size_t before = run_log_size(&b);
	write_config(path, pem);
	return as(&operator, "POST", "/coffer/v0/reload", "{}") == 202 && run_said(&b, before, "were read anew");
}

// The authority is exchanged while the broker serves.
static void test_new_authority(void)
{
	char path[128], *own = pki_pem(ca.cert, NULL), *other = pki_pem(impostor.cert, NULL);
	snprintf(path, sizeof path, "%s/ca.pem", world);
	ok("another authority is read", reloads(path, other), "no");
	ok("what the one before issued is nobody's", with_certificate(&issued, "", "GET", WHOAMI, NULL) == 401, "it is not");
	ok("it comes back", reloads(path, own) && with_certificate(&issued, "", "GET", WHOAMI, NULL) == 200, "no");
	expect("who asked for it is on record", &b, "GET", "/coffer/v0/audit/records?from=0&to=400", admin_header(&b), NULL, 200, "\"by\":\"op\",\"event\":\"reload\"");
	free(own);
	free(other);
}

static void test_certificates(void)
{
	char *pem = pki_pem(listed.cert, NULL), *old_pem = pki_pem(old.cert, NULL);
	ok("a certificate is listed", add_certificate("lister", "certificate", pem) == 200 && add_certificate("older", "certificate", old_pem) == 200, "no");
	ok("a name under the authority is", add_certificate("carol", "certificate_name", "carol") == 200, "no");
	ok("a name that a terminal would obey is none", add_certificate("tricky", "certificate_name", "carol\033[1K") == 400, "it is");
	ok("the listed certificate comes in", with_certificate(&listed, "", "GET", WHOAMI, NULL) == 200, "no");
	ok("one that has expired does not", with_certificate(&old, "", "GET", WHOAMI, NULL) == 401, "it does");
	ok("one under the authority comes in by its name", with_certificate(&issued, "", "GET", WHOAMI, NULL) == 200, "no");
	ok("not when it has expired", with_certificate(&late, "", "GET", WHOAMI, NULL) == 401, "it does");
	ok("not with a name that is not listed", with_certificate(&stranger, "", "GET", WHOAMI, NULL) == 401, "it does");
	ok("not with that name and no authority", with_certificate(&impostor, "", "GET", WHOAMI, NULL) == 401, "it does");
	ok("its role is its", with_certificate(&listed, "", "GET", "/coffer/v0/identity", NULL) == 200 &&
	   with_certificate(&listed, "", "POST", POLICY, DENY) == 403, "it is not");
	ok("a page of another site does not borrow it", with_certificate(&listed, "Origin: https://evil.example\r\n", "GET", WHOAMI, NULL) == 401, "it does");
	test_new_authority();
	ask("POST", "/coffer/v0/identity", admin_header(&b), "{\"action\":\"remove\",\"name\":\"lister\"}");
	ok("a certificate that was removed is nobody's", with_certificate(&listed, "", "GET", WHOAMI, NULL) == 401, "it is");
	free(pem);
	free(old_pem);
}

// An authority's word for a name of one type is no word for another.
static struct pki with_names(const char *names)
{
	X509V3_CTX c;
	struct pki p = pki_make(&(struct pki_spec){.name = "machine", .issuer = &ca, .kind = "P-256", .from = time(NULL) - 1000, .to = time(NULL) + 100000});
	X509V3_set_ctx(&c, ca.cert, p.cert, NULL, NULL, 0);
	X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &c, NID_subject_alt_name, names);
	if (!e || X509_add_ext(p.cert, e, -1) != 1 || !X509_sign(p.cert, ca.key, EVP_sha256()))
		abort();
	X509_EXTENSION_free(e);
	return p;
}

static void test_name_types(void)
{
	static const struct { const char *names; int status; } cases[] = {
		{"DNS:backup.bank.example", 200}, {"email:ops@bank.example", 200}, {"URI:spiffe://bank/backup", 200},
		{"DNS:ops@bank.example", 401}, {"DNS:spiffe://bank/backup", 401}, {"URI:backup.bank.example", 401}, {"URI:ops@bank.example", 401},
		{"email:backup.bank.example", 401}, {"email:spiffe://bank/backup", 401}, {"IP:10.0.0.1", 401},
	};
	ok("names of each type are listed", add_certificate("host", "certificate_name", "backup.bank.example") == 200 &&
	   add_certificate("mail", "certificate_name", "ops@bank.example") == 200 && add_certificate("uri", "certificate_name", "spiffe://bank/backup") == 200, "no");
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct pki p = with_names(cases[i].names);
		char label[100];
		snprintf(label, sizeof label, "a certificate for %s", cases[i].names);
		int status = with_certificate(&p, "", "GET", WHOAMI, NULL);
		ok(label, status == cases[i].status, "%d", status);
		pki_free(&p);
	}
}

// An address of this machine that is not only its own. False: it has none.
static bool own_address(char out[INET_ADDRSTRLEN])
{
	struct ifaddrs *all = NULL;
	bool found = false;
	if (getifaddrs(&all))
		return false;
	for (struct ifaddrs *i = all; i && !found; i = i->ifa_next) {
		const struct sockaddr_in *a = (const struct sockaddr_in *)i->ifa_addr;
		found = a && a->sin_family == AF_INET && ntohl(a->sin_addr.s_addr) >> 24 != 127 && inet_ntop(AF_INET, &a->sin_addr, out, INET_ADDRSTRLEN);
	}
	freeifaddrs(all);
	return found;
}

// Over a connection to that address.
static int whoami_at(const char *address, unsigned int port, const char *authority, const char *headers)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	struct tls_stream s;
	struct fault f = {""};
	char line[4096], answer[4096] = "";
	int64_t deadline = clock_ms() + 20000;
	SSL_CTX *tls = tls_client_context(b.ca, &f);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t n = 0;
	ssize_t got;
	inet_pton(AF_INET, address, &a.sin_addr);
	if (!tls || connect(fd, (struct sockaddr *)&a, sizeof a) || fcntl(fd, F_SETFL, O_NONBLOCK) || tls_connect(&s, tls, fd, "localhost", deadline, &f))
		return -1;
	snprintf(line, sizeof line, "GET " WHOAMI " HTTP/1.1\r\nHost: %s\r\n%sConnection: close\r\n\r\n", authority, headers);
	tls_write(&s, line, strlen(line), deadline);
	while (n < sizeof answer - 1 && (got = tls_read(&s, answer + n, sizeof answer - 1 - n, deadline)) > 0)
		n += (size_t)got;
	tls_close(&s);
	SSL_CTX_free(tls);
	snprintf(told, sizeof told, "%.*s", (int)sizeof told - 1, strstr(answer, "\r\n\r\n") ?: answer);
	return strncmp(answer, "HTTP/1.1 ", 9) ? -1 : atoi(answer + 9);
}

static int localhost_at(const char *address, unsigned int port, const char *name)
{
	char authority[64];
	snprintf(authority, sizeof authority, "%s:%u", name, port);
	struct signing s = by(&alice, "GET", WHOAMI, NULL);
	s.authority = authority;
	char *headers = headers_of(&s);
	int status = whoami_at(address, port, authority, headers);
	free(headers);
	return status;
}

// What another machine calls localhost is not this broker: a request that was signed for the one is no good here.
static void test_localhost(const char *config, const char *ca_path)
{
	char address[INET_ADDRSTRLEN], text[300], before[sizeof b.listen];
	if (!own_address(address)) {
		skip("localhost of another machine", "this one has no address beside");
		return;
	}
	strcpy(before, b.listen);
	strcpy(b.listen, "0.0.0.0:0");
	ok("a broker on all addresses", !run_stop(&b) && run_start(&b, "--config", config), "no");
	unsigned int port = (unsigned int)atoi(strrchr(b.url, ':') + 1);
	int status = localhost_at("127.0.0.1", port, "localhost");
	ok("localhost is this broker from its own machine", status == 200, "%d", status);
	status = localhost_at(address, port, "localhost");
	ok("and not from another one, which is told", status == 401 && strstr(told, "from another machine"), "%d %s", status, told);
	status = localhost_at(address, port, "[0:0:0:0:0:0:0:1]");
	ok("however it is written", status == 401 && strstr(told, "from another machine"), "%d %s", status, told);
	snprintf(text, sizeof text, "client_ca: %s\nauthority: [localhost]\n" MANY, ca_path);
	write_config(config, text);
	ok("it is called localhost on purpose", !run_stop(&b) && run_start(&b, "--config", config), "no");
	port = (unsigned int)atoi(strrchr(b.url, ':') + 1);
	status = localhost_at(address, port, "localhost");
	ok("where its settings say so it is", status == 200, "%d", status);
	snprintf(text, sizeof text, "client_ca: %s\n" MANY, ca_path);
	write_config(config, text);
	strcpy(b.listen, before);
	ok("the broker starts as before", !run_stop(&b) && run_start(&b, "--config", config), "no");
}

// ---- the database in other hands ----

static bool edit(const char *sql)
{
	char path[128];
	sqlite3 *db;
	snprintf(path, sizeof path, "%s/broker.db", b.dir);
	bool done = sqlite3_open(path, &db) == SQLITE_OK && sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK && sqlite3_total_changes(db) > 0;
	sqlite3_close(db);
	return done;
}

static void test_edited(const char *ca_option)
{
	struct signing s = by(&alice, "GET", WHOAMI, NULL);
	char *headers = headers_of(&s);
	ok("a request before the broker stops", ask("GET", WHOAMI, headers, NULL) == 200, "no");
	ok("it is remembered for longer than brokers' clocks may differ", edit("UPDATE admin_nonce SET until = until WHERE until > strftime('%s', 'now') + 300"), "no");
	ok("the broker stops and starts", !run_stop(&b) && run_start(&b, "--config", ca_option), "no");
	expect("a new start does not forget it", &b, "GET", WHOAMI, headers, NULL, 401, "made before");
	free(headers);
	ok("identities stay", as(&alice, "GET", WHOAMI, NULL) == 200, "no");
	edit("CREATE TABLE was AS SELECT * FROM identity; CREATE TABLE was_head AS SELECT * FROM identity_head");
	s = by(&alice, "POST", "/coffer/v0/identity", "{\"action\":\"role\",\"name\":\"op\",\"roles\":[\"operator\",\"approver\"]}");
	asked("a role changes", &s, "POST", "/coffer/v0/identity", s.body, 200, "op");
	edit("CREATE TABLE is_now AS SELECT * FROM identity; CREATE TABLE is_head AS SELECT * FROM identity_head");
	ok("rows as they once were are put back", !run_stop(&b) && edit("DELETE FROM identity; DELETE FROM identity_head; INSERT INTO identity SELECT * FROM was;"
	   "INSERT INTO identity_head SELECT * FROM was_head") && run_start(&b, "--config", ca_option), "no");
	ok("which a new start notices", as(&alice, "GET", WHOAMI, NULL) == 500, "it does not");
	ok("and the right ones count", edit("DELETE FROM identity; DELETE FROM identity_head; INSERT INTO identity SELECT * FROM is_now;"
	   "INSERT INTO identity_head SELECT * FROM is_head") && as(&alice, "GET", WHOAMI, NULL) == 200, "they do not");
	ok("a role is edited in the database", edit("UPDATE identity SET roles = 1 WHERE name = 'op'"), "it is not");
	ok("the stranger among running ones is not noticed before the next change", as(&operator, "GET", WHOAMI, NULL) == 200, "no");
	ok("and gives nothing", as(&operator, "GET", "/coffer/v0/identity", NULL) == 403, "it does");
	ok("a new start", !run_stop(&b) && run_start(&b, "--config", ca_option), "no");
	ok("knows nobody", as(&operator, "GET", WHOAMI, NULL) == 500 && as(&alice, "GET", WHOAMI, NULL) == 500, "it does");
	ok("the admin token opens still", ask("GET", WHOAMI, admin_header(&b), NULL) == 200, "no");
	ok("nor is one added beside it", edit("UPDATE identity SET roles = 4 WHERE name = 'op'; DELETE FROM identity WHERE name = 'alice'") &&
	   as(&operator, "GET", WHOAMI, NULL) == 500, "it is");
	// Two changes at the head: its version goes up, its MAC stays.
	ok("another head is noticed while running", edit("UPDATE identity_head SET version = version + 1") && as(&operator, "GET", WHOAMI, NULL) == 500, "it is not");
}

static void test_no_token(const char *config, const char *ca_path)
{
	char text[300];
	struct run fresh;
	run_prepare(&fresh, "fresh");
	snprintf(text, sizeof text, "client_ca: %s\nadmin_token: false\n" MANY, ca_path);
	write_config(config, text);
	ok("without the token and an admin no broker starts", !run_start(&fresh, "--config", config) && run_said(&fresh, 0, "there is no admin"), "it does");
	run_stop(&fresh);
	run_free(&fresh);
	ok("a broker with an admin does", !run_stop(&b) && run_start(&b, "--config", config), "no");
	expect("the token opens nothing then", &b, "GET", WHOAMI, admin_header(&b), NULL, 401, "switched off");
	ok("the admin comes in", as(&alice, "GET", WHOAMI, NULL) == 200, "no");
	snprintf(text, sizeof text, "client_ca: %s\n" MANY, ca_path);
	write_config(config, text);
	ok("and the token, when it is back", !run_stop(&b) && run_start(&b, "--config", config) && ask("GET", WHOAMI, admin_header(&b), NULL) == 200, "no");
}

static void write_list(const char *path, X509 *revoked, time_t to)
{
	size_t len;
	X509_CRL *crl = pki_crl(&ca, revoked, time(NULL) - 1000, to);
	uint8_t *der = pki_crl_der(crl, &len);
	file_write(path, der, len, 0644, false, NULL);
	free(der);
	X509_CRL_free(crl);
}

// One of some megabytes, which names many and last of all `revoked`.
static void write_long_list(const char *path, X509 *revoked, time_t to)
{
	size_t len;
	X509_CRL *crl = pki_crl(&ca, revoked, time(NULL) - 1000, to);
	for (uint64_t i = 0; i < 60000; i++) {
		X509_REVOKED *one = X509_REVOKED_new();
		ASN1_INTEGER *serial = ASN1_INTEGER_new();
		ASN1_INTEGER_set_uint64(serial, 1ull << 62 | i);
		X509_REVOKED_set_serialNumber(one, serial);
		X509_REVOKED_set_revocationDate(one, (ASN1_TIME *)X509_CRL_get0_lastUpdate(crl));
		X509_CRL_add0_revoked(crl, one);
		ASN1_INTEGER_free(serial);
	}
	X509_CRL_sort(crl);
	X509_CRL_sign(crl, ca.key, EVP_sha256());
	uint8_t *der = pki_crl_der(crl, &len);
	ok("a list of more than a megabyte", len > 1 << 20, "%zu", len);
	file_write(path, der, len, 0644, false, NULL);
	free(der);
	X509_CRL_free(crl);
}

static bool reload(const char *says)
{
	size_t from = run_log_size(&b);
	kill(b.pid, SIGHUP);
	return run_said(&b, from, says);
}

// `issued` ("carol") under a list of the authority.
static void test_revoked(const char *config, const char *ca_path)
{
	char text[400], list[128];
	time_t now = time(NULL);
	snprintf(list, sizeof list, "%s/ca.crl", world);
	snprintf(text, sizeof text, "client_ca: %s\nclient_ca_crl: %s\n" MANY, ca_path, list);
	write_config(config, text);
	write_list(list, NULL, now + 10000);
	ok("a broker with a revocation list", !run_stop(&b) && run_start(&b, "--config", config), "no");
	ok("which does not name the certificate", with_certificate(&issued, "", "GET", WHOAMI, NULL) == 200, "%s", told);
	write_list(list, issued.cert, now + 10000);
	ok("it is read anew", reload("were read anew"), "no");
	ok("and names it: it is refused", with_certificate(&issued, "", "GET", WHOAMI, NULL) == 401 && strstr(told, "'carol' is revoked"), "%s", told);
	ok("others are not", as(&alice, "GET", WHOAMI, NULL) == 200, "no");
	write_long_list(list, issued.cert, now + 10000);
	ok("a long list is read", reload("were read anew"), "no");
	ok("and names it, too", with_certificate(&issued, "", "GET", WHOAMI, NULL) == 401 && strstr(told, "'carol' is revoked"), "%s", told);
	ok("one that is too long is not", !truncate(list, (off_t)CERT_CRLS_BYTES + 1) && reload("larger than 64 MiB"), "it is");
	write_list(list, NULL, now - 10);
	ok("a list that has ended is read, and told", reload("a list in ") && reload("were read anew"), "no");
	ok("and nobody comes in by it", with_certificate(&issued, "", "GET", WHOAMI, NULL) == 401 && strstr(told, "client_ca_crl"), "%s", told);
	write_config(list, "no list\n");
	ok("what is none is not read", reload("holds no revocation lists"), "no");
	ok("and what was stays", with_certificate(&issued, "", "GET", WHOAMI, NULL) == 401 && as(&alice, "GET", WHOAMI, NULL) == 200, "%s", told);
	write_list(list, NULL, now - 10);
	size_t n = strlen(text);
	snprintf(text + n, sizeof text - n, "insecure_accept_expired_crl: true\n");
	write_config(config, text);
	size_t from = run_log_size(&b);
	ok("a broker that takes ended lists says so", !run_stop(&b) && run_start(&b, "--config", config) && run_said(&b, from, "INSECURE"), "no");
	ok("and goes by them", with_certificate(&issued, "", "GET", WHOAMI, NULL) == 200, "%s", told);
	write_list(list, issued.cert, now - 10);
	ok("also where they name it", reload("were read anew") && with_certificate(&issued, "", "GET", WHOAMI, NULL) == 401, "%s", told);
	snprintf(text, sizeof text, "client_ca_crl: %s\n" MANY, list);
	write_config(config, text);
	ok("a list without its authority is a mistake", !run_stop(&b) && !run_start(&b, "--config", config), "it is not");
	run_stop(&b);
	snprintf(text, sizeof text, "client_ca: %s\n" MANY, ca_path);
	write_config(config, text);
	ok("the broker as it was", run_start(&b, "--config", config), "no");
}

int main(void)
{
	struct person *const people[] = {&alice, &team, &operator, &auditor, &approver, &mallory};
	char config[128], ca_path[128], text[200];
	world_begin("identity");
	test_vectors();
	test_strict();
	test_keyfile();
	for (size_t i = 0; i < 6; i++)
		make(people[i], i == 2);
	run_prepare(&b, "state");
	run_stays(&b);
	snprintf(config, sizeof config, "%s/broker.yaml", world);
	snprintf(ca_path, sizeof ca_path, "%s/ca.pem", world);
	make_certificates(ca_path);
	snprintf(text, sizeof text, "client_ca: %s\n" MANY, ca_path);
	write_config(config, text);
	if (ok("the broker starts", run_start(&b, "--config", config), "no")) {
		for (size_t i = 0; i < 5; i++)
			ok("an identity is added", add(people[i], people[i]->roles, people[i]->resources) == 200, "%s", people[i]->name);
		test_signed();
		test_roles();
		test_own_view();
		test_changes();
		test_certificates();
		test_revoked(config, ca_path);
		test_name_types();
		test_localhost(config, ca_path);
		test_no_token(config, ca_path);
		test_edited(config);
		ok("the broker ends well", !run_stop(&b), "no");
	}
	for (size_t i = 0; i < 6; i++)
		EVP_PKEY_free(people[i]->key);
	struct pki *const certificates[] = {&ca, &listed, &old, &issued, &late, &stranger, &impostor};
	for (size_t i = 0; i < 7; i++)
		pki_free(certificates[i]);
	run_free(&b);
	return world_end() || ok_failed;
}
