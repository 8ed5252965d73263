// SPDX-License-Identifier: Apache-2.0
// See http1.h. Section numbers are RFC 9112's.
#include "tunnel/http1.h"

#include <errno.h>
#include <stdio.h>

#define MAX_SIZE_LINE 256
#define MAX_TRAILER (16u << 10)

size_t http1_head_end(const void *bytes, size_t len)
{
	const char *end = memmem(bytes, len, "\r\n\r\n", 4);
	return end ? (size_t)(end - (const char *)bytes) + 4 : 0;
}

static struct http_text part(const char *from, const char *to)
{
	return (struct http_text){from, (size_t)(to - from)};
}

static bool starts(const struct http_text *t, const char *with)
{
	size_t n = strlen(with);
	return t->len >= n && !strncasecmp(t->at, with, n);
}

// Forms of section 3.2: /path, http://authority/path, * (of OPTIONS).
static int read_target(struct http1_head *h, struct http_text t, struct fault *f)
{
	if (!t.len || !http_is_visible(t.at, t.len) || memchr(t.at, '#', t.len))
		return fault_set(f, -EINVAL, "a malformed target");
	h->path = t;
	if (*t.at == '/' || (t.len == 1 && *t.at == '*' && http_text_is(&h->method, "OPTIONS")))
		return 0;
	size_t scheme = starts(&t, "http://") ? 4 : starts(&t, "https://") ? 5 : 0;
	if (!scheme)
		return fault_set(f, -EINVAL, "a target that is neither a path nor a URL");
	const char *host = t.at + scheme + 3, *end = t.at + t.len, *slash = memchr(host, '/', (size_t)(end - host)), *query = memchr(host, '?',
		(size_t)(end - host));
	if (query && (!slash || query < slash))
		return fault_set(f, -EINVAL, "a URL without a path before its query");
	h->scheme = part(t.at, t.at + scheme);
	h->authority = part(host, slash ? slash : end);
	h->path = slash ? part(slash, end) : (struct http_text){"/", 1};
	return h->authority.len && http_is_authority(h->authority.at, h->authority.len) ? 0 : fault_set(f, -EINVAL, "a URL without a host");
}

static int read_request_line(struct http1_head *h, struct http_text line, struct fault *f)
{
	const char *end = line.at + line.len, *sp = memchr(line.at, ' ', line.len), *sp2 = sp ? memchr(sp + 1, ' ', (size_t)(end - sp - 1)) : NULL;
	if (!sp2 || end - sp2 != 9 || memcmp(sp2, " HTTP/1.", 8) || (sp2[8] != '0' && sp2[8] != '1'))
		return fault_set(f, -EINVAL, "not a request of HTTP/1.1");
	h->method = part(line.at, sp);
	h->version_1_1 = sp2[8] == '1';
	if (!http_is_token(h->method.at, h->method.len))
		return fault_set(f, -EINVAL, "a malformed method");
	return read_target(h, part(sp + 1, sp2), f);
}

static int read_status_line(struct http1_head *h, struct http_text line, struct fault *f)
{
	const char *s = line.at;
	if (line.len < 12 || memcmp(s, "HTTP/1.", 7) || (s[7] != '0' && s[7] != '1') || s[8] != ' ' || s[9] < '1' || s[9] > '5' ||
		!isdigit((unsigned char)s[10]) ||
	    !isdigit((unsigned char)s[11]) || (line.len > 12 && s[12] != ' '))
		return fault_set(f, -EINVAL, "not a response of HTTP/1.1");
	h->version_1_1 = s[7] == '1';
	h->status = (unsigned int)(s[9] - '0') * 100 + (unsigned int)(s[10] - '0') * 10 + (unsigned int)(s[11] - '0');
	return 0;
}

