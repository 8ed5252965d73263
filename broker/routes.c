// SPDX-License-Identifier: Apache-2.0
// See routes.h. A new endpoint is a row here; tests/broker/identity.c asks each one as every role.
#include "broker/routes.h"

#include <string.h>

#include "broker/ops.h"
#include "broker/svid_api.h"
#include "broker/token_api.h"
#include "broker/ui.h"

const struct route routes[] = {
	// Who keeps it running
	{"GET", "/healthz", PERMIT_ANYBODY, false, ops_live},
	{"GET", "/readyz", PERMIT_ANYBODY, false, ops_ready},
	{"GET", "/metrics", PERMIT_METRICS, false, ops_metrics},
	{"POST", "/coffer/v0/reload", PERMIT_RELOAD, false, ops_reload},
	// The page; what it shows it asks for below
	{"GET", "/ui/", PERMIT_ANYBODY, false, ui_handle},
	{"GET", "/ui", PERMIT_ANYBODY, false, ui_redirect},
	// Enclaves: the protocol of Confidential Containers
	{"POST", "/kbs/v0/auth", PERMIT_ANYBODY, false, api_auth},
	{"POST", "/kbs/v0/attest", PERMIT_ATTESTED, false, api_attest},
	{"GET", "/kbs/v0/resource/", PERMIT_ATTESTED, true, api_get_resource},
	{"GET", "/kbs/v0/key/", PERMIT_ATTESTED, false, key_public},
	{"POST", "/kbs/v0/key/", PERMIT_ATTESTED, false, key_use},
	{"GET", "/kbs/v0/anchor/", PERMIT_ATTESTED, true, anchor_handle},	// or PERMIT_ANCHOR_READ, _SET: anchor.c
	{"POST", "/kbs/v0/anchor/", PERMIT_ATTESTED, true, anchor_handle},
	{"POST", "/kbs/v0/svid", PERMIT_ATTESTED, false, svid_mint},
	// Owners
	{"POST", "/kbs/v0/resource/", PERMIT_SECRET_WRITE, true, secret_put},
	{"DELETE", "/kbs/v0/resource/", PERMIT_SECRET_DESTROY, true, secret_delete},
	{"GET", "/coffer/v0/key/", PERMIT_SECRET_READ, true, secret_read},
	{"GET", "/coffer/v0/secret", PERMIT_SECRET_LIST, false, secret_list},
	{"GET", "/coffer/v0/secret/", PERMIT_SECRET_LIST, true, secret_show},
	{"POST", "/coffer/v0/secret/", PERMIT_SECRET_WRITE, true, secret_change},
	{"DELETE", "/coffer/v0/secret/", PERMIT_SECRET_DESTROY, true, secret_delete},
	{"POST", "/coffer/v0/secret-destroy/", PERMIT_SECRET_DESTROY, true, secret_destroy},
	{"GET", "/coffer/v0/policy", PERMIT_ALLOW_LIST, false, admin_list_policies},
	{"POST", "/coffer/v0/policy", PERMIT_ALLOW, false, admin_change_policy},
	{"GET", "/coffer/v0/policy-document", PERMIT_POLICY_READ, false, policy_show},
	{"POST", "/coffer/v0/policy-document", PERMIT_POLICY_WRITE, false, policy_change},
	{"GET", "/coffer/v0/policy-history", PERMIT_POLICY_READ, false, policy_history},
	{"GET", "/coffer/v0/status", PERMIT_STATUS, false, admin_status},
	// Those who verify what the broker signs
	{"GET", "/.well-known/jwks.json", PERMIT_ANYBODY, false, token_jwks},
	{"GET", "/.well-known/openid-configuration", PERMIT_ANYBODY, false, token_discovery},
	{"GET", "/spiffe/bundle", PERMIT_ANYBODY, false, svid_bundle},
	{"GET", "/coffer/v0/signing-key", PERMIT_SIGNER, false, token_keys},
	{"POST", "/coffer/v0/signing-key", PERMIT_SIGNER, false, token_rotate},
	// Who may do that
	{"GET", "/coffer/v0/whoami", PERMIT_WHOAMI, false, identity_whoami},
	{"GET", "/coffer/v0/identity", PERMIT_IDENTITY_LIST, false, identity_list},
	{"POST", "/coffer/v0/identity", PERMIT_IDENTITY_WRITE, false, identity_change},
	{"GET", "/coffer/v0/approval", PERMIT_APPROVAL_LIST, false, approval_list},
	{"POST", "/coffer/v0/approval", PERMIT_APPROVE, false, approval_give},
	// The audit log: hashes are for everybody, records are not
	{"POST", "/coffer/v0/audit/cosignature", PERMIT_ANYBODY, false, audit_handle},
	{"GET", "/coffer/v0/audit/records", PERMIT_AUDIT, false, audit_handle_records},
	{"GET", "/coffer/v0/audit/record", PERMIT_AUDIT, false, audit_handle_records},
	{"GET", "/coffer/v0/audit/", PERMIT_ANYBODY, false, audit_handle},
	{NULL, NULL, PERMIT_NOTHING, false, NULL},
};

const struct route *route_find(const char *method, const char *path, bool *other)
{
	*other = false;
	for (const struct route *t = routes; t->path; t++) {
		size_t n = strlen(t->path);
		if (t->path[n - 1] == '/' ? strncmp(path, t->path, n) : strcmp(path, t->path))
			continue;
		if (!strcmp(method, t->method))
			return t;
		*other = true;
	}
	return NULL;
}
