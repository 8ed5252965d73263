// SPDX-License-Identifier: Apache-2.0
// See identity.h. The one table of what each role may do.
#include "broker/identity.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "broker/api.h"

static const struct { const char *name; unsigned int roles; } permissions[PERMISSIONS] = {
	[PERMIT_WHOAMI] = {"whoami", ROLE_OWNER | ROLE_OPERATOR | ROLE_AUDITOR | ROLE_APPROVER},
	[PERMIT_STATUS] = {"status", ROLE_OWNER | ROLE_OPERATOR | ROLE_AUDITOR | ROLE_APPROVER},
	[PERMIT_METRICS] = {"metrics", ROLE_OPERATOR | ROLE_AUDITOR},
	[PERMIT_RELOAD] = {"reload", ROLE_OPERATOR},
	[PERMIT_SECRET_LIST] = {"secret-list", ROLE_OWNER | ROLE_AUDITOR},
	[PERMIT_SECRET_WRITE] = {"secret-write", ROLE_OWNER},
	[PERMIT_SECRET_DESTROY] = {"secret-destroy", ROLE_OWNER},
	[PERMIT_SECRET_READ] = {"secret-read", ROLE_OWNER},
	[PERMIT_ALLOW] = {"allow", ROLE_OWNER},
	[PERMIT_ALLOW_LIST] = {"allow-list", ROLE_OWNER | ROLE_AUDITOR},
	[PERMIT_ANCHOR_READ] = {"anchor-read", ROLE_OWNER | ROLE_AUDITOR},
	[PERMIT_ANCHOR_SET] = {"anchor-set", ROLE_OWNER},
	[PERMIT_POLICY_READ] = {"policy-read", ROLE_OWNER | ROLE_OPERATOR | ROLE_AUDITOR | ROLE_APPROVER},
	[PERMIT_POLICY_WRITE] = {"policy-write", 0},
	[PERMIT_AUDIT] = {"audit", ROLE_OWNER | ROLE_AUDITOR},
	[PERMIT_BACKUP] = {"backup", 0},
	[PERMIT_SIGNER] = {"signer", 0},
	[PERMIT_IDENTITY_LIST] = {"identity-list", ROLE_AUDITOR},
	[PERMIT_IDENTITY_WRITE] = {"identity-write", 0},
	[PERMIT_APPROVAL_LIST] = {"approval-list", ROLE_OWNER | ROLE_AUDITOR | ROLE_APPROVER},
	[PERMIT_APPROVE] = {"approve", ROLE_OWNER | ROLE_APPROVER},
};

const char *permission_name(enum permission p)
{
	return p == PERMIT_ANYBODY ? "anybody" : p == PERMIT_ATTESTED ? "attested" : p < PERMISSIONS && permissions[p].name ? permissions[p].name : "";
}

// Is it one of the prefixes, or below one that ends with '/'?
static bool owns(const char *prefixes, const char *resource)
{
	for (const char *p = prefixes; *p;) {
		size_t n = strcspn(p, ",");
		if (n && !strncmp(resource, p, n) && (p[n - 1] == '/' || !resource[n]))
			return true;
		p += n + (p[n] == ',');
	}
	return false;
}

bool caller_may(const struct caller *c, enum permission p, const char *resource)
{
	if (p == PERMIT_ANYBODY || p == PERMIT_ATTESTED)
		return true;
	if (p <= PERMIT_NOTHING || p >= PERMISSIONS || !permissions[p].name || c->kind == CALLER_NOBODY)
		return false;
	if (c->kind == CALLER_TOKEN || c->roles & ROLE_ADMIN)
		return true;
	unsigned int held = c->roles & permissions[p].roles;
	if (held & ~(unsigned int)ROLE_OWNER)
		return true;
	return held && (!resource || owns(c->prefixes, resource));
}

static bool bears_admin_token(const struct broker *b, const struct http_request *q)
{
	const char *a = q->head->authorization;
	return !strncmp(a, "Bearer ", 7) && strlen(a + 7) == BROKER_TOKEN_TEXT - 1 &&
	       !CRYPTO_memcmp(a + 7, b->admin_token, BROKER_TOKEN_TEXT - 1);
}

bool identify(struct broker *b, const struct http_request *q, struct http_response *r, struct caller *c)
{
	(void)r;
	memset(c, 0, sizeof *c);
	if (bears_admin_token(b, q)) {
		c->kind = CALLER_TOKEN;
		strcpy(c->name, "admin-token");
	}
	return true;
}

bool broker_permits(struct http_response *r, enum permission p, const char *resource)
{
	char text[400];
	if (caller_may(r->caller, p, resource))
		return true;
	if (r->caller->kind == CALLER_NOBODY) {
		broker_problem(r, 401, "TokenRefused", "this needs the admin token (Authorization: Bearer ...)", NULL);
		return false;
	}
	snprintf(text, sizeof text, "%s may not do this (%s%s%.200s)", r->caller->name, permission_name(p), resource ? " of " : "",
		 resource ? resource : "");
	broker_problem(r, 403, "NotPermitted", text, NULL);
	return false;
}
