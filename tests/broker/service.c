// SPDX-License-Identifier: Apache-2.0
// The broker as systemd's service: what it tells, and when; and the unit's file, by systemd's own check.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/notify.h"
#include "lib/file.h"
#include "tests/broker/harness.h"

static struct run b;
static int hears;

static bool told(const char *what)
{
	char text[400];
	struct pollfd p = {.fd = hears, .events = POLLIN};
	while (poll(&p, 1, 120000) == 1) {
		ssize_t n = recv(hears, text, sizeof text - 1, 0);
		text[n > 0 ? n : 0] = '\0';
		if (strstr(text, what))
			return true;
	}
	return false;
}

static void test_notify(bool abstract)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	char name[100];
	snprintf(name, sizeof name, "%s%s/notify", abstract ? "@" : "", world);
	strcpy(a.sun_path, name);
	if (abstract)
		a.sun_path[0] = '\0';
	hears = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
	if (!ok("a socket of systemd's", hears >= 0 && !bind(hears, (struct sockaddr *)&a, n), "no"))
		return;
	setenv("NOTIFY_SOCKET", name, 1);
	ok("the broker starts", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no");
	ok("it says when it is ready", told("READY=1\nSTATUS=https://127.0.0.1:"), "no");
	expect("and is", &b, "GET", "/healthz", "", NULL, 200, "ok");
	kill(b.pid, SIGHUP);
	ok("it says that it reloads", told("RELOADING=1\nMONOTONIC_USEC="), "no");
	ok("and that it has", told("READY=1"), "no");
	ok("and that it lives", told("WATCHDOG=1"), "no");
	char cert[160], away[160];
	snprintf(cert, sizeof cert, "%s/cert.pem", b.dir);
	snprintf(away, sizeof away, "%s/cert.away", b.dir);
	ok("a file is missing", !rename(cert, away), "no");
	kill(b.pid, SIGHUP);
	ok("a reload that fails shows in its status", told("the last reload FAILED: "), "no");
	ok("the file is back", !rename(away, cert), "no");
	kill(b.pid, SIGHUP);
	ok("and the next one is told as well", told("READY=1\nSTATUS=https://127.0.0.1:"), "no");
	ok("it ends well", !run_stop(&b), "no");
	ok("and says that it goes", told("STOPPING=1"), "no");
	notify_ready("one line\nMAINPID=1");
	ok("a status is one line", told("READY=1\nSTATUS=one line MAINPID=1\n"), "no");
	unsetenv("NOTIFY_SOCKET");
	close(hears);
}

// Its exit status; says what it printed when that is not 0.
static int analyze(char **argv)
{
	char name[120], *text;
	size_t len;
	int status = -1;
	snprintf(name, sizeof name, "%s/analyzed", world);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		int out = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		dup2(out, 1);
		dup2(out, 2);
		execv("/usr/bin/systemd-analyze", argv);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	if (status && !file_read(name, 1 << 16, &text, &len, NULL)) {
		printf("# %s\n", text);
		free(text);
	}
	return status;
}

static void test_unit(void)
{
	char path[120], program[200], *text;
	size_t len;
	int status = -1;
	if (access("/usr/bin/systemd-analyze", X_OK)) {
		skip("the unit's file", "there is no systemd-analyze");
		return;
	}
	if (!ok("there is a unit", !file_read("broker/coffer-broker.service", 1 << 16, &text, &len, NULL), "no"))
		return;
	// The check wants the program to be there.
	char *at = strstr(text, "/usr/local/bin/coffer ");
	snprintf(path, sizeof path, "%s/coffer-broker.service", world);
	snprintf(program, sizeof program, "%s/coffer", world);
	ok("which starts the command", at != NULL, "no");
	FILE *f = fopen(path, "w");
	if (f && at) {
		fprintf(f, "%.*s%s %s", (int)(at - text), text, program, at + strlen("/usr/local/bin/coffer "));
		fclose(f);
	}
	free(text);
	file_write(program, "#!/bin/sh\n", 10, 0755, false, NULL);
	status = analyze((char *[]){"systemd-analyze", "verify", "--man=no", "--recursive-errors=no", path, NULL});
	ok("systemd takes it", status == 0, "%d", status);
	status = analyze((char *[]){"systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=15", path, NULL});
	ok("and finds it exposed to little", status == 0, "%d", status);
}

int main(void)
{
	world_begin("service");
	if (run_prepare(&b, "state")) {
		test_notify(false);
		test_notify(true);
	}
	test_unit();
	run_free(&b);
	return world_end();
}
