// SPDX-License-Identifier: Apache-2.0
// The system call interface itself: numbers nobody has, pointers that lead nowhere, the registers and the
// red zone across a call, and call instructions in unusual places.
#include <poll.h>
#include <setjmp.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/utsname.h>

#include "tests/kernel/t.h"

// Volatile, so that the compiler does not see where they lead.
static char *volatile bad = (char *)8;                      // never mapped
static char *volatile high = (char *)0xffff800000001000ul;  // the kernel's half
static char *volatile odd = (char *)0x8000000000000000ul;   // not canonical
static volatile int minus_one = -1;
#define BAD ((void *)bad)
#define HIGH ((void *)high)
#define ODD ((void *)odd)

// Loads every general register but RSP with a pattern, makes the call, stores them all.
struct all_regs {
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, rsp_before, rsp_after;
};

__attribute__((naked, noinline)) static void call_with(__attribute__((unused)) struct all_regs *in,
							__attribute__((unused)) struct all_regs *out)
{
	// Both pointers are kept on the stack: all registers are in use.
	__asm__ volatile(
		"push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
		"push %rsi\n push %rdi\n"
		"mov %rdi, %rax\n"
		"mov 8(%rax), %rbx\n mov 24(%rax), %rdx\n mov 32(%rax), %rsi\n mov 40(%rax), %rdi\n"
		"mov 48(%rax), %rbp\n mov 56(%rax), %r8\n mov 64(%rax), %r9\n mov 72(%rax), %r10\n"
		"mov 88(%rax), %r12\n mov 96(%rax), %r13\n mov 104(%rax), %r14\n mov 112(%rax), %r15\n"
		"mov %rsp, 120(%rax)\n"
		"mov (%rax), %rax\n"
		"syscall\n"
		"xchg %rax, 8(%rsp)\n" // RAX to the stack, the output pointer to RAX
		"mov %rbx, 8(%rax)\n mov %rdx, 24(%rax)\n mov %rsi, 32(%rax)\n mov %rdi, 40(%rax)\n"
		"mov %rbp, 48(%rax)\n mov %r8, 56(%rax)\n mov %r9, 64(%rax)\n mov %r10, 72(%rax)\n"
		"mov %r12, 88(%rax)\n mov %r13, 96(%rax)\n mov %r14, 104(%rax)\n mov %r15, 112(%rax)\n"
		"mov %rsp, 128(%rax)\n"
		"mov 8(%rsp), %rcx\n mov %rcx, (%rax)\n"
		"add $16, %rsp\n"
		"pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n"
		"ret\n");
}

static void registers_kept(long nr, long a0, long a1, long a2, long want)
{
	for (int round = 0; round < 3; round++) { // a rewritten call site must keep them as well
		struct all_regs in = {0}, out = {0};
		uint64_t *v = &in.rax;
		for (int i = 0; i < 15; i++)
			v[i] = 0x1111111111111111ul * (uint64_t)(i + 1) + (uint64_t)round;
		in.rax = (uint64_t)nr;
		in.rdi = (uint64_t)a0;
		in.rsi = (uint64_t)a1;
		in.rdx = (uint64_t)a2;
		call_with(&in, &out);
		EQ(out.rax, want);
		CHECK(in.rbx == out.rbx && in.rdx == out.rdx && in.rsi == out.rsi && in.rdi == out.rdi);
		CHECK(in.rbp == out.rbp && in.r8 == out.r8 && in.r9 == out.r9 && in.r10 == out.r10);
		CHECK(in.r12 == out.r12 && in.r13 == out.r13 && in.r14 == out.r14 && in.r15 == out.r15);
		EQ(out.rsp_after, in.rsp_before);
	}
}

TEST(unknown_number_is_enosys)
{
	static const long numbers[] = {999, 5000, 100000, -1, 0x7fffffff, 600};
	for (size_t i = 0; i < sizeof(numbers) / sizeof(*numbers); i++)
		ERR(syscall(numbers[i], 1, 2, 3, 4, 5, 6), ENOSYS);
}

TEST(x32_number_is_enosys)
{
	ERR(syscall(0x40000000 + SYS_getpid), ENOSYS);
}

TEST(registers_getpid)
{
	registers_kept(SYS_getpid, 0, 0, 0, getpid());
}

TEST(registers_failing_call)
{
	registers_kept(SYS_close, -1, 0, 0, -EBADF);
}

