// SPDX-License-Identifier: Apache-2.0
// Debian packages as they are read: dpkg's status, dependencies, what maintainer scripts would make, and names of libraries in programs.
#include <stdlib.h>
#include <string.h>

#include "image/debian.h"
#include "image/loads.h"
#include "tests/image/unit.h"

static const char status[] =
	"Package: server\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.0\n"
	"Depends: libone (>= 1), debconf (>= 0.5) | debconf-2.0, virtual-mail, other | second,\n third:any\nPre-Depends: early\nRecommends: nice, absent-nice\n\n"
	"Package: libone\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1.2\nDepends: libc6 (>= 2.36), server\n\n"
	"Package: mailer\nStatus: install ok installed\nArchitecture: all\nVersion: 2\nProvides: unrelated, virtual-mail (= 1)\n\n"
	"Package: second\nStatus: hold ok installed\nArchitecture: all\nVersion: 2\n\n"
	"Package: other\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 2\n\n"
	"Package: early\nStatus: install ok installed\nArchitecture: amd64\nVersion: 3\nDepends: gone (>= 7)\n\n"
	"Package: third\nStatus: install ok installed\nArchitecture: i386\nVersion: 1\n\n"
	"Package: third\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n"
	"Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36\n\n"
	"Package: nice\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n\n"
	"Package: debconf\nStatus: install ok installed\nArchitecture: all\nVersion: 1\n";

static int note(void *ctx, struct debian_package *k, struct fault *p)
{
	(void)p;
	string_list_add(ctx, k->name);
	return 0;
}

static char *joined(struct string_list *l)
{
	struct text t = {0};

	text_puts(&t, "");
	for (size_t i = 0; i < l->count; i++)
		text_printf(&t, "%s%s", i ? " " : "", l->items[i]);
	string_list_free(l);
	*l = (struct string_list){0};
	return t.data;
}

static void closures(void)
{
	struct string_list got = {0}, missing = {0};
	struct debian d = {0};
	struct fault f = {0};
	char *text;

	debian_add(&d, status, "/info", true);
	unit_check(debian_find(&d, "server") && !debian_find(&d, "nothing"), "debian_find", "");
	debian_free(&d);
	d = (struct debian){0};
	debian_add(&d, status, "/info", false);
	unit_check(!debian_closure(&d, "server", false, note, &got, &missing, &f), "debian_closure", f.text);
	text = joined(&got);
	unit_check(!strcmp(text, "server early libone mailer second third"), "debian_closure_packages", text);
	free(text);
	text = joined(&missing);
	unit_check(!strcmp(text, "gone (>= 7) (needed by early)"), "debian_closure_missing", text);
	free(text);
	unit_check(!debian_closure(&d, "server", true, note, &got, &missing, &f), "debian_closure_recommends", f.text);
	text = joined(&got);
	unit_check(strstr(text, " nice"), "debian_closure_recommended", text);
	free(text);
	text = joined(&missing);
	unit_check(strstr(text, "absent-nice (recommended by server)"), "debian_closure_recommended_missing", text);
	free(text);
	unit_check(debian_closure(&d, "other", false, note, &got, &missing, &f) < 0, "debian_closure_not_installed", "found");
	debian_free(&d);
}

static const struct debian_account *find(const struct debian_script *s, const char *name, bool user)
{
	static const struct debian_account none = {.name = (char *)"", .id = -2};

	for (size_t i = 0; i < s->account_count; i++)
		if (s->accounts[i].user == user && !strcmp(s->accounts[i].name, name))
			return &s->accounts[i];
	return &none;
}

static bool is(const char *have, const char *want) { return have && !strcmp(have, want); }

