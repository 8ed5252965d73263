// SPDX-License-Identifier: Apache-2.0
// See tpm_command.h. Secrets on the stack are wiped.
#include "lib/tpm_command.h"

#include <errno.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define CC_CREATE_PRIMARY 0x131u
#define CC_FLUSH 0x165u
#define RH_NULL 0x40000007u
#define RS_PW 0x40000009u
#define ROOM_TRIES 20	// for two seconds
#define TPM_SECRET_MAX 128

#define RC_EXCLUSIVE 0x121u
#define RC_NV_UNINITIALIZED 0x14au
#define RC_SESSION_MEMORY 0x903u
#define RC_HANDLE 0x08bu // format 1, without the number of the handle
#define RC_AUTH_FAIL 0x08eu
#define RC_BAD_AUTH 0x0a2u

int tpm_altered(const struct tpm *t, struct fault *f)
{
	return fault_set(f, -EPROTO, "the TPM at %s does not answer like one, or its answer was altered on the way", t->where);
}

static int no_crypto(struct fault *f) { return fault_set(f, -EIO, "OpenSSL cannot do what a TPM session needs"); }

static void hmac(const uint8_t *key, size_t n, const struct tpm_out *text, uint8_t mac[32])
{
	unsigned int len = 32;
	HMAC(EVP_sha256(), key, (int)n, text->b, text->n, mac, &len);
}

// KDFa of part 1, 11.4.9.2, for 256 bits.
static void kdfa(const uint8_t *key, size_t n, const char *label, const uint8_t u[32], const uint8_t v[32], uint8_t out[32])
{
	struct tpm_out o = {.n = 0};
	tpm_put32(&o, 1);
	tpm_put(&o, label, strlen(label) + 1);
	tpm_put(&o, u, 32);
	tpm_put(&o, v, 32);
	tpm_put32(&o, 256);
	hmac(key, n, &o, out);
}

static uint32_t code_of(uint32_t rc) { return rc & 0x80 ? rc & 0xbf : rc; }

static int refused(const struct tpm *t, const char *what, uint32_t rc, struct fault *f)
{
	switch (code_of(rc)) {
	case RC_HANDLE: return fault_set(f, -ENOENT, "the TPM at %s has nothing there (%s)", t->where, what);
	case RC_AUTH_FAIL:
	case RC_BAD_AUTH: return fault_set(f, -EACCES, "the TPM at %s takes another secret (%s)", t->where, what);
	case RC_EXCLUSIVE: return fault_set(f, -ESTALE, "somebody else used the TPM at %s in between", t->where);
	case RC_SESSION_MEMORY: return fault_set(f, -ENOBUFS, "the TPM at %s has no room for another session: others hold theirs. Use its resource manager "
							 "(device:/dev/tpmrm0), or take away what nobody needs (tpm2_flushcontext --loaded-session)", t->where);
	case RC_NV_UNINITIALIZED: return fault_set(f, -ENODATA, "nothing was written into the TPM at %s yet", t->where);
	default: return fault_set(f, -EIO, "the TPM at %s refuses %s: code 0x%x", t->where, what, rc);
	}
}

int tpm_send(struct tpm *t, const char *what, struct tpm_out *c, uint8_t answer[TPM_MAX], struct tpm_in *a, struct fault *f)
{
	for (unsigned int tries = 0;; tries++) {
		size_t len = 0;
		c->b[2] = c->b[3] = 0;
		c->b[4] = (uint8_t)(c->n >> 8);
		c->b[5] = (uint8_t)c->n;
		int err = t->transmit(t, c->b, c->n, answer, &len, f);
		if (err)
			return err;
		*a = (struct tpm_in){answer, answer + len, false};
		unsigned int tag = tpm_take16(a);
		uint32_t size = tpm_take32(a), rc = tpm_take32(a);
		if (a->bad || size != len || (!rc && tag != ((unsigned int)c->b[0] << 8 | c->b[1])))
			return tpm_altered(t, f);
		bool busy = rc == 0x908 || rc == 0x90a || rc == 0x920 || rc == 0x922; // yielded, testing, NV rate, retry
		if (!rc || !busy || tries == 100)
			return rc ? refused(t, what, rc, f) : 0;
		nanosleep(&(struct timespec){0, 100000000}, NULL);
	}
}

