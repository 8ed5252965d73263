// SPDX-License-Identifier: Apache-2.0
// See import.h. Text is written as double-quoted scalars, which JSON and YAML have in common. No locks.
#include "tunnel/import.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tunnel/target.h"

#define SO_MARK_DEFAULT 565	// what TNG marks its own sockets with

struct import {
	FILE *out;
	json_t *notes;
	int err;
};

static const char NOT[] = "not carried over", CHANGED[] = "changed", UNKNOWN[] = "unknown";

__attribute__((format(printf, 4, 5))) static void note(struct import *m, const char *outcome, const char *field, const char *format, ...)
{
	char text[512];
	va_list ap;
	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	json_t *n = json_pack("{s:s, s:s, s:s}", "field", field, "outcome", outcome, "note", text);
	if (json_array_append_new(m->notes, n))
		m->err = -ENOMEM;
}

#define FIELD_TEXT 256

static const char *field_name(char out[FIELD_TEXT], const char *where, const char *key)
{
	snprintf(out, FIELD_TEXT, "%.160s%s%.90s", where, *where ? "." : "", key);
	return out;
}
// A field's name; as long as the block that it stands in.
#define under(where, key) field_name((char[FIELD_TEXT]){0}, where, key)

static void quoted(struct import *m, const char *text)
{
	json_t *s = json_string(text);
	char *q = s ? json_dumps(s, JSON_ENCODE_ANY | JSON_ENSURE_ASCII) : NULL;
	if (q)
		fputs(q, m->out);
	else
		m->err = -ENOMEM;
	free(q);
	json_decref(s);
}

// ---- fields ----

struct known {
	const char *key;
	const char *why;	// NULL: it is carried over elsewhere
};

// Says what becomes of every key of an object.
static void account(struct import *m, const json_t *o, const char *where, const struct known *known)
{
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)o, key, value) {
		const struct known *k = known;
		while (k->key && strcmp(k->key, key))
			k++;
		if (!k->key)
			note(m, UNKNOWN, under(where, key), "no version of TNG that this was made for has such a field");
		else if (k->why)
			note(m, NOT, under(where, key), "%s", k->why);
	}
}

static const char *text_of(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static int port_of(const json_t *o, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(o, key));
	return n > 0 && n < 65536 ? (int)n : 0;
}

// {host, port} as "host:port". False: malformed, which is noted.
static bool endpoint(struct import *m, const json_t *o, const char *where, const char *host, char out[TARGET_TEXT])
{
	const char *said = text_of(o, "host");
	struct target t = {.port = (uint16_t)port_of(o, "port")};
	if (said)
		host = said;
	account(m, o, where, (const struct known[]){{"host", NULL}, {"port", NULL}, {0}});
	if (!t.port || !host || target_set_host(&t, host, strlen(host))) {
		note(m, NOT, where, "there is no host and port");
		return false;
	}
	target_text(&t, out);
	return true;
}

static void line(struct import *m, const char *key, const char *value)
{
	fprintf(m->out, "%s", key);
	quoted(m, value);
	fputc('\n', m->out);
}

// ---- what both sides have ----

static const struct known attest_keys[] = {
	{"model", NULL}, {"refresh_interval", NULL},
	{"aa_provider", "evidence is asked of the machine's kernel, by no agent"}, {"aa_type",
	 "evidence is asked of the machine's kernel, by no agent"},
	{"aa_addr", "evidence is asked of the machine's kernel, by no agent"},
	{"as_provider", "the passport model: `identity: {token: FILE, key: FILE}` with a token that `coffer token` fetches from a broker"},
	{"as_type", "as as_provider"}, {"as_addr", "as as_provider"}, {"as_is_grpc", "as as_provider"}, {"as_headers", "as as_provider"},
	{"policy_ids", "as as_provider"}, {0},
};
static const struct known verify_keys[] = {
	{"model", NULL}, {"attestation_policy", NULL},
	{"as_provider",
	 "evidence is checked here, by no service: `verify: {measurements, policy, collateral}`; or tokens of a service: `token_keys`"},
	{"as_type", "evidence is checked here, by no service"}, {"as_addr", "evidence is checked here, by no service"},
	{"as_is_grpc", "evidence is checked here, by no service"}, {"as_headers", "evidence is checked here, by no service"},
	{"policy_ids", "policies are files here: `verify: {policy: FILE}` (docs/attestation.md)"},
	{"trusted_certs_paths", "they check an attestation service's tokens; here `verify: {token_keys: FILE}` has such keys, as a JWKS"},
	{"reference_values", "coffer reference import reads reference values; `verify: {measurements}` or a policy then names them"},
	{"verify_signer_transparency", "no transparency log of signers is asked"},
	{"skip_as_token_cert_verify", "there is no such weakening"}, {"api_key", "Intel's service is not asked"},
	{"ita_jwks_addr", "`verify: {token_keys: FILE}` takes such keys from a file"}, {0},
};

