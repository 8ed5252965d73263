// SPDX-License-Identifier: Apache-2.0
// Between init-attest and the kernel, never outside the enclave's memory. What mount(2)'s data argument points to for a sealed
// volume, `mount("vol0", "/data", "sealed", flags, &key)`: the kernel copies it in once and wipes its copy. "vol" + index counts
// the volumes of the host block from 0. And the records of /proc/coffer/anchor, through which the kernel's newest roots reach the
// anchor: each read gives one, each write takes one.
#ifndef COFFER_HOSTCALL_MOUNTKEY_H
#define COFFER_HOSTCALL_MOUNTKEY_H

#define COFFER_MOUNT_KEY_MAGIC 0x4b524643u	// the bytes "CFRK" in memory
#define COFFER_MOUNT_KEY_VERSION 5u
#define COFFER_MOUNT_KEY_BYTES 32

// A state of a volume (struct seal_anchor).
struct coffer_anchor_state {
	unsigned long epoch, generation;
	unsigned char digest[32];
};

enum coffer_anchor_mode {
	COFFER_ANCHOR_NONE,	// rollback of the whole volume is not detected
	COFFER_ANCHOR_FIRST,	// the anchor knows nothing of this volume yet: what is there is accepted, and remembered
	COFFER_ANCHOR_KNOWN,	// `least` is the oldest state that may be mounted
};

enum coffer_anchor_place { COFFER_ANCHOR_AT_BROKER, COFFER_ANCHOR_IN_TPM };

enum coffer_key_source { COFFER_KEY_FROM_BROKER, COFFER_KEY_SEALING, COFFER_KEY_SEALING_SIMULATED };

struct coffer_mount_key {
	unsigned int magic;
	unsigned int version;
	unsigned char key[COFFER_MOUNT_KEY_BYTES];
	unsigned char id[16];		// of the volume that the key was given for: no other is mounted
	unsigned int anchor;		// enum coffer_anchor_mode
	unsigned int each_fsync;	// fsync waits until the anchor knows
	unsigned int every_ms;		// else: how long a commit may wait until the anchor is told
	unsigned int bound_ms;		// how old a commit may become that the anchor does not know of, before fsync fails
	struct coffer_anchor_state least;
	unsigned int cache_mib;		// most memory for the volume's structure; 0: the library's own
	unsigned int where;		// enum coffer_anchor_place
	unsigned int source;		// enum coffer_key_source
	unsigned int create;		// the host's file is empty: a new volume is made in it first
};

_Static_assert(sizeof(struct coffer_mount_key) == 136, "ABI");

enum coffer_anchor_what {
	COFFER_ANCHOR_SERVE,	// write: the caller is the anchor's helper from now on; programs neither see nor reach it
	COFFER_ANCHOR_HIDE,	// write: the caller is a helper that has nothing to do with volumes; likewise
	COFFER_ANCHOR_STATE,	// write: the next read gives volume `index` as it is. read: tell the anchor
	COFFER_ANCHOR_CLAIMED,	// write: the anchor let this mount commit, under state.epoch
	COFFER_ANCHOR_KNOWS,	// write: the anchor knows state.generation
	COFFER_ANCHOR_FENCED,	// write: another writer has claimed the volume: nothing may be committed any more
	COFFER_ANCHOR_SILENT,	// write: the anchor does not answer
	COFFER_ANCHOR_CLOSE,	// write (init): commit everything and wait until the anchor knows. read: there will be no more
};

struct coffer_anchor_record {
	unsigned int what, index;
	struct coffer_anchor_state state;
};
#define COFFER_ANCHOR_FILE "/proc/coffer/anchor"

// What a read of COFFER_SEALING_FILE gives before the first program runs.
enum coffer_sealed_to { COFFER_SEALED_TO_MEASUREMENT };
struct coffer_sealing_key {
	unsigned int bound;	// enum coffer_sealed_to
	unsigned int simulated;
	unsigned char key[32];
};
#define COFFER_SEALING_FILE "/proc/coffer/sealing_key"

// The same for an encrypted root image: `mount("image", DIR, "coffer-image", 0, &key)`. What lies where, and the root of
// the hash tree over its ciphertext, come from the measured /.coffer/image.json.
#define COFFER_IMAGE_KEY_MAGIC 0x49524643u	// the bytes "CFRI"

struct coffer_image_key {
	unsigned int magic;
	unsigned int version;	// COFFER_MOUNT_KEY_VERSION
	unsigned char key[COFFER_MOUNT_KEY_BYTES];
	unsigned char root[32];
	unsigned long long blocks;
};

_Static_assert(sizeof(struct coffer_image_key) == 80, "ABI");

#endif
