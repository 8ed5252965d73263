// SPDX-License-Identifier: Apache-2.0
// Requests of the host to start a program in a running enclave, and the frames that they come in.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "init/exec_request.h"
#include "lib/control.h"

static char *programs[] = {"/bin/sh", "/usr/bin/redis-cli", NULL}, *variables[] = {"TERM", "A", NULL}, *envp[] = {"PATH=/bin", "A=1", "B=2", NULL};
static const struct exec_rules none = {.envp = envp, .cwd = "/app"}, any = {.any = true, .variables = variables, .envp = envp, .cwd = "/app"},
			       listed = {.programs = programs, .variables = variables, .envp = envp, .cwd = "/app"};

static void check(bool good, const char *name)
{
	printf(good ? "ok exec_request.%s\n" : "not ok exec_request.%s: not so\n", name);
}

static void gives(const char *name, const struct exec_rules *rules, const char *text, int want, const char *program, const char *says)
{
	struct exec_request r;
	struct fault f = {""};
	int err = exec_request_read(&r, rules, text, strlen(text), &f);

	check(err == want && (err ? strstr(f.text, says) != NULL : !strcmp(r.argv[0], program)), name);
	exec_request_free(&r);
}

static void frames(void)
{
	static struct control_input in;
	struct control_frame f;
	static uint8_t big[CONTROL_MOST];
	int way[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, way))
		return;
	check(!control_send(way[0], CONTROL_EXEC, "{}", 2) && !control_send(way[0], CONTROL_STDIN, NULL, 0), "send");
	for (int k = 0; k < 10; k++) { // a byte at a time
		check(control_room(&in) > 0 && read(way[1], in.data + in.have, 1) == 1, "byte");
		in.have++;
		if (k == 5)
			check(control_next(&in, &f) == 1 && f.type == CONTROL_EXEC && f.len == 2 && !memcmp(f.data, "{}", 2), "frame");
		else if (k < 9)
			check(control_next(&in, &f) == 0, "not_whole");
	}
	check(control_next(&in, &f) == 1 && f.type == CONTROL_STDIN && !f.len && !control_next(&in, &f), "empty_frame");
	check(control_send(way[0], CONTROL_STDIN, big, sizeof(big) + 1) == -EMSGSIZE, "too_long_to_send");
	memcpy(in.data, "\x03\x01\x00\x01", 4);
	in.have = 4, in.at = 0;
	check(control_next(&in, &f) == -EPROTO, "too_long");
	memcpy(in.data, "\x00\x00\x00\x01x", 5);
	in.have = 5, in.at = 0;
	check(control_next(&in, &f) == -EPROTO, "unknown_type");
	close(way[0]);
	close(way[1]);
}

static void environment(void)
{
	static const char text[] = "{\"args\":[\"/bin/sh\",\"-c\",\"x\"],\"env\":{\"A\":\"3\"},\"tty\":{\"rows\":5,\"cols\":6,\"term\":\"vt100\"}}";
	struct exec_request r;

	check(!exec_request_read(&r, &listed, text, strlen(text), NULL) && r.tty && r.rows == 5 && r.cols == 6 && !strcmp(r.cwd, "/app") && !strcmp(r.argv[2], "x") &&
		      !r.argv[3] && !strcmp(r.envp[0], "PATH=/bin") && !strcmp(r.envp[1], "A=3") && !strcmp(r.envp[2], "B=2") &&
		      !strcmp(r.envp[3], "TERM=vt100") && !r.envp[4],
	      "environment");
	exec_request_free(&r);
}

int main(void)
{
	gives("listed", &listed, "{\"args\":[\"/bin/sh\"]}", 0, "/bin/sh", "");
	gives("by_name", &listed, "{\"args\":[\"redis-cli\",\"x\"]}", 0, "/usr/bin/redis-cli", "");
	gives("any", &any, "{\"args\":[\"ls\"],\"cwd\":\"/tmp\"}", 0, "ls", "");
	gives("none", &none, "{\"args\":[\"/bin/sh\"]}", -EPERM, NULL, "host_exec");
	gives("unlisted", &listed, "{\"args\":[\"/bin/ls\"]}", -EPERM, NULL, "does not list");
	gives("unlisted_end", &listed, "{\"args\":[\"bin/sh\"]}", -EPERM, NULL, "does not list");
	gives("part_of_name", &listed, "{\"args\":[\"cli\"]}", -EPERM, NULL, "does not list");
	gives("folder", &listed, "{\"args\":[\"sh\"],\"cwd\":\"/\"}", -EPERM, NULL, "working directory");
	gives("own_folder", &listed, "{\"args\":[\"sh\"],\"cwd\":\"/app\"}", 0, "/bin/sh", "");
	gives("variable", &listed, "{\"args\":[\"sh\"],\"env\":{\"B\":\"3\"}}", -EPERM, NULL, "host_environment");
	gives("variable_type", &listed, "{\"args\":[\"sh\"],\"env\":{\"A\":3}}", -EINVAL, NULL, "malformed");
	gives("no_args", &listed, "{}", -EINVAL, NULL, "names a program");
	gives("empty_args", &listed, "{\"args\":[]}", -EINVAL, NULL, "names a program");
	gives("empty_program", &any, "{\"args\":[\"\"]}", -EINVAL, NULL, "first a program");
	gives("args_type", &listed, "{\"args\":[\"sh\",1]}", -EINVAL, NULL, "texts");
	gives("nul", &listed, "{\"args\":[\"/bin/sh\\u0000x\"]}", -EINVAL, NULL, "JSON");
	gives("unknown_key", &listed, "{\"args\":[\"sh\"],\"uid\":0}", -EINVAL, NULL, "unknown key");
	gives("unknown_tty_key", &listed, "{\"args\":[\"sh\"],\"tty\":{\"rows\":1,\"cols\":1,\"x\":1}}", -EINVAL, NULL, "unknown key");
	gives("tty_size", &listed, "{\"args\":[\"sh\"],\"tty\":{\"rows\":99999,\"cols\":1}}", -EINVAL, NULL, "rows");
	gives("twice", &listed, "{\"args\":[\"sh\"],\"args\":[\"sh\"]}", -EINVAL, NULL, "JSON");
	gives("relative_folder", &any, "{\"args\":[\"sh\"],\"cwd\":\"x\"}", -EINVAL, NULL, "absolute");
	environment();
	frames();
	return 0;
}
