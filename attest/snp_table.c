// SPDX-License-Identifier: Apache-2.0
// The certificate table of an extended report (GHCB specification, SNP_GET_EXT_REPORT): entries of GUID, offset and length, then the
// certificates. See snp.h. Pure; the fuzz target fuzz_snp_report drives it.
#include <errno.h>
#include <string.h>

#include "attest/bytes.h"
#include "attest/snp_chain.h"

#define ENTRY_BYTES 24
#define MAX_ENTRIES 16

// As they lie in memory: the first three fields of a GUID are little-endian.
static const uint8_t guids[][16] = {
	{0x8d, 0x75, 0xda, 0x63, 0x64, 0xe6, 0x64, 0x45, 0xad, 0xc5, 0xf4, 0xb9, 0x3b, 0xe8, 0xac, 0xcd},	// VCEK
	{0xc2, 0x07, 0x80, 0xa8, 0xa2, 0x25, 0x3e, 0x48, 0xaa, 0xe6, 0x39, 0xc0, 0x45, 0xa0, 0xb8, 0xa1},	// VLEK
	{0x79, 0xb3, 0xb7, 0x4a, 0xac, 0xbb, 0xe4, 0x4f, 0xa0, 0x2f, 0x05, 0xae, 0xf3, 0x27, 0xc7, 0x82},	// ASK
	{0xa4, 0x06, 0xb4, 0xc0, 0x03, 0xa8, 0x52, 0x49, 0x97, 0x43, 0x3f, 0xb6, 0x01, 0x4c, 0xd0, 0xae},	// ARK
};

// Where the certificate of that GUID lies. NULL: not in the table; *err is set when an entry is malformed.
static const uint8_t *find(const uint8_t *table, size_t len, const uint8_t guid[16], size_t *cert_len, int *err)
{
	struct cursor c = cursor_of(table, len);
	for (unsigned int i = 0; i < MAX_ENTRIES; i++) {
		const uint8_t *e = cursor_take(&c, ENTRY_BYTES);
		if (!e)
			break;
		if (all_bytes(e, ENTRY_BYTES, 0))
			return NULL;
		uint32_t offset = load_le32(e + 16), n = load_le32(e + 20);
		if (offset > len || n > len - offset)
			break;
		if (!memcmp(e, guid, 16)) {
			*cert_len = n;
			return table + offset;
		}
	}
	*err = -EINVAL;
	return NULL;
}

int snp_chain_add_table(struct snp_chain *chain, const uint8_t *table, size_t len, struct fault *f)
{
	unsigned int before = chain->count;
	int err = 0;
	for (size_t i = 0; i < sizeof guids / sizeof *guids; i++) {
		size_t n;
		const uint8_t *cert = find(table, len, guids[i], &n, &err);
		if (err)
			return fault_set(f, err, "the certificate table is malformed");
		if (cert)
			err = snp_chain_add_der(chain, cert, n, f);
		if (err)
			return err;
		if (i == 1 && chain->count == before)
			return fault_set(f, -EINVAL, "the certificate table has neither VCEK nor VLEK");
	}
	return 0;
}

int snp_table_make(const struct snp_chain *chain, uint8_t *out, size_t *len)
{
	struct snp_leaf leaf;
	size_t at = (chain->count + 1) * ENTRY_BYTES;
	if (!chain->count || chain->count > 3)
		return -EINVAL;
	bool vlek = !snp_leaf_read(chain->certs[0], &leaf, NULL) && leaf.is_vlek;
	if (out)
		memset(out, 0, at);
	for (unsigned int i = 0; i < chain->count; i++) {
		uint8_t *p = out ? out + at : NULL, *e = out ? out + i * ENTRY_BYTES : NULL;
		int n = i2d_X509(chain->certs[i], out ? &p : NULL);
		if (n <= 0)
			return -EINVAL;
		if (out) {
			memcpy(e, guids[i ? i + 1 : vlek], 16);
			store_le32(e + 16, (uint32_t)at);
			store_le32(e + 20, (uint32_t)n);
		}
		at += (size_t)n;
	}
	*len = at;
	return 0;
}
