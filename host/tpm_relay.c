// SPDX-License-Identifier: Apache-2.0
// See tpm_relay.h. A thread for each connection; `turn` is held by the one that the TPM serves, from its first command until it ends or
// says nothing for a while: many TPMs take one connection at a time, and what is done in one goes undisturbed. Who sends nothing has no
// turn, and is shown the door.
#include "host/tpm_relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "host/exact.h"
#include "lib/tpm.h"

#define CONNECTIONS 16
#define IDLE_SECONDS 10

static char device[200];
static int listener = -1;
static uint16_t port; // the listener's
static int messages;
static atomic_int connections;
static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;

static bool write_all(int fd, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return false;
		p += k;
		n -= (size_t)k;
	}
	return true;
}

// Whose is the other end? TCP has no SO_PEERCRED: the kernel's table of connections says it, and names only those that are there.
static bool from_ourselves(const struct sockaddr_in *peer)
{
	unsigned int local, local_port, remote, remote_port, state;
	char line[300];
	bool ours = false;
	unsigned long uid;
	FILE *f = fopen("/proc/self/net/tcp", "re");
	if (!f)
		return false;
	while (!ours && fgets(line, sizeof line, f))
		ours = sscanf(line, " %*u: %x:%x %x:%x %x %*x:%*x %*x:%*x %*x %lu", &local, &local_port, &remote, &remote_port, &state, &uid) == 6 &&
		       local == peer->sin_addr.s_addr && local_port == ntohs(peer->sin_port) && remote == htonl(INADDR_LOOPBACK) &&
		       remote_port == port && state == 1 && uid == geteuid();
	fclose(f);
	return ours;
}

static bool read_command(int fd, uint8_t command[TPM_MAX], size_t *n)
{
	if (!read_exactly(fd, command, 10))
		return false;
	*n = (size_t)command[2] << 24 | (size_t)command[3] << 16 | (size_t)command[4] << 8 | command[5];
	return *n >= 10 && *n <= TPM_MAX && read_exactly(fd, command + 10, *n - 10);
}

static void serve(int fd)
{
	uint8_t command[TPM_MAX], answer[TPM_MAX];
	struct fault f;
	struct tpm t;
	size_t n, len;
	if (!read_command(fd, command, &n))
		return;
	pthread_mutex_lock(&turn);
	if (tpm_open(&t, device, &f)) {
		dprintf(messages, "coffer: %s\n", f.text);
		goto out;
	}
	while (!t.transmit(&t, command, n, answer, &len, &f) && write_all(fd, answer, len) && read_command(fd, command, &n))
		;
	tpm_close(&t);
out:
	pthread_mutex_unlock(&turn);
}

static void *connection(void *arg)
{
	int fd = (int)(intptr_t)arg;
	serve(fd);
	close(fd);
	connections--;
	return NULL;
}

static void *relay(void *arg)
{
	const struct timeval idle = {IDLE_SECONDS, 0};
	(void)arg;
	for (;;) {
		struct sockaddr_in peer;
		socklen_t len = sizeof peer;
		pthread_t t;
		int fd = accept4(listener, (struct sockaddr *)&peer, &len, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		if (connections >= CONNECTIONS || !from_ourselves(&peer) || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &idle, sizeof idle) ||
		    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &idle, sizeof idle)) {
			close(fd);
			continue;
		}
		connections++;
		if (pthread_create(&t, NULL, connection, (void *)(intptr_t)fd)) {
			connections--;
			close(fd);
		} else
			pthread_detach(t);
	}
	return NULL;
}

int tpm_relay(const char *where, int message_fd, char *out, size_t n, struct fault *f)
{
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	pthread_t t;
	if (!tpm_where_valid(where))
		return fault_set(f, -EINVAL, "--tpm takes device:/dev/tpmrm0, tcp:ADDRESS:PORT or unix:PATH, not '%.100s'", where);
	snprintf(out, n, "%s", where);
	if (!strncmp(where, "tcp:", 4))
		return 0;
	snprintf(device, sizeof device, "%s", where);
	messages = message_fd;
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof a) || listen(listener, CONNECTIONS) ||
	    getsockname(listener, (struct sockaddr *)&a, &len))
		return fault_errno(f, errno, "cannot listen for the enclave's calls to the TPM");
	port = ntohs(a.sin_port);
	int err = pthread_create(&t, NULL, relay, NULL);
	if (err)
		return fault_errno(f, err, "no thread");
	pthread_detach(t);
	snprintf(out, n, "tcp:127.0.0.1:%u", port);
	return 0;
}
