// SPDX-License-Identifier: Apache-2.0
// Runs another program of this machine (apt-get, dpkg-deb, mkfs.erofs) and keeps what it says.
#ifndef COFFER_IMAGE_TOOL_H
#define COFFER_IMAGE_TOOL_H

#include "image/text.h"
#include "lib/fault.h"

// Runs argv[0], found in PATH, with an empty standard input, in `folder` (NULL: the current one). *out gets its standard output; NULL:
// that is of no interest. What it says on standard error ends up in the message when it fails. 0; -ENOENT: there is no such program;
// -EIO: it failed; -EFBIG: it said more than `limit` bytes.
int tool_run(char *const argv[], const char *folder, size_t limit, struct text *out, struct fault *p);

#endif
