// SPDX-License-Identifier: Apache-2.0
// See users.h. Passwords of files are not stretched: who reads the file has them anyway. The digest hides lengths and makes comparison even. No
// locks.
#include "tunnel/users.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lib/file.h"

#define MAX_FILE 65536
#define MAX_USERS 1024
#define MAX_PART 255	// of a name and of a password: one byte says their length in RFC 1929

struct user {
	uint8_t digest[32];
};

struct users {
	uint8_t salt[32];
	size_t n;
	struct user user[MAX_USERS];
};

// Of salt, name, a zero byte (no name has one) and password.
static bool digest(const struct users *u, const void *name, size_t name_len, const void *password, size_t password_len, uint8_t out[32])
{
	EVP_MD_CTX *c = EVP_MD_CTX_new();
	bool done = c && EVP_DigestInit_ex(c, EVP_sha256(), NULL) == 1 && EVP_DigestUpdate(c, u->salt, sizeof u->salt) == 1 &&
		    EVP_DigestUpdate(c, name, name_len) == 1 && EVP_DigestUpdate(c, "", 1) == 1 &&
		    EVP_DigestUpdate(c, password, password_len) == 1 && EVP_DigestFinal_ex(c, out, NULL) == 1;
	EVP_MD_CTX_free(c);
	return done;
}

static int take_line(struct users *u, const char *line, size_t len, unsigned int number, const char *path, struct fault *f)
{
	const char *colon = memchr(line, ':', len);
	size_t name_len = colon ? (size_t)(colon - line) : 0, password_len = colon ? len - name_len - 1 : 0;
	if (!len || line[0] == '#')
		return 0;
	if (!name_len || !password_len || name_len > MAX_PART || password_len > MAX_PART || memchr(line, '\0', len))
		return fault_set(f, -EINVAL, "%s: line %u is no name:password, of 1 to %d bytes each", path, number, MAX_PART);
	if (u->n == MAX_USERS)
		return fault_set(f, -EINVAL, "%s: more than %d users", path, MAX_USERS);
	return digest(u, line, name_len, colon + 1, password_len, u->user[u->n++].digest) ? 0 : fault_set(f, -ENOMEM, "no memory");
}

int users_read(struct users **out, const char *path, struct fault *f)
{
	char *text = NULL;
	size_t len = 0;
	unsigned int number = 0;
	struct users *u = calloc(1, sizeof *u);
	int err = u ? file_read_private(path, MAX_FILE, &text, &len, f) : fault_set(f, -ENOMEM, "no memory");
	if (!err && RAND_bytes(u->salt, sizeof u->salt) != 1)
		err = fault_set(f, -EIO, "no random bytes");
	for (size_t at = 0; !err && at < len;) {
		const char *end = memchr(text + at, '\n', len - at);
		size_t n = end ? (size_t)(end - text) - at : len - at, next = n + 1;
		if (n && text[at + n - 1] == '\r')
			n--;
		err = take_line(u, text + at, n, ++number, path, f);
		at += next;
	}
	if (!err && !u->n)
		err = fault_set(f, -EINVAL, "%s names no user", path);
	free_wiped(text, len);
	if (err) {
		users_free(u);
		u = NULL;
	}
	*out = u;
	return err;
}

void users_free(struct users *u)
{
	if (u)
		OPENSSL_cleanse(u, sizeof *u);
	free(u);
}

bool users_know(const struct users *u, const void *name, size_t name_len, const void *password, size_t password_len)
{
	uint8_t of[32];
	unsigned int found = 0;
	if (!name_len || name_len > MAX_PART || password_len > MAX_PART || memchr(name, '\0', name_len) ||
	    !digest(u, name, name_len, password, password_len, of))
		return false;
	for (size_t i = 0; i < u->n; i++)	// all of them, whichever it is
		found |= CRYPTO_memcmp(of, u->user[i].digest, sizeof of) == 0;
	OPENSSL_cleanse(of, sizeof of);
	return found;
}
