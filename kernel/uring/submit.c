// SPDX-License-Identifier: Apache-2.0
// From the submission ring to running requests: entries are copied once, checked, gathered into chains and started.
// Locks: ring->lock, never over an operation.
#include "kernel/uring/uring.h"

#define CHAIN (IOSQE_IO_LINK | IOSQE_IO_HARDLINK)
#define SQE_FLAGS (IOSQE_FIXED_FILE | IOSQE_IO_DRAIN | CHAIN | IOSQE_ASYNC | IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS)

#define OP(n, ...) [IORING_OP_##n] = { .name = #n, __VA_ARGS__ }
#define FN(f) .prep = f##_prep, .issue = f##_issue
const struct uop uring_ops[IORING_OP_LAST] = {
	OP(NOP, FN(op_nop), .iopoll = true),
	OP(READV, FN(op_rwv), .file = true, .buffers = true, .prio = true, .iopoll = true),
	OP(WRITEV, FN(op_rwv), .file = true, .prio = true, .iopoll = true),
	OP(FSYNC, FN(op_fsync), .slow = true, .file = true),
	OP(READ_FIXED, FN(op_rw_fixed), .file = true, .prio = true, .iopoll = true),
	OP(WRITE_FIXED, FN(op_rw_fixed), .file = true, .prio = true, .iopoll = true),
	OP(POLL_ADD, FN(op_poll_add), .wake = op_poll_wake, .file = true),
	OP(POLL_REMOVE, FN(op_poll_remove)),
	OP(SYNC_FILE_RANGE, FN(op_sync_range), .slow = true, .file = true),
	OP(SENDMSG, FN(op_sendmsg), .clean = op_msg_clean, .file = true, .prio = true),
	OP(RECVMSG, FN(op_recvmsg), .clean = op_msg_clean, .file = true, .buffers = true, .prio = true),
	OP(TIMEOUT, FN(op_timeout), .wake = op_timeout_wake),
	OP(TIMEOUT_REMOVE, FN(op_timeout_remove)),
	OP(ACCEPT, FN(op_accept), .file = true, .prio = true),
	OP(ASYNC_CANCEL, FN(op_cancel)),
	OP(LINK_TIMEOUT, FN(op_link_timeout), .wake = op_link_timeout_wake),
	OP(CONNECT, FN(op_connect), .wake = op_connect_wake, .file = true),
	OP(FALLOCATE, FN(op_fallocate), .slow = true, .file = true),
	OP(OPENAT, FN(op_open)),
	OP(CLOSE, FN(op_close)),
	OP(FILES_UPDATE, FN(op_files_update), .iopoll = true),
	OP(STATX, FN(op_statx), .slow = true),
	OP(READ, FN(op_rw), .file = true, .buffers = true, .prio = true, .iopoll = true),
	OP(WRITE, FN(op_rw), .file = true, .prio = true, .iopoll = true),
	OP(FADVISE, FN(op_fadvise), .slow = true, .file = true),
	OP(MADVISE, FN(op_madvise), .slow = true),
	OP(SEND, FN(op_send), .file = true, .prio = true),
	OP(RECV, FN(op_recv), .file = true, .buffers = true, .prio = true),
	OP(OPENAT2, FN(op_open2)),
	OP(EPOLL_CTL, FN(op_epoll_ctl)),
	OP(SPLICE, FN(op_splice), .slow = true, .file = true),
	OP(PROVIDE_BUFFERS, FN(op_provide), .iopoll = true),
	OP(REMOVE_BUFFERS, FN(op_remove_buffers), .iopoll = true),
	OP(TEE, FN(op_tee), .slow = true, .file = true),
	OP(SHUTDOWN, FN(op_shutdown), .slow = true, .file = true),
	OP(RENAMEAT, FN(op_rename), .slow = true),
	OP(UNLINKAT, FN(op_unlink), .slow = true),
	OP(MKDIRAT, FN(op_mkdir), .slow = true),
	OP(SYMLINKAT, FN(op_symlink), .slow = true),
	OP(LINKAT, FN(op_link), .slow = true),
	OP(MSG_RING, FN(op_msg_ring), .file = true, .iopoll = true),
	OP(FSETXATTR, FN(op_fsetxattr), .slow = true, .file = true),
	OP(SETXATTR, FN(op_setxattr), .slow = true),
	OP(FGETXATTR, FN(op_fgetxattr), .slow = true, .file = true),
	OP(GETXATTR, FN(op_getxattr), .slow = true),
	OP(SOCKET, FN(op_socket)),
	OP(URING_CMD, FN(op_cmd), .file = true, .iopoll = true),
	OP(SEND_ZC, FN(op_send), .file = true, .prio = true),
	OP(SENDMSG_ZC, FN(op_sendmsg), .clean = op_msg_clean, .file = true, .prio = true),
};

