// SPDX-License-Identifier: Apache-2.0
// Makes SEV-SNP reports, versions 2 to 5, of Milan, Genoa and Turin, signed by a VCEK or VLEK under a test root. For tests only.
#ifndef COFFER_TESTS_ATTEST_MAKE_SNP_H
#define COFFER_TESTS_ATTEST_MAKE_SNP_H

#include "attest/snp.h"
#include "tests/attest/make/pki.h"

#define SNP_MADE_NOW 1767225600	// 2026-01-01

struct snp_spec {
	int version, family, model;	// family 0: zeros, as in version 2
	const char *product;		// in the certificate
	bool turin, vlek, masked, wrapped_hwid;
	uint8_t tcb[5];			// fmc, bootloader, tee, snp, microcode: in the certificate, and in the report but for what is below
	int reported_snp, committed_snp, launch_snp;	// the part `snp` of those, 0: as in `tcb`
	int key_kind;			// -1: as the certificate is
	bool revoked;			// the signing certificate's issuer
	time_t crl_to;
	uint64_t policy;
	const uint8_t *bound;		// report data; NULL: 64 bytes 0xda
	const uint8_t *host_data;	// 32 bytes; NULL: zeros
};

extern const struct snp_spec snp_milan, snp_genoa, snp_turin;

struct snp_made {
	uint8_t report[SNP_REPORT_BYTES];
	struct snp_chain chain;
	X509_CRL *crl;
	uint8_t table[8192];		// the same certificates as an extended report has them
	size_t table_len;
};

X509 *snp_made_root(void);
void snp_make(const struct snp_spec *s, struct snp_made *m);
void snp_made_free(struct snp_made *m);

#endif