static void scripts(void)
{
	static const char text[] =
		"#!/bin/sh\nset -e\nUSER=\"redis\"\nGROUP=$USER\n# adduser --system commented\n"
		"if ! getent passwd postgres > /dev/null; then\n\tadduser --system $quiet --home /var/lib/postgresql --no-create-home \\\n"
		"\t --shell /bin/bash --group --gecos \"PostgreSQL administrator\" postgres\nfi\n"
		"adduser --system --home /var/lib/redis --quiet --group ${USER} || true\n"
		"! test -d x || useradd -r -d /srv/x -s /bin/false -G adm,tty -u 321 other 2>/dev/null\n"
		"addgroup --quiet --system --force-badname ssl-cert; addgroup --system --gid=77 seven\n"
		"adduser redis ssl-cert\nadduser --system $UNKNOWN\nadduser --system --home `pwd` plain\n"
		"install -d -o root /var/lib/made/here && mkdir -p /var/cache/$USER '/var/with space'\n"
		"update-alternatives --install /usr/bin/editor editor /usr/bin/ed 5 \\\n  --slave /usr/share/man/man1/editor.1.gz editor.1.gz /usr/share/man/man1/ed.1.gz\n"
		"ucf /usr/share/x /etc/made.conf\nchown -R $USER:$GROUP /var/lib/redis\necho adduser --system echoed\n";
	struct debian_script s = {0};
	const struct debian_account *a;

	debian_script_read(&s, text, strlen(text));
	a = find(&s, "postgres", true);
	unit_check(is(a->home, "/var/lib/postgresql") && is(a->shell, "/bin/bash") && is(a->gecos, "PostgreSQL administrator") && is(a->group, "postgres"),
		   "script_adduser", a->home ? a->home : "");
	a = find(&s, "redis", true);
	unit_check(is(a->home, "/var/lib/redis") && is(a->member_of, "ssl-cert"), "script_variable", a->name);
	a = find(&s, "other", true);
	unit_check(is(a->home, "/srv/x") && is(a->shell, "/bin/false") && a->id == 321 && is(a->member_of, "adm,tty"), "script_useradd", a->name);
	unit_check(find(&s, "ssl-cert", false)->id == -1 && find(&s, "seven", false)->id == 77, "script_addgroup", "");
	unit_check(is(find(&s, "plain", true)->group, "nogroup"), "script_nogroup", "");
	unit_check(find(&s, "echoed", true)->id == -2 && find(&s, "commented", true)->id == -2, "script_other_words", "a user that nobody makes");
	unit_check(s.unclear.count == 1, "script_unclear", s.unclear.count ? s.unclear.items[0] : "");
	unit_check(string_list_has(&s.folders, "/var/lib/made/here") && string_list_has(&s.folders, "/var/cache/redis") &&
			   string_list_has(&s.folders, "/var/with space"), "script_folders", "");
	unit_check(string_list_has(&s.paths, "/etc/made.conf"), "script_paths", "");
	unit_check(s.alternatives.count == 2 && is(s.alternatives.items[0], "/usr/bin/editor editor /usr/bin/ed"), "script_alternatives",
		   s.alternatives.count ? s.alternatives.items[0] : "");
	unit_check(string_list_has(&s.commands, "ucf") && s.commands.count == 1, "script_commands", "");
	debian_script_free(&s);
}

static void sysusers(void)
{
	static const char text[] = "# comment\nu _sys 61184 \"A system user\" /var/lib/sys /bin/sh\nu plain -\ng grp 99 - -\nm plain grp\nr - 500-900\n";
	struct debian_script s = {0};
	const struct debian_account *a;

	debian_sysusers_read(&s, text, strlen(text));
	a = find(&s, "_sys", true);
	unit_check(a->id == 61184 && is(a->gecos, "A system user") && is(a->home, "/var/lib/sys") && is(a->shell, "/bin/sh"), "sysusers_user", a->name);
	a = find(&s, "plain", true);
	unit_check(a->id == -1 && is(a->shell, "/usr/sbin/nologin") && is(a->member_of, "grp"), "sysusers_plain", a->name);
	unit_check(find(&s, "grp", false)->id == 99, "sysusers_group", "");
	debian_script_free(&s);
}

// Any text will do: nothing is read beyond it, nothing is left.
static void torn(void)
{
	static const char text[] = "A=\"x\nadduser --system --home\nadduser ${\nuseradd -u\nadduser \"\\\nmkdir '\n$(((;;&&|\nu\nu a\nupdate-alternatives --install a b\n\\";

	for (size_t n = 0; n <= strlen(text); n++) {
		struct debian_script s = {0};
		char *copy = malloc(n + 1);

		memcpy(copy, text, n);
		copy[n] = '\0';
		debian_script_read(&s, copy, n);
		debian_sysusers_read(&s, copy, n);
		debian_script_free(&s);
		free(copy);
	}
	unit_check(true, "script_torn", "");
}

static void loads(void)
{
	static const char file[] = "\0dlopen\0libz.so.1\0lib%s.so\0libfoo.so\0liblow.so.\0libbar.so.2.3\0xlibno.so.1\0libz.so.1\0lib.so\0libknown.so.1\0libend.so.1";
	struct string_list known = {0}, names = {0};
	char *text;

	string_list_add(&known, "libknown.so.1");
	elf_loaded_names(file, sizeof(file) - 1, &known, &names);
	text = joined(&names);
	unit_check(!strcmp(text, "libz.so.1 libfoo.so libbar.so.2.3"), "loaded_names", text);
	free(text);
	elf_loaded_names(file + 8, sizeof(file) - 9, &known, &names);
	unit_check(!names.count, "loaded_names_without_dlopen", "some");
	string_list_free(&known);
	string_list_free(&names);
}

int main(void)
{
	closures();
	scripts();
	sysusers();
	torn();
	loads();
	return unit_failed;
}
