// SPDX-License-Identifier: Apache-2.0
// `coffer copy`: brings programs, scripts and folders into image/ with what they need to run: shared libraries,
// interpreters, and the data of well-known runtimes (packs.c). Programs are read, never run.
//
// What can be copied, and where it goes:
//   /usr/bin/prog     an absolute path keeps its place, and so does every link on the way to it
//   score.py, data/   a path in the project (or beside it) goes to the working directory of coffer.yaml
//   python3           a bare name that is no file of the project is looked up in /usr/local/bin:/usr/bin:/bin:...
//   debian:NAME       the files of a Debian package and of those that it needs, without documentation (package.c)
//   debian-files:NAME the files of one installed Debian package
//   locale:NAME       a locale, such as de_DE.UTF-8 (items.c)
//   timezone:NAME     a time zone, which becomes the image's own
//   python:NAME       a Python module of this machine's /usr/lib/python3/dist-packages, with what it imports
#ifndef COFFER_IMAGE_COPY_H
#define COFFER_IMAGE_COPY_H

#include <stdint.h>
#include <stdio.h>

#include "image/config.h"
#include "image/debian.h"
#include "image/libpath.h"
#include "image/tree.h"

enum copy_flags {
	COPY_OPTIONAL = 1,	// what is missing, or cannot be used, is left out
	COPY_RUNTIME = 2,	// part of a runtime: scripts in it do not bring their interpreters
	COPY_QUIET = 4,		// not a line of its own in the report
	COPY_LINKS = 8,		// a link to a folder is made, without what the folder holds
	COPY_FOLDER = 16,	// of a folder nothing but the folder
};

struct copy_work {
	char *from;		// absolute path on this machine
	char *to;		// path in the image; NULL: the same, links included
	char *reason;
	char *rpath;		// DT_RPATH of the program that loads it, or NULL
	bool musl;
	int flags;
};

struct copy_missing {
	char *name;
	char *needed_by;
	char *passed_over;
	bool optional;
};

struct copier {
	const struct config *config;
	struct tree tree;
	struct libpath libpath;
	FILE *report;				// NULL: silent
	bool report_files;			// a line for each file, not just for each thing
	struct string_set done;			// image paths
	struct string_set base_names;		// of all files copied: libraries that the linker will have loaded already
	struct string_set python_seen;		// Python modules and scripts looked at
	struct string_set packs_done;
	struct copy_work *queue;
	size_t queue_head, queue_count, queue_capacity;
	struct copy_missing *missing;
	size_t missing_count;
	char *python_version;			// "3.11" once a Python is in the image
	bool glibc_seen;
	uint64_t files, bytes;
	uint64_t notes;				// optional things left out
	struct debian *debian;			// what dpkg says, once it was asked
	char *unpacked;				// the folder of unpacked packages: its files come before this machine's; NULL: none
	struct debian_script accounts;		// users and groups that packages make
	bool base_users;			// the users that each Debian has
	struct string_list undone;		// what maintainer scripts would have done
};

int copy_begin(struct copier *c, const struct config *config, FILE *report, struct fault *p);
// Queues one thing (see the top of this file). `to` may be NULL.
int copy_item(struct copier *c, const char *from, const char *to, struct fault *p);
// Copies all that is queued, and what that needs.
int copy_finish(struct copier *c, struct fault *p);
void copy_end(struct copier *c);

// A program of the usual folders (/usr/bin, ...) by its name, or NULL; to be freed.
char *copy_find_program(const char *name);

// For packs.c and python.c: queues a path of this machine.
__attribute__((format(printf, 5, 6)))
void copy_queue(struct copier *c, const char *from, const char *to, int flags, const char *reason, ...);
__attribute__((format(printf, 2, 3))) void copy_note(struct copier *c, const char *format, ...);
// May a file be left out of a folder that is copied? (Caches, version control, tests of Python packages, ...)
bool copy_left_out(const char *relative, const char *base, int flags);

// packs.c: called once for each regular file that was copied; queues the data of the runtime that it belongs to.
int copy_pack(struct copier *c, const char *image_path, struct fault *p);

// package.c: "NAME", "NAME=VERSION", each with "+recommends": a Debian package with what it needs.
int copy_debian_package(struct copier *c, const char *item, struct fault *p);
// The files of one installed package alone.
int copy_debian_files(struct copier *c, const char *package, int flags, const char *reason, struct fault *p);

// items.c
int copy_locale(struct copier *c, const char *name, struct fault *p);
int copy_timezone(struct copier *c, const char *name, struct fault *p);

// users.c: the users of packages, into the image's /etc.
int copy_users(struct copier *c, struct fault *p);

// Where a path of the image comes from: the unpacked packages, or this machine. `out` (PATH_MAX, or NULL) gets that file, *st (or NULL)
// what it is (lstat). False when neither has it.
bool copy_host(const struct copier *c, const char *path, char *out, struct stat *st);
// From now on unpacked packages count.
int copy_unpacked(struct copier *c, struct fault *p);

// python.c: what a Python file or module imports.
int copy_python_file(struct copier *c, const char *host, const char *image, bool whole, struct fault *p);
int copy_python_module(struct copier *c, const char *module, const char *why, struct fault *p);

#endif
