// SPDX-License-Identifier: Apache-2.0
// Inside init/: one enclave's talk with its broker (exchange.c), shared by all that asks it for something.
#ifndef COFFER_INIT_EXCHANGE_H
#define COFFER_INIT_EXCHANGE_H

#include <openssl/evp.h>

#include "init/attest.h"
#include "lib/http_client.h"
#include "lib/tpm_anchor.h"

struct exchange {
	const struct settings *s;
	const struct attest_ops *ops;
	struct http_client *http;
	EVP_PKEY *key;
	json_t *jwk;
	char nonce[64];
	char cookie[300];	// a whole header line
	int64_t identity_life_s;	// of the shortest-lived identity, in seconds from when it was fetched; 0: none was
	bool renewing;			// files of identities are there: they are exchanged
	char statement[64];	// what this enclave states of itself, in its evidence; "": the broker would not understand
	int64_t date_s, asked_ms, told_ms;	// the broker's time in its answer to auth; clock_ms before that request, and with its answer
	bool proven;		// in the session of the cookie
	int64_t patience_ms;	// what is left of the time that a start may wait for brokers, in all
	bool said;		// that it waits
	unsigned int lost_pause_ms, lost_at_once;	// how it has waited for a request that is not made again by itself, while its answer is lost
	unsigned int retry_after_s;	// what the last answer wanted; 0: nothing
	struct tpm_place tpm[SETTINGS_MAX_VOLUMES];	// where volumes are anchored in a TPM
};

// The connection to the broker; a process that was forked off has its own.
int exchange_open(struct exchange *x, struct fault *f);

struct exchange_request {
	const char *method, *path;
	const char *body;	// JSON; NULL: none
	bool once;		// it must not be made again by itself when it may have been carried out
};

// One request, of an enclave that is proven (it is proved first, again when the session is over; only that with `q` NULL). While no broker can be
// reached, or all answer 503 or 429, it waits as long as it is asked to (Retry-After) or a little, says so once, and makes the request again, while
// x->patience_ms lasts. 0: there is an answer with another status. -EINPROGRESS (q->once): it may have been carried out; after a wait, ask what
// became of it. -errno: as it was at the end.
int exchange_ask(struct exchange *x, const struct exchange_request *q, struct http_reply *reply, struct fault *f);
// What the broker says about a refusal: each claim on a line of its own. -EACCES.
int exchange_refused(const struct exchange *x, const char *what, const struct http_reply *reply, struct fault *f);

// sealing.c: mounts a volume that is sealed to this enclave.
int sealing_mount(struct exchange *x, unsigned int index, struct fault *f);

// identity.c: a "secret" whose resource begins so is an identity, and its path a folder.
#define IDENTITY_PREFIX "spiffe/svid/"
int identity_fetch(struct exchange *x, const struct settings_secret *s, struct fault *f);

// secrets.c: gets a secret and delivers it.
int secret_fetch(struct exchange *x, const struct settings_secret *s, struct fault *f);

// anchor.c. -ENOENT: the broker remembers nothing of the volume.
int anchor_get(struct exchange *x, const char *id, struct coffer_anchor_state *out, struct fault *f);
// anchor_tpm.c: the same with the volume's index in the TPM, which `key` opens. Nothing there is a refusal.
int anchor_tpm_get(struct exchange *x, unsigned int index, struct coffer_mount_key *key, struct fault *f);
int anchor_tpm_claim(struct exchange *x, unsigned int index, const struct coffer_anchor_state *from, struct coffer_anchor_state *to, struct fault *f);
enum coffer_anchor_what anchor_tpm_tell(struct exchange *x, const struct coffer_anchor_record *r);
// After the mount: the broker lets this enclave commit, and the kernel hears of it.
int anchor_claim(struct exchange *x, unsigned int index, const struct coffer_anchor_state *from, struct fault *f);

#endif
