// SPDX-License-Identifier: Apache-2.0
// See talk.h.
#include "tests/spdm/talk.h"

#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char key_path[128];
const char *p384_key = key_path;

bool talk_begin(void)
{
	if (!world_begin())
		return false;
	snprintf(key_path, sizeof key_path, "%s/p384.key", world);
	EVP_PKEY *key = EVP_EC_gen("P-384");
	BIO *b = BIO_new_file(key_path, "w");
	bool ok = key && b && PEM_write_bio_PrivateKey(b, key, NULL, NULL, 0, NULL, NULL) == 1;
	BIO_free(b);
	EVP_PKEY_free(key);
	return ok && !chmod(key_path, 0600);
}

// Judges and selves live as long as the program: some are shared.
static struct judge *judge_of(const struct talk_options *o)
{
	static struct {
		const struct machine *expects;
		const char *root;
		struct judge *judge;
	} known[8];
	const struct machine *expects = o->expects ? o->expects : &good;
	size_t i;
	for (i = 0; i < 8 && known[i].judge; i++) {
		if (known[i].expects == expects && known[i].root == o->simulated_root)
			return known[i].judge;
	}
	struct ratls_options q = options_of(NULL, expects);
	struct fault f;
	if (o->simulated_root)
		q.insecure_simulated_root = *o->simulated_root ? o->simulated_root : NULL;
	if (i == 8 || judge_open(&known[i].judge, &q, &f)) {
		printf("no judge: %s\n", f.text);
		abort();
	}
	known[i].expects = expects;
	known[i].root = o->simulated_root;
	return known[i].judge;
}

static struct self *self_of(const struct talk_options *o)
{
	static struct {
		struct machine *shows;
		const char *key;
		struct self *self;
	} known[8];
	struct machine *shows = o->shows ? o->shows : &good;
	size_t i;
	for (i = 0; i < 8 && known[i].self; i++) {
		if (known[i].shows == shows && known[i].key == o->key_file)
			return known[i].self;
	}
	struct ratls_options q = options_of(shows, NULL);
	struct fault f;
	q.key_file = o->key_file;
	if (i == 8 || self_open(&known[i].self, &q, &f)) {
		printf("no self: %s\n", f.text);
		abort();
	}
	known[i].shows = shows;
	known[i].key = o->key_file;
	return known[i].self;
}

void talk_open(struct talk *t, const struct talk_options *o)
{
	struct requester_options q = o->requester;
	struct fault f;
	*t = (struct talk){.now_ms = 1000};
	if (!q.judge)
		trust_requester(&q, judge_of(o));
	if (requester_new(&t->requester, &q, &f) || trust_responder(&t->responder, self_of(o), o->heartbeat_s, o->transfer_size, &f)) {
		printf("no ends: %s\n", f.text);
		abort();
	}
}

// The first frame of a buffer is taken out of it. 0: there is none.
static size_t take_frame(struct buffer *b, uint8_t frame[SPDM_FRAME_HEAD + SPDM_FRAME_MAX])
{
	size_t len = b->len >= SPDM_FRAME_HEAD ? 2 + (b->bytes[0] | (size_t)b->bytes[1] << 8) : 0;
	if (!len || len > b->len)
		return 0;
	memcpy(frame, b->bytes, len);
	memmove(b->bytes, b->bytes + len, b->len - len);
	b->len -= len;
	return len;
}

static void keep(uint8_t *to, size_t *to_len, bool *end, const struct spdm_event *e)
{
	size_t n = e->len < 256 - *to_len ? e->len : 256 - *to_len;
	if (n)
		memcpy(to + *to_len, e->data, n);
	*to_len += n;
	*end |= e->data_end;
}

static bool deliver(struct talk *t, bool up)
{
	static uint8_t frame[SPDM_FRAME_HEAD + SPDM_FRAME_MAX];
	size_t len = take_frame(up ? &t->up : &t->down, frame);
	struct spdm_frame head;
	struct spdm_event e = {.data = NULL};
	if (!len)
		return false;
	if (t->meddle && t->meddle(t, up, frame, &len, t->ctx))
		return true;
	t->frames++;
	int *error = up ? &t->up_error : &t->down_error;
	struct fault *f = up ? &t->up_fault : &t->down_fault;
	*error = spdm_frame_read(frame, &head, f);
	if (*error)
		return true;
	if (head.len != len - SPDM_FRAME_HEAD)
		abort();
	// A copy of its own size, so that the sanitizer sees every byte read behind it.
	uint8_t *copy = malloc(head.len);
	if (head.len && !copy)
		abort();
	if (head.len)
		memcpy(copy, frame + SPDM_FRAME_HEAD, head.len);
	*error = up ? responder_input(t->responder, &head, copy, t->now_ms, &t->down, &e, f) :
		      requester_input(t->requester, &head, copy, t->now_ms, &t->up, &e, f);
	if (!*error && up)
		keep(t->got_up, &t->got_up_len, &t->end_up, &e);
	else if (!*error)
		keep(t->got_down, &t->got_down_len, &t->end_down, &e);
	free(copy);
	return true;
}

void talk_run(struct talk *t)
{
	bool more = true;
	while (more) {
		more = !t->up_error && deliver(t, true);
		more |= !t->down_error && deliver(t, false);
	}
}

void talk_start(struct talk *t)
{
	if (requester_begin(t->requester, &t->up))
		abort();
	talk_run(t);
}

void talk_close(struct talk *t)
{
	requester_free(t->requester);
	responder_free(t->responder);
	buffer_free(&t->up);
	buffer_free(&t->down);
}

ssize_t talk_ask(struct talk *t, const void *message, size_t len, uint8_t *answer, size_t size)
{
	static uint8_t frame[SPDM_FRAME_HEAD + SPDM_FRAME_MAX];
	buffer_clear(&t->down);
	spdm_frame_write(&t->up, SPDM_CLEAR, message, len);
	deliver(t, true);
	size_t n = take_frame(&t->down, frame);
	if (n < SPDM_FRAME_HEAD || n - SPDM_FRAME_HEAD > size)
		return -1;
	memcpy(answer, frame + SPDM_FRAME_HEAD, n - SPDM_FRAME_HEAD);
	return (ssize_t)(n - SPDM_FRAME_HEAD);
}
