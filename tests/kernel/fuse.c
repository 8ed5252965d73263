// SPDX-License-Identifier: Apache-2.0
// FUSE mounts. The daemon is a child of the case that speaks the protocol itself, over a small file system in its memory, and can be told to
// misbehave. Natively the cases want CAP_SYS_ADMIN and /dev/fuse.
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
	struct {
		struct fuse_dirent d;
		char name[512];
	} d = {.d = {.ino = 7, .off = 1, .namelen = 3, .type = 8}};

	switch (fs.bad) {
	case SHORT_REPLY: reply(h->unique, 0, junk, 3); break;
	case LONG_REPLY: reply(h->unique, 0, junk, sizeof(junk)); break;
	case NO_TYPE: e.nodeid = 5; e.attr.mode = 0644; reply(h->unique, 0, &e, sizeof(e)); break;
	case ROOT_ID: reply(h->unique, 0, &e, sizeof(e)); break;
	case DIRENT_NUL: memcpy(d.name, "a/b", 3); reply(h->unique, 0, &d, 32); break;
	case DIRENT_LONG: d.d.namelen = 5000; reply(h->unique, 0, &d, 32); break;
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

static void fuse_mount_with(const char *more)
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
	if (mount("test", "m", "fuse.test", MS_NOSUID | MS_NODEV, opts)) {
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

TEST_DIR(read_a_file)
{
	struct stat st;
	fuse_mount();
	STREQ(t_get("m/hello"), "hello fuse\n");
	STREQ(t_get("m/dir/inner"), "inner");
	OK(stat("m/hello", &st));
	EQ(st.st_size, 11);
	EQ(st.st_ino, 102);
	EQ(st.st_mode, S_IFREG | 0644);
	ERR(stat("m/none", &st), ENOENT);
	ERR(stat("m/hello/x", &st), ENOTDIR);
	OK(stat("m", &st));
	EQ(st.st_mode, S_IFDIR | 0755);
}

TEST_DIR(list_a_directory)
{
	struct dirent **e;
	fuse_mount();
	EQ(scandir("m", &e, NULL, alphasort), 4);
	STREQ(e[0]->d_name, ".");
	STREQ(e[1]->d_name, "..");
	STREQ(e[2]->d_name, "dir");
	STREQ(e[3]->d_name, "hello");
	EQ(e[3]->d_type, DT_REG);
	EQ(e[3]->d_ino, 102);
	char name[32];
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof(name), "m/dir/file-with-some-name-%02d", i);
		t_put(name, "x");
	}
	EQ(scandir("m/dir", &e, NULL, alphasort), 43);
	DIR *d = opendir("m/dir");
	for (int i = 0; i < 5; i++)
		CHECK(readdir(d));
	long at = telldir(d);
	char want[256];
	snprintf(want, sizeof(want), "%s", readdir(d)->d_name);
	while (readdir(d))
		;
	seekdir(d, at);
	STREQ(readdir(d)->d_name, want);
	rewinddir(d);
	STREQ(readdir(d)->d_name, ".");
	closedir(d);
}

TEST_DIR(make_write_and_remove)
{
	struct stat st;
	char buf[64] = "";
	fuse_mount();
	int fd = OK(open("m/new", O_RDWR | O_CREAT | O_EXCL, 0640));
	EQ(write(fd, "some words", 10), 10);
	EQ(pread(fd, buf, sizeof(buf), 5), 5);
	STREQ(buf, "words");
	OK(fstat(fd, &st));
	EQ(st.st_size, 10);
	EQ(st.st_mode, S_IFREG | 0640);
	OK(fsync(fd));
	OK(ftruncate(fd, 4));
	EQ(lseek(fd, 0, SEEK_END), 4);
	OK(close(fd));
	CHECK(hears('C'));
	CHECK(hears('s'));
	CHECK(hears('f'));
	CHECK(hears('R'));
	STREQ(t_get("m/new"), "some");
	fd = OK(open("m/new", O_WRONLY | O_APPEND));
	EQ(write(fd, "+", 1), 1);
	OK(close(fd));
	STREQ(t_get("m/new"), "some+");
	t_put("m/new", "over"); // O_TRUNC
	STREQ(t_get("m/new"), "over");
	ERR(open("m/new", O_CREAT | O_EXCL | O_RDWR, 0600), EEXIST);
	OK(mkdir("m/d", 0711));
	OK(stat("m/d", &st));
	EQ(st.st_mode, S_IFDIR | 0711);
	OK(rename("m/new", "m/d/moved"));
	ERR(access("m/new", F_OK), ENOENT);
	STREQ(t_get("m/d/moved"), "over");
	ERR(rmdir("m/d"), ENOTEMPTY);
	ERR(renameat2(AT_FDCWD, "m/d/moved", AT_FDCWD, "m/hello", 1), EEXIST);
	ERR(renameat2(AT_FDCWD, "m/d/moved", AT_FDCWD, "m/hello", 2), EINVAL);
	OK(unlink("m/d/moved"));
	OK(rmdir("m/d"));
	OK(symlink("hello", "m/link"));
	EQ(readlink("m/link", buf, sizeof(buf)), 5);
	STREQ(t_get("m/link"), "hello fuse\n");
	OK(chmod("m/hello", 0444));
	OK(chown("m/hello", 7, 8));
	OK(stat("m/hello", &st));
	EQ(st.st_mode, S_IFREG | 0444);
	EQ(st.st_uid, 7);
	struct timespec ts[2] = {{5, 0}, {6, 0}};
	OK(utimensat(AT_FDCWD, "m/hello", ts, 0));
	OK(stat("m/hello", &st));
	EQ(st.st_mtime, 6);
}

