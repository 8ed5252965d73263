// SPDX-License-Identifier: Apache-2.0
// Evidence of the machine that this runs on, as its kernel gives it out: configfs-tsm (TDX, SEV-SNP, CCA, and Coffer's own enclaves), Hygon's
// /dev/csv-guest, a library OS's /dev/attestation (SGX), and a TPM, which is Azure's on its confidential machines. For guests and enclaves; a host has none. Touches those files only; no locks.
#ifndef COFFER_ATTEST_COLLECT_H
#define COFFER_ATTEST_COLLECT_H

#include <stdint.h>

#include "attest/bundle.h"

enum collect_from { COLLECT_ANY, COLLECT_TSM, COLLECT_CSV, COLLECT_SGX, COLLECT_TPM };

// Where things are; NULL: the usual place.
struct collect_places {
	const char *tsm;	// /sys/kernel/config/tsm/report
	const char *csv;	// /dev/csv-guest
	const char *libos;	// /dev/attestation
	const char *sgx;	// /dev/sgx_enclave
	const char *tpm;	// device:/dev/tpmrm0, or as tpm_open takes it
	const char *tpm_log;	// /sys/kernel/security/tpm0/binary_bios_measurements
	const char *ccel;	// /sys/firmware/acpi/tables/data/CCEL
};

#define COLLECT_DATA_BYTES 64
#define COLLECT_NONCE_BYTES 32

// Fills an empty bundle with evidence that is bound to `data`: `evidence`, what came with it (`certificates`, `event_log`), format and time.
// A TPM's quote takes the first 32 bytes of `data` as its nonce: some hold no more.
// privlevel: of configfs-tsm (SNP: the VMPL), -1: the kernel's choice. `provider` gets who made it ("tdx_guest"...).
// -ENODEV: the machine offers none (and what was looked for), -EACCES, -EIO, -EAGAIN (somebody else kept coming between).
int collect_evidence(enum collect_from from, const struct collect_places *places, const uint8_t data[COLLECT_DATA_BYTES], int privlevel,
		     struct bundle *out, char provider[64], struct fault *f);

#endif
