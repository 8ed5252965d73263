// SPDX-License-Identifier: Apache-2.0
// See exec.h. One thread runs all of it, but for tell(), which the gateway's threads call. Lock: exec.lock, for what they tell; nothing is called
// under it.
#include "tunnel/exec.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tunnel/exec_filter.h"
#include "tunnel/exec_names.h"

#define HOLD_MS 1000	// so long a non-blocking connect waits for word of the far side; then it counts as made, and a failure comes as a reset
#define LOOPBACK_MS 5000
#define IPV6_SHORTEST offsetof(struct sockaddr_in6, sin6_scope_id)	// which the kernel takes as well (RFC 2133)
#define PIDFD_OF_THREAD O_EXCL	// PIDFD_THREAD
#define ANEW_MS 2000	// within which a call that a signal interrupted comes anew

// A connect(2) whose caller waits for its result.
struct waiting {
	struct waiting *next;
	uint64_t id;		// ours
	uint64_t call;		// the notification's
	int fd;			// the program's socket
	ino_t inode;		// to know it again: a call that a signal interrupted comes anew
	int64_t until_ms;	// INT64_MAX: blocking
	bool made;		// connected, and a signal took the caller away before it was told: its call comes anew
};

struct told {
	struct told *next;
	uint64_t id;
	int error;
};

struct exec {
	pid_t child;
	int channel, listener, event, signals, dns[2];
	sigset_t old_mask;
	struct sockaddr_in gateway;
	struct hook *hook;
	struct exec_names *names;
	struct waiting *waiting;
	uint64_t last_id;
	uint8_t dns_ports[2][8192];	// which local ports may ask our name server: the program's
	pthread_mutex_t lock;
	struct told *told;		// lock
	struct seccomp_notif *call;	// as large as the kernel's
	struct seccomp_notif_resp *answer;
	size_t call_size, answer_size;
};

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void tell(void *ctx, uint64_t id, int error)
{
	struct exec *e = ctx;
	struct told *t = malloc(sizeof *t);
	if (!t)
		return;		// a blocking connect then ends with the program
	*t = (struct told){.id = id, .error = error};
	pthread_mutex_lock(&e->lock);
	t->next = e->told;
	e->told = t;
	pthread_mutex_unlock(&e->lock);
	eventfd_write(e->event, 1);
}

// ---- beginning ----

static int open_dns(int family)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && bind(fd, family == AF_INET ? (struct sockaddr *)&in : (struct sockaddr *)&in6, family == AF_INET ? sizeof in : sizeof in6)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

// What is needed of the kernel, asked before anything is started.
static int probe(struct exec *e, struct fault *f)
{
	struct seccomp_notif_sizes sizes;
	int self = (int)syscall(SYS_pidfd_open, getpid(), 0), copy;
	if (self < 0 || syscall(SYS_seccomp, SECCOMP_GET_NOTIF_SIZES, 0, &sizes))
		return fault_errno(f, errno, "this kernel (or the container's seccomp profile) lacks what exec needs: pidfd_open and seccomp's user "
				   "notification, Linux 5.6");
	copy = (int)syscall(SYS_pidfd_getfd, self, e->event, 0);
	int err = errno;
	close(self);
	if (copy < 0)
		return fault_errno(f, err, "pidfd_getfd is not allowed here. In a container, let its seccomp profile pass it (Docker does with "
				   "--cap-add SYS_PTRACE)");
	close(copy);
	e->call_size = sizes.seccomp_notif > sizeof *e->call ? sizes.seccomp_notif : sizeof *e->call;
	e->answer_size = sizes.seccomp_notif_resp > sizeof *e->answer ? sizes.seccomp_notif_resp : sizeof *e->answer;
	e->call = malloc(e->call_size);
	e->answer = malloc(e->answer_size);
	return e->call && e->answer ? 0 : fault_set(f, -ENOMEM, "no memory");
}

