// SPDX-License-Identifier: Apache-2.0
// Oblivious HTTP against the examples of RFC 9458 and of the draft on chunks, both ends against each other in every suite, and what a relay may try:
// bytes changed, cut, in another order, of another exchange.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"
#include "tests/attest/ok.h"
#include "tunnel/ohttp.h"

struct bytes {
	uint8_t at[512];
	size_t len;
};

static struct bytes unhex(const char *hex)
{
	struct bytes b = {.len = strlen(hex) / 2};
	if (b.len > sizeof b.at || hex_decode(b.at, b.len, hex))
		abort();
	return b;
}

static bool same(const struct outbuf *b, const struct bytes *want)
{
	return !b->failed && b->len == want->len && !memcmp(b->at, want->at, want->len);
}

static const char bhttp_request[] = "00034745540568747470730b6578616d706c652e636f6d012f", bhttp_response[] = "0140c8";

// One of the two published exchanges. The chunks' sizes, of plain bytes: 0 ends them.
struct example {
	const char *name;
	bool chunked;
	const char *secret, *config, *ephemeral_secret, *ephemeral, *request, *nonce, *response;
	size_t request_chunk, response_chunk;
};

static const struct example examples[] = {
	{"RFC 9458 appendix A", false, "3c168975674b2fa8e465970b79c8dcf09f1c741626480bd4c6162fc5b6a98e1a",
	 "01002031e1f05a740102115220e9af918f738674aec95f54db6e04eb705aae8e79815500080001000100010003",
	 "bc51d5e930bda26589890ac7032f70ad12e4ecb37abb1b65b1256c9c48999c73", "4b28f881333e7c164ffc499ad9796f877f4e1051ee6d31bad19dec96c208b472",
	 "010020000100014b28f881333e7c164ffc499ad9796f877f4e1051ee6d31bad19dec96c208b472"
	 "6374e469135906992e1268c594d2a10c695d858c40a026e7965e7d86b83dd440b2c0185204b4d63525",
	 "c789e7151fcba46158ca84b04464910d", "c789e7151fcba46158ca84b04464910d86f9013e404feea014e7be4a441f234f857fbd", 25, 3},
	{"the draft's chunked example", true, "1c190d72acdbe4dbc69e680503bb781a932c70a12c8f3754434c67d8640d8698",
	 "010020668eb21aace159803974a4c67f08b4152d29bed10735fd08f98ccdd6fe09570800080001000100010003",
	 "b26d565f3f875ed480d1abced3d665159650c99174fd0b124ac4bda0c64ae324", "8811eb457e100811c40a0aa71340a1b81d804bb986f736f2f566a7199761a032",
	 "010020000100018811eb457e100811c40a0aa71340a1b81d804bb986f736f2f566a7199761a032"
	 "1c2ad24942d4d692563012f2980c8fef437a336b9b2fc938ef77a5834f1d2e33d8fd25577afe31bd1c79d094f76b6250ae6549b473ecd950501311"
	 "001c6c1395d0ef7c1022297966307b8a7f",
	 "bcce7f4cb921309ba5d62edf1769ef09",
	 "bcce7f4cb921309ba5d62edf1769ef091179bf1cc87fa0e2c02de4546945aa3d1e4812b348b5bd4c594c16b6170b07b475845d1f32"
	 "00ed9d8a796617a5b27265f4d73247f639", 12, 1},
};

typedef int seal_fn(struct ohttp_exchange *x, const void *bytes, size_t len, bool last, struct outbuf *out);
typedef int open_fn(struct ohttp_exchange *x, const uint8_t *in, size_t len, bool last, struct outbuf *out);

// A first chunk of that size, the rest, and an empty last one, as in the example; or all at once.
static int seal_all(seal_fn *seal, struct ohttp_exchange *x, const struct bytes *b, size_t first, struct outbuf *out)
{
	if (!x->chunked)
		return seal(x, b->at, b->len, true, out);
	int err = seal(x, b->at, first, false, out);
	if (!err)
		err = seal(x, b->at + first, b->len - first, false, out);
	return err ? err : seal(x, "", 0, true, out);
}

static int open_all(open_fn *open, struct ohttp_exchange *x, const uint8_t *in, size_t len, struct outbuf *out)
{
	bool last = false;
	if (!x->chunked)
		return open(x, in, len, true, out);
	while (!last) {
		const uint8_t *chunk;
		size_t n, used;
		int err = ohttp_chunk_find(in, len, true, &chunk, &n, &used, &last);
		if (!err)
			err = open(x, chunk, n, last, out);
		if (err)
			return err;
		in += used;
		len -= used;
	}
	return 0;
}

