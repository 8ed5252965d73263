// SPDX-License-Identifier: Apache-2.0
// An attacker in the middle, and one with a stolen key: certificates replayed, evidence moved to another key, proofs of other sessions, older TLS, the
// agreement on proofs cut out, bytes changed, connections cut at every place. None gets further than a refusal, and no byte is delivered that was not sent.
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/tls.h"
#include "ratls/certificate.h"
#include "ratls/connection.h"
#include "ratls/frame.h"
#include "tests/ratls/world.h"

// Sits between two connections.
struct middle {
	int client, server;		// its ends
	size_t from_client, from_server;	// bytes passed
	size_t cut_at, flip_at;		// of the server's; SIZE_MAX: never
	bool strip;			// renames the extension of Coffer's
	uint8_t recorded[65536];	// the server's
	size_t recorded_len;
};

static void pass(struct middle *m, bool down)
{
	uint8_t buf[4096];
	int from = down ? m->server : m->client, to = down ? m->client : m->server;
	ssize_t n = recv(from, buf, sizeof buf, MSG_DONTWAIT);
	if (n <= 0)
		return;
	size_t *passed = down ? &m->from_server : &m->from_client, len = (size_t)n;
	if (down && m->recorded_len + len <= sizeof m->recorded) {
		memcpy(m->recorded + m->recorded_len, buf, len);
		m->recorded_len += len;
	}
	if (!down && m->strip) {
		uint8_t *at = memmem(buf, len, "\xff\xc0\x00\x02", 4);
		if (at)
			at[1] = 0xc1;
	}
	if (down && m->flip_at >= *passed && m->flip_at < *passed + len)
		buf[m->flip_at - *passed] ^= 0x20;
	if (down && m->cut_at < *passed + len)
		len = m->cut_at > *passed ? m->cut_at - *passed : 0;
	if (len && send(to, buf, len, MSG_NOSIGNAL) != (ssize_t)len)
		shutdown(from, SHUT_RDWR);
	*passed += (size_t)n;
	if (down && *passed > m->cut_at) {
		shutdown(m->client, SHUT_RDWR);
		shutdown(m->server, SHUT_RDWR);
	}
}

static void between(void *ctx)
{
	for (int i = 0; i < 4; i++) {
		pass(ctx, false);
		pass(ctx, true);
	}
}

static void meet_through(struct pair *p, struct middle *m, struct ratls_context *client, struct ratls_context *server)
{
	int a[2], b[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, a) || socketpair(AF_UNIX, SOCK_STREAM, 0, b))
		abort();
	m->client = a[1];
	m->server = b[1];
	pair_open_over(p, client, a[0], server, b[0]);
	pair_meet(p, between, m);
}

static void leave(struct pair *p, struct middle *m)
{
	pair_close(p);
	close(m->client);
	close(m->server);
}

static struct ratls_context *verifier, *prover;

