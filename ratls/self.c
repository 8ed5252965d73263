// SPDX-License-Identifier: Apache-2.0
// See self.h.
#include "ratls/self.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "attest/collateral.h"
#include "attest/collect.h"
#include "attest/cert.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jws.h"
#include "ratls/certificate.h"

#define CERTIFICATE_SECONDS 86400
#define MAX_TOKEN (64u << 10)

struct self {
	pthread_mutex_t lock, hardware;
	bool attests;
	int (*collect)(void *ctx, const uint8_t report_data[64], struct ratls_evidence *out);
	void *collect_ctx;
	char *token_file, *subject;
	struct collateral_store *endorsements;	// NULL: none are sent
	unsigned int seconds;
	EVP_PKEY *key;
	// Under the lock:
	X509 *cert;
	STACK_OF(X509) *chain;			// of certificate_file; NULL
	char *token;				// the one in the certificate
	time_t made;
};

// The interface of the machine's kernel takes one at a time, whoever asks.
static pthread_mutex_t machine = PTHREAD_MUTEX_INITIALIZER;

static int collect_machine(const uint8_t report_data[64], struct bundle *out, struct fault *f)
{
	char provider[64];
	pthread_mutex_lock(&machine);
	int err = collect_evidence(COLLECT_ANY, NULL, report_data, -1, out, provider, f);
	pthread_mutex_unlock(&machine);
	return err;
}

// For ratls_cert_request.
static int ask(void *ctx, const uint8_t report_data[64], struct bundle *out, struct fault *f)
{
	struct self *s = ctx;
	struct ratls_evidence e = {.bytes = NULL};
	if (!s->collect)
		return collect_machine(report_data, out, f);
	int err = s->collect(s->collect_ctx, report_data, &e);
	// Whatever its reason, to a caller it must not look like one of TLS's: to wait, to be refused.
	if (err)
		err = fault_set(f, -EIO, "the hardware gives no evidence: %s", strerror(err < 0 ? -err : EIO));
	else if (!e.bytes || bundle_put_bytes(out, "evidence", e.bytes, e.len) ||
		 (e.certificates && bundle_put_text(out, "certificates", e.certificates, strlen(e.certificates))))
		err = fault_set(f, -EIO, "the hardware gives no evidence, or memory is short");
	free(e.bytes);
	free(e.certificates);
	return err;
}

static int read_key(struct self *s, const char *path, struct fault *f)
{
	char *pem;
	size_t len;
	if (!path) {
		s->key = EVP_EC_gen("P-256");
		return s->key ? 0 : fault_set(f, -EIO, "OpenSSL makes no key");
	}
	int err = file_read_private(path, 64 << 10, &pem, &len, f);
	if (err)
		return err;
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	s->key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	free_wiped(pem, len);
	ERR_clear_error();
	return s->key ? 0 : fault_set(f, -EINVAL, "%s holds no private key (PEM, without a passphrase)", path);
}

static int read_certificate(struct self *s, const char *path, struct fault *f)
{
	struct cert_list l = {.count = 0};
	struct fault why = {""};
	char *pem;
	size_t len;
	int err = file_read(path, 1 << 20, &pem, &len, f);
	if (err)
		return err;
	err = cert_list_add(&l, pem, len, &why);
	free(pem);
	if (err)
		return fault_set(f, err, "%s: %s", path, why.text);
	s->chain = sk_X509_new_null();
	for (unsigned int i = 0; i < l.count; i++) {
		if (!i)
			s->cert = l.certs[i];
		else if (!s->chain || !sk_X509_push(s->chain, l.certs[i]))
			X509_free(l.certs[i]);
	}
	return X509_check_private_key(s->cert, s->key) == 1 ? 0 : fault_set(f, -EINVAL, "the certificate in %s is not of the given key", path);
}

