// SPDX-License-Identifier: Apache-2.0
// Where a connection is to go: a host by name or address, and a port. Names are kept as names through the tunnel, so that the far side's resolver
// and rules speak about them. Pure; no allocation, no locks.
#ifndef COFFER_TUNNEL_TARGET_H
#define COFFER_TUNNEL_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define TARGET_MAX_NAME 253	// a host name in text (RFC 1035 section 3.1)
#define TARGET_TEXT 272		// "[address]:port" or "name:port" with its end

enum target_host {
	TARGET_NONE,		// not said: what the far side's route maps to
	TARGET_NAME,
	TARGET_IPV4,
	TARGET_IPV6,
};

struct target {
	enum target_host host;
	uint16_t port;		// host order
	uint8_t address[16];	// network order; IPv4 has the first four
	char name[TARGET_MAX_NAME + 1];	// lower case, without a dot at its end; "" for addresses
};

// A host as clients write it: an address (IPv6 with or without brackets), or a name. An IPv4-mapped IPv6 address becomes the IPv4 address that it
// stands for.
// -EINVAL: neither. Names have letters, digits, '-' and '_' (RFC 952, 1123), labels of 1 to 63; a name that ends in a number is refused, as
// resolvers would read "127.1", "0x7f000001" or "2130706433" as addresses behind the back of any rule. An address with a zone ("%eth0") is refused.
int target_set_host(struct target *t, const char *host, size_t len);
// "host:port" or "[address]:port" (an IPv6 address has its brackets here); the port in decimal, 1 to 65535. `port` (0: none): what is meant when
// no port is there; without one -EINVAL.
int target_parse(struct target *t, const char *text, size_t len, uint16_t port);
// -EAFNOSUPPORT for other families.
int target_set_address(struct target *t, const struct sockaddr *sa);

// The host alone (no brackets), or "host:port". Returns out.
const char *target_host_text(const struct target *t, char out[TARGET_TEXT]);
const char *target_text(const struct target *t, char out[TARGET_TEXT]);
// Of an address: its sockaddr and length. 0 for names.
socklen_t target_sockaddr(const struct target *t, struct sockaddr_storage *out);
// The same host and port.
bool target_equal(const struct target *a, const struct target *b);

#endif
