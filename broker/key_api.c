// SPDX-License-Identifier: Apache-2.0
// What attested callers get of secrets: GET /kbs/v0/resource/RESOURCE, and what is done for them with keys that stay here,
// /kbs/v0/key/RESOURCE/OPERATION. First the policy decides, on record; then the count, in one durable transaction; then it is answered, to the
// key that the evidence binds. Runs in connection threads; takes no lock of its own.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/api.h"
#include "broker/kbs.h"
#include "broker/limits.h"
#include "broker/metrics.h"
#include "broker/secrets.h"
#include "lib/file.h"
#include "lib/jwe.h"
#include "lib/log.h"

void secret_problem(struct http_response *r, int err, const struct fault *f)
{
	static const struct { int err, status; const char *name; } known[] = {
		{-ENOENT, 404, "ResourceNotFound"}, {-EEXIST, 409, "Exists"}, {-EFBIG, 413, "TooLarge"}, {-EINVAL, 400, "BadRequest"},
		{-EPERM, 403, "KeyStays"}, {-EKEYREVOKED, 403, "SecretDisabled"}, {-EKEYEXPIRED, 403, "SecretExpired"}, {-ETIME, 403, "SecretNotYetValid"},
		{-ESTALE, 403, "VersionNotKept"}, {-EDQUOT, 403, "SecretUsedUp"}, {-EBADMSG, 500, "Internal"},
	};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (known[i].err == err && known[i].status != 500) {
			broker_problem(r, known[i].status, known[i].name, f->text, NULL);
			return;
		}
	}
	broker_fault(r, err, f);
}

// "", "version=7". -EINVAL.
int secret_query_version(const char *query, unsigned int *version)
{
	*version = 0;
	if (!*query)
		return 0;
	if (strncmp(query, "version=", 8) || !query[8] || query[8] == '0' || strlen(query + 8) > 9 || strspn(query + 8, "0123456789") != strlen(query + 8))
		return -EINVAL;
	*version = (unsigned int)strtoul(query + 8, NULL, 10);
	return 0;
}

// One caller's request for one secret.
struct asking {
	const char *name, *operation;	// "read" or keyop.h's
	unsigned int version;		// 0: the current one
	json_t *claims;
	EVP_PKEY *key;			// the caller's
	char thumbprint[KEYPAIR_KID];
};

static int begin(struct broker *b, struct asking *a, const struct http_request *q, struct http_response *r)
{
	bool owner;
	if (secret_query_version(q->head->query, &a->version)) {
		broker_problem(r, 400, "BadRequest", "all that may be asked is ?version=N", NULL);
		return -EINVAL;
	}
	int err = broker_asker(b, q, r, &owner, &a->claims, &a->key);
	if (!err && owner) {
		broker_problem(r, 403, "NotAttested", "this is for attested enclaves; an owner reads with GET /coffer/v0/key/RESOURCE", NULL);
		err = -EACCES;
	}
	json_t *jwk = err ? NULL : jwk_from_key(a->key);
	if (!err && (!jwk || !jwk_thumbprint(jwk, a->thumbprint))) {
		broker_problem(r, 500, "Internal", "the caller's key has no thumbprint", NULL);
		err = -EIO;
	}
	json_decref(jwk);
	return err;
}

static void end(struct asking *a)
{
	json_decref(a->claims);
	EVP_PKEY_free(a->key);
}

// May the caller? What is not there, or is another kind of thing, is told to those only who may. `request`: as parsed, NULL for "read".
static int permit(struct broker *b, struct asking *a, const json_t *request, const struct http_request *q, struct http_response *r)
{
	struct secret *h = malloc(sizeof *h);
	struct secret_version *v = NULL;
	struct fault f = {""};
	char kid[KEYPAIR_KID];
	int err = h ? secrets_get(b->secrets, a->name, h, &f) : fault_set(&f, -ENOMEM, "out of memory");
	if (!err && !a->version && keyop_kid(request, kid)) {	// a JWE says for which version's key it is
		for (unsigned int i = 0; i < h->count; i++) {
			if (!strcmp(h->versions[i].kid, kid))
				a->version = h->versions[i].number;
		}
	}
	if (!err)
		err = secret_choose(h, a->version, time(NULL), &v, &f);
	if (!err)
		a->version = v->number;
	const struct broker_wish wish = {.event = request ? "key" : "resource", .resource = a->name, .operation = a->operation, .version = a->version};
	int refused = broker_appraise(b, &wish, a->claims, q, r);
	if (refused) {
		err = refused;
		goto out;
	}
	if (!err && !request && !secret_leaves(h))
		err = fault_set(&f, -EPERM, "%s is a key of kind %s, which never leaves the broker; POST /kbs/v0/key/%s/... uses it", a->name, h->kind, a->name);
	if (!err && request && !keyop_possible(keyop_named(a->operation), h->kind, h->use))
		err = fault_set(&f, -EINVAL, "%s is of kind %s%s: it does not %s", a->name, h->kind,
				h->use == KEYPAIR_SIGN ? ", made to sign" : h->use == KEYPAIR_DECRYPT ? ", made to decrypt" : "", a->operation);
	if (err)
		secret_problem(r, err, &f);
out:
	free(h);
	return err;
}

