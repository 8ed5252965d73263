// SPDX-License-Identifier: Apache-2.0
// See engine.h. Routes and their listening sockets, workers' beginning and end, and what changes while they run. engine.lock is held for lists and
// counts only.
#include "tunnel/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "lib/tls.h"
#include "tunnel/flow.h"
#include "tunnel/link.h"
#include "tunnel/listen.h"
#include "tunnel/ohttp_route.h"
#include "tunnel/shares.h"
#include "tunnel/tundev.h"
#include "tunnel/udp.h"
#include "tunnel/worker.h"

#define LOOK_UPS 4
#define WALK_FLOWS 256u	// that are described before others have their turn
#define LOOK_UPS_WAITING 1024

// ---- routes ----

struct route *route_ref(struct route *r)
{
	atomic_fetch_add(&r->refs, 1);
	return r;
}

void route_release(struct route *r)
{
	if (!r || atomic_fetch_sub(&r->refs, 1) > 1)
		return;
	if (r->listener >= 0)
		close(r->listener);
	ohttp_route_stop(r->ohttp, 0, true);
	for (unsigned int i = 0; i < r->fd_count; i++) {
		if (r->fds[i] >= 0)
			close(r->fds[i]);
	}
	free(r->fds);
	tun_close(r);
	ratls_context_free(r->tls);
	route_config_free(r->c);
	free(r->counts);
	free(r);
}

static int make_tls(const struct route_config *c, struct ratls_context **out, struct fault *f)
{
	static const char *const alpn[] = {MUX_ALPN, NULL};
	struct ratls_options o = c->tls;
	struct ratls_error why = {""};
	o.defer = true;
	o.alpn = c->kind == ROUTE_EGRESS || c->mux ? alpn : NULL;
	int err = ratls_context_new(out, &o, &why);
	return err ? fault_set(f, err, "route '%.64s': %.900s", c->name, why.text) : 0;
}

static int route_listen(struct route *r, unsigned int workers, struct fault *f)
{
	struct fault why = {""};
	if (r->c->carry == CARRY_UDP)
		return udp_listen(r, workers, f);
	if (*r->c->tun.device) {
		int err = tun_open(r, workers, f);
		if (err || r->c->carry == CARRY_TUN) {
			snprintf(r->at.text, sizeof r->at.text, "%s", r->c->tun.device);
			return err;
		}
	}
	bool transparent = r->c->kind == ROUTE_INGRESS ? r->c->accept.kind == ACCEPT_TRANSPARENT : r->c->to_original;
	if (r->listener >= 0)	// inherited
		return 0;
	int fd = listen_at(&r->c->listen, r->c->listen_mode, transparent, &r->at, &why);
	if (fd < 0)
		return fault_set(f, fd, "route '%.64s': %.900s", r->c->name, why.text);
	r->listener = fd;
	return 0;
}

// The socket of a route that listens at the same address already: connections that wait in it are not lost.
static int route_inherit(struct route *r, const struct route *from, struct fault *f)
{
	r->listener = fcntl(from->listener, F_DUPFD_CLOEXEC, 0);
	if (r->listener < 0)
		return fault_errno(f, errno, "route '%.64s'", r->c->name);
	r->at = from->at;
	return 0;
}

static void note_port(struct route *r)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)&r->at.sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&r->at.sa;
	r->c->accept.listen_port = in->sin_family == AF_INET ? ntohs(in->sin_port) : in->sin_family == AF_INET6 ? ntohs(in6->sin6_port) : 0;
}

