// SPDX-License-Identifier: Apache-2.0
// See audit.h. `lock` guards what is waiting and what was published; one thread at a time, the one that set `busy`, writes a batch
// without it: the files and the range are its own meanwhile.
#include "broker/audit.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "broker/audit_file.h"

#define MARK_EVERY 4096		// records that a start reads again at most, but for those of one batch

// Records that share a write. Whoever waits for one holds a reference.
struct batch {
	pthread_cond_t moved;	// it is done, or nobody else is writing and one of those who wait here is to do that
	unsigned int refs;
	bool done;
	int err;
	struct fault why;
	uint64_t first;		// when done
	uint32_t count;
	uint8_t *bytes;		// frames
	size_t len, room;
};

struct audit {
	pthread_mutex_t lock;
	pthread_cond_t room;	// the batch that waited is being written: another one may begin
	struct audit_files files;
	struct note_key name;
	EVP_PKEY *key;
	struct batch *waiting;
	bool busy;
	atomic_bool broken;
	struct note head;	// published
};

static int sign_head(struct audit *a, const struct merkle_range *r, struct note *out)
{
	memset(out, 0, sizeof *out);
	strcpy(out->head.origin, a->name.name);
	out->head.size = r->size;
	merkle_range_root(r, out->head.root);
	return note_sign(out, &a->name, a->key, 0);
}

int audit_open(struct audit **out, const char *dir, const char *name, EVP_PKEY *key, uint64_t *dropped, struct fault *f)
{
	struct audit *a = calloc(1, sizeof *a);
	int err;

	if (!a)
		return fault_set(f, -ENOMEM, "out of memory");
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->room, NULL);
	EVP_PKEY_up_ref(key);
	a->key = key;
	err = note_key_of(&a->name, name, NOTE_LOG, key) ? fault_set(f, -EINVAL, "the audit log needs an Ed25519 key and a plain name") : 0;
	if (!err)
		err = audit_files_open(&a->files, dir, f);
	if (!err)
		err = audit_recover(&a->files, &a->name, &a->head, dropped, f);
	if (!err && !a->files.range.size && sign_head(a, &a->files.range, &a->head))
		err = fault_set(f, -EIO, "cannot sign the audit log's head");
	// Without a mark (the disk is full) the next start reads a little more; but what does not become durable must not be told.
	if (!err && a->files.range.size - a->files.marked > MARK_EVERY && audit_mark(&a->files, f) == -EUCLEAN)
		err = -EUCLEAN;
	if (err) {
		a->broken = true;	// its mark says more than was found here
		audit_close(a);
	} else {
		*out = a;
	}
	return err;
}

