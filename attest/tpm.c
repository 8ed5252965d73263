// SPDX-License-Identifier: Apache-2.0
// Verification of TPM quotes, in order: format, key, signature, nonce, registers, event log. See tpm.h. Pure.
#include "attest/tpm.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "attest/digest.h"
#include "attest/json.h"
#include "attest/verify_key.h"
#include "lib/encode.h"

enum { SCHEME_RSASSA = 0x14, SCHEME_RSAPSS = 0x16 };

static bool signature_ok(struct verify_key *key, const struct tpm_signature *s, const uint8_t *message, size_t len)
{
	if (s->rsa)	// SHA-1 signs nothing any more
		return verify_key_rsa(key, s->scheme == SCHEME_RSAPSS, s->hash, s->rsa, s->rsa_len, message, len);
	return s->hash == (s->rs_half == 32 ? TPM_SHA256 : TPM_SHA384) && verify_key_ecdsa(key, s->rs, s->rs_half, message, len);
}

static void check_signature(const struct tpm_input *in, struct attest_result *out)
{
	struct tpm_signature s = {.scheme = SCHEME_RSASSA, .hash = TPM_SHA256, .rsa = in->signature, .rsa_len = in->signature_len};
	struct fault why = {""};
	int err = in->bare_signature ? 0 : tpm_signature_parse(in->signature, in->signature_len, &s, &why);
	bool kept = in->prepared && verify_key_public(in->prepared) == in->ak;
	struct verify_key *key = kept ? in->prepared : verify_key_new(in->ak);
	bool ok = !err && key && signature_ok(key, &s, in->attest, in->attest_len);
	if (!kept)
		verify_key_free(key);
	struct attest_check *c = attest_check_add(out, "tpm-signature", ok);
	attest_expected(c, "the attestation key's signature over the quote");
	attest_found(c, "%s", ok ? "valid" : err ? why.text : !in->ak ? "no attestation key" : "a signature that does not match");
}

bool tpm_key_digest(EVP_PKEY *key, char hex[65])
{
	uint8_t digest[32], *der = NULL;
	int len = key ? i2d_PUBKEY(key, &der) : 0;
	bool ok = len > 0 && EVP_Digest(der, (size_t)len, digest, NULL, digest_of(TPM_SHA256), NULL) == 1;
	OPENSSL_free(der);
	hex[0] = '\0';
	if (ok)
		hex_encode(hex, digest, sizeof digest);
	return ok;
}

// The certificate is one of an attestation key (tcg-kp-AIKCertificate): makers certify keys of other uses under the same roots.
static bool is_of_attestation_key(X509 *cert)
{
	return cert_has_usage(cert, "2.23.133.8.3") && !cert_is_authority(cert) && X509_get_key_usage(cert) & KU_DIGITAL_SIGNATURE;
}

static int certified(const struct tpm_input *in, struct fault *f)
{
	X509 *chain[5];
	unsigned int count;
	bool known = false;
	if (!in->certificates)
		return fault_set(f, -EBADMSG, "no certificate");
	int err = cert_order_under(in->certificates, in->roots, in->root_count, chain, 5, &count, &known, f);
	if (err)
		return err;
	if (!in->ak || EVP_PKEY_eq(X509_get0_pubkey(chain[0]), in->ak) != 1)
		return fault_set(f, -EBADMSG, "a certificate of another key");
	if (!is_of_attestation_key(chain[0]))
		return fault_set(f, -EBADMSG, "a certificate for another use than attestation (tcg-kp-AIKCertificate)");
	if (!known)
		return fault_set(f, -EBADMSG, "a certificate under a root that is not known");
	for (unsigned int i = 0; !err && i < count; i++)
		err = cert_dates(chain[i], in->now, f);
	return err ? err : cert_chain_revoked(in->revocation, chain, count, in->now, f);
}

static void check_key(const struct tpm_input *in, json_t *tpm, struct attest_result *out)
{
	static const char *const names[] = {"none", "allow-list", "certificate", "activate-credential", "tee"};
	struct fault why = {""};
	char hex[65];
	bool ok = in->ak != NULL;
	if (ok && in->ak_digest)
		snprintf(hex, sizeof hex, "%s", in->ak_digest);
	else
		ok = tpm_key_digest(in->ak, hex);
	if (!ok) {
		fault_set(&why, -EBADMSG, "no key");
	} else if (in->trust == TPM_TRUST_CERTIFICATE) {
		ok = certified(in, &why) == 0;
	} else if (in->trust == TPM_TRUST_ALLOWED) {
		ok = false;
		for (const char *const *a = in->allowed; a && *a; a++)
			ok |= !strcmp(*a, hex);
		fault_set(&why, -EBADMSG, "%s, which is not on the list", hex);
	} else if (in->trust == TPM_TRUST_NONE) {
		ok = false;
		fault_set(&why, -EBADMSG, "%s, of which nothing says that it is a TPM's", hex);
	}
	struct attest_check *c = attest_check_add(out, "tpm-key", ok);
	attest_expected(c, "an attestation key that is known to be a TPM's");
	if (ok)
		attest_found(c, "by %s", names[in->trust]);
	else
		attest_found(c, "%s", why.text);
	set_text(tpm, "ak_digest", hex);
	set_text(tpm, "ak_trust", ok ? names[in->trust] : "none");
}

