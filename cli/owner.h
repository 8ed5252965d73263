// SPDX-License-Identifier: Apache-2.0
// What the owner's commands (seal, open, volume, policy, broker) share: how to reach the broker, and a volume's key.
#ifndef COFFER_CLI_OWNER_H
#define COFFER_CLI_OWNER_H

#include <stdbool.h>

#include "broker/client.h"
#include "lib/fault.h"
#include "seal/tool.h"

struct owner {
	struct broker_client_options broker;
	const char *key_file;	// instead of the broker
	const char *anchor;	// "broker", "tpm", "tpm:WHERE", "none"; NULL: the broker, unless the key is in a file
	const char *tpm_key;	// name of the endorsement key that the TPM must have; NULL: any
};

#define OWNER_HELP										\
	"      --broker URL         the broker (default: the one of --broker-dir)\n"		\
	"      --broker-ca FILE     its certificate\n"						\
	"      --identity FILE      the key that signs requests (default: ~/.config/coffer/identity.key, where there is one; coffer identity)\n" \
	"      --passphrase-file F  its passphrase, instead of asking on the terminal\n" \
	"      --client-cert FILE   instead: a client's certificate, with --client-key FILE\n" \
	"      --broker-token FILE  instead: the admin token (default, where there is no identity: the one in --broker-dir)\n" \
	"      --anchor WHERE       who remembers the newest state of volumes: broker (default, unless --key-file is given), tpm, or none;\n" \
	"                           tpm:device:/dev/tpmrm0 (what tpm means), tpm:tcp:ADDRESS:PORT, tpm:unix:PATH\n" \
	"      --tpm-key NAME       when the TPM is told of a volume first: its endorsement key must have this name\n" \
	"      --broker-dir DIR     its state folder (default: COFFER_BROKER_DIR or ~/.local/share/coffer/broker)\n"

// Rows for getopt_long; their values begin at 512.
#define OWNER_OPTIONS									\
	{"broker", required_argument, NULL, 512}, {"broker-ca", required_argument, NULL, 513},	\
	{"broker-token", required_argument, NULL, 514}, {"broker-dir", required_argument, NULL, 515}, \
	{"key-file", required_argument, NULL, 516}, {"anchor", required_argument, NULL, 517}, \
	{"tpm-key", required_argument, NULL, 518}, {"identity", required_argument, NULL, 540},	\
	{"passphrase-file", required_argument, NULL, 541}, {"client-cert", required_argument, NULL, 542}, \
	{"client-key", required_argument, NULL, 543}

// Takes one of OWNER_OPTIONS; false when the option is another.
bool owner_option(struct owner *o, int option, const char *value);

// The key of an existing volume, from the key file or the broker. The caller wipes it.
int owner_volume_key(const struct owner *o, const char *volume, u8 key[SEAL_KEY_BYTES], struct fault *f);

// Volumes opened from now on are compared with what their anchor remembers (anchor.c). -EINVAL.
int owner_anchor(const struct owner *o, struct fault *f);
// The same for a TPM (anchor_tpm.c); and that a volume is new to it, or made so by its owner, for the rest of this process.
int owner_anchor_tpm(const struct owner *o, const char *where, struct fault *f);
void owner_anchor_new(void);
bool owner_anchor_is_tpm(void);
// Where an index was made: prints the names of the TPM's endorsement key and of the index.
void owner_anchor_tpm_say(void);
// One sentence: what detects a rollback of the volume opened last.
const char *owner_anchor_text(char *buf, size_t n);

// Makes a new volume, empty or from a folder, and puts its key where the owner wants it (key file or broker). Prints what
// it does. On failure no volume is left behind, but for a part that can be gone on with.
struct owner_new_volume {
	const char *source;	// folder or file to seal; NULL: an empty volume
	const char *volume;
	u64 size_bytes;		// limit of an empty volume; 0: the default
	bool force;		// replace an existing volume
	bool keep_owner;
	bool resume;		// go on with FILE.partial, if there is one
	bool quiet;
};

int owner_make_volume(const struct owner *o, const struct owner_new_volume *v, struct fault *f);

#endif
