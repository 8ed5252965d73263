// SPDX-License-Identifier: Apache-2.0
// `coffer syscalls`: the kernel's table of system calls, and which of them a program could make.
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "image/scan.h"
#include "image/text.h"

enum state { FULL, PART, REFUSED, ABSENT, GONE };
static const char *const state_name[] = { "full", "partial", "refused", "absent", "gone" };

static const struct row {
	int nr;
	const char *name, *class;
	enum state state;
	const char *args, *note;
} rows[] = {
#define SYS(nr, name, cls, state, args, note) { nr, #name, #cls, state, args, note },
#include "kernel/syscall/table.h"
#undef SYS
};
enum { ROWS = sizeof(rows) / sizeof(*rows) };

// The handlers that the kernel was linked with (made from kernel.elf by the build).
static const char *const linked[] = {
#include "gen/syscalls.inc"
};

static bool is_linked(const char *name)
{
	for (size_t i = 0; i < sizeof(linked) / sizeof(*linked); i++)
		if (!strcmp(linked[i], name))
			return true;
	return false;
}

static const char *state_of(const struct row *r)
{
	return is_linked(r->name) || r->state == GONE ? state_name[r->state] : "absent";
}

static const char *note_of(const struct row *r)
{
	if (r->state == GONE)
		return "ENOSYS, as today's Linux answers";
	return !is_linked(r->name) && !*r->note ? "ENOSYS" : r->note;
}

static const struct row *row_of(size_t nr)
{
	for (size_t i = 0; i < ROWS; i++)
		if ((size_t)rows[i].nr == nr)
			return &rows[i];
	return NULL;
}

static void lower(char *out, const char *in)
{
	while ((*out++ = (char)(*in >= 'A' && *in <= 'Z' ? *in + 32 : *in)))
		in++;
}

static void json_row(struct text *t, const struct row *r)
{
	char class[16];

	lower(class, r->class);
	text_printf(t, "{\"number\": %d, \"name\": \"%s\", \"class\": \"%s\", \"state\": \"%s\", \"arguments\": ", r->nr, r->name, class, state_of(r));
	text_json(t, r->args);
	text_printf(t, ", \"note\": ");
	text_json(t, note_of(r));
}

static bool chosen(const struct row *r, const char *state, const char *class, int argc, char **argv)
{
	char own[16];

	lower(own, r->class);
	if ((state && strcmp(state, state_of(r))) || (class && strcmp(class, own)))
		return false;
	for (int i = 0; i < argc; i++)
		if (!strcmp(argv[i], r->name))
			return true;
	return !argc;
}

static int list(const char *state, const char *class, bool json, int argc, char **argv)
{
	size_t count[5] = { 0 }, shown = 0;
	struct text t = { 0 };

	for (size_t i = 0; i < ROWS; i++) {
		const struct row *r = &rows[i];
		if (!chosen(r, state, class, argc, argv))
			continue;
		count[is_linked(r->name) || r->state == GONE ? r->state : ABSENT]++;
		if (json) {
			text_printf(&t, shown ? ",\n  " : "[\n  ");
			json_row(&t, r);
			text_printf(&t, "}");
		} else {
			printf("%4d  %-24s %-8s %s\n", r->nr, r->name, state_of(r), note_of(r));
		}
		shown++;
	}
	if (json)
		printf("%s\n]\n", shown ? t.data : "[");
	else
		printf("%zu full, %zu partial, %zu refused, %zu absent, %zu gone from Linux\n", count[FULL], count[PART], count[REFUSED], count[ABSENT],
		       count[GONE]);
	text_free(&t);
	if (!shown && argc)
		return cli_usage(&command_syscalls, "there is no system call '%s'", argv[0]);
	return EXIT_OK;
}

// docs/syscalls.md is made of this.
static int markdown(void)
{
	size_t count[5] = { 0 };

	for (size_t i = 0; i < ROWS; i++)
		count[rows[i].state]++;
	printf("# System calls\n\n"
	       "Made by `make syscall-docs` from the kernel's own table, `kernel/syscall/table.h`; do not edit. Dispatch, `coffer syscalls` and\n"
	       "the decoder of `coffer run --debug-strace` are made from the same table, and the build fails when it disagrees with the\n"
	       "handlers that are linked. To see what a program would need: `coffer syscalls --check PROGRAM`.\n\n"
	       "Of %d calls of x86-64 Linux %zu behave as Linux does, %zu lack what their note says, and %zu always answer the error that Linux\n"
	       "documents for a feature that is switched off. %zu are absent and %zu are gone from Linux too: both answer `ENOSYS`.\n\n"
	       "| number | name | state | note |\n|---:|---|---|---|\n", ROWS, count[FULL], count[PART], count[REFUSED], count[ABSENT], count[GONE]);
	for (size_t i = 0; i < ROWS; i++) {
		const char *note = note_of(&rows[i]);
		printf("| %d | `%s` | %s |%s%s |\n", rows[i].nr, rows[i].name, state_of(&rows[i]), *note ? " " : "", note);
	}
	return EXIT_OK;
}