static void test_example(const struct example *e)
{
	struct bytes secret = unhex(e->secret), config = unhex(e->config), own = unhex(e->ephemeral_secret), enc = unhex(e->ephemeral),
		nonce = unhex(e->nonce);
	struct bytes request = unhex(bhttp_request), response = unhex(bhttp_response), want_request = unhex(e->request),
		want_response = unhex(e->response);
	struct outbuf out = {.at = NULL}, opened = {.at = NULL}, answer = {.at = NULL}, read = {.at = NULL};
	struct ohttp_exchange client, server;
	struct ohttp_config c;
	struct ohttp_request_header h;
	struct fault f = {""};
	char name[96];
	size_t used = 0;
	int err = ohttp_config_read(&c, config.at, config.len, &f);
	snprintf(name, sizeof name, "ohttp: %s: key configuration", e->name);
	ok(name, !err && c.id == 1 && c.kem == HPKE_X25519 && c.aeads == (1u << HPKE_AES_128_GCM | 1u << HPKE_CHACHA20_POLY1305), "%d %s", err,
	   f.text);

	EVP_PKEY *ephemeral = hpke_private(HPKE_X25519, own.at, enc.at, 32), *key = hpke_private(HPKE_X25519, secret.at, c.public, 32);
	err = ohttp_client_begin(&client, &c, e->chunked, ephemeral, &out);
	if (!err)
		err = seal_all(ohttp_client_seal, &client, &request, e->request_chunk, &out);
	snprintf(name, sizeof name, "ohttp: %s: request", e->name);
	ok(name, !err && same(&out, &want_request), "%d", err);

	err = ohttp_header_read(&h, out.at, out.len);
	if (!err)
		err = h.key_id == 1 ? ohttp_server_begin(&server, key, e->chunked, out.at, out.len, &used) : -ENOENT;
	if (!err)
		err = open_all(ohttp_server_open, &server, out.at + used, out.len - used, &opened);
	snprintf(name, sizeof name, "ohttp: %s: the gateway opens it", e->name);
	ok(name, !err && same(&opened, &request), "%d", err);

	err = ohttp_server_answer(&server, nonce.at, &answer);
	if (!err)
		err = seal_all(ohttp_server_seal, &server, &response, e->response_chunk, &answer);
	snprintf(name, sizeof name, "ohttp: %s: response", e->name);
	ok(name, !err && same(&answer, &want_response), "%d", err);

	err = ohttp_client_answer(&client, answer.at, answer.len, &used);
	if (!err)
		err = open_all(ohttp_client_open, &client, answer.at + used, answer.len - used, &read);
	snprintf(name, sizeof name, "ohttp: %s: the client opens it", e->name);
	ok(name, !err && same(&read, &response), "%d", err);
	ohttp_end(&client);
	ohttp_end(&server);
	EVP_PKEY_free(ephemeral);
	EVP_PKEY_free(key);
	outbuf_free(&out);
	outbuf_free(&opened);
	outbuf_free(&answer);
	outbuf_free(&read);
}

// ---- both ends against each other ----

static EVP_PKEY *x25519, *p256;

static struct ohttp_config config_of(uint16_t kem, unsigned int aead)
{
	struct ohttp_config c = {.id = 7, .kem = kem, .aeads = 1u << aead};
	if (hpke_public_write(kem, kem == HPKE_P256 ? p256 : x25519, c.public))
		abort();
	return c;
}

static struct ohttp_exchange client, server;
static struct outbuf request, answer;

// A whole exchange up to the sealed answer.
static int exchange(uint16_t kem, unsigned int aead, bool chunked)
{
	struct ohttp_config c = config_of(kem, aead);
	struct bytes asked = unhex(bhttp_request), said = {.len = 300};
	struct outbuf opened = {.at = NULL};
	size_t used;
	memset(said.at, 'a', said.len);
	outbuf_free(&request);
	outbuf_free(&answer);
	ohttp_end(&client);
	ohttp_end(&server);
	int err = ohttp_client_begin(&client, &c, chunked, NULL, &request);
	if (!err)
		err = seal_all(ohttp_client_seal, &client, &asked, 5, &request);
	if (!err)
		err = ohttp_server_begin(&server, kem == HPKE_P256 ? p256 : x25519, chunked, request.at, request.len, &used);
	if (!err)
		err = open_all(ohttp_server_open, &server, request.at + used, request.len - used, &opened);
	if (!err && !same(&opened, &asked))
		err = -EIO;
	if (!err)
		err = ohttp_server_answer(&server, NULL, &answer);
	if (!err)
		err = seal_all(ohttp_server_seal, &server, &said, 100, &answer);
	outbuf_free(&opened);
	return err;
}

