// SPDX-License-Identifier: Apache-2.0
// Binary HTTP: both framings, in one go and byte by byte, truncated and padded as RFC 9292 allows, and what it does not allow.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/attest/ok.h"
#include "tunnel/bhttp.h"

struct got {
	int err;
	bool ended;
	char head[512], content[512];
	size_t content_len;
	struct fault why;
};

static void say_head(const struct bhttp_head *h, char *out, size_t size)
{
	int n = h->response ? snprintf(out, size, "%u", h->status)
			    : snprintf(out, size, "%.*s %.*s %.*s %.*s", (int)h->method.len, h->method.at, (int)h->scheme.len, h->scheme.at,
			    (int)h->authority.len,
				       h->authority.at, (int)h->path.len, h->path.at);
	for (unsigned int i = 0; i < h->fields.count; i++) {
		const struct http_field *f = &h->fields.field[i];
		n += snprintf(out + n, size - (size_t)n, " %.*s=%.*s", (int)f->name.len, f->name.at, (int)f->value.len, f->value.at);
	}
}

// In pieces of `at_once` bytes.
static void read_message(bool response, const void *bytes, size_t len, size_t at_once, struct got *g)
{
	static struct bhttp_reader r;
	const uint8_t *piece = NULL;
	size_t n = 0, at = 0;
	memset(g, 0, sizeof *g);
	bhttp_reader_begin(&r, response);
	for (;;) {
		int event = bhttp_reader_next(&r, &piece, &n, &g->why);
		if (event == BHTTP_HEAD) {
			say_head(&r.head, g->head, sizeof g->head);
		} else if (event == BHTTP_CONTENT) {
			memcpy(g->content + g->content_len, piece, n);
			g->content_len += n;
		} else if (event == BHTTP_MORE) {
			size_t some = len - at < at_once ? len - at : at_once;
			if (!some)
				bhttp_reader_end(&r);
			else if (bhttp_reader_add(&r, (const char *)bytes + at, some))
				abort();
			at += some;
		} else {
			g->err = event < 0 ? event : 0;
			g->ended = event == BHTTP_END;
			break;
		}
	}
	bhttp_reader_free(&r);
}

static void takes(const char *name, bool response, const void *bytes, size_t len, const char *head, const char *content)
{
	char label[128];
	struct got g;
	for (size_t at_once = len ? len : 1;; at_once = 1) {
		// Exactly as long as it is, so that a sanitizer sees a step beyond.
		uint8_t *copy = malloc(len + !len);
		memcpy(copy, bytes, len);
		read_message(response, copy, len, at_once, &g);
		free(copy);
		snprintf(label, sizeof label, "bhttp: %s%s", name, at_once == 1 ? ", byte by byte" : "");
		ok(label, !g.err && g.ended && !strcmp(g.head, head) && g.content_len == strlen(content) && !memcmp(g.content, content,
		   g.content_len),
		   "%d %s: %s | %.*s", g.err, g.why.text, g.head, (int)g.content_len, g.content);
		if (at_once == 1)
			break;
	}
}

static void refuses(const char *name, bool response, const void *bytes, size_t len, int err)
{
	char label[128];
	struct got g;
	for (size_t at_once = len ? len : 1;; at_once = 1) {
		read_message(response, bytes, len, at_once, &g);
		snprintf(label, sizeof label, "bhttp: %s%s", name, at_once == 1 ? ", byte by byte" : "");
		ok(label, g.err == err && *g.why.text, "%d %s", g.err, g.why.text);
		if (at_once == 1)
			break;
	}
}

#define TAKES(name, response, bytes, head, content) takes(name, response, bytes, sizeof bytes - 1, head, content)
#define REFUSES(name, response, bytes) refuses(name, response, bytes, sizeof bytes - 1, -EINVAL)

#define GET "\3GET\5https\4a.io\1/"

static void test_reading(void)
{
	TAKES("the request of RFC 9458's example", false, "\0\3GET\5https\x0b" "example.com\1/", "GET https example.com /", "");
	TAKES("its response", true, "\1\x40\xc8", "200", "");
	TAKES("a request with fields and content", false, "\0\4POST\4http\0\2/a\x0a\4host\4a.io\3abc", "POST http  /a host=a.io", "abc");
	TAKES("trailers are passed over", false, "\0" GET "\0\3abc\4\1t\1v", "GET https a.io /", "abc");
	TAKES("padding", false, "\0" GET "\0\3abc\0\0\0\0\0", "GET https a.io /", "abc");
	TAKES("padding behind nothing else", false, "\0" GET "\0\0\0\0\0\0", "GET https a.io /", "");
	TAKES("of indeterminate length", false, "\2" GET "\1n\1v\0\3abc\2de\0\0", "GET https a.io / n=v", "abcde");
	TAKES("of indeterminate length, cut where nothing follows", false, "\2" GET "\1n\1v\0", "GET https a.io / n=v", "");
	TAKES("of indeterminate length, cut before its trailers", false, "\2" GET "\0\3abc\0", "GET https a.io /", "abc");
	TAKES("of indeterminate length with trailers and padding", true, "\3\x41\x94\0\1a\0\1t\1v\0\0\0", "404", "a");
	TAKES("informational responses are passed over", true, "\1\x40\x66\4\1a\1b\x40\x67\0\x40\xc8\0\1x", "200", "x");
	TAKES("numbers longer than they need be", true, "\x40\1\x80\0\0\xc8\0\xc0\0\0\0\0\0\0\1x", "200", "x");
	TAKES("OPTIONS *", false, "\0\7OPTIONS\4http\4a.io\1*", "OPTIONS http a.io *", "");
	TAKES("a value may be empty", true, "\1\x40\xc8\3\1a\0", "200 a=", "");
}

