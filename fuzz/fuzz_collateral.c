// SPDX-License-Identifier: Apache-2.0
// Collateral from anybody: paths that a mirror is asked for, files of a store, answers of services, files of tools (the first byte chooses), and evidence
// that says what it needs. What was read once is written and read again as the same.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/collateral.h"

static const char *const paths[] = {
	"/tdx/certification/v4/tcb?fmspc=00806F050000", "/sgx/certification/v4/qe/identity", "/sgx/certification/v4/pckcrl?ca=platform",
	"/IntelSGXRootCA.der", "/vcek/v1/Turin/0011223344556677?fmcSPL=1&blSPL=1&teeSPL=1&snpSPL=4&ucodeSPL=80", "/vcek/v1/Milan/cert_chain",
	"/vlek/v1/Genoa/crl", "/hsk_cek?snumber=X", "/hrk",
};
#define PATHS (sizeof paths / sizeof *paths)

static void needs(const uint8_t *bytes, size_t len)
{
	struct collateral_needs n;
	struct bundle b;
	if (bundle_init(&b))
		return;
	bundle_put_bytes(&b, "evidence", bytes, len);
	collateral_needs(&b, NULL, &n, NULL);
	for (unsigned int i = 0; i < n.count; i++) {
		if (n.need[i].key.path[0] != '/')
			abort();
	}
	bundle_free(&b);
}

static int take(void *ctx, const struct collateral_item *i, const char *what, const char *why)
{
	(void)ctx;
	(void)what;
	if (!i == !why)
		abort();
	return 0;
}

static void key(const char *text)
{
	struct collateral_key k, again;
	char about[200];
	if (collateral_key_read(text, &k, NULL))
		return;
	if (collateral_key_read(k.path, &again, NULL) || strcmp(k.path, again.path) || strcmp(k.name, again.name) || strchr(k.name, '/'))
		abort();
	collateral_about(&k, about);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct collateral_item i = {.body = NULL};
	struct bundle b;
	if (!size)
		return 0;
	uint8_t what = *data++;
	char *text = malloc(size);
	memcpy(text, data, size - 1);
	text[--size] = '\0';
	if (what < PATHS) {
		size_t chain = size / 2;	// the second half is its chain
		if (!collateral_key_read(paths[what], &i.key, NULL) && !collateral_item_set(&i, text, size - chain, text + size - chain, chain, NULL)) {
			if (!bundle_init(&b)) {
				collateral_to_bundle(&i, &b, NULL);
				bundle_free(&b);
			}
			collateral_item_free(&i);
		}
	} else if (what < '0') {
		const struct collateral_origin o = {.source = "a file", .chain = what & 1 ? text : NULL, .chain_len = what & 1 ? size : 0};
		collateral_import(text, size, &o, take, NULL, NULL);
	} else if (what < 'A') {
		if (!collateral_item_read(&i, text, size, NULL))
			collateral_item_free(&i);
	} else if (what < 'a') {
		key(text);
	} else {
		needs((const uint8_t *)text, size);
	}
	free(text);
	return 0;
}
