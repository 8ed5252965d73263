// SPDX-License-Identifier: Apache-2.0
// What seal/ takes from its surroundings: the same sources are compiled into the enclave kernel
// (freestanding, COFFER_KERNEL) and into host tools. Only types, string functions and errno values.
#pragma once
#ifdef COFFER_KERNEL
#include "kernel/include/types.h"
#include "kernel/include/kstring.h"
#include <asm-generic/errno.h>
#else
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef unsigned long u64;
typedef int32_t s32;
typedef long s64;
#endif

#define SEAL_MIN(a, b) ((a) < (b) ? (a) : (b))
#define S64_LIMIT      0x7ffffffffffffffful
#define SEAL_MAX(a, b) ((a) > (b) ? (a) : (b))
