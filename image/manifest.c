// SPDX-License-Identifier: Apache-2.0
// Writes, reads and measures enclave.manifest (see manifest.h).
#include "image/manifest.h"
#include "image/build.h"
#include "lib/sha.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void manifest_write(const struct manifest *m, struct text *out)
{
	char hex[MEASUREMENT_HEX];

	text_puts(out, "coffer-manifest: 1\n");
	text_printf(out, "platform: %s\n", m->platform);
	text_printf(out, "kernel: %s\n", hex_text(hex, m->kernel, sizeof(m->kernel)));
	text_printf(out, "image-root: %s\n", hex_text(hex, m->image_root, sizeof(m->image_root)));
	text_printf(out, "image-blocks: %llu\n", (unsigned long long)m->image_blocks);
	text_printf(out, "config: %s\n", hex_text(hex, m->config, sizeof(m->config)));
	text_printf(out, "init: %s\n", hex_text(hex, m->init, sizeof(m->init)));
	text_printf(out, "options: %s\n", m->options);
}

// The value of the line `key: value`, which must come next; *at moves behind it. NULL when it does not.
static char *next_value(const char **at, const char *end, const char *key)
{
	size_t key_len = strlen(key);
	const char *newline, *start = *at;

	if ((size_t)(end - start) < key_len + 2 || memcmp(start, key, key_len) != 0 || memcmp(start + key_len, ": ", 2) != 0)
		return NULL;
	start += key_len + 2;
	newline = memchr(start, '\n', (size_t)(end - start));
	if (!newline || memchr(start, '\0', (size_t)(newline - start)))
		return NULL;
	*at = newline + 1;
	return xstrndup(start, (size_t)(newline - start));
}

static bool hex_value(const char *s, uint8_t *out, size_t len)
{
	if (strlen(s) != 2 * len || strspn(s, "0123456789abcdef") != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++) {
		char two[3] = {s[2 * i], s[2 * i + 1], '\0'};

		out[i] = (uint8_t)strtoul(two, NULL, 16);
	}
	return true;
}

int manifest_parse(struct manifest *m, const char *text, size_t len, struct fault *p)
{
	static const char *const keys[] = {"coffer-manifest", "platform", "kernel", "image-root", "image-blocks", "config", "init",
					   "options"};
	const char *at = text, *end = text + len;
	int err = 0;

	*m = (struct manifest){0};
	for (size_t i = 0; i < 8 && !err; i++) {
		char *value = next_value(&at, end, keys[i]), *rest;
		bool good = false;

		if (!value)
			return fault_set(p, -EINVAL, "the manifest is damaged: expected the line '%s: ...'", keys[i]);
		switch (i) {
		case 0: good = !strcmp(value, "1"); break;
		case 1: good = (size_t)snprintf(m->platform, sizeof(m->platform), "%s", value) < sizeof(m->platform); break;
		case 2: good = hex_value(value, m->kernel, sizeof(m->kernel)); break;
		case 3: good = hex_value(value, m->image_root, sizeof(m->image_root)); break;
		case 4:
			m->image_blocks = strtoull(value, &rest, 10);
			good = value[0] >= '1' && value[0] <= '9' && !*rest && m->image_blocks < 1ull << 40;
			break;
		case 5: good = hex_value(value, m->config, sizeof(m->config)); break;
		case 6: good = hex_value(value, m->init, sizeof(m->init)); break;
		case 7: good = (size_t)snprintf(m->options, sizeof(m->options), "%s", value) < sizeof(m->options); break;
		}
		if (!good)
			err = fault_set(p, -EINVAL, "the manifest is damaged: '%s: %.80s' cannot be right", keys[i], value);
		free(value);
	}
	if (!err && at != end)
		err = fault_set(p, -EINVAL, "the manifest is damaged: something follows its last line");
	return err;
}

void manifest_measure(const char *text, size_t len, uint8_t measurement[MEASUREMENT_BYTES])
{
	sha_384(text, len, measurement);
}

int image_manifest(const char *manifest_path, struct manifest *m, char measurement[MEASUREMENT_HEX], struct fault *p)
{
	uint8_t digest[MEASUREMENT_BYTES];
	struct text text = {0};
	int err = text_read_file(&text, manifest_path, 65536, p);

	if (err == -ENOENT)
		fault_set(p, err, "%s is missing: run `coffer build` first", manifest_path);
	if (!err)
		err = manifest_parse(m, text.data, text.len, p);
	if (!err) {
		manifest_measure(text.data, text.len, digest);
		hex_text(measurement, digest, sizeof(digest));
	}
	text_free(&text);
	return err;
}