static void test_in_the_middle(void)
{
	static struct middle m;
	struct pair p;
	m = (struct middle){.cut_at = SIZE_MAX, .flip_at = SIZE_MAX};
	meet_through(&p, &m, verifier, prover);
	ok("ratls: through a middle that only passes on", !p.client_error && !p.server_error, "%s %s", ratls_reason(p.client), ratls_reason(p.server));
	size_t total = m.from_server;
	leave(&p, &m);

	static struct middle strip;
	strip = (struct middle){.cut_at = SIZE_MAX, .flip_at = SIZE_MAX, .strip = true};
	meet_through(&p, &strip, verifier, prover);
	ok("ratls: who cuts the agreement out breaks the handshake", p.client_error && p.server_error, "%d %d", p.client_error, p.server_error);
	leave(&p, &strip);

	// What a genuine server said once, to a new client.
	int fds[2];
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
		abort();
	struct ratls_connection *c;
	struct ratls_error e;
	if (ratls_connect(&c, verifier, fds[0], "server.test", &e))
		abort();
	int err = ratls_handshake(c, 0);
	if (send(fds[1], m.recorded, m.recorded_len, 0) != (ssize_t)m.recorded_len)
		abort();
	shutdown(fds[1], SHUT_WR);
	err = err == -EAGAIN ? ratls_handshake(c, 1000) : err;
	ok("ratls: a recorded handshake", err == -EPROTO, "%d %s", err, ratls_reason(c));
	ratls_close(c, 0);
	close(fds[1]);

	bool all = true;
	for (size_t at = 0; at < total && all; at += 1 + total / 60) {
		static struct middle cut;
		cut = (struct middle){.cut_at = at, .flip_at = SIZE_MAX};
		meet_through(&p, &cut, verifier, prover);
		all = ok("ratls: cut in the handshake", p.client_error == -ECONNRESET || p.client_error == -EPROTO, "at %zu: %d", at, p.client_error);
		leave(&p, &cut);
		cut = (struct middle){.cut_at = SIZE_MAX, .flip_at = at};
		pair_patience_ms = 200;	// a length that was changed lets it wait for more
		meet_through(&p, &cut, verifier, prover);
		all &= ok("ratls: a byte changed in the handshake", p.client_error, "at %zu: %d", at, p.client_error);
		pair_patience_ms = 60000;
		leave(&p, &cut);
	}
}

// Data behind the handshake: changed or cut, what is delivered is a beginning of what was sent.
static void test_data(void)
{
	char sent[6000], got[6000];
	memset(sent, 's', sizeof sent);
	for (size_t at = 0; at < 6000; at += 977) {
		for (int flip = 0; flip < 2; flip++) {
			static struct middle m;
			struct pair p;
			m = (struct middle){.cut_at = SIZE_MAX, .flip_at = SIZE_MAX};
			meet_through(&p, &m, verifier, prover);
			*(flip ? &m.flip_at : &m.cut_at) = m.from_server + at;
			ratls_write(p.server, sent, sizeof sent / 2, 0);
			ratls_write(p.server, sent, sizeof sent / 2, 0);
			size_t n = 0;
			ssize_t k = -EAGAIN;
			for (int i = 0; i < 50 && (k > 0 || k == -EAGAIN) && n < sizeof got; i++) {
				between(&m);
				k = ratls_read(p.client, got + n, sizeof got - n, 1);
				n += k > 0 ? (size_t)k : 0;
			}
			ok(flip ? "ratls: a byte of data changed" : "ratls: data cut", n < sizeof got && k < 0 && k != -EAGAIN && !memcmp(got, sent, n), "at %zu: %zd, %zu bytes", at, k, n);
			leave(&p, &m);
		}
	}
}

static void write_pem(const char *name, char path[128], X509 *cert, EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	snprintf(path, 128, "%s/%s", world, name);
	if ((cert ? PEM_write_bio_X509(bio, cert) : PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL)) != 1)
		abort();
	long n = BIO_get_mem_data(bio, &text);
	if (file_write(path, text, (size_t)n, 0600, false, NULL))
		abort();
	BIO_free(bio);
}

static int ask(void *ctx, const uint8_t report_data[64], struct bundle *out, struct fault *f)
{
	struct ratls_evidence e;
	if (machine_collect(ctx, report_data, &e))
		return fault_set(f, -EIO, "none");
	bundle_put_bytes(out, "evidence", e.bytes, e.len);
	bundle_put_text(out, "certificates", e.certificates, strlen(e.certificates));
	free(e.bytes);
	free(e.certificates);
	return 0;
}

