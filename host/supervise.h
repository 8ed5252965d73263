// SPDX-License-Identifier: Apache-2.0
// The supervisor of one enclave: a process in the background that starts it, keeps what it says (logs.h) and how it is (instances.h), starts it
// again where its policy says so, and ends it when it is asked to. Part of the untrusted host, as the launcher is.
//
// Signals to the supervisor: SIGTERM ends the enclave in order and for good; by sigqueue(3) with a value n > 0 the program has n - 1 seconds for
// that. Should the supervisor itself be killed, its launcher gets SIGTERM and has stop_timeout seconds.
#pragma once
#include "host/instances.h"
#include "host/logs.h"

enum restart_policy { RESTART_NO, RESTART_ON_FAILURE, RESTART_ALWAYS };
#define RESTART_PAUSE_MS 100		// before the first restart; each further one waits twice as long,
#define RESTART_PAUSE_MOST_MS 60000	// at most so long,
#define RESTART_STEADY_MS 10000		// and an enclave that was up so long begins anew

struct supervised {	// what an enclave's process is given
	int stderr_fd;		// of the program; standard error itself is for messages until the enclave begins
	int message_fd, started_fd, supervisor; // struct launch_options
	const char *dir;	// of the instance
};

struct supervise_options {
	struct instance what;	// name, restart, memory_bytes, measurement, project, program, taking_programs
	bool fresh;		// the folder is new: it goes when the enclave does not come up
	int lock;
	enum restart_policy restart;
	unsigned int restart_most;	// RESTART_ON_FAILURE: so often in a row; 0: always
	unsigned int stop_timeout;	// seconds
	uint64_t log_size;
	unsigned int log_files;
	int (*enclave)(const struct supervised *s); // in a process of its own: runs it, and returns its exit code
};

// "no", "on-failure", "on-failure:N", "always". False: none of them.
bool supervise_policy(const char *text, enum restart_policy *policy, unsigned int *most);

// Starts supervisor and enclave. 0: its program has started. Else the reason has been said on standard error, and -ECANCELED.
int supervise_start(const struct supervise_options *o, struct fault *f);
