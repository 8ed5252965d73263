// SPDX-License-Identifier: Apache-2.0
// See gateway.h. One lock: of reloads, which come from signals and from the administration.
#include "tunnel/gateway.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tunnel/admin.h"
#include "tunnel/engine.h"

#define LAST_WAIT_MS 5000	// beyond drain_ms, for what is cut off to be gone

struct gateway {
	const char *path;
	struct engine *engine;
	pthread_mutex_t lock;
};

static int reload(void *ctx, struct fault *f)
{
	struct gateway *g = ctx;
	struct config *c;
	pthread_mutex_lock(&g->lock);
	int err = atomic_load(&g->engine->draining) ? fault_set(f, -ESHUTDOWN, "the gateway is stopping") : tunnel_config_load(&c, g->path, f);
	if (!err) {
		err = engine_reload(g->engine, c, f);
		tunnel_config_free(c);
	} else {
		atomic_fetch_add(&g->engine->failed_reloads, 1);
	}
	pthread_mutex_unlock(&g->lock);
	if (err)
		tunnel_log(TUNNEL_LOG_ERROR, "not reloaded: the configuration of before stays in force", LOG_TEXT("reason", f->text));
	return err;
}

// A service manager that waits for it is told (sd_notify(3), by hand: a datagram).
static void tell_manager(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	size_t n = path ? strlen(path) : 0;
	if (!n || n >= sizeof un.sun_path || (*path != '/' && *path != '@'))
		return;
	memcpy(un.sun_path, path, n);
	if (*path == '@')
		un.sun_path[0] = '\0';
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&un, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	close(fd);
}

// Until it is to end.
static void serve(struct gateway *g, const sigset_t *signals)
{
	for (;;) {
		struct fault why = {""};
		int n = 0;
		if (sigwait(signals, &n))
			continue;
		if (n == SIGTERM || n == SIGINT)
			return;
		reload(g, &why);
	}
}

static void end(struct gateway *g, const sigset_t *signals)
{
	struct timespec now = {0};
	unsigned int drain_ms = g->engine->settings.drain_ms;
	tell_manager("STOPPING=1");
	pthread_mutex_lock(&g->lock);
	engine_stop(g->engine, drain_ms);
	pthread_mutex_unlock(&g->lock);
	for (unsigned int waited = 0; !engine_wait(g->engine, 100) && waited < drain_ms + LAST_WAIT_MS; waited += 100) {
		int n = sigtimedwait(signals, NULL, &now);
		if (n == SIGTERM || n == SIGINT) {
			tunnel_log(TUNNEL_LOG_WARNING, "stopped at once: connections are cut off", LOG_NUMBER("connections",
				atomic_load(&g->engine->connections)));
			return;
		}
	}
	tunnel_log(TUNNEL_LOG_INFO, "stopped");
}

int gateway_check(const char *path, struct fault *f)
{
	struct config *c;
	int err = tunnel_config_load(&c, path, f);
	if (err)
		return err;
	err = engine_check(c, f);
	tunnel_config_free(c);
	return err;
}

int gateway_run(const char *path, struct fault *f)
{
	struct gateway g = {.path = path, .lock = PTHREAD_MUTEX_INITIALIZER};
	struct admin *admin = NULL;
	struct config *c;
	sigset_t signals;
	int err = tunnel_config_load(&c, path, f);
	if (err)
		return err;
	tunnel_log_set(c->settings.log_level, c->settings.log_json);
	// Threads inherit the mask: signals come to sigwait alone.
	sigemptyset(&signals);
	sigaddset(&signals, SIGHUP);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	signal(SIGPIPE, SIG_IGN);
	err = engine_new(&g.engine, c, f);
	tunnel_config_free(c);
	if (err)
		return err;
	const struct admin_options o = {.engine = g.engine, .at = &g.engine->settings.admin, .reload = reload, .ctx = &g};
	if (o.at->len)
		err = admin_start(&admin, &o, f);
	if (!err)
		err = engine_start(g.engine, f);
	if (!err) {
		tell_manager("READY=1");
		serve(&g, &signals);
		end(&g, &signals);
	}
	admin_stop(admin);
	if (engine_wait(g.engine, 0))	// else threads are still at work, and go with the process
		engine_free(g.engine);
	return err;
}
