// SPDX-License-Identifier: Apache-2.0
// The on-disk parsers of sealed volumes, with the cipher taken away (fuzz/seal/plain_gcm.c): the input is a list of
// changes, each 3 bytes of position, 1 byte of length and kind, then the bytes, made to a small valid volume. Mounting,
// reading, checking and changing it must not crash, hang or run out of bounds, whatever an authentic block says.
#include "fuzz/seal/use.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t n)
{
	struct mem m;
	mem_copy(&m, use_image());
	while (n > 4) {
		u64 off = (data[0] | (u64)data[1] << 8 | (u64)data[2] << 16) % m.size;
		size_t k = data[3] % 16u + 1;
		data += 4;
		n -= 4;
		k = SEAL_MIN(SEAL_MIN(k, n), m.size - off);
		memcpy(m.data + off, data, k);
		data += k;
		n -= k;
	}
	use_volume(&m);
	mem_free(&m);
	return 0;
}
