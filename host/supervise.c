// SPDX-License-Identifier: Apache-2.0
// See supervise.h. One thread, one poll loop: signals come through a descriptor, the enclave's streams through pipes that are always
// drained, whatever becomes of the log. No locks but that of the folder.
#include "host/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KILL_MS 5000	// the launcher has this long to end an enclave that did not end by itself
#define DRAIN_MS 2000	// and what it said last this long to arrive

struct supervisor {
	const struct supervise_options *o;
	struct instance what;
	struct log_writer log;
	int signals;
	int stream[LOG_STREAMS], started;	// -1: closed
	int report, relay;			// pipes to `coffer start`, until the enclave is up or has failed; -1: not any more
	pid_t launcher;				// 0: none
	bool up, was_up, stopping, asked_to_die;
	int64_t up_ms, restart_ms, kill_ms;	// monotonic; 0: not
	unsigned int pause_ms, in_a_row;
	int64_t state_ms;			// when the state was written
};

static int64_t clock_ms(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t now_ms(void) { return clock_ms(CLOCK_MONOTONIC); }

bool supervise_policy(const char *text, enum restart_policy *policy, unsigned int *most)
{
	char *end;
	unsigned long n;

	*most = 0;
	*policy = RESTART_NO;
	if (!strcmp(text, "no"))
		return true;
	*policy = RESTART_ALWAYS;
	if (!strcmp(text, "always"))
		return true;
	*policy = RESTART_ON_FAILURE;
	if (!strcmp(text, "on-failure"))
		return true;
	if (strncmp(text, "on-failure:", 11) || text[11] < '1' || text[11] > '9')
		return false;
	n = strtoul(text + 11, &end, 10);
	*most = (unsigned int)n;
	return !*end && n <= 1000000;
}

static void set_state(struct supervisor *s, enum instance_state state, const char *reason)
{
	s->what.state = state;
	s->what.since_ms = clock_ms(CLOCK_REALTIME);
	s->what.log_dropped = s->log.dropped;
	snprintf(s->what.reason, sizeof(s->what.reason), "%s", reason);
	s->state_ms = now_ms();
	instance_write(&s->what); // a disk that is full leaves the old state, which nobody can help
}

// `coffer start` waits for one letter: up, or failed.
static void report(struct supervisor *s, char what)
{
	if (s->report < 0)
		return;
	if (write(s->report, &what, 1) < 0)
		errno = 0; // it has gone away
	close(s->report);
	close(s->relay);
	s->report = s->relay = -1;
}

_Noreturn static void be_launcher(struct supervisor *s, int out[2], int err[2], int messages[2], int started[2], pid_t parent)
{
	struct supervised to = {.supervisor = parent, .dir = s->log.dir};
	sigset_t none;

	// An end of the supervisor that it could not order: the program is asked to end all the same.
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) || getppid() != parent)
		_exit(125);
	close(s->signals);
	if (s->report >= 0) {
		close(s->report);
		close(s->relay);
	}
	if (s->log.fd >= 0)
		close(s->log.fd);
	close(out[0]);
	close(err[0]);
	close(messages[0]);
	close(started[0]);
	dup2(out[1], 1);
	dup2(messages[1], 2);
	close(out[1]);
	to.stderr_fd = err[1];
	to.message_fd = messages[1];
	to.started_fd = started[1];
	signal(SIGPIPE, SIG_IGN); // a supervisor that is gone reads no log
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	exit(s->o->enclave(&to));
}

static int make_pipes(int pipes[4][2])
{
	for (int i = 0; i < 4; i++) {
		if (!pipe2(pipes[i], O_CLOEXEC))
			continue;
		while (i-- > 0) {
			close(pipes[i][0]);
			close(pipes[i][1]);
		}
		return -errno;
	}
	return 0;
}

