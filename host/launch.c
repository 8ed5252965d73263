// SPDX-License-Identifier: Apache-2.0
// The launcher of the process platform: builds the enclave's memory (a memfd), loads the kernel into it, starts the first host
// process and supervises. One thread waits for children (this one), one serves the request ring, one waits for the
// enclave's wish to stop. Nothing here is trusted by the enclave.
#include "host/launch.h"
#include "host/console.h"
#include "host/cpus.h"
#include "host/evidence.h"
#include "host/trim.h"
#include "host/usage.h"
#include "hostcall/serve.h"
#include "lib/sha.h"
#include "platform/process/control.h"

#include <dirent.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/rseq.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/rseq.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { MISSING_MAX = 4 << 20 };

static struct control *ctl;
static uint8_t measurement[48];
static bool debug_enclave;	// the measured options say so, and so does the evidence
static struct termios saved_tty;
static int saved_tty_fd = -1;
static pid_t launcher_pid;
static const char *lib_dir;
static int message_fd = 2, started_fd;
static pid_t supervisor;
static unsigned int stop_timeout;	// seconds from SIGTERM to the end; 0: as long as the program likes

static int fail(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int fail(int err, const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	dprintf(message_fd, "coffer: %s%s%s\n", text, err ? ": " : "", err ? strerror(err) : "");
	return -(err ? err : EINVAL);
}

static void restore_tty(void)
{
	if (saved_tty_fd >= 0 && getpid() == launcher_pid)
		tcsetattr(saved_tty_fd, TCSADRAIN, &saved_tty);
}

static void futex_wake(uint32_t *w) { syscall(SYS_futex, w, FUTEX_WAKE, 64, NULL, NULL, 0); }
static void futex_wait(uint32_t *w, uint32_t v) { syscall(SYS_futex, w, FUTEX_WAIT, v, NULL, NULL, 0); }

static void enclave_event(void)
{
	__atomic_fetch_add(&ctl->event_seq, 1, __ATOMIC_SEQ_CST);
	futex_wake(&ctl->event_seq);
}

// Ends the enclave as `kill -9` would: nobody in it is asked. Called in signal handlers.
static void end_now(const char *why, size_t len)
{
	if (__atomic_load_n(&ctl->stop_requested, __ATOMIC_SEQ_CST))
		return;
	if (write(message_fd, why, len) < 0)
		errno = 0; // nobody listens
	__atomic_store_n(&ctl->stop_status, SIGKILL, __ATOMIC_SEQ_CST);
	__atomic_store_n(&ctl->stop_requested, 1, __ATOMIC_SEQ_CST);
	futex_wake(&ctl->stop_requested);
}
#define END_NOW(why) end_now(why, sizeof(why) - 1)

static void on_stop_timeout(int sig)
{
	int e = errno;

	(void)sig;
	END_NOW("coffer: the program did not end in time after SIGTERM: the enclave is killed\n");
	errno = e;
}

// SIGTERM asks the program to end (it gets the signal as well). Asked again a second later, or when the time is up, the enclave
// ends. What comes within a second is one wish: timeout(1) sends two, to the process and to its group.
static void ask_to_end(void)
{
	static struct timespec first;
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	if (!first.tv_sec) {
		first = now;
		if (stop_timeout && getppid() != supervisor)
			alarm(stop_timeout);
	} else if ((now.tv_sec - first.tv_sec) * 1000000000L + now.tv_nsec - first.tv_nsec >= 1000000000L) {
		END_NOW("coffer: second SIGTERM: the enclave is killed\n");
	}
}

static void dump_tasks(void)
{
	__atomic_fetch_add(&ctl->dump_seq, 1, __ATOMIC_SEQ_CST);
	futex_wake(&ctl->dump_seq);
}

static bool no_dump_said;

// What tasks do may not leave an enclave that is not for debugging; the signal is the program's.
static void say_no_dump(void)
{
	static const char why[] = "coffer: SIGQUIT goes to the program; the tasks are listed only in an enclave built with `debug_enclave: true`\n";

	no_dump_said = true;
	if (write(message_fd, why, sizeof(why) - 1) < 0)
		errno = 0; // nobody listens
}

// SIGWINCH, SIGCONT (the window may have another size since the launcher was stopped) and the signals that a person or a
// service manager sends: handed to the enclave.
static void on_signal(int sig)
{
	int e = errno;

	if (sig == SIGWINCH || sig == SIGCONT)
		__atomic_store_n(&ctl->winch, 1, __ATOMIC_SEQ_CST);
	else if (sig == SIGQUIT && debug_enclave)
		dump_tasks();
	else
		__atomic_fetch_or(&ctl->host_signals, 1u << sig, __ATOMIC_SEQ_CST);
	if (sig == SIGQUIT && !debug_enclave && !no_dump_said)
		say_no_dump();
	if (sig == SIGTERM)
		ask_to_end();
	enclave_event();
	errno = e;
}

// --- the kernel image
static int load_kernel(const char *manifest, int memfd)
{
	char path[4096], hex[97], line[128];
	unsigned char md[48];
	struct stat st;
	Elf64_Ehdr *eh;
	int r = 0, fd;

	snprintf(path, sizeof(path), "%s/kernel.elf", lib_dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return fail(errno, "cannot open the enclave kernel %s", path);
	uint8_t *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return fail(errno, "cannot read %s", path);
	// what a TEE measures at load time: these bytes are the ones that the manifest names, or the measurement would differ
	sha_384(p, (size_t)st.st_size, md);
	for (int i = 0; i < 48; i++)
		snprintf(hex + 2 * i, 3, "%02x", md[i]);
	snprintf(line, sizeof(line), "\nkernel: %s\n", hex);
	if (!strstr(manifest, line)) {
		const char *k = strstr(manifest, "\nkernel: ");
		r = fail(0, "the enclave kernel %s is not the one that this enclave was built with\n  expected %.16s...\n  found    %.16s...\n  Run `coffer build` again, or restore the kernel.",
			 path, k ? k + 9 : "?", hex);
		goto out;
	}
	eh = (Elf64_Ehdr *)p;
	if ((size_t)st.st_size < sizeof(*eh) || memcmp(eh->e_ident, ELFMAG, SELFMAG) || eh->e_machine != EM_X86_64) {
		r = fail(0, "%s is not an x86-64 ELF file", path);
		goto out;
	}
	ctl->entry = eh->e_entry;
	for (int i = 0; i < eh->e_phnum; i++) {
		Elf64_Phdr *ph = (Elf64_Phdr *)(p + eh->e_phoff) + i;
		if (ph->p_type != PT_LOAD)
			continue;
		uint64_t off = ph->p_vaddr - (ph->p_vaddr < K_LIN ? K_BASE : K_LIN), len = (ph->p_memsz + 4095) & ~4095ul;
		if (!(ph->p_flags & PF_W)) // so that text and tables may become huge pages
			len = ((off + len + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1ul)) - off;
		int prot = (ph->p_flags & PF_R ? PROT_READ : 0) | (ph->p_flags & PF_W ? PROT_WRITE : 0) | (ph->p_flags & PF_X ? PROT_EXEC : 0);
		if (off + len > OFF_CTL || ph->p_offset + ph->p_filesz > (uint64_t)st.st_size) {
			r = fail(0, "%s: bad segment", path);
			goto out;
		}
		if (pwrite(memfd, p + ph->p_offset, ph->p_filesz, (off_t)off) != (ssize_t)ph->p_filesz ||
		    (ph->p_vaddr < K_LIN && mmap((void *)ph->p_vaddr, len, prot, MAP_SHARED | MAP_FIXED_NOREPLACE, memfd, (off_t)off) != (void *)ph->p_vaddr)) {
			r = fail(errno, "cannot map the enclave kernel");
			goto out;
		}
	}
out:
	munmap(p, (size_t)st.st_size);
	return r ? r : 0;
}

// --- the request ring: everything in ring mode, otherwise only what needs libraries (evidence) or the host's files (usage)
static void evidence(struct hc_desc *d, uint8_t *pool)
{
	struct simtee_request q = { .debug = debug_enclave };
	uint8_t report[HC_EVIDENCE_REPORT];
	static char chain[HC_EVIDENCE_CHAIN - 1]; // one ring thread serves
	size_t n;

	memcpy(q.measurement, measurement, sizeof(q.measurement));
	memcpy(q.report_data, pool, sizeof(q.report_data));
	d->ret = evidence_report(lib_dir, &q, report, chain, sizeof(chain), &n);
	if (d->ret)
		return;
	memcpy(pool, report, sizeof(report));
	memcpy(pool + sizeof(report), chain, n);
	d->a[2] = n;
}

static void sealing_key(struct hc_desc *d, uint8_t *pool)
{
	struct simtee_request q = { .debug = debug_enclave };

	memcpy(q.measurement, measurement, sizeof(q.measurement));
	d->ret = evidence_sealing_key(lib_dir, &q, pool);
}

static void *ring_thread(void *unused)
{
	const struct timespec quiet = { .tv_nsec = 300000000 };
	bool trimmed = false;
	uint32_t tail = 0;
	sigset_t pipe;

	(void)unused;
	sigemptyset(&pipe);
	sigaddset(&pipe, SIGPIPE); // a peer that is gone is the enclave's matter
	pthread_sigmask(SIG_BLOCK, &pipe, NULL);
	for (;;) {
		uint32_t s = __atomic_load_n(&ctl->ring_seq, __ATOMIC_SEQ_CST);
		while (tail != __atomic_load_n(&ctl->ring_head, __ATOMIC_ACQUIRE)) {
			uint32_t w = ctl->ring[tail++ % CTL_RING];
			if (w >= WIN_MAX || ctl->desc_offset > 4096 - sizeof(struct hc_desc))
				continue;
			uint8_t *win = (uint8_t *)(K_LIN + OFF_WIN + (uint64_t)w * WIN_STRIDE);
			uint8_t *pool = (uint8_t *)(K_LIN + OFF_POOLS + (uint64_t)w * POOL_STRIDE);
			struct hc_desc *slot = (struct hc_desc *)(win + ctl->desc_offset), d = *slot;
			if (d.op == HC_EVIDENCE) {
				evidence(&d, pool);
			} else if (d.op == HC_SEALING_KEY) {
				sealing_key(&d, pool);
			} else if (d.op >= HC_USAGE && d.op < HC_NOPS) {
				usage_serve(&d, pool);
			} else {
				hc_serve(ctl, &d, pool);
			}
			d.state = 1;
			*slot = d;
			__atomic_store_n(&slot->state, 2, __ATOMIC_RELEASE);
			futex_wake(&slot->state);
			trimmed = false;
		}
		// quiet since the start, or since the last request
		if (syscall(SYS_futex, &ctl->ring_seq, FUTEX_WAIT, s, trimmed ? NULL : &quiet, NULL, 0) && errno == ETIMEDOUT) {
			trim_clean_pages();
			trimmed = true;
		}
	}
	return NULL;
}

static void kill_children(void)
{
	char path[64], text[4096], *p = text, *end;
	int fd, used = 0;
	ssize_t n;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", getpid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	while ((n = read(fd, text + used, sizeof(text) - 1 - (size_t)used)) > 0) {
		text[used + n] = 0;
		for (p = text; (end = strchr(p, ' ')); p = end + 1) // each number is followed by one
			kill(atoi(p), SIGKILL);
		used = (int)strlen(p); // the start of a number
		memmove(text, p, (size_t)used);
	}
	close(fd);
}

static void *stop_thread(void *unused)
{
	(void)unused;
	while (!__atomic_load_n(&ctl->stop_requested, __ATOMIC_SEQ_CST))
		futex_wait(&ctl->stop_requested, 0);
	// a process that forks while we read the list survives one round, not the next
	for (;;) {
		kill_children();
		usleep(500);
	}
	return NULL;
}

static void *started_thread(void *unused)
{
	(void)unused;
	while (!__atomic_load_n(&ctl->program_started, __ATOMIC_SEQ_CST))
		futex_wait(&ctl->program_started, 0);
	if (write(started_fd, "s", 1) < 0)
		errno = 0; // nobody waits for it
	return NULL;
}

// Host processes of the enclave are our children (CLONE_PARENT). Clean exits are theirs; anything else is reported.
static void reaped(pid_t pid, int st)
{
	if ((WIFEXITED(st) && WEXITSTATUS(st) == 0) || __atomic_load_n(&ctl->stop_requested, __ATOMIC_SEQ_CST))
		return;
	if (pid == (pid_t)ctl->kernel_pid) {
		__atomic_store_n(&ctl->stop_status, 125u << 8, __ATOMIC_SEQ_CST);
		fail(0, "the enclave's kernel process was killed (wait status 0x%x)", st);
		__atomic_store_n(&ctl->stop_requested, 1, __ATOMIC_SEQ_CST);
		futex_wake(&ctl->stop_requested);
		return;
	}
	uint32_t h = ctl->dead_head;
	while (h - __atomic_load_n(&ctl->dead_tail, __ATOMIC_ACQUIRE) >= CTL_DEAD &&
	       !__atomic_load_n(&ctl->stop_requested, __ATOMIC_SEQ_CST))
		usleep(1000);
	ctl->dead[h % CTL_DEAD].pid = (uint32_t)pid;
	ctl->dead[h % CTL_DEAD].status = (uint32_t)st;
	__atomic_store_n(&ctl->dead_head, h + 1, __ATOMIC_RELEASE);
	enclave_event();
}

// A program that makes processes in a loop would have to share its CPU with us at each end of one: then they are collected every 2 ms.
static int supervise(void)
{
	unsigned recent = 0;
	struct timespec since = { 0 }, now;
	bool many = false;

	for (;;) {
		int st;
		pid_t pid = waitpid(-1, &st, __WALL | (recent && many ? WNOHANG : 0));

		if (pid < 0 && errno != EINTR)
			break;
		if (pid > 0) {
			reaped(pid, st);
			recent++;
			if (many)
				continue;
		}
		clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
		if (now.tv_sec != since.tv_sec || now.tv_nsec - since.tv_nsec >= 4000000) {
			many = recent >= 8;
			since = now;
			recent = 0;
		}
		if (many && !__atomic_load_n(&ctl->stop_requested, __ATOMIC_SEQ_CST))
			usleep(2000);
	}
	return (int)ctl->stop_status;
}

static char *read_all(const char *path, size_t max, size_t *len)
{
	FILE *f = fopen(path, "re");
	char *b = f ? malloc(max + 1) : NULL;

	if (b) {
		*len = fread(b, 1, max, f);
		b[*len] = 0;
		if (ferror(f) || fgetc(f) != EOF) {
			free(b);
			b = NULL;
			errno = EFBIG;
		}
	}
	if (f)
		fclose(f);
	return b;
}

static int open_volumes(const struct launch_options *o)
{
	for (int i = 0; i < o->nvolumes; i++) {
		const struct launch_volume *v = &o->volumes[i];
		struct stat mine, now;
		int fd = open(v->path, (v->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
		if (fd < 0)
			return fail(errno, "cannot open volume %s", v->path);
		if (flock(fd, (v->read_only ? LOCK_SH : LOCK_EX) | LOCK_NB))
			return fail(EBUSY, "volume %s is in use by another enclave", v->path);
		if (fstat(fd, &mine) || stat(v->path, &now) || mine.st_dev != now.st_dev || mine.st_ino != now.st_ino)
			return fail(EBUSY, "volume %s was replaced by another at this moment; start again", v->path);
		ctl->vol_fd[i] = fd;
	}
	ctl->nvol = (u32)o->nvolumes;
	return 0;
}

// The socket behind `coffer exec`. Its path may be longer than such an address: it is made through the folder.
static int open_control(const char *dir)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC), fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), r = 0;

	unlinkat(at, "control", 0);
	snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/control", at);
	if (at < 0 || fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 64))
		r = fail(errno, "cannot listen at %s/control", dir);
	if (at >= 0)
		close(at);
	ctl->control_fd = r ? 0 : (u32)fd;
	return r;
}

