// SPDX-License-Identifier: Apache-2.0
// See pe.h. The fuzz target fuzz_launch drives it.
#include "attest/pe.h"

#include <errno.h>
#include <stdlib.h>

#include "attest/bytes.h"
#include "attest/digest.h"

#define SECTIONS_MAX 96		// as loaders have it

struct part {
	uint32_t offset, size;
};

struct pe {
	const uint8_t *b;
	size_t len;
	size_t checksum, directory;	// where these are; directory 0: there is none
	uint32_t headers, signatures;	// sizes
	struct part parts[SECTIONS_MAX];
	unsigned int count;
};

static int by_offset(const void *a, const void *b)
{
	const struct part *x = a, *y = b;
	return (x->offset > y->offset) - (x->offset < y->offset);
}

static int read_headers(struct pe *p, struct fault *f)
{
	size_t at = p->len >= 64 ? load_le32(p->b + 60) : p->len, optional, table;
	if (p->len < 64 || memcmp(p->b, "MZ", 2) || at > p->len - 64 || p->len - at < 24 + 136 || memcmp(p->b + at, "PE\0", 4))
		return fault_set(f, -EINVAL, "not a program for UEFI (PE)");
	unsigned int sections = load_le16(p->b + at + 6), size = load_le16(p->b + at + 20), magic = load_le16(p->b + at + 24);
	optional = at + 24;
	table = optional + size;
	size_t counts = optional + (magic == 0x20b ? 108 : 92);
	if ((magic != 0x20b && magic != 0x10b) || sections > SECTIONS_MAX || size < counts + 4 - optional || table > p->len ||
	    p->len - table < sections * 40u)
		return fault_set(f, -EINVAL, "a PE whose headers are malformed");
	p->checksum = optional + 64;
	p->headers = load_le32(p->b + optional + 60);
	if (load_le32(p->b + counts) > 4) {	// the fifth is where signatures are
		p->directory = counts + 4 + 4 * 8;
		if (p->directory + 8 > table)
			return fault_set(f, -EINVAL, "a PE whose headers are malformed");
		p->signatures = load_le32(p->b + p->directory + 4);
		if (p->signatures && (uint64_t)load_le32(p->b + p->directory) + p->signatures > p->len)
			return fault_set(f, -EINVAL, "a PE whose signatures are cut short");
	}
	if (p->headers > p->len || p->headers < p->checksum + 4 || (p->directory && p->headers < p->directory + 8))
		return fault_set(f, -EINVAL, "a PE whose headers are cut short");
	for (unsigned int i = 0; i < sections; i++) {
		const uint8_t *s = p->b + table + 40 * i;
		struct part part = {load_le32(s + 20), load_le32(s + 16)};
		if (!part.size)
			continue;
		if (part.offset > p->len || part.size > p->len - part.offset)
			return fault_set(f, -EINVAL, "a PE whose sections are cut short");
		p->parts[p->count++] = part;
	}
	qsort(p->parts, p->count, sizeof *p->parts, by_offset);
	return 0;
}

int pe_digest(const void *bytes, size_t len, uint16_t alg, uint8_t *out, struct fault *f)
{
	struct pe p = {.b = bytes, .len = len};
	int err = read_headers(&p, f);
	if (err)
		return err;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool ok = md && EVP_DigestInit_ex(md, digest_of(alg), NULL) == 1 && EVP_DigestUpdate(md, p.b, p.checksum) == 1;
	size_t after = p.checksum + 4, hashed = p.headers;
	if (ok && p.directory) {
		ok = EVP_DigestUpdate(md, p.b + after, p.directory - after) == 1;
		after = p.directory + 8;
	}
	ok = ok && EVP_DigestUpdate(md, p.b + after, p.headers - after) == 1;
	for (unsigned int i = 0; i < p.count && ok; i++) {
		ok = EVP_DigestUpdate(md, p.b + p.parts[i].offset, p.parts[i].size) == 1;
		hashed += p.parts[i].size;
	}
	// What follows, but for the signatures at the end.
	if (ok && len > hashed) {
		if (len - hashed < p.signatures)
			err = fault_set(f, -EINVAL, "a PE whose signatures are cut short");
		else
			ok = EVP_DigestUpdate(md, p.b + hashed, len - hashed - p.signatures) == 1;
	}
	ok = ok && EVP_DigestFinal_ex(md, out, NULL) == 1;
	EVP_MD_CTX_free(md);
	return err ? err : ok ? 0 : fault_set(f, -ENOMEM, "out of memory");
}
