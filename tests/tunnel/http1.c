// SPDX-License-Identifier: Apache-2.0
// HTTP/1.1 heads and content as an intermediary reads them: whole and byte by byte, and what two readers might understand differently.
#include <errno.h>
#include <stdlib.h>

#include "tests/attest/ok.h"
#include "tunnel/http1.h"

static struct http1_head h;

static int read_request(const char *text, struct fault *f)
{
	size_t n = strlen(text);
	char *copy = malloc(n + !n);	// no longer than it is
	memcpy(copy, text, n);
	int err = http1_request_read(&h, copy, n, f);
	free(copy);
	return err;
}

static void refuses(const char *name, const char *text, int want)
{
	char label[128];
	struct fault f = {""};
	int err = read_request(text, &f);
	snprintf(label, sizeof label, "http1: %s", name);
	ok(label, err == want && *f.text, "%d %s", err, f.text);
}

#define HOST "Host: a.io\r\n"

static bool is(struct http_text t, const char *s)
{
	return t.len == strlen(s) && !memcmp(t.at, s, t.len);
}

static void test_requests(void)
{
	static const char plain[] = "GET /a?b HTTP/1.1\r\n" HOST "X: 1 , 2\r\nContent-Length: 5\r\n\r\n";
	static const char url[] = "POST http://b.io:80/x HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n"
				  "Connection: foo, close\r\nExpect: 100-continue\r\n\r\n";
	static const char bare[] = "GET https://b.io HTTP/1.0\r\n\r\n", star[] = "OPTIONS * HTTP/1.1\r\n" HOST "\r\n";
	struct fault f = {""};
	int err = http1_request_read(&h, plain, strlen(plain), &f);
	ok("http1: a request", !err && is(h.method, "GET") && is(h.path, "/a?b") && is(h.authority, "a.io") && !h.scheme.len && h.keep_alive &&
	   h.framing == HTTP1_LENGTH && h.length == 5 && is(*http_field_find(&h.fields, "x"), "1 , 2"), "%d %s", err, f.text);
	err = http1_request_read(&h, url, strlen(url), &f);
	ok("http1: a request for a URL", !err && is(h.scheme, "http") && is(h.authority, "b.io:80") && is(h.path, "/x") && !h.keep_alive &&
	   h.expects_continue &&
	   h.framing == HTTP1_CHUNKED, "%d %s", err, f.text);
	err = http1_request_read(&h, bare, strlen(bare), &f);
	ok("http1: a URL without a path, HTTP/1.0", !err && is(h.scheme, "https") && is(h.path, "/") && !h.version_1_1 && !h.keep_alive &&
	   h.framing == HTTP1_NONE,
	   "%d %s", err, f.text);
	err = http1_request_read(&h, star, strlen(star), &f);
	ok("http1: OPTIONS *", !err && is(h.path, "*"), "%d %s", err, f.text);

	refuses("nothing", "", -EINVAL);
	refuses("a head without its end", "GET / HTTP/1.1\r\n" HOST, -EINVAL);
	refuses("a bare LF", "GET / HTTP/1.1\r\n" HOST "A: b\nC: d\r\n\r\n", -EINVAL);
	refuses("a bare CR", "GET / HTTP/1.1\r\n" HOST "A: b\rC: d\r\n\r\n", -EINVAL);
	refuses("a folded line", "GET / HTTP/1.1\r\n" HOST "A: b\r\n c\r\n\r\n", -EINVAL);
	refuses("white space before the colon", "GET / HTTP/1.1\r\n" HOST "A : b\r\n\r\n", -EINVAL);
	refuses("a field without a colon", "GET / HTTP/1.1\r\n" HOST "A\r\n\r\n", -EINVAL);
	refuses("a field without a name", "GET / HTTP/1.1\r\n" HOST ": b\r\n\r\n", -EINVAL);
	refuses("a control character", "GET / HTTP/1.1\r\n" HOST "A: \001\r\n\r\n", -EINVAL);
	refuses("no Host", "GET / HTTP/1.1\r\n\r\n", -EINVAL);
	refuses("two Hosts", "GET / HTTP/1.1\r\n" HOST HOST "\r\n", -EINVAL);
	refuses("a Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", -EINVAL);
	refuses("two lengths", "GET / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", -EINVAL);
	refuses("a list of lengths", "GET / HTTP/1.1\r\n" HOST "Content-Length: 1, 1\r\n\r\n", -EINVAL);
	refuses("a length with a sign", "GET / HTTP/1.1\r\n" HOST "Content-Length: +1\r\n\r\n", -EINVAL);
	refuses("a length that is too long", "GET / HTTP/1.1\r\n" HOST "Content-Length: 1000000000000000\r\n\r\n", -EINVAL);
	refuses("both framings", "GET / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", -EINVAL);
	refuses("chunks in HTTP/1.0", "GET / HTTP/1.0\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n", -EINVAL);
	refuses("another coding", "GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: gzip, chunked\r\n\r\n", -EOPNOTSUPP);
	refuses("chunked twice", "GET / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", -EOPNOTSUPP);
	refuses("HTTP/2", "GET / HTTP/2.0\r\n" HOST "\r\n", -EINVAL);
	refuses("a target with a space", "GET /a b HTTP/1.1\r\n" HOST "\r\n", -EINVAL);
	refuses("CONNECT's target", "CONNECT a.io:443 HTTP/1.1\r\n" HOST "\r\n", -EINVAL);
	refuses("a URL with a user", "GET http://u@a.io/ HTTP/1.1\r\n" HOST "\r\n", -EINVAL);
	refuses("a URL without a host", "GET http:///x HTTP/1.1\r\n" HOST "\r\n", -EINVAL);
	refuses("a URL of something else", "GET ftp://a.io/ HTTP/1.1\r\n" HOST "\r\n", -EINVAL);
	refuses("a fragment", "GET /a#b HTTP/1.1\r\n" HOST "\r\n", -EINVAL);
	refuses("no method", " / HTTP/1.1\r\n" HOST "\r\n", -EINVAL);
	struct outbuf many = {.at = NULL};
	outbuf_text(&many, "GET / HTTP/1.1\r\n" HOST);
	for (int i = 0; i < HTTP_MAX_FIELDS; i++)
		outbuf_text(&many, "a: b\r\n");
	outbuf_put(&many, "\r\n", 3);
	refuses("too many fields", (char *)many.at, -E2BIG);
	outbuf_free(&many);
}

