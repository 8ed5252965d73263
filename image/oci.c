// SPDX-License-Identifier: Apache-2.0
// See oci.h. jansson refuses doubled keys and bad UTF-8; the rest is checked here.
#include "image/oci.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_MANIFESTS = 4096, MOST_STRINGS = 4096 };

static int parse(const char *json, size_t len, const char *what, bool array, json_t **root, struct fault *p)
{
	json_error_t e;

	*root = NULL;
	if (len > OCI_MAX_JSON)
		return fault_set(p, -EFBIG, "%s is too large", what);
	*root = json_loadb(json, len, JSON_REJECT_DUPLICATES, &e);
	if (!*root)
		return fault_set(p, -EINVAL, "%s is not valid JSON: %s", what, e.text);
	return (array ? json_is_array(*root) : json_is_object(*root)) ? 0 : fault_set(p, -EINVAL, "%s is not a JSON %s", what, array ? "array" : "object");
}

static bool is_digest(const char *s)
{
	size_t want = !s ? 0 : starts_with(s, "sha256:") ? 64 : starts_with(s, "sha512:") ? 128 : 0;

	return want && strlen(s + 7) == want && strspn(s + 7, "0123456789abcdef") == want;
}

static int read_blob(json_t *d, const char *what, struct oci_blob *b, struct fault *p)
{
	const char *digest = json_string_value(json_object_get(d, "digest"));
	json_t *size = json_object_get(d, "size");

	if (!json_is_object(d) || !is_digest(digest))
		return fault_set(p, -EINVAL, "%s has no digest of SHA-256 or SHA-512", what);
	if (!json_is_integer(size) || json_integer_value(size) < 0)
		return fault_set(p, -EINVAL, "%s has no size", what);
	snprintf(b->digest, sizeof(b->digest), "%s", digest);
	b->size = (uint64_t)json_integer_value(size);
	return 0;
}

static bool has_tag(json_t *d, const char *tag)
{
	json_t *notes = json_object_get(d, "annotations");
	const char *names[] = {json_string_value(json_object_get(notes, "org.opencontainers.image.ref.name")),
			       json_string_value(json_object_get(notes, "io.containerd.image.name"))};

	for (int i = 0; i < 2; i++) {
		size_t n = names[i] ? strlen(names[i]) : 0, m = strlen(tag);

		if (n && (!strcmp(names[i], tag) || (n > m && names[i][n - m - 1] == ':' && !strcmp(names[i] + n - m, tag)) ||
			  (n > m && names[i][n - m - 1] == '/' && !strcmp(names[i] + n - m, tag))))
			return true;
	}
	return false;
}

// No platform at all is the one that is wanted.
static bool has_platform(json_t *d, const char *platform)
{
	json_t *have = json_object_get(d, "platform");
	const char *os = json_string_value(json_object_get(have, "os")), *kind = json_string_value(json_object_get(have, "architecture"));
	const char *variant = json_string_value(json_object_get(have, "variant"));
	size_t n, m;

	if (!json_is_object(have))
		return true;
	if (!os || !kind)
		return false;
	n = strlen(os);
	m = strlen(kind);
	if (strncmp(platform, os, n) || platform[n] != '/' || strncmp(platform + n + 1, kind, m))
		return false;
	platform += n + 1 + m;
	return !*platform || (*platform == '/' && variant && !strcmp(platform + 1, variant));
}

static void describe(json_t *d, struct text *out)
{
	json_t *notes = json_object_get(d, "annotations"), *have = json_object_get(d, "platform");
	const char *name = json_string_value(json_object_get(notes, "org.opencontainers.image.ref.name"));
	const char *os = json_string_value(json_object_get(have, "os")), *kind = json_string_value(json_object_get(have, "architecture"));

	if (out->len > 300)
		return;
	text_printf(out, "%s%.60s%s%.20s%s%.20s", out->len ? ", " : "", name ? name : os ? "" : "one without a name", name && os ? " " : "", os ? os : "",
		    kind ? "/" : "", kind ? kind : "");
}