// Another's evidence in a certificate of one's own key: as it is, or with claims that name this key.
static X509 *with_evidence_of(X509 *genuine, EVP_PKEY *own, bool rewrite)
{
	X509 *c = X509_dup(genuine);
	X509_set_pubkey(c, own);
	if (rewrite) {
		uint8_t digest[32], *der = NULL;
		int len = i2d_PUBKEY(own, &der);
		EVP_Digest(der, (size_t)len, digest, NULL, EVP_sha256(), NULL);
		OPENSSL_free(der);
		ASN1_OBJECT *o = OBJ_txt2obj("2.23.133.5.4.9", 1);
		X509_EXTENSION *e = X509_get_ext(c, X509_get_ext_by_OBJ(c, o, -1));
		ASN1_OCTET_STRING *s = X509_EXTENSION_get_data(e);
		uint8_t *at = memmem(ASN1_STRING_get0_data(s), (size_t)ASN1_STRING_length(s), "pubkey-hash", 11);
		memcpy(at + 11 + 2 + 2 + 2, digest, 32);	// 58 24 82 01 58 20
		ASN1_OBJECT_free(o);
	}
	X509_sign(c, own, EVP_sha256());
	return c;
}

static void test_stolen(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256"), *thief = EVP_EC_gen("P-256");
	struct ratls_cert_request q = {.key = key, .subject = "enclave", .now = time(NULL), .seconds = 600, .evidence = ask, .ctx = &good};
	X509 *genuine = NULL;
	char key_path[128], cert_path[128];
	struct pair p;
	if (ratls_cert_make(&q, &genuine, NULL))
		abort();
	for (int rewrite = 0; rewrite < 2; rewrite++) {
		X509 *c = with_evidence_of(genuine, thief, rewrite);
		write_pem("thief.pem", cert_path, c, NULL);
		write_pem("thief.key", key_path, NULL, thief);
		struct ratls_options o = {.certificate_file = cert_path, .key_file = key_path};
		struct ratls_context *ctx = context_of(&o);
		pair_open(&p, verifier, ctx);
		pair_meet(&p, NULL, NULL);
		ok(rewrite ? "ratls: evidence moved to another key, and the claims changed" : "ratls: evidence moved to another key",
		   p.client_error == -EKEYREJECTED && strstr(ratls_reason(p.client), rewrite ? "report-data: " : "certificate-key: "), "%d %s", p.client_error, ratls_reason(p.client));
		pair_close(&p);
		ratls_context_free(ctx);
		X509_free(c);
	}
	// The very key of a genuine certificate, outside of any enclave: the certificate passes, and the session needs more.
	write_pem("stolen.pem", cert_path, genuine, NULL);
	write_pem("stolen.key", key_path, NULL, key);
	struct ratls_options o = {.certificate_file = cert_path, .key_file = key_path};
	struct ratls_context *ctx = context_of(&o);
	pair_open(&p, verifier, ctx);
	pair_meet(&p, NULL, NULL);
	ok("ratls: a stolen key with its certificate", p.client_error == -EKEYREJECTED && strstr(ratls_reason(p.client), "no proof for this session") && p.server_error,
	   "%d %s", p.client_error, ratls_reason(p.client));
	pair_close(&p);
	ratls_context_free(ctx);

	// The thief relays: the genuine enclave makes proofs, in a session of its own, for a nonce of the victim's; or of another one.
	struct ratls_options judging = options_of(NULL, &good);
	struct judge *j;
	struct fault f = {""};
	if (judge_open(&j, &judging, &f))
		abort();
	static const struct {
		const char *name, *fails;
		uint8_t nonce, exporter;
		bool thief, no_session;
	} all[] = {
		{"a proof of this session", NULL, 1, 1, false, false}, {"a proof of another session", "tls-session", 1, 2, false, false},
		{"a proof for another nonce", "nonce", 2, 1, false, false}, {"a proof by another's key", "certificate-key", 1, 1, true, false},
		{"a proof of no session: a certificate's evidence", "tls-session", 1, 1, false, true},
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		uint8_t nonce[32] = {all[i].nonce}, exporter[32] = {all[i].exporter}, expected[32] = {1}, *content;
		char label[96];
		size_t len;
		q.key = all[i].thief ? thief : key;
		q.nonce = nonce;
		q.nonce_len = 32;
		q.exporter = all[i].no_session ? NULL : exporter;
		if (ratls_content_make(&q, &content, &len, NULL))
			abort();
		struct verdict *v = judge_session(j, genuine, content, len, expected, expected);
		snprintf(label, sizeof label, "ratls: %s", all[i].name);
		ok(label, v && v->accepted == !all[i].fails && (!all[i].fails || !strcmp(v->short_reason, all[i].fails)), "%s", v ? v->short_reason : "");
		verdict_release(v);
		free(content);
	}
	judge_close(j);
	X509_free(genuine);
	EVP_PKEY_free(key);
	EVP_PKEY_free(thief);
}

