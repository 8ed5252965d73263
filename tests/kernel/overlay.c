// SPDX-License-Identifier: Apache-2.0
// Overlay mounts made by programs, in a mount namespace of the case's own. Natively they want CAP_SYS_ADMIN.
#include "t.h"
#include <sched.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#ifndef RENAME_WHITEOUT
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#define RENAME_WHITEOUT 4
#endif

// A tmpfs in the current directory, or a sealed volume that is there already (tests/kernel/run -s), with l (below), u, w and m
// (the mount point); working directory is there.
static void layers(void)
{
	struct statfs st;
	if (unshare(CLONE_NEWNS))
		SKIP("no mount namespaces here");
	if (t_root_is_mount_point())
		OK(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	OK(statfs(".", &st));
	if (st.f_type != 0x52464643 && mount("layers", ".", "tmpfs", 0, NULL))
		SKIP("no mounts here");
	char here[4096];
	OK((long)getcwd(here, sizeof(here)));
	OK(chdir("/"));
	OK(chdir(here));
	for (const char *p = "lLuwm"; *p; p++)
		OK(mkdir((char[]){*p, 0}, 0755));
}

static void overlay(const char *options)
{
	if (mount("o", "m", "overlay", 0, options) && errno == EPERM)
		SKIP("no overlay mounts here");
	struct statfs st;
	OK(statfs("m", &st));
	EQ(st.f_type, 0x794c7630);
}

static void set_up(void)
{
	layers();
	t_put("l/file", "below");
	OK(mkdir("l/dir", 0755));
	t_put("l/dir/a", "A");
	t_put("l/dir/b", "B");
	OK(symlink("file", "l/link"));
	overlay("lowerdir=l,upperdir=u,workdir=w");
}

static bool is_whiteout(const char *name)
{
	struct stat st;
	return !lstat(name, &st) && S_ISCHR(st.st_mode) && !st.st_rdev;
}

// The names in a directory, sorted.
static const char *names(const char *dir)
{
	static char all[512];
	struct dirent **e;
	int n = OK(scandir(dir, &e, NULL, alphasort));
	all[0] = 0;
	for (int i = 0; i < n; i++)
		if (e[i]->d_name[0] != '.')
			snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%s", *all ? " " : "", e[i]->d_name);
	return all;
}

TEST_DIR(what_is_below_is_seen)
{
	set_up();
	STREQ(t_get("m/file"), "below");
	STREQ(t_get("m/dir/a"), "A");
	STREQ(t_get("m/link"), "below");
	STREQ(names("m"), "dir file link");
	STREQ(names("u"), "");
}

TEST_DIR(a_write_copies_up)
{
	struct stat a, b;
	set_up();
	OK(chmod("l/file", 0640));
	OK(chown("l/file", 12, 34));
	OK(setxattr("l/file", "user.x", "y", 1, 0));
	struct timespec ts[2] = {{1000, 5}, {2000, 6}};
	OK(utimensat(AT_FDCWD, "l/file", ts, 0));
	OK(stat("m/file", &a));
	int fd = OK(open("m/file", O_WRONLY | O_APPEND));
	OK(stat("u/file", &b));
	EQ(b.st_mode, a.st_mode);
	EQ(b.st_uid, 12);
	EQ(b.st_gid, 34);
	EQ(b.st_mtim.tv_sec, 2000);
	EQ(b.st_mtim.tv_nsec, 6);
	char v;
	EQ(getxattr("u/file", "user.x", &v, 1), 1);
	t_writen(fd, "+", 1);
	OK(close(fd));
	STREQ(t_get("m/file"), "below+");
	STREQ(t_get("u/file"), "below+");
	STREQ(t_get("l/file"), "below");
	OK(stat("m/file", &b));
	EQ(b.st_ino, a.st_ino);
	EQ(b.st_dev, a.st_dev);
	EQ(b.st_size, 6);
}

TEST_DIR(the_number_stays_after_a_new_mount)
{
	struct stat a, b;
	set_up();
	OK(stat("m/dir/a", &a));
	OK(chmod("m/dir/a", 0600));
	OK(umount("m"));
	overlay("lowerdir=l,upperdir=u,workdir=w");
	OK(stat("m/dir/a", &b));
	EQ(b.st_ino, a.st_ino);
	EQ(b.st_mode & 0777, 0600);
	DIR *d = opendir("m/dir");
	for (struct dirent *e; (e = readdir(d));)
		if (!strcmp(e->d_name, "a"))
			EQ(e->d_ino, a.st_ino);
	closedir(d);
}

TEST_DIR(a_reader_from_before_sees_the_copy)
{
	char buf[8] = "";
	set_up();
	int r = OK(open("m/file", O_RDONLY));
	EQ(read(r, buf, 2), 2);
	t_put("m/file", "ABCDE");
	EQ(pread(r, buf, 5, 0), 5);
	STREQ(buf, "ABCDE");
}

TEST_DIR(chmod_copies_the_directories_too)
{
	struct stat st;
	set_up();
	OK(chmod("m/dir", 0711));
	OK(stat("u/dir", &st));
	EQ(st.st_mode & 0777, 0711);
	STREQ(names("u/dir"), "");
	OK(chmod("m/dir/a", 0604));
	STREQ(names("u/dir"), "a");
	STREQ(names("m/dir"), "a b");
	STREQ(t_get("u/dir/a"), "A");
	OK(stat("l/dir", &st));
	EQ(st.st_mode & 0777, 0755);
}

TEST_DIR(unlink_leaves_a_whiteout)
{
	set_up();
	OK(unlink("m/file"));
	ERR(access("m/file", F_OK), ENOENT);
	CHECK(is_whiteout("u/file"));
	STREQ(names("m"), "dir link");
	t_put("m/file", "new");
	STREQ(t_get("u/file"), "new");
	OK(unlink("m/file"));
	CHECK(is_whiteout("u/file"));
	OK(unlink("m/dir/a"));
	CHECK(is_whiteout("u/dir/a"));
	STREQ(names("m/dir"), "b");
	t_put("m/own", "1");
	OK(unlink("m/own"));
	ERR(access("u/own", F_OK), ENOENT);
}

TEST_DIR(a_directory_made_over_a_whiteout_is_opaque)
{
	char v = 0, list[64];
	set_up();
	ERR(rmdir("m/dir"), ENOTEMPTY);
	OK(unlink("m/dir/a"));
	ERR(rmdir("m/dir"), ENOTEMPTY);
	OK(unlink("m/dir/b"));
	OK(rmdir("m/dir"));
	CHECK(is_whiteout("u/dir"));
	STREQ(names("m"), "file link");
	OK(mkdir("m/dir", 0750));
	STREQ(names("m/dir"), "");
	EQ(getxattr("u/dir", "trusted.overlay.opaque", &v, 1), 1);
	EQ(v, 'y');
	EQ(listxattr("m/dir", list, sizeof(list)), 0);
	OK(rmdir("m/dir"));
	CHECK(is_whiteout("u/dir"));
}

TEST_DIR(what_linux_left_is_understood)
{
	layers();
	OK(mkdir("l/d", 0755));
	t_put("l/d/x", "x");
	t_put("l/gone", "x");
	OK(mkdir("u/d", 0755));
	t_put("u/d/y", "y");
	OK(setxattr("u/d", "trusted.overlay.opaque", "y", 1, 0));
	OK(mknod("u/gone", S_IFCHR, makedev(0, 0)));
	overlay("lowerdir=l,upperdir=u,workdir=w");
	STREQ(names("m"), "d");
	STREQ(names("m/d"), "y");
	ERR(access("m/d/x", F_OK), ENOENT);
}

TEST_DIR(several_layers_below_and_none_above)
{
	layers();
	t_put("l/both", "upper");
	t_put("L/both", "lower");
	t_put("L/only", "only");
	t_put("L/white", "hidden");
	OK(mknod("l/white", S_IFCHR, makedev(0, 0)));
	OK(mkdir("l/d", 0755));
	OK(mkdir("L/d", 0755));
	t_put("l/d/1", "");
	t_put("L/d/2", "");
	ERR(mount("o", "m", "overlay", 0, "lowerdir=l"), EINVAL);
	overlay("lowerdir=l:L");
	STREQ(t_get("m/both"), "upper");
	STREQ(t_get("m/only"), "only");
	STREQ(names("m"), "both d only");
	STREQ(names("m/d"), "1 2");
	ERR(open("m/both", O_WRONLY), EROFS);
	ERR(mkdir("m/x", 0755), EROFS);
	ERR(unlink("m/both"), EROFS);
	ERR(chmod("m/both", 0600), EROFS);
}

TEST_DIR(rename_of_files)
{
	set_up();
	OK(rename("m/file", "m/moved"));
	STREQ(t_get("m/moved"), "below");
	CHECK(is_whiteout("u/file"));
	STREQ(names("m"), "dir link moved");
	OK(rename("m/dir/a", "m/dir/b"));
	STREQ(t_get("m/dir/b"), "A");
	STREQ(names("m/dir"), "b");
	OK(rename("m/moved", "m/file"));
	STREQ(t_get("m/file"), "below");
	STREQ(names("m"), "dir file link");
	ERR(access("u/moved", F_OK), ENOENT);
	OK(renameat2(AT_FDCWD, "m/file", AT_FDCWD, "m/dir/b", RENAME_EXCHANGE));
	STREQ(t_get("m/file"), "A");
	STREQ(t_get("m/dir/b"), "below");
	ERR(renameat2(AT_FDCWD, "m/file", AT_FDCWD, "m/dir/b", RENAME_NOREPLACE), EEXIST);
	ERR(renameat2(AT_FDCWD, "m/file", AT_FDCWD, "m/z", RENAME_WHITEOUT), EINVAL);
}

TEST_DIR(rename_of_directories)
{
	char v = 0;
	set_up();
	ERR(rename("m/dir", "m/other"), EXDEV);
	OK(mkdir("m/mine", 0755));
	t_put("m/mine/f", "f");
	OK(rename("m/mine", "m/dir/sub"));
	STREQ(t_get("m/dir/sub/f"), "f");
	EQ(getxattr("u/dir/sub", "trusted.overlay.opaque", &v, 1), 1);
	OK(unlink("m/file"));
	OK(rename("m/dir/sub", "m/file"));
	STREQ(t_get("m/file/f"), "f");
	STREQ(names("m/dir"), "a b");
	STREQ(names("m"), "dir file link");
	OK(mkdir("m/empty", 0755));
	OK(rename("m/empty", "m/e2"));
	ERR(rename("m/e2", "m/file"), ENOTEMPTY);
	OK(rename("m/file", "m/e2"));
	STREQ(t_get("m/e2/f"), "f");
	CHECK(is_whiteout("u/file"));
}

// What looks empty is replaced in one step, though its upper directory holds whiteouts.
TEST_DIR(rename_over_an_emptied_directory)
{
	layers();
	OK(mkdir("l/dir", 0755));
	t_put("l/dir/a", "A");
	t_put("l/dir/b", "B");
	OK(mkdir("l/bare", 0755));
	t_put("l/file", "F");
	overlay("lowerdir=l,upperdir=u,workdir=w");
	OK(unlink("m/dir/a"));
	OK(mkdir("m/mine", 0755));
	t_put("m/mine/f", "f");
	ERR(rename("m/mine", "m/dir"), ENOTEMPTY);
	OK(unlink("m/dir/b"));
	int in = OK(inotify_init1(IN_NONBLOCK)), held = OK(open("m/dir", O_RDONLY | O_DIRECTORY));
	OK(inotify_add_watch(in, "u", IN_DELETE));
	OK(rename("m/mine", "m/dir"));
	char b[4096];
	ssize_t n = read(in, b, sizeof(b));
	for (char *e = b; n > 0 && e < b + n; e += sizeof(struct inotify_event) + ((struct inotify_event *)(void *)e)->len)
		CHECK(strcmp(((struct inotify_event *)(void *)e)->name, "dir"));
	STREQ(names("m/dir"), "f");
	STREQ(names("m"), "bare dir file");
	ERR(openat(held, "x", O_CREAT | O_WRONLY, 0600), ENOENT);
	OK(rename("m/dir", "m/bare"));
	STREQ(names("m/bare"), "f");
	STREQ(names("m"), "bare file");
	OK(mkdir("m/dir", 0755)); // and the name that was freed shows nothing of below
	STREQ(names("m/dir"), "");
	OK(rename("m/file", "m/dir/file"));
	CHECK(is_whiteout("u/file"));
	STREQ(names("m"), "bare dir");
}

TEST_DIR(long_options_are_shown_whole)
{
	layers();
	char opts[4000] = "lowerdir=", name[220];
	for (int i = 0; i < 15; i++) {
		memset(name, 'a' + i, sizeof(name) - 1);
		name[sizeof(name) - 1] = 0;
		memcpy(name, "x y", 3);
		OK(mkdir(name, 0755));
		snprintf(opts + strlen(opts), sizeof(opts) - strlen(opts), "%s%s", i ? ":" : "", name);
	}
	snprintf(opts + strlen(opts), sizeof(opts) - strlen(opts), ",upperdir=u,workdir=w");
	overlay(opts);
	char *text = calloc(1, 1 << 20);
	int fd = OK(open("/proc/self/mounts", O_RDONLY));
	for (ssize_t n, at = 0; (n = OK(read(fd, text + at, (1 << 20) - 1 - (size_t)at))) > 0;)
		at += n;
	memcpy(name, "040y", 4);
	CHECK(strstr(text, name + 4));
	CHECK(strstr(text, ",workdir=w"));
}

TEST_DIR(a_file_that_is_gone_stays_open)
{
	char buf[6] = "";
	set_up();
	int r = OK(open("m/file", O_RDONLY)), w = OK(open("m/dir/a", O_RDWR));
	OK(unlink("m/file"));
	OK(unlink("m/dir/a"));
	EQ(read(r, buf, 5), 5);
	STREQ(buf, "below");
	OK(fchmod(w, 0600));
	EQ(write(w, "zz", 2), 2);
	EQ(pread(w, buf, 5, 0), 2);
	struct stat st;
	OK(fstat(w, &st));
	EQ(st.st_nlink, 0);
}

TEST_DIR(hard_links)
{
	struct stat st;
	layers();
	t_put("l/one", "1");
	OK(link("l/one", "l/two"));
	overlay("lowerdir=l,upperdir=u,workdir=w");
	OK(link("m/one", "m/three"));
	t_put("m/three", "3");
	STREQ(t_get("m/one"), "3");
	STREQ(t_get("m/two"), "1"); // each name of a file below is copied for itself
	OK(stat("u/one", &st));
	EQ(st.st_nlink, 2);
	OK(stat("m/one", &st));
	EQ(st.st_nlink, 2);
}

TEST_DIR(mapped)
{
	set_up();
	int fd = OK(open("m/file", O_RDWR));
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(p != MAP_FAILED);
	EQ(memcmp(p, "below", 5), 0);
	p[0] = 'B';
	STREQ(t_get("m/file"), "Below");
	STREQ(t_get("u/file"), "Below");
	OK(munmap(p, 4096));
	fd = OK(open("m/dir/a", O_RDONLY));
	p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED && *p == 'A');
}

