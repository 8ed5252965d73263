// SPDX-License-Identifier: Apache-2.0
// See identities.h. `lock` guards the copy in memory; it is not held while the database works.
#include "broker/identities.h"
#include "lib/encode.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_IDENTITIES 1000
#define MAC_BYTES 32

static const struct db_migration tables[] = {
	{.both = "CREATE TABLE identity(name TEXT PRIMARY KEY, roles INTEGER NOT NULL, prefixes TEXT NOT NULL, keyid TEXT NOT NULL UNIQUE,"
		 " pem TEXT NOT NULL, created INTEGER NOT NULL, author TEXT NOT NULL) STRICT;"
		 "CREATE TABLE identity_head(one INTEGER PRIMARY KEY, version INTEGER NOT NULL, mac BLOB NOT NULL) STRICT;"
		 "CREATE TABLE admin_nonce(keyid TEXT NOT NULL, nonce TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY(keyid, nonce)) STRICT;"
		 "CREATE INDEX admin_nonce_until ON admin_nonce(until);"},
};

struct list {
	long long version;	// 0: there never was one
	unsigned int count;
	struct identity *all;	// sorted by name
};

struct identities {
	struct db *db;
	struct guard *guard;	// of the one row of identity_head, whose MAC is over the others
	const struct store *store;
	pthread_mutex_t lock;
	struct list now;
};

static const struct { const char *name; unsigned int bit; } roles[] = {
	{"admin", ROLE_ADMIN}, {"owner", ROLE_OWNER}, {"operator", ROLE_OPERATOR}, {"auditor", ROLE_AUDITOR}, {"approver", ROLE_APPROVER},
};
enum { ROLES = sizeof roles / sizeof *roles };

unsigned int roles_parse(const char *text)
{
	unsigned int bits = 0;
	for (const char *p = text;;) {
		size_t n = strcspn(p, ","), k = 0;
		while (k < ROLES && (strlen(roles[k].name) != n || memcmp(p, roles[k].name, n)))
			k++;
		if (k == ROLES)
			return 0;
		bits |= roles[k].bit;
		if (!p[n])
			return bits;
		p += n + 1;
	}
}

json_t *roles_json(unsigned int bits)
{
	json_t *list = json_array();
	for (size_t k = 0; k < ROLES; k++) {
		if (bits & roles[k].bit)
			json_array_append_new(list, json_string(roles[k].name));
	}
	return list;
}

json_t *prefixes_json(const char *prefixes)
{
	json_t *list = json_array();
	for (const char *p = prefixes; *p;) {
		size_t n = strcspn(p, ",");
		json_array_append_new(list, json_stringn(p, n));
		p += n + (p[n] == ',');
	}
	return list;
}

// Over all of it, each part with its length.
static int mac_of(const struct identities *s, const struct list *l, uint8_t mac[MAC_BYTES])
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	if (!out)
		return -ENOMEM;
	fprintf(out, "%lld.", l->version);
	for (unsigned int i = 0; i < l->count; i++) {
		const struct identity *e = &l->all[i];
		const char *const parts[] = {e->name, e->prefixes, e->keyid, e->pem, e->by};
		for (size_t k = 0; k < 5; k++)
			fprintf(out, "%zu:%s", strlen(parts[k]), parts[k]);
		fprintf(out, "%u.%lld.", e->roles, e->created);
	}
	int err = fclose(out) ? -ENOMEM : store_mac(s->store, "identities", text, len, mac);
	free(text);
	return err;
}

static bool copy(char *out, size_t size, const char *from)
{
	bool fits = from && strlen(from) < size;
	if (fits)
		strcpy(out, from);
	return fits;
}

static bool read_row(struct db_rows *r, struct identity *e)
{
	memset(e, 0, sizeof *e);
	e->roles = (unsigned int)db_int(r, 1);
	e->created = db_int(r, 5);
	return copy(e->name, sizeof e->name, db_text(r, 0)) && copy(e->prefixes, sizeof e->prefixes, db_text(r, 2)) &&
	       copy(e->keyid, sizeof e->keyid, db_text(r, 3)) && copy(e->pem, sizeof e->pem, db_text(r, 4)) &&
	       copy(e->by, sizeof e->by, db_text(r, 6));
}

