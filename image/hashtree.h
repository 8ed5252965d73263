// SPDX-License-Identifier: Apache-2.0
// The hash tree over an image: dm-verity format version 1, SHA-256, 4096-byte data and hash blocks, empty salt, no
// superblock (Linux Documentation/admin-guide/device-mapper/verity.rst; `veritysetup format --no-superblock --salt=-`).
// A block of the tree holds the digests of 128 blocks; its unused end is zero. Levels follow the data, top level first.
#ifndef COFFER_IMAGE_HASHTREE_H
#define COFFER_IMAGE_HASHTREE_H

#include <stdint.h>

#include "lib/fault.h"

#define HASHTREE_BLOCK 4096
#define HASHTREE_DIGEST 32
#define HASHTREE_FANOUT (HASHTREE_BLOCK / HASHTREE_DIGEST)

// The number of 4096-byte blocks that the tree over `data_blocks` blocks takes.
uint64_t hashtree_blocks(uint64_t data_blocks);

// Hashes the file's first `data_blocks` blocks and writes the tree behind them. At least 2 data blocks:
// of a single one dm-verity makes no tree.
// root: SHA-256 of the top-level block. Errors: -EIO, -ENOSPC, ... with a message that names `path`.
int hashtree_write(int fd, const char *path, uint64_t data_blocks, uint8_t root[HASHTREE_DIGEST], struct fault *p);

// Hashes data and tree again and compares with `root`; the message says which block differs. -EBADMSG: it does not match.
int hashtree_check(int fd, const char *path, uint64_t data_blocks, const uint8_t root[HASHTREE_DIGEST], struct fault *p);

#endif
