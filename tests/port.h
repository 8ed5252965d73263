// SPDX-License-Identifier: Apache-2.0
// A port for a server that a test starts, or starts anew at the same place. Ports that the system gives out (bind to 0, connect) are no good for that:
// until the server has it, or has it again, any program may have been given the same one.
#ifndef COFFER_TESTS_PORT_H
#define COFFER_TESTS_PORT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

// One that nobody has, and that the system gives to nobody by itself; 0: there is none.
static inline unsigned int free_port(void)
{
	unsigned int first = 32768, last = 60999;
	FILE *f = fopen("/proc/sys/net/ipv4/ip_local_port_range", "re");
	if (f && fscanf(f, "%u %u", &first, &last) != 2)
		last = 60999;
	if (f)
		fclose(f);
	for (int tries = 0; tries < 10000; tries++) {
		unsigned int port = 0;
		if (getrandom(&port, sizeof port, 0) != sizeof port)
			return 0;
		port = 11000 + port % (65536 - 11000);
		if (port >= first && port <= last && tries < 5000)
			continue;	// but for a machine that gives out nearly all
		struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_ANY)};
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		bool is_free = fd >= 0 && !bind(fd, (struct sockaddr *)&a, sizeof a);
		if (fd >= 0)
			close(fd);
		if (is_free)
			return port;
	}
	return 0;
}

#endif
