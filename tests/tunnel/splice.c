// SPDX-License-Identifier: Apache-2.0
// Bytes spliced from one TCP connection to another: all of them and in order, also past a reader who does not read; ends; what cannot be spliced.
#include "tunnel/splice.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/attest/ok.h"

#define MUCH (4u << 20)

// Two ends of a connection, which never wait and keep little.
static void connection(int fds[2])
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof sa;
	const int small = 32768;
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (s < 0 || fds[0] < 0 || setsockopt(s, SOL_SOCKET, SO_RCVBUF, &small, sizeof small) || bind(s, (struct sockaddr *)&sa, sizeof sa) || listen(s, 1) ||
	    getsockname(s, (struct sockaddr *)&sa, &len) || setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small) ||
	    connect(fds[0], (struct sockaddr *)&sa, sizeof sa) || (fds[1] = accept(s, NULL, NULL)) < 0 || fcntl(fds[0], F_SETFL, O_NONBLOCK) ||
	    fcntl(fds[1], F_SETFL, O_NONBLOCK))
		abort();
	close(s);
}

// Until there is something to be read, or the end.
static void wait_for(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	poll(&p, 1, 60000);
}

static size_t put(int fd, const uint8_t *bytes, size_t len)
{
	size_t done = 0;
	ssize_t n = 1;
	while (done < len && (n = send(fd, bytes + done, len - done, MSG_NOSIGNAL)) > 0)
		done += (size_t)n;
	return done;
}

// As much as is said.
static size_t get(int fd, uint8_t *bytes, size_t len)
{
	size_t done = 0;
	ssize_t n = 1;
	while (done < len && n > 0) {
		wait_for(fd);
		n = recv(fd, bytes + done, len - done, 0);
		done += n > 0 ? (size_t)n : 0;
	}
	return done;
}

int main(void)
{
	struct splice_spare spare = {{-1, -1}};
	struct splice s = {.held = 0};
	int a[2], b[2], un[2];
	uint8_t *bytes = malloc(MUCH), *got = malloc(MUCH);
	size_t sent = 0, came = 0, given = 0;
	bool wrong = false, stuck = false;
	connection(a);
	connection(b);
	for (size_t i = 0; i < MUCH; i++)
		bytes[i] = (uint8_t)(i * 2654435761u >> 13);
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, un))
		return 1;
	ok("splice: who can", splice_can(a[1], b[0]) && !splice_can(a[1], un[0]) && !splice_can(un[0], b[0]), "wrong");
	ok("splice: nothing has come", splice_take(&s, &spare, a[1]) == -EAGAIN && !s.held && !splice_give(&s, &spare, b[0]), "%zu held", s.held);

	// The reader begins when nothing moves any more.
	while (!stuck && !wrong) {
		size_t more = put(a[0], bytes + sent, MUCH - sent);
		sent += more;
		if (!s.held) {
			wait_for(a[1]);
			wrong = splice_take(&s, &spare, a[1]) <= 0;
		}
		ssize_t n = splice_give(&s, &spare, b[0]);
		wrong |= n < 0;
		given += n > 0 ? (size_t)n : 0;
		stuck = s.held && !n && !more;
	}
	ok("splice: past a reader who does not read", !wrong && sent < MUCH && s.held, "%zu sent, %zu held", sent, s.held);
	while (came < MUCH && !wrong) {
		sent += put(a[0], bytes + sent, MUCH - sent);
		came += get(b[1], got + came, given - came);
		wrong = came != given;
		if (!s.held && came < sent) {
			wait_for(a[1]);
			wrong |= splice_take(&s, &spare, a[1]) <= 0;
		}
		ssize_t n = splice_give(&s, &spare, b[0]);
		wrong |= n < 0;
		given += n > 0 ? (size_t)n : 0;
	}
	ok("splice: every byte", came == MUCH && !memcmp(bytes, got, MUCH) && !wrong, "%zu of %u", came, MUCH);

	// An end, behind what is still to be given; and a pipe that is thrown away with what it holds.
	put(a[0], bytes, 1000);
	wait_for(a[1]);
	ssize_t n = splice_take(&s, &spare, a[1]);
	ok("splice: the last bytes", n == 1000 && splice_give(&s, &spare, b[0]) == 1000 && !s.held && get(b[1], got, 1000) == 1000 &&
	   !memcmp(bytes, got, 1000), "%zd", n);
	shutdown(a[0], SHUT_WR);
	wait_for(a[1]);
	ok("splice: the end", splice_take(&s, &spare, a[1]) == 0, "no end");
	put(b[1], bytes, 1000);
	wait_for(b[0]);
	ok("splice: back", splice_take(&s, &spare, b[0]) == 1000 && s.held == 1000, "%zu held", s.held);
	splice_drop(&s);
	ok("splice: dropped", !s.held && spare.fds[0] < 0, "%zu held", s.held);
	ok("splice: what is no socket", splice_take(&s, &spare, -1) == -EBADF && !s.held, "%zu held", s.held);
	splice_spare_close(&spare);
	free(bytes);
	free(got);
	return ok_failed != 0;
}
