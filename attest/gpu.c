// SPDX-License-Identifier: Apache-2.0
// See gpu.h. In order: format, certificate chain, root, dates, revocation, firmware, signature, nonce.
#include "attest/gpu.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/bytes.h"
#include "attest/ecdsa.h"
#include "attest/json.h"
#include "attest/shared_cache.h"
#include "attest/spdm.h"
#include "lib/encode.h"

#define CHAIN_MAX 6
#define FIRMWARE_BYTES 48

// SHA-256 of the DER of "NVIDIA Device Identity CA", as published with NVIDIA's attestation tools.
static const char nvidia_root[] = "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48";

// 2.23.133.5.4.1, TCG's DiceTcbInfo: which firmware was measured when the certificate's key was derived.
static const uint8_t dice_tcb_info[] = {0x67, 0x81, 0x05, 0x05, 0x04, 0x01};

enum how { HEX, TEXT, VBIOS, LE_NUMBER, STATUS, MODE };

// Fields of the opaque data: type, length and value each.
enum { FIELD_VBIOS = 6, FIELD_DRIVER = 3, FIELD_FIRMWARE = 20, FIELDS = 37 };
static const struct { const char *name; enum how how; } fields[FIELDS] = {
	[1] = {"certificate_issuer", HEX}, [2] = {"certificate_authority_key", HEX}, [FIELD_DRIVER] = {"driver_version", TEXT}, [4] = {"gpu_info", HEX},
	[5] = {"sku", HEX}, [FIELD_VBIOS] = {"vbios_version", VBIOS}, [7] = {"manufacturer_id", HEX}, [8] = {"tamper_detection", HEX}, [9] = {"smc", HEX},
	[10] = {"vpr", HEX}, [11] = {"nvdec0_status", STATUS}, [12] = {"measurement_counts", HEX}, [13] = {"cpr_info", HEX},
	[14] = {"board_id", HEX}, [15] = {"chip_sku", TEXT}, [16] = {"chip_sku_mod", TEXT}, [17] = {"project", TEXT}, [18] = {"project_sku", TEXT},
	[19] = {"project_sku_mod", TEXT}, [FIELD_FIRMWARE] = {"fwid", HEX}, [21] = {"protected_pcie_status", STATUS}, [22] = {"switch_ids", HEX},
	[23] = {"disabled_ports", HEX}, [24] = {"position_id", HEX}, [25] = {"switch_lock_status", HEX}, [32] = {"gpu_links", HEX},
	[33] = {"system_enable_status", HEX}, [34] = {"opaque_data_version", LE_NUMBER}, [35] = {"chip_info", TEXT}, [36] = {"feature", MODE},
};

struct device {
	const struct gpu_trust *trust;
	const struct gpu_device *in;
	struct spdm_measurements m;
	const uint8_t *firmware;	// the answer's firmware id, 48 bytes; NULL: none
	X509 *chain[CHAIN_MAX];		// leaf first; borrowed
	unsigned int count;		// 0: no chain
	json_t *claims;
};

static void put_text(json_t *o, const char *name, const uint8_t *p, size_t n)
{
	char text[128];
	while (n && !p[n - 1])
		n--;
	n = n < sizeof text ? n : sizeof text - 1;
	for (size_t i = 0; i < n; i++)
		text[i] = p[i] >= ' ' && p[i] < 0x7f ? (char)p[i] : '?';
	text[n] = '\0';
	set_text(o, name, text);
}

// Eight bytes 00 9f 00 96 01 00 00 00 are the version 96.00.9f.00.01.
static void put_vbios(json_t *o, const char *name, const uint8_t *p, size_t n)
{
	char text[24];
	snprintf(text, sizeof text, "%02x.%02x.%02x.%02x.%02x", p[3], p[2], p[1], p[0], p[4]);
	if (n == 8)
		set_text(o, name, text);
}

