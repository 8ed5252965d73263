// SPDX-License-Identifier: Apache-2.0
// execve in two halves. exec_prepare works in the caller's context and may fail without a trace: it opens and checks
// the files, copies the strings. exec_commit cannot fail any more (an error there kills the process): it empties the
// address space, maps the program and enters it. A vfork child borrows its parent's memory, so its second half runs on
// a blank host process (exec_commit_on_blank), while its host thread goes back to the parent. stack.c lays out the new
// stack. Locks: tasklist for what /proc shows.
#include "kernel/include/alloc.h"
#include "kernel/include/boot.h"
#include "kernel/include/keys.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/include/remote.h"
#include "kernel/include/strace.h"
#include "kernel/include/uring.h"
#include "kernel/include/vfs.h"
#include "kernel/include/ns.h"
#include "kernel/task/exec.h"
#include "kernel/task/ptrace.h"
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/signal.h>

#define SCRIPT_HEAD	 256 // bytes of a #! line that count
#define SCRIPT_DEPTH	 5
#define PIE_BASE	 0x555555554000ul // as in Linux: two thirds of the address space
#define PIE_RANDOM_BITS	 28  // pages
#define BRK_RANDOM_BITS	 18

struct file *exe_get(struct file *f)
{
	if (f) {
		__atomic_fetch_add(&f->inode->deny_write, 1, __ATOMIC_SEQ_CST);
		file_get(f);
	}
	return f;
}

void exe_put(struct file *f)
{
	__atomic_fetch_sub(&f->inode->deny_write, 1, __ATOMIC_SEQ_CST);
	file_put(f);
}

static void exec_free(struct exec *e)
{
	if (e->exe)
		exe_put(e->exe);
	elf_close(&e->prog);
	elf_close(&e->ld);
	if (e->mm)
		mm_put(e->mm);
	if (e->files)
		fdtable_put(e->files);
	kfree(e->args.buf);
	kfree(e->envs.buf);
	kfree(e->name);
	kfree(e);
}

// --- first half: files

static int check_file(struct file *f)
{
	if (!S_ISREG(f->inode->mode) || (f->path.mnt && f->path.mnt->flags & MS_NOEXEC))
		return -EACCES;
	return inode_permission(f->inode, 1 /* MAY_EXEC */);
}

static struct file *open_program(int dfd, const char *name, int flags)
{
	struct file *f, *of;
	int r;

	if (!*name && flags & AT_EMPTY_PATH) {
		of = fd_get(dfd);
		if (!of)
			return ERR_PTR(-EBADF);
		struct path p = of->path;
		if (!p.dentry) {
			file_put(of);
			return ERR_PTR(-EACCES);
		}
		path_get(&p);
		file_put(of);
		f = file_open_path(&p, O_RDONLY); // takes over p's references
	} else {
		f = file_open(dfd, name, O_RDONLY | (flags & AT_SYMLINK_NOFOLLOW ? O_NOFOLLOW : 0), 0);
	}
	if (IS_ERR(f))
		return f;
	r = check_file(f);
	if (r) {
		file_put(f);
		return ERR_PTR(r);
	}
	return f;
}

static bool blank(char c) { return c == ' ' || c == '\t'; }

// The interpreter and its one argument out of a #! line. `head` is changed.
static int parse_script(char *head, size_t n, char **interp, char **arg)
{
	char *end = memchr(head, '\n', n), *p = head + 2;

	if (!end) {
		end = head + n;
		if (n == SCRIPT_HEAD) { // cut off: fine only if the interpreter's name is whole
			char *q = p;
			while (q < end && blank(*q))
				q++;
			while (q < end && !blank(*q))
				q++;
			if (q == end)
				return -ENOEXEC;
		}
	}
	*end = 0; // head has room for it
	while (end > p && blank(end[-1]))
		*--end = 0;
	while (blank(*p))
		p++;
	if (!*p)
		return -ENOEXEC;
	*interp = p;
	while (*p && !blank(*p))
		p++;
	*arg = NULL;
	if (*p) {
		*p++ = 0;
		while (blank(*p))
			p++;
		if (*p)
			*arg = p;
	}
	return 0;
}

