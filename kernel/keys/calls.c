// SPDX-License-Identifier: Apache-2.0
// add_key, request_key, keyctl (man 7 keyrings). Types: user, logon, keyring. No program is started to make a key that is asked for
// and missing: such a request finds nothing. Locks: keys_lock; payloads are copied without it.
#include "kernel/keys/keys.h"

#define TYPE_MAX_ 32u
#define DESC_MAX_ 4096u
#define PAYLOAD_MAX ((1ul << 20) - 1)
#define USER_MAX_ 32767u

// A type's name; -EPERM for the kernel's own.
static int get_type(const void __user *utype, enum key_type *type)
{
	char name[TYPE_MAX_];
	ssize_t n = user_str(name, utype, sizeof(name));

	if (n < 0)
		return n == -ENAMETOOLONG ? -EINVAL : (int)n;
	if (!n)
		return -EINVAL;
	if (name[0] == '.')
		return -EPERM;
	*type = KEY_NO_TYPE;
	for (u32 i = 0; i < KEY_TYPES; i++)
		if (!strcmp(name, key_type_names[i]))
			*type = i;
	return 0;
}

// A description, which the caller frees; NULL when there is none.
static char *get_desc(const void __user *udesc)
{
	char *s = kmalloc(DESC_MAX_);
	ssize_t n = s ? user_str(s, udesc, DESC_MAX_) : -ENOMEM;

	if (n >= 0)
		return s;
	kfree(s);
	return ERR_PTR(n == -ENAMETOOLONG ? -EINVAL : n);
}

static u8 *get_payload(const void __user *u, size_t n)
{
	u8 *p;

	if (n > PAYLOAD_MAX)
		return ERR_PTR(-EINVAL);
	p = kmalloc(n + 1);
	if (!p || !copy_from_user(p, u, n))
		return p ? p : ERR_PTR(-ENOMEM);
	kfree(p);
	return ERR_PTR(-EFAULT);
}

static void wipe(u8 *p, size_t n)
{
	if (IS_ERR_OR_NULL(p))
		return;
	explicit_bzero(p, n);
	kfree(p);
}

static int check_content(enum key_type type, const char *desc, size_t n)
{
	const char *colon = strchr(desc, ':');

	if (!*desc)
		return -EINVAL;
	if (type == KEY_LOGON && (!colon || colon == desc))
		return -EINVAL;
	return type == KEY_RING ? (n ? -EINVAL : 0) : !n || n > USER_MAX_ ? -EINVAL : 0;
}

static u32 default_perm(enum key_type type)
{
	return POS(KEY_VIEW | KEY_SEARCH | KEY_LINK | KEY_SETATTR | KEY_WRITE | (type == KEY_LOGON ? 0 : KEY_READ)) | USR(KEY_VIEW);
}

// A key of that type and name in f.key, new or with new contents. *data is set to NULL when taken over. Locked.
static long create_or_update(struct found f, enum key_type type, const char *desc, u8 **data, size_t n)
{
	struct key *k;
	long r;

	if (f.key->type != KEY_RING)
		return -ENOTDIR;
	r = key_permission(f.key, f.possessed, KEY_WRITE);
	if (r)
		return r;
	k = type == KEY_RING ? NULL : ring_same(f.key, type, desc);
	if (k && !k->revoked && !k->invalid) {
		r = f.key->sealed ? -EPERM : key_permission(k, f.possessed, KEY_WRITE);
		if (!r)
			r = key_set_data(k, *data, (u32)n);
		if (r)
			return r;
		k->expires = 0;
		*data = NULL;
		return k->serial;
	}
	k = key_new(type, desc, cred()->fsuid, cred()->fsgid, default_perm(type), false);
	if (IS_ERR(k))
		return PTR_ERR(k);
	if (type != KEY_RING)
		r = key_set_data(k, *data, (u32)n);
	if (!r && type != KEY_RING)
		*data = NULL;
	if (!r)
		r = ring_link(f.key, k);
	if (!r)
		r = k->serial;
	key_put(k);
	return r;
}

