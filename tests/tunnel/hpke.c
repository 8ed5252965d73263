// SPDX-License-Identifier: Apache-2.0
// HPKE against the vectors of RFC 9180 appendix A (base mode), and what must be refused.
#include <errno.h>
#include <string.h>

#include "lib/encode.h"
#include "tests/attest/ok.h"
#include "tunnel/hpke.h"

struct vector {
	const char *name;
	struct hpke_suite suite;
	const char *receiver_secret, *receiver_public;	// pkRm
	const char *ephemeral_secret;			// NULL: only the receiver's side is given
	const char *enc, *sealed;			// the first message, with "Count-0"
	const char *exported[3];			// for the contexts "", 00, "TestContext"
};

static const struct vector vectors[] = {
	{"A.1.1", {HPKE_X25519, HPKE_HKDF_SHA256, HPKE_AES_128_GCM}, "4612c550263fc8ad58375df3f557aac531d26850903e55a9f23f21d8534e8ac8",
	 "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d", "52c4a758a802cd8b936eceea314432798d5baf2d7e9235dc084ab1b9cfa2f736",
	 "37fda3567bdbd628e88668c3c8d7e97d1d1253b6d4ea6d44c150f741f1bf4431",
	 "f938558b5d72f1a23810b4be2ab4f84331acc02fc97babc53a52ae8218a355a96d8770ac83d07bea87e13c512a",
	 {"3853fe2b4035195a573ffc53856e77058e15d9ea064de3e59f4961d0095250ee", "2e8f0b54673c7029649d4eb9d5e33bf1872cf76d623ff164ac185da9e88c21a5",
	  "e9e43065102c3836401bed8c3c3c75ae46be1639869391d62c61f1ec7af54931"}},
	{"A.2.1", {HPKE_X25519, HPKE_HKDF_SHA256, HPKE_CHACHA20_POLY1305}, "8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb",
	 "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a", "f4ec9b33b792c372c1d2c2063507b684ef925b8c75a42dbcbf57d63ccd381600",
	 "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a",
	 "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
	 {"4bbd6243b8bb54cec311fac9df81841b6fd61f56538a775e7c80a9f40160606e", "8c1df14732580e5501b00f82b10a1647b40713191b7c1240ac80e2b68808ba69",
	  "5acb09211139c43b3090489a9da433e8a30ee7188ba8b0a9a1ccf0c229283e53"}},
	{"A.3.1", {HPKE_P256, HPKE_HKDF_SHA256, HPKE_AES_128_GCM}, "f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2",
	 "04fe8c19ce0905191ebc298a9245792531f26f0cece2460639e8bc39cb7f706a826a779b4cf969b8a0e539c7f62fb3d30ad6aa8f80e30f1d128aafd68a2ce72ea0",
	 "4995788ef4b9d6132b249ce59a77281493eb39af373d236a1fe415cb0c2d7beb",
	 "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac98536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4",
	 "5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f9076ac232e3ab2523f39513434",
	 {"5e9bc3d236e1911d95e65b576a8a86d478fb827e8bdfe77b741b289890490d4d", "6cff87658931bda83dc857e6353efe4987a201b849658d9b047aab4cf216e796",
	  "d8f1ea7942adbba7412c6d431c62d01371ea476b823eb697e1f6e6cae1dab85a"}},
	{"A.5.1", {HPKE_P256, HPKE_HKDF_SHA256, HPKE_CHACHA20_POLY1305}, "a4d1c55836aa30f9b3fbb6ac98d338c877c2867dd3a77396d13f68d3ab150d3b",
	 "04a697bffde9405c992883c5c439d6cc358170b51af72812333b015621dc0f40bad9bb726f68a5c013806a790ec716ab8669f84f6b694596c2987cf35baba2a006", NULL,
	 "04c07836a0206e04e31d8ae99bfd549380b072a1b1b82e563c935c095827824fc1559eac6fb9e3c70cd3193968994e7fe9781aa103f5b50e934b5b2f387e381291",
	 "6469c41c5c81d3aa85432531ecf6460ec945bde1eb428cb2fedf7a29f5a685b4ccb0d057f03ea2952a27bb458b",
	 {"9b13c510416ac977b553bf1741018809c246a695f45eff6d3b0356dbefe1e660", "6c8b7be3a20a5684edecb4253619d9051ce8583baf850e0cb53c402bdcaf8ebb",
	  "477a50d804c7c51941f69b8e32fe8288386ee1a84905fe4938d58972f24ac938"}},
};

static const char info[] = "Ode on a Grecian Urn", text[] = "Beauty is truth, truth beauty";

static size_t unhex(uint8_t *out, const char *hex)
{
	size_t n = strlen(hex) / 2;
	if (hex_decode(out, n, hex))
		printf("not ok a test's own hex: %s\n", hex);
	return n;
}

