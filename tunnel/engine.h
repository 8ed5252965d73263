// SPDX-License-Identifier: Apache-2.0
// The gateway's engine: worker threads, each with an epoll set, timers and objects of its own. A connection lives in one worker from its beginning to
// its end,
// so that what belongs to it needs no lock. Others speak to a worker by messages (worker_post). What blocks goes to helper threads and comes back as
// a message.
//
//	engine ── route (shared, immutable, counted)         one for each route of the file
//	   └── worker ── lane                                a route in a worker: its listener's registration, its attested connections, its back-off
//	            └── lane ── link ── flow, flow, flow     link.h: an attested connection; flow.h: one client connection
#ifndef COFFER_TUNNEL_ENGINE_H
#define COFFER_TUNNEL_ENGINE_H

#include <jansson.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "ratls/ratls.h"
#include "tunnel/config.h"
#include "tunnel/crowd.h"
#include "tunnel/dial.h"
#include "tunnel/list.h"
#include "tunnel/splice.h"
#include "tunnel/timer.h"

#define WORKER_BUFFER (8 * 16384 - 4)	// what ratls makes one frame of, and eight full records

struct engine;
struct shares;
struct worker;
struct lane;

// ---- what an event loop waits for ----

// Something with a descriptor in a worker's epoll set.
struct source {
	int fd;
	void (*event)(struct source *s, uint32_t events);
};

// From another thread to a worker; the sender's memory until `run` is called, in the worker.
struct message {
	struct message *next;
	void (*run)(struct worker *w, struct message *m);
};

// A piece of work for a helper thread: work() there, then done() in the worker that asked.
struct job {
	struct message message;	// the engine's
	struct worker *worker;
	void (*work)(struct job *j);
	void (*done)(struct job *j);
	struct job *next;
};

// ---- counters: of a route in a worker, written by that worker only ----

enum count {
	COUNT_ACCEPTED,		// plain clients (ingress) or streams of peers (egress) that began
	COUNT_REFUSED,		// of these: not served, for whatever reason
	COUNT_OVER_LIMIT,	// closed unserved: `limits`
	COUNT_OPEN,		// now
	COUNT_BYTES_IN,		// from plain sockets into the tunnel
	COUNT_BYTES_OUT,	// from the tunnel to plain sockets
	COUNT_LINKS,		// attested connections that were established
	COUNT_LINKS_OPEN,	// now
	COUNT_LINKS_FAILED,	// that were not, for reasons of the network
	COUNT_PEERS_REFUSED,	// whose far end did not prove what this side asks
	COUNT_REFUSED_BY_PEER,	// whose far end refused this side
	COUNT_LINKS_LOST,	// that were established and broke
	COUNT_DROPPED,		// datagrams and packets that found no room, or may not pass
	COUNTS,
};

struct counts {
	_Alignas(64) atomic_ullong n[COUNTS];
};

struct route {
	atomic_uint refs;
	struct route_config *c;		// its own
	struct ratls_context *tls;
	int listener;
	struct config_address at;	// as bound
	struct ohttp_route *ohttp;	// it serves itself; NULL: workers do
	int *fds;			// of datagrams, packets: one for each worker, which may close its own; -1 then
	unsigned int fd_count;
	struct tun_shared *tun;		// of an egress route with a TUN device
	struct counts *counts;		// one for each worker
};

struct route *route_ref(struct route *r);
void route_release(struct route *r);

// ---- workers ----

struct lane {
	struct list_node node;		// worker.lanes
	struct worker *w;
	struct route *r;
	struct source accept;
	bool accepting;
	struct list_node links;		// all of this route's in this worker
	struct list_node flows;
	struct udp_lane *udp;		// NULL: streams of bytes
	struct tun_lane *tun;		// NULL: no packets
	struct list_node waiting;	// flows, for the next try to reach the far gateway
	unsigned int users;		// links and flows
	bool gone;			// its route is no longer in the file: freed when the last user has gone

	// Of an ingress route: the way to the far gateway.
	struct link *link;		// that new streams go to; NULL: none yet
	struct timer retry;		// when the next try is due; of a lane that is gone: when its users are cut off
	int64_t retry_at_ms;
	unsigned int back_off_ms, gateway;	// which gateway is tried next
	int error;			// why the last try failed
	char reason[256];

	int64_t quiet_until_ms[2];	// of an egress route: when a server that cannot be reached, a client that was refused, is news again
};

