// SPDX-License-Identifier: Apache-2.0
// The ways in, as parsers: what clients send, whole and in pieces of every size, must lead to the same place; what is malformed is refused with a
// reply.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/attest/ok.h"
#include "tests/folder.h"
#include "tunnel/accept.h"
#include "tunnel/socks.h"
#include "tunnel/users.h"

static struct users *users;

// What came of a client's bytes.
struct result {
	enum accept_step step;
	char target[TARGET_TEXT], reply[2048], user[256], reason[256];
	size_t used, reply_len;
};

static void take_output(struct acceptor *a, struct result *r)
{
	size_t n;
	const uint8_t *p = accept_output(a, &n);
	memcpy(r->reply + r->reply_len, p, n);
	r->reply_len += n;
	accept_sent(a, n);
}

static void play(struct acceptor *a, const char *bytes, size_t n, size_t piece, struct result *r)
{
	size_t at = 0, have = 0;
	memset(r, 0, sizeof *r);
	r->step = accept_begin(a, -1);
	while (r->step == ACCEPT_MORE && have < n) {
		size_t used;
		have = have + piece < n ? have + piece : n;
		r->step = accept_input(a, (const uint8_t *)bytes + at, have - at, &used);
		at += used;
		take_output(a, r);
	}
	r->used = at;
	if (r->step == ACCEPT_TARGET || r->step == ACCEPT_UDP)
		target_text(accept_target(a), r->target);
	snprintf(r->user, sizeof r->user, "%s", accept_user(a) ? accept_user(a) : "");
	snprintf(r->reason, sizeof r->reason, "%s", accept_reason(a));
}

// Plays in pieces of each size; all must be the same.
static struct result input(const struct accept_options *o, const char *bytes, size_t n, bool *same)
{
	struct result whole, cut;
	*same = true;
	struct acceptor *a = accept_new(o);
	play(a, bytes, n, n, &whole);
	accept_free(a);
	for (size_t piece = 1; piece < n && piece < 40; piece++) {
		a = accept_new(o);
		play(a, bytes, n, piece, &cut);
		accept_free(a);
		// HTTP answers before all has come when it is malformed: what was used is the same all the same
		if (cut.step != whole.step || cut.used != whole.used || strcmp(cut.target, whole.target) || strcmp(cut.user, whole.user) ||
		    strcmp(cut.reason, whole.reason) || cut.reply_len != whole.reply_len || memcmp(cut.reply, whole.reply, whole.reply_len))
			*same = false;
	}
	return whole;
}

struct test {
	const char *name;
	const char *bytes;
	size_t n;		// 0: strlen
	enum accept_step step;
	const char *expect;	// target, or what the reply begins with
	size_t reply_len;	// SOCKS: the reply is binary
	size_t left;		// bytes that are not used
};

static const char *const steps[] = {"more", "target", "udp", "open", "refused"};

static void run(const char *group, const struct accept_options *o, const struct test *t, size_t count)
{
	for (size_t i = 0; i < count; i++, t++) {
		char name[128];
		bool same;
		size_t n = t->n ? t->n : strlen(t->bytes);
		struct result r = input(o, t->bytes, n, &same);
		snprintf(name, sizeof name, "%s.%s", group, t->name);
		bool right = r.step == t->step;
		if (right && (t->step == ACCEPT_TARGET || t->step == ACCEPT_UDP))
			right = !strcmp(r.target, t->expect) && n - r.used == t->left;
		else if (right && t->reply_len)
			right = r.reply_len == t->reply_len && !memcmp(r.reply, t->expect, t->reply_len);
		else if (right && t->expect)
			right = !strncmp(r.reply, t->expect, strlen(t->expect));
		ok(name, right && same, "%s, target '%s', %zu of %zu used, reply of %zu: %.60s (%s)%s", steps[r.step], r.target, r.used, n,
		   r.reply_len,
		   r.reply, r.reason, same ? "" : "; in pieces it is another");
	}
}

#define B(text_) text_, sizeof(text_) - 1

// ---- SOCKS5 ----

