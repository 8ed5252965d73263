// SPDX-License-Identifier: Apache-2.0
// Calls of Linux 6.9 to 6.18 that no C library has yet: mseal, setxattrat and its family, statmount, listmount, open_tree_attr,
// uretprobe.
#include <linux/mount.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "tests/kernel/t.h"

#define MSEAL(p, n) syscall(462, p, n, 0)
#define PAGE 4096ul

static bool is_there(long nr)
{
	errno = 0;
	return syscall(nr, -1l, -1l, -1l, -1l, -1l, -1l) != -1 || errno != ENOSYS;
}

static char *pages(int n, int prot)
{
	char *p = mmap(NULL, (size_t)n * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	return p;
}

TEST(seal_arguments)
{
	if (!is_there(462))
		SKIP("no mseal here");
	char *p = pages(4, PROT_READ);
	ERR(syscall(462, p, PAGE, 1), EINVAL);
	ERR(MSEAL(p + 1, PAGE), EINVAL);
	ERR(MSEAL(p, -1ul), EINVAL);
	OK(MSEAL(p, 0));
	OK(MSEAL(p, 1)); // one page
	ERR(munmap(p, PAGE), EPERM);
	OK(munmap(p + PAGE, PAGE));
	ERR(MSEAL(p, 3 * PAGE), ENOMEM); // a hole
	OK(munmap(p + 2 * PAGE, PAGE));  // nothing was sealed
	OK(MSEAL(p, PAGE));		 // again is fine
}

TEST(sealed_memory_stays)
{
	if (!is_there(462))
		SKIP("no mseal here");
	char *p = pages(5, PROT_READ | PROT_WRITE), *q = pages(3, PROT_READ);
	memset(p, 7, 5 * PAGE);
	OK(MSEAL(p + PAGE, PAGE));
	ERR(munmap(p, 5 * PAGE), EPERM); // and none of it has gone
	EQ(p[0], 7);
	EQ(p[4 * PAGE], 7);
	ERR(mprotect(p + PAGE, PAGE, PROT_READ), EPERM);
	ERR(mprotect(p, 3 * PAGE, PROT_READ), EPERM); // the first page has changed by then
	OK(mprotect(p + 3 * PAGE, PAGE, PROT_READ));
	CHECK(mmap(p + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EPERM);
	CHECK(mmap(p, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED && errno == EPERM);
	CHECK(mmap(p + PAGE, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == MAP_FAILED && errno == EEXIST);
	CHECK(mremap(p + PAGE, PAGE, 2 * PAGE, MREMAP_MAYMOVE) == MAP_FAILED && errno == EPERM);
	CHECK(mremap(q, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, p + PAGE) == MAP_FAILED && errno == EPERM);
	EQ(p[PAGE], 7);
	p[PAGE] = 8; // still to be written
	OK(madvise(p + PAGE, PAGE, MADV_DONTNEED)); // writable: no harm that writing could not do
	EQ(p[PAGE], 0);
	OK(mlock(p + PAGE, PAGE));
	OK(munlock(p + PAGE, PAGE));
	OK(MSEAL(q, PAGE));
	ERR(madvise(q, PAGE, MADV_DONTNEED), EPERM);
	ERR(madvise(q, PAGE, MADV_FREE), EPERM);
	ERR(madvise(q, PAGE, MADV_DONTFORK), EPERM);
	OK(madvise(q, PAGE, MADV_WILLNEED));
	OK(munmap(q + PAGE, 2 * PAGE));
	pid_t child = OK(fork());
	if (!child) { // sealed here too
		ERR(munmap(p + PAGE, PAGE), EPERM);
		_exit(0);
	}
	EQ(t_wait(child), 0);
}

TEST(sealed_heap_does_not_shrink)
{
	if (!is_there(462))
		SKIP("no mseal here");
	char *top = (void *)syscall(SYS_brk, 0), *base = (char *)(((uintptr_t)top + PAGE - 1) & ~(PAGE - 1));
	CHECK((char *)syscall(SYS_brk, base + 2 * PAGE) == base + 2 * PAGE);
	OK(MSEAL(base + PAGE, PAGE));
	CHECK((char *)syscall(SYS_brk, base) == base + 2 * PAGE);
}

// --- extended attributes relative to a directory

struct args {
	uint64_t value;
	uint32_t size, flags;
};

static long set_at(int d, const char *path, int at, const char *name, const char *v, uint32_t flags)
{
	struct args a = {(uintptr_t)v, (uint32_t)strlen(v), flags};
	return syscall(463, d, path, at, name, &a, sizeof(a));
}

static long get_at(int d, const char *path, int at, const char *name, char *v, uint32_t n)
{
	struct args a = {(uintptr_t)v, n, 0};
	return syscall(464, d, path, at, name, &a, sizeof(a));
}

TEST_DIR(attributes_at)
{
	char v[64];
	struct args a = {(uintptr_t)v, sizeof(v), 0};
	struct {
		struct args a;
		uint64_t more;
	} big = {a, 0};

	if (!is_there(463))
		SKIP("no setxattrat here");
	OK(mkdir("d", 0755));
	t_put("d/f", "x");
	OK(symlink("f", "d/l"));
	int d = OK(open("d", O_RDONLY | O_DIRECTORY)), f = OK(open("d/f", O_RDONLY)), p = OK(open("d/f", O_PATH));
	if (set_at(d, "f", 0, "user.a", "one", 0) && errno == EOPNOTSUPP)
		SKIP("no extended attributes here");
	EQ(get_at(d, "f", 0, "user.a", v, sizeof(v)), 3);
	CHECK(!memcmp(v, "one", 3));
	EQ(get_at(d, "l", 0, "user.a", v, sizeof(v)), 3);
	ERR(get_at(d, "l", AT_SYMLINK_NOFOLLOW, "user.a", v, sizeof(v)), ENODATA);
	ERR(set_at(d, "f", 0, "user.a", "two", XATTR_CREATE), EEXIST);
	ERR(set_at(d, "f", 0, "user.b", "two", XATTR_REPLACE), ENODATA);
	ERR(set_at(d, "f", 0, "user.b", "two", 8), EINVAL);
	OK(set_at(f, "", AT_EMPTY_PATH, "user.b", "two", 0));
	OK(set_at(f, NULL, AT_EMPTY_PATH, "user.c", "", 0));
	ERR(set_at(f, "", 0, "user.b", "two", 0), ENOENT);
	ERR(get_at(p, "", AT_EMPTY_PATH, "user.b", v, sizeof(v)), EBADF);
	ERR(get_at(99, "", AT_EMPTY_PATH, "user.b", v, sizeof(v)), EBADF);
	EQ(get_at(f, "", AT_EMPTY_PATH, "user.b", v, 0), 3);
	ERR(get_at(f, "", AT_EMPTY_PATH, "user.b", v, 2), ERANGE);
	ERR(get_at(f, "", AT_EMPTY_PATH | AT_SYMLINK_FOLLOW, "user.b", v, 2), EINVAL);
	ERR(get_at(d, "none", 0, "user.b", v, 2), ENOENT);
	ERR(syscall(464, d, "f", 0, "user.a", &a, 15), EINVAL);
	ERR(syscall(464, d, "f", 0, "user.a", &a, 4097), E2BIG);
	ERR(syscall(464, d, "f", 0, "user.a", NULL, sizeof(a)), EFAULT);
	EQ(syscall(464, d, "f", 0, "user.a", &big, sizeof(big)), 3);
	big.more = 1;
	ERR(syscall(464, d, "f", 0, "user.a", &big, sizeof(big)), E2BIG);
	a.flags = XATTR_CREATE;
	ERR(syscall(464, d, "f", 0, "user.a", &a, sizeof(a)), EINVAL);
	long n = OK(syscall(465, d, "f", 0, v, sizeof(v)));
	CHECK(memmem(v, (size_t)n, "user.a", 7) && memmem(v, (size_t)n, "user.b", 7));
	EQ(syscall(465, f, "", AT_EMPTY_PATH, NULL, 0), n);
	ERR(syscall(465, d, "f", 1, v, sizeof(v)), EINVAL);
	OK(syscall(466, d, "f", 0, "user.a"));
	ERR(syscall(466, f, "", AT_EMPTY_PATH, "user.a"), ENODATA);
	OK(syscall(466, f, "", AT_EMPTY_PATH, "user.b"));
	ERR(syscall(466, d, "f", 1, "user.b"), EINVAL);
	ERR(getxattr("d/f", "user.a", v, 4), ENODATA);
}

// --- mounts by number

struct request {
	uint32_t size, fd;
	uint64_t id, param, ns;
};

struct mount_stat {
	uint32_t size, opts;
	uint64_t mask;
	uint32_t major, minor;
	uint64_t magic;
	uint32_t sb_flags, fs_type;
	uint64_t id, parent;
	uint32_t old_id, old_parent;
	uint64_t attr, propagation, peer, master, from;
	uint32_t root, point;
	uint64_t ns;
	uint32_t subtype, source, nopts, optarray, nsec, secarray;
	uint64_t supported, spare[45];
	char str[4096];
};
_Static_assert(offsetof(struct mount_stat, str) == 512, "as Linux has it");

#define ROOT -1ul

static long list(uint64_t id, uint64_t after, uint64_t *ids, size_t n, unsigned flags)
{
	struct request r = {24, 0, id, after, 0};
	return syscall(458, &r, ids, n, flags);
}

static long stat_mount(uint64_t id, uint64_t what, struct mount_stat *s, size_t n)
{
	struct request r = {24, 0, id, what, 0};
	return syscall(457, &r, s, n, 0);
}

static void own_mounts(void)
{
	if (!is_there(457) || !is_there(458))
		SKIP("no statmount here");
	if (unshare(CLONE_NEWNS) < 0 && errno == EPERM)
		SKIP("not allowed to make namespaces");
	if (!t_root_is_mount_point())
		SKIP("the root is no mount point");
	OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	OK(mkdir("m", 0755));
}

// The unique number of the mount that was made last.
static uint64_t newest(void)
{
	uint64_t id;
	EQ(list(ROOT, 0, &id, 1, 1), 1);
	return id;
}

TEST_DIR(listed_mounts_are_those_of_mountinfo)
{
	uint64_t ids[512], back[512], some[3];
	struct mount_stat s;
	int in_file = 0;
	char line[4096];

	own_mounts();
	OK(mount("none", "m", "tmpfs", 0, NULL));
	long n = OK(list(ROOT, 0, ids, 512, 0));
	CHECK(n > 1 && n < 512);
	FILE *f = fopen("/proc/self/mountinfo", "r");
	while (fgets(line, sizeof(line), f)) {
		unsigned id, parent, major, minor;
		char root[1024], point[1024];
		bool found = false;
		EQ(sscanf(line, "%u %u %u:%u %1023s %1023s", &id, &parent, &major, &minor, root, point), 6);
		in_file++;
		for (long i = 0; i < n; i++) {
			EQ(stat_mount(ids[i], 0x1b, &s, sizeof(s)), 0);
			if (s.old_id != id)
				continue;
			found = true;
			EQ(s.id, ids[i]);
			EQ(s.mask, 0x1b);
			EQ(s.major, major);
			EQ(s.minor, minor);
			CHECK(s.old_parent == parent);
			if (!strchr(root, '\\'))
				STREQ(s.str + s.root, root);
			if (!strchr(point, '\\'))
				STREQ(s.str + s.point, point);
		}
		CHECK(found);
	}
	fclose(f);
	EQ(n, in_file);
	EQ(list(ROOT, 0, back, 512, 1), n);
	for (long i = 0; i < n; i++) {
		EQ(back[i], ids[n - 1 - i]);
		CHECK(!i || ids[i] > ids[i - 1]);
	}
	EQ(list(ROOT, 0, some, 1, 0), 1);
	EQ(some[0], ids[0]);
	EQ(list(ROOT, ids[0], some, 1, 0), 1);
	EQ(some[0], ids[1]);
	EQ(list(ROOT, ids[n - 1], some, 3, 0), 0);
	EQ(list(ROOT, ids[n - 1], some, 1, 1), 1);
	EQ(some[0], ids[n - 2]);
	EQ(list(ROOT, 0, NULL, 0, 0), 0);
}

TEST_DIR(one_mount_told)
{
	struct mount_stat s;
	struct stat st;
	char want[4096], cwd[4000];

	own_mounts();
	OK(mount("thing", "m", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOATIME, "size=64k"));
	uint64_t id = newest();
	memset(&s, 0xee, sizeof(s));
	OK(stat_mount(id, 0x33, &s, sizeof(s)));
	EQ(s.mask, 0x33);
	OK(stat("m", &st));
	EQ(makedev(s.major, s.minor), st.st_dev);
	EQ(s.magic, 0x01021994);
	EQ(s.sb_flags, 0);
	EQ(s.attr, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME);
	EQ(s.propagation, MS_PRIVATE);
	EQ(s.peer, 0);
	EQ(s.master, 0);
	CHECK(s.parent > 1ul << 31);
	STREQ(s.str + s.fs_type, "tmpfs");
	snprintf(want, sizeof(want), "%s/m", getcwd(cwd, sizeof(cwd)));
	STREQ(s.str + s.point, want);
	CHECK(s.size > 512 && s.size < 5000);
	OK(mount(NULL, "m", NULL, MS_SHARED, NULL));
	OK(stat_mount(id, 2, &s, sizeof(s)));
	EQ(s.propagation, MS_SHARED);
	CHECK(s.peer);
	OK(mount(NULL, "m", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL));
	OK(stat_mount(id, 3, &s, sizeof(s)));
	CHECK(s.attr & MOUNT_ATTR_RDONLY);
	EQ(s.sb_flags, 0);
	OK(stat_mount(id, 0x200, &s, sizeof(s)));
	EQ(s.mask & 0x200, 0x200);
	STREQ(s.str + s.source, "thing");
	OK(stat_mount(id, 0x40, &s, sizeof(s)));
	EQ(s.mask, 0x40);
	struct request r = {32, 0, id, 3, s.ns};
	OK(syscall(457, &r, &s, sizeof(s), 0));
	EQ(s.id, id);
	OK(mkdir("m2", 0755));
	OK(mount("m", "m2", NULL, MS_BIND, NULL));
	uint64_t ids[8];
	EQ(list(id, 0, ids, 8, 0), 0); // nothing below it
	OK(umount("m2"));
	OK(umount("m"));
	ERR(stat_mount(id, 3, &s, sizeof(s)), ENOENT);
	ERR(list(id, 0, ids, 8, 0), ENOENT);
}

TEST_DIR(mounts_below_one)
{
	uint64_t ids[8];
	own_mounts();
	OK(mount("none", "m", "tmpfs", 0, NULL));
	uint64_t top = newest();
	OK(mkdir("m/a", 0755));
	OK(mount("none", "m/a", "tmpfs", 0, NULL));
	uint64_t a = newest();
	OK(mkdir("m/a/b", 0755));
	OK(mount("none", "m/a/b", "tmpfs", 0, NULL));
	uint64_t b = newest();
	CHECK(top < a && a < b);
	EQ(list(top, 0, ids, 8, 0), 2);
	EQ(ids[0], a);
	EQ(ids[1], b);
	EQ(list(a, 0, ids, 8, 0), 1);
	EQ(ids[0], b);
	if (fork() == 0) { // who has changed its root is told of what it can see
		OK(chroot("m/a"));
		EQ(list(ROOT, 0, ids, 8, 0), 2);
		EQ(ids[0], a);
		struct mount_stat s;
		OK(stat_mount(b, 0x10, &s, sizeof(s)));
		STREQ(s.str + s.point, "/b");
		OK(setuid(1000));
		ERR(stat_mount(top, 3, &s, sizeof(s)), EPERM);
		OK(stat_mount(b, 3, &s, sizeof(s)));
		ERR(list(top, 0, ids, 8, 0), EPERM);
		_exit(0);
	}
	int st;
	wait(&st);
	EQ(st, 0);
}

TEST_DIR(wrong_requests_about_mounts)
{
	struct mount_stat s;
	uint64_t ids[4];
	own_mounts();
	OK(mount("none", "m", "tmpfs", 0, NULL));
	uint64_t id = newest();
	struct request r = {24, 0, id, 3, 0};
	ERR(syscall(457, &r, &s, sizeof(s), 1), EINVAL);
	ERR(syscall(457, NULL, &s, sizeof(s), 0), EFAULT);
	ERR(syscall(457, &r, NULL, sizeof(s), 0), EFAULT);
	r.size = 23;
	ERR(syscall(457, &r, &s, sizeof(s), 0), EINVAL);
	r.size = 5000;
	ERR(syscall(457, &r, &s, sizeof(s), 0), E2BIG);
	ERR(stat_mount(5, 3, &s, sizeof(s)), EINVAL);
	ERR(stat_mount(id + 1000000, 3, &s, sizeof(s)), ENOENT);
	ERR(stat_mount(id, 0x10, &s, 512), EOVERFLOW);
	OK(stat_mount(id, 3, &s, 512));
	OK(stat_mount(id, 3, &s, 16)); // what fits
	EQ(s.size, 16);
	ERR(list(5, 0, ids, 4, 0), EINVAL);
	ERR(list(ROOT, 5, ids, 4, 0), EINVAL);
	ERR(list(ROOT, 0, ids, 4, 2), EINVAL);
	ERR(list(ROOT, 0, ids, 2000000, 0), EOVERFLOW);
	ERR(list(ROOT, 0, (void *)-1, 4, 0), EFAULT);
	struct request n = {32, 0, id, 3, 12345};
	ERR(syscall(457, &n, &s, sizeof(s), 0), ENOENT);
	ERR(syscall(458, &n, ids, 4, 0), EINVAL); // param is a mount number there
	n.param = 0;
	ERR(syscall(458, &n, ids, 4, 0), ENOENT);
}

TEST_DIR(tree_opened_with_attributes)
{
	struct mount_attr a = {.attr_set = MOUNT_ATTR_RDONLY};
	own_mounts();
	if (!is_there(467))
		SKIP("no open_tree_attr here");
	OK(mount("none", "m", "tmpfs", 0, NULL));
	t_put("m/f", "x");
	OK(mkdir("n", 0755));
	ERR(syscall(467, AT_FDCWD, "m", OPEN_TREE_CLONE, NULL, sizeof(a)), EINVAL);
	ERR(syscall(467, AT_FDCWD, "m", OPEN_TREE_CLONE, &a, 31), EINVAL);
	ERR(syscall(467, AT_FDCWD, "m", 2, &a, sizeof(a)), EINVAL);
	ERR(syscall(467, AT_FDCWD, "nothing", OPEN_TREE_CLONE, &a, sizeof(a)), ENOENT);
	int fd = OK(syscall(467, AT_FDCWD, "m", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC, &a, sizeof(a)));
	EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	OK(syscall(SYS_move_mount, fd, "", AT_FDCWD, "n", MOVE_MOUNT_F_EMPTY_PATH));
	ERR(open("n/f", O_WRONLY), EROFS);
	OK(close(OK(open("m/f", O_WRONLY)))); // the original is as it was
	close(fd);
	fd = OK(syscall(467, AT_FDCWD, "m", OPEN_TREE_CLONE, NULL, 0));
	close(fd);
	a.attr_set = 1ul << 40;
	ERR(syscall(467, AT_FDCWD, "m", OPEN_TREE_CLONE, &a, sizeof(a)), EINVAL);
}

// Only a trampoline of the kernel's may make this call.
TEST(uretprobe_is_not_for_programs)
{
	int st;
	pid_t child = OK(fork());
	if (!child) {
		long r = syscall(335);
		_exit(r == -1 && errno == ENOSYS ? 77 : 1);
	}
	EQ(waitpid(child, &st, 0), child);
	if (WIFEXITED(st) && WEXITSTATUS(st) == 77)
		SKIP("no uretprobe here");
	CHECK(WIFSIGNALED(st) && WTERMSIG(st) == SIGILL);
}

struct file_attr_ {
	uint64_t xflags;
	uint32_t extsize, nextents, projid, cowextsize;
};

TEST_DIR(flags_of_files)
{
	struct file_attr_ a[200] = {{0}};
	const char *p = "/proc/self/status"; // of a file system without flags
	int fd[2];
	if (!is_there(468))
		SKIP("no file_getattr here");
	EQ(sizeof(a[0]), 24);
	for (long nr = 468; nr <= 469; nr++) {
		ERR(syscall(nr, AT_FDCWD, p, a, 24, 1), EINVAL);
		ERR(syscall(nr, AT_FDCWD, p, a, 23, 0), EINVAL);
		ERR(syscall(nr, AT_FDCWD, p, a, 0, 0), EINVAL);
		ERR(syscall(nr, AT_FDCWD, p, a, 4097, 0), E2BIG);
		ERR(syscall(nr, AT_FDCWD, "nothing", a, 24, 0), ENOENT);
		ERR(syscall(nr, AT_FDCWD, "", a, 24, 0), ENOENT);
		ERR(syscall(nr, 999, "nothing", a, 24, 0), EBADF);
		ERR(syscall(nr, 999, "", a, 24, AT_EMPTY_PATH), EBADF);
		ERR(syscall(nr, AT_FDCWD, p, a, 24, 0), EOPNOTSUPP);
		ERR(syscall(nr, AT_FDCWD, p, a, 4096, 0), EOPNOTSUPP);
		ERR(syscall(nr, AT_FDCWD, p, a, 24, AT_SYMLINK_NOFOLLOW), EOPNOTSUPP);
		ERR(syscall(nr, AT_FDCWD, "/dev/null", a, 24, 0), EOPNOTSUPP);
		OK(pipe(fd));
		ERR(syscall(nr, fd[0], "", a, 24, AT_EMPTY_PATH), EOPNOTSUPP);
		ERR(syscall(nr, fd[0], NULL, a, 24, AT_EMPTY_PATH), EOPNOTSUPP);
	}
	ERR(syscall(468, AT_FDCWD, p, 8, 24, 0), EOPNOTSUPP); // nothing was to be written
	ERR(syscall(469, AT_FDCWD, "nothing", 8, 24, 0), EFAULT);
	a[0].xflags = 4;
	ERR(syscall(469, AT_FDCWD, p, a, 24, 0), EINVAL);
	a[0].xflags = 1ul << 40;
	ERR(syscall(469, AT_FDCWD, p, a, 24, 0), EINVAL);
	a[0].xflags = 0x8001fffb;
	ERR(syscall(469, AT_FDCWD, p, a, 24, 0), EOPNOTSUPP);
	a[1].xflags = 1; // beyond what is known
	ERR(syscall(469, AT_FDCWD, p, a, 32, 0), E2BIG);
}
