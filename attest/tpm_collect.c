// SPDX-License-Identifier: Apache-2.0
// See tpm_collect.h. Commands: TPM 2.0 Library, part 3; templates of endorsement keys: TCG EK Credential Profile (L-1, L-2). What the TPM answers
// is only carried to the verifier, who checks it; it is read within bounds.
#include "attest/tpm_collect.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "attest/bytes.h"
#include "attest/tpm.h"
#include "lib/encode.h"

enum { NO_SESSIONS = 0x8001, SESSIONS = 0x8002 };
enum {
	CC_CREATE_PRIMARY = 0x131, CC_ACTIVATE = 0x147, CC_NV_READ = 0x14e, CC_POLICY_SECRET = 0x151, CC_QUOTE = 0x158, CC_FLUSH = 0x165,
	CC_NV_READ_PUBLIC = 0x169, CC_READ_PUBLIC = 0x173, CC_START_SESSION = 0x176, CC_PCR_READ = 0x17e,
};
enum { RH_OWNER = 0x40000001, RH_NULL = 0x40000007, RS_PASSWORD = 0x40000009, RH_ENDORSEMENT = 0x4000000b };
enum { ALG_RSA = 1, ALG_AES = 6, ALG_NULL = 0x10, ALG_ECDSA = 0x18, ALG_ECC = 0x23, ALG_CFB = 0x43, P256 = 3 };
enum { EK_RSA_CERT = 0x01c00002, EK_ECC_CERT = 0x01c0000a, AZURE_REPORT = 0x01400001 };
#define AZURE_AK 0x81000003u
#define BUSY_TRIES 100
#define PIECE 512	// of an NV index: every TPM gives that much at once

// A command as it grows. Sizes here are all known: what would not fit is a fault of ours, and the TPM refuses it.
struct command {
	uint8_t b[1024];
	size_t n;
};

static void put(struct command *c, const void *bytes, size_t n)
{
	if (n > sizeof c->b - c->n)
		return;
	memcpy(c->b + c->n, bytes, n);
	c->n += n;
}

static void put_be(struct command *c, uint64_t v, int n)
{
	for (int i = n - 1; i >= 0; i--)
		put(c, &(uint8_t){(uint8_t)(v >> 8 * i)}, 1);
}

static void put_sized(struct command *c, const void *bytes, size_t n)
{
	put_be(c, n, 2);
	put(c, bytes, n);
}

static void begin(struct command *c, unsigned int tag, uint32_t code)
{
	c->n = 0;
	put_be(c, tag, 2);
	put_be(c, 0, 4);
	put_be(c, code, 4);
}

// Authorisations: an empty password for each handle, but for `session`, which stands for the last one where it is given.
static void put_auth(struct command *c, unsigned int count, uint32_t session)
{
	put_be(c, 9 * count, 4);
	for (unsigned int i = 0; i < count; i++) {
		put_be(c, session && i + 1 == count ? session : RS_PASSWORD, 4);
		put_be(c, 0, 2);
		put_be(c, 0, 1);
		put_be(c, 0, 2);
	}
}

static uint32_t code_of(uint32_t rc)
{
	return rc & 0x80 ? rc & 0xbf : rc;
}

static int refused(const struct tpm *t, const char *what, uint32_t rc, struct fault *f)
{
	switch (code_of(rc)) {
	case 0x8b: return fault_set(f, -ENOENT, "the TPM at %s has nothing there (%s)", t->where, what);
	case 0x9f:	// integrity
	case 0x95: return fault_set(f, -EACCES, "the TPM at %s cannot open it (%s): it is for another key or TPM", t->where, what);
	case 0x8e:
	case 0xa2: return fault_set(f, -EACCES, "the TPM at %s wants a secret that is not known here (%s)", t->where, what);
	default: return fault_set(f, -EIO, "the TPM at %s refuses %s: code 0x%x", t->where, what, rc);
	}
}

