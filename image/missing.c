// SPDX-License-Identifier: Apache-2.0
// Looks on this machine for what an image lacks (see missing.h). Reads files, runs nothing, and makes nothing.
#include "image/missing.h"

#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/elf.h"
#include "image/libpath.h"
#include "image/tree.h"

enum { LIST_MAX_BYTES = 64 << 20, HEAD_BYTES = 65536 };

static bool in_image(struct tree *t, const char *path)
{
	int fd = tree_open_file(t, path);

	if (fd >= 0)
		close(fd);
	return fd >= 0;
}

// The installed package that has the file: by that name, or by the one that it has behind the links of a merged /usr.
static char *owner(const char *path)
{
	const char *other = starts_with(path, "/usr/") ? path + 4 : NULL;
	char *lines[] = {xasprintf("\n%s\n", path), other ? xasprintf("\n%s\n", other) : xasprintf("\n/usr%s\n", path)}, *found = NULL;
	DIR *d = opendir("/var/lib/dpkg/info");
	struct dirent *entry;

	while (d && !found && (entry = readdir(d))) {
		char *list;
		struct fault ignored;
		struct text text = {0};

		if (!ends_with(entry->d_name, ".list"))
			continue;
		list = xasprintf("/var/lib/dpkg/info/%s", entry->d_name);
		if (!text_read_file(&text, list, LIST_MAX_BYTES, &ignored))
			for (int i = 0; i < 2 && !found; i++)
				if (memmem(text.data, text.len, lines[i], strlen(lines[i])))
					found = xstrndup(entry->d_name, strcspn(entry->d_name, ":") < strlen(entry->d_name) - 5 ? strcspn(entry->d_name, ":")
																: strlen(entry->d_name) - 5);
		text_free(&text);
		free(list);
	}
	if (d)
		closedir(d);
	free(lines[0]);
	free(lines[1]);
	return found;
}

// The first file that one of the patterns (%s: the name) finds; to be freed.
static char *find(const char *const *patterns, const char *name)
{
	char *found = NULL;

	for (int i = 0; patterns[i] && !found; i++) {
		const char *at = strstr(patterns[i], "%s");
		char *pattern = xasprintf("%.*s%s%s", (int)(at - patterns[i]), patterns[i], name, at + 2);
		glob_t g;

		if (!glob(pattern, 0, NULL, &g) && g.gl_pathc)
			found = xstrdup(g.gl_pathv[0]);
		globfree(&g);
		free(pattern);
	}
	return found;
}

// What a program that is in the image wants in its turn: its dynamic linker, or the interpreter of its first line.
static char *interpreter_of(struct tree *t, const char *path)
{
	int fd = tree_open_file(t, path);
	char *head = xmalloc(HEAD_BYTES), *found = NULL;
	ssize_t n = fd < 0 ? -1 : pread(fd, head, HEAD_BYTES - 1, 0);

	if (n > 4 && elf_is(head, (size_t)n)) {
		for (ssize_t i = 0; i + 8 < n && !found; i++) // the string itself: a cut file is none for elf_read()
			if ((!memcmp(head + i, "/lib64/ld", 9) || !memcmp(head + i, "/lib/ld-", 8)) && memchr(head + i, 0, (size_t)(n - i)))
				found = xstrdup(head + i);
	} else if (n > 4 && head[0] == '#' && head[1] == '!') {
		head[n] = '\0';
		head[strcspn(head, "\n")] = '\0';
		char *word = head + 2 + strspn(head + 2, " \t");
		found = xstrndup(word, strcspn(word, " \t\r"));
	}
	if (fd >= 0)
		close(fd);
	free(head);
	return found;
}

static char *find_library(const char *name)
{
	struct elf_file e = {0};
	struct library_search search = {.elf = &e, .origin = "/"};
	struct libpath l;
	char *path, *passed_over;

	libpath_init(&l, "");
	libpath_find(&l, &search, name, &path, &passed_over);
	libpath_free(&l);
	free(passed_over);
	return path;
}

static bool is_plain(const char *name)
{
	return *name && *name != '.' && *name != '-' && !strpbrk(name, "*?[]{}~\\/");
}

struct missing {
	char *path;	// on this machine
	char *item;	// for `coffer copy`
};

// What is meant by "kind:name", where this machine has it.
static struct missing look_up(struct tree *t, const char *name)
{
	static const char *const programs[] = {"/usr/local/bin/%s", "/usr/bin/%s", "/bin/%s", "/usr/sbin/%s", "/sbin/%s", NULL};
	static const char *const python[] = {"/usr/lib/python3/dist-packages/%s", "/usr/lib/python3/dist-packages/%s.py", "/usr/lib/python3/dist-packages/%s.*.so",
					     "/usr/local/lib/python3*/dist-packages/%s", NULL};
	static const char *const perl[] = {"/usr/share/perl5/%s", "/usr/lib/x86_64-linux-gnu/perl5/5.*/%s", "/usr/share/perl/5.*/%s",
					   "/usr/lib/x86_64-linux-gnu/perl/5.*/%s", "/usr/lib/x86_64-linux-gnu/perl-base/%s", NULL};
	static const char *const node[] = {"/usr/share/nodejs/%s", "/usr/lib/node_modules/%s", "/usr/lib/x86_64-linux-gnu/nodejs/%s", NULL};
	const char *value = strchr(name, ':') + 1;
	struct missing m = {0};

	if (starts_with(name, "path:")) {
		m.path = xstrdup(value);
		if (in_image(t, value)) { // the file is there: what it needs is not
			free(m.path);
			m.path = interpreter_of(t, value);
		}
	} else if (starts_with(name, "library:") && is_plain(value)) {
		m.path = find_library(value);
	} else if (starts_with(name, "program:") && is_plain(value)) {
		m.path = find(programs, value);
	} else if (starts_with(name, "python:") && is_plain(value)) {
		m.path = find(python, value);
		m.item = m.path ? xstrdup(name) : NULL;
	} else if (starts_with(name, "perl:") && !strstr(value, "..") && !strpbrk(value, "*?[]{}~\\")) {
		m.path = find(perl, value);
	} else if (starts_with(name, "node:") && !strstr(value, "..") && !strpbrk(value, "*?[]{}~\\") && *value != '/') {
		m.path = find(node, value);
	}
	if (m.path && !m.item)
		m.item = xstrdup(m.path);
	return m;
}

int missing_report(const char *image, const struct string_list *names, int most, const char *head, FILE *out)
{
	struct string_set seen = {0};
	struct tree t;
	int count = 0;

	// Only where the image's folder is at hand is it known what it lacks.
	if (access(image, F_OK) < 0 || tree_open(&t, image, NULL))
		return 0;
	for (size_t i = 0; i < names->count && count < most; i++) {
		struct missing m = look_up(&t, names->items[i]);
		char *package = NULL;
		struct stat st;

		if (m.path && m.path[0] == '/' && !stat(m.path, &st) && !in_image(&t, m.path) && string_set_add(&seen, m.path, NULL)) {
			package = owner(m.path);
			fprintf(out, "%s  %s  (%s%s)  coffer copy %s\n", count ? "" : head, m.path, package ? "Debian package " : "of no Debian package",
				package ? package : "", m.item);
			count++;
		}
		free(package);
		free(m.path);
		free(m.item);
	}
	string_set_free(&seen);
	tree_close(&t);
	return count;
}
