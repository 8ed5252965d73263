// SPDX-License-Identifier: Apache-2.0
// Files of private keys; see keyfile.h.
#include "lib/keyfile.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/pem.h>
#include <stdbool.h>

#include "lib/file.h"

#define LIMIT (64u << 10)

int keyfile_write(const char *path, EVP_PKEY *key, struct fault *f)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	char *pem;
	long len = 0;

	if (key && bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL))
		len = BIO_get_mem_data(bio, &pem);
	int err = len > 0 ? file_write(path, pem, (size_t)len, 0600, true, f) : fault_set(f, -EIO, "cannot make a key");
	BIO_free(bio);
	EVP_PKEY_free(key);
	return err;
}

int keyfile_read(const char *path, EVP_PKEY **key, struct fault *f)
{
	char *pem;
	size_t len;
	int err = file_read_private(path, LIMIT, &pem, &len, f);

	if (err)
		return err;
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	*key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	free_wiped(pem, len);
	return *key ? 0 : fault_set(f, -EINVAL, "%s does not hold a key", path);
}
