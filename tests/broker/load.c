// SPDX-License-Identifier: Apache-2.0
// The HTTP server under load and attack: it runs in this process with short deadlines; clients here are raw sockets and TLS streams.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/http_client.h"
#include "lib/http_server.h"
#include "lib/tls.h"
#include "tests/attest/ok.h"

#define MANY 1000

static char *cert, *key;
static SSL_CTX *server_tls, *client_tls;
static atomic_int handled;
static atomic_bool hold;	// handlers of /hold wait
static atomic_bool flood_over;	// /flood was asked for

// Says what it understood: "METHOD PATH LENGTH:BODY;".
static void echo(void *ctx, const struct http_request *q, struct http_response *r)
{
	(void)ctx;
	handled++;
	while (!strcmp(q->head->path, "/hold") && hold)
		usleep(5000);
	if (!strcmp(q->head->path, "/large")) {
		r->body_len = 8 << 20;
		r->body = calloc(1, r->body_len);
		return;
	}
	flood_over |= !strcmp(q->head->path, "/flood");
	r->body_len = (size_t)asprintf(&r->body, "%s %s %zu:%.20s;", q->head->method, q->head->path, q->body_len, q->body);
}

static struct http_server *start(struct http_server_options o)
{
	struct http_server *s = NULL;
	struct fault f = {""};
	o.address = "127.0.0.1";
	o.handle = echo;
	handled = 0;
	ok("a server starts", !http_server_start(&s, &o, &f), "%s", f.text);
	return s;
}

static int dial_from(const struct http_server *s, const char *from)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)http_server_port(s)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in own = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(from)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && (bind(fd, (struct sockaddr *)&own, sizeof own) || connect(fd, (struct sockaddr *)&a, sizeof a))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int dial(const struct http_server *s)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)http_server_port(s)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a)) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool dial_tls(const struct http_server *s, struct tls_stream *t)
{
	struct fault f = {""};
	int fd = dial(s);
	if (fd < 0)
		return false;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return !tls_connect(t, client_tls, fd, NULL, clock_ms() + 30000, &f);
}

// Whether it went out, the answer will show.
static bool say(int fd, const char *text)
{
	return send(fd, text, strlen(text), MSG_NOSIGNAL) >= 0;
}

// All that comes until the end, or until `quiet_ms` pass without any.
static const char *hear(int fd, int quiet_ms)
{
	static char text[1 << 16];
	size_t n = 0;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	while (n < sizeof text - 1 && poll(&p, 1, quiet_ms) > 0) {
		ssize_t got = recv(fd, text + n, sizeof text - 1 - n, 0);
		if (got <= 0)
			break;
		n += (size_t)got;
	}
	text[n] = '\0';
	return text;
}

// All that comes until `what` has, or the end; a minute without anything is one, too.
static const char *hear_until(int fd, const char *what)
{
	static char text[1 << 16];
	size_t n = 0;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	*text = '\0';
	while (n < sizeof text - 1 && !strstr(text, what) && poll(&p, 1, 60000) > 0) {
		ssize_t got = recv(fd, text + n, sizeof text - 1 - n, 0);
		if (got <= 0)
			break;
		n += (size_t)got;
		text[n] = '\0';
	}
	return text;
}

static const char *ask(const struct http_server *s, const char *bytes)
{
	int fd = dial(s);
	say(fd, bytes);
	shutdown(fd, SHUT_WR);
	const char *text = hear(fd, 60000);
	close(fd);
	return text;
}

static unsigned int times(const char *text, const char *what)
{
	unsigned int n = 0;
	for (; (text = strstr(text, what)); text += strlen(what))
		n++;
	return n;
}

// ---- what a message is ----

#define H "Host: x\r\n"

