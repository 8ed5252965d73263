// SPDX-License-Identifier: Apache-2.0
// See tpm_credential.h. Secrets on the stack are wiped.
#include "attest/tpm_credential.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <string.h>

#include "attest/bytes.h"
#include "attest/tpm.h"

enum { FIXED_TPM = 1u << 1, FIXED_PARENT = 1u << 4, ORIGIN = 1u << 5, RESTRICTED = 1u << 16, DECRYPT = 1u << 17, SIGN = 1u << 18 };

static uint8_t *be16(uint8_t *p, size_t v)
{
	*p++ = (uint8_t)(v >> 8);
	*p++ = (uint8_t)v;
	return p;
}

int tpm_public_read(const uint8_t *bytes, size_t len, struct tpm_public *p, struct fault *f)
{
	bool wrapped = len > 2 && load_be(bytes, 2) == len - 2;
	struct cursor area = wrapped ? cursor_of(bytes + 2, len - 2) : cursor_of(bytes, len), c = area;
	memset(p, 0, sizeof *p);
	if (len > 2 && (bytes[0] == 0x30 || bytes[0] == '-'))
		return fault_set(f, -EINVAL, "a bare key, which says nothing about its use: send the TPM's public area");
	cursor_be(&c, 2);
	uint16_t alg = (uint16_t)cursor_be(&c, 2);
	p->attributes = (uint32_t)cursor_be(&c, 4);
	size_t size = digest_size(alg);
	if (c.short_of || !size || alg == TPM_SHA1)
		return fault_set(f, -EINVAL, "not a TPM's public area");
	p->key = tpm_key_read(bytes, len, f);
	if (!p->key)
		return -EINVAL;
	be16(p->name, alg);
	p->name_len = 2 + size;
	if (digest_two(alg, area.p, area.left, "", 0, p->name + 2))
		return 0;
	tpm_public_free(p);
	return fault_set(f, -ENOMEM, "out of memory");
}

void tpm_public_free(struct tpm_public *p)
{
	EVP_PKEY_free(p->key);
	p->key = NULL;
}

int tpm_public_attests(const struct tpm_public *p, struct fault *f)
{
	static const struct { uint32_t bit; const char *lack; } wanted[] = {
		{FIXED_TPM | FIXED_PARENT, "a key that can be copied to another TPM"}, {ORIGIN, "a key that was made outside of the TPM"},
		{RESTRICTED, "a key that signs anything, and so a quote that nobody made"}, {SIGN, "a key that signs nothing"},
	};
	for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
		if ((p->attributes & wanted[i].bit) != wanted[i].bit)
			return fault_set(f, -EBADMSG, "%s", wanted[i].lack);
	}
	return p->attributes & DECRYPT ? fault_set(f, -EBADMSG, "a key that decrypts as well") : 0;
}

int tpm_ek_certified(const struct cert_list *certificates, X509 *const *roots, unsigned int root_count, const struct cert_revocation *revocation, time_t now,
		     EVP_PKEY **ek, struct fault *f)
{
	X509 *chain[5];
	unsigned int count;
	bool known = false;
	int err = cert_order_under(certificates, roots, root_count, chain, 5, &count, &known, f);
	if (err)
		return err;
	if (!known)
		return fault_set(f, -EBADMSG, "a certificate under a root that is not known");
	if (!cert_has_usage(chain[0], "2.23.133.8.1") || cert_is_authority(chain[0]))
		return fault_set(f, -EBADMSG, "a certificate for another use than endorsement (tcg-kp-EKCertificate)");
	for (unsigned int i = 0; !err && i < count; i++)
		err = cert_dates(chain[i], now, f);
	*ek = X509_get0_pubkey(chain[0]);
	return err ? err : cert_chain_revoked(revocation, chain, count, now, f);
}

// What TCG's profile of endorsement keys fixes by the kind of key.
struct profile {
	const char *curve;	// NULL: RSA
	const EVP_MD *hash;
	const EVP_CIPHER *cipher;
	size_t digest, key, half;
};

