// SPDX-License-Identifier: Apache-2.0
// The owner's side of sealed volumes (hosted): what `coffer seal`, `open` and `volume` call.
// Each function returns 0 or negative errno and fills err->text with one sentence that says what failed and why.
// Keys are never logged; the caller wipes its own copy.
#pragma once
#include "seal/seal.h"
#include <signal.h>

struct seal_tool_err {
	char text[512];
};

// Progress: called now and then with what is done so far, of how much (0: not known). NULL: none.
struct seal_tool_progress {
	void (*fn)(void *ctx, u64 files, u64 bytes, u64 total_bytes);
	void *ctx;
};

// How `seal` and `open` go about it.
struct seal_tool_options {
	bool force;	 // replace what is there
	bool keep_owner; // user and group numbers, set-user-ID bits, and all kinds of extended attributes, not only user.*
	bool resume;	 // go on where an interrupted run stopped; leave the part that is done when this one stops
	const struct seal_tool_progress *progress;
	// seal: called once when the volume has its id, before anything is in it (not when resuming). An error ends it.
	int (*ready)(void *ctx, const u8 id[SEAL_ID_BYTES], struct seal_tool_err *err);
	// open: called for each file that is damaged; it is left out, and the others are opened all the same. NULL: nobody wants to hear which.
	void (*damaged)(void *ctx, const char *text);
	void *ctx;
};

// Set by a signal handler: `seal` and `open` stop at the next file or chunk with -EINTR.
extern volatile sig_atomic_t seal_tool_stop;

struct seal_tool_stats {
	u64 files, dirs, symlinks, others_skipped, bytes;
	u64 kept; // of files: those that an earlier run had finished
	u64 damaged; // names that were left out
};

// Who remembers the newest state of volumes, so that older copies are refused (seal.h: anchors). Each call fills err on failure.
struct seal_tool_anchor {
	// NULL, or: the volume and its key, before the calls for it.
	int (*begin)(void *ctx, const u8 id[SEAL_ID_BYTES], const u8 key[SEAL_KEY_BYTES], struct seal_tool_err *err);
	int (*get)(void *ctx, const u8 id[SEAL_ID_BYTES], struct seal_anchor *out, struct seal_tool_err *err); // -ENOENT: nothing
	int (*claim)(void *ctx, const u8 id[SEAL_ID_BYTES], const struct seal_anchor *from, const struct seal_anchor *found, u64 *epoch,
		     struct seal_tool_err *err);
	int (*advance)(void *ctx, const u8 id[SEAL_ID_BYTES], const struct seal_anchor *now, struct seal_tool_err *err);
	// What the owner says is right, though it may be older: epoch and all, whatever is remembered. Fences every writer.
	int (*set)(void *ctx, const u8 id[SEAL_ID_BYTES], const struct seal_anchor *now, struct seal_tool_err *err);
	void *ctx;
};
void seal_tool_set_anchor(const struct seal_tool_anchor *a); // for all volumes opened from now on; NULL: none
// Of the volume opened last: was there an anchor, did it know the volume, and which commit.
struct seal_tool_anchored {
	bool asked, known;
	u64 generation;
};
void seal_tool_last_anchored(struct seal_tool_anchored *out);
// What the anchor remembers and what the volume shows, side by side: refuses nothing. -ENOTCONN: there is no anchor.
struct seal_tool_anchor_view {
	bool known;
	struct seal_anchor remembered, found;
	int verdict;	// SEAL_EROLLBACK, and why:
	char why[224];
};
int seal_tool_anchor_view(const char *path, const u8 key[SEAL_KEY_BYTES], struct seal_tool_anchor_view *v, struct seal_tool_err *err);
// From now on the volume as it is is what the anchor remembers. An older state than the remembered one only with `back` (-EEXIST).
int seal_tool_anchor_set(const char *path, const u8 key[SEAL_KEY_BYTES], bool back, struct seal_tool_anchor_view *before,
			 struct seal_tool_err *err);

// A fresh random key.
int seal_tool_new_key(u8 key[SEAL_KEY_BYTES], struct seal_tool_err *err);
// Key files hold 64 hex digits (and a newline), mode 0600. Save refuses to overwrite (-EEXIST).
int seal_tool_save_key(const char *path, const u8 key[SEAL_KEY_BYTES], struct seal_tool_err *err);
int seal_tool_load_key(const char *path, u8 key[SEAL_KEY_BYTES], struct seal_tool_err *err);
// Hex text of an id: 32 digits and the terminator.
void seal_tool_id_hex(const u8 id[SEAL_ID_BYTES], char out[33]);

// New empty volume `path`. Refuses to overwrite unless `force`. id_out gets the volume's id. size_bytes 0: 1 TiB limit.
int seal_tool_create(const char *path, const u8 key[SEAL_KEY_BYTES], u64 size_bytes, bool force,
		     u8 id_out[SEAL_ID_BYTES], struct seal_tool_err *err);
// Seals folder `dir` (or a single file) into the new volume `path`: contents with their holes, names, modes, times,
// symlinks, hard links, extended attributes. Owners become 0:0 unless keep_owner. The volume grows as `path`.partial and
// gets its name when it is whole and durable; when that fails the partial one is removed, but not when it was stopped
// (-EINTR) or when resuming.
int seal_tool_seal(const char *dir, const char *path, const u8 key[SEAL_KEY_BYTES], const struct seal_tool_options *o,
		   struct seal_tool_stats *st, u8 id_out[SEAL_ID_BYTES], struct seal_tool_err *err);
