// SPDX-License-Identifier: Apache-2.0
// Identities over HTTP: who am I, who is there, who comes, goes and becomes something else. Each change is a record of the audit log before it is
// made. Runs in connection threads; takes no lock of its own.
#include <ctype.h>
#include <errno.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broker/api.h"
#include "broker/approvals.h"
#include "broker/identity_cert.h"
#include "broker/kbs.h"
#include "lib/encode.h"
#include "lib/log.h"

static bool fine(int err, const struct fault *f, struct http_response *r)
{
	if (err >= 0)
		return true;
	int status = err == -EINVAL ? 400 : err == -ENOENT ? 404 : err == -EEXIST || err == -EBUSY ? 409 : db_worth_retrying(err) ? 503 : 500;
	if (status >= 500)
		log_alarm("broker: identities: %s", f->text);
	broker_problem(r, status, status == 400 ? "BadRequest" : status == 404 ? "NotFound" : err == -EBUSY ? "LastAdmin" : status == 409 ? "Exists" :
		       "Internal", f->text, NULL);
	return false;
}

void identity_whoami(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)b;
	(void)rest;
	(void)q;
	static const char *const kinds[] = {"nobody", "admin-token", "key", "certificate"};
	const struct caller *c = r->caller;
	broker_reply(r, 200, json_pack("{s:s, s:s, s:o, s:o}", "name", c->name, "by", kinds[c->kind], "roles",
				       c->kind == CALLER_TOKEN ? roles_json(ROLE_ADMIN) : roles_json(c->roles), "resources", prefixes_json(c->prefixes)));
}

void identity_list(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	(void)q;
	struct fault f = {""};
	json_t *list = NULL;
	if (fine(identities_list(b->identities, &list, &f), &f, r))
		broker_reply(r, 200, json_pack("{s:o}", "identities", list));
}

static int read_name(const char *name, struct identity *i, struct fault *f)
{
	size_t n = name ? strlen(name) : 0;
	bool good = n && n < sizeof i->name && strcmp(name, IDENTITY_TOKEN) != 0;
	for (size_t k = 0; good && k < n; k++)
		good = isalnum((unsigned char)name[k]) || (strchr("._@-", name[k]) && k);
	if (!good)
		return fault_set(f, -EINVAL, "name: up to %zu letters, digits, and . _ - @ within", sizeof i->name - 1);
	strcpy(i->name, name);
	return 0;
}

// "team/" or "team/type/" or a whole resource. Others are taken for folders: "team" is "team/".
static int read_prefix(const char *text, char *out, size_t size, size_t *used, struct fault *f)
{
	unsigned int parts = 0;
	const char *p = text;
	bool good = *text && strlen(text) < KBS_MAX_RESOURCE, open = false;
	while (good && *p) {
		size_t n = strcspn(p, "/");
		good = n && strspn(p, ".") < n && ++parts <= 3;
		for (size_t k = 0; good && k < n; k++)
			good = isalnum((unsigned char)p[k]) || strchr("._-", p[k]);
		open = p[n] == '/';
		p += n + open;
	}
	if (!good || (parts == 3 && open) || *used + strlen(text) + 3 > size)
		return fault_set(f, -EINVAL, "resources: '%.100s' is no resource (repository/type/tag) and no beginning of some (repository/, "
				 "repository/type/), or there are too many", text);
	*used += (size_t)sprintf(out + *used, "%s%s%s", *used ? "," : "", text, parts < 3 && !open ? "/" : "");
	return 0;
}

// roles and resources, both lists of texts.
static int read_rights(const json_t *o, struct identity *i, struct fault *f)
{
	const json_t *list = json_object_get(o, "roles"), *prefixes = json_object_get(o, "resources");
	size_t k, used = 0;
	json_t *v;
	i->roles = 0;
	i->prefixes[0] = '\0';
	json_array_foreach(list, k, v) {
		unsigned int bit = json_is_string(v) && !strchr(json_string_value(v), ',') ? roles_parse(json_string_value(v)) : 0;
		if (!bit)
			return fault_set(f, -EINVAL, "roles: admin, owner, operator, auditor, approver");
		i->roles |= bit;
	}
	json_array_foreach(prefixes, k, v) {
		int err = read_prefix(json_string_value(v) ?: "", i->prefixes, sizeof i->prefixes, &used, f);
		if (err)
			return err;
	}
	if (!i->roles)
		return fault_set(f, -EINVAL, "roles: at least one of admin, owner, operator, auditor, approver");
	if (!(i->roles & ROLE_OWNER) != !i->prefixes[0])
		return fault_set(f, -EINVAL, "resources: those of an owner, and of nobody else: a list of beginnings such as team/ or default/volume/");
	return 0;
}

