// SPDX-License-Identifier: Apache-2.0
// See measure.h.
#include "spdm/measure.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "lib/encode.h"
#include "spdm/message.h"

enum { TYPE_FIRMWARE = 1, TYPE_FIRMWARE_CONFIG = 3, TYPE_MANIFEST = 4, TYPE_MODE = 5, RAW = 0x80 };
enum { MODE_BYTES = 16, OPERATION_NORMAL = 1 << 2, DEBUG_ACTIVE = 3 };

// Numbers are for ever: reference values of others may rest on them.
static const struct row {
	uint8_t index, type;
	const char *claim;
} rows[] = {
	{1, TYPE_FIRMWARE, "measurement"},
	{2, TYPE_FIRMWARE, "tdx.rtmr_0"}, {3, TYPE_FIRMWARE, "tdx.rtmr_1"}, {4, TYPE_FIRMWARE, "tdx.rtmr_2"}, {5, TYPE_FIRMWARE, "tdx.rtmr_3"},
	{6, TYPE_FIRMWARE_CONFIG, "tdx.mr_config_id"}, {7, TYPE_FIRMWARE_CONFIG, "snp.host_data"},
	{8, TYPE_FIRMWARE_CONFIG, "sgx.mr_signer"}, {9, TYPE_FIRMWARE_CONFIG, "sgx.config_id"},
	{10, TYPE_FIRMWARE, "csv.rtmr0"}, {11, TYPE_FIRMWARE, "csv.rtmr1"}, {12, TYPE_FIRMWARE, "csv.rtmr2"}, {13, TYPE_FIRMWARE, "csv.rtmr3"},
	{14, TYPE_FIRMWARE, "csv.rtmr4"},
	{15, TYPE_FIRMWARE, "cca.realm.rem0"}, {16, TYPE_FIRMWARE, "cca.realm.rem1"}, {17, TYPE_FIRMWARE, "cca.realm.rem2"},
	{18, TYPE_FIRMWARE, "cca.realm.rem3"},
	{32, TYPE_FIRMWARE, "tpm.pcrs.pcr00"}, {33, TYPE_FIRMWARE, "tpm.pcrs.pcr01"}, {34, TYPE_FIRMWARE, "tpm.pcrs.pcr02"},
	{35, TYPE_FIRMWARE, "tpm.pcrs.pcr03"}, {36, TYPE_FIRMWARE, "tpm.pcrs.pcr04"}, {37, TYPE_FIRMWARE, "tpm.pcrs.pcr05"},
	{38, TYPE_FIRMWARE, "tpm.pcrs.pcr06"}, {39, TYPE_FIRMWARE, "tpm.pcrs.pcr07"}, {40, TYPE_FIRMWARE, "tpm.pcrs.pcr08"},
	{41, TYPE_FIRMWARE, "tpm.pcrs.pcr09"}, {42, TYPE_FIRMWARE, "tpm.pcrs.pcr10"}, {43, TYPE_FIRMWARE, "tpm.pcrs.pcr11"},
	{44, TYPE_FIRMWARE, "tpm.pcrs.pcr12"}, {45, TYPE_FIRMWARE, "tpm.pcrs.pcr13"}, {46, TYPE_FIRMWARE, "tpm.pcrs.pcr14"},
	{47, TYPE_FIRMWARE, "tpm.pcrs.pcr15"},
};
#define ROWS (sizeof rows / sizeof *rows)
_Static_assert(ROWS <= MEASURE_MAX, "every register has room");

static const char *claim_text(const json_t *o, const char *path)
{
	char part[32];
	while (o && *path) {
		size_t n = strcspn(path, ".");
		snprintf(part, sizeof part, "%.*s", (int)n, path);
		o = json_object_get(o, part);
		path += n + (path[n] == '.');
	}
	return json_string_value(o);
}

void measured_from(const json_t *claims, struct measured *m)
{
	const char *debug = json_string_value(json_object_get(claims, "dbgstat"));
	*m = (struct measured){.debug = debug && !strcmp(debug, "enabled")};
	for (size_t i = 0; i < ROWS; i++) {
		const char *hex = claim_text(claims, rows[i].claim);
		size_t len = hex ? strlen(hex) : 0;
		struct register_value *r = &m->registers[m->count];
		if (!len || len % 2 || len / 2 > MEASURE_VALUE || hex_decode(r->value, len / 2, hex))
			continue;
		r->index = rows[i].index;
		r->type = rows[i].type;
		r->claim = rows[i].claim;
		r->len = len / 2;
		m->count++;
	}
}

const char *measure_type_name(uint8_t type)
{
	static const char *const names[] = {"immutable ROM", "mutable firmware", "hardware configuration", "firmware configuration", "manifest",
					    "device mode",
					    "firmware version", "firmware security version"};
	return type < sizeof names / sizeof *names ? names[type] : "another kind";
}

const char *measure_claim(uint8_t index)
{
	for (size_t i = 0; i < ROWS; i++) {
		if (rows[i].index == index)
			return rows[i].claim;
	}
	return NULL;
}

unsigned int measured_count(const struct measured *m)
{
	return m->count + 2;
}

static const EVP_MD *md_of(uint32_t hash)
{
	return hash == MEASUREMENT_SHA384 ? EVP_sha384() : EVP_sha256();
}

// Both forms of what stands in a block.
static void put_block(struct buffer *b, uint8_t index, uint8_t type, const void *value, size_t len)
{
	buffer_number(b, index, 1);
	buffer_number(b, MEASUREMENT_DMTF, 1);
	buffer_number(b, (uint32_t)(3 + len), 2);
	buffer_number(b, type, 1);
	buffer_number(b, (uint32_t)len, 2);
	buffer_put(b, value, len);
}

