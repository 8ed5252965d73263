// SPDX-License-Identifier: Apache-2.0
// OHTTP beside the client (ohttp_gateway.h): takes plain HTTP/1.1, fetches and judges the gateway's keys, encapsulates each request to them, and
// gives back what comes. What the relay between says itself is never an answer: the client gets a 502 that says so. A mutex guards the keys, and is
// held while they are fetched, so that one thread does it for all; another guards idle connections.
#include <errno.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "lib/encode.h"
#include "lib/file.h"
#include "ratls/judge.h"
#include "tunnel/bhttp.h"
#include "tunnel/http1_server.h"
#include "tunnel/log.h"
#include "tunnel/ohttp_gateway.h"

#define DIAL_MS 10000
#define WRITE_MS 30000
#define REFRESH_S 300
#define IDLE_WIRES 16
#define FRESH_MS 2000		// a kept connection that was used since will hardly be closed just now
#define NONCE_BYTES 32
#define SYSTEM_AUTHORITIES "/etc/ssl/certs/ca-certificates.crt"
#define ATTEMPTS_MS 1000	// after a fetch that failed, the next one is not made sooner

struct ohttp_ingress {
	struct http1_server *server;
	struct judge *judge;			// NULL: insecure_any_server
	SSL_CTX *tls;				// NULL: http
	char where[300], host[300];		// of the URL: what to connect to, and what it is called
	char *path, *authority, *scheme;
	bool whole;
	unsigned int refresh_s, answer_ms;
	size_t max_body, pad;

	pthread_mutex_t lock;
	struct ohttp_config config;
	int64_t good_until_ms, next_try_ms;	// 0: there is none
	int failed;				// why the last fetch did
	struct fault why;

	pthread_mutex_t idle_lock;
	struct wire *idle[IDLE_WIRES];
	int64_t idle_since_ms[IDLE_WIRES];
	unsigned int idle_count;

	atomic_ullong requests, refused, documents, failures;
};

// ---- connections to the relay ----

// `fresh`: one that was used a moment ago. The last one that was given back is the freshest.
static struct wire *take_idle(struct ohttp_ingress *i, bool fresh)
{
	for (;;) {
		pthread_mutex_lock(&i->idle_lock);
		bool has = i->idle_count && (!fresh || clock_ms() - i->idle_since_ms[i->idle_count - 1] < FRESH_MS);
		struct wire *w = has ? i->idle[--i->idle_count] : NULL;
		pthread_mutex_unlock(&i->idle_lock);
		if (!w || wire_idle(w))
			return w;
		wire_close(w);
		free(w);
	}
}

static void give_back(struct ohttp_ingress *i, struct wire *w, bool usable)
{
	if (!w)
		return;
	if (usable && wire_idle(w)) {
		pthread_mutex_lock(&i->idle_lock);
		if (i->idle_count < IDLE_WIRES) {
			i->idle_since_ms[i->idle_count] = clock_ms();
			i->idle[i->idle_count++] = w;
			w = NULL;
		}
		pthread_mutex_unlock(&i->idle_lock);
	}
	if (w) {
		wire_close(w);
		free(w);
	}
}

struct answer {
	struct wire *w;
	struct outbuf kept;		// its head
	struct http1_head head;
	struct http1_content content;
};

static void answer_end(struct ohttp_ingress *i, struct answer *a, bool usable)
{
	give_back(i, a->w, usable && a->head.keep_alive && a->content.state == HTTP1_AT_END && a->content.framing != HTTP1_TO_THE_END);
	outbuf_free(&a->kept);
	a->w = NULL;
}

