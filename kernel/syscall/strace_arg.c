// SPDX-License-Identifier: Apache-2.0
// The decoder's words: types of the table's argument text, numbers, named values, strings, errors. Reads user memory
// through the copy helpers only; takes no locks.
#include "kernel/include/kstring.h"
#include "kernel/include/uapi.h"
#include "kernel/include/usercopy.h"
#include "kernel/syscall/strace.h"

#define SHOWN 64u	// bytes of a string or buffer

static const struct {
	const char *name, *words;
} sets[] = {
#define SET(name, words) { #name, words },
#include "kernel/syscall/flags.h"
#undef SET
};

static const struct {
	int nr;
	const char *name, *text;
} errors[] = {
#define ERR(nr, name, text) { nr, #name, text },
#include "kernel/syscall/errnos.h"
#undef ERR
};

bool strace_next(const char **p, struct strace_type *t)
{
	const char *s = *p;
	size_t n = 0;

	while (*s == ' ')
		s++;
	while (*s && *s != ':' && *s != '=')
		s++;
	if (*s != ':')
		return false;
	s++;
	t->mark = strchr("|#*>+", *s) ? *s++ : 0;
	while (*s && *s != ' ' && n < sizeof(t->name) - 1)
		t->name[n++] = *s++;
	t->name[n] = 0;
	*p = s;
	return true;
}

// The next WORD=hex of a set; false at its end.
static bool next_word(const char **p, const char **word, int *len, u64 *value)
{
	const char *s = *p;

	while (*s == ' ')
		s++;
	if (!*s)
		return false;
	*word = s;
	while (*s != '=')
		s++;
	*len = (int)(s - *word);
	*value = 0;
	for (s++; *s && *s != ' '; s++)
		*value = *value << 4 | (u64)(*s <= '9' ? *s - '0' : *s - 'a' + 10);
	*p = s;
	return true;
}

void strace_words(struct strace_line *l, const char *set, u64 v, bool bits)
{
	const char *words = "", *word;
	bool some = false;
	u64 value;
	int n;

	for (u32 i = 0; i < ARRAY_SIZE(sets); i++)
		if (!strcmp(sets[i].name, set))
			words = sets[i].words;
	while (next_word(&words, &word, &n, &value)) {
		// O_RDONLY is worth a word beside other flags, PROT_NONE and the like only alone
		bool hit = value ? bits ? (v & value) == value : v == value
				 : !v || (!strcmp(set, "open") && !(v & 0x200003));
		if (!hit)
			continue;
		strace_say(l, "%s%.*s", some ? "|" : "", n, word);
		some = true;
		if (!bits)
			return;
		v &= ~value;
	}
	if (v || !some)
		strace_say(l, some ? "|%#lx" : v ? "%#lx" : "0", v);
}

static void quoted(struct strace_line *l, const char *s, size_t n, bool cut)
{
	static const char plain[] = "\n\t\r\"\\";
	char out[SHOWN * 4 + 8], *o = out;

	*o++ = '"';
	for (size_t i = 0; i < n; i++) {
		u8 c = (u8)s[i];
		const char *special = c ? strchr(plain, c) : NULL;
		if (special) {
			*o++ = '\\';
			*o++ = "ntr\"\\"[special - plain];
		} else if (c >= 32 && c < 127) {
			*o++ = (char)c;
		} else if (i + 1 < n && s[i + 1] >= '0' && s[i + 1] <= '9') {
			o += scnprintf(o, 5, "\\%03o", c);
		} else {
			o += scnprintf(o, 5, "\\%o", c);
		}
	}
	*o = 0;
	strace_say(l, "%s\"%s", out, cut ? "..." : "");
}

void strace_bytes(struct strace_line *l, u64 addr, u64 len)
{
	char b[SHOWN];
	size_t n = min(len, (u64)SHOWN);

	if (!addr || copy_from_user(b, U(addr), n))
		strace_say(l, addr ? "%#lx" : "NULL", addr);
	else
		quoted(l, b, n, len > n);
}

