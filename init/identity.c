// SPDX-License-Identifier: Apache-2.0
// A SPIFFE identity from the broker (`secrets: /run/spiffe: spiffe/svid/web`): the certificate, the key that it is for, which is the one that this
// enclave's evidence binds, and the trust bundle become files before the program starts. What holds the key is wiped.
#include <errno.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "init/exchange.h"
#include "lib/file.h"
#include "lib/jwe.h"

#define MAX_ANSWER (64u << 10)

// A file in the folder that the setting names.
static int put(struct exchange *x, const struct settings_secret *s, const char *name, unsigned int mode, const void *bytes, size_t len, struct fault *f)
{
	char path[300];
	struct settings_secret file = *s;
	snprintf(path, sizeof path, "%s/%s", s->path, name);
	if (strlen(path) > 255)
		return fault_set(f, -ENAMETOOLONG, "%s is too long for the folder of an identity", s->path);
	file.path = path;
	file.mode = mode;
	return x->ops->deliver(&file, bytes, len, f);
}

static int put_key(struct exchange *x, const struct settings_secret *s, struct fault *f)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	char *pem = NULL;
	long n = bio && PEM_write_bio_PrivateKey(bio, x->key, NULL, NULL, 0, NULL, NULL) == 1 ? BIO_get_mem_data(bio, &pem) : 0;
	int err = n > 0 ? put(x, s, "key.pem", s->mode, pem, (size_t)n, f) : fault_set(f, -EIO, "cannot write the key of an identity");
	BIO_free(bio);	// wipes
	return err;
}

static int put_all(struct exchange *x, const struct settings_secret *s, const json_t *answer, struct fault *f)
{
	const char *svid = json_string_value(json_object_get(answer, "x509_svid")), *bundle = json_string_value(json_object_get(answer, "bundle"));
	if (!svid || !bundle)
		return fault_set(f, -EPROTO, "%s does not answer like an authority of identities", x->s->broker_url);
	int err = put(x, s, "svid.pem", 0444, svid, strlen(svid), f);
	if (!err)
		err = put(x, s, "bundle.pem", 0444, bundle, strlen(bundle), f);
	return err ? err : put_key(x, s, f);
}

int identity_fetch(struct exchange *x, const struct settings_secret *s, struct fault *f)
{
	struct http_reply reply;
	char body[128], what[512], *plain = NULL;
	json_t *jwe = NULL, *answer = NULL;
	size_t len = 0;
	snprintf(body, sizeof body, "{\"name\":\"%.64s\"}", s->resource + strlen(IDENTITY_PREFIX));
	int err = http_client_request(x->http, "POST", "/kbs/v0/svid", x->cookie, body, strlen(body), &reply, f);
	if (err)
		return err;
	if (reply.status != 200) {
		snprintf(what, sizeof what, "the identity %.200s for %.200s:", s->resource, s->path);
		err = exchange_refused(x, what, &reply, f);
		goto out;
	}
	jwe = json_loadb(reply.body, reply.body_len, JSON_REJECT_DUPLICATES, NULL);
	plain = malloc(MAX_ANSWER);
	if (!plain)
		err = fault_set(f, -ENOMEM, "out of memory");
	else
		err = jwe ? jwe_decrypt(x->key, jwe, plain, MAX_ANSWER, &len, f) : fault_set(f, -EPROTO, "%s does not answer like a key broker", x->s->broker_url);
	if (!err) {
		answer = json_loadb(plain, len, JSON_REJECT_DUPLICATES, NULL);
		err = put_all(x, s, answer, f);
	}
out:
	free_wiped(plain, plain ? MAX_ANSWER : 0);
	json_decref(answer);
	json_decref(jwe);
	http_reply_free(&reply);
	return err;
}
