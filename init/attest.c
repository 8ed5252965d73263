// SPDX-License-Identifier: Apache-2.0
// See attest.h. Keys live on this file's stack and in OpenSSL's objects; each is wiped before its function returns.
#include "init/exchange.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"
#include "lib/jwe.h"
#include "lib/tls.h"

#define REQUEST_MS 5000

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
	int err = exchange_ask(x, &(struct exchange_request){"GET", path, NULL, false}, &reply, f);
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
	int err = exchange_ask(x, &(struct exchange_request){"GET", path, NULL, false}, &reply, f);
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
	bool wanted = s->image.present || s->secret_count || s->time_broker;
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
			"secrets, keys of sealed volumes or of an encrypted image, and the time (coffer.yaml: time: broker) come from a broker: give its address (coffer run --broker URL)");
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
	x->patience_ms = s->broker_timeout_s * 1000ll;
	return exchange_ask(x, NULL, NULL, f);
}

// The broker's answer came over its own connection, so it was made after that was asked for: its date is a time that has been, and the truth now is no
// further from it than the time that has passed since then. The host can delay the answer, and so widen the range, but not move it.
static int take_time(struct exchange *x, struct fault *f)
{
	int64_t now_ms = clock_ms();
	if (x->date_s <= 0)
		return fault_set(f, -EPROTO, "the broker %s does not say what time it is (coffer.yaml: time: broker)", x->s->broker_url);
	uint64_t date_ns = (uint64_t)x->date_s * 1000000000u;
	int err = x->ops->set_time(date_ns + (uint64_t)(now_ms - x->told_ms) * 1000000u, date_ns + 1000000000u + (uint64_t)(now_ms - x->asked_ms) * 1000000u);
	return err ? fault_errno(f, -err, "cannot set the clock to the broker's") : 0;
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
	if (!err && s->time_broker)
		err = take_time(x, f);
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
