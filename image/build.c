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
#include "image/encrypt.h"
#include "image/hashtree.h"
#include "image/tree.h"

static const char *const coffer_files[] = {"init", "init-attest", "gateway"}; // the last one where there is something for it

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

// /.coffer: exactly our files.
static int add_coffer_files(const struct config *c, const struct build_options *o, struct tree *t, struct fault *p)
{
	char *folder = xasprintf("%s/.coffer", t->path);
	char *paths[] = {folder, NULL};
	struct text json = {0};
	int err = tree_mkdirs(t, "/.coffer", p);
	FTSENT *entry;
	FTS *fts;

	if (!err && !config_has_gateway(c))
		err = tree_remove(t, "/.coffer/gateway", p);
	for (size_t i = 0; i < 2u + config_has_gateway(c) && !err; i++) {
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
					     strcmp(entry->fts_name, "gateway") != 0 && strcmp(entry->fts_name, "config.json") != 0 &&
					     strcmp(entry->fts_name, "attributes") != 0))
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

// Where the parts of a build lie.
struct places {
	char *root, *out, *image, *manifest, *stamp, *kernel, *init;
	char *boot, *cipher, *id;	// of an encrypted image: the plain image's folder, the ciphertext while it is made, its id
};

static void say_attributes(const struct build_options *o, const struct image_attributes *a)
{
	if (a->set)
		say(o, "  owners  %" PRIu64 " files with owners, modes or attributes of their own\n", a->set);
	if (a->stale)
		say(o, "  note    %" PRIu64 " lines of image/.coffer/attributes are for files that are not there, or are now something else\n", a->stale);
}

// The image of `root` under a temporary name, with its hash tree; what `behind` names (may be NULL) follows it.
static int make_image(const char *root, const struct places *at, const char *behind, const struct build_options *o,
		      struct manifest *m, struct build_result *r, struct fault *p)
{
	char *temporary = xasprintf("%s.tmp", at->image), size[32];
	struct image_attributes attributes;
	struct stat st = {0};
	int fd = -1, err;

	unlink(temporary);
	err = image_mkfs(root, temporary, &attributes, p);
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
	if (!err && behind)
		err = image_append(fd, temporary, (m->image_blocks + hashtree_blocks(m->image_blocks)) * HASHTREE_BLOCK, behind, p);
	if (!err && (fchmod(fd, 0644) < 0 || fstat(fd, &st) < 0))
		err = fault_errno(p, errno, "cannot set the mode of %s", temporary);
	if (!err && rename(temporary, at->image) < 0)
		err = fault_errno(p, errno, "cannot rename %s", temporary);
	r->image_bytes = (uint64_t)st.st_size;
	if (!err)
		say(o, "  image   %" PRIu64 " files, %s with its hash tree\n", r->files, human_size(size, r->image_bytes));
	if (!err)
		say_attributes(o, &attributes);
out:
	if (fd >= 0)
		close(fd);
	if (err)
		unlink(temporary);
	free(temporary);
	return err;
}

// The plain image in front of an encrypted one: mount points, init, the configuration, and what the ciphertext is.
static int fill_boot(const struct config *c, const struct build_options *o, const struct image_secret *s, const char *folder,
		     struct fault *p)
{
	EVP_MD_CTX *unused = EVP_MD_CTX_new();
	struct tree t = {.fd = -1};
	struct text json = {0};
	uint64_t files = 0;
	int err = image_remove_tree(folder, p);

	EVP_DigestInit_ex(unused, EVP_sha256(), NULL);
	if (!err)
		err = tree_open(&t, folder, p);
	if (!err)
		err = image_skeleton(c, &t, p);
	if (!err)
		err = add_coffer_files(c, o, &t, p);
	image_secret_json(s, &json);
	if (!err)
		err = tree_write_file(&t, "/.coffer/image.json", json.data, json.len, false, p);
	if (!err)
		err = tree_mkdirs(&t, "/.coffer/root", p);
	if (!err)
		err = settle_tree(folder, unused, &files, p);
	text_free(&json);
	tree_close(&t);
	EVP_MD_CTX_free(unused);
	return err;
}

static int make_encrypted(const struct config *c, const struct places *at, const struct build_options *o, struct manifest *m,
			  struct build_result *r, struct fault *p)
{
	struct image_attributes attributes;
	struct image_secret s = {0};
	uint64_t blocks;
	int fd = -1, err;

	if (!o->keep_key)
		return fault_set(p, -EINVAL, "an encrypted image needs a place for its key");
	unlink(at->cipher);
	err = image_mkfs(at->root, at->cipher, &attributes, p);
	if (!err)
		say_attributes(o, &attributes);
	if (!err && (fd = open(at->cipher, O_RDWR | O_CLOEXEC)) < 0)
		err = fault_errno(p, errno, "cannot open %s", at->cipher);
	if (!err)
		err = pad_file(fd, at->cipher, &blocks, p);
	if (!err)
		err = image_encrypt(at->cipher, blocks, &s, p);
	if (!err)
		err = fill_boot(c, o, &s, at->boot, p);
	if (!err)
		err = o->keep_key(o->ctx, s.id, s.key, p);
	explicit_bzero(s.key, sizeof(s.key));
	if (!err)
		err = make_image(at->boot, at, at->cipher, o, m, r, p);
	hex_text(r->image_id, s.id, sizeof(s.id));
	if (!err)
		err = text_write_file(at->id, r->image_id, 32, p);
	if (!err)
		say(o, "  sealed  only an enclave that may have the key %s can read the image\n", r->image_id);
	if (fd >= 0)
		close(fd);
	unlink(at->cipher);
	return err;
}

