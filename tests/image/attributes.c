// SPDX-License-Identifier: Apache-2.0
// Owners, modes and extended attributes of imported files: from tar files and folders into the list beside them, what replaces and removes
// files on the way, the list's text, and an image that has them, as erofs-utils read it.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/attributes.h"
#include "image/build.h"
#include "tests/folder.h"
#include "tests/image/import.h"
#include "tests/image/unit.h"

// ---- tar files ----

struct member {
	char type;
	const char *name, *link, *content;
	unsigned int mode;
	const char *uid, *gid;		// as they stand in the header: octal, or base-256 of 8 bytes that begins with \x80 or \xff
	const char *pax;		// "key=value\n" each, the values without newlines
};

static void put_header(struct text *t, const struct member *m, size_t size)
{
	char h[512] = {0};
	unsigned int sum = 0;

	memcpy(h, m->name, strnlen(m->name, 100));
	snprintf(h + 100, 8, "%07o", m->mode);
	memcpy(h + 108, m->uid ? m->uid : "0000000", 8);
	memcpy(h + 116, m->gid ? m->gid : "0000000", 8);
	snprintf(h + 124, 12, "%011o", (unsigned int)size);
	snprintf(h + 136, 12, "%011o", 315619200);
	memset(h + 148, ' ', 8);
	h[156] = m->type;
	if (m->link)
		memcpy(h + 157, m->link, strnlen(m->link, 100));
	memcpy(h + 257, "ustar\0" "00", 8);
	for (int i = 0; i < 512; i++)
		sum += (unsigned char)h[i];
	snprintf(h + 148, 7, "%06o", sum);
	text_add(t, h, 512);
}

static void put_content(struct text *t, const char *content, size_t n)
{
	static const char zero[512];

	text_add(t, content, n);
	text_add(t, zero, (512 - n % 512) % 512);
}

static void put(struct text *t, const struct member *m)
{
	size_t size = m->content ? strlen(m->content) : 0;
	struct text pax = {0};

	for (const char *at = m->pax, *end; at && *at; at = end + 1) {
		size_t n = (size_t)((end = strchr(at, '\n')) - at) + 2, all = n; // the length counts itself

		while (all != n + (size_t)snprintf(NULL, 0, "%zu", all))
			all = n + (size_t)snprintf(NULL, 0, "%zu", all);
		text_printf(&pax, "%zu %.*s\n", all, (int)(end - at), at);
	}
	if (pax.len) {
		put_header(t, &(struct member){.type = 'x', .name = "pax"}, pax.len);
		put_content(t, pax.data, pax.len);
	}
	text_free(&pax);
	put_header(t, m, size);
	if (size)
		put_content(t, m->content, size);
}

static char *save(struct text *t, const char *name)
{
	char *path = xasprintf("%s/%s", top, name);
	static const char zero[1024];
	struct fault f;

	text_add(t, zero, sizeof(zero));
	text_write_file(path, t->data, t->len, &f);
	text_free(t);
	*t = (struct text){0};
	return path;
}

static int import_for(const char *from, bool all_root, struct rootfs_result *r, struct fault *f)
{
	return import(from, (struct rootfs_options){.limits = {1 << 22, 1000, 1 << 18}, .platform = "linux/amd64", .all_root = all_root}, r, f);
}

static int import_tar(struct text *t, bool all_root, struct rootfs_result *r, struct fault *f)
{
	char *tar = save(t, "a.tar");
	int err = import_for(tar, all_root, r, f);

	free(tar);
	return err;
}

// The list without its first two lines.
static bool lists(const char *want)
{
	char *path = xasprintf("%s" ATTRIBUTES_FILE, root);
	struct text t = {0};
	struct fault f = {0};
	const char *rows;
	bool same;

	if (text_read_file(&t, path, 1 << 20, &f))
		rows = "";
	else
		rows = strchr(strchr(t.data, '\n') + 1, '\n') + 1;
	same = !strcmp(rows, want);
	if (!same)
		printf("# %s\n", rows);
	text_free(&t);
	free(path);
	return same;
}