TEST_DIR(a_program_below_runs)
{
	layers();
	int in = OK(open("/proc/self/exe", O_RDONLY)), out = OK(open("l/prog", O_WRONLY | O_CREAT, 0755));
	static char buf[65536];
	for (ssize_t k; (k = read(in, buf, sizeof(buf))) > 0;)
		t_writen(out, buf, (size_t)k);
	OK(close(out));
	overlay("lowerdir=l,upperdir=u,workdir=w");
	for (int round = 0; round < 2; round++) {
		pid_t p = fork();
		if (!p) {
			int null = open("/dev/null", O_WRONLY);
			dup2(null, 1);
			execl("m/prog", "m/prog", "-l", NULL);
			_exit(9);
		}
		EQ(t_wait(p), 0);
		OK(chmod("m/prog", 0700)); // now from the upper layer
	}
	CHECK(access("u/prog", X_OK) == 0);
}

TEST_DIR(special_files_links_and_attributes)
{
	struct stat st;
	char buf[16] = "", list[64];
	set_up();
	OK(mkfifo("m/fifo", 0600));
	OK(lstat("u/fifo", &st));
	CHECK(S_ISFIFO(st.st_mode));
	OK(symlink("file", "m/s"));
	EQ(readlink("u/s", buf, sizeof(buf)), 4);
	OK(lchown("m/link", 5, 6));
	OK(lstat("u/link", &st));
	EQ(st.st_uid, 5);
	EQ(readlink("u/link", buf, sizeof(buf)), 4);
	OK(setxattr("m/dir", "user.k", "v", 1, 0));
	EQ(getxattr("u/dir", "user.k", buf, 1), 1);
	OK(removexattr("m/dir", "user.k"));
	ERR(removexattr("m/dir", "user.k"), ENODATA);
	EQ(listxattr("m/dir", list, sizeof(list)), 0);
	OK(truncate("m/file", 2));
	STREQ(t_get("m/file"), "be");
	OK(truncate("m/dir/a", 3));
	OK(stat("m/dir/a", &st));
	EQ(st.st_size, 3);
	int fd = OK(open("m/big", O_RDWR | O_CREAT, 0600));
	OK(posix_fallocate(fd, 0, 8192));
	OK(fsync(fd));
	EQ(lseek(fd, 0, SEEK_END), 8192);
}

