// SPDX-License-Identifier: Apache-2.0
// Passphrases and PINs: from a descriptor, a systemd credential, a private file or the terminal; never from an argument or the environment.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "broker/master.h"
#include "lib/file.h"

#define LEAST 8 // of a new passphrase

void master_secrets_wipe(struct master_secrets *s)
{
	explicit_bzero(s, sizeof *s);
}

// Up to the end or MASTER_SECRET_MAX - 1 bytes; one newline at the end does not count.
static int read_fd(int fd, const char *what, bool line, char out[MASTER_SECRET_MAX], struct fault *f)
{
	size_t n = 0;
	for (;;) {
		ssize_t got = read(fd, out + n, MASTER_SECRET_MAX - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return fault_errno(f, errno, "cannot read the %s", what);
		n += (size_t)got;
		if (n == MASTER_SECRET_MAX)
			return fault_set(f, -EINVAL, "the %s is longer than %d bytes", what, MASTER_SECRET_MAX - 1);
		if (!got || (line && n && out[n - 1] == '\n'))
			break;
	}
	if (n && out[n - 1] == '\n')
		n--;
	out[n] = '\0';
	if (!n || strlen(out) != n)
		return fault_set(f, -EINVAL, "the %s is empty, or has a NUL in it%s", what, line ? "" : " (a descriptor gives one secret, once)");
	return 0;
}

// A descriptor gives one secret. Who asks it again finds nothing, rather than whatever was opened under its number since.
static void spend(int fd)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (null < 0 || dup3(null, fd, O_CLOEXEC) < 0)
		close(fd);
	if (null >= 0)
		close(null);
}

static int read_terminal(const char *prompt, const char *what, char out[MASTER_SECRET_MAX], struct fault *f)
{
	struct termios before, quiet;
	int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);
	if (tty < 0 || tcgetattr(tty, &before)) {
		if (tty >= 0)
			close(tty);
		return fault_set(f, -ENOKEY, "the %s is not known: give it by a descriptor or a systemd credential (docs/broker-operations.md), or start "
				 "this on a terminal", what);
	}
	quiet = before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK);
	tcsetattr(tty, TCSAFLUSH, &quiet);
	dprintf(tty, "%s: ", prompt);
	int err = read_fd(tty, what, true, out, f);
	tcsetattr(tty, TCSAFLUSH, &before);
	dprintf(tty, "\n");
	close(tty);
	return err;
}

static int read_text(const char *text, size_t n, const char *what, char out[MASTER_SECRET_MAX], struct fault *f)
{
	if (n && text[n - 1] == '\n')
		n--;
	if (!n || n >= MASTER_SECRET_MAX || memchr(text, '\0', n))
		return fault_set(f, -EINVAL, "the %s is empty, too long, or has a NUL in it", what);
	memcpy(out, text, n);
	out[n] = '\0';
	return 0;
}

// systemd makes the file readable for the service alone, by means that the file's mode does not always show.
static int read_credential(const char *credential, const char *what, char out[MASTER_SECRET_MAX], struct fault *f)
{
	const char *dir = getenv("CREDENTIALS_DIRECTORY");
	char path[PATH_MAX], *text;
	size_t len;
	if (!dir || snprintf(path, sizeof path, "%s/%s", dir, credential) >= (int)sizeof path || access(path, F_OK))
		return -ENOENT;
	int err = file_read(path, MASTER_SECRET_MAX, &text, &len, f);
	if (err)
		return err;
	err = read_text(text, len, what, out, f);
	free_wiped(text, len);
	return err;
}

int master_ask(const char *what, int fd, const char *credential, const char *file, bool fresh, char out[MASTER_SECRET_MAX], struct fault *f)
{
	char again[MASTER_SECRET_MAX], prompt[200], *text;
	size_t len;
	int err;
	if (fd) {
		err = read_fd(fd - 1, what, false, out, f);
		spend(fd - 1);
	} else if ((err = read_credential(credential, what, out, f)) != -ENOENT) {
		return err;
	} else if (*file) {
		err = file_read_private(file, MASTER_SECRET_MAX, &text, &len, f);
		if (err)
			return err;
		err = read_text(text, len, what, out, f);
		free_wiped(text, len);
	} else {
		snprintf(prompt, sizeof prompt, "%s%s", fresh ? "New " : "", what);
		err = read_terminal(prompt, what, out, f);
		if (!err && fresh) {
			err = read_terminal("The same again", what, again, f);
			if (!err && strcmp(again, out))
				err = fault_set(f, -EINVAL, "the two are not the same");
			explicit_bzero(again, sizeof again);
		}
	}
	return err;
}

int master_get_passphrase(const struct master_settings *s, struct master_secrets *known, bool fresh, struct fault *f)
{
	if (known->have_passphrase)
		return 0;
	int err = master_ask("passphrase of the broker's master key", s->passphrase_fd, "coffer-passphrase", "", fresh, known->passphrase, f);
	if (!err && fresh && strlen(known->passphrase) < LEAST)
		err = fault_set(f, -EINVAL, "a passphrase of fewer than %d characters protects nothing", LEAST);
	if (err)
		explicit_bzero(known->passphrase, sizeof known->passphrase);
	known->have_passphrase = !err;
	return err;
}
