// SPDX-License-Identifier: Apache-2.0
// What this machine knows of running enclaves: which there are, and what each takes. All of it is read from the host's /proc and from the
// control block that an enclave shares with its launcher; only the list of processes is the enclave's word, and only one that was
// built with debug_enclave gives it. For processes of this user.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct enclave_usage {
	uint64_t cpu_ns;		// of its host processes, those that ended too, and of its launcher
	uint64_t private_bytes;		// programs' own memory; what forks share counts once
	uint64_t kernel_bytes;		// the enclave's memory: its kernel, file caches, files in memory
	uint64_t limit_bytes;		// `memory:` of coffer.yaml; 0: not known
	unsigned int processes, threads; // of the host, the kernel's own among them
	bool counted;			// the following are known
	uint64_t hostcalls, disk_read, disk_written, in, out; // calls; bytes of image and volumes, of streams and connections
	bool debug;			// it lists its processes
};

struct enclave_process {
	int pid, ppid;			// numbers inside
	char state;			// R, S, T, Z as in ps(1)
	int call;			// the system call that it sleeps in; -1: none
	unsigned int threads;
	uint64_t cpu_ns, private_bytes;
	char name[16];
};

// What the enclave of this launcher takes now. 0; -ESRCH: there is no such process, or it is no launcher; -EACCES: it is another user's.
int enclave_usage(pid_t launcher, struct enclave_usage *u);

// Its processes, malloc'ed. -EPERM: the enclave is not for debugging; -ETIMEDOUT: it did not answer within a second (stuck, or stopped);
// -ESRCH, -EACCES, -ENOMEM.
int enclave_processes(pid_t launcher, struct enclave_process **list, size_t *count);

// All launchers that this user runs, ascending: those of `coffer start` and of `coffer run`. malloc'ed; 0 or -errno.
int enclave_launchers(pid_t **list, size_t *count);

// The project folder of a launcher, as far as it can be seen ("" when not): for people.
void enclave_project(pid_t launcher, char *out, size_t size);