int oci_read_index(const char *json, size_t len, const char *tag, const char *platform, struct oci_blob *manifest, bool *is_index, struct fault *p)
{
	json_t *root, *list, *d, *found = NULL;
	struct text there = {0};
	size_t i, matches = 0;
	int err = parse(json, len, "the index", false, &root, p);
	const char *type;

	text_puts(&there, "");
	if (err)
		goto out;
	list = json_object_get(root, "manifests");
	if (!json_is_array(list) || json_array_size(list) > MOST_MANIFESTS) {
		err = fault_set(p, -EINVAL, "the index has no list of manifests");
		goto out;
	}
	json_array_foreach(list, i, d) {
		if (!json_is_object(d)) {
			err = fault_set(p, -EINVAL, "a manifest in the index is not an object");
			goto out;
		}
		describe(d, &there);
		// Attestations of builders say "unknown/unknown".
		if ((tag && !has_tag(d, tag)) || !has_platform(d, platform))
			continue;
		if (!found)
			found = d;
		matches++;
	}
	if (!found) {
		err = fault_set(p, -ENOENT, "no image%s%.100s for %s; there is: %s", tag ? " named " : "", tag ? tag : "", platform, there.len ? there.data : "none");
	} else if (matches > 1 && !tag) {
		err = fault_set(p, -ENOENT, "more than one image for %s: name one with --tag; there is: %s", platform, there.data);
	} else {
		type = json_string_value(json_object_get(found, "mediaType"));
		*is_index = type && (!strcmp(type, "application/vnd.oci.image.index.v1+json") ||
				     !strcmp(type, "application/vnd.docker.distribution.manifest.list.v2+json"));
		err = read_blob(found, "a manifest in the index", manifest, p);
	}
out:
	text_free(&there);
	json_decref(root);
	return err;
}

int oci_read_manifest(const char *json, size_t len, struct oci_manifest *m, struct fault *p)
{
	json_t *root, *layers, *d;
	int err = parse(json, len, "the manifest", false, &root, p);
	size_t i;

	*m = (struct oci_manifest){0};
	layers = json_object_get(root, "layers");
	if (!err && (!json_is_array(layers) || json_array_size(layers) > OCI_MAX_LAYERS))
		err = fault_set(p, -EINVAL, "the manifest has no list of layers, or one of more than %d", OCI_MAX_LAYERS);
	if (!err)
		err = read_blob(json_object_get(root, "config"), "the manifest's configuration", &m->config, p);
	if (!err)
		m->layers = xmalloc(json_array_size(layers) * sizeof(*m->layers) + 1);
	json_array_foreach(layers, i, d) {
		const char *type = json_string_value(json_object_get(d, "mediaType"));

		if (err)
			break;
		if (type && (strstr(type, "encrypted") || strstr(type, "foreign") || strstr(type, "nondistributable")))
			err = fault_set(p, -ENOTSUP, "layer %zu is of type %.80s, which is not in the image itself or cannot be read", i + 1, type);
		else
			err = read_blob(d, "a layer", &m->layers[m->layer_count++], p);
	}
	json_decref(root);
	if (err)
		oci_manifest_free(m);
	return err;
}

void oci_manifest_free(struct oci_manifest *m)
{
	free(m->layers);
	*m = (struct oci_manifest){0};
}

static int read_strings(json_t *list, const char *key, struct string_list *out, struct fault *p)
{
	json_t *item;
	size_t i;

	if (!list || json_is_null(list))
		return 0;
	if (!json_is_array(list) || json_array_size(list) > MOST_STRINGS)
		return fault_set(p, -EINVAL, "'%s' of the image's configuration is not a list of strings", key);
	json_array_foreach(list, i, item) {
		if (!json_is_string(item) || strlen(json_string_value(item)) != json_string_length(item))
			return fault_set(p, -EINVAL, "'%s' of the image's configuration is not a list of strings", key);
		string_list_add(out, json_string_value(item));
	}
	return 0;
}

static int read_keys(json_t *map, const char *key, struct string_list *out, struct fault *p)
{
	const char *name;
	json_t *value;

	if (!map || json_is_null(map))
		return 0;
	if (!json_is_object(map) || json_object_size(map) > MOST_STRINGS)
		return fault_set(p, -EINVAL, "'%s' of the image's configuration is not a map", key);
	json_object_foreach(map, name, value)
		string_list_add(out, name);
	string_list_sort(out);
	return 0;
}

