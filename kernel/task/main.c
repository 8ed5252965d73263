// SPDX-License-Identifier: Apache-2.0
// Boot: from the platform's first C function to the first program.
#include "kernel/include/alloc.h"
#include "kernel/include/boot.h"
#include "kernel/include/hostcall.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/include/shard.h"
#include "kernel/include/task.h"
#include "kernel/include/vfs.h"
#include "kernel/mm/oom.h"
#include "kernel/task/limit.h"

#define INIT_PATH "/.coffer/init"

struct file *console_open(int n);
void blank_main(void *);
int net_init(void);
void host_events_thread(void *);
void dump_thread(void *);
void task_list_thread(void *);
struct task *task_create_init(void);
int pf_start_process(struct task *t, void (*fn)(void));
void syscall_init(void);

// Runs in the first program's own host process.
static void init_start(void)
{
	static char *argv[] = { INIT_PATH, NULL }, *envp[] = { "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL };
	int r;

	for (int i = 0; i < 4; i++) {
		struct file *f = console_open(i);
		if (i == 3 && IS_ERR(f))
			break;
		if (IS_ERR(f))
			panic("console stream %d cannot be opened: error %ld", i, -PTR_ERR(f));
		r = fd_alloc(f, 0, false);
		if (r != i)
			panic("console stream %d got descriptor %d", i, r);
	}
	r = exec_init(INIT_PATH, argv, envp);
	panic("the image's " INIT_PATH " cannot be started: error %d. Build the image again with `coffer build`.", -r);
}

void kernel_main(void)
{
	struct task *t;
	int r;

	if (boot_parse())
		panic("the manifest is not one that this kernel understands");
	limits_init();
	brlock_init(pf_ncpus());
	syscall_init();
	ktime_init();
	t = task_create_init();
	if (!t)
		panic("no memory for the first process");
	r = vfs_init();
	if (r)
		panic("the root file system cannot be mounted: error %d", -r);
	r = net_init();
	if (r)
		panic("no memory for sockets: error %d", -r);
	pf_seal();
	if (pf_kthread(ktimer_thread, NULL, "timer") || pf_kthread(memory_thread, NULL, "memory") || pf_kthread(host_events_thread, NULL, "host-events"))
		panic("kernel threads cannot be started");
	if (boot_info.debug && (pf_kthread(dump_thread, NULL, "dump") || pf_kthread(task_list_thread, NULL, "task-list")))
		panic("kernel threads cannot be started");
	r = pf_start_process(t, init_start);
	if (r)
		panic("the host refuses a process: error %d", -r);
	blank_main(NULL);
	panic("unreachable");
}