TEST_DIR(a_long_sparse_file)
{
	struct stat st;
	layers();
	int fd = OK(open("l/big", O_RDWR | O_CREAT, 0644));
	OK(ftruncate(fd, 64 << 20));
	OK(pwrite(fd, "end", 3, 40 << 20));
	overlay("lowerdir=l,upperdir=u,workdir=w");
	OK(chmod("m/big", 0600));
	OK(stat("u/big", &st));
	EQ(st.st_size, 64 << 20);
	char b[4] = "";
	fd = OK(open("m/big", O_RDONLY));
	EQ(pread(fd, b, 3, 40 << 20), 3);
	STREQ(b, "end");
}

TEST_DIR(options)
{
	layers();
	ERR(mount("o", "m", "overlay", 0, NULL), EINVAL);
	ERR(mount("o", "m", "overlay", 0, "upperdir=u,workdir=w"), EINVAL);
	ERR(mount("o", "m", "overlay", 0, "lowerdir=l,upperdir=u"), EINVAL);
	ERR(mount("o", "m", "overlay", 0, "lowerdir=none,upperdir=u,workdir=w"), ENOENT);
	ERR(mount("o", "m", "overlay", 0, "lowerdir=l,upperdir=u,workdir=u"), EINVAL);
	OK(mkdir("u/w", 0755));
	ERR(mount("o", "m", "overlay", 0, "lowerdir=l,upperdir=u,workdir=u/w"), EINVAL);
	ERR(mount("o", "m", "overlay", 0, "lowerdir=l,nonsense"), EINVAL);
	ERR(mount("o", "m", "overlay", 0, "lowerdir=l:u,userxattr,nonsense"), EINVAL);
	OK(mkdir("a:b,c", 0755));
	t_put("a:b,c/f", "f");
	overlay("lowerdir=a\\:b\\,c:l,upperdir=u,workdir=w");
	STREQ(t_get("m/f"), "f");
	CHECK(strstr(t_get("/proc/self/mounts"), "upperdir=u,workdir=w"));
	OK(mount("o", "m", "overlay", MS_REMOUNT | MS_RDONLY, NULL));
	ERR(mkdir("m/x", 0755), EROFS);
	OK(mount("o", "m", "overlay", MS_REMOUNT, NULL));
	OK(mkdir("m/x", 0755));
}

