// SPDX-License-Identifier: Apache-2.0
// `coffer ps`: the enclaves that `coffer start` keeps, and how they are.
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/exec.h"
#include "cli/printable.h"
#include "host/instances.h"
#include "image/text.h"

static const char *const states[] = INSTANCE_STATES;

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

// "12 s", "5 min", "3 h", "4 days"
static const char *ago(int64_t since_ms, char out[32])
{
	int64_t s = (now_ms() - since_ms) / 1000;

	if (s < 0)
		s = 0;
	if (s < 120)
		snprintf(out, 32, "%" PRId64 " s", s);
	else if (s < 7200)
		snprintf(out, 32, "%" PRId64 " min", s / 60);
	else if (s < 172800)
		snprintf(out, 32, "%" PRId64 " h", s / 3600);
	else
		snprintf(out, 32, "%" PRId64 " days", s / 86400);
	return out;
}

static void put_time(struct text *t, const char *name, int64_t ms)
{
	time_t s = ms / 1000;
	char stamp[32];
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
	text_printf(t, ",\"%s\":\"%s.%03dZ\"", name, stamp, (int)(ms % 1000));
}

static void put_text(struct text *t, const char *name, const char *value)
{
	text_printf(t, ",\"%s\":", name);
	text_json_bytes(t, value, strlen(value));
}

static void put_json(struct text *t, const struct instance *i)
{
	text_puts(t, "{\"name\":");
	text_json(t, i->name);
	text_printf(t, ",\"state\":\"%s\"", states[i->state]);
	put_time(t, "created", i->created_ms);
	put_time(t, "since", i->since_ms);
	text_printf(t, ",\"supervisor\":%d,\"pid\":%d", instance_alive(i->state) ? i->supervisor.pid : 0, instance_alive(i->state) ? i->launcher.pid : 0);
	text_printf(t, ",\"memory_bytes\":%" PRIu64 ",\"memory_limit_bytes\":%" PRIu64 ",\"restarts\":%u,\"log_lines_dropped\":%" PRIu64,
		    instance_memory(i), i->memory_bytes, i->restarts, i->log_dropped);
	if (i->exit_code >= 0)
		text_printf(t, ",\"exit_code\":%d", i->exit_code);
	else
		text_puts(t, ",\"exit_code\":null");
	text_printf(t, ",\"taking_programs\":%s", i->taking_programs ? "true" : "false");
	put_text(t, "restart", i->restart);
	put_text(t, "reason", i->reason);
	put_text(t, "measurement", i->measurement);
	put_text(t, "project", i->project);
	put_text(t, "program", i->program);
	text_puts(t, "}");
}

// What came from a command line, for a terminal: nothing of it is to be obeyed.
static void print_plain(const char *s)
{
	for (; *s; s++)
		putchar((unsigned char)*s < ' ' || *s == 0x7f ? '?' : *s);
}

static void print_line(const struct instance *i)
{
	const char *colour = i->state == INSTANCE_RUNNING ? cli_green(stdout) : i->state == INSTANCE_LOST || i->exit_code > 0 ? cli_red(stdout) : "";
	char since[32], memory[32] = "-", pid[16] = "-", code[16] = "-";
	uint64_t bytes = instance_memory(i);

	if (bytes)
		human_size(memory, bytes);
	if (instance_alive(i->state) && i->launcher.pid)
		snprintf(pid, sizeof(pid), "%d", i->launcher.pid);
	if (i->exit_code >= 0)
		snprintf(code, sizeof(code), "%d", i->exit_code);
	printf("%-20s %s%-8s%s %8s %8s %10s %4s %8u  ", i->name, colour, states[i->state], *colour ? cli_plain(stdout) : "", ago(i->since_ms, since), pid,
	       memory, code, i->restarts);
	print_plain(i->program);
	if (*i->reason)
		printf("  (%s)", i->reason);
	putchar('\n');
}

static json_int_t number(const json_t *o, const char *name) { return json_integer_value(json_object_get(o, name)); }