// A socket that was opened before the filter was there, and would send past it: the program does not get it. Streams are no such: they have to connect.
static bool goes_past(int fd)
{
	int domain, type, protocol;
	socklen_t len = sizeof domain;
	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) || domain == AF_UNIX || domain == AF_NETLINK)
		return false;
	if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) || getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &len))
		return true;
	return !((domain == AF_INET || domain == AF_INET6) && type == SOCK_STREAM && (protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP));
}

static int leave_sockets(struct fault *f)
{
	DIR *all = opendir("/proc/self/fd");
	int err = 0;
	if (!all)
		return fault_errno(f, errno, "/proc/self/fd");
	for (struct dirent *d; !err && (d = readdir(all));) {
		int fd = *d->d_name == '.' ? -1 : atoi(d->d_name);
		if (fd < 0 || !goes_past(fd))
			continue;
		if (fd <= STDERR_FILENO)
			err = fault_set(f, -EPERM, "descriptor %d is a socket by which the program could send past the gateway", fd);
		else if (fcntl(fd, F_SETFD, FD_CLOEXEC))
			err = fault_errno(f, errno, "descriptor %d", fd);
	}
	closedir(all);
	return err;
}

int exec_new(struct exec **out, char *const *argv, struct fault *f)
{
	struct exec *e = calloc(1, sizeof *e);
	int pair[2] = {-1, -1}, err;
	sigset_t mine;
	*out = NULL;
	if (!e)
		return fault_set(f, -ENOMEM, "no memory");
	e->channel = e->listener = e->signals = e->dns[0] = e->dns[1] = -1;
	pthread_mutex_init(&e->lock, NULL);
	sigemptyset(&mine);
	sigaddset(&mine, SIGCHLD);
	sigaddset(&mine, SIGTERM);
	sigaddset(&mine, SIGHUP);
	sigaddset(&mine, SIGINT);	// the terminal tells the program as well
	sigaddset(&mine, SIGQUIT);
	sigprocmask(SIG_BLOCK, &mine, &e->old_mask);
	e->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	e->signals = signalfd(-1, &mine, SFD_CLOEXEC | SFD_NONBLOCK);
	e->dns[0] = open_dns(AF_INET);
	e->dns[1] = open_dns(AF_INET6);	// -1 where there is no IPv6
	e->names = exec_names_new();
	err = probe(e, f);
	if (!err)
		err = leave_sockets(f);
	if (!err && (e->event < 0 || e->signals < 0 || e->dns[0] < 0 || !e->names || hook_new(&e->hook, tell, e) ||
		     socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)))
		err = fault_errno(f, errno ? errno : ENOMEM, "cannot make what exec needs");
	// Who leaves its parent stays a descendant: some kernels let only those be looked at.
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	if (!err && (e->child = fork()) < 0)
		err = fault_errno(f, errno, "cannot start a process");
	if (!err && !e->child)
		exec_child(pair[1], argv, &e->old_mask);
	if (pair[1] >= 0)
		close(pair[1]);
	e->channel = pair[0];
	if (err) {
		exec_free(e);
		return err;
	}
	*out = e;
	return 0;
}

struct hook *exec_hook(struct exec *e)
{
	return e->hook;
}

void exec_free(struct exec *e)
{
	if (!e)
		return;
	if (e->channel >= 0)
		close(e->channel);	// a child that waits for its word goes
	if (e->listener >= 0)
		close(e->listener);
	while (e->waiting) {
		struct waiting *w = e->waiting;
		e->waiting = w->next;
		close(w->fd);
		free(w);
	}
	while (e->told) {
		struct told *t = e->told;
		e->told = t->next;
		free(t);
	}
	for (int i = 0; i < 2; i++) {
		if (e->dns[i] >= 0)
			close(e->dns[i]);
	}
	if (e->event >= 0)
		close(e->event);
	if (e->signals >= 0)
		close(e->signals);
	sigprocmask(SIG_SETMASK, &e->old_mask, NULL);
	hook_free(e->hook);
	exec_names_free(e->names);
	pthread_mutex_destroy(&e->lock);
	free(e->call);
	free(e->answer);
	free(e);
}

