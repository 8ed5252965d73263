// SPDX-License-Identifier: Apache-2.0
// Inside ratls/: where records are written to and read from, OpenSSL's (a BIO) and then the record layer's (layer.h). OpenSSL's are gathered, while that is
// on, so that several leave in one call of the kernel's; what the socket does not take stays. Those that OpenSSL reads are counted: OpenSSL goes on for as long as more comes that is nobody's data (new traffic
// keys, without end), and would never come back. A connection's own; no locks.
#ifndef COFFER_RATLS_WIRE_H
#define COFFER_RATLS_WIRE_H

#include <openssl/bio.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define WIRE_IDLE_MAX (512u << 10)	// a handshake with the largest certificate fits

// Over this descriptor, which stays the caller's. NULL without memory.
BIO *wire_new(int fd);
// Begins to gather.
void wire_gather(BIO *b);
// Ends that, and sends what there is: 0, -EAGAIN when some of it is left, or another negative errno.
int wire_send(BIO *b);
// Something is left.
bool wire_holds(BIO *b);
// Data have come: bytes that bring none are counted anew. Behind WIRE_IDLE_MAX of them there is nothing more to be read (EPROTO).
void wire_heard(BIO *b);

// ---- for the record layer ----

// To the socket behind what is left; what that does not take is left. 0 or a negative errno, after which the connection is of no use.
int wire_put(BIO *b, const uint8_t *bytes, size_t len);
// What has come: how much, 0 at the end, -EAGAIN or another negative errno.
ssize_t wire_get(BIO *b, uint8_t *bytes, size_t size);
// wire_get has something that no event of the socket will tell of: it was read ahead in the handshake.
bool wire_has_more(BIO *b);

#endif
