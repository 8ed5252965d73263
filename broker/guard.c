// SPDX-License-Identifier: Apache-2.0
// See guard.h: rows. `lock` guards what is remembered, and is never held while the database is asked.
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "broker/audit.h"
#include "broker/guard_inner.h"
#include "lib/file.h"
#include "lib/tls.h"

#define STALE_ATTEMPTS 10	// a transaction may have begun before what is remembered took effect; not ten times
#define LOOKS_APART_MS 60000	// a transaction does not take so long
#define FORGOTTEN (-1ll)	// a stamp: another broker took the row away, it is not known when

static const struct db_migration tables[] = {
	{.both = "CREATE TABLE guard(area TEXT NOT NULL, name TEXT NOT NULL, stamp INTEGER NOT NULL, mac BLOB NOT NULL, PRIMARY KEY(area, name))"
		 " STRICT;"
		 "CREATE TABLE guard_lane(lane TEXT PRIMARY KEY, version INTEGER NOT NULL, sealed BLOB NOT NULL) STRICT;",
	 .postgres = "CREATE SEQUENCE guard_clock;"},
};

int guard_mac(EVP_MAC_CTX *keyed, uint8_t out[32], ...)
{
	EVP_MAC_CTX *c = EVP_MAC_CTX_dup(keyed);
	size_t len = 0;
	bool ok = c != NULL;
	const void *p;
	va_list ap;
	va_start(ap, out);
	while (ok && (p = va_arg(ap, const void *))) {
		size_t n = va_arg(ap, size_t);
		uint64_t size = n;
		ok = EVP_MAC_update(c, (const uint8_t *)&size, sizeof size) == 1 && EVP_MAC_update(c, p, n) == 1;
	}
	va_end(ap);
	ok = ok && EVP_MAC_final(c, out, &len, 32) == 1 && len == 32;
	EVP_MAC_CTX_free(c);
	return ok ? 0 : -EIO;
}

int guard_row_mac(struct guard *g, const char *table, const char *name, long long stamp, const void *content, size_t len, uint8_t out[32])
{
	return guard_mac(g->row_mac, out, table, strlen(table), name, strlen(name), &stamp, sizeof stamp, content, len, NULL);
}

// What a row adds to the digest.
int guard_row_share(struct guard *g, const char *table, const char *name, long long stamp, const void *mac, size_t len, uint8_t out[GUARD_SUM])
{
	return guard_mac(g->sum_mac, out, table, strlen(table), name, strlen(name), &stamp, sizeof stamp, len ? mac : "", len, NULL);
}

static int row_of(struct guard *g, const char *table, const char *name, uint64_t *row)
{
	uint8_t mac[32];
	int err = guard_mac(g->sum_mac, mac, "row", (size_t)3, table, strlen(table), name, strlen(name), NULL);
	memcpy(row, mac, sizeof *row);
	return err;
}

// ---- what is remembered ----

// Where the row is, or would be.
static struct guard_stamp *place(struct guard_stamp *stamps, size_t room, uint64_t row)
{
	size_t i = row & (room - 1);
	while (stamps[i].stamp && stamps[i].row != row)
		i = (i + 1) & (room - 1);
	return &stamps[i];
}

// 0: nothing is known of it.
static long long stamp_of(struct guard_stamp *stamps, size_t room, uint64_t row)
{
	long long stamp = room ? place(stamps, room, row)->stamp : 0;
	return stamp == FORGOTTEN ? 0 : stamp;
}

// Rows that are gone are remembered only where what is not remembered may be there: names that come and go do not add up.
static bool needed(const struct guard *g, const struct guard_stamp *s)
{
	return s->stamp > 0 || (g->shared && s->stamp && s->stamp != FORGOTTEN && -s->stamp > g->floor);
}

// With the lock held.
static int make_room(struct guard *g)
{
	size_t room = 256, live = 0;
	for (size_t i = 0; i < g->room; i++)
		live += needed(g, &g->stamps[i]);
	while (live * 4 >= room)
		room *= 2;
	struct guard_stamp *more = calloc(room, sizeof *more);
	if (!more)
		return -ENOMEM;
	for (size_t i = 0; i < g->room; i++) {
		if (needed(g, &g->stamps[i]))
			*place(more, room, g->stamps[i].row) = g->stamps[i];
	}
	free(g->stamps);
	g->stamps = more;
	g->room = room;
	g->used = live;
	return 0;
}

