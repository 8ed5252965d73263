// SPDX-License-Identifier: Apache-2.0
// See tpm.h. Answers are hostile until their HMAC is right: `struct in` reads them within bounds. Secrets on the stack are wiped.
#include "lib/tpm.h"

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

#define NO_SESSIONS 0x8001u
#define SESSIONS 0x8002u
#define CC_NV_UNDEFINE 0x122u
#define CC_NV_DEFINE 0x12au
#define CC_CREATE_PRIMARY 0x131u
#define CC_NV_WRITE 0x137u
#define CC_NV_READ 0x14eu
#define CC_FLUSH 0x165u
#define CC_START_SESSION 0x176u
#define CC_GET_RANDOM 0x17bu
#define RH_OWNER 0x40000001u
#define RH_NULL 0x40000007u
#define RS_PW 0x40000009u
#define RH_ENDORSEMENT 0x4000000bu
#define ALG_AES 0x0006u
#define ALG_SHA256 0x000bu
#define ALG_NULL 0x0010u
#define ALG_ECC 0x0023u
#define ALG_CFB 0x0043u
#define ECC_P256 0x0003u

#define SESSION_CONTINUE 0x01u
#define SESSION_EXCLUSIVE 0x02u // refused when the TPM has done anything else since this session's last command
#define SESSION_DECRYPT 0x20u
#define SESSION_AUDIT 0x80u

#define DEFINE_TRIES 20 // others use the TPM too
#define ROOM_TRIES 20	// for two seconds

// Only the secret opens it, all of it is written at once, and wrong secrets do not lock the TPM.
#define NV_AUTHWRITE (1u << 2)
#define NV_WRITEALL (1u << 12)
#define NV_AUTHREAD (1u << 18)
#define NV_NO_DA (1u << 25)
#define NV_WRITTEN (1u << 29)
#define NV_ATTRIBUTES (NV_AUTHWRITE | NV_WRITEALL | NV_AUTHREAD | NV_NO_DA)

#define RC_EXCLUSIVE 0x121u
#define RC_NV_UNINITIALIZED 0x14au
#define RC_SESSION_MEMORY 0x903u
#define RC_HANDLE 0x08bu // format 1, without the number of the handle
#define RC_AUTH_FAIL 0x08eu
#define RC_BAD_AUTH 0x0a2u

struct out {
	uint8_t b[TPM_MAX];
	size_t n;
};

struct in {
	const uint8_t *p, *end;
	bool bad;
};

struct session {
	uint32_t handle;
	uint8_t caller[32], tpm[32]; // the newest nonces of both
	uint8_t next[32];	     // the caller's for the next command
	uint8_t key[32];
	size_t key_len; // 0: not salted
	const uint8_t *auth; // of what it authorises; NULL: nothing
};

static void put(struct out *o, const void *bytes, size_t n)
{
	if (n > sizeof o->b - o->n)
		n = 0; // no command of ours is near that long
	memcpy(o->b + o->n, bytes, n);
	o->n += n;
}

static void put8(struct out *o, unsigned int v) { put(o, &(uint8_t){(uint8_t)v}, 1); }
static void put16(struct out *o, unsigned int v) { put(o, (uint8_t[]){(uint8_t)(v >> 8), (uint8_t)v}, 2); }

static void put32(struct out *o, uint32_t v)
{
	put16(o, v >> 16);
	put16(o, v & 0xffff);
}

static void put2b(struct out *o, const void *bytes, size_t n)
{
	put16(o, (unsigned int)n);
	put(o, bytes, n);
}

static const uint8_t *take(struct in *i, size_t n)
{
	static const uint8_t none[TPM_MAX];
	const uint8_t *p = i->p;
	if (i->bad || n > (size_t)(i->end - i->p)) {
		i->bad = true;
		return none;
	}
	i->p += n;
	return p;
}

static unsigned int take8(struct in *i) { return *take(i, 1); }

static unsigned int take16(struct in *i)
{
	const uint8_t *p = take(i, 2);
	return (unsigned int)p[0] << 8 | p[1];
}

static uint32_t take32(struct in *i)
{
	uint32_t high = take16(i);
	return high << 16 | take16(i);
}

