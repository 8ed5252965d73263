// SPDX-License-Identifier: Apache-2.0
// Protection keys: in an enclave on a CPU that has them the kernel's memory lies under one, and a program's PKRU register is as Linux begins it.
// Natively the kernel's addresses hold nothing, so every attempt on them ends in the same SIGSEGV.
// Cases on a CPU without keys are skipped, natively and inside.
#include <cpuid.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "tests/kernel/t.h"

#define BEGIN 0x55555554u // all keys but 0 denied
#define XSTATE_PKRU 0x200ul

static void need_keys(void)
{
	unsigned int a, b, c = 0, d;

	__get_cpuid_count(7, 0, &a, &b, &c, &d);
	if (!(c & 16))
		SKIP("the CPU or its Linux has no protection keys");
}

static unsigned int rdpkru(void)
{
	unsigned int a, d;

	__asm__ volatile("rdpkru" : "=a"(a), "=d"(d) : "c"(0));
	return a;
}

static void wrpkru(unsigned int v)
{
	__asm__ volatile("wrpkru" ::"a"(v), "c"(0), "d"(0) : "memory");
}

static sigjmp_buf back;
static volatile unsigned long at;
static volatile int code;

static void caught(int s, siginfo_t *i, void *ctx)
{
	(void)s;
	(void)ctx;
	at = (unsigned long)i->si_addr;
	code = i->si_code;
	siglongjmp(back, 1);
}

static void on_segv(void)
{
	struct sigaction sa = {.sa_sigaction = caught, .sa_flags = SA_SIGINFO};

	OK(sigaction(SIGSEGV, &sa, NULL));
}

// As for memory that is not there.
static void must_fault(unsigned long p, bool write)
{
	if (!sigsetjmp(back, 1)) {
		if (write)
			*(volatile char *)p = 1;
		else
			(void)*(volatile char *)p;
		t_fail(__LINE__, "%lx can be %s", p, write ? "written" : "read");
	}
	EQ(at, p);
	EQ(code, SEGV_MAPERR);
}

// Kernel memory as /proc/coffer/isolation tells it; natively some place.
static void kernel_memory(unsigned long *from, unsigned long *to)
{
	char line[256];
	FILE *f = fopen("/proc/coffer/isolation", "re");

	*from = 0x680010800000;
	*to = 0x680020000000;
	if (!f)
		return;
	*to = 0;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, "protection-keys", 15)) {
			CHECK(strstr(line, " yes "));
			EQ(sscanf(strchr(line, '('), "(%lx-%lx)", from, to), 2);
		}
	fclose(f);
	CHECK(*to > *from);
}

static void try_kernel_memory(void)
{
	unsigned long from, to;

	kernel_memory(&from, &to);
	on_segv();
	for (unsigned long p = from, step = (to - from) / 500 & ~63ul; p < to; p += step) {
		must_fault(p, false);
		must_fault(p, true);
	}
	for (unsigned long p = from; p < from + 0x100000; p += 4096)
		must_fault(p, true);
	for (unsigned long p = 0x680000000000; p < 0x680000000000 + 64 * 4096; p += 4096)
		must_fault(p, false); // text
}

TEST(kernel_memory_cannot_be_reached)
{
	need_keys();
	try_kernel_memory();
	EQ(rdpkru(), BEGIN);
}

static char yes;
static void *in_thread(void *arg)
{
	EQ(rdpkru(), BEGIN);
	getppid();
	EQ(rdpkru(), BEGIN);
	if (arg)
		try_kernel_memory();
	return arg;
}

HELPER(rights)
{
	EQ(rdpkru(), BEGIN);
	try_kernel_memory();
	return 0;
}

