// SPDX-License-Identifier: Apache-2.0
// Backup and restore with a broker that really runs: what the restored one serves, what is lost and that it is named; and backups that must
// not be taken: another passphrase, changed, cut, not whole. And the master key changed under a broker that has keys.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "broker/backup_file.h"
#include "broker/db.h"
#include "lib/file.h"
#include "tests/broker/command.h"
#include "tests/broker/harness.h"
#include "tests/broker/pg.h"

static struct run b, second;
static char file[100];
static const char pass[] = "the backup's passphrase";

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
	for (int i = 0; i < 2400 && !none; i++) {
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
	int rc = command(broker_backup_main, file, "--dir", b.dir, "--backup-passphrase-fd", "%the backup's passphrase");
	ok("a running broker is backed up", rc == 0 && strstr(said, "3 resources, 1 policies") && !stat(file, &st) && (st.st_mode & 0777) == 0600, "%d %s", rc, said);
	rc = command(broker_backup_main, file, "--dir", b.dir, "--backup-passphrase-fd", "%the backup's passphrase");
	ok("a file that is there is not overwritten", rc == 1 && strstr(said, "there already"), "%d %s", rc, said);
	put_secret(&b, "default/key/two", "the second secret");
	set_policy(&b, "default/key/two", true, machine.measurement_hex);
	serves("the broker goes on", &b, "default/key/two", "the second secret");
	ok("it ends well", !run_stop(&b), "no");

	snprintf(dir, sizeof dir, "%s/again", world);
	rc = command(broker_restore_main, file, "--dir", dir, "--backup-passphrase-fd", "%another passphrase");
	ok("another passphrase does not open it", rc == 1 && strstr(said, "not this backup's") && access(dir, F_OK), "%d %s", rc, said);
	rc = command(broker_restore_main, file, "--dir", b.dir, "--backup-passphrase-fd", "%the backup's passphrase");
	ok("a folder that is in use is left alone", rc == 1 && strstr(said, "not empty"), "%d %s", rc, said);
	snprintf(audit, sizeof audit, "%s/audit", b.dir);
	rc = command(broker_restore_main, file, "--dir", dir, "--audit", audit, "--backup-passphrase-fd", "%the backup's passphrase");
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
	mkdir(dir, 0750);
	rc = command(broker_restore_main, file, "--dir", dir, "--backup-passphrase-fd", "%another passphrase");
	ok("an empty folder stays as it is until the backup was found good", rc == 1 && !stat(dir, &st) && (st.st_mode & 0777) == 0750, "%d %s", rc, said);
	rc = command(broker_restore_main, file, "--dir", dir, "--backup-passphrase-fd", "%the backup's passphrase");
	ok("without the old log, it says that it will be found cut", rc == 0 && strstr(said, "find it cut"), "%d %s", rc, said);
}

