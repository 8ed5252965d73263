// SPDX-License-Identifier: Apache-2.0
// Sealed volumes: a copy-on-write tree file system in one file that the host keeps but cannot read or
// change. Every block is encrypted with AES-256-GCM; the pointer to a block carries its nonce and tag, so the
// root covers every byte, name and size. docs/sealed-volume.md has the format and the guarantees.
//
// All functions return 0 (or a count) or a negative errno, and take the volume's lock themselves. Offsets and
// sizes are in bytes, pages are 4096 bytes. Names are not terminated; their length is given.
#pragma once
#include "seal/port.h"

#define SEAL_BLOCK	 4096u
#define SEAL_KEY_BYTES	 32u
#define SEAL_ID_BYTES	 16u
#define SEAL_NAME_MAX	 255u
#define SEAL_LINK_MAX	 65000u
#define SEAL_SYMLINK_MAX 4095u
#define SEAL_SNAPNAME_MAX 255u
#define SEAL_ROOT_INO	 1ul
#define SEAL_BUF_BYTES	 (256u << 10) // largest single transfer asked of seal_io

// Errors with a meaning of their own; seal_fault() tells the details.
#define SEAL_ETAMPER	(-EBADMSG) // a block is not the one that was written: changed, swapped, replayed or cut off
#define SEAL_EKEY	(-EKEYREJECTED)	   // the key is not this volume's (or the header was altered)
#define SEAL_ENOTVOLUME (-EMEDIUMTYPE)	   // not a sealed volume at all
#define SEAL_EVERSION	(-EPROTONOSUPPORT) // another version of the format
#define SEAL_EIDENTITY	(-EXDEV)	   // a sealed volume, but not the one asked for
#define SEAL_ECORRUPT	(-EUCLEAN)	   // authentic but inconsistent: a defect of the writer
#define SEAL_EROLLBACK	(-EKEYEXPIRED)	   // authentic, but older than (or beside) the state that the anchor remembers

struct seal_vol;
struct seal_inode;

// Where the ciphertext lives. The other side is hostile: nothing it returns is trusted.
struct seal_io {
	void *ctx;
	// Whole transfers or an error; reading past the end is -ENODATA. len is a multiple of 4096, at most
	// SEAL_BUF_BYTES.
	int (*read)(void *ctx, u64 off, void *buf, size_t len);
	int (*write)(void *ctx, u64 off, const void *buf, size_t len); // grows the file as needed
	// Everything written before is durable after. Several threads may be in it at once; once it has failed it fails for all who come back later.
	int (*flush)(void *ctx);
	s64 (*size)(void *ctx);					       // bytes
	// Optional. The range holds nothing any more: its room on the host's disk can go; what it reads as is not relied on.
	int (*punch)(void *ctx, u64 off, u64 len);
	int (*truncate)(void *ctx, u64 size); // makes the file shorter
	// Optional. The range was written, and a flush is coming: the host may begin to bring it to its disk. Nothing is promised, nothing waited for.
	void (*write_out)(void *ctx, u64 off, u64 len);
};

// What the surroundings provide. One env may serve several volumes when lock/unlock are given per volume.
struct seal_env {
	void *ctx;
	void *(*alloc)(void *ctx, size_t n); // 16-byte aligned (64 for n >= 4096), not zeroed; NULL when out of memory
	void (*free)(void *ctx, void *p, size_t n);
	int (*random)(void *ctx, void *buf, size_t n);	     // cryptographic; 0 or -errno
	u64 (*now_ns)(void *ctx);			     // CLOCK_REALTIME
	void (*lock)(void *ctx), (*unlock)(void *ctx);	     // one mutex for the volume; NULL: single-threaded
	// Lets those who wait have the mutex for a moment, and takes it again. NULL: unlock and lock.
	void (*pause)(void *ctx);
	void (*fpu_begin)(void *ctx), (*fpu_end)(void *ctx); // around vector code; NULL: not needed
	void (*log)(void *ctx, const char *text);	     // one line, no newline; NULL: silent
	// Calls fn(arg), and when it likes to, at the same time from another thread; both are back when it returns. NULL: it does not.
	void (*share)(void *ctx, void (*fn)(void *arg), void *arg);
	size_t cache_bytes;				     // metadata cache; 0: 16 MiB
};

