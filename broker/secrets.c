// SPDX-License-Identifier: Apache-2.0
// See secrets.h. The database orders what happens at the same time; heads.lock guards what is remembered of rows, with nothing taken under it.
//
// secret_head    what it is, encrypted, bound to the name
// secret_value   one value, encrypted, bound to name, id, version and kind; never changed, only destroyed
// secret_release a use that was counted: of which version, by whose key, for what; with a MAC
#include "broker/secrets.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/store.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwa.h"
#include "lib/log.h"

#define OVERHEAD (JWA_IV_BYTES + JWA_TAG_BYTES)
#define MAX_AAD 512
#define WHO BASE64_SIZE(32)

// Heads that were opened, by their name, each with the very bytes that it was opened from: where the row has the same ones again, and the guard says
// that they are right, it is not opened again.
#define HEADS 32

struct head {
	char *name;
	struct secret what;
	size_t len;
	uint8_t sealed[];
};

struct heads {
	pthread_mutex_t lock;
	struct head *all[HEADS];
};

struct secrets {
	struct heads *heads;
	struct db *db;
	struct guard *guard;	// of each row of secret_head: what else there is hangs on these
	uint8_t head_key[32], value_key[32], release_key[32];
	uint8_t old_key[32];	// of the table before these
};

static const struct db_migration tables[] = {
	{.both = "CREATE TABLE secret_head(resource TEXT PRIMARY KEY, head BLOB NOT NULL) STRICT;"
		 "CREATE TABLE secret_value(resource TEXT NOT NULL, version INTEGER NOT NULL, sealed BLOB NOT NULL, PRIMARY KEY(resource, version)) STRICT;"
		 "CREATE TABLE secret_release(resource TEXT NOT NULL, version INTEGER NOT NULL, who TEXT NOT NULL, mac BLOB NOT NULL,"
		 " PRIMARY KEY(resource, version, who)) STRICT;"},
};

// ---- what is written into rows ----

// iv | ciphertext | tag; malloc'ed.
static int seal(const uint8_t key[32], const char *aad, const void *plain, size_t len, uint8_t **out, size_t *out_len, struct fault *f)
{
	uint8_t *p = malloc(len + OVERHEAD);
	if (!p)
		return fault_set(f, -ENOMEM, "out of memory");
	if (RAND_bytes(p, JWA_IV_BYTES) != 1 || jwa_gcm(true, key, 32, p, aad, strlen(aad), plain, len, p + JWA_IV_BYTES, p + JWA_IV_BYTES + len)) {
		free(p);
		return fault_set(f, -EIO, "the secret cannot be encrypted");
	}
	*out = p;
	*out_len = len + OVERHEAD;
	return 0;
}

// The plain bytes with a NUL behind them; malloc'ed. -EBADMSG.
static int unseal(const uint8_t key[32], const char *aad, const uint8_t *sealed, size_t sealed_len, uint8_t **out, size_t *len)
{
	uint8_t tag[JWA_TAG_BYTES];
	if (!sealed || sealed_len < OVERHEAD)
		return -EBADMSG;
	size_t n = sealed_len - OVERHEAD;
	uint8_t *p = malloc(n + 1);
	if (!p)
		return -ENOMEM;
	memcpy(tag, sealed + JWA_IV_BYTES + n, sizeof tag);
	if (jwa_gcm(false, key, 32, sealed, aad, strlen(aad), sealed + JWA_IV_BYTES, n, p, tag)) {
		free_wiped(p, n);
		return -EBADMSG;
	}
	p[n] = '\0';
	*out = p;
	*len = n;
	return 0;
}

static int damaged(struct fault *f, const char *name)
{
	return fault_set(f, -EBADMSG, "what is stored of %s is damaged: it was changed outside the broker", name);
}

static void head_aad(char out[MAX_AAD], const char *name)
{
	snprintf(out, MAX_AAD, "head\n%s", name);
}

static void value_aad(char out[MAX_AAD], const char *name, const struct secret *h, unsigned int version)
{
	char id[2 * SECRET_ID_BYTES + 1];
	snprintf(out, MAX_AAD, "value\n%s\n%s\n%u\n%s", name, hex_encode(id, h->id, sizeof h->id), version, h->kind);
}

static int release_mac(const struct secrets *s, const char *name, const struct secret *h, unsigned int version, const char *who, uint8_t out[32])
{
	char id[2 * SECRET_ID_BYTES + 1], text[MAX_AAD];
	size_t len = 0;
	int n = snprintf(text, sizeof text, "release\n%s\n%s\n%u\n%s", name, hex_encode(id, h->id, sizeof h->id), version, who);
	return EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, s->release_key, sizeof s->release_key, (const uint8_t *)text, (size_t)n, out, 32, &len) &&
	       len == 32 ? 0 : -EIO;
}

