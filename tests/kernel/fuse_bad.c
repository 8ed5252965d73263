// SPDX-License-Identifier: Apache-2.0
// FUSE mounts whose daemon is slow, forgetful, hostile or gone, and who may use a mount.
#include "fusefs.h"

TEST_DIR(a_daemon_that_is_killed)
{
	char b[8];
	struct stat st;
	fuse_mount();
	int fd = OK(open("m/hello", O_RDONLY));
	t_end(daemon_pid);
	ERR(pread(fd, b, 8, 0), ENOTCONN);
	ERR(stat("m/dir", &st), ENOTCONN);
	ERR(open("m/x", O_CREAT | O_RDWR, 0600), ENOTCONN);
	ERR(close(fd), ENOTCONN);
	OK(umount("m"));
}

static void bad(enum bad how, uint32_t op)
{
	fs.bad = how;
	fs.bad_op = op;
	fuse_mount();
}

TEST_DIR(it_dies_over_a_request)
{
	struct stat st;
	bad(DIES, FUSE_LOOKUP);
	ERR(stat("m/hello", &st), ECONNABORTED);
	ERR(stat("m/hello", &st), ENOTCONN);
	OK(umount("m"));
}

TEST_DIR(replies_that_are_too_short)
{
	struct stat st;
	bad(SHORT_REPLY, FUSE_LOOKUP);
	ERR(stat("m/hello", &st), EIO);
	CHECK(hears('W')); // its write failed
}

TEST_DIR(replies_that_are_too_long)
{
	bad(LONG_REPLY, FUSE_GETATTR);
	struct stat st;
	ERR(stat("m/hello", &st) || fstatat(AT_FDCWD, "m", &st, 0) ? -1 : 0, EIO);
}

TEST_DIR(an_inode_without_a_type)
{
	struct stat st;
	bad(NO_TYPE, FUSE_LOOKUP);
	ERR(stat("m/hello", &st), EIO);
}

TEST_DIR(a_file_that_says_it_is_the_root)
{
	struct stat st;
	bad(ROOT_ID, FUSE_LOOKUP);
	ERR(stat("m/hello", &st), EIO);
}

TEST_DIR(a_name_with_a_slash)
{
	char b[1024];
	bad(DIRENT_NUL, FUSE_READDIR);
	int fd = OK(open("m", O_RDONLY));
	ERR(syscall(SYS_getdents64, fd, b, sizeof(b)), EIO);
}

TEST_DIR(a_name_that_is_too_long)
{
	char b[1024];
	bad(DIRENT_LONG, FUSE_READDIR);
	int fd = OK(open("m", O_RDONLY));
	ERR(syscall(SYS_getdents64, fd, b, sizeof(b)), EIO);
}

TEST_DIR(an_error_that_is_none)
{
	struct stat st;
	bad(BIG_ERROR, FUSE_LOOKUP);
	ERR(stat("m/hello", &st), EIO);
	CHECK(hears('W'));
}

TEST_DIR(an_answer_that_nobody_asked_for)
{
	struct stat st;
	bad(LIAR, FUSE_LOOKUP);
	ERR(stat("m/hello", &st), EIO);
}

static void nothing(int sig) { (void)sig; }

TEST_DIR(a_signal_interrupts)
{
	char b[8];
	bad(SILENT, FUSE_READ);
	int fd = OK(open("m/hello", O_RDONLY));
	t_on(SIGUSR1, nothing, 0);
	pid_t pest = t_pester(getpid(), SIGUSR1);
	ERR(read(fd, b, 8), EINTR);
	t_end(pest);
	CHECK(hears('I'));
}

static void until_asleep(pid_t p)
{
	char path[32], state = 'R';
	snprintf(path, sizeof(path), "/proc/%d/stat", p);
	while (state != 'S' && state != 'D') {
		const char *end = strrchr(t_get(path), ')');
		CHECK(end);
		state = end[2];
		usleep(1000);
	}
}

TEST_DIR(a_signal_before_the_daemon_reads)
{
	bad(SILENT, FUSE_READ);
	int fd = OK(open("m/hello", O_RDONLY)), status;
	OK(kill(daemon_pid, SIGSTOP));
	EQ(waitpid(daemon_pid, &status, WUNTRACED), daemon_pid);
	t_on(SIGUSR1, nothing, 0);
	pid_t p = OK(fork());
	if (!p) {
		char b[8];
		_exit(read(fd, b, 8) < 0 && errno == EINTR ? 0 : 1);
	}
	until_asleep(p);
	OK(kill(p, SIGUSR1));
	OK(kill(daemon_pid, SIGCONT));
	EQ(waitpid(p, &status, 0), p);
	EQ(status, 0);
	CHECK(hears('I'));
}

