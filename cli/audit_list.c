// SPDX-License-Identifier: Apache-2.0
// `coffer audit list` and `show`. Records are read backwards, a page at a time, until there are as many as are wanted.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/audit.h"
#include "cli/cli.h"
#include "cli/printable.h"

#define PAGE 1000

struct found {
	uint64_t index;
	char *line;
};

struct search {
	const struct audit_options *o;
	struct found *page;	// what one page gave
	size_t count;
	bool before_since;	// a record older than what is wanted was met
};

static const char *text_of(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "";
}

static bool wanted(const char *want, const json_t *record, const char *name)
{
	return !want || !strcmp(text_of(record, name), want);
}

// ADDRESS, or ADDRESS:PORT
static bool wanted_peer(const char *want, const json_t *record)
{
	const char *peer = text_of(record, "from");
	size_t n = want ? strlen(want) : 0;

	return !want || (!strncmp(peer, want, n) && (!peer[n] || peer[n] == ':'));
}

static int match(void *ctx, uint64_t index, const char *line, size_t len)
{
	struct search *s = ctx;
	const struct audit_options *o = s->o;

	if (index == UINT64_MAX)
		return 0;
	json_t *record = json_loadb(line, len, 0, NULL);
	if (!json_object_size(record)) {	// another owner's: the broker does not show it
		json_decref(record);
		return 0;
	}
	const char *time = text_of(record, "time");
	bool early = o->since && strcmp(time, o->since) < 0;
	s->before_since |= early;
	// Times are text whose order is theirs; a shorter one stands for its beginning, or with --until for all of it.
	bool take = !early && (!o->until || strncmp(time, o->until, strlen(o->until)) <= 0) && wanted(o->event, record, "event") &&
		    wanted(o->outcome, record, "outcome") && wanted(o->resource, record, "resource") && wanted_peer(o->peer, record);
	json_decref(record);
	if (!take)
		return 0;
	s->page[s->count].index = index;
	s->page[s->count].line = strndup(line, len);
	return s->page[s->count++].line ? 0 : -ENOMEM;
}

// What a refusal was for: the names of the checks that failed.
static void say_refusals(const json_t *record)
{
	const json_t *list = json_object_get(record, "refusals"), *v;
	size_t i;

	json_array_foreach(list, i, v)
		printf("%s%s", i ? ", " : "  ", text_of(v, "claim"));
}

static void say(const struct audit_options *o, uint64_t index, const char *line)
{
	json_t *record;

	if (o->json) {
		printf("{\"index\":%" PRIu64 ",\"record\":%s}\n", index, line);
		return;
	}
	// Names of resources and addresses come from whoever asked: nothing of them is for the terminal to obey.
	record = printable(json_loads(line, 0, NULL));
	const char *outcome = text_of(record, "outcome");
	printf("%8" PRIu64 "  %-24s  %-20s  %s%-8s%s  %s  %s", index, text_of(record, "time"), text_of(record, "event"),
	       !strcmp(outcome, "refused") ? cli_red(stdout) : "", outcome, !strcmp(outcome, "refused") ? cli_plain(stdout) : "",
	       *text_of(record, "from") ? text_of(record, "from") : "-", text_of(record, "resource"));
	if (*text_of(record, "identity"))
		fputs(text_of(record, "identity"), stdout);
	say_refusals(record);
	if (*text_of(record, "by"))
		printf("  by %s", text_of(record, "by"));
	putchar('\n');
	json_decref(record);
}

static int grow(struct found **list, size_t *count, const struct search *s, size_t take)
{
	struct found *bigger = realloc(*list, (*count + take) * sizeof **list);

	if (!bigger)
		return -ENOMEM;
	*list = bigger;
	// Newest first, as the pages come.
	for (size_t i = 0; i < take; i++)
		bigger[*count + i] = s->page[s->count - 1 - i];
	*count += take;
	return 0;
}

// Forwards, printing as it goes: from a given record on, or all.
static int print_match(void *ctx, uint64_t index, const char *line, size_t len)
{
	struct search *s = ctx;
	int err = match(s, index, line, len);

	if (s->count)
		say(s->o, s->page[0].index, s->page[0].line);
	if (s->count)
		free(s->page[0].line);
	s->count = 0;
	return err;
}

int audit_list(struct broker_client *c, const struct audit_options *o, struct fault *f)
{
	struct found page[PAGE], *list = NULL;
	struct search s = {.o = o, .page = page};
	struct note head;
	size_t count = 0;
	int err = audit_client_head(c, "", &head, f);
	uint64_t to = head.head.size;

	if (!err && (o->has_from || !o->limit))
		return audit_client_lines(c, o->from, to, print_match, &s, f);
	while (!err && to && count < o->limit && !s.before_since) {
		uint64_t from = to > PAGE ? to - PAGE : 0;
		s.count = 0;
		err = audit_client_lines(c, from, to, match, &s, f);
		size_t take = s.count < o->limit - count ? s.count : o->limit - count;
		if (!err)
			err = grow(&list, &count, &s, take);
		else
			take = 0;
		for (size_t i = 0; i + take < s.count; i++)
			free(page[i].line);
		to = from;
	}
	for (size_t i = count; i-- > 0;) {
		if (!err)
			say(o, list[i].index, list[i].line);
		free(list[i].line);
	}
	free(list);
	return err && !f->text[0] ? fault_set(f, err, "out of memory") : err;
}

int audit_show(struct broker_client *c, const struct audit_options *o, uint64_t index, struct fault *f)
{
	char *line, *text;
	int err = audit_client_record(c, index, &line, f);

	if (err)
		return err;
	json_t *record = json_loads(line, 0, NULL);
	if (o->json) {
		printf("{\"index\":%" PRIu64 ",\"record\":%s}\n", index, line);
	} else {
		text = json_dumps(record, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_ENSURE_ASCII);
		printf("record %" PRIu64 "\n%s\n", index, text ? text : line);
		free(text);
	}
	json_decref(record);
	free(line);
	return 0;
}

static int print_line(void *ctx, uint64_t index, const char *line, size_t len)
{
	(void)ctx;
	if (index != UINT64_MAX)
		printf("%.*s\n", (int)len, line);
	return 0;
}

int audit_print_all(struct broker_client *c, struct fault *f)
{
	struct note head;
	int err = audit_client_head(c, "", &head, f);

	return err ? err : audit_client_lines(c, 0, head.head.size, print_line, NULL, f);
}
