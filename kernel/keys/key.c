// SPDX-License-Identifier: Apache-2.0
// Keys: made, counted against their user's quota, looked up by number, allowed, and freed with all that only they hold.
// Locks: keys_lock is held by the callers.
#include "kernel/keys/keys.h"
#include "kernel/fs/procfs.h"
#include "kernel/include/count.h"
#include "kernel/include/platform.h"

#define MAX_KEYS 200u
#define MAX_BYTES 20000u
#define ROOT_KEYS 1000000u
#define ROOT_BYTES 25000000u
#define LINGER 300 // seconds that a useless key stays to be asked about (/proc/sys/kernel/keys/gc_delay)

struct mutex keys_lock;
struct list all_keys = LIST_INIT(all_keys);
static struct list users = LIST_INIT(users);
const char *const key_type_names[KEY_TYPES] = {"user", "logon", "keyring"};

struct key_user *key_user(u32 uid)
{
	struct key_user *u;

	list_for_each (u, &users, link)
		if (u->uid == uid)
			return u;
	u = knew(struct key_user);
	if (!u)
		return NULL;
	u->uid = uid;
	list_add_tail(&u->link, &users);
	return u;
}

static u32 max_keys(const struct key_user *u) { return u->uid ? MAX_KEYS : ROOT_KEYS; }
static u32 max_bytes(const struct key_user *u) { return u->uid ? MAX_BYTES : ROOT_BYTES; }

int key_charge(struct key *k, s32 bytes)
{
	struct key_user *u = k->user;

	if (!k->overrun && bytes > 0 && u->bytes + (u32)bytes > max_bytes(u))
		return -EDQUOT;
	if (!k->overrun)
		u->bytes += (u32)bytes;
	return 0;
}

static u32 cost(const struct key *k) { return (u32)strlen(k->desc) + 1 + k->len + 4 * k->n; }

int key_give(struct key *k, u32 uid)
{
	struct key_user *to = key_user(uid);
	u32 bytes = cost(k);

	if (!to)
		return -ENOMEM;
	if (!k->overrun) {
		if (to->nkeys + 1 > max_keys(to) || to->bytes + bytes > max_bytes(to))
			return -EDQUOT;
		k->user->nkeys--;
		k->user->bytes -= bytes;
		to->nkeys++;
		to->bytes += bytes;
	}
	k->user = to;
	k->uid = uid;
	return 0;
}

static struct key *by_serial(s32 serial)
{
	struct key *k;

	list_for_each (k, &all_keys, link)
		if (k->serial == serial)
			return k;
	return NULL;
}

struct key *key_by_serial(s32 serial)
{
	struct key *k = by_serial(serial);

	return k ? key_hold(k) : NULL;
}

struct key *key_new(enum key_type type, const char *desc, u32 uid, u32 gid, u32 perm, bool overrun)
{
	struct key_user *u = key_user(uid);
	u32 bytes = (u32)strlen(desc) + 1;
	struct key *k;

	key_collect();
	if (!u)
		return ERR_PTR(-ENOMEM);
	if (!overrun && (u->nkeys + 1 > max_keys(u) || u->bytes + bytes > max_bytes(u)))
		return ERR_PTR(-EDQUOT);
	k = knew(struct key);
	if (!k || !(k->desc = kstrdup(desc))) {
		kfree(k);
		return ERR_PTR(-ENOMEM);
	}
	do {
		pf_random(&k->serial, sizeof(k->serial));
		k->serial &= 0x7fffffff;
	} while (k->serial < 3 || by_serial(k->serial));
	k->refs = 1;
	k->type = type;
	k->uid = uid;
	k->gid = gid;
	k->perm = perm;
	k->user = u;
	k->overrun = overrun;
	if (!overrun) {
		u->nkeys++;
		u->bytes += bytes;
	}
	list_add_tail(&k->link, &all_keys);
	COUNT(keys, 1);
	return k;
}

void key_drop_data(struct key *k)
{
	if (!k->data)
		return;
	explicit_bzero(k->data, k->len);
	kfree(k->data);
	key_charge(k, -(s32)k->len);
	k->data = NULL;
	k->len = 0;
}

int key_set_data(struct key *k, u8 *data, u32 len)
{
	int r = key_charge(k, (s32)len - (s32)k->len);

	if (r)
		return r;
	if (k->data)
		explicit_bzero(k->data, k->len);
	kfree(k->data);
	k->data = data;
	k->len = len;
	return 0;
}

