// SPDX-License-Identifier: Apache-2.0
// Fuzzes the name server of `coffer tunnel exec` (tunnel/exec_names.c): what it answers is no longer than it may be, and an address that it made
// up leads to a name.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "tunnel/exec_names.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct exec_names *names;
	uint8_t answer[NAMES_MESSAGE];
	struct target t = {.host = TARGET_IPV4};
	if (!names && !(names = exec_names_new()))
		return 0;
	size_t n = exec_names_answer(names, data, size, answer);
	if (n > sizeof answer || (n && n < 12))
		abort();
	if (n > 28 && answer[7] == 1 && answer[n - 4] == 198) {
		memcpy(t.address, answer + n - 4, 4);
		if (exec_names_find(names, &t) != 1 && !memcmp(answer + n - 6, "\0\4", 2))
			abort();
	}
	return 0;
}
