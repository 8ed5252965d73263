// SPDX-License-Identifier: Apache-2.0
// What a quote says, as claims. See dcap.h. Pure.
#include "attest/bytes.h"
#include "attest/dcap.h"
#include "attest/json.h"

static void sgx_claims(const struct sgx_report *r, json_t *out)
{
	uint64_t flags = load_le64(r->attributes);
	bool debug = flags & SGX_FLAG_DEBUG;
	set_text(out, "dbgstat", debug ? "enabled" : "disabled-since-boot");
	set_hex(out, "measurement", r->mrenclave, 32);
	set_hex(out, "report_data", r->report_data, 64);
	json_t *s = set_object(out, "sgx");
	set_hex(s, "mr_enclave", r->mrenclave, 32);
	set_hex(s, "mr_signer", r->mrsigner, 32);
	set_number(s, "isv_prod_id", r->isv_prod_id);
	set_number(s, "isv_svn", r->isv_svn);
	set_number(s, "config_svn", r->config_svn);
	set_hex(s, "config_id", r->config_id, 64);
	set_hex(s, "isv_ext_prod_id", r->isv_ext_prod_id, 16);
	set_hex(s, "isv_family_id", r->isv_family_id, 16);
	set_hex(s, "cpu_svn", r->cpu_svn, 16);
	set_number(s, "misc_select", r->misc_select);
	set_hex(s, "attributes_flags", r->attributes, 8);
	set_hex(s, "attributes_xfrm", r->attributes + 8, 8);
	set_bool(s, "debug", debug);
	set_bool(s, "initialised", flags & SGX_FLAG_INIT);
}

static void tdx_claims(const struct td_report *r, json_t *out)
{
	bool debug = r->td_attributes & TD_ATTR_TUD;
	char name[8] = "rtmr_0";
	set_text(out, "dbgstat", debug ? "enabled" : "disabled-since-boot");
	set_hex(out, "measurement", r->mr_td, 48);
	set_hex(out, "report_data", r->report_data, 64);
	json_t *t = set_object(out, "tdx");
	set_hex(t, "mr_td", r->mr_td, 48);
	for (int i = 0; i < 4; i++) {
		name[5] = (char)('0' + i);
		set_hex(t, name, r->rtmr[i], 48);
	}
	set_hex(t, "mr_config_id", r->mr_config_id, 48);
	set_hex(t, "mr_owner", r->mr_owner, 48);
	set_hex(t, "mr_owner_config", r->mr_owner_config, 48);
	set_hex(t, "mr_seam", r->mr_seam, 48);
	set_hex(t, "mrsigner_seam", r->mrsigner_seam, 48);
	set_hex(t, "seam_attributes", &r->seam_attributes, 8);
	set_hex(t, "td_attributes", &r->td_attributes, 8);
	set_hex(t, "xfam", &r->xfam, 8);
	set_hex(t, "tcb_svn", r->tee_tcb_svn, 16);
	set_bool(t, "debug", debug);
	set_bool(t, "sept_ve_disable", r->td_attributes & TD_ATTR_SEPT_VE_DISABLE);
	set_bool(t, "migratable", r->td_attributes & TD_ATTR_MIGRATABLE);
	set_bool(t, "protection_keys", r->td_attributes & TD_ATTR_PKS);
	set_bool(t, "key_locker", r->td_attributes & TD_ATTR_KL);
	set_bool(t, "perfmon", r->td_attributes & TD_ATTR_PERFMON);
	set_bool(t, "reserved_attributes", r->td_attributes & ~TD_ATTR_KNOWN);
	if (r->is_15) {
		set_hex(t, "tcb_svn2", r->tee_tcb_svn2, 16);
		set_hex(t, "mr_servicetd", r->mr_servicetd, 48);
	}
}

void dcap_claims(const struct dcap_quote *q, json_t *out)
{
	if (q->is_tdx)
		tdx_claims(&q->td, out);
	else
		sgx_claims(&q->sgx, out);
	json_t *o = set_object(out, "quote");
	set_number(o, "version", q->version);
	set_text(o, "body", !q->is_tdx ? "sgx" : q->td.is_15 ? "td-1.5" : "td-1.0");
	set_hex(o, "user_data", q->user_data, sizeof q->user_data);
	set_hex(o, "qe_mrsigner", q->qe.mrsigner, 32);
	set_hex(o, "qe_mrenclave", q->qe.mrenclave, 32);
	set_number(o, "qe_isv_svn", q->qe.isv_svn);
	set_number(o, "certification_data", q->cert_type);
	set_number(o, "trailing_bytes", (json_int_t)q->trailing);
}
