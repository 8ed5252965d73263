// SPDX-License-Identifier: Apache-2.0
// `coffer volume info, list, cat, fsck, scrub, diff`: those that only read.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/volume.h"
#include "image/text.h"

static void info_json(const char *hex, unsigned int version, const struct stat *st, const struct seal_info *i)
{
	struct seal_tool_anchored a;

	seal_tool_last_anchored(&a);
	printf("{\"id\":\"%s\",\"version\":%u,\"bytes\":%" PRId64, hex, version, (int64_t)st->st_size);
	if (i)
		printf(",\"generation\":%" PRIu64 ",\"limit_bytes\":%" PRIu64 ",\"used_bytes\":%" PRIu64 ",\"shared_bytes\":%" PRIu64
		       ",\"reserved_bytes\":%" PRIu64 ",\"inodes\":%" PRIu64 ",\"snapshots\":%u,\"keys\":%u,\"reencrypting\":%s,\"shrinking\":%s,\"freeing\":%s"
		       ",\"fell_back\":%s", (uint64_t)i->generation, (uint64_t)i->size_blocks * 4096, (uint64_t)i->used_blocks * 4096,
		       (uint64_t)i->shared_blocks * 4096, (uint64_t)i->reserved_blocks * 4096, (uint64_t)i->inodes, i->snapshots, i->keys,
		       i->reencrypting ? "true" : "false", i->shrinking ? "true" : "false", i->freeing ? "true" : "false", i->fell_back ? "true" : "false");
	if (i)
		printf(",\"anchored\":%s,\"anchor_generation\":%" PRIu64, a.known ? "true" : "false", (uint64_t)a.generation);
	printf("}\n");
}

static void info_words(const struct seal_info *i)
{
	char size[32], used[32], text[200];

	printf("  rollback    %s\n", owner_anchor_text(text, sizeof(text)));
	printf("  commits     %" PRIu64 "\n  in use      %s of %s\n  inodes      %" PRIu64 "\n", (uint64_t)i->generation,
	       human_size(used, (uint64_t)i->used_blocks * 4096), human_size(size, (uint64_t)i->size_blocks * 4096), (uint64_t)i->inodes);
	if (i->reserved_blocks)
		printf("  set aside   %s by fallocate\n", human_size(size, (uint64_t)i->reserved_blocks * 4096));
	if (i->snapshots)
		printf("  snapshots   %u\n", i->snapshots);
	if (i->keys > 1)
		printf("  keys        %u: a change of the key was not finished (coffer volume rekey)\n", i->keys);
	if (i->reencrypting || i->shrinking || i->freeing)
		printf("  unfinished  %s (coffer volume finish)\n", i->reencrypting ? "encrypting again" : i->shrinking ? "shrinking" : "freeing a deleted snapshot");
	if (i->fell_back)
		printf("  %swarning%s     the newest commit did not authenticate: cut off in the middle, or changed by somebody\n",
		       cli_yellow(stdout), cli_plain(stdout));
}

// What anyone can see, and with the key the rest.
int volume_info(struct request *r)
{
	struct seal_tool_err e = {0};
	struct seal_info info;
	u8 id[SEAL_ID_BYTES], key[SEAL_KEY_BYTES];
	struct fault f = {0};
	struct stat st = {0};
	char hex[33], size[32];
	u32 version;
	bool have_key;
	int err = seal_tool_id(r->words[0], id, &version, &e);

	if (err || stat(r->words[0], &st) < 0)
		return volume_result(err ? err : -1, &e);
	seal_tool_id_hex(id, hex);
	have_key = !owner_volume_key(&r->owner, r->words[0], key, &f);
	if (!have_key && r->owner.key_file)
		return cli_fail(&f);
	if (have_key) {
		err = seal_tool_info(r->words[0], key, &info, &e);
		explicit_bzero(key, sizeof(key));
		if (err)
			return volume_result(err, &e);
	}
	if (r->json) {
		info_json(hex, version, &st, have_key ? &info : NULL);
		return EXIT_OK;
	}
	printf("%s\n  id          %s\n  format      %u\n  file        %s\n", r->words[0], hex, version,
	       human_size(size, (uint64_t)st.st_size));
	if (have_key)
		info_words(&info);
	else
		printf("  (the rest needs the key: %s)\n", f.text);
	return EXIT_OK;
}

static const char types[16] = {[1] = 'p', [2] = 'c', [4] = 'd', [6] = 'b', [8] = '-', [10] = 'l', [12] = 's'};

