// SPDX-License-Identifier: Apache-2.0
// Inside ratls/: what takes long, apart from the connection that needs it: making this side's certificate, judging the peer's, making a proof,
// judging one. A piece of work has all that it reads, so that another thread may do it; it is shared by its connection and by who does it, and the
// last one frees it. Only `done` is written while both look: by who does it, last of all.
#ifndef COFFER_RATLS_WORK_H
#define COFFER_RATLS_WORK_H

#include <openssl/x509.h>

#include "ratls/judge.h"
#include "ratls/self.h"

enum work_kind {
	WORK_SHOW,		// own certificate -> cert
	WORK_CERTIFICATE,	// cert -> verdict
	WORK_ANSWER,		// nonce, exporter -> content
	WORK_PROOF,		// cert, content, nonce, exporter -> verdict
};

struct ratls_work {
	unsigned int refs;
	bool taken;		// by ratls_work_take; the connection's owner's
	bool done;		// atomic
	enum work_kind kind;
	struct judge *judge;	// these last as long as `keeps`
	struct self *self;
	void *keeps;
	void (*let_go)(void *keeps);
	X509 *cert;
	uint8_t nonce[32], exporter[32];
	uint8_t *content;
	size_t len;
	struct verdict *verdict;	// NULL when done: there was no memory
	int err;		// of SHOW and ANSWER, and why
	struct fault why;
};

// With one reference; NULL without memory. cert: NULL, or a reference of its own is taken.
struct ratls_work *work_new(enum work_kind kind, struct judge *judge, struct self *self, X509 *cert);
void work_do(struct ratls_work *w);
bool work_is_done(const struct ratls_work *w);
void work_release(struct ratls_work *w);

#endif
