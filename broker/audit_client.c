// SPDX-License-Identifier: Apache-2.0
// See audit_client.h. What the broker answers is not believed here but for its form: audit_verify.c judges it.
#include "broker/audit_client.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "broker/audit.h"
#include "lib/encode.h"

#define PREFIX "/coffer/v0/audit/"

int audit_client_key(struct broker_client *c, struct note_key *out, struct fault *f)
{
	char *text;
	size_t len;
	int err = broker_client_text(c, "GET", PREFIX "key", NULL, 0, &text, &len, f);

	if (err)
		return err;
	err = note_key_parse(out, text) || out->kind != NOTE_LOG ? fault_set(f, -EPROTO, "the broker's answer is not the key of an audit log") : 0;
	free(text);
	return err;
}

int audit_client_head(struct broker_client *c, const char *which, struct note *out, struct fault *f)
{
	char path[96], *text;
	size_t len;

	snprintf(path, sizeof path, PREFIX "head%s", which);
	int err = broker_client_text(c, "GET", path, NULL, 0, &text, &len, f);
	if (err)
		return err;
	err = note_parse(out, text, len, f) ? -EPROTO : 0;
	free(text);
	return err;
}

int audit_client_record(struct broker_client *c, uint64_t index, char **record, struct fault *f)
{
	char path[96];
	size_t len;

	snprintf(path, sizeof path, PREFIX "record?index=%" PRIu64, index);
	int err = broker_client_text(c, "GET", path, NULL, 0, record, &len, f);
	if (!err && (strlen(*record) != len || strchr(*record, '\n'))) {
		free(*record);
		err = fault_set(f, -EPROTO, "the broker's answer is not a record");
	}
	return err;
}

static int read_hashes(const json_t *list, uint8_t (*out)[MERKLE_HASH], unsigned int max, struct fault *f)
{
	size_t n = json_array_size(list);

	if (!json_is_array(list) || n > max)
		return fault_set(f, -EPROTO, "the broker's answer is not a list of hashes");
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_array_get(list, i);
		if (!json_is_string(v) || base64_decode(out[i], MERKLE_HASH, json_string_value(v), json_string_length(v), BASE64_STD) != MERKLE_HASH)
			return fault_set(f, -EPROTO, "the broker's answer holds what is not a hash");
	}
	return (int)n;
}

// The member "hashes" of a JSON answer; their number.
static int hashes(struct broker_client *c, const char *path, uint8_t (*out)[MERKLE_HASH], unsigned int max, struct fault *f)
{
	char *text;
	size_t len;
	int err = broker_client_text(c, "GET", path, NULL, 0, &text, &len, f);

	if (err)
		return err;
	json_t *o = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
	err = read_hashes(json_object_get(o, "hashes"), out, max, f);
	json_decref(o);
	free(text);
	return err;
}

static int proof(struct broker_client *c, const char *path, struct merkle_proof *out, struct fault *f)
{
	int n = hashes(c, path, out->hash, MERKLE_MAX_PROOF, f);

	out->count = n < 0 ? 0 : (unsigned int)n;
	return n < 0 ? n : 0;
}

int audit_client_inclusion(struct broker_client *c, uint64_t index, uint64_t size, struct merkle_proof *out, struct fault *f)
{
	char path[128];

	snprintf(path, sizeof path, PREFIX "inclusion?index=%" PRIu64 "&size=%" PRIu64, index, size);
	return proof(c, path, out, f);
}

int audit_client_consistency(struct broker_client *c, uint64_t from, uint64_t size, struct merkle_proof *out, struct fault *f)
{
	char path[128];

	out->count = 0;
	if (!from || from == size)
		return 0;
	snprintf(path, sizeof path, PREFIX "consistency?from=%" PRIu64 "&size=%" PRIu64, from, size);
	return proof(c, path, out, f);
}

