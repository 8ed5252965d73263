// SPDX-License-Identifier: Apache-2.0
// See gather.h.
#include "ratls/gather.h"

#include <pthread.h>

// The library's documented prototypes (intel-ipsec-mb.h), by name as in seal/gcm.c: its table of functions would link all ciphers that it has.
typedef void init_fn(const void *key_data, void *ctx, const uint8_t *nonce, const void *aad, uint64_t aad_len);
typedef void update_fn(const void *key_data, void *ctx, uint8_t *out, const uint8_t *in, uint64_t len);
typedef void finish_fn(const void *key_data, void *ctx, uint8_t *tag, uint64_t tag_len);
init_fn aes_gcm_init_256_sse, aes_gcm_init_256_avx_gen4, aes_gcm_init_256_vaes_avx512;
update_fn aes_gcm_enc_256_update_sse, aes_gcm_enc_256_update_avx_gen4, aes_gcm_enc_256_update_vaes_avx512;
finish_fn aes_gcm_enc_256_finalize_sse, aes_gcm_enc_256_finalize_avx_gen4, aes_gcm_enc_256_finalize_vaes_avx512;

// Named as gcm_impl names them: keys are not the same for all.
static const struct maker {
	const char *name;
	init_fn *init;
	update_fn *update;
	finish_fn *finish;
} makers[] = {
	{"vaes-avx512", aes_gcm_init_256_vaes_avx512, aes_gcm_enc_256_update_vaes_avx512, aes_gcm_enc_256_finalize_vaes_avx512},
	{"avx2", aes_gcm_init_256_avx_gen4, aes_gcm_enc_256_update_avx_gen4, aes_gcm_enc_256_finalize_avx_gen4},
	{"sse", aes_gcm_init_256_sse, aes_gcm_enc_256_update_sse, aes_gcm_enc_256_finalize_sse},
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const struct maker *maker;

static void choose(void)
{
	if (gcm_init())
		return;
	for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
		if (!strcmp(makers[i].name, gcm_impl()))
			maker = &makers[i];
	}
}

bool gather_ready(void)
{
	pthread_once(&once, choose);
	return maker;
}

void gather_seal(const struct gcm_key *k, uint8_t *out, const struct gather_piece *pieces, size_t count, const uint8_t nonce[12], const void *aad,
		 size_t aad_len)
{
	struct gcm_ctx c;
	maker->init(k->data, c.data, nonce, aad, aad_len);
	for (size_t i = 0; i < count; i++) {
		if (pieces[i].len)
			maker->update(k->data, c.data, out, pieces[i].bytes, pieces[i].len);
		out += pieces[i].len;
	}
	maker->finish(k->data, c.data, out, 16);
	explicit_bzero(&c, sizeof c);	// the hash, from which its key can be computed
}
