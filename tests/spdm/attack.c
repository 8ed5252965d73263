// SPDX-License-Identifier: Apache-2.0
// SPDM with somebody in between, who changes, swaps, repeats, drops and keeps what passes; and with a responder that lies. Nothing of it may end in a
// session.
#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ratls/certificate.h"
#include "spdm/requester_state.h"
#include "spdm/responder_state.h"
#include "tests/spdm/talk.h"

#define HEAD SPDM_FRAME_HEAD

// One bit of one frame, by the frame's number in the conversation and the bit's place.
struct flip {
	unsigned int frame, seen;
	size_t byte, len;	// len: of that frame, once it has passed
	uint8_t mask;
};

static int flip_bit(struct talk *t, bool up, uint8_t *frame, size_t *len, void *ctx)
{
	struct flip *x = ctx;
	(void)t, (void)up;
	if (x->seen++ == x->frame) {
		x->len = *len;
		if (x->byte < *len)
			frame[x->byte] ^= x->mask;
	}
	return 0;
}

// Every frame of a conversation up to the open session: each byte of short ones, some of long ones. The frame's own length is left alone.
static void test_every_bit(void)
{
	const struct talk_options o = {.requester = {.hash = HASH_SHA256, .dhe = DHE_P256}};
	unsigned int tried = 0, bad = 0, frames = 0;
	struct talk t;
	talk_open(&t, &o);
	talk_start(&t);
	frames = t.frames;
	ok("a conversation", requester_open(t.requester) && frames > 18, "%u frames", frames);
	talk_close(&t);
	for (unsigned int i = 0; i < frames; i++) {
		struct flip x = {.frame = i, .byte = 2, .len = 3, .mask = 1};
		for (; x.byte < x.len; x.byte += 1 + x.len / 24) {
			x.mask = (uint8_t)(1u << tried % 8);
			x.seen = 0;
			talk_open(&t, &o);
			t.meddle = flip_bit;
			t.ctx = &x;
			talk_start(&t);
			tried++;
			if (requester_open(t.requester)) {
				printf("frame %u byte %zu of %zu, bit 0x%02x: nobody saw it\n", i, x.byte, x.len, x.mask);
				bad++;
			}
			talk_close(&t);
		}
	}
	ok("no bit of it can be changed", !bad && tried > 300, "%u of %u", bad, tried);
}

// ---- somebody in between who means something by it ----

struct change {
	bool up;
	uint8_t code;			// of the message in the clear
	void (*edit)(uint8_t *message, size_t *len);
	unsigned int done;
};

static int edit_message(struct talk *t, bool up, uint8_t *frame, size_t *len, void *ctx)
{
	struct change *x = ctx;
	(void)t;
	if (up != x->up || frame[3] != SPDM_CLEAR || frame[HEAD + 1] != x->code)
		return 0;
	size_t n = *len - HEAD;
	x->edit(frame + HEAD, &n);
	x->done++;
	*len = n + HEAD;
	spdm_frame_head(frame, SPDM_CLEAR, n);
	return 0;
}

static X509 *other_cert;	// of a key that the one in between has

static void drop_sha384(uint8_t *m, size_t *len)
{
	(void)len;
	m[12] &= (uint8_t)~HASH_SHA384;
}

static void choose_sha256(uint8_t *m, size_t *len)
{
	(void)len;
	m[16] = HASH_SHA256;
}

static void weaker_dhe(uint8_t *m, size_t *len)
{
	(void)len;
	m[34] &= (uint8_t)~DHE_P384;
}

static void version_1_1(uint8_t *m, size_t *len)
{
	(void)len;
	m[7] = 0x11;
}

static void no_sessions(uint8_t *m, size_t *len)
{
	(void)len;
	m[9] &= (uint8_t)~(CAP_KEY_EX >> 8);
}

static void no_encryption(uint8_t *m, size_t *len)
{
	(void)len;
	m[8] &= (uint8_t)~CAP_ENCRYPT;
}

static void wrong_nonce(uint8_t *m, size_t *len)
{
	(void)len;
	m[4] ^= 1;
}

static void other_chain(struct buffer *b)
{
	struct suite s;
	struct fault f;
	suite_set(&s, ASYM_P256, HASH_SHA384, 0, 0);
	if (chain_write(b, &s, other_cert, &f))
		abort();
}

