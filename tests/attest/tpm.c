// SPDX-License-Identifier: Apache-2.0
// TPM quotes: of real machines, and made ones (RSA and ECDSA keys) with everything wrong that can be.
#include "attest/tpm.h"

#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <string.h>

#include "attest/slice.h"
#include "lib/encode.h"
#include "tests/attest/make/pki.h"
#include "tests/attest/make/tpm.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"
#include "tests/folder.h"

#define NOW 1767225600

static size_t base64(const json_t *s, uint8_t *out, size_t size)
{
	ssize_t n = base64_decode(out, size, json_string_value(s), json_string_length(s), BASE64_STD);
	return n < 0 ? 0 : (size_t)n;
}

static void read_pcrs(const json_t *list, uint8_t values[TPM_PCRS][32], const uint8_t *pcrs[TPM_PCRS])
{
	for (size_t i = 0; i < TPM_PCRS; i++) {
		pcrs[i] = NULL;
		if (!slice_hex(json_array_get(list, i), values[i], 32))
			pcrs[i] = values[i];
	}
}

static unsigned int unnoticed(struct tpm_input *in, uint8_t *attest, size_t len)
{
	unsigned int missed = 0;
	for (size_t i = 0; i < len; i++) {
		struct attest_result r;
		attest[i] ^= 8;
		attest_result_init(&r);
		tpm_verify(in, &r);
		missed += attest_passed(&r);
		attest_result_free(&r);
		attest[i] ^= 8;
	}
	return missed;
}

static void test_vector(void)
{
	static uint8_t attest[1024], signature[1024], key[1024], values[TPM_PCRS][32];
	const uint8_t *pcrs[TPM_PCRS];
	struct attest_result r;
	char digest[65];
	size_t len;
	char *text = vector_read("tpm/trustee/tpm_evidence.json", &len);
	if (!text) {
		skip("tpm vector trustee", "the vectors are not here");
		return;
	}
	json_t *o = json_loadb(text, len, 0, NULL), *q = json_object_get(o, "tpm_quote");
	struct tpm_input in = {.attest = attest, .signature = signature, .now = NOW, .trust = TPM_TRUST_ALLOWED, .pcrs = pcrs};
	in.attest_len = base64(json_object_get(q, "message"), attest, sizeof attest);
	in.signature_len = base64(json_object_get(q, "signature"), signature, sizeof signature);
	size_t key_len = base64(json_object_get(o, "ak_public"), key, sizeof key);
	in.ak = tpm_key_read(key, key_len, NULL);
	read_pcrs(json_object_get(q, "pcrs"), values, pcrs);
	uint8_t d[32];
	EVP_Digest(key, key_len, d, NULL, EVP_sha256(), NULL);
	const char *const allowed[] = {hex_encode(digest, d, 32), NULL};
	in.allowed = allowed;
	attest_result_init(&r);
	tpm_verify(&in, &r);
	ok("tpm vector trustee", attest_passed(&r) && !strcmp(claim_of(&r, "tee"), "tpm"), "%s", failures(&r));
	ok("tpm vector trustee: its registers are claimed", !strcmp(claim_of(&r, "tpm.pcrs.pcr00"),
	   json_string_value(json_array_get(json_object_get(q, "pcrs"), 0))) &&
	   !strcmp(claim_of(&r, "tpm.pcr_bank"), "sha256"), "%s", claim_of(&r, "tpm.pcrs.pcr00"));
	attest_result_free(&r);
	unsigned int missed = unnoticed(&in, attest, in.attest_len);
	ok("tpm vector trustee: each changed byte is noticed", missed == 0, "%u missed", missed);
	values[7][3] ^= 1;
	attest_result_init(&r);
	tpm_verify(&in, &r);
	ok("tpm vector trustee: another register", !strcmp(failed_ids(&r), "tpm-registers "), "%s", failures(&r));
	attest_result_free(&r);
	EVP_PKEY_free(in.ak);
	json_decref(o);
	free(text);
}

static uint8_t values[TPM_PCRS][32];
static const uint8_t nonce[] = "a fresh nonce";

static size_t be(uint8_t *p, uint64_t v, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> 8 * (n - 1 - i));
	return (size_t)n;
}

static void make(struct tpm_made *m, EVP_PKEY *key, int scheme, uint32_t magic, uint16_t type, uint32_t mask)
{
	tpm_make(&(struct tpm_spec){scheme, magic, type, mask, nonce, sizeof nonce - 1, values}, key, m);
}

static struct pki root, rsa, p256, p384;

static void expect(const char *name, struct tpm_made *m, struct tpm_input in, const char *failed)
{
	struct attest_result r;
	in.attest = m->attest;
	in.attest_len = m->attest_len;
	in.signature = m->signature;
	in.signature_len = m->signature_len;
	attest_result_init(&r);
	tpm_verify(&in, &r);
	ok(name, !strcmp(failed_ids(&r), failed), "%s", failures(&r));
	attest_result_free(&r);
}

