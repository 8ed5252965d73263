// SPDX-License-Identifier: Apache-2.0
// The names of missing things in a program's last words (see missing.h).
#include "image/missing.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_NAMES = 64, MOST_LISTED = 4096, NAME_MAX_BYTES = 512 };

// Where programs and their data are; what is below /proc or /tmp says nothing about the image.
static bool is_below(const char *path)
{
	static const char *const folders[] = {"/usr/", "/lib/", "/lib64/", "/etc/", "/bin/", "/sbin/", "/opt/", "/var/", "/srv/"};

	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++)
		if (starts_with(path, folders[i]))
			return true;
	return false;
}

static void add(struct string_list *names, const char *kind, const char *name, size_t len, size_t most)
{
	char *text;

	if (!len || len > NAME_MAX_BYTES || names->count >= most)
		return;
	for (size_t i = 0; i < len; i++)
		if (!isgraph((unsigned char)name[i]))
			return;
	text = xasprintf("%s:%.*s", kind, (int)len, name);
	if (!string_list_has(names, text))
		string_list_add(names, text);
	free(text);
}

// The text behind `mark`, up to one of `stops`.
static void add_behind(struct string_list *names, const char *line, const char *mark, const char *stops, const char *kind)
{
	const char *at = strstr(line, mark);

	if (at)
		add(names, kind, at + strlen(mark), strcspn(at + strlen(mark), stops), MOST_NAMES);
}

// The word before `mark`: back to a colon and a space, or a quote.
static void add_before(struct string_list *names, const char *line, const char *mark, const char *kind)
{
	const char *end = strstr(line, mark), *start = end;

	if (!end || end == line)
		return;
	while (start > line && !strchr(" \t'\"", start[-1]))
		start--;
	add(names, memchr(start, '/', (size_t)(end - start)) ? "path" : kind, start, (size_t)(end - start), MOST_NAMES);
}

static void add_paths(struct string_list *names, const char *line)
{
	for (const char *at = line; (at = strchr(at, '/')); at += strcspn(at, " \t'\"`")) {
		size_t n = strcspn(at, " \t'\"`:,;()<>[]");

		if (at > line && !strchr(" \t'\"`:=([<", at[-1]) && (unsigned char)at[-1] < 0x80)
			continue;
		while (n && at[n - 1] == '.')
			n--;
		for (size_t i = 0; i < n; i++)
			if ((unsigned char)at[i] >= 0x80) // a quote of several bytes
				n = i;
		if (is_below(at))
			add(names, "path", at, n, MOST_NAMES);
	}
}

static void read_line(const char *line, struct string_list *names, bool *complains)
{
	static const char *const absent[] = {"No such file or directory", "not found", "cannot open", "can't open", "Cannot find", "Can't locate",
					     "could not access file", "No module named", "does not exist", "cannot load", "Unable to load", NULL};
	const char *quoted;
	bool says = false;

	for (int i = 0; absent[i] && !says; i++)
		says = strstr(line, absent[i]);
	if (!says)
		return;
	*complains = true;
	add_behind(names, line, "error while loading shared libraries: ", ": \t", "library");
	add_before(names, line, ": cannot open shared object file", "library");
	add_behind(names, line, "No module named '", "'.", "python");
	add_behind(names, line, "Can't locate ", " ", "perl");
	add_behind(names, line, "Cannot find module '", "'", "node");
	add_behind(names, line, "Cannot find package '", "'", "node");
	add_behind(names, line, "exec: \"", "\"", "program");
	add_before(names, line, ": not found", "program");
	add_before(names, line, ": command not found", "program");
	quoted = starts_with(line, "env: ") || starts_with(line, "/usr/bin/env: ") ? strstr(line, "env: ") + 5 : NULL;
	if (quoted) {
		quoted += strspn(quoted, "'\"\xe2\x80\x98\x99");
		add(names, "program", quoted, strcspn(quoted, "'\": \xe2"), MOST_NAMES);
	}
	add_paths(names, line);
}

void missing_list(const char *list, size_t len, struct string_list *names)
{
	while (len) {
		size_t stop = len - (list[len - 1] == '\n'), start = stop;
		char *path;

		while (start && list[start - 1] != '\n')
			start--;
		path = xstrndup(list + start, stop - start);
		if (is_below(path))
			add(names, "path", path, stop - start, MOST_LISTED);
		free(path);
		len = start;
	}
}

void missing_names(const char *said, size_t len, struct string_list *names, bool *complains)
{
	*complains = false;
	while (len) {
		const char *end = memchr(said, '\n', len);
		size_t n = end ? (size_t)(end - said) : len;
		char *line = xstrndup(said, n);

		line[strcspn(line, "\r")] = '\0';
		read_line(line, names, complains);
		free(line);
		n += end != NULL;
		said += n;
		len -= n;
	}
}
