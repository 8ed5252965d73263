// SPDX-License-Identifier: Apache-2.0
// All guarded rows under the keys of another master key (guard.h), in the one transaction of rekey_data.c: each row is checked under the old
// keys before it has a MAC under the new ones, and none is left out. Single-threaded.
#include <errno.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "broker/guard_inner.h"

struct guard_rekey {
	struct guard *was, *is;
	struct db_tx *t;
	long long stamp;
	unsigned long long kept;	// rows that were named and are not gone
	uint8_t had[GUARD_SUM], sum[GUARD_SUM];	// of the rows that were named, as they were and as they are
};

int guard_rekey_begin(struct guard_rekey **out, struct guard *g, const uint8_t new_key[32], struct db_tx *t, struct fault *f)
{
	struct guard_rekey *k = calloc(1, sizeof *k);
	if (!k)
		return fault_set(f, -ENOMEM, "out of memory");
	k->was = g;
	k->t = t;
	int err = guard_make(&k->is, g->db, new_key, f);
	if (!err) {
		memcpy(k->is->who, g->who, sizeof g->who);
		err = guard_stamp_next(g, t, &k->stamp, f);
	}
	if (err)
		guard_rekey_free(k);
	else
		*out = k;
	return err;
}

// What the row was in the digest.
static int count_old(struct guard_rekey *k, const char *table, const char *name, struct fault *f)
{
	struct db_rows *r = NULL;
	uint8_t share[GUARD_SUM];
	size_t len;
	int err = db_query(k->t, &r, f, "SELECT stamp, mac FROM guard WHERE area = ? AND name = ?", "tt", table, name);
	if (!err && (err = db_next(r, f)) == 1) {
		const void *mac = db_blob(r, 1, &len);
		err = guard_row_share(k->was, table, name, db_int(r, 0), mac, len, share) ? fault_set(f, -EIO, "cannot hash") : 0;
		if (!err)
			guard_add(k->had, share, false);
	}
	db_rows_end(r);
	return err;
}

int guard_rekey_row(struct guard_rekey *k, const char *table, const char *name, const void *was, size_t was_len, const void *is, size_t is_len,
		    struct fault *f)
{
	uint8_t mac[32], share[GUARD_SUM];
	int err = guard_read(k->was, k->t, table, name, was, was_len, f);
	if (!err)
		err = count_old(k, table, name, f);
	if (err)
		return err;
	if (!is) {
		err = db_run(k->t, f, "DELETE FROM guard WHERE area = ? AND name = ?", "tt", table, name);
		return err < 0 ? err : 0;
	}
	k->kept++;
	if (guard_row_mac(k->is, table, name, k->stamp, is, is_len, mac) || guard_row_share(k->is, table, name, k->stamp, mac, sizeof mac, share))
		return fault_set(f, -EIO, "cannot hash");
	guard_add(k->sum, share, false);
	err = db_run(k->t, f, "UPDATE guard SET stamp = ?, mac = ? WHERE area = ? AND name = ?", "ibtt", k->stamp, mac, sizeof mac, table, name);
	return err < 0 ? err : 0;
}

// The digest of all rows goes into one lane; that it was that of the rows there were, once more: one may have been taken away, with what guards it,
// since the database was opened. Each lane's version is beyond what it was, so that the audit logs of all brokers know of older
// states only.
static int write_lanes(struct guard_rekey *k, struct fault *f)
{
	struct guard_lane *lanes = NULL;
	unsigned int count = 0;
	uint8_t old[GUARD_SUM] = {0};
	bool done = false;
	int err = guard_lanes_read(k->was, k->t, old, &lanes, &count, f);
	if (!err && CRYPTO_memcmp(old, k->had, sizeof old))
		err = fault_set(f, -EBADMSG, "the broker's database was changed outside the broker: rows are gone. Put the newest copy of it back");
	for (unsigned int i = 0; i < count && !err; i++) {
		memset(lanes[i].sum, 0, sizeof lanes[i].sum);
		if (!done)
			memcpy(lanes[i].sum, k->sum, sizeof k->sum);
		done = true;
		lanes[i].version = lanes[i].version < k->stamp ? k->stamp : lanes[i].version + 1;
		err = guard_lane_write(k->is, k->t, &lanes[i], f);
	}
	free(lanes);
	// Nothing was ever guarded in it: then there are no rows either.
	return err ? err : !done && k->kept ? fault_set(f, -EBADMSG, "the broker's database has guarded rows and no digest of them") : 0;
}

int guard_rekey_end(struct guard_rekey *k, struct fault *f)
{
	struct db_rows *r = NULL;
	unsigned long long left = 0;
	int err = db_query(k->t, &r, f, "SELECT count(*) FROM guard", "");
	if (!err && (err = db_next(r, f)) == 1) {
		left = (unsigned long long)db_int(r, 0);
		err = 0;
	}
	db_rows_end(r);
	if (!err && left != k->kept)
		err = fault_set(f, -EBADMSG, "the broker's database was changed outside the broker: %llu rows are guarded, and %llu of them are there", left,
				k->kept);
	return err ? err : write_lanes(k, f);
}

void guard_rekey_free(struct guard_rekey *k)
{
	if (!k)
		return;
	guard_free(k->is);
	free(k);
}