// Sends it; *a: what follows the answer's head, without handles and the size of parameters, which the caller reads.
static int run(struct tpm *t, const char *what, struct command *c, uint8_t answer[TPM_MAX], struct cursor *a, struct fault *f)
{
	for (int i = 0; i < 4; i++)
		c->b[2 + i] = (uint8_t)(c->n >> 8 * (3 - i));
	for (unsigned int tries = 0;; tries++) {
		size_t len = 0;
		int err = t->transmit(t, c->b, c->n, answer, &len, f);
		if (err)
			return err;
		*a = cursor_of(answer, len);
		cursor_be(a, 2);
		uint64_t size = cursor_be(a, 4);
		uint32_t rc = (uint32_t)cursor_be(a, 4);
		if (a->short_of || size != len)
			return fault_set(f, -EPROTO, "what answers at %s is not a TPM", t->where);
		bool busy = rc == 0x908 || rc == 0x90a || rc == 0x922; // yielded, testing, retry
		if (!rc || !busy || tries == BUSY_TRIES)
			return rc ? refused(t, what, rc, f) : 0;
		nanosleep(&(struct timespec){0, 50000000}, NULL);
	}
}

static const uint8_t *sized(struct cursor *c, size_t *n)
{
	*n = (size_t)cursor_be(c, 2);
	return cursor_take(c, *n);
}

static int malformed(const struct tpm *t, const char *what, struct fault *f)
{
	return fault_set(f, -EPROTO, "the TPM at %s answers %s with something else", t->where, what);
}

static void flush(struct tpm *t, uint32_t handle)
{
	uint8_t answer[TPM_MAX];
	struct cursor a;
	struct command c;
	begin(&c, NO_SESSIONS, CC_FLUSH);
	put_be(&c, handle, 4);
	run(t, "flushing", &c, answer, &a, NULL);
}

// A public part with its two bytes of size, as it came.
static int keep_public(struct cursor *a, uint8_t *out, size_t size, size_t *len)
{
	size_t n;
	const uint8_t *p = sized(a, &n);
	if (!p || n + 2 > size)
		return -EPROTO;
	memcpy(out, p - 2, n + 2);
	*len = n + 2;
	return 0;
}

static int create_primary(struct tpm *t, const char *what, const struct command *template, uint32_t *handle, uint8_t *public, size_t size, size_t *len,
			  struct fault *f)
{
	uint8_t answer[TPM_MAX];
	struct cursor a;
	struct command c;
	begin(&c, SESSIONS, CC_CREATE_PRIMARY);
	put_be(&c, RH_ENDORSEMENT, 4);
	put_auth(&c, 1, 0);
	put_be(&c, 4, 2);	// no secret, no data
	put_be(&c, 0, 4);
	put_sized(&c, template->b, template->n);
	put_be(&c, 0, 2);
	put_be(&c, 0, 4);
	int err = run(t, what, &c, answer, &a, f);
	if (err)
		return err;
	*handle = (uint32_t)cursor_be(&a, 4);
	cursor_be(&a, 4);
	if (keep_public(&a, public, size, len)) {
		flush(t, *handle);
		*handle = 0;
		return malformed(t, what, f);
	}
	return 0;
}

// A restricted signing key that never leaves the TPM.
static int make_ak(struct tpm_attester *a, struct fault *f)
{
	struct command t = {.n = 0};
	put_be(&t, ALG_ECC, 2);
	put_be(&t, TPM_SHA256, 2);
	put_be(&t, 0x00050072, 4);	// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign
	put_be(&t, 0, 2);
	put_be(&t, ALG_NULL, 2);
	put_be(&t, ALG_ECDSA, 2);
	put_be(&t, TPM_SHA256, 2);
	put_be(&t, P256, 2);
	put_be(&t, ALG_NULL, 2);
	put_be(&t, 0, 4);
	return create_primary(&a->tpm, "making an attestation key", &t, &a->ak, a->ak_public, sizeof a->ak_public, &a->ak_len, f);
}

