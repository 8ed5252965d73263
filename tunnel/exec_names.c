// SPDX-License-Identifier: Apache-2.0
// See exec_names.h.
#include "tunnel/exec_names.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST 0xc6120001u	// 198.18.0.1
#define BUCKETS 16384
#define TTL 10			// seconds: a program that asks again keeps its name in use

enum { TYPE_A = 1, TYPE_PTR = 12, TYPE_AAAA = 28, CLASS_IN = 1, NO_ERROR = 0, FORMAT_ERROR = 1, NAME_ERROR = 3, NOT_IMPLEMENTED = 4 };

struct entry {
	struct entry *next;		// of its bucket
	struct entry *older, *newer;	// by use
	char name[TARGET_MAX_NAME + 1];
};

// The address of entry i is FIRST + i.
struct exec_names {
	struct entry *bucket[BUCKETS];
	struct entry *oldest, *newest;
	uint32_t n;
	struct entry entry[NAMES_MAX];
};

struct exec_names *exec_names_new(void)
{
	return calloc(1, sizeof(struct exec_names));	// pages come as they are used
}

void exec_names_free(struct exec_names *n)
{
	free(n);
}

static struct entry **bucket_of(struct exec_names *n, const char *name)
{
	uint32_t h = 0x811c9dc5u;
	for (; *name; name++)
		h = (h ^ (uint8_t)*name) * 0x01000193u;
	return &n->bucket[h % BUCKETS];
}

static void unlink_use(struct exec_names *n, struct entry *e)
{
	*(e->older ? &e->older->newer : &n->oldest) = e->newer;
	*(e->newer ? &e->newer->older : &n->newest) = e->older;
}

static void used_now(struct exec_names *n, struct entry *e)
{
	e->older = n->newest;
	e->newer = NULL;
	*(n->newest ? &n->newest->newer : &n->oldest) = e;
	n->newest = e;
}

static struct entry *take_oldest(struct exec_names *n)
{
	struct entry *e = n->oldest, **p = bucket_of(n, e->name);
	while (*p != e)
		p = &(*p)->next;
	*p = e->next;
	unlink_use(n, e);
	return e;
}

static uint32_t address_of(struct exec_names *n, const char *name)
{
	struct entry **bucket = bucket_of(n, name), *e = *bucket;
	while (e && strcmp(e->name, name))
		e = e->next;
	if (e) {
		unlink_use(n, e);
	} else {
		e = n->n < NAMES_MAX ? &n->entry[n->n++] : take_oldest(n);
		bucket = bucket_of(n, name);
		snprintf(e->name, sizeof e->name, "%s", name);
		e->next = *bucket;
		*bucket = e;
	}
	used_now(n, e);
	return FIRST + (uint32_t)(e - n->entry);
}

static struct entry *entry_at(struct exec_names *n, uint32_t address)
{
	return address >= FIRST && address - FIRST < n->n ? &n->entry[address - FIRST] : NULL;
}

int exec_names_find(struct exec_names *n, struct target *t)
{
	uint32_t address = (uint32_t)t->address[0] << 24 | (uint32_t)t->address[1] << 16 | (uint32_t)t->address[2] << 8 | t->address[3];
	if (t->host != TARGET_IPV4 || address >> 17 != FIRST >> 17)
		return 0;
	struct entry *e = entry_at(n, address);
	if (!e)
		return -ENOENT;
	struct target name = {.host = TARGET_NAME, .port = t->port};
	memcpy(name.name, e->name, sizeof name.name);
	unlink_use(n, e);
	used_now(n, e);
	*t = name;
	return 1;
}

// ---- messages ----

static unsigned int word(const uint8_t *p)
{
	return (unsigned int)p[0] << 8 | p[1];
}

static uint8_t *put(uint8_t *p, unsigned int w)
{
	p[0] = (uint8_t)(w >> 8);
	p[1] = (uint8_t)w;
	return p + 2;
}

struct question {
	char name[256];		// with dots; "" for the root
	size_t name_len;
	size_t end;		// behind type and class
	unsigned int type, class;
};

