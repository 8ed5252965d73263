// SPDX-License-Identifier: Apache-2.0
// See tls.h.
#include "lib/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "lib/certext.h"

int64_t clock_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int tls_fault(struct fault *f, const char *what)
{
	char why[256] = "unknown reason";
	unsigned long e = ERR_peek_last_error();
	if (e)
		ERR_error_string_n(e, why, sizeof why);
	ERR_clear_error();
	return fault_set(f, -EIO, "%s: %s", what, why);
}

// "localhost,127.0.0.1" -> "DNS:localhost,IP:127.0.0.1"
static bool add_names(X509 *cert, const char *names)
{
	char list[1024] = "", name[256];
	size_t used = 0;
	while (*names) {
		size_t n = strcspn(names, ",");
		uint8_t address[16];
		if (n >= sizeof name)
			return false;
		memcpy(name, names, n);
		name[n] = '\0';
		bool ip = inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
		int k = snprintf(list + used, sizeof list - used, "%s%s:%s", used ? "," : "", ip ? "IP" : "DNS", name);
		if (k < 0 || (size_t)k >= sizeof list - used)
			return false;
		used += (size_t)k;
		names += n + (names[n] == ',');
	}
	return certext_add(cert, cert, NID_subject_alt_name, list);
}

static char *bio_text(BIO *bio)
{
	char *p;
	long n = BIO_get_mem_data(bio, &p);
	return n > 0 ? strndup(p, (size_t)n) : NULL;
}

int tls_make_certificate(const char *common_name, const char *names, char **cert_pem, char **key_pem, struct fault *f)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	BIO *c = BIO_new(BIO_s_mem()), *k = BIO_new(BIO_s_secmem());
	uint64_t serial;
	int err = 0;

	*cert_pem = *key_pem = NULL;
	if (!key || !cert || !c || !k || RAND_bytes((uint8_t *)&serial, sizeof serial) != 1)
		goto fail;
	X509_NAME *name = X509_get_subject_name(cert);
	if (!X509_set_version(cert, X509_VERSION_3) ||
	    !ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial >> 1 | 1) ||
	    !X509_gmtime_adj(X509_getm_notBefore(cert), -86400) ||
	    !X509_time_adj_ex(X509_getm_notAfter(cert), 3650, 0, NULL) || !X509_set_pubkey(cert, key) ||
	    !X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const uint8_t *)common_name, -1, -1, 0) ||
	    !X509_set_issuer_name(cert, name) || !certext_add(cert, cert, NID_basic_constraints, "critical,CA:FALSE") ||
	    !certext_add(cert, cert, NID_key_usage, "critical,digitalSignature") ||
	    !certext_add(cert, cert, NID_ext_key_usage, "serverAuth") ||
	    !certext_add(cert, cert, NID_subject_key_identifier, "hash") || !add_names(cert, names) ||
	    !X509_sign(cert, key, EVP_sha256()) || !PEM_write_bio_X509(c, cert) ||
	    !PEM_write_bio_PrivateKey(k, key, NULL, NULL, 0, NULL, NULL))
		goto fail;
	*cert_pem = bio_text(c);
	*key_pem = bio_text(k);
	if (*cert_pem && *key_pem)
		goto out;
fail:
	err = tls_fault(f, "cannot make a TLS certificate");
	free(*cert_pem);
	free(*key_pem);
	*cert_pem = *key_pem = NULL;
out:
	BIO_free(c);
	BIO_free(k);
	X509_free(cert);
	EVP_PKEY_free(key);
	return err;
}

static SSL_CTX *new_context(const SSL_METHOD *method)
{
	// The image's or machine's openssl.cnf must not change what is accepted here.
	OPENSSL_init_ssl(OPENSSL_INIT_NO_LOAD_CONFIG, NULL);
	SSL_CTX *ctx = SSL_CTX_new(method);
	if (!ctx || !SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION)) {
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	return ctx;
}

// Whose certificate it is and what it is worth is the request's handler to say: TLS proves that the client has its key.
static int any_certificate(X509_STORE_CTX *store, void *unused)
{
	(void)store;
	(void)unused;
	return 1;
}

