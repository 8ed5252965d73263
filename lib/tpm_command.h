// SPDX-License-Identifier: Apache-2.0
// Inside lib/tpm*.c: commands to a TPM and what they are made of, sessions, keys that it makes of its seeds. No locks; a connection serves
// one caller. Answers are hostile until their HMAC is right: `struct tpm_in` reads them within bounds.
#ifndef COFFER_LIB_TPM_COMMAND_H
#define COFFER_LIB_TPM_COMMAND_H

#include <string.h>

#include "lib/tpm.h"

#define NO_SESSIONS 0x8001u
#define SESSIONS 0x8002u
#define CC_START_SESSION 0x176u
#define CC_GET_RANDOM 0x17bu
#define RH_OWNER 0x40000001u
#define RH_ENDORSEMENT 0x4000000bu
#define ALG_AES 0x0006u
#define ALG_SHA256 0x000bu
#define ALG_NULL 0x0010u
#define ALG_ECC 0x0023u
#define ALG_CFB 0x0043u
#define ECC_P256 0x0003u

#define SESSION_CONTINUE 0x01u
#define SESSION_EXCLUSIVE 0x02u // refused when the TPM has done anything else since this session's last command
#define SESSION_DECRYPT 0x20u
#define SESSION_ENCRYPT 0x40u
#define SESSION_AUDIT 0x80u


#define TPM_HMAC 0 // kinds of sessions
#define TPM_POLICY 1

struct tpm_out {
	uint8_t b[TPM_MAX];
	size_t n;
};

struct tpm_in {
	const uint8_t *p, *end;
	bool bad;
};

struct tpm_session {
	uint32_t handle;
	uint8_t caller[32], tpm[32]; // the newest nonces of both
	uint8_t next[32];	     // the caller's for the next command
	uint8_t key[32];
	size_t key_len; // 0: not salted
	const uint8_t *auth; // of what it authorises; NULL: nothing
};

struct tpm_point {
	uint8_t x[32], y[32];
};

struct tpm_call {
	const char *what;
	uint32_t cc, handle[2];
	unsigned int handles;
	const struct tpm_out *names, *params;
	bool owner_first; // an empty password for the first handle comes before the session
	unsigned int attributes;
};

static inline void tpm_put(struct tpm_out *o, const void *bytes, size_t n)
{
	if (n > sizeof o->b - o->n)
		n = 0; // no command of ours is near that long
	if (n)
		memcpy(o->b + o->n, bytes, n);
	o->n += n;
}

static inline void tpm_put8(struct tpm_out *o, unsigned int v) { tpm_put(o, &(uint8_t){(uint8_t)v}, 1); }
static inline void tpm_put16(struct tpm_out *o, unsigned int v) { tpm_put(o, (uint8_t[]){(uint8_t)(v >> 8), (uint8_t)v}, 2); }

static inline void tpm_put32(struct tpm_out *o, uint32_t v)
{
	tpm_put16(o, v >> 16);
	tpm_put16(o, v & 0xffff);
}

static inline void tpm_put2b(struct tpm_out *o, const void *bytes, size_t n)
{
	tpm_put16(o, (unsigned int)n);
	tpm_put(o, bytes, n);
}

static inline const uint8_t *tpm_take(struct tpm_in *i, size_t n)
{
	static const uint8_t none[TPM_MAX];
	const uint8_t *p = i->p;
	if (i->bad || n > (size_t)(i->end - i->p)) {
		i->bad = true;
		return none;
	}
	i->p += n;
	return p;
}

static inline unsigned int tpm_take8(struct tpm_in *i) { return *tpm_take(i, 1); }

static inline unsigned int tpm_take16(struct tpm_in *i)
{
	const uint8_t *p = tpm_take(i, 2);
	return (unsigned int)p[0] << 8 | p[1];
}

static inline uint32_t tpm_take32(struct tpm_in *i)
{
	uint32_t high = tpm_take16(i);
	return high << 16 | tpm_take16(i);
}

// A sized piece; *n its length.
static inline const uint8_t *tpm_take2b(struct tpm_in *i, size_t *n)
{
	*n = tpm_take16(i);
	const uint8_t *p = tpm_take(i, *n);
	if (i->bad)
		*n = 0;
	return p;
}


static inline void tpm_begin(struct tpm_out *c, unsigned int tag, uint32_t cc)
{
	c->n = 0;
	tpm_put16(c, tag);
	tpm_put32(c, 0);
	tpm_put32(c, cc);
}

int tpm_altered(const struct tpm *t, struct fault *f); // says so: -EPROTO

// Sends a command whose length is still to be filled in, again while the TPM is busy. *a: what follows the answer's head.
int tpm_send(struct tpm *t, const char *what, struct tpm_out *c, uint8_t answer[TPM_MAX], struct tpm_in *a, struct fault *f);
void tpm_flush(struct tpm *t, uint32_t handle);
// A command under an empty password: the owner's, the endorsement hierarchy's, or a primary key's.
int tpm_call_plain(struct tpm *t, const char *what, uint32_t cc, const uint32_t *handles, unsigned int count, const struct tpm_out *params,
		   uint8_t answer[TPM_MAX], struct tpm_in *a, struct fault *f);

// A P-256 storage key that the TPM makes of a hierarchy's seed, the same each time. policy: NULL for none.
int tpm_primary(struct tpm *t, const char *what, uint32_t hierarchy, uint32_t attributes, const uint8_t policy[32], uint32_t *handle,
		struct tpm_point *to, uint8_t name[TPM_NAME_BYTES], struct fault *f);

// A session; salted to the key `salt_key` at `to` where that is given, so that only its holder can answer. auth: of what it authorises.
int tpm_session_start(struct tpm *t, struct tpm_session *s, unsigned int kind, uint32_t salt_key, const struct tpm_point *to, const uint8_t *auth,
		      struct fault *f);
// A command under a session. *a: the answer's parameters, which are authentic.
int tpm_call(struct tpm *t, struct tpm_session *s, const struct tpm_call *q, uint8_t answer[TPM_MAX], struct tpm_in *a, struct fault *f);
// For a salted session: the first parameter (behind its length) of a command to come, or of the answer that came, for both ends alone.
int tpm_encrypt_first(const struct tpm_session *s, uint8_t *secret, size_t n, struct fault *f);
int tpm_decrypt_first(const struct tpm_session *s, uint8_t *secret, size_t n, struct fault *f);
void tpm_session_end(struct tpm *t, struct tpm_session *s, bool there);

#endif
