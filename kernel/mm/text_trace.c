// SPDX-License-Identifier: Apache-2.0
// Text as a debugger wants it. A process that is traced gets a private copy of its text, unpatched: its breakpoints are
// its own, single steps see the program's instructions, system calls trap. Trampolines stay mapped for threads that
// are on their way through; their instruction pointers are shown as the places in the program that they stand for. And reads
// and writes of memory with a debugger's rights: file pages that a program may not write are copied first.
// Everything acts on the current address space. Locks: mm->lock.
#include "kernel/include/kstring.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/mm/vma.h"

#define SLOT 32u // one trampoline, text.c

// Puts an instruction pointer inside a trampoline back to where the program would be (the forms are in text.c).
static void leave_trampoline(struct mm *mm, struct regs *r)
{
	u8 s[SLOT];
	struct vma *v;
	uptr slot = 0;
	s32 rel;
	u32 at;

	mutex_lock(&mm->lock);
	v = mm_find(mm, r->rip);
	if (v && v->flags & VMA_TRAMP)
		slot = v->start + ALIGN_DOWN(r->rip - v->start, (uptr)SLOT);
	mutex_unlock(&mm->lock);
	if (!slot || copy_from_user(s, U(slot), sizeof(s)))
		return;
	at = (u32)(r->rip - slot);
	if (s[0] == 0x48 && s[1] == 0x8d && s[2] == 0x0d && s[7] == 0xff) { // form B
		memcpy(&rel, s + 22, 4);
		uptr behind = slot + 26 + (u64)(s64)rel; // the cmp
		r->rip = at < 15 ? behind - 8 : at < 21 ? behind - 6 : behind;
		return;
	}
	u32 n = s[0] == 0xb8 ? 0 : s[2] >> 6 == 1 ? 4 : 7; // an lea before the mov
	u32 nr;
	memcpy(&nr, s + n + 1, 4);
	memcpy(&rel, s + n + 8, 4);
	uptr call = slot + n + 12 + (u64)(s64)rel - 2;
	if (n && at < n) {
		r->rip = call - n - 5;
		return;
	}
	if (at <= n)
		r->rax = nr; // the mov, which stands before the lea in the program
	r->rip = call;
}

void text_expose(struct regs *r)
{
	struct mm *mm = curproc->mm;

	if (!mm)
		return;
	mutex_lock(&mm->lock);
	if (!mm->unpatched) {
		mm->unpatched = true;
		for (u32 i = 0; i < mm->n; i++)
			if (mm->vmas[i].view)
				view_to_private(&mm->vmas[i]); // without memory it stays patched
	}
	mutex_unlock(&mm->lock);
	leave_trampoline(mm, r);
}

uptr text_call_address(uptr rip)
{
	struct regs r = {.rip = rip};

	leave_trampoline(curproc->mm, &r);
	return r.rip;
}

// --- a debugger's memory access, within one page

// Bytes of a view as the file has them. mm->lock held.
static int read_view(const struct vma *v, uptr addr, void *dst, size_t n)
{
	u64 at = (v->pgoff << PAGE_SHIFT) + (addr - v->start);
	pfn_t p;
	u32 k;
	int r = pc_run(v->pc, at >> PAGE_SHIFT, 1, false, &p, &k);

	if (r || !p)
		return -EFAULT;
	memcpy(dst, (u8 *)page_addr(p) + (at & (PAGE_SIZE - 1)), n);
	return 0;
}

static int copy_forced(struct vma *v, uptr addr, void *buf, size_t n, bool write)
{
	uptr page = addr & PAGE_MASK;
	int need = write ? PROT_WRITE : PROT_READ, prot = (int)(v->prot & (PROT_READ | PROT_WRITE | PROT_EXEC)), r;

	if (lazy_absent(v, addr) && (r = lazy_touch(v, addr)))
		return r;
	if (v->view && !write)
		return read_view(v, addr, buf, n);
	if (v->view && (r = view_to_private(v)))
		return r;
	if (prot & need)
		return write ? copy_to_user_nofault(U(addr), buf, n) : copy_from_user_nofault(buf, U(addr), n);
	if (v->flags & (VMA_GUARD | VMA_TRAMP | VMA_VDSO) || (write && v->flags & VMA_SHARED))
		return -EFAULT; // not a page that would be copied
	r = pf_protect(page, PAGE_SIZE, prot | PROT_READ | need);
	if (r)
		return -EFAULT;
	r = write ? copy_to_user_nofault(U(addr), buf, n) : copy_from_user_nofault(buf, U(addr), n);
	pf_protect(page, PAGE_SIZE, prot);
	return r;
}

int mm_debug_copy(uptr addr, void *buf, size_t n, bool write)
{
	struct mm *mm = curproc->mm;
	int r = -EFAULT;

	for (int tries = 0; r && tries < 2; tries++) {
		struct vma *v;

		mutex_lock(&mm->lock);
		v = mm_find(mm, addr);
		if (v)
			r = copy_forced(v, addr, buf, n, write);
		mutex_unlock(&mm->lock);
		if (r && (!v || mm_fault(addr, false))) // pages that a file has got meanwhile
			break;
	}
	return r;
}
