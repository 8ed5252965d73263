// SPDX-License-Identifier: Apache-2.0
// How fast evidence of each kind is verified on one core, as a broker does it: evidence in a request's bundle, collateral added out of
// a store, everything checked, claims made. Beside it, in the same rounds, OpenSSL's signature checks alone with the same keys: the share is what of the
// whole they are. Rounds take turns, and the median of each counts. Every verdict is looked at.
//
//	verify [-q] [NAME]...            name, per second, signature checks per second (of one verification's worth), share in percent, what these
//	                                 checks are; one line each
//	verify -n COUNT whole|raw NAME   so many of one of both, for counting instructions
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attest/collateral.h"
#include "attest/ecdsa.h"
#include "attest/evidence.h"
#include "attest/snp.h"
#include "tests/attest/make/dcap.h"
#include "tests/attest/make/gpu.h"
#include "tests/attest/make/snp.h"
#include "tests/attest/make/tpm.h"

#define ROUNDS_MAX 11

// What one verification cannot do without: so many signatures of that kind.
struct raw {
	EVP_PKEY *key;
	const EVP_MD *hash;
	uint8_t *signature, message[4096];
	size_t signature_len, message_len;
	unsigned int count;
	const char *kind;
};

struct job {
	const char *name;
	json_t *request;		// members of the bundle
	struct collateral_store *store;	// NULL: none is needed
	struct evidence_input in;
	struct raw raw;
};

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);	// other programs' time is not ours
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void die(const char *what)
{
	fprintf(stderr, "verify: %s\n", what);
	exit(1);
}

static void one(const struct job *j)
{
	static struct attest_result out;
	struct evidence_input in = j->in;
	struct bundle b;
	if (bundle_init(&b) || json_object_update(b.json, j->request) || attest_result_init(&out) ||
	    (j->store && collateral_fill(j->store, &b, in.now, NULL, NULL)))
		die("out of memory");
	in.bundle = &b;
	evidence_verify(&in, &out);
	for (unsigned int i = 0; i < out.count; i++) {
		if (out.checks[i].outcome == ATTEST_FAILED) {
			fprintf(stderr, "verify: %s: %s: %s, not %s\n", j->name, out.checks[i].id, out.checks[i].found, out.checks[i].expected);
			exit(1);
		}
	}
	attest_result_free(&out);
	bundle_free(&b);
}

// Digest and check, prepared once as OpenSSL allows.
static void raw_one(struct raw *r)
{
	uint8_t digest[64];
	unsigned int n;
	for (unsigned int i = 0; i < r->count; i++) {
		EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(r->key, NULL);
		if (EVP_Digest(r->message, r->message_len, digest, &n, r->hash, NULL) != 1 || EVP_PKEY_verify_init(ctx) != 1 ||
		    (EVP_PKEY_is_a(r->key, "RSA") && (EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_PADDING) != 1 ||
						       EVP_PKEY_CTX_set_signature_md(ctx, r->hash) != 1)) ||
		    EVP_PKEY_verify(ctx, r->signature, r->signature_len, digest, n) != 1)
			die("OpenSSL");
		EVP_PKEY_CTX_free(ctx);
	}
}

static void raw_make(struct raw *r, const char *kind, EVP_PKEY *key, const EVP_MD *hash, size_t message, unsigned int count)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	r->kind = kind;
	r->key = key;
	r->hash = hash;
	r->count = count;
	r->message_len = message;
	if (EVP_DigestSignInit(md, NULL, hash, NULL, key) != 1 || EVP_DigestSign(md, NULL, &r->signature_len, r->message, message) != 1 ||
	    !(r->signature = malloc(r->signature_len)) || EVP_DigestSign(md, r->signature, &r->signature_len, r->message, message) != 1)
		die("cannot sign");
	EVP_MD_CTX_free(md);
}

static int compare(const void *a, const void *b)
{
	double d = *(const double *)a - *(const double *)b;
	return d < 0 ? -1 : d > 0;
}

