// SPDX-License-Identifier: Apache-2.0
// The record layer: records that were changed, cut, repeated, too long or of no use; alerts, new keys, and both ends of it with OpenSSL's own at the other.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/tls.h"
#include "ratls/connection.h"
#include "tests/ratls/world.h"

static struct ratls_context *layered, *raw;	// provers: by our record layer, and by OpenSSL's
static const uint8_t secret[RECORD_SECRET_MAX] = "a secret of the application's traffic, made up.";
static uint64_t seed = 1;

// The same numbers each time.
static uint32_t next(uint32_t below)
{
	seed = seed * 6364136223846793005 + 1442695040888963407;
	return (uint32_t)(seed >> 33) % below;
}

// ---- records ----

static const struct {
	const char *name;
	uint16_t number;
	size_t secret_len;
} suites[] = {
	{"TLS_AES_128_GCM_SHA256", 0x1301, 32}, {"TLS_AES_256_GCM_SHA384", 0x1302, 48}, {"TLS_CHACHA20_POLY1305_SHA256", 0x1303, 32},
};

static void open_both(struct tls13_keys *seals, struct tls13_keys *opens, unsigned int suite)
{
	if (tls13_open_keys(seals, suites[suite].number, secret, suites[suite].secret_len, true) ||
	    tls13_open_keys(opens, suites[suite].number, secret, suites[suite].secret_len, false))
		abort();
}

static void close_both(struct tls13_keys *seals, struct tls13_keys *opens)
{
	tls13_close_keys(seals);
	tls13_close_keys(opens);
}

static void test_sizes(unsigned int suite)
{
	static const size_t sizes[] = {0, 1, 15, 16, 17, 1019, 1020, 1021, 1024, 1025, 16380, 16384};
	static uint8_t bytes[RECORD_PLAIN_MAX], record[RECORD_SEALED_MAX];
	struct tls13_keys a, b;
	uint8_t type = 0;
	bool good_all = true;
	open_both(&a, &b, suite);
	for (size_t i = 0; i < sizeof bytes; i++)
		bytes[i] = (uint8_t)(i * 7 + 1);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		for (size_t head = 0; head <= sizes[i] && head <= 4; head += 4) {
			ssize_t n = tls13_seal(&a, RECORD_DATA, bytes, head, bytes + head, sizes[i] - head, record);
			good_all &= n == (ssize_t)(RECORD_HEAD + sizes[i] + 1 + RECORD_TAG) && tls13_length(record, RECORD_HEAD) == n;
			good_all &= tls13_open(&b, record, (size_t)n, &type) == (ssize_t)sizes[i] && type == RECORD_DATA &&
				    !memcmp(record + RECORD_HEAD, bytes, sizes[i]);
		}
		good_all &= !tls13_update_keys(&a) && !tls13_update_keys(&b) && !a.sequence && !memcmp(a.secret, b.secret, sizeof a.secret) &&
			    memcmp(a.secret, secret, 32);
	}
	ok("record: all sizes, with new keys between", good_all, "%s", suites[suite].name);
	close_both(&a, &b);
}

// Opens a copy of it as the first record of a connection.
static ssize_t open_first(unsigned int suite, const uint8_t *record, size_t len, uint8_t *copy)
{
	struct tls13_keys k;
	uint8_t type;
	if (tls13_open_keys(&k, suites[suite].number, secret, suites[suite].secret_len, false))
		abort();
	memcpy(copy, record, len);
	ssize_t n = tls13_open(&k, copy, len, &type);
	tls13_close_keys(&k);
	return n;
}

