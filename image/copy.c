// SPDX-License-Identifier: Apache-2.0
// The work list of `coffer copy` (see copy.h): one path after the other is placed in the image, looked at, and
// what it needs is queued.
#include "image/copy.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "image/elf.h"
#include "image/loads.h"

enum { MOST_LINKS = 40 };

static const char *const program_path[] = {
	"/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin", NULL,
};

void copy_queue(struct copier *c, const char *from, const char *to, int flags, const char *reason, ...)
{
	struct copy_work *w;
	va_list args;

	if (c->queue_count == c->queue_capacity) {
		c->queue_capacity = c->queue_capacity ? c->queue_capacity * 2 : 64;
		c->queue = xrealloc(c->queue, c->queue_capacity * sizeof(*c->queue));
	}
	w = &c->queue[c->queue_count++];
	*w = (struct copy_work){.from = xstrdup(from), .to = to ? xstrdup(to) : NULL, .flags = flags};
	va_start(args, reason);
	if (vasprintf(&w->reason, reason, args) < 0)
		w->reason = xstrdup("");
	va_end(args);
}

void copy_note(struct copier *c, const char *format, ...)
{
	va_list args;

	c->notes++;
	if (!c->report || !c->report_files)
		return;
	va_start(args, format);
	fputs("  note: ", c->report);
	vfprintf(c->report, format, args);
	fputc('\n', c->report);
	va_end(args);
}

static void report(struct copier *c, const struct copy_work *w, const char *path, const char *extra)
{
	if (c->report && (!(w->flags & COPY_QUIET) || c->report_files))
		fprintf(c->report, "  %-52s %s%s\n", path, w->reason, extra);
}

bool copy_left_out(const char *relative, const char *base, int flags)
{
	static const char *const always[] = {".git", ".svn", ".hg", "*.pyo", ".coffer-copy.*", ".coffer-write.*", NULL};
	static const char *const runtime[] = {
		"tests", "test", "idlelib", "turtledemo", "tkinter", "_tkinter.*.so", "nis.*.so", "ensurepip", "config-3.*", "*.a",
		"*.opt-[0-9].pyc", "dist-packages", "*.whl", "src.zip", "demo", "man", "CORE", NULL,
	};

	for (int i = 0; always[i]; i++)
		if (!fnmatch(always[i], base, 0))
			return true;
	if (!(flags & COPY_RUNTIME))
		return false;
	for (int i = 0; runtime[i]; i++)
		if (!fnmatch(runtime[i], base, 0) || !fnmatch(runtime[i], relative, 0))
			return true;
	return false;
}

// ---- what a file needs ----

static void add_missing(struct copier *c, const char *name, const char *needed_by, char *passed_over, bool optional)
{
	c->missing = xrealloc(c->missing, (c->missing_count + 1) * sizeof(*c->missing));
	c->missing[c->missing_count++] = (struct copy_missing){xstrdup(name), xstrdup(needed_by), passed_over, optional};
}

static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == path ? xstrdup("/") : xstrndup(path, (size_t)(slash - path));
}

bool copy_host(const struct copier *c, const char *path, char *out, struct stat *st)
{
	struct stat unused;

	if (!st)
		st = &unused;
	if (c->unpacked && path[0] == '/') {
		char *inside = xasprintf("%s%s", c->unpacked, path);
		bool found = !lstat(inside, st);

		if (found && out)
			snprintf(out, PATH_MAX, "%s", inside);
		free(inside);
		if (found)
			return true;
	}
	if (out)
		snprintf(out, PATH_MAX, "%s", path);
	return !lstat(path, st);
}

int copy_unpacked(struct copier *c, struct fault *p)
{
	if (c->unpacked)
		return 0;
	c->unpacked = xasprintf("%s/build/packages/root", c->config->project);
	c->libpath.unpacked = c->unpacked;
	return access(c->unpacked, R_OK) < 0 ? fault_errno(p, errno, "cannot read %s", c->unpacked) : 0;
}

static int walk(struct copier *c, const char *path, bool make, char canonical[PATH_MAX], struct fault *p);

