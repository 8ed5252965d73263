// SPDX-License-Identifier: Apache-2.0
// The gateway's configuration: a strict YAML file (docs/tunnel.md) into settings and routes. Reads files, opens no socket, asks no hardware; no
// locks.
// Routes are immutable once read. Two routes with the same digest are the same: their text is, and so is what the files hold that they name.
#ifndef COFFER_TUNNEL_CONFIG_H
#define COFFER_TUNNEL_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "lib/fault.h"
#include "ratls/ratls.h"
#include "tunnel/accept.h"
#include "tunnel/log.h"
#include "tunnel/prefix.h"
#include "tunnel/rules.h"
#include "tunnel/target.h"
#include "tunnel/users.h"

#define CONFIG_MAX_ROUTES 256
#define CONFIG_MAX_GATEWAYS 16
#define CONFIG_MAX_WORKERS 256
#define CONFIG_MAX_MEASUREMENTS 256
#define CONFIG_ADDRESS_TEXT 140

// Where a socket is, in text and for bind and connect: "127.0.0.1:5432", "[::1]:5432", "unix:/run/db.sock".
struct config_address {
	char text[CONFIG_ADDRESS_TEXT];
	struct sockaddr_storage sa;
	socklen_t len;
};

enum route_kind { ROUTE_INGRESS, ROUTE_EGRESS };

#define CONFIG_MAX_ORIGINS 15

// Of a route that speaks OHTTP (ohttp_gateway.h has what each means). NULL and 0: not said.
struct config_ohttp {
	bool on;
	const char *url, *ca_file, *authority, *scheme;	// ingress
	bool whole;
	const char *path, *seed_file, *origins[CONFIG_MAX_ORIGINS + 1];	// egress
	unsigned int rotate_s, overlap_s, evidence_per_s, refresh_s, max_body_mib, answer_s, pad_bytes;
};

// What an ingress route takes from its clients.
enum route_carry {
	CARRY_STREAMS,	// connections
	CARRY_UDP,	// datagrams
	CARRY_TUN,	// IP packets of a device
};

// A TUN device (tundev.h). device "": none.
struct tun_config {
	char device[16];
	struct prefixes addresses;		// the device's own
	struct prefixes local, remote;		// networks of this side and of the far side: nothing else passes
	unsigned int mtu;
	bool routes;				// to `remote`, through the device
};

struct route_config {
	const char *name;
	enum route_kind kind;
	struct config_address listen;
	unsigned int listen_mode;		// of a Unix socket

	// ---- ingress: from plain clients to the far gateway ----
	enum route_carry carry;
	struct accept_options accept;		// how a client says where it wants to go
	struct users *users;
	struct target gateways[CONFIG_MAX_GATEWAYS];	// the far gateway, or several that do the same: tried in turn
	unsigned int gateway_count;
	const char *gateway_name;		// that its certificate must be for (verify: ca)
	struct rules *through;			// destinations that go through the tunnel; NULL: all
	bool otherwise_direct;			// the others go past it, as they are; else they are refused
	bool mux;				// false: the far end is an ordinary RA-TLS server, each client has a connection of its own

	// ---- egress: from attested clients to plain servers ----
	bool has_to, to_unix;
	bool to_original;			// `to: original`: where a redirected connection was meant to go
	struct target to;			// what a stream without a destination goes to
	struct config_address to_path;		// of to_unix
	struct rules *allow;			// which destinations streams may name; NULL: none
	bool udp;				// also for datagrams

	struct config_ohttp ohttp;		// `accept: ohttp`, or an egress route with `ohttp`

	struct tun_config tun;
	uint32_t mark;				// SO_MARK of what this route connects to

	struct ratls_options tls;
	uint8_t simulated[48];			// identity: insecure_simulate
	const char *measurements[CONFIG_MAX_MEASUREMENTS + 1];

	json_t *json;				// as read: ingress, egress and what else stands there
	uint8_t digest[32];
	char *texts[24];			// owned
	unsigned int text_count;
};

// What all routes share; may change while the gateway runs, but for workers and admin.
struct settings {
	unsigned int workers;			// 0: one for each CPU that this process may run on
	struct config_address admin;		// len 0: none
	bool log_json;
	enum tunnel_log_level log_level;
	unsigned int connections;		// of plain clients and of peers, together
	unsigned int handshakes;		// that may be under way at once
	uint64_t memory_bytes;			// kept for slow readers
	unsigned int window_bytes;		// of a stream, at most
	unsigned int connect_ms, handshake_ms, idle_ms, drain_ms, keepalive_ms, udp_idle_ms;	// idle_ms 0: never
};

struct config {
	struct settings settings;
	struct route_config *routes[CONFIG_MAX_ROUTES];
	unsigned int route_count;
};

// *out: tunnel_config_free. -EINVAL with file, line or route, and why; -ENOENT...
int tunnel_config_load(struct config **out, const char *path, struct fault *f);
// The same from text; `path` stands in messages, and relative file names are looked up beside it.
int tunnel_config_parse(struct config **out, const char *text, size_t len, const char *path, struct fault *f);
void tunnel_config_free(struct config *c);
void route_config_free(struct route_config *r);

// A numeric address and port, or unix:PATH. -EINVAL.
int config_address_parse(struct config_address *out, const char *text, struct fault *f);
// The text of a socket's address.
void config_address_text(char out[CONFIG_ADDRESS_TEXT], const struct sockaddr *sa, socklen_t len);

#endif
