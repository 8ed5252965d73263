// SPDX-License-Identifier: Apache-2.0
// Contexts: options into TLS settings, the look at the peer's certificate in the handshake, and the TLS extension by which two sides agree on proofs in the
// session. That extension is part of the handshake that both sides sign: who cuts it out breaks the handshake.
#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"
#include "ratls/connection.h"

#define EXTENSION 0xffc0	// of those for private use
#define EXTENSION_VERSION 1
#define ALPN_MAX 4096		// bytes of all names
#define VERIFIES 1		// a flag in it: this side will ask for proofs

static_assert(sizeof(struct ratls_error) == sizeof(struct fault), "the public form of a message");

static int tls_fault(struct fault *f, const char *what)
{
	char why[256] = "unknown reason";
	unsigned long e = ERR_peek_last_error();
	if (e)
		ERR_error_string_n(e, why, sizeof why);
	ERR_clear_error();
	return fault_set(f, -EINVAL, "%s: %s", what, why);
}

static int add_extension(SSL *ssl, unsigned int type, unsigned int context, const unsigned char **out, size_t *len, X509 *cert, size_t chain, int *alert,
			 void *arg)
{
	static const unsigned char content[2][2] = {{EXTENSION_VERSION, 0}, {EXTENSION_VERSION, VERIFIES}};
	struct ratls_connection *c = SSL_get_app_data(ssl);
	(void)type, (void)context, (void)cert, (void)chain, (void)alert, (void)arg;
	if (c->ctx->session == RATLS_SESSION_OFF)
		return 0;
	*out = content[c->ctx->judge != NULL];
	*len = 2;
	return 1;
}

// A later version of it would be another extension, or say the same in its first two bytes.
static int parse_extension(SSL *ssl, unsigned int type, unsigned int context, const unsigned char *in, size_t len, X509 *cert, size_t chain, int *alert,
			   void *arg)
{
	struct ratls_connection *c = SSL_get_app_data(ssl);
	(void)type, (void)context, (void)cert, (void)chain, (void)arg;
	if (len < 2 || in[0] != EXTENSION_VERSION) {
		*alert = SSL_AD_DECODE_ERROR;
		return 0;
	}
	c->framed = c->ctx->session != RATLS_SESSION_OFF;
	c->peer_verifies = in[1] & VERIFIES;
	return 1;
}

// Only what OpenSSL found wrong with an ordinary chain, or with the name.
static int look_ordinary(struct ratls_connection *c, X509_STORE_CTX *store)
{
	int ok = X509_verify_cert(store);
	c->verdict = judge_ordinary("x509", ok == 1 ? "" : X509_verify_cert_error_string(X509_STORE_CTX_get_error(store)));
	return ok == 1 && c->verdict;
}

int context_check_ordinary(struct ratls_connection *c)
{
	X509 *cert = SSL_get0_peer_certificate(c->ssl);
	SSL_CTX *tls = c->server ? c->ctx->server : c->ctx->client;
	X509_STORE_CTX *store = X509_STORE_CTX_new();
	int err = -ENOMEM;
	if (store && X509_STORE_CTX_init(store, SSL_CTX_get_cert_store(tls), cert, SSL_get_peer_cert_chain(c->ssl)) == 1 &&
	    X509_STORE_CTX_set_default(store, c->server ? "ssl_client" : "ssl_server") == 1 &&
	    X509_VERIFY_PARAM_set1(X509_STORE_CTX_get0_param(store), SSL_get0_param(c->ssl)) == 1) {
		look_ordinary(c, store);
		err = c->verdict ? 0 : -ENOMEM;
	}
	X509_STORE_CTX_free(store);
	ERR_clear_error();
	return err ? connection_lose(c, fault_set(connection_reason(c), err, "out of memory")) : 0;
}

