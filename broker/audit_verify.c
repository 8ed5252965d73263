// SPDX-License-Identifier: Apache-2.0
// See audit_verify.h.
#include "broker/audit_verify.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "broker/audit.h"
#include "lib/encode.h"

#define LINE_ROOM (AUDIT_MAX_ENTRY + 2)

struct reader {
	FILE *in;
	char *line;		// without its newline
	size_t len;
	uint64_t number;
};

// The first thing that is wrong stays. False, so that checks can be chained.
__attribute__((format(printf, 2, 3))) static bool wrong(struct audit_verdict *v, const char *format, ...)
{
	va_list ap;

	if (!v->wrong[0]) {
		va_start(ap, format);
		vsnprintf(v->wrong, sizeof v->wrong, format, ap);
		va_end(ap);
	}
	return false;
}

// 1, 0 at the end, -EINVAL: too long, or the last one is cut.
static int next(struct reader *r)
{
	r->len = 0;
	for (int c; (c = getc_unlocked(r->in)) != '\n';) {
		if (c == EOF)
			return ferror(r->in) ? -EIO : r->len ? -EINVAL : 0;
		if (r->len == LINE_ROOM - 1)
			return -EINVAL;
		r->line[r->len++] = (char)c;
	}
	r->line[r->len] = '\0';
	r->number++;
	return strlen(r->line) == r->len ? 1 : -EINVAL;
}

static bool number(const char *s, char end, uint64_t *out, const char **rest)
{
	size_t n = strspn(s, "0123456789");

	if (n == 0 || n > 18 || s[n] != end || (s[0] == '0' && n > 1))
		return false;
	*out = strtoull(s, NULL, 10);
	*rest = s + n + (end != '\0');
	return true;
}

static bool read_hash(const char *s, size_t len, uint8_t out[MERKLE_HASH])
{
	return base64_decode(out, MERKLE_HASH, s, len, BASE64_STD) == MERKLE_HASH;
}

// A head kept from earlier is held against the tree when it has the same size.
static bool compare_kept(const struct audit_trust *t, const struct merkle_range *r, struct audit_verdict *v)
{
	uint8_t root[MERKLE_HASH];
	bool any = false;

	for (unsigned int i = 0; i < t->kept_count; i++)
		any |= t->kept[i].head.size == r->size;
	if (!any)
		return true;
	merkle_range_root(r, root);
	for (unsigned int i = 0; i < t->kept_count; i++) {
		if (t->kept[i].head.size == r->size && memcmp(root, t->kept[i].head.root, sizeof root))
			return wrong(v, "the first %" PRIu64 " records are not those of the kept tree head: the log was rewritten", r->size);
	}
	return true;
}

static bool check_kept(const struct audit_trust *t, struct audit_verdict *v)
{
	for (unsigned int i = 0; i < t->kept_count; i++) {
		const struct note *n = &t->kept[i];
		if (!note_signed_by(n, &v->key, NULL))
			return wrong(v, "the kept tree head over %" PRIu64 " records is not signed by this log's key", n->head.size);
		if (n->head.size < v->from)
			return wrong(v, "the kept tree head is over %" PRIu64 " records, but the export begins behind the first %" PRIu64
				     ": export from there", n->head.size, v->from);
	}
	return true;
}

static bool check_head(const struct audit_trust *t, const struct note *n, struct audit_verdict *v)
{
	if (!note_signed_by(n, &v->key, NULL))
		return wrong(v, "the tree head over %" PRIu64 " records is not signed by the log's key", n->head.size);
	for (unsigned int i = 0; i < t->witness_count; i++)
		v->witnesses += note_signed_by(n, &t->witness[i], NULL);
	if (v->witnesses < t->quorum)
		return wrong(v, "%u of the witnesses have cosigned the tree head over %" PRIu64 " records, and %u must", v->witnesses,
			     n->head.size, t->quorum);
	return true;
}

