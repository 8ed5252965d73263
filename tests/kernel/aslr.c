// SPDX-License-Identifier: Apache-2.0
// Address space layout randomisation: how many bits of each address differ from run to run, and how a program switches it off.
#include <link.h>
#include <spawn.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/personality.h>

#include "tests/kernel/t.h"

enum { EXE, STACK, STACK_IN_PAGE, MMAP, VDSO, HEAP, LAST };
static const char *const names[LAST] = {"program", "stack", "within the page of the stack", "mmap", "vdso", "heap"};
// What Linux gives on x86-64 (arch/x86/mm/mmap.c, fs/binfmt_elf.c): bits that change. The heap's begins with the program's end.
static const int expected[LAST] = {28, 22, 8, 28, 9, 13};

extern char __executable_start[], end[];

// Prints the addresses of a fresh program. The stack's is its top: AT_EXECFN lies just below.
HELPER(addresses)
{
	unsigned long fn = getauxval(AT_EXECFN), page = 4095;
	char *sp = __builtin_frame_address(0);
	printf("%lx %lx %lx %lx %lx %lx\n", (unsigned long)__executable_start, fn & ~page, (unsigned long)sp & page,
	       (unsigned long)mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), getauxval(AT_SYSINFO_EHDR),
	       (unsigned long)sbrk(0) - (unsigned long)end);
	return 0;
}

static void look(unsigned long v[LAST])
{
	int p[2];
	OK(pipe(p));
	pid_t pid = OK(fork());
	if (!pid) {
		dup2(p[1], 1);
		close(p[0]);
		execl(t_self, t_self, "--helper", "addresses", NULL);
		_exit(127);
	}
	close(p[1]);
	char line[256] = "";
	t_readn(p[0], line, sizeof(line) - 1);
	close(p[0]);
	EQ(t_wait(pid), 0);
	EQ(sscanf(line, "%lx %lx %lx %lx %lx %lx", &v[0], &v[1], &v[2], &v[3], &v[4], &v[5]), LAST);
}

TEST(bits_of_each_address)
{
	unsigned long first[LAST], v[LAST], differ[LAST] = {0};
	if (personality(0xffffffff) & ADDR_NO_RANDOMIZE)
		SKIP("switched off by whoever started this");
	if (atoi(t_get("/proc/sys/kernel/randomize_va_space")) != 2)
		SKIP("switched off on this machine");
	look(first);
	for (int i = 0; i < 40; i++) {
		look(v);
		for (int k = 0; k < LAST; k++)
			differ[k] |= v[k] ^ first[k];
	}
	for (int k = 0; k < LAST; k++)
		if (__builtin_popcountl(differ[k]) < expected[k])
			t_fail(__LINE__, "%s: only %d bits (%lx)", names[k], __builtin_popcountl(differ[k]), differ[k]);
}

TEST(switched_off_by_personality)
{
	unsigned long first[LAST], v[LAST];
	int old = OK(personality(0xffffffff));
	OK(personality((unsigned long)old | ADDR_NO_RANDOMIZE));
	look(first);
	for (int i = 0; i < 5; i++) {
		look(v);
		for (int k = 0; k < LAST; k++)
			EQ(v[k], first[k]);
	}
	EQ(first[EXE], 0x555555554000);
	CHECK(first[HEAP] < 8192);
	EQ(first[STACK], 0x7fffffffe000);
}

TEST(switch_of_the_machine_can_be_read)
{
	int v = atoi(t_get("/proc/sys/kernel/randomize_va_space"));
	CHECK(v >= 0 && v <= 2);
}
