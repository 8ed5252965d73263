// SPDX-License-Identifier: Apache-2.0
// The way to a TPM: a device, or a socket that speaks its commands as they are (swtpm, or a relay to a device).
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/tpm.h"

#define ANSWER_S 60 // a TPM may take its time

static int transmit(struct tpm *t, const uint8_t *command, size_t n, uint8_t *answer, size_t *len, struct fault *f)
{
	size_t got = 0, want = 10;
	bool device = !strncmp(t->where, "device:", 7);
	for (size_t sent = 0; sent < n;) {
		ssize_t k = device ? write(t->fd, command + sent, n - sent) : send(t->fd, command + sent, n - sent, MSG_NOSIGNAL);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return fault_errno(f, k ? errno : EPIPE, "cannot send to the TPM at %s", t->where);
		sent += (size_t)k;
	}
	while (got < want) {
		ssize_t k = read(t->fd, answer + got, TPM_MAX - got); // a device gives all at once
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return fault_errno(f, k ? errno : ECONNRESET, "no answer from the TPM at %s", t->where);
		got += (size_t)k;
		if (got >= 10)
			want = (size_t)answer[2] << 24 | (size_t)answer[3] << 16 | (size_t)answer[4] << 8 | answer[5];
		if (want < 10 || want > TPM_MAX)
			return fault_set(f, -EPROTO, "what answers at %s is not a TPM", t->where);
	}
	*len = got;
	return 0;
}

union address {
	struct sockaddr sa;
	struct sockaddr_un un;
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;
};

// "ADDRESS:PORT", "[ADDRESS]:PORT" or the path behind "unix:". Its length, 0: malformed.
static socklen_t parse(const char *where, union address *a)
{
	char host[64] = "";
	memset(a, 0, sizeof *a);
	if (!strncmp(where, "unix:", 5)) {
		size_t n = strlen(where + 5);
		if (!n || n >= sizeof a->un.sun_path)
			return 0;
		a->un.sun_family = AF_UNIX;
		memcpy(a->un.sun_path, where + 5, n);
		return sizeof a->un;
	}
	const char *h = strncmp(where, "tcp:", 4) ? NULL : where + 4, *colon = h ? strrchr(h, ':') : NULL;
	char *end;
	if (!colon || colon == h || (size_t)(colon - h) >= sizeof host)
		return 0;
	unsigned long port = strtoul(colon + 1, &end, 10);
	if (end == colon + 1 || *end || !port || port > 65535)
		return 0;
	bool six = *h == '[' && colon[-1] == ']';
	memcpy(host, h + six, (size_t)(colon - h) - 2 * six);
	if (six && inet_pton(AF_INET6, host, &a->in6.sin6_addr) == 1) {
		a->in6.sin6_family = AF_INET6;
		a->in6.sin6_port = htons((uint16_t)port);
		return sizeof a->in6;
	}
	if (!six && inet_pton(AF_INET, host, &a->in4.sin_addr) == 1) {
		a->in4.sin_family = AF_INET;
		a->in4.sin_port = htons((uint16_t)port);
		return sizeof a->in4;
	}
	return 0;
}

bool tpm_where_valid(const char *where)
{
	union address a;
	return (!strncmp(where, "device:/", 8) && strlen(where) < sizeof ((struct tpm *)0)->where) || parse(where, &a);
}

int tpm_open(struct tpm *t, const char *where, struct fault *f)
{
	const struct timeval wait = {.tv_sec = ANSWER_S};
	union address a;
	memset(t, 0, sizeof *t);
	t->fd = -1;
	t->transmit = transmit;
	if (!tpm_where_valid(where))
		return fault_set(f, -EINVAL, "'%.100s' is no way to a TPM: device:/dev/tpmrm0, tcp:ADDRESS:PORT or unix:PATH", where);
	snprintf(t->where, sizeof t->where, "%s", where);
	if (!strncmp(where, "device:", 7)) {
		t->fd = open(where + 7, O_RDWR | O_CLOEXEC);
		return t->fd < 0 ? fault_errno(f, errno, "cannot open the TPM %s", where + 7) : 0;
	}
	socklen_t n = parse(where, &a);
	t->fd = socket(a.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (t->fd < 0)
		return fault_errno(f, errno, "no socket");
	setsockopt(t->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
	setsockopt(t->fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
	if (connect(t->fd, &a.sa, n) == 0)
		return 0;
	int err = fault_errno(f, errno, "cannot reach the TPM at %s", where);
	tpm_close(t);
	return err;
}

void tpm_close(struct tpm *t)
{
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
}
