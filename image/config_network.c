// SPDX-License-Identifier: Apache-2.0
// coffer.yaml: the section `network`. What is plain stays as short as a port; what the gateway in the enclave carries (config.h, struct
// config_shield) has settings, whose names are those of `coffer tunnel`.
#include "image/config_read.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_TEXT = 4096, MAX_MEASUREMENTS = 256 };

static int compare_ports(const void *a, const void *b)
{
	return *(const uint16_t *)a - *(const uint16_t *)b;
}

static unsigned int parse_port(const char *s)
{
	char *end;
	unsigned long port = strtoul(s, &end, 10);

	return isdigit((unsigned char)*s) && !*end && port <= 65535 ? (unsigned int)port : 0;
}

// ---- what a peer must prove

enum verify_kind { IN_ENCLAVE, PLAIN_TEXT, FLAG, DIGESTS };

// Sorted: in this order they stand in the canonical JSON.
static const struct verify_key {
	const char *name;
	enum verify_kind kind;
} verify_keys[] = {
	{"any_measurement", FLAG}, {"ca", IN_ENCLAVE}, {"collateral", IN_ENCLAVE}, {"insecure_accept_debug", FLAG}, {"insecure_simulated_root", IN_ENCLAVE},
	{"measurements", DIGESTS}, {"name", PLAIN_TEXT}, {"policy", IN_ENCLAVE}, {"token_keys", IN_ENCLAVE}, {"tpm_roots", IN_ENCLAVE},
};
#define VERIFY_KEYS (sizeof(verify_keys) / sizeof(*verify_keys))

static int read_digests(struct config_reader *r, yaml_node_t *value, const char *key, struct text *out)
{
	struct string_list list = {0};
	int err = config_read_list(r, value, key, &list);

	for (size_t i = 0; i < list.count && !err; i++) {
		size_t n = strlen(list.items[i]);

		if ((n != 64 && n != 96) || strspn(list.items[i], "0123456789abcdef") != n)
			err = config_bad(r, value, "'%s' in '%s' is not a measurement: `coffer measure` prints one", list.items[i], key);
	}
	if (!err && (!list.count || list.count > MAX_MEASUREMENTS))
		err = config_bad(r, value, "'%s' takes 1 to %d measurements", key, MAX_MEASUREMENTS);
	if (!err)
		text_json_list(out, &list);
	string_list_free(&list);
	return err;
}

static int read_verify_key(struct config_reader *r, yaml_node_t *value, const char *key)
{
	size_t k = 0;
	const char *s;
	bool flag = false;
	int err;

	while (strcmp(verify_keys[k].name, key) != 0)
		k++;
	if (verify_keys[k].kind == DIGESTS)
		return read_digests(r, value, key, &r->verify[k]);
	if (verify_keys[k].kind == FLAG) {
		err = config_read_bool(r, value, key, &flag);
		if (!err && flag)
			text_puts(&r->verify[k], "true");
		return err;
	}
	err = config_read_scalar(r, value, key, &s);
	if (!err && (!*s || strlen(s) > MAX_TEXT))
		err = config_bad(r, value, "'%s' is empty, or too long", key);
	if (!err && verify_keys[k].kind == IN_ENCLAVE && !config_is_clean_path(s))
		err = config_bad(r, value, "'%s' is the absolute path of a file in the enclave (put it into the image with `copy:`), not '%s'", key, s);
	if (err)
		return err;
	text_json(&r->verify[k], s);
	if (verify_keys[k].kind == IN_ENCLAVE && !string_list_has(&r->config->shield_files, s))
		string_list_add(&r->config->shield_files, s);
	return 0;
}

// {KEY: value...} as canonical JSON.
static int read_verify(struct config_reader *r, yaml_node_t *value, char **out)
{
	static const struct config_key keys[] = {
		{"any_measurement", read_verify_key}, {"ca", read_verify_key}, {"collateral", read_verify_key}, {"insecure_accept_debug", read_verify_key},
		{"insecure_simulated_root", read_verify_key}, {"measurements", read_verify_key}, {"name", read_verify_key}, {"policy", read_verify_key},
		{"token_keys", read_verify_key}, {"tpm_roots", read_verify_key}, {0},
	};
	struct text json = {0}, values[VERIFY_KEYS] = {0}; // JSON; empty: not given
	int err;

	r->verify = values;
	err = config_read_map(r, value, " of 'verify'", keys);
	text_puts(&json, "{");
	for (size_t k = 0; k < VERIFY_KEYS; k++) {
		if (values[k].len)
			text_printf(&json, "%s\"%s\":%s", json.len > 1 ? "," : "", verify_keys[k].name, values[k].data);
		text_free(&values[k]);
	}
	text_puts(&json, "}");
	// ratls would say so when the enclave starts; here it costs less.
	if (!err && !strstr(json.data, "\"any_measurement\"") && !strstr(json.data, "\"ca\"") && !strstr(json.data, "\"measurements\"") &&
	    !strstr(json.data, "\"policy\"") && !strstr(json.data, "\"token_keys\""))
		err = config_bad(r, value, "'verify' must say which peers are meant: measurements, policy, token_keys or ca");
	if (err) {
		text_free(&json);
		return err;
	}
	free(*out);
	*out = json.data;
	return 0;
}

