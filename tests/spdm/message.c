// SPDX-License-Identifier: Apache-2.0
// SPDM's messages one by one: what a responder refuses and with which error, in which order it answers; every message cut short; keys and records
// against values of others.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"
#include "spdm/chain.h"
#include "spdm/message.h"
#include "spdm/responder_state.h"
#include "tests/spdm/talk.h"

static uint8_t answer[65536];

// Sends hex; what comes back begins with these bytes.
static void answers(struct talk *t, const char *name, const char *hex, const char *begins)
{
	uint8_t message[512], wanted[16];
	char got[65];
	size_t len = strlen(hex) / 2, n = strlen(begins) / 2;
	if (len > sizeof message || n > sizeof wanted || hex_decode(message, len, hex) || hex_decode(wanted, n, begins))
		abort();
	ssize_t got_len = talk_ask(t, message, len, answer, sizeof answer);
	hex_encode(got, answer, got_len < 0 ? 0 : got_len < 32 ? (size_t)got_len : 32);
	ok(name, got_len >= (ssize_t)n && !memcmp(answer, wanted, n) && !t->up_error, "%s, not %s", got, begins);
}

#define VERSION "10840000"
#define CAPABILITIES "12e1000000000000c6620200" "00fe000000fe0000"
#define CAPABILITIES_ALL "12e1000000000000c66202000010000000200000"
// Signatures on P-256 and P-384, SHA-256 and SHA-384, ECDHE on both, AES-256-GCM, SPDM's key schedule.
#define ALGORITHMS "12e303002c000102900000000300000000000000000000000000000000000000" "022018000320020005200100"
#define NONCE "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"

static void agree(struct talk *t)
{
	talk_open(t, &(struct talk_options){.heartbeat_s = 5});
	answers(t, "GET_VERSION", VERSION, "10040000" "0001" "0012");
	answers(t, "GET_CAPABILITIES", CAPABILITIES_ALL, "12610000" "00140000" "d6620200");
	answers(t, "NEGOTIATE_ALGORITHMS", ALGORITHMS, "12630300" "3000" "0102" "04000000" "10000000");
}

static void test_order(void)
{
	struct talk t;
	talk_open(&t, &(struct talk_options){.heartbeat_s = 5});
	answers(&t, "capabilities before the version", CAPABILITIES_ALL, "107f0400");
	answers(&t, "a version of another version", "12840000", "107f4100");
	answers(&t, "three bytes", "108400", "107f0100");
	answers(&t, "nothing", "", "107f0100");
	answers(&t, "the version", VERSION, "1004");
	answers(&t, "algorithms before capabilities", ALGORITHMS, "127f0400");
	answers(&t, "certificates before algorithms", "12810000", "127f0400");
	answers(&t, "capabilities of version 1.1", "11e1000000000000c6620200", "127f4100");
	answers(&t, "capabilities", CAPABILITIES_ALL, "1261");
	answers(&t, "capabilities again", CAPABILITIES_ALL, "127f0400");
	answers(&t, "algorithms", ALGORITHMS, "1263");
	answers(&t, "algorithms again", ALGORITHMS, "127f0400");
	answers(&t, "a request that is not known", "12ed0000", "127f07ed");
	answers(&t, "an answer as a request", "12010000", "127f0701");
	answers(&t, "PSK_EXCHANGE", "12e60000", "127f07e6");
	answers(&t, "FINISH without a session", "12e50000", "127f0b00");
	answers(&t, "HEARTBEAT without a session", "12e80000", "127f0b00");
	answers(&t, "END_SESSION without a session", "12ec0000", "127f0b00");
	answers(&t, "a piece of nothing", "128600010000", "127f0400");
	answers(&t, "certificates", "12810000", "12010001");
	answers(&t, "the version again", VERSION, "1004");
	answers(&t, "and all is forgotten", "12810000", "127f0400");
	talk_close(&t);
}

