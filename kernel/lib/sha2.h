// SPDX-License-Identifier: Apache-2.0
// Hashes of the kernel.
#pragma once
#include "kernel/include/types.h"

// SHA-384 of n bytes. Always 0.
int sha384(const void *data, size_t n, u8 out[48]);
// SHA-256 of n consecutive blocks of len bytes each (fast when len is a multiple of 64).
void sha256_blocks(const void *data, size_t len, u32 n, u8 (*out)[32]);
