// SPDX-License-Identifier: Apache-2.0
// See pkcs11.h. Touches the token only through the module's function list.
#include "lib/pkcs11.h"

#include <dlfcn.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <p11-kit/pkcs11.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define KEY_WRAP_KWP 0x210bul // PKCS#11 3.0; RFC 5649
#define SLOTS 64

struct token {
	CK_FUNCTION_LIST *c;
	const struct pkcs11_place *place;
	CK_SESSION_HANDLE session;
	bool started, open;
};

static int failed(const struct token *t, const char *what, CK_RV rv, struct fault *f)
{
	const char *name = t->place->token;
	switch (rv) {
	case CKR_PIN_INCORRECT:
	case CKR_PIN_INVALID:
	case CKR_PIN_LEN_RANGE: return fault_set(f, -EACCES, "the PIN of the token '%.64s' is wrong. Too many wrong ones lock it", name);
	case CKR_PIN_LOCKED: return fault_set(f, -EPERM, "the token '%.64s' is locked after too many wrong PINs: its security officer sets a new one", name);
	case CKR_PIN_EXPIRED: return fault_set(f, -EPERM, "the PIN of the token '%.64s' has expired: set a new one", name);
	case CKR_USER_PIN_NOT_INITIALIZED: return fault_set(f, -EPERM, "the token '%.64s' has no user PIN yet", name);
	case CKR_TOKEN_NOT_PRESENT:
	case CKR_DEVICE_REMOVED: return fault_set(f, -ENODEV, "the token '%.64s' was removed", name);
	case CKR_ENCRYPTED_DATA_INVALID:
	case CKR_ENCRYPTED_DATA_LEN_RANGE:
	case CKR_WRAPPED_KEY_INVALID:
	case CKR_WRAPPED_KEY_LEN_RANGE: return fault_set(f, -EBADMSG, "the key '%.64s' of the token '%.64s' does not open what was wrapped: it is another key than "
							 "then, or the wrapped key was changed", t->place->label, name);
	default: return fault_set(f, -EIO, "the token '%.64s' refuses %s: PKCS#11 error 0x%lx", name, what, rv);
	}
}

static void close_token(struct token *t)
{
	if (t->open)
		t->c->C_CloseSession(t->session);
	if (t->started)
		t->c->C_Finalize(NULL);
}

static int load(struct token *t, struct fault *f)
{
	CK_RV (*get)(CK_FUNCTION_LIST **) = NULL;
	if (t->place->module[0] != '/')
		return fault_set(f, -EINVAL, "the PKCS#11 module must be an absolute path, not '%.200s'", t->place->module);
	void *module = dlopen(t->place->module, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (!module)
		return fault_set(f, -ENODEV, "cannot load the PKCS#11 module: %.300s", dlerror());
	*(void **)&get = dlsym(module, "C_GetFunctionList");
	if (!get || get(&t->c) != CKR_OK || !t->c)
		return fault_set(f, -ENODEV, "%.200s is no PKCS#11 module", t->place->module);
	CK_RV rv = t->c->C_Initialize(NULL);
	if (rv != CKR_OK && rv != CKR_CRYPTOKI_ALREADY_INITIALIZED)
		return failed(t, "to start", rv, f);
	t->started = rv == CKR_OK;
	return 0;
}

// Labels are filled up with blanks.
static bool label_is(const unsigned char label[32], const char *name)
{
	size_t n = strlen(name);
	if (n > 32 || memcmp(label, name, n))
		return false;
	while (n < 32) {
		if (label[n++] != ' ')
			return false;
	}
	return true;
}

static int find_slot(struct token *t, CK_SLOT_ID *slot, struct fault *f)
{
	CK_SLOT_ID slots[SLOTS];
	CK_TOKEN_INFO info;
	CK_ULONG count = SLOTS;
	unsigned int found = 0;
	char there[300] = "";
	size_t n = 0;
	CK_RV rv = t->c->C_GetSlotList(CK_TRUE, slots, &count);
	if (rv != CKR_OK)
		return failed(t, "to list tokens", rv, f);
	for (CK_ULONG k = 0; k < count; k++) {
		if (t->c->C_GetTokenInfo(slots[k], &info) != CKR_OK)
			continue;
		if (label_is(info.label, t->place->token)) {
			*slot = slots[k];
			found++;
		}
		int len = 32;
		while (len && info.label[len - 1] == ' ')
			len--;
		if (len && n < sizeof there - 48)
			n += (size_t)snprintf(there + n, sizeof there - n, "%s'%.*s'", n ? ", " : "", len, info.label);
	}
	if (found > 1)
		return fault_set(f, -ENODEV, "%u tokens are named '%.64s': give them different names", found, t->place->token);
	if (!found)
		return fault_set(f, -ENODEV, "there is no token '%.64s' (%s%s): is it plugged in, and may this user reach it?", t->place->token,
				 n ? "there are " : "there is none", there);
	return 0;
}

static int open_token(struct token *t, const struct pkcs11_place *p, const char *pin, struct fault *f)
{
	CK_SLOT_ID slot = 0;
	*t = (struct token){.place = p};
	int err = load(t, f);
	if (!err)
		err = find_slot(t, &slot, f);
	if (err)
		return err;
	CK_RV rv = t->c->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &t->session);
	if (rv != CKR_OK)
		return failed(t, "a session", rv, f);
	t->open = true;
	rv = t->c->C_Login(t->session, CKU_USER, (unsigned char *)pin, strlen(pin));
	return rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN ? 0 : failed(t, "the login", rv, f);
}

