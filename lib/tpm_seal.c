// SPDX-License-Identifier: Apache-2.0
// See tpm_seal.h. The way to the TPM may be listened to and meddled with: the secret crosses it encrypted in a session that only the holder
// of the storage root key can have answered, and that key must be the one that it was sealed under.
#include "lib/tpm_seal.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

#include "lib/tpm_command.h"

#define CC_CREATE 0x153u
#define CC_LOAD 0x157u
#define CC_UNSEAL 0x15eu
#define CC_PCR_READ 0x17eu
#define CC_POLICY_PCR 0x17fu
#define ALG_KEYEDHASH 0x0008u

#define FIXED_TPM (1u << 1)
#define FIXED_PARENT (1u << 4)
#define USER_WITH_AUTH (1u << 6)
#define NO_DA (1u << 10)
#define STORAGE_ROOT 0x00030472u // fixed, made there, with an empty password, without lock-out, restricted, decrypts

static int storage_root(struct tpm *t, uint32_t *handle, struct tpm_point *to, uint8_t name[TPM_NAME_BYTES], struct fault *f)
{
	return tpm_primary(t, "making its storage root key", RH_OWNER, STORAGE_ROOT, NULL, handle, to, name, f);
}

static void put_selection(struct tpm_out *o, uint32_t pcrs)
{
	tpm_put32(o, 1);
	tpm_put16(o, ALG_SHA256);
	tpm_put8(o, 3);
	tpm_put8(o, pcrs & 0xff);
	tpm_put8(o, pcrs >> 8 & 0xff);
	tpm_put8(o, pcrs >> 16 & 0xff);
}

static int read_pcr(struct tpm *t, unsigned int pcr, uint8_t value[32], struct fault *f)
{
	uint8_t answer[TPM_MAX];
	struct tpm_out c, want = {.n = 0};
	struct tpm_in a;
	size_t n;
	put_selection(&want, 1u << pcr);
	tpm_begin(&c, NO_SESSIONS, CC_PCR_READ);
	tpm_put(&c, want.b, want.n);
	int err = tpm_send(t, "reading a PCR", &c, answer, &a, f);
	if (err)
		return err;
	tpm_take32(&a); // how often any was extended
	const uint8_t *selection = tpm_take(&a, want.n);
	if (a.bad || memcmp(selection, want.b, want.n) || tpm_take32(&a) != 1)
		return fault_set(f, -EOPNOTSUPP, "the TPM at %s has no PCR %u in its SHA-256 bank", t->where, pcr);
	const uint8_t *p = tpm_take2b(&a, &n);
	if (a.bad || n != 32)
		return tpm_altered(t, f);
	memcpy(value, p, 32);
	return 0;
}

static int read_pcrs(struct tpm *t, uint32_t pcrs, uint8_t values[TPM_PCRS][32], struct fault *f)
{
	int err = 0;
	for (unsigned int k = 0; !err && k < TPM_PCRS; k++) {
		if (pcrs >> k & 1)
			err = read_pcr(t, k, values[k], f);
	}
	return err;
}

static void pcr_digest(uint32_t pcrs, uint8_t values[TPM_PCRS][32], uint8_t digest[32])
{
	struct tpm_out o = {.n = 0};
	for (unsigned int k = 0; k < TPM_PCRS; k++) {
		if (pcrs >> k & 1)
			tpm_put(&o, values[k], 32);
	}
	SHA256(o.b, o.n, digest);
}

// Part 3, 23.7: what a policy session holds after PolicyPCR.
static void pcr_policy(uint32_t pcrs, uint8_t values[TPM_PCRS][32], uint8_t policy[32])
{
	static const uint8_t zero[32];
	struct tpm_out o = {.n = 0};
	uint8_t digest[32];
	tpm_put(&o, zero, sizeof zero);
	tpm_put32(&o, CC_POLICY_PCR);
	put_selection(&o, pcrs);
	pcr_digest(pcrs, values, digest);
	tpm_put(&o, digest, sizeof digest);
	SHA256(o.b, o.n, policy);
}