static void swap_digest(uint8_t *m, size_t *len)
{
	struct buffer b = {.bytes = NULL};
	other_chain(&b);
	EVP_Digest(b.bytes, b.len, m + 4, NULL, EVP_sha384(), NULL);
	buffer_free(&b);
	(void)len;
}

static void swap_certificate(uint8_t *m, size_t *len)
{
	struct buffer b = {.bytes = NULL};
	other_chain(&b);
	m[4] = (uint8_t)b.len;
	m[5] = (uint8_t)(b.len >> 8);
	m[6] = m[7] = 0;
	memcpy(m + 8, b.bytes, b.len);
	*len = 8 + b.len;
	buffer_free(&b);
}

static void alter_record(uint8_t *m, size_t *len)
{
	(void)len;
	m[8 + 7] ^= 1;		// the first block's value
}

static void own_point(uint8_t *m, size_t *len)
{
	struct suite s;
	(void)len;
	suite_set(&s, ASYM_P256, HASH_SHA384, DHE_P384, AEAD_AES256GCM);
	EVP_PKEY_free(suite_dhe_make(&s, m + 40));
}

static void no_point(uint8_t *m, size_t *len)
{
	(void)len;
	memset(m + 40, 0x55, 96);
}

static int swap_both(struct talk *t, bool up, uint8_t *frame, size_t *len, void *ctx)
{
	struct change digest = {.code = SPDM_DIGESTS, .edit = swap_digest}, cert = {.code = SPDM_CERTIFICATE, .edit = swap_certificate};
	struct change auth = {.code = SPDM_CHALLENGE_AUTH, .edit = swap_digest}, *x = ctx;
	edit_message(t, up, frame, len, &digest);
	edit_message(t, up, frame, len, &cert);
	edit_message(t, up, frame, len, &auth);
	x->done += cert.done;
	return 0;
}

static void meddled(const char *name, struct change x, int (*meddle)(struct talk *, bool, uint8_t *, size_t *, void *),
		    enum requester_session session, int error,
		    const char *reason)
{
	struct talk t;
	talk_open(&t, &(struct talk_options){.requester = {.session = session}});
	t.meddle = meddle ? meddle : edit_message;
	t.ctx = &x;
	talk_start(&t);
	ok(name, x.done && t.down_error == error && strstr(t.down_fault.text, reason) && !requester_open(t.requester) &&
	   !requester_ended(t.requester) &&
	   !responder_open(t.responder), "%u %d %s", x.done, t.down_error, t.down_fault.text);
	talk_close(&t);
}

static void test_between(void)
{
	struct ratls_cert_request q = {.key = EVP_EC_gen("P-256"), .subject = "another", .now = time(NULL), .seconds = 3600};
	if (!q.key || ratls_cert_make_plain(&q, &other_cert, NULL))
		abort();
	EVP_PKEY_free(q.key);
	meddled("an older version", (struct change){false, SPDM_VERSION, version_1_1, 0}, NULL, 0, -EPROTO, "1.2");
	meddled("no sessions, says who is in between", (struct change){false, SPDM_CAPABILITIES, no_sessions, 0}, NULL, 0, -EPROTO,
		"cannot do what is needed");
	meddled("no encryption, says who is in between", (struct change){true, SPDM_GET_CAPABILITIES, no_encryption, 0}, NULL, 0, -EPROTO,
		"algorithms");
	meddled("weaker hashes offered", (struct change){true, SPDM_NEGOTIATE_ALGORITHMS, drop_sha384, 0}, NULL, 0, -EKEYREJECTED,
		"challenge-signature");
	meddled("a weaker hash chosen", (struct change){false, SPDM_ALGORITHMS, choose_sha256, 0}, NULL, 0, -EPROTO, "DIGESTS");
	meddled("a weaker exchange offered", (struct change){true, SPDM_NEGOTIATE_ALGORITHMS, weaker_dhe, 0}, NULL, 0, -EKEYREJECTED,
		"challenge-signature");
	meddled("another certificate", (struct change){false, SPDM_CERTIFICATE, swap_certificate, 0}, NULL, 0, -EKEYREJECTED, "certificate-digest");
	meddled("another certificate with its digest", (struct change){.code = 0}, swap_both, 0, -EKEYREJECTED, "challenge-signature");
	meddled("another nonce", (struct change){true, SPDM_CHALLENGE, wrong_nonce, 0}, NULL, 0, -EKEYREJECTED, "challenge-signature");
	meddled("altered measurements", (struct change){false, SPDM_MEASUREMENTS, alter_record, 0}, NULL, REQUESTER_NO_SESSION, -EKEYREJECTED,
		"measurements-signature");
	meddled("another nonce of measurements", (struct change){true, SPDM_GET_MEASUREMENTS, wrong_nonce, 0}, NULL, REQUESTER_NO_SESSION,
		-EKEYREJECTED,
		"measurements-signature");
	meddled("a point of who is in between, to the responder", (struct change){true, SPDM_KEY_EXCHANGE, own_point, 0}, NULL, 0, -EKEYREJECTED,
		"key-exchange-signature");
	meddled("a point of who is in between, to the requester", (struct change){false, SPDM_KEY_EXCHANGE_RSP, own_point, 0}, NULL, 0, -EKEYREJECTED,
		"key-exchange-signature");
	meddled("no point at all", (struct change){true, SPDM_KEY_EXCHANGE, no_point, 0}, NULL, 0, -EPROTO, "InvalidRequest");
}

