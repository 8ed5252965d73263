// SPDX-License-Identifier: Apache-2.0
// io_uring(7): what its files share. Everything happens in this kernel; the host sees nothing of it.
//
// A request belongs to the task that submitted it, and only that task, in its own context, runs the request's operation:
// it touches user memory. A request whose file is not ready waits in the file's queues (or for a timer); whoever wakes it
// only puts it on its task's list of work and kicks the task (work.c), which goes on with it before it sleeps and before it
// returns to the program - or, for IORING_SETUP_DEFER_TASKRUN, in io_uring_enter. Ending a request needs no user memory (the
// rings are kernel memory that programs map), so any task may cancel one that waits.
//
// The rings and each entry read from them are the program's to scribble upon: everything is read once, then checked; the
// kernel's own heads and tails are in struct uring.
//
// Locks: ring->lock guards the ring, its lists of requests and their states; below it utask->lock and ring->work_lock (leaves
// but for wake-ups), the waitqs that disarming takes, and the timers' lock. Wakers hold a waitq's lock and take the leaves only.
#pragma once
#include "kernel/include/kstring.h"
#include "kernel/include/ktime.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/include/vfs.h"
#include <linux/io_uring.h>

#define MAX_ENTRIES 32768u
#define MAX_CQ_ENTRIES (2 * MAX_ENTRIES)
#define MAX_REQS (1u << 17)	// unfinished requests of one ring
#define MAX_OVERFLOW (1u << 18)	// completions that wait for room in the ring
#define MAX_FIXED_FILES (1u << 15)
#define MAX_FIXED_BUFS (1u << 14)
#define MAX_BUF_GROUPS 4096u
#define MAX_PERSONALITIES 64u
#define MAX_RING_FDS 16u
#define SLOT_ALLOC (~0u)	// IORING_FILE_INDEX_ALLOC
#define TIMEOUT_MULTISHOT (1u << 6) // younger than the headers

// What an operation returns besides the result of its completion.
#define U_WAIT (-5001)		// not ready: run it again when req->wait_file has req->wait_events
#define U_PENDING (-5002)	// it has arranged for its own wake-up
#define U_RETRY (-5003)		// would block on something that has no queue: look again soon
#define U_DONE (-5004)		// ended by what it called

enum ustate { US_NEW, US_READY, US_RUNNING, US_ARMED, US_DONE };

struct ureq;
struct uring;

struct uwait {			// one place in a queue
	struct waiter w;
	struct waitq *q;	// NULL: unused
	struct ureq *req;
	struct uwait *more;
};

struct uname {			// a name that was read when the request was submitted
	const void __user *at;
	char *s;
};

struct utask {			// a task that has used a ring
	struct ref ref;		// the task, requests
	struct mutex lock;
	struct task *task;	// NULL once it has left
	struct list work;
	struct list reqs;	// all of its requests but for the later ones of chains
	bool running;
	struct file *file[2];	// what the numbers IO_FD and IO_FD+1 mean during an operation
	struct uname *names;	// two, or NULL
	struct file *ring_fd[MAX_RING_FDS];
};

struct uop {
	const char *name;
	int (*prep)(struct ureq *q);	// checks the entry and copies what must not change; 0 or -errno
	int (*issue)(struct ureq *q);	// result, or U_*
	int (*wake)(struct ureq *q);	// instead of issue when it was armed; NULL: issue
	void (*clean)(struct ureq *q);
	bool file;			// works on an open file
	bool buffers;			// IOSQE_BUFFER_SELECT
	bool prio;			// sqe->ioprio means something
	bool slow;			// Linux gives it to a worker thread, so IORING_REGISTER_EVENTFD_ASYNC tells of it
	bool iopoll;			// allowed on a ring with IORING_SETUP_IOPOLL
};
extern const struct uop uring_ops[IORING_OP_LAST];

struct ureq {
	struct ref ref;
	struct uring *ring;
	struct utask *ut;
	const struct uop *op;
	struct list ring_link, task_link, work_link, drain_link;
	struct ureq *link;	// next of its chain
	struct ureq *before;	// IORING_OP_LINK_TIMEOUT: the request that it watches, while it does
	u8 state;		// ring->lock
	bool queued;		// on a list of work; atomic
	bool cancel;		// cancelled while it ran
	bool fail;		// breaks its chain
	bool prep_failed, quiet, drained, inline_issue, expired;
	u8 tries;
	s32 res;
	u32 cflags;
	u64 extra[2];
	struct io_uring_sqe sqe; // the one copy
	struct file *file;	// reference
	struct file *wait_file;	// its or another of the request's
	u32 wait_events;
	struct uwait wait;
	struct ktimer timer;
	u64 deadline;
	struct cred *cred;	// personality