// A keyring that goes may be the last to hold others, those again others: one after another, however deep.
void key_put(struct key *k)
{
	static struct list dead = LIST_INIT(dead);

	if (!k || --k->refs)
		return;
	list_del(&k->link);
	list_add_tail(&k->link, &dead);
	while (!list_empty(&dead)) {
		k = list_first(&dead, struct key, link);
		list_del(&k->link);
		for (u32 i = 0; i < k->n; i++)
			if (!--k->keys[i]->refs) {
				list_del(&k->keys[i]->link);
				list_add_tail(&k->keys[i]->link, &dead);
			}
		if (!k->overrun) {
			k->user->nkeys--;
			k->user->bytes -= cost(k);
		}
		if (k->data)
			explicit_bzero(k->data, k->len);
		kfree(k->data);
		kfree(k->keys);
		kfree(k->desc);
		kfree(k);
		COUNT(keys, -1);
	}
}

static s64 now(void) { return (s64)(ktime_real() / NSEC_PER_SEC); }

int key_state(const struct key *k)
{
	if (k->invalid)
		return -ENOKEY;
	if (k->revoked)
		return -EKEYREVOKED;
	return k->expires && now() >= k->expires ? -EKEYEXPIRED : 0;
}

static bool in_group(const struct cred *c, u32 gid)
{
	for (u32 i = 0; i < c->ngroups; i++)
		if (c->groups[i] == gid)
			return true;
	return c->fsgid == gid;
}

int key_permission(const struct key *k, bool possessed, u32 need)
{
	const struct cred *c = cred();
	u32 may = k->perm;

	if (k->uid == c->fsuid)
		may >>= 16;
	else if (k->gid != U32_MAX && k->perm >> 8 & KEY_ALL && in_group(c, k->gid))
		may >>= 8;
	if (possessed)
		may |= k->perm >> 24;
	return (may & need) == need ? 0 : -EACCES;
}

static bool stale(const struct key *k) { return k->invalid || (k->expires && now() >= k->expires + LINGER); }

void key_collect(void)
{
	bool again = true;
	struct key *ring;

	while (again) { // the list may change when a key goes
		again = false;
		list_for_each (ring, &all_keys, link) {
			for (u32 i = 0; i < ring->n && !again; i++)
				if (stale(ring->keys[i])) {
					ring_unlink(ring, ring->keys[i]);
					again = true;
				}
			if (again)
				break;
		}
	}
}

u32 key_group(const struct key *k) { return k->gid == U32_MAX ? 65534 : gid_out(k->gid); }

// --- /proc/keys, /proc/key-users: of users that the reader has numbers for

static void time_left(char *buf, size_t n, const struct key *k)
{
	static const struct {
		u64 from, unit;
		char c;
	} units[] = {{0, 1, 's'}, {60, 60, 'm'}, {3600, 3600, 'h'}, {86400, 86400, 'd'}, {604800, 604800, 'w'}};
	u64 left;
	u32 i = ARRAY_SIZE(units) - 1;

	if (!k->expires || now() >= k->expires) {
		strlcpy(buf, k->expires ? "expd" : "perm", n);
		return;
	}
	left = (u64)(k->expires - now());
	while (i && left < units[i].from)
		i--;
	snprintf(buf, n, "%lu%c", left / units[i].unit, units[i].c);
}

static struct key *next_key(s32 after)
{
	struct key *k, *best = NULL;

	list_for_each (k, &all_keys, link)
		if (k->serial > after && (!best || k->serial < best->serial))
			best = k;
	return best;
}

int proc_keys(struct pout *o, struct pnode *n)
{
	struct key *k;
	char left[16];

	(void)n;
	mutex_lock(&keys_lock);
	for (s32 last = 0; (k = next_key(last)); last = k->serial) {
		if (!id_mapped(cred()->user_ns, false, k->user->uid) || key_permission(k, key_possessed(k), KEY_VIEW))
			continue;
		time_left(left, sizeof(left), k);
		pout(o, "%08x I%c%c%c--%c %5u %4s %08x %5d %5d %-9s %s", (u32)k->serial, k->revoked ? 'R' : '-', '-', k->overrun ? '-' : 'Q',
		     k->invalid ? 'i' : '-', k->refs, left, k->perm, (int)uid_out(k->uid), (int)key_group(k),
		     key_type_names[k->type], k->desc);
		if (k->type == KEY_RING && !k->n)
			pout(o, ": empty\n");
		else
			pout(o, ": %u\n", k->type == KEY_RING ? k->n : k->len);
	}
	mutex_unlock(&keys_lock);
	return 0;
}

int proc_key_users(struct pout *o, struct pnode *n)
{
	struct key_user *u;
	struct key *k;

	(void)n;
	mutex_lock(&keys_lock);
	list_for_each (u, &users, link) {
		u32 has = 0;
		list_for_each (k, &all_keys, link)
			has += k->user == u;
		if (has && id_mapped(cred()->user_ns, false, u->uid))
			pout(o, "%5u: %5u %u/%u %u/%u %u/%u\n", uid_out(u->uid), has + 1, has, has, u->nkeys, max_keys(u), u->bytes, max_bytes(u));
	}
	mutex_unlock(&keys_lock);
	return 0;
}