// Is there a file by that path, links followed, among the unpacked packages or on this machine?
static bool exists(struct copier *c, const char *path)
{
	char canonical[PATH_MAX];
	struct fault ignored;

	return !c->unpacked ? !access(path, R_OK) : !walk(c, path, false, canonical, &ignored);
}

static char *find_program(struct copier *c, const char *name)
{
	for (int i = 0; c->unpacked && program_path[i]; i++) {
		char *path = xasprintf("%s/%s", program_path[i], name);

		if (exists(c, path))
			return path;
		free(path);
	}
	return copy_find_program(name);
}

static void queue_library(struct copier *c, const struct copy_work *w, const struct elf_file *e, const char *origin,
			  const char *host, const char *image, const char *rpath, bool musl, const char *name)
{
	char *path, *passed_over, *to = NULL;
	struct library_search search = {.elf = e, .origin = origin, .inherited_rpath = rpath, .musl = musl};
	enum library_place place;
	struct copy_work *queued;

	// musl's one library is its dynamic linker, whatever name it is asked for by.
	if (musl && (!strcmp(name, "libc.so") || starts_with(name, "libc.musl-") || starts_with(name, "ld-musl-")))
		return;
	place = libpath_find(&c->libpath, &search, name, &path, &passed_over);
	if (place == LIBRARY_MISSING) {
		add_missing(c, name, host, passed_over, w->flags & COPY_OPTIONAL || w->flags & COPY_RUNTIME);
		return;
	}
	free(passed_over);
	// The linker will look in that folder only when it is told to.
	if (place == LIBRARY_CONFIGURED && string_set_add(&c->packs_done, "ld.so.conf", NULL)) {
		copy_queue(c, "/etc/ld.so.conf", NULL, COPY_OPTIONAL | COPY_QUIET, "where %s is found", name);
		copy_queue(c, "/etc/ld.so.conf.d", NULL, COPY_OPTIONAL | COPY_QUIET, "where %s is found", name);
	}
	// A library found beside a file that was given another place in the image goes beside it there too.
	if (place == LIBRARY_BY_ORIGIN && strcmp(host, image) != 0) {
		char *image_folder = folder_of(image);

		if (starts_with(path, origin))
			to = xasprintf("%s%s", strcmp(image_folder, "/") ? image_folder : "", path + strlen(origin));
		free(image_folder);
	}
	copy_queue(c, path, to, w->flags & (COPY_OPTIONAL | COPY_RUNTIME | COPY_QUIET), "needed by %s", image);
	queued = &c->queue[c->queue_count - 1];
	queued->rpath = rpath ? xstrdup(rpath) : NULL;
	queued->musl = musl;
	free(path);
	free(to);
}

// Libraries that it may load by name, where they are.
static void queue_loaded(struct copier *c, const struct copy_work *w, const struct elf_file *e, const void *bytes, size_t len, const char *image,
			 bool musl)
{
	struct library_search search = {.elf = e, .origin = "/", .musl = musl};
	struct string_list names = {0};

	elf_loaded_names(bytes, len, &e->needed, &names);
	for (size_t i = 0; i < names.count; i++) {
		char *path, *passed_over;

		if (libpath_find(&c->libpath, &search, names.items[i], &path, &passed_over) == LIBRARY_DEFAULT)
			copy_queue(c, path, NULL, (w->flags & (COPY_RUNTIME | COPY_QUIET)) | COPY_OPTIONAL, "named in %s: may be loaded (heuristic)", image);
		free(path);
		free(passed_over);
	}
	string_list_free(&names);
}

static bool is_unpacked(const struct copier *c, const char *host)
{
	return c->unpacked && starts_with(host, c->unpacked);
}

