// SPDX-License-Identifier: Apache-2.0
// Fuzzes what a verifier of the audit log reads from strangers: tree heads, public keys, exports, proofs. The input's first byte says
// which. A note that is read is written as it was.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "broker/audit_verify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void note(const char *bytes, size_t size)
{
	char text[NOTE_MAX];
	struct note n, again;

	if (note_parse(&n, bytes, size, NULL))
		return;
	size_t len = note_text(&n, text);
	if (len >= sizeof text || note_parse(&again, text, len, NULL) || memcmp(&n, &again, sizeof n))
		abort();
}

static void key(const char *bytes, size_t size)
{
	char *s = strndup(bytes, size), text[NOTE_KEY_TEXT];
	struct note_key k, again;

	if (s && !note_key_parse(&k, s)) {
		note_key_text(&k, text);
		if (note_key_parse(&again, text) || memcmp(&k, &again, sizeof k))
			abort();
	}
	free(s);
}

static void export(const char *bytes, size_t size, const struct audit_trust *t)
{
	static struct audit_verdict v;
	FILE *in = size ? fmemopen((void *)bytes, size, "r") : NULL;

	if (!in)
		return;
	audit_verify_export(in, t, &v, NULL);
	fclose(in);
}

static void proof(const char *bytes, size_t size, const struct audit_trust *t)
{
	static struct audit_verdict v;

	audit_verify_proof(bytes, size, t, &v, NULL);
	free(v.record);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct audit_trust t;

	if (!t.has_key) {
		t.has_key = true;
		t.kept_count = 1;
		t.kept[0].head.size = 2;
	}
	if (!size)
		return 0;
	const char *rest = (const char *)data + 1;
	switch (data[0] & 3) {
	case 0: note(rest, size - 1); break;
	case 1: key(rest, size - 1); break;
	case 2: t.has_key = data[0] & 4; export(rest, size - 1, &t); break;
	default: t.has_key = true; proof(rest, size - 1, &t); break;
	}
	t.has_key = true;
	return 0;
}
