// SPDX-License-Identifier: Apache-2.0
// Signed tree heads as text: C2SP's signed notes, checkpoints and cosignatures (Ed25519), read strictly from untrusted bytes.
//
//	ORIGIN \n SIZE \n base64(root) \n \n, then lines "— NAME base64(key id | signature)" (cosignature: key id | time | signature)
//
// No extension lines. Pure; no locks; fuzz_audit drives the parsers.
#ifndef COFFER_BROKER_NOTE_H
#define COFFER_BROKER_NOTE_H

#include <openssl/evp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/merkle.h"
#include "lib/fault.h"

#define NOTE_NAME 112			// with the terminator
#define NOTE_MAX_SIGNATURES 17		// the log's and its witnesses'
#define NOTE_LINE (4 + NOTE_NAME + 128)	// one signature line
#define NOTE_BODY (NOTE_NAME + 24 + 48)
#define NOTE_MAX (NOTE_BODY + NOTE_MAX_SIGNATURES * NOTE_LINE)
#define NOTE_KEY_TEXT (NOTE_NAME + 64)

enum note_kind { NOTE_LOG = 1, NOTE_WITNESS = 4 };

// A public key: "NAME+hex(id)+base64(kind | key)".
struct note_key {
	char name[NOTE_NAME];
	uint8_t kind, id[4], key[32];
};
int note_key_parse(struct note_key *k, const char *text);	// -EINVAL
void note_key_text(const struct note_key *k, char out[NOTE_KEY_TEXT]);
// The public half of an Ed25519 key under a name. -EINVAL: a name that cannot be used, or another kind of key.
int note_key_of(struct note_key *k, const char *name, enum note_kind kind, EVP_PKEY *key);

struct tree_head {
	char origin[NOTE_NAME];
	uint64_t size;
	uint8_t root[MERKLE_HASH];
};
// The signed text; its length.
size_t note_body(const struct tree_head *h, char out[NOTE_BODY]);

struct note_signature {
	char name[NOTE_NAME];
	uint8_t id[4], bytes[72];
	unsigned int len;	// 64, or 72 with a time
};
struct note {
	struct tree_head head;
	unsigned int count;
	struct note_signature signature[NOTE_MAX_SIGNATURES];
};
// A whole note. -EINVAL with a message that names the line.
int note_parse(struct note *n, const char *text, size_t len, struct fault *f);
// All of it as text again; its length.
size_t note_text(const struct note *n, char out[NOTE_MAX]);
// Is there a good signature of this key? *when: a witness's time (may be NULL).
bool note_signed_by(const struct note *n, const struct note_key *k, uint64_t *when);
// Adds the signature of `key`, whose public half is *k; `when` counts for a witness. -ENOSPC, -EIO.
int note_sign(struct note *n, const struct note_key *k, EVP_PKEY *key, uint64_t when);

#endif
