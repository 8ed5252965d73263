// SPDX-License-Identifier: Apache-2.0
// OHTTP in the enclave (ohttp_gateway.h): gives out its keys with what vouches for them, opens encapsulated requests, asks the plain server, and
// encapsulates its answers. Who speaks to it is nobody: a relay may do what it likes with the messages but read or change them. Counters are atomic;
// no locks.
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/encode.h"
#include "lib/file.h"
#include "ratls/certificate.h"
#include "tunnel/bhttp.h"
#include "tunnel/http1_server.h"
#include "tunnel/log.h"
#include "tunnel/ohttp_gateway.h"

#define DIAL_MS 10000
#define WRITE_MS 30000

struct ohttp_egress {
	struct http1_server *server;
	struct ohttp_keys *keys;
	struct self *self;
	char *to, *path;
	char *origins[OHTTP_MAX_ORIGINS];
	size_t max_body, pad;
	unsigned int answer_ms;
	atomic_ullong requests, refused, replayed, documents, failed;
};

// ---- answers that are not encapsulated ----

// What a browser wants to see before a page of another origin may read the answer. The page is not known by this to be a good one.
static void put_origin(const struct ohttp_egress *e, const struct http1_call *c, struct outbuf *fields)
{
	const struct http_text *origin = http_field_find(&c->head.fields, "origin");
	outbuf_text(fields, "Vary: Origin\r\n");
	for (size_t i = 0; origin && i < OHTTP_MAX_ORIGINS && e->origins[i]; i++) {
		bool any = !strcmp(e->origins[i], "*");
		if (!any && !http_text_is(origin, e->origins[i]))
			continue;
		outbuf_text(fields, "Access-Control-Allow-Origin: ");
		outbuf_put(fields, any ? "*" : origin->at, any ? 1 : origin->len);
		outbuf_text(fields,
			"\r\nAccess-Control-Allow-Methods: GET, POST\r\n"
				      "Access-Control-Allow-Headers: content-type\r\nAccess-Control-Max-Age: 600\r\n");
		return;
	}
}

static void answer(struct ohttp_egress *e, struct http1_call *c, unsigned int status, const char *type, const void *body, size_t len)
{
	struct outbuf fields = {.at = NULL};
	put_origin(e, c, &fields);
	outbuf_put(&fields, "", 1);
	http1_answer(c, status, type, fields.failed ? NULL : (const char *)fields.at, body, len);
	outbuf_free(&fields);
}

static void problem(struct ohttp_egress *e, struct http1_call *c, unsigned int status, const char *type, const char *detail)
{
	struct outbuf fields = {.at = NULL};
	put_origin(e, c, &fields);
	if (status == 503)
		outbuf_text(&fields, "Retry-After: 1\r\n");
	if (status == 405)
		outbuf_text(&fields, "Allow: GET, POST, OPTIONS\r\n");
	outbuf_put(&fields, "", 1);
	http1_problem(c, status, type, detail, fields.failed ? NULL : (const char *)fields.at);
	outbuf_free(&fields);
}

static void give_list(struct ohttp_egress *e, struct http1_call *c)
{
	struct outbuf list = {.at = NULL};
	struct fault why = {""};
	if (ohttp_keys_list(e->keys, &list, &why))
		problem(e, c, 503, NULL, why.text);
	else
		answer(e, c, 200, OHTTP_KEYS_TYPE, list.at, list.len);
	outbuf_free(&list);
}

// ?nonce=HEX, or nothing.
static void give_document(struct ohttp_egress *e, struct http1_call *c, const char *query)
{
	uint8_t nonce[RATLS_MAX_NONCE];
	struct fault why = {""};
	size_t n = 0;
	char *json;
	if (query) {
		n = strncmp(query, "nonce=", 6) ? 0 : strlen(query + 6) / 2;
		if (n < 16 || n > sizeof nonce || hex_decode(nonce, n, query + 6)) {
			problem(e, c, 400, NULL, "say ?nonce= and 32 to 128 hexadecimal digits, or nothing");
			return;
		}
	}
	int err = ohttp_keys_document(e->keys, query ? nonce : NULL, n, &json, &why);
	if (err) {
		// What the hardware says is the operator's; strangers are told that there is nothing.
		if (err != -EAGAIN && err != -EOPNOTSUPP)
			tunnel_log(TUNNEL_LOG_WARNING, "no evidence for OHTTP's keys", LOG_TEXT("reason", why.text));
		problem(e, c, err == -EOPNOTSUPP ? 404 : 503, NULL, err == -EOPNOTSUPP || err == -EAGAIN ? why.text : "no evidence can be had now");
		return;
	}
	atomic_fetch_add(&e->documents, 1);
	answer(e, c, 200, "application/json", json, strlen(json));
	free(json);
}

