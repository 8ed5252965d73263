// SPDX-License-Identifier: Apache-2.0
// dpkg's database and the dependencies of packages (see debian.h). Reads files; no locks: dpkg replaces its files as a whole.
#include "image/debian.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { STATUS_MAX_BYTES = 256 << 20 };

// Needed to install packages, or to start and stop services of a whole machine: nothing in an enclave asks for them. What of libc6 a
// program needs is found by looking at the program.
static const char *const packaging[] = {
	"debconf", "cdebconf", "adduser", "dpkg", "init-system-helpers", "sysvinit-utils", "lsb-base", "ucf", "install-info", "libc6",
	"libgcc-s1", "gcc-12-base", "systemd", "systemd-sysv", "libpam-systemd", "apt", "base-files", "base-passwd", "dbus-user-session",
	"debianutils", "libc-bin", NULL,
};

static bool listed(const char *const *list, const char *name)
{
	for (int i = 0; list[i]; i++)
		if (!strcmp(list[i], name))
			return true;
	return false;
}

struct debian_package *debian_find(struct debian *d, const char *name)
{
	const char *at = string_set_get(&d->names, name);

	return at ? &d->items[strtoul(at, NULL, 10)] : NULL;
}

static void free_package(struct debian_package *k)
{
	free(k->name);
	free(k->version);
	free(k->depends);
	free(k->recommends);
	free(k->info);
}

// The value of a field in one stanza, its continuation lines joined by spaces; to be freed. NULL: not there.
static char *field(const char *stanza, const char *end, const char *name)
{
	size_t n = strlen(name);
	struct text out = {0};

	for (const char *line = stanza; line < end;) {
		const char *next = memchr(line, '\n', (size_t)(end - line));
		const char *stop = next ? next : end;

		if (out.data) {
			if (*line != ' ' && *line != '\t')
				break;
			text_add(&out, line, (size_t)(stop - line));
		} else if ((size_t)(stop - line) > n && !memcmp(line, name, n) && line[n] == ':') {
			line += n + 1;
			while (line < stop && *line == ' ')
				line++;
			text_add(&out, line, (size_t)(stop - line));
		}
		if (!next)
			break;
		line = next + 1;
	}
	return out.data;
}

// "libc.so (= 1), other": the names alone, each remembered with its provider.
static void add_provides(struct debian *d, const char *provides, const char *by)
{
	while (*provides) {
		size_t n;

		provides += strspn(provides, " ,\t");
		n = strcspn(provides, " ,(\t");
		if (n) {
			char *name = xstrndup(provides, n);

			string_set_add(&d->provides, name, by);
			free(name);
		}
		provides += strcspn(provides, ",");
	}
}

static void add_stanza(struct debian *d, const char *stanza, const char *end, const char *info, bool unpacked)
{
	char *name = field(stanza, end, "Package"), *status = field(stanza, end, "Status"), *kind = field(stanza, end, "Architecture");
	char *pre = field(stanza, end, "Pre-Depends"), *depends = field(stanza, end, "Depends"), *provides = field(stanza, end, "Provides");
	struct debian_package *old, k = {.unpacked = unpacked};
	char number[24];

	if (!name || !*name || strchr(name, '/') || (!unpacked && (!status || !ends_with(status, " ok installed"))) ||
	    (kind && strcmp(kind, "amd64") && strcmp(kind, "all")))
		goto out;
	k.name = xstrdup(name);
	k.version = field(stanza, end, "Version");
	k.depends = xasprintf("%s%s%s", pre ? pre : "", pre && depends ? ", " : "", depends ? depends : "");
	k.recommends = field(stanza, end, "Recommends");
	k.info = xasprintf("%s/%s", info, name);
	if (!unpacked) {
		char *list = xasprintf("%s.list", k.info);

		if (access(list, F_OK) < 0) {
			free(k.info);
			k.info = xasprintf("%s/%s:%s", info, name, kind ? kind : "amd64");
		}
		free(list);
	}
	old = debian_find(d, name);
	if (old) {
		free_package(old);
		*old = k;
	} else {
		if (d->count == d->capacity) {
			d->capacity = d->capacity ? d->capacity * 2 : 512;
			d->items = xrealloc(d->items, d->capacity * sizeof(*d->items));
		}
		snprintf(number, sizeof(number), "%zu", d->count);
		string_set_add(&d->names, name, number);
		d->items[d->count++] = k;
	}
	if (provides)
		add_provides(d, provides, name);
out:
	free(name);
	free(status);
	free(kind);
	free(pre);
	free(depends);
	free(provides);
}

void debian_add(struct debian *d, const char *control, const char *info, bool unpacked)
{
	while (*control) {
		const char *end = strstr(control, "\n\n");

		if (!end)
			end = control + strlen(control);
		if (end > control)
			add_stanza(d, control, end, info, unpacked);
		control = end + strspn(end, "\n");
	}
}