static void test_wrong(void)
{
	struct talk t;
	agree(&t);
	answers(&t, "GET_DIGESTS with more", "1281000000", "127f0100");
	answers(&t, "certificates of slot 1", "128201000000ffff", "127f0100");
	answers(&t, "certificates behind the end", "12820000ffffff00", "127f0100");
	answers(&t, "none of the certificates", "1282000000000000", "127f0100");
	answers(&t, "a challenge for slot 1", "12830100" NONCE, "127f0100");
	answers(&t, "a challenge for slot 255", "1283ff00" NONCE, "127f0100");
	answers(&t, "a summary that is not known", "12830002" NONCE, "127f0100");
	answers(&t, "a challenge", "12830000" NONCE, "12030001");
	answers(&t, "how many measurements", "12e00000", "12600400" "00000000");
	answers(&t, "one measurement", "12e00001", "12600000" "01370000" "0101" "3300" "01" "3000");
	answers(&t, "one measurement, raw", "12e00201", "12600000" "01370000" "0101" "3300" "81" "3000");
	answers(&t, "the mode", "12e000fe", "12600000" "01170000" "fe01" "1300" "85" "1000");
	answers(&t, "no such measurement", "12e00063", "127f0100");
	answers(&t, "new evidence outside of a session", "12e001ef" NONCE "00", "127f0100");
	answers(&t, "attributes that are not known", "12e004ff", "127f0100");
	answers(&t, "measurements of slot 2", "12e001ff" NONCE "02", "127f0100");
	answers(&t, "a nonce without a signature", "12e000ff" NONCE "00", "127f0100");
	talk_close(&t);
	talk_open(&t, &(struct talk_options){.heartbeat_s = 5});
	answers(&t, "the version", VERSION, "1004");
	answers(&t, "messages that are too short", "12e1000000000000c662000029000000" "29000000", "127f0100");
	answers(&t, "messages longer than what is taken at once, without pieces", "12e1000000000000c662000000100000" "00200000", "127f0100");
	answers(&t, "capabilities of 12 bytes", "12e1000000000000c6620200", "127f0100");
	answers(&t, "capabilities", CAPABILITIES_ALL, "1261");
	answers(&t, "no algorithm in common", "12e3000020000102000100000300000000000000000000000000000000000000", "127f0100");
	answers(&t, "no hash in common", "12e3000020000102900000000400000000000000000000000000000000000000", "127f0100");
	answers(&t, "a length that is not theirs", "12e3000024000102900000000300000000000000000000000000000000000000", "127f0100");
	answers(&t, "lists in the wrong order", "12e3020028000102900000000300000000000000000000000000000000000000" "0320020002201800", "127f0100");
	answers(&t, "a list twice", "12e3020028000102900000000300000000000000000000000000000000000000" "0220180002201800", "127f0100");
	answers(&t, "a list that is not known", "12e3010024000102900000000300000000000000000000000000000000000000" "06201800", "127f0100");
	answers(&t, "a list of another width", "12e3010024000102900000000300000000000000000000000000000000000000" "02301800", "127f0100");
	answers(&t, "more lists than there are", "12e3ff0024000102900000000300000000000000000000000000000000000000" "02201800", "127f0100");
	answers(&t, "algorithms of others, which do not fit", "12e3000020000102900000000300000000000000000000000000000000ffff0000", "127f0100");
	answers(&t, "no session's algorithms", "12e3000020000102900000000300000000000000000000000000000000000000", "12630000");
	answers(&t, "KEY_EXCHANGE without them", "12e4000001000000" NONCE "0000", "127f0400");
	talk_close(&t);
}

static void exchange(struct talk *t, const char *name, uint8_t slot, uint8_t summary, const uint8_t *opaque, size_t opaque_len, bool point,
		     const char *begins)
{
	struct suite s;
	struct buffer b = {.bytes = NULL};
	uint8_t random[SPDM_RANDOM] = {1}, xy[SUITE_MAX_POINT];
	char *hex;
	suite_set(&s, ASYM_P256, HASH_SHA384, DHE_P384, AEAD_AES256GCM);
	EVP_PKEY_free(suite_dhe_make(&s, xy));
	xy[0] ^= !point;
	const struct spdm_key_exchange k = {.summary_type = summary, .slot = slot, .session_id = 7, .random = random, .exchange = xy,
					    .opaque = opaque,
					    .opaque_len = (uint16_t)opaque_len};
	key_exchange_write(&b, &s, &k);
	hex = malloc(2 * b.len + 1);
	answers(t, name, hex_encode(hex, b.bytes, b.len), begins);
	free(hex);
	buffer_free(&b);
}

