// SPDX-License-Identifier: Apache-2.0
// What is kept between verifications: the table itself, with threads, and that a verdict depends on no earlier one: dates, lists and trust are judged anew.
#include <stdlib.h>
#include <string.h>

#include "attest/dcap.h"
#include "attest/evidence.h"
#include "attest/shared_cache.h"
#include "tests/attest/make/dcap.h"
#include "tests/attest/make/snp.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"

static int alive;

static void *thing(int n)
{
	int *p = malloc(sizeof *p);
	*p = n;
	__atomic_fetch_add(&alive, 1, __ATOMIC_SEQ_CST);
	return p;
}

static void gone(void *p)
{
	free(p);
	__atomic_fetch_sub(&alive, 1, __ATOMIC_SEQ_CST);
}

static void test_table(void)
{
	static struct shared_cache c = SHARED_CACHE_INIT;
	const struct shared_part ab[] = {{"a", 1}, {"b", 1}}, joined[] = {{"ab", 2}, {"", 0}}, none[] = {{"ab", 2}, {NULL, 0}};
	struct shared_entry *e = shared_put(&c, ab, 2, thing(1), gone);
	ok("what was put is found", shared_get(&c, joined, 2) == NULL && shared_get(&c, none, 2) == NULL && shared_get(&c, ab, 1) == NULL, "other parts are it");
	struct shared_entry *same = shared_get(&c, ab, 2);
	ok("by the same parts", same == e && *(int *)shared_object(same) == 1, "it is not");
	shared_release(same);
	struct shared_entry *empty = shared_put(&c, joined, 2, thing(2), gone);
	ok("an empty part is not a missing one", shared_get(&c, none, 2) == NULL, "it is");
	shared_release(empty);
	for (int i = 0; i < 2 * SHARED_CACHE_SIZE; i++) {
		const struct shared_part p = {&i, sizeof i};
		shared_release(shared_put(&c, &p, 1, thing(i), gone));
	}
	ok("old ones give way", shared_get(&c, ab, 2) == NULL && alive == SHARED_CACHE_SIZE + 1, "%d are there", alive);
	ok("who holds one keeps it", *(int *)shared_object(e) == 1, "gone");
	shared_release(e);
	ok("until it lets go", alive == SHARED_CACHE_SIZE, "%d are there", alive);
	char *large = calloc(1, SHARED_CACHE_BYTES / 8);
	for (char i = 0; i < 20; i++) {
		const struct shared_part p = {large, SHARED_CACHE_BYTES / 8};
		large[0] = i;
		shared_release(shared_put(&c, &p, 1, thing(i), gone));
	}
	ok("no more bytes than there may be", c.bytes <= SHARED_CACHE_BYTES && alive <= 8 + SHARED_CACHE_SIZE, "%zu bytes, %d things", c.bytes, alive);
	free(large);
}

static void test_proved(void)
{
	static struct shared_cache c = SHARED_CACHE_INIT;
	const struct shared_part good = {"good", 4};
	struct shared_entry *e = shared_put(&c, &good, 1, thing(7), gone);
	shared_prove(e);
	shared_release(e);
	for (int i = 0; i < 3 * SHARED_CACHE_SIZE; i++) {
		const struct shared_part p = {&i, sizeof i};
		shared_release(shared_put(&c, &p, 1, thing(i), gone));
	}
	e = shared_get(&c, &good, 1);
	ok("what was proved stays when rubbish comes", e != NULL, "it went");
	shared_release(e);
	for (int i = 0; i < 2 * SHARED_CACHE_SIZE; i++) {
		const struct shared_part p = {&i, sizeof i};
		e = shared_put(&c, &p, 1, thing(i), gone);
		shared_prove(e);
		shared_release(e);
	}
	e = shared_get(&c, &good, 1);
	ok("and gives way to what was proved later", e == NULL, "it is there");
	shared_release(e);
}