enum seal_fault_kind {
	SEAL_FAULT_NONE,
	SEAL_FAULT_CONTENT, // a block does not match the tag in its parent
	SEAL_FAULT_CUT,	    // the storage ends before the block
	SEAL_FAULT_POINTER, // an authentic pointer makes no sense
	SEAL_FAULT_ROOT,    // no root slot authenticates
	SEAL_FAULT_KEY,
	SEAL_FAULT_IO,	   // the host reported an error
	SEAL_FAULT_FORMAT, // an authentic structure makes no sense
	SEAL_FAULT_ROLLBACK, // the whole volume is an older one
	SEAL_FAULT_LOST,     // contents that a repair could not save
};
struct seal_fault {
	int kind;
	u64 block;	// number of the 4096-byte block in the volume file
	u64 ino;	// inode whose tree holds it; 0: the volume's own structures
	u32 level;	// 0: contents, above: pointer blocks
	u64 index;	// position in that level
	char text[224]; // one sentence for a human
};

struct seal_info {
	u8 id[SEAL_ID_BYTES];
	u32 version;
	u64 generation;	 // of the root: counts commits; who remembers it can see a rollback
	u64 size_blocks; // limit of the volume
	u64 used_blocks, free_blocks;
	u64 inodes;		   // files, directories, links in use
	u32 sessions;		   // keys that live blocks are encrypted with
	bool read_only, fell_back; // fell_back: one root slot did not authenticate (interrupted commit, or tampering)
	u32 snapshots;
	u32 keys; // master keys that open either root: 2 while the key is being changed, or when that was cut short
	bool reencrypting, shrinking, freeing; // what seal_work has still to do; freeing: of deleted snapshots
	u64 shared_blocks;   // with more than one reference
	u64 reserved_blocks; // set aside by seal_fallocate
	u32 log_records;     // syncs since the newest root; each counts as a commit
};

struct seal_attr {
	u64 ino;
	u32 mode; // S_IFMT | permissions
	u32 nlink, uid, gid;
	u64 rdev, size;
	u64 blocks;				    // 512-byte units in use
	s64 atime_ns, mtime_ns, ctime_ns, btime_ns; // since 1970
	u32 generation;
	u64 parent; // directories: inode of ".."
	u32 snapshot; // 0: the live tree. Else every change is refused with -EROFS
	u32 flags;    // SEAL_FLAG_*
};
// Flags of files and directories, with Linux's numbers (chattr). The library keeps them, gives new files those that a directory's
// files inherit, and no more: what they forbid is the caller's to refuse, like permissions.
#define SEAL_FLAG_IMMUTABLE 0x10u
#define SEAL_FLAG_APPEND    0x20u
#define SEAL_FLAG_NODUMP    0x40u
#define SEAL_FLAG_NOATIME   0x80u
#define SEAL_FLAGS	    (SEAL_FLAG_IMMUTABLE | SEAL_FLAG_APPEND | SEAL_FLAG_NODUMP | SEAL_FLAG_NOATIME)
#define SEAL_FLAGS_INHERITED (SEAL_FLAG_NODUMP | SEAL_FLAG_NOATIME)

// --- volumes (seal/volume.c)

#define SEAL_RDONLY  1u
#define SEAL_DISCARD 2u // what a commit freed is given back to the host (seal_io.punch)
// Opens as much as can be read, for seal_fsck, seal_repair and seal_unmount; nothing else can be done with it.
#define SEAL_REPAIR 4u
// An anchor is going to let this mount write: no root and no record is written (-EBUSY) until seal_set_epoch. Blocks that the state
// found does not use may be.
#define SEAL_CLAIM   8u

// Makes an empty volume over whatever io held. `id` NULL: a random one. size_bytes: limit (0: 1 TiB), at least 1 MiB.
int seal_format(const struct seal_io *io, const struct seal_env *env, const u8 key[SEAL_KEY_BYTES], const u8 *id,
		u64 size_bytes);
