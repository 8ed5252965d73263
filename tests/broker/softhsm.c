// SPDX-License-Identifier: Apache-2.0
// Keys in a token for the tests: softhsm2-util imports some, but makes none that may only wrap.
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <string.h>

int softhsm_make_keys(const char *module, const char *token, const char *pin);

static CK_FUNCTION_LIST *c;
static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

static CK_RV aes(CK_SESSION_HANDLE s, const char *label, CK_BBOOL *crypt, CK_BBOOL *wrap)
{
	CK_MECHANISM m = {CKM_AES_KEY_GEN, NULL, 0};
	CK_ULONG bytes = 32;
	CK_ATTRIBUTE a[] = {{CKA_TOKEN, &yes, 1}, {CKA_PRIVATE, &yes, 1}, {CKA_SENSITIVE, &yes, 1}, {CKA_EXTRACTABLE, &no, 1},
			    {CKA_ENCRYPT, crypt, 1}, {CKA_DECRYPT, crypt, 1}, {CKA_WRAP, wrap, 1}, {CKA_UNWRAP, wrap, 1},
			    {CKA_VALUE_LEN, &bytes, sizeof bytes}, {CKA_LABEL, (void *)label, strlen(label)}};
	CK_OBJECT_HANDLE key;
	return c->C_GenerateKey(s, &m, a, sizeof a / sizeof *a, &key);
}

static CK_RV rsa(CK_SESSION_HANDLE s, const char *label)
{
	CK_MECHANISM m = {CKM_RSA_PKCS_KEY_PAIR_GEN, NULL, 0};
	CK_ULONG bits = 2048;
	CK_BYTE e[] = {1, 0, 1};
	CK_ATTRIBUTE public[] = {{CKA_TOKEN, &yes, 1}, {CKA_ENCRYPT, &yes, 1}, {CKA_MODULUS_BITS, &bits, sizeof bits}, {CKA_PUBLIC_EXPONENT, e, 3},
				 {CKA_LABEL, (void *)label, strlen(label)}};
	CK_ATTRIBUTE private[] = {{CKA_TOKEN, &yes, 1}, {CKA_PRIVATE, &yes, 1}, {CKA_SENSITIVE, &yes, 1}, {CKA_DECRYPT, &yes, 1},
				  {CKA_LABEL, (void *)label, strlen(label)}};
	CK_OBJECT_HANDLE k, p;
	return c->C_GenerateKeyPair(s, &m, public, 5, private, 5, &k, &p);
}

int softhsm_make_keys(const char *module, const char *token, const char *pin)
{
	CK_RV (*get)(CK_FUNCTION_LIST **) = NULL;
	void *so = dlopen(module, RTLD_NOW | RTLD_NODELETE);
	CK_SLOT_ID slots[8];
	CK_ULONG n = 8;
	CK_SESSION_HANDLE s;
	if (so)
		*(void **)&get = dlsym(so, "C_GetFunctionList");
	if (!get || get(&c) != CKR_OK || c->C_Initialize(NULL) != CKR_OK || c->C_GetSlotList(CK_TRUE, slots, &n) != CKR_OK)
		return -1;
	CK_RV rv = CKR_TOKEN_NOT_PRESENT;
	for (CK_ULONG i = 0; i < n; i++) {
		CK_TOKEN_INFO info;
		if (c->C_GetTokenInfo(slots[i], &info) != CKR_OK || memcmp(info.label, token, strlen(token)))
			continue;
		rv = c->C_OpenSession(slots[i], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &s);
		if (rv == CKR_OK)
			rv = c->C_Login(s, CKU_USER, (unsigned char *)pin, strlen(pin));
		if (rv == CKR_OK)
			rv = aes(s, "gcm", &yes, &no);
		if (rv == CKR_OK)
			rv = aes(s, "wrap", &no, &yes);
		if (rv == CKR_OK)
			rv = rsa(s, "rsa");
	}
	c->C_Finalize(NULL);
	return (int)rv;
}