int self_open(struct self **out, const struct ratls_options *o, struct fault *f)
{
	struct self *s = calloc(1, sizeof *s);
	if (!s)
		return fault_set(f, -ENOMEM, "out of memory");
	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->hardware, NULL);
	s->attests = o->attest || o->token_file;
	s->collect = o->collect;
	s->collect_ctx = o->collect_ctx;
	s->seconds = o->certificate_seconds ? o->certificate_seconds : CERTIFICATE_SECONDS;
	s->subject = strdup(o->subject ? o->subject : "coffer");
	s->token_file = o->token_file ? strdup(o->token_file) : NULL;
	int err = s->subject && (s->token_file || !o->token_file) ? 0 : fault_set(f, -ENOMEM, "out of memory");
	if (!err && o->attest && o->token_file)
		err = fault_set(f, -EINVAL, "a token takes the place of evidence: either, not both");
	if (!err && o->certificate_file && (s->attests || !o->key_file))
		err = fault_set(f, -EINVAL, "an ordinary certificate needs its key (key_file) and takes the place of evidence");
	if (!err && o->token_file && !o->key_file)
		err = fault_set(f, -EINVAL, "a token is about a key: which? (key_file)");
	if (!err && o->endorse && !o->collateral_dir)
		err = fault_set(f, -EINVAL, "collateral to be sent along must be somewhere (collateral_dir)");
	if (!err && o->endorse)
		err = collateral_open(&s->endorsements, o->collateral_dir, false, f);
	if (!err)
		err = read_key(s, o->key_file, f);
	if (!err && o->certificate_file)
		err = read_certificate(s, o->certificate_file, f);
	if (err) {
		self_close(s);
		return err;
	}
	*out = s;
	return 0;
}

void self_close(struct self *s)
{
	if (!s)
		return;
	X509_free(s->cert);
	sk_X509_pop_free(s->chain, X509_free);
	EVP_PKEY_free(s->key);
	if (s->endorsements)
		collateral_close(s->endorsements);
	free(s->token_file);
	free(s->token);
	free(s->subject);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->hardware);
	free(s);
}

bool self_attests(const struct self *s)
{
	return s->attests;
}

static int read_token(const struct self *s, char **out, struct fault *f)
{
	size_t len;
	*out = NULL;
	if (!s->token_file)
		return 0;
	int err = file_read(s->token_file, MAX_TOKEN, out, &len, f);
	if (!err)
		(*out)[strcspn(*out, " \t\r\n")] = '\0';
	return err;
}

// Collateral for evidence like the one in `cert`.
static int find_endorsements(struct self *s, X509 *cert, struct bundle *b, struct fault *f)
{
	struct ratls_cert r;
	int err = ratls_cert_read(cert, &r, f);
	if (!err)
		err = ratls_cert_bundle(&r, b, f);
	if (!err && collateral_fill(s->endorsements, b, time(NULL), NULL, f) == -ENOMEM)
		err = -ENOMEM;
	return err;
}

static int make(struct self *s, const char *token, X509 **out, struct fault *f)
{
	struct ratls_cert_request q = {.key = s->key, .subject = s->subject, .now = time(NULL), .seconds = s->seconds, .token = token,
		.evidence = ask, .ctx = s};
	struct bundle b;
	X509 *plain = NULL;
	if (!s->attests)
		return ratls_cert_make_plain(&q, out, f);
	int err = ratls_cert_make(&q, out, f);
	if (err || !s->endorsements || token)
		return err;
	// Which collateral it is shows the evidence: it is asked for again, this time to be sent with what belongs to it.
	if (bundle_init(&b))
		return fault_set(f, -ENOMEM, "out of memory");
	plain = *out;
	*out = NULL;
	err = find_endorsements(s, plain, &b, f);
	q.endorsements = &b;
	if (!err)
		err = ratls_cert_make(&q, out, f);
	X509_free(plain);
	bundle_free(&b);
	return err;
}

static bool due(const struct self *s, const char *token, time_t now)
{
	if (!s->cert)
		return true;
	if (s->chain)
		return false;	// an ordinary one
	return now < s->made || now >= s->made + (time_t)s->seconds / 2 || (token && strcmp(token, s->token));
}

int self_current(struct self *s, bool may_make, X509 **out, struct fault *f)
{
	X509 *fresh = NULL;
	char *token;
	time_t now = time(NULL);
	int err = read_token(s, &token, f);
	if (err)
		return err;
	pthread_mutex_lock(&s->lock);
	bool old = due(s, token, now), usable = s->cert && cert_dates(s->cert, now, NULL) == 0 && !token;
	pthread_mutex_unlock(&s->lock);
	if (old && !may_make) {
		free(token);
		return -EINPROGRESS;
	}
	// While one makes a new certificate, others go on with the old one as long as it is good.
	if (old && (usable ? !pthread_mutex_trylock(&s->hardware) : !pthread_mutex_lock(&s->hardware))) {
		pthread_mutex_lock(&s->lock);
		old = due(s, token, now);
		pthread_mutex_unlock(&s->lock);
		err = old ? make(s, token, &fresh, f) : 0;
		pthread_mutex_lock(&s->lock);
		if (fresh) {
			X509_free(s->cert);
			s->cert = fresh;
			s->made = now;
			free(s->token);
			s->token = token;
			token = NULL;
		}
		pthread_mutex_unlock(&s->lock);
		pthread_mutex_unlock(&s->hardware);
		if (err && usable)
			err = 0;	// it is tried again at the next connection
	}
	if (!err) {
		pthread_mutex_lock(&s->lock);
		*out = s->cert;
		X509_up_ref(s->cert);
		pthread_mutex_unlock(&s->lock);
	}
	free(token);
	return err;
}

