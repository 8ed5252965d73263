// SPDX-License-Identifier: Apache-2.0
// The KBS protocol's messages, read strictly from untrusted bytes. Pure; fuzz_kbs_request drives it.
#ifndef COFFER_BROKER_KBS_H
#define COFFER_BROKER_KBS_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>

#include "attest/coco.h"
#include "lib/fault.h"

#define KBS_VERSION "0.4.0"
#define KBS_MAX_RESOURCE 200

// Body of POST /kbs/v0/auth: a version this broker speaks and a TEE that it can verify. -EINVAL, -EPROTONOSUPPORT.
int kbs_parse_auth(const char *body, size_t len, const struct coco_tee **tee, struct fault *f);

struct kbs_attest {
	char nonce[64];			// as the client repeats it; "" when it does not
	json_t *tee_pubkey;		// as sent: what report data covers
	EVP_PKEY *key;			// the same, checked
	char *additional;		// additional evidence, "" for none: devices (also in `evidence`), what the enclave states of itself
	char anchor[8];			// from it: "broker", "tpm", "none"; "" when nothing was stated
	struct bundle evidence;		// as sent; no collateral of the verifier's yet
};

// Body of POST /kbs/v0/attest, of a client that said in auth that it is a `tee`. -EINVAL with a message that names the field; *a needs
// kbs_attest_free only after 0.
int kbs_parse_attest(const char *body, size_t len, const struct coco_tee *tee, struct kbs_attest *a, struct fault *f);
void kbs_attest_free(struct kbs_attest *a);

// "repository/type/tag": three parts of letters, digits and . _ -
bool kbs_resource_valid(const char *resource);

#endif
