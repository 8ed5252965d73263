// SPDX-License-Identifier: Apache-2.0
// See tpm_relay.h. One connection after the other, as a TPM serves one command after the other.
#include "host/tpm_relay.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/tpm.h"

static char device[200];
static int listener = -1;

static bool read_all(int fd, uint8_t *p, size_t n)
{
	while (n) {
		ssize_t k = read(fd, p, n);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return false;
		p += k;
		n -= (size_t)k;
	}
	return true;
}

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

static void serve(int fd)
{
	uint8_t command[TPM_MAX], answer[TPM_MAX];
	struct fault f;
	struct tpm t;
	if (tpm_open(&t, device, &f)) {
		fprintf(stderr, "coffer: %s\n", f.text);
		return;
	}
	while (read_all(fd, command, 10)) {
		size_t n = (size_t)command[2] << 24 | (size_t)command[3] << 16 | (size_t)command[4] << 8 | command[5], len;
		if (n < 10 || n > sizeof command || !read_all(fd, command + 10, n - 10) || t.transmit(&t, command, n, answer, &len, &f) ||
		    !write_all(fd, answer, len))
			break;
	}
	tpm_close(&t);
}

static void *relay(void *arg)
{
	(void)arg;
	for (;;) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		serve(fd);
		close(fd);
	}
	return NULL;
}

int tpm_relay(const char *where, char *out, size_t n, struct fault *f)
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
	listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&a, sizeof a) || listen(listener, 8) ||
	    getsockname(listener, (struct sockaddr *)&a, &len))
		return fault_errno(f, errno, "cannot listen for the enclave's calls to the TPM");
	int err = pthread_create(&t, NULL, relay, NULL);
	if (err)
		return fault_errno(f, err, "no thread");
	pthread_detach(t);
	snprintf(out, n, "tcp:127.0.0.1:%u", ntohs(a.sin_port));
	return 0;
}
