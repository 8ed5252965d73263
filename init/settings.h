// SPDX-License-Identifier: Apache-2.0
// What to run and what to mount: the measured /.coffer/config.json (written by image/config.c) and the host block,
// which is hostile and may only choose where config.json leaves a choice. Pure; fuzz_host_block drives it.
//
// Host block: {"args":[...],"env":{...},"cwd":"/","volumes":[{"name","path","mode","id"}],"broker":"https://...","tpm":"tcp:...",
// "addresses":{"HOST:PORT":["ADDRESS:PORT"]}} (the last is the gateway's to read: gateway.h);
// every key may be missing, others are refused. `id` is the volume's id from its header, 32 hex digits: a false one
// gets a key that does not open the volume.
#ifndef COFFER_INIT_SETTINGS_H
#define COFFER_INIT_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "init/exec_request.h"
#include "init/paths.h"
#include "lib/fault.h"

#define SETTINGS_MAX_ARGS 4096
#define SETTINGS_MAX_ENV 4096
#define SETTINGS_MAX_VOLUMES 16
#define SETTINGS_DEFAULT_TIMEOUT_S 10

struct settings {
	char **argv;		// NULL-terminated, at least one item
	char **envp;		// "NAME=value", NULL-terminated
	char *cwd;
	unsigned int volume_count;
	struct settings_volume {	// in the host block's order: index i is the device "vol<i>"
		char *name;	// the host's name for it, for messages
		char *path;	// mount point, absolute
		char id[33];
		bool read_only;
		bool sealing;	// measured: its key is the enclave's sealing key; id "" then: a new one is to be made
	} volumes[SETTINGS_MAX_VOLUMES];
	unsigned int secret_count;
	struct settings_secret {	// measured: what the broker gives becomes a file before the program starts
		char *path, *resource;
		unsigned int mode, owner, group;
		unsigned int version;	// 0: the current one
	} *secrets;
	struct settings_image {	// an encrypted root image behind the measured one
		bool present;
		char id[33];		// of its key at the broker
		unsigned char root[32];	// of the hash tree over its ciphertext
		unsigned long long blocks;
	} image;
	char *broker_url;	// the host's; NULL when not given
	char *broker_ca;	// measured; "" when none
	char *broker_name;	// measured; NULL: only a pinned certificate will do
	unsigned int broker_timeout_s;
	bool anchor;		// measured: the newest state of volumes is remembered; else by nobody
	bool anchor_tpm;	// in a TPM; else by the broker
	char *tpm;		// the host's way to it, "tcp:ADDRESS:PORT"; NULL when not given
	bool anchor_fsync;	// each fsync waits for it
	unsigned int anchor_every_ms, anchor_bound_ms;
	unsigned int volume_cache_mib;	// measured; 0: the kernel's own
	bool time_broker;	// measured: the clock is set to the broker's before the program starts
	struct exec_rules exec;	// measured: what the host may start besides; envp and cwd are those above
	bool gateway;		// measured: connections are attested by it, for the program
};

// -EINVAL config.json is damaged, -EPERM the host asks for what config.json does not allow (f->text says what and how
// to allow it), -ENOMEM. settings_free in any case.
int settings_read(struct settings *s, const char *config, size_t config_len, const char *host, size_t host_len,
		  struct fault *f);

// The measured /.coffer/image.json: {"blocks":N,"id":"<32 hex>","root":"<64 hex>"}. -EINVAL.
int settings_read_image(struct settings_image *image, const char *text, size_t len, struct fault *f);

// The same from the files of the enclave.
int settings_load(struct settings *s, struct fault *f);

void settings_free(struct settings *s);

#endif
