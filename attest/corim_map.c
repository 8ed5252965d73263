// SPDX-License-Identifier: Apache-2.0
// See corim_map.h. The numbers are those of draft-ietf-rats-corim-08 and later and of the profiles named in corim.h.
#include "attest/corim_map.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "attest/json.h"
#include "lib/encode.h"

enum {	// measurement-values-map, and Intel's part of it
	VERSION = 0, SVN = 1, DIGESTS = 2, FLAGS = 3, RAW = 4, RAW_MASK = 5, NAME = 11, CRYPTOKEYS = 13, REGISTERS = 14,
	TCB_DATE = -72, ISV_SVN = -73, PCE_ID = -80, MISC = -81, ATTRIBUTES = -82, MR_TEE = -83, MR_SIGNER = -84, PROD_ID = -85, EVALUATION = -86,
	TCB_STATUS = -88,
};
enum {
	TAG_SVN = 552, TAG_MIN_SVN = 553, TAG_BYTES = 560, TAG_MASKED = 563, TAG_PSA_ID = 601,
	TAG_NUMERIC = 60010, TAG_DIGEST_SET = 60020, TAG_TEXT_SET = 60021,
	OP_GREATER = 1, OP_AT_LEAST = 2, OP_MEMBER = 6,
};

#define NAME_MAX_CHARS 120

void corim_say(json_t *list, const char *format, ...)
{
	char text[256];
	va_list ap;
	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	for (char *s = text; *s; s++) {
		if (*s < ' ' || *s > '~')
			*s = '?';
	}
	if (json_array_size(list) < 64)	// more say nothing new
		json_array_append_new(list, json_string(text));
}

bool corim_pair(struct cursor *c, uint64_t *pairs, struct cbor *key, struct cursor *value)
{
	if (!*pairs || !cbor_read(c, key) || (key->kind != CBOR_UINT && key->kind != CBOR_NEGATIVE && key->kind != CBOR_TEXT))
		return false;
	*value = *c;
	if (!cbor_skip(c))
		return false;
	--*pairs;
	return true;
}

bool corim_item(struct cursor *c, uint64_t *items, struct cursor *item)
{
	if (!*items)
		return false;
	*item = *c;
	if (!cbor_skip(c))
		return false;
	--*items;
	return true;
}

bool corim_open(struct cursor c, uint64_t tag, enum cbor_kind kind, struct cbor *v, struct cursor *inside)
{
	if (!cbor_read(&c, v) || (tag && (v->kind != CBOR_TAG || v->n != tag || !cbor_read(&c, v))) || v->kind != kind)
		return false;
	*inside = c;
	return true;
}

static bool number_key(const struct cbor *k, int64_t *n)
{
	if ((k->kind != CBOR_UINT && k->kind != CBOR_NEGATIVE) || k->n > 1 << 20)
		return false;
	*n = k->kind == CBOR_UINT ? (int64_t)k->n : -1 - (int64_t)k->n;
	return true;
}

static void put(struct corim *out, const struct corim_env *env, const char *name, const char *member, json_t *value, const char *mask)
{
	json_t *row = json_pack("{s:s, s:o}", "name", name, member, value), *other;
	size_t i;
	if (row && env->tee)
		set_text(row, "tee", env->tee);
	if (row && mask)
		set_text(row, "mask", mask);
	json_array_foreach(out->values, i, other) {	// of one class are many measurements
		if (json_equal(row, other)) {
			json_decref(row);
			return;
		}
	}
	if (!row || json_array_size(out->values) >= CORIM_MAX_VALUES) {
		corim_say(out->left_out, "%s: more values than there may be", name);
		json_decref(row);
		return;
	}
	json_array_append_new(out->values, row);
}

void corim_put_hex(struct corim *out, const struct corim_env *env, const char *name, const uint8_t *bytes, size_t len)
{
	char hex[2 * 128 + 1];
	if (!len || len > 128)
		corim_say(out->left_out, "%s: %zu bytes", name, len);
	else
		put(out, env, name, "value", json_string(hex_encode(hex, bytes, len)), NULL);
}

