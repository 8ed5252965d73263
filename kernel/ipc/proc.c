// SPDX-License-Identifier: Apache-2.0
// /proc/sysvipc: the objects of the reader's IPC namespace, one a line (ipcs reads them). Locks: each object's while its line
// is made.
#include "kernel/fs/procfs.h"
#include "kernel/ipc/ids.h"

static int rows(struct pout *o, struct ids *ids, void (*row)(struct ipc_obj *, struct pout *))
{
	for (int i = 0, last = ids_highest(ids); i <= last; i++) {
		struct ipc_obj *x = ids_lock_at(ids, i);
		if (IS_ERR(x))
			continue;
		row(x, o);
		ids_unlock(x);
	}
	return 0;
}

static int sem_text(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n");
	return rows(o, &ipc_ns()->sem, sem_row);
}

static int msg_text(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid      stime      rtime      ctime\n");
	return rows(o, &ipc_ns()->msg, msg_row);
}

static int shm_text(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "       key      shmid perms                  size  cpid  lpid nattch   uid   gid  cuid  cgid      atime      dtime      ctime"
		"                   rss                  swap\n");
	return rows(o, &ipc_ns()->shm, shm_row);
}

const struct pent proc_sysvipc_table[] = {
	{.name = "msg", .mode = S_IFREG | 0444, .text = msg_text},
	{.name = "sem", .mode = S_IFREG | 0444, .text = sem_text},
	{.name = "shm", .mode = S_IFREG | 0444, .text = shm_text},
	{0},
};
