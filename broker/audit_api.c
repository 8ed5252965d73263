// SPDX-License-Identifier: Apache-2.0
// See audit_api.h. Runs in connection threads; takes no lock of its own.
#include "broker/audit_api.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/api.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/keyfile.h"
#include "lib/log.h"

// The log's name says which key it is: "coffer-audit/" and the beginning of the key's digest.
static int name_of(EVP_PKEY *key, char name[NOTE_NAME])
{
	struct note_key k;
	uint8_t digest[32];
	char hex[17];

	if (note_key_of(&k, "-", NOTE_LOG, key))
		return -EINVAL;
	merkle_leaf(k.key, sizeof k.key, digest);
	snprintf(name, NOTE_NAME, "coffer-audit/%s", hex_encode(hex, digest, 8));
	return 0;
}

static int write_public(struct audit *a, const char *dir, struct fault *f)
{
	char path[PATH_MAX + 32], text[NOTE_KEY_TEXT + 1], *there;
	size_t len;

	note_key_text(audit_key(a), text);
	strcat(text, "\n");
	snprintf(path, sizeof path, "%s/audit.pub", dir);
	int err = file_read(path, sizeof text, &there, &len, NULL);
	bool same = !err && !strcmp(there, text);
	if (!err)
		free(there);
	if (!err && !same)	// who verifies by it would call this log another's
		log_warning("broker: %s held another key than audit.key's: it is written anew. Whoever verifies the log needs it", path);
	return same ? 0 : file_write(path, text, strlen(text), 0644, false, f);
}

int audit_start(struct broker *b, const char *dir, const struct note_key *witnesses, unsigned int count, struct fault *f)
{
	char path[PATH_MAX + 32], name[NOTE_NAME];
	EVP_PKEY *key = NULL;
	uint64_t dropped = 0;
	int err = 0;

	snprintf(path, sizeof path, "%s/audit.key", dir);
	if (access(path, F_OK))
		err = keyfile_write(path, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), f);
	if (!err)
		err = keyfile_read(path, &key, f);
	if (!err && name_of(key, name))
		err = fault_set(f, -EINVAL, "%s does not hold an Ed25519 key", path);
	snprintf(path, sizeof path, "%s/audit", dir);
	if (!err)
		err = audit_open(&b->audit, path, name, key, &dropped, f);
	if (!err)
		err = write_public(b->audit, dir, f);
	if (!err)
		err = audit_cosigned_open(&b->cosigned, path, witnesses, count, f);
	if (dropped)
		log_warning("broker: the audit log ended in %llu bytes of records that were never answered; they were dropped",
			    (unsigned long long)dropped);
	EVP_PKEY_free(key);
	return err;
}

void audit_stop(struct broker *b)
{
	audit_close(b->audit);
	audit_cosigned_close(b->cosigned);
}

int audit_log(struct broker *b, const struct http_response *r, json_t *record, struct fault *f)
{
	if (r && r->peer)
		json_object_set_new(record, "from", json_string(r->peer));
	if (r && r->caller && r->caller->name[0])
		json_object_set_new(record, "by", json_string(r->caller->name));
	if (r && r->caller && r->caller->approved_by)
		json_object_set(record, "approved_by", r->caller->approved_by);
	return audit_append(b->audit, record, NULL, f);
}

static void fail(int err, const struct fault *f, struct http_response *r)
{
	int status = err == -EINVAL ? 400 : err == -ENOENT ? 404 : err == -EACCES ? 403 : err == -ESTALE ? 409 : 500;

	if (status == 500)
		log_alarm("broker: %s", f->text);
	broker_problem(r, status, status == 400 ? "BadRequest" : status == 404 ? "NotFound" : status == 403 ? "NotAWitness" :
		       status == 409 ? "HeadChanged" : "AuditDamaged", f->text, NULL);
}

