// SPDX-License-Identifier: Apache-2.0
// Backup and restore with a broker that really runs: what the restored one serves, what is lost and that it is named; and backups that must
// not be taken: another passphrase, changed, cut, not whole. And the master key changed under a broker that has keys.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "broker/backup_file.h"
#include "lib/file.h"
#include "tests/broker/harness.h"

static struct run b, second;
static char file[100], said[8192];
static const char pass[] = "the backup's passphrase";

static int giving(const char *text)
{
	int p[2];
	if (pipe2(p, 0) || write(p[1], text, strlen(text)) < 0)
		exit(1);
	close(p[1]);
	return p[0];
}

// One of the commands in a process of its own; its exit status, what it prints in `said`. Words that begin with % are passphrases: they are
// given through a descriptor.
static int command(int (*run)(int, char **), ...)
{
	char *argv[16] = {"command"}, numbers[4][16], path[100];
	int argc = 1, n = 0, fds[4], status = -1;
	va_list ap;
	const char *word;
	va_start(ap, run);
	while ((word = va_arg(ap, const char *)) && argc < 15) {
		if (*word == '%' && n < 4) {
			fds[n] = giving(word + 1);
			snprintf(numbers[n], sizeof numbers[n], "%d", fds[n]);
			argv[argc++] = numbers[n++];
		} else {
			argv[argc++] = (char *)word;
		}
	}
	va_end(ap);
	snprintf(path, sizeof path, "%s/said", world);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		int out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		dup2(out, 1);
		dup2(out, 2);
		setsid(); // no terminal to ask at
		exit(run(argc, argv));
	}
	while (n)
		close(fds[--n]);
	waitpid(pid, &status, 0);
	char *text;
	size_t len;
	said[0] = '\0';
	if (!file_read(path, sizeof said - 1, &text, &len, NULL)) {
		strcpy(said, text);
		free(text);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// While it waits for its passphrase, a command has said already that no core file is to be made of it.
static void test_core(void)
{
	char path[64], number[16], *text;
	size_t len;
	bool none = false;
	int p[2];
	if (pipe2(p, 0)) {
		ok("a pipe", false, "no");
		return;
	}
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		struct rlimit l;
		getrlimit(RLIMIT_CORE, &l);
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_CORE, &l);
		snprintf(number, sizeof number, "%d", p[0]);
		char *argv[] = {"backup", file, "--dir", b.dir, "--backup-passphrase-fd", number, NULL};
		close(p[1]);
		dup2(open("/dev/null", O_WRONLY), 2);
		exit(broker_backup_main(6, argv));
	}
	snprintf(path, sizeof path, "/proc/%d/limits", (int)pid);
	for (int i = 0; i < 100 && !none; i++) {
		if (file_read(path, 1 << 16, &text, &len, NULL))
			break;
		const char *at = strstr(text, "Max core file size");
		none = at && strspn(at + 18, " 0") > 20;
		free(text);
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	}
	ok("no core file of a command that holds the master key", none, "there may be one");
	close(p[0]);
	close(p[1]);	// an empty passphrase
	waitpid(pid, NULL, 0);
}

static void serves(const char *name, const struct run *r, const char *resource, const char *value)
{
	struct guest g = {0};
	char got[200];
	size_t len = 0;
	int status = guest_attest(r, &machine, &g, NULL);
	if (status == 200)
		status = guest_get(r, &g, resource, got, sizeof got, &len);
	ok(name, value ? status == 200 && len == strlen(value) && !memcmp(got, value, len) : status != 200, "%d", status);
	guest_free(&g);
}

static void other(struct run *r, const char *name)
{
	char path[200];
	size_t len;
	*r = b;
	snprintf(r->dir, sizeof r->dir, "%s/%s", world, name);
	snprintf(r->log, sizeof r->log, "%s/%s.log", world, name);
	snprintf(path, sizeof path, "%s/cert.pem", r->dir);
	if (file_read(path, 1 << 16, &r->ca, &len, NULL))
		r->ca = NULL;
}

