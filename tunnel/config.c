// SPDX-License-Identifier: Apache-2.0
// See config.h. The table of keys is lib/yamlcfg's; what keys mean together is checked here.
#include "tunnel/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <libgen.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "attest/simtee.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/yamlcfg.h"

#define TEXT {.kind = YAMLCFG_TEXT}
#define FLAG {.kind = YAMLCFG_BOOL}
#define TEXTS {.kind = YAMLCFG_LIST, .item = &text_type}
#define NUMBER(least_, most_) {.kind = YAMLCFG_INT, .min = (least_), .max = (most_)}
#define RECORD(keys_) {.kind = YAMLCFG_RECORD, .keys = (keys_)}
#define END {.name = NULL}

static const struct yamlcfg_type text_type = TEXT;

static const struct yamlcfg_key tun_keys[] = {
	{"device", TEXT, true}, {"addresses", TEXTS, false}, {"local", TEXTS, true}, {"remote", TEXTS, true}, {"mtu", NUMBER(1280, 65520), false},
	{"routes", FLAG, false}, END,
};
static const struct yamlcfg_key ohttp_in_keys[] = {
	{"ca", TEXT, false}, {"authority", TEXT, false}, {"scheme", TEXT, false}, {"chunks", FLAG, false}, {"refresh_seconds", NUMBER(1, 86400),
		false},
	{"max_body_mib", NUMBER(1, 1024), false}, {"answer_seconds", NUMBER(1, 3600), false},
	{"pad_bytes", NUMBER(1, 16384), false}, END,
};
static const struct yamlcfg_key ohttp_out_keys[] = {
	{"path", TEXT, false}, {"seed", TEXT, false}, {"origins", TEXTS, false}, {"rotate_seconds", NUMBER(60, 30 * 86400), false},
		{"overlap_seconds", NUMBER(1, 86400),
		false},
	{"evidence_per_second", NUMBER(1, 1000), false}, {"max_body_mib", NUMBER(1, 1024), false}, {"answer_seconds", NUMBER(1, 3600), false},
	{"pad_bytes", NUMBER(1, 16384), false}, END,
};
static const struct yamlcfg_key ingress_keys[] = {
	{"listen", TEXT, false}, {"listen_mode", TEXT, false}, {"accept", TEXT, false}, {"users", TEXT, false}, {"udp", FLAG, false},
	{"destinations", TEXTS, false}, {"otherwise", TEXT, false}, {"mark", NUMBER(0, UINT32_MAX), false},
	{"ohttp", RECORD(ohttp_in_keys), false}, {"tun", RECORD(tun_keys), false}, END,
};
static const struct yamlcfg_key egress_keys[] = {
	{"listen", TEXT, true}, {"to", TEXT, false}, {"allow", TEXTS, false}, {"mark", NUMBER(0, UINT32_MAX), false},
	{"ohttp", RECORD(ohttp_out_keys), false}, {"udp", FLAG, false}, {"tun", RECORD(tun_keys), false}, END,
};
static const struct yamlcfg_key verify_keys[] = {
	{"measurements", TEXTS, false}, {"any_measurement", FLAG, false}, {"policy", TEXT, false}, {"collateral", TEXT, false},
	{"tpm_roots", TEXT, false}, {"token_keys", TEXT, false}, {"peer_token", TEXT, false}, {"ca", TEXT, false}, {"name", TEXT, false},
	{"insecure_simulated_root", TEXT, false}, {"insecure_accept_debug", FLAG, false}, {"insecure_any_server", FLAG, false}, END,
};
static const struct yamlcfg_key identity_keys[] = {
	{"endorse", FLAG, false}, {"collateral", TEXT, false}, {"token", TEXT, false}, {"key", TEXT, false}, {"certificate", TEXT, false},
	{"subject", TEXT, false}, {"certificate_seconds", NUMBER(600, 30 * 86400), false}, {"insecure_simulate", TEXT, false}, END,
};
static const struct yamlcfg_key session_keys[] = {
	{"mode", TEXT, false}, {"renew_seconds", NUMBER(1, 86400), false}, {"answer_seconds", NUMBER(1, 3600), false},
	{"cache_seconds", NUMBER(0, 86400), false}, END,
};
static const struct yamlcfg_key route_keys[] = {
	{"name", TEXT, true}, {"ingress", RECORD(ingress_keys), false}, {"connect", TEXT, false}, {"mux", FLAG, false},
	{"egress", RECORD(egress_keys), false}, {"verify", RECORD(verify_keys), false}, {"attest", FLAG, false},
	{"identity", RECORD(identity_keys), false}, {"session", RECORD(session_keys), false}, END,
};
static const struct yamlcfg_type route_type = RECORD(route_keys);
static const struct yamlcfg_key log_keys[] = {{"format", TEXT, false}, {"level", TEXT, false}, END};
static const struct yamlcfg_key limit_keys[] = {
	{"connections", NUMBER(1, 10000000), false}, {"handshakes", NUMBER(1, 100000), false}, {"memory_mib", NUMBER(1, 1 << 20), false},
	{"window_kib", NUMBER(64, 64 << 10), false}, END,
};
static const struct yamlcfg_key timeout_keys[] = {
	{"connect_seconds", NUMBER(1, 600), false}, {"handshake_seconds", NUMBER(1, 600), false}, {"idle_seconds", NUMBER(0, 30 * 86400), false},
	{"drain_seconds", NUMBER(0, 86400), false}, {"keepalive_seconds", NUMBER(1, 3600), false},
	{"udp_idle_seconds", NUMBER(1, 86400), false}, END,
};
static const struct yamlcfg_key file_keys[] = {
	{"workers", NUMBER(0, CONFIG_MAX_WORKERS), false}, {"admin", TEXT, false}, {"log", RECORD(log_keys), false}, {"limits", RECORD(limit_keys),
		false},
	{"timeouts", RECORD(timeout_keys), false}, {"routes", {.kind = YAMLCFG_LIST, .item = &route_type}, true}, END,
};
static const struct yamlcfg_type file_type = RECORD(file_keys);

