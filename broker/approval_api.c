// SPDX-License-Identifier: Apache-2.0
// Approvals over HTTP: what waits for some, who approved, and giving one. Runs in connection threads; takes no lock of its own.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attest/json.h"
#include "broker/api.h"
#include "broker/approvals.h"
#include "lib/encode.h"
#include "lib/log.h"

static void fail(int err, const struct fault *f, struct http_response *r)
{
	bool own = err == -EIO || err == -ENOMEM || err == -EBADMSG || db_worth_retrying(err);
	int status = db_worth_retrying(err) ? 503 : own ? 500 : err == -ENOENT || err == -EACCES || err == -EKEYREJECTED ? 403 : 400;
	if (own)
		log_alarm("broker: approvals: %s", f->text);
	broker_problem(r, status, own ? "Internal" : status == 403 ? "ApprovalRefused" : "BadRequest", f->text, NULL);
}

static int list_work(struct db_tx *t, void *ctx, struct fault *f)
{
	json_t *list = ctx;
	struct db_rows *r;
	int err = db_query(t, &r, f, "SELECT id, action, subject, detail, asked, author FROM approval_request ORDER BY asked, id", "");
	json_array_clear(list);
	while (!err && (err = db_next(r, f)) == 1) {
		char when[32];
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "id", db_text(r, 0) ?: "", "action", db_text(r, 1) ?: "", "subject",
						      db_text(r, 2) ?: "", "detail", db_text(r, 3) ?: "", "asked",
						      time_text(when, (time_t)db_int(r, 4)), "by", db_text(r, 5) ?: ""));
		err = 0;
	}
	db_rows_end(r);
	return err < 0 ? err : 0;
}

static struct approval read_approval(const json_t *o)
{
	return (struct approval){json_string_value(json_object_get(o, "action")), json_string_value(json_object_get(o, "subject")),
				 json_string_value(json_object_get(o, "detail"))};
}

static bool lists(const json_t *of, const char *name)
{
	size_t i;
	json_t *v;
	json_array_foreach((json_t *)of, i, v) {
		if (!strcmp(json_string_value(v) ?: "", name))
			return true;
	}
	return false;
}

// Is he one of those whose approval is asked for: by broker.yaml, or of releases by a condition of the policy?
static bool is_asked(const struct broker *b, const char *action, const char *name)
{
	const json_t *conditions = b->verifier.policy ? json_object_get(b->verifier.policy->json, "conditions") : NULL;
	const char *condition;
	json_t *v;
	if (strcmp(action, APPROVAL_RELEASE))
		return lists(json_object_get(json_object_get(b->approvals, action), "of"), name);
	json_object_foreach((json_t *)conditions, condition, v) {
		if (lists(json_object_get(json_object_get(v, "approval"), "of"), name))
			return true;
	}
	return false;
}

// Owners see what is about their own resources, what they asked for, and what waits for them.
static bool may_see(const struct broker *b, const struct caller *c, const struct approval *a, const char *by)
{
	return caller_may(c, PERMIT_APPROVAL_LIST, a->subject) || !strcmp(by, c->name) || is_asked(b, a->action, c->name);
}

void approval_list(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	(void)q;
	struct fault f = {""};
	json_t *list = json_array(), *row, *names;
	size_t i;
	int err = db_read(b->db, list_work, list, &f);
	for (i = json_array_size(list); i-- > 0 && !err;) {
		row = json_array_get(list, i);
		const struct approval a = read_approval(row);
		if (!may_see(b, r->caller, &a, json_string_value(json_object_get(row, "by"))))
			json_array_remove(list, i);
	}
	json_array_foreach(list, i, row) {
		const struct approval a = read_approval(row);
		if (err || (err = approvals_valid(b, &a, &names, &f)))
			break;
		json_object_set_new(row, "approved_by", names);
	}
	if (err) {
		json_decref(list);
		fail(err, &f, r);
		return;
	}
	broker_reply(r, 200, json_pack("{s:s, s:o}", "broker", b->approval_name, "requests", list));
}

static bool record(struct broker *b, const struct approval *a, const char *expires, struct http_response *r)
{
	struct fault f = {""};
	json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s}", "event", "approve", "action", a->action, "resource", a->subject, "detail", a->detail, "expires", expires);
	int err = audit_log(b, r, o, &f);
	if (err)
		fail(err, &f, r);
	return !err;
}

void approval_give(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	struct fault f = {""};
	struct identity who;
	json_t *o = json_loadb(q->body, q->body_len, JSON_REJECT_DUPLICATES, NULL);
	const struct approval a = read_approval(o);
	const char *expires = json_string_value(json_object_get(o, "expires")), *text = json_string_value(json_object_get(o, "signature"));
	uint8_t signature[SIGNKEY_SIGNATURE];
	char id[APPROVAL_ID];
	int err = 0;
	if (!a.action || !a.subject || !a.detail || !expires || !text ||
	    base64_decode(signature, sizeof signature, text, strlen(text), BASE64_STD) != sizeof signature)
		err = fault_set(&f, -EINVAL, "needed: action, subject, detail, expires, signature (64 bytes in base64)");
	// Whose it is says the request's own signature: nobody hands in another's.
	if (!err)
		err = identities_find_name(b->identities, r->caller->name, &who, &f);
	if (!err)
		err = approval_check(b, &a, who.keyid, expires, signature, &f);
	if (err) {
		fail(err, &f, r);
	} else if (record(b, &a, expires, r)) {
		approval_id(&a, id);
		err = approvals_put(b, &a, who.keyid, expires, signature, &f);
		if (err)
			fail(err, &f, r);
		else
			broker_reply(r, 200, json_pack("{s:b, s:s}", "ok", 1, "id", id));
	}
	json_decref(o);
}
