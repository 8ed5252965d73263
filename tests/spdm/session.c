// SPDX-License-Identifier: Apache-2.0
// SPDM between our two ends: the whole conversation with every choice of algorithms, data, heartbeats, new keys, the end; who is refused, and for
// what.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "spdm/message.h"
#include "tests/spdm/talk.h"

static const char *text_of(json_t *o, const char *a, const char *b)
{
	json_t *inner = b ? json_object_get(json_object_get(o, a), b) : json_object_get(o, a);
	const char *s = json_string_value(inner);
	return s ? s : "";
}

static bool proved(json_t *report)
{
	return json_is_true(json_object_get(json_object_get(report, "spdm"), "proved"));
}

// Data both ways; true when it is what comes.
static bool data_flows(struct talk *t)
{
	t->got_up_len = t->got_down_len = 0;
	if (requester_send(t->requester, "up", 2, false, &t->up) || responder_send(t->responder, "down", 4, false, &t->down))
		return false;
	talk_run(t);
	return t->got_up_len == 2 && !memcmp(t->got_up, "up", 2) && t->got_down_len == 4 && !memcmp(t->got_down, "down", 4);
}

static void whole(const char *name, const struct talk_options *o, const char *signature, const char *hash, const char *exchange)
{
	struct talk t;
	talk_open(&t, o);
	talk_start(&t);
	json_t *report = requester_report(t.requester);
	bool open = requester_open(t.requester) && responder_open(t.responder);
	ok(name, open && !strcmp(text_of(report, "verdict", NULL), "accepted") && !strcmp(text_of(report, "claims", "measurement"), good.hex) &&
	   !strcmp(text_of(report, "spdm", "signature"), signature) && !strcmp(text_of(report, "spdm", "hash"), hash) &&
	   !strcmp(text_of(report, "spdm", "key_exchange"), exchange) && proved(report) &&
	   json_array_size(json_object_get(report, "measurements")) == 4,
	   "%d %s %d %s", t.down_error, t.down_fault.text, t.up_error, responder_refusal(t.responder));
	ok(name, open && data_flows(&t), "data");
	json_decref(report);
	talk_close(&t);
}

static void test_whole(void)
{
	whole("P-256", &(struct talk_options){.heartbeat_s = 0}, "ECDSA-P256", "SHA384", "P-384");
	whole("P-384", &(struct talk_options){.key_file = p384_key}, "ECDSA-P384", "SHA384", "P-384");
	whole("SHA-256", &(struct talk_options){.requester = {.hash = HASH_SHA256}}, "ECDSA-P256", "SHA256", "P-384");
	whole("P-384 with SHA-256", &(struct talk_options){.key_file = p384_key, .requester = {.hash = HASH_SHA256}}, "ECDSA-P384", "SHA256",
	      "P-384");
	whole("ECDHE on P-256", &(struct talk_options){.requester = {.dhe = DHE_P256}}, "ECDSA-P256", "SHA384", "P-256");
	whole("short messages in pieces", &(struct talk_options){.requester = {.transfer_size = 64}}, "ECDSA-P256", "SHA384", "P-384");
	whole("the shortest messages", &(struct talk_options){.requester = {.transfer_size = 42, .hash = HASH_SHA256}}, "ECDSA-P256", "SHA256",
	      "P-384");
	whole("a responder of short messages", &(struct talk_options){.transfer_size = 256}, "ECDSA-P256", "SHA384", "P-384");
}

static void test_no_session(void)
{
	struct talk t;
	talk_open(&t, &(struct talk_options){.requester = {.session = REQUESTER_NO_SESSION}});
	talk_start(&t);
	json_t *report = requester_report(t.requester);
	ok("asked without a session", requester_ended(t.requester) && !requester_open(t.requester) &&
	   !strcmp(text_of(report, "verdict", NULL), "accepted") &&
	   json_array_size(json_object_get(report, "measurements")) == 4, "%s", t.down_fault.text);
	ok("no data without a session", requester_send(t.requester, "x", 1, false, &t.up) == -ENOTCONN, "sent");
	json_decref(report);
	talk_close(&t);
}

static void test_refused(void)
{
	const struct {
		const char *name, *reason;
		struct talk_options o;
	} cases[] = {
		{"another program", "evidence: measurement", {.expects = &other}},
		{"simulated hardware that nobody asked for", "evidence: ", {.simulated_root = ""}},
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct talk t;
		talk_open(&t, &cases[i].o);
		talk_start(&t);
		json_t *report = requester_report(t.requester);
		ok(cases[i].name, t.down_error == -EKEYREJECTED && strstr(t.down_fault.text, cases[i].reason) && !requester_open(t.requester) &&
		   !strcmp(text_of(report, "verdict", NULL), "refused"), "%d %s", t.down_error, t.down_fault.text);
		json_decref(report);
		talk_close(&t);
	}
	static struct machine debugged;
	struct talk t;
	debugged = good;
	debugged.debug = true;
	talk_open(&t, &(struct talk_options){.shows = &debugged});
	talk_start(&t);
	ok("an enclave that can be looked into", t.down_error == -EKEYREJECTED && strstr(t.down_fault.text, "dbgstat"), "%d %s", t.down_error,
	   t.down_fault.text);
	talk_close(&t);
}

