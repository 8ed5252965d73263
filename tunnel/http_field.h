// SPDX-License-Identifier: Apache-2.0
// Fields of an HTTP message, as its binary form (bhttp.h) and its HTTP/1.1 form (http1.h) both hold them: they point into the message. Pure; no
// locks.
#ifndef COFFER_TUNNEL_HTTP_FIELD_H
#define COFFER_TUNNEL_HTTP_FIELD_H

#include <ctype.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

#define HTTP_MAX_FIELDS 100

struct http_text {
	const char *at;
	size_t len;
};

struct http_field {
	struct http_text name, value;
};

struct http_fields {
	struct http_field field[HTTP_MAX_FIELDS];
	unsigned int count;
};

static inline bool http_text_is(const struct http_text *t, const char *s)
{
	return t->len == strlen(s) && !strncasecmp(t->at, s, t->len);
}

// The first field of that name; NULL: none.
static inline const struct http_text *http_field_find(const struct http_fields *f, const char *name)
{
	for (unsigned int i = 0; i < f->count; i++) {
		if (http_text_is(&f->field[i].name, name))
			return &f->field[i].value;
	}
	return NULL;
}

static inline bool http_token_char(unsigned char c)
{
	return isalnum(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

// A name (RFC 9110 section 5.1).
static inline bool http_is_token(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (!http_token_char((unsigned char)s[i]))
			return false;
	}
	return len > 0;
}

// A value (section 5.5): without control characters, and without white space at its ends.
static inline bool http_is_value(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];
		if ((c < ' ' && c != '\t') || c == 0x7f)
			return false;
	}
	return !len || (s[0] != ' ' && s[0] != '\t' && s[len - 1] != ' ' && s[len - 1] != '\t');
}

// Printable ASCII without spaces: what may stand in a request line.
static inline bool http_is_visible(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if ((unsigned char)s[i] <= ' ' || (unsigned char)s[i] >= 0x7f)
			return false;
	}
	return true;
}

// "host:port" and the like: no path, no user.
static inline bool http_is_authority(const char *s, size_t len)
{
	return http_is_visible(s, len) && !memchr(s, '/', len) && !memchr(s, '@', len) && !memchr(s, '\\', len) && !memchr(s, '?', len) &&
	       !memchr(s, '#', len);
}

// A comma-separated list of words has this one.
static inline bool http_has_word(const struct http_text *list, const char *word)
{
	for (size_t i = 0; i < list->len;) {
		size_t n = 0;
		while (i + n < list->len && list->at[i + n] != ',')
			n++;
		struct http_text w = {list->at + i, n};
		while (w.len && (*w.at == ' ' || *w.at == '\t'))
			w.at++, w.len--;
		while (w.len && (w.at[w.len - 1] == ' ' || w.at[w.len - 1] == '\t'))
			w.len--;
		if (http_text_is(&w, word))
			return true;
		i += n + 1;
	}
	return false;
}

// Fields that are about one connection (RFC 9110 section 7.6.1, RFC 9113 section 8.2.2) go no further, and have no place in a binary message.
static inline bool http_field_of_connection(const struct http_text *name)
{
	static const char *const names[] = {"connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "te", "trailer",
					    "proxy-authorization", "proxy-authenticate", "http2-settings"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (http_text_is(name, names[i]))
			return true;
	}
	return false;
}

// Connection names it as another one of that kind.
static inline bool http_field_named_by_connection(const struct http_fields *f, const struct http_text *name)
{
	char word[64];
	if (name->len >= sizeof word)
		return false;
	memcpy(word, name->at, name->len);
	word[name->len] = '\0';
	for (unsigned int i = 0; i < f->count; i++) {
		if (http_text_is(&f->field[i].name, "connection") && http_has_word(&f->field[i].value, word))
			return true;
	}
	return false;
}

#endif
