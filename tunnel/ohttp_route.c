// SPDX-License-Identifier: Apache-2.0
// See ohttp_route.h. The services copy what they need of their options, but for `tls`, which they read when they start.
#include "tunnel/ohttp_route.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>

#include "ratls/judge.h"
#include "ratls/self.h"
#include "tunnel/ohttp_gateway.h"

struct ohttp_route {
	struct ohttp_egress *egress;	// one of the two
	struct ohttp_ingress *ingress;
	unsigned int drain_ms;
};

int ohttp_route_start(struct ohttp_route **out, const struct route_config *c, int listener, struct fault *f)
{
	const struct config_ohttp *h = &c->ohttp;
	struct ohttp_route *r = calloc(1, sizeof *r);
	char to[TARGET_TEXT];
	int fd = r ? fcntl(listener, F_DUPFD_CLOEXEC, 0) : -1, err = r ? 0 : -ENOMEM;
	*out = NULL;
	if (fd < 0) {
		err = err ? err : -errno;
		free(r);
		return fault_errno(f, -err, "no socket for OHTTP");
	}
	if (c->kind == ROUTE_EGRESS) {
		const struct ohttp_egress_options o = {
			.listener = fd, .to = c->to_unix ? c->to_path.text : target_text(&c->to, to), .path = h->path, .tls = &c->tls,
			.origins = h->origins, .rotate_s = h->rotate_s, .overlap_s = h->overlap_s, .evidence_per_s = h->evidence_per_s,
			.seed_file = h->seed_file, .max_body = (size_t)h->max_body_mib << 20, .answer_ms = h->answer_s * 1000,
			.pad_bytes = h->pad_bytes,
		};
		err = ohttp_egress_start(&r->egress, &o, f);
	} else {
		const struct ohttp_ingress_options o = {
			.listener = fd, .url = h->url, .ca_file = h->ca_file, .tls = &c->tls, .authority = h->authority, .scheme = h->scheme,
			.whole = h->whole, .refresh_s = h->refresh_s, .max_body = (size_t)h->max_body_mib << 20, .answer_ms = h->answer_s * 1000,
			.pad_bytes = h->pad_bytes,
		};
		err = ohttp_ingress_start(&r->ingress, &o, f);
	}
	if (err)
		free(r);
	else
		*out = r;
	return err;
}

static void *stop(void *arg)
{
	struct ohttp_route *r = arg;
	ohttp_egress_stop(r->egress, r->drain_ms);
	ohttp_ingress_stop(r->ingress, r->drain_ms);
	free(r);
	return NULL;
}

void ohttp_route_stop(struct ohttp_route *r, unsigned int drain_ms, bool wait)
{
	pthread_t thread;
	if (!r)
		return;
	r->drain_ms = drain_ms;
	if (!wait && !pthread_create(&thread, NULL, stop, r))
		pthread_detach(thread);
	else
		stop(r);
}

int ohttp_route_check(const struct route_config *c, struct fault *f)
{
	struct judge *j = NULL;
	struct self *s = NULL;
	int err = 0;
	if (c->kind == ROUTE_EGRESS)
		err = self_open(&s, &c->tls, f);
	else if (c->tls.verify)
		err = judge_open(&j, &c->tls, f);
	self_close(s);
	judge_close(j);
	return err;
}

static void put(json_t *o, const char *name, unsigned long long n)
{
	json_object_set_new(o, name, json_integer((json_int_t)n));
}

void ohttp_route_describe(struct ohttp_route *r, json_t *o)
{
	struct ohttp_counts c = {0};
	if (r->egress)
		ohttp_egress_counts(r->egress, &c);
	else
		ohttp_ingress_counts(r->ingress, &c);
	put(o, "connections_open", c.open);
	put(o, "ohttp_requests_total", c.requests);
	put(o, "ohttp_refused_total", c.refused);
	put(o, "ohttp_replayed_total", c.replayed);
	put(o, "ohttp_keys_total", c.documents);
	put(o, "ohttp_failed_total", c.failed);
}
