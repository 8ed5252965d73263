// SPDX-License-Identifier: Apache-2.0
// Keyrings: links, searches, possession, and those that each session, process, thread and user has. Locks: keys_lock is held, but for
// the functions of include/keys.h, which take it.
#include "kernel/keys/keys.h"

#define DEPTH 6u // how deep a search descends, as Linux
#define RING_PERM (POS(KEY_ALL) | USR(KEY_VIEW | KEY_READ))
#define USER_RING_PERM (POS(KEY_ALL & ~KEY_SETATTR) | USR(KEY_ALL))

struct key *ring_same(struct key *ring, enum key_type type, const char *desc)
{
	for (u32 i = 0; i < ring->n; i++)
		if (ring->keys[i]->type == type && !strcmp(ring->keys[i]->desc, desc))
			return ring->keys[i];
	return NULL;
}

int ring_would_loop(struct key *ring, struct key *k)
{
	if (k->type != KEY_RING)
		return 0;
	struct {
		struct key *k;
		u32 next;
	} stack[DEPTH + 1] = {{k, 0}};
	u32 depth = 0;

	if (k == ring)
		return -EDEADLK;
	for (;;) {
		struct key *at = stack[depth].k;
		if (stack[depth].next == at->n) {
			if (!depth--)
				return 0;
			continue;
		}
		struct key *c = at->keys[stack[depth].next++];
		if (c == ring)
			return -EDEADLK;
		if (c->type != KEY_RING)
			continue;
		if (depth == DEPTH)
			return -ELOOP;
		stack[++depth].k = c;
		stack[depth].next = 0;
	}
}

int ring_link(struct key *ring, struct key *k)
{
	struct key *old;
	int r;

	if (ring->type != KEY_RING)
		return -ENOTDIR;
	if (ring->revoked)
		return -EKEYREVOKED;
	if (ring->sealed)
		return -EPERM;
	r = ring_would_loop(ring, k);
	if (r)
		return r;
	old = ring_same(ring, k->type, k->desc);
	if (old) {
		for (u32 i = 0; i < ring->n; i++)
			if (ring->keys[i] == old)
				ring->keys[i] = key_hold(k);
		key_put(old);
		return 0;
	}
	if (ring->n == ring->cap) {
		u32 cap = max(ring->cap * 2, 4u);
		struct key **p = krealloc(ring->keys, cap * sizeof(*p));
		if (!p)
			return -ENOMEM;
		ring->keys = p;
		ring->cap = cap;
	}
	r = key_charge(ring, 4);
	if (!r)
		ring->keys[ring->n++] = key_hold(k);
	return r;
}

int ring_unlink(struct key *ring, struct key *k)
{
	if (ring->type != KEY_RING)
		return -ENOTDIR;
	for (u32 i = 0; i < ring->n; i++)
		if (ring->keys[i] == k) {
			ring->keys[i] = ring->keys[--ring->n];
			key_charge(ring, -4);
			key_put(k);
			return 0;
		}
	return -ENOENT;
}

void ring_clear(struct key *ring)
{
	while (ring->n)
		ring_unlink(ring, ring->keys[ring->n - 1]);
}

// --- searches

struct search {
	enum key_type type;
	const char *desc;
	const struct key *exact;	// this very key, whatever its state
	bool possessed;
	u32 flags;
	int why;			// the error when nothing is found
};

static bool matches(const struct search *s, const struct key *k)
{
	return s->exact ? k == s->exact : k->type == s->type && !strcmp(k->desc, s->desc);
}

// Whether a key that matches is good.
static bool good(struct search *s, const struct key *k)
{
	int state = s->exact ? 0 : key_state(k);

	if (state == -EKEYEXPIRED) {
		if (s->flags & FIND_EXPIRED)
			s->why = state;
		return false;
	}
	if (state)
		s->why = -EKEYREVOKED;
	else if (key_permission(k, s->possessed, KEY_SEARCH))
		s->why = -EACCES;
	else
		return true;
	return false;
}

static struct key *descend(struct search *s, struct key *ring, u32 depth)
{
	struct key *k;

