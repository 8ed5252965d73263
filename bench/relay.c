// SPDX-License-Identifier: Apache-2.0
// The least that can stand on the path of a connection: bytes are received, sealed or opened by AES-256-GCM or neither, and sent on, with blocking
// calls, by a thread for each direction. What a gateway needs beyond a pair of these is the gateway's; what the pair needs is the price of standing
// there. It proves nothing to anybody, and its key is known: for measurements on one machine only, on loopback addresses only.
//
//	relay seal|open|copy PORT TO	takes connections at 127.0.0.1:PORT, makes one to 127.0.0.1:TO for each.
//					seal: the client's bytes leave sealed, what comes back is opened; open: the reverse; copy: neither
//
// A sealed piece is 4 bytes of length (of the ciphertext, big endian), ciphertext, 16 bytes of tag; the nonce counts pieces, the length is
// authenticated. A read takes up to PIECES pieces, which are written by one call, as is all that was opened of one read.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PIECE 16384u
#define PIECES 8u
#define HEAD 4u
#define TAG 16u

enum what { SEAL, OPEN, COPY };

struct pair {
	int fds[2];			// the client's, and where it goes
	enum what what;
	unsigned int left;		// threads
	pthread_mutex_t lock;
};

struct way {
	struct pair *pair;
	int from, to;
	enum what what;
	uint8_t side;			// which direction of the connection: each has nonces of its own
	EVP_CIPHER_CTX *cipher;
	uint64_t count;
};

static int to_port;
static enum what what_at_all;

static bool send_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}

static ssize_t receive(int fd, uint8_t *bytes, size_t size)
{
	ssize_t n;
	do
		n = recv(fd, bytes, size, 0);
	while (n < 0 && errno == EINTR);
	return n;
}

static bool begin_piece(struct way *w, const uint8_t *head, bool seal)
{
	uint8_t nonce[12] = {w->side};
	uint64_t count = w->count++;
	int n;
	memcpy(nonce + 4, &count, sizeof count);
	return EVP_CipherInit_ex(w->cipher, NULL, NULL, NULL, nonce, seal) && EVP_CipherUpdate(w->cipher, NULL, &n, head, HEAD);
}

static bool seal_piece(struct way *w, uint8_t *out, const uint8_t *in, uint32_t len)
{
	uint32_t be = htonl(len);
	int n;
	memcpy(out, &be, HEAD);
	return begin_piece(w, out, true) && EVP_CipherUpdate(w->cipher, out + HEAD, &n, in, (int)len) &&
	       EVP_CipherFinal_ex(w->cipher, out + HEAD + len, &n) && EVP_CIPHER_CTX_ctrl(w->cipher, EVP_CTRL_AEAD_GET_TAG, TAG, out + HEAD + len);
}

static bool open_piece(struct way *w, uint8_t *out, uint8_t *in, uint32_t len)
{
	int n;
	return begin_piece(w, in, false) && EVP_CipherUpdate(w->cipher, out, &n, in + HEAD, (int)len) &&
	       EVP_CIPHER_CTX_ctrl(w->cipher, EVP_CTRL_AEAD_SET_TAG, TAG, in + HEAD + len) && EVP_CipherFinal_ex(w->cipher, out + len, &n);
}

// Each returns true at an end in order.
static bool copy(struct way *w, uint8_t *in)
{
	ssize_t n;
	while ((n = receive(w->from, in, PIECES * PIECE)) > 0) {
		if (!send_all(w->to, in, (size_t)n))
			return false;
	}
	return !n;
}

static bool seal(struct way *w, uint8_t *in, uint8_t *out)
{
	ssize_t n;
	while ((n = receive(w->from, in, PIECES * PIECE)) > 0) {
		size_t made = 0;
		for (size_t at = 0; at < (size_t)n; at += PIECE) {
			uint32_t len = (size_t)n - at < PIECE ? (uint32_t)((size_t)n - at) : PIECE;
			if (!seal_piece(w, out + made, in + at, len))
				return false;
			made += HEAD + len + TAG;
		}
		if (!send_all(w->to, out, made))
			return false;
	}
	return !n;
}