// ---- encapsulated answers ----

// An answer on its way: in one piece, or in chunks as they come.
struct reply {
	struct ohttp_egress *e;
	struct http1_call *c;
	struct ohttp_exchange *x;
	struct outbuf plain, sealed;	// plain: binary HTTP that is not sealed yet
	size_t sent;			// of it, bytes that are
	bool begun;
};

// Out with what there is.
static int flush(struct reply *r, bool last)
{
	int err = 0;
	size_t at = 0;
	if (!r->x->chunked && !last)
		return 0;
	if (r->plain.failed)
		return -ENOMEM;
	if (!r->begun) {
		struct outbuf fields = {.at = NULL};
		err = ohttp_server_answer(r->x, NULL, &r->sealed);
		if (!err && r->x->chunked) {
			put_origin(r->e, r->c, &fields);
			// Relays are asked to pass pieces on as they come: those that know of it, and nginx.
			outbuf_text(&fields,
				"Content-Type: " OHTTP_CHUNKED_RES_TYPE "\r\nCache-Control: no-store\r\n"
				      "Incremental: ?1\r\nX-Accel-Buffering: no\r\n");
			err = http1_answer_begin(r->c, 200, &fields, UINT64_MAX);
		}
		outbuf_free(&fields);
		r->begun = true;
	}
	if (!err && !r->x->chunked)
		err = ohttp_server_seal(r->x, r->plain.at, r->plain.len, true, &r->sealed);
	while (!err && r->x->chunked && (at < r->plain.len || last)) {
		size_t n = r->plain.len - at < OHTTP_MAX_CHUNK ? r->plain.len - at : OHTTP_MAX_CHUNK;
		bool final = last && at + n == r->plain.len;
		err = ohttp_server_seal(r->x, r->plain.at + at, n, final, &r->sealed);
		at += n;
		last &= !final;
	}
	if (!err && r->sealed.failed)
		err = -ENOMEM;
	if (!err && r->x->chunked)
		err = http1_answer_piece(r->c, r->sealed.at, r->sealed.len);
	else if (!err)
		answer(r->e, r->c, 200, OHTTP_RES_TYPE, r->sealed.at, r->sealed.len);
	OPENSSL_cleanse(r->plain.at, r->plain.len);
	r->sent += r->plain.len;
	r->plain.len = 0;
	r->sealed.len = 0;
	return err;
}

static int finish(struct reply *r)
{
	bhttp_put_end(&r->plain);
	bhttp_put_padding(&r->plain, r->sent, r->e->pad);
	int err = flush(r, true);
	return err || !r->x->chunked ? err : http1_answer_end(r->c);
}

// What the gateway itself has to say, where the relay cannot read it.
static int say(struct reply *r, unsigned int status, const char *detail)
{
	static const struct http_text name = {"content-type", 12}, type = {"text/plain; charset=utf-8", 25};
	struct http_fields fields = {.count = 0};
	fields.field[fields.count++] = (struct http_field){name, type};
	char text[256];
	int n = snprintf(text, sizeof text, "%.200s\n", detail);
	bhttp_put_response(&r->plain, !r->x->chunked, status, &fields);
	bhttp_put_content(&r->plain, text, (size_t)n);
	return finish(r);
}

// ---- the plain server ----

struct inner {
	struct bhttp_reader reader;
	struct outbuf body;
};