static int take_answer(struct ohttp_exchange *x, const uint8_t *in, size_t len)
{
	struct outbuf out = {.at = NULL};
	size_t used;
	int err = ohttp_client_answer(x, in, len, &used);
	if (!err)
		err = open_all(ohttp_client_open, x, in + used, len - used, &out);
	if (!err && out.len != 300)
		err = -EIO;
	outbuf_free(&out);
	return err;
}

static int take_request(const uint8_t *in, size_t len, bool chunked)
{
	struct outbuf out = {.at = NULL};
	struct ohttp_exchange x;
	size_t used;
	int err = ohttp_server_begin(&x, x25519, chunked, in, len, &used);
	if (!err) {
		err = open_all(ohttp_server_open, &x, in + used, len - used, &out);
		ohttp_end(&x);
	}
	outbuf_free(&out);
	return err;
}

static void test_suites(void)
{
	for (int i = 0; i < 12; i++) {
		uint16_t kem = i & 1 ? HPKE_P256 : HPKE_X25519;
		unsigned int aead = (unsigned int)i / 4 + 1;
		char name[96];
		int err = exchange(kem, aead, i & 2);
		if (!err)
			err = take_answer(&client, answer.at, answer.len);
		snprintf(name, sizeof name, "ohttp: %s exchange with KEM %#x, AEAD %u", i & 2 ? "a chunked" : "an", kem, aead);
		ok(name, !err, "%d", err);
	}
}

// Every byte changed, and every cut: nothing passes.
static void test_relay(bool chunked)
{
	const char *what = chunked ? "chunked" : "whole";
	size_t passed = 0;
	char name[128];
	ok("ohttp: an exchange to attack", !exchange(HPKE_X25519, HPKE_AES_128_GCM, chunked), "none");
	for (size_t i = 0; i < request.len; i++) {
		request.at[i] ^= 0x01;
		passed += !take_request(request.at, request.len, chunked);
		request.at[i] ^= 0x01;
	}
	snprintf(name, sizeof name, "ohttp: a %s request with any byte changed", what);
	ok(name, !passed, "%zu passed", passed);
	for (size_t n = 0; n < request.len; n++)
		passed += !take_request(request.at, n, chunked);
	snprintf(name, sizeof name, "ohttp: a %s request cut anywhere", what);
	ok(name, !passed, "%zu passed", passed);
	for (size_t i = 0; i < answer.len; i++) {
		answer.at[i] ^= 0x80;
		passed += !take_answer(&client, answer.at, answer.len);
		answer.at[i] ^= 0x80;
	}
	snprintf(name, sizeof name, "ohttp: a %s response with any byte changed", what);
	ok(name, !passed, "%zu passed", passed);
	for (size_t n = 0; n < answer.len; n++)
		passed += !take_answer(&client, answer.at, n);
	snprintf(name, sizeof name, "ohttp: a %s response cut anywhere", what);
	ok(name, !passed, "%zu passed", passed);
	snprintf(name, sizeof name, "ohttp: the %s response itself", what);
	ok(name, !take_answer(&client, answer.at, answer.len), "refused");
	snprintf(name, sizeof name, "ohttp: a %s request as the other form", what);
	ok(name, take_request(request.at, request.len, !chunked) < 0, "taken");

	struct outbuf old = answer;
	answer = (struct outbuf){.at = NULL};
	int err = exchange(HPKE_X25519, HPKE_AES_128_GCM, chunked);
	snprintf(name, sizeof name, "ohttp: the %s response to another request", what);
	ok(name, !err && take_answer(&client, old.at, old.len) == -EBADMSG, "taken");
	outbuf_free(&old);
}

