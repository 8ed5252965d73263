// SPDX-License-Identifier: Apache-2.0
// Files as programs see them: super blocks, inodes, names (dentries), open files, descriptor tables.
// Modelled on Linux's VFS; every word means there what it means here.
//
// Locks, in order: s_rename (per super block, directory renames) -> inode->lock (parent before child; two
// directories by address) -> dcache_lock (by shard: fs/dcache.c) -> its chains and lists ; fdtable->lock and file->pos_lock are leaves
// that are never held together. No lock is held while copying to or from user memory except with iter_* / _nofault helpers.
#pragma once
#include "kernel/include/alloc.h"
#include "kernel/include/list.h"
#include "kernel/include/lock.h"
#include "kernel/include/mm.h"
#include "kernel/include/shard.h"
#include "kernel/include/uapi.h"
#include "kernel/include/usercopy.h"
#include "kernel/include/wait.h"

#define NAME_MAX_ 255

struct inode;
struct dentry;
struct file;
struct super;
struct mount;
struct poll_table;

struct fstime {
	s64 sec;
	u32 nsec;
};

struct iattr {			// setattr: which fields are meant
	u32 valid;		// ATTR_*
	u32 mode, uid, gid;
	u64 size;
	struct fstime atime, mtime;
};
#define ATTR_MODE 1u
#define ATTR_UID 2u
#define ATTR_GID 4u
#define ATTR_SIZE 8u
#define ATTR_ATIME 16u
#define ATTR_MTIME 32u

struct dir_ctx {		// readdir: emit returns false when the caller's buffer is full
	u64 pos;		// cookie of the next entry; 0 and 1 are "." and ".." (the VFS emits them)
	bool (*emit)(struct dir_ctx *c, const char *name, u32 len, u64 ino, u32 dtype, u64 next_pos);
};

struct inode_ops {		// NULL = -EPERM / -ENOTDIR / -EINVAL, as Linux has it. Called with the directory's lock held.
	// Finds `name`: a new inode reference in *out, or -ENOENT. (The dcache caches both.)
	int (*lookup)(struct inode *dir, const char *name, u32 len, struct inode **out);
	int (*create)(struct inode *dir, const char *name, u32 len, u32 mode, u64 rdev, struct inode **out); // files, FIFOs, sockets, devices by S_IFMT
	int (*mkdir)(struct inode *dir, const char *name, u32 len, u32 mode, struct inode **out);
	int (*symlink)(struct inode *dir, const char *name, u32 len, const char *target, struct inode **out);
	int (*link)(struct inode *dir, const char *name, u32 len, struct inode *ino);
	int (*unlink)(struct inode *dir, const char *name, u32 len, struct inode *ino);
	int (*rmdir)(struct inode *dir, const char *name, u32 len, struct inode *ino);
	int (*rename)(struct inode *od, const char *on, u32 olen, struct inode *ino, struct inode *nd, const char *nn, u32 nlen,
		      struct inode *victim, u32 flags);
	int (*readlink)(struct inode *ino, char *buf, u32 n);	// length; not terminated
	// /proc magic links; NULL for most. Either NULL with references in *d and *m, or an open file (reference)
	// that stands for an object without a name (pipe, socket), or ERR_PTR.
	struct file *(*follow)(struct inode *ino, struct dentry **d, struct mount **m);
	int (*setattr)(struct inode *ino, const struct iattr *a);
	int (*getattr)(struct inode *ino);			// refresh before stat; NULL = inode is current
	ssize_t (*getxattr)(struct inode *ino, const char *name, void *buf, size_t n);
	int (*setxattr)(struct inode *ino, const char *name, const void *buf, size_t n, int flags);
	ssize_t (*listxattr)(struct inode *ino, char *buf, size_t n);
	int (*removexattr)(struct inode *ino, const char *name);
	int (*tmpfile)(struct inode *dir, u32 mode, struct inode **out);	// O_TMPFILE: nlink 0; NULL: -EOPNOTSUPP
	// Create and open at once: what it gives in *opened, file_ops->open finds in file->priv. NULL: create. unmake_open: it is not opened after all.
	int (*make_open)(struct inode *dir, const char *name, u32 len, u32 mode, u32 flags, struct inode **out, void **opened);
	void (*unmake_open)(struct inode *ino, void *opened);
	// Instead of the mode bits; must not sleep. -ECHILD: getattr first.
	int (*permission)(struct inode *ino, int mask);
	int (*set_flags)(struct inode *ino, u32 flags);	// FILE_*: has them; NULL: -ENOTTY, -EOPNOTSUPP
	int (*access)(struct inode *ino, int mask);	// asked by access(2) besides; may wait
	bool no_cache;			// names below must be looked up anew each time (/proc)
};

