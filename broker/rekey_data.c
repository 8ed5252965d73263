// SPDX-License-Identifier: Apache-2.0
// See rekey_data.h. Single-threaded but for the guard's own thread, which the audit log is told by.
#include "broker/rekey_data.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "broker/approvals.h"
#include "broker/audit_api.h"
#include "broker/identities.h"
#include "broker/policies.h"
#include "broker/secrets.h"
#include "broker/session.h"
#include "broker/signer.h"

#define SESSION_SECONDS 300	// of a table that is about to be emptied

// Every area under this key; as the server opens them, but without what serving needs.
static int open_areas(struct broker *b, const uint8_t key[MASTER_KEY_BYTES], struct fault *f)
{
	int err = store_prepare(b->db, key, f);
	if (!err)
		err = guard_open(&b->guard, b->db, key, b->audit, false, f);
	if (!err)
		err = store_open(&b->store, b->db, b->guard, key, f);
	if (!err)
		err = secrets_open(&b->secrets, b->db, b->guard, key, f);
	if (!err && db_shared(b->db))
		err = session_table_shared(&b->sessions, b->db, key, SESSION_SECONDS, f);
	if (!err)
		err = signers_open(&b->signers, b->db, b->guard, key, f);
	if (!err)
		err = identities_open(&b->identities, b->db, b->guard, b->store, f);
	if (!err)
		err = approvals_open(b, f);
	return err ? err : policies_open(b, f);
}

static void close_areas(struct broker *b)
{
	identities_close(b->identities);
	signers_close(b->signers);
	session_table_free(b->sessions);
	secrets_close(b->secrets);
	store_close(b->store);
	guard_close(b->guard);
	b->identities = NULL;
	b->signers = NULL;
	b->sessions = NULL;
	b->secrets = NULL;
	b->store = NULL;
	b->guard = NULL;
}

int rekey_open(struct broker *b, struct db *db, const char *dir, const uint8_t key[MASTER_KEY_BYTES], struct fault *f)
{
	memset(b, 0, sizeof *b);
	b->db = db;
	int err = audit_start(b, dir, NULL, 0, f);
	return err ? err : open_areas(b, key, f);
}

void rekey_close(struct broker *b)
{
	close_areas(b);
	audit_stop(b);
	explicit_bzero(b, sizeof *b);
}

struct work {
	struct broker *b;
	const struct store *is;
	const uint8_t *key;
	unsigned long long values;
};

static int exchange(struct db_tx *t, void *ctx, struct fault *f)
{
	struct work *w = ctx;
	struct broker *b = w->b;
	struct guard_rekey *k = NULL;
	int err = guard_rekey_begin(&k, b->guard, w->key, t, f);
	if (!err)
		err = identities_rekey(b->identities, w->is, k, t, f);
	if (!err)
		err = policies_rekey(k, t, f);
	if (!err)
		err = approvals_rekey(k, t, f);
	if (!err)
		err = signers_rekey(b->signers, w->key, k, t, f);
	if (!err)
		err = secrets_rekey(b->secrets, w->key, k, t, &w->values, f);
	if (!err)
		err = store_rekey(b->store, w->is, w->key, k, t, f);
	// Of brokers that share the database: they live for minutes, and their clients attest again.
	if (!err && db_shared(b->db))
		err = db_run(t, f, "DELETE FROM session", "");
	if (err >= 0)
		err = guard_rekey_end(k, f);
	guard_rekey_free(k);
	return err;
}

static int record(struct broker *b, const char *step, const char *from, const char *to, struct fault *f)
{
	return audit_log(b, NULL, json_pack("{s:s, s:s, s:s, s:s, s:s}", "event", "rekey-master", "by", "owner", "step", step, "from", from, "to", to), f);
}

int rekey_exchange(struct broker *b, const uint8_t old_key[MASTER_KEY_BYTES], const uint8_t new_key[MASTER_KEY_BYTES], unsigned long long *values,
		   struct fault *f)
{
	char from[MASTER_ID], to[MASTER_ID];
	struct store *is = NULL;
	struct work w = {.b = b, .key = new_key};
	int err = master_id(old_key, from) || master_id(new_key, to) ? fault_set(f, -EIO, "cannot derive keys") : store_keys(&is, new_key, f);
	if (!err)
		err = record(b, "begin", from, to, f);
	w.is = is;
	if (!err)
		err = db_write(b->db, exchange, &w, f);
	store_close(is);
	if (err)
		return err;
	*values = w.values;
	// What is there now opens under the new key as a whole, or the command does not end well; the log knows it, and no state before it.
	close_areas(b);
	err = open_areas(b, new_key, f);
	if (!err)
		err = guard_tell(b->guard, f);
	return err ? err : record(b, "done", from, to, f);
}
