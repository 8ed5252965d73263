// SPDX-License-Identifier: Apache-2.0
// The ELF loader. Files come from inside the enclave, but a program may exec anything it wrote: every field is
// checked before use. Needs the mm's calls and usercopy (to zero the tail of a segment); no locks.
#include "kernel/task/elf.h"
#include "kernel/include/alloc.h"
#include "kernel/include/kstring.h"
#include "kernel/include/mm.h"
#include "kernel/include/platform.h"
#include "kernel/include/vfs.h"

#define PH_MAX 65536u // bytes of program headers

static int read_exact(struct file *f, void *buf, size_t n, u64 pos)
{
	ssize_t r = file_read_kernel(f, buf, n, pos);

	return r < 0 ? (int)r : (size_t)r == n ? 0 : -ENOEXEC;
}

static int check_load(struct elf_image *im, const Elf64_Phdr *p)
{
	u64 end = p->p_vaddr + p->p_memsz;

	if (p->p_filesz > p->p_memsz || end < p->p_vaddr || end > pf_user_max ||
	    p->p_offset + p->p_filesz < p->p_offset)
		return -EINVAL;
	if ((p->p_vaddr ^ p->p_offset) & (PAGE_SIZE - 1))
		return -EINVAL;
	if (!p->p_memsz)
		return 0;
	im->low = min(im->low, (uptr)ALIGN_DOWN(p->p_vaddr, PAGE_SIZE));
	im->high = max(im->high, (uptr)PAGE_ALIGN(end));
	if (p->p_align > im->align && !(p->p_align & (p->p_align - 1)) && p->p_align <= 1ul << 30)
		im->align = p->p_align;
	return 0;
}

static int read_interp(struct elf_image *im, const Elf64_Phdr *p)
{
	int r;

	if (im->interp)
		return 0;
	if (p->p_filesz < 2 || p->p_filesz > PATH_MAX)
		return -ENOEXEC;
	im->interp = kmalloc(p->p_filesz);
	if (!im->interp)
		return -ENOMEM;
	r = read_exact(im->file, im->interp, p->p_filesz, p->p_offset);
	return r ? r : im->interp[p->p_filesz - 1] ? -ENOEXEC : 0;
}

int elf_open(struct file *f, struct elf_image *im)
{
	Elf64_Ehdr *eh = &im->eh;
	int r;

	memset(im, 0, sizeof(*im));
	im->low = U64_MAX;
	im->align = PAGE_SIZE;
	r = read_exact(f, eh, sizeof(*eh), 0);
	if (r)
		return r;
	if (memcmp(eh->e_ident, ELFMAG, SELFMAG) || eh->e_ident[EI_CLASS] != ELFCLASS64 ||
	    eh->e_ident[EI_DATA] != ELFDATA2LSB || eh->e_machine != EM_X86_64 ||
	    (eh->e_type != ET_EXEC && eh->e_type != ET_DYN) || eh->e_phentsize != sizeof(Elf64_Phdr))
		return -ENOEXEC;
	u32 size = (u32)eh->e_phnum * (u32)sizeof(Elf64_Phdr);
	if (!size || size > PH_MAX)
		return -ENOEXEC;
	file_get(f);
	im->file = f;
	im->ph = kmalloc(size);
	r = im->ph ? read_exact(f, im->ph, size, eh->e_phoff) : -ENOMEM;
	for (u32 i = 0; !r && i < eh->e_phnum; i++) {
		const Elf64_Phdr *p = &im->ph[i];
		if (p->p_type == PT_LOAD)
			r = check_load(im, p);
		else if (p->p_type == PT_INTERP)
			r = read_interp(im, p);
		else if (p->p_type == PT_GNU_STACK)
			im->exec_stack = p->p_flags & SEG_X;
	}
	if (!r && im->high <= im->low)
		r = -ENOEXEC; // nothing to load
	if (r)
		elf_close(im);
	return r;
}

void elf_close(struct elf_image *im)
{
	kfree(im->ph);
	kfree(im->interp);
	if (im->file)
		file_put(im->file);
	im->ph = NULL;
	im->interp = NULL;
	im->file = NULL;
}

static int segment_prot(const Elf64_Phdr *p)
{
	return (p->p_flags & SEG_R ? PROT_READ : 0) | (p->p_flags & SEG_W ? PROT_WRITE : 0) |
	       (p->p_flags & SEG_X ? PROT_EXEC : 0);
}

