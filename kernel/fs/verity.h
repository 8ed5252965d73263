// SPDX-License-Identifier: Apache-2.0
// The image's blocks, verified (verity.c).
#pragma once
#include "kernel/fs/fs.h"

// Checks the hash tree's root against the measured one. A mismatch, as any during boot, stops the enclave.
int verity_init(void);
u64 verity_blocks(void);		// data blocks of 4096 bytes
// Reads n data blocks from block number `block` into dst and verifies them: 0, -EIO (message logged), -ENOMEM.
int verity_read(u64 block, u32 n, void *dst);
// From now on a mismatch fails the read with EIO instead of stopping the enclave.
void verity_boot_done(void);
