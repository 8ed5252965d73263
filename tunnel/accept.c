// SPDX-License-Identifier: Apache-2.0
// See accept.h: one face for all ways in. No locks.
#include "tunnel/accept.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tunnel/acceptor.h"
#include "tunnel/hook.h"
#include "tunnel/transparent.h"

struct acceptor *accept_new(const struct accept_options *o)
{
	struct acceptor *a = calloc(1, sizeof *a);
	if (a) {
		a->o = o;
		a->reason = "the client left before it said where it wants to go";
	}
	return a;
}

void accept_free(struct acceptor *a)
{
	if (!a)
		return;
	if (a->o->kind == ACCEPT_HOOK && a->step == ACCEPT_TARGET && !a->told)	// somebody waits for word
		hook_tell(a->o->hook, a->ticket, -ECONNABORTED);
	proxy_message_free(a->http);
	free(a);
}

void accept_say(struct acceptor *a, const void *bytes, size_t n)
{
	if (a->out_at == a->out_len)
		a->out_at = a->out_len = 0;
	if (n > sizeof a->out - a->out_len)
		n = sizeof a->out - a->out_len;
	memcpy(a->out + a->out_len, bytes, n);
	a->out_len += n;
}

enum accept_step accept_refuse(struct acceptor *a, const char *reason)
{
	a->reason = reason;
	return a->step = ACCEPT_REFUSED;
}

enum accept_step accept_begin(struct acceptor *a, int fd)
{
	int err;
	switch (a->o->kind) {
	case ACCEPT_SOCKS5:
	case ACCEPT_HTTP:
	case ACCEPT_HOOK:
		return a->step = ACCEPT_MORE;
	case ACCEPT_TRANSPARENT:
		err = transparent_target(fd, a->o->listen_port, &a->target);
		if (err)
			return accept_refuse(a, err == -ELOOP ? "the connection was made to the gateway itself, not redirected to it" :
						"it cannot be known where the connection was meant to go");
		break;
	case ACCEPT_MAPPING:
		break;
	}
	return a->step = ACCEPT_TARGET;
}

static enum accept_step hook_input(struct acceptor *a, const uint8_t *bytes, size_t n, size_t *used)
{
	if (n < HOOK_TICKET)
		return ACCEPT_MORE;
	if (!hook_redeem(a->o->hook, bytes, &a->target, &a->ticket))
		return accept_refuse(a, "a connection of another program than the one that was started");
	*used = HOOK_TICKET;
	return ACCEPT_TARGET;
}

enum accept_step accept_input(struct acceptor *a, const uint8_t *bytes, size_t n, size_t *used)
{
	*used = 0;
	if (a->step != ACCEPT_MORE)
		return a->step;
	switch (a->o->kind) {
	case ACCEPT_HTTP: return a->step = proxy_input(a, bytes, n, used);
	case ACCEPT_HOOK: return a->step = hook_input(a, bytes, n, used);
	default: return a->step = socks_input(a, bytes, n, used);
	}
}

const char *accept_reason(const struct acceptor *a)
{
	return a->reason;
}

const struct target *accept_target(const struct acceptor *a)
{
	return &a->target;
}

const char *accept_user(const struct acceptor *a)
{
	return a->user[0] ? a->user : NULL;
}

enum accept_step accept_connected(struct acceptor *a, int error, const struct sockaddr *bound)
{
	if (a->step != ACCEPT_TARGET && a->step != ACCEPT_UDP)
		return a->step;
	if (error)
		a->reason = "the destination was not reached";
	if (a->o->kind == ACCEPT_HOOK) {
		hook_tell(a->o->hook, a->ticket, error);
		a->told = true;
	}
	switch (a->o->kind) {
	case ACCEPT_SOCKS5: return a->step = socks_connected(a, error, bound);
	case ACCEPT_HTTP: return a->step = proxy_connected(a, error);
	default: return a->step = error ? ACCEPT_REFUSED : ACCEPT_OPEN;
	}
}

const uint8_t *accept_output(const struct acceptor *a, size_t *n)
{
	*n = a->out_len - a->out_at;
	return a->out + a->out_at;
}

void accept_sent(struct acceptor *a, size_t n)
{
	a->out_at += n;
}

bool accept_filters(const struct acceptor *a)
{
	return a->http;
}

int accept_up(struct acceptor *a, const uint8_t *in, size_t n, size_t *used, uint8_t *out, size_t size, size_t *made)
{
	return proxy_up(a->http, in, n, used, out, size, made);
}

size_t accept_down_end(struct acceptor *a, uint8_t *out)
{
	return proxy_down_end(a->http, out);
}

int accept_down(struct acceptor *a, const uint8_t *in, size_t n, size_t *used, uint8_t *out, size_t size, size_t *made)
{
	return proxy_down(a->http, in, n, used, out, size, made);
}
