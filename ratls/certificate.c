// SPDX-License-Identifier: Apache-2.0
// See certificate.h. One function a layer: extension, tagged CBOR, claims, endorsements. The fuzz target fuzz_ratls drives it.
#include "ratls/certificate.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

#include "attest/cbor.h"
#include "attest/cert.h"
#include "attest/json.h"
#include "lib/encode.h"

#define SHOWN_BYTES 128	// of a claim that the certificate's maker added

// Content bytes of object identifiers. Gramine writes tag and length into the content once more.
static const uint8_t oid_evidence[] = {0x67, 0x81, 0x05, 0x05, 0x04, 0x09};
static const uint8_t oid_endorsements[] = {0x67, 0x81, 0x05, 0x05, 0x04, 0x02};
static const uint8_t oid_gramine[] = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x8a, 0x39, 0x06};
static const uint8_t oid_rats_tls[] = {0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x8a, 0x39, 0x06};
static const uint8_t oid_intel[] = {0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01};	// in certificates of Intel's own it means something else

static const struct {
	enum ratls_form form;
	const uint8_t *oid;
	size_t len;
	const char *name;
} forms[] = {
	{RATLS_DICE, oid_evidence, sizeof oid_evidence, "interoperable"}, {RATLS_GRAMINE, oid_gramine, sizeof oid_gramine, "gramine"},
	{RATLS_GRAMINE, oid_rats_tls, sizeof oid_rats_tls, "gramine"}, {RATLS_INTEL, oid_intel, sizeof oid_intel, "intel-sdk"},
};

// How often the certificate has that extension; *found: the first one's content.
static unsigned int find(X509 *cert, const uint8_t *oid, size_t len, const ASN1_OCTET_STRING **found)
{
	unsigned int count = 0;
	for (int i = 0, n = X509_get_ext_count(cert); i < n; i++) {
		X509_EXTENSION *e = X509_get_ext(cert, i);
		const ASN1_OBJECT *o = X509_EXTENSION_get_object(e);
		if (OBJ_length(o) == len && !memcmp(OBJ_get0_data(o), oid, len) && !count++)
			*found = X509_EXTENSION_get_data(e);
	}
	return count;
}

bool ratls_cert_carries(X509 *cert)
{
	const ASN1_OCTET_STRING *content;
	for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
		if (find(cert, forms[i].oid, forms[i].len, &content))
			return true;
	}
	return false;
}

// "pubkey-hash": its bytes hold [algorithm, hash].
static int read_key_hash(const struct cbor *v, struct ratls_cert *r, struct fault *f)
{
	struct cursor c = cursor_of(v->bytes, v->len);
	struct cbor list, alg, hash;
	if (!cbor_read(&c, &list) || list.kind != CBOR_ARRAY || list.n != 2 || !cbor_read(&c, &alg) || alg.kind != CBOR_UINT || !cbor_read(&c, &hash) ||
	    hash.kind != CBOR_BYTES || c.left)
		return fault_set(f, -EINVAL, "the claim pubkey-hash does not hold [algorithm, hash]");
	size_t want = alg.n == 1 ? 32 : alg.n == 7 ? 48 : alg.n == 8 ? 64 : 0;
	if (!want || hash.len != want)
		return fault_set(f, -EINVAL, "the claim pubkey-hash has algorithm %llu and %zu bytes: SHA-256 (1), SHA-384 (7) and SHA-512 (8) are known",
				 (unsigned long long)alg.n, hash.len);
	r->key_alg = (unsigned int)alg.n;
	r->key_hash = hash.bytes;
	r->key_hash_len = hash.len;
	return 0;
}

static bool is(const struct cbor *text, const char *name)
{
	return text->len == strlen(name) && !memcmp(text->bytes, name, text->len);
}

