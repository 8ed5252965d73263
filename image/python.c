// SPDX-License-Identifier: Apache-2.0
// What a Python program needs beside the interpreter: the modules that it imports, found as Debian's python3 would find
// them, with what those import, and with the packages that their metadata requires. Nothing is run.
#include <dirent.h>
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "image/copy.h"
#include "image/pyimports.h"

enum { SOURCE_MAX_BYTES = 16 << 20 };

// Modules inside the interpreter itself (sys.builtin_module_names), and names that are no modules.
static const char builtin[] =
	" _abc _ast _bisect _blake2 _codecs _collections _csv _datetime _elementtree _functools _heapq _imp _io _locale _md5 "
	"_operator _pickle _posixsubprocess _random _sha1 _sha256 _sha3 _sha512 _signal _socket _sre _stat _statistics _string "
	"_struct _symtable _thread _tokenize _tracemalloc _typing _warnings _weakref array atexit binascii builtins cmath "
	"errno faulthandler fcntl gc grp itertools marshal math posix pwd pyexpat select spwd sys syslog time unicodedata xxsubtype "
	"zlib __future__ __main__ nt winreg msvcrt _winapi ";

static const char *version(struct copier *c)
{
	char real[PATH_MAX], *name;

	if (!c->python_version) {
		if (!realpath("/usr/bin/python3", real))
			return NULL;
		name = strrchr(real, '/') + 1;
		if (!starts_with(name, "python3."))
			return NULL;
		c->python_version = xstrdup(name + strlen("python"));
	}
	return c->python_version;
}

static bool is_folder(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISDIR(st.st_mode);
}

static bool is_file(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISREG(st.st_mode);
}

// The module in a folder: "M" a package, "M.py", or "M.<abi>.so". NULL when it is not there; to be freed.
static char *module_in(const char *folder, const char *module)
{
	char *path = xasprintf("%s/%s", folder, module);
	glob_t found;

	if (is_folder(path))
		return path;
	free(path);
	path = xasprintf("%s/%s.py", folder, module);
	if (is_file(path))
		return path;
	free(path);
	path = xasprintf("%s/%s.*.so", folder, module);
	if (!glob(path, 0, NULL, &found) && found.gl_pathc) {
		free(path);
		path = xstrdup(found.gl_pathv[0]);
	} else {
		free(path);
		path = NULL;
	}
	globfree(&found);
	return path;
}

static int follow_imports(struct copier *c, const char *file, bool whole, const char *beside_host, const char *beside_image,
			  struct fault *p)
{
	struct string_list modules = {0};
	struct fault ignored;
	struct text source = {0};
	int err = 0;

	if (text_read_file(&source, file, SOURCE_MAX_BYTES, &ignored))
		goto out;
	python_imports(source.data, source.len, whole, &modules);
	for (size_t i = 0; !err && i < modules.count; i++) {
		char *sibling = beside_host ? module_in(beside_host, modules.items[i]) : NULL;

		if (sibling) {
			char *to = xasprintf("%s%s", strcmp(beside_image, "/") ? beside_image : "", sibling + strlen(beside_host));

			copy_queue(c, sibling, to, 0, "imported by %s", file);
			free(to);
		} else {
			err = copy_python_module(c, modules.items[i], file, p);
		}
		free(sibling);
	}
out:
	string_list_free(&modules);
	text_free(&source);
	return err;
}

int copy_python_file(struct copier *c, const char *host, const char *image, bool whole, struct fault *p)
{
	char *beside_host, *beside_image;
	int err;

	if (!version(c) || !string_set_add(&c->python_seen, host, NULL))
		return 0;
	beside_host = xstrndup(host, (size_t)(strrchr(host, '/') - host));
	beside_image = xstrndup(image, (size_t)(strrchr(image, '/') - image));
	// What lies beside a program in /usr/bin is not its modules.
	err = follow_imports(c, host, whole, ends_with(beside_host, "bin") ? NULL : beside_host, beside_image, p);
	free(beside_host);
	free(beside_image);
	return err;
}

