// SPDX-License-Identifier: Apache-2.0
// A broker's own token vouches for the keys of an OHTTP gateway: an enclave attests, its gateway shows the token with what the token's key signs, and
// a client that knows nothing but the broker's published keys believes it.
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/file.h"
#include "lib/keyfile.h"
#include "tests/broker/harness.h"
#include "tunnel/http1_server.h"
#include "tunnel/ohttp_gateway.h"

static struct run b;
static char token_path[128], key_path[128], keys_path[128], egress_at[32], origin_at[32];

static int listener(char where[32])
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof in;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&in, sizeof in) || listen(fd, 16) || getsockname(fd, (struct sockaddr *)&in, &len))
		abort();
	snprintf(where, 32, "127.0.0.1:%u", ntohs(in.sin_port));
	return fd;
}

static void serve(void *ctx, struct http1_call *c)
{
	(void)ctx;
	http1_answer(c, 200, "text/plain", NULL, "from the enclave", 16);
}

static void write_text(const char *path, const char *text, size_t len)
{
	if (file_write(path, text, len, 0600, false, NULL))
		abort();
}

// What a client with these options gets.
static void asks(const char *name, const struct ratls_options *tls, unsigned int status, const char *text)
{
	struct ohttp_ingress *i;
	struct http1_content content;
	struct outbuf body = {.at = NULL};
	struct wire w;
	struct fault f = {""};
	static struct http1_head h;
	static const char request_text[] = "GET / HTTP/1.1\r\nHost: service\r\nConnection: close\r\n\r\n";
	char url[64], at[32];
	const char *head;
	size_t len;
	int64_t deadline = clock_ms() + 20000;
	snprintf(url, sizeof url, "http://%s", egress_at);
	const struct ohttp_ingress_options o = {.listener = listener(at), .url = url, .tls = tls};
	if (!ok("a client of the gateway starts", !ohttp_ingress_start(&i, &o, &f), "%s", f.text))
		return;
	int err = wire_dial(&w, at, NULL, deadline, &f);
	if (!err)
		err = wire_write(&w, request_text, strlen(request_text), deadline);
	if (!err)
		err = wire_head(&w, deadline, deadline, &head, &len);
	if (!err)
		err = http1_response_read(&h, head, len, false, &f);
	if (!err) {
		http1_content_begin(&content, &h);
		wire_body_begin(&w, WIRE_BODY_MS);
		err = wire_body_all(&w, &content, 1 << 16, &body);
	}
	outbuf_put(&body, "", 1);
	ok(name, !err && h.status == status && strstr((char *)body.at, text), "%d, %u: %s", err, h.status, (char *)body.at);
	wire_close(&w);
	outbuf_free(&body);
	ohttp_ingress_stop(i, 0);
}

static void test_gateway(void)
{
	struct ohttp_egress *e;
	struct http1_server *origin;
	struct http_reply keys;
	struct guest g = {.key = NULL};
	struct fault f = {""};
	char *token = NULL;
	const char *measurements[] = {machine.measurement_hex, NULL};
	snprintf(token_path, sizeof token_path, "%s/token", world);
	snprintf(key_path, sizeof key_path, "%s/token.key", world);
	snprintf(keys_path, sizeof keys_path, "%s/jwks.json", world);
	int status = guest_attest(&b, &machine, &g, &token);
	if (!ok("an enclave attests and has a token", status == 200 && token, "%d", status) || request(&b, "GET", "/.well-known/jwks.json", "", NULL,
		&keys))
		return;
	write_text(token_path, token, strlen(token));
	write_text(keys_path, keys.body, keys.body_len);
	if (EVP_PKEY_up_ref(g.key) != 1 || keyfile_write(key_path, g.key, &f))
		abort();
	const struct ratls_options shows = {.token_file = token_path, .key_file = key_path};
	struct ratls_options wants = {.verify = true, .measurements = measurements, .token_keys_file = keys_path,
		.insecure_simulated_root = machine.root_pem};
	const struct http1_server_options plain = {.listener = listener(origin_at), .handle = serve};
	const struct ohttp_egress_options o = {.listener = listener(egress_at), .to = origin_at, .tls = &shows};
	if (http1_server_start(&origin, &plain, &f) || !ok("its gateway starts", !ohttp_egress_start(&e, &o, &f), "%s", f.text))
		return;
	asks("whoever knows the broker's keys believes it", &wants, 200, "from the enclave");
	wants.insecure_simulated_root = NULL;
	asks("but not simulated hardware, where real is wanted", &wants, 502, "tee: expected");
	wants.insecure_simulated_root = machine.root_pem;
	const char *others[] = {"000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000", NULL};
	wants.measurements = others;
	asks("nor another enclave", &wants, 502, "measurement: expected");
	wants.measurements = measurements;
	token[strlen(token) - 10] ^= 1;
	write_text(token_path, token, strlen(token));
	asks("nor a token that was changed", &wants, 502, "token: expected");
	ohttp_egress_stop(e, 0);
	http1_server_stop(origin, 0);
	http_reply_free(&keys);
	guest_free(&g);
	free(token);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	world_begin("ohttp");
	if (run_prepare(&b, "state") && ok("the broker starts", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no")) {
		test_gateway();
		ok("it ends well", !run_stop(&b), "no");
	}
	run_free(&b);
	return world_end();
}
