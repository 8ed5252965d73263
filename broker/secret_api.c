// SPDX-License-Identifier: Apache-2.0
// What owners do with secrets: /coffer/v0/secret..., and the two requests of Confidential Containers' tools. Each change is on record before it is
// made, without values. Runs in connection threads; takes no lock of its own.
//
// A change's body is a line of JSON, and for a value given with it the bytes behind that line:
//	{"action":"put","uses":1}\n<bytes>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/api.h"
#include "broker/approvals.h"
#include "broker/secrets.h"
#include "lib/file.h"

#define MAX_LINE 4096

static const char *const others[] = {"action", "kind", "version", NULL};	// members that are no settings
static const char *const settings[] = {"use", "bytes", "encoding", "note", "uses", "uses_total", "keep_versions", "keep_seconds", "lifetime", "not_before",
				       "not_after", "publish", "current", "reset_uses", NULL};

static bool fine(int err, const struct fault *f, struct http_response *r)
{
	if (err == -EBADMSG)	// an owner hears what a caller does not
		broker_problem(r, 500, "Damaged", f->text, NULL);
	else if (err)
		secret_problem(r, err, f);
	return !err;
}

// `what` (may be NULL) is what was asked: settings, never a value.
static bool record(struct broker *b, const char *event, const char *resource, const json_t *what, struct http_response *r)
{
	struct fault f = {""};
	json_t *o = json_pack("{s:s, s:s}", "event", event, "resource", resource);
	json_t *details = what ? json_deep_copy(what) : NULL;
	json_object_del(details, "action");
	if (json_object_size(details))
		json_object_set(o, "settings", details);
	json_decref(details);
	return fine(audit_log(b, r, o, &f), &f, r);
}

static void done(struct http_response *r)
{
	broker_reply(r, 200, json_pack("{s:b}", "ok", 1));
}

void secret_list(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	struct fault f = {""};
	json_t *list = NULL;
	(void)rest;
	(void)q;
	if (!fine(secrets_list(b->secrets, time(NULL), &list, &f), &f, r))
		return;
	caller_keep(r->caller, PERMIT_SECRET_LIST, list);
	broker_reply(r, 200, json_pack("{s:o}", "secrets", list));
}

void secret_show(struct broker *b, const char *name, const struct http_request *q, struct http_response *r)
{
	struct secret *h = malloc(sizeof *h);
	struct fault f = {""};
	(void)q;
	if (fine(h ? secrets_get(b->secrets, name, h, &f) : fault_set(&f, -ENOMEM, "out of memory"), &f, r))
		broker_reply(r, 200, secret_describe(h, name, time(NULL)));
	free(h);
}

// "version" of a request: 0 when there is none. False: answered.
static bool version_of(const json_t *o, unsigned int *version, struct http_response *r)
{
	const json_t *v = json_object_get(o, "version");
	if (v && (!json_is_integer(v) || json_integer_value(v) < 1 || json_integer_value(v) > 1 << 30)) {
		broker_problem(r, 400, "BadRequest", "version: a number from 1", NULL);
		return false;
	}
	*version = (unsigned int)json_integer_value(v);
	return true;
}

// Where that is asked for: of this version, or of all of them.
static bool approved_version(struct broker *b, const char *operation, const char *name, unsigned int version, struct http_response *r)
{
	char detail[32];
	snprintf(detail, sizeof detail, version ? "version %u" : "all versions", version);
	return broker_approved(b, r, operation, name, detail);
}

static void store(struct broker *b, const char *name, const struct secrets_put *p, const char *event, struct http_response *r)
{
	struct fault f = {""};
	unsigned int version = 0;
	if (p->mode == SECRETS_REPLACE && !approved_version(b, "destroy", name, 0, r))	// those that are there are destroyed
		return;
	if (record(b, event, name, p->settings, r) && fine(secrets_put(b->secrets, name, p, time(NULL), &version, &f), &f, r))
		broker_reply(r, 200, json_pack("{s:b, s:i}", "ok", 1, "version", (int)version));
}

static bool is_one_of(const char *const *list, const char *name)
{
	while (*list && strcmp(*list, name))
		list++;
	return *list;
}

// What is not known is not put on record either: somebody may have written the value there.
static bool all_known(const json_t *o, struct http_response *r)
{
	char text[128];
	const char *name;
	json_t *v;
	json_object_foreach((json_t *)o, name, v) {
		if (is_one_of(others, name) || is_one_of(settings, name))
			continue;
		snprintf(text, sizeof text, "\"%.32s\" is no setting (a value stands behind the line of JSON)", name);
		broker_problem(r, 400, "BadRequest", text, NULL);
		return false;
	}
	return true;
}