static void begin(struct supervisor *s)
{
	pid_t self = getpid();
	int pipes[4][2];
	int err = make_pipes(pipes);

	s->restart_ms = s->kill_ms = 0;
	s->up = s->asked_to_die = false;
	s->launcher = err ? -1 : fork();
	if (!s->launcher)
		be_launcher(s, pipes[0], pipes[1], pipes[2], pipes[3], self);
	if (s->launcher < 0) {
		log_say(&s->log, "coffer: cannot start a process: %s", strerror(err ? -err : errno));
		s->launcher = 0;
	}
	for (int i = 0; i < 4 && !err; i++) {
		close(pipes[i][1]);
		fcntl(pipes[i][0], F_SETFL, O_NONBLOCK);
	}
	if (!err) {
		s->stream[LOG_STDOUT] = pipes[0][0];
		s->stream[LOG_STDERR] = pipes[1][0];
		s->stream[LOG_ENCLAVE] = pipes[2][0];
		s->started = pipes[3][0];
	}
	s->what.launcher = s->launcher ? process_name(s->launcher) : (struct process_name){0};
	set_state(s, INSTANCE_STARTING, "");
}

// What has come from one stream. False: it has ended.
static bool take(struct supervisor *s, enum log_stream which)
{
	static char buf[65536];
	ssize_t n = read(s->stream[which], buf, sizeof(buf));

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (!n)
		return false;
	log_bytes(&s->log, which, buf, (size_t)n);
	// Why it does not come up is said where it was started. Standard output is not: nothing but the program writes there. What finds no room,
	// because the terminal there was stopped, is in the log.
	if (s->relay >= 0 && which != LOG_STDOUT && write(s->relay, buf, (size_t)n) < 0)
		errno = 0;
	return true;
}

static void close_stream(struct supervisor *s, int which)
{
	close(s->stream[which]);
	s->stream[which] = -1;
}

// The enclave has ended: what it said last is still in the pipes, whose other ends its processes may hold for a moment.
static void drain(struct supervisor *s)
{
	int64_t end = now_ms() + DRAIN_MS;

	for (;;) {
		struct pollfd p[LOG_STREAMS];
		int64_t left = end - now_ms();
		bool any = false;

		for (int i = 0; i < LOG_STREAMS; i++) {
			p[i] = (struct pollfd){s->stream[i], POLLIN, 0};
			any |= s->stream[i] >= 0;
		}
		if (!any || left <= 0 || (poll(p, LOG_STREAMS, (int)left) < 0 && errno != EINTR))
			break;
		for (int i = 0; i < LOG_STREAMS; i++)
			if (s->stream[i] >= 0 && p[i].revents && !take(s, (enum log_stream)i))
				close_stream(s, i);
	}
	for (int i = 0; i < LOG_STREAMS; i++)
		if (s->stream[i] >= 0)
			close_stream(s, i);
	if (s->started >= 0)
		close(s->started);
	s->started = -1;
	log_flush(&s->log, true);
}

static void came_up(struct supervisor *s)
{
	char c;

	if (read(s->started, &c, 1) == 1 && !s->up) {
		s->up = s->was_up = true;
		s->up_ms = now_ms();
		s->what.taking_programs = s->o->what.taking_programs;
		if (!s->stopping)
			set_state(s, INSTANCE_RUNNING, "");
		report(s, 'u'); // whoever waited for that may look at the state
	}
	close(s->started);
	s->started = -1;
}

static bool wants_restart(struct supervisor *s, int code)
{
	if (s->stopping || !s->was_up || s->o->restart == RESTART_NO)
		return false;
	if (s->up && now_ms() - s->up_ms >= RESTART_STEADY_MS)
		s->in_a_row = s->pause_ms = 0;
	if (s->o->restart == RESTART_ALWAYS)
		return true;
	return code && (!s->o->restart_most || s->in_a_row < s->o->restart_most);
}

