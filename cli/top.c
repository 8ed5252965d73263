// SPDX-License-Identifier: Apache-2.0
// `coffer top`: what running enclaves take of this machine, as the host sees it, and the processes of those that are for debugging.
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "host/enclaves.h"
#include "host/instances.h"
#include "image/text.h"

#define MOST_SHOWN 256u

struct shown {			// one enclave
	pid_t launcher;
	char name[64];
	struct enclave_usage now, before;
	bool had_before;
	double cpu_percent, seconds; // since the look before
	struct enclave_process *processes;
	size_t process_count;
	int process_error;	// of enclave_processes
};

struct top {
	struct shown *all;
	size_t count;
	struct timespec looked;
	double delay;
	char *const *names;	// those wanted; none: all
	int name_count;
	bool batch, json;
	long rounds;		// 0: until it is ended
};

static volatile sig_atomic_t ended;
static struct termios saved_modes;
static bool modes_saved;

static void on_end(int sig) { ended = sig; }

static void restore(void)
{
	static const char show[] = "\033[?25h\033[?1049l";

	if (!modes_saved)
		return;
	modes_saved = false;
	tcsetattr(0, TCSADRAIN, &saved_modes);
	fputs(show, stdout);
	fflush(stdout);
}

// The screen of its own, without echo: keys are commands.
static void begin_screen(void)
{
	struct sigaction sa = {.sa_handler = on_end};
	struct termios t;

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	if (!isatty(0) || tcgetattr(0, &saved_modes))
		return;
	modes_saved = true;
	atexit(restore);
	t = saved_modes;
	t.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
	tcsetattr(0, TCSADRAIN, &t);
	fputs("\033[?1049h\033[?25l", stdout);
}

static bool wanted(const struct top *t, const struct shown *s)
{
	char number[16];

	snprintf(number, sizeof(number), "%d", s->launcher);
	for (int i = 0; i < t->name_count; i++)
		if (!strcmp(t->names[i], s->name) || !strcmp(t->names[i], number))
			return true;
	return !t->name_count;
}

static void free_shown(struct top *t)
{
	for (size_t i = 0; i < t->count; i++)
		free(t->all[i].processes);
	free(t->all);
	t->all = NULL;
	t->count = 0;
}

// What it is called: the name that `coffer start` gave it, or the last part of its project's folder.
static void name_it(struct shown *s, const struct instance *started, size_t count)
{
	char project[4096];
	const char *slash;

	for (size_t i = 0; i < count; i++)
		if (started[i].launcher.pid == s->launcher && instance_alive(started[i].state)) {
			snprintf(s->name, sizeof(s->name), "%s", started[i].name);
			return;
		}
	enclave_project(s->launcher, project, sizeof(project));
	slash = strrchr(project, '/');
	snprintf(s->name, sizeof(s->name), "%.63s", slash ? slash + 1 : *project ? project : "?");
	for (char *p = s->name; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 127)
			*p = '?';
}

static int look(struct top *t, struct fault *f)
{
	struct instance *started = NULL;
	struct shown *all;
	struct timespec now;
	size_t n, nstarted = 0, count = 0;
	pid_t *launchers;
	int err = enclave_launchers(&launchers, &n);
	struct fault ignored;

	if (err)
		return fault_errno(f, -err, "cannot look for enclaves in /proc");
	instances_list(&started, &nstarted, &ignored); // names only
	if (n > MOST_SHOWN)
		n = MOST_SHOWN;
	all = memset(xrealloc(NULL, (n + 1) * sizeof(*all)), 0, (n + 1) * sizeof(*all));
	clock_gettime(CLOCK_MONOTONIC, &now);
	for (size_t i = 0; i < n; i++) {
		struct shown *s = &all[count];

		s->launcher = launchers[i];
		name_it(s, started, nstarted);
		if (!wanted(t, s) || enclave_usage(s->launcher, &s->now))
			continue;
		for (size_t k = 0; k < t->count; k++)
			if (t->all[k].launcher == s->launcher) {
				s->before = t->all[k].now;
				s->had_before = true;
			}
		s->seconds = (double)(now.tv_sec - t->looked.tv_sec) + (double)(now.tv_nsec - t->looked.tv_nsec) / 1e9;
		if (s->had_before && s->seconds > 0 && s->now.cpu_ns > s->before.cpu_ns)
			s->cpu_percent = (double)(s->now.cpu_ns - s->before.cpu_ns) / 1e7 / s->seconds;
		s->process_error = s->now.debug ? enclave_processes(s->launcher, &s->processes, &s->process_count) : -EPERM;
		count++;
	}
	free(launchers);
	for (size_t i = 0; i < nstarted; i++)
		instance_free(&started[i]);
	free(started);
	free_shown(t);
	t->all = all;
	t->count = count;
	t->looked = now;
	return 0;
}

