// SPDX-License-Identifier: Apache-2.0
// See evidence.h. The program ends by itself; the launcher's supervisor collects it. No locks.
#include "host/evidence.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "host/exact.h"

extern char **environ;

static int start(const char *lib_dir, int in, int out)
{
	posix_spawn_file_actions_t fa;
	char path[4096], *argv[] = { path, NULL };
	pid_t pid;
	int r;

	snprintf(path, sizeof(path), "%s/simulated-tee", lib_dir);
	r = posix_spawn_file_actions_init(&fa);
	if (r)
		return -r;
	posix_spawn_file_actions_adddup2(&fa, in, 0);
	posix_spawn_file_actions_adddup2(&fa, out, 1);
	posix_spawn_file_actions_addclosefrom_np(&fa, 3); // the enclave's sockets are in this table too
	r = posix_spawn(&pid, path, &fa, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	return -r;
}

// One request; up to size bytes of the chain, which follows the answer, go to chain.
static int ask(const char *lib_dir, const struct simtee_request *q, struct simtee_answer *a, char *chain, size_t size)
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, r;

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) {
		r = -errno;
		goto out;
	}
	r = start(lib_dir, in[0], out[1]);
	if (r)
		goto out;
	close(out[1]);
	out[1] = -1;
	r = -EIO;
	if (write(in[1], q, sizeof(*q)) != sizeof(*q) || !read_exactly(out[0], a, sizeof(*a)))
		goto out;
	r = a->error;
	if (r)
		goto out;
	r = -E2BIG;
	if (a->chain_len > size)
		goto out;
	r = read_exactly(out[0], chain, a->chain_len) ? 0 : -EIO;
out:
	for (int i = 0; i < 2; i++) {
		if (in[i] >= 0)
			close(in[i]);
		if (out[i] >= 0)
			close(out[i]);
	}
	return r;
}

int evidence_report(const char *lib_dir, const struct simtee_request *q, uint8_t report[SIMTEE_REPORT_BYTES], char *chain, size_t size,
		    size_t *chain_len)
{
	struct simtee_answer a;
	int r = ask(lib_dir, q, &a, chain, size);

	if (r)
		return r;
	memcpy(report, a.report, sizeof(a.report));
	*chain_len = a.chain_len;
	return 0;
}

int evidence_sealing_key(const char *lib_dir, struct simtee_request *q, uint8_t key[32])
{
	struct simtee_answer a;
	int r;

	q->sealing = true;
	r = ask(lib_dir, q, &a, NULL, 0);
	if (!r)
		memcpy(key, a.key, sizeof(a.key));
	explicit_bzero(&a, sizeof(a));
	return r;
}