static void text_reply(struct http_response *r, char *text, size_t len)
{
	r->status = 200;
	r->content_type = "text/plain; charset=utf-8";
	r->body = text;
	r->body_len = len;
}

static void note_reply(struct http_response *r, const struct note *n)
{
	char text[NOTE_MAX];
	size_t len = note_text(n, text);
	char *copy = strdup(text);

	if (copy)
		text_reply(r, copy, len);
	else
		broker_problem(r, 503, "Internal", "out of memory", NULL);
}

// "name=NUMBER" in a query. False when it is missing or no number.
static bool number(const char *query, const char *name, uint64_t *out)
{
	size_t n = strlen(name);

	for (const char *p = query; p; p = strchr(p, '&') ? strchr(p, '&') + 1 : NULL) {
		if (strncmp(p, name, n) || p[n] != '=')
			continue;
		size_t digits = strspn(p + n + 1, "0123456789");
		if (!digits || digits > 18 || (p[n + 1 + digits] && p[n + 1 + digits] != '&'))
			return false;
		*out = strtoull(p + n + 1, NULL, 10);
		return true;
	}
	return false;
}

static json_t *hashes(const uint8_t (*hash)[MERKLE_HASH], unsigned int count)
{
	json_t *list = json_array();
	char text[BASE64_SIZE(MERKLE_HASH)];

	for (unsigned int i = 0; i < count; i++) {
		base64_encode(text, hash[i], MERKLE_HASH, BASE64_STD);
		json_array_append_new(list, json_string(text));
	}
	return list;
}

static void proof(struct broker *b, const char *query, bool inclusion, struct http_response *r)
{
	struct fault f = {""};
	struct merkle_proof p;
	uint64_t from, size;

	if (!number(query, inclusion ? "index" : "from", &from) || !number(query, "size", &size)) {
		broker_problem(r, 400, "BadRequest", inclusion ? "needed: ?index=N&size=N" : "needed: ?from=N&size=N", NULL);
		return;
	}
	int err = inclusion ? audit_prove_inclusion(b->audit, from, size, &p, &f) : audit_prove_consistency(b->audit, from, size, &p, &f);
	if (err)
		fail(err, &f, r);
	else
		broker_reply(r, 200, json_pack("{s:I, s:I, s:o}", inclusion ? "index" : "from", (json_int_t)from, "size", (json_int_t)size,
					       "hashes", hashes(p.hash, p.count)));
}

static void range(struct broker *b, const char *query, struct http_response *r)
{
	struct fault f = {""};
	struct merkle_range g;
	uint8_t peaks[64][MERKLE_HASH];
	unsigned int n = 0;
	uint64_t size;

	if (!number(query, "size", &size)) {
		broker_problem(r, 400, "BadRequest", "needed: ?size=N", NULL);
		return;
	}
	int err = audit_range(b->audit, size, &g, &f);
	if (err) {
		fail(err, &f, r);
		return;
	}
	for (unsigned int level = 63; level-- > 0;) {
		if (size >> level & 1)
			memcpy(peaks[n++], g.peak[level], MERKLE_HASH);
	}
	broker_reply(r, 200, json_pack("{s:I, s:o}", "size", (json_int_t)size, "hashes", hashes(peaks, n)));
}

// An owner sees what is about its resources and what it did itself; of the others it sees that they are there.
static bool may_see(const struct caller *c, const char *line, size_t len)
{
	if (caller_may(c, PERMIT_AUDIT, ""))
		return true;
	json_t *o = json_loadb(line, len, 0, NULL);
	const char *resource = json_string_value(json_object_get(o, "resource")), *by = json_string_value(json_object_get(o, "by"));
	bool may = (resource && caller_may(c, PERMIT_AUDIT, resource)) || (by && !strcmp(by, c->name));
	json_decref(o);
	return may;
}