static void list_line(void *ctx, const char *path, const struct seal_attr *a)
{
	const struct request *r = ctx;

	if (!r->json) {
		printf("%c%03o %12" PRIu64 "  %s\n", types[a->mode >> 12 & 15], a->mode & 0777, (uint64_t)a->size, path);
		return;
	}
	printf("{\"path\":");
	volume_json_text(path);
	printf(",\"type\":\"%c\",\"mode\":%u,\"size\":%" PRIu64 ",\"links\":%u,\"mtime_ns\":%" PRId64 "}\n", types[a->mode >> 12 & 15],
	       a->mode & 07777, (uint64_t)a->size, a->nlink, (int64_t)a->mtime_ns);
}

int volume_list(struct request *r)
{
	struct seal_tool_err e = {0};
	u8 key[SEAL_KEY_BYTES];
	int err = volume_key(r, key);

	if (err)
		return err;
	err = seal_tool_list(r->words[0], key, list_line, r, &e);
	explicit_bzero(key, sizeof(key));
	return volume_result(err, &e);
}

int volume_cat(struct request *r)
{
	struct seal_tool_err e = {0};
	u8 key[SEAL_KEY_BYTES];
	int err = volume_key(r, key);

	if (err)
		return err;
	err = seal_tool_cat(r->words[0], key, r->words[1], 1, &e);
	explicit_bzero(key, sizeof(key));
	return volume_result(err, &e);
}

// A finding, or with `mended` what was done about one.
static void fsck_line(const struct request *r, bool mended, const char *text)
{
	if (!r->json) {
		printf("  %s%s\n", mended ? "repaired: " : "", text);
		return;
	}
	printf("{\"%s\":", mended ? "repair" : "finding");
	volume_json_text(text);
	printf("}\n");
}

struct fsck {
	const struct request *r;
	struct progress bar;
};

static void fsck_finding(void *ctx, const char *text)
{
	fsck_line(((struct fsck *)ctx)->r, false, text);
}

static void fsck_repair(void *ctx, const char *text)
{
	fsck_line(((struct fsck *)ctx)->r, true, text);
}

static bool fsck_progress(void *ctx, u64 done, u64 total)
{
	progress_show(&((struct fsck *)ctx)->bar, 0, done * SEAL_BLOCK, total * SEAL_BLOCK);
	return seal_tool_stop;
}

static void fsck_words(const struct request *r, const struct seal_fsck_stats *s, s64 left)
{
	char size[32], text[200];

	if (!s->findings)
		printf("%s is whole: %" PRIu64 " files, %" PRIu64 " folders, %s, each byte authenticated; rollback %s\n", r->words[0],
		       (uint64_t)s->files, (uint64_t)s->dirs, human_size(size, s->bytes), owner_anchor_text(text, sizeof(text)));
	else if (r->repair)
		printf("%s: %" PRIu64 " findings, %" PRIu64 " repairs, %" PRId64 " findings left\n", r->words[0], (uint64_t)s->findings,
		       (uint64_t)s->repairs, (int64_t)left);
	else
		printf("%s: %" PRIu64 " findings; nothing was changed (--repair mends them)\n", r->words[0], (uint64_t)s->findings);
}

// The exit codes of fsck(8).
int volume_fsck(struct request *r)
{
	enum { WHOLE = 0, MENDED = 1, LEFT = 4, FAILED = 8, STOPPED = 32 };
	struct fsck f = {.r = r};
	const struct seal_checker how = {.finding = fsck_finding, .repair = fsck_repair, .progress = fsck_progress, .ctx = &f};
	struct seal_fsck_stats s = {0};
	struct seal_tool_anchored a;
	struct seal_tool_err e = {0};
	u8 key[SEAL_KEY_BYTES];
	s64 left;

	if (r->size && !r->repair) {
		cli_usage(&command_volume, "--size belongs to --repair");
		return FAILED;
	}
	if (volume_key(r, key))
		return FAILED;
	cli_catch_stop();
	progress_begin(&f.bar, "Checking", r->json);
	left = seal_tool_fsck(r->words[0], key, r->repair, r->size, &how, &s, &e);
	progress_end(&f.bar);
	explicit_bzero(key, sizeof(key));
	if (left < 0) {
		volume_result((int)left, &e);
		return cli_stopped() ? STOPPED : FAILED;
	}
	seal_tool_last_anchored(&a);
	if (r->json)
		printf("{\"whole\":%s,\"files\":%" PRIu64 ",\"folders\":%" PRIu64 ",\"blocks\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"findings\":%" PRIu64
		       ",\"repairs\":%" PRIu64 ",\"left\":%" PRId64 ",\"anchored\":%s}\n", left ? "false" : "true", (uint64_t)s.files, (uint64_t)s.dirs,
		       (uint64_t)s.blocks, (uint64_t)s.bytes, (uint64_t)s.findings, (uint64_t)s.repairs, (int64_t)left, a.known ? "true" : "false");
	else
		fsck_words(r, &s, left);
	return left ? LEFT : s.findings ? MENDED : WHOLE;
}