static void test_backup(void)
{
	char audit[160], dir[160];
	struct stat st;
	put_secret(&b, "default/key/one", "the first secret");
	set_policy(&b, "default/key/one", true, machine.measurement_hex);
	char *large = malloc(60001); // the backup has several blocks then
	memset(large, 'x', 60000);
	large[60000] = '\0';
	put_secret(&b, "default/bulk/one", large);
	put_secret(&b, "default/bulk/two", large);
	free(large);
	int rc = command(broker_backup_main, file, "--dir", b.dir, "--backup-passphrase-fd", "%the backup's passphrase", NULL);
	ok("a running broker is backed up", rc == 0 && strstr(said, "3 resources, 1 policies") && !stat(file, &st) && (st.st_mode & 0777) == 0600, "%d %s", rc, said);
	rc = command(broker_backup_main, file, "--dir", b.dir, "--backup-passphrase-fd", "%the backup's passphrase", NULL);
	ok("a file that is there is not overwritten", rc == 1 && strstr(said, "there already"), "%d %s", rc, said);
	put_secret(&b, "default/key/two", "the second secret");
	set_policy(&b, "default/key/two", true, machine.measurement_hex);
	serves("the broker goes on", &b, "default/key/two", "the second secret");
	ok("it ends well", !run_stop(&b), "no");

	snprintf(dir, sizeof dir, "%s/again", world);
	rc = command(broker_restore_main, file, "--dir", dir, "--backup-passphrase-fd", "%another passphrase", NULL);
	ok("another passphrase does not open it", rc == 1 && strstr(said, "not this backup's") && access(dir, F_OK), "%d %s", rc, said);
	rc = command(broker_restore_main, file, "--dir", b.dir, "--backup-passphrase-fd", "%the backup's passphrase", NULL);
	ok("a folder that is in use is left alone", rc == 1 && strstr(said, "not empty"), "%d %s", rc, said);
	snprintf(audit, sizeof audit, "%s/audit", b.dir);
	rc = command(broker_restore_main, file, "--dir", dir, "--audit", audit, "--backup-passphrase-fd", "%the backup's passphrase", NULL);
	ok("it is restored, and what is lost is named", rc == 0 && strstr(said, "replace-key default/key/two") && strstr(said, "allow default/key/two") &&
	   strstr(said, "2 changes since the backup are lost") && !strstr(said, "default/key/one"), "%d %s", rc, said);
	other(&second, "again");
	ok("the restored broker starts", run_start(&second, "--insecure-accept-simulated", machine.root_pem), "no");
	ok("and says what it is", run_said(&second, 0, "what was changed in between is lost"), "no");
	serves("it serves what was there then", &second, "default/key/one", "the first secret");
	serves("and not what came after", &second, "default/key/two", NULL);
	expect("its log has the restore", &second, "GET", "/coffer/v0/audit/records?from=0&to=100", admin_header(&second), NULL, 200, "\"event\":\"restore\"");
	ok("it ends well, too", !run_stop(&second), "no");
	free(second.ca);

	snprintf(dir, sizeof dir, "%s/plain/", world);
	mkdir(dir, 0700);
	rc = command(broker_restore_main, file, "--dir", dir, "--backup-passphrase-fd", "%the backup's passphrase", NULL);
	ok("without the old log, it says that it will be found cut", rc == 0 && strstr(said, "find it cut"), "%d %s", rc, said);
}

// What is not as it was written is not taken, wherever it is.
static void test_damage(void)
{
	char bad[120], dir[160], *text;
	size_t len, caught = 0, tried = 0;
	if (file_read(file, 64 << 20, &text, &len, NULL)) {
		ok("the backup can be read", false, "no");
		return;
	}
	size_t body = strcspn(text, "\n") + 1;
	snprintf(bad, sizeof bad, "%s/bad", world);
	snprintf(dir, sizeof dir, "%s/bad-dir", world);
	const size_t places[] = {body + 5, body + 70000, len - 3}, cuts[] = {body, body + 3, body + 4 + 65536 + 16, len - 1};
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		text[places[i]] ^= 1;
		file_write(bad, text, len, 0600, false, NULL);
		text[places[i]] ^= 1;
		int rc = command(broker_restore_main, bad, "--dir", dir, "--backup-passphrase-fd", "%the backup's passphrase", NULL);
		tried++;
		caught += rc == 1 && access(dir, F_OK) && strstr(said, "changed");
	}
	for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
		file_write(bad, text, cuts[i], 0600, false, NULL);
		int rc = command(broker_restore_main, bad, "--dir", dir, "--backup-passphrase-fd", "%the backup's passphrase", NULL);
		tried++;
		caught += rc == 1 && access(dir, F_OK) && strstr(said, "c");
	}
	ok("a changed or cut backup is not taken, and leaves nothing", caught == tried, "%zu of %zu: %s", caught, tried, said);
	snprintf(bad, sizeof bad, "%s/bad-dir.partial", world);
	ok("not even in part", access(bad, F_OK), "it is there");
	free(text);
	file_write(file, "hello\n", 6, 0600, false, NULL);
	int rc = command(broker_restore_main, file, "--dir", dir, "--backup-passphrase-fd", "%the backup's passphrase", NULL);
	ok("another file is told", rc == 1 && strstr(said, "no backup"), "%d %s", rc, said);
}