struct file_ops {		// NULL read/write = -EINVAL; poll NULL = always ready; see man 2 of each
	int (*open)(struct inode *ino, struct file *f);
	ssize_t (*read)(struct file *f, struct iter *it, u64 *pos);
	ssize_t (*write)(struct file *f, struct iter *it, u64 *pos);	// O_APPEND: *pos already handled by the op itself under its lock
	s64 (*llseek)(struct file *f, s64 off, int whence);		// NULL: default by inode size; &no_llseek: -ESPIPE
	int (*readdir)(struct file *f, struct dir_ctx *c);
	long (*ioctl)(struct file *f, u32 cmd, u64 arg);
	u32 (*poll)(struct file *f, struct poll_table *pt);
	int (*fsync)(struct file *f, bool data_only);
	int (*fallocate)(struct file *f, int mode, u64 off, u64 len);
	// FICLONERANGE; len 0: up to the end. Both files are of the same mount and op; NULL: -EOPNOTSUPP.
	int (*clone)(struct file *src, u64 soff, struct file *dst, u64 doff, u64 len);
	int (*dedupe)(struct file *src, u64 soff, struct file *dst, u64 doff, u64 len); // of equal contents: 1; 0: they differ
	int (*writeback)(struct file *f, bool wait);	// starts storing contents; NULL: nothing waits to be stored
	// What mmap of this file maps: *pc gets a reference; NULL op: -ENODEV. *pc NULL: plain anonymous (/dev/zero).
	int (*mmap)(struct file *f, u64 pgoff, size_t len, int prot, int flags, struct pagecache **pc);
	u64 (*mmap_page)(struct file *f, u64 pgoff);		// which page of *pc that is; NULL: pgoff
	int (*flush)(struct file *f);				// each close of a descriptor; what close(2) returns
	void (*release)(struct file *f);			// last reference
	int (*set_flags)(struct file *f, u32 flags);		// fcntl(F_SETFL) notification; NULL ok
	bool stream;						// no file position: pread/pwrite/lseek give ESPIPE
	bool paged;						// read gives what inode->pc has, or brings there
};
s64 no_llseek(struct file *f, s64 off, int whence);

struct super_ops {
	void (*evict)(struct inode *ino);	// last reference gone: free fs_private (and data when nlink is 0)
	void (*options)(struct super *s, char *buf, size_t n); // mount options of its own as /proc/mounts shows them; NULL: none
	int (*statfs)(struct super *s, struct statfs *st);
	int (*sync)(struct super *s);
	int (*remount)(struct super *s, u32 flags, const char *opts);	// MS_REMOUNT; NULL: only the mount changes
	struct dentry *(*mount_root)(struct super *s); // where a new mount begins: a reference; NULL: at droot
	void (*put)(struct super *s);		// unmounted
};

struct super {
	const struct super_ops *ops;
	const char *fstype;		// "tmpfs", "erofs", "proc"...
	u64 dev;			// st_dev
	u32 magic;			// statfs f_type
	u32 blocksize;
	bool read_only;
	bool waits;			// its operations wait for a program: called without inode locks (inode_lock), never under others
	u8 stack;			// overlay mounts below and at it (fs/ovl_mount.c)
	char subtype[24];		// "bindfs" of "fuse.bindfs"
	struct mutex rename_lock;
	void *priv;
	struct ref ref;			// mounts, inodes
	struct ref active;		// mounts
	u64 next_ino;
	u32 slot;			// stays until the end: no references are counted, and sums by shard (fs/super.c); 0: neither
	struct inode *root;		// reference
	struct dentry *droot;		// reference; made from `root` by the first mount
	struct user_ns *user_ns;	// of who made it: a reference; NULL: the first one
};

struct inode {
	struct ref ref;
	struct mutex lock;
	struct super *sb;
	u64 ino;
	u32 mode, uid, gid, nlink;
	u64 rdev, size, blocks;		// blocks of 512 bytes
	struct fstime atime, mtime, ctime, btime;
	const struct inode_ops *iops;
	const struct file_ops *fops;	// default for files opened on it
	struct pagecache *pc;		// regular files
	void *priv;			// of the file system
	void *ipc;			// pipe state of a FIFO, bound unix socket...
	struct file_locks *locks;	// record locks, flock (fs/locks.c)
	void *watches;			// inotify
	struct textview *views;		// mm/text.c
	u32 writers, deny_write;	// ETXTBSY
	u32 flags;			// FILE_* (fs/fileattr.c)
	bool linkable;			// nlink 0, but linkat may give it a name (O_TMPFILE)
	u64 generation;
	u64 key;			// in the inode cache
	struct list hash;		// inode cache (inode_find), empty when not in it
};

