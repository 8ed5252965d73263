// SPDX-License-Identifier: Apache-2.0
// What the master key is kept under: a file, a passphrase, a TPM (swtpm is a real one's code), a PKCS#11 token (SoftHSM). For each: it comes
// back, and every way in which it must not is refused by its words; and a change of it, cut short at each point, loses nothing.
#include "broker/master.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/tpm.h"
#include "tests/attest/ok.h"
#include "tests/folder.h"

static char work[64];
static const uint8_t key1[32] = "the thirty-two bytes of a key 1", key2[32] = "the thirty-two bytes of a key 2";
static const uint8_t *right; // the one that the "database" was made with
static unsigned int asked;

static char *folder(const char *name)
{
	static char path[100];
	snprintf(path, sizeof path, "%s/%s", work, name);
	mkdir(path, 0700);
	return path;
}

static bool have(const char *dir, const char *name)
{
	char path[160];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	return access(path, F_OK) == 0;
}

static int fits(void *ctx, const uint8_t key[32], struct fault *f)
{
	asked++;
	memcpy(ctx, key, 32);
	return !right || !memcmp(right, key, 32) ? 0 : fault_set(f, -EKEYREJECTED, "another key");
}

// A descriptor that gives this text, as it is counted in settings.
static int giving(const char *text)
{
	int p[2];
	if (pipe2(p, O_CLOEXEC) || write(p[1], text, strlen(text)) < 0)
		exit(1);
	close(p[1]);
	return p[0] + 1;
}

static struct master_settings with(const char *what)
{
	struct master_settings s;
	master_settings_init(&s);
	strcpy(s.with, what);
	return s;
}

static struct master_settings passphrase(const char *text)
{
	struct master_settings s = with("passphrase");
	s.passphrase_fd = giving(text);
	return s;
}

static int find(const char *dir, const struct master_settings *s, bool fresh, uint8_t key[32], struct fault *f)
{
	struct master_secrets known = {.have_pin = false};
	f->text[0] = '\0';
	int err = master_find(dir, s, &known, fresh ? MASTER_MAKE : MASTER_TIDY, fits, key, f);
	master_secrets_wipe(&known);
	return err;
}

static int put_key(const char *dir, const struct master_settings *s, bool keep, const uint8_t key[32], bool settle, struct fault *f)
{
	struct master_secrets known = {.have_pin = false};
	enum master_file file;
	f->text[0] = '\0';
	int err = master_write_next(dir, s, &known, keep, key, &file, f);
	master_secrets_wipe(&known);
	return err || !settle ? err : master_settle(dir, file, f);
}

static void test_file(void)
{
	struct master_settings s = with("");
	const char *dir = folder("file");
	uint8_t a[32] = {0}, b[32] = {1};
	struct fault f;
	right = NULL;
	int err = find(dir, &s, true, a, &f);
	ok("a new broker makes master.key", !err && have(dir, "master.key") && !have(dir, "master.key.next"), "%d %s", err, f.text);
	err = find(dir, &s, false, b, &f);
	ok("and finds it again", !err && !memcmp(a, b, 32), "%d %s", err, f.text);
	s = with("tpm");
	err = find(dir, &s, false, b, &f);
	ok("other settings than the file's are refused", err == -ENOKEY && strstr(f.text, "rekey-master"), "%d %s", err, f.text);
	s = with("");
	dir = folder("none");
	err = find(dir, &s, false, b, &f);
	ok("a database without its key gets no new one", err == -ENOENT && strstr(f.text, "there is a database") && !have(dir, "master.key"), "%d %s", err, f.text);
}

// Flips a character of a member's value in the file.
static void change(const char *dir, const char *member)
{
	char path[160], want[40], *text;
	size_t len;
	snprintf(path, sizeof path, "%s/master.wrapped", dir);
	snprintf(want, sizeof want, "\"%s\": \"", member);
	if (file_read(path, 1 << 16, &text, &len, NULL))
		exit(1);
	char *p = strstr(text, want);
	p[strlen(want)] = p[strlen(want)] == 'A' ? 'B' : 'A';
	file_write(path, text, len, 0600, false, NULL);
	free(text);
}