// A map of texts and bytes. No name twice: two verifiers might choose differently.
static int read_claims(struct ratls_cert *r, json_t *shown, struct fault *f)
{
	struct cursor c = cursor_of(r->claims, r->claims_len);
	struct cbor map, names[RATLS_MAX_CLAIMS], v;
	char name[65], hex[2 * SHOWN_BYTES + 1];
	if (!cbor_read(&c, &map) || map.kind != CBOR_MAP || map.n > RATLS_MAX_CLAIMS)
		return fault_set(f, -EINVAL, "the claims are no map of at most %d", RATLS_MAX_CLAIMS);
	for (uint64_t i = 0; i < map.n; i++) {
		int err = 0;
		if (!cbor_read(&c, &names[i]) || names[i].kind != CBOR_TEXT || !cbor_read(&c, &v) || v.kind != CBOR_BYTES)
			return fault_set(f, -EINVAL, "a claim is not text with bytes");
		for (uint64_t k = 0; k < i; k++) {
			if (names[k].len == names[i].len && !memcmp(names[k].bytes, names[i].bytes, names[i].len))
				return fault_set(f, -EINVAL, "a claim is there twice");
		}
		if (is(&names[i], "pubkey-hash")) {
			err = read_key_hash(&v, r, f);
		} else if (is(&names[i], "nonce")) {
			if (!v.len || v.len > RATLS_MAX_NONCE)
				err = fault_set(f, -EINVAL, "a nonce of %zu bytes", v.len);
			r->nonce = v.bytes;
			r->nonce_len = v.len;
		} else if (is(&names[i], "tls-exporter")) {
			if (v.len != RATLS_EXPORTER_BYTES)
				err = fault_set(f, -EINVAL, "a TLS exporter value of %zu bytes", v.len);
			r->exporter = v.bytes;
		} else if (is(&names[i], "ohttp-keys")) {
			if (v.len != RATLS_OHTTP_KEYS_BYTES)
				err = fault_set(f, -EINVAL, "a digest of key configurations of %zu bytes", v.len);
			r->ohttp_keys = v.bytes;
		} else if (shown && names[i].len < sizeof name && v.len <= SHOWN_BYTES) {
			memcpy(name, names[i].bytes, names[i].len);
			name[names[i].len] = '\0';
			json_object_set_new(shown, name, json_string(hex_encode(hex, v.bytes, v.len)));
		}
		if (err)
			return err;
	}
	if (c.left)
		return fault_set(f, -EINVAL, "%zu bytes behind the claims", c.left);
	return r->key_hash ? 0 : fault_set(f, -EINVAL, "the claims lack pubkey-hash: nothing binds the evidence to the certificate's key");
}

// tag([evidence, claims])
static int read_dice(const uint8_t *bytes, size_t len, struct ratls_cert *r, struct fault *f)
{
	struct cursor c = cursor_of(bytes, len);
	struct cbor tag, list, evidence, claims;
	if (!cbor_read(&c, &tag) || tag.kind != CBOR_TAG)
		return fault_set(f, -EINVAL, "the evidence extension does not hold tagged CBOR");
	if (!cbor_read(&c, &list) || list.kind != CBOR_ARRAY || list.n != 2 || !cbor_read(&c, &evidence) || evidence.kind != CBOR_BYTES ||
	    !cbor_read(&c, &claims) || claims.kind != CBOR_BYTES || c.left)
		return fault_set(f, -EINVAL, "the evidence extension does not hold [evidence, claims] and nothing else");
	r->tag = tag.n;
	r->evidence = evidence.bytes;
	r->evidence_len = evidence.len;
	r->claims = claims.bytes;
	r->claims_len = claims.len;
	return read_claims(r, NULL, f);
}

int ratls_content_read(const uint8_t *bytes, size_t len, struct ratls_cert *r, struct fault *f)
{
	memset(r, 0, sizeof *r);
	r->form = RATLS_DICE;
	return read_dice(bytes, len, r, f);
}

int ratls_cert_read(X509 *cert, struct ratls_cert *r, struct fault *f)
{
	const ASN1_OCTET_STRING *content = NULL, *endorsements = NULL;
	unsigned int count = 0;
	memset(r, 0, sizeof *r);
	for (size_t i = 0; i < sizeof forms / sizeof *forms && !count; i++) {
		count = find(cert, forms[i].oid, forms[i].len, &content);
		r->form = forms[i].form;
	}
	if (!count)
		return fault_set(f, -ENODATA, "the certificate carries no evidence");
	if (count > 1 || find(cert, oid_endorsements, sizeof oid_endorsements, &endorsements) > 1)
		return fault_set(f, -EINVAL, "the certificate carries evidence or endorsements twice");
	const uint8_t *bytes = ASN1_STRING_get0_data(content);
	size_t len = (size_t)ASN1_STRING_length(content);
	if (endorsements && ASN1_STRING_length(endorsements) > 0) {
		r->endorsements = ASN1_STRING_get0_data(endorsements);
		r->endorsements_len = (size_t)ASN1_STRING_length(endorsements);
	}
	if (r->form == RATLS_DICE)
		return read_dice(bytes, len, r, f);
	r->evidence = bytes;
	r->evidence_len = len;
	return 0;
}

