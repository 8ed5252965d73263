// SPDX-License-Identifier: Apache-2.0
// See store.h. `lock` is held for each whole operation: SQLite serialises writers anyway, and each is short.
#include "broker/store.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lib/file.h"

#define IV_BYTES 12
#define TAG_BYTES 16

struct store {
	sqlite3 *db;
	pthread_mutex_t lock;
	uint8_t key[32];	// for secrets, derived from the master key
	uint8_t policy_key[32];	// the same for what is not secret: policies
};

static const char schema[] =
	"CREATE TABLE IF NOT EXISTS meta(name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;"
	"CREATE TABLE IF NOT EXISTS secret(resource TEXT PRIMARY KEY, sealed BLOB NOT NULL, changed TEXT NOT NULL) "
	"STRICT;"
	"CREATE TABLE IF NOT EXISTS allowed(resource TEXT NOT NULL, measurement TEXT NOT NULL, note TEXT NOT NULL,"
	" created TEXT NOT NULL, mac BLOB NOT NULL, PRIMARY KEY(resource, measurement)) STRICT;"
	"CREATE TABLE IF NOT EXISTS anchor(resource TEXT PRIMARY KEY, epoch INTEGER NOT NULL, generation INTEGER NOT NULL,"
	" digest BLOB NOT NULL, changed TEXT NOT NULL) STRICT;"
	"CREATE TRIGGER IF NOT EXISTS anchor_never_back BEFORE UPDATE ON anchor WHEN new.resource <> old.resource"
	" OR new.epoch < old.epoch OR new.generation < old.generation"
	" OR (new.generation = old.generation AND new.digest <> old.digest)"
	" BEGIN SELECT RAISE(ABORT, 'an anchor never goes back'); END;";

static int db_fault(struct store *s, struct fault *f)
{
	int code = sqlite3_errcode(s->db) & 0xff;
	int err = code == SQLITE_FULL ? -ENOSPC : code == SQLITE_NOMEM ? -ENOMEM : code == SQLITE_BUSY ? -EBUSY : -EIO;
	return fault_set(f, err, "the broker's database: %s", sqlite3_errmsg(s->db));
}

// Prepares and binds: each letter of `types` is t (const char *), b (const void *, int) or i (long long).
// NULL on failure, with the message.
static sqlite3_stmt *query(struct store *s, struct fault *f, const char *sql, const char *types, ...)
{
	sqlite3_stmt *st = NULL;
	va_list ap;
	if (sqlite3_prepare_v2(s->db, sql, -1, &st, NULL) != SQLITE_OK) {
		db_fault(s, f);
		return NULL;
	}
	int rc = SQLITE_OK;
	va_start(ap, types);
	for (int i = 0; types[i] && rc == SQLITE_OK; i++) {
		if (types[i] == 't') {
			rc = sqlite3_bind_text(st, i + 1, va_arg(ap, const char *), -1, SQLITE_TRANSIENT);
		} else if (types[i] == 'b') {
			const void *p = va_arg(ap, const void *);
			rc = sqlite3_bind_blob(st, i + 1, p, va_arg(ap, int), SQLITE_TRANSIENT);
		} else {
			rc = sqlite3_bind_int64(st, i + 1, va_arg(ap, long long));
		}
	}
	va_end(ap);
	if (rc != SQLITE_OK) {
		db_fault(s, f);
		sqlite3_finalize(st);
		return NULL;
	}
	return st;
}

// Runs a statement that gives no rows; the number of rows it changed, or -errno.
static int run(struct store *s, sqlite3_stmt *st, struct fault *f)
{
	if (!st)
		return -EIO;
	int rc = sqlite3_step(st);
	int err = rc == SQLITE_DONE ? sqlite3_changes(s->db) : db_fault(s, f);
	sqlite3_finalize(st);
	return err;
}

static void now_text(char out[32])
{
	time_t now = time(NULL);
	struct tm tm;
	strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &tm));
}

