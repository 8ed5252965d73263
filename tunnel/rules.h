// SPDX-License-Identifier: Apache-2.0
// Rules about destinations: `allow:` of an egress route and `destinations:` of an ingress route. A rule is a text
//
//	HOST[:PORTS]           *.example:443   db.example:5432   10.0.0.0/8:*   [fd00::/8]:22   192.0.2.7:8000-8099   *:443   *
//	NAME@NETWORK[:PORTS]   db.example@10.1.0.0/16:5432      that name, as long as it is an address of that network
//
// HOST: a name; `*.name`: names below it, at any depth; `*`: any name and any public address; an address or a network. PORTS: a port, first-last,
// `*`, or left out: any. Pure; no locks. Rules are read-only once made and may be shared by threads.
//
// On the egress side a destination passes twice: as what was asked for (rules_match), and, when that was a name, as each address that it resolved
// to (rules_address). Only that very address is then connected to: a name that changes between look and use (DNS rebinding) gains nothing.
// Private, loopback, link-local and other special addresses pass only where a rule names a network that lies within such a range: neither `*` nor
// `*.example` nor 0.0.0.0/0 is enough, so that whoever owns a name cannot point it at the gateway's own neighbourhood.
#ifndef COFFER_TUNNEL_RULES_H
#define COFFER_TUNNEL_RULES_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/fault.h"
#include "tunnel/target.h"

#define RULES_MAX 1024

struct rules;

// -EINVAL with what is wrong with which text, -ENOMEM.
int rules_new(struct rules **out, const char *const *texts, size_t n, struct fault *f);
void rules_free(struct rules *r);

// May a client ask for this? NULL rules: no. Names by name rules, addresses by address rules.
bool rules_match(const struct rules *r, const struct target *t);
// `asked` was a name that rules_match let pass, and `address` is one that it has: may that be connected to?
bool rules_address(const struct rules *r, const struct target *asked, const struct target *address);
// The same for ingress routes, where no rule protects anybody from an address: `*` is every destination.
bool rules_select(const struct rules *r, const struct target *t);

// Not of the public Internet: private, loopback, link-local, shared, multicast, reserved, and what maps to such (NAT64, 6to4, IPv4-compatible).
bool target_is_special(const struct target *t);

#endif