// With the lock held. A newer one stays.
static int remember(struct guard *g, const struct guard_stamp *s)
{
	if (g->used * 2 >= g->room && make_room(g))
		return -ENOMEM;
	struct guard_stamp *p = place(g->stamps, g->room, s->row);
	g->used += !p->stamp;
	if (llabs(s->stamp) >= llabs(p->stamp))
		*p = *s;
	return 0;
}

static long long remembered(struct guard *g, uint64_t row, long long *floor, bool *damaged)
{
	pthread_mutex_lock(&g->lock);
	long long stamp = stamp_of(g->stamps, g->room, row);
	*damaged = g->damaged;
	*floor = g->floor;
	pthread_mutex_unlock(&g->lock);
	return stamp;
}

// ---- a transaction ----

static struct guard_stamp *pending(struct guard_tx *x, uint64_t row)
{
	for (unsigned int i = 0; x && i < x->count; i++) {
		if (x->rows[i].row == row)
			return &x->rows[i];
	}
	return NULL;
}

static struct guard_tx *own(struct db_tx *t, struct fault *f)
{
	void **data = db_data(t);
	if (!*data)
		*data = calloc(1, sizeof(struct guard_tx));
	if (!*data)
		fault_set(f, -ENOMEM, "out of memory");
	return *data;
}

void guard_later(struct guard *g, struct db_tx *t)
{
	struct guard_tx *x = own(t, NULL);
	(void)g;
	if (x)
		x->later = true;
}

int guard_stamp_next(struct guard *g, struct db_tx *t, long long *out, struct fault *f)
{
	struct db_rows *r = NULL;
	if (!g->shared) {
		pthread_mutex_lock(&g->lock);
		*out = g->clock + 1;
		pthread_mutex_unlock(&g->lock);
		return 0;
	}
	int err = db_query(t, &r, f, "SELECT nextval('guard_clock')", "");
	if (!err && (err = db_next(r, f)) == 1) {
		*out = db_int(r, 0);
		err = *out > 0 ? 0 : fault_set(f, -EBADMSG, "the broker's database: its sequence guard_clock was changed");
	}
	db_rows_end(r);
	return err;
}

// Its stamp, greater than that of each transaction that touched the same rows before: where brokers share a database, a sequence's
// next number is asked for after the transaction's view of the rows was taken, or it fails as unserializable.
static int stamp(struct guard *g, struct db_tx *t, struct guard_tx *x, struct fault *f)
{
	return x->stamp ? 0 : guard_stamp_next(g, t, &x->stamp, f);
}

// 0: none, 1: found; its stamp and MAC.
static int find(struct db_tx *t, const char *table, const char *name, long long *stamp, uint8_t mac[32], size_t *len, struct fault *f)
{
	struct db_rows *r = NULL;
	int err = db_query(t, &r, f, "SELECT stamp, mac FROM guard WHERE area = ? AND name = ?", "tt", table, name);
	if (!err)
		err = db_next(r, f);
	if (err == 1) {
		const void *found = db_blob(r, 1, len);
		*stamp = db_int(r, 0);
		if (*len > 32 || *stamp <= 0)
			err = fault_set(f, -EBADMSG, "the broker's database was changed outside the broker: the guard of %.100s %.300s is not one",
					table, name);
		else if (*len)
			memcpy(mac, found, *len);
	}
	db_rows_end(r);
	return err;
}

static int put_back(const struct guard *g, struct db_tx *t, const char *table, const char *name, struct fault *f)
{
	if (g->shared && db_attempt(t) < STALE_ATTEMPTS)
		return -EAGAIN;
	return fault_set(f, -EBADMSG, "the broker's database was changed outside the broker: %.100s %.300s is not as it was last written", table, name);
}

// A look at all rows.
struct look {
	struct guard *g;
	uint8_t rows[GUARD_SUM], sum[GUARD_SUM];
	struct guard_lane *lanes;
	unsigned int lane_count;
	struct guard_stamp *found;	// of all rows
	size_t count, room;
	struct guard_stamp *before;	// what was remembered before
	size_t before_room;
	struct guard_lane *lanes_before;
	unsigned int lanes_before_count;
};

static int look_at_all(struct db_tx *t, void *ctx, struct fault *f);
static int begin_look(struct guard *g, struct look *l, bool rows, struct fault *f);
static void end_look(struct look *l);