// *sent: all of it left, so that it may have arrived.
static int ask_once(struct ohttp_ingress *i, struct answer *a, const struct outbuf *request, bool once, bool *used_before, bool *sent, struct fault *f)
{
	int64_t deadline = clock_ms() + i->answer_ms;
	*sent = false;
	a->w = take_idle(i, once);
	*used_before = a->w;
	if (!a->w && !(a->w = calloc(1, sizeof *a->w)))
		return fault_set(f, -ENOMEM, "out of memory");
	int err = *used_before ? 0 : wire_dial(a->w, i->where, i->tls, clock_ms() + DIAL_MS, f);
	if (!err)
		err = wire_write(a->w, request->at, request->len, clock_ms() + WRITE_MS);
	*sent = !err;
	if (!err || err == -EPIPE || err == -ECONNRESET) {
		for (int n = 0; n < 16; n++) {
			const char *head;
			size_t len;
			err = a->w->s.fd < 0 ? err : wire_head(a->w, deadline, deadline, &head, &len);
			if (err)
				break;
			a->kept.len = 0;
			outbuf_put(&a->kept, head, len);
			err = a->kept.failed ? -ENOMEM : http1_response_read(&a->head, (const char *)a->kept.at, len, false, f);
			if (err || a->head.status >= 200)
				break;
		}
	}
	if (!err && a->head.status < 200)
		err = -EPROTO;
	if (err) {
		wire_close(a->w);
		free(a->w);
		a->w = NULL;
		outbuf_free(&a->kept);
		return *f->text ? err : fault_errno(f, -err, "no answer from %s", i->where);
	}
	http1_content_begin(&a->content, &a->head);
	wire_body_begin(a->w, i->answer_ms);
	return 0;
}

// A kept connection may have ended meanwhile: then the same bytes go over a new one, unless they may have arrived and must not twice (`once`): another
// gateway with the same keys would not know them. -ESTALE: they may have been served, and the connection, new or kept, ended without an answer.
static int ask(struct ohttp_ingress *i, struct answer *a, const struct outbuf *request, bool once, struct fault *f)
{
	bool used_before = true, sent = false;
	int err = request->failed ? fault_set(f, -ENOMEM, "out of memory") : -EAGAIN;
	for (int n = 0; !request->failed && used_before && err && n <= IDLE_WIRES; n++) {
		memset(a, 0, sizeof *a);
		*f->text = '\0';
		err = ask_once(i, a, request, once, &used_before, &sent, f);
		if (err == -ETIMEDOUT || err == -ENOMEM)
			break;
		bool ended = err == -ENODATA || err == -ECONNRESET || err == -EPIPE;
		if (err && sent && once && (used_before || ended))
			return fault_set(f, -ESTALE, "%s ended the connection without an answer: whether it was served is not known", i->where);
	}
	return err;
}

static void put_request(struct outbuf *b, const struct ohttp_ingress *i, const char *method, const char *suffix, const char *fields,
	const struct outbuf *body)
{
	char length[64];
	outbuf_text(b, method);
	outbuf_text(b, " ");
	outbuf_text(b, i->path);
	outbuf_text(b, suffix);
	outbuf_text(b, " HTTP/1.1\r\nHost: ");
	outbuf_text(b, i->host);
	outbuf_text(b, "\r\n");
	outbuf_text(b, fields);
	if (body) {
		snprintf(length, sizeof length, "Content-Length: %zu\r\n", body->len);
		outbuf_text(b, length);
	}
	outbuf_text(b, "\r\n");
	if (body)
		outbuf_put(b, body->at, body->len);
	b->failed |= body && body->failed;
}

// ---- keys ----

