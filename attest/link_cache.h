// SPDX-License-Identifier: Apache-2.0
// Inside attest/: signatures between certificates that were found good lately. Who verifies evidence meets the same certificates each
// time, and their signatures cost as much as the evidence's own. Only good ones are remembered, by the digests of both certificates'
// bytes, so an entry can never say more than a verification would. Dates, revocation and trust are not remembered.
// One table for the process, behind a mutex that is held for comparisons only.
#ifndef COFFER_ATTEST_LINK_CACHE_H
#define COFFER_ATTEST_LINK_CACHE_H

#include <stdbool.h>
#include <stdint.h>

bool link_cache_has(const uint8_t link[32]);
void link_cache_put(const uint8_t link[32]);

#endif
