// SPDX-License-Identifier: Apache-2.0
// What is found of the audit log when it is opened (audit_file.h). From the mark on, or from the beginning where the derived files do
// not fit it, every record is hashed again and compared with the heads signed over them. Behind the last good head there may be the
// rest of one batch that a kill cut off: nobody was answered for it, and it is dropped. Anything else is a log that was changed.
// Used before the log is: no locks.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/audit.h"
#include "broker/audit_file.h"
#include "lib/file.h"

#define WINDOW (1u << 20)
// A torn tail is the rest of one batch.
#define MAX_TAIL (AUDIT_BATCH + AUDIT_MAX_ENTRY + 4096u)

struct scan {
	struct audit_files *s;
	const struct note_key *key;
	uint64_t size;			// of entries
	uint8_t *window;		// [at, at + len) of entries
	uint64_t at;
	size_t len;
};

// `n` bytes at `at`; NULL where the file ends before (or cannot be read: *err).
static const uint8_t *look(struct scan *c, uint64_t at, size_t n, int *err)
{
	if (at + n > c->size)
		return NULL;
	if (at < c->at || at + n > c->at + c->len) {
		c->at = at;
		c->len = c->size - at < WINDOW ? (size_t)(c->size - at) : WINDOW;
		*err = audit_pread(c->s->entries, c->window, c->len, at);
		if (*err) {
			c->len = 0;
			return NULL;
		}
	}
	return c->window + (at - c->at);
}

static void head_of(const struct note_key *key, const uint8_t body[AUDIT_HEAD_BYTES], struct note *out)
{
	memset(out, 0, sizeof *out);
	strcpy(out->head.origin, key->name);
	out->head.size = audit_load64(body);
	memcpy(out->head.root, body + 8, MERKLE_HASH);
	out->count = 1;
	strcpy(out->signature[0].name, key->name);
	memcpy(out->signature[0].id, key->id, sizeof key->id);
	out->signature[0].len = 64;
	memcpy(out->signature[0].bytes, body + 8 + MERKLE_HASH, 64);
}

// Starts at the mark, when what it says holds. -ENOENT: start at the beginning.
static int from_mark(struct scan *c, struct note *head, struct fault *f)
{
	struct audit_files *s = c->s;
	char path[sizeof s->dir + 16], *text;
	unsigned long long size = 0, end = 0;
	struct merkle_range r;
	uint8_t root[MERKLE_HASH];
	size_t len;
	int err = 0;

	snprintf(path, sizeof path, "%s/mark", s->dir);
	if (file_read(path, 64, &text, &len, NULL))
		return -ENOENT;
	bool read = sscanf(text, "%llu %llu", &size, &end) == 2 && size < MERKLE_MAX_SIZE && end < 1ull << 62;
	free(text);
	if (!read || !size || end < AUDIT_FRAME + AUDIT_HEAD_BYTES)
		return -ENOENT;
	if (end > c->size)
		return fault_set(f, -EBADMSG, "the audit log in %s was cut: it had %llu records in %llu bytes, and has %llu bytes. Put its "
				 "newest copy back", s->dir, size, end, (unsigned long long)c->size);
	const uint8_t *p = look(c, end - AUDIT_FRAME - AUDIT_HEAD_BYTES, AUDIT_FRAME + AUDIT_HEAD_BYTES, &err);
	if (!p || audit_load32(p) != ((uint32_t)AUDIT_HEAD << 24 | AUDIT_HEAD_BYTES))
		return err ? err : -ENOENT;
	head_of(c->key, p + AUDIT_FRAME, head);
	if (head->head.size != size || !note_signed_by(head, c->key, NULL) || audit_files_range(s, size, &r))
		return -ENOENT;
	merkle_range_root(&r, root);
	if (memcmp(root, head->head.root, sizeof root))
		return -ENOENT;
	s->range = r;
	s->end = end;
	s->marked = size;
	return 0;
}

