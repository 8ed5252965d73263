// SPDX-License-Identifier: Apache-2.0
// Time namespaces: CLOCK_MONOTONIC and CLOCK_BOOTTIME run ahead of the first namespace's, or behind, for their processes. Inside the
// kernel all times are the first namespace's; offsets are added where programs read a clock and taken off where they name a moment. While there
// are offsets anywhere, the vDSO of all programs asks the kernel. A process that unshares stays; its children, and the next program
// that it runs, are in the new one. Offsets are set before the first comes. Locks: tasklist for a process's pointers and the offsets.
#include "kernel/fs/procfs.h"
#include "kernel/task/internal.h"
#include "kernel/task/userns.h"
#include "kernel/time/clock.h"
#include <linux/capability.h>

#define SEC_MAX 9223372036l // of a 64-bit number of ns

struct time_ns {
	struct ns ns;
	s64 offset[2];	// ns: monotonic, boottime
	bool entered;	// some process is, or was in it
};

enum { MONO, BOOT };

struct ns first_time_ns = {.ref = {1}, .type = CLONE_NEWTIME, .inum = 4026531834ul};

static struct time_ns *of(struct ns *n) { return n && n != &first_time_ns ? container_of(n, struct time_ns, ns) : NULL; }

struct ns *time_ns_new(struct proc *p)
{
	struct time_ns *n = knew(struct time_ns), *from;

	if (!n)
		return NULL;
	n->ns = (struct ns){.ref = {1}, .type = CLONE_NEWTIME, .inum = ns_inum()};
	from = of(p->time_children ? p->time_children : p->time_ns);
	for (int i = 0; i < 2 && from; i++)
		n->offset[i] = from->offset[i];
	clock_offsets(n->offset[MONO] || n->offset[BOOT] ? 1 : 0);
	return &n->ns;
}

void time_ns_put(struct ns *ns)
{
	struct time_ns *n = of(ns);

	if (!ns || !ref_put(&ns->ref) || !n)
		return;
	clock_offsets(n->offset[MONO] || n->offset[BOOT] ? -1 : 0);
	user_ns_put(ns->owner);
	kfree(n);
}

// p goes where its children would be; tasklist held. The reference moves.
struct ns *time_ns_enter(struct proc *p)
{
	struct ns *old = p->time_ns;

	p->time_ns = p->time_children == &first_time_ns ? NULL : p->time_children;
	p->time_children = NULL;
	if (p->time_ns)
		of(p->time_ns)->entered = true;
	return old;
}

void time_ns_exec(struct proc *p)
{
	struct ns *old;

	mutex_lock(&tasklist);
	old = time_ns_enter(p);
	mutex_unlock(&tasklist);
	time_ns_put(old);
}

s64 time_offset(int clock)
{
	struct time_ns *n = of(curproc->time_ns);

	if (!n)
		return 0;
	switch (clock) {
	case CLOCK_MONOTONIC:
	case CLOCK_MONOTONIC_RAW:
	case CLOCK_MONOTONIC_COARSE: return n->offset[MONO];
	case CLOCK_BOOTTIME:
	case CLOCK_BOOTTIME_ALARM: return n->offset[BOOT];
	default: return 0;
	}
}

u64 time_to_kernel_slow(int clock, u64 ns)
{
	s64 off = time_offset(clock), t;

	if (__builtin_sub_overflow((s64)min(ns, (u64)S64_MAX), off, &t))
		return off < 0 ? S64_MAX : 0;
	return t > 0 ? (u64)t : 0;
}

// --- /proc/PID/timens_offsets: of the namespace that children come into

int time_offsets(struct pout *o, struct pnode *node)
{
	static const char *const names[] = {"monotonic", "boottime"};
	struct proc *p = node->proc;
	s64 off[2] = {0, 0};

	mutex_lock(&tasklist);
	struct time_ns *n = of(p->time_children ? p->time_children : p->time_ns);
	for (int i = 0; i < 2 && n; i++)
		off[i] = n->offset[i];
	mutex_unlock(&tasklist);
	for (int i = 0; i < 2; i++) {
		s64 s = off[i] / (s64)NSEC_PER_SEC, ns = off[i] % (s64)NSEC_PER_SEC;
		if (ns < 0) {
			s--;
			ns += (s64)NSEC_PER_SEC;
		}
		pout(o, "%-10s %10ld %9ld\n", names[i], s, ns);
	}
	return 0;
}

static const char *word(const char *s, char *to, size_t n)
{
	size_t k = 0;

	while (*s == ' ' || *s == '\t')
		s++;
	while (*s && *s != ' ' && *s != '\t' && *s != '\n' && k < n - 1)
		to[k++] = *s++;
	to[k] = 0;
	return s;
}

static const char *number(const char *s, s64 *v)
{
	char text[24];
	const char *end;
	u64 u;

	s = word(s, text, sizeof(text));
	bool minus = *text == '-';
	if (kstrtou64(text + minus, &end, &u) || *end || u > (u64)S64_MAX)
		return NULL;
	*v = minus ? -(s64)u : (s64)u;
	return s;
}

// "monotonic|boottime seconds nanoseconds", two lines at most.
static int parse(const char *s, s64 off[2], bool set[2])
{
	for (int lines = 0; *s && lines < 2; lines++) {
		char name[12];
		s64 sec, ns;

		s = word(s, name, sizeof(name));
		int which = !strcmp(name, "monotonic") || !strcmp(name, "1") ? MONO : !strcmp(name, "boottime") || !strcmp(name, "7") ? BOOT : -1;
		if (which < 0 || !(s = number(s, &sec)) || !(s = number(s, &ns)) || ns < 0 || ns >= (s64)NSEC_PER_SEC)
			return -EINVAL;
		while (*s && *s != '\n')
			s++;
		s += *s == '\n';
		u64 now;
		if (sec > SEC_MAX || sec < -SEC_MAX || ktime_clock(which == MONO ? CLOCK_MONOTONIC : CLOCK_BOOTTIME, &now))
			return -ERANGE;
		s64 then = (s64)(now / NSEC_PER_SEC) + sec;
		if (then < 0 || then > SEC_MAX / 2)
			return -ERANGE;
		off[which] = sec * (s64)NSEC_PER_SEC + ns;
		set[which] = true;
	}
	return set[MONO] || set[BOOT] ? 0 : -EINVAL;
}

ssize_t time_offsets_write(struct pnode *node, char *buf, size_t len)
{
	struct proc *p = node->proc;
	s64 off[2];
	bool set[2] = {false, false}, had, has;
	ssize_t r = parse(buf, off, set);
	struct ns *ns;

	if (r == -EINVAL)
		return r;
	mutex_lock(&tasklist);
	ns = p->time_children ? p->time_children : p->time_ns;
	struct time_ns *n = of(ns);
	if (!ns_capable(ns ? ns->owner : NULL, CAP_SYS_TIME))
		r = -EPERM;
	else if (!r && (!n || n->entered))
		r = -EACCES;
	if (!r) {
		had = n->offset[MONO] || n->offset[BOOT];
		for (int i = 0; i < 2; i++)
			if (set[i])
				n->offset[i] = off[i];
		has = n->offset[MONO] || n->offset[BOOT];
		clock_offsets(has - had);
	}
	mutex_unlock(&tasklist);
	return r ? r : (ssize_t)len;
}