// Replaces argv[0] by: interpreter, argument if any, script.
static int script_args(struct exec *e, const char *interp, const char *arg, const char *script)
{
	struct strings *a = &e->args;
	size_t skip = a->n ? strlen(a->buf) + 1 : 0, li = strlen(interp) + 1, la = arg ? strlen(arg) + 1 : 0,
	       ls = strlen(script) + 1;
	size_t len = a->len - skip + li + la + ls;
	char *buf = kmalloc(len);

	if (!buf)
		return -ENOMEM;
	memcpy(buf, interp, li);
	if (arg)
		memcpy(buf + li, arg, la);
	memcpy(buf + li + la, script, ls);
	memcpy(buf + li + la + ls, a->buf + skip, a->len - skip);
	kfree(a->buf);
	a->n = a->n - (a->n ? 1 : 0) + 2 + (arg ? 1 : 0);
	a->buf = buf;
	a->len = a->cap = len;
	return 0;
}

// Finds the ELF program behind `f`, through scripts. Consumes f.
static int open_image(struct exec *e, struct file *f)
{
	char head[SCRIPT_HEAD + 1], *interp, *arg, *script = e->name;
	ssize_t n;
	int r;

	for (int depth = 0;; depth++) {
		n = file_read_kernel(f, head, SCRIPT_HEAD, 0);
		r = n < 0 ? (int)n : 0;
		if (r || n < 2 || head[0] != '#' || head[1] != '!')
			break;
		r = depth == SCRIPT_DEPTH ? -ELOOP : parse_script(head, (size_t)n, &interp, &arg);
		if (!r)
			r = script_args(e, interp, arg, script);
		if (r)
			break;
		file_put(f);
		f = open_program(AT_FDCWD, interp, 0);
		if (IS_ERR(f))
			return (int)PTR_ERR(f);
		script = e->args.buf; // argv[0] is the interpreter's name now
	}
	if (!r)
		r = n < 4 ? -ENOEXEC : elf_open(f, &e->prog);
	if (!r) {
		e->exe = exe_get(f);
		if (__atomic_load_n(&f->inode->writers, __ATOMIC_SEQ_CST))
			r = -ETXTBSY;
	}
	file_put(f);
	return r;
}

static struct mm *fresh_mm(const struct mm *old)
{
	struct mm *mm = mm_new();

	if (mm)
		mm_inherit_prctl(mm, old);
	return mm;
}

static int open_interp(struct exec *e)
{
	struct file *f;
	int r;

	if (!e->prog.interp)
		return 0;
	f = open_program(AT_FDCWD, e->prog.interp, 0);
	if (IS_ERR(f))
		return (int)PTR_ERR(f);
	r = elf_open(f, &e->ld);
	file_put(f);
	return r == -ENOEXEC ? -ELIBBAD : r;
}

// --- first half: strings

static int strings_room(struct strings *s, size_t more)
{
	size_t cap = max(s->len + more, s->cap * 2);
	char *b;

	if (s->cap - s->len >= more)
		return 0;
	b = krealloc(s->buf, cap);
	if (!b)
		return -ENOMEM;
	s->buf = b;
	s->cap = cap;
	return 0;
}

static int add_user_string(struct strings *s, const void __user *p, size_t limit)
{
	for (size_t room = 512;; room *= 4) {
		int r = strings_room(s, room);
		if (r)
			return r;
		ssize_t n = user_str(s->buf + s->len, p, s->cap - s->len);
		if (n >= 0) {
			s->len += (size_t)n + 1;
			s->n++;
			return (size_t)n + 1 > ARG_STRING_MAX || s->len > limit ? -E2BIG : 0;
		}
		if (n != -ENAMETOOLONG)
			return (int)n;
		if (s->cap - s->len > ARG_STRING_MAX)
			return -E2BIG;
	}
}

