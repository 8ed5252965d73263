// SPDX-License-Identifier: Apache-2.0
// The bytes of Hygon's reports and certificates (little-endian). See csv.h. Pure; the fuzz target fuzz_csv drives it.
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "attest/bytes.h"
#include "attest/csv.h"

#define V1_INFO 336
#define V1_SIGNED 180
#define V1_ANONCE 188
#define V1_SIGNATURE 192
#define V2_INFO 1168
#define V2_SIGNED 1024
#define TAIL (CSV_CERT_BYTES + 64 + 32 + 32)	// PEK, serial number, reserved, HMAC

// A number of 72 bytes, little-endian, of which 32 count. False when the others are not zero.
static bool number(const uint8_t *p, uint8_t out[32])
{
	for (int i = 0; i < 32; i++)
		out[i] = p[31 - i];
	return all_bytes(p + 32, 40, 0);
}

// Curve 4, x 72, y 72, length of the identity 2, identity 254.
static bool key_read(const uint8_t *p, struct csv_key *k)
{
	k->curve = load_le32(p);
	k->id_len = load_le16(p + 148);
	memcpy(k->id, p + 150, sizeof k->id);
	return number(p + 4, k->xy) && number(p + 76, k->xy + 32) && k->id_len <= sizeof k->id && k->curve == 3;
}

int csv_root_read(const uint8_t *b, size_t len, struct csv_cert *c, struct fault *f)
{
	memset(c, 0, sizeof *c);
	if (len != CSV_ROOT_BYTES)
		return fault_set(f, -EINVAL, "a root or signing certificate of %zu bytes, not %d", len, CSV_ROOT_BYTES);
	c->usage = load_le32(b + 36);
	c->body = b;
	c->body_len = 576;
	if (!key_read(b + 64, &c->key) || !number(b + 576, c->signatures[0].rs) || !number(b + 648, c->signatures[0].rs + 32))
		return fault_set(f, -EINVAL, "a root or signing certificate that is malformed");
	return 0;
}

int csv_cert_read(const uint8_t *b, size_t len, struct csv_cert *c, struct fault *f)
{
	memset(c, 0, sizeof *c);
	if (len != CSV_CERT_BYTES)
		return fault_set(f, -EINVAL, "a certificate of %zu bytes, not %d", len, CSV_CERT_BYTES);
	c->usage = load_le32(b + 8);
	c->body = b;
	c->body_len = 1044;
	bool ok = load_le32(b + 12) == 4 && key_read(b + 16, &c->key);
	for (int i = 0; i < 2; i++) {
		const uint8_t *s = b + 1044 + 520 * i;
		c->signatures[i].usage = load_le32(s);
		ok = ok && number(s + 8, c->signatures[i].rs) && number(s + 80, c->signatures[i].rs + 32);
	}
	return ok ? 0 : fault_set(f, -EINVAL, "a certificate that is malformed");
}

static void unmask(uint8_t *out, const uint8_t *in, size_t len, const uint8_t mask[4])
{
	for (size_t i = 0; i < len; i++)
		out[i] = in[i] ^ mask[i % 4];
}

// The HMAC binds PEK and serial number to the nonce; it covers them as they stand, masked or not.
static bool mac_ok(const uint8_t nonce[16], const uint8_t *tail)
{
	uint8_t mac[32];
	unsigned int len = 0;
	return HMAC(EVP_sm3(), nonce, 16, tail, TAIL - 32, mac, &len) && len == 32 && !CRYPTO_memcmp(mac, tail + TAIL - 32, 32);
}

static void common(struct csv_report *r, const uint8_t *info)
{
	memcpy(r->pubkey_digest, info, 32);
	memcpy(r->vm_id, info + 32, 16);
	memcpy(r->vm_version, info + 48, 16);
	memcpy(r->report_data, info + 64, 64);
	memcpy(r->nonce, info + 128, 16);
	memcpy(r->measure, info + 144, 32);
	r->policy = load_le32(info + 176);
	r->sig_usage = load_le32(info + 180);
	r->sig_algo = load_le32(info + 184);
}

static bool parse_v1(const uint8_t *b, struct csv_report *r)
{
	uint8_t info[V1_ANONCE];
	const uint8_t *mask = b + V1_ANONCE, *tail = b + V1_INFO;
	r->version = 1;
	unmask(info, b, sizeof info, mask);
	common(r, info);
	r->signed_bytes = b;
	r->signed_len = V1_SIGNED;
	unmask(r->pek, tail, CSV_CERT_BYTES, mask);
	unmask(r->serial, tail + CSV_CERT_BYTES, 64, mask);
	r->mac_ok = mac_ok(r->nonce, tail);
	return number(b + V1_SIGNATURE, r->rs) && number(b + V1_SIGNATURE + 72, r->rs + 32);
}

static bool parse_v2(const uint8_t *b, struct csv_report *r)
{
	const uint8_t *tail = b + V2_INFO;
	r->version = 2;
	common(r, b);
	r->build = load_le32(b + 188);
	r->rtmr_version = load_le16(b + 192);
	memcpy(r->rtmr, b + 208, sizeof r->rtmr);
	r->signed_bytes = b;
	r->signed_len = V2_SIGNED;
	memcpy(r->pek, tail, CSV_CERT_BYTES);
	memcpy(r->serial, tail + CSV_CERT_BYTES, 64);
	r->mac_ok = mac_ok(r->nonce, tail);
	return number(b + V2_SIGNED, r->rs) && number(b + V2_SIGNED + 72, r->rs + 32);
}

int csv_parse(const uint8_t *b, size_t len, struct csv_report *r, struct fault *f)
{
	memset(r, 0, sizeof *r);
	if (len < CSV_V1_BYTES || len > CSV_MAX_BYTES)
		return fault_set(f, -EINVAL, "%zu bytes", len);
	bool well = false;
	size_t used = CSV_V1_BYTES;
	if (len >= CSV_V2_BYTES) {
		well = parse_v2(b, r) && r->mac_ok;
		used = well ? CSV_V2_BYTES : used;
	}
	if (!well) {
		memset(r, 0, sizeof *r);
		well = parse_v1(b, r);
	}
	if (!well)
		return fault_set(f, -EINVAL, "a signature that is malformed");
	r->trailing = len - used;
	return 0;
}
