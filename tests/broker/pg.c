// SPDX-License-Identifier: Apache-2.0
// See pg.h.
#include "tests/broker/pg.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/db.h"
#include "lib/file.h"
#include "tests/folder.h"
#include "tests/port.h"

#define BIN "/usr/lib/postgresql/15/bin/"
#define PASSWORD "the test's own password"

// In a child: it does not run as root.
static void become_nobody(void)
{
	struct passwd *p = getuid() ? NULL : getpwnam("nobody");
	if (p && (setgroups(0, NULL) || setgid(p->pw_gid) || setuid(p->pw_uid)))
		_exit(1);
}

static pid_t run(const struct pg *s, char *const argv[])
{
	char log[96];
	snprintf(log, sizeof log, "%s/log", s->dir);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		become_nobody();
		int fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
		dup2(fd, 1);
		dup2(fd, 2);
		execv(argv[0], argv);
		_exit(127);
	}
	return pid;
}

static bool wait_for(pid_t pid)
{
	int status = -1;
	return waitpid(pid, &status, 0) == pid && status == 0;
}

bool pg_make(struct pg *s)
{
	char data[96], pass[96], init[96], text[128];
	struct fault f = {""};
	memset(s, 0, sizeof *s);
	if (access(BIN "initdb", X_OK)) {
		printf("# PostgreSQL is not installed (apt-get install postgresql-15): not tested with it\n");
		return false;
	}
	if (!test_folder(s->dir, "pg"))
		return false;
	snprintf(data, sizeof data, "%s/data", s->dir);
	snprintf(pass, sizeof pass, "%s/pass", s->dir);
	snprintf(init, sizeof init, "--pwfile=%s/init", s->dir);
	snprintf(text, sizeof text, "*:*:*:*:" PASSWORD "\n");
	bool made = !file_write(pass, text, strlen(text), 0600, true, &f) && !file_write(init + 9, PASSWORD "\n", sizeof PASSWORD, 0644, true, &f);
	struct passwd *p = getpwnam("nobody");
	if (!getuid() && (!p || chown(s->dir, p->pw_uid, p->pw_gid)))
		made = false;
	if (!made || !wait_for(run(s, (char *[]){BIN "initdb", "-D", data, "-U", "coffer", "-A", "scram-sha-256", init, "-E", "UTF8",
						 "--locale=C.UTF-8", "--no-sync", NULL}))) {
		printf("# PostgreSQL's initdb failed: see %s/log\n", s->dir);
		return false;
	}
	snprintf(s->url, sizeof s->url, "postgresql://coffer@/postgres?host=%s&passfile=%s", s->dir, pass);
	return pg_start(s);
}

bool pg_start(struct pg *s)
{
	char data[96], port[16], certificate[128], key[128];
	snprintf(data, sizeof data, "%s/data", s->dir);
	snprintf(port, sizeof port, "%d", s->port ? s->port : 5432);
	snprintf(certificate, sizeof certificate, "ssl_cert_file=%s/server.pem", s->dir);
	snprintf(key, sizeof key, "ssl_key_file=%s/server.key", s->dir);
	s->pid = run(s, (char *[]){BIN "postgres", "-D", data, "-k", s->dir, "-h", s->port ? "127.0.0.1" : "", "-p", port, "-c", certificate, "-c", key,
				   "-c", s->port ? "ssl=on" : "ssl=off", "-c", "shared_buffers=16MB", "-c", "max_connections=40", NULL});
	for (int i = 0; i < 3000; i++) {
		struct db *d;
		struct fault f;
		if (!db_open(&d, s->url, &f)) {
			db_close(d);
			return true;
		}
		if (waitpid(s->pid, NULL, WNOHANG) == s->pid)
			break;
		usleep(100000);
	}
	printf("# PostgreSQL does not start: see %s/log\n", s->dir);
	return false;
}

bool pg_use_tls(struct pg *s)
{
	char pass[96], key[96], certificate[96];
	int port = (int)free_port();
	snprintf(pass, sizeof pass, "%s/pass", s->dir);
	snprintf(key, sizeof key, "%s/server.key", s->dir);
	snprintf(certificate, sizeof certificate, "%s/server.pem", s->dir);
	if (!port || !wait_for(run(s, (char *[]){"/usr/bin/openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
						  "-subj", "/CN=a test's database", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout",
						  key, "-out", certificate, NULL})))
		return false;
	s->port = port;
	snprintf(s->url, sizeof s->url, "postgresql://coffer@localhost:%d/postgres?sslmode=verify-full&sslrootcert=%s&passfile=%s", s->port, certificate,
		 pass);
	return true;
}

void pg_stop(struct pg *s, int sig)
{
	if (s->pid <= 0)
		return;
	kill(s->pid, sig);
	waitpid(s->pid, NULL, 0);
	s->pid = 0;
}

void pg_hang(const struct pg *s, bool hang)
{
	char path[64];
	int pid;
	kill(s->pid, hang ? SIGSTOP : SIGCONT);	// first: it makes no more of them
	snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)s->pid, (int)s->pid);
	FILE *f = fopen(path, "r");
	while (f && fscanf(f, "%d", &pid) == 1)
		kill(pid, hang ? SIGSTOP : SIGCONT);
	if (f)
		fclose(f);
}

void pg_remove(struct pg *s)
{
	pg_stop(s, SIGINT);
	if (s->dir[0])
		wait_for(run(s, (char *[]){"/bin/rm", "-rf", s->dir, NULL}));
	if (s->dir[0] && !getuid()) {
		char pass[96];
		snprintf(pass, sizeof pass, "%s/pass", s->dir);
		unlink(pass);
		rmdir(s->dir);
	}
}
