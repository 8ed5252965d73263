// SPDX-License-Identifier: Apache-2.0
// Debian packages in `coffer copy`: their files, with those of the packages that they need, and what their maintainer scripts would have
// made as far as that can be known (debian_script.c).
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/copy.h"
#include "image/debian_fetch.h"

enum { LIST_MAX_BYTES = 64 << 20, SCRIPT_MAX_BYTES = 4 << 20 };

static bool begins_with_one(const char *path, const char *const *prefixes)
{
	for (int i = 0; prefixes[i]; i++)
		if (starts_with(path, prefixes[i]))
			return true;
	return false;
}

// Documentation, translations, services and packaging data do nothing in an enclave.
static bool is_documentation(const char *path)
{
	static const char *const prefixes[] = {
		"/usr/share/doc/", "/usr/share/doc-base/", "/usr/share/man/", "/usr/share/info/", "/usr/share/locale/", "/usr/share/gtk-doc/",
		"/usr/share/lintian/", "/usr/share/bug/", "/usr/share/applications/", "/usr/share/bash-completion/", "/usr/share/menu/",
		"/etc/init.d/", "/etc/cron", "/lib/systemd/", "/usr/lib/systemd/", "/usr/share/pixmaps/", "/usr/share/icons/", "/usr/share/metainfo/",
		"/etc/logrotate.d/", "/etc/ufw/", "/etc/insserv", "/usr/share/apport/", "/usr/share/zsh/", "/usr/share/fish/", "/lib/udev/",
		"/usr/lib/udev/", "/usr/lib/tmpfiles.d/", NULL,
	};

	return begins_with_one(path, prefixes);
}

// Tests of Python modules are as large as the modules.
static bool is_test(const char *path)
{
	return strstr(path, "/dist-packages/") && (strstr(path, "/tests/") || strstr(path, "/test/") || strstr(path, ".opt-"));
}

// The files of one package, and the folders that it leaves empty. `files` (may be NULL) gets their names.
static int copy_list(struct copier *c, const char *list_path, const char *package, int flags, struct string_set *files, struct fault *p)
{
	struct text list = {0};
	char *save = NULL, *next;
	int err = text_read_file(&list, list_path, LIST_MAX_BYTES, p);

	for (char *line = err ? NULL : strtok_r(list.data, "\n", &save); line; line = next) {
		int how = flags | COPY_QUIET | COPY_OPTIONAL | COPY_LINKS;
		size_t n = strlen(line);
		struct stat st;

		next = strtok_r(NULL, "\n", &save);
		if (files)
			string_set_add(files, line, NULL);
		if (line[0] != '/' || !line[1] || line[1] == '.' || is_documentation(line) || (files && is_test(line)) || !copy_host(c, line, NULL, &st))
			continue;
		if (S_ISDIR(st.st_mode)) {
			if ((next && !strncmp(next, line, n) && next[n] == '/') || !files)
				continue;
			how |= COPY_FOLDER;
		} else if (strstr(line, "/dist-packages/")) {
			how |= COPY_RUNTIME;
		}
		copy_queue(c, line, NULL, how, "file of the Debian package %s", package);
	}
	text_free(&list);
	return err;
}

int copy_debian_files(struct copier *c, const char *package, int flags, const char *reason, struct fault *p)
{
	char *path = xasprintf("/var/lib/dpkg/info/%s.list", package);
	struct fault ignored;
	int err = 0;

	if (strchr(package, '/') || !*package) {
		err = fault_set(p, -EINVAL, "'%s' is not the name of a Debian package", package);
		goto out;
	}
	if (!string_set_add(&c->packs_done, path, NULL))
		goto out;
	if (access(path, R_OK) < 0) {
		free(path);
		path = xasprintf("/var/lib/dpkg/info/%s:amd64.list", package);
	}
	if (copy_list(c, path, package, flags, NULL, &ignored)) {
		if (!(flags & COPY_OPTIONAL))
			err = fault_set(p, -ENOENT, "the Debian package %s is not installed: apt-get install %s", package, package);
	} else if (c->report && !c->report_files) {
		fprintf(c->report, "  debian:%-45s %s\n", package, reason);
	}
out:
	free(path);
	return err;
}

// ---- what maintainer scripts would have done ----

// Where an image's own files are: made by coffer, or by the kernel at start.
static bool is_ours(const char *path)
{
	static const char *const prefixes[] = {
		"/proc", "/sys", "/dev", "/run", "/tmp", "/var/run", "/var/lock", "/.coffer", "/bin", "/sbin", "/lib", "/usr/bin", "/usr/sbin", NULL,
	};

	return begins_with_one(path, prefixes);
}

