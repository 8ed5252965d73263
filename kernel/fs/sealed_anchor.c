// SPDX-License-Identifier: Apache-2.0
// Anchors of sealed volumes: how the newest roots reach whoever remembers them outside. The kernel speaks no TLS; init-attest
// leaves a helper behind that does. It opened /proc/coffer/anchor before the first program ran, which nobody can after that; it
// reads which root to tell next and writes what came of it. Programs neither see the helper nor can signal or trace it.
// Locks: anchor_lock (leaf): everything below. A volume's state is copied out of the library before it is taken.
#include "kernel/fs/procfs.h"
#include "kernel/fs/sealed.h"
#include "kernel/include/boot.h"
#include "kernel/include/ktime.h"
#include "kernel/include/usercopy.h"

#define NSEC_PER_MSEC 1000000ul
#define RETRY_NS (NSEC_PER_SEC)	    // after an attempt that failed
#define PATIENCE_NS (10 * NSEC_PER_SEC) // what fsync waits once the bound is reached, and closing for the last answer

static struct mutex anchor_lock;
static struct svol *anchored[SEALED_MAX]; // mounted volumes with an anchor
static struct waitq helper_q = {.lock = MUTEX_INIT, .waiters = LIST_INIT(helper_q.waiters)}; // the helper sleeps here
static struct waitq told_q = {.lock = MUTEX_INIT, .waiters = LIST_INIT(told_q.waiters)};	  // and here who waits for the anchor
static bool gone, closing; // the helper has ended; the enclave is about to end

static bool behind(const struct sanchor *a) { return a->claimed && !a->fenced && a->state.generation > a->known; }

void sealed_anchor_begin(struct svol *sv, const struct coffer_mount_key *key)
{
	struct sanchor *a = &sv->anchor;
	struct seal_anchor st;

	a->mode = key->anchor;
	a->tpm = key->where == COFFER_ANCHOR_IN_TPM;
	a->each_fsync = key->each_fsync;
	a->every_ns = key->every_ms * NSEC_PER_MSEC;
	a->bound_ns = key->bound_ms * NSEC_PER_MSEC;
	if (!a->mode) {
		pr_warn("sealed volume %s: rollback not detected: coffer.yaml says anchor: none\n", sv->name);
		return;
	}
	seal_get_state(sv->v, &st);
	if (a->mode == COFFER_ANCHOR_FIRST)
		pr_warn("sealed volume %s: its anchor knows nothing of it yet: commit %lu is accepted as it is\n", sv->name, st.generation);
	else
		pr_info("sealed volume %s: commit %lu, the anchor remembers commit %lu\n", sv->name, st.generation, key->least.generation);
	mutex_lock(&anchor_lock);
	a->state = st;
	anchored[sv->index] = sv;
	mutex_unlock(&anchor_lock);
}

// A commit may have been made: the helper has to know.
void sealed_anchor_note(struct svol *sv)
{
	struct sanchor *a = &sv->anchor;
	struct seal_anchor st;
	bool wake = false;

	if (!a->mode)
		return;
	seal_get_state(sv->v, &st);
	mutex_lock(&anchor_lock);
	if (st.generation > a->state.generation) {
		a->state = st;
		if (behind(a) && !a->behind_since) {
			a->behind_since = ktime_mono();
			wake = true;
		}
	}
	mutex_unlock(&anchor_lock);
	if (wake)
		waitq_wake(&helper_q, 0);
}

// At most; how much of it has passed.
static u64 sleep_a_second(u32 seq, u64 at_most)
{
	u64 begun = ktime_mono(), second = min(at_most, NSEC_PER_SEC);

	task_sleep_uninterruptible(seq, begun + second);
	return min(ktime_mono() - begun, second);
}

// Waits until the anchor knows this generation: 0, -EIO (fenced, or no helper), -EINTR, -ETIMEDOUT. Only who is killed leaves before:
// programs take an interrupted fsync for one that failed. An enclave that stood still with its machine or its container, for longer than
// all of `patience`, has asked nobody meanwhile: of each second that is waited no more counts than that second.
static int wait_told(struct svol *sv, u64 generation, u64 patience)
{
	struct sanchor *a = &sv->anchor;
	struct waiter w;
	bool known;
	int r = 0;

	mutex_lock(&anchor_lock);
	a->urgent = behind(a);
	mutex_unlock(&anchor_lock);
	waitq_wake(&helper_q, 0);
	waiter_init(&w);
	waitq_add(&told_q, &w);
	for (;;) {
		u32 seq = task_seq();

		known = __atomic_load_n(&a->known, __ATOMIC_ACQUIRE) >= generation;
		if (known || r)
			break;
		if (a->fenced || gone)
			r = -EIO;
		else if (signal_pending() && signal_fatal())
			r = -EINTR;
		else if (!patience)
			r = -ETIMEDOUT;
		else
			patience -= sleep_a_second(seq, patience);
	}
	waitq_del(&told_q, &w);
	return known ? 0 : r;
}

