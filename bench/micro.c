// SPDX-License-Identifier: Apache-2.0
// Micro benchmarks: an ordinary program that runs natively and inside an enclave.
//
//	micro [-q] [-d DIR] [NAME...]     -q: a tenth of the time; -d: where files go (default $TMPDIR or /tmp)
//	micro [-q] -r NAME PROGRAM ARG... times runs of a program, from spawn to end
//	micro -l                          lists the names
//
// Prints `name value unit better` (better: lower or higher), each value the median of several repetitions.
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { REPS = 7, FILE_MB = 16 };

static const char *self;
static double budget_s = 0.1; // of one repetition
static char buf[1 << 20];

static double now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

__attribute__((noreturn)) static void die(const char *what)
{
	perror(what);
	exit(1);
}

static int cmp(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

// Seconds a round of fn, the median of REPS repetitions of budget_s each.
static double per_round(void (*fn)(long n))
{
	double t[REPS];
	long n = 1;

	for (;;) { // how many rounds fill the budget
		double a = now();
		fn(n);
		double d = now() - a;
		if (d >= budget_s / 4) {
			n = (long)((double)n * budget_s / d) + 1;
			break;
		}
		n = d > budget_s / 400 ? (long)((double)n * budget_s / 3 / d) + 1 : n * 10;
	}
	for (int i = 0; i < REPS; i++) {
		double a = now();
		fn(n);
		t[i] = (now() - a) / (double)n;
	}
	qsort(t, REPS, sizeof(*t), cmp);
	return t[REPS / 2];
}

static void print_ns(const char *name, double s)
{
	printf("%s %.1f ns lower\n", name, s * 1e9);
}

static void print_mbs(const char *name, double bytes, double s)
{
	printf("%s %.1f MB/s higher\n", name, bytes / s / 1e6);
}

static void in_ns(const char *name, void (*fn)(long))
{
	print_ns(name, per_round(fn));
}

static int fd, pa[2], pb[2];

// ---- calls

static void getppid_raw(long n)
{
	for (long i = 0; i < n; i++) {
		long r;
		__asm__ volatile("mov $110, %%eax\n syscall" : "=a"(r)::"rcx", "r11", "memory");
	}
}

static void getppid_libc(long n)
{
	for (long i = 0; i < n; i++)
		syscall(SYS_getppid);
}

static void clock_read(long n)
{
	struct timespec ts;
	for (long i = 0; i < n; i++)
		clock_gettime(CLOCK_MONOTONIC, &ts);
}

static void read_zero(long n)
{
	for (long i = 0; i < n; i++)
		if (read(fd, buf, 1) != 1)
			die("read");
}

static void write_null(long n)
{
	for (long i = 0; i < n; i++)
		if (write(fd, buf, 1) != 1)
			die("write");
}

static void pread_4k(long n)
{
	for (long i = 0; i < n; i++)
		if (pread(fd, buf, 4096, (i * 7919 % 256) * 4096) != 4096)
			die("pread");
}

static void pread_64k(long n)
{
	for (long i = 0; i < n; i++)
		if (pread(fd, buf, 65536, (i % 16) * 65536) != 65536)
			die("pread");
}

static void pwrite_4k(long n)
{
	for (long i = 0; i < n; i++)
		if (pwrite(fd, buf, 4096, (i * 7919 % 256) * 4096) != 4096)
			die("pwrite");
}

static void read_write_4k(long n)
{
	for (long i = 0; i < n; i++) {
		lseek(fd, (i % 256) * 4096, SEEK_SET);
		if (read(fd, buf, 4096) != 4096)
			die("read");
	}
}

static void open_close(long n)
{
	for (long i = 0; i < n; i++) {
		int f = open("file", O_RDONLY);
		if (f < 0)
			die("open");
		close(f);
	}
}

static void stat_file(long n)
{
	struct stat st;
	for (long i = 0; i < n; i++)
		if (stat("file", &st))
			die("stat");
}

static void fstat_file(long n)
{
	struct stat st;
	for (long i = 0; i < n; i++)
		if (fstat(fd, &st))
			die("fstat");
}

static void make_file(void)
{
	int f = open("file", O_RDWR | O_CREAT | O_TRUNC, 0644);
	if (f < 0)
		die("file");
	for (int i = 0; i < FILE_MB; i++)
		if (write(f, buf, 1 << 20) != 1 << 20)
			die("write");
	fd = f;
}

static void b_calls(void)
{
	in_ns("getppid_raw", getppid_raw);
	in_ns("getppid_libc", getppid_libc);
	in_ns("clock_gettime", clock_read);
	fd = open("/dev/zero", O_RDONLY);
	in_ns("read_zero_1", read_zero);
	close(fd);
	fd = open("/dev/null", O_WRONLY);
	in_ns("write_null_1", write_null);
	close(fd);
}

static void b_files(void)
{
	make_file();
	in_ns("pread_4k", pread_4k);
	in_ns("pread_64k", pread_64k);
	in_ns("pwrite_4k", pwrite_4k);
	in_ns("lseek_read_4k", read_write_4k);
	in_ns("open_close", open_close);
	in_ns("stat", stat_file);
	in_ns("fstat", fstat_file);
	close(fd);
	unlink("file");
}

// ---- pipes, sockets, futexes

static void pipe_own_1(long n)
{
	for (long i = 0; i < n; i++)
		if (write(pa[1], buf, 1) != 1 || read(pa[0], buf, 1) != 1)
			die("pipe");
}

static void pipe_own_4k(long n)
{
	for (long i = 0; i < n; i++)
		if (write(pa[1], buf, 4096) != 4096 || read(pa[0], buf, 4096) != 4096)
			die("pipe");
}

// One byte there and back over two descriptors; the peer answers.
static int to, from;
static void ping_pong(long n)
{
	for (long i = 0; i < n; i++)
		if (write(to, buf, 1) != 1 || read(from, buf, 1) != 1)
			die("ping pong");
}

static pid_t answer(int in, int out)
{
	pid_t p = fork();
	if (p < 0)
		die("fork");
	if (!p) {
		char c;
		while (read(in, &c, 1) == 1)
			if (write(out, &c, 1) != 1)
				break;
		_exit(0);
	}
	return p;
}

static void stop(pid_t p)
{
	kill(p, SIGKILL);
	waitpid(p, NULL, 0);
}

static size_t chunk;
static void stream(long n)
{
	for (long i = 0; i < n; i++)
		for (size_t done = 0; done < chunk;) {
			ssize_t r = write(to, buf + done, chunk - done);
			if (r <= 0)
				die("stream");
			done += (size_t)r;
		}
}

static void bandwidth(const char *name, int in, int out, size_t size)
{
	pid_t p = fork();
	if (p < 0)
		die("fork");
	if (!p) {
		close(in);
		while (read(out, buf, size) > 0)
			;
		_exit(0);
	}
	to = in;
	chunk = size;
	print_mbs(name, (double)size, per_round(stream));
	stop(p);
}

static void b_pipes(void)
{
	if (pipe(pa) || pipe(pb))
		die("pipe");
	in_ns("pipe_1_one_process", pipe_own_1);
	in_ns("pipe_4k_one_process", pipe_own_4k);
	pid_t p = answer(pa[0], pb[1]);
	to = pa[1];
	from = pb[0];
	in_ns("pipe_ping_pong", ping_pong);
	stop(p);
	bandwidth("pipe_bandwidth_4k", pa[1], pa[0], 4096);
	bandwidth("pipe_bandwidth_64k", pa[1], pa[0], 65536);
}

static void tcp_pair(int s[2])
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(a);
	int l = socket(AF_INET, SOCK_STREAM, 0), on = 1;
	if (l < 0 || bind(l, (struct sockaddr *)&a, sizeof(a)) || listen(l, 5) || getsockname(l, (struct sockaddr *)&a, &len))
		die("listen");
	s[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (s[0] < 0 || connect(s[0], (struct sockaddr *)&a, sizeof(a)))
		die("connect");
	s[1] = accept(l, NULL, NULL);
	if (s[1] < 0)
		die("accept");
	setsockopt(s[0], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(s[1], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	close(l);
}

static struct sockaddr_in server;
static void tcp_connect(long n)
{
	for (long i = 0; i < n; i++) {
		int s = socket(AF_INET, SOCK_STREAM, 0);
		struct linger lg = {1, 0}; // no TIME_WAIT left over
		if (s < 0 || connect(s, (struct sockaddr *)&server, sizeof(server)))
			die("connect");
		int t = accept(fd, NULL, NULL);
		if (t < 0)
			die("accept");
		setsockopt(s, SOL_SOCKET, SO_LINGER, &lg, sizeof(lg));
		close(s);
		close(t);
	}
}

static void udp_pair(int s[2])
{
	struct sockaddr_in a[2];
	for (int i = 0; i < 2; i++) {
		socklen_t len = sizeof(a[i]);
		a[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		s[i] = socket(AF_INET, SOCK_DGRAM, 0);
		if (s[i] < 0 || bind(s[i], (struct sockaddr *)&a[i], len) || getsockname(s[i], (struct sockaddr *)&a[i], &len))
			die("udp");
	}
	for (int i = 0; i < 2; i++)
		if (connect(s[i], (struct sockaddr *)&a[!i], sizeof(a[0])))
			die("udp");
}

static void datagram(long n)
{
	for (long i = 0; i < n; i++)
		if (send(to, buf, 1024, 0) != 1024 || recv(from, buf, 1024, 0) != 1024)
			die("datagram");
}

static void b_sockets(void)
{
	int s[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, s))
		die("socketpair");
	pid_t p = answer(s[1], s[1]);
	to = from = s[0];
	in_ns("unix_ping_pong", ping_pong);
	stop(p);
	bandwidth("unix_bandwidth_64k", s[0], s[1], 65536);
	close(s[0]);
	close(s[1]);
	tcp_pair(s);
	p = answer(s[1], s[1]);
	to = from = s[0];
	in_ns("tcp_ping_pong", ping_pong);
	stop(p);
	bandwidth("tcp_bandwidth_64k", s[0], s[1], 65536);
	close(s[0]);
	close(s[1]);
	server = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(server);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(fd, (struct sockaddr *)&server, sizeof(server)) || listen(fd, 64) ||
	    getsockname(fd, (struct sockaddr *)&server, &len))
		die("listen");
	in_ns("tcp_connect_close", tcp_connect);
	close(fd);
	udp_pair(s);
	p = answer(s[1], s[1]);
	to = from = s[0];
	in_ns("udp_ping_pong", ping_pong);
	stop(p);
	to = s[0];
	from = s[1];
	in_ns("udp_send_receive_1k", datagram);
	close(s[0]);
	close(s[1]);
}

static int epfd;
static void epoll_round(long n)
{
	struct epoll_event ev;
	for (long i = 0; i < n; i++)
		if (write(pa[1], buf, 1) != 1 || epoll_wait(epfd, &ev, 1, -1) != 1 || read(pa[0], buf, 1) != 1)
			die("epoll");
}

static void b_epoll(void)
{
	struct epoll_event ev = {.events = EPOLLIN};
	epfd = epoll_create1(0);
	for (int i = 0; i < 100; i++)
		if (pipe(pa) || epoll_ctl(epfd, EPOLL_CTL_ADD, pa[0], &ev))
			die("epoll");
	in_ns("epoll_round_100_fds", epoll_round);
}

static uint32_t *word;
static long fut(int op, uint32_t val)
{
	return syscall(SYS_futex, word, op, val, NULL, NULL, 0);
}

static void turn(uint32_t me)
{
	uint32_t v;
	while ((v = __atomic_load_n(word, __ATOMIC_ACQUIRE)) % 2 != me)
		fut(FUTEX_WAIT, v);
	__atomic_store_n(word, v + 1, __ATOMIC_RELEASE);
	fut(FUTEX_WAKE, 1);
}

static void futex_ping(long n)
{
	for (long i = 0; i < n; i++)
		turn(0);
}

static void *futex_pong(void *arg)
{
	for (;;)
		turn(1);
	return arg;
}

static void futex_wake_none(long n)
{
	for (long i = 0; i < n; i++)
		fut(FUTEX_WAKE, 1);
}

static void b_futex(void)
{
	word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (word == MAP_FAILED)
		die("mmap");
	in_ns("futex_wake_none", futex_wake_none);
	pid_t p = fork();
	if (!p)
		futex_pong(NULL);
	in_ns("futex_ping_pong_processes", futex_ping);
	stop(p);
	*word = 0;
	p = fork(); // threads in a process of their own, which exit() then clears away
	if (!p) {
		pthread_t t;
		pthread_create(&t, NULL, futex_pong, NULL);
		in_ns("futex_ping_pong_threads", futex_ping);
		fflush(stdout);
		_exit(0);
	}
	waitpid(p, NULL, 0);
}

// ---- processes

static void fork_exit(long n)
{
	for (long i = 0; i < n; i++) {
		pid_t p = fork();
		if (p < 0)
			die("fork");
		if (!p)
			_exit(0);
		waitpid(p, NULL, 0);
	}
}

static const char *child;
static void fork_exec(long n)
{
	for (long i = 0; i < n; i++) {
		pid_t p = fork();
		if (p < 0)
			die("fork");
		if (!p) {
			execl(child, child, "-x", NULL);
			_exit(1);
		}
		waitpid(p, NULL, 0);
	}
}

static void vfork_exec(long n)
{
	for (volatile long i = 0; i < n; i++) {
		pid_t p = vfork();
		if (p < 0)
			die("vfork");
		if (!p) {
			execl(child, child, "-x", NULL);
			_exit(1);
		}
		waitpid(p, NULL, 0);
	}
}

static void spawn(long n)
{
	extern char **environ;
	char *argv[] = {(char *)child, "-x", NULL};
	for (long i = 0; i < n; i++) {
		pid_t p;
		if (posix_spawn(&p, child, NULL, NULL, argv, environ))
			die("posix_spawn");
		waitpid(p, NULL, 0);
	}
}

static void *nothing(void *arg)
{
	return arg;
}

static void thread_create(long n)
{
	for (long i = 0; i < n; i++) {
		pthread_t t;
		if (pthread_create(&t, NULL, nothing, NULL))
			die("pthread_create");
		pthread_join(t, NULL);
	}
}

static void b_processes(void)
{
	child = self;
	in_ns("fork_exit", fork_exit);
	in_ns("fork_exec", fork_exec);
	in_ns("vfork_exec", vfork_exec);
	in_ns("posix_spawn", spawn);
	in_ns("thread_create_join", thread_create);
	char *big = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (big == MAP_FAILED)
		die("mmap");
	memset(big, 1, 64 << 20);
	in_ns("fork_exit_64m", fork_exit);
	in_ns("posix_spawn_64m", spawn);
	munmap(big, 64 << 20);
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static long locked;
static void *contend(void *arg)
{
	for (long i = 0; i < (long)arg; i++) {
		pthread_mutex_lock(&mutex);
		locked++;
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

static void mutex_contended(long n)
{
	pthread_t t[4];
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, contend, (void *)n);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
}

static void b_mutex(void)
{
	print_ns("mutex_contended_4", per_round(mutex_contended) / 4);
}

// ---- signals

static volatile sig_atomic_t hits;
static void hit(int s)
{
	(void)s;
	hits++;
}

static void raise_signal(long n)
{
	pid_t pid = getpid(), tid = (pid_t)syscall(SYS_gettid);
	for (long i = 0; i < n; i++)
		syscall(SYS_tgkill, pid, tid, SIGUSR1);
}

static sigjmp_buf back;
static void jump(int s)
{
	siglongjmp(back, s);
}

static void segv(long n)
{
	static char *volatile nowhere = (char *)8;
	for (volatile long i = 0; i < n; i++)
		if (sigsetjmp(back, 0) == 0)
			*nowhere = 1;
}

static void b_signals(void)
{
	struct sigaction sa = {.sa_handler = hit};
	sigaction(SIGUSR1, &sa, NULL);
	in_ns("signal_raise_handler", raise_signal);
	sa.sa_handler = jump;
	sa.sa_flags = SA_NODEFER;
	sigaction(SIGSEGV, &sa, NULL);
	in_ns("segv_longjmp", segv);
}

// ---- memory

static void map_anon(long n)
{
	for (long i = 0; i < n; i++) {
		char *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		m[0] = 1;
		munmap(m, 4096);
	}
}

static void map_anon_1m(long n)
{
	for (long i = 0; i < n; i++) {
		char *m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		for (int k = 0; k < 1 << 20; k += 4096)
			m[k] = 1;
		munmap(m, 1 << 20);
	}
}

static void map_file_1m(long n)
{
	for (long i = 0; i < n; i++) {
		volatile char *m = mmap(NULL, 1 << 20, PROT_READ, MAP_PRIVATE, fd, 0);
		for (int k = 0; k < 1 << 20; k += 4096)
			(void)m[k];
		munmap((void *)m, 1 << 20);
	}
}

static void map_anon_1g(long n)
{
	for (long i = 0; i < n; i++) {
		char *m = mmap(NULL, 1ul << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (m == MAP_FAILED)
			die("mmap");
		for (size_t k = 0; k < 1ul << 30; k += 4096)
			m[k] = 1;
		munmap(m, 1ul << 30);
	}
}

static char *prot_page;
static void protect(long n)
{
	for (long i = 0; i < n; i++) {
		mprotect(prot_page, 4096, PROT_READ);
		mprotect(prot_page, 4096, PROT_READ | PROT_WRITE);
	}
}

static void b_memory(void)
{
	in_ns("mmap_touch_munmap_4k", map_anon);
	in_ns("mmap_touch_munmap_1m", map_anon_1m);
	in_ns("mmap_touch_munmap_1g", map_anon_1g);
	make_file();
	in_ns("mmap_file_touch_1m", map_file_1m);
	close(fd);
	unlink("file");
	prot_page = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	prot_page += 4096;
	prot_page[0] = 1;
	in_ns("mprotect_twice", protect);
}

// ---- file systems

static size_t io_size;
static void seq_write(long n)
{
	for (long i = 0; i < n; i++) {
		lseek(fd, 0, SEEK_SET);
		for (size_t o = 0; o < (size_t)FILE_MB << 20; o += io_size)
			if (write(fd, buf, io_size) != (ssize_t)io_size)
				die("write");
	}
}

static void seq_read(long n)
{
	for (long i = 0; i < n; i++) {
		lseek(fd, 0, SEEK_SET);
		for (size_t o = 0; o < (size_t)FILE_MB << 20; o += io_size)
			if (read(fd, buf, io_size) != (ssize_t)io_size)
				die("read");
	}
}

static void rand_io(long n)
{
	uint32_t x = 1;
	for (long i = 0; i < n; i++) {
		x = x * 1664525 + 1013904223;
		off_t o = (off_t)((x >> 8) % (FILE_MB << 8)) * 4096;
		if (x & 64 ? pread(fd, buf, 4096, o) != 4096 : pwrite(fd, buf, 4096, o) != 4096)
			die("io");
	}
}

static void fsync_4k(long n)
{
	for (long i = 0; i < n; i++)
		if (pwrite(fd, buf, 4096, (i % 256) * 4096) != 4096 || fsync(fd))
			die("fsync");
}

static void create_delete(long n)
{
	for (long i = 0; i < n; i++) {
		int f = open("new", O_RDWR | O_CREAT | O_EXCL, 0644);
		if (f < 0 || write(f, buf, 100) != 100)
			die("create");
		close(f);
		unlink("new");
	}
}

static void rename_twice(long n)
{
	for (long i = 0; i < n; i++) {
		rename("a", "b");
		rename("b", "a");
	}
}

static void readdir_1000(long n)
{
	for (long i = 0; i < n; i++) {
		DIR *d = opendir("many");
		int k = 0;
		while (readdir(d))
			k++;
		closedir(d);
		if (k != 1002)
			die("readdir");
	}
}

static void b_fs(void)
{
	double bytes = (double)((size_t)FILE_MB << 20);
	char name[32];
	make_file();
	io_size = 4096;
	print_mbs("seq_write_4k", bytes, per_round(seq_write));
	print_mbs("seq_read_4k", bytes, per_round(seq_read));
	io_size = 65536;
	print_mbs("seq_write_64k", bytes, per_round(seq_write));
	print_mbs("seq_read_64k", bytes, per_round(seq_read));
	in_ns("random_io_4k", rand_io);
	in_ns("write_fsync_4k", fsync_4k);
	close(fd);
	unlink("file");
	in_ns("create_write_delete", create_delete);
	close(open("a", O_RDWR | O_CREAT, 0644));
	in_ns("rename_twice", rename_twice);
	unlink("a");
	mkdir("many", 0755);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "many/%d", i);
		close(open(name, O_RDWR | O_CREAT, 0644));
	}
	in_ns("readdir_1000", readdir_1000);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "many/%d", i);
		unlink(name);
	}
	rmdir("many");
}

// ---- computation, which costs nothing extra

static void compute(long n)
{
	double x = 0.5;
	for (long i = 0; i < n; i++)
		for (int k = 0; k < 1000; k++)
			x = 3.9 * x * (1 - x);
	__asm__ volatile("" ::"x"(x));
}

static void copy_memory(long n)
{
	static char *a, *b;
	if (!a) {
		a = malloc(32 << 20);
		b = malloc(32 << 20);
		memset(a, 1, 32 << 20);
	}
	for (long i = 0; i < n; i++) {
		memcpy(b, a, 32 << 20);
		__asm__ volatile("" ::"r"(b) : "memory");
	}
}

static void b_compute(void)
{
	in_ns("compute_1000", compute);
	print_mbs("memcpy_32m", 32 << 20, per_round(copy_memory));
}

// ---- whole programs

static char **program;
static void run_program(long n)
{
	extern char **environ;
	for (long i = 0; i < n; i++) {
		pid_t p;
		int st;
		if (posix_spawn(&p, program[0], NULL, NULL, program, environ))
			die(program[0]);
		if (waitpid(p, &st, 0) != p || st)
			die("program failed");
	}
}

static const struct group {
	const char *name;
	void (*fn)(void);
} groups[] = {
	{"calls", b_calls},	{"files", b_files},	  {"pipes", b_pipes},	  {"sockets", b_sockets}, {"epoll", b_epoll},
	{"futex", b_futex},	{"processes", b_processes}, {"mutex", b_mutex},	  {"signals", b_signals}, {"memory", b_memory},
	{"fs", b_fs},		{"compute", b_compute},
};

int main(int argc, char **argv)
{
	const char *run = NULL, *dir = getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp";
	static char path[4096];
	int o, bad = 0;

	if (argc == 2 && !strcmp(argv[1], "-x"))
		return 0; // the child of the exec benchmarks
	self = realpath(argv[0], path) ? path : "/proc/self/exe";
	while ((o = getopt(argc, argv, "+qld:r:")) != -1)
		switch (o) {
		case 'q':
			budget_s /= 10;
			break;
		case 'd':
			dir = optarg;
			break;
		case 'r':
			run = optarg;
			break;
		case 'l':
			for (size_t i = 0; i < sizeof(groups) / sizeof(*groups); i++)
				puts(groups[i].name);
			return 0;
		default:
			return 2;
		}
	setvbuf(stdout, NULL, _IOLBF, 0); // children must not print the parent's lines again
	if (run) {
		program = argv + optind;
		if (optind == argc)
			return 2;
		budget_s *= 3;
		in_ns(run, run_program);
		return 0;
	}
	char work[4096];
	snprintf(work, sizeof(work), "%s/micro.XXXXXX", dir);
	if (!mkdtemp(work) || chdir(work))
		die(work);
	// Each group in a child: one that the system cannot do must not end the others.
	for (size_t i = 0; i < sizeof(groups) / sizeof(*groups); i++) {
		int wanted = optind == argc, st;
		for (int k = optind; k < argc; k++)
			wanted |= !strcmp(argv[k], groups[i].name);
		if (!wanted)
			continue;
		fflush(stdout);
		pid_t p = fork();
		if (!p) {
			groups[i].fn();
			fflush(stdout);
			_exit(0);
		}
		if (p < 0 || waitpid(p, &st, 0) != p || st) {
			fprintf(stderr, "micro: group %s failed\n", groups[i].name);
			bad = 1;
		}
	}
	return chdir("/") || rmdir(work) || bad;
}