static void set_nonblocking(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

// A peer that speaks TLS 1.2 only, on either side.
static void test_downgrade(void)
{
	for (int server = 0; server < 2; server++) {
		SSL_CTX *t = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
		EVP_PKEY *key = EVP_EC_gen("P-256");
		struct ratls_cert_request q = {.key = key, .subject = "old", .now = time(NULL), .seconds = 600, .evidence = ask, .ctx = &good};
		X509 *cert = NULL;
		struct ratls_connection *c;
		struct ratls_error e;
		int fds[2];
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds) || ratls_cert_make(&q, &cert, NULL))
			abort();
		SSL_CTX_set_max_proto_version(t, TLS1_2_VERSION);
		SSL_CTX_use_certificate(t, cert);
		SSL_CTX_use_PrivateKey(t, key);
		SSL *ssl = SSL_new(t);
		SSL_set_fd(ssl, fds[1]);
		set_nonblocking(fds[1]);
		if (server ? ratls_connect(&c, verifier, fds[0], "x", &e) : ratls_accept(&c, prover, fds[0], &e))
			abort();
		int err = -EAGAIN, n = 0;
		for (int i = 0; i < 20 && err == -EAGAIN; i++) {
			err = ratls_handshake(c, 1);
			n = server ? SSL_accept(ssl) : SSL_connect(ssl);
		}
		ok(server ? "ratls: a server of TLS 1.2" : "ratls: a client of TLS 1.2", err == -EPROTO && n != 1, "%d %s", err, ratls_reason(c));
		ratls_close(c, 0);
		SSL_free(ssl);
		close(fds[1]);
		SSL_CTX_free(t);
		X509_free(cert);
		EVP_PKEY_free(key);
	}
}

// A reset, as from a host that was switched off and on.
static void test_reset(void)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof at;
	int l = socket(AF_INET, SOCK_STREAM, 0), a = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(l, (struct sockaddr *)&at, sizeof at) || listen(l, 1) || getsockname(l, (struct sockaddr *)&at, &len) || connect(a, (struct sockaddr *)&at, len))
		abort();
	int b = accept(l, NULL, NULL), null = open("/dev/null", O_RDWR);
	struct pair p;
	char buf[8];
	pair_open_over(&p, verifier, a, prover, b);
	pair_meet(&p, NULL, NULL);
	bool met = !p.client_error && !p.server_error;
	setsockopt(b, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
	dup2(null, b);	// closes the socket behind the library's back
	close(null);
	ssize_t n = ratls_read(p.client, buf, sizeof buf, 60000);
	ok("ratls: a reset", met && n == -ECONNRESET, "%d %zd %s", met, n, ratls_reason(p.client));
	pair_close(&p);
	close(l);
}

