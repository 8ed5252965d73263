// SPDX-License-Identifier: Apache-2.0
// See message.h. One reader and one writer a message, in the order of a conversation.
#include "spdm/message.h"

#include <errno.h>

#include "attest/bytes.h"

#define CERTIFICATE_HEAD 8
#define SLOT 15
#define MAX_SLOTS 8

const char *spdm_error_name(uint8_t code)
{
	switch (code) {
	case SPDM_INVALID_REQUEST: return "InvalidRequest";
	case SPDM_UNEXPECTED_REQUEST: return "UnexpectedRequest";
	case SPDM_UNSPECIFIED: return "Unspecified";
	case SPDM_DECRYPT_ERROR: return "DecryptError";
	case SPDM_UNSUPPORTED_REQUEST: return "UnsupportedRequest";
	case SPDM_SESSION_LIMIT: return "SessionLimitExceeded";
	case SPDM_SESSION_REQUIRED: return "SessionRequired";
	case SPDM_RESPONSE_TOO_LARGE: return "ResponseTooLarge";
	case SPDM_LARGE_RESPONSE: return "LargeResponse";
	case SPDM_VERSION_MISMATCH: return "VersionMismatch";
	case SPDM_OPERATION_FAILED: return "OperationFailed";
	default: return "another error";
	}
}

bool head_read(const uint8_t *bytes, size_t len, struct spdm_head *h)
{
	if (len < SPDM_HEAD)
		return false;
	*h = (struct spdm_head){bytes[0], bytes[1], bytes[2], bytes[3]};
	return true;
}

void head_write(struct buffer *b, uint8_t version, uint8_t code, uint8_t param1, uint8_t param2)
{
	const uint8_t head[SPDM_HEAD] = {version, code, param1, param2};
	buffer_put(b, head, sizeof head);
}

// What follows the head.
static struct cursor body(const uint8_t *bytes, size_t len)
{
	struct cursor c = cursor_of(bytes, len);
	cursor_take(&c, SPDM_HEAD);
	return c;
}

static int done(const struct cursor *c, const char *message, struct fault *f)
{
	if (c->short_of)
		return fault_set(f, -EINVAL, "%s is cut short", message);
	return c->left ? fault_set(f, -EINVAL, "%zu bytes behind %s", c->left, message) : 0;
}

// Two bytes of length and so many bytes, within what the specification allows.
static const uint8_t *take_opaque(struct cursor *c, uint16_t *len)
{
	*len = cursor_le16(c);
	if (*len > SPDM_MAX_OPAQUE)
		c->short_of = true;
	return cursor_take(c, *len);
}

// ---- versions, capabilities, algorithms ----

int version_read(const uint8_t *bytes, size_t len, uint8_t version, bool *has, struct fault *f)
{
	struct cursor c = body(bytes, len);
	const uint8_t *count = cursor_take(&c, 2);
	*has = false;
	for (unsigned int i = 0; count && i < count[1]; i++)
		*has |= cursor_le16(&c) >> 8 == version;	// major and minor; whatever update
	return done(&c, "VERSION", f);
}

void version_write(struct buffer *b, uint8_t version)
{
	head_write(b, SPDM_1_0, SPDM_VERSION, 0, 0);
	buffer_number(b, 1u << 8, 2);
	buffer_number(b, (uint32_t)version << 8, 2);
}

int capabilities_read(const uint8_t *bytes, size_t len, struct spdm_capabilities *out, struct fault *f)
{
	struct cursor c = body(bytes, len);
	const uint8_t *p = cursor_take(&c, 4);
	out->ct_exponent = p ? p[1] : 0;
	out->flags = cursor_le32(&c);
	out->data_transfer_size = cursor_le32(&c);
	out->max_message_size = cursor_le32(&c);
	int err = done(&c, "the capabilities' message", f);
	if (err)
		return err;
	if (out->data_transfer_size < SPDM_MIN_TRANSFER || out->max_message_size < out->data_transfer_size ||
	    (!(out->flags & CAP_CHUNK) && out->max_message_size != out->data_transfer_size))
		return fault_set(f, -EINVAL, "messages of %u bytes, %u at once, cannot be", out->max_message_size, out->data_transfer_size);
	// A session needs both kinds of protection here, and a way to its keys.
	if ((out->flags & CAP_KEY_EX) && !(out->flags & (CAP_ENCRYPT | CAP_MAC)))
		return fault_set(f, -EINVAL, "key exchange without protection of messages");
	return 0;
}

