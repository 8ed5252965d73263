// SPDX-License-Identifier: Apache-2.0
// See exchange.h. The session with the broker, and each request in it: made again where it is safe and of use, within the time that a start has for
// that. Keys live in OpenSSL's objects. No locks.
#include "init/exchange.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attest/binding.h"
#include "attest/coco.h"
#include "lib/tls.h"

#define FIRST_PAUSE_MS 100
#define LONGEST_PAUSE_MS 2000
#define RENEWALS 2	// of the session, for one request: a broker that ends it each time means something by that

static void printable(char *s)
{
	for (; *s; s++) {
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			*s = '?';
	}
}

int exchange_refused(const struct exchange *x, const char *what, const struct http_reply *reply, struct fault *f)
{
	json_t *o = json_loadb(reply->body, reply->body_len, 0, NULL);
	const json_t *list = json_object_get(o, "refusals");
	const char *detail = json_string_value(json_object_get(o, "detail"));
	char text[sizeof f->text];
	size_t n = 0;
	if (json_array_size(list)) {
		n = (size_t)snprintf(text, sizeof text, "the broker %s refuses %s", x->s->broker_url, what);
		for (size_t i = 0; i < json_array_size(list) && n < sizeof text; i++) {
			const json_t *c = json_array_get(list, i);
			const char *claim = json_string_value(json_object_get(c, "claim"));
			const char *expected = json_string_value(json_object_get(c, "expected"));
			const char *found = json_string_value(json_object_get(c, "found"));
			n += (size_t)snprintf(text + n, sizeof text - n, "\001  %s: expected %s, found %s",
					      claim ? claim : "?", expected ? expected : "?", found ? found : "?");
		}
	} else {
		snprintf(text, sizeof text, "the broker %s refuses %s: %s (HTTP %d)", x->s->broker_url, what,
			 detail ? detail : "no reason given", reply->status);
	}
	json_decref(o);
	for (char *p = text; *p; p++) {
		if (*p == '\001')
			*p = '\n';
		else if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	}
	return fault_set(f, -EACCES, "%s", text);
}

// What a broker that cannot serve now answers: with a session and a body that are of no use.
static int overloaded(struct exchange *x, struct http_reply *reply, struct fault *f)
{
	json_t *o = json_loadb(reply->body, reply->body_len, 0, NULL);
	const char *detail = json_string_value(json_object_get(o, "detail"));
	x->retry_after_s = reply->retry_after_s;
	fault_set(f, -EAGAIN, "the broker %s cannot serve now: %s (HTTP %d)", x->s->broker_url, detail ? detail : "no reason given", reply->status);
	json_decref(o);
	http_reply_free(reply);
	http_client_next(x->http);
	return -EAGAIN;
}

// One request, once. -EAGAIN: overloaded.
static int request(struct exchange *x, const char *method, const char *path, const char *headers, const char *body, struct http_reply *reply,
		   struct fault *f)
{
	x->retry_after_s = 0;
	int err = http_client_request(x->http, method, path, headers, body, body ? strlen(body) : 0, reply, f);
	return !err && (reply->status == 503 || reply->status == 429) ? overloaded(x, reply, f) : err;
}

// A nonce, and a session for what follows.
static int begin(struct exchange *x, struct fault *f)
{
	static const char body[] = "{\"version\":\"0.4.0\",\"tee\":\"snp\",\"extra-params\":{}}";
	struct http_reply reply;
	x->asked_ms = clock_ms();
	int err = request(x, "POST", "/kbs/v0/auth", "", body, &reply, f);
	if (err)
		return err;
	x->told_ms = clock_ms();
	x->date_s = reply.date_s;
	json_t *o = json_loadb(reply.body, reply.body_len, JSON_REJECT_DUPLICATES, NULL);
	const char *nonce = json_string_value(json_object_get(o, "nonce"));
	reply.cookie[strcspn(reply.cookie, ";")] = '\0';
	if (reply.status != 200)
		err = exchange_refused(x, "to talk", &reply, f);
	else if (!nonce || strlen(nonce) >= sizeof x->nonce || !reply.cookie[0] || strlen(reply.cookie) > 256)
		err = fault_set(f, -EPROTO, "%s does not answer like a key broker", x->s->broker_url);
	else {
		strcpy(x->nonce, nonce);
		x->statement[0] = '\0';
		if (json_is_true(json_object_get(json_object_get(o, "extra-params"), "coffer-statement")))
			snprintf(x->statement, sizeof x->statement, "{\"coffer\":{\"anchor\":\"%s\"}}",
				 !x->s->anchor ? "none" : x->s->anchor_tpm ? "tpm" : "broker");
		snprintf(x->cookie, sizeof x->cookie, "Cookie: %.256s\r\n", reply.cookie);
	}
	json_decref(o);
	http_reply_free(&reply);
	return err;
}

