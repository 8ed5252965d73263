// SPDX-License-Identifier: Apache-2.0
// What `coffer tls` and `coffer spdm` have in common: options on what a side shows and what the other one must be, and a command whose input and
// output are a connection's bytes.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "attest/bundle.h"
#include "attest/simtee.h"
#include "cli/evidence.h"
#include "cli/tls.h"
#include "lib/encode.h"

int tls_simulate(void *ctx, const uint8_t report_data[64], struct ratls_evidence *out)
{
	out->bytes = malloc(SIMTEE_REPORT_BYTES);
	out->len = SIMTEE_REPORT_BYTES;
	return out->bytes ? simtee_report(NULL, ctx, report_data, false, out->bytes, &out->certificates) : -ENOMEM;
}

bool tls_number(const char *text, unsigned int least, unsigned int most, unsigned int *out)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);
	*out = (unsigned int)n;
	return *text >= '0' && *text <= '9' && !*end && n >= least && n <= most;
}

int tls_word(const char *text, const char *const words[], unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		if (!strcmp(text, words[i]))
			return (int)i;
	}
	return -1;
}

const char *tls_option(struct tls_sides *q, int option, struct fault *f)
{
	struct ratls_options *o = &q->o;
	const struct bundle none = {.json = NULL};
	unsigned int n = 0;
	time_t at;
	switch (option) {
	case 'a': o->attest = true; break;
	case 's':
		if (strlen(optarg) != 96 || hex_decode(q->simulated, 48, optarg))
			return "--insecure-simulate takes a measurement: 96 hexadecimal digits";
		o->attest = true;
		o->collect = tls_simulate;
		o->collect_ctx = q->simulated;
		break;
	case 'e': o->endorse = true; break;
	case 'k': o->key_file = optarg; break;
	case 'p': o->policy_file = optarg; o->verify = true; break;
	case 'm':
		while (q->measurements[n])
			n++;
		if (n == TLS_MEASUREMENTS)
			return "too many measurements";
		q->measurements[n] = optarg;
		o->measurements = q->measurements;
		o->verify = true;
		break;
	case 'M': o->any_measurement = o->verify = true; break;
	case 'C': o->collateral_dir = optarg; break;
	case 'T': o->tpm_roots_file = optarg; break;
	case 'r': o->insecure_simulated_root = optarg; break;
	case 'd': o->insecure_accept_debug = true; break;
	case 'n':
		if (evidence_time(optarg, &none, &at, f))
			return f->text;
		o->at = strcmp(optarg, "now") ? at : 0;
		break;
	case 'w':
		if (!tls_number(optarg, 1, 86400, &n))
			return "--timeout takes seconds";
		q->timeout_ms = (int)n * 1000;
		break;
	case 'j': q->json = true; break;
	case 'q': q->quiet = true; break;
	default: return "wrong option";
	}
	return NULL;
}

pid_t tls_command(char *const argv[], const char *peer, int *from, int *to)
{
	int in[2], out[2], err;
	if (pipe2(in, O_CLOEXEC))
		return -errno;
	if (pipe2(out, O_CLOEXEC)) {
		err = -errno;
		goto no_out;
	}
	pid_t pid = fork();
	if (!pid) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		if (peer)
			setenv("COFFER_TLS_PEER", peer, 1);
		signal(SIGPIPE, SIG_DFL);
		execvp(argv[0], argv);
		fprintf(stderr, "coffer: cannot start %s: %s\n", argv[0], strerror(errno));
		_exit(127);
	}
	err = -errno;
	close(out[1]);
	if (pid > 0) {
		close(in[0]);
		*from = out[0];
		*to = in[1];
		return pid;
	}
	close(out[0]);
no_out:
	close(in[0]);
	close(in[1]);
	return err;
}
