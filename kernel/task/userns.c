// SPDX-License-Identifier: Apache-2.0
// User namespaces: maps of user, group and project numbers, capabilities in a namespace, /proc/PID/uid_map and its like. In the kernel all
// ids are those of the first namespace; they are translated where they come from programs and go to them (uid_in, uid_out...).
// A process keeps its namespace until its record is freed, and a namespace its parent; who changes it goes to one below, so whoever holds
// a process may look at its namespace at any time. Maps are set once. Locks: tasklist while a map is set.
#include "kernel/fs/procfs.h"
#include "kernel/task/internal.h"
#include "kernel/task/userns.h"
#include <linux/capability.h>
#include <linux/securebits.h>

#define EXTENTS_MAX 340u // as Linux
#define LEVELS_MAX 32u
#define OVERFLOW_ID 65534u
#define NOBODY U32_MAX

struct extent {
	u32 first, lower, count; // lower: of the first namespace
};

struct idmap {
	u32 n; // 0: not set yet
	struct extent *e;
};

enum { USERS, GROUPS, PROJECTS, MAPS };

struct user_ns {
	struct ns ns;
	struct user_ns *parent;	// reference; NULL: the first one
	u32 level;
	u32 owner, group;	// who made it
	struct idmap map[MAPS];
	bool deny_setgroups;
	bool setfcap;		// its maker had CAP_SETFCAP: may map the parent's user 0
};

static struct extent identity = {0, 0, U32_MAX};
struct ns init_user_ns = {.ref = {1}, .type = CLONE_NEWUSER, .inum = 4026531837ul};

struct ns *user_ns_head(struct user_ns *u) { return u ? &u->ns : &init_user_ns; }
struct user_ns *user_ns_parent(const struct user_ns *u) { return u->parent; }
struct user_ns *user_ns_of(struct ns *n) { return n == &init_user_ns ? NULL : container_of(n, struct user_ns, ns); }

void user_ns_get(struct user_ns *u)
{
	if (u)
		ref_get(&u->ns.ref);
}

void user_ns_put(struct user_ns *u)
{
	while (u && ref_put(&u->ns.ref)) {
		struct user_ns *up = u->parent;

		for (u32 i = 0; i < MAPS; i++)
			kfree(u->map[i].e);
		kfree(u);
		u = up;
	}
}

// --- translation

static u32 down(const struct user_ns *u, u32 which, u32 id)
{
	const struct idmap *m = u ? &u->map[which] : &(struct idmap){1, &identity};
	u32 n = __atomic_load_n(&m->n, __ATOMIC_ACQUIRE);

	for (u32 i = 0; i < n; i++)
		if (id - m->e[i].first < m->e[i].count && id >= m->e[i].first)
			return m->e[i].lower + (id - m->e[i].first);
	return NOBODY;
}

static u32 up(const struct user_ns *u, u32 which, u32 id)
{
	u32 n = u ? __atomic_load_n(&u->map[which].n, __ATOMIC_ACQUIRE) : 0;

	if (!u)
		return id;
	for (u32 i = 0; i < n; i++) {
		const struct extent *e = &u->map[which].e[i];
		if (id >= e->lower && id - e->lower < e->count)
			return e->first + (id - e->lower);
	}
	return NOBODY;
}

u32 id_in(const struct user_ns *u, bool group, u32 id) { return down(u, group ? GROUPS : USERS, id); }

u32 id_out(const struct user_ns *u, bool group, u32 id)
{
	u32 v = up(u, group ? GROUPS : USERS, id);

	return v == NOBODY ? OVERFLOW_ID : v;
}

bool id_mapped(const struct user_ns *u, bool group, u32 id) { return up(u, group ? GROUPS : USERS, id) != NOBODY; }

// --- capabilities

bool cred_capable(const struct cred *c, const struct user_ns *u, int cap)
{
	for (;; u = u->parent) {
		if (u == c->user_ns)
			return c->cap_eff >> cap & 1;
		if (!u || (c->user_ns && u->level <= c->user_ns->level))
			return false;
		if (u->parent == c->user_ns && u->owner == c->euid)
			return true;
	}
}

bool ns_capable(const struct user_ns *u, int cap)
{
	return !curproc || cred_capable(cred(), u, cap);
}

bool setgroups_allowed(void)
{
	const struct user_ns *u = cred()->user_ns;

	return !u || (__atomic_load_n(&u->map[GROUPS].n, __ATOMIC_ACQUIRE) && !u->deny_setgroups);
}

struct cred *cred_dup(const struct cred *c)
{
	struct cred *n = kmalloc(sizeof(*n));

	if (n) {
		*n = *c;
		user_ns_get(n->user_ns);
	}
	return n;
}

void cred_free(struct cred *c)
{
	if (c)
		user_ns_put(c->user_ns);
	kfree(c);
}