// ---- rows ----

static int open_head(const struct secrets *s, const char *name, const void *sealed, size_t sealed_len, struct secret *h, struct fault *f)
{
	char aad[MAX_AAD];
	uint8_t *text = NULL;
	size_t len = 0;
	head_aad(aad, name);
	int err = unseal(s->head_key, aad, sealed, sealed_len, &text, &len);
	if (!err) {
		json_t *o = json_loadb((char *)text, len, 0, NULL);
		err = o ? secret_from_json(h, o) : -EBADMSG;
		json_decref(o);
	}
	free(text);
	return err == -EBADMSG ? damaged(f, name) : err ? fault_set(f, err, "out of memory") : 0;
}

static struct head **head_place(struct heads *heads, const char *name)
{
	unsigned int n = 0;
	for (; *name; name++)
		n = 31 * n + (unsigned char)*name;
	return &heads->all[n % HEADS];
}

static bool head_known(struct heads *heads, const char *name, const void *sealed, size_t len, struct secret *out)
{
	pthread_mutex_lock(&heads->lock);
	const struct head *k = *head_place(heads, name);
	bool known = k && k->len == len && !memcmp(k->sealed, sealed, len) && !strcmp(k->name, name);
	if (known)
		*out = k->what;
	pthread_mutex_unlock(&heads->lock);
	return known;
}

static void head_free(struct head *k)
{
	if (k)
		free(k->name);
	free(k);
}

static void head_remember(struct heads *heads, const char *name, const void *sealed, size_t len, const struct secret *what)
{
	struct head *k = malloc(sizeof *k + len), *old = k;
	if (k && (k->name = strdup(name))) {
		k->what = *what;
		k->len = len;
		memcpy(k->sealed, sealed, len);
		pthread_mutex_lock(&heads->lock);
		struct head **place = head_place(heads, name);
		old = *place;
		*place = k;
		pthread_mutex_unlock(&heads->lock);
	}
	head_free(old);
}

static int read_head(const struct secrets *s, struct db_tx *t, const char *name, struct secret *h, struct fault *f)
{
	struct db_rows *r = NULL;
	size_t len = 0;
	int err = db_query(t, &r, f, "SELECT head FROM secret_head WHERE resource = ?", "t", name);
	if (!err)
		err = db_next(r, f);
	if (err >= 0) {
		const void *sealed = err ? db_blob(r, 0, &len) : NULL;
		err = guard_read(s->guard, t, "secret_head", name, sealed, len, f);
		if (!err && !sealed)
			err = fault_set(f, -ENOENT, "there is no secret %s", name);
		if (!err && !head_known(s->heads, name, sealed, len, h)) {
			err = open_head(s, name, sealed, len, h, f);
			if (!err)
				head_remember(s->heads, name, sealed, len, h);
		}
	}
	db_rows_end(r);
	return err;
}

static int write_head(const struct secrets *s, struct db_tx *t, const char *name, const struct secret *h, struct fault *f)
{
	char aad[MAX_AAD];
	json_t *o = secret_to_json(h);
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	uint8_t *sealed = NULL;
	size_t len;
	json_decref(o);
	if (!text)
		return fault_set(f, -ENOMEM, "out of memory");
	head_aad(aad, name);
	int err = seal(s->head_key, aad, text, strlen(text), &sealed, &len, f);
	if (!err)
		err = db_run(t, f, "INSERT INTO secret_head VALUES(?, ?) ON CONFLICT (resource) DO UPDATE SET head = excluded.head", "tb", name, sealed, len);
	if (err >= 0)
		err = guard_write(s->guard, t, "secret_head", name, sealed, len, f);
	free(text);
	free(sealed);
	return err < 0 ? err : 0;
}

static int read_value(const struct secrets *s, struct db_tx *t, const char *name, const struct secret *h, unsigned int version, uint8_t **value,
		      size_t *value_len, struct fault *f)
{
	struct db_rows *r = NULL;
	char aad[MAX_AAD];
	size_t len;
	int err = db_query(t, &r, f, "SELECT sealed FROM secret_value WHERE resource = ? AND version = ?", "ti", name, (long long)version);
	if (!err)
		err = db_next(r, f);
	value_aad(aad, name, h, version);
	if (err == 0) {
		err = damaged(f, name);	// the head says that it is there
	} else if (err == 1) {
		const void *sealed = db_blob(r, 0, &len);
		err = unseal(s->value_key, aad, sealed, len, value, value_len);
		if (err)
			err = err == -EBADMSG ? damaged(f, name) : fault_set(f, err, "out of memory");
	}
	db_rows_end(r);
	return err;
}

