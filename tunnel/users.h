// SPDX-License-Identifier: Apache-2.0
// Who may use a way in: a file of `name:password` lines ('#' begins a comment), not readable by others. Kept as salted digests; comparisons take
// the same time for all passwords. Read-only once made; shared by threads.
#ifndef COFFER_TUNNEL_USERS_H
#define COFFER_TUNNEL_USERS_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/fault.h"

struct users;

int users_read(struct users **out, const char *path, struct fault *f);
void users_free(struct users *u);
// Neither needs to end in a zero byte.
bool users_know(const struct users *u, const void *name, size_t name_len, const void *password, size_t password_len);

#endif
