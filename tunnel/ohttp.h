// SPDX-License-Identifier: Apache-2.0
// Oblivious HTTP (RFC 9458): key configurations, encapsulated requests and responses, and their chunked forms (draft-ietf-ohai-chunked-ohttp: the
// same, in pieces that can be opened as they come, the last one marked so that a cut is seen). What is inside is opaque here (bhttp.h). Pure but for
// random numbers; no locks, no I/O. fuzz_ohttp.
#ifndef COFFER_TUNNEL_OHTTP_H
#define COFFER_TUNNEL_OHTTP_H

#include "lib/fault.h"
#include "tunnel/hpke.h"
#include "tunnel/outbuf.h"

#define OHTTP_KEYS_TYPE "application/ohttp-keys"
#define OHTTP_REQ_TYPE "message/ohttp-req"
#define OHTTP_RES_TYPE "message/ohttp-res"
#define OHTTP_CHUNKED_REQ_TYPE "message/ohttp-chunked-req"
#define OHTTP_CHUNKED_RES_TYPE "message/ohttp-chunked-res"
#define OHTTP_KEY_PROBLEM "https://iana.org/assignments/http-problem-types#ohttp-key"

#define OHTTP_MAX_CHUNK (16u << 10)	// of plain bytes: what every receiver takes, and the most that is sent
#define OHTTP_MAX_CONFIGS 16

// ---- key configurations (section 3) ----

struct ohttp_config {
	uint8_t id;
	uint16_t kem;
	uint8_t public[HPKE_MAX_PUBLIC];
	unsigned int aeads;	// a bit for each AEAD number that goes with HKDF-SHA256
};

// One configuration with all three AEADs; `listed`: with its length before it, as in application/ohttp-keys.
void ohttp_config_put(struct outbuf *b, const struct ohttp_config *c, bool listed);
// One, without a length, that is the whole of the bytes. -EINVAL malformed; -EOPNOTSUPP: well-formed, of a KEM that is not known here.
int ohttp_config_read(struct ohttp_config *c, const uint8_t *bytes, size_t len, struct fault *f);
// application/ohttp-keys: those that are known here, in their order. Their number (never 0), or -EINVAL.
int ohttp_configs_read(struct ohttp_config out[OHTTP_MAX_CONFIGS], const uint8_t *bytes, size_t len, struct fault *f);

// ---- both ends ----

// One request and its response.
struct ohttp_exchange {
	struct hpke hpke;
	uint8_t enc[HPKE_MAX_PUBLIC];
	size_t enc_len;
	bool chunked;
	struct hpke_aead response;
};

void ohttp_end(struct ohttp_exchange *x);

// The next chunk of a chunked message behind its header, in untrusted bytes: where it is, and how many bytes it takes with its length. The last one
// reaches to the end of the message, so that it is known when no more will come (`ended`). -EAGAIN: not all of it is there. -E2BIG: larger than is
// taken. -EINVAL.
int ohttp_chunk_find(const uint8_t *in, size_t len, bool ended, const uint8_t **chunk, size_t *chunk_len, size_t *used, bool *last);

// ---- client ----

// Begins with the AEAD that both know best, and writes the header. `ephemeral`: NULL but in tests of vectors.
int ohttp_client_begin(struct ohttp_exchange *x, const struct ohttp_config *c, bool chunked, EVP_PKEY *ephemeral, struct outbuf *out);
// The request, all of it; or the next chunk of it, of at most OHTTP_MAX_CHUNK bytes, which only the last one may have none of.
int ohttp_client_seal(struct ohttp_exchange *x, const void *bytes, size_t len, bool last, struct outbuf *out);
// The response's nonce, which is the first that comes: *used of the bytes. -EAGAIN: it is not all there.
int ohttp_client_answer(struct ohttp_exchange *x, const uint8_t *in, size_t len, size_t *used);
// What follows it: all of it, or a chunk from ohttp_chunk_find. -EBADMSG: not what the gateway sealed.
int ohttp_client_open(struct ohttp_exchange *x, const uint8_t *in, size_t len, bool last, struct outbuf *out);

// ---- gateway ----

struct ohttp_request_header {
	uint8_t key_id;
	struct hpke_suite suite;
};

// The first seven bytes. -EAGAIN: fewer are there.
int ohttp_header_read(struct ohttp_request_header *h, const uint8_t *in, size_t len);
// Begins with the key that the header names: *used bytes of header and encapsulated key. -EAGAIN, -EBADMSG, -EOPNOTSUPP (a suite that is not known).
int ohttp_server_begin(struct ohttp_exchange *x, EVP_PKEY *key, bool chunked, const uint8_t *in, size_t len, size_t *used);
int ohttp_server_open(struct ohttp_exchange *x, const uint8_t *in, size_t len, bool last, struct outbuf *out);
// The response's nonce; `nonce`: NULL but in tests of vectors.
int ohttp_server_answer(struct ohttp_exchange *x, const uint8_t *nonce, struct outbuf *out);
int ohttp_server_seal(struct ohttp_exchange *x, const void *bytes, size_t len, bool last, struct outbuf *out);

#endif