// Hardware that gives evidence once, for the certificate, and none for sessions.
static void test_no_new_evidence(void)
{
	static struct machine once;
	struct talk t;
	once = good;
	talk_open(&t, &(struct talk_options){.shows = &once});
	once.fails = -EIO;
	talk_start(&t);
	ok("no new evidence", t.down_error == -EKEYREJECTED && strstr(t.down_fault.text, "session-evidence"), "%d %s", t.down_error,
	   t.down_fault.text);
	talk_close(&t);
	talk_open(&t, &(struct talk_options){.shows = &once, .requester = {.session = REQUESTER_EVIDENCE_WANTED}});
	talk_start(&t);
	json_t *report = requester_report(t.requester);
	ok("new evidence where there is any", requester_open(t.requester) && !proved(report), "%s",
	   t.down_fault.text);
	json_decref(report);
	ok("and data", data_flows(&t), "none");
	talk_close(&t);
}

static void test_keys(void)
{
	struct talk t;
	talk_open(&t, &(struct talk_options){.heartbeat_s = 5});
	talk_start(&t);
	// Data that left before the new keys were agreed on arrive under the old ones.
	bool before = !responder_send(t.responder, "down", 4, false, &t.down);
	int err = requester_update(t.requester, &t.up);
	ok("no data while keys change", !err && requester_send(t.requester, "x", 1, false, &t.up) == -EAGAIN, "%d", err);
	talk_run(&t);
	ok("new keys", before && t.got_down_len == 4 && !t.down_error && !t.up_error && data_flows(&t), "%s %s", t.down_fault.text, t.up_fault.text);
	for (int i = 0; i < 3 && !err; i++) {
		err = requester_update(t.requester, &t.up);
		talk_run(&t);
	}
	ok("and again", !err && data_flows(&t), "%d", err);
	json_t *report = requester_report(t.requester);
	ok("counted", json_integer_value(json_object_get(json_object_get(report, "spdm"), "key_updates")) == 4, "not 4");
	json_decref(report);
	talk_close(&t);
	talk_open(&t, &(struct talk_options){.requester = {.records_per_key = 4}});
	talk_start(&t);
	bool flows = true;
	for (int i = 0; i < 20 && flows; i++) {
		flows = data_flows(&t);
		if (!requester_due_ms(t.requester))
			flows &= !requester_tick(t.requester, t.now_ms, &t.up, &t.down_fault);
		talk_run(&t);
	}
	report = requester_report(t.requester);
	ok("new keys by themselves", flows && json_integer_value(json_object_get(json_object_get(report, "spdm"), "key_updates")) >= 4, "%s",
	   t.down_fault.text);
	json_decref(report);
	talk_close(&t);
}

static void test_heartbeat(void)
{
	struct talk t;
	talk_open(&t, &(struct talk_options){.heartbeat_s = 5});
	talk_start(&t);
	int64_t due = requester_due_ms(t.requester), over = responder_due_ms(t.responder);
	ok("heartbeats are due", due == t.now_ms + 5000 && over == t.now_ms + 10000, "%lld %lld", (long long)due, (long long)over);
	t.now_ms = due;
	int err = requester_tick(t.requester, t.now_ms, &t.up, &t.down_fault);
	bool sent = t.up.len;
	ok("data beside a heartbeat", !requester_send(t.requester, "up", 2, false, &t.up), "refused");
	talk_run(&t);
	ok("a heartbeat", !err && sent && !t.up_error && !t.down_error && responder_due_ms(t.responder) == t.now_ms + 10000 && t.got_up_len == 2,
	   "%d", err);
	ok("before its time nothing ends", !responder_expired(t.responder, t.now_ms + 9999), "ended");
	t.now_ms += 5000;
	err = requester_tick(t.requester, t.now_ms, &t.up, &t.down_fault);
	buffer_clear(&t.up);	// lost
	t.now_ms += 5000;
	ok("an unanswered heartbeat", !err && requester_tick(t.requester, t.now_ms, &t.up, &t.down_fault) == -ETIMEDOUT, "%d", err);
	ok("a silent requester", responder_expired(t.responder, t.now_ms) && !responder_open(t.responder), "still there");
	talk_close(&t);
	talk_open(&t, &(struct talk_options){.heartbeat_s = 0});
	talk_start(&t);
	ok("no heartbeat, none due", requester_due_ms(t.requester) == -1 && responder_due_ms(t.responder) == -1, "due");
	talk_close(&t);
}

static void test_end(void)
{
	struct talk t;
	talk_open(&t, &(struct talk_options){.heartbeat_s = 0});
	talk_start(&t);
	bool sent = !requester_send(t.requester, NULL, 0, true, &t.up) && !responder_send(t.responder, NULL, 0, true, &t.down);
	talk_run(&t);
	ok("an end of data", sent && t.end_up && t.end_down && !t.got_up_len, "none");
	int err = requester_end(t.requester, &t.up);
	talk_run(&t);
	ok("an end", !err && requester_ended(t.requester) && responder_ended(t.responder) && !responder_open(t.responder) &&
	   !requester_open(t.requester), "%d", err);
	ok("nothing behind it", requester_send(t.requester, "x", 1, false, &t.up) == -ENOTCONN &&
	   responder_send(t.responder, "x", 1, false, &t.down) == -ENOTCONN,
	   "sent");
	talk_close(&t);
}

int main(void)
{
	if (!talk_begin())
		return 1;
	test_whole();
	test_no_session();
	test_refused();
	test_no_new_evidence();
	test_keys();
	test_heartbeat();
	test_end();
	return world_end();
}
