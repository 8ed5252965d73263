// SPDX-License-Identifier: Apache-2.0
// /etc/passwd and /etc/group of the image: the users that every Debian has (base-passwd), and those that the copied packages make. A
// user keeps the numbers that he has in the image already, then those of this machine, so that a sealed volume's files stay his.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/build.h"
#include "image/copy.h"

enum { FIRST_SYSTEM_ID = 100, LAST_SYSTEM_ID = 999, FILE_MAX_BYTES = 4 << 20 };

struct table {
	const char *path;
	struct string_list lines;
	struct string_list machine;	// this machine's own
	bool changed;
};

static void add_lines(struct string_list *l, char *text)
{
	char *save = NULL;

	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		string_list_add(l, line);
}

static void add_file(struct string_list *l, const char *path)
{
	struct fault ignored;
	struct text text = {0};

	if (!text_read_file(&text, path, FILE_MAX_BYTES, &ignored))
		add_lines(l, text.data);
	text_free(&text);
}

static int open_table(struct copier *c, struct table *t, const char *path, struct fault *p)
{
	const char *standard = image_skeleton_file(path);
	struct text text = {0};
	char buffer[4096];
	ssize_t n;
	int fd = tree_open_file(&c->tree, path);

	*t = (struct table){.path = path, .changed = fd < 0};
	if (fd < 0 && fd != -ENOENT)
		return fault_errno(p, -fd, "cannot open %s of the image", path);
	if (fd < 0)
		text_puts(&text, standard);
	while (fd >= 0 && (n = read(fd, buffer, sizeof(buffer))) > 0 && text.len < FILE_MAX_BYTES)
		text_add(&text, buffer, (size_t)n);
	if (fd >= 0)
		close(fd);
	if (text.data)
		add_lines(&t->lines, text.data);
	text_free(&text);
	add_file(&t->machine, path);
	return 0;
}

static int close_table(struct copier *c, struct table *t, bool write, struct fault *p)
{
	struct text text = {0};
	int err = 0;

	for (size_t i = 0; i < t->lines.count; i++)
		text_printf(&text, "%s\n", t->lines.items[i]);
	if (write && t->changed)
		err = tree_write_file(&c->tree, t->path, text.data, text.len, false, p);
	text_free(&text);
	string_list_free(&t->lines);
	string_list_free(&t->machine);
	return err;
}

// The index of the line "NAME:...", or -1.
static ssize_t find(const struct string_list *l, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < l->count; i++)
		if (!strncmp(l->items[i], name, n) && l->items[i][n] == ':')
			return (ssize_t)i;
	return -1;
}

// Field `which` (from 0) of a line; to be freed.
static char *part(const char *line, int which)
{
	while (which-- && *line) {
		line += strcspn(line, ":");
		line += *line == ':';
	}
	return xstrndup(line, strcspn(line, ":"));
}

static long id_of(const struct string_list *l, const char *name)
{
	ssize_t at = find(l, name);
	char *text, *end;
	long id;

	if (at < 0)
		return -1;
	text = part(l->items[at], 2);
	id = strtol(text, &end, 10);
	if (end == text || *end || id < 0)
		id = -1;
	free(text);
	return id;
}

static bool id_used(const struct table *t, long id)
{
	for (size_t i = 0; i < t->lines.count; i++) {
		char *text = part(t->lines.items[i], 2);
		bool same = strtol(text, NULL, 10) == id;

		free(text);
		if (same)
			return true;
	}
	return false;
}

static void add(struct table *t, const char *line)
{
	string_list_add(&t->lines, line);
	t->changed = true;
}

// base-passwd's lists have "*" where a password would be.
static void add_base(struct table *t, const char *path)
{
	struct string_list base = {0};

	add_file(&base, path);
	for (size_t i = 0; i < base.count; i++) {
		char *name = part(base.items[i], 0), *id = part(base.items[i], 2), *line;
		const char *rest = strchr(base.items[i], ':');

		if (rest && rest[1] == '*' && *name && find(&t->lines, name) < 0 && !id_used(t, strtol(id, NULL, 10))) {
			line = xasprintf("%s:x%s", name, rest + 2);
			add(t, line);
			free(line);
		}
		free(name);
		free(id);
	}
	string_list_free(&base);
}

static long choose(const struct table *t, const struct table *other, const char *name, long fixed)
{
	long id = fixed >= 0 && !id_used(t, fixed) ? fixed : id_of(&t->machine, name);

	if (id >= 0 && !id_used(t, id))
		return id;
	for (id = FIRST_SYSTEM_ID; id < LAST_SYSTEM_ID && (id_used(t, id) || id_used(other, id));)
		id++;
	return id;
}

