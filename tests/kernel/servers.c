// SPDX-License-Identifier: Apache-2.0
// What servers with many processes rely on: sockets, locks and memory that are shared, and what is left of it when one is killed.
#include <netinet/in.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sem.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/kernel/t.h"

static int listener(struct sockaddr_in *a, bool shared)
{
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));
	if (shared)
		OK(setsockopt(s, SOL_SOCKET, SO_REUSEPORT, &(int){1}, sizeof(int)));
	a->sin_family = AF_INET;
	a->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	OK(bind(s, (struct sockaddr *)a, sizeof(*a)));
	OK(listen(s, 64));
	socklen_t len = sizeof(*a);
	OK(getsockname(s, (struct sockaddr *)a, &len));
	return s;
}

static int caller(const struct sockaddr_in *a)
{
	int s = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(s, (const struct sockaddr *)a, sizeof(*a)));
	return s;
}

static void until_asleep(pid_t p) // in the kernel, where it waits
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/stat", p);
	for (;;) {
		const char *s = strrchr(t_get(path), ')');
		if (s && s[2] == 'S')
			return;
		t_sleep_ms(1);
	}
}

// Each worker answers with one byte; one of those that wait is killed, and nobody notices.
static void serve(int l)
{
	for (;;) {
		int c = OK(accept(l, NULL, NULL));
		char b;
		if (read(c, &b, 1) == 1)
			t_writen(c, &b, 1);
		close(c);
	}
}

static void ask(const struct sockaddr_in *a, char what)
{
	int s = caller(a);
	char b = 0;
	t_writen(s, &what, 1);
	EQ(t_readn(s, &b, 1), 1);
	EQ(b, what);
	close(s);
}

TEST(worker_killed_in_accept)
{
	struct sockaddr_in a = {0};
	int l = listener(&a, false);
	pid_t p[4];
	for (int i = 0; i < 4; i++)
		if (!(p[i] = OK(fork())))
			serve(l);
	for (int i = 0; i < 3; i++) {
		until_asleep(p[i]);
		OK(kill(p[i], SIGKILL));
		EQ(t_wait(p[i]), 128 + SIGKILL);
		for (int k = 0; k < 20; k++)
			ask(&a, (char)k);
	}
	t_end(p[3]);
}

TEST(worker_killed_in_epoll_exclusive)
{
	struct sockaddr_in a = {0};
	int l = listener(&a, false);
	OK(fcntl(l, F_SETFL, O_NONBLOCK));
	pid_t p[3];
	for (int i = 0; i < 3; i++) {
		if ((p[i] = OK(fork())))
			continue;
		int e = OK(epoll_create1(0));
		struct epoll_event ev = {.events = EPOLLIN | EPOLLEXCLUSIVE};
		OK(epoll_ctl(e, EPOLL_CTL_ADD, l, &ev));
		for (;;) {
			OK(epoll_wait(e, &ev, 1, -1));
			int c = accept(l, NULL, NULL);
			if (c < 0 && errno == EAGAIN)
				continue;
			OK(c);
			char b;
			if (read(c, &b, 1) == 1)
				t_writen(c, &b, 1);
			close(c);
		}
	}
	for (int i = 0; i < 2; i++) {
		until_asleep(p[i]);
		OK(kill(p[i], SIGKILL));
		EQ(t_wait(p[i]), 128 + SIGKILL);
		for (int k = 0; k < 20; k++)
			ask(&a, (char)k);
	}
	t_end(p[2]);
}

// A listener with connections that nobody has accepted yet goes to the next process, as haproxy hands it on when it reads its configuration again.
TEST(listener_is_handed_on)
{
	struct sockaddr_in a = {0};
	int sv[2];
	OK(socketpair(AF_UNIX, SOCK_STREAM, 0, sv));
	pid_t p = OK(fork());
	if (!p) {
		int l = listener(&a, false);
		char c[CMSG_SPACE(sizeof(int))] = {0};
		struct iovec v = {&a, sizeof(a)};
		struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof(c)};
		CMSG_FIRSTHDR(&m)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&m)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&m)->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&m)), &l, sizeof(int));
		t_writen(sv[1], &a, sizeof(a));
		char b;
		t_readn(sv[1], &b, 1); // until there are connections
		OK(sendmsg(sv[1], &m, 0));
		pause();
	}
	t_readn(sv[0], &a, sizeof(a));
	int s[5];
	for (int i = 0; i < 5; i++) {
		s[i] = caller(&a);
		t_writen(s[i], &(char){(char)i}, 1);
	}
	t_writen(sv[0], "x", 1);
	char c[CMSG_SPACE(sizeof(int))];
	struct iovec v = {&a, sizeof(a)};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = sizeof(c)};
	OK(recvmsg(sv[0], &m, 0));
	int l;
	memcpy(&l, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(int));
	OK(kill(p, SIGKILL));
	EQ(t_wait(p), 128 + SIGKILL);
	for (int i = 0; i < 5; i++) {
		int n = OK(accept(l, NULL, NULL));
		char b;
		EQ(read(n, &b, 1), 1);
		EQ(b, i); // in their order
		close(n);
	}
	int late = caller(&a);
	OK(accept(l, NULL, NULL));
	close(late);
}

