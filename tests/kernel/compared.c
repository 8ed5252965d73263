// SPDX-License-Identifier: Apache-2.0
// Small things that other library kernels and sandboxes have and that no other test looks at.
#include "tests/kernel/t.h"
#include <linux/capability.h>
#include <linux/netlink.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/vfs.h>

static bool may(int cap)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];
	OK(syscall(SYS_capget, &h, d));
	return d[cap / 32].effective >> (cap % 32) & 1;
}

TEST(secure_bits)
{
	if (!may(CAP_SETPCAP) || !may(CAP_SETUID))
		SKIP("may not set them");
	EQ(prctl(PR_GET_SECUREBITS), 0);
	OK(prctl(PR_SET_KEEPCAPS, 1));
	EQ(prctl(PR_GET_SECUREBITS), SECBIT_KEEP_CAPS);
	ERR(prctl(PR_SET_KEEPCAPS, 2), EINVAL);
	ERR(prctl(PR_SET_SECUREBITS, 0x10000), EPERM);
	OK(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP | SECBIT_KEEP_CAPS_LOCKED));
	EQ(prctl(PR_GET_KEEPCAPS), 0);
	ERR(prctl(PR_SET_KEEPCAPS, 1), EPERM);
	ERR(prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP), EPERM); // a lock stays
	OK(setresuid(1000, 1000, 1000));
	CHECK(may(CAP_SETPCAP)); // no fix-up: capabilities stay
	OK(prctl(PR_SET_SECUREBITS, SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE));
	ERR(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SETUID, 0, 0), EPERM);
}

HELPER(show_caps)
{
	return may(CAP_SETPCAP) ? 2 : prctl(PR_GET_SECUREBITS) == SECBIT_NOROOT ? 3 : 4;
}

TEST(secure_bits_noroot)
{
	if (!may(CAP_SETPCAP) || getuid())
		SKIP("not root");
	pid_t p = OK(fork());
	if (!p) {
		OK(prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_KEEP_CAPS));
		execl(t_self, t_self, "--helper", "show_caps", NULL);
		_exit(9);
	}
	EQ(t_wait(p), 3); // root's program has no capabilities, and exec clears KEEP_CAPS
}

TEST(uevent_socket_is_silent)
{
	struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_groups = 1};
	char c;
	int s = OK(socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, NETLINK_KOBJECT_UEVENT));
	OK(bind(s, (void *)&a, sizeof(a)));
	ERR(recv(s, &c, 1, 0), EAGAIN);
}

TEST(interface_map)
{
	struct ifreq r = {.ifr_name = "lo"};
	OK(ioctl(OK(socket(AF_INET, SOCK_DGRAM, 0)), SIOCGIFMAP, &r));
	EQ(r.ifr_map.mem_start, 0);
	EQ(r.ifr_map.irq, 0);
}

TEST_DIR(ramfs)
{
	struct statfs st;
	if (!may(CAP_SYS_ADMIN) || unshare(CLONE_NEWNS))
		SKIP("may not mount");
	OK(mkdir("m", 0700));
	OK(mount("none", "m", "ramfs", 0, NULL));
	t_put("m/f", "text");
	STREQ(t_get("m/f"), "text");
	OK(statfs("m", &st));
	EQ(st.f_type, 0x858458f6);
	OK(umount("m"));
	ERR(open("m/f", O_RDONLY), ENOENT);
}
