// SPDX-License-Identifier: Apache-2.0
// SOCKS5: RFC 1928 (CONNECT, UDP ASSOCIATE), RFC 1929 (name and password). SOCKS4 and 4a are refused: they know no password, no IPv6 and no
// errors. No locks.
#include "tunnel/socks.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "tunnel/acceptor.h"
#include "tunnel/users.h"

enum { VERSION = 5, AUTH_VERSION = 1, METHOD_NONE = 0, METHOD_PASSWORD = 2, METHOD_REFUSED = 0xff, CONNECT = 1, ASSOCIATE = 3 };
enum { ATYP_IPV4 = 1, ATYP_NAME = 3, ATYP_IPV6 = 4 };
enum reply {
	REPLY_OK, REPLY_FAILED, REPLY_DENIED, REPLY_NET_UNREACHABLE, REPLY_HOST_UNREACHABLE, REPLY_REFUSED, REPLY_TTL, REPLY_NO_COMMAND,
	REPLY_NO_ADDRESS,
};

// An address as requests, replies and datagrams have it: type, address, port. The length; 0: more is needed; -EAFNOSUPPORT: no such type; -EINVAL:
// no name.
static int read_address(const uint8_t *p, size_t n, struct target *t)
{
	struct target made = {0};
	size_t len, at = 1;
	int err = 0;
	if (!n)
		return 0;
	if (*p == ATYP_NAME && n < 2)
		return 0;
	if (*p == ATYP_NAME)
		at = 2;
	else if (*p != ATYP_IPV4 && *p != ATYP_IPV6)
		return -EAFNOSUPPORT;
	len = *p == ATYP_NAME ? p[1] : *p == ATYP_IPV4 ? 4 : 16;
	if (n < at + len + 2)
		return 0;
	if (*p == ATYP_NAME) {
		err = target_set_host(&made, (const char *)p + at, len);
	} else {
		struct sockaddr_in in = {.sin_family = AF_INET};
		struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
		memcpy(*p == ATYP_IPV4 ? (void *)&in.sin_addr : (void *)&in6.sin6_addr, p + at, len);
		err = target_set_address(&made, *p == ATYP_IPV4 ? (struct sockaddr *)&in : (struct sockaddr *)&in6);
	}
	made.port = (uint16_t)(p[at + len] << 8 | p[at + len + 1]);
	if (!err)
		*t = made;
	return err ? err : (int)(at + len + 2);
}

static size_t write_address(const struct target *t, uint8_t *out)
{
	size_t n = 0, len = t->host == TARGET_IPV6 ? 16 : 4;
	if (t->host == TARGET_NAME) {
		len = strlen(t->name);
		out[n++] = ATYP_NAME;
		out[n++] = (uint8_t)len;
		memcpy(out + n, t->name, len);
	} else {
		out[n++] = t->host == TARGET_IPV6 ? ATYP_IPV6 : ATYP_IPV4;
		memcpy(out + n, t->address, len);
	}
	n += len;
	out[n++] = (uint8_t)(t->port >> 8);
	out[n++] = (uint8_t)t->port;
	return n;
}

static void reply(struct acceptor *a, enum reply code, const struct sockaddr *bound)
{
	struct target t = {.host = TARGET_IPV4};
	uint8_t out[4 + SOCKS_UDP_HEADER] = {VERSION, (uint8_t)code, 0};
	if (bound && target_set_address(&t, bound))
		t = (struct target){.host = TARGET_IPV4};
	accept_say(a, out, 3 + write_address(&t, out + 3));
}

static enum accept_step refuse(struct acceptor *a, enum reply code, const char *reason)
{
	reply(a, code, NULL);
	return accept_refuse(a, reason);
}

static enum accept_step other_protocol(struct acceptor *a, uint8_t first)
{
	static const uint8_t socks4_rejected[8] = {0, 91};
	if (first == 4) {
		accept_say(a, socks4_rejected, sizeof socks4_rejected);
		return accept_refuse(a, "the client speaks SOCKS4: tell it SOCKS5 (socks5h://)");
	}
	if (first >= 'A' && first <= 'Z') {
		static const char text[] = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 34\r\n\r\n"
					   "This is a SOCKS5 proxy, not HTTP.\n";
		accept_say(a, text, sizeof text - 1);
		return accept_refuse(a, "the client speaks HTTP to a SOCKS5 listener");
	}
	return accept_refuse(a, first == 0x16 ? "the client speaks TLS to a SOCKS5 listener" : "the client does not speak SOCKS5");
}

