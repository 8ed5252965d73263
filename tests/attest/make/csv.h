// SPDX-License-Identifier: Apache-2.0
// Makes Hygon CSV reports of both versions and the chain above them, under a test root. For tests only.
#ifndef COFFER_TESTS_ATTEST_MAKE_CSV_H
#define COFFER_TESTS_ATTEST_MAKE_CSV_H

#include <openssl/evp.h>

#include "attest/csv.h"

struct csv_world {
	EVP_PKEY *hrk, *cek, *pek;
	uint8_t hrk_cert[CSV_ROOT_BYTES], hsk_cek[CSV_ROOT_BYTES + CSV_CERT_BYTES], pek_cert[CSV_CERT_BYTES];
};

void csv_make_world(struct csv_world *w, uint32_t cek_usage);
void csv_free_world(struct csv_world *w);

// `data` NULL: 64 bytes 0xda. `b` has room for CSV_V2_BYTES. Returns the length.
size_t csv_make_report(const struct csv_world *w, int version, uint32_t policy, const uint8_t *data, uint8_t *b);

#endif
