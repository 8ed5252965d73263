// SPDX-License-Identifier: Apache-2.0
// See listen.h.
#include "tunnel/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tunnel/transparent.h"

#define BACKLOG 4096

// A path that nobody listens at any more may be taken.
static void clear_path(const struct config_address *a)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)&a->sa;
	struct stat st;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd >= 0 && !lstat(un->sun_path, &st) && S_ISSOCK(st.st_mode) && connect(fd, (const struct sockaddr *)un, a->len) && errno == ECONNREFUSED)
		unlink(un->sun_path);
	if (fd >= 0)
		close(fd);
}

static void set_options(int fd, int family)
{
	static const struct { int level, name, value; } options[] = {
		{SOL_SOCKET, SO_REUSEADDR, 1}, {SOL_SOCKET, SO_KEEPALIVE, 1}, {IPPROTO_TCP, TCP_NODELAY, 1}, {IPPROTO_TCP, TCP_KEEPIDLE, 60},
		{IPPROTO_TCP, TCP_KEEPINTVL, 15}, {IPPROTO_TCP, TCP_KEEPCNT, 4},
	};
	if (family == AF_UNIX)
		return;
	for (unsigned int i = 0; i < sizeof options / sizeof *options; i++)
		setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(int));
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){1}, sizeof(int));
}

int listen_at(const struct config_address *a, unsigned int mode, bool transparent, struct config_address *bound, struct fault *f)
{
	int family = a->sa.ss_family, err = 0;
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fault_errno(f, errno, "cannot listen at %s", a->text);
	set_options(fd, family);
	if (transparent)
		transparent_prepare(fd, family);	// without the capability `redirect` works all the same
	if (family == AF_UNIX)
		clear_path(a);
	bound->len = sizeof bound->sa;
	mode_t before = umask(family == AF_UNIX ? 0777 & ~mode : 0077);
	if (bind(fd, (const struct sockaddr *)&a->sa, a->len) || listen(fd, BACKLOG) || getsockname(fd, (struct sockaddr *)&bound->sa, &bound->len))
		err = fault_errno(f, errno, "cannot listen at %s", a->text);
	umask(before);
	if (err) {
		close(fd);
		return err;
	}
	config_address_text(bound->text, (const struct sockaddr *)&bound->sa, bound->len);
	return fd;
}

void listen_forget(const struct config_address *a)
{
	if (a->sa.ss_family == AF_UNIX)
		unlink(((const struct sockaddr_un *)&a->sa)->sun_path);
}
