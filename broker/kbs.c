// SPDX-License-Identifier: Apache-2.0
// See kbs.h.
#include "broker/kbs.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/jwe.h"

static json_t *parse(const char *body, size_t len, struct fault *f)
{
	json_error_t e;
	json_t *o = json_loadb(body, len, JSON_REJECT_DUPLICATES, &e);
	if (!o)
		fault_set(f, -EINVAL, "the request is not JSON: line %d: %s", e.line, e.text);
	else if (!json_is_object(o))
		fault_set(f, -EINVAL, "the request is not a JSON object");
	else
		return o;
	json_decref(o);
	return NULL;
}

int kbs_parse_auth(const char *body, size_t len, const struct coco_tee **tee, struct fault *f)
{
	json_t *o = parse(body, len, f);
	if (!o)
		return -EINVAL;
	const char *version = json_string_value(json_object_get(o, "version"));
	const char *name = json_string_value(json_object_get(o, "tee"));
	const json_t *extra = json_object_get(o, "extra-params");
	const json_t *primary = json_object_get(json_object_get(json_object_get(extra, "tee-metadata"), "primary_tee"), "tee");
	const json_t *selector = json_object_get(extra, "attestation-policy-selector");	// null: none, as of any optional member of theirs
	int err = 0;
	*tee = name ? coco_tee_find(name) : NULL;
	if (!version || !name)
		err = fault_set(f, -EINVAL, "the request lacks \"version\" or \"tee\"");
	else if (strncmp(version, "0.4.", 4))
		err = fault_set(f, -EPROTONOSUPPORT,
				"KBS protocol version '%.16s' is not spoken here; supported: 0.4.x", version);
	else if (selector && !json_is_null(selector))
		err = fault_set(f, -EPROTONOSUPPORT, "policies are not selected by clients here: leave attestation-policy-selector out");
	else if (primary && (!json_is_string(primary) || strcmp(json_string_value(primary), name)))
		err = fault_set(f, -EINVAL, "extra-params: the primary_tee is not the \"tee\" of the request");
	else if (!*tee)
		err = fault_set(f, -EPROTONOSUPPORT, "evidence of TEE '%.32s' cannot be verified here; supported: %s", name, coco_tee_names());
	json_decref(o);
	return err;
}

// {"anchor":"broker"}: what an enclave of ours states of itself.
static int read_statement(const json_t *own, struct kbs_attest *a)
{
	const char *anchor = json_string_value(json_object_get(own, "anchor"));
	bool good = json_object_size(own) == 1 && anchor && (!strcmp(anchor, "broker") || !strcmp(anchor, "tpm") || !strcmp(anchor, "none"));
	if (good)
		strcpy(a->anchor, anchor);
	return good ? 0 : -EINVAL;
}

// GPUs: {"device_evidence_list": [...]}; as clients write it now, ["gpu", that], with the class of the device.
static int read_devices(const json_t *v, struct bundle *b)
{
	json_t *list = json_object_get(json_is_array(v) && json_array_size(v) == 2 ? json_array_get(v, 1) : v, "device_evidence_list");
	return json_is_array(list) && !json_object_set(b->json, "device_evidence_list", list) ? 0 : -EINVAL;
}

// {"nvidia": ..., "coffer": ...}, as text: the report data cover it.
static int read_additional(struct kbs_attest *a, struct fault *f)
{
	json_t *o = json_loads(a->additional, JSON_REJECT_DUPLICATES, NULL), *v;
	const char *name;
	int err = json_object_size(o) ? 0 : fault_set(f, -EINVAL, "tee-evidence: additional_evidence must be \"\" or an object of JSON, as text");
	json_object_foreach(o, name, v) {
		int bad = err ? 0 : !strcmp(name, "coffer") ? read_statement(v, a) : !strcmp(name, "nvidia") ? read_devices(v, &a->evidence) : -ENOENT;
		if (bad)
			err = fault_set(f, -EINVAL, bad == -ENOENT ? "tee-evidence: evidence of additional devices '%.32s' cannot be verified here; supported: nvidia"
							: "tee-evidence: additional_evidence: '%.32s' is malformed", name);
	}
	json_decref(o);
	return err;
}

