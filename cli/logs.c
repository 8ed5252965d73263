// SPDX-License-Identifier: Apache-2.0
// `coffer logs`: what an enclave in the background has said, its program's streams and its own apart.
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "host/instances.h"
#include "host/logs.h"
#include "image/text.h"

enum { FOLLOW_US = 100000, MOST_LAST = 1000000 };

struct show {
	bool json, plain, follow;
	bool stream[LOG_STREAMS];
	char since[LOG_TIME_LEN + 1];	// times before it are not shown; "": all
	long last;			// so many of what is there; -1: all
	char **kept;			// the last ones, a ring
	long count;			// of all that fitted
};

static const char *const names[] = LOG_STREAM_NAMES;

static void format(const struct show *s, const struct log_record *r, struct text *t)
{
	if (s->json) {
		text_printf(t, "{\"time\":\"%.*s\",\"stream\":\"%s\",%s\"line\":", LOG_TIME_LEN, r->time, names[r->stream], r->partial ? "\"partial\":true," : "");
		text_json_bytes(t, r->text, r->len);
		text_puts(t, "}\n");
		return;
	}
	if (!s->plain)
		text_printf(t, "%.*s %-7s ", LOG_TIME_LEN, r->time, names[r->stream]);
	text_add(t, r->text, r->len);
	if (!s->plain || !r->partial)
		text_puts(t, "\n");
}

static int take(void *ctx, const struct log_record *r)
{
	struct show *s = ctx;
	struct text t = {0};

	if (!s->stream[r->stream] || memcmp(r->time, s->since, strlen(s->since)) < 0)
		return 0;
	format(s, r, &t);
	if (s->last < 0) {
		fwrite(t.data, 1, t.len, stdout);
		text_free(&t);
		return ferror(stdout) ? -EPIPE : 0;
	}
	if (!s->last) {
		text_free(&t);
		return 0;
	}
	free(s->kept[s->count % s->last]);
	text_add(&t, "", 1);
	// its length stands before it: a line may hold NUL
	s->kept[s->count % s->last] = xmalloc(sizeof(size_t) + t.len);
	memcpy(s->kept[s->count % s->last], &(size_t){t.len - 1}, sizeof(size_t));
	memcpy(s->kept[s->count % s->last] + sizeof(size_t), t.data, t.len - 1);
	s->count++;
	text_free(&t);
	return 0;
}

// What -n has kept goes out; from now on all is shown.
static void show_last(struct show *s)
{
	for (long k = s->count > s->last ? s->count - s->last : 0; s->last > 0 && k < s->count; k++) {
		char *line = s->kept[k % s->last];
		size_t len;

		memcpy(&len, line, sizeof(len));
		fwrite(line + sizeof(len), 1, len, stdout);
	}
	for (long k = 0; k < s->last; k++)
		free(s->kept[k]);
	free(s->kept);
	s->kept = NULL;
	s->last = -1;
}

// "90s", "10m", "2h", "3d" ago, or the beginning of a time as the log has it. False: neither.
static bool parse_since(struct show *s, const char *text)
{
	static const char form[] = "####-##-##T##:##:##.#########Z";
	size_t n = strspn(text, "0123456789");
	long unit = !text[n] || text[n + 1] ? 0 : text[n] == 's' ? 1 : text[n] == 'm' ? 60 : text[n] == 'h' ? 3600 : text[n] == 'd' ? 86400 : 0;
	struct timespec now;
	struct tm tm;

	if (n && n < 9 && unit) {
		clock_gettime(CLOCK_REALTIME, &now);
		now.tv_sec -= atol(text) * unit;
		gmtime_r(&now.tv_sec, &tm);
		n = strftime(s->since, sizeof(s->since), "%Y-%m-%dT%H:%M:%S", &tm);
		snprintf(s->since + n, sizeof(s->since) - n, ".%09ldZ", now.tv_nsec);
		return true;
	}
	for (n = 0; text[n] && n < LOG_TIME_LEN; n++)
		if (form[n] == '#' ? text[n] < '0' || text[n] > '9' : text[n] != form[n])
			return false;
	snprintf(s->since, sizeof(s->since), "%s", text);
	return n >= 10 && !text[n];
}