// Of what nobody vouches for no more is kept than that, and what was proved is not pushed out by its size.
static void test_unproved(void)
{
	static struct shared_cache c = SHARED_CACHE_INIT;
	const size_t piece = SHARED_CACHE_UNPROVED / 4;
	char *large = calloc(1, SHARED_CACHE_UNPROVED + 1);
	struct shared_part p = {large, piece};
	struct shared_entry *e;
	int before = alive, there = 0;
	for (char i = 0; i < 20; i++) {
		large[0] = i;
		e = shared_put(&c, &p, 1, thing(i), gone);
		if (i < 6)
			shared_prove(e);
		shared_release(e);
	}
	ok("a part of the table is for what was not proved", c.bytes == 6 * piece + SHARED_CACHE_UNPROVED && alive == before + 10,
	   "%zu bytes, %d things", c.bytes, alive - before);
	p.len = SHARED_CACHE_UNPROVED + 1;
	shared_release(shared_put(&c, &p, 1, thing(99), gone));
	ok("one that is larger than that stands alone", c.bytes == 6 * piece + SHARED_CACHE_UNPROVED + 1 && alive == before + 7,
	   "%zu bytes, %d things", c.bytes, alive - before);
	p.len = piece;
	for (char i = 0; i < 6; i++) {
		large[0] = i;
		e = shared_get(&c, &p, 1);
		there += e != NULL;
		shared_release(e);
	}
	ok("and what was proved stays", there == 6, "%d of 6", there);
	free(large);
}

static struct shared_cache crowd = SHARED_CACHE_INIT;

static void *worker(void *arg)
{
	unsigned int seed = (unsigned int)(size_t)arg;
	for (int i = 0; i < 20000; i++) {
		int n = rand_r(&seed) % 100;
		const struct shared_part p = {&n, sizeof n};
		struct shared_entry *e = shared_get(&crowd, &p, 1);
		if (!e)
			e = shared_put(&crowd, &p, 1, thing(n), gone);
		if (*(int *)shared_object(e) != n)
			return (void *)1;
		shared_release(e);
	}
	return NULL;
}

static void test_threads(void)
{
	pthread_t t[4];
	bool wrong = false;
	for (size_t i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, worker, (void *)(i + 1));
	for (int i = 0; i < 4; i++) {
		void *r;
		pthread_join(t[i], &r);
		wrong |= r != NULL;
	}
	ok("threads share a table", !wrong, "one found another's");
}

static void judge(const char *name, struct bundle *b, struct evidence_input *in, const char *failed)
{
	struct attest_result out;
	struct bundle own;
	bundle_init(&own);
	json_object_update(own.json, b->json);
	in->bundle = &own;
	attest_result_init(&out);
	evidence_verify(in, &out);
	ok(name, !strcmp(failed_ids(&out), failed), "%s", failures(&out));
	attest_result_free(&out);
	bundle_free(&own);
}

static void put(struct bundle *b, const char *name, const struct collateral_text *t)
{
	bundle_put_text(b, name, t->bytes, t->len);
}

// A known platform and a known attestation key make no signature good.
static void test_changed(struct bundle *b, struct evidence_input *in, struct made *m)
{
	struct dcap_quote q;
	dcap_quote_parse(m->quote, m->quote_len, &q, NULL);
	const struct {
		const char *name;
		const uint8_t *at;
		const char *failed;
	} changes[] = {
		{"the same platform, another measurement", q.signed_bytes + 48 + 136, "signature "},
		{"the same platform, another signature", q.signature + 40, "signature "},
		{"the same platform, another signature of the quoting enclave", q.qe_signature + 40, "qe-report "},
		{"the same platform, another attestation key", q.ak + 3, "attestation-key signature "},
		{"the same platform, a certificate that was changed", q.cert_data + 400, "certificate-chain qe-report "},
	};
	for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
		uint8_t *at = m->quote + (changes[i].at - m->quote), was = *at;
		*at = was == 'A' ? 'B' : 'A';
		bundle_replace_bytes(b, "evidence", m->quote, m->quote_len);
		judge(changes[i].name, b, in, changes[i].failed);
		*at = was;
	}
	bundle_replace_bytes(b, "evidence", m->quote, m->quote_len);
	judge("the same platform as it was", b, in, "");
}

