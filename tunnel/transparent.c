// SPDX-License-Identifier: Apache-2.0
// See transparent.h. The lock is own.lock; nothing else is taken under it.
#include "tunnel/transparent.h"

#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

// <linux/netfilter_ipv4.h> and <linux/netfilter_ipv6/ip6_tables.h> do not go with libc's headers.
#define SO_ORIGINAL_DST 80
#define IP6T_SO_ORIGINAL_DST 80
#define OWN_SLOTS 8192
#define OWN_SECONDS 60		// a connection that was redirected is accepted long before

// A connection of the gateway's: from where, to where.
struct own {
	struct target from, to;
	time_t at;
};

static struct {
	pthread_mutex_t lock;
	atomic_bool wanted;
	struct own slot[OWN_SLOTS];
} own = {.lock = PTHREAD_MUTEX_INITIALIZER};

static time_t seconds(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec;
}

static struct own *slot_of(const struct target *from)
{
	uint32_t h = 0x811c9dc5u ^ from->port;
	for (size_t i = 0; i < sizeof from->address; i++)
		h = (h ^ from->address[i]) * 0x01000193u;
	return &own.slot[(h ^ h >> 15) % OWN_SLOTS];
}

static int local_of(int fd, struct target *t)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;
	return getsockname(fd, (struct sockaddr *)&sa, &len) ? -errno : target_set_address(t, (struct sockaddr *)&sa);
}

static int peer_of(int fd, struct target *t)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;
	return getpeername(fd, (struct sockaddr *)&sa, &len) ? -errno : target_set_address(t, (struct sockaddr *)&sa);
}

int own_connect(int fd, const struct sockaddr *sa, socklen_t len)
{
	struct own made = {0};
	if (!atomic_load_explicit(&own.wanted, memory_order_relaxed))
		return connect(fd, sa, len) ? -errno : 0;
	// On the loopback the other end may be accepted before connect returns: who looks it up waits here.
	pthread_mutex_lock(&own.lock);
	int err = connect(fd, sa, len) ? -errno : 0;
	if ((!err || err == -EINPROGRESS) && !target_set_address(&made.to, sa) && !local_of(fd, &made.from)) {
		made.at = seconds();
		*slot_of(&made.from) = made;
	}
	pthread_mutex_unlock(&own.lock);
	return err;
}

static bool is_own(const struct target *from, const struct target *to)
{
	pthread_mutex_lock(&own.lock);
	const struct own *o = slot_of(from);
	bool found = o->at && target_equal(&o->from, from) && target_equal(&o->to, to) && seconds() - o->at < OWN_SECONDS;
	pthread_mutex_unlock(&own.lock);
	return found;
}

int transparent_prepare(int fd, int family)
{
	const int on = 1;
	int err = family == AF_INET6 ? setsockopt(fd, SOL_IPV6, IPV6_TRANSPARENT, &on, sizeof on) :
		  setsockopt(fd, SOL_IP, IP_TRANSPARENT, &on, sizeof on);
	atomic_store(&own.wanted, true);
	return err ? -errno : 0;
}

// What conntrack remembers of a rewritten destination. An IPv4 client of an IPv6 socket is asked for as IPv4.
static int original_of(int fd, struct target *t, bool ipv4)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;
	if (ipv4 ? getsockopt(fd, SOL_IP, SO_ORIGINAL_DST, &sa, &len) : getsockopt(fd, SOL_IPV6, IP6T_SO_ORIGINAL_DST, &sa, &len))
		return -errno;
	return target_set_address(t, (struct sockaddr *)&sa);
}

static bool is_transparent(int fd, bool ipv4)
{
	int on = 0;
	socklen_t len = sizeof on;
	return !(ipv4 ? getsockopt(fd, SOL_IP, IP_TRANSPARENT, &on, &len) : getsockopt(fd, SOL_IPV6, IPV6_TRANSPARENT, &on, &len)) && on;
}

// Is it an address of this machine? Only those can be bound to.
static bool is_local(const struct target *t)
{
	struct target any_port = *t;
	struct sockaddr_storage sa;
	any_port.port = 0;
	socklen_t len = target_sockaddr(&any_port, &sa);
	int fd = socket(sa.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool local = fd >= 0 && !bind(fd, (struct sockaddr *)&sa, len);
	if (fd >= 0)
		close(fd);
	return local;
}

int transparent_target(int fd, uint16_t listen_port, struct target *t)
{
	struct target local, peer, meant;
	int err = local_of(fd, &local);
	if (!err)
		err = peer_of(fd, &peer);
	if (err)
		return err;
	err = original_of(fd, &meant, local.host == TARGET_IPV4);
	if (err || target_equal(&meant, &local)) {
		// Not rewritten: `tproxy` leaves the destination as it was, which is then no socket of the gateway's.
		if (!is_transparent(fd, local.host == TARGET_IPV4) || (local.port == listen_port && is_local(&local)))
			return err && err != -ENOENT && err != -ENOPROTOOPT && err != -EOPNOTSUPP ? err : -ELOOP;
		meant = local;
	}
	if (is_own(&peer, &meant))
		return -ELOOP;
	*t = meant;
	return 0;
}