static void name_of(const uint8_t *public, size_t n, uint8_t name[TPM_NAME_BYTES])
{
	name[0] = ALG_SHA256 >> 8;
	name[1] = ALG_SHA256;
	SHA256(public, n, name + 2);
}

static void sealed_public(uint32_t pcrs, uint8_t values[TPM_PCRS][32], struct tpm_out *o)
{
	uint8_t policy[32];
	o->n = 0;
	tpm_put16(o, ALG_KEYEDHASH);
	tpm_put16(o, ALG_SHA256);
	tpm_put32(o, FIXED_TPM | FIXED_PARENT | NO_DA | (pcrs ? 0 : USER_WITH_AUTH));
	if (pcrs)
		pcr_policy(pcrs, values, policy);
	tpm_put2b(o, policy, pcrs ? sizeof policy : 0);
	tpm_put16(o, ALG_NULL);
	tpm_put16(o, 0);
}

static int keep(uint8_t out[TPM_SEAL_BLOB], size_t *len, const uint8_t *p, size_t n)
{
	if (!n || n > TPM_SEAL_BLOB)
		return -EPROTO;
	memcpy(out, p, n);
	*len = n;
	return 0;
}

int tpm_seal(struct tpm *t, uint32_t pcrs, const uint8_t secret[TPM_SEAL_SECRET], struct tpm_sealed *out, struct fault *f)
{
	uint8_t answer[TPM_MAX];
	struct tpm_out names = {.n = 0}, params = {.n = 0}, public;
	struct tpm_session s = {0};
	struct tpm_point to;
	struct tpm_in a;
	uint32_t root;
	size_t n, m;
	memset(out, 0, sizeof *out);
	out->pcrs = pcrs;
	int err = storage_root(t, &root, &to, out->root, f);
	if (err)
		return err;
	err = read_pcrs(t, pcrs, out->pcr, f);
	if (!err)
		err = tpm_session_start(t, &s, TPM_HMAC, root, &to, NULL, f);
	if (err)
		goto out;
	tpm_put16(&params, 2 + 2 + TPM_SEAL_SECRET);
	tpm_put16(&params, 0); // no password
	tpm_put2b(&params, secret, TPM_SEAL_SECRET);
	err = tpm_encrypt_first(&s, params.b + 2, params.n - 2, f);
	sealed_public(pcrs, out->pcr, &public);
	tpm_put2b(&params, public.b, public.n);
	tpm_put16(&params, 0);
	tpm_put32(&params, 0);
	tpm_put(&names, out->root, TPM_NAME_BYTES);
	const struct tpm_call q = {.what = "sealing", .cc = CC_CREATE, .handle = {root}, .handles = 1, .names = &names, .params = &params,
				   .attributes = SESSION_DECRYPT};
	if (!err)
		err = tpm_call(t, &s, &q, answer, &a, f);
	tpm_session_end(t, &s, err != 0);
	if (err)
		goto out;
	const uint8_t *private = tpm_take2b(&a, &n), *made = tpm_take2b(&a, &m);
	// the same but for the digest at its end, which its private half decides
	if (a.bad || m < public.n || memcmp(made, public.b, public.n - 2) || keep(out->private, &out->private_len, private, n) ||
	    keep(out->public, &out->public_len, made, m))
		err = tpm_altered(t, f);
out:
	tpm_flush(t, root);
	OPENSSL_cleanse(&params, sizeof params);
	return err;
}

// Which PCRs are not what they were, for a person.
static int check_pcrs(struct tpm *t, const struct tpm_sealed *s, struct fault *f)
{
	uint8_t now[TPM_PCRS][32];
	char list[TPM_PCRS * 4] = "";
	size_t n = 0;
	int err = read_pcrs(t, s->pcrs, now, f);
	for (unsigned int k = 0; !err && k < TPM_PCRS; k++) {
		if ((s->pcrs >> k & 1) && memcmp(now[k], s->pcr[k], 32))
			n += (size_t)snprintf(list + n, sizeof list - n, "%s%u", n ? ", " : "", k);
	}
	return !err && n ? fault_set(f, -EPERM, "PCR %s of the TPM at %s changed since the key was sealed: firmware, boot loader, kernel or their settings "
				     "are others than then", list, t->where) : err;
}

