// SPDX-License-Identifier: Apache-2.0
// See diag.h. Recursive, for texts that tests write themselves.
#include "tests/attest/make/diag.h"

#include <ctype.h>
#include <openssl/ecdsa.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static void head(struct diag *o, int major, uint64_t v)
{
	int n = v < 24 ? 0 : v < 256 ? 1 : v < 65536 ? 2 : v >> 32 ? 8 : 4;
	if (o->n + 9 > DIAG_MAX)
		abort();
	o->b[o->n++] = (uint8_t)(major << 5 | (n == 0 ? (int)v : n == 1 ? 24 : n == 2 ? 25 : n == 4 ? 26 : 27));
	for (int i = n - 1; i >= 0; i--)
		o->b[o->n++] = (uint8_t)(v >> 8 * i);
}

static void bytes(struct diag *o, int major, const void *p, size_t len)
{
	head(o, major, len);
	if (o->n + len > DIAG_MAX)
		abort();
	memcpy(o->b + o->n, p, len);
	o->n += len;
}

static void space(const char **p)
{
	for (;; ++*p) {
		while (isspace((unsigned char)**p))
			++*p;
		if (**p != '/')
			return;
		*p = strchr(*p + 1, '/');
		if (!*p)
			abort();
	}
}

static bool next(const char **p, char c)
{
	space(p);
	if (**p != c)
		return false;
	++*p;
	return true;
}

static void item(struct diag *o, const char **p);

// Items up to `end`, which come before the head that counts them.
static void several(struct diag *o, const char **p, char end, int major)
{
	struct diag *in = calloc(1, sizeof *in);
	uint64_t count = 0;
	while (in && !next(p, end)) {
		item(in, p);
		if (major == 5) {
			if (!next(p, ':'))
				abort();
			item(in, p);
		}
		count++;
		next(p, ',');
	}
	if (!in)
		abort();
	head(o, major, count);
	if (o->n + in->n > DIAG_MAX)
		abort();
	memcpy(o->b + o->n, in->b, in->n);
	o->n += in->n;
	free(in);
}

static void hex(struct diag *o, const char **p)
{
	uint8_t b[1024];
	size_t n = 0;
	for (; **p != '\''; ++*p) {
		if (isspace((unsigned char)**p))
			continue;
		if (!isxdigit((unsigned char)**p) || n == 2 * sizeof b)
			abort();
		uint8_t v = (uint8_t)(isdigit((unsigned char)**p) ? **p - '0' : tolower((unsigned char)**p) - 'a' + 10);
		b[n / 2] = (uint8_t)(n % 2 ? b[n / 2] | v : v << 4);
		n++;
	}
	++*p;
	bytes(o, 2, b, n / 2);
}

static void number(struct diag *o, const char **p)
{
	bool negative = next(p, '-');
	char *end;
	uint64_t v = strtoull(*p, &end, 10);
	if (end == *p)
		abort();
	*p = end;
	if (!negative && next(p, '(')) {
		head(o, 6, v);
		item(o, p);
		if (!next(p, ')'))
			abort();
		return;
	}
	head(o, negative ? 1 : 0, negative ? v - 1 : v);
}

static void item(struct diag *o, const char **p)
{
	static const struct { const char *word; uint8_t byte; } words[] = {{"false", 0xf4}, {"true", 0xf5}, {"null", 0xf6}};
	if (next(p, '{')) {
		several(o, p, '}', 5);
	} else if (next(p, '[')) {
		several(o, p, ']', 4);
	} else if (next(p, '"')) {
		const char *end = strchr(*p, '"');
		bytes(o, 3, *p, (size_t)(end - *p));
		*p = end + 1;
	} else if (!strncmp(*p, "h'", 2)) {
		*p += 2;
		hex(o, p);
	} else if (!strncmp(*p, "<<", 2)) {
		struct diag *in = calloc(1, sizeof *in);
		*p += 2;
		if (!in)
			abort();
		item(in, p);
		if (!next(p, '>') || !next(p, '>'))
			abort();
		bytes(o, 2, in->b, in->n);
		free(in);
	} else {
		for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
			if (!strncmp(*p, words[i].word, strlen(words[i].word))) {
				o->b[o->n++] = words[i].byte;
				*p += strlen(words[i].word);
				return;
			}
		}
		number(o, p);
	}
}

void diag_make(struct diag *out, const char *text)
{
	out->n = 0;
	item(out, &text);
	space(&text);
	if (*text)
		abort();
}

void diag_sign(struct diag *out, const char *header, const struct diag *payload, EVP_PKEY *key)
{
	struct diag protected, m = {.n = 0};
	uint8_t der[128], raw[96];
	size_t len = sizeof der, half = EVP_PKEY_get_bits(key) == 256 ? 32 : 48;
	diag_make(&protected, header);
	head(&m, 4, 4);
	bytes(&m, 3, "Signature1", 10);
	bytes(&m, 2, protected.b, protected.n);
	bytes(&m, 2, "", 0);
	bytes(&m, 2, payload->b, payload->n);
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	const uint8_t *p = der;
	if (EVP_DigestSignInit(md, NULL, half == 32 ? EVP_sha256() : EVP_sha384(), NULL, key) != 1 || EVP_DigestSign(md, der, &len, m.b, m.n) != 1)
		abort();
	ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)len);
	if (!sig || BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, (int)half) < 0 || BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + half, (int)half) < 0)
		abort();
	ECDSA_SIG_free(sig);
	EVP_MD_CTX_free(md);
	out->n = 0;
	head(out, 6, 18);
	head(out, 4, 4);
	bytes(out, 2, protected.b, protected.n);
	head(out, 5, 0);
	bytes(out, 2, payload->b, payload->n);
	bytes(out, 2, raw, 2 * half);
}
