// SPDX-License-Identifier: Apache-2.0
// Progress on a terminal, and stopping in an orderly way (see progress.h).
#include "cli/progress.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "image/text.h"
#include "seal/tool.h"

#define BAR 24

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void progress_begin(struct progress *p, const char *what, bool quiet)
{
	*p = (struct progress){.on = !quiet && isatty(2), .what = what, .begun_ms = now_ms()};
}

void progress_show(struct progress *p, uint64_t files, uint64_t done, uint64_t total)
{
	uint64_t now = p->on ? now_ms() : 0, ms = now - p->begun_ms, rate;
	char a[32], b[32], bar[BAR + 1];

	if (!p->on || (p->shown_ms && now - p->shown_ms < 100))
		return;
	p->shown_ms = now;
	rate = ms ? done / ms * 1000 : 0;
	fprintf(stderr, "\r  %s ", p->what);
	if (total) {
		done = done < total ? done : total;
		for (unsigned int i = 0; i < BAR; i++)
			bar[i] = i < done * BAR / total ? '#' : '-';
		bar[BAR] = '\0';
		fprintf(stderr, "[%s] %3" PRIu64 " %%  ", bar, (uint64_t)((double)done / (double)total * 100));
	}
	fprintf(stderr, "%s", human_size(a, done));
	if (files)
		fprintf(stderr, ", %" PRIu64 " files", files);
	if (rate)
		fprintf(stderr, ", %s/s", human_size(b, rate));
	if (rate && total && ms > 2000)
		fprintf(stderr, ", %" PRIu64 " s left", (total - done) / rate);
	fputs("\033[K", stderr);
}

void progress_end(struct progress *p)
{
	if (p->on && p->shown_ms)
		fputs("\r\033[K", stderr);
	p->on = false;
}

static volatile sig_atomic_t stopped_by;

static void stop(int sig)
{
	stopped_by = sig;
	seal_tool_stop = 1;
}

void cli_catch_stop(void)
{
	struct sigaction sa = {.sa_handler = stop, .sa_flags = (int)SA_RESETHAND};

	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
}

int cli_stopped(void)
{
	return stopped_by ? 128 + stopped_by : 0;
}
