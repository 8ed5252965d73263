// SPDX-License-Identifier: Apache-2.0
// Untrusted bytes as an encapsulated key and a sealed message: two bytes say the suite.
#include <stdint.h>

#include "tunnel/hpke.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static EVP_PKEY *x25519, *p256;
	uint8_t out[4096];
	struct hpke h;
	if (!x25519)
		x25519 = hpke_generate(HPKE_X25519);
	if (!p256)
		p256 = hpke_generate(HPKE_P256);
	if (size < 2)
		return 0;
	struct hpke_suite s = {data[0] & 1 ? HPKE_P256 : HPKE_X25519, HPKE_HKDF_SHA256, data[1] & 3};
	data += 2;
	size -= 2;
	size_t n = hpke_public_bytes(s.kem);
	n = size < n ? size : n;
	EVP_PKEY_free(hpke_public_read(s.kem, data, size));
	if (!hpke_receiver(&h, &s, s.kem == HPKE_P256 ? p256 : x25519, data, n, "info", 4) && size - n <= sizeof out)
		hpke_aead_open(&h.aead, "aad", 3, data + n, size - n, out);
	hpke_end(&h);
	return 0;
}
