// SPDX-License-Identifier: Apache-2.0
// Reading CoRIM, the IETF's format of reference values (draft-ietf-rats-corim): a COSE_Sign1 over a manifest of CBOR, whose tags (CoMID) say
// of environments what may be measured in them. Profiles of SEV-SNP (draft-deeglaze-amd-sev-snp-corim-profile), Intel
// (draft-cds-rats-intel-corim-profile), Arm CCA and PSA are mapped to the names of our claims. An unsigned manifest is refused before
// anything in it is read. What would restrict evidence and is not understood is listed, for the caller to refuse. No clock, no locks.
#ifndef COFFER_ATTEST_CORIM_H
#define COFFER_ATTEST_CORIM_H

#include <jansson.h>
#include <time.h>

#include "attest/dsse.h"
#include "lib/fault.h"

#define CORIM_MAX_BYTES (1u << 20)
#define CORIM_MAX_VALUES 4096

struct corim {
	json_t *values;		// rows as a document of reference values has them (refval.h)
	json_t *left_out;	// texts: restrictions that have no counterpart
	json_t *notes;		// texts: what restricts nothing, and is not taken over
	json_t *keys;		// texts: SHA-256 of keys of attesters, for a policy (cca_platform_keys)
	char id[65], profile[129];	// printable
	char signer[65];	// id of the key that signed it
	time_t from, until;	// -1: not said
};

// Opens a manifest that one of the keys signed (ES256, ES384). -EINVAL malformed, -EBADMSG unsigned or signed by others, -ESTALE not valid
// at that time. corim_free by the caller, on success.
int corim_read(const uint8_t *bytes, size_t len, const struct dsse_key *keys, unsigned int count, time_t now, struct corim *out, struct fault *f);
void corim_free(struct corim *c);

#endif
