// SPDX-License-Identifier: Apache-2.0
// See attest.h. Keys live on this file's stack and in OpenSSL's objects; each is wiped before its function returns.
#include "init/exchange.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attest/binding.h"
#include "attest/coco.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/http_client.h"
#include "lib/jwe.h"
#include "lib/tls.h"

#define REQUEST_MS 5000

static void printable(char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			*s = '?';
	}
}

int exchange_refused(const struct exchange *x, const char *what, const struct http_reply *reply, struct fault *f)
{
	json_t *o = json_loadb(reply->body, reply->body_len, 0, NULL);
	const json_t *list = json_object_get(o, "refusals");
	const char *detail = json_string_value(json_object_get(o, "detail"));
	char text[sizeof f->text];
	size_t n = 0;
	if (json_array_size(list)) {
		n = (size_t)snprintf(text, sizeof text, "the broker %s refuses %s", x->s->broker_url, what);
		for (size_t i = 0; i < json_array_size(list) && n < sizeof text; i++) {
			const json_t *c = json_array_get(list, i);
			const char *claim = json_string_value(json_object_get(c, "claim"));
			const char *expected = json_string_value(json_object_get(c, "expected"));
			const char *found = json_string_value(json_object_get(c, "found"));
			n += (size_t)snprintf(text + n, sizeof text - n, "\001  %s: expected %s, found %s",
					      claim ? claim : "?", expected ? expected : "?", found ? found : "?");
		}
	} else {
		snprintf(text, sizeof text, "the broker %s refuses %s: %s (HTTP %d)", x->s->broker_url, what,
			 detail ? detail : "no reason given", reply->status);
	}
	json_decref(o);
	for (char *p = text; *p; p++) {
		if (*p == '\001')
			*p = '\n';
		else if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	}
	return fault_set(f, -EACCES, "%s", text);
}

int exchange_begin(struct exchange *x, struct fault *f)
{
	static const char body[] = "{\"version\":\"0.4.0\",\"tee\":\"snp\",\"extra-params\":{}}";
	struct http_reply reply;
	int err = http_client_request(x->http, "POST", "/kbs/v0/auth", "", body, sizeof body - 1, &reply, f);
	if (err)
		return err;
	json_t *o = json_loadb(reply.body, reply.body_len, JSON_REJECT_DUPLICATES, NULL);
	const char *nonce = json_string_value(json_object_get(o, "nonce"));
	reply.cookie[strcspn(reply.cookie, ";")] = '\0';
	if (reply.status == 503)
		err = fault_set(f, -EAGAIN, "the broker is overloaded");
	else if (reply.status == 429)
		err = fault_set(f, -EAGAIN, "the broker refused too many requests of this address lately");
	else if (reply.status != 200)
		err = exchange_refused(x, "to talk", &reply, f);
	else if (!nonce || strlen(nonce) >= sizeof x->nonce || !reply.cookie[0] || strlen(reply.cookie) > 256)
		err = fault_set(f, -EPROTO, "%s does not answer like a key broker", x->s->broker_url);
	else {
		strcpy(x->nonce, nonce);
		x->statement[0] = '\0';
		if (json_is_true(json_object_get(json_object_get(o, "extra-params"), "coffer-statement")))
			snprintf(x->statement, sizeof x->statement, "{\"coffer\":{\"anchor\":\"%s\"}}",
				 !x->s->anchor ? "none" : x->s->anchor_tpm ? "tpm" : "broker");
		snprintf(x->cookie, sizeof x->cookie, "Cookie: %.256s\r\n", reply.cookie);
	}
	json_decref(o);
	http_reply_free(&reply);
	return err;
}

bool exchange_try_again(int err)
{
	return err == -ECONNREFUSED || err == -ETIMEDOUT || err == -EHOSTUNREACH || err == -ENETUNREACH ||
	       err == -ECONNRESET || err == -ENETDOWN || err == -EAGAIN || err == -EPIPE;
}

// The broker may start later than the enclave: waits for it, saying so, with growing pauses.
static int find_broker(struct exchange *x, struct fault *f)
{
	int64_t deadline = clock_ms() + x->s->broker_timeout_s * 1000ll;
	unsigned int pause_ms = 100;
	char line[sizeof f->text + 100];
	for (bool said = false;; said = true) {
		int err = exchange_begin(x, f);
		int64_t left = deadline - clock_ms();
		if (!err || !exchange_try_again(err))
			return err;
		printable(f->text);
		if (left <= 0) {
			snprintf(line, sizeof line, "%s", f->text);
			return fault_set(f, err, "the broker %.300s could not be reached within %u s: %.600s",
					 x->s->broker_url, x->s->broker_timeout_s, line);
		}
		if (!said) {
			snprintf(line, sizeof line, "%s; trying again for %lld s", f->text,
				 (long long)(left + 999) / 1000);
			x->ops->say(line);
		}
		if (pause_ms > left)
			pause_ms = (unsigned int)left;
		nanosleep(&(struct timespec){pause_ms / 1000, pause_ms % 1000 * 1000000l}, NULL);
		pause_ms = pause_ms < 1000 ? 2 * pause_ms : 2000;
	}
}

