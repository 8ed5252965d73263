// SPDX-License-Identifier: Apache-2.0
// Items of `copy` that are no files: `locale:de_DE.UTF-8` and `timezone:Europe/Berlin`.
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/copy.h"
#include "image/tool.h"

// As glibc looks for it: "de_DE.UTF-8@euro" -> "de_DE.utf8@euro".
static char *locale_folder(const char *name)
{
	size_t language = strcspn(name, ".@");
	const char *at = name + language;
	struct text out = {0};

	text_add(&out, name, language);
	text_puts(&out, ".");
	if (*at == '.') {
		for (at++; *at && *at != '@'; at++)
			if (isalnum((unsigned char)*at)) {
				char c = (char)tolower((unsigned char)*at);

				text_add(&out, &c, 1);
			}
	} else {
		text_puts(&out, "utf8");
	}
	text_puts(&out, at);
	return out.data;
}

// localedef of this machine compiles it: its output depends on the sources alone.
static int compile_locale(const char *name, const char *folder, const char *work, struct fault *p)
{
	size_t language = strcspn(name, ".@");
	const char *modifier = strchr(name, '@');
	char *source = xasprintf("%.*s%s", (int)language, name, modifier ? modifier : "");
	char *charset = name[language] == '.' ? xstrndup(name + language + 1, strcspn(name + language + 1, "@")) : xstrdup("UTF-8");
	char *sources = xasprintf("/usr/share/i18n/locales/%s", source), *out = xasprintf("%s/%s", work, folder);
	char *argv[] = {(char *)"localedef", (char *)"--no-archive", (char *)"--no-warnings=ascii", (char *)"-i", source, (char *)"-f", charset, out, NULL};
	struct fault why;
	int err = 0;

	if (access("/usr/share/i18n/locales", R_OK) < 0)
		err = fault_set(p, -ENOENT, "the locale %s is not on this machine, and neither are the sources of locales: apt-get install locales", name);
	else if (access(sources, R_OK) < 0)
		err = fault_set(p, -ENOENT, "there is no locale %s: /usr/share/i18n/locales has no %s", name, source);
	else if (tool_run(argv, NULL, 1 << 20, NULL, &why))
		err = fault_set(p, -EIO, "cannot make the locale %s: %s", name, why.text);
	free(source);
	free(charset);
	free(sources);
	free(out);
	return err;
}

int copy_locale(struct copier *c, const char *name, struct fault *p)
{
	char *folder = locale_folder(name), *place = xasprintf("/usr/lib/locale/%s", folder);
	char *build = xasprintf("%s/build", c->config->project), *work = xasprintf("%s/locale", build);
	char *made = xasprintf("%s/%s", work, folder), *check = xasprintf("%s/LC_CTYPE", made);
	int err = 0;

	if (!isalpha((unsigned char)*name) || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.@-") != strlen(name)) {
		err = fault_set(p, -EINVAL, "'%s' is not the name of a locale, such as de_DE.UTF-8", name);
	} else if (!access(place, R_OK)) {
		copy_queue(c, place, NULL, 0, "you asked for it");
	} else {
		if ((mkdir(build, 0755) < 0 && errno != EEXIST) || (mkdir(work, 0755) < 0 && errno != EEXIST))
			err = fault_errno(p, errno, "cannot make the folder %s", work);
		if (!err && access(check, R_OK) < 0)
			err = compile_locale(name, folder, work, p);
		if (!err)
			copy_queue(c, made, place, 0, "you asked for it");
	}
	free(folder);
	free(place);
	free(build);
	free(work);
	free(made);
	free(check);
	return err;
}

int copy_timezone(struct copier *c, const char *name, struct fault *p)
{
	char *file = xasprintf("/usr/share/zoneinfo/%s", name), *line = xasprintf("%s\n", name);
	struct stat st;
	int err = 0;

	if (!*name || name[0] == '/' || strstr(name, "..") || stat(file, &st) < 0 || !S_ISREG(st.st_mode))
		err = fault_set(p, -ENOENT, "there is no time zone '%s' in /usr/share/zoneinfo%s", name,
				access("/usr/share/zoneinfo", F_OK) ? ": apt-get install tzdata" : " (such as Europe/Berlin)");
	if (!err) {
		copy_queue(c, file, NULL, 0, "you asked for it");
		err = tree_symlink(&c->tree, "/etc/localtime", file, p);
	}
	if (!err)
		err = tree_write_file(&c->tree, "/etc/timezone", line, strlen(line), false, p);
	free(file);
	free(line);
	return err;
}
