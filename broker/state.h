// SPDX-License-Identifier: Apache-2.0
// Inside broker/: the state folder and the settings. Not thread-safe; used before the server starts.
#ifndef COFFER_BROKER_STATE_H
#define COFFER_BROKER_STATE_H

#include <limits.h>
#include <stdint.h>

#include "broker/api.h"
#include "broker/audit_verify.h"
#include "broker/limits.h"
#include "broker/master.h"

struct broker_settings {
	char dir[PATH_MAX];
	char listen[128];		// ADDRESS:PORT
	char simulated_root[PATH_MAX];	// `insecure_accept_simulated`, "" for none
	bool accept_debug;		// `insecure_accept_debug`
	bool accept_restored;		// the database was put back on purpose
	char anchor[8];			// `require_anchor`, "" for none
	char database[1024];		// `database`, a URL or a path; "" for broker.db
	char collateral[PATH_MAX];	// `collateral`, a folder; "" for none
	char policy[PATH_MAX];	// `policy`, a file; "" for none
	char references[PATH_MAX];	// `references`, a folder; "" for none
	char tpm_roots[PATH_MAX];	// `tpm_roots`, a file; "" for none
	char gpu_roots[PATH_MAX];	// `gpu_roots`, a file; "" for none but NVIDIA's own, which is known
	char issuer[256];		// `issuer`, the URL by which others know this broker; "": the one that it listens on
	char spiffe_domain[256];	// `spiffe_trust_domain`
	unsigned int spiffe_seconds;	// `spiffe_svid_seconds`
	unsigned int ratls_max_age_s;	// `ratls_max_age`, 0: certificates need the broker's nonce
	char metrics_listen[128];	// `metrics_listen`, "" for none
	unsigned int connections, connections_per_peer;
	struct limit_settings limits;	// `refusals_per_peer` and so on
	json_t *approvals;		// `approvals`: {operation: {k, of}}; NULL: none. json_decref when the broker has ended
	bool no_admin_token;		// `admin_token: false`
	char client_ca[PATH_MAX];	// `client_ca`, a file; "" for none
	char client_crl[PATH_MAX];	// `client_ca_crl`, a file; "" for none
	char tpm_crl[PATH_MAX];		// `tpm_crl`
	bool accept_expired_crl;	// `insecure_accept_expired_crl`
	char authority[1024];		// `authority`: names beside those of the certificate, "," between
	struct note_key witnesses[AUDIT_MAX_WITNESSES];	// `audit_witnesses`
	unsigned int witness_count;
	struct master_settings master;	// `master_key` and its like
};

// Options of the command line over broker.yaml (in the state folder, or --config) over defaults.
// 1: help was asked for; 0; -EINVAL wrong usage and -errno with a message.
int broker_settings_read(struct broker_settings *s, int argc, char **argv, struct fault *f);

// Before a passphrase or key is read: no core file will hold it, and what JSON gives back is wiped. (broker_main does it itself.)
void broker_leave_no_traces(void);

// "127.0.0.1:8443" or "[::1]:8443". -EINVAL.
int broker_split_listen(const char *listen, char address[64], unsigned int *port);

// Reads what broker_prepare made: fills store, signers, admin_token, verifier of *b, and the server's TLS.
// Call broker_state_close in any case.
int broker_state_open(struct broker *b, SSL_CTX **tls, const struct broker_settings *s, struct fault *f);
// Reads broker.yaml's files (policy, references, roots) and the server's certificate anew and has the broker use them, or leaves it as it was. May be called while it
// serves.
int broker_state_reload(struct broker *b, const struct broker_settings *s, struct fault *f);
// Only one broker, or command that changes the folder, works on it at a time. The descriptor holds the lock; -EBUSY.
int broker_lock_dir(const char *dir, struct fault *f);
// The policy in the database is another one: only the verifier is made anew.
int broker_state_follow(struct broker *b, struct fault *f);
// Would this text do as the policy of a broker with these settings? -EINVAL and where not.
int broker_policy_check(const struct broker_settings *s, const char *text, size_t len, struct fault *f);
void broker_state_close(struct broker *b, SSL_CTX *tls);

#endif