// A file of the machine's configuration or state, which no package has, that a script names: it may be what the script made.
static bool may_be_made(const char *path)
{
	static const char *const below[] = {"/etc/", "/var/", "/srv/", "/opt/", "/usr/local/", NULL};
	static const char *const not_below[] = {"/var/lib/dpkg/", "/var/cache/debconf/", "/var/run", "/var/lock", "/var/log/", "/etc/init.d/",
						"/etc/default/", "/etc/rc", "/etc/cron", "/etc/passwd", "/etc/group", "/etc/shadow",
						"/var/lib/systemd/", "/etc/hosts", "/etc/networks", "/etc/hostname", "/etc/localtime",
						"/etc/timezone", "/etc/locale.gen", "/etc/inputrc", NULL};

	return begins_with_one(path, below) && !begins_with_one(path, not_below);
}

static void take_accounts(struct debian_script *all, struct debian_script *one)
{
	for (size_t i = 0; i < one->account_count; i++) {
		struct debian_account *a = &one->accounts[i];
		bool have = false;

		for (size_t k = 0; k < all->account_count; k++)
			have = have || (all->accounts[k].user == a->user && !strcmp(all->accounts[k].name, a->name));
		if (have)
			continue;
		all->accounts = xrealloc(all->accounts, (all->account_count + 1) * sizeof(*all->accounts));
		all->accounts[all->account_count++] = *a;
		*a = (struct debian_account){0};
	}
}

// "LINK NAME PATH" of a package that is not installed: what update-alternatives would have made. The first one stays.
static int make_alternative(struct copier *c, char *line, const struct string_set *files, struct fault *p)
{
	char *save = NULL, *link = strtok_r(line, " ", &save), *name = strtok_r(NULL, " ", &save), *path = strtok_r(NULL, " ", &save), *place;
	struct stat st;
	int err = 0;

	if (!path || is_documentation(link) || strchr(name, '/') || !string_set_has(files, path))
		return 0;
	place = xasprintf("/etc/alternatives/%s", name);
	if (!tree_stat(&c->tree, place, &st))
		err = tree_symlink(&c->tree, place, path, p);
	if (!err && !tree_stat(&c->tree, link, &st))
		err = tree_symlink(&c->tree, link, place, p);
	free(place);
	return err;
}

// The links of this machine's alternatives that lead to files of the package.
static void copy_alternatives(struct copier *c, const struct debian_package *k, const struct string_set *files)
{
	struct dirent *entry;
	DIR *d = opendir("/etc/alternatives");

	while (d && (entry = readdir(d))) {
		char *path = xasprintf("/etc/alternatives/%s", entry->d_name), target[4096];
		ssize_t n = readlink(path, target, sizeof(target) - 1);
		const char *link;

		if (n > 0) {
			target[n] = '\0';
			link = string_set_has(files, target) ? debian_alternative(c->debian, entry->d_name) : NULL;
			if (link && !is_documentation(link) && !is_documentation(target))
				copy_queue(c, link, NULL, COPY_OPTIONAL | COPY_QUIET | COPY_LINKS, "alternative of the Debian package %s", k->name);
		}
		free(path);
	}
	if (d)
		closedir(d);
}

