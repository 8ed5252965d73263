// SPDX-License-Identifier: Apache-2.0
// Random file system calls in a folder, one line each with what came of it: the same seed gives the same lines on every
// correct file system. tests/e2e/refusals/fsops compares a sealed volume in an enclave with the host's. What Linux leaves to the
// file system (sizes of directories, places of holes, numbers) is not printed.
//
//	seal-fsops SEED STEPS [DIR]	without DIR in a folder of its own, which goes afterwards
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/folder.h"

static unsigned long seed, step;
static int fds[6] = {-1, -1, -1, -1, -1, -1};
static unsigned char data[300000], back[300000];

static unsigned long rnd(unsigned long n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return (seed * 0x2545f4914f6cdd1dul >> 8) % n;
}

static void say(const char *what, long r)
{
	if (r < 0)
		printf("%lu %s: %s\n", step, what, strerror(errno));
	else
		printf("%lu %s: %ld\n", step, what, r);
}

static unsigned long digest(const unsigned char *p, unsigned long n)
{
	unsigned long h = n;
	for (; n; n--)
		h = (h ^ *p++) * 0x100000001b3ul;
	return h;
}

static const char *name(void)
{
	static char buf[4][400];
	static unsigned int next;
	char *b = buf[next++ % 4];
	static const char *const dirs[] = {"", "", "", "d0/", "d1/", "d0/s/", "l0/", "./d1/../"};
	const char *d = dirs[rnd(8)];
	switch (rnd(24)) {
	case 0: sprintf(b, "%sl%lu", d, rnd(2)); break;
	case 1: sprintf(b, "%sd%lu", d, rnd(3)); break;
	case 2: sprintf(b, "%ss", d); break;
	case 3: sprintf(b, "%s%0*d", d, 255, 7); break;
	case 4: sprintf(b, "%sf%lu/x", d, rnd(3)); break;
	case 5: sprintf(b, "%s.", d); break;
	default: sprintf(b, "%sf%lu", d, rnd(7)); break;
	}
	return b;
}

static void do_open(void)
{
	static const int flags[] = {O_RDWR, O_RDONLY, O_WRONLY, O_RDWR | O_CREAT, O_RDWR | O_CREAT | O_EXCL, O_RDWR | O_CREAT | O_TRUNC,
				    O_WRONLY | O_CREAT | O_APPEND, O_RDONLY | O_DIRECTORY, O_RDWR | O_NOFOLLOW, O_RDWR | O_CREAT | O_SYNC};
	unsigned int k = (unsigned int)rnd(6);
	if (fds[k] >= 0)
		close(fds[k]);
	if (rnd(10) == 0)
		fds[k] = open(rnd(2) ? "." : "d0", O_RDWR | O_TMPFILE, 0640);
	else
		fds[k] = open(name(), flags[rnd(10)], 0600 | rnd(0100));
	say("open", fds[k] < 0 ? -1 : 0);
}

static unsigned long place(void) { return rnd(3) ? rnd(70000) : rnd(20) * 4096 + (rnd(2) ? 0 : rnd(3) * 4095); }

static void do_io(int fd)
{
	unsigned long off = place(), n = rnd(6) ? rnd(9000) : rnd(200000);
	struct stat st;
	long r;
	memset(data, (int)(step * 7 + 1), n);
	switch (rnd(13)) {
	case 0:
	case 1: say("pwrite", pwrite(fd, data, n, (off_t)off)); break;
	case 2: say("write", write(fd, data, n)); break;
	case 3:
	case 4:
		r = pread(fd, back, n, (off_t)off);
		say("pread", r);
		if (r > 0)
			printf("%lx\n", digest(back, (unsigned long)r));
		break;
	case 5: say("ftruncate", ftruncate(fd, (off_t)off)); break;
	case 6: say("punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)n)); break;
	case 7: say("allocate", fallocate(fd, rnd(2) ? FALLOC_FL_KEEP_SIZE : 0, (off_t)off, (off_t)n)); break;
	case 8: say("zero", fallocate(fd, FALLOC_FL_ZERO_RANGE, (off_t)off, (off_t)n)); break;
	case 9:
		if (!fstat(fd, &st) && S_ISREG(st.st_mode)) // in a directory the file system decides which places there are
			say("lseek", lseek(fd, (off_t)off, rnd(2) ? SEEK_SET : SEEK_END));
		break;
	case 10: say("sync", rnd(2) ? fsync(fd) : fdatasync(fd)); break;
	case 11: {
		int to = fds[rnd(6)];
		off_t a = (off_t)off, b = (off_t)place();
		if (to != fd) // overlapping is left to chance otherwise
			say("copy", copy_file_range(fd, &a, to, &b, n, 0));
		break;
	}
	case 12: {
		if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size < 10)
			break;
		unsigned char *p = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		say("mmap", p == MAP_FAILED ? -1 : 0);
		if (p == MAP_FAILED)
			break;
		p[rnd((unsigned long)st.st_size)] = (unsigned char)step;
		printf("%lx\n", digest(p, (unsigned long)st.st_size));
		if (rnd(2))
			say("msync", msync(p, (size_t)st.st_size, MS_SYNC));
		munmap(p, (size_t)st.st_size);
		break;
	}
	}
}