static void tar_files(void)
{
	struct rootfs_result r = {0};
	struct fault f = {0};
	struct text t = {0};

	for (int all_root = 0; all_root < 2; all_root++) {
		put(&t, &(struct member){'5', "./", .mode = 0700, .pax = "SCHILY.xattr.user.lost=x\n"});
		put(&t, &(struct member){'5', "usr/bin/", .mode = 0755});
		put(&t, &(struct member){'2', "bin", "usr/bin", .mode = 0777});
		put(&t, &(struct member){'0', "bin/su", .content = "su", .mode = 04755}); // through the link: listed where it is
		put(&t, &(struct member){'1', "bin/again", "usr/bin/su", .mode = 0644});
		put(&t, &(struct member){'0', "var/a file", .content = "x", .mode = 0640, .uid = "0000041", .gid = "0000042"});
		put(&t, &(struct member){'0', "var/far", .content = "x", .mode = 0644, .uid = "\x80\0\0\0\0\x01\x11\x70"});
		put(&t, &(struct member){'0', "var/pax", .content = "x", .mode = 0644, .pax = "uid=80000\ngid=4294967294\n"});
		put(&t, &(struct member){'2', "var/link", "far", .mode = 0777, .uid = "0000005"});
		put(&t, &(struct member){'0', "bin/ping", .content = "x", .mode = 0755, .pax =
			"SCHILY.xattr.user.b=second\nSCHILY.xattr.user.a=first\nLIBARCHIVE.xattr.user.a=Zmlyc3Q\nSCHILY.xattr.security.selinux=label\n"
			"SCHILY.xattr.trusted.overlay.opaque=y\nSCHILY.xattr.strange=1\n"});
		put(&t, &(struct member){'0', "var/twice", .content = "x", .mode = 0600, .uid = "0000041"});
		put(&t, &(struct member){'0', "var/twice", .content = "x", .mode = 0644});
		put(&t, &(struct member){'0', "var/changes", .content = "x", .mode = 0600, .uid = "0000041"});
		put(&t, &(struct member){'5', "var/changes", .mode = 0755});
		unit_check(!import_tar(&t, all_root, &r, &f), all_root ? "tar_all_root" : "tar", f.text);
		if (all_root)
			unit_check(lists(""), "tar_all_root_list", "");
		else
			unit_check(lists(". type=dir uid=0 gid=0 mode=0700\n"
					 "./usr/bin/again type=file uid=0 gid=0 mode=4755\n"
					 "./usr/bin/ping type=file uid=0 gid=0 mode=0755 xattr.user.a=Zmlyc3Q= xattr.user.b=c2Vjb25k\n"
					 "./usr/bin/su type=file uid=0 gid=0 mode=4755\n"
					 "./var/a\\040file type=file uid=33 gid=34 mode=0640\n"
					 "./var/far type=file uid=70000 gid=0 mode=0644\n"
					 "./var/link type=link uid=5 gid=0\n"
					 "./var/pax type=file uid=80000 gid=4294967294 mode=0644\n"), "tar_list", "");
		unit_check(r.owners == 6 && r.set_id == 1 && r.attributes == 1 && r.lost == 2, "tar_counts", "");
		rootfs_result_free(&r);
	}
}

static void refused(const char *name, const struct member *m, int want, const char *words)
{
	struct rootfs_result r = {0};
	struct fault f = {0};
	struct text t = {0};
	int err;

	put(&t, m);
	err = import_tar(&t, false, &r, &f);
	unit_check(err == want && strstr(f.text, words), name, err ? f.text : "accepted");
	rootfs_result_free(&r);
}

