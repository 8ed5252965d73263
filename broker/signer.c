// SPDX-License-Identifier: Apache-2.0
// See signer.h. `lock` guards the copy in memory and is held while it is read anew; nothing else is taken under it but the database's own.
#include "broker/signer.h"

#include <errno.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwe.h"

#define IV 12
#define TAG 16
#define ROW_MAX 512
#define FRESH_S 5	// how old the copy may be where another broker may rotate
#define KNOWN_S (FRESH_S + 2)	// by then all brokers tell of a new key: until then they sign with the one before

const char *const signer_ring_names[SIGNER_RINGS] = {"token", "svid-jwt", "svid-x509"};
// How long a key verifies after its last signature: what it signed lives that long, and a broker may not have heard of the rotation.
static const unsigned int kept_s[SIGNER_RINGS] = {300 + 60, 3600 + 60, SIGNER_X509_MAX_SECONDS + 60};

struct entry {
	struct signer signer;
	enum signer_ring ring;
	time_t retired;		// 0: signs
	size_t row_len;
	uint8_t row[ROW_MAX];	// as it is in the database: encrypted
};

struct signers {
	struct db *db;
	struct guard *guard;
	uint8_t key[32];
	pthread_mutex_t lock;
	struct entry entries[SIGNER_RINGS * SIGNERS_MAX];
	unsigned int count;
	time_t read_at;
};

// ---- one row: AES-256-GCM over {"created","key","retired"}, bound to ring and key's name ----

static int crypt(const uint8_t key[32], bool encrypt, const char *ring, const char *kid, const uint8_t *iv, const void *in, size_t len, void *out,
		 uint8_t tag[TAG])
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n, last = 0, err = -EBADMSG;
	if (!c)
		return -ENOMEM;
	if (EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, key, iv, encrypt) == 1 &&
	    EVP_CipherUpdate(c, NULL, &n, (const uint8_t *)ring, (int)strlen(ring) + 1) == 1 &&
	    EVP_CipherUpdate(c, NULL, &n, (const uint8_t *)kid, (int)strlen(kid)) == 1 && EVP_CipherUpdate(c, out, &n, in, (int)len) == 1 &&
	    (encrypt || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG, tag) == 1) && EVP_CipherFinal_ex(c, (uint8_t *)out + n, &last) == 1 &&
	    (!encrypt || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG, tag) == 1))
		err = 0;
	EVP_CIPHER_CTX_free(c);
	return err;
}

// *out: malloc'ed, IV | ciphertext | tag.
static int seal(const struct signers *s, const struct entry *e, uint8_t **out, size_t *len)
{
	uint8_t *der = NULL;
	int n = i2d_PrivateKey(e->signer.key, &der), err = -ENOMEM;
	char *text64 = n > 0 ? malloc(BASE64_SIZE((size_t)n)) : NULL, *text = NULL;
	*out = NULL;
	if (text64) {
		base64_encode(text64, der, (size_t)n, BASE64_STD);
		json_t *o = json_pack("{s:s, s:I, s:I}", "key", text64, "created", (json_int_t)e->signer.created, "retired", (json_int_t)e->retired);
		text = o ? json_dumps(o, JSON_COMPACT) : NULL;
		json_decref(o);
	}
	size_t text_len = text ? strlen(text) : 0;
	*len = IV + text_len + TAG;
	*out = text ? malloc(*len) : NULL;
	if (*out && RAND_bytes(*out, IV) == 1)
		err = crypt(s->key, true, signer_ring_names[e->ring], e->signer.kid, *out, text, text_len, *out + IV, *out + IV + text_len);
	free_wiped(text, text_len);
	free_wiped(text64, text64 ? strlen(text64) : 0);
	OPENSSL_clear_free(der, n > 0 ? (size_t)n : 0);
	if (err) {
		free(*out);
		*out = NULL;
	}
	return err;
}

static int unseal(const struct signers *s, struct entry *e, const uint8_t *body, size_t len)
{
	uint8_t tag[TAG];
	if (len < IV + TAG || len > ROW_MAX)
		return -EBADMSG;
	size_t n = len - IV - TAG;
	char *text = malloc(n + 1);
	if (!text)
		return -ENOMEM;
	memcpy(tag, body + IV + n, TAG);
	int err = crypt(s->key, false, signer_ring_names[e->ring], e->signer.kid, body, body + IV, n, text, tag);
	json_t *o = err ? NULL : json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
	const char *key64 = json_string_value(json_object_get(o, "key"));
	uint8_t der[1024];
	ssize_t der_len = key64 ? base64_decode(der, sizeof der, key64, strlen(key64), BASE64_STD) : -1;
	const uint8_t *p = der;
	e->signer.key = der_len > 0 ? d2i_AutoPrivateKey(NULL, &p, der_len) : NULL;
	e->signer.created = (time_t)json_integer_value(json_object_get(o, "created"));
	e->retired = (time_t)json_integer_value(json_object_get(o, "retired"));
	if (!err && !e->signer.key)
		err = -EBADMSG;
	explicit_bzero(der, sizeof der);
	json_decref(o);
	free_wiped(text, n);
	return err;
}

