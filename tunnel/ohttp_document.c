// SPDX-License-Identifier: Apache-2.0
// The client's side of a gateway's attested key configurations (ohttp_keys.h): read strictly, judged, and only then used.
#include <errno.h>
#include <jansson.h>

#include "lib/encode.h"
#include "ratls/judge.h"
#include "tunnel/ohttp_keys.h"

// A member in base64url, malloc'ed; NULL: it is not there, or malformed, or memory is short.
static uint8_t *take_base64(const json_t *o, const char *name, size_t *len)
{
	const char *text = json_string_value(json_object_get(o, name));
	size_t n = text ? strlen(text) : 0;
	uint8_t *bytes = n ? malloc(n) : NULL;
	ssize_t got = bytes ? base64_decode(bytes, n, text, n, BASE64_URL) : -1;
	if (got <= 0) {
		free(bytes);
		return NULL;
	}
	*len = (size_t)got;
	return bytes;
}

const struct ohttp_config *ohttp_config_best(const struct ohttp_config *all, int count)
{
	for (int i = 0; i < count; i++) {
		if (all[i].kem == HPKE_X25519)
			return &all[i];
	}
	return all;
}

static int judge_document(struct judge *j, const json_t *o, const uint8_t *list, size_t list_len, const struct ohttp_config *first, const void *nonce,
			  size_t nonce_len, struct verdict **v, struct fault *f)
{
	uint8_t digest[32];
	size_t len = 0;
	uint8_t *content = take_base64(o, "evidence", &len);
	EVP_PKEY *key = hpke_public_read(first->kem, first->public, hpke_public_bytes(first->kem));
	const struct judge_ohttp q = {.key = key, .digest = digest, .nonce = nonce, .nonce_len = nonce_len, .content = content, .content_len = len,
				      .token = json_string_value(json_object_get(o, "token")), .proof = json_string_value(json_object_get(o,
				      "proof"))};
	int err = 0;
	if (!content && (!q.token || !q.proof))
		err = fault_set(f, -EINVAL, "nothing vouches for the key configurations: neither evidence, nor a token with its proof");
	else if (content && q.token)
		err = fault_set(f, -EINVAL, "evidence and a token at once");
	else if (!key || EVP_Digest(list, list_len, digest, NULL, EVP_sha256(), NULL) != 1 || !(*v = judge_ohttp(j, &q)))
		err = fault_set(f, -ENOMEM, "out of memory");
	else if (!(*v)->accepted)
		err = fault_set(f, -EKEYREJECTED, "the gateway is refused: %s", (*v)->reason);
	EVP_PKEY_free(key);
	free(content);
	return err;
}

int ohttp_document_check(struct judge *j, const char *json, size_t len, const void *nonce, size_t nonce_len, struct ohttp_config *best,
			 struct verdict **v, struct fault *f)
{
	struct ohttp_config *all = calloc(OHTTP_MAX_CONFIGS, sizeof *all);
	json_t *o = len <= OHTTP_MAX_DOCUMENT ? json_loadb(json, len, JSON_REJECT_DUPLICATES, NULL) : NULL;
	size_t list_len = 0;
	uint8_t *list = take_base64(o, "keys", &list_len);
	int err = 0, count = 0;
	*v = NULL;
	if (!all)
		err = fault_set(f, -ENOMEM, "out of memory");
	else if (!list || json_integer_value(json_object_get(o, "version")) != 1)
		err = fault_set(f, -EINVAL, "not the attested key configurations of a gateway (version 1)");
	else if ((count = ohttp_configs_read(all, list, list_len, f)) < 0)
		err = count;
	else
		err = judge_document(j, o, list, list_len, all, nonce, nonce_len, v, f);
	if (!err)
		*best = *ohttp_config_best(all, count);
	free(all);
	free(list);
	json_decref(o);
	return err;
}
