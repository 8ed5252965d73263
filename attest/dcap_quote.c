// SPDX-License-Identifier: Apache-2.0
// The bytes of an SGX or TDX quote. See dcap_quote.h. Pure; the fuzz target fuzz_dcap drives it.
#include "attest/dcap_quote.h"

#include <errno.h>
#include <string.h>

#include "attest/bytes.h"

static const uint8_t intel_qe_vendor[16] = {0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9,
					    0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07};

// `b` has SGX_REPORT_BYTES.
static void read_sgx_report(const uint8_t *b, struct sgx_report *r)
{
	memcpy(r->cpu_svn, b, 16);
	r->misc_select = load_le32(b + 16);
	memcpy(r->isv_ext_prod_id, b + 32, 16);
	memcpy(r->attributes, b + 48, 16);
	memcpy(r->mrenclave, b + 64, 32);
	memcpy(r->mrsigner, b + 128, 32);
	memcpy(r->config_id, b + 192, 64);
	r->isv_prod_id = load_le16(b + 256);
	r->isv_svn = load_le16(b + 258);
	r->config_svn = load_le16(b + 260);
	memcpy(r->isv_family_id, b + 304, 16);
	memcpy(r->report_data, b + 320, 64);
}

// `b` has TD_REPORT_BYTES, or TD15_REPORT_BYTES when is_15.
static void read_td_report(const uint8_t *b, bool is_15, struct td_report *r)
{
	memcpy(r->tee_tcb_svn, b, 16);
	memcpy(r->mr_seam, b + 16, 48);
	memcpy(r->mrsigner_seam, b + 64, 48);
	r->seam_attributes = load_le64(b + 112);
	r->td_attributes = load_le64(b + 120);
	r->xfam = load_le64(b + 128);
	memcpy(r->mr_td, b + 136, 48);
	memcpy(r->mr_config_id, b + 184, 48);
	memcpy(r->mr_owner, b + 232, 48);
	memcpy(r->mr_owner_config, b + 280, 48);
	memcpy(r->rtmr, b + 328, sizeof r->rtmr);
	memcpy(r->report_data, b + 520, 64);
	r->is_15 = is_15;
	if (is_15) {
		memcpy(r->tee_tcb_svn2, b + 584, 16);
		memcpy(r->mr_servicetd, b + 600, 48);
	}
}

static int read_header(struct cursor *c, struct dcap_quote *q, struct fault *f)
{
	q->version = cursor_le16(c);
	q->ak_type = cursor_le16(c);
	q->tee_type = cursor_le32(c);
	q->qe_svn = cursor_le16(c);
	q->pce_svn = cursor_le16(c);
	const uint8_t *vendor = cursor_take(c, 16), *user = cursor_take(c, 20);
	if (c->short_of)
		return fault_set(f, -EINVAL, "shorter than a quote's header");
	if (q->version < 3 || q->version > 5)
		return fault_set(f, -EPROTONOSUPPORT, "quote version %u", q->version);
	if (q->version > 3)
		q->qe_svn = q->pce_svn = 0;
	else
		q->tee_type = 0;	// reserved there
	if (q->tee_type != 0 && q->tee_type != 0x81)
		return fault_set(f, -EPROTONOSUPPORT, "TEE type 0x%x", q->tee_type);
	if (q->ak_type != 2)
		return fault_set(f, -EPROTONOSUPPORT, "attestation key type %u (2 is ECDSA P-256)", q->ak_type);
	if (memcmp(vendor, intel_qe_vendor, 16))
		return fault_set(f, -EPROTONOSUPPORT, "a quoting enclave that is not Intel's");
	memcpy(q->qe_vendor_id, vendor, 16);
	memcpy(q->user_data, user, 20);
	return 0;
}

static int read_body(struct cursor *c, struct dcap_quote *q, struct fault *f)
{
	size_t size = q->tee_type ? TD_REPORT_BYTES : SGX_REPORT_BYTES;
	uint16_t type = q->tee_type ? 2 : 1;

	if (q->version == 5) {
		static const size_t sizes[] = {0, SGX_REPORT_BYTES, TD_REPORT_BYTES, TD15_REPORT_BYTES};
		type = cursor_le16(c);
		uint32_t stated = cursor_le32(c);
		if (c->short_of)
			return fault_set(f, -EINVAL, "cut short before the body");
		if (type < 1 || type > 3)
			return fault_set(f, -EPROTONOSUPPORT, "body type %u", type);
		size = sizes[type];
		if (stated != size)
			return fault_set(f, -EINVAL, "a body of type %u has %zu bytes, not %u", type, size, stated);
		if ((type == 1) != (q->tee_type == 0))
			return fault_set(f, -EINVAL, "body type %u for TEE type 0x%x", type, q->tee_type);
	}
	const uint8_t *body = cursor_take(c, size);
	if (!body)
		return fault_set(f, -EINVAL, "cut short in the body");
	q->is_tdx = type != 1;
	if (q->is_tdx)
		read_td_report(body, type == 3, &q->td);
	else
		read_sgx_report(body, &q->sgx);
	q->report_data = body + (q->is_tdx ? 520 : 320);
	return 0;
}

// QE report, its signature, authentication data, then certification data; version 4 and later wrap the first three.
static int read_certification(struct cursor *c, struct dcap_quote *q, struct fault *f)
{
	struct cursor inner = *c;
	if (q->version > 3) {
		uint16_t type = cursor_le16(c);
		uint32_t len = cursor_le32(c);
		inner = cursor_part(c, len);
		if (inner.short_of)
			return fault_set(f, -EINVAL, "cut short in the certification data");
		if (type != DCAP_CERT_QE_REPORT)
			return fault_set(f, -EINVAL, "certification data of type %u where a QE report (6) must be", type);
		if (c->left)
			return fault_set(f, -EINVAL, "%zu bytes behind the certification data", c->left);
	}
	q->qe_report_bytes = cursor_take(&inner, SGX_REPORT_BYTES);
	q->qe_signature = cursor_take(&inner, 64);
	q->qe_auth_len = cursor_le16(&inner);
	q->qe_auth = cursor_take(&inner, q->qe_auth_len);
	q->cert_type = cursor_le16(&inner);
	uint32_t len = cursor_le32(&inner);
	q->cert_data = cursor_take(&inner, len);
	q->cert_len = len;
	if (inner.short_of)
		return fault_set(f, -EINVAL, "cut short in the quoting enclave's part");
	if (inner.left)
		return fault_set(f, -EINVAL, "%zu bytes behind the PCK certificates", inner.left);
	read_sgx_report(q->qe_report_bytes, &q->qe);
	return 0;
}

int dcap_quote_parse(const uint8_t *bytes, size_t len, struct dcap_quote *q, struct fault *f)
{
	struct cursor c = cursor_of(bytes, len);
	memset(q, 0, sizeof *q);
	if (len > DCAP_MAX_BYTES)
		return fault_set(f, -EINVAL, "%zu bytes are more than a quote may have", len);
	int err = read_header(&c, q, f);
	if (!err)
		err = read_body(&c, q, f);
	if (err)
		return err;
	q->signed_bytes = bytes;
	q->signed_len = (size_t)(c.p - bytes);
	struct cursor sig = cursor_part(&c, cursor_le32(&c));
	q->signature = cursor_take(&sig, 64);
	q->ak = cursor_take(&sig, 64);
	if (sig.short_of)
		return fault_set(f, -EINVAL, "cut short in the signature data");
	err = read_certification(&sig, q, f);
	if (err)
		return err;
	q->trailing = c.left;
	q->used = len - c.left;
	return 0;
}
