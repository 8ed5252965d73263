// SPDX-License-Identifier: Apache-2.0
// Fuzzes what a peer sends in a session with proofs: heads of frames, challenges, proofs, verdicts, in any order, to a side that both verifies and attests.
// Nothing may be believed.
#include <errno.h>
#include <openssl/x509.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ratls/certificate.h"
#include "ratls/exchange.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct judge *judge;
static struct self *self;
static X509 *peer;

static int no_hardware(void *ctx, const uint8_t report_data[64], struct ratls_evidence *out)
{
	(void)ctx, (void)report_data, (void)out;
	return -EAGAIN;
}

static void open_all(void)
{
	struct ratls_options o = {.verify = true, .any_measurement = true, .attest = true, .collect = no_hardware};
	struct ratls_cert_request q = {.subject = "peer", .seconds = 1u << 30, .now = time(NULL), .key = EVP_EC_gen("P-256")};
	if (judge_open(&judge, &o, NULL) || self_open(&self, &o, NULL) || !q.key || ratls_cert_make_plain(&q, &peer, NULL))
		abort();
	EVP_PKEY_free(q.key);
}

static int sent(void *ctx, enum frame_type type, const void *bytes, size_t len)
{
	unsigned int *count = ctx;
	if (type >= FRAME_TYPES || (len && !bytes) || (type == FRAME_VERDICT && (!len || len > FRAME_MAX_REASON)))
		abort();	// an empty verdict would accept
	return ++*count > 1000 ? -1 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	unsigned int count = 0;
	int64_t now = 1;
	if (!judge)
		open_all();
	X509_up_ref(peer);
	struct exchange_state x = {.judge = judge, .self = self, .peer = peer, .peer_verifies = size & 1, .send = sent, .ctx = &count, .renew_s = 60, .answer_s = 10};
	for (int err = exchange_challenge(&x, now, NULL); !err && size >= FRAME_HEAD;) {
		struct frame f;
		if (frame_read(data, &f, NULL) || f.len > size - FRAME_HEAD)
			break;
		data += FRAME_HEAD;
		size -= FRAME_HEAD;
		// A copy of its own, so that the sanitizer sees every byte read behind it.
		uint8_t *message = f.len ? malloc(f.len) : NULL;
		if (f.len && !message)
			abort();
		if (f.len)
			memcpy(message, data, f.len);
		struct ratls_work *w = NULL;
		struct fault why;
		err = f.type == FRAME_DATA || f.type == FRAME_END ? 0 : exchange_take(&x, f.type, message, f.len, now++, &w, &why);
		if (!err && w) {
			work_do(w);
			err = exchange_finish(&x, w, now++, &why);
		}
		if (err == -EAGAIN)
			abort();	// nobody waits for this
		work_release(w);
		free(message);
		data += f.len;
		size -= f.len;
		if (!err && !x.asked)
			err = exchange_challenge(&x, now, NULL);
	}
	if (x.proofs || exchange_done(&x))
		abort();
	exchange_close(&x);
	return 0;
}