// What can be known without the key: id and version. SEAL_ENOTVOLUME, SEAL_EVERSION, -EIO.
int seal_probe(const struct seal_io *io, const struct seal_env *env, u8 id[SEAL_ID_BYTES], u32 *version);
// Opens a volume. expect_id NULL: any. On failure *fault (may be NULL) says what does not match. The key is
// copied in derived form; the caller wipes its own copy. Roots written without an anchor are of no writer (epoch 0): an anchor that
// knows the volume takes none of them, since it cannot tell what they descend from.
int seal_mount(const struct seal_io *io, const struct seal_env *env, const u8 key[SEAL_KEY_BYTES], const u8 *expect_id,
	       u32 flags, struct seal_vol **out, struct seal_fault *fault);

// --- anchors (seal/anchor.c): what is remembered of a volume outside it, so that an older copy of the whole file is
// refused. docs/sealed-volume.md has the rules and why they suffice.
struct seal_anchor {
	u64 epoch;	// of the writer that may commit: each writing mount claims a new one
	u64 generation; // of the newest root that the anchor was told of
	u8 digest[32];	// that root's
};
// seal_mount, but the volume must be in the state that `least` tells of, or a later one of the same writer;
// SEAL_EROLLBACK otherwise. least NULL: it knows nothing yet. With `least` SEAL_CLAIM is implied.
int seal_mount_anchored(const struct seal_io *io, const struct seal_env *env, const u8 key[SEAL_KEY_BYTES],
			const u8 *expect_id, u32 flags, const struct seal_anchor *least, struct seal_vol **out,
			struct seal_fault *fault);
// The newest committed state, with the epoch that its root carries. Once the anchor knows it, no older one opens.
void seal_get_state(struct seal_vol *v, struct seal_anchor *out);
// The anchor gave this epoch to this mount: every root from now on carries it.
void seal_set_epoch(struct seal_vol *v, u64 epoch);
// Another writer has claimed the volume: nothing is committed any more, every change is -EIO.
void seal_fence(struct seal_vol *v);
// Is a volume in state `found` acceptable to an anchor that remembers `least`? 0 or SEAL_EROLLBACK and a sentence.
int seal_anchor_check(const struct seal_anchor *found, const struct seal_anchor *least, char *text, size_t n);

// Commits, wipes the keys, frees everything, also when the commit failed (whose error it returns). No handles may be
// left.
int seal_unmount(struct seal_vol *v);
// Makes everything done so far durable, atomically.
int seal_sync(struct seal_vol *v);
// Is it time for a seal_sync() though nobody asks? After 512 MiB that lay together were written anew or deleted, and the volume's file is short
// of room: after a commit what comes next takes theirs, which the host has in its memory. A hint, without the lock.
bool seal_sync_due(const struct seal_vol *v);
// The same, and both root slots then hold this state: as safe as after seal_unmount. For shutting down.
int seal_checkpoint(struct seal_vol *v);
void seal_get_info(struct seal_vol *v, struct seal_info *out);
// The last fault seen by any call on this volume.
void seal_get_fault(struct seal_vol *v, struct seal_fault *out);
struct seal_statfs {
	u64 blocks, bfree, bavail, files, ffree; // blocks of 4096
};
void seal_statfs(struct seal_vol *v, struct seal_statfs *out);

// --- keys (seal/key.c): the volume's secret is wrapped under at most two master keys
// From now on `key` opens the volume too. `old` is one that does. Nothing else is rewritten.
int seal_rekey_begin(struct seal_vol *v, const u8 old[SEAL_KEY_BYTES], const u8 key[SEAL_KEY_BYTES]);
// From now on only `key` opens it: the other's wrap is overwritten in both root slots. SEAL_EKEY: `key` does not.
int seal_rekey_finish(struct seal_vol *v, const u8 key[SEAL_KEY_BYTES]);
int seal_rekey(struct seal_vol *v, const u8 old[SEAL_KEY_BYTES], const u8 key[SEAL_KEY_BYTES]); // both steps
// A new secret, which only the master key `next` opens (it may be the same as `key`). Everything written from now on
// is under it; seal_work rewrites the rest. -EBUSY: one is under way.
int seal_reencrypt(struct seal_vol *v, const u8 key[SEAL_KEY_BYTES], const u8 next[SEAL_KEY_BYTES]);

