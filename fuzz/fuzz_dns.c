// SPDX-License-Identifier: Apache-2.0
// Fuzzes what becomes of a name server's answer that is too long for a datagram: the first byte pair says where the query ends and the answer begins.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "init/gateway.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2)
		return 0;
	size_t query = ((size_t)data[0] << 8 | data[1]) % (size - 1), len = size - 2 - query;
	uint8_t *asked = malloc(query + 1), *answer = malloc(len + 1);
	if (!asked || !answer)
		abort();
	memcpy(asked, data + 2, query);
	memcpy(answer, data + 2 + query, len);
	size_t n = gateway_dns_short(asked, query, answer, len);
	if (n > len || n > 1232)
		abort();
	free(asked);
	free(answer);
	return 0;
}