static int look_at_elf(struct copier *c, const struct copy_work *w, const char *host, const char *image,
		       const void *bytes, size_t len, struct fault *p)
{
	struct fault why;
	struct elf_file e;
	char *origin, *own_rpath;
	bool musl;
	int err = elf_read(&e, bytes, len, &why);

	if (err) {
		if (w->flags & COPY_OPTIONAL) {
			copy_note(c, "%s: %s; copied as data", host, why.text);
			return 0;
		}
		return fault_set(p, err, "%s: %s", host, why.text);
	}
	musl = w->musl || (e.interpreter && strstr(e.interpreter, "ld-musl"));
	if (e.interpreter) {
		if (!exists(c, e.interpreter) && !(w->flags & COPY_OPTIONAL)) {
			err = fault_set(p, -ENOENT, "%s wants the dynamic linker %s, which is not on this machine%s", host,
					  e.interpreter, musl ? ": apt-get install musl" : "");
			goto out;
		}
		copy_queue(c, e.interpreter, NULL, w->flags & (COPY_OPTIONAL | COPY_QUIET), "dynamic linker of %s", image);
		if (!musl)
			c->glibc_seen = true;
	}
	// $ORIGIN of a program is where it really lies; that of a library, where the linker found it, links and all.
	origin = folder_of(is_unpacked(c, host) ? image : w->to || e.interpreter ? host : w->from);
	own_rpath = e.rpath && !e.runpath ? libpath_expand(e.rpath, origin) : NULL;
	for (size_t i = 0; i < e.needed.count; i++)
		queue_library(c, w, &e, origin, host, image, own_rpath ? own_rpath : w->rpath, musl, e.needed.items[i]);
	free(own_rpath);
	free(origin);
	queue_loaded(c, w, &e, bytes, len, image, musl);
out:
	elf_free(&e);
	return err;
}

char *copy_find_program(const char *name)
{
	for (int i = 0; program_path[i]; i++) {
		char *path = xasprintf("%s/%s", program_path[i], name);

		if (!access(path, X_OK))
			return path;
		free(path);
	}
	return NULL;
}

// The first line of a script: "#!interpreter [argument]"; behind env, the first word that is a program.
static int look_at_script(struct copier *c, const struct copy_work *w, const char *host, const char *image, const char *bytes,
			  size_t len, struct fault *p)
{
	int flags = w->flags & (COPY_OPTIONAL | COPY_QUIET);
	char *line = xstrndup(bytes + 2, len - 2 > 255 ? 255 : len - 2), *save = NULL, *word, *path;
	bool by_env;
	int err = 0;

	line[strcspn(line, "\n")] = '\0';
	word = strtok_r(line, " \t\r", &save);
	if (!word || word[0] != '/')
		goto out;
	if (!exists(c, word)) {
		if (!flags)
			err = fault_set(p, -ENOENT, "%s is a script for %s, which is not on this machine", host, word);
		else
			copy_note(c, "%s is a script for %s, which is not on this machine", host, word);
		goto out;
	}
	copy_queue(c, word, NULL, flags, "runs the script %s", image);
	by_env = ends_with(word, "/env");
	while (by_env && (word = strtok_r(NULL, " \t\r", &save))) {
		if (word[0] == '-' || strchr(word, '='))
			continue;
		path = find_program(c, word);
		if (path)
			copy_queue(c, path, NULL, flags, "runs the script %s", image);
		else if (!flags)
			err = fault_set(p, -ENOENT, "%s is a script for %s, which is not on this machine", host, word);
		free(path);
		break;
	}
out:
	free(line);
	return err;
}

static bool is_python_script(const char *host, const char *bytes, size_t len)
{
	const char *end = len ? memchr(bytes, '\n', len > 255 ? 255 : len) : NULL;

	if (ends_with(host, ".py"))
		return true;
	return len > 2 && bytes[0] == '#' && bytes[1] == '!' && end && memmem(bytes, (size_t)(end - bytes), "python", 6);
}

static void queue_node_modules(struct copier *c, const char *host, const char *image)
{
	static const char *const names[] = {"node_modules", "package.json"};
	char *from_folder = folder_of(host), *to_folder = folder_of(image);

	for (int i = 0; i < 2; i++) {
		char *from = xasprintf("%s/%s", from_folder, names[i]), *to = xasprintf("%s/%s", strcmp(to_folder, "/") ? to_folder : "", names[i]);

		if (!access(from, R_OK))
			copy_queue(c, from, to, COPY_OPTIONAL, "modules of %s (heuristic)", image);
		free(from);
		free(to);
	}
	free(from_folder);
	free(to_folder);
}