// --- snapshots (seal/snap.c). Names are like file names. A mounted volume shows them, read-only, in the directory
// SEAL_SNAPDIR of its root, which seal_readdir of the root does not list.
#define SEAL_SNAPDIR ".snapshots"
struct seal_snapshot {
	u32 id;
	char name[SEAL_SNAPNAME_MAX + 1];
	u64 generation; // of the commit that it holds
	s64 created_ns;
	u64 inodes;
};
int seal_snapshot_create(struct seal_vol *v, const char *name, u32 len); // durable. -EEXIST, -EMLINK: too many
int seal_snapshot_delete(struct seal_vol *v, const char *name, u32 len); // durable; seal_work frees what it held
int seal_snapshot_list(struct seal_vol *v, bool (*fn)(void *ctx, const struct seal_snapshot *s), void *ctx);
// Blocks that nothing but this snapshot holds: what deleting it would free.
int seal_snapshot_usage(struct seal_vol *v, const char *name, u32 len, u64 *unique_blocks);
// The live tree becomes what the snapshot holds, in one commit. -EBUSY while inodes are held.
int seal_snapshot_rollback(struct seal_vol *v, const char *name, u32 len);
// Read-only; the root directory is the snapshot's. -ENOENT. The volume's state is compared with `least` (NULL: no anchor).
int seal_mount_snapshot(const struct seal_io *io, const struct seal_env *env, const u8 key[SEAL_KEY_BYTES],
			const u8 *expect_id, const char *name, u32 len, const struct seal_anchor *least, struct seal_vol **out,
			struct seal_fault *fault);
// Are the contents of two files the same blocks? false: perhaps not. For comparing snapshots.
bool seal_same(struct seal_vol *v, const struct seal_inode *a, const struct seal_inode *b);

// --- work that is done in pieces (seal/work.c): freeing what deleted snapshots held, re-encryption, shrinking
struct seal_work {
	const char *what; // "": nothing left
	u64 done, total;  // blocks gone through; an estimate
};
// Does about that many blocks of it and commits. 1: more is left, 0: no more. w may be NULL. To be called now and then
// on a volume that is in use, or until 0.
int seal_work(struct seal_vol *v, u64 blocks, struct seal_work *w);

// --- size (seal/resize.c)
// The limit of the volume. It grows at once; to shrink, seal_work moves what lies beyond and then truncates the file.
// -ENOSPC: what it holds does not fit. Mounted with SEAL_REPAIR it can grow only, and does so with the first commit of the repair.
int seal_resize(struct seal_vol *v, u64 bytes);
// Linux's FITRIM: free runs of at least minlen bytes in that range of the file are punched out of it. *trimmed: bytes.
// -EOPNOTSUPP: the io cannot.
int seal_trim(struct seal_vol *v, u64 off, u64 len, u64 minlen, u64 *trimmed);

// --- inodes: handles are counted references (seal/inode.c)
int seal_iget(struct seal_vol *v, u64 ino, struct seal_inode **out); // -ESTALE when free
void seal_iput(struct seal_vol *v, struct seal_inode *i);	     // last reference to an unlinked file frees it
void seal_getattr(struct seal_vol *v, struct seal_inode *i, struct seal_attr *out);
#define SEAL_SET_MODE  1u
#define SEAL_SET_UID   2u
#define SEAL_SET_GID   4u
#define SEAL_SET_SIZE  8u
#define SEAL_SET_ATIME 16u
#define SEAL_SET_MTIME 32u
#define SEAL_SET_CTIME 64u // else: now, on any change but ATIME alone
#define SEAL_SET_FLAGS 128u // -EOPNOTSUPP: others than SEAL_FLAGS, or not a file or directory
// What is as it should be already costs nothing when its ctime is given too.
int seal_setattr(struct seal_vol *v, struct seal_inode *i, u32 which, const struct seal_attr *a);

