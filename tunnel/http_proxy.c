// SPDX-License-Identifier: Apache-2.0
// HTTP proxy (RFC 9110, 9112): CONNECT, and requests for http:// that are passed on with the fields of one hop taken out. A forwarded request has
// a connection of its own and both sides are told so ("Connection: close"): nothing that follows it can be taken for another request by anybody.
// No locks.
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/file.h"
#include "tunnel/acceptor.h"
#include "tunnel/http_head.h"
#include "tunnel/users.h"

#define CHUNK_LINE 300		// size and extensions
#define MAX_TRAILERS 8192
#define MAX_INFORMATIONAL 16	// 1xx answers to one request

enum up_state { UP_PASS, UP_SIZE, UP_CHUNK, UP_CHUNK_END, UP_TRAILER, UP_END };
enum down_state { DOWN_HEAD, DOWN_PASS, DOWN_END };

// Bytes of our own making that are to go out before others.
struct emit {
	char *bytes;	// owned
	size_t at, len;
};

struct proxy_message {
	struct emit up_emit, down_emit;
	enum up_state up;
	uint64_t left;		// of the body, or of the chunk
	char line[CHUNK_LINE];
	size_t line_len, trailers;
	enum down_state down;
	bool version_1_0;	// of the client
	unsigned int informational;
	char *head;		// of the response, as far as it has come; HEAD_MAX bytes
	size_t head_len, scanned;
};

// What we are called in Via: another name in each process, so that a request that comes round is known.
static char via_name[32];
static pthread_once_t via_once = PTHREAD_ONCE_INIT;

static void make_via_name(void)
{
	unsigned int n = 0;
	if (RAND_bytes((unsigned char *)&n, sizeof n) != 1)
		n = 0;
	snprintf(via_name, sizeof via_name, "coffer-%08x", n);
}

// ---- answers of our own ----

static int answer_text(char *out, size_t size, int status, const char *title, const char *text)
{
	const char *more = status == 407 ? "Proxy-Authenticate: Basic realm=\"coffer tunnel\"\r\n" :
			   status == 405 ? "Allow: CONNECT, GET, HEAD, POST\r\n" : "";
	return snprintf(out, size, "HTTP/1.1 %d %s\r\n%sConnection: close\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s\n",
			status, title, more, strlen(text) + 1, text);
}

static enum accept_step refuse(struct acceptor *a, int status, const char *title, const char *text)
{
	char out[ACCEPT_OUT];
	int n = answer_text(out, sizeof out, status, title, text);
	if (a->head_request)	// the answer to HEAD has no content
		n = (int)(strstr(out, "\r\n\r\n") + 4 - out);
	accept_say(a, out, n < (int)sizeof out ? (size_t)n : sizeof out);
	return accept_refuse(a, text);
}

static enum accept_step malformed(struct acceptor *a, const char *text)
{
	return refuse(a, 400, "Bad Request", text);
}

enum accept_step proxy_connected(struct acceptor *a, int error)
{
	static const char open[] = "HTTP/1.1 200 Connection established\r\n\r\n";
	switch (error) {
	case 0:
		if (!a->http)
			accept_say(a, open, sizeof open - 1);
		return ACCEPT_OPEN;
	case -EACCES: case -EPERM: return refuse(a, 403, "Forbidden", "The gateway's rules do not allow this destination.");
	case -ETIMEDOUT: return refuse(a, 504, "Gateway Timeout", "The destination did not answer in time.");
	case -ECONNREFUSED: return refuse(a, 502, "Bad Gateway", "The destination refused the connection.");
	case -ENOENT: return refuse(a, 502, "Bad Gateway", "The destination's name is not known.");
	case -EHOSTUNREACH: case -ENETUNREACH: return refuse(a, 502, "Bad Gateway", "The destination cannot be reached, or its name is not known.");
	case -EKEYREJECTED: return refuse(a, 502, "Bad Gateway", "The far gateway has not proved what it is asked to prove, or refuses this one.");
	case -EBUSY: case -ENOBUFS: case -EMFILE: case -ENFILE: case -ENOMEM:
		return refuse(a, 503, "Service Unavailable", "The gateway has no room for more connections.");
	default: return refuse(a, 502, "Bad Gateway", "The destination was not reached.");
	}
}

// ---- requests ----

struct request {
	struct head_text method, target;
	bool version_1_0;
};

