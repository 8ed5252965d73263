// SPDX-License-Identifier: Apache-2.0
// Calls that programs seldom make: memory policies, file handles, secret memory, the state of the page cache, and features
// that may be switched off.
#include <linux/mempolicy.h>
#include <sys/prctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "tests/kernel/t.h"

enum { CACHESTAT = 451, FCHMODAT2 = 452 };

static long get_policy(int *mode, unsigned long *mask, unsigned long max, void *addr, unsigned long flags)
{
	return syscall(SYS_get_mempolicy, mode, mask, max, addr, flags);
}

TEST(memory_policy)
{
	unsigned long one = 1, mask[16] = {0}, far = 0;
	int mode = -1;
	if (syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0) < 0 && errno == ENOSYS)
		SKIP("no memory policies here");
	OK(get_policy(&mode, mask, 1024, NULL, 0));
	EQ(mode, MPOL_DEFAULT);
	OK(syscall(SYS_set_mempolicy, MPOL_BIND, &one, 64));
	OK(get_policy(&mode, mask, 1024, NULL, 0));
	EQ(mode, MPOL_BIND);
	EQ(mask[0], 1);
	OK(syscall(SYS_set_mempolicy, MPOL_PREFERRED, NULL, 0));
	OK(get_policy(&mode, NULL, 0, NULL, 0));
	EQ(mode, MPOL_LOCAL);
	OK(get_policy(NULL, mask, 1024, NULL, MPOL_F_MEMS_ALLOWED));
	CHECK(mask[0] & 1);
	ERR(syscall(SYS_set_mempolicy, 99, NULL, 0), EINVAL);
	ERR(syscall(SYS_set_mempolicy, MPOL_BIND, NULL, 0), EINVAL);
	ERR(syscall(SYS_set_mempolicy, MPOL_DEFAULT, &one, 64), EINVAL);
	ERR(syscall(SYS_set_mempolicy, MPOL_BIND, &far, 64), EINVAL);
	ERR(syscall(SYS_set_mempolicy, MPOL_BIND, (void *)8, 64), EFAULT);
	ERR(get_policy(&mode, NULL, 0, NULL, 99), EINVAL);
	ERR(get_policy(&mode, NULL, 0, &mode, 0), EINVAL);
	OK(get_policy(&mode, NULL, 0, &one, MPOL_F_NODE | MPOL_F_ADDR));
	EQ(mode, 0);
	ERR(get_policy(&mode, NULL, 0, (void *)8, MPOL_F_NODE | MPOL_F_ADDR), EFAULT);
	OK(syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0));
}

TEST(bind_and_move)
{
	unsigned long one = 1;
	int status[3] = {9, 9, 9}, nodes[3] = {0, 0, 0};
	char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	void *pages[3] = {m, m + 4096, (void *)4096};
	memset(m, 1, 8192);
	if (syscall(SYS_mbind, m, 8192, MPOL_BIND, &one, 64, 0) < 0 && errno == ENOSYS)
		SKIP("no memory policies here");
	ERR(syscall(SYS_mbind, m + 1, 4096, MPOL_BIND, &one, 64, 0), EINVAL);
	ERR(syscall(SYS_mbind, (void *)4096, 4096, MPOL_BIND, &one, 64, 0), EFAULT);
	ERR(syscall(SYS_mbind, m, 4096, MPOL_BIND, &one, 64, 0x100), EINVAL);
	OK(syscall(SYS_move_pages, 0, 3, pages, NULL, status, 0));
	EQ(status[0], 0);
	EQ(status[1], 0);
	EQ(status[2], -EFAULT);
	OK(syscall(SYS_move_pages, 0, 2, pages, nodes, status, MPOL_MF_MOVE));
	EQ(status[0], 0);
	ERR(syscall(SYS_move_pages, 0x7ffffff, 1, pages, NULL, status, 0), ESRCH);
	ERR(syscall(SYS_move_pages, 0, 1, pages, NULL, status, 0x100), EINVAL);
	OK(syscall(SYS_migrate_pages, 0, 64, &one, &one));
	ERR(syscall(SYS_migrate_pages, 0x7ffffff, 64, &one, &one), ESRCH);
}

