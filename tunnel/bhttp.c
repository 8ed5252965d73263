// SPDX-License-Identifier: Apache-2.0
// See bhttp.h. Section numbers are RFC 9292's.
#include "tunnel/bhttp.h"

#include <errno.h>

enum { KNOWN_REQUEST, KNOWN_RESPONSE, REQUEST, RESPONSE };	// framing indicators (section 3.3)

// ---- reading ----

struct cut {
	const uint8_t *at;
	size_t left;
	bool ended;	// what is missing will not come
};

// -EAGAIN: it is not all there.
static int take_number(struct cut *c, uint64_t *v)
{
	size_t n = c->left ? 1u << (c->at[0] >> 6) : 1;
	if (c->left < n)
		return -EAGAIN;
	*v = c->at[0] & 0x3f;
	for (size_t i = 1; i < n; i++)
		*v = *v << 8 | c->at[i];
	c->at += n;
	c->left -= n;
	return 0;
}

static int take_bytes(struct cut *c, uint64_t n, struct http_text *t)
{
	if (n > BHTTP_MAX_HEAD)
		return -E2BIG;
	if (c->left < n)
		return -EAGAIN;
	*t = (struct http_text){(const char *)c->at, (size_t)n};
	c->at += n;
	c->left -= (size_t)n;
	return 0;
}

static int take_text(struct cut *c, struct http_text *t)
{
	uint64_t n;
	int err = take_number(c, &n);
	return err ? err : take_bytes(c, n, t);
}

static bool is_lower_name(const struct http_text *name)
{
	for (size_t i = 0; i < name->len; i++) {
		if (isupper((unsigned char)name->at[i]))
			return false;
	}
	return http_is_token(name->at, name->len);	// pseudo-fields, which begin with a colon, are none
}

// A line whose name has `n` bytes. `fields`: NULL where nobody wants them.
static int take_line(struct cut *c, uint64_t n, struct http_fields *fields, struct fault *f)
{
	struct http_field line;
	int err = take_bytes(c, n, &line.name);
	if (!err)
		err = take_text(c, &line.value);
	if (err)
		return err;
	if (!is_lower_name(&line.name) || !http_is_value(line.value.at, line.value.len))
		return fault_set(f, -EINVAL, "a field with a malformed name or value");
	if (http_field_of_connection(&line.name) && !http_text_is(&line.name, "trailer") && !http_text_is(&line.name, "te"))
		return fault_set(f, -EINVAL, "a field that is about a connection");
	if (fields && fields->count == HTTP_MAX_FIELDS)
		return fault_set(f, -E2BIG, "more than %d fields", HTTP_MAX_FIELDS);
	if (fields)
		fields->field[fields->count++] = line;
	return 0;
}

// Section 3.6. One that is missing altogether, at the end of the message, is empty (section 3.8).
static int take_fields(struct cut *c, bool known, struct http_fields *fields, struct fault *f)
{
	uint64_t n;
	if (!c->left && c->ended)
		return 0;
	int err = take_number(c, &n);
	if (err)
		return err;
	if (known) {
		struct http_text section = {"", 0};
		err = take_bytes(c, n, &section);
		struct cut in = {(const uint8_t *)section.at, section.len, true};
		while (!err && in.left) {
			err = take_number(&in, &n);
			if (!err)
				err = n ? take_line(&in, n, fields, f) : fault_set(f, -EINVAL, "a field without a name");
			if (err == -EAGAIN)
				err = fault_set(f, -EINVAL, "a field that goes beyond its section");
		}
		return err;
	}
	while (!err && n) {
		err = take_line(c, n, fields, f);
		if (!err)
			err = take_number(c, &n);
	}
	return err;
}

