// SPDX-License-Identifier: Apache-2.0
// Destinations that coffer.yaml lists without protection: the program's bytes go to the host as they are, and come back. A thread for each
// connection. Locks: `busy`, a leaf.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "init/gateway.h"
#include "tunnel/log.h"

enum { CONNECTIONS = 4096, CONNECT_MS = 10000, STACK = 128 << 10, BUFFER = 64 << 10 };

static struct {
	pthread_mutex_t lock;
	pthread_cond_t less;
	unsigned int count, listeners;	// each listener counts for the connection that it waits for
} busy = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0, 0};

struct job {
	const struct gateway_plain *to;
	int fd;
};

struct half {
	char buf[BUFFER];
	size_t len, pos;
	int from, to;
	bool ended, told;
};

static bool later(ssize_t n)
{
	return n < 0 && (errno == EINTR || errno == EAGAIN);
}

static int move(struct half *h)
{
	ssize_t n = 0;
	if (!h->len && !h->ended) {
		n = recv(h->from, h->buf, BUFFER, 0);
		h->ended = !n;
		h->len = n > 0 ? (size_t)n : 0;
		h->pos = 0;
	}
	if (n < 0 && !later(n))
		return -errno;
	if (h->len) {
		n = send(h->to, h->buf + h->pos, h->len - h->pos, MSG_NOSIGNAL);
		if (n < 0 && !later(n))
			return -errno;
		h->pos += n > 0 ? (size_t)n : 0;
		h->len = h->pos == h->len ? 0 : h->len;
	}
	if (h->ended && !h->len && !h->told) {
		shutdown(h->to, SHUT_WR);
		h->told = true;
	}
	return 0;
}

// Bytes both ways until both sides have ended; neither direction waits for the other.
static int relay(int a, int b)
{
	struct half *h = calloc(2, sizeof *h);
	int err = h ? 0 : -ENOMEM;
	if (h) {
		h[0].from = h[1].to = a;
		h[0].to = h[1].from = b;
	}
	while (!err && (!h[0].told || !h[1].told)) {
		struct pollfd p[2];
		for (int i = 0; i < 2; i++) {
			p[i].events = (short)((h[i].len || h[i].ended ? 0 : POLLIN) | (h[!i].len ? POLLOUT : 0));
			p[i].fd = p[i].events ? h[i].from : -1;
		}
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			err = -errno;
		for (int i = 0; i < 2 && !err; i++)
			err = move(&h[i]);
	}
	free(h);
	return err;
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

static int connect_place(const char *host, const char *port, bool numeric)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV | (numeric ? AI_NUMERICHOST : 0)}, *list = NULL;
	int fd = -EHOSTUNREACH;
	if (getaddrinfo(host, port, &hints, &list))
		return fd;
	for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
		if (numeric || !gateway_inside(a->ai_addr))	// what names lead to is anybody's word; places were looked at when they were read
			fd = connect_to(a->ai_addr, a->ai_addrlen);
	}
	freeaddrinfo(list);
	return fd;
}

// Where the host says, or where names lead.
static int connect_out(const struct gateway_plain *p)
{
	char text[128], port[8];
	int fd = -EHOSTUNREACH;
	for (unsigned int i = 0; i < p->place_count && fd < 0; i++) {
		snprintf(text, sizeof text, "%s", p->places[i]);
		char *colon = strrchr(text, ':'), *host = text;
		if (!colon || colon == text)
			continue;
		*colon = '\0';
		if (*host == '[' && colon[-1] == ']') {
			colon[-1] = '\0';
			host++;
		}
		fd = connect_place(host, colon + 1, true);
	}
	snprintf(port, sizeof port, "%u", p->port);
	return p->place_count ? fd : connect_place(p->host, port, false);
}

static void *run_job(void *arg)
{
	struct job j = *(struct job *)arg;
	free(arg);
	int far = connect_out(j.to), err = far < 0 ? far : 0;
	if (err)
		tunnel_log(TUNNEL_LOG_WARNING, "cannot connect", LOG_TEXT("destination", j.to->host), LOG_NUMBER("port", j.to->port), LOG_TEXT("reason", strerror(-err)));
	else if (fcntl(j.fd, F_SETFL, O_RDWR | O_NONBLOCK))
		err = -errno;
	else
		err = relay(j.fd, far);
	if (err) // who waits for bytes must not take a failure for an end
		setsockopt(j.fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
	if (far >= 0)
		close(far);
	close(j.fd);
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
	const struct job *listener = arg;
	for (;;) {
		pthread_mutex_lock(&busy.lock);
		while (busy.count >= CONNECTIONS)
			pthread_cond_wait(&busy.less, &busy.lock);
		busy.count++;
		pthread_mutex_unlock(&busy.lock);
		struct job *j = malloc(sizeof *j);
		int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC), why = errno;
		if (fd >= 0 && j) {
			*j = (struct job){listener->to, fd};
			if (!start_thread(run_job, j))
				continue;
		}
		if (fd >= 0)
			close(fd);
		free(j);
		pthread_mutex_lock(&busy.lock);
		busy.count--;
		pthread_mutex_unlock(&busy.lock);
		if (fd >= 0 || (why != EINTR && why != ECONNABORTED))
			sleep(1);	// out of descriptors, memory or threads: it passes
	}
	return NULL;
}

bool gateway_plain_busy(void)
{
	pthread_mutex_lock(&busy.lock);
	bool any = busy.count > busy.listeners;
	pthread_mutex_unlock(&busy.lock);
	return any;
}

int gateway_plain_start(const struct gateway_plain *p, struct fault *f)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)p->port)};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)p->port)};
	bool six = inet_pton(AF_INET, p->address, &v4.sin_addr) != 1;
	if (six && inet_pton(AF_INET6, p->address, &v6.sin6_addr) != 1)
		return fault_set(f, -EINVAL, "config.json's network section is damaged");
	struct job *j = malloc(sizeof *j);
	int fd = socket(six ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), err = 0;
	if (!j || fd < 0 || bind(fd, six ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4, six ? sizeof v6 : sizeof v4) || listen(fd, 512)) {
		err = fault_errno(f, j ? errno : ENOMEM, "the gateway cannot listen at %s port %u", p->address, p->port);
	} else {
		*j = (struct job){p, fd};
		busy.listeners++;	// by the first thread, before there is work
		err = start_thread(accept_all, j);
		if (err)
			fault_errno(f, -err, "the gateway cannot start a thread");
	}
	if (err) {
		if (fd >= 0)
			close(fd);
		free(j);
	}
	return err;
}
