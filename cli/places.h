// SPDX-License-Identifier: Apache-2.0
// For `coffer run`: where the destinations of an enclave's gateway are (places.c).
#ifndef COFFER_CLI_PLACES_H
#define COFFER_CLI_PLACES_H

#include "image/config.h"

// One --connect: NULL, or what is wrong with it.
const char *places_check(const char *text);
// The first of them that coffer.yaml does not name, or NULL.
const char *places_unknown(const struct config *c, const struct string_list *given);
// The host block's `addresses`. Looks names up that nobody gave a place for.
void places_json(const struct config *c, const struct string_list *given, struct text *t);

#endif
