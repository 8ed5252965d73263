// SPDX-License-Identifier: Apache-2.0
// OVMF's tables. At 32 bytes before the end of the file a list ends that is read backwards: each entry is its data, then its size (with
// these 18 bytes), then a GUID. The last entry's size is that of the list. See launch.h; the fuzz target fuzz_launch drives it.
#include <errno.h>
#include <string.h>

#include "attest/bytes.h"
#include "attest/launch.h"

#define ENTRY 18	// size and GUID
#define TAIL 32		// behind the list: the reset vector
#define PAGE 4096u

static const uint8_t footer_guid[16] = {0xde, 0x82, 0xb5, 0x96, 0xb2, 0x1f, 0xf7, 0x45, 0xba, 0xea, 0xa3, 0x66, 0xc5, 0x5a, 0x08, 0x2d};
static const uint8_t hashes_guid[16] = {0x1f, 0x37, 0x55, 0x72, 0x3b, 0x3a, 0x04, 0x4b, 0x92, 0x7b, 0x1d, 0xa6, 0xef, 0xa8, 0xd4, 0x54};
static const uint8_t reset_guid[16] = {0xde, 0x71, 0xf7, 0x00, 0x7e, 0x1a, 0xcb, 0x4f, 0x89, 0x0e, 0x68, 0xc7, 0x7e, 0x2f, 0xb4, 0x4e};
static const uint8_t sev_guid[16] = {0x66, 0x65, 0x88, 0xdc, 0x4a, 0x98, 0x98, 0x47, 0xa7, 0x5e, 0x55, 0x85, 0xa7, 0xbf, 0x67, 0xcc};
static const uint8_t tdx_guid[16] = {0x35, 0x65, 0x7a, 0xe4, 0x4a, 0x98, 0x98, 0x47, 0x86, 0x5e, 0x46, 0x85, 0xa7, 0xbf, 0x8e, 0xc2};

static struct cursor at_end(const struct launch_firmware *fw, uint32_t before_end)
{
	struct cursor c = cursor_of(fw->bytes, fw->len);
	if (before_end > fw->len)
		c.short_of = true;
	cursor_take(&c, fw->len - (before_end <= fw->len ? before_end : 0));
	return c;
}

static bool pages(uint64_t gpa, uint64_t size)
{
	return gpa % PAGE == 0 && size % PAGE == 0 && size <= LAUNCH_MAX_MEMORY && gpa <= (1ull << 52) - size;
}

// "ASEV", size, version 1, count; then {address, size, type}.
static int read_sev(struct launch_firmware *fw, uint32_t before_end, struct fault *f)
{
	struct cursor c = at_end(fw, before_end);
	const uint8_t *magic = cursor_take(&c, 4);
	uint32_t size = cursor_le32(&c), version = cursor_le32(&c), count = cursor_le32(&c);
	uint64_t total = 0;
	if (c.short_of || memcmp(magic, "ASEV", 4) || version != 1)
		return fault_set(f, -EINVAL, "its SEV metadata are malformed, or of another version than 1");
	if (count > LAUNCH_MAX_SECTIONS || size < 16 + 12 * count)
		return fault_set(f, -EINVAL, "its SEV metadata have %u sections in %u bytes", count, size);
	for (uint32_t i = 0; i < count; i++) {
		struct launch_section *s = &fw->snp_sections[i];
		s->gpa = cursor_le32(&c);
		s->size = cursor_le32(&c);
		s->type = cursor_le32(&c);
		total += s->size;
		if (c.short_of || !pages(s->gpa, s->size) || total > LAUNCH_MAX_MEMORY)
			return fault_set(f, -EINVAL, "section %u of its SEV metadata is cut short, or not made of pages", i);
	}
	fw->snp_count = count;
	fw->snp = true;
	return 0;
}

// "TDVF", length, version 1, count; then {offset, bytes in the file, address, size, type, attributes}.
static int read_tdx(struct launch_firmware *fw, uint32_t before_end, struct fault *f)
{
	struct cursor c = at_end(fw, before_end);
	const uint8_t *magic = cursor_take(&c, 4), *word;
	uint32_t size = cursor_le32(&c), version = cursor_le32(&c), count = cursor_le32(&c);
	uint64_t total = 0;
	if (c.short_of || memcmp(magic, "TDVF", 4) || version != 1)
		return fault_set(f, -EINVAL, "its TDX metadata are malformed, or of another version than 1");
	if (count > LAUNCH_MAX_SECTIONS || size < 16 + 32 * count)
		return fault_set(f, -EINVAL, "its TDX metadata have %u sections in %u bytes", count, size);
	for (uint32_t i = 0; i < count; i++) {
		struct launch_section *s = &fw->tdx_sections[i];
		s->offset = cursor_le32(&c);
		s->len = cursor_le32(&c);
		word = cursor_take(&c, 16);
		s->gpa = word ? load_le64(word) : 0;
		s->size = word ? load_le64(word + 8) : 0;
		s->type = cursor_le32(&c);
		s->attributes = cursor_le32(&c);
		total += s->size;
		if (c.short_of || s->offset > fw->len || s->len > fw->len - s->offset || s->len > s->size || !pages(s->gpa, s->size) || total > LAUNCH_MAX_MEMORY)
			return fault_set(f, -EINVAL, "section %u of its TDX metadata is not within the file, or not made of pages", i);
	}
	fw->tdx_count = count;
	fw->tdx = true;
	return 0;
}

static int read_entry(struct launch_firmware *fw, const uint8_t *guid, const uint8_t *data, size_t len, struct fault *f)
{
	uint32_t word = len >= 4 ? load_le32(data) : 0;
	if (!memcmp(guid, hashes_guid, 16))
		fw->hash_table = word;
	else if (!memcmp(guid, reset_guid, 16))
		fw->reset = word;
	else if (!memcmp(guid, sev_guid, 16) && !fw->snp)
		return read_sev(fw, word, f);
	else if (!memcmp(guid, tdx_guid, 16) && !fw->tdx)
		return read_tdx(fw, word, f);
	return 0;
}

int launch_firmware_read(const void *bytes, size_t len, struct launch_firmware *fw, struct fault *f)
{
	memset(fw, 0, sizeof *fw);
	fw->bytes = bytes;
	fw->len = len;
	if (len < PAGE || len > LAUNCH_MAX_FIRMWARE || len % PAGE)
		return fault_set(f, -EINVAL, "not a firmware: %zu bytes are no number of pages up to %u MiB", len, LAUNCH_MAX_FIRMWARE >> 20);
	const uint8_t *end = fw->bytes + len - TAIL;	// of the list, and then of what is left of it
	if (memcmp(end - 16, footer_guid, 16))
		return fault_set(f, -EINVAL, "no OVMF: it has no table of GUIDs at its end");
	size_t left = load_le16(end - ENTRY);
	if (left < ENTRY || left > len - TAIL)
		return fault_set(f, -EINVAL, "its table of GUIDs is %zu bytes long", left);
	end -= ENTRY;
	left -= ENTRY;
	while (left) {
		size_t size = left >= ENTRY ? load_le16(end - ENTRY) : 0;
		if (size < ENTRY || size > left)
			return fault_set(f, -EINVAL, "its table of GUIDs is malformed");
		int err = read_entry(fw, end - 16, end - size, size - ENTRY, f);
		if (err)
			return err;
		end -= size;
		left -= size;
	}
	return fw->snp || fw->tdx ? 0 : fault_set(f, -EINVAL, "it has metadata neither for SEV-SNP nor for TDX");
}
