// SPDX-License-Identifier: Apache-2.0
// Gets small public documents from services of others: libcurl, with its proxies, authorities of the system and TLS of whatever version
// they speak. (http_client.h is for our own broker: pinned certificates, TLS 1.3.) Bounded in size and time; what is fetched is untrusted.
// libcurl is loaded when it is wanted, not at each start. One thread at a time per `struct fetch`.
#ifndef COFFER_LIB_FETCH_H
#define COFFER_LIB_FETCH_H

#include <stddef.h>

#include "lib/fault.h"

struct fetch_options {
	const char *ca_file;	// certificates (PEM) to trust instead of the system's; NULL
	unsigned int timeout_s;	// of one whole request; 0: 60
	size_t max_bytes;	// of an answer
};

struct fetch_answer {
	int status;
	char *body;		// a NUL behind it
	size_t body_len;
	char *headers;		// "Name: value\n" lines, a NUL behind them
	char content_type[64];
	long retry_after;	// seconds that the service asks for (status 429, 503); 0: it does not say
};

struct fetch;

// -ENOENT: libcurl is not installed. -EINVAL.
int fetch_open(struct fetch **out, const struct fetch_options *o, struct fault *f);
void fetch_close(struct fetch *c);

// GET. https, or http where the URL says so; redirected to https only. 0 with any status code. -EHOSTUNREACH, -ECONNREFUSED, -ETIMEDOUT,
// -ECONNRESET (cut off), -EKEYREJECTED (TLS), -EFBIG, -EINVAL (the URL), -EPROTO.
int fetch_get(struct fetch *c, const char *url, struct fetch_answer *a, struct fault *f);
void fetch_answer_free(struct fetch_answer *a);

// The value of the first header whose name ends with `suffix` (case does not count), percent-decoded; malloc. NULL: none.
char *fetch_header(const struct fetch_answer *a, const char *suffix, size_t *len);

#endif
