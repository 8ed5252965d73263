// SPDX-License-Identifier: Apache-2.0
// Fuzzes the documents of container images; the first byte says which.
#include <stdlib.h>
#include <string.h>

#include "image/oci.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data + 1;
	struct oci_manifest m;
	struct oci_config c;
	struct oci_saved s;
	struct oci_blob b;
	struct fault f;
	bool is_index;

	if (!size)
		return 0;
	size--;
	switch (data[0] % 4) {
	case 0:
		if (!oci_read_index(text, size, data[0] & 4 ? "a" : NULL, "linux/amd64", &b, &is_index, &f) && strchr(b.digest, '/'))
			abort();
		break;
	case 1:
		if (!oci_read_manifest(text, size, &m, &f))
			oci_manifest_free(&m);
		break;
	case 2:
		if (!oci_read_config(text, size, &c, &f))
			oci_config_free(&c);
		break;
	default:
		if (!oci_read_saved(text, size, data[0] & 4 ? "a" : NULL, &s, &f)) {
			if (s.config[0] == '/' || !strncmp(s.config, "../", 3) || strstr(s.config, "/../"))
				abort();
			oci_saved_free(&s);
		}
	}
	return 0;
}