static void test_verdicts(void)
{
	struct made m, revoked;
	struct bundle b;
	X509 *root = made_root();
	struct dcap_spec s = made_tdx;
	s.pck_to = MADE_NOW + 40 * MADE_DAY;
	made_make(&s, &m);
	bundle_init(&b);
	bundle_put_bytes(&b, "evidence", m.quote, m.quote_len);
	put(&b, "tcb_info", &m.parts.tcb_info);
	put(&b, "tcb_info_issuer_chain", &m.parts.tcb_info_chain);
	put(&b, "qe_identity", &m.parts.qe_identity);
	put(&b, "qe_identity_issuer_chain", &m.parts.qe_identity_chain);
	bundle_put_bytes(&b, "root_ca_crl", m.parts.root_crl.bytes, m.parts.root_crl.len);
	bundle_put_bytes(&b, "pck_crl", m.parts.pck_crl.bytes, m.parts.pck_crl.len);
	put(&b, "pck_crl_issuer_chain", &m.parts.pck_crl_chain);
	struct evidence_input in = {.simulated_roots = &root, .simulated_root_count = 1, .now = MADE_NOW};
	for (int i = 0; i < 2; i++)
		judge(i ? "TDX once more" : "TDX", &b, &in, "");
	in.now = s.tcb_next + 1;
	judge("the same collateral after its end", &b, &in, s.crl_to < in.now ? "revocation tcb-info-dates qe-identity-dates " : "tcb-info-dates qe-identity-dates ");
	in.now = MADE_NOW;
	in.simulated_root_count = 0;
	judge("the same under a root that is not accepted", &b, &in, "root ");
	in.simulated_root_count = 1;
	in.now = s.pck_to;
	judge("the same platform when its certificate has ended", &b, &in, "certificate-dates revocation tcb-info-dates qe-identity-dates ");
	in.now = MADE_NOW;
	bundle_put_bytes(&b, "pck_crl", m.revoking, m.revoking_len);
	judge("the same platform when its authority has revoked it", &b, &in, "revocation ");
	bundle_put_bytes(&b, "pck_crl", m.parts.pck_crl.bytes, m.parts.pck_crl.len);
	judge("the same platform under the list before", &b, &in, "");
	test_changed(&b, &in, &m);
	s.revoke = 1;
	made_make(&s, &revoked);
	json_object_del(b.json, "evidence");
	bundle_put_bytes(&b, "evidence", revoked.quote, revoked.quote_len);
	bundle_put_bytes(&b, "root_ca_crl", revoked.parts.root_crl.bytes, revoked.parts.root_crl.len);
	bundle_put_bytes(&b, "pck_crl", revoked.parts.pck_crl.bytes, revoked.parts.pck_crl.len);
	put(&b, "pck_crl_issuer_chain", &revoked.parts.pck_crl_chain);
	put(&b, "tcb_info", &revoked.parts.tcb_info);
	put(&b, "tcb_info_issuer_chain", &revoked.parts.tcb_info_chain);
	put(&b, "qe_identity", &revoked.parts.qe_identity);
	put(&b, "qe_identity_issuer_chain", &revoked.parts.qe_identity_chain);
	judge("a new list that revokes", &b, &in, "revocation ");
	bundle_free(&b);
	made_free(&m);
	made_free(&revoked);
}

static void test_snp(void)
{
	struct snp_made m;
	struct bundle b;
	size_t len;
	X509 *root = snp_made_root();
	snp_make(&snp_milan, &m);
	char *pem = pki_pem(m.chain.certs[0], m.chain.certs[1], m.chain.certs[2], NULL);
	uint8_t *der = pki_crl_der(m.crl, &len);
	bundle_init(&b);
	bundle_put_bytes(&b, "evidence", m.report, sizeof m.report);
	bundle_put_text(&b, "certificates", pem, strlen(pem));
	struct evidence_input in = {.simulated_roots = &root, .simulated_root_count = 1, .now = SNP_MADE_NOW};
	judge("SNP", &b, &in, "");
	bundle_put_bytes(&b, "crl", der, len);
	for (int i = 0; i < 2; i++)
		judge(i ? "SNP with its list once more" : "SNP with its list", &b, &in, "");
	in.now = snp_milan.crl_to + 1;
	judge("the list has expired", &b, &in, "revocation ");
	in.now = SNP_MADE_NOW + 100ll * 365 * 86400;
	judge("the same chain when it has ended", &b, &in, "certificate-dates revocation ");
	in.now = SNP_MADE_NOW;
	in.simulated_root_count = 0;
	judge("the same chain under a root that is not accepted", &b, &in, "root ");
	in.simulated_root_count = 1;
	judge("the same chain as it was", &b, &in, "");
	bundle_put_bytes(&b, "crl", der, len - 1);
	judge("half a list", &b, &in, "revocation ");
	m.report[0x90] ^= 1;
	bundle_put_bytes(&b, "crl", der, len);
	bundle_replace_bytes(&b, "evidence", m.report, sizeof m.report);
	judge("another report under the same chain", &b, &in, "signature ");
	free(pem);
	free(der);
	bundle_free(&b);
	snp_made_free(&m);
}

int main(void)
{
	test_table();
	test_proved();
	test_unproved();
	test_threads();
	test_verdicts();
	test_snp();
	return ok_failed != 0;
}