static void test_changed(unsigned int suite)
{
	static const char text[] = "what nobody else may read or change";
	static uint8_t record[128], copy[128], zeros[64];
	struct tls13_keys a, b;
	unsigned int passed = 0, seen = 0;
	uint8_t type;
	open_both(&a, &b, suite);
	size_t len = (size_t)tls13_seal(&a, RECORD_DATA, NULL, 0, (const uint8_t *)text, sizeof text, record);
	ok("record: one as it was sealed", open_first(suite, record, len, copy) == sizeof text, "%s", suites[suite].name);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		record[bit / 8] ^= (uint8_t)(1 << bit % 8);
		passed += open_first(suite, record, len, copy) != -EBADMSG;
		seen += memcmp(copy + RECORD_HEAD, zeros, sizeof text) != 0;
		record[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	ok("record: each bit flipped", !passed && !seen, "%u passed, %u seen, %s", passed, seen, suites[suite].name);
	for (size_t cut = RECORD_HEAD; cut < len; cut++)
		passed += open_first(suite, record, cut, copy) != -EBADMSG;
	ok("record: cut", !passed, "%u", passed);
	memcpy(copy, record, len);
	ssize_t first = tls13_open(&b, copy, len, &type), again = tls13_open(&b, (memcpy(copy, record, len), copy), len, &type);
	ok("record: the same one again", first == sizeof text && again == -EBADMSG, "%zd %zd", first, again);
	len = (size_t)tls13_seal(&a, RECORD_DATA, NULL, 0, (const uint8_t *)text, sizeof text, record);
	ok("record: one before its turn", open_first(suite, record, len, copy) == -EBADMSG, "it passed");
	close_both(&a, &b);
}

static void test_limits(void)
{
	static uint8_t bytes[RECORD_BODY_MAX + 64], record[RECORD_BODY_MAX + 128];
	static const uint8_t padded[] = {'h', 'i', RECORD_DATA, 0, 0, 0};
	struct tls13_keys a, b;
	uint8_t type;
	open_both(&a, &b, 1);
	// The writer puts the type last: of a "type" 0 the content is what has the true one, and padding.
	size_t len = (size_t)tls13_seal(&a, 0, NULL, 0, padded, sizeof padded, record);
	ssize_t n = tls13_open(&b, record, len, &type);
	ok("record: padding", n == 2 && type == RECORD_DATA && !memcmp(record + RECORD_HEAD, "hi", 2), "%zd", n);
	len = (size_t)tls13_seal(&a, 0, NULL, 0, bytes, 100, record);
	n = tls13_open(&b, record, len, &type);
	ok("record: nothing but padding", n == -EPROTO, "%zd", n);
	len = (size_t)tls13_seal(&a, RECORD_DATA, NULL, 0, bytes, RECORD_PLAIN_MAX + 1, record);
	n = tls13_open(&b, record, len, &type);
	ok("record: one byte more than may be", n == -EMSGSIZE, "%zd", n);
	static const uint8_t longest[] = {23, 3, 3, RECORD_BODY_MAX >> 8, RECORD_BODY_MAX & 255}, longer[] = {23, 3, 3, RECORD_BODY_MAX >> 8, 1},
			     plain[] = {22, 3, 3, 0, 64};
	ok("record: lengths", tls13_length(longest, 5) == RECORD_HEAD + RECORD_BODY_MAX && tls13_length(longer, 5) == -EMSGSIZE && !tls13_length(longest, 4) &&
	   tls13_length(plain, 5) == -EPROTO, "%zd %zd", tls13_length(longest, 5), tls13_length(longer, 5));
	a.sequence = b.sequence = UINT64_MAX - 1;
	len = (size_t)tls13_seal(&a, RECORD_DATA, NULL, 0, bytes, 4, record);
	bool last = tls13_open(&b, record, len, &type) == 4;
	ok("record: numbers that run out", last && tls13_seal(&a, RECORD_DATA, NULL, 0, bytes, 4, record) == -EOVERFLOW &&
	   tls13_open(&b, record, len, &type) == -EOVERFLOW, "%d", last);
	close_both(&a, &b);
	ok("record: closed keys", tls13_seal(&a, RECORD_DATA, NULL, 0, bytes, 4, record) == -EOVERFLOW && !a.secret[0], "they seal");
	ok("record: another suite", tls13_open_keys(&a, 0x1304, secret, 32, true) == -ENOTSUP && tls13_open_keys(&a, 0x1301, secret, 48, true) == -ENOTSUP, "it opened");
}

// ---- connections ----

static void meet(struct pair *p, struct ratls_context *client, struct ratls_context *server, const char *suite)
{
	pair_open(p, client, server);
	if (suite && (SSL_set_ciphersuites(p->client->ssl, suite) != 1 || SSL_set_ciphersuites(p->server->ssl, suite) != 1))
		abort();
	pair_meet(p, NULL, NULL);
	bool as_meant = !p->client_error && !p->server_error && !p->client->layer == client->openssl_records && !p->server->layer == server->openssl_records;
	if (!as_meant)
		ok("record: two that meet", false, "%s, %s", ratls_reason(p->client), ratls_reason(p->server));
}

// A record of c's, of any type and content, that its keys seal.
static void inject(struct ratls_connection *c, uint8_t type, const void *bytes, size_t len)
{
	static uint8_t record[RECORD_BODY_MAX + 64];
	ssize_t n = tls13_seal(&c->layer->out, type, NULL, 0, bytes, len, record);
	if (n < 0 || wire_put(c->wire, record, (size_t)n))
		abort();
}

// OpenSSL cannot where it has begun with a record that has not left; nor can it be asked for an answer, which it would give in such a moment too ("bad length").
static void change_keys(struct ratls_connection *c, const struct ratls_connection *other)
{
	bool asks = next(2);
	if (!c->layer && (c->want_write || connection_has_to_send(c)))
		return;
	if (!c->layer && SSL_key_update(c->ssl, asks ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED) != 1)
		abort();
	if (c->layer && other->layer) {
		if (layer_new_keys(c->layer))
			abort();
	} else if (c->layer) {
		inject(c, RECORD_HANDSHAKE, "\30\0\0\1\0", 5);
		if (tls13_update_keys(&c->layer->out))
			abort();
	}
}

// Bytes of random sizes both ways, and new keys from either end.
static bool passes(struct pair *p)
{
	enum { ALL = 3 << 20 };
	static uint8_t text[ALL], got[ALL];
	struct ratls_connection *ends[] = {p->client, p->server};
	size_t sent[2] = {0}, come[2] = {0};
	for (size_t i = 0; i < ALL; i++)
		text[i] = (uint8_t)(i ^ i >> 8 ^ i >> 16);
	for (unsigned int turn = 0; turn < 200000 && (come[0] < ALL || come[1] < ALL); turn++) {
		unsigned int w = next(2), r = next(2);
		size_t want = next(4) ? next(300) + 1 : next(200000) + 1, size = next(4) ? next(40000) + 1 : next(50) + 1;
		if (!next(50))
			change_keys(ends[w], ends[!w]);
		ssize_t n = ratls_write(ends[w], text + sent[w], want < ALL - sent[w] ? want : ALL - sent[w], 0);
		if (n < 0 && n != -EAGAIN)
			return false;
		sent[w] += n > 0 ? (size_t)n : 0;
		n = ratls_read(ends[r], got, size, 0);
		if (n < 0 && n != -EAGAIN)
			return false;
		if (n > 0 && memcmp(got, text + come[r], (size_t)n))
			return false;
		come[r] += n > 0 ? (size_t)n : 0;
	}
	return come[0] == ALL && come[1] == ALL;
}

static void test_peers(void)
{
	for (unsigned int i = 0; i < 3; i++) {
		for (unsigned int how = 0; how < 3; how++) {	// both by the layer, one by OpenSSL
			struct pair p;
			char label[96];
			meet(&p, how == 1 ? raw : layered, how == 2 ? raw : layered, suites[i].name);
			snprintf(label, sizeof label, "record: %s, client by %s, server by %s", suites[i].name, how == 1 ? "OpenSSL" : "us", how == 2 ? "OpenSSL" : "us");
			bool passed = passes(&p);
			ok(label, passed && !ratls_end(p.client, 1000) && !ratls_read(p.server, label, 1, 1000), "%s, %s", ratls_reason(p.client), ratls_reason(p.server));
			struct layer *l = p.client->layer;
			if (l)
				ok("record: nothing is kept by a connection that rests", !l->bytes && !l->plain_len && !wire_holds(l->wire), "%zu", l->len);
			pair_close(&p);
		}
	}
}

// Each is sent to a client by its server, or the other way: what the reader makes of it, and what the writer hears.
static void test_malformed(void)
{
	static const struct {
		const char *name;
		uint8_t type;
		const char *bytes;
		size_t len;
		int error;	// -EAGAIN: it is passed over
		int alert;	// that the writer hears; -1: none
	} all[] = {
		{"record: an alert of one byte", 21, "\2", 1, -EPROTO, SSL_AD_DECODE_ERROR},
		{"record: two alerts in one", 21, "\1\0\1\0", 4, -EPROTO, SSL_AD_DECODE_ERROR},
		{"record: an alert that nobody knows", 21, "\1\311", 2, -EPROTO, -1},
		{"record: an alert that the certificate is bad", 21, "\2\52", 2, -EACCES, -1},
		{"record: an alert, no text", 21, "", 0, -EPROTO, SSL_AD_DECODE_ERROR},
		{"record: canceled by its user", 21, "\1\132", 2, -EAGAIN, -1},
		{"record: a handshake message of no length", 22, "", 0, -EPROTO, SSL_AD_UNEXPECTED_MESSAGE},
		{"record: a certificate request", 22, "\15\0\0\3\0\0\0", 7, -EPROTO, SSL_AD_UNEXPECTED_MESSAGE},
		{"record: a finished", 22, "\24\0\0\0", 4, -EPROTO, SSL_AD_UNEXPECTED_MESSAGE},
		{"record: new keys, asks for neither", 22, "\30\0\0\1\2", 5, -EPROTO, SSL_AD_ILLEGAL_PARAMETER},
		{"record: new keys, too long", 22, "\30\0\0\2\0\0", 6, -EPROTO, SSL_AD_DECODE_ERROR},
		{"record: new keys, and more behind", 22, "\30\0\0\1\0\30", 6, -EPROTO, SSL_AD_UNEXPECTED_MESSAGE},
		{"record: a ticket", 22, "\4\0\0\5tests", 9, -EAGAIN, -1},
		{"record: a ticket that is too long", 22, "\4\7\0\0", 4, -EPROTO, SSL_AD_DECODE_ERROR},
		{"record: a cipher change", 20, "\1", 1, -EPROTO, SSL_AD_UNEXPECTED_MESSAGE},
		{"record: an unknown type", 99, "x", 1, -EPROTO, SSL_AD_UNEXPECTED_MESSAGE},
		{"record: one empty record", 23, "", 0, -EAGAIN, -1},
		{"record: a type of zero", 0, "", 0, -EPROTO, SSL_AD_UNEXPECTED_MESSAGE},
	};
	for (unsigned int back = 0; back < 2; back++) {
		for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
			struct pair p;
			char buf[16];
			meet(&p, layered, layered, NULL);
			struct ratls_connection *from = back ? p.client : p.server, *to = back ? p.server : p.client;
			bool ticket_to_server = back && all[i].type == 22 && all[i].bytes[0] == 4;
			int error = ticket_to_server ? -EPROTO : all[i].error, alert = ticket_to_server ? SSL_AD_UNEXPECTED_MESSAGE : all[i].alert;
			inject(from, all[i].type, all[i].bytes, all[i].len);
			ssize_t n = ratls_read(to, buf, sizeof buf, 0), again = ratls_read(to, buf, sizeof buf, 0), wrote = ratls_write(to, "x", 1, 0);
			bool ends = error == -EAGAIN ? wrote == 1 : wrote == error && again == error;
			ok(all[i].name, n == error && ends, "%zd %zd %zd %s", n, again, wrote, ratls_reason(to));
			n = ratls_read(from, buf, sizeof buf, 0);
			if (alert >= 0)
				ok(all[i].name, n == -EPROTO && from->layer->alert == alert, "it hears %d: %s", from->layer->alert, ratls_reason(from));
			pair_close(&p);
		}
	}
}