// The one question of a message. 0, or the code to answer with; -EPROTO: nothing that could be answered.
static int read_question(const uint8_t *m, size_t len, struct question *q)
{
	size_t at = 12;
	if (len < 12 || len > NAMES_MESSAGE || m[2] & 0x80)
		return -EPROTO;
	q->name_len = 0;
	q->end = 12;
	if (m[2] & 0x78)
		return NOT_IMPLEMENTED;
	if (word(m + 4) != 1 || word(m + 6) || word(m + 8))
		return FORMAT_ERROR;
	while (at < len && m[at]) {
		size_t n = m[at++];
		if (n > 63 || n > len - at || q->name_len + n + 1 > 254)
			return FORMAT_ERROR;
		if (q->name_len)
			q->name[q->name_len++] = '.';
		for (size_t i = 0; i < n; i++) {	// a dot within a label would make another name of it
			if (m[at + i] == '.' || !m[at + i])
				return FORMAT_ERROR;
		}
		memcpy(q->name + q->name_len, m + at, n);
		q->name_len += n;
		at += n;
	}
	if (at >= len || len - at < 5)
		return FORMAT_ERROR;
	q->type = word(m + at + 1);
	q->class = word(m + at + 3);
	q->end = at + 5;
	return NO_ERROR;
}

// "1.0.18.198.in-addr.arpa" as the name behind 198.18.0.1.
static struct entry *reverse_of(struct exec_names *n, const struct question *q)
{
	unsigned int a, b, c, d;
	char text[64], again[64];
	if (q->name_len >= sizeof text)
		return NULL;
	memcpy(text, q->name, q->name_len);
	text[q->name_len] = '\0';
	if (sscanf(text, "%3u.%3u.%3u.%3u.", &d, &c, &b, &a) != 4 || (a | b | c | d) > 255)
		return NULL;
	snprintf(again, sizeof again, "%u.%u.%u.%u.in-addr.arpa", d, c, b, a);
	return strcasecmp(again, text) ? NULL : entry_at(n, a << 24 | b << 16 | c << 8 | d);
}

// A record about the question's name.
static uint8_t *put_record(uint8_t *p, unsigned int type, size_t len)
{
	p = put(p, 0xc00c);
	p = put(p, type);
	p = put(p, CLASS_IN);
	p = put(p, 0);
	p = put(p, TTL);
	return put(p, (unsigned int)len);
}

static uint8_t *put_name(uint8_t *p, const char *name)
{
	while (*name) {
		size_t n = strcspn(name, ".");
		*p++ = (uint8_t)n;
		p = mempcpy(p, name, n);
		name += n + (name[n] == '.');
	}
	*p++ = 0;
	return p;
}

static bool is_localhost(const char *name)
{
	size_t n = strlen(name);
	return !strcmp(name, "localhost") || (n > 10 && !strcmp(name + n - 10, ".localhost"));
}

size_t exec_names_answer(struct exec_names *n, const uint8_t *question, size_t len, uint8_t answer[NAMES_MESSAGE])
{
	struct question q = {.type = 0};
	struct target t = {0};
	uint8_t *p;
	bool answered = false;
	int code = read_question(question, len, &q);
	if (code < 0)
		return 0;
	memcpy(answer, question, q.end);
	p = answer + q.end;
	if (!code && q.type != TYPE_PTR && q.class == CLASS_IN && target_set_host(&t, q.name, q.name_len))
		code = NAME_ERROR;
	if (!code && q.type == TYPE_A && q.class == CLASS_IN && t.host == TARGET_NAME) {
		uint32_t address = is_localhost(t.name) ? 0x7f000001 : address_of(n, t.name);
		p = put(put(put_record(p, TYPE_A, 4), address >> 16), address & 0xffff);
		answered = true;
	}
	const struct entry *e = !code && q.type == TYPE_PTR && q.class == CLASS_IN ? reverse_of(n, &q) : NULL;
	if (e && q.end + 12 + strlen(e->name) + 2 <= NAMES_MESSAGE) {
		p = put_name(put_record(p, TYPE_PTR, strlen(e->name) + 2), e->name);
		answered = true;
	}
	// an answer; recursion as it was wanted, and there is some
	put(answer + 2, 0x8080u | (question[2] & 1u) << 8 | (unsigned int)code);
	put(answer + 4, q.end > 12);
	put(answer + 6, answered);
	put(answer + 8, 0);
	put(answer + 10, 0);
	return (size_t)(p - answer);
}