static void attest(struct import *m, const json_t *o, const char *where)
{
	const json_t *refresh = json_object_get(o, "refresh_interval");
	const char *model = text_of(o, "model");
	if (model && !strcmp(model, "passport"))
		note(m, NOT, under(where, "model"),
		   "a token has to be fetched: `identity: {token: FILE, key: FILE}` instead of attest, and coffer token");
	account(m, o, where, attest_keys);
	fputs("    attest: true\n", m->out);
	if (!refresh)
		return;
	// A certificate is made anew when half of its time is over.
	json_int_t seconds = 2 * json_integer_value(refresh);
	if (seconds < 600 || seconds > 30 * 86400) {
		note(m, CHANGED, under(where, "refresh_interval"), "certificates last 600 seconds to 30 days, and are made anew after half of that");
		seconds = seconds < 600 ? 600 : 30 * 86400;
	}
	fprintf(m->out, "    identity: {certificate_seconds: %lld}\n", (long long)seconds);
}

static void verify(struct import *m, const json_t *o, const char *where)
{
	const json_t *policy = json_object_get(o, "attestation_policy");
	const char *kind = json_is_object(policy) ? text_of(policy, "type") : json_string_value(policy);
	account(m, o, where, verify_keys);
	if (!kind || !strcmp(kind, "hardware_only")) {
		note(m, CHANGED, under(where, "attestation_policy"),
		     "any program on genuine hardware passes, as it did; better name it: `measurements: [...]` in place of any_measurement");
		fputs("    verify: {any_measurement: true}\n", m->out);
	} else if (!strcmp(kind, "trust_all")) {
		note(m, CHANGED, under(where, "attestation_policy"),
		   "trust_all has no like among what checks evidence: insecure_any_server checks nothing");
		fputs("    verify: {insecure_any_server: true}\n", m->out);
	} else {
		note(m, NOT, under(where, "attestation_policy"),
		   "which enclaves are meant has to be said: `verify: {measurements: [...]}` or `policy: FILE`");
		fputs("    verify: {}   # unfinished: measurements, or a policy\n", m->out);
	}
}

static void common(struct import *m, const json_t *o, const char *where, bool ingress)
{
	const json_t *multiplex = json_object_get(json_object_get(o, "rats_tls"), "multiplex");
	if (json_object_get(o, "attest"))
		attest(m, json_object_get(o, "attest"), under(where, "attest"));
	if (json_object_get(o, "verify"))
		verify(m, json_object_get(o, "verify"), under(where, "verify"));
	else if (ingress)
		fputs("    verify: {insecure_any_server: true}\n", m->out);
	if (json_is_true(json_object_get(o, "no_ra")))
		note(m, CHANGED, under(where, "no_ra"), ingress ? "the server may be anybody: verify: {insecure_any_server: true}" :
		     "a server that attests nothing, to clients that ask for nothing");
	else if (ingress && !json_object_get(o, "verify"))
		note(m, CHANGED, where, "without `verify` the server may be anybody: verify: {insecure_any_server: true}");
	if (multiplex && !json_is_true(multiplex))
		note(m, CHANGED, under(where, "rats_tls.multiplex"),
		   "streams between two gateways always share attested connections, a few for each CPU");
	if (json_object_get(o, "ohttp"))
		note(m, NOT, under(where, "ohttp"), "the route is carried over as one of attested TLS; docs/ohttp.md says how one of OHTTP is written");
	if (json_object_get(o, "direct_forward"))
		note(m, NOT, under(where, "direct_forward"), "paths of HTTP are not looked at: what is to go in the clear needs a port of its own");
}

static const struct known route_keys[] = {
	{"mapping", NULL}, {"http_proxy", NULL}, {"socks5", NULL}, {"netfilter", NULL}, {"hook", NULL}, {"mapping_udp", NULL}, {"no_ra", NULL},
	{"attest", NULL}, {"verify", NULL}, {"rats_tls", NULL}, {"ohttp", NULL}, {"direct_forward", NULL},
	{"encap_in_http", "left out of TNG itself; see ohttp"}, {"decap_from_http", "left out of TNG itself; see ohttp"},
	{"web_page_inject", "pages are not changed on their way"}, {0},
};

