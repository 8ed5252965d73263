// SPDX-License-Identifier: Apache-2.0
// See rules.h. No locks; read-only once made.
#include "tunnel/rules.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct network {
	uint8_t address[16];
	uint8_t bits;
	bool ipv6;
};

enum rule_name { NAME_NONE, NAME_ANY, NAME_EXACT, NAME_BELOW };

struct rule {
	enum rule_name name;
	bool has_network;	// beside NAME_NONE: an address rule; beside others: what the name may resolve to
	struct network network;
	uint16_t first, last;
	char text[TARGET_MAX_NAME + 1];	// NAME_EXACT: the name; NAME_BELOW: what is behind "*."
};

struct rules {
	size_t n;
	struct rule rule[];
};

// What is not of the public Internet (RFC 6890 and the registries that it began).
static const struct network special[] = {
	{{0}, 8, false}, {{10}, 8, false}, {{100, 64}, 10, false}, {{127}, 8, false}, {{169, 254}, 16, false}, {{172, 16}, 12, false},
	{{192, 0, 0}, 24, false}, {{192, 168}, 16, false}, {{198, 18}, 15, false}, {{224}, 3, false},	// multicast, reserved, broadcast
	{{0}, 96, true},	// unspecified, loopback, IPv4-compatible
	{{[8] = 0xff, [9] = 0xff}, 96, true},	// IPv4-translated (RFC 2765): a translator on the way makes any IPv4 address of it
	{{0, 0x64, 0xff, 0x9b, 0, 1}, 48, true}, {{0x01}, 64, true}, {{0xfc}, 7, true}, {{0xfe, 0x80}, 10, true}, {{0xfe, 0xc0}, 10, true},
	{{0xff}, 8, true},
};

static bool same_bits(const uint8_t *a, const uint8_t *b, unsigned int bits)
{
	unsigned int rest = bits % 8;
	return !memcmp(a, b, bits / 8) && (!rest || !((a[bits / 8] ^ b[bits / 8]) >> (8 - rest)));
}

static bool network_has(const struct network *n, const struct target *t)
{
	return t->host == (n->ipv6 ? TARGET_IPV6 : TARGET_IPV4) && same_bits(n->address, t->address, n->bits);
}

static const struct network *special_of(const uint8_t *address, bool ipv6)
{
	for (size_t i = 0; i < sizeof special / sizeof *special; i++) {
		if (special[i].ipv6 == ipv6 && same_bits(special[i].address, address, special[i].bits))
			return &special[i];
	}
	return NULL;
}

// Where an IPv6 address carries an IPv4 address: NAT64 (RFC 6052), 6to4. 0: nowhere.
static unsigned int carried_at(const uint8_t *a)
{
	static const uint8_t nat64[12] = {0, 0x64, 0xff, 0x9b};
	return !memcmp(a, nat64, sizeof nat64) ? 12 : a[0] == 0x20 && a[1] == 0x02 ? 2 : 0;
}

bool target_is_special(const struct target *t)
{
	unsigned int at = t->host == TARGET_IPV6 ? carried_at(t->address) : 0;
	return t->host != TARGET_NAME && t->host != TARGET_NONE && special_of(t->address + at, t->host == TARGET_IPV6 && !at);
}

// Does the network lie within one special range?
static bool network_is_special(const struct network *n)
{
	unsigned int at = n->ipv6 ? carried_at(n->address) : 0;
	const struct network *s = special_of(n->address + at, n->ipv6 && !at);
	return s && n->bits >= at * 8 + s->bits;
}

// ---- reading ----

static int read_number(const char *p, size_t len, unsigned int max, unsigned int *out)
{
	unsigned int n = 0;
	if (!len || len > 5)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (p[i] < '0' || p[i] > '9')
			return -EINVAL;
		n = n * 10 + (unsigned int)(p[i] - '0');
	}
	*out = n;
	return n > max ? -EINVAL : 0;
}

static int read_ports(struct rule *r, const char *p, size_t len)
{
	const char *dash = memchr(p, '-', len);
	unsigned int first = 1, last = 65535;
	int err = 0;
	if (len != 1 || *p != '*') {
		err = read_number(p, dash ? (size_t)(dash - p) : len, 65535, &first);
		last = first;
		if (!err && dash)
			err = read_number(dash + 1, len - (size_t)(dash + 1 - p), 65535, &last);
	}
	r->first = (uint16_t)first;
	r->last = (uint16_t)last;
	return err || !first || last < first ? -EINVAL : 0;
}

// An address, or address/bits; nothing may stand in the host's part: "10.1.2.3/8" is a mistake more often than not.
static int read_network(struct network *n, const char *p, size_t len)
{
	const char *slash = memchr(p, '/', len);
	struct target t = {0};
	bool brackets = len >= 2 && p[0] == '[' && p[len - 1] == ']';
	unsigned int bits;
	if (brackets) {
		p++;
		len -= 2;
	}
	if (target_set_host(&t, p, slash ? (size_t)(slash - p) : len) || t.host == TARGET_NAME)
		return -ENOENT;	// no address at all
	*n = (struct network){.ipv6 = t.host == TARGET_IPV6};
	memcpy(n->address, t.address, sizeof n->address);
	bits = n->ipv6 ? 128 : 32;
	if (slash && read_number(slash + 1, len - (size_t)(slash + 1 - p), bits, &bits))
		return -EINVAL;
	n->bits = (uint8_t)bits;
	for (unsigned int i = bits; i < (n->ipv6 ? 128u : 32u); i++) {
		if (n->address[i / 8] >> (7 - i % 8) & 1)
			return -ERANGE;
	}
	return 0;
}

