// SPDX-License-Identifier: Apache-2.0
// The policy of rules over HTTP: putting it, its versions, going back. Checked as it would be at a start before it is taken, recorded in the audit
// log before it holds. Runs in connection threads; takes no lock of its own.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/api.h"
#include "broker/approvals.h"
#include "broker/policies.h"
#include "broker/state.h"
#include "lib/log.h"

static bool fine(int err, const struct fault *f, struct http_response *r)
{
	if (err >= 0)
		return true;
	int status = err == -EINVAL ? 400 : err == -ENOENT ? 404 : db_worth_retrying(err) ? 503 : 500;
	if (status >= 500)
		log_alarm("broker: policy: %s", f->text);
	broker_problem(r, status, status == 400 ? "BadPolicy" : status == 404 ? "NotFound" : "Internal", f->text, NULL);
	return false;
}

// "version=N", or nothing: 0.
static int version_of(const char *query, long long *version, struct fault *f)
{
	size_t n = strncmp(query, "version=", 8) ? 0 : strspn(query + 8, "0123456789");
	*version = n && n < 16 && !query[8 + n] ? strtoll(query + 8, NULL, 10) : 0;
	return !*query || *version ? 0 : fault_set(f, -EINVAL, "all that may be asked is ?version=N");
}

void policy_show(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	struct fault f = {""};
	struct policy_version v = {0};
	long long version;
	int err = version_of(q->head->query, &version, &f);
	if (!err && !version && b->settings->policy[0]) {
		broker_reply(r, 200, json_pack("{s:s, s:s, s:s}", "source", "file", "file", b->settings->policy, "policy_digest", b->verifier.digest));
		return;
	}
	if (!err)
		err = policies_get(b, version, &v, &f);
	if (err == -ENOENT && !version)
		broker_reply(r, 200, json_pack("{s:s}", "source", "none"));
	else if (fine(err, &f, r))
		broker_reply(r, 200, json_pack("{s:s, s:I, s:s, s:s, s:s, s:s}", "source", "database", "version", (json_int_t)v.version, "name", v.name, "author",
					       v.author, "digest", v.digest, "text", v.text));
	policy_version_free(&v);
}

void policy_history(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	(void)q;
	struct fault f = {""};
	json_t *list;
	if (fine(policies_list(b, &list, &f), &f, r))
		broker_reply(r, 200, json_pack("{s:s, s:o}", "source", b->settings->policy[0] ? "file" : "database", "versions", list));
}

static bool name_valid(const char *name)
{
	size_t n = strlen(name);
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)name[i] < ' ' || name[i] == 0x7f)
			return false;
	}
	return n < POLICY_NAME;
}

static int read_put(const json_t *o, struct policy_version *v, struct fault *f)
{
	const char *text = json_string_value(json_object_get(o, "text")), *name = json_string_value(json_object_get(o, "name")) ?: "";
	if (!text || strlen(text) != json_string_length(json_object_get(o, "text")) || strlen(text) > POLICY_MAX_BYTES)
		return fault_set(f, -EINVAL, "text: a policy (YAML) of at most %u bytes", POLICY_MAX_BYTES);
	if (!name_valid(name))
		return fault_set(f, -EINVAL, "name: one line of at most %d bytes", POLICY_NAME - 1);
	strcpy(v->name, name);
	v->text = strdup(text);
	v->len = strlen(text);
	return v->text ? 0 : fault_set(f, -ENOMEM, "out of memory");
}

// An older version again, as a new one.
static int read_back(struct broker *b, const json_t *o, struct policy_version *v, struct fault *f)
{
	json_int_t version = json_integer_value(json_object_get(o, "version"));
	if (version < 1)
		return fault_set(f, -EINVAL, "version: the number of the one to go back to");
	int err = policies_get(b, version, v, f);
	if (!err)
		snprintf(v->name, sizeof v->name, "back to version %lld", (long long)version);
	return err;
}

static bool record(struct broker *b, const char *action, const struct policy_version *v, struct http_response *r)
{
	struct fault f = {""};
	char event[32];
	snprintf(event, sizeof event, "policy-%s", action);
	json_t *o = json_pack("{s:s, s:s}", "event", event, "name", v->name);
	if (v->text)
		json_object_set_new(o, "digest", json_string(v->digest));
	return fine(audit_log(b, r, o, &f), &f, r);
}

void policy_change(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	struct fault f = {""};
	struct policy_version v = {0};
	char text[PATH_MAX + 200];
	json_t *o = json_loadb(q->body, q->body_len, JSON_REJECT_DUPLICATES, NULL);
	const char *action = json_string_value(json_object_get(o, "action")) ?: "";
	bool put = !strcmp(action, "put"), back = !strcmp(action, "rollback"), withdraw = !strcmp(action, "withdraw");
	int err = put || back || withdraw ? 0 : fault_set(&f, -EINVAL, "action must be \"put\", \"rollback\" or \"withdraw\"");
	if (!err && b->settings->policy[0]) {
		snprintf(text, sizeof text, "the policy of this broker is the file %s (`policy` in broker.yaml, or --policy): take that line out and start anew, or "
			 "edit the file", b->settings->policy);
		broker_problem(r, 409, "PolicyIsAFile", text, NULL);
		goto out;
	}
	if (!err && put)
		err = read_put(o, &v, &f);
	if (!err && back)
		err = read_back(b, o, &v, &f);
	if (!err && !withdraw) {
		err = broker_policy_check(b->settings, v.text, v.len, &f);
		policies_digest(&v);
		err = err ? -EINVAL : 0;
	}
	strcpy(v.author, r->caller->name);
	if (!fine(err, &f, r) || !broker_approved(b, r, "policy", action, withdraw ? "none" : v.digest) || !record(b, action, &v, r))
		goto out;
	if (fine(policies_put(b, &v, &f), &f, r))
		broker_reply(r, 200, json_pack("{s:b, s:I, s:s}", "ok", 1, "version", (json_int_t)v.version, "digest", v.digest));
out:
	policy_version_free(&v);
	json_decref(o);
}