static int read_inner(struct inner *in, const struct outbuf *opened, struct outbuf *request, bool *to_head, struct fault *f)
{
	const uint8_t *piece = NULL;
	size_t n = 0;
	int event = bhttp_reader_add(&in->reader, opened->at, opened->len);	// a copy
	bhttp_reader_end(&in->reader);
	while (!event || event == BHTTP_HEAD || event == BHTTP_CONTENT) {
		event = bhttp_reader_next(&in->reader, &piece, &n, f);
		const struct bhttp_head *h = &in->reader.head;
		if (event == BHTTP_HEAD) {
			const struct http_text *host = http_field_find(&h->fields, "host");
			const struct http_text *to = h->authority.len ? &h->authority : host;
			if (!to || !to->len || !http_is_authority(to->at, to->len) || http_text_is(&h->method, "CONNECT"))
				return fault_set(f, -EINVAL, "a request without an authority, or CONNECT");
			*to_head = http_text_is(&h->method, "HEAD");
			outbuf_put(request, h->method.at, h->method.len);
			outbuf_put(request, " ", 1);
			outbuf_put(request, h->path.at, h->path.len);
			outbuf_text(request, " HTTP/1.1\r\nHost: ");
			outbuf_put(request, to->at, to->len);
			outbuf_text(request, "\r\nConnection: close\r\n");
			http1_put_fields(request, &h->fields);
		} else if (event == BHTTP_CONTENT) {
			outbuf_put(&in->body, piece, n);
		}
	}
	if (event < 0)
		return event;
	const struct http_text *method = &in->reader.head.method;
	if (in->body.len || http_text_is(method, "POST") || http_text_is(method, "PUT") || http_text_is(method, "PATCH")) {
		char line[64];
		snprintf(line, sizeof line, "Content-Length: %zu\r\n", in->body.len);
		outbuf_text(request, line);
	}
	outbuf_text(request, "\r\n");
	outbuf_put(request, in->body.at, in->body.len);
	return request->failed || in->body.failed ? -ENOMEM : 0;
}

// Its final head; informational ones are passed over.
static int read_response_head(struct wire *w, unsigned int answer_ms, bool to_head, struct outbuf *kept, struct http1_head *h, struct fault *f)
{
	int64_t deadline = clock_ms() + answer_ms;
	for (int i = 0; i < 16; i++) {
		const char *head;
		size_t len;
		int err = wire_head(w, deadline, deadline, &head, &len);
		if (err)
			return err;
		kept->len = 0;
		outbuf_put(kept, head, len);
		err = kept->failed ? -ENOMEM : http1_response_read(h, (const char *)kept->at, len, to_head, f);
		if (err || h->status >= 200)
			return err;
	}
	return fault_set(f, -EPROTO, "nothing but informational responses");
}

// After this nothing but the end can be told to the client: an error leaves the answer without it, which the client sees.
static int pass_answer(struct ohttp_egress *e, struct reply *r, struct wire *w, const struct http1_head *h)
{
	struct http1_content content;
	struct outbuf whole = {.at = NULL};
	const char *piece = NULL;
	size_t n = 0;
	int got;
	http1_content_begin(&content, h);
	wire_body_begin(w, e->answer_ms);
	if (!r->x->chunked) {
		got = wire_body_all(w, &content, e->max_body, &whole);
		if (got) {
			outbuf_free(&whole);
			return say(r, got == -ETIMEDOUT ? 504 : 502,
				got == -EFBIG ? "the answer is too large to be given in one piece" : "the server's answer broke off");
		}
		bhttp_put_response(&r->plain, true, h->status, &h->fields);
		bhttp_put_content(&r->plain, whole.at, whole.len);
		outbuf_free(&whole);
		return finish(r);
	}
	bhttp_put_response(&r->plain, false, h->status, &h->fields);
	while ((got = wire_body(w, &content, &piece, &n)) == HTTP1_PIECE) {
		bhttp_put_content(&r->plain, piece, n);
		int err = flush(r, false);
		if (err)
			return err;
		wire_body_begin(w, e->answer_ms);	// a long answer may pause
	}
	return got == HTTP1_END ? finish(r) : got;
}

static int ask_server(struct ohttp_egress *e, struct reply *r, const struct outbuf *request, bool to_head)
{
	struct wire w = {.s.fd = -1};
	struct http1_head *h = malloc(sizeof *h);
	struct outbuf kept = {.at = NULL};
	struct fault why = {""};
	int err = h ? wire_dial(&w, e->to, NULL, clock_ms() + DIAL_MS, &why) : -ENOMEM;
	if (!err)
		err = wire_write(&w, request->at, request->len, clock_ms() + WRITE_MS);
	if (!err || err == -EPIPE || err == -ECONNRESET)	// it may have answered before it had read all
		err = w.s.fd >= 0 ? read_response_head(&w, e->answer_ms, to_head, &kept, h, &why) : err;
	if (err) {
		atomic_fetch_add(&e->failed, 1);
		tunnel_log(TUNNEL_LOG_WARNING, "the plain HTTP server gives no answer", LOG_TEXT("server", e->to),
			   LOG_TEXT("reason", *why.text ? why.text : strerror(-err)));
		err = say(r, err == -ETIMEDOUT ? 504 : 502, "the server behind this gateway gives no answer");
	} else {
		err = pass_answer(e, r, &w, h);
		if (err)
			atomic_fetch_add(&e->failed, 1);
	}
	wire_close(&w);
	outbuf_free(&kept);
	free(h);
	return err;
}