void strace_string(struct strace_line *l, u64 addr)
{
	char s[SHOWN + 1];
	ssize_t n;

	if (!addr) {
		strace_say(l, "NULL");
		return;
	}
	n = user_str(s, U(addr), sizeof(s));
	if (n == -EFAULT)
		strace_say(l, "%#lx", addr);
	else
		quoted(l, s, n < 0 ? SHOWN : (size_t)n, n < 0);
}

void strace_signal_name(struct strace_line *l, int sig)
{
	static const char *const names[] = { "0", "SIGHUP", "SIGINT", "SIGQUIT", "SIGILL", "SIGTRAP", "SIGABRT", "SIGBUS", "SIGFPE", "SIGKILL",
		"SIGUSR1", "SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT", "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN",
		"SIGTTOU", "SIGURG", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO", "SIGPWR", "SIGSYS" };

	if (sig >= 0 && sig < (int)ARRAY_SIZE(names))
		strace_say(l, "%s", names[sig]);
	else if (sig >= 32 && sig <= 64)
		strace_say(l, "SIGRT_%d", sig - 32);
	else
		strace_say(l, "%d", sig);
}

static bool scalar(struct strace_line *l, const char *type, u64 v)
{
	if (!strcmp(type, "d") || !strcmp(type, "fd") || !strcmp(type, "pid") || !strcmp(type, "ms"))
		strace_say(l, "%d", (int)v);
	else if (!strcmp(type, "u"))
		strace_say(l, "%u", (u32)v);
	else if (!strcmp(type, "n"))
		strace_say(l, "%lu", v);
	else if (!strcmp(type, "l") || !strcmp(type, "off"))
		strace_say(l, "%ld", (s64)v);
	else if (!strcmp(type, "o"))
		strace_say(l, "0%o", (u32)v);
	else if (!strcmp(type, "x"))
		strace_say(l, v ? "%#lx" : "0", v);
	else if (!strcmp(type, "dirfd"))
		strace_say(l, (int)v == AT_FDCWD ? "AT_FDCWD" : "%d", (int)v);
	else if (!strcmp(type, "sig"))
		strace_signal_name(l, (int)v);
	else
		return false;
	return true;
}

void strace_arg(struct strace_line *l, const struct strace_type *t, u32 i, bool over, long ret)
{
	u64 v = l->v[i], next = i < 5 ? l->v[i + 1] : 0;

	if (t->mark == '|' || t->mark == '#') {
		strace_words(l, t->name, (u32)v, t->mark == '|');
	} else if (t->mark) {
		if (!v || (over && t->mark == '>' && ret < 0) || !strace_struct(l, t->name, v, next, over, ret))
			strace_say(l, v ? "%#lx" : "NULL", v);
	} else if (!strcmp(t->name, "path") || !strcmp(t->name, "str")) {
		strace_string(l, v);
	} else if (!scalar(l, t->name, v)) {
		strace_say(l, v ? "%#lx" : "NULL", v);
	}
}

void strace_result(struct strace_line *l, const char *args, long ret)
{
	static const struct {
		int nr;
		const char *text;
	} restart[] = {
		{ ERESTARTSYS, "ERESTARTSYS (To be restarted if SA_RESTART is set)" },
		{ ERESTARTNOINTR, "ERESTARTNOINTR (To be restarted)" },
		{ ERESTARTNOHAND, "ERESTARTNOHAND (To be restarted if no handler)" },
		{ ERESTART_RESTARTBLOCK, "ERESTART_RESTARTBLOCK (Interrupted by signal)" },
	};
	const char *type = strchr(args, '=');

	if (ret < 0 && ret >= -MAX_ERRNO) {
		for (u32 i = 0; i < ARRAY_SIZE(errors); i++)
			if (errors[i].nr == -ret) {
				strace_say(l, " = -1 %s (%s)", errors[i].name, errors[i].text);
				return;
			}
		for (u32 i = 0; i < ARRAY_SIZE(restart); i++)
			if (restart[i].nr == -ret) {
				strace_say(l, " = ? %s", restart[i].text);
				return;
			}
	}
	strace_say(l, " = ");
	if (!type || !scalar(l, type + 1, (u64)ret))
		strace_say(l, type && ret ? "%#lx" : "%ld", ret);
}