// --- names (seal/name.c). Permission checks are the caller's. *out gets a reference; out may be NULL.
int seal_lookup(struct seal_vol *v, struct seal_inode *dir, const char *name, u32 len, struct seal_inode **out);
// Any type but symlink: mode with S_IFMT (S_IFDIR makes a directory). -EEXIST, -ENOSPC, -ENAMETOOLONG.
int seal_create(struct seal_vol *v, struct seal_inode *dir, const char *name, u32 len, u32 mode, u32 uid, u32 gid,
		u64 rdev, struct seal_inode **out);
int seal_tmpfile(struct seal_vol *v, u32 mode, u32 uid, u32 gid,
		 struct seal_inode **out); // no name yet; seal_link gives one
int seal_symlink(struct seal_vol *v, struct seal_inode *dir, const char *name, u32 len, const char *target, u32 tlen,
		 u32 uid, u32 gid, struct seal_inode **out);
int seal_readlink(struct seal_vol *v, struct seal_inode *i, char *buf, u32 n); // length, not terminated
int seal_link(struct seal_vol *v, struct seal_inode *dir, const char *name, u32 len, struct seal_inode *i);
int seal_unlink(struct seal_vol *v, struct seal_inode *dir, const char *name, u32 len); // not directories
int seal_rmdir(struct seal_vol *v, struct seal_inode *dir, const char *name, u32 len);
#define SEAL_RENAME_NOREPLACE 1u
#define SEAL_RENAME_EXCHANGE  2u
int seal_rename(struct seal_vol *v, struct seal_inode *odir, const char *oname, u32 olen, struct seal_inode *ndir,
		const char *nname, u32 nlen, u32 flags);
// Calls emit for each entry after cookie (0: from the start) until it returns false (that entry is not consumed).
// Cookies are stable, above 255 and below 2^63; "." and ".." are not emitted. type: mode & S_IFMT.
typedef bool (*seal_emit)(void *ctx, const char *name, u32 len, u64 ino, u32 type, u64 cookie);
int seal_readdir(struct seal_vol *v, struct seal_inode *dir, u64 cookie, seal_emit emit, void *ctx);

// --- contents (seal/file.c)
// Any offset and length; short at the end of file. Returns bytes.
s64 seal_read(struct seal_vol *v, struct seal_inode *i, u64 off, void *buf, size_t n);
s64 seal_write(struct seal_vol *v, struct seal_inode *i, u64 off, const void *buf, size_t n);
// Whole pages for a page cache above: page k of the file goes to pages[k - first]. Beyond the end: zeros.
int seal_read_pages(struct seal_vol *v, struct seal_inode *i, u64 first, u32 n, void *const *pages);
// Stores whole pages, page index[k] from pages[k], index rising; bytes beyond new_size in the last page must be zero.
// Size becomes max(size, new_size); times are not touched. Encrypted and written out, not yet committed.
int seal_write_pages(struct seal_vol *v, struct seal_inode *i, const u64 *index, u32 n, const void *const *pages,
		     u64 new_size);
// About how many blocks are free for contents; takes no lock.
u64 seal_room(const struct seal_vol *v);
int seal_truncate(struct seal_vol *v, struct seal_inode *i, u64 size);
int seal_punch(struct seal_vol *v, struct seal_inode *i, u64 off, u64 len); // zeros, space freed; size stays
// Linux's fallocate, with its numbers. Allocating sets blocks aside: writing there later does not meet -ENOSPC.
#define SEAL_FALLOC_KEEP_SIZE  1
#define SEAL_FALLOC_PUNCH_HOLE 2
#define SEAL_FALLOC_ZERO_RANGE 16
int seal_fallocate(struct seal_vol *v, struct seal_inode *i, int mode, u64 off, u64 len);
// Blocks that writing there would take beyond those that are set aside or the file's own.
u64 seal_write_needs(struct seal_vol *v, struct seal_inode *i, u64 off, u64 len);
// Linux's FICLONERANGE: dst shares src's blocks. Offsets and length in whole blocks (but for a ragged end of src that
// becomes the end of dst); len 0: to the end of src. src may lie in a snapshot.
int seal_clone(struct seal_vol *v, struct seal_inode *src, u64 soff, struct seal_inode *dst, u64 doff, u64 len);
// The same if the two ranges have the same contents: 1; else nothing: 0.
int seal_dedupe(struct seal_vol *v, struct seal_inode *src, u64 soff, struct seal_inode *dst, u64 doff, u64 len);
int seal_fsync(struct seal_vol *v, struct seal_inode *i);		    // a commit of the volume
// SEEK_DATA / SEEK_HOLE: offset, or -ENXIO.
s64 seal_seek(struct seal_vol *v, struct seal_inode *i, u64 off, bool hole);

