// SPDX-License-Identifier: Apache-2.0
// The hash tree against known roots, against veritysetup where it is installed, and with every kind of damage.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/hashtree.h"
#include "image/text.h"
#include "tests/image/unit.h"
#include "tests/folder.h"

enum { BLOCK = HASHTREE_BLOCK };

static char folder[64];

// Block i is filled with bytes made from i, so that no two blocks are alike.
static int make_file(char path[96], uint64_t blocks)
{
	uint8_t block[BLOCK];
	int fd;

	snprintf(path, 96, "%s/blocks", folder);
	fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	for (uint64_t i = 0; fd >= 0 && i < blocks; i++) {
		for (int k = 0; k < BLOCK; k++)
			block[k] = (uint8_t)(i * 31 + (i >> 8) + (uint64_t)k * 7);
		if (write(fd, block, BLOCK) != BLOCK) {
			close(fd);
			return -1;
		}
	}
	return fd;
}

static void known(const char *name, uint64_t blocks, const char *expected)
{
	uint8_t root[32];
	char path[96], hex[65] = "no file";
	struct fault f = {0};
	int fd = make_file(path, blocks);

	if (fd >= 0 && !hashtree_write(fd, path, blocks, root, &f))
		hex_text(hex, root, 32);
	unit_check(!strcmp(hex, expected), name, hex);
	unlink(path);
	close(fd);
}

static void compare_with_veritysetup(uint64_t blocks)
{
	char path[96], tree[112], command[512], line[256], hex[65], name[64], *found = NULL;
	struct fault f = {0};
	uint8_t root[32];
	FILE *pipe;
	int fd;

	snprintf(name, sizeof(name), "hashtree_veritysetup_%llu", (unsigned long long)blocks);
	if (access("/usr/sbin/veritysetup", X_OK) < 0 && access("/sbin/veritysetup", X_OK) < 0) {
		printf("skip %s: veritysetup (cryptsetup-bin) is not installed\n", name);
		return;
	}
	fd = make_file(path, blocks);
	snprintf(tree, sizeof(tree), "%s.tree", path);
	snprintf(command, sizeof(command),
		 "PATH=/usr/sbin:/sbin:$PATH veritysetup format --no-superblock --salt=- --hash=sha256 --data-block-size=4096 "
		 "--hash-block-size=4096 %s %s 2>&1", path, tree);
	pipe = popen(command, "r");
	while (pipe && fgets(line, sizeof(line), pipe))
		if (starts_with(line, "Root hash:"))
			found = strdup(line + 10 + strspn(line + 10, " \t"));
	if (pipe)
		pclose(pipe);
	if (!found) {
		unit_check(false, name, "veritysetup gave no root hash");
	} else {
		found[strcspn(found, "\n")] = '\0';
		unit_check(!hashtree_write(fd, path, blocks, root, &f) && !strcmp(hex_text(hex, root, 32), found), name, found);
	}
	free(found);
	unlink(path);
	unlink(tree);
	close(fd);
}

static void flip(int fd, off_t at)
{
	uint8_t byte = 0;

	if (pread(fd, &byte, 1, at) != 1)
		return;
	byte ^= 1;
	if (pwrite(fd, &byte, 1, at) != 1)
		printf("not ok hashtree_flip: cannot write\n");
}

static void damage(void)
{
	const uint64_t blocks = 300;
	struct fault f = {0};
	uint8_t root[32];
	bool good = true;
	char path[96];
	int fd = make_file(path, blocks);
	off_t end = (off_t)(blocks + hashtree_blocks(blocks)) * BLOCK;

	if (hashtree_write(fd, path, blocks, root, &f)) {
		unit_check(false, "hashtree_damage", f.text);
		return;
	}
	unit_check(!hashtree_check(fd, path, blocks, root, &f), "hashtree_check_good", f.text);
	for (off_t at = 0; at < (off_t)blocks * BLOCK; at += 37 * BLOCK + 11) {
		flip(fd, at);
		good &= hashtree_check(fd, path, blocks, root, &f) == -EBADMSG;
		flip(fd, at);
	}
	unit_check(good, "hashtree_flipped_data", "a flipped bit of the data was not seen");
	good = true;
	for (off_t at = (off_t)blocks * BLOCK; at < end; at += 32) {
		flip(fd, at);
		good &= hashtree_check(fd, path, blocks, root, &f) < 0;
		flip(fd, at);
	}
	unit_check(good, "hashtree_flipped_tree", "a flipped bit of the tree was not seen");
	flip(fd, 5 * BLOCK);
	hashtree_check(fd, path, blocks, root, &f);
	unit_check(strstr(f.text, "block 5 "), "hashtree_names_block", f.text);
	flip(fd, 5 * BLOCK);
	root[0] ^= 1;
	unit_check(hashtree_check(fd, path, blocks, root, &f) == -EBADMSG && strstr(f.text, "manifest says"), "hashtree_wrong_root",
		   f.text);
	root[0] ^= 1;
	if (ftruncate(fd, end - BLOCK) == 0)
		unit_check(hashtree_check(fd, path, blocks, root, &f) < 0 && strstr(f.text, "cut short"), "hashtree_cut", f.text);
	unit_check(hashtree_write(fd, path, 1, root, &f) == -EINVAL, "hashtree_empty", f.text);
	unlink(path);
	close(fd);
}

int main(void)
{
	if (!test_folder(folder, "hashtree"))
		return 1;
	unit_check(hashtree_blocks(1) == 1 && hashtree_blocks(128) == 1 && hashtree_blocks(129) == 3 &&
			   hashtree_blocks(128 * 128) == 129 && hashtree_blocks(128 * 128 + 1) == 129 + 1 + 2,
		   "hashtree_sizes", "the size of a tree is wrong");
	known("hashtree_known_2", 2, "a3e47c162c8cb293b7b1334a08fa5c4f0e8f8be6cde11b08a05eb156616e8214");
	known("hashtree_known_129", 129, "8b70521295b868ce93a7026fdd7122813ef6193fd2cb4b1f6214f91ca95f6c79");
	compare_with_veritysetup(2);
	compare_with_veritysetup(128);
	compare_with_veritysetup(129);
	compare_with_veritysetup(16385);
	damage();
	return unit_failed;
}