static json_t *chain_json(const struct snp_chain *chain)
{
	static const char *const types[] = {"VCEK", "ASK", "ARK"};
	json_t *list = json_array();
	for (unsigned int i = 0; list && i < chain->count; i++) {
		uint8_t *der = NULL;
		int len = i2d_X509(chain->certs[i], &der);
		json_t *data = json_array(), *o;
		for (int k = 0; k < len; k++)
			json_array_append_new(data, json_integer(der[k]));
		o = len > 0 ? json_pack("{s:s, s:O}", "cert_type", i < 3 ? types[i] : "CRL", "data", data) : NULL;
		if (!o || json_array_append_new(list, o)) {
			json_decref(list);
			list = NULL;
		}
		json_decref(data);
		OPENSSL_free(der);
	}
	return list;
}

// The body of the attestation request; malloc'ed. The report goes by its fields' names, which is all that some brokers read.
static char *attest_body(const struct exchange *x, const struct evidence *e)
{
	char *text = NULL;
	json_t *report = coco_snp_fields(e->report), *chain = chain_json(&e->chain);
	if (report && chain) {
		json_t *o = json_pack("{s:{s:s, s:O}, s:{s:{s:O, s:O}, s:s}}", "runtime-data", "nonce", x->nonce,
				      "tee-pubkey", x->jwk, "tee-evidence", "primary_evidence", "attestation_report",
				      report, "cert_chain", chain, "additional_evidence", x->statement);
		text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
		json_decref(o);
	}
	json_decref(chain);
	json_decref(report);
	return text;
}

int exchange_prove(struct exchange *x, struct fault *f)
{
	uint8_t report_data[64];
	struct evidence e = {.chain = {.count = 0}};
	struct http_reply reply;
	if (attest_report_data(x->nonce, x->jwk, x->statement, report_data))
		return fault_set(f, -EPROTO, "the broker's nonce is not plain text");
	int err = x->ops->evidence(report_data, &e, f);
	if (err)
		goto out;
	char *body = attest_body(x, &e);
	if (!body) {
		err = fault_set(f, -ENOMEM, "out of memory");
		goto out;
	}
	err = http_client_request(x->http, "POST", "/kbs/v0/attest", x->cookie, body, strlen(body), &reply, f);
	free(body);
	if (err)
		goto out;
	if (reply.status != 200)
		err = exchange_refused(x, "this enclave's evidence:", &reply, f);
	http_reply_free(&reply);
out:
	snp_chain_free(&e.chain);
	return err;
}

static int open_answer(const struct exchange *x, const struct http_reply *reply, struct coffer_mount_key *key,
		       struct fault *f)
{
	size_t len = 0;
	json_t *jwe = json_loadb(reply->body, reply->body_len, JSON_REJECT_DUPLICATES, NULL);
	int err = jwe ? jwe_decrypt(x->key, jwe, key->key, sizeof key->key, &len, f)
		      : fault_set(f, -EPROTO, "%s does not answer like a key broker", x->s->broker_url);
	json_decref(jwe);
	if (!err && len != sizeof key->key)
		err = fault_set(f, -EPROTO, "the broker's key does not have %zu bytes", sizeof key->key);
	return err;
}

// What is remembered of the volume goes to the kernel with the key.
static int anchor_for(struct exchange *x, unsigned int index, struct coffer_mount_key *key, struct fault *f)
{
	if (!x->s->anchor)
		return 0;
	key->each_fsync = x->s->anchor_fsync;
	key->every_ms = x->s->anchor_every_ms;
	key->bound_ms = x->s->anchor_bound_ms;
	if (x->s->anchor_tpm)
		return anchor_tpm_get(x, index, key, f);
	int err = anchor_get(x, x->s->volumes[index].id, &key->least, f);
	key->anchor = err == -ENOENT ? COFFER_ANCHOR_FIRST : COFFER_ANCHOR_KNOWN;
	return err == -ENOENT ? 0 : err;
}