// Is there a signed head in the tail with something behind it? Then it was not a kill that broke what is before.
static bool signed_later(struct scan *c, int *err)
{
	size_t frame = AUDIT_FRAME + AUDIT_HEAD_BYTES;
	struct note n;

	for (uint64_t at = c->s->end; at + frame < c->size; at++) {
		const uint8_t *p = look(c, at, frame, err);
		if (!p)
			return false;
		if (audit_load32(p) != ((uint32_t)AUDIT_HEAD << 24 | AUDIT_HEAD_BYTES))
			continue;
		head_of(c->key, p + AUDIT_FRAME, &n);
		if (n.head.size > c->s->range.size && note_signed_by(&n, c->key, NULL))
			return true;
	}
	return false;
}

// One frame at *at. 1: it was taken; 0: it is no good, or none is there; -errno.
static int frame(struct scan *c, uint64_t *at, struct merkle_range *r, struct audit_growth *g, struct note *head, struct fault *f)
{
	struct audit_files *s = c->s;
	uint8_t hash[MERKLE_HASH];
	struct note n;
	int err = 0;
	const uint8_t *p = look(c, *at, AUDIT_FRAME, &err);

	if (!p)
		return err;
	uint32_t kind = audit_load32(p) >> 24, len = audit_load32(p) & 0xffffff;
	if (kind == AUDIT_ENTRY ? len == 0 || len > AUDIT_MAX_ENTRY : kind != AUDIT_HEAD || len != AUDIT_HEAD_BYTES)
		return 0;
	p = look(c, *at + AUDIT_FRAME, len, &err);
	if (!p)
		return err;
	if (kind == AUDIT_ENTRY) {
		merkle_leaf(p, len, hash);
		err = audit_grow(g, r, *at, hash);
	} else {
		head_of(c->key, p, &n);
		merkle_range_root(r, hash);
		if (n.head.size != r->size || memcmp(n.head.root, hash, sizeof hash))
			return 0;
		// A root that fits cannot be wrong where a later one, which is signed, fits too.
		if ((!s->range.size || c->size - *at <= MAX_TAIL) && !note_signed_by(&n, c->key, NULL))
			return s->range.size ? 0 : fault_set(f, -EKEYREJECTED, "the audit log in %s was signed with another key than audit.key",
							     s->dir);
		err = audit_grown(s, g, s->range.size, f);
		s->range = *r;
		s->end = *at + AUDIT_FRAME + len;
		*head = n;
	}
	*at += AUDIT_FRAME + len;
	return err ? err : 1;
}

int audit_recover(struct audit_files *s, const struct note_key *key, struct note *head, uint64_t *dropped, struct fault *f)
{
	struct scan c = {.s = s, .key = key, .window = malloc(WINDOW)};
	struct audit_growth g = {0};
	struct stat st;
	int err = 0;

	*dropped = 0;
	memset(head, 0, sizeof *head);
	if (!c.window)
		return fault_set(f, -ENOMEM, "out of memory");
	if (fstat(s->entries, &st)) {
		err = -errno;
		goto out;
	}
	c.size = (uint64_t)st.st_size;
	err = from_mark(&c, head, f);
	if (err == -ENOENT)
		err = 0;
	if (err)
		goto out;
	struct merkle_range r = s->range;
	uint64_t at = s->end;
	while ((err = frame(&c, &at, &r, &g, head, f)) == 1)
		;
	if (err)
		goto out;
	// The last head is what all that is kept rests on, wherever it stood.
	bool forged = s->range.size && !note_signed_by(head, key, NULL);
	if (forged || c.size - s->end > MAX_TAIL || signed_later(&c, &err)) {
		err = fault_set(f, -EBADMSG, "the audit log in %s was changed behind the broker's back: record %llu or one soon after is not what "
				"was signed. Put its newest copy back, or move the folder away to begin a new log", s->dir,
				(unsigned long long)s->range.size);
		goto out;
	}
	if (err)
		goto out;
	*dropped = c.size - s->end;
	// Synced also when nothing is dropped: a kill may have left a whole batch that is not durable, and its head is told from now on.
	if ((*dropped && ftruncate(s->entries, (off_t)s->end)) || fdatasync(s->entries))
		err = -errno;
out:
	if (err && f && !f->text[0])
		fault_errno(f, -err, "cannot read the audit log in %s", s->dir);
	audit_growth_free(&g);
	free(c.window);
	return err;
}