static int look_at(struct copier *c, const struct copy_work *w, const char *host, const char *image, struct fault *p)
{
	const char *bytes = NULL;
	struct stat st;
	int fd, err = 0;

	fd = open(host, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		err = fault_errno(p, errno, "cannot read %s", host);
		goto out;
	}
	if (st.st_size < 4)
		goto out;
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (bytes == MAP_FAILED) {
		bytes = NULL;
		err = fault_errno(p, errno, "cannot map %s", host);
		goto out;
	}
	if (elf_is(bytes, (size_t)st.st_size)) {
		err = look_at_elf(c, w, host, image, bytes, (size_t)st.st_size, p);
	} else if (!(w->flags & COPY_RUNTIME)) {
		if (bytes[0] == '#' && bytes[1] == '!' && st.st_mode & 0111)
			err = look_at_script(c, w, host, image, bytes, (size_t)st.st_size, p);
		// As node finds them: modules lie beside the program.
		if (!err && w->to && (ends_with(host, ".js") || ends_with(host, ".mjs") || ends_with(host, ".cjs")))
			queue_node_modules(c, host, image);
		if (!err && is_python_script(host, bytes, (size_t)st.st_size))
			err = copy_python_file(c, host, image, true, p);
	}
	if (!err)
		err = copy_pack(c, image, p);
out:
	if (bytes)
		munmap((void *)bytes, (size_t)st.st_size);
	if (fd >= 0)
		close(fd);
	return err;
}

// ---- placing ----

static int place_file(struct copier *c, const struct copy_work *w, const char *host, const char *image, struct fault *p)
{
	struct stat st;
	int err;

	if (!string_set_add(&c->done, image, NULL))
		return 0;
	err = tree_copy_file(&c->tree, host, image, p);
	if (err)
		return err;
	string_set_add(&c->base_names, strrchr(image, '/') + 1, NULL);
	c->files++;
	if (!stat(host, &st))
		c->bytes += (uint64_t)st.st_size;
	return look_at(c, w, host, image, p);
}