// The server's own certificate, and those behind it in the file, in the order in which clients get them: between its own and one that they trust.
static bool use_chain(SSL_CTX *ctx, BIO *pem)
{
	X509 *cert = PEM_read_bio_X509(pem, NULL, NULL, NULL);
	bool good = cert && SSL_CTX_use_certificate(ctx, cert) == 1;
	X509_free(cert);
	while (good && (cert = PEM_read_bio_X509(pem, NULL, NULL, NULL))) {
		good = SSL_CTX_add0_chain_cert(ctx, cert) == 1;
		if (!good)
			X509_free(cert);
	}
	good = good && ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_NO_START_LINE;	// the end of the file
	if (good)
		ERR_clear_error();
	return good;
}

SSL_CTX *tls_server_context(const char *cert_pem, const char *key_pem, struct fault *f)
{
	SSL_CTX *ctx = new_context(TLS_server_method());
	BIO *c = BIO_new_mem_buf(cert_pem, -1), *k = BIO_new_mem_buf(key_pem, -1);
	EVP_PKEY *key = k ? PEM_read_bio_PrivateKey(k, NULL, NULL, NULL) : NULL;
	if (!ctx || !c || !key || !use_chain(ctx, c) || SSL_CTX_use_PrivateKey(ctx, key) != 1 ||
	    SSL_CTX_check_private_key(ctx) != 1) {
		tls_fault(f, "the server's certificate and key cannot be used");
		SSL_CTX_free(ctx);
		ctx = NULL;
	} else {
		// No resumption: each connection shows the certificate anew.
		SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
		SSL_CTX_set_num_tickets(ctx, 0);
		SSL_CTX_set_mode(ctx, SSL_MODE_NO_AUTO_CHAIN);	// there is no store to build one from
		SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);	// asked for, not required
		SSL_CTX_set_cert_verify_callback(ctx, any_certificate, NULL);
	}
	EVP_PKEY_free(key);
	BIO_free(c);
	BIO_free(k);
	return ctx;
}

int tls_show(SSL_CTX *ctx, X509 *cert, EVP_PKEY *key, struct fault *f)
{
	if (SSL_CTX_use_certificate(ctx, cert) == 1 && SSL_CTX_use_PrivateKey(ctx, key) == 1)
		return 0;
	return tls_fault(f, "the client's certificate and key cannot be used");
}

SSL_CTX *tls_client_context(const char *ca_pem, struct fault *f)
{
	SSL_CTX *ctx = new_context(TLS_client_method());
	BIO *bio = BIO_new_mem_buf(ca_pem, -1);
	unsigned int count = 0;
	X509 *cert;
	if (!ctx || !bio) {
		tls_fault(f, "cannot set up TLS");
		goto fail;
	}
	while ((cert = PEM_read_bio_X509(bio, NULL, NULL, NULL))) {
		bool ok = X509_STORE_add_cert(SSL_CTX_get_cert_store(ctx), cert) == 1;
		X509_free(cert);
		if (!ok)
			break;
		count++;
	}
	ERR_clear_error();
	if (!count) {
		fault_set(f, -EINVAL, "no certificate (PEM) to recognise the broker by");
		goto fail;
	}
	X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(ctx), X509_V_FLAG_PARTIAL_CHAIN | X509_V_FLAG_X509_STRICT);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	BIO_free(bio);
	return ctx;
fail:
	BIO_free(bio);
	SSL_CTX_free(ctx);
	return NULL;
}

