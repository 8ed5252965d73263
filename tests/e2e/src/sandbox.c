// SPDX-License-Identifier: Apache-2.0
// Puts itself under filters that libseccomp makes, and looks at what they do.
#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static int child(uint32_t action)
{
	int st;
	pid_t p = fork();

	if (p == 0) {
		scmp_filter_ctx c = seccomp_init(SCMP_ACT_ALLOW);
		if (!c || seccomp_rule_add(c, action, SCMP_SYS(getppid), 0) || seccomp_load(c))
			_exit(100);
		long r = getppid(); // does not set errno
		_exit(r > 0 ? 1 : (int)-r);
	}
	if (p < 0 || waitpid(p, &st, 0) != p)
		return -1;
	return WIFSIGNALED(st) ? -WTERMSIG(st) : WEXITSTATUS(st);
}

int main(void)
{
	printf("errno %d, kill %d, log %d\n", child(SCMP_ACT_ERRNO(42)), child(SCMP_ACT_KILL_PROCESS), child(SCMP_ACT_LOG));
	fflush(stdout);

	// only what is listed, with conditions on arguments
	scmp_filter_ctx c = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	static const int fine[] = {SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(close), SCMP_SYS(exit_group), SCMP_SYS(newfstatat), SCMP_SYS(brk)};
	int r = !c;
	for (size_t i = 0; i < sizeof(fine) / sizeof(*fine); i++)
		r |= seccomp_rule_add(c, SCMP_ACT_ALLOW, fine[i], 0);
	r |= seccomp_rule_add(c, SCMP_ACT_ALLOW, SCMP_SYS(openat), 1, SCMP_A2(SCMP_CMP_MASKED_EQ, O_ACCMODE, O_RDONLY));
	r |= seccomp_attr_set(c, SCMP_FLTATR_CTL_OPTIMIZE, 2); // a binary tree
	r |= seccomp_load(c);
	if (r) {
		printf("libseccomp: %d\n", r);
		return 1;
	}
	printf("read only: %d\n", openat(AT_FDCWD, "/dev/null", O_RDONLY) >= 0);
	int fd = openat(AT_FDCWD, "/dev/null", O_WRONLY);
	printf("write: %d %s\n", fd, strerror(errno));
	printf("fork: %d %s\n", fork(), strerror(errno));
	return 0;
}
