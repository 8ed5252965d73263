// SPDX-License-Identifier: Apache-2.0
// Host names through the system's resolver, for programs on an ordinary host. A file of its own so that static
// programs, which cannot use it, do not link it. No locks.
#include <errno.h>
#include <netdb.h>
#include <string.h>

#include "lib/http_client.h"

int http_resolve_system(const char *host, const char *port, union http_address *out, int max, struct fault *f)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list;
	int count = 0, e = getaddrinfo(host, port, &hints, &list);
	if (e)
		return fault_set(f, -EHOSTUNREACH, "no address is known for '%s': %s", host, gai_strerror(e));
	for (struct addrinfo *a = list; a && count < max; a = a->ai_next) {
		if (a->ai_addrlen <= sizeof *out)
			memcpy(&out[count++], a->ai_addr, a->ai_addrlen);
	}
	freeaddrinfo(list);
	return count ? count : fault_set(f, -EHOSTUNREACH, "no usable address is known for '%s'", host);
}
