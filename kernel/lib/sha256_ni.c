// SPDX-License-Identifier: Apache-2.0
// SHA-256 with the x86 SHA instructions, two messages interleaved: one alone leaves the unit idle half of the
// time. The only file of the kernel, but for block encryption, that is compiled for vector registers: call it between
// pf_fpu_begin and pf_fpu_end only (kernel/lib/sha256.c does).
#include "kernel/include/types.h"

typedef int v4 __attribute__((vector_size(16)));
typedef char b16 __attribute__((vector_size(16)));
typedef int v4u __attribute__((vector_size(16), aligned(1)));

static const u32 K[64] __aligned(16) = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

// State as the instructions want it: x = A B E F, y = C D G H (highest word first).
struct lane {
	v4 x, y, m[4];
};

static inline __attribute__((always_inline)) v4 swap_bytes(v4 v)
{
	return (v4)__builtin_shufflevector((b16)v, (b16)v, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
}

static inline __attribute__((always_inline)) void rounds(struct lane *l, v4 wk)
{
	v4 hi = __builtin_shufflevector(wk, wk, 2, 3, 0, 0);
	l->y = __builtin_ia32_sha256rnds2(l->y, l->x, wk);
	l->x = __builtin_ia32_sha256rnds2(l->x, l->y, hi);
}

// Message words 4i..4i+3 for i >= 4, from the four quadruples before.
static inline __attribute__((always_inline)) v4 schedule(const struct lane *l, int i)
{
	v4 a = l->m[i & 3], b = l->m[(i + 1) & 3], c = l->m[(i + 2) & 3], d = l->m[(i + 3) & 3];
	v4 t = __builtin_ia32_sha256msg1(a, b) + __builtin_shufflevector(c, d, 1, 2, 3, 4);
	return __builtin_ia32_sha256msg2(t, d);
}

static inline __attribute__((always_inline)) void start(struct lane *l)
{
	// from H0..H7 of FIPS 180-4, section 5.3.3
	l->x = (v4){(int)0x9b05688c, (int)0x510e527f, (int)0xbb67ae85, (int)0x6a09e667};
	l->y = (v4){(int)0x5be0cd19, (int)0x1f83d9ab, (int)0xa54ff53a, (int)0x3c6ef372};
}

static inline __attribute__((always_inline)) void block2(struct lane *a, struct lane *b, const u8 *p, const u8 *q)
{
	v4 ax = a->x, ay = a->y, bx = b->x, by = b->y;
#pragma GCC unroll 16
	for (int i = 0; i < 16; i++) {
		v4 k = *(const v4 *)(const void *)(K + 4 * i);
		if (i < 4) {
			a->m[i] = swap_bytes(*(const v4u *)(const void *)(p + 16 * i));
			b->m[i] = swap_bytes(*(const v4u *)(const void *)(q + 16 * i));
		} else {
			a->m[i & 3] = schedule(a, i);
			b->m[i & 3] = schedule(b, i);
		}
		rounds(a, a->m[i & 3] + k);
		rounds(b, b->m[i & 3] + k);
	}
	a->x += ax;
	a->y += ay;
	b->x += bx;
	b->y += by;
}

static inline __attribute__((always_inline)) void finish(const struct lane *l, u8 out[32])
{
	v4 lo = __builtin_shufflevector(l->x, l->y, 3, 2, 7, 6), hi = __builtin_shufflevector(l->x, l->y, 1, 0, 5, 4);
	*(v4u *)(void *)out = swap_bytes(lo);
	*(v4u *)(void *)(out + 16) = swap_bytes(hi);
}

// n: a multiple of 64.
void sha256_ni_pair(const u8 *a, const u8 *b, size_t n, u8 out_a[32], u8 out_b[32]);
void sha256_ni_pair(const u8 *a, const u8 *b, size_t n, u8 out_a[32], u8 out_b[32])
{
	u8 pad[64] = {0x80};
	struct lane la, lb;
	for (int i = 0; i < 8; i++)
		pad[63 - i] = (u8)(n * 8 >> 8 * i);
	start(&la);
	start(&lb);
	for (size_t i = 0; i < n; i += 64)
		block2(&la, &lb, a + i, b + i);
	block2(&la, &lb, pad, pad);
	finish(&la, out_a);
	finish(&lb, out_b);
}