// Waits until OpenSSL can go on after `ret`; 0 to try again.
static int wait_ready(struct tls_stream *s, int ret, int64_t deadline_ms)
{
	struct pollfd p = {.fd = s->fd};
	switch (SSL_get_error(s->ssl, ret)) {
	case SSL_ERROR_WANT_READ: p.events = POLLIN; break;
	case SSL_ERROR_WANT_WRITE: p.events = POLLOUT; break;
	case SSL_ERROR_ZERO_RETURN: return -EPIPE;
	case SSL_ERROR_SYSCALL: return -ECONNRESET;
	case SSL_ERROR_SSL: // the other side ended without a word, as one that is killed does
		return ERR_GET_REASON(ERR_peek_last_error()) == SSL_R_UNEXPECTED_EOF_WHILE_READING ? -ECONNRESET : -EPROTO;
	default: return -EPROTO;
	}
	for (;;) {
		int64_t left = deadline_ms - clock_ms();
		if (left <= 0)
			return -ETIMEDOUT;
		int n = poll(&p, 1, left > 60000 ? 60000 : (int)left);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

static int new_stream(struct tls_stream *s, SSL_CTX *ctx, int fd)
{
	// Messages go out whole: waiting for more to send costs 40 ms a turn. Not every descriptor is TCP, so that it
	// may fail.
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
	s->fd = fd;
	s->ssl = SSL_new(ctx);
	if (s->ssl && SSL_set_fd(s->ssl, fd) == 1)
		return 0;
	tls_close(s);
	return -ENOMEM;
}

int tls_accept(struct tls_stream *s, SSL_CTX *ctx, int fd, int64_t deadline_ms)
{
	int err = new_stream(s, ctx, fd), n;
	while (!err) {
		ERR_clear_error();
		if ((n = SSL_accept(s->ssl)) == 1)
			return 0;
		err = wait_ready(s, n, deadline_ms);
	}
	tls_close(s);
	return err;
}

static bool is_pinned(SSL *ssl, X509 *peer)
{
	STACK_OF(X509_OBJECT) *all = X509_STORE_get0_objects(SSL_CTX_get_cert_store(SSL_get_SSL_CTX(ssl)));
	for (int i = 0; i < sk_X509_OBJECT_num(all); i++) {
		X509 *own = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(all, i));
		if (own && !X509_cmp(own, peer))
			return true;
	}
	return false;
}

static int check_peer(struct tls_stream *s, const char *name, struct fault *f)
{
	X509 *peer = SSL_get0_peer_certificate(s->ssl);
	if (!peer)
		return fault_set(f, -EKEYREJECTED, "the broker shows no certificate");
	if (is_pinned(s->ssl, peer))
		return 0;
	if (!name)
		return fault_set(f, -EKEYREJECTED,
				 "the broker's certificate is issued by a trusted one, but is not pinned "
				 "itself: `broker: name:` must say which name it carries");
	if (X509_check_host(peer, name, 0, 0, NULL) != 1 && X509_check_ip_asc(peer, name, 0) != 1)
		return fault_set(f, -EKEYREJECTED, "the broker's certificate does not carry the name %s", name);
	return 0;
}

int tls_connect(struct tls_stream *s, SSL_CTX *ctx, int fd, const char *name, int64_t deadline_ms, struct fault *f)
{
	int err = new_stream(s, ctx, fd), n;
	if (err)
		return fault_set(f, err, "out of memory");
	uint8_t address[16];
	if (name && inet_pton(AF_INET, name, address) != 1 && inet_pton(AF_INET6, name, address) != 1)
		SSL_set_tlsext_host_name(s->ssl, name);
	for (;;) {
		ERR_clear_error();
		if ((n = SSL_connect(s->ssl)) == 1)
			break;
		err = wait_ready(s, n, deadline_ms);
		if (err)
			break;
	}
	long verdict = SSL_get_verify_result(s->ssl);
	if (err == -ETIMEDOUT)
		fault_set(f, err, "no answer to the TLS handshake in time");
	else if (err && verdict != X509_V_OK)
		err = fault_set(f, -EKEYREJECTED, "the broker's certificate is not trusted: %s",
				X509_verify_cert_error_string(verdict));
	else if (err == -ECONNRESET || err == -EPIPE)
		fault_set(f, err, "the connection was closed in the TLS handshake (does the broker speak TLS 1.3 at this address?)");
	else if (err)
		err = fault_set(f, -EPROTO,
				"the TLS handshake failed (does the broker speak TLS 1.3 at this address?)");
	else
		err = check_peer(s, name, f);
	if (err)
		tls_close(s);
	return err;
}

ssize_t tls_read(struct tls_stream *s, void *buf, size_t size, int64_t deadline_ms)
{
	for (;;) {
		ERR_clear_error();
		int n = SSL_read(s->ssl, buf, size > 1 << 20 ? 1 << 20 : (int)size);
		if (n > 0)
			return n;
		int err = wait_ready(s, n, deadline_ms);
		if (err)
			return err == -EPIPE ? 0 : err;
	}
}

int tls_write(struct tls_stream *s, const void *buf, size_t len, int64_t deadline_ms)
{
	const char *p = buf;
	while (len) {
		ERR_clear_error();
		int n = SSL_write(s->ssl, p, len > 1 << 20 ? 1 << 20 : (int)len);
		if (n > 0) {
			p += n;
			len -= (size_t)n;
			continue;
		}
		int err = wait_ready(s, n, deadline_ms);
		if (err)
			return err;
	}
	return 0;
}

void tls_close(struct tls_stream *s)
{
	if (s->ssl && SSL_is_init_finished(s->ssl))
		SSL_shutdown(s->ssl);
	SSL_free(s->ssl);
	ERR_clear_error();
	if (s->fd >= 0)
		close(s->fd);
	s->ssl = NULL;
	s->fd = -1;
}
