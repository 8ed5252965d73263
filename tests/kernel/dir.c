// SPDX-License-Identifier: Apache-2.0
// Directories and names: listing, links, symbolic links, rename, removal, working directory.
#include <limits.h>

#include "tests/kernel/t.h"

struct linux_dirent64 {
	uint64_t d_ino;
	int64_t d_off;
	uint16_t d_reclen;
	uint8_t d_type;
	char d_name[];
};

static int count(const char *path)
{
	DIR *d = opendir(path);
	int n = 0;
	if (!d)
		t_fail(__LINE__, "opendir(%s): errno %d", path, errno);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2; // . and ..
}

TEST_DIR(mkdir_rmdir)
{
	OK(mkdir("d", 0755));
	ERR(mkdir("d", 0755), EEXIST);
	OK(rmdir("d"));
	ERR(rmdir("d"), ENOENT);
	ERR(mkdir("a/b", 0755), ENOENT);
	t_put("f", "x");
	ERR(mkdir("f", 0755), EEXIST);
	ERR(mkdir("f/d", 0755), ENOTDIR);
	ERR(rmdir("f"), ENOTDIR);
	OK(mkdir("e/", 0755));
	OK(rmdir("e/"));
}

TEST_DIR(rmdir_not_empty)
{
	OK(mkdir("d", 0755));
	t_put("d/f", "x");
	ERR(rmdir("d"), ENOTEMPTY);
	ERR(unlink("d"), EISDIR);
	OK(unlink("d/f"));
	OK(rmdir("d"));
	ERR(rmdir("."), EINVAL);
	OK(mkdir("d", 0755));
	ERR(rmdir("d/."), EINVAL);
	ERR(rmdir("d/.."), ENOTEMPTY);
}

TEST_DIR(list_all_names)
{
	char name[16];
	bool seen[300] = {false};
	for (int i = 0; i < 300; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		t_put(name, "");
	}
	DIR *d = opendir(".");
	CHECK(d);
	int n = 0, dots = 0;
	struct dirent *e;
	while ((e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")) {
			dots++;
			continue;
		}
		int k = atoi(e->d_name + 1);
		CHECK(e->d_name[0] == 'f' && k >= 0 && k < 300 && !seen[k]);
		seen[k] = true;
		n++;
	}
	EQ(n, 300);
	EQ(dots, 2);
	rewinddir(d);
	CHECK(readdir(d));
}

// Each removal used to look at all names: this took ten seconds
TEST_DIR(very_many_names)
{
	char name[16];
	int n = 0;

	for (int i = 0; i < 150000; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0600);
		CHECK(fd >= 0);
		close(fd);
	}
	for (int i = 0; i < 150000; i += i % 3 ? 1 : 2) {
		snprintf(name, sizeof(name), "f%d", i);
		OK(unlink(name));
	}
	DIR *d = opendir(".");
	CHECK(d);
	for (struct dirent *e; (e = readdir(d));) {
		if (e->d_name[0] != 'f')
			continue;
		EQ(atoi(e->d_name + 1) % 3, 1);
		OK(unlink(e->d_name));
		n++;
	}
	EQ(n, 50000);
	closedir(d);
	snprintf(name, sizeof(name), "last");
	t_put(name, "");
	OK(unlink(name));
}

TEST_DIR(list_types_and_inodes)
{
	struct stat st;
	t_put("f", "x");
	OK(mkdir("d", 0755));
	OK(symlink("f", "l"));
	OK(mkfifo("p", 0600));
	DIR *d = opendir(".");
	struct dirent *e;
	while ((e = readdir(d))) {
		int want = e->d_name[0] == 'f' ? DT_REG : e->d_name[0] == 'l' ? DT_LNK :
			   e->d_name[0] == 'p' ? DT_FIFO : DT_DIR;
		CHECK(e->d_type == want || e->d_type == DT_UNKNOWN);
		if (e->d_name[0] == 'f') {
			OK(stat("f", &st));
			EQ(st.st_ino, e->d_ino);
		}
	}
}

TEST_DIR(getdents_small_buffer)
{
	char buf[64];
	int n = 0;
	long r;
	t_put("a", "");
	t_put("b", "");
	t_put("c", "");
	int fd = OK(open(".", O_RDONLY | O_DIRECTORY));
	while ((r = OK(syscall(SYS_getdents64, fd, buf, sizeof(buf)))) > 0)
		for (long o = 0; o < r; o += ((struct linux_dirent64 *)(void *)(buf + o))->d_reclen)
			n++;
	EQ(n, 5);
	EQ(lseek(fd, 0, SEEK_SET), 0);
	ERR(syscall(SYS_getdents64, fd, buf, 8), EINVAL);
	int f = OK(open("a", O_RDONLY));
	ERR(syscall(SYS_getdents64, f, buf, sizeof(buf)), ENOTDIR);
}

