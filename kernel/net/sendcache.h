// SPDX-License-Identifier: Apache-2.0
// Copies in the host's memory of what sendfile(2) has sent to the host's sockets more than once.
#pragma once
#include "kernel/include/types.h"

struct iter;

// Sends up to n bytes of a page cache (iter_pagecache) from the copy that the host has: bytes sent, by which it is advanced, or -errno.
// 0: there is no copy, nothing was sent. Called without locks; only for sockets whose bytes the host sees anyway.
long sendcache_send(int hfd, struct iter *it, size_t n);
// Gives all of it back to the host when nobody has sent anything for a while. By a kernel thread, now and then.
void sendcache_trim(void);
