// SPDX-License-Identifier: Apache-2.0
// Inside init/: where the measured configuration and the host's word lie in the enclave.
#ifndef COFFER_INIT_PATHS_H
#define COFFER_INIT_PATHS_H

#define CONFIG_PATH "/.coffer/config.json"
#define IMAGE_PATH "/.coffer/image.json"
#define HOST_BLOCK_PATH "/proc/coffer/host"
#define CONFIG_MAX_BYTES (1u << 20)
#define HOST_BLOCK_MAX_BYTES (64u << 10)

#endif
