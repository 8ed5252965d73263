// SPDX-License-Identifier: Apache-2.0
// FUSE mounts whose daemon does what it should.
#include "fusefs.h"

TEST_DIR(read_a_file)
{
	struct stat st;
	fuse_mount();
	STREQ(t_get("m/hello"), "hello fuse\n");
	STREQ(t_get("m/dir/inner"), "inner");
	OK(stat("m/hello", &st));
	EQ(st.st_size, 11);
	EQ(st.st_ino, 102);
	EQ(st.st_mode, S_IFREG | 0644);
	ERR(stat("m/none", &st), ENOENT);
	ERR(stat("m/hello/x", &st), ENOTDIR);
	OK(stat("m", &st));
	EQ(st.st_mode, S_IFDIR | 0755);
}

TEST_DIR(list_a_directory)
{
	struct dirent **e;
	fuse_mount();
	EQ(scandir("m", &e, NULL, alphasort), 4);
	STREQ(e[0]->d_name, ".");
	STREQ(e[1]->d_name, "..");
	STREQ(e[2]->d_name, "dir");
	STREQ(e[3]->d_name, "hello");
	EQ(e[3]->d_type, DT_REG);
	EQ(e[3]->d_ino, 102);
	char name[32];
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "m/dir/file-with-some-name-%02d", i);
		t_put(name, "x");
	}
	EQ(scandir("m/dir", &e, NULL, alphasort), 43);
	DIR *d = opendir("m/dir");
	for (int i = 0; i < 5; i++)
		CHECK(readdir(d));
	long at = telldir(d);
	char want[256];
	snprintf(want, sizeof(want), "%s", readdir(d)->d_name);
	while (readdir(d))
		;
	seekdir(d, at);
	STREQ(readdir(d)->d_name, want);
	rewinddir(d);
	STREQ(readdir(d)->d_name, ".");
	closedir(d);
}

TEST_DIR(make_write_and_remove)
{
	struct stat st;
	char buf[64] = "";
	fuse_mount();
	int fd = OK(open("m/new", O_RDWR | O_CREAT | O_EXCL, 0640));
	EQ(write(fd, "some words", 10), 10);
	EQ(pread(fd, buf, sizeof(buf), 5), 5);
	STREQ(buf, "words");
	OK(fstat(fd, &st));
	EQ(st.st_size, 10);
	EQ(st.st_mode, S_IFREG | 0640);
	OK(fsync(fd));
	OK(ftruncate(fd, 4));
	EQ(lseek(fd, 0, SEEK_END), 4);
	OK(close(fd));
	CHECK(hears('C'));
	CHECK(hears('s'));
	CHECK(hears('f'));
	CHECK(hears('R'));
	STREQ(t_get("m/new"), "some");
	fd = OK(open("m/new", O_WRONLY | O_APPEND));
	EQ(write(fd, "+", 1), 1);
	OK(close(fd));
	STREQ(t_get("m/new"), "some+");
	t_put("m/new", "over"); // O_TRUNC
	STREQ(t_get("m/new"), "over");
	ERR(open("m/new", O_CREAT | O_EXCL | O_RDWR, 0600), EEXIST);
	OK(mkdir("m/d", 0711));
	OK(stat("m/d", &st));
	EQ(st.st_mode, S_IFDIR | 0711);
	OK(rename("m/new", "m/d/moved"));
	ERR(access("m/new", F_OK), ENOENT);
	STREQ(t_get("m/d/moved"), "over");
	ERR(rmdir("m/d"), ENOTEMPTY);
	ERR(renameat2(AT_FDCWD, "m/d/moved", AT_FDCWD, "m/hello", 1), EEXIST);
	ERR(renameat2(AT_FDCWD, "m/d/moved", AT_FDCWD, "m/hello", 2), EINVAL);
	OK(unlink("m/d/moved"));
	OK(rmdir("m/d"));
	OK(symlink("hello", "m/link"));
	EQ(readlink("m/link", buf, sizeof(buf)), 5);
	STREQ(t_get("m/link"), "hello fuse\n");
	OK(chmod("m/hello", 0444));
	OK(chown("m/hello", 7, 8));
	OK(stat("m/hello", &st));
	EQ(st.st_mode, S_IFREG | 0444);
	EQ(st.st_uid, 7);
	struct timespec ts[2] = {{5, 0}, {6, 0}};
	OK(utimensat(AT_FDCWD, "m/hello", ts, 0));
	OK(stat("m/hello", &st));
	EQ(st.st_mtime, 6);
}