static int damaged(struct fault *f)
{
	return fault_set(f, -EBADMSG, "the identities were changed outside the broker: none of them counts. Put the newest copy "
			 "of the database back");
}

struct head {	// of the row, as it is guarded
	long long version;
	uint8_t mac[MAC_BYTES];
};

static int read_head(struct db_tx *t, const struct identities *s, struct head *h, struct fault *f)
{
	struct db_rows *r;
	size_t len = 0;
	int err = db_query(t, &r, f, "SELECT version, mac FROM identity_head WHERE one = 1", "");
	memset(h, 0, sizeof *h);
	if (!err && (err = db_next(r, f)) == 1) {
		const void *bytes = db_blob(r, 1, &len);
		h->version = db_int(r, 0);
		err = len == MAC_BYTES && h->version > 0 ? 0 : damaged(f);
		if (!err)
			memcpy(h->mac, bytes, MAC_BYTES);
	}
	db_rows_end(r);
	return err < 0 ? err : guard_read(s->guard, t, "identity_head", "1", h->version ? h : NULL, sizeof *h, f);
}

// All of it, checked. *l was zeroed, or is filled anew.
static int read_all(struct db_tx *t, const struct identities *s, struct list *l, struct fault *f)
{
	uint8_t is[MAC_BYTES];
	struct head said;
	struct db_rows *r = NULL;
	l->count = 0;
	int err = read_head(t, s, &said, f);
	l->version = said.version;
	if (!err)
		err = db_query(t, &r, f, "SELECT name, roles, prefixes, keyid, pem, created, author FROM identity ORDER BY name", "");
	while (!err && (err = db_next(r, f)) == 1) {
		struct identity *more = l->count < MAX_IDENTITIES ? realloc(l->all, (l->count + 1) * sizeof *more) : NULL;
		if (more)
			l->all = more;
		err = !more ? -ENOMEM : read_row(r, &l->all[l->count]) ? 0 : damaged(f);
		l->count++;
	}
	db_rows_end(r);
	if (err < 0)
		return err;
	if (!l->version)
		return l->count ? damaged(f) : 0;
	err = mac_of(s, l, is);
	return err ? fault_set(f, err, "cannot check the identities") : CRYPTO_memcmp(said.mac, is, MAC_BYTES) ? damaged(f) : 0;
}

struct look {
	const struct identities *s;
	long long base;		// version of the copy in memory before the look
	struct list fresh;
	bool changed;
};

// Reads what is new since the copy in memory.
static int look(struct db_tx *t, void *ctx, struct fault *f)
{
	struct look *k = ctx;
	struct head now;
	int err = read_head(t, k->s, &now, f);
	k->changed = now.version != k->base;
	return err || !k->changed ? err : read_all(t, k->s, &k->fresh, f);
}

static int refresh(struct identities *s, struct fault *f)
{
	struct look k = {.s = s};
	pthread_mutex_lock(&s->lock);
	k.base = s->now.version;
	pthread_mutex_unlock(&s->lock);
	int err = db_read(s->db, look, &k, f);
	// Versions only rise: an older state of the table is none that a broker in use takes.
	if (!err && k.changed && k.fresh.version < k.base)
		err = damaged(f);
	if (!err && k.changed) {
		pthread_mutex_lock(&s->lock);
		if (k.fresh.version > s->now.version) {	// otherwise another request was faster
			struct list old = s->now;
			s->now = k.fresh;
			k.fresh = old;
		}
		pthread_mutex_unlock(&s->lock);
	}
	free(k.fresh.all);
	return err;
}

int identities_tables(struct db *db, struct fault *f)
{
	return db_migrate(db, "identity", tables, sizeof tables / sizeof *tables, f);
}

int identities_open(struct identities **out, struct db *db, struct guard *guard, const struct store *store, struct fault *f)
{
	struct identities *s = calloc(1, sizeof *s);
	if (!s)
		return fault_set(f, -ENOMEM, "out of memory");
	pthread_mutex_init(&s->lock, NULL);
	s->db = db;
	s->guard = guard;
	s->store = store;
	int err = identities_tables(db, f);
	if (err)
		identities_close(s);
	else
		*out = s;
	return err;
}