static long add_group(struct copier *c, struct table *groups, const struct table *users, const char *name, long fixed)
{
	long id = id_of(&groups->lines, name);
	char *line;

	if (id >= 0)
		return id;
	id = choose(groups, users, name, fixed);
	line = xasprintf("%s:x:%ld:", name, id);
	add(groups, line);
	free(line);
	if (c->report)
		fprintf(c->report, "  group %-46s %ld, made by a package\n", name, id);
	return id;
}

static void add_member(struct table *groups, const char *group, const char *user)
{
	ssize_t at = find(&groups->lines, group);
	char *members = at < 0 ? NULL : part(groups->lines.items[at], 3), *save = NULL, *line;
	bool have = false;

	if (!members)
		return;
	line = xasprintf("%s%s%s", groups->lines.items[at], *members ? "," : "", user);
	for (char *m = strtok_r(members, ",", &save); m; m = strtok_r(NULL, ",", &save))
		have = have || !strcmp(m, user);
	free(members);
	if (have) {
		free(line);
		return;
	}
	free(groups->lines.items[at]);
	groups->lines.items[at] = line;
	groups->changed = true;
}

static bool plain(const char *s)
{
	return s && !strpbrk(s, ":\n");
}

static void add_user(struct copier *c, struct table *users, struct table *groups, const struct debian_account *a)
{
	ssize_t machine = find(&users->machine, a->name);
	const char *group = a->group && *a->group ? a->group : a->name;
	char *line, *save = NULL, *more;
	long gid, id;

	gid = group[strspn(group, "0123456789")] ? add_group(c, groups, users, group, strcmp(group, a->name) ? -1 : a->id) : strtol(group, NULL, 10);
	if (find(&users->lines, a->name) < 0) {
		id = choose(users, groups, a->name, a->id);
		if (a->id < 0 && id_of(&users->machine, a->name) != id && !id_used(users, gid) && gid >= FIRST_SYSTEM_ID && gid <= LAST_SYSTEM_ID)
			id = gid; // the number of its own group, where both are new
		if (machine >= 0) { // as the script made it here
			char *gecos = part(users->machine.items[machine], 4), *home = part(users->machine.items[machine], 5);
			char *shell = part(users->machine.items[machine], 6);

			line = xasprintf("%s:x:%ld:%ld:%s:%s:%s", a->name, id, gid, gecos, home, shell);
			free(gecos);
			free(home);
			free(shell);
		} else {
			line = xasprintf("%s:x:%ld:%ld:%s:%s:%s", a->name, id, gid, plain(a->gecos) ? a->gecos : "", plain(a->home) ? a->home : "/nonexistent",
					 plain(a->shell) ? a->shell : "/usr/sbin/nologin");
		}
		add(users, line);
		free(line);
		if (c->report)
			fprintf(c->report, "  user %-47s %ld, made by a package\n", a->name, id);
	}
	more = xstrdup(a->member_of ? a->member_of : "");
	for (char *g = strtok_r(more, ",", &save); g; g = strtok_r(NULL, ",", &save))
		add_member(groups, g, a->name);
	free(more);
}

static int by_name(const void *a, const void *b)
{
	const struct debian_account *x = a, *y = b;

	return x->user != y->user ? x->user - y->user : strcmp(x->name, y->name);
}

int copy_users(struct copier *c, struct fault *p)
{
	struct table users = {0}, groups = {0};
	int err, done;

	if (!c->base_users && !c->accounts.account_count)
		return 0;
	err = open_table(c, &users, "/etc/passwd", p);
	if (!err)
		err = open_table(c, &groups, "/etc/group", p);
	if (!err) {
		add_base(&users, "/usr/share/base-passwd/passwd.master");
		add_base(&groups, "/usr/share/base-passwd/group.master");
		if (c->accounts.account_count)
			qsort(c->accounts.accounts, c->accounts.account_count, sizeof(*c->accounts.accounts), by_name);
		for (size_t i = 0; i < c->accounts.account_count; i++) { // groups come first
			struct debian_account *a = &c->accounts.accounts[i];

			if (a->user)
				add_user(c, &users, &groups, a);
			else
				add_group(c, &groups, &users, a->name, a->id);
		}
	}
	done = close_table(c, &users, !err, p);
	err = err ? err : done;
	done = close_table(c, &groups, !err, p);
	return err ? err : done;
}