void tpm_flush(struct tpm *t, uint32_t handle)
{
	uint8_t answer[TPM_MAX];
	struct fault ignored;
	struct tpm_out c;
	struct tpm_in a;
	tpm_begin(&c, NO_SESSIONS, CC_FLUSH);
	tpm_put32(&c, handle);
	tpm_send(t, "flushing", &c, answer, &a, &ignored);
}

// An ephemeral key's point, and the salt that only the holder of `to` can derive from it (KDFe of part 1, 11.4.9.3).
static int make_salt(const struct tpm_point *to, struct tpm_point *ephemeral, uint8_t salt[32], struct fault *f)
{
	EC_GROUP *g = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	EC_POINT *p = g ? EC_POINT_new(g) : NULL, *q = g ? EC_POINT_new(g) : NULL;
	BIGNUM *k = BN_secure_new(), *x = BN_bin2bn(to->x, 32, NULL), *y = BN_bin2bn(to->y, 32, NULL);
	struct tpm_out o = {.n = 0};
	uint8_t z[32];
	int err = p && q && k && x && y && EC_POINT_set_affine_coordinates(g, p, x, y, NULL) && // checks that it is on the curve
				  BN_priv_rand_range(k, EC_GROUP_get0_order(g)) && !BN_is_zero(k) && EC_POINT_mul(g, q, k, NULL, NULL, NULL) &&
				  EC_POINT_get_affine_coordinates(g, q, x, y, NULL) && BN_bn2binpad(x, ephemeral->x, 32) == 32 &&
				  BN_bn2binpad(y, ephemeral->y, 32) == 32 && EC_POINT_mul(g, q, NULL, p, k, NULL) &&
				  EC_POINT_get_affine_coordinates(g, q, x, NULL, NULL) && BN_bn2binpad(x, z, 32) == 32
			  ? 0
			  : no_crypto(f);
	if (!err) {
		tpm_put32(&o, 1);
		tpm_put(&o, z, 32);
		tpm_put(&o, "SECRET", 7);
		tpm_put(&o, ephemeral->x, 32);
		tpm_put(&o, to->x, 32);
		SHA256(o.b, o.n, salt);
	}
	OPENSSL_cleanse(z, sizeof z);
	OPENSSL_cleanse(&o, sizeof o);
	BN_clear_free(k);
	BN_clear_free(x);
	BN_clear_free(y);
	EC_POINT_clear_free(q);
	EC_POINT_free(p);
	EC_GROUP_free(g);
	return err;
}

int tpm_session_start(struct tpm *t, struct tpm_session *s, unsigned int kind, uint32_t salt_key, const struct tpm_point *to, const uint8_t *auth,
		      struct fault *f)
{
	uint8_t answer[TPM_MAX], salt[32];
	struct tpm_point e;
	struct tpm_out c;
	struct tpm_in a;
	size_t n;
	memset(s, 0, sizeof *s);
	s->auth = auth;
	int err = RAND_bytes(s->caller, sizeof s->caller) == 1 && RAND_bytes(s->next, sizeof s->next) == 1 ? 0 : no_crypto(f);
	if (!err && to)
		err = make_salt(to, &e, salt, f);
	if (err)
		return err;
	tpm_begin(&c, NO_SESSIONS, CC_START_SESSION);
	tpm_put32(&c, to ? salt_key : RH_NULL);
	tpm_put32(&c, RH_NULL);
	tpm_put2b(&c, s->caller, sizeof s->caller);
	tpm_put16(&c, to ? 2 * (2 + 32) : 0);
	if (to) {
		tpm_put2b(&c, e.x, 32);
		tpm_put2b(&c, e.y, 32);
	}
	tpm_put8(&c, kind);
	tpm_put16(&c, to ? ALG_AES : ALG_NULL);
	if (to) {
		tpm_put16(&c, 128);
		tpm_put16(&c, ALG_CFB);
	}
	tpm_put16(&c, ALG_SHA256);
	err = tpm_send(t, "starting a session", &c, answer, &a, f);
	for (int tries = 0; err == -ENOBUFS && tries < ROOM_TRIES; tries++) { // others' sessions are theirs: it may be that they end
		nanosleep(&(struct timespec){0, 100000000}, NULL);
		err = tpm_send(t, "starting a session", &c, answer, &a, f);
	}
	if (err)
		goto out;
	s->handle = tpm_take32(&a);
	const uint8_t *nonce = tpm_take2b(&a, &n);
	if (a.bad || n != sizeof s->tpm) {
		err = tpm_altered(t, f);
		goto out;
	}
	memcpy(s->tpm, nonce, n);
	if (to) {
		kdfa(salt, 32, "ATH", s->tpm, s->caller, s->key);
		s->key_len = 32;
	}
out:
	OPENSSL_cleanse(salt, sizeof salt);
	return err;
}