static void measure(struct job *j, unsigned int rounds, double seconds)
{
	double whole[ROUNDS_MAX], raw[ROUNDS_MAX], start, used;
	unsigned int n;
	one(j);
	for (unsigned int i = 0; i < rounds; i++) {
		for (n = 0, start = now_s(); (used = now_s() - start) < seconds; n += 8) {
			for (int k = 0; k < 8; k++)
				one(j);
		}
		whole[i] = n / used;
		for (n = 0, start = now_s(); (used = now_s() - start) < seconds; n += 8) {
			for (int k = 0; k < 8; k++)
				raw_one(&j->raw);
		}
		raw[i] = n / used;
	}
	qsort(whole, rounds, sizeof *whole, compare);
	qsort(raw, rounds, sizeof *raw, compare);
	double a = whole[rounds / 2], b = raw[rounds / 2];
	printf("%-8s %9.0f %9.0f %5.0f  %u x %s\n", j->name, a, b, 100 * a / b, j->raw.count, j->raw.kind);
	fflush(stdout);
}

static json_t *object_with(const char *name, const void *bytes, size_t len)
{
	struct bundle b;
	if (bundle_init(&b) || bundle_put_bytes(&b, name, bytes, len))
		die("out of memory");
	json_t *o = json_incref(b.json);
	bundle_free(&b);
	return o;
}

static void put_bytes(json_t *o, const char *name, const void *bytes, size_t len)
{
	json_t *from = object_with(name, bytes, len);
	json_object_update(o, from);
	json_decref(from);
}

static char base[] = "/dev/shm/coffer-bench-XXXXXX";

static void remove_stores(void)
{
	char command[64];
	snprintf(command, sizeof command, "rm -rf '%s'", base);
	if (system(command))
		fprintf(stderr, "verify: %s is left\n", base);
}

// A store in the memory's file system, as a broker reads one.
static struct collateral_store *open_store(const char *name)
{
	struct collateral_store *s;
	char dir[64];
	if (base[sizeof base - 2] == 'X' && (!mkdtemp(base) || atexit(remove_stores)))
		die("cannot make a folder in /dev/shm");
	snprintf(dir, sizeof dir, "%s/%s", base, name);
	if (collateral_open(&s, dir, true, NULL))
		die("cannot make a store");
	return s;
}

static void keep(struct collateral_store *s, const char *path, const void *body, size_t len, const struct collateral_text *chain)
{
	struct collateral_item i = {.fetched = MADE_NOW, .source = "bench"};
	struct fault f = {""};
	if (collateral_key_read(path, &i.key, &f) || collateral_item_set(&i, body, len, chain ? chain->bytes : NULL, chain ? chain->len : 0, &f) ||
	    collateral_put(s, &i, &f))
		die(f.text);
	collateral_item_free(&i);
}

static struct job dcap_job(const char *name, const struct dcap_spec *spec)
{
	static X509 *root[1];
	static uint8_t bound[64];
	struct made m;
	struct dcap_spec s = *spec;
	s.has_bound = true;
	made_make(&s, &m);
	root[0] = made_root();
	struct job j = {.name = name, .request = object_with("evidence", m.quote, m.quote_len), .store = open_store(name),
			.in = {.report_data = bound, .simulated_roots = root, .simulated_root_count = 1, .now = MADE_NOW}};
	const struct dcap_collateral_parts *p = &m.parts;
	char path[100];
	snprintf(path, sizeof path, "/%s/certification/v4/tcb?fmspc=00806F050000", name);
	keep(j.store, path, p->tcb_info.bytes, p->tcb_info.len, &p->tcb_info_chain);
	snprintf(path, sizeof path, "/%s/certification/v4/qe/identity", name);
	keep(j.store, path, p->qe_identity.bytes, p->qe_identity.len, &p->qe_identity_chain);
	keep(j.store, "/sgx/certification/v4/pckcrl?ca=platform", p->pck_crl.bytes, p->pck_crl.len, &p->pck_crl_chain);
	keep(j.store, "/IntelSGXRootCA.der", p->root_crl.bytes, p->root_crl.len, NULL);
	raw_make(&j.raw, "ECDSA P-256 with SHA-256", EVP_EC_gen("P-256"), EVP_sha256(), 600, 2);
	made_free(&m);
	return j;
}

