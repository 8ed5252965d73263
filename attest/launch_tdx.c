// SPDX-License-Identifier: Apache-2.0
// MRTD of a TD; see launch.h. The TDX module hashes 128 bytes for each page added (MEM.PAGE.ADD and its address), and for each 256 bytes
// measured 128 bytes (MR.EXTEND and their address) and the bytes themselves.
#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "attest/launch.h"

#define PAGE 4096u
#define CHUNK 256u

static bool record(EVP_MD_CTX *md, const char *what, uint64_t gpa)
{
	uint8_t r[128] = {0};
	memcpy(r, what, strlen(what));
	for (int i = 0; i < 8; i++)
		r[16 + i] = (uint8_t)(gpa >> 8 * i);
	return EVP_DigestUpdate(md, r, sizeof r) == 1;
}

static bool add(EVP_MD_CTX *md, const struct launch_section *s, uint64_t at)
{
	return s->attributes & LAUNCH_TDX_LATER || record(md, "MEM.PAGE.ADD", s->gpa + at);
}

static bool measure(EVP_MD_CTX *md, const struct launch_firmware *fw, const struct launch_section *s, uint64_t at)
{
	uint8_t page[PAGE] = {0};
	bool ok = true;
	if (!(s->attributes & LAUNCH_TDX_EXTEND))
		return true;
	if (at < s->len)
		memcpy(page, fw->bytes + s->offset + at, s->len - at < PAGE ? s->len - at : PAGE);
	for (unsigned int i = 0; i < PAGE && ok; i += CHUNK)
		ok = record(md, "MR.EXTEND", s->gpa + at + i) && EVP_DigestUpdate(md, page + i, CHUNK) == 1;
	return ok;
}

int launch_tdx(const struct launch_firmware *fw, bool sections, uint8_t out[LAUNCH_DIGEST], struct fault *f)
{
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	bool ok = md && EVP_DigestInit_ex(md, EVP_sha384(), NULL) == 1;
	if (!fw->tdx) {
		EVP_MD_CTX_free(md);
		return fault_set(f, -EINVAL, "the firmware has no metadata for TDX");
	}
	for (unsigned int i = 0; i < fw->tdx_count && ok; i++) {
		const struct launch_section *s = &fw->tdx_sections[i];
		for (uint64_t at = 0; at < s->size && ok; at += PAGE)
			ok = add(md, s, at) && (sections || measure(md, fw, s, at));
		for (uint64_t at = 0; at < s->size && ok && sections; at += PAGE)
			ok = measure(md, fw, s, at);
	}
	ok = ok && EVP_DigestFinal_ex(md, out, NULL) == 1;
	EVP_MD_CTX_free(md);
	return ok ? 0 : fault_set(f, -ENOMEM, "out of memory");
}
