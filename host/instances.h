// SPDX-License-Identifier: Apache-2.0
// The enclaves that `coffer start` keeps running on this machine, for this user. One folder an enclave, mode 0700, below
// $COFFER_RUN_DIR, else $XDG_RUNTIME_DIR/coffer, else ~/.local/share/coffer/run:
//
//	lock         an open-file-description lock as long as its supervisor or its launcher lives
//	state        JSON, replaced in one step at each change (struct instance); in place when the disk is full
//	command      what `coffer start` was called with, for `coffer restart` (cli/start.c)
//	log, log.1...  what it said (host/logs.h)
//	control      the socket behind `coffer exec`, while an enclave runs that takes such requests
//
// A process is named by its number and its start: a number that the host has given to another is never taken for it. No locks of its own.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/fault.h"

#define INSTANCE_NAME_MAX 63	// letters, digits, ".", "_" and "-", the first a letter or a digit

struct process_name {
	pid_t pid;		// 0: none
	uint64_t start;		// clock ticks since boot (proc(5), stat, field 22)
};

enum instance_state {
	INSTANCE_STARTING,	// the enclave was started, its program not yet
	INSTANCE_RUNNING,
	INSTANCE_WAITING,	// it has ended and is to be started again
	INSTANCE_STOPPING,	// it was asked to end
	INSTANCE_ENDED,
	INSTANCE_LOST,		// the supervisor is gone without a word
};
#define INSTANCE_STATES {"starting", "running", "waiting", "stopping", "ended", "lost"}

struct instance {
	char name[INSTANCE_NAME_MAX + 1];
	enum instance_state state;
	int64_t created_ms, since_ms;	// Unix time: of the first start; of the last change of `state`
	struct process_name supervisor;
	struct process_name launcher;	// of the running enclave, whose host processes are its children; pid 0: none
	int exit_code;			// of the last end; -1: it has not ended yet
	unsigned int restarts;
	bool taking_programs;		// it has a control socket
	uint64_t memory_bytes;		// the measured limit
	uint64_t log_dropped;		// lines that could not be written
	char measurement[97];
	char restart[24];		// the policy, as on the command line
	char reason[200];		// why it is in this state, "" where that says all
	char *project;			// the project's folder, absolute
	char *program;			// what runs, for people
};

// $COFFER_RUN_DIR... into `out`. -ENOENT: there is no home, -ENAMETOOLONG.
int instances_dir(char *out, size_t size, struct fault *f);
// Is that a name that an enclave may have?
bool instance_name_valid(const char *name);
// The folder of one; it need not be there. -EINVAL: no such name can be.
int instance_dir(const char *name, char *out, size_t size, struct fault *f);

// Reads one as it is now; -ENOENT: there is none. A supervisor that was killed shows as INSTANCE_LOST, or INSTANCE_STOPPING as long as
// its launcher is still about to end. instance_free in any case.
int instance_read(const char *name, struct instance *i, struct fault *f);
void instance_free(struct instance *i);
// All, by name; free each and the list. 0 or -errno.
int instances_list(struct instance **list, size_t *count, struct fault *f);
// Bytes of memory that its enclave takes now: the enclave's own memory, as far as it is there, and the private memory of its host processes. 0: none.
uint64_t instance_memory(const struct instance *i);
// Is there a supervisor, or a launcher that is about to end?
bool instance_alive(enum instance_state s);

// Makes the folder, or takes over that of one that has ended: the lock in *lock, *fresh: the folder is new. -EBUSY: it runs.
int instance_claim(const char *name, int *lock, bool *fresh, struct fault *f);
// Writes `state`; the folder is claimed. 0 or -errno.
int instance_write(const struct instance *i);
// Removes the folder and all in it. -EBUSY: it runs.
int instance_remove(const char *name, struct fault *f);

// This process, or the start of another; start 0: there is none such.
struct process_name process_name(pid_t pid);
// A pidfd of the process that has this number and this start; -ESRCH: it is gone.
int process_open(const struct process_name *p);
// Sends it a signal with a value (sigqueue(3)). -ESRCH: it is gone.
int process_signal(const struct process_name *p, int sig, int value);
