// SPDX-License-Identifier: Apache-2.0
// SHA-256, HMAC and HKDF. Touches nothing but its arguments; takes no locks.
#include "seal/sha256.h"

static const u32 round_k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

struct sha {
	u32 h[8];
	u8 buf[64];
	u64 len;
};

static u32 ror(u32 x, int n) { return x >> n | x << (32 - n); }

static u32 load_be(const u8 *p) { return (u32)p[0] << 24 | (u32)p[1] << 16 | (u32)p[2] << 8 | p[3]; }

static void store_be(u8 *p, u32 v)
{
	p[0] = (u8)(v >> 24);
	p[1] = (u8)(v >> 16);
	p[2] = (u8)(v >> 8);
	p[3] = (u8)v;
}

static void sha_block(struct sha *s, const u8 *p)
{
	u32 w[64], v[8];
	for (int i = 0; i < 16; i++)
		w[i] = load_be(p + 4 * i);
	for (int i = 16; i < 64; i++) {
		u32 a = w[i - 15], b = w[i - 2];
		w[i] = w[i - 16] + (ror(a, 7) ^ ror(a, 18) ^ a >> 3) + w[i - 7] + (ror(b, 17) ^ ror(b, 19) ^ b >> 10);
	}
	memcpy(v, s->h, sizeof v);
	for (int i = 0; i < 64; i++) {
		u32 t1 = v[7] + (ror(v[4], 6) ^ ror(v[4], 11) ^ ror(v[4], 25)) + ((v[4] & v[5]) ^ (~v[4] & v[6])) +
			 round_k[i] + w[i];
		u32 t2 = (ror(v[0], 2) ^ ror(v[0], 13) ^ ror(v[0], 22)) +
			 ((v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]));
		memmove(v + 1, v, 7 * sizeof v[0]);
		v[4] += t1;
		v[0] = t1 + t2;
	}
	for (int i = 0; i < 8; i++)
		s->h[i] += v[i];
	explicit_bzero(w, sizeof w);
	explicit_bzero(v, sizeof v);
}

static void sha_init(struct sha *s)
{
	static const u32 h0[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
				  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
	memcpy(s->h, h0, sizeof h0);
	s->len = 0;
}

static void sha_add(struct sha *s, const void *data, size_t n)
{
	const u8 *p = data;
	while (n) {
		size_t at = s->len % 64, k = SEAL_MIN(64 - at, n);
		memcpy(s->buf + at, p, k);
		s->len += k;
		p += k;
		n -= k;
		if (s->len % 64 == 0)
			sha_block(s, s->buf);
	}
}

static void sha_end(struct sha *s, u8 out[32])
{
	u64 bits = s->len * 8;
	u8 tail[8], pad = 0x80;
	sha_add(s, &pad, 1);
	for (pad = 0; s->len % 64 != 56;)
		sha_add(s, &pad, 1);
	store_be(tail, (u32)(bits >> 32));
	store_be(tail + 4, (u32)bits);
	sha_add(s, tail, 8);
	for (int i = 0; i < 8; i++)
		store_be(out + 4 * i, s->h[i]);
	explicit_bzero(s, sizeof *s);
}

void seal_sha256(const struct seal_bytes *in, u32 n, u8 out[32])
{
	struct sha s;
	sha_init(&s);
	for (u32 i = 0; i < n; i++)
		sha_add(&s, in[i].p, in[i].n);
	sha_end(&s, out);
}

void seal_hmac256(const u8 *key, size_t key_len, const struct seal_bytes *in, u32 n, u8 out[32])
{
	u8 pad[64] = {0};
	struct sha s;
	if (key_len > 64)
		seal_sha256(&(struct seal_bytes){key, key_len}, 1, pad);
	else if (key_len)
		memcpy(pad, key, key_len);
	for (int i = 0; i < 64; i++)
		pad[i] ^= 0x36;
	sha_init(&s);
	sha_add(&s, pad, 64);
	for (u32 i = 0; i < n; i++)
		sha_add(&s, in[i].p, in[i].n);
	sha_end(&s, out);
	for (int i = 0; i < 64; i++)
		pad[i] ^= 0x36 ^ 0x5c;
	sha_init(&s);
	sha_add(&s, pad, 64);
	sha_add(&s, out, 32);
	sha_end(&s, out);
	explicit_bzero(pad, sizeof pad);
}

void seal_hkdf_extract(const void *salt, size_t salt_len, const void *ikm, size_t ikm_len, u8 prk[32])
{
	seal_hmac256(salt, salt_len, &(struct seal_bytes){ikm, ikm_len}, 1, prk);
}

void seal_hkdf_expand(const u8 prk[32], const char *purpose, const void *context, size_t context_len, u8 *out, size_t n)
{
	u8 t[32], one = 1;
	struct seal_bytes in[] = {{purpose, strlen(purpose) + 1}, {context, context_len}, {&one, 1}};
	seal_hmac256(prk, 32, in, 3, t);
	memcpy(out, t, SEAL_MIN(n, sizeof t));
	explicit_bzero(t, sizeof t);
}
