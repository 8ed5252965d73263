// SPDX-License-Identifier: Apache-2.0
// See work.h.
#include "ratls/work.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>

struct ratls_work *work_new(enum work_kind kind, struct judge *judge, struct self *self, X509 *cert)
{
	struct ratls_work *w = calloc(1, sizeof *w);
	if (!w)
		return NULL;
	w->refs = 1;
	w->kind = kind;
	w->judge = judge;
	w->self = self;
	w->cert = cert;
	if (cert)
		X509_up_ref(cert);
	return w;
}

void work_do(struct ratls_work *w)
{
	switch (w->kind) {
	case WORK_SHOW: w->err = self_current(w->self, true, &w->cert, &w->why); break;
	case WORK_CERTIFICATE: w->verdict = judge_certificate(w->judge, w->cert); break;
	case WORK_ANSWER: w->err = self_prove(w->self, w->nonce, w->exporter, &w->content, &w->len, &w->why); break;
	case WORK_PROOF: w->verdict = judge_session(w->judge, w->cert, w->content, w->len, w->nonce, w->exporter); break;
	}
	ERR_clear_error();
	__atomic_store_n(&w->done, true, __ATOMIC_RELEASE);
}

bool work_is_done(const struct ratls_work *w)
{
	return __atomic_load_n(&w->done, __ATOMIC_ACQUIRE);
}

void work_release(struct ratls_work *w)
{
	if (!w || __atomic_sub_fetch(&w->refs, 1, __ATOMIC_ACQ_REL))
		return;
	verdict_release(w->verdict);
	X509_free(w->cert);
	free(w->content);
	if (w->let_go)
		w->let_go(w->keeps);
	free(w);
}