static void show(const char *path)
{
	struct stat st;
	int r = lstat(path, &st);
	say("lstat", r);
	if (!r)
		printf("%o %lu %ld\n", st.st_mode, (unsigned long)st.st_nlink, S_ISDIR(st.st_mode) ? 0 : (long)st.st_size);
}

static void do_names(void)
{
	char buf[5000];
	long r;
	const char *a = name(), *b = name();
	switch (rnd(18)) {
	case 0: say("unlink", unlink(a)); break;
	case 1: say("rmdir", rmdir(a)); break;
	case 2: say("mkdir", mkdir(a, 0700 | (mode_t)rnd(0100))); break;
	case 3: say("link", link(a, b)); break;
	case 4: say("symlink", symlink(rnd(2) ? "d0" : "f1", a)); break;
	case 5:
		r = readlink(a, buf, rnd(2) ? 1 : sizeof buf);
		say("readlink", r);
		break;
	case 6:
	case 7: say("rename", rename(a, b)); break;
	case 8: say("exchange", renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_EXCHANGE)); break;
	case 9: say("noreplace", renameat2(AT_FDCWD, a, AT_FDCWD, b, RENAME_NOREPLACE)); break;
	case 10: say("truncate", truncate(a, (off_t)place())); break;
	case 11: say("chmod", chmod(a, (mode_t)rnd(010000))); break;
	case 12: {
		struct timespec ts[2] = {{(time_t)rnd(1u << 31), (long)rnd(1000000000)}, {(time_t)rnd(1u << 31), (long)rnd(1000000000)}};
		struct stat st;
		r = utimensat(AT_FDCWD, a, ts, AT_SYMLINK_NOFOLLOW);
		say("utimens", r);
		if (!r && !lstat(a, &st))
			printf("%ld.%09ld %ld.%09ld\n", st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
		break;
	}
	case 13: sprintf(buf, "user.a%lu", rnd(3)); say("setxattr", setxattr(a, buf, data, rnd(700), (int)rnd(3))); break;
	case 14: sprintf(buf, "user.a%lu", rnd(3)); say("getxattr", getxattr(a, buf, back, rnd(2) ? 10 : 4096)); break;
	case 15: sprintf(buf, "user.a%lu", rnd(3)); say("removexattr", removexattr(a, buf)); break;
	case 16: {
		int fd = fds[rnd(6)];
		sprintf(buf, "/proc/self/fd/%d", fd);
		say("linkat", linkat(AT_FDCWD, buf, AT_FDCWD, a, AT_SYMLINK_FOLLOW));
		break;
	}
	default: show(a);
	}
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

// The whole tree, sorted, with what is in it.
static void tree(const char *path, int depth)
{
	char *names[64], sub[600];
	int n = 0;
	DIR *d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d)) && n < 64;)
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			names[n++] = strdup(e->d_name);
	if (d)
		closedir(d);
	qsort(names, (size_t)n, sizeof *names, by_name);
	for (int k = 0; k < n; k++) {
		snprintf(sub, sizeof sub, "%s/%s", path, names[k]);
		printf("%.60s ", sub);
		show(sub);
		int fd = open(sub, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
		long r = fd < 0 ? -1 : read(fd, back, sizeof back);
		if (r > 0)
			printf("%lx\n", digest(back, (unsigned long)r));
		if (fd >= 0)
			close(fd);
		if (depth < 6)
			tree(sub, depth + 1);
		free(names[k]);
	}
}

int main(int argc, char **argv)
{
	unsigned long first = argc > 1 ? strtoul(argv[1], NULL, 0) : 1, steps = argc > 2 ? strtoul(argv[2], NULL, 0) : 1000;
	char own[64];
	if (argc < 4 && !test_folder(own, "fsops"))
		return 1;
	if (chdir(argc < 4 ? own : argv[3])) {
		fprintf(stderr, "%s: %s\n", argv[3], strerror(errno));
		return 1;
	}
	seed = first * 0x9e3779b97f4a7c15ul + 88172645463325252ul;
	umask(0);
	mkdir("d0", 0755), mkdir("d1", 0755), mkdir("d0/s", 0755);
	for (step = 1; step <= steps; step++) {
		unsigned long k = rnd(10);
		if (k < 2)
			do_open();
		else if (k < 6)
			do_io(fds[rnd(6)]);
		else
			do_names();
		if (step % 500 == 0)
			tree(".", 0);
	}
	tree(".", 0);
	return 0;
}
