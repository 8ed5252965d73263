// SPDX-License-Identifier: Apache-2.0
// See world.h.
#include "tests/ratls/world.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "attest/simtee.h"
#include "lib/encode.h"
#include "lib/tls.h"
#include "tests/folder.h"

char world[64], root_pem[128];
int pair_patience_ms = 60000;
struct machine good = {.measurement = "a program"}, other = {.measurement = "another program"};

bool world_begin(void)
{
	signal(SIGPIPE, SIG_IGN);
	if (!test_folder(world, "ratls"))
		return false;
	struct machine *const all[] = {&good, &other};
	for (size_t i = 0; i < 2; i++) {
		snprintf(all[i]->tee, sizeof all[i]->tee, "%s/tee", world);
		hex_encode(all[i]->hex, all[i]->measurement, 48);
	}
	return !simtee_root_path(good.tee, root_pem, sizeof root_pem);
}

int world_end(void)
{
	return ok_failed != 0;
}

int machine_collect(void *ctx, const uint8_t report_data[64], struct ratls_evidence *out)
{
	struct machine *m = ctx;
	m->asked++;
	if (m->fails)
		return m->fails;
	out->bytes = malloc(SIMTEE_REPORT_BYTES);
	out->len = SIMTEE_REPORT_BYTES;
	return out->bytes ? simtee_report(m->tee, m->measurement, report_data, m->debug, out->bytes, &out->certificates) : -ENOMEM;
}

struct ratls_options options_of(struct machine *m, const struct machine *peer)
{
	static const char *lists[8][2];
	static unsigned int next;
	struct ratls_options o = {.attest = m, .collect = m ? machine_collect : NULL, .collect_ctx = m};
	if (peer) {
		const char **list = lists[next++ % 8];
		list[0] = peer->hex;
		o.verify = true;
		o.measurements = list;
		o.insecure_simulated_root = root_pem;
	}
	return o;
}

struct ratls_context *context_of(const struct ratls_options *o)
{
	struct ratls_context *ctx;
	struct ratls_error e;
	if (ratls_context_new(&ctx, o, &e)) {
		printf("%s\n", e.text);
		abort();
	}
	return ctx;
}

void pair_open_over(struct pair *p, struct ratls_context *client, int client_fd, struct ratls_context *server, int server_fd)
{
	struct ratls_error e;
	memset(p, 0, sizeof *p);
	if (ratls_connect(&p->client, client, client_fd, "server.test", &e) || ratls_accept(&p->server, server, server_fd, &e)) {
		printf("%s\n", e.text);
		abort();
	}
}

void pair_open(struct pair *p, struct ratls_context *client, struct ratls_context *server)
{
	int fds[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		abort();
	pair_open_over(p, client, fds[0], server, fds[1]);
}

void pair_meet(struct pair *p, void (*between)(void *ctx), void *ctx)
{
	int64_t deadline = clock_ms() + pair_patience_ms;
	p->client_error = p->server_error = -EAGAIN;
	while ((p->client_error == -EAGAIN || p->server_error == -EAGAIN) && clock_ms() < deadline) {
		if (p->client_error == -EAGAIN)
			p->client_error = ratls_handshake(p->client, 0);
		if (between)
			between(ctx);
		if (p->server_error == -EAGAIN)
			p->server_error = ratls_handshake(p->server, 0);
		if (between)
			between(ctx);
		// Who has failed goes away, as a program's connection would.
		if (p->client_error != -EAGAIN && p->client_error && p->server_error == -EAGAIN)
			shutdown(ratls_fd(p->client), SHUT_WR);
		if (p->server_error != -EAGAIN && p->server_error && p->client_error == -EAGAIN)
			shutdown(ratls_fd(p->server), SHUT_WR);
	}
}

void pair_close(struct pair *p)
{
	ratls_close(p->client, 0);
	ratls_close(p->server, 0);
	p->client = p->server = NULL;
}

bool says(struct ratls_connection *a, struct ratls_connection *b, const char *text)
{
	char buf[256];
	size_t len = strlen(text), got = 0;
	if (ratls_write(a, text, len, 60000) != (ssize_t)len)
		return false;
	while (got < len) {
		ssize_t n = ratls_read(b, buf + got, len - got, 60000);
		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	return !memcmp(buf, text, len);
}
