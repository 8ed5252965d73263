// SPDX-License-Identifier: Apache-2.0
// enclave.manifest: the canonical text that says what an enclave is made of. Its SHA-384 is the enclave's measurement.
#ifndef COFFER_IMAGE_MANIFEST_H
#define COFFER_IMAGE_MANIFEST_H

#include <stdint.h>

#include "lib/fault.h"
#include "image/text.h"

#define MEASUREMENT_BYTES 48
#define MEASUREMENT_HEX (2 * MEASUREMENT_BYTES + 1)

struct manifest {
	char platform[32];
	uint8_t kernel[48];		// SHA-384 of kernel.elf
	uint8_t image_root[32];		// SHA-256 root of the image's hash tree
	uint64_t image_blocks;		// data blocks of 4096 bytes
	uint8_t config[48];		// SHA-384 of /.coffer/config.json
	uint8_t init[48];		// SHA-384 of /.coffer/init
	char options[512];		// "memory=8589934592,debug=0,connect=none,rseq=0,listen=80+443"
};

void manifest_write(const struct manifest *m, struct text *out);
// Strict: exactly what manifest_write gives. -EINVAL with a message.
int manifest_parse(struct manifest *m, const char *text, size_t len, struct fault *p);
// SHA-384 of the manifest's bytes.
void manifest_measure(const char *text, size_t len, uint8_t measurement[MEASUREMENT_BYTES]);

#endif