static int copy_user_strings(struct strings *s, const void __user *vec, size_t limit)
{
	const u64 __user *v = vec;
	u64 p;
	int r;

	for (; v; v++) {
		if (get_user(p, v))
			return -EFAULT;
		if (!p)
			break;
		r = add_user_string(s, U(p), limit);
		if (r)
			return r;
	}
	return 0;
}

static int copy_kernel_strings(struct strings *s, char *const *v)
{
	for (; *v; v++) {
		size_t n = strlen(*v) + 1;
		int r = strings_room(s, n);
		if (r)
			return r;
		memcpy(s->buf + s->len, *v, n);
		s->len += n;
		s->n++;
	}
	return 0;
}

static size_t arg_limit(void)
{
	u64 quarter = RLIMIT(RLIMIT_STACK) / 4;

	return max(min(quarter, 6ul << 20), 128ul << 10);
}

// Everything that can fail without consequences. argv and envp: user vectors, or kernel ones.
static int exec_prepare(struct exec *e, int dfd, const char *name, int flags, const void __user *argv,
			const void __user *envp, char *const *kargv, char *const *kenvp)
{
	size_t limit = arg_limit();
	struct proc *p = curproc;
	struct file *f;
	int r;

	f = open_program(dfd, name, flags);
	if (IS_ERR(f))
		return (int)PTR_ERR(f);
	r = -ENOMEM;
	if (dfd == AT_FDCWD || name[0] == '/') {
		e->name = kstrdup(name);
	} else {
		size_t n = strlen(name) + 32;
		e->name = kmalloc(n);
		if (e->name)
			snprintf(e->name, n, *name ? "/dev/fd/%d/%s" : "/dev/fd/%d", dfd, name);
	}
	if (!e->name)
		goto out;
	r = kargv ? copy_kernel_strings(&e->args, kargv) : copy_user_strings(&e->args, argv, limit);
	if (!r)
		r = kenvp ? copy_kernel_strings(&e->envs, kenvp) : copy_user_strings(&e->envs, envp, limit);
	if (!r && !e->args.n) { // a program always finds an argv[0]
		char *const empty[] = {"", NULL};
		r = copy_kernel_strings(&e->args, empty);
	}
	if (r)
		goto out;
	r = open_image(e, f);
	f = NULL;
	if (!r)
		r = open_interp(e);
	if (!r && e->args.len + e->envs.len + 8ul * (e->args.n + e->envs.n) > limit)
		r = -E2BIG;
	if (r)
		goto out;
	r = -ENOMEM;
	if (p->borrows_mm && !(e->mm = fresh_mm(p->mm)))
		goto out;
	r = 0;
out:
	if (f)
		file_put(f);
	return r;
}

// --- second half

void signal_reset_exec(struct proc *p)
{
	struct task *t = current;

	mutex_lock(&p->sig_lock);
	for (int i = 1; i <= NSIG; i++)
		if (p->action[i].handler != (void __user *)SIG_IGN)
			memset(&p->action[i], 0, sizeof(p->action[i]));
		else
			p->action[i].flags = 0, p->action[i].mask = 0;
	t->restore_blocked = t->mask_swapped = false;
	t->restart_fn = NULL;
	signal_recalc(t);
	p->exec_task = NULL;
	mutex_unlock(&p->sig_lock);
	t->altstack_sp = t->altstack_size = 0;
	t->altstack_flags = SS_DISABLE;
	t->clear_child_tid = t->set_child_tid = NULL;
	t->robust_list = NULL;
}