static int derive(const uint8_t master[STORE_MASTER_KEY_BYTES], const char *info, uint8_t out[32])
{
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
	size_t len = 32;
	int ok = c && EVP_PKEY_derive_init(c) == 1 && EVP_PKEY_CTX_set_hkdf_md(c, EVP_sha256()) == 1 &&
		 EVP_PKEY_CTX_set1_hkdf_key(c, master, STORE_MASTER_KEY_BYTES) == 1 &&
		 EVP_PKEY_CTX_add1_hkdf_info(c, (const uint8_t *)info, (int)strlen(info)) == 1 &&
		 EVP_PKEY_derive(c, out, &len) == 1 && len == 32;
	EVP_PKEY_CTX_free(c);
	return ok ? 0 : -EIO;
}

// iv | ciphertext | tag, with the resource's name as associated data: a sealed secret opens under its own name only.
static int seal_secret(const struct store *s, const char *resource, const void *secret, size_t len, uint8_t *out)
{
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n = 0, last = 0, aad;
	int ok = c && RAND_bytes(out, IV_BYTES) == 1 &&
		 EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, s->key, out) == 1 &&
		 EVP_EncryptUpdate(c, NULL, &aad, (const uint8_t *)resource, (int)strlen(resource)) == 1 &&
		 EVP_EncryptUpdate(c, out + IV_BYTES, &n, secret, (int)len) == 1 &&
		 EVP_EncryptFinal_ex(c, out + IV_BYTES + n, &last) == 1 &&
		 EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, out + IV_BYTES + len) == 1;
	EVP_CIPHER_CTX_free(c);
	return ok ? 0 : -EIO;
}

static int open_secret(const struct store *s, const char *resource, const uint8_t *sealed, size_t len, uint8_t *out)
{
	if (len < IV_BYTES + TAG_BYTES)
		return -EBADMSG;
	size_t body = len - IV_BYTES - TAG_BYTES;
	uint8_t tag[TAG_BYTES];
	memcpy(tag, sealed + len - TAG_BYTES, TAG_BYTES);
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	int n = 0, last = 0, aad;
	int ok = c && EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, s->key, sealed) == 1 &&
		 EVP_DecryptUpdate(c, NULL, &aad, (const uint8_t *)resource, (int)strlen(resource)) == 1 &&
		 EVP_DecryptUpdate(c, out, &n, sealed + IV_BYTES, (int)body) == 1 &&
		 EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, tag) == 1 &&
		 EVP_DecryptFinal_ex(c, out + n, &last) == 1;
	EVP_CIPHER_CTX_free(c);
	return ok ? 0 : -EBADMSG;
}

// A value that only the right master key can have written tells a foreign database or key apart from a damaged one.
static int check_master(struct store *s, const uint8_t master[STORE_MASTER_KEY_BYTES], struct fault *f)
{
	uint8_t mark[32];
	if (derive(master, "coffer broker master key check v1", mark))
		return fault_set(f, -EIO, "cannot derive keys");
	int err = run(s, query(s, f, "INSERT OR IGNORE INTO meta VALUES('master', ?)", "b", mark, (int)sizeof mark), f);
	if (err < 0)
		return err;
	sqlite3_stmt *st = query(s, f, "SELECT value FROM meta WHERE name = 'master'", "");
	if (!st)
		return -EIO;
	err = sqlite3_step(st) == SQLITE_ROW && sqlite3_column_bytes(st, 0) == sizeof mark &&
	      !memcmp(sqlite3_column_blob(st, 0), mark, sizeof mark) ? 0 : fault_set(f, -EKEYREJECTED,
	      "the broker's database was made with another master key");
	sqlite3_finalize(st);
	return err;
}

int store_open(struct store **out, const char *path, const uint8_t master_key[STORE_MASTER_KEY_BYTES], struct fault *f)
{
	struct store *s = calloc(1, sizeof *s);
	if (!s)
		return fault_set(f, -ENOMEM, "out of memory");
	pthread_mutex_init(&s->lock, NULL);
	// SQLite would make it with the umask's mode.
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), err = 0;
	if (fd < 0) {
		err = fault_errno(f, errno, "cannot open %s", path);
		goto out;
	}
	close(fd);
	if (derive(master_key, "coffer broker secrets v1", s->key) || derive(master_key, "coffer broker policies v1", s->policy_key)) {
		err = fault_set(f, -EIO, "cannot derive keys");
		goto out;
	}
	if (sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK ||
	    sqlite3_busy_timeout(s->db, 5000) != SQLITE_OK ||
	    sqlite3_exec(s->db, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON;"
			 "PRAGMA trusted_schema = OFF;", NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_exec(s->db, schema, NULL, NULL, NULL) != SQLITE_OK) {
		err = db_fault(s, f);
		goto out;
	}
	err = check_master(s, master_key, f);
out:
	if (err)
		store_close(s);
	else
		*out = s;
	return err;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	sqlite3_close(s->db);
	pthread_mutex_destroy(&s->lock);
	free_wiped(s, sizeof *s);
}

