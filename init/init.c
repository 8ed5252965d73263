// SPDX-License-Identifier: Apache-2.0
// /.coffer/init, the enclave's first program (pid 1, static): checks what the host asks for against the measured
// configuration, has init-attest fetch keys and secrets and mount volumes, starts the program, reaps orphans, and ends with the
// program's exit status. Single-threaded.
//
// Exit codes: the program's own; 128 + N when signal N killed it; 125 when Coffer refused or failed before it could
// start, or its network gateway ended; 126 when the program cannot be executed; 127 when it was not found. Every refusal is one line on stderr that
// begins with "coffer: ".
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hostcall/controlcall.h"
#include "hostcall/mountkey.h"
#include "init/control.h"
#include "init/settings.h"

#define INIT_ATTEST "/.coffer/init-attest"
#define GATEWAY "/.coffer/gateway"

enum { GATEWAY_LOST_S = 10 };	// for the program to end in order
enum { EXIT_REFUSED = 125, EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

static volatile sig_atomic_t program;	// its pid, for the signal handler
static bool gateway_lost;
static int gateway = -1;		// the way to it; programs do not inherit it
static int program_stderr = -1;		// where ours is another stream than the program's
static pid_t gateway_pid;		// 0: there is none, or it may end now

static int refuse(const char *text)
{
	fprintf(stderr, "coffer: %s\n", text);
	return EXIT_REFUSED;
}

static void cut_program(int sig)
{
	(void)sig;
	if (program > 0)
		kill(program, SIGKILL);
}

// An enclave that nobody reaches any more, and that reaches nobody, is not left standing: the program ends in order if it can, and who watches over the
// enclave starts it anew.
static void lose_gateway(void)
{
	gateway_pid = 0;
	gateway_lost = true;
	fprintf(stderr, "coffer: the network gateway has ended by itself: the enclave ends, as nothing that is attested can be reached any more\n");
	if (program <= 0)
		return;
	kill(program, SIGTERM);
	kill(program, SIGCONT);
	signal(SIGALRM, cut_program);
	alarm(GATEWAY_LOST_S);
}

// Waits for one child and reaps every other that ends meanwhile. Its wait status, or -1.
static int wait_for(pid_t pid)
{
	for (;;) {
		int status;
		pid_t got = waitpid(-1, &status, 0);
		if (got == pid)
			return status;
		if (got > 0 && got == gateway_pid)
			lose_gateway();
		if (got < 0 && errno != EINTR)
			return -1;
	}
}

// init-attest has said by itself what went wrong.
static int attest(void)
{
	char *argv[] = {INIT_ATTEST, NULL}, *envp[] = {NULL};
	pid_t pid = fork();
	if (pid == 0) {
		execve(INIT_ATTEST, argv, envp);
		fprintf(stderr, "coffer: cannot run %s: %s\n", INIT_ATTEST, strerror(errno));
		_exit(EXIT_REFUSED);
	}
	int status = pid < 0 ? -1 : wait_for(pid);
	if (status < 0)
		return refuse("cannot start init-attest");
	int sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	if (sig == SIGINT || sig == SIGTERM || sig == SIGHUP)	// the user's wish
		return 128 + sig;
	if (sig)
		fprintf(stderr, "coffer: init-attest was killed by signal %d\n", sig);
	return status == 0 ? 0 : EXIT_REFUSED;
}

// It listens and connects for the program from now on, and has said by itself what went wrong if it does not.
static int start_gateway(void)
{
	char *argv[] = {GATEWAY, NULL}, *envp[] = {NULL}, byte;
	int way[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, way))
		return refuse("cannot start the network gateway");
	pid_t pid = fork();
	if (pid == 0) {
		if (way[1] == 3)
			fcntl(3, F_SETFD, 0);
		else
			dup2(way[1], 3); // where it looks for it
		execve(GATEWAY, argv, envp);
		fprintf(stderr, "coffer: cannot run %s: %s\n", GATEWAY, strerror(errno));
		_exit(EXIT_REFUSED);
	}
	close(way[1]);
	ssize_t n;
	do
		n = read(way[0], &byte, 1);
	while (n < 0 && errno == EINTR);
	gateway = way[0];
	gateway_pid = pid;
	return pid > 0 && n == 1 ? 0 : EXIT_REFUSED;
}

