// SPDX-License-Identifier: Apache-2.0
// Inside attest/: signed JSON. A signature covers the exact bytes of one member, so these are cut out of the raw text before anything
// is parsed; nothing is ever written anew. The same pass bounds the nesting, so that the parser behind it may recurse. Pure; no locks.
#ifndef COFFER_ATTEST_SLICE_H
#define COFFER_ATTEST_SLICE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "lib/fault.h"

#define SLICE_MAX_DEPTH 32

// The value of member `name` of the object that is the whole of `text`: its bytes, as they stand. -EINVAL when the text is no object,
// is nested too deeply or has no such member (or two).
int slice_member(const char *text, size_t len, const char *name, const char **value, size_t *value_len, struct fault *f);

// Parses strictly: bounded depth, no duplicate keys, nothing behind. NULL and why; else a new reference.
json_t *slice_parse(const char *text, size_t len, struct fault *f);

// "2025-06-19T10:16:03Z" as seconds since 1970, or -1.
time_t slice_time(const json_t *s);

// A text of exactly 2 * n hex digits. 0 or -EINVAL.
int slice_hex(const json_t *s, uint8_t *out, size_t n);

// The text of a string member, "" when there is none.
const char *slice_text(const json_t *o, const char *name);

// An integer member from 0 to max; -1 when it is missing or anything else.
long slice_number(const json_t *o, const char *name, long max);

#endif