static bool open_all(struct way *w, uint8_t *in, uint8_t *out)
{
	const size_t size = PIECES * (HEAD + PIECE + TAG);
	size_t have = 0;
	ssize_t n;
	while ((n = receive(w->from, in + have, size - have)) > 0) {
		size_t at = 0, made = 0;
		have += (size_t)n;
		while (have - at >= HEAD) {
			uint32_t len;
			memcpy(&len, in + at, HEAD);
			len = ntohl(len);
			if (len > PIECE)
				return false;
			if (have - at < HEAD + len + TAG)
				break;
			if (!open_piece(w, out + made, in + at, len))
				return false;
			at += HEAD + len + TAG;
			made += len;
		}
		have -= at;
		memmove(in, in + at, have);
		if (!send_all(w->to, out, made))
			return false;
	}
	return !n && !have;
}

static void *run(void *arg)
{
	static const uint8_t key[32];	// known: see above
	struct way *w = arg;
	struct pair *p = w->pair;
	size_t size = PIECES * (HEAD + PIECE + TAG);
	uint8_t *in = malloc(size), *out = malloc(size);
	bool ok = in && out;
	if (ok && w->what != COPY)
		ok = (w->cipher = EVP_CIPHER_CTX_new()) && EVP_CipherInit_ex(w->cipher, EVP_aes_256_gcm(), NULL, key, NULL, w->what == SEAL);
	if (ok)
		ok = w->what == COPY ? copy(w, in) : w->what == SEAL ? seal(w, in, out) : open_all(w, in, out);
	if (ok)
		shutdown(w->to, SHUT_WR);
	else	// whatever is left on the way, both sides shall see that it broke
		for (int i = 0; i < 2; i++)
			shutdown(p->fds[i], SHUT_RDWR);
	EVP_CIPHER_CTX_free(w->cipher);
	free(in);
	free(out);
	free(w);
	pthread_mutex_lock(&p->lock);
	bool last = !--p->left;
	pthread_mutex_unlock(&p->lock);
	if (last) {
		close(p->fds[0]);
		close(p->fds[1]);
		free(p);
	}
	return NULL;
}

// Each thread frees its way, the last one the pair.
static void start(struct pair *p, unsigned int i)
{
	enum what what = p->what == COPY ? COPY : (p->what == SEAL) == !i ? SEAL : OPEN;
	struct way *w = malloc(sizeof *w);
	pthread_t thread;
	if (!w)
		exit(1);
	*w = (struct way){.pair = p, .from = p->fds[i], .to = p->fds[!i], .what = what, .side = !i};
	if (pthread_create(&thread, NULL, run, w))
		exit(1);
	pthread_detach(thread);
}

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static void take(int client)
{
	struct sockaddr_in sa = loopback(to_port);
	struct pair *p = malloc(sizeof *p);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!p || fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof sa)) {
		if (fd >= 0)
			close(fd);
		close(client);
		free(p);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	*p = (struct pair){.fds = {client, fd}, .what = what_at_all, .left = 2, .lock = PTHREAD_MUTEX_INITIALIZER};
	start(p, 0);
	start(p, 1);
}

int main(int argc, char **argv)
{
	static const char *const names[] = {"seal", "open", "copy"};
	int found = -1;
	for (int i = 0; argc == 4 && i < 3; i++)
		found = strcmp(argv[1], names[i]) ? found : i;
	if (found < 0) {
		fprintf(stderr, "usage: %s seal|open|copy PORT TO\n", argv[0]);
		return 2;
	}
	what_at_all = (enum what)found;
	to_port = atoi(argv[3]);
	struct sockaddr_in sa = loopback(atoi(argv[2]));
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int)) || bind(fd, (struct sockaddr *)&sa, sizeof sa) ||
	    listen(fd, 1024)) {
		perror("relay");
		return 1;
	}
	for (;;) {
		int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
		if (client >= 0)
			take(client);
	}
}