// tag([version, TCB info, its chain, PCK list, root list, lists' chain, QE identity, its chain (, date)]), for SGX and TDX. What a maker left
// empty is left out. Each is signed: where they come from does not matter.
static int read_endorsements(const struct ratls_cert *r, struct bundle *b, struct fault *f)
{
	static const struct {
		const char *name;
		bool text;
	} members[] = {
		{"tcb_info", true}, {"tcb_info_issuer_chain", true}, {"pck_crl", false}, {"root_ca_crl", false}, {"pck_crl_issuer_chain", true},
		{"qe_identity", true}, {"qe_identity_issuer_chain", true},
	};
	struct cursor c = cursor_of(r->endorsements, r->endorsements_len);
	struct cbor tag, list, v;
	int err = 0;
	if (!cbor_read(&c, &tag) || tag.kind != CBOR_TAG || tag.n != RATLS_TAG_QUOTE || !cbor_read(&c, &list) || list.kind != CBOR_ARRAY ||
	    list.n < 8 || list.n > 9 || !cbor_read(&c, &v) || v.kind != CBOR_UINT)
		return fault_set(f, -EINVAL, "the endorsements are none for SGX or TDX");
	for (size_t i = 0; !err && i < sizeof members / sizeof *members; i++) {
		if (!cbor_read(&c, &v) || (v.kind != CBOR_BYTES && v.kind != CBOR_TEXT))
			return fault_set(f, -EINVAL, "the endorsements lack %s", members[i].name);
		while (v.len && members[i].text && !v.bytes[v.len - 1])	// made by C programs
			v.len--;
		if (v.len)
			err = members[i].text ? bundle_put_text(b, members[i].name, (const char *)v.bytes, v.len)
					      : bundle_put_bytes(b, members[i].name, v.bytes, v.len);
	}
	return err ? fault_set(f, err, "the endorsements are not text, or memory is short") : 0;
}

// Texts of a JSON object, as the files that `coffer verify` takes. It brings its own collateral.
static int read_bundle(const struct ratls_cert *r, struct bundle *b, struct fault *f)
{
	struct bundle sent;
	int err = bundle_read(&sent, r->evidence, r->evidence_len, f);
	if (err)
		return err;
	bundle_merge(b, &sent);
	bundle_free(&sent);
	return 0;
}

int ratls_cert_bundle(const struct ratls_cert *r, struct bundle *b, struct fault *f)
{
	if (r->form == RATLS_DICE && r->tag == RATLS_TAG_BUNDLE)
		return read_bundle(r, b, f);
	int err = bundle_put_bytes(b, "evidence", r->evidence, r->evidence_len);
	if (err)
		return fault_set(f, err, "out of memory");
	return r->endorsements ? read_endorsements(r, b, f) : 0;
}

static int key_der(X509 *cert, uint8_t **der)
{
	*der = NULL;
	return i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), der);
}