// A row that was known is not there, though this broker did not take it away. Did another one? Then what is there fits together.
static int check_missing(struct guard *g, struct db_tx *t, uint64_t row, long long known, struct fault *f)
{
	struct look l = {.g = g};
	int err = begin_look(g, &l, false, f);
	if (!err)
		err = look_at_all(t, &l, f);
	end_look(&l);
	if (err)
		return err;
	pthread_mutex_lock(&g->lock);
	struct guard_stamp *p = place(g->stamps, g->room, row);
	if (p->stamp == known)
		p->stamp = FORGOTTEN;
	pthread_mutex_unlock(&g->lock);
	return 0;
}

// Is this stamp (0: no such row) what may be there?
static int check_stamp(struct guard *g, struct db_tx *t, const char *table, const char *name, uint64_t row, long long stamp, struct fault *f)
{
	const struct guard_stamp *p = pending(*db_data(t), row);
	if (p)
		return stamp == (p->stamp > 0 ? p->stamp : 0) ? 0 : put_back(g, t, table, name, f);
	bool damaged;
	long long floor, known = remembered(g, row, &floor, &damaged);
	if (damaged)
		return fault_set(f, -EBADMSG, "the broker's database was changed outside the broker, as was found earlier: put its newest copy back and "
				 "start the brokers again");
	if (!g->shared)
		return stamp == (known > 0 ? known : 0) ? 0 : put_back(g, t, table, name, f);
	if (stamp && (known > 0 ? stamp < known : stamp <= -known || stamp <= floor))
		return put_back(g, t, table, name, f);
	if (!stamp && known > 0)
		return check_missing(g, t, row, known, f);
	if (stamp > known) {
		pthread_mutex_lock(&g->lock);
		int err = remember(g, &(struct guard_stamp){row, stamp});
		pthread_mutex_unlock(&g->lock);
		return err ? fault_set(f, err, "out of memory") : 0;
	}
	return 0;
}

int guard_read(struct guard *g, struct db_tx *t, const char *table, const char *name, const void *content, size_t len, struct fault *f)
{
	uint8_t mac[32], right[32];
	long long stamp = 0;
	size_t mac_len = 0;
	uint64_t row = 0;
	int err = row_of(g, table, name, &row) ? fault_set(f, -EIO, "cannot hash") : find(t, table, name, &stamp, mac, &mac_len, f);
	if (err < 0)
		return err;
	if (!err != !content)
		return put_back(g, t, table, name, f);
	if (content && (guard_row_mac(g, table, name, stamp, content, len, right) || mac_len != sizeof mac || CRYPTO_memcmp(mac, right, sizeof mac)))
		return put_back(g, t, table, name, f);
	return check_stamp(g, t, table, name, row, stamp, f);
}

static int add_pending(struct guard_tx *x, uint64_t row, long long stamp, struct fault *f)
{
	struct guard_stamp *p = pending(x, row);
	if (!p) {
		struct guard_stamp *more = realloc(x->rows, (x->count + 1) * sizeof *more);
		if (!more)
			return fault_set(f, -ENOMEM, "out of memory");
		x->rows = more;
		p = &more[x->count++];
	}
	*p = (struct guard_stamp){row, stamp};
	return 0;
}

int guard_write(struct guard *g, struct db_tx *t, const char *table, const char *name, const void *content, size_t len, struct fault *f)
{
	struct guard_tx *x = own(t, f);
	uint8_t mac[32], share[GUARD_SUM];
	long long old = 0;
	size_t mac_len = 0;
	uint64_t row = 0;
	if (!x)
		return -ENOMEM;
	int err = stamp(g, t, x, f);
	if (!err)
		err = row_of(g, table, name, &row) ? fault_set(f, -EIO, "cannot hash") : find(t, table, name, &old, mac, &mac_len, f);
	if (err < 0)
		return err;
	bool there = err;
	err = check_stamp(g, t, table, name, row, old, f);
	if (err)
		return err;
	if (old > x->stamp)
		return put_back(g, t, table, name, f);
	if (there) {
		if (guard_row_share(g, table, name, old, mac, mac_len, share))
			return fault_set(f, -EIO, "cannot hash");
		guard_add(x->delta, share, true);
	}
	if (content) {
		if (guard_row_mac(g, table, name, x->stamp, content, len, mac) || guard_row_share(g, table, name, x->stamp, mac, sizeof mac, share))
			return fault_set(f, -EIO, "cannot hash");
		guard_add(x->delta, share, false);
		err = db_run(t, f, "INSERT INTO guard VALUES(?, ?, ?, ?) ON CONFLICT (area, name) DO UPDATE SET stamp = excluded.stamp, mac = excluded.mac",
			     "ttib", table, name, x->stamp, mac, sizeof mac);
	} else if (there) {
		err = db_run(t, f, "DELETE FROM guard WHERE area = ? AND name = ?", "tt", table, name);
	}
	return err < 0 ? err : add_pending(x, row, content ? x->stamp : -x->stamp, f);
}