long sys_add_key(const void __user *utype, const void __user *udesc, const void __user *upayload, size_t n, s32 ringid)
{
	enum key_type type;
	char *desc = NULL;
	u8 *data = NULL;
	struct found f;
	long r;

	if (n > PAYLOAD_MAX)
		return -EINVAL;
	r = get_type(utype, &type);
	if (r)
		return r;
	desc = udesc ? get_desc(udesc) : kstrdup("");
	if (IS_ERR_OR_NULL(desc))
		return desc ? PTR_ERR(desc) : -ENOMEM;
	r = desc[0] == '.' && type == KEY_RING ? -EPERM : 0;
	if (!r && n) {
		data = get_payload(upayload, n);
		if (IS_ERR(data))
			r = PTR_ERR(data);
	}
	if (!r) {
		mutex_lock(&keys_lock);
		f = key_lookup(ringid, LOOK_CREATE, KEY_WRITE);
		r = IS_ERR(f.key) ? PTR_ERR(f.key) : type == KEY_NO_TYPE ? -ENODEV : f.key->type != KEY_RING ? -ENOTDIR : check_content(type, desc, n);
		if (!r)
			r = create_or_update(f, type, desc, &data, n);
		if (!IS_ERR(f.key))
			key_put(f.key);
		mutex_unlock(&keys_lock);
	}
	wipe(data, n);
	kfree(desc);
	return r;
}

// --- finding

// The serial number of what was found, linked into dest when there is one. Consumes f.key's reference.
static long deliver(struct found f, struct key *dest)
{
	long r = dest ? key_permission(f.key, f.possessed, KEY_LINK) : 0;

	if (!r && dest)
		r = ring_link(dest, f.key);
	if (!r)
		r = f.key->serial;
	key_put(f.key);
	return r;
}

// Without `ring` all of the caller's keyrings are searched.
static long find(const s32 *ringid, const void __user *utype, const void __user *udesc, s32 destid)
{
	struct found ring = {0}, dest = {0}, f;
	enum key_type type;
	char *desc;
	long r = get_type(utype, &type);

	if (r)
		return r;
	desc = get_desc(udesc);
	if (IS_ERR(desc))
		return PTR_ERR(desc);
	mutex_lock(&keys_lock);
	if (ringid) {
		ring = key_lookup(*ringid, 0, KEY_SEARCH);
		r = IS_ERR(ring.key) ? PTR_ERR(ring.key) : 0;
	}
	if (!r && destid) {
		dest = key_lookup(destid, LOOK_CREATE, KEY_WRITE);
		r = IS_ERR(dest.key) ? PTR_ERR(dest.key) : 0;
	}
	if (!r && type == KEY_NO_TYPE)
		r = -ENOKEY;
	if (!r) {
		f = ringid ? ring_search(ring.key, ring.possessed, type, desc, FIND_EXPIRED) : process_search(type, desc, 0);
		r = IS_ERR(f.key) ? PTR_ERR(f.key) : deliver(f, dest.key);
		if (r == -EAGAIN)
			r = -ENOKEY;
	}
	if (!IS_ERR_OR_NULL(ring.key))
		key_put(ring.key);
	if (!IS_ERR_OR_NULL(dest.key))
		key_put(dest.key);
	mutex_unlock(&keys_lock);
	kfree(desc);
	return r;
}

long sys_request_key(const void __user *utype, const void __user *udesc, const void __user *callout, s32 destid)
{
	char *text = callout ? get_desc(callout) : NULL; // for the program that would make the key

	if (IS_ERR(text))
		return PTR_ERR(text);
	kfree(text);
	return find(NULL, utype, udesc, destid);
}

// --- keyctl: what a key holds

