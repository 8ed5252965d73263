// SPDX-License-Identifier: Apache-2.0
// Inside spdm/: how messages lie in a TCP stream (DMTF DSP0287): two bytes of length, which count what follows them, the binding's version, the
// message's type. Messages within a session have the same head again inside their records, which tells them from the program's data. Pure; no locks.
#ifndef COFFER_SPDM_FRAME_H
#define COFFER_SPDM_FRAME_H

#include <errno.h>

#include "lib/fault.h"
#include "spdm/buffer.h"

#define SPDM_FRAME_HEAD 4
#define SPDM_FRAME_MAX 65533		// bytes behind the head
#define SPDM_TCP_VERSION 1

enum spdm_frame_type {
	SPDM_CLEAR = 0x05, SPDM_SECURED = 0x06,
	SPDM_DATA = 0x7d, SPDM_DATA_END = 0x7e,	// inside records only; Coffer's, DMTF has given these to nobody
	SPDM_ROLE_INQUIRY = 0xbf, SPDM_TOO_LARGE = 0xc0, SPDM_TYPE_UNKNOWN = 0xc1, SPDM_NO_REQUESTER = 0xc2, SPDM_NO_RESPONDER = 0xc3,
};

struct spdm_frame {
	uint8_t type;
	size_t len;			// bytes behind the head
};

// Reads an untrusted head. -EPROTO and what is wrong.
static inline int spdm_frame_read(const uint8_t head[SPDM_FRAME_HEAD], struct spdm_frame *out, struct fault *f)
{
	size_t len = head[0] | (size_t)head[1] << 8;
	if (head[2] != SPDM_TCP_VERSION)
		return fault_set(f, -EPROTO, "no SPDM over TCP: version %u of the binding", head[2]);
	// Inquiries and errors have nothing behind the head; some count its last two bytes, some do not.
	if (len < 2 && !(len == 0 && head[3] >= SPDM_ROLE_INQUIRY))
		return fault_set(f, -EPROTO, "a frame of %zu bytes", len);
	*out = (struct spdm_frame){head[3], len < 2 ? 0 : len - 2};
	if (out->type != SPDM_CLEAR && out->type != SPDM_SECURED && (out->type < SPDM_ROLE_INQUIRY || out->len))
		return fault_set(f, -EPROTO, "a frame of type 0x%02x", out->type);
	return 0;
}

static inline void spdm_frame_head(uint8_t head[SPDM_FRAME_HEAD], uint8_t type, size_t len)
{
	head[0] = (uint8_t)(len + 2);
	head[1] = (uint8_t)((len + 2) >> 8);
	head[2] = SPDM_TCP_VERSION;
	head[3] = type;
}

// A whole frame behind what is in b.
static inline void spdm_frame_write(struct buffer *b, uint8_t type, const void *bytes, size_t len)
{
	uint8_t *head = len <= SPDM_FRAME_MAX ? buffer_room(b, SPDM_FRAME_HEAD) : NULL;
	b->failed |= !head;
	if (head)
		spdm_frame_head(head, type, len);
	buffer_put(b, bytes, len);
}

#endif
