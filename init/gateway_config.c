// SPDX-License-Identifier: Apache-2.0
// See gateway.h: the network section of the measured config.json (image/config_network.c writes it) and the host block's `addresses`,
// {"db.example:5432": ["192.0.2.7:8443"]}, which is hostile: it may only place what the configuration names. No I/O, no locks.
#include "init/gateway.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int damaged(struct fault *f)
{
	return fault_set(f, -EINVAL, "config.json's network section is damaged");
}

static int no_memory(struct fault *f)
{
	return fault_set(f, -ENOMEM, "out of memory");
}

static void format_place(char out[320], const char *host, unsigned int port)
{
	snprintf(out, 320, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
}

enum gateway_inside gateway_inside(const struct sockaddr *sa)
{
	static const struct in6_addr mapped = {{{[10] = 0xff, [11] = 0xff}}};
	const struct in6_addr *six = &((const struct sockaddr_in6 *)sa)->sin6_addr;
	const uint8_t *v4 = (const uint8_t *)&((const struct sockaddr_in *)sa)->sin_addr;
	if (sa->sa_family == AF_INET6 && !memcmp(six, &mapped, 12))
		v4 = six->s6_addr + 12;
	else if (sa->sa_family == AF_INET6)
		return IN6_IS_ADDR_LOOPBACK(six) || IN6_IS_ADDR_UNSPECIFIED(six) ? INSIDE_LOOPBACK : INSIDE_NOT;
	return v4[0] == 127 || !v4[0] ? INSIDE_LOOPBACK : v4[0] == 100 && v4[1] == 64 ? INSIDE_GATEWAY : INSIDE_NOT;
}

static int port_of(const json_t *o, unsigned int *port)
{
	json_int_t n = json_integer_value(json_object_get(o, "port"));
	*port = (unsigned int)n;
	return n < 1 || n > 65535 ? -EINVAL : 0;
}

// Would the kernel take the gateway to a program of this enclave, or to the gateway (kernel/net/shield.c), where the host says that the world is?
static bool leads_inside(const char *place, const json_t *shield)
{
	struct sockaddr_in v4 = {.sin_family = AF_INET};
	struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
	const char *colon = strrchr(place, ':');
	size_t n = colon ? (size_t)(colon - place) : 0, bracket = n > 2 && *place == '[' && colon[-1] == ']';
	char host[104];
	if (!n || n >= sizeof host)
		return false;
	snprintf(host, sizeof host, "%.*s", (int)(n - 2 * bracket), place + bracket);
	bool four = inet_pton(AF_INET, host, &v4.sin_addr) == 1;
	if (!four && inet_pton(AF_INET6, host, &v6.sin6_addr) != 1)
		return false;
	enum gateway_inside where = gateway_inside(four ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6);
	for (size_t i = 0; i < json_array_size(shield) && where == INSIDE_LOOPBACK; i++) {
		if (json_integer_value(json_object_get(json_array_get(shield, i), "port")) == strtol(colon + 1, NULL, 10))
			return true;
	}
	return where == INSIDE_GATEWAY;
}

// The places of a destination as tunnel/ takes them, with commas between; NULL: without memory, or what the host says is malformed.
static char *join(const json_t *places)
{
	char *text = calloc(1, 128 * GATEWAY_MAX_PLACES);
	for (size_t i = 0; text && i < json_array_size(places); i++) {
		const char *s = json_string_value(json_array_get(places, i));
		if (!s || strlen(s) > 100 || strchr(s, ',') || json_array_size(places) > GATEWAY_MAX_PLACES) {
			free(text);
			return NULL;
		}
		sprintf(text + strlen(text), "%s%s", i ? "," : "", s);
	}
	return text;
}

static int add_route(json_t *routes, json_t *route, const json_t *o, struct fault *f)
{
	json_t *verify = json_object_get(o, "verify");
	const char *session = json_string_value(json_object_get(o, "session")), *host = json_string_value(json_object_get(o, "host"));
	int err = route ? 0 : -ENOMEM;
	if (!err && json_is_object(verify)) {
		verify = json_deep_copy(verify);
		if (host && json_object_get(verify, "ca") && !json_object_get(verify, "name"))
			err = json_object_set_new(verify, "name", json_string(host));
		err = json_object_set_new(route, "verify", verify) || err ? -ENOMEM : 0;
		if (!err && session && json_object_set_new(route, "session", json_pack("{s:s}", "mode", session)))
			err = -ENOMEM;
	}
	if (!err && json_object_set_new(route, "attest", json_boolean(json_is_true(json_object_get(o, "attest")))))
		err = -ENOMEM;
	if (err || json_array_append(routes, route))
		err = no_memory(f);
	json_decref(route);
	return err;
}

// A port of the host, for the program that listens on the same one inside.
static int add_port(json_t *routes, const json_t *o, const char *any, struct fault *f)
{
	char listen[32], to[32], name[64];
	unsigned int port;
	if (port_of(o, &port))
		return damaged(f);
	snprintf(listen, sizeof listen, "%s:%u", any, port);
	snprintf(to, sizeof to, "127.0.0.1:%u", port);
	snprintf(name, sizeof name, "port %u%s", port, *any == '[' ? " (IPv6)" : "");
	return add_route(routes, json_pack("{s:s, s:{s:s, s:s}}", "name", name, "egress", "listen", listen, "to", to), o, f);
}

static int add_plain(struct gateway *g, const json_t *o, const json_t *places, struct fault *f)
{
	if (g->plain_count == GATEWAY_MAX_PLAIN)
		return damaged(f);
	struct gateway_plain *p = &g->plain[g->plain_count++];
	p->host = strdup(json_string_value(json_object_get(o, "host")));
	p->address = strdup(json_string_value(json_object_get(o, "address")));
	if (port_of(o, &p->port))
		return damaged(f);
	for (size_t i = 0; i < json_array_size(places) && i < GATEWAY_MAX_PLACES; i++) {
		if (!(p->places[i] = strdup(json_string_value(json_array_get(places, i)))))
			return no_memory(f);
		p->place_count++;
	}
	return p->host && p->address ? 0 : no_memory(f);
}

static int add_destination(struct gateway *g, json_t *routes, const json_t *o, const json_t *addresses, bool dns, struct fault *f)
{
	const char *host = json_string_value(json_object_get(o, "host")), *address = json_string_value(json_object_get(o, "address"));
	const char *name;
	char place[320], listen[80], number[32];
	json_t *places;
	unsigned int port;
	if (!host || !address || strlen(host) > 253 || strlen(address) > 64 || port_of(o, &port))
		return damaged(f);
	format_place(place, host, port);
	places = json_object_get(addresses, place);
	char *where = places ? join(places) : strdup(place);
	if (!where)
		return fault_set(f, -EPERM, "the host block's addresses are malformed");
	snprintf(listen, sizeof listen, strchr(address, ':') ? "[%s]:%u" : "%s:%u", address, dns ? 53 : port);
	snprintf(number, sizeof number, "destination %zu", json_array_size(routes));
	name = strlen(place) < 60 ? place : number;
	int err;
	if (json_is_true(json_object_get(o, "plain")))
		err = add_plain(g, o, places, f);
	else if (!json_is_object(json_object_get(o, "verify"))) // who proves nothing
		err = damaged(f);
	else
		err = add_route(routes, json_pack("{s:s, s:{s:s, s:s}, s:s, s:b}", "name", name, "ingress", "listen", listen, "accept", "mapping", "connect", where,
						  "mux", json_is_true(json_object_get(o, "mux"))), o, f);
	free(where);
	return err;
}

// The host places destinations that there are.
static int check_places(const json_t *network, json_t *addresses, struct fault *f)
{
	static const char *const lists[] = {"destinations", "dns"};
	const char *destination;
	json_t *places;
	char text[320];
	json_object_foreach(addresses, destination, places) {
		bool found = false;
		for (int l = 0; l < 2; l++) {
			const json_t *list = json_object_get(network, lists[l]);
			for (size_t i = 0; i < json_array_size(list) && !found; i++) {
				const char *host = json_string_value(json_object_get(json_array_get(list, i), "host"));
				unsigned int port;
				if (!host || strlen(host) > 253 || port_of(json_array_get(list, i), &port))
					return damaged(f);
				format_place(text, host, port);
				found = !strcmp(text, destination);
			}
		}
		if (!found)
			return fault_set(f, -EPERM, "the host says where '%.100s' is, which coffer.yaml does not list (network: connect)", destination);
		if (!json_array_size(places))
			return fault_set(f, -EPERM, "the host block's addresses are malformed");
		for (size_t i = 0; i < json_array_size(places); i++) {
			const char *place = json_string_value(json_array_get(places, i));
			if (place && leads_inside(place, json_object_get(network, "shield")))
				return fault_set(f, -EPERM, "the host says that '%.100s' is at %.100s, which is in the enclave", destination, place);
		}
	}
	return 0;
}

static int read_network(struct gateway *g, const json_t *network, json_t *addresses, json_t *routes, bool ipv6, struct fault *f)
{
	const json_t *shield = json_object_get(network, "shield"), *destinations = json_object_get(network, "destinations"), *dns = json_object_get(network, "dns");
	int err = json_is_object(network) ? check_places(network, addresses, f) : damaged(f);
	for (size_t i = 0; i < json_array_size(shield) && !err; i++) {
		err = add_port(routes, json_array_get(shield, i), "0.0.0.0", f);
		if (!err && ipv6)
			err = add_port(routes, json_array_get(shield, i), "[::]", f);
	}
	for (size_t i = 0; i < json_array_size(destinations) && !err; i++)
		err = add_destination(g, routes, json_array_get(destinations, i), addresses, false, f);
	for (size_t i = 0; i < json_array_size(dns) && !err; i++)
		err = add_destination(g, routes, json_array_get(dns, i), addresses, true, f);
	const char *address = json_string_value(json_object_get(json_array_get(dns, 0), "address"));
	if (!err && address && !(g->dns = strdup(address)))
		err = no_memory(f);
	return err;
}

int gateway_read(struct gateway *g, const char *config, size_t config_len, const char *host, size_t host_len, bool ipv6, struct fault *f)
{
	memset(g, 0, sizeof *g);
	json_t *o = json_loadb(config, config_len, JSON_REJECT_DUPLICATES, NULL), *h = json_loadb(host, host_len, JSON_REJECT_DUPLICATES, NULL);
	json_t *routes = json_array(), *all = NULL;
	int err = 0;
	if (!routes)
		err = no_memory(f);
	else if (!json_is_object(h))
		err = fault_set(f, -EPERM, "the host block is not JSON");
	else
		err = read_network(g, json_object_get(o, "network"), json_object_get(h, "addresses"), routes, ipv6, f);
	if (!err && json_array_size(routes)) {
		all = json_pack("{s:{s:s}, s:{s:i}, s:O}", "log", "level", "warning", "limits", "memory_mib", 128, "routes", routes);
		g->tunnel = all ? json_dumps(all, JSON_COMPACT) : NULL;
		err = g->tunnel ? 0 : no_memory(f);
	}
	json_decref(all);
	json_decref(routes);
	json_decref(o);
	json_decref(h);
	return err;
}

void gateway_free(struct gateway *g)
{
	for (unsigned int i = 0; i < g->plain_count; i++) {
		struct gateway_plain *p = &g->plain[i];
		for (unsigned int k = 0; k < p->place_count; k++)
			free(p->places[k]);
		free(p->host);
		free(p->address);
	}
	free(g->tunnel);
	free(g->dns);
	memset(g, 0, sizeof *g);
}
