// SPDX-License-Identifier: Apache-2.0
// How evidence is bound to one exchange with a broker (KBS protocol 0.4.0): report data = SHA-384 over the canonical
// JSON (RFC 8785) {"additional-evidence":...,"nonce":...,"tee-pubkey":{...}}, then 16 zero bytes. Used by the side
// that makes evidence and by the side that checks it. Pure.
#ifndef COFFER_ATTEST_BINDING_H
#define COFFER_ATTEST_BINDING_H

#include <jansson.h>
#include <stdint.h>

// `nonce` is the base64 text as the broker sent it, `additional` the text of additional evidence ("" for none; NULL: without that member, as additional
// devices are bound, which cannot cover what they are part of).
// 0; -EINVAL when a text is not plain ASCII, whose canonical form would differ between JSON libraries; -ENOMEM.
int attest_report_data(const char *nonce, const json_t *tee_pubkey, const char *additional, uint8_t out[64]);

#endif
