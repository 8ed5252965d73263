// SPDX-License-Identifier: Apache-2.0
// Inside the audit log: its files. `entries` is the log; the others are derived from it, and made anew when they do not fit.
//
//	entries   frames: u32 kind << 24 | length, then the bytes. Kind 0: a record. Kind 1: the head that is signed over all records
//	          before it (u64 size, root, signature); what follows the last of these was never answered.
//	index     u64: where each record's frame begins
//	tree0..4  roots of the complete subtrees of 1, 256, 65536... records
//	mark      the others are durable up to this head
//
// Little-endian. One writer (audit.c sees to that); readers at the same time read what is complete.
#ifndef COFFER_BROKER_AUDIT_FILE_H
#define COFFER_BROKER_AUDIT_FILE_H

#include "broker/note.h"

#define AUDIT_TREES 5
#define AUDIT_FRAME 4
#define AUDIT_HEAD_BYTES (8 + MERKLE_HASH + 64)
#define AUDIT_BATCH (1u << 20)	// a batch takes no further record beyond this

enum { AUDIT_ENTRY, AUDIT_HEAD };

struct audit_files {
	int entries, index, tree[AUDIT_TREES];
	char dir[4096];
	uint64_t end;			// of entries
	struct merkle_range range;	// all records
	uint64_t marked;		// records up to the mark
};

int audit_files_open(struct audit_files *s, const char *dir, struct fault *f);
void audit_files_close(struct audit_files *s);

// What one batch adds to the derived files.
struct audit_growth {
	uint8_t *index;
	size_t index_len;
	uint8_t *tree[AUDIT_TREES];
	size_t tree_len[AUDIT_TREES];
};
// A record at `offset` of entries: into range and growth. -ENOMEM.
int audit_grow(struct audit_growth *g, struct merkle_range *r, uint64_t offset, const uint8_t leaf[MERKLE_HASH]);
// Behind the first `size` records of the derived files.
int audit_grown(const struct audit_files *s, struct audit_growth *g, uint64_t size, struct fault *f);
void audit_growth_free(struct audit_growth *g);
// Makes the derived files durable as they are for *s, and says so in the mark.
int audit_mark(struct audit_files *s, struct fault *f);

// A merkle_source's function; ctx: struct audit_files.
int audit_tree_read(void *ctx, unsigned int level, uint64_t index, uint8_t out[MERKLE_HASH]);
int audit_files_range(const struct audit_files *s, uint64_t size, struct merkle_range *out);

uint32_t audit_load32(const uint8_t *p);
uint64_t audit_load64(const uint8_t *p);
void audit_store(uint8_t *p, uint64_t v, int bytes);
int audit_pread(int fd, void *to, size_t len, uint64_t at);	// all of it: -ENODATA where the file ends
int audit_pwrite(int fd, const void *from, size_t len, uint64_t at);

// audit_recover.c: brings *s to the last head that *key signed; *head is that one, *dropped what lay behind it.
int audit_recover(struct audit_files *s, const struct note_key *key, struct note *head, uint64_t *dropped, struct fault *f);

#endif