// Over a policy's row, each part with its length: what somebody else wrote into the database allows nothing.
static int policy_mac(const struct store *s, const char *resource, const char *measurement, const char *note, const char *created,
		      uint8_t out[32])
{
	const char *const parts[] = {resource, measurement, note, created};
	char text[1024];
	size_t n = 0, len = 0;
	for (int i = 0; i < 4; i++) {
		if (!parts[i] || n + strlen(parts[i]) + 24 > sizeof text)
			return -EINVAL;
		n += (size_t)snprintf(text + n, sizeof text - n, "%zu:%s", strlen(parts[i]), parts[i]);
	}
	return EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, s->policy_key, sizeof s->policy_key, (const uint8_t *)text, n, out, 32, &len) &&
	       len == 32 ? 0 : -EIO;
}

// The row of a statement that gives resource, measurement, note, created, mac. -EBADMSG when this broker did not write it.
static int check_policy(const struct store *s, sqlite3_stmt *st, struct fault *f)
{
	const char *t[4];
	uint8_t mac[32];
	for (int i = 0; i < 4; i++)
		t[i] = (const char *)sqlite3_column_text(st, i);
	if (!policy_mac(s, t[0], t[1], t[2], t[3], mac) && sqlite3_column_bytes(st, 4) == sizeof mac &&
	    !CRYPTO_memcmp(sqlite3_column_blob(st, 4), mac, sizeof mac))
		return 0;
	return fault_set(f, -EBADMSG, "a policy of %.200s was changed outside the broker: it allows nothing. `coffer policy deny` removes it, "
			 "`allow` makes it anew", t[0] ? t[0] : "?");
}

int store_put_secret(struct store *s, const char *resource, const void *secret, size_t len, bool replace,
		     struct fault *f)
{
	uint8_t *sealed = NULL;
	char now[32];
	int err;
	if (len > STORE_MAX_SECRET)
		return fault_set(f, -EFBIG, "a secret may have %u bytes at most", STORE_MAX_SECRET);
	sealed = malloc(len + IV_BYTES + TAG_BYTES);
	if (!sealed)
		return fault_set(f, -ENOMEM, "out of memory");
	err = seal_secret(s, resource, secret, len, sealed);
	if (err) {
		fault_set(f, err, "cannot encrypt the secret");
		goto out;
	}
	now_text(now);
	pthread_mutex_lock(&s->lock);
	err = run(s, query(s, f, replace ? "INSERT OR REPLACE INTO secret VALUES(?, ?, ?)"
				 : "INSERT OR IGNORE INTO secret VALUES(?, ?, ?)", "tbt", resource, sealed,
			   (int)(len + IV_BYTES + TAG_BYTES), now), f);
	pthread_mutex_unlock(&s->lock);
	if (err == 0)
		err = fault_set(f, -EEXIST,
				"%s has a key already; replacing it makes data sealed with the old one unreadable",
				resource);
	else if (err > 0)
		err = 0;
out:
	free(sealed);
	return err;
}