// ---- addresses ----

int config_address_parse(struct config_address *out, const char *text, struct fault *f)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&out->sa;
	struct target t;
	memset(out, 0, sizeof *out);
	if (!strncmp(text, "unix:", 5)) {
		size_t n = strlen(text + 5);
		if (!n || n >= sizeof un->sun_path)
			return fault_set(f, -EINVAL, "'%s': a path of 1 to %zu characters belongs behind unix:", text, sizeof un->sun_path - 1);
		un->sun_family = AF_UNIX;
		memcpy(un->sun_path, text + 5, n);
		out->len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
		snprintf(out->text, sizeof out->text, "%s", text);
		return 0;
	}
	// Port 0 is any free one, which a target does not know.
	size_t n = strlen(text);
	bool any_port = n > 2 && !strcmp(text + n - 2, ":0");
	if (target_parse(&t, text, any_port ? n - 2 : n, any_port ? 1 : 0) || !(out->len = target_sockaddr(&t, &out->sa)))
		return fault_set(f, -EINVAL, "'%s' is no numeric ADDRESS:PORT (as 127.0.0.1:5432 or [::1]:5432), nor unix:PATH", text);
	if (any_port && out->sa.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&out->sa)->sin6_port = 0;
	else if (any_port)
		((struct sockaddr_in *)&out->sa)->sin_port = 0;
	config_address_text(out->text, (struct sockaddr *)&out->sa, out->len);
	return 0;
}

void config_address_text(char out[CONFIG_ADDRESS_TEXT], const struct sockaddr *sa, socklen_t len)
{
	char host[INET6_ADDRSTRLEN];
	const struct sockaddr_in *in = (const struct sockaddr_in *)sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)sa;
	const struct sockaddr_un *un = (const struct sockaddr_un *)sa;
	const size_t head = offsetof(struct sockaddr_un, sun_path);
	if (sa->sa_family == AF_INET && inet_ntop(AF_INET, &in->sin_addr, host, sizeof host))
		snprintf(out, CONFIG_ADDRESS_TEXT, "%s:%u", host, ntohs(in->sin_port));
	else if (sa->sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && inet_ntop(AF_INET, in6->sin6_addr.s6_addr + 12, host,
		sizeof host))
		snprintf(out, CONFIG_ADDRESS_TEXT, "%s:%u", host, ntohs(in6->sin6_port));
	else if (sa->sa_family == AF_INET6 && inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host))
		snprintf(out, CONFIG_ADDRESS_TEXT, "[%s]:%u", host, ntohs(in6->sin6_port));
	else if (sa->sa_family == AF_UNIX)
		snprintf(out, CONFIG_ADDRESS_TEXT, "unix:%.*s", len > head ? (int)(len - head) : 0, un->sun_path);
	else
		snprintf(out, CONFIG_ADDRESS_TEXT, "?");
}

// ---- small values ----

static const char *text_of(const json_t *o, const char *key)
{
	return json_string_value(json_object_get(o, key));
}

static unsigned int number_of(const json_t *o, const char *key, unsigned int otherwise)
{
	const json_t *v = json_object_get(o, key);
	return v ? (unsigned int)json_integer_value(v) : otherwise;
}

static bool flag_of(const json_t *o, const char *key)
{
	return json_is_true(json_object_get(o, key));
}

// The route as it is read: its file's folder, and the digest of what it names.
struct reading {
	struct route_config *r;
	const char *folder;
	EVP_MD_CTX *digest;
	struct fault *f;
};

