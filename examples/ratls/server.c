// SPDX-License-Identifier: Apache-2.0
// An attested echo server: proves which enclave it runs in to each client, one after the other, and sends back what they send.
//
//	attested-server PORT [CONNECTIONS]
//
// Runs inside an enclave or a confidential machine; anywhere else there is no evidence, and it says so. Without CONNECTIONS it serves for ever.
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ratls/ratls.h"

static int serve(struct ratls_context *ctx, int fd)
{
	char buf[16384];
	ssize_t n = -1;
	struct ratls_error e;
	struct ratls_connection *c;
	if (ratls_accept(&c, ctx, fd, &e)) {
		fprintf(stderr, "server: %s\n", e.text);
		return -1;
	}
	if (ratls_handshake(c, 20000) == 0) {
		while ((n = ratls_read(c, buf, sizeof buf, -1)) > 0) {
			if (ratls_write(c, buf, (size_t)n, -1) != n)
				break;
		}
	}
	if (n)
		fprintf(stderr, "server: %s\n", ratls_reason(c));
	return ratls_close(c, 5000) || n ? -1 : 0;
}

int main(int argc, char **argv)
{
	struct ratls_options o = {.attest = true};
	struct ratls_error e;
	struct ratls_context *ctx;
	struct sockaddr_in where = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argc > 1 ? argv[1] : "")), .sin_addr.s_addr = htonl(INADDR_ANY)};
	int left = argc > 2 ? atoi(argv[2]) : -1, s = socket(AF_INET, SOCK_STREAM, 0);
	if (argc < 2 || argc > 3 || s < 0) {
		fprintf(stderr, "usage: attested-server PORT [CONNECTIONS]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
	if (bind(s, (struct sockaddr *)&where, sizeof where) || listen(s, 64)) {
		perror("server");
		return 1;
	}
	if (ratls_context_new(&ctx, &o, &e)) {
		fprintf(stderr, "server: %s\n", e.text);
		return 1;
	}
	for (; left; left -= left > 0) {
		int fd = accept(s, NULL, NULL);
		if (fd >= 0)
			serve(ctx, fd);
	}
	ratls_context_free(ctx);
	return 0;
}
