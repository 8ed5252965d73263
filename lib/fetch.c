// SPDX-License-Identifier: Apache-2.0
// See fetch.h.
#include "lib/fetch.h"

#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_HEADERS (128u << 10)

struct fetch {
	CURL *curl;
	size_t max_bytes;
};

struct transfer {
	struct fetch_answer *a;
	size_t max_bytes, body_size, headers_len, headers_size;
	bool too_large;
};

static struct {
	typeof(&curl_global_init) global_init;
	typeof(&curl_easy_init) easy_init;
	typeof(&curl_easy_setopt) easy_setopt;
	typeof(&curl_easy_perform) easy_perform;
	typeof(&curl_easy_getinfo) easy_getinfo;
	typeof(&curl_easy_cleanup) easy_cleanup;
	typeof(&curl_easy_strerror) easy_strerror;
} lib;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool loaded;

static void load(void)
{
	void *so = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
	if (!so)
		return;
#define GET(name) (lib.name = (typeof(lib.name))dlsym(so, "curl_" #name))
	loaded = GET(global_init) && GET(easy_init) && GET(easy_setopt) && GET(easy_perform) && GET(easy_getinfo) && GET(easy_cleanup) &&
		 GET(easy_strerror) && lib.global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
#undef GET
}

// Room for `more` bytes and a NUL.
static bool grow(char **p, size_t *size, size_t have, size_t more)
{
	if (have + more < *size)
		return true;
	size_t bigger = 2 * (have + more) + 1024;
	char *q = realloc(*p, bigger);
	if (!q)
		return false;
	*p = q;
	*size = bigger;
	return true;
}

static size_t take_body(char *bytes, size_t one, size_t n, void *ctx)
{
	struct transfer *t = ctx;
	(void)one;	// is 1
	t->too_large = n > t->max_bytes - t->a->body_len;
	if (t->too_large || !grow(&t->a->body, &t->body_size, t->a->body_len, n))
		return n + 1;	// stops
	memcpy(t->a->body + t->a->body_len, bytes, n);
	t->a->body_len += n;
	t->a->body[t->a->body_len] = '\0';
	return n;
}

static size_t take_header(char *bytes, size_t one, size_t n, void *ctx)
{
	struct transfer *t = ctx;
	size_t len = n;
	(void)one;
	if (n >= 5 && !strncasecmp(bytes, "HTTP/", 5))	// the last of several answers counts
		t->headers_len = 0;
	while (len && (bytes[len - 1] == '\r' || bytes[len - 1] == '\n'))
		len--;
	if (t->headers_len + len + 1 > MAX_HEADERS)
		t->too_large = true;
	if (t->too_large || !grow(&t->a->headers, &t->headers_size, t->headers_len, len + 1))
		return n + 1;
	memcpy(t->a->headers + t->headers_len, bytes, len);
	t->headers_len += len;
	t->a->headers[t->headers_len++] = '\n';
	t->a->headers[t->headers_len] = '\0';
	return n;
}

int fetch_open(struct fetch **out, const struct fetch_options *o, struct fault *f)
{
	struct fetch *c;
	int bad = 0;
	pthread_once(&once, load);
	if (!loaded)
		return fault_set(f, -ENOENT, "the library libcurl.so.4 is missing: install Debian's package libcurl4");
	c = calloc(1, sizeof *c);
	if (!c || !(c->curl = lib.easy_init())) {
		free(c);
		return fault_set(f, -ENOMEM, "out of memory");
	}
	c->max_bytes = o->max_bytes;
#define SET(option, value) (bad |= lib.easy_setopt(c->curl, option, value) != CURLE_OK)
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_PROTOCOLS_STR, "https,http");
	SET(CURLOPT_REDIR_PROTOCOLS_STR, "https");
	SET(CURLOPT_FOLLOWLOCATION, 1L);
	SET(CURLOPT_MAXREDIRS, 3L);
	SET(CURLOPT_CONNECTTIMEOUT, 15L);
	SET(CURLOPT_TIMEOUT, (long)(o->timeout_s ? o->timeout_s : 60));
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	SET(CURLOPT_USERAGENT, "coffer");
	SET(CURLOPT_WRITEFUNCTION, take_body);
	SET(CURLOPT_HEADERFUNCTION, take_header);
	if (o->ca_file) {
		SET(CURLOPT_CAINFO, o->ca_file);
		// Distributions build a folder of the system's authorities in, which would go on being trusted beside that file.
		SET(CURLOPT_CAPATH, (char *)NULL);
	}