static void head(struct import *m, const char *kind, size_t i)
{
	fprintf(m->out, "  - name: %s-%zu\n", kind, i);
}

static const char NO_GATEWAY[] = "TNG speaks to every destination itself, where its far end must be; here one far gateway is asked for all: "
				 "say which, as `connect: HOST:PORT`";

static void unknown_gateway(struct import *m, const char *where)
{
	fputs("    connect: gateway.invalid:443   # unfinished: where the far gateway is\n", m->out);
	note(m, NOT, where, "%s", NO_GATEWAY);
}

// ---- ingress ----

// One filter as a rule; NULL: it cannot be one, which is noted.
static const char *filter(struct import *m, const json_t *o, const char *where, char out[512])
{
	const char *domain = text_of(o, "domain"), *ip = text_of(o, "ip"), *cidr = text_of(o, "ip_cidr"), *host = domain ? domain : ip ? ip : cidr;
	int first = port_of(o, "port"), last = port_of(o, "port_end");
	const char *star = domain ? strchr(domain, '*') : NULL;
	account(m, o, where, (const struct known[]){{"domain", NULL}, {"ip", NULL}, {"ip_cidr", NULL}, {"port", NULL}, {"port_end", NULL},
		{"domain_regex", "rules are names and *.name: write those that are meant into `destinations`"}, {0}});
	if (!host && json_object_get(o, "domain_regex"))
		return NULL;
	if (!host)
		host = "*";
	if (star && strcmp(domain, "*") && (star != domain || domain[1] != '.' || strchr(domain + 1, '*'))) {
		note(m, NOT, under(where, "domain"), "rules are names and *.name: write those that are meant into `destinations`");
		return NULL;
	}
	if (strlen(host) > 300 || (domain && (ip || cidr)) || (ip && cidr)) {
		note(m, NOT, where, "a rule has one host");
		return NULL;
	}
	const char *open = strchr(host, ':') ? "[" : "", *close = *open ? "]" : "";
	if (!first)
		snprintf(out, 512, "%s%s%s:*", open, host, close);
	else if (last)
		snprintf(out, 512, "%s%s%s:%d-%d", open, host, close, first, last);
	else
		snprintf(out, 512, "%s%s%s:%d", open, host, close, first);
	return out;
}

static void filters(struct import *m, const json_t *list, const char *where)
{
	char text[512], at[FIELD_TEXT];
	size_t i, n = json_is_object(list) ? 1 : json_array_size(list), written = 0;
	if (!n)
		return;
	fputs("      destinations: [", m->out);
	for (i = 0; i < n; i++) {
		snprintf(at, sizeof at, "%.200s[%zu]", where, i);
		const char *rule = filter(m, json_is_object(list) ? list : json_array_get(list, i), at, text);
		if (!rule)
			continue;
		fputs(written++ ? ", " : "", m->out);
		quoted(m, rule);
	}
	fputs("]\n", m->out);
}

static void proxy(struct import *m, const json_t *o, const char *where, const char *kind)
{
	static const struct known keys[] = {{"proxy_listen", NULL}, {"dst_filters", NULL}, {"dst_filter", NULL}, {"auth", NULL}, {0}};
	const json_t *list = json_object_get(o, "dst_filters");
	char listen[TARGET_TEXT];
	account(m, o, where, keys);
	if (!endpoint(m, json_object_get(o, "proxy_listen"), under(where, "proxy_listen"), "0.0.0.0", listen))
		snprintf(listen, sizeof listen, "127.0.0.1:0");
	fprintf(m->out, "    ingress:\n      accept: %s\n", kind);
	line(m, "      listen: ", listen);
	filters(m, list ? list : json_object_get(o, "dst_filter"), under(where, "dst_filters"));
	if (json_object_get(o, "auth")) {
		note(m, NOT, under(where, "auth"),
		   "passwords do not stand in the configuration: write name:password into a file that only the gateway may "
		     "read, and `users: FILE`");
		fputs("      users: users.txt   # unfinished: name:password lines, mode 600\n", m->out);
	}
	unknown_gateway(m, where);
}

