// SPDX-License-Identifier: Apache-2.0
// Calls about the system as a whole: names, sizes, randomness, memory locking.
// Locks: uts_lock (leaf).
#include "kernel/fs/procfs.h"
#include "kernel/include/ns.h"
#include "kernel/include/platform.h"
#include "kernel/task/load.h"
#include <linux/capability.h>
#include <linux/random.h>
#include <linux/sysinfo.h>

static struct mutex uts_lock;

struct uts_ns {
	struct ns ns;
	struct new_utsname name;
};

struct uts_ns init_uts_ns = {
	.ns = {.ref = {1}, .type = CLONE_NEWUTS, .inum = 4026531838ul},
	.name = {
		.sysname = "Linux",
		.nodename = "coffer",
		.release = "6.1.0-coffer",
		.version = "#1 SMP Coffer enclave kernel",
		.machine = "x86_64",
		.domainname = "(none)",
	},
};

// At boot there is no process yet.
static struct uts_ns *mine(void) { return current && current->proc && curproc->uts_ns ? curproc->uts_ns : &init_uts_ns; }

struct uts_ns *uts_ns_copy(void)
{
	struct uts_ns *n = knew(struct uts_ns);

	if (!n)
		return NULL;
	n->ns = (struct ns){.ref = {1}, .type = CLONE_NEWUTS, .inum = ns_inum()};
	uts_get(&n->name);
	return n;
}

void uts_ns_put(struct uts_ns *n)
{
	if (!n || !ref_put(&n->ns.ref))
		return;
	user_ns_put(n->ns.owner);
	kfree(n);
}

void uts_get(struct new_utsname *u)
{
	mutex_lock(&uts_lock);
	*u = mine()->name;
	mutex_unlock(&uts_lock);
}

int uts_set_name(bool domain, const char *name, size_t n)
{
	struct new_utsname *u = &mine()->name;
	char *to = domain ? u->domainname : u->nodename;

	if (n > __NEW_UTS_LEN)
		return -EINVAL;
	mutex_lock(&uts_lock);
	memset(to, 0, __NEW_UTS_LEN + 1);
	memcpy(to, name, n);
	mutex_unlock(&uts_lock);
	return 0;
}

long sys_uname(void __user *buf)
{
	struct new_utsname u;

	uts_get(&u);
	return copy_to_user(buf, &u, sizeof(u));
}

static long set_name(bool domain, const void __user *name, int len)
{
	char buf[__NEW_UTS_LEN];

	if (!capable_here(CLONE_NEWUTS, CAP_SYS_ADMIN))
		return -EPERM;
	if (len < 0 || len > __NEW_UTS_LEN)
		return -EINVAL;
	if (copy_from_user(buf, name, len))
		return -EFAULT;
	return uts_set_name(domain, buf, len);
}

long sys_sethostname(const void __user *name, int len) { return set_name(false, name, len); }

long sys_setdomainname(const void __user *name, int len) { return set_name(true, name, len); }

static int count_procs(struct proc *p, void *arg)
{
	*(u32 *)arg += p->nthreads;
	return 0;
}

long sys_sysinfo(void __user *buf)
{
	struct sysinfo s = {0};
	struct memory m;
	u32 n = 0;

	proc_for_each(count_procs, &n);
	s.uptime = (s64)(ktime_mono() + (u64)time_offset(CLOCK_BOOTTIME)) / (s64)NSEC_PER_SEC;
	memory_now(&m);
	s.totalram = m.total * PAGE_SIZE;
	s.freeram = m.free * PAGE_SIZE;
	s.sharedram = m.shared * PAGE_SIZE;
	for (u32 i = 0; i < 3; i++)
		s.loads[i] = load_average(i) << (SI_LOAD_SHIFT - LOAD_SHIFT);
	s.procs = min(n, 65535u);
	s.mem_unit = 1;
	return copy_to_user(buf, &s, sizeof(s));
}

long sys_getrandom(void __user *buf, size_t n, u32 flags)
{
	u8 tmp[256];
	size_t done = 0;

	if (flags & ~(GRND_NONBLOCK | GRND_RANDOM | GRND_INSECURE) ||
	    (flags & (GRND_INSECURE | GRND_RANDOM)) == (GRND_INSECURE | GRND_RANDOM))
		return -EINVAL;
	n = min(n, (size_t)(32u << 20) - 1);
	while (done < n) {
		size_t part = min(n - done, sizeof(tmp));

		pf_random(tmp, part);
		if (copy_to_user((char __user *)buf + done, tmp, part))
			break;
		done += part;
		if (done >= 256 && signal_pending())
			break;
	}
	explicit_bzero(tmp, sizeof(tmp));
	return done || !n ? (long)done : -EFAULT;
}

// The kernel log belongs to the host, which is not trusted with reading requests from inside.
long sys_syslog(int type, void __user *buf, int len)
{
	(void)type;
	(void)buf;
	(void)len;
	return -EPERM;
}
