// SPDX-License-Identifier: Apache-2.0
// Inside spdm/: what SPDM takes from attested TLS (ratls/): the certificate with evidence about its own key, new evidence for a session, and the
// judge of both. Threads as in ratls/self.h and ratls/judge.h.
#ifndef COFFER_SPDM_TRUST_H
#define COFFER_SPDM_TRUST_H

#include "ratls/judge.h"
#include "ratls/self.h"
#include "spdm/requester.h"
#include "spdm/responder.h"

// A responder that shows what `self` shows; `self` must outlive it. -EINVAL: it has nothing to show.
int trust_responder(struct responder **out, struct self *self, unsigned int heartbeat_s, uint32_t transfer_size, struct fault *f);

// A requester's judges; ctx is a struct judge, which must outlive it.
void trust_requester(struct requester_options *o, struct judge *judge);

// What the evidence in a certificate says, believed or not. -EINVAL, -ENODATA: there is none.
int trust_measured(X509 *cert, struct measured *m, struct fault *f);

#endif
