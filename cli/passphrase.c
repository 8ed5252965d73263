// SPDX-License-Identifier: Apache-2.0
// See passphrase.h. The terminal shows again what is typed when this returns.
#include "cli/passphrase.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>

#include "cli/cli.h"
#include "lib/file.h"

const char *cli_passphrase_file;

static int from_file(char *out, int size)
{
	struct fault f = {""};
	char *text;
	size_t len;

	if (file_read_private(cli_passphrase_file, 4096, &text, &len, &f)) {
		cli_fail(&f);
		return -1;
	}
	size_t n = strcspn(text, "\r\n");
	int got = n && n < (size_t)size ? (int)n : -1;
	if (got > 0)
		memcpy(out, text, n);
	free_wiped(text, len);
	return got;
}

// One line, unseen. Its length, -1 without a terminal.
static int ask(FILE *tty, const char *question, const char *path, char *out, int size)
{
	struct termios shown, hidden;

	if (tcgetattr(fileno(tty), &shown))
		return -1;
	hidden = shown;
	hidden.c_lflag &= ~(tcflag_t)ECHO;
	fprintf(tty, "%s %s: ", question, path);
	fflush(tty);
	tcsetattr(fileno(tty), TCSAFLUSH, &hidden);
	bool got = fgets(out, size, tty) != NULL;
	tcsetattr(fileno(tty), TCSAFLUSH, &shown);
	fputc('\n', tty);
	if (!got)
		return -1;
	out[strcspn(out, "\r\n")] = '\0';
	return (int)strlen(out);
}

int cli_passphrase(char *out, int size, int writing, void *path)
{
	char again[1024];

	if (cli_passphrase_file)
		return from_file(out, size);
	FILE *tty = fopen("/dev/tty", "r+e");
	if (!tty) {
		fprintf(stderr, "coffer: %s needs a passphrase, and there is no terminal to ask on: --passphrase-file FILE\n", (const char *)path);
		return -1;
	}
	setvbuf(tty, NULL, _IONBF, 0);	// no copy of it stays in a buffer
	int n = ask(tty, writing ? "New passphrase for" : "Passphrase of", path, out, size);
	if (n > 0 && writing && (ask(tty, "Once more, for", path, again, sizeof(again)) != n || memcmp(out, again, (size_t)n))) {
		fprintf(stderr, "coffer: the two differ\n");
		n = -1;
	}
	explicit_bzero(again, sizeof(again));
	fclose(tty);
	return n > 0 ? n : -1;
}