// The decision about the count, on record before anything goes out. On failure it is answered.
static int release(struct broker *b, const struct asking *a, const struct http_request *q, struct secrets_release *out, struct http_response *r)
{
	const struct secrets_ask ask = {.name = a->name, .version = a->version, .operation = a->operation, .request = q->body, .request_len = q->body_len,
					.thumbprint = a->thumbprint, .now = time(NULL)};
	struct fault f = {""}, ignored;
	int err = secrets_release(b->secrets, &ask, out, &f);
	json_t *o = NULL;
	if (err == -EDQUOT || err == -EKEYREVOKED || err == -EKEYEXPIRED || err == -ETIME || err == -ESTALE)
		o = limits_refused(b->limits, r->peer, REFUSED_RELEASE) ?
			json_pack("{s:s, s:s, s:s}", "event", "release", "outcome", "refused", "reason", f.text) : NULL;
	else if (!err && out->counted)
		o = json_pack("{s:s, s:s, s:b, s:I, s:I}", "event", "release", "outcome", "accepted", "again", out->again, "use", (json_int_t)out->use, "uses",
			      (json_int_t)out->uses);
	if (o) {
		json_object_set_new(o, "resource", json_string(a->name));
		json_object_set_new(o, "operation", json_string(a->operation));
		json_object_set_new(o, "version", json_integer(a->version));
		json_object_set_new(o, "key", json_string(a->thumbprint));
		int logged = audit_log(b, r, o, err ? &ignored : &f);
		if (!err && logged)
			err = logged;
	}
	if (err) {
		free_wiped(out->value, out->len);
		out->value = NULL;
		secret_problem(r, err, &f);
	}
	return err;
}

static void reply_encrypted(struct http_response *r, EVP_PKEY *key, const void *plain, size_t len)
{
	struct fault f = {""};
	json_t *jwe = NULL;
	int err = jwe_encrypt(key, plain, len, &jwe, &f);
	if (err)
		secret_problem(r, -EIO, &f);
	else
		broker_reply(r, 200, jwe);
}

void api_get_resource(struct broker *b, const char *name, const struct http_request *q, struct http_response *r)
{
	struct asking a = {.name = name, .operation = "read"};
	struct secrets_release *out = malloc(sizeof *out);
	if (!out)
		broker_problem(r, 503, "Internal", "out of memory", NULL);
	else if (!begin(b, &a, q, r) && !permit(b, &a, NULL, q, r) && !release(b, &a, q, out, r)) {
		reply_encrypted(r, a.key, out->value, out->len);
		free_wiped(out->value, out->len);
		metric_add(METRIC_SECRETS);
	}
	free(out);
	end(&a);
}

static void answer(struct http_response *r, const struct asking *a, const struct secrets_release *out, const json_t *request)
{
	struct fault f = {""};
	struct keyop_key key;
	struct keyop_answer done = {0};
	struct secret_version *v = secret_version((struct secret *)&out->what, out->version);
	int err = secret_key(&out->what, out->value, out->len, &key, &f);
	if (!err) {
		err = keyop_run(keyop_named(a->operation), &key, request, &done, &f);
		if (err == -EBADMSG)
			broker_problem(r, 400, "NotDecrypted", f.text, NULL);
		else if (err)
			secret_problem(r, err, &f);
	} else {
		secret_problem(r, -EIO, &f);
	}
	if (!err && done.out) {
		json_object_set_new(done.out, "version", json_integer(out->version));
		if (v && v->kid[0])
			json_object_set_new(done.out, "kid", json_string(v->kid));
		broker_reply(r, 200, done.out);
	} else if (!err) {
		reply_encrypted(r, a->key, done.plain, done.len);
	}
	free_wiped(done.plain, done.len);
	secret_key_wipe(&key);
}

// "repository/type/tag/operation" into its parts; the operation, or NULL.
static const char *split(const char *rest, char name[KBS_MAX_RESOURCE + 1])
{
	const char *slash = strrchr(rest, '/');
	if (!slash || slash - rest > KBS_MAX_RESOURCE)
		return NULL;
	memcpy(name, rest, (size_t)(slash - rest));
	name[slash - rest] = '\0';
	return kbs_resource_valid(name) ? slash + 1 : NULL;
}