// The id of the encrypted image that stands.
static void read_id(const struct places *at, struct build_result *r)
{
	struct text id = {0};
	struct fault ignored;

	if (!text_read_file(&id, at->id, 64, &ignored) && id.len == 32)
		memcpy(r->image_id, id.data, 33);
	text_free(&id);
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
		    c->connect_any ? "any" : c->destination_count ? "listed" : "none", c->restartable_sequences);
	if (c->limit_cpus)
		text_printf(&options, ",cpus=%d", c->limit_cpus);
	if (c->limit_processes)
		text_printf(&options, ",processes=%d", c->limit_processes);
	if (c->limit_descriptors)
		text_printf(&options, ",descriptors=%d", c->limit_descriptors);
	if (c->limit_files)
		text_printf(&options, ",files=%d", c->limit_files);
	for (size_t i = 0; i < c->listen_count; i++)
		text_printf(&options, "%s%u", i ? "+" : ",listen=", c->listen[i]);
	if (config_has_gateway(c))
		text_puts(&options, ",gateway=1");
	if (c->host_exec_any || c->host_exec.count)
		text_puts(&options, ",exec=1");
	for (size_t i = 0; i < c->shield_count; i++)
		text_printf(&options, "%s%u", i ? "+" : ",shield=", c->shield[i].port);
	snprintf(m->options, sizeof(m->options), "%s", options.data);
	text_free(&options);
}

static struct places find_places(const struct config *c, const struct build_options *o)
{
	char *out = xasprintf("%s/build", c->project);

	return (struct places){.root = xasprintf("%s/image", c->project), .out = out, .image = xasprintf("%s/enclave.img", out),
			       .manifest = xasprintf("%s/enclave.manifest", out), .stamp = xasprintf("%s/inputs", out),
			       .kernel = xasprintf("%s/%s", o->lib_dir, BUILD_KERNEL), .init = xasprintf("%s/init", o->lib_dir),
			       .boot = xasprintf("%s/boot", out), .cipher = xasprintf("%s/root.tmp", out), .id = xasprintf("%s/image.id", out)};
}

static void free_places(struct places *at)
{
	char *all[] = {at->root, at->out, at->image, at->manifest, at->stamp, at->kernel, at->init, at->boot, at->cipher, at->id};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		free(all[i]);
}

// Brings image/ to what the configuration says; `inputs`: hex digest of all that the image is made from.
static int prepare(const struct config *c, const struct build_options *o, const struct places *at, char inputs[65],
		   struct build_result *r, struct fault *p)
{
	EVP_MD_CTX *digest = EVP_MD_CTX_new();
	struct tree tree = {.fd = -1};
	struct stat st = {0};
	uint8_t sum[32];
	int err;

	EVP_DigestInit_ex(digest, EVP_sha256(), NULL);
	err = stat(at->kernel, &st) < 0
		      ? fault_set(p, -ENOENT, "%s is missing: Coffer is not completely installed here (run make)", at->kernel)
		      : 0;
	digest_stat(digest, at->kernel, &st);
	if (c->encrypt)
		EVP_DigestUpdate(digest, "encrypt", 7);
	if (!err && mkdir(at->out, 0755) < 0 && errno != EEXIST)
		err = fault_errno(p, errno, "cannot make %s", at->out);
	if (!err)
		err = apply_copy(c, o, p);
	if (!err)
		err = tree_open(&tree, at->root, p);
	if (!err)
		err = image_skeleton(c, &tree, p);
	if (!err)
		err = add_coffer_files(c, o, &tree, p);
	if (!err)
		err = image_names(c, &tree, p);
	if (!err)
		err = image_ldcache(&tree, p);
	if (!err)
		err = check_command(c, &tree, p);
	if (!err)
		err = settle_tree(at->root, digest, &r->files, p);
	EVP_DigestFinal_ex(digest, sum, NULL);
	hex_text(inputs, sum, sizeof(sum));
	EVP_MD_CTX_free(digest);
	tree_close(&tree);
	return err;
}

int image_build(const struct config *c, const struct build_options *o, struct build_result *r, struct fault *p)
{
	struct places at = find_places(c, o);
	struct manifest m = {.platform = "process"};
	struct text json = {0}, text = {0};
	uint8_t measurement[MEASUREMENT_BYTES];
	char inputs[65];
	struct stat st;
	int err;

	*r = (struct build_result){0};
	err = prepare(c, o, &at, inputs, r, p);
	if (err)
		goto out;
	if (!o->force && is_unchanged(at.stamp, inputs, at.image, at.manifest)) {
		r->unchanged = true;
		say(o, "  image   nothing changed since the last build\n");
		err = image_manifest(at.manifest, &m, r->measurement, p);
		r->image_bytes = stat(at.image, &st) < 0 ? 0 : (uint64_t)st.st_size;
		if (c->encrypt)
			read_id(&at, r);
		goto out;
	}
	unlink(at.id);
	err = c->encrypt ? make_encrypted(c, &at, o, &m, r, p) : make_image(at.root, &at, NULL, o, &m, r, p);
	if (!err)
		err = image_hash_file(at.kernel, m.kernel, p);
	if (!err)
		err = image_hash_file(at.init, m.init, p);
	if (err)
		goto out;
	config_json(c, &json);
	manifest_measure(json.data, json.len, m.config);
	measured_options(c, &m);
	manifest_write(&m, &text);
	manifest_measure(text.data, text.len, measurement);
	hex_text(r->measurement, measurement, sizeof(measurement));
	err = text_write_file(at.manifest, text.data, text.len, p);
	if (!err)
		err = write_stamp(at.stamp, inputs, at.image, at.manifest, p);
out:
	text_free(&json);
	text_free(&text);
	free_places(&at);
	return err;
}
