// SPDX-License-Identifier: Apache-2.0
// TLS 1.3 over OpenSSL: certificates, contexts, and a byte stream whose every call has a deadline, so that a slow peer
// costs no more than its own connection. A stream belongs to one thread; contexts may be shared. No locks of its own.
#ifndef COFFER_LIB_TLS_H
#define COFFER_LIB_TLS_H

#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/fault.h"

// A self-signed server certificate (P-256, ten years, valid from a day ago so that small clock differences do no harm)
// for `names`: "," between DNS names and addresses. Both PEM texts are malloc'ed; wipe and free the key.
int tls_make_certificate(const char *common_name, const char *names, char **cert_pem, char **key_pem, struct fault *f);

// cert_pem: the server's certificate, then the intermediate ones, if it is issued by others. Asks clients for a certificate and takes any or none: who looks at SSL_get0_peer_certificate knows only that the client has its key.
SSL_CTX *tls_server_context(const char *cert_pem, const char *key_pem, struct fault *f);
// Trusts the certificates in `ca_pem` and nothing else. -EINVAL when there is none in it.
SSL_CTX *tls_client_context(const char *ca_pem, struct fault *f);

// For a client's context: shows this certificate to servers that ask for one.
int tls_show(SSL_CTX *ctx, X509 *cert, EVP_PKEY *key, struct fault *f);

struct tls_stream {
	SSL *ssl;
	int fd;
};

// Monotonic milliseconds, the unit of every deadline here.
int64_t clock_ms(void);

// Takes over the connected, non-blocking `fd` in every case. -ETIMEDOUT, -EPROTO.
int tls_accept(struct tls_stream *s, SSL_CTX *ctx, int fd, int64_t deadline_ms);
// The same for a client, and checks whom it speaks to: the peer's certificate is one of ctx's own (pinned), or chains
// to one of them and carries `name`. With name NULL only a pinned certificate will do. -EKEYREJECTED otherwise.
int tls_connect(struct tls_stream *s, SSL_CTX *ctx, int fd, const char *name, int64_t deadline_ms, struct fault *f);
// At least one byte, 0 at the end; -ETIMEDOUT, -EPROTO, -ECONNRESET.
ssize_t tls_read(struct tls_stream *s, void *buf, size_t size, int64_t deadline_ms);
int tls_write(struct tls_stream *s, const void *buf, size_t len, int64_t deadline_ms);
// Says goodbye without waiting for an answer and closes the descriptor.
void tls_close(struct tls_stream *s);

#endif
