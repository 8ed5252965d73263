// SPDX-License-Identifier: Apache-2.0
// AES-256-GCM. Touches nothing but its arguments and the choice of implementation made once; takes no locks.
#include "seal/gcm.h"

// The library's own header needs libc headers, which the kernel has not; these are its documented prototypes
// (intel-ipsec-mb.h). tests/seal/crypt.c compares sizes and published test vectors.
typedef void pre_fn(void *key_data);
typedef void expand_fn(const void *key, void *enc_exp_keys);
typedef void crypt_fn(const void *key_data, void *ctx, void *out, const void *in, u64 len, const void *iv,
		      const void *aad, u64 aad_len, void *tag, u64 tag_len);
expand_fn aes_keyexp_256_enc_sse, aes_keyexp_256_enc_avx2, aes_keyexp_256_enc_avx512;
pre_fn aes_gcm_precomp_256_sse, aes_gcm_precomp_256_avx_gen4, aes_gcm_precomp_256_vaes_avx512;
crypt_fn aes_gcm_enc_256_sse, aes_gcm_enc_256_avx_gen4, aes_gcm_enc_256_vaes_avx512;
crypt_fn aes_gcm_dec_256_sse, aes_gcm_dec_256_avx_gen4, aes_gcm_dec_256_vaes_avx512;

#ifdef COFFER_KERNEL
// What the routines name in their argument checks; the library's own definition would pull in strerror.
int imb_errno;
const int imb_errno_types[64];
#endif

static const struct impl {
	const char *name;
	expand_fn *expand;
	pre_fn *pre;
	crypt_fn *enc, *dec;
} impls[] = {
	{"vaes-avx512", aes_keyexp_256_enc_avx512, aes_gcm_precomp_256_vaes_avx512, aes_gcm_enc_256_vaes_avx512,
	 aes_gcm_dec_256_vaes_avx512},
	{"avx2", aes_keyexp_256_enc_avx2, aes_gcm_precomp_256_avx_gen4, aes_gcm_enc_256_avx_gen4,
	 aes_gcm_dec_256_avx_gen4},
	{"sse", aes_keyexp_256_enc_sse, aes_gcm_precomp_256_sse, aes_gcm_enc_256_sse, aes_gcm_dec_256_sse},
};
static const struct impl *impl;

static void cpuid(u32 leaf, u32 r[4])
{
	__asm__("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3]) : "a"(leaf), "c"(0));
}

int gcm_init(void)
{
	u32 r[4], max, feat1, xcr = 0, d;
	if (impl)
		return 0;
	cpuid(0, r);
	max = r[0];
	cpuid(1, r);
	feat1 = r[2];
	// PCLMULQDQ, SSSE3, SSE4.1, SSE4.2, AES
	u32 need = 1u << 1 | 1u << 9 | 1u << 19 | 1u << 20 | 1u << 25;
	if ((feat1 & need) != need)
		return -ENOSYS;
	if (feat1 & 1u << 27) // OSXSAVE
		__asm__("xgetbv" : "=a"(xcr), "=d"(d) : "c"(0));
	const struct impl *best = &impls[2];
	if (max >= 7) {
		cpuid(7, r);
		bool avx2 = (xcr & 6) == 6 && r[1] & 1u << 5 && feat1 & 1u << 28 && r[1] & 1u << 8; // with BMI2
		u32 need512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31,
		    need_v = 1u << 9 | 1u << 10; // F DQ BW VL, VAES VPCLMUL
		if (avx2)
			best = &impls[1];
		if (avx2 && (xcr & 0xe6) == 0xe6 && (r[1] & need512) == need512 && (r[2] & need_v) == need_v)
			best = &impls[0];
	}
	impl = best;
	return 0;
}

const char *gcm_impl(void) { return impl ? impl->name : "none"; }

void gcm_key_set(struct gcm_key *k, const u8 key[32])
{
	impl->expand(key, k->data);
	impl->pre(k->data);
}

void gcm_encrypt(const struct gcm_key *k, struct gcm_ctx *c, void *out, const void *in, size_t n, const u8 nonce[12],
		 const void *aad, size_t aad_len, u8 tag[16])
{
	impl->enc(k->data, c->data, out, in, n, nonce, aad, aad_len, tag, 16);
}

int gcm_decrypt(const struct gcm_key *k, struct gcm_ctx *c, void *out, const void *in, size_t n, const u8 nonce[12],
		const void *aad, size_t aad_len, const u8 tag[16])
{
	u64 got[2], want[2];
	impl->dec(k->data, c->data, out, in, n, nonce, aad, aad_len, got, 16);
	memcpy(want, tag, 16);
	if ((got[0] ^ want[0]) | (got[1] ^ want[1])) {
		explicit_bzero(out, n);
		return -EBADMSG;
	}
	return 0;
}
