// SPDX-License-Identifier: Apache-2.0
// A log of what happened to a volume file: records, each followed by its bytes when it is a write.
#pragma once

enum { CUT_WRITE = 1, CUT_FLUSH, CUT_SIZE, CUT_HOLE };
struct cut_record {
	unsigned long off, len;
	unsigned int kind, zero;
};
