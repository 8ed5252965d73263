// SPDX-License-Identifier: Apache-2.0
// A secret wrapped by a key that stays in a PKCS#11 token: an AES key (AES-GCM, or AES key wrap with padding where the key may only wrap)
// or an RSA key (OAEP). The module is loaded into the process and stays there: modules do not take it well to be unloaded.
// Single-threaded.
#ifndef COFFER_LIB_PKCS11_H
#define COFFER_LIB_PKCS11_H

#include <stddef.h>
#include <stdint.h>

#include "lib/fault.h"

#define PKCS11_SECRET 32
#define PKCS11_WRAPPED_MAX 1024 // RSA of 8192 bits

struct pkcs11_place {
	const char *module;		// an absolute path
	const char *token, *label;	// the token's name, and the key's in it
};

struct pkcs11_wrapped {
	char how[16];	// "aes-gcm", "aes-kwp", "aes-wrap-pad", "rsa-oaep-256", "rsa-oaep-1"
	uint8_t iv[12]; // of AES-GCM
	uint8_t bytes[PKCS11_WRAPPED_MAX];
	size_t len;
};

// -ENODEV: no module or token; -ENOKEY: no such key in it; -EACCES: the PIN is wrong; -EPERM: it is locked; -EBADMSG: what was wrapped does
// not open; -EOPNOTSUPP: the token cannot do any of these with that key; -EIO: else.
int pkcs11_wrap(const struct pkcs11_place *p, const char *pin, const uint8_t secret[PKCS11_SECRET], struct pkcs11_wrapped *out, struct fault *f);
int pkcs11_unwrap(const struct pkcs11_place *p, const char *pin, const struct pkcs11_wrapped *w, uint8_t secret[PKCS11_SECRET], struct fault *f);

#endif