	if (ring->revoked || ring->invalid)
		return NULL;
	for (u32 i = 0; i < ring->n; i++)
		if (matches(s, ring->keys[i]) && good(s, ring->keys[i]))
			return ring->keys[i];
	for (u32 i = 0; i < ring->n && depth < DEPTH; i++) {
		if (ring->keys[i]->type != KEY_RING || key_permission(ring->keys[i], s->possessed, KEY_SEARCH))
			continue;
		k = descend(s, ring->keys[i], depth + 1);
		if (k)
			return k;
	}
	return NULL;
}

static struct key *search(struct search *s, struct key *ring)
{
	s->why = -EAGAIN;
	if (key_permission(ring, s->possessed, KEY_SEARCH)) {
		s->why = -EACCES;
		return NULL;
	}
	return matches(s, ring) && good(s, ring) ? ring : descend(s, ring, 0);
}

struct found ring_search(struct key *ring, bool possessed, enum key_type type, const char *desc, u32 flags)
{
	struct search s = {.type = type, .desc = desc, .possessed = possessed, .flags = flags};
	struct key *k;

	if (ring->type != KEY_RING)
		return (struct found){ERR_PTR(-ENOTDIR), false};
	k = search(&s, ring);
	return (struct found){k ? key_hold(k) : ERR_PTR(s.why), possessed};
}

// Thread, process, session (a user's own when there is none).
static struct key *search_all(struct search *s)
{
	struct proc *p = curproc;
	struct key *rings[3] = {current->thread_keyring, p->process_keyring, p->session_keyring}, *k;
	int why = -EAGAIN;

	if (!rings[2]) {
		struct key_user *u = key_user(cred()->uid);
		rings[2] = u ? u->session : NULL;
	}
	s->possessed = true;
	for (u32 i = 0; i < ARRAY_SIZE(rings); i++) {
		if (!rings[i])
			continue;
		k = search(s, rings[i]);
		if (k)
			return k;
		if (why == -EAGAIN)
			why = s->why;
	}
	s->why = why;
	return NULL;
}

struct found process_search(enum key_type type, const char *desc, u32 flags)
{
	struct search s = {.type = type, .desc = desc, .flags = flags};
	struct key *k = search_all(&s);

	return (struct found){k ? key_hold(k) : ERR_PTR(s.why), true};
}

bool key_possessed(const struct key *k)
{
	struct search s = {.exact = k};

	return search_all(&s);
}

// --- keyrings that everybody has

int user_rings(struct key_user *u)
{
	struct key *ring, *session;
	char name[32];
	int r;

	if (u->ring)
		return 0;
	snprintf(name, sizeof(name), "_uid.%u", u->uid);
	ring = key_new(KEY_RING, name, u->uid, U32_MAX, USER_RING_PERM, false);
	if (IS_ERR(ring))
		return (int)PTR_ERR(ring);
	snprintf(name, sizeof(name), "_uid_ses.%u", u->uid);
	session = key_new(KEY_RING, name, u->uid, U32_MAX, USER_RING_PERM, false);
	r = IS_ERR(session) ? (int)PTR_ERR(session) : ring_link(session, ring);
	if (r) {
		key_put(ring);
		if (!IS_ERR(session))
			key_put(session);
		return r;
	}
	ring->user_ring = session->user_ring = true;
	u->ring = ring;
	u->session = session;
	return 0;
}

static void session_set(struct key *ring)
{
	struct key *old = curproc->session_keyring;

	curproc->session_keyring = ring;
	key_put(old);
}

static struct key *by_name(const char *name)
{
	struct key *k;

	list_for_each (k, &all_keys, link)
		if (k->type == KEY_RING && !key_state(k) && !strcmp(k->desc, name) && !key_permission(k, false, KEY_SEARCH))
			return key_hold(k);
	return NULL;
}

long session_join(const char *name)
{
	struct cred *c = cred();
	struct key *ring = name ? by_name(name) : NULL;
	s32 serial;

	if (ring && ring == curproc->session_keyring) {
		key_put(ring);
		return 0;
	}
	if (!ring)
		ring = key_new(KEY_RING, name ? name : "_ses", c->uid, c->gid, RING_PERM | (name ? USR(KEY_LINK) : 0), false);
	if (IS_ERR(ring))
		return PTR_ERR(ring);
	serial = ring->serial;
	session_set(ring);
	return serial;
}

