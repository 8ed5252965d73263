// SPDX-License-Identifier: Apache-2.0
// Intel's ECDSA quotes: SGX (version 3, and 4 or 5 with an SGX body) and TDX (version 4, version 5 with a TD report 1.0 or 1.5).
// Layout: "Intel SGX ECDSA QuoteGenReference" and "Intel TDX DCAP Quoting Library API", appendices on the quote format.
// A parsed quote points into the bytes it came from and trusts nothing in them. Pure; no locks.
#ifndef COFFER_ATTEST_DCAP_QUOTE_H
#define COFFER_ATTEST_DCAP_QUOTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/fault.h"

#define DCAP_MAX_BYTES (64 << 10)
#define DCAP_REPORT_DATA_BYTES 64
#define SGX_REPORT_BYTES 384
#define TD_REPORT_BYTES 584
#define TD15_REPORT_BYTES 648

#define SGX_FLAG_INIT (1ull << 0)
#define SGX_FLAG_DEBUG (1ull << 1)
// Any of the low eight bits lets the host look into the TD.
#define TD_ATTR_TUD 0xffull
#define TD_ATTR_LASS (1ull << 27)
#define TD_ATTR_SEPT_VE_DISABLE (1ull << 28)
#define TD_ATTR_MIGRATABLE (1ull << 29)
#define TD_ATTR_PKS (1ull << 30)
#define TD_ATTR_KL (1ull << 31)
#define TD_ATTR_PERFMON (1ull << 63)
#define TD_ATTR_KNOWN \
	(TD_ATTR_TUD | TD_ATTR_LASS | TD_ATTR_SEPT_VE_DISABLE | TD_ATTR_MIGRATABLE | TD_ATTR_PKS | TD_ATTR_KL | TD_ATTR_PERFMON)

// What an SGX enclave's report says (the quoted enclave's, and the quoting enclave's own).
struct sgx_report {
	uint8_t cpu_svn[16];
	uint32_t misc_select;
	uint8_t isv_ext_prod_id[16], attributes[16];	// flags 8, xfrm 8
	uint8_t mrenclave[32], mrsigner[32], config_id[64];
	uint16_t isv_prod_id, isv_svn, config_svn;
	uint8_t isv_family_id[16], report_data[64];
};

// What a TD's report says.
struct td_report {
	uint8_t tee_tcb_svn[16], mr_seam[48], mrsigner_seam[48];
	uint64_t seam_attributes, td_attributes, xfam;
	uint8_t mr_td[48], mr_config_id[48], mr_owner[48], mr_owner_config[48], rtmr[4][48], report_data[64];
	bool is_15;
	uint8_t tee_tcb_svn2[16], mr_servicetd[48];	// TD 1.5 only
};

// Certification data: how the platform's key (PCK) is named.
enum dcap_cert_type { DCAP_CERT_PPID = 1, DCAP_CERT_PPID_RSA2048 = 2, DCAP_CERT_PPID_RSA3072 = 3, DCAP_CERT_PCK_CHAIN = 5, DCAP_CERT_QE_REPORT = 6 };

struct dcap_quote {
	uint16_t version, ak_type;
	uint32_t tee_type;
	bool is_tdx;
	uint16_t qe_svn, pce_svn;	// version 3; else 0
	uint8_t qe_vendor_id[16], user_data[20];
	struct sgx_report sgx;		// !is_tdx
	struct td_report td;		// is_tdx
	const uint8_t *report_data;	// 64 bytes, of whichever body
	const uint8_t *signed_bytes;	// header and body
	size_t signed_len;
	const uint8_t *signature, *ak;	// 64 bytes each: r then s, x then y
	const uint8_t *qe_report_bytes, *qe_signature, *qe_auth;
	struct sgx_report qe;
	uint16_t qe_auth_len;
	uint16_t cert_type;
	const uint8_t *cert_data;
	size_t cert_len;
	size_t used, trailing;		// bytes that belong to the quote, and behind it (not signed)
};

// Reads an untrusted quote. -EINVAL (and which field) when it is malformed, -EPROTONOSUPPORT for a version, key type or TEE type
// that is well-formed but not known.
int dcap_quote_parse(const uint8_t *bytes, size_t len, struct dcap_quote *q, struct fault *f);

#endif
