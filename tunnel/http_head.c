// SPDX-License-Identifier: Apache-2.0
// See http_head.h. No locks.
#include "tunnel/http_head.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

static bool token_char(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("!#$%&'*+-.^_`|~", c));
}

bool head_is_token(struct head_text t)
{
	for (size_t i = 0; i < t.n; i++) {
		if (!token_char((unsigned char)t.p[i]))
			return false;
	}
	return t.n;
}

bool head_is(struct head_text t, const char *name)
{
	return t.n == strlen(name) && !strncasecmp(t.p, name, t.n);
}

static bool same(struct head_text a, struct head_text b)
{
	return a.n == b.n && !strncasecmp(a.p, b.p, a.n);
}

static struct head_text trim(const char *p, size_t n)
{
	while (n && (*p == ' ' || *p == '\t')) {
		p++;
		n--;
	}
	while (n && (p[n - 1] == ' ' || p[n - 1] == '\t'))
		n--;
	return (struct head_text){p, n};
}

int head_end(const char *bytes, size_t n, size_t *scanned)
{
	size_t i = *scanned;
	for (; i < n; i++) {
		unsigned char c = (unsigned char)bytes[i];
		if (c == '\r' && i + 1 == n)
			break;	// whether LF follows is seen later
		if ((c == '\r' && bytes[i + 1] != '\n') || (c == '\n' && (!i || bytes[i - 1] != '\r')) || (c < 0x20 && !strchr("\r\n\t", c)) || !c ||
		    c == 0x7f)
			return -EPROTO;
		if (c == '\n' && i >= 3 && bytes[i - 2] == '\n')
			return (int)i + 1;
	}
	*scanned = i;
	return 0;
}

static int parse_field(struct head_field *f, const char *p, size_t n)
{
	const char *colon = memchr(p, ':', n);
	if (!colon)
		return -EPROTO;
	f->name = (struct head_text){p, (size_t)(colon - p)};
	f->value = trim(colon + 1, n - f->name.n - 1);
	f->drop = false;
	return head_is_token(f->name) ? 0 : -EPROTO;	// also: a line that goes on from the one before, a space before the colon
}

int head_one(const struct head *h, const char *name, struct head_text *value)
{
	int count = 0;
	for (size_t i = 0; i < h->n; i++) {
		if (!head_is(h->field[i].name, name))
			continue;
		*value = h->field[i].value;
		count++;
	}
	return count > 1 ? -EPROTO : count;
}

static int parse_length(struct head_text t, uint64_t *out)
{
	uint64_t n = 0;
	if (!t.n || t.n > 18)
		return -EPROTO;
	for (size_t i = 0; i < t.n; i++) {
		if (t.p[i] < '0' || t.p[i] > '9')
			return -EPROTO;
		n = n * 10 + (uint64_t)(t.p[i] - '0');
	}
	*out = n;
	return 0;
}

static int parse_body(struct head *h)
{
	struct head_text length, coding;
	int has_length = head_one(h, "content-length", &length), has_coding = head_one(h, "transfer-encoding", &coding);
	if (has_length < 0 || has_coding < 0 || (has_length && has_coding))
		return -EPROTO;
	h->body = has_coding ? BODY_CHUNKED : has_length ? BODY_LENGTH : BODY_NONE;
	h->length = 0;
	if (has_coding)
		return head_is(coding, "chunked") ? 0 : -EOPNOTSUPP;
	return has_length ? parse_length(length, &h->length) : 0;
}

int head_parse(struct head *h, const char *bytes, size_t len)
{
	const char *p = bytes, *end = bytes + len - 2;	// the empty line
	h->n = 0;
	h->line.n = 0;
	while (p < end) {
		const char *cr = memchr(p, '\r', (size_t)(end - p));
		size_t n = cr ? (size_t)(cr - p) : 0;
		if (!n)
			return -EPROTO;
		if (!h->line.n) {
			h->line = (struct head_text){p, n};
		} else {
			if (h->n == HEAD_MAX_FIELDS)
				return -E2BIG;
			int err = parse_field(&h->field[h->n++], p, n);
			if (err)
				return err;
		}
		p += n + 2;
	}
	return h->line.n ? parse_body(h) : -EPROTO;
}

bool head_tokens(const struct head *h, const char *name, bool (*each)(void *ctx, struct head_text token), void *ctx)
{
	for (size_t i = 0; i < h->n; i++) {
		struct head_text rest = h->field[i].value;
		if (!head_is(h->field[i].name, name))
			continue;
		while (rest.n) {
			const char *comma = memchr(rest.p, ',', rest.n);
			size_t n = comma ? (size_t)(comma - rest.p) : rest.n, step = comma ? n + 1 : n;
			struct head_text token = trim(rest.p, n);
			if (token.n && !each(ctx, token))
				return false;
			rest = (struct head_text){rest.p + step, rest.n - step};
		}
	}
	return true;
}

static bool drop_named(void *ctx, struct head_text token)
{
	static const char *const kept[] = {
		"content-length", "transfer-encoding", "host", "content-type", "content-encoding", "authorization", "cookie", "set-cookie", "via",
		"cache-control",
	};
	struct head *h = ctx;
	if (!head_is_token(token))
		return false;
	for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
		if (head_is(token, kept[i]))
			return false;
	}
	for (size_t i = 0; i < h->n; i++) {
		if (same(h->field[i].name, token))
			h->field[i].drop = true;
	}
	return true;
}

int head_drop_hop(struct head *h)
{
	static const char *const hop[] = {
		"connection", "proxy-connection", "keep-alive", "te", "upgrade", "http2-settings", "proxy-authorization", "proxy-authenticate",
		"proxy-authentication-info",
	};
	for (size_t i = 0; i < h->n; i++) {
		for (size_t k = 0; k < sizeof hop / sizeof *hop; k++) {
			if (head_is(h->field[i].name, hop[k]))
				h->field[i].drop = true;
		}
	}
	return head_tokens(h, "connection", drop_named, h) ? 0 : -EPROTO;
}