TEST_DIR(telldir_seekdir)
{
	char name[16], want[300];
	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "n%d", i);
		t_put(name, "");
	}
	DIR *d = opendir(".");
	for (int i = 0; i < 20; i++)
		CHECK(readdir(d));
	long pos = telldir(d);
	snprintf(want, sizeof(want), "%s", readdir(d)->d_name);
	while (readdir(d))
		;
	seekdir(d, pos);
	STREQ(readdir(d)->d_name, want);
}

TEST_DIR(remove_while_listing)
{
	// rm -r: every name is seen although names vanish on the way.
	char name[16];
	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "f%d", i);
		t_put(name, "");
	}
	DIR *d = opendir(".");
	struct dirent *e;
	int n = 0;
	while ((e = readdir(d)))
		if (e->d_name[0] == 'f') {
			OK(unlink(e->d_name));
			n++;
		}
	EQ(n, 500);
	EQ(count("."), 0);
}

TEST_DIR(list_of_removed_directory)
{
	OK(mkdir("d", 0755));
	DIR *d = opendir("d");
	OK(rmdir("d"));
	CHECK(!readdir(d));
}

TEST_DIR(directory_link_counts)
{
	struct stat st;
	OK(mkdir("d", 0755));
	OK(stat("d", &st));
	EQ(st.st_nlink, 2);
	OK(mkdir("d/e", 0755));
	OK(stat("d", &st));
	EQ(st.st_nlink, 3);
	OK(rmdir("d/e"));
	OK(stat("d", &st));
	EQ(st.st_nlink, 2);
}

TEST_DIR(hard_links)
{
	struct stat st;
	t_put("a", "abc");
	OK(link("a", "b"));
	OK(stat("a", &st));
	EQ(st.st_nlink, 2);
	t_put("b", "changed");
	STREQ(t_get("a"), "changed");
	OK(unlink("a"));
	STREQ(t_get("b"), "changed");
	OK(stat("b", &st));
	EQ(st.st_nlink, 1);
	ERR(link("b", "b"), EEXIST);
	ERR(link("no", "c"), ENOENT);
	OK(mkdir("d", 0755));
	ERR(link("d", "e"), EPERM);
}

TEST_DIR(linkat_of_symlink)
{
	struct stat st;
	t_put("f", "x");
	OK(symlink("f", "l"));
	OK(link("l", "m"));
	OK(lstat("m", &st));
	CHECK(S_ISLNK(st.st_mode));
	OK(linkat(AT_FDCWD, "l", AT_FDCWD, "n", AT_SYMLINK_FOLLOW));
	OK(lstat("n", &st));
	CHECK(S_ISREG(st.st_mode));
}

TEST_DIR(symlinks)
{
	char buf[64] = "";
	t_put("f", "abc");
	OK(symlink("f", "l"));
	STREQ(t_get("l"), "abc");
	EQ(readlink("l", buf, sizeof(buf)), 1);
	STREQ(buf, "f");
	EQ(readlink("l", buf, 1), 1);
	ERR(readlink("f", buf, sizeof(buf)), EINVAL);
	ERR(readlink("no", buf, sizeof(buf)), ENOENT);
	ERR(symlink("x", "l"), EEXIST);
	ERR(symlink("", "m"), ENOENT);
	OK(unlink("l"));
	STREQ(t_get("f"), "abc");
}

TEST_DIR(symlink_chain_and_loop)
{
	char a[16], b[16];
	t_put("l0", "end");
	for (int i = 1; i <= 41; i++) {
		snprintf(a, sizeof(a), "l%d", i - 1);
		snprintf(b, sizeof(b), "l%d", i);
		OK(symlink(a, b));
	}
	STREQ(t_get("l40"), "end");
	ERR(open("l41", O_RDONLY), ELOOP);
	OK(symlink("x", "y"));
	OK(symlink("y", "x"));
	ERR(open("x", O_RDONLY), ELOOP);
	struct stat st;
	ERR(stat("x", &st), ELOOP);
	OK(lstat("x", &st));
}

