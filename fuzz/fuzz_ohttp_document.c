// SPDX-License-Identifier: Apache-2.0
// An attested key configuration as a relay may hand it to a client: JSON, base64url, key configurations, evidence with its claims, tokens. The client believes
// nobody's hardware and nobody's tokens, so that nothing may be accepted.
#include <stdint.h>
#include <stdlib.h>

#include "ratls/judge.h"
#include "tunnel/ohttp_keys.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct judge *judge;
	const struct ratls_options o = {.verify = true, .any_measurement = true, .at = 1700000000};
	struct ohttp_config best;
	struct verdict *v;
	struct fault f = {""};
	if (!judge && judge_open(&judge, &o, &f))
		abort();
	if (!ohttp_document_check(judge, (const char *)data, size, "0123456789abcdef", 16, &best, &v, &f))
		abort();
	verdict_release(v);
	return 0;
}