static int receive_listener(struct exec *e, struct fault *f)
{
	char control[CMSG_SPACE(sizeof(int))];
	int err = 0;
	struct iovec v = {.iov_base = &err, .iov_len = sizeof err};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	ssize_t n = recvmsg(e->channel, &m, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (n == 1 && c && c->cmsg_type == SCM_RIGHTS) {
		memcpy(&e->listener, CMSG_DATA(c), sizeof e->listener);
		return 0;
	}
	if (n == sizeof err)
		return fault_errno(f, -err, "the kernel takes no filter with notifications (another filter may have one already)");
	return fault_set(f, -ECHILD, "the program's process ended before it began");
}

// ---- answers ----

// False: the caller is gone, or a signal has taken it away.
static bool answer(struct exec *e, uint64_t call, int64_t result, uint32_t flags)
{
	memset(e->answer, 0, e->answer_size);
	e->answer->id = call;
	e->answer->val = result < 0 ? 0 : result;
	e->answer->error = result < 0 ? (int32_t)result : 0;
	e->answer->flags = flags;
	return !ioctl(e->listener, SECCOMP_IOCTL_NOTIF_SEND, e->answer);
}

static void go_ahead(struct exec *e)
{
	answer(e, e->call->id, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
}

static bool still_there(const struct exec *e)
{
	return !ioctl(e->listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &e->call->id);
}

// As connect(2) tells it.
static int connect_errno(int error)
{
	switch (error) {
	case -ENOENT: return -EHOSTUNREACH;
	case -EACCES: case -EPERM: return -EACCES;
	case -ENETUNREACH: case -EHOSTUNREACH: case -ETIMEDOUT: case -ECONNREFUSED: return error;
	default: return -ECONNREFUSED;
	}
}

static void forget(struct exec *e, struct waiting *w)
{
	struct waiting **p = &e->waiting;
	while (*p != w)
		p = &(*p)->next;
	*p = w->next;
	close(w->fd);
	free(w);
}

// Gives its caller the result.
static void end_waiting(struct exec *e, struct waiting *w, int result)
{
	if (result)	// unconnected again, as after a connect that failed
		connect(w->fd, &(struct sockaddr){.sa_family = AF_UNSPEC}, sizeof(struct sockaddr));
	if (answer(e, w->call, result, 0) || result) {
		forget(e, w);
		return;
	}
	w->made = true;
	w->until_ms = now_ms() + ANEW_MS;
}

static void take_told(struct exec *e)
{
	eventfd_t n;
	eventfd_read(e->event, &n);
	pthread_mutex_lock(&e->lock);
	struct told *t = e->told;
	e->told = NULL;
	pthread_mutex_unlock(&e->lock);
	while (t) {
		struct told *next = t->next;
		struct waiting *w = e->waiting;
		while (w && (w->id != t->id || w->made))
			w = w->next;
		if (w)
			end_waiting(e, w, t->error ? connect_errno(t->error) : 0);
		free(t);
		t = next;
	}
}

// ---- connect ----

// The process of a thread; 0: it is gone.
static pid_t process_of(pid_t thread)
{
	char path[64], text[4096], *at;
	snprintf(path, sizeof path, "/proc/%d/status", thread);
	int status = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = status < 0 ? -1 : read(status, text, sizeof text - 1);
	if (status >= 0)
		close(status);
	text[n > 0 ? n : 0] = '\0';
	at = strstr(text, "\nTgid:");
	return at ? atoi(at + 6) : 0;
}

// Is the copy what the thread itself has under that number? It may have descriptors of its own (unshare(2), close_range(2)), and its process others.
static bool is_threads(pid_t thread, int fd, int copy)
{
	char path[64], text[64], mine[64];
	struct stat st;
	snprintf(path, sizeof path, "/proc/%d/fd/%d", thread, fd);
	ssize_t n = readlink(path, text, sizeof text - 1);
	if (n < 0 || fstat(copy, &st))
		return false;
	text[n] = '\0';
	snprintf(mine, sizeof mine, "socket:[%lu]", (unsigned long)st.st_ino);
	return !strcmp(text, mine);
}

// The caller's descriptor, as one of ours.
static int take_fd(const struct exec *e, int fd)
{
	const pid_t thread = (pid_t)e->call->pid;
	pid_t process = process_of(thread);
	int pidfd = (int)syscall(SYS_pidfd_open, thread, PIDFD_OF_THREAD);
	if (pidfd < 0 && process)	// Linux before 6.9 knows processes only
		pidfd = (int)syscall(SYS_pidfd_open, process, 0);
	if (pidfd < 0)
		return -ESRCH;
	int copy = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0), err = copy < 0 ? -errno : copy;
	close(pidfd);
	if (copy >= 0 && thread != process && !is_threads(thread, fd, copy)) {
		close(copy);
		err = -EACCES;
	}
	return err;
}

// The sockaddr of the call. 0, or what connect(2) says of such.
static int take_address(const struct exec *e, __u64 at, __u64 size, struct sockaddr_storage *sa, size_t *len)
{
	*len = size & 0xffffffffu;
	if (*len > sizeof *sa || *len < sizeof sa->ss_family)
		return -EINVAL;
	memset(sa, 0, sizeof *sa);
	struct iovec here = {.iov_base = sa, .iov_len = *len}, there = {.iov_base = (void *)(uintptr_t)at, .iov_len = *len};
	ssize_t n = process_vm_readv((pid_t)e->call->pid, &here, 1, &there, 1, 0);
	return n == (ssize_t)*len ? 0 : n < 0 && errno == EPERM ? -EACCES : -EFAULT;
}

static bool is_loopback(const struct target *t)
{
	static const uint8_t zero[16], one[16] = {[15] = 1};
	if (t->host == TARGET_IPV4)
		return t->address[0] == 127 || !memcmp(t->address, zero, 4);
	return !memcmp(t->address, one, 16) || !memcmp(t->address, zero, 16);
}

static int option(int fd, int name)
{
	int value = 0;
	socklen_t len = sizeof value;
	return getsockopt(fd, SOL_SOCKET, name, &value, &len) ? -errno : value;
}

// Connects a socket of the program's to a loopback address, whatever its family is.
static int connect_loopback(int fd, int family, const struct sockaddr_in *to)
{
	struct sockaddr_in6 mapped = {.sin6_family = AF_INET6, .sin6_port = to->sin_port};
	const struct sockaddr *sa = family == AF_INET ? (const struct sockaddr *)to : (const struct sockaddr *)&mapped;
	socklen_t len = family == AF_INET ? sizeof *to : sizeof mapped;
	inet_pton(AF_INET6, "::ffff:127.0.0.1", &mapped.sin6_addr);
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){0}, sizeof(int));
	int flags = fcntl(fd, F_GETFL), err = 0;
	fcntl(fd, F_SETFL, flags | O_NONBLOCK);
	if (connect(fd, sa, len))
		err = -errno;
	if (err == -EINPROGRESS) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		err = poll(&p, 1, LOOPBACK_MS) == 1 ? -option(fd, SO_ERROR) : -ETIMEDOUT;
	}
	if (!(flags & O_NONBLOCK))
		fcntl(fd, F_SETFL, flags);
	return err;
}

