// SPDX-License-Identifier: Apache-2.0
// The kernel's side of the hostcall door: builds a descriptor, lets the host perform it, copies the answer in once
// and checks it: errno against a white list, lengths against what was asked. Each thread has its own descriptor
// and pool, so no lock is needed; the request ring of the launcher is guarded by a spin word.
#include "kernel/include/alloc.h"
#include "kernel/include/count.h"
#include "kernel/include/hostcall.h"
#include "hostcall/serve.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/boot.h"
#include "kernel/include/uapi.h"
#include "kernel/include/usercopy.h"
#include "platform/process/window.h"

// errno values that a host may answer; anything else is a host that lies: -EIO
static bool errno_allowed(s64 e)
{
	switch (-e) {
	case EAGAIN: case EINTR: case EPIPE: case ECONNRESET: case ECONNREFUSED: case ECONNABORTED: case ENOTCONN:
	case EISCONN: case EINPROGRESS: case EALREADY: case ETIMEDOUT: case EHOSTUNREACH: case ENETUNREACH: case EADDRINUSE:
	case EADDRNOTAVAIL: case EACCES: case EPERM: case EINVAL: case ENOSPC: case EDQUOT: case EFBIG: case EIO: case EBADF: case ENOMEM:
	case ENFILE: case EMFILE: case ENOBUFS: case EMSGSIZE: case EAFNOSUPPORT: case EPROTONOSUPPORT: case EOPNOTSUPP: case ENOPROTOOPT:
	case EROFS: case EDESTADDRREQ: case ENOTTY: case EEXIST: case ENOENT: case ENETDOWN: case EHOSTDOWN: case EDOM:
		return true;
	default:
		return false;
	}
}

const char *pf_hostcall_name(u32 op)
{
	static const char *const names[HC_NOPS] = {
		[HC_READ] = "read", [HC_WRITE] = "write", [HC_CONSOLE_INFO] = "console_info", [HC_CONSOLE_RAW] = "console_raw",
		[HC_BLOCK_READ] = "block_read", [HC_BLOCK_WRITE] = "block_write", [HC_BLOCK_FLUSH] = "block_flush", [HC_BLOCK_SIZE] = "block_size",
		[HC_BLOCK_RESIZE] = "block_resize", [HC_BLOCK_PUNCH] = "block_punch", [HC_BLOCK_OUT] = "block_out", [HC_SOCKET] = "socket", [HC_BIND] = "bind",
		[HC_LISTEN] = "listen", [HC_ACCEPT] = "accept", [HC_CONNECT] = "connect", [HC_SEND] = "send", [HC_RECV] = "recv",
		[HC_SHUTDOWN] = "shutdown", [HC_GETSOCKOPT] = "getsockopt", [HC_SETSOCKOPT] = "setsockopt", [HC_GETNAME] = "getname",
		[HC_CLOSE] = "close", [HC_WATCH] = "watch", [HC_UNWATCH] = "unwatch", [HC_POLL] = "poll", [HC_CACHE_PUT] = "cache_put",
		[HC_CACHE_DROP] = "cache_drop", [HC_CACHE_SEND] = "cache_send", [HC_EVIDENCE] = "evidence",
		[HC_SEALING_KEY] = "sealing_key", [HC_USAGE] = "usage", [HC_RESIDENT] = "resident", [HC_PRIVATE] = "private",
	};

	return op < HC_NOPS && names[op] ? names[op] : "?";
}