TEST_DIR(a_long_file)
{
	static uint8_t out[300000], in[300000];
	fuse_mount();
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)(i * 7 + i / 1000);
	int fd = OK(open("m/long", O_RDWR | O_CREAT, 0600));
	t_writen(fd, out, sizeof(out));
	OK(lseek(fd, 0, SEEK_SET));
	EQ(t_readn(fd, in, sizeof(in)), sizeof(in));
	EQ(memcmp(in, out, sizeof(in)), 0);
	EQ(read(fd, in, 10), 0);
	EQ(pwrite(fd, "x", 1, 2 << 20), -1);
	EQ(errno, ENOSPC);
	int fl = OK(open("copy", O_RDWR | O_CREAT, 0600));
	off_t off = 0;
	for (ssize_t k, left = sizeof(out); left; left -= k)
		k = OK(sendfile(fl, fd, &off, (size_t)left));
	EQ(pread(fl, in, sizeof(in), 0), sizeof(in));
	EQ(memcmp(in, out, sizeof(in)), 0);
}

static volatile sig_atomic_t ticks;

static void tick(int sig)
{
	(void)sig;
	ticks++;
}

// A daemon that does not mind the interruption: all is read and written.
TEST_DIR(signals_do_not_cut_it_short)
{
	static uint8_t b[1000000];
	struct itimerval often = {{0, 500}, {0, 500}};
	fuse_mount();
	int fd = OK(open("m/long", O_RDWR | O_CREAT, 0600));
	OK(sigaction(SIGALRM, &(struct sigaction){.sa_handler = tick}, NULL));
	OK(setitimer(ITIMER_REAL, &often, NULL));
	for (int i = 0; i < 5 || !ticks; i++) {
		EQ(pwrite(fd, b, sizeof(b), 0), sizeof(b));
		EQ(pread(fd, b, sizeof(b), 0), sizeof(b));
	}
	OK(setitimer(ITIMER_REAL, &(struct itimerval){0}, NULL));
}

TEST_DIR(mapped_for_reading)
{
	fuse_mount();
	int fd = OK(open("m/hello", O_RDONLY));
	char *p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	CHECK(p != MAP_FAILED);
	EQ(memcmp(p, "hello fuse\n\0", 12), 0);
	char *q = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	CHECK(q != MAP_FAILED);
	q[0] = 'J';
	EQ(p[0], 'h');
	EQ(memcmp(q, "Jello", 5), 0);
}

TEST_DIR(a_program_on_it_runs)
{
	fuse_mount();
	int out = OK(open("m/prog", O_WRONLY | O_CREAT, 0755)), in = OK(open("/proc/self/exe", O_RDONLY));
	static char buf[65536];
	struct stat st;
	OK(fstat(in, &st));
	if (st.st_size > BUFFER)
		SKIP("this program is too long");
	for (ssize_t k; (k = read(in, buf, sizeof(buf))) > 0;)
		t_writen(out, buf, (size_t)k);
	OK(close(out));
	pid_t p = fork();
	if (!p) {
		int null = open("/dev/null", O_WRONLY);
		dup2(null, 1);
		execl("m/prog", "m/prog", "-l", NULL);
		_exit(9);
	}
	EQ(t_wait(p), 0);
}

