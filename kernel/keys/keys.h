// SPDX-License-Identifier: Apache-2.0
// Keys and keyrings within keys/. keys_lock (one mutex, leaf but for allocations) guards all of it: keys are few and calls are rare.
// A key lives as long as somebody holds it: a keyring that links it, a process or thread whose keyring it is, a call at work.
#pragma once
#include "kernel/include/alloc.h"
#include "kernel/include/keys.h"
#include "kernel/include/ktime.h"
#include "kernel/include/kstring.h"
#include "kernel/include/list.h"
#include "kernel/include/task.h"
#include "kernel/include/usercopy.h"
#include <linux/capability.h>
#include <linux/keyctl.h>

// A byte each for possessor, owner, group, others.
#define KEY_VIEW 1u
#define KEY_READ 2u
#define KEY_WRITE 4u
#define KEY_SEARCH 8u
#define KEY_LINK 16u
#define KEY_SETATTR 32u
#define KEY_ALL 0x3fu
#define POS(p) ((u32)(p) << 24)
#define USR(p) ((u32)(p) << 16)

enum key_type { KEY_USER, KEY_LOGON, KEY_RING, KEY_TYPES, KEY_NO_TYPE };

struct key_user { // what a user's keys cost; never freed
	struct list link;
	u32 uid;
	u32 nkeys, bytes;
	struct key *ring, *session;	// _uid.N, _uid_ses.N
};

struct key {
	struct list link;		// all keys
	u32 refs;
	s32 serial;
	enum key_type type;
	u32 uid, gid, perm;
	bool revoked, invalid, user_ring, sealed;	// user_ring: one of a user's two; sealed: takes no links any more
	bool overrun;			// does not count
	s64 expires;			// seconds since 1970; 0: never
	struct key_user *user;		// who pays
	char *desc;
	u8 *data;			// user, logon
	u32 len;
	struct key **keys;		// keyring: references
	u32 n, cap;
};

struct found { // a key and whether the caller possesses it; the reference is the caller's
	struct key *key;
	bool possessed;
};

extern struct mutex keys_lock;
extern struct list all_keys;
extern const char *const key_type_names[KEY_TYPES];

// key.c; keys_lock held
struct key *key_new(enum key_type type, const char *desc, u32 uid, u32 gid, u32 perm, bool overrun);	// ERR_PTR(-EDQUOT, -ENOMEM)
static inline struct key *key_hold(struct key *k)
{
	k->refs++;
	return k;
}
void key_put(struct key *k);
int key_set_data(struct key *k, u8 *data, u32 len);	// takes data over; -EDQUOT
void key_drop_data(struct key *k);
int key_charge(struct key *k, s32 bytes);
struct key_user *key_user(u32 uid);			// NULL: no memory
int key_give(struct key *k, u32 uid);			// to another user's account
struct key *key_by_serial(s32 serial);			// a reference or NULL
int key_state(const struct key *k);			// 0, -ENOKEY, -EKEYREVOKED, -EKEYEXPIRED
int key_permission(const struct key *k, bool possessed, u32 need);
u32 key_group(const struct key *k);			// as the current task sees it
void key_collect(void);					// removes what is invalid, and what was useless for long

// ring.c; keys_lock held
int ring_link(struct key *ring, struct key *k);		// takes a reference; a key of that type and name is replaced
int ring_unlink(struct key *ring, struct key *k);
void ring_clear(struct key *ring);
struct key *ring_same(struct key *ring, enum key_type type, const char *desc);	// linked there, no reference
int ring_would_loop(struct key *ring, struct key *k);	// -EDEADLK, -ELOOP
#define FIND_EXPIRED 1u		// an expired key is an error rather than as good as none
struct found ring_search(struct key *ring, bool possessed, enum key_type type, const char *desc, u32 flags);	// ERR_PTR in .key; -EAGAIN: none
struct found process_search(enum key_type type, const char *desc, u32 flags);	// the caller's keyrings
bool key_possessed(const struct key *k);
// The key that a program names: a serial number or KEY_SPEC_*. need: what the caller must be allowed, 0 nothing. ERR_PTR in .key
#define LOOK_CREATE 1u
#define LOOK_ANY_STATE 2u
struct found key_lookup(s32 id, u32 flags, u32 need);
long session_join(const char *name);
int user_rings(struct key_user *u);
