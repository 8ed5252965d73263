// SPDX-License-Identifier: Apache-2.0
#pragma once
#include "hostcall/hostcall.h"

// HC_USAGE, HC_RESIDENT, HC_PRIVATE (hostcall.h): sets d->ret.
void usage_serve(struct hc_desc *d, uint8_t *pool);