int op_nop_prep(struct ureq *q)
{
	(void)q;
	return 0;
}

int op_nop_issue(struct ureq *q)
{
	(void)q;
	return 0;
}

// No file here takes commands of its own.
int op_cmd_prep(struct ureq *q)
{
	(void)q;
	return 0;
}

int op_cmd_issue(struct ureq *q)
{
	(void)q;
	return -EOPNOTSUPP;
}

struct gather {			// what one io_uring_enter has in hand
	struct ureq *head, *last;
	bool drain_next;	// a chain's later member asked for a drain: what follows the chain waits too
};

// The next entry, copied; its index is the program's word. False: nothing there, or an index out of range.
static bool fetch(struct uring *r, struct io_uring_sqe *sqe)
{
	bool ok = false;

	mutex_lock(&r->lock);
	if (r->sq_head != __atomic_load_n(ring_word(r, R_SQ_TAIL), __ATOMIC_ACQUIRE)) {
		u32 off = r->array_off + (r->sq_head & (r->sq_entries - 1)) * (u32)sizeof(u32);
		u32 at = __atomic_load_n(ring_word(r, off), __ATOMIC_RELAXED);

		r->sq_head++;
		ok = at < r->sq_entries;
		if (ok) {
			u64 b = (u64)at << r->sqe_shift;

			memcpy(sqe, r->sqe_page[b >> PAGE_SHIFT] + (b & (PAGE_SIZE - 1)), sizeof(*sqe));
		} else {
			__atomic_fetch_add(ring_word(r, R_SQ_DROPPED), 1, __ATOMIC_RELAXED);
		}
		__atomic_store_n(ring_word(r, R_SQ_HEAD), r->sq_head, __ATOMIC_RELEASE);
	}
	mutex_unlock(&r->lock);
	return ok;
}

static bool allowed(struct uring *r, const struct io_uring_sqe *s)
{
	return (r->allowed_ops >> s->opcode & 1) && (s->flags & r->required_flags) == r->required_flags &&
	       !(s->flags & ~(r->allowed_flags | r->required_flags));
}

static int take_personality(struct ureq *q)
{
	struct uring *r = q->ring;
	u32 id = q->sqe.personality;
	int r_ = -EINVAL;

	mutex_lock(&r->lock);
	if (id <= MAX_PERSONALITIES && r->person[id - 1]) {
		q->cred = cred_dup(r->person[id - 1]);
		r_ = q->cred ? 0 : -ENOMEM;
	}
	mutex_unlock(&r->lock);
	return r_;
}

