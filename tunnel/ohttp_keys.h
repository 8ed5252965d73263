// SPDX-License-Identifier: Apache-2.0
// The keys of an OHTTP gateway: made here and never stored (or out of a secret that several gateways share), replaced from time to time, each
// remembering every request that it opened for as long as it serves, so that none is served twice (RFC 9458 section 6.5). And what vouches for them:
// evidence or a token over their digest (docs/ohttp.md). Threads share one: a mutex guards the keys; it is not held while hardware is asked.
#ifndef COFFER_TUNNEL_OHTTP_KEYS_H
#define COFFER_TUNNEL_OHTTP_KEYS_H

#include "ratls/self.h"
#include "tunnel/ohttp.h"

struct ohttp_keys;

// Zeros stand for the numbers in brackets.
struct ohttp_keys_options {
	struct self *self;		// what vouches; NULL: nothing does
	unsigned int rotate_s;		// a key is given out so long [3600]
	unsigned int overlap_s;		// and serves so much longer [600]
	unsigned int max_requests;	// that one key remembers; then it is replaced sooner [1048576]
	unsigned int evidence_per_s;	// how often hardware is asked for a client's nonce; four times as many at once [5]
	// Several gateways behind one load balancer that have the same secret (32 bytes or more) have the same keys at the same time: those of the
	// hour that it is, or whatever rotate_s makes of it, by the machine's clock. What one of them remembers the others do not. NULL: keys of its
	// own.
	const uint8_t *seed;
	size_t seed_len;
	int64_t (*clock_ms)(void);	// NULL: lib/tls.h's
	int64_t (*clock_s)(void);	// since 1970; NULL: the machine's
};

int ohttp_keys_open(struct ohttp_keys **out, const struct ohttp_keys_options *o, struct fault *f);
void ohttp_keys_close(struct ohttp_keys *k);

// application/ohttp-keys: the newest key of each KEM. -EIO, -ENOMEM.
int ohttp_keys_list(struct ohttp_keys *k, struct outbuf *out, struct fault *f);

// The same with what vouches for them, as JSON; *json is malloc'ed. `nonce`: a client's, up to 64 bytes; NULL: none, and then it may be as old as the
// keys. -EOPNOTSUPP: nothing vouches here; -EAGAIN: hardware is asked too often; or what the hardware said.
int ohttp_keys_document(struct ohttp_keys *k, const void *nonce, size_t nonce_len, char **json, struct fault *f);

// ohttp_server_begin with the key that the request names. -ENOENT: there is none of that number (any more).
int ohttp_keys_begin(struct ohttp_keys *k, struct ohttp_exchange *x, bool chunked, const uint8_t *in, size_t len, size_t *used);
// The request behind it was opened with success: has it been before? -EALREADY; -ENOENT: its key has gone meanwhile; -ENOSPC: too many to remember.
int ohttp_keys_once(struct ohttp_keys *k, uint8_t key_id, const struct ohttp_exchange *x);

// New keys now; the old ones serve for overlap_s more.
int ohttp_keys_rotate(struct ohttp_keys *k, struct fault *f);

// Seconds until the keys that are given out now are replaced.
unsigned int ohttp_keys_left_s(struct ohttp_keys *k);

// ---- the client's side of the document ----

struct judge;
struct verdict;

#define OHTTP_MAX_DOCUMENT (1u << 20)

// Reads an untrusted document and has it judged: what vouches is good, is over these keys, and over this nonce (NULL: not asked for). *best: the key
// configuration to use. *v: the verdict, also of one that is refused (-EKEYREJECTED; f says why); verdict_release it. -EINVAL malformed.
int ohttp_document_check(struct judge *j, const char *json, size_t len, const void *nonce, size_t nonce_len, struct ohttp_config *best,
			 struct verdict **v, struct fault *f);
// The one to use of several.
const struct ohttp_config *ohttp_config_best(const struct ohttp_config *all, int count);

#endif
