// SPDX-License-Identifier: Apache-2.0
// What the tests of SPDM share: a requester and a responder whose frames go through the test's hands, one after the other. Single-threaded.
#ifndef COFFER_TESTS_SPDM_TALK_H
#define COFFER_TESTS_SPDM_TALK_H

#include "spdm/trust.h"
#include "tests/ratls/world.h"

struct talk {
	struct requester *requester;
	struct responder *responder;
	struct buffer up, down;			// frames on their way to the responder, to the requester
	int up_error, down_error;		// what ended the responder, the requester
	struct fault up_fault, down_fault;
	unsigned int frames;			// that were delivered
	int64_t now_ms;
	uint8_t got_up[256], got_down[256];	// data
	size_t got_up_len, got_down_len;
	bool end_up, end_down;
	// May change a frame (head and content) before it is delivered: 0, or drop it: -1. up: to the responder.
	int (*meddle)(struct talk *t, bool up, uint8_t *frame, size_t *len, void *ctx);
	void *ctx;
};

struct talk_options {
	struct requester_options requester;	// judges are filled in
	const struct machine *expects;		// NULL: the good one
	struct machine *shows;			// NULL: the good one
	const char *key_file;			// of the responder; NULL: a new P-256 key
	unsigned int heartbeat_s;
	uint32_t transfer_size;			// of the responder
	const char *simulated_root;		// NULL: root_pem; "": none
};

extern const char *p384_key;	// a file

bool talk_begin(void);		// world_begin, and that file
// Aborts with the reason when there is none.
void talk_open(struct talk *t, const struct talk_options *o);
// Delivers frames until nobody has one, or an end has failed.
void talk_run(struct talk *t);
// The same, from the first request on.
void talk_start(struct talk *t);
void talk_close(struct talk *t);

// Delivers one message outside of a session to the responder alone; the answer's bytes. -1: none came.
ssize_t talk_ask(struct talk *t, const void *message, size_t len, uint8_t *answer, size_t size);

#endif
