// SPDX-License-Identifier: Apache-2.0
// Inside init/: the network gateway of the enclave (docs/network.md), an ordinary process that init starts before the program. What it carries
// is measured (config.json); where destinations are to be found today is the host's word, which needs no trust: they prove themselves.
// Attested connections are tunnel/'s, plain ones gateway_plain.c's.
#ifndef COFFER_INIT_GATEWAY_H
#define COFFER_INIT_GATEWAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/fault.h"

#define GATEWAY_FILE "/proc/coffer/gateway"
#define GATEWAY_END_MS 3000	// what is under way when the program ends has this long
#define GATEWAY_MAX_PLACES 8
#define GATEWAY_MAX_PLAIN 64

struct gateway {
	char *tunnel;		// the configuration of `coffer tunnel`, as JSON; NULL: nothing is attested
	struct gateway_plain {	// destinations that are reached as they are: a measured permission, no protection
		char *host, *address;	// its name; where programs reach it
		unsigned int port;
		char *places[GATEWAY_MAX_PLACES];	// where the host says that it is, "ADDRESS:PORT"
		unsigned int place_count;
	} plain[GATEWAY_MAX_PLAIN];
	unsigned int plain_count;
	char *dns;		// where programs find the name server, whose TCP side is a route; NULL: none
};

// From config.json and the host block. `ipv6`: the host can listen there as well. -EINVAL the one is damaged, -EPERM the other asks for what it may not,
// -ENOMEM. gateway_free in any case. Pure.
int gateway_read(struct gateway *g, const char *config, size_t config_len, const char *host, size_t host_len, bool ipv6, struct fault *f);
void gateway_free(struct gateway *g);

// Whose an address is in the kernel's eyes when the gateway connects to it: nobody outside may send it there. Loopback: a program's on an attested
// port, else the host's. Pure.
enum gateway_inside { INSIDE_NOT, INSIDE_LOOPBACK, INSIDE_GATEWAY } gateway_inside(const struct sockaddr *sa);

// Listens for programs that want to go there; threads of its own do the rest, while `p` lasts.
int gateway_plain_start(const struct gateway_plain *p, struct fault *f);
bool gateway_plain_busy(void);

// The name server's UDP side, once its TCP side is there.
int gateway_dns_start(const char *address, struct fault *f);
// What goes back as a datagram: the answer (len bytes with room for len, which may be changed), or "ask by TCP". 0: nothing. Pure.
size_t gateway_dns_short(const uint8_t *query, size_t query_len, uint8_t *answer, size_t len);

#endif