static json_t *chain_json(const struct snp_chain *chain)
{
	static const char *const types[] = {"VCEK", "ASK", "ARK"};
	json_t *list = json_array();
	for (unsigned int i = 0; list && i < chain->count; i++) {
		uint8_t *der = NULL;
		int len = i2d_X509(chain->certs[i], &der);
		json_t *data = json_array(), *o;
		for (int k = 0; k < len; k++)
			json_array_append_new(data, json_integer(der[k]));
		o = len > 0 ? json_pack("{s:s, s:O}", "cert_type", i < 3 ? types[i] : "CRL", "data", data) : NULL;
		if (!o || json_array_append_new(list, o)) {
			json_decref(list);
			list = NULL;
		}
		json_decref(data);
		OPENSSL_free(der);
	}
	return list;
}

// The body of the attestation request; malloc'ed. The report goes by its fields' names, which is all that some brokers read.
static char *attest_body(const struct exchange *x, const struct evidence *e)
{
	char *text = NULL;
	json_t *report = coco_snp_fields(e->report), *chain = chain_json(&e->chain);
	if (report && chain) {
		json_t *o = json_pack("{s:{s:s, s:O}, s:{s:{s:O, s:O}, s:s}}", "runtime-data", "nonce", x->nonce,
				      "tee-pubkey", x->jwk, "tee-evidence", "primary_evidence", "attestation_report",
				      report, "cert_chain", chain, "additional_evidence", x->statement);
		text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
		json_decref(o);
	}
	json_decref(chain);
	json_decref(report);
	return text;
}

// `final`: a session that is over means something.
static int prove(struct exchange *x, bool final, struct fault *f)
{
	uint8_t report_data[64];
	struct evidence e = {.chain = {.count = 0}};
	struct http_reply reply;
	if (attest_report_data(x->nonce, x->jwk, x->statement, report_data))
		return fault_set(f, -EPROTO, "the broker's nonce is not plain text");
	int err = x->ops->evidence(report_data, &e, f);
	if (err)
		goto out;
	char *body = attest_body(x, &e);
	if (!body) {
		err = fault_set(f, -ENOMEM, "out of memory");
		goto out;
	}
	err = request(x, "POST", "/kbs/v0/attest", x->cookie, body, &reply, f);
	free(body);
	if (err)
		goto out;
	if (reply.status == 401 && !final)	// another broker by now, which knows nothing of the nonce
		err = fault_set(f, -ESTALE, "the broker %s has ended this enclave's session", x->s->broker_url);
	else if (reply.status != 200)
		err = exchange_refused(x, "this enclave's evidence:", &reply, f);
	http_reply_free(&reply);
out:
	snp_chain_free(&e.chain);
	return err;
}

// What may be better a little later.
static bool try_again(int err)
{
	return err == -ECONNREFUSED || err == -ETIMEDOUT || err == -EHOSTUNREACH || err == -ENETUNREACH || err == -ECONNRESET || err == -ENETDOWN ||
	       err == -EAGAIN || err == -EPIPE || err == -ESTALE;
}

struct patience {
	int64_t since_ms;		// of the first attempt
	unsigned int pause_ms, at_once, renewals;
	bool waited;
};

