// SPDX-License-Identifier: Apache-2.0
// Verification of CCA tokens, in order: format, realm's signature, its key's binding, platform's signature, lifecycle, challenge. See cca.h.
#include "attest/cca.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <string.h>

#include "attest/cbor.h"
#include "attest/digest.h"
#include "attest/ecdsa.h"
#include "attest/json.h"
#include "lib/encode.h"

enum {
	COLLECTION_TAG = 399, PLATFORM = 44234, REALM = 44241,
	PROFILE = 265, NONCE = 10,
	INSTANCE = 256, LIFECYCLE = 2395, IMPLEMENTATION = 2396, COMPONENTS = 2399, SERVICE = 2400, CONFIG = 2401, PLATFORM_HASH = 2402,
	PERSONALISATION = 44235, REALM_HASH = 44236, RAK = 44237, RIM = 44238, REM = 44239, RAK_HASH = 44240,
};

struct token {
	struct cose_sign1 cose;
	struct cursor claims;
	uint64_t pairs;
};

static bool get(const struct token *t, int64_t key, enum cbor_kind kind, struct cbor *v)
{
	return cbor_find_kind(t->claims, t->pairs, key, kind, v);
}

static int read_token(struct cursor collection, uint64_t pairs, int64_t key, const char *name, struct token *t, struct fault *f)
{
	struct cbor v;
	if (!cbor_find_kind(collection, pairs, key, CBOR_BYTES, &v))
		return fault_set(f, -EINVAL, "no %s token", name);
	int err = cose_read(v.bytes, v.len, &t->cose, f);
	if (err)
		return err;
	t->claims = cursor_of(t->cose.payload.bytes, t->cose.payload.len);
	if (!cbor_read(&t->claims, &v) || v.kind != CBOR_MAP)
		return fault_set(f, -EINVAL, "the %s token's claims are malformed", name);
	t->pairs = v.n;
	struct cursor rest = t->claims;
	if (v.n > rest.left)
		return fault_set(f, -EINVAL, "the %s token's claims are cut short", name);
	for (uint64_t i = 0; i < 2 * v.n; i++) {
		if (!cbor_skip(&rest))
			return fault_set(f, -EINVAL, "the %s token's claims are malformed", name);
	}
	return rest.left ? fault_set(f, -EINVAL, "bytes behind the %s token's claims", name) : 0;
}

static int read_collection(const struct cca_input *in, struct token *platform, struct token *realm, size_t *trailing, struct fault *f)
{
	struct cursor c = cursor_of(in->token, in->token_len), all = c;
	struct cbor v;
	if (in->token_len > CCA_MAX_BYTES)
		return fault_set(f, -EINVAL, "%zu bytes are more than a token may have", in->token_len);
	if (!cbor_read(&c, &v) || v.kind != CBOR_TAG || v.n != COLLECTION_TAG || !cbor_read(&c, &v) || v.kind != CBOR_MAP)
		return fault_set(f, -EINVAL, "not a CCA token");
	if (!cbor_skip(&all))
		return fault_set(f, -EINVAL, "cut short or malformed");
	*trailing = all.left;
	int err = read_token(c, v.n, PLATFORM, "platform", platform, f);
	return err ? err : read_token(c, v.n, REALM, "realm", realm, f);
}

// The realm's key: a bare point of P-384, or a COSE_Key (kty 1: 2; crv -1: 1 P-256, 2 P-384; x -2, y -3).
static EVP_PKEY *realm_key(const struct cbor *rak)
{
	struct cursor c = cursor_of(rak->bytes, rak->len);
	struct cbor v, kty, crv, x, y;
	uint8_t xy[96];
	if (rak->len == 97 && rak->bytes[0] == 4)
		return ecdsa_key(rak->bytes + 1, 48);
	if (!cbor_read(&c, &v) || v.kind != CBOR_MAP || !cbor_find_kind(c, v.n, 1, CBOR_UINT, &kty) || kty.n != 2 ||
	    !cbor_find_kind(c, v.n, -1, CBOR_UINT, &crv) || !cbor_find_kind(c, v.n, -2, CBOR_BYTES, &x) ||
	    !cbor_find_kind(c, v.n, -3, CBOR_BYTES, &y))
		return NULL;
	size_t half = crv.n == 1 ? 32 : crv.n == 2 ? 48 : 0;
	if (!half || x.len != half || y.len != half)
		return NULL;
	memcpy(xy, x.bytes, half);
	memcpy(xy + half, y.bytes, half);
	return ecdsa_key(xy, half);
}

