// SPDX-License-Identifier: Apache-2.0
// See target.h. Text from clients becomes an address or a name in one place, so that rules, logs and resolvers mean the same thing by it. No locks.
#include "tunnel/target.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

static bool name_char(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

// What a resolver might take for a number: "7", "0x7f", "0x".
static bool number_label(const char *label, size_t len)
{
	size_t at = 0;
	if (len >= 2 && label[0] == '0' && label[1] == 'x') {
		for (at = 2; at < len && strchr("0123456789abcdef", label[at]); at++)
			;
		return at == len;
	}
	while (at < len && label[at] >= '0' && label[at] <= '9')
		at++;
	return at == len;
}

static int set_name(struct target *t, const char *host, size_t len)
{
	size_t label = 0;
	if (len && host[len - 1] == '.')	// the root: "example." is "example"
		len--;
	if (!len || len > TARGET_MAX_NAME)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)host[i];
		if (c >= 'A' && c <= 'Z')
			c = (unsigned char)(c + 'a' - 'A');
		if (c == '.' ? i == label || i - label > 63 : !name_char(c))
			return -EINVAL;
		if (c == '.')
			label = i + 1;
		t->name[i] = (char)c;
	}
	if (label == len || len - label > 63 || number_label(t->name + label, len - label))
		return -EINVAL;
	t->host = TARGET_NAME;
	return 0;
}

static void set_ipv6(struct target *t, const uint8_t address[16])
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	t->host = memcmp(address, mapped, sizeof mapped) ? TARGET_IPV6 : TARGET_IPV4;
	if (t->host == TARGET_IPV6)
		memcpy(t->address, address, 16);
	else
		memcpy(t->address, address + 12, 4);
}

int target_set_host(struct target *t, const char *host, size_t len)
{
	struct target made = {.port = t->port};
	char text[INET6_ADDRSTRLEN];
	uint8_t address[16];
	int err = 0;
	bool brackets = len >= 2 && host[0] == '[' && host[len - 1] == ']';
	if (brackets) {
		host++;
		len -= 2;
	}
	if (len < sizeof text && len && !memchr(host, '\0', len)) {
		memcpy(text, host, len);
		text[len] = '\0';
	} else {
		text[0] = '\0';
	}
	if (!brackets && inet_pton(AF_INET, text, made.address) == 1)
		made.host = TARGET_IPV4;
	else if (inet_pton(AF_INET6, text, address) == 1)
		set_ipv6(&made, address);
	else
		err = brackets ? -EINVAL : set_name(&made, host, len);
	if (!err)
		*t = made;
	return err;
}

int target_parse(struct target *t, const char *text, size_t len, uint16_t port)
{
	struct target made = {.port = port};
	size_t host = len, at;
	unsigned int n = 0;
	for (at = len; at && text[at - 1] != ':' && text[at - 1] != ']'; at--)
		;
	if (at && text[at - 1] == ':') {
		host = at - 1;
		if (at == len || len - at > 5)
			return -EINVAL;
		for (; at < len; at++) {
			if (text[at] < '0' || text[at] > '9')
				return -EINVAL;
			n = n * 10 + (unsigned int)(text[at] - '0');
		}
		if (!n || n > 65535)
			return -EINVAL;
		made.port = (uint16_t)n;
	}
	// "::1:80" could be two things
	if (!made.port || (host && memchr(text, ':', host) && text[0] != '['))
		return -EINVAL;
	int err = target_set_host(&made, text, host);
	if (!err)
		*t = made;
	return err;
}

int target_set_address(struct target *t, const struct sockaddr *sa)
{
	struct target made = {.host = TARGET_IPV4};
	if (sa->sa_family == AF_INET) {
		struct sockaddr_in in;
		memcpy(&in, sa, sizeof in);
		memcpy(made.address, &in.sin_addr, 4);
		made.port = ntohs(in.sin_port);
	} else if (sa->sa_family == AF_INET6) {
		struct sockaddr_in6 in6;
		memcpy(&in6, sa, sizeof in6);
		set_ipv6(&made, in6.sin6_addr.s6_addr);
		made.port = ntohs(in6.sin6_port);
	} else {
		return -EAFNOSUPPORT;
	}
	*t = made;
	return 0;
}

const char *target_host_text(const struct target *t, char out[TARGET_TEXT])
{
	out[0] = '\0';
	switch (t->host) {
	case TARGET_NONE: break;
	case TARGET_NAME: snprintf(out, TARGET_TEXT, "%s", t->name); break;
	case TARGET_IPV4: inet_ntop(AF_INET, t->address, out, TARGET_TEXT); break;
	case TARGET_IPV6: inet_ntop(AF_INET6, t->address, out, TARGET_TEXT); break;
	}
	return out;
}

const char *target_text(const struct target *t, char out[TARGET_TEXT])
{
	char host[TARGET_TEXT];
	target_host_text(t, host);
	snprintf(out, TARGET_TEXT, t->host == TARGET_IPV6 ? "[%.255s]:%u" : "%.255s:%u", host, t->port);
	return out;
}

socklen_t target_sockaddr(const struct target *t, struct sockaddr_storage *out)
{
	memset(out, 0, sizeof *out);
	if (t->host == TARGET_IPV4) {
		struct sockaddr_in *in = (struct sockaddr_in *)out;
		in->sin_family = AF_INET;
		in->sin_port = htons(t->port);
		memcpy(&in->sin_addr, t->address, 4);
		return sizeof *in;
	}
	if (t->host == TARGET_IPV6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
		in6->sin6_family = AF_INET6;
		in6->sin6_port = htons(t->port);
		memcpy(&in6->sin6_addr, t->address, 16);
		return sizeof *in6;
	}
	return 0;
}

bool target_equal(const struct target *a, const struct target *b)
{
	size_t n = a->host == TARGET_IPV4 ? 4 : a->host == TARGET_IPV6 ? 16 : 0;
	return a->host == b->host && a->port == b->port && !memcmp(a->address, b->address, n) &&
	       (a->host != TARGET_NAME || !strcmp(a->name, b->name));
}
