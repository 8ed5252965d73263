// SPDX-License-Identifier: Apache-2.0
// Mappings and what an access to them gives, for the tests of memory.
#ifndef TESTS_KERNEL_MEM_H
#define TESTS_KERNEL_MEM_H
#include "tests/kernel/t.h"
#include <setjmp.h>
#include <sys/mman.h>

enum { PG = 4096, KB = 1024, MB = 1 << 20 };

static sigjmp_buf mem_back;
static volatile int sig_code;	// of the last signal that an access gave
static void *volatile sig_addr;

static void mem_caught(int sig, siginfo_t *si, void *u)
{
	(void)u;
	sig_code = si->si_code;
	sig_addr = si->si_addr;
	siglongjmp(mem_back, sig);
}

// From now on SIGSEGV and SIGBUS lead to mem_back, also where the stack is used up.
static inline void mem_watch(void)
{
	static char alt[64 * KB];
	struct sigaction sa = {.sa_sigaction = mem_caught, .sa_flags = SA_SIGINFO | SA_ONSTACK};
	stack_t ss = {.ss_sp = alt, .ss_size = sizeof(alt)};
	OK(sigaltstack(&ss, NULL));
	OK(sigaction(SIGSEGV, &sa, NULL));
	OK(sigaction(SIGBUS, &sa, NULL));
}

// The signal that reading (or writing) a byte gives; 0: none.
static inline int touch(volatile char *p, bool write)
{
	mem_watch();
	int sig = sigsetjmp(mem_back, 1);
	if (!sig) {
		if (write)
			*p = 'w';
		else
			(void)*p;
	}
	return sig;
}

static inline char *map(int fd, size_t size, int prot, int flags)
{
	char *p = mmap(NULL, size, prot, flags, fd, 0);
	CHECK(p != MAP_FAILED);
	return p;
}

static inline char *anon(int pages, int prot, int flags)
{
	return map(-1, (size_t)pages * PG, prot, MAP_ANONYMOUS | MAP_PRIVATE | flags);
}

// A new file of so many bytes, a hole, in the current directory.
static inline int file(size_t size)
{
	int fd = OK(open("f", O_RDWR | O_CREAT | O_TRUNC, 0600));
	OK(ftruncate(fd, (off_t)size));
	return fd;
}
#endif