static void test_passphrase(void)
{
	struct master_settings s = passphrase("correct horse battery\n");
	char dir[100];
	uint8_t k[32];
	struct fault f;
	right = key1;
	strcpy(dir, folder("passphrase"));
	int err = put_key(dir, &s, false, key1, true, &f);
	ok("a passphrase wraps the key", !err && have(dir, "master.wrapped") && !have(dir, "master.key"), "%d %s", err, f.text);
	s = passphrase("correct horse battery");
	err = find(dir, &s, false, k, &f);
	ok("and gives it back", !err && !memcmp(k, key1, 32), "%d %s", err, f.text);
	s = passphrase("correct horse batterz");
	err = find(dir, &s, false, k, &f);
	ok("a wrong passphrase is told", err == -EACCES && strstr(f.text, "passphrase") && strstr(f.text, "wrong"), "%d %s", err, f.text);
	s = passphrase("");
	err = find(dir, &s, false, k, &f);
	ok("an empty one, too", err == -EINVAL && strstr(f.text, "empty"), "%d %s", err, f.text);
	s = passphrase("short");
	err = put_key(folder("short"), &s, false, key1, true, &f);
	ok("a short new one is refused", err == -EINVAL && strstr(f.text, "protects nothing"), "%d %s", err, f.text);
	// a systemd credential
	char cred[160];
	snprintf(cred, sizeof cred, "%s/coffer-passphrase", folder("cred"));
	file_write(cred, "correct horse battery\n", 22, 0440, false, NULL);
	setenv("CREDENTIALS_DIRECTORY", folder("cred"), 1);
	s = with("");
	err = find(dir, &s, false, k, &f);
	unsetenv("CREDENTIALS_DIRECTORY");
	ok("systemd's credential is read", !err && !memcmp(k, key1, 32), "%d %s", err, f.text);
	char *text, path[160];
	size_t len;
	snprintf(path, sizeof path, "%s/master.wrapped", dir);
	file_read_private(path, 1 << 16, &text, &len, &f);
	static const char *const members[] = {"key", "mac", "salt", "iv", "id"};
	for (size_t i = 0; i < sizeof members / sizeof *members; i++) {
		char name[60];
		change(dir, members[i]);
		s = passphrase("correct horse battery");
		err = find(dir, &s, false, k, &f);
		snprintf(name, sizeof name, "a changed member %s is found", members[i]);
		ok(name, err == -EACCES || err == -EBADMSG, "%d %s", err, f.text);
		file_write(path, text, len, 0600, false, NULL);
	}
	chmod(path, 0644);
	s = passphrase("correct horse battery");
	err = find(dir, &s, false, k, &f);
	ok("a file that others may read is refused", err == -EPERM, "%d %s", err, f.text);
	chmod(path, 0600);
	free(text);
}

// ---- changes of it ----

static void test_change(void)
{
	struct master_settings s = with("file");
	char dir[100];
	uint8_t k[32];
	struct fault f;
	strcpy(dir, folder("change"));
	put_key(dir, &s, false, key1, true, &f);
	// to a new key under a passphrase: cut short before the database was changed
	s = passphrase("correct horse battery");
	int err = put_key(dir, &s, false, key2, false, &f);
	right = key1;
	s = with("");
	err = err ? err : find(dir, &s, false, k, &f);
	ok("cut short before the database changed: the old key holds, the new one goes", !err && !memcmp(k, key1, 32) && have(dir, "master.key") &&
	   !have(dir, "master.wrapped.next"), "%d %s", err, f.text);
	// and after
	s = passphrase("correct horse battery");
	err = put_key(dir, &s, false, key2, false, &f);
	right = key2;
	s = with("");
	s.passphrase_fd = giving("correct horse battery");
	err = err ? err : find(dir, &s, false, k, &f);
	ok("cut short after it: the new key takes its place", !err && !memcmp(k, key2, 32) && have(dir, "master.wrapped") && !have(dir, "master.key") &&
	   !have(dir, "master.wrapped.next"), "%d %s", err, f.text);
	// back to a file, with the new one in its place and the old one not yet gone
	char from[160], to[160];
	s = with("file");
	err = put_key(dir, &s, false, key1, false, &f);
	snprintf(from, sizeof from, "%s/master.key.next", dir);
	snprintf(to, sizeof to, "%s/master.key", dir);
	rename(from, to);
	right = key1;
	s = with("");
	s.passphrase_fd = giving("correct horse battery");
	err = err ? err : find(dir, &s, false, k, &f);
	ok("cut short between the two files: the one that fits stays", !err && !memcmp(k, key1, 32) && have(dir, "master.key") && !have(dir, "master.wrapped"),
	   "%d %s", err, f.text);
	// from one passphrase to another, which is what the descriptor gives
	strcpy(dir, folder("change2"));
	s = passphrase("correct horse battery");
	put_key(dir, &s, false, key1, true, &f);
	s = passphrase("another horse battery");
	put_key(dir, &s, false, key2, false, &f);
	right = key2;
	s = with("");
	s.passphrase_fd = giving("another horse battery");
	err = find(dir, &s, false, k, &f);
	ok("a passphrase that is wrong for one file is tried with the next", !err && !memcmp(k, key2, 32), "%d %s", err, f.text);
	s = passphrase("a third horse battery");
	put_key(dir, &s, false, key1, false, &f);
	s = with("");
	s.passphrase_fd = giving("a wrong horse battery");
	int number = s.passphrase_fd - 1;
	err = find(dir, &s, false, k, &f);
	ok("wrong for all: it is said", err == -EACCES && strstr(f.text, "is wrong"), "%d %s", err, f.text);
	err = find(dir, &s, false, k, &f);
	ok("a descriptor gives one secret, and stays taken", err == -EINVAL && strstr(f.text, "once") && fcntl(number, F_GETFD) >= 0, "%d %s", err, f.text);
	strcpy(dir, folder("change"));
	s = with("");
	right = key2;
	err = find(dir, &s, false, k, &f);
	ok("no key that fits is said, and nothing is removed", err == -EKEYREJECTED && have(dir, "master.key"), "%d %s", err, f.text);
}