// The unindented imports of every file of a package.
static int follow_package(struct copier *c, const char *folder, struct fault *p)
{
	struct dirent *entry;
	DIR *d = opendir(folder);
	int err = 0;

	while (d && !err && (entry = readdir(d))) {
		char *path = xasprintf("%s/%s", folder, entry->d_name);

		if (entry->d_name[0] == '.' || copy_left_out(entry->d_name, entry->d_name, COPY_RUNTIME) ||
		    starts_with(entry->d_name, "conftest") || !strcmp(entry->d_name, "distutils") ||
		    !strcmp(entry->d_name, "setup.py") || starts_with(entry->d_name, "_build") || strstr(entry->d_name, "testutils"))
			;
		else if (is_folder(path))
			err = follow_package(c, path, p);
		else if (ends_with(path, ".py"))
			err = follow_imports(c, path, false, NULL, NULL, p);
		free(path);
	}
	if (d)
		closedir(d);
	return err;
}

// Names of distributions are compared without case, and with - _ . alike (PEP 503).
static bool same_distribution(const char *a, size_t len, const char *b)
{
	for (size_t i = 0; i < len; i++) {
		char x = a[i] == '_' || a[i] == '.' ? '-' : a[i], y = b[i] == '_' || b[i] == '.' ? '-' : b[i];

		if (!y || strncasecmp(&x, &y, 1) != 0)
			return false;
	}
	return !b[len] || b[len] == '-';
}

static bool lists_module(const char *metadata, const char *module)
{
	char *path = xasprintf("%s/top_level.txt", metadata), *line, *save = NULL;
	struct fault ignored;
	struct text text = {0};
	bool found = false;

	if (!text_read_file(&text, path, 1 << 20, &ignored))
		for (line = strtok_r(text.data, "\r\n", &save); line && !found; line = strtok_r(NULL, "\r\n", &save))
			found = !strcmp(line, module);
	text_free(&text);
	free(path);
	return found;
}

static int require_distribution(struct copier *c, const char *folder, const char *name, size_t len, const char *why,
				struct fault *p);

// "Requires-Dist: scipy (>=1.3)" of METADATA or PKG-INFO, or a line of requires.txt before its first [section].
static int follow_requirements(struct copier *c, const char *folder, const char *metadata, struct fault *p)
{
	static const char *const files[] = {"METADATA", "PKG-INFO", "requires.txt"};
	int err = 0;

	for (int i = 0; i < 3 && !err; i++) {
		char *path = xasprintf("%s/%s", metadata, files[i]), *line, *save = NULL;
		struct fault ignored;
		struct text text = {0};

		if (!text_read_file(&text, path, 4 << 20, &ignored)) {
			char *end_of_header = i < 2 ? strstr(text.data, "\n\n") : NULL;

			if (end_of_header)
				*end_of_header = '\0';
			for (line = strtok_r(text.data, "\r\n", &save); line && !err; line = strtok_r(NULL, "\r\n", &save)) {
				if (i == 2 && line[0] == '[')
					break;
				if (i < 2 && !starts_with(line, "Requires-Dist: "))
					continue;
				if (i < 2)
					line += strlen("Requires-Dist: ");
				if (!strchr(line, ';'))
					err = require_distribution(c, folder, line, strcspn(line, " (<>=!~[;"), metadata, p);
			}
		}
		text_free(&text);
		free(path);
	}
	return err;
}

// Copies the metadata of the distribution that holds `module`, and what it requires.
static int copy_metadata(struct copier *c, const char *folder, const char *module, struct fault *p)
{
	struct dirent *entry;
	DIR *d = opendir(folder);
	int err = 0;

	while (d && !err && (entry = readdir(d))) {
		char *metadata;

		if (!ends_with(entry->d_name, ".dist-info") && !ends_with(entry->d_name, ".egg-info"))
			continue;
		metadata = xasprintf("%s/%s", folder, entry->d_name);
		if (lists_module(metadata, module) || same_distribution(module, strlen(module), entry->d_name)) {
			copy_queue(c, metadata, NULL, COPY_OPTIONAL | COPY_RUNTIME | COPY_QUIET, "metadata of the module %s", module);
			if (is_folder(metadata))
				err = follow_requirements(c, folder, metadata, p);
		}
		free(metadata);
	}
	if (d)
		closedir(d);
	return err;
}