// A directory whose file system gives handles: $TMPDIR is in memory.
TEST_DIR(file_handles)
{
	struct {
		struct file_handle h;
		char room[128];
	} u = {.h.handle_bytes = 0}, v = {.h.handle_bytes = 128};
	char buf[8] = "";
	int mnt, dir = OK(open(".", O_RDONLY | O_DIRECTORY));
	t_put("f", "handle");
	if (name_to_handle_at(dir, "f", &u.h, &mnt, 0) < 0 && (errno == EOPNOTSUPP || errno == ENOSYS))
		SKIP("no handles here");
	EQ(errno, EOVERFLOW);
	CHECK(u.h.handle_bytes > 0 && u.h.handle_bytes <= 128);
	OK(name_to_handle_at(dir, "f", &v.h, &mnt, 0));
	ERR(name_to_handle_at(dir, "none", &v.h, &mnt, 0), ENOENT);
	ERR(name_to_handle_at(dir, "f", &v.h, &mnt, 0x40), EINVAL);
	OK(rename("f", "g"));
	int fd = open_by_handle_at(dir, &v.h, O_RDONLY);
	if (fd < 0 && errno == EPERM)
		SKIP("not allowed to open by handle");
	EQ(read(OK(fd), buf, 8), 6);
	STREQ(buf, "handle");
	close(fd);
	OK(unlink("g"));
	ERR(open_by_handle_at(dir, &v.h, O_RDONLY), ESTALE);
	v.h.handle_bytes = 0;
	ERR(open_by_handle_at(dir, &v.h, O_RDONLY), EINVAL);
}

TEST(secret_memory)
{
	char b[4];
	int fd = (int)syscall(SYS_memfd_secret, 0);
	if (fd < 0 && errno == ENOSYS)
		SKIP("no memfd_secret here");
	OK(fd);
	OK(ftruncate(fd, 8192));
	ERR(ftruncate(fd, 4096), EINVAL);
	char *m = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	CHECK(m != MAP_FAILED);
	strcpy(m, "key");
	char *n = mmap(NULL, 8192, PROT_READ, MAP_SHARED, fd, 0);
	STREQ(n, "key");
	ERR(read(fd, b, 4), EINVAL);
	ERR(write(fd, b, 4), EINVAL);
	CHECK(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0) == MAP_FAILED && errno == EINVAL);
	ERR(syscall(SYS_memfd_secret, 1), EINVAL);
}

TEST_DIR(page_cache_of_a_file)
{
	struct { uint64_t off, len; } all = {0, 0}, part = {4096, 4096};
	struct { uint64_t cached, dirty, writeback, evicted, recent; } st;
	char page[4096] = "x";
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644)), p[2];
	for (int i = 0; i < 3; i++)
		EQ(write(fd, page, 4096), 4096);
	if (syscall(CACHESTAT, fd, &all, &st, 0) < 0 && errno == ENOSYS)
		SKIP("no cachestat here");
	EQ(st.cached, 3);
	OK(syscall(CACHESTAT, fd, &part, &st, 0));
	EQ(st.cached, 1);
	ERR(syscall(CACHESTAT, fd, &all, &st, 1), EINVAL);
	ERR(syscall(CACHESTAT, fd, (void *)8, &st, 0), EFAULT);
	ERR(syscall(CACHESTAT, 99, &all, &st, 0), EBADF);
	OK(pipe(p));
}

TEST_DIR(fchmodat2_and_links)
{
	struct stat st;
	t_put("f", "x");
	OK(symlink("f", "l"));
	if (syscall(FCHMODAT2, AT_FDCWD, "f", 0600, 0) < 0 && errno == ENOSYS)
		SKIP("no fchmodat2 here");
	OK(syscall(FCHMODAT2, AT_FDCWD, "l", 0640, 0));
	OK(stat("f", &st));
	EQ(st.st_mode & 0777, 0640);
	ERR(syscall(FCHMODAT2, AT_FDCWD, "l", 0600, AT_SYMLINK_NOFOLLOW), EOPNOTSUPP);
	OK(syscall(FCHMODAT2, AT_FDCWD, "f", 0604, AT_SYMLINK_NOFOLLOW));
	int fd = OK(open("f", O_RDONLY));
	OK(syscall(FCHMODAT2, fd, "", 0606, AT_EMPTY_PATH));
	OK(stat("f", &st));
	EQ(st.st_mode & 0777, 0606);
	ERR(syscall(FCHMODAT2, AT_FDCWD, "f", 0600, 0x4000), EINVAL);
}

TEST_DIR(remapped_file_pages)
{
	char page[4096];
	int fd = OK(open("f", O_RDWR | O_CREAT, 0644));
	for (int i = 0; i < 4; i++) {
		memset(page, 'a' + i, sizeof(page));
		EQ(write(fd, page, 4096), 4096);
	}
	volatile char *m = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	OK(remap_file_pages((void *)m, 4096, 0, 2, 0));
	CHECK(m[0] == 'c' && m[4096] == 'b' && m[8192] == 'c');
	m[0] = 'X';
	EQ(m[8192], 'X');
	ERR(remap_file_pages((void *)m, 4096, PROT_READ, 0, 0), EINVAL);
	char *a = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ERR(remap_file_pages(a, 4096, 0, 0, 0), EINVAL);
}

