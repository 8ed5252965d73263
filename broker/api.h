// SPDX-License-Identifier: Apache-2.0
// Inside broker/: what the HTTP handlers work on. Filled once at the start, then read-only but for the verifier, which a reload exchanges
// under verifier_lock; store and sessions have their own locks.
#ifndef COFFER_BROKER_API_H
#define COFFER_BROKER_API_H

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>
#include <stdatomic.h>

#include "broker/audit_api.h"
#include "broker/identities.h"
#include "broker/identity.h"
#include "broker/session.h"
#include "broker/signer.h"
#include "broker/store.h"
#include "broker/verifier.h"
#include "lib/http_server.h"

#define BROKER_TOKEN_TEXT 65	// 64 hex digits and the terminator

struct secrets;

struct broker {
	struct db *db;
	struct guard *guard;
	struct store *store;
	struct secrets *secrets;
	struct audit *audit;		// every decision, before it is told
	struct audit_cosigned *cosigned;
	struct session_table *sessions;
	char admin_token[BROKER_TOKEN_TEXT];
	struct signers *signers;	// of tokens and identities
	uint8_t activation_key[32];	// tpm_activation.h
	char issuer[256];		// "https://...": who gives them; under verifier_lock
	bool no_admin_token;		// `admin_token: false`: it opens nothing
	struct identities *identities;
	const json_t *approvals;	// `approvals`: which operations need some; the settings'
	char approval_name[17];		// of this broker, and all that share its master key, in what approvers sign
	X509 *certificate;		// the server's own: what it is called
	char authority[1024];		// `authority`: further names, "," between
	const struct broker_settings *settings;	// as the broker was started
	pthread_mutex_t follow_lock;	// held while the verifier is made anew: an older one never comes after a newer. Taken before verifier_lock
	_Atomic long long policy_failed;	// a version that could not be used: said once; -1: none
	_Atomic int64_t policy_again_ms;	// when it is tried again
	_Atomic int64_t policy_blind_ms;	// when the log says again that the database does not answer
	atomic_ulong policy_changes, policy_followed;	// this broker's changes of it; those after which it was looked at
	pthread_rwlock_t verifier_lock;	// held for reading while a request (but /healthz) is served; taken before any lock but follow_lock
	struct verifier verifier;
	char spiffe_domain[256];	// `spiffe_trust_domain`; "": no identities are given
	unsigned int spiffe_seconds;	// `spiffe_svid_seconds`: how long their certificates live
	unsigned int ratls_max_age_s;	// how old a certificate without a nonce may be; 0: none will do
	struct limits *limits;		// what refusals may cost
	struct http_server *_Atomic server;	// NULL until it listens
	atomic_bool stopping;		// no new connection is taken any more
	time_t started;
	const char *const *anchors;	// `require_anchor`: which will do, up to NULL; NULL: not asked for
};

// Serves one request (struct broker *ctx).
void broker_handle(void *ctx, const struct http_request *request, struct http_response *response);

// Inside the handlers: an error as problem JSON (RFC 9457); `refusals` is taken over, may be NULL.
void broker_problem(struct http_response *r, int status, const char *name, const char *detail, json_t *refusals);
// What the broker itself could not do: 500, or 503 with Retry-After where it is worth to ask again (db.h); the reason goes to its log.
void broker_fault(struct http_response *r, int err, const struct fault *f);
// `o` as the body; taken over.
void broker_reply(struct http_response *r, int status, json_t *o);

// Handlers (routes.c says which requests are theirs, and has asked for the permission): `rest` is what follows the route's path.
#define BROKER_HANDLER(name) void name(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
BROKER_HANDLER(api_auth);		// api.c
BROKER_HANDLER(api_attest);
BROKER_HANDLER(api_get_resource);	// key_api.c
BROKER_HANDLER(key_use);
BROKER_HANDLER(key_public);
BROKER_HANDLER(secret_list);		// secret_api.c
BROKER_HANDLER(secret_show);
BROKER_HANDLER(secret_change);
BROKER_HANDLER(secret_destroy);
BROKER_HANDLER(secret_delete);
BROKER_HANDLER(secret_read);
BROKER_HANDLER(secret_put);
BROKER_HANDLER(admin_list_policies);	// admin.c
BROKER_HANDLER(admin_change_policy);
BROKER_HANDLER(admin_status);
BROKER_HANDLER(anchor_handle);		// anchor.c
BROKER_HANDLER(policy_show);		// policy_api.c
BROKER_HANDLER(policy_history);
BROKER_HANDLER(policy_change);
BROKER_HANDLER(approval_list);		// approval_api.c
BROKER_HANDLER(approval_give);
BROKER_HANDLER(identity_whoami);	// identity_api.c
BROKER_HANDLER(identity_list);
BROKER_HANDLER(identity_change);

// api.c: who asks, by session cookie or EAR token, or one whom broker/identity.h knows (then *owner, and r->caller says who; claims and key
// stay NULL). Answers when it is none of them.
int broker_asker(struct broker *b, const struct http_request *q, struct http_response *r, bool *owner, json_t **claims,
		 EVP_PKEY **key);
// What is not encrypted to the attested key, or changes something, is not for who only has a token: that can be passed on. False: answered.
bool broker_token_will_do(const struct http_request *q, struct http_response *r);
// limits.h: answers who has to wait, if he has.
bool broker_told_to_wait(struct http_response *r, unsigned int seconds);
// What is decided about.
struct broker_wish {
	const char *event;	// of the record; NULL: a permission is not logged, a refusal is
	const char *resource;
	const char *operation;	// "read", "sign", "decrypt", "unwrap", "wrap", "public", "anchor": rules may ask (caller: operation)
	unsigned int version;	// 0: it has none
	json_t *approved_by;	// names, for the record; NULL: no approvals took part
};
// Logs the decision; a refusal is answered here. 0 when the request may go on: nothing is granted that is not logged.
int broker_decide(struct broker *b, const struct broker_wish *wish, const struct attest_result *result, struct http_response *r);
// May these claims have that done with the resource? Answers a refusal.
int broker_appraise(struct broker *b, const struct broker_wish *wish, json_t *claims, const struct http_request *q, struct http_response *r);

// key_api.c: what a failure of secrets.h is to whoever asked.
void secret_problem(struct http_response *r, int err, const struct fault *f);
int secret_query_version(const char *query, unsigned int *version);

#endif
