// SPDX-License-Identifier: Apache-2.0
// See notify.h. What cannot be sent is nobody's loss: systemd then waits and says so.
#include "broker/notify.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static void tell(const char *text)
{
	const char *where = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	size_t n = where ? strlen(where) : 0;
	if (!n || n >= sizeof a.sun_path || (where[0] != '/' && where[0] != '@'))
		return;
	memcpy(a.sun_path, where, n);
	if (where[0] == '@') // a name without a file
		a.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&a, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	close(fd);
}

void notify_ready(const char *status)
{
	char text[400], line[301];
	snprintf(line, sizeof line, "%s", status);
	for (char *p = line; *p; p++) {	// a line of it would be an assignment of its own
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
	}
	snprintf(text, sizeof text, "READY=1\nSTATUS=%s\n", line);
	tell(text);
}

void notify_alive(void)
{
	tell("WATCHDOG=1\n");
}

void notify_reloading(void)
{
	char text[100];
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld\n", (long long)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	tell(text);
}

void notify_stopping(void)
{
	tell("STOPPING=1\n");
}