static void check_text(const char *path, const struct scan *s, size_t missing, size_t made, size_t without_row)
{
	printf("%s: %zu system calls could be made, in %zu files", path, made, s->files.count);
	if (missing)
		printf("; %s%zu are not there%s\n", cli_bold(stdout), missing, cli_plain(stdout));
	else
		printf("; all are there\n");
	for (int want = ABSENT; want >= PART; want--)
		for (size_t nr = 0; nr < SCAN_CALLS; nr++) {
			const struct row *r = s->made[nr] ? row_of(nr) : NULL;
			if (!r || strcmp(state_of(r), state_name[want]))
				continue;
			printf("  %-8s %-22s", state_name[want], r->name);
			if (*note_of(r))
				printf(" %s", note_of(r));
			printf(" (%s)\n", s->where[nr] ? s->where[nr] : "?");
		}
	if (without_row)
		printf("  %zu numbers that Linux 6.x does not know\n", without_row);
	if (s->indirect || s->unknown)
		printf("  not known: %zu places with a computed number%s\n", s->unknown,
		       s->indirect ? ", and the program calls syscall(2) with numbers of its own" : "");
	if (s->loads)
		printf("  not known: what it loads at run time (dlopen)\n");
}

static void check_json(struct text *t, const char *path, const struct scan *s)
{
	const char *between = "";

	text_printf(t, "{\"program\": ");
	text_json(t, path);
	text_printf(t, ", \"files\": ");
	text_json_list(t, &s->files);
	text_printf(t, ", \"computed_numbers\": %zu, \"syscall2\": %s, \"dlopen\": %s, \"calls\": [", s->unknown, s->indirect ? "true" : "false",
		    s->loads ? "true" : "false");
	for (size_t nr = 0; nr < SCAN_CALLS; nr++) {
		const struct row *r = s->made[nr] ? row_of(nr) : NULL;
		if (!r)
			continue;
		text_printf(t, "%s\n  ", between);
		json_row(t, r);
		text_printf(t, ", \"where\": ");
		text_json(t, s->where[nr] ? s->where[nr] : "");
		text_printf(t, "}");
		between = ",";
	}
	text_printf(t, "\n]}");
}

static int check(int argc, char **argv, bool json)
{
	struct text t = { 0 };
	size_t all_missing = 0;

	for (int i = 0; i < argc; i++) {
		struct fault p;
		struct scan s;
		size_t missing = 0, made = 0, without_row = 0;

		if (scan_program(&s, argv[i], &p)) {
			scan_free(&s);
			text_free(&t);
			return cli_fail(&p);
		}
		for (size_t nr = 0; nr < SCAN_CALLS; nr++) {
			const struct row *r = row_of(nr);
			made += s.made[nr];
			missing += s.made[nr] && r && !strcmp(state_of(r), "absent");
			without_row += s.made[nr] && !r;
		}
		if (json) {
			text_printf(&t, i ? ",\n" : "");
			check_json(&t, argv[i], &s);
		} else {
			check_text(argv[i], &s, missing, made, without_row);
		}
		all_missing += missing;
		scan_free(&s);
	}
	if (json)
		printf("[%s]\n", t.data);
	text_free(&t);
	return all_missing ? EXIT_ERROR : EXIT_OK;
}

static int syscalls(int argc, char **argv)
{
	static const struct option options[] = { { "json", no_argument, NULL, 'j' }, { "check", no_argument, NULL, 'c' },
		{ "state", required_argument, NULL, 's' }, { "class", required_argument, NULL, 'k' }, { "markdown", no_argument, NULL, 'm' }, { 0 } };
	const char *state = NULL, *class = NULL;
	bool json = false, checks = false, md = false;
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (option) {
		case 'j': json = true; break;
		case 'c': checks = true; break;
		case 'm': md = true; break;
		case 's': state = optarg; break;
		case 'k': class = optarg; break;
		default: return cli_usage(&command_syscalls, "wrong option");
		}
	if (checks && optind == argc)
		return cli_usage(&command_syscalls, "which program shall be checked?");
	if (checks && (state || class || md))
		return cli_usage(&command_syscalls, "--check takes programs and --json only");
	bool known = !state;
	for (size_t i = 0; state && i < 5; i++)
		known |= !strcmp(state, state_name[i]);
	if (!known)
		return cli_usage(&command_syscalls, "--state takes full, partial, refused, absent or gone, not '%s'", state);
	if (checks)
		return check(argc - optind, argv + optind, json);
	return md ? markdown() : list(state, class, json, argc - optind, argv + optind);
}

const struct command command_syscalls = {
	"syscalls", "the system calls that the kernel has, and what a program needs",
	"usage: coffer syscalls [--state STATE] [--class CLASS] [--json] [NAME...]\n"
	"       coffer syscalls --check [--json] PROGRAM...\n\n"
	"Lists the kernel's table: number, name, state, note. States: full, partial, refused (always answers the error that Linux\n"
	"documents), absent (ENOSYS), gone (from Linux too).\n"
	"With --check reads a program and the libraries that it needs, without running them, and says which calls it could make\n"
	"and which of those are not there (exit code 1), or only in part. All code of the program counts; of a library what the\n"
	"program can reach. Not seen: numbers that are computed, code made or loaded at run time; the report says so.\n\n"
	"      --check        PROGRAMs are files to be read\n"
	"      --state STATE  only calls in this state\n"
	"      --class CLASS  only file, desc, memory, process, signal, ipc, network, time or system\n"
	"      --json         as JSON\n"
	"      --markdown     the whole table as docs/syscalls.md has it\n",
	syscalls,
};