static int take_request(struct cut *c, struct bhttp_head *h, struct fault *f)
{
	struct http_text *const parts[] = {&h->method, &h->scheme, &h->authority, &h->path};
	int err = 0;
	for (size_t i = 0; !err && i < 4; i++)
		err = take_text(c, parts[i]);
	if (err)
		return err;
	bool asterisk = http_text_is(&h->method, "OPTIONS") && h->path.len == 1 && *h->path.at == '*';
	if (!http_is_token(h->method.at, h->method.len) || (!http_text_is(&h->scheme, "http") && !http_text_is(&h->scheme, "https")) ||
	    !http_is_authority(h->authority.at, h->authority.len) ||
	    !http_is_visible(h->path.at, h->path.len) || (!asterisk && (!h->path.len || *h->path.at != '/')) || memchr(h->path.at, '#', h->path.len))
		return fault_set(f, -EINVAL, "a request without a proper method, scheme (http, https), authority or path");
	return 0;
}

static int take_status(struct cut *c, bool known, struct bhttp_head *h, struct fault *f)
{
	for (unsigned int informational = 0;; informational++) {
		uint64_t status;
		int err = take_number(c, &status);
		if (err)
			return err;
		h->status = (unsigned int)status;
		if (status >= 200 && status <= 599)
			return 0;
		if (status < 100 || status > 599 || informational == 16)
			return fault_set(f, -EINVAL, "a response without a proper status");
		err = take_fields(c, known, NULL, f);
		if (err)
			return err;
	}
}

static int take_head(struct bhttp_reader *r, struct cut *c, struct fault *f)
{
	uint64_t framing;
	struct bhttp_head *h = &r->head;
	int err = take_number(c, &framing);
	if (err)
		return err;
	if (framing > RESPONSE || (framing & 1) != r->response)
		return fault_set(f, -EINVAL, "not a binary HTTP %s", r->response ? "response" : "request");
	r->known = framing <= KNOWN_RESPONSE;
	memset(h, 0, sizeof *h);
	h->response = r->response;
	err = h->response ? take_status(c, r->known, h, f) : take_request(c, h, f);
	return err ? err : take_fields(c, r->known, &h->fields, f);
}

void bhttp_reader_begin(struct bhttp_reader *r, bool response)
{
	memset(r, 0, sizeof *r);
	r->response = response;
}

void bhttp_reader_free(struct bhttp_reader *r)
{
	outbuf_free(&r->in);
}

int bhttp_reader_add(struct bhttp_reader *r, const void *bytes, size_t n)
{
	if (r->at) {
		outbuf_drop(&r->in, r->at);
		r->at = 0;
	}
	outbuf_put(&r->in, bytes, n);
	return r->in.failed ? -ENOMEM : 0;
}

void bhttp_reader_end(struct bhttp_reader *r)
{
	r->ended = true;
}

// The next piece's length. A message may end where its content would begin (section 3.8), but not after a piece.
static int next_piece(struct bhttp_reader *r, struct cut *c)
{
	bool first = r->left == 0;	// UINT64_MAX: one has been
	if (first && !c->left && c->ended) {
		r->state = BHTTP_AT_TRAILER;
		return 0;
	}
	int err = take_number(c, &r->left);
	if (err)
		return err;
	r->state = r->left ? BHTTP_AT_PIECE : BHTTP_AT_TRAILER;
	return 0;
}

// One step: an event, 0 to go on (BHTTP_MORE is its number too, but a step that waits says -EAGAIN).
static int step(struct bhttp_reader *r, struct cut *c, const uint8_t **piece, size_t *len, struct fault *f)
{
	int err;
	switch (r->state) {
	case BHTTP_AT_HEAD:
		err = take_head(r, c, f);
		if (err)
			return err;
		r->state = BHTTP_AT_CONTENT;
		r->left = 0;
		return BHTTP_HEAD;
	case BHTTP_AT_CONTENT:
		return next_piece(r, c);
	case BHTTP_AT_PIECE:
		if (!c->left)
			return -EAGAIN;
		*piece = c->at;
		*len = c->left < r->left ? c->left : (size_t)r->left;
		c->at += *len;
		c->left -= *len;
		r->left -= *len;
		if (!r->left) {
			r->state = r->known ? BHTTP_AT_TRAILER : BHTTP_AT_CONTENT;
			r->left = UINT64_MAX;
		}
		return BHTTP_CONTENT;
	case BHTTP_AT_TRAILER:
		// Trailers and padding are looked at when all is there.
		if (!c->ended)
			return c->left > BHTTP_MAX_HEAD ? -E2BIG : -EAGAIN;
		err = take_fields(c, r->known, NULL, f);
		if (err)
			return err;
		for (; c->left; c->at++, c->left--) {
			if (*c->at)
				return fault_set(f, -EINVAL, "padding that is not zeros");
		}
		r->state = BHTTP_AT_END;
		return 0;
	default: return BHTTP_END;
	}
}

