// SPDX-License-Identifier: Apache-2.0
// The steps of `coffer build` (see build.h). Works in the project's image/ and build/ folders only.
#include "image/build.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/copy.h"
#include "image/hashtree.h"
#include "image/tree.h"

static const char *const coffer_files[] = {"init", "init-attest"};

__attribute__((format(printf, 2, 3)))
static void say(const struct build_options *o, const char *format, ...)
{
	va_list args;

	if (!o->report)
		return;
	va_start(args, format);
	vfprintf(o->report, format, args);
	va_end(args);
	fflush(o->report);
}

static int compare_entries(const FTSENT **a, const FTSENT **b)
{
	return strcmp((*a)->fts_name, (*b)->fts_name);
}

static int apply_copy(const struct config *c, const struct build_options *o, struct fault *p)
{
	struct copier copier;
	char size[32];
	int err;

	if (!c->copy_count)
		return 0;
	err = copy_begin(&copier, c, o->report_files ? o->report : NULL, p);
	copier.report_files = o->report_files;
	for (size_t i = 0; i < c->copy_count && !err; i++)
		err = copy_item(&copier, c->copy[i].from, c->copy[i].to, p);
	if (!err)
		err = copy_finish(&copier, p);
	if (!err)
		say(o, "  copy    %" PRIu64 " files, %s, from this machine\n", copier.files, human_size(size, copier.bytes));
	copy_end(&copier);
	return err;
}

// /.coffer: exactly our three files.
static int add_coffer_files(const struct config *c, const struct build_options *o, struct tree *t, struct fault *p)
{
	char *folder = xasprintf("%s/.coffer", t->path);
	char *paths[] = {folder, NULL};
	struct text json = {0};
	int err = tree_mkdirs(t, "/.coffer", p);
	FTSENT *entry;
	FTS *fts;

	for (size_t i = 0; i < 2 && !err; i++) {
		char *from = xasprintf("%s/%s", o->lib_dir, coffer_files[i]), *to = xasprintf("/.coffer/%s", coffer_files[i]);

		if (access(from, R_OK) < 0)
			err = fault_set(p, -ENOENT, "%s is missing: Coffer is not completely installed here (run make)", from);
		else
			err = tree_copy_file(t, from, to, p);
		free(from);
		free(to);
	}
	config_json(c, &json);
	if (!err)
		err = tree_write_file(t, "/.coffer/config.json", json.data, json.len, false, p);
	text_free(&json);
	fts = err ? NULL : fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, compare_entries);
	while (fts && !err && (entry = fts_read(fts))) {
		if (entry->fts_level < 1 || entry->fts_info == FTS_DP)
			continue;
		if (entry->fts_level > 1 || (strcmp(entry->fts_name, "init") != 0 && strcmp(entry->fts_name, "init-attest") != 0 &&
					     strcmp(entry->fts_name, "config.json") != 0))
			err = fault_set(p, -EEXIST, "%s should not be there: /.coffer of an image is Coffer's own", entry->fts_path);
	}
	if (fts)
		fts_close(fts);
	free(folder);
	return err;
}

static void digest_stat(EVP_MD_CTX *digest, const char *name, const struct stat *st)
{
	char line[160];
	int n = snprintf(line, sizeof(line), " %o %" PRIu64 " %" PRId64 ".%09ld %" PRId64 ".%09ld %" PRIu64 "\n", st->st_mode,
			 (uint64_t)st->st_size, (int64_t)st->st_mtim.tv_sec, st->st_mtim.tv_nsec, (int64_t)st->st_ctim.tv_sec,
			 st->st_ctim.tv_nsec, (uint64_t)st->st_ino);

	EVP_DigestUpdate(digest, name, strlen(name));
	EVP_DigestUpdate(digest, line, (size_t)n);
}

// Gives each file the mode that an image has, refuses what cannot be in one, and sums up what there is, so that a second
// build can see that nothing changed (ctime cannot be set back).
static int settle_tree(const char *root, EVP_MD_CTX *digest, uint64_t *files, struct fault *p)
{
	char *paths[] = {(char *)root, NULL};
	FTS *fts = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, compare_entries);
	FTSENT *entry;
	int err = 0;

	if (!fts)
		return fault_errno(p, errno, "cannot read %s", root);
	while (!err && (errno = 0, entry = fts_read(fts))) {
		struct stat *st = entry->fts_statp;
		mode_t mode;

		switch (entry->fts_info) {
		case FTS_DP:
			continue;
		case FTS_D:
			mode = 0755;
			break;
		case FTS_F:
			mode = st->st_mode & 0111 ? 0755 : 0644;
			break;
		case FTS_SL:
		case FTS_SLNONE:
			digest_stat(digest, entry->fts_path, st);
			++*files;
			continue;
		case FTS_DEFAULT:
			err = fault_set(p, -EINVAL, "%s is a socket, pipe or device: an image has files, folders and links only",
					  entry->fts_path);
			continue;
		default:
			err = fault_errno(p, entry->fts_errno, "cannot read %s", entry->fts_path);
			continue;
		}
		if ((st->st_mode & 07777) != mode) {
			if (chmod(entry->fts_path, mode) < 0 || lstat(entry->fts_path, st) < 0) {
				err = fault_errno(p, errno, "cannot set the mode of %s", entry->fts_path);
				continue;
			}
		}
		*files += entry->fts_info == FTS_F;
		digest_stat(digest, entry->fts_path, st);
	}
	if (!err && errno)
		err = fault_errno(p, errno, "cannot read %s", root);
	fts_close(fts);
	return err;
}