// TNG's far ends speak QUIC to each other when they carry datagrams, on a UDP port; ours the same as ever, on a TCP port.
static void mapping(struct import *m, const json_t *o, const char *where, bool ingress, bool udp)
{
	static const struct known keys[] = {
		{"in", NULL}, {"out", NULL}, {"idle_timeout_secs", "it is one for all routes: timeouts: {udp_idle_seconds: 120}"},
		{"quic", "datagrams pass in streams of TLS"}, {0},
	};
	static const struct known plain_keys[] = {{"in", NULL}, {"out", NULL}, {0}};
	char in[TARGET_TEXT] = "127.0.0.1:0", out[TARGET_TEXT] = "gateway.invalid:443";
	account(m, o, where, udp ? keys : plain_keys);
	if (udp)
		note(m, CHANGED, where, "between the gateways datagrams pass in attested TLS over TCP: open that port");
	endpoint(m, json_object_get(o, "in"), under(where, "in"), "0.0.0.0", in);
	endpoint(m, json_object_get(o, "out"), under(where, "out"), NULL, out);
	fprintf(m->out, "    %s:\n%s", ingress ? "ingress" : "egress", ingress || !udp ? "" : "      udp: true\n");
	if (ingress)
		fprintf(m->out, "      accept: %s\n", udp ? "udp" : "mapping");
	line(m, "      listen: ", in);
	line(m, ingress ? "    connect: " : "      to: ", out);
}

// The rules of the kernel that TNG makes by itself are the administrator's here: shown as a comment. It is copied into a shell: nothing but
// addresses and numbers gets there.
static void redirect_rule(struct import *m, const json_t *capture, const char *chain, int listen_port, long long mark, const char *where)
{
	const char *host = text_of(capture, "host");
	int first = port_of(capture, "port"), last = port_of(capture, "port_end");
	if (text_of(capture, "ipset"))
		note(m, NOT, under(where, "ipset"), "make it a set of nftables, and a rule as the others with: ip daddr @NAME");
	else if (host && host[strspn(host, "0123456789abcdefABCDEF.:/")])
		note(m, NOT, under(where, "host"), "rules of nftables have addresses: make a rule as the others for those of this host");
	if (text_of(capture, "ipset") || (host && host[strspn(host, "0123456789abcdefABCDEF.:/")]))
		return;
	fprintf(m->out, "    #   nft add rule inet coffer %s meta mark != %lld ", chain, mark);
	if (host)
		fprintf(m->out, "%s daddr %s ", strchr(host, ':') ? "ip6" : "ip", host);
	else if (!strcmp(chain, "prerouting"))
		fputs("fib daddr type local ", m->out);
	if (first && last)
		fprintf(m->out, "tcp dport %d-%d ", first, last);
	else if (first)
		fprintf(m->out, "tcp dport %d ", first);
	else
		fputs("meta l4proto tcp ", m->out);
	fprintf(m->out, "redirect to :%d\n", listen_port);
}

static void netfilter(struct import *m, const json_t *o, const char *where, bool ingress)
{
	static const struct known keys[] = {
		{"capture_dst", NULL}, {"listen_port", NULL}, {"so_mark", NULL}, {"capture_local_traffic", NULL},
		{"capture_cgroup", "in the rule of nftables: socket cgroupv2 level N \"PATH\""},
		{"nocapture_cgroup", "in the rule of nftables: socket cgroupv2 level N != \"PATH\""}, {0},
	};
	const json_t *capture = json_object_get(o, "capture_dst"), *mark = json_object_get(o, "so_mark");
	long long so_mark = mark ? json_integer_value(mark) : SO_MARK_DEFAULT;
	int port = port_of(o, "listen_port");
	const char *chain = ingress ? "output" : "prerouting";
	account(m, o, where, keys);
	if (!port)
		port = 40000;
	note(m, CHANGED, where, "the gateway changes no rules of the kernel: the commands that redirect are in the file, as a comment");
	fprintf(m->out, "    # As root:\n    #   nft add table inet coffer\n"
		"    #   nft add chain inet coffer %s '{ type nat hook %s priority -100; }'\n", chain, chain);
	for (size_t i = 0; i < json_array_size(capture); i++)
		redirect_rule(m, json_array_get(capture, i), chain, port, so_mark, under(where, "capture_dst"));
	if (json_is_object(capture))
		redirect_rule(m, capture, chain, port, so_mark, under(where, "capture_dst"));
	if (json_is_true(json_object_get(o, "capture_local_traffic")))
		note(m, NOT, under(where, "capture_local_traffic"), "add the same rule to a chain of the hook output");
	fprintf(m->out, ingress ? "    ingress:\n      accept: transparent\n      listen: \"127.0.0.1:%d\"\n" :
				  "    egress:\n      to: original\n      listen: \"0.0.0.0:%d\"\n",
		port);
	fprintf(m->out, "      mark: %lld\n", so_mark);
	if (ingress)
		unknown_gateway(m, where);
}

