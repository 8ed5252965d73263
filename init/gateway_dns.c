// SPDX-License-Identifier: Apache-2.0
// The name server that programs see asks by TCP, as everything does that the gateway carries (RFC 7766). Programs ask it by UDP as well: each query goes
// to its TCP side as one connection, and the answer comes back as a datagram, or "ask by TCP" when it is too long for one. A thread for each query
// that is under way. Locks: none; a counter.
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "init/gateway.h"

enum { HEADER = 12, QUERY_MAX = 4096, ANSWER_MAX = 65535, PLAIN_MAX = 512, EDNS_MAX = 1232, UNDER_WAY = 64, PATIENCE_S = 10, STACK = 64 << 10 };

static struct sockaddr_in server = {.sin_family = AF_INET};
static int udp = -1;
static atomic_uint under_way;

struct query {
	struct sockaddr_in from;
	size_t len;
	uint8_t bytes[2 + QUERY_MAX];	// its length stands before it, as on TCP
};

size_t gateway_dns_short(const uint8_t *query, size_t query_len, uint8_t *answer, size_t len)
{
	size_t at = HEADER;
	bool edns = query_len > HEADER && (query[10] || query[11]);
	if (query_len < HEADER || len < HEADER)
		return 0;
	if (len <= (edns ? EDNS_MAX : PLAIN_MAX))
		return len;
	while (at < query_len && query[at] && query[at] < 64)
		at += query[at] + 1u;
	if (query[4] || query[5] != 1 || at + 5 > query_len || query[at] || at + 5 > PLAIN_MAX)
		return 0; // not one question: who asks so may wait
	memcpy(answer + HEADER, query + HEADER, at + 5 - HEADER);
	answer[2] |= 0x02; // TC
	memset(answer + 4, 0, 8);
	answer[5] = 1;
	return at + 5;
}

static int all(int fd, void *buf, size_t len, bool sends)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = sends ? send(fd, (char *)buf + done, len - done, MSG_NOSIGNAL) : recv(fd, (char *)buf + done, len - done, 0);
		if (n <= 0 && !(n < 0 && errno == EINTR))
			return n ? -errno : -ECONNRESET;
		done += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static size_t ask(struct query *q, uint8_t *answer)
{
	struct timeval patience = {.tv_sec = PATIENCE_S};
	uint8_t length[2];
	size_t len = 0;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return 0;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	q->bytes[0] = (uint8_t)(q->len >> 8);
	q->bytes[1] = (uint8_t)q->len;
	if (!connect(fd, (struct sockaddr *)&server, sizeof server) && !all(fd, q->bytes, q->len + 2, true) && !all(fd, length, 2, false)) {
		len = (size_t)length[0] << 8 | length[1];
		if (all(fd, answer, len, false))
			len = 0;
	}
	close(fd);
	return len;
}

static void *serve(void *arg)
{
	struct query *q = arg;
	uint8_t *answer = malloc(ANSWER_MAX);
	size_t len = answer ? ask(q, answer) : 0;
	if (len)
		len = gateway_dns_short(q->bytes + 2, q->len, answer, len);
	if (len)	// else nothing: the program asks again, or gives up
		sendto(udp, answer, len, MSG_DONTWAIT, (struct sockaddr *)&q->from, sizeof q->from);
	free(answer);
	free(q);
	under_way--;
	return NULL;
}

static void *take_all(void *unused)
{
	pthread_attr_t a;
	(void)unused;
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, STACK);
	pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
	for (;;) {
		struct query *q = malloc(sizeof *q);
		socklen_t from = q ? sizeof q->from : 0;
		pthread_t t;
		if (!q) {
			sleep(1);
			continue;
		}
		ssize_t n = recvfrom(udp, q->bytes + 2, QUERY_MAX, MSG_TRUNC, (struct sockaddr *)&q->from, &from);
		q->len = n > 0 ? (size_t)n : 0;
		bool take = q->len >= HEADER && q->len <= QUERY_MAX && atomic_load(&under_way) < UNDER_WAY;
		if (take)
			under_way++;
		if (take && !pthread_create(&t, &a, serve, q))
			continue;
		if (take)
			under_way--;
		free(q);
	}
	return NULL;
}

int gateway_dns_start(const char *address, struct fault *f)
{
	pthread_t t;
	server.sin_port = htons(53);
	udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (udp < 0 || inet_pton(AF_INET, address, &server.sin_addr) != 1 || bind(udp, (struct sockaddr *)&server, sizeof server))
		return fault_errno(f, errno, "the gateway cannot take queries at %s", address);
	int err = pthread_create(&t, NULL, take_all, NULL);
	return err ? fault_errno(f, err, "the gateway cannot start a thread") : 0;
}
