// SPDX-License-Identifier: Apache-2.0
// See mux_frame.h. Also what an errno becomes on the wire and what becomes of it at the other end.
#include "tunnel/mux_frame.h"

#include <errno.h>
#include <string.h>

static const struct {
	uint32_t least, most;
	bool stream;	// belongs to a stream, else to the connection
} types[MUX_F_TYPES] = {
	[MUX_F_DATA] = {0, MUX_MAX_DATA, true}, [MUX_F_HELLO] = {8, 8, false}, [MUX_F_OPEN] = {4, MUX_MAX_OPEN, true},
	[MUX_F_ACCEPT] = {0, 0, true}, [MUX_F_END] = {0, 0, true}, [MUX_F_RESET] = {1, 1, true}, [MUX_F_CREDIT] = {4, 4, true},
	[MUX_F_PING] = {8, 8, false}, [MUX_F_PONG] = {8, 8, false}, [MUX_F_GO] = {4, 4, false},
};

int mux_head_read(const uint8_t head[MUX_HEAD], struct mux_frame *out)
{
	out->type = head[0];
	out->len = mux_get32(head) & 0xffffff;
	out->id = mux_get32(head + 4);
	if (out->type >= MUX_F_TYPES || out->len < types[out->type].least || out->len > types[out->type].most)
		return -EPROTO;
	return types[out->type].stream == !!out->id && out->id <= MUX_LAST_ID ? 0 : -EPROTO;
}

void mux_head_write(uint8_t head[MUX_HEAD], enum mux_type type, uint32_t len, uint32_t id)
{
	mux_put32(head, (uint32_t)type << 24 | len);
	mux_put32(head + 4, id);
}

int mux_open_read(const uint8_t *p, size_t len, enum mux_kind *kind, struct target *out)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	struct target t = {.host = TARGET_NONE};
	size_t n = len - 4;
	if (len < 4 || p[0] < MUX_TCP || p[0] > MUX_IP)
		return -EPROTO;
	t.port = (uint16_t)(p[2] << 8 | p[3]);
	switch (p[1]) {
	case TARGET_NONE:
		if (n || t.port)
			return -EPROTO;
		break;
	case TARGET_NAME:
		// Only as target_set_host would write it: two names that differ are two names.
		if (target_set_host(&t, (const char *)p + 4, n) || t.host != TARGET_NAME || strlen(t.name) != n || memcmp(t.name, p + 4, n))
			return -EPROTO;
		break;
	case TARGET_IPV4:
	case TARGET_IPV6:
		if (n != (p[1] == TARGET_IPV4 ? 4 : 16))
			return -EPROTO;
		memcpy(t.address, p + 4, n);
		// An IPv4 address in the clothes of IPv6 would pass rules about IPv4.
		if (n == 16 && !memcmp(t.address, mapped, sizeof(mapped)))
			return -EPROTO;
		break;
	default:
		return -EPROTO;
	}
	t.host = p[1];
	t.port = (uint16_t)(p[2] << 8 | p[3]);
	if (t.host != TARGET_NONE && (!t.port || p[0] == MUX_IP))
		return -EPROTO;
	*kind = p[0];
	*out = t;
	return 0;
}

size_t mux_open_write(uint8_t p[MUX_MAX_OPEN], enum mux_kind kind, const struct target *t)
{
	bool none = t->host == TARGET_NONE;
	size_t n = t->host == TARGET_NAME ? strlen(t->name) : t->host == TARGET_IPV4 ? 4 : t->host == TARGET_IPV6 ? 16 : 0;
	p[0] = (uint8_t)kind;
	p[1] = (uint8_t)t->host;
	p[2] = none ? 0 : (uint8_t)(t->port >> 8);
	p[3] = none ? 0 : (uint8_t)t->port;
	memcpy(p + 4, t->host == TARGET_NAME ? (const void *)t->name : t->address, n);
	return 4 + n;
}

static const struct {
	int err;	// what it is on arrival
	const char *text;
} errors[MUX_ERRORS + 1] = {
	[MUX_CLOSED] = {0, "closed"},
	[MUX_FAILED] = {-EIO, "the far gateway failed"},
	[MUX_DENIED] = {-EACCES, "the far gateway does not allow this destination"},
	[MUX_REFUSED] = {-ECONNREFUSED, "the destination refused the connection"},
	[MUX_NET_UNREACHABLE] = {-ENETUNREACH, "the far gateway has no way to the destination's network"},
	[MUX_HOST_UNREACHABLE] = {-EHOSTUNREACH, "the far gateway does not reach the destination"},
	[MUX_TIMED_OUT] = {-ETIMEDOUT, "the destination did not answer the far gateway"},
	[MUX_NO_NAME] = {-EHOSTUNREACH, "the far gateway does not find the destination's name"},
	[MUX_UNSUPPORTED] = {-EAFNOSUPPORT, "the far gateway's route does not take this kind of stream or address"},
	[MUX_BUSY] = {-EBUSY, "the far gateway has too many streams or too little memory"},
	[MUX_RESET] = {-ECONNRESET, "the far end's connection was reset"},
	[MUX_GOING] = {-ESHUTDOWN, "the far gateway is going away"},
	[MUX_LOST] = {-ENOTCONN, "the connection to the far gateway was lost"},
};

static const struct {
	int err;
	enum mux_error why;
} from[] = {
	{0, MUX_CLOSED}, {EACCES, MUX_DENIED}, {EPERM, MUX_DENIED}, {ECONNREFUSED, MUX_REFUSED}, {ENETUNREACH, MUX_NET_UNREACHABLE},
	{ENETDOWN, MUX_NET_UNREACHABLE}, {EHOSTUNREACH, MUX_HOST_UNREACHABLE}, {EHOSTDOWN, MUX_HOST_UNREACHABLE}, {ETIMEDOUT, MUX_TIMED_OUT},
	{ENOENT, MUX_NO_NAME}, {EAFNOSUPPORT, MUX_UNSUPPORTED}, {EPROTONOSUPPORT, MUX_UNSUPPORTED}, {EOPNOTSUPP, MUX_UNSUPPORTED},
	{EBUSY, MUX_BUSY}, {ENOBUFS, MUX_BUSY}, {ENOMEM, MUX_BUSY}, {EMFILE, MUX_BUSY}, {ENFILE, MUX_BUSY}, {EADDRNOTAVAIL, MUX_BUSY},
	{ECONNRESET, MUX_RESET}, {EPIPE, MUX_RESET}, {ECONNABORTED, MUX_RESET}, {ESHUTDOWN, MUX_GOING},
};

enum mux_error mux_error_of(int err)
{
	err = err < 0 ? -err : err;
	for (size_t i = 0; i < sizeof(from) / sizeof(from[0]); i++) {
		if (from[i].err == err)
			return from[i].why;
	}
	return MUX_FAILED;
}

int mux_errno_of(enum mux_error why)
{
	return errors[why <= MUX_LOST ? why : MUX_FAILED].err;
}

const char *mux_error_text(enum mux_error why)
{
	return errors[why <= MUX_LOST ? why : MUX_FAILED].text;
}