// A number, alone or as a minimum. False when it is none that has a counterpart.
static bool put_number(struct corim *out, const struct corim_env *env, const char *name, struct cursor c)
{
	struct cbor v, op;
	struct cursor in;
	bool least = false;
	uint64_t n;
	if (corim_open(c, 0, CBOR_UINT, &v, &in) || corim_open(c, TAG_SVN, CBOR_UINT, &v, &in)) {
		n = v.n;
	} else if (corim_open(c, TAG_MIN_SVN, CBOR_UINT, &v, &in)) {
		n = v.n;
		least = true;
	} else if (corim_open(c, TAG_NUMERIC, CBOR_ARRAY, &v, &in) && v.n == 2 && cbor_read(&in, &op) && op.kind == CBOR_UINT &&
		   (op.n == OP_GREATER || op.n == OP_AT_LEAST) && cbor_read(&in, &v) && v.kind == CBOR_UINT && v.n < INT64_MAX) {
		n = v.n + (op.n == OP_GREATER);
		least = true;
	} else {
		return false;
	}
	if (n > INT64_MAX)
		return false;
	put(out, env, name, least ? "minimum" : "value", json_integer((json_int_t)n), NULL);
	return true;
}

// [algorithm, bytes]; of another length than `want` (0: any) it is about another algorithm than the hardware's, and tells nothing.
static bool put_digest(struct corim *out, const struct corim_env *env, const char *name, size_t want, struct cursor c, unsigned int *count)
{
	struct cbor v, alg, bytes;
	struct cursor in;
	if (!corim_open(c, 0, CBOR_ARRAY, &v, &in) || v.n != 2 || !cbor_read(&in, &alg) || (alg.kind != CBOR_UINT && alg.kind != CBOR_TEXT) ||
	    !cbor_read(&in, &bytes) || bytes.kind != CBOR_BYTES)
		return false;
	if (!want || bytes.len == want) {
		corim_put_hex(out, env, name, bytes.bytes, bytes.len);
		++*count;
	}
	return true;
}

static bool put_digests(struct corim *out, const struct corim_env *env, const char *name, size_t want, struct cursor c)
{
	struct cbor v;
	struct cursor in, item;
	unsigned int count = 0;
	uint64_t items;
	if (put_digest(out, env, name, want, c, &count)) // one alone
		return count > 0;
	if (corim_open(c, TAG_DIGEST_SET, CBOR_ARRAY, &v, &in)) {
		if (v.n != 2 || !cbor_read(&in, &v) || v.kind != CBOR_UINT || v.n != OP_MEMBER)
			return false;
		c = in;
	}
	if (!corim_open(c, 0, CBOR_ARRAY, &v, &in))
		return false;
	items = v.n;
	while (corim_item(&in, &items, &item)) {
		if (!put_digest(out, env, name, want, item, &count))
			return false;
	}
	return !items && count;
}

// Bytes, tagged or not, or a value and a mask.
static bool put_raw(struct corim *out, const struct corim_env *env, const char *name, struct cursor c, const struct cursor *mask)
{
	struct cbor v, m;
	struct cursor in;
	char value[129], hex[129];
	if (corim_open(c, TAG_MASKED, CBOR_ARRAY, &v, &in)) {
		if (v.n != 2 || !cbor_read(&in, &v) || v.kind != CBOR_BYTES || !cbor_read(&in, &m) || m.kind != CBOR_BYTES)
			return false;
	} else if (corim_open(c, 0, CBOR_BYTES, &v, &in) || corim_open(c, TAG_BYTES, CBOR_BYTES, &v, &in)) {
		if (!mask) {
			corim_put_hex(out, env, name, v.bytes, v.len);
			return true;
		}
		if (!corim_open(*mask, 0, CBOR_BYTES, &m, &in))
			return false;
	} else {
		return false;
	}
	if (v.len != m.len || !v.len || v.len > 64)
		return false;
	put(out, env, name, "value", json_string(hex_encode(value, v.bytes, v.len)), hex_encode(hex, m.bytes, m.len));
	return true;
}

