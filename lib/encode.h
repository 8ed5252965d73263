// SPDX-License-Identifier: Apache-2.0
// Bytes and times as text: lower-case hexadecimal and base64 (RFC 4648 sections 4 and 5). Decoders are strict: no white space,
// no foreign characters, no bits left over, so that one value has one text. Pure; no locks.
#ifndef COFFER_LIB_ENCODE_H
#define COFFER_LIB_ENCODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

// Makes control characters '?', in place: those of ASCII, and U+0080 to U+009f in UTF-8, which terminals obey as well. Returns the text.
char *text_printable(char *s);
// Has it none of them?
bool text_is_printable(const char *s);

// `out` has room for 2 * len + 1. Returns out.
char *hex_encode(char *out, const void *bytes, size_t len);
// Decodes exactly 2 * len hex digits (either case) that end the string. 0 or -EINVAL.
int hex_decode(void *out, size_t len, const char *text);

enum base64_kind {
	BASE64_STD,	// + / with padding
	BASE64_URL,	// - _ without padding (RFC 7515)
};

#define BASE64_SIZE(n) (((n) + 2) / 3 * 4 + 1)

// `out` has room for BASE64_SIZE(len). Returns the length of the text.
size_t base64_encode(char *out, const void *bytes, size_t len, enum base64_kind kind);
// Decodes `len` characters into at most `size` bytes. Padding may be missing in BASE64_STD and present in BASE64_URL.
// Returns the number of bytes, -EINVAL, or -ENOSPC.
ssize_t base64_decode(void *out, size_t size, const char *text, size_t len, enum base64_kind kind);


// As RFC 3339 has it, in UTC and whole seconds: 2026-01-31T12:00:00Z; "" of a time beyond the calendar. Returns out.
char *time_text(char out[32], time_t t);

#endif
