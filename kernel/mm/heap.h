// SPDX-License-Identifier: Apache-2.0
// Between the object allocator (kmalloc.c) and its guarded variant (kmalloc_san.c).
#pragma once
#include "kernel/include/types.h"

void *heap_alloc(size_t n) __must_check;
void heap_free(const void *p);
size_t heap_usable(const void *p);

#ifdef KERNEL_SAN
size_t kmalloc_usable(const void *p);
#endif