// A set of texts, one of which it must be.
static bool put_texts(struct corim *out, const struct corim_env *env, const char *name, struct cursor c)
{
	struct cbor v, text;
	struct cursor in, item;
	uint64_t items;
	if (!corim_open(c, TAG_TEXT_SET, CBOR_ARRAY, &v, &in) || v.n != 2 || !cbor_read(&in, &v) || v.kind != CBOR_UINT || v.n != OP_MEMBER ||
	    !cbor_read(&in, &v) || v.kind != CBOR_ARRAY)
		return false;
	items = v.n;
	while (corim_item(&in, &items, &item)) {
		if (!cbor_read(&item, &text) || text.kind != CBOR_TEXT)
			return false;
		put(out, env, name, "value", json_stringn((const char *)text.bytes, text.len), NULL);
	}
	return !items;
}

static bool put_version(struct corim *out, const struct corim_env *env, const char *name, struct cursor c)
{
	struct cbor v, text;
	struct cursor in;
	if (!corim_open(c, 0, CBOR_MAP, &v, &in) || !cbor_find_kind(in, v.n, 0, CBOR_TEXT, &text))
		return false;
	put(out, env, name, "value", json_stringn((const char *)text.bytes, text.len), NULL);
	return true;
}

struct corim_flag {
	int64_t key;
	const char *name;
};

static bool put_flags(struct corim *out, const struct corim_env *env, struct cursor c, const struct corim_flag *flags)
{
	struct cbor v, key;
	struct cursor in, value;
	int64_t n;
	if (!corim_open(c, 0, CBOR_MAP, &v, &in))
		return false;
	uint64_t pairs = v.n;
	while (corim_pair(&in, &pairs, &key, &value)) {
		const struct corim_flag *flag = flags;
		if (!number_key(&key, &n) || !cbor_read(&value, &v) || v.kind != CBOR_BOOL)
			return false;
		while (flag->name && flag->key != n)
			flag++;
		if (!flag->name)
			return false;
		put(out, env, flag->name, "value", json_boolean(v.n), NULL);
	}
	return !pairs;
}

// AMD's TCB is a word of bytes, one for each part. The third byte from below is of Turin alone, which has another order.
static bool put_tcb(struct corim *out, const struct corim_env *env, const char *prefix, struct cursor c)
{
	static const struct { const char *name; int byte; } old[] = {{"bootloader", 0}, {"tee", 1}, {"snp", 6}, {"microcode", 7}},
		turin[] = {{"fmc", 0}, {"bootloader", 1}, {"tee", 2}, {"snp", 3}, {"microcode", 7}};
	struct cbor v;
	struct cursor in;
	char name[64];
	bool least = corim_open(c, TAG_MIN_SVN, CBOR_UINT, &v, &in);
	if (!least && !corim_open(c, 0, CBOR_UINT, &v, &in) && !corim_open(c, TAG_SVN, CBOR_UINT, &v, &in))
		return false;
	bool is_turin = v.n >> 24 & 0xff, is_old = v.n >> 48 & 0xff;
	if (is_turin == is_old || v.n >> 32 & 0xffff || (is_old && v.n >> 16 & 0xff))
		return false;
	for (int i = 0; i < (is_turin ? 5 : 4); i++) {
		snprintf(name, sizeof name, "%s.%s", prefix, is_turin ? turin[i].name : old[i].name);
		put(out, env, name, least ? "minimum" : "value", json_integer((json_int_t)(v.n >> 8 * (is_turin ? turin[i].byte : old[i].byte) & 0xff)), NULL);
	}
	return true;
}

