// SPDX-License-Identifier: Apache-2.0
// What semaphores, message queues and shared memory of System V have in common: objects found by id and by key, with
// an owner and permissions (man 7 sysvipc). One set of tables each IPC namespace.
#pragma once
#include "kernel/include/list.h"
#include "kernel/include/lock.h"
#include "kernel/include/ns.h"
#include "kernel/include/task.h"

typedef int key_t;
#include <linux/ipc.h>

#define IDS_SHIFT 15		// id = sequence << 15 | place
#define IDS_MAX (1u << IDS_SHIFT)

struct ids;
struct pout;

struct ipc_obj {		// first member of each object
	struct ref ref;		// the table's and those of whom it works for
	struct mutex lock;
	struct ids *ids;	// while it is in the table
	void (*free)(struct ipc_obj *o);
	int key, id;
	u32 uid, gid, cuid, cgid, mode;
	u16 seq;
	bool gone;		// removed; guarded by lock
};

struct ids {
	struct mutex lock;	// slots and keys
	struct ipc_obj **slot;
	u32 cap, used, max;	// max: most objects at a time
	u32 seq;
	void (*free)(struct ipc_obj *o);
};

struct mq;
struct ipc_ns {
	struct ns ns;
	struct ids sem, msg, shm;
	u64 sems;		// semaphores in all sets; sem.lock
	struct mutex mq_lock;	// POSIX message queues (mqueue.c)
	struct list mqs;
	u32 nmqs;
	struct super *mq_super;	// mqueue file system: active, a reference; NULL until it is needed
};
struct ipc_ns *ipc_ns(void);	// the caller's: lives until its next call, though another thread may change the process's
struct ipc_ns *ipc_ns_used(void); // the same again within one call, also with locks held

// xxxget(2): the object with that key, or a new one by make (ids->lock held: ERR_PTR or an object with one reference).
// fits: 0 or an error for an existing one.
struct ipc_get {
	int key, flags;
	u64 size;
	struct ipc_obj *(*make)(const struct ipc_get *g);
	int (*fits)(struct ipc_obj *o, const struct ipc_get *g);
};
long ids_open(struct ids *ids, const struct ipc_get *g);

struct ipc_obj *ids_get(struct ids *ids, int id);	// reference; NULL
struct ipc_obj *ids_lock(struct ids *ids, int id);	// reference and lock; ERR_PTR(-EINVAL) when there is none
struct ipc_obj *ids_lock_at(struct ids *ids, int place); // the same by place, for xxx_STAT
void ids_unlock(struct ipc_obj *o);
void ids_put(struct ipc_obj *o);
// Takes o out of its table, marks it gone and drops the table's reference; both locks held (ids_lock_both).
struct ipc_obj *ids_lock_both(struct ids *ids, int id);
void ids_unlock_both(struct ipc_obj *o);
void ids_remove(struct ipc_obj *o);
int ids_highest(struct ids *ids);	// place of the last object, 0 when there is none (as xxx_INFO has it)
void ids_clear(struct ids *ids, void (*kill)(struct ipc_obj *o));	// end of a namespace

bool ipc_allowed(const struct ipc_obj *o, u32 want);	// 4 read, 2 write
bool ipc_owns(const struct ipc_obj *o);
void ipc_perm_out(const struct ipc_obj *o, struct ipc64_perm *p);
int ipc_perm_set(struct ipc_obj *o, const struct ipc64_perm *p);
s64 ipc_now(void);			// seconds since 1970

void sem_kill(struct ipc_obj *o), msg_kill(struct ipc_obj *o), shm_kill(struct ipc_obj *o);
void sem_free(struct ipc_obj *o), msg_free(struct ipc_obj *o), shm_free(struct ipc_obj *o);
// One line of /proc/sysvipc; object locked.
void sem_row(struct ipc_obj *o, struct pout *p), msg_row(struct ipc_obj *o, struct pout *p), shm_row(struct ipc_obj *o, struct pout *p);
void mq_clear(struct ipc_ns *n);
