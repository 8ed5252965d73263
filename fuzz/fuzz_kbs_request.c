// SPDX-License-Identifier: Apache-2.0
// Fuzzes what a stranger can send to the broker: HTTP heads, and the bodies of the KBS protocol. The input's first byte
// says which, and of what hardware the evidence claims to be.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "broker/kbs.h"
#include "lib/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void head(const char *bytes, size_t size)
{
	struct http_head *h = malloc(sizeof *h);
	char id[40];
	size_t len = http_head_length(bytes, size);
	if (!h)
		abort();
	for (int reply = 0; len && reply < 2; reply++) {
		if (!http_parse_head(h, bytes, len, reply))
			http_cookie(h->cookie, "kbs-session-id", id, sizeof id);
	}
	free(h);
}

static void text(const char *bytes, size_t size)
{
	struct http_url u;
	char *s = strndup(bytes, size);
	if (!s)
		abort();
	http_parse_url(&u, s);
	kbs_resource_valid(s);
	free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const tees[] = {"snp", "tdx", "sgx", "csv", "cca", "az-snp-vtpm", "az-tdx-vtpm", "tpm"};
	const struct coco_tee *tee = coco_tee_find(tees[size ? data[0] >> 2 & 7 : 0]);
	struct kbs_attest a;
	struct fault f;
	if (!size)
		return 0;
	const char *bytes = (const char *)data + 1;
	switch (data[0] & 3) {
	case 0: head(bytes, size - 1); break;
	case 1: kbs_parse_auth(bytes, size - 1, &tee, &f); break;
	case 2: text(bytes, size - 1); break;
	default:
		if (!kbs_parse_attest(bytes, size - 1, tee, &a, &f))
			kbs_attest_free(&a);
	}
	return 0;
}