// "METHOD SP target SP HTTP/1.x"
static int parse_line(struct request *q, struct head_text line)
{
	const char *first = memchr(line.p, ' ', line.n), *end = line.p + line.n, *last = end - 9;	// " HTTP/1.1"
	if (!first || line.n < 12 || first >= last || *last != ' ' || memcmp(last + 1, "HTTP/1.", 7) || (last[8] != '0' && last[8] != '1'))
		return -EPROTO;
	q->method = (struct head_text){line.p, (size_t)(first - line.p)};
	q->target = (struct head_text){first + 1, (size_t)(last - first - 1)};
	q->version_1_0 = last[8] == '0';
	for (size_t i = 0; i < q->target.n; i++) {
		if (q->target.p[i] <= ' ' || q->target.p[i] > '~')
			return -EPROTO;
	}
	return head_is_token(q->method) && q->target.n ? 0 : -EPROTO;
}

static bool authorised(struct acceptor *a, const struct head *h)
{
	struct head_text v;
	unsigned char plain[1024];
	int n;
	bool known = false;
	if (head_one(h, "proxy-authorization", &v) != 1 || v.n < 7 || !head_is((struct head_text){v.p, 6}, "basic "))
		return false;
	v = (struct head_text){v.p + 6, v.n - 6};
	while (v.n && *v.p == ' ')
		v = (struct head_text){v.p + 1, v.n - 1};
	if (!v.n || v.n % 4 || v.n / 4 * 3 > sizeof plain)
		return false;
	n = EVP_DecodeBlock(plain, (const unsigned char *)v.p, (int)v.n);
	n -= v.p[v.n - 1] == '=' ? 1 + (v.p[v.n - 2] == '=') : 0;
	const unsigned char *colon = n > 0 ? memchr(plain, ':', (size_t)n) : NULL;
	if (colon && colon - plain < ACCEPT_USER)
		known = users_know(a->o->users, plain, (size_t)(colon - plain), colon + 1, (size_t)(plain + n - colon - 1));
	if (known)
		memcpy(a->user, plain, (size_t)(colon - plain));
	OPENSSL_cleanse(plain, sizeof plain);
	return known;
}

static bool is_not_ours(void *ctx, struct head_text token)
{
	const size_t n = strlen(ctx);
	for (size_t i = 0; i + n <= token.n; i++) {
		if (!memcmp(token.p + i, ctx, n))
			return false;
	}
	return true;
}

static char *append(char *at, const char *text, size_t n)
{
	return mempcpy(at, text, n);
}

static char *append_text(char *at, const char *text)
{
	return append(at, text, strlen(text));
}

static char *append_fields(char *at, const struct head *h)
{
	for (size_t i = 0; i < h->n; i++) {
		if (h->field[i].drop)
			continue;
		at = append(at, h->field[i].name.p, h->field[i].name.n);
		at = append_text(at, ": ");
		at = append(at, h->field[i].value.p, h->field[i].value.n);
		at = append_text(at, "\r\n");
	}
	return at;
}

static char *append_end(char *at, bool version_1_0)
{
	return append_text(append_text(append_text(at, version_1_0 ? "Via: 1.0 " : "Via: 1.1 "), via_name), "\r\nConnection: close\r\n\r\n");
}

