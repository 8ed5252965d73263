// SPDX-License-Identifier: Apache-2.0
// See tpm.h. Secrets on the stack are wiped.
#include "lib/tpm.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <string.h>

#include "lib/tpm_command.h"

#define CC_NV_UNDEFINE 0x122u
#define CC_NV_DEFINE 0x12au
#define CC_NV_WRITE 0x137u
#define CC_NV_READ 0x14eu

#define DEFINE_TRIES 20 // others use the TPM too
// Only the secret opens it, all of it is written at once, and wrong secrets do not lock the TPM.
#define NV_AUTHWRITE (1u << 2)
#define NV_WRITEALL (1u << 12)
#define NV_AUTHREAD (1u << 18)
#define NV_NO_DA (1u << 25)
#define NV_WRITTEN (1u << 29)
#define NV_ATTRIBUTES (NV_AUTHWRITE | NV_WRITEALL | NV_AUTHREAD | NV_NO_DA)

// The name of an index is a digest of what it is: a host that makes it another one makes another name.
static void nv_public(struct tpm_out *o, uint32_t index, uint32_t attributes, size_t size)
{
	o->n = 0;
	tpm_put32(o, index);
	tpm_put16(o, ALG_SHA256);
	tpm_put32(o, attributes);
	tpm_put16(o, 0); // no policy
	tpm_put16(o, (unsigned int)size);
}

static void nv_names(struct tpm_out *o, uint32_t index, size_t size, bool written)
{
	uint8_t name[TPM_NAME_BYTES] = {ALG_SHA256 >> 8, ALG_SHA256};
	struct tpm_out p;
	nv_public(&p, index, NV_ATTRIBUTES | (written ? NV_WRITTEN : 0), size);
	SHA256(p.b, p.n, name + 2);
	o->n = 0;
	tpm_put(o, name, sizeof name); // the index authorises itself
	tpm_put(o, name, sizeof name);
}

void tpm_nv_name(uint32_t index, size_t size, uint8_t name[TPM_NAME_BYTES])
{
	struct tpm_out o;
	nv_names(&o, index, size, true);
	memcpy(name, o.b, TPM_NAME_BYTES);
}

static int nv_read(struct tpm *t, struct tpm_session *s, uint32_t index, void *data, size_t size, unsigned int attributes, struct fault *f)
{
	uint8_t answer[TPM_MAX];
	struct tpm_out names, params = {.n = 0};
	struct tpm_in a;
	size_t n;
	nv_names(&names, index, size, true);
	tpm_put16(&params, (unsigned int)size);
	tpm_put16(&params, 0);
	const struct tpm_call q = {.what = "reading", .cc = CC_NV_READ, .handle = {index, index}, .handles = 2, .names = &names, .params = &params,
			       .attributes = attributes};
	int err = tpm_call(t, s, &q, answer, &a, f);
	if (err)
		return err;
	const uint8_t *p = tpm_take2b(&a, &n);
	if (a.bad || n != size)
		return tpm_altered(t, f);
	memcpy(data, p, size);
	return 0;
}

static int nv_write(struct tpm *t, struct tpm_session *s, uint32_t index, const void *data, size_t size, bool written, unsigned int attributes,
		    struct fault *f)
{
	uint8_t answer[TPM_MAX];
	struct tpm_out names, params = {.n = 0};
	struct tpm_in a;
	nv_names(&names, index, size, written);
	tpm_put2b(&params, data, size);
	tpm_put16(&params, 0);
	const struct tpm_call q = {.what = "writing", .cc = CC_NV_WRITE, .handle = {index, index}, .handles = 2, .names = &names, .params = &params,
			       .attributes = attributes};
	return tpm_call(t, s, &q, answer, &a, f);
}

// The endorsement key of the TCG's profile (template L-2, P-256), whose certificate the maker of the TPM gives out.
static int endorsement_key(struct tpm *t, uint32_t *handle, struct tpm_point *to, uint8_t name[TPM_NAME_BYTES], struct fault *f)
{
	static const uint8_t policy[32] = {0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
					   0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa};
	// fixed to the TPM and its parent, made there, by policy, restricted, decrypts
	return tpm_primary(t, "making its endorsement key", RH_ENDORSEMENT, 0x000300b2, policy, handle, to, name, f);
}