static int make_ek(struct tpm_attester *a, bool rsa, struct fault *f)
{
	// PolicySecret of the endorsement hierarchy.
	static const uint8_t policy[32] = {0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24,
					   0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52, 0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa};
	static const uint8_t zeros[256];
	struct command t = {.n = 0};
	put_be(&t, rsa ? ALG_RSA : ALG_ECC, 2);
	put_be(&t, TPM_SHA256, 2);
	put_be(&t, 0x000300b2, 4);	// fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt
	put_sized(&t, policy, sizeof policy);
	put_be(&t, ALG_AES, 2);
	put_be(&t, 128, 2);
	put_be(&t, ALG_CFB, 2);
	put_be(&t, ALG_NULL, 2);
	if (rsa) {
		put_be(&t, 2048, 2);
		put_be(&t, 0, 4);
		put_sized(&t, zeros, 256);
	} else {
		put_be(&t, P256, 2);
		put_be(&t, ALG_NULL, 2);
		put_sized(&t, zeros, 32);
		put_sized(&t, zeros, 32);
	}
	return create_primary(&a->tpm, "making its endorsement key", &t, &a->ek, a->ek_public, sizeof a->ek_public, &a->ek_len, f);
}

static int read_public(struct tpm_attester *a, uint32_t handle, struct fault *f)
{
	uint8_t answer[TPM_MAX];
	struct cursor c;
	struct command q;
	begin(&q, NO_SESSIONS, CC_READ_PUBLIC);
	put_be(&q, handle, 4);
	int err = run(&a->tpm, "reading a key", &q, answer, &c, f);
	return err ? err : keep_public(&c, a->ak_public, sizeof a->ak_public, &a->ak_len) ? malformed(&a->tpm, "reading a key", f) : 0;
}

int tpm_attester_open(struct tpm_attester *a, const char *where, struct fault *f)
{
	struct stat st;
	uint8_t *report;
	size_t len;
	memset(a, 0, sizeof *a);
	if (!where && stat("/dev/tpmrm0", &st) < 0)
		return fault_set(f, -ENODEV, "no /dev/tpmrm0 (the machine has no TPM 2.0, or its driver is missing)");
	int err = tpm_open(&a->tpm, where ? where : TPM_DEFAULT_DEVICE, f);
	if (err)
		return err;
	// Azure's paravisor keeps its report in the TPM, and names its own key in it.
	if (!tpm_attester_nv(a, AZURE_REPORT, &report, &len, NULL)) {
		a->azure = len > 4 && !memcmp(report, "HCLA", 4);
		free(report);
	}
	if (a->azure) {
		a->ak = AZURE_AK;
		err = read_public(a, AZURE_AK, f);
	} else {
		err = make_ak(a, f);
	}
	if (err)
		tpm_attester_close(a);
	return err;
}

void tpm_attester_close(struct tpm_attester *a)
{
	if (a->ak && !a->azure)
		flush(&a->tpm, a->ak);
	if (a->ek)
		flush(&a->tpm, a->ek);
	tpm_close(&a->tpm);
	a->ak = a->ek = 0;
}

int tpm_attester_nv(struct tpm_attester *a, uint32_t index, uint8_t **bytes, size_t *len, struct fault *f)
{
	uint8_t answer[TPM_MAX], *out = NULL;
	struct cursor c, public;
	struct command q;
	size_t n;
	begin(&q, NO_SESSIONS, CC_NV_READ_PUBLIC);
	put_be(&q, index, 4);
	int err = run(&a->tpm, "an NV index", &q, answer, &c, f);
	if (err)
		return err;
	const uint8_t *p = sized(&c, &n);
	public = cursor_of(p, p ? n : 0);
	cursor_take(&public, 10);
	sized(&public, &n);
	size_t size = (size_t)cursor_be(&public, 2), at = 0;
	if (public.short_of || !size)
		return malformed(&a->tpm, "an NV index", f);
	out = malloc(size);
	if (!out)
		return fault_set(f, -ENOMEM, "out of memory");
	while (!err && at < size) {
		size_t piece = size - at < PIECE ? size - at : PIECE;
		begin(&q, SESSIONS, CC_NV_READ);
		put_be(&q, RH_OWNER, 4);
		put_be(&q, index, 4);
		put_auth(&q, 1, 0);
		put_be(&q, piece, 2);
		put_be(&q, at, 2);
		err = run(&a->tpm, "reading an NV index", &q, answer, &c, f);
		if (err)
			break;
		cursor_be(&c, 4);
		p = sized(&c, &n);
		if (!p || n != piece)
			err = malformed(&a->tpm, "reading an NV index", f);
		else
			memcpy(out + at, p, n);
		at += piece;
	}
	if (err) {
		free(out);
		return err;
	}
	*bytes = out;
	*len = size;
	return 0;
}

