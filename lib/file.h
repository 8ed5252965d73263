// SPDX-License-Identifier: Apache-2.0
// Small whole files: bounded reading, atomic writing, private folders. No locks.
#ifndef COFFER_LIB_FILE_H
#define COFFER_LIB_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "lib/fault.h"

// Reads a whole file of at most `limit` bytes into *out (malloc, a NUL behind it, free by the caller).
// -errno, -EFBIG, -ENOMEM.
int file_read(const char *path, size_t limit, char **out, size_t *len, struct fault *f);

// The same for a file that holds a secret: refused (-EPERM) when group or others may read it or it is another user's.
int file_read_private(const char *path, size_t limit, char **out, size_t *len, struct fault *f);

// Writes a new file of the given mode in one step: temporary name in the same folder, fsync, rename (or, with `fresh`,
// link, which fails with -EEXIST where the name is taken).
int file_write(const char *path, const void *bytes, size_t len, mode_t mode, bool fresh, struct fault *f);

// The folder that `path` lies in is written: a rename lasts from then on.
int file_sync_folder(const char *path, struct fault *f);

// mkdir -p with mode 0700 for what is made; an existing last folder must not be writable by others (-EPERM).
int file_make_private_dir(const char *path, struct fault *f);

// A place for a service's files: $variable, else $XDG_DATA_HOME/coffer/name, else ~/.local/share/coffer/name.
// -ENOENT when none is set, -ENAMETOOLONG.
int file_data_dir(char *out, size_t size, const char *variable, const char *name);

// Wipes, then frees. NULL is fine.
void free_wiped(void *p, size_t len);

// Waits for its turn to read `path`, change it and write it anew: an exclusive lock on PATH.lock, made where it is missing, until *fd is closed.
int file_lock(const char *path, int *fd, struct fault *f);

#endif
