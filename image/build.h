// SPDX-License-Identifier: Apache-2.0
// `coffer build`: a project's image/ folder and configuration -> build/enclave.img and build/enclave.manifest.
// The same files give the same bytes on any machine, whatever the user, time, umask or order of creation.
#ifndef COFFER_IMAGE_BUILD_H
#define COFFER_IMAGE_BUILD_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "image/config.h"
#include "image/manifest.h"

// Where the pieces of an enclave lie on this machine: <lib>/kernel.elf, init, init-attest.
#define BUILD_KERNEL "kernel.elf"

struct build_options {
	const char *lib_dir;
	FILE *report;			// progress; NULL: silent
	bool report_files;		// a line for each file copied
	bool force;			// even when nothing changed
	// An encrypted image: called with its id and key before the image gets its name; an error ends the build.
	int (*keep_key)(void *ctx, const uint8_t id[16], const uint8_t key[32], struct fault *p);
	void *ctx;
};

struct build_result {
	char measurement[MEASUREMENT_HEX];
	uint64_t files;			// in the image
	uint64_t image_bytes;		// of enclave.img
	char image_id[33];		// of an encrypted image: names its key; else ""
	bool unchanged;			// nothing had changed, the files of the last build stand
};

// Applies `copy:`, completes image/ (mount points, /etc/passwd and the like where missing, /.coffer), makes the EROFS image,
// its hash tree and the manifest. Errors: -errno with a message; nothing of the last build is lost on error.
int image_build(const struct config *c, const struct build_options *o, struct build_result *r, struct fault *p);

// skeleton.c: what each root file system has. Never overwrites what is there.
struct tree;
int image_skeleton(const struct config *c, struct tree *t, struct fault *p);
// What it would write to `path`; "" when that is none of its files.
const char *image_skeleton_file(const char *path);

// names.c: what `network:` changes in /etc.
int image_names(const struct config *c, struct tree *t, struct fault *p);

// Files whose owner, mode or extended attributes image/.coffer/attributes (attributes.h) gave, and lines of it that name nothing that is there.
struct image_attributes {
	uint64_t set, stale;
};

// erofs.c: runs mkfs.erofs and sets owners and attributes. The output is the same for the same tree (1.5 and later sort folders themselves).
int image_mkfs(const char *root, const char *output, struct image_attributes *said, struct fault *p);

// ldcache.c: writes /etc/ld.so.cache for the libraries of the image (glibc 2.2+ format), so that they are found where
// /etc/ld.so.conf puts them, and in one step.
int image_ldcache(struct tree *t, struct fault *p);

// verify.c: reads manifest and image of a project as the enclave will: all hashes. 0, or -errno with a message that
// says what does not match. `lib_dir` may be NULL: kernel and init are then not compared.
int image_verify(const char *manifest_path, const char *image_path, const char *lib_dir, struct manifest *m,
		 char measurement[MEASUREMENT_HEX], struct fault *p);

// verify.c: SHA-384 of a whole file.
int image_hash_file(const char *path, uint8_t digest[48], struct fault *p);

// manifest.c: reads and parses a manifest and measures it.
int image_manifest(const char *manifest_path, struct manifest *m, char measurement[MEASUREMENT_HEX], struct fault *p);

#endif
