// SPDX-License-Identifier: Apache-2.0
// /proc/cpuinfo, from the CPUID instruction as this enclave sees it. Locks: none.
#include "kernel/fs/proc_cpu.h"
#include "kernel/include/platform.h"

struct leaf {
	u32 a, b, c, d;
};

static struct leaf cpuid(u32 leaf, u32 sub)
{
	struct leaf l;

	__asm__ volatile("cpuid" : "=a"(l.a), "=b"(l.b), "=c"(l.c), "=d"(l.d) : "a"(leaf), "c"(sub));
	return l;
}

// Names of the 32 bits of one register, separated by spaces; "-" = no name in /proc/cpuinfo.
static const struct {
	u32 leaf, reg;
	const char *names;
} features[] = {
	{1, 3,
	 "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse "
	 "sse2 ss ht tm "
	 "ia64 pbe"},
	{0x80000001, 3,
	 "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow"},
	{1, 2,
	 "pni pclmulqdq dtes64 monitor ds_cpl vmx smx est tm2 ssse3 cid sdbg fma cx16 xtpr pdcm - pcid dca sse4_1 "
	 "sse4_2 x2apic movbe "
	 "popcnt tsc_deadline_timer aes xsave - avx f16c rdrand hypervisor"},
	{0x80000001, 2,
	 "lahf_lm cmp_legacy svm extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop skinit wdt - lwp "
	 "fma4 tce "
	 "- nodeid_msr - tbm topoext perfctr_core perfctr_nb - bpext ptsc perfctr_llc mwaitx - -"},
	{7, 1,
	 "fsgsbase tsc_adjust sgx bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f avx512dq rdseed "
	 "adx smap avx512ifma "
	 "- clflushopt clwb intel_pt avx512pf avx512er avx512cd sha_ni avx512bw avx512vl"},
	{7, 2,
	 "- avx512vbmi umip pku ospke waitpkg avx512_vbmi2 - gfni vaes vpclmulqdq avx512_vnni avx512_bitalg tme "
	 "avx512_vpopcntdq - la57 "
	 "- - - - - rdpid - bus_lock_detect cldemote - movdiri movdir64b enqcmd sgx_lc -"},
	{7, 3,
	 "- - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect - md_clear - - - serialize - tsxldtrk - "
	 "pconfig arch_lbr - - "
	 "amx_bf16 avx512_fp16 amx_tile amx_int8 - - flush_l1d arch_capabilities - -"},
};

static void flags(struct pout *o)
{
	u32 max_std = cpuid(0, 0).a, max_ext = cpuid(0x80000000, 0).a;

	pout(o, "flags\t\t:");
	for (u32 i = 0; i < ARRAY_SIZE(features); i++) {
		const char *s = features[i].names;
		struct leaf l;
		u32 bits;

		if (features[i].leaf > (features[i].leaf & 0x80000000 ? max_ext : max_std))
			continue;
		l = cpuid(features[i].leaf, 0);
		bits = features[i].reg == 1 ? l.b : features[i].reg == 2 ? l.c : l.d;
		for (u32 b = 0; *s; b++) {
			const char *e = strchr(s, ' ');
			size_t len = e ? (size_t)(e - s) : strlen(s);

			if ((bits >> b & 1) && *s != '-')
				pout(o, " %.*s", (int)len, s);
			s += len + (e != NULL);
		}
	}
	pout(o, "\n");
}

// MHz of the time stamp counter: CPUID's own figures, else the clock's.
static u64 tsc_khz(void)
{
	static u64 khz;
	u64 t0, t1, n0, n1;

	if (khz)
		return khz;
	if (cpuid(0, 0).a >= 0x15) {
		struct leaf l = cpuid(0x15, 0);

		if (l.a && l.b && l.c)
			return khz = (u64)l.c * l.b / l.a / 1000;
	}
	// How far the counter runs in a millisecond of the kernel's clock.
	t0 = pf_tsc();
	n0 = ktime_mono();
	do {
		pf_relax();
		n1 = ktime_mono();
	} while (n1 - n0 < 1000000);
	t1 = pf_tsc();
	return khz = (t1 - t0) * 1000000 / (n1 - n0);
}

int proc_cpuinfo(struct pout *o, struct pnode *n)
{
	struct leaf v = cpuid(0, 0), s = cpuid(1, 0), ext = cpuid(0x80000000, 0), size = {0};
	u32 family = s.a >> 8 & 15, model = s.a >> 4 & 15;
	char vendor[13] = "", brand[49] = "unknown";
	u64 khz = tsc_khz();

	(void)n;
	memcpy(vendor, &v.b, 4);
	memcpy(vendor + 4, &v.d, 4);
	memcpy(vendor + 8, &v.c, 4);
	if (family == 6 || family == 15)
		model |= s.a >> 12 & 0xf0;
	if (family == 15)
		family += s.a >> 20 & 0xff;
	if (ext.a >= 0x80000004)
		for (u32 i = 0; i < 3; i++) {
			struct leaf b = cpuid(0x80000002 + i, 0);

			memcpy(brand + i * 16, &b, 16);
		}
	if (ext.a >= 0x80000008)
		size = cpuid(0x80000008, 0);
	for (u32 cpu = 0; cpu < pf_ncpus(); cpu++) {
		pout(o,
		     "processor\t: %u\nvendor_id\t: %s\ncpu family\t: %u\nmodel\t\t: %u\nmodel name\t: %s\nstepping\t: "
		     "%u\n",
		     cpu, vendor, family, model, brand, s.a & 15);
		pout(o,
		     "cpu MHz\t\t: %lu.%03lu\nphysical id\t: 0\nsiblings\t: %u\ncore id\t\t: %u\ncpu cores\t: "
		     "%u\napicid\t\t: %u\n",
		     khz / 1000, khz % 1000, pf_ncpus(), cpu, pf_ncpus(), cpu);
		pout(o, "fpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: %u\nwp\t\t: yes\n", v.a);
		flags(o);
		pout(o, "bogomips\t: %lu.%02lu\nclflush size\t: %u\ncache_alignment\t: 64\n", khz / 500, khz / 5 % 100,
		     (s.b >> 8 & 0xff) * 8);
		pout(o, "address sizes\t: %u bits physical, %u bits virtual\npower management:\n\n", size.a & 0xff,
		     size.a >> 8 & 0xff);
	}
	return 0;
}