// With the lock.
static int fetch(struct ohttp_ingress *i, struct fault *f)
{
	static const char accept[] = "Accept: " OHTTP_KEYS_TYPE ", application/json\r\n";
	struct outbuf request = {.at = NULL}, body = {.at = NULL};
	struct answer *a = calloc(1, sizeof *a);
	struct ohttp_config *all = calloc(OHTTP_MAX_CONFIGS, sizeof *all);
	uint8_t nonce[NONCE_BYTES];
	char suffix[32 + 2 * NONCE_BYTES] = "", hex[2 * NONCE_BYTES + 1];
	struct verdict *v = NULL;
	int err = a && all ? 0 : fault_set(f, -ENOMEM, "out of memory");
	if (!err && RAND_bytes(nonce, sizeof nonce) != 1)
		err = fault_set(f, -EIO, "no random bytes");
	if (!err && i->judge)
		snprintf(suffix, sizeof suffix, "/attested?nonce=%s", hex_encode(hex, nonce, sizeof nonce));
	if (!err)
		put_request(&request, i, "GET", suffix, accept, NULL);
	if (!err)
		err = ask(i, a, &request, false, f);
	bool asked = !err;
	if (!err && (err = wire_body_all(a->w, &a->content, OHTTP_MAX_DOCUMENT, &body)))
		fault_errno(f, -err, "the gateway's keys broke off");
	if (!err && a->head.status != 200)
		err = fault_set(f, -ENOENT, "the gateway at %s gives no %skeys (status %u)", i->where, i->judge ? "attested " : "", a->head.status);
	if (!err && i->judge) {
		err = ohttp_document_check(i->judge, (const char *)body.at, body.len, nonce, sizeof nonce, &i->config, &v, f);
	} else if (!err) {
		int count = ohttp_configs_read(all, body.at, body.len, f);
		err = count < 0 ? count : 0;
		if (!err)
			i->config = *ohttp_config_best(all, count);
	}
	if (asked)
		answer_end(i, a, true);
	int64_t now = clock_ms(), seconds = i->refresh_s;
	if (v && v->until - judge_now(i->judge) < seconds)
		seconds = v->until > judge_now(i->judge) ? v->until - judge_now(i->judge) : 0;
	i->good_until_ms = err ? 0 : now + seconds * 1000;
	if (!err)
		atomic_fetch_add(&i->documents, 1);
	if (err == -EKEYREJECTED)
		atomic_fetch_add(&i->failures, 1);
	verdict_release(v);
	outbuf_free(&request);
	outbuf_free(&body);
	free(all);
	free(a);
	return err;
}

static int keys(struct ohttp_ingress *i, struct ohttp_config *out, struct fault *f)
{
	pthread_mutex_lock(&i->lock);
	int64_t now = clock_ms();
	int err = 0;
	if (!i->good_until_ms || now >= i->good_until_ms) {
		if (i->failed && now < i->next_try_ms) {
			err = i->failed;
			*f = i->why;
		} else {
			err = fetch(i, f);
			i->failed = err;
			i->next_try_ms = clock_ms() + ATTEMPTS_MS;
			if (err) {
				for (char *nl = f->text; (nl = strchr(nl, '\n'));)
					*nl = ';';
				i->why = *f;
				tunnel_log(TUNNEL_LOG_WARNING, "no OHTTP keys that can be used", LOG_TEXT("gateway", i->where), LOG_TEXT("reason",
					f->text));
			}
		}
	}
	if (!err)
		*out = i->config;
	pthread_mutex_unlock(&i->lock);
	return err;
}

// The gateway does not know them: they are fetched anew before the next request, unless somebody has done so.
static void forget(struct ohttp_ingress *i, const struct ohttp_config *c)
{
	pthread_mutex_lock(&i->lock);
	if (!memcmp(&i->config, c, sizeof *c))
		i->good_until_ms = 0;
	pthread_mutex_unlock(&i->lock);
}

// ---- requests ----

