// SPDX-License-Identifier: Apache-2.0
// Inside attest/: the digest under which firmware measures programs for UEFI: Microsoft's Authenticode ("Windows Authenticode Portable
// Executable Signature Format", "Calculating the PE Image Hash"), over all but the checksum, the place of signatures and the
// signatures. Pure; no locks.
#ifndef COFFER_ATTEST_PE_H
#define COFFER_ATTEST_PE_H

#include <stddef.h>
#include <stdint.h>

#include "lib/fault.h"

// `alg` as in digest.h; out gets digest_size bytes. -EINVAL for what is no such program.
int pe_digest(const void *bytes, size_t len, uint16_t alg, uint8_t *out, struct fault *f);

#endif