__attribute__((format(printf, 2, 3))) static int wrong(struct reading *w, const char *format, ...)
{
	char why[768];
	va_list ap;
	va_start(ap, format);
	vsnprintf(why, sizeof why, format, ap);
	va_end(ap);
	return fault_set(w->f, -EINVAL, "route '%.64s': %s", w->r->name, why);
}

// A file's name, from the configuration's folder unless absolute; NULL: none given. Errors only without memory.
static int path_of(struct reading *w, const json_t *o, const char *key, const char **out)
{
	const char *text = text_of(o, key);
	char *path;
	*out = NULL;
	if (!text)
		return 0;
	if (!*text)
		return wrong(w, "%s: no file is named", key);
	if (w->r->text_count == sizeof w->r->texts / sizeof *w->r->texts)
		return wrong(w, "too many files");
	if (asprintf(&path, "%s%s%s", *text == '/' ? "" : w->folder, *text == '/' ? "" : "/", text) < 0)
		return fault_set(w->f, -ENOMEM, "out of memory");
	w->r->texts[w->r->text_count++] = path;
	*out = path;
	return 0;
}

// The same of a file whose content belongs to the route: another content makes another route.
static int file_of(struct reading *w, const json_t *o, const char *key, const char **out)
{
	struct fault why = {""};
	char *bytes;
	size_t len;
	int err = path_of(w, o, key, out);
	if (err || !*out)
		return err;
	err = file_read(*out, 1 << 20, &bytes, &len, &why);
	if (err)
		return fault_set(w->f, err, "route '%.64s': %s: %.600s", w->r->name, key, why.text);
	bool ok = EVP_DigestUpdate(w->digest, &len, sizeof len) == 1 && EVP_DigestUpdate(w->digest, bytes, len) == 1;
	free_wiped(bytes, len);
	return ok ? 0 : fault_set(w->f, -ENOMEM, "out of memory");
}

static int rules_of(struct reading *w, const json_t *list, const char *key, struct rules **out)
{
	const char *texts[RULES_MAX];
	struct fault why = {""};
	size_t n = json_array_size(list);
	*out = NULL;
	if (!list)
		return 0;
	if (n > RULES_MAX)
		return wrong(w, "%s: more than %d rules", key, RULES_MAX);
	for (size_t i = 0; i < n; i++)
		texts[i] = json_string_value(json_array_get(list, i));
	int err = rules_new(out, texts, n, &why);
	return err ? fault_set(w->f, err, "route '%.64s': %s: %.600s", w->r->name, key, why.text) : 0;
}

// ---- the parts of a route ----

static int read_verify(struct reading *w, const json_t *o)
{
	struct ratls_options *t = &w->r->tls;
	const json_t *list = json_object_get(o, "measurements");
	size_t n = json_array_size(list);
	int err;
	if (!o)
		return 0;
	if (n > CONFIG_MAX_MEASUREMENTS)
		return wrong(w, "verify: more than %d measurements", CONFIG_MAX_MEASUREMENTS);
	for (size_t i = 0; i < n; i++)
		w->r->measurements[i] = json_string_value(json_array_get(list, i));
	if (n)
		t->measurements = w->r->measurements;
	t->any_measurement = flag_of(o, "any_measurement");
	t->insecure_accept_debug = flag_of(o, "insecure_accept_debug");
	t->insecure_any_server = flag_of(o, "insecure_any_server");
	if ((err = file_of(w, o, "policy", &t->policy_file)) || (err = path_of(w, o, "collateral", &t->collateral_dir)) ||
	    (err = file_of(w, o, "tpm_roots", &t->tpm_roots_file)) || (err = file_of(w, o, "token_keys", &t->token_keys_file)) ||
	    (err = path_of(w, o, "peer_token", &t->peer_token_file)) || (err = file_of(w, o, "ca", &t->ca_file)) ||
	    (err = file_of(w, o, "insecure_simulated_root", &t->insecure_simulated_root)))
		return err;
	w->r->gateway_name = text_of(o, "name");
	// Who asks for nothing but an ordinary certificate, or for nothing, asks for no evidence.
	t->verify = t->policy_file || t->measurements || t->any_measurement || t->token_keys_file;
	if (t->verify && t->insecure_any_server)
		return wrong(w, "verify: insecure_any_server takes anybody, and the other keys ask for evidence: which?");
	if (w->r->kind == ROUTE_EGRESS && t->insecure_any_server)
		return wrong(w, "verify: insecure_any_server is about servers: an egress route that asks nothing of its clients has no `verify`");
	if (!t->verify && !t->ca_file && !t->insecure_any_server)
		return wrong(w, "verify: which enclaves are meant? Name measurements, a policy or any_measurement; or a ca for ordinary certificates");
	if (w->r->gateway_name && !t->ca_file)
		return wrong(w, "verify: name is what a certificate under `ca` must be for, and there is no ca");
	return 0;
}