// The first word of `command` is a path or a name in PATH; say now that it is not in the image, rather than at start.
static int check_command(const struct config *c, struct tree *t, struct fault *p)
{
	const char *program, *path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	char *copy, *save = NULL;
	bool found = false;

	if (!c->command.count)
		return 0;
	program = c->command.items[0];
	for (size_t i = 0; i < c->environment_count; i++)
		if (!strcmp(c->environment[i].name, "PATH"))
			path = c->environment[i].value;
	copy = xstrdup(strchr(program, '/') ? "." : path);
	for (char *part = strtok_r(copy, ":", &save); part && !found; part = strtok_r(NULL, ":", &save)) {
		char *full = program[0] == '/'	    ? xstrdup(program)
			     : strchr(program, '/') ? xasprintf("%s/%s", c->working_directory, program)
						    : xasprintf("%s/%s", part, program);
		int fd = tree_open_file(t, full);

		found = fd >= 0;
		if (fd >= 0)
			close(fd);
		free(full);
	}
	free(copy);
	if (!found)
		return fault_set(p, -ENOENT, "the program of 'command' (%s) is not in the image: add it to 'copy' in %s", program,
				   CONFIG_FILE);
	return 0;
}

static int pad_file(int fd, const char *path, uint64_t *blocks, struct fault *p)
{
	struct stat st;
	uint64_t size;

	if (fstat(fd, &st) < 0)
		return fault_errno(p, errno, "cannot look at %s", path);
	size = ((uint64_t)st.st_size + HASHTREE_BLOCK - 1) / HASHTREE_BLOCK * HASHTREE_BLOCK;
	if (ftruncate(fd, (off_t)size) < 0)
		return fault_errno(p, errno, "cannot write %s", path);
	*blocks = size / HASHTREE_BLOCK;
	return 0;
}

static int make_image(const char *root, const char *image, const struct build_options *o,
		      struct manifest *m, struct build_result *r, struct fault *p)
{
	char *temporary = xasprintf("%s.tmp", image), size[32];
	int fd = -1, err;

	unlink(temporary);
	err = image_mkfs(root, temporary, p);
	if (err)
		goto out;
	fd = open(temporary, O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		err = fault_errno(p, errno, "cannot open %s", temporary);
		goto out;
	}
	err = pad_file(fd, temporary, &m->image_blocks, p);
	if (!err)
		err = hashtree_write(fd, temporary, m->image_blocks, m->image_root, p);
	if (!err && fchmod(fd, 0644) < 0)
		err = fault_errno(p, errno, "cannot set the mode of %s", temporary);
	if (!err && rename(temporary, image) < 0)
		err = fault_errno(p, errno, "cannot rename %s", temporary);
	r->image_bytes = (m->image_blocks + hashtree_blocks(m->image_blocks)) * HASHTREE_BLOCK;
	if (!err)
		say(o, "  image   %" PRIu64 " files, %s with its hash tree\n", r->files, human_size(size, r->image_bytes));
out:
	if (fd >= 0)
		close(fd);
	if (err)
		unlink(temporary);
	free(temporary);
	return err;
}

// What the last build was made from and gave; its absence only costs time.
static bool is_unchanged(const char *stamp_path, const char *inputs, const char *image, const char *manifest)
{
	char expected[512];
	struct fault ignored;
	struct text stamp = {0};
	struct stat a, b;
	bool same = false;

	if (!stat(image, &a) && !stat(manifest, &b) && !text_read_file(&stamp, stamp_path, 4096, &ignored)) {
		snprintf(expected, sizeof(expected), "%s %" PRIu64 " %" PRId64 ".%09ld %" PRId64 ".%09ld\n", inputs,
			 (uint64_t)a.st_size, (int64_t)a.st_ctim.tv_sec, a.st_ctim.tv_nsec, (int64_t)b.st_ctim.tv_sec,
			 b.st_ctim.tv_nsec);
		same = !strcmp(stamp.data, expected);
	}
	text_free(&stamp);
	return same;
}

