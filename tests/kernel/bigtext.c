// SPDX-License-Identifier: Apache-2.0
// A program with much text, which an enclave reads in pieces of 64 KiB as they are run. System calls lie across the pieces' borders.
#include "t.h"
#include <sys/mman.h>
#include <sys/ptrace.h>

#define BLOCKS 96
#define BLOCK 65536

// Two kinds of blocks. Even: `mov $39,%eax; syscall` ends at the border, `ret` begins the next block. Odd: `mov $39,%eax; nop; syscall` has
// the border within the syscall instruction, then `cmp $-4095,%rax; ret`.
__asm__(".text\n.balign 65536\n.globl big\nbig:\n"
	".rept 48\n"
	"cmp $-4095, %rax\nret\n"
	".skip 65536 - 7 - 7, 0xcc\n"
	"mov $39, %eax\nsyscall\n"
	"ret\n"
	".skip 65536 - 1 - 7, 0xcc\n"
	"nop\nmov $39, %eax\n.byte 0x0f\n"
	".byte 0x05\n"
	".endr\n"
	"cmp $-4095, %rax\nret\n");
extern const uint8_t big[];

// The last byte of the odd block's syscall makes every second block one byte longer than BLOCK: 2 * BLOCK + 1 for a pair.
static long call(int i)
{
	const uint8_t *pair = big + (long)(i / 2) * (2 * BLOCK + 1);
	long (*f)(void) = (long (*)(void))(i % 2 ? pair + 2 * BLOCK - 7 : pair + BLOCK - 7);
	return f();
}

static void all(void)
{
	pid_t me = getpid();
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < BLOCKS; i++)
			EQ(call(i), me);
}

TEST(calls_across_the_borders) { all(); }

TEST(in_children)
{
	EQ(call(5), getpid());
	for (int k = 0; k < 3; k++)
		if (!fork()) {
			all();
			_exit(0);
		}
	for (int k = 0, st; k < 3; k++) {
		OK(wait(&st));
		EQ(st, 0);
	}
	all();
}

TEST(another_program_of_it)
{
	pid_t p = fork();
	if (!p) {
		dup2(open("/dev/null", O_WRONLY), 1);
		execl(t_self, t_self, "-n", "calls_across_the_borders", NULL);
		_exit(9);
	}
	EQ(t_wait(p), 0);
}

TEST(read_without_being_run)
{
	int mem = OK(open("/proc/self/mem", O_RDONLY));
	static uint8_t a[4096], b[4096];
	for (long at = 40 * BLOCK + 20000; at < 60 * BLOCK; at += BLOCK) { // no calls there, which may be patched
		memcpy(a, big + at, sizeof(a));
		EQ(pread(mem, b, sizeof(b), (long)big + at), sizeof(b));
		EQ(memcmp(a, b, sizeof(a)), 0);
	}
}

TEST(made_writable)
{
	uintptr_t page = (uintptr_t)(big + 10 * BLOCK + 3 * 4096) & ~4095ul;
	EQ(call(8), getpid());
	OK(mprotect((void *)page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC));
	*(volatile uint8_t *)(page + 100) = 0x90;
	EQ(*(volatile uint8_t *)(page + 100), 0x90);
	all();
}

TEST(traced)
{
	int st;
	pid_t p = fork();
	if (!p) {
		OK(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
		raise(SIGSTOP);
		all();
		_exit(0);
	}
	EQ(waitpid(p, &st, 0), p);
	CHECK(WIFSTOPPED(st));
	errno = 0;
	long w = ptrace(PTRACE_PEEKTEXT, p, big + 70 * BLOCK, NULL);
	EQ(errno, 0);
	EQ(w, *(const long *)(big + 70 * BLOCK));
	OK(ptrace(PTRACE_CONT, p, NULL, NULL));
	EQ(waitpid(p, &st, 0), p);
	EQ(st, 0);
}

TEST(locked_and_populated)
{
	if (mlock(big + 20 * BLOCK, 10 * BLOCK))
		SKIP("memory cannot be locked here");
	OK(munlock(big + 20 * BLOCK, 10 * BLOCK));
	OK(madvise((void *)((uintptr_t)(big + 50 * BLOCK) & ~4095ul), 4 * BLOCK, MADV_WILLNEED));
	all();
}

// Three calls, each across the border of two pages: `mov $39,%eax; syscall` with the border in the mov, with the border behind the mov, and
// `syscall; cmp $-4095,%rax` with the border in the cmp.
__asm__(".text\n.balign 8192\n.globl borders\nborders:\n"
	".skip 4096 - 2, 0xcc\nmov $39, %eax\nsyscall\nret\n"
	".balign 8192, 0xcc\n"
	".skip 4096 - 5, 0xcc\nmov $39, %eax\nsyscall\nret\n"
	".balign 8192, 0xcc\n"
	".skip 4096 - 4 - 5 - 1, 0xcc\nmov $39, %eax\nnop\nsyscall\ncmp $-4095, %rax\nret\n"
	".balign 8192, 0xcc\n");
extern const uint8_t borders[];

static void across_all(void)
{
	static const int at[] = {4096 - 2, 8192 + 4096 - 5, 16384 + 4096 - 10};
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < 3; i++)
			EQ(((long (*)(void))(borders + at[i]))(), getpid());
}

// One of the two pages becomes the program's own, before or after the call was patched for everyone.
TEST(one_page_made_writable)
{
	for (int half = 0; half < 2; half++)
		for (int before = 0; before < 2; before++) {
			pid_t p = fork();
			if (!p) {
				if (before)
					across_all();
				for (int i = 0; i < 3; i++)
					OK(mprotect((void *)(borders + 8192 * i + 4096 * half), 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
				across_all();
				_exit(0);
			}
			EQ(t_wait(p), 0);
			across_all();
		}
}