static int simulate(void *measurement, const uint8_t report_data[64], struct ratls_evidence *out)
{
	out->bytes = malloc(SIMTEE_REPORT_BYTES);
	out->len = SIMTEE_REPORT_BYTES;
	return out->bytes ? simtee_report(NULL, measurement, report_data, false, out->bytes, &out->certificates) : -ENOMEM;
}

static int read_identity(struct reading *w, const json_t *o)
{
	struct ratls_options *t = &w->r->tls;
	const char *hex = text_of(o, "insecure_simulate"), *collateral;
	int err;
	if ((err = file_of(w, o, "key", &t->key_file)) || (err = file_of(w, o, "certificate", &t->certificate_file)) ||
	    (err = path_of(w, o, "token", &t->token_file)) || (err = path_of(w, o, "collateral", &collateral)))
		return err;
	if (collateral && t->collateral_dir && strcmp(collateral, t->collateral_dir))
		return wrong(w, "identity and verify name different folders of collateral");
	if (collateral)
		t->collateral_dir = collateral;
	t->subject = text_of(o, "subject");
	t->endorse = flag_of(o, "endorse");
	t->certificate_seconds = number_of(o, "certificate_seconds", 0);
	if (hex) {
		if (strlen(hex) != 96 || hex_decode(w->r->simulated, 48, hex))
			return wrong(w, "identity: insecure_simulate takes a measurement: 96 hexadecimal digits");
		t->attest = true;
		t->collect = simulate;
		t->collect_ctx = w->r->simulated;
	}
	if (t->attest && (t->token_file || t->certificate_file))
		return wrong(w, "a side shows evidence (attest), a token or an ordinary certificate: one of them");
	return 0;
}

static int read_session(struct reading *w, const json_t *o)
{
	struct ratls_options *t = &w->r->tls;
	const char *mode = text_of(o, "mode");
	if (mode && !strcmp(mode, "wanted"))
		t->session = RATLS_SESSION_WANTED;
	else if (mode && !strcmp(mode, "off"))
		t->session = RATLS_SESSION_OFF;
	else if (mode && strcmp(mode, "required"))
		return wrong(w, "session: mode is required, wanted or off, not '%.40s'", mode);
	t->renew_seconds = number_of(o, "renew_seconds", 0);
	t->answer_seconds = number_of(o, "answer_seconds", 0);
	t->cache_seconds = number_of(o, "cache_seconds", 0);
	t->no_cache = json_object_get(o, "cache_seconds") && !t->cache_seconds;
	return 0;
}

// "host:port", or several with commas between.
static int read_gateways(struct reading *w, const char *text)
{
	struct route_config *r = w->r;
	while (*text) {
		size_t n = strcspn(text, ","), lead = strspn(text, " ");
		if (r->gateway_count == CONFIG_MAX_GATEWAYS)
			return wrong(w, "connect: more than %d gateways", CONFIG_MAX_GATEWAYS);
		size_t len = n > lead ? n - lead : 0;
		while (len && text[lead + len - 1] == ' ')
			len--;
		if (target_parse(&r->gateways[r->gateway_count], text + lead, len, 0))
			return wrong(w, "connect: '%.*s' is no HOST:PORT", (int)len, text + lead);
		r->gateway_count++;
		text += n + (text[n] == ',');
	}
	return r->gateway_count ? 0 : wrong(w, "connect: no gateway is named");
}

static int read_mode(struct reading *w, const json_t *o)
{
	const char *text = text_of(o, "listen_mode");
	char *end;
	w->r->listen_mode = 0600;
	if (!text)
		return 0;
	unsigned long mode = strtoul(text, &end, 8);
	if (*end || end == text || mode > 0777)
		return wrong(w, "listen_mode: '%.20s' is no file mode such as 0660", text);
	w->r->listen_mode = (unsigned int)mode;
	return 0;
}

// ---- OHTTP ----

// What has no meaning for a route whose messages go over whatever relays there are.
static int refuse_for_ohttp(struct reading *w, const json_t *route, const json_t *o, const char *const *names, const char *where)
{
	for (; *names; names++) {
		if (json_object_get(o, *names))
			return wrong(w, "%s%s: nothing that OHTTP has", where, *names);
	}
	return json_object_get(route, "session") ? wrong(w, "session: OHTTP has none: each request stands alone") : 0;
}

static void read_ohttp_numbers(struct config_ohttp *h, const json_t *o)
{
	h->on = true;
	h->max_body_mib = number_of(o, "max_body_mib", 0);
	h->answer_s = number_of(o, "answer_seconds", 0);
	h->pad_bytes = number_of(o, "pad_bytes", 0);
	h->rotate_s = number_of(o, "rotate_seconds", 0);
	h->overlap_s = number_of(o, "overlap_seconds", 0);
	h->evidence_per_s = number_of(o, "evidence_per_second", 0);
	h->refresh_s = number_of(o, "refresh_seconds", 0);
}