// Of two listeners on one port one ends: what waited at it is reset, what comes goes to the other.
TEST(reuseport_member_ends)
{
	struct sockaddr_in a = {0};
	int one = listener(&a, true), two = listener(&a, true);
	int s[32], reset = 0, held = 0;
	for (int i = 0; i < 32; i++)
		s[i] = caller(&a);
	close(two);
	for (int i = 0; i < 32; i++) {
		char b;
		ssize_t n = recv(s[i], &b, 1, MSG_DONTWAIT);
		EQ(n, -1);
		if (errno == ECONNRESET)
			reset++;
		else if (errno == EAGAIN)
			held++;
		else
			EQ(errno, EAGAIN);
	}
	EQ(reset + held, 32);
	CHECK(reset > 0 && held > 0);
	OK(fcntl(one, F_SETFL, O_NONBLOCK));
	for (int i = 0; i < held; i++)
		OK(accept(one, NULL, NULL));
	ERR(accept(one, NULL, NULL), EAGAIN);
	for (int i = 0; i < 10; i++) {
		caller(&a);
		OK(accept(one, NULL, NULL));
	}
}

// A lock whose owner is killed goes to the one that waits for it, be it a mutex, a file's, or a System V semaphore.
TEST(robust_mutex_wakes_who_waits)
{
	pthread_mutex_t *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	pthread_mutexattr_t at;
	EQ(pthread_mutexattr_init(&at), 0);
	EQ(pthread_mutexattr_setpshared(&at, PTHREAD_PROCESS_SHARED), 0);
	EQ(pthread_mutexattr_setrobust(&at, PTHREAD_MUTEX_ROBUST), 0);
	EQ(pthread_mutex_init(m, &at), 0);
	int ready[2];
	OK(pipe(ready));
	pid_t owner = OK(fork());
	if (!owner) {
		pthread_mutex_lock(m);
		t_writen(ready[1], "x", 1);
		for (;;)
			pause();
	}
	char b;
	t_readn(ready[0], &b, 1);
	pid_t w = OK(fork());
	if (!w)
		_exit(pthread_mutex_lock(m) == EOWNERDEAD && !pthread_mutex_consistent(m) && !pthread_mutex_unlock(m) ? 0 : 1);
	until_asleep(w);
	OK(kill(owner, SIGKILL));
	EQ(t_wait(w), 0);
	EQ(t_wait(owner), 128 + SIGKILL);
	EQ(pthread_mutex_lock(m), 0);
}

TEST_DIR(file_locks_of_a_killed_owner)
{
	for (int kind = 0; kind < 3; kind++) {
		int ready[2];
		OK(pipe(ready));
		int fd = OK(open("lock", O_RDWR | O_CREAT, 0600));
		struct flock fl = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
		pid_t owner = OK(fork());
		if (!owner) {
			int f = OK(open("lock", O_RDWR));
			OK(kind == 0 ? flock(f, LOCK_EX) : fcntl(f, kind == 1 ? F_SETLKW : F_OFD_SETLKW, &fl));
			t_writen(ready[1], "x", 1);
			for (;;)
				pause();
		}
		char b;
		t_readn(ready[0], &b, 1);
		pid_t w = OK(fork());
		if (!w) {
			int f = OK(open("lock", O_RDWR));
			OK(kind == 0 ? flock(f, LOCK_EX) : fcntl(f, kind == 1 ? F_SETLKW : F_OFD_SETLKW, &fl));
			_exit(0);
		}
		until_asleep(w);
		OK(kill(owner, SIGKILL));
		EQ(t_wait(w), 0);
		EQ(t_wait(owner), 128 + SIGKILL);
		close(fd);
	}
}

TEST(semaphore_of_a_killed_owner)
{
	int id = OK(semget(IPC_PRIVATE, 1, 0600)), ready[2];
	OK(semctl(id, 0, SETVAL, 1));
	OK(pipe(ready));
	struct sembuf take = {0, -1, SEM_UNDO};
	pid_t owner = OK(fork());
	if (!owner) {
		OK(semop(id, &take, 1));
		t_writen(ready[1], "x", 1);
		for (;;)
			pause();
	}
	char b;
	t_readn(ready[0], &b, 1);
	pid_t w = OK(fork());
	if (!w)
		_exit(semop(id, &take, 1) ? 1 : 0);
	until_asleep(w);
	OK(kill(owner, SIGKILL));
	EQ(t_wait(w), 0);
	EQ(t_wait(owner), 128 + SIGKILL);
	OK(semctl(id, 0, IPC_RMID));
}

