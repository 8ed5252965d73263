// SPDX-License-Identifier: Apache-2.0
// SHA-256 of equally sized blocks: with the CPU's SHA instructions two at a time (sha256_ni.c), else in plain C. Touches the vector registers
// only between pf_fpu_begin and pf_fpu_end. No locks.
#include "kernel/include/platform.h"
#include "kernel/lib/sha2.h"
#include "seal/sha256.h"

void sha256_ni_pair(const u8 *a, const u8 *b, size_t n, u8 out_a[32], u8 out_b[32]);

// CPUID leaf 7, EBX bit 29 (Intel SDM vol. 2); leaf 1, ECX bits 9 and 19: SSSE3 and SSE4.1.
static bool have_sha_ni(void)
{
	static int known; // 1 no, 2 yes
	if (!known) {
		u32 a = 7, b, c = 0, d, a1 = 1, b1, c1 = 0, d1;
		__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
		__asm__ volatile("cpuid" : "+a"(a1), "=b"(b1), "+c"(c1), "=d"(d1));
		known = (b & 1u << 29) && (c1 & 1u << 9) && (c1 & 1u << 19) ? 2 : 1;
	}
	return known == 2;
}

void sha256_blocks(const void *data, size_t len, u32 n, u8 (*out)[32])
{
	const u8 *p = data;
	if (!have_sha_ni() || len % 64) {
		for (u32 i = 0; i < n; i++) {
			struct seal_bytes one = {p + (size_t)i * len, len};
			seal_sha256(&one, 1, out[i]);
		}
		return;
	}
	pf_fpu_begin();
	u32 i = 0;
	for (; i + 1 < n; i += 2)
		sha256_ni_pair(p + (size_t)i * len, p + (size_t)(i + 1) * len, len, out[i], out[i + 1]);
	if (i < n) {
		u8 twice[32];
		sha256_ni_pair(p + (size_t)i * len, p + (size_t)i * len, len, out[i], twice);
	}
	pf_fpu_end();
}