static void hostile(void)
{
	static const char *const names[] = {"a", "b", "c", "d", "e"};
	struct rootfs_result r = {0};
	struct fault f = {0};
	struct text t = {0};
	char *many;
	char *large = xasprintf("SCHILY.xattr.user.a=%065000d\nSCHILY.xattr.user.b=%0600d\n", 1, 1), *huge = xasprintf("SCHILY.xattr.user.a=%065536d\n", 1);

	refused("tar_negative_owner", &(struct member){'0', "x", .uid = "\xff\xff\xff\xff\xff\xff\xff\xfe"}, -EINVAL, "which no system has");
	refused("tar_nobody", &(struct member){'0', "x", .pax = "uid=4294967295\n"}, -EINVAL, "which no system has");
	refused("tar_wide_group", &(struct member){'0', "x", .pax = "gid=8589934592\n"}, -EINVAL, "which no system has");
	refused("tar_two_values", &(struct member){'0', "x", .pax = "SCHILY.xattr.user.a=first\nLIBARCHIVE.xattr.user.a=eA\n"}, -EINVAL, "two values");
	refused("tar_xattrs_too_large", &(struct member){'0', "x", .pax = large}, -E2BIG, "too large");
	many = xasprintf("SCHILY.xattr.user.a=%060000d\n", 1);
	for (int i = 0; i < 5; i++)
		put(&t, &(struct member){'0', names[i], .pax = many});
	unit_check(import_tar(&t, false, &r, &f) == -E2BIG && strstr(f.text, "--all-root"), "tar_xattrs_of_all", f.text);
	rootfs_result_free(&r);
	for (int i = 0; i < 5; i++)
		put(&t, &(struct member){'0', names[i], .pax = many});
	unit_check(!import_tar(&t, true, &r, &f), "tar_xattrs_left_out", f.text);
	rootfs_result_free(&r);
	free(many);
	refused("tar_xattr_too_large", &(struct member){'0', "x", .pax = huge}, -E2BIG, "too large");
	free(large);
	free(huge);
}

// What was removed leaves nothing to what comes in its place, whatever inode number that gets.
static void forgotten(void)
{
	struct rootfs_result r = {0};
	struct fault f = {0};
	struct text t = {0};

	for (int i = 0; i < 20; i++) {
		char name[32], inner[32];

		snprintf(name, sizeof(name), "d%d", i);
		snprintf(inner, sizeof(inner), "d%d/x", i);
		put(&t, &(struct member){'5', name, .mode = 0700, .uid = "0000041"});
		put(&t, &(struct member){'0', inner, .content = "x", .mode = 0600, .uid = "0000041"});
		put(&t, &(struct member){'2', name, "elsewhere", .mode = 0777});	// the folder goes
		snprintf(inner, sizeof(inner), "e%d/deep/x", i);
		put(&t, &(struct member){'0', inner, .content = "x", .mode = 0644});	// folders of which the archive has no entry
	}
	unit_check(!import_tar(&t, false, &r, &f) && lists(""), "removed_is_forgotten", f.text);
	rootfs_result_free(&r);
	// A list that the archive brings by way of a link is none.
	put(&t, &(struct member){'5', "a", .mode = 0755});
	put(&t, &(struct member){'2', "a/way", "../.coffer", .mode = 0777});
	put(&t, &(struct member){'0', "a/way/attributes", .content = "./a type=dir uid=7 mode=0755\n", .mode = 0644});
	unit_check(!import_tar(&t, false, &r, &f) && lists(""), "no_list_from_the_archive", f.text);
	rootfs_result_free(&r);
}