// Takes c over when it succeeds. `old`: routes whose sockets may be inherited.
static int route_new(struct route **out, struct route_config *c, unsigned int workers, struct route *const *old, unsigned int old_count,
	struct fault *f)
{
	struct route *r = calloc(1, sizeof *r);
	const struct route *from = NULL;
	struct fault why = {""};
	*out = NULL;
	if (!r || !(r->counts = aligned_alloc(64, workers * sizeof *r->counts))) {
		free(r);
		return fault_set(f, -ENOMEM, "out of memory");
	}
	memset(r->counts, 0, workers * sizeof *r->counts);
	r->refs = 1;
	r->listener = -1;
	r->c = c;
	for (unsigned int i = 0; i < old_count && !from; i++) {
		if (old[i]->listener >= 0 && !strcmp(old[i]->c->listen.text, c->listen.text) && old[i]->c->accept.kind == c->accept.kind &&
			c->carry == CARRY_STREAMS &&
		    (strcmp(c->listen.text + strlen(c->listen.text) - 2, ":0") || !strcmp(old[i]->c->name, c->name)))
			from = old[i];
	}
	int err = c->ohttp.on ? 0 : make_tls(c, &r->tls, f);
	if (!err)
		err = from ? route_inherit(r, from, f) : 0;
	if (!err)
		err = route_listen(r, workers, f);
	if (!err && c->ohttp.on && (err = ohttp_route_start(&r->ohttp, c, r->listener, &why)))
		fault_set(f, err, "route '%.64s': %.900s", c->name, why.text);
	if (err) {
		r->c = NULL;
		route_release(r);
		return err;
	}
	// Clients inherit it: one that was accepted and nobody has looked at yet is reset as well when this process dies (flow.c has the rest).
	if (r->listener >= 0 && c->kind == ROUTE_INGRESS && !c->ohttp.on)
		setsockopt(r->listener, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1}, sizeof(struct linger));
	note_port(r);
	*out = r;
	return 0;
}

static void say_route(const struct route *r)
{
	char gateway[TARGET_TEXT];
	tunnel_log(TUNNEL_LOG_INFO, "listening", LOG_TEXT("route", r->c->name), LOG_TEXT("kind", r->c->kind == ROUTE_INGRESS ? "ingress" : "egress"),
		   LOG_TEXT("address", r->at.text), LOG_TEXT("connect", r->c->gateway_count ? target_text(&r->c->gateways[0], gateway) : NULL));
	if (r->c->tls.insecure_any_server || r->c->tls.insecure_accept_debug || r->c->tls.insecure_simulated_root)
		tunnel_log(TUNNEL_LOG_WARNING, "this route is INSECURE: it takes peers that prove nothing, or nothing real", LOG_TEXT("route",
			r->c->name));
	const struct ratls_options *o = &r->c->tls;
	if (r->c->kind == ROUTE_EGRESS && !o->attest && !o->token_file && !o->certificate_file)
		tunnel_log(TUNNEL_LOG_WARNING, "this route proves nothing to its clients: it has neither `attest` nor an identity",
			   LOG_TEXT("route", r->c->name));
	if (o->collect)
		tunnel_log(TUNNEL_LOG_WARNING, "this route is INSECURE: it attests by simulated hardware", LOG_TEXT("route", r->c->name));
}

int engine_check(const struct config *c, struct fault *f)
{
	int err = 0;
	for (unsigned int i = 0; !err && i < c->route_count; i++) {
		struct ratls_context *tls = NULL;
		struct fault why = {""};
		if (!c->routes[i]->ohttp.on)
			err = make_tls(c->routes[i], &tls, f);
		else if ((err = ohttp_route_check(c->routes[i], &why)))
			fault_set(f, err, "route '%.64s': %.900s", c->routes[i]->name, why.text);
		ratls_context_free(tls);
	}
	return err;
}

// ---- beginning and end ----