// ---- TPM ----

static pid_t swtpm;
static char where[120];

static bool start_tpm(const char *state)
{
	char dir[120], server[160];
	struct tpm t;
	snprintf(dir, sizeof dir, "dir=%s", folder(state));
	snprintf(where, sizeof where, "unix:%s/%s.socket", work, state);
	snprintf(server, sizeof server, "type=unixio,path=%s/%s.socket", work, state);
	swtpm = fork();
	if (swtpm == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 1);
		dup2(null, 2);
		execlp("swtpm", "swtpm", "socket", "--tpm2", "--tpmstate", dir, "--server", server, "--flags", "not-need-init,startup-clear", (char *)NULL);
		_exit(127);
	}
	for (int k = 0; k < 6000; k++) {
		if (!tpm_open(&t, where, NULL)) {
			tpm_close(&t);
			return true;
		}
		if (waitpid(swtpm, NULL, WNOHANG) == swtpm)
			break;
		nanosleep(&(struct timespec){0, 20000000}, NULL);
	}
	swtpm = 0;
	return false;
}

static void stop_tpm(void)
{
	if (swtpm > 0) {
		kill(swtpm, SIGTERM);
		waitpid(swtpm, NULL, 0);
	}
	swtpm = 0;
}

static void extend(unsigned int pcr)
{
	uint8_t c[10 + 4 + 4 + 9 + 4 + 2 + 32] = {0x80, 0x02, 0, 0, 0, sizeof c, 0, 0, 1, 0x82, 0, 0, 0, (uint8_t)pcr, 0, 0, 0, 9, 0x40, 0, 0, 9,
						   0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0x0b, 7}, answer[TPM_MAX];
	struct tpm t;
	size_t n;
	if (!tpm_open(&t, where, NULL)) {
		t.transmit(&t, c, sizeof c, answer, &n, NULL);
		tpm_close(&t);
	}
}

static struct master_settings tpm(const char *pcrs)
{
	struct master_settings s = with("tpm");
	strcpy(s.tpm, where);
	strcpy(s.pcrs, pcrs);
	return s;
}

