// SPDX-License-Identifier: Apache-2.0
// How many kernel objects of each kind live now, for /proc/coffer/objects: what is made is counted where it is made, and
// uncounted where its memory goes. A test that compares before and after finds leaks. No locks: one atomic number a kind.
#pragma once
#include "kernel/include/types.h"

#define COUNTED(X) \
	X(processes) X(tasks) X(mms) X(vmas) X(sessions) X(signals) X(posix_timers) \
	X(files) X(fd_tables) X(fs_contexts) X(inodes) X(dentries) X(mounts) X(supers) \
	X(pipes) X(epolls) X(epoll_items) X(eventfds) X(timerfds) X(signalfds) X(inotifies) X(ttys) \
	X(sockets) X(host_watches) X(host_fds) \
	X(page_caches) X(cached_pages) X(file_pages) X(dirty_pages) X(text_views) \
	X(sem_sets) X(sem_undos) X(msg_queues) X(messages) X(shm_segments) X(mqueues) X(aio_contexts) X(remote_requests)

enum counted {
#define X(name) N_##name,
	COUNTED(X)
#undef X
	N_COUNTED
};
extern s64 object_count[N_COUNTED];

#define COUNT(kind, by) ((void)__atomic_fetch_add(&object_count[N_##kind], (s64)(by), __ATOMIC_RELAXED))