TEST(registers_unknown_call)
{
	registers_kept(4999, 0, 0, 0, -ENOSYS);
}

TEST(registers_blocking_call)
{
	struct timespec ts = {0, 1000000};
	registers_kept(SYS_nanosleep, (long)&ts, 0, 0, 0);
}

TEST(registers_pipe_io)
{
	int p[2];
	char buf[8] = "x";
	OK(pipe(p));
	registers_kept(SYS_write, p[1], (long)buf, 1, 1);
	registers_kept(SYS_read, p[0], (long)buf, 1, 1);
}

TEST(red_zone_kept)
{
	// Leaf code may use the 128 bytes under RSP; the kernel must not touch them.
	for (int round = 0; round < 3; round++) {
		uint64_t sum = 0;
		long nr = SYS_getppid;
		__asm__ volatile("mov $16, %%ecx\n"
				 "1: mov %%rcx, %%rdx\n imul $0x01010101, %%rdx, %%rdx\n"
				 "neg %%rcx\n mov %%rdx, (%%rsp, %%rcx, 8)\n neg %%rcx\n"
				 "loop 1b\n"
				 "mov %[nr], %%rax\n syscall\n"
				 "mov $16, %%ecx\n xor %%esi, %%esi\n"
				 "2: mov %%rcx, %%rdx\n imul $0x01010101, %%rdx, %%rdx\n"
				 "neg %%rcx\n xor (%%rsp, %%rcx, 8), %%rdx\n neg %%rcx\n or %%rdx, %%rsi\n"
				 "loop 2b\n"
				 "mov %%rsi, %[sum]\n"
				 : [sum] "=r"(sum)
				 : [nr] "r"(nr)
				 : "rax", "rcx", "rdx", "rsi", "r11", "memory", "cc");
		EQ(sum, 0);
	}
}

TEST(upper_half_of_number_ignored)
{
	// The kernel takes the number from EAX's 32 bits.
	long r;
	__asm__ volatile("syscall" : "=a"(r) : "a"(0xdead00000000ul | SYS_getpid) : "rcx", "r11", "memory");
	EQ(r, getpid());
}

TEST(direct_jump_at_syscall)
{
	// Programs may jump straight at the call instruction, past the load of the number.
	long r;
	for (int i = 0; i < 3; i++) {
		__asm__ volatile("mov %1, %%eax\n"
				 "test %2, %2\n jnz 1f\n"
				 "mov $39, %%eax\n"
				 "1: syscall\n"
				 : "=&a"(r)
				 : "i"(SYS_getppid), "r"(i % 2)
				 : "rcx", "r11", "memory", "cc");
		EQ(r, i % 2 ? getppid() : getpid());
	}
}

TEST(generated_code_calls)
{
	// mov eax, edi; syscall; ret - in memory that is writable and executable
	static const uint8_t code[] = {0x89, 0xf8, 0x0f, 0x05, 0xc3};
	uint8_t *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	memcpy(m, code, sizeof(code));
	long (*fn)(int) = (long (*)(int))(void *)m;
	for (int i = 0; i < 3; i++) {
		EQ(fn(SYS_getpid), getpid());
		EQ(fn(SYS_getppid), getppid());
	}
	EQ(fn(999), -ENOSYS);
	CHECK(memcmp(m, code, sizeof(code)) == 0);
}

TEST(generated_code_with_constant)
{
	// mov eax, imm32; syscall; ret: the most common form, made at run time and changed later
	uint8_t code[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3};
	uint8_t *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	memcpy(m, code, sizeof(code));
	long (*fn)(void) = (long (*)(void))(void *)m;
	EQ(fn(), getpid());
	EQ(fn(), getpid());
	code[1] = SYS_getppid;
	memcpy(m, code, sizeof(code));
	EQ(fn(), getppid());
}

TEST(text_made_executable_by_mprotect)
{
	static const uint8_t code[] = {0xb8, 39, 0, 0, 0, 0x0f, 0x05, 0xc3};
	uint8_t *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	memcpy(m, code, sizeof(code));
	OK(mprotect(m, 4096, PROT_READ | PROT_EXEC));
	EQ(((long (*)(void))(void *)m)(), getpid());
	EQ(((long (*)(void))(void *)m)(), getpid());
}

