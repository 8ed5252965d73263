// SPDX-License-Identifier: Apache-2.0
// Early checks of a built enclave on the host, for clear messages. What protects is the kernel's own check of each block:
// the host could skip this one.
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/build.h"
#include "image/hashtree.h"

int image_hash_file(const char *path, uint8_t digest[48], struct fault *p)
{
	EVP_MD_CTX *context;
	uint8_t buffer[65536];
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	ssize_t n;

	if (fd < 0)
		return fault_errno(p, errno, "cannot open %s", path);
	context = EVP_MD_CTX_new();
	EVP_DigestInit_ex(context, EVP_sha384(), NULL);
	while (!err && (n = read(fd, buffer, sizeof(buffer))) != 0) {
		if (n > 0)
			EVP_DigestUpdate(context, buffer, (size_t)n);
		else if (errno != EINTR)
			err = fault_errno(p, errno, "cannot read %s", path);
	}
	EVP_DigestFinal_ex(context, digest, NULL);
	EVP_MD_CTX_free(context);
	close(fd);
	return err;
}

static int check_file(const char *lib_dir, const char *name, const uint8_t expected[48], struct fault *p)
{
	char *path = xasprintf("%s/%s", lib_dir, name), found_hex[97], expected_hex[97];
	uint8_t found[48];
	int err = image_hash_file(path, found, p);

	if (!err && memcmp(found, expected, sizeof(found)) != 0)
		err = fault_set(p, -EBADMSG, "%s is not the one that this enclave was built with (SHA-384 %.16s..., the manifest says "
				  "%.16s...): run `coffer build` again", path, hex_text(found_hex, found, 48),
				  hex_text(expected_hex, expected, 48));
	free(path);
	return err;
}

int image_verify(const char *manifest_path, const char *image_path, const char *lib_dir, struct manifest *m,
		 char measurement[MEASUREMENT_HEX], struct fault *p)
{
	int fd, err = image_manifest(manifest_path, m, measurement, p);
	uint64_t expected;
	struct stat st;

	if (err)
		return err;
	if (lib_dir) {
		err = check_file(lib_dir, BUILD_KERNEL, m->kernel, p);
		if (err)
			return err;
	}
	fd = open(image_path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ? fault_set(p, -ENOENT, "%s is missing: run `coffer build` first", image_path)
				       : fault_errno(p, errno, "cannot open %s", image_path);
	expected = (m->image_blocks + hashtree_blocks(m->image_blocks)) * HASHTREE_BLOCK;
	if (fstat(fd, &st) < 0)
		err = fault_errno(p, errno, "cannot look at %s", image_path);
	else if ((uint64_t)st.st_size < expected) // an encrypted root lies behind
		err = fault_set(p, -EBADMSG, "%s has %llu bytes, the manifest says %llu: it was cut short after `coffer build`", image_path,
				  (unsigned long long)st.st_size, (unsigned long long)expected);
	else
		err = hashtree_check(fd, image_path, m->image_blocks, m->image_root, p);
	close(fd);
	return err;
}
