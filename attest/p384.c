// SPDX-License-Identifier: Apache-2.0
// See p384.h. A signature is good when the point u1 G + u2 Q has the abscissa r, with u1 = e/s and u2 = r/s. Both factors are cut in four pieces of
// 96 bits, which have their own multiples of G and Q in tables (2^96 G, 2^192 G...), so that 96 doublings do for all of them together. Each piece is
// written with odd digits of both signs (w-NAF), most of them zero.
// Points are added in Jacobian form (X/Z^2, Y/Z^3) to such of tables, which have Z = 1; every special case of adding is looked at, as whoever makes a
// key and a signature may choose them so that it comes up.
#include "attest/p384.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <pthread.h>
#include <stdlib.h>

#include "attest/p384_number.h"
#include "attest/shared_cache.h"

#define PIECES 4
#define PIECE_BITS (384 / PIECES)
#define DIGITS (PIECE_BITS + 1)
// Odd multiples in a table, of keys and of G: 1, 3, 5... 2^(width - 1) - 1.
#define KEY_WIDTH 5
#define BASE_WIDTH 7
#define MULTIPLES(width) (1u << ((width) - 2))

struct affine {
	struct number x, y;
};

struct jacobian {
	struct number x, y, z;	// z zero: the point at infinity
};

// One prepared for many checks, which costs as much as two of them.
struct p384_key {
	struct affine table[PIECES][MULTIPLES(KEY_WIDTH)];
};

static const struct number curve_b = {{0x081188719d412dcc, 0xf729add87a4c32ec, 0x77f2209b1920022e, 0xe3374bee94938ae2, 0xb62b21f41f022094, 0xcd08114b604fbff9}};
static const struct affine base_point = {
	{{0x3dd0756649c0b528, 0x20e378e2a0d6ce38, 0x879c3afc541b4d6e, 0x6454868459a30eff, 0x812ff723614ede2b, 0x4d3aadc2299e1513}},
	{{0x23043dad4b03a4fe, 0xa1bfa8bf7bb4a9ac, 0x8bade7562e83b050, 0xc6c3521968f4ffd9, 0xdd8002263969a840, 0x2b78abc25a15c5e9}},
};

static void mul(struct number *out, const struct number *a, const struct number *b)
{
	number_mul(out, a, b, &p384_prime);
}

static void add(struct number *out, const struct number *a, const struct number *b)
{
	number_add(out, a, b, &p384_prime);
}

static void sub(struct number *out, const struct number *a, const struct number *b)
{
	number_sub(out, a, b, &p384_prime);
}

// With a = -3. Infinity stays it, and no point of an odd order has y = 0.
static void point_double(struct jacobian *p)
{
	struct number delta, gamma, beta, alpha, t, u;
	mul(&delta, &p->z, &p->z);
	mul(&gamma, &p->y, &p->y);
	mul(&beta, &p->x, &gamma);
	sub(&t, &p->x, &delta);
	add(&u, &p->x, &delta);
	mul(&alpha, &t, &u);
	add(&t, &alpha, &alpha);
	add(&alpha, &alpha, &t);	// 3 (x - z^2) (x + z^2)
	add(&u, &p->y, &p->z);
	mul(&u, &u, &u);
	sub(&u, &u, &gamma);
	sub(&p->z, &u, &delta);		// 2 y z
	add(&beta, &beta, &beta);
	add(&beta, &beta, &beta);	// 4 x y^2
	mul(&p->x, &alpha, &alpha);
	sub(&p->x, &p->x, &beta);
	sub(&p->x, &p->x, &beta);
	sub(&t, &beta, &p->x);
	mul(&t, &alpha, &t);
	mul(&gamma, &gamma, &gamma);
	for (int i = 0; i < 3; i++)
		add(&gamma, &gamma, &gamma);	// 8 y^4
	sub(&p->y, &t, &gamma);
}