TEST_DIR(a_long_file)
{
	static uint8_t out[300000], in[300000];
	fuse_mount();
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + i / 1000);
	int fd = OK(open("m/long", O_RDWR | O_CREAT, 0600));
	t_writen(fd, out, sizeof(out));
	OK(lseek(fd, 0, SEEK_SET));
	EQ(t_readn(fd, in, sizeof(in)), sizeof(in));
	EQ(memcmp(in, out, sizeof(in)), 0);
	EQ(read(fd, in, 10), 0);
	EQ(pwrite(fd, "x", 1, 2 << 20), -1);
	EQ(errno, ENOSPC);
	int fl = OK(open("copy", O_RDWR | O_CREAT, 0600));
	off_t off = 0;
	for (ssize_t k, left = sizeof(out); left; left -= k)
		k = OK(sendfile(fl, fd, &off, (size_t)left));
	EQ(pread(fl, in, sizeof(in), 0), sizeof(in));
	EQ(memcmp(in, out, sizeof(in)), 0);
}

static volatile sig_atomic_t ticks;

static void tick(int sig)
{
	(void)sig;
	ticks++;
}

// A daemon that does not mind the interruption: all is read and written.
TEST_DIR(signals_do_not_cut_it_short)
{
	static uint8_t b[1000000];
	struct itimerval often = {{0, 500}, {0, 500}};
	fuse_mount();
	int fd = OK(open("m/long", O_RDWR | O_CREAT, 0600));
	OK(sigaction(SIGALRM, &(struct sigaction){.sa_handler = tick}, NULL));
	OK(setitimer(ITIMER_REAL, &often, NULL));
	for (int i = 0; i < 5 || !ticks; i++) {
		EQ(pwrite(fd, b, sizeof(b), 0), sizeof(b));
		EQ(pread(fd, b, sizeof(b), 0), sizeof(b));
	}
	OK(setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL));
}

TEST_DIR(mapped_for_reading)
{
	fuse_mount();
	int fd = OK(open("m/hello", O_RDONLY));
	char *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED);
	EQ(memcmp(p, "hello fuse\n\0", 12), 0);
	char *q = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(q != MAP_FAILED);
	q[0] = 'J';
	EQ(p[0], 'h');
	EQ(memcmp(q, "Jello", 5), 0);
}

TEST_DIR(a_program_on_it_runs)
{
	fuse_mount();
	int out = OK(open("m/prog", O_WRONLY | O_CREAT, 0755)), in = OK(open("/proc/self/exe", O_RDONLY));
	static char buf[65536];
	struct stat st;
	OK(fstat(in, &st));
	if (st.st_size > BUFFER)
		SKIP("this program is too long");
	for (ssize_t k; (k = read(in, buf, sizeof(buf))) > 0;)
		t_writen(out, buf, (size_t)k);
	OK(close(out));
	pid_t p = fork();
	if (!p) {
		int null = open("/dev/null", O_WRONLY);
		dup2(null, 1);
		execl("m/prog", "m/prog", "-l", NULL);
		_exit(9);
	}
	EQ(t_wait(p), 0);
}

TEST_DIR(attributes_by_name)
{
	char buf[64];
	fuse_mount();
	OK(setxattr("m/hello", "user.colour", "green", 5, 0));
	EQ(getxattr("m/hello", "user.colour", NULL, 0), 5);
	EQ(getxattr("m/hello", "user.colour", buf, sizeof(buf)), 5);
	ERR(getxattr("m/hello", "user.colour", buf, 2), ERANGE);
	ERR(getxattr("m/hello", "user.none", buf, 2), ENODATA);
	EQ(listxattr("m/hello", buf, sizeof(buf)), 12);
	STREQ(buf, "user.colour");
	OK(removexattr("m/hello", "user.colour"));
	EQ(listxattr("m/hello", buf, sizeof(buf)), 0);
}

