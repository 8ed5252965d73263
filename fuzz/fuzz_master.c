// SPDX-License-Identifier: Apache-2.0
// Fuzzes what a broker reads of master.wrapped before anything in it is authentic, and the names of files in a backup.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "broker/backup_file.h"
#include "broker/master.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *o = NULL, *way;
	uint8_t bytes[64];
	size_t i, len;
	char *name = strndup((const char *)data, size);

	if (name && backup_name_valid(name) && (strstr(name, "..") == name || strchr(name, '/') != strrchr(name, '/') || strstr(name, "/.")))
		abort();
	free(name);
	if (master_parse((const char *)data, size, &o, NULL))
		return 0;
	json_array_foreach(json_object_get(o, "ways"), i, way) {
		json_t *again = json_object();
		if (!master_get_bytes(way, "iv", bytes, sizeof bytes, &len, NULL) &&
		    (master_put_bytes(again, "iv", bytes, len) || json_string_length(json_object_get(again, "iv")) < json_string_length(json_object_get(way, "iv"))))
			abort();
		json_decref(again);
	}
	json_decref(o);
	return 0;
}
