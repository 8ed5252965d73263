// SPDX-License-Identifier: Apache-2.0
// Shares of the digest over all guarded rows (guard.h). What a share is must not be seen: who knew the sums could look for other rows, of
// all that ever were, that add up to the same. So a lane's sum is encrypted, with its name and version as associated data. `lock` of the
// guard is taken for what is remembered of a lane.
#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/guard_inner.h"

#define IV_BYTES 12
#define TAG_BYTES 16
#define SEALED (IV_BYTES + GUARD_SUM + TAG_BYTES)

void guard_add(uint8_t sum[GUARD_SUM], const uint8_t more[GUARD_SUM], bool take_away)
{
	int carry = 0;
	for (int i = 0; i < GUARD_SUM; i++) {
		int v = take_away ? sum[i] - more[i] - carry : sum[i] + more[i] + carry;
		sum[i] = (uint8_t)v;
		carry = take_away ? v < 0 : v > 255;
	}
}

static int crypt(const struct guard *g, const struct guard_lane *l, const uint8_t iv[IV_BYTES], const uint8_t from[GUARD_SUM],
		 uint8_t to[GUARD_SUM], uint8_t tag[TAG_BYTES], bool encrypt)
{
	char name[GUARD_LANE_NAME + 32];
	int n = 0, last = 0, aad, aad_len = snprintf(name, sizeof name, "%s %lld", l->name, l->version);
	EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
	bool ok = c && EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, g->seal_key, iv, encrypt) == 1 &&
		  EVP_CipherUpdate(c, NULL, &aad, (const uint8_t *)name, aad_len) == 1 && EVP_CipherUpdate(c, to, &n, from, GUARD_SUM) == 1 &&
		  (encrypt || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG_BYTES, tag) == 1) && EVP_CipherFinal_ex(c, to + n, &last) == 1 &&
		  (!encrypt || EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG_BYTES, tag) == 1);
	EVP_CIPHER_CTX_free(c);
	return ok ? 0 : -EBADMSG;
}

// A row of guard_lane: lane, version, sealed.
static int open_lane(const struct guard *g, struct db_rows *r, struct guard_lane *out, struct fault *f)
{
	const char *name = db_text(r, 0);
	uint8_t sealed[SEALED];
	size_t len;
	const void *found = db_blob(r, 2, &len);
	memset(out, 0, sizeof *out);
	if (name && strlen(name) < sizeof out->name && len == SEALED) {
		strcpy(out->name, name);
		out->version = db_int(r, 1);
		memcpy(sealed, found, SEALED);
		if (!crypt(g, out, sealed, sealed + IV_BYTES, out->sum, sealed + IV_BYTES + GUARD_SUM, false)) {
			const char *slash = strrchr(out->name, '/');
			size_t who = slash ? (size_t)(slash - out->name) : 0;
			out->own = who == strlen(g->who) && !strncmp(out->name, g->who, who);
			return 0;
		}
	}
	return fault_set(f, -EBADMSG, "the broker's database was changed outside the broker: a row of guard_lane is not what was written. Put the "
			 "newest copy of the database back");
}

struct guard_lane *guard_lane_find(struct guard *g, const char *name)
{
	for (unsigned int i = 0; i < g->lane_count; i++) {
		if (!strcmp(g->lanes[i].name, name))
			return &g->lanes[i];
	}
	return NULL;
}

int guard_lane_known(struct guard *g, const struct guard_lane *l)
{
	struct guard_lane *known = guard_lane_find(g, l->name);
	if (!known) {
		struct guard_lane *more = realloc(g->lanes, (g->lane_count + 1) * sizeof *more);
		if (!more)
			return -ENOMEM;
		g->lanes = more;
		known = &more[g->lane_count++];
	} else if (known->version > l->version) {
		return 0;
	}
	*known = *l;
	if (l->version > g->clock)
		g->clock = l->version;
	return 0;
}

// A first lane is written only where the others are of the same master key: that may have been exchanged while this broker did not look.
static int all_open(const struct guard *g, struct db_tx *t, struct fault *f)
{
	struct db_rows *r = NULL;
	struct guard_lane l;
	int err = db_query(t, &r, f, "SELECT lane, version, sealed FROM guard_lane ORDER BY lane", "");
	while (!err && (err = db_next(r, f)) == 1)
		err = open_lane(g, r, &l, f);
	db_rows_end(r);
	explicit_bzero(&l, sizeof l);
	return err;
}

int guard_lane_read(struct guard *g, struct db_tx *t, struct guard_lane *out, struct fault *f)
{
	struct db_rows *r = NULL;
	char name[GUARD_LANE_NAME];
	snprintf(name, sizeof name, "%s/%u", g->who, db_lane(t));
	pthread_mutex_lock(&g->lock);
	const struct guard_lane *known = guard_lane_find(g, name);
	long long version = known ? known->version : 0;
	pthread_mutex_unlock(&g->lock);
	int err = db_query(t, &r, f, "SELECT lane, version, sealed FROM guard_lane WHERE lane = ?", "t", name);
	if (!err)
		err = db_next(r, f);
	if (err == 1) {
		err = open_lane(g, r, out, f);
	} else if (!err) {
		err = g->shared ? all_open(g, t, f) : 0;
		memset(out, 0, sizeof *out);
		strcpy(out->name, name);
		out->own = true;
	}
	if (!err && (g->shared ? out->version < version : out->version != version))
		err = fault_set(f, -EBADMSG, "the broker's database was put back behind the broker's back (lane %s: version %lld, was %lld)", name,
				out->version, version);
	db_rows_end(r);
	return err;
}

int guard_lane_write(struct guard *g, struct db_tx *t, const struct guard_lane *l, struct fault *f)
{
	uint8_t sealed[SEALED];
	if (RAND_bytes(sealed, IV_BYTES) != 1 || crypt(g, l, sealed, l->sum, sealed + IV_BYTES, sealed + IV_BYTES + GUARD_SUM, true))
		return fault_set(f, -EIO, "cannot encrypt");
	int err = db_run(t, f, "INSERT INTO guard_lane VALUES(?, ?, ?) ON CONFLICT (lane) DO UPDATE SET version = excluded.version,"
			 " sealed = excluded.sealed", "tib", l->name, l->version, sealed, sizeof sealed);
	return err < 0 ? err : 0;
}

int guard_lanes_read(struct guard *g, struct db_tx *t, uint8_t sum[GUARD_SUM], struct guard_lane **list, unsigned int *count, struct fault *f)
{
	struct db_rows *r = NULL;
	struct guard_lane *own = NULL;
	unsigned int n = 0;
	int err = db_query(t, &r, f, "SELECT lane, version, sealed FROM guard_lane ORDER BY lane", "");
	while (!err && (err = db_next(r, f)) == 1) {
		struct guard_lane *more = realloc(own, (n + 1) * sizeof *more);
		if (!more) {
			err = fault_set(f, -ENOMEM, "out of memory");
			break;
		}
		own = more;
		err = open_lane(g, r, &own[n], f);
		if (!err)
			guard_add(sum, own[n++].sum, false);
	}
	db_rows_end(r);
	if (err) {
		free(own);
		return err;
	}
	*list = own;
	*count = n;
	return 0;
}