static void test_exchange(void)
{
	static const uint8_t none[4];
	static const uint8_t old[] = {1, 0, 0, 0, 0, 0, 5, 0, 1, 1, 1, 0, 0x10, 0, 0, 0};
	static const uint8_t twice[] = {2, 0, 0, 0, 0, 0, 5, 0, 1, 1, 1, 0, 0x11, 0, 0, 0, 0, 0, 5, 0, 1, 1, 1, 0, 0x12, 0, 0, 0};
	static const uint8_t cut[] = {1, 0, 0, 0, 0, 0, 9, 0, 1, 1, 1, 0, 0x11, 0, 0, 0};
	static const uint8_t more[] = {1, 0, 0, 0, 0, 0, 5, 0, 1, 1, 9, 0, 0x11, 0, 0, 0};
	static const uint8_t beside[] = {2, 0, 0, 0, 3, 2, 1, 2, 3, 0, 9, 9, 9, 0, 0, 0, 0, 0, 5, 0, 1, 1, 1, 0, 0x11, 0, 0, 0};
	struct buffer good_offer = {.bytes = NULL};
	struct talk t;
	opaque_offer_write(&good_offer);
	agree(&t);
	exchange(&t, "a session for slot 1", 1, 0, good_offer.bytes, good_offer.len, true, "127f0100");
	exchange(&t, "a session with a summary that is not known", 0, 9, good_offer.bytes, good_offer.len, true, "127f0100");
	exchange(&t, "a session without opaque data", 0, 0, none, 0, true, "127f0100");
	exchange(&t, "opaque data without elements", 0, 0, none, 4, true, "127f0100");
	exchange(&t, "secured messages of 1.0 alone", 0, 0, old, sizeof old, true, "127f0100");
	exchange(&t, "versions named twice", 0, 0, twice, sizeof twice, true, "127f0100");
	exchange(&t, "an element that is cut short", 0, 0, cut, sizeof cut, true, "127f0100");
	exchange(&t, "more versions than there are", 0, 0, more, sizeof more, true, "127f0100");
	exchange(&t, "a point that is not on the curve", 0, 0, good_offer.bytes, good_offer.len, false, "127f0100");
	exchange(&t, "a session, with another's element beside", 0, 0, beside, sizeof beside, true, "12640500");
	exchange(&t, "a second one before FINISH", 0, 0, good_offer.bytes, good_offer.len, true, "127f0400");
	answers(&t, "certificates before FINISH", "12810000", "127f0400");
	answers(&t, "the version ends it", VERSION, "1004");
	talk_close(&t);
	talk_open(&t, &(struct talk_options){.heartbeat_s = 5});
	talk_start(&t);
	// Beside an open session the rest can be asked for, but for another one.
	answers(&t, "certificates beside a session", "12810000", "12010001");
	exchange(&t, "a second session", 0, 0, good_offer.bytes, good_offer.len, true, "127f0a00");
	ok("and the first one is still there", responder_open(t.responder), "gone");
	answers(&t, "the version ends an open one", VERSION, "1004");
	ok("it is gone", !responder_open(t.responder), "still there");
	talk_close(&t);
	buffer_free(&good_offer);
}