// "1.5G" in five columns
static const char *size_text(char out[16], uint64_t bytes)
{
	const char *unit = "BKMGTP";
	double v = (double)bytes;

	while (v >= 1000 && unit[1]) {
		v /= 1024;
		unit++;
	}
	snprintf(out, 16, v < 10 && *unit != 'B' ? "%.1f%c" : "%.0f%c", v, *unit);
	return out;
}

static uint64_t rate(const struct shown *s, uint64_t now, uint64_t before)
{
	return s->had_before && s->seconds > 0 && now > before ? (uint64_t)((double)(now - before) / s->seconds) : 0;
}

static void show_processes(const struct shown *s)
{
	char a[16];

	if (s->process_error == -ETIMEDOUT)
		printf("         (its processes: no answer from the enclave within a second)\n");
	if (!s->process_count)
		return;
	printf("         %s%6s %6s %1s %4s %9s %6s  %s%s\n", cli_bold(stdout), "PID", "PPID", "S", "THR", "TIME", "MEM", "COMMAND", cli_plain(stdout));
	for (size_t i = 0; i < s->process_count; i++) {
		const struct enclave_process *p = &s->processes[i];
		uint64_t cs = p->cpu_ns / 10000000;

		printf("         %6d %6d %c %4u %3" PRIu64 ":%02" PRIu64 ".%02" PRIu64 " %6s  %s\n", p->pid, p->ppid, p->state, p->threads, cs / 6000, cs / 100 % 60,
		       cs % 100, size_text(a, p->private_bytes), p->name);
	}
}

static void show(const struct top *t, int rows)
{
	char a[16], b[16], c[16], d[16], e[16], g[16];
	int line = 1;

	printf("%s%8s %-20s %6s %6s %6s %5s %5s %9s %6s %6s %6s %6s%s\n", cli_bold(stdout), "LAUNCHER", "NAME", "CPU%", "MEM", "LIMIT", "PROCS", "THR", "CALLS/s", "READ/s",
	       "WRITE/s", "IN/s", "OUT/s", cli_plain(stdout));
	for (size_t i = 0; i < t->count && line < rows; i++) {
		const struct shown *s = &t->all[i];
		const struct enclave_usage *u = &s->now, *w = &s->before;

		printf("%8d %-20.20s %6.1f %6s %6s %5u %5u %9" PRIu64 " %6s %6s %6s %6s\n", s->launcher, s->name, s->cpu_percent,
		       size_text(a, u->private_bytes + u->kernel_bytes), size_text(b, u->limit_bytes), u->processes, u->threads, rate(s, u->hostcalls, w->hostcalls),
		       size_text(c, rate(s, u->disk_read, w->disk_read)), size_text(d, rate(s, u->disk_written, w->disk_written)),
		       size_text(e, rate(s, u->in, w->in)), size_text(g, rate(s, u->out, w->out)));
		line++;
		if (t->name_count || t->batch) {
			show_processes(s);
			line += (int)s->process_count + 1;
		}
	}
	if (!t->count)
		printf("no enclave runs\n");
}

static void json_processes(const struct shown *s, struct text *out)
{
	text_puts(out, ",\"processes\":[");
	for (size_t i = 0; i < s->process_count; i++) {
		const struct enclave_process *p = &s->processes[i];

		text_printf(out, "%s{\"pid\":%d,\"ppid\":%d,\"state\":\"%c\",\"threads\":%u,\"cpu_ns\":%" PRIu64 ",\"private_bytes\":%" PRIu64 ",\"syscall\":%d,\"name\":",
			    i ? "," : "", p->pid, p->ppid, p->state, p->threads, p->cpu_ns, p->private_bytes, p->call);
		text_json(out, p->name);
		text_puts(out, "}");
	}
	text_puts(out, "]");
}

static void json(const struct top *t)
{
	struct text out = {0};

	text_puts(&out, "[");
	for (size_t i = 0; i < t->count; i++) {
		const struct shown *s = &t->all[i];
		const struct enclave_usage *u = &s->now;

		text_printf(&out, "%s{\"launcher\":%d,\"name\":", i ? "," : "", s->launcher);
		text_json(&out, s->name);
		text_printf(&out, ",\"cpu_percent\":%.1f,\"cpu_ns\":%" PRIu64 ",\"memory_bytes\":%" PRIu64 ",\"private_bytes\":%" PRIu64 ",\"kernel_bytes\":%" PRIu64
			    ",\"limit_bytes\":%" PRIu64 ",\"host_processes\":%u,\"host_threads\":%u", s->cpu_percent, u->cpu_ns, u->private_bytes + u->kernel_bytes,
			    u->private_bytes, u->kernel_bytes, u->limit_bytes, u->processes, u->threads);
		if (u->counted)
			text_printf(&out, ",\"hostcalls\":%" PRIu64 ",\"disk_read_bytes\":%" PRIu64 ",\"disk_written_bytes\":%" PRIu64 ",\"in_bytes\":%" PRIu64
				    ",\"out_bytes\":%" PRIu64, u->hostcalls, u->disk_read, u->disk_written, u->in, u->out);
		text_printf(&out, ",\"debug\":%s", u->debug ? "true" : "false");
		if (!s->process_error)
			json_processes(s, &out);
		text_puts(&out, "}");
	}
	text_puts(&out, "]");
	puts(out.data);
	text_free(&out);
}

