// SPDX-License-Identifier: Apache-2.0
// What a FUSE daemon sends, checked before anybody believes it. No kernel objects, so that a fuzzer can run it (fuzz/fuzz_fuse_reply.c).
#pragma once
#include "kernel/include/types.h"
#include "kernel/include/uapi.h" // before a header that may bring in a C library's
#include <asm/ioctl.h>
#include <linux/fuse.h>

#define FUSE_SIZE_MAX 0x7fffffffffffffffull

bool fuse_header_ok(const struct fuse_out_header *h, u64 got); // of a message of `got` bytes
// Whether a reply of n bytes may answer what was asked with out_min and out_max.
bool fuse_length_ok(const struct fuse_out_header *h, u32 out_min, u32 out_max);
bool fuse_attr_ok(const struct fuse_attr *a);
bool fuse_entry_ok(const struct fuse_entry_out *e); // of a name that exists
// The entry at *at of n bytes of directory, which *at passes. 1: one, 0: the end, -EIO: nonsense.
int fuse_next_dirent(const u8 *buf, u32 n, u32 *at, struct fuse_dirent *head, const char **name);
bool fuse_target_ok(const char *text, u32 n); // of a symlink
// A list of attribute names: each ends with NUL and is not empty.
bool fuse_names_ok(const char *text, u32 n);
// A notification's fixed part is n bytes, then `name` bytes of a name and its NUL: whether that is what came.
bool fuse_notice_ok(u64 got, u64 n, u64 name);
