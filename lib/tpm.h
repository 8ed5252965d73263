// SPDX-License-Identifier: Apache-2.0
// As much of TPM 2.0 as an NV index needs that nobody but the holder of a secret can read or write: commands authorised and answers
// authenticated by HMAC sessions under the index's own secret, so that the way to the TPM (a host, a socket) can do no more than lose
// them. (TCG, TPM 2.0 Library, parts 1 to 3.) No locks; a connection serves one caller.
#ifndef COFFER_LIB_TPM_H
#define COFFER_LIB_TPM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/fault.h"

#define TPM_MAX 4096		// bytes of a command or an answer
#define TPM_AUTH_BYTES 32
#define TPM_NAME_BYTES 34
#define TPM_DATA_MAX 128	// of an index

struct tpm {
	int fd;
	char where[200];
	// One command, one answer. 0 or -errno with a message.
	int (*transmit)(struct tpm *t, const uint8_t *command, size_t n, uint8_t *answer, size_t *len, struct fault *f);
	void *ctx;
};

// where: "device:/dev/tpmrm0", "unix:PATH" or "tcp:ADDRESS:PORT" (a numeric address; IPv6 in brackets), as `swtpm socket` serves them.
int tpm_open(struct tpm *t, const char *where, struct fault *f);
void tpm_close(struct tpm *t);
bool tpm_where_valid(const char *where);

// Errors of the four: -ENOENT there is no such index, -EACCES it takes another secret, -ESTALE something came between (tpm_nv_swap),
// -ENODATA nothing was written yet, -EPROTO it is no TPM or the answer was altered, -EIO the TPM's own.

// Makes an index of `size` bytes and writes it, in the place of another one with that number. The secret travels encrypted to the
// TPM's endorsement key, whose name is given in *name (all zero: any; it is filled in).
int tpm_nv_create(struct tpm *t, uint32_t index, const uint8_t auth[TPM_AUTH_BYTES], const void *data, size_t size, uint8_t name[TPM_NAME_BYTES],
		  struct fault *f);
// The name of such an index once it is written: a digest of its number, its size and its attributes.
void tpm_nv_name(uint32_t index, size_t size, uint8_t name[TPM_NAME_BYTES]);
int tpm_nv_read(struct tpm *t, uint32_t index, const uint8_t auth[TPM_AUTH_BYTES], void *data, size_t size, struct fault *f);
// Reads the index and lets `decide` change the bytes: they are written (1), left (0), or it is an error (<0). Nothing that another did
// to the TPM can come between: -ESTALE then, and nothing was written.
int tpm_nv_swap(struct tpm *t, uint32_t index, const uint8_t auth[TPM_AUTH_BYTES], size_t size,
		int (*decide)(void *ctx, uint8_t *data, struct fault *f), void *ctx, struct fault *f);

#endif