// Section 5.
static int read_field(struct http_fields *fields, struct http_text line, struct fault *f)
{
	const char *end = line.at + line.len, *colon = memchr(line.at, ':', line.len);
	if (!colon || !http_is_token(line.at, (size_t)(colon - line.at)))
		return fault_set(f, -EINVAL, "a malformed field");
	const char *v = colon + 1;
	while (v < end && (*v == ' ' || *v == '\t'))
		v++;
	while (end > v && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	if (!http_is_value(v, (size_t)(end - v)))
		return fault_set(f, -EINVAL, "a field with control characters");
	if (fields->count == HTTP_MAX_FIELDS)
		return fault_set(f, -E2BIG, "more than %d fields", HTTP_MAX_FIELDS);
	fields->field[fields->count++] = (struct http_field){part(line.at, colon), part(v, end)};
	return 0;
}

static int read_lines(struct http1_head *h, const char *bytes, size_t len, bool response, struct fault *f)
{
	memset(h, 0, sizeof *h);
	if (len > HTTP1_MAX_HEAD)
		return fault_set(f, -E2BIG, "the head is too long");
	if (len < 4 || memcmp(bytes + len - 4, "\r\n\r\n", 4))
		return fault_set(f, -EINVAL, "the head is cut short");
	const char *p = bytes, *last = bytes + len - 2;
	for (bool first = true; p < last; first = false) {
		const char *end = memmem(p, (size_t)(last - p) + 2, "\r\n", 2);
		struct http_text line = part(p, end);
		if (memchr(p, '\n', line.len) || memchr(p, '\r', line.len) || memchr(p, '\0', line.len))
			return fault_set(f, -EINVAL, "a line end that is none");
		int err = !first ? read_field(&h->fields, line, f) : response ? read_status_line(h, line, f) : read_request_line(h, line, f);
		if (err)
			return err;
		p = end + 2;
	}
	return 0;
}

static int read_length(struct http1_head *h, const struct http_text *v, struct fault *f)
{
	uint64_t n = 0;
	if (!v->len || v->len > 15)
		return fault_set(f, -EINVAL, "a malformed Content-Length");
	for (size_t i = 0; i < v->len; i++) {
		if (!isdigit((unsigned char)v->at[i]))
			return fault_set(f, -EINVAL, "a malformed Content-Length");
		n = n * 10 + (uint64_t)(v->at[i] - '0');
	}
	if (h->framing == HTTP1_LENGTH && h->length != n)
		return fault_set(f, -EINVAL, "two different Content-Lengths");
	h->framing = HTTP1_LENGTH;
	h->length = n;
	return 0;
}

// Section 6. Both framings at once is how requests are smuggled: refused.
static int read_framing(struct http1_head *h, bool response, struct fault *f)
{
	unsigned int hosts = 0, codings = 0;
	h->keep_alive = h->version_1_1;
	for (unsigned int i = 0; i < h->fields.count; i++) {
		const struct http_text *name = &h->fields.field[i].name, *v = &h->fields.field[i].value;
		int err = 0;
		if (http_text_is(name, "transfer-encoding"))
			err = !http_text_is(v, "chunked") || codings++ ? fault_set(f, -EOPNOTSUPP, "a transfer coding other than chunked") : 0;
		else if (http_text_is(name, "content-length"))
			err = read_length(h, v, f);
		else if (http_text_is(name, "connection") && http_has_word(v, "close"))
			h->keep_alive = false;
		else if (http_text_is(name, "expect"))
			h->expects_continue = http_text_is(v, "100-continue");
		else if (!response && http_text_is(name, "host") && (hosts++ || !http_is_authority(v->at, v->len)))
			err = fault_set(f, -EINVAL, "a malformed Host, or two");
		else if (!response && http_text_is(name, "host") && !h->authority.len)
			h->authority = *v;
		if (err)
			return err;
	}
	if (!response && !hosts && h->version_1_1)
		return fault_set(f, -EINVAL, "a request without Host");
	if (codings && (h->framing == HTTP1_LENGTH || !h->version_1_1))
		return fault_set(f, -EINVAL, "two framings at once");
	if (codings)
		h->framing = HTTP1_CHUNKED;
	return 0;
}

int http1_request_read(struct http1_head *h, const char *bytes, size_t len, struct fault *f)
{
	int err = read_lines(h, bytes, len, false, f);
	return err ? err : read_framing(h, false, f);
}

int http1_response_read(struct http1_head *h, const char *bytes, size_t len, bool to_head, struct fault *f)
{
	int err = read_lines(h, bytes, len, true, f);
	if (!err)
		err = read_framing(h, true, f);
	if (err)
		return err;
	if (to_head || h->status < 200 || h->status == 204 || h->status == 304)
		h->framing = HTTP1_NONE;
	else if (h->framing == HTTP1_NONE)
		h->framing = HTTP1_TO_THE_END;
	return 0;
}

// ---- content ----

void http1_content_begin(struct http1_content *c, const struct http1_head *h)
{
	*c = (struct http1_content){.framing = h->framing, .state = h->framing == HTTP1_CHUNKED ? HTTP1_AT_SIZE : HTTP1_AT_DATA};
	c->left = h->framing == HTTP1_LENGTH ? h->length : h->framing == HTTP1_TO_THE_END ? UINT64_MAX : 0;
	if (h->framing == HTTP1_NONE || (h->framing == HTTP1_LENGTH && !h->length))
		c->state = HTTP1_AT_END;
}

// "1a;extension" and its line end. -EAGAIN.
static int read_size(struct http1_content *c, const char *in, size_t len, size_t *used)
{
	const char *end = memmem(in, len < MAX_SIZE_LINE ? len : MAX_SIZE_LINE, "\r\n", 2);
	size_t i = 0;
	uint64_t n = 0;
	if (!end)
		return len >= MAX_SIZE_LINE || memchr(in, '\n', len) ? -EINVAL : -EAGAIN;
	size_t line = (size_t)(end - in);
	for (; i < line && isxdigit((unsigned char)in[i]); i++) {
		if (i == 12)
			return -EINVAL;
		n = n << 4 | (uint64_t)(in[i] <= '9' ? in[i] - '0' : (in[i] | 0x20) - 'a' + 10);
	}
	if (!i || (i < line && in[i] != ';' && in[i] != ' ' && in[i] != '\t') || memchr(in, '\n', line) || memchr(in, '\r', line) || memchr(in, '\0',
		line))
		return -EINVAL;
	*used = line + 2;
	c->left = n;
	c->state = n ? HTTP1_AT_DATA : HTTP1_AT_TRAILER;
	return 0;
}

static int read_trailer(struct http1_content *c, const char *in, size_t len, size_t *used)
{
	const char *end = memmem(in, len, "\r\n", 2);
	struct http_fields one = {.count = 0};
	if (!end)
		return len > MAX_TRAILER ? -E2BIG : -EAGAIN;
	*used = (size_t)(end - in) + 2;
	c->trailer += (unsigned int)*used;
	if (end == in)
		c->state = HTTP1_AT_END;
	else if (c->trailer > MAX_TRAILER)
		return -E2BIG;
	else
		return memchr(in, '\n', (size_t)(end - in)) || memchr(in, '\r', (size_t)(end - in)) ? -EINVAL : read_field(&one, part(in, end), NULL);
	return 0;
}

static int take_data(struct http1_content *c, const char *in, size_t len, bool ended, size_t *used, const char **piece, size_t *n)
{
	if (!len && ended && c->framing == HTTP1_TO_THE_END) {
		c->state = HTTP1_AT_END;
		return 0;
	}
	if (!len)
		return -EAGAIN;
	*piece = in;
	*n = *used = len < c->left ? len : (size_t)c->left;
	if (c->framing != HTTP1_TO_THE_END)
		c->left -= *n;
	if (!c->left)
		c->state = c->framing == HTTP1_CHUNKED ? HTTP1_AT_DATA_END : HTTP1_AT_END;
	return HTTP1_PIECE;
}

int http1_content_next(struct http1_content *c, const char *in, size_t len, bool ended, size_t *used, const char **piece, size_t *n)
{
	int got = 0;
	*used = 0;
	while (!got) {
		size_t step = 0;
		switch (c->state) {
		case HTTP1_AT_SIZE: got = read_size(c, in, len, &step); break;
		case HTTP1_AT_DATA: got = take_data(c, in, len, ended, &step, piece, n); break;
		case HTTP1_AT_DATA_END:
			got = len < 2 ? -EAGAIN : memcmp(in, "\r\n", 2) ? -EINVAL : 0;
			step = got ? 0 : 2;
			c->state = got ? HTTP1_AT_DATA_END : HTTP1_AT_SIZE;
			break;
		case HTTP1_AT_TRAILER: got = read_trailer(c, in, len, &step); break;
		case HTTP1_AT_END: return HTTP1_END;
		}
		if (got >= 0) {
			in += step;
			len -= step;
			*used += step;
		}
	}
	return got == -EAGAIN ? ended ? -EINVAL : HTTP1_MORE : got;
}

// ---- writing ----

void http1_put_fields(struct outbuf *b, const struct http_fields *fields)
{
	for (unsigned int i = 0; i < fields->count; i++) {
		const struct http_field *l = &fields->field[i];
		bool own = http_field_of_connection(&l->name) || http_text_is(&l->name, "content-length") || http_text_is(&l->name, "host") ||
			   http_text_is(&l->name, "expect") || http_field_named_by_connection(fields, &l->name);
		if (own)
			continue;
		outbuf_put(b, l->name.at, l->name.len);
		outbuf_put(b, ": ", 2);
		outbuf_put(b, l->value.at, l->value.len);
		outbuf_put(b, "\r\n", 2);
	}
}

void http1_put_chunk(struct outbuf *b, const void *bytes, size_t n)
{
	char size[20];
	outbuf_put(b, size, (size_t)snprintf(size, sizeof size, "%zx\r\n", n));
	outbuf_put(b, bytes, n);
	outbuf_put(b, "\r\n", 2);
}

const char *http1_reason(unsigned int status)
{
	static const struct { unsigned int status; const char *text; } reasons[] = {
		{200, "OK"}, {201, "Created"}, {202, "Accepted"}, {204, "No Content"}, {206, "Partial Content"}, {301, "Moved Permanently"}, {302,
			"Found"},
		{303, "See Other"}, {304, "Not Modified"}, {307, "Temporary Redirect"}, {308, "Permanent Redirect"}, {400, "Bad Request"},
		{401, "Unauthorized"}, {403, "Forbidden"}, {404, "Not Found"}, {405, "Method Not Allowed"}, {408, "Request Timeout"}, {409,
		"Conflict"},
		{413, "Content Too Large"}, {415, "Unsupported Media Type"}, {429, "Too Many Requests"}, {431, "Request Header Fields Too Large"},
		{500, "Internal Server Error"}, {501, "Not Implemented"}, {502, "Bad Gateway"}, {503, "Service Unavailable"}, {504,
		"Gateway Timeout"},
	};
	for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
		if (reasons[i].status == status)
			return reasons[i].text;
	}
	return "Status";
}
