// SPDX-License-Identifier: Apache-2.0
// What a running enclave says, kept in its folder (host/instances.h): `log`, and older files log.1, log.2... The format is that of
// Kubernetes' container runtimes (CRI), a line of text for each line of the program:
//
//	2026-11-22T09:04:31.123456789Z stdout F text
//	time                           stream F: a whole line, P: a piece of one that goes on in the next of this stream
//
// Streams: stdout and stderr are the program's; enclave is what kernel, init and launcher say. All bytes but the newline are kept as they
// are, NUL too. No locks: one process writes, any may read.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/fault.h"

enum log_stream { LOG_STDOUT, LOG_STDERR, LOG_ENCLAVE, LOG_STREAMS };
#define LOG_STREAM_NAMES {"stdout", "stderr", "enclave"}

#define LOG_LINE_MAX 16384u	// longer lines are kept in pieces
#define LOG_FILES_MAX 100u
#define LOG_SIZE_MIN 4096u
#define LOG_SIZE_DEFAULT (10u << 20)
#define LOG_FILES_DEFAULT 5u

struct log_writer {
	char dir[4096];
	uint64_t most;		// bytes of a file
	unsigned int files;	// in all
	int fd;			// -1: none could be made
	uint64_t size;
	uint64_t dropped, said;	// lines that could not be written; how many of them the log tells
	int why;		// errno of the last failure
	struct log_line {
		char text[LOG_LINE_MAX];
		size_t len;
		int64_t since_ms;	// monotonic: when its first byte came
	} line[LOG_STREAMS];
};

// `size` bytes a file, `files` of them. Never fails: what cannot be written is counted.
void log_open(struct log_writer *w, const char *dir, uint64_t size, unsigned int files);
// Bytes of a stream, cut into lines here.
void log_bytes(struct log_writer *w, enum log_stream s, const char *bytes, size_t n);
// A line of the supervisor's own, to stream enclave.
__attribute__((format(printf, 2, 3))) void log_say(struct log_writer *w, const char *format, ...);
// Writes what has stood as the beginning of a line for a while (`all`: any). Milliseconds until the next such moment, -1: none.
int log_flush(struct log_writer *w, bool all);
void log_close(struct log_writer *w);

// ---- reading

struct log_record {
	const char *time;	// 30 characters, not NUL-terminated
	enum log_stream stream;
	bool partial;
	const char *text;
	size_t len;
};
#define LOG_TIME_LEN 30

// One line without its newline. -EINVAL: it is none of a log.
int log_parse(const char *line, size_t n, struct log_record *r);

struct log_reader;
// Called for each record, oldest first. Not 0: reading ends, and that is returned.
typedef int log_fn(void *ctx, const struct log_record *r);

// Begins with the oldest file that is there. -ENOENT and -errno with a message.
int log_reader_open(struct log_reader **r, const char *dir, struct fault *f);
// All that is there now; again: what came since. 0, what `fn` returned, or -errno.
int log_read(struct log_reader *r, log_fn *fn, void *ctx);
void log_reader_free(struct log_reader *r);