static long update(s32 id, const void __user *u, size_t n)
{
	struct found f;
	u8 *data;
	long r;

	if (n > PAGE_SIZE)
		return -EINVAL;
	data = get_payload(u, n);
	if (IS_ERR(data))
		return PTR_ERR(data);
	mutex_lock(&keys_lock);
	f = key_lookup(id, 0, KEY_WRITE);
	r = IS_ERR(f.key) ? PTR_ERR(f.key) : f.key->type == KEY_RING ? -EOPNOTSUPP : check_content(f.key->type, f.key->desc, n);
	if (!r)
		r = key_set_data(f.key, data, (u32)n);
	if (!r) {
		f.key->expires = 0;
		data = NULL;
	}
	if (!IS_ERR(f.key))
		key_put(f.key);
	mutex_unlock(&keys_lock);
	wipe(data, n);
	return r;
}

static long describe(s32 id, void __user *ubuf, size_t n)
{
	char *buf = kmalloc(DESC_MAX_ + 64);
	struct found f;
	long r;

	if (!buf)
		return -ENOMEM;
	mutex_lock(&keys_lock);
	f = key_lookup(id, LOOK_ANY_STATE, KEY_VIEW);
	r = IS_ERR(f.key) ? PTR_ERR(f.key) : key_state(f.key);
	if (!r)
		r = scnprintf(buf, DESC_MAX_ + 64, "%s;%d;%d;%08x;%s", key_type_names[f.key->type], (int)uid_out(f.key->uid),
			      (int)key_group(f.key), f.key->perm, f.key->desc) + 1;
	if (!IS_ERR(f.key))
		key_put(f.key);
	mutex_unlock(&keys_lock);
	if (r > 0 && ubuf && n >= (size_t)r && copy_to_user(ubuf, buf, (size_t)r))
		r = -EFAULT;
	kfree(buf);
	return r;
}

// The contents in a buffer that the caller wipes.
static long contents(const struct key *k, u8 **out, size_t room)
{
	size_t n = k->type == KEY_RING ? k->n * sizeof(s32) : k->len;

	if (n > room || !n)
		return (long)n;
	*out = kmalloc(n);
	if (!*out)
		return -ENOMEM;
	if (k->type != KEY_RING)
		memcpy(*out, k->data, n);
	for (u32 i = 0; k->type == KEY_RING && i < k->n; i++)
		((s32 *)*out)[i] = k->keys[i]->serial;
	return (long)n;
}

static long read(s32 id, void __user *ubuf, size_t room)
{
	u8 *copy = NULL;
	struct found f;
	size_t n;
	long r;

	mutex_lock(&keys_lock);
	f = key_lookup(id, 0, 0);
	r = IS_ERR(f.key) ? PTR_ERR(f.key) : key_permission(f.key, f.possessed, KEY_READ);
	if (r == -EACCES && !IS_ERR(f.key) && f.possessed) // what can be found can be read
		r = 0;
	if (!r)
		r = f.key->type == KEY_LOGON ? -EOPNOTSUPP : contents(f.key, &copy, ubuf ? room : 0);
	if (!IS_ERR(f.key))
		key_put(f.key);
	mutex_unlock(&keys_lock);
	n = r > 0 ? (size_t)r : 0;
	if (copy && copy_to_user(ubuf, copy, n))
		r = -EFAULT;
	if (copy)
		wipe(copy, n);
	return r;
}

static long get_security(s32 id, void __user *ubuf, size_t n)
{
	struct found f;
	char none = 0;
	long r;

	mutex_lock(&keys_lock);
	f = key_lookup(id, LOOK_ANY_STATE, KEY_VIEW);
	r = IS_ERR(f.key) ? PTR_ERR(f.key) : 1; // no security module: the empty label
	if (!IS_ERR(f.key))
		key_put(f.key);
	mutex_unlock(&keys_lock);
	return r > 0 && ubuf && n && copy_to_user(ubuf, &none, 1) ? -EFAULT : r;
}

// --- keyctl: one key, changed

struct change {
	u32 op;
	u64 a, b;
};

