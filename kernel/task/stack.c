// SPDX-License-Identifier: Apache-2.0
// The first stack of a program, as the System V ABI (x86-64, "Process Initialization") and Linux's fs/binfmt_elf.c lay
// it out: from the top the strings, then the auxiliary vector, environment and argument pointers, argc. No locks.
#include "kernel/include/alloc.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/task/exec.h"
#include <linux/auxvec.h>

#define STACK_MORE	   (128ul << 10) // mapped at once beyond what exec puts there; the rest comes when it is touched (mm_fault)
#define STACK_LEAST	   (128ul << 20) // addresses kept free for the stack, at least and at most
#define STACK_MOST	   (1ul << 40)
#define STACK_RANDOM_BITS  22 // pages; these and the next as Linux has them
#define STACK_WITHIN_BITS  13 // bytes, of which 4 are lost to alignment
#define MMAP_RANDOM_BITS   28
#define MMAP_GAP	   (1ul << 20) // below the stack, always free
#define STACK_OTHERS	   (16ul << 10) // vectors, random offsets and alignment beside the strings
#define HWCAP2_FSGSBASE_   2ul
#define AT_MINSIGSTKSZ_	   51
#define FRAME_OVERHEAD	   1024 // of a signal frame beyond the vector state, rounded up
#define AUX_MAX		   24

int stack_reserve(struct mm *mm, size_t strings, bool executable)
{
	u64 limit = RLIMIT(RLIMIT_STACK) & PAGE_MASK, filled = PAGE_ALIGN(strings + STACK_OTHERS);
	size_t size = max(min(filled + STACK_MORE, limit), filled);
	int prot = PROT_READ | PROT_WRITE | (executable ? PROT_EXEC : 0);

	uptr top = (pf_user_max - (mm_random(STACK_RANDOM_BITS) << PAGE_SHIFT)) & PAGE_MASK;
	long at = mm_map(mm, top - size, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, NULL, 0, VMA_STACK | VMA_GROWSDOWN);
	if (at < 0)
		return (int)at;
	mm->mmap_base = mm->hint = top - max(min(limit, STACK_MOST) + MMAP_GAP, STACK_LEAST) - (mm_random(MMAP_RANDOM_BITS) << PAGE_SHIFT);
	curproc->stack_top = top;
	return 0;
}

static u32 hwcap(void)
{
	u32 a = 1, b, c = 0, d;

	__asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return d;
}

struct aux {
	u64 v[2 * AUX_MAX];
	u32 n;
};

static void add(struct aux *a, u64 type, u64 value)
{
	BUG_ON(a->n + 2 > ARRAY_SIZE(a->v));
	a->v[a->n++] = type;
	a->v[a->n++] = value;
}

static void fill_aux(struct aux *a, const struct exec *e, const struct proc *p, u64 random, u64 name, u64 platform)
{
	const struct cred *c = &p->cred;
	uptr vdso = vdso_map();

	if (vdso)
		add(a, AT_SYSINFO_EHDR, vdso);
	add(a, AT_HWCAP, hwcap());
	add(a, AT_PAGESZ, PAGE_SIZE);
	add(a, AT_CLKTCK, 100);
	add(a, AT_PHDR, elf_phdr(&e->prog));
	add(a, AT_PHENT, sizeof(Elf64_Phdr));
	add(a, AT_PHNUM, e->prog.eh.e_phnum);
	add(a, AT_BASE, e->prog.interp ? e->ld.bias : 0);
	add(a, AT_FLAGS, 0);
	add(a, AT_ENTRY, elf_entry(&e->prog));
	add(a, AT_UID, uid_out(c->uid));
	add(a, AT_EUID, uid_out(c->euid));
	add(a, AT_GID, gid_out(c->gid));
	add(a, AT_EGID, gid_out(c->egid));
	add(a, AT_SECURE, e->secure);
	add(a, AT_RANDOM, random);
	add(a, AT_HWCAP2, HWCAP2_FSGSBASE_);
	add(a, AT_EXECFN, name);
	add(a, AT_PLATFORM, platform);
	add(a, AT_MINSIGSTKSZ_, pf_xstate_size() + FRAME_OVERHEAD);
	add(a, AT_NULL, 0);
}

// Writes the addresses of the strings of s, which lie at `at`, and a NULL.
static u64 *pointers(u64 *to, const struct strings *s, u64 at)
{
	const char *p = s->buf;

	for (u32 i = 0; i < s->n; i++) {
		size_t n = strlen(p) + 1;
		*to++ = at;
		at += n;
		p += n;
	}
	*to++ = 0;
	return to;
}

int stack_build(struct exec *e, struct proc *p)
{
	static const char platform[] = "x86_64";
	size_t name_len = strlen(e->name) + 1, words;
	struct aux aux = {.n = 0};
	u64 seed[2], *block, *w;
	int r = -EFAULT;

	u64 name = p->stack_top - 8 - name_len;
	u64 envs = name - e->envs.len;
	u64 args = envs - e->args.len;
	u64 plat = args - sizeof(platform);
	plat -= mm_random(STACK_WITHIN_BITS);
	u64 random = ALIGN_DOWN(plat - sizeof(seed), 16ul);
	fill_aux(&aux, e, p, random, name, plat);
	words = 1 + e->args.n + 1 + e->envs.n + 1 + aux.n;
	e->sp = ALIGN_DOWN(random - 8 * words, 16ul);

	block = kmalloc(8 * words);
	if (!block)
		return -ENOMEM;
	w = block;
	*w++ = e->args.n;
	w = pointers(w, &e->args, args);
	w = pointers(w, &e->envs, envs);
	memcpy(w, aux.v, 8ul * aux.n);
	pf_random(seed, sizeof(seed));
	if (copy_to_user(U(name), e->name, name_len) || copy_to_user(U(envs), e->envs.buf, e->envs.len) ||
	    copy_to_user(U(args), e->args.buf, e->args.len) || copy_to_user(U(plat), platform, sizeof(platform)) ||
	    copy_to_user(U(random), seed, sizeof(seed)) || copy_to_user(U(e->sp), block, 8 * words))
		goto out;
	memset(p->auxv_copy, 0, sizeof(p->auxv_copy));
	memcpy(p->auxv_copy, aux.v, min(sizeof(p->auxv_copy), 8ul * aux.n));
	p->arg_start = args;
	p->arg_end = envs;
	p->env_start = envs;
	p->env_end = name;
	r = 0;
out:
	kfree(block);
	return r;
}