static int write_value(const struct secrets *s, struct db_tx *t, const char *name, const struct secret *h, unsigned int version, const void *value,
		       size_t value_len, struct fault *f)
{
	char aad[MAX_AAD];
	uint8_t *sealed = NULL;
	size_t len;
	value_aad(aad, name, h, version);
	int err = seal(s->value_key, aad, value, value_len, &sealed, &len, f);
	if (!err)
		err = db_run(t, f, "INSERT INTO secret_value VALUES(?, ?, ?)", "tib", name, (long long)version, sealed, len);
	free(sealed);
	return err < 0 ? err : 0;
}

// Its value goes, and who had it; that it was there stays in the head.
static int destroy_version(struct db_tx *t, const char *name, struct secret_version *v, struct fault *f)
{
	v->state = SECRET_DESTROYED;
	int err = db_run(t, f, "DELETE FROM secret_value WHERE resource = ? AND version = ?", "ti", name, (long long)v->number);
	if (err >= 0)
		err = db_run(t, f, "DELETE FROM secret_release WHERE resource = ? AND version = ?", "ti", name, (long long)v->number);
	return err < 0 ? err : 0;
}

// ---- opening, and what was there before ----

struct old_row {
	char *name;
	uint8_t *value;
	size_t len;
};

static int read_old(const struct secrets *s, struct db_tx *t, struct old_row **rows, size_t *count, struct fault *f)
{
	struct db_rows *r = NULL;
	size_t len;
	int err = db_query(t, &r, f, "SELECT resource, sealed FROM secret", "");
	while (!err && (err = db_next(r, f)) == 1) {
		const char *name = db_text(r, 0);
		const void *sealed = db_blob(r, 1, &len);
		struct old_row row = {.name = strdup(name ? name : "")}, *bigger = realloc(*rows, (*count + 1) * sizeof **rows);
		err = row.name && bigger ? unseal(s->old_key, row.name, sealed, len, &row.value, &row.len) : fault_set(f, -ENOMEM, "out of memory");
		if (bigger)
			*rows = bigger;
		if (err == -EBADMSG)
			damaged(f, row.name);
		if (err)
			free(row.name);
		else
			(*rows)[(*count)++] = row;
	}
	db_rows_end(r);
	return err;
}

static int adopt(struct db_tx *t, void *ctx, struct fault *f)
{
	const struct secrets *s = ctx;
	struct old_row *rows = NULL;
	size_t count = 0;
	int err = read_old(s, t, &rows, &count, f);
	for (size_t i = 0; i < count; i++) {
		struct secret h;
		struct secret_version *v;
		if (!err)
			err = secret_init(&h, "data", f);
		if (!err)
			err = secret_add_version(&h, time(NULL), &v, f);
		if (!err)
			err = write_value(s, t, rows[i].name, &h, 1, rows[i].value, rows[i].len, f);
		if (!err)
			err = write_head(s, t, rows[i].name, &h, f);
		free_wiped(rows[i].value, rows[i].len);
		free(rows[i].name);
	}
	free(rows);
	if (!err && count)
		err = db_run(t, f, "DELETE FROM secret", "");
	return err < 0 ? err : 0;
}

static int count_old(struct db_tx *t, void *ctx, struct fault *f)
{
	struct db_rows *r = NULL;
	int err = db_query(t, &r, f, "SELECT count(*) FROM secret", "");
	if (!err)
		err = db_next(r, f);
	if (err == 1)
		*(long long *)ctx = db_int(r, 0);
	db_rows_end(r);
	return err < 0 ? err : 0;
}

// Taken over is once, when the database is guarded for the first time. What lies in the old table later is not used: a row that somebody kept
// from before would give an older value back.
static void warn_left(struct db *db)
{
	long long rows = 0;
	if (!db_read(db, count_old, &rows, NULL) && rows)
		log_alarm("broker: the table of secrets from before has %lld rows, in a database that was taken over earlier: they are NOT used. Somebody put them "
			  "there, or the start that took it over was cut short: then put its backup from before back and start again", rows);
}

static int derive(struct secrets *s, const uint8_t master[32], struct fault *f)
{
	return store_derive(master, "coffer broker secret heads v2", s->head_key) || store_derive(master, "coffer broker secret values v2", s->value_key) ||
	       store_derive(master, "coffer broker secret releases v2", s->release_key) || store_derive(master, "coffer broker secrets v1", s->old_key) ?
	       fault_set(f, -EIO, "cannot derive keys") : 0;
}

int secrets_tables(struct db *db, struct fault *f)
{
	return db_migrate(db, "secrets", tables, sizeof tables / sizeof *tables, f);
}