// ---- requests ----

static int open_request(struct ohttp_egress *e, struct ohttp_exchange *x, bool chunked, const struct outbuf *sealed, struct outbuf *opened)
{
	size_t used = 0;
	bool last = false;
	int err = ohttp_keys_begin(e->keys, x, chunked, sealed->at, sealed->len, &used);
	if (err)
		return err;
	if (!chunked) {
		err = ohttp_server_open(x, sealed->at + used, sealed->len - used, true, opened);
	} else {
		while (!err && !last) {
			const uint8_t *chunk;
			size_t n, step;
			err = ohttp_chunk_find(sealed->at + used, sealed->len - used, true, &chunk, &n, &step, &last);
			if (!err)
				err = ohttp_server_open(x, chunk, n, last, opened);
			if (!err)
				used += step;
		}
	}
	if (!err)
		err = ohttp_keys_once(e->keys, sealed->at[0], x);
	if (err)
		ohttp_end(x);
	return err;
}

static void refuse(struct ohttp_egress *e, struct http1_call *c, int err)
{
	atomic_fetch_add(&e->refused, 1);
	switch (err) {
	case -EALREADY:
		atomic_fetch_add(&e->replayed, 1);
		problem(e, c, 409, NULL, "this request has been here before");
		break;
	case -ENOENT: problem(e, c, 400, OHTTP_KEY_PROBLEM, "the key is not known"); break;
	case -ENOSPC: case -ENOMEM: problem(e, c, 503, NULL, "too many requests"); break;
	default: problem(e, c, 400, OHTTP_KEY_PROBLEM, "the request cannot be opened"); break;
	}
}

static void serve_request(struct ohttp_egress *e, struct http1_call *c, bool chunked)
{
	struct outbuf sealed = {.at = NULL}, opened = {.at = NULL}, request = {.at = NULL};
	struct ohttp_exchange x;
	struct inner *in = NULL;
	struct fault why = {""};
	bool to_head = false;
	int err = http1_call_body(c, e->max_body + (64u << 10), &sealed);
	if (err) {
		if (err == -EFBIG || err == -ENOBUFS)
			problem(e, c, err == -EFBIG ? 413 : 503, NULL,
			err == -EFBIG ? "the request is too large" : "too much is being sent at a time");
		c->keep = false;
		goto out;
	}
	err = open_request(e, &x, chunked, &sealed, &opened);
	if (err) {
		refuse(e, c, err);
		goto out;
	}
	outbuf_free(&sealed);
	atomic_fetch_add(&e->requests, 1);
	struct reply r = {.e = e, .c = c, .x = &x};
	in = calloc(1, sizeof *in);
	if (in)
		bhttp_reader_begin(&in->reader, false);
	err = in ? read_inner(in, &opened, &request, &to_head, &why) : -ENOMEM;
	outbuf_free(&opened);
	if (err)
		err = say(&r, err == -ENOMEM ? 503 : 400, *why.text ? why.text : "out of memory");
	else
		err = ask_server(e, &r, &request, to_head);
	if (err)
		c->keep = false;	// what was begun is left without its end
	outbuf_free(&r.plain);
	outbuf_free(&r.sealed);
	ohttp_end(&x);
out:
	if (in) {
		bhttp_reader_free(&in->reader);
		outbuf_free(&in->body);
	}
	free(in);
	outbuf_free(&sealed);
	outbuf_free(&opened);
	outbuf_free(&request);
}

