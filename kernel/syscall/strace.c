// SPDX-License-Identifier: Apache-2.0
// `coffer run --debug-strace`: entries of the table point to strace_call, which prints a call in strace's form.
// A line is written when its call is over; a call that sleeps or never returns is written at once ("<unfinished ...>",
// then "<... NAME resumed>"). User memory is read through the copy helpers, before the call for what it reads and
// after it for what it writes. Takes no locks.
#include "kernel/syscall/strace.h"
#include "kernel/syscall/syscall.h"
#include "kernel/include/alloc.h"
#include "kernel/include/boot.h"
#include "kernel/include/kstring.h"
#include "kernel/include/platform.h"
#include "kernel/include/strace.h"
#include "kernel/include/task.h"
#include "kernel/include/usercopy.h"

bool strace_on;
enum { DESC = 1, FILE = 2, MEMORY = 4, PROCESS = 8, SIGNAL = 16, IPC = 32, NETWORK = 64, TIME = 128, SYSTEM = 256 };

static const struct row {
	const char *name, *args;
	u32 class;
} rows[NR_TABLE] = {
#define SYS(nr, name, cls, state, args, note) [nr] = { #name, args, cls },
#include "kernel/syscall/table.h"
#undef SYS
};

const char *strace_row_name(u32 nr) { return nr < NR_TABLE && rows[nr].name ? rows[nr].name : "?"; }

static bool word_is(const char *w, size_t n, const char *name) { return strlen(name) == n && !memcmp(w, name, n); }

// Does the filter word name this row: itself or one of its classes? Paths make a row `file`, descriptors `desc`.
static bool matches(const struct row *r, const char *w, size_t n)
{
	static const char *const class[] = { "desc", "file", "memory", "process", "signal", "ipc", "network", "time", "system" };

	if (word_is(w, n, r->name) || word_is(w, n, "all"))
		return true;
	for (u32 i = 0; i < ARRAY_SIZE(class); i++)
		if (word_is(w, n, class[i]))
			return r->class & 1u << i || (1u << i == FILE && strstr(r->args, ":path")) ||
			       (1u << i == DESC && (strstr(r->args, ":fd") || strstr(r->args, "dirfd")));
	return false;
}

// `coffer run --debug-missing`: of calls with a path nothing but the names that are not there, to a list of the host's.
static bool missing_only;

bool strace_wants(u32 nr)
{
	const char *f = boot_info.strace_filter;

	if (!boot_info.strace || !boot_info.debug)
		return false;
	missing_only = !strcmp(f, "missing");
	if (missing_only)
		return rows[nr].name && strstr(rows[nr].args, "path:path");
	strace_on = true;
	if (!*f)
		return true;
	if (!rows[nr].name)
		return false;
	while (*f) {
		const char *end = strchr(f, ',');
		size_t n = end ? (size_t)(end - f) : strlen(f);
		if (matches(&rows[nr], f, n))
			return true;
		f += n + (end != NULL);
	}
	return false;
}

void strace_say(struct strace_line *l, const char *fmt, ...)
{
	va_list ap;
	int room = (int)sizeof(l->text) - l->n - (l->closing ? 2 : 400); // what ends a line always fits

	if (room < 2)
		return;
	va_start(ap, fmt);
	int n = vsnprintf(l->text + l->n, (size_t)room, fmt, ap);
	va_end(ap);
	l->n += min(n, room - 1);
}

static void begin(struct strace_line *l, int tid) { l->n = scnprintf(l->text, sizeof(l->text), "[%d] ", tid); }

static void emit(struct strace_line *l, const char *end)
{
	l->n += scnprintf(l->text + l->n, sizeof(l->text) - (size_t)l->n, "%s\n", end);
	pf_log(l->text, (size_t)l->n);
	l->n = 0;
}

// Prints arguments: before the call up to the first that the call writes, after it the rest.
static void arguments(struct strace_line *l, bool over, long ret)
{
	struct strace_type t;
	char last[sizeof(t.name)] = "";
	bool resumed = l->broken;
	const char *p;

	for (; l->arg < 6; l->arg++) {
		p = l->args;
		if (!strace_next(&p, &t) || (!over && t.mark == '>'))
			return;
		if (!strcmp(t.name, "o") && l->arg && !strcmp(last, "open") && !(l->v[l->arg - 1] & (O_CREAT | __O_TMPFILE)))
			l->arg = 6; // the mode counts only for a new file
		if (l->arg == 6)
			return;
		strlcpy(last, t.name, sizeof(last));
		if (l->arg && !resumed)
			strace_say(l, ", ");
		resumed = false;
		strace_arg(l, &t, l->arg, over, ret);
		l->args = p;
	}
}

