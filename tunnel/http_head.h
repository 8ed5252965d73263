// SPDX-License-Identifier: Apache-2.0
// Heads of HTTP/1.x messages as a proxy needs them: all fields, as they are, to be passed on but for those of one hop. Strict (RFC 9112): what two
// readers could understand in two ways is refused, since that is what request smuggling is made of. Pure; no allocation, no locks.
#ifndef COFFER_TUNNEL_HTTP_HEAD_H
#define COFFER_TUNNEL_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEAD_MAX 32768		// bytes of a response's head; a request's is limited by ACCEPT_MAX_INPUT
#define HEAD_MAX_FIELDS 128

struct head_text {
	const char *p;
	size_t n;
};

struct head_field {
	struct head_text name, value;	// the value without white space around it
	bool drop;			// of this hop only
};

enum head_body {
	BODY_NONE,		// neither of the others is said
	BODY_LENGTH,
	BODY_CHUNKED,
};

struct head {
	struct head_text line;		// the request or status line
	struct head_field field[HEAD_MAX_FIELDS];
	size_t n;
	enum head_body body;
	uint64_t length;
};

// The length of the head including its empty line; 0: not whole yet; -EPROTO: a line that does not end in CR LF, or a character that no head may
// have. *scanned (0 at first) says how much was looked at already.
int head_end(const char *bytes, size_t n, size_t *scanned);
// Splits a whole head into fields, and says what follows it. -EPROTO: malformed, or framed in two ways; -E2BIG: too many fields; -EOPNOTSUPP: a
// transfer coding other than chunked.
int head_parse(struct head *h, const char *bytes, size_t len);
// Marks what is of this hop only (RFC 9110 section 7.6.1). -EPROTO: the peer calls a field so that belongs to the message.
int head_drop_hop(struct head *h);

bool head_is(struct head_text t, const char *name);	// upper or lower case
// The only field of this name: 1; none: 0; -EPROTO: several.
int head_one(const struct head *h, const char *name, struct head_text *value);
// Calls for each member of a list of tokens ("a, b") in any field of this name; stops when `each` says false.
bool head_tokens(const struct head *h, const char *name, bool (*each)(void *ctx, struct head_text token), void *ctx);
bool head_is_token(struct head_text t);

#endif