static int read_key(const char *pem, struct identity *i, struct fault *f)
{
	EVP_PKEY *key;
	int err = signkey_read(pem, strlen(pem), &key, f);
	if (err)
		return err;
	if (signkey_id(key, i->keyid) || signkey_pem(key, i->pem))
		err = fault_set(f, -EINVAL, "the key cannot be used");
	EVP_PKEY_free(key);
	return err;
}

static int read_certificate(const char *pem, struct identity *i, struct fault *f)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)strlen(pem));
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	int err = cert && !certificate_keyid(cert, i->keyid) ? 0 : fault_set(f, -EINVAL, "certificate: not a certificate (PEM)");
	X509_free(cert);
	BIO_free(bio);
	return err;
}

// One of key, certificate, certificate_name.
static int read_proof(const struct broker *b, const json_t *o, struct identity *i, struct fault *f)
{
	const char *key = json_string_value(json_object_get(o, "key")), *cert = json_string_value(json_object_get(o, "certificate"));
	const char *name = json_string_value(json_object_get(o, "certificate_name"));
	if (!key + !cert + !name != 2)
		return fault_set(f, -EINVAL, "one of: key (PEM), certificate (PEM), certificate_name");
	if (key)
		return read_key(key, i, f);
	if (cert)
		return read_certificate(cert, i, f);
	if (!b->verifier.client_ca)
		return fault_set(f, -EINVAL, "certificate_name: this broker has no `client_ca` (broker.yaml) whose certificates it could be in");
	if (!*name || strlen(name) + 6 > sizeof i->keyid || !text_is_printable(name))
		return fault_set(f, -EINVAL, "certificate_name: empty, too long, or with control characters in it");
	strcpy(mempcpy(i->keyid, "name:", 5), name);
	return 0;
}

static bool record(struct broker *b, const char *event, const struct identity *i, struct http_response *r)
{
	struct fault f = {""};
	json_t *o = json_pack("{s:s, s:s}", "event", event, "identity", i->name);
	if (i->roles)
		json_object_set_new(o, "roles", roles_json(i->roles));
	if (i->prefixes[0])
		json_object_set_new(o, "resources", prefixes_json(i->prefixes));
	if (i->keyid[0])
		json_object_set_new(o, "key", json_string(i->keyid));
	return fine(audit_log(b, r, o, &f), &f, r);
}

// Where that is asked for: exactly this.
static bool approved(struct broker *b, const char *action, const struct identity *i, struct http_response *r)
{
	char detail[IDENTITY_PREFIXES + IDENTITY_KEYID + 128];
	json_t *list = roles_json(i->roles);
	char *text = json_dumps(list, JSON_COMPACT);
	snprintf(detail, sizeof detail, "%s, roles %s, resources %s, key %s", action, text ? text : "", i->prefixes, i->keyid);
	free(text);
	json_decref(list);
	return broker_approved(b, r, "identity", i->name, detail);
}

void identity_change(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)rest;
	struct fault f = {""};
	struct identity i = {.created = time(NULL)};
	json_t *o = json_loadb(q->body, q->body_len, JSON_REJECT_DUPLICATES, NULL);
	const char *action = json_string_value(json_object_get(o, "action")) ?: "";
	bool superuser = r->caller->kind == CALLER_TOKEN, add = !strcmp(action, "add"), remove = !strcmp(action, "remove");
	int err = add || remove || !strcmp(action, "role") ? 0 : fault_set(&f, -EINVAL, "action must be \"add\", \"remove\" or \"role\"");
	if (!err)
		err = read_name(json_string_value(json_object_get(o, "name")), &i, &f);
	if (!err && !remove)
		err = read_rights(o, &i, &f);
	if (!err && add)
		err = read_proof(b, o, &i, &f);
	strcpy(i.by, r->caller->name);
	if (!fine(err, &f, r) || !approved(b, action, &i, r) || !record(b, add ? "identity-add" : remove ? "identity-remove" : "identity-role", &i, r))
		goto out;
	err = add ? identities_add(b->identities, &i, &f) : remove ? identities_remove(b->identities, i.name, superuser, &f) :
	      identities_change(b->identities, i.name, i.roles, i.prefixes, superuser, &f);
	if (fine(err, &f, r))
		broker_reply(r, 200, json_pack("{s:b, s:s}", "ok", 1, "name", i.name));
out:
	json_decref(o);
}
