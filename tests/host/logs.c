// SPDX-License-Identifier: Apache-2.0
// Logs of enclaves: whole, long and unfinished lines, rotation under a reader's eyes, a full disk, damaged files.
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "host/logs.h"
#include "tests/folder.h"

static void check(bool good, const char *name)
{
	printf(good ? "ok %s\n" : "not ok %s: not so\n", name);
}

struct seen {
	char text[1 << 20];	// "stream flag text|"...
	size_t len;
	unsigned int count;
};

static int see(void *ctx, const struct log_record *r)
{
	struct seen *s = ctx;

	s->count++;
	if (s->len + r->len + 8 < sizeof(s->text))
		s->len += (size_t)snprintf(s->text + s->len, sizeof(s->text) - s->len, "%d%c%.*s|", r->stream, r->partial ? 'P' : 'F', (int)r->len, r->text);
	return 0;
}

static struct log_writer w;
static struct seen all;

static void read_all(const char *dir)
{
	struct log_reader *r;

	memset(&all, 0, sizeof(all));
	if (!log_reader_open(&r, dir, NULL))
		log_read(r, see, &all);
	log_reader_free(r);
}

static void say(enum log_stream s, const char *text) { log_bytes(&w, s, text, strlen(text)); }

static void lines(void)
{
	char dir[64], text[3 * LOG_LINE_MAX];

	if (!test_folder(dir, "lines"))
		return;
	log_open(&w, dir, 1 << 20, 3);
	say(LOG_STDOUT, "one\ntw");
	say(LOG_STDERR, "err\n");
	say(LOG_STDOUT, "o\n\n");
	say(LOG_STDOUT, "prompt> ");
	check(log_flush(&w, false) > 0, "logs.rest_waits");
	check(log_flush(&w, true) == -1, "logs.rest_is_written");
	say(LOG_STDOUT, "answer\n");
	log_say(&w, "coffer: %d", 5);
	log_close(&w);
	read_all(dir);
	check(!strcmp(all.text, "0Fone|1Ferr|0Ftwo|0F|0Pprompt> |0Fanswer|2Fcoffer: 5|"), "logs.lines");
	memset(text, 'x', sizeof(text));
	log_open(&w, dir, 1 << 20, 3);
	log_bytes(&w, LOG_STDOUT, text, 2 * LOG_LINE_MAX + 5);
	say(LOG_STDOUT, "\n");
	log_close(&w);
	read_all(dir);
	check(all.count == 10 && strstr(all.text, "0Fxxxxx|"), "logs.long_line_in_pieces");
	// exactly as long as the room: no empty line is made of its end
	log_open(&w, dir, 1 << 20, 3);
	log_bytes(&w, LOG_STDOUT, text, LOG_LINE_MAX);
	say(LOG_STDOUT, "\n");
	log_close(&w);
	read_all(dir);
	check(all.count == 11, "logs.longest_line");
}

static void rotation(void)
{
	char dir[64], path[80], line[80];
	struct log_reader *r;
	bool ordered = true;
	unsigned int next = 0;

	if (!test_folder(dir, "rotation"))
		return;
	log_open(&w, dir, LOG_SIZE_MIN, 3);
	log_reader_open(&r, dir, NULL);
	memset(&all, 0, sizeof(all));
	for (int k = 0; k < 1000; k++) { // a reader that follows sees each line once, whatever the files are called by then
		snprintf(line, sizeof(line), "line %d\n", k);
		say(LOG_STDOUT, line);
		if (k % 37 == 0)
			log_read(r, see, &all);
	}
	log_read(r, see, &all);
	log_reader_free(r);
	for (char *p = all.text; *p; p = strchr(p, '|') + 1)
		ordered = ordered && (unsigned int)atoi(p + 7) == next++;
	check(ordered && next == 1000, "logs.follows_rotation");
	log_close(&w);
	snprintf(path, sizeof(path), "%s/log.2", dir);
	check(!access(path, F_OK), "logs.older_files_kept");
	snprintf(path, sizeof(path), "%s/log.3", dir);
	check(access(path, F_OK), "logs.no_more_than_asked_for");
	read_all(dir);
	check(all.count > 150 && all.count < 400 && strstr(all.text, "line 999|"), "logs.newest_kept");
	// one file alone
	log_open(&w, dir, LOG_SIZE_MIN, 1);
	for (int k = 0; k < 200; k++)
		say(LOG_STDOUT, "again and again\n");
	log_close(&w);
	snprintf(path, sizeof(path), "%s/log", dir);
	struct stat st;
	check(!stat(path, &st) && st.st_size <= LOG_SIZE_MIN, "logs.one_file");
}

// No room on the disk: for this process files end at 2000 bytes.
static void full_disk(void)
{
	struct rlimit before, small = {2000, 2000};
	char dir[64], line[80];

	if (!test_folder(dir, "full"))
		return;
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	small.rlim_max = before.rlim_max;
	log_open(&w, dir, 1 << 20, 3);
	setrlimit(RLIMIT_FSIZE, &small);
	for (int k = 0; k < 100; k++) {
		snprintf(line, sizeof(line), "line %d of a hundred\n", k);
		say(LOG_STDOUT, line);
	}
	uint64_t dropped = w.dropped;
	check(dropped > 50 && dropped < 99, "logs.full_disk_drops");
	setrlimit(RLIMIT_FSIZE, &before);
	say(LOG_STDOUT, "room again\n");
	log_close(&w);
	read_all(dir);
	snprintf(line, sizeof(line), "|2Fcoffer: %u lines were not logged: ", (unsigned int)dropped);
	check(strstr(all.text, line) && strstr(all.text, "|0Froom again|") && all.count == 100 - dropped + 2, "logs.full_disk_is_said");
}

static void damaged(void)
{
	static const char *const bad[] = {
		"", "x", "2026-11-22T09:04:31.123456789Z", "2026-11-22T09:04:31.123456789Z stdout", "2026-11-22T09:04:31.123456789Z stdout F",
		"2026-13-22T09:04:31.123456789Z stdout F x", "2026-11-22T09:04:31.12345678Z stdout F x", "2026-11-22T09:04:31.123456789Z stdin F x",
		"2026-11-22T09:04:31.123456789Z stdout X x", "2026-11-22T09:04:31.123456789Z stdoutF x",
	};
	static const char text[] = "cut off";
	struct log_record r;
	char dir[64], path[80];
	bool good = true;
	int fd;

	for (size_t k = 0; k < sizeof(bad) / sizeof(*bad); k++)
		good = good && log_parse(bad[k], strlen(bad[k]), &r);
	check(good, "logs.bad_lines");
	check(!log_parse("2026-11-22T09:04:31.123456789Z stderr P ", 40, &r) && r.stream == LOG_STDERR && r.partial && !r.len, "logs.empty_line");
	if (!test_folder(dir, "damaged"))
		return;
	snprintf(path, sizeof(path), "%s/log", dir);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	good = fd >= 0 && write(fd, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1;
	close(fd);
	log_open(&w, dir, 1 << 20, 3);
	say(LOG_STDOUT, "after a crash\n");
	log_close(&w);
	read_all(dir);
	check(good && !strcmp(all.text, "0Fafter a crash|"), "logs.cut_off_line");
}

int main(void)
{
	lines();
	rotation();
	full_disk();
	damaged();
	return 0;
}
