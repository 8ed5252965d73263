// SPDX-License-Identifier: Apache-2.0
// Writes /etc/ld.so.cache of an image as ldconfig would (glibc sysdeps/generic/dl-cache.h, format 1.1), but from the files
// alone and always the same for the same files. ldconfig itself would need root, to change its root.
#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/build.h"
#include "image/elf.h"
#include "image/libpath.h"
#include "image/tree.h"

struct cache_header {
	char magic[20];			// "glibc-ld.so.cache1.1"
	uint32_t count;
	uint32_t string_bytes;
	uint8_t flags;			// 2: little-endian
	uint8_t padding[3];
	uint32_t extension_offset;
	uint32_t unused[3];
};

struct cache_entry {
	int32_t flags;			// 0x303: an x86-64 library for glibc
	uint32_t name;			// offsets from the start of the file
	uint32_t path;
	uint32_t os_version;
	uint64_t hwcap;
};

_Static_assert(sizeof(struct cache_header) == 48 && sizeof(struct cache_entry) == 24, "layout of glibc's cache");

// glibc's order of names (_dl_cache_libcmp): runs of digits count as numbers.
static int compare_library_names(const char *a, const char *b)
{
	while (*a) {
		bool digit_a = *a >= '0' && *a <= '9', digit_b = *b >= '0' && *b <= '9';

		if (digit_a && digit_b) {
			unsigned int x = 0, y = 0;

			while (*a >= '0' && *a <= '9')
				x = x * 10 + (unsigned int)(*a++ - '0');
			while (*b >= '0' && *b <= '9')
				y = y * 10 + (unsigned int)(*b++ - '0');
			if (x != y)
				return (int)x < (int)y ? -1 : 1;
		} else if (digit_a != digit_b) {
			return digit_a ? 1 : -1;
		} else if (*a != *b) {
			return *a - *b;
		} else {
			a++;
			b++;
		}
	}
	return *a - *b;
}

struct library {
	char *name;
	char *path;
};

// Greatest first, as the linker's binary search wants it.
static int compare_libraries(const void *a, const void *b)
{
	return compare_library_names(((const struct library *)b)->name, ((const struct library *)a)->name);
}

static bool is_library(struct tree *t, const char *path)
{
	unsigned char h[20];
	int fd = tree_open_file(t, path);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, h, sizeof(h));
	close(fd);
	return n == sizeof(h) && elf_is(h, sizeof(h)) && h[EI_CLASS] == ELFCLASS64 && h[16] == ET_DYN && h[18] == EM_X86_64;
}

static void add_folder(struct tree *t, const char *folder, struct library **libraries, size_t *count, struct string_set *names)
{
	int fd = tree_open_file(t, folder);
	struct dirent *entry;
	DIR *d;

	if (fd < 0)
		return;
	d = fdopendir(fd);
	if (!d) {
		close(fd);
		return;
	}
	while ((entry = readdir(d))) {
		char *path;

		if ((!starts_with(entry->d_name, "lib") && !starts_with(entry->d_name, "ld-")) || !strstr(entry->d_name, ".so") ||
		    string_set_has(names, entry->d_name))
			continue;
		path = xasprintf("%s/%s", folder, entry->d_name);
		if (is_library(t, path)) {
			string_set_add(names, entry->d_name, NULL);
			*libraries = xrealloc(*libraries, (*count + 1) * sizeof(**libraries));
			(*libraries)[(*count)++] = (struct library){xstrdup(entry->d_name), path};
		} else {
			free(path);
		}
	}
	closedir(d);
}

int image_ldcache(struct tree *t, struct fault *p)
{
	struct cache_header header = {.magic = "glibc-ld.so.cache1.", .flags = 2};
	struct text out = {0}, strings = {0};
	struct library *libraries = NULL;
	struct string_set names = {0};
	struct libpath search;
	size_t count = 0;
	uint32_t at;
	int err;

	libpath_init(&search, t->path);
	for (size_t i = 0; i < search.configured.count; i++)
		add_folder(t, search.configured.items[i], &libraries, &count, &names);
	for (int i = 0; libpath_defaults[i]; i++)
		add_folder(t, libpath_defaults[i], &libraries, &count, &names);
	if (!count) {
		err = tree_remove(t, "/etc/ld.so.cache", p);
		goto out;
	}
	qsort(libraries, count, sizeof(*libraries), compare_libraries);
	header.magic[19] = '1';
	header.count = (uint32_t)count;
	at = (uint32_t)(sizeof(header) + count * sizeof(struct cache_entry));
	text_add(&out, &header, sizeof(header));
	for (size_t i = 0; i < count; i++) {
		struct cache_entry entry = {.flags = 0x303, .name = at + (uint32_t)strings.len};

		text_add(&strings, libraries[i].name, strlen(libraries[i].name) + 1);
		entry.path = at + (uint32_t)strings.len;
		text_add(&strings, libraries[i].path, strlen(libraries[i].path) + 1);
		text_add(&out, &entry, sizeof(entry));
	}
	text_add(&out, strings.data, strings.len);
	((struct cache_header *)out.data)->string_bytes = (uint32_t)strings.len;
	err = tree_write_file(t, "/etc/ld.so.cache", out.data, out.len, false, p);
out:
	for (size_t i = 0; i < count; i++) {
		free(libraries[i].name);
		free(libraries[i].path);
	}
	free(libraries);
	string_set_free(&names);
	libpath_free(&search);
	text_free(&out);
	text_free(&strings);
	return err;
}
