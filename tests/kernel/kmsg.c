// SPDX-License-Identifier: Apache-2.0
// /dev/kmsg: the kernel's messages. What the host's log says is only read; records are written inside an enclave only.
#include "t.h"
#include <poll.h>

static int open_log(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
	if (fd < 0)
		SKIP("no /dev/kmsg here");
	return fd;
}

TEST(a_record_a_read)
{
	char buf[8192];
	int fd = open_log();
	ssize_t n = read(fd, buf, sizeof(buf) - 1);
	if (n < 0) {
		CHECK(errno == EAGAIN || errno == EPIPE);
	} else {
		unsigned prio;
		unsigned long seq, us;
		buf[n] = 0;
		CHECK(sscanf(buf, "%u,%lu,%lu,", &prio, &seq, &us) == 3);
		CHECK(strchr(buf, ';') && buf[n - 1] == '\n');
	}
	EQ(lseek(fd, 0, SEEK_END), 0);
	EQ(lseek(fd, 0, SEEK_SET), 0);
	EQ(lseek(fd, 0, SEEK_DATA), 0);
	ERR(lseek(fd, 5, SEEK_SET), ESPIPE);
	ERR(lseek(fd, 0, SEEK_CUR), EINVAL);
}

TEST(not_for_everybody)
{
	close(open_log());
	pid_t p = fork();
	if (!p) {
		OK(setgid(1234));
		OK(setuid(1234));
		int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
		_exit(fd < 0 && (errno == EPERM || errno == EACCES) ? 0 : 1);
	}
	EQ(t_wait(p), 0);
}

TEST(what_is_written_is_read)
{
	char buf[512], want[64];
	if (access("/proc/coffer", F_OK))
		SKIP("only inside an enclave");
	int fd = open_log(), w = OK(open("/dev/kmsg", O_WRONLY));
	OK(lseek(fd, 0, SEEK_END));
	ERR(read(fd, buf, sizeof(buf)), EAGAIN);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	EQ(poll(&p, 1, 0), 0);
	EQ(write(w, "<5>one\ttwo\n", 11), 11);
	EQ(write(w, "plain", 5), 5);
	EQ(poll(&p, 1, 0), 1);
	ssize_t n = OK(read(fd, buf, sizeof(buf) - 1));
	buf[n] = 0;
	EQ(strncmp(buf, "13,", 3), 0);
	STREQ(strchr(buf, ';'), ";one\\x09two\n");
	n = OK(read(fd, buf, sizeof(buf) - 1));
	buf[n] = 0;
	EQ(strncmp(buf, "12,", 3), 0);
	STREQ(strchr(buf, ';'), ";plain\n");
	for (int i = 0; i < 200; i++) {
		snprintf(want, sizeof(want), "<6>number %d", i);
		EQ(write(w, want, strlen(want)), strlen(want));
	}
	ERR(read(fd, buf, sizeof(buf)), EPIPE);
	CHECK(read(fd, buf, sizeof(buf)) > 0);
	EQ(lseek(fd, 0, SEEK_SET), 0);
	ERR(read(fd, buf, 4), EINVAL);
}
