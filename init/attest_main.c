// SPDX-License-Identifier: Apache-2.0
// /.coffer/init-attest (static, with OpenSSL): init runs it when volumes are asked for. Exit status 0: all are mounted;
// 1: not, and one message on stderr says why.
#include <signal.h>
#include <stdio.h>

#include "init/attest.h"

int main(void)
{
	struct settings s;
	struct fault f = {""};
	signal(SIGPIPE, SIG_IGN);
	int err = settings_load(&s, &f);
	if (!err)
		err = attest_run(&s, &enclave_ops, &f);
	if (err)
		fprintf(stderr, "coffer: %s\n", f.text);
	settings_free(&s);
	return err != 0;
}