// A stream socket. True: the caller waits, and the descriptor is taken over.
static bool connect_stream(struct exec *e, int fd, int family, struct target *t, int *result)
{
	uint8_t ticket[HOOK_TICKET];
	struct stat st;
	struct sockaddr_storage peer;
	socklen_t peer_len = sizeof peer;
	struct waiting *w;
	int flags = fcntl(fd, F_GETFL);
	if (fstat(fd, &st)) {
		*result = -EBADF;
		return false;
	}
	for (w = e->waiting; w; w = w->next) {
		if (w->inode != st.st_ino)
			continue;
		if (w->made) {
			*result = 0;
			forget(e, w);
			return false;
		}
		if (flags & O_NONBLOCK) {
			*result = -EALREADY;
			return false;
		}
		w->call = e->call->id;	// a signal came between: the same call anew
		*result = 0;
		close(fd);
		return true;
	}
	if (!getpeername(fd, (struct sockaddr *)&peer, &peer_len)) {
		*result = -EISCONN;
		return false;
	}
	*result = exec_names_find(e->names, t) < 0 ? -EHOSTUNREACH : 0;
	if (*result || !(w = calloc(1, sizeof *w))) {
		*result = *result ? *result : -ENOMEM;
		return false;
	}
	*w = (struct waiting){.id = ++e->last_id, .call = e->call->id, .fd = fd, .inode = st.st_ino,
			      .until_ms = flags & O_NONBLOCK ? now_ms() + HOLD_MS : INT64_MAX};
	*result = hook_issue(e->hook, t, w->id, ticket);
	if (!*result)
		*result = connect_loopback(fd, family, &e->gateway);
	if (!*result && send(fd, ticket, sizeof ticket, MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof ticket)
		*result = -ECONNREFUSED;
	if (*result) {
		hook_forget(e->hook, w->id);
		free(w);
		return false;
	}
	w->next = e->waiting;
	e->waiting = w;
	return true;
}

// A datagram socket: name servers are ours; nothing else leaves.
static int connect_datagram(struct exec *e, int fd, int family, const struct target *t)
{
	struct sockaddr_storage own;
	socklen_t len = sizeof own;
	struct target from;
	int err, which = family == AF_INET6 && t->host == TARGET_IPV6 && e->dns[1] >= 0;
	if (t->port != 53)
		return -ENETUNREACH;
	if (getsockname(e->dns[which], (struct sockaddr *)&own, &len))
		return -errno;
	err = family == AF_INET6 && !which ? connect_loopback(fd, family, (struct sockaddr_in *)&own) :
	      connect(fd, (struct sockaddr *)&own, len) ? -errno : 0;
	len = sizeof own;
	if (!err && !getsockname(fd, (struct sockaddr *)&own, &len) && !target_set_address(&from, (struct sockaddr *)&own))
		e->dns_ports[which][from.port / 8] |= (uint8_t)(1u << from.port % 8);
	return err;
}

// Caches of names that would be asked beside our name server.
static bool is_name_cache(const struct sockaddr_storage *sa)
{
	const char *path = ((const struct sockaddr_un *)sa)->sun_path;
	return !strcmp(path, "/var/run/nscd/socket") || !strcmp(path, "/run/nscd/socket") || !strcmp(path, "/run/systemd/resolve/io.systemd.Resolve");
}

static bool is_internet(const struct sockaddr_storage *sa, size_t len)
{
	return (sa->ss_family == AF_INET && len >= sizeof(struct sockaddr_in)) || (sa->ss_family == AF_INET6 && len >= IPV6_SHORTEST);
}

static void handle_connect(struct exec *e)
{
	struct sockaddr_storage sa;
	size_t len;
	struct target t;
	int err = take_address(e, e->call->data.args[1], e->call->data.args[2], &sa, &len), fd, family, type;
	if (!still_there(e))
		return;		// what was read may be another process's
	if (err) {
		answer(e, e->call->id, err, 0);
		return;
	}
	if (sa.ss_family == AF_UNIX && is_name_cache(&sa)) {
		answer(e, e->call->id, -ENOENT, 0);
		return;
	}
	if (!is_internet(&sa, len)) {
		go_ahead(e);
		return;
	}
	target_set_address(&t, (struct sockaddr *)&sa);
	fd = take_fd(e, (int)e->call->data.args[0]);
	if (!still_there(e)) {
		if (fd >= 0)
			close(fd);
		return;
	}
	if (fd < 0) {
		answer(e, e->call->id, fd == -EPERM ? -EACCES : fd, 0);
		return;
	}
	family = option(fd, SO_DOMAIN);
	type = option(fd, SO_TYPE);
	bool dns = type == SOCK_DGRAM && t.port == 53;
	if ((is_loopback(&t) && !dns) || (family != AF_INET && family != AF_INET6) || !t.port) {
		close(fd);
		go_ahead(e);
		return;
	}
	if (type == SOCK_STREAM && (option(fd, SO_PROTOCOL) == IPPROTO_TCP || option(fd, SO_PROTOCOL) == IPPROTO_MPTCP)) {
		if (connect_stream(e, fd, family, &t, &err))
			return;
	} else {
		err = type == SOCK_DGRAM ? connect_datagram(e, fd, family, &t) : -EPROTONOSUPPORT;
	}
	close(fd);
	answer(e, e->call->id, err, 0);
}

// A datagram to an address reaches the loopback only (handle_socket). A name server there would ask outside, and not through the gateway.
static void handle_sendto(struct exec *e)
{
	struct sockaddr_storage sa;
	size_t len;
	struct target t;
	bool read = !take_address(e, e->call->data.args[4], e->call->data.args[5], &sa, &len);
	if (!still_there(e))
		return;
	if (read && is_internet(&sa, len) && !target_set_address(&t, (struct sockaddr *)&sa) && t.port == 53 && is_loopback(&t))
		answer(e, e->call->id, -ENETUNREACH, 0);
	else
		go_ahead(e);
}

// ---- socket ----

// A datagram socket that reaches the loopback only: sendmsg(2) names destinations where no filter sees them.
static void handle_socket(struct exec *e)
{
	const __u64 *args = e->call->data.args;
	int domain = (int)args[0], type = (int)args[1], protocol = (int)args[2];
	if ((type & 0xf) != SOCK_DGRAM || (protocol && protocol != IPPROTO_UDP)) {
		answer(e, e->call->id, (type & 0xf) == SOCK_RAW ? -EPERM : -EPROTONOSUPPORT, 0);
		return;
	}
	int fd = socket(domain, type | SOCK_CLOEXEC, protocol), err = fd < 0 ? -errno : 0;
	if (!err && setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3))
		err = -EACCES;
	if (!err) {
		struct seccomp_notif_addfd add = {.id = e->call->id, .srcfd = (uint32_t)fd, .newfd_flags = type & SOCK_CLOEXEC ? O_CLOEXEC : 0,
						  .flags = SECCOMP_ADDFD_FLAG_SEND};
		if (ioctl(e->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add) < 0 && errno != ENOENT && errno != EINPROGRESS) {
			add.flags = 0;	// Linux before 5.14 answers in a second step
			int made = ioctl(e->listener, SECCOMP_IOCTL_NOTIF_ADDFD, &add);
			answer(e, e->call->id, made < 0 ? -EMFILE : made, 0);
		}
	} else {
		answer(e, e->call->id, err, 0);
	}
	if (fd >= 0)
		close(fd);
}

