// SPDX-License-Identifier: Apache-2.0
// Debian packages that are not installed: apt says which versions it would install, fetches them and checks their signatures; they are
// unpacked below the project's build/packages, where copying finds their files before this machine's own.
//
//	build/packages/NAME_VERSION_ARCH.deb	as fetched; used again while apt wants the same one
//	build/packages/root/			all of them, unpacked
//	build/packages/info/NAME.list, .postinst, .preinst, .version
#include "image/debian_fetch.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/encrypt.h"
#include "image/tool.h"

enum { SAID_MAX_BYTES = 64 << 20 };

struct wanted {
	char *name, *version, *kind;	// kind: amd64 or all
	char *deb;
};

struct fetch {
	struct wanted *items;
	size_t count;
	char *packages, *root, *info;	// folders
};

static void free_fetch(struct fetch *f)
{
	for (size_t i = 0; i < f->count; i++) {
		free(f->items[i].name);
		free(f->items[i].version);
		free(f->items[i].kind);
		free(f->items[i].deb);
	}
	free(f->items);
	free(f->packages);
	free(f->root);
	free(f->info);
}

// "Inst NAME [OLD] (VERSION SUITE [KIND])": OLD only where it is an upgrade.
static void parse_plan(struct fetch *f, char *plan)
{
	char *save = NULL;

	for (char *line = strtok_r(plan, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *open = strchr(line, '('), *close = open ? strchr(open, ')') : NULL, *kind;
		struct wanted w = {0};

		if (!starts_with(line, "Inst ") || !close)
			continue;
		*close = '\0';
		kind = strrchr(open, '[');
		w.name = xstrndup(line + 5, strcspn(line + 5, " :"));
		w.version = xstrndup(open + 1, strcspn(open + 1, " "));
		w.kind = kind ? xstrndup(kind + 1, strcspn(kind + 1, "]")) : xstrdup("amd64");
		if (strchr(w.name, '/') || strchr(w.version, '/')) {
			free(w.name), free(w.version), free(w.kind);
			continue;
		}
		f->items = xrealloc(f->items, (f->count + 1) * sizeof(*f->items));
		f->items[f->count++] = w;
	}
}

static int plan(struct fetch *f, const char *what, bool recommends, struct fault *p)
{
	char *argv[] = {(char *)"apt-get", (char *)"-s", (char *)"-qq", (char *)"-y", (char *)"-o", (char *)"Debug::NoLocking=true",
			(char *)(recommends ? "--install-recommends" : "--no-install-recommends"), (char *)"install", (char *)"--", (char *)what, NULL};
	struct text said = {0};
	struct fault why;
	int err = tool_run(argv, NULL, SAID_MAX_BYTES, &said, &why);

	if (err == -ENOENT)
		err = fault_set(p, err, "the Debian package %s is not installed, and there is no apt-get on this machine to get it", what);
	else if (err)
		err = fault_set(p, -ENOENT, "the Debian package %s is not installed, and apt cannot get it:\n  %s\n  hint: `apt-get update` renews what apt "
				"knows; or install it: apt-get install %s", what, why.text, what);
	else
		parse_plan(f, said.data ? said.data : (char *)"");
	if (!err && !f->count)
		err = fault_set(p, -ENOENT, "the Debian package %s is not installed, and apt would install nothing for it", what);
	text_free(&said);
	return err;
}

static bool has_hash(const char *deb, const char *want)
{
	int fd = open(deb, O_RDONLY | O_CLOEXEC);
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	unsigned char buffer[65536], sum[32];
	bool good = fd >= 0 && digest && EVP_DigestInit_ex(digest, EVP_sha256(), NULL);
	char hex[65];
	ssize_t n = 0;

	while (good && (n = read(fd, buffer, sizeof(buffer))) > 0)
		good = EVP_DigestUpdate(digest, buffer, (size_t)n);
	good = good && !n && EVP_DigestFinal_ex(digest, sum, NULL) && !strcmp(hex_text(hex, sum, sizeof(sum)), want);
	EVP_MD_CTX_free(digest);
	if (fd >= 0)
		close(fd);
	return good;
}

// apt's own record of a package, whose hash the signed list of the archive gave.
static int show(const struct wanted *w, struct text *control, char hash[65], struct fault *p)
{
	char *name = xasprintf("%s=%s", w->name, w->version), *at;
	char *argv[] = {(char *)"apt-cache", (char *)"show", (char *)"--no-all-versions", (char *)"--", name, NULL};
	int err = tool_run(argv, NULL, 4 << 20, control, p);

	hash[0] = '\0';
	at = err || !control->data ? NULL : strstr(control->data, "\nSHA256: ");
	if (!err && (!at || strspn(at + 9, "0123456789abcdef") != 64))
		err = fault_set(p, -EBADMSG, "apt knows no SHA-256 of %s: coffer takes packages from signed archives only", name);
	if (!err)
		snprintf(hash, 65, "%.64s", at + 9);
	free(name);
	return err;
}

// As apt-get download calls the file.
static char *deb_path(const struct fetch *f, const struct wanted *w)
{
	struct text t = {0};

	text_printf(&t, "%s/%s_", f->packages, w->name);
	for (const char *c = w->version; *c; c++)
		if (*c == ':')
			text_puts(&t, "%3a");
		else
			text_add(&t, c, 1);
	text_printf(&t, "_%s.deb", w->kind);
	return t.data;
}

static int download(struct fetch *f, struct wanted *w, const char *hash, FILE *report, struct fault *p)
{
	char *name = xasprintf("%s=%s", w->name, w->version);
	char *argv[] = {(char *)"apt-get", (char *)"-qq", (char *)"download", (char *)"--", name, NULL};
	int err = 0;

	w->deb = deb_path(f, w);
	if (has_hash(w->deb, hash))
		goto out;
	unlink(w->deb);
	err = tool_run(argv, f->packages, SAID_MAX_BYTES, NULL, p);
	if (!err && !has_hash(w->deb, hash))
		err = fault_set(p, -EBADMSG, "%s is not what the archive's signed list says (SHA-256)", w->deb);
	else if (!err && report)
		fprintf(report, "  fetched %s %s, for the image only\n", w->name, w->version);
out:
	free(name);
	return err;
}

// dpkg-deb --fsys-tarfile DEB | tar -x: links of this folder's top (lib -> usr/lib) are kept.
static int untar(const char *deb, const char *root, struct text *names, struct fault *p)
{
	char *script = (char *)"set -o pipefail; dpkg-deb --fsys-tarfile \"$1\" | tar -x -v -f - -C \"$2\" --keep-directory-symlink "
			       "--no-same-owner --quoting-style=literal";
	char *argv[] = {(char *)"bash", (char *)"-c", script, (char *)"bash", (char *)deb, (char *)root, NULL};

	return tool_run(argv, NULL, SAID_MAX_BYTES, names, p);
}

// What an older version left.
static void remove_old(const struct fetch *f, const char *list)
{
	struct fault ignored;
	struct text old = {0};
	char *save = NULL;

	if (!text_read_file(&old, list, SAID_MAX_BYTES, &ignored))
		for (char *line = strtok_r(old.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
			char *path = xasprintf("%s%s", f->root, line);

			unlink(path);
			free(path);
		}
	text_free(&old);
}

// dpkg's list has "/usr/bin/x" where tar says "./usr/bin/x" and, of folders, "./usr/bin/".
static void write_names(char *said, struct text *names)
{
	char *save = NULL;

	text_puts(names, "");
	for (char *line = strtok_r(said, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		size_t n = strlen(line);

		if (n && line[n - 1] == '/')
			line[--n] = '\0';
		if (n > 1 && line[0] == '.' && line[1] == '/')
			text_printf(names, "%s\n", line + 1);
	}
}

static int unpack(struct fetch *f, const struct wanted *w, struct fault *p)
{
	char *stamp = xasprintf("%s/%s.version", f->info, w->name), *list = xasprintf("%s/%s.list", f->info, w->name);
	char *control = xasprintf("%s/control.tmp", f->info);
	struct text have = {0}, said = {0}, names = {0};
	struct fault ignored;
	int err = 0;

	if (!text_read_file(&have, stamp, 4096, &ignored) && !strcmp(have.data, w->version) && !access(list, F_OK))
		goto out;
	remove_old(f, list);
	unlink(stamp);
	err = untar(w->deb, f->root, &said, p);
	if (!err)
		err = image_remove_tree(control, p);
	if (!err) {
		char *argv[] = {(char *)"dpkg-deb", (char *)"-e", w->deb, control, NULL};

		err = tool_run(argv, NULL, SAID_MAX_BYTES, NULL, p);
	}
	for (int i = 0; i < 2 && !err; i++) {
		const char *script = i ? "preinst" : "postinst";
		char *from = xasprintf("%s/%s", control, script), *to = xasprintf("%s/%s.%s", f->info, w->name, script);

		unlink(to);
		if (rename(from, to) < 0 && errno != ENOENT)
			err = fault_errno(p, errno, "cannot keep %s", to);
		free(from);
		free(to);
	}
	if (!err)
		err = image_remove_tree(control, p);
	if (!err) {
		write_names(said.data ? said.data : (char *)"", &names);
		err = text_write_file(list, names.data, names.len, p);
	}
	if (!err)
		err = text_write_file(stamp, w->version, strlen(w->version), p);
out:
	text_free(&have);
	text_free(&said);
	text_free(&names);
	free(stamp);
	free(list);
	free(control);
	return err;
}

static int make_folders(struct fetch *f, const char *project, struct fault *p)
{
	static const char *const links[][2] = {{"bin", "usr/bin"}, {"sbin", "usr/sbin"}, {"lib", "usr/lib"}, {"lib64", "usr/lib64"}};
	char *build = xasprintf("%s/build", project), *usr;
	int err = 0;

	f->packages = xasprintf("%s/packages", build);
	f->root = xasprintf("%s/root", f->packages);
	f->info = xasprintf("%s/info", f->packages);
	usr = xasprintf("%s/usr", f->root);
	const char *const folders[] = {build, f->packages, f->root, f->info, usr};
	for (int i = 0; i < 5 && !err; i++)
		if (mkdir(folders[i], 0755) < 0 && errno != EEXIST)
			err = fault_errno(p, errno, "cannot make the folder %s", folders[i]);
	for (int i = 0; i < 4 && !err; i++) {
		char *folder = xasprintf("%s/%s", f->root, links[i][1]), *link = xasprintf("%s/%s", f->root, links[i][0]);

		if ((mkdir(folder, 0755) < 0 && errno != EEXIST) || (symlink(links[i][1], link) < 0 && errno != EEXIST))
			err = fault_errno(p, errno, "cannot make %s", link);
		free(folder);
		free(link);
	}
	free(usr);
	free(build);
	return err;
}

int debian_fetch(struct debian *d, const char *project, const char *what, bool recommends, FILE *report, struct fault *p)
{
	struct fetch f = {0};
	int err = make_folders(&f, project, p);

	if (!err)
		err = plan(&f, what, recommends, p);
	for (size_t i = 0; i < f.count && !err; i++) {
		struct text control = {0};
		char hash[65];

		err = show(&f.items[i], &control, hash, p);
		if (!err)
			err = download(&f, &f.items[i], hash, report, p);
		if (!err)
			err = unpack(&f, &f.items[i], p);
		if (!err)
			debian_add(d, control.data, f.info, true);
		text_free(&control);
	}
	free_fetch(&f);
	return err;
}