struct dentry {
	struct ref ref;			// one of them is the name cache's own while `hashed`
	struct dentry *parent;		// reference; itself at the root of a file system
	struct inode *inode;		// reference; NULL = negative
	struct list hash, sibling, children, lru;
	u32 hashval, len, room;		// room: bytes of iname
	bool hashed;			// false once unlinked
	bool mountpoint;		// something is mounted here
	bool referenced;		// looked up since the trimmer last passed
	u8 shard;			// whose list of old names it is in
	u32 name_seq;			// odd while a rename changes name and parent: d_name_locked
	char *name;			// iname or kmalloc'ed; a rename changes it: d_name_locked, or the directory's inode lock
	char iname[];
};
extern struct brlock dcache_lock;

struct path {			// a place in the tree: holds both references
	struct mount *mnt;
	struct dentry *dentry;
};

struct mount {
	s32 counts[SHARDS][16];		// a cache line each (objects of this size begin with one); what follows is mostly read
	struct ref ref;			// all references once it is detached; before that its base, the rest is in `counts`
	bool attached;			// fast references: dcache_lock held for reading is enough to take or drop one
	struct super *sb;
	struct mount *parent;		// NULL for the root
	struct dentry *mountpoint;	// in parent
	struct dentry *root;
	u32 flags;			// MS_RDONLY, MS_NOSUID...
	struct list link;		// all mounts
	char source[64];
	int id;
	struct mnt_ns *ns;		// whose tree it is in; NULL: unmounted, or not yet mounted
	u32 propagation;		// MS_SHARED...; 0 and MS_PRIVATE are the same
	bool expiring;			// MNT_EXPIRE was asked once
	bool locked;			// came from a user namespace above: not to be unmounted or moved alone
	u32 locked_flags;		// of its MS_*, those that are not to be taken back; MS_RELATIME: what it does with access times
	bool detached;			// hangs nowhere; a descriptor owns it (fs/mount_api.c)
	struct mount *copy;		// while a tree is copied
	struct path was;		// where it hung, until its references are dropped
};

struct fs_ctx {			// CLONE_FS
	struct ref ref;
	struct mutex lock;
	struct path cwd, root;
	u32 umask;
	struct mnt_ns *mnt_ns;		// of a thread that left its process's namespace: a reference. NULL: the process's
};

struct file {
	struct ref ref;
	u32 flags;			// O_*
	const struct file_ops *ops;
	struct inode *inode;		// never NULL (anonymous files have one of the anon super block)
	bool owns_inode;		// a reference of its own; else that of path.dentry
	struct path path;		// may be empty for pipes and sockets
	u64 pos;
	struct mutex pos_lock;
	void *priv;
	struct sigio *sigio;		// F_SETOWN, F_SETSIG, O_ASYNC (fs/sigio.c); NULL: never asked for
	bool dnotify;			// fcntl(F_NOTIFY) was called on it
	struct list epoll_links;	// epitems watching it (fs/epoll.c)
	struct mutex epoll_lock;
	u64 dir_version;
	bool has_posix_locks;
} __aligned(64);			// threads that use neighbours do not meet

#define FD_FIRST 64u		// descriptors of the first segment
#define FD_SEGS 15		// 2^20 descriptors
struct fdtable {			// fs/fdtable.c
	struct ref ref;			// these lines are only read while descriptors come and go
	u32 size;			// descriptors that there is room for
	u64 *seg[FD_SEGS];		// segments above the first, each as large as all before it; they never move
	struct mutex lock __aligned(64);	// this one belongs to who opens or closes
	u32 full;			// words of the map before this one have no free bit, but for the first word
	u32 frozen;			// fork copies the table
	u64 taken;			// map of the first segment; that of another lies behind its slots
	u64 slot[FD_FIRST] __aligned(64); // struct file *, FD_CLOEXEC in its lowest bit; 0: not open
};
static inline u64 *fd_slot(struct fdtable *t, u32 i) // i < size
{
	u32 k;

	if (likely(i < FD_FIRST))
		return &t->slot[(i & 7) << 3 | i >> 3]; // neighbours a cache line apart: threads open and close them at the same time
	k = 26 - (u32)__builtin_clz(i);
	return __atomic_load_n(&t->seg[k], __ATOMIC_RELAXED) + i - (32u << k);
}
static inline struct file *slot_file(u64 v) { return (struct file *)(v & ~1ul); }