// The launcher has ended. False: and it stays so.
static bool ended(struct supervisor *s, int status)
{
	int code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
	char reason[160];

	if (s->started >= 0)
		came_up(s); // it may have been up, and over, since we looked
	drain(s);
	s->launcher = 0;
	s->what.launcher = (struct process_name){0};
	s->what.exit_code = code;
	s->what.taking_programs = false;
	if (wants_restart(s, code)) {
		s->pause_ms = s->pause_ms ? s->pause_ms * 2 : RESTART_PAUSE_MS;
		if (s->pause_ms > RESTART_PAUSE_MOST_MS)
			s->pause_ms = RESTART_PAUSE_MOST_MS;
		s->in_a_row++;
		s->restart_ms = now_ms() + s->pause_ms;
		snprintf(reason, sizeof(reason), "exit code %d; it is started again after %u.%u s", code, s->pause_ms / 1000, s->pause_ms % 1000 / 100);
		log_say(&s->log, "coffer: the enclave has ended: %s", reason);
		set_state(s, INSTANCE_WAITING, reason);
		return true;
	}
	if (s->stopping)
		snprintf(reason, sizeof(reason), "stopped");
	else if (s->o->restart == RESTART_ON_FAILURE && code)
		snprintf(reason, sizeof(reason), "failed %u times in a row", s->in_a_row + 1);
	else
		*reason = '\0';
	log_say(&s->log, "coffer: the enclave has ended: exit code %d%s%s", code, *reason ? "; " : "", reason);
	set_state(s, INSTANCE_ENDED, reason);
	return false;
}

static void stop(struct supervisor *s, unsigned int seconds)
{
	int64_t at = now_ms() + seconds * 1000ll;

	if (!s->stopping || at < s->kill_ms)
		s->kill_ms = at;
	s->stopping = true;
	if (!s->launcher)
		return;
	set_state(s, INSTANCE_STOPPING, "");
	if (seconds)
		kill(s->launcher, SIGTERM); // our child: nobody else can have its number
}

// The time is up: the launcher is told what --stop-timeout tells it, and is killed if that does not help.
static void end_by_force(struct supervisor *s)
{
	kill(s->launcher, s->asked_to_die ? SIGKILL : SIGALRM);
	s->asked_to_die = true;
	s->kill_ms = now_ms() + KILL_MS;
}

// False: all is over.
static bool take_signals(struct supervisor *s)
{
	struct signalfd_siginfo i;
	int status;

	while (read(s->signals, &i, sizeof(i)) == sizeof(i)) {
		if (i.ssi_signo == SIGTERM)
			stop(s, i.ssi_code == SI_QUEUE && i.ssi_int > 0 && i.ssi_int <= 86401 ? (unsigned int)i.ssi_int - 1 : s->o->stop_timeout);
	}
	if (s->launcher && waitpid(s->launcher, &status, WNOHANG) == s->launcher)
		return ended(s, status);
	if (!s->launcher && s->stopping) { // between two starts
		set_state(s, INSTANCE_ENDED, "stopped");
		return false;
	}
	return true;
}

static int sooner(int64_t a, int64_t b) { return (int)(a < 0 ? b : b < 0 || a < b ? a : b); }

static int timeout(struct supervisor *s)
{
	int64_t now = now_ms(), t = log_flush(&s->log, false);

	if (s->restart_ms)
		t = sooner(t, s->restart_ms > now ? s->restart_ms - now : 0);
	if (s->kill_ms && s->launcher)
		t = sooner(t, s->kill_ms > now ? s->kill_ms - now : 0);
	if (s->log.dropped != s->what.log_dropped)
		t = sooner(t, s->state_ms + 1000 > now ? s->state_ms + 1000 - now : 0);
	return (int)t;
}

