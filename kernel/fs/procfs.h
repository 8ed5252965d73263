// SPDX-License-Identifier: Apache-2.0
// What the files of /proc share. Private to kernel/fs/.
#pragma once
#include "kernel/include/ipc.h"
#include "kernel/include/kstring.h"
#include "kernel/include/task.h"

struct pout { // growing text
	char *p;
	size_t len, cap;
	bool failed; // out of memory
};
void pout(struct pout *o, const char *fmt, ...) __printf(2, 3);
void pout_raw(struct pout *o, const void *data, size_t n);

struct pnode;
struct pent { // one kind of entry; tables end with name NULL
	const char *name;
	u32 mode;
	const char *fixed;					  // the whole text (a newline is added), or
	int (*text)(struct pout *o, struct pnode *n);		  // 0 or -errno
	ssize_t (*write)(struct pnode *n, char *buf, size_t len); // buf is NUL-terminated; bytes or -errno
	const struct pent *dir;					  // static directory
	const struct inode_ops *iops;				  // links and directories that are not static
	const struct file_ops *fops;
	bool opener;						  // only who has opened it may write: with the same ids and capabilities
};

struct pnode { // inode->priv
	const struct pent *e;
	struct proc *proc; // reference or NULL
	int tid;	   // 0: the whole process
	int fd;
};

// A new inode; proc (may be NULL) is given a reference. NULL: no memory.
struct inode *proc_inode(struct super *sb, const struct pent *e, struct proc *p, int tid, int fd);
static inline struct pnode *pnode_of(struct inode *i) { return i->priv; }
// Finds `name` in a table and makes its inode with the parent's process.
int proc_lookup_table(struct inode *dir, const struct pent *t, const char *name, u32 len, struct inode **out);
// Emits a table's entries at positions first... ; false: the buffer is full.
bool proc_emit_table(struct dir_ctx *c, const struct pent *t, u64 first, u64 ino_base);
int proc_number(const char *name, u32 len);  // decimal without leading zeros, or -1
int proc_keys(struct pout *o, struct pnode *n), proc_key_users(struct pout *o, struct pnode *n); // kernel/keys/
extern const struct inode_ops proc_dir_iops; // static directories
extern const struct file_ops proc_dir_fops, proc_text_fops;
s64 proc_dir_llseek(struct file *f, s64 off, int whence);

// proc_pid.c
extern const struct pent proc_pid_dir;		 // a process
int proc_mm_get(struct proc *p, struct mm **mm); // new reference; -ESRCH when it has exited
// proc_maps.c
int proc_maps(struct pout *o, struct pnode *n), proc_smaps(struct pout *o, struct pnode *n);
int proc_smaps_rollup(struct pout *o, struct pnode *n), proc_numa_maps(struct pout *o, struct pnode *n);
extern const struct file_ops proc_mem_fops;	 // proc_mem.c
// proc_fd.c
extern const struct inode_ops proc_fd_iops, proc_fdinfo_iops;
extern const struct file_ops proc_fd_fops, proc_fdinfo_fops;
// Name of an open file as /proc/PID/fd/N shows it; a pointer into buf or ERR_PTR.
char *proc_file_name(struct file *f, char *buf, size_t n);
// proc_sys.c
extern const struct pent proc_sys_table[];
// proc_memory.c
int proc_meminfo(struct pout *o, struct pnode *n), proc_vmstat(struct pout *o, struct pnode *n);
int proc_zoneinfo(struct pout *o, struct pnode *n), proc_buddyinfo(struct pout *o, struct pnode *n), proc_slabinfo(struct pout *o, struct pnode *n);
struct memory { // pages
	u64 total, free, anon, shared, file, clean, dirty, slab, kernel;
};
void memory_now(struct memory *m); // may ask the host: not under locks
// sysfs.c
void proc_cpu_range(struct pout *o); // "0-3" and a newline
// task/load.c
void proc_total_cpu(u64 *utime, u64 *stime);
// proc_coffer.c
extern const struct pent proc_coffer_table[];
// sealed_anchor.c
extern const struct file_ops proc_anchor_fops;
extern const struct file_ops proc_sealing_fops; // sealing.c
extern const struct file_ops proc_gateway_fops; // net/shield.c
extern const struct file_ops proc_control_fops; // control.c
int proc_volumes(struct pout *o, struct pnode *n);
// ipc/proc.c
extern const struct pent proc_sysvipc_table[];
// task/ns.c
extern const struct pent proc_ns_table[];
int ns_uid_map(struct pout *o, struct pnode *n), ns_gid_map(struct pout *o, struct pnode *n), ns_projid_map(struct pout *o, struct pnode *n), ns_setgroups(struct pout *o, struct pnode *n);
ssize_t ns_uid_map_write(struct pnode *n, char *buf, size_t len), ns_gid_map_write(struct pnode *n, char *buf, size_t len);
ssize_t ns_projid_map_write(struct pnode *n, char *buf, size_t len);
int time_offsets(struct pout *o, struct pnode *n);
ssize_t time_offsets_write(struct pnode *n, char *buf, size_t len);
ssize_t ns_setgroups_write(struct pnode *n, char *buf, size_t len);
// proc_net.c
extern const struct inode_ops proc_net_iops;
extern const struct file_ops proc_net_fops;
// misc.c
#include <linux/utsname.h>
void uts_get(struct new_utsname *u);
int uts_set_name(bool domain, const char *name, size_t n);
// time/clock.c; tasklist held
void proc_cpu_ns_locked(struct proc *p, u64 *utime, u64 *stime);
int proc_locks(struct pout *o, struct pnode *n); // locks.c
int proc_timers(struct pout *o, struct pnode *n); // time/posix_timer.c
// proc_system.c
int proc_interrupts(struct pout *o, struct pnode *n), proc_softirqs(struct pout *o, struct pnode *n), proc_cgroups(struct pout *o, struct pnode *n);
// epoll.c, signalfd.c, inotify.c, eventfd.c, timerfd.c
size_t eventfd_fdinfo(struct file *f, char *buf, size_t n), timerfd_fdinfo(struct file *f, char *buf, size_t n);
size_t epoll_fdinfo(struct file *f, char *buf, size_t n);
u64 signalfd_set(struct file *f);
size_t inotify_fdinfo(struct file *f, char *buf, size_t n);

#define USER_HZ_NS 10000000ul // a clock tick of /proc: 1/100 s