static bool exports(const struct hpke *h, const struct vector *v)
{
	static const struct { const char *bytes; size_t len; } contexts[] = {{"", 0}, {"\0", 1}, {"TestContext", 11}};
	bool all = true;
	for (int i = 0; i < 3; i++) {
		uint8_t got[32], want[32];
		unhex(want, v->exported[i]);
		all &= !hpke_export(h, contexts[i].bytes, contexts[i].len, got, sizeof got) && !memcmp(got, want, 32);
	}
	return all;
}

static void test_vector(const struct vector *v)
{
	uint8_t secret[32], public[65], enc[65], want_enc[65], sealed[128], want[128], opened[128];
	char name[96];
	struct hpke h;
	size_t public_len = unhex(public, v->receiver_public), enc_len = unhex(want_enc, v->enc), sealed_len = unhex(want, v->sealed);
	unhex(secret, v->receiver_secret);
	EVP_PKEY *key = hpke_private(v->suite.kem, secret, public, public_len);
	snprintf(name, sizeof name, "hpke: %s receives", v->name);
	int err = key ? hpke_receiver(&h, &v->suite, key, want_enc, enc_len, info, strlen(info)) : -EINVAL;
	if (ok(name, !err, "%d", err)) {
		err = hpke_aead_open(&h.aead, "Count-0", 7, want, sealed_len, opened);
		snprintf(name, sizeof name, "hpke: %s opens", v->name);
		ok(name, !err && sealed_len == strlen(text) + HPKE_TAG && !memcmp(opened, text, strlen(text)), "%d", err);
		snprintf(name, sizeof name, "hpke: %s exports", v->name);
		ok(name, exports(&h, v), "other values");
		err = hpke_aead_open(&h.aead, "Count-0", 7, want, sealed_len, opened);
		snprintf(name, sizeof name, "hpke: %s opens nothing twice", v->name);
		ok(name, err == -EBADMSG, "%d", err);
		hpke_end(&h);
	}
	if (v->ephemeral_secret) {
		unhex(secret, v->ephemeral_secret);
		EVP_PKEY *ephemeral = hpke_private(v->suite.kem, secret, want_enc, enc_len), *to = hpke_public_read(v->suite.kem, public, public_len);
		err = ephemeral && to ? hpke_sender(&h, &v->suite, to, ephemeral, info, strlen(info), enc) : -EINVAL;
		snprintf(name, sizeof name, "hpke: %s sends", v->name);
		if (ok(name, !err && !memcmp(enc, want_enc, enc_len), "%d", err)) {
			err = hpke_aead_seal(&h.aead, "Count-0", 7, text, strlen(text), sealed);
			snprintf(name, sizeof name, "hpke: %s seals", v->name);
			ok(name, !err && !memcmp(sealed, want, sealed_len) && exports(&h, v), "%d", err);
			hpke_end(&h);
		}
		EVP_PKEY_free(ephemeral);
		EVP_PKEY_free(to);
	}
	EVP_PKEY_free(key);
}

// Each suite with keys of its own: a hundred messages in order, and none out of order.
static void test_round_trip(uint16_t kem, uint16_t aead)
{
	struct hpke_suite s = {kem, HPKE_HKDF_SHA256, aead};
	struct hpke a, b;
	uint8_t enc[HPKE_MAX_PUBLIC], sealed[100][64], opened[64];
	char name[96];
	EVP_PKEY *key = hpke_generate(kem);
	bool all = key && !hpke_sender(&a, &s, key, NULL, "x", 1, enc) && !hpke_receiver(&b, &s, key, enc, hpke_public_bytes(kem), "x", 1);
	for (int i = 0; all && i < 100; i++)
		all = !hpke_aead_seal(&a.aead, &i, sizeof i, text, 20, sealed[i]);
	all = all && hpke_aead_open(&b.aead, &(int){1}, sizeof(int), sealed[1], 36, opened) == -EBADMSG;
	for (int i = 0; all && i < 100; i++)
		all = !hpke_aead_open(&b.aead, &i, sizeof i, sealed[i], 36, opened) && !memcmp(opened, text, 20);
	snprintf(name, sizeof name, "hpke: a hundred messages with KEM %#x and AEAD %d", kem, aead);
	ok(name, all, "one went wrong");
	hpke_end(&a);
	hpke_end(&b);
	all = key && !hpke_receiver(&b, &s, key, enc, hpke_public_bytes(kem), "y", 1);
	snprintf(name, sizeof name, "hpke: another info is another key (KEM %#x, AEAD %d)", kem, aead);
	ok(name, all && hpke_aead_open(&b.aead, &(int){0}, sizeof(int), sealed[0], 36, opened) == -EBADMSG, "it opened");
	hpke_end(&b);
	EVP_PKEY_free(key);
}

