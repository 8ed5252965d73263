// SPDX-License-Identifier: Apache-2.0
// Hygon CSV: attestation reports of versions 1 and 2, signed with SM2 over SM3, and Hygon's own certificates (not X.509). Layout: Hygon's
// CSV attestation documents and its kernel's uapi. No network, no clock of its own, no locks; the certificates carry no dates and Hygon
// publishes no revocation lists.
#ifndef COFFER_ATTEST_CSV_H
#define COFFER_ATTEST_CSV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attest/result.h"
#include "lib/fault.h"

#define CSV_ROOT_BYTES 832	// HRK, HSK
#define CSV_CERT_BYTES 2084	// CEK, PEK
#define CSV_V1_BYTES 2548
#define CSV_V2_BYTES 3380
#define CSV_MAX_BYTES 65536

enum csv_usage { CSV_USAGE_HRK = 0, CSV_USAGE_HSK = 0x13, CSV_USAGE_OCA = 0x1001, CSV_USAGE_PEK = 0x1002, CSV_USAGE_CEK = 0x1004 };

#define CSV_POLICY_NODBG (1u << 0)
#define CSV_POLICY_NOKS (1u << 1)
#define CSV_POLICY_ES (1u << 2)
#define CSV_POLICY_NOSEND (1u << 3)
#define CSV_POLICY_CSV3 (1u << 6)

struct csv_key {
	uint32_t curve;			// 3 is SM2
	uint8_t xy[64];			// big-endian
	uint8_t id[254];		// the identity that SM2 binds
	size_t id_len;
};

struct csv_cert {
	uint32_t usage;
	struct csv_key key;
	const uint8_t *body;		// what is signed
	size_t body_len;
	struct {
		uint32_t usage;		// the signer's; HRK and HSK have one signature, without
		uint8_t rs[64];		// big-endian
	} signatures[2];
};

// Read one certificate of CSV_ROOT_BYTES (root kind) or CSV_CERT_BYTES. -EINVAL.
int csv_root_read(const uint8_t *bytes, size_t len, struct csv_cert *c, struct fault *f);
int csv_cert_read(const uint8_t *bytes, size_t len, struct csv_cert *c, struct fault *f);

struct csv_report {
	int version;
	uint8_t pubkey_digest[32], vm_id[16], vm_version[16], report_data[64], nonce[16], measure[32];
	uint32_t policy, sig_usage, sig_algo;
	uint32_t build;				// version 2
	uint16_t rtmr_version;
	uint8_t rtmr[5][32];
	const uint8_t *signed_bytes;
	size_t signed_len;
	uint8_t rs[64];
	uint8_t pek[CSV_CERT_BYTES], serial[65];	// unmasked; the serial ends with a NUL
	bool mac_ok;
	size_t trailing;
};

// Reads an untrusted report; which version it is follows from its HMAC. Zeros may follow. -EINVAL and why.
int csv_parse(const uint8_t *bytes, size_t len, struct csv_report *r, struct fault *f);

// SM2 with SM3 over a message.
bool csv_sm2_ok(const struct csv_key *key, const uint8_t rs[64], const uint8_t *message, size_t len);

struct csv_input {
	const uint8_t *report;
	size_t report_len;
	const uint8_t *hsk_cek;		// HSK then CEK as Hygon hands them out (2916 bytes); NULL: none
	size_t hsk_cek_len;
	const uint8_t *hrk;		// Hygon's root (832 bytes), known by its digest, or a test root
	size_t hrk_len;
	const uint8_t *simulated_hrk;	// the test root that makes the claim tee = "simulated" (832 bytes); NULL: none
	const uint8_t *report_data;	// 64 bytes; NULL: not checked (and said so)
	bool strict;
};

// Makes every check that can be made and fills claims under `csv`. tee is "csv" only under Hygon's root.
void csv_verify(const struct csv_input *in, struct attest_result *out);

#endif
