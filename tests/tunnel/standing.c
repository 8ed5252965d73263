// SPDX-License-Identifier: Apache-2.0
// An enclave whose hardware falls behind, or is revoked, while clients' connections pass through two gateways: the near gateway learns it from changed
// collateral at the next proof, resets the clients, and takes no others. Both gateways in this process; TDX quotes under a test root.
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/ratls/standing.h"
#include "tunnel/engine.h"
#include "tunnel/log.h"

#define PATIENCE_MS 60000

// ---- the plain server: says back what it hears ----

static void *echo(void *arg)
{
	char buf[1024];
	int fd = (int)(intptr_t)arg;
	for (ssize_t n; (n = read(fd, buf, sizeof buf)) > 0 && write(fd, buf, (size_t)n) == n;)
		;
	close(fd);
	return NULL;
}

static void *serve(void *arg)
{
	int listener = (int)(intptr_t)arg;
	for (int fd; (fd = accept(listener, NULL, NULL)) >= 0;) {
		pthread_t t;
		if (pthread_create(&t, NULL, echo, (void *)(intptr_t)fd))
			abort();
		pthread_detach(t);
	}
	return NULL;
}

static uint16_t start_server(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof in;
	pthread_t t;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&in, len) || listen(fd, 8) || getsockname(fd, (struct sockaddr *)&in, &len) ||
	    pthread_create(&t, NULL, serve, (void *)(intptr_t)fd))
		abort();
	pthread_detach(t);
	return ntohs(in.sin_port);
}

// ---- gateways ----

static struct engine *start(const char *text, bool quotes)
{
	struct config *c;
	struct engine *e;
	struct fault f = {""};
	if (tunnel_config_parse(&c, text, strlen(text), "test.yaml", &f))
		goto fail;
	if (quotes) {
		c->routes[0]->tls.collect = standing_quote;
		c->routes[0]->tls.collect_ctx = NULL;
	}
	if (engine_new(&e, c, &f) || engine_start(e, &f))
		goto fail;
	tunnel_config_free(c);
	return e;
fail:
	printf("%s\n", f.text);
	abort();
}

static void stop(struct engine *e)
{
	engine_stop(e, 0);
	engine_wait(e, PATIENCE_MS);
	engine_free(e);
}

static uint16_t port_of(const struct engine *e)
{
	return (uint16_t)atoi(strrchr(e->routes[0]->at.text, ':') + 1);
}

static int64_t count(struct engine *e, const char *what)
{
	json_t *o = engine_counts(e);
	int64_t n = json_integer_value(json_object_get(json_array_get(json_object_get(o, "routes"), 0), what));
	json_decref(o);
	return n;
}

// ---- clients ----

static int client(uint16_t port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&in, sizeof in))
		abort();
	return fd;
}

// Nothing may come but what was said. 0: it did; or why it did not.
static int says_back(int fd, const char *text)
{
	char buf[64];
	size_t got = 0, len = strlen(text);
	if (send(fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
		return -errno;
	while (got < len) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n = poll(&p, 1, PATIENCE_MS) == 1 ? recv(fd, buf + got, len - got, 0) : -ETIMEDOUT;
		if (n <= 0)
			return n ? -errno : -EPIPE;
		got += (size_t)n;
	}
	return memcmp(buf, text, len) ? -EBADMSG : 0;
}

static void test(const char *name, uint16_t server, unsigned int number, bool revoke, bool mux)
{
	char dir[128], root[128], text[1024], label[128];
	snprintf(root, sizeof root, "%s/intel.pem", world);
	snprintf(dir, sizeof dir, "%s/collateral%u", world, number);
	snprintf(label, sizeof label, "tunnel: while connected: %s", name);
	standing_begin(dir);
	snprintf(text, sizeof text, "workers: 1\nlog: {level: error}\nroutes:\n  - name: far\n    egress: {listen: '127.0.0.1:0', to: '127.0.0.1:%u'}\n"
		 "    identity: {insecure_simulate: '%096d'}\n", server, 7);
	struct engine *far = start(text, true);
	snprintf(text, sizeof text, "workers: 1\nlog: {level: error}\nroutes:\n  - name: near\n    ingress: {listen: '127.0.0.1:0'}\n    connect: 127.0.0.1:%u\n"
		 "    verify: {any_measurement: true, collateral: '%s', insecure_simulated_root: '%s'}\n"
		 "    session: {renew_seconds: 1, cache_seconds: 0}\n%s", port_of(far), dir, root, mux ? "" : "    mux: false\n");
	struct engine *near = start(text, false);
	int fd = client(port_of(near)), err = says_back(fd, "question");
	ok(label, !err, "before: %s", strerror(-err));
	standing_change(revoke);
	// Whatever else happens until then is as it was.
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char byte;
	ssize_t n = poll(&p, 1, PATIENCE_MS) == 1 ? recv(fd, &byte, 1, 0) : -2;
	ok(label, n == -1 && errno == ECONNRESET && count(near, "peers_refused_total") > 0, "after: %zd %s, refused %ld", n, strerror(errno),
	   (long)count(near, "peers_refused_total"));
	close(fd);
	fd = client(port_of(near));
	err = says_back(fd, "another");
	ok(label, err == -ECONNRESET || err == -EPIPE || err == -ECONNABORTED, "another client: %d", err);
	close(fd);
	stop(near);
	stop(far);
	standing_end();
}

int main(void)
{
	char root[128];
	if (!world_begin())
		return 1;
	signal(SIGPIPE, SIG_IGN);
	snprintf(root, sizeof root, "%s/intel.pem", world);
	standing_write_root(root);
	uint16_t server = start_server();
	test("streams, the firmware falls behind", server, 0, false, true);
	test("streams, the platform is revoked", server, 1, true, true);
	test("one connection a client, the firmware falls behind", server, 2, false, false);
	return world_end();
}