TEST(protection_keys)
{
	int k = (int)syscall(SYS_pkey_alloc, 0, 0);
	CHECK(k > 0 || (k == -1 && (errno == ENOSPC || errno == EINVAL || errno == ENOSYS))); // EINVAL: Linux without the hardware
	if (k < 0 && errno == ENOSYS)
		SKIP("no protection keys here");
	ERR(syscall(SYS_pkey_alloc, 1, 0), EINVAL);
	ERR(syscall(SYS_pkey_alloc, 0, 99), EINVAL);
	ERR(syscall(SYS_pkey_free, 14), EINVAL);
	void *m = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	OK(syscall(SYS_pkey_mprotect, m, 4096, PROT_READ | PROT_WRITE, -1));
	*(volatile char *)m = 1;
	ERR(syscall(SYS_pkey_mprotect, m, 4096, PROT_READ, 14), EINVAL);
}

TEST(file_system_types_and_devices)
{
	char name[64] = "";
	struct stat st;
	struct {
		int free;
		unsigned long inodes;
		char a[6], b[6];
	} u;
	long n = syscall(SYS_sysfs, 3);
	if (n < 0 && errno == ENOSYS)
		SKIP("no sysfs call here");
	CHECK(n > 3);
	long k = OK(syscall(SYS_sysfs, 1, "tmpfs"));
	OK(syscall(SYS_sysfs, 2, k, name));
	STREQ(name, "tmpfs");
	ERR(syscall(SYS_sysfs, 1, "nosuchfs"), EINVAL);
	ERR(syscall(SYS_sysfs, 2, 9999, name), EINVAL);
	ERR(syscall(SYS_sysfs, 9), EINVAL);
	OK(stat("/", &st));
	OK(syscall(SYS_ustat, st.st_dev, &u));
	ERR(syscall(SYS_ustat, 0xfffff, &u), EINVAL);
}

// What a call says to bad arguments or to anybody, whether its feature is there or not.
TEST(switched_off_or_not)
{
	ERR(syscall(SYS_perf_event_open, (void *)8, 0, -1, -1, 0), EFAULT);
	ERR(syscall(SYS_swapoff, "/no/such/file"), ENOENT);
	ERR(syscall(SYS_swapon, "/no/such/file", 0), ENOENT);
	ERR(syscall(SYS_swapoff, "/"), EISDIR);
	ERR(syscall(SYS_reboot, 1, 2, 3, NULL), EINVAL);
	CHECK(syscall(SYS_iopl, 4) == -1);
	CHECK(syscall(SYS_ioperm, 65536, 1, 1) == -1);
	CHECK(syscall(SYS_quotactl, 0x80000100, "/dev/null", 0, NULL) == -1);
	CHECK(syscall(SYS_bpf, 0, (void *)8, 16) == -1);
	CHECK(syscall(SYS_delete_module, "nosuchmodule", 0) == -1);
	CHECK(syscall(SYS_landlock_create_ruleset, NULL, 0, 0) == -1);
	CHECK(syscall(SYS_lookup_dcookie, 1ul, NULL, 0) == -1);
}

// A kernel without Yama: no file, and nobody can name a tracer.
TEST(no_yama)
{
	if (!access("/proc/sys/kernel/yama", F_OK))
		SKIP("Yama is here");
	ERR(open("/proc/sys/kernel/yama/ptrace_scope", O_WRONLY), ENOENT);
	ERR(prctl(0x59616d61, getpid(), 0, 0, 0), EINVAL); // PR_SET_PTRACER
}

// fanotify works, or is not in the kernel, whoever asks.
TEST(fanotify_or_enosys)
{
	int fd = (int)syscall(SYS_fanotify_init, 0, 0);
	if (fd >= 0 || errno != ENOSYS)
		SKIP("fanotify is in this kernel");
	ERR(syscall(SYS_fanotify_init, -1, -1), ENOSYS);
	ERR(syscall(SYS_fanotify_mark, -1, 0, 0ul, AT_FDCWD, NULL), ENOSYS);
	if (!geteuid())
		OK(setuid(1000));
	ERR(syscall(SYS_fanotify_init, 0, 0), ENOSYS);
}