int secrets_open(struct secrets **out, struct db *db, struct guard *guard, const uint8_t master[32], struct fault *f)
{
	struct secrets *s = calloc(1, sizeof *s);
	if (!s)
		return fault_set(f, -ENOMEM, "out of memory");
	s->db = db;
	s->guard = guard;
	s->heads = calloc(1, sizeof *s->heads);
	if (!s->heads) {
		secrets_close(s);
		return fault_set(f, -ENOMEM, "out of memory");
	}
	pthread_mutex_init(&s->heads->lock, NULL);
	int err = derive(s, master, f);
	if (!err)
		err = secrets_tables(db, f);
	if (!err && guard_new(guard))
		err = db_write(db, adopt, s, f);
	else if (!err)
		warn_left(db);
	if (err < 0)
		secrets_close(s);
	else
		*out = s;
	return err < 0 ? err : 0;
}

void secrets_close(struct secrets *s)
{
	struct heads *heads = s ? s->heads : NULL;
	for (unsigned int i = 0; heads && i < HEADS; i++)
		head_free(heads->all[i]);
	if (heads)
		pthread_mutex_destroy(&heads->lock);
	free(heads);
	free_wiped(s, s ? sizeof *s : 0);
}

// ---- looking ----

struct work {	// of one transaction
	struct secrets *s;
	const char *name;
	unsigned int version;
	time_t now;
	struct secret *h;
	uint8_t **value;
	size_t *len;
	json_t *list;
	long long *count;
	// changes
	const json_t *settings;
	const char *const *others;
	enum secret_state state;
	// secrets_put
	const struct secrets_put *put;
	const struct secret *draft;	// as it is to be: its id, kind and new version
	const uint8_t *new_value;
	size_t new_len;
};

static int get(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	return read_head(w->s, t, w->name, w->h, f);
}

int secrets_get(struct secrets *s, const char *name, struct secret *out, struct fault *f)
{
	struct work w = {.s = s, .name = name, .h = out};
	return db_read(s->db, get, &w, f);
}

static int list(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	struct secret *h = malloc(sizeof *h);
	struct db_rows *r = NULL;
	size_t len;
	json_array_clear(w->list);
	int err = h ? db_query(t, &r, f, "SELECT resource, head FROM secret_head ORDER BY resource", "") : fault_set(f, -ENOMEM, "out of memory");
	while (!err && (err = db_next(r, f)) == 1) {
		const char *name = db_text(r, 0);
		const void *sealed = db_blob(r, 1, &len);
		json_t *o = NULL;
		int kept = name ? guard_read(w->s->guard, t, "secret_head", name, sealed, len, f) : -EBADMSG;
		err = kept == -EBADMSG ? 0 : kept;
		if (err)
			break;
		if (!kept && !open_head(w->s, name, sealed, len, h, NULL))
			o = secret_describe(h, name, w->now);
		else
			o = json_pack("{s:s, s:b}", "resource", name ? name : "?", "changed_outside", 1);
		if (!o || json_array_append_new(w->list, o))
			err = fault_set(f, -ENOMEM, "out of memory");
	}
	db_rows_end(r);
	free(h);
	return err;
}

int secrets_list(struct secrets *s, time_t now, json_t **out, struct fault *f)
{
	struct work w = {.s = s, .now = now, .list = json_array()};
	int err = db_read(s->db, list, &w, f);
	if (err)
		json_decref(w.list);
	else
		*out = w.list;
	return err;
}

static int count(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	struct db_rows *r = NULL;
	int err = db_query(t, &r, f, "SELECT count(*) FROM secret_head", "");
	if (!err)
		err = db_next(r, f);
	if (err == 1)
		*w->count = db_int(r, 0);
	db_rows_end(r);
	return err < 0 ? err : 0;
}

int secrets_count(struct secrets *s, long long *out, struct fault *f)
{
	struct work w = {.s = s, .count = out};
	*out = 0;
	return db_read(s->db, count, &w, f);
}

// ---- changing ----

static int apply_put(struct db_tx *t, const struct work *w, struct secret *h, bool fresh, struct fault *f)
{
	const struct secret_version *made = &w->draft->versions[w->draft->count - 1];
	struct secret_version *v;
	int err = 0;
	if (fresh)
		*h = *w->draft;
	else if (memcmp(h->id, w->draft->id, sizeof h->id))
		return fault_set(f, -EEXIST, "%s was deleted and made anew meanwhile", w->name);
	for (unsigned int i = 0; i < h->count && !fresh && w->put->mode == SECRETS_REPLACE && !err; i++) {
		if (h->versions[i].state != SECRET_DESTROYED)
			err = destroy_version(t, w->name, &h->versions[i], f);
	}
	if (!err && !fresh) {
		err = secret_add_version(h, w->now, &v, f);
		if (!err && w->put->settings)
			err = secret_apply(h, v, w->put->settings, false, w->put->others, f);
		if (!err)
			memcpy(v->kid, made->kid, sizeof v->kid);
	}
	if (!err)
		err = write_value(w->s, t, w->name, h, h->last, w->new_value, w->new_len, f);
	return err ? err : write_head(w->s, t, w->name, h, f);
}

