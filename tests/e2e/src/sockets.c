// SPDX-License-Identifier: Apache-2.0
// sockets COMMAND...: runs a command beside listeners (TCP on 127.0.0.1:$P and [::]:$Q, Unix @sockets-$P), a UDP socket on $P and a connection.
// The ports have five digits, nobody had them before, and the system gives them to nobody.
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static bool open_all(unsigned int port)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 b = {.sin6_family = AF_INET6, .sin6_port = htons((unsigned short)(port + 1))};
	struct sockaddr_un u = {.sun_family = AF_UNIX};
	int n = snprintf(u.sun_path + 1, sizeof(u.sun_path) - 1, "sockets-%u", port);
	int l = socket(AF_INET, SOCK_STREAM, 0), m = socket(AF_INET6, SOCK_STREAM, 0), d = socket(AF_INET, SOCK_DGRAM, 0);
	int x = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (!bind(l, (void *)&a, sizeof(a)) && !bind(m, (void *)&b, sizeof(b)) && !bind(d, (void *)&a, sizeof(a)) &&
	    !bind(x, (void *)&u, (socklen_t)(sizeof(u.sun_family) + 1 + (size_t)n)) && !listen(l, 7) && !listen(m, 9) && !listen(x, 5) &&
	    !connect(c, (void *)&a, sizeof(a)))
		return true;
	int err = errno;
	close(l), close(m), close(d), close(x), close(c);
	errno = err;
	return false;
}

int main(int argc, char **argv)
{
	unsigned int port = 0;
	char text[16];
	if (argc < 2)
		return 2;
	for (int tries = 0; tries < 200; tries++) {
		if (getrandom(&port, sizeof(port), 0) != sizeof(port))
			break;
		port = 11000 + port % 21000;
		if (open_all(port))
			break;
		if (errno != EADDRINUSE || tries == 199) {
			perror("sockets");
			return 1;
		}
	}
	snprintf(text, sizeof(text), "%u", port);
	setenv("P", text, 1);
	snprintf(text, sizeof(text), "%u", port + 1);
	setenv("Q", text, 1);
	if (fork() == 0) {
		execvp(argv[1], argv + 1);
		_exit(127);
	}
	wait(NULL);
	return 0;
}
