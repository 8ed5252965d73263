// SPDX-License-Identifier: Apache-2.0
// What is known of a connection's peer, as JSON.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attest/cert.h"
#include "attest/json.h"
#include "ratls/connection.h"

static void add_tls(json_t *o, const struct ratls_connection *c)
{
	json_t *tls = set_object(o, "tls");
	int group = SSL_get_negotiated_group(c->ssl);
	const char *name = group > 0 ? OBJ_nid2sn(group) : NULL;
	set_text(tls, "version", SSL_get_version(c->ssl));
	set_text(tls, "cipher", SSL_get_cipher_name(c->ssl));
	if (name)
		set_text(tls, "group", name);
	if (*ratls_alpn(c))
		set_text(tls, "alpn", ratls_alpn(c));
	set_bool(tls, "resumed", SSL_session_reused(c->ssl));
}

static json_t *parsed(const char *text)
{
	return json_loads(text, 0, NULL);
}

// The failed ones of all checks.
static json_t *failed(const json_t *checks)
{
	json_t *out = json_array(), *c;
	size_t i;
	json_array_foreach((json_t *)checks, i, c) {
		const char *outcome = json_string_value(json_object_get(c, "outcome"));
		if (outcome && !strcmp(outcome, "failed"))
			json_array_append(out, c);
	}
	return out;
}

char *peer_describe(const struct ratls_connection *c)
{
	const struct verdict *v = c->x.verdict ? c->x.verdict : c->verdict;
	json_t *o = json_object();
	char hex[65];
	bool asked = c->ctx->judge || c->ctx->ordinary;
	bool proved = !c->ctx->judge || !c->framed || c->x.proofs;
	set_text(o, "verdict", !asked ? "not asked" : v && v->accepted && proved && c->failed != -EKEYREJECTED ? "accepted" : "refused");
	set_text(o, "model", v ? v->model : "none");
	if (c->failed == -EKEYREJECTED)
		set_text(o, "reason", ratls_reason(c));
	if (v) {
		json_t *checks = parsed(v->checks);
		json_object_set_new(o, "claims", parsed(v->claims));
		json_object_set_new(o, "refusals", failed(checks));
		json_object_set_new(o, "checks", checks);
		set_time(o, "judged", v->from);
	}
	json_t *session = set_object(o, "session");
	set_bool(session, "proved", c->x.proofs > 0);
	set_number(session, "proofs", c->x.proofs);
	set_number(session, "own_proofs", c->x.verdicts);
	add_tls(o, c);
	X509 *cert = SSL_get0_peer_certificate(c->ssl);
	if (*c->peer_digest)
		set_text(o, "certificate_digest", c->peer_digest);
	else if (cert && cert_digest(cert, hex))
		set_text(o, "certificate_digest", hex);
	char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
	json_decref(o);
	return text;
}
