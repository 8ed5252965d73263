// SPDX-License-Identifier: Apache-2.0
// See backup_file.h. No byte is given out before its block is authentic.
#include "broker/backup_file.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/master.h"

#define VERSION 1
#define BLOCK (64u << 10)
#define TAG 16
#define LINE 1024

struct cipher {
	EVP_CIPHER_CTX *c;
	uint8_t key[32], line[32];
	uint64_t count;
};

struct backup_writer {
	struct cipher cipher;
	int fd;
	size_t n;
	uint8_t clear[BLOCK], sealed[4 + BLOCK + TAG];
};

struct backup_reader {
	struct cipher cipher;
	int fd;
	bool last;	// of the blocks
	size_t n, at;	// of the block in hand
	uint64_t left;	// of the piece in hand
	uint8_t clear[BLOCK], sealed[BLOCK + TAG];
};

static int write_all(int fd, const uint8_t *p, size_t n, struct fault *f)
{
	while (n) {
		ssize_t k = write(fd, p, n);
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return fault_errno(f, errno, "cannot write the backup");
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

// Up to n bytes, fewer at the end only.
static ssize_t read_some(int fd, uint8_t *p, size_t n, struct fault *f)
{
	size_t got = 0;
	while (got < n) {
		ssize_t k = read(fd, p + got, n - got);
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return fault_errno(f, errno, "cannot read the backup");
		if (!k)
			break;
		got += (size_t)k;
	}
	return (ssize_t)got;
}

// One block in or out. Each has a nonce of its own; the key is this file's alone, since the salt is.
static int crypt_block(struct cipher *c, bool seal, bool last, const uint8_t *in, size_t n, uint8_t *out, uint8_t *tag)
{
	uint8_t nonce[12] = {0};
	int k = 0, end = 0;
	for (int i = 0; i < 8; i++)
		nonce[i] = (uint8_t)(c->count >> 8 * i);
	nonce[11] = last;
	c->count++;
	if (EVP_CipherInit_ex(c->c, EVP_aes_256_gcm(), NULL, c->key, nonce, seal) != 1 || EVP_CipherUpdate(c->c, NULL, &k, c->line, sizeof c->line) != 1 ||
	    (!seal && EVP_CIPHER_CTX_ctrl(c->c, EVP_CTRL_GCM_SET_TAG, TAG, tag) != 1) || (n && EVP_CipherUpdate(c->c, out, &k, in, (int)n) != 1))
		return -EIO;
	return EVP_CipherFinal_ex(c->c, out + n, &end) == 1 && (!seal || EVP_CIPHER_CTX_ctrl(c->c, EVP_CTRL_GCM_GET_TAG, TAG, tag) == 1) ? 0 : -EBADMSG;
}

static int start(struct cipher *c, const json_t *o, const char *line, size_t n, const char *passphrase, struct fault *f)
{
	SHA256((const uint8_t *)line, n, c->line);
	c->c = EVP_CIPHER_CTX_new();
	return c->c ? master_scrypt(o, passphrase, c->key, f) : fault_set(f, -ENOMEM, "out of memory");
}

static void stop(struct cipher *c)
{
	EVP_CIPHER_CTX_free(c->c);
	OPENSSL_cleanse(c, sizeof *c);
}

int backup_write_open(struct backup_writer **out, int fd, const char *passphrase, struct fault *f)
{
	struct backup_writer *w = calloc(1, sizeof *w);
	json_t *o = json_pack("{s:i}", "coffer_backup", VERSION);
	char *line = NULL;
	int err = w && o ? master_scrypt_new(o, f) : fault_set(f, -ENOMEM, "out of memory");
	if (!err && !(line = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS)))
		err = fault_set(f, -ENOMEM, "out of memory");
	if (!err) {
		w->fd = fd;
		err = start(&w->cipher, o, line, strlen(line), passphrase, f);
	}
	if (!err)
		err = write_all(fd, (const uint8_t *)line, strlen(line), f);
	if (!err)
		err = write_all(fd, (const uint8_t *)"\n", 1, f);
	json_decref(o);
	free(line);
	if (err)
		backup_write_close(w);
	else
		*out = w;
	return err;
}

static int put_block(struct backup_writer *w, bool last, struct fault *f)
{
	for (int i = 0; i < 4; i++)
		w->sealed[i] = (uint8_t)(w->n >> 8 * i);
	if (crypt_block(&w->cipher, true, last, w->clear, w->n, w->sealed + 4, w->sealed + 4 + w->n))
		return fault_set(f, -EIO, "cannot encrypt the backup");
	int err = write_all(w->fd, w->sealed, 4 + w->n + TAG, f);
	w->n = 0;
	return err;
}

static int put(struct backup_writer *w, const void *bytes, size_t len, struct fault *f)
{
	const uint8_t *p = bytes;
	int err = 0;
	while (len && !err) {
		size_t n = BLOCK - w->n < len ? BLOCK - w->n : len;
		memcpy(w->clear + w->n, p, n);
		w->n += n;
		p += n;
		len -= n;
		if (w->n == BLOCK)
			err = put_block(w, false, f);
	}
	return err;
}

static int put_head(struct backup_writer *w, const char *name, uint64_t len, struct fault *f)
{
	uint8_t head[1 + BACKUP_NAME + 8];
	size_t n = strlen(name);
	if (!n || n >= BACKUP_NAME)
		return fault_set(f, -EINVAL, "'%.80s' is no name for a piece of a backup", name);
	head[0] = (uint8_t)n;
	memcpy(head + 1, name, n);
	for (int i = 0; i < 8; i++)
		head[1 + n + (size_t)i] = (uint8_t)(len >> 8 * i);
	return put(w, head, 1 + n + 8, f);
}

int backup_write_piece(struct backup_writer *w, const char *name, const void *bytes, size_t len, struct fault *f)
{
	int err = put_head(w, name, len, f);
	return err ? err : put(w, bytes, len, f);
}

int backup_write_file(struct backup_writer *w, const char *name, int from, uint64_t len, struct fault *f)
{
	uint8_t part[16384];
	int err = put_head(w, name, len, f);
	for (uint64_t at = 0; at < len && !err;) {
		ssize_t n = pread(from, part, len - at < sizeof part ? (size_t)(len - at) : sizeof part, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return fault_errno(f, n ? errno : EIO, "cannot read %s", name);
		err = put(w, part, (size_t)n, f);
		at += (uint64_t)n;
	}
	OPENSSL_cleanse(part, sizeof part);
	return err;
}

int backup_write_finish(struct backup_writer *w, struct fault *f)
{
	int err = put_block(w, true, f);
	return err ? err : fsync(w->fd) && errno != EINVAL && errno != EROFS ? fault_errno(f, errno, "cannot sync the backup") : 0;
}

void backup_write_close(struct backup_writer *w)
{
	if (!w)
		return;
	stop(&w->cipher);
	OPENSSL_cleanse(w, sizeof *w);
	free(w);
}

static int changed(struct fault *f)
{
	return fault_set(f, -EBADMSG, "the backup was changed or cut: nothing of it is used");
}

// The next block, once it is authentic.
static int next_block(struct backup_reader *r, struct fault *f)
{
	uint8_t size[4], next;
	if (r->last)
		return changed(f); // a piece goes on behind the end
	ssize_t got = read_some(r->fd, size, sizeof size, f);
	if (got < 0)
		return (int)got;
	uint32_t n = (uint32_t)size[0] | (uint32_t)size[1] << 8 | (uint32_t)size[2] << 16 | (uint32_t)size[3] << 24;
	if (got != sizeof size || n > BLOCK)
		return changed(f);
	got = read_some(r->fd, r->sealed, n + TAG, f);
	if (got < 0)
		return (int)got;
	if ((size_t)got != n + TAG)
		return changed(f);
	// Full blocks are in the middle; the last is never full, for a full one is written at once.
	r->last = n < BLOCK;
	if (crypt_block(&r->cipher, false, r->last, r->sealed, n, r->clear, r->sealed + n))
		return changed(f);
	r->n = n;
	r->at = 0;
	if (r->last && (got = read_some(r->fd, &next, 1, f)))
		return got < 0 ? (int)got : changed(f);
	return 0;
}

int backup_read_open(struct backup_reader **out, int fd, const char *passphrase, struct fault *f)
{
	struct backup_reader *r = calloc(1, sizeof *r);
	char line[LINE];
	size_t n = 0;
	json_error_t e;
	json_t *o = NULL;
	int err = r ? 0 : fault_set(f, -ENOMEM, "out of memory");
	while (!err && n < sizeof line) {
		ssize_t got = read_some(fd, (uint8_t *)line + n, 1, f);
		if (got < 0)
			err = (int)got;
		if (got <= 0 || line[n] == '\n')
			break;
		n++;
	}
	if (!err) {
		o = json_loadb(line, n < sizeof line ? n : 0, JSON_REJECT_DUPLICATES, &e);
		if (!json_is_object(o) || !json_object_get(o, "coffer_backup"))
			err = fault_set(f, -EINVAL, "this is no backup of a broker");
		else if (json_integer_value(json_object_get(o, "coffer_backup")) != VERSION)
			err = fault_set(f, -EINVAL, "this backup has version %lld: this coffer knows %d",
					(long long)json_integer_value(json_object_get(o, "coffer_backup")), VERSION);
	}
	if (!err) {
		r->fd = fd;
		err = start(&r->cipher, o, line, n, passphrase, f);
	}
	if (!err) {
		err = next_block(r, f);
		if (err == -EBADMSG)
			err = fault_set(f, -EACCES, "the passphrase is not this backup's, or the backup was changed");
	}
	json_decref(o);
	if (err)
		backup_read_close(r);
	else
		*out = r;
	return err;
}

static int get(struct backup_reader *r, void *out, size_t len, struct fault *f)
{
	uint8_t *p = out;
	while (len) {
		int err = r->at == r->n ? next_block(r, f) : 0;
		if (err)
			return err;
		size_t n = r->n - r->at < len ? r->n - r->at : len;
		memcpy(p, r->clear + r->at, n);
		r->at += n;
		p += n;
		len -= n;
	}
	return 0;
}

int backup_read_piece(struct backup_reader *r, char name[BACKUP_NAME], uint64_t *len, struct fault *f)
{
	uint8_t n, size[8];
	int err = 0;
	if (r->left)
		return fault_set(f, -EINVAL, "the piece before was not read to its end");
	if (r->at == r->n && !r->last)
		err = next_block(r, f);
	if (err || (r->at == r->n && r->last))
		return err;
	err = get(r, &n, 1, f);
	if (!err && (!n || n >= BACKUP_NAME))
		return changed(f);
	if (!err)
		err = get(r, name, n, f);
	if (!err)
		err = get(r, size, sizeof size, f);
	if (err)
		return err;
	name[n] = '\0';
	if (strlen(name) != n)
		return changed(f);
	*len = 0;
	for (int i = 0; i < 8; i++)
		*len |= (uint64_t)size[i] << 8 * i;
	r->left = *len;
	return 1;
}

int backup_read(struct backup_reader *r, void *out, size_t len, struct fault *f)
{
	if (len > r->left)
		return fault_set(f, -EINVAL, "more is read than the piece has");
	int err = get(r, out, len, f);
	r->left -= err ? 0 : len;
	return err;
}

void backup_read_close(struct backup_reader *r)
{
	if (!r)
		return;
	stop(&r->cipher);
	OPENSSL_cleanse(r, sizeof *r);
	free(r);
}

bool backup_name_valid(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
	size_t n = strspn(name, letters);
	if (!n || name[0] == '.')
		return false;
	if (name[n] == '/') {
		const char *rest = name + n + 1;
		return rest[0] != '.' && rest[0] && !rest[strspn(rest, letters)];
	}
	return !name[n];
}
