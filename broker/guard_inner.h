// SPDX-License-Identifier: Apache-2.0
// Inside the guard (guard.h): what it remembers, and its halves. guard.c: rows. guard_lane.c: the shares of the digest. guard_log.c: what
// the audit log says of them, and the thread that tells it. guard_rekey.c: all of it under another master key.
#ifndef COFFER_BROKER_GUARD_INNER_H
#define COFFER_BROKER_GUARD_INNER_H

#include <openssl/evp.h>
#include <pthread.h>

#include "broker/guard.h"

#define GUARD_SUM 32		// bytes of the digest: a number that is added to
#define GUARD_LANE_NAME 64

struct guard_lane {
	char name[GUARD_LANE_NAME];	// WHO/SLOT
	bool own;
	long long version;
	uint8_t sum[GUARD_SUM];
};

struct guard_stamp {
	uint64_t row;		// of table and name
	long long stamp;	// 0: free; negative: the row was gone then
};

struct guard {
	struct db *db;
	bool shared;
	char who[GUARD_LANE_NAME - 8];
	EVP_MAC_CTX *row_mac, *sum_mac, *log_mac;	// keyed, copied for each use
	uint8_t seal_key[32];
	bool fresh;

	pthread_mutex_t lock;	// what follows, but for a few words at a time
	struct guard_stamp *stamps;
	size_t room, used;
	struct guard_lane *lanes;
	unsigned int lane_count;
	bool damaged;		// found by a look at all rows: nothing is given out any more
	long long floor, high;	// shared: a row that is not remembered is newer than `floor`; newest stamp at the last look
	int64_t looked_ms;	// when `high` was that
	long long clock;	// not shared: newest stamp and version

	struct audit *audit;
	pthread_mutex_t telling;	// held while the log is told; taken before `lock`
	long long changes, told;	// transactions of this broker, in the order in which they were remembered
	uint64_t told_at;		// number of the log's record
	pthread_t thread;
	pthread_cond_t wake;
	bool running, stop;
};

// A transaction that changes guarded rows.
struct guard_tx {
	long long stamp;
	bool later, lane_read;
	struct guard_lane lane;		// as it will be
	uint8_t delta[GUARD_SUM];
	struct guard_stamp *rows;
	unsigned int count;
	long long change;		// when it took effect
};

// One with its keys, that neither follows transactions nor has looked at the database.
int guard_make(struct guard **out, struct db *db, const uint8_t master_key[32], struct fault *f);
void guard_free(struct guard *g);
int guard_row_mac(struct guard *g, const char *table, const char *name, long long stamp, const void *content, size_t len, uint8_t out[32]);
// What a row adds to the digest.
int guard_row_share(struct guard *g, const char *table, const char *name, long long stamp, const void *mac, size_t len, uint8_t out[GUARD_SUM]);
// The stamp of a transaction that begins to change rows.
int guard_stamp_next(struct guard *g, struct db_tx *t, long long *out, struct fault *f);

void guard_add(uint8_t sum[GUARD_SUM], const uint8_t more[GUARD_SUM], bool take_away);
// HMAC over parts, each with its length; NULL ends them: const void *, size_t...
int guard_mac(EVP_MAC_CTX *keyed, uint8_t out[32], ...);

// With `lock` held. NULL: not known.
struct guard_lane *guard_lane_find(struct guard *g, const char *name);
int guard_lane_known(struct guard *g, const struct guard_lane *l);	// takes it over what was known; -ENOMEM
// The lane of this transaction, read for the first time or again.
int guard_lane_read(struct guard *g, struct db_tx *t, struct guard_lane *out, struct fault *f);
int guard_lane_write(struct guard *g, struct db_tx *t, const struct guard_lane *l, struct fault *f);
// All lanes: *sum is added to, *list is malloc'ed.
int guard_lanes_read(struct guard *g, struct db_tx *t, uint8_t sum[GUARD_SUM], struct guard_lane **list, unsigned int *count, struct fault *f);

// Compares with the log; -ESTALE.
int guard_log_compare(struct guard *g, bool accept, struct fault *f);
// The log has what was known at `change` and perhaps more.
int guard_log_tell(struct guard *g, long long change, struct fault *f);
int guard_log_start(struct guard *g, struct fault *f);
void guard_log_stop(struct guard *g);

#endif
