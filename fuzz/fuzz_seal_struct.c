// SPDX-License-Identifier: Apache-2.0
// Each on-disk structure of sealed volumes by itself, with the cipher taken away (fuzz/seal/plain_gcm.c, which also notes what each
// block is): the input's first byte chooses a kind (root slot, pointer block, inode table, directory or contents, extended
// attributes, free space map, counters of shared blocks, snapshot table, session table, record of the log), the second a block of
// that kind; then come changes to it: 2 bytes of place, 1 of length, the bytes; or, where the length has its upper bit, 1 byte that says
// which of the block's 32 bytes (a pointer) go to how many places after it. Opening, checking, reading and changing the volume must
// not crash, hang or run out of bounds, whatever an authentic block says.
#include "fuzz/seal/use.h"

int LLVMFuzzerTestOneInput(const u8 *data, size_t n)
{
	struct mem m;
	u64 block;
	const struct mem *image = use_image();
	if (n < 2)
		return 0;
	mem_copy(&m, image);
	block = use_block_of(data[0], data[1]);
	data += 2;
	n -= 2;
	while (n > 3) {
		u64 off = (data[0] | (u64)data[1] << 8) % 4096, k = data[2] % 32u + 1;
		if (data[2] & 0x80) { // blocks that many name
			off = off / 32 * 32;
			for (u64 j = 0; j < 4 * k && off + 32 * j < 4096; j++)
				memmove(m.data + block * 4096 + off + 32 * j, m.data + block * 4096 + data[3] % 128u * 32, 32);
			data += 4;
			n -= 4;
			continue;
		}
		data += 3;
		n -= 3;
		k = SEAL_MIN(SEAL_MIN(k, n), 4096 - off);
		memcpy(m.data + block * 4096 + off, data, k);
		data += k;
		n -= k;
	}
	use_volume(&m);
	mem_free(&m);
	return 0;
}
