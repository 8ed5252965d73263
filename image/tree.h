// SPDX-License-Identifier: Apache-2.0
// The root file system that is being assembled in a project's image/ folder. Paths are absolute *in the image*; a link
// met on the way is followed inside the image (openat2, RESOLVE_IN_ROOT), so nothing is ever written outside it.
// Modes are made regular whatever the umask: 0755 for folders and programs, 0644 for other files.
#ifndef COFFER_IMAGE_TREE_H
#define COFFER_IMAGE_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "lib/fault.h"
#include "image/text.h"

// The time of every file in an image: 2 January 1980, because zip archives know none before 1980, in any time zone.
#define IMAGE_TIME 315619200u

struct attributes_map;

struct tree {
	int fd;
	char *path;			// of the image/ folder on this machine
	struct string_set folders;	// known to be there
	struct attributes_map *attributes; // of its files, while a root file system is imported; what is removed is forgotten there. NULL: none
};

// Opens the folder, making it when it is missing.
int tree_open(struct tree *t, const char *path, struct fault *p);
void tree_close(struct tree *t);

// Each of these returns 0 or -errno with a message.
int tree_mkdirs(struct tree *t, const char *folder, struct fault *p);
// An existing link is replaced; an existing file or folder is an error.
int tree_symlink(struct tree *t, const char *path, const char *target, struct fault *p);
// Copies a regular file with its modification time; leaves it alone when size and time are the same already.
// A Python .pyc gets the recorded time of its source set to IMAGE_TIME.
int tree_copy_file(struct tree *t, const char *host_path, const char *path, struct fault *p);
int tree_write_file(struct tree *t, const char *path, const void *bytes, size_t len, bool program, struct fault *p);
// Removes a file or an empty folder; no error when there is none.
int tree_remove(struct tree *t, const char *path, struct fault *p);
// lstat in the image. False when there is no such thing.
bool tree_stat(struct tree *t, const char *path, struct stat *st);
// Removes whatever is there, folders with all that they hold; a link itself, not what it leads to. No error when there is none.
int tree_remove_all(struct tree *t, const char *path, struct fault *p);
// The folder that holds `path` (links on the way followed inside the image; made where missing), as a descriptor to be closed; *name is the
// last part of `path`. Or -errno with a message.
int tree_parent(struct tree *t, const char *path, const char **name, struct fault *p);
// Opens for reading, following links inside the image. Returns a descriptor or -errno (no message).
int tree_open_file(struct tree *t, const char *path);

#endif