int audit_client_cosign(struct broker_client *c, const struct note *n, struct fault *f)
{
	char body[NOTE_MAX], *text = NULL;
	size_t len = note_text(n, body), got;
	int err = broker_client_text(c, "POST", PREFIX "cosignature", body, len, &text, &got, f);

	if (!err)
		free(text);
	return err;
}

// One page; *index moves on.
static int page(const char *text, size_t len, uint64_t *index, uint64_t to, audit_line *each, void *ctx, struct fault *f)
{
	for (const char *end; len; len -= (size_t)(end + 1 - text), text = end + 1) {
		end = memchr(text, '\n', len);
		bool record = *text == '{';
		if (!end || (!record && *text != '=') || (record && *index == to))
			return fault_set(f, -EPROTO, "the broker's answer is not a page of its audit log");
		int err = each(ctx, record ? *index : UINT64_MAX, text, (size_t)(end - text));
		if (err)
			return err;
		*index += record;
	}
	return 0;
}

int audit_client_lines(struct broker_client *c, uint64_t from, uint64_t to, audit_line *each, void *ctx, struct fault *f)
{
	uint64_t index = from;
	int err = 0;

	while (index < to && !err) {
		char path[128], *text;
		size_t len;
		uint64_t before = index;
		snprintf(path, sizeof path, PREFIX "records?from=%" PRIu64 "&to=%" PRIu64, index, to);
		err = broker_client_text(c, "GET", path, NULL, 0, &text, &len, f);
		if (err)
			break;
		err = page(text, len, &index, to, each, ctx, f);
		if (!err && index == before)
			err = fault_set(f, -EPROTO, "the broker has %" PRIu64 " records in its audit log, where %" PRIu64 " were signed", index, to);
		free(text);
	}
	return err;
}

struct writing {
	FILE *out;
	uint64_t done, total;
	void (*shown)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
};

static int write_line(void *ctx, uint64_t index, const char *line, size_t len)
{
	struct writing *w = ctx;

	w->done += index != UINT64_MAX;
	if (w->shown && !(w->done & 1023))
		w->shown(w->ctx, w->done, w->total);
	return fwrite(line, 1, len, w->out) == len && putc('\n', w->out) != EOF ? 0 : -errno;
}

static int write_header(struct broker_client *c, uint64_t from, FILE *out, struct fault *f)
{
	char key_text[NOTE_KEY_TEXT], path[128], text[BASE64_SIZE(MERKLE_HASH)];
	uint8_t peaks[64][MERKLE_HASH];
	struct note_key key;
	int n = 0, err = audit_client_key(c, &key, f);

	if (err)
		return err;
	snprintf(path, sizeof path, PREFIX "range?size=%" PRIu64, from);
	if (from)
		n = hashes(c, path, peaks, 64, f);
	if (n < 0)
		return n;
	note_key_text(&key, key_text);
	fprintf(out, AUDIT_EXPORT "\nkey %s\nfrom %" PRIu64 "\n", key_text, from);
	for (int i = 0; i < n; i++) {
		base64_encode(text, peaks[i], MERKLE_HASH, BASE64_STD);
		fprintf(out, "hash %s\n", text);
	}
	fputc('\n', out);
	return 0;
}

int audit_client_export(struct broker_client *c, const struct note *head, uint64_t from, FILE *out,
			void (*shown)(void *ctx, uint64_t done, uint64_t total), void *ctx, struct fault *f)
{
	struct writing w = {.out = out, .total = head->head.size - from, .shown = shown, .ctx = ctx};
	char text[NOTE_MAX];

	if (from > head->head.size)
		return fault_set(f, -EINVAL, "the audit log has %" PRIu64 " records, fewer than %" PRIu64, head->head.size, from);
	int err = write_header(c, from, out, f);
	if (!err)
		err = audit_client_lines(c, from, head->head.size, write_line, &w, f);
	if (!err) {
		note_text(head, text);
		fprintf(out, "\n%s", text);
	}
	if (fflush(out) || ferror(out))
		err = err ? err : -EIO;
	return err && f && !f->text[0] ? fault_errno(f, -err, "cannot write the export") : err;
}
