// SPDX-License-Identifier: Apache-2.0
// A connection of this machine with itself sends without the timers of a congestion control; what is none is left alone.
#include "tunnel/near.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/attest/ok.h"

static bool is_reno(int fd)
{
	char name[16] = "";
	socklen_t len = sizeof name - 1;
	return !getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name, &len) && !strcmp(name, "reno");
}

int main(void)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof sa;
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), far, un[2];
	if (s < 0 || fd < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, un))
		return 1;
	if (setsockopt(s, IPPROTO_TCP, TCP_CONGESTION, "reno", 4)) {
		skip("near", "no congestion control can be chosen here");
		return 0;
	}
	close(s);
	s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool before = is_reno(s);
	near_tune(s);
	ok("near: not connected", is_reno(s) == before, "changed");
	if (bind(s, (struct sockaddr *)&sa, sizeof sa) || listen(s, 1) || getsockname(s, (struct sockaddr *)&sa, &len) ||
	    connect(fd, (struct sockaddr *)&sa, sizeof sa) || (far = accept(s, NULL, NULL)) < 0)
		return 1;
	near_tune(fd);
	near_tune(far);
	near_tune(un[0]);
	near_tune(-1);
	ok("near: both ends", is_reno(fd) && is_reno(far), "not Reno");
	close(fd);
	close(far);
	close(s);
	close(un[0]);
	close(un[1]);
	return ok_failed != 0;
}
