// SPDX-License-Identifier: Apache-2.0
// What a failed program's last words say is missing, and what this machine has of it.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/missing.h"
#include "image/tree.h"
#include "tests/folder.h"
#include "tests/image/unit.h"

static void said(const char *name, const char *text, const char *want)
{
	struct string_list names = {0};
	struct text got = {0};
	bool complains;

	text_puts(&got, "");
	missing_names(text, strlen(text), &names, &complains);
	for (size_t i = 0; i < names.count; i++)
		text_printf(&got, "%s%s", i ? " " : "", names.items[i]);
	unit_check(!strcmp(got.data, want) && complains == (*want || strstr(text, "not found")), name, got.data);
	text_free(&got);
	string_list_free(&names);
}

static char *report(const char *image, const char *name, int *count)
{
	struct string_list names = {0};
	char *out = NULL;
	size_t len;
	FILE *f = open_memstream(&out, &len);

	string_list_add(&names, name);
	*count = missing_report(image, &names, 5, "head\n", f);
	fclose(f);
	string_list_free(&names);
	return out;
}

int main(void)
{
	static const char list[] = "/usr/lib/first\n/proc/x\n/usr/lib/second\n/usr/lib/first\nrelative\n/etc/last";
	struct string_list names = {0};
	struct fault f = {0};
	char top[64], *out;
	struct tree t;
	int count;

	said("missing_library", "/usr/bin/x: error while loading shared libraries: libfoo.so.1: cannot open shared object file: No such file or directory\n",
	     "library:libfoo.so.1 path:/usr/bin/x");
	said("missing_dlopen", "Error: libbar.so: cannot open shared object file: No such file or directory\n", "library:libbar.so");
	said("missing_python", "Traceback:\nModuleNotFoundError: No module named 'numpy.core'\n", "python:numpy");
	said("missing_perl", "Can't locate JSON/XS.pm in @INC (you may need to install the JSON::XS module) (@INC contains: /etc/perl /usr/lib/x)\n",
	     "perl:JSON/XS.pm path:/etc/perl path:/usr/lib/x");
	said("missing_node", "Error: Cannot find module 'express'\n", "node:express");
	said("missing_shell", "/bin/sh: 1: tool: not found\n", "program:tool path:/bin/sh");
	said("missing_bash", "bash: line 1: tool: command not found\n", "program:tool");
	said("missing_env", "env: \xe2\x80\x98python3\xe2\x80\x99: No such file or directory\n", "program:python3");
	said("missing_file", "cat: /etc/services: No such file or directory\n", "path:/etc/services");
	said("missing_quoted", "FileNotFoundError: [Errno 2] No such file or directory: '/usr/share/x/y z'\n", "path:/usr/share/x/y");
	said("missing_nothing", "all is well in /usr/lib\n", "");
	said("missing_terminal", "x: \033[1m/usr/lib/a\033[0m not found\n", "");
	missing_list(list, sizeof(list) - 1, &names);
	unit_check(names.count == 3 && !strcmp(names.items[0], "path:/etc/last") && !strcmp(names.items[2], "path:/usr/lib/second"), "missing_list",
		   names.count ? names.items[0] : "none");
	string_list_free(&names);

	if (!test_folder(top, "missing") || tree_open(&t, top, &f))
		return 1;
	out = report(top, "program:cat", &count);
	unit_check(count == 1 && strstr(out, "head\n") && strstr(out, "Debian package coreutils") && strstr(out, "coffer copy /usr/bin/cat"), "missing_report_program", out);
	free(out);
	out = report(top, "path:/lib/x86_64-linux-gnu/libc.so.6", &count);
	unit_check(count == 1 && strstr(out, "Debian package libc6"), "missing_report_library", out);
	free(out);
	out = report(top, "path:/usr/lib/no-such-file-anywhere", &count);
	unit_check(!count && !*out, "missing_report_nowhere", out);
	free(out);
	tree_write_file(&t, "/usr/bin/script", "#!/bin/cat\n", 11, true, &f);
	out = report(top, "path:/usr/bin/script", &count);
	unit_check(count == 1 && strstr(out, "/bin/cat"), "missing_report_interpreter", out);
	free(out);
	tree_write_file(&t, "/bin/cat", "x", 1, true, &f);
	out = report(top, "path:/usr/bin/script", &count);
	unit_check(!count, "missing_report_there", out);
	free(out);
	out = report(top, "program:../../bin/cat", &count);
	unit_check(!count, "missing_report_path_as_name", out);
	free(out);
	tree_close(&t);
	return unit_failed;
}
