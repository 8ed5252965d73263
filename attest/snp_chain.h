// SPDX-License-Identifier: Apache-2.0
// Inside attest/: AMD's certificates. Who signed what, what a VCEK or VLEK says about its chip, which roots are known.
#ifndef COFFER_ATTEST_SNP_CHAIN_H
#define COFFER_ATTEST_SNP_CHAIN_H

#include "attest/snp.h"

enum snp_root { SNP_ROOT_UNKNOWN, SNP_ROOT_AMD, SNP_ROOT_SIMULATED };

// Follows the chain from its first certificate: leaf <- intermediate <- root, each signature checked, root signed by
// itself. Fills ordered[3]. On failure -EBADMSG and f->text says which link is wrong.
int snp_chain_order(const struct snp_chain *c, X509 *ordered[3], struct fault *f);

// All three are valid at `now`; else -ESTALE and which one is not.
int snp_chain_dates(X509 *const ordered[3], time_t now, struct fault *f);

// Which root this is, by the digest of its DER; *product gets "Milan", "Genoa", "Turin" for AMD's, else "".
enum snp_root snp_root_of(X509 *root, X509 *const *simulated, unsigned int count, const char **product);

// AMD's extensions of a VCEK or VLEK (1.3.6.1.4.1.3704.1).
struct snp_leaf {
	char product[32];
	bool has_fmc;		// Turin's TCB layout
	int fmc, bootloader, tee, snp, microcode;	// -1: missing
	bool has_hwid;
	uint8_t hwid[64];	// shorter ones are followed by zeros
	size_t hwid_len;
	bool is_vlek;		// names a provider (CSP) instead of a chip
};

// -EINVAL when an extension is malformed.
int snp_leaf_read(X509 *leaf, struct snp_leaf *out, struct fault *f);

// What follows from the certificates alone, whatever the time and whoever is trusted.
struct snp_links {
	X509 *ordered[3];
	struct snp_leaf leaf;		// of the first one
	int err, leaf_err;		// of snp_chain_order and snp_leaf_read
	struct fault why, leaf_why;
};

void snp_chain_links(const struct snp_chain *c, struct snp_links *out);

#endif
