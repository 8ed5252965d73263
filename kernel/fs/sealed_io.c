// SPDX-License-Identifier: Apache-2.0
// Work on sealed volumes beside the programs: what is read in order is read ahead, and what is written is stored behind the writer, each by a
// thread of its own, so that encryption runs on another CPU than the program. Requests are hints: one that finds the queue full is dropped.
// A third thread does a part of what a program that waits for it stores in one piece.
// Locks: a worker's lock and helper.lock are leaves; its thread takes what sealed_inode.c says, in that order, and holds a reference to the inode.
#include "kernel/fs/sealed.h"
#include "kernel/include/platform.h"

#define QUEUE 16u

struct request {
	struct inode *i;
	u64 index, n;
};
struct worker {
	struct mutex lock;
	u32 word;	       // changes with each request: what the thread sleeps on
	u32 head, tail;	       // requests ever taken; ever made
	bool sleeps, exists;
	struct task *self;
	struct request q[QUEUE];
	void (*work)(const struct request *r);
};

static bool ask(struct worker *w, struct inode *i, u64 index, u64 n)
{
	bool wake = false;
	mutex_lock(&w->lock);
	bool room = w->exists && w->tail - w->head < QUEUE;
	if (room) {
		inode_get(i);
		w->q[w->tail++ % QUEUE] = (struct request){i, index, n};
		__atomic_fetch_add(&w->word, 1, __ATOMIC_RELEASE);
		wake = w->sleeps;
		w->sleeps = false;
	}
	mutex_unlock(&w->lock);
	if (wake)
		pf_wake(&w->word, 1);
	return room;
}

static void worker_thread(void *arg)
{
	struct worker *w = arg;
	w->self = current;
	for (;;) {
		struct request r = {0};
		mutex_lock(&w->lock);
		u32 seen = w->word;
		if (w->head != w->tail)
			r = w->q[w->head++ % QUEUE];
		w->sleeps = !r.i;
		mutex_unlock(&w->lock);
		if (!r.i) {
			pf_wait(&w->word, seen, NO_DEADLINE);
			continue;
		}
		w->work(&r);
		inode_put(r.i);
	}
}

static void fill(const struct request *r) { pc_fill(r->i->pc, r->index, r->n); }
static void store(const struct request *r) { sealed_store_behind(r->i); }

static struct worker reader = {.work = fill}, writer = {.work = store};

bool sealed_read_ahead(struct inode *i, u64 index, u64 n) { return ask(&reader, i, index, n); }
bool sealed_write_behind(struct inode *i) { return ask(&writer, i, 0, 0); }

enum { IDLE, ASKED, WORKS };
static struct {
	struct mutex lock; // held by whom it helps
	u32 state;	   // what it sleeps on; while it works, what the other sleeps on
	bool exists;
	void (*fn)(void *);
	void *arg;
} helper;

static void helper_thread(void *unused)
{
	(void)unused;
	for (;;) {
		u32 s = ASKED;
		if (!__atomic_compare_exchange_n(&helper.state, &s, WORKS, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)) {
			pf_wait(&helper.state, s, NO_DEADLINE);
			continue;
		}
		helper.fn(helper.arg);
		__atomic_store_n(&helper.state, IDLE, __ATOMIC_RELEASE);
		pf_wake(&helper.state, 1);
	}
}

void sealed_share(void (*fn)(void *), void *arg)
{
	// behind a writer the other CPU is busy with the writer
	bool mine = helper.exists && current != writer.self && mutex_trylock(&helper.lock);
	u32 s = ASKED;
	if (mine) {
		helper.fn = fn;
		helper.arg = arg;
		__atomic_store_n(&helper.state, ASKED, __ATOMIC_RELEASE);
		pf_wake(&helper.state, 1);
	}
	fn(arg);
	if (!mine)
		return;
	// It sleeps still, works, or is done.
	if (!__atomic_compare_exchange_n(&helper.state, &s, IDLE, false, __ATOMIC_ACQUIRE, __ATOMIC_ACQUIRE))
		while (__atomic_load_n(&helper.state, __ATOMIC_ACQUIRE) == WORKS)
			pf_wait(&helper.state, WORKS, NO_DEADLINE);
	mutex_unlock(&helper.lock);
}

void sealed_io_init(void)
{
	reader.exists = reader.exists || !pf_kthread(worker_thread, &reader, "sealed-read");
	writer.exists = writer.exists || !pf_kthread(worker_thread, &writer, "sealed-write");
	helper.exists = helper.exists || (pf_ncpus() > 1 && !pf_kthread(helper_thread, NULL, "sealed-help"));
}