static void test_socks(void)
{
	static const struct accept_options any = {.kind = ACCEPT_SOCKS5}, udp = {.kind = ACCEPT_SOCKS5, .udp = true};
	struct accept_options with_users = {.kind = ACCEPT_SOCKS5, .users = users};
	static const struct test anybody[] = {
		{"name", B("\5\1\0\5\1\0\3\13example.org\1\273"), ACCEPT_TARGET, "example.org:443", 0, 0},
		{"upper_case", B("\5\1\0\5\1\0\3\14Example.ORG.\1\273"), ACCEPT_TARGET, "example.org:443", 0, 0},
		{"ipv4", B("\5\2\0\2\5\1\0\1\300\0\2\7\0\120"), ACCEPT_TARGET, "192.0.2.7:80", 0, 0},
		{"ipv6", B("\5\1\0\5\1\0\4\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\120"), ACCEPT_TARGET, "[2001:db8::1]:80", 0, 0},
		{"ipv6_mapped", B("\5\1\0\5\1\0\4\0\0\0\0\0\0\0\0\0\0\xff\xff\300\0\2\7\0\120"), ACCEPT_TARGET, "192.0.2.7:80", 0, 0},
		{"address_as_name", B("\5\1\0\5\1\0\3\11" "127.0.0.1\0\120"), ACCEPT_TARGET, "127.0.0.1:80", 0, 0},
		{"early_data", B("\5\1\0\5\1\0\1\300\0\2\7\0\120GET / HTTP/1.0\r\n\r\n"), ACCEPT_TARGET, "192.0.2.7:80", 0, 18},
		{"no_methods", B("\5\0"), ACCEPT_REFUSED, "\5\xff", 2, 0},
		{"only_gssapi", B("\5\1\1"), ACCEPT_REFUSED, "\5\xff", 2, 0},
		{"bind", B("\5\1\0\5\2\0\1\300\0\2\7\0\120"), ACCEPT_REFUSED, "\5\0\5\7\0\1\0\0\0\0\0\0", 12, 0},
		{"udp_not_on", B("\5\1\0\5\3\0\1\0\0\0\0\0\0"), ACCEPT_REFUSED, "\5\0\5\7\0\1\0\0\0\0\0\0", 12, 0},
		{"unknown_address_type", B("\5\1\0\5\1\0\2\300\0\2\7\0\120"), ACCEPT_REFUSED, "\5\0\5\10\0\1\0\0\0\0\0\0", 12, 0},
		{"empty_name", B("\5\1\0\5\1\0\3\0\0\120"), ACCEPT_REFUSED, "\5\0\5\4\0\1\0\0\0\0\0\0", 12, 0},
		{"name_with_zero", B("\5\1\0\5\1\0\3\3a\0b\0\120"), ACCEPT_REFUSED, "\5\0\5\4\0\1\0\0\0\0\0\0", 12, 0},
		{"number_as_name", B("\5\1\0\5\1\0\3\12" "2130706433\0\120"), ACCEPT_REFUSED, "\5\0\5\4\0\1\0\0\0\0\0\0", 12, 0},
		{"short_address_as_name", B("\5\1\0\5\1\0\3\5" "127.1\0\120"), ACCEPT_REFUSED, "\5\0\5\4\0\1\0\0\0\0\0\0", 12, 0},
		{"hexadecimal_as_name", B("\5\1\0\5\1\0\3\12" "0x7f000001\0\120"), ACCEPT_REFUSED, "\5\0\5\4\0\1\0\0\0\0\0\0", 12, 0},
		{"port_0", B("\5\1\0\5\1\0\1\300\0\2\7\0\0"), ACCEPT_REFUSED, "\5\0\5\1\0\1\0\0\0\0\0\0", 12, 0},
		{"reserved_byte", B("\5\1\0\5\1\1\1\300\0\2\7\0\120"), ACCEPT_REFUSED, "\5\0\5\1\0\1\0\0\0\0\0\0", 12, 0},
		{"other_version_in_request", B("\5\1\0\4\1\0\1\300\0\2\7\0\120"), ACCEPT_REFUSED, "\5\0", 2, 0},
		{"socks4a", B("\4\1\0\120\0\0\0\1user\0example.org\0"), ACCEPT_REFUSED, "\0\133\0\0\0\0\0\0", 8, 0},
		{"tls", B("\x16\3\1\2\0"), ACCEPT_REFUSED, NULL, 0, 0},
		{"http", B("GET / HTTP/1.1\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"half", B("\5\1\0\5\1\0\3\13example"), ACCEPT_MORE, NULL, 0, 0},
	};
	static const struct test associate[] = {
		{"associate", B("\5\1\0\5\3\0\1\0\0\0\0\0\0"), ACCEPT_UDP, "0.0.0.0:0", 0, 0},
		{"associate_port", B("\5\1\0\5\3\0\1\177\0\0\1\x10\1"), ACCEPT_UDP, "127.0.0.1:4097", 0, 0},
	};
	const struct test passwords[] = {
		{"password", B("\5\2\0\2\1\5alice\6secret\5\1\0\1\300\0\2\7\0\120"), ACCEPT_TARGET, "192.0.2.7:80", 0, 0},
		{"password_wrong", B("\5\1\2\1\5alice\6secreT\5\1\0\1\300\0\2\7\0\120"), ACCEPT_REFUSED, "\5\2\1\1", 4, 0},
		{"password_prefix", B("\5\1\2\1\5alice\5secre"), ACCEPT_REFUSED, "\5\2\1\1", 4, 0},
		{"password_empty", B("\5\1\2\1\5alice\0"), ACCEPT_REFUSED, "\5\2\1\1", 4, 0},
		{"password_other_user", B("\5\1\2\1\3bob\6secret"), ACCEPT_REFUSED, "\5\2\1\1", 4, 0},
		{"password_shifted", B("\5\1\2\1\6alices\5ecret"), ACCEPT_REFUSED, "\5\2\1\1", 4, 0},
		{"password_not_given", B("\5\1\0\5\1\0\1\300\0\2\7\0\120"), ACCEPT_REFUSED, "\5\xff", 2, 0},
		{"password_version", B("\5\1\2\5\5alice\6secret"), ACCEPT_REFUSED, "\5\2", 2, 0},
	};
	run("socks", &any, anybody, sizeof anybody / sizeof *anybody);
	run("socks", &udp, associate, sizeof associate / sizeof *associate);
	run("socks", &with_users, passwords, sizeof passwords / sizeof *passwords);
	bool same;
	struct result r = input(&with_users, passwords[0].bytes, passwords[0].n, &same);
	ok("socks.user", !strcmp(r.user, "alice"), "'%s'", r.user);
}

static void test_socks_replies(void)
{
	static const struct { int error; char code; } codes[] = {
		{0, 0}, {-EACCES, 2}, {-ENETUNREACH, 3}, {-EHOSTUNREACH, 4}, {-ECONNREFUSED, 5}, {-ETIMEDOUT, 4}, {-EKEYREJECTED, 1},
		 {-EAFNOSUPPORT, 8}, {-EIO, 1},
	};
	static const struct accept_options o = {.kind = ACCEPT_SOCKS5};
	const struct sockaddr_in bound = {.sin_family = AF_INET, .sin_port = htons(4242), .sin_addr.s_addr = htonl(0x7f000001)};
	for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
		struct acceptor *a = accept_new(&o);
		struct result r;
		char name[64];
		play(a, "\5\1\0\5\1\0\1\300\0\2\7\0\120", 13, 13, &r);
		r.reply_len = 0;
		r.step = accept_connected(a, codes[i].error, codes[i].error ? NULL : (const struct sockaddr *)&bound);
		take_output(a, &r);
		snprintf(name, sizeof name, "socks.reply_%d", -codes[i].error);
		ok(name, r.step == (codes[i].error ? ACCEPT_REFUSED : ACCEPT_OPEN) && r.reply_len == 10 && r.reply[1] == codes[i].code &&
		   (codes[i].error || !memcmp(r.reply, "\5\0\0\1\177\0\0\1\x10\x92", 10)), "step %d, code %d, %zu bytes", r.step, r.reply[1],
		   r.reply_len);
		accept_free(a);
	}
}

static void test_socks_datagrams(void)
{
	static const struct { const char *name, *bytes; size_t n; int result; const char *target; } cases[] = {
		{"name", B("\0\0\0\3\7dns.org\0\65payload"), 14, "dns.org:53"},
		{"ipv4", B("\0\0\0\1\300\0\2\7\0\65"), 10, "192.0.2.7:53"},
		{"ipv6", B("\0\0\0\4\x20\1\xd\xb8\0\0\0\0\0\0\0\0\0\0\0\1\0\65x"), 22, "[2001:db8::1]:53"},
		{"fragment", B("\0\0\1\1\300\0\2\7\0\65"), -EOPNOTSUPP, NULL},
		{"reserved", B("\0\1\0\1\300\0\2\7\0\65"), -EPROTO, NULL},
		{"cut", B("\0\0\0\1\300\0\2\7\0"), -EPROTO, NULL},
		{"cut_name", B("\0\0\0\3\10dns.org\0\65"), -EPROTO, NULL},
		{"port_0", B("\0\0\0\1\300\0\2\7\0\0"), -EPROTO, NULL},
		{"type", B("\0\0\0\2\300\0\2\7\0\65"), -EPROTO, NULL},
		{"short", B("\0\0\0"), -EPROTO, NULL},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char name[64], text[TARGET_TEXT] = "";
		uint8_t out[SOCKS_UDP_HEADER];
		struct target t = {0};
		int n = socks_udp_read((const uint8_t *)cases[i].bytes, cases[i].n, &t);
		bool right = n == cases[i].result && (n < 0 || !strcmp(target_text(&t, text), cases[i].target));
		if (n > 0)	// what was read is written as it was
			right = right && socks_udp_write(&t, out) == (size_t)n && !memcmp(out, cases[i].bytes, (size_t)n);
		snprintf(name, sizeof name, "socks.datagram_%s", cases[i].name);
		ok(name, right, "%d, %s", n, text);
	}
}

// ---- HTTP ----

#define GET(more_) "GET http://example.org/ HTTP/1.1\r\nHost: example.org\r\n" more_ "\r\n"
#define POST(more_) "POST http://example.org/ HTTP/1.1\r\nHost: example.org\r\n" more_ "\r\n"

static void test_http(void)
{
	static const struct accept_options any = {.kind = ACCEPT_HTTP};
	struct accept_options with_users = {.kind = ACCEPT_HTTP, .users = users};
	static const struct test anybody[] = {
		{"connect", B("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n\x16\3\1"), ACCEPT_TARGET, "example.org:443", 0, 3},
		{"connect_ipv6", B("CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: x\r\n\r\n"), ACCEPT_TARGET, "[2001:db8::1]:443", 0, 0},
		{"connect_1_0", B("CONNECT example.org:443 HTTP/1.0\r\n\r\n"), ACCEPT_TARGET, "example.org:443", 0, 0},
		{"connect_no_port", B("CONNECT example.org HTTP/1.1\r\nHost: x\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"connect_port_0", B("CONNECT example.org:0 HTTP/1.1\r\nHost: x\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"connect_port_65536", B("CONNECT example.org:65536 HTTP/1.1\r\nHost: x\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"connect_port_plus", B("CONNECT example.org:+80 HTTP/1.1\r\nHost: x\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"connect_user", B("CONNECT a@example.org:443 HTTP/1.1\r\nHost: x\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"connect_bare_ipv6", B("CONNECT ::1:443 HTTP/1.1\r\nHost: x\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"connect_zone", B("CONNECT [fe80::1%eth0]:443 HTTP/1.1\r\nHost: x\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"connect_content", B("CONNECT example.org:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"), ACCEPT_REFUSED,
		 "HTTP/1.1 400", 0, 0},
		{"connect_no_host", B("CONNECT example.org:443 HTTP/1.1\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"get", B(GET("")), ACCEPT_TARGET, "example.org:80", 0, 0},
		{"get_port", B("GET http://example.org:8080/a?b HTTP/1.1\r\nHost: example.org:8080\r\n\r\n"), ACCEPT_TARGET, "example.org:8080",
		 0, 0},
		{"get_empty_port", B("GET http://example.org:/ HTTP/1.1\r\nHost: x\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"get_no_path", B("GET http://example.org HTTP/1.0\r\n\r\n"), ACCEPT_TARGET, "example.org:80", 0, 0},
		{"get_user", B("GET http://me:pw@example.org/ HTTP/1.1\r\nHost: x\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"get_fragment", B("GET http://example.org/#a HTTP/1.1\r\nHost: x\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"origin_form", B("GET / HTTP/1.1\r\nHost: example.org\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"https", B("GET https://example.org/ HTTP/1.1\r\nHost: example.org\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"http2", B("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"trace", B("TRACE http://example.org/ HTTP/1.1\r\nHost: x\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 405", 0, 0},
		// what request smuggling is made of
		{"two_hosts", B(GET("Host: other.org\r\n")), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"two_lengths", B(POST("Content-Length: 1\r\nContent-Length: 1\r\n")), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"list_of_lengths", B(POST("Content-Length: 1, 1\r\n")), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"length_and_chunks", B(POST("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n")), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"length_plus", B(POST("Content-Length: +1\r\n")), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"length_hex", B(POST("Content-Length: 0x1\r\n")), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"length_empty", B(POST("Content-Length:\r\n")), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"length_huge", B(POST("Content-Length: 18446744073709551617\r\n")), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"coding_gzip", B(POST("Transfer-Encoding: gzip, chunked\r\n")), ACCEPT_REFUSED, "HTTP/1.1 501", 0, 0},
		{"coding_twice", B(POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n")), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"coding_identity", B(POST("Transfer-Encoding: identity\r\n")), ACCEPT_REFUSED, "HTTP/1.1 501", 0, 0},
		{"coding_1_0", B("POST http://example.org/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"space_before_colon", B(POST("Transfer-Encoding : chunked\r\n")), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"folded", B(POST("X: a\r\n b\r\n")), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"folded_first", B("GET http://example.org/ HTTP/1.1\r\n Host: x\r\nHost: x\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"bare_lf", B("GET http://example.org/ HTTP/1.1\nHost: example.org\n\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"bare_lf_inside", B(GET("X: a\nY: b\r\n")), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"bare_cr", B(GET("X: a\rY: b\r\n")), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"zero", B(GET("X: a\0b\r\n")), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"no_name", B(GET(": a\r\n")), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"no_colon", B(GET("X\r\n")), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"empty_line_first", B("\r\nGET http://example.org/ HTTP/1.1\r\nHost: x\r\n\r\n"), ACCEPT_REFUSED, NULL, 0, 0},
		{"two_spaces", B("GET  http://example.org/ HTTP/1.1\r\nHost: x\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"tab", B("GET\thttp://example.org/ HTTP/1.1\r\nHost: x\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"space_in_target", B("GET http://example.org/a b HTTP/1.1\r\nHost: x\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"version", B("GET http://example.org/ HTTP/1.2\r\nHost: x\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"no_version", B("GET http://example.org/\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"names_host", B(GET("Connection: close, host\r\n")), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"names_length", B(POST("Content-Length: 3\r\nConnection: Content-Length\r\n")), ACCEPT_REFUSED, "HTTP/1.1 400", 0, 0},
		{"socks", B("\5\1\0"), ACCEPT_REFUSED, NULL, 0, 0},
		{"tls", B("\x16\3\1"), ACCEPT_REFUSED, NULL, 0, 0},
		{"half", B("GET http://example.org/ HTTP/1.1\r\nHost:"), ACCEPT_MORE, NULL, 0, 0},
	};
	// alice:secret, alice:wrong
	const struct test passwords[] = {
		{"password", B("CONNECT a.org:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n"), ACCEPT_TARGET,
		 "a.org:443", 0, 0},
		{"password_case", B("CONNECT a.org:443 HTTP/1.1\r\nHost: x\r\nproxy-authorization: basic  YWxpY2U6c2VjcmV0\r\n\r\n"),
		 ACCEPT_TARGET, "a.org:443", 0, 0},
		{"password_wrong", B("CONNECT a.org:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic YWxpY2U6d3Jvbmc=\r\n\r\n"),
		 ACCEPT_REFUSED, "HTTP/1.1 407", 0, 0},
		{"password_none", B("CONNECT a.org:443 HTTP/1.1\r\nHost: x\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 407", 0, 0},
		{"password_not_base64", B("CONNECT a.org:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic !!!!\r\n\r\n"), ACCEPT_REFUSED,
		 "HTTP/1.1 407", 0, 0},
		{"password_bearer", B("CONNECT a.org:443 HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Bearer YWxpY2U6c2VjcmV0\r\n\r\n"),
		 ACCEPT_REFUSED, "HTTP/1.1 407", 0, 0},
		{"password_forward", B("GET http://a.org/ HTTP/1.1\r\nHost: a.org\r\n\r\n"), ACCEPT_REFUSED, "HTTP/1.1 407", 0, 0},
	};
	run("http", &any, anybody, sizeof anybody / sizeof *anybody);
	run("http", &with_users, passwords, sizeof passwords / sizeof *passwords);

	char *long_head = malloc(ACCEPT_MAX_INPUT + 1);
	size_t used, n = (size_t)sprintf(long_head, "GET http://example.org/ HTTP/1.1\r\nHost: x\r\nX: ");
	memset(long_head + n, 'a', ACCEPT_MAX_INPUT - n);
	struct acceptor *a = accept_new(&any);
	accept_begin(a, -1);
	enum accept_step before = accept_input(a, (uint8_t *)long_head, ACCEPT_MAX_INPUT - 1, &used);
	enum accept_step after = accept_input(a, (uint8_t *)long_head, ACCEPT_MAX_INPUT, &used);
	ok("http.long_head", before == ACCEPT_MORE && after == ACCEPT_REFUSED && !memcmp(accept_output(a, &used), "HTTP/1.1 431", 12), "%d %d",
	   before, after);
	accept_free(a);
	free(long_head);
	static const struct { int error; const char *status; } statuses[] = {
		{0, "HTTP/1.1 200 "}, {-EACCES, "HTTP/1.1 403 "}, {-ECONNREFUSED, "HTTP/1.1 502 "}, {-ETIMEDOUT, "HTTP/1.1 504 "}, {-EKEYREJECTED,
		 "HTTP/1.1 502 "},
		{-EMFILE, "HTTP/1.1 503 "},
	};
	for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
		struct result r;
		char name[64];
		a = accept_new(&any);
		play(a, anybody[0].bytes, anybody[0].n, anybody[0].n, &r);
		r.step = accept_connected(a, statuses[i].error, NULL);
		take_output(a, &r);
		snprintf(name, sizeof name, "http.status_%d", -statuses[i].error);
		ok(name, r.step == (statuses[i].error ? ACCEPT_REFUSED : ACCEPT_OPEN) && !strncmp(r.reply, statuses[i].status, 13) &&
		   strstr(r.reply, "\r\n\r\n"), "%d, %s", r.step, r.reply);
		accept_free(a);
	}
}

// ---- requests that are forwarded ----

// Passes bytes through a filter, `piece` at a time, into a buffer of `room` at a time. What it said last.
static int filter(int (*f)(struct acceptor *, const uint8_t *, size_t, size_t *, uint8_t *, size_t, size_t *), struct acceptor *a, const char *in,
   size_t n,
		  size_t piece, size_t room, char *out, size_t *len)
{
	size_t at = 0, have = 0;
	int err = 0;
	*len = 0;
	do {
		size_t used, made;
		have = have + piece < n ? have + piece : n;
		do {
			err = f(a, (const uint8_t *)in + at, have - at, &used, (uint8_t *)out + *len, room, &made);
			at += used;
			*len += made;
		} while (!err && (used || made));
	} while (!err && have < n);
	out[*len] = '\0';
	return err;
}

// Takes the name that we call ourselves out of Via, which is another in each process.
static void hide_name(char *text)
{
	char *p = strstr(text, "coffer-");
	if (p && strlen(p) >= 15)
		memmove(p + 6, p + 15, strlen(p + 15) + 1);
}

struct exchange {
	const char *name, *request, *up, *answer, *down;
	int up_result, down_result;
};

static void test_forward(void)
{
	static const struct accept_options o = {.kind = ACCEPT_HTTP};
#define ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define PASSED "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nVia: 1.1 coffer\r\nConnection: close\r\n\r\nok"
#define BAD "HTTP/1.1 502 Bad Gateway\r\n"
	static const struct exchange exchanges[] = {
		{"plain", "GET http://example.org/a?b=c HTTP/1.1\r\nHost: other.org\r\nAccept: */*\r\nX: 1\r\n\r\n",
		 "GET /a?b=c HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\nX: 1\r\nVia: 1.1 coffer\r\nConnection: close\r\n\r\n", ANSWER,
		   PASSED, 1, 0},
		{"hop_by_hop",
		 "GET http://example.org:81 HTTP/1.1\r\nHost: a\r\nConnection: X, keep-alive\r\nX: 1\r\nKeep-Alive: 5\r\n"
		 "Proxy-Connection: keep-alive\r\nTE: trailers\r\nUpgrade: h2c\r\nProxy-Authorization: Basic abcd\r\nAuthorization: Basic abcd\r\n\r\n",
		 "GET / HTTP/1.1\r\nHost: example.org:81\r\nAuthorization: Basic abcd\r\nVia: 1.1 coffer\r\nConnection: close\r\n\r\n",
		 "HTTP/1.1 200 OK\r\nConnection: keep-alive, Y\r\nY: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\nZ: 1\r\n\r\nok",
		 "HTTP/1.1 200 OK\r\nZ: 1\r\nVia: 1.1 coffer\r\nConnection: close\r\n\r\nok", 1, 0},
		{"ipv6", "GET http://[2001:DB8::1]/ HTTP/1.1\r\nHost: a\r\n\r\n",
		 "GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\nVia: 1.1 coffer\r\nConnection: close\r\n\r\n",
		 ANSWER, PASSED, 1, 0},
		{"query_only", "GET http://example.org?a HTTP/1.1\r\nHost: a\r\n\r\n",
		 "GET /?a HTTP/1.1\r\nHost: example.org\r\nVia: 1.1 coffer\r\nConnection: close\r\n\r\n",
		 ANSWER, PASSED, 1, 0},
		{"options", "OPTIONS http://example.org HTTP/1.1\r\nHost: a\r\n\r\n",
		 "OPTIONS * HTTP/1.1\r\nHost: example.org\r\nVia: 1.1 coffer\r\nConnection: close\r\n\r\n",
		 ANSWER, PASSED, 1, 0},
		{"length", "POST http://example.org/ HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhelloGET http://evil.org/ HTTP/1.1\r\n\r\n",
		 "POST / HTTP/1.1\r\nHost: example.org\r\nContent-Length: 5\r\nVia: 1.1 coffer\r\nConnection: close\r\n\r\nhello", ANSWER, PASSED,
		   1, 0},
		{"length_not_yet", "POST http://example.org/ HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nhello",
		 "POST / HTTP/1.1\r\nHost: example.org\r\nContent-Length: 6\r\nVia: 1.1 coffer\r\nConnection: close\r\n\r\nhello", ANSWER, PASSED,
		   0, 0},
		{"chunks",
		 "POST http://example.org/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
		 "5;a=b\r\nhello\r\n00A\r\n0123456789\r\n0\r\nT: 1\r\n\r\nGET /",
		 "POST / HTTP/1.1\r\nHost: example.org\r\nTransfer-Encoding: chunked\r\nVia: 1.1 coffer\r\nConnection: close\r\n\r\n"
		 "5\r\nhello\r\na\r\n0123456789\r\n0\r\n\r\n",
		 ANSWER, PASSED, 1, 0},
		{"version_1_0", "GET http://example.org/ HTTP/1.0\r\n\r\n",
		 "GET / HTTP/1.0\r\nHost: example.org\r\nVia: 1.0 coffer\r\nConnection: close\r\n\r\n",
		 "HTTP/1.0 200 OK\r\n\r\nok", "HTTP/1.1 200 OK\r\nVia: 1.0 coffer\r\nConnection: close\r\n\r\nok", 1, 0},
		{"continue", GET("Expect: 100-continue\r\n"),
		 "GET / HTTP/1.1\r\nHost: example.org\r\nExpect: 100-continue\r\nVia: 1.1 coffer\r\nConnection: close\r\n\r\n",
		 "HTTP/1.1 100 Continue\r\nConnection: X\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\n" ANSWER,
		   "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: a\r\n\r\n" PASSED, 1, 0},
		{"answer_no_reason", GET(""), NULL, "HTTP/1.1 204\r\n\r\n", "HTTP/1.1 204\r\nVia: 1.1 coffer\r\nConnection: close\r\n\r\n", 1, 0},
		{"answer_two_lengths", GET(""), NULL, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", BAD, 1, 1},
		{"answer_both", GET(""), NULL, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok", BAD, 1, 1},
		{"answer_switches", GET(""), NULL, "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", BAD, 1, 1},
		{"answer_bare_lf", GET(""), NULL, "HTTP/1.1 200 OK\nX: 1\n\n", BAD, 1, 1},
		{"answer_http_0_9", GET(""), NULL, "<html>\r\n\r\n", BAD, 1, 1},
		{"answer_smtp", GET(""), NULL, "220 mail ESMTP\r\n\r\n", BAD, 1, 1},
		{"answer_407", GET(""), NULL, "HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic\r\n\r\n", BAD, 1, 1},
	};
	static const char *const bad_chunks[] = {
		"x\r\n", "-1\r\n", "5\nhello", "5 \r\n", "\r\n", "5\r\nhelloX", "5\r\nhello\n", "1000000000000000\r\n", "0\r\nno colon\r\n\r\n",
		   "0x5\r\nhello\r\n", "5\r\rhello",
	};
	for (size_t i = 0; i < sizeof exchanges / sizeof *exchanges; i++) {
		const struct exchange *x = &exchanges[i];
		size_t n = strlen(x->request), head = (size_t)(strstr(x->request, "\r\n\r\n") + 4 - x->request), len;
		char name[64], up[2048], down[2048], why[2048] = "";
		bool right = true;
		for (size_t piece = 1; piece <= 64; piece += 3) {
			struct result r;
			struct acceptor *a = accept_new(&o);
			play(a, x->request, n, piece > 40 ? n : head, &r);
			if (r.step != ACCEPT_TARGET || r.used != head || accept_connected(a, 0, NULL) != ACCEPT_OPEN || !accept_filters(a)) {
				snprintf(why, sizeof why, "step %d, %.900s", r.step, r.reply);
				right = false;
				accept_free(a);
				break;
			}
			int result = filter(accept_up, a, x->request + head, n - head, piece, piece > 30 ? 1024 : 7 + piece, up, &len);
			hide_name(up);
			if (result != x->up_result || (x->up && strcmp(up, x->up))) {
				right = false;
				snprintf(why, sizeof why, "up %d: %.900s", result, up);
			}
			result = filter(accept_down, a, x->answer, strlen(x->answer), piece, piece > 30 ? 1024 : 7 + piece, down, &len);
			hide_name(down);
			if (result != x->down_result || strncmp(down, x->down, strlen(x->down)) || (!result && strlen(down) != strlen(x->down))) {
				right = false;
				snprintf(why, sizeof why, "down %d: %.900s", result, down);
			}
			accept_free(a);
		}
		snprintf(name, sizeof name, "forward.%s", x->name);
		ok(name, right, "%s", why);
	}
	for (size_t i = 0; i < sizeof bad_chunks / sizeof *bad_chunks; i++) {
		static const char head[] = POST("Transfer-Encoding: chunked\r\n");
		char name[64], up[2048];
		struct result r;
		size_t len;
		bool right = true;
		for (size_t piece = 1; piece < 20; piece++) {
			struct acceptor *a = accept_new(&o);
			play(a, head, sizeof head - 1, sizeof head - 1, &r);
			accept_connected(a, 0, NULL);
			right &= filter(accept_up, a, bad_chunks[i], strlen(bad_chunks[i]), piece, 1024, up, &len) == -EPROTO;
			accept_free(a);
		}
		snprintf(name, sizeof name, "forward.bad_chunks_%zu", i);
		ok(name, right, "taken: %s", bad_chunks[i]);
	}
	// An answer that never comes, or half: the client is told. One that has begun ends as it does.
	static const struct { const char *name, *answer; bool told; } ends[] = {
		{"forward.no_answer", "", true}, {"forward.half_answer", "HTTP/1.1 200 OK\r\nX:", true}, {"forward.whole_answer", ANSWER, false},
		{"forward.informational_only", "HTTP/1.1 103 Early\r\n\r\n", true},
	};
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		struct result e;
		char said[ACCEPT_LAST_WORDS + 1], down[2048];
		size_t n;
		struct acceptor *b = accept_new(&o);
		play(b, GET(""), strlen(GET("")), 1000, &e);
		accept_connected(b, 0, NULL);
		filter(accept_down, b, ends[i].answer, strlen(ends[i].answer), 1000, 1024, down, &n);
		n = accept_down_end(b, (uint8_t *)said);
		said[n] = '\0';
		ok(ends[i].name, ends[i].told ? !strncmp(said, "HTTP/1.1 502", 12) : !n, "%s", said);
		accept_free(b);
	}
	// A request that comes round is known by the name in Via.
	struct result r;
	struct acceptor *a = accept_new(&o);
	char up[2048], again[2300];
	size_t len;
	play(a, GET(""), strlen(GET("")), 1000, &r);
	accept_connected(a, 0, NULL);
	filter(accept_up, a, "", 0, 1, 1024, up, &len);
	accept_free(a);
	snprintf(again, sizeof again, "GET http://example.org/ HTTP/1.1\r\n%s", strstr(up, "\r\n") + 2);
	a = accept_new(&o);
	play(a, again, strlen(again), 1000, &r);
	ok("forward.loop", r.step == ACCEPT_REFUSED && !strncmp(r.reply, "HTTP/1.1 508", 12), "%s", r.reply);
	accept_free(a);
}

// ---- users ----

static bool users_file(const char *folder, const char *text, mode_t mode, int expect, const char *says)
{
	char path[128];
	struct users *u = NULL;
	struct fault f = {""};
	snprintf(path, sizeof path, "%s/users", folder);
	unlink(path);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text) && !fchmod(fd, mode);
	close(fd);
	int err = users_read(&u, path, &f);
	users_free(u);
	if (!written || err != expect || !strstr(f.text, says))
		printf("# users: %d, %s\n", err, f.text);
	return written && err == expect && strstr(f.text, says);
}

static bool test_users(void)
{
	char folder[64], path[128];
	struct fault f = {""};
	if (!test_folder(folder, "users"))
		return false;
	ok("users.others_may_read", users_file(folder, "a:b\n", 0644, -EPERM, ""), "see above");
	ok("users.no_colon", users_file(folder, "a:b\nab\n", 0600, -EINVAL, "line 2"), "see above");
	ok("users.no_name", users_file(folder, ":b\n", 0600, -EINVAL, "line 1"), "see above");
	ok("users.none", users_file(folder, "# nobody\n\n", 0600, -EINVAL, "no user"), "see above");
	ok("users.some", users_file(folder, "# people\nalice:secret\r\nbob:a:b\n\nlast:one", 0600, 0, ""), "see above");
	snprintf(path, sizeof path, "%s/users", folder);
	if (!ok("users.read", !users_read(&users, path, &f), "%s", f.text))
		return false;
	ok("users.known", users_know(users, "alice", 5, "secret", 6) && users_know(users, "bob", 3, "a:b", 3) && users_know(users, "last", 4,
	   "one", 3), "not known");
	ok("users.not_known", !users_know(users, "alice", 5, "secret\r", 7) && !users_know(users, "alice", 5, "", 0) && !users_know(users, "", 0,
	   "", 0) &&
	   !users_know(users, "bob", 3, "b", 1) && !users_know(users, "alice\0s", 7, "ecret", 5), "known");
	return true;
}

int main(void)
{
	if (test_users()) {
		test_socks();
		test_socks_replies();
		test_socks_datagrams();
		test_http();
		test_forward();
	}
	users_free(users);
	return ok_failed != 0;
}