static long chown_key(struct key *k, u32 uid, u32 gid)
{
	const struct cred *c = cred();
	bool member, keep_uid = uid == U32_MAX, keep_gid = gid == U32_MAX;
	long r = 0;

	uid = keep_uid ? uid : uid_in(uid);
	gid = keep_gid ? gid : gid_in(gid);
	if ((!keep_uid && uid == U32_MAX) || (!keep_gid && gid == U32_MAX))
		return -EINVAL;
	member = c->fsgid == gid;

	for (u32 i = 0; i < c->ngroups; i++)
		member |= c->groups[i] == gid;
	if (!capable(CAP_SYS_ADMIN) && ((uid != U32_MAX && uid != k->uid) || (gid != U32_MAX && gid != k->gid && !member)))
		return -EACCES;
	if (uid != U32_MAX && uid != k->uid)
		r = key_give(k, uid);
	if (!r && gid != U32_MAX)
		k->gid = gid;
	return r;
}

static long revoke(struct key *k)
{
	k->revoked = true;
	ring_clear(k);
	key_drop_data(k);
	return 0;
}

static long restrict_ring(struct key *k, u64 utype, u64 restriction)
{
	enum key_type type;

	if (k->type != KEY_RING)
		return -ENOTDIR;
	if (!utype && restriction)
		return -EINVAL;
	if (utype)
		return get_type(U(utype), &type) ? -EINVAL : type == KEY_NO_TYPE ? -ENOKEY : -ENOENT; // no type has restrictions to offer
	if (k->sealed)
		return -EEXIST;
	k->sealed = true;
	return 0;
}

static long change(struct key *k, const struct change *c)
{
	switch (c->op) {
	case KEYCTL_REVOKE: return revoke(k);
	case KEYCTL_CHOWN: return chown_key(k, (u32)c->a, (u32)c->b);
	case KEYCTL_SETPERM:
		if (!capable(CAP_SYS_ADMIN) && k->uid != cred()->fsuid)
			return -EACCES;
		k->perm = (u32)c->a;
		return 0;
	case KEYCTL_CLEAR:
		if (k->type != KEY_RING)
			return -ENOTDIR;
		ring_clear(k);
		return 0;
	case KEYCTL_SET_TIMEOUT: k->expires = c->a ? (s64)(ktime_real() / NSEC_PER_SEC + (u32)c->a) : 0; return 0;
	case KEYCTL_INVALIDATE:
		k->invalid = true;
		key_collect();
		return 0;
	case KEYCTL_RESTRICT_KEYRING: return restrict_ring(k, c->a, c->b);
	default: return k->serial; // KEYCTL_GET_KEYRING_ID
	}
}

static long change_at(s32 id, u32 flags, u32 need, struct change c)
{
	struct found f;
	long r;

	mutex_lock(&keys_lock);
	f = key_lookup(id, flags, need);
	if (IS_ERR(f.key) && PTR_ERR(f.key) == -EACCES && c.op == KEYCTL_REVOKE)
		f = key_lookup(id, flags, KEY_SETATTR);
	r = IS_ERR(f.key) ? PTR_ERR(f.key) : change(f.key, &c);
	if (!IS_ERR(f.key))
		key_put(f.key);
	mutex_unlock(&keys_lock);
	return r;
}

// --- keyctl: a key and a keyring

static long link_or_unlink(u32 op, s32 id, s32 ringid)
{
	bool link = op == KEYCTL_LINK;
	struct found ring, f = {0};
	long r;

	mutex_lock(&keys_lock);
	ring = key_lookup(ringid, link ? LOOK_CREATE : 0, KEY_WRITE);
	r = IS_ERR(ring.key) ? PTR_ERR(ring.key) : 0;
	if (!r) {
		f = link ? key_lookup(id, LOOK_CREATE, KEY_LINK) : key_lookup(id, LOOK_ANY_STATE, 0);
		r = IS_ERR(f.key) ? PTR_ERR(f.key) : link ? ring_link(ring.key, f.key) : ring_unlink(ring.key, f.key);
	}
	if (!IS_ERR_OR_NULL(f.key))
		key_put(f.key);
	if (!IS_ERR(ring.key))
		key_put(ring.key);
	mutex_unlock(&keys_lock);
	return r;
}

