// SPDX-License-Identifier: Apache-2.0
// See near.h.
#include "tunnel/near.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>

// On the loopback, or an address of this machine's own: both ends have the same one then.
static bool is_near(int fd)
{
	struct sockaddr_storage peer, own;
	socklen_t peer_len = sizeof peer, own_len = sizeof own;
	const struct sockaddr_in *a = (const struct sockaddr_in *)&peer, *b = (const struct sockaddr_in *)&own;
	const struct sockaddr_in6 *a6 = (const struct sockaddr_in6 *)&peer, *b6 = (const struct sockaddr_in6 *)&own;
	if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) || getsockname(fd, (struct sockaddr *)&own, &own_len) || peer.ss_family != own.ss_family)
		return false;
	if (peer.ss_family == AF_INET)
		return a->sin_addr.s_addr == b->sin_addr.s_addr || ntohl(a->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	return peer.ss_family == AF_INET6 && !memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof a6->sin6_addr);
}

void near_tune(int fd)
{
	static const char reno[] = "reno";
	if (is_near(fd))
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, reno, sizeof reno - 1);
}