TEST(nor_by_children_threads_and_new_programs)
{
	pthread_t t;
	pid_t p;

	need_keys();
	ZERO(pthread_create(&t, NULL, in_thread, &yes));
	ZERO(pthread_join(t, NULL));
	for (int i = 0; i < 8; i++) { // one that slept may carry the next
		ZERO(pthread_create(&t, NULL, in_thread, NULL));
		ZERO(pthread_join(t, NULL));
	}
	p = OK(fork());
	if (!p) {
		in_thread(&yes);
		_exit(0);
	}
	EQ(t_wait(p), 0);
	p = OK(fork());
	if (!p)
		execl(t_self, t_self, "--helper", "rights", NULL);
	EQ(t_wait(p), 0);
	p = OK(vfork());
	if (!p)
		_exit(rdpkru() == BEGIN ? 0 : 1);
	EQ(t_wait(p), 0);
	EQ(rdpkru(), BEGIN);
}

// Where PKRU lies in an XSAVE area.
static unsigned int pkru_offset(void)
{
	unsigned int a, b = 0, c, d;

	__get_cpuid_count(0xd, 9, &a, &b, &c, &d);
	return b;
}

static volatile unsigned int seen, in_frame, forge;
static volatile int handled;

static void look(int s, siginfo_t *i, void *ctx)
{
	char *area = (char *)((ucontext_t *)ctx)->uc_mcontext.fpregs;

	(void)s;
	(void)i;
	seen = rdpkru();
	in_frame = *(unsigned int *)(area + pkru_offset());
	if (!(*(unsigned long *)(area + 512) & XSTATE_PKRU))
		in_frame = 0;
	if (forge)
		*(unsigned int *)(area + pkru_offset()) = 0;
	handled++;
}

TEST(rights_in_signal_handlers)
{
	struct sigaction sa = {.sa_sigaction = look, .sa_flags = SA_SIGINFO};
	pid_t p;

	need_keys();
	OK(sigaction(SIGUSR1, &sa, NULL));
	OK(sigaction(SIGALRM, &sa, NULL));
	OK(raise(SIGUSR1));
	EQ(handled, 1);
	EQ(seen, BEGIN);
	EQ(in_frame, BEGIN);
	EQ(rdpkru(), BEGIN);
	p = t_pester(getpid(), SIGALRM); // also while it computes
	while (handled < 20) {
		EQ(rdpkru(), BEGIN);
		if (handled & 1)
			getppid();
	}
	t_end(p);
	EQ(seen, BEGIN);
	EQ(in_frame, BEGIN);
}

// A program may change its frame, and so its own rights, but not reach what it has no key for.
TEST(forged_frame_opens_nothing)
{
	struct sigaction sa = {.sa_sigaction = look, .sa_flags = SA_SIGINFO};

	need_keys();
	OK(sigaction(SIGUSR1, &sa, NULL));
	forge = 1;
	OK(raise(SIGUSR1));
	EQ(handled, 1);
	forge = 0;
	try_kernel_memory();
}

// A program's own use of the register: it may narrow its rights, and calls between do no harm.
TEST(program_sets_the_register)
{
	need_keys();
	wrpkru(BEGIN);
	EQ(rdpkru(), BEGIN);
	wrpkru(0x55555550);
	EQ(rdpkru(), 0x55555550);
	wrpkru(BEGIN);
	OK(getppid());
	EQ(rdpkru(), BEGIN);
	try_kernel_memory();
}

// Linux itself uses a key for memory that may be run only.
TEST(memory_that_can_only_be_run)
{
	static const unsigned char ret7[] = {0xb8, 7, 0, 0, 0, 0xc3};
	char *m;
	int fd[2];

	need_keys();
	m = OK(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	memcpy(m, ret7, sizeof(ret7));
	OK(mprotect(m, 4096, PROT_EXEC));
	EQ(((int (*)(void))(void *)m)(), 7);
	on_segv();
	if (!sigsetjmp(back, 1)) {
		(void)*(volatile char *)m;
		t_fail(__LINE__, "it can be read");
	}
	EQ(at, m);
	OK(pipe(fd));
	ERR(write(fd[1], m, 1), EFAULT);
	EQ(((int (*)(void))(void *)m)(), 7);
	OK(mprotect(m, 4096, PROT_READ));
	EQ(m[1], 7);
	EQ(write(fd[1], m, 1), 1);
}