static long move_locked(struct key *k, struct key *from, struct key *to, bool excl)
{
	struct key *same;
	long r;

	if (from->type != KEY_RING || to->type != KEY_RING)
		return -ENOTDIR;
	if (from == to)
		return 0;
	if (ring_same(from, k->type, k->desc) != k)
		return -ENOENT;
	same = ring_same(to, k->type, k->desc);
	if (excl && same && same != k)
		return -EEXIST;
	r = ring_link(to, k);
	return r ? r : ring_unlink(from, k);
}

static long move(s32 id, s32 fromid, s32 toid, u32 flags)
{
	struct found k, from = {0}, to = {0};
	long r;

	if (flags & ~KEYCTL_MOVE_EXCL)
		return -EINVAL;
	mutex_lock(&keys_lock);
	k = key_lookup(id, LOOK_CREATE, KEY_LINK);
	r = IS_ERR(k.key) ? PTR_ERR(k.key) : 0;
	if (!r) {
		from = key_lookup(fromid, 0, KEY_WRITE);
		r = IS_ERR(from.key) ? PTR_ERR(from.key) : 0;
	}
	if (!r) {
		to = key_lookup(toid, LOOK_CREATE, KEY_WRITE);
		r = IS_ERR(to.key) ? PTR_ERR(to.key) : move_locked(k.key, from.key, to.key, flags & KEYCTL_MOVE_EXCL);
	}
	struct key *held[] = {k.key, from.key, to.key};
	for (u32 i = 0; i < ARRAY_SIZE(held); i++)
		if (!IS_ERR_OR_NULL(held[i]))
			key_put(held[i]);
	mutex_unlock(&keys_lock);
	return r;
}

// --- keyctl: of processes

static long join(const void __user *uname)
{
	char *name = uname ? get_desc(uname) : NULL;
	long r;

	if (IS_ERR(name))
		return PTR_ERR(name);
	r = name && (name[0] == '.' || !name[0]) ? (name[0] ? -EPERM : -EINVAL) : 0;
	if (!r) {
		mutex_lock(&keys_lock);
		r = session_join(name);
		mutex_unlock(&keys_lock);
	}
	kfree(name);
	return r;
}

// The parent's session becomes ours, when it is the same user's and has one thread.
static long give_parent(void)
{
	struct cred *mine = cred(), *c;
	struct proc *p;
	struct found f;
	struct key *old = NULL;
	long r;

	mutex_lock(&keys_lock);
	f = key_lookup(KEY_SPEC_SESSION_KEYRING, 0, KEY_LINK);
	mutex_unlock(&keys_lock);
	if (IS_ERR(f.key))
		return PTR_ERR(f.key);
	mutex_lock(&tasklist);
	p = curproc->parent;
	c = &p->cred;
	mutex_lock(&keys_lock);
	r = p->pid <= 1 || p->nthreads != 1 || !p->mm || c->uid != mine->euid || c->euid != mine->euid || c->suid != mine->euid ||
			    c->gid != mine->egid || c->egid != mine->egid || c->sgid != mine->egid ||
			    (p->session_keyring && p->session_keyring->uid != mine->euid) || f.key->uid != mine->euid
		    ? -EPERM : 0;
	if (!r && p->session_keyring != f.key) {
		old = p->session_keyring;
		p->session_keyring = key_hold(f.key);
	}
	key_put(old);
	key_put(f.key);
	mutex_unlock(&keys_lock);
	mutex_unlock(&tasklist);
	return r;
}