static int write_stamp(const char *stamp_path, const char *inputs, const char *image, const char *manifest, struct fault *p)
{
	char line[512];
	struct stat a, b;

	if (stat(image, &a) < 0 || stat(manifest, &b) < 0)
		return fault_errno(p, errno, "cannot look at %s", image);
	snprintf(line, sizeof(line), "%s %" PRIu64 " %" PRId64 ".%09ld %" PRId64 ".%09ld\n", inputs, (uint64_t)a.st_size,
		 (int64_t)a.st_ctim.tv_sec, a.st_ctim.tv_nsec, (int64_t)b.st_ctim.tv_sec, b.st_ctim.tv_nsec);
	return text_write_file(stamp_path, line, strlen(line), p);
}

// What the kernel itself must know, and the owner should see at a glance. Boot parses the same words.
static void measured_options(const struct config *c, struct manifest *m)
{
	struct text options = {0};

	text_printf(&options, "memory=%" PRIu64 ",debug=%d,connect=%s,rseq=%d", c->memory_bytes, c->debug_enclave,
		    c->connect_any ? "any" : "none", c->restartable_sequences);
	for (size_t i = 0; i < c->listen_count; i++)
		text_printf(&options, "%s%u", i ? "+" : ",listen=", c->listen[i]);
	snprintf(m->options, sizeof(m->options), "%s", options.data);
	text_free(&options);
}

int image_build(const struct config *c, const struct build_options *o, struct build_result *r, struct fault *p)
{
	char *root = xasprintf("%s/image", c->project), *out = xasprintf("%s/build", c->project);
	char *image = xasprintf("%s/enclave.img", out), *manifest_path = xasprintf("%s/enclave.manifest", out);
	char *stamp = xasprintf("%s/inputs", out), *kernel = xasprintf("%s/%s", o->lib_dir, BUILD_KERNEL);
	char *init = xasprintf("%s/init", o->lib_dir), inputs[65];
	struct manifest m = {.platform = "process"};
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	struct text json = {0}, text = {0};
	uint8_t sum[32], measurement[MEASUREMENT_BYTES];
	struct tree tree = {.fd = -1};
	struct stat st;
	int err;

	*r = (struct build_result){0};
	EVP_DigestInit_ex(digest, EVP_sha256(), NULL);
	err = stat(kernel, &st) < 0
		      ? fault_set(p, -ENOENT, "%s is missing: Coffer is not completely installed here (run make)", kernel)
		      : 0;
	digest_stat(digest, kernel, &st);
	if (!err && mkdir(out, 0755) < 0 && errno != EEXIST)
		err = fault_errno(p, errno, "cannot make %s", out);
	if (!err)
		err = apply_copy(c, o, p);
	if (!err)
		err = tree_open(&tree, root, p);
	if (!err)
		err = image_skeleton(c, &tree, p);
	if (!err)
		err = add_coffer_files(c, o, &tree, p);
	if (!err)
		err = image_ldcache(&tree, p);
	if (!err)
		err = check_command(c, &tree, p);
	if (!err)
		err = settle_tree(root, digest, &r->files, p);
	if (err)
		goto out;
	EVP_DigestFinal_ex(digest, sum, NULL);
	hex_text(inputs, sum, sizeof(sum));
	if (!o->force && is_unchanged(stamp, inputs, image, manifest_path)) {
		r->unchanged = true;
		say(o, "  image   nothing changed since the last build\n");
		err = image_manifest(manifest_path, &m, r->measurement, p);
		r->image_bytes = (m.image_blocks + hashtree_blocks(m.image_blocks)) * HASHTREE_BLOCK;
		goto out;
	}
	err = make_image(root, image, o, &m, r, p);
	if (!err)
		err = image_hash_file(kernel, m.kernel, p);
	if (!err)
		err = image_hash_file(init, m.init, p);
	if (err)
		goto out;
	config_json(c, &json);
	manifest_measure(json.data, json.len, m.config);
	measured_options(c, &m);
	manifest_write(&m, &text);
	manifest_measure(text.data, text.len, measurement);
	hex_text(r->measurement, measurement, sizeof(measurement));
	err = text_write_file(manifest_path, text.data, text.len, p);
	if (!err)
		err = write_stamp(stamp, inputs, image, manifest_path, p);
out:
	EVP_MD_CTX_free(digest);
	tree_close(&tree);
	text_free(&json);
	text_free(&text);
	free(init);
	free(kernel);
	free(stamp);
	free(manifest_path);
	free(image);
	free(out);
	free(root);
	return err;
}