TEST(own_text_reads_original)
{
	// Whatever the kernel does to reach its entry, the file's bytes stay the file's.
	char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
	CHECK(n > 0);
	path[n] = 0;
	int fd = OK(open(path, O_RDONLY));
	uint8_t magic[4];
	EQ(read(fd, magic, 4), 4);
	CHECK(memcmp(magic, "\177ELF", 4) == 0);
}

TEST(int80_is_harmless)
{
	// 32-bit number 1 is exit, 64-bit number 1 is write. Either Linux's own answer for the 32-bit table
	// or a refusal: the process lives, and getpid (20) is never taken for writev.
	pid_t p = OK(fork());
	if (!p) {
		long r;
		__asm__ volatile("int $0x80" : "=a"(r) : "a"(20), "b"(0), "c"(0), "d"(0) : "memory");
		_exit(r == getpid() || r == -ENOSYS ? 0 : 1);
	}
	int st = t_wait(p);
	CHECK(st == 0 || st == 128 + SIGSEGV || st == 128 + SIGSYS);
}

TEST(flags_survive_a_call)
{
	// Those of arithmetic come back as they were, the direction flag is clear.
	const uint64_t mask = 0x8d5;
	uint64_t flags, want[] = {0, 1, 0x40, 0x80, 0x801, 0x8d5, 0x94};
	for (int round = 0; round < 3; round++)
		for (unsigned i = 0; i < sizeof(want) / sizeof(*want); i++) {
			__asm__ volatile("push %1\n popfq\n mov $39, %%eax\n syscall\n pushfq\n pop %0"
					 : "=r"(flags)
					 : "r"(want[i])
					 : "rax", "rcx", "r11", "memory", "cc");
			EQ(flags & mask, want[i]);
			EQ(flags & 0x400, 0);
		}
}

TEST(vector_registers_kept)
{
	double in[4] = {1.5, 2.5, 3.5, 4.5}, out[4];
	for (int i = 0; i < 3; i++) {
		__asm__ volatile("vmovupd (%1), %%ymm0\n vmovupd (%1), %%ymm15\n"
				 "mov $39, %%eax\n syscall\n"
				 "vmulpd %%ymm15, %%ymm0, %%ymm0\n vmovupd %%ymm0, (%0)\n vzeroupper\n"
				 :
				 : "r"(out), "r"(in)
				 : "rax", "rcx", "r11", "memory", "xmm0", "xmm15");
		for (int k = 0; k < 4; k++)
			CHECK(out[k] == in[k] * in[k]);
	}
}

TEST(fs_base_is_the_programs)
{
	static __thread int x = 42;
	uint64_t base;
	OK(syscall(SYS_arch_prctl, 0x1003 /* ARCH_GET_FS */, &base));
	CHECK(base == (uint64_t)__builtin_thread_pointer());
	EQ(x, 42);
}

TEST(fault_read_write)
{
	int p[2];
	OK(pipe(p));
	ERR(write(p[1], BAD, 10), EFAULT);
	EQ(write(p[1], "abc", 3), 3);
	ERR(read(p[0], BAD, 3), EFAULT);
	ERR(read(p[0], HIGH, 3), EFAULT);
	ERR(read(p[0], ODD, 3), EFAULT);
}

TEST_DIR(fault_file_io)
{
	int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
	EQ(write(fd, "hello", 5), 5);
	ERR(write(fd, BAD, 5), EFAULT);
	ERR(pread(fd, BAD, 5, 0), EFAULT);
	ERR(pread(fd, HIGH, 5, 0), EFAULT);
	ERR(pwrite(fd, ODD, 5, 0), EFAULT);
	EQ(lseek(fd, 0, SEEK_END), 5);
}

TEST_DIR(fault_partial_write_from_edge)
{
	// Readable up to the end of the page: what is readable may be written, never more.
	char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	OK(munmap(m + 4096, 4096));
	memset(m, 'x', 4096);
	int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
	errno = 0;
	ssize_t n = write(fd, m + 4000, 200);
	CHECK((n == -1 && errno == EFAULT) || (n >= 0 && n <= 96));
	struct stat st;
	OK(fstat(fd, &st));
	CHECK(st.st_size <= 96);
}