static int init(struct uring *r, struct ureq *q, struct gather *g)
{
	const struct io_uring_sqe *s = &q->sqe;
	const struct uop *op;

	if (s->opcode >= IORING_OP_LAST)
		return -EINVAL;
	op = &uring_ops[s->opcode];
	if (s->flags & ~SQE_FLAGS)
		return -EINVAL;
	if ((s->flags & IOSQE_BUFFER_SELECT) && !op->buffers)
		return -EOPNOTSUPP;
	if (s->flags & IOSQE_CQE_SKIP_SUCCESS)
		r->drain_disabled = true;
	if (s->flags & IOSQE_IO_DRAIN) {
		if (r->drain_disabled)
			return -EOPNOTSUPP;
		if (g->head) { // a chain drains as a whole, and so does what follows it
			g->head->drained = true;
			g->drain_next = true;
		}
		q->drained = true;
	}
	if (r->restricted && !allowed(r, s))
		return -EACCES;
	if (g->drain_next && !g->head) {
		g->drain_next = false;
		q->drained = true;
	}
	if (!op->prio && s->ioprio)
		return -EINVAL;
	if (!op->iopoll && (r->flags & IORING_SETUP_IOPOLL))
		return -EINVAL;
	if (s->personality) {
		int e = take_personality(q);
		if (e)
			return e;
	}
	q->op = op;
	return op->prep(q);
}

// A complete chain goes its way: behind those that wait for a drain, or at once.
static void go(struct uring *r, struct ureq *q)
{
	struct udone d;
	struct ureq *m;
	u32 own = 0;
	bool wait;

	udone_init(&d);
	mutex_lock(&r->lock);
	list_add_tail(&q->ring_link, &r->reqs);
	mutex_lock(&q->ut->lock);
	list_add_tail(&q->task_link, &q->ut->reqs);
	mutex_unlock(&q->ut->lock);
	for (m = q; m; m = m->link)
		own++;
	wait = !list_empty(&r->drain) || (q->drained && r->nreqs > own);
	if (wait)
		list_add_tail(&q->drain_link, &r->drain);
	else
		q->state = US_READY;
	mutex_unlock(&r->lock);
	if (!wait)
		uring_run_now(q);
}

// True: the entry was wrong and stands for itself, so that submission stops here (unless IORING_SETUP_SUBMIT_ALL).
static bool take(struct uring *r, struct ureq *q, struct gather *g)
{
	int e = init(r, q, g);

	if (e) {
		q->res = e;
		q->fail = q->prep_failed = true;
		if (q->sqe.opcode >= IORING_OP_LAST)
			q->sqe.opcode = IORING_OP_NOP;
		q->op = &uring_ops[q->sqe.opcode];
		q->sqe.flags &= (u8)~IOSQE_CQE_SKIP_SUCCESS;
		if (g->head && !g->head->prep_failed) { // the chain ends before it begins
			g->head->res = -ECANCELED;
			g->head->fail = g->head->prep_failed = true;
			g->head->sqe.flags &= (u8)~IOSQE_IO_HARDLINK;
		}
	}
	if (g->head) {
		g->last->link = q;
		g->last = q;
		if (q->sqe.flags & CHAIN)
			return false;
		q = g->head;
		g->head = NULL;
	} else if (q->sqe.flags & CHAIN) {
		g->head = g->last = q;
		return false;
	}
	go(r, q);
	return e;
}

int uring_submit(struct uring *r, struct utask *ut, u32 n)
{
	struct gather g = { .head = NULL };
	struct io_uring_sqe sqe;
	u32 done = 0;
	bool stop = false;

	n = min(n, r->sq_entries);
	while (done < n && !stop) {
		struct ureq *q;

		if (r->sq_head == __atomic_load_n(ring_word(r, R_SQ_TAIL), __ATOMIC_ACQUIRE))
			break;
		q = ureq_new(r, ut);
		if (!q) {
			if (!done)
				return -EAGAIN;
			break;
		}
		if (!fetch(r, &sqe)) {
			mutex_lock(&r->lock);
			r->nreqs--;
			mutex_unlock(&r->lock);
			ureq_put(q);
			break;
		}
		q->sqe = sqe;
		done++;
		stop = take(r, q, &g) && !(r->flags & IORING_SETUP_SUBMIT_ALL);
	}
	if (g.head)
		go(r, g.head);
	return (int)done;
}