static void test_refusals(void)
{
	REFUSES("nothing", false, "");
	REFUSES("a response for a request", false, "\1\x40\xc8");
	REFUSES("a request for a response", true, "\0" GET);
	REFUSES("an unknown framing", false, "\4" GET);
	REFUSES("control data that are cut short", false, "\0\3GET\5https\4a.i");
	REFUSES("no path at all", false, "\0\3GET\5https\4a.io");
	REFUSES("an empty path", false, "\0\3GET\5https\4a.io\0");
	REFUSES("a path that is none", false, "\0\3GET\5https\4a.io\1a");
	REFUSES("a path with a space", false, "\0\3GET\5https\4a.io\3/ a");
	REFUSES("a path with a line end", false, "\0\3GET\5https\4a.io\4/\r\na");
	REFUSES("an empty method", false, "\0\0\5https\4a.io\1/");
	REFUSES("a method with a space", false, "\0\3G T\5https\4a.io\1/");
	REFUSES("another scheme", false, "\0\3GET\4file\4a.io\1/");
	REFUSES("an authority with a path", false, "\0\3GET\5https\4a/io\1/");
	REFUSES("an authority with a user", false, "\0\3GET\5https\4a@io\1/");
	REFUSES("a name in capitals", false, "\0" GET "\4\1A\1b");
	REFUSES("an empty name", false, "\0" GET "\3\0\1b");
	REFUSES("a pseudo-field", false, "\0" GET "\x08\5:path\1b");
	REFUSES("a value with a line end", false, "\0" GET "\6\1a\3b\r\n");
	REFUSES("a value with a zero byte", false, "\0" GET "\4\1a\1\0");
	REFUSES("a value with white space at its end", false, "\0" GET "\5\1a\2b ");
	REFUSES("Transfer-Encoding", false, "\0" GET "\x1a\x11transfer-encoding\7chunked");
	REFUSES("Connection", false, "\0" GET "\x0d\x0a" "connection\1a");
	REFUSES("a field that goes beyond its section", false, "\0" GET "\3\1a\2bc");
	REFUSES("a section that is cut short", false, "\0" GET "\5\1a\1b");
	REFUSES("content that is cut short", false, "\0" GET "\0\4abc");
	REFUSES("padding that is not zeros", false, "\0" GET "\0\3abc\0\0\1");
	REFUSES("indeterminate: fields without an end", false, "\2" GET "\1n\1v");
	REFUSES("indeterminate: content without an end", false, "\2" GET "\0\3abc");
	REFUSES("indeterminate: a piece that is cut short", false, "\2" GET "\0\3ab");
	REFUSES("indeterminate: trailers without an end", false, "\2" GET "\0\3abc\0\1n\1v");
	REFUSES("status 99", true, "\1\x40\x63");
	REFUSES("status 600", true, "\1\x42\x58");
	REFUSES("nothing but an informational response", true, "\1\x40\x66\0");
	REFUSES("a number that is cut short", true, "\1\x40");

	static const char head[] = "\0\3GET\5https\4a.io\1/\x80\1\0\1";
	refuses("fields that are too long", false, head, sizeof head - 1, -E2BIG);
	struct outbuf many = {.at = NULL};
	outbuf_put(&many, "\2" GET, sizeof "\2" GET - 1);
	for (int i = 0; i < HTTP_MAX_FIELDS + 1; i++)
		outbuf_put(&many, "\1n\1v", 4);
	outbuf_put(&many, "\0\0\0", 3);
	refuses("too many fields", false, many.at, many.len, -E2BIG);
	outbuf_free(&many);
}

static struct http_text text(const char *s)
{
	return (struct http_text){s, strlen(s)};
}

static void test_writing(void)
{
	struct http_fields fields = {.count = 0};
	const char *const lines[][2] = {{"Content-Type", "text/plain"}, {"Connection", "close, X-Own"}, {"X-Own", "secret"}, {"TE", "trailers"},
		{"Empty", ""}};
	struct http_text method = text("PUT"), scheme = text("http"), authority = text("a.io"), path = text("/x?y");
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		fields.field[fields.count++] = (struct http_field){text(lines[i][0]), text(lines[i][1])};
	for (int known = 0; known < 2; known++) {
		struct outbuf b = {.at = NULL};
		bhttp_put_request(&b, known, &method, &scheme, &authority, &path, &fields);
		bhttp_put_content(&b, "hello", 5);
		if (!known)
			bhttp_put_content(&b, " you", 4);
		bhttp_put_end(&b);
		takes(known ? "what was written, of known length" : "what was written, of indeterminate length", false, b.at, b.len,
		      "PUT http a.io /x?y content-type=text/plain empty=", known ? "hello" : "hello you");
		outbuf_free(&b);
		bhttp_put_response(&b, known, 204, &fields);
		bhttp_put_end(&b);
		takes(known ? "a response that was written, of known length" : "a response that was written, of indeterminate length", true, b.at,
			b.len,
		      "204 content-type=text/plain empty=", "");
		outbuf_free(&b);
	}
}

int main(void)
{
	test_reading();
	test_refusals();
	test_writing();
	return ok_failed != 0;
}