// --- making one, going into one

struct user_ns *user_ns_new(const struct cred *c)
{
	struct user_ns *u, *parent = c->user_ns;

	if (parent && parent->level + 1 >= LEVELS_MAX)
		return ERR_PTR(-ENOSPC);
	if (fs_chrooted() || !id_mapped(parent, false, c->euid) || !id_mapped(parent, true, c->egid))
		return ERR_PTR(-EPERM); // whoever has no number there, or no way out of a place, gains none so
	u = knew(struct user_ns);
	if (!u)
		return ERR_PTR(-ENOMEM);
	u->ns = (struct ns){.ref = {1}, .type = CLONE_NEWUSER, .inum = ns_inum()};
	u->parent = parent;
	user_ns_get(parent);
	u->level = parent ? parent->level + 1 : 1;
	u->owner = c->euid;
	u->group = c->egid;
	u->deny_setgroups = parent && parent->deny_setgroups;
	u->setfcap = c->cap_eff >> CAP_SETFCAP & 1;
	return u;
}

void cred_enter(struct cred *c, struct user_ns *u)
{
	struct user_ns *old = c->user_ns;

	user_ns_get(u);
	c->cap_inh = c->cap_amb = 0;
	c->cap_perm = c->cap_eff = c->cap_bset = CAP_ALL;
	c->securebits = SECUREBITS_DEFAULT;
	__atomic_store_n(&c->user_ns, u, __ATOMIC_RELEASE);
	user_ns_put(old); // which is above u and stays
}

u32 user_ns_owner(const struct ns *n) { return n == &init_user_ns ? 0 : container_of(n, struct user_ns, ns)->owner; }

bool user_ns_made(const struct user_ns *u, const struct cred *c)
{
	for (; u; u = u->parent)
		if (u->parent == c->user_ns && u->owner == c->euid)
			return true;
	return false;
}

bool user_ns_above(const struct user_ns *top, const struct user_ns *u)
{
	while (u && u != top)
		u = u->parent;
	return u == top;
}

// --- /proc/PID/uid_map, gid_map, projid_map, setgroups

// A reference.
static struct user_ns *of_process(struct proc *p)
{
	struct user_ns *u;

	mutex_lock(&tasklist);
	u = p->cred.user_ns;
	user_ns_get(u);
	mutex_unlock(&tasklist);
	return u;
}

// Lower numbers are the reader's; in a namespace itself, those of its parent.
static int map_text(struct pout *o, struct pnode *n, u32 which)
{
	struct user_ns *u = of_process(n->proc), *seen = cred()->user_ns;
	struct idmap whole = {1, &identity};
	const struct idmap *m = u ? &u->map[which] : &whole;
	u32 k = __atomic_load_n(&m->n, __ATOMIC_ACQUIRE);

	if (u && seen == u)
		seen = u->parent;
	for (u32 i = 0; i < k; i++)
		pout(o, "%10u %10u %10u\n", m->e[i].first, up(seen, which, m->e[i].lower), m->e[i].count);
	user_ns_put(u);
	return 0;
}

int ns_uid_map(struct pout *o, struct pnode *n) { return map_text(o, n, USERS); }
int ns_gid_map(struct pout *o, struct pnode *n) { return map_text(o, n, GROUPS); }
int ns_projid_map(struct pout *o, struct pnode *n) { return map_text(o, n, PROJECTS); }

int ns_setgroups(struct pout *o, struct pnode *n)
{
	struct user_ns *u = of_process(n->proc);

	pout(o, "%s\n", u && u->deny_setgroups ? "deny" : "allow");
	user_ns_put(u);
	return 0;
}

static bool overlap(const struct extent *e, u32 n, const struct extent *x)
{
	for (u32 i = 0; i < n; i++)
		if ((x->first <= e[i].first + (e[i].count - 1) && e[i].first <= x->first + (x->count - 1)) ||
		    (x->lower <= e[i].lower + (e[i].count - 1) && e[i].lower <= x->lower + (x->count - 1)))
			return true;
	return false;
}

// Lines of "first lower count". -EINVAL.
static int parse(const char *s, struct extent *e, u32 *n)
{
	for (*n = 0; *s; ++*n) {
		u64 v[3];

		for (int i = 0; i < 3; i++) {
			const char *was = s;
			while (*s == ' ' || *s == '\t')
				s++;
			if ((i && s == was) || kstrtou64(s, &s, &v[i]) || v[i] > U32_MAX)
				return -EINVAL;
		}
		while (*s == ' ' || *s == '\t')
			s++;
		if ((*s && *s != '\n') || *n == EXTENTS_MAX)
			return -EINVAL;
		s += *s == '\n';
		struct extent x = {(u32)v[0], (u32)v[1], (u32)v[2]};
		if (x.first == NOBODY || x.lower == NOBODY || x.first + x.count <= x.first || x.lower + x.count <= x.lower || overlap(e, *n, &x))
			return -EINVAL;
		e[*n] = x;
	}
	return *n ? 0 : -EINVAL;
}