struct worker {
	struct engine *e;
	struct settings settings;	// as of the last reload that it has heard of
	unsigned int changes;		// engine.changes, of that one
	unsigned int index;
	pthread_t thread;
	int epoll;
	struct source wake, alarm, inbox_source;
	int64_t alarm_ms;		// when `alarm` will be ready; INT64_MAX: it is not set
	pthread_mutex_t lock;		// of the next
	struct message *first, **last;
	bool awake, ended;		// a message is on its way already; nobody reads them any more
	struct timers timers;
	int64_t now_ms;			// of this turn
	struct crowd crowd;
	struct dial_inbox *inbox;
	struct list_node lanes;
	struct lane *walk_lane;		// of a look at all flows (engine_status), in pieces: where it is; NULL: none is under way
	struct list_node *walk;		// the next flow of that lane
	struct list_node dirty;		// links with something to do before the next wait
	struct list_node dead_links, dead_flows, dead_carriers, dead_lanes;	// freed at the end of the turn
	atomic_uint load;		// connections here; other workers read it to give theirs away
	uint8_t *buffer;		// WORKER_BUFFER bytes for whoever runs: what came
	uint8_t *out_buffer;		// WORKER_BUFFER bytes: what goes
	size_t kept;			// bytes for slow readers, of all links
	int spare;			// a descriptor kept for when there is no other
	struct splice_spare pipe;
	bool stopping;
};

// May be called from the worker's own thread only, but for worker_post.
int worker_watch(struct worker *w, struct source *s, uint32_t events);
int worker_watch_for(struct worker *w, struct source *s, uint32_t events);	// other events from now on
void worker_unwatch(struct worker *w, struct source *s);	// before its descriptor is closed
bool worker_post(struct worker *w, struct message *m);		// false: its thread has ended
int worker_help(struct worker *w, struct job *j);		// -ENOMEM, -EAGAIN: there are no threads

static inline void lane_count(struct lane *l, enum count which, long long by)
{
	atomic_ullong *n = &l->r->counts[l->w->index].n[which];
	atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + (unsigned long long)by, memory_order_relaxed);
}

void lane_use(struct lane *l);
// A connection of the route's begins: the lane is used, and it is counted.
static inline void lane_enter(struct lane *l)
{
	lane_use(l);
	lane_count(l, COUNT_ACCEPTED, 1);
	lane_count(l, COUNT_OPEN, 1);
}
void lane_leave(struct lane *l);	// may free it at the end of the turn

// ---- the engine ----

struct engine {
	struct settings settings;	// of the thread that starts, reloads and stops it; workers have their own
	unsigned int worker_count;
	struct worker *workers;
	struct dial_pool *dials;
	pthread_mutex_t lock;		// of routes and what helpers wait for
	pthread_cond_t changed, jobs_come;
	struct route *routes[CONFIG_MAX_ROUTES];
	unsigned int route_count;
	struct job *jobs, **last_job;
	unsigned int helpers, idle_helpers;
	pthread_t helper_threads[16];
	bool no_more_jobs;
	atomic_uint connections;	// clients and peers, of all workers
	atomic_uint datagrams;		// of these: clients and destinations of datagrams
	struct shares *shares;		// of `handshakes`, by peers' addresses
	atomic_uint changes;		// how often the routes were changed
	atomic_uint handshakes;		// under way
	atomic_bool draining;
	unsigned int made, started;	// workers that were set up; whose threads were started
	unsigned int running;		// threads of workers; lock
	int64_t started_ms;
	atomic_uint reloads, failed_reloads;
};

// Reads nothing: `c` (whose routes are taken over when this succeeds) says it all. Listens; no thread yet. -EADDRINUSE, -EACCES, -EINVAL...
int engine_new(struct engine **out, struct config *c, struct fault *f);
int engine_start(struct engine *e, struct fault *f);
// Routes that are the same go on as they are, with their connections; those that are not end as engine_stop would end them. Either all or nothing is
// taken over.
int engine_reload(struct engine *e, struct config *c, struct fault *f);
// Takes no new connections; ends when the last is over, after drain_ms at the latest.
void engine_stop(struct engine *e, unsigned int drain_ms);
bool engine_wait(struct engine *e, int timeout_ms);	// until it has stopped
void engine_free(struct engine *e);

// `coffer tunnel run --check`: makes what can be made of a configuration without listening.
int engine_check(const struct config *c, struct fault *f);

// What is known now, for admin.c, as JSON; NULL without memory. Counts alone; with what each worker says.
json_t *engine_counts(struct engine *e);
json_t *engine_status(struct engine *e, bool connections);

#endif
