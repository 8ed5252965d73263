// SPDX-License-Identifier: Apache-2.0
// See initdata.h. Of TOML only as much is read as the three lines before the first table need: a name, =, a text in quotes without escapes, a
// comment. Anything else there is refused. What stands in the tables is not read: the digest covers every byte.
#include "attest/initdata.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#include "attest/slice.h"
#include "lib/encode.h"

#define PCR_OF_INITDATA "pcr08"

struct words {
	char algorithm[16], version[16];
};

static const char *blanks(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t' || *p == '\r'))
		p++;
	return p;
}

// One line before the first table. 1: a table begins.
static int toml_line(const char *p, const char *end, struct words *w)
{
	const char *name = p = blanks(p, end);
	if (p == end || *p == '#')
		return 0;
	if (*p == '[')
		return 1;
	while (p < end && ((*p >= 'a' && *p <= 'z') || *p == '_' || *p == '-'))
		p++;
	size_t n = (size_t)(p - name);
	p = blanks(p, end);
	if (!n || p == end || *p++ != '=')
		return -EINVAL;
	p = blanks(p, end);
	if (p == end || (*p != '"' && *p != '\''))
		return -EINVAL;
	const char *text = p + 1, *close = memchr(text, *p, (size_t)(end - text));
	if (!close || close == text || memchr(text, '\\', (size_t)(close - text)))	// "" may begin a text of several lines
		return -EINVAL;
	p = blanks(close + 1, end);
	if (p < end && *p != '#')
		return -EINVAL;
	char *to = n == 9 && !memcmp(name, "algorithm", n) ? w->algorithm : n == 7 && !memcmp(name, "version", n) ? w->version : NULL;
	if (to && (*to || (size_t)(close - text) >= sizeof w->algorithm))	// a second time, or too long for any
		return -EINVAL;
	if (to)
		memcpy(to, text, (size_t)(close - text));
	return 0;
}

static int read_toml(const char *body, size_t len, struct words *w)
{
	const char *end = body + len;
	int r = 0;
	while (body < end && !r) {
		const char *next = memchr(body, '\n', (size_t)(end - body));
		r = toml_line(body, next ? next : end, w);
		body = next ? next + 1 : end;
	}
	return r < 0 ? r : 0;
}

static int read_json(const char *body, size_t len, struct words *w)
{
	struct fault why = {""};
	json_t *o = slice_parse(body, len, &why);
	snprintf(w->algorithm, sizeof w->algorithm, "%s", slice_text(o, "algorithm"));
	snprintf(w->version, sizeof w->version, "%s", slice_text(o, "version"));
	int err = json_is_object(o) ? 0 : -EINVAL;
	json_decref(o);
	return err;
}

int initdata_digest(const char *format, const char *body, size_t len, struct initdata *out, struct fault *f)
{
	static const struct {
		const char *name, *iana, *openssl;
	} hashes[] = {{"sha256", "sha-256", "SHA2-256"}, {"sha384", "sha-384", "SHA2-384"}, {"sha512", "sha-512", "SHA2-512"}};
	struct words w = {"", ""};
	memset(out, 0, sizeof *out);
	bool toml = !strcmp(format, "toml");
	if (!toml && strcmp(format, "json"))
		return fault_set(f, -EINVAL, "init-data of the format '%.16s'; read are toml and json", format);
	if (len > INITDATA_MAX_BYTES)
		return fault_set(f, -EINVAL, "init-data of %zu bytes; at most %u are read", len, INITDATA_MAX_BYTES);
	if (toml ? read_toml(body, len, &w) : read_json(body, len, &w))
		return fault_set(f, -EINVAL, "init-data that is not %s with plain texts before its data", toml ? "TOML" : "a JSON object");
	if (!*w.version)
		return fault_set(f, -EINVAL, "init-data without a version");
	for (size_t i = 0; i < sizeof hashes / sizeof *hashes; i++) {
		if (strcmp(w.algorithm, hashes[i].name) && strcmp(w.algorithm, hashes[i].iana))
			continue;
		out->algorithm = hashes[i].name;
		return EVP_Q_digest(NULL, hashes[i].openssl, NULL, body, len, out->digest, &out->len) ? 0 : fault_set(f, -ENOMEM, "memory is short");
	}
	return fault_set(f, -EINVAL, "init-data whose algorithm is '%.15s', not sha256, sha384 or sha512", w.algorithm);
}

static const char *at(const json_t *o, const char *const *path)
{
	for (; *path; path++)
		o = json_object_get(o, *path);
	return json_string_value(o);
}

// What the hardware said, in hex, and its length in bytes; NULL: it has no place for it.
static const char *reported(const json_t *claims, enum evidence_kind kind, size_t *bytes)
{
	static const struct {
		enum evidence_kind kind;
		size_t bytes;
		const char *path[4];
	} places[] = {
		{EVIDENCE_SNP, 32, {"snp", "host_data"}}, {EVIDENCE_TDX, 48, {"tdx", "mr_config_id"}}, {EVIDENCE_SGX, 64, {"sgx", "config_id"}},
		{EVIDENCE_CCA, 64, {"cca", "realm", "personalization_value"}}, {EVIDENCE_HCL, 32, {"tpm", "pcrs", PCR_OF_INITDATA}},
		{EVIDENCE_TPM, 32, {"tpm", "pcrs", PCR_OF_INITDATA}},
	};
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		if (places[i].kind != kind)
			continue;
		const char *hex = at(claims, places[i].path);
		*bytes = places[i].bytes;
		return hex && strlen(hex) == 2 * places[i].bytes ? hex : NULL;
	}
	return NULL;
}

// A place that is longer than the digest is filled with zeros, a shorter one holds its beginning; a register is extended with it, once.
static bool expected_of(const struct initdata *d, enum evidence_kind kind, size_t bytes, char hex[129])
{
	uint8_t value[64] = {0};
	if (kind == EVIDENCE_HCL || kind == EVIDENCE_TPM) {
		memcpy(value + 32, d->digest, 32);
		if (d->len != 32 || !EVP_Q_digest(NULL, "SHA2-256", NULL, value, sizeof value, value, NULL))
			return false;
	} else {
		memcpy(value, d->digest, d->len);
	}
	hex_encode(hex, value, bytes);
	return true;
}

void initdata_check(const struct bundle *b, enum evidence_kind kind, struct attest_result *out)
{
	size_t len, format_len, bytes = 0;
	const char *body = bundle_text(b, "init_data", &len), *format = bundle_text(b, "init_data_format", &format_len);
	struct initdata d;
	struct fault why = {""};
	char want[129] = "", digest[129];
	if (!json_object_get(b->json, "init_data"))
		return;
	int err = body ? initdata_digest(format ? format : "toml", body, len, &d, &why) : fault_set(&why, -EINVAL, "init-data that is no text");
	const char *found = err ? NULL : reported(out->claims, kind, &bytes);
	bool known = found && expected_of(&d, kind, bytes, want);
	struct attest_check *c = attest_check_add(out, "init-data", known && !strcmp(want, found));
	attest_expected(c, "%s", err ? "init-data that can be read" : known ? want : "evidence with a place for the digest of init-data");
	attest_found(c, "%s", err ? why.text : found ? found : evidence_kind_name(kind));
	if (c->outcome != ATTEST_PASSED)
		return;
	hex_encode(digest, d.digest, d.len);
	json_object_set_new(out->claims, "init_data", json_pack("{s:s, s:s}", "algorithm", d.algorithm, "digest", digest));
}
