// SPDX-License-Identifier: Apache-2.0
// AMD SEV-SNP attestation reports: parser, certificate chain, verification, claims.
// Format and order of checks: "SEV Secure Nested Paging Firmware ABI Specification" (AMD 56860) section 7.3,
// "VCEK Certificate and KDS Interface Specification" (AMD 57230). No network, no clock of its own, no locks.
#ifndef COFFER_ATTEST_SNP_H
#define COFFER_ATTEST_SNP_H

#include <openssl/x509.h>
#include <stdint.h>
#include <time.h>

#include "attest/result.h"
#include "lib/fault.h"

#define SNP_REPORT_BYTES 1184
#define SNP_SIGNED_BYTES 0x2a0
#define SNP_MEASUREMENT_BYTES 48
#define SNP_REPORT_DATA_BYTES 64
#define SNP_CHIP_ID_BYTES 64

#define SNP_POLICY_SMT (1ull << 16)
#define SNP_POLICY_RESERVED_ONE (1ull << 17)
#define SNP_POLICY_MIGRATE_MA (1ull << 18)
#define SNP_POLICY_DEBUG (1ull << 19)
#define SNP_POLICY_SINGLE_SOCKET (1ull << 20)
#define SNP_POLICY_CXL (1ull << 21)
#define SNP_POLICY_AES_256_XTS (1ull << 22)
#define SNP_POLICY_RAPL_DISABLED (1ull << 23)
#define SNP_POLICY_CIPHERTEXT_HIDING (1ull << 24)
#define SNP_POLICY_PAGE_SWAP_DISABLED (1ull << 25)

enum snp_signing_key { SNP_KEY_VCEK = 0, SNP_KEY_VLEK = 1, SNP_KEY_NONE = 7 };

// A parsed report, in host byte order. Reserved fields are not kept.
struct snp_report {
	uint32_t version, guest_svn;
	uint64_t policy;
	uint8_t family_id[16], image_id[16];
	uint32_t vmpl, signature_algo;
	uint64_t current_tcb, platform_info;
	uint32_t key_info;
	uint8_t report_data[64], measurement[48], host_data[32];
	uint8_t id_key_digest[48], author_key_digest[48], report_id[32], report_id_ma[32];
	uint64_t reported_tcb;
	uint8_t cpu_family, cpu_model, cpu_stepping;	// version 3 and later, else 0
	uint8_t chip_id[64];
	uint64_t committed_tcb;
	uint8_t current_build, current_minor, current_major, committed_build, committed_minor, committed_major;
	uint64_t launch_tcb;
	uint64_t launch_mitigations, current_mitigations;	// version 5 and later, else 0
	uint8_t signature_r[72], signature_s[72];	// little-endian
};

// Reads exactly SNP_REPORT_BYTES untrusted bytes; trust nothing in *r but the layout. -EINVAL: wrong length or a
// version that is not known.
int snp_parse(const uint8_t *bytes, size_t len, struct snp_report *r, struct fault *f);

// The product that the report's CPU is, "" where it does not say (version 2) or the model is not known.
const char *snp_product(const struct snp_report *r);

// Untrusted certificates that come with the evidence; the first is the one that signs reports.
#define SNP_MAX_CERTS 6
struct snp_links;
struct snp_chain {
	X509 *certs[SNP_MAX_CERTS];
	unsigned int count;
	struct snp_links *links;	// where they are kept (snp_chain_keep_links), else NULL
};

// Append certificates: PEM text with one or more, or one in DER. -EINVAL, -E2BIG.
int snp_chain_add_pem(struct snp_chain *c, const char *pem, size_t len, struct fault *f);
int snp_chain_add_der(struct snp_chain *c, const uint8_t *der, size_t len, struct fault *f);
void snp_chain_free(struct snp_chain *c);
// For a chain that is looked at again and again, and not changed any more: who signed what is found out here, once. What is not good
// is not kept.
void snp_chain_keep_links(struct snp_chain *c);

// Appends the certificates of an extended report's table (GUID, offset, length; ended by zeros): the signing one first. A table without
// VCEK and VLEK, or whose entries do not lie in it, is -EINVAL.
int snp_chain_add_table(struct snp_chain *c, const uint8_t *table, size_t len, struct fault *f);

// Such a table of a chain (VCEK or VLEK first, then ASK and ARK); out NULL: only its length. -EINVAL: no such chain.
int snp_table_make(const struct snp_chain *c, uint8_t *out, size_t *len);

struct snp_input {
	const uint8_t *report;
	size_t report_len;
	const struct snp_chain *chain;
	const uint8_t *report_data;	// the 64 bytes that must be bound; NULL: not checked (and said so)
	X509 *const *simulated_roots;	// test roots that make the claim tee = "simulated"; AMD's are built in
	unsigned int simulated_root_count;
	X509_CRL *crl;			// the root's revocation list; NULL: revocation is not checked (and said so)
	bool crl_unreadable;		// one was given that is none: the check fails
	time_t now;
};

// Makes every check that can be made and fills claims, also when some fail. tee is "snp" only under one of AMD's
// roots, "simulated" only under one of simulated_roots, else "unknown". `out` is initialised by the caller.
void snp_verify(const struct snp_input *in, struct attest_result *out);

#endif
