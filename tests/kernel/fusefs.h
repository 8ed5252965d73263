// SPDX-License-Identifier: Apache-2.0
// A FUSE daemon for the cases: a child that speaks the protocol itself, over a small file system in its memory, and can be told to
// misbehave. Natively they want CAP_SYS_ADMIN and /dev/fuse.
#pragma once
#include "t.h"
#include <linux/fuse.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/time.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#define NODES 64
#define BUFFER (1 << 20)

struct node {
	bool used;
	uint32_t mode, uid, gid, nlink;
	uint64_t parent; // 0: no name
	char name[64], link[64], xname[64], xvalue[64];
	uint8_t *data;
	uint64_t size, mtime, lookups, atime;
};

enum bad { GOOD, SHORT_REPLY, LONG_REPLY, NO_TYPE, ROOT_ID, DIRENT_NUL, DIRENT_LONG, BIG_ERROR, LIAR, DIES, SILENT, LATE, STALE, WRONG_TYPE };

static struct {
	struct node n[NODES];
	int fd;
	enum bad bad;
	uint32_t bad_op;
	int told; // pipe: a line for each interesting request
	uint64_t valid;
	bool no_create, no_open;
	bool small; // writes of a page at most, and the smallest buffer that is allowed
} fs;

static struct fuse_attr attr_of(uint64_t id)
{
	struct node *n = &fs.n[id];
	return (struct fuse_attr){.ino = id + 100, .size = n->size, .blocks = (n->size + 511) / 512, .mode = n->mode, .nlink = n->nlink, .uid = n->uid,
				  .gid = n->gid, .mtime = n->mtime, .atime = n->atime, .blksize = 4096};
}

static void say(const char *what)
{
	if (fs.told >= 0 && write(fs.told, what, strlen(what)) < 0)
		_exit(3);
}

static void reply(uint64_t unique, int error, const void *data, size_t n)
{
	struct fuse_out_header h = {.len = (uint32_t)(sizeof(h) + n), .error = error, .unique = unique};
	struct iovec v[] = {{&h, sizeof(h)}, {(void *)data, n}};
	if (writev(fs.fd, v, 2) < 0 && errno != ENOENT)
		say("W");
}

static struct fuse_entry_out entry_of(uint64_t id)
{
	fs.n[id].lookups++;
	return (struct fuse_entry_out){.nodeid = id, .attr_valid = fs.valid, .entry_valid = fs.valid, .attr = attr_of(id)};
}

static uint64_t find(uint64_t dir, const char *name)
{
	for (uint64_t i = 2; i < NODES; i++)
		if (fs.n[i].used && fs.n[i].parent == dir && !strcmp(fs.n[i].name, name))
			return i;
	return 0;
}

static uint64_t add(uint64_t dir, const char *name, uint32_t mode, uint32_t uid, uint32_t gid)
{
	for (uint64_t i = 2; i < NODES; i++)
		if (!fs.n[i].used) {
			fs.n[i] = (struct node){.used = true, .mode = mode, .uid = uid, .gid = gid, .nlink = S_ISDIR(mode) ? 2 : 1, .parent = dir, .mtime = 1000};
			snprintf(fs.n[i].name, sizeof(fs.n[i].name), "%s", name);
			fs.n[i].data = calloc(1, BUFFER);
			return i;
		}
	return 0;
}

static void put_text(uint64_t id, const char *text)
{
	fs.n[id].size = strlen(text);
	memcpy(fs.n[id].data, text, strlen(text));
}

static void serve_one(struct fuse_in_header *h, uint8_t *body);

// Answers when nothing more comes for a while: until then the node is in use, and nobody may forget it.
static void answer_late(const struct fuse_in_header *h)
{
	static uint8_t buf[BUFFER + 4096] __attribute__((aligned(8)));
	struct fuse_in_header *other = (void *)buf;
	struct pollfd p = {.fd = fs.fd, .events = POLLIN};

	for (ssize_t n; poll(&p, 1, 300) == 1 && (n = read(fs.fd, buf, sizeof(buf))) > 0;) {
		if (other->opcode == FUSE_FORGET && other->nodeid == h->nodeid)
			say("!");
		serve_one(other, buf + sizeof(*other));
	}
	reply(h->unique, 0, NULL, 0);
	say("L");
}