bool self_shows(const struct self *s, bool server)
{
	return server || s->attests || s->chain;
}

int self_show(struct self *s, X509 *cert, SSL *ssl, struct fault *f)
{
	if (SSL_use_certificate(ssl, cert) == 1 && SSL_use_PrivateKey(ssl, s->key) == 1 && (!s->chain || SSL_set1_chain(ssl, s->chain) == 1))
		return 0;
	ERR_clear_error();
	return fault_set(f, -EINVAL, "TLS cannot use this key or certificate");
}

int self_certificate(struct self *s, X509 **cert, EVP_PKEY **key, struct fault *f)
{
	int err = self_current(s, true, cert, f);
	if (err)
		return err;
	EVP_PKEY_up_ref(s->key);
	*key = s->key;
	return 0;
}

int self_prove(struct self *s, const uint8_t nonce[32], const uint8_t exporter[32], uint8_t **content, size_t *len, struct fault *f)
{
	struct ratls_cert_request q = {.key = s->key, .nonce = nonce, .nonce_len = 32, .exporter = exporter, .evidence = ask, .ctx = s};
	char *token;
	if (!s->attests)
		return fault_set(f, -EOPNOTSUPP, "this side has nothing to prove");
	int err = read_token(s, &token, f);
	if (err)
		return err;
	q.token = token;
	pthread_mutex_lock(&s->hardware);
	err = ratls_content_make(&q, content, len, f);
	pthread_mutex_unlock(&s->hardware);
	free(token);
	return err;
}

bool self_has_token(const struct self *s)
{
	return s->token_file != NULL;
}

// {"ohttp-keys": ..., "nonce": ..., "iat": ..., "exp": ...}, signed by the token's key.
static int sign_keys(struct self *s, const uint8_t digest[32], const void *nonce, size_t nonce_len, char **proof, struct fault *f)
{
	char hex[65], nonce_hex[2 * RATLS_MAX_NONCE + 1];
	char group[32] = "";
	if (nonce_len > RATLS_MAX_NONCE)
		return fault_set(f, -EINVAL, "a nonce has at most %d bytes", RATLS_MAX_NONCE);
	if (EVP_PKEY_get_group_name(s->key, group, sizeof group, NULL) != 1 || strcmp(group, "prime256v1"))
		return fault_set(f, -EINVAL, "the token's key signs for OHTTP's keys with ES256, and must be of P-256");
	json_int_t now = (json_int_t)time(NULL);
	json_t *body = json_pack("{s:s, s:I, s:I}", "ohttp-keys", hex_encode(hex, digest, 32), "iat", now, "exp", now + OHTTP_PROOF_SECONDS);
	if (body && nonce)
		json_object_set_new(body, "nonce", json_string(hex_encode(nonce_hex, nonce, nonce_len)));
	*proof = jws_sign(s->key, json_pack("{s:s}", "typ", OHTTP_PROOF_TYPE), body);
	return *proof ? 0 : fault_set(f, -EIO, "the key configurations cannot be signed");
}

int self_vouch(struct self *s, EVP_PKEY *key, const uint8_t digest[32], const void *nonce, size_t nonce_len, uint8_t **content, size_t *len,
	char **token,
	       char **proof, struct fault *f)
{
	const struct ratls_cert_request q = {.key = key, .nonce = nonce, .nonce_len = nonce_len, .ohttp_keys = digest, .evidence = ask, .ctx = s};
	*content = NULL;
	*len = 0;
	*token = *proof = NULL;
	if (!s->attests)
		return fault_set(f, -EOPNOTSUPP, "this side has nothing to prove");
	if (s->token_file) {
		int err = read_token(s, token, f);
		return err ? err : sign_keys(s, digest, nonce, nonce_len, proof, f);
	}
	pthread_mutex_lock(&s->hardware);
	int err = ratls_content_make(&q, content, len, f);
	pthread_mutex_unlock(&s->hardware);
	return err;
}