static void console_setup(void)
{
	for (int i = 0; i < 3; i++) {
		ctl->console_tty[i] = isatty(i) == 1;
		if (ctl->console_tty[i] && saved_tty_fd < 0 && !tcgetattr(i, &saved_tty))
			saved_tty_fd = i;
	}
	launcher_pid = getpid();
	atexit(restore_tty);
}

static void signals_setup(void)
{
	static const int sigs[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH, SIGCONT };
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	for (size_t i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++)
		sigaction(sigs[i], &sa, NULL);
	sa.sa_handler = on_stop_timeout;
	sigaction(SIGALRM, &sa, NULL);
}

// In the new host process: drop what glibc registered with the host and enter the kernel. Never returns.
// Each connection of the enclave through the host is a descriptor here; the default limit is too low for a server.
static void more_descriptors(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) || l.rlim_cur == l.rlim_max)
		return;
	l.rlim_cur = l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
}

static void child_enter(uint64_t entry)
{
	struct rseq *rs = (struct rseq *)((char *)__builtin_thread_pointer() + __rseq_offset);
	uint64_t win0 = K_LIN + OFF_WIN;

	if (__rseq_size)
		syscall(SYS_rseq, rs, 32, RSEQ_FLAG_UNREGISTER, RSEQ_SIG);
	__asm__ volatile("jmp *%1" ::"D"(win0), "r"(entry) : "memory");
	__builtin_unreachable();
}