static void response(const char *name, const char *text, bool to_head, enum http1_framing framing, unsigned int status)
{
	char label[128];
	struct fault f = {""};
	int err = http1_response_read(&h, text, strlen(text), to_head, &f);
	snprintf(label, sizeof label, "http1: %s", name);
	ok(label, status ? !err && h.framing == framing && h.status == status : err == -EINVAL, "%d %s, %u", err, f.text, h.status);
}

static void test_responses(void)
{
	response("a response until the end", "HTTP/1.1 200 OK\r\n\r\n", false, HTTP1_TO_THE_END, 200);
	response("a response without a reason", "HTTP/1.1 404\r\nContent-Length: 2\r\n\r\n", false, HTTP1_LENGTH, 404);
	response("a response to HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", true, HTTP1_NONE, 200);
	response("204 has no content", "HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n", false, HTTP1_NONE, 204);
	response("a response in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n", false, HTTP1_CHUNKED, 200);
	response("status 600", "HTTP/1.1 600 No\r\n\r\n", false, 0, 0);
	response("status 20", "HTTP/1.1 20 No\r\n\r\n", false, 0, 0);
	response("a status with something behind it", "HTTP/1.1 2000 OK\r\n\r\n", false, 0, 0);
}

// Content that comes `at_once` bytes at a time; the result in `out`, or an error.
static int content(enum http1_framing framing, uint64_t length, const char *text, size_t at_once, char *out, size_t *rest)
{
	struct http1_head head = {.framing = framing, .length = length};
	struct http1_content c;
	size_t at = 0, have = 0, len = strlen(text);
	http1_content_begin(&c, &head);
	*out = '\0';
	for (;;) {
		const char *piece = NULL;
		size_t used, n = 0;
		char *copy = malloc(have - at + 1);
		memcpy(copy, text + at, have - at);
		int got = http1_content_next(&c, copy, have - at, have == len, &used, &piece, &n);
		if (got == HTTP1_PIECE)
			strncat(out, piece, n);
		free(copy);
		at += used;
		if (got == HTTP1_END || got < 0) {
			*rest = len - at;
			return got == HTTP1_END ? 0 : got;
		}
		if (got == HTTP1_MORE)
			have = len - have < at_once ? len : have + at_once;
	}
}