// --- paths (fs/namei.c)
#define LOOKUP_FOLLOW 1u	// follow a final symlink
#define LOOKUP_DIRECTORY 2u	// must be a directory
#define LOOKUP_PARENT 4u	// stop at the parent; last component in nd->last
#define LOOKUP_EMPTY 8u		// AT_EMPTY_PATH
#define LOOKUP_BENEATH 16u
#define LOOKUP_IN_ROOT 32u
#define LOOKUP_NO_SYMLINKS 64u
#define LOOKUP_NO_XDEV 128u
#define LOOKUP_NO_MAGIC 256u	// RESOLVE_NO_MAGICLINKS
#define LOOKUP_NO_WAIT 512u	// the caller holds a lock: file systems that wait for a program are EINVAL
int path_lookup(int dfd, const char *name, u32 flags, struct path *out);	// *out gets references
int path_lookup_user(int dfd, const void __user *name, u32 flags, struct path *out);
void path_get(struct path *p), path_get_locked(struct path *p); // _locked: dcache_lock held
void path_put(struct path *p);
// Absolute name of a path below the process's root; "(unreachable)" prefix as Linux. Returns a pointer into buf or ERR_PTR.
char *path_name(const struct path *p, char *buf, size_t n);
int inode_permission(struct inode *ino, int mask);	// MAY_READ 4, MAY_WRITE 2, MAY_EXEC 1

// --- open files (fs/file.c, fs/open.c)
struct file *file_alloc(const struct file_ops *ops, struct inode *ino, u32 flags, void *priv); // own reference on ino taken
struct file *anon_file(const char *name, const struct file_ops *ops, u32 flags, void *priv);	// "[eventfd]" etc.
struct file *file_open(int dfd, const char *name, int flags, u32 mode);		// ERR_PTR
struct file *file_open_path(const struct path *p, int flags);
void file_get(struct file *f);
void file_put(struct file *f);
void files_trim(void);		// memory of files that nobody has needed for a while goes back; no locks held
// read or write at *pos, which they move, with every check but that of permission to seek (fs/rw.c).
ssize_t file_read_iter(struct file *f, struct iter *it, u64 *pos);
ssize_t file_write_iter(struct file *f, struct iter *it, u64 *pos);
ssize_t file_read_kernel(struct file *f, void *buf, size_t n, u64 pos);		// for exec
ssize_t file_write_kernel(struct file *f, const void *buf, size_t n, u64 pos);
ssize_t file_rw(struct file *f, struct iter *it, s64 off, int rwf, bool write);	// fs/rw.c; off -1: the file's position; rwf: RWF_*

// --- descriptors (fs/fdtable.c)
struct file *fd_get(int fd);			// new reference or NULL (-EBADF)
int fd_alloc(struct file *f, u32 min, bool cloexec);	// consumes the reference on success; -EMFILE
int fd_install(int fd, struct file *f, bool cloexec);	// dup2-like: closes what was there
int fd_close(int fd);
bool fd_cloexec(int fd);
struct fdtable *fdtable_new(void);
struct fdtable *fdtable_copy(struct fdtable *t);	// fork
void fdtable_put(struct fdtable *t);
struct fdtable *task_files(struct task *t);	// of any task: a new reference or NULL
bool task_files_shared(struct task *t);		// its table is another process's too; who only looks at it does not count
void task_files_set(struct task *t, struct fdtable *files);	// consumes the reference; NULL: it has none any more
void fdtable_close_exec(struct fdtable *t);
struct file *fdtable_file(struct fdtable *t, u32 fd, bool *cloexec); // new reference or NULL
int fdtable_next(struct fdtable *t, u32 from);	// smallest open descriptor >= from, or -1
struct fs_ctx *fs_ctx_new(void);			// cwd and root = the root mount (first process)
struct fs_ctx *fs_ctx_copy(struct fs_ctx *fs);
void fs_ctx_put(struct fs_ctx *fs);
void fs_own_settle(void);		// the last thread's own directories become its process's
void fs_own_drop(struct task *t);
void fs_ns_settle(struct proc *p);	// kernel/task/ns.c, as the other two

