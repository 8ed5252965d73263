// SPDX-License-Identifier: Apache-2.0
// Inside init/: the enclave's side of the KBS protocol, from nonce to mounted volume, apart from the two things that
// only an enclave has: evidence and mount(2).
#ifndef COFFER_INIT_ATTEST_H
#define COFFER_INIT_ATTEST_H

#include <stdint.h>

#include "attest/snp.h"
#include "hostcall/mountkey.h"
#include "init/settings.h"

struct evidence {
	uint8_t report[SNP_REPORT_BYTES];
	struct snp_chain chain;		// VCEK, ASK, ARK
};

struct attest_ops {
	// Fills *out with evidence over report_data. snp_chain_free by the caller.
	int (*evidence)(const uint8_t report_data[64], struct evidence *out, struct fault *f);
	// Mounts volume `index` with its key.
	int (*mount)(unsigned int index, const struct settings_volume *v, const struct coffer_mount_key *key,
		     struct fault *f);
	// Mounts the encrypted image with its key and makes it the root of all processes.
	int (*enter_image)(const struct settings_image *image, const unsigned char key[COFFER_MOUNT_KEY_BYTES], struct fault *f);
	// The platform's sealing key.
	int (*sealing_key)(struct coffer_sealing_key *out);
	// One line for the user: that the broker is tried again.
	void (*say)(const char *line);
	// The kernel's side of anchors (hostcall/mountkey.h): writes one record, reads one. 0 or -errno.
	int (*anchor_write)(const struct coffer_anchor_record *r);
	int (*anchor_read)(struct coffer_anchor_record *r);
	// Makes the file of a secret, with its folders, in memory.
	int (*deliver)(const struct settings_secret *s, const void *bytes, size_t len, struct fault *f);
	// Now it is between these two times (ns since 1970): the enclave's clock is set if it says otherwise. 0 or -errno.
	int (*set_time)(uint64_t least_ns, uint64_t most_ns);
};

// Proves the enclave to the broker, gets each volume's key and mounts it, and has each secret put where it belongs. Tries again while the broker cannot be
// reached, for s->broker_timeout_s. -errno; f->text says what failed and, for a refusal, each claim with the value
// expected and the value found (a line each).
//
// *helper (may be NULL: nobody will serve): the open exchange when a volume has to be anchored while it is used, for anchor_serve (anchor_wanted),
// or identities to be renewed, for identity_serve (identity_wanted).
struct exchange;
int attest_run(const struct settings *s, const struct attest_ops *ops, struct exchange **helper, struct fault *f);
void exchange_free(struct exchange *x);

bool anchor_wanted(const struct settings *s);

// anchor.c: tells the broker of each root that the kernel names, until the enclave ends. Proves the enclave again when the session has
// expired, and goes on when the broker comes back.
int anchor_hide(const struct exchange *x); // this process becomes the helper: out of the programs' sight
void anchor_serve(struct exchange *x);

// identity.c: has the identities of this enclave made anew at half their life, until the enclave ends.
int helper_hide(const struct exchange *x); // this process goes out of the programs' sight, and reaches the broker still
bool identity_wanted(const struct settings *s);
void identity_serve(struct exchange *x);

// The real ones (enclave.c).
extern const struct attest_ops enclave_ops;

#endif