// What fsync has committed shall be durable against a rollback too, as far as the settings ask for it.
int sealed_anchor_fsync(struct svol *sv)
{
	struct sanchor *a = &sv->anchor;
	u64 generation, since;
	bool in_vain;
	int r;

	if (!a->mode || sv->sb->read_only)
		return 0;
	sealed_anchor_note(sv);
	mutex_lock(&anchor_lock);
	generation = a->state.generation;
	since = behind(a) ? a->behind_since : 0;
	in_vain = a->in_vain;
	r = a->fenced ? -EIO : 0;
	mutex_unlock(&anchor_lock);
	if (r || !since)
		return r;
	if (a->each_fsync)
		r = wait_told(sv, generation, a->bound_ns);
	else if (ktime_mono() - since > a->bound_ns)
		r = wait_told(sv, generation, in_vain ? 0 : PATIENCE_NS);
	if (r == -ETIMEDOUT) {
		mutex_lock(&anchor_lock);
		a->in_vain |= a->known < generation; // else it has just answered
		mutex_unlock(&anchor_lock);
	}
	return r == -EINTR ? -ERESTARTSYS : r ? -EIO : 0;
}

// The volume will commit no more: the anchor gets its last state.
static int settle(struct svol *sv)
{
	struct sanchor *a = &sv->anchor;
	int r = 0;

	sealed_anchor_note(sv);
	if (a->claimed && !a->fenced && !gone && a->known < a->state.generation)
		r = wait_told(sv, a->state.generation, PATIENCE_NS);
	if (r)
		pr_warn("sealed volume %s: its anchor was not told of commits %lu to %lu: the host may take them back\n", sv->name, a->known + 1,
			a->state.generation);
	return r;
}

void sealed_anchor_end(struct svol *sv)
{
	if (!sv->anchor.mode)
		return;
	if (!sv->sb->read_only && !seal_checkpoint(sv->v))
		settle(sv);
	mutex_lock(&anchor_lock);
	anchored[sv->index] = NULL;
	mutex_unlock(&anchor_lock);
}

void sealed_anchor_text(struct svol *sv, char *buf, size_t n)
{
	const struct sanchor *a = &sv->anchor;

	snprintf(buf, n, "anchor=%s%s", a->mode ? a->tpm ? "tpm" : "broker" : "none", a->mode && a->each_fsync ? ",anchor_fsync" : "");
}

// --- the helper's file

// The next thing that the helper has to do; false: nothing before *deadline.
static bool next_work(struct coffer_anchor_record *rec, u64 *deadline)
{
	static u32 turn; // behind the one served last, so that a busy volume does not keep the others waiting
	u64 now = ktime_mono();

	*deadline = NO_DEADLINE;
	memset(rec, 0, sizeof(*rec));
	for (u32 n = 0; n < SEALED_MAX; n++) {
		u32 k = (turn + n) % SEALED_MAX;
		struct svol *sv = anchored[k];
		struct sanchor *a = sv ? &sv->anchor : NULL;
		if (!a || (!a->asked && !behind(a)))
			continue;
		u64 due = a->asked ? now : max(a->told_at + (a->urgent ? 0 : a->every_ns), a->silent ? a->tried_at + RETRY_NS : 0);
		if (due > now) {
			*deadline = min(*deadline, due);
			continue;
		}
		rec->what = COFFER_ANCHOR_STATE;
		rec->index = k;
		rec->state.epoch = a->state.epoch;
		rec->state.generation = a->state.generation;
		memcpy(rec->state.digest, a->state.digest, sizeof(rec->state.digest));
		if (!a->asked)
			a->tried_at = now;
		a->asked = false;
		turn = k + 1;
		return true;
	}
	rec->what = COFFER_ANCHOR_CLOSE;
	return closing;
}

static ssize_t anchor_read(struct file *f, struct iter *it, u64 *pos)
{
	struct coffer_anchor_record rec;
	struct waiter w;
	bool have;
	int r = 0;

	(void)f, (void)pos;
	if (it->left < sizeof(rec))
		return -EINVAL;
	waiter_init(&w);
	waitq_add(&helper_q, &w);
	for (;;) {
		u32 seq = task_seq();
		u64 deadline;
		mutex_lock(&anchor_lock);
		have = next_work(&rec, &deadline);
		mutex_unlock(&anchor_lock);
		if (have || (r = task_sleep(seq, deadline)) == -EINTR)
			break;
	}
	waitq_del(&helper_q, &w);
	if (!have)
		return -ERESTARTSYS;
	while (iter_put(it, &rec, sizeof(rec)) != sizeof(rec))
		if (iter_fault_in(it, true))
			return -EFAULT;
	return sizeof(rec);
}

static void say_silent(struct svol *sv, bool silent)
{
	struct sanchor *a = &sv->anchor;

	if (a->silent == silent)
		return;
	a->silent = silent;
	if (silent)
		pr_warn("sealed volume %s: its anchor does not answer: commits after %lu can be rolled back; fsync fails when this lasts longer than "
			"%lu s\n",
			sv->name, a->known, a->bound_ns / NSEC_PER_SEC);
	else
		pr_warn("sealed volume %s: its anchor answers again\n", sv->name);
}

