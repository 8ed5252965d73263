// SPDX-License-Identifier: Apache-2.0
// See control.h. All that comes is the host's: frames are checked by lib/control.c, requests by exec_request.c against the measured configuration,
// and what passes back is as visible to it as the program's own standard streams. A process for each connection, single-threaded; what
// the program cannot take yet stays in its window, so that signals never wait behind data.
#include "init/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "hostcall/controlcall.h"
#include "init/exec_user.h"
#include "lib/control.h"

// Requests served at a time, each a process of the enclave's that its limits count; how long one may take to be said; and the pause when nothing
// can be accepted.
enum { MOST_CONNECTIONS = 64, FIRST_FRAME_MS = 30000, RETRY_MS = 100 };
enum { EXIT_REFUSED = 125, EXIT_NOT_EXECUTABLE = 126, EXIT_NOT_FOUND = 127 };

struct session {
	int host;		// the connection
	struct control_input in;
	bool host_gone;
	pid_t child;
	int child_fd;		// pidfd
	int to;			// the child's standard input, or the terminal; -1: closed
	int from[2];		// its output and error, or the terminal and -1
	bool tty;
	uint8_t pending[CONTROL_WINDOW];	// stdin that it has not taken yet
	size_t have;
	bool end_of_input;
};

static void refuse(int host, int code, const char *text)
{
	char frame[1200];
	int n = snprintf(frame, sizeof frame, "%c%s", code, text);
	control_send(host, CONTROL_REFUSED, frame, n < (int)sizeof frame ? (size_t)n : sizeof frame - 1);
}

static int set_flag(int fd, int flag)
{
	int flags = fcntl(fd, F_GETFL);
	return flags < 0 || fcntl(fd, F_SETFL, flags | flag) ? -errno : 0;
}

// More of what the host says. False: it has nothing more to say.
static bool fill(struct session *s)
{
	size_t room = control_room(&s->in);
	ssize_t n = room ? read(s->host, s->in.data + s->in.have, room) : 0;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0)
		return false;
	s->in.have += (size_t)n;
	return true;
}

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// The frame that says what is wanted: all of it within the time, however slowly its bytes come.
static int first_frame(struct session *s, struct control_frame *f)
{
	struct pollfd p = {s->host, POLLIN, 0};
	int64_t end = now_ms() + FIRST_FRAME_MS, left;
	int got;
	while (!(got = control_next(&s->in, f))) {
		left = end - now_ms();
		if (left <= 0 || poll(&p, 1, (int)left) <= 0 || !fill(s))
			return -ETIMEDOUT;
	}
	return got < 0 ? got : 0;
}

// ---- the program

struct ends {
	int child[3], ours[3];	// -1: none
	int terminal;		// the child's; -1: none
};

static int open_terminal(struct ends *e, const struct exec_request *r)
{
	struct winsize size = {.ws_row = r->rows, .ws_col = r->cols};
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), zero = 0, err;
	if (master < 0)
		return -errno;
	if (ioctl(master, TIOCSPTLCK, &zero) || ioctl(master, TIOCSWINSZ, &size) ||
	    (e->terminal = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0) {
		err = -errno;
		close(master);
		return err;
	}
	e->ours[0] = e->ours[1] = master;
	e->child[0] = e->child[1] = e->child[2] = e->terminal;
	return 0;
}

static int open_pipes(struct ends *e)
{
	for (int i = 0; i < 3; i++) {
		int way[2];
		if (pipe2(way, O_CLOEXEC))
			return -errno;
		e->child[i] = way[i ? 1 : 0];
		e->ours[i] = way[i ? 0 : 1];
	}
	return 0;
}