void key_use(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	char name[KBS_MAX_RESOURCE + 1];
	struct asking a = {.name = name, .operation = split(rest, name)};
	struct secrets_release *out = NULL;
	json_error_t e;
	json_t *request = NULL;
	if (!a.operation || keyop_named(a.operation) == KEYOP_NONE) {
		broker_problem(r, 404, "NotFound", "it is /kbs/v0/key/REPOSITORY/TYPE/TAG/sign, decrypt, unwrap, wrap or (GET) public", NULL);
		return;
	}
	enum keyop op = keyop_named(a.operation);
	bool encrypted = op == KEYOP_DECRYPT || op == KEYOP_UNWRAP;	// the answer, to the attested key
	request = json_loadb(q->body, q->body_len, JSON_REJECT_DUPLICATES, &e);
	out = malloc(sizeof *out);
	if (!json_is_object(request) || !out)
		broker_problem(r, out ? 400 : 503, out ? "BadRequest" : "Internal", out ? "the request is not a JSON object" : "out of memory", NULL);
	else if (!begin(b, &a, q, r) && (encrypted || broker_token_will_do(q, r)) && !permit(b, &a, request, q, r) && !release(b, &a, q, out, r)) {
		answer(r, &a, out, request);
		free_wiped(out->value, out->len);
	}
	free(out);
	json_decref(request);
	end(&a);
}

// ---- public halves ----

static int public_of(struct broker *b, const char *name, unsigned int version, json_t **jwk, char **pem, struct fault *f)
{
	struct secret *h = malloc(sizeof *h);
	struct keyop_key key = {.pair = NULL};
	uint8_t *value = NULL;
	size_t len = 0;
	int err = h ? secrets_use(b->secrets, name, version, time(NULL), h, &value, &len, f) : fault_set(f, -ENOMEM, "out of memory");
	if (!err)
		err = secret_key(h, value, len, &key, f);
	if (!err) {
		*jwk = keypair_jwk(key.pair, h->use);
		*pem = keypair_pem(key.pair);
		if (!*jwk || !*pem) {
			json_decref(*jwk);
			free(*pem);
			err = fault_set(f, -EIO, "the public half cannot be written");
		}
	}
	secret_key_wipe(&key);
	free_wiped(value, len);
	free(h);
	return err;
}

// All whose time has come and that are neither disabled nor expired: what a verifier takes while keys rotate.
static int public_set(struct broker *b, const char *name, struct secret *h, json_t **out, struct fault *f)
{
	json_t *list = json_array();
	int err = 0;
	for (unsigned int i = 0; i < h->count && !err; i++) {
		json_t *jwk = NULL;
		char *pem = NULL;
		if (secret_usable(h, &h->versions[i], time(NULL), NULL))
			continue;
		err = public_of(b, name, h->versions[i].number, &jwk, &pem, f);
		if (!err)
			json_array_append_new(list, jwk);
		if (!err)
			free(pem);
	}
	if (err)
		json_decref(list);
	else
		*out = json_pack("{s:o}", "keys", list);
	return err;
}

static void reply_public(struct broker *b, const char *name, struct secret *h, const char *query, struct http_response *r)
{
	struct fault f = {""};
	struct secret_version *v = NULL;
	unsigned int version = 0;
	json_t *jwk = NULL;
	char *pem = NULL;
	bool as_pem = !strcmp(query, "format=pem");
	int err;
	if (!strcmp(query, "format=jwks")) {
		err = public_set(b, name, h, &jwk, &f);
		if (!err)
			broker_reply(r, 200, jwk);
	} else {
		err = !as_pem && secret_query_version(query, &version) ? fault_set(&f, -EINVAL, "?version=N, ?format=pem or ?format=jwks") : 0;
		if (!err)
			err = secret_choose(h, version, time(NULL), &v, &f);
		if (!err)
			err = public_of(b, name, v->number, &jwk, &pem, &f);
		if (!err && as_pem) {
			r->status = 200;
			r->content_type = "application/x-pem-file";
			r->body = pem;
			r->body_len = strlen(pem);
			json_decref(jwk);
		} else if (!err) {
			broker_reply(r, 200, json_pack("{s:s, s:i, s:o, s:s}", "kind", h->kind, "version", (int)v->number, "jwk", jwk, "pem", pem));
			free(pem);
		}
	}
	if (err)
		secret_problem(r, err, &f);
}

// For whoever may, or for everybody where the owner publishes it.
void key_public(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	char name[KBS_MAX_RESOURCE + 1];
	const char *what = split(rest, name);
	const struct broker_wish wish = {.resource = name, .operation = "public"};
	struct secret *h = malloc(sizeof *h);
	struct fault f = {""};
	json_t *claims = NULL;
	EVP_PKEY *key = NULL;
	bool owner;
	if (!what || strcmp(what, "public") || !h) {
		broker_problem(r, h ? 404 : 503, h ? "NotFound" : "Internal", h ? "it is GET /kbs/v0/key/REPOSITORY/TYPE/TAG/public" : "out of memory", NULL);
		goto out;
	}
	int err = secrets_get(b->secrets, name, h, &f);
	if (err || !h->publish) {
		if (broker_asker(b, q, r, &owner, &claims, &key))
			goto out;
		if (owner ? !broker_permits(r, PERMIT_SECRET_LIST, name) : broker_appraise(b, &wish, claims, q, r) != 0)
			goto out;
	}
	if (!err && !secret_is_pair(h))
		err = fault_set(&f, -ENOENT, "%s is no key pair", name);
	if (err)
		secret_problem(r, err, &f);
	else
		reply_public(b, name, h, q->head->query, r);
out:
	json_decref(claims);
	EVP_PKEY_free(key);
	free(h);
}