	// of the operations
	u64 done;		// bytes moved so far
	struct iter it;
	struct iovec one, *iov;	// iov: kmalloc'ed
	struct uname names[2];
	u64 buf_addr;		// selected buffer
	u32 buf_len, buf_whole;	// whole: before it was cut to what was wanted
	u16 buf_id;
	bool buf_taken;
	u64 target;		// TIMEOUT: completions to wait for
	u64 interval;
	u32 repeats;
	struct list timeout_link;
	void *data;		// kmalloc'ed
};

struct ubuf_group {
	struct list link;
	u16 id;
	struct mm *mm;		// whose memory; compared only
	struct list bufs;	// struct ubuf
	u32 n;
	void __user *ring;	// struct io_uring_buf[], or NULL
	u16 head, mask;
};

struct ubuf {
	struct list link;
	u64 addr;
	u32 len;
	u16 id;
};

struct ufile {
	struct file *f;
	u64 tag;
};
struct ufixed {			// registered buffer
	u64 addr, len, tag;
};

struct uring {
	struct ref ref;		// the file, requests
	u32 flags;		// IORING_SETUP_*
	u32 sq_entries, cq_entries;
	u32 sqe_shift, cqe_shift;
	struct pagecache *pc;
	char **ring_page, **sqe_page;
	u32 nring, nsqe, array_off;
	struct mutex lock;
	u32 sq_head, cq_tail, cq_told; // ours; programs see copies
	u64 ncq;		// completions ever, without those of timeouts
	u32 ntimeouts;		// timeouts ever completed: a waiter returns
	struct list reqs;
	u32 nreqs;
	bool drain_disabled, disabled, dead;
	struct list drain;
	struct list timeouts;	// with a count
	struct list overflow;
	u32 noverflow;
	bool lost;		// a completion was dropped: EBADR once
	struct waitq wq;	// io_uring_enter, pollers
	struct mutex work_lock;
	struct list work;	// IORING_SETUP_DEFER_TASKRUN
	struct task *issuer;	// reference; SINGLE_ISSUER or SQPOLL
	struct mm *mm;		// of the one who made it; compared only
	struct file *eventfd;
	bool eventfd_async;
	struct ktimer eventfd_timer;
	bool eventfd_due;
	struct ufile *files;
	u32 nfiles, alloc_from, alloc_end;
	struct ufixed *bufs;
	u32 nbufs;
	struct list groups;
	u32 ngroups;
	struct cred *person[MAX_PERSONALITIES];
	bool restricted, restrictions_set;
	u64 allowed_ops, allowed_regs;
	u8 allowed_flags, required_flags;
};

struct udone {			// finished under ring->lock; the rest is done without it
	struct list reqs;
	bool posted, async, draining;
};

// The program's view of the ring heads: offsets in the first page.
enum { R_SQ_HEAD = 0, R_SQ_TAIL = 4, R_CQ_HEAD = 8, R_CQ_TAIL = 12, R_SQ_MASK = 16, R_CQ_MASK = 20, R_SQ_ENTRIES = 24, R_CQ_ENTRIES = 28,
       R_SQ_DROPPED = 32, R_SQ_FLAGS = 36, R_CQ_FLAGS = 40, R_CQ_OVERFLOW = 44, R_CQES = 64 };
static inline u32 *ring_word(struct uring *r, u32 off) { return (u32 *)(r->ring_page[off >> PAGE_SHIFT] + (off & (PAGE_SIZE - 1))); }

// setup.c
struct uring *file_uring(struct file *f);	// NULL: something else
void uring_get(struct uring *r);
void uring_put(struct uring *r);

// cq.c: ring->lock held
bool uring_post(struct uring *r, u64 user_data, s32 res, u32 cflags, const u64 *extra);	// false: it is lost
bool uring_post_more(struct ureq *q, s32 res, u32 cflags);	// one of several; takes the lock. false: end the request instead
void uring_flush_overflow(struct uring *r);
u32 uring_ready(struct uring *r);		// completions in the ring
void uring_notify(struct uring *r, bool async);	// without the lock: wakes waiters, tells the eventfd