// u: NULL: root, as this process.
_Noreturn static void become(const struct exec_request *r, const struct exec_user *u, const struct ends *e, int failed)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	for (int sig = 1; sig < NSIG; sig++)
		sigaction(sig, &dfl, NULL);
	setsid();
	if (e->terminal >= 0)
		ioctl(e->terminal, TIOCSCTTY, 0);
	for (int i = 0; i < 3; i++) {
		dup2(e->child[i], i);
		if (u && fchown(i, u->uid, (gid_t)-1)) // so that it can open /dev/stdout, or its terminal
			errno = 0;
	}
	clearenv();
	for (char **p = r->envp; p && *p; p++)
		putenv(*p);
	if (u && u->home && !r->sets_home)
		setenv("HOME", u->home, 1);
	int err = u ? -exec_user_become(u) : 0;
	if (!err && !chdir(r->cwd))
		execvp(r->argv[0], r->argv);
	err = err ? err : errno;
	if (write(failed, &err, sizeof err) < 0)
		_exit(EXIT_REFUSED);
	_exit(err == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE);
}

// 0: it runs. Else the host has been told why not.
static int start(struct session *s, const struct exec_request *r, const struct exec_user *u)
{
	struct ends e = {{-1, -1, -1}, {-1, -1, -1}, -1};
	int failed[2], why = 0, err = r->tty ? open_terminal(&e, r) : open_pipes(&e);
	char text[400];
	if (err || pipe2(failed, O_CLOEXEC)) {
		refuse(s->host, EXIT_REFUSED, r->tty ? "the enclave has no terminal left" : "the enclave has no pipe left");
		return -1;
	}
	s->child = fork();
	if (!s->child)
		become(r, u, &e, failed[1]);
	close(failed[1]);
	for (int i = 0; i < 3; i++)
		if (e.child[i] != e.terminal)
			close(e.child[i]);
	if (e.terminal >= 0)
		close(e.terminal);
	ssize_t n = s->child < 0 ? -1 : read(failed[0], &why, sizeof why);
	close(failed[0]);
	if (n) {
		int code = s->child < 0 ? EXIT_REFUSED : why == ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE;
		snprintf(text, sizeof text, "cannot run '%.200s': %s", r->argv[0], why == ENOENT ? "not found in the image" : strerror(why ? why : EAGAIN));
		refuse(s->host, code, text);
		return -1;
	}
	s->tty = r->tty;
	s->to = e.ours[0];
	s->from[0] = e.ours[1];
	s->from[1] = e.ours[2];
	for (int i = 0; i < 3; i++)
		if (e.ours[i] >= 0)
			set_flag(e.ours[i], O_NONBLOCK);
	s->child_fd = (int)syscall(SYS_pidfd_open, s->child, 0);
	return s->child_fd < 0 ? -1 : 0;
}

// ---- while it runs

static void send_signal(struct session *s, int sig)
{
	// What a terminal would send goes to all that belongs to it, as there.
	if (sig == SIGINT || sig == SIGQUIT || sig == SIGHUP)
		kill(-s->child, sig);
	else if (sig == SIGTERM || sig == SIGUSR1 || sig == SIGUSR2 || sig == SIGKILL || sig == SIGCONT || sig == SIGTSTP)
		kill(s->child, sig);
}

// False: the host does not keep to what was agreed.
static bool obey(struct session *s, const struct control_frame *f)
{
	switch (f->type) {
	case CONTROL_STDIN:
		if (s->end_of_input || f->len > sizeof s->pending - s->have)
			return false;
		if (s->to >= 0) {
			memcpy(s->pending + s->have, f->data, f->len);
			s->have += f->len;
		}
		s->end_of_input = !f->len;
		return true;
	case CONTROL_SIGNAL:
		if (f->len != 1)
			return false;
		send_signal(s, f->data[0]);
		return true;
	case CONTROL_SIZE:
		if (f->len != 4)
			return false;
		struct winsize size = {.ws_row = (unsigned short)(f->data[0] << 8 | f->data[1]), .ws_col = (unsigned short)(f->data[2] << 8 | f->data[3])};
		if (s->tty && s->from[0] >= 0)
			ioctl(s->from[0], TIOCSWINSZ, &size);
		return true;
	default: return false;
	}
}

static void close_input(struct session *s)
{
	if (s->to >= 0 && s->to != s->from[0])
		close(s->to);
	s->to = -1;
}