// Finds the place of a position-independent image and maps its first segment there, so that the whole span and the gap
// for trampolines behind it are free. The other segments are then mapped over the rest of the span.
static int place(struct mm *mm, struct elf_image *im, const Elf64_Phdr *first, uptr at)
{
	size_t span = im->high - im->low;
	long got;
	int r;

	if (!first->p_filesz || ALIGN_DOWN(first->p_vaddr, PAGE_SIZE) != im->low)
		return -ENOEXEC;	    // segments are not in ascending order
	if (!at && im->align > PAGE_SIZE) { // mm_map aligns to pages only: find room for any alignment first
		got = mm_map(mm, 0, span + im->align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, NULL, 0,
			     0);
		if (got < 0)
			return (int)got;
		r = mm_unmap(mm, (uptr)got, span + im->align);
		if (r)
			return r;
		at = (uptr)got;
	}
	if (at)
		at = ALIGN_UP(at, im->align) + (im->low & (im->align - 1));
	got = mm_map(mm, at, span, segment_prot(first), MAP_PRIVATE, im->file, first->p_offset >> PAGE_SHIFT, 0);
	if (got < 0)
		return (int)got;
	if (at && (uptr)got != at && im->align > PAGE_SIZE)
		return -ENOMEM;
	im->bias = (uptr)got - im->low;
	return 0;
}

static int map_segment(struct mm *mm, const struct elf_image *im, const Elf64_Phdr *p, bool placed)
{
	uptr start = p->p_vaddr + im->bias, base = ALIGN_DOWN(start, PAGE_SIZE);
	uptr file_end = start + p->p_filesz, file_top = PAGE_ALIGN(file_end), top = PAGE_ALIGN(start + p->p_memsz);
	int prot = segment_prot(p), flags = MAP_PRIVATE | MAP_FIXED;
	long r;

	if (p->p_filesz && !placed) {
		r = mm_map(mm, base, file_top - base, prot, flags, im->file, p->p_offset >> PAGE_SHIFT, 0);
		if (r < 0)
			return (int)r;
	}
	if (!p->p_filesz)
		file_top = base;
	if (p->p_memsz > p->p_filesz && p->p_filesz && prot & PROT_WRITE && file_top > file_end &&
	    clear_user(U(file_end), file_top - file_end))
		return -EFAULT;
	if (top > file_top) {
		r = mm_map(mm, file_top, top - file_top, prot, flags | MAP_ANONYMOUS, NULL, 0, 0);
		if (r < 0)
			return (int)r;
	}
	return 0;
}

// Gives back what no segment covers of a position-independent image's span.
static int unmap_holes(struct mm *mm, const struct elf_image *im)
{
	uptr at = im->low;

	while (at < im->high) {
		uptr next = im->high;
		bool covered = false;
		for (u32 i = 0; i < im->eh.e_phnum; i++) {
			const Elf64_Phdr *p = &im->ph[i];
			uptr start = ALIGN_DOWN(p->p_vaddr, PAGE_SIZE), end = PAGE_ALIGN(p->p_vaddr + p->p_memsz);
			if (p->p_type != PT_LOAD || end <= at)
				continue;
			if (start <= at) {
				at = end;
				covered = true;
				break;
			}
			next = min(next, start);
		}
		if (covered)
			continue;
		int r = mm_unmap(mm, at + im->bias, next - at);
		if (r)
			return r;
		at = next;
	}
	return 0;
}

int elf_map(struct mm *mm, struct elf_image *im, uptr at)
{
	bool first = true;
	int r = 0;

	im->bias = im->end = 0;
	for (u32 i = 0; !r && i < im->eh.e_phnum; i++) {
		const Elf64_Phdr *p = &im->ph[i];
		bool placed = false;
		if (p->p_type != PT_LOAD || !p->p_memsz)
			continue;
		if (first && im->eh.e_type == ET_DYN) {
			r = place(mm, im, p, at);
			placed = true;
		}
		first = false;
		if (!r)
			r = map_segment(mm, im, p, placed);
		im->end = max(im->end, (uptr)(p->p_vaddr + p->p_memsz + im->bias));
	}
	return r || im->eh.e_type != ET_DYN ? r : unmap_holes(mm, im);
}

uptr elf_entry(const struct elf_image *im) { return im->eh.e_entry + im->bias; }

uptr elf_phdr(const struct elf_image *im)
{
	for (u32 i = 0; i < im->eh.e_phnum; i++) {
		const Elf64_Phdr *p = &im->ph[i];
		if (p->p_type == PT_LOAD && im->eh.e_phoff >= p->p_offset && im->eh.e_phoff < p->p_offset + p->p_filesz)
			return im->eh.e_phoff - p->p_offset + p->p_vaddr + im->bias;
	}
	return 0;
}