void measure_block(struct buffer *record, uint8_t index, uint8_t type, const void *value, size_t len)
{
	if (len + 3 > UINT16_MAX)
		record->failed = true;
	else
		put_block(record, index, type | RAW, value, len);
}

static void put_register(struct buffer *b, const struct register_value *r, uint32_t hash, bool raw)
{
	uint8_t digest[SUITE_MAX_HASH];
	unsigned int n = 0;
	if (raw)
		measure_block(b, r->index, r->type, r->value, r->len);
	else if (EVP_Digest(r->value, r->len, digest, &n, md_of(hash), NULL) == 1)
		put_block(b, r->index, r->type, digest, n);
	else
		b->failed = true;
}

static void mode_bytes(const struct measured *m, uint8_t out[MODE_BYTES])
{
	memset(out, 0, MODE_BYTES);
	out[0] = out[4] = OPERATION_NORMAL;	// capability and state
	out[8] = DEBUG_ACTIVE;
	out[12] = m->debug ? DEBUG_ACTIVE : 0;
}

static void put_manifest(struct buffer *b, const struct measured *m)
{
	json_t *o = json_object();
	char name[4], *text = NULL;
	for (unsigned int i = 0; o && i < m->count; i++) {
		snprintf(name, sizeof name, "%u", m->registers[i].index);
		json_object_set_new(o, name, json_string(m->registers[i].claim));
	}
	text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	if (text)
		measure_block(b, INDEX_MANIFEST, TYPE_MANIFEST, text, strlen(text));
	else
		b->failed = true;
	free(text);
	json_decref(o);
}

int measured_record(const struct measured *m, uint32_t hash, uint8_t operation, bool raw, struct buffer *record, unsigned int *blocks)
{
	bool all = operation == MEASUREMENTS_ALL;
	uint8_t mode[MODE_BYTES];
	*blocks = 0;
	for (unsigned int i = 0; i < m->count; i++) {
		if (!all && m->registers[i].index != operation)
			continue;
		put_register(record, &m->registers[i], hash, raw);
		++*blocks;
	}
	if (all || operation == INDEX_MANIFEST) {
		put_manifest(record, m);
		++*blocks;
	}
	if (all || operation == INDEX_MODE) {
		mode_bytes(m, mode);
		measure_block(record, INDEX_MODE, TYPE_MODE, mode, sizeof mode);
		++*blocks;
	}
	if (record->failed)
		return -ENOMEM;
	return *blocks ? 0 : -ENOENT;
}

bool measured_summary(const struct measured *m, const struct suite *s, uint32_t hash, uint8_t summary_type, uint8_t out[SUITE_MAX_HASH])
{
	struct buffer b = {.bytes = NULL};
	unsigned int blocks = 0;
	int err = 0;
	if (summary_type == SUMMARY_ALL)
		err = measured_record(m, hash, MEASUREMENTS_ALL, false, &b, &blocks);
	for (unsigned int i = 0; summary_type == SUMMARY_TCB && i < m->count; i++)
		put_register(&b, &m->registers[i], hash, false);
	bool ok = !err && !b.failed && suite_digest(s, b.bytes ? b.bytes : (const uint8_t *)"", b.len, out);
	buffer_free(&b);
	return ok;
}

// ---- of an answer ----

static const struct spdm_block *find(const struct spdm_measurements *answer, uint8_t index)
{
	for (unsigned int i = 0; i < answer->count; i++) {
		if (answer->blocks[i].index == index)
			return &answer->blocks[i];
	}
	return NULL;
}

// The block is one of these; an index occurs once (spdm_parse_answer).
static bool same(const struct spdm_block *b, const struct buffer *wanted)
{
	return b && wanted->len >= 7 && b->len == wanted->len - 7 && b->type == (wanted->bytes[4] & ~RAW) && b->raw == !!(wanted->bytes[4] & RAW) &&
	       !CRYPTO_memcmp(b->value, wanted->bytes + 7, b->len);
}

static int compare_one(const struct measured *m, uint32_t hash, uint8_t index, const struct spdm_measurements *answer, const char *name,
		       struct fault *f)
{
	const struct spdm_block *b = find(answer, index);
	struct buffer wanted = {.bytes = NULL};
	unsigned int blocks;
	if (!b)
		return fault_set(f, -EBADMSG, "measurement %u (%s) is missing", index, name);
	int err = measured_record(m, hash, index, b->raw, &wanted, &blocks);
	if (!err && !same(b, &wanted))
		err = fault_set(f, -EBADMSG, "measurement %u (%s) is not what the evidence says", index, name);
	buffer_free(&wanted);
	return err == -ENOMEM ? fault_set(f, err, "out of memory") : err;
}

int measured_compare(const struct measured *m, uint32_t hash, const struct spdm_measurements *answer, struct fault *f)
{
	int err = compare_one(m, hash, INDEX_MANIFEST, answer, "manifest", f);
	if (!err)
		err = compare_one(m, hash, INDEX_MODE, answer, "device mode", f);
	for (unsigned int i = 0; !err && i < m->count; i++)
		err = compare_one(m, hash, m->registers[i].index, answer, m->registers[i].claim, f);
	// A register that the evidence does not have is not believed because the responder has signed it.
	for (unsigned int i = 0; !err && i < answer->count; i++) {
		bool known = answer->blocks[i].index == INDEX_MANIFEST || answer->blocks[i].index == INDEX_MODE;
		for (unsigned int k = 0; k < m->count; k++)
			known |= m->registers[k].index == answer->blocks[i].index;
		if (!known)
			err = fault_set(f, -EBADMSG, "measurement %u is not in the evidence", answer->blocks[i].index);
	}
	return err;
}
