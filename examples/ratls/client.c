// SPDX-License-Identifier: Apache-2.0
// Speaks to a server only if it proves that it is the enclave with this measurement: sends a line, prints the answer and what is known of the server.
//
//	attested-client ADDRESS PORT MEASUREMENT [insecure_simulated_root.pem] <<< "a line"
//
// Exit codes: 0 answered, 3 the server is not what it should be, 1 the connection failed.
#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "ratls/ratls.h"

static int talk(struct ratls_connection *c)
{
	char line[4096], answer[4096];
	size_t got = 0;
	ssize_t n = 0;
	int err = ratls_handshake(c, 20000);
	if (err)
		return err;
	fprintf(stderr, "client: %s\n", ratls_peer(c));
	if (!fgets(line, sizeof line, stdin))
		return -EINVAL;
	size_t len = strlen(line);
	if (ratls_write(c, line, len, 20000) != (ssize_t)len)
		return -EIO;
	while (got < len && (n = ratls_read(c, answer + got, len - got, 20000)) > 0)
		got += (size_t)n;
	fwrite(answer, 1, got, stdout);
	return got == len ? 0 : n < 0 ? (int)n : -ECONNRESET;
}

int main(int argc, char **argv)
{
	const char *const measurements[] = {argc > 3 ? argv[3] : NULL, NULL};
	struct ratls_options o = {.verify = true, .measurements = measurements, .insecure_simulated_root = argc > 4 ? argv[4] : NULL};
	struct sockaddr_in where = {.sin_family = AF_INET};
	struct ratls_error e;
	struct ratls_context *ctx;
	struct ratls_connection *c;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	if (argc < 4 || argc > 5 || inet_pton(AF_INET, argv[1], &where.sin_addr) != 1) {
		fprintf(stderr, "usage: attested-client ADDRESS PORT MEASUREMENT [insecure_simulated_root.pem]\n");
		return 2;
	}
	where.sin_port = htons((unsigned short)atoi(argv[2]));
	signal(SIGPIPE, SIG_IGN);
	if (fd < 0 || connect(fd, (struct sockaddr *)&where, sizeof where)) {
		perror("client");
		return 1;
	}
	if (ratls_context_new(&ctx, &o, &e) || ratls_connect(&c, ctx, fd, NULL, &e)) {
		fprintf(stderr, "client: %s\n", e.text);
		return 1;
	}
	int err = talk(c);
	if (err)
		fprintf(stderr, "client: %s\n", ratls_reason(c));
	ratls_close(c, 5000);
	ratls_context_free(ctx);
	return err == -EKEYREJECTED ? 3 : err ? 1 : 0;
}