// "= SIZE ROOT SIGNATURE": when it does not fit, either it or the records since the last one that did were changed.
static bool check_step(const struct reader *r, const struct merkle_range *range, uint64_t since, struct audit_verdict *v)
{
	struct note n = {.count = 1};
	struct note_signature *s = &n.signature[0];
	uint8_t root[MERKLE_HASH];
	const char *p, *space;

	if (strncmp(r->line, "= ", 2) || !number(r->line + 2, ' ', &n.head.size, &p) || !(space = strchr(p, ' ')) ||
	    !read_hash(p, (size_t)(space - p), n.head.root) ||
	    base64_decode(s->bytes, 64, space + 1, strlen(space + 1), BASE64_STD) != 64)
		return wrong(v, "line %" PRIu64 " is neither a record nor a tree head", r->number);
	merkle_range_root(range, root);
	if (n.head.size == range->size && !memcmp(root, n.head.root, sizeof root))
		return true;
	strcpy(n.head.origin, v->key.name);
	strcpy(s->name, v->key.name);
	memcpy(s->id, v->key.id, sizeof s->id);
	s->len = 64;
	if (!note_signed_by(&n, &v->key, NULL))
		return wrong(v, "line %" PRIu64 ": the tree head over %" PRIu64 " records was changed: its signature does not hold", r->number,
			     n.head.size);
	if (n.head.size != range->size)
		return wrong(v, "line %" PRIu64 ": %" PRIu64 " records were signed here, and there are %" PRIu64
			     ": some behind record %" PRIu64 " were %s", r->number, n.head.size, range->size, since,
			     n.head.size > range->size ? "taken out" : "put in");
	if (since + 1 == n.head.size)
		return wrong(v, "record %" PRIu64 " was changed: it is not what was signed", since);
	return wrong(v, "one of the records %" PRIu64 " to %" PRIu64 " was changed: they are not what was signed", since, n.head.size - 1);
}

static int read_header(struct reader *r, const struct audit_trust *t, struct merkle_range *range, struct audit_verdict *v, struct fault *f)
{
	const char *rest;

	if (next(r) != 1 || strcmp(r->line, AUDIT_EXPORT))
		return fault_set(f, -EINVAL, "this is not an export of an audit log");
	if (next(r) != 1 || strncmp(r->line, "key ", 4) || note_key_parse(&v->key, r->line + 4) || v->key.kind != NOTE_LOG)
		return fault_set(f, -EINVAL, "line 2 of the export does not name the log's key");
	if (next(r) != 1 || strncmp(r->line, "from ", 5) || !number(r->line + 5, '\0', &v->from, &rest) || v->from > MERKLE_MAX_SIZE)
		return fault_set(f, -EINVAL, "line 3 of the export does not say where it begins");
	range->size = v->from;
	for (unsigned int level = 63; level-- > 0;) {
		if (!(v->from >> level & 1))
			continue;
		if (next(r) != 1 || strncmp(r->line, "hash ", 5) || !read_hash(r->line + 5, r->len - 5, range->peak[level]))
			return fault_set(f, -EINVAL, "line %" PRIu64 " of the export is not a hash", r->number);
	}
	if (next(r) != 1 || r->len)
		return fault_set(f, -EINVAL, "line %" PRIu64 " of the export is not empty", r->number);
	if (t->has_key && memcmp(&t->key, &v->key, sizeof v->key)) {
		wrong(v, "the export names the key of %s, which is not the one that is trusted", v->key.name);
		v->key = t->key;
	}
	return 0;
}

// The records. 0 at the empty line behind them.
static int read_records(struct reader *r, const struct audit_trust *t, struct merkle_range *range, struct audit_verdict *v, struct fault *f)
{
	uint64_t since = range->size;
	uint8_t leaf[MERKLE_HASH];
	int got;

	while ((got = next(r)) == 1 && r->len) {
		if (r->line[0] == '{') {
			merkle_leaf(r->line, r->len, leaf);
			merkle_add(range, leaf);
			compare_kept(t, range, v);
		} else {
			check_step(r, range, since, v);
			since = range->size;
		}
		if (v->wrong[0])
			return 0;
	}
	if (got < 0)
		return got == -EIO ? fault_set(f, -EIO, "cannot read the export") : (wrong(v, "line %" PRIu64 " is cut or too long", r->number + 1), 0);
	if (!got)
		wrong(v, "the export is cut: it ends at record %" PRIu64 " without a tree head", range->size);
	return 0;
}

static int read_end(struct reader *r, const struct audit_trust *t, const struct merkle_range *range, struct audit_verdict *v, struct fault *f)
{
	char text[NOTE_MAX];
	uint8_t root[MERKLE_HASH];
	size_t n = 0;
	int got;

	while ((got = next(r)) == 1 && n + r->len + 1 < sizeof text) {
		memcpy(text + n, r->line, r->len);
		n += r->len;
		text[n++] = '\n';
	}
	if (got == -EIO)
		return fault_set(f, -EIO, "cannot read the export");
	struct fault why = {""};
	if (got || note_parse(&v->head, text, n, &why)) {
		wrong(v, "the export does not end with a tree head: %s", why.text[0] ? why.text : "it is too long or cut");
		return 0;
	}
	if (!check_head(t, &v->head, v))
		return 0;
	merkle_range_root(range, root);
	if (v->head.head.size != range->size)
		wrong(v, "the tree head is over %" PRIu64 " records, and the export ends with %" PRIu64, v->head.head.size, range->size);
	else if (memcmp(root, v->head.head.root, sizeof root))
		wrong(v, "the records are not those that the tree head is over");
	for (unsigned int i = 0; i < t->kept_count; i++) {
		if (t->kept[i].head.size > range->size)
			wrong(v, "the log was cut or rolled back: it has %" PRIu64 " records, and had %" PRIu64 " when the tree head was kept",
			      range->size, t->kept[i].head.size);
	}
	return 0;
}

