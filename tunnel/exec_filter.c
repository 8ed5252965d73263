// SPDX-License-Identifier: Apache-2.0
// The child's half of exec.h: the filter, and the way to the program. Runs between fork and exec: system calls only, no memory, no locks.
#include "tunnel/exec_filter.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define LOW(n_) (uint32_t)(offsetof(struct seccomp_data, args) + (n_) * 8)	// little-endian
#define LOAD(at_) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (at_))
#define IF(value_, yes_, no_) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (value_), (yes_), (no_))
#define IF_BITS(bits_, yes_, no_) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, (bits_), (yes_), (no_))
#define RETURN(what_) BPF_STMT(BPF_RET | BPF_K, (what_))
#define FAIL(errno_) RETURN(SECCOMP_RET_ERRNO | (errno_))
#define X32 0x40000000u

int exec_filter(void)
{
	static const struct sock_filter code[] = {
		LOAD(offsetof(struct seccomp_data, arch)),
		IF(AUDIT_ARCH_X86_64, 1, 0),
		FAIL(ENOSYS),		// 32-bit programs: their calls have other numbers
		LOAD(offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32, 0, 1),
		FAIL(ENOSYS),
		IF(SYS_connect, 0, 1),
		RETURN(SECCOMP_RET_USER_NOTIF),
		IF(SYS_socket, 0, 19),
		LOAD(LOW(0)),
		IF(AF_PACKET, 15, 0),
		IF(AF_UNIX, 13, 0),
		IF(AF_NETLINK, 12, 0),	// resolvers ask it for this machine's addresses
		IF(AF_ALG, 11, 0),
		IF(AF_INET, 1, 0),
		IF(AF_INET6, 0, 11),	// others reach the world by ways of their own, some (AF_SMC) by TCP
		LOAD(LOW(1)),
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xf),
		IF(SOCK_STREAM, 1, 0),
		RETURN(SECCOMP_RET_USER_NOTIF),	// datagrams: the socket is made for it
		LOAD(LOW(2)),
		IF(0, 3, 0),
		IF(IPPROTO_TCP, 2, 0),
		IF(IPPROTO_MPTCP, 1, 0),
		FAIL(EPROTONOSUPPORT),	// SCTP connects while it sends
		RETURN(SECCOMP_RET_ALLOW),
		FAIL(EPERM),
		FAIL(EAFNOSUPPORT),
		// what would connect while it sends
		IF(SYS_sendto, 0, 9),
		LOAD(LOW(3)),
		IF_BITS(MSG_FASTOPEN, 0, 1),
		FAIL(EOPNOTSUPP),
		LOAD(LOW(4)),
		IF(0, 0, 3),
		LOAD(LOW(4) + 4),
		IF(0, 0, 1),
		RETURN(SECCOMP_RET_ALLOW),
		RETURN(SECCOMP_RET_USER_NOTIF),	// to an address: this machine's name server may be there
		IF(SYS_sendmsg, 0, 2),
		LOAD(LOW(2)),
		IF_BITS(MSG_FASTOPEN, 3, 4),
		IF(SYS_sendmmsg, 0, 4),
		LOAD(LOW(3)),
		IF_BITS(MSG_FASTOPEN, 0, 1),
		FAIL(EOPNOTSUPP),
		RETURN(SECCOMP_RET_ALLOW),
		IF(SYS_io_uring_setup, 0, 1),
		FAIL(ENOSYS),		// its requests pass no filter
		RETURN(SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = (struct sock_filter *)code};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	int fd = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
	return fd < 0 ? -errno : fd;
}

static bool send_fd(int channel, int fd)
{
	char control[CMSG_SPACE(sizeof fd)] = {0};
	struct iovec byte = {.iov_base = "", .iov_len = 1};
	struct msghdr m = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	return sendmsg(channel, &m, MSG_NOSIGNAL) == 1;
}

void exec_child(int channel, char *const *argv, const sigset_t *mask)
{
	char go;
	if (read(channel, &go, 1) != 1)
		_exit(127);	// the gateway did not come up
	int fd = exec_filter(), err = fd;
	if (fd >= 0) {
		if (!send_fd(channel, fd) || read(channel, &go, 1) != 1)
			_exit(127);
		close(fd);
		sigprocmask(SIG_SETMASK, mask, NULL);
		execvp(argv[0], argv);
		err = -errno;
	}
	if (write(channel, &err, sizeof err) != sizeof err)
		_exit(126);
	_exit(127);
}
