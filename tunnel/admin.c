// SPDX-License-Identifier: Apache-2.0
// See admin.h.
#include "tunnel/admin.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "lib/http_server.h"
#include "tunnel/listen.h"

#define MAX_ANSWER (256u << 20)

struct admin {
	struct admin_options o;
	struct http_server *server;
	struct config_address at;
};

// ---- answers ----

static void answer(struct http_response *r, int status, const char *type, char *body)
{
	r->status = body ? status : 500;
	r->content_type = type;
	r->body = body;
	r->body_len = body ? strlen(body) : 0;
}

static void put_label(FILE *f, const char *text)
{
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', f);
		fputc(*text, f);
	}
}

static const struct family {
	const char *key, *name, *type, *help;
} families[] = {
	{"connections_total", "coffer_tunnel_connections_total", "counter", "Client connections that began."},
	{"connections_open", "coffer_tunnel_connections_open", "gauge", "Client connections that are open now."},
	{"connections_refused_total", "coffer_tunnel_connections_refused_total", "counter", "Client connections that reached no destination."},
	{"connections_over_limit_total", "coffer_tunnel_connections_over_limit_total", "counter", "Connections closed at once for a limit."},
	{"bytes_in_total", "coffer_tunnel_bytes_in_total", "counter", "Bytes from plain connections into the tunnel."},
	{"bytes_out_total", "coffer_tunnel_bytes_out_total", "counter", "Bytes from the tunnel to plain connections."},
	{"attested_total", "coffer_tunnel_attested_total", "counter", "Attested connections that were established."},
	{"attested_open", "coffer_tunnel_attested_open", "gauge", "Attested connections that are open now."},
	{"attested_failed_total", "coffer_tunnel_attested_failed_total", "counter", "Attested connections that could not be established."},
	{"attested_lost_total", "coffer_tunnel_attested_lost_total", "counter", "Attested connections that broke."},
	{"datagrams_dropped_total", "coffer_tunnel_datagrams_dropped_total", "counter", "Datagrams and packets that found no room or may not pass."},
	{"peers_refused_total", "coffer_tunnel_peers_refused_total", "counter", "Peers that did not prove what this side asks."},
	{"ohttp_requests_total", "coffer_tunnel_ohttp_requests_total", "counter",
	"OHTTP requests: opened (egress), or taken from clients (ingress)."},
	{"ohttp_refused_total", "coffer_tunnel_ohttp_refused_total", "counter",
	"OHTTP requests: not opened (egress), or without an answer (ingress)."},
	{"ohttp_replayed_total", "coffer_tunnel_ohttp_replayed_total", "counter", "OHTTP requests that came a second time."},
	{"ohttp_keys_total", "coffer_tunnel_ohttp_keys_total", "counter", "Attested OHTTP keys: given out (egress), or fetched (ingress)."},
	{"ohttp_failed_total", "coffer_tunnel_ohttp_failed_total", "counter",
	"OHTTP: plain servers without an answer (egress), gateways refused (ingress)."},
	{"refused_by_peer_total", "coffer_tunnel_refused_by_peer_total", "counter", "Times that a peer refused this side."},
};

static char *metrics(struct engine *e)
{
	static const struct { const char *key, *name, *type, *help; } own[] = {
		{"connections", "coffer_tunnel_sockets", "gauge",
			"Client connections and peers of all routes, which `limits: connections` is about."},
		{"reloads", "coffer_tunnel_reloads_total", "counter", "Times that the configuration was read anew."},
		{"failed_reloads", "coffer_tunnel_failed_reloads_total", "counter", "Times that it could not be, and the one before stayed."},
		{"uptime_seconds", "coffer_tunnel_uptime_seconds", "gauge", "Seconds since the gateway was started."},
	};
	json_t *s = engine_counts(e), *r;
	char *text = NULL;
	size_t len, k;
	FILE *f = open_memstream(&text, &len);
	if (!f || !s) {
		if (f)
			fclose(f);
		free(text);
		json_decref(s);
		return NULL;
	}
	for (unsigned int i = 0; i < sizeof families / sizeof *families; i++) {
		fprintf(f, "# HELP %s %s\n# TYPE %s %s\n", families[i].name, families[i].help, families[i].name, families[i].type);
		json_array_foreach(json_object_get(s, "routes"), k, r) {
			fprintf(f, "%s{route=\"", families[i].name);
			put_label(f, json_string_value(json_object_get(r, "name")));
			fprintf(f, "\"} %" JSON_INTEGER_FORMAT "\n", json_integer_value(json_object_get(r, families[i].key)));
		}
	}
	for (unsigned int i = 0; i < sizeof own / sizeof *own; i++)
		fprintf(f, "# HELP %s %s\n# TYPE %s %s\n%s %" JSON_INTEGER_FORMAT "\n", own[i].name, own[i].help, own[i].name, own[i].type,
			own[i].name,
			json_integer_value(json_object_get(s, own[i].key)));
	json_decref(s);
	if (fclose(f)) {
		free(text);
		return NULL;
	}
	return text;
}

