// SPDX-License-Identifier: Apache-2.0
// `coffer exec`: another program in an enclave that runs in the background, where its measured configuration lets the host do that; and the way
// to the enclave's helper, which `coffer ps NAME` takes, too. What is checked here is for clear messages: the enclave decides.
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/exec.h"
#include "host/instances.h"
#include "lib/control.h"

enum { EXIT_ENCLAVE_ENDED = 137 };

static struct termios saved;
static bool is_raw;

static void restore(void)
{
	if (is_raw)
		tcsetattr(0, TCSADRAIN, &saved);
	is_raw = false;
}

int exec_connect(const char *name, struct fault *f)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	struct instance i;
	char dir[4096];
	int err = instance_read(name, &i, f), fd = -1, at = -1;

	if (!err)
		err = instance_dir(name, dir, sizeof(dir), f);
	if (!err && i.state != INSTANCE_RUNNING)
		err = fault_set(f, -ESRCH, "%s does not run (state %s)", name, (const char *const[])INSTANCE_STATES[i.state]);
	else if (!err && !i.taking_programs)
		err = fault_set(f, -EPERM, "%s takes no requests from the host: its coffer.yaml names no programs for that (host_exec)", name);
	if (!err) { // a socket's path is short; the folder's may be long
		at = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
		snprintf(a.sun_path, sizeof(a.sun_path), "/proc/self/fd/%d/control", at);
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (at < 0 || fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)))
			err = fault_errno(f, errno, "%s does not answer", name);
	}
	if (at >= 0)
		close(at);
	if (err && fd >= 0)
		close(fd);
	instance_free(&i);
	return err ? err : fd;
}

struct client {
	int fd, signals;
	bool input;		// standard input is passed on
	bool tty;
	size_t credit;		// bytes of it that may be sent
	struct control_input in;
	int code;		// -1: it runs
	struct fault why;	// of a refusal
};

static void write_out(int fd, const uint8_t *p, size_t n)
{
	while (n) {
		ssize_t k = write(fd, p, n);

		if (k < 0 && errno == EAGAIN) {
			struct pollfd w = {fd, POLLOUT, 0};

			poll(&w, 1, -1);
		} else if (k < 0 && errno != EINTR) {
			return; // nobody reads it any more
		}
		if (k > 0) {
			p += k;
			n -= (size_t)k;
		}
	}
}

static int take(struct client *c, const struct control_frame *f)
{
	switch (f->type) {
	case CONTROL_STARTED: return 0;
	case CONTROL_STDOUT: write_out(1, f->data, f->len); return 0;
	case CONTROL_STDERR: write_out(2, f->data, f->len); return 0;
	case CONTROL_CREDIT:
		if (f->len == 4)
			c->credit += (size_t)f->data[0] << 24 | (size_t)f->data[1] << 16 | (size_t)f->data[2] << 8 | f->data[3];
		return f->len == 4 && c->credit <= CONTROL_WINDOW ? 0 : -EPROTO;
	case CONTROL_EXIT:
		c->code = f->len == 1 ? f->data[0] : EXIT_CANNOT_RUN;
		return f->len == 1 ? 0 : -EPROTO;
	case CONTROL_REFUSED:
		c->code = f->len ? f->data[0] : EXIT_CANNOT_RUN;
		fault_set(&c->why, -EPERM, "%.*s", f->len ? (int)f->len - 1 : 0, f->len ? (const char *)f->data + 1 : "");
		for (char *p = c->why.text; *p; p++) // the enclave's words are not for the terminal to obey
			if ((unsigned char)*p < ' ' || *p == 0x7f)
				*p = '?';
		return 0;
	default: return -EPROTO;
	}
}

// All that has come. -EPROTO, -EPIPE: the enclave is gone.
static int receive(struct client *c)
{
	struct control_frame f;
	size_t room = control_room(&c->in);
	ssize_t n = read(c->fd, c->in.data + c->in.have, room);
	int got, err = 0;

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0)
		return -EPIPE;
	c->in.have += (size_t)n;
	while (!err && c->code < 0 && (got = control_next(&c->in, &f)))
		err = got < 0 ? got : take(c, &f);
	return err;
}

static void send_size(struct client *c)
{
	struct winsize w;
	uint8_t size[4];

	if (!c->tty || ioctl(0, TIOCGWINSZ, &w))
		return;
	size[0] = (uint8_t)(w.ws_row >> 8), size[1] = (uint8_t)w.ws_row;
	size[2] = (uint8_t)(w.ws_col >> 8), size[3] = (uint8_t)w.ws_col;
	control_send(c->fd, CONTROL_SIZE, size, sizeof(size));
}