static int read_name(struct rule *r, const char *p, size_t len)
{
	struct target t = {0};
	r->name = len == 1 && *p == '*' ? NAME_ANY : len > 2 && p[0] == '*' && p[1] == '.' ? NAME_BELOW : NAME_EXACT;
	if (r->name == NAME_ANY)
		return 0;
	if (r->name == NAME_BELOW) {
		p += 2;
		len -= 2;
	}
	if (target_set_host(&t, p, len) || t.host != TARGET_NAME)
		return -EINVAL;
	memcpy(r->text, t.name, sizeof r->text);
	return 0;
}

static int read_rule(struct rule *r, const char *text, struct fault *f)
{
	const char *at = strchr(text, '@'), *host = at ? at + 1 : text, *colon = strrchr(host, ':');
	size_t len;
	int err;
	// An IPv6 address without brackets has several; then there is no port.
	if (colon && (host[0] == '[' ? colon[-1] != ']' : memchr(host, ':', (size_t)(colon - host)) != NULL))
		colon = NULL;
	len = colon ? (size_t)(colon - host) : strlen(host);
	*r = (struct rule){.first = 1, .last = 65535};
	if (colon && read_ports(r, colon + 1, strlen(colon + 1)))
		return fault_set(f, -EINVAL, "'%.200s': '%.50s' is no port, first-last or *", text, colon + 1);
	err = read_network(&r->network, host, len);
	r->has_network = !err;
	if (err == -ERANGE)
		return fault_set(f, -EINVAL, "'%.200s': the address has bits behind the network's length", text);
	if (err == -ENOENT && !at)
		err = read_name(r, host, len);
	if (err)
		return fault_set(f, -EINVAL, "'%.200s': '%.*s' is no %saddress and no network", text, (int)(len > 200 ? 200 : len), host,
				 at ? "" : "name, ");
	if (at && read_name(r, text, (size_t)(at - text)))
		return fault_set(f, -EINVAL, "'%.200s': what is before '@' is no name", text);
	return 0;
}

int rules_new(struct rules **out, const char *const *texts, size_t n, struct fault *f)
{
	*out = NULL;
	if (n > RULES_MAX)
		return fault_set(f, -EINVAL, "more than %d rules", RULES_MAX);
	struct rules *r = calloc(1, sizeof *r + n * sizeof r->rule[0]);
	if (!r)
		return fault_set(f, -ENOMEM, "no memory");
	for (r->n = 0; r->n < n; r->n++) {
		int err = read_rule(&r->rule[r->n], texts[r->n], f);
		if (err) {
			free(r);
			return err;
		}
	}
	*out = r;
	return 0;
}

void rules_free(struct rules *r)
{
	free(r);
}

// ---- matching ----

static bool name_fits(const struct rule *r, const char *name)
{
	size_t len = strlen(name), below = strlen(r->text);
	switch (r->name) {
	case NAME_ANY: return true;
	case NAME_EXACT: return !strcmp(r->text, name);
	case NAME_BELOW: return len > below + 1 && name[len - below - 1] == '.' && !strcmp(name + len - below, r->text);
	default: return false;
	}
}

static bool port_fits(const struct rule *r, uint16_t port)
{
	return port >= r->first && port <= r->last;
}

// An address that a rule lists; special ones only by a network that is special as a whole.
static bool listed(const struct rule *r, const struct target *t)
{
	return r->has_network && network_has(&r->network, t) && (!target_is_special(t) || network_is_special(&r->network));
}

bool rules_match(const struct rules *r, const struct target *t)
{
	for (size_t i = 0; r && i < r->n; i++) {
		const struct rule *u = &r->rule[i];
		if (!port_fits(u, t->port))
			continue;
		if (t->host == TARGET_NAME ? name_fits(u, t->name) :
		    u->name == NAME_NONE ? listed(u, t) : u->name == NAME_ANY && !u->has_network && !target_is_special(t) && t->host != TARGET_NONE)
			return true;
	}
	return false;
}

bool rules_address(const struct rules *r, const struct target *asked, const struct target *address)
{
	for (size_t i = 0; r && i < r->n; i++) {
		const struct rule *u = &r->rule[i];
		if (!port_fits(u, asked->port))
			continue;
		// An address rule lets special addresses be reached by name as well; a name that is let pass reaches all public ones.
		if (u->name == NAME_NONE ? listed(u, address) :
		    name_fits(u, asked->name) && (u->has_network ? listed(u, address) : !target_is_special(address)))
			return true;
	}
	return false;
}

bool rules_select(const struct rules *r, const struct target *t)
{
	for (size_t i = 0; r && i < r->n; i++) {
		const struct rule *u = &r->rule[i];
		if (port_fits(u, t->port) && t->host != TARGET_NONE && (u->name == NAME_ANY || (t->host == TARGET_NAME ? name_fits(u, t->name) :
		    u->name == NAME_NONE && network_has(&u->network, t))))
			return true;
	}
	return false;
}