void capabilities_write(struct buffer *b, uint8_t code, const struct spdm_capabilities *c)
{
	head_write(b, SPDM_1_2, code, 0, 0);
	buffer_number(b, (uint32_t)c->ct_exponent << 8, 4);
	buffer_number(b, c->flags, 4);
	buffer_number(b, c->data_transfer_size, 4);
	buffer_number(b, c->max_message_size, 4);
}

// The lists of types 2 to 5, each at most once, in ascending order; lists of other organisations' algorithms are passed over.
static int read_tables(struct cursor *c, unsigned int count, struct spdm_algorithms *a, struct fault *f)
{
	uint16_t *const fields[] = {&a->dhe, &a->aead, &a->req_asym, &a->key_schedule};
	unsigned int before = 1;
	for (unsigned int i = 0; i < count; i++) {
		const uint8_t *head = cursor_take(c, 2);
		uint16_t bits = cursor_le16(c);
		if (!head || !cursor_take(c, 4u * (head[1] & 15)))
			return fault_set(f, -EINVAL, "the lists of algorithms are cut short");
		if (head[0] <= before || head[0] > 5 || head[1] >> 4 != 2)
			return fault_set(f, -EINVAL, "list %u of algorithms has the wrong type or size", i + 1);
		before = head[0];
		*fields[head[0] - 2] = bits;
		a->tables |= (uint8_t)(1u << (head[0] - 2));
	}
	return 0;
}

int algorithms_read(const uint8_t *bytes, size_t len, bool response, struct spdm_algorithms *a, struct fault *f)
{
	const char *name = response ? "ALGORITHMS" : "NEGOTIATE_ALGORITHMS";
	struct cursor c = body(bytes, len);
	*a = (struct spdm_algorithms){.tables = 0};
	uint16_t length = cursor_le16(&c);
	const uint8_t *p = cursor_take(&c, 2);
	a->measurement_spec = p ? p[0] : 0;
	a->opaque = p ? p[1] : 0;
	if (response)
		a->measurement_hash = cursor_le32(&c);
	a->asym = cursor_le32(&c);
	a->hash = cursor_le32(&c);
	cursor_take(&c, 12);
	const uint8_t *ext = cursor_take(&c, 4);
	if (!ext)
		return fault_set(f, -EINVAL, "%s is cut short", name);
	if (length != len)
		return fault_set(f, -EINVAL, "%s says that it has %u bytes, and has %zu", name, length, len);
	cursor_take(&c, 4u * ext[0] + 4u * ext[1]);	// algorithms of other organisations
	int err = read_tables(&c, bytes[2], a, f);
	return err ? err : done(&c, name, f);
}

void algorithms_write(struct buffer *b, bool response, const struct spdm_algorithms *a)
{
	const uint16_t fields[] = {a->dhe, a->aead, a->req_asym, a->key_schedule};
	unsigned int tables = (unsigned int)__builtin_popcount(a->tables & 15);
	head_write(b, SPDM_1_2, response ? SPDM_ALGORITHMS : SPDM_NEGOTIATE_ALGORITHMS, (uint8_t)tables, 0);
	buffer_number(b, (response ? 36 : 32) + 4 * tables, 2);
	buffer_number(b, a->measurement_spec, 1);
	buffer_number(b, a->opaque, 1);
	if (response)
		buffer_number(b, a->measurement_hash, 4);
	buffer_number(b, a->asym, 4);
	buffer_number(b, a->hash, 4);
	buffer_room(b, 12 + 4);
	for (unsigned int i = 0; i < 4; i++) {
		if (!(a->tables >> i & 1))
			continue;
		buffer_number(b, (i + 2) | 0x20u << 8, 2);
		buffer_number(b, fields[i], 2);
	}
}

