// SPDX-License-Identifier: Apache-2.0
// See command.h.
#include "tests/broker/command.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/file.h"
#include "tests/broker/harness.h"

char said[8192];

int giving(const char *text)
{
	int p[2];
	if (pipe2(p, 0) || write(p[1], text, strlen(text)) < 0)
		exit(1);
	close(p[1]);
	return p[0];
}

pid_t command_begin_with(int (*run)(int, char **), const char *const *words)
{
	char *argv[16] = {"command"}, numbers[4][16], path[100];
	int argc = 1, n = 0, fds[4];
	for (; *words && argc < 15; words++) {
		if (**words == '%' && n < 4) {
			fds[n] = giving(*words + 1);
			snprintf(numbers[n], sizeof numbers[n], "%d", fds[n]);
			argv[argc++] = numbers[n++];
		} else {
			argv[argc++] = (char *)*words;
		}
	}
	snprintf(path, sizeof path, "%s/said", world);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		int out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		dup2(out, 1);
		dup2(out, 2);
		setsid(); // no terminal to ask at
		exit(run(argc, argv));
	}
	while (n)
		close(fds[--n]);
	return pid;
}

int command_end(pid_t pid)
{
	char path[100], *text;
	size_t len;
	int status = -1;
	snprintf(path, sizeof path, "%s/said", world);
	waitpid(pid, &status, 0);
	said[0] = '\0';
	if (!file_read(path, sizeof said - 1, &text, &len, NULL)) {
		strcpy(said, text);
		free(text);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