static void test_tpm(void)
{
	struct master_settings s;
	char plain[100], bound[100], again[100];
	uint8_t k[32];
	struct fault f;
	if (!start_tpm("tpm1")) {
		lacks("the TPM's tests", "/usr/bin/swtpm", "it does not start");
		return;
	}
	right = key1;
	strcpy(plain, folder("tpm-plain"));
	strcpy(bound, folder("tpm-bound"));
	s = tpm("");
	int err = put_key(plain, &s, false, key1, true, &f);
	ok("a TPM seals the key", !err, "%d %s", err, f.text);
	err = find(plain, &s, false, k, &f);
	ok("and gives it back", !err && !memcmp(k, key1, 32), "%d %s", err, f.text);
	s = tpm("7,16,23");
	err = put_key(bound, &s, false, key1, true, &f);
	ok("also bound to PCRs", !err, "%d %s", err, f.text);
	for (int i = 0; i < 20 && !err; i++) // nothing is left behind in it: sessions and keys would fill it up
		err = find(bound, &s, false, k, &f);
	ok("which gives it back as often as it is asked", !err && !memcmp(k, key1, 32), "%d %s", err, f.text);
	strcpy(again, folder("tpm-again"));
	struct master_settings same = tpm("");
	err = master_same_way(bound, &same, &f);
	ok("another key in the same way", !err && !strcmp(same.with, "tpm"), "%d %s %s", err, f.text, same.with);
	err = put_key(again, &same, false, key1, true, &f);
	ok("is kept", !err && !find(again, &s, false, k, &f), "%d %s", err, f.text);
	extend(16);
	err = find(again, &s, false, k, &f);
	ok("and bound to the same PCRs", err == -EPERM && strstr(f.text, "PCR 16 "), "%d %s", err, f.text);
	err = find(bound, &s, false, k, &f);
	ok("a changed PCR is named, and what to do", err == -EPERM && strstr(f.text, "PCR 16 ") && strstr(f.text, "rekey-master"), "%d %s", err, f.text);
	err = find(plain, &s, false, k, &f);
	ok("the other does not care", !err, "%d %s", err, f.text);
	// a second way beside it
	s = passphrase("correct horse battery");
	err = put_key(bound, &s, true, key1, true, &f);
	s = with("");
	strcpy(s.tpm, where);
	s.passphrase_fd = giving("correct horse battery");
	err = err ? err : find(bound, &s, false, k, &f);
	char ways[64];
	master_describe(bound, ways, sizeof ways);
	ok("a passphrase beside it opens then", !err && !memcmp(k, key1, 32) && !strcmp(ways, "tpm, passphrase"), "%d %s %s", err, f.text, ways);
	s = tpm("99");
	err = put_key(folder("tpm-bad"), &s, false, key1, true, &f);
	ok("a PCR that does not exist is refused", err == -EINVAL && strstr(f.text, "99"), "%d %s", err, f.text);
	s = tpm("");
	change(plain, "private");
	err = find(plain, &s, false, k, &f);
	ok("what was changed is not taken", err == -EBADMSG, "%d %s", err, f.text);
	change(plain, "private");
	stop_tpm();
	err = find(plain, &s, false, k, &f);
	ok("no TPM is told", err < 0 && err != -ENOENT && strstr(f.text, "cannot reach the TPM"), "%d %s", err, f.text);
	if (start_tpm("tpm2")) {
		s = tpm("");
		err = find(plain, &s, false, k, &f);
		ok("another TPM is told", err == -EKEYREJECTED && strstr(f.text, "is not the one"), "%d %s", err, f.text);
	}
	stop_tpm();
}

// ---- PKCS#11 ----

static const char *module;

static int tool(const char *const argv[])
{
	int status = -1;
	pid_t pid = fork();
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 1);
		dup2(null, 2);
		execvp(argv[0], (char *const *)argv);
		_exit(127);
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && !status ? 0 : -1;
}

static struct master_settings token(const char *name, const char *label, const char *pin)
{
	struct master_settings s = with("pkcs11");
	strcpy(s.module, module);
	strcpy(s.token, name);
	strcpy(s.label, label);
	s.pin_fd = giving(pin);
	return s;
}

int softhsm_make_keys(const char *module, const char *token, const char *pin); // softhsm.c