static char *read_string(json_t *from, const char *key)
{
	json_t *s = json_object_get(from, key);

	return json_is_string(s) && strlen(json_string_value(s)) == json_string_length(s) ? xstrdup(json_string_value(s)) : NULL;
}

int oci_read_config(const char *json, size_t len, struct oci_config *c, struct fault *p)
{
	json_t *root, *inner;
	int err = parse(json, len, "the image's configuration", false, &root, p);

	*c = (struct oci_config){0};
	inner = json_object_get(root, "config");
	c->architecture = read_string(root, "architecture");
	c->os = read_string(root, "os");
	c->working_directory = read_string(inner, "WorkingDir");
	c->user = read_string(inner, "User");
	if (!err)
		err = read_strings(json_object_get(inner, "Entrypoint"), "Entrypoint", &c->entrypoint, p);
	if (!err)
		err = read_strings(json_object_get(inner, "Cmd"), "Cmd", &c->command, p);
	if (!err)
		err = read_strings(json_object_get(inner, "Env"), "Env", &c->environment, p);
	if (!err)
		err = read_keys(json_object_get(inner, "ExposedPorts"), "ExposedPorts", &c->ports, p);
	if (!err)
		err = read_keys(json_object_get(inner, "Volumes"), "Volumes", &c->volumes, p);
	if (!err)
		err = read_strings(json_object_get(json_object_get(root, "rootfs"), "diff_ids"), "diff_ids", &c->diff_ids, p);
	for (size_t i = 0; i < c->diff_ids.count && !err; i++)
		if (!is_digest(c->diff_ids.items[i]))
			err = fault_set(p, -EINVAL, "a layer's digest in the image's configuration is none");
	json_decref(root);
	if (err)
		oci_config_free(c);
	return err;
}

void oci_config_free(struct oci_config *c)
{
	free(c->architecture);
	free(c->os);
	free(c->working_directory);
	free(c->user);
	string_list_free(&c->entrypoint);
	string_list_free(&c->command);
	string_list_free(&c->environment);
	string_list_free(&c->ports);
	string_list_free(&c->volumes);
	string_list_free(&c->diff_ids);
	*c = (struct oci_config){0};
}

// A relative path inside the archive.
static bool is_inner_path(const char *s)
{
	if (!s || !*s || *s == '/' || strlen(s) > 1024)
		return false;
	for (const char *at = s; *at; at += strcspn(at, "/"), at += *at == '/')
		if (!strcmp(at, "..") || starts_with(at, "../"))
			return false;
	return true;
}

int oci_read_saved(const char *json, size_t len, const char *tag, struct oci_saved *s, struct fault *p)
{
	json_t *root, *item, *found = NULL, *name;
	int err = parse(json, len, "manifest.json", true, &root, p);
	size_t i, k;

	*s = (struct oci_saved){0};
	json_array_foreach(root, i, item)
		json_array_foreach(json_object_get(item, "RepoTags"), k, name) {
			const char *have = json_string_value(name);
			size_t n = have ? strlen(have) : 0, m = tag ? strlen(tag) : 0;

			if (tag && n >= m && !strcmp(have + n - m, tag) && (n == m || strchr(":/", have[n - m - 1])) && !found)
				found = item;
		}
	if (!tag && json_array_size(root) == 1)
		found = json_array_get(root, 0);
	if (!err && !found)
		err = tag ? fault_set(p, -ENOENT, "no image of that name in the archive")
			  : fault_set(p, -ENOENT, "%zu images in the archive: name one with --tag", json_array_size(root));
	if (!err)
		s->config = read_string(found, "Config");
	if (!err)
		err = read_strings(json_object_get(found, "Layers"), "Layers", &s->layers, p);
	if (!err && (!is_inner_path(s->config) || !s->layers.count || s->layers.count > OCI_MAX_LAYERS))
		err = fault_set(p, -EINVAL, "manifest.json names no configuration, or no layers");
	for (i = 0; i < s->layers.count && !err; i++)
		if (!is_inner_path(s->layers.items[i]))
			err = fault_set(p, -EINVAL, "manifest.json names a layer outside the archive");
	json_decref(root);
	if (err)
		oci_saved_free(s);
	return err;
}

void oci_saved_free(struct oci_saved *s)
{
	free(s->config);
	string_list_free(&s->layers);
	*s = (struct oci_saved){0};
}