TEST_DIR(attributes_by_name)
{
	char buf[64];
	fuse_mount();
	OK(setxattr("m/hello", "user.colour", "green", 5, 0));
	EQ(getxattr("m/hello", "user.colour", NULL, 0), 5);
	EQ(getxattr("m/hello", "user.colour", buf, sizeof(buf)), 5);
	ERR(getxattr("m/hello", "user.colour", buf, 2), ERANGE);
	ERR(getxattr("m/hello", "user.none", buf, 2), ENODATA);
	EQ(listxattr("m/hello", buf, sizeof(buf)), 12);
	STREQ(buf, "user.colour");
	OK(removexattr("m/hello", "user.colour"));
	EQ(listxattr("m/hello", buf, sizeof(buf)), 0);
}

TEST_DIR(figures_and_names)
{
	struct statfs s;
	fuse_mount_with(",max_read=8192");
	OK(statfs("m", &s));
	EQ(s.f_type, 0x65735546);
	EQ(s.f_blocks, 1000);
	EQ(s.f_bavail, 400);
	EQ(s.f_namelen, 63);
	const char *mounts = t_get("/proc/self/mounts");
	CHECK(strstr(mounts, "/m fuse.test rw,nosuid,nodev"));
	CHECK(strstr(mounts, ",user_id=0,group_id=0,max_read=8192 0 0"));
	STREQ(t_get("m/hello"), "hello fuse\n");
}

TEST_DIR(wrong_options)
{
	char opts[128];
	if (unshare(CLONE_NEWNS))
		SKIP("no mount namespaces here");
	dev = open("/dev/fuse", O_RDWR);
	if (dev < 0)
		SKIP("no /dev/fuse here");
	OK(mkdir("m", 0755));
	if (mount("x", "m", "fuse", 0, "fd=999,rootmode=40000,user_id=0,group_id=0") && errno == EPERM)
		SKIP("no FUSE mounts here");
	EQ(errno, EINVAL);
	snprintf(opts, sizeof(opts), "fd=%d,user_id=0,group_id=0", dev);
	ERR(mount("x", "m", "fuse", 0, opts), EINVAL);
	snprintf(opts, sizeof(opts), "fd=%d,rootmode=40000,user_id=0,group_id=0,nonsense=1", dev);
	ERR(mount("x", "m", "fuse", 0, opts), EINVAL);
	char b[8];
	ERR(read(dev, b, sizeof(b)), EPERM);
	struct pollfd p = {.fd = dev, .events = POLLIN};
	EQ(poll(&p, 1, 0), 1);
	EQ(p.revents, POLLERR);
}

TEST_DIR(unmounting_ends_the_daemon)
{
	fuse_mount();
	STREQ(t_get("m/hello"), "hello fuse\n");
	int fd = OK(open("m/hello", O_RDONLY));
	ERR(umount("m"), EBUSY);
	OK(close(fd));
	OK(umount("m"));
	CHECK(hears('E'));
	EQ(t_wait(daemon_pid), 0);
	ERR(access("m/hello", F_OK), ENOENT);
}

TEST_DIR(a_daemon_that_is_killed)
{
	char b[8];
	struct stat st;
	fuse_mount();
	int fd = OK(open("m/hello", O_RDONLY));
	t_end(daemon_pid);
	ERR(pread(fd, b, 8, 0), ENOTCONN);
	ERR(stat("m/dir", &st), ENOTCONN);
	ERR(open("m/x", O_CREAT | O_RDWR, 0600), ENOTCONN);
	ERR(close(fd), ENOTCONN);
	OK(umount("m"));
}

static void bad(enum bad how, uint32_t op)
{
	fs.bad = how;
	fs.bad_op = op;
	fuse_mount();
}

TEST_DIR(it_dies_over_a_request)
{
	struct stat st;
	bad(DIES, FUSE_LOOKUP);
	ERR(stat("m/hello", &st), ECONNABORTED);
	ERR(stat("m/hello", &st), ENOTCONN);
	OK(umount("m"));
}

TEST_DIR(replies_that_are_too_short)
{
	struct stat st;
	bad(SHORT_REPLY, FUSE_LOOKUP);
	ERR(stat("m/hello", &st), EIO);
	CHECK(hears('W')); // its write failed
}

TEST_DIR(replies_that_are_too_long)
{
	bad(LONG_REPLY, FUSE_GETATTR);
	struct stat st;
	ERR(stat("m/hello", &st) || fstatat(AT_FDCWD, "m", &st, 0) ? -1 : 0, EIO);
}