static void serve(struct supervisor *s)
{
	for (;;) {
		struct pollfd p[LOG_STREAMS + 2] = {{s->signals, POLLIN, 0}, {s->started, POLLIN, 0}};

		for (int i = 0; i < LOG_STREAMS; i++)
			p[2 + i] = (struct pollfd){s->stream[i], POLLIN, 0};
		if (poll(p, LOG_STREAMS + 2, timeout(s)) < 0 && errno != EINTR)
			return;
		for (int i = 0; i < LOG_STREAMS; i++)
			if (s->stream[i] >= 0 && p[2 + i].revents && !take(s, (enum log_stream)i))
				close_stream(s, i);
		if (s->started >= 0 && p[1].revents)
			came_up(s);
		if (!take_signals(s))
			return;
		if (s->kill_ms && s->launcher && now_ms() >= s->kill_ms)
			end_by_force(s);
		if (s->restart_ms && now_ms() >= s->restart_ms) {
			s->what.restarts++;
			begin(s);
			if (!s->launcher && !ended(s, 125 << 8)) // no process to be had
				return;
		}
		if (s->log.dropped != s->what.log_dropped && now_ms() - s->state_ms >= 1000) {
			s->what.log_dropped = s->log.dropped;
			s->state_ms = now_ms();
			instance_write(&s->what);
		}
	}
}

// In the new process.
_Noreturn static void be_supervisor(const struct supervise_options *o, int report_fd, int relay_fd)
{
	static struct supervisor s; // large
	char dir[4096];
	sigset_t set;
	int null;

	setsid();
	s = (struct supervisor){.o = o, .what = o->what, .stream = {-1, -1, -1}, .started = -1, .report = report_fd, .relay = relay_fd};
	fcntl(relay_fd, F_SETFL, O_NONBLOCK);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int i = 0; i < 3; i++)
		dup2(null, i);
	if (null > 2)
		close(null);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGINT, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	s.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	s.what.supervisor = process_name(getpid());
	s.what.created_ms = clock_ms(CLOCK_REALTIME);
	s.what.exit_code = -1;
	if (s.signals < 0 || instance_dir(s.what.name, dir, sizeof(dir), NULL))
		_exit(125);
	log_open(&s.log, dir, o->log_size, o->log_files);
	begin(&s);
	if (s.launcher)
		serve(&s);
	else
		ended(&s, 125 << 8);
	log_close(&s.log);
	if (!s.was_up && o->fresh) { // why was said where it was started
		close(o->lock);
		instance_remove(s.what.name, NULL);
	}
	report(&s, 'f');
	_exit(0);
}

static pid_t made;

// Ctrl-C at `coffer start`: the enclave that has not come up yet ends.
static void on_interrupt(int sig)
{
	(void)sig;
	kill(made, SIGTERM);
}

// What the enclave says until it is up goes to standard error from here: the supervisor must not wait for a terminal.
static void say_words(int from)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(from, buf, sizeof(buf))) > 0 || (n < 0 && errno == EINTR))
		for (ssize_t at = 0, k = 0; at < n; at += k) {
			k = write(2, buf + at, (size_t)(n - at));
			if (k < 0 && errno != EINTR)
				break; // nobody listens
			k = k < 0 ? 0 : k;
		}
}

int supervise_start(const struct supervise_options *o, struct fault *f)
{
	struct sigaction sa = {.sa_handler = on_interrupt, .sa_flags = SA_RESTART};
	int way[2], words[2], err;
	char what = 'f';
	ssize_t n;

	if (pipe2(way, O_CLOEXEC))
		return fault_errno(f, errno, "cannot make a pipe");
	if (pipe2(words, O_CLOEXEC)) {
		err = fault_errno(f, errno, "cannot make a pipe");
		close(way[0]);
		close(way[1]);
		return err;
	}
	fflush(NULL);
	made = fork();
	if (!made) {
		close(way[0]);
		close(words[0]);
		be_supervisor(o, way[1], words[1]);
	}
	err = made < 0 ? fault_errno(f, errno, "cannot start a process") : 0;
	close(way[1]);
	close(words[1]);
	if (err) {
		close(way[0]);
		close(words[0]);
		return err;
	}
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	signal(SIGPIPE, SIG_IGN); // whoever listened to standard error may be gone
	close(o->lock); // the supervisor's now
	say_words(words[0]); // to their end: until it is up, or has failed
	close(words[0]);
	do
		n = read(way[0], &what, 1);
	while (n < 0 && errno == EINTR);
	close(way[0]);
	return n == 1 && what == 'u' ? 0 : fault_set(f, -ECANCELED, "the enclave %s did not come up", o->what.name);
}