// Layers: what a later one says of a folder counts, and what it hides is forgotten.
static void layers(void)
{
	static const struct member first[] = {
		{'5', "a", .mode = 0700, .uid = "0000041"}, {'0', "a/x", .content = "x", .mode = 0600}, {'0', "gone", .content = "x", .mode = 0600},
		{'5', "hidden", .mode = 0700}, {'0', "hidden/x", .content = "x", .mode = 04755}, {'0', "linked", .content = "x", .mode = 02755},
		{'1', "other", "linked", .mode = 02755}, {'5', "opaque", .mode = 01777}, {'0', "opaque/x", .content = "x", .mode = 0600},
	}, second[] = {
		{'5', "a", .mode = 0755, .gid = "0000041"}, {'0', ".wh.gone", .mode = 0600, .uid = "0000007"}, {'0', ".wh.hidden", .mode = 0600},
		{'0', ".wh.linked", .mode = 0600}, {'0', "hidden/new", .content = "x", .mode = 0644}, {'0', "opaque/.wh..wh..opq", .mode = 0600},
		{'0', "opaque/y", .content = "y", .mode = 0640},
	};
	struct attributes_map map = {0};
	struct rootfs_result r = {0};
	struct fault f = {0};
	struct text t[2] = {{0}, {0}};
	struct tree tree;
	int err;

	for (size_t i = 0; i < sizeof(first) / sizeof(*first); i++)
		put(&t[0], first + i);
	for (size_t i = 0; i < sizeof(second) / sizeof(*second); i++)
		put(&t[1], second + i);
	free(root);
	root = xasprintf("%s/layers", top);
	err = tree_open(&tree, root, &f);
	tree.attributes = &map;
	for (int i = 0; i < 2 && !err; i++) {
		struct rootfs_writer w = {.tree = &tree, .limits = {1 << 20, 1000, 0}, .result = &r, .layer = true};

		put_content(&t[i], (char[1024]){0}, 1024);
		err = rootfs_tar_walk_memory(t[i].data, t[i].len, rootfs_whiteout, &w, &f);
		if (!err)
			err = rootfs_tar_walk_memory(t[i].data, t[i].len, rootfs_write, &w, &f);
		text_free(&t[i]);
	}
	if (!err)
		err = attributes_write(&map, &tree, &f);
	unit_check(!err && lists("./a type=dir uid=0 gid=33 mode=0755\n./a/x type=file uid=0 gid=0 mode=0600\n./opaque/y type=file uid=0 gid=0 mode=0640\n"
				 "./other type=file uid=0 gid=0 mode=2755\n"), "layers", f.text);
	attributes_free(&map);
	tree_close(&tree);
	rootfs_result_free(&r);
}

static void folders(void)
{
	char *from = xasprintf("%s/from", top), *name = xasprintf("%s/file", from), *inner = xasprintf("%s/inner", from);
	struct rootfs_result r = {0};
	struct fault f = {0};

	mkdir(from, 0755);
	chmod(from, 0755);
	mkdir(inner, 0755);
	chmod(inner, 01777);
	text_write_file(name, "text", 4, &f);
	chmod(name, 04750);
	unit_check(!import_for(from, false, &r, &f) && lists("./file type=file uid=0 gid=0 mode=4750\n./inner type=dir uid=0 gid=0 mode=1777\n"), "folder",
		   f.text);
	rootfs_result_free(&r);
	if (!geteuid() && !chown(name, 33, 44)) {
		chmod(name, 0644);
		unit_check(!import_for(from, false, &r, &f) && lists("./file type=file uid=33 gid=44 mode=0644\n./inner type=dir uid=0 gid=0 mode=1777\n"),
			   "folder_owners", f.text);
		rootfs_result_free(&r);
		chown(from, 33, 44);
		unit_check(!import_for(from, false, &r, &f) && !r.owners && lists("./inner type=dir uid=0 gid=0 mode=1777\n"), "folder_of_a_user", f.text);
		rootfs_result_free(&r);
	} else {
		printf("skip folder_owners: not root\n");
	}
	free(from);
	free(name);
	free(inner);
}

// ---- the text ----

