// SPDX-License-Identifier: Apache-2.0
// Libraries that a program may load by name while it runs (dlopen): a guess from the names that its file holds.
#ifndef COFFER_IMAGE_LOADS_H
#define COFFER_IMAGE_LOADS_H

#include <stddef.h>

#include "image/text.h"

// Adds "libNAME.so" and "libNAME.so.N" that stand in the file as strings of their own, without doubles and without those of `known`; nothing
// when the file does not import dlopen. At most 64. The bytes are untrusted.
void elf_loaded_names(const void *bytes, size_t len, const struct string_list *known, struct string_list *names);

#endif