static bool map_snp(struct corim *out, const struct corim_env *env, const struct cbor *mkey, int64_t key, struct cursor c, const struct cursor *mask)
{
	static const struct corim_flag policy[] = {
		{3, "snp.policy_debug_allowed"}, {-1, "snp.policy_smt_allowed"}, {-2, "snp.policy_migrate_ma"}, {-3, "snp.policy_debug_allowed"},
		{-4, "snp.policy_single_socket"}, {-5, "snp.policy_cxl_allowed"}, {-6, "snp.policy_aes_256_xts"}, {-7, "snp.policy_rapl_disabled"},
		{-8, "snp.policy_ciphertext_hiding"}, {-9, "snp.policy_page_swap_disabled"}, {0, NULL},
	};
	static const struct corim_flag host[] = {
		{-49, "snp.platform_smt_enabled"}, {-50, "snp.platform_tsme_enabled"}, {-51, "snp.platform_ecc_enabled"}, {-52, "snp.platform_rapl_disabled"},
		{-53, "snp.platform_ciphertext_hiding"}, {-54, "snp.platform_alias_check"}, {-56, "snp.platform_tio"}, {0, NULL},
	};
	static const char *const raw[] = {"snp.family_id", NULL, NULL, "snp.report_id", NULL, "snp.id_key_digest", "snp.author_key_digest", NULL, "snp.host_data"};
	static const char *const tcb[] = {NULL, NULL, NULL, NULL, NULL, NULL, NULL, "snp.reported_tcb", NULL, "snp.committed_tcb", "snp.launch_tcb"};
	uint64_t n = mkey->kind == CBOR_UINT ? mkey->n : 99;
	struct cbor v;
	struct cursor in;
	if (key == DIGESTS)
		return n == 0 && put_digests(out, env, "measurement", 48, c);
	if (key == FLAGS)
		return (n == 0 || n == 8) && put_flags(out, env, c, n ? host : policy);
	if (key == SVN && n == 0)
		return put_number(out, env, "snp.guest_svn", c);
	if (key == SVN)
		return n < 11 && tcb[n] && put_tcb(out, env, tcb[n], c);
	if (key == VERSION && n == 0)	// the identifier as hex
		return put_version(out, env, "snp.image_id", c);
	if (key == VERSION)
		return (n == 8 || n == 9) && put_version(out, env, n == 8 ? "snp.current_firmware" : "snp.committed_firmware", c);
	if (key == RAW && n == 2 && corim_open(c, 0, CBOR_UINT, &v, &in))
		return put_number(out, env, "snp.vmpl", c);
	return key == RAW && n < 9 && raw[n] && put_raw(out, env, raw[n], c, mask);
}

static bool map_registers(struct corim *out, const struct corim_env *env, struct cursor c)
{
	struct cbor v, key;
	struct cursor in, value;
	char name[32];
	if (!corim_open(c, 0, CBOR_MAP, &v, &in))
		return false;
	uint64_t pairs = v.n;
	while (corim_pair(&in, &pairs, &key, &value)) {
		if (env->kind == CORIM_TD && key.kind == CBOR_UINT && key.n < 4)
			snprintf(name, sizeof name, "tdx.rtmr_%u", (unsigned int)key.n);
		else if (env->kind == CORIM_CCA_REALM && key.kind == CBOR_TEXT && key.len == 3 && !memcmp(key.bytes, "rim", 3))
			snprintf(name, sizeof name, "measurement");
		else if (env->kind == CORIM_CCA_REALM && key.kind == CBOR_TEXT && key.len == 4 && !memcmp(key.bytes, "rem", 3) && key.bytes[3] >= '0' && key.bytes[3] <= '3')
			snprintf(name, sizeof name, "cca.realm.rem%c", key.bytes[3]);
		else
			return false;
		if (!put_digests(out, env, name, env->kind == CORIM_TD ? 48 : 0, value))
			return false;
	}
	return !pairs;
}

static bool map_intel(struct corim *out, const struct corim_env *env, int64_t key, struct cursor c)
{
	static const struct { enum corim_kind kind; int64_t key; const char *name; size_t want; } rows[] = {
		{CORIM_SEAM, MR_TEE, "tdx.mr_seam", 48}, {CORIM_SEAM, MR_SIGNER, "tdx.mrsigner_seam", 48}, {CORIM_SEAM, ATTRIBUTES, "tdx.seam_attributes", 0},
		{CORIM_TD, DIGESTS, "tdx.mr_td", 48}, {CORIM_TD, MR_TEE, "tdx.mr_td", 48}, {CORIM_TD, ATTRIBUTES, "tdx.td_attributes", 0},
		{CORIM_SGX, MR_TEE, "sgx.mr_enclave", 32}, {CORIM_SGX, MR_SIGNER, "sgx.mr_signer", 32}, {CORIM_SGX, PROD_ID, "sgx.isv_prod_id", 0},
		{CORIM_SGX, ISV_SVN, "sgx.isv_svn", 0}, {CORIM_QE, MR_TEE, "quote.qe_mrenclave", 32}, {CORIM_QE, MR_SIGNER, "quote.qe_mrsigner", 32},
		{CORIM_QE, ISV_SVN, "quote.qe_isv_svn", 0}, {CORIM_PCE, ISV_SVN, "platform.pce_svn", 0}, {CORIM_PCE, PCE_ID, "platform.pce_id", 0},
	};
	if (key == EVALUATION)
		return put_number(out, env, "tcb.evaluation_number", c);
	if (key == TCB_STATUS)
		return put_texts(out, env, "tcb_status", c);
	if (key == REGISTERS)
		return map_registers(out, env, c);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (rows[i].kind != env->kind || rows[i].key != key)
			continue;
		if (key == MR_TEE || key == MR_SIGNER || key == DIGESTS)
			return put_digests(out, env, rows[i].name, rows[i].want, c);
		if (key == ATTRIBUTES || key == PCE_ID)
			return put_raw(out, env, rows[i].name, c, NULL);
		return put_number(out, env, rows[i].name, c);
	}
	return false;
}

