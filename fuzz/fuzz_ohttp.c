// SPDX-License-Identifier: Apache-2.0
// Untrusted bytes as a list of key configurations, as a request to a gateway, and as a response to a client.
#include <stdint.h>
#include <stdlib.h>

#include "tunnel/ohttp.h"

static void open_rest(struct ohttp_exchange *x, const uint8_t *in, size_t len, bool client)
{
	struct outbuf out = {.at = NULL};
	const uint8_t *chunk = in;
	size_t n = len, used = len;
	bool last = true;
	for (int i = 0; i < 64; i++) {
		if (x->chunked && ohttp_chunk_find(in, len, true, &chunk, &n, &used, &last))
			break;
		if ((client ? ohttp_client_open(x, chunk, n, last, &out) : ohttp_server_open(x, chunk, n, last, &out)) || last)
			break;
		in += used;
		len -= used;
	}
	outbuf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static EVP_PKEY *keys[2];
	static struct ohttp_config own = {.id = 1, .kem = HPKE_X25519, .aeads = 14}, all[OHTTP_MAX_CONFIGS];
	struct outbuf out = {.at = NULL};
	struct ohttp_request_header h;
	struct ohttp_exchange x;
	struct fault f;
	size_t used;
	if (!keys[0]) {
		keys[0] = hpke_generate(HPKE_X25519);
		keys[1] = hpke_generate(HPKE_P256);
		if (hpke_public_write(HPKE_X25519, keys[0], own.public))
			abort();
	}
	if (!size)
		return 0;
	bool chunked = data[0] & 1;
	ohttp_configs_read(all, data + 1, size - 1, &f);
	if (!ohttp_header_read(&h, data + 1, size - 1) && !ohttp_server_begin(&x, keys[h.suite.kem == HPKE_P256], chunked, data + 1, size - 1,
		&used)) {
		open_rest(&x, data + 1 + used, size - 1 - used, false);
		ohttp_end(&x);
	}
	if (!ohttp_client_begin(&x, &own, chunked, NULL, &out)) {
		if (!ohttp_client_answer(&x, data + 1, size - 1, &used))
			open_rest(&x, data + 1 + used, size - 1 - used, true);
		ohttp_end(&x);
	}
	outbuf_free(&out);
	return 0;
}
