// SPDX-License-Identifier: Apache-2.0
// lib/coffer/simulated-tee: one report, or the sealing key, of the SIMULATED hardware (simtee.h), asked for by a launcher. A program of its own, so that a
// launcher holds no TLS library. In: a struct simtee_request; out: a struct simtee_answer, then the chain's text.
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attest/simtee.h"

int main(void)
{
	struct simtee_request q;
	struct simtee_answer a = {0};
	char *chain = NULL;
	size_t n = 0;
	int r = 1;

	if (read(0, &q, sizeof(q)) != sizeof(q)) // less than a pipe's atomic size
		return 1;
	if (q.sealing)
		a.error = simtee_sealing_key(NULL, q.measurement, q.debug, a.key);
	else
		a.error = simtee_report(NULL, q.measurement, q.report_data, q.debug, a.report, &chain);
	if (!a.error && chain)
		a.chain_len = strlen(chain);
	if (write(1, &a, sizeof(a)) != sizeof(a))
		goto out;
	while (n < a.chain_len) {
		ssize_t k = write(1, chain + n, a.chain_len - n);
		if (k <= 0)
			goto out;
		n += (size_t)k;
	}
	r = 0;
out:
	free(chain);
	return r;
}