static uint16_t hash_of(const struct cbor *name)
{
	static const struct { const char *name; uint16_t alg; } names[] = {
		{"sha-256", TPM_SHA256}, {"sha-384", TPM_SHA384}, {"sha-512", TPM_SHA512},
	};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		if (name->len == strlen(names[i].name) && !memcmp(name->bytes, names[i].name, name->len))
			return names[i].alg;
	}
	return 0;
}

static void check_realm(const struct token *platform, const struct token *realm, struct attest_result *out)
{
	struct cbor rak, alg, nonce;
	uint8_t own[DIGEST_MAX];
	char x[2 * DIGEST_MAX + 1] = "", y[2 * DIGEST_MAX + 1] = "";
	bool have = get(realm, RAK, CBOR_BYTES, &rak);
	EVP_PKEY *key = have ? realm_key(&rak) : NULL;
	bool ok = cose_ok(&realm->cose, key), readable = key != NULL;
	EVP_PKEY_free(key);
	struct attest_check *c = attest_check_add(out, "realm-signature", ok);
	attest_expected(c, "ES256 or ES384 by the realm's key");
	attest_found(c, ok ? "valid" : !readable ? "no key that can be read" : "a signature that does not match");

	uint16_t hash = get(realm, RAK_HASH, CBOR_TEXT, &alg) ? hash_of(&alg) : 0;
	bool bound = get(platform, NONCE, CBOR_BYTES, &nonce);
	ok = have && hash && digest_two(hash, rak.bytes, rak.len, "", 0, own);
	if (ok)
		hex_encode(x, own, digest_size(hash));
	if (bound && nonce.len <= DIGEST_MAX)
		hex_encode(y, nonce.bytes, nonce.len);
	ok = ok && bound && nonce.len == digest_size(hash) && !CRYPTO_memcmp(own, nonce.bytes, nonce.len);
	c = attest_check_add(out, "realm-key", ok);
	attest_expected(c, "the realm's key by its digest in the platform token: %s", x);
	attest_found(c, "%s", *y ? y : "none");
}

static bool is(const struct cbor *v, const uint8_t *want, size_t len)
{
	return !want || (v->len == len && !memcmp(v->bytes, want, len));
}

static void check_platform(const struct cca_input *in, const struct token *t, struct attest_result *out)
{
	const struct cca_endorsement *found = NULL;
	struct cbor implementation, instance;
	bool named = get(t, IMPLEMENTATION, CBOR_BYTES, &implementation) && get(t, INSTANCE, CBOR_BYTES, &instance);
	for (unsigned int i = 0; named && i < in->endorsement_count && !found; i++) {
		const struct cca_endorsement *e = &in->endorsements[i];
		if (is(&implementation, e->implementation, 32) && is(&instance, e->instance, 33) && cose_ok(&t->cose, e->cpak))
			found = e;
	}
	struct attest_check *c = attest_check_add(out, "platform-signature", found != NULL);
	attest_expected(c, "ES256 or ES384 by a platform key that its maker endorses");
	attest_found(c, found ? "valid" : !named ? "a token that does not name its platform" : in->endorsement_count
		     ? "no endorsed key signed it" : "no endorsement was given");
	set_text(out->claims, "tee", !found ? "unknown" : found->simulated ? "simulated" : "cca");
}

static void set_bytes(json_t *o, const char *name, const struct token *t, int64_t key)
{
	struct cbor v;
	if (get(t, key, CBOR_BYTES, &v))
		set_hex(o, name, v.bytes, v.len);
}

static void set_words(json_t *o, const char *name, const struct token *t, int64_t key)
{
	struct cbor v;
	if (get(t, key, CBOR_TEXT, &v))
		json_object_set_new(o, name, json_stringn((const char *)v.bytes, v.len));
}

