// SPDX-License-Identifier: Apache-2.0
// Verified block images: the measured one, and an encrypted root image behind it (verity.c).
#pragma once
#include "kernel/fs/fs.h"

struct verity;
// The measured image. Checks the hash tree's root against the measured one; a mismatch, as any during boot, stops the enclave.
int verity_init(struct verity **out);
// An encrypted image: `blocks` data blocks behind the measured one, whose tree has this root; the tree covers the
// ciphertext. -EINVAL, -ENOMEM, -EIO (message logged), -ENODATA: the file ends before it.
int verity_open(u64 blocks, const u8 root[32], const u8 key[32], struct verity **out);
void verity_close(struct verity *v);	// forgets the key
u64 verity_blocks_read(void);		// of all images, so far
u64 verity_blocks(const struct verity *v); // data blocks of 4096 bytes
// Reads n data blocks from block number `block` into dst, verifies and decrypts them: 0, -EIO (message logged), -ENOMEM.
int verity_read(struct verity *v, u64 block, u32 n, void *dst);
// From now on a mismatch fails the read with EIO instead of stopping the enclave.
void verity_boot_done(void);