// A record in a session that is not a message, in the hands of the session's own key.
static void sealed(const char *name, uint8_t type, const void *bytes, size_t len, const char *begins)
{
	struct talk t;
	struct fault f;
	struct spdm_frame head;
	struct spdm_event e;
	enum spdm_frame_type got;
	uint8_t *text, wanted[4];
	size_t text_len;
	struct buffer frame = {.bytes = NULL}, out = {.bytes = NULL};
	talk_open(&t, &(struct talk_options){.heartbeat_s = 5});
	talk_start(&t);
	// The keys of the requester's side, as its own.
	struct session s = {.state = SESSION_OPEN, .requester = true, .id = t.responder->session.id, .keys = t.responder->session.keys};
	if (secured_seal(&s, type, bytes, len, &frame) || spdm_frame_read(frame.bytes, &head, &f) || hex_decode(wanted, 4, begins))
		abort();
	int err = responder_input(t.responder, &head, frame.bytes + SPDM_FRAME_HEAD, 1, &out, &e, &f);
	bool said = out.len > SPDM_FRAME_HEAD &&
		    !secured_unseal(&s, out.bytes + SPDM_FRAME_HEAD, out.len - SPDM_FRAME_HEAD, &got, &text, &text_len, &f) && text_len >= 4;
	ok(name, said && !memcmp(text, wanted, 4), "%d, %zu bytes", err, out.len);
	buffer_free(&frame);
	buffer_free(&out);
	talk_close(&t);
}

static void test_sealed(void)
{
	sealed("in a session: GET_VERSION", SPDM_CLEAR, "\x10\x84\0\0", 4, "127f0400");
	sealed("in a session: CHALLENGE", SPDM_CLEAR, "\x12\x83\0\0", 4, "127f0400");
	sealed("in a session: FINISH", SPDM_CLEAR, "\x12\xe5\0\0", 4, "127f0400");
	sealed("in a session: what is not known", SPDM_CLEAR, "\x12\x99\0\0", 4, "127f0799");
	sealed("in a session: an empty message", SPDM_CLEAR, "", 0, "127f0100");
	sealed("in a session: HEARTBEAT with more", SPDM_CLEAR, "\x12\xe8\0\0x", 5, "127f0100");
	sealed("in a session: HEARTBEAT", SPDM_CLEAR, "\x12\xe8\0\0", 4, "12680000");
	sealed("in a session: digests", SPDM_CLEAR, "\x12\x81\0\0", 4, "12010001");
	sealed("in a session: VerifyNewKey out of order", SPDM_CLEAR, "\x12\xe9\3\0", 4, "127f0400");
	sealed("in a session: KEY_UPDATE of another kind", SPDM_CLEAR, "\x12\xe9\4\0", 4, "127f0100");
	sealed("in a session: KEY_UPDATE of one key", SPDM_CLEAR, "\x12\xe9\1\7", 4, "12690107");
	sealed("in a session: new evidence without a nonce", SPDM_CLEAR, "\x12\xe0\0\xef", 4, "127f0100");
	sealed("in a session: END_SESSION", SPDM_CLEAR, "\x12\xec\0\0", 4, "126c0000");
}

// ---- every message, cut short or with a byte more ----

static int nothing(const uint8_t *bytes, size_t len, const struct suite *s, struct fault *f)
{
	(void)bytes, (void)len, (void)s, (void)f;
	return 0;
}

#define READER(name, type, call) \
	static int name(const uint8_t *b, size_t len, const struct suite *s, struct fault *f) \
	{ \
		type v; \
		(void)s; \
		return call; \
	}
READER(r_version, bool, version_read(b, len, SPDM_1_2, &v, f))
READER(r_capabilities, struct spdm_capabilities, capabilities_read(b, len, &v, f))
READER(r_algorithms, struct spdm_algorithms, algorithms_read(b, len, true, &v, f))
READER(r_digests, const uint8_t *, digests_read(b, len, s, &v, f))
READER(r_certificate, struct spdm_portion, certificate_read(b, len, &v, f))
READER(r_challenge, struct spdm_challenge, challenge_auth_read(b, len, s, SUMMARY_ALL, &v, f))
READER(r_exchange, struct spdm_key_exchange, key_exchange_rsp_read(b, len, s, SUMMARY_ALL, &v, f))
READER(r_finish, const uint8_t *, finish_read(b, len, s, &v, f))
READER(r_chunk, struct spdm_chunk, chunk_response_read(b, len, &v, f))
static int r_measurements(const uint8_t *b, size_t len, const struct suite *s, struct fault *f)
{
	struct spdm_measurements m;
	int err = spdm_parse_answer(b, len, SPDM_1_2, s->signature_len, &m, f);
	return err ? err : m.trailing ? -EINVAL : 0;
}