static void test_made(void)
{
	struct tpm_made m;
	const uint8_t *pcrs[TPM_PCRS];
	for (int i = 0; i < TPM_PCRS; i++) {
		memset(values[i], i + 1, 32);
		pcrs[i] = values[i];
	}
	root = pki_make(&(struct pki_spec){"TEST TPM maker", NULL, true, "P-384", NOW - 86400, NOW + 86400, NULL});
	rsa = pki_make(&(struct pki_spec){"TEST AK", &root, false, "RSA", NOW - 86400, NOW + 3600, NULL});
	p256 = pki_make(&(struct pki_spec){"TEST AK", &root, false, "P-256", NOW - 86400, NOW + 3600, pki_ak_usage});
	p384 = pki_make(&(struct pki_spec){"TEST AK", &root, false, "P-384", NOW - 86400, NOW + 3600, NULL});
	const struct cert_list chain = {.certs = {p256.cert, root.cert}, .count = 2};
	const struct tpm_input base = {.ak = p256.key, .trust = TPM_TRUST_CERTIFICATE, .certificates = &chain, .roots = &root.cert, .root_count = 1,
				       .nonce = nonce, .nonce_len = sizeof nonce - 1, .pcrs = pcrs, .now = NOW};
	struct tpm_input in = base;
	make(&m, p256.key, 0x18, 0xff544347, 0x8018, 0xffffff);
	expect("tpm: ECDSA P-256, by certificate", &m, in, "");
	in.attest = m.attest;
	in.attest_len = m.attest_len;
	in.signature = m.signature;
	in.signature_len = m.signature_len;
	unsigned int missed = unnoticed(&in, m.attest, m.attest_len);
	ok("tpm: each changed byte is noticed", missed == 0, "%u missed", missed);
	missed = unnoticed(&in, m.signature, m.signature_len);
	ok("tpm: each changed byte of the signature is noticed", missed == 0, "%u missed", missed);
	in = base;
	const struct cert_list unfit = {.certs = {p384.cert, root.cert}, .count = 2};
	in.ak = p384.key;
	in.certificates = &unfit;
	make(&m, p384.key, 0x18, 0xff544347, 0x8018, 0xffffff);
	expect("tpm: a certificate for another use", &m, in, "tpm-key ");
	make(&m, p256.key, 0x18, 0xff544347, 0x8018, 0);
	expect("tpm: a quote over no register", &m, base, "tpm-registers ");
	make(&m, p256.key, 0x18, 0xff544347, 0x8018, 0xffffff);
	in = base;
	in.now = NOW + 7200;
	expect("tpm: certificate expired", &m, in, "tpm-key ");
	in = base;
	in.root_count = 0;
	expect("tpm: certificate under an unknown root", &m, in, "tpm-key ");
	in = base;
	in.ak = p384.key;
	expect("tpm: certificate of another key", &m, in, "tpm-key tpm-signature ");
	in = base;
	in.trust = TPM_TRUST_NONE;
	expect("tpm: a key of unknown origin", &m, in, "tpm-key ");
	in.trust = TPM_TRUST_ACTIVATED;
	expect("tpm: a key that was activated", &m, in, "");
	in.trust = TPM_TRUST_ALLOWED;
	expect("tpm: a key that is not on the list", &m, in, "tpm-key ");
	in = base;
	in.nonce_len--;
	expect("tpm: another nonce", &m, in, "tpm-nonce ");
	in = base;
	const uint8_t *fewer[TPM_PCRS];
	memcpy(fewer, pcrs, sizeof fewer);
	fewer[5] = NULL;
	in.pcrs = fewer;
	expect("tpm: a register's value missing", &m, in, "tpm-registers ");
	m.signature[1] = 0x19;
	expect("tpm: another signature scheme", &m, base, "tpm-signature ");
	make(&m, p256.key, 0x18, 0xff544348, 0x8018, 0xffffff);
	expect("tpm: not made by a TPM", &m, base, "tpm-format ");
	make(&m, p256.key, 0x18, 0xff544347, 0x8017, 0xffffff);
	expect("tpm: certified, not quoted", &m, base, "tpm-format ");
	make(&m, p256.key, 0x18, 0xff544347, 0x8018, 0x000880);
	expect("tpm: some registers only", &m, base, "");
	m.attest_len--;
	expect("tpm: cut short", &m, base, "tpm-format ");
	static const struct { struct pki *key; int scheme; const char *name; } kinds[] = {
		{&rsa, 0x14, "tpm: RSASSA"}, {&rsa, 0x16, "tpm: RSAPSS"}, {&p384, 0x18, "tpm: ECDSA P-384"},
	};
	for (int i = 0; i < 3; i++) {
		make(&m, kinds[i].key->key, kinds[i].scheme, 0xff544347, 0x8018, 0xffff);
		in = base;
		in.ak = kinds[i].key->key;
		in.trust = TPM_TRUST_ACTIVATED;
		expect(kinds[i].name, &m, in, "");
		m.attest[20] ^= 1;
		in.nonce = NULL;
		expect(kinds[i].name, &m, in, "tpm-signature ");
	}
}