TEST_DIR(an_inode_without_a_type)
{
	struct stat st;
	bad(NO_TYPE, FUSE_LOOKUP);
	ERR(stat("m/hello", &st), EIO);
}

TEST_DIR(a_file_that_says_it_is_the_root)
{
	struct stat st;
	bad(ROOT_ID, FUSE_LOOKUP);
	ERR(stat("m/hello", &st), EIO);
}

TEST_DIR(a_name_with_a_slash)
{
	char b[1024];
	bad(DIRENT_NUL, FUSE_READDIR);
	int fd = OK(open("m", O_RDONLY));
	ERR(syscall(SYS_getdents64, fd, b, sizeof(b)), EIO);
}

TEST_DIR(a_name_that_is_too_long)
{
	char b[1024];
	bad(DIRENT_LONG, FUSE_READDIR);
	int fd = OK(open("m", O_RDONLY));
	ERR(syscall(SYS_getdents64, fd, b, sizeof(b)), EIO);
}

TEST_DIR(an_error_that_is_none)
{
	struct stat st;
	bad(BIG_ERROR, FUSE_LOOKUP);
	ERR(stat("m/hello", &st), EIO);
	CHECK(hears('W'));
}

TEST_DIR(an_answer_that_nobody_asked_for)
{
	struct stat st;
	bad(LIAR, FUSE_LOOKUP);
	ERR(stat("m/hello", &st), EIO);
}

static void nothing(int sig) { (void)sig; }

TEST_DIR(a_signal_interrupts)
{
	char b[8];
	bad(SILENT, FUSE_READ);
	int fd = OK(open("m/hello", O_RDONLY));
	t_on(SIGUSR1, nothing, 0);
	pid_t pest = t_pester(getpid(), SIGUSR1);
	ERR(read(fd, b, 8), EINTR);
	t_end(pest);
	CHECK(hears('I'));
}

static void until_asleep(pid_t p)
{
	char path[32], state = 'R';
	snprintf(path, sizeof(path), "/proc/%d/stat", p);
	while (state != 'S' && state != 'D') {
		const char *end = strrchr(t_get(path), ')');
		CHECK(end);
		state = end[2];
		usleep(1000);
	}
}

TEST_DIR(a_signal_before_the_daemon_reads)
{
	bad(SILENT, FUSE_READ);
	int fd = OK(open("m/hello", O_RDONLY)), status;
	OK(kill(daemon_pid, SIGSTOP));
	EQ(waitpid(daemon_pid, &status, WUNTRACED), daemon_pid);
	t_on(SIGUSR1, nothing, 0);
	pid_t p = OK(fork());
	if (!p) {
		char b[8];
		_exit(read(fd, b, 8) < 0 && errno == EINTR ? 0 : 1);
	}
	until_asleep(p);
	OK(kill(p, SIGUSR1));
	OK(kill(daemon_pid, SIGCONT));
	EQ(waitpid(p, &status, 0), p);
	EQ(status, 0);
	CHECK(hears('I'));
}

TEST_DIR(a_request_that_the_daemon_has_no_room_for)
{
	static char value[20000];
	fs.small = true;
	fuse_mount();
	memset(value, 'v', sizeof(value));
	ERR(setxattr("m/hello", "user.long", value, sizeof(value), 0), E2BIG);
	OK(setxattr("m/hello", "user.short", value, 50, 0));
	EQ(getxattr("m/hello", "user.short", NULL, 0), 50);
}

TEST_DIR(who_is_killed_waits_no_longer)
{
	bad(SILENT, FUSE_READ);
	pid_t p = fork();
	if (!p) {
		char b[8];
		int fd = open("m/hello", O_RDONLY);
		_exit((int)read(fd, b, 8));
	}
	CHECK(hears('S'));
	t_end(p);
	struct stat st;
	OK(stat("m/dir", &st)); // the daemon goes on
}

TEST_DIR(without_create_and_open)
{
	fs.no_create = fs.no_open = true;
	fuse_mount();
	t_put("m/new", "made by mknod");
	STREQ(t_get("m/new"), "made by mknod");
	STREQ(t_get("m/hello"), "hello fuse\n");
}

