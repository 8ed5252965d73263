// SPDX-License-Identifier: Apache-2.0
// Debian packages as `coffer copy` sees them: what dpkg says of the installed ones, and what apt has of the others. Packages are
// unpacked, never configured: their maintainer scripts are read, not run.
#ifndef COFFER_IMAGE_DEBIAN_H
#define COFFER_IMAGE_DEBIAN_H

#include "image/text.h"
#include "lib/fault.h"

struct debian_package {
	char *name, *version;
	char *depends;		// Pre-Depends and Depends in one
	char *recommends;
	char *info;		// its files in dpkg's database, without the ending: "/var/lib/dpkg/info/libc6:amd64"
	bool unpacked;		// not installed: its files lie in the folder of unpacked packages
	bool wanted;		// by debian_closure()
	const char *why;	// the package that needs it; NULL for the one that was asked for
};

struct debian {
	struct debian_package *items;
	size_t count, capacity;
	struct string_set names;	// name -> index, decimal
	struct string_set provides;	// virtual name -> names of its providers, space-separated
	struct string_set links;	// of alternatives: name in /etc/alternatives -> the link that leads to it
	bool links_read;
};

// Reads `root`/var/lib/dpkg/status, the installed packages of this machine's kind. -ENOENT where there is no dpkg.
int debian_read(struct debian *d, const char *root, struct fault *p);
// Adds the packages of a control file's text; `info`: the folder of their file lists. `unpacked`: they take the place of installed ones.
void debian_add(struct debian *d, const char *control, const char *info, bool unpacked);
void debian_free(struct debian *d);
struct debian_package *debian_find(struct debian *d, const char *name);

// What the package `name` needs: calls `got` for each package once, the asked one first, then in the order of the dependencies.
// Of alternatives the first that is there is taken. What only packaging needs (debconf, adduser, dpkg, ...) is left out.
// `missing` gets "PACKAGE (needed by OTHER)" for what is not there.
typedef int debian_visit(void *ctx, struct debian_package *pkg, struct fault *p);
int debian_closure(struct debian *d, const char *name, bool recommends, debian_visit *got, void *ctx, struct string_list *missing,
		   struct fault *p);

// The link (/usr/bin/awk) that leads to /etc/alternatives/NAME, or NULL.
const char *debian_alternative(struct debian *d, const char *name);

// A maintainer script, or a file of sysusers.d, as far as a reader that runs nothing can know what it would do.
struct debian_account {
	char *name;
	char *group;		// of a user: its main group; NULL: one of its own name, made with it
	char *home, *shell, *gecos;
	bool user;		// else a group alone
	char *member_of;	// comma-separated further groups, or NULL
	long id;		// fixed by the package, or -1
};

struct debian_script {
	struct debian_account *accounts;
	size_t account_count;
	struct string_list folders;	// made with mkdir or install -d
	struct string_list paths;	// other absolute paths that it names
	struct string_list alternatives;	// "LINK NAME PATH" of update-alternatives --install and --slave
	struct string_list commands;	// programs of interest that it calls: chown, ucf, ...
	struct string_list unclear;	// lines about users that could not be read
};

void debian_script_read(struct debian_script *s, const char *text, size_t len);
void debian_sysusers_read(struct debian_script *s, const char *text, size_t len);
void debian_script_free(struct debian_script *s);

#endif