// Answers to GETATTR with what was true before the next SETATTR, which is answered first.
static void answer_stale(const struct fuse_in_header *h)
{
	static uint8_t buf[BUFFER + 4096] __attribute__((aligned(8)));
	struct fuse_in_header *other = (void *)buf;
	struct fuse_attr_out o = {.attr_valid = 1000, .attr = attr_of(h->nodeid)};

	fs.bad = GOOD;
	say("S");
	do {
		if (read(fs.fd, buf, sizeof(buf)) <= 0)
			_exit(3);
		serve_one(other, buf + sizeof(*other));
	} while (other->opcode != FUSE_SETATTR);
	reply(h->unique, 0, &o, sizeof(o));
	say("L");
}

static void misbehave(const struct fuse_in_header *h)
{
	static uint8_t junk[8192];
	struct fuse_entry_out e = {.nodeid = 1, .attr = {.mode = S_IFREG | 0644}};
	uint64_t room[8] = {0};
	struct fuse_dirent *d = (void *)room; // its name lies behind it

	*d = (struct fuse_dirent){.ino = 7, .off = 1, .namelen = 3, .type = 8};
	switch (fs.bad) {
	case SHORT_REPLY: reply(h->unique, 0, junk, 3); break;
	case LONG_REPLY: reply(h->unique, 0, junk, sizeof(junk)); break;
	case NO_TYPE: e.nodeid = 5; e.attr.mode = 0644; reply(h->unique, 0, &e, sizeof(e)); break;
	case ROOT_ID: reply(h->unique, 0, &e, sizeof(e)); break;
	case DIRENT_NUL: memcpy(d->name, "a/b", 3); reply(h->unique, 0, d, 32); break;
	case DIRENT_LONG: d->namelen = 5000; reply(h->unique, 0, d, 32); break;
	case BIG_ERROR: reply(h->unique, -5000, NULL, 0); reply(h->unique, -EIO, NULL, 0); break;
	case LIAR: reply(h->unique + 1000, 0, NULL, 0); reply(h->unique, -EIO, NULL, 0); break;
	case DIES: _exit(0);
	case LATE: answer_late(h); break;
	case STALE: answer_stale(h); break;
	case WRONG_TYPE: e.nodeid = 5; fs.n[5].lookups++; reply(h->unique, 0, &e, sizeof(e)); break;
	default: say("S"); // no answer
	}
}