#undef SET
	if (bad) {
		fetch_close(c);
		return fault_set(f, -EINVAL, "libcurl does not take the options that are needed: is it older than 7.85?");
	}
	*out = c;
	return 0;
}

void fetch_close(struct fetch *c)
{
	if (c)
		lib.easy_cleanup(c->curl);
	free(c);
}

static int error_of(CURLcode code)
{
	switch (code) {
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
		return -EHOSTUNREACH;
	case CURLE_COULDNT_CONNECT:
		return -ECONNREFUSED;
	case CURLE_OPERATION_TIMEDOUT:
		return -ETIMEDOUT;
	case CURLE_PARTIAL_FILE:
	case CURLE_GOT_NOTHING:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
		return -ECONNRESET;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CONNECT_ERROR:
		return -EKEYREJECTED;
	case CURLE_URL_MALFORMAT:
	case CURLE_UNSUPPORTED_PROTOCOL:
		return -EINVAL;
	case CURLE_OUT_OF_MEMORY:
		return -ENOMEM;
	default:
		return -EPROTO;
	}
}

int fetch_get(struct fetch *c, const char *url, struct fetch_answer *a, struct fault *f)
{
	char why[CURL_ERROR_SIZE] = "";
	struct transfer t = {.a = a, .max_bytes = c->max_bytes};
	const char *type = NULL;
	curl_off_t after = 0;
	long status = 0;
	memset(a, 0, sizeof *a);
	lib.easy_setopt(c->curl, CURLOPT_ERRORBUFFER, why);
	lib.easy_setopt(c->curl, CURLOPT_WRITEDATA, &t);
	lib.easy_setopt(c->curl, CURLOPT_HEADERDATA, &t);
	CURLcode code = lib.easy_setopt(c->curl, CURLOPT_URL, url);
	if (code == CURLE_OK)
		code = lib.easy_perform(c->curl);
	lib.easy_setopt(c->curl, CURLOPT_ERRORBUFFER, NULL);
	if (code == CURLE_OK && !grow(&a->body, &t.body_size, a->body_len, 1))
		code = CURLE_OUT_OF_MEMORY;
	if (code != CURLE_OK) {
		fetch_answer_free(a);
		if (t.too_large)
			return fault_set(f, -EFBIG, "%.300s: the answer is larger than %zu bytes", url, c->max_bytes);
		return fault_set(f, error_of(code), "%.300s: %s", url, *why ? why : lib.easy_strerror(code));
	}
	a->body[a->body_len] = '\0';
	lib.easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
	lib.easy_getinfo(c->curl, CURLINFO_CONTENT_TYPE, &type);
	lib.easy_getinfo(c->curl, CURLINFO_RETRY_AFTER, &after);
	a->status = (int)status;
	a->retry_after = after > 0 ? (long)after : 0;
	snprintf(a->content_type, sizeof a->content_type, "%s", type ? type : "");
	for (char *p = a->content_type; *p; p++) {
		if (*p < ' ' || *p >= 0x7f)
			*p = '?';
	}
	return 0;
}

void fetch_answer_free(struct fetch_answer *a)
{
	free(a->body);
	free(a->headers);
	memset(a, 0, sizeof *a);
}

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

char *fetch_header(const struct fetch_answer *a, const char *suffix, size_t *len)
{
	size_t want = strlen(suffix);
	for (const char *line = a->headers; line && *line;) {
		size_t n = strcspn(line, "\n"), name = strcspn(line, ":\n");
		if (name < n && name >= want && !strncasecmp(line + name - want, suffix, want)) {
			const char *v = line + name + 1, *end = line + n;
			char *out = malloc(n + 1);
			while (v < end && *v == ' ')
				v++;
			for (*len = 0; out && v < end; v++) {
				bool coded = *v == '%' && end - v > 2 && digit(v[1]) >= 0 && digit(v[2]) >= 0;
				out[(*len)++] = coded ? (char)(digit(v[1]) << 4 | digit(v[2])) : *v;
				v += coded ? 2 : 0;
			}
			if (out)
				out[*len] = '\0';
			return out;
		}
		line += n + (line[n] == '\n');
	}
	return NULL;
}
