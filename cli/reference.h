// SPDX-License-Identifier: Apache-2.0
// What `coffer reference`, `coffer build` and `coffer verify` share: signed documents of reference values in files.
#ifndef COFFER_CLI_REFERENCE_H
#define COFFER_CLI_REFERENCE_H

#include "attest/refval.h"

#define REFERENCE_MAX_FILES 16

// A key from a PEM file: public (or a certificate), or private, which nobody else may read.
int reference_public_key(const char *path, struct dsse_key *k, struct fault *f);
int reference_private_key(const char *path, struct dsse_key *k, struct fault *f);

// Documents as the options of a command name them.
struct reference_files {
	const char *files[REFERENCE_MAX_FILES], *keys[REFERENCE_MAX_FILES], *seen;
	unsigned int file_count, key_count;
};

// All of them into the set; what was seen of them before is compared, and written down anew. -EBADMSG, -ESTALE: not to be believed.
int reference_load(const struct reference_files *r, time_t now, struct refval_set *s, struct fault *f);

// Adds values to a document, which is made if there is none (by that name, for a year), and signs it. 1: done; 0: all was there already.
struct reference_change {
	const char *file, *key;
	const char *from_key;	// who signed it so far; NULL: the same key
	const char *name;	// of a new document
	const struct refval_new *values;
	unsigned int count;
};
int reference_change(const struct reference_change *c, time_t now, struct fault *f);

// `coffer reference launch`.
int reference_launch(int argc, char **argv);
// `coffer reference import`.
int reference_import(int argc, char **argv);

#endif