// --- extended attributes: 4 KiB for all of a file's (seal/xattr.c), as man 2 getxattr
s64 seal_getxattr(struct seal_vol *v, struct seal_inode *i, const char *name, u32 len, void *buf, size_t n);
#define SEAL_XATTR_CREATE  1
#define SEAL_XATTR_REPLACE 2
int seal_setxattr(struct seal_vol *v, struct seal_inode *i, const char *name, u32 len, const void *val, size_t n,
		  int flags);
int seal_removexattr(struct seal_vol *v, struct seal_inode *i, const char *name, u32 len);
s64 seal_listxattr(struct seal_vol *v, struct seal_inode *i, char *buf, size_t n);

// --- scrubbing (seal/scrub.c): every block in use is read and authenticated, in pieces, on a volume in use or not
struct seal_damage {
	u64 block;
	u64 ino;      // 0: the volume's own structures
	u32 snapshot; // 0: the live tree
	u32 level;    // 0: contents, 6: extended attributes, else pointers
	u64 offset, length; // of the file's contents that cannot be read
	char path[1024];    // "" when it was not found
	char text[224];	    // one sentence
};
struct seal_scrub_stats {
	u64 blocks_done, blocks_total, damaged;
};
struct seal_scrub;
int seal_scrub_begin(struct seal_vol *v, struct seal_scrub **out);
// About that many blocks. 1: more is left, 0: all have been read.
int seal_scrub_step(struct seal_scrub *s, u64 blocks, void (*damage)(void *ctx, const struct seal_damage *d), void *ctx,
		    struct seal_scrub_stats *st);
void seal_scrub_end(struct seal_scrub *s);
// A path of an inode, from the root ("/a/b"; in a snapshot from its root). -ENOENT: none. Reads directories.
int seal_path(struct seal_vol *v, u64 ino, char *buf, size_t n);

// --- check everything (seal/fsck.c): every block is read and authenticated, free space, link counts and
// directories compared. report is called for each finding. Returns the number of findings or -errno.
struct seal_fsck_stats {
	u64 files, dirs, blocks, bytes, findings;
	u64 repairs; // changes that seal_repair made
};
s64 seal_fsck(struct seal_vol *v, void (*report)(void *ctx, const char *text), void *ctx, struct seal_fsck_stats *st);
struct seal_checker {
	void (*finding)(void *ctx, const char *text);
	void (*repair)(void *ctx, const char *text);		   // what was done, and what is lost
	bool (*progress)(void *ctx, u64 blocks_done, u64 blocks_total); // now and then; true: stop with -EINTR
	void *ctx;
};
s64 seal_fsck_watched(struct seal_vol *v, const struct seal_checker *how, struct seal_fsck_stats *st);
// Mends what a check finds, on a volume mounted with SEAL_REPAIR (seal/repair.c), in commits of its own: free space and
// counts are made anew, references to what does not authenticate are dropped (contents: they stay unreadable until they
// are overwritten), files without a name go to /lost+found. Nothing that authenticates is lost. Checks again until there
// is nothing to mend. Returns the number of findings that are left, st->findings of the first check; or -errno. -ENOSPC: the volume is
// as it was (or as far as the last commit of the repair); seal_resize before the next one gives it room.
s64 seal_repair(struct seal_vol *v, const struct seal_checker *how, struct seal_fsck_stats *st);