static int read_ohttp_ingress(struct reading *w, const json_t *route, const json_t *in)
{
	static const char *const others[] = {"users", "udp", "tun", "destinations", "mark", NULL};
	const json_t *o = json_object_get(in, "ohttp");
	struct config_ohttp *h = &w->r->ohttp;
	int err = refuse_for_ohttp(w, route, in, others, "ingress: ");
	if (err)
		return err;
	if (json_object_get(route, "mux"))
		return wrong(w, "mux: nothing that OHTTP has");
	read_ohttp_numbers(h, o);
	h->url = text_of(route, "connect");
	h->authority = text_of(o, "authority");
	h->scheme = text_of(o, "scheme");
	h->whole = json_is_false(json_object_get(o, "chunks"));
	if (!h->url || (strncmp(h->url, "http://", 7) && strncmp(h->url, "https://", 8)))
		return wrong(w, "an OHTTP ingress needs `connect`: the gateway's URL, http://HOST[:PORT][/PATH] or https");
	if (h->scheme && strcmp(h->scheme, "http") && strcmp(h->scheme, "https"))
		return wrong(w, "ohttp: scheme is http or https, not '%.40s'", h->scheme);
	if (json_object_get(route, "attest") || json_object_get(route, "identity"))
		return wrong(w, "OHTTP's clients show nothing of themselves: no attest, no identity");
	if (!json_object_get(route, "verify"))
		return wrong(w, "an ingress route needs `verify`: whom it trusts. Anybody: verify: {insecure_any_server: true}");
	if (json_object_get(json_object_get(route, "verify"), "ca") || json_object_get(json_object_get(route, "verify"), "name"))
		return wrong(w, "verify: an OHTTP gateway is known by evidence or a token, not by an ordinary certificate (ca, name)");
	if (json_object_get(json_object_get(route, "verify"), "peer_token"))
		return wrong(w, "verify: peer_token: an OHTTP gateway brings its token itself");
	err = read_mode(w, in);
	return err ? err : file_of(w, o, "ca", &h->ca_file);
}

static int read_ohttp_egress(struct reading *w, const json_t *route, const json_t *out)
{
	static const char *const others[] = {"allow", "transparent", "udp", "tun", "mark", NULL};
	const json_t *o = json_object_get(out, "ohttp"), *origins = json_object_get(o, "origins"), *identity = json_object_get(route, "identity");
	struct config_ohttp *h = &w->r->ohttp;
	int err = refuse_for_ohttp(w, route, out, others, "egress: ");
	if (err)
		return err;
	read_ohttp_numbers(h, o);
	h->path = text_of(o, "path");
	if (h->path && (*h->path != '/' || strpbrk(h->path, " ?#")))
		return wrong(w, "ohttp: '%.200s' is no path", h->path);
	if (json_array_size(origins) > CONFIG_MAX_ORIGINS)
		return wrong(w, "ohttp: more than %d origins", CONFIG_MAX_ORIGINS);
	for (size_t i = 0; i < json_array_size(origins); i++)
		h->origins[i] = json_string_value(json_array_get(origins, i));
	if (json_object_get(route, "verify"))
		return wrong(w, "verify: OHTTP's clients show nothing of themselves");
	if (!w->r->has_to)
		return wrong(w, "an OHTTP egress needs `to`: the plain HTTP server");
	if (json_object_get(identity, "certificate") || json_object_get(identity, "endorse"))
		return wrong(w, "identity: no certificate is shown in OHTTP: evidence (attest), or a token with its key");
	if (!flag_of(route, "attest") && !json_object_get(identity, "token") && !json_object_get(identity, "insecure_simulate"))
		return wrong(w, "nothing vouches for this gateway's keys: attest, or identity: {token, key}");
	return file_of(w, o, "seed", &h->seed_file);
}

// ---- datagrams and packets ----

static int prefixes_of(struct reading *w, const json_t *o, const char *key, bool interface, struct prefixes *out)
{
	const json_t *list = json_object_get(o, key);
	if (json_array_size(list) > PREFIXES_MAX)
		return wrong(w, "tun: %s: more than %d", key, PREFIXES_MAX);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *text = json_string_value(json_array_get(list, i));
		if (prefix_parse(&out->list[out->count++], text, interface))
			return wrong(w, "tun: %s: '%.60s' is no %s", key, text,
				     interface ? "address with its network's bits, as 10.0.0.1/24 or fd00::1/64" :
				     "network, as 10.0.0.0/24 or fd00::/64 (with zeros behind its bits)");
	}
	return 0;
}