int debian_read(struct debian *d, const char *root, struct fault *p)
{
	char *path = xasprintf("%s/var/lib/dpkg/status", root), *info = xasprintf("%s/var/lib/dpkg/info", root);
	struct text status = {0};
	int err;

	*d = (struct debian){0};
	err = text_read_file(&status, path, STATUS_MAX_BYTES, p);
	if (!err)
		debian_add(d, status.data, info, false);
	text_free(&status);
	free(info);
	free(path);
	return err;
}

void debian_free(struct debian *d)
{
	for (size_t i = 0; i < d->count; i++)
		free_package(&d->items[i]);
	free(d->items);
	string_set_free(&d->names);
	string_set_free(&d->provides);
	string_set_free(&d->links);
	*d = (struct debian){0};
}

// ---- dependencies ----

struct closure {
	struct debian *d;
	size_t *queue;		// indices: debian_add() may move the packages
	size_t count, capacity;
	struct string_list *missing;
};

static void want(struct closure *w, struct debian_package *k, const char *why)
{
	if (k->wanted)
		return;
	k->wanted = true;
	k->why = why;
	if (w->count == w->capacity) {
		w->capacity = w->capacity ? w->capacity * 2 : 64;
		w->queue = xrealloc(w->queue, w->capacity * sizeof(*w->queue));
	}
	w->queue[w->count++] = (size_t)(k - w->d->items);
}

// One alternative of a dependency, "name:any (>= 1) [amd64]": the package that satisfies it, or NULL. *skip: it is for packaging only.
static struct debian_package *satisfies(struct debian *d, const char *text, size_t len, bool *skip)
{
	struct debian_package *k;
	const char *provider;
	char *name;

	while (len && (*text == ' ' || *text == '\t'))
		text++, len--;
	name = xstrndup(text, strcspn(text, " \t(:[,|") < len ? strcspn(text, " \t(:[,|") : len);
	*skip = listed(packaging, name) || starts_with(name, "debconf-");
	k = *skip ? NULL : debian_find(d, name);
	if (!k && !*skip && (provider = string_set_get(&d->provides, name)))
		k = debian_find(d, provider);
	if (k && listed(packaging, k->name))
		*skip = true;
	free(name);
	return k;
}

static void follow(struct closure *w, const char *list, const char *by, bool optional)
{
	while (list && *list) {
		size_t group = strcspn(list, ",");
		struct debian_package *found = NULL;
		bool skip = false;

		for (const char *at = list; at < list + group && !found && !skip;) {
			size_t n = strcspn(at, "|,");

			found = satisfies(w->d, at, n, &skip);
			at += n + (at[n] == '|');
		}
		if (found && !skip)
			want(w, found, by);
		else if (!skip && strspn(list, " \t\n") < group) {
			const char *text = list + strspn(list, " \t");
			char *line = xasprintf("%.*s (%s %s)", (int)(list + group - text), text, optional ? "recommended by" : "needed by", by);

			if (!string_list_has(w->missing, line))
				string_list_add(w->missing, line);
			free(line);
		}
		list += group + (list[group] == ',');
	}
}

int debian_closure(struct debian *d, const char *name, bool recommends, debian_visit *got, void *ctx, struct string_list *missing,
		   struct fault *p)
{
	struct closure w = {.d = d, .missing = missing};
	struct debian_package *first = debian_find(d, name);
	int err = 0;

	if (!first)
		return fault_set(p, -ENOENT, "the Debian package %s is not installed: apt-get install %s", name, name);
	for (size_t i = 0; i < d->count; i++)
		d->items[i].wanted = false;
	want(&w, first, NULL);
	for (size_t i = 0; i < w.count && !err; i++) {
		struct debian_package *k = &d->items[w.queue[i]];

		follow(&w, k->depends, k->name, false);
		if (recommends)
			follow(&w, k->recommends, k->name, true);
		err = got(ctx, k, p);
	}
	free(w.queue);
	return err;
}

// ---- alternatives ----

// A file of /var/lib/dpkg/alternatives: mode, the link, then pairs of a slave's name and link up to an empty line.
static void read_alternative(struct debian *d, const char *name)
{
	char *path = xasprintf("/var/lib/dpkg/alternatives/%s", name), *save = NULL, *end;
	const char *key, *link;
	struct fault ignored;
	struct text text = {0};

	if (text_read_file(&text, path, 4 << 20, &ignored))
		goto out;
	end = strstr(text.data, "\n\n");
	if (end)
		*end = '\0';
	key = strtok_r(text.data, "\n", &save) ? name : NULL;
	while (key && (link = strtok_r(NULL, "\n", &save))) {
		string_set_add(&d->links, key, link);
		key = strtok_r(NULL, "\n", &save);
	}
out:
	text_free(&text);
	free(path);
}

const char *debian_alternative(struct debian *d, const char *name)
{
	struct dirent *entry;
	DIR *folder;

	if (!d->links_read) {
		d->links_read = true;
		folder = opendir("/var/lib/dpkg/alternatives");
		while (folder && (entry = readdir(folder)))
			if (entry->d_name[0] != '.')
				read_alternative(d, entry->d_name);
		if (folder)
			closedir(folder);
	}
	return string_set_get(&d->links, name);
}