static void finish(struct strace_line *l, long ret)
{
	if (l->broken) {
		begin(l, l->tid);
		strace_say(l, "<... %s resumed>", strace_row_name(l->nr));
	}
	arguments(l, true, ret);
	l->closing = true;
	strace_say(l, ")");
	strace_result(l, rows[l->nr].args ? rows[l->nr].args : "", ret);
	strace_ready(l, ret);
	emit(l, "");
}

void strace_sleeps(void)
{
	struct strace_line *l = current->strace;

	if (!l || !l->running || l->broken)
		return;
	l->broken = true;
	emit(l, " <unfinished ...>");
}

void strace_exec(void)
{
	struct strace_line *l = current->strace;

	if (!l)
		return;
	current->strace = NULL;
	finish(l, 0);
	kfree(l);
}

void strace_signal(int sig, int code)
{
	struct strace_line *l = kmalloc(sizeof(*l));

	if (!l)
		return;
	begin(l, current->tid);
	strace_say(l, "--- ");
	strace_signal_name(l, sig);
	strace_say(l, " {si_code=%d} ---", code);
	emit(l, "");
	kfree(l);
}

// Each name once in a while: a program that waits for a file asks again and again. The list has an end.
static bool is_news(const char *path, size_t n)
{
	enum { MOST_BYTES = 1 << 20 };
	static u32 seen[256], listed;
	u32 h = 2166136261u;

	for (size_t i = 0; i < n; i++)
		h = (h ^ (u8)path[i]) * 16777619u;
	if (__atomic_exchange_n(&seen[h % ARRAY_SIZE(seen)], h, __ATOMIC_RELAXED) == h)
		return false;
	return __atomic_fetch_add(&listed, (u32)n, __ATOMIC_RELAXED) < MOST_BYTES;
}

static long missing_call(u32 nr, u64 v[6])
{
	long r = syscall_handler(nr)(v[0], v[1], v[2], v[3], v[4], v[5]);
	const char *args = rows[nr].args;
	char path[256];
	ssize_t n;
	u32 i = 0;

	if (r != -ENOENT)
		return r;
	for (const char *at = strstr(args, "path:path"); args < at; args++)
		i += *args == ' ';
	n = i < 6 ? user_str(path, U(v[i]), sizeof(path)) : -EFAULT;
	if (n > 1 && n < (ssize_t)sizeof(path) - 1 && *path == '/' && is_news(path, (size_t)n)) {
		path[n] = '\n';
		pf_missing(path, (size_t)n + 1);
	}
	return r;
}

long strace_call(u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	struct task *t = current;
	u32 nr = (u32)t->regs->orig_rax;
	struct strace_line *l;
	long r;

	if (missing_only)
		return missing_call(nr, (u64[]){ a, b, c, d, e, f });
	l = kmalloc(sizeof(*l));
	if (!l)
		return syscall_handler(nr)(a, b, c, d, e, f);
	*l = (struct strace_line){ .nr = nr, .tid = t->tid, .args = rows[nr].args ? rows[nr].args : "", .v = { a, b, c, d, e, f } };
	begin(l, current->tid);
	strace_say(l, "%s(", rows[nr].name ? rows[nr].name : "?");
	if (!rows[nr].name)
		strace_say(l, "/* %u */ 0x%lx, 0x%lx, 0x%lx", nr, a, b, c);
	arguments(l, false, 0);
	if (nr == __NR_exit || nr == __NR_exit_group || nr == __NR_rt_sigreturn) {
		emit(l, ") = ?");
		kfree(l);
		return syscall_handler(nr)(a, b, c, d, e, f);
	}
	t->strace = l;
	l->running = true;
	r = syscall_handler(nr)(a, b, c, d, e, f);
	l->running = false;
	t->strace = NULL;
	// not the same task: this host thread is now the vfork child, and its parent's call returns by another way
	finish(l, current == t ? r : current->proc->pid);
	kfree(l);
	return r;
}
