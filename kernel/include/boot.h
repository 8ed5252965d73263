// SPDX-License-Identifier: Apache-2.0
// What the kernel knows at boot: the measured block (the manifest, covered by the enclave's
// measurement) and the unmeasured one (the host block, hostile text that only init reads).
#pragma once
#include "kernel/include/types.h"

#define BOOT_MAX_MANIFEST 4096u
#define BOOT_MAX_HOST_JSON 65536u
#define BOOT_MAX_PORTS 64u

struct boot_info {
	// measured
	char manifest[BOOT_MAX_MANIFEST];	// NUL-terminated text
	u32 manifest_len;
	u8 measurement[48];
	char measurement_hex[97];
	u8 image_root[32];	// root digest of the image's hash tree
	u64 image_blocks;	// 4096-byte data blocks before the hash area
	u64 memory_bytes;	// the enclave's limit
	bool debug;		// `debug=1` among the measured options
	bool rseq;		// `rseq=1` among the measured options: kernel/task/rseq.c
	u32 cpus, processes, descriptors, files; // `cpus=2`...: limits, 0: none (kernel/task/limit.c)
	bool strace;		// debug only
	char strace_filter[256]; // unmeasured: names and classes of calls, comma-separated; empty: all
	// network: `listen=80+443`, `connect=any|none|listed` among the measured options; `gateway=1`: there is one (kernel/net/shield.c), and
	// `shield=6379`: ports of the host that only it may listen on
	u16 listen_ports[BOOT_MAX_PORTS], shield_ports[BOOT_MAX_PORTS];
	u32 nlisten, nshield;
	bool allow_connect;
	bool gateway;
	bool exec;		// `exec=1`: the host may ask for programs to be started (kernel/fs/control.c)
	// unmeasured
	char host_json[BOOT_MAX_HOST_JSON];
	u32 host_json_len;
	int control_fd;		// where its requests arrive; 0: nowhere
	int message_fd;		// the host's stream for what kernel and init say; 2: the program's standard error
	u32 nvolumes;
};
extern struct boot_info boot_info;
// Parses the manifest into the fields above; 0 or -EINVAL with a message (kernel/boot.c).
int boot_parse(void);

// Until the first program starts, only init, init-attest and the gateway of the measured image have run. Their TCP connections go to
// the host, 127.0.0.1 too and whatever network.connect says: the owner's broker, which they authenticate, may be anywhere.
bool boot_before_program(void);
bool boot_reaches_host(void); // that phase, or the helper that init-attest left behind (sealed_anchor.c)
// Each successful exec says what it starts; any other name than those three ends this phase for good.
void boot_exec(const char *name);