static int put(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	int err = read_head(w->s, t, w->name, w->h, f);
	bool fresh = err == -ENOENT;
	if (err && !fresh)
		return err;
	if (fresh && w->put->mode == SECRETS_ROTATE)
		return err;
	if (!fresh && w->put->mode == SECRETS_NEW)
		return fault_set(f, -EEXIST, "%s is there already; replacing the key of a volume makes what is sealed with the old one unreadable", w->name);
	return apply_put(t, w, w->h, fresh, f);
}

// What it will be: a new one, or what is there with one more version, so that the value can be made before the transaction, which may run twice.
static int draft(const struct secrets_put *p, struct secret *d, bool fresh, time_t now, struct secret_version **v, struct fault *f)
{
	int err = fresh ? secret_init(d, p->kind ? p->kind : "data", f) : 0;
	if (!err && !fresh && p->kind && strcmp(p->kind, d->kind))
		return fault_set(f, -EINVAL, "it is of kind %s, and stays so", d->kind);
	for (unsigned int i = 0; i < d->count && p->mode == SECRETS_REPLACE; i++)
		d->versions[i].state = SECRET_DESTROYED;	// so that there is room
	if (!err)
		err = secret_add_version(d, now, v, f);
	if (!err && (p->settings || fresh))
		err = secret_apply(d, *v, p->settings, fresh, p->others, f);
	if (!err && !p->value && !secret_is_made_here(d))
		err = fault_set(f, -EINVAL, "its value is the owner's: the broker cannot make one (kinds that it makes: random, aes-256, %s)", keypair_kinds());
	return err;
}

int secrets_put(struct secrets *s, const char *name, const struct secrets_put *p, time_t now, unsigned int *version, struct fault *f)
{
	struct secret *d = malloc(sizeof *d), *h = malloc(sizeof *h);
	struct secret_version *v = NULL;
	uint8_t *value = NULL;
	size_t len = 0;
	int err = d && h ? secrets_get(s, name, d, f) : fault_set(f, -ENOMEM, "out of memory");
	bool fresh = err == -ENOENT && p->mode != SECRETS_ROTATE;
	if (fresh)
		err = 0;
	if (!err && !fresh && p->mode == SECRETS_NEW)
		err = fault_set(f, -EEXIST, "%s is there already; replacing the key of a volume makes what is sealed with the old one unreadable", name);
	if (!err)
		err = draft(p, d, fresh, now, &v, f);
	if (!err)
		err = p->value ? secret_take_value(d, v, p->value, p->len, &value, &len, f) : secret_make_value(d, v, &value, &len, f);
	if (!err) {
		struct work w = {.s = s, .name = name, .now = now, .h = h, .put = p, .draft = d, .new_value = value, .new_len = len};
		err = db_write(s->db, put, &w, f);
	}
	if (!err && version)
		*version = h->last;
	free_wiped(value, len);
	free(d);
	free(h);
	return err < 0 ? err : 0;
}

static int set(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	struct secret_version *v;
	int err = read_head(w->s, t, w->name, w->h, f);
	if (!err)
		err = secret_choose(w->h, w->version, w->now, &v, f);
	if (!err)
		err = secret_apply(w->h, v, w->settings, false, w->others, f);
	if (!err && json_is_true(json_object_get(w->settings, "reset_uses")))
		err = db_run(t, f, "DELETE FROM secret_release WHERE resource = ?", "t", w->name);
	return err < 0 ? err : write_head(w->s, t, w->name, w->h, f);
}

static int change(struct secrets *s, struct work *w, db_work *what, struct fault *f)
{
	w->s = s;
	w->h = malloc(sizeof *w->h);
	int err = w->h ? db_write(s->db, what, w, f) : fault_set(f, -ENOMEM, "out of memory");
	free(w->h);
	return err < 0 ? err : 0;
}

int secrets_set(struct secrets *s, const char *name, unsigned int version, const json_t *settings, const char *const *others, time_t now, struct fault *f)
{
	struct work w = {.name = name, .version = version, .settings = settings, .others = others, .now = now};
	return change(s, &w, set, f);
}

