// SPDX-License-Identifier: Apache-2.0
// Growable text, lists of strings, a set of strings, and canonical JSON output, for the tools that make images.
// Memory that cannot be had ends the process with a message: these are short-lived tools on the owner's machine.
#ifndef COFFER_IMAGE_TEXT_H
#define COFFER_IMAGE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct text {
	char *data;	// always NUL-terminated once anything was added; NULL before
	size_t len;	// without the NUL
	size_t capacity;
};

void text_add(struct text *t, const void *bytes, size_t len);
void text_puts(struct text *t, const char *s);
__attribute__((format(printf, 2, 3))) void text_printf(struct text *t, const char *format, ...);
// Adds `s` as a JSON string with its quotes. Only ", \ and control characters are escaped, so that the same value
// always gives the same bytes.
void text_json(struct text *t, const char *s);
// The same for bytes of which nobody knows whether they are text: what is not UTF-8 becomes U+FFFD.
void text_json_bytes(struct text *t, const char *s, size_t n);
void text_free(struct text *t);

struct string_list {
	char **items;
	size_t count;
	size_t capacity;
};

void string_list_add(struct string_list *l, const char *s);
bool string_list_has(const struct string_list *l, const char *s);
void string_list_sort(struct string_list *l);
void string_list_free(struct string_list *l);
void text_json_list(struct text *t, const struct string_list *l);

// An open-addressing set of strings, each with a value that the caller chooses.
struct string_set {
	struct string_slot {
		char *key;
		char *value;
	} *slots;
	size_t count;
	size_t capacity;	// a power of two, or 0
};

// Adds `key`; false when it was there already (its value is then left alone). `value` may be NULL.
bool string_set_add(struct string_set *s, const char *key, const char *value);
bool string_set_has(const struct string_set *s, const char *key);
// The value stored with `key`, or NULL.
const char *string_set_get(const struct string_set *s, const char *key);
void string_set_free(struct string_set *s);

void *xmalloc(size_t size);
void *xrealloc(void *p, size_t size);
char *xstrdup(const char *s);
char *xstrndup(const char *s, size_t n);
__attribute__((format(printf, 1, 2))) char *xasprintf(const char *format, ...);

bool starts_with(const char *s, const char *prefix);
bool ends_with(const char *s, const char *suffix);

// "12.3 MB" into `out`; returns out.
char *human_size(char out[32], uint64_t bytes);
// Lower-case hex of `len` bytes into `out`, which has room for 2 * len + 1; returns out.
char *hex_text(char *out, const uint8_t *bytes, size_t len);
// The number of edits (insert, delete, replace, swap neighbours) between two short words.
unsigned int edit_distance(const char *a, const char *b);

struct fault;
// Reads a whole file into `out`. Errors: -errno with a message; -EFBIG past `limit` bytes.
int text_read_file(struct text *out, const char *path, size_t limit, struct fault *p);
// Writes a file in one step (temporary name, then rename), mode 0644 whatever the umask.
int text_write_file(const char *path, const void *bytes, size_t len, struct fault *p);

#endif
