// SPDX-License-Identifier: Apache-2.0
// See wire.h.
#include "ratls/wire.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RECORD_ON_WIRE (5 + 16384 + 1 + 16)
#define WIRE_MAX (5 * RECORD_ON_WIRE)	// what 64 KiB and their frame's head make, and a little more
#define WIRE_AHEAD 8192

struct wire {
	int fd;
	bool gathers;
	unsigned char *bytes;	// to be written, while there are any
	size_t len, pos, size;
	unsigned char *ahead;	// that OpenSSL has not asked for yet: WIRE_AHEAD, while there are any
	size_t ahead_len, ahead_pos;
	size_t idle;		// bytes read since the last that were somebody's data
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static BIO_METHOD *method;

bool wire_holds(BIO *b)
{
	const struct wire *w = BIO_get_data(b);
	return w->len;
}

static void drop(struct wire *w)
{
	free(w->bytes);
	w->bytes = NULL;
	w->len = w->pos = w->size = 0;
}

static int empty(struct wire *w)
{
	while (w->pos < w->len) {
		ssize_t n = write(w->fd, w->bytes + w->pos, w->len - w->pos);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EWOULDBLOCK ? -EAGAIN : -errno;
		w->pos += (size_t)n;
	}
	if (w->bytes)
		drop(w);
	return 0;
}

static bool make_room(struct wire *w, size_t size)
{
	unsigned char *more = w->size < size ? realloc(w->bytes, size) : w->bytes;
	if (!more)
		return false;
	w->bytes = more;
	w->size = w->size < size ? size : w->size;
	return true;
}

static int wire_write(BIO *b, const char *bytes, int len)
{
	struct wire *w = BIO_get_data(b);
	BIO_clear_retry_flags(b);
	if (len <= 0)
		return 0;
	int err = w->len && (!w->gathers || w->len + (size_t)len > WIRE_MAX) ? empty(w) : 0;
	if (!err && w->gathers && (size_t)len <= WIRE_MAX) {
		if (!make_room(w, WIRE_MAX))
			return -1;
		memcpy(w->bytes + w->len, bytes, (size_t)len);
		w->len += (size_t)len;
		return len;
	}
	ssize_t n = err ? -1 : write(w->fd, bytes, (size_t)len);
	if (err)
		errno = -err;
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
		BIO_set_retry_write(b);
	return (int)n;
}

// OpenSSL asks for a record's head, then for the rest: both come in one call of the kernel's.
static ssize_t get(struct wire *w, unsigned char *bytes, size_t size, bool reads_ahead)
{
	if (!w->ahead) {
		if (!reads_ahead || size >= WIRE_AHEAD || !(w->ahead = malloc(WIRE_AHEAD)))
			return read(w->fd, bytes, size);
		ssize_t came = read(w->fd, w->ahead, WIRE_AHEAD);
		if (came <= 0) {
			int saved = errno;
			free(w->ahead);
			w->ahead = NULL;
			errno = saved;
			return came;
		}
		w->ahead_len = (size_t)came;
		w->ahead_pos = 0;
	}
	size_t n = w->ahead_len - w->ahead_pos < size ? w->ahead_len - w->ahead_pos : size;
	memcpy(bytes, w->ahead + w->ahead_pos, n);
	w->ahead_pos += n;
	if (w->ahead_pos == w->ahead_len) {
		free(w->ahead);
		w->ahead = NULL;
	}
	return (ssize_t)n;
}

static int wire_read(BIO *b, char *bytes, int size)
{
	struct wire *w = BIO_get_data(b);
	BIO_clear_retry_flags(b);
	if (size <= 0)
		return 0;
	if (w->idle > WIRE_IDLE_MAX) {
		errno = EPROTO;
		return -1;
	}
	ssize_t n = get(w, (unsigned char *)bytes, (size_t)size, true);
	if (n > 0)
		w->idle += (size_t)n;
	else if (n == 0)
		BIO_set_flags(b, BIO_FLAGS_IN_EOF);
	else if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
		BIO_set_retry_read(b);
	return (int)n;
}

static long wire_control(BIO *b, int command, long number, void *pointer)
{
	struct wire *w = BIO_get_data(b);
	(void)number, (void)pointer;
	if (command == BIO_CTRL_EOF)
		return BIO_test_flags(b, BIO_FLAGS_IN_EOF) != 0;
	if (command != BIO_CTRL_FLUSH)
		return 0;
	BIO_clear_retry_flags(b);
	int err = w->gathers ? 0 : empty(w);
	if (err == -EAGAIN)
		BIO_set_retry_write(b);
	return err ? -1 : 1;
}

static int wire_free(BIO *b)
{
	struct wire *w = BIO_get_data(b);
	if (w) {
		drop(w);
		free(w->ahead);
	}
	free(w);
	return 1;
}

static void make_method(void)
{
	BIO_METHOD *m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "attested TLS");
	if (m && BIO_meth_set_write(m, wire_write) && BIO_meth_set_read(m, wire_read) && BIO_meth_set_ctrl(m, wire_control) &&
	    BIO_meth_set_destroy(m, wire_free))
		method = m;
	else
		BIO_meth_free(m);
}

BIO *wire_new(int fd)
{
	pthread_once(&once, make_method);
	BIO *b = method ? BIO_new(method) : NULL;
	struct wire *w = b ? calloc(1, sizeof *w) : NULL;
	if (!w) {
		BIO_free(b);
		return NULL;
	}
	w->fd = fd;
	BIO_set_data(b, w);
	BIO_set_init(b, 1);
	return b;
}

void wire_heard(BIO *b)
{
	struct wire *w = BIO_get_data(b);
	w->idle = 0;
}

void wire_gather(BIO *b)
{
	struct wire *w = BIO_get_data(b);
	w->gathers = true;
}

int wire_send(BIO *b)
{
	struct wire *w = BIO_get_data(b);
	w->gathers = false;
	return empty(w);
}

int wire_put(BIO *b, const uint8_t *bytes, size_t len)
{
	struct wire *w = BIO_get_data(b);
	while (len && !w->len) {
		ssize_t n = write(w->fd, bytes, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
			return -errno;
		if (n < 0)
			break;
		bytes += n;
		len -= (size_t)n;
	}
	if (!len)
		return 0;
	if (!make_room(w, w->len + len))
		return -ENOMEM;
	memcpy(w->bytes + w->len, bytes, len);
	w->len += len;
	return 0;
}

ssize_t wire_get(BIO *b, uint8_t *bytes, size_t size)
{
	struct wire *w = BIO_get_data(b);
	ssize_t n;
	do
		n = get(w, bytes, size, false);
	while (n < 0 && errno == EINTR);
	return n < 0 ? errno == EWOULDBLOCK ? -EAGAIN : -errno : n;
}

bool wire_has_more(BIO *b)
{
	const struct wire *w = BIO_get_data(b);
	return w->ahead;
}