static const struct {
	uint8_t code;
	const char *name;
	int (*read)(const uint8_t *bytes, size_t len, const struct suite *s, struct fault *f);
} readers[] = {
	{SPDM_VERSION, "VERSION", r_version}, {SPDM_CAPABILITIES, "CAPABILITIES", r_capabilities}, {SPDM_ALGORITHMS, "ALGORITHMS", r_algorithms},
	{SPDM_DIGESTS, "DIGESTS", r_digests}, {SPDM_CERTIFICATE, "CERTIFICATE", r_certificate}, {SPDM_CHALLENGE_AUTH, "CHALLENGE_AUTH", r_challenge},
	{SPDM_MEASUREMENTS, "MEASUREMENTS", r_measurements}, {SPDM_KEY_EXCHANGE_RSP, "KEY_EXCHANGE_RSP", r_exchange},
	{SPDM_FINISH, "FINISH", r_finish},
	{SPDM_CHUNK_RESPONSE, "CHUNK_RESPONSE", r_chunk}, {0, NULL, nothing},
};

static void cut(uint8_t code, const uint8_t *bytes, size_t len, const struct suite *s)
{
	struct fault f;
	unsigned int taken = 0;
	size_t i = 0;
	while (readers[i].name && readers[i].code != code)
		i++;
	if (!readers[i].name)
		return;
	for (size_t n = SPDM_HEAD; n <= len + 1; n++) {
		uint8_t *copy = calloc(1, n);	// of its own size, for the sanitizer
		memcpy(copy, bytes, n < len ? n : len);
		taken += !readers[i].read(copy, n, s, &f);
		free(copy);
	}
	ok(readers[i].name, taken == 1, "%u lengths of %zu bytes are taken", taken, len);
}

static int cut_frame(struct talk *t, bool up, uint8_t *frame, size_t *len, void *ctx)
{
	struct suite *s = ctx;
	if (!up && t->responder->suite.asym)
		*s = t->responder->suite;
	if (!up && frame[3] == SPDM_CLEAR && *len > SPDM_FRAME_HEAD + SPDM_HEAD)
		cut(frame[SPDM_FRAME_HEAD + 1], frame + SPDM_FRAME_HEAD, *len - SPDM_FRAME_HEAD, s);
	return 0;
}

static void test_cut(void)
{
	struct suite s = {.asym = 0};
	struct talk t;
	talk_open(&t, &(struct talk_options){.requester = {.session = REQUESTER_NO_SESSION}});
	t.meddle = cut_frame;
	t.ctx = &s;
	talk_start(&t);
	talk_close(&t);
	talk_open(&t, &(struct talk_options){.requester = {.transfer_size = 128}});
	t.meddle = cut_frame;
	t.ctx = &s;
	talk_start(&t);
	talk_close(&t);
}

static void test_frames(void)
{
	static const struct {
		const char *name;
		uint8_t head[SPDM_FRAME_HEAD];
		int err;
		size_t len;
	} cases[] = {
		{"a frame", {6, 0, 1, 5}, 0, 4}, {"an empty one", {2, 0, 1, 5}, 0, 0}, {"the longest", {0xff, 0xff, 1, 6}, 0, 65533},
		{"too short", {1, 0, 1, 5}, -EPROTO, 0}, {"none", {0, 0, 1, 5}, -EPROTO, 0}, {"another binding", {6, 0, 2, 5}, -EPROTO, 0},
		{"another type", {6, 0, 1, 7}, -EPROTO, 0}, {"data outside of a record", {6, 0, 1, SPDM_DATA}, -EPROTO, 0},
		{"an inquiry", {2, 0, 1, 0xbf}, 0, 0}, {"an inquiry that counts otherwise", {0, 0, 1, 0xbf}, 0, 0},
		{"an inquiry with more", {6, 0, 1, 0xbf}, -EPROTO, 0},
		{"TLS", {0x16, 3, 1, 2}, -EPROTO, 0},
	};
	struct spdm_frame f = {.len = 0};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		int err = spdm_frame_read(cases[i].head, &f, NULL);
		ok(cases[i].name, err == cases[i].err && (err || f.len == cases[i].len), "%d %zu", err, f.len);
	}
}