// A folder in which files come and go while it is read, as a broker's and its owner's tools do when they write one.
static void test_coming_and_going(void)
{
	char one[160], two[160], part[160], elsewhere[160];
	unsigned int good = 0;
	struct stat st;
	snprintf(one, sizeof one, "%s/broker.yaml.AbCdEf", b.dir);
	snprintf(two, sizeof two, "%s/came-and-went", b.dir);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		for (;;) {
			for (int i = 0; i < 200; i++) {
				snprintf(part, sizeof part, "%.150s.%d", one, i);
				close(open(part, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
			}
			for (int i = 0; i < 200; i++) {
				snprintf(part, sizeof part, "%.150s.%d", one, i);
				rename(part, two);
			}
			unlink(two);
		}
	}
	for (int i = 0; i < 4; i++) {
		snprintf(part, sizeof part, "%s/coming-%d", world, i);
		int rc = command(broker_backup_main, part, "--dir", b.dir, "--backup-passphrase-fd", "%the backup's passphrase");
		good += rc == 0;
		unlink(part);
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	for (int i = 0; i < 200; i++) {
		snprintf(part, sizeof part, "%.150s.%d", one, i);
		unlink(part);
	}
	unlink(two);
	ok("files that go while they are looked at do not end a backup", good == 4, "%u of 4: %s", good, said);

	snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", world);
	file_write(elsewhere, "mine\n", 5, 0600, false, NULL);
	snprintf(one, sizeof one, "%s/planted", world);
	snprintf(part, sizeof part, "%.140s.partial", one);
	ok("a link is planted", !symlink(elsewhere, part), "%s", part);
	int rc = command(broker_backup_main, one, "--dir", b.dir, "--backup-passphrase-fd", "%the backup's passphrase");
	ok("a backup follows no link that lies in its way, and removes nothing", rc == 1 && strstr(said, "planted.partial is there") && access(one, F_OK) &&
	   !stat(elsewhere, &st) && st.st_size == 5 && !lstat(part, &st) && S_ISLNK(st.st_mode), "%d %s", rc, said);
	unlink(part);
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
		int rc = command(broker_restore_main, bad, "--dir", dir, "--backup-passphrase-fd", "%the backup's passphrase");
		tried++;
		caught += rc == 1 && access(dir, F_OK) && strstr(said, "changed");
	}
	for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
		file_write(bad, text, cuts[i], 0600, false, NULL);
		int rc = command(broker_restore_main, bad, "--dir", dir, "--backup-passphrase-fd", "%the backup's passphrase");
		tried++;
		caught += rc == 1 && access(dir, F_OK) && strstr(said, "c");
	}
	ok("a changed or cut backup is not taken, and leaves nothing", caught == tried, "%zu of %zu: %s", caught, tried, said);
	snprintf(bad, sizeof bad, "%s/bad-dir.partial", world);
	ok("not even in part", access(bad, F_OK), "it is there");
	free(text);
	file_write(file, "hello\n", 6, 0600, false, NULL);
	int rc = command(broker_restore_main, file, "--dir", dir, "--backup-passphrase-fd", "%the backup's passphrase");
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
			int rc = command(broker_restore_main, file, "--dir", dir, "--backup-passphrase-fd", "%the backup's passphrase");
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
	rc = command(broker_rekey_main, "--dir", b.dir, "--master-key", "passphrase", "--new-passphrase-fd", "%the master's passphrase");
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
	rc = command(broker_rekey_main, "--dir", b.dir, "--master-key", "file", "--passphrase-fd", "%the master's passphrase");
	ok("not while it runs", rc == 1 && strstr(said, "another broker"), "%d %s", rc, said);
	unlink(file);
	rc = command(broker_backup_main, file, "--dir", b.dir, "--backup-passphrase-fd", "%the backup's passphrase", "--passphrase-fd", "%the master's passphrase");
	ok("it is backed up, too", rc == 0, "%d %s", rc, said);
	ok("it ends well", !run_stop(&b), "no");
	char dir[160];
	snprintf(dir, sizeof dir, "%s/unwrapped", world);
	rc = command(broker_restore_main, file, "--dir", dir, "--backup-passphrase-fd", "%the backup's passphrase");
	ok("a restore does not unwrap the key unasked", rc == 1 && strstr(said, "--master-key") && access(dir, F_OK), "%d %s", rc, said);
	rc = command(broker_restore_main, file, "--dir", dir, "--backup-passphrase-fd", "%the backup's passphrase", "--master-key", "file");
	ok("asked to, it does", rc == 0, "%d %s", rc, said);
	rc = command(broker_rekey_main, "--dir", b.dir, "--master-key", "file", "--passphrase-fd", "%the wrong passphrase");
	ok("a wrong passphrase changes nothing", rc == 1 && strstr(said, "is wrong"), "%d %s", rc, said);
	rc = command(broker_rekey_main, "--dir", b.dir);
	ok("the new way must be said", rc == 2, "%d %s", rc, said);
}

// ---- a database on a server ----

static struct pg pg;

static bool make_schema(const char *sql)
{
	struct db *d = NULL;
	struct fault f = {""};
	int err = db_open(&d, pg.url, &f);
	if (!err)
		err = db_do(d, &f, sql, "");
	db_close(d);
	if (err < 0)
		printf("# %s\n", f.text);
	return err >= 0;
}