// The client's request in binary. `head` is done before the body is read.
static int read_client(struct ohttp_ingress *i, struct http1_call *c, struct outbuf *plain, const char **why)
{
	const struct http1_head *h = &c->head;
	struct http_text scheme = h->scheme, authority = h->authority;
	struct http_fields fields = {.count = 0};
	struct outbuf body = {.at = NULL};
	if (!scheme.len)
		scheme = (struct http_text){i->scheme, strlen(i->scheme)};
	if (i->authority)
		authority = (struct http_text){i->authority, strlen(i->authority)};
	*why = "a request for nobody: neither Host nor a URL";
	if (!authority.len)
		return -EINVAL;
	for (unsigned int k = 0; k < h->fields.count; k++) {
		const struct http_field *l = &h->fields.field[k];
		// The authority says it; the length is said by the message's form; and who waits to be told to go on has been told.
		if (!http_text_is(&l->name, "host") && !http_text_is(&l->name, "content-length") && !http_text_is(&l->name, "expect") &&
		    !http_field_named_by_connection(&h->fields, &l->name))
			fields.field[fields.count++] = *l;
	}
	int err = http1_call_body(c, i->max_body, &body);
	if (!err) {
		bhttp_put_request(plain, true, &h->method, &scheme, &authority, &h->path, &fields);
		bhttp_put_content(plain, body.at, body.len);
		bhttp_put_end(plain);
		bhttp_put_padding(plain, 0, i->pad);
		err = plain->failed ? -ENOMEM : 0;
	}
	*why = err == -EFBIG ? "the request is too large" : err == -ENOBUFS ? "too much is being sent at a time" : "the request broke off";
	outbuf_free(&body);
	return err;
}

static int encapsulate(struct ohttp_ingress *i, struct ohttp_exchange *x, const struct ohttp_config *c, const struct outbuf *plain,
	struct outbuf *sealed)
{
	size_t at = 0;
	bool last = false;
	int err = ohttp_client_begin(x, c, !i->whole, NULL, sealed);
	if (!err && i->whole)
		err = ohttp_client_seal(x, plain->at, plain->len, true, sealed);
	while (!err && !i->whole && !last) {
		size_t n = plain->len - at < OHTTP_MAX_CHUNK ? plain->len - at : OHTTP_MAX_CHUNK;
		last = at + n == plain->len;
		err = ohttp_client_seal(x, plain->at + at, n, last, sealed);
		at += n;
	}
	return err ? err : sealed->failed ? -ENOMEM : 0;
}

// What came of the answer, on its way to the client.
struct passing {
	struct http1_call *c;
	struct ohttp_exchange *x;
	struct bhttp_reader reader;
	struct outbuf sealed;		// of the relay's content, what is not opened yet
	struct outbuf opened;
	bool has_nonce, last, begun;
};

static int begin_client(struct passing *p)
{
	const struct bhttp_head *h = &p->reader.head;
	struct outbuf fields = {.at = NULL};
	uint64_t length = UINT64_MAX;
	const struct http_text *said = http_field_find(&h->fields, "content-length");
	http1_put_fields(&fields, &h->fields);
	if (said && said->len && said->len <= 15) {
		length = 0;
		for (size_t k = 0; k < said->len && length != UINT64_MAX; k++)
			length = isdigit((unsigned char)said->at[k]) ? length * 10 + (uint64_t)(said->at[k] - '0') : UINT64_MAX;
	}
	int err = http1_answer_begin(p->c, h->status, &fields, length);
	p->begun = true;
	outbuf_free(&fields);
	return err;
}

// Hands on what is whole. 0: more is needed; 1: all is done.
static int hand_on(struct passing *p, struct fault *f)
{
	for (;;) {
		const uint8_t *piece = NULL;
		size_t n = 0;
		int err = 0, event = bhttp_reader_next(&p->reader, &piece, &n, f);
		if (event == BHTTP_HEAD)
			err = begin_client(p);
		else if (event == BHTTP_CONTENT)
			err = http1_answer_piece(p->c, piece, n);
		else if (event == BHTTP_END)
			return http1_answer_end(p->c) ? -EPROTO : 1;
		else
			return event;	// more, or malformed
		if (err)
			return err;
	}
}