// ---- answers that are none ----

static void busy(uint8_t *m, size_t *len)
{
	memcpy(m, "\x12\x7f\3", 4);
	*len = 4;
}

static void other_code(uint8_t *m, size_t *len)
{
	(void)len;
	m[1] = SPDM_CERTIFICATE;
}

static void mutual(uint8_t *m, size_t *len)
{
	(void)len;
	m[6] = 1;
}

static void old_records(uint8_t *m, size_t *len)
{
	(void)len;
	m[40 + 96 + 48 + 2 + 11] = 0x10;	// behind the point, the summary and the opaque data's heads
}

static void long_answer(uint8_t *m, size_t *len)
{
	memcpy(m, "\x12\x7f\x0f\0\x07", 5);
	*len = 5;
}

static void number_on(uint8_t *m, size_t *len)
{
	(void)len;
	m[4] = (uint8_t)(m[4] ? m[4] + 1 : 0);
}

static void other_handle(uint8_t *m, size_t *len)
{
	(void)len;
	m[3]++;
}

static void endless(uint8_t *m, size_t *len)
{
	(void)len;
	if (!m[4])
		memset(m + 12, 0xff, 4);
}

static void last_too_soon(uint8_t *m, size_t *len)
{
	(void)len;
	m[2] = 1;
}

static void empty_piece(uint8_t *m, size_t *len)
{
	memset(m + 8, 0, 4);
	*len = m[4] ? 12 : 16;
}

static void answered(const char *name, uint8_t code, void (*edit)(uint8_t *message, size_t *len), const char *reason)
{
	struct change x = {.code = code, .edit = edit};
	struct talk t;
	talk_open(&t, &(struct talk_options){.requester = {.transfer_size = code == SPDM_CHUNK_RESPONSE ? 200 : 0}});
	t.meddle = edit_message;
	t.ctx = &x;
	talk_start(&t);
	ok(name, x.done && t.down_error == -EPROTO && strstr(t.down_fault.text, reason) && !requester_open(t.requester), "%u %d %s", x.done, t.down_error,
	   t.down_fault.text);
	talk_close(&t);
}

static void test_answers(void)
{
	struct talk t;
	answered("an error", SPDM_DIGESTS, busy, "0x03");
	answered("an answer to something else", SPDM_DIGESTS, other_code, "instead of");
	answered("a certificate is asked for", SPDM_KEY_EXCHANGE_RSP, mutual, "not agreed on");
	answered("records of a version that was not offered", SPDM_KEY_EXCHANGE_RSP, old_records, "not offered");
	answered("a long answer that there is not", SPDM_DIGESTS, long_answer, "no piece");
	answered("a long answer within a long answer", SPDM_CHUNK_RESPONSE, long_answer, "no piece");
	answered("a piece left out", SPDM_CHUNK_RESPONSE, number_on, "do not fit");
	answered("a piece of another answer", SPDM_CHUNK_RESPONSE, other_handle, "do not fit");
	answered("an answer without end", SPDM_CHUNK_RESPONSE, endless, "do not fit");
	answered("a last piece too soon", SPDM_CHUNK_RESPONSE, last_too_soon, "do not fit");
	answered("a piece of nothing", SPDM_CHUNK_RESPONSE, empty_piece, "do not fit");
	talk_open(&t, &(struct talk_options){.heartbeat_s = 0});
	talk_start(&t);
	spdm_frame_write(&t.down, SPDM_CLEAR, "\x12\x68\0\0", 4);
	talk_run(&t);
	ok("an answer that nobody asked for", t.down_error == -EPROTO, "%d", t.down_error);
	talk_close(&t);
}

