// SPDX-License-Identifier: Apache-2.0
// The gateway's log: one event a line on standard error, as text or as JSON, with named fields. Text from the network cannot forge a line or move a
// cursor.
// What peers can cause is written at most LOG_PER_SECOND times a second; and what reads the log never holds up who writes: a line that finds no room is
// dropped. How many were left out is said as soon as one can be written. Thread-safe: one write a line, under a mutex.
#ifndef COFFER_TUNNEL_LOG_H
#define COFFER_TUNNEL_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOG_PER_SECOND 100

enum tunnel_log_level { TUNNEL_LOG_ERROR, TUNNEL_LOG_WARNING, TUNNEL_LOG_INFO, TUNNEL_LOG_DEBUG };

struct log_field {
	const char *name;	// NULL ends the list
	const char *text;	// NULL: `number`, or nothing where that is LOG_NOTHING
	int64_t number;
};

#define LOG_NOTHING INT64_MIN
#define LOG_TEXT(name_, text_) ((struct log_field){.name = (name_), .text = (text_), .number = LOG_NOTHING})
#define LOG_NUMBER(name_, number_) ((struct log_field){.name = (name_), .number = (int64_t)(number_)})

// At the start, and when the configuration has changed.
void tunnel_log_set(enum tunnel_log_level level, bool json);
bool tunnel_log_wants(enum tunnel_log_level level);

// -EINVAL for another word than error, warning, info, debug.
int tunnel_log_level_read(const char *word, enum tunnel_log_level *out);

void tunnel_log_fields(enum tunnel_log_level level, const char *message, const struct log_field *fields);

// One line into `out`, with its newline and a NUL: for tests, and for tunnel_log_fields. The length.
size_t tunnel_log_format(char *out, size_t size, bool json, int64_t unix_ms, enum tunnel_log_level level, const char *message,
	const struct log_field *fields);

// tunnel_log(TUNNEL_LOG_INFO, "connected", LOG_TEXT("peer", name), LOG_NUMBER("port", 80));
#define tunnel_log(level_, ...) \
	do { \
		if (tunnel_log_wants(level_)) \
			TUNNEL_LOG_SPLIT(level_, __VA_ARGS__, (struct log_field){0}); \
	} while (0)
#define TUNNEL_LOG_SPLIT(level_, message_, ...) tunnel_log_fields(level_, message_, (const struct log_field[]){__VA_ARGS__})

#endif
