// SPDX-License-Identifier: Apache-2.0
// See ohttp.h. Section numbers are RFC 9458's.
#include "tunnel/ohttp.h"

#include <errno.h>
#include <openssl/rand.h>

#define HEADER_BYTES 7
#define MAX_SEALED_CHUNK (64u << 10)	// of other makes' peers, that is taken

static const uint16_t aead_order[] = {HPKE_AES_128_GCM, HPKE_AES_256_GCM, HPKE_CHACHA20_POLY1305};	// the browser has the first two

// ---- key configurations ----

void ohttp_config_put(struct outbuf *b, const struct ohttp_config *c, bool listed)
{
	size_t n = hpke_public_bytes(c->kem), count = sizeof aead_order / sizeof *aead_order;
	if (listed)
		outbuf_number(b, 1 + 2 + n + 2 + 4 * count, 2);
	outbuf_number(b, c->id, 1);
	outbuf_number(b, c->kem, 2);
	outbuf_put(b, c->public, n);
	outbuf_number(b, 4 * count, 2);
	for (size_t i = 0; i < count; i++) {
		outbuf_number(b, HPKE_HKDF_SHA256, 2);
		outbuf_number(b, aead_order[i], 2);
	}
}

static unsigned int two(const uint8_t *p)
{
	return (unsigned int)p[0] << 8 | p[1];
}

int ohttp_config_read(struct ohttp_config *c, const uint8_t *bytes, size_t len, struct fault *f)
{
	memset(c, 0, sizeof *c);
	if (len < 3)
		return fault_set(f, -EINVAL, "a key configuration of %zu bytes", len);
	c->id = bytes[0];
	c->kem = (uint16_t)two(bytes + 1);
	size_t n = hpke_public_bytes(c->kem);
	if (!n)
		return fault_set(f, -EOPNOTSUPP, "a key configuration with KEM 0x%04x", c->kem);
	if (len < 3 + n + 2)
		return fault_set(f, -EINVAL, "a key configuration that is cut short");
	memcpy(c->public, bytes + 3, n);
	const uint8_t *p = bytes + 3 + n;
	size_t suites = two(p);
	if (suites != len - 3 - n - 2 || suites % 4 || !suites)
		return fault_set(f, -EINVAL, "a key configuration without a proper list of algorithms");
	for (p += 2; suites; p += 4, suites -= 4) {
		unsigned int aead = two(p + 2);
		if (two(p) == HPKE_HKDF_SHA256 && hpke_key_bytes((uint16_t)aead))
			c->aeads |= 1u << aead;
	}
	EVP_PKEY *key = hpke_public_read(c->kem, c->public, n);
	EVP_PKEY_free(key);
	if (!key)
		return fault_set(f, -EINVAL, "a key configuration whose public key is none");
	return c->aeads ? 0 : fault_set(f, -EOPNOTSUPP, "a key configuration without an algorithm that is known here");
}

int ohttp_configs_read(struct ohttp_config out[OHTTP_MAX_CONFIGS], const uint8_t *bytes, size_t len, struct fault *f)
{
	int count = 0;
	while (len) {
		size_t n = len < 2 ? 0 : two(bytes);
		if (len < 2 || n > len - 2)
			return fault_set(f, -EINVAL, "a list of key configurations that is cut short");
		if (count == OHTTP_MAX_CONFIGS)
			return fault_set(f, -EINVAL, "more than %d key configurations", OHTTP_MAX_CONFIGS);
		int err = ohttp_config_read(&out[count], bytes + 2, n, f);
		if (err && err != -EOPNOTSUPP)
			return err;
		count += !err;
		bytes += 2 + n;
		len -= 2 + n;
	}
	return count ? count : fault_set(f, -EINVAL, "no key configuration that is known here");
}

// ---- both ends ----

void ohttp_end(struct ohttp_exchange *x)
{
	hpke_end(&x->hpke);
	hpke_aead_end(&x->response);
	OPENSSL_cleanse(x, sizeof *x);
}

// info (section 4.3): a label, a zero, the header.
static void put_info(struct outbuf *b, bool chunked, const uint8_t header[HEADER_BYTES])
{
	outbuf_text(b, chunked ? "message/bhttp chunked request" : "message/bhttp request");
	outbuf_number(b, 0, 1);
	outbuf_put(b, header, HEADER_BYTES);
}

