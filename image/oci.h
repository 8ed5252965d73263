// SPDX-License-Identifier: Apache-2.0
// The JSON documents of container images: OCI image-spec 1.1 (index, manifest, config) and the manifest.json of `docker save`.
// All of it is untrusted.
#ifndef COFFER_IMAGE_OCI_H
#define COFFER_IMAGE_OCI_H

#include <stddef.h>
#include <stdint.h>

#include "image/text.h"
#include "lib/fault.h"

#define OCI_MAX_LAYERS 512
#define OCI_MAX_JSON (8 << 20)
#define OCI_DIGEST 136			// "sha512:" and 128 digits, and NUL

struct oci_blob {
	char digest[OCI_DIGEST];	// "sha256:<hex>" or "sha512:<hex>", checked
	uint64_t size;
};

// index.json: which manifest is meant. `tag` (NULL: whatever there is) is the annotation org.opencontainers.image.ref.name, or the end of it
// behind a colon; `platform` is "OS/ARCHITECTURE[/VARIANT]". *is_index: the blob is an index in its turn. -ENOENT says what there is.
int oci_read_index(const char *json, size_t len, const char *tag, const char *platform, struct oci_blob *manifest, bool *is_index, struct fault *p);

struct oci_manifest {
	struct oci_blob config;
	struct oci_blob *layers;
	size_t layer_count;
};
int oci_read_manifest(const char *json, size_t len, struct oci_manifest *m, struct fault *p);
void oci_manifest_free(struct oci_manifest *m);

struct oci_config {
	char *architecture, *os, *working_directory, *user;
	struct string_list entrypoint, command, environment, ports, volumes;
	struct string_list diff_ids;	// digests of the layers' tar files, not compressed
};
int oci_read_config(const char *json, size_t len, struct oci_config *c, struct fault *p);
void oci_config_free(struct oci_config *c);

// manifest.json of `docker save`: the image of that tag, or the only one. Names are of files in the archive, without ".." parts.
struct oci_saved {
	char *config;
	struct string_list layers;
};
int oci_read_saved(const char *json, size_t len, const char *tag, struct oci_saved *s, struct fault *p);
void oci_saved_free(struct oci_saved *s);

#endif