int bhttp_reader_next(struct bhttp_reader *r, const uint8_t **piece, size_t *len, struct fault *f)
{
	int got;
	do {
		struct cut c = {r->in.at ? r->in.at + r->at : (const uint8_t *)"", r->in.len - r->at, r->ended};
		got = step(r, &c, piece, len, f);
		if (got >= 0)
			r->at = r->in.len - c.left;
	} while (!got);
	if (got == -EAGAIN && r->ended)
		return fault_set(f, -EINVAL, "the message is cut short");
	if (got == -EAGAIN && r->state == BHTTP_AT_HEAD && r->in.len - r->at > BHTTP_MAX_HEAD)
		got = -E2BIG;
	if (got == -E2BIG)
		return fault_set(f, -E2BIG, "the message's fields are too long");
	return got == -EAGAIN ? BHTTP_MORE : got;
}

// ---- writing ----

static void put_text(struct outbuf *b, const struct http_text *t)
{
	outbuf_varint(b, t->len);
	outbuf_put(b, t->at, t->len);
}

static void put_fields(struct outbuf *b, bool known, const struct http_fields *fields)
{
	struct outbuf section = {.at = NULL};
	for (unsigned int i = 0; i < fields->count; i++) {
		const struct http_field *l = &fields->field[i];
		if (http_field_of_connection(&l->name) || http_field_named_by_connection(fields, &l->name))
			continue;
		outbuf_varint(&section, l->name.len);
		uint8_t *p = outbuf_add(&section, l->name.len);
		for (size_t k = 0; p && k < l->name.len; k++)
			p[k] = (uint8_t)tolower((unsigned char)l->name.at[k]);
		put_text(&section, &l->value);
	}
	if (known)
		outbuf_varint(b, section.len);
	outbuf_put(b, section.at, section.len);
	if (!known)
		outbuf_varint(b, 0);
	b->failed |= section.failed;
	outbuf_free(&section);
}

void bhttp_put_request(struct outbuf *b, bool known, const struct http_text *method, const struct http_text *scheme,
	const struct http_text *authority,
		       const struct http_text *path, const struct http_fields *fields)
{
	outbuf_varint(b, known ? KNOWN_REQUEST : REQUEST);
	put_text(b, method);
	put_text(b, scheme);
	put_text(b, authority);
	put_text(b, path);
	put_fields(b, known, fields);
}

void bhttp_put_response(struct outbuf *b, bool known, unsigned int status, const struct http_fields *fields)
{
	outbuf_varint(b, known ? KNOWN_RESPONSE : RESPONSE);
	outbuf_varint(b, status);
	put_fields(b, known, fields);
}

void bhttp_put_content(struct outbuf *b, const void *bytes, size_t len)
{
	if (!len)
		return;
	outbuf_varint(b, len);
	outbuf_put(b, bytes, len);
}

void bhttp_put_end(struct outbuf *b)
{
	outbuf_varint(b, 0);	// of the content
	outbuf_varint(b, 0);	// no trailers
}

void bhttp_put_padding(struct outbuf *b, size_t before, size_t multiple)
{
	size_t over = (before + b->len) % multiple;
	uint8_t *p = over ? outbuf_add(b, multiple - over) : NULL;
	if (p)
		memset(p, 0, multiple - over);
}
