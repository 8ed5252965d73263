// SPDX-License-Identifier: Apache-2.0
// Sealed volumes by themselves, with the owner's tools' build of seal/: what a volume costs in space, writes, memory and time to open; and an
// encrypt-only layer over the same cipher, as what any encryption costs.
//
//	volume [-s MIB] layer FILE     in place, block k at k * 4096, tags in memory only: no tree, no freshness, no crash consistency;
//	                               and the volume with the same calls in the same pieces, in turn
//	volume [-s MIB] cost FILE      the volume's own figures
//
// Prints `NAME VALUE UNIT lower|higher`; the file is made anew and removed.
#include "seal/gcm.h"
#include "seal/hostio.h"
#include "seal/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define BLOCK 4096ul
#define PIECE 64u

static u64 mib = 256;
static struct gcm_key gcm_key;
static struct gcm_ctx gcm_ctx;

static double now(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void check(bool good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "volume: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void must(int r, const char *what)
{
	errno = r < 0 ? -r : 0;
	check(r >= 0, what);
}

static u64 rnd(void)
{
	static u64 x = 88172645463325252ul;
	x ^= x << 13;
	x ^= x >> 7;
	return x ^= x << 17;
}

static void *pages(u64 n)
{
	u8 *p = aligned_alloc(4096, n * BLOCK);
	check(p != NULL, "memory");
	for (u64 k = 0; k < n * BLOCK; k += 8)
		memcpy(p + k, &(u64){rnd()}, 8);
	return p;
}

// --- the encrypt-only layer

struct tag {
	u64 ctr;
	u8 tag[16];
};
static struct tag *tags;
static u64 ctr;

static void enc(u64 block, const u8 *in, u8 *out)
{
	u8 nonce[12] = {0};
	tags[block].ctr = ++ctr;
	memcpy(nonce, &ctr, 8);
	gcm_encrypt(&gcm_key, &gcm_ctx, out, in, BLOCK, nonce, &block, 8, tags[block].tag);
}

static void dec(u64 block, const u8 *in, u8 *out)
{
	u8 nonce[12] = {0};
	memcpy(nonce, &tags[block].ctr, 8);
	errno = EBADMSG;
	check(!gcm_decrypt(&gcm_key, &gcm_ctx, out, in, BLOCK, nonce, &block, 8, tags[block].tag), "decrypting");
}

static void put(int fd, u64 block, u64 n, const u8 *in, u8 *buf)
{
	for (u64 k = 0; k < n; k++)
		enc(block + k, in + k * BLOCK, buf + k * BLOCK);
	check(pwrite(fd, buf, n * BLOCK, (off_t)(block * BLOCK)) == (ssize_t)(n * BLOCK), "writing");
}

static void get(int fd, u64 block, u64 n, u8 *out, u8 *buf)
{
	check(pread(fd, buf, n * BLOCK, (off_t)(block * BLOCK)) == (ssize_t)(n * BLOCK), "reading");
	for (u64 k = 0; k < n; k++)
		dec(block + k, buf + k * BLOCK, out + k * BLOCK);
}

// --- the volume's own figures

static struct {
	u64 writes, written, runs, flushes, at, reads;
} seen;
static struct seal_io below;

static int io_read(void *ctx, u64 off, void *buf, size_t n)
{
	seen.reads++;
	return below.read(ctx, off, buf, n);
}

static int io_write(void *ctx, u64 off, const void *buf, size_t n)
{
	seen.writes++;
	seen.written += n;
	seen.runs += off != seen.at;
	seen.at = off + n;
	return below.write(ctx, off, buf, n);
}

static int io_flush(void *ctx)
{
	seen.flushes++;
	return below.flush(ctx);
}

static const u8 volume_key[32] = "another key, just as well known";
static struct hostio host;
static size_t cache_bytes; // 0: the default

static struct seal_vol *open_volume(const char *path, u64 size, bool fresh)
{
	struct seal_vol *v;
	struct seal_fault fault;
	if (fresh) {
		unlink(path);
		must(hostio_open(&host, path, HOSTIO_CREATE), path);
		must(seal_format(&host.io, &host.env, volume_key, NULL, size), "making a volume");
	} else {
		must(hostio_open(&host, path, HOSTIO_WRITE), path);
	}
	host.env.cache_bytes = cache_bytes;
	below = host.io;
	struct seal_io io = host.io;
	io.read = io_read;
	io.write = io_write;
	io.flush = io_flush;
	must(seal_mount(&io, &host.env, volume_key, NULL, 0, &v, &fault), "opening a volume");
	return v;
}

static void close_volume(struct seal_vol *v)
{
	must(seal_unmount(v), "closing a volume");
	hostio_close(&host);
}

static struct seal_inode *make(struct seal_vol *v, const char *name)
{
	struct seal_inode *root, *i;
	must(seal_iget(v, SEAL_ROOT_INO, &root), "root");
	int r = seal_lookup(v, root, name, (u32)strlen(name), &i);
	if (r)
		must(seal_create(v, root, name, (u32)strlen(name), 0100600, 0, 0, 0, &i), name);
	seal_iput(v, root);
	return i;
}

static void store(struct seal_vol *v, struct seal_inode *i, u64 *index, u32 n, const u8 *data)
{
	const void *in[PIECE];
	for (u32 k = 0; k < n; k++)
		in[k] = data + k * BLOCK;
	must(seal_write_pages(v, i, index, n, in, (index[n - 1] + 1) * BLOCK), "writing");
}

static void fill(struct seal_vol *v, struct seal_inode *i, u64 blocks, u64 step, const u8 *data)
{
	u64 index[PIECE];
	for (u64 b = 0; b < blocks; b += PIECE) {
		for (u32 k = 0; k < PIECE; k++)
			index[k] = (b + k) * step;
		store(v, i, index, PIECE, data);
		if (b % 4096 == 0)
			must(seal_sync(v), "sync");
	}
	must(seal_sync(v), "sync");
}

static int by_value(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;
	return x < y ? -1 : x > y;
}

// Batches of 64 random blocks, in the order that a page cache writes them.
static void overwrite(struct seal_vol *v, struct seal_inode *i, u64 blocks, u64 batches, u32 sync_every, const u8 *data)
{
	for (u64 b = 0; b < batches; b++) {
		u64 index[PIECE];
		u32 n = 0;
		for (u32 k = 0; k < PIECE; k++)
			index[k] = rnd() % blocks;
		qsort(index, PIECE, sizeof *index, by_value);
		for (u32 k = 0; k < PIECE; k++)
			if (!n || index[n - 1] != index[k])
				index[n++] = index[k];
		store(v, i, index, n, data);
		if ((b + 1) % sync_every == 0)
			must(seal_sync(v), "sync");
	}
	must(seal_sync(v), "sync");
}

// --- the layer and the volume, call by call

static void rate(const char *name, double seconds) { printf("%s %.6g MB/s higher\n", name, (double)(mib << 20) / 1e6 / seconds); }
static void often(const char *name, u64 n, double seconds) { printf("%s %.6g op/s higher\n", name, (double)n / seconds); }

static void fetch(struct seal_vol *v, struct seal_inode *i, u64 block, u32 n, u8 *out)
{
	void *pages[PIECE];
	for (u32 k = 0; k < n; k++)
		pages[k] = out + k * BLOCK;
	must(seal_read_pages(v, i, block, n, pages), "reading");
}

static void store_run(struct seal_vol *v, struct seal_inode *i, u64 block, u32 n, const u8 *data)
{
	u64 index[PIECE];
	for (u32 k = 0; k < n; k++)
		index[k] = block + k;
	store(v, i, index, n, data);
}

// What is measured is the median of several passes, each over what those before it left, in the host's memory: of the layer and of the volume in
// turn. Files so large that they do not fit there beside each other are measured apart, the layer's first.
#define PASSES 17
#define FIRST  6      // passes before the first that counts: the volume, that overwrites nothing in place, has then used all the room that it will use
#define APART  1024ul // MiB; from here on fewer passes, and apart where memory does not hold both

static struct {
	int fd;
	struct seal_vol *v;
	struct seal_inode *i;
	u64 blocks;
	u8 *data, *buf, *out;
} on;

// Seconds of a pass. Writing: until all is written, and until it is flushed. Reading: from one end to the other, and at random.
struct times {
	double first, second;
};

static void layer_write(struct times *t)
{
	double from = now();
	for (u64 b = 0; b < on.blocks; b += PIECE)
		put(on.fd, b, PIECE, on.data, on.buf);
	t->first = now() - from;
	check(!fdatasync(on.fd), "flush");
	t->second = now() - from;
}

static bool sync_done;
static void *sync_due(void *v)
{
	must(seal_sync(v), "sync");
	__atomic_store_n(&sync_done, true, __ATOMIC_RELEASE);
	return NULL;
}

// Commits that are due are another thread's, as in an enclave, and so is to wait for them: the layer leaves that to its flush as well.
static void volume_write(struct times *t)
{
	double from = now();
	pthread_t other;
	bool busy = false;
	for (u64 b = 0; b < on.blocks; b += PIECE) {
		store_run(on.v, on.i, b, PIECE, on.data);
		if (busy && __atomic_load_n(&sync_done, __ATOMIC_ACQUIRE))
			busy = pthread_join(other, NULL) != 0;
		if (!busy && seal_sync_due(on.v)) {
			sync_done = false;
			busy = pthread_create(&other, NULL, sync_due, on.v) == 0;
		}
	}
	t->first = now() - from;
	if (busy)
		pthread_join(other, NULL);
	must(seal_sync(on.v), "sync");
	t->second = now() - from;
}

static void layer_read(struct times *t)
{
	double from = now();
	for (u64 b = 0; b < on.blocks; b += PIECE)
		get(on.fd, b, PIECE, on.out, on.buf);
	t->first = now() - from;
	from = now();
	for (u64 k = 0; k < on.blocks / 8; k++)
		get(on.fd, rnd() % on.blocks, 1, on.out, on.buf);
	t->second = now() - from;
}

static void volume_read(struct times *t)
{
	double from = now();
	for (u64 b = 0; b < on.blocks; b += PIECE)
		fetch(on.v, on.i, b, PIECE, on.out);
	t->first = now() - from;
	from = now();
	for (u64 k = 0; k < on.blocks / 8; k++)
		fetch(on.v, on.i, rnd() % on.blocks, 1, on.out);
	t->second = now() - from;
}

static int by_seconds(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static struct times median(const struct times *t, u32 from, u32 to)
{
	double first[PASSES], second[PASSES];
	u32 n = to - from;
	for (u32 k = 0; k < n; k++) {
		first[k] = t[from + k].first;
		second[k] = t[from + k].second;
	}
	qsort(first, n, sizeof *first, by_seconds);
	qsort(second, n, sizeof *second, by_seconds);
	return (struct times){first[n / 2], second[n / 2]};
}

// The volume takes a fifth more than the layer, and what the machine needs itself is little.
static bool both_too_large(void) { return mib > APART && mib * 9 / 4 > (u64)sysconf(_SC_PHYS_PAGES) * BLOCK >> 20; }

// Of files too large to lie in memory together, the one that is not measured now.
static void leave(int fd)
{
	if (both_too_large())
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
}

static void turns(void (*one)(struct times *), struct times *a, void (*other)(struct times *), struct times *b)
{
	struct times t[2][PASSES];
	bool apart = both_too_large();
	u32 from = mib > APART ? 2 : FIRST, passes = mib > APART ? from + 5 : PASSES;
	leave(host.fd);
	for (u32 pass = 0; pass < passes; pass++) {
		one(&t[0][pass]);
		if (!apart)
			other(&t[1][pass]);
	}
	leave(on.fd);
	for (u32 pass = 0; apart && pass < passes; pass++)
		other(&t[1][pass]);
	*a = median(t[0], from, passes);
	*b = median(t[1], from, passes);
}

static void layer(const char *path)
{
	static const u8 key[32] = "a key of the benchmark";
	char other[4096];
	struct times a, b;
	on.blocks = (mib << 20) / BLOCK;
	snprintf(other, sizeof other, "%s.vol", path);
	on.fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	check(on.fd >= 0, path);
	must(gcm_init(), "cipher");
	gcm_key_set(&gcm_key, key);
	tags = calloc(on.blocks, sizeof *tags);
	on.data = pages(PIECE);
	on.buf = pages(PIECE);
	on.out = pages(PIECE);
	check(tags != NULL, "memory");
	cache_bytes = SEAL_MAX((mib << 20) / 48, 16ul << 20); // the layer has all its tags in memory as well
	on.v = open_volume(other, 4 * (mib << 20), true);
	on.i = make(on.v, "file");

	turns(layer_write, &a, volume_write, &b);
	rate("encrypt_only_seq_write", a.first);
	rate("encrypt_only_seq_write_flush", a.second);
	rate("volume_seq_write", b.first);
	rate("volume_seq_write_flush", b.second);
	turns(layer_read, &a, volume_read, &b);
	rate("encrypt_only_seq_read", a.first);
	rate("volume_seq_read", b.first);
	often("encrypt_only_rand_read", on.blocks / 8, a.second);
	often("volume_rand_read", on.blocks / 8, b.second);

	leave(host.fd);
	double t = now();
	for (u64 k = 0; k < on.blocks; k++)
		put(on.fd, rnd() % on.blocks, 1, on.data, on.buf);
	check(!fdatasync(on.fd), "flush");
	often("encrypt_only_rand_write_flush", on.blocks, now() - t);
	leave(on.fd);
	t = now();
	for (u64 k = 0; k < on.blocks; k++)
		store_run(on.v, on.i, rnd() % on.blocks, 1, on.data);
	must(seal_sync(on.v), "sync");
	often("volume_rand_write_flush", on.blocks, now() - t);
	close(on.fd);
	on.fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (on.fd >= 0) { // each write goes to the disk, as under a block device without a cache
		u64 n = SEAL_MIN(on.blocks, 8192ul);
		t = now();
		for (u64 k = 0; k < n; k++)
			put(on.fd, rnd() % on.blocks, 1, on.data, on.buf);
		check(!fdatasync(on.fd), "flush");
		often("encrypt_only_rand_write_through", n, now() - t);
		close(on.fd);
	}
	seal_iput(on.v, on.i);
	close_volume(on.v);
	free(tags);
	free(on.data);
	free(on.buf);
	free(on.out);
	unlink(path);
	unlink(other);
}

static double reopen_ms(const char *path, struct seal_vol **v)
{
	double best = 1e9;
	for (int k = 0; k < 5; k++) {
		close_volume(*v);
		double t = now();
		*v = open_volume(path, 0, false);
		best = SEAL_MIN(best, (now() - t) * 1e3);
	}
	return best;
}

static void one_size(const char *path, u64 gib, const u8 *data)
{
	struct seal_vol *v = open_volume(path, (gib << 30) + (gib << 27), true);
	struct seal_inode *i = make(v, "file");
	u64 blocks = (mib << 20) / BLOCK, step = (gib << 30) / BLOCK / blocks, n = 200;
	struct seal_info info;
	fill(v, i, blocks, step ? step : 1, data);
	seal_get_info(v, &info);
	memset(&seen, 0, sizeof seen);
	double t = now();
	for (u64 k = 0; k < n; k++) {
		store(v, i, &(u64){rnd() % blocks * step}, 1, data);
		must(seal_sync(v), "sync");
	}
	printf("file_%lug_sparse_4k_fsync %.6g ns lower\n", gib, (now() - t) * 1e9 / (double)n);
	printf("file_%lug_sparse_4k_fsync_blocks %.4g blocks lower\n", gib, (double)seen.written / BLOCK / (double)n);
	printf("file_%lug_sparse_4k_fsync_runs %.4g runs lower\n", gib, (double)seen.runs / (double)n);
	u8 page[BLOCK];
	void *out[1] = {page};
	seal_iput(v, i);
	double ms = reopen_ms(path, &v);
	i = make(v, "file");
	seen.reads = 0;
	t = now();
	for (u64 k = 0; k < 2000; k++)
		must(seal_read_pages(v, i, rnd() % blocks * step, 1, out), "reading");
	printf("file_%lug_sparse_random_read %.6g ns lower\n", gib, (now() - t) * 1e9 / 2000);
	printf("file_%lug_sparse_reads_per_read %.4g blocks lower\n", gib, (double)seen.reads / 2000);
	printf("file_%lug_sparse_mount %.4g ns lower\n", gib, ms * 1e6);
	seal_iput(v, i);
	close_volume(v);
	unlink(path);
}

static void full_of(const char *path, const u8 *data)
{
	struct seal_vol *v = open_volume(path, (mib << 20) + (mib << 16), true);
	struct seal_inode *i = make(v, "file");
	struct seal_info info;
	u64 blocks = (mib << 20) / BLOCK;
	fill(v, i, blocks, 1, data);
	seal_get_info(v, &info);
	printf("space_overhead %.3g percent lower\n", 100.0 * (double)(info.used_blocks - blocks) / (double)blocks);
	seal_iput(v, i);
	printf("mount_%lu_mib %.4g ns lower\n", mib, reopen_ms(path, &v) * 1e6);
	close_volume(v);
	unlink(path);
}

static void amplification(const char *path, const u8 *data)
{
	for (u64 percent = 10; percent <= 90; percent += 20) {
		u64 size = SEAL_MIN(mib, 256ul) << 20, blocks = size / BLOCK * percent / 100 / PIECE * PIECE, batches = blocks / PIECE;
		struct seal_vol *v = open_volume(path, size, true);
		struct seal_inode *i = make(v, "file");
		fill(v, i, blocks, 1, data);
		overwrite(v, i, blocks, batches, 16, data); // now free space is as scattered as it gets
		memset(&seen, 0, sizeof seen);
		overwrite(v, i, blocks, batches, 16, data);
		printf("write_amplification_%lu_percent_full %.4g x lower\n", percent, (double)seen.written / (double)(batches * PIECE * BLOCK));
		printf("blocks_a_run_%lu_percent_full %.4g blocks higher\n", percent, (double)seen.written / BLOCK / (double)seen.runs);
		seal_iput(v, i);
		close_volume(v);
		unlink(path);
	}
}

static void many_files(const char *path, const u8 *data)
{
	struct seal_vol *v = open_volume(path, 4ul << 30, true);
	for (u64 n = 0, next = 10000; next <= 100000; next *= 10) {
		double t = now();
		u64 from = n;
		for (; n < next; n++) {
			char name[24];
			snprintf(name, sizeof name, "file-%lu", n);
			struct seal_inode *i = make(v, name);
			must((int)seal_write(v, i, 0, data, 1000), "writing");
			seal_iput(v, i);
		}
		must(seal_sync(v), "sync");
		printf("create_file_up_to_%lu %.4g ns lower\n", next, (now() - t) * 1e9 / (double)(n - from));
	}
	printf("mount_100000_files %.4g ns lower\n", reopen_ms(path, &v) * 1e6);
	close_volume(v);
	unlink(path);
}

int main(int argc, char **argv)
{
	for (int c; (c = getopt(argc, argv, "s:")) != -1;) {
		if (c != 's')
			return 2;
		mib = strtoul(optarg, NULL, 10);
	}
	if (argc - optind != 2 || mib < 1) {
		fputs("usage: volume [-s MIB] layer|cost FILE\n", stderr);
		return 2;
	}
	if (!strcmp(argv[optind], "layer")) {
		layer(argv[optind + 1]);
		return 0;
	}
	u8 *data = pages(PIECE);
	full_of(argv[optind + 1], data);
	for (u64 gib = 1; gib <= 64; gib *= 8)
		one_size(argv[optind + 1], gib, data);
	amplification(argv[optind + 1], data);
	many_files(argv[optind + 1], data);
	free(data);
	return 0;
}
