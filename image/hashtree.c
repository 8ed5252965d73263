// SPDX-License-Identifier: Apache-2.0
// Makes and checks the hash tree of an image (see hashtree.h).
#include "image/hashtree.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/text.h"
#include "lib/sha.h"

enum { MOST_LEVELS = 8, BATCH = 256 };

struct levels {
	unsigned int count;
	uint64_t blocks[MOST_LEVELS];	// blocks of level i; level 0 hashes the data
	uint64_t start[MOST_LEVELS];	// first block of level i in the file
};

static int plan(struct levels *l, uint64_t data_blocks)
{
	uint64_t below = data_blocks, at = data_blocks;

	l->count = 0;
	do {
		if (l->count == MOST_LEVELS)
			return -EFBIG;
		below = (below + HASHTREE_FANOUT - 1) / HASHTREE_FANOUT;
		l->blocks[l->count++] = below;
	} while (below > 1);
	for (unsigned int i = l->count; i-- > 0;) {
		l->start[i] = at;
		at += l->blocks[i];
	}
	return 0;
}

uint64_t hashtree_blocks(uint64_t data_blocks)
{
	struct levels l;
	uint64_t sum = 0;

	if (!data_blocks || plan(&l, data_blocks))
		return 0;
	for (unsigned int i = 0; i < l.count; i++)
		sum += l.blocks[i];
	return sum;
}

static int read_exactly(int fd, void *buffer, size_t len, uint64_t offset)
{
	uint8_t *at = buffer;

	while (len) {
		ssize_t n = pread(fd, at, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENODATA;
		at += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int write_exactly(int fd, const void *buffer, size_t len, uint64_t offset)
{
	const uint8_t *at = buffer;

	while (len) {
		ssize_t n = pwrite(fd, at, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		at += n;
		offset += (uint64_t)n;
		len -= (size_t)n;
	}
	return 0;
}

// Digests of `count` blocks of the file that begin at block `first`, into a zero-filled array of whole tree blocks.
static int hash_blocks(int fd, uint64_t first, uint64_t count, uint8_t *digests)
{
	uint8_t *buffer = xmalloc((size_t)BATCH * HASHTREE_BLOCK);
	int err = 0;

	for (uint64_t i = 0; i < count && !err; i += BATCH) {
		uint64_t n = count - i < BATCH ? count - i : BATCH;

		err = read_exactly(fd, buffer, n * HASHTREE_BLOCK, (first + i) * HASHTREE_BLOCK);
		for (uint64_t k = 0; k < n && !err; k++)
			sha_256(buffer + k * HASHTREE_BLOCK, HASHTREE_BLOCK, digests + (i + k) * HASHTREE_DIGEST);
	}
	free(buffer);
	return err;
}

static int tree(int fd, const char *path, uint64_t data_blocks, uint8_t root[HASHTREE_DIGEST], bool check, struct fault *p)
{
	uint64_t first = 0, count = data_blocks;
	uint8_t *digests = NULL, *have = NULL;
	struct levels l;
	int err;

	if (data_blocks < 2)
		return fault_set(p, -EINVAL, "%s is too small to be an image", path);
	err = plan(&l, data_blocks);
	if (err)
		return fault_set(p, err, "%s is too large", path);
	for (unsigned int i = 0; i < l.count; i++) {
		size_t size = l.blocks[i] * HASHTREE_BLOCK;

		free(digests);
		digests = xmalloc(size);
		memset(digests, 0, size);
		err = hash_blocks(fd, first, count, digests);
		if (err) {
			fault_errno(p, -err, "cannot read %s", path);
			goto out;
		}
		if (check) {
			free(have);
			have = xmalloc(size);
			err = read_exactly(fd, have, size, l.start[i] * HASHTREE_BLOCK);
			for (uint64_t k = 0; k < count && !err; k++)
				if (memcmp(have + k * HASHTREE_DIGEST, digests + k * HASHTREE_DIGEST, HASHTREE_DIGEST) != 0)
					err = fault_set(p, -EBADMSG, "%s: block %llu (byte %llu) does not match its hash: the image was "
							  "changed after `coffer build`", path, (unsigned long long)(first + k),
							  (unsigned long long)((first + k) * HASHTREE_BLOCK));
			if (!err && memcmp(have, digests, size) != 0)
				err = fault_set(p, -EBADMSG, "%s: the hash tree was changed after `coffer build`", path);
			if (err == -ENODATA)
				fault_set(p, err, "%s is cut short", path);
		} else {
			err = write_exactly(fd, digests, size, l.start[i] * HASHTREE_BLOCK);
			if (err)
				fault_errno(p, -err, "cannot write %s", path);
		}
		if (err)
			goto out;
		first = l.start[i];
		count = l.blocks[i];
	}
	sha_256(digests, HASHTREE_BLOCK, root);
out:
	free(digests);
	free(have);
	return err;
}

int hashtree_write(int fd, const char *path, uint64_t data_blocks, uint8_t root[HASHTREE_DIGEST], struct fault *p)
{
	return tree(fd, path, data_blocks, root, false, p);
}

int hashtree_check(int fd, const char *path, uint64_t data_blocks, const uint8_t root[HASHTREE_DIGEST], struct fault *p)
{
	uint8_t found[HASHTREE_DIGEST];
	char found_hex[65], root_hex[65];
	int err = tree(fd, path, data_blocks, found, true, p);

	if (err)
		return err;
	if (memcmp(found, root, HASHTREE_DIGEST) != 0)
		return fault_set(p, -EBADMSG, "%s: the root of its hash tree is %s, and the manifest says %s", path,
				   hex_text(found_hex, found, HASHTREE_DIGEST), hex_text(root_hex, root, HASHTREE_DIGEST));
	return 0;
}
