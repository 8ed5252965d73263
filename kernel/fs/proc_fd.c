// SPDX-License-Identifier: Apache-2.0
// /proc/PID/fd and /proc/PID/fdinfo: the open files of a process.
// Locks: none of its own.
#include "kernel/fs/procfs.h"
#include "kernel/include/uring.h"

// The table of the thread that the entry is in, or of the leader: a reference or NULL.
static struct fdtable *files_get(struct pnode *n)
{
	struct task *task = task_find(n->tid ? n->tid : n->proc->pid);
	struct fdtable *t = task && task->proc == n->proc ? task_files(task) : NULL;

	if (task)
		task_put(task);
	return t;
}

// The open file behind descriptor fd (reference), its close-on-exec bit in *cloexec; NULL when there is none.
static struct file *file_of(struct pnode *n, int fd, bool *cloexec)
{
	struct fdtable *t = files_get(n);
	struct file *f = t ? fdtable_file(t, (u32)fd, cloexec) : NULL;

	fdtable_put(t);
	return f;
}

char *proc_file_name(struct file *f, char *buf, size_t n)
{
	u32 type = f->inode ? f->inode->mode & S_IFMT : 0;

	if (f->path.dentry)
		return path_name(&f->path, buf, n);
	snprintf(buf, n,
		 type == S_IFIFO    ? "pipe:[%lu]"
		 : type == S_IFSOCK ? "socket:[%lu]"
				    : "anon_inode:[%lu]",
		 f->inode ? f->inode->ino : 0);
	return buf;
}

static int fd_readlink(struct inode *ino, char *buf, u32 n)
{
	struct pnode *pn = pnode_of(ino);
	char tmp[512], *big = NULL, *name;
	bool cloexec;
	struct file *f = file_of(pn, pn->fd, &cloexec);
	int len;

	if (!f)
		return -ENOENT;
	name = proc_file_name(f, tmp, sizeof(tmp));
	if (IS_ERR(name) && (big = kmalloc(PATH_MAX)))
		name = proc_file_name(f, big, PATH_MAX);
	file_put(f);
	len = IS_ERR(name) ? (int)PTR_ERR(name) : (int)min((size_t)n, strlen(name));
	if (len > 0)
		memcpy(buf, name, len);
	kfree(big);
	return len;
}

static struct file *fd_follow(struct inode *ino, struct dentry **d, struct mount **m)
{
	struct pnode *pn = pnode_of(ino);
	bool cloexec;
	struct file *f = file_of(pn, pn->fd, &cloexec);
	struct path p;

	if (!f)
		return ERR_PTR(-ENOENT);
	if (!f->path.dentry)
		return f;
	p = f->path;
	path_get(&p);
	file_put(f);
	*d = p.dentry;
	*m = p.mnt;
	return NULL;
}

static const struct inode_ops fd_link_iops = {.readlink = fd_readlink, .follow = fd_follow};
// The mode of a link says how the file was opened.
static const struct pent fd_links[4] = {
	[O_RDONLY] = {"fd", S_IFLNK | 0500, .iops = &fd_link_iops},
	[O_WRONLY] = {"fd", S_IFLNK | 0300, .iops = &fd_link_iops},
	[O_RDWR] = {"fd", S_IFLNK | 0700, .iops = &fd_link_iops},
	[3] = {"fd", S_IFLNK | 0, .iops = &fd_link_iops},
};

static int fdinfo_text(struct pout *o, struct pnode *n)
{
	bool cloexec = false;
	struct file *f = file_of(n, n->fd, &cloexec);
	char *buf;
	u64 set;

	if (!f)
		return -ENOENT;
	pout(o, "pos:\t%ld\nflags:\t0%o\nmnt_id:\t%d\nino:\t%lu\n", f->ops && f->ops->stream ? 0l : (s64)f->pos,
	     f->flags | (cloexec ? O_CLOEXEC : 0), f->path.mnt ? f->path.mnt->id : 0, f->inode ? f->inode->ino : 0);
	set = signalfd_set(f);
	if (set)
		pout(o, "sigmask:\t%016lx\n", set);
	buf = kmalloc(PAGE_SIZE);
	if (buf) {
		size_t len = epoll_fdinfo(f, buf, PAGE_SIZE);

		if (!len)
			len = inotify_fdinfo(f, buf, PAGE_SIZE);
		if (!len)
			len = eventfd_fdinfo(f, buf, PAGE_SIZE);
		if (!len)
			len = timerfd_fdinfo(f, buf, PAGE_SIZE);
		if (!len)
			len = uring_fdinfo(f, buf, PAGE_SIZE);
		pout_raw(o, buf, min(len, PAGE_SIZE - 1));
		kfree(buf);
	}
	file_put(f);
	return 0;
}

static const struct pent fdinfo_file = {"fdinfo", S_IFREG | 0400, .text = fdinfo_text};

static int lookup_fd(struct inode *dir, const char *name, u32 len, struct inode **out, bool info)
{
	struct pnode *n = pnode_of(dir);
	int fd = proc_number(name, len);
	bool cloexec;
	struct file *f = fd < 0 ? NULL : file_of(n, fd, &cloexec);
	u32 acc;

	if (!f)
		return -ENOENT;
	acc = f->flags & O_PATH ? 3 : f->flags & O_ACCMODE;
	file_put(f);
	*out = proc_inode(dir->sb, info ? &fdinfo_file : &fd_links[acc], n->proc, n->tid, fd);
	return *out ? 0 : -ENOMEM;
}

static int fd_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	return lookup_fd(dir, name, len, out, false);
}

static int fdinfo_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	return lookup_fd(dir, name, len, out, true);
}

static int fd_readdir_type(struct file *f, struct dir_ctx *c, u32 type)
{
	struct pnode *n = pnode_of(f->inode);
	struct fdtable *t = files_get(n);
	char name[12];
	int fd;

	if (!t)
		return -ENOENT;
	for (u64 from = c->pos > 2 ? c->pos - 2 : 0; from < FD_FIRST << FD_SEGS && (fd = fdtable_next(t, (u32)from)) >= 0; from = fd + 1) {
		int len = snprintf(name, sizeof(name), "%d", fd);

		if (!c->emit(c, name, len, f->inode->ino + fd + 1, type, fd + 3))
			break;
	}
	fdtable_put(t);
	return 0;
}

static int fd_readdir(struct file *f, struct dir_ctx *c) { return fd_readdir_type(f, c, S_IFLNK >> 12); }

static int fdinfo_readdir(struct file *f, struct dir_ctx *c) { return fd_readdir_type(f, c, S_IFREG >> 12); }

const struct inode_ops proc_fd_iops = {.lookup = fd_lookup, .no_cache = true};
const struct inode_ops proc_fdinfo_iops = {.lookup = fdinfo_lookup, .no_cache = true};
const struct file_ops proc_fd_fops = {.readdir = fd_readdir, .llseek = proc_dir_llseek};
const struct file_ops proc_fdinfo_fops = {.readdir = fdinfo_readdir, .llseek = proc_dir_llseek};