void audit_close(struct audit *a)
{
	struct fault ignored;

	if (!a)
		return;
	if (!a->broken && a->files.range.size != a->files.marked)
		audit_mark(&a->files, &ignored); // without it, the next start reads a little more
	audit_files_close(&a->files);
	EVP_PKEY_free(a->key);
	pthread_cond_destroy(&a->room);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

static int add(struct batch *b, const void *bytes, size_t len, uint32_t kind)
{
	if (b->len + AUDIT_FRAME + len > b->room) {
		size_t room = 2 * (b->len + AUDIT_FRAME + len);
		void *bigger = realloc(b->bytes, room);
		if (!bigger)
			return -ENOMEM;
		b->bytes = bigger;
		b->room = room;
	}
	audit_store(b->bytes + b->len, kind << 24 | len, AUDIT_FRAME);
	memcpy(b->bytes + b->len + AUDIT_FRAME, bytes, len);
	b->len += AUDIT_FRAME + len;
	return 0;
}

static struct batch *new_batch(void)
{
	struct batch *b = calloc(1, sizeof *b);
	if (b)
		pthread_cond_init(&b->moved, NULL);
	return b;
}

static void release(struct batch *b)
{
	if (b->refs && --b->refs)
		return;
	pthread_cond_destroy(&b->moved);
	free(b->bytes);
	free(b);
}

// Hashes the batch's records into *r and *g, and puts the signed head behind them.
static int finish(struct audit *a, struct batch *b, struct merkle_range *r, struct audit_growth *g, struct note *head)
{
	uint8_t body[AUDIT_HEAD_BYTES], leaf[MERKLE_HASH];
	int err = 0;

	for (size_t at = 0; at < b->len && !err;) {
		size_t len = audit_load32(b->bytes + at) & 0xffffff;
		merkle_leaf(b->bytes + at + AUDIT_FRAME, len, leaf);
		err = audit_grow(g, r, a->files.end + at, leaf);
		at += AUDIT_FRAME + len;
	}
	if (!err)
		err = sign_head(a, r, head);
	if (err)
		return err;
	audit_store(body, r->size, 8);
	memcpy(body + 8, head->head.root, MERKLE_HASH);
	memcpy(body + 8 + MERKLE_HASH, head->signature[0].bytes, 64);
	return add(b, body, sizeof body, AUDIT_HEAD);
}

// Makes a batch durable; on failure nothing of it stays, or the log takes nothing more until it is opened again.
static int commit(struct audit *a, struct batch *b, struct note *head)
{
	struct audit_files *s = &a->files;
	struct audit_growth g = {0};
	struct merkle_range r = s->range;
	int err = finish(a, b, &r, &g, head);

	if (err) {
		fault_errno(&b->why, -err, "cannot write the audit log");
		goto out;
	}
	// First, because what they have behind the range counts for nothing: without room for them nothing has happened yet.
	err = audit_grown(s, &g, s->range.size, &b->why);
	if (err)
		goto out;
	err = audit_pwrite(s->entries, b->bytes, b->len, s->end);
	if (err) {
		fault_errno(&b->why, -err, "cannot write the audit log in %s", s->dir);
		a->broken = ftruncate(s->entries, (off_t)s->end) != 0;
		goto out;
	}
	// What a failed sync leaves is not known, and a second one may say yes to what is not there.
	err = fdatasync(s->entries) ? -errno : 0;
	if (err) {
		fault_errno(&b->why, -err, "cannot make the audit log durable in %s", s->dir);
		a->broken = true;
		goto out;
	}
	b->first = s->range.size;
	s->range = r;
	s->end += b->len;
	if (r.size - s->marked >= MARK_EVERY && audit_mark(s, &b->why) == -EUCLEAN)
		a->broken = true; // of the next: this one is durable. Without a mark alone the next start reads a little more
out:
	audit_growth_free(&g);
	return err;
}

// With the lock held, which is let go meanwhile.
static void write_waiting(struct audit *a)
{
	struct batch *b = a->waiting;
	struct note head;

	a->waiting = NULL;
	a->busy = true;
	b->refs++;
	pthread_cond_broadcast(&a->room);
	pthread_mutex_unlock(&a->lock);
	int err = a->broken ? fault_set(&b->why, -EIO, "the audit log could not be made durable earlier: start the broker again") :
			      commit(a, b, &head);
	pthread_mutex_lock(&a->lock);
	b->err = err;
	b->done = true;
	if (!err)
		a->head = head;
	a->busy = false;
	pthread_cond_broadcast(&b->moved);
	release(b);
	if (a->waiting)
		pthread_cond_signal(&a->waiting->moved);
}

static void now_text(char out[40])
{
	struct timespec now;
	struct tm tm;
	char seconds[32];

	clock_gettime(CLOCK_REALTIME, &now);
	strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", gmtime_r(&now.tv_sec, &tm));
	snprintf(out, 40, "%s.%03uZ", seconds, (unsigned int)(now.tv_nsec / 1000000) % 1000);
}

// Puts the text into the batch that waits. With the lock held.
static int join(struct audit *a, const char *text, size_t len, struct batch **out, uint32_t *place)
{
	while (a->waiting && a->waiting->len >= AUDIT_BATCH)
		pthread_cond_wait(&a->room, &a->lock);
	if (!a->waiting)
		a->waiting = new_batch();
	struct batch *b = a->waiting;
	if (!b || add(b, text, len, AUDIT_ENTRY)) {
		if (b && !b->count) {
			release(b);
			a->waiting = NULL;
		}
		return -ENOMEM;
	}
	b->refs++;
	*place = b->count++;
	*out = b;
	return 0;
}

int audit_append(struct audit *a, json_t *record, uint64_t *index, struct fault *f)
{
	struct batch *b = NULL;
	uint32_t place = 0;
	char now[40];
	int err;

	now_text(now);
	json_object_set_new(record, "time", json_string(now));
	char *text = json_dumps(record, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENSURE_ASCII);
	json_decref(record);
	size_t len = text ? strlen(text) : 0;
	if (!len || len > AUDIT_MAX_ENTRY) {
		free(text);
		return fault_set(f, text ? -E2BIG : -ENOMEM, "the audit log does not take this record (%zu bytes)", len);
	}
	pthread_mutex_lock(&a->lock);
	err = join(a, text, len, &b, &place);
	if (err)
		fault_set(f, err, "out of memory");
	while (!err && !b->done) {
		if (!a->busy && a->waiting)
			write_waiting(a);
		else
			pthread_cond_wait(&b->moved, &a->lock);
	}
	if (!err) {
		err = b->err;
		if (err)
			fault_set(f, err, "%s", b->why.text);
		else if (index)
			*index = b->first + place;
		release(b);
	}
	pthread_mutex_unlock(&a->lock);
	free(text);
	return err;
}

const struct note_key *audit_key(const struct audit *a)
{
	return &a->name;
}

void audit_head(struct audit *a, struct note *out)
{
	pthread_mutex_lock(&a->lock);
	*out = a->head;
	pthread_mutex_unlock(&a->lock);
}

bool audit_works(struct audit *a)
{
	return !a->broken;
}

static uint64_t size_of(struct audit *a)
{
	pthread_mutex_lock(&a->lock);
	uint64_t size = a->head.head.size;
	pthread_mutex_unlock(&a->lock);
	return size;
}

static int damaged(struct fault *f, int err, uint64_t index)
{
	if (err && err != -ENODATA && err != -EBADMSG)
		return fault_errno(f, -err, "cannot read the audit log");
	return fault_set(f, -EBADMSG, "the audit log was changed behind the broker's back, at record %llu", (unsigned long long)index);
}

static int where(struct audit *a, uint64_t index, uint64_t *at, uint32_t *len, struct fault *f)
{
	uint8_t b[8];
	int err = audit_pread(a->files.index, b, 8, index * 8);

	*at = audit_load64(b);
	if (!err)
		err = *at < 1ull << 62 ? audit_pread(a->files.entries, b, AUDIT_FRAME, *at) : -EBADMSG;
	*len = audit_load32(b);
	return err || *len > AUDIT_MAX_ENTRY ? damaged(f, err, index) : 0;
}

int audit_read(struct audit *a, uint64_t index, char **text, size_t *len, struct fault *f)
{
	uint8_t logged[MERKLE_HASH], found[MERKLE_HASH];
	uint64_t at;
	uint32_t n;

	if (index >= size_of(a))
		return fault_set(f, -ENOENT, "the audit log has no record %llu", (unsigned long long)index);
	int err = where(a, index, &at, &n, f);
	if (err)
		return err;
	*text = malloc(n + 1);
	if (!*text)
		return fault_set(f, -ENOMEM, "out of memory");
	err = audit_pread(a->files.entries, *text, n, at + AUDIT_FRAME);
	if (!err)
		err = audit_tree_read(&a->files, 0, index, logged);
	if (!err) {
		merkle_leaf(*text, n, found);
		err = memcmp(logged, found, sizeof found) ? -EBADMSG : 0;
	}
	(*text)[n] = '\0';
	*len = n;
	if (err) {
		damaged(f, err, index);
		free(*text);
		*text = NULL;
	}
	return err;
}

// A signed head between records, as a line.
static size_t head_line(const uint8_t body[AUDIT_HEAD_BYTES], char *out)
{
	char root[64], sig[96];

	EVP_EncodeBlock((uint8_t *)root, body + 8, MERKLE_HASH);
	EVP_EncodeBlock((uint8_t *)sig, body + 8 + MERKLE_HASH, 64);
	return (size_t)sprintf(out, "= %llu %s %s\n", (unsigned long long)audit_load64(body), root, sig);
}

int audit_lines(struct audit *a, uint64_t from, uint64_t to, char **text, size_t *len, struct fault *f)
{
	uint64_t size = size_of(a), at = 0, index = from;
	uint8_t head[AUDIT_FRAME], body[AUDIT_HEAD_BYTES];
	char *out = malloc(AUDIT_PAGE + AUDIT_MAX_ENTRY + 4096);
	size_t n = 0;
	uint32_t k = 0;

	if (to > size)
		to = size;
	int err = !out ? fault_set(f, -ENOMEM, "out of memory") : from < to ? where(a, from, &at, &k, f) : 0;
	while (!err && n < AUDIT_PAGE && from < to) {
		err = audit_pread(a->files.entries, head, AUDIT_FRAME, at);
		k = audit_load32(head) & 0xffffff;
		bool is_head = audit_load32(head) >> 24 == AUDIT_HEAD;
		// The head over the last of the records belongs to them.
		if (err || (index == to && !is_head)) {
			err = index == to && err == -ENODATA ? 0 : err;
			break;
		}
		if (is_head ? k != AUDIT_HEAD_BYTES : !k || k > AUDIT_MAX_ENTRY || audit_load32(head) >> 24)
			err = -EBADMSG;
		if (!err)
			err = audit_pread(a->files.entries, is_head ? (void *)body : out + n, k, at + AUDIT_FRAME);
		if (!err && is_head) {
			n += head_line(body, out + n);
		} else if (!err) {
			n += k;
			out[n++] = '\n';
			index++;
		}
		at += AUDIT_FRAME + k;
		if (index == to && is_head)
			break;
	}
	if (err) {
		damaged(f, err, index);
		free(out);
		return err == -ENODATA ? -EBADMSG : err;
	}
	*text = out;
	*len = n;
	return 0;
}

static int proved(int err, struct fault *f)
{
	if (err == -EINVAL)
		return fault_set(f, err, "there is no such record or tree size in the audit log");
	return err ? fault_set(f, err == -ENODATA ? -EBADMSG : err, "the audit log's stored tree is damaged: with the broker stopped, remove its files mark, index "
				 "and tree*; they are made again from the records") : 0;
}

// The root over the first `size` records. The stored tree may have been changed: it is held against the newest signed head before
// anything that comes from it leaves.
static int root_at(struct audit *a, uint64_t size, uint8_t root[MERKLE_HASH])
{
	struct merkle_source s = {audit_tree_read, &a->files};
	struct merkle_proof p = {0};
	struct note n;

	audit_head(a, &n);
	if (size > n.head.size)
		return -EINVAL;
	int err = merkle_root(&s, size, root);
	if (!err && size)
		err = merkle_prove_consistency(&s, size, n.head.size, &p);
	return err ? err : merkle_check_consistency(size, root, n.head.size, n.head.root, &p) ? 0 : -EBADMSG;
}

int audit_prove_inclusion(struct audit *a, uint64_t index, uint64_t size, struct merkle_proof *out, struct fault *f)
{
	struct merkle_source s = {audit_tree_read, &a->files};
	uint8_t leaf[MERKLE_HASH], root[MERKLE_HASH];
	int err = root_at(a, size, root);

	if (!err)
		err = merkle_prove_inclusion(&s, index, size, out);
	if (!err)
		err = audit_tree_read(&a->files, 0, index, leaf);
	if (!err && !merkle_check_inclusion(leaf, index, size, out, root))
		err = -EBADMSG;
	return proved(err, f);
}

int audit_prove_consistency(struct audit *a, uint64_t old, uint64_t size, struct merkle_proof *out, struct fault *f)
{
	struct merkle_source s = {audit_tree_read, &a->files};
	uint8_t old_root[MERKLE_HASH], root[MERKLE_HASH];
	int err = root_at(a, size, root);

	if (!err)
		err = root_at(a, old, old_root);
	if (!err)
		err = merkle_prove_consistency(&s, old, size, out);
	if (!err && !merkle_check_consistency(old, old_root, size, root, out))
		err = -EBADMSG;
	return proved(err, f);
}

int audit_range(struct audit *a, uint64_t size, struct merkle_range *out, struct fault *f)
{
	uint8_t signed_root[MERKLE_HASH], root[MERKLE_HASH];
	int err = root_at(a, size, signed_root);

	if (!err)
		err = audit_files_range(&a->files, size, out);
	if (!err) {
		merkle_range_root(out, root);
		err = memcmp(root, signed_root, sizeof root) ? -EBADMSG : 0;
	}
	return proved(err, f);
}