static void test_chunks(void)
{
	uint8_t swapped[1024];
	const uint8_t *chunk;
	size_t n, used, used2 = 0, nonce = 16;
	bool last;
	int err = exchange(HPKE_X25519, HPKE_AES_128_GCM, true);
	if (!ok("ohttp: chunks to attack", !err && answer.len < sizeof swapped, "%d", err))
		return;
	err = ohttp_chunk_find(answer.at + nonce, answer.len - nonce, true, &chunk, &n, &used, &last);
	if (!err)
		err = ohttp_chunk_find(answer.at + nonce + used, answer.len - nonce - used, true, &chunk, &n, &used2, &last);
	uint8_t *p = mempcpy(swapped, answer.at, nonce);
	p = mempcpy(p, answer.at + nonce + used, used2);
	p = mempcpy(p, answer.at + nonce, used);
	memcpy(p, answer.at + nonce + used + used2, answer.len - nonce - used - used2);
	ok("ohttp: chunks in another order", !err && take_answer(&client, swapped, answer.len) == -EBADMSG, "%d", err);
	// The first chunk said to be the last one.
	memcpy(swapped, answer.at, nonce);
	swapped[nonce] = 0;
	err = ohttp_chunk_find(answer.at + nonce, answer.len - nonce, true, &chunk, &n, &used, &last);
	memcpy(swapped + nonce + 1, chunk, n);
	ok("ohttp: a chunk given out as the last one", !err && take_answer(&client, swapped, nonce + 1 + n) == -EBADMSG, "%d", err);
	ok("ohttp: a large chunk is not waited for", ohttp_chunk_find((const uint8_t *)"\x80\1\0\1", 4, false, &chunk, &n, &used, &last) == -E2BIG,
	   "waits");
	ok("ohttp: a length that is cut short", ohttp_chunk_find((const uint8_t *)"\x80\1", 2, false, &chunk, &n, &used, &last) == -EAGAIN &&
	   ohttp_chunk_find((const uint8_t *)"\x80\1", 2, true, &chunk, &n, &used, &last) == -EINVAL, "taken");
	struct outbuf out = {.at = NULL};
	static uint8_t big[OHTTP_MAX_CHUNK + 1];
	ok("ohttp: an empty chunk before the last, and one that is too large, are not made", ohttp_server_seal(&server, "", 0, false,
	   &out) == -EINVAL &&
	   ohttp_server_seal(&server, big, sizeof big, false, &out) == -EINVAL, "made");
	outbuf_free(&out);
}

// ---- key configurations ----

static void refuse_configs(const char *name, const char *hex, int err)
{
	static struct ohttp_config all[OHTTP_MAX_CONFIGS];
	struct bytes b = unhex(hex);
	struct fault f = {""};
	int got = ohttp_configs_read(all, b.at, b.len, &f);
	ok(name, got == err && (got > 0 || *f.text), "%d %s", got, f.text);
}

static void test_configs(void)
{
	static struct ohttp_config all[OHTTP_MAX_CONFIGS];
	struct ohttp_config a = config_of(HPKE_X25519, 1), b = config_of(HPKE_P256, 1);
	struct outbuf out = {.at = NULL};
	struct fault f = {""};
	b.id = 8;
	ohttp_config_put(&out, &a, true);
	ohttp_config_put(&out, &b, true);
	int n = ohttp_configs_read(all, out.at, out.len, &f);
	ok("ohttp: a list of two", n == 2 && all[0].id == 7 && all[0].kem == HPKE_X25519 && all[1].id == 8 && all[1].kem == HPKE_P256 &&
	   all[1].aeads == 14 &&
	   !memcmp(all[1].public, b.public, 65), "%d %s", n, f.text);
	size_t wrong = 0;
	size_t whole = out.len, first = 2 + 1 + 2 + 32 + 2 + 12;
	for (size_t i = 0; i < whole; i++) {
		uint8_t *copy = malloc(i + !i);	// no longer than it is
		memcpy(copy, out.at, i);
		wrong += i != first && ohttp_configs_read(all, copy, i, &f) >= 0;
		free(copy);
	}
	ok("ohttp: a list cut anywhere", !wrong, "%zu taken", wrong);
	outbuf_free(&out);
#define KEY "31e1f05a740102115220e9af918f738674aec95f54db6e04eb705aae8e798155"
	refuse_configs("ohttp: an unknown KEM beside a known one is passed over", "0005ee00990000" "0029010020" KEY "000400010001", 1);
	refuse_configs("ohttp: nothing but an unknown KEM", "0005ee00990000", -EINVAL);
	refuse_configs("ohttp: no algorithm", "0025010020" KEY "0000", -EINVAL);
	refuse_configs("ohttp: algorithms that are not pairs", "0027010020" KEY "00020001", -EINVAL);
	refuse_configs("ohttp: none but unknown algorithms", "0029010020" KEY "000400010009", -EINVAL);
	refuse_configs("ohttp: bytes behind the algorithms", "002a010020" KEY "00040001000100", -EINVAL);
	refuse_configs("ohttp: a configuration of no bytes", "0000", -EINVAL);
	refuse_configs("ohttp: a point that is none", "004a070010" "04" KEY KEY "000400010001", -EINVAL);
	ok("ohttp: an empty list", ohttp_configs_read(all, (const uint8_t *)"", 0, &f) == -EINVAL, "taken");
}

int main(void)
{
	x25519 = hpke_generate(HPKE_X25519);
	p256 = hpke_generate(HPKE_P256);
	for (size_t i = 0; i < sizeof examples / sizeof *examples; i++)
		test_example(&examples[i]);
	test_suites();
	test_relay(false);
	test_relay(true);
	test_chunks();
	test_configs();
	EVP_PKEY_free(x25519);
	EVP_PKEY_free(p256);
	ohttp_end(&client);
	ohttp_end(&server);
	outbuf_free(&request);
	outbuf_free(&answer);
	return ok_failed != 0;
}