static int read_tun(struct reading *w, const json_t *o)
{
	struct tun_config *t = &w->r->tun;
	const char *device = text_of(o, "device");
	if (!o)
		return 0;
	if (!*device || strlen(device) >= sizeof t->device || device[strspn(device,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")])
		return wrong(w, "tun: device has 1 to 15 letters, digits, '-', '_', '.'");
	memcpy(t->device, device, strlen(device));
	t->mtu = number_of(o, "mtu", 1500);
	t->routes = !json_is_false(json_object_get(o, "routes"));
	int err = prefixes_of(w, o, "addresses", true, &t->addresses);
	if (!err)
		err = prefixes_of(w, o, "local", false, &t->local);
	if (!err)
		err = prefixes_of(w, o, "remote", false, &t->remote);
	if (!err && (!t->local.count || !t->remote.count))
		err = wrong(w, "tun: `local` and `remote` name the networks of this side and of the far side: nothing else passes");
	return err;
}

static int read_ingress(struct reading *w, const json_t *route, const json_t *o)
{
	static const char *const kinds[] = {[ACCEPT_MAPPING] = "mapping", [ACCEPT_SOCKS5] = "socks5", [ACCEPT_HTTP] = "http",
		[ACCEPT_TRANSPARENT] = "transparent"};
	struct route_config *r = w->r;
	const char *accept = text_of(o, "accept"), *connect = text_of(route, "connect"), *otherwise = text_of(o, "otherwise"), *users;
	struct fault why = {""};
	unsigned int kind = 0;
	const bool tun = accept && !strcmp(accept, "tun");
	if (tun != !json_object_get(o, "listen"))
		return wrong(w, "%s", tun ? "a TUN device does not `listen`" : "`listen` is missing: where clients connect to");
	if (accept && !strcmp(accept, "ohttp"))
		return read_ohttp_ingress(w, route, o);
	if (json_object_get(o, "ohttp"))
		return wrong(w, "ohttp: goes with `accept: ohttp`");
	if (tun || (accept && !strcmp(accept, "udp"))) {
		r->carry = tun ? CARRY_TUN : CARRY_UDP;
		accept = NULL;
	}
	if ((r->carry == CARRY_TUN) != !!json_object_get(o, "tun"))
		return wrong(w, "`tun` (the device) belongs to accept: tun");
	while (accept && kind < sizeof kinds / sizeof *kinds && strcmp(accept, kinds[kind]))
		kind++;
	if (kind == sizeof kinds / sizeof *kinds)
		return wrong(w, "accept: mapping, socks5, http, transparent, udp, tun or ohttp, not '%.40s'", accept);
	r->accept.kind = kind;
	r->accept.udp = flag_of(o, "udp");
	if (r->accept.udp && kind != ACCEPT_SOCKS5)
		return wrong(w, "udp: only clients of socks5 associate UDP; ports of UDP are `accept: udp`");
	r->mux = !json_is_false(json_object_get(route, "mux"));
	if (!r->mux && r->carry != CARRY_STREAMS)
		return wrong(w, "accept: udp and tun go to another gateway only: mux cannot be false");
	if (!connect)
		return wrong(w, "an ingress route needs `connect`: where the far gateway is");
	if (!r->mux && kind != ACCEPT_MAPPING)
		return wrong(w, "accept: %s names destinations, which only another gateway can be told: mux cannot be false", accept);
	int err = read_gateways(w, connect);
	if (!err)
		err = read_tun(w, json_object_get(o, "tun"));
	if (!err)
		err = read_mode(w, o);
	if (!err)
		err = file_of(w, o, "users", &users);
	if (!err && users && kind != ACCEPT_SOCKS5 && kind != ACCEPT_HTTP)
		err = wrong(w, "users: clients of a %s give no password", kinds[kind]);
	if (!err && users && (err = users_read(&r->users, users, &why)))
		fault_set(w->f, err, "route '%.64s': users: %.700s", r->name, why.text);
	r->accept.users = r->users;
	if (!err)
		err = rules_of(w, json_object_get(o, "destinations"), "destinations", &r->through);
	if (!err && otherwise && (!r->through || (strcmp(otherwise, "refuse") && strcmp(otherwise, "direct"))))
		err = wrong(w, "otherwise: refuse or direct, what becomes of destinations that `destinations` does not name");
	r->otherwise_direct = otherwise && !strcmp(otherwise, "direct");
	if (!err && r->through && kind == ACCEPT_MAPPING)
		err = wrong(w, "destinations: a mapping has one destination, the far gateway's");
	if (!err && !json_object_get(route, "verify"))
		err = wrong(w, "an ingress route needs `verify`: whom it trusts. Anybody: verify: {insecure_any_server: true}");
	return err;
}

static int read_egress(struct reading *w, const json_t *route, const json_t *o)
{
	struct route_config *r = w->r;
	const char *to = text_of(o, "to");
	int err = 0;
	if (json_object_get(route, "connect") || json_object_get(route, "mux"))
		return wrong(w, "`connect` and `mux` belong to ingress routes; an egress route has `to` and `allow`");
	r->has_to = to;
	r->to_original = to && !strcmp(to, "original");
	if (r->to_original) {
		if (r->listen.sa.ss_family == AF_UNIX)
			err = wrong(w, "to: original is of connections that were redirected to a port");
	} else if (to && !strncmp(to, "unix:", 5)) {
		struct fault why = {""};
		r->to_unix = true;
		if (config_address_parse(&r->to_path, to, &why))
			err = wrong(w, "to: %s", why.text);
	} else if (to && target_parse(&r->to, to, strlen(to), 0)) {
		err = wrong(w, "to: '%.300s' is no HOST:PORT, nor unix:PATH, nor original", to);
	}
	if (!err && json_object_get(o, "ohttp"))
		return read_ohttp_egress(w, route, o);
	if (!err)
		err = rules_of(w, json_object_get(o, "allow"), "allow", &r->allow);
	r->udp = flag_of(o, "udp");
	if (!err && r->udp && r->to_original)
		err = wrong(w, "to: original is of TCP connections: datagrams cannot go there");
	if (!err)
		err = read_tun(w, json_object_get(o, "tun"));
	if (!err && !to && !r->allow && !*r->tun.device)
		err = wrong(w, "an egress route needs `to` (what streams go to), `allow` (what they may name), `tun` (a network), or several of them");
	if (!err && r->udp && !to && !r->allow)
		err = wrong(w, "udp: datagrams go where streams do: `to` or `allow` is missing");
	return err;
}

static int read_route(struct config *c, const json_t *o, const char *folder, struct fault *f)
{
	struct route_config *r = calloc(1, sizeof *r);
	const json_t *in = json_object_get(o, "ingress"), *out = json_object_get(o, "egress");
	struct fault why = {""};
	struct reading w = {.r = r, .folder = folder, .f = f, .digest = EVP_MD_CTX_new()};
	char *canonical = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
	int err = 0;
	if (!r || !w.digest || !canonical || EVP_DigestInit_ex(w.digest, EVP_sha256(), NULL) != 1 ||
	    EVP_DigestUpdate(w.digest, canonical, strlen(canonical)) != 1) {
		err = fault_set(f, -ENOMEM, "out of memory");
		goto out;
	}
	r->json = json_deep_copy(o);	// texts point into it
	if (!r->json) {
		err = fault_set(f, -ENOMEM, "out of memory");
		goto out;
	}
	o = r->json;
	in = json_object_get(o, "ingress");
	out = json_object_get(o, "egress");
	r->name = text_of(o, "name");
	r->kind = in ? ROUTE_INGRESS : ROUTE_EGRESS;
	if (!*r->name || strlen(r->name) > 64 || !text_is_printable(r->name))
		err = fault_set(f, -EINVAL, "a route's name has 1 to 64 printable characters");
	for (unsigned int i = 0; !err && i < c->route_count; i++)
		err = strcmp(c->routes[i]->name, r->name) ? 0 : wrong(&w, "there are two of this name");
	if (!err && !in == !out)
		err = wrong(&w, "a route has either `ingress` or `egress`");
	r->tls.attest = flag_of(o, "attest");
	r->mark = number_of(in ? in : out, "mark", 0);
	const char *listen = text_of(in ? in : out, "listen");
	if (!err && listen && config_address_parse(&r->listen, listen, &why))
		err = wrong(&w, "listen: %s", why.text);
	if (!err)
		err = in ? read_ingress(&w, o, in) : read_egress(&w, o, out);
	if (!err)
		err = read_verify(&w, json_object_get(o, "verify"));
	if (!err)
		err = read_identity(&w, json_object_get(o, "identity"));
	if (!err)
		err = read_session(&w, json_object_get(o, "session"));
	if (!err && EVP_DigestFinal_ex(w.digest, r->digest, NULL) != 1)
		err = fault_set(f, -ENOMEM, "out of memory");
	if (!err)
		c->routes[c->route_count++] = r;
out:
	if (err && r)
		route_config_free(r);
	EVP_MD_CTX_free(w.digest);
	free(canonical);
	return err;
}

// ---- the whole ----

// Anybody on the machine may read a loopback address; nobody else.
static bool is_local(const struct config_address *a)
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)&a->sa;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&a->sa;
	return a->sa.ss_family == AF_UNIX || (a->sa.ss_family == AF_INET && ntohl(in->sin_addr.s_addr) >> 24 == 127) ||
	       (a->sa.ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr));
}