static void take_call(struct exec *e)
{
	memset(e->call, 0, e->call_size);
	if (ioctl(e->listener, SECCOMP_IOCTL_NOTIF_RECV, e->call))
		return;		// interrupted before it was looked at
	if (e->call->data.nr == SYS_socket)
		handle_socket(e);
	else if (e->call->data.nr == SYS_sendto)
		handle_sendto(e);
	else
		handle_connect(e);
}

// ---- names ----

static void take_question(struct exec *e, int which)
{
	uint8_t question[NAMES_MESSAGE + 1], reply[NAMES_MESSAGE];
	struct sockaddr_storage from;
	socklen_t len = sizeof from;
	struct target t;
	ssize_t n = recvfrom(e->dns[which], question, sizeof question, MSG_DONTWAIT, (struct sockaddr *)&from, &len);
	if (n <= 0 || target_set_address(&t, (struct sockaddr *)&from) || !(e->dns_ports[which][t.port / 8] >> t.port % 8 & 1))
		return;		// another program of this machine
	size_t made = exec_names_answer(e->names, question, (size_t)n, reply);
	if (made)
		sendto(e->dns[which], reply, made, MSG_DONTWAIT, (struct sockaddr *)&from, len);
}

// ---- running ----

// True: the program has ended.
static bool take_signals(struct exec *e, int *status)
{
	struct signalfd_siginfo s;
	bool ended = false;
	int code;
	while (read(e->signals, &s, sizeof s) == sizeof s) {
		if (s.ssi_signo == SIGTERM || s.ssi_signo == SIGHUP)
			kill(e->child, (int)s.ssi_signo);
	}
	for (pid_t pid; (pid = waitpid(-1, &code, WNOHANG)) > 0;) {
		if (pid != e->child)
			continue;	// one that it left to us
		*status = WIFSIGNALED(code) ? 128 + WTERMSIG(code) : WEXITSTATUS(code);
		ended = true;
	}
	return ended;
}