static void put_field(json_t *o, unsigned int type, const uint8_t *p, size_t n)
{
	static const char *const modes[] = {"single-gpu", "multi-gpu", "protected-pcie"};
	const char *name = fields[type].name;
	switch (fields[type].how) {
	case TEXT:
		put_text(o, name, p, n);
		break;
	case VBIOS:
		if (n == 8)
			put_vbios(o, name, p, n);
		break;
	case LE_NUMBER:
		if (n == 2)
			set_number(o, name, load_le16(p));
		break;
	case STATUS:
		set_text(o, name, n == 1 && *p == 0xaa ? "enabled" : n == 1 && *p == 0x55 ? "disabled" : "unknown");
		break;
	case MODE:
		set_text(o, name, n == 2 && load_le16(p) < 3 ? modes[load_le16(p)] : "unknown");
		break;
	case HEX:
		set_hex(o, name, p, n);
		break;
	}
}

// Fields of types that are not known are passed over: newer firmware has more of them.
static int read_opaque(struct device *d, struct fault *f)
{
	struct cursor c = cursor_of(d->m.opaque, d->m.opaque_len);
	bool seen[FIELDS] = {false};
	while (c.left) {
		unsigned int type = cursor_le16(&c);
		size_t n = cursor_le16(&c);
		const uint8_t *p = cursor_take(&c, n);
		if (!p)
			return fault_set(f, -EINVAL, "the opaque data are malformed");
		if (type >= FIELDS || !fields[type].name)
			continue;
		if (seen[type])
			return fault_set(f, -EINVAL, "two fields %s", fields[type].name);
		if (type == FIELD_VBIOS && n != 8)
			return fault_set(f, -EINVAL, "a VBIOS version of %zu bytes", n);
		seen[type] = true;
		if (type == FIELD_FIRMWARE && n == FIRMWARE_BYTES)
			d->firmware = p;
		put_field(d->claims, type, p, n);
	}
	if (!seen[FIELD_DRIVER] || !seen[FIELD_VBIOS])
		return fault_set(f, -EINVAL, "no version of driver or VBIOS");
	return 0;
}

static bool check_format(struct device *d, struct attest_result *out)
{
	struct fault why = {""};
	char name[8];
	int err = spdm_parse(d->in->report, d->in->report_len, SPDM_P384_SIGNATURE, &d->m, &why);
	if (!err)
		err = read_opaque(d, &why);
	struct attest_check *c = attest_check_add(out, "gpu-format", !err);
	attest_expected(c, "SPDM 1.1 measurements with NVIDIA's fields");
	attest_found(c, "%s", err ? why.text : "they are");
	if (err)
		return false;
	json_t *all = set_object(d->claims, "measurements");
	for (unsigned int i = 0; i < d->m.count; i++) {
		snprintf(name, sizeof name, "%u", d->m.blocks[i].index);
		if (!all_bytes(d->m.blocks[i].value, d->m.blocks[i].len, 0))	// zeros: nothing was measured there
			set_hex(all, name, d->m.blocks[i].value, d->m.blocks[i].len);
	}
	c = attest_check_add(out, "gpu-trailing-bytes", !d->trust->strict || !d->m.trailing);
	attest_expected(c, d->trust->strict ? "none" : "any");
	attest_found(c, "%zu", d->m.trailing);
	return true;
}

static void check_chain(struct device *d, struct attest_result *out)
{
	static const struct cert_list none = {.count = 0};
	struct fault why = {""};
	int err = cert_order(d->in->certificates ? d->in->certificates : &none, d->chain, CHAIN_MAX, &d->count, &why);
	if (err)
		d->count = 0;
	struct attest_check *c = attest_check_add(out, "gpu-certificate-chain", !err);
	attest_expected(c, "certificates from the device's to a root");
	attest_found(c, "%s", err ? why.text : "valid signatures");
}

static bool among(X509 *root, X509 *const *list, unsigned int count)
{
	bool found = false;
	for (unsigned int i = 0; i < count; i++)
		found |= !X509_cmp(root, list[i]);
	return found;
}