// DER of a known length, with whatever stands behind it in the index.
static size_t der_length(const uint8_t *p, size_t len)
{
	size_t n = len > 4 && p[0] == 0x30 && p[1] == 0x82 ? 4 + ((size_t)p[2] << 8 | p[3]) : 0;
	return n <= len ? n : 0;
}

int tpm_attester_endorsement(struct tpm_attester *a, uint8_t **der, size_t *len, struct fault *f)
{
	static const uint32_t indices[] = {EK_RSA_CERT, EK_ECC_CERT};
	struct fault why = {""};
	int found = -1, err = 0;
	*der = NULL;
	for (int i = 0; i < 2 && found < 0; i++) {
		if (tpm_attester_nv(a, indices[i], der, len, &why))
			continue;
		*len = der_length(*der, *len);
		if (*len) {
			found = i;
		} else {
			free(*der);
			*der = NULL;
		}
	}
	if (!a->ek)
		err = make_ek(a, found == 0, f);
	if (!err && found < 0)
		err = fault_set(f, -ENOENT, "the TPM at %s has no certificate of its endorsement key", a->tpm.where);
	if (err) {
		free(*der);
		*der = NULL;
	}
	return err;
}

static void put_selection(struct command *c, uint32_t mask)
{
	put_be(c, 1, 4);
	put_be(c, TPM_SHA256, 2);
	put_be(c, 3, 1);
	for (int i = 0; i < 3; i++)
		put_be(c, mask >> 8 * i & 0xff, 1);
}

// The registers of the mask, a few at a time, as the TPM gives them out.
static int read_registers(struct tpm_attester *a, uint32_t mask, json_t *pcrs, struct fault *f)
{
	uint8_t answer[TPM_MAX];
	char name[8], hex[2 * DIGEST_MAX + 1];
	while (mask) {
		struct cursor c;
		struct command q;
		uint32_t got = 0;
		begin(&q, NO_SESSIONS, CC_PCR_READ);
		put_selection(&q, mask);
		int err = run(&a->tpm, "reading registers", &q, answer, &c, f);
		if (err)
			return err;
		cursor_be(&c, 4);
		if (cursor_be(&c, 4) != 1 || cursor_be(&c, 2) != TPM_SHA256 || cursor_be(&c, 1) != 3)
			return malformed(&a->tpm, "reading registers", f);
		for (int i = 0; i < 3; i++)
			got |= (uint32_t)cursor_be(&c, 1) << 8 * i;
		uint64_t count = cursor_be(&c, 4);
		if (!got || got & ~mask || count != (uint64_t)__builtin_popcount(got))
			return fault_set(f, -EIO, "the TPM at %s has no SHA-256 registers", a->tpm.where);
		for (unsigned int i = 0; i < TPM_PCRS; i++) {
			size_t n;
			const uint8_t *p = got >> i & 1 ? sized(&c, &n) : NULL;
			if (!(got >> i & 1))
				continue;
			if (!p || n != 32)
				return malformed(&a->tpm, "reading registers", f);
			snprintf(name, sizeof name, "%u", i);
			json_object_set_new(pcrs, name, json_string(hex_encode(hex, p, n)));
		}
		mask &= ~got;
	}
	return 0;
}

static int quote(struct tpm_attester *a, uint32_t mask, const uint8_t *nonce, size_t nonce_len, struct bundle *out, struct fault *f)
{
	uint8_t answer[TPM_MAX];
	struct cursor c;
	struct command q;
	size_t n;
	begin(&q, SESSIONS, CC_QUOTE);
	put_be(&q, a->ak, 4);
	put_auth(&q, 1, 0);
	put_sized(&q, nonce, nonce_len);
	put_be(&q, ALG_NULL, 2);	// the key's own scheme
	put_selection(&q, mask);
	int err = run(&a->tpm, "a quote", &q, answer, &c, f);
	if (err)
		return err;
	struct cursor params = cursor_part(&c, (size_t)cursor_be(&c, 4));
	const uint8_t *attest = sized(&params, &n);
	if (!attest || !params.left)
		return malformed(&a->tpm, "a quote", f);
	if (bundle_put_bytes(out, "tpm_quote", attest, n) || bundle_put_bytes(out, "tpm_signature", params.p, params.left) ||
	    bundle_put_bytes(out, "tpm_key", a->ak_public, a->ak_len) || (!a->azure && bundle_put_bytes(out, "evidence", attest, n)))
		return fault_set(f, -ENOMEM, "out of memory");
	return 0;
}