// Version, number of methods, methods.
static enum accept_step greeting(struct acceptor *a, const uint8_t *p, size_t n, size_t *used)
{
	const uint8_t want = a->o->users ? METHOD_PASSWORD : METHOD_NONE;
	if (p[0] != VERSION)
		return other_protocol(a, p[0]);
	if (n < 2 || n < 2u + p[1])
		return ACCEPT_MORE;
	*used += 2u + p[1];
	bool offered = memchr(p + 2, want, p[1]);
	accept_say(a, (uint8_t[2]){VERSION, offered ? want : METHOD_REFUSED}, 2);
	if (!offered)
		return accept_refuse(a, want == METHOD_PASSWORD ? "the client gives no name and password" : "the client insists on authentication");
	a->socks = want == METHOD_PASSWORD ? SOCKS_PASSWORD : SOCKS_REQUEST;
	return ACCEPT_MORE;
}

// Version, name's length, name, password's length, password.
static enum accept_step password(struct acceptor *a, const uint8_t *p, size_t n, size_t *used)
{
	if (p[0] != AUTH_VERSION)
		return accept_refuse(a, "malformed name and password");
	if (n < 2 || n < 3u + p[1] || n < 3u + p[1] + p[2 + p[1]])
		return ACCEPT_MORE;
	const uint8_t *word = p + 3 + p[1];
	*used += 3u + p[1] + word[-1];
	bool known = users_know(a->o->users, p + 2, p[1], word, word[-1]);
	accept_say(a, (uint8_t[2]){AUTH_VERSION, known ? 0 : 1}, 2);
	if (!known)
		return accept_refuse(a, "wrong name or password");
	memcpy(a->user, p + 2, p[1]);
	a->socks = SOCKS_REQUEST;
	return ACCEPT_MORE;
}

// Version, command, reserved, address.
static enum accept_step request(struct acceptor *a, const uint8_t *p, size_t n, size_t *used)
{
	if (p[0] != VERSION)
		return accept_refuse(a, "malformed SOCKS request");
	if (n < 4)
		return ACCEPT_MORE;
	if (p[2])
		return refuse(a, REPLY_FAILED, "malformed SOCKS request");
	int len = read_address(p + 3, n - 3, &a->target);
	if (!len)
		return ACCEPT_MORE;
	if (len == -EAFNOSUPPORT)
		return refuse(a, REPLY_NO_ADDRESS, "a SOCKS address of unknown type");
	if (p[1] != CONNECT && (p[1] != ASSOCIATE || !a->o->udp))
		return refuse(a, REPLY_NO_COMMAND, p[1] == ASSOCIATE ? "UDP is not switched on for this route (udp: true)" :
			      "a SOCKS command other than CONNECT");
	if (len < 0)
		return refuse(a, REPLY_HOST_UNREACHABLE, "what the client asks for is no host name");
	if (p[1] == CONNECT && !a->target.port)
		return refuse(a, REPLY_FAILED, "the client asks for port 0");
	*used += 3 + (size_t)len;
	return p[1] == CONNECT ? ACCEPT_TARGET : ACCEPT_UDP;
}

enum accept_step socks_input(struct acceptor *a, const uint8_t *bytes, size_t n, size_t *used)
{
	enum accept_step step = ACCEPT_MORE;
	for (size_t before = 1; step == ACCEPT_MORE && *used < n && *used != before;) {
		const uint8_t *p = bytes + *used;
		size_t left = n - *used;
		before = *used;
		step = a->socks == SOCKS_GREETING ? greeting(a, p, left, used) : a->socks == SOCKS_PASSWORD ? password(a, p, left, used) :
		       request(a, p, left, used);
	}
	return step;
}

enum accept_step socks_connected(struct acceptor *a, int error, const struct sockaddr *bound)
{
	enum reply code = REPLY_FAILED;
	switch (error) {
	case 0:
		reply(a, REPLY_OK, bound);
		return ACCEPT_OPEN;
	case -EACCES: case -EPERM: code = REPLY_DENIED; break;
	case -ENETUNREACH: code = REPLY_NET_UNREACHABLE; break;
	case -EHOSTUNREACH: case -ETIMEDOUT: case -ENOENT: code = REPLY_HOST_UNREACHABLE; break;
	case -ECONNREFUSED: code = REPLY_REFUSED; break;
	case -EAFNOSUPPORT: code = REPLY_NO_ADDRESS; break;
	}
	return refuse(a, code, a->reason);
}

// ---- datagrams ----

int socks_udp_read(const uint8_t *bytes, size_t n, struct target *t)
{
	if (n < 4 || bytes[0] || bytes[1])
		return -EPROTO;
	if (bytes[2])
		return -EOPNOTSUPP;
	int len = read_address(bytes + 3, n - 3, t);
	return len <= 0 || !t->port ? -EPROTO : 3 + len;
}

size_t socks_udp_write(const struct target *t, uint8_t out[SOCKS_UDP_HEADER])
{
	memset(out, 0, 3);
	return 3 + write_address(t, out + 3);
}
