// SPDX-License-Identifier: Apache-2.0
// See audit_file.h.
#include "broker/audit_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/file.h"

uint32_t audit_load32(const uint8_t *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint64_t audit_load64(const uint8_t *p)
{
	return audit_load32(p) | (uint64_t)audit_load32(p + 4) << 32;
}

void audit_store(uint8_t *p, uint64_t v, int bytes)
{
	for (int i = 0; i < bytes; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

int audit_pread(int fd, void *to, size_t len, uint64_t at)
{
	while (len) {
		ssize_t n = pread(fd, to, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -ENODATA;
		to = (char *)to + n;
		len -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}

int audit_pwrite(int fd, const void *from, size_t len, uint64_t at)
{
	while (len) {
		ssize_t n = pwrite(fd, from, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		from = (const char *)from + n;
		len -= (size_t)n;
		at += (uint64_t)n;
	}
	return 0;
}

static int open_one(const struct audit_files *s, const char *name, int *fd, struct fault *f)
{
	char path[sizeof s->dir + 16];

	snprintf(path, sizeof path, "%s/%s", s->dir, name);
	*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	return *fd < 0 ? fault_errno(f, errno, "cannot open %s", path) : 0;
}

int audit_files_open(struct audit_files *s, const char *dir, struct fault *f)
{
	memset(s, 0, sizeof *s);
	s->entries = s->index = -1;
	for (int i = 0; i < AUDIT_TREES; i++)
		s->tree[i] = -1;
	if (strlen(dir) >= sizeof s->dir)
		return fault_set(f, -ENAMETOOLONG, "the audit log's folder has too long a name");
	strcpy(s->dir, dir);
	int err = file_make_private_dir(dir, f);
	if (!err)
		err = open_one(s, "entries", &s->entries, f);
	if (!err)
		err = open_one(s, "index", &s->index, f);
	for (int i = 0; i < AUDIT_TREES && !err; i++) {
		char name[] = "tree0";
		name[4] = (char)('0' + i);
		err = open_one(s, name, &s->tree[i], f);
	}
	// What is written into a file that has no durable name is lost with it.
	int fd = err ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (!err && (fd < 0 || fsync(fd)))
		err = fault_errno(f, errno, "cannot make %s durable", dir);
	if (fd >= 0)
		close(fd);
	return err;
}

void audit_files_close(struct audit_files *s)
{
	if (s->entries >= 0)
		close(s->entries);
	if (s->index >= 0)
		close(s->index);
	for (int i = 0; i < AUDIT_TREES; i++) {
		if (s->tree[i] >= 0)
			close(s->tree[i]);
	}
}

// Room for powers of two: grows when `len` is one.
static int add(uint8_t **buf, size_t *len, const void *bytes, size_t n)
{
	if (!(*len & (*len - 1)) || !*buf) {
		void *bigger = realloc(*buf, *len ? *len * 2 : n);
		if (!bigger)
			return -ENOMEM;
		*buf = bigger;
	}
	memcpy(*buf + *len, bytes, n);
	*len += n;
	return 0;
}

int audit_grow(struct audit_growth *g, struct merkle_range *r, uint64_t offset, const uint8_t leaf[MERKLE_HASH])
{
	uint8_t h[MERKLE_HASH], at[8];
	unsigned int level = 0;

	audit_store(at, offset, 8);
	memcpy(h, leaf, sizeof h);
	int err = add(&g->index, &g->index_len, at, sizeof at);
	if (!err)
		err = add(&g->tree[0], &g->tree_len[0], h, sizeof h);
	for (; r->size >> level & 1 && !err; level++) {
		merkle_node(r->peak[level], h, h);
		if ((level + 1) % 8 == 0 && (level + 1) / 8 < AUDIT_TREES)
			err = add(&g->tree[(level + 1) / 8], &g->tree_len[(level + 1) / 8], h, sizeof h);
	}
	if (err)
		return err;
	memcpy(r->peak[level], h, sizeof h);
	r->size++;
	return 0;
}

int audit_grown(const struct audit_files *s, struct audit_growth *g, uint64_t size, struct fault *f)
{
	int err = audit_pwrite(s->index, g->index, g->index_len, size * 8);

	for (int i = 0; i < AUDIT_TREES && !err; i++)
		err = audit_pwrite(s->tree[i], g->tree[i], g->tree_len[i], (size >> 8 * i) * MERKLE_HASH);
	for (int i = 0; i < AUDIT_TREES; i++)
		g->tree_len[i] = 0;
	g->index_len = 0;
	return err ? fault_errno(f, -err, "cannot write the audit log in %s", s->dir) : 0;
}

void audit_growth_free(struct audit_growth *g)
{
	free(g->index);
	for (int i = 0; i < AUDIT_TREES; i++)
		free(g->tree[i]);
	memset(g, 0, sizeof *g);
}

int audit_mark(struct audit_files *s, struct fault *f)
{
	char path[sizeof s->dir + 16], text[64];
	int err = fdatasync(s->index) ? -errno : 0;

	for (int i = 0; i < AUDIT_TREES && !err; i++)
		err = fdatasync(s->tree[i]) ? -errno : 0;
	if (err) {
		fault_errno(f, -err, "cannot make the audit log's tree durable in %s", s->dir);
		return -EUCLEAN;
	}
	snprintf(path, sizeof path, "%s/mark", s->dir);
	int n = snprintf(text, sizeof text, "%llu %llu\n", (unsigned long long)s->range.size, (unsigned long long)s->end);
	err = file_write(path, text, (size_t)n, 0600, false, f);
	if (!err)
		s->marked = s->range.size;
	return err;
}

int audit_tree_read(void *ctx, unsigned int level, uint64_t index, uint8_t out[MERKLE_HASH])
{
	const struct audit_files *s = ctx;
	uint8_t h[128][MERKLE_HASH];
	unsigned int tree = level / 8, n = 1u << level % 8;

	// Above the highest stored level there are few: by halves.
	if (tree >= AUDIT_TREES) {
		int err = audit_tree_read(ctx, level - 1, index * 2, h[0]);
		if (!err)
			err = audit_tree_read(ctx, level - 1, index * 2 + 1, h[1]);
		if (!err)
			merkle_node(h[0], h[1], out);
		return err;
	}
	int err = audit_pread(s->tree[tree], h, n * sizeof h[0], index * n * sizeof h[0]);
	if (err)
		return err;
	for (; n > 1; n /= 2) {
		for (unsigned int i = 0; i < n / 2; i++)
			merkle_node(h[2 * i], h[2 * i + 1], h[i]);
	}
	memcpy(out, h[0], MERKLE_HASH);
	return 0;
}

int audit_files_range(const struct audit_files *s, uint64_t size, struct merkle_range *out)
{
	int err = 0;

	memset(out, 0, sizeof *out);
	out->size = size;
	for (unsigned int level = 0; level < 62 && !err; level++) {
		if (size >> level & 1)
			err = audit_tree_read((void *)s, level, (size >> level) - 1, out->peak[level]);
	}
	return err;
}