static int require_distribution(struct copier *c, const char *folder, const char *name, size_t len, const char *why,
				struct fault *p)
{
	struct dirent *entry;
	DIR *d = opendir(folder);
	int err = 0;

	while (d && !err && (entry = readdir(d))) {
		char *path, *line, *save = NULL;
		struct fault ignored;
		struct text text = {0};

		if (!len || (!ends_with(entry->d_name, ".dist-info") && !ends_with(entry->d_name, ".egg-info")) ||
		    !same_distribution(name, len, entry->d_name))
			continue;
		path = xasprintf("%s/%s/top_level.txt", folder, entry->d_name);
		if (!text_read_file(&text, path, 1 << 20, &ignored)) {
			for (line = strtok_r(text.data, "\r\n", &save); line && !err; line = strtok_r(NULL, "\r\n", &save))
				err = copy_python_module(c, line, why, p);
		} else {
			char *module = xstrndup(name, len);

			for (char *at = module; *at; at++)
				*at = *at == '-' || *at == '.' ? '_' : *at;
			err = copy_python_module(c, module, why, p);
			free(module);
		}
		text_free(&text);
		free(path);
	}
	if (d)
		closedir(d);
	return err;
}

static bool in_standard_library(struct copier *c, const char *module)
{
	char *spaced = xasprintf(" %s ", module);
	bool found = strstr(builtin, spaced);

	free(spaced);
	for (int i = 0; i < 2 && !found; i++) {
		char *folder = xasprintf("/usr/lib/python%s%s", version(c), i ? "/lib-dynload" : "");
		char *path = module_in(folder, module);

		found = path;
		free(path);
		free(folder);
	}
	return found;
}

int copy_python_module(struct copier *c, const char *module, const char *why, struct fault *p)
{
	char *folders[3], *path = NULL;
	int err = 0;

	if (!version(c) || in_standard_library(c, module) || string_set_has(&c->python_seen, module))
		return 0;
	folders[0] = xasprintf("/usr/local/lib/python%s/dist-packages", version(c));
	folders[1] = xstrdup("/usr/lib/python3/dist-packages");
	folders[2] = xasprintf("/usr/lib/python%s/dist-packages", version(c));
	for (int i = 0; i < 3 && !path && !err; i++) {
		path = module_in(folders[i], module);
		if (!path)
			continue;
		string_set_add(&c->python_seen, module, NULL);
		copy_queue(c, path, NULL, COPY_RUNTIME, "Python module %s, imported by %s", module, why);
		if (is_folder(path))
			err = follow_package(c, path, p);
		else if (ends_with(path, ".py"))
			err = follow_imports(c, path, false, NULL, NULL, p);
		if (!err && !is_folder(path) && ends_with(path, ".py")) {
			char *pattern = xasprintf("%s/__pycache__/%s.cpython-*.pyc", folders[i], module);
			glob_t found;

			if (!glob(pattern, 0, NULL, &found))
				for (size_t k = 0; k < found.gl_pathc; k++)
					if (!strstr(found.gl_pathv[k], ".opt-"))
						copy_queue(c, found.gl_pathv[k], NULL, COPY_RUNTIME | COPY_QUIET, "compiled form of %s", path);
			globfree(&found);
			free(pattern);
		}
		if (!err)
			err = copy_metadata(c, folders[i], module, p);
	}
	if (!path)
		copy_note(c, "the Python module %s, imported by %s, is not on this machine", module, why);
	free(path);
	for (int i = 0; i < 3; i++)
		free(folders[i]);
	return err;
}
