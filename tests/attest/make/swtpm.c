// SPDX-License-Identifier: Apache-2.0
// See swtpm.h.
#include "tests/attest/make/swtpm.h"

#include <fcntl.h>
#include <openssl/pem.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/tpm.h"
#include "tests/folder.h"

char swtpm_where[100];
static char dir[64];
static pid_t swtpm;

__attribute__((format(printf, 2, 3))) static void write_text(const char *name, const char *format, ...)
{
	char path[128], text[512];
	va_list ap;
	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	snprintf(path, sizeof path, "%s/%s", dir, name);
	file_write(path, text, strlen(text), 0644, false, NULL);
}

// Runs a command without output; its exit code.
static int command(const char *const *argv, bool wait, pid_t *pid)
{
	int status = -1;
	*pid = fork();
	if (*pid == 0) {
		int null = open("/dev/null", O_RDWR);
		dup2(null, 1);
		dup2(null, 2);
		execvp(argv[0], (char **)argv);
		_exit(127);
	}
	if (wait && (*pid < 0 || waitpid(*pid, &status, 0) < 0))
		return -1;
	return wait && WIFEXITED(status) ? WEXITSTATUS(status) : wait ? -1 : 0;
}

// A TPM as a maker ships it: with endorsement keys, and certificates by an authority of its own.
static bool manufacture(void)
{
	char state[100], ca[100], conf[100];
	pid_t pid;
	snprintf(state, sizeof state, "%s/state", dir);
	snprintf(ca, sizeof ca, "%s/ca", dir);
	snprintf(conf, sizeof conf, "%s/setup.conf", dir);
	if (mkdir(state, 0700) || mkdir(ca, 0700))
		return false;
	write_text("setup.conf", "create_certs_tool=/usr/bin/swtpm_localca\ncreate_certs_tool_config=%s/localca.conf\n"
		   "create_certs_tool_options=%s/localca.options\nactive_pcr_banks=sha256\n", dir, dir);
	write_text("localca.conf", "statedir=%s\nsigningkey=%s/signkey.pem\nissuercert=%s/issuercert.pem\ncertserial=%s/certserial\n", ca, ca, ca, ca);
	write_text("localca.options", "--platform-manufacturer Test\n--platform-version 1\n--platform-model Test\n");
	return command((const char *const[]){"swtpm_setup", "--tpm2", "--tpmstate", state, "--create-ek-cert", "--config", conf, NULL}, true, &pid) == 0;
}

bool swtpm_start(const char *state_name)
{
	char state[120], server[120];
	struct tpm t;
	snprintf(state, sizeof state, "dir=%s/%s", dir, state_name);
	mkdir(state + 4, 0700);
	snprintf(swtpm_where, sizeof swtpm_where, "unix:%s/socket", dir);
	snprintf(server, sizeof server, "type=unixio,path=%s/socket", dir);
	command((const char *const[]){"swtpm", "socket", "--tpm2", "--tpmstate", state, "--server", server, "--flags", "not-need-init,startup-clear", NULL},
		false, &swtpm);
	for (int k = 0; k < 6000; k++) {
		if (!tpm_open(&t, swtpm_where, NULL)) {
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

void swtpm_stop(void)
{
	if (swtpm > 0) {
		kill(swtpm, SIGTERM);
		waitpid(swtpm, NULL, 0);
	}
	swtpm = 0;
}

char *swtpm_certificate(const char *name)
{
	char path[128], *pem;
	size_t len;
	snprintf(path, sizeof path, "%s/ca/%s", dir, name);
	return file_read(path, 1 << 16, &pem, &len, NULL) ? NULL : pem;
}

bool swtpm_begin(void)
{
	return test_folder(dir, "tpm") && manufacture();
}

void swtpm_end(void)
{
	swtpm_stop();
}

EVP_PKEY *swtpm_key(const char *name)
{
	char *pem = swtpm_certificate(name);
	BIO *in = pem ? BIO_new_mem_buf(pem, -1) : NULL;
	EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, NULL, NULL) : NULL;
	BIO_free(in);
	free(pem);
	return key;
}