// -ENOKEY when there is none.
static int find_key(struct token *t, CK_OBJECT_CLASS class, CK_KEY_TYPE type, CK_OBJECT_HANDLE *key, struct fault *f)
{
	CK_ATTRIBUTE want[] = {{CKA_CLASS, &class, sizeof class},
			       {CKA_KEY_TYPE, &type, sizeof type},
			       {CKA_LABEL, (void *)t->place->label, strlen(t->place->label)}};
	CK_OBJECT_HANDLE found[2];
	CK_ULONG n = 0;
	CK_RV rv = t->c->C_FindObjectsInit(t->session, want, 3);
	if (rv == CKR_OK) {
		rv = t->c->C_FindObjects(t->session, found, 2, &n);
		t->c->C_FindObjectsFinal(t->session);
	}
	if (rv != CKR_OK)
		return failed(t, "to search keys", rv, f);
	if (n > 1)
		return fault_set(f, -ENOKEY, "the token '%.64s' has several keys named '%.64s'", t->place->token, t->place->label);
	*key = found[0];
	return n ? 0 : fault_set(f, -ENOKEY, "the token '%.64s' has no AES or RSA key named '%.64s'", t->place->token, t->place->label);
}

static bool may(struct token *t, CK_OBJECT_HANDLE key, CK_ATTRIBUTE_TYPE what)
{
	CK_BBOOL yes = CK_FALSE;
	CK_ATTRIBUTE a = {what, &yes, sizeof yes};
	return t->c->C_GetAttributeValue(t->session, key, &a, 1) == CKR_OK && yes == CK_TRUE;
}

static bool other_way(CK_RV rv) // this mechanism is not for this token
{
	return rv == CKR_MECHANISM_INVALID || rv == CKR_MECHANISM_PARAM_INVALID || rv == CKR_ARGUMENTS_BAD || rv == CKR_KEY_FUNCTION_NOT_PERMITTED ||
	       rv == CKR_FUNCTION_NOT_SUPPORTED;
}

// ---- the ways; each with its name in the file ----

static CK_RV crypt(struct token *t, CK_MECHANISM *m, CK_OBJECT_HANDLE key, bool wrap, const uint8_t *in, size_t in_len, uint8_t *out, size_t *out_len)
{
	CK_ULONG n = *out_len;
	CK_RV rv = wrap ? t->c->C_EncryptInit(t->session, m, key) : t->c->C_DecryptInit(t->session, m, key);
	if (rv == CKR_OK)
		rv = wrap ? t->c->C_Encrypt(t->session, (unsigned char *)in, in_len, out, &n)
			  : t->c->C_Decrypt(t->session, (unsigned char *)in, in_len, out, &n);
	*out_len = n;
	return rv;
}

static CK_RV gcm(struct token *t, CK_OBJECT_HANDLE key, bool wrap, uint8_t iv[12], const uint8_t *in, size_t in_len, uint8_t *out, size_t *out_len)
{
	struct ck_gcm_params p = {.iv_ptr = iv, .iv_len = 12, .iv_bits = 96, .tag_bits = 128};
	CK_MECHANISM m = {CKM_AES_GCM, &p, sizeof p};
	return crypt(t, &m, key, wrap, in, in_len, out, out_len);
}