// What has come of the encapsulated answer; `ended`: all of it.
static int open_more(struct passing *p, bool ended, struct fault *f)
{
	size_t used = 0;
	int err = 0;
	if (!p->has_nonce) {
		err = ohttp_client_answer(p->x, p->sealed.at, p->sealed.len, &used);
		if (err == -EAGAIN && !ended)
			return 0;
		if (err)
			return -EBADMSG;
		outbuf_drop(&p->sealed, used);
		p->has_nonce = true;
	}
	if (!p->x->chunked) {
		if (!ended)
			return 0;
		err = ohttp_client_open(p->x, p->sealed.at, p->sealed.len, true, &p->opened);
		p->last = !err;
	}
	size_t at = 0;
	while (!err && p->x->chunked && !p->last) {
		const uint8_t *chunk;
		size_t n;
		err = ohttp_chunk_find(p->sealed.at + at, p->sealed.len - at, ended, &chunk, &n, &used, &p->last);
		if (!err) {
			err = ohttp_client_open(p->x, chunk, n, p->last, &p->opened);
			at += used;
		} else {
			p->last = false;
		}
	}
	if (at)
		outbuf_drop(&p->sealed, at);
	if (err && err != -EAGAIN)
		return -EBADMSG;
	err = bhttp_reader_add(&p->reader, p->opened.at, p->opened.len);
	OPENSSL_cleanse(p->opened.at, p->opened.len);
	p->opened.len = 0;
	if (p->last)
		bhttp_reader_end(&p->reader);
	return err ? err : hand_on(p, f);
}

static int pass_answer(struct ohttp_ingress *i, struct http1_call *c, struct ohttp_exchange *x, struct answer *a, bool *begun, struct fault *f)
{
	struct passing *p = calloc(1, sizeof *p);
	const char *piece = NULL;
	size_t n = 0;
	int got = p ? 0 : -ENOMEM;
	if (p) {
		p->c = c;
		p->x = x;
		bhttp_reader_begin(&p->reader, true);
	}
	while (!got) {
		got = wire_body(a->w, &a->content, &piece, &n);
		bool ended = got == HTTP1_END;
		if (got < 0)
			break;
		if (got == HTTP1_PIECE)
			outbuf_put(&p->sealed, piece, n);
		if (p->sealed.failed || (!x->chunked && p->sealed.len > i->max_body + (64u << 10)))
			got = p->sealed.failed ? -ENOMEM : -EFBIG;
		else
			got = open_more(p, ended, f);
		if (!got && ended)
			got = -EBADMSG;	// no last chunk
		wire_body_begin(a->w, i->answer_ms);	// a long answer may pause
	}
	// What follows the last chunk in the relay's framing is part of it: the content must end there as well.
	if (p) {
		*begun = p->begun;
		bhttp_reader_free(&p->reader);
		outbuf_free(&p->sealed);
		outbuf_free(&p->opened);
	}
	free(p);
	if (got < 0 && !*f->text)
		fault_set(f, got, got == -EBADMSG ? "the answer was changed or cut short on its way" : "the answer broke off: %s", strerror(-got));
	return got < 0 ? got : 0;
}

static bool is_key_problem(struct answer *a)
{
	struct outbuf body = {.at = NULL};
	const struct http_text *type = http_field_find(&a->head.fields, "content-type");
	bool is = a->head.status == 400 && type && http_text_is(type, "application/problem+json") && !wire_body_all(a->w, &a->content, 16384,
		&body) &&
		  memmem(body.at, body.len, OHTTP_KEY_PROBLEM, strlen(OHTTP_KEY_PROBLEM));
	outbuf_free(&body);
	return is;
}

// RFC 9110 section 9.2.2: who stands between must not repeat other requests.
static bool is_idempotent(const struct http_text *method)
{
	return http_text_is(method, "GET") || http_text_is(method, "HEAD") || http_text_is(method, "OPTIONS") || http_text_is(method, "PUT") ||
	       http_text_is(method, "DELETE");
}