// PostgreSQL's way: workers hold a segment and a pipe of the first process. When that is killed they see the pipe's end, and whoever
// starts anew sees by the count of attachments when the last has gone.
TEST(workers_notice_that_the_first_was_killed)
{
	int id = OK(shmget(IPC_PRIVATE, 4096, 0600 | IPC_CREAT)), life[2], go[2], ready[2];
	char three[3];
	OK(pipe(life));
	OK(pipe(go));
	OK(pipe(ready));
	pid_t first = OK(fork());
	if (!first) {
		CHECK(shmat(id, NULL, 0) != (void *)-1);
		for (int i = 0; i < 3; i++) {
			if (OK(fork()))
				continue;
			close(life[1]);
			close(go[1]);
			sigset_t set;
			sigemptyset(&set);
			sigaddset(&set, SIGURG);
			OK(sigprocmask(SIG_BLOCK, &set, NULL));
			int e = OK(epoll_create1(EPOLL_CLOEXEC)), sig = OK(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
			OK(epoll_ctl(e, EPOLL_CTL_ADD, life[0], &(struct epoll_event){.events = EPOLLIN, .data.fd = life[0]}));
			OK(epoll_ctl(e, EPOLL_CTL_ADD, sig, &(struct epoll_event){.events = EPOLLIN, .data.fd = sig}));
			struct epoll_event ev;
			t_writen(ready[1], "r", 1);
			EQ(epoll_wait(e, &ev, 1, -1), 1);
			EQ(ev.data.fd, life[0]);
			char b;
			EQ(read(life[0], &b, 1), 0);
			t_readn(go[0], &b, 1); // stays attached until it may go
			_exit(0);
		}
		close(life[0]);
		for (;;)
			pause();
	}
	close(life[1]);
	struct shmid_ds ds;
	t_readn(ready[0], three, 3); // a fork in the middle counts as attached already, and may still be called off by the kill
	OK(shmctl(id, IPC_STAT, &ds));
	EQ(ds.shm_nattch, 4);
	OK(kill(first, SIGKILL));
	EQ(t_wait(first), 128 + SIGKILL);
	do
		OK(shmctl(id, IPC_STAT, &ds));
	while (ds.shm_nattch != 3);
	t_sleep_ms(20);
	OK(shmctl(id, IPC_STAT, &ds));
	EQ(ds.shm_nattch, 3);
	t_writen(go[1], "xxx", 3);
	do
		OK(shmctl(id, IPC_STAT, &ds));
	while (ds.shm_nattch);
	OK(shmctl(id, IPC_RMID, NULL));
}

// Supervisors' names: a FIFO with a reader that never blocks, whose writers come and go; one without a reader is ENXIO to who only wants to ring.
TEST_DIR(control_fifos)
{
	OK(mkfifo("control", 0600));
	ERR(open("control", O_WRONLY | O_NONBLOCK), ENXIO);
	int r = OK(open("control", O_RDONLY | O_NONBLOCK | O_CLOEXEC)), w = OK(open("control", O_WRONLY | O_NONBLOCK | O_CLOEXEC));
	char b[8];
	ERR(read(r, b, sizeof(b)), EAGAIN);
	pid_t p = OK(fork());
	if (!p) {
		int x = OK(open("control", O_WRONLY | O_NONBLOCK));
		t_writen(x, "uo", 2);
		raise(SIGKILL);
	}
	EQ(t_wait(p), 128 + SIGKILL);
	EQ(read(r, b, sizeof(b)), 2);
	ERR(read(r, b, sizeof(b)), EAGAIN); // the reader's own writing end keeps it from seeing an end
	close(w);
	EQ(read(r, b, sizeof(b)), 0);
	close(r);
	ERR(open("control", O_WRONLY | O_NONBLOCK), ENXIO);
}

// A Unix socket's name stays when its server is killed; the next one cannot bind, sees that nobody answers, and takes the name.
TEST_DIR(stale_socket_name)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX, .sun_path = "s"};
	pid_t p = OK(fork());
	if (!p) {
		int l = OK(socket(AF_UNIX, SOCK_STREAM, 0));
		OK(bind(l, (struct sockaddr *)&a, sizeof(a)));
		OK(listen(l, 5));
		raise(SIGKILL);
	}
	EQ(t_wait(p), 128 + SIGKILL);
	int s = OK(socket(AF_UNIX, SOCK_STREAM, 0)), l = OK(socket(AF_UNIX, SOCK_STREAM, 0));
	ERR(bind(l, (struct sockaddr *)&a, sizeof(a)), EADDRINUSE);
	ERR(connect(s, (struct sockaddr *)&a, sizeof(a)), ECONNREFUSED);
	OK(unlink("s"));
	OK(bind(l, (struct sockaddr *)&a, sizeof(a)));
	OK(listen(l, 5));
	OK(connect(s, (struct sockaddr *)&a, sizeof(a)));
}