static CK_RV oaep(struct token *t, CK_OBJECT_HANDLE key, bool sha256, bool wrap, const uint8_t *in, size_t in_len, uint8_t *out, size_t *out_len)
{
	struct ck_rsa_pkcs_oaep_params p = {.hash_alg = sha256 ? CKM_SHA256 : CKM_SHA_1, .mgf = sha256 ? CKG_MGF1_SHA256 : CKG_MGF1_SHA1,
					    .source = CKZ_DATA_SPECIFIED};
	CK_MECHANISM m = {CKM_RSA_PKCS_OAEP, &p, sizeof p};
	return crypt(t, &m, key, wrap, in, in_len, out, out_len);
}

// A key that may only wrap keys: the secret is one for a moment, in the session.
static CK_RV wrap_key(struct token *t, CK_MECHANISM_TYPE type, CK_OBJECT_HANDLE key, const uint8_t *secret, uint8_t *out, size_t *out_len)
{
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE kind = CKK_GENERIC_SECRET;
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ATTRIBUTE a[] = {{CKA_CLASS, &class, sizeof class}, {CKA_KEY_TYPE, &kind, sizeof kind}, {CKA_TOKEN, &no, 1},
			    {CKA_SENSITIVE, &no, 1}, {CKA_EXTRACTABLE, &yes, 1}, {CKA_VALUE, (void *)secret, PKCS11_SECRET}};
	CK_MECHANISM m = {type, NULL, 0};
	CK_OBJECT_HANDLE object;
	CK_ULONG n = *out_len;
	CK_RV rv = t->c->C_CreateObject(t->session, a, 6, &object);
	if (rv != CKR_OK)
		return rv;
	rv = t->c->C_WrapKey(t->session, &m, key, object, out, &n);
	t->c->C_DestroyObject(t->session, object);
	*out_len = n;
	return rv;
}

static CK_RV unwrap_key(struct token *t, CK_MECHANISM_TYPE type, CK_OBJECT_HANDLE key, const struct pkcs11_wrapped *w, uint8_t *secret, size_t *len)
{
	CK_OBJECT_CLASS class = CKO_SECRET_KEY;
	CK_KEY_TYPE kind = CKK_GENERIC_SECRET;
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_ATTRIBUTE a[] = {{CKA_CLASS, &class, sizeof class}, {CKA_KEY_TYPE, &kind, sizeof kind}, {CKA_TOKEN, &no, 1},
			    {CKA_SENSITIVE, &no, 1}, {CKA_EXTRACTABLE, &yes, 1}};
	CK_ATTRIBUTE value = {CKA_VALUE, secret, *len};
	CK_MECHANISM m = {type, NULL, 0};
	CK_OBJECT_HANDLE object;
	CK_RV rv = t->c->C_UnwrapKey(t->session, &m, key, (unsigned char *)w->bytes, w->len, a, 5, &object);
	if (rv != CKR_OK)
		return rv;
	rv = t->c->C_GetAttributeValue(t->session, object, &value, 1);
	t->c->C_DestroyObject(t->session, object);
	*len = value.ulValueLen;
	return rv;
}

static int wrap_aes(struct token *t, CK_OBJECT_HANDLE key, const uint8_t *secret, struct pkcs11_wrapped *out, struct fault *f)
{
	CK_RV rv = CKR_KEY_FUNCTION_NOT_PERMITTED;
	if (RAND_bytes(out->iv, sizeof out->iv) != 1)
		return fault_set(f, -EIO, "no random numbers");
	if (may(t, key, CKA_ENCRYPT) && may(t, key, CKA_DECRYPT)) {
		strcpy(out->how, "aes-gcm");
		out->len = sizeof out->bytes;
		rv = gcm(t, key, true, out->iv, secret, PKCS11_SECRET, out->bytes, &out->len);
	}
	if (other_way(rv) && may(t, key, CKA_WRAP) && may(t, key, CKA_UNWRAP)) {
		strcpy(out->how, "aes-kwp");
		out->len = sizeof out->bytes;
		rv = wrap_key(t, KEY_WRAP_KWP, key, secret, out->bytes, &out->len);
		if (other_way(rv)) {
			strcpy(out->how, "aes-wrap-pad");
			out->len = sizeof out->bytes;
			rv = wrap_key(t, CKM_AES_KEY_WRAP_PAD, key, secret, out->bytes, &out->len);
		}
	}
	if (other_way(rv))
		return fault_set(f, -EOPNOTSUPP, "the key '%.64s' of the token '%.64s' may neither encrypt and decrypt (AES-GCM) nor wrap and unwrap "
				 "(AES key wrap with padding)", t->place->label, t->place->token);
	return rv == CKR_OK ? 0 : failed(t, "to wrap", rv, f);
}

