// SPDX-License-Identifier: Apache-2.0
// Connecting to destinations: rules on what a name resolves to, refusals, cancelling at every moment, many at once.
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/attest/ok.h"
#include "tunnel/dial.h"

static struct dial_pool *pool;
static struct dial_inbox *inbox;

struct outcome {
	int fd;
	char why[256];
	unsigned int calls;
};

static void done(void *ctx, int fd, const char *why)
{
	struct outcome *o = ctx;
	o->fd = fd;
	snprintf(o->why, sizeof o->why, "%s", why);
	o->calls++;
}

// Until *calls is n, a minute at most.
static void run_until(const unsigned int *calls, unsigned int n)
{
	struct pollfd p = {.fd = dial_inbox_fd(inbox), .events = POLLIN};
	for (int i = 0; i < 600 && *calls < n; i++) {
		if (poll(&p, 1, 100) > 0)
			dial_inbox_run(inbox);
	}
}

static struct outcome dial_to(const char *host, uint16_t port, const char *const *rule, size_t rules, int timeout_ms)
{
	struct outcome o = {.fd = -1};
	struct rules *r = NULL;
	struct fault f = {""};
	struct target t = {.port = port};
	struct dial *d;
	if (target_set_host(&t, host, strlen(host)) || (rule && rules_new(&r, rule, rules, &f)))
		return o;
	const struct dial_options options = {.rules = r, .timeout_ms = timeout_ms};
	int err = dial_start(&d, inbox, &t, &options, done, &o, &f);
	if (err) {
		o.fd = err;
		snprintf(o.why, sizeof o.why, "%.200s", f.text);
	} else {
		run_until(&o.calls, 1);
	}
	if (o.fd >= 0)
		close(o.fd);
	rules_free(r);
	return o;
}
#define RULES(...) (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)

static int listener(uint16_t *port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof in;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&in, len) || listen(fd, 1024) || getsockname(fd, (struct sockaddr *)&in, &len))
		return -1;
	*port = ntohs(in.sin_port);
	return fd;
}

static void test_names(uint16_t port)
{
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *list;
	struct outcome o;
	if (getaddrinfo("localhost", NULL, &hints, &list)) {
		skip("dial.names", "this machine does not know localhost");
		return;
	}
	freeaddrinfo(list);
	o = dial_to("localhost", port, NULL, 0, 0);
	ok("dial.name", o.fd >= 0, "%d %s", o.fd, o.why);
	o = dial_to("localhost", port, RULES("localhost"), 0);
	ok("dial.name_private", o.fd == -EACCES && strstr(o.why, "private or special"), "%d %s", o.fd, o.why);
	o = dial_to("localhost", port, RULES("*"), 0);
	ok("dial.any_private", o.fd == -EACCES, "%d %s", o.fd, o.why);
	o = dial_to("localhost", port, RULES("localhost", "127.0.0.0/8"), 0);
	ok("dial.name_listed", o.fd >= 0, "%d %s", o.fd, o.why);
	o = dial_to("localhost", port, RULES("localhost@127.0.0.0/8"), 0);
	ok("dial.name_at_network", o.fd >= 0, "%d %s", o.fd, o.why);
	o = dial_to("localhost", port, RULES("other", "127.0.0.0/8"), 0);
	ok("dial.name_not_allowed", o.fd == -EACCES && strstr(o.why, "no rule allows localhost"), "%d %s", o.fd, o.why);
	o = dial_to("name.invalid", port, NULL, 0, 0);
	ok("dial.no_name", (o.fd == -ENOENT || o.fd == -EHOSTUNREACH) && strstr(o.why, "name.invalid"), "%d %s", o.fd, o.why);

	// Look-ups that nobody waits for any more: before, while and after they are made.
	struct target t = {.port = port};
	struct dial *d[50];
	struct outcome many[50] = {0};
	unsigned int began = 0;
	target_set_host(&t, "localhost", 9);
	for (int i = 0; i < 50; i++)
		began += !dial_start(&d[i], inbox, &t, &(struct dial_options){0}, done, &many[i], NULL);
	for (int i = 0; i < 50; i += 2)
		dial_cancel(d[i]);
	for (int i = 1; i < 50; i += 2)
		run_until(&many[i].calls, 1);
	unsigned int good = 0, called = 0;
	for (int i = 0; i < 50; i++) {
		called += many[i].calls;
		if (many[i].calls && many[i].fd >= 0) {
			good++;
			close(many[i].fd);
		}
	}
	ok("dial.cancel", began == 50 && good == 25 && called == 25, "%u begun, %u connected, %u called", began, good, called);
	struct dial *left;
	ok("dial.left", !dial_start(&left, inbox, &t, &(struct dial_options){0}, done, &many[0], NULL), "not begun");
}