int store_get_secret(struct store *s, const char *resource, void **secret, size_t *len, struct fault *f)
{
	int err = 0;
	pthread_mutex_lock(&s->lock);
	sqlite3_stmt *st = query(s, f, "SELECT sealed FROM secret WHERE resource = ?", "t", resource);
	int rc = st ? sqlite3_step(st) : SQLITE_ERROR;
	if (!st) {
		err = -EIO;
	} else if (rc == SQLITE_DONE) {
		err = fault_set(f, -ENOENT, "there is no key for %s", resource);
	} else if (rc != SQLITE_ROW) {
		err = db_fault(s, f);
	} else {
		size_t n = (size_t)sqlite3_column_bytes(st, 0);
		*secret = malloc(n + 1);
		if (!*secret)
			err = fault_set(f, -ENOMEM, "out of memory");
		else if ((err = open_secret(s, resource, sqlite3_column_blob(st, 0), n, *secret)))
			fault_set(f, err, "the stored key of %s is damaged: it was changed outside the broker",
				  resource);
		if (err) {
			free_wiped(*secret, *secret ? n : 0);
			*secret = NULL;
		} else {
			*len = n - IV_BYTES - TAG_BYTES;
		}
	}
	sqlite3_finalize(st);
	pthread_mutex_unlock(&s->lock);
	return err;
}

// Runs a change; nothing changed is -ENOENT.
static int change(struct store *s, sqlite3_stmt *st, const char *resource, struct fault *f)
{
	int err = run(s, st, f);
	if (err == 0)
		return fault_set(f, -ENOENT, "there is no such entry for %s", resource);
	return err > 0 ? 0 : err;
}

int store_delete_secret(struct store *s, const char *resource, struct fault *f)
{
	pthread_mutex_lock(&s->lock);
	int err = change(s, query(s, f, "DELETE FROM secret WHERE resource = ?", "t", resource), resource, f);
	pthread_mutex_unlock(&s->lock);
	return err;
}

int store_allow(struct store *s, const char *resource, const char *measurement, const char *note, struct fault *f)
{
	uint8_t mac[32];
	char now[32];
	now_text(now);
	if (policy_mac(s, resource, measurement, note, now, mac))
		return fault_set(f, -EINVAL, "the policy cannot be stored");
	pthread_mutex_lock(&s->lock);
	int err = change(s, query(s, f, "INSERT OR REPLACE INTO allowed VALUES(?, ?, ?, ?, ?)", "ttttb", resource, measurement, note, now,
				  mac, (int)sizeof mac), resource, f);
	pthread_mutex_unlock(&s->lock);
	return err;
}

int store_deny(struct store *s, const char *resource, const char *measurement, struct fault *f)
{
	pthread_mutex_lock(&s->lock);
	int err = change(s,
			 measurement ? query(s, f, "DELETE FROM allowed WHERE resource = ? AND measurement = ?", "tt",
					     resource, measurement)
				     : query(s, f, "DELETE FROM allowed WHERE resource = ?", "t", resource),
			 resource, f);
	pthread_mutex_unlock(&s->lock);
	return err;
}

int store_allowed(struct store *s, const char *resource, char (**list)[ATTEST_MEASUREMENT_HEX], unsigned int *count,
		  struct fault *f)
{
	int err = 0, rc = SQLITE_ERROR;
	*list = NULL;
	*count = 0;
	pthread_mutex_lock(&s->lock);
	sqlite3_stmt *st = query(
		s, f, "SELECT resource, measurement, note, created, mac FROM allowed WHERE resource = ? ORDER BY created, measurement", "t", resource);
	if (!st)
		err = -EIO;
	while (!err && (rc = sqlite3_step(st)) == SQLITE_ROW && !(err = check_policy(s, st, f))) {
		void *bigger = realloc(*list, (*count + 1) * sizeof **list);
		if (!bigger) {
			err = fault_set(f, -ENOMEM, "out of memory");
			break;
		}
		*list = bigger;
		strncpy((*list)[*count], (const char *)sqlite3_column_text(st, 1), ATTEST_MEASUREMENT_HEX - 1);
		(*list)[(*count)++][ATTEST_MEASUREMENT_HEX - 1] = '\0';
	}
	if (!err && rc != SQLITE_DONE)
		err = db_fault(s, f);
	sqlite3_finalize(st);
	pthread_mutex_unlock(&s->lock);
	if (err) {
		free(*list);
		*list = NULL;
		*count = 0;
	}
	return err;
}

