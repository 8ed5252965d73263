// SPDX-License-Identifier: Apache-2.0
// Fuzzes what a TPM, or who poses as one, answers: pieces of the input, one after the other. Nothing is ever accepted as an index's
// contents, since the input cannot know the secret.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/tpm.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t *input;
static size_t left;

static int answer_with(struct tpm *t, const uint8_t *command, size_t n, uint8_t *answer, size_t *len, struct fault *f)
{
	(void)t, (void)command, (void)n;
	if (left < 2)
		return fault_set(f, -ECONNRESET, "no more");
	size_t want = (size_t)input[0] << 3 | input[1] >> 5, k = want < left - 2 ? want : left - 2;
	memcpy(answer, input + 2, k);
	input += 2 + k;
	left -= 2 + k;
	if (k >= 10) { // the right length and no error, or few would get anywhere
		memcpy(answer + 2, (uint8_t[]){0, 0, (uint8_t)(k >> 8), (uint8_t)k}, 4);
		if (answer[9] & 1)
			memset(answer + 6, 0, 4);
		else
			answer[8] |= 0x80; // and never "busy"
	}
	*len = k;
	return 0;
}

static int never(void *ctx, uint8_t *bytes, struct fault *f)
{
	(void)ctx, (void)bytes, (void)f;
	abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t auth[TPM_AUTH_BYTES] = {1};
	struct tpm t = {.fd = -1, .transmit = answer_with};
	uint8_t bytes[72] = {0}, name[TPM_NAME_BYTES] = {0};
	struct fault f;
	input = data;
	left = size;
	if (!tpm_nv_read(&t, 1, auth, bytes, sizeof bytes, &f))
		abort();
	tpm_nv_swap(&t, 1, auth, sizeof bytes, never, NULL, &f);
	if (!tpm_nv_create(&t, 1, auth, bytes, sizeof bytes, name, &f))
		abort();
	return 0;
}