static int read_evidence(const json_t *evidence, const struct coco_tee *tee, struct kbs_attest *a, struct fault *f)
{
	const json_t *extra = json_object_get(evidence, "additional_evidence");
	if (extra && !json_is_string(extra))
		return fault_set(f, -EINVAL, "tee-evidence: additional_evidence must be text");
	a->additional = strdup(json_string_length(extra) ? json_string_value(extra) : "");
	if (!a->additional || bundle_init(&a->evidence))
		return fault_set(f, -ENOMEM, "out of memory");
	int err = *a->additional ? read_additional(a, f) : 0;
	return err ? err : coco_read(tee, json_object_get(evidence, "primary_evidence"), &a->evidence, f);
}

// {"format":"toml", "body":...}, or none.
static int read_init_data(const json_t *init, struct kbs_attest *a, struct fault *f)
{
	json_t *format = json_object_get(init, "format"), *body = json_object_get(init, "body");
	if (!init || json_is_null(init))
		return 0;
	if (!json_is_string(format) || !json_is_string(body))
		return fault_set(f, -EINVAL, "init-data must have \"format\" and \"body\", both text");
	return json_object_set(a->evidence.json, "init_data", body) || json_object_set(a->evidence.json, "init_data_format", format)
		       ? fault_set(f, -ENOMEM, "out of memory") : 0;
}

int kbs_parse_attest(const char *body, size_t len, const struct coco_tee *tee, struct kbs_attest *a, struct fault *f)
{
	memset(a, 0, sizeof *a);
	json_t *o = parse(body, len, f);
	if (!o)
		return -EINVAL;
	const json_t *runtime = json_object_get(o, "runtime-data");
	const json_t *nonce = json_object_get(runtime, "nonce");
	json_t *key = json_object_get(runtime, "tee-pubkey");
	int err;
	if (!json_is_object(runtime) || !json_is_object(key))
		err = fault_set(f, -EINVAL, "the request lacks \"runtime-data\" with \"tee-pubkey\"");
	else if (nonce && (!json_is_string(nonce) || json_string_length(nonce) >= sizeof a->nonce ||
			   json_string_length(nonce) != strlen(json_string_value(nonce))))
		err = fault_set(f, -EINVAL, "runtime-data: nonce must be the text that the broker gave");
	else
		err = jwk_to_key(key, &a->key, f);
	if (!err && nonce)
		strcpy(a->nonce, json_string_value(nonce));
	if (!err)
		a->tee_pubkey = json_incref(key);
	if (!err)
		err = read_evidence(json_object_get(o, "tee-evidence"), tee, a, f);
	if (!err)
		err = read_init_data(json_object_get(o, "init-data"), a, f);
	json_decref(o);
	if (err)
		kbs_attest_free(a);
	return err;
}

void kbs_attest_free(struct kbs_attest *a)
{
	json_decref(a->tee_pubkey);
	EVP_PKEY_free(a->key);
	free(a->additional);
	bundle_free(&a->evidence);
	memset(a, 0, sizeof *a);
}

bool kbs_resource_valid(const char *resource)
{
	unsigned int parts = 0;
	if (strlen(resource) > KBS_MAX_RESOURCE)
		return false;
	for (const char *p = resource;; p++) {
		size_t n = strcspn(p, "/");
		if (!n || n > 64 || (n <= 2 && strspn(p, ".") >= n))
			return false;
		for (size_t i = 0; i < n; i++) {
			if (!isalnum((unsigned char)p[i]) && !strchr("._-", p[i]))
				return false;
		}
		parts++;
		p += n;
		if (!*p)
			return parts == 3;
	}
}
