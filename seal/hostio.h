// SPDX-License-Identifier: Apache-2.0
// Volume files and surroundings on an ordinary host (hosted tools and tests).
#pragma once
#include "seal/seal.h"
#include <pthread.h>

struct hostio {
	int fd;
	bool locked;
	pthread_mutex_t mutex, flushing;
	int flush_error; // of the first flush that failed
	struct seal_io io;
	struct seal_env env;
	char last_log[256]; // the last line the library had to say
};

enum hostio_mode { HOSTIO_READ, HOSTIO_WRITE, HOSTIO_CREATE, HOSTIO_PROBE };
// Opens a volume file and locks it (one writer or many readers; -EBUSY). CREATE: a new file, -EEXIST if there is one.
// PROBE: to read the header, which never changes; without a lock.
// h->io and h->env are ready to use until hostio_close.
int hostio_open(struct hostio *h, const char *path, enum hostio_mode mode);
// Keeps others out of what is to be replaced, until *fd is closed. -EBUSY: somebody has it open as above; 0 with -1 in *fd: there is no such
// file; any other error: nobody knows.
int hostio_hold(const char *path, int *fd);
int hostio_close(struct hostio *h); // 0 or the error that close reported