// Hands on what it takes.
static void feed(struct session *s)
{
	uint8_t credit[4];
	ssize_t n = s->have && s->to >= 0 ? write(s->to, s->pending, s->have) : 0;
	if (n < 0 && errno != EAGAIN && errno != EINTR) { // it reads no more: what comes goes nowhere
		close_input(s);
		n = (ssize_t)s->have;
	}
	if (n > 0) {
		memmove(s->pending, s->pending + n, s->have - (size_t)n);
		s->have -= (size_t)n;
		credit[0] = (uint8_t)(n >> 24), credit[1] = (uint8_t)(n >> 16), credit[2] = (uint8_t)(n >> 8), credit[3] = (uint8_t)n;
		if (!s->host_gone && control_send(s->host, CONTROL_CREDIT, credit, sizeof credit))
			s->host_gone = true;
	}
	if (!s->have && s->end_of_input && !s->tty)
		close_input(s);
}

// Bytes that were passed on; -1: nothing comes any more.
static ssize_t pass(struct session *s, int which)
{
	static uint8_t buf[32768];
	ssize_t n = read(s->from[which], buf, sizeof buf);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) // EIO: a terminal that nobody has open
		return -1;
	if (!s->host_gone && control_send(s->host, which ? CONTROL_STDERR : CONTROL_STDOUT, buf, (size_t)n))
		s->host_gone = true;
	return n;
}

static void close_output(struct session *s, int which)
{
	if (s->to == s->from[which])
		s->to = -1;
	close(s->from[which]);
	s->from[which] = -1;
}

// What has come of the host's wishes.
static bool hear(struct session *s)
{
	struct control_frame f;
	int got;
	while ((got = control_next(&s->in, &f)) > 0)
		if (!obey(s, &f))
			return false;
	return !got;
}

// It has ended. What it left in the pipes goes out, as much as one can hold: processes that it left behind may keep them open, and write for ever.
static void drain(struct session *s, int which)
{
	struct pollfd p = {s->from[which], POLLIN, 0};
	int size = s->from[which] < 0 ? 0 : fcntl(s->from[which], F_GETPIPE_SZ);
	ssize_t left = size < 0 ? (ssize_t)CONTROL_WINDOW : size, n = 0; // < 0: a terminal
	for (; left > 0 && poll(&p, 1, 0) > 0 && (n = pass(s, which)) >= 0; left -= n)
		;
	if (n < 0)
		close_output(s, which);
}

static void relay(struct session *s)
{
	bool over = false, heard = hear(s); // what came with the request
	while (!over) {
		feed(s); // before sleeping: the end of its input may have come with the request
		struct pollfd p[5] = {{s->host_gone ? -1 : s->host, POLLIN, 0}, {s->from[0], POLLIN, 0}, {s->from[1], POLLIN, 0}, {s->child_fd, POLLIN, 0},
				      {s->have ? s->to : -1, POLLOUT, 0}};
		if (poll(p, 5, -1) < 0 && errno != EINTR)
			return;
		over = p[3].revents;
		if (!s->host_gone && p[0].revents)
			heard = fill(s) && hear(s);
		if (!s->host_gone && !heard) {
			s->host_gone = true;
			kill(-s->child, SIGHUP); // as when a terminal's line drops
			close_input(s);
		}
		for (int i = 0; i < 2; i++)
			if (s->from[i] >= 0 && p[1 + i].revents && pass(s, i) < 0)
				close_output(s, i);
	}
	for (int i = 0; i < 2; i++)
		drain(s, i);
}