static void check_root(struct device *d, struct attest_result *out)
{
	const struct gpu_trust *t = d->trust;
	char hex[65] = "";
	X509 *root = d->count ? d->chain[d->count - 1] : NULL;
	bool own = root && cert_digest(root, hex) && (!strcmp(hex, nvidia_root) || among(root, t->roots, t->root_count));
	bool simulated = root && !own && among(root, t->simulated_roots, t->simulated_root_count);
	struct attest_check *c = attest_check_add(out, "gpu-root", own || simulated);
	attest_expected(c, "NVIDIA's, or one that the verifier names");
	attest_found(c, "%s", own ? "it is" : simulated ? "a simulated one" : root ? hex : "none");
	set_bool(d->claims, "simulated", !own);
}

static void check_dates(struct device *d, struct attest_result *out)
{
	struct fault why = {""};
	int err = d->count ? 0 : fault_set(&why, -EBADMSG, "no chain");
	for (unsigned int i = 0; i < d->count && !err; i++)
		err = cert_dates(d->chain[i], d->trust->now, &why);
	struct attest_check *c = attest_check_add(out, "gpu-certificate-dates", !err);
	attest_expected(c, "all valid now");
	attest_found(c, "%s", err ? why.text : "they are");
}

// Every list that was given by an issuer of the chain must be current and name none of them; one at least must be.
static void check_revocation(struct device *d, struct attest_result *out)
{
	const struct cert_crls *l = d->trust->crls;
	struct fault why = {""};
	unsigned int used = 0;
	int err = 0;
	for (unsigned int i = 0; l && i < l->count; i++) {
		for (unsigned int k = 1; k < d->count && !err; k++) {
			if (X509_NAME_cmp(X509_CRL_get_issuer(l->crls[i]), X509_get_subject_name(d->chain[k])))
				continue;
			err = cert_crl_check(l->crls[i], d->chain[k], d->chain[k - 1], d->trust->now, &why);
			used++;
		}
	}
	if (!err && l && l->count && !used)
		err = fault_set(&why, -EBADMSG, "lists of other issuers");
	struct attest_check *c = attest_check_add(out, "gpu-revocation", !err);
	attest_expected(c, "current lists that name no certificate of the chain");
	attest_found(c, "%s", err ? why.text : "not revoked");
	if (!l || !l->count) {
		c->outcome = ATTEST_SKIPPED;
		attest_found(c, "no list was given");
	}
}

// The certificate's key was derived from the firmware that it names; the answer must come from the same.
static void check_firmware(struct device *d, struct attest_result *out)
{
	const ASN1_OCTET_STRING *x = d->count ? cert_extension(d->chain[0], dice_tcb_info, sizeof dice_tcb_info) : NULL;
	size_t n = x ? (size_t)ASN1_STRING_length(x) : 0;
	// The digest is the structure's last member, and the structure the extension's whole content.
	const uint8_t *digest = n > FIRMWARE_BYTES + 2 ? ASN1_STRING_get0_data(x) + n - FIRMWARE_BYTES : NULL;
	bool sound = digest && digest[-2] == 0x04 && digest[-1] == FIRMWARE_BYTES;
	bool same = sound && d->firmware && !memcmp(digest, d->firmware, FIRMWARE_BYTES);
	char a[2 * FIRMWARE_BYTES + 1] = "none", b[2 * FIRMWARE_BYTES + 1] = "none";
	struct attest_check *c = attest_check_add(out, "gpu-firmware", same);
	attest_expected(c, "%s", sound ? hex_encode(a, digest, FIRMWARE_BYTES) : "a certificate that names the firmware");
	attest_found(c, "%s", d->firmware ? hex_encode(b, d->firmware, FIRMWARE_BYTES) : b);
}

