// SPDX-License-Identifier: Apache-2.0
// The launch digest of SEV-SNP; see launch.h. Each page that is put into memory makes the next digest: SHA-384 over PAGE_INFO, which has the
// digest so far, the page's own, its kind and its address.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "attest/launch.h"
#include "lib/sha.h"

#define PAGE 4096u
#define VMSA_ADDRESS 0xfffffffff000ull	// what stands for the address of a processor's registers
#define FIRST_EIP 0xfffffff0u

enum { PAGE_NORMAL = 1, PAGE_VMSA = 2, PAGE_ZERO = 3, PAGE_SECRETS = 5, PAGE_CPUID = 6 };

static void put_le(uint8_t *p, uint64_t v, int n)
{
	for (int i = 0; i < n; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static void extend(uint8_t ld[LAUNCH_DIGEST], int kind, uint64_t gpa, const uint8_t *contents)
{
	uint8_t info[0x70] = {0};
	memcpy(info, ld, LAUNCH_DIGEST);
	if (contents)
		sha_384(contents, PAGE, info + 48);
	put_le(info + 96, sizeof info, 2);
	info[98] = (uint8_t)kind;
	put_le(info + 104, gpa, 8);
	sha_384(info, sizeof info, ld);
}

static void extend_range(uint8_t ld[LAUNCH_DIGEST], int kind, uint64_t gpa, uint64_t size)
{
	for (uint64_t at = 0; at < size; at += PAGE)
		extend(ld, kind, gpa + at, NULL);
}

int launch_snp_firmware(const struct launch_firmware *fw, uint8_t out[LAUNCH_DIGEST])
{
	uint64_t base = (1ull << 32) - fw->len;
	memset(out, 0, LAUNCH_DIGEST);
	for (size_t at = 0; at < fw->len; at += PAGE)
		extend(out, PAGE_NORMAL, base + at, fw->bytes + at);
	return 0;
}

// The table that QEMU writes for a kernel that it loads: {GUID, size, SHA-256} of command line, initrd and kernel, in a table of its own.
static int hashes_page(const struct launch_snp *in, uint8_t page[PAGE], struct fault *f)
{
	static const uint8_t guids[4][16] = {
		{0x06, 0xd6, 0x38, 0x94, 0x22, 0x4f, 0xc9, 0x4c, 0xb4, 0x79, 0xa7, 0x93, 0xd4, 0x11, 0xfd, 0x21},
		{0xd8, 0x2d, 0xd0, 0x97, 0x20, 0xbd, 0x94, 0x4c, 0xaa, 0x78, 0xe7, 0x71, 0x4d, 0x36, 0xab, 0x2a},
		{0x31, 0xf7, 0xba, 0x44, 0x2f, 0x3a, 0xd7, 0x4b, 0x9a, 0xf1, 0x41, 0xe2, 0x91, 0x69, 0x78, 0x1d},
		{0x37, 0x94, 0xe7, 0x4d, 0xd2, 0xab, 0x7f, 0x42, 0xb8, 0x35, 0xd5, 0xb1, 0x72, 0xd2, 0x04, 0x5b},
	};
	const char *cmdline = in->cmdline ? in->cmdline : "";
	uint32_t offset = in->fw->hash_table % PAGE;
	memset(page, 0, PAGE);
	if (!in->fw->hash_table || offset > PAGE - 176)
		return fault_set(f, -EINVAL, "the firmware says no place for a kernel's hashes: it boots from disks only");
	uint8_t *p = page + offset;
	memcpy(p, guids[0], 16);
	put_le(p + 16, 168, 2);
	p += 18;
	for (int i = 1; i < 4; i++) {
		memcpy(p, guids[i], 16);
		put_le(p + 16, 50, 2);
		if (i == 1)
			sha_256(cmdline, strlen(cmdline) + 1, p + 18);	// with its NUL
		else if (i == 2)
			sha_256(in->initrd_len ? in->initrd : "", in->initrd_len, p + 18);
		else
			sha_256(in->kernel, in->kernel_len, p + 18);
		p += 50;
	}
	return 0;
}

static int extend_hashes(const struct launch_snp *in, const struct launch_section *s, uint8_t ld[LAUNCH_DIGEST], struct fault *f)
{
	uint8_t page[PAGE];
	if (!in->kernel) {
		extend_range(ld, PAGE_ZERO, s->gpa, s->size);
		return 0;
	}
	if (s->size != PAGE || in->fw->hash_table / PAGE != s->gpa / PAGE)
		return fault_set(f, -EINVAL, "the firmware's place for a kernel's hashes is not the page that it lists");
	int err = hashes_page(in, page, f);
	if (!err)
		extend(ld, PAGE_NORMAL, s->gpa, page);
	return err;
}

static int extend_sections(const struct launch_snp *in, uint8_t ld[LAUNCH_DIGEST], struct fault *f)
{
	const struct launch_firmware *fw = in->fw;
	bool hashes = false;
	int err = 0;
	for (unsigned int i = 0; i < fw->snp_count && !err; i++) {
		const struct launch_section *s = &fw->snp_sections[i];
		switch (s->type) {
		case LAUNCH_SNP_MEMORY:
		case LAUNCH_SNP_SVSM_CAA:
			extend_range(ld, PAGE_ZERO, s->gpa, s->size);
			break;
		case LAUNCH_SNP_SECRETS:
			extend(ld, PAGE_SECRETS, s->gpa, NULL);
			break;
		case LAUNCH_SNP_CPUID:
			if (in->vmm != LAUNCH_EC2)
				extend(ld, PAGE_CPUID, s->gpa, NULL);
			break;
		case LAUNCH_SNP_HASHES:
			hashes = true;
			err = extend_hashes(in, s, ld, f);
			break;
		default:
			err = fault_set(f, -EINVAL, "the firmware's metadata have a section of the unknown kind %u", s->type);
		}
	}
	for (unsigned int i = 0; i < fw->snp_count && in->vmm == LAUNCH_EC2; i++) { // which adds them last
		if (fw->snp_sections[i].type == LAUNCH_SNP_CPUID)
			extend(ld, PAGE_CPUID, fw->snp_sections[i].gpa, NULL);
	}
	if (!err && in->kernel && !hashes)
		err = fault_set(f, -EINVAL, "the firmware measures no kernel (it lists no section for its hashes): it boots from disks only");
	return err;
}

static void segment(uint8_t *p, uint16_t selector, uint16_t attributes, uint64_t base)
{
	put_le(p, selector, 2);
	put_le(p + 2, attributes, 2);
	put_le(p + 4, 0xffff, 4);
	put_le(p + 8, base, 8);
}

// A processor's registers as it begins (AMD 24593, table B-4), as KVM and these two make them.
static void registers(const struct launch_snp *in, uint32_t eip, uint8_t v[PAGE])
{
	bool ec2 = in->vmm == LAUNCH_EC2;
	memset(v, 0, PAGE);
	segment(v + 0x00, 0, 0x93, 0);						// es
	segment(v + 0x10, 0xf000, ec2 && eip == FIRST_EIP ? 0x9a : 0x9b, eip & 0xffff0000u);
	segment(v + 0x20, 0, ec2 ? 0x92 : 0x93, 0);				// ss
	segment(v + 0x30, 0, 0x93, 0);
	segment(v + 0x40, 0, 0x93, 0);
	segment(v + 0x50, 0, 0x93, 0);						// gs
	segment(v + 0x60, 0, 0, 0);						// gdtr
	segment(v + 0x70, 0, 0x82, 0);						// ldtr
	segment(v + 0x80, 0, 0, 0);						// idtr
	segment(v + 0x90, 0, ec2 ? 0x83 : 0x8b, 0);				// tr
	put_le(v + 0xd0, 0x1000, 8);						// EFER.SVME
	put_le(v + 0x148, 0x40, 8);						// CR4.MCE
	put_le(v + 0x158, 0x10, 8);						// CR0
	put_le(v + 0x160, 0x400, 8);						// DR7
	put_le(v + 0x168, 0xffff0ff0, 8);					// DR6
	put_le(v + 0x170, 2, 8);						// RFLAGS
	put_le(v + 0x178, eip & 0xffff, 8);
	put_le(v + 0x268, 0x0007040600070406, 8);				// PAT
	put_le(v + 0x310, ec2 ? 0 : in->vcpu, 8);				// RDX
	put_le(v + 0x3b0, in->features, 8);
	put_le(v + 0x3e8, 1, 8);						// XCR0
	put_le(v + 0x408, ec2 ? 0 : 0x1f80, 4);					// MXCSR
	put_le(v + 0x410, ec2 ? 0 : 0x37f, 2);					// x87 control
}

int launch_snp(const struct launch_snp *in, uint8_t out[LAUNCH_DIGEST], struct fault *f)
{
	uint8_t page[PAGE];
	int err = 0;
	if (!in->fw->snp)
		return fault_set(f, -EINVAL, "the firmware has no metadata for SEV-SNP");
	if (!in->vcpus || in->vcpus > LAUNCH_MAX_VCPUS)
		return fault_set(f, -EINVAL, "1 to %d processors", LAUNCH_MAX_VCPUS);
	if (in->vcpus > 1 && !in->fw->reset)
		return fault_set(f, -EINVAL, "the firmware does not say where further processors begin: it runs one only");
	if (in->so_far)
		memcpy(out, in->so_far, LAUNCH_DIGEST);
	else
		err = launch_snp_firmware(in->fw, out);
	if (!err)
		err = extend_sections(in, out, f);
	for (unsigned int i = 0; i < in->vcpus && !err; i++) {
		registers(in, i ? in->fw->reset : FIRST_EIP, page);
		extend(out, PAGE_VMSA, VMSA_ADDRESS, page);
	}
	return err;
}

int launch_vcpu(const char *name, uint32_t *signature, struct fault *f)
{
	// Generations of QEMU's processors; versions of one ("EPYC-Milan-v2") differ in other things.
	static const struct { const char *name; unsigned int family, model, stepping; } known[] = {
		{"EPYC-Rome", 23, 49, 0}, {"EPYC-Milan", 25, 1, 1}, {"EPYC-Genoa", 25, 17, 0}, {"EPYC-Turin", 26, 0, 0}, {"EPYC-IBPB", 23, 1, 2},
		{"EPYC", 23, 1, 2},
	};
	unsigned int family = 0, model = 0, stepping = 0;
	char end;
	if (sscanf(name, "%3u-%3u-%2u%c", &family, &model, &stepping, &end) != 3) {
		family = 0;
		for (size_t i = 0; i < sizeof known / sizeof *known && !family; i++) {
			size_t n = strlen(known[i].name);
			const char *rest = name + n;
			if (!strncmp(name, known[i].name, n) && (!*rest || (!strncmp(rest, "-v", 2) && rest[2] && !rest[2 + strspn(rest + 2, "0123456789")]))) {
				family = known[i].family;
				model = known[i].model;
				stepping = known[i].stepping;
			}
		}
	}
	if (!family || family > 0x10e || model > 255 || stepping > 15)
		return fault_set(f, -ENOENT, "'%.60s' is no processor that is known: EPYC, EPYC-Rome, EPYC-Milan, EPYC-Genoa, EPYC-Turin (with -vN), or "
				 "FAMILY-MODEL-STEPPING in numbers", name);
	unsigned int low = family > 15 ? 15 : family;
	*signature = (family - low) << 20 | (model >> 4) << 16 | low << 8 | (model & 15) << 4 | stepping;
	return 0;
}