static struct job snp_job(void)
{
	static X509 *root[1];
	static uint8_t bound[64];
	struct snp_spec s = snp_milan;
	struct snp_made m;
	s.bound = bound;
	snp_make(&s, &m);
	root[0] = snp_made_root();
	struct job j = {.name = "snp", .request = object_with("evidence", m.report, sizeof m.report), .store = open_store("snp"),
			.in = {.report_data = bound, .simulated_roots = root, .simulated_root_count = 1, .now = SNP_MADE_NOW}};
	char *pem = pki_pem(m.chain.certs[0], m.chain.certs[1], m.chain.certs[2], NULL);
	json_object_set_new(j.request, "certificates", json_string(pem));
	size_t len;
	uint8_t *der = pki_crl_der(m.crl, &len);
	keep(j.store, "/vcek/v1/Milan/crl", der, len, &(struct collateral_text){pem, strlen(pem)});
	raw_make(&j.raw, "ECDSA P-384 with SHA-384", EVP_EC_gen("P-384"), EVP_sha384(), 672, 1);
	free(der);
	free(pem);
	snp_made_free(&m);
	return j;
}

static struct job tpm_job(const char *name, bool rsa)
{
	static uint8_t values[TPM_PCRS][32], nonce[32];
	static char digests[2][65];
	static const char *lists[2][2];
	struct tpm_made m;
	EVP_PKEY *key = rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
	uint8_t *der = NULL;
	tpm_make(&(struct tpm_spec){rsa ? 0x14 : 0x18, 0xff544347, 0x8018, 0xffff, nonce, sizeof nonce, values}, key, &m);
	tpm_key_digest(key, digests[rsa]);
	lists[rsa][0] = digests[rsa];
	struct job j = {.name = name, .request = object_with("tpm_quote", m.attest, m.attest_len),
			.in = {.nonce = nonce, .nonce_len = sizeof nonce, .tpm_keys = lists[rsa], .now = SNP_MADE_NOW}};
	int n = i2d_PUBKEY(key, &der);
	put_bytes(j.request, "evidence", m.attest, m.attest_len);
	put_bytes(j.request, "tpm_signature", m.signature, m.signature_len);
	put_bytes(j.request, "tpm_key", der, (size_t)n);
	json_t *pcrs = json_object();
	for (int i = 0; i < 16; i++) {
		char number[8], hex[65];
		snprintf(number, sizeof number, "%d", i);
		memset(hex, '0', 64);
		hex[64] = '\0';
		json_object_set_new(pcrs, number, json_string(hex));
	}
	json_object_set_new(j.request, "tpm_pcrs", pcrs);
	raw_make(&j.raw, rsa ? "RSA-2048 PKCS #1 v1.5 with SHA-256" : "ECDSA P-256 with SHA-256", key, EVP_sha256(), m.attest_len, 1);
	OPENSSL_free(der);
	return j;
}

static struct job gpu_job(void)
{
	static X509 *root[1];
	static uint8_t nonce[32];
	struct gpu_made m;
	struct gpu_spec s = gpu_good;
	s.nonce = nonce;
	gpu_make(&s, &m);
	root[0] = gpu_made_root();
	struct job j = {.name = "gpu", .request = object_with("evidence", m.report, m.len),
			.in = {.nonce = nonce, .nonce_len = 32, .simulated_roots = root, .simulated_root_count = 1, .now = GPU_MADE_NOW}};
	json_object_set_new(j.request, "certificates", json_string(m.pem));
	raw_make(&j.raw, "ECDSA P-384 with SHA-384", EVP_EC_gen("P-384"), EVP_sha384(), 4000, 1);
	gpu_made_free(&m);
	return j;
}

static bool wanted(const struct job *j, char **names)
{
	bool listed = !*names;
	for (; *names; names++)
		listed |= !strcmp(j->name, *names);
	return listed;
}

static void repeat(struct job *j, unsigned int count, bool raw)
{
	while (count--) {
		if (raw)
			raw_one(&j->raw);
		else
			one(j);
	}
}

int main(int argc, char **argv)
{
	bool quick = argc > 1 && !strcmp(argv[1], "-q"), counted = argc == 5 && !strcmp(argv[1], "-n");
	char **names = argv + (counted ? 4 : quick ? 2 : 1);
	struct job jobs[] = {dcap_job("tdx", &made_tdx), dcap_job("sgx", &made_sgx), snp_job(), tpm_job("tpm-rsa", true), tpm_job("tpm-ecc", false),
			     gpu_job()};
	for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) {
		if (!wanted(&jobs[i], names))
			continue;
		if (counted)
			repeat(&jobs[i], (unsigned int)atoi(argv[2]), !strcmp(argv[3], "raw"));
		else
			measure(&jobs[i], quick ? 3 : ROUNDS_MAX, quick ? 0.1 : 0.4);
	}
	for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++)
		collateral_close(jobs[i].store);
	return 0;
}
