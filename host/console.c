// SPDX-License-Identifier: Apache-2.0
// The terminal of a launcher that is killed: a small process waits for the end of the launcher and of the enclave's host processes, which
// all hold the writing end of a pipe, and then puts the modes back. It does so only if they are still the enclave's:
// a shell that was quicker may be editing a line already.
#include "host/console.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

// As HC_CONSOLE_RAW makes it (hostcall/serve.c). Line editors leave signals or output processing on.
static bool is_raw(const struct termios *t) { return !(t->c_lflag & (ICANON | ISIG | ECHO)) && !(t->c_oflag & OPOST); }

static void guard(int end, int tty, const struct termios *saved)
{
	static const int others[] = {SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGTSTP, SIGTTOU, SIGTTIN, SIGUSR1, SIGUSR2, SIGPIPE};
	struct termios now;
	char c;

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		signal(others[i], SIG_IGN); // the terminal sends some of them to the launcher's whole group
	prctl(PR_SET_NAME, "coffer-terminal");
	if (dup2(tty, 1) < 0 || dup2(end, 0) < 0)
		_exit(1);
	close_range(2, ~0u, 0); // nobody shall wait for an end of file because of this process
	while (read(0, &c, 1) > 0)
		;
	if (!tcgetattr(1, &now) && is_raw(&now))
		tcsetattr(1, TCSANOW, saved);
	_exit(0);
}

void console_guard(void)
{
	struct termios saved;
	int tty = 0, ends[2];
	pid_t pid;

	while (tty < 3 && !isatty(tty))
		tty++;
	if (!isatty(0) || tty == 3 || tcgetattr(tty, &saved) || is_raw(&saved))
		return; // only a terminal that input comes from is made raw
	if (pipe2(ends, O_CLOEXEC))
		return;
	pid = fork();
	if (!pid) {
		close(ends[1]);
		if (!fork())
			guard(ends[0], tty, &saved);
		_exit(0);
	}
	close(ends[0]);
	if (pid > 0)
		waitpid(pid, NULL, 0); // its child is nobody's of ours
}
