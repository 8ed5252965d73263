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
		"@/../legal/java.base", "/usr/lib/jvm/default-java", "/usr/lib/jvm/java-1.*-openjdk-*"}},
	{"*/bin/node", "files of node", {"/usr/share/nodejs", "/usr/lib/x86_64-linux-gnu/nodejs", "/usr/lib/node_modules", "/usr/local/lib/node_modules"}},
	{"*/bin/ruby[0-9]*", "libraries of ruby", {"/usr/lib/ruby", "/usr/lib/x86_64-linux-gnu/ruby", "/var/lib/gems", "/usr/share/rubygems-integration"}},
	{"*/bin/php[0-9]*", "modules of php", {"/usr/lib/php", "/etc/php", "/usr/share/php", "/usr/share/zoneinfo"}},
	{"*/bin/lua5.*", "modules of lua", {"/usr/share/lua", "/usr/lib/x86_64-linux-gnu/lua"}},
	{"*/bin/Rscript", "R", {"/usr/lib/R/bin"}},
	{"*/lib/R/bin/*", "libraries of R", {"/usr/lib/R", "/usr/share/R", "/etc/R", "/usr/local/lib/R", "debian:r-cran-*",
		"/bin/bash", "/bin/sh", "/usr/bin/which", "/usr/bin/sed", "/usr/bin/uname", "/usr/bin/rm"}},
	{"*/lib/erlang/*", "libraries of Erlang", {"/usr/lib/erlang"}},
	{"*/libtcl8.6.so*", "library of Tcl", {"/usr/share/tcltk", "/usr/lib/tcltk"}},
	{"*/bin/gawk", "library of gawk", {"/usr/share/awk", "/usr/lib/x86_64-linux-gnu/gawk"}},
	{"*/bin/vim.*", "run-time files of vim", {"/usr/share/vim", "/etc/vim"}},
	{"*/bin/apache2", "modules of apache", {"/usr/lib/apache2/modules", "/etc/apache2", "/etc/mime.types"}},
	{"*/bin/nginx", "modules and configuration of nginx", {"/usr/lib/nginx/modules", "/usr/share/nginx", "/etc/nginx"}},
	{"*/postgresql/*/bin/postgres", "libraries, extensions and time zones of PostgreSQL", {"debian:postgresql-[0-9][0-9]", "/usr/share/zoneinfo"}},
	{"*/postgresql-common/pg_wrapper", "programs of PostgreSQL's clients", {"/usr/share/postgresql-common", "/usr/share/perl5/PgCommon.pm",
		"/usr/lib/postgresql/*/bin/psql", "/usr/lib/postgresql/*/bin/pg_*"}},
	{"*/bin/mariadbd", "plug-ins and messages of MariaDB", {"/usr/lib/mysql/plugin", "/usr/share/mysql", "/etc/mysql"}},
	{"*/bin/x86_64-linux-gnu-gcc-*", "C compiler", {"debian:gcc-[0-9][0-9]", "debian:cpp-[0-9][0-9]", "debian:libgcc-[0-9][0-9]-dev",
		"debian:libc6-dev", "debian:linux-libc-dev", "debian:libcrypt-dev", "debian:binutils-x86-64-linux-gnu", "debian:binutils"}},
	{"*/bin/x86_64-linux-gnu-g++-*", "C++ compiler", {"debian:g++-[0-9][0-9]", "debian:libstdc++-[0-9][0-9]-dev"}},
	{"*/go-1.*/bin/go", "Go toolchain", {"debian:golang-1.*-go", "debian:golang-1.*-src"}},
	{"*/bin/rustc", "libraries of Rust", {"/usr/lib/rustlib", "/usr/lib/x86_64-linux-gnu/librustc_driver-*.so"}},
	{"*/llvm-*/bin/clang*", "headers of clang", {"@/../lib/clang"}},
	{"*/libtinfo.so.6*", "terminal descriptions", {"/lib/terminfo"}},
	{"*/libcrypto.so.3", "configuration, providers and engines of OpenSSL", {"/usr/lib/ssl/openssl.cnf", "/usr/lib/x86_64-linux-gnu/ossl-modules",
		"/usr/lib/x86_64-linux-gnu/engines-3"}},
	{"*/libssl.so.3", "certificates of public authorities", {"/usr/lib/ssl/cert.pem"}},
	{"*/libgnutls.so.30*", "certificates of public authorities", {"/etc/ssl/certs/ca-certificates.crt"}},
	{"/usr/sbin/update-ca-certificates", "certificates of authorities", {"/etc/ssl/certs", "/usr/lib/ssl/certs"}},
	{"/etc/nsswitch.conf", "name services", {"/lib/x86_64-linux-gnu/libnss_*.so.2"}},
	{"*/libpam.so.0*", "modules and configuration of PAM", {"/lib/x86_64-linux-gnu/security/pam_[!s]*.so", "/etc/pam.d", "/etc/security"}},
	{"*/libsasl2.so.2*", "plug-ins of SASL", {"/usr/lib/x86_64-linux-gnu/sasl2"}},
	{"*/libkrb5.so.3*", "plug-ins of Kerberos", {"/usr/lib/x86_64-linux-gnu/krb5/plugins"}},
	{"*/libgstreamer-1.0.so.0*", "plug-ins of GStreamer", {"/usr/lib/x86_64-linux-gnu/gstreamer-1.0", "/usr/lib/x86_64-linux-gnu/gstreamer1.0"}},
	{"*/libgio-2.0.so.0*", "modules of GIO", {"/usr/lib/x86_64-linux-gnu/gio/modules"}},
	{"*/libgdk_pixbuf-2.0.so.0*", "formats of gdk-pixbuf", {"/usr/lib/x86_64-linux-gnu/gdk-pixbuf-2.0"}},
	{"*/libMagickCore-6.*", "coders of ImageMagick", {"/usr/lib/x86_64-linux-gnu/ImageMagick-*", "/etc/ImageMagick-6"}},
	{"*/libfontconfig.so.1*", "fonts", {"/etc/fonts", "/usr/share/fontconfig", "/usr/share/fonts/truetype/dejavu"}},
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
			err = copy_debian_files(c, package, COPY_OPTIONAL | COPY_RUNTIME, pack->what, p);
			free(package);
		}
		free(pattern);
		free(pattern_any);
	} else {
		char *inside = c->unpacked ? xasprintf("%s%s", c->unpacked, path.data) : NULL;

		if (!glob(path.data, 0, NULL, &found))
			for (size_t i = 0; i < found.gl_pathc; i++)
				copy_queue(c, found.gl_pathv[i], NULL, COPY_OPTIONAL | COPY_RUNTIME | (i ? COPY_QUIET : 0), "%s (heuristic)", pack->what);
		globfree(&found);
		found = (glob_t){0};
		if (inside && !glob(inside, 0, NULL, &found))
			for (size_t i = 0; i < found.gl_pathc; i++)
				copy_queue(c, found.gl_pathv[i] + strlen(c->unpacked), NULL, COPY_OPTIONAL | COPY_RUNTIME, "%s (heuristic)", pack->what);
		free(inside);
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
