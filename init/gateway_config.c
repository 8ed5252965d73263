// SPDX-License-Identifier: Apache-2.0
// See gateway.h: the network section of the measured config.json (image/config_network.c writes it) and the host block's `addresses`,
// {"db.example:5432": ["192.0.2.7:8443"]}, which is hostile: it may only place what the configuration names. No I/O, no locks.
#include "init/gateway.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int damaged(struct fault *f)
{
	return fault_set(f, -EINVAL, "config.json's network section is damaged");
}

static int read_verify(struct gateway_route *r, json_t *verify, struct fault *f)
{
	static const struct {
		const char *key;
		size_t offset;
	} texts[] = {
		{"ca", offsetof(struct ratls_options, ca_file)}, {"collateral", offsetof(struct ratls_options, collateral_dir)},
		{"insecure_simulated_root", offsetof(struct ratls_options, insecure_simulated_root)}, {"policy", offsetof(struct ratls_options, policy_file)},
		{"token_keys", offsetof(struct ratls_options, token_keys_file)}, {"tpm_roots", offsetof(struct ratls_options, tpm_roots_file)},
	};
	json_t *list = json_object_get(verify, "measurements");
	if (!json_is_object(verify) || json_array_size(list) > GATEWAY_MAX_MEASUREMENTS)
		return damaged(f);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		*(const char **)((char *)&r->tls + texts[i].offset) = json_string_value(json_object_get(verify, texts[i].key));
	for (size_t i = 0; i < json_array_size(list); i++) {
		r->measurements[i] = json_string_value(json_array_get(list, i));
		if (!r->measurements[i])
			return damaged(f);
	}
	r->tls.measurements = list ? r->measurements : NULL;
	r->tls.any_measurement = json_is_true(json_object_get(verify, "any_measurement"));
	r->tls.insecure_accept_debug = json_is_true(json_object_get(verify, "insecure_accept_debug"));
	r->tls.verify = !r->tls.ca_file;
	if (json_object_get(verify, "name"))
		r->name = json_string_value(json_object_get(verify, "name"));
	return 0;
}

static int read_route(struct gateway *g, json_t *o, bool out, bool dns, struct fault *f)
{
	const char *host = json_string_value(json_object_get(o, "host")), *address = json_string_value(json_object_get(o, "address"));
	const char *session = json_string_value(json_object_get(o, "session"));
	json_int_t port = json_integer_value(json_object_get(o, "port"));
	json_t *verify = json_object_get(o, "verify");
	if (g->count == GATEWAY_MAX_ROUTES || port < 1 || port > 65535 || !session || (out && (!host || !address)))
		return damaged(f);
	struct gateway_route *r = &g->routes[g->count++];
	r->out = out;
	r->plain = out && json_is_true(json_object_get(o, "plain"));
	r->port = (unsigned int)port;
	r->inner_port = dns ? 53 : r->port;
	r->name = host;
	r->tls.attest = json_is_true(json_object_get(o, "attest"));
	r->tls.session = !strcmp(session, "off") ? RATLS_SESSION_OFF : !strcmp(session, "wanted") ? RATLS_SESSION_WANTED : RATLS_SESSION_REQUIRED;
	if (out && (!(r->host = strdup(host)) || !(r->address = strdup(address))))
		return fault_set(f, -ENOMEM, "out of memory");
	if (json_is_object(verify))
		return read_verify(r, verify, f);
	return r->plain || !out ? 0 : damaged(f); // a destination that proves nothing
}

static int read_list(struct gateway *g, const json_t *network, const char *key, bool out, struct fault *f)
{
	const json_t *list = json_object_get(network, key);
	int err = !list || json_is_array(list) ? 0 : damaged(f);
	for (size_t i = 0; i < json_array_size(list) && !err; i++)
		err = read_route(g, json_array_get(list, i), out, !strcmp(key, "dns"), f);
	return err;
}

static struct gateway_route *find(struct gateway *g, const char *destination)
{
	char text[300];
	for (unsigned int i = 0; i < g->count; i++) {
		struct gateway_route *r = &g->routes[i];
		if (!r->out)
			continue;
		snprintf(text, sizeof text, strchr(r->host, ':') ? "[%s]:%u" : "%s:%u", r->host, r->port);
		if (!strcmp(text, destination))
			return r;
	}
	return NULL;
}

static int read_places(struct gateway *g, json_t *addresses, struct fault *f)
{
	const char *destination;
	json_t *list;
	json_object_foreach(addresses, destination, list) {
		struct gateway_route *r = find(g, destination);
		if (!r)
			return fault_set(f, -EPERM, "the host says where '%.100s' is, which coffer.yaml does not list (network: connect)", destination);
		if (!json_is_array(list) || json_array_size(list) > GATEWAY_MAX_PLACES)
			return fault_set(f, -EPERM, "the host block's addresses are malformed");
		for (size_t i = 0; i < json_array_size(list); i++) {
			const char *s = json_string_value(json_array_get(list, i));
			if (!s || strlen(s) > 100)
				return fault_set(f, -EPERM, "the host block's addresses are malformed");
			if (!(r->places[r->place_count++] = strdup(s)))
				return fault_set(f, -ENOMEM, "out of memory");
		}
	}
	return 0;
}

int gateway_read(struct gateway *g, const char *config, size_t config_len, const char *host, size_t host_len, struct fault *f)
{
	memset(g, 0, sizeof *g);
	json_t *o = json_loadb(config, config_len, JSON_REJECT_DUPLICATES, NULL), *h = json_loadb(host, host_len, JSON_REJECT_DUPLICATES, NULL);
	const json_t *network = json_object_get(o, "network");
	g->config = o;
	int err = json_is_object(network) ? 0 : damaged(f);
	if (!err)
		err = read_list(g, network, "shield", false, f);
	if (!err)
		err = read_list(g, network, "destinations", true, f);
	if (!err)
		err = read_list(g, network, "dns", true, f);
	if (!err)
		err = json_is_object(h) ? read_places(g, json_object_get(h, "addresses"), f) : fault_set(f, -EPERM, "the host block is not JSON");
	json_decref(h);
	return err;
}

void gateway_free(struct gateway *g)
{
	for (unsigned int i = 0; i < g->count; i++) {
		struct gateway_route *r = &g->routes[i];
		for (unsigned int k = 0; k < r->place_count; k++)
			free(r->places[k]);
		free(r->host);
		free(r->address);
	}
	json_decref(g->config);
	memset(g, 0, sizeof *g);
}