// The name under which a volume grows; malloc'ed.
char *seal_tool_partial(const char *path);
// Decrypts everything into `dir` (created; must be empty or absent unless force or resume). Never follows a symlink and
// never leaves `dir`. A file has its name when it is whole, before that it is .coffer-partial.*; on failure that one is
// removed (but not when stopped, or resuming) and the text names what is left.
int seal_tool_open(const char *path, const u8 key[SEAL_KEY_BYTES], const char *dir, const struct seal_tool_options *o,
		   struct seal_tool_stats *st, struct seal_tool_err *err);
// One regular file of the volume ("a/b.csv") to descriptor fd.
int seal_tool_cat(const char *path, const u8 key[SEAL_KEY_BYTES], const char *inner, int fd, struct seal_tool_err *err);
// `coffer cp`: files of this machine into the volume, or out of it. Each file is there whole or not at all: it gets its name, which another may have
// had, when it has its contents, mode and times. `to`: a folder that is there (each gets its own name in it), or the new name of the only one.
// In a volume, paths are from its root; symbolic links on the way are not followed. -EISDIR: a folder, and not `recursive`. -ENOSPC: the volume
// is full; what had the name before is unchanged. Files that were done before an error stay.
struct seal_tool_cp {
	const char *const *from;
	int count;
	const char *to;
	bool recursive;
};
int seal_tool_put(const char *path, const u8 key[SEAL_KEY_BYTES], const struct seal_tool_cp *c, const struct seal_tool_options *o,
		  struct seal_tool_stats *st, struct seal_tool_err *err); // from: "-" is standard input
int seal_tool_get(const char *path, const u8 key[SEAL_KEY_BYTES], const struct seal_tool_cp *c, const struct seal_tool_options *o,
		  struct seal_tool_stats *st, struct seal_tool_err *err);
// Lists the volume: fn is called for each path, depth first, sorted by name.
int seal_tool_list(const char *path, const u8 key[SEAL_KEY_BYTES],
		   void (*fn)(void *ctx, const char *path, const struct seal_attr *a), void *ctx,
		   struct seal_tool_err *err);
// Without a key: id and version. With it: everything.
int seal_tool_id(const char *path, u8 id[SEAL_ID_BYTES], u32 *version, struct seal_tool_err *err);
int seal_tool_info(const char *path, const u8 key[SEAL_KEY_BYTES], struct seal_info *info, struct seal_tool_err *err);
// Reads and checks everything, and with `repair` mends what is found; its limit becomes `grow` bytes before that (0: stays). How many findings are left, or negative errno.
s64 seal_tool_fsck(const char *path, const u8 key[SEAL_KEY_BYTES], bool repair, u64 grow, const struct seal_checker *how,
		   struct seal_fsck_stats *st, struct seal_tool_err *err);

// What differs between two trees: fn gets 'A' only in b, 'D' only in a, 'T' another type, 'M' other contents or link
// target, 'P' another mode, and the path. Returns how many, or negative errno.
struct seal_tool_side {
	const char *path;
	const u8 *key;	      // NULL: a folder of this machine
	const char *snapshot; // NULL: the volume as it is now
};
s64 seal_tool_diff(const struct seal_tool_side *a, const struct seal_tool_side *b,
		   void (*fn)(void *ctx, char what, const char *path), void *ctx, struct seal_tool_err *err);

// --- changes to a whole volume (tool_admin.c). Those that take long show progress, and stop with -EINTR when told to: the rest
// is done by seal_tool_finish, or by an enclave that mounts the volume.
enum seal_tool_snap { SEAL_SNAP_CREATE, SEAL_SNAP_DELETE, SEAL_SNAP_ROLLBACK };
int seal_tool_snapshot(const char *path, const u8 key[SEAL_KEY_BYTES], enum seal_tool_snap what, const char *name,
		       const struct seal_tool_progress *p, struct seal_tool_err *err);
// own_blocks: what deleting it would free.
int seal_tool_snapshots(const char *path, const u8 key[SEAL_KEY_BYTES],
			void (*fn)(void *ctx, const struct seal_snapshot *s, u64 own_blocks), void *ctx,
			struct seal_tool_err *err);
// From `old` to the key `key`. Both open the volume while `keep` puts the new one into its safe place; only when that has worked the
// old one is taken away; else both stay until the next attempt. reencrypt: every block gets a new secret as well.
int seal_tool_rekey(const char *path, const u8 old[SEAL_KEY_BYTES], const u8 key[SEAL_KEY_BYTES], bool reencrypt,
		    int (*keep)(void *ctx, struct seal_tool_err *err), void *ctx, const struct seal_tool_progress *p,
		    struct seal_tool_err *err);
// The limit of the volume; grow: must not be less than it is, else not more.
int seal_tool_resize(const char *path, const u8 key[SEAL_KEY_BYTES], u64 bytes, bool grow, const struct seal_tool_progress *p,
		     struct seal_tool_err *err);
// Reads and authenticates every block in use; fn gets each that is damaged. How many, or negative errno.
s64 seal_tool_scrub(const char *path, const u8 key[SEAL_KEY_BYTES], void (*fn)(void *ctx, const struct seal_damage *d), void *ctx,
		    struct seal_scrub_stats *st, const struct seal_tool_progress *p, struct seal_tool_err *err);
int seal_tool_finish(const char *path, const u8 key[SEAL_KEY_BYTES], const struct seal_tool_progress *p,
		     struct seal_tool_err *err);