static void check_signature(struct device *d, struct attest_result *out)
{
	EVP_PKEY *key = d->count ? X509_get0_pubkey(d->chain[0]) : NULL;
	bool may = d->count && !cert_is_authority(d->chain[0]) && X509_get_key_usage(d->chain[0]) & KU_DIGITAL_SIGNATURE;
	bool ok = may && ecdsa_size(key) == SPDM_P384_SIGNATURE / 2 &&
		  ecdsa_ok(key, d->m.signature, SPDM_P384_SIGNATURE / 2, d->in->report, d->m.signed_len);
	struct attest_check *c = attest_check_add(out, "gpu-signature", ok);
	attest_expected(c, "ECDSA P-384 by the device's key over request and answer");
	attest_found(c, "%s", ok ? "valid" : !d->count ? "no certificate" : !may ? "a certificate that signs no measurements" : "a signature that does not match");
}

static void check_nonce(struct device *d, struct attest_result *out)
{
	char hex[2 * GPU_NONCE_BYTES + 1];
	const uint8_t *wanted = d->trust->nonce;
	struct attest_check *c = attest_check_add(out, "gpu-nonce", wanted && !CRYPTO_memcmp(wanted, d->m.nonce, GPU_NONCE_BYTES));
	attest_found(c, "%s", hex_encode(hex, d->m.nonce, GPU_NONCE_BYTES));
	if (wanted) {
		attest_expected(c, "%s", hex_encode(hex, wanted, GPU_NONCE_BYTES));
	} else {
		c->outcome = ATTEST_SKIPPED;
		attest_found(c, "no expected value was given");
	}
}

static void put_names(struct device *d)
{
	char name[128], serial[2 * 32 + 1];
	if (!d->count)
		return;
	set_text(d->claims, "hwmodel", cert_subject(d->chain[0], name, sizeof name));
	// The key that lives as long as the chip is its issuer's: the device's own changes with the firmware.
	if (d->count > 1 && cert_key_digest(d->chain[1], serial))
		set_text(d->claims, "device_key", serial);
}

// One device's checks into the common list: a failure counts before a check that was not made, and that before one that holds.
static void merge(struct attest_result *all, const struct attest_result *one, const char *which)
{
	static const int rank[] = {[ATTEST_PASSED] = 0, [ATTEST_SKIPPED] = 1, [ATTEST_FAILED] = 2};
	for (unsigned int i = 0; i < one->count; i++) {
		const struct attest_check *from = &one->checks[i];
		struct attest_check *to = NULL;
		for (unsigned int k = 0; k < all->count && !to; k++) {
			if (!strcmp(all->checks[k].id, from->id))
				to = &all->checks[k];
		}
		bool fresh = !to;
		if (fresh)
			to = attest_check_add(all, from->id, true);
		if (!fresh && rank[from->outcome] <= rank[to->outcome])
			continue;
		to->outcome = from->outcome;
		attest_expected(to, "%s", from->expected);
		attest_found(to, "%s%.200s", which, from->found);
	}
}

static void verify_one(const struct gpu_trust *t, const struct gpu_device *in, unsigned int number, bool several, json_t *list, struct attest_result *out)
{
	struct attest_result *own = calloc(1, sizeof *own);
	struct device *d = calloc(1, sizeof *d);
	char which[80] = "";
	if (!own || !d || attest_result_init(own)) {
		attest_found(attest_check_add(out, "gpu-format", false), "memory is short");
		goto out;
	}
	d->trust = t;
	d->in = in;
	d->claims = json_object();
	set_text(d->claims, "uuid", in->uuid);
	if (check_format(d, own)) {
		check_chain(d, own);
		check_root(d, own);
		check_dates(d, own);
		check_revocation(d, own);
		check_firmware(d, own);
		check_signature(d, own);
		check_nonce(d, own);
		put_names(d);
	} else {
		set_bool(d->claims, "simulated", true);
	}
	if (several)
		snprintf(which, sizeof which, "device %u (%.40s): ", number + 1, in->uuid);
	merge(out, own, which);
	json_array_append(list, d->claims);
out:
	if (d)
		json_decref(d->claims);
	free(d);
	if (own)
		attest_result_free(own);
	free(own);
}