int store_policies(struct store *s, json_t **out, struct fault *f)
{
	int err = 0, rc = SQLITE_ERROR;
	json_t *list = json_array();
	pthread_mutex_lock(&s->lock);
	sqlite3_stmt *st = query(s, f,
				 "SELECT resource, measurement, note, created, mac FROM allowed ORDER BY resource, created,"
				 " measurement",
				 "");
	if (!st)
		err = -EIO;
	while (!err && (rc = sqlite3_step(st)) == SQLITE_ROW) {
		json_t *o = json_pack("{s:s, s:s, s:s, s:s}", "resource", sqlite3_column_text(st, 0), "measurement",
				      sqlite3_column_text(st, 1), "note", sqlite3_column_text(st, 2), "created",
				      sqlite3_column_text(st, 3));
		if (check_policy(s, st, NULL))
			json_object_set_new(o, "changed_outside", json_true());
		if (json_array_append_new(list, o))
			err = fault_set(f, -ENOMEM, "out of memory");
	}
	if (!err && rc != SQLITE_DONE)
		err = db_fault(s, f);
	sqlite3_finalize(st);
	pthread_mutex_unlock(&s->lock);
	if (err)
		json_decref(list);
	else
		*out = list;
	return err;
}

int store_counts(struct store *s, long long *resources, long long *policies, struct fault *f)
{
	int err = 0;
	pthread_mutex_lock(&s->lock);
	sqlite3_stmt *st = query(s, f, "SELECT (SELECT count(*) FROM secret), (SELECT count(*) FROM allowed)", "");
	if (!st || sqlite3_step(st) != SQLITE_ROW) {
		err = db_fault(s, f);
	} else {
		*resources = sqlite3_column_int64(st, 0);
		*policies = sqlite3_column_int64(st, 1);
	}
	sqlite3_finalize(st);
	pthread_mutex_unlock(&s->lock);
	return err;
}

static int read_anchor(struct store *s, const char *resource, struct store_anchor *out, struct fault *f)
{
	int err = 0;
	sqlite3_stmt *st = query(s, f, "SELECT epoch, generation, digest FROM anchor WHERE resource = ?", "t", resource);
	int rc = st ? sqlite3_step(st) : SQLITE_ERROR;
	if (!st)
		return -EIO;
	if (rc == SQLITE_DONE)
		err = fault_set(f, -ENOENT, "nothing is remembered of %s", resource);
	else if (rc != SQLITE_ROW)
		err = db_fault(s, f);
	else if (sqlite3_column_bytes(st, 2) != sizeof out->digest)
		err = fault_set(f, -EIO, "what is remembered of %s is damaged", resource);
	if (!err) {
		out->epoch = sqlite3_column_int64(st, 0);
		out->generation = sqlite3_column_int64(st, 1);
		memcpy(out->digest, sqlite3_column_blob(st, 2), sizeof out->digest);
	}
	sqlite3_finalize(st);
	return err;
}

int store_get_anchor(struct store *s, const char *resource, struct store_anchor *out, struct fault *f)
{
	pthread_mutex_lock(&s->lock);
	int err = read_anchor(s, resource, out, f);
	pthread_mutex_unlock(&s->lock);
	return err;
}

int store_move_anchor(struct store *s, const char *resource, const struct store_anchor *from, const struct store_anchor *to,
		      bool back, struct fault *f)
{
	struct store_anchor now;
	char when[32];
	now_text(when);
	pthread_mutex_lock(&s->lock);
	int err = read_anchor(s, resource, &now, f);
	bool there = !err;
	if (err == -ENOENT)
		err = 0;
	if (!err && (there != (from != NULL) || (from && memcmp(&now, from, sizeof now))))
		err = fault_set(f, -ESTALE, "what is remembered of %s has changed meanwhile", resource);
	// One statement in any case: at no moment, and after no failure, is nothing remembered, for then any copy would be accepted.
	if (!err)
		err = run(s, there && !back ? query(s, f, "UPDATE anchor SET epoch = ?, generation = ?, digest = ?, changed = ? WHERE resource = ?",
						    "iibtt", to->epoch, to->generation, to->digest, (int)sizeof to->digest, when, resource)
					    : query(s, f, back ? "INSERT OR REPLACE INTO anchor VALUES(?, ?, ?, ?, ?)"
							       : "INSERT INTO anchor VALUES(?, ?, ?, ?, ?)", "tiibt", resource, to->epoch,
						    to->generation, to->digest, (int)sizeof to->digest, when), f);
	pthread_mutex_unlock(&s->lock);
	return err < 0 ? err : 0;
}