static int answer(const struct coffer_anchor_record *rec)
{
	struct svol *sv = rec->index < SEALED_MAX ? anchored[rec->index] : NULL;
	struct sanchor *a = sv ? &sv->anchor : NULL;

	if (!a)
		return -ENODEV;
	switch (rec->what) {
	case COFFER_ANCHOR_STATE:
		a->asked = true;
		return 0;
	case COFFER_ANCHOR_CLAIMED:
		a->claimed = true;
		a->known = a->state.generation;
		return 0;
	case COFFER_ANCHOR_KNOWS:
		say_silent(sv, false);
		__atomic_store_n(&a->known, max(a->known, rec->state.generation), __ATOMIC_RELEASE);
		a->told_at = ktime_mono();
		a->in_vain = false;
		a->behind_since = behind(a) ? a->tried_at : 0;
		a->urgent = a->urgent && behind(a);
		return 0;
	case COFFER_ANCHOR_SILENT:
		say_silent(sv, true);
		return 0;
	case COFFER_ANCHOR_FENCED:
		a->fenced = true;
		pr_err("sealed volume %s: another writer has claimed it: nothing is committed any more\n", sv->name);
		seal_fence(sv->v);
		return 0;
	default:
		return -EINVAL;
	}
}

// The enclave is about to end: everything is committed and told.
static int close_all(void)
{
	int r = 0;

	for (u32 k = 0; k < SEALED_MAX; k++) {
		struct svol *sv = sealed_get(k);
		if (!sv)
			continue;
		int e = sv->sb->read_only ? 0 : sealed_sync(sv);
		if (!e && !sv->sb->read_only)
			e = sealed_err(seal_checkpoint(sv->v));
		if (!e && !sv->sb->read_only)
			e = settle(sv);
		r = r ? r : e;
		super_put(sv->sb);
	}
	mutex_lock(&anchor_lock);
	closing = true;
	mutex_unlock(&anchor_lock);
	waitq_wake(&helper_q, 0);
	return r;
}

static ssize_t anchor_write(struct file *f, struct iter *it, u64 *pos)
{
	struct coffer_anchor_record rec;
	struct iter saved = *it;
	int r = 0;

	(void)pos;
	if (it->left < sizeof(rec))
		return -EINVAL;
	while (iter_get(it, &rec, sizeof(rec)) != sizeof(rec)) {
		if (iter_fault_in(it, false))
			return -EFAULT;
		iter_revert(it, &saved);
	}
	struct svol *sv = rec.what == COFFER_ANCHOR_CLAIMED ? sealed_get(rec.index) : NULL;
	if (sv) {
		seal_set_epoch(sv->v, rec.state.epoch);
		super_put(sv->sb);
	}
	if (rec.what == COFFER_ANCHOR_CLOSE) {
		r = close_all();
	} else if (rec.what == COFFER_ANCHOR_SERVE || rec.what == COFFER_ANCHOR_HIDE) {
		if (rec.what == COFFER_ANCHOR_SERVE)
			f->priv = f; // its release is the helper's end
		proc_hide(curproc);
	} else {
		mutex_lock(&anchor_lock);
		r = answer(&rec);
		mutex_unlock(&anchor_lock);
		waitq_wake(&told_q, 0);
		waitq_wake(&helper_q, 0);
	}
	return r ? r : (ssize_t)sizeof(rec);
}

static int anchor_open(struct inode *ino, struct file *f)
{
	(void)ino, (void)f;
	return boot_before_program() ? 0 : -EPERM;
}

static void anchor_release(struct file *f)
{
	if (!f->priv || closing)
		return;
	gone = true;
	pr_err("the anchor's helper has ended: commits from now on can be rolled back, and fsync will fail\n");
	waitq_wake(&told_q, 0);
}

const struct file_ops proc_anchor_fops = {
	.open = anchor_open, .read = anchor_read, .write = anchor_write, .llseek = no_llseek, .release = anchor_release, .stream = true};

// /proc/coffer/volumes: one line a volume, what protects it against rollback.
int proc_volumes(struct pout *o, struct pnode *n)
{
	char strength[64];

	(void)n;
	for (u32 k = 0; k < SEALED_MAX; k++) {
		struct svol *sv = sealed_get(k);
		struct seal_info info;
		if (!sv)
			continue;
		seal_get_info(sv->v, &info);
		sealed_anchor_text(sv, strength, sizeof(strength));
		pout(o, "%s %s commit=%lu %s", sv->name, sv->sb->read_only ? "ro" : "rw", info.generation, strength);
		mutex_lock(&anchor_lock);
		const struct sanchor *a = &sv->anchor;
		if (!a->mode)
			pout(o, " rollback not detected");
		else if (a->fenced)
			pout(o, " fenced: another writer has claimed it");
		else if (a->claimed)
			pout(o, " known=%lu epoch=%lu every=%lums bound=%lums%s", a->known, a->state.epoch, a->every_ns / NSEC_PER_MSEC, a->bound_ns / NSEC_PER_MSEC,
			     a->silent ? " silent" : "");
		mutex_unlock(&anchor_lock);
		pout(o, "\n");
		super_put(sv->sb);
	}
	return 0;
}
