// SPDX-License-Identifier: Apache-2.0
// Makes what a power cut could have left of a volume file: all that was flushed before a random moment, and of what was written
// after that flush a random part, 4 KiB or 512 bytes at a time, in any order.
//
//	cut BASE LOG SEED OUT		prints the place in LOG of the last flush that counts
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/powercut/log.h"

static unsigned long seed;

static unsigned long rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dul >> 8;
}

static int fail(const char *what)
{
	fprintf(stderr, "cut: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void copy(int from, int to)
{
	static char buf[1 << 20];
	ssize_t n;
	while ((n = read(from, buf, sizeof buf)) > 0)
		if (write(to, buf, (size_t)n) != n)
			fail("copying");
	if (n < 0)
		fail("copying");
}

static void put(int fd, const struct cut_record *r, const char *data, unsigned int percent, unsigned long piece)
{
	if (r->kind == CUT_SIZE && rnd() % 100 < percent && ftruncate(fd, (off_t)r->off))
		fail("resizing");
	if (r->kind == CUT_HOLE && rnd() % 100 < percent &&
	    fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)r->off, (off_t)r->len))
		fail("punching");
	for (unsigned long at = 0; r->kind == CUT_WRITE && at < r->len; at += piece) {
		unsigned long n = r->len - at < piece ? r->len - at : piece;
		if (rnd() % 100 < percent && pwrite(fd, data + at, n, (off_t)(r->off + at)) != (ssize_t)n)
			fail("writing");
	}
}

int main(int argc, char **argv)
{
	static const unsigned int percents[] = {0, 10, 50, 90, 98};
	if (argc != 5)
		return 2;
	seed = strtoul(argv[3], NULL, 0) * 0x9e3779b97f4a7c15ul + 88172645463325252ul;
	int base = open(argv[1], O_RDONLY), log = open(argv[2], O_RDONLY), out = open(argv[4], O_RDWR | O_CREAT | O_TRUNC, 0600);
	struct stat st;
	if (base < 0 || log < 0 || out < 0 || fstat(log, &st))
		fail("opening");
	size_t size = (size_t)st.st_size, records = 0;
	const char *p = size ? mmap(NULL, size, PROT_READ, MAP_PRIVATE, log, 0) : NULL;
	if (!p || p == MAP_FAILED)
		fail("the log");
	copy(base, out);
	for (size_t at = 0; at + sizeof(struct cut_record) <= size; records++) {
		const struct cut_record *r = (const struct cut_record *)(const void *)(p + at);
		at += sizeof *r + (r->kind == CUT_WRITE ? r->len : 0);
	}
	size_t moment = rnd() % (records + 1), k = 0, flushed = 0, cut_at = 0, at = 0;
	for (; k < moment; k++) {
		const struct cut_record *r = (const struct cut_record *)(const void *)(p + at);
		at += sizeof *r + (r->kind == CUT_WRITE ? r->len : 0);
		if (r->kind == CUT_FLUSH)
			flushed = at;
	}
	cut_at = at;
	unsigned int percent = percents[rnd() % 5];
	unsigned long piece = rnd() % 2 ? 4096 : 512;
	for (at = 0; at < cut_at;) {
		const struct cut_record *r = (const struct cut_record *)(const void *)(p + at);
		const char *data = p + at + sizeof *r;
		put(out, r, data, at < flushed ? 100 : percent, at < flushed ? r->len + 1 : piece);
		at += sizeof *r + (r->kind == CUT_WRITE ? r->len : 0);
	}
	if (close(out))
		fail("closing");
	printf("%zu\n", flushed);
	return 0;
}
