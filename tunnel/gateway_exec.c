// SPDX-License-Identifier: Apache-2.0
// See gateway_exec.h. No locks of its own.
#include "tunnel/gateway_exec.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

#include "tunnel/engine.h"
#include "tunnel/exec.h"

#define DRAIN_MS 1000	// for the attested connections to be closed in order; the program has ended, and with it its own

// Leaves the one route that is meant.
static int choose(struct config *c, const char *name, struct hook *hook, struct fault *f)
{
	struct route_config *r = NULL;
	unsigned int ingress = 0, at = 0;
	for (unsigned int i = 0; i < c->route_count; i++) {
		if (c->routes[i]->kind != ROUTE_INGRESS || (name && strcmp(c->routes[i]->name, name)))
			continue;
		ingress++;
		at = i;
	}
	if (ingress != 1 && name)
		return fault_set(f, -EINVAL, "there is no ingress route '%.64s'", name);
	if (ingress != 1)
		return fault_set(f, -EINVAL, ingress ? "there are several ingress routes: say which with --name" : "there is no ingress route");
	r = c->routes[at];
	if (!r->mux)
		return fault_set(f, -EINVAL, "route '%.64s': mux: false leads to one destination, and programs name theirs", r->name);
	for (unsigned int i = 0; i < c->route_count; i++) {
		if (i != at)
			route_config_free(c->routes[i]);
	}
	c->routes[0] = r;
	c->route_count = 1;
	r->accept = (struct accept_options){.kind = ACCEPT_HOOK, .hook = hook};
	c->settings.admin.len = 0;
	return config_address_parse(&r->listen, "127.0.0.1:0", f);
}

int gateway_exec(const char *path, const char *route, char *const *argv, int *status, struct fault *f)
{
	struct config *c = NULL;
	struct engine *engine = NULL;
	struct exec *e;
	int err = exec_new(&e, argv, f);	// before there is any thread
	if (err)
		return err;
	signal(SIGPIPE, SIG_IGN);
	err = tunnel_config_load(&c, path, f);
	if (!err)
		err = choose(c, route, exec_hook(e), f);
	if (!err) {
		// The terminal is the program's: what is not wrong is not said.
		if (c->settings.log_level == TUNNEL_LOG_INFO)
			c->settings.log_level = TUNNEL_LOG_WARNING;
		err = engine_new(&engine, c, f);
	}
	tunnel_config_free(c);
	if (!err)
		err = engine_start(engine, f);
	if (!err) {
		err = exec_run(e, (const struct sockaddr_in *)&engine->routes[0]->at.sa, status, f);
		engine_stop(engine, DRAIN_MS);
		engine_wait(engine, 2000);
	}
	if (engine && engine_wait(engine, 0)) {
		engine_free(engine);
		exec_free(e);
	}	// else threads are still at work, and go with the process
	return err;
}