// ---- with each transaction (db_observer) ----

static int ending(void *ctx, struct db_tx *t, struct fault *f)
{
	struct guard *g = ctx;
	struct guard_tx *x = *db_data(t);
	if (!x->stamp)
		return 0;
	int err = guard_lane_read(g, t, &x->lane, f);
	if (err)
		return err;
	guard_add(x->lane.sum, x->delta, false);
	x->lane.version = g->shared ? x->lane.version + 1 : x->stamp;
	x->lane_read = true;
	return guard_lane_write(g, t, &x->lane, f);
}

static void ended(void *ctx, void *data, bool committed)
{
	struct guard *g = ctx;
	struct guard_tx *x = data;
	if (!committed || !x->lane_read)
		return;
	pthread_mutex_lock(&g->lock);
	// Without memory, later transactions would find what they do not know, and refuse it: better than not to notice.
	guard_lane_known(g, &x->lane);
	for (unsigned int i = 0; i < x->count; i++)
		remember(g, &x->rows[i]);
	x->change = ++g->changes;
	pthread_mutex_unlock(&g->lock);
}

static int settled(void *ctx, void *data, bool committed, struct fault *f)
{
	struct guard *g = ctx;
	struct guard_tx *x = data;
	struct fault why = {""};
	int err = committed && x->change && !x->later ? guard_log_tell(g, x->change, &why) : 0;
	free(x->rows);
	free(x);
	return err ? fault_set(f, -EUCLEAN, "a change took effect, and the audit log could not be told of it: %s", why.text) : 0;
}

// ---- all of it ----

static int look_at_row(struct look *l, struct db_rows *r, struct fault *f)
{
	const char *table = db_text(r, 0), *name = db_text(r, 1);
	long long stamp = db_int(r, 2);
	uint8_t share[GUARD_SUM];
	size_t len;
	uint64_t row;
	const void *mac = db_blob(r, 3, &len);
	if (!table || !name || stamp <= 0 || row_of(l->g, table, name, &row) || guard_row_share(l->g, table, name, stamp, mac, len, share))
		return fault_set(f, -EBADMSG, "the broker's database was changed outside the broker: a row of the table guard is not one");
	guard_add(l->rows, share, false);
	long long known = stamp_of(l->before, l->before_room, row);
	if (known > 0 ? stamp < known : known < 0 && stamp <= -known)
		return fault_set(f, -EBADMSG, "the broker's database was changed outside the broker: %.100s %.300s was put back", table, name);
	if (l->count == l->room) {
		size_t room = l->room ? 2 * l->room : 256;
		struct guard_stamp *more = realloc(l->found, room * sizeof *more);
		if (!more)
			return fault_set(f, -ENOMEM, "out of memory");
		l->found = more;
		l->room = room;
	}
	l->found[l->count++] = (struct guard_stamp){row, stamp};
	return 0;
}

// Is each lane there, and as new as it was?
static int look_at_lanes(const struct look *l, struct db_tx *t, struct fault *f)
{
	for (unsigned int i = 0; i < l->lanes_before_count; i++) {
		const struct guard_lane *known = &l->lanes_before[i];
		unsigned int k = 0;
		while (k < l->lane_count && strcmp(l->lanes[k].name, known->name))
			k++;
		if (known->version > (k < l->lane_count ? l->lanes[k].version : 0))
			return put_back(l->g, t, "guard_lane", known->name, f);
	}
	return 0;
}