// work.c
struct utask *uring_task(void);			// of the current task, made on first use; NULL: no memory
struct ureq *ureq_new(struct uring *r, struct utask *ut);
void ureq_put(struct ureq *q);
void uring_start(struct ureq *q, struct udone *d);	// a chain's first; ring->lock held
void uring_run_now(struct ureq *q);		// own task, state READY
void uring_queue(struct ureq *q);		// to its task's list of work; from anywhere
void uring_run_defer(struct uring *r);
bool uring_has_work(struct uring *r);
void udone_init(struct udone *d);
void uring_done(struct uring *r, struct udone *d);	// without the lock
void ureq_finish(struct ureq *q, struct udone *d);	// ring->lock held
void ureq_disarm(struct ureq *q);
u32 ureq_poll(struct ureq *q, struct file *f, u32 events);	// registers and asks
void ureq_timer(struct ureq *q, u64 deadline);
// Ends those that match with -ECANCELED: how many, or -ENOENT / -EALREADY when one was asked for. Ring lock held.
typedef bool (*ureq_match)(struct ureq *q, const void *arg);
int uring_cancel(struct uring *r, ureq_match match, const void *arg, bool all, struct udone *d);
void uring_cancel_all(struct uring *r);
void uring_check_timeouts(struct uring *r);	// timeout.c; ring->lock held
void timeout_expired_link(struct ureq *lt);

// submit.c
int uring_submit(struct uring *r, struct utask *ut, u32 n);

// files.c: registered files
struct file *fixed_file(struct uring *r, u32 slot);	// reference or NULL
int fixed_install(struct uring *r, struct file *f, u32 file_index);	// consumes f; file_index as in an sqe; 0, slot (ALLOC) or -errno
int fixed_close(struct uring *r, u32 slot);
int files_register(struct uring *r, const void __user *fds, u32 n, const void __user *tags, bool sparse);
int files_unregister(struct uring *r);
int files_update(struct uring *r, u32 off, const void __user *fds, const void __user *tags, u32 n);
int files_range(struct uring *r, u32 off, u32 len);

// bufs.c: registered and provided buffers
int bufs_register(struct uring *r, const void __user *iov, u32 n, const void __user *tags, bool sparse);
int bufs_unregister(struct uring *r);
int bufs_update(struct uring *r, u32 off, const void __user *iov, const void __user *tags, u32 n);
int fixed_buffer(struct ureq *q, u64 addr, u64 len);	// checks that the range lies in buffer sqe.buf_index
int buffer_select(struct ureq *q, u32 want);		// q->buf_*; -ENOBUFS
void buffer_recycle(struct ureq *q);
u32 buffer_used(struct ureq *q);			// cqe flags
int pbuf_ring_register(struct uring *r, const void __user *arg);
int pbuf_ring_unregister(struct uring *r, const void __user *arg);
void bufs_free(struct uring *r);

// register.c
void register_free(struct uring *r);

// operations
#define UOP(name) int name##_prep(struct ureq *q); int name##_issue(struct ureq *q)
UOP(op_rw); UOP(op_rwv); UOP(op_rw_fixed); UOP(op_fsync); UOP(op_sync_range); UOP(op_fallocate); UOP(op_fadvise);
UOP(op_madvise); UOP(op_poll_add); UOP(op_poll_remove); UOP(op_sendmsg); UOP(op_recvmsg); UOP(op_send); UOP(op_recv);
UOP(op_timeout); UOP(op_timeout_remove); UOP(op_accept); UOP(op_cancel); UOP(op_link_timeout); UOP(op_connect);
UOP(op_open); UOP(op_open2); UOP(op_close); UOP(op_files_update); UOP(op_statx); UOP(op_epoll_ctl); UOP(op_splice);
UOP(op_tee); UOP(op_provide); UOP(op_remove_buffers); UOP(op_shutdown); UOP(op_rename); UOP(op_unlink); UOP(op_mkdir);
UOP(op_symlink); UOP(op_link); UOP(op_msg_ring); UOP(op_fsetxattr); UOP(op_setxattr); UOP(op_fgetxattr); UOP(op_getxattr);
UOP(op_socket); UOP(op_nop); UOP(op_cmd);
int op_poll_wake(struct ureq *q);
int op_timeout_wake(struct ureq *q);
int op_link_timeout_wake(struct ureq *q);
int op_connect_wake(struct ureq *q);
void op_msg_clean(struct ureq *q);
int ureq_name(struct ureq *q, u32 which, u64 addr);	// reads a path or name of the program's
int uring_sync_cancel(struct uring *r, const void __user *arg);
