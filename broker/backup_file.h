// SPDX-License-Identifier: Apache-2.0
// A backup as a file: named pieces of any length, encrypted and authenticated under a passphrase, in order and to the last byte. Read and
// written as a stream. Single-threaded.
//
//	a line of JSON: {"coffer_backup":1, "n","r","p","salt"}	(scrypt)
//	blocks: u32 length | AES-256-GCM of up to 64 KiB | tag; nonce: number of the block, and whether it is the last; with the SHA-256
//	        of the line as associated data
//
// Inside the blocks: u8 length of a name | name | u64 length | bytes, piece after piece. Little-endian.
#ifndef COFFER_BROKER_BACKUP_FILE_H
#define COFFER_BROKER_BACKUP_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/fault.h"

#define BACKUP_NAME 64

struct backup_writer;
struct backup_reader;

// fd stays the caller's. passphrase is not kept.
int backup_write_open(struct backup_writer **out, int fd, const char *passphrase, struct fault *f);
int backup_write_piece(struct backup_writer *w, const char *name, const void *bytes, size_t len, struct fault *f);
// The first `len` bytes of a file.
int backup_write_file(struct backup_writer *w, const char *name, int from, uint64_t len, struct fault *f);
// What is not finished is no backup: it does not open.
int backup_write_finish(struct backup_writer *w, struct fault *f);
void backup_write_close(struct backup_writer *w);

// -EINVAL: it is no backup; -EACCES: another passphrase, or its beginning was changed.
int backup_read_open(struct backup_reader **out, int fd, const char *passphrase, struct fault *f);
// The next piece: 1; 0 at the end, when all is as it was written. -EBADMSG: changed or cut.
int backup_read_piece(struct backup_reader *r, char name[BACKUP_NAME], uint64_t *len, struct fault *f);
// The next bytes of the piece: all that are asked for.
int backup_read(struct backup_reader *r, void *out, size_t len, struct fault *f);
void backup_read_close(struct backup_reader *r);

// A file of the state folder, or of a folder in it: nothing that leads elsewhere.
bool backup_name_valid(const char *name);

#endif