int ratls_cert_report_data(X509 *cert, const struct ratls_cert *r, uint8_t out[64])
{
	uint8_t *der = NULL;
	int len = 0;
	memset(out, 0, 64);
	if (!r->claims && (len = key_der(cert, &der)) <= 0)
		return -ENOMEM;
	int err = EVP_Digest(r->claims ? r->claims : der, r->claims ? r->claims_len : (size_t)len, out, NULL, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
	OPENSSL_free(der);
	return err;
}

static void check_key(X509 *cert, const struct ratls_cert *r, struct attest_result *out)
{
	uint8_t digest[64], *der;
	char hex[2 * 64 + 1];
	if (!r->claims)
		return;	// the evidence names the key itself: report-data
	const EVP_MD *md = r->key_alg == 1 ? EVP_sha256() : r->key_alg == 7 ? EVP_sha384() : EVP_sha512();
	int len = key_der(cert, &der);
	bool made = len > 0 && EVP_Digest(der, (size_t)len, digest, NULL, md, NULL) == 1;
	OPENSSL_free(der);
	struct attest_check *c = attest_check_add(out, "certificate-key", made && !memcmp(digest, r->key_hash, r->key_hash_len));
	attest_expected(c, "%s", made ? hex_encode(hex, digest, r->key_hash_len) : "the digest of its key");
	attest_found(c, "%s", hex_encode(hex, r->key_hash, r->key_hash_len));
}

static bool tag_fits(const struct ratls_cert *r, enum evidence_kind kind)
{
	if (r->form != RATLS_DICE)
		return kind == EVIDENCE_SGX || (kind == EVIDENCE_TDX && r->form == RATLS_GRAMINE);
	switch (r->tag) {
	case RATLS_TAG_QUOTE: return kind == EVIDENCE_SGX || kind == EVIDENCE_TDX;
	case RATLS_TAG_SNP: return kind == EVIDENCE_SNP;
	case RATLS_TAG_CSV: return kind == EVIDENCE_CSV;
	case RATLS_TAG_TOKEN: case RATLS_TAG_BUNDLE: return kind == EVIDENCE_UNKNOWN;	// whose reader says more
	default: return false;
	}
}

static void note(X509 *cert, const struct ratls_cert *r, struct attest_result *out)
{
	const char *name = "";
	char hex[65];
	for (size_t i = sizeof forms / sizeof *forms; i--;) {
		if (forms[i].form == r->form)
			name = forms[i].name;
	}
	json_t *o = set_object(out->claims, "ratls"), *own = json_object();
	struct ratls_cert again = *r;
	set_text(o, "form", name);
	if (r->form == RATLS_DICE)
		set_number(o, "tag", (json_int_t)r->tag);
	if (cert_key_digest(cert, hex))
		set_text(o, "key_digest", hex);
	set_time(o, "not_before", cert_time(X509_get0_notBefore(cert)));
	set_time(o, "not_after", cert_time(X509_get0_notAfter(cert)));
	if (r->nonce)
		set_hex(o, "nonce", r->nonce, r->nonce_len);
	if (r->claims && !read_claims(&again, own, NULL) && json_object_size(own))
		json_object_set(o, "claims", own);
	json_decref(own);
}

void ratls_content_check(X509 *cert, const struct ratls_cert *r, struct attest_result *out)
{
	enum evidence_kind kind = evidence_kind_of(r->evidence, r->evidence_len);
	check_key(cert, r, out);
	struct attest_check *c = attest_check_add(out, "certificate-evidence", tag_fits(r, kind));
	if (r->form == RATLS_DICE)
		attest_expected(c, "evidence of the kind that tag %llu names", (unsigned long long)r->tag);
	else
		attest_expected(c, "a quote, as older certificates carry it");
	attest_found(c, "%s", c->outcome == ATTEST_PASSED && kind == EVIDENCE_UNKNOWN ? r->tag == RATLS_TAG_TOKEN ? "a token" : "a bundle" : evidence_kind_name(kind));
}

void ratls_cert_check(X509 *cert, const struct ratls_cert *r, time_t now, struct attest_result *out)
{
	struct fault why = {""};
	struct attest_check *c = attest_check_add(out, "certificate-signature", X509_verify(cert, X509_get0_pubkey(cert)) == 1);
	attest_expected(c, "by the key in it");
	attest_found(c, c->outcome == ATTEST_PASSED ? "by the key in it" : "another, or none");
	c = attest_check_add(out, "certificate-validity", !cert_dates(cert, now, &why));
	attest_expected(c, "valid at that time");
	attest_found(c, "%s", *why.text ? why.text : "valid at that time");
	ratls_content_check(cert, r, out);
	note(cert, r, out);
}

void ratls_content_check_session(const struct ratls_cert *r, const uint8_t exporter[RATLS_EXPORTER_BYTES], struct attest_result *out)
{
	struct attest_check *c = attest_check_add(out, "tls-session", r->exporter && !memcmp(r->exporter, exporter, RATLS_EXPORTER_BYTES));
	attest_expected(c, "evidence that was made in this TLS session");
	attest_found(c, "%s", !r->exporter ? "evidence of no session" : c->outcome == ATTEST_PASSED ? "evidence that was made in this TLS session"
			 : "evidence of another session");
}

void ratls_content_check_ohttp(const struct ratls_cert *r, const uint8_t digest[RATLS_OHTTP_KEYS_BYTES], struct attest_result *out)
{
	char hex[2 * RATLS_OHTTP_KEYS_BYTES + 1];
	struct attest_check *c = attest_check_add(out, "ohttp-keys", r->ohttp_keys && !memcmp(r->ohttp_keys, digest, RATLS_OHTTP_KEYS_BYTES));
	attest_expected(c, "%s", hex_encode(hex, digest, RATLS_OHTTP_KEYS_BYTES));
	attest_found(c, "%s", r->ohttp_keys ? hex_encode(hex, r->ohttp_keys, RATLS_OHTTP_KEYS_BYTES) : "evidence for something else");
}

void ratls_cert_check_nonce(const struct ratls_cert *r, const void *nonce, size_t len, struct attest_result *out)
{
	char hex[2 * RATLS_MAX_NONCE + 1];
	struct attest_check *c = attest_check_add(out, "nonce", r->nonce && r->nonce_len == len && !memcmp(r->nonce, nonce, len));
	attest_expected(c, "%s", len <= RATLS_MAX_NONCE ? hex_encode(hex, nonce, len) : "a nonce");
	attest_found(c, "%s", r->nonce ? hex_encode(hex, r->nonce, r->nonce_len) : "a certificate without one");
}

bool ratls_cert_begin(X509 *cert, time_t now, struct ratls_cert *r, struct bundle *b, uint8_t report_data[64], struct attest_result *out)
{
	struct fault why = {""};
	int err = ratls_cert_read(cert, r, &why);
	if (!err)
		err = ratls_cert_bundle(r, b, &why);
	if (!err)
		err = ratls_cert_report_data(cert, r, report_data);
	if (err) {
		struct attest_check *c = attest_check_add(out, "certificate-evidence", false);
		attest_expected(c, "evidence about the certificate's key");
		attest_found(c, "%s", *why.text ? why.text : "out of memory");
		return false;
	}
	ratls_cert_check(cert, r, now, out);
	return true;
}