static int wrap_rsa(struct token *t, const uint8_t *secret, struct pkcs11_wrapped *out, struct fault *f)
{
	CK_OBJECT_HANDLE public, private;
	int err = find_key(t, CKO_PRIVATE_KEY, CKK_RSA, &private, f);
	if (!err)
		err = find_key(t, CKO_PUBLIC_KEY, CKK_RSA, &public, f);
	if (err)
		return err;
	CK_RV rv = CKR_MECHANISM_INVALID;
	for (int sha256 = 1; sha256 >= 0 && other_way(rv); sha256--) {
		uint8_t back[PKCS11_WRAPPED_MAX];
		size_t n = sizeof back;
		strcpy(out->how, sha256 ? "rsa-oaep-256" : "rsa-oaep-1");
		out->len = sizeof out->bytes;
		rv = oaep(t, public, sha256, true, secret, PKCS11_SECRET, out->bytes, &out->len);
		if (rv == CKR_OK) // some encrypt in software what the token then cannot decrypt
			rv = oaep(t, private, sha256, false, out->bytes, out->len, back, &n);
		OPENSSL_cleanse(back, sizeof back);
	}
	if (other_way(rv))
		return fault_set(f, -EOPNOTSUPP, "the key '%.64s' of the token '%.64s' cannot do RSA-OAEP", t->place->label, t->place->token);
	return rv == CKR_OK ? 0 : failed(t, "to encrypt", rv, f);
}

int pkcs11_wrap(const struct pkcs11_place *p, const char *pin, const uint8_t secret[PKCS11_SECRET], struct pkcs11_wrapped *out, struct fault *f)
{
	CK_OBJECT_HANDLE key;
	struct token t;
	memset(out, 0, sizeof *out);
	int err = open_token(&t, p, pin, f);
	if (err)
		goto out;
	err = find_key(&t, CKO_SECRET_KEY, CKK_AES, &key, f);
	err = err == -ENOKEY ? wrap_rsa(&t, secret, out, f) : err ? err : wrap_aes(&t, key, secret, out, f);
out:
	close_token(&t);
	return err;
}

int pkcs11_unwrap(const struct pkcs11_place *p, const char *pin, const struct pkcs11_wrapped *w, uint8_t secret[PKCS11_SECRET], struct fault *f)
{
	uint8_t iv[12], out[PKCS11_WRAPPED_MAX];
	size_t n = sizeof out;
	CK_OBJECT_HANDLE key;
	struct token t;
	CK_RV rv = CKR_MECHANISM_INVALID;
	bool rsa = !strncmp(w->how, "rsa-", 4);
	int err = open_token(&t, p, pin, f);
	if (!err)
		err = rsa ? find_key(&t, CKO_PRIVATE_KEY, CKK_RSA, &key, f) : find_key(&t, CKO_SECRET_KEY, CKK_AES, &key, f);
	if (err)
		goto out;
	memcpy(iv, w->iv, sizeof iv);
	if (!strcmp(w->how, "aes-gcm"))
		rv = gcm(&t, key, false, iv, w->bytes, w->len, out, &n);
	else if (!strcmp(w->how, "aes-kwp"))
		rv = unwrap_key(&t, KEY_WRAP_KWP, key, w, out, &n);
	else if (!strcmp(w->how, "aes-wrap-pad"))
		rv = unwrap_key(&t, CKM_AES_KEY_WRAP_PAD, key, w, out, &n);
	else if (rsa)
		rv = oaep(&t, key, !strcmp(w->how, "rsa-oaep-256"), false, w->bytes, w->len, out, &n);
	// Modules differ in what they say of bytes that do not open: any failure of the operation itself may be that.
	if (rv == CKR_GENERAL_ERROR || rv == CKR_FUNCTION_FAILED || rv == CKR_DATA_INVALID || (rv == CKR_OK && n != PKCS11_SECRET))
		rv = CKR_ENCRYPTED_DATA_INVALID;
	if (rv == CKR_OK)
		memcpy(secret, out, PKCS11_SECRET);
	else
		err = failed(&t, "to unwrap", rv, f);
out:
	OPENSSL_cleanse(out, sizeof out);
	close_token(&t);
	return err;
}
