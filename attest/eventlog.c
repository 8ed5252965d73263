// SPDX-License-Identifier: Apache-2.0
// The grammar of event logs, and replay. See eventlog.h. Pure; the fuzz target fuzz_eventlog drives it.
#include "attest/eventlog.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "attest/json.h"
#include "lib/encode.h"

static const char spec_id[16] = "Spec ID Event03";

// The header's algorithms, from the first record's data.
static int read_spec_id(struct eventlog *l, struct cursor c, struct fault *f)
{
	cursor_take(&c, 16 + 4 + 4);	// signature, platform class, versions, size of UINTN
	uint32_t n = cursor_le32(&c);
	if (c.short_of || !n || n > EVENTLOG_MAX_ALGS)
		return fault_set(f, -EINVAL, "the log's header names %u algorithms", n);
	for (uint32_t i = 0; i < n; i++) {
		l->algs[i].alg = cursor_le16(&c);
		l->algs[i].size = cursor_le16(&c);
		size_t known = digest_size(l->algs[i].alg);
		if (c.short_of || !l->algs[i].size || l->algs[i].size > DIGEST_MAX || (known && known != l->algs[i].size))
			return fault_set(f, -EINVAL, "the log's header is malformed");
	}
	l->alg_count = n;
	return 0;
}

int eventlog_open(struct eventlog *l, const uint8_t *bytes, size_t len, struct fault *f)
{
	memset(l, 0, sizeof *l);
	if (len > EVENTLOG_MAX_BYTES)
		return fault_set(f, -EINVAL, "%zu bytes are more than an event log may have", len);
	l->rest = cursor_of(bytes, len);
	struct cursor c = l->rest;
	cursor_le32(&c);
	uint32_t type = cursor_le32(&c);
	cursor_take(&c, 20);
	uint32_t n = cursor_le32(&c);
	struct cursor data = cursor_part(&c, n);
	if (data.short_of)
		return fault_set(f, -EINVAL, "not an event log, or cut short");
	if (type == EV_NO_ACTION && n >= sizeof spec_id && !memcmp(data.p, spec_id, sizeof spec_id)) {
		l->rest = c;
		return read_spec_id(l, data, f);
	}
	l->legacy = true;
	l->alg_count = 1;
	l->algs[0].alg = TPM_SHA1;
	l->algs[0].size = 20;
	return 0;
}

// Firmware hands out the whole area that it kept for the log; what follows the last event is all zeros or all ones.
static bool at_end(const struct cursor *c)
{
	size_t look = c->left < 12 ? c->left : 12;
	return !c->left || all_bytes(c->p, look, 0) || (c->left >= 4 && all_bytes(c->p, 4, 0xff)) || all_bytes(c->p, look, 0xff);
}

static int read_digests(struct eventlog *l, struct event *e, struct fault *f)
{
	uint32_t n = l->legacy ? 1 : cursor_le32(&l->rest);
	if (n > l->alg_count)
		return fault_set(f, -EINVAL, "an event with %u digests, but the log has %u algorithms", n, l->alg_count);
	for (uint32_t i = 0; i < n; i++) {
		uint16_t alg = l->legacy ? TPM_SHA1 : cursor_le16(&l->rest), size = 0;
		for (unsigned int k = 0; k < l->alg_count; k++) {
			if (l->algs[k].alg == alg)
				size = l->algs[k].size;
		}
		if (!size)
			return fault_set(f, -EINVAL, "an event with a digest of algorithm 0x%x, which the log's header does not name", alg);
		for (uint32_t k = 0; k < i; k++) {
			if (e->digests[k].alg == alg)
				return fault_set(f, -EINVAL, "an event with two digests of one algorithm");
		}
		e->digests[i].alg = alg;
		e->digests[i].bytes = cursor_take(&l->rest, size);
	}
	e->digest_count = n;
	return 0;
}