static void take_signals(struct client *c)
{
	struct signalfd_siginfo i;

	while (read(c->signals, &i, sizeof(i)) == sizeof(i)) {
		uint8_t sig = (uint8_t)i.ssi_signo;

		if (sig == SIGWINCH)
			send_size(c);
		else
			control_send(c->fd, CONTROL_SIGNAL, &sig, 1);
	}
}

static void send_input(struct client *c)
{
	static uint8_t buf[CONTROL_WINDOW];
	ssize_t n = read(0, buf, c->credit < sizeof(buf) ? c->credit : sizeof(buf));

	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	if (n <= 0)
		c->input = false;
	control_send(c->fd, CONTROL_STDIN, buf, n > 0 ? (size_t)n : 0);
	c->credit -= n > 0 ? (size_t)n : 0;
}

static int converse(struct client *c)
{
	int err = 0;

	while (!err && c->code < 0) {
		struct pollfd p[3] = {{c->fd, POLLIN, 0}, {c->signals, POLLIN, 0}, {c->input && c->credit ? 0 : -1, POLLIN, 0}};

		if (poll(p, 3, -1) < 0) {
			err = errno == EINTR ? 0 : -errno;
			continue;
		}
		if (p[1].revents)
			take_signals(c);
		if (p[0].revents)
			err = receive(c);
		if (!err && c->code < 0 && p[2].revents)
			send_input(c);
	}
	return err;
}