static bool expired(const struct entry *e, time_t now)
{
	return e->retired && now > e->retired + kept_s[e->ring];
}

// ---- the rows of all rings ----

#define ROW_NAME (16 + JWK_THUMBPRINT)

static void row_name(const struct entry *e, char out[ROW_NAME])
{
	snprintf(out, ROW_NAME, "%s/%s", signer_ring_names[e->ring], e->signer.kid);
}

// What the row is to the guard; body NULL: it is gone.
static int guarded(const struct signers *s, struct db_tx *t, bool write, const struct entry *e, const void *body, size_t len, struct fault *f)
{
	char name[ROW_NAME];
	row_name(e, name);
	return write ? guard_write(s->guard, t, "signing_key", name, body, len, f) : guard_read(s->guard, t, "signing_key", name, body, len, f);
}

struct rows {
	const struct signers *s;
	struct entry *entries;
	unsigned int count;
};

static void forget(struct entry *e, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		EVP_PKEY_free(e[i].signer.key);
}

static int read_rows(struct db_tx *t, void *ctx, struct fault *f)
{
	struct rows *r = ctx;
	struct db_rows *rows;
	int err = db_query(t, &rows, f, "SELECT ring, kid, body FROM signing_key ORDER BY ring, kid", ""), more = 0;
	forget(r->entries, r->count);	// of an attempt before
	r->count = 0;
	while (!err && (more = db_next(rows, f)) == 1) {
		struct entry *e = &r->entries[r->count];
		size_t len;
		const void *body = db_blob(rows, 2, &len);
		const char *ring = db_text(rows, 0), *kid = db_text(rows, 1);
		memset(e, 0, sizeof *e);
		while (e->ring < SIGNER_RINGS && strcmp(signer_ring_names[e->ring], ring))
			e->ring++;
		if (r->count == SIGNER_RINGS * SIGNERS_MAX || e->ring == SIGNER_RINGS || strlen(kid) >= sizeof e->signer.kid) {
			err = fault_set(f, -EBADMSG, "the database has signing keys that this broker did not make");
			break;
		}
		strcpy(e->signer.kid, kid);
		err = unseal(r->s, e, body, len);
		if (err) {
			fault_set(f, err, "the signing key %s (%s) was changed in the database, or belongs to another master key", kid, ring);
			break;
		}
		e->row_len = len;
		memcpy(e->row, body, len);
		r->count++;
	}
	db_rows_end(rows);
	if (!err && more < 0)
		err = more;
	for (unsigned int i = 0; i < r->count && !err; i++)	// a statement at a time
		err = guarded(r->s, t, false, &r->entries[i], r->entries[i].row, r->entries[i].row_len, f);
	return err;
}

// With the lock held.
static int load(struct signers *s, struct fault *f)
{
	struct rows r = {.s = s, .entries = calloc(SIGNER_RINGS * SIGNERS_MAX + 1, sizeof *r.entries)};
	int err = r.entries ? db_read(s->db, read_rows, &r, f) : fault_set(f, -ENOMEM, "out of memory");
	if (err) {
		forget(r.entries, r.count);
	} else {
		forget(s->entries, s->count);
		memcpy(s->entries, r.entries, r.count * sizeof *r.entries);
		s->count = r.count;
		s->read_at = time(NULL);
	}
	free(r.entries);
	return err;
}

static int refresh(struct signers *s, struct fault *f)
{
	time_t now = time(NULL);
	return db_shared(s->db) && (now > s->read_at + FRESH_S || now < s->read_at) ? load(s, f) : 0;
}

static struct entry *current(struct signers *s, enum signer_ring ring)
{
	for (unsigned int i = 0; i < s->count; i++) {
		if (s->entries[i].ring == ring && !s->entries[i].retired)
			return &s->entries[i];
	}
	return NULL;
}

static int derive(struct signers *s, const uint8_t master_key[32])
{
	static const char purpose[] = "coffer broker signing keys 1";
	unsigned int n;
	return HMAC(EVP_sha256(), master_key, 32, (const uint8_t *)purpose, sizeof purpose - 1, s->key, &n) ? 0 : -EIO;
}

// The one that signs now.
static struct entry *signing(struct signers *s, enum signer_ring ring)
{
	struct entry *newest = current(s, ring);
	time_t now = time(NULL);
	if (!newest || !db_shared(s->db) || now >= newest->signer.created + KNOWN_S)
		return newest;
	for (unsigned int i = 0; i < s->count; i++) {
		if (s->entries[i].ring == ring && s->entries[i].retired == newest->signer.created)
			return &s->entries[i];
	}
	return newest;
}

