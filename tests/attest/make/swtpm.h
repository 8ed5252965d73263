// SPDX-License-Identifier: Apache-2.0
// Real TPMs' code (swtpm), one at a time, in a temporary folder: `state` comes from a maker (swtpm_setup, swtpm_localca) with endorsement keys and
// certificates, any other name is a TPM without. For tests only; single-threaded.
#ifndef COFFER_TESTS_ATTEST_MAKE_SWTPM_H
#define COFFER_TESTS_ATTEST_MAKE_SWTPM_H

#include <openssl/evp.h>
#include <stdbool.h>

extern char swtpm_where[100];	// as tpm_open takes it

// False: swtpm_setup cannot make one here (then swtpm_end all the same).
bool swtpm_begin(void);
bool swtpm_start(const char *state_name);
void swtpm_stop(void);
void swtpm_end(void);

// A file of the maker's authority: "swtpm-localca-rootca-cert.pem", "issuercert.pem"; free() by the caller. NULL: none.
char *swtpm_certificate(const char *name);
// Likewise a key: "swtpm-localca-rootca-privkey.pem", "signkey.pem"; EVP_PKEY_free.
EVP_PKEY *swtpm_key(const char *name);

#endif
