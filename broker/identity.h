// SPDX-License-Identifier: Apache-2.0
// Inside broker/: who asks, and what that one may do. Every request has a caller; every route of the broker names a permission (routes.c), which
// is asked for before its handler runs. A handler whose resource does not stand in the path asks once more, with the resource.
// A caller belongs to one request; no locks.
#ifndef COFFER_BROKER_IDENTITY_H
#define COFFER_BROKER_IDENTITY_H

#include <jansson.h>
#include <stdbool.h>

#include "lib/http_server.h"

#define IDENTITY_NAME 65	// with the terminator
#define IDENTITY_PREFIXES 1024	// "team/,default/volume/ab..."

#define IDENTITY_WINDOW 60	// seconds that a signature's time and the broker's may differ
#define IDENTITY_CLOCKS 600	// and nonces are remembered so much longer: another broker's clock may be behind, or this one's be set back
#define IDENTITY_TAG "coffer"	// of signatures: for this and nothing else
#define IDENTITY_TOKEN "admin-token"	// the name of who has it

struct broker;

enum role {	// bits: an identity may have several
	ROLE_ADMIN = 1,		// everything
	ROLE_OWNER = 2,		// its own resources: put, rotate, allow, deny, its part of the audit log
	ROLE_OPERATOR = 4,	// keeps the broker running: status, metrics, reload; no secrets
	ROLE_AUDITOR = 8,	// the audit log, lists
	ROLE_APPROVER = 16,	// gives approvals where they are asked for
};

enum permission {
	PERMIT_NOTHING,		// no route may have it: one without a permission would
	PERMIT_ANYBODY,
	PERMIT_ATTESTED,	// enclaves: the handler asks for the session or token itself (broker_asker)
	PERMIT_WHOAMI,		// whoever is known at all
	PERMIT_STATUS,
	PERMIT_METRICS,
	PERMIT_RELOAD,
	PERMIT_SECRET_LIST,	// names and versions, never values
	PERMIT_SECRET_WRITE,	// put, replace, rotate, expire, generate
	PERMIT_SECRET_DESTROY,
	PERMIT_SECRET_READ,	// the value itself
	PERMIT_ALLOW,		// allow and deny measurements
	PERMIT_ALLOW_LIST,
	PERMIT_ANCHOR_READ,
	PERMIT_ANCHOR_SET,
	PERMIT_POLICY_READ,	// the policy of rules
	PERMIT_POLICY_WRITE,
	PERMIT_AUDIT,		// records; an owner's are those about its resources and of its own doing
	PERMIT_SIGNER,		// keys that sign tokens and certificates
	PERMIT_IDENTITY_LIST,
	PERMIT_IDENTITY_WRITE,
	PERMIT_APPROVAL_LIST,
	PERMIT_APPROVE,
	PERMISSIONS,
};

enum caller_kind {
	CALLER_NOBODY,		// of what came, nothing says who (an enclave's session or token is the handler's to look at)
	CALLER_TOKEN,		// the admin token: superuser
	CALLER_KEY,		// a signature over this request
	CALLER_CERTIFICATE,	// a certificate shown in the TLS handshake
};

struct caller {
	enum caller_kind kind;
	unsigned int roles;
	char name[IDENTITY_NAME];	// as logs have it; "" for nobody
	char prefixes[IDENTITY_PREFIXES];	// an owner's: "," between; each ends with '/' or is a whole resource
	json_t *approved_by;		// whose approvals what it asks for has used up; NULL: none
};

// resource NULL: on any resource at all. Whoever lists things asks for each.
bool caller_may(const struct caller *c, enum permission p, const char *resource);

// Of a list of objects with a "resource": leaves those about which the caller may know. An owner sees what is its own.
void caller_keep(const struct caller *c, enum permission p, json_t *list);

// Who asks, from what came with the request, into *c. False: it claimed to be somebody and is not, which has been answered.
bool identify(struct broker *b, const struct http_request *q, struct http_response *r, struct caller *c);

// For handlers: may the caller of this request (r->caller) do that? Otherwise it is answered: 401 for nobody, 403 for somebody.
bool broker_permits(struct http_response *r, enum permission p, const char *resource);

const char *permission_name(enum permission p);

struct broker_settings;
// At the start, when the database and the store are open; `tls` has the server's certificate. Call identity_close in any case.
int identity_open(struct broker *b, const struct broker_settings *s, SSL_CTX *tls, struct fault *f);
void identity_close(struct broker *b);

#endif