static bool profile_of(EVP_PKEY *ek, struct profile *p)
{
	char group[32] = "";
	bool large = false, rsa = EVP_PKEY_is_a(ek, "RSA");
	if (rsa) {
		large = EVP_PKEY_get_bits(ek) == 3072;
		if (!large && EVP_PKEY_get_bits(ek) != 2048)
			return false;
	} else {
		if (!EVP_PKEY_is_a(ek, "EC") || EVP_PKEY_get_group_name(ek, group, sizeof group, NULL) != 1)
			return false;
		large = !strcmp(group, "secp384r1");
		if (!large && strcmp(group, "prime256v1"))
			return false;
	}
	*p = large ? (struct profile){rsa ? NULL : "P-384", EVP_sha384(), EVP_aes_256_cfb128(), 48, 32, 48}
		   : (struct profile){rsa ? NULL : "P-256", EVP_sha256(), EVP_aes_128_cfb128(), 32, 16, 32};
	return true;
}

// KDFa (part 1, 11.4.9.2) and KDFe (11.4.9.3): at most one digest is ever wanted of either.
static bool kdfa(const struct profile *p, const uint8_t *key, const char *label, const uint8_t *u, size_t u_len, size_t bits, uint8_t *out)
{
	uint8_t text[128 + DIGEST_MAX] = {0, 0, 0, 1}, digest[DIGEST_MAX];
	size_t n = 4, k = strlen(label) + 1;
	unsigned int len = 0;
	memcpy(text + n, label, k);
	n += k;
	memcpy(text + n, u, u_len);
	n += u_len;
	n = (size_t)(be16(be16(text + n, 0), bits) - text);
	bool ok = HMAC(p->hash, key, (int)p->digest, text, n, digest, &len) != NULL;
	memcpy(out, digest, bits / 8);
	OPENSSL_cleanse(digest, sizeof digest);
	return ok;
}

static bool kdfe(const struct profile *p, const uint8_t *z, const uint8_t *u, const uint8_t *v, uint8_t *out)
{
	uint8_t text[4 + 48 + 9 + 48 + 48] = {0, 0, 0, 1};
	uint8_t *q = mempcpy(text + 4, z, p->half);
	q = mempcpy(mempcpy(mempcpy(q, "IDENTITY", 9), u, p->half), v, p->half);
	bool ok = EVP_Digest(text, (size_t)(q - text), out, NULL, p->hash, NULL) == 1;
	OPENSSL_cleanse(text, sizeof text);
	return ok;
}

static bool seed_to_rsa(EVP_PKEY *ek, const struct profile *p, uint8_t *seed, struct tpm_challenge *c)
{
	size_t len = sizeof c->secret - 2;
	uint8_t *label = OPENSSL_memdup("IDENTITY", 9);	// with its zero; the context takes it over
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(ek, NULL);
	bool ok = label && ctx && RAND_bytes(seed, (int)p->digest) == 1 && EVP_PKEY_encrypt_init(ctx) == 1 &&
		  EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_PKCS1_OAEP_PADDING) == 1 && EVP_PKEY_CTX_set_rsa_oaep_md(ctx, p->hash) == 1 &&
		  EVP_PKEY_CTX_set_rsa_mgf1_md(ctx, p->hash) == 1;
	if (ok && EVP_PKEY_CTX_set0_rsa_oaep_label(ctx, label, 9) == 1)
		label = NULL;
	ok = ok && !label && EVP_PKEY_encrypt(ctx, c->secret + 2, &len, seed, p->digest) == 1;
	be16(c->secret, len);
	c->secret_len = len + 2;
	OPENSSL_free(label);
	EVP_PKEY_CTX_free(ctx);
	return ok;
}

static bool point_of(EVP_PKEY *key, size_t half, uint8_t *xy)
{
	BIGNUM *x = NULL, *y = NULL;
	bool ok = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &x) == 1 && EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &y) == 1 &&
		  BN_bn2binpad(x, xy, (int)half) == (int)half && BN_bn2binpad(y, xy + half, (int)half) == (int)half;
	BN_free(x);
	BN_free(y);
	return ok;
}