TEST_DIR(symlink_dangling)
{
	struct stat st;
	OK(symlink("target", "l"));
	ERR(open("l", O_RDONLY), ENOENT);
	ERR(stat("l", &st), ENOENT);
	close(OK(open("l", O_RDWR | O_CREAT, 0644)));
	OK(stat("target", &st));
	CHECK(S_ISREG(st.st_mode));
}

TEST_DIR(symlink_to_directory)
{
	OK(mkdir("d", 0755));
	t_put("d/f", "in");
	OK(symlink("d", "l"));
	STREQ(t_get("l/f"), "in");
	STREQ(t_get("l/../d/f"), "in");
	ERR(rmdir("l"), ENOTDIR);
	ERR(open("l", O_RDONLY | O_DIRECTORY | O_NOFOLLOW), ENOTDIR);
	OK(open("l/", O_RDONLY | O_DIRECTORY | O_NOFOLLOW));
	OK(mkdir("d/sub", 0755));
	OK(symlink("../f", "d/sub/up"));
	STREQ(t_get("d/sub/up"), "in");
	char cwd[PATH_MAX], abs[PATH_MAX + 8];
	CHECK(getcwd(cwd, sizeof(cwd)));
	snprintf(abs, sizeof(abs), "%s/d/f", cwd);
	OK(symlink(abs, "abs"));
	STREQ(t_get("abs"), "in");
}

TEST_DIR(rename_file)
{
	t_put("a", "A");
	t_put("b", "B");
	OK(rename("a", "c"));
	ERR(open("a", O_RDONLY), ENOENT);
	STREQ(t_get("c"), "A");
	OK(rename("c", "b"));
	STREQ(t_get("b"), "A");
	EQ(count("."), 1);
	ERR(rename("no", "x"), ENOENT);
	OK(rename("b", "b"));
	OK(link("b", "b2"));
	OK(rename("b", "b2")); // same file: nothing happens
	EQ(count("."), 2);
}

TEST_DIR(rename_over_open_file)
{
	char buf[4] = "";
	t_put("old", "old");
	t_put("new", "new");
	int fd = OK(open("old", O_RDONLY));
	OK(rename("new", "old"));
	EQ(read(fd, buf, 3), 3);
	STREQ(buf, "old");
	STREQ(t_get("old"), "new");
}

TEST_DIR(rename_directory)
{
	OK(mkdir("a", 0755));
	OK(mkdir("a/sub", 0755));
	t_put("a/sub/f", "x");
	OK(rename("a", "b"));
	STREQ(t_get("b/sub/f"), "x");
	OK(mkdir("c", 0755));
	OK(rename("b", "c")); // over an empty directory
	STREQ(t_get("c/sub/f"), "x");
	OK(mkdir("e", 0755));
	ERR(rename("e", "c"), ENOTEMPTY);
	t_put("f", "x");
	ERR(rename("f", "e"), EISDIR);
	ERR(rename("e", "f"), ENOTDIR);
	ERR(rename("c", "c/sub/x"), EINVAL);
	OK(rename("c/sub", "sub"));
	char buf[8];
	int d = OK(open("sub/..", O_RDONLY));
	struct stat s1, s2;
	OK(fstat(d, &s1));
	OK(stat(".", &s2));
	EQ(s1.st_ino, s2.st_ino);
	(void)buf;
}

