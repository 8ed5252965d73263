// SPDX-License-Identifier: Apache-2.0
// See svid_api.h. What is minted is encrypted to the key that the evidence binds, and the certificate is for that key: a cookie or token that
// somebody else got hold of yields nothing of use. Runs in connection threads; takes no lock of its own.
#include "broker/svid_api.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attest/json.h"
#include "broker/svid.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwe.h"

#define MAX_AUDIENCES 8
#define REFRESH_HINT_S 300

struct wish {
	const char *name;
	const json_t *audience;		// NULL: no JWT is asked for
};

static int read_wish(const json_t *o, struct wish *w, struct fault *f)
{
	w->name = json_string_value(json_object_get(o, "name"));
	w->audience = json_object_get(o, "audience");
	if (!w->name || !svid_name_valid(w->name))
		return fault_set(f, -EINVAL, "\"name\" must be 1 to 64 letters, digits, . _ -");
	if (!w->audience)
		return 0;
	if (!json_array_size(w->audience) || json_array_size(w->audience) > MAX_AUDIENCES)
		return fault_set(f, -EINVAL, "\"audience\" must be a list of 1 to %d texts", MAX_AUDIENCES);
	for (size_t i = 0; i < json_array_size(w->audience); i++) {
		size_t n = json_string_length(json_array_get(w->audience, i));
		if (!n || n > 255)
			return fault_set(f, -EINVAL, "an audience must be text of up to 255 bytes");
	}
	return 0;
}

// The certificates of all authorities that are still of use, as PEM; malloc'ed.
static char *authorities(struct broker *b, struct fault *f)
{
	struct signer all[SIGNERS_MAX];
	char *out = strdup("");
	int n = signers_all(b->signers, SIGNER_SVID_X509, all, SIGNERS_MAX, f);
	for (int i = 0; i < n; i++) {
		X509 *cert = svid_authority(&all[i], b->spiffe_domain);
		char *pem = cert ? svid_pem(cert) : NULL, *longer = NULL;
		if (out && pem && asprintf(&longer, "%s%s", out, pem) < 0)
			longer = NULL;
		free(out);
		out = longer;
		free(pem);
		X509_free(cert);
		EVP_PKEY_free(all[i].key);
	}
	if (n < 0) {
		free(out);
		return NULL;
	}
	return out;
}

static int mint(struct broker *b, const struct wish *w, EVP_PKEY *key, json_t **out, struct fault *f)
{
	struct signer x509 = {.key = NULL}, jwt = {.key = NULL};
	char id[SVID_ID_TEXT], stamp[32], *leaf_pem = NULL, *bundle = NULL, *token = NULL;
	X509 *leaf = NULL;
	time_t now = time(NULL);
	int err = signers_current(b->signers, SIGNER_SVID_X509, &x509, f);
	if (!err && w->audience)
		err = signers_current(b->signers, SIGNER_SVID_JWT, &jwt, f);
	if (err)
		goto out;
	svid_id(id, b->spiffe_domain, w->name);
	leaf = svid_leaf(&x509, b->spiffe_domain, w->name, key, now, b->spiffe_seconds);
	leaf_pem = leaf ? svid_pem(leaf) : NULL;
	bundle = authorities(b, f);
	token = w->audience ? svid_jwt(&jwt, b->issuer, b->spiffe_domain, w->name, w->audience, now) : NULL;
	if (leaf_pem && bundle && (token || !w->audience))
		*out = json_pack("{s:s, s:s, s:s, s:s, s:s*}", "spiffe_id", id, "x509_svid", leaf_pem, "bundle", bundle, "expires",
				 time_text(stamp, now + b->spiffe_seconds), "jwt_svid", token);
	if (!*out)
		err = fault_set(f, -EIO, "an identity cannot be made");
out:
	EVP_PKEY_free(x509.key);
	EVP_PKEY_free(jwt.key);
	X509_free(leaf);
	free(leaf_pem);
	free(bundle);
	free_wiped(token, token ? strlen(token) : 0);
	return err;
}