// Leaves "{}" of each record that the caller may not see; the heads between them are hashes, for everybody. *text is in place: lines only become shorter.
static void hide(const struct caller *c, char *text, size_t *len)
{
	size_t out = 0;
	for (size_t at = 0; at < *len;) {
		char *end = memchr(text + at, '\n', *len - at);
		size_t n = end ? (size_t)(end - text) - at : *len - at;
		bool may = text[at] == '=' || may_see(c, text + at, n);
		memmove(text + out, may ? text + at : "{}", may ? n : 2);
		out += may ? n : 2;
		if (end)
			text[out++] = '\n';
		at += n + 1;
	}
	*len = out;
	text[out] = '\0';
}

static void records(struct broker *b, const char *query, struct http_response *r)
{
	struct fault f = {""};
	uint64_t from, to;
	char *text;
	size_t len;

	if (!number(query, "from", &from) || !number(query, "to", &to)) {
		broker_problem(r, 400, "BadRequest", "needed: ?from=N&to=N", NULL);
		return;
	}
	int err = audit_lines(b->audit, from, to, &text, &len, &f);
	if (err) {
		fail(err, &f, r);
		return;
	}
	if (!caller_may(r->caller, PERMIT_AUDIT, ""))
		hide(r->caller, text, &len);
	text_reply(r, text, len);
}

static void record(struct broker *b, const char *query, struct http_response *r)
{
	struct fault f = {""};
	uint64_t index;
	char *text;
	size_t len;

	if (!number(query, "index", &index)) {
		broker_problem(r, 400, "BadRequest", "needed: ?index=N", NULL);
		return;
	}
	int err = audit_read(b->audit, index, &text, &len, &f);
	if (err) {
		fail(err, &f, r);
	} else if (!may_see(r->caller, text, len)) {
		free(text);
		broker_problem(r, 403, "NotPermitted", "this record is not about your resources", NULL);
	} else {
		text_reply(r, text, len);
	}
}

static void head(struct broker *b, const char *query, struct http_response *r)
{
	struct note n;
	uint64_t quorum;

	if (number(query, "cosigned", &quorum)) {
		if (audit_cosigned_head(b->cosigned, quorum > UINT_MAX ? UINT_MAX : (unsigned int)quorum, &n)) {
			broker_problem(r, 404, "NotFound", "no tree head was cosigned by so many witnesses", NULL);
			return;
		}
	} else if (!strcmp(query, "candidate")) {
		audit_candidate(b->cosigned, b->audit, &n);
	} else {
		audit_head(b->audit, &n);
	}
	note_reply(r, &n);
}

static void cosign(struct broker *b, const struct http_request *q, struct http_response *r)
{
	struct fault f = {""};
	struct note n;
	int err = note_parse(&n, q->body, q->body_len, &f);

	if (!err)
		err = audit_cosign(b->cosigned, b->audit, &n, &f);
	if (err < 0)
		fail(err, &f, r);
	else
		broker_reply(r, 200, json_pack("{s:i}", "cosignatures", err));
}

static void key(struct broker *b, struct http_response *r)
{
	char text[NOTE_KEY_TEXT];

	note_key_text(audit_key(b->audit), text);
	char *copy = strdup(text);
	text_reply(r, copy, copy ? strlen(copy) : 0);
}

void audit_handle(struct broker *b, const char *path, const struct http_request *q, struct http_response *r)
{
	if (!strcmp(q->head->method, "POST"))
		cosign(b, q, r);
	else if (!strcmp(path, "head"))
		head(b, q->head->query, r);
	else if (!strcmp(path, "key"))
		key(b, r);
	else if (!strcmp(path, "inclusion") || !strcmp(path, "consistency"))
		proof(b, q->head->query, *path == 'i', r);
	else if (!strcmp(path, "range"))
		range(b, q->head->query, r);
	else
		broker_problem(r, 404, "NotFound", "there is nothing here", NULL);
}

void audit_handle_records(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	if (q->head->path[strlen(q->head->path) - 1] == 's')
		records(b, q->head->query, r);
	else
		record(b, q->head->query, r);
}
