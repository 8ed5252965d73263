// SPDX-License-Identifier: Apache-2.0
// The decoder's structures. Each is copied in once and printed in strace's form. Takes no locks.
#include "kernel/include/kstring.h"
#include "kernel/include/task.h"
#include "kernel/include/uapi.h"
#include "kernel/include/usercopy.h"
#include "kernel/syscall/strace.h"
#include <linux/in6.h>
#include <linux/stat.h>

#define MAX_SHOWN 16u	// elements of an array

static bool take(void *to, u64 addr, size_t n) { return !copy_from_user(to, U(addr), n); }

static void sigset_words(struct strace_line *l, u64 set)
{
	bool inverted, first = true;
	u32 count = 0;

	for (u64 v = set; v; v &= v - 1)
		count++;
	inverted = count > 40;
	strace_say(l, inverted ? "~[" : "[");
	for (int i = 1; i <= 64; i++)
		if (!!(set & SIGBIT(i)) != inverted) {
			if (!first)
				strace_say(l, " ");
			first = false;
			u32 at = (u32)l->n;
			strace_signal_name(l, i);
			if (i < 32 && (u32)l->n > at + 3) { // within sets strace leaves SIG out
				memmove(l->text + at, l->text + at + 3, (size_t)l->n - at - 3);
				l->n -= 3;
			}
		}
	strace_say(l, "]");
}

static bool print_stat(struct strace_line *l, u64 addr)
{
	static const char *const kinds[] = { [1] = "S_IFIFO", [2] = "S_IFCHR", [4] = "S_IFDIR", [6] = "S_IFBLK", [8] = "S_IFREG",
					     [10] = "S_IFLNK", [12] = "S_IFSOCK", [15] = NULL };
	struct stat st;

	if (!take(&st, addr, sizeof(st)))
		return false;
	const char *kind = kinds[st.st_mode >> 12 & 15];
	strace_say(l, "{st_mode=%s|0%o, ", kind ? kind : "0", st.st_mode & 07777);
	if ((st.st_mode & S_IFMT) == S_IFCHR || (st.st_mode & S_IFMT) == S_IFBLK)
		strace_say(l, "st_rdev=makedev(%#lx, %#lx), ...}", (u64)st.st_rdev >> 8 & 0xfff, (u64)st.st_rdev & 0xff);
	else
		strace_say(l, "st_size=%ld, ...}", (s64)st.st_size);
	return true;
}

static bool print_statx(struct strace_line *l, u64 addr)
{
	struct statx st;

	if (!take(&st, addr, sizeof(st)))
		return false;
	strace_say(l, "{stx_mask=");
	strace_words(l, "statx", st.stx_mask, true);
	strace_say(l, ", stx_mode=0%o, stx_size=%lu, ...}", st.stx_mode, (u64)st.stx_size);
	return true;
}

// Pairs of longs: timespec, timeval, arrays of two, itimers (interval first).
static bool print_times(struct strace_line *l, const char *kind, u64 addr)
{
	bool nano = !!strstr(kind, "spec"), interval = !!strchr("i", *kind), two = interval || kind[strlen(kind) - 1] == '2';
	s64 v[4];

	if (!take(v, addr, two ? 32 : 16))
		return false;
	if (two)
		strace_say(l, interval ? "{it_interval=" : "[");
	strace_say(l, "{tv_sec=%ld, tv_%csec=%ld}", v[0], nano ? 'n' : 'u', v[1]);
	if (two) {
		strace_say(l, interval ? ", it_value=" : ", ");
		strace_say(l, "{tv_sec=%ld, tv_%csec=%ld}%c", v[2], nano ? 'n' : 'u', v[3], interval ? '}' : ']');
	}
	return true;
}

static bool print_sigaction(struct strace_line *l, u64 addr)
{
	u64 v[4];	// handler, flags, restorer, mask

	if (!take(v, addr, sizeof(v)))
		return false;
	strace_say(l, v[0] == 0 ? "{sa_handler=SIG_DFL" : v[0] == 1 ? "{sa_handler=SIG_IGN" : "{sa_handler=%#lx", v[0]);
	strace_say(l, ", sa_mask=");
	sigset_words(l, v[3]);
	strace_say(l, ", sa_flags=");
	strace_words(l, "sa", (u32)v[1], true);
	strace_say(l, "}");
	return true;
}

