// SPDX-License-Identifier: Apache-2.0
// A line on the terminal that says how far a long command is.
#ifndef COFFER_CLI_PROGRESS_H
#define COFFER_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool on;		// standard error is a terminal
	const char *what;	// "Sealing"
	uint64_t begun_ms, shown_ms;
};

void progress_begin(struct progress *p, const char *what, bool quiet);
// done of total bytes (total 0: not known) and so many files (0: nothing to say). At most ten times a second.
void progress_show(struct progress *p, uint64_t files, uint64_t done, uint64_t total);
void progress_end(struct progress *p);	// takes the line away

// SIGINT and SIGTERM stop `seal` and `open` in an orderly way from now on; a second one kills. cli_stopped: 128 + the signal that came, or 0.
void cli_catch_stop(void);
int cli_stopped(void);

#endif