// p + q, or p - q.
static void point_add(struct jacobian *p, const struct affine *q, bool minus)
{
	static const struct number zero;
	struct number y = q->y, zz, u, s, h, r, hh, v;
	if (minus)
		sub(&y, &zero, &q->y);
	if (number_is_zero(&p->z)) {
		*p = (struct jacobian){q->x, y, p384_prime.one};
		return;
	}
	mul(&zz, &p->z, &p->z);
	mul(&u, &q->x, &zz);
	mul(&s, &y, &zz);
	mul(&s, &s, &p->z);
	sub(&h, &u, &p->x);
	sub(&r, &s, &p->y);
	if (number_is_zero(&h)) {
		if (number_is_zero(&r))
			point_double(p);
		else
			*p = (struct jacobian){.z = zero};
		return;
	}
	mul(&hh, &h, &h);
	mul(&v, &p->x, &hh);
	mul(&hh, &hh, &h);	// h^3
	mul(&p->z, &p->z, &h);
	mul(&p->x, &r, &r);
	sub(&p->x, &p->x, &hh);
	sub(&p->x, &p->x, &v);
	sub(&p->x, &p->x, &v);
	sub(&v, &v, &p->x);
	mul(&v, &v, &r);
	mul(&hh, &hh, &p->y);
	sub(&p->y, &v, &hh);
}

// All with Z = 1, by one inversion: of the product, from which each factor is taken in turn. None is infinity.
static void make_affine(const struct jacobian *in, struct affine *out, unsigned int count)
{
	struct number product = p384_prime.one, inverse, z;
	for (unsigned int i = 0; i < count; i++) {
		out[i].x = product;	// of those before
		mul(&product, &product, &in[i].z);
	}
	number_invert(&inverse, &product, &p384_prime);
	while (count--) {
		mul(&z, &inverse, &out[count].x);
		mul(&inverse, &inverse, &in[count].z);
		mul(&product, &z, &z);
		mul(&out[count].x, &in[count].x, &product);
		mul(&product, &product, &z);
		mul(&out[count].y, &in[count].y, &product);
	}
}

// The odd multiples of q, of 2^96 q, 2^192 q and 2^288 q. The order is prime and larger than all of these factors: no infinity comes up.
static void make_table(const struct affine *q, struct affine *table, unsigned int multiples)
{
	struct jacobian p[PIECES * MULTIPLES(BASE_WIDTH)];
	struct affine first[2 * PIECES];	// of each piece: the point and its double
	p[0] = (struct jacobian){q->x, q->y, p384_prime.one};
	for (int i = 0; i < PIECES; i++) {
		p[2 * i + 1] = p[2 * i];
		point_double(&p[2 * i + 1]);
		if (i == PIECES - 1)
			break;
		p[2 * i + 2] = p[2 * i + 1];
		for (int k = 1; k < PIECE_BITS; k++)
			point_double(&p[2 * i + 2]);
	}
	make_affine(p, first, 2 * PIECES);
	for (unsigned int i = 0; i < PIECES; i++) {
		struct jacobian *to = p + i * multiples;
		to[0] = (struct jacobian){first[2 * i].x, first[2 * i].y, p384_prime.one};
		for (unsigned int k = 1; k < multiples; k++) {
			to[k] = to[k - 1];
			point_add(&to[k], &first[2 * i + 1], false);
		}
	}
	make_affine(p, table, PIECES * multiples);
}

static struct affine base_table[PIECES * MULTIPLES(BASE_WIDTH)];

static void make_base(void)
{
	make_table(&base_point, base_table, MULTIPLES(BASE_WIDTH));
}

// One piece of a factor: digits[i] times 2^i, odd or zero, at most `width` bits with the sign.
static void recode(const struct number *factor, int piece, int width, int8_t digits[DIGITS])
{
	unsigned __int128 v = 0;
	for (int bit = PIECE_BITS - 1; bit >= 0; bit--) {
		int at = piece * PIECE_BITS + bit;
		v = v << 1 | (factor->w[at / 64] >> at % 64 & 1);
	}
	for (int i = 0; i < DIGITS; i++, v >>= 1) {
		int d = 0;
		if (v & 1) {
			d = (int)(v & ((1u << width) - 1));
			d -= d >> (width - 1) << width;
			v -= (unsigned __int128)(__int128)d;
		}
		digits[i] = (int8_t)d;
	}
}

static void add_digit(struct jacobian *p, const struct affine *odd, int digit)
{
	if (digit)
		point_add(p, &odd[(digit < 0 ? -digit : digit) / 2], digit < 0);
}

