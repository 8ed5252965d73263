// SPDX-License-Identifier: Apache-2.0
// Shared by the tool_*.c files: opening a volume with messages, hard-link table, progress.
#pragma once
#include "seal/hostio.h"
#include "seal/tool.h"
#include <dirent.h>

struct tool_vol {
	struct hostio host;
	struct seal_vol *vol;
	const char *path;
	u8 id[SEAL_ID_BYTES]; // with an anchor
	bool claimed;	      // the anchor let us write
	u64 told;	      // the generation that it knows
};
// Fills err->text ("what: why") and returns e.
int tool_err(struct seal_tool_err *err, int e, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
const char *tool_why(int e);
// An error of the library on an open volume: its fault's sentence where there is one.
int tool_vol_err(struct seal_tool_err *err, struct tool_vol *t, int e, const char *what);
int tool_mount(struct tool_vol *t, const char *path, const u8 *key, u32 flags, struct seal_tool_err *err);
int tool_unmount(struct tool_vol *t, int r, struct seal_tool_err *err); // r: error so far; the first one wins
// tool_anchor.c: mounts t->host, comparing with the anchor and claiming the volume where it is to be written; and before the unmount,
// tells the anchor of the last state.
int tool_attach(struct tool_vol *t, const u8 *key, u32 flags, struct seal_tool_err *err);
int tool_settle(struct tool_vol *t, struct seal_tool_err *err);
// tool_flags.c: SEAL_FLAG_* of a file of this machine; those that a copy takes over. An error only where the strict ones cannot be set.
u32 tool_flags_kept(u32 flags, bool keep_owner);
bool tool_flags_known(int fd);
u32 tool_flags_get(int fd);
int tool_flags_set(int fd, u32 flags);
// The inode of a path from the root ("a/b"), with a reference; *out may be NULL after an error. Symbolic links are not followed.
int tool_walk(struct seal_vol *v, const char *inner, struct seal_inode **out);
int tool_sync_parent(const char *path);					// makes a new name durable

// Hard links met so far: (a, b) -> value and path. A hash table.
struct link {
	u64 a, b;
	u64 value;
	char *path;
	struct link *next;
};
struct links {
	struct link **table;
	size_t n, buckets;
};
struct link *links_find(struct links *l, u64 a, u64 b);
int links_add(struct links *l, u64 a, u64 b, u64 value, const char *path);
void links_free(struct links *l);

struct names {	// directory entries, sorted
	char **v;
	size_t n, cap;
};
int tool_list_dir(struct seal_vol *v, struct seal_inode *d, struct names *out);
int tool_list_host_dir(DIR *d, struct names *out);
void names_free(struct names *l);

#define TOOL_CHUNK (1u << 20)
#define TOOL_DEPTH 256 // nesting of directories
#define TOOL_SIZES "a volume has at least 1 MiB (--size 1M) and at most 4 PiB (--size 4096T)"