// Where keys that programs make on request would be linked: remembered, for nobody makes any.
static long set_request_ring(s32 which)
{
	struct task *t = current;
	s32 old = t->request_ring;

	if (which < -1 || which > KEY_REQKEY_DEFL_REQUESTOR_KEYRING || which == KEY_REQKEY_DEFL_GROUP_KEYRING)
		return -EINVAL;
	if (which >= 0)
		t->request_ring = (u8)which;
	return old;
}

static long capabilities(void __user *ubuf, size_t n)
{
	static const u8 caps[] = {KEYCTL_CAPS0_CAPABILITIES | KEYCTL_CAPS0_INVALIDATE | KEYCTL_CAPS0_RESTRICT_KEYRING | KEYCTL_CAPS0_MOVE, 0};
	size_t k = min(n, sizeof(caps));

	if (copy_to_user(ubuf, caps, k) || (n > k && clear_user((char __user *)ubuf + k, n - k)))
		return -EFAULT;
	return sizeof(caps);
}

long sys_keyctl(int op, u64 a, u64 b, u64 c, u64 d)
{
	const u32 any = LOOK_CREATE | LOOK_ANY_STATE;
	s32 id = (s32)a;

	switch (op) {
	case KEYCTL_GET_KEYRING_ID: return change_at(id, b ? LOOK_CREATE : 0, KEY_SEARCH, (struct change){(u32)op, 0, 0});
	case KEYCTL_JOIN_SESSION_KEYRING: return join(U(a));
	case KEYCTL_UPDATE: return update(id, U(b), c);
	case KEYCTL_REVOKE: return change_at(id, 0, KEY_WRITE, (struct change){(u32)op, 0, 0});
	case KEYCTL_CHOWN: return (u32)b == U32_MAX && (u32)c == U32_MAX ? 0 : change_at(id, any, KEY_SETATTR, (struct change){(u32)op, b, c});
	case KEYCTL_SETPERM:
		return (u32)b & ~0x3f3f3f3fu ? -EINVAL : change_at(id, any, KEY_SETATTR, (struct change){(u32)op, b, 0});
	case KEYCTL_DESCRIBE: return describe(id, U(b), c);
	case KEYCTL_CLEAR: return change_at(id, LOOK_CREATE, KEY_WRITE, (struct change){(u32)op, 0, 0});
	case KEYCTL_LINK:
	case KEYCTL_UNLINK: return link_or_unlink((u32)op, id, (s32)b);
	case KEYCTL_SEARCH: return find(&id, U(b), U(c), (s32)d);
	case KEYCTL_READ: return read(id, U(b), c);
	case KEYCTL_INSTANTIATE: return c > PAYLOAD_MAX ? -EINVAL : -EPERM; // nobody was asked to make a key
	case KEYCTL_INSTANTIATE_IOV:
	case KEYCTL_NEGATE: return -EPERM;
	case KEYCTL_REJECT: return !c || c > 4095 ? -EINVAL : -EPERM;
	case KEYCTL_SET_REQKEY_KEYRING: return set_request_ring(id);
	case KEYCTL_SET_TIMEOUT: return change_at(id, any, KEY_SETATTR, (struct change){(u32)op, b, 0});
	case KEYCTL_ASSUME_AUTHORITY: return id < 0 ? -EINVAL : id ? -ENOKEY : 0;
	case KEYCTL_GET_SECURITY: return get_security(id, U(b), c);
	case KEYCTL_SESSION_TO_PARENT: return give_parent();
	case KEYCTL_INVALIDATE: return change_at(id, 0, KEY_SEARCH, (struct change){(u32)op, 0, 0});
	case KEYCTL_RESTRICT_KEYRING: return change_at(id, 0, KEY_SETATTR, (struct change){(u32)op, b, c});
	case KEYCTL_MOVE: return move(id, (s32)b, (s32)c, (u32)d);
	case KEYCTL_CAPABILITIES: return capabilities(U(a), b);
	default: return -EOPNOTSUPP;
	}
}