static void answer(struct broker *b, const struct wish *w, EVP_PKEY *key, struct http_response *r)
{
	struct fault f = {""};
	json_t *o = NULL, *jwe = NULL;
	int err = mint(b, w, key, &o, &f);
	char *text = err ? NULL : json_dumps(o, JSON_COMPACT);
	if (!err)
		err = text ? jwe_encrypt(key, text, strlen(text), &jwe, &f) : -ENOMEM;
	free_wiped(text, text ? strlen(text) : 0);
	json_decref(o);
	if (err)
		secret_problem(r, err, &f);
	else
		broker_reply(r, 200, jwe);
}

static bool served(const struct broker *b, struct http_response *r)
{
	if (*b->spiffe_domain)
		return true;
	broker_problem(r, 404, "NotFound", "this broker gives no SPIFFE identities: its owner names a trust domain (spiffe_trust_domain)", NULL);
	return false;
}

void svid_mint(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	struct fault f = {""};
	struct wish w;
	json_t *claims = NULL, *body = json_loadb(q->body, q->body_len, JSON_REJECT_DUPLICATES, NULL);
	char resource[sizeof SVID_RESOURCE + 64];
	EVP_PKEY *key = NULL;
	bool owner;
	if (!served(b, r))
		goto out;
	if (read_wish(body, &w, &f)) {
		broker_problem(r, 400, "BadRequest", f.text, NULL);
		goto out;
	}
	if (broker_asker(b, q, r, &owner, &claims, &key))
		goto out;
	if (owner) {
		broker_problem(r, 403, "NotAttested", "identities are for attested enclaves", NULL);
		goto out;
	}
	snprintf(resource, sizeof resource, SVID_RESOURCE "%s", w.name);
	const struct broker_wish wish = {.event = "svid", .resource = resource, .operation = "svid"};
	if (!broker_appraise(b, &wish, claims, q, r))
		answer(b, &w, key, r);
out:
	json_decref(body);
	json_decref(claims);
	EVP_PKEY_free(key);
}

// The SPIFFE trust domain and bundle specification, section 4.
void svid_bundle(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	(void)q;
	struct fault f = {""};
	struct signer all[SIGNERS_MAX];
	time_t newest = 0;
	json_t *keys = json_array(), *jwt = json_array();
	int n, err = 0;
	if (!served(b, r))
		goto out;
	n = signers_all(b->signers, SIGNER_SVID_X509, all, SIGNERS_MAX, &f);
	for (int i = 0; i < n; i++) {
		X509 *cert = svid_authority(&all[i], b->spiffe_domain);
		char *x5c = cert ? svid_x5c(cert) : NULL;
		json_t *jwk = jwk_from_key(all[i].key);
		json_object_del(jwk, "alg");
		if (!x5c || json_object_set_new(jwk, "use", json_string("x509-svid")) || json_object_set_new(jwk, "x5c", json_pack("[s]", x5c)) ||
		    json_array_append(keys, jwk))
			err = fault_set(&f, -ENOMEM, "out of memory");
		newest = all[i].created > newest ? all[i].created : newest;
		json_decref(jwk);
		free(x5c);
		X509_free(cert);
		EVP_PKEY_free(all[i].key);
	}
	if (n < 0)
		err = n;
	if (!err)
		err = signers_jwks(b->signers, SIGNER_SVID_JWT, "jwt-svid", jwt, &f);
	if (err) {
		secret_problem(r, err, &f);
		goto out;
	}
	json_array_extend(keys, jwt);
	// Grows with each new key. One that is over leaves the set without a new number.
	broker_reply(r, 200, json_pack("{s:O, s:I, s:i}", "keys", keys, "spiffe_sequence", (json_int_t)newest, "spiffe_refresh_hint", REFRESH_HINT_S));
out:
	json_decref(keys);
	json_decref(jwt);
}
