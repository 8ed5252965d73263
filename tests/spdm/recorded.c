// SPDX-License-Identifier: Apache-2.0
// What real devices have answered (two NVIDIA H100, SPDM 1.1), through the parts that our own requester is made of: the chain as a slot holds it, the
// answer's blocks, the hash of request and answer, the device's signature; and that a requester of a CPU TEE does not take a GPU for one.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attest/spdm.h"
#include "spdm/chain.h"
#include "spdm/measure.h"
#include "spdm/message.h"
#include "spdm/suite.h"
#include "tests/attest/gpu_recorded.h"

enum { SPDM_1_1 = 0x11, CHAIN_HEAD = 4, DIGEST_OF_FIRMWARE = 1, ANSWER_NONCE = 8 + 64 * 55 };

// The recorded certificates as CERTIFICATE carries them: the root's first.
static void slot_of(const struct recorded *r, const struct suite *s, struct buffer *b)
{
	uint8_t *der = NULL, hash[SUITE_MAX_HASH];
	buffer_room(b, CHAIN_HEAD);
	for (unsigned int i = r->certs.count; i--;) {
		int len = i2d_X509(r->certs.certs[i], &der);
		if (len <= 0 || !suite_digest(s, der, (size_t)len, hash))
			abort();
		if (i == r->certs.count - 1)
			buffer_put(b, hash, s->hash_len);
		buffer_put(b, der, (size_t)len);
		OPENSSL_free(der);
		der = NULL;
	}
	b->bytes[0] = (uint8_t)b->len;
	b->bytes[1] = (uint8_t)(b->len >> 8);
}

static X509 *test_chain(const struct recorded *r, const struct suite *s)
{
	struct buffer b = {.bytes = NULL};
	struct fault why = {""};
	X509 *leaf = NULL, *none;
	slot_of(r, s, &b);
	int err = chain_read(b.bytes, b.len, s, &leaf, &why);
	ok("the chain in a slot", !err && leaf && !X509_cmp(leaf, r->certs.certs[0]) && suite_asym_of(X509_get0_pubkey(leaf)) == ASYM_P384, "%s", why.text);
	// Every byte: those of signatures break a link, those of the rest what is signed.
	unsigned int taken = 0;
	for (size_t i = 0; i < b.len; i += 11) {
		b.bytes[i] ^= 0x10;
		if ((i < 2 || i > 3) && !chain_read(b.bytes, b.len, s, &none, NULL)) {	// between them are reserved ones
			taken++;
			X509_free(none);
		}
		b.bytes[i] ^= 0x10;
	}
	ok("no byte of the chain can be changed", !taken, "%u can", taken);
	buffer_free(&b);
	return leaf;
}

static bool signed_by(const struct recorded *r, const struct suite *s, X509 *leaf, const struct spdm_measurements *m, const char *context)
{
	uint8_t digest[SUITE_MAX_HASH];
	struct transcript l = {.ctx = NULL};
	bool is = transcript_begin(&l, s, r->bytes, RECORDED_REQUEST) && transcript_add(&l, r->bytes + RECORDED_REQUEST, m->signed_len) &&
		  transcript_digest(&l, digest) && suite_verify(s, X509_get0_pubkey(leaf), context, digest, m->signature);
	transcript_free(&l);
	return is;
}

static void test_answer(struct recorded *r, const struct suite *s, X509 *leaf, X509 *other)
{
	uint8_t *answer = r->bytes + RECORDED_REQUEST;
	size_t len = r->len - RECORDED_REQUEST, end = len - r->trailing, wrong = 0;
	struct spdm_measurements m, both;
	struct fault why = {""};
	int err = spdm_parse_answer(answer, len, SPDM_1_1, s->signature_len, &m, &why);
	if (!ok("the answer", !err && m.count == 64 && m.trailing == r->trailing && m.answer_nonce == answer + ANSWER_NONCE, "%s", why.text))
		return;
	for (unsigned int i = 0; i < m.count; i++)
		wrong += m.blocks[i].index != i + 1 || m.blocks[i].raw || m.blocks[i].type != DIGEST_OF_FIRMWARE || m.blocks[i].len != 48;
	ok("64 digests of firmware", !wrong && !strcmp(measure_type_name(m.blocks[0].type), "mutable firmware"), "%zu are others", wrong);
	err = spdm_parse(r->bytes, r->len, s->signature_len, &both, &why);
	ok("the same with the request before it", !err && both.count == m.count && both.blocks[1].value == m.blocks[1].value &&
	   both.signature == m.signature && both.signed_len == RECORDED_REQUEST + m.signed_len, "%s", why.text);
	ok("as an answer of version 1.2 it is refused", spdm_parse_answer(answer, len, SPDM_1_2, s->signature_len, &both, &why) == -EINVAL, "taken");
	ok("the device's signature", signed_by(r, s, leaf, &m, NULL), "refused");
	ok("not with a context of version 1.2", !signed_by(r, s, leaf, &m, "responder-measurements signing"), "taken");
	ok("not the other device's", !signed_by(r, s, other, &m, NULL), "taken");
	wrong = 0;
	for (size_t i = 0; i < r->len - r->trailing; i += 7) {
		r->bytes[i] ^= 1;
		if (!spdm_parse_answer(answer, len, SPDM_1_1, s->signature_len, &both, NULL))
			wrong += signed_by(r, s, leaf, &both, NULL);
		r->bytes[i] ^= 1;
	}
	ok("a changed byte is noticed", !wrong, "%zu are not", wrong);
	wrong = 0;
	for (size_t n = 0; n < end; n += n < 64 || n > end - 128 ? 1 : 13) {
		uint8_t *cut = malloc(n + 1);
		memcpy(cut, answer, n);
		wrong += !spdm_parse_answer(cut, n, SPDM_1_1, s->signature_len, &both, NULL);
		free(cut);
	}
	ok("an answer that is cut short is malformed", !wrong, "%zu are not", wrong);
	// A CPU TEE with nothing but a launch measurement, whatever it is: a GPU's blocks are not its own.
	struct measured cpu = {.count = 0};
	err = measured_compare(&cpu, MEASUREMENT_SHA384, &m, &why);
	ok("no CPU's measurements", err == -EBADMSG && strstr(why.text, "manifest"), "%d %s", err, why.text);
}

int main(void)
{
	struct suite s;
	X509 *leaves[2];
	recorded_load_all();
	if (suite_set(&s, ASYM_P384, HASH_SHA384, 0, 0))
		abort();
	for (size_t i = 0; i < 2; i++)
		leaves[i] = test_chain(&recorded[i], &s);
	for (size_t i = 0; i < 2 && leaves[0] && leaves[1]; i++)
		test_answer(&recorded[i], &s, leaves[i], leaves[!i]);
	X509_free(leaves[0]);
	X509_free(leaves[1]);
	recorded_free();
	return ok_failed != 0;
}
