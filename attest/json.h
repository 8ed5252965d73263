// SPDX-License-Identifier: Apache-2.0
// Inside attest/: setting claims. Memory that is short shows as a claim that is missing, which no policy takes for granted.
#ifndef COFFER_ATTEST_JSON_H
#define COFFER_ATTEST_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

// Lower-case hex of any length.
void set_hex(json_t *o, const char *name, const void *bytes, size_t len);
void set_text(json_t *o, const char *name, const char *text);
void set_number(json_t *o, const char *name, json_int_t n);
void set_bool(json_t *o, const char *name, bool b);
// "2025-06-19T10:16:03Z".
void set_time(json_t *o, const char *name, time_t t);
// A new object as a member; borrowed.
json_t *set_object(json_t *o, const char *name);

#endif
