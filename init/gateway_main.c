// SPDX-License-Identifier: Apache-2.0
// /.coffer/gateway (static, with libcoffer-ratls): listens for the enclave where coffer.yaml says `attested`, and connects for it. init starts
// it before the program, with a pipe as descriptor 3, to which it writes a byte when all its ports are open. A thread for each connection.
// Messages go to the enclave's stderr, at most one a second in the long run. Locks: `busy`, a leaf.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "init/gateway.h"
#include "init/settings.h"
#include "lib/file.h"

enum { READY_FD = 3, CONNECTIONS = 4096, HANDSHAKE_MS = 20000, CONNECT_MS = 10000, GOODBYE_MS = 2000, STACK = 512 << 10, MESSAGES = 20 };

static struct gateway gateway;

static struct {
	pthread_mutex_t lock;
	pthread_cond_t less;
	unsigned int count;
} busy = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};

struct job {
	const struct gateway_route *route;
	int fd;
};

// What others do makes no flood of messages.
__attribute__((format(printf, 2, 3)))
static void say(const struct gateway_route *r, const char *format, ...)
{
	static atomic_long spent;	// seconds that messages have paid for, ahead of the clock by MESSAGES at most
	static atomic_uint unsaid;
	char text[1200];
	va_list args;
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	long before = atomic_load(&spent), now = (long)t.tv_sec;
	if (before >= now + MESSAGES || !atomic_compare_exchange_strong(&spent, &before, (before > now ? before : now) + 1)) {
		unsaid++;
		return;
	}
	unsigned int others = atomic_exchange(&unsaid, 0);
	va_start(args, format);
	vsnprintf(text, sizeof text, format, args);
	va_end(args);
	for (char *p = text; *p; p++)
		*p = (unsigned char)*p < ' ' || *p == 0x7f ? ' ' : *p;
	if (others)
		fprintf(stderr, "coffer: gateway: %s%s%u: %s (and %u messages before)\n", r->out ? r->host : "port ", r->out ? ":" : "", r->port, text, others);
	else
		fprintf(stderr, "coffer: gateway: %s%s%u: %s\n", r->out ? r->host : "port ", r->out ? ":" : "", r->port, text);
}

// A connected, non-blocking socket or -errno.
static int connect_to(const struct sockaddr *a, socklen_t len)
{
	int fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t n = sizeof(int);
	if (fd < 0)
		return -errno;
	int err = connect(fd, a, len) ? errno : 0;
	if (err == EINPROGRESS) {
		struct pollfd p = {.fd = fd, .events = POLLOUT};
		int k = poll(&p, 1, CONNECT_MS);
		err = k < 0 ? errno : ETIMEDOUT;
		if (k > 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &n))
			err = errno;
	}
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
	if (err) {
		close(fd);
		return -err;
	}
	return fd;
}

// ADDRESS:PORT or [ADDRESS]:PORT, or a name where names may be looked up.
static int connect_place(const char *host, const char *port, bool numeric)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | (numeric ? AI_NUMERICHOST : 0)}, *list = NULL;
	int fd = -EHOSTUNREACH;
	if (getaddrinfo(host, port, &hints, &list))
		return fd;
	for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
		fd = connect_to(a->ai_addr, a->ai_addrlen);
	freeaddrinfo(list);
	return fd;
}

static int connect_out(const struct gateway_route *r)
{
	char text[128], port[8];
	int fd = -EHOSTUNREACH;
	for (unsigned int i = 0; i < r->place_count && fd < 0; i++) {
		snprintf(text, sizeof text, "%s", r->places[i]);
		char *colon = strrchr(text, ':'), *host = text;
		if (!colon)
			continue;
		*colon = '\0';
		if (*host == '[' && colon[-1] == ']') {
			colon[-1] = '\0';
			host++;
		}
		fd = connect_place(host, colon + 1, true);
	}
	snprintf(port, sizeof port, "%u", r->port);
	if (fd < 0 && !r->place_count)
		fd = connect_place(r->host, port, false);
	return fd;
}

