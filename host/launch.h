// SPDX-License-Identifier: Apache-2.0
// Starts an enclave on this host (process platform) and stays until it has ended. The launcher is part of the untrusted host:
// it feeds the enclave, serves its hostcalls and simulates the TEE's evidence; it holds no secret.
#pragma once
#include <stdbool.h>
#include <stddef.h>

struct launch_volume {
	const char *path;
	bool read_only;
};

// What a failed program leaves to look at; to be freed.
struct launch_words {
	bool want_missing;		// asks for `missing`; only honoured by an enclave measured with debug=1
	char *said;			// the end of what it wrote to standard error
	size_t said_len;
	char *missing;			// absolute names that were looked for and not there, a line each
	size_t missing_len;
};

struct launch_options {
	const char *lib_dir;		// holds kernel.elf and simulated-tee
	const char *image;		// enclave.img
	const char *manifest_path;	// enclave.manifest
	const char *host_json;		// the host block, see docs
	size_t host_json_len;
	const struct launch_volume *volumes;
	int nvolumes;			// at most 16
	bool hostcall_ring;		// answer every hostcall from a thread of the launcher
	int log_level;			// kernel messages: 0 errors, 1 warnings, 2 info, 3 debug
	unsigned int stop_timeout;	// seconds after SIGTERM until the enclave is killed; 0: only a second SIGTERM does
	bool debug_strace;		// system calls to stderr; only honoured by an enclave measured with debug=1
	const char *strace_filter;	// names and classes of calls, comma-separated; NULL: all
	struct launch_words *words;	// gets what the enclave left behind; NULL: nobody asks
	// Below a supervisor (host/supervise.h); 0: none of it.
	int message_fd;			// where kernel, init and launcher speak; 0: standard error, as the program
	int started_fd;			// a byte is written to it when the program has been started
	const char *control_dir;	// a socket `control` is made there, if the enclave takes requests; NULL: no
	int supervisor;			// its pid: while it lives it sees to stop_timeout
};

// Returns the wait(2) status of the enclave's init, or a negative errno after a message on stderr.
int launch_run(const struct launch_options *o);