static bool no_like(struct import *m, const json_t *o, const char *where, bool ingress)
{
	if (json_object_get(o, "hook"))
		note(m, NOT, under(where, "hook"), ingress ? "coffer tunnel exec starts a program whose connections go through the tunnel" :
		     "let the server listen on another port of the loopback, and an egress route on its own");
	else
		return false;
	return true;
}

static void route(struct import *m, const json_t *o, const char *where, bool ingress, size_t i)
{
	const json_t *map = json_object_get(o, "mapping"), *nf = json_object_get(o, "netfilter");
	account(m, o, where, route_keys);
	if (no_like(m, o, where, ingress))
		return;
	if (!map && !nf && !json_object_get(o, "mapping_udp") && !(ingress && (json_object_get(o, "http_proxy") || json_object_get(o, "socks5")))) {
		note(m, NOT, where, "it does not say how traffic comes in");
		return;
	}
	head(m, ingress ? "ingress" : "egress", i);
	if (map)
		mapping(m, map, under(where, "mapping"), ingress, false);
	else if (json_object_get(o, "mapping_udp"))
		mapping(m, json_object_get(o, "mapping_udp"), under(where, "mapping_udp"), ingress, true);
	else if (nf)
		netfilter(m, nf, under(where, "netfilter"), ingress);
	else if (json_object_get(o, "http_proxy"))
		proxy(m, json_object_get(o, "http_proxy"), under(where, "http_proxy"), "http");
	else
		proxy(m, json_object_get(o, "socks5"), under(where, "socks5"), "socks5");
	common(m, o, where, ingress);
}

// ---- the whole ----

static void top(struct import *m, const json_t *o)
{
	static const struct known keys[] = {
		{"add_ingress", NULL}, {"add_egress", NULL}, {"control_interface", NULL},
		{"metric", "metrics are Prometheus's, at `admin`"}, {"trace",
		 "there are no traces; the log has each connection (log: {level: debug})"},
		{"admin_bind", "left out of TNG itself"}, {0},
	};
	const json_t *rest = json_object_get(json_object_get(o, "control_interface"), "restful");
	char at[TARGET_TEXT];
	account(m, o, "", keys);
	if (!rest || !endpoint(m, rest, "control_interface.restful", "127.0.0.1", at))
		return;
	const char *host = text_of(rest, "host");
	if (host && strncmp(host, "127.", 4) && strcmp(host, "::1")) {
		snprintf(at, sizeof at, "127.0.0.1:%u", (unsigned int)port_of(rest, "port"));
		note(m, CHANGED, "control_interface.restful.host", "it answers on this machine alone: whoever reaches it may reload");
	}
	line(m, "admin: ", at);
	note(m, CHANGED, "control_interface.restful", "its paths are /healthz, /metrics and /status; see docs/tunnel.md");
}

static int routes(struct import *m, const json_t *o, const char *key, bool ingress, struct fault *f)
{
	const json_t *list = json_object_get(o, key), *r;
	char where[64];
	size_t i;
	if (list && !json_is_array(list))
		return fault_set(f, -EINVAL, "%s is no list", key);
	json_array_foreach((json_t *)list, i, r) {
		snprintf(where, sizeof where, "%s[%zu]", key, i);
		if (!json_is_object(r))
			return fault_set(f, -EINVAL, "%s is no object", where);
		route(m, r, where, ingress, i);
	}
	return 0;
}

int import_tng(const json_t *tng, char **yaml, json_t **notes, struct fault *f)
{
	size_t len = 0;
	*yaml = NULL;
	*notes = NULL;
	if (!json_array_size(json_object_get(tng, "add_ingress")) && !json_array_size(json_object_get(tng, "add_egress")))
		return fault_set(f, -EINVAL, "this is no configuration of TNG: it has neither add_ingress nor add_egress");
	struct import m = {.out = open_memstream(yaml, &len), .notes = json_array()};
	if (!m.out || !m.notes)
		m.err = fault_set(f, -ENOMEM, "no memory");
	if (!m.err) {
		fputs("# Made from a configuration of TNG by coffer tunnel import.\n", m.out);
		top(&m, tng);
		fputs("routes:\n", m.out);
		m.err = routes(&m, tng, "add_ingress", true, f);
	}
	if (!m.err)
		m.err = routes(&m, tng, "add_egress", false, f);
	if (m.out && (fclose(m.out) || !*yaml) && !m.err)
		m.err = fault_set(f, -ENOMEM, "no memory");
	if (m.err) {
		free(*yaml);
		*yaml = NULL;
		json_decref(m.notes);
		return m.err;
	}
	*notes = m.notes;
	return 0;
}