// Bytes that are no records that the keys sealed.
static void test_unsealed(void)
{
	static const struct {
		const char *name, *bytes;
		size_t len;
		int alert;
	} all[] = {
		{"record: not sealed", "\27\3\3\0\23abcdefghijklmnopqrs", 24, SSL_AD_BAD_RECORD_MAC},
		{"record: shorter than a tag", "\27\3\3\0\3abc", 8, SSL_AD_BAD_RECORD_MAC},
		{"record: of no length", "\27\3\3\0\0", 5, SSL_AD_BAD_RECORD_MAC},
		{"record: a cipher change in the clear", "\24\3\3\0\1\1", 6, SSL_AD_UNEXPECTED_MESSAGE},
		{"record: an alert in the clear", "\25\3\3\0\2\1\0", 7, SSL_AD_UNEXPECTED_MESSAGE},
		{"record: longer than any may be", "\27\3\3\101\1", 5, SSL_AD_RECORD_OVERFLOW},
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		struct pair p;
		char buf[16];
		meet(&p, layered, layered, NULL);
		if (write(ratls_fd(p.server), all[i].bytes, all[i].len) != (ssize_t)all[i].len)
			abort();
		ssize_t n = ratls_read(p.client, buf, sizeof buf, 0), wrote = ratls_write(p.client, "x", 1, 0);
		ssize_t heard = ratls_read(p.server, buf, sizeof buf, 0);
		ok(all[i].name, n == -EPROTO && wrote == n && heard == -EPROTO && p.server->layer->alert == all[i].alert, "%zd %zd %zd %d %s", n, wrote, heard,
		   p.server->layer->alert, ratls_reason(p.client));
		pair_close(&p);
	}
}