// The session's MAC over a hash of the command or the answer.
static void session_mac(const struct tpm_session *s, const uint8_t hash[32], const uint8_t newer[32], const uint8_t older[32], unsigned int attributes,
			uint8_t mac[32])
{
	uint8_t key[64];
	struct tpm_out o = {.n = 0};
	memcpy(key, s->key, s->key_len);
	if (s->auth)
		memcpy(key + s->key_len, s->auth, TPM_AUTH_BYTES);
	tpm_put(&o, hash, 32);
	tpm_put(&o, newer, 32);
	tpm_put(&o, older, 32);
	tpm_put8(&o, attributes);
	hmac(key, s->key_len + (s->auth ? TPM_AUTH_BYTES : 0), &o, mac);
	OPENSSL_cleanse(key, sizeof key);
}

int tpm_call(struct tpm *t, struct tpm_session *s, const struct tpm_call *q, uint8_t answer[TPM_MAX], struct tpm_in *a, struct fault *f)
{
	uint8_t hash[32], mac[32];
	struct tpm_out c, o = {.n = 0};
	tpm_put32(&o, q->cc);
	tpm_put(&o, q->names->b, q->names->n);
	tpm_put(&o, q->params->b, q->params->n);
	SHA256(o.b, o.n, hash);
	session_mac(s, hash, s->next, s->tpm, q->attributes, mac);
	tpm_begin(&c, SESSIONS, q->cc);
	for (unsigned int k = 0; k < q->handles; k++)
		tpm_put32(&c, q->handle[k]);
	tpm_put32(&c, (q->owner_first ? 9 : 0) + 4 + 2 + 32 + 1 + 2 + 32);
	if (q->owner_first) {
		tpm_put32(&c, RS_PW);
		tpm_put16(&c, 0);
		tpm_put8(&c, SESSION_CONTINUE);
		tpm_put16(&c, 0);
	}
	tpm_put32(&c, s->handle);
	tpm_put2b(&c, s->next, 32);
	tpm_put8(&c, q->attributes);
	tpm_put2b(&c, mac, 32);
	tpm_put(&c, q->params->b, q->params->n);
	memcpy(s->caller, s->next, 32);
	if (RAND_bytes(s->next, sizeof s->next) != 1)
		return no_crypto(f);
	int err = tpm_send(t, q->what, &c, answer, a, f);
	if (err)
		return err;
	// parameters, then the sessions: the answer counts only if ours is right
	size_t n = tpm_take32(a), nonce_len, mac_len;
	const uint8_t *params = tpm_take(a, n);
	if (q->owner_first) {
		size_t none;
		tpm_take2b(a, &none);
		tpm_take8(a);
		tpm_take2b(a, &none);
	}
	const uint8_t *nonce = tpm_take2b(a, &nonce_len);
	unsigned int attributes = tpm_take8(a);
	const uint8_t *got = tpm_take2b(a, &mac_len);
	if (a->bad || nonce_len != 32 || mac_len != 32 || a->p != a->end)
		return tpm_altered(t, f);
	memcpy(s->tpm, nonce, 32);
	o.n = 0;
	tpm_put32(&o, 0);
	tpm_put32(&o, q->cc);
	tpm_put(&o, params, n);
	SHA256(o.b, o.n, hash);
	session_mac(s, hash, s->tpm, s->caller, attributes, mac);
	if (CRYPTO_memcmp(mac, got, 32))
		return tpm_altered(t, f);
	*a = (struct tpm_in){params, params + n, false};
	return 0;
}

