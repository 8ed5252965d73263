// SPDX-License-Identifier: Apache-2.0
// See spdm.h. Numbers are little-endian.
#include "attest/spdm.h"

#include <errno.h>

#include "attest/bytes.h"

enum {
	VERSION_1_1 = 0x11, GET_MEASUREMENTS = 0xe0, MEASUREMENTS = 0x60,
	SIGNATURE_WANTED = 1, ALL_BLOCKS = 0xff, DMTF = 1, RAW = 0x80,
	REQUEST_BYTES = 4 + SPDM_NONCE_BYTES + 1,
};

bool spdm_looks(const uint8_t *b, size_t len)
{
	return len >= REQUEST_BYTES + 8 && b[0] == VERSION_1_1 && b[1] == GET_MEASUREMENTS && b[REQUEST_BYTES] == VERSION_1_1 &&
	       b[REQUEST_BYTES + 1] == MEASUREMENTS;
}

static int read_request(struct cursor *c, struct spdm_measurements *m, struct fault *f)
{
	const uint8_t *head = cursor_take(c, 4);
	m->nonce = cursor_take(c, SPDM_NONCE_BYTES);
	const uint8_t *slot = cursor_take(c, 1);
	if (!slot)
		return fault_set(f, -EINVAL, "the request is cut short");
	if (head[0] != VERSION_1_1 || head[1] != GET_MEASUREMENTS)
		return fault_set(f, -EINVAL, "no GET_MEASUREMENTS of SPDM 1.1");
	if (!(head[2] & SIGNATURE_WANTED) || head[3] != ALL_BLOCKS)
		return fault_set(f, -EINVAL, "a request for something else than all measurements, signed");
	m->slot = *slot & 15;
	return 0;
}

static int read_blocks(struct cursor record, unsigned int count, struct spdm_measurements *m, struct fault *f)
{
	uint8_t seen[256] = {0};
	for (m->count = 0; m->count < count; m->count++) {
		struct spdm_block *b = &m->blocks[m->count];
		const uint8_t *head = cursor_take(&record, 2);
		uint16_t size = cursor_le16(&record);
		struct cursor inner = cursor_part(&record, size);
		const uint8_t *type = cursor_take(&inner, 1);
		b->len = cursor_le16(&inner);
		b->value = cursor_take(&inner, b->len);
		if (!b->value || inner.left)
			return fault_set(f, -EINVAL, "measurement block %u is malformed", m->count + 1);
		if (head[1] != DMTF)
			return fault_set(f, -EINVAL, "measurement block %u is in no form of DMTF's", m->count + 1);
		if (!head[0] || seen[head[0]]++)	// two values of one name: which would count?
			return fault_set(f, -EINVAL, "two measurements, or none, of index %u", head[0]);
		b->index = head[0];
		b->type = (uint8_t)(*type & ~RAW);
		b->raw = *type & RAW;
	}
	return record.left ? fault_set(f, -EINVAL, "%zu bytes behind the measurement blocks", record.left) : 0;
}

int spdm_parse_answer(const uint8_t *bytes, size_t len, uint8_t version, size_t signature, struct spdm_measurements *m, struct fault *f)
{
	struct cursor c = cursor_of(bytes, len);
	m->count = 0;
	const uint8_t *head = cursor_take(&c, 5), *size = cursor_take(&c, 3);
	if (!size)
		return fault_set(f, -EINVAL, "the answer is cut short");
	if (head[0] != version || head[1] != MEASUREMENTS)
		return fault_set(f, -EINVAL, "no MEASUREMENTS of SPDM %d.%d", version >> 4, version & 15);
	m->param1 = head[2];
	m->param2 = head[3];
	struct cursor record = cursor_part(&c, size[0] | (size_t)size[1] << 8 | (size_t)size[2] << 16);
	m->answer_nonce = cursor_take(&c, SPDM_NONCE_BYTES);
	m->opaque_len = cursor_le16(&c);
	m->opaque = cursor_take(&c, m->opaque_len);
	m->signed_len = (size_t)(c.p - bytes);
	m->signature = cursor_take(&c, signature);
	if (!m->signature)
		return fault_set(f, -EINVAL, "the answer is cut short");
	m->trailing = c.left;
	return read_blocks(record, head[4], m, f);
}

int spdm_parse(const uint8_t *bytes, size_t len, size_t signature, struct spdm_measurements *m, struct fault *f)
{
	struct cursor c = cursor_of(bytes, len);
	m->count = 0;
	if (len > SPDM_MAX_BYTES)
		return fault_set(f, -EINVAL, "%zu bytes are more than measurements may have", len);
	int err = read_request(&c, m, f);
	if (!err)
		err = spdm_parse_answer(c.p, c.left, VERSION_1_1, signature, m, f);
	if (!err)
		m->signed_len += (size_t)(c.p - bytes);
	return err;
}
