// SPDX-License-Identifier: Apache-2.0
// sockets PORT COMMAND...: runs a command beside listeners (TCP on 127.0.0.1:PORT and [::]:PORT+1, Unix), a UDP socket and a connection.
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 3)
		return 2;
	unsigned short port = (unsigned short)atoi(argv[1]);
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 b = {.sin6_family = AF_INET6, .sin6_port = htons((unsigned short)(port + 1))};
	struct sockaddr_un u = {.sun_family = AF_UNIX};
	memcpy(u.sun_path + 1, "sockets-test", 12);
	int l = socket(AF_INET, SOCK_STREAM, 0), m = socket(AF_INET6, SOCK_STREAM, 0), d = socket(AF_INET, SOCK_DGRAM, 0);
	int x = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(l, (void *)&a, sizeof(a)) || listen(l, 7) || bind(m, (void *)&b, sizeof(b)) || listen(m, 9) || bind(d, (void *)&a, sizeof(a)) ||
	    bind(x, (void *)&u, 15) || listen(x, 5) || connect(c, (void *)&a, sizeof(a))) {
		perror("sockets");
		return 1;
	}
	if (fork() == 0) {
		execvp(argv[2], argv + 2);
		_exit(127);
	}
	wait(NULL);
	return 0;
}