static int next_due(const struct exec *e)
{
	int64_t due = INT64_MAX, now = now_ms();
	for (const struct waiting *w = e->waiting; w; w = w->next)
		due = w->until_ms < due ? w->until_ms : due;
	return due == INT64_MAX ? -1 : due > now ? (int)(due - now) : 0;
}

static void end_due(struct exec *e)
{
	int64_t now = now_ms();
	for (struct waiting *w = e->waiting, *next; w; w = next) {
		next = w->next;
		if (w->until_ms <= now && w->made)
			forget(e, w);
		else if (w->until_ms <= now)
			end_waiting(e, w, 0);
	}
}

int exec_run(struct exec *e, const struct sockaddr_in *gateway, int *status, struct fault *f)
{
	int err;
	e->gateway = *gateway;
	if (send(e->channel, "", 1, MSG_NOSIGNAL) != 1)
		return fault_errno(f, errno, "the program's process is gone");
	err = receive_listener(e, f);
	if (err)
		return err;
	if (send(e->channel, "", 1, MSG_NOSIGNAL) != 1)
		return fault_errno(f, errno, "the program's process is gone");
	for (bool ended = false; !ended;) {
		struct pollfd p[] = {
			{.fd = e->listener, .events = POLLIN}, {.fd = e->signals, .events = POLLIN}, {.fd = e->event, .events = POLLIN},
			{.fd = e->dns[0], .events = POLLIN}, {.fd = e->dns[1], .events = POLLIN}, {.fd = e->channel, .events = POLLIN},
		};
		if (poll(p, sizeof p / sizeof *p, next_due(e)) < 0 && errno != EINTR)
			return fault_errno(f, errno, "poll");
		if (p[5].revents) {
			if (recv(e->channel, &err, sizeof err, MSG_DONTWAIT) == sizeof err)
				fault_errno(f, -err, "the program cannot be started");
			close(e->channel);
			e->channel = -1;
		}
		if (p[2].revents)
			take_told(e);
		for (int i = 0; i < 2; i++) {
			if (p[3 + i].revents)
				take_question(e, i);
		}
		if (p[0].revents & POLLIN)
			take_call(e);
		else if (p[0].revents) {	// nobody is left under the filter
			close(e->listener);
			e->listener = -1;
		}
		end_due(e);
		if (p[1].revents)
			ended = take_signals(e, status);
	}
	return f->text[0] ? -ENOENT : 0;
}
