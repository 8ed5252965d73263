// SPDX-License-Identifier: Apache-2.0
// Fuzzes documents of reference values: envelopes as they come, and bodies as if they were signed. Unsigned ones never open.
#include <stdlib.h>
#include <string.h>

#include "attest/refval.h"
#include "lib/encode.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ask(const struct refval_doc *d)
{
	static struct refval_set s;
	struct attest_result r;
	struct refval_answer a;
	char text[64];
	s.docs[0] = *d;
	s.count = 1;
	s.values = d->count;
	if (refval_index(&s) || attest_result_init(&r))
		abort();
	json_object_set_new(r.claims, "measurement", json_string("aa"));
	json_object_set_new(r.claims, "snp", json_pack("{s:[{s:s, s:s}], s:i}", "c", "type", "t", "value", "bb", "n", 3));
	refval_appraise(&s, 1767225600, &r);
	attest_result_free(&r);
	json_t *found = json_string("aa");
	for (unsigned int i = 0; i < d->count; i++) {
		refval_lookup(&s, d->values[i].name, d->values[i].tee, found, 0, &a);
		refval_text(&d->values[i], text, sizeof text);
	}
	json_decref(found);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct dsse_key key;
	struct refval_doc d;
	struct refval_new v;
	char *text = malloc(BASE64_SIZE(size) + 256);
	if (!key.key && dsse_key_of(EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), &key, NULL))
		abort();
	if (!text)
		return 0;
	if (!refval_open((const char *)data, size, &key, 1, &d, NULL))
		abort();
	if (!refval_open_unverified((const char *)data, size, &d, NULL))
		refval_close(&d);
	size_t n = (size_t)sprintf(text, "{\"payloadType\":\"%s\",\"signatures\":[],\"payload\":\"", REFVAL_TYPE);
	n += base64_encode(text + n, data, size, BASE64_STD);
	n += (size_t)sprintf(text + n, "\"}");
	if (!refval_open_unverified(text, n, &d, NULL)) {
		ask(&d);
		refval_close(&d);
	}
	memcpy(text, data, size);
	text[size] = '\0';
	if (!refval_parse(text, &v, NULL))
		json_decref(v.value);
	free(text);
	return 0;
}