// The whole of one conversation's answers, played to another requester.
static struct buffer recorded;

static int record(struct talk *t, bool up, uint8_t *frame, size_t *len, void *ctx)
{
	(void)t, (void)ctx;
	if (!up)
		buffer_put(&recorded, frame, *len);
	return 0;
}

static int play(struct talk *t, bool up, uint8_t *frame, size_t *len, void *ctx)
{
	size_t *at = ctx;
	(void)t;
	if (up || *at + 2 > recorded.len)
		return 0;
	size_t n = 2 + (recorded.bytes[*at] | (size_t)recorded.bytes[*at + 1] << 8);
	memcpy(frame, recorded.bytes + *at, n);
	*at += n;
	*len = n;
	return 0;
}

static void test_replay(void)
{
	const struct talk_options o = {.heartbeat_s = 0};
	struct talk t;
	size_t at = 0;
	talk_open(&t, &o);
	t.meddle = record;
	talk_start(&t);
	talk_close(&t);
	talk_open(&t, &o);
	t.meddle = play;
	t.ctx = &at;
	talk_start(&t);
	ok("a conversation played again", t.down_error == -EKEYREJECTED && strstr(t.down_fault.text, "challenge-signature"), "%d %s", t.down_error,
	   t.down_fault.text);
	talk_close(&t);
	buffer_free(&recorded);
}

// ---- records ----

static int hold(struct talk *t, bool up, uint8_t *frame, size_t *len, void *ctx)
{
	(void)t, (void)frame, (void)len;
	return up == *(bool *)ctx ? -1 : 0;
}

static void talk_to_open(struct talk *t)
{
	talk_open(t, &(struct talk_options){.heartbeat_s = 0});
	talk_start(t);
	if (!requester_open(t->requester))
		printf("not open: %s\n", t->down_fault.text);
}

static void test_records(void)
{
	struct talk t, u;
	struct buffer kept = {.bytes = NULL};
	bool up = true;
	talk_to_open(&t);
	requester_send(t.requester, "once", 4, false, &t.up);
	buffer_put(&kept, t.up.bytes, t.up.len);
	buffer_put(&t.up, kept.bytes, kept.len);
	talk_run(&t);
	ok("a record twice", t.up_error == -EBADMSG && t.got_up_len == 4 && !responder_open(t.responder), "%d %zu", t.up_error, t.got_up_len);
	ok("and the requester is told", t.down_error == -EPROTO, "%d %s", t.down_error, t.down_fault.text);
	talk_close(&t);

	talk_to_open(&t);
	t.meddle = hold;
	t.ctx = &up;
	requester_send(t.requester, "lost", 4, false, &t.up);
	talk_run(&t);
	t.meddle = NULL;
	requester_send(t.requester, "next", 4, false, &t.up);
	talk_run(&t);
	ok("a record left out", t.up_error == -EBADMSG && !t.got_up_len, "%d", t.up_error);
	talk_close(&t);

	talk_to_open(&t);
	responder_send(t.responder, "back", 4, false, &t.down);
	buffer_put(&t.up, t.down.bytes, t.down.len);
	buffer_clear(&t.down);
	talk_run(&t);
	ok("a record sent back", t.up_error == -EBADMSG && !t.got_up_len, "%d", t.up_error);
	talk_close(&t);

	talk_to_open(&t);
	talk_to_open(&u);
	u.responder->session.id = t.responder->session.id;	// even then
	u.requester->session.id = t.requester->session.id;
	requester_send(t.requester, "other", 5, false, &u.up);
	talk_run(&u);
	ok("a record of another session", u.up_error == -EBADMSG && !u.got_up_len, "%d", u.up_error);
	talk_close(&t);
	talk_close(&u);

	talk_to_open(&t);
	t.responder->session.state = SESSION_NONE;	// an end outside of the session, of data alone, is no end
	t.meddle = NULL;
	spdm_frame_write(&t.down, SPDM_CLEAR, "\x12\x6c\x00\x00", 4);
	requester_end(t.requester, &t.up);
	buffer_clear(&t.up);
	talk_run(&t);
	ok("an answer in the clear within a session", t.down_error == -EPROTO && !requester_ended(t.requester), "%d", t.down_error);
	talk_close(&t);
	buffer_free(&kept);

	talk_to_open(&t);
	t.requester->session.keys.request.sequence = t.responder->session.keys.request.sequence = SESSION_MAX_RECORDS - 1;
	int err = requester_send(t.requester, "last", 4, false, &t.up);
	talk_run(&t);
	ok("the last record of a key", !err && t.got_up_len == 4 && !t.up_error, "%d", err);
	err = requester_send(t.requester, "more", 4, false, &t.up);
	ok("a key that is used up", err == -EOVERFLOW && !t.up.len, "%d", err);
	talk_close(&t);
}

