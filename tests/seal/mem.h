// SPDX-License-Identifier: Apache-2.0
// Test surroundings of a sealed volume: storage in memory that can record its writes and flushes, fail on demand and be
// tampered with; and a few helpers to check.
#pragma once
#include "seal/seal.h"
#include <stdio.h>
#include <stdlib.h>

struct mem_op { // one recorded write, or a flush (n == 0)
	u64 off;
	size_t n;
	u8 *data;
};
struct mem {
	u8 *data;
	u64 size, cap, limit; // limit: bytes the "host disk" has; 0: no end
	bool record;
	struct mem_op *ops;
	u32 nops, cap_ops;
	int fail_after; // writes until -EIO; < 0: never
	u64 bad_block; // the next bad_reads reads of it fail
	u32 bad_reads;
	u64 punches, punched, writes, flushes, reads, bytes_written;
	struct seal_io io;
};

void mem_init(struct mem *m);
void mem_free(struct mem *m);
void mem_copy(struct mem *to, const struct mem *from); // contents only
void mem_apply(struct mem *m, const struct mem_op *op);
void mem_forget_ops(struct mem *m);

extern const struct seal_env test_env; // malloc, getrandom, a clock that counts; quiet
extern const u8 test_key[SEAL_KEY_BYTES];
extern u64 test_allocs_left; // live allocations
extern char test_log[256];   // the last line logged
u64 rnd(void);		     // xorshift; rnd_seed first
void rnd_seed(u64 s);

extern int test_failures;
int test_end(void); // main's last: allocations that are left are a failure; the exit code
void test_result(const char *name, bool ok, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#define CHECK(c) \
	do { \
		if (!(c)) { \
			printf("not ok %s:%d: %s\n", __FILE__, __LINE__, #c); \
			test_failures++; \
			return; \
		} \
	} while (0)
#define CHECK_EQ(a, b) \
	do { \
		long a_ = (long)(a), b_ = (long)(b); \
		if (a_ != b_) { \
			printf("not ok %s:%d: %s is %ld, not %ld\n", __FILE__, __LINE__, #a, a_, b_); \
			test_failures++; \
			return; \
		} \
	} while (0)
#define RUN(f) \
	do { \
		int before_ = test_failures; \
		f(); \
		if (before_ == test_failures) \
			printf("ok seal %s\n", #f); \
		fflush(stdout); \
	} while (0)

int fsck_quiet(struct seal_vol *v);			       // findings, printed
int new_volume(struct mem *m, u64 bytes, struct seal_vol **v); // format and mount
struct seal_inode *root_of(struct seal_vol *v);