static void test_messages(void)
{
	struct pair p;
	char buf[64];
	// In pieces, and with data only where a message is whole.
	meet(&p, layered, layered, NULL);
	inject(p.server, 22, "\30\0", 2);
	inject(p.server, 22, "\0\1", 2);
	inject(p.server, 22, "\1", 1);
	if (tls13_update_keys(&p.server->layer->out))
		abort();
	uint64_t before = p.client->layer->out.sequence;
	ssize_t n = ratls_read(p.client, buf, sizeof buf, 0);
	ok("record: new keys in three pieces", n == -EAGAIN && before && !p.client->layer->out.sequence && says(p.server, p.client, "new") &&
	   says(p.client, p.server, "newer"), "%zd %s %s", n, ratls_reason(p.client), ratls_reason(p.server));
	inject(p.server, 22, "\4\0\0", 3);
	says(p.server, p.client, "x");
	ok("record: data within a message", p.client->failed == -EPROTO, "%s", ratls_reason(p.client));
	pair_close(&p);

	// Without end.
	meet(&p, layered, layered, NULL);
	for (int i = 0; i < 100; i++) {
		inject(p.server, 23, "", 0);
		if (i % 20 == 19)
			says(p.server, p.client, "data");
	}
	ok("record: empty records between data", says(p.server, p.client, "more"), "%s", ratls_reason(p.client));
	for (int i = 0; i < 100; i++)
		inject(p.server, 23, "", 0);
	ok("record: empty records without end", ratls_read(p.client, buf, sizeof buf, 0) == -EPROTO, "%s", ratls_reason(p.client));
	pair_close(&p);

	// One that wants new keys of a peer from whom nothing can leave gets them once.
	meet(&p, layered, layered, NULL);
	memset(buf, 'x', sizeof buf);
	while (!wire_holds(p.client->wire))
		ratls_write(p.client, buf, sizeof buf, 0);
	before = p.client->layer->out.sequence;
	for (int i = 0; i < 1000; i++) {
		layer_new_keys(p.server->layer);
		n = ratls_read(p.client, buf, sizeof buf, 0);
	}
	ok("record: new keys for one from whom nothing leaves", n == -EAGAIN && before && p.client->layer->out.sequence == 0, "%zd %s", n, ratls_reason(p.client));
	for (int i = 0; i < 100000 && (ratls_read(p.server, buf, sizeof buf, 0) > 0 || wire_holds(p.client->wire)); i++)
		ratls_write(p.client, "", 0, 0);
	ok("record: and when it leaves again", says(p.client, p.server, "x") && says(p.server, p.client, "y"), "%s", ratls_reason(p.server));
	pair_close(&p);
}