// How long the response's nonce is, and the secret that is exported: max(Nn, Nk).
static size_t entropy_bytes(const struct ohttp_exchange *x)
{
	size_t n = hpke_key_bytes(x->hpke.suite.aead);
	return n > HPKE_NONCE ? n : HPKE_NONCE;
}

// Section 4.4: key and nonce of the response.
static int begin_response(struct ohttp_exchange *x, const uint8_t *nonce, bool seal)
{
	const char *label = x->chunked ? "message/bhttp chunked response" : "message/bhttp response";
	uint8_t secret[HPKE_MAX_KEY], salt[HPKE_MAX_PUBLIC + HPKE_MAX_KEY], prk[HPKE_HASH], key[HPKE_MAX_KEY], iv[HPKE_NONCE];
	size_t n = entropy_bytes(x);
	memcpy(salt, x->enc, x->enc_len);
	memcpy(salt + x->enc_len, nonce, n);
	int err = hpke_export(&x->hpke, label, strlen(label), secret, n);
	if (!err)
		err = hpke_extract(salt, x->enc_len + n, secret, n, prk);
	if (!err)
		err = hpke_expand(prk, "key", 3, key, hpke_key_bytes(x->hpke.suite.aead));
	if (!err)
		err = hpke_expand(prk, "nonce", 5, iv, sizeof iv);
	hpke_aead_end(&x->response);
	if (!err)
		err = hpke_aead_begin(&x->response, x->hpke.suite.aead, key, iv, seal);
	OPENSSL_cleanse(secret, sizeof secret);
	OPENSSL_cleanse(prk, sizeof prk);
	OPENSSL_cleanse(key, sizeof key);
	OPENSSL_cleanse(iv, sizeof iv);
	return err;
}

// A chunk is its sealed length and itself; the last one has 0 there.
static int seal(struct ohttp_exchange *x, struct hpke_aead *a, const void *bytes, size_t len, bool last, struct outbuf *out)
{
	bool final = x->chunked && last;
	if (!a->cipher || (x->chunked && (len > OHTTP_MAX_CHUNK || (!len && !last))))
		return -EINVAL;
	if (x->chunked)
		outbuf_varint(out, last ? 0 : len + HPKE_TAG);
	uint8_t *p = outbuf_add(out, len + HPKE_TAG);
	return p ? hpke_aead_seal(a, "final", final ? 5 : 0, bytes, len, p) : -ENOMEM;
}

static int open(struct ohttp_exchange *x, struct hpke_aead *a, const uint8_t *in, size_t len, bool last, struct outbuf *out)
{
	bool final = x->chunked && last;
	size_t before = out->len;
	if (!a->cipher)
		return -EINVAL;
	if (len < HPKE_TAG || (x->chunked && !last && len == HPKE_TAG))
		return -EBADMSG;
	uint8_t *p = outbuf_add(out, len - HPKE_TAG);
	int err = p ? hpke_aead_open(a, "final", final ? 5 : 0, in, len, p) : -ENOMEM;
	if (err)
		out->len = before;
	return err;
}

int ohttp_chunk_find(const uint8_t *in, size_t len, bool ended, const uint8_t **chunk, size_t *chunk_len, size_t *used, bool *last)
{
	size_t n = len ? 1u << (in[0] >> 6) : 1;
	uint64_t size = len ? in[0] & 0x3f : 0;
	if (len < n)
		return ended ? -EINVAL : -EAGAIN;
	for (size_t i = 1; i < n; i++)
		size = size << 8 | in[i];
	*last = size == 0;
	if (*last ? len - n > MAX_SEALED_CHUNK : size > MAX_SEALED_CHUNK)
		return -E2BIG;
	if (*last && !ended)
		return -EAGAIN;
	if (*last)
		size = len - n;
	if (len - n < size)
		return ended ? -EINVAL : -EAGAIN;
	*chunk = in + n;
	*chunk_len = (size_t)size;
	*used = n + (size_t)size;
	return 0;
}

// ---- client ----