static void test_derived(void)
{
	static const struct { const char *name; uint16_t kem; const char *ikm, *public; } pairs[] = {
		{"hpke: A.1.1's key from its secret", HPKE_X25519, "6db9df30aa07dd42ee5e8181afdb977e538f5e1fec8a06223f33f7013e525037",
		 "3948cfe0ad1ddb695d780e59077195da6c56506b027329794ab02bca80815c4d"},
		{"hpke: A.3.1's key from its secret", HPKE_P256, "668b37171f1072f3cf12ea8a236a45df23fc13b82af3609ad1e354f6ef817550",
		 "04fe8c19ce0905191ebc298a9245792531f26f0cece2460639e8bc39cb7f706a82"
		 "6a779b4cf969b8a0e539c7f62fb3d30ad6aa8f80e30f1d128aafd68a2ce72ea0"},
		{"hpke: A.3.1's other key", HPKE_P256, "4270e54ffd08d79d5928020af4686d8f6b7d35dbe470265f1f5aa22816ce860e",
		 "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac9"
		 "8536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4"},
	};
	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		uint8_t ikm[32], want[65], got[65];
		size_t n = unhex(want, pairs[i].public);
		EVP_PKEY *key = hpke_derive(pairs[i].kem, ikm, unhex(ikm, pairs[i].ikm));
		ok(pairs[i].name, key && !hpke_public_write(pairs[i].kem, key, got) && !memcmp(got, want, n), "another one");
		EVP_PKEY_free(key);
	}
}

static bool refuses(uint16_t kem, const char *hex)
{
	uint8_t bytes[128];
	EVP_PKEY *key = hpke_public_read(kem, bytes, unhex(bytes, hex));
	EVP_PKEY_free(key);
	return !key;
}

#define X_ALONE "fe8c19ce0905191ebc298a9245792531f26f0cece2460639e8bc39cb7f706a82"
#define X "04" X_ALONE
#define Y "6a779b4cf969b8a0e539c7f62fb3d30ad6aa8f80e30f1d128aafd68a2ce72ea0"
#define ALL_ONES "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

static void test_refusals(void)
{
	struct hpke h;
	struct hpke_suite s = {HPKE_X25519, HPKE_HKDF_SHA256, HPKE_AES_128_GCM};
	uint8_t zero[32] = {0}, enc[65];
	EVP_PKEY *key = hpke_generate(HPKE_X25519), *other = hpke_generate(HPKE_P256);
	static const struct { const char *name, *hex; } points[] = {
		{"hpke: a point that is not on the curve", X "6a779b4cf969b8a0e539c7f62fb3d30ad6aa8f80e30f1d128aafd68a2ce72ea1"},
		{"hpke: a coordinate that is no number below p", "04" ALL_ONES Y},
		{"hpke: the other one", X ALL_ONES},
		{"hpke: a hybrid form of a point", "06" X_ALONE Y},
		{"hpke: a compressed form of a point", "02" X_ALONE},
		{"hpke: zeros", "04" ZEROS ZEROS},
		{"hpke: the point at infinity", "00"},
	};
	ok("hpke: a key of another length", refuses(HPKE_X25519, ZEROS "00") && refuses(HPKE_X25519, "00") && refuses(HPKE_P256, X), "taken");
	for (size_t i = 0; i < sizeof points / sizeof *points; i++)
		ok(points[i].name, refuses(HPKE_P256, points[i].hex), "taken");
	ok("hpke: the point itself", !refuses(HPKE_P256, X Y), "refused");
	int err = hpke_receiver(&h, &s, key, zero, sizeof zero, "", 0);
	ok("hpke: an X25519 point of small order", err == -EBADMSG, "%d", err);
	s.kem = 0x21;
	err = hpke_sender(&h, &s, key, NULL, "", 0, enc);
	ok("hpke: an unknown KEM", err == -EINVAL, "%d", err);
	s = (struct hpke_suite){HPKE_X25519, 2, HPKE_AES_128_GCM};
	err = hpke_sender(&h, &s, key, NULL, "", 0, enc);
	ok("hpke: an unknown KDF", err == -EINVAL, "%d", err);
	s = (struct hpke_suite){HPKE_X25519, 1, 0xffff};	// export only
	err = hpke_sender(&h, &s, key, NULL, "", 0, enc);
	ok("hpke: an unknown AEAD", err == -EINVAL, "%d", err);
	s.aead = HPKE_AES_128_GCM;
	err = hpke_sender(&h, &s, other, NULL, "", 0, enc);
	ok("hpke: a receiver's key of another curve", err < 0, "%d", err);
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
}

int main(void)
{
	for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++)
		test_vector(&vectors[i]);
	for (uint16_t aead = HPKE_AES_128_GCM; aead <= HPKE_CHACHA20_POLY1305; aead++) {
		test_round_trip(HPKE_X25519, aead);
		test_round_trip(HPKE_P256, aead);
	}
	test_derived();
	test_refusals();
	return ok_failed != 0;
}