// One device that is listed twice is one.
static void check_distinct(const struct gpu_device *devices, unsigned int count, struct attest_result *out)
{
	unsigned int first = 0, again = 0;
	for (unsigned int i = 1; i < count && !again; i++) {
		for (unsigned int k = 0; k < i && !again; k++) {
			const struct cert_list *a = devices[i].certificates, *b = devices[k].certificates;
			if (a && b && a->count && b->count && EVP_PKEY_eq(X509_get0_pubkey(a->certs[0]), X509_get0_pubkey(b->certs[0])) == 1) {
				first = k;
				again = i;
			}
		}
	}
	struct attest_check *c = attest_check_add(out, "gpu-distinct", !again);
	attest_expected(c, "a key of its own for each device");
	if (again)
		attest_found(c, "devices %u and %u are one", first + 1, again + 1);
	else
		attest_found(c, "they have");
}

void gpu_verify(const struct gpu_trust *t, const struct gpu_device *devices, unsigned int count, struct attest_result *out)
{
	json_t *list = json_array();
	json_object_set_new(out->claims, "gpu", list);
	for (unsigned int i = 0; i < count; i++)
		verify_one(t, &devices[i], i, count > 1, list, out);
	if (count > 1)
		check_distinct(devices, count, out);
	set_number(out->claims, "gpu_count", json_array_size(list));
}

// Text in base64, or hex as older clients wrote it; malloc'ed. NULL when it is neither.
static uint8_t *bytes_of(const json_t *v, size_t max, size_t *len)
{
	const char *text = json_string_value(v);
	size_t n = json_string_length(v);
	uint8_t *out = n && n <= 2 * max && strlen(text) == n ? malloc(n) : NULL;
	ssize_t got = -1;
	if (!out)
		return NULL;
	if (n % 2 == 0 && !hex_decode(out, n / 2, text))
		got = (ssize_t)(n / 2);
	else
		got = base64_decode(out, n, text, n, BASE64_STD);
	*len = got > 0 ? (size_t)got : 0;
	if (got > 0)
		return out;
	free(out);
	return NULL;
}

static const char *read_device(const json_t *o, struct gpu_device *d, struct shared_entry **certs)
{
	size_t len;
	const char *uuid = json_string_value(json_object_get(o, "uuid"));
	uint8_t *pem = bytes_of(json_object_get(o, "certificate"), 64 << 10, &len);
	*certs = pem ? cert_list_shared(pem, len) : NULL;
	free(pem);
	d->certificates = *certs ? shared_object(*certs) : NULL;
	d->uuid = uuid ? uuid : "";
	d->report = bytes_of(json_object_get(o, "evidence"), SPDM_MAX_BYTES, &d->report_len);
	return !d->report ? "evidence is neither base64 nor hexadecimal" : !*certs ? "certificate holds no certificates (base64 of PEM)" : NULL;
}

void gpu_verify_json(const struct gpu_trust *t, const json_t *evidence, struct attest_result *out)
{
	const json_t *list = json_object_get(evidence, "device_evidence_list");
	struct gpu_device devices[GPU_MAX_DEVICES] = {0};
	struct shared_entry *certs[GPU_MAX_DEVICES] = {NULL};
	size_t n = json_array_size(list);
	const char *why = !n ? "no device_evidence_list" : n > GPU_MAX_DEVICES ? "more devices than a machine has" : NULL;
	for (size_t i = 0; i < n && !why; i++)
		why = read_device(json_array_get(list, i), &devices[i], &certs[i]);
	if (why) {
		struct attest_check *c = attest_check_add(out, "gpu-format", false);
		attest_expected(c, "evidence of 1 to %d devices", GPU_MAX_DEVICES);
		attest_found(c, "%s", why);
	} else {
		gpu_verify(t, devices, (unsigned int)n, out);
	}
	for (size_t i = 0; i < GPU_MAX_DEVICES; i++) {
		free((uint8_t *)devices[i].report);
		shared_release(certs[i]);
	}
}