// ---- certificates ----

int digests_read(const uint8_t *bytes, size_t len, const struct suite *s, const uint8_t **digest, struct fault *f)
{
	struct cursor c = body(bytes, len);
	uint8_t mask = bytes[3];
	*digest = cursor_take(&c, s->hash_len);
	for (unsigned int i = 1; i < MAX_SLOTS; i++) {
		if (mask >> i & 1)
			cursor_take(&c, s->hash_len);
	}
	if (!(mask & 1))
		return fault_set(f, -EINVAL, "no certificate in slot 0");
	return done(&c, "DIGESTS", f);
}

int get_certificate_read(const uint8_t *bytes, size_t len, struct spdm_portion *p, struct fault *f)
{
	struct cursor c = body(bytes, len);
	*p = (struct spdm_portion){.slot = bytes[2] & SLOT};
	p->offset = cursor_le16(&c);
	p->length = cursor_le16(&c);
	return done(&c, "GET_CERTIFICATE", f);
}

void get_certificate_write(struct buffer *b, const struct spdm_portion *p)
{
	head_write(b, SPDM_1_2, SPDM_GET_CERTIFICATE, p->slot, 0);
	buffer_number(b, p->offset, 2);
	buffer_number(b, p->length, 2);
}

int certificate_read(const uint8_t *bytes, size_t len, struct spdm_portion *p, struct fault *f)
{
	struct cursor c = body(bytes, len);
	*p = (struct spdm_portion){.slot = bytes[2] & SLOT};
	p->length = cursor_le16(&c);
	p->remainder = cursor_le16(&c);
	p->bytes = cursor_take(&c, p->length);
	return done(&c, "CERTIFICATE", f);
}

void certificate_write(struct buffer *b, const struct spdm_portion *p)
{
	head_write(b, SPDM_1_2, SPDM_CERTIFICATE, p->slot, 0);
	buffer_number(b, p->length, 2);
	buffer_number(b, p->remainder, 2);
	buffer_put(b, p->bytes, p->length);
}

// ---- challenge ----

bool summary_known(uint8_t type)
{
	return type == SUMMARY_NONE || type == SUMMARY_TCB || type == SUMMARY_ALL;
}

int challenge_read(const uint8_t *bytes, size_t len, struct spdm_challenge *out, struct fault *f)
{
	struct cursor c = body(bytes, len);
	*out = (struct spdm_challenge){.slot = bytes[2], .summary_type = bytes[3]};
	out->nonce = cursor_take(&c, SPDM_NONCE_BYTES);
	if (!summary_known(out->summary_type))
		return fault_set(f, -EINVAL, "no such summary of measurements: %u", out->summary_type);
	return done(&c, "CHALLENGE", f);
}

void challenge_write(struct buffer *b, const struct spdm_challenge *c)
{
	head_write(b, SPDM_1_2, SPDM_CHALLENGE, c->slot, c->summary_type);
	buffer_put(b, c->nonce, SPDM_NONCE_BYTES);
}

int challenge_auth_read(const uint8_t *bytes, size_t len, const struct suite *s, uint8_t summary_type, struct spdm_challenge *out, struct fault *f)
{
	struct cursor c = body(bytes, len);
	*out = (struct spdm_challenge){.slot = bytes[2] & SLOT, .summary_type = summary_type, .slot_mask = bytes[3]};
	out->chain_hash = cursor_take(&c, s->hash_len);
	out->nonce = cursor_take(&c, SPDM_NONCE_BYTES);
	out->summary = summary_type == SUMMARY_NONE ? NULL : cursor_take(&c, s->hash_len);
	out->opaque = take_opaque(&c, &out->opaque_len);
	out->signed_len = (size_t)(c.p - bytes);
	out->signature = cursor_take(&c, s->signature_len);
	if (bytes[2] >> 4)
		return fault_set(f, -EINVAL, "CHALLENGE_AUTH asks for what was not agreed on");
	return done(&c, "CHALLENGE_AUTH", f);
}

