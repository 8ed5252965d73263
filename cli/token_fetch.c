// SPDX-License-Identifier: Apache-2.0
// `coffer token fetch`: attests to a broker with a key of the caller's, and keeps the token that the broker answers with in a file: a passport, which
// `coffer tls --token` and gateways (identity: token) show. The KBS protocol as docs/broker.md has it.
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attest/binding.h"
#include "attest/coco.h"
#include "attest/snp.h"
#include "broker/broker.h"
#include "cli/token.h"
#include "cli/tls.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/http_client.h"
#include "lib/jwe.h"

#define TIMEOUT_MS 20000

// [{"cert_type", "data"}], as the protocol has it. What the hardware gave beside the report.
static json_t *chain_json(struct bundle *b, const uint8_t *report, size_t len)
{
	static const char *const types[] = {"VCEK", "ASK", "ARK"};
	struct snp_chain chain = {.count = 0};
	size_t n;
	const char *pem = bundle_text(b, "certificates", &n);
	int err = 0;
	if (pem)
		err = snp_chain_add_pem(&chain, pem, n, NULL);
	else if (len > SNP_REPORT_BYTES)
		err = snp_chain_add_table(&chain, report + SNP_REPORT_BYTES, len - SNP_REPORT_BYTES, NULL);
	json_t *list = err ? NULL : json_array();
	for (unsigned int i = 0; list && i < chain.count && i < 3; i++) {
		uint8_t *der = NULL;
		int size = i2d_X509(chain.certs[i], &der);
		char *text = size > 0 ? malloc(BASE64_SIZE((size_t)size)) : NULL;
		if (text)
			text[base64_encode(text, der, (size_t)size, BASE64_STD)] = '\0';
		if (!text || json_array_append_new(list, json_pack("{s:s, s:s}", "cert_type", types[i], "data", text))) {
			json_decref(list);
			list = NULL;
		}
		free(text);
		OPENSSL_free(der);
	}
	snp_chain_free(&chain);
	return list;
}

// The evidence as the protocol has it. *tee: what it calls such hardware.
static json_t *primary_json(struct bundle *b, const char *tee)
{
	size_t len;
	const uint8_t *bytes = bundle_bytes(b, "evidence", &len);
	if (!bytes)
		return NULL;
	if (!strcmp(tee, "snp"))
		return len < SNP_REPORT_BYTES ? NULL :
		       json_pack("{s:o, s:o}", "attestation_report", coco_snp_fields(bytes), "cert_chain", chain_json(b, bytes, len));
	char *text = malloc(BASE64_SIZE(len));
	if (!text)
		return NULL;
	text[base64_encode(text, bytes, len, BASE64_STD)] = '\0';
	json_t *o = json_pack("{s:s}", "quote", text);
	free(text);
	return o;
}

// Which hardware this is: it has to be said before there is a nonce to ask it with.
static int find_tee(const struct token_fetch *q, const char **tee, struct fault *f)
{
	static const uint8_t zeros[64];
	struct bundle b;
	size_t len = 0;
	int err = bundle_init(&b) ? fault_set(f, -ENOMEM, "out of memory") : tls_evidence(q->simulated, zeros, &b, f);
	const uint8_t *bytes = err ? NULL : bundle_bytes(&b, "evidence", &len);
	enum evidence_kind kind = bytes ? evidence_kind_of(bytes, len) : EVIDENCE_UNKNOWN;
	*tee = kind == EVIDENCE_SNP ? "snp" : kind == EVIDENCE_TDX ? "tdx" : kind == EVIDENCE_SGX ? "sgx" : NULL;
	if (!err && !*tee)
		err = fault_set(f, -EOPNOTSUPP, "tokens are fetched for SEV-SNP, TDX and SGX, and this is %s", evidence_kind_name(kind));
	bundle_free(&b);
	return err;
}

// What another answer than 200 means, in the broker's words where it has any. *no: it is about the evidence.
static int not_given(const char *url, const struct http_reply *r, bool *no, struct fault *f)
{
	json_t *o = json_loadb(r->body, r->body_len, 0, NULL);
	const json_t *c = json_array_get(json_object_get(o, "refusals"), 0);
	const char *detail = json_string_value(json_object_get(o, "detail")), *claim = json_string_value(json_object_get(c, "claim"));
	const char *expected = json_string_value(json_object_get(c, "expected")), *found = json_string_value(json_object_get(c, "found"));
	char text[800];
	if (claim)
		snprintf(text, sizeof text, "%s: expected %s, found %s", claim, expected ? expected : "?", found ? found : "?");
	else
		snprintf(text, sizeof text, "%s (HTTP %d)", detail ? detail : "no reason given", r->status);
	json_decref(o);
	for (char *p = text; *p; p++)
		*p = (unsigned char)*p < ' ' || *p == 0x7f ? '?' : *p;
	*no = r->status == 401 || r->status == 403;
	if (*no)
		return fault_set(f, -EACCES, "the broker %.150s refuses this side's evidence: %s", url, text);
	if (r->status == 404)
		return fault_set(f, -ENOENT, "there is no key broker at %.150s, but something else (HTTP 404): is the address right?", url);
	if (r->status == 429 || r->status == 503)
		return fault_set(f, -EAGAIN, "the broker %.150s has no time now and says nothing about the evidence: %s; try again later", url, text);
	if (r->status >= 500)
		return fault_set(f, -EIO, "the broker %.150s failed, and says nothing about the evidence: %s", url, text);
	return fault_set(f, -EPROTO, "the broker %.150s does not take the request, which says nothing about the evidence: %s", url, text);
}