static void damaged(void *ctx, const struct seal_damage *d)
{
	const struct request *r = ctx;

	if (!r->json) {
		if (strncmp(d->text, "block ", 6)) // else it says which one
			printf("  block %" PRIu64 ": ", (uint64_t)d->block);
		else
			printf("  ");
		printf("%s%s%s\n", d->text, *d->path ? ": " : "", d->path);
		return;
	}
	printf("{\"block\":%" PRIu64 ",\"offset\":%" PRIu64 ",\"length\":%" PRIu64 ",\"snapshot\":%u,\"path\":", (uint64_t)d->block,
	       (uint64_t)d->offset, (uint64_t)d->length, d->snapshot);
	volume_json_text(d->path);
	printf(",\"text\":");
	volume_json_text(d->text);
	printf("}\n");
}

int volume_scrub(struct request *r)
{
	struct seal_scrub_stats s = {0};
	struct seal_tool_progress p = {.fn = volume_progress};
	struct seal_tool_err e = {0};
	struct progress bar;
	u8 key[SEAL_KEY_BYTES];
	char size[32];
	s64 n = volume_key(r, key);

	if (n)
		return (int)n;
	cli_catch_stop();
	progress_begin(&bar, "Reading", r->json);
	p.ctx = &bar;
	n = seal_tool_scrub(r->words[0], key, damaged, r, &s, &p, &e);
	progress_end(&bar);
	explicit_bzero(key, sizeof(key));
	if (n < 0)
		return volume_result((int)n, &e);
	if (r->json)
		printf("{\"blocks\":%" PRIu64 ",\"damaged\":%" PRIu64 "}\n", (uint64_t)s.blocks_done, (uint64_t)s.damaged);
	else
		printf("%s: %s read, %" PRIu64 " blocks damaged\n", r->words[0], human_size(size, (uint64_t)s.blocks_done * 4096), (uint64_t)s.damaged);
	return n > 0;
}

// --- diff

static void diff_line(void *ctx, char what, const char *path)
{
	const struct request *r = ctx;

	if (!r->json) {
		printf("%c %s\n", what, *path ? path : ".");
		return;
	}
	printf("{\"change\":\"%c\",\"path\":", what);
	volume_json_text(*path ? path : ".");
	printf("}\n");
}

// FOLDER, FILE.vol or FILE.vol@SNAPSHOT. The path is the caller's to free.
static int take_side(const struct owner *owner, const char *word, struct seal_tool_side *s, u8 key[SEAL_KEY_BYTES], struct fault *f)
{
	char *path = xstrdup(word), *at = strrchr(path, '@');
	struct stat st;

	s->path = path;
	if (stat(path, &st) < 0 && at) {
		*at = '\0';
		s->snapshot = at + 1;
	}
	if (stat(path, &st) < 0)
		return fault_errno(f, errno, "cannot open %s", path);
	if (S_ISDIR(st.st_mode))
		return 0;
	s->key = key;
	return owner_volume_key(owner, path, key, f);
}

int volume_diff(struct request *r)
{
	struct seal_tool_side a = {0}, b = {0};
	struct owner other = r->owner;
	struct seal_tool_err e = {0};
	struct fault f = {0};
	u8 ka[SEAL_KEY_BYTES], kb[SEAL_KEY_BYTES];
	s64 n;

	if (r->other_key_file)
		other.key_file = r->other_key_file;
	if (take_side(&r->owner, r->words[0], &a, ka, &f) || take_side(&other, r->words[1], &b, kb, &f)) {
		cli_fail(&f);
		n = -1;
	} else {
		n = seal_tool_diff(&a, &b, diff_line, r, &e);
		if (n < 0)
			volume_result((int)n, &e);
	}
	explicit_bzero(ka, sizeof(ka));
	explicit_bzero(kb, sizeof(kb));
	free((char *)a.path);
	free((char *)b.path);
	return n < 0 ? 2 : n > 0;
}
