// SPDX-License-Identifier: Apache-2.0
// See netlink.h. One request and its answer a socket: it is done a few times in a process's life.
#include "tunnel/netlink.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct request {
	struct nlmsghdr head;
	union {
		struct ifinfomsg link;
		struct ifaddrmsg address;
		struct rtmsg route;
		char space[256];
	};
};

static void add(struct request *r, unsigned short type, const void *value, size_t len)
{
	struct rtattr *a = (struct rtattr *)((char *)r + NLMSG_ALIGN(r->head.nlmsg_len));
	a->rta_type = type;
	a->rta_len = (unsigned short)RTA_LENGTH(len);
	memcpy(RTA_DATA(a), value, len);
	r->head.nlmsg_len = (unsigned int)(NLMSG_ALIGN(r->head.nlmsg_len) + RTA_ALIGN(a->rta_len));
}

static int ask(struct request *r)
{
	const struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct {
		struct nlmsghdr head;
		struct nlmsgerr error;
		char rest[1024];
	} answer;
	int err = 0, fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	if (fd < 0)
		return -errno;
	r->head.nlmsg_flags |= NLM_F_REQUEST | NLM_F_ACK;
	if (sendto(fd, r, r->head.nlmsg_len, 0, (const struct sockaddr *)&kernel, sizeof kernel) < 0) {
		err = -errno;
		goto out;
	}
	ssize_t n = recv(fd, &answer, sizeof answer, 0);
	if (n < 0)
		err = -errno;
	else if ((size_t)n < NLMSG_LENGTH(sizeof answer.error) || answer.head.nlmsg_type != NLMSG_ERROR)
		err = -EPROTO;
	else
		err = answer.error.error;
out:
	close(fd);
	return err;
}

static size_t address_len(const struct prefix *p)
{
	return p->version == 4 ? 4 : 16;
}

int netlink_up(unsigned int index, unsigned int mtu)
{
	struct request r = {.head = {.nlmsg_len = NLMSG_LENGTH(sizeof r.link), .nlmsg_type = RTM_NEWLINK},
			    .link = {.ifi_family = AF_UNSPEC, .ifi_index = (int)index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP}};
	add(&r, IFLA_MTU, &mtu, sizeof mtu);
	return ask(&r);
}

int netlink_address(unsigned int index, const struct prefix *p)
{
	struct request r = {.head = {.nlmsg_len = NLMSG_LENGTH(sizeof r.address), .nlmsg_type = RTM_NEWADDR,
				     .nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE},
			    .address = {.ifa_family = p->version == 4 ? AF_INET : AF_INET6, .ifa_prefixlen = p->bits, .ifa_index = index,
					.ifa_flags = IFA_F_NODAD}};	// nobody else is on this device
	add(&r, IFA_LOCAL, p->address, address_len(p));
	add(&r, IFA_ADDRESS, p->address, address_len(p));
	return ask(&r);
}

int netlink_route(unsigned int index, const struct prefix *p)
{
	struct request r = {.head = {.nlmsg_len = NLMSG_LENGTH(sizeof r.route), .nlmsg_type = RTM_NEWROUTE,
				     .nlmsg_flags = NLM_F_CREATE | NLM_F_REPLACE},
			    .route = {.rtm_family = p->version == 4 ? AF_INET : AF_INET6, .rtm_dst_len = p->bits, .rtm_table = RT_TABLE_MAIN,
				      .rtm_protocol = RTPROT_STATIC, .rtm_scope = p->version == 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
				      .rtm_type = RTN_UNICAST}};
	add(&r, RTA_DST, p->address, address_len(p));
	add(&r, RTA_OIF, &index, sizeof index);
	return ask(&r);
}