static int set_state(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	struct secret *h = w->h;
	bool destroy = w->state == SECRET_DESTROYED;
	int err = read_head(w->s, t, w->name, h, f);
	if (!err && !w->version && !destroy)
		h->disabled = w->state == SECRET_DISABLED;
	bool found = !w->version;
	for (unsigned int i = 0; i < h->count && !err && (w->version || destroy); i++) {
		struct secret_version *v = &h->versions[i];
		if ((w->version && v->number != w->version) || (destroy && v->state == SECRET_DESTROYED && !w->version))
			continue;
		found = true;
		if (v->state == SECRET_DESTROYED)
			err = fault_set(f, -EINVAL, "version %u of %s is destroyed, and stays so", v->number, w->name);
		else if (destroy)
			err = destroy_version(t, w->name, v, f);
		else
			v->state = w->state;
	}
	if (!err && !found)
		err = fault_set(f, -ENOENT, "there is no version %u of %s", w->version, w->name);
	return err ? err : write_head(w->s, t, w->name, h, f);
}

int secrets_state(struct secrets *s, const char *name, unsigned int version, enum secret_state state, struct fault *f)
{
	struct work w = {.name = name, .version = version, .state = state};
	return change(s, &w, set_state, f);
}

static int delete(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	int gone = db_run(t, f, "DELETE FROM secret_head WHERE resource = ?", "t", w->name);
	int err = gone < 0 ? gone : db_run(t, f, "DELETE FROM secret_value WHERE resource = ?", "t", w->name);
	if (err >= 0)
		err = db_run(t, f, "DELETE FROM secret_release WHERE resource = ?", "t", w->name);
	if (err >= 0)
		err = guard_write(w->s->guard, t, "secret_head", w->name, NULL, 0, f);
	return err < 0 ? err : gone ? 0 : fault_set(f, -ENOENT, "there is no secret %s", w->name);
}

int secrets_delete(struct secrets *s, const char *name, struct fault *f)
{
	struct work w = {.name = name};
	return change(s, &w, delete, f);
}

// ---- values ----

static int use(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	struct secret_version *v;
	free_wiped(*w->value, *w->len);	// of an attempt before
	*w->value = NULL;
	int err = read_head(w->s, t, w->name, w->h, f);
	if (!err)
		err = secret_choose(w->h, w->version, w->now, &v, f);
	if (!err && v->state == SECRET_DESTROYED)
		err = fault_set(f, -EKEYREVOKED, "version %u of %s is destroyed", v->number, w->name);
	return err ? err : read_value(w->s, t, w->name, w->h, v->number, w->value, w->len, f);
}

int secrets_use(struct secrets *s, const char *name, unsigned int version, time_t now, struct secret *what, uint8_t **value, size_t *len, struct fault *f)
{
	struct work w = {.s = s, .name = name, .version = version, .now = now, .h = what, .value = value, .len = len};
	*value = NULL;
	*len = 0;
	return db_read(s->db, use, &w, f);
}

int secrets_read(struct secrets *s, const char *name, unsigned int version, time_t now, uint8_t **value, size_t *len, struct fault *f)
{
	struct secret *h = malloc(sizeof *h);
	int err = h ? secrets_use(s, name, version, now, h, value, len, f) : fault_set(f, -ENOMEM, "out of memory");
	if (!err && !secret_leaves(h)) {
		free_wiped(*value, *len);
		*value = NULL;
		err = fault_set(f, -EPERM, "%s is a key of kind %s, which never leaves the broker", name, h->kind);
	}
	free(h);
	return err;
}

// ---- releases ----

struct releasing {
	struct secrets *s;
	const struct secrets_ask *a;
	struct secrets_release *out;
	char who[WHO];
};

// The caller's key and what it wants done: the same again is the same use.
static int name_use(const struct secrets_ask *a, char who[WHO])
{
	uint8_t digest[32], request[32];
	char text[256];
	if (EVP_Digest(a->request ? a->request : "", a->request_len, request, NULL, EVP_sha256(), NULL) != 1)
		return -EIO;
	int n = snprintf(text, 128, "%s\n%s\n", a->thumbprint, a->operation);
	if (n >= 128)
		return -EINVAL;
	memcpy(text + n, request, sizeof request);
	if (EVP_Digest(text, (size_t)n + sizeof request, digest, NULL, EVP_sha256(), NULL) != 1)
		return -EIO;
	base64_encode(who, digest, sizeof digest, BASE64_URL);
	return 0;
}