int tpm_call_plain(struct tpm *t, const char *what, uint32_t cc, const uint32_t *handles, unsigned int count, const struct tpm_out *params,
		      uint8_t answer[TPM_MAX], struct tpm_in *a, struct fault *f)
{
	struct tpm_out c;
	tpm_begin(&c, SESSIONS, cc);
	for (unsigned int k = 0; k < count; k++)
		tpm_put32(&c, handles[k]);
	tpm_put32(&c, 9);
	tpm_put32(&c, RS_PW);
	tpm_put16(&c, 0);
	tpm_put8(&c, SESSION_CONTINUE);
	tpm_put16(&c, 0);
	tpm_put(&c, params->b, params->n);
	return tpm_send(t, what, &c, answer, a, f);
}

static int crypt_first(const struct tpm_session *s, const uint8_t newer[32], const uint8_t older[32], bool encrypt, uint8_t *secret, size_t n,
		       struct fault *f)
{
	uint8_t key[32], from[TPM_SECRET_MAX];
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int k = 0;
	bool done = n <= sizeof from;
	kdfa(s->key, s->key_len, "CFB", newer, older, key);
	memcpy(from, secret, done ? n : 0);
	done = done && c && EVP_CipherInit_ex(c, EVP_aes_128_cfb128(), NULL, key, key + 16, encrypt) && EVP_CipherUpdate(c, secret, &k, from, (int)n) &&
	       k == (int)n;
	EVP_CIPHER_CTX_free(c);
	OPENSSL_cleanse(key, sizeof key);
	OPENSSL_cleanse(from, sizeof from);
	return done ? 0 : no_crypto(f);
}

int tpm_encrypt_first(const struct tpm_session *s, uint8_t *secret, size_t n, struct fault *f)
{
	return crypt_first(s, s->next, s->tpm, true, secret, n, f);
}

int tpm_decrypt_first(const struct tpm_session *s, uint8_t *secret, size_t n, struct fault *f)
{
	return crypt_first(s, s->tpm, s->caller, false, secret, n, f);
}

void tpm_session_end(struct tpm *t, struct tpm_session *s, bool there)
{
	if (there && s->handle)
		tpm_flush(t, s->handle);
	OPENSSL_cleanse(s, sizeof *s);
}

int tpm_primary(struct tpm *t, const char *what, uint32_t hierarchy, uint32_t attributes, const uint8_t policy[32], uint32_t *handle,
		struct tpm_point *to, uint8_t name[TPM_NAME_BYTES], struct fault *f)
{
	static const uint8_t zero[32];
	uint8_t answer[TPM_MAX];
	struct tpm_out key = {.n = 0}, params = {.n = 0};
	struct tpm_in a;
	size_t n, x, y;
	tpm_put16(&key, ALG_ECC);
	tpm_put16(&key, ALG_SHA256);
	tpm_put32(&key, attributes);
	tpm_put2b(&key, policy, policy ? 32 : 0);
	tpm_put16(&key, ALG_AES);
	tpm_put16(&key, 128);
	tpm_put16(&key, ALG_CFB);
	tpm_put16(&key, ALG_NULL);
	tpm_put16(&key, ECC_P256);
	tpm_put16(&key, ALG_NULL);
	tpm_put2b(&key, zero, 32);
	tpm_put2b(&key, zero, 32);
	tpm_put16(&params, 4);
	tpm_put32(&params, 0); // no secret, no data
	tpm_put2b(&params, key.b, key.n);
	tpm_put16(&params, 0);
	tpm_put32(&params, 0);
	int err = tpm_call_plain(t, what, CC_CREATE_PRIMARY, (const uint32_t[]){hierarchy}, 1, &params, answer, &a, f);
	if (err)
		return err;
	*handle = tpm_take32(&a);
	tpm_take32(&a);
	const uint8_t *public = tpm_take2b(&a, &n);
	if (a.bad || n != key.n || memcmp(public, key.b, key.n - 2 * (2 + 32))) {
		tpm_flush(t, *handle);
		return fault_set(f, -EPROTO, "the TPM at %s makes another key than was asked for (%s)", t->where, what);
	}
	struct tpm_in u = {public + n - 2 * (2 + 32), public + n, false};
	memcpy(to->x, tpm_take2b(&u, &x), 32);
	memcpy(to->y, tpm_take2b(&u, &y), 32);
	name[0] = ALG_SHA256 >> 8;
	name[1] = ALG_SHA256;
	SHA256(public, n, name + 2);
	if (x == 32 && y == 32)
		return 0;
	tpm_flush(t, *handle);
	return tpm_altered(t, f);
}