static struct key *session_ring(bool create)
{
	struct key_user *u;
	long r;

	if (!curproc->session_keyring || (curproc->session_keyring->user_ring && create)) {
		u = key_user(cred()->uid);
		r = u ? user_rings(u) : -ENOMEM;
		if (!r && create)
			r = session_join(NULL);
		else if (!r)
			session_set(key_hold(u->session));
		if (r < 0)
			return ERR_PTR(r);
	}
	return key_hold(curproc->session_keyring);
}

// A ring of the thread's or process's own, kept in *at.
static struct key *own_ring(struct key **at, const char *name, bool create)
{
	struct cred *c = cred();
	struct key *k;

	if (!*at && !create)
		return ERR_PTR(-ENOKEY);
	if (!*at) {
		k = key_new(KEY_RING, name, c->uid, c->gid, POS(KEY_ALL) | USR(KEY_VIEW), true);
		if (IS_ERR(k))
			return k;
		*at = k;
	}
	return key_hold(*at);
}

static struct key *special(s32 id, bool create)
{
	struct key_user *u;
	int r;

	switch (id) {
	case KEY_SPEC_THREAD_KEYRING: return own_ring(&current->thread_keyring, "_tid", create);
	case KEY_SPEC_PROCESS_KEYRING: return own_ring(&curproc->process_keyring, "_pid", create);
	case KEY_SPEC_SESSION_KEYRING: return session_ring(create);
	case KEY_SPEC_USER_KEYRING:
	case KEY_SPEC_USER_SESSION_KEYRING:
		u = key_user(cred()->uid);
		r = u ? user_rings(u) : -ENOMEM;
		return r ? ERR_PTR(r) : key_hold(id == KEY_SPEC_USER_KEYRING ? u->ring : u->session);
	case KEY_SPEC_REQKEY_AUTH_KEY:
	case KEY_SPEC_REQUESTOR_KEYRING: return ERR_PTR(-ENOKEY); // nobody is asked to make keys here
	default: return ERR_PTR(-EINVAL);
	}
}

struct found key_lookup(s32 id, u32 flags, u32 need)
{
	struct found f = {NULL, true};
	int r;

	if (id > 0) {
		f.key = key_by_serial(id);
		if (!f.key)
			return (struct found){ERR_PTR(-ENOKEY), false};
		f.possessed = key_possessed(f.key);
	} else {
		f.key = special(id, flags & LOOK_CREATE);
	}
	if (IS_ERR(f.key))
		return f;
	r = flags & LOOK_ANY_STATE ? 0 : key_state(f.key);
	if (!r)
		r = key_permission(f.key, f.possessed, need);
	if (!r)
		return f;
	key_put(f.key);
	return (struct found){ERR_PTR(r), false};
}

// --- as processes and threads come and go

void keys_inherit(struct proc *p, struct proc *from)
{
	mutex_lock(&keys_lock);
	p->session_keyring = from->session_keyring;
	if (p->session_keyring)
		key_hold(p->session_keyring);
	mutex_unlock(&keys_lock);
}

int keys_new_thread(struct task *t)
{
	struct cred *c = cred();
	struct key *k;

	mutex_lock(&keys_lock);
	k = key_new(KEY_RING, "_tid", c->uid, c->gid, POS(KEY_ALL) | USR(KEY_VIEW), true);
	if (!IS_ERR(k))
		t->thread_keyring = k;
	mutex_unlock(&keys_lock);
	return IS_ERR(k) ? (int)PTR_ERR(k) : 0;
}

static void drop(struct key **at)
{
	struct key *k = *at;

	*at = NULL;
	key_put(k);
}

void keys_drop_thread(struct task *t)
{
	mutex_lock(&keys_lock);
	drop(&t->thread_keyring);
	mutex_unlock(&keys_lock);
}

void keys_drop_own(struct proc *p, struct task *t)
{
	mutex_lock(&keys_lock);
	drop(&t->thread_keyring);
	drop(&p->process_keyring);
	mutex_unlock(&keys_lock);
}

void keys_drop_proc(struct proc *p)
{
	mutex_lock(&keys_lock);
	drop(&p->session_keyring);
	drop(&p->process_keyring);
	mutex_unlock(&keys_lock);
}
