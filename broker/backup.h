// SPDX-License-Identifier: Apache-2.0
// Inside broker/: what backup.c and restore.c share.
#ifndef COFFER_BROKER_BACKUP_H
#define COFFER_BROKER_BACKUP_H

#include "broker/backup_file.h"
#include "broker/state.h"

struct backup_request {
	struct broker_settings settings;
	const char *file;
	const char *audit;	// --audit of restore
	int passphrase_fd;	// as in master_ask
	bool help;
};

// FILE, --backup-passphrase-fd, --audit (where `audit` is not NULL), and the broker's own options.
int backup_arguments(struct backup_request *q, int argc, char **argv, const char *audit, struct fault *f);
int backup_passphrase(int fd, bool fresh, char out[MASTER_SECRET_MAX], struct fault *f);

#endif
