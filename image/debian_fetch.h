// SPDX-License-Identifier: Apache-2.0
// Packages that are not installed, by apt, unpacked into the project's build/packages/root (see debian_fetch.c).
#ifndef COFFER_IMAGE_DEBIAN_FETCH_H
#define COFFER_IMAGE_DEBIAN_FETCH_H

#include <stdio.h>

#include "image/debian.h"

// `what`: NAME or NAME=VERSION. Adds it to `d` with all that apt would install beside it on this machine. -ENOENT: apt has no such package;
// -EBADMSG: what came is not what the archive signed; -EIO: a tool failed.
int debian_fetch(struct debian *d, const char *project, const char *what, bool recommends, FILE *report, struct fault *p);

#endif
