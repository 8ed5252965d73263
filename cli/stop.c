// SPDX-License-Identifier: Apache-2.0
// `coffer stop`, `kill`, `rm`, `restart`: the end of enclaves in the background, and their next beginning.
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "host/instances.h"
#include "image/text.h"
#include "lib/file.h"

enum { MOST_SECONDS = 86400, DEFAULT_SECONDS = -1 };

// Waits until the process has ended.
static void wait_for(int pidfd)
{
	struct pollfd p = {pidfd, POLLIN, 0};

	while (poll(&p, 1, -1) < 0 && errno == EINTR)
		;
}

// Ends one and waits for that; it need not run. *code: its exit code, -1: unknown.
static int stop_one(const char *name, int seconds, int *code, struct fault *f)
{
	struct instance i;
	int err = instance_read(name, &i, f), fd;

	if (err)
		goto out;
	if (instance_alive(i.state)) {
		// A launcher without its supervisor has been told already, and has its own time.
		fd = process_open(&i.supervisor);
		if (fd >= 0)
			process_signal(&i.supervisor, SIGTERM, seconds + 1);
		else
			fd = process_open(&i.launcher);
		if (fd >= 0) {
			wait_for(fd);
			close(fd);
		}
		instance_free(&i);
		err = instance_read(name, &i, f);
		if (!err && instance_alive(i.state))
			err = fault_set(f, -EAGAIN, "%s was started again meanwhile", name);
	}
	*code = i.exit_code;
out:
	instance_free(&i);
	return err;
}

static int parse_seconds(const struct command *c, const char *text, int *seconds)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*end || text[0] < '0' || text[0] > '9' || n > MOST_SECONDS)
		return cli_usage(c, "-t takes seconds, at most %d, not '%s'", MOST_SECONDS, text);
	*seconds = (int)n;
	return 0;
}

static int stop(int argc, char **argv)
{
	static const struct option options[] = {{"time", required_argument, NULL, 't'}, {0}};
	int option, status = 0, seconds = DEFAULT_SECONDS;
	struct fault f = {0};

	while (!status && (option = getopt_long(argc, argv, "t:", options, NULL)) != -1)
		status = option == 't' ? parse_seconds(&command_stop, optarg, &seconds) : cli_usage(&command_stop, "wrong option");
	if (!status && optind == argc)
		status = cli_usage(&command_stop, "the name of an enclave is missing");
	if (status)
		return status;
	for (; optind < argc; optind++) {
		int code = -1;

		if (stop_one(argv[optind], seconds, &code, &f))
			status = cli_fail(&f);
		else if (code >= 0)
			printf("%s: exit code %d\n", argv[optind], code);
		else
			printf("%s: it has ended\n", argv[optind]);
		fflush(stdout);
	}
	return status;
}

const struct command command_stop = {
	"stop", "end an enclave in the background",
	"usage: coffer stop [-t SECONDS] NAME...\n\n"
	"Asks the program to end (SIGTERM) and waits; it is not started again. After SECONDS (else what `coffer start --stop-timeout` said,\n"
	"else 10; 0: at once) the enclave is killed: exit code 137, and sealed volumes are as of their last sync. Prints the exit code.\n"
	"An enclave that has ended already is left as it is.\n",
	stop,
};

// TERM, SIGTERM or 15; only what the launcher hands on. 0: none of them.
static int parse_signal(const char *s)
{
	static const struct {
		const char *name;
		int number;
	} known[] = {{"HUP", SIGHUP}, {"INT", SIGINT}, {"QUIT", SIGQUIT}, {"KILL", SIGKILL}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"TERM", SIGTERM}};

	for (size_t k = 0; k < sizeof(known) / sizeof(*known); k++) {
		char number[12];

		snprintf(number, sizeof(number), "%d", known[k].number);
		if (!strcasecmp(s, number) || !strcasecmp(s, known[k].name) || (!strncasecmp(s, "SIG", 3) && !strcasecmp(s + 3, known[k].name)))
			return known[k].number;
	}
	return 0;
}

static int kill_one(const char *name, int sig, struct fault *f)
{
	struct instance i;
	int err = instance_read(name, &i, f);

	if (!err && !instance_alive(i.state))
		err = fault_set(f, -ESRCH, "%s does not run", name);
	else if (!err && (!i.launcher.pid || process_signal(&i.launcher, sig, 0)))
		err = fault_set(f, -ESRCH, "%s has no enclave at this moment (state %s)", name, (const char *const[])INSTANCE_STATES[i.state]);
	instance_free(&i);
	return err;
}

static int send_signal(int argc, char **argv)
{
	static const struct option options[] = {{"signal", required_argument, NULL, 's'}, {0}};
	int option, status = EXIT_OK, sig = SIGKILL;
	struct fault f = {0};

	while ((option = getopt_long(argc, argv, "s:", options, NULL)) != -1) {
		sig = option == 's' ? parse_signal(optarg) : 0;
		if (!sig)
			return cli_usage(&command_kill, "-s takes HUP, INT, QUIT, KILL, USR1, USR2 or TERM");
	}
	if (optind == argc)
		return cli_usage(&command_kill, "the name of an enclave is missing");
	for (; optind < argc; optind++)
		if (kill_one(argv[optind], sig, &f))
			status = cli_fail(&f);
	return status;
}