int audit_verify_export(FILE *in, const struct audit_trust *t, struct audit_verdict *v, struct fault *f)
{
	struct reader r = {.in = in, .line = malloc(LINE_ROOM)};
	struct merkle_range range = {0};

	memset(v, 0, sizeof *v);
	int err = r.line ? read_header(&r, t, &range, v, f) : fault_set(f, -ENOMEM, "out of memory");
	if (!err && !v->wrong[0] && check_kept(t, v) && compare_kept(t, &range, v))
		err = read_records(&r, t, &range, v, f);
	if (!err && !v->wrong[0])
		err = read_end(&r, t, &range, v, f);
	free(r.line);
	return err;
}

// Takes a line off *text; NULL at the end.
static char *cut_line(char **text)
{
	char *line = *text, *end = strchr(line, '\n');

	if (!end)
		return NULL;
	*end = '\0';
	*text = end + 1;
	return line;
}

// AUDIT_PROOF, "extra base64(record)", "index N", hashes, an empty line, the tree head.
static int read_proof(char *text, struct audit_verdict *v, struct merkle_proof *p, struct fault *f)
{
	const char *rest;
	char *line = cut_line(&text);
	ssize_t len = -1;

	if (!line || strcmp(line, AUDIT_PROOF))
		return fault_set(f, -EINVAL, "this is not a proof (" AUDIT_PROOF ")");
	line = cut_line(&text);
	if (line && !strncmp(line, "extra ", 6)) {
		size_t n = strlen(line + 6);
		v->record = malloc(n + 1);
		if (!v->record)
			return fault_set(f, -ENOMEM, "out of memory");
		len = base64_decode(v->record, n, line + 6, n, BASE64_STD);
		line = cut_line(&text);
	}
	if (len < 0 || memchr(v->record, '\0', (size_t)len))
		return fault_set(f, -EINVAL, "the proof does not hold its record (extra)");
	v->record[len] = '\0';
	if (!line || strncmp(line, "index ", 6) || !number(line + 6, '\0', &v->index, &rest))
		return fault_set(f, -EINVAL, "the proof does not say which record it is about (index)");
	while ((line = cut_line(&text)) && *line) {
		if (p->count == MERKLE_MAX_PROOF || !read_hash(line, strlen(line), p->hash[p->count]))
			return fault_set(f, -EINVAL, "hash %u of the proof is malformed", p->count + 1);
		p->count++;
	}
	return note_parse(&v->head, text, strlen(text), f);
}

int audit_verify_proof(const char *text, size_t len, const struct audit_trust *t, struct audit_verdict *v, struct fault *f)
{
	struct merkle_proof p = {0};
	uint8_t leaf[MERKLE_HASH];
	char *copy = strndup(text, len);

	memset(v, 0, sizeof *v);
	int err = !copy ? fault_set(f, -ENOMEM, "out of memory") : strlen(copy) != len ?
		  fault_set(f, -EINVAL, "a proof is text") : read_proof(copy, v, &p, f);
	if (!err && !t->has_key)
		err = fault_set(f, -EINVAL, "a proof is checked with the log's key: name it");
	if (!err) {
		v->key = t->key;
		merkle_leaf(v->record, strlen(v->record), leaf);
		if (check_head(t, &v->head, v) && !merkle_check_inclusion(leaf, v->index, v->head.head.size, &p, v->head.head.root))
			wrong(v, "the record is not the one with number %" PRIu64 " under this tree head", v->index);
		for (unsigned int i = 0; i < t->kept_count; i++) {
			const struct tree_head *k = &t->kept[i].head;
			if (k->size == v->head.head.size && memcmp(k->root, v->head.head.root, MERKLE_HASH))
				wrong(v, "the tree head over %" PRIu64 " records is another than the kept one", k->size);
		}
	}
	free(copy);
	return err;
}