int signers_tables(struct db *db, struct fault *f)
{
	static const struct db_migration tables[] = {
		{.both = "CREATE TABLE signing_key(ring TEXT NOT NULL, kid TEXT NOT NULL, body BLOB NOT NULL, PRIMARY KEY(ring, kid))"},
	};
	return db_migrate(db, "signer", tables, sizeof tables / sizeof *tables, f);
}

int signers_open(struct signers **out, struct db *db, struct guard *guard, const uint8_t master_key[32], struct fault *f)
{
	struct signers *s = calloc(1, sizeof *s);
	if (!s)
		return fault_set(f, -ENOMEM, "out of memory");
	s->db = db;
	s->guard = guard;
	pthread_mutex_init(&s->lock, NULL);
	int err = derive(s, master_key);
	if (!err)
		err = signers_tables(db, f);
	if (!err)
		err = load(s, f);
	*out = s;
	return err;
}

void signers_close(struct signers *s)
{
	if (!s)
		return;
	forget(s->entries, s->count);
	pthread_mutex_destroy(&s->lock);
	free_wiped(s, sizeof *s);
}

int signers_rekey(struct signers *s, const uint8_t new_key[32], struct guard_rekey *k, struct db_tx *t, struct fault *f)
{
	struct signers is = {.db = s->db};
	struct rows r = {.s = s, .entries = calloc(SIGNER_RINGS * SIGNERS_MAX + 1, sizeof *r.entries)};
	int err = !r.entries ? fault_set(f, -ENOMEM, "out of memory") : derive(&is, new_key) ? fault_set(f, -EIO, "cannot derive keys") : read_rows(t, &r, f);
	for (unsigned int i = 0; i < r.count && !err; i++) {
		struct entry *e = &r.entries[i];
		char name[ROW_NAME];
		uint8_t *body = NULL;
		size_t len;
		row_name(e, name);
		err = seal(&is, e, &body, &len) ? fault_set(f, -EIO, "cannot encrypt the signing key %s", e->signer.kid) :
		      guard_rekey_row(k, "signing_key", name, e->row, e->row_len, body, len, f);
		if (!err)
			err = db_run(t, f, "UPDATE signing_key SET body = ? WHERE ring = ? AND kid = ?", "btt", body, len, signer_ring_names[e->ring],
				     e->signer.kid);
		free(body);
		err = err < 0 ? err : 0;
	}
	forget(r.entries, r.count);
	free(r.entries);
	explicit_bzero(&is, sizeof is);
	return err;
}

// ---- a further key ----

struct change {
	struct signers *s;
	struct entry fresh;
	bool rotate;		// else only where there is none
};

static int write_row(struct db_tx *t, const struct signers *s, const struct entry *e, struct fault *f)
{
	uint8_t *body;
	size_t len;
	int err = seal(s, e, &body, &len);
	if (err)
		return fault_set(f, err, "a signing key cannot be encrypted");
	err = db_run(t, f, "INSERT INTO signing_key(ring, kid, body) VALUES(?, ?, ?) ON CONFLICT(ring, kid) DO UPDATE SET body = excluded.body", "ttb",
		     signer_ring_names[e->ring], e->signer.kid, body, len);
	if (err >= 0)
		err = guarded(s, t, true, e, body, len, f);
	free(body);
	return err < 0 ? err : 0;
}

static int change_rows(struct db_tx *t, void *ctx, struct fault *f)
{
	struct change *c = ctx;
	struct rows r = {.s = c->s, .entries = calloc(SIGNER_RINGS * SIGNERS_MAX + 1, sizeof *r.entries)};
	unsigned int needed = 0;
	bool there = false;
	int err = r.entries ? read_rows(t, &r, f) : fault_set(f, -ENOMEM, "out of memory");
	for (unsigned int i = 0; i < r.count && !err; i++) {
		struct entry *e = &r.entries[i];
		if (e->ring != c->fresh.ring)
			continue;
		there |= !e->retired;
		if (expired(e, c->fresh.signer.created)) {
			err = db_run(t, f, "DELETE FROM signing_key WHERE ring = ? AND kid = ?", "tt", signer_ring_names[e->ring], e->signer.kid);
			err = err < 0 ? err : guarded(c->s, t, true, e, NULL, 0, f);
			continue;
		}
		needed++;
		if (!e->retired && c->rotate) {
			e->retired = c->fresh.signer.created;
			err = write_row(t, c->s, e, f);
		}
	}
	if (!err && needed >= SIGNERS_MAX)
		err = fault_set(f, -EBUSY, "%u keys of this ring are still needed: wait until what they signed has expired", needed);
	if (!err && (c->rotate || !there))
		err = write_row(t, c->s, &c->fresh, f);
	forget(r.entries, r.count);
	free(r.entries);
	return err;
}

