// SPDX-License-Identifier: Apache-2.0
// Inside init/: a request of the host to start another program in the running enclave, against the measured configuration. Pure; fuzz_control drives it.
#ifndef COFFER_INIT_EXEC_REQUEST_H
#define COFFER_INIT_EXEC_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/fault.h"

// From config.json and what the enclave was started with (settings.h).
struct exec_rules {
	bool any;		// any program of the image
	char **programs;	// absolute, NULL-terminated; NULL: none
	char **variables;	// names that the host may set; NULL: none
	char **envp;		// of the enclave's own program
	const char *cwd;	// and its folder
};

struct exec_request {
	char **argv;		// argv[0] is the program, absolute unless `any`
	char **envp;
	char *cwd;
	char *user;		// NULL: root (exec_user.h)
	bool sets_home;		// HOME is the host's choice
	bool tty;
	unsigned short rows, cols;
};

// -EPERM: the configuration does not allow it, -EINVAL: malformed, -ENOMEM. exec_request_free in any case.
int exec_request_read(struct exec_request *r, const struct exec_rules *rules, const char *text, size_t len, struct fault *f);
void exec_request_free(struct exec_request *r);

#endif