static char *dumped(json_t *o)
{
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	return text;
}

static void reload(struct admin *a, struct http_response *r)
{
	struct fault why = {""};
	int err = a->o.reload(a->o.ctx, &why);
	answer(r, err ? 422 : 200, "application/json", dumped(err ? json_pack("{s:s}", "error", why.text) : json_pack("{s:b}", "reloaded", 1)));
}

static void handle(void *ctx, const struct http_request *q, struct http_response *r)
{
	struct admin *a = ctx;
	const struct http_head *h = q->head;
	bool get = !strcmp(h->method, "GET"), draining = atomic_load(&a->o.engine->draining);
	if (h->origin[0])	// of a web page, which has no business here
		answer(r, 403, "text/plain", strdup("not for browsers\n"));
	else if (get && !strcmp(h->path, "/healthz"))
		answer(r, draining ? 503 : 200, "text/plain", strdup(draining ? "draining\n" : "ok\n"));
	else if (get && !strcmp(h->path, "/metrics"))
		answer(r, 200, "text/plain; version=0.0.4", metrics(a->o.engine));
	else if (get && !strcmp(h->path, "/status"))
		answer(r, 200, "application/json", dumped(engine_status(a->o.engine, false)));
	else if (get && !strcmp(h->path, "/connections"))
		answer(r, 200, "application/json", dumped(engine_status(a->o.engine, true)));
	else if (!strcmp(h->method, "POST") && !strcmp(h->path, "/reload"))
		reload(a, r);
	else
		answer(r, 404, "text/plain", strdup("there are /healthz, /metrics, /status, /connections, and POST /reload\n"));
}

int admin_start(struct admin **out, const struct admin_options *o, struct fault *f)
{
	struct admin *a = calloc(1, sizeof *a);
	struct fault why = {""};
	int fd, err;
	*out = NULL;
	if (!a)
		return fault_set(f, -ENOMEM, "out of memory");
	a->o = *o;
	fd = listen_at(o->at, 0600, false, &a->at, &why);
	if (fd < 0) {
		err = fault_set(f, fd, "admin: %.900s", why.text);
		goto fail;
	}
	const struct http_server_options s = {.listener = fd, .workers = 2, .max_connections = 64, .max_per_peer = 64, .handle = handle, .ctx = a};
	err = http_server_start(&a->server, &s, f);
	if (err)
		goto fail;
	tunnel_log(TUNNEL_LOG_INFO, "administration", LOG_TEXT("address", a->at.text));
	*out = a;
	return 0;
fail:
	free(a);
	return err;
}

void admin_stop(struct admin *a)
{
	if (!a)
		return;
	http_server_stop(a->server);
	listen_forget(&a->at);
	free(a);
}

// ---- the command's side ----

static int exchange(int fd, const char *method, const char *path, char **reply, size_t *len, struct fault *f)
{
	char request[256], *more;
	size_t size = 0;
	ssize_t k;
	int n = snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", method,
		path);
	if (send(fd, request, (size_t)n, MSG_NOSIGNAL) != n)
		return fault_errno(f, errno, "the gateway does not listen");
	*len = 0;
	for (;;) {
		if (*len + 65536 > size) {
			size = 2 * size + 131072;
			if (size > MAX_ANSWER || !(more = realloc(*reply, size)))
				return fault_set(f, -ENOMEM, "out of memory");
			*reply = more;
		}
		k = recv(fd, *reply + *len, size - *len - 1, 0);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			break;
		*len += (size_t)k;
	}
	(*reply)[*len] = '\0';
	return k < 0 ? fault_errno(f, errno, "the gateway does not answer") : 0;
}

int admin_ask(const struct config_address *at, const char *method, const char *path, int *status, char **body, struct fault *f)
{
	struct http_head h;
	char *reply = NULL;
	size_t len = 0, head = 0;
	int fd = socket(at->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0), err = 0;
	*body = NULL;
	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &(struct timeval){.tv_sec = 60}, sizeof(struct timeval));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){.tv_sec = 60}, sizeof(struct timeval));
	}
	if (fd < 0 || connect(fd, (const struct sockaddr *)&at->sa, at->len))
		err = fault_errno(f, errno, "no gateway answers at %s", at->text);
	if (!err)
		err = exchange(fd, method, path, &reply, &len, f);
	if (!err && (!(head = http_head_length(reply, len)) || http_parse_head(&h, reply, head, true) || h.content_length != len - head))
		err = fault_set(f, -EPROTO, "what answers at %s is no gateway", at->text);
	if (!err) {
		*status = h.status;
		memmove(reply, reply + head, len - head + 1);
		*body = reply;
		reply = NULL;
	}
	free(reply);
	if (fd >= 0)
		close(fd);
	return err;
}