static int read_settings(struct settings *s, const json_t *o, struct fault *f)
{
	const json_t *log = json_object_get(o, "log"), *limits = json_object_get(o, "limits"), *times = json_object_get(o, "timeouts");
	const char *admin = text_of(o, "admin"), *format = text_of(log, "format"), *level = text_of(log, "level");
	struct fault why = {""};
	s->workers = number_of(o, "workers", 0);
	s->log_level = TUNNEL_LOG_INFO;
	if (level && tunnel_log_level_read(level, &s->log_level))
		return fault_set(f, -EINVAL, "log: level is error, warning, info or debug, not '%.40s'", level);
	s->log_json = format && !strcmp(format, "json");
	if (format && !s->log_json && strcmp(format, "text"))
		return fault_set(f, -EINVAL, "log: format is text or json, not '%.40s'", format);
	if (admin && config_address_parse(&s->admin, admin, &why))
		return fault_set(f, -EINVAL, "admin: %.900s", why.text);
	if (admin && !is_local(&s->admin))
		return fault_set(f, -EINVAL, "admin: '%s' is no loopback address nor a Unix socket, and whoever reaches it may reload", s->admin.text);
	s->connections = number_of(limits, "connections", 65536);
	s->handshakes = number_of(limits, "handshakes", 1024);
	s->memory_bytes = (uint64_t)number_of(limits, "memory_mib", 512) << 20;
	s->window_bytes = number_of(limits, "window_kib", 4096) << 10;
	s->connect_ms = 1000 * number_of(times, "connect_seconds", 10);
	s->handshake_ms = 1000 * number_of(times, "handshake_seconds", 20);
	s->idle_ms = 1000 * number_of(times, "idle_seconds", 0);
	s->drain_ms = 1000 * number_of(times, "drain_seconds", 30);
	s->keepalive_ms = 1000 * number_of(times, "keepalive_seconds", 15);
	s->udp_idle_ms = 1000 * number_of(times, "udp_idle_seconds", 120);
	return 0;
}

