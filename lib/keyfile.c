// SPDX-License-Identifier: Apache-2.0
// Files of private keys; see keyfile.h.
#include "lib/keyfile.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <stdbool.h>
#include <string.h>

#include "lib/file.h"

#define LIMIT (64u << 10)
#define ROUNDS 600000	// of PBKDF2: what each guess at a passphrase costs who has the file; OpenSSL's own number is 2048

static int write_encrypted(BIO *bio, EVP_PKEY *key, int (*ask)(char *out, int size, int writing, void *path), const char *path)
{
	char passphrase[1024];
	int n = ask(passphrase, sizeof passphrase, 1, (void *)path);
	PKCS8_PRIV_KEY_INFO *plain = n > 0 ? EVP_PKEY2PKCS8(key) : NULL;
	X509_SIG *sealed = plain ? PKCS8_encrypt(-1, EVP_aes_256_cbc(), passphrase, n, NULL, 0, ROUNDS, plain) : NULL;
	int ok = sealed && PEM_write_bio_PKCS8(bio, sealed) == 1;
	explicit_bzero(passphrase, sizeof passphrase);
	PKCS8_PRIV_KEY_INFO_free(plain);
	X509_SIG_free(sealed);
	return ok;
}

int keyfile_write_locked(const char *path, EVP_PKEY *key, int (*ask)(char *out, int size, int writing, void *path), struct fault *f)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	char *pem;
	long len = 0;

	if (key && bio && (ask ? write_encrypted(bio, key, ask, path) : PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL)))
		len = BIO_get_mem_data(bio, &pem);
	ERR_clear_error();
	int err = len > 0 ? file_write(path, pem, (size_t)len, 0600, true, f) : fault_set(f, -EIO, "cannot make a key");
	BIO_free(bio);
	EVP_PKEY_free(key);
	return err;
}

int keyfile_write(const char *path, EVP_PKEY *key, struct fault *f)
{
	return keyfile_write_locked(path, key, NULL, f);
}

// Without somebody to ask, a key that is encrypted is none: OpenSSL must not ask on the terminal by itself.
static int nobody(char *out, int size, int writing, void *path)
{
	(void)out;
	(void)size;
	(void)writing;
	(void)path;
	return -1;
}

int keyfile_read_locked(const char *path, int (*ask)(char *out, int size, int writing, void *path), EVP_PKEY **key, struct fault *f)
{
	char *pem;
	size_t len;
	int err = file_read_private(path, LIMIT, &pem, &len, f);

	if (err)
		return err;
	bool locked = strstr(pem, "ENCRYPTED") != NULL;
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	*key = bio ? PEM_read_bio_PrivateKey(bio, NULL, ask ? ask : nobody, (void *)path) : NULL;
	BIO_free(bio);
	ERR_clear_error();
	free_wiped(pem, len);
	if (*key)
		return 0;
	return locked && ask ? fault_set(f, -EACCES, "%s stays closed: that is not its passphrase, or none was given", path) :
	       fault_set(f, -EINVAL, locked ? "%s is encrypted with a passphrase" : "%s does not hold a key", path);
}

int keyfile_read(const char *path, EVP_PKEY **key, struct fault *f)
{
	return keyfile_read_locked(path, NULL, key, f);
}
