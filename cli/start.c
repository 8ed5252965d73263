// SPDX-License-Identifier: Apache-2.0
// `coffer start`: `coffer run` in the background, below a supervisor (host/supervise.h). As small as `run`, and part of the same small program.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/run.h"
#include "host/instances.h"
#include "lib/file.h"

enum { STOP_SECONDS = 10, MOST_OF_A_NAME = 99 };

static void put(struct text *t, const char *s) { text_add(t, s, strlen(s) + 1); }

// What `coffer restart` repeats, texts that each end with a NUL: this program, the folder that we are in, the project, variables and behind them "",
// then the command line from `start` on.
static int save_command(const struct instance *i, int argc, char **argv, struct fault *f)
{
	static const char *const kept[] = {"COFFER_BROKER", "COFFER_BROKER_DIR", "COFFER_LIB_DIR", "COFFER_SIMTEE_DIR", "HOME"};
	const struct string_list *env = run_environment();
	char dir[4096], path[4200], self[4096], here[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	struct text t = {0};
	int err = instance_dir(i->name, dir, sizeof(dir), f);

	if (err)
		return err;
	if (n < 0 || !getcwd(here, sizeof(here)))
		return fault_errno(f, errno, "cannot tell where this command is");
	self[n] = '\0';
	put(&t, self);
	put(&t, here);
	put(&t, i->project);
	for (size_t k = 0; k < sizeof(kept) / sizeof(*kept); k++)
		if (getenv(kept[k])) {
			char *pair = xasprintf("%s=%s", kept[k], getenv(kept[k]));

			put(&t, pair);
			free(pair);
		}
	for (size_t k = 0; k < env->count; k++)
		put(&t, env->items[k]);
	put(&t, "");
	for (int k = 0; k < argc; k++)
		put(&t, argv[k]);
	snprintf(path, sizeof(path), "%s/command", dir);
	err = file_write(path, t.data, t.len, 0600, false, f);
	text_free(&t);
	return err;
}

// Is it the folder of this project's enclave of before?
static bool was_ours(const struct instance *i)
{
	char dir[4096], path[4200], *text = NULL;
	size_t len, at = 0;
	bool same = false;

	if (instance_dir(i->name, dir, sizeof(dir), NULL))
		return false;
	snprintf(path, sizeof(path), "%s/command", dir);
	if (file_read(path, 1 << 20, &text, &len, NULL))
		return false;
	for (int k = 0; k < 2 && at < len; k++)
		at += strlen(text + at) + 1;
	same = at < len && i->project && !strcmp(text + at, i->project);
	free(text);
	return same;
}

// The name that was asked for, or the project's: the first of NAME, NAME-2, NAME-3... that is free, or was this project's.
static int claim(struct instance *i, bool chosen, int *lock, bool *fresh, struct fault *f)
{
	char base[INSTANCE_NAME_MAX + 1];
	int err = instance_claim(i->name, lock, fresh, f);

	snprintf(base, sizeof(base), "%s", i->name);
	for (int k = 2; !chosen && k <= MOST_OF_A_NAME && (err == -EBUSY || (!err && !*fresh && !was_ours(i))); k++) {
		if (!err)
			close(*lock);
		snprintf(i->name, sizeof(i->name), "%.*s-%d", INSTANCE_NAME_MAX - 3, base, k);
		err = instance_claim(i->name, lock, fresh, f);
	}
	return err;
}

static int start(int argc, char **argv)
{
	struct start_options s = {.restart = "no", .log_size = LOG_SIZE_DEFAULT, .log_files = LOG_FILES_DEFAULT, .stop_timeout = STOP_SECONDS};
	struct supervise_options o = {.enclave = run_enclave};
	struct fault f = {0};
	int status = run_prepare(&command_start, argc, argv, &s);

	if (status)
		return status;
	supervise_policy(s.restart, &o.restart, &o.restart_most);
	o.stop_timeout = s.stop_timeout;
	o.log_size = s.log_size;
	o.log_files = s.log_files;
	snprintf(o.what.name, sizeof(o.what.name), "%s", s.name ? s.name : "");
	snprintf(o.what.restart, sizeof(o.what.restart), "%s", s.restart);
	if (run_describe(&o.what, &f) || claim(&o.what, s.name, &o.lock, &o.fresh, &f)) {
		cli_fail(&f);
		return EXIT_CANNOT_RUN;
	}
	if (save_command(&o.what, argc, argv, &f)) {
		close(o.lock);
		if (o.fresh)
			instance_remove(o.what.name, NULL);
		cli_fail(&f);
		return EXIT_CANNOT_RUN;
	}
	if (supervise_start(&o, &f)) { // the supervisor has put things in order
		cli_fail(&f);
		return EXIT_CANNOT_RUN;
	}
	printf("%s\n", o.what.name);
	return EXIT_OK;
}

const struct command command_start = {
	"start", "run the enclave in the background",
	"usage: coffer start [OPTION...] [--] [PROGRAM [ARGUMENT...]]\n\n"
	"Starts the enclave of the last build as `coffer run` does, with all its options, but in the background below a supervisor, and\n"
	"prints its name as soon as its program has started. If it does not come up, the reason is said, and the exit code is 125.\n\n"
	"      --name NAME                   the name for ps, logs, exec, stop; else the project's, with -2, -3... where that is taken\n"
	"      --restart no|on-failure[:N]|always   when it has ended: leave it (the default), start it again after an exit code that is\n"
	"                                    not 0 (at most N times in a row), or in any case. Pauses grow from 0.1 s to a minute\n"
	"      --stop-timeout SECONDS        how long the program has to end when it is stopped (10)\n"
	"      --log-size SIZE, --log-files N   the log is kept in N files (5) of SIZE each (10M)\n\n"
	"All others: coffer run --help\n",
	start,
};