// A name that leads out of the folder, in a backup that is authentic.
static void test_names(void)
{
	static const char *const names[] = {"../evil", "a/../evil", "/etc/evil", "a/b/c", ".hidden", "a//b"};
	char dir[160];
	int refused = 0;
	snprintf(dir, sizeof dir, "%s/names", world);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		struct backup_writer *w = NULL;
		int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC, 0600);
		if (!backup_write_open(&w, fd, pass, NULL) && !backup_write_piece(w, names[i], "x", 1, NULL) && !backup_write_finish(w, NULL)) {
			int rc = command(broker_restore_main, file, "--dir", dir, "--backup-passphrase-fd", "%the backup's passphrase", NULL);
			refused += rc == 1 && strstr(said, "which is no file of a broker");
		}
		backup_write_close(w);
		close(fd);
	}
	ok("names that lead elsewhere are refused", refused == 6, "%d: %s", refused, said);
}

static void test_rekey(void)
{
	int fd = giving("the master's passphrase");
	char number[16];
	int rc, status = 0;
	rc = command(broker_rekey_main, "--dir", b.dir, "--master-key", "passphrase", "--new-passphrase-fd", "%the master's passphrase", NULL);
	ok("the master key gets a passphrase", rc == 0 && strstr(said, "passphrase"), "%d %s", rc, said);
	int wrong = giving("another passphrase");
	snprintf(number, sizeof number, "%d", wrong);
	ok("with another it does not start", !run_start(&b, "--insecure-accept-simulated", machine.root_pem, "--passphrase-fd", number) &&
	   waitpid(b.pid, &status, 0) == b.pid, "it does");
	b.pid = 0;
	ok("which is told apart from what another start may mend", WIFEXITED(status) && WEXITSTATUS(status) == 3, "%x", (unsigned int)status);
	close(wrong);
	snprintf(number, sizeof number, "%d", fd);
	ok("the broker starts with it", run_start(&b, "--insecure-accept-simulated", machine.root_pem, "--passphrase-fd", number), "no");
	close(fd);
	serves("and serves what it had", &b, "default/key/two", "the second secret");
	rc = command(broker_rekey_main, "--dir", b.dir, "--master-key", "file", "--passphrase-fd", "%the master's passphrase", NULL);
	ok("not while it runs", rc == 1 && strstr(said, "another broker"), "%d %s", rc, said);
	unlink(file);
	rc = command(broker_backup_main, file, "--dir", b.dir, "--backup-passphrase-fd", "%the backup's passphrase", "--passphrase-fd", "%the master's passphrase", NULL);
	ok("it is backed up, too", rc == 0, "%d %s", rc, said);
	ok("it ends well", !run_stop(&b), "no");
	char dir[160];
	snprintf(dir, sizeof dir, "%s/unwrapped", world);
	rc = command(broker_restore_main, file, "--dir", dir, "--backup-passphrase-fd", "%the backup's passphrase", NULL);
	ok("a restore does not unwrap the key unasked", rc == 1 && strstr(said, "--master-key") && access(dir, F_OK), "%d %s", rc, said);
	rc = command(broker_restore_main, file, "--dir", dir, "--backup-passphrase-fd", "%the backup's passphrase", "--master-key", "file", NULL);
	ok("asked to, it does", rc == 0, "%d %s", rc, said);
	rc = command(broker_rekey_main, "--dir", b.dir, "--master-key", "file", "--passphrase-fd", "%the wrong passphrase", NULL);
	ok("a wrong passphrase changes nothing", rc == 1 && strstr(said, "is wrong"), "%d %s", rc, said);
	rc = command(broker_rekey_main, "--dir", b.dir, NULL);
	ok("the new way must be said", rc == 2, "%d %s", rc, said);
}

int main(void)
{
	world_begin("backup");
	snprintf(file, sizeof file, "%s/backup", world);
	if (run_prepare(&b, "state") && ok("the broker starts", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no")) {
		test_core();
		test_backup();
		test_damage();
		test_names();
		test_rekey();
	}
	run_free(&b);
	return world_end();
}
