// SPDX-License-Identifier: Apache-2.0
// See kbs.h.
#include "broker/kbs.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"
#include "lib/jwe.h"

#define MAX_CERT_BYTES (8u << 10)

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

int kbs_parse_auth(const char *body, size_t len, struct fault *f)
{
	json_t *o = parse(body, len, f);
	if (!o)
		return -EINVAL;
	const char *version = json_string_value(json_object_get(o, "version"));
	const char *tee = json_string_value(json_object_get(o, "tee"));
	int err = 0;
	if (!version || !tee)
		err = fault_set(f, -EINVAL, "the request lacks \"version\" or \"tee\"");
	else if (strncmp(version, "0.4.", 4))
		err = fault_set(f, -EPROTONOSUPPORT,
				"KBS protocol version '%.16s' is not spoken here; supported: 0.4.x", version);
	else if (strcmp(tee, "snp"))
		err = fault_set(f, -EPROTONOSUPPORT, "evidence of TEE '%.32s' cannot be verified here; supported: snp",
				tee);
	json_decref(o);
	return err;
}

// A certificate's bytes: base64 text, or an array of numbers as some clients serialise it.
static ssize_t cert_bytes(const json_t *data, uint8_t *out, size_t size)
{
	if (json_is_string(data))
		return base64_decode(out, size, json_string_value(data), json_string_length(data), BASE64_STD);
	size_t n = json_array_size(data);
	if (!n || n > size)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_array_get(data, i);
		if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > 255)
			return -EINVAL;
		out[i] = (uint8_t)json_integer_value(v);
	}
	return (ssize_t)n;
}

static bool signs_reports(const json_t *entry)
{
	const char *type = json_string_value(json_object_get(entry, "cert_type"));
	return type && (!strcmp(type, "VCEK") || !strcmp(type, "VLEK"));
}

static int read_chain(const json_t *list, struct snp_chain *chain, struct fault *f)
{
	uint8_t der[MAX_CERT_BYTES];
	if (!json_is_array(list) || !json_array_size(list) || json_array_size(list) > SNP_MAX_CERTS)
		return fault_set(f, -EINVAL,
				 "primary_evidence: cert_chain must be a list of 1 to %d certificates (VCEK or VLEK, "
				 "ASK, ARK)",
				 SNP_MAX_CERTS);
	// The report's signer goes first, wherever it stands in the list.
	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < json_array_size(list); i++) {
			const json_t *entry = json_array_get(list, i);
			if (signs_reports(entry) != (pass == 0))
				continue;
			ssize_t n = cert_bytes(json_object_get(entry, "data"), der, sizeof der);
			if (n < 0)
				return fault_set(f, -EINVAL,
						 "primary_evidence: cert_chain[%zu]: data must be base64 of DER", i);
			int err = snp_chain_add_der(chain, der, (size_t)n, f);
			if (err)
				return err;
		}
		if (pass == 0 && chain->count != 1)
			return fault_set(f, -EINVAL, "primary_evidence: cert_chain must have one VCEK or VLEK");
	}
	return 0;
}

// {"coffer":{"anchor":"broker"}}: no device's evidence, but what an enclave of ours states of itself; bound by the report data as
// evidence would be.
static int read_statement(struct kbs_attest *a)
{
	json_t *o = json_loads(a->additional, JSON_REJECT_DUPLICATES, NULL), *own = json_object_get(o, "coffer");
	const char *anchor = json_string_value(json_object_get(own, "anchor"));
	bool good = json_object_size(o) == 1 && json_object_size(own) == 1 && anchor &&
		    (!strcmp(anchor, "broker") || !strcmp(anchor, "tpm") || !strcmp(anchor, "none"));
	if (good)
		strcpy(a->anchor, anchor);
	json_decref(o);
	return good ? 0 : -EINVAL;
}

static int read_evidence(const json_t *evidence, struct kbs_attest *a, struct fault *f)
{
	const json_t *primary = json_object_get(evidence, "primary_evidence");
	const json_t *extra = json_object_get(evidence, "additional_evidence");
	const json_t *report = json_object_get(primary, "attestation_report");
	if (!json_is_object(primary))
		return fault_set(f, -EINVAL, "tee-evidence: primary_evidence must be an object");
	if (extra && !json_is_string(extra))
		return fault_set(f, -EINVAL, "tee-evidence: additional_evidence must be text");
	a->additional = strdup(json_string_length(extra) ? json_string_value(extra) : "");
	if (!a->additional)
		return fault_set(f, -ENOMEM, "out of memory");
	if (*a->additional && read_statement(a))
		return fault_set(f, -EINVAL, "tee-evidence: evidence of additional devices cannot be verified here");
	if (!json_is_string(report))
		return fault_set(f, -EINVAL,
				 "primary_evidence: attestation_report must be the report's bytes in base64");
	ssize_t n = base64_decode(a->report, sizeof a->report, json_string_value(report), json_string_length(report),
				  BASE64_STD);
	if (n < 0)
		return fault_set(f, -EINVAL, "primary_evidence: attestation_report is not base64 of %d bytes",
				 SNP_REPORT_BYTES);
	a->report_len = (size_t)n;
	return read_chain(json_object_get(primary, "cert_chain"), &a->chain, f);
}

int kbs_parse_attest(const char *body, size_t len, struct kbs_attest *a, struct fault *f)
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
		err = read_evidence(json_object_get(o, "tee-evidence"), a, f);
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
	snp_chain_free(&a->chain);
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
