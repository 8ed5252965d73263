// SPDX-License-Identifier: Apache-2.0
// AES-256-GCM over libIPSec_MB's assembly (Debian libipsec-mb-dev): only the four routines below are linked, for the
// best of three instruction sets that this CPU has. NIST SP 800-38D; 96-bit nonces, 128-bit tags.
// Callers outside vector context bracket calls with fpu_begin/fpu_end.
#pragma once
#include "seal/port.h"

struct gcm_key {
	u8 data[1088]; // the library's struct gcm_key_data: round keys and powers of the hash key
} __attribute__((aligned(64)));
struct gcm_ctx {
	u8 data[256]; // the library's struct gcm_context_data: scratch of one call
} __attribute__((aligned(64)));

// Chooses the implementation. -ENOSYS: the CPU has no AES-NI and PCLMULQDQ.
int gcm_init(void);
const char *gcm_impl(void); // "vaes-avx512", "avx2" or "sse"
void gcm_key_set(struct gcm_key *k, const u8 key[32]);
void gcm_encrypt(const struct gcm_key *k, struct gcm_ctx *c, void *out, const void *in, size_t n, const u8 nonce[12],
		 const void *aad, size_t aad_len, u8 tag[16]);
// Decrypts and compares the tag in constant time. On -EBADMSG `out` is wiped.
int gcm_decrypt(const struct gcm_key *k, struct gcm_ctx *c, void *out, const void *in, size_t n, const u8 nonce[12],
		const void *aad, size_t aad_len, const u8 tag[16]);