static int give_up(struct exchange *x, int err, bool asked_longer, struct fault *f)
{
	struct fault why = *f;
	if (asked_longer)
		return fault_set(f, err, "%.600s; it wants to be asked again in %u s, and this enclave waits %u s in all (`broker: timeout:` in coffer.yaml)",
				 why.text, x->retry_after_s, x->s->broker_timeout_s);
	if (err == -EAGAIN || err == -ESTALE)
		return fault_set(f, err, "%.800s; it did not within %u s", why.text, x->s->broker_timeout_s);
	return fault_set(f, err, "the broker %.300s could not be reached within %u s: %.600s", x->s->broker_url, x->s->broker_timeout_s, why.text);
}

// After a failed attempt: 0 when the next one is due, or what is to be said of the end.
static int wait_a_little(struct exchange *x, struct patience *p, int err, struct fault *f)
{
	unsigned int brokers = http_client_servers(x->http);
	char line[sizeof f->text + 100];
	if (!try_again(err))
		return err;
	printable(f->text);
	// A session that is over; a connection that the broker had closed, as it does when it is idle; or there are others to ask.
	if (err == -ESTALE || ((err == -ECONNRESET || err == -EPIPE) && p->at_once < brokers) ||
	    (err == -EAGAIN && p->at_once + 1 < brokers)) {
		p->renewals += err == -ESTALE;
		p->at_once += err != -ESTALE;
		return 0;
	}
	int64_t left = x->patience_ms - (clock_ms() - p->since_ms), pause = p->pause_ms ? p->pause_ms : FIRST_PAUSE_MS, asked = x->retry_after_s * 1000ll;
	if (left <= 0 || asked > left)
		return x->s->broker_timeout_s ? give_up(x, err, left > 0, f) : err;
	if (!x->said) {
		snprintf(line, sizeof line, "%s; trying again for %lld s", f->text, (long long)(left + 999) / 1000);
		x->ops->say(line);
		x->said = true;
	}
	p->pause_ms = (unsigned int)(pause < LONGEST_PAUSE_MS / 2 ? 2 * pause : LONGEST_PAUSE_MS);
	p->at_once = 0;
	p->waited = true;
	pause = asked > pause ? asked : pause < left ? pause : left;
	nanosleep(&(struct timespec){pause / 1000, pause % 1000 * 1000000l}, NULL);
	return 0;
}

// With what the request needs: a session in which this enclave is proven. *sent: the broker may have done what was asked.
static int attempt(struct exchange *x, const struct exchange_request *q, struct patience *p, bool *sent, struct http_reply *reply, struct fault *f)
{
	int err = 0;
	*sent = false;
	if (!x->proven) {
		err = begin(x, f);
		if (!err)
			err = prove(x, p->renewals == RENEWALS, f);
		x->proven = !err;
	}
	if (err || !q)
		return err;
	err = request(x, q->method, q->path, x->cookie, q->body, reply, f);
	*sent = err && err != -ECONNREFUSED && err != -EHOSTUNREACH && err != -ENETUNREACH && err != -ENETDOWN;
	if (!err && reply->status == 401 && p->renewals < RENEWALS) {
		http_reply_free(reply);
		x->proven = false;
		err = fault_set(f, -ESTALE, "the broker %s has ended this enclave's session", x->s->broker_url);
	}
	return err;
}

int exchange_ask(struct exchange *x, const struct exchange_request *q, struct http_reply *reply, struct fault *f)
{
	bool once = q && q->once, sent;
	struct patience p = {.since_ms = clock_ms(), .pause_ms = once ? x->lost_pause_ms : 0, .at_once = once ? x->lost_at_once : 0};
	int err;
	do {
		err = attempt(x, q, &p, &sent, reply, f);
		if (!err)
			break;
		err = wait_a_little(x, &p, err, f);
		if (!err && sent && once) {
			err = -EINPROGRESS;
			break;
		}
	} while (!err);
	if (p.waited)
		x->patience_ms -= clock_ms() - p.since_ms;
	if (once) {	// who asks again after that goes on waiting where it was
		x->lost_pause_ms = err == -EINPROGRESS ? p.pause_ms : 0;
		x->lost_at_once = err == -EINPROGRESS ? p.at_once : 0;
	}
	return err;
}