// Until it is time to look again; false: the user wants to leave.
static bool wait_for_key(double seconds)
{
	struct pollfd p = {.fd = modes_saved ? 0 : -1, .events = POLLIN};
	char c;

	poll(&p, 1, (int)(seconds * 1000));
	if (ended)
		return false;
	if (p.revents && (read(0, &c, 1) != 1 || c == 'q' || c == 'Q' || c == 3))
		return false;
	return true;
}

static int run_screen(struct top *t, struct fault *f)
{
	struct winsize ws;
	int err;

	begin_screen();
	for (long i = 0; !t->rounds || i < t->rounds; i++) {
		err = look(t, f);
		if (err)
			return err;
		printf("\033[H\033[J");
		show(t, !ioctl(1, TIOCGWINSZ, &ws) && ws.ws_row ? ws.ws_row - 1 : 1000);
		fflush(stdout);
		if (!wait_for_key(i ? t->delay : t->delay < 0.5 ? t->delay : 0.5)) // the first look knows no rates
			break;
	}
	restore();
	return 0;
}

static int run_batch(struct top *t, struct fault *f)
{
	int err = look(t, f);

	for (long i = 0; !err && i < (t->rounds ? t->rounds : 1); i++) {
		wait_for_key(t->delay);
		if (ended)
			break;
		err = look(t, f);
		if (err)
			break;
		if (t->json)
			json(t);
		else
			show(t, 1 << 30);
		fflush(stdout);
	}
	return err;
}

static int top(int argc, char **argv)
{
	struct top t = {.delay = 2};
	struct fault f = {0};
	int option, err;
	char *end;

	static const struct option options[] = {
		{"batch", no_argument, NULL, 'b'}, {"json", no_argument, NULL, 'j'}, {"delay", required_argument, NULL, 'd'},
		{"rounds", required_argument, NULL, 'n'}, {0},
	};
	optind = 1;
	while ((option = getopt_long(argc, argv, "bd:n:", options, NULL)) != -1) {
		switch (option) {
		case 'j': t.json = true; // fall through
		case 'b':
			t.batch = true;
			break;
		case 'd':
			t.delay = strtod(optarg, &end);
			if (*end || end == optarg || !(t.delay >= 0.1) || t.delay > 3600)
				return cli_usage(&command_top, "-d takes seconds, from 0.1 to 3600, not '%s'", optarg);
			break;
		case 'n':
			t.rounds = strtol(optarg, &end, 10);
			if (*end || end == optarg || t.rounds < 1)
				return cli_usage(&command_top, "-n takes a number of rounds, not '%s'", optarg);
			break;
		default: return cli_usage(&command_top, "wrong option");
		}
	}
	t.names = argv + optind;
	t.name_count = argc - optind;
	if (!t.batch && !isatty(1))
		t.batch = true;
	err = t.batch ? run_batch(&t, &f) : run_screen(&t, &f);
	if (!err && t.name_count && !t.count && !ended)
		err = fault_set(&f, -ENOENT, "no enclave named %s runs (`coffer top -b` shows all)", t.names[0]);
	free_shown(&t);
	return err ? cli_fail(&f) : EXIT_OK;
}

const struct command command_top = {
	"top", "what running enclaves take: CPU, memory, hostcalls, I/O",
	"usage: coffer top [OPTION...] [NAME...]\n\n"
	"Shows the enclaves that this user runs, or those named, and what each takes of this machine. NAME is what `coffer start` called it,\n"
	"of `coffer run` the last part of the project's folder; or the launcher's process number. With NAME also the processes inside, of enclaves built with debug_enclave: true. q ends it.\n\n"
	"  -b, --batch           once, as text, when a first -d seconds have passed; also when standard output is no terminal\n"
	"      --json            the same as JSON: one array a round; counters are since the start\n"
	"  -d, --delay SECONDS   between two looks (2)\n"
	"  -n, --rounds N        so many looks (with -b: 1)\n",
	top,
};