// Each connection is a descriptor on one side, and on the egress side there may be many.
static void raise_file_limit(void)
{
	struct rlimit r;
	if (!getrlimit(RLIMIT_NOFILE, &r) && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

// One for two CPUs: the programs on whose behalf it works need the others, and streams of fewer workers share more records, writes and wake-ups.
static unsigned int default_workers(void)
{
	cpu_set_t set;
	int n = sched_getaffinity(0, sizeof set, &set) ? 1 : (CPU_COUNT(&set) + 1) / 2;
	return n < 1 ? 1 : n > CONFIG_MAX_WORKERS ? CONFIG_MAX_WORKERS : (unsigned int)n;
}

int engine_new(struct engine **out, struct config *c, struct fault *f)
{
	struct engine *e = calloc(1, sizeof *e);
	int err = 0;
	*out = NULL;
	if (!e)
		return fault_set(f, -ENOMEM, "out of memory");
	e->settings = c->settings;
	e->worker_count = c->settings.workers ? c->settings.workers : default_workers();
	e->last_job = &e->jobs;
	e->started_ms = clock_ms();
	pthread_mutex_init(&e->lock, NULL);
	pthread_cond_init(&e->changed, NULL);
	pthread_cond_init(&e->jobs_come, NULL);
	raise_file_limit();
	for (unsigned int i = 0; !err && i < c->route_count; i++) {
		err = route_new(&e->routes[i], c->routes[i], e->worker_count, NULL, 0, f);
		if (!err)
			e->route_count++;
	}
	if (!err && !(e->workers = calloc(e->worker_count, sizeof *e->workers)))
		err = fault_set(f, -ENOMEM, "out of memory");
	if (!err && (err = shares_new(&e->shares)))
		fault_set(f, err, "out of memory");
	if (!err && (err = dial_pool_new(&e->dials, LOOK_UPS, LOOK_UPS_WAITING)))
		fault_set(f, err, "cannot start threads that look names up");
	for (unsigned int i = 0; !err && i < e->worker_count; i++) {
		e->made++;
		err = worker_init(&e->workers[i], e, i);
		if (err)
			fault_errno(f, -err, "cannot set up a worker");
	}
	for (unsigned int i = 0; i < e->route_count; i++)	// whose configurations are ours only if all went well
		c->routes[i] = err ? c->routes[i] : NULL;
	if (!err) {
		c->route_count = 0;
		*out = e;
		return 0;
	}
	for (unsigned int i = 0; i < e->route_count; i++)
		e->routes[i]->c = NULL;
	engine_free(e);
	return err;
}

int engine_start(struct engine *e, struct fault *f)
{
	int err = 0;
	tunnel_log_set(e->settings.log_level, e->settings.log_json);
	for (unsigned int i = 0; i < e->route_count; i++)
		say_route(e->routes[i]);
	for (unsigned int i = 0; i < e->worker_count && !err; i++) {
		for (unsigned int k = 0; k < e->route_count && !err; k++)
			err = lane_new(&e->workers[i], e->routes[k]);
		if (!err && !(err = worker_start(&e->workers[i]))) {
			e->started++;
			e->running++;
		}
	}
	if (err)
		fault_errno(f, -err, "cannot start a worker");
	return err;
}

// ---- changes ----

// Of each worker once; whoever asks waits until all have answered.
struct ask {
	struct message message;
	struct engine *e;
	unsigned int *left;
	struct route *const *routes;	// the whole list from now on
	unsigned int route_count;
	const struct settings *settings;	// as well
	unsigned int changes;
	bool stop;
	json_t *links, *flows;		// status
	bool connections, walks;
};

static void answered(struct ask *a)
{
	pthread_mutex_lock(&a->e->lock);
	--*a->left;
	pthread_cond_broadcast(&a->e->changed);
	pthread_mutex_unlock(&a->e->lock);
}

static void apply_routes(struct worker *w, struct message *m)
{
	struct ask *a = list_entry(m, struct ask, message);
	bool has[CONFIG_MAX_ROUTES] = {false};
	w->settings = *a->settings;
	w->changes = a->changes;
	list_each_safe(n, &w->lanes) {
		struct lane *l = list_entry(n, struct lane, node);
		bool stays = false;
		for (unsigned int i = 0; i < a->route_count; i++) {
			stays |= a->routes[i] == l->r;
			has[i] |= a->routes[i] == l->r;
		}
		if (!stays)
			lane_retire(l);
	}
	for (unsigned int i = 0; i < a->route_count; i++) {
		if (!has[i] && lane_new(w, a->routes[i]))
			tunnel_log(TUNNEL_LOG_ERROR, "a worker cannot take the route", LOG_TEXT("route", a->routes[i]->c->name));
	}
	w->stopping |= a->stop;
	answered(a);
}

static void ask_all(struct engine *e, struct ask *asks, void (*run)(struct worker *, struct message *))
{
	unsigned int left = e->worker_count;
	for (unsigned int i = 0; i < e->worker_count; i++) {
		asks[i].e = e;
		asks[i].left = &left;
		asks[i].message.run = run;
		if (!worker_post(&e->workers[i], &asks[i].message))
			answered(&asks[i]);
	}
	pthread_mutex_lock(&e->lock);
	while (left)
		pthread_cond_wait(&e->changed, &e->lock);
	pthread_mutex_unlock(&e->lock);
}

static void set_routes(struct engine *e, struct route *const *routes, unsigned int count, bool stop)
{
	struct ask asks[CONFIG_MAX_WORKERS];
	unsigned int changes = atomic_fetch_add(&e->changes, 1) + 1;
	for (unsigned int i = 0; i < e->worker_count; i++)
		asks[i] = (struct ask){.routes = routes, .route_count = count, .settings = &e->settings, .changes = changes, .stop = stop};
	ask_all(e, asks, apply_routes);
}

// Of a route whose lanes are retired: who connects while its last connections end is refused at once, and the address is free for another.
static void close_listener(const struct engine *e, struct route *r)
{
	bool goes_on = false;
	if (r->listener < 0 || r->ohttp)
		return;
	for (unsigned int i = 0; i < e->route_count; i++)	// an heir has a descriptor of its own of the same socket
		goes_on |= e->routes[i] != r && !strcmp(e->routes[i]->at.text, r->at.text);
	if (!goes_on)
		listen_forget(&r->at);
	close(r->listener);
	r->listener = -1;
}

int engine_reload(struct engine *e, struct config *c, struct fault *f)
{
	struct route *new[CONFIG_MAX_ROUTES], *old[CONFIG_MAX_ROUTES];
	bool taken[CONFIG_MAX_ROUTES] = {false};
	unsigned int count = 0, old_count = e->route_count, same = 0;
	int err = 0;
	for (; !err && count < c->route_count; count++) {
		struct route *keep = NULL;
		for (unsigned int i = 0; i < e->route_count && !keep; i++)
			keep = memcmp(e->routes[i]->c->digest, c->routes[count]->digest, 32) ? NULL : e->routes[i];
		same += keep != NULL;
		if (keep)
			new[count] = route_ref(keep);
		else if ((err = route_new(&new[count], c->routes[count], e->worker_count, e->routes, e->route_count, f)))
			break;
		else
			taken[count] = true;
	}
	if (err) {
		for (unsigned int i = 0; i < count; i++) {
			if (taken[i])
				new[i]->c = NULL;	// the caller's still
			route_release(new[i]);
		}
		e->failed_reloads++;
		return err;
	}
	for (unsigned int i = 0; i < count; i++) {
		if (taken[i]) {
			c->routes[i] = NULL;
			say_route(new[i]);
		}
	}
	if (c->settings.workers != e->settings.workers || strcmp(c->settings.admin.text, e->settings.admin.text))
		tunnel_log(TUNNEL_LOG_WARNING, "`workers` and `admin` change with a restart only");
	c->settings.workers = e->settings.workers;
	c->settings.admin = e->settings.admin;
	e->settings = c->settings;
	tunnel_log_set(e->settings.log_level, e->settings.log_json);
	pthread_mutex_lock(&e->lock);
	memcpy(old, e->routes, sizeof old);
	memcpy(e->routes, new, sizeof new);
	e->route_count = count;
	pthread_mutex_unlock(&e->lock);
	set_routes(e, e->routes, count, false);
	for (unsigned int i = 0; i < old_count; i++) {
		bool stays = false;
		for (unsigned int k = 0; k < count; k++)
			stays |= e->routes[k] == old[i];
		if (!stays)
			close_listener(e, old[i]);
		if (atomic_load(&old[i]->refs) == 1) {	// it is in the new list no more
			ohttp_route_stop(old[i]->ohttp, e->settings.drain_ms, false);
			old[i]->ohttp = NULL;
		}
		route_release(old[i]);
	}
	e->reloads++;
	tunnel_log(TUNNEL_LOG_INFO, "reloaded", LOG_NUMBER("routes", count), LOG_NUMBER("unchanged", same));
	return 0;
}

void engine_stop(struct engine *e, unsigned int drain_ms)
{
	atomic_store(&e->draining, true);
	e->settings.drain_ms = drain_ms;
	tunnel_log(TUNNEL_LOG_INFO, "stopping", LOG_NUMBER("connections", atomic_load(&e->connections)), LOG_NUMBER("drain_ms", drain_ms));
	set_routes(e, NULL, 0, true);
	for (unsigned int i = 0; i < e->route_count; i++)
		close_listener(e, e->routes[i]);
}

bool engine_wait(struct engine *e, int timeout_ms)
{
	struct timespec until;
	int err = 0;
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += timeout_ms % 1000 * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	pthread_mutex_lock(&e->lock);
	while (e->running && !err)
		err = timeout_ms < 0 ? pthread_cond_wait(&e->changed, &e->lock) : pthread_cond_timedwait(&e->changed, &e->lock, &until);
	bool over = !e->running;
	pthread_mutex_unlock(&e->lock);
	return over;
}

void engine_free(struct engine *e)
{
	if (!e)
		return;
	for (unsigned int i = 0; i < e->started; i++)
		pthread_join(e->workers[i].thread, NULL);
	pthread_mutex_lock(&e->lock);
	e->no_more_jobs = true;
	pthread_cond_broadcast(&e->jobs_come);
	pthread_mutex_unlock(&e->lock);
	for (unsigned int i = 0; i < e->helpers; i++)
		pthread_join(e->helper_threads[i], NULL);
	for (unsigned int i = 0; i < e->made; i++)
		worker_end(&e->workers[i]);
	if (e->dials)
		dial_pool_free(e->dials);
	for (unsigned int i = 0; i < e->route_count; i++) {
		ohttp_route_stop(e->routes[i]->ohttp, e->settings.drain_ms, true);
		e->routes[i]->ohttp = NULL;
		if (e->routes[i]->listener >= 0)	// else it may be another's by now
			listen_forget(&e->routes[i]->at);
		route_release(e->routes[i]);
	}
	shares_free(e->shares);
	free(e->workers);
	pthread_cond_destroy(&e->changed);
	pthread_cond_destroy(&e->jobs_come);
	pthread_mutex_destroy(&e->lock);
	free(e);
}

// ---- status ----

// The next piece of all flows: a worker has others to serve meanwhile. One look at a time.
static void describe_flows(struct worker *w, struct message *m)
{
	struct ask *a = list_entry(m, struct ask, message);
	unsigned int n = 0;
	if (!a->walks && w->walk_lane) {
		if (!worker_post(w, m))
			answered(a);
		return;
	}
	struct list_node *lane = a->walks ? NULL : w->lanes.next;
	a->walks = true;
	for (;;) {
		if (!w->walk_lane) {
			if (lane == &w->lanes)
				break;
			w->walk_lane = list_entry(lane, struct lane, node);
			lane_use(w->walk_lane);	// which keeps it in the list
			w->walk = w->walk_lane->flows.next;
		}
		struct lane *l = w->walk_lane;
		for (; w->walk != &l->flows && n < WALK_FLOWS; w->walk = w->walk->next, n++)
			json_array_append_new(a->flows, flow_describe(list_entry(w->walk, struct flow, node)));
		if (w->walk != &l->flows)
			break;
		lane = l->node.next;
		w->walk_lane = NULL;
		w->walk = NULL;
		lane_leave(l);
	}
	if (w->walk_lane && worker_post(w, m))
		return;
	if (w->walk_lane)
		lane_leave(w->walk_lane);
	w->walk_lane = NULL;
	w->walk = NULL;
	answered(a);
}

static void describe(struct worker *w, struct message *m)
{
	struct ask *a = list_entry(m, struct ask, message);
	list_each(n, &w->lanes) {
		struct lane *l = list_entry(n, struct lane, node);
		list_each(k, &l->links)
			json_array_append_new(a->links, link_describe(list_entry(k, struct link, node)));
		if (l->r->c->kind == ROUTE_INGRESS && !l->link && l->error && !l->gone)
			json_array_append_new(a->links, json_pack("{s:s, s:s, s:s, s:s, s:I}", "route", l->r->c->name, "state", "failed", "error",
				strerrorname_np(-l->error), "reason", l->reason, "retry_ms",
				(json_int_t)(l->retry_at_ms > w->now_ms ? l->retry_at_ms - w->now_ms : 0)));
	}
	if (!a->connections) {
		answered(a);
		return;
	}
	a->message.run = describe_flows;
	describe_flows(w, m);
}

static json_t *describe_route(const struct engine *e, const struct route *r)
{
	static const char *const names[] = {
		[COUNT_ACCEPTED] = "connections_total", [COUNT_REFUSED] = "connections_refused_total",
			[COUNT_OVER_LIMIT] = "connections_over_limit_total",
		[COUNT_OPEN] = "connections_open", [COUNT_BYTES_IN] = "bytes_in_total", [COUNT_BYTES_OUT] = "bytes_out_total",
		[COUNT_LINKS] = "attested_total", [COUNT_LINKS_OPEN] = "attested_open", [COUNT_LINKS_FAILED] = "attested_failed_total",
		[COUNT_PEERS_REFUSED] = "peers_refused_total", [COUNT_REFUSED_BY_PEER] = "refused_by_peer_total",
			[COUNT_LINKS_LOST] = "attested_lost_total",
		[COUNT_DROPPED] = "datagrams_dropped_total",
	};
	char gateway[TARGET_TEXT];
	json_t *o = json_pack("{s:s, s:s, s:s}", "name", r->c->name, "kind", r->c->kind == ROUTE_INGRESS ? "ingress" : "egress", "listen",
		r->at.text);
	if (o && r->c->ohttp.url)
		json_object_set_new(o, "connect", json_string(r->c->ohttp.url));
	if (o && r->c->gateway_count)
		json_object_set_new(o, "connect", json_string(target_text(&r->c->gateways[0], gateway)));
	for (unsigned int i = 0; o && i < COUNTS; i++) {
		unsigned long long sum = 0;
		for (unsigned int k = 0; k < e->worker_count; k++)
			sum += atomic_load_explicit(&r->counts[k].n[i], memory_order_relaxed);
		json_object_set_new(o, names[i], json_integer((json_int_t)sum));
	}
	if (o && r->ohttp)
		ohttp_route_describe(r->ohttp, o);
	return o;
}

json_t *engine_counts(struct engine *e)
{
	json_t *routes = json_array();
	pthread_mutex_lock(&e->lock);
	for (unsigned int i = 0; i < e->route_count; i++)
		json_array_append_new(routes, describe_route(e, e->routes[i]));
	pthread_mutex_unlock(&e->lock);
	return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "state", atomic_load(&e->draining) ? "draining" : "running", "uptime_seconds",
			 (json_int_t)(clock_ms() - e->started_ms) / 1000, "workers", (json_int_t)e->worker_count, "connections",
			 (json_int_t)atomic_load(&e->connections), "reloads", (json_int_t)e->reloads, "failed_reloads", (json_int_t)e->failed_reloads,
			 "routes", routes);
}

json_t *engine_status(struct engine *e, bool connections)
{
	struct ask asks[CONFIG_MAX_WORKERS];
	json_t *o = engine_counts(e), *links = json_array(), *flows = json_array();
	for (unsigned int i = 0; i < e->worker_count; i++)
		asks[i] = (struct ask){.links = json_array(), .flows = json_array(), .connections = connections};
	ask_all(e, asks, describe);
	for (unsigned int i = 0; i < e->worker_count; i++) {
		json_array_extend(links, asks[i].links);
		json_array_extend(flows, asks[i].flows);
		json_decref(asks[i].links);
		json_decref(asks[i].flows);
	}
	json_object_set_new(o, "attested", links);
	if (connections)
		json_object_set_new(o, "table", flows);
	else
		json_decref(flows);
	return o;
}
