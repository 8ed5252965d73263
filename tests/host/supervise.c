// SPDX-License-Identifier: Apache-2.0
// The supervisor goes on, whatever becomes of the terminal at which its enclave was started.
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/supervise.h"
#include "tests/folder.h"

enum { WORDS = 1 << 20 };

// An "enclave" that has much to say, on its own stream and on its program's, before it is up.
static int talks(const struct supervised *to)
{
	static char line[64] = "coffer: one of very many lines that are said before it is up..\n";

	for (int k = 0; k < WORDS / 64; k++)
		if (write(k % 2 ? to->stderr_fd : to->message_fd, line, 63) != 63)
			return 1;
	return write(to->started_fd, "s", 1) == 1 ? 7 : 1;
}

// A pipe that nobody reads, and that is full.
static int full_pipe(int way[2])
{
	if (pipe2(way, O_CLOEXEC | O_NONBLOCK))
		return -1;
	while (write(way[1], "x", 1) == 1)
		;
	return fcntl(way[1], F_SETFL, 0);
}

static bool ends_with_code(const char *name, int code)
{
	struct instance i;
	bool ended = false;

	for (int k = 0; k < 6000 && !ended; k++) { // a minute: only a supervisor that stands still takes so long
		ended = !instance_read(name, &i, NULL) && i.state == INSTANCE_ENDED && i.exit_code == code;
		instance_free(&i);
		if (!ended)
			usleep(10000);
	}
	return ended;
}

int main(void)
{
	struct supervise_options o = {.what = {.name = "talker"}, .log_size = 1 << 20, .log_files = 2, .enclave = talks};
	char dir[64];
	pid_t starter;
	int way[2];

	if (!test_folder(dir, "supervise"))
		return 1;
	setenv("COFFER_RUN_DIR", dir, 1);
	if (instance_claim(o.what.name, &o.lock, &o.fresh, NULL) || full_pipe(way))
		return 1;
	starter = fork();
	if (!starter) { // its standard error takes nothing: it waits there, as at a terminal that Ctrl-S has stopped
		dup2(way[1], 2);
		_exit(supervise_start(&o, NULL) ? 1 : 0);
	}
	close(o.lock);
	printf(ends_with_code("talker", 7) ? "ok supervise.stopped_terminal\n" : "not ok supervise.stopped_terminal: the enclave did not come to its end\n");
	kill(starter, SIGKILL);
	waitpid(starter, NULL, 0);
	return 0;
}
