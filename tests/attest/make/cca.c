// SPDX-License-Identifier: Apache-2.0
// See cca.h.
#include "tests/attest/make/cca.h"

#include <string.h>

#include "tests/attest/make/pki.h"

struct out {
	uint8_t b[4096];
	size_t n;
};

static void head(struct out *o, int major, uint64_t v)
{
	int n = v < 24 ? 0 : v < 256 ? 1 : v < 65536 ? 2 : 4;
	o->b[o->n++] = (uint8_t)(major << 5 | (n == 0 ? (int)v : n == 1 ? 24 : n == 2 ? 25 : 26));
	for (int i = n - 1; i >= 0; i--)
		o->b[o->n++] = (uint8_t)(v >> 8 * i);
}

static void bytes(struct out *o, int major, const void *p, size_t len)
{
	head(o, major, len);
	memcpy(o->b + o->n, p, len);
	o->n += len;
}

static void text(struct out *o, const char *s)
{
	bytes(o, 3, s, strlen(s));
}

static void filled(struct out *o, uint64_t key, uint8_t value, size_t len)
{
	uint8_t p[64];
	memset(p, value, sizeof p);
	head(o, 0, key);
	bytes(o, 2, p, len);
}

static void sign1(struct out *o, const struct out *payload, EVP_PKEY *key, size_t half)
{
	uint8_t protected[4] = {0xa1, 0x01, half == 32 ? 0x26 : 0x38, 0x22}, rs[96];
	size_t protected_len = half == 32 ? 3 : 4;
	struct out tbs = {.n = 0};
	head(&tbs, 4, 4);
	text(&tbs, "Signature1");
	bytes(&tbs, 2, protected, protected_len);
	bytes(&tbs, 2, "", 0);
	bytes(&tbs, 2, payload->b, payload->n);
	pki_sign(key, half, tbs.b, tbs.n, rs);
	head(o, 6, 18);
	head(o, 4, 4);
	bytes(o, 2, protected, protected_len);
	head(o, 5, 0);
	bytes(o, 2, payload->b, payload->n);
	bytes(o, 2, rs, 2 * half);
}

size_t cca_make(const struct cca_spec *s, const struct cca_keys *k, const uint8_t *challenge, uint8_t *token)
{
	struct out realm = {.n = 0}, platform = {.n = 0}, key = {.n = 0}, part = {.n = 0}, all = {.n = 0};
	size_t half = s->p256 ? 32 : 48;
	EVP_PKEY *own = s->p256 ? k->rak256 : k->rak;
	uint8_t xy[96], digest[32], bound[64];
	pki_point(own, half, xy);
	if (s->cose_key) {
		head(&key, 5, 4);
		head(&key, 0, 1);
		head(&key, 0, 2);
		head(&key, 1, 0);
		head(&key, 0, s->p256 ? 1 : 2);
		head(&key, 1, 1);
		bytes(&key, 2, xy, half);
		head(&key, 1, 2);
		bytes(&key, 2, xy + half, half);
	} else {
		key.b[key.n++] = 4;
		memcpy(key.b + 1, xy, 96);
		key.n += 96;
	}
	EVP_Digest(key.b, key.n, digest, NULL, EVP_sha256(), NULL);
	head(&realm, 5, 6u + s->repeated);
	memset(bound, 0xda, sizeof bound);
	head(&realm, 0, 10);
	bytes(&realm, 2, challenge ? challenge : bound, s->challenge_len);
	if (s->repeated)
		filled(&realm, 10, 0xdb, s->challenge_len);
	head(&realm, 0, 44237);
	bytes(&realm, 2, key.b, key.n);
	filled(&realm, 44238, 0xe1, 32);
	head(&realm, 0, 44239);
	head(&realm, 4, 1);
	bytes(&realm, 2, digest, 32);
	head(&realm, 0, 44236);
	text(&realm, "sha-256");
	head(&realm, 0, 44240);
	text(&realm, s->rak_hash);
	head(&platform, 5, 4);
	head(&platform, 0, 10);
	bytes(&platform, 2, digest, 32);
	filled(&platform, 2396, 0x11, 32);
	filled(&platform, 256, 0x22, 33);
	head(&platform, 0, 2395);
	head(&platform, 0, s->lifecycle);
	head(&all, 6, 399);
	head(&all, 5, 2);
	head(&all, 0, 44234);
	sign1(&part, &platform, k->cpak, 48);
	bytes(&all, 2, part.b, part.n);
	part.n = 0;
	sign1(&part, &realm, s->other_rak ? k->other : own, s->other_rak ? 48 : half);
	head(&all, 0, 44241);
	bytes(&all, 2, part.b, part.n);
	memcpy(token, all.b, all.n);
	return all.n;
}