const struct command command_kill = {
	"kill", "send a signal to an enclave's program",
	"usage: coffer kill [-s SIGNAL] NAME...\n\n"
	"Sends HUP, INT, QUIT, USR1, USR2 or TERM to the program. KILL (without -s) ends the enclave at once: sealed volumes are as of\n"
	"their last sync. `--restart` acts as if the program had ended by itself; `coffer stop` ends an enclave for good.\n",
	send_signal,
};

static int forget(int argc, char **argv)
{
	static const struct option options[] = {{"force", no_argument, NULL, 'f'}, {0}};
	int option, status = EXIT_OK, code;
	struct fault f = {0};
	bool force = false;

	while ((option = getopt_long(argc, argv, "f", options, NULL)) != -1) {
		if (option != 'f')
			return cli_usage(&command_rm, "wrong option");
		force = true;
	}
	if (optind == argc)
		return cli_usage(&command_rm, "the name of an enclave is missing");
	for (; optind < argc; optind++) {
		struct instance i;
		int err = force ? stop_one(argv[optind], DEFAULT_SECONDS, &code, &f) : instance_read(argv[optind], &i, &f);

		if (!err && !force) {
			if (instance_alive(i.state))
				err = fault_set(&f, -EBUSY, "%s runs: `coffer stop %s` first, or -f", argv[optind], argv[optind]);
		}
		if (!force)
			instance_free(&i);
		if (err || instance_remove(argv[optind], &f))
			status = cli_fail(&f);
	}
	return status;
}

const struct command command_rm = {
	"rm", "forget an enclave that has ended",
	"usage: coffer rm [-f] NAME...\n\n"
	"Removes what is left of an enclave in the background that has ended: its log, its exit code. -f stops it first.\n"
	"Images and volumes are not touched.\n",
	forget,
};

// The next text of a file of texts that each end with a NUL. NULL: there is none.
static char *next(char **at, const char *end)
{
	char *s = *at, *nul = s < end ? memchr(s, '\0', (size_t)(end - s)) : NULL;

	if (nul)
		*at = nul + 1;
	return nul ? s : NULL;
}

// What cli/start.c has written. Does not return when the program could be started.
static int start_again(const char *name, struct fault *f)
{
	char dir[4096], path[4200], *text = NULL, *at, *self, *here, *project, *s, **argv;
	size_t len, n = 0;
	int err = instance_dir(name, dir, sizeof(dir), f);

	if (err)
		return err;
	snprintf(path, sizeof(path), "%s/command", dir);
	err = file_read_private(path, 1 << 20, &text, &len, f);
	if (err)
		return err;
	at = text;
	self = next(&at, text + len);
	here = next(&at, text + len);
	project = next(&at, text + len);
	while ((s = next(&at, text + len)) && *s)
		putenv(s);
	argv = xmalloc((len + 8) * sizeof(*argv));
	argv[n++] = self;
	argv[n++] = xstrdup("-C");
	argv[n++] = project;
	argv[n++] = next(&at, text + len); // "start"
	argv[n++] = xstrdup("--name");
	argv[n++] = xstrdup(name);
	while ((s = next(&at, text + len)))
		argv[n++] = s;
	argv[n] = NULL;
	if (!self || !here || !project || !argv[3])
		return fault_set(f, -EINVAL, "%s is damaged", path);
	if (chdir(here))
		return fault_errno(f, errno, "cannot go to %s, where %s was started", here, name);
	execv(self, argv);
	return fault_errno(f, errno, "cannot start %s", self);
}

static int restart(int argc, char **argv)
{
	static const struct option options[] = {{"time", required_argument, NULL, 't'}, {0}};
	int option, status = 0, seconds = DEFAULT_SECONDS, code;
	struct fault f = {0};

	while (!status && (option = getopt_long(argc, argv, "t:", options, NULL)) != -1)
		status = option == 't' ? parse_seconds(&command_restart, optarg, &seconds) : cli_usage(&command_restart, "wrong option");
	if (!status && optind + 1 != argc)
		status = cli_usage(&command_restart, optind < argc ? "one name at a time" : "the name of an enclave is missing");
	if (status)
		return status;
	if (!stop_one(argv[optind], seconds, &code, &f))
		start_again(argv[optind], &f);
	cli_fail(&f);
	return EXIT_CANNOT_RUN;
}

const struct command command_restart = {
	"restart", "stop an enclave and start it again",
	"usage: coffer restart [-t SECONDS] NAME\n\n"
	"Stops the enclave as `coffer stop` does, if it runs, and starts it with what `coffer start` was given, from the same folder: the last\n"
	"build of its project. Its log goes on.\n",
	restart,
};
