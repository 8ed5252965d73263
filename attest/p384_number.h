// SPDX-License-Identifier: Apache-2.0
// Inside attest/p384.c and its test: numbers modulo the prime and the order of P-384, six words, the least first, in Montgomery's form (times 2^384).
// All are below their modulus. Nothing secret is computed with: what takes how long tells nothing. Pure.
#ifndef COFFER_ATTEST_P384_NUMBER_H
#define COFFER_ATTEST_P384_NUMBER_H

#include <immintrin.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define P384_WORDS 6
// So that words stay in registers.
#define UNROLL _Pragma("GCC unroll 6")

struct number {
	uint64_t w[P384_WORDS];
};

struct modulus {
	uint64_t w[P384_WORDS];
	uint64_t inverse;	// -1/w[0] modulo 2^64
	struct number one, square;	// 2^384 and 2^768, modulo this
};

// 2^384 - 2^128 - 2^96 + 2^32 - 1
static const struct modulus p384_prime = {
	.w = {0x00000000ffffffff, 0xffffffff00000000, 0xfffffffffffffffe, 0xffffffffffffffff, 0xffffffffffffffff, 0xffffffffffffffff},
	.inverse = 0x0000000100000001,
	.one = {{0xffffffff00000001, 0x00000000ffffffff, 0x0000000000000001}},
	.square = {{0xfffffffe00000001, 0x0000000200000000, 0xfffffffe00000000, 0x0000000200000000, 0x0000000000000001}},
};

static const struct modulus p384_order = {
	.w = {0xecec196accc52973, 0x581a0db248b0a77a, 0xc7634d81f4372ddf, 0xffffffffffffffff, 0xffffffffffffffff, 0xffffffffffffffff},
	.inverse = 0x6ed46089e88fdc45,
	.one = {{0x1313e695333ad68d, 0xa7e5f24db74f5885, 0x389cb27e0bc8d220}},
	.square = {{0x2d319b2419b409a9, 0xff3d81e5df1aa419, 0xbc3e483afcb82947, 0xd40d49174aab1cc5, 0x3fb05b7a28266895, 0x0c84ee012b39bf21}},
};

// a - b into out; true when that is below zero (then out is 2^384 more).
static inline bool number_minus(uint64_t out[P384_WORDS], const uint64_t a[P384_WORDS], const uint64_t b[P384_WORDS])
{
	unsigned long long d;
	unsigned char borrow = 0;
	UNROLL
	for (int i = 0; i < P384_WORDS; i++) {
		borrow = _subborrow_u64(borrow, a[i], b[i], &d);
		out[i] = d;
	}
	return borrow;
}

static inline bool number_is_zero(const struct number *a)
{
	return !(a->w[0] | a->w[1] | a->w[2] | a->w[3] | a->w[4] | a->w[5]);
}

static inline bool number_same(const struct number *a, const struct number *b)
{
	return !memcmp(a->w, b->w, sizeof a->w);
}

static inline void number_sub(struct number *out, const struct number *a, const struct number *b, const struct modulus *m)
{
	uint64_t t[P384_WORDS], below = number_minus(t, a->w, b->w) ? UINT64_MAX : 0;
	unsigned long long sum;
	unsigned char carry = 0;
	UNROLL
	for (int i = 0; i < P384_WORDS; i++) {
		carry = _addcarry_u64(carry, t[i], m->w[i] & below, &sum);
		out->w[i] = sum;
	}
}

// a - (m - b)
static inline void number_add(struct number *out, const struct number *a, const struct number *b, const struct modulus *m)
{
	struct number t;
	number_minus(t.w, m->w, b->w);
	number_sub(out, a, &t, m);
}

// Three words of a sum of products: a * b more.
static inline void number_more(unsigned __int128 *sum, uint64_t *top, uint64_t a, uint64_t b)
{
	*top += __builtin_add_overflow(*sum, (unsigned __int128)a * b, sum);
}

// a * b / 2^384, a column after the other: with it as many times the modulus (k, a word a column) as makes the lower half zero.
static inline void number_mul(struct number *out, const struct number *a, const struct number *b, const struct modulus *m)
{
	uint64_t k[P384_WORDS], t[P384_WORDS], less[P384_WORDS], top = 0, keep;
	unsigned __int128 sum = 0;
	UNROLL
	for (int i = 0; i < P384_WORDS; i++) {
		UNROLL
		for (int j = 0; j <= i; j++)
			number_more(&sum, &top, a->w[j], b->w[i - j]);
		UNROLL
		for (int j = 0; j < i; j++)
			number_more(&sum, &top, k[j], m->w[i - j]);
		k[i] = (uint64_t)sum * m->inverse;
		number_more(&sum, &top, k[i], m->w[0]);
		sum = sum >> 64 | (unsigned __int128)top << 64;
		top = 0;
	}
	UNROLL
	for (int i = P384_WORDS; i < 2 * P384_WORDS - 1; i++) {
		UNROLL
		for (int j = i - P384_WORDS + 1; j < P384_WORDS; j++)
			number_more(&sum, &top, a->w[j], b->w[i - j]);
		UNROLL
		for (int j = i - P384_WORDS + 1; j < P384_WORDS; j++)
			number_more(&sum, &top, k[j], m->w[i - j]);
		t[i - P384_WORDS] = (uint64_t)sum;
		sum = sum >> 64 | (unsigned __int128)top << 64;
		top = 0;
	}
	t[P384_WORDS - 1] = (uint64_t)sum;
	// Below twice the modulus; the bit above its words is what is left of the sum.
	keep = number_minus(less, t, m->w) && !(sum >> 64) ? UINT64_MAX : 0;
	UNROLL
	for (int i = 0; i < P384_WORDS; i++)
		out->w[i] = (t[i] & keep) | (less[i] & ~keep);
}

// 1/a by a^(m - 2), four bits of which at a time. Zero stays zero.
static inline void number_invert(struct number *out, const struct number *a, const struct modulus *m)
{
	static const uint64_t two[P384_WORDS] = {2};
	struct number powers[16], r = m->one;
	uint64_t e[P384_WORDS];
	number_minus(e, m->w, two);
	powers[0] = m->one;
	for (int i = 1; i < 16; i++)
		number_mul(&powers[i], &powers[i - 1], a, m);
	for (int i = 64 * P384_WORDS - 4; i >= 0; i -= 4) {
		for (int k = 0; k < 4; k++)
			number_mul(&r, &r, &r, m);
		number_mul(&r, &r, &powers[e[i / 64] >> i % 64 & 15], m);
	}
	*out = r;
}

// From 48 bytes, big-endian, not in Montgomery's form. False when it is not below the modulus.
static inline bool number_read(struct number *out, const uint8_t *bytes, const struct modulus *m)
{
	uint64_t less[P384_WORDS];
	for (int i = 0; i < P384_WORDS; i++) {
		uint64_t v = 0;
		for (int k = 0; k < 8; k++)
			v = v << 8 | bytes[8 * (P384_WORDS - 1 - i) + k];
		out->w[i] = v;
	}
	return number_minus(less, out->w, m->w);
}

#endif
