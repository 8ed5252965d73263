// SPDX-License-Identifier: Apache-2.0
// Fuzzes the tables of firmware files, and the headers of programs for UEFI. What is small enough is measured as well.
#include <stdlib.h>
#include <string.h>

#include "attest/digest.h"
#include "attest/launch.h"
#include "attest/pe.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint64_t asked(const struct launch_section *s, unsigned int count)
{
	uint64_t n = 0;
	for (unsigned int i = 0; i < count; i++)
		n += s[i].size;
	return n;
}

static void measure(const uint8_t *bytes, size_t len)
{
	static struct launch_firmware fw;
	uint8_t digest[LAUNCH_DIGEST];
	if (launch_firmware_read(bytes, len, &fw, NULL))
		return;
	const struct launch_snp in = {.fw = &fw, .kernel = "k", .kernel_len = 1, .vcpus = 2, .features = 1};
	if (fw.snp && asked(fw.snp_sections, fw.snp_count) <= 16 << 12)
		launch_snp(&in, digest, NULL);
	if (fw.tdx && asked(fw.tdx_sections, fw.tdx_count) <= 16 << 12)
		launch_tdx(&fw, len & 1 << 12, digest, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t digest[DIGEST_MAX];
	uint32_t signature;
	char name[64];
	pe_digest(data, size, TPM_SHA384, digest, NULL);
	if (size && size < sizeof name) {
		memcpy(name, data, size);
		name[size] = '\0';
		launch_vcpu(name, &signature, NULL);
	}
	// The tables stand at the end of whole pages.
	size_t len = (size + 4095) / 4096 * 4096;
	uint8_t *image = len ? calloc(1, len) : NULL;
	if (image) {
		memcpy(image + len - size, data, size);
		measure(image, len);
	}
	free(image);
	return 0;
}