// 1: this use was counted before.
static int was_released(struct db_tx *t, const struct releasing *r, unsigned int version, struct fault *f)
{
	struct db_rows *rows = NULL;
	uint8_t mac[32];
	size_t len;
	int err = db_query(t, &rows, f, "SELECT mac FROM secret_release WHERE resource = ? AND version = ? AND who = ?", "tit", r->a->name,
			   (long long)version, r->who);
	if (!err)
		err = db_next(rows, f);
	if (err == 1) {
		const void *there = db_blob(rows, 0, &len);
		if (release_mac(r->s, r->a->name, &r->out->what, version, r->who, mac) || len != sizeof mac || CRYPTO_memcmp(there, mac, sizeof mac))
			err = damaged(f, r->a->name);
	}
	db_rows_end(rows);
	return err;
}

// What it is now, whatever it was when the caller was told that it may: a key that stays does not leave because it took another's name meanwhile.
static int fits(const struct secret *h, const struct secrets_ask *a, struct fault *f)
{
	if (strcmp(a->operation, "read"))
		return keyop_possible(keyop_named(a->operation), h->kind, h->use) ? 0 : fault_set(f, -EINVAL, "%s is of kind %s: it does not %s", a->name, h->kind,
												 a->operation);
	return secret_leaves(h) ? 0 : fault_set(f, -EPERM, "%s is a key of kind %s, which never leaves the broker", a->name, h->kind);
}

// What may be given, as far as it is decided by looking: 0 when it is there, -EINPROGRESS when it has to be counted first.
static int look(struct db_tx *t, struct releasing *r, struct secret_version **v, struct fault *f)
{
	struct secrets_release *o = r->out;
	free_wiped(o->value, o->len);	// of an attempt before
	o->value = NULL;
	o->len = 0;
	int err = read_head(r->s, t, r->a->name, &o->what, f);
	if (!err)
		err = secret_choose(&o->what, r->a->version, r->a->now, v, f);
	if (!err)
		err = secret_usable(&o->what, *v, r->a->now, f);
	if (!err)
		err = fits(&o->what, r->a, f);
	if (err)
		return err;
	o->version = (*v)->number;
	o->counted = secret_is_limited(&o->what);
	if (o->counted) {
		err = was_released(t, r, o->version, f);
		if (err < 0)
			return err;
		o->again = err == 1;
		if (!o->again)
			return (err = secret_has_uses(&o->what, *v, f)) ? err : -EINPROGRESS;
	}
	return read_value(r->s, t, r->a->name, &o->what, o->version, &o->value, &o->len, f);
}

static int look_only(struct db_tx *t, void *ctx, struct fault *f)
{
	struct secret_version *v;
	return look(t, ctx, &v, f);
}

static int count_use(struct db_tx *t, void *ctx, struct fault *f)
{
	struct releasing *r = ctx;
	struct secrets_release *o = r->out;
	struct secret_version *v;
	uint8_t mac[32];
	int err = look(t, r, &v, f);
	if (err != -EINPROGRESS)	// another thread, or broker, was faster
		return err;
	v->used++;
	o->what.used_total++;
	o->use = o->what.uses ? v->used : o->what.used_total;
	o->uses = o->what.uses ? o->what.uses : o->what.uses_total;
	err = release_mac(r->s, r->a->name, &o->what, o->version, r->who, mac);
	if (err)
		return fault_set(f, err, "OpenSSL cannot authenticate");
	err = db_run(t, f, "INSERT INTO secret_release VALUES(?, ?, ?, ?)", "titb", r->a->name, (long long)o->version, r->who, mac, sizeof mac);
	if (err >= 0)
		err = write_head(r->s, t, r->a->name, &o->what, f);
	return err < 0 ? err : read_value(r->s, t, r->a->name, &o->what, o->version, &o->value, &o->len, f);
}

int secrets_release(struct secrets *s, const struct secrets_ask *a, struct secrets_release *out, struct fault *f)
{
	struct releasing r = {.s = s, .a = a, .out = out};
	out->value = NULL;
	out->len = 0;
	out->counted = out->again = false;
	out->use = out->uses = 0;
	if (name_use(a, r.who))
		return fault_set(f, -EIO, "OpenSSL cannot hash");
	int err = db_read(s->db, look_only, &r, f);	// most are not counted, or are too late: they disturb no writer
	if (err == -EINPROGRESS)
		err = db_write(s->db, count_use, &r, f);
	if (err) {
		free_wiped(out->value, out->len);
		out->value = NULL;
		out->len = 0;
	}
	return err;
}

// ---- another master key ----

// A row that was encrypted under the one key, under the other.
static int reseal(const uint8_t was[32], const uint8_t is[32], const char *aad, const char *name, const void *old, size_t old_len, uint8_t **out,
		  size_t *out_len, struct fault *f)
{
	uint8_t *plain = NULL;
	size_t len = 0;
	int err = unseal(was, aad, old, old_len, &plain, &len);
	if (err)
		return err == -EBADMSG ? damaged(f, name) : fault_set(f, err, "out of memory");
	err = seal(is, aad, plain, len, out, out_len, f);
	free_wiped(plain, len);
	return err;
}

