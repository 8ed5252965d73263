// SPDX-License-Identifier: Apache-2.0
// Where a dynamic linker would find a shared library, worked out from files alone (ld.so(8), ld-musl).
#ifndef COFFER_IMAGE_LIBPATH_H
#define COFFER_IMAGE_LIBPATH_H

#include "image/elf.h"
#include "image/text.h"

struct libpath {
	struct string_list configured;	// /etc/ld.so.conf with its includes
	struct string_list musl;	// /etc/ld-musl-x86_64.path or musl's default
	const char *unpacked;		// a folder whose files are looked at before those of the machine; NULL: none
};

// Reads the two linkers' configuration under `root` ("" for this machine).
void libpath_init(struct libpath *l, const char *root);
void libpath_free(struct libpath *l);

struct library_search {
	const struct elf_file *elf;	// the file that needs the library
	const char *origin;		// the folder of that file: $ORIGIN
	const char *inherited_rpath;	// DT_RPATH of the program that loads it, with $ORIGIN replaced; or NULL
	bool musl;
};

enum library_place { LIBRARY_MISSING, LIBRARY_BY_ORIGIN, LIBRARY_BY_RUNPATH, LIBRARY_CONFIGURED, LIBRARY_DEFAULT };

// Finds `name`. On success *path is the file (not canonical), to be freed. When a file was passed over because it is for
// another machine, *passed_over names it (else NULL); to be freed.
enum library_place libpath_find(const struct libpath *l, const struct library_search *s, const char *name, char **path,
				char **passed_over);

// DT_RPATH or DT_RUNPATH with $ORIGIN, $LIB and $PLATFORM replaced; to be freed.
char *libpath_expand(const char *path, const char *origin);

// The folders that glibc's dynamic linker searches unasked, ended by NULL.
extern const char *const libpath_defaults[];

// A guess at the Debian package that has a library ("libfoo.so.3" -> "libfoo3"), checked against the package lists of
// this machine. `out` gets a sentence, or "" when nothing is known.
void libpath_debian_hint(const char *library, struct text *out);

#endif
