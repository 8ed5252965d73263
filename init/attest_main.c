// SPDX-License-Identifier: Apache-2.0
// /.coffer/init-attest (static, with OpenSSL): init runs it when volumes or secrets are asked for. Exit status 0: all are mounted,
// or there; 1: not, and one message on stderr says why. Where
// volumes are anchored, a helper stays behind that tells the broker of their new states until the enclave ends; where there are identities,
// another that renews them.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "init/exchange.h"

// Nothing of the helper's meets the program: not its terminal, its folder, or its output.
static int leave_helper(struct exchange *x)
{
	int ready[2];
	char hidden;
	if (pipe2(ready, O_CLOEXEC))
		return -errno;
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid > 0) { // programs start when this process has ended, and must find nothing
		close(ready[1]);
		if (read(ready[0], &hidden, 1) != 1)
			return -EIO;
		_exit(0); // not a word on the connection, which is the helper's now
	}
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd < 3 && null >= 0; fd++)
		dup2(null, fd);
	setsid();
	if (anchor_hide(x) || write(ready[1], "", 1) != 1)
		_exit(1);
	close(ready[0]);
	close(ready[1]);
	anchor_serve(x);
	_exit(0);
}

#define TELL 3	// the descriptor of the word that it is ready

// The same for identities; what is the anchor's, and the connection, this one gives up.
static int leave_renewer(struct exchange *x)
{
	struct fault f = {""};
	int ready[2];
	char hidden;
	if (pipe2(ready, O_CLOEXEC))
		return -errno;
	pid_t pid = fork();
	if (pid < 0)
		return -errno;
	if (pid > 0) {
		close(ready[1]);
		ssize_t n = read(ready[0], &hidden, 1);
		close(ready[0]);
		return n == 1 ? 0 : -EIO;
	}
	explicit_bzero(x->tpm, sizeof x->tpm);
	if (helper_hide(x) || dup2(ready[1], TELL) != TELL)
		_exit(1);
	close_range(0, TELL - 1, 0);
	close_range(TELL + 1, ~0u, 0);
	for (int fd = 0; fd < TELL; fd++)
		open("/dev/null", O_RDWR);
	setsid();
	x->http = NULL;
	// Before the program starts: that it will renew nothing is said now, or never.
	if (exchange_open(x, &f) || write(TELL, "", 1) != 1)
		_exit(1);
	close(TELL);
	identity_serve(x);
	_exit(1);
}

int main(void)
{
	struct settings s;
	struct exchange *helper = NULL;
	struct fault f = {""};
	signal(SIGPIPE, SIG_IGN);
	int err = settings_load(&s, &f);
	if (!err)
		err = attest_run(&s, &enclave_ops, &helper, &f);
	if (!err && helper && identity_wanted(&s)) {
		err = leave_renewer(helper);
		if (err)
			fault_set(&f, err, "cannot start what renews identities: %s", strerror(-err));
	}
	if (!err && helper && anchor_wanted(&s)) {
		err = leave_helper(helper);
		if (err)
			fault_set(&f, err, "cannot start the anchor's helper: %s", strerror(-err));
	}
	if (err)
		fprintf(stderr, "coffer: %s\n", f.text);
	exchange_free(helper);
	settings_free(&s);
	return err != 0;
}