// ---- an entry's settings

static int read_entry_verify(struct config_reader *r, yaml_node_t *value, const char *key)
{
	(void)key;
	return read_verify(r, value, &r->entry->verify);
}

static int read_entry_attest(struct config_reader *r, yaml_node_t *value, const char *key)
{
	return config_read_bool(r, value, key, &r->entry->attest);
}

static int read_entry_session(struct config_reader *r, yaml_node_t *value, const char *key)
{
	const char *s;
	int err = config_read_scalar(r, value, key, &s);

	if (!err && strcmp(s, "required") != 0 && strcmp(s, "wanted") != 0 && strcmp(s, "off") != 0)
		err = config_bad(r, value, "'session' is required, wanted or off, not '%s'", s);
	if (!err) {
		free(r->entry->session);
		r->entry->session = xstrdup(s);
	}
	return err;
}

static int read_entry_mux(struct config_reader *r, yaml_node_t *value, const char *key)
{
	if (!r->entry->host)
		return config_bad(r, value, "'mux' is for destinations: clients choose by themselves");
	r->entry->mux_given = true;
	return config_read_bool(r, value, key, &r->entry->mux);
}

static const struct config_key entry_keys[] = {
	{"attest", read_entry_attest}, {"mux", read_entry_mux}, {"session", read_entry_session}, {"verify", read_entry_verify}, {0},
};

// `attested`, or a map of settings.
static int read_entry(struct config_reader *r, yaml_node_t *value, struct config_shield *e)
{
	const char *s;
	int err;

	r->entry = e;
	e->session = xstrdup("required");
	if (value->type == YAML_SCALAR_NODE) {
		err = config_read_scalar(r, value, "an entry of 'network'", &s);
		if (!err && strcmp(s, "attested") != 0)
			err = config_bad(r, value, "what follows a port is 'attested' or a map of settings, not '%s'", s);
	} else {
		err = config_read_map(r, value, " of an entry of 'network'", entry_keys);
	}
	return err;
}

static struct config_shield *new_entry(struct config_shield **list, size_t *count)
{
	*list = xrealloc(*list, (*count + 1) * sizeof(**list));
	(*list)[*count] = (struct config_shield){0};
	return &(*list)[(*count)++];
}

// A list's item that is a map of one line.
static int single_pair(struct config_reader *r, yaml_node_t *item, const char *key, const char **name, yaml_node_t **value)
{
	yaml_node_pair_t *pair = item->data.mapping.pairs.start;

	if (item->data.mapping.pairs.top - pair != 1)
		return config_bad(r, item, "an item of '%s' is one line such as `- 6379: attested`; settings follow in braces or on lines further in", key);
	*value = yaml_document_get_node(r->doc, pair->value);
	return config_read_scalar(r, yaml_document_get_node(r->doc, pair->key), key, name);
}

// ---- listen

static int add_listen(struct config_reader *r, yaml_node_t *item, const char *key, const char *text, yaml_node_t *settings)
{
	struct config *c = r->config;
	unsigned int port = parse_port(text);

	if (!port)
		return config_bad(r, item, "'%s' in '%s' is not a port (1 to 65535)", text, key);
	if (config_listens(c, port))
		return config_bad(r, item, "port %u is given twice", port);
	if (c->listen_count + c->shield_count == CONFIG_MAX_PORTS)
		return config_bad(r, item, "'%s' takes at most %d ports", key, CONFIG_MAX_PORTS);
	if (!settings) {
		c->listen[c->listen_count++] = (uint16_t)port;
		return 0;
	}
	struct config_shield *e = new_entry(&c->shield, &c->shield_count);
	e->port = (uint16_t)port;
	e->attest = true;
	int err = read_entry(r, settings, e);
	if (!err && !e->attest)
		err = config_bad(r, item, "port %u: clients must be shown evidence: leave 'attest' out", port);
	return err;
}

static int compare_entries(const void *a, const void *b)
{
	const struct config_shield *x = a, *y = b;
	int by_host = x->host ? strcmp(x->host, y->host) : 0;

	return by_host ? by_host : x->port - y->port;
}

