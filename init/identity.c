// SPDX-License-Identifier: Apache-2.0
// A SPIFFE identity from the broker (`secrets: /run/spiffe: spiffe/svid/web`): the certificate, the key that it is for, which is the one that this
// enclave's evidence binds, and the trust bundle become files before the program starts. What holds the key is wiped. While the program runs, a
// process of its own (identity_serve) has them made anew at half their life: for the same key, so that each file fits the others at any moment.
#include <errno.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "init/exchange.h"
#include "lib/file.h"
#include "lib/jwe.h"

#define MAX_ANSWER (64u << 10)
#define LIFE_MIN 20
#define LIFE_MAX (7 * 86400ll)

// A file in the folder that the setting names; once it is there, another takes its place as a whole.
static int put(struct exchange *x, const struct settings_secret *s, const char *name, unsigned int mode, const void *bytes, size_t len, struct fault *f)
{
	char path[300], fresh[310];
	struct settings_secret file = *s;
	snprintf(path, sizeof path, "%s/%s", s->path, name);
	if (strlen(path) > 250)
		return fault_set(f, -ENAMETOOLONG, "%s is too long for the folder of an identity", s->path);
	snprintf(fresh, sizeof fresh, "%s.new", path);
	file.path = x->renewing ? fresh : path;
	file.mode = mode;
	if (x->renewing)
		unlink(fresh);	// of a renewal that was cut short
	int err = x->ops->deliver(&file, bytes, len, f);
	if (!err && x->renewing && rename(fresh, path))
		err = fault_errno(f, errno, "cannot rename %s", fresh);
	return err;
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

// How long the shortest-lived of this enclave's identities is good from now on.
static void note_life(struct exchange *x, const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	int days = 0, seconds = 0;
	int64_t life = cert && ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(cert)) == 1 ? days * 86400ll + seconds : 0;
	life = life < LIFE_MIN ? LIFE_MIN : life > LIFE_MAX ? LIFE_MAX : life;	// whatever the clock or the broker says
	if (!x->identity_life_s || life < x->identity_life_s)
		x->identity_life_s = life;
	X509_free(cert);
	BIO_free(bio);
}

static int put_all(struct exchange *x, const struct settings_secret *s, const json_t *answer, struct fault *f)
{
	const char *svid = json_string_value(json_object_get(answer, "x509_svid")), *bundle = json_string_value(json_object_get(answer, "bundle"));
	if (!svid || !bundle)
		return fault_set(f, -EPROTO, "%s does not answer like an authority of identities", x->s->broker_url);
	// Whom to believe first: a peer's new certificate may be under an authority that is new as well.
	int err = put(x, s, "bundle.pem", 0444, bundle, strlen(bundle), f);
	if (!err)
		err = put(x, s, "svid.pem", 0444, svid, strlen(svid), f);
	if (!err)
		note_life(x, svid);
	return err || x->renewing ? err : put_key(x, s, f);
}

int identity_fetch(struct exchange *x, const struct settings_secret *s, struct fault *f)
{
	struct http_reply reply;
	char body[128], what[512], *plain = NULL;
	json_t *jwe = NULL, *answer = NULL;
	size_t len = 0;
	snprintf(body, sizeof body, "{\"name\":\"%.64s\"}", s->resource + strlen(IDENTITY_PREFIX));
	int err = exchange_ask(x, &(struct exchange_request){"POST", "/kbs/v0/svid", body, false}, &reply, f);	// twice: another certificate
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

static bool is_identity(const struct settings_secret *s)
{
	return !strncmp(s->resource, IDENTITY_PREFIX, strlen(IDENTITY_PREFIX));
}

bool identity_wanted(const struct settings *s)
{
	for (unsigned int i = 0; i < s->secret_count; i++) {
		if (is_identity(&s->secrets[i]))
			return true;
	}
	return false;
}

// All of them, in a session of its own: one that is refused does not keep the others from living on.
static int renew(struct exchange *x, struct fault *f)
{
	int err = 0;
	x->proven = false;
	x->patience_ms = x->s->broker_timeout_s * 1000ll;
	for (unsigned int i = 0; i < x->s->secret_count; i++) {
		int e = is_identity(&x->s->secrets[i]) ? identity_fetch(x, &x->s->secrets[i], f) : 0;
		err = err ? err : e;
	}
	return err;
}

// Of what is left, half is slept; after a failure an eighth of the life, so that there are some more tries until the end, and beyond it.
void identity_serve(struct exchange *x)
{
	int64_t life = x->identity_life_s;
	struct timespec wait = {.tv_sec = life / 2};
	x->renewing = true;
	for (;;) {
		struct fault f = {""};
		while (clock_nanosleep(CLOCK_MONOTONIC, 0, &wait, &wait) == EINTR)
			;
		x->identity_life_s = 0;
		int err = renew(x, &f);
		if (!err)
			life = x->identity_life_s;
		wait = (struct timespec){.tv_sec = err ? life / 8 + 1 : life / 2};
	}
}
