// SPDX-License-Identifier: Apache-2.0
// See splice.h.
#include "tunnel/splice.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#define AT_ONCE (256u << 10)

static bool is_tcp(int fd)
{
	int protocol = 0;
	socklen_t len = sizeof protocol;
	return !getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) && protocol == IPPROTO_TCP;
}

bool splice_can(int a, int b)
{
	return is_tcp(a) && is_tcp(b);
}

static int take_pipe(struct splice_spare *spare)
{
	if (spare->fds[0] >= 0)
		return 0;
	if (pipe2(spare->fds, O_CLOEXEC | O_NONBLOCK)) {
		spare->fds[0] = spare->fds[1] = -1;
		return -errno;
	}
	// Of a socket's pieces it holds one for each page of its size. Whoever has too many pipes may not make them larger, and it does as it is.
	fcntl(spare->fds[1], F_SETPIPE_SZ, AT_ONCE);
	return 0;
}

ssize_t splice_take(struct splice *s, struct splice_spare *spare, int from)
{
	ssize_t n;
	if (take_pipe(spare))
		return -EOPNOTSUPP;
	do
		n = splice(from, NULL, spare->fds[1], NULL, AT_ONCE, SPLICE_F_NONBLOCK);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EINVAL || errno == ENOSYS || errno == EPERM ? -EOPNOTSUPP : -errno;
	if (n) {
		s->fds[0] = spare->fds[0];
		s->fds[1] = spare->fds[1];
		s->held = (size_t)n;
		spare->fds[0] = spare->fds[1] = -1;
	}
	return n;
}

ssize_t splice_give(struct splice *s, struct splice_spare *spare, int to)
{
	size_t before = s->held;
	while (s->held) {
		ssize_t n = splice(s->fds[0], NULL, to, NULL, s->held, SPLICE_F_NONBLOCK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n <= 0)
			return n ? -errno : -EIO;
		s->held -= (size_t)n;
	}
	if (before && !s->held) {
		splice_spare_close(spare);
		spare->fds[0] = s->fds[0];
		spare->fds[1] = s->fds[1];
	}
	return (ssize_t)(before - s->held);
}

void splice_drop(struct splice *s)
{
	if (!s->held)
		return;
	close(s->fds[0]);
	close(s->fds[1]);
	s->held = 0;
}

void splice_spare_close(struct splice_spare *spare)
{
	if (spare->fds[0] < 0)
		return;
	close(spare->fds[0]);
	close(spare->fds[1]);
	spare->fds[0] = spare->fds[1] = -1;
}
