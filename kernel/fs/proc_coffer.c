// SPDX-License-Identifier: Apache-2.0
// /proc/coffer: what describes the enclave itself. `objects` counts what the kernel holds, so that a leak can be seen;
// `isolation` says which protections hold in this run (docs/isolation.md); `volumes` what guards sealed volumes against rollback; `debug_trigger`
// makes the kernel fail, in enclaves for debugging.
// Locks: none.
#include "kernel/fs/procfs.h"
#include "kernel/include/boot.h"
#include "kernel/include/count.h"
#include "kernel/include/ktime.h"
#include "kernel/include/log.h"
#include "kernel/include/usercopy.h"
#include "kernel/include/platform.h"

struct counts object_counts[SHARDS];

static int text_host(struct pout *o, struct pnode *n)
{
	(void)n;
	pout_raw(o, boot_info.host_json, boot_info.host_json_len);
	return 0;
}

static int text_manifest(struct pout *o, struct pnode *n)
{
	(void)n;
	pout_raw(o, boot_info.manifest, boot_info.manifest_len);
	return 0;
}

static int text_measurement(struct pout *o, struct pnode *n)
{
	(void)n;
	pout(o, "%s\n", boot_info.measurement_hex);
	return 0;
}

// The clock is set before the first program runs; no program ever sees it step back.
static int set_time_open(struct inode *ino, struct file *f)
{
	(void)ino, (void)f;
	return boot_before_program() ? 0 : -EPERM;
}

static ssize_t set_time_write(struct file *f, struct iter *it, u64 *pos)
{
	struct iter saved = *it;
	u64 between[2];
	s64 moved, seconds;

	(void)f, (void)pos;
	if (it->left != sizeof(between))
		return -EINVAL;
	while (iter_get(it, between, sizeof(between)) != sizeof(between)) {
		if (iter_fault_in(it, false))
			return -EFAULT;
		iter_revert(it, &saved);
	}
	if (!boot_before_program() || !between[0] || between[1] < between[0] || between[1] > (u64)1 << 62)
		return -EINVAL;
	moved = clock_set_between(between[0], between[1]);
	seconds = moved / (s64)NSEC_PER_SEC;
	if (seconds > 1 || seconds < -1)
		pr_warn("the host's clock is %ld s %s the broker's, which counts\n", seconds > 0 ? seconds : -seconds, seconds > 0 ? "behind" : "ahead of");
	return sizeof(between);
}

static const struct file_ops proc_set_time_fops = {.open = set_time_open, .write = set_time_write, .llseek = no_llseek, .stream = true};

static int text_time(struct pout *o, struct pnode *n)
{
	s64 moved;

	(void)n;
	if (clock_was_set(&moved))
		pout(o, "source broker\nmoved_ms %ld\n", moved / (s64)(NSEC_PER_SEC / 1000));
	else
		pout(o, "source host\n");
	return 0;
}

// One "name number" a line.
s64 object_count(u32 kind)
{
	s64 sum = 0;

	for (u32 s = 0; s < SHARDS; s++)
		sum += __atomic_load_n(&object_counts[s].n[kind], __ATOMIC_RELAXED);
	return sum;
}

static int text_objects(struct pout *o, struct pnode *n)
{
	static const char *const names[] = {
#define X(name) #name,
		COUNTED(X)
#undef X
	};
	u32 threads, processes;
	u64 used, bytes;

	(void)n;
	for (u32 i = 0; i < N_COUNTED; i++)
		pout(o, "%s %ld\n", names[i], object_count(i));
	pf_host_counts(&threads, &processes);
	pout(o, "host_threads %u\nhost_processes %u\n", threads, processes);
	pout(o, "pages_used %lu\n", page_count_total() - page_count_free());
	pout(o, "pages_held %lu\n", page_count_held()); // by the kernel: without programs' private memory, which is an estimate
	for (u32 i = 0; used = kmalloc_usage(i, &bytes), bytes; i++)
		pout(o, "kmalloc_%lu %lu\n", bytes, used);
	pout(o, "kmalloc_pages %lu\n", used);
	return 0;
}

static int text_isolation(struct pout *o, struct pnode *n)
{
	struct pf_protection p[PF_PROTECTIONS];
	u32 count = pf_protections(p);

	(void)n;
	for (u32 i = 0; i < count; i++) {
		pout(o, "%-28s %-4s %s", p[i].name, p[i].holds ? "yes" : "no", p[i].how);
		if (p[i].end)
			pout(o, " (%lx-%lx)", p[i].start, p[i].end);
		pout(o, "\n");
	}
	return 0;
}

#define TXT(n, m, f) \
	{ \
		.name = n, .mode = S_IFREG | m, .text = f \
	}

// --- faults on purpose, to test what the enclave reports of them; only in one whose owner lets it be looked at
__attribute__((noinline)) static void trigger_fault(void)
{
	volatile uptr nowhere = 8;

	*(volatile u32 *)nowhere = 1;
}

__attribute__((noinline)) static void trigger_spin(void)
{
	for (;;)
		pf_relax();
}

// The first who comes keeps the lock for ever, others wait for it.
static void trigger_lock(void)
{
	static struct mutex held;
	static u32 never;

	mutex_lock(&held);
	pf_wait(&never, 0, NO_DEADLINE);
}

static ssize_t debug_trigger(struct pnode *n, char *buf, size_t len)
{
	(void)n;
	if (!boot_info.debug)
		return -EPERM;
	if (len && buf[len - 1] == '\n')
		buf[len - 1] = 0;
	if (!strcmp(buf, "panic"))
		panic("debug_trigger: asked for");
	else if (!strcmp(buf, "fault"))
		trigger_fault();
	else if (!strcmp(buf, "spin"))
		trigger_spin();
	else if (!strcmp(buf, "lock"))
		trigger_lock();
	else
		return -EINVAL;
	return (ssize_t)len;
}

const struct pent proc_coffer_table[] = {
	{.name = "debug_trigger", .mode = S_IFREG | 0200, .write = debug_trigger},
	{.name = "anchor", .mode = S_IFREG | 0600, .fops = &proc_anchor_fops},
	{.name = "control", .mode = S_IFREG | 0600, .fops = &proc_control_fops},
	{.name = "gateway", .mode = S_IFREG | 0200, .fops = &proc_gateway_fops},
	{.name = "sealing_key", .mode = S_IFREG | 0400, .fops = &proc_sealing_fops},
	{.name = "set_time", .mode = S_IFREG | 0200, .fops = &proc_set_time_fops},
	TXT("time", 0444, text_time),
	TXT("volumes", 0444, proc_volumes),
	TXT("host", 0400, text_host),
	TXT("manifest", 0444, text_manifest),
	TXT("measurement", 0444, text_measurement),
	TXT("isolation", 0444, text_isolation),
	TXT("objects", 0444, text_objects),
	{0},
};
