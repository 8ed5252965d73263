// SPDX-License-Identifier: Apache-2.0
// The program's memory as host mappings: anonymous memory is the host's private pages, page-cache runs
// are mapped from the enclave's memfd. A process that the host kills in one of these calls has no such memory any more: what
// they did not do does not matter, and the error ends the work. No locks.
#include "kernel/include/platform.h"
#include "kernel/include/alloc.h"
#include "kernel/include/mm.h"
#include "kernel/include/uapi.h"
#include "platform/process/window.h"

const uptr pf_user_min = USER_MIN, pf_user_max = USER_MAX, pf_kernel_start = K_BASE, pf_kernel_end = K_END;

#define MAP_BASE (MAP_FIXED | MAP_NORESERVE)

u32 pf_caps(void)
{
	return PF_HAS_FORK | PF_HAS_COW | PF_HAS_SHARED_TEXT | PF_HAS_FIXED_ADDR | PF_HOST_FAULTS;
}

static int map_result(long r) { return r < 0 ? (int)r : 0; }

int pf_map_anon(uptr addr, size_t len, int prot)
{
	return map_result(H6(__NR_mmap, addr, len, prot, MAP_BASE | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}

int pf_map_pages(uptr addr, u32 pfn, u32 n, int prot, bool shared)
{
	return map_result(H6(__NR_mmap, addr, (u64)n << PAGE_SHIFT, prot, MAP_BASE | (shared ? MAP_SHARED : MAP_PRIVATE), host_memfd,
			     (u64)pfn << PAGE_SHIFT));
}

int pf_unmap(uptr addr, size_t len) { return (int)H3(__NR_munmap, addr, len, 0); }
int pf_protect(uptr addr, size_t len, int prot) { return (int)H3(__NR_mprotect, addr, len, prot); }

// Before Linux 6.17 the host moves no more than one of its mappings at once: EFAULT. Where they end is found by trying. Bytes moved; *r: why not all.
static size_t move_pieces(uptr old, size_t len, uptr to, int *r)
{
	size_t done = 0, n = len;

	while (done < len) {
		n = min(n, len - done);
		*r = map_result(H6(__NR_mremap, old + done, n, n, 3 /* MAYMOVE | FIXED */, to + done, 0));
		if (!*r) {
			done += n;
			n *= 2;
		} else if (*r == -EFAULT && n > PAGE_SIZE) {
			n = ALIGN_UP(n / 2, PAGE_SIZE);
		} else {
			break;
		}
	}
	return done;
}

int pf_move(uptr old, size_t len, uptr to, size_t newlen)
{
	if (to == old)
		return map_result(H6(__NR_mremap, old, len, newlen, 0, 0, 0));
	int r = map_result(H6(__NR_mremap, old, len, newlen, 3 /* MAYMOVE | FIXED */, to, 0)), undone;
	if (r == -EFAULT && len == newlen) {
		size_t done = move_pieces(old, len, to, &r);
		if (r)
			move_pieces(to, done, old, &undone);
	}
	return r;
}

int pf_dontneed(uptr addr, size_t len) { return (int)H3(__NR_madvise, addr, len, MADV_DONTNEED); }

int pf_populate(uptr addr, size_t len, bool write)
{
	return (int)H3(__NR_madvise, addr, len, write ? 23 /* POPULATE_WRITE */ : 22 /* POPULATE_READ */);
}

int pf_inherit(uptr addr, size_t len, u32 vma_flag, bool on)
{
	return (int)H3(__NR_madvise, addr, len, vma_flag == VMA_DONTFORK ? (on ? MADV_DONTFORK : MADV_DOFORK) : (on ? 18 : 19) /* WIPE, KEEPONFORK */);
}

int pf_mincore(uptr addr, size_t len, u8 *out)
{
	int r = (int)H3(__NR_mincore, addr, len, out);

	for (size_t i = 0; !r && i < len >> PAGE_SHIFT; i++)
		out[i] &= 1;
	return r;
}

int pf_hugepage(uptr addr, size_t len, bool on) { return (int)H3(__NR_madvise, addr, len, on ? MADV_HUGEPAGE : MADV_NOHUGEPAGE); }

void pf_reset_address_space(void)
{
	S2(__NR_munmap, 0, K_BASE);
	S2(__NR_munmap, K_END, USER_MAX - K_END);
	window_guards_drop(win_self()->hproc);
}

void pf_pages_released(u32 pfn, u32 n)
{
	S3(__NR_madvise, K_LIN + ((u64)pfn << PAGE_SHIFT), (u64)n << PAGE_SHIFT, MADV_REMOVE);
}