static void serve_one(struct fuse_in_header *h, uint8_t *body)
{
	struct node *n = h->nodeid < NODES ? &fs.n[h->nodeid] : NULL;
	char *name = (char *)body;
	uint64_t id;

	if (fs.bad && h->opcode == fs.bad_op) {
		misbehave(h);
		return;
	}
	switch (h->opcode) {
	case FUSE_INIT: {
		struct fuse_init_out o = {.major = 7, .minor = 31, .max_write = fs.small ? 4096 : 32768, .max_background = 8};
		struct fuse_init_in *in = (void *)body;
		if (in->major != 7 || in->minor < 31)
			say("V");
		if (fs.no_open)
			o.flags = in->flags & FUSE_NO_OPEN_SUPPORT;
		reply(h->unique, 0, &o, sizeof(o));
		break;
	}
	case FUSE_LOOKUP: {
		if (!(id = find(h->nodeid, name))) {
			reply(h->unique, -ENOENT, NULL, 0);
			break;
		}
		struct fuse_entry_out e = entry_of(id);
		reply(h->unique, 0, &e, sizeof(e));
		break;
	}
	case FUSE_FORGET: {
		uint64_t k = ((struct fuse_forget_in *)body)->nlookup;
		say(k > n->lookups ? "!" : "F");
		n->lookups -= k;
		break;
	}
	case FUSE_BATCH_FORGET: {
		struct fuse_batch_forget_in *b = (void *)body;
		struct fuse_forget_one *one = (void *)(b + 1);
		for (uint32_t k = 0; k < b->count; k++) {
			say(one[k].nlookup > fs.n[one[k].nodeid].lookups ? "!" : "F");
			fs.n[one[k].nodeid].lookups -= one[k].nlookup;
		}
		break;
	}
	case FUSE_GETATTR: {
		struct fuse_attr_out o = {.attr_valid = fs.valid, .attr = attr_of(h->nodeid)};
		reply(h->unique, 0, &o, sizeof(o));
		break;
	}
	case FUSE_SETATTR: {
		struct fuse_setattr_in *in = (void *)body;
		if (in->valid & FATTR_MODE)
			n->mode = (n->mode & S_IFMT) | (in->mode & 07777);
		if (in->valid & FATTR_UID)
			n->uid = in->uid;
		if (in->valid & FATTR_GID)
			n->gid = in->gid;
		if (in->valid & FATTR_MTIME)
			n->mtime = in->mtime;
		if (in->valid & FATTR_SIZE) {
			if (in->size < n->size)
				memset(n->data + in->size, 0, n->size - in->size);
			n->size = in->size;
		}
		struct fuse_attr_out o = {.attr_valid = fs.valid, .attr = attr_of(h->nodeid)};
		reply(h->unique, 0, &o, sizeof(o));
		break;
	}
	case FUSE_READLINK: reply(h->unique, 0, n->link, strlen(n->link)); break;
	case FUSE_SYMLINK: {
		id = add(h->nodeid, name, S_IFLNK | 0777, h->uid, h->gid);
		snprintf(fs.n[id].link, sizeof(fs.n[id].link), "%s", name + strlen(name) + 1);
		fs.n[id].size = strlen(fs.n[id].link);
		struct fuse_entry_out e = entry_of(id);
		reply(h->unique, 0, &e, sizeof(e));
		break;
	}
	case FUSE_MKNOD:
	case FUSE_MKDIR: {
		bool dir = h->opcode == FUSE_MKDIR;
		struct fuse_mknod_in *in = (void *)body;
		name += dir ? sizeof(struct fuse_mkdir_in) : sizeof(*in);
		id = add(h->nodeid, name, dir ? S_IFDIR | (in->mode & 07777) : in->mode, h->uid, h->gid);
		struct fuse_entry_out e = entry_of(id);
		reply(h->unique, 0, &e, sizeof(e));
		break;
	}
	case FUSE_CREATE: {
		struct fuse_create_in *in = (void *)body;
		if (fs.no_create) {
			reply(h->unique, -ENOSYS, NULL, 0);
			break;
		}
		say("C");
		id = add(h->nodeid, name + sizeof(*in), in->mode, h->uid, h->gid);
		struct {
			struct fuse_entry_out e;
			struct fuse_open_out o;
		} a = {entry_of(id), {.fh = 77}};
		reply(h->unique, 0, &a, sizeof(a));
		break;
	}
	case FUSE_UNLINK:
	case FUSE_RMDIR:
		if (!(id = find(h->nodeid, name))) {
			reply(h->unique, -ENOENT, NULL, 0);
			break;
		}
		for (uint64_t i = 2; h->opcode == FUSE_RMDIR && i < NODES; i++)
			if (fs.n[i].used && fs.n[i].parent == id) {
				reply(h->unique, -ENOTEMPTY, NULL, 0);
				return;
			}
		fs.n[id].parent = 0;
		fs.n[id].nlink = 0;
		reply(h->unique, 0, NULL, 0);
		break;
	case FUSE_RENAME:
	case FUSE_RENAME2: {
		struct fuse_rename2_in *in = (void *)body;
		bool two = h->opcode == FUSE_RENAME2;
		if (two && in->flags != 1) {
			reply(h->unique, -EINVAL, NULL, 0);
			break;
		}
		name += two ? sizeof(*in) : sizeof(struct fuse_rename_in);
		const char *to = name + strlen(name) + 1;
		uint64_t victim = find(in->newdir, to);
		id = find(h->nodeid, name);
		if (victim && two) {
			reply(h->unique, -EEXIST, NULL, 0);
			break;
		}
		if (victim)
			fs.n[victim].parent = fs.n[victim].nlink = 0;
		fs.n[id].parent = in->newdir;
		snprintf(fs.n[id].name, sizeof(fs.n[id].name), "%s", to);
		reply(h->unique, 0, NULL, 0);
		break;
	}
	case FUSE_OPEN:
	case FUSE_OPENDIR: {
		struct fuse_open_out o = {.fh = 42, .open_flags = FOPEN_DIRECT_IO};
		if (fs.no_open) {
			reply(h->unique, -ENOSYS, NULL, 0);
			break;
		}
		if (h->opcode == FUSE_OPENDIR)
			o.open_flags = 0;
		say("O");
		reply(h->unique, 0, &o, sizeof(o));
		break;
	}
	case FUSE_READ: {
		struct fuse_read_in *in = (void *)body;
		uint64_t left = in->offset < n->size ? n->size - in->offset : 0;
		if (in->fh != 42 && in->fh != 77 && !fs.no_open)
			say("H");
		reply(h->unique, 0, n->data + in->offset, left < in->size ? left : in->size);
		break;
	}
	case FUSE_WRITE: {
		struct fuse_write_in *in = (void *)body;
		struct fuse_write_out o = {.size = in->size};
		if (in->offset + in->size > BUFFER) {
			reply(h->unique, -ENOSPC, NULL, 0);
			break;
		}
		memcpy(n->data + in->offset, in + 1, in->size);
		if (in->offset + in->size > n->size)
			n->size = in->offset + in->size;
		n->mtime++;
		reply(h->unique, 0, &o, sizeof(o));
		break;
	}
	case FUSE_READDIR: {
		struct fuse_read_in *in = (void *)body;
		uint8_t buf[4096] = {0};
		size_t used = 0;
		for (uint64_t i = in->offset; i < NODES; i++) { // 0 and 1 stand for . and ..
			const char *nm = i == 0 ? "." : i == 1 ? ".." : fs.n[i].name;
			struct fuse_dirent d = {.ino = i + 100, .off = i + 1, .namelen = (uint32_t)strlen(nm), .type = i < 2 ? 4 : fs.n[i].mode >> 12};
			if (i >= 2 && (!fs.n[i].used || fs.n[i].parent != h->nodeid))
				continue;
			if (used + FUSE_DIRENT_SIZE(&d) > in->size)
				break;
			memcpy(buf + used, &d, FUSE_NAME_OFFSET);
			memcpy(buf + used + FUSE_NAME_OFFSET, nm, d.namelen);
			used += FUSE_DIRENT_SIZE(&d);
		}
		reply(h->unique, 0, buf, used);
		break;
	}
	case FUSE_STATFS: {
		struct fuse_statfs_out o = {.st = {.blocks = 1000, .bfree = 500, .bavail = 400, .files = 64, .ffree = 32, .bsize = 4096, .namelen = 63, .frsize = 4096}};
		reply(h->unique, 0, &o, sizeof(o));
		break;
	}
	case FUSE_SETXATTR: {
		struct fuse_setxattr_in *in = (void *)body;
		name += FUSE_COMPAT_SETXATTR_IN_SIZE;
		if (!strcmp(name, "user.shrink"))
			n->size = 4096;
		snprintf(n->xname, sizeof(n->xname), "%.63s", name);
		snprintf(n->xvalue, sizeof(n->xvalue), "%.*s", (int)in->size, name + strlen(name) + 1);
		reply(h->unique, 0, NULL, 0);
		break;
	}
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR: {
		struct fuse_getxattr_in *in = (void *)body;
		bool list = h->opcode == FUSE_LISTXATTR;
		const char *v = list ? n->xname : n->xvalue;
		struct fuse_getxattr_out o = {.size = (uint32_t)strlen(v) + (list && *v)};
		if (!list && strcmp(name + sizeof(*in), n->xname))
			reply(h->unique, -ENODATA, NULL, 0);
		else if (!in->size)
			reply(h->unique, 0, &o, sizeof(o));
		else if (in->size < o.size)
			reply(h->unique, -ERANGE, NULL, 0);
		else
			reply(h->unique, 0, v, o.size);
		break;
	}
	case FUSE_REMOVEXATTR:
		n->xname[0] = n->xvalue[0] = 0;
		reply(h->unique, 0, NULL, 0);
		break;
	case FUSE_INTERRUPT: {
		say("I");
		reply(((struct fuse_interrupt_in *)body)->unique, -EINTR, NULL, 0);
		break;
	}
	case FUSE_RELEASE: say("R"); reply(h->unique, 0, NULL, 0); break;
	case FUSE_RELEASEDIR: reply(h->unique, 0, NULL, 0); break;
	case FUSE_FLUSH: say("f"); reply(h->unique, 0, NULL, 0); break;
	case FUSE_FSYNC: say("s"); reply(h->unique, 0, NULL, 0); break;
	case FUSE_FALLOCATE: {
		struct fuse_fallocate_in *in = (void *)body;
		if (in->offset + in->length > n->size)
			n->size = in->offset + in->length;
		reply(h->unique, 0, NULL, 0);
		break;
	}
	default: reply(h->unique, -ENOSYS, NULL, 0);
	}
}