TEST(fault_paths)
{
	struct stat st;
	ERR(open(BAD, O_RDONLY), EFAULT);
	ERR(open(HIGH, O_RDONLY), EFAULT);
	ERR(stat(BAD, &st), EFAULT);
	ERR(syscall(SYS_stat, "/", BAD), EFAULT);
	ERR(syscall(SYS_fstat, 0, BAD), EFAULT);
	ERR(syscall(SYS_newfstatat, AT_FDCWD, "/", HIGH, 0), EFAULT);
	ERR(mkdir(BAD, 0700), EFAULT);
	ERR(unlink(BAD), EFAULT);
	ERR(rename(BAD, "x"), EFAULT);
	ERR(chdir(BAD), EFAULT);
	ERR(access(BAD, F_OK), EFAULT);
	ERR(readlink("/proc/self/exe", BAD, 10), EFAULT);
	ERR(truncate(BAD, 0), EFAULT);
	ERR(syscall(SYS_execve, BAD, NULL, NULL), EFAULT);
	ERR(syscall(SYS_getcwd, BAD, 100), EFAULT);
}

TEST(fault_outputs)
{
	ERR(syscall(SYS_pipe, BAD), EFAULT);
	ERR(syscall(SYS_uname, BAD), EFAULT);
	ERR(syscall(SYS_gettimeofday, HIGH, NULL), EFAULT);
	ERR(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, BAD), EFAULT);
	ERR(syscall(SYS_nanosleep, BAD, NULL), EFAULT);
	ERR(syscall(SYS_getrlimit, RLIMIT_NOFILE, BAD), EFAULT);
	ERR(syscall(SYS_sysinfo, BAD), EFAULT);
	ERR(syscall(SYS_getrusage, RUSAGE_SELF, BAD), EFAULT);
	ERR(syscall(SYS_times, BAD), EFAULT);
	ERR(syscall(SYS_getrandom, BAD, 16, 0), EFAULT);
	ERR(syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, BAD), EFAULT);
}

TEST(fault_signals)
{
	ERR(syscall(SYS_rt_sigaction, SIGUSR1, BAD, NULL, 8), EFAULT);
	ERR(syscall(SYS_rt_sigaction, SIGUSR1, NULL, BAD, 8), EFAULT);
	ERR(syscall(SYS_rt_sigaction, SIGUSR1, NULL, NULL, 4), EINVAL);
	ERR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, BAD, NULL, 8), EFAULT);
	ERR(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, BAD, 8), EFAULT);
	ERR(syscall(SYS_sigaltstack, BAD, NULL), EFAULT);
	ERR(syscall(SYS_rt_sigpending, BAD, 8), EFAULT);
	ERR(syscall(SYS_rt_sigsuspend, BAD, 8), EFAULT);
}

TEST(fault_wait)
{
	pid_t p = OK(fork());
	if (!p)
		_exit(0);
	ERR(syscall(SYS_wait4, p, BAD, 0, NULL), EFAULT);
}

TEST(fault_poll_and_epoll)
{
	ERR(syscall(SYS_poll, BAD, 1, 0), EFAULT);
	ERR(syscall(SYS_select, 4, BAD, NULL, NULL, NULL), EFAULT);
	int e = OK(epoll_create1(0)), p[2];
	OK(pipe(p));
	ERR(syscall(SYS_epoll_ctl, e, EPOLL_CTL_ADD, p[0], BAD), EFAULT);
	struct epoll_event ev = {.events = EPOLLIN};
	OK(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &ev));
	EQ(write(p[1], "x", 1), 1);
	ERR(syscall(SYS_epoll_wait, e, BAD, 1, 0), EFAULT);
}

TEST(fault_vectors)
{
	int p[2];
	OK(pipe(p));
	struct iovec v[2] = {{"ab", 2}, {BAD, 2}};
	ERR(writev(p[1], BAD, 1), EFAULT);
	ssize_t n = writev(p[1], v, 2);
	CHECK(n == 2 || (n == -1 && errno == EFAULT));
	ERR(writev(p[1], v, minus_one), EINVAL);
	ERR(syscall(SYS_writev, p[1], v, 5000), EINVAL);
	v[1].iov_len = (size_t)-1;
	ERR(writev(p[1], v, 2), EINVAL);
}