// u1 G + u2 Q, the factors not in Montgomery's form.
static void combine(struct jacobian *p, const struct number *u1, const struct number *u2, const struct p384_key *k)
{
	int8_t base[PIECES][DIGITS], key[PIECES][DIGITS];
	for (int i = 0; i < PIECES; i++) {
		recode(u1, i, BASE_WIDTH, base[i]);
		recode(u2, i, KEY_WIDTH, key[i]);
	}
	*p = (struct jacobian){.z = {{0}}};
	for (int bit = DIGITS - 1; bit >= 0; bit--) {
		point_double(p);
		for (unsigned int i = 0; i < PIECES; i++) {
			add_digit(p, base_table + i * MULTIPLES(BASE_WIDTH), base[i][bit]);
			add_digit(p, k->table[i], key[i][bit]);
		}
	}
}

static bool is_good(const struct p384_key *k, const uint8_t rs[2 * P384_BYTES], const uint8_t digest[P384_BYTES])
{
	const struct modulus *n = &p384_order;
	struct number r, s, e, u1, u2, t, zz;
	struct jacobian p;
	uint64_t rest[P384_WORDS];
	if (!number_read(&r, rs, n) || !number_read(&s, rs + P384_BYTES, n) || number_is_zero(&r) || number_is_zero(&s))
		return false;
	if (!number_read(&e, digest, n))
		number_minus(e.w, e.w, n->w);
	number_mul(&s, &s, &n->square, n);
	number_invert(&s, &s, n);
	number_mul(&u1, &e, &s, n);	// one of two is in Montgomery's form: the product is not
	number_mul(&u2, &r, &s, n);
	combine(&p, &u1, &u2, k);
	if (number_is_zero(&p.z))
		return false;
	// x = r, or r + n where that is below the prime: without dividing by z^2.
	mul(&zz, &p.z, &p.z);
	mul(&t, &r, &p384_prime.square);
	mul(&t, &t, &zz);
	if (number_same(&t, &p.x))
		return true;
	number_minus(rest, p384_prime.w, n->w);
	if (!number_minus(rest, r.w, rest))
		return false;
	memcpy(t.w, n->w, sizeof t.w);
	add(&r, &r, &t);
	mul(&t, &r, &p384_prime.square);
	mul(&t, &t, &zz);
	return number_same(&t, &p.x);
}

// y^2 = x^3 - 3 x + b
static bool is_on_curve(const struct affine *q)
{
	struct number left, right, t;
	mul(&left, &q->y, &q->y);
	mul(&right, &q->x, &q->x);
	mul(&right, &right, &q->x);
	add(&t, &q->x, &q->x);
	add(&t, &t, &q->x);
	sub(&right, &right, &t);
	add(&right, &right, &curve_b);
	return number_same(&left, &right);
}

// The bytes of a coordinate, whatever form the key's certificate has it in.
static bool coordinate(EVP_PKEY *key, const char *name, uint8_t out[P384_BYTES])
{
	BIGNUM *n = NULL;
	bool ok = EVP_PKEY_get_bn_param(key, name, &n) == 1 && BN_bn2binpad(n, out, P384_BYTES) == P384_BYTES;
	BN_free(n);
	return ok;
}

static struct p384_key *key_new(const uint8_t xy[2 * P384_BYTES])
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct affine q;
	if (!number_read(&q.x, xy, &p384_prime) || !number_read(&q.y, xy + P384_BYTES, &p384_prime))
		return NULL;
	mul(&q.x, &q.x, &p384_prime.square);
	mul(&q.y, &q.y, &p384_prime.square);
	struct p384_key *k = is_on_curve(&q) ? malloc(sizeof *k) : NULL;
	if (!k)
		return NULL;
	pthread_once(&once, make_base);
	make_table(&q, k->table[0], MULTIPLES(KEY_WIDTH));
	return k;
}

bool p384_verify(EVP_PKEY *key, const uint8_t rs[2 * P384_BYTES], const uint8_t digest[P384_BYTES])
{
	static struct shared_cache keys = SHARED_CACHE_INIT;
	uint8_t xy[2 * P384_BYTES];
	if (!coordinate(key, OSSL_PKEY_PARAM_EC_PUB_X, xy) || !coordinate(key, OSSL_PKEY_PARAM_EC_PUB_Y, xy + P384_BYTES))
		return false;
	const struct shared_part part = {xy, sizeof xy};
	struct shared_entry *e = shared_get(&keys, &part, 1);
	struct p384_key *made = e ? NULL : key_new(xy);
	if (made)
		e = shared_put(&keys, &part, 1, made, free);
	if (!e) {
		free(made);
		return false;
	}
	bool ok = is_good(shared_object(e), rs, digest);
	if (ok)
		shared_prove(e);
	shared_release(e);
	return ok;
}
