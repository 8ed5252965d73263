// SPDX-License-Identifier: Apache-2.0
// Which Coffer this is.
#ifndef COFFER_LIB_VERSION_H
#define COFFER_LIB_VERSION_H

#define COFFER_VERSION "0.1.0"

#endif
