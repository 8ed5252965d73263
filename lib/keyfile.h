// SPDX-License-Identifier: Apache-2.0
// Private keys in files of their own (PEM, PKCS#8), which nobody but their owner reads.
#ifndef COFFER_LIB_KEYFILE_H
#define COFFER_LIB_KEYFILE_H

#include <openssl/evp.h>

#include "lib/fault.h"

// Writes a key that was just made, durably, mode 0600. Takes the key over; NULL: it could not be made, -EIO.
int keyfile_write(const char *path, EVP_PKEY *key, struct fault *f);

// *key: EVP_PKEY_free by the caller. -errno; -EPERM when others may read the file, -EINVAL when it holds no key.
int keyfile_read(const char *path, EVP_PKEY **key, struct fault *f);

// The same for keys that may be encrypted with a passphrase (PKCS#8, PBKDF2 and AES-256). `ask` has the form that OpenSSL wants; its last argument is
// the path. NULL: encrypted keys are refused, and keys are written in the clear. -EACCES: the passphrase is wrong.
int keyfile_write_locked(const char *path, EVP_PKEY *key, int (*ask)(char *out, int size, int writing, void *path), struct fault *f);
int keyfile_read_locked(const char *path, int (*ask)(char *out, int size, int writing, void *path), EVP_PKEY **key, struct fault *f);

#endif