static int mount_volume(struct exchange *x, unsigned int index, struct fault *f)
{
	const struct settings_volume *v = &x->s->volumes[index];
	struct coffer_mount_key key = {
		.magic = COFFER_MOUNT_KEY_MAGIC, .version = COFFER_MOUNT_KEY_VERSION, .cache_mib = x->s->volume_cache_mib};
	struct http_reply reply;
	char path[128], what[512];
	snprintf(path, sizeof path, "/kbs/v0/resource/default/volume/%s", v->id);
	int err = http_client_request(x->http, "GET", path, x->cookie, NULL, 0, &reply, f);
	if (err)
		return err;
	if (reply.status != 200) {
		snprintf(what, sizeof what, "the key of %.100s (volume %s) for %.200s:", v->name, v->id, v->path);
		err = exchange_refused(x, what, &reply, f);
	} else {
		err = open_answer(x, &reply, &key, f);
	}
	http_reply_free(&reply);
	if (!err && hex_decode(key.id, sizeof key.id, v->id))
		err = fault_set(f, -EINVAL, "the id of %.100s is not 32 hex digits", v->name);
	if (!err)
		err = anchor_for(x, index, &key, f);
	if (!err)
		err = x->ops->mount(index, v, &key, f);
	if (!err && key.anchor && !v->read_only)
		err = anchor_claim(x, index, key.anchor == COFFER_ANCHOR_KNOWN ? &key.least : NULL, f);
	explicit_bzero(&key, sizeof key);
	return err;
}

// The image's key lies at the broker as a volume's does.
static int enter_image(struct exchange *x, struct fault *f)
{
	const struct settings_image *image = &x->s->image;
	struct coffer_mount_key key = {0};
	struct http_reply reply;
	char path[128];
	snprintf(path, sizeof path, "/kbs/v0/resource/default/volume/%s", image->id);
	int err = http_client_request(x->http, "GET", path, x->cookie, NULL, 0, &reply, f);
	if (err)
		return err;
	if (reply.status != 200)
		err = exchange_refused(x, "the key of this enclave's encrypted image:", &reply, f);
	else
		err = open_answer(x, &reply, &key, f);
	http_reply_free(&reply);
	if (!err)
		err = x->ops->enter_image(image, key.key, f);
	explicit_bzero(&key, sizeof key);
	return err;
}

void exchange_free(struct exchange *x)
{
	if (!x)
		return;
	json_decref(x->jwk);
	EVP_PKEY_free(x->key);
	http_client_close(x->http);
	explicit_bzero(x->tpm, sizeof x->tpm);
	free(x);
}

// The broker is asked for the key of an image, for secrets, and for the key of each volume that is not sealed to the enclave.
static bool wants_broker(const struct settings *s)
{
	bool wanted = s->image.present || s->secret_count;
	for (unsigned int i = 0; i < s->volume_count; i++)
		wanted = wanted || !s->volumes[i].sealing;
	return wanted;
}

int exchange_open(struct exchange *x, struct fault *f)
{
	const struct settings *s = x->s;
	struct http_client_options o = {.url = s->broker_url, .ca_pem = s->broker_ca, .name = s->broker_name,
					.resolve = http_resolve_static, .timeout_ms = REQUEST_MS};
	return http_client_open(&x->http, &o, f);
}

static int meet_broker(struct exchange *x, struct fault *f)
{
	const struct settings *s = x->s;
	if (!s->broker_url)
		return fault_set(
			f, -EINVAL,
			"secrets, and keys of sealed volumes or of an encrypted image, come from a broker: give its address (coffer run --broker URL)");
	if (!s->broker_ca[0])
		return fault_set(f, -EINVAL,
				 "this enclave trusts no broker: coffer.yaml must name its certificate (broker: ca:)");
	int err = exchange_open(x, f);
	if (err)
		return err;
	x->key = jwk_new_key("P-256");
	x->jwk = x->key ? jwk_from_key(x->key) : NULL;
	if (!x->jwk)
		return fault_set(f, -EIO, "cannot make a key");
	err = find_broker(x, f);
	if (!err)
		err = exchange_prove(x, f);
	// It was stopped in between: another one, or the same again, begins anew.
	if (err && exchange_try_again(err) && !find_broker(x, f))
		err = exchange_prove(x, f);
	return err;
}

bool anchor_wanted(const struct settings *s)
{
	for (unsigned int i = 0; i < s->volume_count; i++) {
		if (s->anchor && !s->volumes[i].read_only && !s->volumes[i].sealing)
			return true;
	}
	return false;
}

int attest_run(const struct settings *s, const struct attest_ops *ops, struct exchange **helper, struct fault *f)
{
	bool keep = helper && (anchor_wanted(s) || identity_wanted(s));
	struct exchange *x = calloc(1, sizeof *x);
	if (!x)
		return fault_set(f, -ENOMEM, "out of memory");
	x->s = s;
	x->ops = ops;
	int err = wants_broker(s) ? meet_broker(x, f) : 0;
	if (!err && s->image.present)
		err = enter_image(x, f);
	for (unsigned int i = 0; i < s->volume_count && !err; i++)
		err = s->volumes[i].sealing ? sealing_mount(x, i, f) : mount_volume(x, i, f);
	for (unsigned int i = 0; i < s->secret_count && !err; i++)
		err = secret_fetch(x, &s->secrets[i], f);
	if (helper)
		*helper = !err && keep ? x : NULL;
	if (err || !keep)
		exchange_free(x);
	return err;
}
