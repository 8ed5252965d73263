// SPDX-License-Identifier: Apache-2.0
// SHA-384 (FIPS 180-4) of one buffer: the enclave's measurement, once at boot. Bulk hashing is elsewhere. No locks.
#include "kernel/lib/sha2.h"
#include "kernel/include/kstring.h"

static const u64 round_k[80] = {
	0x428a2f98d728ae22ul, 0x7137449123ef65cdul, 0xb5c0fbcfec4d3b2ful, 0xe9b5dba58189dbbcul,
	0x3956c25bf348b538ul, 0x59f111f1b605d019ul, 0x923f82a4af194f9bul, 0xab1c5ed5da6d8118ul,
	0xd807aa98a3030242ul, 0x12835b0145706fbeul, 0x243185be4ee4b28cul, 0x550c7dc3d5ffb4e2ul,
	0x72be5d74f27b896ful, 0x80deb1fe3b1696b1ul, 0x9bdc06a725c71235ul, 0xc19bf174cf692694ul,
	0xe49b69c19ef14ad2ul, 0xefbe4786384f25e3ul, 0x0fc19dc68b8cd5b5ul, 0x240ca1cc77ac9c65ul,
	0x2de92c6f592b0275ul, 0x4a7484aa6ea6e483ul, 0x5cb0a9dcbd41fbd4ul, 0x76f988da831153b5ul,
	0x983e5152ee66dfabul, 0xa831c66d2db43210ul, 0xb00327c898fb213ful, 0xbf597fc7beef0ee4ul,
	0xc6e00bf33da88fc2ul, 0xd5a79147930aa725ul, 0x06ca6351e003826ful, 0x142929670a0e6e70ul,
	0x27b70a8546d22ffcul, 0x2e1b21385c26c926ul, 0x4d2c6dfc5ac42aedul, 0x53380d139d95b3dful,
	0x650a73548baf63deul, 0x766a0abb3c77b2a8ul, 0x81c2c92e47edaee6ul, 0x92722c851482353bul,
	0xa2bfe8a14cf10364ul, 0xa81a664bbc423001ul, 0xc24b8b70d0f89791ul, 0xc76c51a30654be30ul,
	0xd192e819d6ef5218ul, 0xd69906245565a910ul, 0xf40e35855771202aul, 0x106aa07032bbd1b8ul,
	0x19a4c116b8d2d0c8ul, 0x1e376c085141ab53ul, 0x2748774cdf8eeb99ul, 0x34b0bcb5e19b48a8ul,
	0x391c0cb3c5c95a63ul, 0x4ed8aa4ae3418acbul, 0x5b9cca4f7763e373ul, 0x682e6ff3d6b2b8a3ul,
	0x748f82ee5defb2fcul, 0x78a5636f43172f60ul, 0x84c87814a1f0ab72ul, 0x8cc702081a6439ecul,
	0x90befffa23631e28ul, 0xa4506cebde82bde9ul, 0xbef9a3f7b2c67915ul, 0xc67178f2e372532bul,
	0xca273eceea26619cul, 0xd186b8c721c0c207ul, 0xeada7dd6cde0eb1eul, 0xf57d4f7fee6ed178ul,
	0x06f067aa72176fbaul, 0x0a637dc5a2c898a6ul, 0x113f9804bef90daeul, 0x1b710b35131c471bul,
	0x28db77f523047d84ul, 0x32caab7b40c72493ul, 0x3c9ebe0a15c9bebcul, 0x431d67c49c100d4cul,
	0x4cc5d4becb3e42b6ul, 0x597f299cfc657e2aul, 0x5fcb6fab3ad6faecul, 0x6c44198c4a475817ul,
};

static u64 ror(u64 x, int n) { return x >> n | x << (64 - n); }

static void block(u64 h[8], const u8 *p)
{
	u64 w[80], v[8];

	for (int i = 0; i < 16; i++) {
		w[i] = 0;
		for (int b = 0; b < 8; b++)
			w[i] = w[i] << 8 | p[8 * i + b];
	}
	for (int i = 16; i < 80; i++) {
		u64 a = w[i - 15], b = w[i - 2];
		w[i] = w[i - 16] + (ror(a, 1) ^ ror(a, 8) ^ a >> 7) + w[i - 7] + (ror(b, 19) ^ ror(b, 61) ^ b >> 6);
	}
	memcpy(v, h, sizeof(v));
	for (int i = 0; i < 80; i++) {
		u64 e = v[4], a = v[0];
		u64 t1 = v[7] + (ror(e, 14) ^ ror(e, 18) ^ ror(e, 41)) + ((e & v[5]) ^ (~e & v[6])) + round_k[i] + w[i];
		u64 t2 = (ror(a, 28) ^ ror(a, 34) ^ ror(a, 39)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
		v[7] = v[6], v[6] = v[5], v[5] = v[4], v[4] = v[3] + t1;
		v[3] = v[2], v[2] = v[1], v[1] = v[0], v[0] = t1 + t2;
	}
	for (int i = 0; i < 8; i++)
		h[i] += v[i];
}

int sha384(const void *data, size_t n, u8 out[48])
{
	u64 h[8] = {
		0xcbbb9d5dc1059ed8ul, 0x629a292a367cd507ul, 0x9159015a3070dd17ul, 0x152fecd8f70e5939ul,
		0x67332667ffc00b31ul, 0x8eb44a8768581511ul, 0xdb0c2e0d64f98fa7ul, 0x47b5481dbefa4fa4ul,
	};
	const u8 *p = data;
	u8 last[256];
	size_t left = n, total;

	for (; left >= 128; left -= 128, p += 128)
		block(h, p);
	memset(last, 0, sizeof(last));
	memcpy(last, p, left);
	last[left] = 0x80;
	total = left < 112 ? 128 : 256;
	for (int b = 0; b < 8; b++)
		last[total - 1 - b] = (u8)((u64)n * 8 >> 8 * b);
	block(h, last);
	if (total == 256)
		block(h, last + 128);
	for (int i = 0; i < 48; i++)
		out[i] = (u8)(h[i / 8] >> (56 - 8 * (i % 8)));
	return 0;
}