static void body(const char *name, enum http1_framing framing, uint64_t length, const char *text, const char *want, size_t want_rest, int error)
{
	char label[128], out[256];
	size_t rest;
	for (size_t at_once = 1; at_once < 200; at_once += 100) {
		int err = content(framing, length, text, at_once, out, &rest);
		snprintf(label, sizeof label, "http1: %s%s", name, at_once == 1 ? ", byte by byte" : "");
		ok(label, err == error && (error || (!strcmp(out, want) && (at_once == 1 || rest == want_rest))), "%d '%s', %zu left", err, out,
		   rest);
	}
}

static void test_content(void)
{
	body("content of a length", HTTP1_LENGTH, 5, "hello!", "hello", 1, 0);
	body("content of a length, cut short", HTTP1_LENGTH, 5, "hell", "", 0, -EINVAL);
	body("content until the end", HTTP1_TO_THE_END, 0, "hello", "hello", 0, 0);
	body("chunks", HTTP1_CHUNKED, 0, "3\r\nhel\r\n2;ext=\"1\"\r\nlo\r\n0\r\n\r\nGET", "hello", 3, 0);
	body("chunks with trailers", HTTP1_CHUNKED, 0, "0000a\r\n0123456789\r\n0\r\nA: b\r\nC: d\r\n\r\n", "0123456789", 0, 0);
	body("chunks that are cut short", HTTP1_CHUNKED, 0, "3\r\nhel\r\n", "", 0, -EINVAL);
	body("chunks without their end", HTTP1_CHUNKED, 0, "3\r\nhel\r\n0\r\n", "", 0, -EINVAL);
	body("a chunk with more in it", HTTP1_CHUNKED, 0, "3\r\nhello\r\n0\r\n\r\n", "", 0, -EINVAL);
	body("a size that is none", HTTP1_CHUNKED, 0, "x\r\n\r\n", "", 0, -EINVAL);
	body("a size with a sign", HTTP1_CHUNKED, 0, "-1\r\n\r\n", "", 0, -EINVAL);
	body("a size that is too long", HTTP1_CHUNKED, 0, "0000000000001\r\na\r\n0\r\n\r\n", "", 0, -EINVAL);
	body("a size with a bare LF", HTTP1_CHUNKED, 0, "1\na\r\n0\r\n\r\n", "", 0, -EINVAL);
	body("a malformed trailer", HTTP1_CHUNKED, 0, "0\r\nA\r\n\r\n", "", 0, -EINVAL);
}

static void test_writing(void)
{
	static const char text[] = "GET / HTTP/1.1\r\n" HOST "A: b\r\nConnection: x-hop\r\nX-Hop: 1\r\n"
				   "Content-Length: 0\r\nTE: trailers\r\nUpgrade: x\r\n\r\n";
	struct outbuf b = {.at = NULL};
	struct fault f;
	int err = http1_request_read(&h, text, strlen(text), &f);
	http1_put_fields(&b, &h.fields);
	ok("http1: fields about the connection are not passed on", !err && b.len == 6 && !memcmp(b.at, "A: b\r\n", 6), "%.*s", (int)b.len,
	   (char *)b.at);
	outbuf_free(&b);
}

int main(void)
{
	test_requests();
	test_responses();
	test_content();
	test_writing();
	return ok_failed != 0;
}