// What must not be taken for data.
static void test_early_data(void)
{
	struct talk t;
	talk_open(&t, &(struct talk_options){.heartbeat_s = 0});
	talk_start(&t);
	t.requester->step = STEP_EVIDENCE;
	responder_send(t.responder, "early", 5, false, &t.down);
	talk_run(&t);
	ok("data before all is proved", t.down_error == -EPROTO && !t.got_down_len, "%d", t.down_error);
	talk_close(&t);
}

static bool gives_evidence(struct talk *t)
{
	const struct spdm_get_measurements g = {.attributes = ATTRIBUTE_SIGNATURE | ATTRIBUTE_RAW, .operation = INDEX_EVIDENCE,
						.nonce = t->requester->nonce};
	t->requester->step = STEP_EVIDENCE;
	t->requester->proved = false;
	get_measurements_write(requester_request(t->requester), &g);
	requester_ask(t->requester, &t->up);
	talk_run(t);
	return t->requester->proved;
}

// Anybody may make a session; hardware that is asked without end serves nobody else.
static void test_evidence_without_end(void)
{
	unsigned int given = 0;
	struct talk t;
	talk_open(&t, &(struct talk_options){.requester = {.session = REQUESTER_EVIDENCE_WANTED}});
	talk_start(&t);
	bool first = t.requester->proved;
	for (int i = 0; i < 20; i++)
		given += gives_evidence(&t);
	ok("evidence without end", first && given == 8 && strstr(responder_refusal(t.responder), "again and again"), "%u", given);
	t.now_ms += 1000;
	ok("evidence a second later", gives_evidence(&t) && !gives_evidence(&t), "%s", t.down_fault.text);
	talk_close(&t);
}

// Nor is anything gained by one connection after the other.
static void test_evidence_of_all(void)
{
	_Atomic int64_t all = 0;
	unsigned int given = 0;
	struct talk t;
	for (int i = 0; i < 6; i++) {
		talk_open(&t, &(struct talk_options){.requester = {.session = REQUESTER_EVIDENCE_WANTED}});
		responder_share_evidence(t.responder, &all);
		talk_start(&t);
		given += t.requester->proved;
		for (int k = 0; k < 8; k++)
			given += gives_evidence(&t);
		if (i < 5)
			talk_close(&t);
	}
	ok("evidence in many connections", given == 40 && strstr(responder_refusal(t.responder), "too many at once"), "%u %s", given,
	   responder_refusal(t.responder));
	t.now_ms += 1000;
	ok("evidence for others, a second later", gives_evidence(&t), "%s", t.down_fault.text);
	talk_close(&t);
}

// Another transcript at the responder's: its requester's FINISH does not fit.
static int confuse(struct talk *t, bool up, uint8_t *frame, size_t *len, void *ctx)
{
	(void)len;
	unsigned int *done = ctx;
	if (up && frame[3] == SPDM_SECURED && !*done) {
		transcript_add(&t->responder->session.th, "x", 1);
		++*done;
	}
	return 0;
}