static void set_names(struct proc *p, struct exec *e)
{
	struct task *t = current;
	const char *slash = strrchr(e->name, '/');
	struct file *old_exe;
	char *old_cmd, *old_env;

	boot_exec(e->name);
	mutex_lock(&tasklist);
	strlcpy(t->comm, slash ? slash + 1 : e->name, sizeof(t->comm));
	old_cmd = p->cmdline;
	old_env = p->environ;
	old_exe = p->exe;
	p->cmdline = e->args.buf;
	p->cmdline_len = (u32)e->args.len;
	p->environ = e->envs.buf;
	p->environ_len = (u32)e->envs.len;
	p->exe = e->exe;
	e->args.buf = e->envs.buf = NULL;
	e->exe = NULL;
	mutex_unlock(&tasklist);
	kfree(old_cmd);
	kfree(old_env);
	if (old_exe)
		exe_put(old_exe);
}

static int load(struct exec *e, struct proc *p)
{
	struct mm *mm = p->mm;
	uptr at = e->prog.eh.e_type == ET_DYN ? PIE_BASE + (mm_random(PIE_RANDOM_BITS) << PAGE_SHIFT) : 0;
	size_t strings = e->args.len + e->envs.len + strlen(e->name) + 8ul * (e->args.n + e->envs.n);
	int r = stack_reserve(mm, strings, e->prog.exec_stack);

	if (!r)
		r = elf_map(mm, &e->prog, at);
	if (!r && e->prog.interp)
		r = elf_map(mm, &e->ld, 0);
	if (r)
		return r;
	mm->brk_start = mm->brk = PAGE_ALIGN(e->prog.end);
	if (randomize_va_space > 1)
		mm->brk_start = mm->brk += mm_random(BRK_RANDOM_BITS) << PAGE_SHIFT;
	return stack_build(e, p);
}

// A tracer that could not trace the program when it has gained rights, or another process that moves its working directory and root.
// tasklist held.
static bool others_rule(struct proc *p)
{
	struct task *tracer = ptraced(current) ? current->pt->tracer : NULL;

	return p->fs->ref.n > 1 || (tracer && !cred_capable(&tracer->proc->cred, p->cred.user_ns, CAP_SYS_PTRACE));
}

static void __noreturn exec_commit(struct exec *e)
{
	struct task *t = current;
	struct proc *p = t->proc;
	struct mm *old = NULL;
	struct regs regs;
	bool last;
	int r, old_tid = e->old_tid;

	uring_task_gone(t);
	if (e->mm) {
		mutex_lock(&tasklist);
		old = p->mm;
		p->mm = e->mm;
		last = !p->borrows_mm && mm_leave(old);
		mutex_unlock(&tasklist);
		if (last)
			remote_close(old);
		e->mm = NULL;
		p->borrows_mm = false;
		mm_put(old);
	} else {
		rseq_drop(t);
		mm_clear(p->mm);
	}
	p->mm->owner = p;
	p->mm->unpatched = ptraced(t);
	posix_timers_drop(p);
	if (t->own_fs)
		fs_own_settle();
	sighand_leave(p, true);
	if (t->thread_keyring || p->process_keyring)
		keys_drop_own(p, t);
	if (unlikely(e->files))
		task_files_set(t, e->files);
	e->files = NULL;
	fdtable_close_exec(t->files);
	if (unlikely(t->sud))
		sud_exec();
	if (unlikely(p->time_children))
		time_ns_exec(p);
	struct mount *m = e->prog.file->path.mnt;
	bool nosuid = m && (m->flags & MS_NOSUID || !mount_mine(m)); // nobody's set-id programs but of our own mounts
	mutex_lock(&tasklist); // who may trace it, or reach its memory, is asked about one of the programs, not about both
	e->secure = cred_exec(e->prog.file->inode, nosuid, others_rule(p));
	p->dumpable = !e->secure;
	p->exec_ns = p->cred.user_ns;
	p->mm->program = mm_program_new();
	mutex_unlock(&tasklist);
	if (e->secure)
		p->personality &= ~PER_CLEAR_SETID;
	p->exit_signal = SIGCHLD;
	r = load(e, p);
	if (r) {
		pr_err("exec of %s failed while it was mapped: error %d\n", e->name, -r);
		exec_free(e);
		proc_exit(SIGSEGV);
	}
	memset(&regs, 0, sizeof(regs));
	regs.orig_rax = U64_MAX;
	regs.rip = e->prog.interp ? elf_entry(&e->ld) : elf_entry(&e->prog);
	regs.rsp = e->sp;
	regs.flags = 0x202;
	regs.cs = 0x33;
	regs.ss = 0x2b;
	set_names(p, e);
	signal_reset_exec(p);
	exec_free(e);
	if (unlikely(t->strace))
		strace_exec();
	__atomic_store_n(&p->execed, true, __ATOMIC_RELEASE);
	waitq_wake(&p->exit_wq, 0);
	t->fs_base = 0;
	pf_set_fs(0);
	xstate_reset();
	if (ptraced(t)) {
		regs.orig_rax = __NR_execve;
		*t->regs = regs;
		ptrace_exec(t->regs, old_tid);
		pf_enter_user(t->regs);
	}
	pf_enter_user(&regs);
}

