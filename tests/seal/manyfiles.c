// SPDX-License-Identifier: Apache-2.0
// A directory with many entries: each step with what came of it and the microseconds an entry took.
//
//	manyfiles DIRECTORY ENTRIES
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double begun;
static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static void say(const char *what, unsigned long good, unsigned long n)
{
	printf("%s: %lu of %lu %.2f us\n", what, good, n, (now() - begun) / (double)n);
	fflush(stdout);
	begun = now();
}

int main(int argc, char **argv)
{
	unsigned long n = argc > 2 ? strtoul(argv[2], NULL, 0) : 1000, good = 0, sum = 0;
	char name[64];
	struct stat st;
	if (argc < 2 || mkdir(argv[1], 0755) || chdir(argv[1])) {
		perror("directory");
		return 1;
	}
	begun = now();
	for (unsigned long k = 0; k < n; k++) {
		snprintf(name, sizeof name, "entry number %lu", k);
		int fd = open(name, O_WRONLY | O_CREAT | O_EXCL, 0644);
		good += fd >= 0;
		close(fd);
	}
	say("create", good, n);
	sync();
	say("sync", n, n);
	DIR *d = opendir(".");
	good = 0;
	for (struct dirent *e; d && (e = readdir(d));)
		if (!strncmp(e->d_name, "entry number ", 13)) {
			good++;
			sum += strtoul(e->d_name + 13, NULL, 10);
		}
	if (d)
		closedir(d);
	say("list", sum == n * (n - 1) / 2 ? good : 0, n);
	good = 0;
	for (unsigned long k = 0, at = 1; k < n; k++, at = at * 2654435761u + 12345) {
		snprintf(name, sizeof name, "entry number %lu", at % n);
		good += !stat(name, &st) && S_ISREG(st.st_mode);
	}
	say("look up", good, n);
	good = 0;
	for (unsigned long k = 0; k < n; k++) {
		snprintf(name, sizeof name, "no entry %lu", k);
		good += stat(name, &st) != 0;
	}
	say("miss", good, n);
	good = 0;
	for (unsigned long k = 0; k < n; k += 2) {
		snprintf(name, sizeof name, "entry number %lu", k);
		good += !unlink(name);
	}
	say("delete every other one", good, n / 2);
	d = opendir(".");
	good = 0;
	for (struct dirent *e; d && (e = readdir(d));)
		good += e->d_name[0] == 'e' && !unlink(e->d_name); // what is read may go at once
	if (d)
		closedir(d);
	say("delete while listing", good, n / 2);
	good = !chdir("..") && !rmdir(argv[1]);
	sync();
	say("remove the directory", good, 1);
	return 0;
}