static void handle(void *ctx, struct http1_call *c)
{
	struct ohttp_egress *e = ctx;
	const struct http1_head *h = &c->head;
	const char *mark = memchr(h->path.at, '?', h->path.len);
	struct http_text path = {h->path.at, mark ? (size_t)(mark - h->path.at) : h->path.len};
	const struct http_text *type = http_field_find(&h->fields, "content-type");
	size_t n = strlen(e->path);
	bool own = path.len == n && !memcmp(path.at, e->path, n);
	bool attested = path.len == n + 9 && !memcmp(path.at, e->path, n) && !memcmp(path.at + n, "/attested", 9);
	char query[200];
	if (mark)
		snprintf(query, sizeof query, "%.*s", (int)(h->path.len - path.len - 1), mark + 1);
	if (!own && !attested)
		problem(e, c, 404, NULL, "an OHTTP gateway is elsewhere on this server");
	else if (http_text_is(&h->method, "OPTIONS"))
		answer(e, c, 204, "", "", 0);
	else if (http_text_is(&h->method, "GET") || http_text_is(&h->method, "HEAD"))
		own ? give_list(e, c) : give_document(e, c, mark ? query : NULL);
	else if (!own || !http_text_is(&h->method, "POST"))
		problem(e, c, 405, NULL, "GET for the keys, POST for a request");
	else if (type && http_text_is(type, OHTTP_REQ_TYPE))
		serve_request(e, c, false);
	else if (type && http_text_is(type, OHTTP_CHUNKED_REQ_TYPE))
		serve_request(e, c, true);
	else
		problem(e, c, 415, NULL, "a request is " OHTTP_REQ_TYPE " or " OHTTP_CHUNKED_REQ_TYPE);
}

static void end(struct ohttp_egress *e)
{
	ohttp_keys_close(e->keys);
	self_close(e->self);
	for (size_t i = 0; i < OHTTP_MAX_ORIGINS; i++)
		free(e->origins[i]);
	free(e->to);
	free(e->path);
	free(e);
}

static int set_up(struct ohttp_egress *e, const struct ohttp_egress_options *o, struct fault *f)
{
	struct ohttp_keys_options k = {.rotate_s = o->rotate_s, .overlap_s = o->overlap_s, .max_requests = o->max_requests,
		.evidence_per_s = o->evidence_per_s};
	char *seed = NULL;
	int err = 0;
	e->to = strdup(o->to);
	e->path = strdup(o->path ? o->path : OHTTP_PATH);
	e->max_body = o->max_body ? o->max_body : OHTTP_MAX_BODY;
	e->answer_ms = o->answer_ms ? o->answer_ms : 60000;
	e->pad = o->pad_bytes ? o->pad_bytes : OHTTP_PAD;
	for (size_t i = 0; o->origins && o->origins[i]; i++) {
		if (i == OHTTP_MAX_ORIGINS - 1)
			return fault_set(f, -E2BIG, "more than %d origins", OHTTP_MAX_ORIGINS - 1);
		if (!(e->origins[i] = strdup(o->origins[i])))
			return fault_set(f, -ENOMEM, "out of memory");
	}
	if (!e->to || !e->path)
		return fault_set(f, -ENOMEM, "out of memory");
	if (e->path[0] != '/' || strpbrk(e->path, " ?#"))
		return fault_set(f, -EINVAL, "'%s' is no path", e->path);
	if (o->tls && (o->tls->attest || o->tls->token_file))
		err = self_open(&e->self, o->tls, f);
	k.self = e->self;
	if (!err && o->seed_file)
		err = file_read_private(o->seed_file, 4096, &seed, &k.seed_len, f);
	k.seed = (const uint8_t *)seed;
	if (!err)
		err = ohttp_keys_open(&e->keys, &k, f);
	free_wiped(seed, k.seed_len);
	return err;
}

int ohttp_egress_start(struct ohttp_egress **out, const struct ohttp_egress_options *o, struct fault *f)
{
	struct ohttp_egress *e = calloc(1, sizeof *e);
	int err = e ? set_up(e, o, f) : fault_set(f, -ENOMEM, "out of memory");
	if (err) {
		close(o->listener);
	} else {
		const struct http1_server_options so = {.listener = o->listener, .max_connections = o->max_connections, .handle = handle, .ctx = e};
		err = http1_server_start(&e->server, &so, f);
	}
	if (err && e)
		end(e);
	if (!err)
		*out = e;
	return err;
}

void ohttp_egress_stop(struct ohttp_egress *e, unsigned int drain_ms)
{
	if (!e)
		return;
	http1_server_stop(e->server, drain_ms);
	end(e);
}

void ohttp_egress_counts(struct ohttp_egress *e, struct ohttp_counts *out)
{
	*out = (struct ohttp_counts){atomic_load(&e->requests), atomic_load(&e->refused), atomic_load(&e->replayed), atomic_load(&e->documents),
				     atomic_load(&e->failed), http1_server_open_count(e->server)};
}