static int begin(struct http_client *http, const char *url, const char *tee, char nonce[128], char cookie[300], bool *no, struct fault *f)
{
	struct http_reply r;
	char body[128];
	snprintf(body, sizeof body, "{\"version\":\"0.4.0\",\"tee\":\"%s\",\"extra-params\":{}}", tee);
	int err = http_client_request(http, "POST", "/kbs/v0/auth", "", body, strlen(body), &r, f);
	if (err)
		return err;
	json_t *o = json_loadb(r.body, r.body_len, JSON_REJECT_DUPLICATES, NULL);
	const char *text = json_string_value(json_object_get(o, "nonce"));
	r.cookie[strcspn(r.cookie, ";")] = '\0';
	if (r.status != 200)
		err = not_given(url, &r, no, f);
	else if (!text || strlen(text) >= 128 || !*r.cookie || strlen(r.cookie) > 256)
		err = fault_set(f, -EPROTO, "%s does not answer like a key broker", url);
	else {
		strcpy(nonce, text);
		snprintf(cookie, 300, "Cookie: %.256s\r\n", r.cookie);
	}
	json_decref(o);
	http_reply_free(&r);
	return err;
}

static int prove(const struct token_fetch *q, struct http_client *http, const char *url, const char *tee, json_t *jwk, char **token, bool *no,
		 struct fault *f)
{
	char nonce[128], cookie[300];
	uint8_t data[64];
	struct http_reply r;
	struct bundle b;
	int err = begin(http, url, tee, nonce, cookie, no, f);
	if (!err && attest_report_data(nonce, jwk, "", data))
		err = fault_set(f, -EPROTO, "the broker's nonce is not plain text");
	if (err)
		return err;
	err = bundle_init(&b) ? fault_set(f, -ENOMEM, "out of memory") : tls_evidence(q->simulated, data, &b, f);
	json_t *o = err ? NULL : json_pack("{s:{s:s, s:O}, s:{s:o, s:s}}", "runtime-data", "nonce", nonce, "tee-pubkey", jwk, "tee-evidence",
					   "primary_evidence", primary_json(&b, tee), "additional_evidence", "");
	char *body = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	json_decref(o);
	bundle_free(&b);
	if (!err && !body)
		err = fault_set(f, -EIO, "the evidence of this hardware cannot be put into the broker's form");
	if (!err)
		err = http_client_request(http, "POST", "/kbs/v0/attest", cookie, body, strlen(body), &r, f);
	free(body);
	if (err)
		return err;
	o = json_loadb(r.body, r.body_len, JSON_REJECT_DUPLICATES, NULL);
	const char *text = json_string_value(json_object_get(o, "token"));
	if (r.status != 200)
		err = not_given(url, &r, no, f);
	else if (!text || !(*token = strdup(text)))
		err = fault_set(f, -EPROTO, "%s answers without a token", url);
	json_decref(o);
	http_reply_free(&r);
	return err;
}

// The broker's certificate, which the owner's client has found good already.
static int read_ca(const struct owner *o, char **pem, struct fault *f)
{
	char dir[PATH_MAX] = "", path[PATH_MAX + 16];
	size_t len;
	if (!o->broker.ca_file && !o->broker.dir && broker_default_dir(dir, sizeof dir))
		return fault_set(f, -ENOENT, "where is the broker's certificate? --broker-ca FILE");
	snprintf(path, sizeof path, "%s/cert.pem", o->broker.dir ? o->broker.dir : dir);
	return file_read(o->broker.ca_file ? o->broker.ca_file : path, 256 << 10, pem, &len, f);
}

int token_fetch(const struct token_fetch *q, bool *no, struct fault *f)
{
	struct broker_client_options options = q->owner->broker;
	struct broker_client *client = NULL;
	struct http_client *http = NULL;
	EVP_PKEY *key = NULL;
	json_t *jwk = NULL;
	char *ca = NULL, *token = NULL;
	const char *tee;
	*no = false;
	options.anonymous = true;
	int err = broker_client_open(&client, &options, f);
	if (!err)
		err = read_ca(q->owner, &ca, f);
	if (!err)
		err = tls_key_file(q->key_file, &key, f);
	if (!err && (!EVP_PKEY_is_a(key, "EC") || !(jwk = jwk_from_key(key))))
		err = fault_set(f, -EINVAL, "%s: a token is about an EC key (P-256)", q->key_file);
	if (!err)
		err = find_tee(q, &tee, f);
	if (err)
		goto out;
	const char *url = broker_client_url(client);
	const struct http_client_options o = {.url = url, .ca_pem = ca, .resolve = http_resolve_system, .timeout_ms = TIMEOUT_MS};
	err = http_client_open(&http, &o, f);
	if (!err)
		err = prove(q, http, url, tee, jwk, &token, no, f);
	if (!err)
		err = file_write(q->output, token, strlen(token), 0600, false, f);
out:
	http_client_close(http);
	broker_client_close(client);
	json_decref(jwk);
	EVP_PKEY_free(key);
	free(ca);
	free(token);
	return err;
}