TEST_DIR(an_overlay_of_an_overlay)
{
	set_up();
	t_put("m/mid", "mid");
	OK(mkdir("u2", 0755));
	OK(mkdir("w2", 0755));
	OK(mkdir("m2", 0755));
	OK(mount("o", "m2", "overlay", 0, "lowerdir=m,upperdir=u2,workdir=w2"));
	STREQ(t_get("m2/file"), "below");
	STREQ(t_get("m2/mid"), "mid");
	t_put("m2/file", "top");
	STREQ(t_get("m/file"), "below");
	STREQ(t_get("u2/file"), "top");
	STREQ(names("m2"), "dir file link mid");
	OK(umount("m")); // it is still used from above
	STREQ(t_get("m2/dir/b"), "B");
	OK(umount("m2"));
}

TEST_DIR(userxattr)
{
	char v;
	layers();
	OK(mkdir("l/d", 0755));
	overlay("lowerdir=l,upperdir=u,workdir=w,userxattr");
	OK(rmdir("m/d"));
	OK(mkdir("m/d", 0755));
	EQ(getxattr("u/d", "user.overlay.opaque", &v, 1), 1);
	ERR(getxattr("u/d", "trusted.overlay.opaque", &v, 1), ENODATA);
}

TEST_DIR(by_the_new_calls)
{
	layers();
	t_put("l/f", "f");
	int fs = (int)syscall(SYS_fsopen, "overlay", 0);
	if (fs < 0)
		SKIP("no overlay mounts here");
	OK(syscall(SYS_fsconfig, fs, 1, "lowerdir", "l", 0));
	OK(syscall(SYS_fsconfig, fs, 1, "upperdir", "u", 0));
	OK(syscall(SYS_fsconfig, fs, 1, "workdir", "w", 0));
	OK(syscall(SYS_fsconfig, fs, 6, NULL, NULL, 0));
	int m = (int)OK(syscall(SYS_fsmount, fs, 0, 0));
	OK(syscall(SYS_move_mount, m, "", AT_FDCWD, "m", 4));
	STREQ(t_get("m/f"), "f");
	t_put("m/g", "g");
	STREQ(t_get("u/g"), "g");
}