// The index with its secret, in a session that only the holder of the endorsement key `ek` can have answered. A host that has held the
// command back until this index was made by another attempt must not be able to make it anew with it, and then have it take a first write
// that it has held back as well: so it is refused (-ESTALE) once the TPM has done anything else.
static int define(struct tpm *t, uint32_t index, const uint8_t auth[TPM_AUTH_BYTES], size_t size, uint32_t ek, const struct tpm_point *to,
		  struct fault *f)
{
	static const uint8_t owner[4] = {0x40, 0, 0, 1}; // a hierarchy's name is its handle
	uint8_t answer[TPM_MAX];
	struct tpm_out none = {.n = 0}, names = {.n = 0}, params = {.n = 0}, public;
	struct tpm_session s;
	struct tpm_in a;
	int err = tpm_session_start(t, &s, TPM_HMAC, ek, to, NULL, f);
	if (err)
		return err;
	tpm_put16(&params, 16);
	const struct tpm_call first = {.what = "giving random bytes", .cc = CC_GET_RANDOM, .names = &none, .params = &params,
				   .attributes = SESSION_CONTINUE | SESSION_AUDIT}; // makes it the exclusive one
	err = tpm_call(t, &s, &first, answer, &a, f);
	params.n = 0;
	tpm_put(&names, owner, sizeof owner);
	tpm_put2b(&params, auth, TPM_AUTH_BYTES);
	if (!err)
		err = tpm_encrypt_first(&s, params.b + 2, TPM_AUTH_BYTES, f);
	nv_public(&public, index, NV_ATTRIBUTES, size);
	tpm_put2b(&params, public.b, public.n);
	const struct tpm_call q = {.what = "making an index", .cc = CC_NV_DEFINE, .handle = {RH_OWNER}, .handles = 1, .names = &names, .params = &params,
			       .owner_first = true, .attributes = SESSION_DECRYPT | SESSION_AUDIT | SESSION_EXCLUSIVE};
	if (!err)
		err = tpm_call(t, &s, &q, answer, &a, f);
	tpm_session_end(t, &s, err != 0); // an answer ends it
	OPENSSL_cleanse(&params, sizeof params);
	return err;
}

int tpm_nv_create(struct tpm *t, uint32_t index, const uint8_t auth[TPM_AUTH_BYTES], const void *data, size_t size, uint8_t name[TPM_NAME_BYTES],
		  struct fault *f)
{
	uint8_t answer[TPM_MAX], found[TPM_NAME_BYTES], any[TPM_NAME_BYTES] = {0};
	struct tpm_out none = {.n = 0};
	struct tpm_session s;
	struct tpm_point to;
	struct tpm_in a;
	uint32_t ek;
	int err = endorsement_key(t, &ek, &to, found, f);
	if (err)
		return err;
	if (memcmp(name, any, sizeof any) && memcmp(name, found, sizeof found))
		err = fault_set(f, -EPERM, "the TPM at %s has another endorsement key than the one that was named: it is another TPM, or none", t->where);
	memcpy(name, found, sizeof found);
	if (!err)
		err = tpm_call_plain(t, "removing an index", CC_NV_UNDEFINE, (const uint32_t[]){RH_OWNER, index}, 2, &none, answer, &a, f);
	if (!err || err == -ENOENT) {
		int tries = 0;
		do
			err = define(t, index, auth, size, ek, &to, f);
		while (err == -ESTALE && ++tries < DEFINE_TRIES);
	}
	tpm_flush(t, ek);
	if (!err)
		err = tpm_session_start(t, &s, TPM_HMAC, 0, NULL, auth, f);
	if (err)
		return err;
	err = nv_write(t, &s, index, data, size, false, 0, f);
	tpm_session_end(t, &s, err != 0);
	return err;
}

int tpm_nv_read(struct tpm *t, uint32_t index, const uint8_t auth[TPM_AUTH_BYTES], void *data, size_t size, struct fault *f)
{
	struct tpm_session s;
	int err = tpm_session_start(t, &s, TPM_HMAC, 0, NULL, auth, f);
	if (err)
		return err;
	err = nv_read(t, &s, index, data, size, 0, f);
	tpm_session_end(t, &s, err != 0);
	return err;
}

int tpm_nv_swap(struct tpm *t, uint32_t index, const uint8_t auth[TPM_AUTH_BYTES], size_t size,
		int (*decide)(void *ctx, uint8_t *data, struct fault *f), void *ctx, struct fault *f)
{
	uint8_t data[TPM_DATA_MAX];
	struct tpm_session s;
	int err = tpm_session_start(t, &s, TPM_HMAC, 0, NULL, auth, f);
	if (err)
		return err;
	// Reading makes it the TPM's exclusive audit session, which it stays until the TPM does something for somebody else. A writer
	// that the host holds back for as long as it likes finds that out.
	err = nv_read(t, &s, index, data, size, SESSION_CONTINUE | SESSION_AUDIT, f);
	int write = err ? err : decide(ctx, data, f);
	if (write == 1)
		err = nv_write(t, &s, index, data, size, true, SESSION_AUDIT | SESSION_EXCLUSIVE, f);
	else
		err = write;
	tpm_session_end(t, &s, write != 1 || err);
	return err;
}
