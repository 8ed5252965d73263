// SPDX-License-Identifier: Apache-2.0
// Inside ratls/: records of TLS 1.3 (RFC 8446 section 5), one direction of a connection: sealed and opened with the keys of its traffic secret.
// OpenSSL's key schedule and AEADs, but for AES-256-GCM, which is libIPSec_MB's where the CPU has what that needs; what is here puts them together.
// No I/O, no clock, no locks; belongs to one connection.
#ifndef COFFER_RATLS_RECORD_H
#define COFFER_RATLS_RECORD_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RECORD_HEAD 5
#define RECORD_PLAIN_MAX 16384			// section 5.1
#define RECORD_BODY_MAX (RECORD_PLAIN_MAX + 256)	// section 5.2
#define RECORD_TAG 16
#define RECORD_SEALED_MAX (RECORD_HEAD + RECORD_PLAIN_MAX + 1 + RECORD_TAG)	// of one of ours: they have no padding
#define RECORD_SECRET_MAX 48
#define RECORD_UPDATE_AT (1ull << 24)		// records by one key: section 5.5 allows 2^24.5 with AES-GCM

enum record_type {
	RECORD_ALERT = 21,
	RECORD_HANDSHAKE = 22,
	RECORD_DATA = 23,
};

struct gcm_key;

struct tls13_keys {
	EVP_CIPHER_CTX *aead;		// with the key set; NULL: there is
	struct gcm_key *gcm;		// this one instead; or they are closed
	uint64_t sequence;		// of the next record
	unsigned int suite;		// place in record.c's table
	uint8_t iv[12];
	uint8_t secret[RECORD_SECRET_MAX];
};

// By the suite's number (RFC 8446 appendix B.4) and the application traffic secret of its hash's length. -ENOTSUP: another suite, or another length;
// -ENOMEM. On errors there is nothing to close.
int tls13_open_keys(struct tls13_keys *k, uint16_t suite, const uint8_t *secret, size_t len, bool seals);
// The keys behind a KeyUpdate (section 7.2), from sequence 0. -ENOMEM: neither the old nor the new ones can be used any more.
int tls13_update_keys(struct tls13_keys *k);
// Wipes them; may be called twice.
void tls13_close_keys(struct tls13_keys *k);

// Seals head and bytes, behind each other, as one record of this type into `out`, which has RECORD_HEAD + both + 1 + RECORD_TAG bytes and does not
// overlap. Together at most RECORD_PLAIN_MAX. How many bytes it became; -EOVERFLOW: the sequence numbers have run out; -ENOMEM.
ssize_t tls13_seal(struct tls13_keys *k, enum record_type type, const uint8_t *head, size_t head_len, const uint8_t *bytes, size_t len, uint8_t *out);

// How many bytes the record has whose first bytes these are, head included: 0: not to be told yet (fewer than RECORD_HEAD); -EPROTO: no record that may
// come behind the handshake, -EMSGSIZE: longer than any may be.
ssize_t tls13_length(const uint8_t *bytes, size_t len);

// Opens the whole record `bytes`, of `len` = tls13_length, in place: how long its content is, which begins at bytes + RECORD_HEAD, and its type (any
// byte but 0). -EBADMSG: the tag is wrong, and the bytes are wiped; -EPROTO: there is no type in it; -EMSGSIZE: too long; -EOVERFLOW, as above.
ssize_t tls13_open(struct tls13_keys *k, uint8_t *bytes, size_t len, uint8_t *type);

#endif