// One secret is taken into memory at a time, whatever the number of them.
static int rekey_values(const struct secrets *s, const struct secrets *is, struct db_tx *t, const char *name, const struct secret *h,
			unsigned long long *count, struct fault *f)
{
	struct db_rows *r = NULL;
	char aad[MAX_AAD];
	size_t len, new_len;
	int err = db_query(t, &r, f, "SELECT version, sealed FROM secret_value WHERE resource = ? ORDER BY version", "t", name);
	while (!err && (err = db_next(r, f)) == 1) {
		long long version = db_int(r, 0);
		const void *old = db_blob(r, 1, &len);
		uint8_t *sealed = NULL;
		value_aad(aad, name, h, (unsigned int)version);
		err = reseal(s->value_key, is->value_key, aad, name, old, len, &sealed, &new_len, f);
		if (!err)
			err = db_run(t, f, "UPDATE secret_value SET sealed = ? WHERE resource = ? AND version = ?", "bti", sealed, new_len, name, version);
		free(sealed);
		err = err < 0 ? err : 0;
		++*count;
	}
	db_rows_end(r);
	return err;
}

static int rekey_releases(const struct secrets *s, const struct secrets *is, struct db_tx *t, const char *name, const struct secret *h, struct fault *f)
{
	struct db_rows *r = NULL;
	uint8_t mac[32];
	size_t len;
	int err = db_query(t, &r, f, "SELECT version, who, mac FROM secret_release WHERE resource = ? ORDER BY version, who", "t", name);
	while (!err && (err = db_next(r, f)) == 1) {
		long long version = db_int(r, 0);
		const char *who = db_text(r, 1);
		const void *found = db_blob(r, 2, &len);
		if (!who || release_mac(s, name, h, (unsigned int)version, who, mac) || len != sizeof mac || CRYPTO_memcmp(found, mac, sizeof mac))
			err = damaged(f, name);
		else if (release_mac(is, name, h, (unsigned int)version, who, mac))
			err = fault_set(f, -EIO, "OpenSSL cannot authenticate");
		else
			err = db_run(t, f, "UPDATE secret_release SET mac = ? WHERE resource = ? AND version = ? AND who = ?", "btit", mac, sizeof mac, name,
				     version, who);
		err = err < 0 ? err : 0;
	}
	db_rows_end(r);
	return err;
}

static int rekey_one(const struct secrets *s, const struct secrets *is, struct guard_rekey *k, struct db_tx *t, const char *name, const void *head,
		     size_t head_len, struct secret *h, unsigned long long *count, struct fault *f)
{
	char aad[MAX_AAD];
	uint8_t *sealed = NULL;
	size_t len;
	head_aad(aad, name);
	int err = open_head(s, name, head, head_len, h, f);
	if (!err)
		err = reseal(s->head_key, is->head_key, aad, name, head, head_len, &sealed, &len, f);
	if (!err)
		err = guard_rekey_row(k, "secret_head", name, head, head_len, sealed, len, f);
	if (!err)
		err = db_run(t, f, "UPDATE secret_head SET head = ? WHERE resource = ?", "bt", sealed, len, name);
	free(sealed);
	if (err >= 0)
		err = rekey_values(s, is, t, name, h, count, f);
	return err < 0 ? err : rekey_releases(s, is, t, name, h, f);
}

int secrets_rekey(const struct secrets *s, const uint8_t new_key[32], struct guard_rekey *k, struct db_tx *t, unsigned long long *count, struct fault *f)
{
	struct secrets is = {.db = s->db};
	struct secret *h = malloc(sizeof *h);
	struct db_rows *r = NULL;
	size_t len;
	*count = 0;
	int err = h ? derive(&is, new_key, f) : fault_set(f, -ENOMEM, "out of memory");
	// Rows that hang on none are nobody's.
	if (!err)
		err = db_run(t, f, "DELETE FROM secret_value WHERE resource NOT IN (SELECT resource FROM secret_head)", "");
	if (err >= 0)
		err = db_run(t, f, "DELETE FROM secret_release WHERE resource NOT IN (SELECT resource FROM secret_head)", "");
	if (err >= 0)
		err = db_query(t, &r, f, "SELECT resource, head FROM secret_head ORDER BY resource", "");
	while (!err && (err = db_next(r, f)) == 1) {
		const void *head = db_blob(r, 1, &len);
		err = rekey_one(s, &is, k, t, db_text(r, 0), head, len, h, count, f);
	}
	db_rows_end(r);
	free(h);
	explicit_bzero(&is, sizeof is);
	return err < 0 ? err : 0;
}