int eventlog_next(struct eventlog *l, struct event *e, struct fault *f)
{
	memset(e, 0, sizeof *e);
	if (at_end(&l->rest))
		return 0;
	if (++l->events > EVENTLOG_MAX_EVENTS)
		return fault_set(f, -EINVAL, "more than %d events", EVENTLOG_MAX_EVENTS);
	e->index = cursor_le32(&l->rest);
	e->type = cursor_le32(&l->rest);
	int err = read_digests(l, e, f);
	if (err)
		return err;
	e->len = cursor_le32(&l->rest);
	e->data = cursor_take(&l->rest, e->len);
	return l->rest.short_of ? fault_set(f, -EINVAL, "the log is cut short") : 1;
}

const uint8_t *event_digest(const struct event *e, uint16_t alg)
{
	for (unsigned int i = 0; i < e->digest_count; i++) {
		if (e->digests[i].alg == alg)
			return e->digests[i].bytes;
	}
	return NULL;
}

int eventlog_replay(const uint8_t *bytes, size_t len, uint16_t alg, struct eventlog_registers *r, struct fault *f)
{
	static const char locality[] = "StartupLocality";
	struct eventlog l;
	struct event e;
	size_t size = digest_size(alg);
	memset(r, 0, sizeof *r);
	r->alg = alg;
	int err = size ? eventlog_open(&l, bytes, len, f) : fault_set(f, -EINVAL, "algorithm 0x%x is not known", alg);
	if (err)
		return err;
	while ((err = eventlog_next(&l, &e, f)) == 1) {
		if (e.type == EV_NO_ACTION) {
			if (e.len == sizeof locality + 1 && !memcmp(e.data, locality, sizeof locality) && !r->used[0])
				r->value[0][size - 1] = e.data[sizeof locality];
			continue;
		}
		const uint8_t *digest = event_digest(&e, alg);
		if (e.index >= EVENTLOG_REGISTERS)
			return fault_set(f, -EINVAL, "an event for register %u", e.index);
		if (!digest)
			return fault_set(f, -EINVAL, "an event without a digest by %s", digest_name(alg));
		r->used[e.index] = true;
		if (!digest_two(alg, r->value[e.index], size, digest, size, r->value[e.index]))
			return fault_set(f, -ENOMEM, "no digest by %s", digest_name(alg));
	}
	return err;
}

void eventlog_check(struct attest_result *out, const uint8_t *bytes, size_t len, uint16_t alg, uint32_t first, uint32_t mask,
		    const uint8_t *const *registers, unsigned int count, const char *register_name)
{
	struct eventlog_registers r;
	struct fault why = {""};
	char x[2 * DIGEST_MAX + 1], y[2 * DIGEST_MAX + 1];
	size_t size = digest_size(alg);
	int differs = -1, err = eventlog_replay(bytes, len, alg, &r, &why);
	for (unsigned int i = 0; !err && i < count && differs < 0; i++) {
		if ((mask >> i & 1) && (first + i >= EVENTLOG_REGISTERS || CRYPTO_memcmp(r.value[first + i], registers[i], size)))
			differs = (int)i;
	}
	for (unsigned int i = 0; !err && i < EVENTLOG_REGISTERS; i++) {
		bool vouched = i >= first && i - first < count && (mask >> (i - first) & 1);
		if (r.used[i] && !vouched)
			err = fault_set(&why, -EBADMSG, "events of register %u, which is not among those signed", i);
	}
	struct attest_check *c = attest_check_add(out, "event-log", !err && differs < 0);
	attest_expected(c, "a log that replays to the signed registers");
	if (err)
		attest_found(c, "%s", why.text);
	else if (differs >= 0) {
		attest_expected(c, "%s%d %s", register_name, differs, hex_encode(x, registers[differs], size));
		attest_found(c, "%s%d %s", register_name, differs, hex_encode(y, r.value[first + (unsigned int)differs], size));
	} else {
		attest_found(c, "it does, by %s", digest_name(alg));
		json_object_set_new(out->claims, "event_log", eventlog_claims(bytes, len, alg, NULL));
	}
}