// ---- against values of others ----

static bool is(const uint8_t *bytes, size_t len, const char *hex)
{
	char got[2 * 64 + 1];
	return !strcmp(hex_encode(got, bytes, len), hex);
}

// Computed with Python's hmac, from the formulas of the specification.
static void test_schedule(void)
{
	static const struct {
		uint32_t hash;
		uint16_t dhe;
		size_t len;
		const char *finished, *key, *iv, *data_key, *data_iv, *update, *exporter;
	} cases[] = {
		{HASH_SHA256, DHE_P256, 32, "ad99ef6143eff454fc155a2d60afb34a73dcf9f30642c353c27727bf4be31946",
		 "8cc1680b34ee45ccbaa3744d82236a85d10dc6574bf932869c2eaf9a0cacdccd", "bfc157bd1793440980fd8fc0",
		 "f72d711af085ddef6e9534505ead914ffe4885bded7a1a6c3df9b5ce60f56e3b", "f30d7d451d160b034ff45fc3",
		 "0b5b0c97caaf85d1ba6ad46ba33d984404683db7a6cd80855f24a650cc584319",
		 "da0e219473fea95c7d5f0128ab1eafc52b1aaa474ba6a253e315794c32745748"},
		{HASH_SHA384, DHE_P384, 48, "958798ca8d918ccaecf2dabd1eca7433a58987e86fa8b593ae23fdd6045cc1cf236a7f0c4d74aa6c51ab96c24b933a56",
		 "b93acf2b5d93add3743e0f32f95e042523556cdccb8cc8e9c2613a5db5a075c9", "1909c70b077a464ba445f9a3",
		 "47a3926ba745b89224cd3459539900902e82f9b2c0b7f272eb49f00823d99d43", "173676a1c0398a5cee4067f5",
		 "55fc414ac79853340c9ea2c741cd41fea243795a9fbf35271671754d05389e44",
		 "31f8f38c85ce7abfcd2c28225fd05386e8ce7949897e52a016a44e560df509f6c9885c3555b82e1f9530b623396a4010"},
	};
	for (size_t i = 0; i < 2; i++) {
		struct suite s;
		struct keys k;
		uint8_t secret[48], th1[48], th2[48];
		for (size_t n = 0; n < 48; n++)
			secret[n] = (uint8_t)n;
		memset(th1, 0x11, sizeof th1);
		memset(th2, 0x22, sizeof th2);
		suite_set(&s, ASYM_P256, cases[i].hash, cases[i].dhe, AEAD_AES256GCM);
		bool made = keys_handshake(&k, &s, secret, cases[i].len, th1);
		ok("keys of the handshake", made && is(k.request_finished, cases[i].len, cases[i].finished) && is(k.response.key, 32, cases[i].key) &&
		   is(k.response.iv, 12, cases[i].iv), "others");
		made = keys_application(&k, th2);
		ok("keys of the session", made && is(k.request.key, 32, cases[i].data_key) && is(k.response.iv, 12, cases[i].data_iv) &&
		   is(k.exporter, cases[i].len, cases[i].exporter), "others");
		k.request.sequence = 5;
		ok("the next key", keys_update(&k, &k.request) && is(k.request.key, 32, cases[i].update) && !k.request.sequence, "another");
		keys_free(&k);
	}
}