void challenge_auth_write(struct buffer *b, const struct suite *s, const struct spdm_challenge *c)
{
	head_write(b, SPDM_1_2, SPDM_CHALLENGE_AUTH, c->slot, c->slot_mask);
	buffer_put(b, c->chain_hash, s->hash_len);
	buffer_put(b, c->nonce, SPDM_NONCE_BYTES);
	if (c->summary)
		buffer_put(b, c->summary, s->hash_len);
	buffer_number(b, 0, 2);
}

// ---- measurements ----

int get_measurements_read(const uint8_t *bytes, size_t len, struct spdm_get_measurements *g, struct fault *f)
{
	struct cursor c = body(bytes, len);
	*g = (struct spdm_get_measurements){.attributes = bytes[2], .operation = bytes[3]};
	if (g->attributes & ~(ATTRIBUTE_SIGNATURE | ATTRIBUTE_RAW))
		return fault_set(f, -EINVAL, "GET_MEASUREMENTS has unknown attributes");
	if (g->attributes & ATTRIBUTE_SIGNATURE) {
		g->nonce = cursor_take(&c, SPDM_NONCE_BYTES);
		const uint8_t *slot = cursor_take(&c, 1);
		g->slot = slot ? *slot & SLOT : 0;
	}
	return done(&c, "GET_MEASUREMENTS", f);
}

void get_measurements_write(struct buffer *b, const struct spdm_get_measurements *g)
{
	head_write(b, SPDM_1_2, SPDM_GET_MEASUREMENTS, g->attributes, g->operation);
	if (g->attributes & ATTRIBUTE_SIGNATURE) {
		buffer_put(b, g->nonce, SPDM_NONCE_BYTES);
		buffer_number(b, g->slot, 1);
	}
}

void measurements_write(struct buffer *b, uint8_t param1, uint8_t param2, unsigned int count, const struct buffer *record,
			const uint8_t nonce[SPDM_NONCE_BYTES])
{
	head_write(b, SPDM_1_2, SPDM_MEASUREMENTS, param1, param2);
	buffer_number(b, count, 1);
	buffer_number(b, (uint32_t)record->len, 3);
	buffer_put(b, record->bytes, record->len);
	buffer_put(b, nonce, SPDM_NONCE_BYTES);
	buffer_number(b, 0, 2);
	b->failed |= record->failed;
}

// ---- sessions ----

int key_exchange_read(const uint8_t *bytes, size_t len, const struct suite *s, struct spdm_key_exchange *k, struct fault *f)
{
	struct cursor c = body(bytes, len);
	*k = (struct spdm_key_exchange){.summary_type = bytes[2], .slot = bytes[3]};
	k->session_id = cursor_le16(&c);
	const uint8_t *policy = cursor_take(&c, 2);
	k->policy = policy ? policy[0] : 0;
	k->random = cursor_take(&c, SPDM_RANDOM);
	k->exchange = cursor_take(&c, s->point_len);
	k->opaque = take_opaque(&c, &k->opaque_len);
	if (!summary_known(k->summary_type))
		return fault_set(f, -EINVAL, "no such summary of measurements: %u", k->summary_type);
	return done(&c, "KEY_EXCHANGE", f);
}

void key_exchange_write(struct buffer *b, const struct suite *s, const struct spdm_key_exchange *k)
{
	head_write(b, SPDM_1_2, SPDM_KEY_EXCHANGE, k->summary_type, k->slot);
	buffer_number(b, k->session_id, 2);
	buffer_number(b, k->policy, 2);
	buffer_put(b, k->random, SPDM_RANDOM);
	buffer_put(b, k->exchange, s->point_len);
	buffer_number(b, k->opaque_len, 2);
	buffer_put(b, k->opaque, k->opaque_len);
}

