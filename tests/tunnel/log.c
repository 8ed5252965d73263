// SPDX-License-Identifier: Apache-2.0
// The gateway's log lines and timers.
#include "tunnel/log.h"

#include <fcntl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/attest/ok.h"
#include "tunnel/timer.h"

#define AT 1700000000123

static void test_text(void)
{
	char line[512];
	const struct log_field fields[] = {LOG_TEXT("route", "db"), LOG_TEXT("reason", "a \"b\"\n\x1b[31m\xc2\x9b"), LOG_NUMBER("n", -5),
		LOG_TEXT("none", NULL), {0}};
	tunnel_log_format(line, sizeof line, false, AT, TUNNEL_LOG_WARNING, "it broke", fields);
	ok("tunnel log: text", !strcmp(line,
		"2023-11-14T22:13:20.123Z warning it broke route=db reason=\"a \\\"b\\\"\\n\\u001b[31m\\u009b\" n=-5\n"), "%s", line);
	json_t *o = NULL;
	size_t n = tunnel_log_format(line, sizeof line, true, AT, TUNNEL_LOG_INFO, "it \"works\"", fields);
	o = json_loads(line, 0, NULL);
	const char *reason = json_string_value(json_object_get(o, "reason"));
	ok("tunnel log: JSON", n == strlen(line) && o && line[n - 1] == '\n' && reason && !strcmp(reason, "a \"b\"\n\x1b[31m\xc2\x9b") &&
	   json_integer_value(json_object_get(o, "n")) == -5 && !json_object_get(o, "none"), "%s", line);
	json_decref(o);
}

// Whatever is too long leaves a line that parses.
static void test_long(void)
{
	char line[200], text[400];
	bool good = true;
	for (size_t i = 0; i + 1 < sizeof text; i++) {
		memset(text, i % 2 ? '\x01' : 'x', i);
		text[i] = '\0';
		const struct log_field fields[] = {LOG_NUMBER("a", 1), LOG_TEXT("long", text), LOG_NUMBER("b", 2), {0}};
		size_t n = tunnel_log_format(line, sizeof line, true, AT, TUNNEL_LOG_INFO, "m", fields);
		json_t *o = json_loads(line, 0, NULL);
		good &= n < sizeof line && line[n] == '\0' && o;
		json_decref(o);
	}
	ok("tunnel log: too long a field leaves JSON", good, "%s", line);
}

// Nobody reads the pipe: whoever writes to the log goes on, and what was left out is said when somebody does.
static void test_full(void)
{
	static char all[1 << 20];
	int pipes[2], before = dup(STDERR_FILENO);
	size_t len = 0;
	if (before < 0 || pipe(pipes))
		return;
	fcntl(pipes[0], F_SETFL, O_NONBLOCK);
	dup2(pipes[1], STDERR_FILENO);
	tunnel_log_set(TUNNEL_LOG_INFO, false);
	for (int i = 0; i < 5000; i++)
		tunnel_log(TUNNEL_LOG_ERROR, "full", LOG_NUMBER("n", i));	// errors, which no limit of time holds back
	for (ssize_t n; (n = read(pipes[0], all + len, sizeof all - 1 - len)) > 0;)
		len += (size_t)n;
	bool whole = len && all[len - 1] == '\n';
	tunnel_log(TUNNEL_LOG_ERROR, "again");
	ssize_t n = read(pipes[0], all, sizeof all - 1);
	dup2(before, STDERR_FILENO);
	close(before);
	close(pipes[0]);
	close(pipes[1]);
	all[n > 0 ? n : 0] = '\0';
	ok("tunnel log: a pipe that nobody reads", whole && strstr(all, "lines were left out lines=") && strstr(all, "again"), "%zu: %.200s", len, all);
}

struct due {
	struct timer t;
	struct timers *all;
	unsigned int fired;
	bool again;
};

static int64_t fired_at;
static bool in_order = true;

static void fire(struct timer *t)
{
	struct due *d = (struct due *)t;
	in_order &= t->at_ms >= fired_at;
	fired_at = t->at_ms;
	d->fired++;
	if (d->again)
		timer_set(d->all, t, 0);
}

static void test_timers(void)
{
	enum { N = 500 };
	static struct due d[N];
	struct timers s = {0};
	unsigned int fired = 0;
	bool once = true;
	srand(7);
	for (unsigned int i = 0; i < N; i++) {
		d[i] = (struct due){.t.fire = fire, .all = &s};
		timer_set(&s, &d[i].t, rand() % 1000);
	}
	for (unsigned int i = 0; i < N; i += 3)
		timer_set(&s, &d[i].t, rand() % 1000);
	for (unsigned int i = 0; i < N; i += 5)
		timer_clear(&s, &d[i].t);
	timer_clear(&s, &d[0].t);
	for (int64_t now = 0; now <= 1000; now += 10) {
		int64_t next = timers_next(&s);
		timers_run(&s, now);
		once &= next < 0 || next > now || timers_next(&s) > now || timers_next(&s) < 0;
	}
	for (unsigned int i = 0; i < N; i++) {
		fired += d[i].fired;
		once &= d[i].fired == (i % 5 != 0);
	}
	ok("tunnel timers: each once, in order", once && in_order && fired == N - N / 5 && timers_next(&s) == -1, "%u fired", fired);
	d[0].again = true;
	fired_at = 0;
	timer_set(&s, &d[0].t, 5);
	timers_run(&s, 10);
	ok("tunnel timers: one that is due again waits for the next turn", d[0].fired == 1 && timers_next(&s) == 0, "%u", d[0].fired);
	timers_free(&s);
}

int main(void)
{
	test_text();
	test_long();
	test_full();
	test_timers();
	return ok_failed != 0;
}
