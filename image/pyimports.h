// SPDX-License-Identifier: Apache-2.0
// Which modules does a Python source text import? A scanner, not a parser: it knows strings, comments, brackets and
// line continuations, and reads `import a.b, c as d`, `from a.b import c`, and import_module("a") / __import__("a").
#ifndef COFFER_IMAGE_PYIMPORTS_H
#define COFFER_IMAGE_PYIMPORTS_H

#include <stdbool.h>
#include <stddef.h>

#include "image/text.h"

// Adds the first part of each imported module's name ("a" for a.b), without doubles. Relative imports are not listed.
// `whole`: imports inside functions, try blocks and conditions too; otherwise only unindented ones.
// The text is untrusted: any bytes will do.
void python_imports(const char *source, size_t len, bool whole, struct string_list *modules);

#endif
