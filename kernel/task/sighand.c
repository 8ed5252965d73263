// SPDX-License-Identifier: Apache-2.0
// Signal actions that processes share (CLONE_SIGHAND without CLONE_THREAD). Each process has its own sig_lock, so a shared table has
// one more lock, for whole actions. Locks: sig_lock -> sighand->lock (leaf).
#include "kernel/include/alloc.h"
#include "kernel/include/kstring.h"
#include "kernel/task/internal.h"

struct sighand {
	struct ref ref;
	struct mutex lock;
	struct ksigaction action[NSIG + 1];
};

struct ksigaction action_get(struct proc *p, int sig)
{
	struct ksigaction ka;

	if (likely(!p->sighand))
		return p->action[sig];
	mutex_lock(&p->sighand->lock);
	ka = p->action[sig];
	mutex_unlock(&p->sighand->lock);
	return ka;
}

struct ksigaction action_of(struct proc *p, int sig)
{
	struct ksigaction ka;

	mutex_lock(&p->sig_lock);
	ka = action_get(p, sig);
	mutex_unlock(&p->sig_lock);
	return ka;
}

void action_set(struct proc *p, int sig, const struct ksigaction *ka)
{
	if (likely(!p->sighand)) {
		p->action[sig] = *ka;
		return;
	}
	mutex_lock(&p->sighand->lock);
	p->action[sig] = *ka;
	mutex_unlock(&p->sighand->lock);
}

int sighand_share(struct proc *child, struct proc *from)
{
	struct sighand *s = knew(struct sighand);

	if (!s)
		return -ENOMEM;
	ref_init(&s->ref, 1);
	mutex_lock(&from->sig_lock);
	if (!from->sighand) {
		memcpy(s->action, from->own_action, sizeof(s->action));
		from->action = s->action;
		from->sighand = s;
		s = NULL;
	}
	ref_get(&from->sighand->ref);
	child->sighand = from->sighand;
	child->action = child->sighand->action;
	mutex_unlock(&from->sig_lock);
	kfree(s);
	return 0;
}

void sighand_leave(struct proc *p, bool keep)
{
	struct sighand *s = p->sighand;

	if (!s)
		return;
	if (keep) {
		mutex_lock(&p->sig_lock);
		mutex_lock(&s->lock);
		memcpy(p->own_action, s->action, sizeof(s->action));
		mutex_unlock(&s->lock);
		p->action = p->own_action;
		p->sighand = NULL;
		mutex_unlock(&p->sig_lock);
	}
	if (ref_put(&s->ref))
		kfree(s);
}