static bool print_iov(struct strace_line *l, u64 addr, u64 n, u64 left)
{
	struct iovec v;

	strace_say(l, "[");
	for (u32 i = 0; i < n; i++) {
		if (i == MAX_SHOWN) {
			strace_say(l, ", ...");
			break;
		}
		if (!take(&v, addr + i * sizeof(v), sizeof(v)))
			return i > 0;
		u64 part = min((u64)v.iov_len, left);
		strace_say(l, i ? ", {iov_base=" : "{iov_base=");
		strace_bytes(l, (u64)v.iov_base, part);
		strace_say(l, ", iov_len=%lu}", (u64)v.iov_len);
		left -= part;
	}
	strace_say(l, "]");
	return true;
}

static bool print_sockaddr(struct strace_line *l, u64 addr, u64 len)
{
	u8 a[128];

	len = min(len, (u64)sizeof(a) - 1);
	if (len < 2 || !take(a, addr, len))
		return false;
	memset(a + len, 0, sizeof(a) - len);
	u16 family = *(u16 *)a;
	strace_say(l, "{sa_family=");
	strace_words(l, "af", family, false);
	if (family == 1)
		strace_say(l, a[2] ? ", sun_path=\"%.108s\"" : ", sun_path=@\"%.107s\"", a[2] ? a + 2 : a + 3);
	else if (family == 2)
		strace_say(l, ", sin_port=htons(%u), sin_addr=inet_addr(\"%u.%u.%u.%u\")", a[2] << 8 | a[3], a[4], a[5], a[6], a[7]);
	else if (family == 10) {
		strace_say(l, ", sin6_port=htons(%u), sin6_addr=\"", a[2] << 8 | a[3]);
		for (u32 i = 8; i < 24; i += 2)
			strace_say(l, i > 8 ? ":%x" : "%x", a[i] << 8 | a[i + 1]);
		strace_say(l, "\"");
	}
	strace_say(l, "}");
	return true;
}

static bool print_msghdr(struct strace_line *l, u64 addr, bool over, long ret)
{
	u64 m[7];	// name, namelen, iov, iovlen, control, controllen, flags

	if (!take(m, addr, sizeof(m)))
		return false;
	strace_say(l, "{msg_name=");
	if (!m[0] || !print_sockaddr(l, m[0], (u32)m[1]))
		strace_say(l, m[0] ? "%#lx" : "NULL", m[0]);
	strace_say(l, ", msg_namelen=%u, msg_iov=", (u32)m[1]);
	if (!print_iov(l, m[2], m[3], over ? (u64)ret : U64_MAX))
		strace_say(l, "%#lx", m[2]);
	strace_say(l, ", msg_iovlen=%lu, msg_controllen=%lu, msg_flags=", m[3], m[5]);
	strace_words(l, "msg", (u32)m[6], true);
	strace_say(l, "}");
	return true;
}

static bool print_pollfds(struct strace_line *l, u64 addr, u64 n)
{
	struct pollfd p;

	strace_say(l, "[");
	for (u32 i = 0; i < n; i++) {
		if (i == MAX_SHOWN) {
			strace_say(l, ", ...");
			break;
		}
		if (!take(&p, addr + i * sizeof(p), sizeof(p)))
			return i > 0;
		strace_say(l, "%s{fd=%d, events=", i ? ", " : "", p.fd);
		strace_words(l, "pollev", (u16)p.events, true);
		strace_say(l, "}");
	}
	strace_say(l, "]");
	return true;
}

static bool print_epoll(struct strace_line *l, u64 addr, u64 n, bool many)
{
	struct epoll_event e;

	if (many)
		strace_say(l, "[");
	for (u32 i = 0; i < n && i < MAX_SHOWN; i++) {
		if (!take(&e, addr + i * sizeof(e), sizeof(e)))
			return i > 0;
		strace_say(l, i ? ", {events=" : "{events=");
		strace_words(l, "epollev", e.events, true);
		strace_say(l, ", data=%#lx}", (u64)e.data);
	}
	if (many)
		strace_say(l, n > MAX_SHOWN ? ", ...]" : "]");
	return true;
}

static void limit(struct strace_line *l, const char *name, u64 v)
{
	strace_say(l, "%s", name);
	if (v == U64_MAX)
		strace_say(l, "RLIM64_INFINITY");
	else if (v && v % 1024 == 0)
		strace_say(l, "%lu*1024", v / 1024);
	else
		strace_say(l, "%lu", v);
}

