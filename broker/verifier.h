// SPDX-License-Identifier: Apache-2.0
// Inside broker/: whose evidence is believed: what the operator configured, and the one way from evidence of any kind to a result.
// Read-only after opening; threads share it.
#ifndef COFFER_BROKER_VERIFIER_H
#define COFFER_BROKER_VERIFIER_H

#include "attest/cert.h"
#include "attest/coco.h"
#include "attest/collateral.h"
#include "attest/policy_file.h"
#include "attest/rules.h"

struct verifier_settings {
	const char *collateral;		// a store's folder; "" for none
	const char *policy;		// a policy file; "": every kind of real hardware, up to date
	const char *policy_text;	// instead of the file: one that was put in the database; NULL: none
	size_t policy_len;
	long long policy_version;	// of that
	const char *references;		// a folder of signed reference values and of keys that may have signed them; "" for none
	const char *references_seen;	// a file that remembers the newest version of each of these documents: an older one is refused
	const char *tpm_roots;		// PEM; "" for none
	const char *tpm_crl;		// lists of authorities under them (PEM, DER); "" for none
	const char *client_ca, *client_crl;	// likewise, of clients' certificates
	bool accept_expired_crl;
	const char *gpu_roots;		// the same, beside NVIDIA's own
	const char *simulated;		// test roots: PEM, and CSV's as a file of 832 bytes beside it (.hrk); ""
	bool accept_debug;
};

struct verifier {
	struct policy_file *policy;
	long long policy_version;	// in the database; 0: it is none of those
	char digest[65];		// SHA-256 of the policy as it was read, for logs; "" without a file
	struct cert_roots tpm_roots;
	struct cert_list gpu_roots, simulated_roots;
	struct cert_revocation tpm_revocation, client_revocation;
	X509_STORE *client_ca;		// of those who administer by certificate (identity.c); NULL: none
	uint8_t *simulated_hrk;		// 832 bytes, or NULL
	struct collateral_store *store;	// NULL: none
	struct refval_set *references;	// NULL: none
};

int verifier_open(struct verifier *v, const struct verifier_settings *s, struct fault *f);
void verifier_close(struct verifier *v);

// Verifies what a client that calls itself a `tee` sent, bound to these report data, with the operator's collateral; then the platform's
// policy. `evidence` is changed: collateral is added. Devices in it must be bound to device_nonce (32 bytes; NULL: there can be none).
// *out is initialised.
void verifier_verify(const struct verifier *v, const struct coco_tee *tee, struct bundle *evidence, const uint8_t report_data[64],
		     const uint8_t *device_nonce, time_t now, struct attest_result *out);

// The policy has rules about resources, which alone decide about them.
bool verifier_has_rules(const struct verifier *v);

// The platform's policy alone, on claims that were verified before.
void verifier_appraise(const struct verifier *v, struct attest_result *claims);

bool verifier_accepts_simulated(const struct verifier *v);

#endif
