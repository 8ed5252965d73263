// SPDX-License-Identifier: Apache-2.0
// See cbor.h; docs/dependencies.md says why this is not a library. The fuzz target fuzz_cca drives it.
#include "attest/cbor.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attest/ecdsa.h"

// A head: major type in the upper three bits, then a number of 0, 1, 2, 4 or 8 bytes. Floats, simple values but true, false and null, and
// indefinite lengths are refused.
bool cbor_read(struct cursor *c, struct cbor *v)
{
	static const enum cbor_kind kinds[] = {CBOR_UINT, CBOR_NEGATIVE, CBOR_BYTES, CBOR_TEXT, CBOR_ARRAY, CBOR_MAP, CBOR_TAG};
	const uint8_t *head = cursor_take(c, 1);
	memset(v, 0, sizeof *v);
	if (!head)
		return false;
	unsigned int major = *head >> 5, low = *head & 31;
	if (low > 27 || (major == 7 && (low < 20 || low > 22)))
		goto bad;
	v->n = low < 24 ? low : cursor_be(c, (size_t)1 << (low - 24));
	if (major == 7) {
		v->kind = low == 22 ? CBOR_NULL : CBOR_BOOL;
		v->n = low == 21;
		return true;
	}
	if (c->short_of || ((major == 2 || major == 3) && v->n > c->left))
		goto bad;
	v->kind = kinds[major];
	if (major == 2 || major == 3) {
		v->len = (size_t)v->n;
		v->bytes = cursor_take(c, v->len);
	}
	return true;
bad:
	c->short_of = true;
	v->kind = CBOR_NONE;
	return false;
}

bool cbor_skip(struct cursor *c)
{
	struct cbor v;
	for (uint64_t todo = 1; todo; todo--) {
		if (!cbor_read(c, &v))
			return false;
		// Each item takes a byte at least.
		if ((v.kind == CBOR_ARRAY || v.kind == CBOR_MAP) && v.n > c->left) {
			c->short_of = true;
			return false;
		}
		todo += v.kind == CBOR_ARRAY ? v.n : v.kind == CBOR_MAP ? 2 * v.n : v.kind == CBOR_TAG;
	}
	return true;
}

bool cbor_find(struct cursor c, uint64_t pairs, int64_t key, struct cursor *value)
{
	bool found = false;
	for (; pairs; pairs--) {
		struct cursor at = c;
		struct cbor k;
		if (!cbor_read(&at, &k) || !cbor_skip(&c))
			return false;
		bool ours = key >= 0 ? k.kind == CBOR_UINT && k.n == (uint64_t)key : k.kind == CBOR_NEGATIVE && k.n == (uint64_t)(-1 - key);
		if (ours && found)
			return false;
		if (ours) {
			*value = c;
			found = true;
		}
		if (!cbor_skip(&c))
			return false;
	}
	return found;
}

bool cbor_find_kind(struct cursor c, uint64_t pairs, int64_t key, enum cbor_kind kind, struct cbor *v)
{
	struct cursor at;
	memset(v, 0, sizeof *v);
	return cbor_find(c, pairs, key, &at) && cbor_read(&at, v) && v->kind == kind;
}

int cose_read(const uint8_t *bytes, size_t len, struct cose_sign1 *s, struct fault *f)
{
	struct cursor c = cursor_of(bytes, len), head;
	struct cbor v, alg;
	memset(s, 0, sizeof *s);
	cbor_read(&c, &v);
	if (v.kind == CBOR_TAG && v.n == 18)
		cbor_read(&c, &v);
	if (v.kind != CBOR_ARRAY || v.n != 4)
		return fault_set(f, -EINVAL, "not a COSE_Sign1");
	if (!cbor_read(&c, &s->protected) || s->protected.kind != CBOR_BYTES)
		return fault_set(f, -EINVAL, "a COSE_Sign1 that is malformed");
	head = c;	// of headers that nothing protects, and nobody reads
	if (!cbor_read(&head, &v) || v.kind != CBOR_MAP || !cbor_skip(&c) || !cbor_read(&c, &s->payload) ||
	    s->payload.kind != CBOR_BYTES || !cbor_read(&c, &s->signature) || s->signature.kind != CBOR_BYTES || c.left)
		return fault_set(f, -EINVAL, "a COSE_Sign1 that is malformed");
	head = cursor_of(s->protected.bytes, s->protected.len);
	if (!cbor_read(&head, &v) || v.kind != CBOR_MAP || !cbor_find_kind(head, v.n, 1, CBOR_NEGATIVE, &alg) || alg.n > 1000)
		return fault_set(f, -EINVAL, "a COSE_Sign1 without algorithm");
	s->alg = -1 - (int64_t)alg.n;
	return 0;
}

size_t cbor_head(uint8_t *out, unsigned int major, uint64_t n)
{
	if (n < 24) {
		out[0] = (uint8_t)(major << 5 | n);
		return 1;
	}
	unsigned int log = n < 1u << 8 ? 0 : n < 1u << 16 ? 1 : n < 1ull << 32 ? 2 : 3, bytes = 1u << log;
	out[0] = (uint8_t)(major << 5 | (24 + log));
	for (unsigned int i = 0; i < bytes; i++)
		out[1 + i] = (uint8_t)(n >> 8 * (bytes - 1 - i));
	return 1 + bytes;
}

bool cose_ok(const struct cose_sign1 *s, EVP_PKEY *key)
{
	static const uint8_t begin[] = "\x84\x6aSignature1";
	size_t half = s->alg == -7 ? 32 : s->alg == -35 ? 48 : 0, n = sizeof begin - 1;
	if (!half || !key || s->signature.len != 2 * half || s->payload.len > 1 << 20 || s->protected.len > 1 << 10)
		return false;
	uint8_t *m = malloc(n + s->protected.len + s->payload.len + 16);
	if (!m)
		return false;
	memcpy(m, begin, n);
	n += cbor_head(m + n, 2, s->protected.len);
	memcpy(m + n, s->protected.bytes, s->protected.len);
	n += s->protected.len;
	m[n++] = 0x40;	// nothing beside it
	n += cbor_head(m + n, 2, s->payload.len);
	memcpy(m + n, s->payload.bytes, s->payload.len);
	n += s->payload.len;
	bool ok = ecdsa_ok(key, s->signature.bytes, half, m, n);
	free(m);
	return ok;
}