// The program, on either loopback.
static int connect_program(unsigned int port)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port), .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	int fd = connect_to((struct sockaddr *)&v4, sizeof v4);
	return fd == -ECONNREFUSED ? connect_to((struct sockaddr *)&v6, sizeof v6) : fd;
}

// Who waits for bytes must not take a failure for an end.
static void reset(int fd)
{
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
	close(fd);
}

static void serve(const struct gateway_route *r, int far)
{
	struct ratls_connection *c;
	struct ratls_error e = {""};
	if (ratls_accept(&c, r->ctx, far, &e)) {
		say(r, "%s", e.text);
		return;
	}
	int err = ratls_handshake(c, HANDSHAKE_MS), near = -1;
	if (err) {
		say(r, "a client was refused: %s", ratls_reason(c));
	} else if ((near = connect_program(r->port)) < 0) {
		err = near;
		say(r, "the program does not take connections: %s", strerror(-near));
	} else {
		err = gateway_relay(c, -1, near);
	}
	if (near >= 0)
		err ? reset(near) : (void)close(near);
	if (err && err != -EKEYREJECTED && near >= 0)
		setsockopt(ratls_fd(c), SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
	ratls_close(c, GOODBYE_MS);
}

static int reach_attested(const struct gateway_route *r, int far, int near)
{
	struct ratls_connection *c;
	struct ratls_error e = {""};
	int err = ratls_connect(&c, r->ctx, far, r->name, &e);
	if (err) {
		say(r, "%s", e.text);
		return err;
	}
	err = ratls_handshake(c, HANDSHAKE_MS);
	if (err)
		say(r, "%s: %s", err == -EKEYREJECTED ? "the far end was refused" : "no attested connection", ratls_reason(c));
	else
		err = gateway_relay(c, -1, near);
	ratls_close(c, GOODBYE_MS);
	return err;
}

static void reach(const struct gateway_route *r, int near)
{
	int far = connect_out(r), err = far;
	if (far < 0)
		say(r, "cannot connect: %s", strerror(-far));
	else if (!r->plain)
		err = reach_attested(r, far, near);
	else {
		err = gateway_relay(NULL, far, near);
		close(far);
	}
	err < 0 ? reset(near) : (void)close(near);
}

static void *run_job(void *arg)
{
	struct job j = *(struct job *)arg;
	free(arg);
	setsockopt(j.fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
	if (fcntl(j.fd, F_SETFL, O_RDWR | O_NONBLOCK))
		close(j.fd);
	else if (j.route->out)
		reach(j.route, j.fd);
	else
		serve(j.route, j.fd);
	pthread_mutex_lock(&busy.lock);
	busy.count--;
	pthread_cond_signal(&busy.less);
	pthread_mutex_unlock(&busy.lock);
	return NULL;
}

static int start_thread(void *(*fn)(void *), void *arg)
{
	pthread_attr_t a;
	pthread_t t;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, STACK);
	pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
	int err = pthread_create(&t, &a, fn, arg);
	pthread_attr_destroy(&a);
	return -err;
}

static void *accept_all(void *arg)
{
	struct job *listener = arg;
	for (;;) {
		pthread_mutex_lock(&busy.lock);
		while (busy.count >= CONNECTIONS)
			pthread_cond_wait(&busy.less, &busy.lock);
		busy.count++;
		pthread_mutex_unlock(&busy.lock);
		struct job *j = malloc(sizeof *j);
		int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
		if (fd >= 0 && j) {
			*j = (struct job){listener->route, fd};
			if (!start_thread(run_job, j))
				continue;
		}
		if (fd >= 0)
			close(fd);
		free(j);
		pthread_mutex_lock(&busy.lock);
		busy.count--;
		pthread_mutex_unlock(&busy.lock);
		if (errno != EINTR && errno != ECONNABORTED)
			sleep(1);	// out of descriptors or memory: it passes
	}
	return NULL;
}

static int bind_listen(const struct sockaddr *a, socklen_t len)
{
	int fd = socket(a->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (bind(fd, a, len) || listen(fd, 512)) {
		int err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

static int open_listener(struct gateway_route *r, struct fault *f)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_ANY_INIT};
	v4.sin_port = v6.sin6_port = htons((uint16_t)r->inner_port);
	int fd;
	if (!r->out) {
		fd = bind_listen((struct sockaddr *)&v6, sizeof v6);
		if (fd == -EADDRNOTAVAIL || fd == -EAFNOSUPPORT)	// a host without IPv6
			fd = bind_listen((struct sockaddr *)&v4, sizeof v4);
	} else if (inet_pton(AF_INET, r->address, &v4.sin_addr) == 1) {
		fd = bind_listen((struct sockaddr *)&v4, sizeof v4);
	} else if (inet_pton(AF_INET6, r->address, &v6.sin6_addr) == 1) {
		fd = bind_listen((struct sockaddr *)&v6, sizeof v6);
	} else {
		return fault_set(f, -EINVAL, "config.json's network section is damaged");
	}
	if (fd < 0)
		return fault_errno(f, -fd, "the gateway cannot listen at %s port %u", r->out ? r->address : "the host's", r->inner_port);
	struct job *j = malloc(sizeof *j);
	if (!j)
		return fault_set(f, -ENOMEM, "out of memory");
	*j = (struct job){r, fd};
	int err = start_thread(accept_all, j);
	return err ? fault_errno(f, -err, "the gateway cannot start a thread") : 0;
}

static int make_contexts(struct fault *f)
{
	for (unsigned int i = 0; i < gateway.count; i++) {
		struct gateway_route *r = &gateway.routes[i];
		struct ratls_error e = {""};
		int err = r->plain ? 0 : ratls_context_new(&r->ctx, &r->tls, &e);
		if (err)
			return fault_set(f, err, "coffer.yaml, network, %s%s%u: %.400s", r->out ? r->host : "port ", r->out ? ":" : "", r->port, e.text);
	}
	return 0;
}

// From here on programs neither see nor reach this process, and the kernel lets it speak for them.
static int become_gateway(struct fault *f)
{
	int fd = open(GATEWAY_FILE, O_WRONLY | O_CLOEXEC), oom = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (oom >= 0) {
		if (write(oom, "-1000", 5) < 0)
			fprintf(stderr, "coffer: gateway: it may be killed when memory is short\n");
		close(oom);
	}
	if (fd < 0 || write(fd, "1", 1) != 1) // which stays open: its end is the gateway's
		return fault_errno(f, errno, "cannot become the network gateway");
	return 0;
}

int main(void)
{
	char *config = NULL, *host = NULL;
	size_t config_len, host_len;
	struct fault f = {""};
	signal(SIGPIPE, SIG_IGN);
	int err = file_read(CONFIG_PATH, CONFIG_MAX_BYTES, &config, &config_len, &f);
	if (!err)
		err = file_read(HOST_BLOCK_PATH, HOST_BLOCK_MAX_BYTES, &host, &host_len, &f);
	if (!err)
		err = gateway_read(&gateway, config, config_len, host, host_len, &f);
	free(config);
	free(host);
	if (!err)
		err = make_contexts(&f);
	if (!err)
		err = become_gateway(&f);
	for (unsigned int i = 0; i < gateway.count && !err; i++)
		err = open_listener(&gateway.routes[i], &f);
	if (!err) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		setsid();
		if (write(READY_FD, "", 1) != 1)
			err = -errno;
		close(READY_FD);
	}
	if (err) {
		fprintf(stderr, "coffer: %s\n", f.text);
		_exit(1);
	}
	for (;;)
		pause();
}