static bool print_siginfo(struct strace_line *l, u64 addr)
{
	siginfo_t s;

	if (!take(&s, addr, sizeof(s)))
		return false;
	strace_say(l, "{si_signo=");
	strace_signal_name(l, s.si_signo);
	strace_say(l, ", si_code=%d", s.si_code);
	if (s.si_signo == SIGCHLD)
		strace_say(l, ", si_pid=%d, si_uid=%u, si_status=%d", s.si_pid, s.si_uid, s.si_status);
	else if (s.si_code <= 0)
		strace_say(l, ", si_pid=%d, si_uid=%u", s.si_pid, s.si_uid);
	strace_say(l, "}");
	return true;
}

static bool print_wstatus(struct strace_line *l, u64 addr, long ret)
{
	u32 s;

	if (ret <= 0 || !take(&s, addr, sizeof(s)))
		return false;
	if ((s & 0x7f) == 0) {
		strace_say(l, "[{WIFEXITED(s) && WEXITSTATUS(s) == %u}]", s >> 8 & 0xff);
	} else if (s == 0xffff) {
		strace_say(l, "[{WIFCONTINUED(s)}]");
	} else {
		bool stopped = (s & 0xff) == 0x7f;
		strace_say(l, stopped ? "[{WIFSTOPPED(s) && WSTOPSIG(s) == " : "[{WIFSIGNALED(s) && WTERMSIG(s) == ");
		strace_signal_name(l, (int)(stopped ? s >> 8 & 0xff : s & 0x7f));
		strace_say(l, !stopped && s & 0x80 ? " && WCOREDUMP(s)}]" : "}]");
	}
	return true;
}

static bool print_strings(struct strace_line *l, u64 addr, bool count_only)
{
	u64 p, n = 0;

	while (take(&p, addr + n * 8, 8) && p && n < 4096) {
		if (!count_only && n < MAX_SHOWN) {
			strace_say(l, n ? ", " : "[");
			strace_string(l, p);
		}
		n++;
	}
	if (count_only)
		strace_say(l, "%#lx /* %lu vars */", addr, n);
	else
		strace_say(l, !n ? "[]" : n > MAX_SHOWN ? ", ...]" : "]");
	return true;
}

static bool print_fdset(struct strace_line *l, u64 addr, u64 nfds)
{
	u64 w[16];
	bool first = true;

	nfds = min(nfds, 1024ul);
	if (!take(w, addr, DIV_ROUND_UP(nfds, 64ul) * 8))
		return false;
	strace_say(l, "[");
	for (u32 i = 0; i < nfds; i++)
		if (w[i / 64] >> (i % 64) & 1) {
			strace_say(l, first ? "%u" : " %u", i);
			first = false;
		}
	strace_say(l, "]");
	return true;
}

static bool print_clone_args(struct strace_line *l, u64 addr)
{
	u64 a[8];	// flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls

	if (!take(a, addr, sizeof(a)))
		return false;
	strace_say(l, "{flags=");
	strace_words(l, "clone", a[0], true);
	strace_say(l, ", exit_signal=");
	strace_signal_name(l, (int)a[4]);
	strace_say(l, ", stack=%#lx, stack_size=%#lx}", a[5], a[6]);
	return true;
}

static bool print_open_how(struct strace_line *l, u64 addr)
{
	u64 a[3];

	if (!take(a, addr, sizeof(a)))
		return false;
	strace_say(l, "{flags=");
	strace_words(l, "open", a[0], true);
	strace_say(l, ", mode=0%lo, resolve=%#lx}", a[1], a[2]);
	return true;
}

static bool print_number(struct strace_line *l, const char *kind, u64 addr)
{
	s32 v[2] = { 0, 0 };
	s64 off;

	if (!strcmp(kind, "off")) {
		if (!take(&off, addr, sizeof(off)))
			return false;
		strace_say(l, "[%ld]", off);
		return true;
	}
	bool two = !strcmp(kind, "fdpair");
	if (!take(v, addr, two ? 8 : 4))
		return false;
	strace_say(l, two ? "[%d, %d]" : "[%d]", v[0], v[1]);
	return true;
}