void identities_close(struct identities *s)
{
	if (!s)
		return;
	free(s->now.all);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static int find(struct identities *s, const char *name, const char *keyid, struct identity *out, struct fault *f)
{
	int err = refresh(s, f);
	if (err)
		return err;
	err = -ENOENT;
	pthread_mutex_lock(&s->lock);
	for (unsigned int i = 0; i < s->now.count && err; i++) {
		const struct identity *e = &s->now.all[i];
		if (name ? !strcmp(e->name, name) : !strcmp(e->keyid, keyid)) {
			*out = *e;
			err = 0;
		}
	}
	pthread_mutex_unlock(&s->lock);
	return err ? fault_set(f, err, "there is no identity %.100s", name ? name : keyid) : 0;
}

int identities_find(struct identities *s, const char *keyid, struct identity *out, struct fault *f)
{
	return find(s, NULL, keyid, out, f);
}

int identities_find_name(struct identities *s, const char *name, struct identity *out, struct fault *f)
{
	return find(s, name, NULL, out, f);
}

static unsigned int admins(const struct list *l)
{
	unsigned int n = 0;
	for (unsigned int i = 0; i < l->count; i++)
		n += (l->all[i].roles & ROLE_ADMIN) != 0;
	return n;
}

int identities_admins(struct identities *s, struct fault *f)
{
	int err = refresh(s, f);
	pthread_mutex_lock(&s->lock);
	unsigned int n = admins(&s->now);
	pthread_mutex_unlock(&s->lock);
	return err ? err : (int)n;
}

int identities_list(struct identities *s, json_t **out, struct fault *f)
{
	int err = refresh(s, f);
	if (err)
		return err;
	*out = json_array();
	pthread_mutex_lock(&s->lock);
	for (unsigned int i = 0; i < s->now.count; i++) {
		const struct identity *e = &s->now.all[i];
		const char *kind = !strncmp(e->keyid, "x509:", 5) ? "certificate" : !strncmp(e->keyid, "name:", 5) ? "certificate-name" : "key";
		char when[32];
		time_text(when, (time_t)e->created);
		json_t *o = json_pack("{s:s, s:o, s:o, s:s, s:s, s:s, s:s}", "name", e->name, "roles", roles_json(e->roles), "resources",
				      prefixes_json(e->prefixes), "kind", kind, "key", strchr(e->keyid, ':') ? strchr(e->keyid, ':') + 1 : e->keyid,
				      "created", when, "by", e->by);
		if (o && e->pem[0])
			json_object_set_new(o, "public_key", json_string(e->pem));
		json_array_append_new(*out, o);
	}
	pthread_mutex_unlock(&s->lock);
	return 0;
}

struct change {
	const struct identities *s;
	const struct identity *add;	// or:
	const char *name;
	bool remove;
	unsigned int roles;
	const char *prefixes;
	bool superuser;
};

static int apply(struct list *l, const struct change *c, struct db_tx *t, struct fault *f)
{
	unsigned int before = admins(l), i = 0;
	if (c->add) {
		for (unsigned int k = 0; k < l->count; k++) {
			if (!strcmp(l->all[k].name, c->add->name))
				return fault_set(f, -EEXIST, "there is an identity %s already", c->add->name);
			if (!strcmp(l->all[k].keyid, c->add->keyid))
				return fault_set(f, -EEXIST, "that key is %s's already", l->all[k].name);
		}
		struct identity *more = l->count < MAX_IDENTITIES ? realloc(l->all, (l->count + 1) * sizeof *more) : NULL;
		if (!more)
			return fault_set(f, -ENOSPC, "more than %d identities", MAX_IDENTITIES);
		l->all = more;
		while (i < l->count && strcmp(more[i].name, c->add->name) < 0)
			i++;
		memmove(more + i + 1, more + i, (l->count++ - i) * sizeof *more);
		more[i] = *c->add;
		const struct identity *e = &more[i];
		return db_run(t, f, "INSERT INTO identity(name, roles, prefixes, keyid, pem, created, author) VALUES(?, ?, ?, ?, ?, ?, ?)", "tittt" "it",
			      e->name, (long long)e->roles, e->prefixes, e->keyid, e->pem, e->created, e->by);
	}
	while (i < l->count && strcmp(l->all[i].name, c->name))
		i++;
	if (i == l->count)
		return fault_set(f, -ENOENT, "there is no identity %.100s", c->name);
	struct identity *e = &l->all[i];
	int err;
	if (c->remove) {
		memmove(e, e + 1, (--l->count - i) * sizeof *e);
		err = db_run(t, f, "DELETE FROM identity WHERE name = ?", "t", c->name);
	} else {
		e->roles = c->roles;
		strcpy(e->prefixes, c->prefixes);
		err = db_run(t, f, "UPDATE identity SET roles = ?, prefixes = ? WHERE name = ?", "itt", (long long)e->roles, e->prefixes, c->name);
	}
	if (err >= 0 && before && !admins(l) && !c->superuser)
		return fault_set(f, -EBUSY, "%s is the last admin: make another one first", c->name);
	return err;
}

static int change_work(struct db_tx *t, void *ctx, struct fault *f)
{
	const struct change *c = ctx;
	struct list l = {0};
	struct head now;
	int err = read_all(t, c->s, &l, f);
	if (!err && (err = apply(&l, c, t, f)) >= 0) {
		now.version = ++l.version;
		err = mac_of(c->s, &l, now.mac);
		if (err)
			fault_set(f, err, "cannot authenticate the identities");
		else
			err = db_run(t, f, "INSERT INTO identity_head(one, version, mac) VALUES(1, ?, ?) ON CONFLICT (one) DO UPDATE SET"
				     " version = excluded.version, mac = excluded.mac", "ib", l.version, now.mac, sizeof now.mac);
		if (err >= 0)
			err = guard_write(c->s->guard, t, "identity_head", "1", &now, sizeof now, f);
	}
	free(l.all);
	return err < 0 ? err : 0;
}

int identities_add(struct identities *s, const struct identity *i, struct fault *f)
{
	return db_write(s->db, change_work, &(struct change){.s = s, .add = i}, f);
}

int identities_remove(struct identities *s, const char *name, bool superuser, struct fault *f)
{
	return db_write(s->db, change_work, &(struct change){.s = s, .name = name, .remove = true, .superuser = superuser}, f);
}

int identities_change(struct identities *s, const char *name, unsigned int bits, const char *prefixes, bool superuser, struct fault *f)
{
	return db_write(s->db, change_work, &(struct change){.s = s, .name = name, .roles = bits, .prefixes = prefixes, .superuser = superuser}, f);
}

int identities_rekey(const struct identities *s, const struct store *is, struct guard_rekey *k, struct db_tx *t, struct fault *f)
{
	const struct identities under = {.store = is};
	struct list l = {0};
	struct head was, now;
	int err = read_all(t, s, &l, f);	// checks them
	if (!err)
		err = read_head(t, s, &was, f);
	if (!err && l.version) {
		now = was;
		err = mac_of(&under, &l, now.mac) ? fault_set(f, -EIO, "cannot authenticate the identities") :
		      guard_rekey_row(k, "identity_head", "1", &was, sizeof was, &now, sizeof now, f);
		if (!err)
			err = db_run(t, f, "UPDATE identity_head SET mac = ? WHERE one = 1", "b", now.mac, sizeof now.mac);
	}
	free(l.all);
	return err < 0 ? err : 0;
}

struct nonce {
	const char *keyid, *nonce;
	long long now, until;
};

static int nonce_work(struct db_tx *t, void *ctx, struct fault *f)
{
	const struct nonce *n = ctx;
	int err = db_run(t, f, "DELETE FROM admin_nonce WHERE until < ?", "i", n->now);
	if (err >= 0)
		err = db_run(t, f, "INSERT INTO admin_nonce(keyid, nonce, until) VALUES(?, ?, ?) ON CONFLICT (keyid, nonce) DO NOTHING", "tti", n->keyid,
			     n->nonce, n->until);
	return err == 0 ? fault_set(f, -EALREADY, "this request was made before: its nonce is used") : err < 0 ? err : 0;
}

int identities_nonce(struct identities *s, const char *keyid, const char *nonce, long long now, long long until, struct fault *f)
{
	return db_write(s->db, nonce_work, &(struct nonce){keyid, nonce, now, until}, f);
}