static void change(struct broker *b, const char *name, const char *action, const json_t *o, const void *value, size_t len, struct http_response *r)
{
	struct secrets_put p = {.kind = json_string_value(json_object_get(o, "kind")), .settings = o, .others = others, .value = value, .len = len};
	struct fault f = {""};
	unsigned int version;
	if (!all_known(o, r) || !version_of(o, &version, r))
		return;
	bool puts = !strcmp(action, "put"), makes = !strcmp(action, "generate"), rotates = !strcmp(action, "rotate"), replaces = !strcmp(action, "replace");
	bool sets = !strcmp(action, "set"), disables = !strcmp(action, "disable"), enables = !strcmp(action, "enable");
	if (json_object_get(o, "kind") && (!p.kind || !(puts || makes || replaces)))
		broker_problem(r, 400, "BadRequest", "kind: said as text, of a secret that is new", NULL);
	else if (puts && !value)
		broker_problem(r, 400, "BadRequest", "the secret's bytes follow the line of JSON", NULL);
	else if (value && !(puts || rotates || replaces))
		broker_problem(r, 400, "BadRequest", "no bytes go with this", NULL);
	else if ((puts || makes || rotates || replaces) && version)
		broker_problem(r, 400, "BadRequest", "the broker gives versions their numbers", NULL);
	else if (puts || makes) {
		p.mode = SECRETS_NEW;
		if (makes && !p.kind)
			p.kind = "random";
		store(b, name, &p, puts ? "put-secret" : "generate-secret", r);
	} else if (rotates || replaces) {
		p.mode = rotates ? SECRETS_ROTATE : SECRETS_REPLACE;
		store(b, name, &p, rotates ? "rotate-secret" : "replace-secret", r);
	} else if (sets) {
		if (record(b, "set-secret", name, o, r) && fine(secrets_set(b->secrets, name, version, o, others, time(NULL), &f), &f, r))
			done(r);
	} else if (disables || enables) {
		if (json_object_size(o) != (version ? 2 : 1))
			broker_problem(r, 400, "BadRequest", "nothing is set with this", NULL);
		else if (record(b, disables ? "disable-secret" : "enable-secret", name, o, r) &&
			 fine(secrets_state(b->secrets, name, version, disables ? SECRET_DISABLED : SECRET_ENABLED, &f), &f, r))
			done(r);
	} else {
		broker_problem(r, 400, "BadRequest", "action: put, generate, rotate, replace, set, disable or enable", NULL);
	}
}

void secret_change(struct broker *b, const char *name, const struct http_request *q, struct http_response *r)
{
	const char *end = q->body_len ? memchr(q->body, '\n', q->body_len < MAX_LINE ? q->body_len : MAX_LINE) : NULL;
	size_t line = end ? (size_t)(end - q->body) : q->body_len;
	json_error_t e;
	json_t *o = line < MAX_LINE ? json_loadb(q->body, line, JSON_REJECT_DUPLICATES, &e) : NULL;
	const char *action = json_string_value(json_object_get(o, "action"));
	if (action)
		change(b, name, action, o, end ? end + 1 : NULL, end ? q->body_len - line - 1 : 0, r);
	else
		broker_problem(r, 400, "BadRequest", "the first line of the request must be a JSON object with an \"action\"", NULL);
	json_decref(o);
}

void secret_destroy(struct broker *b, const char *name, const struct http_request *q, struct http_response *r)
{
	json_t *o = json_loadb(q->body, q->body_len, JSON_REJECT_DUPLICATES, NULL);
	struct fault f = {""};
	unsigned int version = 0;
	if (!json_is_object(o) || json_object_size(o) != (json_object_get(o, "version") ? 1 : 0))
		broker_problem(r, 400, "BadRequest", "the request is {\"version\": N}, or {} for all versions", NULL);
	else if (version_of(o, &version, r) && approved_version(b, "destroy", name, version, r) && record(b, "destroy-secret", name, o, r) &&
		 fine(secrets_state(b->secrets, name, version, SECRET_DESTROYED, &f), &f, r))
		done(r);
	json_decref(o);
}

void secret_delete(struct broker *b, const char *name, const struct http_request *q, struct http_response *r)
{
	struct fault f = {""};
	(void)q;
	if (approved_version(b, "destroy", name, 0, r) && record(b, "delete-key", name, NULL, r) && fine(secrets_delete(b->secrets, name, &f), &f, r))
		done(r);
}

void secret_read(struct broker *b, const char *name, const struct http_request *q, struct http_response *r)
{
	struct fault f = {""};
	uint8_t *value = NULL;
	size_t len = 0;
	unsigned int version;
	int err = secret_query_version(q->head->query, &version) ? fault_set(&f, -EINVAL, "all that may be asked is ?version=N") : 0;
	json_t *what = version ? json_pack("{s:i}", "version", (int)version) : NULL;
	if (fine(err, &f, r) && approved_version(b, "read", name, version, r) && record(b, "owner-reads-key", name, what, r) &&
	    fine(secrets_read(b->secrets, name, version, time(NULL), &value, &len, &f), &f, r)) {
		r->status = 200;
		r->content_type = "application/octet-stream";
		r->body = (char *)value;
		r->body_len = len;
	}
	json_decref(what);
}

// As Confidential Containers' tools put one: the body is the value.
void secret_put(struct broker *b, const char *name, const struct http_request *q, struct http_response *r)
{
	struct secrets_put p = {.mode = !strcmp(q->head->query, "replace=true") ? SECRETS_REPLACE : SECRETS_NEW, .value = q->body, .len = q->body_len};
	store(b, name, &p, p.mode == SECRETS_REPLACE ? "replace-key" : "put-key", r);
}
