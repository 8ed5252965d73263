// SPDX-License-Identifier: Apache-2.0
// Reading as many bytes as are meant to come. No state, no locks.
#pragma once
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <unistd.h>

static inline bool read_exactly(int fd, void *buf, size_t n)
{
	for (char *p = buf; n;) {
		ssize_t k = read(fd, p, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return false;
		p += k;
		n -= (size_t)k;
	}
	return true;
}