static bool parse_streams(struct show *s, const char *text)
{
	bool program = !strcmp(text, "program");

	for (int k = 0; k < LOG_STREAMS; k++)
		if (!strcmp(text, names[k]) || (program && k != LOG_ENCLAVE)) {
			s->stream[k] = true;
			program = program && k == LOG_STDOUT;
			if (!program)
				return true;
		}
	return false;
}

static int parse(struct show *s, int argc, char **argv)
{
	static const struct option options[] = {
		{"follow", no_argument, NULL, 'f'}, {"last", required_argument, NULL, 'n'}, {"since", required_argument, NULL, 's'},
		{"stream", required_argument, NULL, 'S'}, {"json", no_argument, NULL, 'j'}, {"plain", no_argument, NULL, 'p'}, {0},
	};
	bool any = false;
	char *end;
	int option;

	while ((option = getopt_long(argc, argv, "fn:", options, NULL)) != -1) {
		switch (option) {
		case 'f': s->follow = true; break;
		case 'j': s->json = true; break;
		case 'p': s->plain = true; break;
		case 'n':
			s->last = strtol(optarg, &end, 10);
			if (*end || s->last < 0 || s->last > MOST_LAST || optarg[0] < '0' || optarg[0] > '9')
				return cli_usage(&command_logs, "-n takes 0 to %d, not '%s'", MOST_LAST, optarg);
			break;
		case 's':
			if (!parse_since(s, optarg))
				return cli_usage(&command_logs, "--since takes 90s, 10m, 2h, 3d, or a time such as 2026-11-22T09:04:31, not '%s'", optarg);
			break;
		case 'S':
			any = true;
			if (!parse_streams(s, optarg))
				return cli_usage(&command_logs, "--stream takes program, stdout, stderr or enclave, not '%s'", optarg);
			break;
		default: return cli_usage(&command_logs, "wrong option");
		}
	}
	for (int k = 0; k < LOG_STREAMS; k++)
		s->stream[k] |= !any;
	if (optind + 1 != argc)
		return cli_usage(&command_logs, optind < argc ? "one name at a time" : "the name of an enclave is missing");
	return 0;
}

static int logs(int argc, char **argv)
{
	struct show s = {.last = -1};
	struct log_reader *r = NULL;
	struct instance i = {0};
	struct fault f = {0};
	char dir[4096];
	int err, status = parse(&s, argc, argv);

	if (status)
		return status;
	if (s.last > 0) {
		s.kept = xmalloc((size_t)s.last * sizeof(*s.kept));
		memset(s.kept, 0, (size_t)s.last * sizeof(*s.kept));
	}
	err = instance_read(argv[optind], &i, &f);
	if (!err)
		err = instance_dir(argv[optind], dir, sizeof(dir), &f);
	if (!err)
		err = log_reader_open(&r, dir, &f);
	while (!err) {
		bool alive = instance_alive(i.state); // asked before: what it said last is read after
		err = log_read(r, take, &s);
		if (err)
			fault_errno(&f, -err, "cannot read or show the log");
		if (!err && s.last >= 0)
			show_last(&s);
		fflush(stdout);
		if (err || !s.follow || !alive)
			break;
		usleep(FOLLOW_US);
		instance_free(&i);
		if (instance_read(argv[optind], &i, NULL))
			break; // it has been removed
	}
	log_reader_free(r);
	instance_free(&i);
	return err ? cli_fail(&f) : EXIT_OK;
}

const struct command command_logs = {
	"logs", "what an enclave in the background says",
	"usage: coffer logs [-f] [-n N] [--since WHEN] [--stream STREAM]... [--json | --plain] NAME\n\n"
	"Prints the log of an enclave that `coffer start` has started, of this and its earlier runs: time, stream and line. Streams are\n"
	"stdout and stderr of the program, and enclave: what kernel, init and launcher say.\n\n"
	"  -f, --follow           goes on until the enclave has ended for good\n"
	"  -n, --last N           only the last N lines of what is there\n"
	"      --since WHEN       90s, 10m, 2h, 3d ago, or a time (UTC): 2026-11-22, 2026-11-22T09:04:31\n"
	"      --stream STREAM    only stdout, stderr, program (both) or enclave; may be repeated\n"
	"      --json             an object a line\n"
	"      --plain            the lines alone, as they were written\n",
	logs,
};
