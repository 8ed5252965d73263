// SPDX-License-Identifier: Apache-2.0
// What `coffer exec` and the helper in the enclave (init/control.c) say to each other, over a stream that belongs to the host: frames of
// a type, a length of three bytes (big-endian, at most CONTROL_MOST) and so many bytes. One connection is one request. No locks.
//
//	exec           {"args":[...],"env":{...},"cwd":"/x","user":"u:g","tty":{"rows":24,"cols":80,"term":"xterm"}}; all but args may be missing
//	tasks          nothing; the answer is data on stdout (JSON), then exit 0
//	stdin          bytes, at most as many as credit has granted and not more; none: the end
//	signal         one byte: its number
//	size           rows and columns, two bytes each
//
//	started        the program runs
//	stdout, stderr bytes
//	credit         four bytes: so many more bytes of stdin may come
//	exit           one byte: the exit code as of `coffer run`; the last frame
//	refused        one byte, the exit code (125 refused, 126 not executable, 127 not found), and why; the last frame
#ifndef COFFER_LIB_CONTROL_H
#define COFFER_LIB_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTROL_MOST 65536u		// bytes in a frame
#define CONTROL_WINDOW 65536u		// of stdin under way

enum control_type {
	CONTROL_EXEC = 1, CONTROL_TASKS, CONTROL_STDIN, CONTROL_SIGNAL, CONTROL_SIZE,
	CONTROL_STARTED = 65, CONTROL_STDOUT, CONTROL_STDERR, CONTROL_CREDIT, CONTROL_EXIT, CONTROL_REFUSED,
};

struct control_frame {
	enum control_type type;
	const uint8_t *data;
	size_t len;
};

// Bytes that have come. Add them at data + have, at most control_room(); take frames until there is none.
struct control_input {
	size_t have, at;
	uint8_t data[4 + CONTROL_MOST];
};

size_t control_room(struct control_input *in);
// The next frame, whose data stay valid until the next call or more input. 1, 0: not whole yet, -EPROTO: nobody who speaks this.
int control_next(struct control_input *in, struct control_frame *out);
// Sends one, whole: waits where it must. 0 or -errno.
int control_send(int fd, enum control_type type, const void *data, size_t len);

#endif
