// SPDX-License-Identifier: Apache-2.0
// The dynamic linkers' search order, and a hint for what is missing (see libpath.h). Reads files, runs nothing.
#include "image/libpath.h"

#include <ctype.h>
#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/fault.h"

enum { CONF_MAX_BYTES = 1 << 20, MOST_INCLUDES = 16 };

const char *const libpath_defaults[] = {
	"/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib", NULL,
};

static void read_conf(struct libpath *l, const char *root, const char *path, int depth)
{
	char *full = xasprintf("%s%s", root, path), *line, *save = NULL;
	struct fault ignored;
	struct text text = {0};

	if (depth > MOST_INCLUDES || text_read_file(&text, full, CONF_MAX_BYTES, &ignored))
		goto out;
	for (line = strtok_r(text.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		line[strcspn(line, "#")] = '\0';
		line += strspn(line, " \t");
		for (size_t n = strlen(line); n && isspace((unsigned char)line[n - 1]);)
			line[--n] = '\0';
		if (starts_with(line, "include ") || starts_with(line, "include\t")) {
			const char *pattern = line + 8 + strspn(line + 8, " \t");
			char *where = xasprintf("%s%s%s", root, *pattern == '/' ? "" : "/etc/", pattern);
			glob_t found;

			if (!glob(where, 0, NULL, &found))
				for (size_t i = 0; i < found.gl_pathc; i++)
					read_conf(l, root, found.gl_pathv[i] + strlen(root), depth + 1);
			globfree(&found);
			free(where);
		} else if (line[0] == '/' && !string_list_has(&l->configured, line)) {
			string_list_add(&l->configured, line);
		}
	}
out:
	text_free(&text);
	free(full);
}

void libpath_init(struct libpath *l, const char *root)
{
	char *musl_conf = xasprintf("%s/etc/ld-musl-x86_64.path", root), *part, *save = NULL;
	struct fault ignored;
	struct text text = {0};

	*l = (struct libpath){0};
	read_conf(l, root, "/etc/ld.so.conf", 0);
	if (!text_read_file(&text, musl_conf, CONF_MAX_BYTES, &ignored)) {
		for (part = strtok_r(text.data, ":\n", &save); part; part = strtok_r(NULL, ":\n", &save))
			string_list_add(&l->musl, part);
	} else {
		string_list_add(&l->musl, "/lib");
		string_list_add(&l->musl, "/usr/local/lib");
		string_list_add(&l->musl, "/usr/lib");
	}
	text_free(&text);
	free(musl_conf);
}

void libpath_free(struct libpath *l)
{
	string_list_free(&l->configured);
	string_list_free(&l->musl);
}

char *libpath_expand(const char *path, const char *origin)
{
	static const struct {
		const char *token;
		const char *value;
	} table[] = {
		{"$ORIGIN", NULL}, {"${ORIGIN}", NULL},
		{"$LIB", "lib/x86_64-linux-gnu"}, {"${LIB}", "lib/x86_64-linux-gnu"},
		{"$PLATFORM", "x86_64"}, {"${PLATFORM}", "x86_64"},
	};
	struct text out = {0};

	text_puts(&out, "");
	while (*path) {
		size_t i = 0;

		while (i < 6 && !starts_with(path, table[i].token))
			i++;
		if (i < 6) {
			text_puts(&out, table[i].value ? table[i].value : origin);
			path += strlen(table[i].token);
		} else {
			text_add(&out, path++, 1);
		}
	}
	return out.data;
}

// Is it an x86-64 ELF file? A linker passes over others in silence; so do we, but remember one for the message.
static bool usable(const struct libpath *l, const char *path, char **passed_over)
{
	char *inside = l->unpacked ? xasprintf("%s%s", l->unpacked, path) : NULL;
	int fd = inside ? open(inside, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	unsigned char h[20];
	ssize_t n;

	free(inside);
	if (fd < 0)
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return false;
	n = read(fd, h, sizeof(h));
	close(fd);
	if (n == sizeof(h) && elf_is(h, sizeof(h)) && h[EI_CLASS] == ELFCLASS64 && h[18] == EM_X86_64 && !h[19])
		return true;
	if (!*passed_over)
		*passed_over = xstrdup(path);
	return false;
}

static bool try_folder(const struct libpath *l, const char *folder, const char *name, char **path, char **passed_over)
{
	char *candidate = xasprintf("%s/%s", folder, name);

	if (usable(l, candidate, passed_over)) {
		*path = candidate;
		return true;
	}
	free(candidate);
	return false;
}

// One colon-separated path; an empty part would mean the current folder, which is nobody's.
static bool try_path(const struct libpath *l, const char *folders, const char *name, char **path, char **passed_over)
{
	char *copy = xstrdup(folders), *save = NULL;
	bool found = false;

	for (char *part = strtok_r(copy, ":", &save); part && !found; part = strtok_r(NULL, ":", &save))
		if (part[0] == '/')
			found = try_folder(l, part, name, path, passed_over);
	free(copy);
	return found;
}

static enum library_place by_own_path(const struct libpath *l, const char *own, const struct library_search *s, const char *name,
				      char **path, char **passed_over)
{
	char *expanded = libpath_expand(own, s->origin);
	bool found = try_path(l, expanded, name, path, passed_over);

	free(expanded);
	if (!found)
		return LIBRARY_MISSING;
	return strstr(own, "ORIGIN") ? LIBRARY_BY_ORIGIN : LIBRARY_BY_RUNPATH;
}

enum library_place libpath_find(const struct libpath *l, const struct library_search *s, const char *name, char **path,
				char **passed_over)
{
	const char *own = s->elf->runpath ? s->elf->runpath : s->elf->rpath;
	enum library_place place;

	*path = NULL;
	*passed_over = NULL;
	if (strchr(name, '/')) {
		char *expanded = libpath_expand(name, s->origin);

		if (expanded[0] == '/' && usable(l, expanded, passed_over)) {
			*path = expanded;
			return strstr(name, "ORIGIN") ? LIBRARY_BY_ORIGIN : LIBRARY_BY_RUNPATH;
		}
		free(expanded);
		return LIBRARY_MISSING;
	}
	if (own) {
		place = by_own_path(l, own, s, name, path, passed_over);
		if (place != LIBRARY_MISSING)
			return place;
	}
	if (!s->elf->runpath && s->inherited_rpath && try_path(l, s->inherited_rpath, name, path, passed_over))
		return LIBRARY_BY_RUNPATH;
	if (s->musl) {
		for (size_t i = 0; i < l->musl.count; i++)
			if (try_folder(l, l->musl.items[i], name, path, passed_over))
				return LIBRARY_DEFAULT;
		return LIBRARY_MISSING;
	}
	for (int i = 0; libpath_defaults[i]; i++)
		if (string_list_has(&l->configured, libpath_defaults[i]) &&
		    try_folder(l, libpath_defaults[i], name, path, passed_over))
			return LIBRARY_DEFAULT;
	for (size_t i = 0; i < l->configured.count; i++)
		if (try_folder(l, l->configured.items[i], name, path, passed_over))
			return LIBRARY_CONFIGURED;
	for (int i = 0; libpath_defaults[i]; i++)
		if (try_folder(l, libpath_defaults[i], name, path, passed_over))
			return LIBRARY_DEFAULT;
	return LIBRARY_MISSING;
}

// Does a package list of apt name this package?
static bool apt_knows(const char *package)
{
	char *line = xasprintf("\nPackage: %s\n", package);
	bool found = false;
	glob_t lists;

	if (!glob("/var/lib/apt/lists/*_Packages", 0, NULL, &lists)) {
		for (size_t i = 0; i < lists.gl_pathc && !found; i++) {
			struct fault ignored;
			struct text text = {0};

			if (!text_read_file(&text, lists.gl_pathv[i], 256u << 20, &ignored))
				found = starts_with(text.data, line + 1) || memmem(text.data, text.len, line, strlen(line));
			text_free(&text);
		}
	}
	globfree(&lists);
	free(line);
	return found;
}

// The installed package that owns a file of this name, somewhere the linker does not look.
static bool installed_elsewhere(const char *library, struct text *out)
{
	struct dirent *entry;
	bool found = false;
	DIR *d = opendir("/var/lib/dpkg/info");

	while (d && !found && (entry = readdir(d))) {
		char *path, *hit, *needle;
		struct fault ignored;
		struct text text = {0};

		if (!ends_with(entry->d_name, ".list"))
			continue;
		path = xasprintf("/var/lib/dpkg/info/%s", entry->d_name);
		needle = xasprintf("/%s\n", library);
		if (!text_read_file(&text, path, 64 << 20, &ignored)) {
			hit = memmem(text.data, text.len, needle, strlen(needle));
			if (hit) {
				char *start = hit;

				while (start > text.data && start[-1] != '\n')
					start--;
				text_printf(out, "Debian package %.*s has %.*s, where the dynamic linker does not look",
					    (int)(strlen(entry->d_name) - 5), entry->d_name,
					    (int)(hit + strlen(library) + 1 - start), start);
				found = true;
			}
		}
		text_free(&text);
		free(needle);
		free(path);
	}
	if (d)
		closedir(d);
	return found;
}

void libpath_debian_hint(const char *library, struct text *out)
{
	const char *so = strstr(library, ".so");
	char *stem, *package;

	text_puts(out, "");
	if (!so || installed_elsewhere(library, out))
		return;
	stem = xstrndup(library, (size_t)(so - library));
	for (char *c = stem; *c; c++)
		*c = *c == '_' ? '-' : (char)tolower((unsigned char)*c);
	// Debian policy 8.1: the soname, with a dash where the name ends in a digit.
	package = xasprintf("%s%s%s", stem, so[3] == '.' && isdigit((unsigned char)so[-1]) ? "-" : "",
			    so[3] == '.' ? so + 4 : "");
	if (apt_knows(package))
		text_printf(out, "it is in the Debian package %s: apt-get install %s", package, package);
	else
		text_printf(out, "perhaps it is in the Debian package %s; `apt-file search %s` knows for sure", package, library);
	free(package);
	free(stem);
}