static int open_signals(void)
{
	static const int passed[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};
	sigset_t set;

	sigemptyset(&set);
	for (size_t k = 0; k < sizeof(passed) / sizeof(*passed); k++)
		sigaddset(&set, passed[k]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void make_raw(void)
{
	struct termios t;

	if (tcgetattr(0, &saved))
		return;
	t = saved;
	cfmakeraw(&t);
	is_raw = !tcsetattr(0, TCSADRAIN, &t);
	atexit(restore);
}

static int add_variable(json_t *env, const char *text)
{
	const char *equals = strchr(text, '='), *value = equals ? equals + 1 : getenv(text);
	char *name = strndup(text, equals ? (size_t)(equals - text) : strlen(text));
	int err = 0;

	if (!name || !*name)
		err = cli_usage(&command_exec, "-e takes NAME=value, or NAME for this shell's value");
	else if (!value)
		err = cli_usage(&command_exec, "the variable %s is not set here", text);
	else if (json_object_set_new(env, name, json_string(value)))
		err = cli_usage(&command_exec, "the variable %s is no UTF-8 text", name);
	free(name);
	return err;
}

static int add_text(json_t *request, const char *key, const char *text)
{
	return json_object_set_new(request, key, json_string(text)) ? cli_usage(&command_exec, "'%s' is no UTF-8 text", text) : 0;
}

static json_t *terminal(void)
{
	const char *term = getenv("TERM");
	struct winsize w = {0};
	json_t *tty = json_object();

	ioctl(0, TIOCGWINSZ, &w);
	json_object_set_new(tty, "rows", json_integer(w.ws_row));
	json_object_set_new(tty, "cols", json_integer(w.ws_col));
	if (term && *term)
		json_object_set_new(tty, "term", json_string(term));
	return tty;
}

// The request of a command line. *name: the enclave. 0 or an exit code.
static int parse(int argc, char **argv, struct client *c, json_t *request, const char **name)
{
	static const struct option options[] = {
		{"interactive", no_argument, NULL, 'i'}, {"tty", no_argument, NULL, 't'}, {"env", required_argument, NULL, 'e'},
		{"workdir", required_argument, NULL, 'w'}, {"user", required_argument, NULL, 'u'}, {0},
	};
	json_t *env = json_object(), *args = json_array();
	int option, err = 0;

	json_object_set_new(request, "env", env);
	json_object_set_new(request, "args", args);
	while (!err && (option = getopt_long(argc, argv, "+ite:w:u:", options, NULL)) != -1) {
		switch (option) {
		case 'i': c->input = true; break;
		case 't': c->tty = c->input = true; break;
		case 'e': err = add_variable(env, optarg); break;
		case 'w': err = add_text(request, "cwd", optarg); break;
		case 'u': err = add_text(request, "user", optarg); break;
		default: err = cli_usage(&command_exec, "wrong option");
		}
	}
	if (!err && optind < argc)
		*name = argv[optind++];
	else if (!err)
		err = cli_usage(&command_exec, "the name of an enclave is missing");
	if (!err && optind < argc && !strcmp(argv[optind], "--"))
		optind++;
	if (!err && optind == argc)
		err = cli_usage(&command_exec, "the program is missing: coffer exec %s -- PROGRAM [ARGUMENT...]", *name);
	for (; !err && optind < argc; optind++)
		if (json_array_append_new(args, json_string(argv[optind])))
			err = cli_usage(&command_exec, "the argument '%s' is no UTF-8 text", argv[optind]);
	if (!err && c->tty && !isatty(0))
		err = cli_usage(&command_exec, "-t: standard input is not a terminal");
	if (!err && c->tty)
		json_object_set_new(request, "tty", terminal());
	return err;
}

static int exec(int argc, char **argv)
{
	static struct client c = {.code = -1, .credit = CONTROL_WINDOW}; // large
	json_t *request = json_object();
	struct fault f = {0};
	const char *name = NULL;
	char *text = NULL;
	int err, status = parse(argc, argv, &c, request, &name);

	if (status)
		goto out;
	status = EXIT_CANNOT_RUN;
	text = json_dumps(request, JSON_COMPACT);
	c.fd = exec_connect(name, &f);
	if (c.fd < 0) {
		cli_fail(&f);
		goto out;
	}
	c.signals = open_signals();
	err = text ? control_send(c.fd, CONTROL_EXEC, text, strlen(text)) : -ENOMEM;
	if (err == -EMSGSIZE)
		fault_set(&f, err, "arguments and environment are larger than %u bytes", CONTROL_MOST);
	else if (err)
		fault_errno(&f, -err, "cannot ask %s", name);
	if (err) {
		cli_fail(&f);
		goto out;
	}
	if (!c.input)
		control_send(c.fd, CONTROL_STDIN, NULL, 0);
	if (c.tty)
		make_raw();
	err = converse(&c);
	restore();
	status = c.code;
	if (err == -EPROTO) {
		fault_set(&f, err, "%s does not speak as it should: it was built with another version of Coffer", name);
		status = EXIT_CANNOT_RUN;
	} else if (err) {
		fault_set(&f, err, "the enclave %s has ended", name);
		status = EXIT_ENCLAVE_ENDED;
	} else if (*c.why.text) {
		f = c.why;
	}
	if (*f.text)
		cli_fail(&f);
out:
	free(text);
	json_decref(request);
	return status;
}

int exec_tasks(const char *name, char **json, struct fault *f)
{
	static struct client c = {.code = -1};
	struct control_frame frame;
	size_t len = 0;
	char *bigger;
	int err = 0, got;

	*json = NULL;
	c.fd = exec_connect(name, f);
	if (c.fd < 0)
		return c.fd;
	if (control_send(c.fd, CONTROL_TASKS, NULL, 0))
		err = -EPIPE;
	while (!err && c.code < 0) {
		size_t room = control_room(&c.in);
		ssize_t n = read(c.fd, c.in.data + c.in.have, room);

		if (n <= 0) {
			err = n < 0 && errno == EINTR ? 0 : -EPIPE;
			continue;
		}
		c.in.have += (size_t)n;
		while (!err && c.code < 0 && (got = control_next(&c.in, &frame))) {
			if (got < 0 || frame.type != CONTROL_STDOUT) {
				err = got < 0 ? got : take(&c, &frame);
				continue;
			}
			bigger = realloc(*json, len + frame.len + 1);
			if (!bigger) {
				err = -ENOMEM;
				break;
			}
			*json = bigger;
			memcpy(bigger + len, frame.data, frame.len);
			len += frame.len;
			bigger[len] = '\0';
		}
	}
	close(c.fd);
	if (err)
		return fault_errno(f, -err, "%s does not tell its tasks", name);
	if (*c.why.text)
		return fault_set(f, -EPERM, "%s", c.why.text);
	return *json ? 0 : fault_set(f, -EPROTO, "%s does not tell its tasks", name);
}

const struct command command_exec = {
	"exec", "another program in a running enclave",
	"usage: coffer exec [-i] [-t] [-e NAME[=value]]... [-w DIR] [-u USER] NAME [--] PROGRAM [ARGUMENT...]\n\n"
	"Starts PROGRAM in the enclave NAME that `coffer start` has started, if its coffer.yaml lists it in `host_exec`. Output, exit code and\n"
	"signals are passed through; 125 when the enclave refuses, 126 and 127 when the program cannot be executed or is not there, 137 when\n"
	"the enclave ends meanwhile.\n\n"
	"  -i, --interactive            standard input is the program's; else it has none\n"
	"  -t, --tty                    a terminal in the enclave, with -i; this one is raw meanwhile\n"
	"  -e, --env NAME=value | NAME  a variable, where host_environment of coffer.yaml lets it in\n"
	"  -w, --workdir DIR            the folder in which it starts; only with `host_exec: any`\n"
	"  -u, --user NAME|UID[:GROUP|:GID]   as whom, by the enclave's /etc/passwd and /etc/group; else root. Only with `host_exec: any`\n",
	exec,
};
