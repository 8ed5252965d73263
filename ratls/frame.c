// SPDX-License-Identifier: Apache-2.0
// See frame.h.
#include "ratls/frame.h"

#include <errno.h>

static const struct {
	const char *name;
	uint32_t least, most;
} types[FRAME_TYPES] = {
	[FRAME_DATA] = {"data", 1, 0xffffff},
	[FRAME_CHALLENGE] = {"a challenge", FRAME_NONCE, FRAME_NONCE},
	[FRAME_PROOF] = {"a proof", 0, FRAME_MAX_PROOF},
	[FRAME_VERDICT] = {"a verdict", 0, FRAME_MAX_REASON},
	[FRAME_END] = {"an end", 0, 0},
};

int frame_read(const uint8_t head[FRAME_HEAD], struct frame *out, struct fault *f)
{
	uint32_t len = (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];
	if (head[0] >= FRAME_TYPES)
		return fault_set(f, -EPROTO, "the peer sent a frame of the unknown type %u", head[0]);
	if (len < types[head[0]].least || len > types[head[0]].most)
		return fault_set(f, -EPROTO, "the peer sent %s of %u bytes", types[head[0]].name, len);
	*out = (struct frame){head[0], len};
	return 0;
}

void frame_write(uint8_t head[FRAME_HEAD], enum frame_type type, size_t len)
{
	head[0] = (uint8_t)type;
	head[1] = (uint8_t)(len >> 16);
	head[2] = (uint8_t)(len >> 8);
	head[3] = (uint8_t)len;
}
