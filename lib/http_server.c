// SPDX-License-Identifier: Apache-2.0
// See http_server.h. Threads: `workers`, who each take one event at a time from the one epoll set (listener and connections are armed for one
// event, so that a connection is in one thread's hands only), and the keeper, who cuts off what has waited beyond its deadline. server.lock
// guards the list of connections with their deadlines; it is held for list work only. A connection is closed by whoever holds it: others only
// shut its socket down, while it is in the list, which brings it back from epoll.
#include "lib/http_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/http_conn.h"
#include "lib/log.h"
#include "lib/tls.h"

#define KEEPER_MS 250
#define OTHER_FILES 256		// that this process may have open besides connections

union address {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
};

static int arm(struct http_server *s, int op, int fd, void *what, uint32_t events)
{
	struct epoll_event e = {.events = events | EPOLLONESHOT, .data.ptr = what};
	return epoll_ctl(s->epoll, op, fd, &e) ? -errno : 0;
}

// With the lock held.
static void cut_off(struct http_conn *c)
{
	c->cut = true;
	shutdown(c->fd, SHUT_RDWR);
}

static void leave(struct http_conn *c)
{
	struct http_server *s = c->server;
	pthread_mutex_lock(&s->lock);
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	if (!--s->counts.open)
		pthread_cond_broadcast(&s->freed);
	pthread_mutex_unlock(&s->lock);
	conn_close(c);	// *s lives until the workers have ended
}

// With the lock held: all places are taken, so the connection that has waited longest without a request in a handler's hands goes.
static void make_place(struct http_server *s)
{
	struct http_conn *oldest = NULL;
	for (struct http_conn *c = s->connections; c; c = c->next) {
		if (!c->cut && c->deadline_ms != INT64_MAX && (!oldest || c->since_ms < oldest->since_ms))
			oldest = c;
	}
	if (!oldest)
		return;
	cut_off(oldest);
	s->counts.made_room++;
}

// May one more of this peer come in? With the lock held.
static bool admits(struct http_server *s, const struct http_conn *new)
{
	unsigned int same = 0, cut = 0;
	for (const struct http_conn *c = s->connections; c; c = c->next) {
		same += !c->cut && !memcmp(c->group, new->group, sizeof c->group);
		cut += c->cut;
	}
	if (same >= s->o.max_per_peer) {
		s->counts.over_peer_limit++;
		return false;
	}
	if (s->counts.open - cut >= s->o.max_connections)
		make_place(s);
	// Those that were cut off leave when a worker gets to them.
	return s->counts.open < s->o.max_connections + OTHER_FILES / 4;
}

static void name_peer(struct http_conn *c, const union address *from, socklen_t len)
{
	char host[48], port[8];
	const struct in6_addr *six = &from->in6.sin6_addr;
	static const uint8_t v4[4] = {0xff, 0xff, 0xff, 0xff};	// no /64 that a connection comes from begins so
	if (getnameinfo(&from->sa, len, host, sizeof host, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV))
		strcpy(c->peer, "unknown");
	else
		snprintf(c->peer, sizeof c->peer, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
	if (from->sa.sa_family == AF_INET)
		memcpy(mempcpy(c->group, v4, 4), &from->in.sin_addr, 4);
	else if (IN6_IS_ADDR_V4MAPPED(six))
		memcpy(mempcpy(c->group, v4, 4), six->s6_addr + 12, 4);
	else
		memcpy(c->group, six->s6_addr, 8);
}

// The connection, in this thread's hands and in the list; NULL: it was not let in.
static struct http_conn *start_connection(struct http_server *s, int fd, const union address *from, socklen_t len)
{
	struct http_conn *c = calloc(1, sizeof *c);
	if (!c) {
		close(fd);
		return NULL;
	}
	c->server = s;
	c->fd = fd;
	c->since_ms = clock_ms();
	c->deadline_ms = c->since_ms + s->o.io_timeout_ms;
	name_peer(c, from, len);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	pthread_mutex_lock(&s->lock);
	bool in = !s->stopping && admits(s, c);
	if (in) {
		c->next = s->connections;
		c->link = &s->connections;
		if (c->next)
			c->next->link = &c->next;
		s->connections = c;
		s->counts.accepted++;
		if (!s->counts.open++)
			eventfd_write(s->wake_keeper, 1);
	}
	pthread_mutex_unlock(&s->lock);
	if (in)
		return c;
	close(fd);
	free(c);
	return NULL;
}

// One, so that what it sends first, which has often come by now, is read in the same turn; the next one is another worker's meanwhile.
static struct http_conn *accept_one(struct http_server *s)
{
	union address from = {.sa.sa_family = AF_UNSPEC};	// a Unix socket's peer has no address
	socklen_t len = sizeof from;
	int fd = accept4(s->listener, &from.sa, &len, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)) {
		s->accept_later = true;	// the keeper arms it: not to spin until a connection ends
		eventfd_write(s->wake_keeper, 1);
		return NULL;
	}
	if (!s->stopping)
		arm(s, EPOLL_CTL_MOD, s->listener, s, EPOLLIN);
	return fd >= 0 ? start_connection(s, fd, &from, len) : NULL;
}