TEST_DIR(renameat2_flags)
{
	t_put("a", "A");
	t_put("b", "B");
	if (syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", 1 /* NOREPLACE */) != -1)
		t_fail(__LINE__, "replaced");
	if (errno == ENOSYS || errno == EINVAL)
		SKIP("no renameat2 here");
	EQ(errno, EEXIST);
	OK(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", 2 /* EXCHANGE */));
	STREQ(t_get("a"), "B");
	STREQ(t_get("b"), "A");
	OK(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "c", 1));
	STREQ(t_get("c"), "B");
	ERR(syscall(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "b", 99), EINVAL);
}

TEST_DIR(rename_symlink_itself)
{
	struct stat st;
	t_put("f", "x");
	OK(symlink("f", "l"));
	OK(rename("l", "m"));
	OK(lstat("m", &st));
	CHECK(S_ISLNK(st.st_mode));
	OK(rename("f", "m"));
	OK(lstat("m", &st));
	CHECK(S_ISREG(st.st_mode));
}

TEST_DIR(unlink_rules)
{
	t_put("f", "x");
	OK(unlink("f"));
	ERR(unlink("f"), ENOENT);
	t_put("f", "x");
	ERR(unlink("f/"), ENOTDIR);
	OK(unlinkat(AT_FDCWD, "f", 0));
	OK(mkdir("d", 0755));
	ERR(unlinkat(AT_FDCWD, "d", 0), EISDIR);
	OK(unlinkat(AT_FDCWD, "d", AT_REMOVEDIR));
	ERR(unlinkat(AT_FDCWD, "d", 0x8000), EINVAL);
}

TEST_DIR(chdir_getcwd)
{
	char a[PATH_MAX], b[PATH_MAX + 8];
	CHECK(getcwd(a, sizeof(a)));
	OK(mkdir("d", 0755));
	OK(chdir("d"));
	snprintf(b, sizeof(b), "%s/d", a);
	char now[PATH_MAX];
	CHECK(getcwd(now, sizeof(now)));
	STREQ(now, b);
	OK(chdir(".."));
	CHECK(getcwd(now, sizeof(now)));
	STREQ(now, a);
	ERR(chdir("no"), ENOENT);
	t_put("f", "x");
	ERR(chdir("f"), ENOTDIR);
	ERR(syscall(SYS_getcwd, now, 2), ERANGE);
	OK(chdir("/"));
	CHECK(getcwd(now, sizeof(now)));
	STREQ(now, "/");
}

TEST_DIR(fchdir_and_rename_of_cwd)
{
	char a[PATH_MAX], now[PATH_MAX], want[PATH_MAX + 8];
	CHECK(getcwd(a, sizeof(a)));
	OK(mkdir("d", 0755));
	int fd = OK(open("d", O_RDONLY));
	OK(fchdir(fd));
	OK(rename("../d", "../e"));
	CHECK(getcwd(now, sizeof(now)));
	snprintf(want, sizeof(want), "%s/e", a);
	STREQ(now, want);
	t_put("f", "x");
	STREQ(t_get("../e/f"), "x");
}

TEST_DIR(removed_cwd)
{
	char now[PATH_MAX];
	OK(mkdir("d", 0755));
	OK(chdir("d"));
	OK(rmdir("../d"));
	ERR(syscall(SYS_getcwd, now, sizeof(now)), ENOENT);
	ERR(open("f", O_RDWR | O_CREAT, 0644), ENOENT);
	OK(chdir(".."));
}

TEST_DIR(deep_tree)
{
	for (int i = 0; i < 60; i++) {
		OK(mkdir("directory", 0755));
		OK(chdir("directory"));
	}
	t_put("f", "deep");
	STREQ(t_get("f"), "deep");
	char now[PATH_MAX];
	CHECK(getcwd(now, sizeof(now)));
	CHECK(strlen(now) > 600);
	int fd = OK(open(now, O_RDONLY));
	struct stat a, b;
	OK(fstat(fd, &a));
	OK(stat(".", &b));
	EQ(a.st_ino, b.st_ino);
}

TEST_DIR(names_of_any_bytes)
{
	static const char *names[] = {"with space", "new\nline", "\303\244\303\266", "\377\376", "-x", "...", ".hidden"};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		t_put(names[i], names[i]);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		STREQ(t_get(names[i]), names[i]);
	EQ(count("."), 7);
}

TEST_DIR(many_files_in_subdirectories)
{
	char p[64];
	for (int i = 0; i < 20; i++) {
		snprintf(p, sizeof(p), "d%d", i);
		OK(mkdir(p, 0755));
		for (int k = 0; k < 30; k++) {
			snprintf(p, sizeof(p), "d%d/f%d", i, k);
			t_put(p, p);
		}
	}
	for (int i = 0; i < 20; i++) {
		snprintf(p, sizeof(p), "d%d", i);
		EQ(count(p), 30);
		snprintf(p, sizeof(p), "d%d/f29", i);
		STREQ(t_get(p), p);
	}
}

TEST_DIR(mknod_fifo_and_unix_name)
{
	struct stat st;
	OK(mknod("p", S_IFIFO | 0600, 0));
	OK(stat("p", &st));
	CHECK(S_ISFIFO(st.st_mode));
	OK(mknod("f", S_IFREG | 0600, 0));
	OK(stat("f", &st));
	CHECK(S_ISREG(st.st_mode));
	ERR(mknod("f", S_IFREG | 0600, 0), EEXIST);
}

TEST_DIR(sticky_and_setgid_bits)
{
	struct stat st;
	OK(mkdir("d", 0755));
	OK(chmod("d", 02755));
	OK(stat("d", &st));
	EQ(st.st_mode & 07777, 02755);
	OK(mkdir("d/e", 0755));
	OK(stat("d/e", &st));
	CHECK(st.st_mode & 02000);
}