// With the lock held.
static int add(struct signers *s, enum signer_ring ring, EVP_PKEY *key, bool rotate, char kid[JWK_THUMBPRINT], struct fault *f)
{
	struct change c = {.s = s, .fresh = {.ring = ring, .signer = {.key = key, .created = time(NULL)}}, .rotate = rotate};
	json_t *jwk = key ? jwk_from_key(key) : NULL;
	int err = jwk && jwk_thumbprint(jwk, c.fresh.signer.kid) ? 0 : fault_set(f, -EIO, "a signing key cannot be made");
	json_decref(jwk);
	if (!err)
		err = db_write(s->db, change_rows, &c, f);
	if (!err && kid)
		memcpy(kid, c.fresh.signer.kid, JWK_THUMBPRINT);
	return err ? err : load(s, f);
}

int signers_adopt(struct signers *s, enum signer_ring ring, EVP_PKEY *key, struct fault *f)
{
	pthread_mutex_lock(&s->lock);
	int err = current(s, ring) ? 0 : add(s, ring, key, false, NULL, f);
	pthread_mutex_unlock(&s->lock);
	return err;
}

static void hand_out(const struct entry *e, struct signer *out)
{
	*out = e->signer;
	EVP_PKEY_up_ref(out->key);
}

int signers_current(struct signers *s, enum signer_ring ring, struct signer *out, struct fault *f)
{
	pthread_mutex_lock(&s->lock);
	int err = refresh(s, f);
	if (!err && !current(s, ring)) {
		EVP_PKEY *key = jwk_new_key("P-256");
		err = add(s, ring, key, false, NULL, f);
		EVP_PKEY_free(key);
	}
	if (!err)
		hand_out(signing(s, ring), out);
	pthread_mutex_unlock(&s->lock);
	return err;
}

int signers_find(struct signers *s, enum signer_ring ring, const char *kid, EVP_PKEY **out)
{
	struct fault f;
	int err = -ENOENT;
	pthread_mutex_lock(&s->lock);
	// A token that another broker signed with a key that is new.
	for (int attempt = 0; attempt < 2 && err; attempt++) {
		for (unsigned int i = 0; i < s->count; i++) {
			struct entry *e = &s->entries[i];
			if (e->ring == ring && !strcmp(e->signer.kid, kid) && !expired(e, time(NULL))) {
				*out = e->signer.key;
				EVP_PKEY_up_ref(*out);
				err = 0;
				break;
			}
		}
		if (err && (!db_shared(s->db) || time(NULL) == s->read_at || load(s, &f)))
			break;
	}
	pthread_mutex_unlock(&s->lock);
	return err;
}

int signers_all(struct signers *s, enum signer_ring ring, struct signer *out, unsigned int max, struct fault *f)
{
	struct signer first;
	unsigned int n = 0;
	int err = signers_current(s, ring, &first, f);
	if (err)
		return err;
	EVP_PKEY_free(first.key);
	pthread_mutex_lock(&s->lock);
	for (int retired = 0; retired < 2; retired++) {
		for (unsigned int i = 0; i < s->count && n < max; i++) {
			struct entry *e = &s->entries[i];
			if (e->ring == ring && (e->retired != 0) == retired && !expired(e, time(NULL)))
				hand_out(e, &out[n++]);
		}
	}
	pthread_mutex_unlock(&s->lock);
	return (int)n;
}

int signers_jwks(struct signers *s, enum signer_ring ring, const char *use, json_t *list, struct fault *f)
{
	struct signer all[SIGNERS_MAX];
	int n = signers_all(s, ring, all, SIGNERS_MAX, f), err = n < 0 ? n : 0;
	for (int i = 0; i < n; i++) {
		json_t *jwk = jwk_from_key(all[i].key);
		if (!jwk || json_object_set_new(jwk, "alg", json_string("ES256")) || json_object_set_new(jwk, "kid", json_string(all[i].kid)) ||
		    json_object_set_new(jwk, "use", json_string(use)) || json_array_append(list, jwk))
			err = fault_set(f, -ENOMEM, "out of memory");
		json_decref(jwk);
		EVP_PKEY_free(all[i].key);
	}
	return err;
}

int signers_rotate(struct signers *s, enum signer_ring ring, char kid[JWK_THUMBPRINT], struct fault *f)
{
	EVP_PKEY *key = jwk_new_key("P-256");
	pthread_mutex_lock(&s->lock);
	int err = add(s, ring, key, true, kid, f);
	pthread_mutex_unlock(&s->lock);
	EVP_PKEY_free(key);
	return err;
}
