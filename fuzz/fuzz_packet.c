// SPDX-License-Identifier: Apache-2.0
// Fuzzes the look at IP packets that decides whether they may pass, with the lists of networks in text before them. What passes has its addresses in
// the lists.
#include <stdlib.h>
#include <string.h>

#include "tunnel/prefix.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct prefixes lists[2] = {0};
	const uint8_t *source, *destination;
	unsigned int version;
	while (size && *data && lists[0].count + lists[1].count < 8) {	// texts that end with a new line, up to a zero
		const uint8_t *end = memchr(data, '\n', size);
		char text[64] = "";
		size_t n = end ? (size_t)(end - data) : size;
		struct prefixes *p = &lists[n & 1];
		memcpy(text, data, n < sizeof text - 1 ? n : sizeof text - 1);
		if (!prefix_parse(&p->list[p->count], text, n & 2)) {
			if (p->list[p->count].bits > (p->list[p->count].version == 4 ? 32 : 128))
				abort();
			p->count++;
		}
		data += end ? n + 1 : n;
		size -= end ? n + 1 : n;
	}
	uint8_t *packet = malloc(size ? size : 1);
	if (!packet)
		abort();
	if (size)
		memcpy(packet, data, size);
	if (packet_may_pass(packet, size, &lists[0], &lists[1])) {
		if (packet_addresses(packet, size, &version, &source, &destination) || source < packet ||
		    destination + (version == 4 ? 4 : 16) > packet + size ||
		    !prefixes_have(&lists[0], version, source) || !prefixes_have(&lists[1], version, destination))
			abort();
	}
	free(packet);
	return 0;
}
