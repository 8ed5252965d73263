// SPDX-License-Identifier: Apache-2.0
// See token_api.h. Runs in connection threads; takes no lock of its own.
#include "broker/token_api.h"

#include <errno.h>
#include <limits.h>
#include <openssl/hmac.h>
#include <string.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/keyfile.h"
#include "lib/log.h"

int token_open(struct broker *b, const char *dir, const uint8_t master_key[32], struct fault *f)
{
	char path[PATH_MAX + 16];
	static const char activation[] = "coffer broker tpm activation 1";
	EVP_PKEY *old = NULL;
	unsigned int n;
	int err = signers_open(&b->signers, b->db, b->guard, master_key, f);
	if (!err && !HMAC(EVP_sha256(), master_key, 32, (const uint8_t *)activation, sizeof activation - 1, b->activation_key, &n))
		err = fault_set(f, -EIO, "no key can be derived");
	snprintf(path, sizeof path, "%s/token.key", dir);
	if (err || access(path, F_OK))
		return err;
	err = keyfile_read(path, &old, f);
	if (!err)
		err = signers_adopt(b->signers, SIGNER_TOKEN, old, f);
	if (!err && unlink(path))
		err = fault_errno(f, errno, "cannot remove %s, which is in the database now", path);
	EVP_PKEY_free(old);
	return err;
}

int token_find(void *ctx, const json_t *header, EVP_PKEY **key)
{
	struct broker *b = ctx;
	const char *kid = json_string_value(json_object_get(header, "kid"));
	struct signer s;
	struct fault f;
	if (kid)
		return signers_find(b->signers, SIGNER_TOKEN, kid, key);
	// Tokens of a broker from before name no key.
	int err = signers_current(b->signers, SIGNER_TOKEN, &s, &f);
	*key = err ? NULL : s.key;
	return err;
}

static void fail(const struct fault *f, struct http_response *r)
{
	log_warning("broker: %s", f->text);
	broker_problem(r, 503, "Internal", "the broker could not do this; its own log says why", NULL);
}

void token_jwks(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	(void)q;
	struct fault f = {""};
	json_t *list = json_array();
	int err = signers_jwks(b->signers, SIGNER_TOKEN, "sig", list, &f);
	if (!err)
		err = signers_jwks(b->signers, SIGNER_SVID_JWT, "sig", list, &f);
	if (err) {
		json_decref(list);
		fail(&f, r);
		return;
	}
	broker_reply(r, 200, json_pack("{s:o}", "keys", list));
}

// OpenID Connect Discovery 1.0, as far as there is something to say: nobody logs in here.
void token_discovery(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	(void)q;
	char jwks[sizeof b->issuer + 32];
	snprintf(jwks, sizeof jwks, "%s/.well-known/jwks.json", b->issuer);
	broker_reply(r, 200, json_pack("{s:s, s:s, s:[s], s:[s], s:[s], s:[s,s,s,s,s]}", "issuer", b->issuer, "jwks_uri", jwks,
				       "id_token_signing_alg_values_supported", "ES256", "response_types_supported", "id_token",
				       "subject_types_supported", "public", "claims_supported", "iss", "sub", "aud", "iat", "exp"));
}

void token_keys(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	(void)q;
	struct fault f = {""};
	json_t *o = json_object();
	for (int ring = 0; ring < SIGNER_RINGS; ring++) {
		struct signer all[SIGNERS_MAX];
		json_t *list = json_array();
		int n = signers_all(b->signers, (enum signer_ring)ring, all, SIGNERS_MAX, &f);
		if (n < 0) {
			json_decref(list);
			json_decref(o);
			fail(&f, r);
			return;
		}
		for (int i = 0; i < n; i++) {
			json_array_append_new(list, json_pack("{s:s, s:I, s:b}", "kid", all[i].kid, "created", (json_int_t)all[i].created, "signs", i == 0));
			EVP_PKEY_free(all[i].key);
		}
		json_object_set_new(o, signer_ring_names[ring], list);
	}
	broker_reply(r, 200, o);
}

void token_rotate(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	struct fault f = {""};
	json_t *o = json_loadb(q->body, q->body_len, JSON_REJECT_DUPLICATES, NULL);
	const char *name = json_string_value(json_object_get(o, "ring"));
	int ring = 0, err;
	char kid[JWK_THUMBPRINT];
	while (ring < SIGNER_RINGS && (!name || strcmp(signer_ring_names[ring], name)))
		ring++;
	json_decref(o);
	if (ring == SIGNER_RINGS) {
		broker_problem(r, 400, "BadRequest", "\"ring\" must be token, svid-jwt or svid-x509", NULL);
		return;
	}
	err = audit_log(b, r, json_pack("{s:s, s:s}", "event", "rotate-signing-key", "ring", signer_ring_names[ring]), &f);
	if (!err)
		err = signers_rotate(b->signers, (enum signer_ring)ring, kid, &f);
	if (err == -EBUSY)
		broker_problem(r, 409, "TooEarly", f.text, NULL);
	else if (err)
		fail(&f, r);
	else
		broker_reply(r, 200, json_pack("{s:s}", "kid", kid));
}
