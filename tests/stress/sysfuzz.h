// SPDX-License-Identifier: Apache-2.0
// What the two halves of the system call fuzzer share: numbers, addresses and descriptors to throw at the kernel.
#ifndef TESTS_STRESS_SYSFUZZ_H
#define TESTS_STRESS_SYSFUZZ_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint64_t u64;

struct random {
	u64 s;
};

#define ARENA (1u << 20)
#define DIRECTORY "/tmp/sysfuzz"
extern char *arena;	// followed by a page that cannot be touched
extern pid_t victim;	// a child of the worker, the one process that may be hit
extern unsigned *common; // a page that all workers share, for futexes
extern u64 recipes;	// a bit for each of them
extern bool own_mounts;	// the worker may mount

u64 next(struct random *r);
u64 below(struct random *r, u64 n);
bool one_in(struct random *r, u64 n);
u64 number(struct random *r);
u64 bad_address(struct random *r);
u64 address(struct random *r);		// mostly in the arena
char *room(struct random *r, size_t n);	// in the arena
u64 text(struct random *r);		// of a name, mostly
u64 flags(struct random *r, const char *set, bool bits); // of a set of kernel/syscall/flags.h
void random_call(struct random *r);	// any call of the table
void handler(int sig);
void own_tally(void);			// from now on this process counts for itself

// What open_everything opens, by kind, so that a call often gets the kind it is for.
enum kind {
	FILE_A, FILE_B, FOLDER, PATH_ONLY, NULL_DEVICE, ZERO_DEVICE, MAPS, PROGRAM, TERMINAL, PIPE_OUT, PIPE_IN, STREAM_PAIR, DGRAM_PAIR, PACKET_PAIR,
	LISTENER, UDP, TCP6, NETLINK, EPOLL, EVENT, TIMER, SIGNALS, INOTIFY, MEMFD, PIDFD, QUEUE, NAMESPACE, KINDS
};
extern int opened[KINDS][2];
u64 of_kind(struct random *r, enum kind k);	// mostly

// recipes.c: both act on the calling thread's descriptors and on the arena
void better(struct random *r, long nr, u64 a[6]);	// arguments that this call can do more with
void recipe(struct random *r);				// several calls that belong together
#endif
