// SPDX-License-Identifier: Apache-2.0
// SIMULATED, INSECURE hardware: attestation reports in AMD SEV-SNP's format (ABI 1.55, report version 2) signed under a
// test root that this machine makes for itself. It proves nothing about the machine; it lets everything above the
// hardware be developed and tested for real. The root is called "Coffer SIMULATED TEE root - INSECURE", and a verifier
// trusts it only where `insecure_accept_simulated` names it.
// Host side only: keys live in a folder of the user (0700). Safe to call from several processes (flock) and threads.
#ifndef COFFER_ATTEST_SIMTEE_H
#define COFFER_ATTEST_SIMTEE_H

#include <stdbool.h>
#include <stdint.h>

#define SIMTEE_REPORT_BYTES 1184
#define SIMTEE_ROOT_NAME "Coffer SIMULATED TEE root - INSECURE"

// The folder used for dir == NULL: $COFFER_SIMTEE_DIR, else $XDG_DATA_HOME/coffer/simulated-tee, else
// ~/.local/share/coffer/simulated-tee. Returns 0, or -ENOENT when none of them is set.
int simtee_default_dir(char *out, unsigned long size);

// Makes keys and certificates if they are missing and writes the root certificate's path (<dir>/root.pem).
// dir NULL: the default one. Returns 0 or a negative errno (-EACCES, -ENOSPC, -EIO...; -EBADMSG: files damaged).
int simtee_root_path(const char *dir, char *out, unsigned long size);

// One signed report over `measurement` and `report_data`. `debug`: the report's policy says that the host may look
// inside, as it must for an enclave whose measured options let it. *cert_chain_pem: three PEM certificates, VCEK-like
// leaf, intermediate, root; NUL-terminated, free() it; NULL when the caller does not want it. Errors as above, -ENOMEM.
int simtee_report(const char *dir, const uint8_t measurement[48], const uint8_t report_data[64], bool debug,
		  uint8_t report[SIMTEE_REPORT_BYTES], char **cert_chain_pem);

// The SIMULATED sealing key of the enclave with this measurement on this machine: the same each time, another for each measurement, each
// machine (its vcek.key) and for `debug`. On hardware the host would never see it; here whoever has the folder can make it.
int simtee_sealing_key(const char *dir, const uint8_t measurement[48], bool debug, uint8_t key[32]);

// What the program simulated-tee (simtee_main.c) reads and writes: the same call, asked from another process.
struct simtee_request {
	uint8_t measurement[48], report_data[64];
	bool debug;
	bool sealing;			// the sealing key is asked for, no report
};
struct simtee_answer {
	int32_t error;			// 0 or a negative errno
	uint8_t report[SIMTEE_REPORT_BYTES];
	uint8_t key[32];
	uint64_t chain_len;		// bytes of text that follow
};

#endif