// Two routes cannot have one address.
static int check_listens(const struct config *c, struct fault *f)
{
	for (unsigned int i = 0; i < c->route_count; i++) {
		for (unsigned int k = 0; k < i; k++) {
			const struct config_address *a = &c->routes[i]->listen, *b = &c->routes[k]->listen;
			size_t n = strlen(a->text);
			if (*c->routes[i]->tun.device && !strcmp(c->routes[i]->tun.device, c->routes[k]->tun.device))
				return fault_set(f, -EINVAL, "routes '%s' and '%s' both have the TUN device %s", c->routes[k]->name,
					c->routes[i]->name,
						 c->routes[i]->tun.device);
			if (!n)
				continue;
			// TCP and UDP have each their own.
			if ((c->routes[i]->carry == CARRY_UDP) == (c->routes[k]->carry == CARRY_UDP) && !strcmp(a->text, b->text) &&
				strcmp(a->text + n - 2, ":0"))
				return fault_set(f, -EINVAL, "routes '%s' and '%s' both listen at %s", c->routes[k]->name, c->routes[i]->name,
					a->text);
		}
	}
	return 0;
}

int tunnel_config_parse(struct config **out, const char *text, size_t len, const char *path, struct fault *f)
{
	struct config *c = calloc(1, sizeof *c);
	char *copy = strdup(path), *folder = copy ? dirname(copy) : NULL;
	struct fault why = {""};
	json_t *o = NULL, *list;
	int err = c && copy ? yamlcfg_parse(text, len, path, &file_type, &o, f) : fault_set(f, -ENOMEM, "out of memory");
	*out = NULL;
	if (err)
		goto out;
	list = json_object_get(o, "routes");
	err = read_settings(&c->settings, o, &why);
	if (!err && !json_array_size(list))
		err = fault_set(&why, -EINVAL, "there is no route");
	if (!err && json_array_size(list) > CONFIG_MAX_ROUTES)
		err = fault_set(&why, -EINVAL, "more than %d routes", CONFIG_MAX_ROUTES);
	for (size_t i = 0; !err && i < json_array_size(list); i++)
		err = read_route(c, json_array_get(list, i), folder, &why);
	if (!err)
		err = check_listens(c, &why);
	if (err)
		fault_set(f, err, "%.200s: %.800s", path, why.text);
	else
		*out = c;
out:
	if (err && c)
		tunnel_config_free(c);
	json_decref(o);
	free(copy);
	return err;
}

int tunnel_config_load(struct config **out, const char *path, struct fault *f)
{
	char *text;
	size_t len;
	int err = file_read(path, YAMLCFG_MAX_BYTES, &text, &len, f);
	*out = NULL;
	if (err)
		return err;
	err = tunnel_config_parse(out, text, len, path, f);
	free(text);
	return err;
}

void route_config_free(struct route_config *r)
{
	if (!r)
		return;
	users_free(r->users);
	rules_free(r->through);
	rules_free(r->allow);
	json_decref(r->json);
	for (unsigned int i = 0; i < r->text_count; i++)
		free(r->texts[i]);
	free(r);
}

void tunnel_config_free(struct config *c)
{
	for (unsigned int i = 0; c && i < c->route_count; i++)
		route_config_free(c->routes[i]);
	free(c);
}
