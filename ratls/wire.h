// SPDX-License-Identifier: Apache-2.0
// Inside ratls/: where OpenSSL writes its records. They are gathered, while that is on, so that several leave in one call of the kernel's; what the socket does
// not take stays. A connection's own; no locks.
#ifndef COFFER_RATLS_WIRE_H
#define COFFER_RATLS_WIRE_H

#include <openssl/bio.h>
#include <stdbool.h>

// Over this descriptor, which stays the caller's. NULL without memory.
BIO *wire_new(int fd);
// Begins to gather.
void wire_gather(BIO *b);
// Ends that, and sends what there is: 0, -EAGAIN when some of it is left, or another negative errno.
int wire_send(BIO *b);
// Something is left.
bool wire_holds(BIO *b);

#endif