// Requests that two parsers might cut differently: each is refused, and nothing behind it is served.
static void test_smuggling(void)
{
	struct http_server *s = start((struct http_server_options){.io_timeout_ms = 5000});
	static const struct { const char *name, *bytes; int status; } cases[] = {
		{"two lengths", "POST /a HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400},
		{"two different lengths", "POST /a HTTP/1.1\r\n" H "Content-Length: 0\r\nContent-Length: 30\r\n\r\n", 400},
		{"a list of lengths", "POST /a HTTP/1.1\r\n" H "Content-Length: 3, 3\r\n\r\nabc", 400},
		{"a length with a sign", "POST /a HTTP/1.1\r\n" H "Content-Length: +3\r\n\r\nabc", 400},
		{"a length in hex", "POST /a HTTP/1.1\r\n" H "Content-Length: 0x3\r\n\r\nabc", 400},
		{"chunks", "POST /a HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501},
		{"chunks and a length", "POST /a HTTP/1.1\r\n" H "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501},
		{"chunks, misspelt", "POST /a HTTP/1.1\r\n" H "Content-Length: 4\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501},
		{"a blank before the colon", "POST /a HTTP/1.1\r\n" H "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400},
		{"a folded line", "POST /a HTTP/1.1\r\n" H "A: b\r\n Content-Length: 3\r\n\r\nabc", 400},
		{"lines that end with LF", "GET /a HTTP/1.1\nHost: x\n\n", 400},
		{"one line that ends with LF", "GET /a HTTP/1.1\r\nHost: x\nContent-Length: 40\r\n\r\n", 400},
		{"a head that ends with LF", "GET /a HTTP/1.1\r\nHost: x\r\n\n", 400},
		{"a lone CR", "GET /a HTTP/1.1\r\nHost: x\rContent-Length: 40\r\n\r\n", 400},
		{"a control character", "GET /a HTTP/1.1\r\nHost: x\r\nA: \001\r\n\r\n", 400},
		{"no host", "GET /a HTTP/1.1\r\n\r\n", 400},
		{"two hosts", "GET /a HTTP/1.1\r\n" H H "\r\n", 400},
		{"a target that is a URL", "GET http://x/a HTTP/1.1\r\n" H "\r\n", 400},
		{"another version", "GET /a HTTP/2.0\r\n" H "\r\n", 400},
		{"an empty line before", "\r\nGET /a HTTP/1.1\r\n" H "\r\n", 400},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char bytes[512], status[16], name[96];
		snprintf(bytes, sizeof bytes, "%sGET /smuggled HTTP/1.1\r\n" H "\r\n", cases[i].bytes);
		snprintf(status, sizeof status, "HTTP/1.1 %d ", cases[i].status);
		snprintf(name, sizeof name, "%s: %d, and no more of it", cases[i].name, cases[i].status);
		const char *text = ask(s, bytes);
		ok(name, !strncmp(text, status, strlen(status)) && times(text, "HTTP/1.1 ") == 1 && strstr(text, "Connection: close"), "%s", text);
	}
	ok("none of them came to a handler", handled == 0, "%d", (int)handled);
	http_server_stop(s);
}

static void test_messages(void)
{
	struct http_server *s = start((struct http_server_options){.max_body_bytes = 100000, .max_large_bytes = 1 << 20});
	const char *text = ask(s, "GET /1 HTTP/1.1\r\n" H "\r\nPOST /2 HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\nabcdeGET /3 HTTP/1.1\r\n" H "Connection: a, Close\r\n\r\n"
			       "GET /4 HTTP/1.1\r\n" H "\r\n");
	ok("requests that are sent at once are answered in their order", strstr(text, "GET /1 0:;HTTP/1.1 200") && strstr(text, "POST /2 5:abcde;HTTP/1.1 200") &&
	   strstr(text, "GET /3 0:;"), "%s", text);
	ok("and none behind the one that closes", !strstr(text, "/4"), "%s", text);
	text = ask(s, "GET /1 HTTP/1.0\r\n\r\nGET /2 HTTP/1.0\r\n\r\n");
	ok("HTTP/1.0 has one request", strstr(text, "GET /1") && !strstr(text, "GET /2"), "%s", text);
	text = ask(s, "HEAD /1 HTTP/1.1\r\n" H "\r\nGET /2 HTTP/1.1\r\n" H "Connection: close\r\n\r\n");
	ok("an answer to HEAD has no body", strstr(text, "Content-Length: 10\r\n") && !strstr(text, "HEAD /1") && strstr(text, "GET /2"), "%s", text);
	text = ask(s, "POST /1 HTTP/1.1\r\n" H "Content-Length: 100001\r\n\r\n");
	ok("a body that is too large is refused before it comes", strstr(text, " 413 "), "%s", text);
	char *big = malloc(20000);
	memset(big, 'a', 20000);
	memcpy(big, "GET / HTTP/1.1\r\nA: ", 19);
	big[19999] = '\0';
	text = ask(s, big);
	ok("so is a head", strstr(text, " 431 "), "%s", text);
	free(big);
	int fd = dial(s);
	say(fd, "POST /1 HTTP/1.1\r\n" H "Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n");
	text = hear_until(fd, "\r\n\r\n");
	bool first = !strcmp(text, "HTTP/1.1 100 Continue\r\n\r\n");
	say(fd, "ab");
	text = hear(fd, 60000);
	ok("a client that asks first is told to go on", first && strstr(text, "POST /1 2:ab;"), "%s", text);
	close(fd);
	// A byte at a time, and two requests in it.
	fd = dial(s);
	static const char slow[] = "POST /1 HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nabcGET /2 HTTP/1.1\r\n" H "Connection: close\r\n\r\n";
	for (size_t i = 0; i < sizeof slow - 1; i++)
		say(fd, (char[]){slow[i], '\0'});
	text = hear(fd, 60000);
	ok("bytes that come one by one", strstr(text, "POST /1 3:abc;") && strstr(text, "GET /2"), "%s", text);
	close(fd);
	http_server_stop(s);
}

// ---- clients that are slow on purpose ----

enum slow { SILENT, HALF_HELLO, HALF_HEAD, HALF_BODY, NEVER_READS, SLOWS };

// Every place is taken by such clients; another one is served at once.
static void test_slow(enum slow kind, bool plain, const char *name)
{
	struct http_server *s = start((struct http_server_options){.tls = plain ? NULL : server_tls, .max_connections = 64, .max_per_peer = 1000,
				      .io_timeout_ms = 1000, .idle_timeout_ms = 1000, .workers = 4});
	int slow[100];
	struct tls_stream t;
	struct http_server_counts counts;
	char title[128];
	for (size_t i = 0; i < 100; i++) {
		slow[i] = dial(s);
		if (kind == HALF_HELLO)
			say(slow[i], "\x16\x03\x01\x02");
		else if (kind == HALF_HEAD)
			say(slow[i], "GET / HTTP/1.1\r\nHost: ");
		else if (kind == HALF_BODY)
			say(slow[i], "POST / HTTP/1.1\r\n" H "Content-Length: 90000\r\n\r\nabc");
		else if (kind == NEVER_READS)
			say(slow[i], "GET /large HTTP/1.1\r\n" H "\r\n");
	}
	bool served = false;
	for (int tries = 0; tries < 20 && !served; tries++) {	// it has but a second itself
		if (plain) {
			served = strstr(ask(s, "GET /in HTTP/1.1\r\n" H "Connection: close\r\n\r\n"), "GET /in");
			continue;
		}
		char answer[512] = "";
		served = dial_tls(s, &t) && !tls_write(&t, "GET /in HTTP/1.1\r\n" H "\r\n", 30, clock_ms() + 30000) &&
			 tls_read(&t, answer, sizeof answer - 1, clock_ms() + 30000) > 0 && strstr(answer, " 200 OK");
		if (t.ssl)
			tls_close(&t);
	}
	snprintf(title, sizeof title, "%s keep nobody waiting", name);
	ok(title, served, "the other client was not served");
	for (int i = 0; i < 1200; i++) {
		http_server_counts(s, &counts);
		if (!counts.open)
			break;
		usleep(50000);
	}
	snprintf(title, sizeof title, "%s are gone when their time is over", name);
	ok(title, !counts.open && counts.accepted >= 100 && counts.made_room + counts.timed_out >= 100, "%u open, %lu accepted, %lu made room, %lu timed out",
	   counts.open, counts.accepted, counts.made_room, counts.timed_out);
	for (size_t i = 0; i < 100; i++)
		close(slow[i]);
	http_server_stop(s);
}

static void test_trickle(void)
{
	struct http_server *s = start((struct http_server_options){.io_timeout_ms = 1000});
	int fd = dial(s);
	int64_t begun = clock_ms();
	struct pollfd p = {.fd = fd, .events = POLLIN};
	say(fd, "GET / HTTP/1.1\r\nHost: x");
	while (clock_ms() - begun < 60000 && poll(&p, 1, 100) == 0)
		say(fd, "x");	// a byte now and then does not win time
	ok("a head that trickles is cut off", clock_ms() - begun < 50000 && !*hear(fd, 1000), "not after %lld ms", (long long)(clock_ms() - begun));
	close(fd);
	http_server_stop(s);
}

struct flood {
	int fd;
	char *bytes;
	long len;
};
static void *send_flood(void *arg)
{
	const struct flood *f = arg;
	for (ssize_t at = 0, n = 0; at < f->len; at += n) {
		n = send(f->fd, f->bytes + at, (size_t)(f->len - at), MSG_NOSIGNAL);
		if (n <= 0)
			break;
	}
	return NULL;
}

// Very many messages of TLS's own, made beforehand, and a request at their end: the one worker serves others in between.
static void test_key_updates(void)
{
	struct http_server *s = start((struct http_server_options){.tls = server_tls, .workers = 1, .idle_timeout_ms = 120000, .io_timeout_ms = 120000});
	struct tls_stream flooder = {.ssl = NULL}, t = {.ssl = NULL};
	char answer[512] = "";
	struct flood f;
	pthread_t thread;
	bool made = dial_tls(s, &flooder);
	BIO *out = BIO_new(BIO_s_mem());
	flood_over = false;
	if (!ok("a connection for a flood", made && out, "no"))
		return;
	SSL_set0_wbio(flooder.ssl, out);
	for (int i = 0; i < 200000 && made; i++)
		made = SSL_key_update(flooder.ssl, SSL_KEY_UPDATE_NOT_REQUESTED) == 1 && SSL_do_handshake(flooder.ssl) == 1;
	made = made && SSL_write(flooder.ssl, "GET /flood HTTP/1.1\r\n" H "\r\n", 32) == 32;
	f.fd = flooder.fd;
	f.len = BIO_get_mem_data(out, &f.bytes);
	fcntl(f.fd, F_SETFL, 0);
	ok("a flood", made && f.len > 200000, "%ld", f.len);
	pthread_create(&thread, NULL, send_flood, &f);
	bool served = dial_tls(s, &t) && !tls_write(&t, "GET /in HTTP/1.1\r\n" H "\r\n", 30, clock_ms() + 60000) &&
		      tls_read(&t, answer, sizeof answer - 1, clock_ms() + 60000) > 0 && strstr(answer, " 200 OK") && !flood_over;
	ok("who changes keys again and again keeps nobody waiting", served, "the flood came first");
	pthread_join(thread, NULL);
	for (int i = 0; i < 12000 && !flood_over; i++)
		usleep(50000);
	ok("and is served, too", flood_over, "no");
	if (t.ssl)
		tls_close(&t);
	tls_close(&flooder);
	http_server_stop(s);
}

static void test_peers(void)
{
	struct http_server *s = start((struct http_server_options){.max_per_peer = 10});
	struct http_server_counts c;
	int fds[20], open = 0;
	for (int i = 0; i < 20; i++) {
		fds[i] = dial(s);
		say(fds[i], "GET / HTTP/1.1\r\n" H "\r\n");
	}
	for (int i = 0; i < 20; i++)
		open += strstr(hear_until(fds[i], " 200 "), " 200 ") != NULL;
	http_server_counts(s, &c);
	ok("one address has so many connections and no more", open == 10 && c.over_peer_limit == 10, "%d served, %lu refused", open, c.over_peer_limit);
	for (int i = 0; i < 20; i++)
		close(fds[i]);
	http_server_stop(s);
}

// What is being sent at a time is bounded; small requests go on.
static void test_memory(void)
{
	struct http_server *s = start((struct http_server_options){.max_large_bytes = 2 << 20, .max_body_bytes = 1 << 20});
	int fds[12];
	char *part = malloc(400001);
	memset(part, 'a', 400000);
	part[400000] = '\0';
	unsigned int refused = 0;
	for (int i = 0; i < 12; i++) {
		fds[i] = dial(s);
		say(fds[i], "POST / HTTP/1.1\r\n" H "Content-Length: 1000000\r\n\r\n");
		say(fds[i], part);
	}
	const char *text = ask(s, "POST /small HTTP/1.1\r\n" H "Content-Length: 3\r\nConnection: close\r\n\r\nabc");
	ok("large requests that do not end keep out no small one", strstr(text, "POST /small 3:abc;"), "%s", text);
	char *large = malloc(200200);
	size_t n = (size_t)sprintf(large, "POST /large-one HTTP/1.1\r\n" H "Content-Length: 200000\r\nConnection: close\r\n\r\n");
	memset(large + n, 'b', 200000);
	large[n + 200000] = '\0';
	int other = dial_from(s, "127.0.0.2");
	say(other, large);
	text = hear(other, 60000);
	ok("nor a large one from another address", strstr(text, "POST /large-one 200000:bbb"), "%s", text);
	close(other);
	free(large);
	bool told[12] = {false};
	for (int k = 0; k < 600 && refused < 3; k++) {
		int i = k % 12;
		if (!told[i] && strstr(hear(fds[i], 200), " 503 ")) {
			told[i] = true;
			refused++;
		}
	}
	for (int i = 0; i < 12; i++)
		close(fds[i]);
	ok("beyond the bound large ones are refused", refused >= 3, "%u of 12", refused);
	free(part);
	http_server_stop(s);
}

// ---- many at once ----

static void test_many(void)
{
	struct http_server *s = start((struct http_server_options){.tls = server_tls, .max_per_peer = MANY + 10, .idle_timeout_ms = 120000,
				      .io_timeout_ms = 120000});
	struct tls_stream *t = calloc(MANY, sizeof *t);
	struct http_server_counts c;
	char answer[512];
	unsigned int up = 0, served = 0;
	for (int i = 0; i < MANY; i++)
		up += dial_tls(s, &t[i]);
	http_server_counts(s, &c);
	ok("1000 TLS connections are open at a time", up == MANY && c.open == MANY, "%u, %u", up, c.open);
	for (int i = 0; i < MANY; i++) {
		if (t[i].ssl)
			tls_write(&t[i], "GET /in HTTP/1.1\r\n" H "\r\n", 30, clock_ms() + 60000);
	}
	for (int i = 0; i < MANY; i++) {
		ssize_t n = t[i].ssl ? tls_read(&t[i], answer, sizeof answer - 1, clock_ms() + 60000) : 0;
		answer[n > 0 ? n : 0] = '\0';
		served += strstr(answer, "GET /in 0:;") != NULL;
	}
	ok("and each is served", served == MANY, "%u", served);
	for (int i = 0; i < MANY; i++) {
		if (t[i].ssl)
			tls_close(&t[i]);
	}
	free(t);
	http_server_stop(s);
}

// ---- the end ----

static void *stop_thread(void *s)
{
	http_server_stop(s);
	return NULL;
}

static void test_stop(void)
{
	struct http_server *s = start((struct http_server_options){.io_timeout_ms = 5000});
	pthread_t t;
	unsigned int port = http_server_port(s);
	int held = dial(s), begun = dial(s), idle = dial(s);
	hold = true;
	say(idle, "GET /idle HTTP/1.1\r\n" H "\r\n");
	hear_until(idle, "/idle 0:;");
	say(begun, "POST /begun HTTP/1.1\r\n" H "Content-Length: 3\r\n\r\nab");
	say(held, "GET /hold HTTP/1.1\r\n" H "\r\n");
	while (handled < 2)
		usleep(1000);
	int64_t before = clock_ms();
	pthread_create(&t, NULL, stop_thread, s);
	ok("at the end an idle connection is closed", !*hear(idle, 3000), "it was answered");
	ok("and one whose request has not come", !*hear(begun, 3000), "it was answered");
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ok("new connections are refused", connect(late, (struct sockaddr *)&a, sizeof a) && errno == ECONNREFUSED, "%s", strerror(errno));
	hold = false;
	const char *text = hear(held, 60000);
	ok("the request in hand is answered, and its connection closed", strstr(text, "GET /hold 0:;") && strstr(text, "Connection: close"), "%s", text);
	close(held);
	pthread_join(t, NULL);
	ok("then the server has ended", clock_ms() - before < 20000, "after %lld ms", (long long)(clock_ms() - before));
	close(begun);
	close(idle);
	close(late);

	s = start((struct http_server_options){.io_timeout_ms = 1000});
	int greedy = dial(s);
	say(greedy, "GET /large HTTP/1.1\r\n" H "\r\n");
	while (handled < 1)
		usleep(1000);
	before = clock_ms();
	http_server_stop(s);
	ok("a client that never reads does not keep it from ending", clock_ms() - before < 15000, "%lld ms", (long long)(clock_ms() - before));
	close(greedy);
}

int main(void)
{
	struct fault f = {""};
	struct rlimit l;
	signal(SIGPIPE, SIG_IGN);
	getrlimit(RLIMIT_NOFILE, &l);
	rlim_t had = l.rlim_cur;
	l.rlim_cur = l.rlim_max == RLIM_INFINITY || l.rlim_max > 4096 ? 4096 : l.rlim_max;
	if (had < l.rlim_cur)
		setrlimit(RLIMIT_NOFILE, &l);
	if (tls_make_certificate("test", "localhost,127.0.0.1", &cert, &key, &f) || !(server_tls = tls_server_context(cert, key, &f)) ||
	    !(client_tls = tls_client_context(cert, &f))) {
		printf("not ok load: %s\n", f.text);
		return 1;
	}
	test_smuggling();
	test_messages();
	test_slow(SILENT, false, "silent connections");
	test_slow(HALF_HELLO, false, "handshakes that do not go on");
	test_slow(HALF_HEAD, true, "heads that do not end");
	test_slow(HALF_BODY, true, "bodies that do not end");
	test_slow(NEVER_READS, true, "clients that never read");
	test_trickle();
	test_key_updates();
	test_peers();
	test_memory();
	if (l.rlim_cur >= 2 * MANY + 200)
		test_many();
	else
		skip("1000 connections", "this process may not open so many files");
	test_stop();
	SSL_CTX_free(server_tls);
	SSL_CTX_free(client_tls);
	free(cert);
	free_wiped(key, strlen(key));
	return ok_failed != 0;
}