// The peer has shown its certificate; that it has the key is TLS's to find out, in this handshake as well.
static int look(X509_STORE_CTX *store, void *unused)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct ratls_connection *c = SSL_get_app_data(ssl);
	(void)unused;
	verdict_release(c->verdict);
	c->verdict = NULL;
	if (c->ctx->judge) {
		X509 *cert = X509_STORE_CTX_get0_cert(store);
		c->verdict = c->ctx->defer ? judge_kept(c->ctx->judge, cert) : judge_certificate(c->ctx->judge, cert);
		if (c->ctx->defer && !c->verdict)
			return 1;	// looked at behind the handshake, before anything else passes
		if (c->verdict && c->verdict->accepted)
			return 1;
		X509_STORE_CTX_set_error(store, c->verdict ? X509_V_ERR_CERT_REJECTED : X509_V_ERR_OUT_OF_MEM);
		return 0;
	}
	return c->ctx->ordinary ? look_ordinary(c, store) : 1;
}

static int remember_session(SSL *ssl, SSL_SESSION *session)
{
	struct ratls_connection *c = SSL_get_app_data(ssl);
	struct ratls_context *ctx = c->ctx;
	if (c->server || !c->name)
		return 0;
	pthread_mutex_lock(&ctx->lock);
	unsigned int i = 0;
	while (i < RATLS_SESSIONS && (!ctx->sessions[i].name || strcmp(ctx->sessions[i].name, c->name)))
		i++;
	if (i == RATLS_SESSIONS) {
		i = ctx->next++ % RATLS_SESSIONS;
		free(ctx->sessions[i].name);
		ctx->sessions[i].name = strdup(c->name);
	}
	SSL_SESSION_free(ctx->sessions[i].session);
	ctx->sessions[i].session = session;	// the reference is ours now
	pthread_mutex_unlock(&ctx->lock);
	return 1;
}