TEST_DIR(others_are_not_let_in)
{
	fuse_mount();
	OK(chmod(".", 0755));
	pid_t p = fork();
	if (!p) {
		OK(setgid(1234));
		OK(setuid(1234));
		struct stat st;
		ERR(stat("m/hello", &st), EACCES);
		ERR(open("m", O_RDONLY), EACCES);
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

TEST_DIR(others_with_permission)
{
	fuse_mount_with(",allow_other,default_permissions");
	OK(chmod(".", 0755));
	pid_t p = fork();
	if (!p) {
		OK(setgid(1234));
		OK(setuid(1234));
		STREQ(t_get("m/hello"), "hello fuse\n");
		ERR(open("m/dir/inner", O_RDONLY), EACCES);
		ERR(open("m/hello", O_WRONLY), EACCES);
		ERR(mkdir("m/x", 0700), EACCES);
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

TEST_DIR(what_is_known_is_forgotten)
{
	fuse_mount();
	STREQ(t_get("m/hello"), "hello fuse\n");
	OK(umount("m"));
	char got;
	bool wrong = false;
	struct pollfd p = {.fd = ears, .events = POLLIN};
	while (poll(&p, 1, 10000) > 0 && read(ears, &got, 1) == 1 && got != 'E')
		wrong |= got == '!';
	CHECK(!wrong);
}

TEST_DIR(not_forgotten_while_it_is_released)
{
	bad(LATE, FUSE_RELEASE);
	int fd = OK(open("m/hello", O_RDONLY));
	OK(unlink("m/hello"));
	OK(close(fd));
	char got = 0;
	bool wrong = false;
	struct pollfd p = {.fd = ears, .events = POLLIN};
	while (got != 'L' && poll(&p, 1, 10000) > 0 && read(ears, &got, 1) == 1)
		wrong |= got == '!';
	CHECK(got == 'L' && !wrong);
	CHECK(hears('F')); // afterwards it is
}

// An answer about a file that is older than what was done to it since does not count.
TEST_DIR(attributes_that_are_out_of_date)
{
	bad(STALE, FUSE_GETATTR);
	int fd = OK(open("m/hello", O_RDWR));
	struct stat st;
	pid_t p = OK(fork());
	if (!p)
		_exit(fstat(fd, &st) != 0);
	CHECK(hears('S'));
	OK(ftruncate(fd, 3));
	CHECK(hears('L'));
	EQ(t_wait(p), 0);
	OK(fstat(fd, &st));
	EQ(st.st_size, 3);
}

// The daemon says that a file has become shorter: mappings of it lose the rest.
TEST_DIR(a_file_that_shrinks_by_itself)
{
	fuse_mount();
	int fd = OK(open("m/long", O_RDWR | O_CREAT, 0644));
	for (int i = 0; i < 3; i++)
		OK(pwrite(fd, "x", 1, i * 4096L));
	char *map = OK(mmap(NULL, 3 * 4096, PROT_READ, MAP_PRIVATE, fd, 0));
	EQ(map[8192], 'x');
	OK(fsetxattr(fd, "user.shrink", "", 0, 0));
	struct stat st;
	OK(fstat(fd, &st));
	EQ(st.st_size, 4096);
	pid_t p = OK(fork());
	if (!p)
		_exit(map[0] == 'x' ? map[8192] : 3);
	int status;
	EQ(OK(waitpid(p, &status, 0)), p);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
}

TEST_DIR(what_is_made_is_something_else)
{
	bad(WRONG_TYPE, FUSE_MKDIR);
	ERR(mkdir("m/new", 0755), EIO);
}

TEST_DIR(many_at_once)
{
	fuse_mount();
	for (int k = 0; k < 4; k++)
		if (!fork()) {
			char name[32], text[32];
			for (int i = 0; i < 50; i++) {
				snprintf(name, sizeof(name), "m/f%d", k);
				snprintf(text, sizeof(text), "%d of %d", i, k);
				t_put(name, text);
				STREQ(t_get(name), text);
				OK(unlink(name));
				if (i % 16 == 15)
					STREQ(t_get("m/hello"), "hello fuse\n");
				if (i == 10)
					break; // nodes of the daemon are few
			}
			_exit(0);
		}
	for (int k = 0, st; k < 4; k++) {
		OK(wait(&st));
		EQ(st, 0);
	}
}

TEST_DIR(a_second_device)
{
	uint32_t first;
	fuse_mount();
	int d = OK(open("/dev/fuse", O_RDWR));
	first = 12345;
	ERR(ioctl(d, FUSE_DEV_IOC_CLONE, &first), EINVAL);
	ERR(ioctl(d, 0x1234, &first), ENOTTY);
}