static void texts(void)
{
	static const char *const bad[] = {
		"x type=file mode=0644", "/x type=file mode=0644", "./ type=dir mode=0755", "./a//b type=file mode=0644", "./a/../b type=file mode=0644",
		"./. type=file mode=0644", "./a/ type=dir mode=0755", "./a\\08x type=file mode=0644", "./a\\000 type=file mode=0644", "./a\\777 type=file mode=0644",
		"./a\\04", "./\x01 type=file mode=0644", "./.coffer type=dir mode=0755", "./.coffer/init type=file mode=0755", "./a", "./a mode=0644", "./a type=pipe mode=0644",
		"./a type=file", "./a type=link mode=0777", "./a type=file mode=0644 mode=0644", "./a type=file mode=0648", "./a type=file mode=10000",
		"./a type=file mode=0644 uid=-1", "./a type=file mode=0644 uid=4294967295", "./a type=file mode=0644 uid=99999999999", "./a type=file mode=0644 gid=",
		"./a type=file mode=0644 gid", "./a  type=file mode=0644", "./a type=file mode=0644 ", "./a type=file mode=0644 xattr.=QQ==",
		"./a type=file mode=0644 xattr.user.=QQ==", "./a type=file mode=0644 xattr.system.a=QQ==", "./a type=file mode=0644 xattr.user.a=Q",
		"./a type=file mode=0644 xattr.user.a=Q!==", "./a type=file mode=0644 xattr.user.a=QQ== xattr.user.a=Qg==", ". type=file mode=0755",
		". type=dir mode=0755 xattr.user.a=QQ==", "./a type=file mode=0644\n./a type=file mode=0644",
	};
	static const char good[] = "#mtree\n\n./b\\012\\134c uid=4294967294 mode=7777 gid=1 type=dir xattr.user.a\\075b= xattr.trusted.x=AAE=\n./a type=link\n. type=dir mode=0700";
	struct attributes_row *row;
	struct attributes_list l;
	struct fault f = {0};
	char name[32];

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		int err = attributes_parse(&l, bad[i], strlen(bad[i]), &f);

		snprintf(name, sizeof(name), "text_bad_%zu", i);
		unit_check(err == -EINVAL && (strstr(f.text, "line 1 ") || strstr(f.text, "two lines")), name, err ? f.text : bad[i]);
		if (!err)
			attributes_list_free(&l);
	}
	unit_check(!attributes_parse(&l, good, strlen(good), &f) && l.count == 3, "text_good", f.text);
	row = attributes_find(&l, "/b\n\\c");
	unit_check(row && row->a.kind == 'd' && row->a.uid == 4294967294 && row->a.gid == 1 && row->a.mode == 07777 && row->a.xattr_count == 2 &&
			   !strcmp(row->a.xattrs[0].name, "trusted.x") && row->a.xattrs[0].len == 2 && !memcmp(row->a.xattrs[0].value, "\0\1", 2) &&
			   !strcmp(row->a.xattrs[1].name, "user.a=b") && !row->a.xattrs[1].len, "text_row", "");
	unit_check(attributes_find(&l, "/") && attributes_find(&l, "/a") && !attributes_find(&l, "/b") && attributes_wide(&l), "text_find", "");
	attributes_list_free(&l);
}

// ---- the image ----

// What dump.erofs says of a file: "UID GID MODE XATTR-BYTES".
static bool image_has(const char *image, const char *path, const char *want)
{
	char *command = xasprintf("dump.erofs --path='%s' %s | sed -nE 's/.*Xattr size: ([0-9]+).*/x\\1/p; "
				  "s/^Uid: ([0-9]+) +Gid: ([0-9]+) +Access: ([0-7]+).*/\\1 \\2 \\3/p' | tr '\\n' ' '", path, image);
	FILE *p = popen(command, "r");
	char said[100] = "";

	if (p) {
		if (!fgets(said, sizeof(said), p))
			said[0] = '\0';
		pclose(p);
	}
	free(command);
	if (strcmp(said, want))
		printf("# %s: %s\n", path, said);
	return !strcmp(said, want);
}