static bool seed_to_ec(EVP_PKEY *ek, const struct profile *p, uint8_t *seed, struct tpm_challenge *c)
{
	uint8_t own[96], theirs[96], z[48];
	size_t len = sizeof z;
	EVP_PKEY *ephemeral = EVP_EC_gen(p->curve);
	EVP_PKEY_CTX *ctx = ephemeral ? EVP_PKEY_CTX_new(ephemeral, NULL) : NULL;
	bool ok = ctx && EVP_PKEY_derive_init(ctx) == 1 && EVP_PKEY_derive_set_peer(ctx, ek) == 1 && EVP_PKEY_derive(ctx, z, &len) == 1 &&
		  len == p->half && point_of(ephemeral, p->half, own) && point_of(ek, p->half, theirs) && kdfe(p, z, own, theirs, seed);
	if (ok) {
		uint8_t *q = be16(c->secret, 2 * (2 + p->half));
		q = mempcpy(be16(q, p->half), own, p->half);
		q = mempcpy(be16(q, p->half), own + p->half, p->half);
		c->secret_len = (size_t)(q - c->secret);
	}
	OPENSSL_cleanse(z, sizeof z);
	EVP_PKEY_CTX_free(ctx);
	EVP_PKEY_free(ephemeral);
	return ok;
}

// The credential encrypted, and its MAC over that and the name, before it.
static bool seal(const struct profile *p, const uint8_t *seed, const uint8_t *name, size_t name_len, const uint8_t *credential, struct tpm_challenge *c)
{
	static const uint8_t iv[16];
	uint8_t key[32], mac_key[48], plain[2 + TPM_CREDENTIAL_BYTES], text[sizeof plain + 2 + DIGEST_MAX];
	uint8_t *mac = c->blob + 4, *body = mac + p->digest;
	unsigned int mac_len = 0;
	int n = 0;
	memcpy(be16(plain, TPM_CREDENTIAL_BYTES), credential, TPM_CREDENTIAL_BYTES);
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	bool ok = ctx && kdfa(p, seed, "STORAGE", name, name_len, 8 * p->key, key) && kdfa(p, seed, "INTEGRITY", name, 0, 8 * p->digest, mac_key) &&
		  EVP_EncryptInit_ex(ctx, p->cipher, NULL, key, iv) == 1 && EVP_EncryptUpdate(ctx, body, &n, plain, sizeof plain) == 1 &&
		  n == sizeof plain;
	memcpy(mempcpy(text, body, sizeof plain), name, name_len);
	ok = ok && HMAC(p->hash, mac_key, (int)p->digest, text, sizeof plain + name_len, mac, &mac_len) && mac_len == p->digest;
	be16(be16(c->blob, 2 + p->digest + sizeof plain), p->digest);
	c->blob_len = 4 + p->digest + sizeof plain;
	EVP_CIPHER_CTX_free(ctx);
	OPENSSL_cleanse(key, sizeof key);
	OPENSSL_cleanse(mac_key, sizeof mac_key);
	OPENSSL_cleanse(plain, sizeof plain);
	return ok;
}

int tpm_credential_make(EVP_PKEY *ek, const uint8_t *name, size_t name_len, const uint8_t credential[TPM_CREDENTIAL_BYTES], struct tpm_challenge *c,
			struct fault *f)
{
	uint8_t seed[48];
	struct profile p;
	if (name_len > 2 + DIGEST_MAX)
		return fault_set(f, -EINVAL, "a name of %zu bytes", name_len);
	if (!profile_of(ek, &p))
		return fault_set(f, -EINVAL, "an endorsement key of another kind than RSA 2048 or 3072, P-256 or P-384");
	bool ok = (p.curve ? seed_to_ec(ek, &p, seed, c) : seed_to_rsa(ek, &p, seed, c)) && seal(&p, seed, name, name_len, credential, c);
	OPENSSL_cleanse(seed, sizeof seed);
	ERR_clear_error();
	return ok ? 0 : fault_set(f, -EIO, "OpenSSL cannot make a credential");
}
