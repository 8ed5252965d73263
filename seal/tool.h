// SPDX-License-Identifier: Apache-2.0
// The owner's side of sealed volumes (hosted): what `coffer seal`, `open` and `volume` call.
// Each function returns 0 or negative errno and fills err->text with one sentence that says what failed and why.
// Keys are never logged; the caller wipes its own copy.
#pragma once
#include "seal/seal.h"

struct seal_tool_err {
	char text[512];
};

// Progress: called now and then with what is done so far and the path in hand (never NULL; "" at the end). NULL: none.
struct seal_tool_progress {
	void (*fn)(void *ctx, u64 files, u64 bytes, const char *path);
	void *ctx;
};

struct seal_tool_stats {
	u64 files, dirs, symlinks, others_skipped, bytes;
};

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
// Seals folder `dir` (or a single file) into the new volume `path`: contents, names, modes, times, symlinks, hard
// links. Owners become 0:0 unless keep_owner. On failure the partial volume is removed.
int seal_tool_seal(const char *dir, const char *path, const u8 key[SEAL_KEY_BYTES], bool force, bool keep_owner,
		   const struct seal_tool_progress *p, struct seal_tool_stats *st, u8 id_out[SEAL_ID_BYTES],
		   struct seal_tool_err *err);
// Decrypts everything into `dir` (created; must be empty or absent unless `force`, then files are replaced). Never
// follows a symlink and never leaves `dir`. On failure the file in hand is removed and the text names what is left.
int seal_tool_open(const char *path, const u8 key[SEAL_KEY_BYTES], const char *dir, bool force,
		   const struct seal_tool_progress *p, struct seal_tool_stats *st, struct seal_tool_err *err);
// One regular file of the volume ("a/b.csv") to descriptor fd.
int seal_tool_cat(const char *path, const u8 key[SEAL_KEY_BYTES], const char *inner, int fd, struct seal_tool_err *err);
// Lists the volume: fn is called for each path, depth first, sorted by name.
int seal_tool_list(const char *path, const u8 key[SEAL_KEY_BYTES],
		   void (*fn)(void *ctx, const char *path, const struct seal_attr *a), void *ctx,
		   struct seal_tool_err *err);
// Without a key: id and version. With it: everything.
int seal_tool_id(const char *path, u8 id[SEAL_ID_BYTES], u32 *version, struct seal_tool_err *err);
int seal_tool_info(const char *path, const u8 key[SEAL_KEY_BYTES], struct seal_info *info, struct seal_tool_err *err);
// Reads and checks everything; report gets one line a finding. 0 when clean, -EUCLEAN when there are findings.
int seal_tool_fsck(const char *path, const u8 key[SEAL_KEY_BYTES], void (*report)(void *ctx, const char *text),
		   void *ctx, struct seal_fsck_stats *st, struct seal_tool_err *err);