// --- inodes (fs/inode.c)
struct inode *inode_new(struct super *sb, u32 mode);	// ref 1, times now, owner from cred, ino from sb->next_ino
void inode_get(struct inode *i);
void inode_put(struct inode *i);
void inode_touch(struct inode *i, u32 which);	// ATTR_ATIME|ATTR_MTIME; ctime with mtime
struct fstime fstime_now(void);
// Cache of inodes by a number of the file system's own (mostly ->ino), for those whose objects can be reached by several names.
struct inode *inode_find(struct super *sb, u64 key);	// new reference or NULL
struct inode *inode_insert(struct inode *i, u64 key);	// consumes i; returns it or the one that was there first
void inode_rekey(struct inode *i, u64 key);		// from now on (or for the first time) found under this one
void dcache_drop_super(struct super *sb);
void dcache_invalidate(struct inode *dir, const char *name, u32 len);

// --- regular files in the page cache (fs/filemap.c): ready-made file_ops members
ssize_t generic_file_read(struct file *f, struct iter *it, u64 *pos);
void generic_file_accessed(struct file *f);	// it was read: its access time, where that is kept
s64 generic_llseek(struct file *f, s64 off, int whence);
int generic_mmap(struct file *f, u64 pgoff, size_t len, int prot, int flags, struct pagecache **pc);

// --- devices (fs/devfs.c). Registers a character device; the node /dev/`name` appears (name NULL: none).
int dev_register(u32 major, u32 minor, const char *name, u32 mode, const struct file_ops *fops);

// --- mounts
struct super *super_new(const char *fstype, const struct super_ops *ops, u32 magic);
void super_stays(struct super *sb);	// it is never given back
void super_get(struct super *sb);
void super_deactivate(struct super *sb);	// one user less (super->active), and its reference
void super_put(struct super *sb);	// last reference: root is dropped, ops->put, freed
// Next line of /proc/self/mounts (or mountinfo) for the mount with the smallest id > *id; its length, 0 at the end.
struct mnt_ns;
#define MOUNT_LINE (8 * PAGE_SIZE) // the longest line: source, place, root and options, escaped
int mounts_line(struct mnt_ns *ns, int *id, char *buf, size_t n, bool mountinfo);
typedef int (*mount_fn)(const char *source, u32 flags, const void *data, size_t len, struct super **out);
int fs_register(const char *fstype, mount_fn fn);	// at boot
int mount_at(const char *fstype, const char *source, const char *target, u32 flags, const void *data, size_t len);
int vfs_init(void);		// boot: root from the image, /proc, /dev, /tmp, ... mounted
int vfs_sync_all(void);		// sync(2) and shutdown
void sealed_shutdown(void);	// closes the sealed volumes (fs/sealed.c)

// --- readiness (fs/poll.c)
// A file's poll op calls poll_wait for each waitq whose wake-up can change the answer, then returns the EPOLL* mask of now.
struct poll_table {
	void (*add)(struct poll_table *pt, struct waitq *q);	// NULL: just asking
};
static inline void poll_wait(struct poll_table *pt, struct waitq *q)
{
	if (pt && pt->add)
		pt->add(pt, q);
}
static inline u32 file_poll(struct file *f, struct poll_table *pt)
{
	return f->ops->poll ? f->ops->poll(f, pt) : (EPOLLIN | EPOLLOUT | EPOLLRDNORM | EPOLLWRNORM);
}
long epoll_target(struct file *f, int fd, u32 nth, const struct file **target); // of an epoll: 0 or a negative errno
void epoll_file_closing(struct file *f);	// called by file_put at the end: leaves all epolls

// --- who else
bool sock_takes_pages(struct file *f);	// a socket whose write takes an iter of a page cache
void dnotify_close(struct file *f, struct fdtable *t);		// close: F_NOTIFY ends with the descriptor
void locks_release_proc(struct file *f, struct fdtable *t);	// close: POSIX record locks of the process
void locks_release_file(struct file *f);			// last close: flock, OFD locks
void fsnotify(struct inode *dir, struct inode *ino, const char *name, u32 mask);	// inotify events; cheap when unwatched
void fsnotify_name(struct dentry *d, u32 mask);
// IN_MOVED_FROM and IN_MOVED_TO with one cookie, and IN_MOVE_SELF. Names are NUL-terminated.
void fsnotify_move(struct inode *from, const char *from_name, struct inode *to, const char *to_name, struct inode *ino);