static int place_link(struct copier *c, const struct copy_work *w, const char *host, const char *image, struct fault *p)
{
	char target[PATH_MAX], *inner;
	ssize_t n = readlink(host, target, sizeof(target) - 1);
	struct stat st;
	int err;

	if (n < 0)
		return fault_errno(p, errno, "cannot read the link %s", host);
	target[n] = '\0';
	if (!string_set_add(&c->done, image, NULL))
		return 0;
	string_set_add(&c->base_names, strrchr(image, '/') + 1, NULL);
	err = tree_symlink(&c->tree, image, target, p);
	if (err)
		return err;
	if (is_unpacked(c, host)) { // what it leads to is in the same package, or in one that it depends on
		char *folder = folder_of(image);

		inner = target[0] == '/' ? xstrdup(target) : xasprintf("%s/%s", folder, target);
		copy_queue(c, inner, NULL, w->flags | COPY_OPTIONAL | COPY_QUIET | COPY_LINKS, "target of the link %s", image);
		free(folder);
		free(inner);
		return 0;
	}
	// A runtime's link to a folder stays a link: what it needs of other folders is named by its pack.
	if (stat(host, &st) < 0 || (S_ISDIR(st.st_mode) && w->flags & COPY_RUNTIME))
		return 0;
	// A link that stays inside what is being copied finds its target there; others bring theirs along.
	if (target[0] == '/' || !w->to) {
		char *folder = folder_of(host);

		inner = target[0] == '/' ? xstrdup(target) : xasprintf("%s/%s", folder, target);
		copy_queue(c, inner, NULL, w->flags | COPY_OPTIONAL | COPY_QUIET, "target of the link %s", image);
		free(folder);
		free(inner);
	}
	return 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_folder(const char *host, struct string_list *names, struct fault *p)
{
	struct dirent *entry;
	DIR *d = opendir(host);

	if (!d)
		return fault_errno(p, errno, "cannot list %s", host);
	while ((entry = readdir(d)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			string_list_add(names, entry->d_name);
	closedir(d);
	if (names->count)
		qsort(names->items, names->count, sizeof(*names->items), compare_names);
	return 0;
}

static int place_folder(struct copier *c, const struct copy_work *w, const char *host, const char *image, const char *relative,
			struct fault *p)
{
	struct string_list names = {0};
	int err;

	err = tree_mkdirs(&c->tree, image, p);
	if (!err)
		err = list_folder(host, &names, p);
	for (size_t i = 0; !err && i < names.count; i++) {
		char *inner_host = xasprintf("%s/%s", strcmp(host, "/") ? host : "", names.items[i]);
		char *inner_image = xasprintf("%s/%s", strcmp(image, "/") ? image : "", names.items[i]);
		char *inner_relative = xasprintf("%s%s%s", relative, *relative ? "/" : "", names.items[i]);
		struct copy_work inner = *w;
		struct stat st;

		inner.from = inner_host;
		if (copy_left_out(inner_relative, names.items[i], w->flags))
			;
		else if (lstat(inner_host, &st) < 0)
			err = fault_errno(p, errno, "cannot look at %s", inner_host);
		else if (S_ISDIR(st.st_mode))
			err = place_folder(c, w, inner_host, inner_image, inner_relative, p);
		else if (S_ISLNK(st.st_mode))
			err = place_link(c, &inner, inner_host, inner_image, p);
		else if (S_ISREG(st.st_mode))
			err = place_file(c, &inner, inner_host, inner_image, p);
		else
			copy_note(c, "%s is neither file, folder nor link: left out", inner_host);
		free(inner_host);
		free(inner_image);
		free(inner_relative);
	}
	string_list_free(&names);
	return err;
}

// Walks an absolute path part by part; each link on the way is followed, and with `make` made in the image too. What remains in
// `canonical` has no links.
static int walk(struct copier *c, const char *path, bool make, char canonical[PATH_MAX], struct fault *p)
{
	char *rest = xstrdup(path), *next;
	int links = 0, err = 0;
	struct stat st;

	canonical[0] = '\0';
	while (*rest && !err) {
		size_t skip = strspn(rest, "/"), n = strcspn(rest + skip, "/"), have = strlen(canonical);
		char target[PATH_MAX], host[PATH_MAX];
		ssize_t len;

		if (!n)
			break;
		if (n == 1 && rest[skip] == '.') {
			memmove(rest, rest + skip + n, strlen(rest + skip + n) + 1);
			continue;
		}
		if (n == 2 && !memcmp(rest + skip, "..", 2)) {
			char *slash = strrchr(canonical, '/');

			if (slash)
				*slash = '\0';
			memmove(rest, rest + skip + n, strlen(rest + skip + n) + 1);
			continue;
		}
		if (have + 1 + n >= PATH_MAX) {
			err = fault_set(p, -ENAMETOOLONG, "%s is too long a path", path);
			break;
		}
		canonical[have] = '/';
		memcpy(canonical + have + 1, rest + skip, n);
		canonical[have + 1 + n] = '\0';
		memmove(rest, rest + skip + n, strlen(rest + skip + n) + 1);
		if (!copy_host(c, canonical, host, &st)) {
			err = fault_errno(p, errno, "%s", path);
			break;
		}
		if (!S_ISLNK(st.st_mode))
			continue;
		len = readlink(host, target, sizeof(target) - 1);
		if (len < 0 || ++links > MOST_LINKS) {
			err = fault_set(p, -ELOOP, "%s has too many links on its way", path);
			break;
		}
		target[len] = '\0';
		if (make && string_set_add(&c->done, canonical, NULL)) {
			err = tree_symlink(&c->tree, canonical, target, p);
			string_set_add(&c->base_names, strrchr(canonical, '/') + 1, NULL);
		}
		next = xasprintf("%s/%s", target, rest);
		free(rest);
		rest = next;
		canonical[target[0] == '/' ? 0 : have] = '\0';
	}
	free(rest);
	if (!canonical[0])
		strcpy(canonical, "/");
	return err;
}

static int place(struct copier *c, const struct copy_work *w, struct fault *p)
{
	char canonical[PATH_MAX], host[PATH_MAX], extra[64], size[32];
	uint64_t files = c->files, bytes = c->bytes;
	const char *image;
	struct stat st;
	int err = 0;

	if (w->to) {
		if (!realpath(w->from, canonical))
			err = fault_errno(p, errno, "%s", w->from);
	} else {
		err = walk(c, w->from, true, canonical, p);
	}
	if ((err == -ENOENT || err == -EACCES || err == -ENOTDIR) && w->flags & COPY_OPTIONAL) {
		copy_note(c, "%s (%s)", p->text, w->reason);
		return 0;
	}
	if (err)
		return err;
	image = w->to ? w->to : canonical;
	if (w->to)
		strcpy(host, canonical);
	if (w->to ? stat(host, &st) < 0 : !copy_host(c, canonical, host, &st))
		return fault_errno(p, errno, "%s", canonical);
	if (string_set_has(&c->done, image)) {
		char *again = xasprintf("by the name of %s", w->from);

		// Here already; but by another name a library may find others.
		if (S_ISREG(st.st_mode) && !w->to && strcmp(w->from, canonical) != 0 && string_set_add(&c->done, again, NULL))
			err = look_at(c, w, host, image, p);
		free(again);
		return err;
	}
	if (S_ISREG(st.st_mode)) {
		report(c, w, w->to ? w->to : w->from, "");
		err = place_file(c, w, host, image, p);
	} else if (S_ISDIR(st.st_mode) && w->flags & COPY_FOLDER) {
		err = tree_mkdirs(&c->tree, image, p);
	} else if (S_ISDIR(st.st_mode) && w->flags & COPY_LINKS) {
		return 0;
	} else if (S_ISDIR(st.st_mode)) {
		string_set_add(&c->done, image, NULL);
		err = place_folder(c, w, host, image, "", p);
		if (!err && is_unpacked(c, host) && !stat(canonical, &st) && S_ISDIR(st.st_mode)) // packages of both kinds have files there
			err = place_folder(c, w, canonical, image, "", p);
		snprintf(extra, sizeof(extra), " (%llu files, %s)", (unsigned long long)(c->files - files),
			 human_size(size, c->bytes - bytes));
		if (!err && c->files > files)
			report(c, w, image, extra);
	} else {
		err = fault_set(p, -EINVAL, "%s is neither a file nor a folder: it cannot be copied", w->from);
	}
	return err;
}

// ---- the whole ----

int copy_begin(struct copier *c, const struct config *config, FILE *report_to, struct fault *p)
{
	char *path = xasprintf("%s/image", config->project);
	int err;

	*c = (struct copier){.config = config, .report = report_to};
	err = tree_open(&c->tree, path, p);
	if (!err)
		libpath_init(&c->libpath, "");
	free(path);
	return err;
}

int copy_item(struct copier *c, const char *from, const char *to, struct fault *p)
{
	const char *working = strcmp(c->config->working_directory, "/") ? c->config->working_directory : "";
	char *in_project = NULL, *place_in_image = NULL, *found = NULL;
	size_t before = c->queue_count;
	int err = 0;

	if (starts_with(from, "debian:"))
		return copy_debian_package(c, from + 7, p);
	if (starts_with(from, "debian-files:"))
		return copy_debian_files(c, from + 13, 0, "you asked for it", p);
	if (starts_with(from, "locale:"))
		return copy_locale(c, from + 7, p);
	if (starts_with(from, "timezone:"))
		return copy_timezone(c, from + 9, p);
	if (starts_with(from, "python:")) {
		if (!c->python_version) {
			copy_queue(c, "/usr/bin/python3", NULL, 0, "runs the module %s", from + 7);
			err = copy_finish(c, p);
		}
		before = c->queue_count;
		if (!err)
			err = copy_python_module(c, from + 7, "you asked for it", p);
		if (!err && before == c->queue_count && !string_set_has(&c->python_seen, from + 7))
			err = fault_set(p, -ENOENT, "there is no Python module %s in /usr/lib/python3/dist-packages", from + 7);
		return err;
	}
	if (from[0] == '/') {
		if (!exists(c, from) && access(from, F_OK) < 0)
			return fault_errno(p, errno, "cannot copy %s", from);
		copy_queue(c, from, to, 0, "you asked for it");
		return 0;
	}
	in_project = xasprintf("%s/%s", c->config->project, from);
	if (!access(in_project, F_OK)) {
		const char *name = from;

		// What lies beside the project, not in it, is known by its last part.
		if (starts_with(name, "../") || strstr(name, "/../")) {
			for (size_t n = strlen(in_project); n > 1 && in_project[n - 1] == '/';)
				in_project[--n] = '\0';
			name = strrchr(in_project, '/') + 1;
		}
		while (starts_with(name, "./"))
			name += 2;
		place_in_image = to ? xstrdup(to) : xasprintf("%s/%s", working, name);
		for (size_t n = strlen(place_in_image); n > 1 && place_in_image[n - 1] == '/';)
			place_in_image[--n] = '\0';
		copy_queue(c, in_project, place_in_image, 0, "you asked for it");
	} else if (!strchr(from, '/') && (found = copy_find_program(from))) {
		copy_queue(c, found, to, 0, "you asked for it");
	} else {
		err = fault_set(p, -ENOENT, "cannot copy %s: there is no such file in the project%s", from,
				  strchr(from, '/') ? "" : ", and no program of that name in /usr/bin or the like");
	}
	free(found);
	free(place_in_image);
	free(in_project);
	return err;
}

static int check_missing(struct copier *c, struct fault *p)
{
	for (size_t i = 0; i < c->missing_count; i++) {
		struct copy_missing *m = &c->missing[i];
		struct text hint = {0};

		// A library that some other file brought in is in memory already when this one asks for it by name.
		if (string_set_has(&c->base_names, m->name))
			continue;
		if (m->optional) {
			copy_note(c, "%s needs the library %s, which is not on this machine", m->needed_by, m->name);
			continue;
		}
		libpath_debian_hint(m->name, &hint);
		if (m->passed_over)
			fault_set(p, -ENOENT, "%s needs the library %s; %s is for another machine (not x86-64), and there is no "
				    "other\n  hint: %s", m->needed_by, m->name, m->passed_over, hint.data);
		else
			fault_set(p, -ENOENT, "%s needs the library %s, which is not on this machine\n  hint: %s", m->needed_by,
				    m->name, hint.data);
		text_free(&hint);
		return -ENOENT;
	}
	return 0;
}

int copy_finish(struct copier *c, struct fault *p)
{
	int err = 0;

	while (!err) {
		struct copy_work w;

		if (c->queue_head == c->queue_count) {
			if (!c->glibc_seen || !string_set_add(&c->packs_done, "glibc", NULL))
				break;
			// libgcc_s is loaded by glibc itself, when a thread ends or is cancelled.
			copy_queue(c, "/lib/x86_64-linux-gnu/libgcc_s.so.1", NULL, COPY_OPTIONAL, "glibc loads it to end threads");
			copy_queue(c, "/usr/lib/locale/C.utf8", NULL, COPY_OPTIONAL, "the locale C.UTF-8");
			continue;
		}
		w = c->queue[c->queue_head++];
		err = place(c, &w, p);
		free(w.from);
		free(w.to);
		free(w.reason);
		free(w.rpath);
	}
	if (!err)
		err = copy_users(c, p);
	return err ? err : check_missing(c, p);
}

void copy_end(struct copier *c)
{
	for (size_t i = c->queue_head; i < c->queue_count; i++) {
		free(c->queue[i].from);
		free(c->queue[i].to);
		free(c->queue[i].reason);
		free(c->queue[i].rpath);
	}
	free(c->queue);
	for (size_t i = 0; i < c->missing_count; i++) {
		free(c->missing[i].name);
		free(c->missing[i].needed_by);
		free(c->missing[i].passed_over);
	}
	free(c->missing);
	free(c->python_version);
	string_set_free(&c->done);
	string_set_free(&c->base_names);
	string_set_free(&c->python_seen);
	string_set_free(&c->packs_done);
	if (c->debian)
		debian_free(c->debian);
	free(c->debian);
	free(c->unpacked);
	debian_script_free(&c->accounts);
	string_list_free(&c->undone);
	libpath_free(&c->libpath);
	tree_close(&c->tree);
}
