// SPDX-License-Identifier: Apache-2.0
// Inside image/: encrypted images (encrypt.c; docs/image.md has the layout).
#ifndef COFFER_IMAGE_ENCRYPT_H
#define COFFER_IMAGE_ENCRYPT_H

#include <stdint.h>

#include "image/text.h"
#include "lib/fault.h"

#define IMAGE_KEY_BYTES 32
#define IMAGE_ID_BYTES 16

struct image_secret {
	uint8_t id[IMAGE_ID_BYTES];	// names the key at the broker
	uint8_t key[IMAGE_KEY_BYTES];	// the caller wipes it
	uint8_t root[32];		// of the hash tree over the ciphertext
	uint64_t blocks;		// data blocks
};

// Makes id and key, encrypts the file's blocks in place and appends the hash tree over them.
int image_encrypt(const char *path, uint64_t blocks, struct image_secret *s, struct fault *p);
// The cipher alone: twice is nothing.
int image_encrypt_file(int fd, const char *path, uint64_t blocks, const uint8_t key[IMAGE_KEY_BYTES], struct fault *p);
// /.coffer/image.json of the plain image: what init-attest needs.
void image_secret_json(const struct image_secret *s, struct text *out);
// Copies a whole file into another, from offset `at` on.
int image_append(int to, const char *to_path, uint64_t at, const char *from_path, struct fault *p);
int image_remove_tree(const char *path, struct fault *p);

#endif