static int dev;
static pid_t daemon_pid;
static int ears = -1;

static void daemon_main(void)
{
	static uint8_t buf[BUFFER + 4096] __attribute__((aligned(8)));
	ssize_t n;
	fs.fd = dev;
	while ((n = read(dev, buf, fs.small ? FUSE_MIN_READ_BUFFER : sizeof(buf))) > 0 || errno == EINTR || errno == ENOENT)
		if (n > 0)
			serve_one((void *)buf, buf + sizeof(struct fuse_in_header));
	if (errno == ENODEV)
		say("E");
	_exit(0);
}

static void stock(void)
{
	fs.n[1] = (struct node){.used = true, .mode = S_IFDIR | 0755, .nlink = 2};
	put_text(add(1, "hello", S_IFREG | 0644, 0, 0), "hello fuse\n");
	uint64_t d = add(1, "dir", S_IFDIR | 0755, 0, 0);
	put_text(add(d, "inner", S_IFREG | 0600, 0, 0), "inner");
}

static void fuse_mount_as(const char *more, unsigned long flags)
{
	char opts[256];
	int p[2];
	if (unshare(CLONE_NEWNS))
		SKIP("no mount namespaces here");
	if (t_root_is_mount_point())
		OK(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL));
	dev = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		SKIP("no /dev/fuse here");
	OK(mkdir("m", 0755));
	snprintf(opts, sizeof(opts), "fd=%d,rootmode=40000,user_id=0,group_id=0%s", dev, more);
	if (mount("test", "m", "fuse.test", flags, opts)) {
		if (errno == EPERM || errno == ENODEV)
			SKIP("no FUSE mounts here");
		OK(-1);
	}
	OK(pipe(p));
	fs.told = p[1];
	stock();
	daemon_pid = OK(fork());
	if (!daemon_pid) {
		close(p[0]);
		daemon_main();
	}
	close(p[1]);
	close(dev);
	ears = p[0];
	OK(fcntl(ears, F_SETFL, O_NONBLOCK));
}

static void fuse_mount_with(const char *more) { fuse_mount_as(more, MS_NOSUID | MS_NODEV); }

static void fuse_mount(void) { fuse_mount_with(""); }

// Whether the daemon ever says c; waits for it.
static bool hears(char c)
{
	struct pollfd p = {.fd = ears, .events = POLLIN};
	char got;
	while (poll(&p, 1, 10000) > 0)
		if (read(ears, &got, 1) != 1)
			return false;
		else if (got == c)
			return true;
	return false;
}