TEST_DIR(an_unprivileged_user_meets_the_usual_permissions)
{
	set_up();
	OK(chmod("l/file", 0600));
	OK(chmod(".", 0755));
	t_put("l/mine", "m");
	OK(chown("l/mine", 1234, 1234));
	OK(mkdir("l/theirs", 0777));
	OK(chmod("l/theirs", 0777));
	pid_t p = fork();
	if (!p) {
		OK(setgid(1234));
		OK(setuid(1234));
		ERR(open("m/file", O_RDONLY), EACCES);
		ERR(open("m/dir/new", O_CREAT | O_WRONLY, 0644), EACCES);
		ERR(unlink("m/dir/a"), EACCES);
		OK(chmod("m/mine", 0640));
		t_put("m/theirs/new", "x");
		struct stat st;
		OK(stat("m/theirs/new", &st));
		EQ(st.st_uid, 1234);
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

// Many at once: nobody may see half a copy, and nothing may be lost.
TEST_DIR(many_writers)
{
	char name[32], big[40000];
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	layers();
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "l/%d", i);
		t_put(name, big);
	}
	overlay("lowerdir=l,upperdir=u,workdir=w");
	for (int k = 0; k < 4; k++)
		if (!fork()) {
			for (int i = 0; i < 20; i++) {
				snprintf(name, sizeof(name), "m/%d", i);
				int fd = OK(open(name, O_WRONLY | O_APPEND));
				EQ(write(fd, "y", 1), 1);
				struct stat st;
				OK(fstat(fd, &st));
				CHECK(st.st_size > (long)sizeof(big) - 1);
				close(fd);
			}
			_exit(0);
		}
	for (int k = 0, st; k < 4; k++) {
		OK(wait(&st));
		EQ(st, 0);
	}
	for (int i = 0; i < 20; i++) {
		struct stat st;
		snprintf(name, sizeof(name), "u/%d", i);
		OK(stat(name, &st));
		EQ(st.st_size, sizeof(big) - 1 + 4);
	}
	STREQ(names("w/work"), "");
}

TEST_DIR(rename_with_whiteout)
{
	layers();
	t_put("l/f", "f");
	t_put("l/g", "g");
	OK(renameat2(AT_FDCWD, "l/f", AT_FDCWD, "l/g", RENAME_WHITEOUT));
	CHECK(is_whiteout("l/f"));
	STREQ(t_get("l/g"), "f");
	ERR(renameat2(AT_FDCWD, "l/f", AT_FDCWD, "l/g", RENAME_WHITEOUT | RENAME_EXCHANGE), EINVAL);
	ERR(open("l/f", O_RDONLY), ENXIO);
	OK(renameat2(AT_FDCWD, "l/g", AT_FDCWD, "L/h", RENAME_WHITEOUT | RENAME_NOREPLACE));
	CHECK(is_whiteout("l/g"));
	OK(unlink("l/g"));
}
