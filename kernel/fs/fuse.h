// SPDX-License-Identifier: Apache-2.0
// FUSE: file systems that a program of the enclave serves through /dev/fuse. The kernel trusts it as little as any program: every reply
// is checked (fuse_reply.c), nobody waits for it with a lock held, and who is killed waits no longer. What the fuse_*.c files share.
//
// Locks: fuse_conn->lock, a leaf. The VFS calls the operations without inode locks (super->waits).
#pragma once
#include "kernel/fs/fs.h"
#include "kernel/fs/fuse_reply.h"
#include "kernel/include/ns.h"

#define FUSE_IO_MAX (15u << PAGE_SHIFT) // of data in one message: it has to pass through a pipe in one piece (splice.c)

struct fuse_conn {
	struct ref ref;		// super block, devices
	struct mutex lock;	// all below but what INIT and mount set once
	struct waitq readers;	// of the device
	struct waitq ready;	// woken when INIT was answered, or all is over
	struct list pending, sent, interrupts, forgets;
	struct super *sb;	// NULL once it has gone
	u64 unique;		// of the last request
	u64 version;		// counts changes of attributes
	u32 devices;		// open
	bool connected, initialised, unmounted;
	struct user_ns *user_ns; // of who mounted it: the daemon's ids are of there. A reference
	u32 user_id, group_id, max_read;
	u32 max_write;		// as INIT said
	bool allow_other, default_permissions;
	bool no_open, no_opendir, no_flush, no_fsync, no_fsyncdir, no_access, no_create, no_rename2, no_lseek, no_interrupt; // ENOSYS was the answer
	bool no_getxattr, no_setxattr, no_listxattr, no_removexattr, no_fallocate;
};

enum { FUSE_PENDING, FUSE_SENT, FUSE_DONE };

struct fuse_req {
	struct ref ref;		// who waits, and the list that it is in
	struct list link;	// conn->pending or ->sent
	struct list intr;	// conn->interrupts
	struct waitq wq;
	u32 state;		// FUSE_*
	bool interrupted;
	int error;
	u32 out_min, out_max, out_len; // bytes of the reply: how many it may have, how many it has
	void *out;
	void (*done)(struct fuse_conn *c, struct fuse_req *r); // instead of somebody who waits
	u32 len;
	union {
		struct fuse_in_header h;
		u8 in[sizeof(struct fuse_in_header)];
	}; // then the rest of the message
};

struct fuse_forget { // what is left of an inode
	struct list link;
	u64 nodeid, nlookup;
};

struct fuse_node { // inode->priv
	struct fuse_forget forget; // nodeid and nlookup; conn->lock
	struct inode *inode;
	struct list files;	   // open fuse_files; conn->lock
	u64 fresh_until;	   // attributes are good until then (ktime_mono)
	u64 version;		   // conn->version when they last changed; conn->lock, as the next
	u32 resizing;		   // calls that set the size: what others say of it may be older
};

struct fuse_file { // file->priv
	struct list link;
	u64 fh;
	u32 open_flags, flags;
	bool nothing; // no handle: OPEN is not supported
};

struct fuse_arg {
	const void *p;
	size_t n;
};

// Ids to the daemon and from it; U32_MAX: nobody's.
static inline u32 fuse_id_out(const struct fuse_conn *c, bool group, u32 id) { return likely(!c->user_ns) ? id : id_out(c->user_ns, group, id); }
static inline u32 fuse_id_in(const struct fuse_conn *c, bool group, u32 id) { return likely(!c->user_ns) ? id : id_in(c->user_ns, group, id); }
static inline struct fuse_conn *fuse_conn(const struct inode *i) { return i->sb->priv; }
static inline struct fuse_node *fuse_node(const struct inode *i) { return i->priv; }
static inline u64 fuse_id(const struct inode *i) { return fuse_node(i)->forget.nodeid; }

// fuse_conn.c
struct fuse_conn *fuse_conn_new(void);
void fuse_conn_put(struct fuse_conn *c);
void fuse_abort(struct fuse_conn *c, bool unmounted);
// A request for a reply of out_min to out_max bytes; fuse_body is where its arguments go. NULL: no memory.
struct fuse_req *fuse_req_new(struct fuse_conn *c, u32 opcode, u64 nodeid, size_t body, u32 out_min, u32 out_max);
static inline void *fuse_body(struct fuse_req *r) { return r->in + sizeof(struct fuse_in_header); }
void fuse_req_put(struct fuse_req *r);
int fuse_ask(struct fuse_conn *c, struct fuse_req *r);	// sends it and waits: the reply's error. The reference stays the caller's
void fuse_tell(struct fuse_conn *c, struct fuse_req *r, void (*done)(struct fuse_conn *, struct fuse_req *)); // sends it; consumes it
// All in one: the reply goes to out. Bytes of it, or -errno.
int fuse_call(struct fuse_conn *c, u32 opcode, u64 nodeid, const struct fuse_arg *args, u32 n, void *out, u32 out_min, u32 out_max);
void fuse_end(struct fuse_conn *c, struct fuse_req *r, int error); // the answer is there; consumes the list's reference, lock not held
bool fuse_interrupt(struct fuse_conn *c, struct fuse_req *r);	   // the daemon is to hear of a signal: true if it was queued; conn->lock held
void fuse_forget(struct fuse_conn *c, struct fuse_forget *f);	   // consumes f
int fuse_unsupported(int r, bool *flag, int instead);		   // -ENOSYS: remembers it in *flag, and is `instead`
// fuse_dev.c
extern const struct file_ops fuse_dev_fops;
int fuse_notify(struct fuse_conn *c, u32 code, const u8 *data, size_t n); // fuse_notify.c
// fuse_node.c
bool fuse_allowed(const struct fuse_conn *c);
struct inode *fuse_inode(struct super *sb, const struct fuse_entry_out *e, u64 version); // consumes one lookup. ERR_PTR
// Taken before a request whose answer tells attributes: they count only if nothing has changed them meanwhile. 0: they count in any case.
static inline u64 fuse_version(const struct fuse_conn *c) { return __atomic_load_n(&c->version, __ATOMIC_ACQUIRE); }
void fuse_grew(struct inode *i, u64 size);	// a write has reached this far
static inline void fuse_stale(struct inode *i) { __atomic_store_n(&fuse_node(i)->fresh_until, 0, __ATOMIC_RELAXED); }
int fuse_getattr(struct inode *i);
void fuse_evict(struct inode *i);
extern const struct inode_ops fuse_dir_iops, fuse_file_iops, fuse_link_iops;
extern const struct file_ops fuse_dir_fops, fuse_file_fops;
int fuse_permission(struct inode *i, int mask), fuse_access(struct inode *i, int mask);
int fuse_setattr(struct inode *i, const struct iattr *a);
ssize_t fuse_getxattr(struct inode *i, const char *name, void *buf, size_t n), fuse_listxattr(struct inode *i, char *buf, size_t n);
int fuse_setxattr(struct inode *i, const char *name, const void *buf, size_t n, int flags), fuse_removexattr(struct inode *i, const char *name);
// fuse_dir.c
int fuse_readdir(struct file *f, struct dir_ctx *c);
// fuse_file.c
void fuse_drop_pages(struct inode *i);	// what is cached of its contents, unless it is mapped
struct fuse_file *fuse_opened(struct inode *i, const struct fuse_open_out *o, u32 flags);
int fuse_open(struct inode *i, struct file *f);
void fuse_close(struct inode *i, struct fuse_file *ff);
void fuse_release(struct file *f);
int fuse_fsync(struct file *f, bool data_only);
struct pagecache *fuse_pages(struct inode *i);
