// SPDX-License-Identifier: Apache-2.0
// Hashes of the kernel.
#pragma once
#include "kernel/include/types.h"

// SHA-384 of n bytes. Always 0.
int sha384(const void *data, size_t n, u8 out[48]);