static void test_pkcs11(void)
{
	static const struct { const char *label, *how; } kinds[] = {{"gcm", "aes-gcm"}, {"wrap", "aes-wrap-pad"}, {"rsa", "rsa-oaep-1"}};
	static const char *const places[] = {"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"};
	const char *const init[] = {"softhsm2-util", "--init-token", "--free", "--label", "broker", "--pin", "1234", "--so-pin", "5678", NULL};
	struct master_settings s;
	char conf[160], text[200], path[160], *file;
	uint8_t k[32];
	size_t len;
	struct fault f;
	for (size_t i = 0; i < 2 && !module; i++)
		module = access(places[i], R_OK) ? NULL : places[i];
	snprintf(conf, sizeof conf, "%s/softhsm.conf", work);
	int n = snprintf(text, sizeof text, "directories.tokendir = %s\nobjectstore.backend = file\nlog.level = ERROR\n", folder("tokens"));
	file_write(conf, text, (size_t)n, 0600, false, NULL);
	setenv("SOFTHSM2_CONF", conf, 1);
	if (!module || tool(init)) {
		lacks("the token's tests", "/usr/bin/softhsm2-util", "no token can be made");
		return;
	}
	int err = softhsm_make_keys(module, "broker", "1234");
	if (!ok("keys are made in the token", !err, "%d", err))
		return;
	right = key1;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		char name[80], *dir = folder(kinds[i].how), want[60];
		s = token("broker", kinds[i].label, "1234");
		err = put_key(dir, &s, false, key1, true, &f);
		snprintf(path, sizeof path, "%s/master.wrapped", dir);
		snprintf(want, sizeof want, "\"how\": \"%s\"", kinds[i].how);
		file = NULL;
		bool said = !err && !file_read(path, 1 << 16, &file, &len, NULL) && strstr(file, want);
		snprintf(name, sizeof name, "a token's key wraps it: %s", kinds[i].how);
		ok(name, said, "%d %s %s", err, f.text, file ? file : "");
		free(file);
		s = token("broker", kinds[i].label, "1234");
		err = find(dir, &s, false, k, &f);
		snprintf(name, sizeof name, "and gives it back: %s", kinds[i].how);
		ok(name, !err && !memcmp(k, key1, 32), "%d %s", err, f.text);
		change(dir, "wrapped");
		s = token("broker", kinds[i].label, "1234");
		err = find(dir, &s, false, k, &f);
		snprintf(name, sizeof name, "what was changed is not taken: %s", kinds[i].how);
		ok(name, err == -EBADMSG, "%d %s", err, f.text);
	}
	char *dir = folder("token");
	s = token("broker", "gcm", "1234");
	put_key(dir, &s, false, key1, true, &f);
	s = token("broker", "gcm", "9999");
	err = find(dir, &s, false, k, &f);
	ok("a wrong PIN is told", err == -EACCES && strstr(f.text, "PIN") && strstr(f.text, "wrong"), "%d %s", err, f.text);
	// what is wrapped twice, as while the key is changed, is tried once
	struct master_secrets known = {.have_pin = false};
	s = token("broker", "gcm", "1234");
	put_key(dir, &s, false, key1, false, &f);
	s = token("broker", "gcm", "9999");
	err = master_read(dir, MASTER_WRAPPED, &s, &known, k, &f);
	int again = master_read(dir, MASTER_WRAPPED_NEXT, &s, &known, k, &f);
	master_secrets_wipe(&known);
	ok("a wrong PIN is not tried again, which would lock the token", err == -EACCES && again == -EACCES && strstr(f.text, "tried once"), "%d %d %s", err, again, f.text);
	s = token("broker", "gcm", "9999");
	err = find(dir, &s, false, k, &f);
	ok("nor at a start", err == -EACCES && strstr(f.text, "PIN") && have(dir, "master.wrapped.next"), "%d %s", err, f.text);
	snprintf(path, sizeof path, "%s/master.wrapped.next", dir);
	unlink(path);
	s = token("brokers", "gcm", "1234");
	err = put_key(folder("t2"), &s, false, key1, true, &f);
	ok("a missing token is told, with those that are there", err == -ENODEV && strstr(f.text, "'brokers'") && strstr(f.text, "'broker'"), "%d %s", err, f.text);
	s = token("broker", "nokey", "1234");
	err = put_key(folder("t3"), &s, false, key1, true, &f);
	ok("a missing key, too", err == -ENOKEY && strstr(f.text, "'nokey'"), "%d %s", err, f.text);
	s = token("broker", "gcm", "1234");
	strcpy(s.module, "/nonexistent.so");
	err = put_key(folder("t4"), &s, false, key1, true, &f);
	ok("a missing module, too", err == -ENODEV && strstr(f.text, "cannot load"), "%d %s", err, f.text);
	snprintf(path, sizeof path, "%s/pin", work);
	file_write(path, "1234\n", 5, 0644, false, NULL);
	s = token("broker", "gcm", "");
	close(s.pin_fd - 1);
	s.pin_fd = 0;
	strcpy(s.pin_file, path);
	dir = folder("token");
	err = find(dir, &s, false, k, &f);
	ok("a PIN in a file that others may read is refused", err == -EPERM, "%d %s", err, f.text);
	chmod(path, 0600);
	err = find(dir, &s, false, k, &f);
	ok("in a private one it is taken", !err && !memcmp(k, key1, 32), "%d %s", err, f.text);
}

int main(void)
{
	if (!test_folder(work, "master"))
		return 1;
	signal(SIGPIPE, SIG_IGN);
	test_file();
	test_passphrase();
	test_change();
	test_tpm();
	test_pkcs11();
	return ok_failed ? 1 : 0;
}
