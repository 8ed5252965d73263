// SPDX-License-Identifier: Apache-2.0
// What the files of `coffer volume` share: the parsed command line, and the subcommands.
#ifndef COFFER_CLI_VOLUME_H
#define COFFER_CLI_VOLUME_H

#include "cli/owner.h"
#include "cli/progress.h"

struct request {
	struct owner owner;
	struct owner_new_volume make;
	const char *words[4];	// behind the subcommand's name
	int count;
	const char *other_key_file, *new_key_file;
	uint64_t size;
	bool json, reencrypt, repair;
};

// Each returns the exit code.
int volume_create(struct request *r);
int volume_info(struct request *r);
int volume_list(struct request *r);
int volume_cat(struct request *r);
int volume_fsck(struct request *r);
int volume_scrub(struct request *r);
int volume_diff(struct request *r);
int volume_snapshot(struct request *r);
int volume_rekey(struct request *r);
int volume_grow(struct request *r);
int volume_shrink(struct request *r);
int volume_finish(struct request *r);
int volume_anchor(struct request *r);

// The key of the volume that words[0] names. 0, or the exit code after a message.
int volume_key(struct request *r, u8 key[SEAL_KEY_BYTES]);
// The library's answer as an exit code, with its message; 128 + signal when it was stopped.
int volume_result(int err, const struct seal_tool_err *e);
// "abc" with what JSON needs escaped.
void volume_json_text(const char *s);
// For seal_tool_progress: ctx is a struct progress.
void volume_progress(void *ctx, u64 files, u64 bytes, u64 total);

#endif
