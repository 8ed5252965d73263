// SPDX-License-Identifier: Apache-2.0
// The kernel's own memory as a program meets it: what must not be written, read or run. Natively the same addresses hold nothing, so
// every attempt must end in SIGSEGV there too. /proc/coffer/isolation names the places.
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>

#include "tests/kernel/t.h"

static sigjmp_buf back;

static void caught(int s)
{
	siglongjmp(back, s);
}

enum act { READ, WRITE, RUN };

// Survives the attempt: false when it faulted.
static bool can(enum act act, unsigned long at)
{
	volatile char *p = (volatile char *)at;

	if (sigsetjmp(back, 1))
		return false;
	if (act == RUN)
		((void (*)(void))at)();
	char c = *p;
	if (act == WRITE)
		*p = c;
	return true;
}

// The range of a line of the report; natively a place of the same kind, where nothing is.
static void range(const char *name, unsigned long *from, unsigned long *to)
{
	char line[256];
	FILE *f = fopen("/proc/coffer/isolation", "re");

	*from = 0x680000000000;
	*to = *from + 0x10000;
	if (!f)
		return;
	*to = 0;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name))) {
			CHECK(strstr(line, " yes "));
			EQ(sscanf(strchr(line, '('), "(%lx-%lx)", from, to), 2);
		}
	fclose(f);
	CHECK(*to > *from);
}

static void none(const char *name, enum act act, unsigned long step)
{
	unsigned long from, to;

	t_on(SIGSEGV, caught, 0);
	range(name, &from, &to);
	for (; from < to; from += step)
		if (can(act, from))
			t_fail(__LINE__, "%s: %lx", name, from);
}

TEST(kernel_text_cannot_be_written)
{
	none("kernel-text-read-only", WRITE, 4096);
}

TEST(kernel_constants_cannot_be_written)
{
	none("kernel-constants-read-only", WRITE, 4096);
}

TEST(call_table_and_boot_block_cannot_be_written)
{
	none("kernel-tables-sealed", WRITE, 4096);
}

TEST(no_second_mapping_of_the_kernel)
{
	none("kernel-image-mapped-once", READ, 65536);
}

TEST(page_below_the_kernel_stack)
{
	none("kernel-stack-guard", READ, 512);
	none("kernel-stack-guard", WRITE, 512);
}

static void *in_thread(void *arg)
{
	none("kernel-stack-guard", READ, 512);
	return arg;
}

TEST(each_thread_and_child_has_its_own)
{
	pthread_t t;

	ZERO(pthread_create(&t, NULL, in_thread, NULL));
	ZERO(pthread_join(t, NULL));
	pid_t p = OK(fork());
	if (!p) {
		none("kernel-stack-guard", WRITE, 512);
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

TEST(kernel_data_and_stacks_cannot_be_run)
{
	unsigned long from, to;

	t_on(SIGSEGV, caught, 0);
	range("kernel-stack-guard", &from, &to);
	CHECK(!can(RUN, to + 64));	// the stack itself
	range("kernel-tables-sealed", &from, &to);
	CHECK(!can(RUN, from));
	CHECK(!can(RUN, to + 64));	// plain data
	range("kernel-constants-read-only", &from, &to);
	CHECK(!can(RUN, from));
}

TEST(calls_take_no_kernel_addresses)
{
	unsigned long from, to;
	int p[2];

	range("kernel-tables-sealed", &from, &to);
	OK(pipe(p));
	OK(write(p[1], "x", 1));
	ERR(read(p[0], (void *)from, 1), EFAULT);
	ERR(write(p[1], (void *)from, 8), EFAULT);
	ERR(mprotect((void *)from, 4096, PROT_READ | PROT_WRITE), ENOMEM);
	ERR(madvise((void *)from, 4096, MADV_DONTNEED), ENOMEM);
}
