// SPDX-License-Identifier: Apache-2.0
// What hardware will measure when a virtual machine starts, computed before it does: the launch digest of AMD SEV-SNP, and MRTD of Intel
// TDX. The firmware is OVMF, which says by tables in itself what else is put into memory. Formats: AMD 56860 "SEV Secure Nested Paging
// Firmware ABI", section 8.17 (PAGE_INFO); Intel "TDX Virtual Firmware Design Guide", section 11 (metadata); "TDX Module Base
// Architecture", section on measurement. A firmware file is untrusted: every offset in it is checked. Pure; no locks.
#ifndef COFFER_ATTEST_LAUNCH_H
#define COFFER_ATTEST_LAUNCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/fault.h"

#define LAUNCH_DIGEST 48
#define LAUNCH_MAX_SECTIONS 64
#define LAUNCH_MAX_FIRMWARE (64u << 20)
#define LAUNCH_MAX_MEMORY (256ull << 20)	// that a firmware may ask for
#define LAUNCH_MAX_VCPUS 4096

enum launch_snp_section {
	LAUNCH_SNP_MEMORY = 1, LAUNCH_SNP_SECRETS = 2, LAUNCH_SNP_CPUID = 3, LAUNCH_SNP_SVSM_CAA = 4, LAUNCH_SNP_HASHES = 0x10,
};
enum launch_tdx_attribute { LAUNCH_TDX_EXTEND = 1, LAUNCH_TDX_LATER = 2 };

struct launch_section {
	uint64_t gpa, size;
	uint32_t type, attributes;	// attributes: TDX alone
	uint32_t offset, len;		// TDX: its bytes in the file; what follows is zeros
};

struct launch_firmware {
	const uint8_t *bytes;
	size_t len;
	bool snp, tdx;			// has the tables for it
	uint32_t reset;			// SNP: where further processors begin; 0: not said
	uint32_t hash_table;		// SNP: where the hashes of kernel, initrd and command line go; 0: not said
	struct launch_section snp_sections[LAUNCH_MAX_SECTIONS], tdx_sections[LAUNCH_MAX_SECTIONS];
	unsigned int snp_count, tdx_count;
};

// Finds the tables. -EINVAL and why; a firmware without either table is refused.
int launch_firmware_read(const void *bytes, size_t len, struct launch_firmware *fw, struct fault *f);

enum launch_vmm { LAUNCH_QEMU, LAUNCH_EC2 };

struct launch_snp {
	const struct launch_firmware *fw;
	const uint8_t *so_far;		// LAUNCH_DIGEST bytes: the digest after the firmware's own pages; NULL: computed
	const void *kernel, *initrd;	// kernel NULL: none is measured
	size_t kernel_len, initrd_len;
	const char *cmdline;		// NULL: empty
	unsigned int vcpus;
	uint32_t vcpu;			// CPUID signature (launch_vcpu); EC2 ignores it
	uint64_t features;		// SEV_FEATURES; 1 is SNP itself
	enum launch_vmm vmm;
};

// The digest after the firmware's own pages.
int launch_snp_firmware(const struct launch_firmware *fw, uint8_t out[LAUNCH_DIGEST]);
// The whole of it. -EINVAL and why when the firmware cannot do what is asked.
int launch_snp(const struct launch_snp *in, uint8_t out[LAUNCH_DIGEST], struct fault *f);

// The CPUID signature of one of QEMU's processors by name ("EPYC-Milan"), or of "FAMILY-MODEL-STEPPING" in numbers. -ENOENT.
int launch_vcpu(const char *name, uint32_t *signature, struct fault *f);

// MRTD. With `sections` each section is added whole before it is measured (QEMU before version 9); else page by page.
int launch_tdx(const struct launch_firmware *fw, bool sections, uint8_t out[LAUNCH_DIGEST], struct fault *f);

#endif
