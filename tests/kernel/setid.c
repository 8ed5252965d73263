// SPDX-License-Identifier: Apache-2.0
// What a new program gains: set-user-id bits and root's capabilities, and who must not gain them. Needs root; the programs lie on a
// tmpfs in a mount namespace of the case's own.
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sendfile.h>

#include "tests/kernel/t.h"

static unsigned long caps(const char *which)
{
	const char *text = t_get("/proc/self/status"), *p = strstr(text, which);
	CHECK(p);
	return strtoul(p + strlen(which) + 1, NULL, 16);
}

// Exit code: 1 effective uid 0, 2 effective gid 0, 4 all of the bounding set is permitted, 8 it has some capability
HELPER(tell) { return (geteuid() ? 0 : 1) | (getegid() ? 0 : 2) | (caps("CapPrm:") == caps("CapBnd:") ? 4 : 0) | (caps("CapEff:") ? 8 : 0); }

static void program(mode_t mode)
{
	struct stat st;
	if (geteuid())
		SKIP("not root");
	if (unshare(CLONE_NEWNS) < 0 && errno == EPERM)
		SKIP("not allowed to make namespaces");
	if (!t_root_is_mount_point())
		SKIP("the root is no mount point");
	OK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	OK(chmod(".", 0755));
	OK(mkdir("m", 0755));
	OK(mount("none", "m", "tmpfs", 0, "mode=755"));
	int to = OK(open("m/t", O_CREAT | O_WRONLY, 0755)), from = OK(open(t_self, O_RDONLY));
	OK(fstat(from, &st));
	EQ(sendfile(to, from, NULL, (size_t)st.st_size), st.st_size);
	OK(fchmod(to, mode));
	OK(close(to));
}

static void be_user(void)
{
	OK(setgroups(0, NULL));
	OK(setresgid(1234, 1234, 1234));
	OK(setresuid(1234, 1234, 1234));
	OK(prctl(PR_SET_DUMPABLE, 1));
}

static void run(void)
{
	execl("m/t", "t", "--helper", "tell", NULL);
	_exit(99);
}

TEST_DIR(gained)
{
	program(06755);
	pid_t p = OK(fork());
	if (!p) {
		be_user();
		run();
	}
	EQ(t_wait(p), 15);
}

TEST_DIR(not_with_no_new_privs)
{
	program(06755);
	pid_t p = OK(fork());
	if (!p) {
		be_user();
		OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		run();
	}
	EQ(t_wait(p), 0);
}

static void drop_caps(void)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2] = {{0}};
	OK(syscall(SYS_capset, &h, d));
}

// Root gets its capabilities back with each program, unless it gave that up.
TEST_DIR(capabilities_of_root)
{
	program(0755);
	pid_t p = OK(fork());
	if (!p) {
		drop_caps();
		run();
	}
	EQ(t_wait(p), 15);
	p = OK(fork());
	if (!p) {
		OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		drop_caps();
		run();
	}
	EQ(t_wait(p), 3);
	p = OK(fork());
	if (!p) {
		OK(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
		run();
	}
	EQ(t_wait(p), 15);
}

static int traced(bool by_root)
{
	pid_t p = OK(fork()), q;
	if (!p) {
		if (!by_root)
			be_user();
		q = OK(fork());
		if (!q) {
			OK(ptrace(PTRACE_TRACEME, 0, 0, 0));
			if (by_root)
				be_user();
			run();
		}
		int st;
		while (waitpid(q, &st, 0) == q && WIFSTOPPED(st))
			OK(ptrace(PTRACE_CONT, q, 0, WSTOPSIG(st) == SIGTRAP ? 0 : WSTOPSIG(st)));
		_exit(WIFEXITED(st) ? WEXITSTATUS(st) : 98);
	}
	return t_wait(p);
}

// Who traces a program, or shares its directories, rules it: it gains nothing that they do not have.
TEST_DIR(not_when_traced)
{
	program(06755);
	EQ(traced(true), 15);
	EQ(traced(false), 0);
}

static char stack[65536] __attribute__((aligned(16)));

static int sharer(void *arg)
{
	char c;
	return read(*(int *)arg, &c, 1) != 1;
}

TEST_DIR(not_when_directories_are_shared)
{
	int pipes[2];
	program(06755);
	OK(pipe(pipes));
	pid_t p = OK(fork());
	if (!p) {
		be_user();
		OK(clone(sharer, stack + sizeof(stack), CLONE_FS | SIGCHLD, pipes));
		run();
	}
	EQ(t_wait(p), 0);
	OK(write(pipes[1], "x", 1));
}
