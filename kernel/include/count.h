// SPDX-License-Identifier: Apache-2.0
// How many kernel objects of each kind live now, for /proc/coffer/objects: what is made is counted where it is made, and
// uncounted where its memory goes. A test that compares before and after finds leaks. No locks: an atomic number for each
// kind and shard, their sum counts.
#pragma once
#include "kernel/include/shard.h"

#define COUNTED(X) \
	X(processes) X(tasks) X(mms) X(vmas) X(sessions) X(signals) X(posix_timers) \
	X(files) X(fd_tables) X(fs_contexts) X(inodes) X(dentries) X(mounts) X(supers) \
	X(pipes) X(epolls) X(epoll_items) X(eventfds) X(timerfds) X(signalfds) X(inotifies) X(ttys) \
	X(sockets) X(host_watches) X(host_fds) \
	X(page_caches) X(cached_pages) X(file_pages) X(dirty_pages) X(text_views) \
	X(sem_sets) X(sem_undos) X(msg_queues) X(messages) X(shm_segments) X(mqueues) X(aio_contexts) X(cgroups) X(keys) X(remote_requests)

enum counted {
#define X(name) N_##name,
	COUNTED(X)
#undef X
	N_COUNTED
};
struct counts {
	s64 n[N_COUNTED];
} __aligned(64);
extern struct counts object_counts[SHARDS];
s64 object_count(u32 kind); // over all shards

#define COUNT(kind, by) ((void)__atomic_fetch_add(&object_counts[my_shard()].n[N_##kind], (s64)(by), __ATOMIC_RELAXED))