// The request as the destination is to see it. `path` is what follows the authority.
static int compose(struct acceptor *a, struct head *h, const struct request *q, struct head_text path, size_t head_len)
{
	struct proxy_message *m = calloc(1, sizeof *m);
	char authority[TARGET_TEXT], *bytes = malloc(head_len + sizeof authority + 256), *at = bytes;
	if (!m || !bytes) {
		free(m);
		free(bytes);
		return -ENOMEM;
	}
	target_text(&a->target, authority);
	if (a->target.port == 80)
		*strrchr(authority, ':') = '\0';
	for (size_t i = 0; i < h->n; i++)
		h->field[i].drop |= head_is(h->field[i].name, "host");
	at = append_text(append(at, q->method.p, q->method.n), " ");
	// "OPTIONS http://host" without a path is about the server as a whole (RFC 9112 section 3.2.4)
	if (!path.n && head_is(q->method, "options"))
		at = append_text(at, "*");
	else if (!path.n || *path.p == '?')
		at = append_text(at, "/");
	at = append_text(append(at, path.p, path.n), q->version_1_0 ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n");
	at = append_text(append_text(append_text(at, "Host: "), authority), "\r\n");
	at = append_end(append_fields(at, h), q->version_1_0);
	m->up_emit = (struct emit){.bytes = bytes, .len = (size_t)(at - bytes)};
	m->up = h->body == BODY_CHUNKED ? UP_SIZE : h->body == BODY_LENGTH && h->length ? UP_PASS : UP_END;
	m->left = h->length;
	m->version_1_0 = q->version_1_0;
	a->http = m;
	return 0;
}

static enum accept_step forward(struct acceptor *a, struct head *h, const struct request *q, size_t head_len)
{
	static const char scheme[] = "http://";
	const size_t n = sizeof scheme - 1;
	struct head_text authority, path, unused;
	bool limited = head_one(h, "max-forwards", &unused);
	if (q->target.n <= n || strncasecmp(q->target.p, scheme, n)) {
		if (q->target.n > 8 && !strncasecmp(q->target.p, "https://", 8))
			return malformed(a, "This proxy reaches https:// by CONNECT only.");
		return malformed(a, "This is a proxy: it takes CONNECT, and requests for http:// with the whole address.");
	}
	if (head_is(q->method, "trace") || limited)
		return refuse(a, 405, "Method Not Allowed", "TRACE and Max-Forwards are not supported.");
	authority = (struct head_text){q->target.p + n, q->target.n - n};
	path = authority;
	while (path.n && *path.p != '/' && *path.p != '?' && *path.p != '#')
		path = (struct head_text){path.p + 1, path.n - 1};
	authority.n -= path.n;
	if (memchr(path.p, '#', path.n) || target_parse(&a->target, authority.p, authority.n, 80))
		return malformed(a, "Malformed address.");
	if (q->version_1_0 && h->body == BODY_CHUNKED)
		return malformed(a, "HTTP/1.0 has no chunks.");
	if (head_drop_hop(h))
		return malformed(a, "The field Connection names what is not of this connection.");
	if (!head_tokens(h, "via", is_not_ours, via_name))
		return refuse(a, 508, "Loop Detected", "The request has passed this gateway before.");
	if (compose(a, h, q, path, head_len))
		return refuse(a, 503, "Service Unavailable", "No memory.");
	return ACCEPT_TARGET;
}

static enum accept_step take_request(struct acceptor *a, const char *bytes, size_t len)
{
	struct head h;
	struct request q;
	struct head_text host;
	int err = head_parse(&h, bytes, len), hosts;
	if (err == -EOPNOTSUPP)
		return refuse(a, 501, "Not Implemented", "A transfer coding other than chunked.");
	if (err == -E2BIG)
		return refuse(a, 431, "Request Header Fields Too Large", "Too many fields.");
	if (err || parse_line(&q, h.line))
		return malformed(a, "Malformed request.");
	a->head_request = head_is(q.method, "head");
	hosts = head_one(&h, "host", &host);
	if (hosts < 0 || (!hosts && !q.version_1_0))
		return malformed(a, "A request has one field Host.");
	if (a->o->users && !authorised(a, &h))
		return refuse(a, 407, "Proxy Authentication Required", "A name and a password are needed, or they were wrong.");
	if (!head_is(q.method, "connect"))
		return forward(a, &h, &q, len);
	if (h.body == BODY_CHUNKED || h.length)
		return malformed(a, "CONNECT has no content.");
	if (target_parse(&a->target, q.target.p, q.target.n, 0))
		return malformed(a, "CONNECT takes host:port.");
	return ACCEPT_TARGET;
}

enum accept_step proxy_input(struct acceptor *a, const uint8_t *bytes, size_t n, size_t *used)
{
	pthread_once(&via_once, make_via_name);
	if (n && bytes[0] < ' ')
		return accept_refuse(a, bytes[0] == 0x16 ? "the client speaks TLS to an HTTP proxy" : bytes[0] == 4 || bytes[0] == 5 ?
					"the client speaks SOCKS to an HTTP proxy" : "the client does not speak HTTP");
	int len = head_end((const char *)bytes, n, &a->scanned);
	if (len < 0)
		return malformed(a, "Malformed request.");
	if (!len)
		return n < ACCEPT_MAX_INPUT ? ACCEPT_MORE : refuse(a, 431, "Request Header Fields Too Large", "The request's head is too long.");
	*used = (size_t)len;
	return take_request(a, (const char *)bytes, (size_t)len);
}

// ---- from the client to the destination ----

static void flush(struct emit *e, uint8_t *out, size_t size, size_t *made)
{
	size_t n = e->len - e->at < size - *made ? e->len - e->at : size - *made;
	if (!n)
		return;
	memcpy(out + *made, e->bytes + e->at, n);
	e->at += n;
	*made += n;
	if (e->at == e->len) {
		free_wiped(e->bytes, e->len);	// it may have had a cookie or a password
		*e = (struct emit){0};
	}
}

static int emit(struct emit *e, const char *text, size_t n)
{
	e->bytes = malloc(n);
	if (!e->bytes)
		return -ENOMEM;
	memcpy(e->bytes, text, n);
	e->at = 0;
	e->len = n;
	return 0;
}

static size_t pass(const uint8_t *in, size_t n, size_t *used, uint8_t *out, size_t size, size_t *made, uint64_t left)
{
	size_t len = n - *used < size - *made ? n - *used : size - *made;
	if (len > left)
		len = (size_t)left;
	if (len)
		memcpy(out + *made, in + *used, len);
	*used += len;
	*made += len;
	return len;
}

// A line of the chunked coding. 1: m->line has one, without its end; 0: not whole yet; -EPROTO.
static int take_line(struct proxy_message *m, const uint8_t *in, size_t n, size_t *used)
{
	while (*used < n) {
		char c = (char)in[(*used)++];
		bool after_cr = m->line_len && m->line[m->line_len - 1] == '\r';
		if (after_cr && c == '\n') {
			m->line[--m->line_len] = '\0';
			return 1;
		}
		if (after_cr || ((unsigned char)c < ' ' && c != '\r' && c != '\t') || c == 0x7f || m->line_len == sizeof m->line - 1)
			return -EPROTO;
		m->line[m->line_len++] = c;
	}
	return 0;
}

// size [; extensions]. Extensions are for one hop.
static int take_chunk_size(struct proxy_message *m)
{
	static const char digits[] = "0123456789abcdef";
	char text[24];
	size_t i = 0;
	m->left = 0;
	for (; i < m->line_len; i++) {
		char c = m->line[i];
		const char *d = c ? strchr(digits, c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c) : NULL;
		if (!d)
			break;
		if (i == 15)
			return -EPROTO;
		m->left = m->left << 4 | (uint64_t)(d - digits);
	}
	if (!i || (i < m->line_len && m->line[i] != ';'))
		return -EPROTO;
	m->line_len = 0;
	m->up = m->left ? UP_CHUNK : UP_TRAILER;
	if (!m->left)
		return 0;	// the end is written when it is known to be one
	int len = snprintf(text, sizeof text, "%llx\r\n", (unsigned long long)m->left);
	return emit(&m->up_emit, text, (size_t)len);
}

// Trailers may be dropped (RFC 9110 section 6.5.1), and are: a field that comes late is read by some and not by others.
static int take_trailer(struct proxy_message *m)
{
	const char *colon = memchr(m->line, ':', m->line_len);
	m->trailers += m->line_len + 2;
	if (m->line_len && (!colon || !head_is_token((struct head_text){m->line, (size_t)(colon - m->line)}) || m->trailers > MAX_TRAILERS))
		return -EPROTO;
	if (!m->line_len) {
		m->up = UP_END;
		return emit(&m->up_emit, "0\r\n\r\n", 5);
	}
	m->line_len = 0;
	return 0;
}

static int up_step(struct proxy_message *m, const uint8_t *in, size_t n, size_t *used, uint8_t *out, size_t size, size_t *made)
{
	int got;
	switch (m->up) {
	case UP_PASS:
	case UP_CHUNK:
		m->left -= pass(in, n, used, out, size, made, m->left);
		if (!m->left)
			m->up = m->up == UP_PASS ? UP_END : UP_CHUNK_END;
		return 0;
	case UP_CHUNK_END:
		got = take_line(m, in, n, used);
		if (got <= 0)
			return m->line_len && m->line[0] != '\r' ? -EPROTO : got;
		if (m->line_len)
			return -EPROTO;
		m->up = UP_SIZE;
		return emit(&m->up_emit, "\r\n", 2);
	case UP_SIZE:
		got = take_line(m, in, n, used);
		return got > 0 ? take_chunk_size(m) : got;
	case UP_TRAILER:
		got = take_line(m, in, n, used);
		return got > 0 ? take_trailer(m) : got;
	case UP_END:
		return 1;
	}
	return -EPROTO;
}

int proxy_up(struct proxy_message *m, const uint8_t *in, size_t n, size_t *used, uint8_t *out, size_t size, size_t *made)
{
	*used = *made = 0;
	for (;;) {
		size_t used_before = *used, made_before = *made;
		enum up_state before = m->up;
		flush(&m->up_emit, out, size, made);
		if (m->up_emit.len)
			return 0;	// no room
		int err = up_step(m, in, n, used, out, size, made);
		if (err) {
			*used = err < 0 ? *used : n;
			return err;
		}
		if (*used == used_before && *made == made_before && m->up == before && !m->up_emit.len)
			return 0;
	}
}

// ---- from the destination to the client ----

static int bad_answer(struct proxy_message *m, const char *text)
{
	char out[ACCEPT_OUT];
	int n = answer_text(out, sizeof out, 502, "Bad Gateway", text);
	m->down = DOWN_END;
	return emit(&m->down_emit, out, (size_t)n);
}

// "HTTP/1.x 200 reason"
static int status_of(struct head_text line)
{
	const char *p = line.p;
	if (line.n < 12 || memcmp(p, "HTTP/1.", 7) || (p[7] != '0' && p[7] != '1') || p[8] != ' ' || (line.n > 12 && p[12] != ' '))
		return -EPROTO;
	for (int i = 9; i < 12; i++) {
		if (p[i] < '0' || p[i] > '9')
			return -EPROTO;
	}
	return (p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0');
}

static int take_answer(struct proxy_message *m, size_t len)
{
	struct head h;
	int err = head_parse(&h, m->head, len), status = err ? err : status_of(h.line);
	if (status < 100 || head_drop_hop(&h) || (h.body == BODY_CHUNKED && m->version_1_0))
		return bad_answer(m, "The destination's answer is malformed.");
	if (status == 101 || status == 407)
		return bad_answer(m, "The destination answers what nobody asked.");
	bool informational = status < 200;
	if (informational && ++m->informational > MAX_INFORMATIONAL)
		return bad_answer(m, "The destination does not come to its answer.");
	m->head_len = m->scanned = 0;
	if (informational && m->version_1_0)
		return 0;
	char *bytes = malloc(len + 128), *at = bytes;
	if (!bytes)
		return -ENOMEM;
	at = append_text(append(append_text(at, "HTTP/1.1"), h.line.p + 8, h.line.n - 8), "\r\n");
	at = informational ? append_text(append_fields(at, &h), "\r\n") : append_end(append_fields(at, &h), h.line.p[7] == '0');
	m->down_emit = (struct emit){.bytes = bytes, .len = (size_t)(at - bytes)};
	if (!informational) {
		m->down = DOWN_PASS;
		free_wiped(m->head, HEAD_MAX);
		m->head = NULL;
	}
	return 0;
}

static int read_answer(struct proxy_message *m, const uint8_t *in, size_t n, size_t *used)
{
	if (!m->head && !(m->head = malloc(HEAD_MAX)))
		return -ENOMEM;
	size_t len = n - *used < HEAD_MAX - m->head_len ? n - *used : HEAD_MAX - m->head_len, before = m->head_len;
	if (!len)
		return 0;
	memcpy(m->head + m->head_len, in + *used, len);
	m->head_len += len;
	int end = head_end(m->head, m->head_len, &m->scanned);
	if (end < 0)
		return bad_answer(m, "The destination's answer is malformed.");
	if (!end) {
		*used += len;
		return m->head_len < HEAD_MAX ? 0 : bad_answer(m, "The head of the destination's answer is too long.");
	}
	*used += (size_t)end - before;	// what follows the head stays
	return take_answer(m, (size_t)end);
}

int proxy_down(struct proxy_message *m, const uint8_t *in, size_t n, size_t *used, uint8_t *out, size_t size, size_t *made)
{
	*used = *made = 0;
	for (;;) {
		size_t used_before = *used, made_before = *made;
		flush(&m->down_emit, out, size, made);
		if (m->down_emit.len)
			return 0;
		int err = 0;
		if (m->down == DOWN_END) {
			*used = n;
			return 1;
		}
		if (m->down == DOWN_PASS)
			pass(in, n, used, out, size, made, UINT64_MAX);
		else
			err = read_answer(m, in, n, used);
		if (err)
			return err;
		if (*used == used_before && *made == made_before && !m->down_emit.len && m->down != DOWN_END)
			return 0;
	}
}

size_t proxy_down_end(struct proxy_message *m, uint8_t *out)
{
	size_t made = 0;
	if (m->down == DOWN_HEAD && !m->down_emit.len && !bad_answer(m, "The destination closed the connection without an answer."))
		flush(&m->down_emit, out, ACCEPT_LAST_WORDS, &made);
	return made;
}

void proxy_message_free(struct proxy_message *m)
{
	if (!m)
		return;
	free_wiped(m->up_emit.bytes, m->up_emit.len);
	free_wiped(m->down_emit.bytes, m->down_emit.len);
	free_wiped(m->head, HEAD_MAX);
	free(m);
}
