// SPDX-License-Identifier: Apache-2.0
// The form of the frames between two gateways (docs/tunnel-protocol.md): heads, and the content of an open. Pure; no allocation, no locks.
#ifndef COFFER_TUNNEL_MUX_FRAME_H
#define COFFER_TUNNEL_MUX_FRAME_H

#include "tunnel/mux.h"

#define MUX_HEAD 8u
#define MUX_MAX_OPEN (4u + TARGET_MAX_NAME)
#define MUX_LAST_ID 0x7ffffffeu	// of streams; numbers beyond are not used

enum mux_type {
	MUX_F_DATA,
	MUX_F_HELLO,
	MUX_F_OPEN,
	MUX_F_ACCEPT,
	MUX_F_END,
	MUX_F_RESET,
	MUX_F_CREDIT,
	MUX_F_PING,
	MUX_F_PONG,
	MUX_F_GO,
	MUX_F_TYPES,
};

struct mux_frame {
	uint8_t type;
	uint32_t len, id;
};

// -EPROTO: the type is unknown, it cannot have this length, or has a stream where none belongs or none where one does. *out is filled in every case.
int mux_head_read(const uint8_t head[MUX_HEAD], struct mux_frame *out);
void mux_head_write(uint8_t head[MUX_HEAD], enum mux_type type, uint32_t len, uint32_t id);
// -EPROTO: malformed, or not the one form of this target.
int mux_open_read(const uint8_t *p, size_t len, enum mux_kind *kind, struct target *out);
// The length.
size_t mux_open_write(uint8_t p[MUX_MAX_OPEN], enum mux_kind kind, const struct target *t);

static inline uint32_t mux_get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static inline void mux_put32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

static inline uint64_t mux_get64(const uint8_t *p)
{
	return (uint64_t)mux_get32(p) << 32 | mux_get32(p + 4);
}

static inline void mux_put64(uint8_t *p, uint64_t v)
{
	mux_put32(p, (uint32_t)(v >> 32));
	mux_put32(p + 4, (uint32_t)v);
}

#endif