// [{1: type, 2: value, 4: version, 5: signer, 6: algorithm}]
static json_t *components(const struct token *t)
{
	static const struct { int64_t key; const char *name; } members[] = {
		{1, "type"}, {2, "value"}, {4, "version"}, {5, "signer_id"}, {6, "algorithm"},
	};
	json_t *list = json_array();
	struct cursor c;
	struct cbor v, m;
	if (!cbor_find(t->claims, t->pairs, COMPONENTS, &c) || !cbor_read(&c, &v) || v.kind != CBOR_ARRAY)
		return list;
	for (uint64_t i = 0; i < v.n; i++) {
		struct cursor map = c;
		if (!cbor_skip(&c) || !cbor_read(&map, &m) || m.kind != CBOR_MAP)
			break;
		struct token part = {.claims = map, .pairs = m.n};
		json_t *o = json_object();
		for (size_t k = 0; k < sizeof members / sizeof *members; k++) {
			set_bytes(o, members[k].name, &part, members[k].key);
			set_words(o, members[k].name, &part, members[k].key);
		}
		json_array_append_new(list, o);
	}
	return list;
}

static void realm_claims(const struct token *t, json_t *o, json_t *top)
{
	struct cursor c;
	struct cbor v, m;
	char name[8];
	set_words(o, "profile", t, PROFILE);
	set_bytes(o, "challenge", t, NONCE);
	set_bytes(o, "personalization_value", t, PERSONALISATION);
	set_words(o, "hash_algorithm", t, REALM_HASH);
	set_bytes(o, "public_key", t, RAK);
	set_bytes(o, "initial_measurement", t, RIM);
	set_bytes(top, "measurement", t, RIM);
	set_bytes(top, "report_data", t, NONCE);
	if (!cbor_find(t->claims, t->pairs, REM, &c) || !cbor_read(&c, &v) || v.kind != CBOR_ARRAY)
		return;
	for (unsigned int i = 0; i < v.n && i < 4 && cbor_read(&c, &m) && m.kind == CBOR_BYTES; i++) {
		snprintf(name, sizeof name, "rem%u", i);
		set_hex(o, name, m.bytes, m.len);
	}
}

static void platform_claims(const struct token *t, json_t *o, json_t *top, struct attest_result *out)
{
	struct cbor v;
	bool have = get(t, LIFECYCLE, CBOR_UINT, &v), secured = have && v.n >= 0x3000 && v.n <= 0x30ff;
	struct attest_check *c = attest_check_add(out, "lifecycle", secured);
	attest_expected(c, "secured (0x3000 to 0x30ff)");
	attest_found(c, have ? "0x%llx" : "none", (unsigned long long)v.n);
	set_text(top, "dbgstat", secured ? "disabled-since-boot" : "enabled");
	if (have)
		set_number(o, "lifecycle", (json_int_t)(v.n & 0xffff));
	set_words(o, "profile", t, PROFILE);
	set_bytes(o, "implementation_id", t, IMPLEMENTATION);
	set_bytes(o, "instance_id", t, INSTANCE);
	set_bytes(o, "config", t, CONFIG);
	set_words(o, "hash_algorithm", t, PLATFORM_HASH);
	set_words(o, "service", t, SERVICE);
	json_object_set_new(o, "software_components", components(t));
}

void cca_verify(const struct cca_input *in, struct attest_result *out)
{
	struct token platform = {.pairs = 0}, realm = {.pairs = 0};
	struct fault why = {""};
	struct cbor challenge;
	size_t trailing = 0;
	int err = read_collection(in, &platform, &realm, &trailing, &why);
	struct attest_check *c = attest_check_add(out, "format", !err);
	attest_expected(c, "a CCA token: a platform's and a realm's");
	attest_found(c, "%s", err ? why.text : "both");
	set_text(out->claims, "tee", "unknown");
	if (err)
		return;
	if (in->strict) {
		c = attest_check_add(out, "trailing-bytes", !trailing);
		attest_expected(c, "none");
		attest_found(c, "%zu bytes behind the token", trailing);
	}
	check_realm(&platform, &realm, out);
	check_platform(in, &platform, out);
	json_t *cca = set_object(out->claims, "cca");
	platform_claims(&platform, set_object(cca, "platform"), out->claims, out);
	realm_claims(&realm, set_object(cca, "realm"), out->claims);
	if (get(&realm, NONCE, CBOR_BYTES, &challenge) && challenge.len == 64) {
		attest_check_report_data(out, in->challenge, challenge.bytes);
	} else {
		c = attest_check_add(out, "report-data", false);
		attest_expected(c, "a challenge of 64 bytes");
		attest_found(c, "none");
	}
}
