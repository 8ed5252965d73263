// SPDX-License-Identifier: Apache-2.0
// Readiness of host handles (sockets, console streams): events come from the host's epoll through whichever task
// sleeps there (kernel/task/sleep.c).
#pragma once
#include "kernel/include/types.h"

struct waitq;

extern u32 hostio_active;	// number of watched handles; 0: nobody needs to poll the host
// Watches hfd; readiness changes wake q with EPOLL* bits. 0 or -errno (-EPERM: a regular file, always ready).
int hostio_watch(int hfd, struct waitq *q);
void hostio_unwatch(int hfd);
// EPOLL* bits last seen, asked of the host if unknown.
u32 hostio_events(int hfd);
// An event from the host: cookie from hc_watch. Called without locks.
void hostio_event(u32 cookie, u32 events);
// Collects host events without sleeping (a non-blocking poll calls it first).
void task_poll_host(void);