int tpm_attester_quote(struct tpm_attester *a, uint32_t mask, const uint8_t *nonce, size_t nonce_len, struct bundle *out, struct fault *f)
{
	json_t *pcrs = json_object();
	uint8_t *report;
	size_t len;
	int err = nonce_len <= TPM_NONCE_MAX ? 0 : fault_set(f, -EINVAL, "a nonce of more than %d bytes", TPM_NONCE_MAX);
	if (!err && a->azure) {
		err = tpm_attester_nv(a, AZURE_REPORT, &report, &len, f);
		if (!err) {
			err = bundle_put_bytes(out, "evidence", report, len) ? fault_set(f, -ENOMEM, "out of memory") : 0;
			free(report);
		}
	}
	if (!err)
		err = read_registers(a, mask, pcrs, f);
	if (!err)
		err = quote(a, mask, nonce, nonce_len, out, f);
	if (!err && json_object_set(out->json, "tpm_pcrs", pcrs))
		err = fault_set(f, -ENOMEM, "out of memory");
	json_decref(pcrs);
	return err;
}

// A policy session that has shown the endorsement hierarchy's (empty) secret, as the EK's policy wants.
static int policy_session(struct tpm *t, uint32_t *session, struct fault *f)
{
	uint8_t answer[TPM_MAX], nonce[32];
	struct cursor a;
	struct command c;
	if (RAND_bytes(nonce, sizeof nonce) != 1)
		return fault_set(f, -EIO, "no random bytes");
	begin(&c, NO_SESSIONS, CC_START_SESSION);
	put_be(&c, RH_NULL, 4);
	put_be(&c, RH_NULL, 4);
	put_sized(&c, nonce, sizeof nonce);
	put_be(&c, 0, 2);
	put_be(&c, 1, 1);	// a policy session
	put_be(&c, ALG_NULL, 2);
	put_be(&c, TPM_SHA256, 2);
	int err = run(t, "starting a session", &c, answer, &a, f);
	if (err)
		return err;
	*session = (uint32_t)cursor_be(&a, 4);
	begin(&c, SESSIONS, CC_POLICY_SECRET);
	put_be(&c, RH_ENDORSEMENT, 4);
	put_be(&c, *session, 4);
	put_auth(&c, 1, 0);
	put_be(&c, 0, 6);	// no nonce, parameters or reference
	put_be(&c, 0, 4);	// no end
	err = run(t, "the endorsement key's policy", &c, answer, &a, f);
	if (err)
		flush(t, *session);
	return err;
}

int tpm_attester_activate(struct tpm_attester *a, const struct tpm_challenge *q, uint8_t credential[TPM_CREDENTIAL_BYTES], struct fault *f)
{
	uint8_t answer[TPM_MAX];
	uint32_t session = 0;
	struct cursor c;
	struct command m;
	size_t n;
	int err = a->ek ? policy_session(&a->tpm, &session, f) : fault_set(f, -EINVAL, "no endorsement key");
	if (err)
		return err;
	begin(&m, SESSIONS, CC_ACTIVATE);
	put_be(&m, a->ak, 4);
	put_be(&m, a->ek, 4);
	put_auth(&m, 2, session);
	put(&m, q->blob, q->blob_len);
	put(&m, q->secret, q->secret_len);
	err = run(&a->tpm, "activating a credential", &m, answer, &c, f);
	if (err) {
		flush(&a->tpm, session);	// a good answer ends it
		return err;
	}
	cursor_be(&c, 4);
	const uint8_t *p = sized(&c, &n);
	if (!p || n != TPM_CREDENTIAL_BYTES)
		return malformed(&a->tpm, "activating a credential", f);
	memcpy(credential, p, n);
	return 0;
}
