// SPDX-License-Identifier: Apache-2.0
// See bundle.h.
#include "attest/bundle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "attest/slice.h"
#include "lib/encode.h"

const char *const bundle_members[] = {
	"format", "time", "evidence", "quote", "event_log", "certificates", "crl", "tcb_info", "tcb_info_signature", "tcb_info_issuer_chain",
	"qe_identity", "qe_identity_signature", "qe_identity_issuer_chain", "root_ca_crl", "pck_crl", "pck_crl_issuer_chain", "pck_certificate_chain",
	"hsk_cek", "hrk", "cca_platform_key", "tpm_quote", "tpm_signature", "tpm_key", "tpm_certificates", "tpm_pcrs",
	"device_evidence_list", "gpu_crl", "init_data", "init_data_format", NULL,
};

bool bundle_looks(const uint8_t *bytes, size_t len)
{
	size_t i = 0;
	while (i < len && (bytes[i] == ' ' || bytes[i] == '\n' || bytes[i] == '\r' || bytes[i] == '\t'))
		i++;
	return i < len && bytes[i] == '{';
}

int bundle_init(struct bundle *b)
{
	memset(b, 0, sizeof *b);
	b->json = json_object();
	return b->json ? 0 : -ENOMEM;
}

void bundle_free(struct bundle *b)
{
	for (unsigned int i = 0; i < b->count; i++)
		free(b->blobs[i].bytes);
	json_decref(b->json);
	memset(b, 0, sizeof *b);
}

int bundle_read(struct bundle *b, const uint8_t *bytes, size_t len, struct fault *f)
{
	const char *name;
	json_t *value;
	memset(b, 0, sizeof *b);
	if (len > BUNDLE_MAX_BYTES)
		return fault_set(f, -EINVAL, "%zu bytes are more than a bundle may have", len);
	b->json = slice_parse((const char *)bytes, len, f);
	if (!b->json)
		return -EINVAL;
	int err = json_is_object(b->json) ? 0 : fault_set(f, -EINVAL, "not a JSON object");
	if (!err && json_object_get(b->json, "format") && strcmp(slice_text(b->json, "format"), BUNDLE_FORMAT))
		err = fault_set(f, -EINVAL, "a bundle of another format than " BUNDLE_FORMAT);
	json_object_foreach(b->json, name, value) {
		bool known = false;
		for (const char *const *m = bundle_members; *m && !known; m++)
			known = !strcmp(*m, name);
		if (!err && !known)
			err = fault_set(f, -EINVAL, "a member '%.64s', which bundles do not have", name);
		if (!err && !json_is_string(value) && strcmp(name, "tpm_pcrs") && strcmp(name, "device_evidence_list"))
			err = fault_set(f, -EINVAL, "'%s' is not a text", name);
	}
	if (err)
		bundle_free(b);
	return err;
}

void bundle_merge(struct bundle *b, const struct bundle *other)
{
	const char *name;
	json_t *value;
	json_object_foreach(other->json, name, value) {
		if (!json_object_get(b->json, name) && strcmp(name, "time"))
			json_object_set(b->json, name, value);
	}
}

// What was collected with the evidence, and belongs to no other.
static bool is_of_evidence(const char *name)
{
	static const char *const names[] = {"format", "time", "evidence", "quote", "event_log", "tpm_quote", "tpm_signature", "tpm_key", "tpm_pcrs",
					    "device_evidence_list", "init_data", "init_data_format"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (!strcmp(names[i], name))
			return true;
	}
	return false;
}

void bundle_prefer(struct bundle *b, const struct bundle *other)
{
	const char *name;
	json_t *value;
	// A signature that stands apart goes with its statement.
	if (json_object_get(other->json, "tcb_info"))
		json_object_del(b->json, "tcb_info_signature");
	if (json_object_get(other->json, "qe_identity"))
		json_object_del(b->json, "qe_identity_signature");
	json_object_foreach(other->json, name, value) {
		if (!is_of_evidence(name))
			json_object_set(b->json, name, value);
	}
	bundle_merge(b, other);
}

// What was decoded of an earlier value is of no more use.
static void forget(struct bundle *b, const char *name)
{
	for (unsigned int i = 0; i < b->count; i++) {
		if (!strcmp(b->blobs[i].name, name)) {
			free(b->blobs[i].bytes);
			b->blobs[i] = b->blobs[--b->count];
			return;
		}
	}
}

int bundle_put_shared(struct bundle *b, const char *name, json_t *text)
{
	forget(b, name);
	return json_object_set(b->json, name, text) ? -ENOMEM : 0;
}

int bundle_put_text(struct bundle *b, const char *name, const char *text, size_t len)
{
	forget(b, name);
	return json_object_set_new(b->json, name, json_stringn(text, len)) ? -EINVAL : 0;
}

int bundle_put_bytes(struct bundle *b, const char *name, const void *bytes, size_t len)
{
	char *text = malloc(BASE64_SIZE(len));
	if (!text)
		return -ENOMEM;
	size_t n = base64_encode(text, bytes, len, BASE64_STD);
	int err = bundle_put_text(b, name, text, n);
	free(text);
	return err;
}

int bundle_replace_bytes(struct bundle *b, const char *name, const void *bytes, size_t len)
{
	for (unsigned int i = 0; i < b->count; i++) {
		if (!strcmp(b->blobs[i].name, name)) {
			free(b->blobs[i].bytes);
			b->blobs[i] = b->blobs[--b->count];
			break;
		}
	}
	return bundle_put_bytes(b, name, bytes, len);
}

const char *bundle_text(const struct bundle *b, const char *name, size_t *len)
{
	const json_t *s = json_object_get(b->json, name);
	*len = json_string_length(s);
	return json_string_value(s);
}

// Hex (as collateral tools write lists), PEM as it stands, base64.
static ssize_t decode(const char *text, size_t len, uint8_t *out)
{
	if (len > 10 && !memcmp(text, "-----BEGIN", 10)) {
		memcpy(out, text, len);
		return (ssize_t)len;
	}
	if (len % 2 == 0 && strspn(text, "0123456789abcdefABCDEF") == len && !hex_decode(out, len / 2, text))
		return (ssize_t)(len / 2);
	return base64_decode(out, len, text, len, BASE64_STD);
}

const uint8_t *bundle_bytes(struct bundle *b, const char *name, size_t *len)
{
	size_t text_len;
	for (unsigned int i = 0; i < b->count; i++) {
		if (!strcmp(b->blobs[i].name, name)) {
			*len = b->blobs[i].len;
			return b->blobs[i].bytes;
		}
	}
	const char *text = bundle_text(b, name, &text_len);
	uint8_t *out = text && b->count < BUNDLE_MAX_BLOBS ? malloc(text_len + 1) : NULL;
	ssize_t n = out ? decode(text, text_len, out) : -1;
	*len = 0;
	if (n < 0) {
		free(out);
		return NULL;
	}
	b->blobs[b->count].name = name;
	b->blobs[b->count].bytes = out;
	b->blobs[b->count++].len = *len = (size_t)n;
	return out;
}

time_t bundle_time(const struct bundle *b)
{
	return slice_time(json_object_get(b->json, "time"));
}