int ohttp_client_begin(struct ohttp_exchange *x, const struct ohttp_config *c, bool chunked, EVP_PKEY *ephemeral, struct outbuf *out)
{
	struct hpke_suite s = {.kem = c->kem, .kdf = HPKE_HKDF_SHA256};
	struct outbuf info = {.at = NULL}, header = {.at = NULL};
	memset(x, 0, sizeof *x);
	x->chunked = chunked;
	for (size_t i = 0; !s.aead && i < sizeof aead_order / sizeof *aead_order; i++)
		s.aead = c->aeads & 1u << aead_order[i] ? aead_order[i] : 0;
	EVP_PKEY *to = s.aead ? hpke_public_read(c->kem, c->public, hpke_public_bytes(c->kem)) : NULL;
	int err = to ? 0 : -EINVAL;
	outbuf_number(&header, c->id, 1);
	outbuf_number(&header, s.kem, 2);
	outbuf_number(&header, s.kdf, 2);
	outbuf_number(&header, s.aead, 2);
	if (!header.failed)
		put_info(&info, chunked, header.at);
	if (!err && (header.failed || info.failed))
		err = -ENOMEM;
	if (!err)
		err = hpke_sender(&x->hpke, &s, to, ephemeral, info.at, info.len, x->enc);
	if (!err) {
		x->enc_len = hpke_public_bytes(c->kem);
		outbuf_put(out, header.at, header.len);
		outbuf_put(out, x->enc, x->enc_len);
		err = out->failed ? -ENOMEM : 0;
	}
	EVP_PKEY_free(to);
	outbuf_free(&info);
	outbuf_free(&header);
	if (err)
		ohttp_end(x);
	return err;
}

int ohttp_client_seal(struct ohttp_exchange *x, const void *bytes, size_t len, bool last, struct outbuf *out)
{
	return seal(x, &x->hpke.aead, bytes, len, last, out);
}

int ohttp_client_answer(struct ohttp_exchange *x, const uint8_t *in, size_t len, size_t *used)
{
	*used = entropy_bytes(x);
	return len < *used ? -EAGAIN : begin_response(x, in, false);
}

int ohttp_client_open(struct ohttp_exchange *x, const uint8_t *in, size_t len, bool last, struct outbuf *out)
{
	return open(x, &x->response, in, len, last, out);
}

// ---- gateway ----

int ohttp_header_read(struct ohttp_request_header *h, const uint8_t *in, size_t len)
{
	if (len < HEADER_BYTES)
		return -EAGAIN;
	*h = (struct ohttp_request_header){in[0], {(uint16_t)two(in + 1), (uint16_t)two(in + 3), (uint16_t)two(in + 5)}};
	return 0;
}

int ohttp_server_begin(struct ohttp_exchange *x, EVP_PKEY *key, bool chunked, const uint8_t *in, size_t len, size_t *used)
{
	struct ohttp_request_header h;
	struct outbuf info = {.at = NULL};
	memset(x, 0, sizeof *x);
	int err = ohttp_header_read(&h, in, len);
	if (err)
		return err;
	if (!hpke_known(&h.suite))
		return -EOPNOTSUPP;
	x->chunked = chunked;
	x->enc_len = hpke_public_bytes(h.suite.kem);
	*used = HEADER_BYTES + x->enc_len;
	if (len < *used)
		return -EAGAIN;
	memcpy(x->enc, in + HEADER_BYTES, x->enc_len);
	put_info(&info, chunked, in);
	err = info.failed ? -ENOMEM : hpke_receiver(&x->hpke, &h.suite, key, x->enc, x->enc_len, info.at, info.len);
	outbuf_free(&info);
	return err;
}

int ohttp_server_open(struct ohttp_exchange *x, const uint8_t *in, size_t len, bool last, struct outbuf *out)
{
	return open(x, &x->hpke.aead, in, len, last, out);
}

int ohttp_server_answer(struct ohttp_exchange *x, const uint8_t *given, struct outbuf *out)
{
	uint8_t nonce[HPKE_MAX_KEY];
	size_t n = entropy_bytes(x);
	if (given)
		memcpy(nonce, given, n);
	else if (RAND_bytes(nonce, (int)n) != 1)
		return -EIO;
	outbuf_put(out, nonce, n);
	return out->failed ? -ENOMEM : begin_response(x, nonce, true);
}

int ohttp_server_seal(struct ohttp_exchange *x, const void *bytes, size_t len, bool last, struct outbuf *out)
{
	return seal(x, &x->response, bytes, len, last, out);
}
