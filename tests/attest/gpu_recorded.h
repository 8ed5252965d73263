// SPDX-License-Identifier: Apache-2.0
// What real GPUs have answered (tests/attest/vectors/gpu), for the tests of the verifier and of SPDM. Run from the repository. Single-threaded.
#ifndef COFFER_TESTS_ATTEST_GPU_RECORDED_H
#define COFFER_TESTS_ATTEST_GPU_RECORDED_H

#include <stdlib.h>
#include <string.h>

#include "attest/cert.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "tests/attest/ok.h"

#define RECORDED_NOW 1767225600		// 2026-01-01
#define RECORDED_REQUEST 37		// bytes of the request; the answer begins behind it

struct recorded {
	const char *name, *nonce, *driver, *vbios, *fwid, *second;	// hexadecimal; `second` is measurement 2
	unsigned int measured;
	size_t trailing;
	uint8_t bytes[8192];
	size_t len;
	char *pem;
	size_t pem_len;
	struct cert_list certs;
};

static struct recorded recorded[] = {
	{.name = "h100-550.90.07", .nonce = "931d8dd0add203ac3d8b4fbde75e115278eefcdceac5b87671a748f32364dfcb", .driver = "550.90.07",
	 .vbios = "96.00.9f.00.01", .fwid = "f5c384aebb579217a2c66b17ed0f28e6a9b8d639041acd7b4721cec004f7275494ba94bb5cdfdb3055ee051762b1f75d",
	 .second = "8048dfd18fe229bf16eb9d30cca0f11a24dafe6eb731de1462984645a0b189b77c4e4e17de727a5e19e3d07de51da338", .measured = 26},
	{.name = "h100-580.95.05", .nonce = "87d8e24ab336adafe228d49e83d745f6dba4ae505372b6a5704820856b343fec", .driver = "580.95.05",
	 .vbios = "96.00.74.00.1a", .fwid = "f1ae7d0093a3f5689cced58045c9744f94eb2aa4ddca88135197fb41a7be45576c2881cf920e2cbcc090b1cb921f7b2d",
	 .second = "b558fdac9af53b91ff3bdb06ff589859d6fbc1050d875c88329347f24ff7b3d11ac53688ba56db03cf8751913107e0db", .measured = 27, .trailing = 1},
};

static inline int recorded_load(struct recorded *r)
{
	char path[128], *hex = NULL;
	size_t len, n = 0;
	snprintf(path, sizeof path, "tests/attest/vectors/gpu/%s.hex", r->name);
	int err = file_read(path, 1 << 20, &hex, &len, NULL);
	for (size_t i = 0; !err && i < len; i++) {
		if (hex[i] != '\n')
			hex[n++] = hex[i];
	}
	r->len = n / 2;
	if (!err && r->len < sizeof r->bytes) {
		hex[n] = '\0';
		err = hex_decode(r->bytes, r->len, hex);
	}
	free(hex);
	snprintf(path, sizeof path, "tests/attest/vectors/gpu/%s.pem", r->name);
	if (!err)
		err = file_read(path, 1 << 20, &r->pem, &r->pem_len, NULL);
	return err ? err : cert_list_add_pem(&r->certs, r->pem, r->pem_len, NULL);
}

// Both, or the program ends: they are part of the repository.
static inline void recorded_load_all(void)
{
	for (size_t i = 0; i < 2; i++) {
		int err = recorded_load(&recorded[i]);
		if (!ok(recorded[i].name, !err, "cannot be read from tests/attest/vectors/gpu: %s", strerror(-err)))
			exit(1);
	}
}

static inline void recorded_free(void)
{
	for (size_t i = 0; i < 2; i++) {
		cert_list_free(&recorded[i].certs);
		free(recorded[i].pem);
	}
}

#endif