static int look_at_all(struct db_tx *t, void *ctx, struct fault *f)
{
	struct look *l = ctx;
	struct db_rows *r = NULL;
	memset(l->rows, 0, sizeof l->rows);
	memset(l->sum, 0, sizeof l->sum);
	l->count = 0;
	free(l->lanes);
	l->lanes = NULL;
	const struct guard_tx *x = *db_data(t);
	int err = guard_lanes_read(l->g, t, l->sum, &l->lanes, &l->lane_count, f);
	if (x)	// what it changed is in the rows, and not yet in its lane
		guard_add(l->sum, x->delta, false);
	if (!err)
		err = look_at_lanes(l, t, f);
	if (!err)
		err = db_query(t, &r, f, "SELECT area, name, stamp, mac FROM guard", "");
	while (!err && (err = db_next(r, f)) == 1)
		err = look_at_row(l, r, f);
	db_rows_end(r);
	if (!err && CRYPTO_memcmp(l->rows, l->sum, sizeof l->sum))
		err = fault_set(f, -EBADMSG, "the broker's database was changed outside the broker: its rows are not those that the brokers wrote "
				"last (some were removed, put back, or put in). Put the newest copy of the database back");
	return err;
}

static int by_row(const void *a, const void *b)
{
	const struct guard_stamp *x = a, *y = b;
	return x->row < y->row ? -1 : x->row > y->row;
}

// With the lock held: rows that were there before the look and are not any more, and that this broker did not take away: another one did, as all fits
// together. From now on they are remembered as gone, for as long as that is of use.
static void forget_missing(struct guard *g, struct look *l)
{
	if (l->count) // of none there is no array to sort
		qsort(l->found, l->count, sizeof *l->found, by_row);
	for (size_t i = 0; i < l->before_room; i++) {
		const struct guard_stamp *was = &l->before[i];
		if (was->stamp <= 0 || (l->count && bsearch(was, l->found, l->count, sizeof *l->found, by_row)))
			continue;
		struct guard_stamp *now = place(g->stamps, g->room, was->row);
		if (now->stamp == was->stamp)
			now->stamp = -was->stamp;
	}
}

// Copies what is known now.
static int begin_look(struct guard *g, struct look *l, bool rows, struct fault *f)
{
	int err = 0;
	pthread_mutex_lock(&g->lock);
	if (rows && g->room) {
		if ((l->before = malloc(g->room * sizeof *l->before))) {
			memcpy(l->before, g->stamps, g->room * sizeof *l->before);
			l->before_room = g->room;
		} else {
			err = fault_set(f, -ENOMEM, "out of memory");
		}
	}
	if (!err && g->lane_count) {
		if ((l->lanes_before = malloc(g->lane_count * sizeof *l->lanes_before))) {
			memcpy(l->lanes_before, g->lanes, g->lane_count * sizeof *l->lanes_before);
			l->lanes_before_count = g->lane_count;
		} else {
			err = fault_set(f, -ENOMEM, "out of memory");
		}
	}
	pthread_mutex_unlock(&g->lock);
	return err;
}

static void end_look(struct look *l)
{
	if (l->lanes_before)
		free_wiped(l->lanes_before, l->lanes_before_count * sizeof *l->lanes_before);
	free(l->before);
	free(l->found);
	free(l->lanes);
}

int guard_check(struct guard *g, struct fault *f)
{
	struct look l = {.g = g};
	int err = begin_look(g, &l, true, f);
	if (!err)
		err = db_read(g->db, look_at_all, &l, f);
	long long high = 0;
	pthread_mutex_lock(&g->lock);
	g->damaged |= err == -EBADMSG;
	for (unsigned int i = 0; !err && i < l.lane_count; i++)
		err = guard_lane_known(g, &l.lanes[i]);
	for (size_t i = 0; !err && i < l.count; i++) {
		err = remember(g, &l.found[i]);
		if (l.found[i].stamp > g->clock)
			g->clock = l.found[i].stamp;
		if (l.found[i].stamp > high)
			high = l.found[i].stamp;
	}
	if (!err && g->shared)
		forget_missing(g, &l);
	// Whatever began before the look before has ended, or is among those found now.
	if (!err && (!g->looked_ms || clock_ms() - g->looked_ms >= LOOKS_APART_MS)) {
		g->floor = g->high;
		g->high = high;
		g->looked_ms = clock_ms();
	}
	if (!l.before)
		g->fresh = !l.lane_count && !l.count;
	pthread_mutex_unlock(&g->lock);
	end_look(&l);
	return err;
}

