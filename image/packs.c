// SPDX-License-Identifier: Apache-2.0
// Data that well-known programs and libraries need and that no file format tells: one row a program. A row is applied
// when a file whose path in the image matches is copied.
#include <errno.h>
#include <fnmatch.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image/copy.h"

struct pack {
	const char *pattern;		// of the path in the image, fnmatch(3)
	const char *what;		// for the report
	const char *needs[12];		// paths (glob(3); @ is the matching file's folder) or debian:PACKAGE (glob); all optional
};

static const struct pack packs[] = {
	{"/usr/bin/python3.*", "standard library of python3", {"/usr/lib/%s", "/etc/%s/sitecustomize.py", "/bin/sh"}},
	{"*/perl", "modules of perl", {"debian:perl-base", "debian:perl-modules-5.*", "debian:libperl5.*", "debian:perl", "/bin/sh"}},
	{"*/bin/git", "parts of git", {"debian:git", "/bin/sh"}},
	{"*/jvm/*/bin/*", "Java runtime", {"@/../lib", "@/../conf", "@/../release", "@/../bin", "/etc/java-*-openjdk",
		"@/../legal/java.base"}},
	{"*/bin/node", "files of node", {"/usr/share/nodejs", "/usr/lib/x86_64-linux-gnu/nodejs"}},
	{"*/bin/x86_64-linux-gnu-gcc-*", "C compiler", {"debian:gcc-[0-9][0-9]", "debian:cpp-[0-9][0-9]", "debian:libgcc-[0-9][0-9]-dev",
		"debian:libc6-dev", "debian:linux-libc-dev", "debian:libcrypt-dev", "debian:binutils-x86-64-linux-gnu", "debian:binutils"}},
	{"*/bin/x86_64-linux-gnu-g++-*", "C++ compiler", {"debian:g++-[0-9][0-9]", "debian:libstdc++-[0-9][0-9]-dev"}},
	{"*/go-1.*/bin/go", "Go toolchain", {"debian:golang-1.*-go", "debian:golang-1.*-src"}},
	{"*/libtinfo.so.6*", "terminal descriptions", {"/lib/terminfo"}},
	{"*/libcrypto.so.3", "configuration of OpenSSL", {"/usr/lib/ssl/openssl.cnf", "/usr/lib/x86_64-linux-gnu/ossl-modules"}},
	{"*/libmagic.so.1*", "file types", {"/usr/lib/file/magic.mgc", "/usr/share/misc/magic.mgc"}},
	{"*/bin/iconv", "character sets", {"/usr/lib/x86_64-linux-gnu/gconv"}},
	{"*/dist-packages/pytz/__init__.py", "time zones", {"/usr/share/zoneinfo"}},
	{"*/dist-packages/dateutil/__init__.py", "time zones", {"/usr/share/zoneinfo"}},
	{"*/ld-musl-x86_64.so.1", "search path of musl", {"/etc/ld-musl-x86_64.path"}},
	{"*/lib/x86_64-linux-musl/libc.so", "search path of musl", {"/etc/ld-musl-x86_64.path"}},
};

static int add_need(struct copier *c, const struct pack *pack, const char *image_path, const char *need, struct fault *p)
{
	const char *base = strrchr(image_path, '/') + 1;
	struct text path = {0};
	glob_t found = {0};
	int err = 0;

	for (const char *at = need; *at; at++) {
		if (at[0] == '%' && at[1] == 's') {
			text_puts(&path, base);
			at++;
		} else if (*at == '@') {
			text_add(&path, image_path, (size_t)(base - 1 - image_path));
		} else {
			text_add(&path, at, 1);
		}
	}
	if (starts_with(path.data, "debian:")) {
		char *pattern = xasprintf("/var/lib/dpkg/info/%s.list", path.data + 7);
		char *pattern_any = xasprintf("/var/lib/dpkg/info/%s:amd64.list", path.data + 7);

		glob(pattern, 0, NULL, &found);
		glob(pattern_any, GLOB_APPEND, NULL, &found);
		for (size_t i = 0; i < found.gl_pathc && !err; i++) {
			char *package = xstrdup(strrchr(found.gl_pathv[i], '/') + 1);

			package[strlen(package) - strlen(".list")] = '\0';
			err = copy_debian_package(c, package, COPY_OPTIONAL | COPY_RUNTIME, pack->what, p);
			free(package);
		}
		free(pattern);
		free(pattern_any);
	} else {
		if (!glob(path.data, 0, NULL, &found))
			for (size_t i = 0; i < found.gl_pathc; i++)
				copy_queue(c, found.gl_pathv[i], NULL, COPY_OPTIONAL | COPY_RUNTIME, "%s", pack->what);
	}
	globfree(&found);
	text_free(&path);
	return err;
}

