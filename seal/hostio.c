// SPDX-License-Identifier: Apache-2.0
// Volume files on a host: whole transfers by pread and pwrite, an flock against two writers, memory and randomness of
// the C library. Hosted only.
#include "seal/hostio.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int io_read(void *ctx, u64 off, void *buf, size_t len)
{
	struct hostio *h = ctx;
	for (u8 *p = buf; len;) {
		ssize_t n = pread(h->fd, p, len, (off_t)off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENODATA;
		p += n;
		off += (u64)n;
		len -= (size_t)n;
	}
	return 0;
}

static int io_write(void *ctx, u64 off, const void *buf, size_t len)
{
	struct hostio *h = ctx;
	for (const u8 *p = buf; len;) {
		ssize_t n = pwrite(h->fd, p, len, (off_t)off);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		p += n;
		off += (u64)n;
		len -= (size_t)n;
	}
	return 0;
}

// Linux tells of what it could not write once. Who flushes beside him who was told is told too: each waits for the one before.
static int io_flush(void *ctx)
{
	struct hostio *h = ctx;
	pthread_mutex_lock(&h->flushing);
	if (!h->flush_error && fdatasync(h->fd))
		h->flush_error = -errno;
	int r = h->flush_error;
	pthread_mutex_unlock(&h->flushing);
	return r;
}

static s64 io_size(void *ctx)
{
	struct stat st;
	return fstat(((struct hostio *)ctx)->fd, &st) ? -errno : st.st_size;
}

static int io_punch(void *ctx, u64 off, u64 len)
{
	int fd = ((struct hostio *)ctx)->fd;
	return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)len) ? -errno : 0;
}

static int io_truncate(void *ctx, u64 size)
{
	return ftruncate(((struct hostio *)ctx)->fd, (off_t)size) ? -errno : 0;
}

static void io_write_out(void *ctx, u64 off, u64 len)
{
	(void)sync_file_range(((struct hostio *)ctx)->fd, (off_t)off, (off_t)len, SYNC_FILE_RANGE_WRITE); // what fails is the next flush's to tell
}

static void *env_alloc(void *ctx, size_t n)
{
	(void)ctx;
	return n >= 4096 ? aligned_alloc(64, (n + 63) & ~63ul) : malloc(n);
}

static void env_free(void *ctx, void *p, size_t n)
{
	(void)ctx, (void)n;
	free(p);
}

static int env_random(void *ctx, void *buf, size_t n)
{
	(void)ctx;
	for (u8 *p = buf; n;) {
		ssize_t k = getrandom(p, n, 0);
		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k ? -errno : -EIO;
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

static u64 env_now(void *ctx)
{
	struct timespec ts;
	(void)ctx;
	clock_gettime(CLOCK_REALTIME, &ts);
	return (u64)ts.tv_sec * 1000000000ul + (u64)ts.tv_nsec;
}

static void env_lock(void *ctx) { pthread_mutex_lock(&((struct hostio *)ctx)->mutex); }
static void env_unlock(void *ctx) { pthread_mutex_unlock(&((struct hostio *)ctx)->mutex); }

static void env_log(void *ctx, const char *text)
{
	struct hostio *h = ctx;
	snprintf(h->last_log, sizeof h->last_log, "%s", text);
}

int hostio_open(struct hostio *h, const char *path, enum hostio_mode mode)
{
	static const int flags[] = {O_RDONLY, O_RDWR, O_RDWR | O_CREAT | O_EXCL, O_RDONLY};
	struct stat st, now;
	memset(h, 0, sizeof *h);
	h->fd = open(path, flags[mode] | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600); // a pipe is refused below, not waited for
	if (h->fd < 0)
		return -errno;
	int r = fstat(h->fd, &st) ? -errno : S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) ? 0 : SEAL_ENOTVOLUME;
	if (!r && mode != HOSTIO_PROBE && flock(h->fd, (mode == HOSTIO_READ ? LOCK_SH : LOCK_EX) | LOCK_NB))
		r = errno == EWOULDBLOCK ? -EBUSY : -errno;
	if (!r && mode != HOSTIO_PROBE && (stat(path, &now) || now.st_dev != st.st_dev || now.st_ino != st.st_ino))
		r = -EBUSY; // somebody has put another in its place before it was locked
	if (r) {
		close(h->fd);
		h->fd = -1;
		return r;
	}
	pthread_mutex_init(&h->mutex, NULL);
	pthread_mutex_init(&h->flushing, NULL);
	h->locked = true;
	h->io = (struct seal_io){.ctx = h, .read = io_read, .write = io_write, .flush = io_flush, .size = io_size,
			      .punch = io_punch, .truncate = io_truncate, .write_out = io_write_out};
	h->env = (struct seal_env){.ctx = h,
				   .alloc = env_alloc,
				   .free = env_free,
				   .random = env_random,
				   .now_ns = env_now,
				   .lock = env_lock,
				   .unlock = env_unlock,
				   .log = env_log};
	return 0;
}

int hostio_hold(const char *path, int *fd)
{
	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (*fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!flock(*fd, LOCK_EX | LOCK_NB))
		return 0;
	int r = errno == EWOULDBLOCK ? -EBUSY : -errno;
	close(*fd);
	*fd = -1;
	return r;
}

int hostio_close(struct hostio *h)
{
	if (!h->locked)
		return 0;
	h->locked = false;
	pthread_mutex_destroy(&h->mutex);
	pthread_mutex_destroy(&h->flushing);
	return close(h->fd) ? -errno : 0;
}