static void *worker_thread(void *arg)
{
	struct http_server *s = arg;
	struct http_head *head = malloc(sizeof *head);
	struct epoll_event e;
	while (head) {
		int n = epoll_wait(s->epoll, &e, 1, -1);
		if (n < 0 && errno != EINTR)
			break;
		if (n <= 0)
			continue;
		if (!e.data.ptr)	// quit_workers
			break;
		bool new = e.data.ptr == s;
		struct http_conn *c = new ? accept_one(s) : e.data.ptr;
		if (!c)
			continue;
		atomic_load(&c->turns);
		uint32_t events = conn_run(c, head);
		int fd = c->fd;
		atomic_fetch_add(&c->turns, 1);	// from here on it may be another's
		if (!events || arm(s, new ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, c, events))
			leave(c);
	}
	free(head);
	return NULL;
}

static void *keeper_thread(void *arg)
{
	struct http_server *s = arg;
	struct pollfd p = {.fd = s->wake_keeper, .events = POLLIN};
	eventfd_t ignored;
	bool any = false;
	while (!s->stopping || any) {
		if (poll(&p, 1, any || s->accept_later ? KEEPER_MS : -1) > 0) {
			eventfd_read(s->wake_keeper, &ignored);
			poll(NULL, 0, KEEPER_MS / 10);	// who wakes it often does not keep it busy
		}
		int64_t now = clock_ms();
		pthread_mutex_lock(&s->lock);
		for (struct http_conn *c = s->connections; c; c = c->next) {
			if (!c->cut && c->deadline_ms <= now) {
				cut_off(c);
				s->counts.timed_out++;
			}
		}
		any = s->counts.open;
		pthread_mutex_unlock(&s->lock);
		if (atomic_exchange(&s->accept_later, false) && !s->stopping)
			arm(s, EPOLL_CTL_MOD, s->listener, s, EPOLLIN);
	}
	return NULL;
}

static int listen_on(struct http_server *s, struct fault *f)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *ai;
	char port[16];
	int one = 1, err = 0;
	if (s->o.listener) {
		s->listener = s->o.listener;
		return 0;
	}
	snprintf(port, sizeof port, "%u", s->o.port);
	if (getaddrinfo(s->o.address, port, &hints, &ai))
		return fault_set(f, -EINVAL, "cannot listen on '%s': not a numeric address", s->o.address);
	s->listener = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->listener < 0 || setsockopt(s->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
	    bind(s->listener, ai->ai_addr, ai->ai_addrlen) < 0 || listen(s->listener, SOMAXCONN) < 0)
		err = fault_errno(f, errno, "cannot listen on %s port %s", s->o.address, port);
	freeaddrinfo(ai);

	union address name;
	socklen_t len = sizeof name;
	if (!err && getsockname(s->listener, &name.sa, &len) < 0)
		err = fault_errno(f, errno, "cannot listen on %s", s->o.address);
	if (!err)
		s->port = ntohs(name.sa.sa_family == AF_INET6 ? name.in6.sin6_port : name.in.sin_port);
	return err;
}

static void fit_open_files(struct http_server *s)
{
	struct rlimit l;
	rlim_t wanted = s->o.max_connections + OTHER_FILES;
	if (getrlimit(RLIMIT_NOFILE, &l) || l.rlim_cur == RLIM_INFINITY || l.rlim_cur >= wanted)
		return;
	l.rlim_cur = l.rlim_max == RLIM_INFINITY || l.rlim_max > wanted ? wanted : l.rlim_max;
	setrlimit(RLIMIT_NOFILE, &l);
	getrlimit(RLIMIT_NOFILE, &l);
	if (l.rlim_cur >= wanted)
		return;
	s->o.max_connections = l.rlim_cur > 2 * OTHER_FILES ? (unsigned int)l.rlim_cur - OTHER_FILES : OTHER_FILES / 2;
	log_warning("only %u connections at a time: this process may open %lu files", s->o.max_connections, (unsigned long)l.rlim_cur);
}

static unsigned int or_else(unsigned int value, unsigned int usual)
{
	return value ? value : usual;
}

