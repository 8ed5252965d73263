// SPDX-License-Identifier: Apache-2.0
// Where the broker's state lies (broker.h). A file of its own so that `coffer run` does not link the broker.
#include "broker/broker.h"
#include "lib/file.h"

int broker_default_dir(char *out, unsigned long size)
{
	return file_data_dir(out, size, "COFFER_BROKER_DIR", "broker");
}
