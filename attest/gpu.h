// SPDX-License-Identifier: Apache-2.0
// Verification of NVIDIA GPUs with confidential computing (Hopper, Blackwell): signed SPDM measurements, the device's certificate chain under
// NVIDIA's root, driver, VBIOS and firmware. What the measurements should be is the business of reference values ("gpu.measurements.2").
// A GPU's nonce binds its evidence to a session; which CPU it is attached to, its evidence does not say. No network, no clock, no locks.
#ifndef COFFER_ATTEST_GPU_H
#define COFFER_ATTEST_GPU_H

#include <openssl/x509.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "attest/cert.h"
#include "attest/result.h"

#define GPU_MAX_DEVICES 16
#define GPU_NONCE_BYTES 32

// Whom a verifier believes, and when.
struct gpu_trust {
	X509 *const *roots;		// beside NVIDIA's own, which is known by its digest
	unsigned int root_count;
	X509 *const *simulated_roots;	// a GPU under one of these is `simulated`
	unsigned int simulated_root_count;
	const struct cert_crls *crls;	// NULL: none; the check "gpu-revocation" is skipped
	const uint8_t *nonce;		// 32 bytes; NULL: not checked (and said so)
	bool strict;
	time_t now;
};

struct gpu_device {
	const uint8_t *report;		// request and answer
	size_t report_len;
	const struct cert_list *certificates;	// the device's first
	const char *uuid;		// what the sender calls it, for messages and claims; "" or text
};

// Makes every check that can be made of every device and appends to the claims' list `gpu` an object each. A check of several devices holds when
// it holds for all; else it shows the first device that fails. At least one device.
void gpu_verify(const struct gpu_trust *t, const struct gpu_device *devices, unsigned int count, struct attest_result *out);

// The devices' evidence as clients of the KBS protocol send it: {"device_evidence_list": [{"arch", "uuid", "evidence", "certificate"}]}, verified
// as above. What is malformed fails the check "gpu-format". The nonce there is the digest of nonce and key without additional evidence
// (attest_report_data with `additional` NULL), cut to 32 bytes.
void gpu_verify_json(const struct gpu_trust *t, const json_t *evidence, struct attest_result *out);

#endif
