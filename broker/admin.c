// SPDX-License-Identifier: Apache-2.0
// The owners' requests: policies, status. Each change is a record of the audit log. Runs in connection threads; takes no lock of its own.
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/api.h"
#include "broker/approvals.h"
#include "broker/kbs.h"
#include "broker/secrets.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/log.h"

#define MAX_NOTE 200

// Answers a store's failure. True when there was none.
static bool fine(int err, const struct fault *f, struct http_response *r)
{
	if (!err)
		return true;
	int status = err == -ENOENT ? 404 : err == -EEXIST ? 409 : err == -EFBIG ? 413 : 500;
	if (db_worth_retrying(err)) {
		broker_fault(r, err, f);
		return false;
	}
	if (status == 500)
		log_warning("broker: %s", f->text);
	broker_problem(r, status, err == -ENOENT ? "NotFound" : err == -EEXIST ? "Exists" : err == -EFBIG ? "TooLarge" :
		       "Internal", f->text, NULL);
	return false;
}

// Written before the change, so that no change goes unrecorded.
static bool record(struct broker *b, const char *event, const char *resource, const char *measurement,
		   struct http_response *r)
{
	struct fault f = {""};
	json_t *o = json_pack("{s:s, s:s}", "event", event, "resource", resource);
	if (measurement)
		json_object_set_new(o, "measurement", json_string(measurement));
	return fine(audit_log(b, r, o, &f), &f, r);
}

static void done(struct http_response *r)
{
	broker_reply(r, 200, json_pack("{s:b}", "ok", 1));
}

static bool measurement_valid(const char *m)
{
	size_t n = strspn(m, "0123456789abcdef");
	return (n == ATTEST_MEASUREMENT_HEX - 1 || n == 64) && !m[n];	// SHA-384 or as long; SHA-256, SM3
}

static bool note_valid(const char *note)
{
	size_t n = strlen(note);
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)note[i] < ' ' || note[i] == 0x7f)
			return false;
	}
	return n <= MAX_NOTE;
}

void admin_change_policy(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	struct fault f = {""};
	json_error_t e;
	json_t *o = json_loadb(q->body, q->body_len, JSON_REJECT_DUPLICATES, &e);
	const char *action = json_string_value(json_object_get(o, "action"));
	const char *resource = json_string_value(json_object_get(o, "resource"));
	const char *measurement = json_string_value(json_object_get(o, "measurement"));
	const char *note = json_string_value(json_object_get(o, "note"));
	bool allow = action && !strcmp(action, "allow");
	if (!action || (!allow && strcmp(action, "deny")))
		broker_problem(r, 400, "BadRequest", "action must be \"allow\" or \"deny\"", NULL);
	else if (!resource || !kbs_resource_valid(resource))
		broker_problem(r, 400, "BadRequest", "resource must be repository/type/tag", NULL);
	else if (measurement ? !measurement_valid(measurement) : allow)
		broker_problem(r, 400, "BadRequest", "measurement must be 96 or 64 lower-case hex digits", NULL);
	else if (note && !note_valid(note))
		broker_problem(r, 400, "BadRequest", "note must be one line of at most 200 bytes", NULL);
	else if (broker_permits(r, PERMIT_ALLOW, resource) && (!allow || broker_approved(b, r, "allow", resource, measurement)) && record(b, action, resource, measurement, r) &&
		 fine(allow ? store_allow(b->store, resource, measurement, note ? note : "", &f)
			    : store_deny(b->store, resource, measurement, &f), &f, r))
		done(r);
	json_decref(o);
}

void admin_list_policies(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	(void)q;
	struct fault f = {""};
	json_t *list = NULL;
	if (!fine(store_policies(b->store, &list, &f), &f, r))
		return;
	caller_keep(r->caller, PERMIT_ALLOW_LIST, list);
	broker_reply(r, 200, json_pack("{s:o}", "policies", list));
}

void admin_status(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	(void)q;
	struct fault f = {""};
	long long resources = 0, policies = 0;
	struct note head;
	char root[65];
	audit_head(b->audit, &head);
	hex_encode(root, head.head.root, sizeof head.head.root);
	if (fine(secrets_count(b->secrets, &resources, &f), &f, r) && fine(store_count_policies(b->store, &policies, &f), &f, r))
		broker_reply(r, 200,
			     json_pack("{s:s, s:I, s:I, s:I, s:I, s:s, s:b, s:b}", "version", KBS_VERSION,
				       "resources", (json_int_t)resources, "policies", (json_int_t)policies, "sessions",
				       (json_int_t)session_count(b->sessions), "decisions", (json_int_t)head.head.size,
				       "log_head", root, "simulated_accepted",
				       verifier_accepts_simulated(&b->verifier), "debug_accepted",
				       b->verifier.policy->policy.insecure_accept_debug));
}