int key_exchange_rsp_read(const uint8_t *bytes, size_t len, const struct suite *s, uint8_t summary_type, struct spdm_key_exchange *k, struct fault *f)
{
	struct cursor c = body(bytes, len);
	*k = (struct spdm_key_exchange){.summary_type = summary_type, .heartbeat_s = bytes[2]};
	k->session_id = cursor_le16(&c);
	const uint8_t *mutual = cursor_take(&c, 2);
	k->mut_auth = mutual ? mutual[0] : 0;
	k->random = cursor_take(&c, SPDM_RANDOM);
	k->exchange = cursor_take(&c, s->point_len);
	k->summary = summary_type == SUMMARY_NONE ? NULL : cursor_take(&c, s->hash_len);
	k->opaque = take_opaque(&c, &k->opaque_len);
	k->signed_len = (size_t)(c.p - bytes);
	k->signature = cursor_take(&c, s->signature_len);
	k->verify = cursor_take(&c, s->hash_len);
	return done(&c, "KEY_EXCHANGE_RSP", f);
}

void key_exchange_rsp_write(struct buffer *b, const struct suite *s, const struct spdm_key_exchange *k)
{
	head_write(b, SPDM_1_2, SPDM_KEY_EXCHANGE_RSP, k->heartbeat_s, 0);
	buffer_number(b, k->session_id, 2);
	buffer_number(b, 0, 2);		// no certificate of the requester's is asked for
	buffer_put(b, k->random, SPDM_RANDOM);
	buffer_put(b, k->exchange, s->point_len);
	if (k->summary)
		buffer_put(b, k->summary, s->hash_len);
	buffer_number(b, k->opaque_len, 2);
	buffer_put(b, k->opaque, k->opaque_len);
}

int finish_read(const uint8_t *bytes, size_t len, const struct suite *s, const uint8_t **verify, struct fault *f)
{
	struct cursor c = body(bytes, len);
	*verify = cursor_take(&c, s->hash_len);
	if (bytes[2])
		return fault_set(f, -EINVAL, "FINISH has a signature, which nobody asked for");
	return done(&c, "FINISH", f);
}

// ---- long responses in pieces ----

int chunk_get_read(const uint8_t *bytes, size_t len, struct spdm_chunk *out, struct fault *f)
{
	struct cursor c = body(bytes, len);
	*out = (struct spdm_chunk){.handle = bytes[3]};
	out->number = cursor_le16(&c);
	return done(&c, "CHUNK_GET", f);
}

void chunk_get_write(struct buffer *b, const struct spdm_chunk *c)
{
	head_write(b, SPDM_1_2, SPDM_CHUNK_GET, 0, c->handle);
	buffer_number(b, c->number, 2);
}

int chunk_response_read(const uint8_t *bytes, size_t len, struct spdm_chunk *out, struct fault *f)
{
	struct cursor c = body(bytes, len);
	*out = (struct spdm_chunk){.last = bytes[2] & 1, .handle = bytes[3]};
	out->number = cursor_le16(&c);
	cursor_take(&c, 2);
	out->len = cursor_le32(&c);
	if (!out->number)
		out->total = cursor_le32(&c);
	out->bytes = cursor_take(&c, out->len);
	return done(&c, "CHUNK_RESPONSE", f);
}

void chunk_response_write(struct buffer *b, const struct spdm_chunk *c)
{
	head_write(b, SPDM_1_2, SPDM_CHUNK_RESPONSE, c->last, c->handle);
	buffer_number(b, c->number, 4);
	buffer_number(b, c->len, 4);
	if (!c->number)
		buffer_number(b, c->total, 4);
	buffer_put(b, c->bytes, c->len);
}