static void ring_ask(struct window *w, struct hc_desc *slot)
{
	struct control *c = CTL;
	u32 z = 0;

	while (!__atomic_compare_exchange_n(&c->ring_lock, &z, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
		z = 0;
		S0(__NR_sched_yield);
	}
	u32 head = c->ring_head;
	c->ring[head % CTL_RING] = w->index;
	__atomic_store_n(&c->ring_head, head + 1, __ATOMIC_RELEASE);
	__atomic_store_n(&c->ring_lock, 0, __ATOMIC_RELEASE);
	__atomic_fetch_add(&c->ring_seq, 1, __ATOMIC_SEQ_CST);
	pf_wake(&c->ring_seq, 1);
	while (__atomic_load_n(&slot->state, __ATOMIC_ACQUIRE) != 2)
		pf_wait(&slot->state, 1, NO_DEADLINE);
}

static void add(u64 *n, u64 by, bool alone)
{
	if (likely(alone))
		__atomic_store_n(n, *n + by, __ATOMIC_RELAXED);
	else
		__atomic_fetch_add(n, by, __ATOMIC_RELAXED);
}

// The first windows have counters of their own, the others share the last ones.
static void count(u32 window, const struct hc_desc *d, u64 asked)
{
	bool alone = window < CTL_COUNTS - 1;
	struct ctl_counts *n = &CTL->counts[alone ? window : CTL_COUNTS - 1];

	add(&n->calls, 1, alone);
	if (d->ret < 0)
		return;
	switch (d->op) {
	case HC_BLOCK_READ: add(&n->disk_read, asked, alone); break;
	case HC_BLOCK_WRITE: add(&n->disk_written, asked, alone); break;
	case HC_READ:
	case HC_RECV: add(&n->in, (u64)d->ret, alone); break;
	case HC_WRITE:
	case HC_CACHE_SEND:
	case HC_SEND: add(&n->out, (u64)d->ret, alone); break;
	}
}

// Performs d (kernel-private memory) and replaces it by the host's answer, fetched once.
static s64 call(struct hc_desc *d)
{
	struct window *w = win_self();
	bool ring = CTL->ring_mode || d->op >= HC_EVIDENCE;
	u64 asked = d->a[2];

	d->gen = ++w->gen;
	__atomic_store_n(&w->h.hostcall, d->op, __ATOMIC_RELAXED);
	if (ring) {
		struct hc_desc *slot = &w->desc, ans;
		*slot = *d;
		__atomic_store_n(&slot->state, 1, __ATOMIC_RELEASE);
		ring_ask(w, slot);
		memcpy(&ans, slot, sizeof(ans));
		__atomic_store_n(&slot->state, 0, __ATOMIC_RELEASE);
		if (ans.gen != d->gen || ans.op != d->op)
			panic("hostcall %u: the host answered another request", d->op);
		*d = ans;
	} else {
		hc_serve(CTL, d, win_pool(w));
	}
	__atomic_store_n(&w->h.hostcall, 0, __ATOMIC_RELAXED);
	count(w->index, d, asked);
	if (d->ret < 0 && !errno_allowed(d->ret)) {
		pr_debug("hostcall %u: host error %ld is not allowed, EIO instead\n", d->op, d->ret);
		return -EIO;
	}
	return d->ret;
}

static void lie(const char *what)
{
	panic("the host lied: %s", what);
}

static s64 handle_result(s64 r)
{
	if (r > 0x7fffffff)
		lie("handle out of range");
	return r;
}

long hc_read(int hfd, void *buf, size_t n)
{
	struct hc_desc d = { .op = HC_READ, .a = { (u64)hfd, 0, min(n, (size_t)HC_MAX_IO) } };
	u64 asked = d.a[2];
	s64 r = call(&d);

	if (r > 0) {
		if ((u64)r > asked)
			lie("more bytes read than asked for");
		memcpy(buf, win_pool(win_self()), (size_t)r);
	}
	return r;
}

long hc_write(int hfd, const void *buf, size_t n)
{
	struct hc_desc d = { .op = HC_WRITE, .a = { (u64)hfd, 0, min(n, (size_t)HC_MAX_IO) } };
	u64 asked = d.a[2];
	s64 r;

	memcpy(win_pool(win_self()), buf, asked);
	r = call(&d);
	if (r > 0 && (u64)r > asked)
		lie("more bytes written than given");
	return r;
}

int hc_console_info(struct hc_console *out)
{
	struct hc_desc d = { .op = HC_CONSOLE_INFO, .a = { 0, HC_POOL_ADDR } };
	struct hc_console_info i;
	s64 r = call(&d);

	if (r < 0)
		return (int)r;
	memcpy(&i, win_pool(win_self()) + HC_POOL_ADDR, sizeof(i));
	for (int n = 0; n < 3; n++) {
		out->tty[n] = i.tty[n] != 0;
		out->open[n] = i.open[n] != 0;
	}
	out->rows = i.rows ? i.rows : 24;
	out->cols = i.cols ? i.cols : 80;
	return 0;
}

int hc_console_raw(bool on)
{
	struct hc_desc d = { .op = HC_CONSOLE_RAW, .a = { on } };
	return (int)call(&d);
}

// What the pool was once used for stays in memory, and a piece of this size is still in the CPU's cache when it is copied.
#define READ_PIECE (64u << 10)

int hc_block_read(int vol, u64 off, void *buf, size_t n)
{
	while (n) {
		size_t k = min(n, (size_t)READ_PIECE);
		struct hc_desc d = { .op = HC_BLOCK_READ, .a = { (u64)(s64)vol, 0, k, off } };
		s64 r = call(&d);
		if (r < 0)
			return (int)r;
		memcpy(buf, win_pool(win_self()), k);
		buf = (u8 *)buf + k;
		off += k;
		n -= k;
	}
	return 0;
}

int hc_block_write(int vol, u64 off, const void *buf, size_t n)
{
	while (n) {
		size_t k = min(n, (size_t)HC_MAX_IO);
		struct hc_desc d = { .op = HC_BLOCK_WRITE, .a = { (u64)(s64)vol, 0, k, off } };
		memcpy(win_pool(win_self()), buf, k);
		s64 r = call(&d);
		if (r < 0)
			return (int)r;
		buf = (const u8 *)buf + k;
		off += k;
		n -= k;
	}
	return 0;
}

int hc_block_flush(int vol)
{
	struct hc_desc d = { .op = HC_BLOCK_FLUSH, .a = { (u64)(s64)vol } };
	return (int)call(&d);
}

long hc_block_size(int vol)
{
	struct hc_desc d = { .op = HC_BLOCK_SIZE, .a = { (u64)(s64)vol } };
	return call(&d);
}

int hc_block_resize(int vol, u64 bytes)
{
	struct hc_desc d = { .op = HC_BLOCK_RESIZE, .a = { (u64)(s64)vol, 0, 0, bytes } };
	return (int)call(&d);
}

int hc_block_punch(int vol, u64 off, u64 n)
{
	struct hc_desc d = { .op = HC_BLOCK_PUNCH, .a = { (u64)(s64)vol, 0, n, off } };
	return (int)call(&d);
}

void hc_block_out(int vol, u64 off, u64 n)
{
	struct hc_desc d = { .op = HC_BLOCK_OUT, .a = { (u64)(s64)vol, 0, n, off } };
	call(&d);
}

int hc_socket(int family, int type)
{
	struct hc_desc d = { .op = HC_SOCKET, .a = { (u64)family, (u64)type } };
	int h = (int)handle_result(call(&d));

	if (h >= 0)
		COUNT(host_fds, 1);
	return h;
}

static int addr_call(u16 op, int hfd, const void *addr, u32 len)
{
	struct hc_desc d = { .op = op, .a = { (u64)hfd, HC_POOL_ADDR, len } };

	if (len > 28)
		return -EINVAL;
	memcpy(win_pool(win_self()) + HC_POOL_ADDR, addr, len);
	return (int)call(&d);
}

int hc_bind(int hfd, const void *addr, u32 len) { return addr_call(HC_BIND, hfd, addr, len); }
int hc_connect(int hfd, const void *addr, u32 len) { return addr_call(HC_CONNECT, hfd, addr, len); }

int hc_listen(int hfd, int backlog)
{
	struct hc_desc d = { .op = HC_LISTEN, .a = { (u64)hfd, (u64)backlog } };
	return (int)call(&d);
}

// Copies an address of at most 28 bytes out of the pool.
static void take_addr(void *addr, u32 *len, u64 claimed)
{
	u32 n = claimed > 28 ? 28 : (u32)claimed;

	if (!addr)
		return;
	memcpy(addr, win_pool(win_self()) + HC_POOL_ADDR, n);
	*len = n;
}

int hc_accept(int hfd, void *addr, u32 *len)
{
	struct hc_desc d = { .op = HC_ACCEPT, .a = { (u64)hfd, HC_POOL_ADDR } };
	s64 r = handle_result(call(&d));

	if (r >= 0) {
		COUNT(host_fds, 1);
		take_addr(addr, len, d.a[2]);
	}
	return (int)r;
}

long hc_send(int hfd, const void *buf, size_t n, int flags, const void *addr, u32 alen)
{
	struct hc_desc d = { .op = HC_SEND, .a = { (u64)hfd, 0, min(n, (size_t)HC_MAX_IO), (u64)flags, HC_POOL_ADDR, addr ? alen : 0 } };
	u64 asked = d.a[2];
	s64 r;

	if (addr && alen > 28)
		return -EINVAL;
	memcpy(win_pool(win_self()), buf, asked);
	if (addr)
		memcpy(win_pool(win_self()) + HC_POOL_ADDR, addr, alen);
	r = call(&d);
	if (r > 0 && (u64)r > asked)
		lie("more bytes sent than given");
	return r;
}

long hc_recv(int hfd, void *buf, size_t n, int flags, void *addr, u32 *alen)
{
	struct hc_desc d = { .op = HC_RECV, .a = { (u64)hfd, 0, min(n, (size_t)HC_MAX_IO), (u64)flags, addr ? HC_POOL_ADDR : 0 } };
	u64 asked = d.a[2];
	s64 r = call(&d);

	if (r > 0) {
		// MSG_TRUNC reports a datagram's real length, which has 16 bits
		if ((u64)r > asked && (!(flags & 0x20) || r > 0xffff))
			lie("more bytes received than asked for");
		memcpy(buf, win_pool(win_self()), min((u64)r, asked));
	}
	if (r >= 0 && addr)
		take_addr(addr, alen, d.a[5]);
	return r;
}

long hc_send_iter(int hfd, struct iter *it, size_t n, int flags)
{
	struct iter begin = *it;
	u64 got = iter_get(it, win_pool(win_self()), min(n, (size_t)HC_MAX_IO));
	struct hc_desc d = { .op = HC_SEND, .a = { (u64)hfd, 0, got, (u64)flags, HC_POOL_ADDR, 0 } };
	s64 r;

	if (!got)
		return 0;
	r = call(&d);
	if (r > 0 && (u64)r > got)
		lie("more bytes sent than given");
	if (r != (s64)got) {
		iter_revert(it, &begin);
		if (r > 0)
			iter_advance(it, (size_t)r);
	}
	return r ? r : -EPIPE;
}

int hc_cache_put(struct iter *it, size_t n, u64 off)
{
	struct hc_desc d = { .op = HC_CACHE_PUT, .a = { 0, 0, n, off } };

	if (n > HC_MAX_IO || iter_get(it, win_pool(win_self()), n) < n)
		return -EAGAIN;
	return (int)call(&d);
}

int hc_cache_drop(u64 off, u64 n)
{
	struct hc_desc d = { .op = HC_CACHE_DROP, .a = { 0, 0, n, off } };
	return (int)call(&d);
}

long hc_cache_send(int hfd, u64 off, size_t n)
{
	struct hc_desc d = { .op = HC_CACHE_SEND, .a = { (u64)hfd, 0, n, off } };
	s64 r = call(&d);

	if (r > 0 && (u64)r > n)
		lie("more bytes sent than given");
	return r;
}

long hc_recv_iter(int hfd, struct iter *it, size_t n, int flags, size_t *put, char **rest)
{
	struct hc_desc d = { .op = HC_RECV, .a = { (u64)hfd, 0, min(n, (size_t)HC_MAX_IO), (u64)flags } };
	u64 asked = d.a[2];
	s64 r = call(&d);

	*put = 0;
	*rest = NULL;
	if (r <= 0)
		return r;
	if ((u64)r > asked)
		lie("more bytes received than asked for");
	*put = iter_put(it, win_pool(win_self()), (size_t)r);
	if (unlikely(*put < (size_t)r)) { // what makes the page present may need the pool
		*rest = kmalloc((size_t)r - *put);
		if (*rest)
			memcpy(*rest, win_pool(win_self()) + *put, (size_t)r - *put);
	}
	return r;
}

int hc_shutdown(int hfd, int how)
{
	struct hc_desc d = { .op = HC_SHUTDOWN, .a = { (u64)hfd, (u64)how } };
	return (int)call(&d);
}

int hc_getsockopt(int hfd, int level, int opt, void *val, u32 *len)
{
	u32 n = min(*len, 256u);
	struct hc_desc d = { .op = HC_GETSOCKOPT, .a = { (u64)hfd, HC_POOL_ADDR, n, (u64)level, (u64)opt } };
	s64 r = call(&d);

	if (r >= 0) {
		if (d.a[2] > n)
			lie("socket option longer than asked for");
		*len = (u32)d.a[2];
		memcpy(val, win_pool(win_self()) + HC_POOL_ADDR, *len);
	}
	return (int)r;
}

int hc_setsockopt(int hfd, int level, int opt, const void *val, u32 len)
{
	struct hc_desc d = { .op = HC_SETSOCKOPT, .a = { (u64)hfd, HC_POOL_ADDR, len, (u64)level, (u64)opt } };

	if (len > 256)
		return -EINVAL;
	memcpy(win_pool(win_self()) + HC_POOL_ADDR, val, len);
	return (int)call(&d);
}

int hc_getname(int hfd, bool peer, void *addr, u32 *len)
{
	struct hc_desc d = { .op = HC_GETNAME, .a = { (u64)hfd, HC_POOL_ADDR, 0, peer } };
	s64 r = call(&d);

	if (r >= 0)
		take_addr(addr, len, d.a[2]);
	return (int)r;
}

int hc_close(int hfd)
{
	struct hc_desc d = { .op = HC_CLOSE, .a = { (u64)hfd } };

	if (hfd <= 2)
		return 0; // the console streams stay
	COUNT(host_fds, -1);
	return (int)call(&d);
}

int hc_watch(int hfd, u32 cookie, u32 set)
{
	struct hc_desc d = { .op = HC_WATCH, .a = { (u64)hfd, cookie, set } };
	return (int)call(&d);
}

int hc_unwatch(int hfd, u32 set)
{
	struct hc_desc d = { .op = HC_UNWATCH, .a = { (u64)hfd, 0, set } };
	return (int)call(&d);
}

u32 hc_poll_now(int hfd)
{
	struct hc_desc d = { .op = HC_POLL, .a = { (u64)hfd } };
	s64 r = call(&d);
	return r < 0 ? 0 : (u32)r & 0x203f;
}

struct host_event {
	u32 ev;
	u64 data;
} __packed;

// What the host's epoll says: handles' events go to ev[k..], as many as there is room for.
static u32 take_events(const struct host_event *he, long got, struct hc_event *ev, u32 k, u32 n, bool *all)
{
	for (long i = 0; i < got && k < n; i++) {
		if (he[i].data == HC_EVENT_WAKE) {
			continue;
		} else if (he[i].data == HC_EVENT_ALL) {
			*all = true;
		} else {
			ev[k].cookie = (u32)he[i].data;
			ev[k].events = he[i].ev & 0x203f;
			k++;
		}
	}
	return k;
}

// Readiness is a platform primitive like pf_wait: the thread sleeps in the host's epoll itself.
int hc_wait_events(u32 set, struct hc_event *ev, u32 n, u64 deadline_ns)
{
	struct host_event he[32];
	s64 ts[2] = { 0, 0 };
	bool all = false;
	long r;

	n = min(n, (u32)ARRAY_SIZE(he));
	if (deadline_ns != NO_DEADLINE && deadline_ns) {
		u64 now = ktime_mono(), d = deadline_ns > now ? deadline_ns - now : 0;
		ts[0] = (s64)(d / NSEC_PER_SEC);
		ts[1] = (s64)(d % NSEC_PER_SEC);
	}
	struct hthread *h = hthread_self();
	u32 pid = h->host_pid;

	h->wait_word = NULL;
	r = host_sleep(__NR_epoll_pwait2, CTL->epoll_fd[set], (long)he, n, deadline_ns == NO_DEADLINE ? 0 : (long)ts, 0, 8);
	if (h->host_pid != pid)
		return -ESTALE; // the host killed the thread that slept, perhaps when it had fetched events
	if (r < 0)
		return (int)r;
	u32 k = take_events(he, min(r, (long)n), ev, 0, n, &all);
	if (all && k < n) { // else the host says so again
		ts[0] = ts[1] = 0;
		r = S6(__NR_epoll_pwait2, CTL->epoll_fd[0], he, n - k, ts, 0, 8);
		if (r > 0)
			k = take_events(he, min(r, (long)(n - k)), ev, k, n, &all);
	}
	return (int)k;
}

// Also a primitive of the platform: the console's threads sleep until host stream hfd is ready, and nothing wakes them.
int hc_wait_stream(int hfd, u32 events)
{
	struct {
		s32 fd;
		u16 ev, rev;
	} pf = { hfd, (u16)events, 0 };
	long r = S3(__NR_poll, &pf, 1, -1);

	return r < 0 ? (int)r : pf.rev & 0x3f;
}

// Ends another thread's hc_wait_events.
void hc_wait_interrupt(u32 set)
{
	u64 one = 1;
	S3(__NR_write, CTL->wake_fd[set], &one, 8);
}

int hc_evidence(const u8 report_data[64], u8 *report, u32 *report_len, char *chain, u32 *chain_len)
{
	struct hc_desc d = { .op = HC_EVIDENCE, .a = { 0, 0 } };
	u8 *pool = win_pool(win_self());
	s64 r;

	if (*report_len < HC_EVIDENCE_REPORT)
		return -EINVAL;
	memcpy(pool, report_data, 64);
	memcpy(pool + 64, boot_info.measurement, 48);
	r = call(&d);
	if (r < 0)
		return (int)r;
	u64 n = d.a[2];
	if (n > HC_EVIDENCE_CHAIN || n >= *chain_len)
		lie("certificate chain too long");
	memcpy(report, pool, HC_EVIDENCE_REPORT);
	*report_len = HC_EVIDENCE_REPORT;
	memcpy(chain, pool + HC_EVIDENCE_REPORT, n);
	chain[n] = 0;
	*chain_len = (u32)n;
	return 0;
}

int hc_sealing_key(u8 key[32])
{
	struct hc_desc d = { .op = HC_SEALING_KEY };
	u8 *pool = win_pool(win_self());
	int r = (int)call(&d);

	if (!r)
		memcpy(key, pool, 32);
	explicit_bzero(pool, 32);
	return r;
}

int hc_usage(u32 pid, u32 tid, struct hc_usage *out)
{
	struct hc_desc d = { .op = HC_USAGE, .a = { pid, 0, tid } };
	int r = (int)call(&d);

	if (!r)
		memcpy(out, win_pool(win_self()), sizeof(*out));
	return r;
}

int hc_resident(u32 pid, u64 (*range)[2], u32 n)
{
	u8 *pool = win_pool(win_self());

	while (n) {
		u32 k = min(n, HC_POOL_SIZE / 16u);
		struct hc_desc d = { .op = HC_RESIDENT, .a = { pid, 0, k } };
		u64 asked;
		int r;

		memcpy(pool, range, k * 16ul);
		r = (int)call(&d);
		if (r)
			return r;
		for (u32 i = 0; i < k; i++) { // never more than there is room for
			u64 *got = (u64 *)pool + i * 2ul;
			asked = (range[i][1] - range[i][0]) >> PAGE_SHIFT;
			range[i][0] = min(__atomic_load_n(&got[0], __ATOMIC_RELAXED), asked);
			range[i][1] = min(__atomic_load_n(&got[1], __ATOMIC_RELAXED), asked - range[i][0]);
		}
		range += k;
		n -= k;
	}
	return 0;
}

long hc_private(const u32 *pids, u32 n, bool exact)
{
	u64 sum = 0;

	while (n) {
		u32 k = min(n, HC_POOL_SIZE / 4u);
		struct hc_desc d = { .op = HC_PRIVATE, .a = { 0, 0, k, exact } };
		s64 r;

		memcpy(win_pool(win_self()), pids, k * 4ul);
		r = call(&d);
		if (r < 0)
			return r;
		sum += min((u64)r, (u64)K_LIN_MAX >> PAGE_SHIFT);
		pids += k;
		n -= k;
	}
	return (long)sum;
}

static u32 host_pid_of(const struct proc *p)
{
	const struct hproc *hp = p->mm_host;

	if (p == curproc) // a fresh child may ask before its parent has noted the number
		return hthread_self()->host_pid;
	return hp && p->state < PROC_ZOMBIE ? hp->pid : 0;
}

long pf_private_pages_of(struct proc *const *p, u32 n, bool exact)
{
	u32 *pids = kmalloc(n * sizeof(*pids)), k = 0;
	long r;

	if (!pids)
		return -ENOMEM;
	for (u32 i = 0; i < n; i++)
		if ((pids[k] = host_pid_of(p[i])))
			k++;
	r = hc_private(pids, k, exact);
	kfree(pids);
	return r;
}

int pf_usage(struct proc *p, struct task *t, struct pf_usage *u)
{
	struct hthread *h = t ? t->host : NULL;
	u32 pid = host_pid_of(p), tid = h ? h->host_tid : 0;
	struct hc_usage hu;
	int r = pid && (!t || tid) ? hc_usage(pid, t ? tid : 0, &hu) : -ENOENT;

	if (r)
		return r;
	u64 most = (u64)K_LIN_MAX >> PAGE_SHIFT; // whatever the host says, sums do not overflow
	*u = (struct pf_usage){ hu.utime_ns, hu.stime_ns, hu.minflt, hu.majflt, hu.nvcsw, hu.nivcsw,
				min(hu.anon, most), min(hu.file, most), min(hu.peak, most) };
	if (h) {
		const struct spent *b = &((const struct window *)h)->base;
		u64 *figure[] = { &u->utime_ns, &u->stime_ns, &u->minflt, &u->majflt, &u->nvcsw, &u->nivcsw };
		const u64 before[] = { b->utime_ns, b->stime_ns, b->minflt, b->majflt, b->nvcsw, b->nivcsw };

		for (u32 i = 0; i < ARRAY_SIZE(before); i++)
			*figure[i] -= min(*figure[i], before[i]);
	}
	return 0;
}

int pf_resident(struct proc *p, u64 (*range)[2], u32 n)
{
	u32 pid = host_pid_of(p);

	return pid ? hc_resident(pid, range, n) : -ENOENT;
}

u64 hc_time(int clockid)
{
	s64 ts[2] = { 0, 0 };

	S2(__NR_clock_gettime, clockid, ts);
	if (ts[0] < 0 || ts[0] > 0x1fffffffffl || ts[1] < 0 || ts[1] >= (s64)NSEC_PER_SEC)
		lie("time out of range");
	return (u64)ts[0] * NSEC_PER_SEC + (u64)ts[1];
}
