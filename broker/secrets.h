// SPDX-License-Identifier: Apache-2.0
// The broker's secrets at rest, in its database: what each is (secret.h) and the values of its versions, encrypted and authenticated under keys
// derived from the master key and bound to name, version and kind. What is decided about a release is one transaction, durable before it is
// answered. Every function may be called from any thread.
#ifndef COFFER_BROKER_SECRETS_H
#define COFFER_BROKER_SECRETS_H

#include "broker/guard.h"
#include "broker/secret.h"

struct secrets;

// Makes its tables in *db, which with *guard must outlive it, and takes over what the table of a broker from before has (store_open made it).
int secrets_open(struct secrets **out, struct db *db, struct guard *guard, const uint8_t master_key[32], struct fault *f);
int secrets_tables(struct db *db, struct fault *f);	// makes them only
void secrets_close(struct secrets *s);
// All of them under the keys of another master key, in the transaction of rekey_data.c; *count: how many values.
int secrets_rekey(const struct secrets *s, const uint8_t new_key[32], struct guard_rekey *k, struct db_tx *t, unsigned long long *count, struct fault *f);

// What there is to know of one, or of all ([secret_describe]); no values. -ENOENT; -EBADMSG: changed behind the broker's back.
int secrets_get(struct secrets *s, const char *name, struct secret *out, struct fault *f);
int secrets_list(struct secrets *s, time_t now, json_t **out, struct fault *f);
int secrets_count(struct secrets *s, long long *out, struct fault *f);

struct secrets_put {
	enum {
		SECRETS_NEW,		// -EEXIST
		SECRETS_ROTATE,		// a further version: -ENOENT
		SECRETS_REPLACE,	// either; the values of all versions before are destroyed
	} mode;
	const char *kind;		// of a new one; NULL: as it is, or data
	const json_t *settings;		// (secret_apply); may be NULL
	const char *const *others;	// members of it that are not settings, up to NULL
	const void *value;		// NULL: the broker makes one
	size_t len;
};
int secrets_put(struct secrets *s, const char *name, const struct secrets_put *p, time_t now, unsigned int *version, struct fault *f);
// Changes settings; times are about `version` (0: the current one).
int secrets_set(struct secrets *s, const char *name, unsigned int version, const json_t *settings, const char *const *others, time_t now, struct fault *f);
// Of a version, or (0) of the whole; destroying is about versions, 0 is all of them. What is destroyed stays so: -EINVAL.
int secrets_state(struct secrets *s, const char *name, unsigned int version, enum secret_state state, struct fault *f);
int secrets_delete(struct secrets *s, const char *name, struct fault *f);

// The value for its owner; nothing is counted. -EPERM: it never leaves. *value is malloc'ed; to be wiped.
int secrets_read(struct secrets *s, const char *name, unsigned int version, time_t now, uint8_t **value, size_t *len, struct fault *f);
// An owner's use of a key that stays here: its value for keyop.h, whatever its uses. The same for whoever asks for a public half.
int secrets_use(struct secrets *s, const char *name, unsigned int version, time_t now, struct secret *what, uint8_t **value, size_t *len, struct fault *f);

// For an attested caller. Errors of secret_usable and secret_has_uses besides.
struct secrets_ask {
	const char *name;
	unsigned int version;
	const char *operation;		// "read", "sign"...
	const void *request;		// what is to be done: the same again is the same use
	size_t request_len;
	const char *thumbprint;		// of the caller's key, which the evidence binds
	time_t now;
};
struct secrets_release {
	struct secret what;
	unsigned int version;
	bool counted, again;		// `again`: this caller had it before, it does not count
	long long use, uses;		// this is the use-th of so many (of the version; where only all together are counted, of those)
	uint8_t *value;			// malloc'ed; to be wiped
	size_t len;
};
int secrets_release(struct secrets *s, const struct secrets_ask *a, struct secrets_release *out, struct fault *f);

#endif
