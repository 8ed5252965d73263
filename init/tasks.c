// SPDX-License-Identifier: Apache-2.0
// The tasks of the enclave for `coffer ps NAME`: what /proc says of each process, as JSON. Reads /proc only; no locks.
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "init/control.h"
#include "lib/control.h"
#include "lib/file.h"

enum { MOST_TASKS = 4096, MOST_WORDS = 4096 };

// Bytes of a program's own making as JSON text: printable ASCII, '?' for the rest.
static json_t *plain(char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		s[i] = !s[i] && i + 1 < n ? ' ' : (unsigned char)s[i] < ' ' || (unsigned char)s[i] > '~' ? '?' : s[i];
	return json_stringn(s, n);
}

static char *slurp(const char *pid, const char *name, size_t most, size_t *len)
{
	char path[64], *text = NULL;
	snprintf(path, sizeof path, "/proc/%.16s/%s", pid, name);
	FILE *f = fopen(path, "re");
	*len = 0;
	if (f && (text = malloc(most + 1))) {
		*len = fread(text, 1, most, f);
		text[*len] = '\0';
	}
	if (f)
		fclose(f);
	return text;
}

static json_t *one(const char *pid, bool arguments)
{
	unsigned long utime, stime, resident = 0;
	long threads;
	unsigned long long start;
	int ppid;
	char state;
	size_t n;
	char *stat = slurp(pid, "stat", 1024, &n), *statm = slurp(pid, "statm", 256, &n), *open = stat ? strchr(stat, '(') : NULL,
	     *close = stat ? strrchr(stat, ')') : NULL;
	json_t *o = NULL;
	if (open && close > open &&
	    sscanf(close + 1, " %c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu %*d %*d %*d %*d %ld %*d %llu", &state, &ppid, &utime, &stime, &threads, &start) == 6) {
		long tick = sysconf(_SC_CLK_TCK);
		o = json_object();
		if (statm && sscanf(statm, "%*u %lu", &resident) != 1)
			resident = 0;
		json_object_set_new(o, "pid", json_integer(atoi(pid)));
		json_object_set_new(o, "ppid", json_integer(ppid));
		json_object_set_new(o, "state", json_stringn(&state, 1));
		json_object_set_new(o, "threads", json_integer(threads));
		json_object_set_new(o, "cpu_ms", json_integer((json_int_t)((utime + stime) * 1000ul / (unsigned long)tick)));
		json_object_set_new(o, "memory_bytes", json_integer((json_int_t)(resident * 4096)));
		json_object_set_new(o, "name", plain(open + 1, (size_t)(close - open - 1)));
		char *words = slurp(pid, "cmdline", MOST_WORDS, &n);
		if (!arguments && words)
			n = strnlen(words, n);
		while (n && !words[n - 1])
			n--;
		json_object_set_new(o, "command", words ? plain(words, n) : json_string(""));
		free(words);
	}
	free(stat);
	free(statm);
	return o;
}

int control_tasks(int fd, bool arguments)
{
	json_t *list = json_array();
	DIR *d = opendir("/proc");
	struct dirent *e;
	uint8_t code = 0;
	int err = 0;
	while (d && (e = readdir(d)) && json_array_size(list) < MOST_TASKS)
		if (isdigit((unsigned char)*e->d_name) && atoi(e->d_name) != getpid()) {
			json_t *o = one(e->d_name, arguments);
			if (o)
				json_array_append_new(list, o);
		}
	if (d)
		closedir(d);
	char *text = json_dumps(list, JSON_COMPACT);
	for (size_t at = 0, n = text ? strlen(text) : 0; at < n && !err; at += CONTROL_MOST)
		err = control_send(fd, CONTROL_STDOUT, text + at, n - at < CONTROL_MOST ? n - at : CONTROL_MOST);
	free(text);
	json_decref(list);
	return err ? err : control_send(fd, CONTROL_EXIT, &code, 1);
}
