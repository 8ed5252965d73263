// SPDX-License-Identifier: Apache-2.0
// Fuzzes the kernel's ELF loader: any file may be exec'ed. The address space behind it is a model that checks each
// request: page alignment, lengths, bounds, and that only mapped memory is cleared.
#include "kernel/task/elf.c"

void *malloc(size_t n);
void free(void *p);
void *realloc(void *p, size_t n);
__attribute__((noreturn)) void abort(void);

const uptr pf_user_min = 0x10000, pf_user_max = 0x7ffffffff000;
const uptr pf_kernel_start = 0x680000000000, pf_kernel_end = 0x684010000000;

static const u8 *image;
static size_t image_len;
static int refs;
static uptr low, high; // hull of what was mapped

void *kmalloc(size_t n) { return malloc(n); }
void kfree(const void *p) { free((void *)p); }
void file_get(struct file *f) { (void)f, refs++; }
void file_put(struct file *f) { (void)f, refs--; }

ssize_t file_read_kernel(struct file *f, void *buf, size_t n, u64 pos)
{
	(void)f;
	if (pos >= image_len)
		return 0;
	n = min(n, image_len - pos);
	memcpy(buf, image + pos, n);
	return (ssize_t)n;
}

static bool in_user(uptr at, size_t len)
{
	return at >= pf_user_min && at + len >= at && at + len <= pf_user_max &&
	       (at + len <= pf_kernel_start || at >= pf_kernel_end);
}

long mm_map(struct mm *mm, uptr addr, size_t len, int prot, int flags, struct file *f, u64 pgoff, u32 vma_flags)
{
	(void)mm, (void)prot, (void)f, (void)pgoff, (void)vma_flags;
	if (!len || (flags & MAP_FIXED && addr & (PAGE_SIZE - 1)))
		abort(); // the loader checks these itself
	len = PAGE_ALIGN(len);
	if (!len || len > pf_user_max)
		return -ENOMEM;
	if (!(flags & MAP_FIXED) && !in_user(addr & PAGE_MASK, len))
		addr = 0x7f0000000000;
	addr &= PAGE_MASK;
	if (!in_user(addr, len))
		return -ENOMEM;
	low = min(low, addr);
	high = max(high, addr + len);
	return (long)addr;
}

int mm_unmap(struct mm *mm, uptr addr, size_t len)
{
	(void)mm;
	if (addr & (PAGE_SIZE - 1) || !len || addr < low || addr + len > high)
		abort();
	return 0;
}

int clear_user(void __user *dst, size_t n)
{
	uptr at = (uptr)dst;

	if (n >= PAGE_SIZE || at < low || at + n > high)
		abort();
	return 0;
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t n)
{
	static char file;
	struct elf_image im;

	image = data;
	image_len = n;
	for (int pie = 0; pie < 2; pie++) {
		low = U64_MAX;
		high = 0;
		if (elf_open((struct file *)&file, &im))
			break;
		if (!elf_map(NULL, &im, pie ? 0x555555554000 : 0) && (im.end > high || im.end < low))
			abort();
		elf_phdr(&im);
		elf_entry(&im);
		elf_close(&im);
	}
	if (refs)
		abort();
	return 0;
}