static int read_listen(struct config_reader *r, yaml_node_t *value, const char *key)
{
	struct config *c = r->config;
	int err = 0;

	if (value->type != YAML_SEQUENCE_NODE)
		return config_bad(r, value, "'%s' is a list, such as [8080], not %s", key, config_type_name(value));
	for (yaml_node_item_t *i = value->data.sequence.items.start; i < value->data.sequence.items.top && !err; i++) {
		yaml_node_t *item = yaml_document_get_node(r->doc, *i), *settings = NULL;
		const char *text;

		err = item->type == YAML_MAPPING_NODE ? single_pair(r, item, key, &text, &settings) : config_read_scalar(r, item, key, &text);
		if (!err)
			err = add_listen(r, item, key, text, settings);
	}
	qsort(c->listen, c->listen_count, sizeof(*c->listen), compare_ports);
	if (c->shield_count)
		qsort(c->shield, c->shield_count, sizeof(*c->shield), compare_entries);
	return err;
}

// ---- connect

// HOST:PORT, ADDRESS:PORT or [ADDRESS]:PORT into the entry.
static int read_destination(struct config_reader *r, yaml_node_t *node, const char *text, struct config_shield *e)
{
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0;
	bool bracket = n > 2 && text[0] == '[' && text[n - 1] == ']';
	char *host = bracket ? xstrndup(text + 1, n - 2) : xstrndup(text, n);
	unsigned char ip[16] = {0};
	bool v4 = inet_pton(AF_INET, host, ip) == 1, v6 = !v4 && inet_pton(AF_INET6, host, ip) == 1;
	unsigned int port = colon ? parse_port(colon + 1) : 0;

	for (char *p = host; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	e->host = host;
	e->port = (uint16_t)port;
	e->numeric = v4 || v6;
	if (!port || !n || n > 253 || bracket != v6 ||
	    (!e->numeric && (strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789.-_") != n || strspn(host, "0123456789.") == n || host[0] == '.' || host[0] == '-')))
		return config_bad(r, node, "'%s' is not a destination: HOST:PORT, with an IPv6 address in brackets", text);
	if (!strcmp(host, "localhost") || (v4 && (ip[0] == 127 || !ip[0])) || (v6 && !memcmp(ip, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 15) && ip[15] < 2))
		return config_bad(r, node, "'%s' is inside the enclave: programs reach it without being told so here", text);
	if (v4 && ip[0] == 100 && ip[1] == 64)
		return config_bad(r, node, "'%s': addresses that begin with 100.64 stand for destinations of the gateway", text);
	return 0;
}

static int add_destination(struct config_reader *r, yaml_node_t *item, const char *key, struct config_shield *e)
{
	yaml_node_t *settings = NULL;
	const char *text;
	int err = item->type == YAML_MAPPING_NODE ? single_pair(r, item, key, &text, &settings) : config_read_scalar(r, item, key, &text);

	if (!err)
		err = read_destination(r, item, text, e);
	e->plain = !settings;
	return err || !settings ? err : read_entry(r, settings, e);
}

static int read_connect(struct config_reader *r, yaml_node_t *value, const char *key)
{
	struct config *c = r->config;
	const char *s;
	int err = 0;

	if (value->type != YAML_SEQUENCE_NODE) {
		err = config_read_scalar(r, value, key, &s);
		if (!err && strcmp(s, "any") != 0 && strcmp(s, "none") != 0)
			err = config_bad(r, value, "'%s' is any, none or a list of destinations, not '%s'", key, s);
		if (!err)
			c->connect_any = s[0] == 'a';
		return err;
	}
	for (yaml_node_item_t *i = value->data.sequence.items.start; i < value->data.sequence.items.top && !err; i++) {
		yaml_node_t *item = yaml_document_get_node(r->doc, *i);

		if (c->destination_count == CONFIG_MAX_PORTS)
			return config_bad(r, item, "'%s' takes at most %d destinations", key, CONFIG_MAX_PORTS);
		struct config_shield *e = new_entry(&c->destinations, &c->destination_count);
		err = add_destination(r, item, key, e);
		for (size_t k = 0; k + 1 < c->destination_count && !err; k++)
			if (c->destinations[k].port == e->port && !strcmp(c->destinations[k].host, e->host))
				err = config_bad(r, item, "%s:%u is given twice", e->host, e->port);
	}
	return err;
}

static int read_dns(struct config_reader *r, yaml_node_t *value, const char *key)
{
	struct config *c = r->config;

	if (value->type != YAML_MAPPING_NODE)
		return config_bad(r, value, "'dns' is a name server behind a protected connection, such as `dns: {192.0.2.53:853: {verify: {...}}}`");
	return add_destination(r, value, key, new_entry(&c->dns, &c->dns_count));
}

static int read_default_verify(struct config_reader *r, yaml_node_t *value, const char *key)
{
	(void)key;
	return read_verify(r, value, &r->config->verify);
}

static const struct config_key network_keys[] = {
	{"listen", read_listen}, {"connect", read_connect}, {"dns", read_dns}, {"verify", read_default_verify}, {0},
};

// Who is to be believed is said for each destination, or for all of them.
static int settle(struct config_reader *r, yaml_node_t *node, struct config_shield *e)
{
	if (e->plain)
		return 0;
	if (!e->verify && !r->config->verify)
		return config_bad(r, node, "%s:%u: an attested connection must say what the far end has to prove: "
				  "`network: verify:`, or `verify:` of its own", e->host, e->port);
	if (!e->verify)
		e->verify = xstrdup(r->config->verify);
	if (!e->mux_given) // who has but an ordinary certificate is an ordinary server
		e->mux = !strstr(e->verify, "\"ca\":");
	return 0;
}

int config_read_network(struct config_reader *r, yaml_node_t *value, const char *key)
{
	struct config *c = r->config;
	unsigned int next = 1;
	int err = config_read_map(r, value, " of 'network'", network_keys);

	(void)key;
	if (c->destination_count)
		qsort(c->destinations, c->destination_count, sizeof(*c->destinations), compare_entries);
	for (size_t i = 0; i < c->destination_count && !err; i++) {
		struct config_shield *e = &c->destinations[i];

		err = settle(r, value, e);
		if (e->numeric)
			e->address = xstrdup(e->host);
		else if (i && !strcmp(e->host, e[-1].host))
			e->address = xstrdup(e[-1].address);
		else
			e->address = xasprintf("100.64.1.%u", next++);
	}
	for (size_t i = 0; i < c->dns_count && !err; i++) {
		if (!c->connect_any)
			err = config_bad(r, value, "'dns' is for programs that may connect to any destination; those that 'connect' lists have "
					 "addresses already");
		else
			err = settle(r, value, &c->dns[i]);
		c->dns[i].address = xstrdup(CONFIG_DNS_ADDRESS);
	}
	return err;
}

// ---- canonical JSON

static void entry_json(const struct config_shield *e, struct text *out)
{
	text_puts(out, "{");
	if (e->host) {
		text_puts(out, "\"address\":");
		text_json(out, e->address);
		text_puts(out, ",");
	}
	text_printf(out, "\"attest\":%s", e->attest ? "true" : "false");
	if (e->host) {
		text_puts(out, ",\"host\":");
		text_json(out, e->host);
		text_printf(out, ",\"mux\":%s,\"plain\":%s", e->mux ? "true" : "false", e->plain ? "true" : "false");
	}
	text_printf(out, ",\"port\":%u,\"session\":\"%s\",\"verify\":%s}", e->port, e->session ? e->session : "off", e->verify ? e->verify : "null");
}

static void list_json(const char *name, const struct config_shield *list, size_t count, struct text *out)
{
	text_printf(out, "\"%s\":[", name);
	for (size_t i = 0; i < count; i++) {
		if (i)
			text_puts(out, ",");
		entry_json(&list[i], out);
	}
	text_puts(out, "]");
}

void config_network_json(const struct config *c, struct text *out)
{
	text_printf(out, "{\"connect\":\"%s\",", c->connect_any ? "any" : c->destination_count ? "listed" : "none");
	list_json("destinations", c->destinations, c->destination_count, out);
	text_puts(out, ",");
	list_json("dns", c->dns, c->dns_count, out);
	text_puts(out, ",\"listen\":[");
	for (size_t i = 0; i < c->listen_count; i++)
		text_printf(out, "%s%u", i ? "," : "", c->listen[i]);
	text_puts(out, "],");
	list_json("shield", c->shield, c->shield_count, out);
	text_puts(out, "}");
}

static void free_entries(struct config_shield *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(list[i].host);
		free(list[i].address);
		free(list[i].session);
		free(list[i].verify);
	}
	free(list);
}

void config_network_free(struct config *c)
{
	free_entries(c->shield, c->shield_count);
	free_entries(c->destinations, c->destination_count);
	free_entries(c->dns, c->dns_count);
	string_list_free(&c->shield_files);
	free(c->verify);
}

bool config_has_gateway(const struct config *c)
{
	return c->shield_count || c->destination_count || c->dns_count;
}

bool config_listens(const struct config *c, unsigned int port)
{
	for (size_t i = 0; i < c->listen_count; i++)
		if (c->listen[i] == port)
			return true;
	for (size_t i = 0; i < c->shield_count; i++)
		if (c->shield[i].port == port)
			return true;
	return false;
}