// Numbers of the parent, as they were written.
static bool may_map(const struct user_ns *u, u32 which, const struct extent *e, u32 n)
{
	static const int caps[] = {[USERS] = CAP_SETUID, [GROUPS] = CAP_SETGID};
	const struct cred *c = cred();
	bool root = false;

	for (u32 i = 0; i < n; i++)
		root |= !e[i].lower;
	if (which == USERS && root && !(c->user_ns == u ? u->setfcap : ns_capable(u->parent, CAP_SETFCAP)))
		return false;
	if (n == 1 && e->count == 1 && u->owner == c->euid && which != PROJECTS) {
		u32 id = down(u->parent, which, e->lower);
		if (which == USERS ? id == c->euid : u->deny_setgroups && id == c->egid)
			return true; // its own number is nobody else's
	}
	return which == PROJECTS || ns_capable(u->parent, caps[which]);
}

// The whole range lies in one of the parent's. NOBODY.
static u32 range_down(const struct user_ns *u, u32 which, const struct extent *x)
{
	const struct idmap *m = u ? &u->map[which] : &(struct idmap){1, &identity};
	u32 n = __atomic_load_n(&m->n, __ATOMIC_ACQUIRE);

	for (u32 i = 0; i < n; i++) {
		const struct extent *e = &m->e[i];
		if (x->lower >= e->first && x->lower - e->first < e->count && x->count <= e->count - (x->lower - e->first))
			return e->lower + (x->lower - e->first);
	}
	return NOBODY;
}

static ssize_t map_write(struct pnode *node, const char *buf, size_t len, u32 which)
{
	struct user_ns *u = of_process(node->proc), *mine = cred()->user_ns;
	struct extent *e = NULL;
	ssize_t r = -EPERM;
	u32 n;

	if (!u || (mine != u && mine != u->parent))
		goto out;
	r = -EINVAL;
	if (len >= PAGE_SIZE || strlen(buf) != len)
		goto out;
	r = -EPERM;
	if (u->map[which].n || (which != PROJECTS && !ns_capable(u, CAP_SYS_ADMIN)))
		goto out;
	r = -ENOMEM;
	e = kmalloc(EXTENTS_MAX * sizeof(*e));
	if (!e || (r = parse(buf, e, &n)))
		goto out;
	r = may_map(u, which, e, n) ? 0 : -EPERM;
	for (u32 i = 0; i < n && !r; i++) {
		e[i].lower = range_down(u->parent, which, &e[i]);
		if (e[i].lower == NOBODY)
			r = -EPERM;
	}
	if (r)
		goto out;
	struct extent *fit = kmalloc(n * sizeof(*fit));
	r = -ENOMEM;
	if (!fit)
		goto out;
	memcpy(fit, e, n * sizeof(*fit));
	mutex_lock(&tasklist);
	r = u->map[which].n ? -EPERM : (ssize_t)len;
	if (r > 0) {
		u->map[which].e = fit;
		__atomic_store_n(&u->map[which].n, n, __ATOMIC_RELEASE);
		fit = NULL;
	}
	mutex_unlock(&tasklist);
	kfree(fit);
out:
	kfree(e);
	user_ns_put(u);
	return r;
}

ssize_t ns_uid_map_write(struct pnode *n, char *buf, size_t len) { return map_write(n, buf, len, USERS); }
ssize_t ns_gid_map_write(struct pnode *n, char *buf, size_t len) { return map_write(n, buf, len, GROUPS); }
ssize_t ns_projid_map_write(struct pnode *n, char *buf, size_t len) { return map_write(n, buf, len, PROJECTS); }

ssize_t ns_setgroups_write(struct pnode *n, char *buf, size_t len)
{
	bool deny = !strncmp(buf, "deny", 4);
	struct user_ns *u = of_process(n->proc);
	const char *end = buf + (deny ? 4 : 5);
	ssize_t r = -EINVAL;

	if (len >= 8 || (!deny && strncmp(buf, "allow", 5)))
		goto out;
	while (*end == '\n' || *end == ' ' || *end == '\t')
		end++;
	if (*end)
		goto out;
	r = (ssize_t)len;
	mutex_lock(&tasklist);
	if (!u ? deny : !ns_capable(u, CAP_SYS_ADMIN) || (deny ? u->map[GROUPS].n : u->deny_setgroups))
		r = -EPERM;
	else if (u)
		u->deny_setgroups = deny;
	mutex_unlock(&tasklist);
out:
	user_ns_put(u);
	return r;
}
