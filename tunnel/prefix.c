// SPDX-License-Identifier: Apache-2.0
// See prefix.h.
#include "tunnel/prefix.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool bits_equal(const uint8_t *a, const uint8_t *b, unsigned int bits)
{
	const unsigned int whole = bits / 8, rest = bits % 8;
	if (memcmp(a, b, whole))
		return false;
	return !rest || !((a[whole] ^ b[whole]) >> (8 - rest));
}

int prefix_parse(struct prefix *out, const char *text, bool interface)
{
	const size_t n = strcspn(text, "/");
	char address[INET6_ADDRSTRLEN];
	struct prefix p = {0};
	if (n >= sizeof address)
		return -EINVAL;
	memcpy(address, text, n);
	address[n] = '\0';
	p.version = inet_pton(AF_INET, address, p.address) == 1 ? 4 : inet_pton(AF_INET6, address, p.address) == 1 ? 6 : 0;
	if (!p.version)
		return -EINVAL;
	const unsigned int all = p.version == 4 ? 32 : 128;
	unsigned int bits = all;
	if (text[n]) {
		const char *digits = text + n + 1;
		const size_t count = strspn(digits, "0123456789");
		if (!count || count > 3 || digits[count] || (count > 1 && *digits == '0'))
			return -EINVAL;
		bits = (unsigned int)strtoul(digits, NULL, 10);
	}
	if (bits > all)
		return -EINVAL;
	p.bits = (uint8_t)bits;
	for (unsigned int i = bits; i < all && !interface; i++) {
		if (p.address[i / 8] & 0x80 >> i % 8)
			return -EINVAL;
	}
	*out = p;
	return 0;
}

bool prefixes_have(const struct prefixes *p, unsigned int version, const uint8_t *address)
{
	for (unsigned int i = 0; i < p->count; i++) {
		if (p->list[i].version == version && bits_equal(p->list[i].address, address, p->list[i].bits))
			return true;
	}
	return false;
}

int packet_addresses(const uint8_t *packet, size_t len, unsigned int *version, const uint8_t **source, const uint8_t **destination)
{
	size_t said, head;
	if (!len)
		return -EPROTO;
	*version = packet[0] >> 4;
	if (*version == 4 && len >= 20) {	// RFC 791
		head = (packet[0] & 15) * 4u;
		said = (size_t)packet[2] << 8 | packet[3];
		*source = packet + 12;
		*destination = packet + 16;
		return head >= 20 && head <= len && said == len ? 0 : -EPROTO;
	}
	if (*version == 6 && len >= 40) {	// RFC 8200; without jumbograms
		said = 40 + ((size_t)packet[4] << 8 | packet[5]);
		*source = packet + 8;
		*destination = packet + 24;
		return said == len ? 0 : -EPROTO;
	}
	return -EPROTO;
}

bool packet_may_pass(const uint8_t *packet, size_t len, const struct prefixes *sources, const struct prefixes *destinations)
{
	const uint8_t *source, *destination;
	unsigned int version;
	return !packet_addresses(packet, len, &version, &source, &destination) && prefixes_have(sources, version, source) &&
	       prefixes_have(destinations, version, destination);
}
