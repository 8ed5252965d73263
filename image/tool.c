// SPDX-License-Identifier: Apache-2.0
// See tool.h. The program is a child of ours and has ended when tool_run() returns.
#include "image/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { SAID_MAX = 2048 };

// This process's environment, but messages in English and text in UTF-8.
static char **make_environment(void)
{
	size_t n = 0, kept = 0;
	char **e;

	while (environ[n])
		n++;
	e = xmalloc((n + 2) * sizeof(*e));
	for (size_t i = 0; i < n; i++)
		if (!starts_with(environ[i], "LC_ALL=") && !starts_with(environ[i], "LANGUAGE="))
			e[kept++] = environ[i];
	e[kept++] = (char *)"LC_ALL=C.UTF-8";
	e[kept] = NULL;
	return e;
}

// Reads both pipes to their ends; of the second the last SAID_MAX bytes are kept.
static int listen_to(int out_fd, int said_fd, size_t limit, struct text *out, struct text *said)
{
	struct pollfd fds[] = {{.fd = out_fd, .events = POLLIN}, {.fd = said_fd, .events = POLLIN}};
	char buffer[65536];
	size_t total = 0;

	while (fds[0].fd >= 0 || fds[1].fd >= 0) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return -errno;
		for (int i = 0; i < 2; i++) {
			ssize_t n;

			if (fds[i].fd < 0 || !fds[i].revents)
				continue;
			n = read(fds[i].fd, buffer, sizeof(buffer));
			if (n < 0 && errno == EINTR)
				continue;
			if (n <= 0) {
				fds[i].fd = -1;
			} else if (!i) {
				total += (size_t)n;
				if (total > limit)
					return -EFBIG;
				if (out)
					text_add(out, buffer, (size_t)n);
			} else {
				text_add(said, buffer, (size_t)n);
				if (said->len > SAID_MAX) {
					memmove(said->data, said->data + said->len - SAID_MAX, SAID_MAX + 1);
					said->len = SAID_MAX;
				}
			}
		}
	}
	return 0;
}

int tool_run(char *const argv[], const char *folder, size_t limit, struct text *out, struct fault *p)
{
	char **environment = make_environment();
	posix_spawn_file_actions_t actions;
	int fds[4] = {-1, -1, -1, -1}, status, err;
	struct text said = {0};
	pid_t pid;

	text_puts(&said, "");
	if (pipe2(fds, O_CLOEXEC) < 0 || pipe2(fds + 2, O_CLOEXEC) < 0) {
		err = fault_errno(p, errno, "cannot make a pipe");
		goto out;
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, fds[1], 1);
	posix_spawn_file_actions_adddup2(&actions, fds[3], 2);
	if (folder)
		posix_spawn_file_actions_addchdir_np(&actions, folder);
	err = posix_spawnp(&pid, argv[0], &actions, NULL, argv, environment);
	posix_spawn_file_actions_destroy(&actions);
	if (err) {
		err = fault_errno(p, err, "cannot run %s", argv[0]);
		goto out;
	}
	close(fds[1]);
	close(fds[3]);
	fds[1] = fds[3] = -1;
	err = listen_to(fds[0], fds[2], limit, out, &said);
	if (err)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	for (size_t n = said.len; n && said.data[n - 1] == '\n';)
		said.data[--n] = '\0';
	if (err)
		fault_errno(p, -err, "%s", argv[0]);
	else if (!WIFEXITED(status) || WEXITSTATUS(status))
		err = fault_set(p, -EIO, "%s failed: %s", argv[0], said.data);
out:
	for (int i = 0; i < 4; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	text_free(&said);
	free(environment);
	return err;
}