static void test_addresses(uint16_t port)
{
	struct outcome o = dial_to("127.0.0.1", port, NULL, 0, 0);
	ok("dial.address", o.fd >= 0, "%d %s", o.fd, o.why);
	o = dial_to("127.0.0.1", port, RULES("*"), 0);
	ok("dial.address_private", o.fd == -EACCES, "%d %s", o.fd, o.why);
	o = dial_to("127.0.0.1", port, RULES("127.0.0.0/8"), 0);
	ok("dial.address_listed", o.fd >= 0, "%d %s", o.fd, o.why);
	uint16_t closed;
	int fd = listener(&closed);
	close(fd);
	o = dial_to("127.0.0.1", closed, NULL, 0, 0);
	ok("dial.refused", o.fd == -ECONNREFUSED, "%d %s", o.fd, o.why);
	o = dial_to("255.255.255.255", 9, NULL, 0, 1000);
	ok("dial.unreachable", o.fd < 0 && o.fd != -EACCES, "%d %s", o.fd, o.why);
	const struct target none = {.port = 9};
	struct dial *d;
	ok("dial.nowhere", dial_start(&d, inbox, &none, &(struct dial_options){0}, done, &o, NULL) == -EINVAL, "begun");

	// A listener whose queue is full answers nobody: the time-out ends that.
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = 0};
	socklen_t len = sizeof in;
	int full = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), filler[8];
	if (bind(full, (struct sockaddr *)&in, len) || listen(full, 0) || getsockname(full, (struct sockaddr *)&in, &len))
		return;
	for (int i = 0; i < 8; i++) {
		filler[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		connect(filler[i], (struct sockaddr *)&in, sizeof in);
	}
	o = dial_to("127.0.0.1", ntohs(in.sin_port), NULL, 0, 300);
	ok("dial.timeout", o.fd == -ETIMEDOUT && o.calls == 1, "%d %s", o.fd, o.why);
	for (int i = 0; i < 8; i++)
		close(filler[i]);
	close(full);
}

// Names that take for ever, until they are let go: getaddrinfo of this program.
static pthread_mutex_t slow_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t slow_change = PTHREAD_COND_INITIALIZER;
static unsigned int slow_asked;
static bool slow_over;

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
	static int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	if (!strncmp(name, "slow", 4)) {
		pthread_mutex_lock(&slow_lock);
		slow_asked++;
		pthread_cond_broadcast(&slow_change);
		while (!slow_over)
			pthread_cond_wait(&slow_change, &slow_lock);
		pthread_mutex_unlock(&slow_lock);
		return EAI_FAIL;
	}
	void *found = dlsym(RTLD_NEXT, "getaddrinfo");
	memcpy(&real, &found, sizeof real);
	return real(name, service, hints, out);
}

static struct dial *begin_slow(uint64_t share, struct outcome *o, int *err)
{
	struct target t = {.port = 9};
	struct dial *d = NULL;
	target_set_host(&t, "slow.example", 12);
	*err = dial_start(&d, inbox, &t, &(struct dial_options){.share = share}, done, o, NULL);
	return d;
}

// One peer whose names take for ever, and another.
static void test_shares(uint16_t port)
{
	struct outcome of_one[60] = {0}, other = {.fd = -1};
	unsigned int begun = 0;
	struct target t = {.port = port};
	struct dial *d;
	int err = 0;
	for (int i = 0; i < 60; i++) {
		begin_slow(1, &of_one[i], &err);
		begun += !err;
	}
	ok("dial.share_waiting", err == -EBUSY && begun >= 50 && begun <= 51, "%u begun, %d", begun, err);
	target_set_host(&t, "localhost", 9);
	err = dial_start(&d, inbox, &t, &(struct dial_options){.share = 2}, done, &other, NULL);
	if (!err)
		run_until(&other.calls, 1);
	ok("dial.share", !err && other.calls == 1 && slow_asked == 1, "%d, %u called, %u slow ones begun", err, other.calls, slow_asked);
	if (other.fd >= 0)
		close(other.fd);
	pthread_mutex_lock(&slow_lock);
	slow_over = true;
	pthread_cond_broadcast(&slow_change);
	pthread_mutex_unlock(&slow_lock);
	unsigned int called = 0;
	for (unsigned int i = 0; i < begun; i++) {
		run_until(&of_one[i].calls, 1);
		called += of_one[i].calls;
	}
	ok("dial.share_goes_on", called == begun, "%u of %u", called, begun);
}

int main(void)
{
	uint16_t port;
	int fd = listener(&port);
	if (fd < 0 || dial_pool_new(&pool, 2, 100) || dial_inbox_new(&inbox, pool)) {
		ok("dial.begin", false, "no listener or no inbox");
		return 1;
	}
	test_addresses(port);
	test_shares(port);
	test_names(port);
	dial_inbox_free(inbox);
	dial_pool_free(pool);
	close(fd);
	return ok_failed != 0;
}
