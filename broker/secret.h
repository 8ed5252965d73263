// SPDX-License-Identifier: Apache-2.0
// Inside broker/: what one secret is: its kind, its versions, and what limits their release. Pure: the form at rest is JSON (secrets.c encrypts it),
// `now` is an input. fuzz_secret drives the readers.
//
// A secret has versions 1, 2, 3...; the current one is what the owner pinned, else the newest whose time has come. Older ones are given while `keep`
// says so. A version that was destroyed has no value any more, its number stays.
#ifndef COFFER_BROKER_SECRET_H
#define COFFER_BROKER_SECRET_H

#include <jansson.h>
#include <stdbool.h>
#include <time.h>

#include "broker/keyop.h"
#include "lib/fault.h"

#define SECRET_MAX_VERSIONS 100	// of which there is still something to tell
#define SECRET_MAX_BYTES (64u << 10)
#define SECRET_ID_BYTES 16

enum secret_state { SECRET_ENABLED, SECRET_DISABLED, SECRET_DESTROYED };

struct secret_version {
	unsigned int number;
	enum secret_state state;
	long long created, not_before, not_after;	// seconds of 1970; 0: none
	long long used;
	char kid[KEYPAIR_KID];	// of a key pair
};

struct secret {
	uint8_t id[SECRET_ID_BYTES];	// random: one of the same name that was there before is another
	char kind[12];			// "data", "random", "aes-256", or a key pair's (keypair.h)
	enum keypair_use use;		// of a key pair; else 0
	unsigned int bytes;		// of random ones
	char encoding[10];		// of random ones: "raw", "hex", "base64url"
	char note[201];
	bool disabled, publish;		// publish: the public half is for everybody
	long long uses, uses_total;	// most releases of a version, of all together; 0: no limit
	long long used_total;
	long long keep_versions, keep_seconds;	// how many versions before the current one are given, for how long after the next was made; -1: no limit
	long long lifetime;		// seconds after which a new version expires; 0: never
	unsigned int pinned;		// 0: none
	unsigned int last;		// the newest number
	unsigned int count;
	struct secret_version versions[SECRET_MAX_VERSIONS];	// ascending
};

// A new one of that kind, without a version. -EINVAL: there is no such kind.
int secret_init(struct secret *s, const char *kind, struct fault *f);

bool secret_is_pair(const struct secret *s);
// The broker makes it: rotation needs no value.
bool secret_is_made_here(const struct secret *s);
// Its value may be given at all; else it never leaves the broker.
bool secret_leaves(const struct secret *s);
bool secret_is_limited(const struct secret *s);

struct secret_version *secret_version(struct secret *s, unsigned int number);
// NULL: no version's time has come.
struct secret_version *secret_current(struct secret *s, time_t now);
// The one that a caller means: a number, or 0 for the current one. -ENOENT with a message.
int secret_choose(struct secret *s, unsigned int number, time_t now, struct secret_version **v, struct fault *f);

// May this version be given, or used, now, its count apart? 0; -EKEYREVOKED disabled or destroyed; -EKEYEXPIRED; -ETIME: not yet; -ESTALE: no longer
// kept. In words for the caller.
int secret_usable(struct secret *s, const struct secret_version *v, time_t now, struct fault *f);
// May it be given once more? -EDQUOT.
int secret_has_uses(const struct secret *s, const struct secret_version *v, struct fault *f);

// Makes room for one more and appends it. -ENOSPC: too many that are not destroyed.
int secret_add_version(struct secret *s, time_t now, struct secret_version **v, struct fault *f);

// Settings as an owner sends them: {"note", "uses", "uses_total", "keep_versions", "keep_seconds", "lifetime", "not_before", "not_after", "publish",
// "current", "reset_uses"}, and when it is `fresh` also {"use", "bytes", "encoding"}; null takes a limit away. Times are about `v`. Those in
// `others` (names up to NULL) are the caller's. -EINVAL with a message; then *s is changed in part.
int secret_apply(struct secret *s, struct secret_version *v, const json_t *settings, bool fresh, const char *const *others, struct fault *f);

// At rest. -EBADMSG: that is no secret.
json_t *secret_to_json(const struct secret *s);
int secret_from_json(struct secret *s, const json_t *o);
// For its owner: names, states, times, counts; no value.
json_t *secret_describe(struct secret *s, const char *name, time_t now);

// A new value for it: random bytes or a key. *value is malloc'ed; a pair's `kid` goes to v.
int secret_make_value(const struct secret *s, struct secret_version *v, uint8_t **value, size_t *len, struct fault *f);
// A value that the owner gave as it is kept: for key pairs PEM becomes DER. -EINVAL.
int secret_take_value(const struct secret *s, struct secret_version *v, const void *given, size_t given_len, uint8_t **value, size_t *len, struct fault *f);
// The key in a value, for keyop.h; keyop_key_wipe.
int secret_key(const struct secret *s, const uint8_t *value, size_t len, struct keyop_key *out, struct fault *f);
void secret_key_wipe(struct keyop_key *k);

#endif
