// SPDX-License-Identifier: Apache-2.0
// What the parts of `coffer collateral` share: where makers' services are, and getting one item from them into a store.
#ifndef COFFER_CLI_COLLATERAL_H
#define COFFER_CLI_COLLATERAL_H

#include "attest/collateral.h"

#define ORIGIN_PCS "https://api.trustedservices.intel.com"
#define ORIGIN_INTEL_ROOT "https://certificates.trustedservices.intel.com"
#define ORIGIN_KDS "https://kdsintf.amd.com"
#define ORIGIN_HYGON "https://cert.hygon.cn"

struct origins {
	const char *pcs, *kds, *hygon;	// NULL: the makers' own
	const char *ca_file;		// NULL: the system's authorities
	unsigned int timeout_s;		// of one request
	unsigned int patience_s;	// most that is waited for a service that asks to come back later
};

// Says on a terminal what is being waited for; may be NULL.
typedef void origin_waits(const char *what, unsigned int seconds);

// Fetches an item and keeps it. -ENOENT: its maker does not know it; -EAGAIN: too many requests, come back later; -ESTALE: an older one
// came than is there, which stays; others as fetch_get, or what is wrong with the answer.
int origin_fetch(struct collateral_store *s, const struct origins *o, const struct collateral_key *k, origin_waits *waits, struct fault *f);

// Takes --pcs, --kds, --hygon, --ca, --timeout, --patience; false: not one of these, or its value is no good.
#define ORIGIN_OPTIONS \
	{"pcs", required_argument, NULL, 0x100}, {"kds", required_argument, NULL, 0x101}, {"hygon", required_argument, NULL, 0x102}, \
	{"ca", required_argument, NULL, 0x103}, {"timeout", required_argument, NULL, 0x104}, {"patience", required_argument, NULL, 0x105}
bool origin_option(struct origins *o, int option, const char *value);
#define ORIGIN_HELP \
	"      --pcs URL            Intel's service or a cache of it (PCCS), instead of " ORIGIN_PCS "\n" \
	"      --kds URL            AMD's, instead of " ORIGIN_KDS "; --hygon URL: Hygon's\n" \
	"      --ca FILE            certificates to trust instead of the system's authorities (of a cache of your own)\n" \
	"      --timeout SECONDS    of one request, 60; --patience SECONDS: most that is waited for a service that is busy, 60\n"

int collateral_fetch(int argc, char **argv);
int collateral_serve(int argc, char **argv);

#endif