// Frames that no honest peer sends, within a good session: a raw TLS peer with a genuine certificate.
static void test_frames(void)
{
	static const struct {
		const char *name, *bytes;
		size_t len;
		int error;
	} all[] = {
		{"an unknown frame", "\x09\x00\x00\x00", 4, -EPROTO}, {"a challenge of no length", "\x01\x00\x00\x00", 4, -EPROTO},
		{"a proof that nobody asked for, larger than any", "\x02\x7f\xff\xff", 4, -EPROTO}, {"an end with something in it", "\x04\x00\x00\x01z", 5, -EPROTO},
		{"data before any proof", "\x00\x00\x00\x01z", 5, -EPROTO}, {"a verdict about nothing", "\x03\x00\x00\x00", 4, -EPROTO},
		{"an empty proof", "\x02\x00\x00\x00", 4, -EKEYREJECTED}, {"a proof of zeros", "\x02\x00\x00\x02\x00\x00", 6, -EKEYREJECTED},
		{"an end within a proof", "\x02\x00\x00\x02\x00", 5, -ECONNRESET},
	};
	EVP_PKEY *key = EVP_EC_gen("P-256");
	struct ratls_cert_request q = {.key = key, .subject = "enclave", .now = time(NULL), .seconds = 600, .evidence = ask, .ctx = &good};
	char key_path[128], cert_path[128];
	X509 *cert = NULL;
	if (ratls_cert_make(&q, &cert, NULL))
		abort();
	write_pem("frames.pem", cert_path, cert, NULL);
	write_pem("frames.key", key_path, NULL, key);
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		// Its side of the agreement is made by the library with no proofs of its own; then raw bytes go out by its TLS.
		struct ratls_options o = {.certificate_file = cert_path, .key_file = key_path};
		struct ratls_context *ctx = context_of(&o);
		struct pair p;
		char label[96];
		int err = -EAGAIN, fds[2];
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fds))
			abort();
		pair_open_over(&p, verifier, fds[0], ctx, fds[1]);
		SSL *ssl = p.server->ssl;
		for (int k = 0; k < 20 && !SSL_is_init_finished(ssl); k++) {
			err = ratls_handshake(p.client, 1);
			SSL_do_handshake(ssl);
		}
		SSL_write(ssl, all[i].bytes, (int)all[i].len);
		if (all[i].error == -ECONNRESET)
			SSL_shutdown(ssl);
		err = err == -EAGAIN ? ratls_handshake(p.client, 1000) : err;
		snprintf(label, sizeof label, "ratls: %s", all[i].name);
		ok(label, err == all[i].error, "%d %s", err, ratls_reason(p.client));
		pair_close(&p);
		ratls_context_free(ctx);
	}
	X509_free(cert);
	EVP_PKEY_free(key);
}

// One whole frame by raw TLS, with both ends of its connection driven.
static size_t raw_frame(SSL *ssl, struct ratls_connection *other, uint8_t *out, size_t size)
{
	size_t n = 0, need = FRAME_HEAD;
	for (int i = 0; i < 200 && n < need; i++) {
		int k = SSL_read(ssl, out + n, (int)(need - n));
		if (k <= 0) {
			char byte;
			other->phase == RATLS_OPEN ? ratls_read(other, &byte, 1, 0) : ratls_handshake(other, 1);
			continue;
		}
		n += (size_t)k;
		if (n == FRAME_HEAD)
			need = FRAME_HEAD + ((size_t)out[1] << 16 | (size_t)out[2] << 8 | out[3]);
		if (need > size)
			abort();
	}
	return n == need ? n : 0;
}

