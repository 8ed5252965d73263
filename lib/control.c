// SPDX-License-Identifier: Apache-2.0
// See control.h. Pure, but for control_send; no locks.
#include "lib/control.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

size_t control_room(struct control_input *in)
{
	if (in->at) {
		memmove(in->data, in->data + in->at, in->have - in->at);
		in->have -= in->at;
		in->at = 0;
	}
	return sizeof in->data - in->have;
}

static bool known(unsigned int type)
{
	return (type >= CONTROL_EXEC && type <= CONTROL_SIZE) || (type >= CONTROL_STARTED && type <= CONTROL_REFUSED);
}

int control_next(struct control_input *in, struct control_frame *out)
{
	const uint8_t *p = in->data + in->at;
	size_t left = in->have - in->at, len;
	if (left < 4)
		return 0;
	len = (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
	if (!known(p[0]) || len > CONTROL_MOST)
		return -EPROTO;
	if (left - 4 < len)
		return 0;
	*out = (struct control_frame){(enum control_type)p[0], p + 4, len};
	in->at += 4 + len;
	return 1;
}

int control_send(int fd, enum control_type type, const void *data, size_t len)
{
	uint8_t head[4] = {(uint8_t)type, (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len};
	struct iovec v[2] = {{head, sizeof head}, {(void *)data, len}};
	if (len > CONTROL_MOST)
		return -EMSGSIZE;
	for (int i = 0; i < 2;) {
		if (!v[i].iov_len) {
			i++;
			continue;
		}
		ssize_t n = writev(fd, v + i, 2 - i);
		if (n < 0 && errno == EAGAIN) {
			struct pollfd p = {fd, POLLOUT, 0};
			if (poll(&p, 1, -1) < 0 && errno != EINTR)
				return -errno;
			continue;
		}
		if (n < 0 && errno != EINTR)
			return -errno;
		for (int k = i; k < 2 && n > 0; k++) {
			size_t part = (size_t)n < v[k].iov_len ? (size_t)n : v[k].iov_len;
			v[k].iov_base = (char *)v[k].iov_base + part;
			v[k].iov_len -= part;
			n -= (ssize_t)part;
		}
	}
	return 0;
}
