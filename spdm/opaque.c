// SPDX-License-Identifier: Apache-2.0
// Opaque data of a key exchange (message.h): a list of elements of organisations, of which DMTF's say which versions of secured messages there are
// (DSP0274 "OpaqueDataFmt1", DSP0277 section 7). Reads untrusted bytes; pure.
#include <errno.h>

#include "attest/bytes.h"
#include "spdm/message.h"

enum { DMTF = 0, DATA_VERSION = 1, ID_CHOICE = 0, ID_OFFER = 1, MAX_ELEMENTS = 16 };

static const uint16_t known[] = {SECURED_1_2, SECURED_1_1};	// the best first

static void write_element(struct buffer *b, const uint8_t *data, size_t len)
{
	buffer_number(b, 1, 4);			// one element
	buffer_number(b, DMTF, 2);		// without a name of the organisation
	buffer_number(b, (uint32_t)len, 2);
	buffer_put(b, data, len);
	buffer_room(b, -len & 3);
}

void opaque_offer_write(struct buffer *b)
{
	const uint8_t data[] = {DATA_VERSION, ID_OFFER, 2, SECURED_1_1 & 0xff, SECURED_1_1 >> 8, SECURED_1_2 & 0xff, SECURED_1_2 >> 8};
	write_element(b, data, sizeof data);
}

void opaque_choice_write(struct buffer *b, uint16_t version)
{
	const uint8_t data[] = {DATA_VERSION, ID_CHOICE, (uint8_t)version, (uint8_t)(version >> 8)};
	write_element(b, data, sizeof data);
}

// The one element of DMTF's with this id; what follows the id.
static int find(const uint8_t *bytes, size_t len, uint8_t id, struct cursor *out, struct fault *f)
{
	struct cursor c = cursor_of(bytes, len);
	const uint8_t *count = cursor_take(&c, 4);
	bool found = false;
	if (!count || !*count || *count > MAX_ELEMENTS)
		return fault_set(f, -EINVAL, "opaque data without elements, or with too many");
	for (unsigned int i = 0; i < *count; i++) {
		const uint8_t *head = cursor_take(&c, 2);
		size_t vendor = head ? head[1] : 0;
		cursor_take(&c, vendor);
		uint16_t size = cursor_le16(&c);
		struct cursor data = cursor_part(&c, size);
		cursor_take(&c, -(vendor + size) & 3);
		if (c.short_of)
			return fault_set(f, -EINVAL, "opaque data are cut short");
		const uint8_t *kind = cursor_take(&data, 2);
		if (head[0] != DMTF || vendor || !kind || kind[0] != DATA_VERSION || kind[1] != id)
			continue;
		if (found)
			return fault_set(f, -EINVAL, "opaque data name versions twice");
		found = true;
		*out = data;
	}
	if (c.left)
		return fault_set(f, -EINVAL, "%zu bytes behind the opaque data", c.left);
	return found ? 0 : fault_set(f, -EINVAL, "opaque data name no version of secured messages");
}

int opaque_offer_read(const uint8_t *bytes, size_t len, uint16_t *version, struct fault *f)
{
	struct cursor c;
	unsigned int best = sizeof known / sizeof *known;
	int err = find(bytes, len, ID_OFFER, &c, f);
	const uint8_t *count = err ? NULL : cursor_take(&c, 1);
	for (unsigned int i = 0; count && i < *count; i++) {
		uint16_t v = cursor_le16(&c) & 0xff00;	// major and minor
		for (unsigned int k = 0; k < best; k++) {
			if (known[k] == v)
				best = k;
		}
	}
	if (!err && (c.short_of || c.left))
		err = fault_set(f, -EINVAL, "the list of versions of secured messages is malformed");
	*version = !err && best < sizeof known / sizeof *known ? known[best] : 0;
	return err;
}

int opaque_choice_read(const uint8_t *bytes, size_t len, uint16_t *version, struct fault *f)
{
	struct cursor c;
	*version = 0;
	int err = find(bytes, len, ID_CHOICE, &c, f);
	uint16_t v = err ? 0 : cursor_le16(&c) & 0xff00;
	if (!err && (c.short_of || c.left))
		err = fault_set(f, -EINVAL, "the version of secured messages is malformed");
	for (size_t k = 0; !err && k < sizeof known / sizeof *known; k++) {
		if (known[k] == v)
			*version = v;
	}
	return err;
}