static void serve_exec(struct session *s, const struct exec_rules *rules, const struct control_frame *f)
{
	struct exec_request r;
	struct exec_user u = {0};
	struct fault why = {""};
	uint8_t code;
	int status;
	if (exec_request_read(&r, rules, (const char *)f->data, f->len, &why) ||
	    (r.user && exec_user_find(&u, r.user, "/etc/passwd", "/etc/group", &why) < 0)) {
		refuse(s->host, EXIT_REFUSED, why.text);
		return;
	}
	if (start(s, &r, r.user ? &u : NULL))
		return;
	exec_request_free(&r);
	exec_user_free(&u);
	if (control_send(s->host, CONTROL_STARTED, NULL, 0))
		s->host_gone = true;
	relay(s);
	while (waitpid(s->child, &status, 0) < 0)
		if (errno != EINTR)
			return;
	code = (uint8_t)(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
	if (!s->host_gone)
		control_send(s->host, CONTROL_EXIT, &code, 1);
}

_Noreturn static void serve(int host, const struct exec_rules *rules)
{
	static struct session s; // large
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	struct control_frame f;
	sigaction(SIGCHLD, &dfl, NULL);
	s.host = host;
	s.to = s.from[0] = s.from[1] = -1;
	set_flag(host, O_NONBLOCK);
	if (!first_frame(&s, &f)) {
		if (f.type == CONTROL_EXEC)
			serve_exec(&s, rules, &f);
		else if (f.type == CONTROL_TASKS)
			control_tasks(host, rules->any || !rules->programs); // no programs at all: only a debug enclave comes here
		else
			refuse(host, EXIT_REFUSED, "this is no request");
	}
	_exit(0);
}

// ---- the helper

static volatile sig_atomic_t serving; // changed with SIGCHLD blocked, or by its handler

static void reap(int sig)
{
	int e = errno;
	(void)sig;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		serving = serving - 1;
	errno = e;
}

// How willingly this process is killed when memory runs out, from -1000 (never) on. If that cannot be set the default stays.
static void set_oom_score(const char *score)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (fd >= 0 && write(fd, score, strlen(score)) < 0)
		errno = 0;
	if (fd >= 0)
		close(fd);
}

static void serve_in_a_process(int control, int host, const struct exec_rules *rules)
{
	sigset_t child, old;
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, &old);
	pid_t pid = fork();
	serving = serving + (pid > 0);
	sigprocmask(SIG_SETMASK, &old, NULL);
	if (pid)
		return;
	close(control);
	set_oom_score("0"); // it serves the host, not the enclave
	serve(host, rules);
}

// One frame into an empty socket, which never waits.
static void turn_away(int host)
{
	set_flag(host, O_NONBLOCK);
	refuse(host, EXIT_REFUSED, "the enclave serves as many requests of the host as it does at a time: try again when some have ended");
}

// Init's files are not this process's business: all but the control file and standard error are let go.
static int keep_only(int control)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	if (control != 3)
		control = dup3(control, 3, O_CLOEXEC);
	close_range(4, ~0u, 0);
	return control;
}

void control_serve(int control, const struct exec_rules *rules)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN}, child = {.sa_handler = reap, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
	const struct timespec pause = {.tv_nsec = RETRY_MS * 1000000};
	static const int ignored[] = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGPIPE, SIGTTOU, SIGTTIN};
	for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
		sigaction(ignored[i], &ignore, NULL);
	sigaction(SIGCHLD, &child, NULL);
	prctl(PR_SET_NAME, "coffer-exec");
	setsid();
	control = keep_only(control);
	set_oom_score("-1000"); // else the host's requests are refused from then on
	for (;;) {
		int host = ioctl(control, COFFER_CONTROL_ACCEPT, 0);
		if (host < 0 && (errno == EBADF || errno == EINVAL || errno == ENOTTY || errno == ENOTSOCK || errno == EOPNOTSUPP)) {
			fprintf(stderr, "coffer: no more programs are started for the host: %s\n", strerror(errno));
			_exit(1);
		}
		if (host < 0 && errno != EINTR && errno != ECONNABORTED)
			nanosleep(&pause, NULL); // out of files or memory, in the enclave or its launcher: the connection may still be there
		if (host < 0)
			continue;
		if (serving >= MOST_CONNECTIONS)
			turn_away(host);
		else
			serve_in_a_process(control, host, rules);
		close(host);
	}
}
