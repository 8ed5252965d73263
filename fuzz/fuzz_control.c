// SPDX-License-Identifier: Apache-2.0
// Fuzzes what the host sends to the helper behind `coffer exec`: frames, in pieces of any size, and requests against a strict and a permissive
// configuration. Whatever the host writes, only programs that are listed come out, in their folder, with no variable that is not let in.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "init/exec_request.h"
#include "lib/control.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *programs[] = {"/bin/sh", "/usr/bin/redis-cli", NULL}, *variables[] = {"TERM", "A", NULL}, *envp[] = {"PATH=/bin", "A=1", "MODE=prod", NULL};

static void check(const struct exec_request *r)
{
	if (!r->argv[0] || (strcmp(r->argv[0], "/bin/sh") && strcmp(r->argv[0], "/usr/bin/redis-cli")) || strcmp(r->cwd, "/app"))
		abort();
	for (char **e = r->envp; *e; e++)
		if (strcmp(*e, "PATH=/bin") && strncmp(*e, "A=", 2) && strcmp(*e, "MODE=prod") && strncmp(*e, "TERM=", 5))
			abort();
}

static void request(const char *text, size_t len)
{
	const struct exec_rules none = {.cwd = "/app"}, listed = {.programs = programs, .variables = variables, .envp = envp, .cwd = "/app"},
				any = {.any = true, .variables = variables, .envp = envp, .cwd = "/app"};
	struct exec_request r;
	struct fault f;

	if (!exec_request_read(&r, &none, text, len, &f))
		abort();
	exec_request_free(&r);
	if (!exec_request_read(&r, &listed, text, len, &f))
		check(&r);
	exec_request_free(&r);
	exec_request_read(&r, &any, text, len, &f);
	exec_request_free(&r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct control_input in;
	struct control_frame f;
	size_t step = size ? 1 + data[0] : 1;
	int got = 0;

	in.have = in.at = 0;
	for (size_t at = 0; at < size && got >= 0; at += step) {
		size_t n = size - at < step ? size - at : step;

		if (control_room(&in) < n)
			abort(); // frames that are taken leave room for the longest
		memcpy(in.data + in.have, data + at, n);
		in.have += n;
		while ((got = control_next(&in, &f)) > 0) {
			if (f.len > CONTROL_MOST || f.data < in.data || f.data + f.len > in.data + in.have)
				abort();
			if (f.type == CONTROL_EXEC)
				request((const char *)f.data, f.len);
		}
	}
	request((const char *)data, size);
	return 0;
}