static bool settings_say(const char *dir, const char *text)
{
	char path[200], *log;
	size_t len;
	snprintf(path, sizeof path, "%s/broker.yaml", dir);
	if (file_read(path, 1 << 16, &log, &len, NULL))
		return false;
	bool has = strstr(log, text) != NULL;
	free(log);
	return has;
}

// The folder's place is taken while the restore goes on, which it finds at its last step: the server's database is empty again.
static void test_last_step(const char *audit)
{
	char dir[160], fifo[200], from[240], path[240], four[500], *log;
	size_t len;
	if (!ok("one more place", make_schema("CREATE SCHEMA four"), "no"))
		return;
	snprintf(four, sizeof four, "%s&options=-csearch_path%%3Dfour", pg.url);
	snprintf(dir, sizeof dir, "%s/taken", world);
	snprintf(fifo, sizeof fifo, "%s/slow", world);
	snprintf(path, sizeof path, "%s/entries", fifo);
	snprintf(from, sizeof from, "%s/entries", audit);
	if (!ok("a log that comes slowly", !mkdir(fifo, 0700) && !mkfifo(path, 0600) && !file_read(from, 64 << 20, &log, &len, NULL), "no"))
		return;
	const char *const words[] = {file, "--dir", dir, "--audit", fifo, "--backup-passphrase-fd", "%the backup's passphrase", "--database", four, NULL};
	pid_t pid = command_begin_with(broker_restore_main, words);
	int fd = -1;
	while ((fd = open(path, O_WRONLY | O_NONBLOCK)) < 0 && !kill(pid, 0) && !waitpid(pid, NULL, WNOHANG))	// until it reads
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	snprintf(path, sizeof path, "%s/mine", dir);
	bool taken = !mkdir(dir, 0700) && !file_write(path, "x", 1, 0600, false, NULL);
	if (fd >= 0) {
		fcntl(fd, F_SETFL, 0);
		for (size_t at = 0; at < len;) {
			ssize_t n = write(fd, log + at, len - at);
			if (n <= 0)
				break;
			at += (size_t)n;
		}
		close(fd);
	}
	free(log);
	int rc = fd < 0 ? -1 : command_end(pid);
	ok("a folder whose place is taken meanwhile", taken && rc == 1 && strstr(said, "in the place of") && !strstr(said, "drop it"), "%d %s", rc, said);
	snprintf(from, sizeof from, "%s.partial", dir);
	ok("leaves nothing", access(from, F_OK) && !access(path, F_OK), "it does");
	unlink(path);
	rc = command(broker_restore_main, file, "--dir", dir, "--audit", audit, "--backup-passphrase-fd", "%the backup's passphrase", "--database", four);
	ok("nor on the server: the next attempt works", rc == 0, "%d %s", rc, said);
}