static int load(struct tpm *t, uint32_t root, const struct tpm_sealed *s, uint32_t *object, struct fault *f)
{
	uint8_t answer[TPM_MAX];
	struct tpm_out params = {.n = 0};
	struct tpm_in a;
	tpm_put2b(&params, s->private, s->private_len);
	tpm_put2b(&params, s->public, s->public_len);
	int err = tpm_call_plain(t, "loading what was sealed", CC_LOAD, (const uint32_t[]){root}, 1, &params, answer, &a, f);
	if (err == -EIO)
		return fault_set(f, -EBADMSG, "the TPM at %s does not take what it sealed: it was damaged or changed", t->where);
	*object = err ? 0 : tpm_take32(&a);
	return err ? err : a.bad ? tpm_altered(t, f) : 0;
}

static int policy_pcr(struct tpm *t, const struct tpm_session *p, uint32_t pcrs, struct fault *f)
{
	uint8_t answer[TPM_MAX];
	struct tpm_out c;
	struct tpm_in a;
	tpm_begin(&c, NO_SESSIONS, CC_POLICY_PCR);
	tpm_put32(&c, p->handle);
	tpm_put16(&c, 0); // those of now
	put_selection(&c, pcrs);
	return tpm_send(t, "comparing PCRs", &c, answer, &a, f);
}

static int unseal(struct tpm *t, uint32_t root, const struct tpm_point *to, uint32_t object, const struct tpm_sealed *sealed,
		  uint8_t secret[TPM_SEAL_SECRET], struct fault *f)
{
	uint8_t answer[TPM_MAX], name[TPM_NAME_BYTES];
	struct tpm_out names = {.n = 0}, none = {.n = 0};
	struct tpm_session s;
	struct tpm_in a;
	size_t n;
	int err = tpm_session_start(t, &s, sealed->pcrs ? TPM_POLICY : TPM_HMAC, root, to, NULL, f);
	if (err)
		return err;
	if (sealed->pcrs)
		err = policy_pcr(t, &s, sealed->pcrs, f);
	name_of(sealed->public, sealed->public_len, name);
	tpm_put(&names, name, sizeof name);
	const struct tpm_call q = {.what = "unsealing", .cc = CC_UNSEAL, .handle = {object}, .handles = 1, .names = &names, .params = &none,
				   .attributes = SESSION_ENCRYPT};
	if (!err)
		err = tpm_call(t, &s, &q, answer, &a, f);
	if (err) {
		tpm_session_end(t, &s, true);
		return err;
	}
	const uint8_t *p = tpm_take2b(&a, &n);
	if (a.bad || n != TPM_SEAL_SECRET) {
		err = tpm_altered(t, f);
	} else {
		memcpy(secret, p, n);
		err = tpm_decrypt_first(&s, secret, n, f);
	}
	tpm_session_end(t, &s, false);
	return err;
}

int tpm_unseal(struct tpm *t, const struct tpm_sealed *s, uint8_t secret[TPM_SEAL_SECRET], struct fault *f)
{
	uint8_t name[TPM_NAME_BYTES];
	struct tpm_point to;
	uint32_t root, object = 0;
	int err = storage_root(t, &root, &to, name, f);
	if (err)
		return err;
	if (memcmp(name, s->root, sizeof name))
		err = fault_set(f, -EKEYREJECTED, "the TPM at %s is not the one that the key was sealed to, or its owner has cleared it since", t->where);
	if (!err)
		err = check_pcrs(t, s, f);
	if (!err)
		err = load(t, root, s, &object, f);
	if (!err) {
		err = unseal(t, root, &to, object, s, secret, f);
		tpm_flush(t, object);
	}
	tpm_flush(t, root);
	return err;
}