static bool print_lengths(struct strace_line *l, const char *kind, u64 addr, u64 n, bool over, long ret)
{
	u64 got = over && ret >= 0 ? (u64)ret : n;
	u32 len;

	if (!strcmp(kind, "buf")) {
		strace_bytes(l, addr, min(got, n));
	} else if (!strcmp(kind, "iov")) {
		return print_iov(l, addr, n, over ? got : U64_MAX);
	} else if (!strcmp(kind, "sockaddr")) {
		if (over && (!n || !take(&len, n, 4)))
			return false;
		return print_sockaddr(l, addr, over ? len : n);
	} else if (!strcmp(kind, "optval")) {
		return print_number(l, "int", addr);
	} else {
		return false;
	}
	return true;
}

bool strace_struct(struct strace_line *l, const char *kind, u64 addr, u64 n, bool over, long ret)
{
	u64 v[3];

	if (!strcmp(kind, "stat"))
		return print_stat(l, addr);
	if (!strcmp(kind, "statx"))
		return print_statx(l, addr);
	if (strstr(kind, "timespec") || strstr(kind, "timeval") || strstr(kind, "itimer"))
		return print_times(l, kind, addr);
	if (!strcmp(kind, "sigaction"))
		return print_sigaction(l, addr);
	if (!strcmp(kind, "sigset")) {
		if (!take(v, addr, 8))
			return false;
		sigset_words(l, v[0]);
		return true;
	}
	if (!strcmp(kind, "rlimit")) {
		if (!take(v, addr, 16))
			return false;
		limit(l, "{rlim_cur=", v[0]);
		limit(l, ", rlim_max=", v[1]);
		strace_say(l, "}");
		return true;
	}
	if (!strcmp(kind, "stack")) {
		if (!take(v, addr, 24))
			return false;
		strace_say(l, "{ss_sp=%#lx, ss_flags=", v[0]);
		strace_words(l, "ss", (u32)v[1], true);
		strace_say(l, ", ss_size=%lu}", v[2]);
		return true;
	}
	if (!strcmp(kind, "utsname")) {
		char s[65 * 3];
		if (!take(s, addr, sizeof(s)))
			return false;
		strace_say(l, "{sysname=\"%.64s\", nodename=\"%.64s\", ...}", s, s + 65);
		return true;
	}
	if (!strcmp(kind, "str")) {
		strace_string(l, addr);
		return true;
	}
	if (!strcmp(kind, "pollfd"))
		return print_pollfds(l, addr, n);
	if (!strcmp(kind, "epoll_event"))
		return print_epoll(l, addr, over ? (u64)ret : 1, over);
	if (!strcmp(kind, "msghdr"))
		return print_msghdr(l, addr, over, ret);
	if (!strcmp(kind, "siginfo"))
		return print_siginfo(l, addr);
	if (!strcmp(kind, "wstatus"))
		return print_wstatus(l, addr, ret);
	if (!strcmp(kind, "argv") || !strcmp(kind, "envp"))
		return print_strings(l, addr, *kind == 'e');
	if (!strcmp(kind, "fdset"))
		return print_fdset(l, addr, l->v[0]);
	if (!strcmp(kind, "clone_args"))
		return print_clone_args(l, addr);
	if (!strcmp(kind, "open_how"))
		return print_open_how(l, addr);
	if (!strcmp(kind, "int") || !strcmp(kind, "fdpair") || !strcmp(kind, "off"))
		return print_number(l, kind, addr);
	return print_lengths(l, kind, addr, n, over, ret);
}

void strace_ready(struct strace_line *l, long ret)
{
	struct pollfd p;
	bool first = true;

	if (ret <= 0)
		return;
	if (l->nr == __NR_poll || l->nr == __NR_ppoll) {
		for (u32 i = 0; i < l->v[1] && i < MAX_SHOWN; i++)
			if (take(&p, l->v[0] + i * sizeof(p), sizeof(p)) && p.revents) {
				strace_say(l, "%s{fd=%d, revents=", first ? " ([" : ", ", p.fd);
				strace_words(l, "pollev", (u16)p.revents, true);
				strace_say(l, "}");
				first = false;
			}
		if (!first)
			strace_say(l, "])");
	} else if (l->nr == __NR_select || l->nr == __NR_pselect6) {
		static const char *const names[] = { "in ", "out ", "except " };
		for (u32 i = 0; i < 3; i++)
			if (l->v[1 + i]) {
				strace_say(l, first ? " (%s" : ", %s", names[i]);
				print_fdset(l, l->v[1 + i], l->v[0]);
				first = false;
			}
		if (!first)
			strace_say(l, ")");
	}
}
