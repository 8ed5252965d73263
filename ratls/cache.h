// SPDX-License-Identifier: Apache-2.0
// Inside ratls/: verdicts about certificates, by the certificates' exact bytes, each until its time is over. Its mutex is held for a comparison of bytes.
#ifndef COFFER_RATLS_CACHE_H
#define COFFER_RATLS_CACHE_H

#include "ratls/judge.h"

struct verdict_cache;

struct verdict_cache *verdict_cache_new(void);
void verdict_cache_free(struct verdict_cache *c);
// A new reference, or NULL.
struct verdict *verdict_cache_get(struct verdict_cache *c, const uint8_t *der, size_t len, time_t now);
// Keeps its own reference, until then or the end of the verdict. Without memory nothing is kept.
void verdict_cache_put(struct verdict_cache *c, const uint8_t *der, size_t len, struct verdict *v, time_t until);

#endif