// One try. -ENOKEY: the gateway says (or the relay, in its place) that it does not know the key; -ESTALE: see ask.
static int try_once(struct ohttp_ingress *i, struct http1_call *c, const struct outbuf *plain, bool *begun, struct fault *f)
{
	static const char whole[] = "Content-Type: " OHTTP_REQ_TYPE "\r\nAccept: " OHTTP_RES_TYPE "\r\n";
	static const char chunked[] = "Content-Type: " OHTTP_CHUNKED_REQ_TYPE "\r\nAccept: " OHTTP_CHUNKED_RES_TYPE "\r\nIncremental: ?1\r\n";
	struct outbuf sealed = {.at = NULL}, request = {.at = NULL};
	struct answer *a = calloc(1, sizeof *a);
	struct ohttp_config config;
	struct ohttp_exchange x = {.enc_len = 0};
	bool asked = false;
	int err = a ? keys(i, &config, f) : -ENOMEM;
	if (!err)
		err = encapsulate(i, &x, &config, plain, &sealed);
	if (!err) {
		put_request(&request, i, "POST", "", i->whole ? whole : chunked, &sealed);
		err = ask(i, a, &request, true, f);
		asked = !err;
	}
	if (asked) {
		const struct http_text *type = http_field_find(&a->head.fields, "content-type");
		if (a->head.status == 200 && type && http_text_is(type, i->whole ? OHTTP_RES_TYPE : OHTTP_CHUNKED_RES_TYPE)) {
			err = pass_answer(i, c, &x, a, begun, f);
		} else if (is_key_problem(a)) {
			forget(i, &config);
			err = fault_set(f, -ENOKEY, "the gateway has new keys: try again");
		} else {
			err = fault_set(f, -EPROTO, "no answer of the gateway: what stands before it says status %u", a->head.status);
		}
		answer_end(i, a, !err || err == -ENOKEY);
	}
	if (err == -EBADMSG)
		forget(i, &config);
	ohttp_end(&x);
	outbuf_free(&sealed);
	outbuf_free(&request);
	free(a);
	return err;
}

static void handle(void *ctx, struct http1_call *c)
{
	struct ohttp_ingress *i = ctx;
	struct outbuf plain = {.at = NULL};
	struct fault why = {""};
	const char *what;
	bool begun = false;
	int err = read_client(i, c, &plain, &what);
	if (err) {
		if (err != -ECONNRESET && err != -EPIPE)
			http1_problem(c, err == -EFBIG ? 413 : err == -ETIMEDOUT ? 408 : err == -ENOBUFS ? 503 : 400, NULL, what, NULL);
		c->keep = false;
		outbuf_free(&plain);
		return;
	}
	atomic_fetch_add(&i->requests, 1);
	err = try_once(i, c, &plain, &begun, &why);
	// Whether the request was not opened is the relay's word: only what may be done twice is tried twice, encapsulated anew, as the gateway
	// refuses what it has seen.
	if ((err == -ENOKEY || err == -ESTALE) && is_idempotent(&c->head.method))
		err = try_once(i, c, &plain, &begun, &why);
	if (err) {
		atomic_fetch_add(&i->refused, 1);
		if (begun || c->answered)
			c->keep = false;	// the client sees that it is cut short
		else
			http1_problem(c, err == -ENOKEY ? 503 : err == -ETIMEDOUT ? 504 : 502, NULL, *why.text ? why.text : strerror(-err), NULL);
	}
	outbuf_free(&plain);
}

// ---- set-up ----

static int read_url(struct ohttp_ingress *i, const char *url, bool *tls, struct fault *f)
{
	const char *host = strstr(url, "://"), *end;
	*tls = !strncmp(url, "https://", 8);
	if (!*tls && strncmp(url, "http://", 7))
		return fault_set(f, -EINVAL, "'%s' is no URL (http://, https://)", url);
	host += 3;
	end = host + strcspn(host, "/");
	size_t n = (size_t)(end - host);
	if (!n || n >= sizeof i->host - 8 || strpbrk(url, " \t\r\n?#@") || strlen(url) > 1000)
		return fault_set(f, -EINVAL, "'%s' is no URL of a gateway", url);
	snprintf(i->host, sizeof i->host, "%.*s", (int)n, host);
	const char *colon = strrchr(i->host, ':'), *bracket = strrchr(i->host, ']');
	bool has_port = colon && (!bracket || colon > bracket);
	snprintf(i->where, sizeof i->where, "%.290s%s", i->host, has_port ? "" : *tls ? ":443" : ":80");
	i->path = strdup(*end && strcmp(end, "/") ? end : OHTTP_PATH);
	return i->path ? 0 : fault_set(f, -ENOMEM, "out of memory");
}