TEST(fault_sockets)
{
	int s[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	ERR(send(s[0], BAD, 4, 0), EFAULT);
	EQ(send(s[0], "abcd", 4, 0), 4);
	ERR(recv(s[1], BAD, 4, 0), EFAULT);
	ERR(syscall(SYS_bind, s[0], BAD, 16), EFAULT);
	ERR(syscall(SYS_getsockname, s[0], BAD, BAD), EFAULT);
	ERR(syscall(SYS_sendmsg, s[0], BAD, 0), EFAULT);
	ERR(syscall(SYS_recvmsg, s[1], BAD, 0), EFAULT);
	ERR(syscall(SYS_setsockopt, s[0], SOL_SOCKET, SO_REUSEADDR, BAD, 4), EFAULT);
}

TEST(fault_futex)
{
	ERR(syscall(SYS_futex, BAD, 0 /* WAIT */, 0, NULL, NULL, 0), EFAULT);
	ERR(syscall(SYS_futex, 1026, 0, 0, NULL, NULL, 0), EINVAL); // not aligned
	ERR(syscall(SYS_futex, HIGH, 0, 0, NULL, NULL, 0), EFAULT);
}

TEST_DIR(fault_leaves_no_descriptor)
{
	// A failing call must not leak what it made on the way.
	int before = OK(dup(0));
	close(before);
	for (int i = 0; i < 50; i++) {
		ERR(syscall(SYS_pipe, BAD), EFAULT);
		ERR(syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, BAD), EFAULT);
	}
	EQ(dup(0), before);
}

TEST(read_only_buffer_is_fault)
{
	char *m = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	int p[2];
	OK(pipe(p));
	EQ(write(p[1], "abc", 3), 3);
	ERR(read(p[0], m, 3), EFAULT);
	EQ(m[0], 0);
}

TEST(zero_length_needs_no_buffer)
{
	int p[2];
	OK(pipe(p));
	EQ(write(p[1], BAD, 0), 0);
	EQ(read(p[0], BAD, 0), 0);
}

TEST(vsyscall_free_time)
{
	struct timespec a, b;
	OK(clock_gettime(CLOCK_MONOTONIC, &a));
	OK(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &b));
	CHECK(b.tv_sec > a.tv_sec || (b.tv_sec == a.tv_sec && b.tv_nsec >= a.tv_nsec));
	time_t t = time(NULL);
	struct timeval tv;
	OK(gettimeofday(&tv, NULL));
	CHECK(tv.tv_sec >= t && tv.tv_sec - t < 100);
}

#define VSYSCALL_GETTIMEOFDAY 0xffffffffff600000ul
#define VSYSCALL_TIME 0xffffffffff600400ul

// Two calls whose ends look like a system call that could be patched: before `cmp $imm32, %rax`, and with the opcode of a jump two bytes before it.
static long vsyscall_time_cmp(void)
{
	long r = (long)VSYSCALL_TIME;
	__asm__ volatile("sub $128, %%rsp\n\tcall *%%rax\n\tcmp $-4095, %%rax\n\tlea 128(%%rsp), %%rsp"
			 : "+a"(r) : "D"(NULL) : "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
	return r;
}

static long vsyscall_time_jump(void)
{
	static const unsigned long to = VSYSCALL_TIME;
	long r;
	__asm__ volatile("sub $128, %%rsp\n\tcall *0xe90000(%2)\n\tlea 128(%%rsp), %%rsp"
			 : "=a"(r) : "D"(NULL), "b"((uintptr_t)&to - 0xe90000) : "rcx", "rdx", "rsi", "r8", "r9", "r10", "r11", "memory", "cc");
	return r;
}

// The page that old programs call for the time. A machine may do without it: then whoever calls it gets SIGSEGV.
TEST(vsyscall_page)
{
	time_t t0 = time(NULL), t;
	struct timeval tv = { 0 };
	int st;
	pid_t pid = OK(fork());

	if (!pid) {
		t = ((time_t(*)(time_t *))VSYSCALL_TIME)(NULL);
		if (t < t0 || t - t0 > 100)
			_exit(1);
		if (((int (*)(struct timeval *, void *))VSYSCALL_GETTIMEOFDAY)(&tv, NULL))
			_exit(2);
		_exit(tv.tv_sec < t || tv.tv_sec - t > 100 ? 3 : 0);
	}
	OK(waitpid(pid, &st, 0));
	if (WIFSIGNALED(st) && WTERMSIG(st) == SIGSEGV)
		SKIP("no such page");
	EQ(st, 0);
	pid = OK(fork());
	if (!pid) {
		for (int i = 0; i < 3; i++) {
			CHECK((unsigned long)(vsyscall_time_cmp() - t0) <= 100);
			CHECK((unsigned long)(vsyscall_time_jump() - t0) <= 100);
		}
		_exit(0);
	}
	OK(waitpid(pid, &st, 0));
	EQ(st, 0);
}