int copy_pack(struct copier *c, const char *image_path, struct fault *p)
{
	const char *base = strrchr(image_path, '/') + 1;
	int err = 0;

	if (starts_with(base, "python3.") && !ends_with(base, "-config") && starts_with(image_path, "/usr/bin/")) {
		free(c->python_version);
		c->python_version = xstrdup(base + strlen("python"));
	}
	for (size_t i = 0; i < sizeof(packs) / sizeof(*packs) && !err; i++) {
		if (fnmatch(packs[i].pattern, image_path, 0) != 0 || !string_set_add(&c->packs_done, packs[i].pattern, NULL))
			continue;
		for (int k = 0; k < 12 && packs[i].needs[k] && !err; k++)
			err = add_need(c, &packs[i], image_path, packs[i].needs[k], p);
	}
	return err;
}

// Documentation, translations and packaging data do nothing in an enclave.
static bool is_documentation(const char *path)
{
	static const char *const prefixes[] = {
		"/usr/share/doc/", "/usr/share/doc-base/", "/usr/share/man/", "/usr/share/info/", "/usr/share/locale/",
		"/usr/share/lintian/", "/usr/share/bug/", "/usr/share/applications/", "/usr/share/bash-completion/", "/usr/share/menu/",
		"/etc/init.d/", "/etc/cron", "/lib/systemd/", "/usr/lib/systemd/", "/usr/share/pixmaps/", "/usr/share/icons/", NULL,
	};

	for (int i = 0; prefixes[i]; i++)
		if (starts_with(path, prefixes[i]))
			return true;
	return false;
}

int copy_debian_package(struct copier *c, const char *package, int flags, const char *reason, struct fault *p)
{
	char *path = xasprintf("/var/lib/dpkg/info/%s.list", package), *line, *save = NULL;
	struct fault ignored;
	struct text list = {0};
	int err = 0;

	if (strchr(package, '/') || !*package) {
		err = fault_set(p, -EINVAL, "'%s' is not the name of a Debian package", package);
		goto out;
	}
	if (!string_set_add(&c->packs_done, path, NULL))
		goto out;
	if (text_read_file(&list, path, 64 << 20, &ignored)) {
		free(path);
		path = xasprintf("/var/lib/dpkg/info/%s:amd64.list", package);
		if (text_read_file(&list, path, 64 << 20, &ignored)) {
			if (!(flags & COPY_OPTIONAL))
				err = fault_set(p, -ENOENT, "the Debian package %s is not installed: apt-get install %s", package, package);
			goto out;
		}
	}
	if (c->report && !c->report_files)
		fprintf(c->report, "  debian:%-45s %s\n", package, reason);
	for (line = strtok_r(list.data, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		struct stat st;

		if (line[0] != '/' || !line[1] || line[1] == '.' || is_documentation(line) || lstat(line, &st) < 0 || S_ISDIR(st.st_mode))
			continue;
		copy_queue(c, line, NULL, flags | COPY_QUIET | COPY_OPTIONAL | COPY_LINKS, "file of the Debian package %s", package);
	}
out:
	text_free(&list);
	free(path);
	return err;
}