// The program has ended; what it sent last is still on its way. The gateway takes no longer than GATEWAY_END_MS for that.
static void end_gateway(void)
{
	char byte;
	if (gateway < 0 || shutdown(gateway, SHUT_WR))
		return;
	while (read(gateway, &byte, 1) < 0 && errno == EINTR)
		;
}

static void forward(int sig)
{
	if (program > 0)
		kill(program, sig);
}

static const int forwarded[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGCONT, SIGWINCH};

static void set_signals(void (*handler)(int))
{
	struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART};
	for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++)
		sigaction(forwarded[i], &sa, NULL);
	sa.sa_handler = handler == SIG_DFL ? SIG_DFL : SIG_IGN;
	// pid 1 stays in the background of the program's terminal.
	sigaction(SIGTTOU, &sa, NULL);
	sigaction(SIGTTIN, &sa, NULL);
}

_Noreturn static void become(const struct settings *s)
{
	set_signals(SIG_DFL);
	// A session of its own, with the console as its controlling terminal, so that shells get job control and
	// Ctrl-C.
	setsid();
	if (isatty(STDIN_FILENO))
		ioctl(STDIN_FILENO, TIOCSCTTY, 0);
	for (char **e = s->envp; *e; e++)
		putenv(*e);
	int ours = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	if (program_stderr >= 0)
		dup2(program_stderr, STDERR_FILENO);
	execvp(s->argv[0], s->argv);
	int err = errno;
	dprintf(ours, "coffer: cannot run '%s': %s\n", s->argv[0],
		err == ENOENT ? "not found in the image (add it with `coffer copy`)" : strerror(err));
	_exit(err == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

// What the program wrote to its volumes must be there after the enclave is gone, and the anchor must know.
static void close_volumes(int anchor)
{
	struct coffer_anchor_record r = {.what = COFFER_ANCHOR_CLOSE};
	if (anchor < 0 || write(anchor, &r, sizeof r) != (ssize_t)sizeof r)
		sync(); // the kernel has said what went wrong
}

// The kernel gives us a fourth stream where the host keeps what Coffer says apart from the program's standard error.
static void take_messages(void)
{
	if (fcntl(3, F_GETFD) < 0)
		return;
	program_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	dup2(3, STDERR_FILENO);
	close(3);
}

static int run(const struct settings *s)
{
	int control = open(COFFER_CONTROL_FILE, O_RDWR | O_CLOEXEC); // not there in most enclaves
	int anchor = s->volume_count ? open(COFFER_ANCHOR_FILE, O_RDWR | O_CLOEXEC) : -1; // once a program has run nobody can
	pid_t pid = fork();
	if (pid == 0)
		become(s);
	if (pid < 0) {
		fprintf(stderr, "coffer: cannot start a process: %s\n", strerror(errno));
		return EXIT_REFUSED;
	}
	program = pid;
	set_signals(forward);
	if (control >= 0) {
		if (!fork())
			control_serve(control, &s->exec);
		close(control);
	}
	int status = wait_for(pid);
	program = 0;
	gateway_pid = 0;
	end_gateway();
	close_volumes(anchor);
	if (gateway_lost)
		return EXIT_REFUSED;
	if (status < 0)
		return refuse("lost the program");
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int main(void)
{
	struct settings s;
	struct fault f = {""};
	take_messages();
	if (settings_load(&s, &f))
		return refuse(f.text);
	clearenv();
	if (s.volume_count > 0 || s.image.present || s.secret_count > 0 || s.time_broker) {
		int code = attest();
		if (code)
			return code;
	}
	if (s.gateway) {
		int code = start_gateway();
		if (code)
			return code;
	}
	if (chdir(s.cwd) < 0) {
		fprintf(stderr, "coffer: cannot enter the working directory %s: %s\n", s.cwd, strerror(errno));
		return EXIT_REFUSED;
	}
	return run(&s);
}