// From the server's into a file, from there into another place on the server; and an old state under a broker that knows a newer one.
static void test_server(void)
{
	char two[500], three[500], path[200], yaml[500], dir[160], third[160], audit[200];
	struct run on, off;
	if (!ok("places on it", make_schema("CREATE SCHEMA two") && make_schema("CREATE SCHEMA three"), "no") || !run_prepare(&on, "server"))
		return;
	snprintf(two, sizeof two, "%s&options=-csearch_path%%3Dtwo", pg.url);
	snprintf(three, sizeof three, "%s&options=-csearch_path%%3Dthree", pg.url);
	snprintf(path, sizeof path, "%s/broker.yaml", on.dir);
	int n = snprintf(yaml, sizeof yaml, "database: \"%s\"\n", pg.url);
	file_write(path, yaml, (size_t)n, 0600, false, NULL);
	ok("a broker on a server starts", run_start(&on, "--insecure-accept-simulated", machine.root_pem), "no");
	for (int i = 0; i < 80; i++) {	// more than a page
		char name[64];
		snprintf(name, sizeof name, "default/many/n%d", i);
		if (i % 20 == 0)
			put_secret(&on, name, "one of many");
		snprintf(name, sizeof name, "default/many/p%d", i);
		set_policy(&on, name, true, machine.measurement_hex);
	}
	put_secret(&on, "default/key/one", "on the server");
	set_policy(&on, "default/key/one", true, machine.measurement_hex);
	unlink(file);
	int rc = command(broker_backup_main, file, "--dir", on.dir, "--backup-passphrase-fd", "%the backup's passphrase");
	ok("it is backed up while it runs", rc == 0 && strstr(said, "5 resources, 81 policies"), "%d %s", rc, said);
	snprintf(dir, sizeof dir, "%s/offserver", world);
	rc = command(broker_restore_main, file, "--dir", dir, "--backup-passphrase-fd", "%the backup's passphrase", "--database", pg.url);
	ok("not into a database that holds one", rc == 1 && strstr(said, "holds a broker's data") && access(dir, F_OK), "%d %s", rc, said);
	ok("it ends well", !run_stop(&on), "no");
	snprintf(audit, sizeof audit, "%s/audit", on.dir);
	rc = command(broker_restore_main, file, "--dir", dir, "--audit", audit, "--backup-passphrase-fd", "%the backup's passphrase");
	ok("it is restored into a file", rc == 0 && strstr(said, "0 changes since the backup") && settings_say(dir, "# of the backup: database:"), "%d %s", rc, said);
	off = on;
	other(&off, "offserver");
	ok("and starts", run_start(&off, "--insecure-accept-simulated", machine.root_pem), "no");
	serves("with what the server had", &off, "default/key/one", "on the server");
	put_secret(&off, "default/key/two", "in the file");
	set_policy(&off, "default/key/two", true, machine.measurement_hex);
	ok("it ends well, too", !run_stop(&off), "no");
	unlink(file);
	rc = command(broker_backup_main, file, "--dir", dir, "--backup-passphrase-fd", "%the backup's passphrase");
	ok("that is backed up", rc == 0 && strstr(said, "6 resources"), "%d %s", rc, said);
	snprintf(third, sizeof third, "%s/third", world);
	snprintf(audit, sizeof audit, "%s/audit", dir);
	rc = command(broker_restore_main, file, "--dir", third, "--audit", audit, "--backup-passphrase-fd", "%the backup's passphrase", "--database", two);
	ok("and put on the server again", rc == 0 && settings_say(third, "search_path%3Dtwo"), "%d %s", rc, said);
	snprintf(path, sizeof path, "%s/broker.db", third);
	ok("with no file of it left", access(path, F_OK), "it is there");
	free(off.ca);
	other(&off, "third");
	ok("the broker on the server starts", run_start(&off, "--insecure-accept-simulated", machine.root_pem), "no");
	serves("it has what was on the server first", &off, "default/key/one", "on the server");
	serves("and what came then", &off, "default/key/two", "in the file");
	put_secret(&off, "default/key/three", "newer than the backup");
	ok("and ends well", !run_stop(&off), "no");
	snprintf(dir, sizeof dir, "%s/fourth", world);
	rc = command(broker_restore_main, file, "--dir", dir, "--backup-passphrase-fd", "%the backup's passphrase", "--database", three);
	ok("the backup once more, elsewhere", rc == 0, "%d %s", rc, said);
	test_last_step(audit);
	size_t from = run_log_size(&off);
	ok("under the broker that knows more", !run_start(&off, "--insecure-accept-simulated", machine.root_pem, "--database", three), "it starts");
	if (off.pid > 0)
		waitpid(off.pid, NULL, 0);
	off.pid = 0;
	ok("it is found put back", run_said(&off, from, "was put back"), "no");
	run_free(&off);
	run_free(&on);
}

int main(void)
{
	world_begin("backup");
	snprintf(file, sizeof file, "%s/backup", world);
	if (run_prepare(&b, "state") && ok("the broker starts", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no")) {
		test_core();
		test_coming_and_going();
		test_backup();
		test_damage();
		test_names();
		test_rekey();
	}
	if (pg_make(&pg))
		test_server();
	else
		skip("a database on a server", "no server could be started");
	pg_remove(&pg);
	run_free(&b);
	return world_end();
}