// A sized piece; *n its length.
static const uint8_t *take2b(struct in *i, size_t *n)
{
	*n = take16(i);
	const uint8_t *p = take(i, *n);
	if (i->bad)
		*n = 0;
	return p;
}

static int altered(const struct tpm *t, struct fault *f)
{
	return fault_set(f, -EPROTO, "the TPM at %s does not answer like one, or its answer was altered on the way", t->where);
}

static int no_crypto(struct fault *f) { return fault_set(f, -EIO, "OpenSSL cannot do what a TPM session needs"); }

static void hmac(const uint8_t *key, size_t n, const struct out *text, uint8_t mac[32])
{
	unsigned int len = 32;
	HMAC(EVP_sha256(), key, (int)n, text->b, text->n, mac, &len);
}

// KDFa of part 1, 11.4.9.2, for 256 bits.
static void kdfa(const uint8_t *key, size_t n, const char *label, const uint8_t u[32], const uint8_t v[32], uint8_t out[32])
{
	struct out o = {.n = 0};
	put32(&o, 1);
	put(&o, label, strlen(label) + 1);
	put(&o, u, 32);
	put(&o, v, 32);
	put32(&o, 256);
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

// Sends a command whose length is still to be filled in, again while the TPM is busy. *a: what follows the answer's head.
static int send_command(struct tpm *t, const char *what, struct out *c, uint8_t answer[TPM_MAX], struct in *a, struct fault *f)
{
	for (unsigned int tries = 0;; tries++) {
		size_t len = 0;
		c->b[2] = c->b[3] = 0;
		c->b[4] = (uint8_t)(c->n >> 8);
		c->b[5] = (uint8_t)c->n;
		int err = t->transmit(t, c->b, c->n, answer, &len, f);
		if (err)
			return err;
		*a = (struct in){answer, answer + len, false};
		unsigned int tag = take16(a);
		uint32_t size = take32(a), rc = take32(a);
		if (a->bad || size != len || (!rc && tag != ((unsigned int)c->b[0] << 8 | c->b[1])))
			return altered(t, f);
		bool busy = rc == 0x908 || rc == 0x90a || rc == 0x920 || rc == 0x922; // yielded, testing, NV rate, retry
		if (!rc || !busy || tries == 100)
			return rc ? refused(t, what, rc, f) : 0;
		nanosleep(&(struct timespec){0, 100000000}, NULL);
	}
}

static void begin(struct out *c, unsigned int tag, uint32_t cc)
{
	c->n = 0;
	put16(c, tag);
	put32(c, 0);
	put32(c, cc);
}

static void flush(struct tpm *t, uint32_t handle)
{
	uint8_t answer[TPM_MAX];
	struct fault ignored;
	struct out c;
	struct in a;
	begin(&c, NO_SESSIONS, CC_FLUSH);
	put32(&c, handle);
	send_command(t, "flushing", &c, answer, &a, &ignored);
}

struct point {
	uint8_t x[32], y[32];
};

// An ephemeral key's point, and the salt that only the holder of `to` can derive from it (KDFe of part 1, 11.4.9.3).
static int make_salt(const struct point *to, struct point *ephemeral, uint8_t salt[32], struct fault *f)
{
	EC_GROUP *g = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	EC_POINT *p = g ? EC_POINT_new(g) : NULL, *q = g ? EC_POINT_new(g) : NULL;
	BIGNUM *k = BN_secure_new(), *x = BN_bin2bn(to->x, 32, NULL), *y = BN_bin2bn(to->y, 32, NULL);
	struct out o = {.n = 0};
	uint8_t z[32];
	int err = p && q && k && x && y && EC_POINT_set_affine_coordinates(g, p, x, y, NULL) && // checks that it is on the curve
				  BN_priv_rand_range(k, EC_GROUP_get0_order(g)) && !BN_is_zero(k) && EC_POINT_mul(g, q, k, NULL, NULL, NULL) &&
				  EC_POINT_get_affine_coordinates(g, q, x, y, NULL) && BN_bn2binpad(x, ephemeral->x, 32) == 32 &&
				  BN_bn2binpad(y, ephemeral->y, 32) == 32 && EC_POINT_mul(g, q, NULL, p, k, NULL) &&
				  EC_POINT_get_affine_coordinates(g, q, x, NULL, NULL) && BN_bn2binpad(x, z, 32) == 32
			  ? 0
			  : no_crypto(f);
	if (!err) {
		put32(&o, 1);
		put(&o, z, 32);
		put(&o, "SECRET", 7);
		put(&o, ephemeral->x, 32);
		put(&o, to->x, 32);
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

// An HMAC session; salted to the key `salt_key` at `to` where that is given.
static int start_session(struct tpm *t, struct session *s, uint32_t salt_key, const struct point *to, const uint8_t *auth, struct fault *f)
{
	uint8_t answer[TPM_MAX], salt[32];
	struct point e;
	struct out c;
	struct in a;
	size_t n;
	memset(s, 0, sizeof *s);
	s->auth = auth;
	int err = RAND_bytes(s->caller, sizeof s->caller) == 1 && RAND_bytes(s->next, sizeof s->next) == 1 ? 0 : no_crypto(f);
	if (!err && to)
		err = make_salt(to, &e, salt, f);
	if (err)
		return err;
	begin(&c, NO_SESSIONS, CC_START_SESSION);
	put32(&c, to ? salt_key : RH_NULL);
	put32(&c, RH_NULL);
	put2b(&c, s->caller, sizeof s->caller);
	put16(&c, to ? 2 * (2 + 32) : 0);
	if (to) {
		put2b(&c, e.x, 32);
		put2b(&c, e.y, 32);
	}
	put8(&c, 0); // HMAC
	put16(&c, to ? ALG_AES : ALG_NULL);
	if (to) {
		put16(&c, 128);
		put16(&c, ALG_CFB);
	}
	put16(&c, ALG_SHA256);
	err = send_command(t, "starting a session", &c, answer, &a, f);
	for (int tries = 0; err == -ENOBUFS && tries < ROOM_TRIES; tries++) { // others' sessions are theirs: it may be that they end
		nanosleep(&(struct timespec){0, 100000000}, NULL);
		err = send_command(t, "starting a session", &c, answer, &a, f);
	}
	if (err)
		goto out;
	s->handle = take32(&a);
	const uint8_t *nonce = take2b(&a, &n);
	if (a.bad || n != sizeof s->tpm) {
		err = altered(t, f);
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
static void session_mac(const struct session *s, const uint8_t hash[32], const uint8_t newer[32], const uint8_t older[32], unsigned int attributes,
			uint8_t mac[32])
{
	uint8_t key[64];
	struct out o = {.n = 0};
	memcpy(key, s->key, s->key_len);
	if (s->auth)
		memcpy(key + s->key_len, s->auth, TPM_AUTH_BYTES);
	put(&o, hash, 32);
	put(&o, newer, 32);
	put(&o, older, 32);
	put8(&o, attributes);
	hmac(key, s->key_len + (s->auth ? TPM_AUTH_BYTES : 0), &o, mac);
	OPENSSL_cleanse(key, sizeof key);
}

struct call {
	const char *what;
	uint32_t cc, handle[2];
	unsigned int handles;
	const struct out *names, *params;
	bool owner_first; // an empty password for the first handle comes before the session
	unsigned int attributes;
};

// A command under a session. *a: the answer's parameters, which are authentic.
static int call_with(struct tpm *t, struct session *s, const struct call *q, uint8_t answer[TPM_MAX], struct in *a, struct fault *f)
{
	uint8_t hash[32], mac[32];
	struct out c, o = {.n = 0};
	put32(&o, q->cc);
	put(&o, q->names->b, q->names->n);
	put(&o, q->params->b, q->params->n);
	SHA256(o.b, o.n, hash);
	session_mac(s, hash, s->next, s->tpm, q->attributes, mac);
	begin(&c, SESSIONS, q->cc);
	for (unsigned int k = 0; k < q->handles; k++)
		put32(&c, q->handle[k]);
	put32(&c, (q->owner_first ? 9 : 0) + 4 + 2 + 32 + 1 + 2 + 32);
	if (q->owner_first) {
		put32(&c, RS_PW);
		put16(&c, 0);
		put8(&c, SESSION_CONTINUE);
		put16(&c, 0);
	}
	put32(&c, s->handle);
	put2b(&c, s->next, 32);
	put8(&c, q->attributes);
	put2b(&c, mac, 32);
	put(&c, q->params->b, q->params->n);
	memcpy(s->caller, s->next, 32);
	if (RAND_bytes(s->next, sizeof s->next) != 1)
		return no_crypto(f);
	int err = send_command(t, q->what, &c, answer, a, f);
	if (err)
		return err;
	// parameters, then the sessions: the answer counts only if ours is right
	size_t n = take32(a), nonce_len, mac_len;
	const uint8_t *params = take(a, n);
	if (q->owner_first) {
		size_t none;
		take2b(a, &none);
		take8(a);
		take2b(a, &none);
	}
	const uint8_t *nonce = take2b(a, &nonce_len);
	unsigned int attributes = take8(a);
	const uint8_t *got = take2b(a, &mac_len);
	if (a->bad || nonce_len != 32 || mac_len != 32 || a->p != a->end)
		return altered(t, f);
	memcpy(s->tpm, nonce, 32);
	o.n = 0;
	put32(&o, 0);
	put32(&o, q->cc);
	put(&o, params, n);
	SHA256(o.b, o.n, hash);
	session_mac(s, hash, s->tpm, s->caller, attributes, mac);
	if (CRYPTO_memcmp(mac, got, 32))
		return altered(t, f);
	*a = (struct in){params, params + n, false};
	return 0;
}

// The name of an index is a digest of what it is: a host that makes it another one makes another name.
static void nv_public(struct out *o, uint32_t index, uint32_t attributes, size_t size)
{
	o->n = 0;
	put32(o, index);
	put16(o, ALG_SHA256);
	put32(o, attributes);
	put16(o, 0); // no policy
	put16(o, (unsigned int)size);
}

static void nv_names(struct out *o, uint32_t index, size_t size, bool written)
{
	uint8_t name[TPM_NAME_BYTES] = {ALG_SHA256 >> 8, ALG_SHA256};
	struct out p;
	nv_public(&p, index, NV_ATTRIBUTES | (written ? NV_WRITTEN : 0), size);
	SHA256(p.b, p.n, name + 2);
	o->n = 0;
	put(o, name, sizeof name); // the index authorises itself
	put(o, name, sizeof name);
}

void tpm_nv_name(uint32_t index, size_t size, uint8_t name[TPM_NAME_BYTES])
{
	struct out o;
	nv_names(&o, index, size, true);
	memcpy(name, o.b, TPM_NAME_BYTES);
}

static int nv_read(struct tpm *t, struct session *s, uint32_t index, void *data, size_t size, unsigned int attributes, struct fault *f)
{
	uint8_t answer[TPM_MAX];
	struct out names, params = {.n = 0};
	struct in a;
	size_t n;
	nv_names(&names, index, size, true);
	put16(&params, (unsigned int)size);
	put16(&params, 0);
	const struct call q = {.what = "reading", .cc = CC_NV_READ, .handle = {index, index}, .handles = 2, .names = &names, .params = &params,
			       .attributes = attributes};
	int err = call_with(t, s, &q, answer, &a, f);
	if (err)
		return err;
	const uint8_t *p = take2b(&a, &n);
	if (a.bad || n != size)
		return altered(t, f);
	memcpy(data, p, size);
	return 0;
}

static int nv_write(struct tpm *t, struct session *s, uint32_t index, const void *data, size_t size, bool written, unsigned int attributes,
		    struct fault *f)
{
	uint8_t answer[TPM_MAX];
	struct out names, params = {.n = 0};
	struct in a;
	nv_names(&names, index, size, written);
	put2b(&params, data, size);
	put16(&params, 0);
	const struct call q = {.what = "writing", .cc = CC_NV_WRITE, .handle = {index, index}, .handles = 2, .names = &names, .params = &params,
			       .attributes = attributes};
	return call_with(t, s, &q, answer, &a, f);
}

// A command of the owner's, or the endorsement hierarchy's, whose password is empty.
static int call_plain(struct tpm *t, const char *what, uint32_t cc, const uint32_t *handles, unsigned int count, const struct out *params,
		      uint8_t answer[TPM_MAX], struct in *a, struct fault *f)
{
	struct out c;
	begin(&c, SESSIONS, cc);
	for (unsigned int k = 0; k < count; k++)
		put32(&c, handles[k]);
	put32(&c, 9);
	put32(&c, RS_PW);
	put16(&c, 0);
	put8(&c, SESSION_CONTINUE);
	put16(&c, 0);
	put(&c, params->b, params->n);
	return send_command(t, what, &c, answer, a, f);
}

// The endorsement key of the TCG's profile (template L-2, P-256), whose certificate the maker of the TPM gives out.
static int endorsement_key(struct tpm *t, uint32_t *handle, struct point *to, uint8_t name[TPM_NAME_BYTES], struct fault *f)
{
	static const uint8_t policy[32] = {0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
					   0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa};
	static const uint8_t zero[32];
	uint8_t answer[TPM_MAX];
	struct out key = {.n = 0}, params = {.n = 0};
	struct in a;
	size_t n, x, y;
	put16(&key, ALG_ECC);
	put16(&key, ALG_SHA256);
	put32(&key, 0x000300b2); // fixed to the TPM and its parent, made there, by policy, restricted, decrypts
	put2b(&key, policy, sizeof policy);
	put16(&key, ALG_AES);
	put16(&key, 128);
	put16(&key, ALG_CFB);
	put16(&key, ALG_NULL);
	put16(&key, ECC_P256);
	put16(&key, ALG_NULL);
	put2b(&key, zero, 32);
	put2b(&key, zero, 32);
	put16(&params, 4);
	put32(&params, 0); // no secret, no data
	put2b(&params, key.b, key.n);
	put16(&params, 0);
	put32(&params, 0);
	int err = call_plain(t, "making its endorsement key", CC_CREATE_PRIMARY, (const uint32_t[]){RH_ENDORSEMENT}, 1, &params, answer, &a, f);
	if (err)
		return err;
	*handle = take32(&a);
	take32(&a);
	const uint8_t *public = take2b(&a, &n);
	if (a.bad || n != key.n || memcmp(public, key.b, key.n - 2 * (2 + 32))) {
		flush(t, *handle);
		return fault_set(f, -EPROTO, "the TPM at %s makes another endorsement key than was asked for", t->where);
	}
	struct in u = {public + n - 2 * (2 + 32), public + n, false};
	memcpy(to->x, take2b(&u, &x), 32);
	memcpy(to->y, take2b(&u, &y), 32);
	name[0] = ALG_SHA256 >> 8;
	name[1] = ALG_SHA256;
	SHA256(public, n, name + 2);
	if (x == 32 && y == 32)
		return 0;
	flush(t, *handle);
	return altered(t, f);
}

// The secret in the command's first parameter, for the TPM alone.
static int encrypt_secret(const struct session *s, uint8_t *secret, struct fault *f)
{
	uint8_t key[32], clear[TPM_AUTH_BYTES];
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n = 0;
	kdfa(s->key, s->key_len, "CFB", s->next, s->tpm, key);
	memcpy(clear, secret, sizeof clear);
	bool done = c && EVP_EncryptInit_ex(c, EVP_aes_128_cfb128(), NULL, key, key + 16) && EVP_EncryptUpdate(c, secret, &n, clear, sizeof clear) &&
		    n == (int)sizeof clear;
	EVP_CIPHER_CTX_free(c);
	OPENSSL_cleanse(key, sizeof key);
	OPENSSL_cleanse(clear, sizeof clear);
	return done ? 0 : no_crypto(f);
}

static void end_session(struct tpm *t, struct session *s, bool there)
{
	if (there && s->handle)
		flush(t, s->handle);
	OPENSSL_cleanse(s, sizeof *s);
}

// The index with its secret, in a session that only the holder of the endorsement key `ek` can have answered. A host that has held the
// command back until this index was made by another attempt must not be able to make it anew with it, and then have it take a first write
// that it has held back as well: so it is refused (-ESTALE) once the TPM has done anything else.
static int define(struct tpm *t, uint32_t index, const uint8_t auth[TPM_AUTH_BYTES], size_t size, uint32_t ek, const struct point *to,
		  struct fault *f)
{
	static const uint8_t owner[4] = {0x40, 0, 0, 1}; // a hierarchy's name is its handle
	uint8_t answer[TPM_MAX];
	struct out none = {.n = 0}, names = {.n = 0}, params = {.n = 0}, public;
	struct session s;
	struct in a;
	int err = start_session(t, &s, ek, to, NULL, f);
	if (err)
		return err;
	put16(&params, 16);
	const struct call first = {.what = "giving random bytes", .cc = CC_GET_RANDOM, .names = &none, .params = &params,
				   .attributes = SESSION_CONTINUE | SESSION_AUDIT}; // makes it the exclusive one
	err = call_with(t, &s, &first, answer, &a, f);
	params.n = 0;
	put(&names, owner, sizeof owner);
	put2b(&params, auth, TPM_AUTH_BYTES);
	if (!err)
		err = encrypt_secret(&s, params.b + 2, f);
	nv_public(&public, index, NV_ATTRIBUTES, size);
	put2b(&params, public.b, public.n);
	const struct call q = {.what = "making an index", .cc = CC_NV_DEFINE, .handle = {RH_OWNER}, .handles = 1, .names = &names, .params = &params,
			       .owner_first = true, .attributes = SESSION_DECRYPT | SESSION_AUDIT | SESSION_EXCLUSIVE};
	if (!err)
		err = call_with(t, &s, &q, answer, &a, f);
	end_session(t, &s, err != 0); // an answer ends it
	OPENSSL_cleanse(&params, sizeof params);
	return err;
}

int tpm_nv_create(struct tpm *t, uint32_t index, const uint8_t auth[TPM_AUTH_BYTES], const void *data, size_t size, uint8_t name[TPM_NAME_BYTES],
		  struct fault *f)
{
	uint8_t answer[TPM_MAX], found[TPM_NAME_BYTES], any[TPM_NAME_BYTES] = {0};
	struct out none = {.n = 0};
	struct session s;
	struct point to;
	struct in a;
	uint32_t ek;
	int err = endorsement_key(t, &ek, &to, found, f);
	if (err)
		return err;
	if (memcmp(name, any, sizeof any) && memcmp(name, found, sizeof found))
		err = fault_set(f, -EPERM, "the TPM at %s has another endorsement key than the one that was named: it is another TPM, or none", t->where);
	memcpy(name, found, sizeof found);
	if (!err)
		err = call_plain(t, "removing an index", CC_NV_UNDEFINE, (const uint32_t[]){RH_OWNER, index}, 2, &none, answer, &a, f);
	if (!err || err == -ENOENT) {
		int tries = 0;
		do
			err = define(t, index, auth, size, ek, &to, f);
		while (err == -ESTALE && ++tries < DEFINE_TRIES);
	}
	flush(t, ek);
	if (!err)
		err = start_session(t, &s, 0, NULL, auth, f);
	if (err)
		return err;
	err = nv_write(t, &s, index, data, size, false, 0, f);
	end_session(t, &s, err != 0);
	return err;
}

int tpm_nv_read(struct tpm *t, uint32_t index, const uint8_t auth[TPM_AUTH_BYTES], void *data, size_t size, struct fault *f)
{
	struct session s;
	int err = start_session(t, &s, 0, NULL, auth, f);
	if (err)
		return err;
	err = nv_read(t, &s, index, data, size, 0, f);
	end_session(t, &s, err != 0);
	return err;
}

int tpm_nv_swap(struct tpm *t, uint32_t index, const uint8_t auth[TPM_AUTH_BYTES], size_t size,
		int (*decide)(void *ctx, uint8_t *data, struct fault *f), void *ctx, struct fault *f)
{
	uint8_t data[TPM_DATA_MAX];
	struct session s;
	int err = start_session(t, &s, 0, NULL, auth, f);
	if (err)
		return err;
	// Reading makes it the TPM's exclusive audit session, which it stays until the TPM does something for somebody else. A writer
	// that the host holds back for as long as it likes finds that out.
	err = nv_read(t, &s, index, data, size, SESSION_CONTINUE | SESSION_AUDIT, f);
	int write = err ? err : decide(ctx, data, f);
	if (write == 1)
		err = nv_write(t, &s, index, data, size, true, SESSION_AUDIT | SESSION_EXCLUSIVE, f);
	else
		err = write;
	end_session(t, &s, write != 1 || err);
	return err;
}