// Before a key has sealed as much as it may there is another; both ends agree on it.
static void test_renewal(void)
{
	struct pair p;
	meet(&p, layered, layered, NULL);
	p.client->layer->out.sequence = p.server->layer->in.sequence = RECORD_UPDATE_AT - 2;
	bool passed = true;
	for (int i = 0; i < 8; i++)
		passed &= says(p.client, p.server, "each a record");
	ok("record: keys that were used for long", passed && p.client->layer->out.sequence < 8 && p.server->layer->in.sequence == p.client->layer->out.sequence, "%llu",
	   (unsigned long long)p.client->layer->out.sequence);
	pair_close(&p);
}

// A client with room for no more than 512 bytes of a record, which OpenSSL may be told of: no longer one reaches it.
static void test_short_records(void)
{
	static uint8_t text[20000], got[sizeof text];
	struct pair p;
	size_t come = 0, sent = 0;
	ssize_t n = 1;
	memset(text, 's', sizeof text);
	pair_open(&p, raw, layered);
	if (SSL_set_tlsext_max_fragment_length(p.client->ssl, TLSEXT_max_fragment_length_512) != 1)
		abort();
	pair_meet(&p, NULL, NULL);
	for (unsigned int turn = 0; turn < 10000 && come < sizeof text && (n > 0 || n == -EAGAIN); turn++) {
		n = sent < sizeof text ? ratls_write(p.server, text + sent, sizeof text - sent, 0) : -EAGAIN;
		sent += n > 0 ? (size_t)n : 0;
		n = ratls_read(p.client, got + come, sizeof got - come, 0);
		come += n > 0 ? (size_t)n : 0;
	}
	ok("record: a client that takes short ones", come == sizeof text && !memcmp(text, got, come), "%zu, %s", come, ratls_reason(p.client));
	pair_close(&p);
}

int main(void)
{
	if (!world_begin())
		return 1;
	for (unsigned int i = 0; i < 3; i++) {
		test_sizes(i);
		test_changed(i);
	}
	test_limits();
	struct ratls_options o = options_of(&good, &good);
	layered = context_of(&o);
	raw = context_of(&o);
	raw->openssl_records = true;
	test_peers();
	test_malformed();
	test_unsealed();
	test_messages();
	test_renewal();
	test_short_records();
	ratls_context_free(layered);
	ratls_context_free(raw);
	return world_end();
}
