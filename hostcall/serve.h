// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "platform/process/control.h"

// Performs request d (a private copy) with buffers in pool (HC_POOL_SIZE bytes): sets d->ret (>= 0 or negative errno) and
// the length arguments that hostcall.h names. Non-blocking but for block I/O.
void hc_serve(struct control *c, struct hc_desc *d, u8 *pool);