// A thief who has the key of a genuine enclave, outside of it, and hands the victim's challenge on to that very enclave, which proves itself to him
// as to anybody: the proof is genuine, of now, for the victim's nonce and about the right key. It is of his session with the enclave.
static void test_relayed(void)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	struct ratls_cert_request q = {.key = key, .subject = "enclave", .now = time(NULL), .seconds = 600, .evidence = ask, .ctx = &good};
	char key_path[128], cert_path[128];
	static uint8_t frame[FRAME_HEAD + FRAME_MAX_PROOF];
	X509 *cert = NULL;
	if (ratls_cert_make(&q, &cert, NULL))
		abort();
	write_pem("relayed.pem", cert_path, cert, NULL);
	write_pem("relayed.key", key_path, NULL, key);
	struct ratls_options thief = {.certificate_file = cert_path, .key_file = key_path}, enclave = options_of(&good, NULL);
	enclave.key_file = key_path;
	struct ratls_context *t = context_of(&thief), *e = context_of(&enclave);
	struct pair victim, inner;
	struct ratls_options honest = options_of(NULL, &good);
	struct ratls_context *raw = context_of(&honest);
	raw->openssl_records = true;	// the thief's own end, who sends by it what he likes
	pair_open(&inner, raw, e);
	pair_meet(&inner, NULL, NULL);
	pair_open(&victim, verifier, t);
	SSL *ssl = victim.server->ssl;
	for (int i = 0; i < 20 && !SSL_is_init_finished(ssl); i++) {
		ratls_handshake(victim.client, 1);
		SSL_do_handshake(ssl);
	}
	size_t n = raw_frame(ssl, victim.client, frame, sizeof frame);
	bool asked = n == FRAME_HEAD + FRAME_NONCE && frame[0] == FRAME_CHALLENGE;
	SSL_write(inner.client->ssl, frame, (int)n);
	n = raw_frame(inner.client->ssl, inner.server, frame, sizeof frame);
	bool proved = n > 1000 && frame[0] == FRAME_PROOF;
	for (size_t at = 0; at < n;) {
		int k = SSL_write(ssl, frame + at, (int)(n - at));
		at += k > 0 ? (size_t)k : n;
	}
	int err = ratls_handshake(victim.client, 1000);
	ok("ratls: the victim's challenge, answered by the genuine enclave",
	   asked && proved && err == -EKEYREJECTED && strstr(ratls_reason(victim.client), "tls-session: ") &&
		   !strstr(ratls_reason(victim.client), "nonce: ") && !strstr(ratls_reason(victim.client), "certificate-key: "),
	   "%d %d %d %s", asked, proved, err, ratls_reason(victim.client));
	pair_close(&victim);
	pair_close(&inner);
	ratls_context_free(raw);
	ratls_context_free(t);
	ratls_context_free(e);
	X509_free(cert);
	EVP_PKEY_free(key);
}

// A proof sent back to who made it: a client that both asks and proves is answered with its own.
static void test_reflected(void)
{
	struct ratls_options both = options_of(&good, &good);
	struct ratls_context *c = context_of(&both), *s = context_of(&both);
	static uint8_t frame[FRAME_HEAD + FRAME_MAX_PROOF];
	struct pair p;
	pair_open(&p, c, s);
	SSL *ssl = p.server->ssl;
	for (int i = 0; i < 20 && !SSL_is_init_finished(ssl); i++) {
		ratls_handshake(p.client, 1);
		SSL_do_handshake(ssl);
	}
	size_t n = raw_frame(ssl, p.client, frame, sizeof frame);	// the client's challenge goes back as the server's
	bool asked = n == FRAME_HEAD + FRAME_NONCE;
	SSL_write(ssl, frame, (int)n);
	n = raw_frame(ssl, p.client, frame, sizeof frame);
	bool proved = n > 1000 && frame[0] == FRAME_PROOF;
	for (size_t at = 0; at < n;) {
		int k = SSL_write(ssl, frame + at, (int)(n - at));
		at += k > 0 ? (size_t)k : n;
	}
	int err = ratls_handshake(p.client, 1000);
	ok("ratls: a client's own proof sent back to it", asked && proved && err == -EKEYREJECTED && strstr(ratls_reason(p.client), "tls-session: "),
	   "%d %d %d %s", asked, proved, err, ratls_reason(p.client));
	pair_close(&p);
	ratls_context_free(c);
	ratls_context_free(s);
}

int main(void)
{
	if (!world_begin())
		return 1;
	struct ratls_options verifies = options_of(NULL, &good), attests = options_of(&good, NULL);
	verifier = context_of(&verifies);
	prover = context_of(&attests);
	test_in_the_middle();
	test_data();
	test_stolen();
	test_relayed();
	test_reflected();
	test_downgrade();
	test_reset();
	test_frames();
	ratls_context_free(verifier);
	ratls_context_free(prover);
	return world_end();
}
