// SPDX-License-Identifier: Apache-2.0
// See secured.h.
#include "spdm/secured.h"

#include <openssl/crypto.h>

bool secured_begin(struct session *s, const struct suite *suite, const struct buffer *vca, const uint8_t *chain_hash)
{
	return transcript_begin(&s->th, suite, vca->bytes, vca->len) && transcript_add(&s->th, chain_hash, suite->hash_len);
}

bool secured_derive(struct session *s, const struct suite *suite, EVP_PKEY *own, const uint8_t *point)
{
	uint8_t secret[SUITE_MAX_POINT / 2], th1[SUITE_MAX_HASH];
	bool ok = transcript_digest(&s->th, th1) && suite_dhe_secret(suite, own, point, secret) &&
		  keys_handshake(&s->keys, suite, secret, suite->point_len / 2, th1);
	OPENSSL_cleanse(secret, sizeof secret);
	return ok;
}

bool secured_verify_data(const struct session *s, bool of_requester, uint8_t out[SUITE_MAX_HASH])
{
	const struct suite *suite = &s->keys.suite;
	uint8_t digest[SUITE_MAX_HASH];
	return transcript_digest(&s->th, digest) &&
	       suite_hmac(suite, of_requester ? s->keys.request_finished : s->keys.response_finished, digest, suite->hash_len, out);
}

bool secured_open(struct session *s)
{
	uint8_t th2[SUITE_MAX_HASH];
	bool ok = transcript_digest(&s->th, th2) && keys_application(&s->keys, th2);
	transcript_free(&s->th);
	s->state = ok ? SESSION_OPEN : SESSION_NONE;
	return ok;
}

int secured_seal(struct session *s, enum spdm_frame_type type, const void *bytes, size_t len, struct buffer *out)
{
	struct direction *d = s->requester ? &s->keys.request : &s->keys.response;
	struct buffer inner = {.bytes = NULL};
	if (d->sequence >= SESSION_MAX_RECORDS)
		return -EOVERFLOW;
	uint8_t *head = len <= SESSION_MAX_MESSAGE ? buffer_room(out, SPDM_FRAME_HEAD) : NULL;
	size_t begin = out->len;
	if (!head)
		return len <= SESSION_MAX_MESSAGE ? -ENOMEM : -EINVAL;
	spdm_frame_write(&inner, type, bytes, len);
	int err = inner.failed ? -ENOMEM : record_seal(d, s->id, 0, inner.bytes, inner.len, out);
	buffer_free(&inner);
	if (err)
		out->len = begin - SPDM_FRAME_HEAD;
	else
		spdm_frame_head(out->bytes + begin - SPDM_FRAME_HEAD, SPDM_SECURED, out->len - begin);
	return err;
}

static int open_record(struct session *s, uint8_t *bytes, size_t len, uint8_t **text, size_t *text_len)
{
	struct direction *d = s->requester ? &s->keys.response : &s->keys.request;
	int err = d->sequence >= SESSION_MAX_RECORDS ? -EOVERFLOW : record_open(d, s->id, 0, bytes, len, text, text_len);
	if (err != -EBADMSG || !s->changing)
		return err;
	err = record_open(&s->next, s->id, 0, bytes, len, text, text_len);
	if (err)
		return err;
	// From here on the old key is no more.
	*d = s->next;
	OPENSSL_cleanse(&s->next, sizeof s->next);
	s->changing = false;
	return 0;
}

int secured_unseal(struct session *s, uint8_t *bytes, size_t len, enum spdm_frame_type *type, uint8_t **text, size_t *text_len, struct fault *f)
{
	uint8_t *inner;
	size_t inner_len;
	int err = open_record(s, bytes, len, &inner, &inner_len);
	if (err == -EBADMSG)
		return fault_set(f, err, "a record was altered, repeated or left out");
	if (err)
		return fault_set(f, err, err == -EOVERFLOW ? "too many records with one key" : "a record is malformed");
	if (inner_len < SPDM_FRAME_HEAD || inner[2] != SPDM_TCP_VERSION || (size_t)(inner[0] | inner[1] << 8) != inner_len - 2 ||
	    (inner[3] != SPDM_CLEAR && inner[3] != SPDM_DATA && inner[3] != SPDM_DATA_END))
		return fault_set(f, -EINVAL, "what is in a record is neither a message nor data");
	*type = inner[3];
	*text = inner + SPDM_FRAME_HEAD;
	*text_len = inner_len - SPDM_FRAME_HEAD;
	return 0;
}

void secured_close(struct session *s)
{
	bool requester = s->requester;
	transcript_free(&s->th);
	OPENSSL_cleanse(s, sizeof *s);
	s->requester = requester;
}