static void test_finish(void)
{
	unsigned int done = 0;
	struct talk t;
	talk_open(&t, &(struct talk_options){.heartbeat_s = 0});
	t.meddle = confuse;
	t.ctx = &done;
	talk_start(&t);
	ok("FINISH of another conversation", done && t.down_error == -EPROTO && strstr(t.down_fault.text, "DecryptError") &&
	   !responder_open(t.responder) &&
	   t.responder->session.state == SESSION_NONE, "%d %s", t.down_error, t.down_fault.text);
	talk_close(&t);
}

// ---- a responder that lies ----

struct liar {
	struct self *self;
	bool other_session, other_nonce, nothing;
};

static int lie(void *ctx, const uint8_t nonce[32], const uint8_t exporter[32], uint8_t **content, size_t *len, struct fault *f)
{
	const struct liar *l = ctx;
	uint8_t n[32], e[32];
	memcpy(n, nonce, 32);
	memcpy(e, exporter, 32);
	e[0] ^= l->other_session;
	n[0] ^= l->other_nonce;
	if (l->nothing) {
		*len = 5;
		return (*content = calloc(1, 5)) ? 0 : -ENOMEM;
	}
	return self_prove(l->self, n, e, content, len, f);
}

static void lied(const char *name, struct self *self, struct liar l, void (*edit)(struct measured *), const char *reason)
{
	struct responder_options o = {.prove = lie, .ctx = &l};
	struct measured m;
	struct fault f = {""};
	struct talk t;
	l.self = self;
	talk_open(&t, &(struct talk_options){.heartbeat_s = 0});
	responder_free(t.responder);
	X509 *cert;
	EVP_PKEY *key;
	if (self_certificate(self, &cert, &key, &f) || trust_measured(cert, &m, &f))
		abort();
	if (edit)
		edit(&m);
	o.cert = cert;
	o.key = key;
	o.measured = &m;
	if (responder_new(&t.responder, &o, &f))
		abort();
	X509_free(cert);
	EVP_PKEY_free(key);
	talk_start(&t);
	if (*reason)
		ok(name, t.down_error == -EKEYREJECTED && strstr(t.down_fault.text, reason) && !requester_open(t.requester), "%d %s", t.down_error,
		   t.down_fault.text);
	else
		ok(name, requester_open(t.requester), "%d %s", t.down_error, t.down_fault.text);
	talk_close(&t);
}

static void other_value(struct measured *m)
{
	m->registers[0].value[0] ^= 1;
}

static void one_more(struct measured *m)
{
	m->registers[m->count] = (struct register_value){.index = 9, .type = 3, .claim = "sgx.config_id", .len = 8};
	m->count++;
}

static void one_less(struct measured *m)
{
	m->count--;
}

static void not_debugged(struct measured *m)
{
	m->debug = !m->debug;
}

static void test_liars(void)
{
	struct ratls_options o = options_of(&good, NULL);
	struct self *self;
	struct fault f;
	if (self_open(&self, &o, &f))
		abort();
	lied("who does not lie", self, (struct liar){.self = NULL}, NULL, "");
	lied("evidence of another session", self, (struct liar){.other_session = true}, NULL, "tls-session");
	lied("evidence for another nonce", self, (struct liar){.other_nonce = true}, NULL, "nonce");
	lied("no evidence where it should be", self, (struct liar){.nothing = true}, NULL, "session-evidence");
	lied("another value of a register", self, (struct liar){.self = NULL}, other_value, "challenge-summary");
	lied("a register that the evidence has not", self, (struct liar){.self = NULL}, one_more, "challenge-summary");
	lied("a register less", self, (struct liar){.self = NULL}, one_less, "challenge-summary");
	lied("another mode", self, (struct liar){.self = NULL}, not_debugged, "challenge-summary");
	self_close(self);
}

int main(void)
{
	if (!talk_begin())
		return 1;
	test_between();
	test_answers();
	test_replay();
	test_records();
	test_early_data();
	test_finish();
	test_evidence_without_end();
	test_evidence_of_all();
	test_liars();
	test_every_bit();
	X509_free(other_cert);
	return world_end();
}
