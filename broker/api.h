// SPDX-License-Identifier: Apache-2.0
// Inside broker/: what the HTTP handlers work on. Filled once at the start, then read-only but for the verifier, which a reload exchanges
// under verifier_lock; store and sessions have their own locks.
#ifndef COFFER_BROKER_API_H
#define COFFER_BROKER_API_H

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <pthread.h>

#include "broker/audit_api.h"
#include "broker/identity.h"
#include "broker/session.h"
#include "broker/signer.h"
#include "broker/store.h"
#include "broker/verifier.h"
#include "lib/http_server.h"

#define BROKER_TOKEN_TEXT 65	// 64 hex digits and the terminator

struct broker {
	struct db *db;
	struct store *store;
	struct audit *audit;		// every decision, before it is told
	struct audit_cosigned *cosigned;
	struct session_table *sessions;
	char admin_token[BROKER_TOKEN_TEXT];
	struct signers *signers;	// of tokens and identities
	uint8_t activation_key[32];	// tpm_activation.h
	char issuer[256];		// "https://...": who gives them; under verifier_lock
	pthread_rwlock_t verifier_lock;	// held for reading while a request is served; taken before any other lock
	struct verifier verifier;
	unsigned int ratls_max_age_s;	// how old a certificate without a nonce may be; 0: none will do
	const char *const *anchors;	// `require_anchor`: which will do, up to NULL; NULL: not asked for
};

// Serves one request (struct broker *ctx).
void broker_handle(void *ctx, const struct http_request *request, struct http_response *response);

// Inside the handlers: an error as problem JSON (RFC 9457); `refusals` is taken over, may be NULL.
void broker_problem(struct http_response *r, int status, const char *name, const char *detail, json_t *refusals);
// `o` as the body; taken over.
void broker_reply(struct http_response *r, int status, json_t *o);

// Handlers (routes.c says which requests are theirs, and has asked for the permission): `rest` is what follows the route's path.
#define BROKER_HANDLER(name) void name(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
BROKER_HANDLER(api_health);		// api.c
BROKER_HANDLER(api_auth);
BROKER_HANDLER(api_attest);
BROKER_HANDLER(api_get_resource);
BROKER_HANDLER(admin_put);		// admin.c
BROKER_HANDLER(admin_delete);
BROKER_HANDLER(admin_read_key);
BROKER_HANDLER(admin_list_policies);
BROKER_HANDLER(admin_change_policy);
BROKER_HANDLER(admin_status);
BROKER_HANDLER(anchor_handle);		// anchor.c

// api.c: who asks, by session cookie or EAR token, or one whom broker/identity.h knows (then *owner, and r->caller says who; claims and key
// stay NULL). Answers when it is none of them.
int broker_asker(struct broker *b, const struct http_request *q, struct http_response *r, bool *owner, json_t **claims,
		 EVP_PKEY **key);
// Logs the decision; a refusal is answered here. 0 when the request may go on: nothing is granted that is not logged.
// event NULL: only a refusal is logged.
int broker_decide(struct broker *b, const char *event, const struct attest_result *result, const char *resource, struct http_response *r);
// May these claims have the resource? event NULL: a permission is not logged, a refusal is. Answers a refusal.
int broker_appraise(struct broker *b, const char *event, const char *resource, json_t *claims, const struct http_request *q,
		    struct http_response *r);

#endif
