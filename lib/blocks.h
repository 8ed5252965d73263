// SPDX-License-Identifier: Apache-2.0
// Small blocks of memory for whoever takes and gives back very many of them, as JSON does. While a thread has a store of them, what it gives back stays
// there, wiped, and is taken from there first; stores pass from thread to thread, the one that was used last first, as it is still in the cache. Blocks
// are malloc's: free() takes them too, and they may be given back by another thread, or one without a store.
#ifndef COFFER_LIB_BLOCKS_H
#define COFFER_LIB_BLOCKS_H

#include <stddef.h>

// This thread has a store, until it gives it up. Both do nothing where there is no memory.
void blocks_begin(void);
void blocks_end(void);

// NULL: out of memory.
void *block_take(size_t size);
// Wipes all of it, as it may have held a secret; also what malloc gave. NULL is fine.
void block_give(void *p);

#endif
