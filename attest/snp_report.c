// SPDX-License-Identifier: Apache-2.0
// The bytes of an SNP report. See snp.h. Pure; the fuzz target fuzz_snp_report drives it.
#include <errno.h>
#include <string.h>

#include "attest/bytes.h"
#include "attest/snp.h"

int snp_parse(const uint8_t *b, size_t len, struct snp_report *r, struct fault *f)
{
	memset(r, 0, sizeof *r);
	if (len != SNP_REPORT_BYTES)
		return fault_set(f, -EINVAL, "%zu bytes", len);
	r->version = load_le32(b);
	if (r->version < 2 || r->version > 5)
		return fault_set(f, -EINVAL, "version %u", r->version);
	r->guest_svn = load_le32(b + 0x04);
	r->policy = load_le64(b + 0x08);
	memcpy(r->family_id, b + 0x10, 16);
	memcpy(r->image_id, b + 0x20, 16);
	r->vmpl = load_le32(b + 0x30);
	r->signature_algo = load_le32(b + 0x34);
	r->current_tcb = load_le64(b + 0x38);
	r->platform_info = load_le64(b + 0x40);
	r->key_info = load_le32(b + 0x48);
	memcpy(r->report_data, b + 0x50, 64);
	memcpy(r->measurement, b + 0x90, 48);
	memcpy(r->host_data, b + 0xc0, 32);
	memcpy(r->id_key_digest, b + 0xe0, 48);
	memcpy(r->author_key_digest, b + 0x110, 48);
	memcpy(r->report_id, b + 0x140, 32);
	memcpy(r->report_id_ma, b + 0x160, 32);
	r->reported_tcb = load_le64(b + 0x180);
	if (r->version >= 3) {
		r->cpu_family = b[0x188];
		r->cpu_model = b[0x189];
		r->cpu_stepping = b[0x18a];
	}
	memcpy(r->chip_id, b + 0x1a0, 64);
	r->committed_tcb = load_le64(b + 0x1e0);
	r->current_build = b[0x1e8];
	r->current_minor = b[0x1e9];
	r->current_major = b[0x1ea];
	r->committed_build = b[0x1ec];
	r->committed_minor = b[0x1ed];
	r->committed_major = b[0x1ee];
	r->launch_tcb = load_le64(b + 0x1f0);
	if (r->version >= 5) {
		r->launch_mitigations = load_le64(b + 0x1f8);
		r->current_mitigations = load_le64(b + 0x200);
	}
	memcpy(r->signature_r, b + SNP_SIGNED_BYTES, 72);
	memcpy(r->signature_s, b + SNP_SIGNED_BYTES + 72, 72);
	return 0;
}