TEST_DIR(figures_and_names)
{
	struct statfs s;
	fuse_mount_with(",max_read=8192");
	OK(statfs("m", &s));
	EQ(s.f_type, 0x65735546);
	EQ(s.f_blocks, 1000);
	EQ(s.f_bavail, 400);
	EQ(s.f_namelen, 63);
	const char *mounts = t_get("/proc/self/mounts");
	CHECK(strstr(mounts, "/m fuse.test rw,nosuid,nodev"));
	CHECK(strstr(mounts, ",user_id=0,group_id=0,max_read=8192 0 0"));
	STREQ(t_get("m/hello"), "hello fuse\n");
}

TEST_DIR(wrong_options)
{
	char opts[128];
	if (unshare(CLONE_NEWNS))
		SKIP("no mount namespaces here");
	dev = open("/dev/fuse", O_RDWR);
	if (dev < 0)
		SKIP("no /dev/fuse here");
	OK(mkdir("m", 0755));
	if (mount("x", "m", "fuse", 0, "fd=999,rootmode=40000,user_id=0,group_id=0") && errno == EPERM)
		SKIP("no FUSE mounts here");
	EQ(errno, EINVAL);
	snprintf(opts, sizeof(opts), "fd=%d,user_id=0,group_id=0", dev);
	ERR(mount("x", "m", "fuse", 0, opts), EINVAL);
	snprintf(opts, sizeof(opts), "fd=%d,rootmode=40000,user_id=0,group_id=0,nonsense=1", dev);
	ERR(mount("x", "m", "fuse", 0, opts), EINVAL);
	char b[8];
	ERR(read(dev, b, sizeof(b)), EPERM);
	struct pollfd p = {.fd = dev, .events = POLLIN};
	EQ(poll(&p, 1, 0), 1);
	EQ(p.revents, POLLERR);
}

TEST_DIR(unmounting_ends_the_daemon)
{
	fuse_mount();
	STREQ(t_get("m/hello"), "hello fuse\n");
	int fd = OK(open("m/hello", O_RDONLY));
	ERR(umount("m"), EBUSY);
	OK(close(fd));
	OK(umount("m"));
	CHECK(hears('E'));
	EQ(t_wait(daemon_pid), 0);
	ERR(access("m/hello", F_OK), ENOENT);
}

TEST_DIR(many_at_once)
{
	fuse_mount();
	for (int k = 0; k < 4; k++)
		if (!fork()) {
			char name[32], text[32];
			for (int i = 0; i < 50; i++) {
				snprintf(name, sizeof(name), "m/f%d", k);
				snprintf(text, sizeof(text), "%d of %d", i, k);
				t_put(name, text);
				STREQ(t_get(name), text);
				OK(unlink(name));
				if (i % 16 == 15)
					STREQ(t_get("m/hello"), "hello fuse\n");
				if (i == 10)
					break; // nodes of the daemon are few
			}
			_exit(0);
		}
	for (int k = 0, st; k < 4; k++) {
		OK(wait(&st));
		EQ(st, 0);
	}
}

TEST_DIR(a_second_device)
{
	uint32_t first;
	fuse_mount();
	int d = OK(open("/dev/fuse", O_RDWR));
	first = 12345;
	ERR(ioctl(d, FUSE_DEV_IOC_CLONE, &first), EINVAL);
	ERR(ioctl(d, 0x1234, &first), ENOTTY);
}

static void put_own(const char *file, const char *text)
{
	int fd = OK(open(file, O_WRONLY));
	EQ(write(fd, text, strlen(text)), (long)strlen(text));
	close(fd);
}

// Who mounts in a user namespace makes up files, but no devices.
TEST_DIR(devices_of_an_ordinary_user)
{
	if (geteuid())
		SKIP("not root");
	if (unshare(CLONE_NEWUSER))
		SKIP("no user namespaces here");
	put_own("/proc/self/uid_map", "0 0 1");
	put_own("/proc/self/setgroups", "deny");
	put_own("/proc/self/gid_map", "0 0 1");
	add(1, "device", S_IFCHR | 0666, 0, 0);
	fuse_mount_as("", 0);
	struct stat st;
	OK(stat("m/device", &st));
	CHECK(S_ISCHR(st.st_mode));
	ERR(open("m/device", O_RDWR), EACCES);
	STREQ(t_get("m/hello"), "hello fuse\n");
}