static void put_file(const char *folder, const char *name, size_t size)
{
	char *path = xasprintf("%s/%s", folder, name), *content = xmalloc(size + 1);
	struct fault f;

	memset(content, name[0], size);
	text_write_file(path, content, size, &f);
	free(content);
	free(path);
}

static char *make_tree(const char *name, bool backwards, const char *list)
{
	char *tree = xasprintf("%s/%s", top, name), *inner = xasprintf("%s/inner", tree), *own = xasprintf("%s/.coffer", tree), *path;
	struct fault f;

	mkdir(tree, 0755);
	mkdir(own, 0755);
	mkdir(inner, 0755);
	for (int i = 0; i < 300; i++) { // a folder of several blocks, and contents with tails of all lengths
		int n = backwards ? 299 - i : i;
		char file[32];

		snprintf(file, sizeof(file), "some-longer-name-of-a-file-%d", n);
		put_file(inner, file, (size_t)n * 41);
	}
	path = xasprintf("%s/attributes", own);
	text_write_file(path, list, strlen(list), &f);
	free(path);
	free(own);
	free(inner);
	return tree;
}

static void images(void)
{
	struct text list = {0}, again[2] = {{0}, {0}};
	struct image_attributes said;
	struct fault f = {0};
	char *image = xasprintf("%s/image", top), *tree, *command = xasprintf("fsck.erofs %s >/dev/null 2>&1", image);

	for (int wide = 0; wide < 2; wide++) {
		text_puts(&list, ". type=dir mode=0711 uid=1\n./inner type=dir gid=50 mode=2775 xattr.user.dir=QUJD\n"
				 "./gone type=file mode=0600\n./inner/some-longer-name-of-a-file-3 type=dir mode=0700\n");
		for (int i = 0; i < 300; i += 7) {
			text_printf(&list, "./inner/some-longer-name-of-a-file-%d type=file uid=%d mode=%04o", i, wide ? 70000 + i : i, i % 2 ? 0640 : 04755);
			for (int k = 0; k < i % 5; k++) {
				text_printf(&list, " xattr.%s.x%d=", k % 2 ? "user" : "security", k);
				for (int n = 0; n < i % 90; n++)
					text_puts(&list, "QUJD");
			}
			text_puts(&list, "\n");
		}
		for (int backwards = 0; backwards < 2; backwards++) {
			char *name = xasprintf("tree-%d-%d", wide, backwards);

			tree = make_tree(name, backwards, list.data);
			unit_check(!image_mkfs(tree, image, &said, &f) && said.set == 45 && said.stale == 2, wide ? "image_wide" : "image", f.text);
			text_read_file(&again[backwards], image, 1 << 26, &f);
			free(tree);
			free(name);
		}
		unit_check(again[0].len && again[0].len == again[1].len && !memcmp(again[0].data, again[1].data, again[0].len), "image_same_bytes", "");
		unit_check(!system(command), "image_fsck", "fsck.erofs finds fault with it");
		unit_check(image_has(image, "/inner", "x24 0 50 0775 ") && image_has(image, "/", "x0 1 0 0711 ") && // dump.erofs does not show set-id bits
				   image_has(image, "/inner/some-longer-name-of-a-file-35", wide ? "x0 70035 0 0640 " : "x0 35 0 0640 ") &&
				   image_has(image, "/inner/some-longer-name-of-a-file-14", wide ? "x204 70014 0 0755 " : "x204 14 0 0755 ") &&
				   image_has(image, "/inner/some-longer-name-of-a-file-3", "x0 0 0 0644 "), "image_has_them", "");
		text_free(&list);
		list = (struct text){0};
		for (int i = 0; i < 2; i++) {
			text_free(&again[i]);
			again[i] = (struct text){0};
		}
	}
	free(command);
	free(image);
}

int main(void)
{
	if (!test_folder(top, "attributes"))
		return 1;
	tar_files();
	hostile();
	forgotten();
	layers();
	folders();
	texts();
	images();
	free(root);
	return unit_failed;
}