// A server's choice of what a client offers. Without one in common the two go on without a name, as with a peer that offers none.
static int choose_alpn(SSL *ssl, const unsigned char **out, unsigned char *len, const unsigned char *offered, unsigned int offered_len, void *ctx)
{
	const struct ratls_context *x = ctx;
	unsigned char *chosen;
	(void)ssl;
	if (SSL_select_next_proto(&chosen, len, x->alpn_wire, x->alpn_len, offered, offered_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_NOACK;
	*out = chosen;
	return SSL_TLSEXT_ERR_OK;
}

static int read_alpn(struct ratls_context *ctx, const char *const *names, struct fault *f)
{
	size_t count = 0, bytes = 0;
	for (; names && names[count]; count++) {
		size_t len = strlen(names[count]);
		if (!len || len > 255)
			return fault_set(f, -EINVAL, "'%.260s' is no protocol's name: it has 1 to 255 bytes", names[count]);
		bytes += 1 + len;
	}
	if (!count)
		return 0;
	if (bytes > ALPN_MAX)
		return fault_set(f, -EINVAL, "more names of protocols than fit in a handshake");
	if (!(ctx->alpn = calloc(count + 1, sizeof *ctx->alpn)) || !(ctx->alpn_wire = malloc(bytes)))
		return fault_set(f, -ENOMEM, "out of memory");
	for (size_t i = 0; i < count; i++) {
		size_t len = strlen(names[i]);
		if (!(ctx->alpn[i] = strdup(names[i])))
			return fault_set(f, -ENOMEM, "out of memory");
		ctx->alpn_wire[ctx->alpn_len++] = (unsigned char)len;
		memcpy(ctx->alpn_wire + ctx->alpn_len, names[i], len);
		ctx->alpn_len += (unsigned int)len;
	}
	return 0;
}

void context_forget_secrets(struct ratls_connection *c)
{
	if (c->secrets)
		OPENSSL_cleanse(c->secrets, sizeof *c->secrets);
	free(c->secrets);
	c->secrets = NULL;
}

// "LABEL client_random secret", of which the layer needs two; OpenSSL wipes the line. What cannot be kept leaves OpenSSL in charge.
static void take_secret(const SSL *ssl, const char *line)
{
	static const char of_client[] = "CLIENT_TRAFFIC_SECRET_0 ", of_server[] = "SERVER_TRAFFIC_SECRET_0 ";
	struct ratls_connection *c = SSL_get_app_data(ssl);
	const char *hex = strrchr(line, ' ');
	bool client = !strncmp(line, of_client, sizeof of_client - 1), server = !strncmp(line, of_server, sizeof of_server - 1);
	size_t len = hex ? strlen(hex + 1) / 2 : 0;
	if ((!client && !server) || len > RECORD_SECRET_MAX || (!c->secrets && !(c->secrets = calloc(1, sizeof *c->secrets))))
		return;
	if (hex_decode(client ? c->secrets->of_client : c->secrets->of_server, len, hex + 1))
		return;
	*(client ? &c->secrets->client_len : &c->secrets->server_len) = len;
}

static SSL_CTX *new_tls(struct ratls_context *ctx, const struct ratls_options *o, bool server, struct fault *f)
{
	// The machine's openssl.cnf must not change what is accepted here.
	OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
	SSL_CTX *t = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
	if (!t || !SSL_CTX_set_min_proto_version(t, TLS1_3_VERSION) || !SSL_CTX_set_max_proto_version(t, TLS1_3_VERSION) ||
	    !SSL_CTX_add_custom_ext(t, EXTENSION, SSL_EXT_CLIENT_HELLO | SSL_EXT_TLS1_3_ENCRYPTED_EXTENSIONS, add_extension, NULL, NULL, parse_extension, NULL)) {
		tls_fault(f, "cannot set up TLS");
		goto fail;
	}
	SSL_CTX_set_mode(t, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
	if (ctx->alpn_len && server)
		SSL_CTX_set_alpn_select_cb(t, choose_alpn, ctx);
	else if (ctx->alpn_len && SSL_CTX_set_alpn_protos(t, ctx->alpn_wire, ctx->alpn_len)) {
		tls_fault(f, "cannot set up TLS");
		goto fail;
	}
	if (o->resume) {
		// Tickets pass under the keys of the application's data: OpenSSL stays in charge of them.
		SSL_CTX_set_read_ahead(t, 1);
		SSL_CTX_set_default_read_buffer_len(t, 65000);
	} else {
		SSL_CTX_set_keylog_callback(t, take_secret);
	}
	SSL_CTX_set_max_cert_list(t, 256 << 10);	// evidence and collateral are larger than names
	SSL_CTX_set_cert_verify_callback(t, look, NULL);
	int mode = !server ? SSL_VERIFY_PEER : ctx->judge || ctx->ordinary ? SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT : SSL_VERIFY_NONE;
	SSL_CTX_set_verify(t, mode, NULL);
	if (o->ca_file && !SSL_CTX_load_verify_locations(t, o->ca_file, NULL)) {
		fault_set(f, -EINVAL, "%s holds no certificates (PEM)", o->ca_file);
		ERR_clear_error();
		goto fail;
	}
	X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(t), X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_X509_STRICT);
	if (!o->resume) {
		SSL_CTX_set_session_cache_mode(t, SSL_SESS_CACHE_OFF);
		SSL_CTX_set_num_tickets(t, 0);
		SSL_CTX_set_options(t, SSL_OP_NO_TICKET);
	} else if (server) {
		// Kept in memory: a ticket would carry the client's whole certificate to and fro.
		SSL_CTX_set_options(t, SSL_OP_NO_TICKET);
		SSL_CTX_set_session_id_context(t, (const unsigned char *)"coffer-ratls", 12);
	} else {
		SSL_CTX_set_session_cache_mode(t, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(t, remember_session);
	}
	return t;
fail:
	SSL_CTX_free(t);
	return NULL;
}

// What would do nothing is a mistake: what the caller meant is not what would happen.
static const char *without_effect(const struct ratls_options *o)
{
	if (!o->verify) {
		if (o->policy_file || o->measurements || o->any_measurement || o->insecure_simulated_root || o->insecure_accept_debug ||
		    o->token_keys_file || o->peer_token_file || o->tpm_roots_file)
			return "there is a policy for peers, but nothing is asked of them (verify)";
		if (o->renew_seconds || o->answer_seconds || o->cache_seconds || o->no_cache || o->at)
			return "renew_seconds, answer_seconds, cache_seconds, no_cache and at are about asking for evidence (verify)";
		if (o->collateral_dir && !o->endorse)
			return "collateral_dir is for judging evidence (verify), or for sending along (endorse)";
	}
	if (!o->attest && (o->collect || o->collect_ctx || o->endorse))
		return "collect and endorse are about evidence of one's own (attest)";
	if (o->certificate_file && (o->subject || o->certificate_seconds))
		return "subject and certificate_seconds are of a made certificate, not of certificate_file's";
	if (o->insecure_any_server && (o->verify || o->ca_file))
		return "insecure_any_server and verify or ca_file: a server is asked for something, or for nothing";
	if (o->no_cache && o->cache_seconds)
		return "cache_seconds and no_cache: either";
	if (o->session == RATLS_SESSION_OFF && o->answer_seconds)
		return "answer_seconds is about proofs in the session, which is off";
	if (o->session == RATLS_SESSION_REQUIRED && o->peer_token_file)
		return "a peer whose token is handed over has nothing to prove itself with in the session: peer_token_file needs RATLS_SESSION_OFF";
	return NULL;
}

int ratls_context_new(struct ratls_context **out, const struct ratls_options *o, struct ratls_error *e)
{
	struct fault *f = (struct fault *)e;
	struct ratls_context *ctx = calloc(1, sizeof *ctx);
	const char *wrong = without_effect(o);
	int err = 0;
	*out = NULL;
	if (!ctx)
		return fault_set(f, -ENOMEM, "out of memory");
	pthread_mutex_init(&ctx->lock, NULL);
	ctx->refs = 1;
	ctx->session = o->session;
	ctx->renew_s = o->renew_seconds ? o->renew_seconds : 300;
	ctx->answer_s = o->answer_seconds ? o->answer_seconds : 30;
	ctx->ordinary = o->ca_file;
	ctx->any_server = o->insecure_any_server;
	ctx->resume = o->resume;
	ctx->defer = o->defer;
	if (o->session > RATLS_SESSION_OFF)
		err = fault_set(f, -EINVAL, "session is none of the three");
	else if (o->verify && o->ca_file)
		err = fault_set(f, -EINVAL, "the peer is recognised by its evidence or by an ordinary certificate, not both");
	else if (wrong)
		err = fault_set(f, -EINVAL, "%s", wrong);
	if (!err)
		err = read_alpn(ctx, o->alpn, f);
	if (!err)
		err = self_open(&ctx->self, o, f);
	if (!err && o->verify)
		err = judge_open(&ctx->judge, o, f);
	if (!err && (!(ctx->server = new_tls(ctx, o, true, f)) || !(ctx->client = new_tls(ctx, o, false, f))))
		err = -EINVAL;
	if (err) {
		ratls_context_free(ctx);
		return err;
	}
	*out = ctx;
	return 0;
}

struct ratls_context *context_ref(struct ratls_context *ctx)
{
	__atomic_add_fetch(&ctx->refs, 1, __ATOMIC_RELAXED);
	return ctx;
}

void ratls_context_free(struct ratls_context *ctx)
{
	if (!ctx || __atomic_sub_fetch(&ctx->refs, 1, __ATOMIC_ACQ_REL))
		return;
	for (unsigned int i = 0; i < RATLS_SESSIONS; i++) {
		free(ctx->sessions[i].name);
		SSL_SESSION_free(ctx->sessions[i].session);
	}
	for (char **name = ctx->alpn; name && *name; name++)
		free(*name);
	free(ctx->alpn);
	free(ctx->alpn_wire);
	SSL_CTX_free(ctx->server);
	SSL_CTX_free(ctx->client);
	judge_close(ctx->judge);
	self_close(ctx->self);
	pthread_mutex_destroy(&ctx->lock);
	free(ctx);
}
