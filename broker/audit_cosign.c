// SPDX-License-Identifier: Apache-2.0
// Cosignatures (audit_api.h): for each number of witnesses the newest head that so many signed, in files cosigned.1, cosigned.2... of
// the log's folder. What a file holds is checked when it is read: losing one loses signatures that witnesses can give again.
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broker/audit_api.h"
#include "broker/audit_verify.h"
#include "lib/file.h"

#define CANDIDATE_SECONDS 600
#define CLOCK_SKEW 300

struct audit_cosigned {
	pthread_mutex_t lock;
	char dir[4096];
	unsigned int count;
	struct note_key witness[AUDIT_MAX_WITNESSES];
	struct note candidate, best[AUDIT_MAX_WITNESSES];	// best[i]: i + 1 signatures or more; head.size 0: none
	unsigned int candidate_has;				// signatures of witnesses
	time_t since;
};

static unsigned int signatures(const struct audit_cosigned *c, const struct note *n)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < c->count; i++)
		count += note_signed_by(n, &c->witness[i], NULL);
	return count;
}

int audit_cosigned_open(struct audit_cosigned **out, const char *dir, const struct note_key *witnesses, unsigned int count, struct fault *f)
{
	struct audit_cosigned *c = calloc(1, sizeof *c);

	if (!c || strlen(dir) >= sizeof c->dir - 16 || count > AUDIT_MAX_WITNESSES) {
		free(c);
		return fault_set(f, c ? -EINVAL : -ENOMEM, "too long a name, too many witnesses, or no memory");
	}
	pthread_mutex_init(&c->lock, NULL);
	strcpy(c->dir, dir);
	c->count = count;
	if (count)
		memcpy(c->witness, witnesses, count * sizeof *witnesses);
	for (unsigned int i = 0; i < count; i++) {
		char path[sizeof c->dir + 32], *text;
		size_t len;
		snprintf(path, sizeof path, "%s/cosigned.%u", dir, i + 1);
		if (file_read(path, NOTE_MAX, &text, &len, NULL))
			continue;
		if (note_parse(&c->best[i], text, len, NULL) || signatures(c, &c->best[i]) <= i)
			memset(&c->best[i], 0, sizeof c->best[i]);
		free(text);
	}
	*out = c;
	return 0;
}

void audit_cosigned_close(struct audit_cosigned *c)
{
	if (!c)
		return;
	pthread_mutex_destroy(&c->lock);
	free(c);
}

void audit_candidate(struct audit_cosigned *c, struct audit *a, struct note *out)
{
	time_t now = time(NULL);

	pthread_mutex_lock(&c->lock);
	if (!c->candidate.head.size || c->candidate_has == c->count || now - c->since > CANDIDATE_SECONDS || now < c->since) {
		audit_head(a, &c->candidate);
		c->candidate_has = 0;
		c->since = now;
	}
	*out = c->candidate;
	pthread_mutex_unlock(&c->lock);
}

// Adds the good signatures of witnesses that *to does not have; how many.
static unsigned int take(const struct audit_cosigned *c, struct note *to, const struct note *from)
{
	unsigned int taken = 0;
	uint64_t when;

	for (unsigned int i = 0; i < c->count; i++) {
		const struct note_key *k = &c->witness[i];
		if (note_signed_by(to, k, NULL) || !note_signed_by(from, k, &when) || when > (uint64_t)time(NULL) + CLOCK_SKEW)
			continue;
		for (unsigned int j = 0; j < from->count && to->count < NOTE_MAX_SIGNATURES; j++) {
			struct note one = {.head = from->head, .count = 1, .signature = {from->signature[j]}};
			if (note_signed_by(&one, k, NULL)) {
				to->signature[to->count++] = from->signature[j];
				taken++;
				break;
			}
		}
	}
	return taken;
}

// Whose signatures are waited for; NULL: none of these. With the lock held.
static struct note *waiting_for(struct audit_cosigned *c, const struct tree_head *head)
{
	if (!memcmp(&c->candidate.head, head, sizeof *head))
		return &c->candidate;
	for (unsigned int i = 0; i < c->count; i++) {
		if (!memcmp(&c->best[i].head, head, sizeof *head))
			return &c->best[i];
	}
	return NULL;
}

int audit_cosign(struct audit_cosigned *c, struct audit *a, const struct note *n, struct fault *f)
{
	struct note *to, before, merged;
	char path[sizeof c->dir + 32], text[NOTE_MAX];
	unsigned int taken = 0, have = 0;
	int err = 0;

	if (!note_signed_by(n, audit_key(a), NULL) || !signatures(c, n))
		return fault_set(f, -EACCES, "no witness that this broker knows (audit_witnesses) has signed this tree head");
	memset(&before, 0, sizeof before);
	pthread_mutex_lock(&c->lock);
	// Signatures are verified without the lock, which strangers wait for: again when another witness was faster.
	while ((to = waiting_for(c, &n->head)) && memcmp(to, &before, sizeof before)) {
		before = *to;
		pthread_mutex_unlock(&c->lock);
		merged = before;
		taken = take(c, &merged, n);
		have = signatures(c, &merged);
		pthread_mutex_lock(&c->lock);
	}
	if (!to) {
		err = fault_set(f, -ESTALE, "this is not the tree head that is to be signed now: fetch it again");
	} else {
		*to = merged;
		if (to == &c->candidate)
			c->candidate_has = have;
		for (unsigned int i = 0; i < have && taken && !err; i++) {
			if (c->best[i].head.size > merged.head.size)
				continue;
			size_t len = note_text(&merged, text);
			snprintf(path, sizeof path, "%s/cosigned.%u", c->dir, i + 1);
			err = file_write(path, text, len, 0600, false, f);
			if (!err)
				c->best[i] = merged;
		}
		err = err ? err : (int)have;
	}
	pthread_mutex_unlock(&c->lock);
	return err;
}

int audit_cosigned_head(struct audit_cosigned *c, unsigned int quorum, struct note *out)
{
	if (!quorum || quorum > c->count)
		return -ENOENT;
	pthread_mutex_lock(&c->lock);
	*out = c->best[quorum - 1];
	pthread_mutex_unlock(&c->lock);
	return out->head.size ? 0 : -ENOENT;
}