// Configuration that a package's script made with ucf: the registry has "PACKAGE \t PATH".
static void copy_ucf(struct copier *c, const struct debian_package *k, struct string_set *files)
{
	struct fault ignored;
	struct text text = {0};
	char *save = NULL;

	if (!text_read_file(&text, "/var/lib/ucf/registry", 4 << 20, &ignored))
		for (char *line = strtok_r(text.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
			size_t n = strcspn(line, " \t");
			char *path = line + n + strspn(line + n, " \t");

			path[strcspn(path, " \t")] = '\0';
			if (n == strlen(k->name) && !memcmp(line, k->name, n) && path[0] == '/') {
				copy_queue(c, path, NULL, COPY_OPTIONAL | COPY_LINKS, "made by the Debian package %s", k->name);
				string_set_add(files, path, NULL);
			}
		}
	text_free(&text);
}

static void tell_undone(struct copier *c, const struct debian_package *k, const struct debian_script *s)
{
	struct text line = {0};

	for (size_t i = 0; i < s->commands.count; i++)
		text_printf(&line, "%s%s", i ? ", " : "", s->commands.items[i]);
	if (line.len && (!k->why || c->report_files)) {
		char *text = xasprintf("the maintainer script of %s also calls %s: not done (%s.postinst)", k->name, line.data, k->info);

		string_list_add(&c->undone, text);
		free(text);
	}
	for (size_t i = 0; i < s->unclear.count; i++) {
		char *text = xasprintf("the maintainer script of %s makes a user in a way that is not understood: %s", k->name, s->unclear.items[i]);

		string_list_add(&c->undone, text);
		free(text);
	}
	text_free(&line);
}

static int apply_scripts(struct copier *c, const struct debian_package *k, struct string_set *files, struct fault *p)
{
	static const char *const endings[] = {"preinst", "postinst"};
	struct debian_script s = {0};
	struct fault ignored;
	int err = 0;

	for (int i = 0; i < 2; i++) {
		char *path = xasprintf("%s.%s", k->info, endings[i]);
		struct text text = {0};

		if (!text_read_file(&text, path, SCRIPT_MAX_BYTES, &ignored))
			debian_script_read(&s, text.data, text.len);
		text_free(&text);
		free(path);
	}
	for (size_t i = 0; i < files->capacity; i++) {
		const char *name = files->slots[i].key;
		struct text text = {0};
		char host[4096];

		if (!name || !starts_with(name, "/usr/lib/sysusers.d/") || !ends_with(name, ".conf"))
			continue;
		if (copy_host(c, name, host, NULL) && !text_read_file(&text, host, SCRIPT_MAX_BYTES, &ignored))
			debian_sysusers_read(&s, text.data, text.len);
		text_free(&text);
	}
	take_accounts(&c->accounts, &s);
	for (size_t i = 0; i < s.folders.count && !err; i++)
		if (!is_ours(s.folders.items[i]) && !is_documentation(s.folders.items[i]) && !strstr(s.folders.items[i], "/../"))
			err = tree_mkdirs(&c->tree, s.folders.items[i], p);
	for (size_t i = 0; i < s.alternatives.count && k->unpacked && !err; i++)
		err = make_alternative(c, s.alternatives.items[i], files, p);
	if (!k->unpacked) {
		copy_alternatives(c, k, files);
		copy_ucf(c, k, files);
	}
	for (size_t i = 0; i < s.paths.count && !k->unpacked; i++) {
		struct stat st;

		if (may_be_made(s.paths.items[i]) && !string_set_has(files, s.paths.items[i]) && !lstat(s.paths.items[i], &st) && !S_ISDIR(st.st_mode)) {
			char *text = xasprintf("%s, which the maintainer script of %s names, is not brought; if it is wanted: coffer copy %s", s.paths.items[i],
					       k->name, s.paths.items[i]);

			string_list_add(&c->undone, text);
			free(text);
		}
	}
	tell_undone(c, k, &s);
	debian_script_free(&s);
	return err;
}

// ---- a package with what it needs ----

static int copy_one(void *ctx, struct debian_package *k, struct fault *p)
{
	struct copier *c = ctx;
	char *list = xasprintf("%s.list", k->info);
	struct string_set files = {0};
	int err = 0;

	if (!string_set_add(&c->packs_done, list, NULL))
		goto out;
	// Interpreters of a dependency's scripts are dependencies in their turn, or are not wanted.
	err = copy_list(c, list, k->name, k->why ? COPY_RUNTIME : 0, &files, p);
	if (!err && c->report && !c->report_files) {
		if (k->why)
			fprintf(c->report, "  debian:%-45s needed by %s\n", k->name, k->why);
		else
			fprintf(c->report, "  debian:%-45s you asked for it\n", k->name);
	}
	if (!err)
		err = apply_scripts(c, k, &files, p);
out:
	string_set_free(&files);
	free(list);
	return err;
}

static int open_packages(struct copier *c, struct fault *p)
{
	if (c->debian)
		return 0;
	c->debian = xmalloc(sizeof(*c->debian));
	return debian_read(c->debian, "", p);
}

int copy_debian_package(struct copier *c, const char *item, struct fault *p)
{
	bool recommends = ends_with(item, "+recommends");
	char *what = xstrndup(item, strlen(item) - (recommends ? strlen("+recommends") : 0)), *name = xstrndup(what, strcspn(what, "="));
	const char *version = what[strlen(name)] ? what + strlen(name) + 1 : NULL;
	struct string_list missing = {0};
	struct debian_package *k;
	int err = open_packages(c, p);

	if (err)
		goto out;
	if (!*name || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789+-.") != strlen(name) || name[0] == '-') {
		err = fault_set(p, -EINVAL, "'%s' is not the name of a Debian package", name);
		goto out;
	}
	k = debian_find(c->debian, name);
	if (!k || (version && (!k->version || strcmp(k->version, version)))) {
		err = debian_fetch(c->debian, c->config->project, what, recommends, c->report, p);
		if (!err)
			err = copy_unpacked(c, p);
	}
	if (!err)
		err = debian_closure(c->debian, name, recommends, copy_one, c, &missing, p);
	if (!err)
		copy_queue(c, "/bin/sh", NULL, COPY_OPTIONAL, "each Debian has a shell");
	c->base_users = true;
	for (size_t i = 0; i < missing.count && !err; i++)
		copy_note(c, "not on this machine, left out: %s", missing.items[i]);
out:
	string_list_free(&missing);
	free(name);
	free(what);
	return err;
}