static int set_up(struct ohttp_ingress *i, const struct ohttp_ingress_options *o, struct fault *f)
{
	bool tls = false;
	char *pem = NULL;
	size_t len;
	i->whole = o->whole;
	i->refresh_s = o->refresh_s ? o->refresh_s : REFRESH_S;
	i->answer_ms = o->answer_ms ? o->answer_ms : 60000;
	i->pad = o->pad_bytes ? o->pad_bytes : OHTTP_PAD;
	i->max_body = o->max_body ? o->max_body : OHTTP_MAX_BODY;
	i->scheme = strdup(o->scheme ? o->scheme : "http");
	i->authority = o->authority ? strdup(o->authority) : NULL;
	int err = i->scheme && (i->authority || !o->authority) ? read_url(i, o->url, &tls, f) : fault_set(f, -ENOMEM, "out of memory");
	if (!err && strcmp(i->scheme, "http") && strcmp(i->scheme, "https"))
		err = fault_set(f, -EINVAL, "'%s' is no scheme (http, https)", i->scheme);
	if (!err && tls) {
		err = file_read(o->ca_file ? o->ca_file : SYSTEM_AUTHORITIES, 4u << 20, &pem, &len, f);
		if (!err && !(i->tls = tls_client_context(pem, f)))
			err = -EINVAL;
		free(pem);
	}
	if (!err && o->tls->ca_file)
		err = fault_set(f, -EINVAL, "OHTTP's gateway is known by evidence or a token, not by an ordinary certificate (ca)");
	if (!err && !o->tls->verify && !o->tls->insecure_any_server)
		err = fault_set(f, -EINVAL, "which gateway is meant? Say what it must prove (or insecure_any_server)");
	if (!err && o->tls->verify)
		err = judge_open(&i->judge, o->tls, f);
	return err;
}

static void end(struct ohttp_ingress *i)
{
	while (i->idle_count)
		give_back(i, i->idle[--i->idle_count], false);
	judge_close(i->judge);
	SSL_CTX_free(i->tls);
	pthread_mutex_destroy(&i->lock);
	pthread_mutex_destroy(&i->idle_lock);
	free(i->path);
	free(i->authority);
	free(i->scheme);
	free(i);
}

int ohttp_ingress_start(struct ohttp_ingress **out, const struct ohttp_ingress_options *o, struct fault *f)
{
	struct ohttp_ingress *i = calloc(1, sizeof *i);
	int err = i ? 0 : fault_set(f, -ENOMEM, "out of memory");
	if (i) {
		pthread_mutex_init(&i->lock, NULL);
		pthread_mutex_init(&i->idle_lock, NULL);
		err = set_up(i, o, f);
	}
	if (err) {
		close(o->listener);
	} else {
		const struct http1_server_options so = {.listener = o->listener, .max_connections = o->max_connections, .handle = handle, .ctx = i};
		err = http1_server_start(&i->server, &so, f);
	}
	if (err && i)
		end(i);
	if (!err)
		*out = i;
	return err;
}

void ohttp_ingress_stop(struct ohttp_ingress *i, unsigned int drain_ms)
{
	if (!i)
		return;
	http1_server_stop(i->server, drain_ms);
	end(i);
}

void ohttp_ingress_counts(struct ohttp_ingress *i, struct ohttp_counts *out)
{
	*out = (struct ohttp_counts){.requests = atomic_load(&i->requests), .refused = atomic_load(&i->refused),
		.documents = atomic_load(&i->documents),
				     .failed = atomic_load(&i->failures), .open = http1_server_open_count(i->server)};
}