void exec_commit_on_blank(struct task *t) { exec_commit(t->exec); }

// The process lives in its vfork parent's memory, or in one that others share: the blank host process takes it over. Returns only on failure.
static int hand_off(struct exec *e)
{
	struct task *t = current, *parent = t->vfork_parent;
	int r;

	t->exec = e;
	t->vfork_parent = NULL;
	t->in_vfork_child = false;
	r = pf_blank_handoff(t);
	if (r) {
		t->vfork_parent = parent;
		t->in_vfork_child = parent;
		return r;
	}
	// t is not ours any more
	if (parent)
		vfork_return(parent, NULL);
	hthread_self()->cur = NULL;
	pf_thread_exit();
}

static int do_exec(int dfd, const char *name, int flags, const void __user *argv, const void __user *envp,
		   char *const *kargv, char *const *kenvp)
{
	struct exec *e = knew(struct exec);
	struct proc *p = curproc;
	int r;

	if (!e)
		return -ENOMEM;
	e->old_tid = current->tid;
	r = exec_prepare(e, dfd, name, flags, argv, envp, kargv, kenvp);
	if (!r)
		r = exec_kill_siblings();
	if (!r) {
		// The siblings are gone: a table that was theirs too is the same still, and has its locks.
		if (task_files_shared(current) && !(e->files = fdtable_copy(current->files))) {
			r = -ENOMEM;
		} else if (p->mm->others && !e->mm && !(e->mm = fresh_mm(p->mm))) {
			r = -ENOMEM;
		} else {
			futex_exit(current);
			if (!e->mm)
				exec_commit(e);
			r = hand_off(e);
		}
		mutex_lock(&p->sig_lock);
		p->exec_task = NULL;
		mutex_unlock(&p->sig_lock);
	}
	exec_free(e);
	return r;
}

static long exec_user(int dfd, const void __user *uname, const void __user *argv, const void __user *envp, int flags)
{
	__uninit char name[PATH_MAX]; // on the stack: exec does not come back to free anything
	ssize_t n = user_str(name, uname, sizeof(name));

	if (n < 0)
		return n;
	if (!n && !(flags & AT_EMPTY_PATH))
		return -ENOENT;
	return do_exec(dfd, name, flags, argv, envp, NULL, NULL);
}

long sys_execve(const void __user *name, const void __user *argv, const void __user *envp)
{
	return exec_user(AT_FDCWD, name, argv, envp, 0);
}

long sys_execveat(int dfd, const void __user *name, const void __user *argv, const void __user *envp, int flags)
{
	if (flags & ~(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		return -EINVAL;
	return exec_user(dfd, name, argv, envp, flags);
}

int exec_init(const char *path, char *const argv[], char *const envp[])
{
	struct proc *p = curproc;

	if (!p->fs)
		p->fs = fs_ctx_new();
	if (!p->fs)
		return -ENOMEM;
	return do_exec(AT_FDCWD, path, 0, NULL, NULL, argv, envp);
}