// The number of a measured option, "memory="; 0 when it is not there.
static uint64_t manifest_number(const char *m, const char *option)
{
	const char *o = strstr(m, "\noptions: "), *k = o ? strstr(o, option) : NULL;

	return k ? strtoull(k + strlen(option), NULL, 10) : 0;
}

// The enclave has ended: nobody writes any more.
static void take_words(struct launch_words *w)
{
	uint32_t end = ctl->said_bytes, len = end < CTL_SAID ? end : CTL_SAID;
	off_t size = ctl->missing_fd < 0 ? 0 : lseek(ctl->missing_fd, 0, SEEK_END);
	ssize_t n;

	w->said = malloc(len + 1u);
	for (uint32_t i = 0; w->said && i < len; i++)
		w->said[i] = (char)ctl->said[(end - len + i) % CTL_SAID];
	w->said_len = w->said ? len : 0;
	size = size < 0 ? 0 : size > MISSING_MAX ? MISSING_MAX : size;
	w->missing = malloc((size_t)size + 1);
	n = w->missing && size ? pread(ctl->missing_fd, w->missing, (size_t)size, 0) : 0;
	w->missing_len = n > 0 ? (size_t)n : 0;
}

int launch_run(const struct launch_options *o)
{
	size_t ml = 0;
	char *manifest = read_all(o->manifest_path, 4095, &ml);
	uint64_t mem, size;
	pthread_t t;
	int r, memfd = -1;
	pid_t pid;

	lib_dir = o->lib_dir;
	message_fd = o->message_fd ? o->message_fd : 2;
	started_fd = o->started_fd;
	supervisor = o->supervisor;
	console_guard();
	if (!manifest)
		return fail(errno, "cannot read %s (run `coffer build` first)", o->manifest_path);
	mem = manifest_number(manifest, "memory=") & ~4095ull;
	if (o->nvolumes > CTL_MAX_VOL || o->host_json_len >= sizeof(ctl->host_json)) {
		r = fail(0, "too many volumes or too much environment");
		goto out;
	}
	if (mem < (64ull << 20) || mem > K_LIN_MAX - OFF_PAGES) {
		r = fail(0, "the manifest's memory size is out of range (64M to 200G)");
		goto out;
	}
	size = OFF_PAGES + mem;
	memfd = memfd_create("enclave", MFD_CLOEXEC);
	if (memfd < 0 || ftruncate(memfd, (off_t)size)) {
		r = fail(errno, "cannot make the enclave's memory");
		goto out;
	}
	if (mmap((void *)K_LIN, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED_NOREPLACE, memfd, 0) != (void *)K_LIN) {
		r = fail(errno, "cannot map the enclave's memory at its address");
		goto out;
	}
	ctl = (struct control *)(K_LIN + OFF_CTL);
	sha_384(manifest, ml, measurement);
	const char *options = strstr(manifest, "\noptions: ");
	debug_enclave = options && strstr(options, "debug=1");
	r = load_kernel(manifest, memfd);
	if (r)
		goto out;
	ctl->memfd = memfd;
	ctl->memory_bytes = mem;
	ctl->image_fd = open(o->image, O_RDONLY | O_CLOEXEC);
	if (ctl->image_fd < 0) {
		r = fail(errno, "cannot open the image %s (run `coffer build` first)", o->image);
		goto out;
	}
	r = open_volumes(o);
	if (r)
		goto out;
	if (o->control_dir && options && (strstr(options, ",exec=1") || debug_enclave)) {
		r = open_control(o->control_dir);
		if (r)
			goto out;
	}
	more_descriptors();
	ctl->launcher_pid = (u32)getpid();
	ctl->cache_fd = memfd_create("send-cache", MFD_CLOEXEC); // without it the enclave copies
	// Set 0 and the one of tasks without a set of their own; the others are made when they are needed (hostcall/serve.c).
	ctl->epoll_fd[0] = epoll_create1(EPOLL_CLOEXEC);
	ctl->epoll_fd[1] = epoll_create1(EPOLL_CLOEXEC);
	ctl->wake_fd[1] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct epoll_event wake = { .events = EPOLLIN | EPOLLET, .data.u64 = HC_EVENT_WAKE }, all = { .events = EPOLLIN, .data.u64 = HC_EVENT_ALL };
	if (ctl->wake_fd[1] < 0 || ctl->epoll_fd[0] < 0 || ctl->epoll_fd[1] < 0 ||
	    epoll_ctl((int)ctl->epoll_fd[1], EPOLL_CTL_ADD, (int)ctl->wake_fd[1], &wake) ||
	    epoll_ctl((int)ctl->epoll_fd[1], EPOLL_CTL_ADD, (int)ctl->epoll_fd[0], &all)) {
		r = fail(errno, "cannot make event descriptors");
		goto out;
	}
	if (getrandom(ctl->seed, sizeof(ctl->seed), 0) != sizeof(ctl->seed))
		memset(ctl->seed, 0, sizeof(ctl->seed));
	memcpy(ctl->manifest, manifest, ml);
	ctl->manifest_len = (u32)ml;
	memcpy(ctl->host_json, o->host_json, o->host_json_len);
	ctl->host_json_len = (u32)o->host_json_len;
	ctl->ring_mode = o->hostcall_ring;
	ctl->log_level = (u32)o->log_level;
	ctl->message_fd = (u32)message_fd;
	ctl->debug_strace = o->debug_strace;
	ctl->missing_fd = -1;
	if (o->words && o->words->want_missing) {
		ctl->missing_fd = memfd_create("missing", MFD_CLOEXEC);
		ctl->debug_strace = 1;
	}
	snprintf(ctl->strace_filter, sizeof(ctl->strace_filter), "%s", o->words && o->words->want_missing ? "missing" : o->strace_filter ? o->strace_filter : "");
	ctl->magic = CTL_MAGIC;
	stop_timeout = o->stop_timeout;
	console_setup();
	signals_setup();
	fflush(NULL);
	pid = (pid_t)syscall(SYS_clone, CLONE_FILES | CLONE_FS | SIGCHLD, NULL, NULL, NULL, 0);
	if (pid == 0) {
		cpus_choose((unsigned int)manifest_number(ctl->manifest, ",cpus="), (unsigned int)launcher_pid);
		child_enter(ctl->entry);
	}
	if (pid < 0) {
		r = fail(errno, "cannot start the enclave's first process");
		goto out;
	}
	ctl->kernel_pid = (u32)pid;
	if (pthread_create(&t, NULL, ring_thread, NULL) || pthread_create(&t, NULL, stop_thread, NULL) ||
	    (started_fd && pthread_create(&t, NULL, started_thread, NULL))) {
		r = fail(errno, "cannot start threads");
		kill(pid, SIGKILL);
		goto out;
	}
	r = supervise();
	restore_tty();
	if (o->words)
		take_words(o->words);
out:
	free(manifest);
	return r;
}
