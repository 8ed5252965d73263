// SPDX-License-Identifier: Apache-2.0
// /proc/meminfo, vmstat, zoneinfo, buddyinfo, slabinfo: one set of figures behind them and behind the cgroup's files.
// The total is the enclave's limit; programs' private memory is what the host reports. Locks: none.
#include "kernel/fs/procfs.h"
#include "kernel/fs/verity.h"
#include "kernel/include/alloc.h"
#include "kernel/include/count.h"
#include "kernel/mm/oom.h"

#define KB(pages) ((pages) * (PAGE_SIZE >> 10))

static u64 counted(enum counted kind)
{
	s64 n = object_count(kind);

	return n > 0 ? (u64)n : 0;
}

void memory_now(struct memory *m)
{
	u64 held, cached;

	memory_refresh();
	m->total = page_count_total();
	m->free = page_count_free();
	m->anon = page_count_outside();
	held = page_count_held();
	cached = min(counted(N_cached_pages), held);
	m->file = min(counted(N_file_pages), cached);
	m->shared = cached - m->file;
	m->dirty = min(counted(N_dirty_pages), m->file);
	m->slab = min(kmalloc_slab_pages(), held - cached);
	m->kernel = held - cached - m->slab;
}

// Sum over all processes that mean what the line says: private writable memory that was promised.
static int add_commit(struct proc *p, void *arg)
{
	struct mm *mm = p->borrows_mm ? NULL : p->mm;

	if (mm && p->state < PROC_ZOMBIE)
		*(u64 *)arg += __atomic_load_n(&mm->data_pages, __ATOMIC_RELAXED);
	return 0;
}

int proc_meminfo(struct pout *o, struct pnode *n)
{
	u64 commit = 0;
	struct memory m;

	(void)n;
	memory_now(&m);
	proc_for_each(add_commit, &commit);
	commit += m.shared;
#define LINE(name, pages) pout(o, "%-16s%8lu kB\n", name ":", KB(pages))
	LINE("MemTotal", m.total);
	LINE("MemFree", m.free);
	LINE("MemAvailable", min(m.free + m.file - m.dirty, m.total));
	LINE("Buffers", 0ul);
	LINE("Cached", m.file + m.shared);
	LINE("SwapCached", 0ul);
	LINE("Active", m.anon + m.file);
	LINE("Inactive", m.shared);
	LINE("Active(anon)", m.anon);
	LINE("Inactive(anon)", m.shared);
	LINE("Active(file)", m.file);
	LINE("Inactive(file)", 0ul);
	LINE("Unevictable", 0ul);
	LINE("Mlocked", 0ul);
	LINE("SwapTotal", 0ul);
	LINE("SwapFree", 0ul);
	LINE("Dirty", m.dirty);
	LINE("Writeback", 0ul);
	LINE("AnonPages", m.anon);
	LINE("Mapped", 0ul);
	LINE("Shmem", m.shared);
	LINE("KReclaimable", 0ul);
	LINE("Slab", m.slab);
	LINE("SReclaimable", 0ul);
	LINE("SUnreclaim", m.slab);
	LINE("KernelStack", 0ul);
	LINE("PageTables", 0ul);
	LINE("NFS_Unstable", 0ul);
	LINE("Bounce", 0ul);
	LINE("WritebackTmp", 0ul);
	LINE("CommitLimit", m.total / 2);
	LINE("Committed_AS", commit);
	pout(o, "VmallocTotal:   34359738367 kB\n");
	LINE("VmallocUsed", 0ul);
	LINE("VmallocChunk", 0ul);
	LINE("AnonHugePages", 0ul);
	LINE("ShmemHugePages", 0ul);
	LINE("ShmemPmdMapped", 0ul);
	pout(o, "HugePages_Total:   %5d\nHugePages_Free:    %5d\nHugePages_Rsvd:    %5d\nHugePages_Surp:    %5d\n", 0, 0, 0, 0);
	LINE("Hugepagesize", 512ul);
	LINE("Hugetlb", 0ul);
	return 0;
}

int proc_vmstat(struct pout *o, struct pnode *n)
{
	struct memory m;

	(void)n;
	memory_now(&m);
	pout(o, "nr_free_pages %lu\nnr_zone_inactive_anon %lu\nnr_zone_active_anon %lu\nnr_zone_active_file %lu\n", m.free, m.shared, m.anon,
	     m.file);
	pout(o, "nr_inactive_anon %lu\nnr_active_anon %lu\nnr_inactive_file 0\nnr_active_file %lu\nnr_unevictable 0\n", m.shared, m.anon, m.file);
	pout(o, "nr_slab_reclaimable 0\nnr_slab_unreclaimable %lu\nnr_anon_pages %lu\nnr_mapped 0\nnr_file_pages %lu\n", m.slab, m.anon,
	     m.file + m.shared);
	pout(o, "nr_dirty %lu\nnr_writeback 0\nnr_shmem %lu\n", m.dirty, m.shared);
	// what is not counted here is 0, as on a machine that never did it
	pout(o, "pgpgin %lu\npgpgout 0\npswpin 0\npswpout 0\npgalloc_normal 0\npgfree 0\npgfault 0\npgmajfault 0\n", verity_blocks_read() * 4);
	pout(o, "oom_kill %lu\n", oom_counts.killed);
	return 0;
}

int proc_zoneinfo(struct pout *o, struct pnode *n)
{
	struct memory m;

	(void)n;
	memory_now(&m);
	pout(o, "Node 0, zone   Normal\n  pages free     %lu\n        min      %lu\n        low      %lu\n        high     %lu\n", m.free, page_reserve,
	     2 * page_reserve, 4 * page_reserve);
	pout(o, "        spanned  %lu\n        present  %lu\n        managed  %lu\n", m.total, m.total, m.total);
	pout(o, "      nr_free_pages %lu\n  start_pfn:           0\n", m.free);
	return 0;
}

// Runs of free pages by size; what was never used yet counts as the largest.
int proc_buddyinfo(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "Node 0, zone   Normal ");
	for (u32 i = 0; i < 11; i++)
		pout(o, "%6u ", page_free_blocks(i));
	pout(o, "\n");
	return 0;
}

int proc_slabinfo(struct pout *o, struct pnode *n)
{
	u64 used, bytes;

	(void)n;
	pout(o, "slabinfo - version: 2.1\n# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit> "
		"<batchcount> <sharedfactor> : slabdata <active_slabs> <num_slabs> <sharedavail>\n");
	for (u32 i = 0; used = kmalloc_usage(i, &bytes), bytes; i++) {
		char name[24];
		u64 per = 4 * PAGE_SIZE / bytes, slabs = DIV_ROUND_UP(used, per);

		snprintf(name, sizeof(name), "kmalloc-%lu", bytes);
		pout(o, "%-17s %6lu %6lu %6lu %4lu %4d : tunables    0    0    0 : slabdata %6lu %6lu      0\n", name, used, slabs * per, bytes, per, 4,
		     slabs, slabs);
	}
	return 0;
}
