// SPDX-License-Identifier: Apache-2.0
// Makes the SPDM measurements of an NVIDIA GPU, and its certificates under a test root. For tests only.
#ifndef COFFER_TESTS_ATTEST_MAKE_GPU_H
#define COFFER_TESTS_ATTEST_MAKE_GPU_H

#include "attest/cert.h"
#include "tests/attest/make/pki.h"

#define GPU_MADE_NOW 1767225600	// 2026-01-01

struct gpu_spec {
	uint8_t version, request, answer;	// 0x11, 0xe0, 0x60
	uint8_t wanted;				// 0xff: all measurements
	uint8_t specification;			// 1: DMTF's
	unsigned int blocks;			// of 48 bytes each
	int twice;				// index of a second block 1; 0: none
	const uint8_t *nonce;			// 32 bytes; NULL: 32 bytes 0x5a
	const char *driver;			// NULL: left out
	bool no_vbios, driver_twice, unknown_field, other_firmware, no_firmware, leaf_is_ca, unsigned_opaque_tail;
	bool revoked;				// the device's certificate, by its issuer
	time_t leaf_to;
	unsigned int trailing;
};

extern const struct gpu_spec gpu_good;

struct gpu_made {
	uint8_t report[8192];
	size_t len;
	struct cert_list certs;
	struct cert_crls crls;
	char *pem;
};

X509 *gpu_made_root(void);
void gpu_make(const struct gpu_spec *s, struct gpu_made *m);
void gpu_made_free(struct gpu_made *m);

// The evidence list that clients of the KBS protocol send; free() by the caller.
char *gpu_made_json(const struct gpu_made *const *devices, unsigned int count);

#endif
