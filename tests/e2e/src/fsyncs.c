// SPDX-License-Identifier: Apache-2.0
// Writes and fsyncs FILE 30 times while a timer's signals arrive, whose handler restarts no call; says how often fsync failed
// (refusals/anchor).
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

static void tick(int sig) { (void)sig; }

int main(int argc, char **argv)
{
	int fd = argc > 1 ? open(argv[1], O_RDWR | O_CREAT, 0600) : -1, failed = 0;
	struct itimerval often = {{0, 1000}, {0, 1000}};

	if (fd < 0 || sigaction(SIGALRM, &(struct sigaction){.sa_handler = tick}, NULL) || setitimer(ITIMER_REAL, &often, NULL))
		return 1;
	for (int i = 0; i < 30; i++)
		if (pwrite(fd, &i, sizeof(i), 0) != sizeof(i) || fsync(fd)) {
			fprintf(stderr, "fsync: %s\n", strerror(errno));
			failed++;
		}
	printf("%d failed\n", failed);
	return 0;
}
