// SPDX-License-Identifier: Apache-2.0
// Mounting a sealed volume on the owner's machine through FUSE (hosted): what `coffer mount` calls, and what its two
// files share.
#pragma once
#include "seal/tool.h"
#include "seal/tool_impl.h"
#include <sys/types.h>

struct seal_mount_options {
	bool read_only;
	bool foreground;  // else the process goes to the background as soon as the volume is mounted
	bool allow_other; // other users may enter, as far as modes let them
	bool discard;	  // what a commit freed is given back to the file system that holds the volume
	bool keep_owner;  // owners as the volume has them; else root and this user change places
	void (*mounted)(void *ctx); // called when the mount stands, before the process goes to the background; may be NULL
	void *ctx;
};

// Serves the volume `path` at `dir` until it is unmounted (fusermount3 -u, umount) or SIGTERM, SIGINT or SIGHUP comes;
// then everything is committed. The key is wiped as soon as the volume is open. Without `foreground` the calling process
// ends with 0 when the mount stands, and only its child returns from here. Damage that is met on the way is a
// sentence on stderr, or in the syslog.
int seal_tool_mount(const char *path, u8 key[SEAL_KEY_BYTES], const char *dir, const struct seal_mount_options *o,
		    struct seal_tool_err *err);

// --- between tool_mount.c and tool_mount_ops.c

struct mount_node { // what the host's kernel knows of: one a file
	struct seal_inode *inode;
	u64 ino;
	u64 lookups; // references that the kernel holds
	struct mount_node *next;
};

struct mount {
	struct tool_vol t;
	struct mount_node **table; // by ino
	size_t buckets, nodes;
	uid_t uid; // who changes places with root; 0: nobody
	gid_t gid;
	bool read_only, background;
	bool unchecked;	 // the host's kernel does not look at who changes a file's flags
	u8 *buf;	 // TOOL_CHUNK bytes for reading
	char told[224];	 // the last sentence about damage: it is not repeated
};

struct fuse_lowlevel_ops;
extern const struct fuse_lowlevel_ops mount_ops;
void mount_release_nodes(struct mount *m);
// An error of the library for the program; when it is damage or the host's storage, says what is known about it.
int mount_error(struct mount *m, int e);
void mount_say(const struct mount *m, const char *text);

// Root's number and the user's change places, in both directions.
static inline u32 mount_swap_id(u32 id, u32 own) { return !own ? id : id == 0 ? own : id == own ? 0 : id; }

// --- tool_mount_flags.c: 0, or -EPERM where flags of files forbid it
u32 mount_flags(struct mount *m, struct seal_inode *i);
int mount_may(struct mount *m, struct seal_inode *i, u32 forbidden);
int mount_may_open(struct mount *m, struct seal_inode *i, int how); // O_*
int mount_may_write(struct mount *m, struct seal_inode *i, bool append, u64 off); // append: it was opened with O_APPEND
int mount_may_set(struct mount *m, struct seal_inode *i, bool now_only); // attributes; nothing but times, that become now
int mount_may_allocate(struct mount *m, struct seal_inode *i, int mode);
int mount_may_remove(struct mount *m, struct seal_inode *dir, const char *name, u32 len);
int mount_may_rename(struct mount *m, struct seal_inode *from, const char *name, u32 len, struct seal_inode *to, const char *newname,
		     u32 newlen);
// FS_IOC_GETFLAGS and the like, by user `caller` of this machine: bytes of the answer, or -ENOTTY where it is another request.
#define MOUNT_FLAGS_BYTES 64u
int mount_ioctl_flags(struct mount *m, struct seal_inode *i, u32 caller, unsigned cmd, const void *in, size_t in_size, void *out, size_t out_size);