TEST_DIR(a_request_that_the_daemon_has_no_room_for)
{
	static char value[20000];
	fs.small = true;
	fuse_mount();
	memset(value, 'v', sizeof(value));
	ERR(setxattr("m/hello", "user.long", value, sizeof(value), 0), E2BIG);
	OK(setxattr("m/hello", "user.short", value, 50, 0));
	EQ(getxattr("m/hello", "user.short", NULL, 0), 50);
}

TEST_DIR(who_is_killed_waits_no_longer)
{
	bad(SILENT, FUSE_READ);
	pid_t p = fork();
	if (!p) {
		char b[8];
		int fd = open("m/hello", O_RDONLY);
		_exit((int)read(fd, b, 8));
	}
	CHECK(hears('S'));
	t_end(p);
	struct stat st;
	OK(stat("m/dir", &st)); // the daemon goes on
}

TEST_DIR(without_create_and_open)
{
	fs.no_create = fs.no_open = true;
	fuse_mount();
	t_put("m/new", "made by mknod");
	STREQ(t_get("m/new"), "made by mknod");
	STREQ(t_get("m/hello"), "hello fuse\n");
}

TEST_DIR(others_are_not_let_in)
{
	fuse_mount();
	OK(chmod(".", 0755));
	pid_t p = fork();
	if (!p) {
		OK(setgid(1234));
		OK(setuid(1234));
		struct stat st;
		ERR(stat("m/hello", &st), EACCES);
		ERR(open("m", O_RDONLY), EACCES);
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

TEST_DIR(others_with_permission)
{
	fuse_mount_with(",allow_other,default_permissions");
	OK(chmod(".", 0755));
	pid_t p = fork();
	if (!p) {
		OK(setgid(1234));
		OK(setuid(1234));
		STREQ(t_get("m/hello"), "hello fuse\n");
		ERR(open("m/dir/inner", O_RDONLY), EACCES);
		ERR(open("m/hello", O_WRONLY), EACCES);
		ERR(mkdir("m/x", 0700), EACCES);
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

TEST_DIR(what_is_known_is_forgotten)
{
	fuse_mount();
	STREQ(t_get("m/hello"), "hello fuse\n");
	OK(umount("m"));
	char got;
	bool wrong = false;
	struct pollfd p = {.fd = ears, .events = POLLIN};
	while (poll(&p, 1, 10000) > 0 && read(ears, &got, 1) == 1 && got != 'E')
		wrong |= got == '!';
	CHECK(!wrong);
}

TEST_DIR(not_forgotten_while_it_is_released)
{
	bad(LATE, FUSE_RELEASE);
	int fd = OK(open("m/hello", O_RDONLY));
	OK(unlink("m/hello"));
	OK(close(fd));
	char got = 0;
	bool wrong = false;
	struct pollfd p = {.fd = ears, .events = POLLIN};
	while (got != 'L' && poll(&p, 1, 10000) > 0 && read(ears, &got, 1) == 1)
		wrong |= got == '!';
	CHECK(got == 'L' && !wrong);
	CHECK(hears('F')); // afterwards it is
}

// An answer about a file that is older than what was done to it since does not count.
TEST_DIR(attributes_that_are_out_of_date)
{
	bad(STALE, FUSE_GETATTR);
	int fd = OK(open("m/hello", O_RDWR));
	struct stat st;
	pid_t p = OK(fork());
	if (!p)
		_exit(fstat(fd, &st) != 0);
	CHECK(hears('S'));
	OK(ftruncate(fd, 3));
	CHECK(hears('L'));
	EQ(t_wait(p), 0);
	OK(fstat(fd, &st));
	EQ(st.st_size, 3);
}

// The daemon says that a file has become shorter: mappings of it lose the rest.
TEST_DIR(a_file_that_shrinks_by_itself)
{
	fuse_mount();
	int fd = OK(open("m/long", O_RDWR | O_CREAT, 0644));
	for (int i = 0; i < 3; i++)
		OK(pwrite(fd, "x", 1, i * 4096L));
	char *map = OK(mmap(NULL, 3 * 4096, PROT_READ, MAP_PRIVATE, fd, 0));
	EQ(map[8192], 'x');
	OK(fsetxattr(fd, "user.shrink", "", 0, 0));
	struct stat st;
	OK(fstat(fd, &st));
	EQ(st.st_size, 4096);
	pid_t p = OK(fork());
	if (!p)
		_exit(map[0] == 'x' ? map[8192] : 3);
	int status;
	EQ(OK(waitpid(p, &status, 0)), p);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

TEST_DIR(what_is_made_is_something_else)
{
	bad(WRONG_TYPE, FUSE_MKDIR);
	ERR(mkdir("m/new", 0755), EIO);
}
