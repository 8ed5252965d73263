// SPDX-License-Identifier: Apache-2.0
// Storage in memory and other surroundings for the tests of seal/.
#include "tests/seal/mem.h"
#include <stdarg.h>
#include <sys/random.h>

u64 test_allocs_left;
char test_log[256];
int test_failures;
const u8 test_key[SEAL_KEY_BYTES] = "an example of a 32-byte key....";
static u64 seed = 88172645463325252ul;

void rnd_seed(u64 s) { seed = s * 0x9e3779b97f4a7c15ul + 88172645463325252ul; }

u64 rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dul >> 8;
}

static int mem_read(void *ctx, u64 off, void *buf, size_t len)
{
	struct mem *m = ctx;
	m->reads++;
	if (off + len > m->size)
		return -ENODATA;
	if (m->bad_reads && off <= m->bad_block * 4096 && m->bad_block * 4096 < off + len) {
		m->bad_reads--;
		return -EIO;
	}
	memcpy(buf, m->data + off, len);
	return 0;
}

static int grow(struct mem *m, u64 size)
{
	if (m->limit && size > m->limit)
		return -ENOSPC;
	if (size > m->cap) {
		u64 cap = m->cap * 2 > size ? m->cap * 2 : size;
		u8 *p = realloc(m->data, cap);
		if (!p)
			return -ENOMEM;
		memset(p + m->cap, 0, cap - m->cap);
		m->data = p;
		m->cap = cap;
	}
	if (size > m->size)
		m->size = size;
	return 0;
}

static void record(struct mem *m, u64 off, const void *buf, size_t n)
{
	if (!m->record)
		return;
	if (m->nops == m->cap_ops) {
		m->cap_ops = m->cap_ops ? m->cap_ops * 2 : 256;
		m->ops = realloc(m->ops, m->cap_ops * sizeof *m->ops);
	}
	struct mem_op *op = &m->ops[m->nops++];
	*op = (struct mem_op){off, n, n ? malloc(n) : NULL};
	if (n)
		memcpy(op->data, buf, n);
}

// What was given back may read as anything.
static int mem_punch(void *ctx, u64 off, u64 len)
{
	struct mem *m = ctx;
	static u8 junk[4096];
	memset(junk, 0xa5, sizeof junk);
	for (u64 at = 0; at < len; at += sizeof junk) {
		u64 n = SEAL_MIN(len - at, sizeof junk);
		if (off + at + n > m->size)
			break;
		memcpy(m->data + off + at, junk, n);
		record(m, off + at, junk, n);
	}
	m->punches++;
	m->punched += len;
	return 0;
}

static int mem_write(void *ctx, u64 off, const void *buf, size_t len)
{
	struct mem *m = ctx;
	if (m->fail_after >= 0 && m->fail_after-- == 0)
		return -EIO;
	int r = grow(m, off + len);
	if (r)
		return r;
	memcpy(m->data + off, buf, len);
	m->writes++;
	m->bytes_written += len;
	record(m, off, buf, len);
	return 0;
}

static int mem_flush(void *ctx)
{
	struct mem *m = ctx;
	m->flushes++;
	record(m, 0, NULL, 0);
	return 0;
}

static int mem_truncate(void *ctx, u64 size)
{
	struct mem *m = ctx;
	if (size < m->size)
		m->size = size;
	return 0;
}

static s64 mem_size(void *ctx) { return (s64)((struct mem *)ctx)->size; }

void mem_init(struct mem *m)
{
	memset(m, 0, sizeof *m);
	m->fail_after = -1;
	m->io = (struct seal_io){.ctx = m,
				.read = mem_read,
				.write = mem_write,
				.flush = mem_flush,
				.size = mem_size,
				.punch = mem_punch,
				.truncate = mem_truncate};
}

void mem_forget_ops(struct mem *m)
{
	for (u32 k = 0; k < m->nops; k++)
		free(m->ops[k].data);
	m->nops = 0;
}

void mem_free(struct mem *m)
{
	mem_forget_ops(m);
	free(m->ops);
	free(m->data);
	m->data = NULL;
	m->ops = NULL;
}

void mem_copy(struct mem *to, const struct mem *from)
{
	mem_init(to);
	grow(to, from->size);
	memcpy(to->data, from->data, from->size);
}

void mem_apply(struct mem *m, const struct mem_op *op)
{
	if (op->n && !grow(m, op->off + op->n))
		memcpy(m->data + op->off, op->data, op->n);
}

static void *env_alloc(void *ctx, size_t n)
{
	(void)ctx;
	test_allocs_left++;
	return aligned_alloc(64, (n + 63) & ~63ul);
}

static void env_free(void *ctx, void *p, size_t n)
{
	(void)ctx, (void)n;
	test_allocs_left--;
	free(p);
}

static int env_random(void *ctx, void *buf, size_t n)
{
	(void)ctx;
	return getrandom(buf, n, 0) == (ssize_t)n ? 0 : -EIO;
}

static u64 env_now(void *ctx)
{
	static u64 t = 1700000000000000000ul;
	(void)ctx;
	return t += 1001;
}

static void env_log(void *ctx, const char *text)
{
	(void)ctx;
	snprintf(test_log, sizeof test_log, "%s", text);
}

const struct seal_env test_env = {.alloc = env_alloc,
				  .free = env_free,
				  .random = env_random,
				  .now_ns = env_now,
				  .log = env_log,
				  .cache_bytes = 1u << 20};

void test_result(const char *name, bool ok, const char *fmt, ...)
{
	va_list ap;
	if (ok) {
		printf("ok %s\n", name);
		return;
	}
	test_failures++;
	printf("not ok %s: ", name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
}

static void print_finding(void *ctx, const char *text)
{
	(void)ctx;
	printf("# fsck: %s\n", text);
}

int fsck_quiet(struct seal_vol *v)
{
	struct seal_fsck_stats st;
	s64 r = seal_fsck(v, print_finding, NULL, &st);
	if (r < 0)
		printf("# fsck: error %ld\n", r);
	return (int)r;
}

int new_volume(struct mem *m, u64 bytes, struct seal_vol **v)
{
	mem_init(m);
	int r = seal_format(&m->io, &test_env, test_key, NULL, bytes);
	return r ? r : seal_mount(&m->io, &test_env, test_key, NULL, 0, v, NULL);
}

struct seal_inode *root_of(struct seal_vol *v)
{
	struct seal_inode *i = NULL;
	return seal_iget(v, SEAL_ROOT_INO, &i) ? NULL : i;
}

int test_end(void)
{
	if (test_allocs_left) {
		printf("not ok memory: %lu allocations left\n", test_allocs_left);
		test_failures++;
	}
	return test_failures != 0;
}