static const char *word(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "";
}

// `coffer ps NAME`: what runs inside, as the enclave tells it.
static int tasks(const char *name, bool json)
{
	struct fault f = {0};
	char *text, memory[32];
	json_t *list, *o;
	size_t k;

	if (exec_tasks(name, &text, &f))
		return cli_fail(&f);
	list = printable(json_loads(text, JSON_REJECT_DUPLICATES, NULL));
	free(text);
	if (!json_is_array(list)) {
		json_decref(list);
		fault_set(&f, -EPROTO, "%s does not tell its tasks as it should", name);
		return cli_fail(&f);
	}
	if (json) {
		json_dumpf(list, stdout, JSON_INDENT(1));
		putchar('\n');
	} else {
		printf("%s%7s %7s %-5s %7s %10s %10s  %s%s\n", cli_bold(stdout), "PID", "PPID", "STATE", "THREADS", "CPU", "MEMORY", "COMMAND", cli_plain(stdout));
		json_array_foreach(list, k, o)
			printf("%7" JSON_INTEGER_FORMAT " %7" JSON_INTEGER_FORMAT " %-5.1s %7" JSON_INTEGER_FORMAT " %8.2f s %10s  %s\n", number(o, "pid"), number(o, "ppid"),
			       word(o, "state"), number(o, "threads"), (double)number(o, "cpu_ms") / 1000, human_size(memory, (uint64_t)number(o, "memory_bytes")),
			       *word(o, "command") ? word(o, "command") : word(o, "name"));
	}
	json_decref(list);
	return EXIT_OK;
}

static int ps(int argc, char **argv)
{
	static const struct option options[] = {{"all", no_argument, NULL, 'a'}, {"json", no_argument, NULL, 'j'}, {0}};
	bool all = false, json = false, header = false;
	struct instance *list = NULL;
	struct text t = {0};
	struct fault f = {0};
	size_t count = 0;
	int option;

	while ((option = getopt_long(argc, argv, "a", options, NULL)) != -1) {
		switch (option) {
		case 'a': all = true; break;
		case 'j': json = true; break;
		default: return cli_usage(&command_ps, "wrong option");
		}
	}
	if (optind + 1 < argc)
		return cli_usage(&command_ps, "one name at a time");
	if (optind < argc)
		return tasks(argv[optind], json);
	if (instances_list(&list, &count, &f))
		return cli_fail(&f);
	for (size_t k = 0; k < count; k++) {
		if (!all && !instance_alive(list[k].state) && list[k].state != INSTANCE_LOST)
			continue;
		if (json) {
			text_puts(&t, t.len ? ",\n " : "[");
			put_json(&t, &list[k]);
			continue;
		}
		if (!header)
			printf("%s%-20s %-8s %8s %8s %10s %4s %8s  %s%s\n", cli_bold(stdout), "NAME", "STATE", "SINCE", "PID", "MEMORY", "EXIT", "RESTARTS",
			       "PROGRAM", cli_plain(stdout));
		header = true;
		print_line(&list[k]);
	}
	if (json)
		printf("%s]\n", t.len ? t.data : "[");
	text_free(&t);
	for (size_t k = 0; k < count; k++)
		instance_free(&list[k]);
	free(list);
	return EXIT_OK;
}

const struct command command_ps = {
	"ps", "the enclaves in the background",
	"usage: coffer ps [--all] [--json]\n       coffer ps [--json] NAME\n\n"
	"Lists this user's enclaves that `coffer start` has started: name, state, since when, pid of the launcher, memory that is taken\n"
	"now, exit code of the last end, restarts, program. States: starting, running, waiting (for the next start), stopping, ended,\n"
	"lost (the supervisor was killed). With NAME: the processes in that enclave, if its configuration has host_exec or debug_enclave.\n\n"
	"  -a, --all    those that have ended, too; `coffer rm` forgets them\n"
	"      --json   a list of objects\n",
	ps,
};