static bool text_is(const struct cbor *v, const char *text)
{
	return v->kind == CBOR_TEXT && v->len == strlen(text) && !memcmp(v->bytes, text, v->len);
}

static bool map_realm(struct corim *out, const struct corim_env *env, const struct cbor *mkey, int64_t key, struct cursor c, const struct cursor *mask)
{
	char name[32];
	if (key == REGISTERS)
		return map_registers(out, env, c);
	if (key == RAW)
		return text_is(mkey, "cca.rpv") && put_raw(out, env, "cca.realm.personalization_value", c, mask);
	if (key != DIGESTS || mkey->kind != CBOR_TEXT)
		return false;
	if (text_is(mkey, "cca.rim"))
		return put_digests(out, env, "measurement", 0, c);
	snprintf(name, sizeof name, "cca.realm.rem%c", mkey->len ? mkey->bytes[mkey->len - 1] : 'x');
	return mkey->len == 8 && !memcmp(mkey->bytes, "cca.rem", 7) && mkey->bytes[7] >= '0' && mkey->bytes[7] <= '3' && put_digests(out, env, name, 0, c);
}

// What a software component is called: in the newer profiles a member of its values, in the older ones in its key, with version and signer.
struct component {
	struct cbor name, version, signer;
	char path[NAME_MAX_CHARS];
};

static bool component_path(const struct corim_env *env, struct component *p)
{
	if (p->name.kind != CBOR_TEXT || !p->name.len || p->name.len > 64)
		return false;
	for (size_t i = 0; i < p->name.len; i++) {
		if (p->name.bytes[i] <= ' ' || p->name.bytes[i] > '~' || strchr(".=<>\"\\", p->name.bytes[i]))
			return false;
	}
	snprintf(p->path, sizeof p->path, "%s.software_components.%.*s", env->kind == CORIM_PSA ? "psa" : "cca.platform", (int)p->name.len,
		 (const char *)p->name.bytes);
	return true;
}

// Only a digest as signer: other keys say nothing that a token would.
static bool read_component(struct cursor mkey, struct cursor mval, uint64_t pairs, struct component *p)
{
	struct cbor v;
	struct cursor in, at;
	memset(p, 0, sizeof *p);
	if (corim_open(mkey, TAG_PSA_ID, CBOR_MAP, &v, &in)) {
		cbor_find_kind(in, v.n, 1, CBOR_TEXT, &p->name);
		cbor_find_kind(in, v.n, 4, CBOR_TEXT, &p->version);
		return cbor_find_kind(in, v.n, 5, CBOR_BYTES, &p->signer);
	}
	cbor_find_kind(mval, pairs, NAME, CBOR_TEXT, &p->name);
	if (cbor_find(mval, pairs, VERSION, &at) && (!corim_open(at, 0, CBOR_MAP, &v, &in) || !cbor_find_kind(in, v.n, 0, CBOR_TEXT, &p->version)))
		return false;
	return !cbor_find(mval, pairs, CRYPTOKEYS, &at) ||
	       (corim_open(at, 0, CBOR_ARRAY, &v, &in) && v.n == 1 && corim_open(in, TAG_BYTES, CBOR_BYTES, &p->signer, &in));
}

