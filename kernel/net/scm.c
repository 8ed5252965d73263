// SPDX-License-Identifier: Apache-2.0
// What AF_UNIX messages carry beside their data: descriptors (SCM_RIGHTS) and ids (SCM_CREDENTIALS); unix(7).
// References are taken when a message is sent. Sockets that keep each other alive in messages are collected by gc.c.
// Locks: free_lock (leaf; files are put without it).
#include "kernel/include/uring.h"
#include "kernel/net/sock.h"

#define MAX_IN_FLIGHT 16384u

static u32 in_flight;
static struct mutex free_lock;
static struct list to_free = LIST_INIT(to_free);
static bool freeing;

struct cmsghdr_ {
	u64 len;
	int level, type;
};

struct scm *scm_new(void)
{
	struct scm *c = knew(struct scm);

	if (c)
		list_init(&c->fly);
	return c;
}

void scm_cred_now(struct scm *c)
{
	c->has_cred = true;
	c->cred = (struct ucred_){ (u32)curproc->pid, cred()->uid, cred()->gid };
}

// Putting a file may close a socket whose queue holds more messages: done in a loop, so that a long chain of them
// does not use up the stack. Whoever comes first frees for all.
void scm_free(struct scm *c)
{
	gc_landed(c);
	list_init(&c->link);
	mutex_lock(&free_lock);
	list_add_tail(&c->link, &to_free);
	if (freeing) {
		mutex_unlock(&free_lock);
		return;
	}
	freeing = true;
	while (!list_empty(&to_free)) {
		c = list_first(&to_free, struct scm, link);
		list_del(&c->link);
		mutex_unlock(&free_lock);
		for (u32 i = 0; i < c->nfiles; i++)
			file_put(c->files[i]);
		__atomic_fetch_sub(&in_flight, c->nfiles, __ATOMIC_RELAXED);
		kfree(c->files);
		kfree(c);
		mutex_lock(&free_lock);
	}
	freeing = false;
	mutex_unlock(&free_lock);
}

struct scm *scm_dup(const struct scm *c)
{
	struct scm *n = scm_new();
	if (!n)
		return NULL;
	n->has_cred = c->has_cred;
	n->cred = c->cred;
	if (!c->nfiles)
		return n;
	n->files = kmalloc(c->nfiles * sizeof(n->files[0]));
	if (!n->files) {
		kfree(n);
		return NULL;
	}
	for (u32 i = 0; i < c->nfiles; i++)
		file_get(n->files[i] = c->files[i]);
	n->nfiles = c->nfiles;
	__atomic_fetch_add(&in_flight, n->nfiles, __ATOMIC_RELAXED);
	return n;
}

static int add_files(struct scm *c, const char *data, size_t len)
{
	u32 n = (u32)(len / sizeof(int));
	if (n > SCM_MAX_FD - min(c->nfiles, (u32)SCM_MAX_FD))
		return -EINVAL;
	if (!n)
		return 0;
	if (__atomic_load_n(&in_flight, __ATOMIC_RELAXED) + n > MAX_IN_FLIGHT)
		unix_gc();
	if (__atomic_add_fetch(&in_flight, n, __ATOMIC_RELAXED) > MAX_IN_FLIGHT) {
		__atomic_fetch_sub(&in_flight, n, __ATOMIC_RELAXED);
		return -ETOOMANYREFS;
	}
	u32 put = 0;
	int r = -ENOMEM;
	struct file **files = krealloc(c->files, (c->nfiles + n) * sizeof(files[0]));
	if (!files)
		goto out;
	c->files = files;
	for (; put < n; put++) {
		int fd;
		memcpy(&fd, data + put * sizeof(int), sizeof(int));
		struct file *f = fd_get(fd);
		if (!f) {
			r = -EBADF;
			goto out;
		}
		if (file_is_uring(f)) { // its registered files would make cycles that nobody sees
			file_put(f);
			r = -EINVAL;
			goto out;
		}
		c->files[c->nfiles++] = f;
	}
	r = 0;
out:
	__atomic_fetch_sub(&in_flight, n - put, __ATOMIC_RELAXED);
	return r;
}

static int add_cred(struct scm *c, const char *data, size_t len)
{
	if (len != sizeof(c->cred))
		return -EINVAL;
	memcpy(&c->cred, data, sizeof(c->cred));
	struct cred *me = cred();
	c->cred.pid = (u32)pid_in((int)c->cred.pid);
	c->cred.uid = uid_in(c->cred.uid);
	c->cred.gid = gid_in(c->cred.gid);
	if (c->cred.uid == U32_MAX || c->cred.gid == U32_MAX)
		return -EINVAL;
	bool own_uid = c->cred.uid == me->uid || c->cred.uid == me->euid || c->cred.uid == me->suid;
	bool own_gid = c->cred.gid == me->gid || c->cred.gid == me->egid || c->cred.gid == me->sgid;
	if ((c->cred.pid != (u32)curproc->pid && !capable_here(CLONE_NEWPID, 21)) || // CAP_SYS_ADMIN
	    (!own_uid && !own_capable(7)) || (!own_gid && !own_capable(6))) // CAP_SETUID, CAP_SETGID
		return -EPERM;
	c->has_cred = true;
	return 0;
}

// ctl is a kernel copy of the whole control buffer. Only AF_UNIX sends anything of level SOL_SOCKET that matters here.
int scm_send(struct sock *s, const void *ctl, size_t len, struct scm **out)
{
	struct scm *c = NULL;
	int r = 0;
	size_t at = 0;
	while (len - at >= sizeof(struct cmsghdr_)) {
		struct cmsghdr_ h;
		memcpy(&h, (const char *)ctl + at, sizeof(h));
		if (h.len < sizeof(h) || h.len > len - at) {
			r = -EINVAL;
			goto out;
		}
		if (h.level == SOL_SOCKET && s->family == AF_UNIX) {
			const char *data = (const char *)ctl + at + sizeof(h);
			size_t n = h.len - sizeof(h);
			if (!c && !(c = scm_new())) {
				r = -ENOMEM;
				goto out;
			}
			r = h.type == 1 /* SCM_RIGHTS */	 ? add_files(c, data, n)
			    : h.type == 2 /* SCM_CREDENTIALS */ ? add_cred(c, data, n)
								 : -EINVAL;
			if (r)
				goto out;
		}
		size_t step = ALIGN_UP(h.len, sizeof(u64));
		if (step > len - at)
			break;
		at += step;
	}
out:
	if (c && (r || (!c->nfiles && !c->has_cred))) {
		scm_free(c);
		c = NULL;
	}
	if (c && c->nfiles)
		gc_takeoff(c);
	*out = c;
	return r;
}