// The records that DMTF's libspdm has in its own tests: with eight bytes of the count.
static void test_record(void)
{
	static const struct {
		uint64_t sequence;
		const char *record;
	} cases[] = {
		{0, "33221100" "0000000000000000" "2200" "9bfed3b7043d3286603d861733d67f959a20" "3d4fac58cb706cf5a0270af673f0fe36"},
		{0xaa55aa55aa55aa55, "33221100" "55aa55aa55aa55aa" "2200" "0dea75eac691374994975263f8c08f6c1aa4" "0dcdb48ad6fa240479d5d8d2fe281914"},
	};
	struct direction d = {.sequence = 0};
	uint8_t text[16], *back;
	size_t len;
	struct buffer b = {.bytes = NULL};
	for (uint8_t i = 0; i < 32; i++)
		d.key[i] = i;
	for (uint8_t i = 0; i < 12; i++)
		d.iv[i] = (uint8_t)(2 * i);
	for (uint8_t i = 0; i < 16; i++)
		text[i] = i;
	for (size_t i = 0; i < 2; i++) {
		d.sequence = cases[i].sequence;
		int err = record_seal(&d, 0x00112233, 8, text, 16, &b);
		ok("a record of libspdm's", !err && b.len == 48 && is(b.bytes, 48, cases[i].record) && d.sequence == cases[i].sequence + 1, "%d %zu",
		   err, b.len);
		d.sequence = cases[i].sequence;
		err = record_open(&d, 0x00112233, 8, b.bytes, b.len, &back, &len);
		ok("and back", !err && len == 16 && !memcmp(back, text, 16) && d.sequence == cases[i].sequence + 1, "%d", err);
		buffer_clear(&b);
	}
	d.sequence = 0;
	record_seal(&d, 1, 0, text, 16, &b);
	for (size_t n = 0; n < b.len; n++) {
		uint8_t *copy = malloc(n ? n : 1);
		memcpy(copy, b.bytes, n);
		d.sequence = 0;
		if (!record_open(&d, 1, 0, copy, n, &back, &len))
			ok("a record cut short", false, "%zu bytes", n);
		free(copy);
	}
	d.sequence = 0;
	ok("a record of another session's number", record_open(&d, 2, 0, b.bytes, b.len, &back, &len) == -EINVAL && !d.sequence, "opened");
	buffer_free(&b);
}

// ---- certificate chains ----

static void test_chain(void)
{
	struct suite s, other;
	struct fault f;
	struct talk t;
	X509 *leaf = NULL;
	agree(&t);
	struct buffer *chain = &t.responder->chain;
	s = t.responder->suite;
	ok("a chain", !chain_read(chain->bytes, chain->len, &s, &leaf, &f) && leaf, "%s", f.text);
	X509_free(leaf);
	unsigned int taken = 0;
	for (size_t n = 0; n < chain->len; n++) {
		uint8_t *copy = malloc(n ? n : 1);
		memcpy(copy, chain->bytes, n);
		if (n >= 2) {
			copy[0] = (uint8_t)n;
			copy[1] = (uint8_t)(n >> 8);
		}
		taken += !chain_read(copy, n, &s, &leaf, &f);
		free(copy);
	}
	ok("a chain cut short", !taken, "%u", taken);
	suite_set(&other, ASYM_P256, HASH_SHA256, 0, 0);
	ok("a chain of another hash", chain_read(chain->bytes, chain->len, &other, &leaf, &f) < 0, "read");
	chain->bytes[4] ^= 1;
	ok("a root that is not the one named", chain_read(chain->bytes, chain->len, &s, &leaf, &f) == -EBADMSG, "read");
	chain->bytes[4] ^= 1;
	// Behind the leaf another certificate, which it cannot have issued.
	size_t len = chain->len, cert = len - 4 - s.hash_len;
	uint8_t *two = malloc(len + cert);
	memcpy(two, chain->bytes, len);
	memcpy(two + len, chain->bytes + 4 + s.hash_len, cert);
	two[0] = (uint8_t)(len + cert);
	two[1] = (uint8_t)((len + cert) >> 8);
	ok("a certificate that issues", chain_read(two, len + cert, &s, &leaf, &f) == -EBADMSG, "read");
	free(two);
	talk_close(&t);
}

int main(void)
{
	if (!talk_begin())
		return 1;
	test_order();
	test_wrong();
	test_exchange();
	test_sealed();
	test_cut();
	test_frames();
	test_schedule();
	test_record();
	test_chain();
	return world_end();
}