// A public area as a TPM writes it.
static void test_keys(void)
{
	uint8_t area[256], xy[64], *p = area + 2;
	static const uint8_t attributes[] = {0, 0x23, 0, TPM_SHA256, 0, 5, 0, 0x72, 0, 0, 0, 0x10, 0, 0x18, 0, 0x0b, 0, 3, 0, 0x10};
	pki_point(p256.key, 32, xy);
	memcpy(p, attributes, sizeof attributes);
	p += sizeof attributes;
	for (int i = 0; i < 2; i++) {
		p += be(p, 32, 2);
		memcpy(p, xy + 32 * i, 32);
		p += 32;
	}
	size_t len = (size_t)(p - area);
	be(area, len - 2, 2);
	EVP_PKEY *key = tpm_key_read(area, len, NULL);
	ok("tpm: a public area", key && EVP_PKEY_eq(key, p256.key) == 1, "not read");
	EVP_PKEY_free(key);
	unsigned int read = 0;
	for (size_t n = 0; n < len; n++) {
		key = tpm_key_read(area, n, NULL);
		read += key != NULL;
		EVP_PKEY_free(key);
	}
	ok("tpm: a public area cut short", read == 0, "%u read", read);
}

// A real TPM's code over a file (swtpm) makes a restricted key and quotes with it.
static const char swtpm_script[] =
	"cd \"$0\" || exit 9; exec 2>/dev/null >/dev/null\n"
	"for t in swtpm tpm2_createprimary tpm2_quote; do command -v $t || exit 9; done\n"
	"timeout 600 swtpm socket --tpm2 --tpmstate dir=\"$0\" --server type=unixio,path=\"$0/s\" --ctrl type=unixio,path=\"$0/s.ctrl\" "
	"--flags not-need-init,startup-clear & p=$!; trap 'kill $p; wait' EXIT\n"
	"for i in $(seq 600); do [ -S s.ctrl ] && [ -S s ] && break; sleep 0.2; done\n"
	"export TPM2TOOLS_TCTI=\"swtpm:path=$0/s\"\n"
	"tpm2_createprimary -C o -g sha256 -G \"$1\" -a 'fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign' -c k.ctx && "
	"tpm2_flushcontext -t && tpm2_readpublic -c k.ctx -o k.pub -f tss && tpm2_flushcontext -t && tpm2_quote -c k.ctx -l sha256:0,7 -q 616263 "
	"-m q.msg -s q.sig -g sha256\n";

static void test_swtpm(const char *kind)
{
	char folder[64], line[sizeof swtpm_script + 256], path[128], label[96];
	static const char *const names[] = {"q.msg", "q.sig", "k.pub"};
	static const uint8_t zeros[32];
	const uint8_t *pcrs[TPM_PCRS] = {[0] = zeros, [7] = zeros};
	char *bytes[3] = {NULL, NULL, NULL};
	size_t len[3] = {0, 0, 0};
	snprintf(label, sizeof label, "tpm: a real TPM's quote, %s", kind);
	if (!test_folder(folder, "tpm"))
		return;
	snprintf(path, sizeof path, "%s/script", folder);
	bool ready = !file_write(path, swtpm_script, sizeof swtpm_script - 1, 0600, false, NULL);
	snprintf(line, sizeof line, "sh -c \"$(cat %s)\" %s %s", path, folder, kind);
	int rc = ready ? system(line) : -1;
	for (int i = 0; i < 3; i++) {
		snprintf(path, sizeof path, "%s/%s", folder, names[i]);
		if (file_read(path, 4096, &bytes[i], &len[i], NULL))
			bytes[i] = NULL;
	}
	if (rc == 9 << 8) {
		skip(label, "swtpm and tpm2-tools are not installed");
	} else if (!ok(label, bytes[0] && bytes[1] && bytes[2], "the TPM made none (%d)", rc)) {
		;
	} else {
		struct tpm_made m;
		struct tpm_input in = {.trust = TPM_TRUST_ACTIVATED, .nonce = (const uint8_t *)"abc", .nonce_len = 3, .pcrs = pcrs, .now = NOW};
		in.ak = tpm_key_read((uint8_t *)bytes[2], len[2], NULL);
		m.attest_len = len[0];
		m.signature_len = len[1];
		memcpy(m.attest, bytes[0], len[0] < sizeof m.attest ? len[0] : 0);
		memcpy(m.signature, bytes[1], len[1] < sizeof m.signature ? len[1] : 0);
		expect("tpm: it verifies", &m, in, "");
		m.attest[len[0] - 1] ^= 1;
		expect("tpm: it does not when a byte is changed", &m, in, "tpm-signature tpm-registers ");
		EVP_PKEY_free(in.ak);
	}
	for (int i = 0; i < 3; i++)
		free(bytes[i]);
}

int main(void)
{
	test_swtpm("ecc256:ecdsa-sha256:null");
	test_swtpm("rsa2048:rsassa-sha256:null");
	test_vector();
	test_made();
	test_keys();
	pki_free(&root);
	pki_free(&rsa);
	pki_free(&p256);
	pki_free(&p384);
	return ok_failed != 0;
}