static void check_nonce(const struct tpm_input *in, const struct tpm_quote *q, struct attest_result *out)
{
	char x[2 * TPM_NONCE_MAX + 1] = "", y[2 * TPM_NONCE_MAX + 1] = "";
	bool ok = in->nonce && in->nonce_len == q->nonce_len && !CRYPTO_memcmp(in->nonce, q->nonce, q->nonce_len);
	struct attest_check *c = attest_check_add(out, "tpm-nonce", ok);
	if (!in->nonce) {
		c->outcome = ATTEST_SKIPPED;
		attest_found(c, "no expected value was given");
		return;
	}
	if (in->nonce_len <= TPM_NONCE_MAX)
		hex_encode(x, in->nonce, in->nonce_len);
	if (q->nonce_len <= TPM_NONCE_MAX)
		hex_encode(y, q->nonce, q->nonce_len);
	attest_expected(c, "%s", x);
	attest_found(c, "%s", y);
}

// The quote's digest over the registers given: H(values in order of bank and number), by the hash that signed.
static int registers_match(const struct tpm_input *in, const struct tpm_quote *q, struct fault *f)
{
	uint8_t all[4 * TPM_PCRS * DIGEST_MAX], digest[DIGEST_MAX];
	size_t n = 0;
	if (!in->pcrs)
		return fault_set(f, -ENOENT, "no values");
	if (q->bank_count != 1)
		return fault_set(f, -EINVAL, "%u banks; one is read", q->bank_count);
	size_t size = digest_size(q->banks[0].alg);
	if (!q->banks[0].mask)	// such a quote says nothing about what was booted
		return fault_set(f, -EINVAL, "a quote over no register");
	for (unsigned int i = 0; size && i < 32; i++) {
		if (!(q->banks[0].mask >> i & 1))
			continue;
		if (i >= TPM_PCRS || !in->pcrs[i])
			return fault_set(f, -ENOENT, "no value of register %u", i);
		memcpy(all + n, in->pcrs[i], size);
		n += size;
	}
	static const uint16_t hashes[] = {TPM_SHA256, TPM_SHA384, TPM_SHA512, TPM_SM3};
	for (size_t i = 0; size && i < sizeof hashes / sizeof *hashes; i++) {
		if (digest_size(hashes[i]) == q->digest_len && digest_two(hashes[i], all, n, "", 0, digest) &&
		    !CRYPTO_memcmp(digest, q->digest, q->digest_len))
			return 0;
	}
	return fault_set(f, -EBADMSG, "values with another digest");
}

static void check_registers(const struct tpm_input *in, const struct tpm_quote *q, json_t *tpm, struct attest_result *out)
{
	struct fault why = {""};
	char hex[2 * DIGEST_MAX + 1] = "", name[16];
	int err = registers_match(in, q, &why);
	struct attest_check *c = attest_check_add(out, "tpm-registers", !err);
	if (q->digest_len <= DIGEST_MAX)
		hex_encode(hex, q->digest, q->digest_len);
	attest_expected(c, "values whose digest is %s", hex);
	attest_found(c, "%s", err ? why.text : "they are");
	if (err)
		return;
	size_t size = digest_size(q->banks[0].alg);
	json_t *pcrs = set_object(tpm, "pcrs");
	set_text(tpm, "pcr_bank", digest_name(q->banks[0].alg));
	for (unsigned int i = 0; i < TPM_PCRS; i++) {
		if (!(q->banks[0].mask >> i & 1))
			continue;
		snprintf(name, sizeof name, "pcr%02u", i);
		set_hex(pcrs, name, in->pcrs[i], size);
	}
	// Registers after boot (16 and above are for others) may have been extended by who keeps no log.
	if (in->log)
		eventlog_check(out, in->log, in->log_len, q->banks[0].alg, 0, q->banks[0].mask & ((1u << TPM_PCRS) - 1), in->pcrs, 16, "PCR");
}

void tpm_verify(const struct tpm_input *in, struct attest_result *out)
{
	struct tpm_quote q;
	struct fault why = {""};
	int err = tpm_quote_parse(in->attest, in->attest_len, &q, &why);
	struct attest_check *c = attest_check_add(out, "tpm-format", !err);
	attest_expected(c, "a TPM 2.0 quote");
	attest_found(c, "%s", err ? why.text : "a quote");
	if (!json_object_get(out->claims, "tee"))
		set_text(out->claims, "tee", err ? "unknown" : "tpm");
	if (err)
		return;
	json_t *tpm = set_object(out->claims, "tpm");
	check_key(in, tpm, out);
	check_signature(in, out);
	check_nonce(in, &q, out);
	check_registers(in, &q, tpm, out);
	if (q.nonce_len <= TPM_NONCE_MAX)
		set_hex(tpm, "nonce", q.nonce, q.nonce_len);
	set_number(tpm, "clock", (json_int_t)q.clock);
	set_number(tpm, "reset_count", q.resets);
	set_number(tpm, "restart_count", q.restarts);
	set_bool(tpm, "clock_safe", q.safe);
	set_hex(tpm, "firmware_version", &q.firmware, 8);
}