static int start_threads(struct http_server *s, struct fault *f)
{
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 1 << 20);
	int err = -pthread_create(&s->keeper, &attr, keeper_thread, s);
	if (!err) {
		for (; !err && s->worker_count < s->o.workers; s->worker_count += !err)
			err = -pthread_create(&s->workers[s->worker_count], &attr, worker_thread, s);
		if (err && s->worker_count)	// some will do
			err = 0;
		if (err) {
			s->stopping = true;
			eventfd_write(s->wake_keeper, 1);
			pthread_join(s->keeper, NULL);
		}
	}
	pthread_attr_destroy(&attr);
	return err ? fault_errno(f, -err, "cannot start the server's threads") : 0;
}

static void free_server(struct http_server *s)
{
	const int fds[] = {s->listener, s->epoll, s->wake_keeper, s->quit_workers};
	for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->freed);
	SSL_CTX_free(s->o.tls);
	free(s->workers);
	free(s);
}

int http_server_start(struct http_server **out, const struct http_server_options *o, struct fault *f)
{
	struct http_server *s = calloc(1, sizeof *s);
	pthread_condattr_t monotonic;
	int err = 0;
	if (!s)
		return fault_set(f, -ENOMEM, "out of memory");
	s->o = *o;
	s->o.max_connections = or_else(o->max_connections, 1024);
	s->o.max_per_peer = or_else(o->max_per_peer, 256);
	s->o.max_body_bytes = or_else(o->max_body_bytes, 1u << 20);
	s->o.max_large_bytes = or_else(o->max_large_bytes, 16u << 20);
	s->o.io_timeout_ms = or_else(o->io_timeout_ms, 10000);
	s->o.idle_timeout_ms = or_else(o->idle_timeout_ms, 15000);
	s->o.workers = or_else(o->workers, 16);
	s->tls = s->o.tls != NULL;
	if (s->tls)
		SSL_CTX_up_ref(s->o.tls);
	fit_open_files(s);
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->freed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	s->listener = -1;
	s->epoll = epoll_create1(EPOLL_CLOEXEC);
	s->wake_keeper = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	s->quit_workers = eventfd(0, EFD_CLOEXEC);
	s->workers = calloc(s->o.workers, sizeof *s->workers);
	if (s->epoll < 0 || s->wake_keeper < 0 || s->quit_workers < 0 || !s->workers)
		err = fault_errno(f, s->workers ? errno : ENOMEM, "cannot start the server");
	if (!err)
		err = listen_on(s, f);
	struct epoll_event quit = {.events = EPOLLIN};
	if (!err && (epoll_ctl(s->epoll, EPOLL_CTL_ADD, s->quit_workers, &quit) || arm(s, EPOLL_CTL_ADD, s->listener, s, EPOLLIN)))
		err = fault_errno(f, errno, "cannot start the server");
	if (!err)
		err = start_threads(s, f);
	if (err)
		free_server(s);
	else
		*out = s;
	return err;
}

unsigned int http_server_port(const struct http_server *s)
{
	return s->port;
}

void http_server_use_tls(struct http_server *s, SSL_CTX *tls)
{
	SSL_CTX_up_ref(tls);
	pthread_mutex_lock(&s->lock);
	SSL_CTX *old = s->o.tls;
	s->o.tls = tls;
	pthread_mutex_unlock(&s->lock);
	SSL_CTX_free(old);
}

void http_server_counts(struct http_server *s, struct http_server_counts *out)
{
	pthread_mutex_lock(&s->lock);
	*out = s->counts;
	pthread_mutex_unlock(&s->lock);
}

// The connections that are left: what has arrived is still read, or nothing more is. With the lock held.
static void shut_all(struct http_server *s, bool hard)
{
	for (struct http_conn *c = s->connections; c; c = c->next) {
		if (!hard)
			shutdown(c->fd, SHUT_RD);
		else if (c->deadline_ms != INT64_MAX && !c->cut)
			cut_off(c);
	}
}

void http_server_drain(struct http_server *s)
{
	struct timespec until;
	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	shutdown(s->listener, SHUT_RDWR);	// from here on connections are refused
	shut_all(s, false);
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += s->o.io_timeout_ms / 1000 + 1;
	while (s->counts.open && !pthread_cond_timedwait(&s->freed, &s->lock, &until))
		;
	while (s->counts.open) {	// the rest is in handlers' hands, or comes from there
		shut_all(s, true);
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec++;
		pthread_cond_timedwait(&s->freed, &s->lock, &until);
	}
	pthread_mutex_unlock(&s->lock);
}

void http_server_stop(struct http_server *s)
{
	http_server_drain(s);
	eventfd_write(s->quit_workers, 1);
	eventfd_write(s->wake_keeper, 1);
	for (unsigned int i = 0; i < s->worker_count; i++)
		pthread_join(s->workers[i], NULL);
	pthread_join(s->keeper, NULL);
	free_server(s);
}
