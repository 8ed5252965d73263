// SPDX-License-Identifier: Apache-2.0
// Encrypted images: the project's root file system as ciphertext under a hash tree, behind a small plain image that is
// just enough to attest and fetch the key. The same cipher as kernel/fs/verity.c: AES-256 in the counter mode of GCM, nonce
// 1 and block number, a fresh key for each image. What is secret here is wiped.
#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/build.h"
#include "image/encrypt.h"
#include "image/hashtree.h"
#include "image/tree.h"
#include "seal/gcm.h"
#include "seal/sha256.h"

#define CHUNK_BLOCKS 64

struct cipher {
	struct gcm_key key;
	struct gcm_ctx scratch;
	uint8_t buffer[CHUNK_BLOCKS * HASHTREE_BLOCK];
};

static int transfer(int fd, uint8_t *buffer, size_t n, uint64_t at, bool out)
{
	while (n) {
		ssize_t k = out ? pwrite(fd, buffer, n, (off_t)at) : pread(fd, buffer, n, (off_t)at);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k ? -errno : -EIO;
		buffer += k;
		n -= (size_t)k;
		at += (uint64_t)k;
	}
	return 0;
}

static int encrypt_blocks(int fd, const char *path, uint64_t blocks, struct cipher *c, struct fault *p)
{
	uint8_t nonce[12] = {1}, tag[16];
	int err = 0;

	for (uint64_t at = 0, n; at < blocks && !err; at += n) {
		n = blocks - at < CHUNK_BLOCKS ? blocks - at : CHUNK_BLOCKS;
		err = transfer(fd, c->buffer, n * HASHTREE_BLOCK, at * HASHTREE_BLOCK, false);
		for (uint64_t i = 0; i < n && !err; i++) {
			uint64_t number = at + i;
			uint8_t *block = c->buffer + i * HASHTREE_BLOCK;

			memcpy(nonce + 4, &number, sizeof(number));
			gcm_encrypt(&c->key, &c->scratch, block, block, HASHTREE_BLOCK, nonce, NULL, 0, tag);
		}
		if (!err)
			err = transfer(fd, c->buffer, n * HASHTREE_BLOCK, at * HASHTREE_BLOCK, true);
	}
	return err ? fault_errno(p, -err, "cannot encrypt %s", path) : 0;
}

int image_encrypt_file(int fd, const char *path, uint64_t blocks, const uint8_t key[IMAGE_KEY_BYTES], struct fault *p)
{
	struct cipher *c = aligned_alloc(64, (sizeof(*c) + 63) & ~63ul);
	uint8_t prk[32], block_key[32];
	int err = c ? gcm_init() : -ENOMEM;

	if (err) {
		free(c);
		return fault_set(p, err, err == -ENOMEM ? "out of memory" : "this CPU has no AES instructions");
	}
	seal_hkdf_extract("", 0, key, IMAGE_KEY_BYTES, prk);
	seal_hkdf_expand(prk, "coffer encrypted image", NULL, 0, block_key, sizeof(block_key));
	gcm_key_set(&c->key, block_key);
	err = encrypt_blocks(fd, path, blocks, c, p);
	explicit_bzero(prk, sizeof(prk));
	explicit_bzero(block_key, sizeof(block_key));
	explicit_bzero(c, sizeof(*c));
	free(c);
	return err;
}

int image_encrypt(const char *path, uint64_t blocks, struct image_secret *s, struct fault *p)
{
	int fd = open(path, O_RDWR | O_CLOEXEC), err;

	if (fd < 0)
		return fault_errno(p, errno, "cannot open %s", path);
	s->blocks = blocks;
	err = getentropy(s->id, sizeof(s->id)) || getentropy(s->key, sizeof(s->key))
		      ? fault_errno(p, errno, "no randomness for a key") : 0;
	if (!err)
		err = image_encrypt_file(fd, path, blocks, s->key, p);
	if (!err)
		err = hashtree_write(fd, path, blocks, s->root, p);
	close(fd);
	return err;
}

void image_secret_json(const struct image_secret *s, struct text *out)
{
	char id[33], root[65];

	text_printf(out, "{\"blocks\":%" PRIu64 ",\"id\":\"%s\",\"root\":\"%s\"}", s->blocks, hex_text(id, s->id, sizeof(s->id)),
		    hex_text(root, s->root, sizeof(s->root)));
}

int image_append(int to, const char *to_path, uint64_t at, const char *from_path, struct fault *p)
{
	int from = open(from_path, O_RDONLY | O_CLOEXEC), err = 0;
	uint8_t *buffer = malloc(1 << 20);
	ssize_t n = 0;

	if (from < 0 || !buffer)
		err = fault_errno(p, from < 0 ? errno : ENOMEM, "cannot read %s", from_path);
	while (!err && (n = read(from, buffer, 1 << 20)) > 0) {
		err = transfer(to, buffer, (size_t)n, at, true);
		if (err)
			fault_errno(p, -err, "cannot write %s", to_path);
		at += (uint64_t)n;
	}
	if (!err && n < 0)
		err = fault_errno(p, errno, "cannot read %s", from_path);
	if (from >= 0)
		close(from);
	free(buffer);
	return err;
}

int image_remove_tree(const char *path, struct fault *p)
{
	char *paths[] = {(char *)path, NULL};
	FTS *fts = access(path, F_OK) ? NULL : fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	FTSENT *e;
	int err = 0;

	while (fts && !err && (e = fts_read(fts)))
		if (e->fts_info != FTS_D && remove(e->fts_path) < 0)
			err = fault_errno(p, errno, "cannot remove %s", e->fts_path);
	if (fts)
		fts_close(fts);
	return err;
}