static int derive(const uint8_t master[32], const char *info, uint8_t out[32])
{
	EVP_PKEY_CTX *c = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
	size_t len = 32;
	int ok = c && EVP_PKEY_derive_init(c) == 1 && EVP_PKEY_CTX_set_hkdf_md(c, EVP_sha256()) == 1 &&
		 EVP_PKEY_CTX_set1_hkdf_key(c, master, 32) == 1 && EVP_PKEY_CTX_add1_hkdf_info(c, (const uint8_t *)info, (int)strlen(info)) == 1 &&
		 EVP_PKEY_derive(c, out, &len) == 1 && len == 32;
	EVP_PKEY_CTX_free(c);
	return ok ? 0 : -EIO;
}

static EVP_MAC_CTX *keyed(const uint8_t master[32], const char *info)
{
	char digest[] = "SHA256";
	const OSSL_PARAM p[] = {OSSL_PARAM_utf8_string("digest", digest, sizeof digest - 1), OSSL_PARAM_END};
	uint8_t key[32];
	EVP_MAC *m = EVP_MAC_fetch(NULL, "HMAC", NULL);
	EVP_MAC_CTX *c = m ? EVP_MAC_CTX_new(m) : NULL;
	if (c && (derive(master, info, key) || EVP_MAC_init(c, key, sizeof key, p) != 1)) {
		EVP_MAC_CTX_free(c);
		c = NULL;
	}
	explicit_bzero(key, sizeof key);
	EVP_MAC_free(m);
	return c;
}

void guard_free(struct guard *g)
{
	if (!g)
		return;
	EVP_MAC_CTX_free(g->row_mac);
	EVP_MAC_CTX_free(g->sum_mac);
	EVP_MAC_CTX_free(g->log_mac);
	free(g->stamps);
	if (g->lanes)
		free_wiped(g->lanes, g->lane_count * sizeof *g->lanes);
	pthread_mutex_destroy(&g->telling);
	pthread_mutex_destroy(&g->lock);
	free_wiped(g, sizeof *g);
}

int guard_make(struct guard **out, struct db *db, const uint8_t master_key[32], struct fault *f)
{
	struct guard *g = calloc(1, sizeof *g);
	if (!g)
		return fault_set(f, -ENOMEM, "out of memory");
	pthread_mutex_init(&g->lock, NULL);
	pthread_mutex_init(&g->telling, NULL);
	g->db = db;
	g->shared = db_shared(db);
	g->row_mac = keyed(master_key, "coffer broker guard rows v1");
	g->sum_mac = keyed(master_key, "coffer broker guard digest v1");
	g->log_mac = keyed(master_key, "coffer broker guard log v1");
	if (!g->row_mac || !g->sum_mac || !g->log_mac || derive(master_key, "coffer broker guard lanes v1", g->seal_key)) {
		guard_free(g);
		return fault_set(f, -EIO, "cannot derive keys");
	}
	*out = g;
	return 0;
}

int guard_tables(struct db *db, struct fault *f)
{
	return db_migrate(db, "guard", tables, sizeof tables / sizeof *tables, f);
}

int guard_open(struct guard **out, struct db *db, const uint8_t master_key[32], struct audit *a, bool accept, struct fault *f)
{
	struct guard *g;
	int err = guard_make(&g, db, master_key, f);
	if (err)
		return err;
	g->audit = a;
	const char *name = a ? strrchr(audit_key(a)->name, '/') : NULL;
	snprintf(g->who, sizeof g->who, "%s", name ? name + 1 : "broker");
	err = guard_tables(db, f);
	if (!err)
		err = guard_check(g, f);
	if (!err && a)
		err = guard_log_compare(g, accept, f);
	if (!err) {
		db_observe(db, &(struct db_observer){g, ending, ended, settled});
		if (a)
			err = guard_log_start(g, f);
	}
	if (err)
		guard_close(g);
	else
		*out = g;
	return err;
}

void guard_close(struct guard *g)
{
	if (!g)
		return;
	guard_log_stop(g);
	db_observe(g->db, &(struct db_observer){NULL, NULL, NULL, NULL});
	guard_free(g);
}

bool guard_sound(struct guard *g)
{
	pthread_mutex_lock(&g->lock);
	bool sound = !g->damaged;
	pthread_mutex_unlock(&g->lock);
	return sound;
}

bool guard_new(const struct guard *g)
{
	return g->fresh;
}