static bool map_component(struct corim *out, const struct corim_env *env, struct cursor mkey, struct cursor mval, uint64_t pairs)
{
	struct component p;
	struct cursor c = mval, value;
	struct cbor key;
	char name[NAME_MAX_CHARS + 16];
	int64_t n;
	if (!read_component(mkey, mval, pairs, &p) || !component_path(env, &p))
		return false;
	bool digests = false;
	while (corim_pair(&c, &pairs, &key, &value)) {
		if (!number_key(&key, &n) || (n != DIGESTS && n != NAME && n != VERSION && n != CRYPTOKEYS))
			return false;
		if (n == DIGESTS)
			digests = put_digests(out, env, p.path, 0, value);
	}
	if (p.signer.kind == CBOR_BYTES) {
		snprintf(name, sizeof name, "%s.signer_id", p.path);
		corim_put_hex(out, env, name, p.signer.bytes, p.signer.len);
	}
	if (p.version.kind == CBOR_TEXT) {
		snprintf(name, sizeof name, "%s.version", p.path);
		put(out, env, name, "value", json_stringn((const char *)p.version.bytes, p.version.len), NULL);
	}
	return digests && !pairs;
}

static bool map_one(struct corim *out, const struct corim_env *env, const struct cbor *mkey, int64_t key, struct cursor c, const struct cursor *mask)
{
	switch (env->kind) {
	case CORIM_SNP: return map_snp(out, env, mkey, key, c, mask);
	case CORIM_CCA_REALM: return map_realm(out, env, mkey, key, c, mask);
	case CORIM_CCA_PLATFORM:
		return key == RAW && (text_is(mkey, "cca.platform-config") || mkey->kind == CBOR_TAG) && put_raw(out, env, "cca.platform.config", c, mask);
	case CORIM_SEAM:
	case CORIM_TD:
	case CORIM_SGX:
	case CORIM_QE:
	case CORIM_PCE: return map_intel(out, env, key, c);
	default: return false;
	}
}

int corim_measurement(struct corim *out, const struct corim_env *env, struct cursor c, struct fault *f)
{
	struct cursor in, mkey_at = {NULL, 0, true}, mval, value, mask;
	struct cbor v, mkey = {.kind = CBOR_NONE}, key;
	int64_t n = 0;
	if (!corim_open(c, 0, CBOR_MAP, &v, &in) || !cbor_find(in, v.n, 1, &mval))
		return fault_set(f, -EINVAL, "a measurement without values");
	uint64_t pairs = v.n;
	if (cbor_find(in, v.n, 0, &mkey_at)) {
		struct cursor at = mkey_at;
		cbor_read(&at, &mkey);
	}
	while (corim_pair(&in, &pairs, &key, &value)) {
		if (key.kind == CBOR_UINT && key.n == 2)
			corim_say(out->notes, "authorized-by: evidence is judged under the makers' roots alone");
		else if (key.kind != CBOR_UINT || key.n > 2)
			corim_say(out->left_out, "a measurement has an unknown member");
	}
	if (pairs || !corim_open(mval, 0, CBOR_MAP, &v, &in))
		return fault_set(f, -EINVAL, "a measurement that is malformed");
	if ((env->kind == CORIM_CCA_PLATFORM && (text_is(&mkey, "cca.software-component") || corim_open(mkey_at, TAG_PSA_ID, CBOR_MAP, &key, &value))) ||
	    (env->kind == CORIM_PSA && (text_is(&mkey, "psa.software-component") || corim_open(mkey_at, TAG_PSA_ID, CBOR_MAP, &key, &value)))) {
		if (!map_component(out, env, mkey_at, in, v.n))
			corim_say(out->left_out, "a software component that is not understood");
		return 0;
	}
	bool masked = cbor_find(in, v.n, RAW_MASK, &mask);
	pairs = v.n;
	while (corim_pair(&in, &pairs, &key, &value)) {
		if (!number_key(&key, &n))
			corim_say(out->left_out, "a value under the key '%.*s'", (int)(key.len < 40 ? key.len : 40), (const char *)key.bytes);
		else if (n == TCB_DATE)
			corim_say(out->notes, "a TCB date: how current a platform is, its maker's collateral says");
		else if (n != RAW_MASK && n != NAME && !map_one(out, env, &mkey, n, value, masked ? &mask : NULL))
			corim_say(out->left_out, "value %lld of %s", (long long)n, env->tee ? env->tee : "an environment that is not known");
	}
	return pairs ? fault_set(f, -EINVAL, "a measurement whose values are malformed") : 0;
}
