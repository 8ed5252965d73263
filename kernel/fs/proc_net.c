// SPDX-License-Identifier: Apache-2.0
// /proc/net: files whose text kernel/net makes. The table only grows, at boot. Locks: none.
#include "kernel/fs/procfs.h"
#include "kernel/include/ns.h"

#define MAX_FILES 24

static struct pent table[MAX_FILES + 1];
static size_t (*generator[MAX_FILES])(const struct net_ns *, char *, size_t);
static u32 nfiles;

static int net_text(struct pout *o, struct pnode *n)
{
	size_t (*gen)(const struct net_ns *, char *, size_t) = generator[n->e - table], cap = PAGE_SIZE, len;
	struct net_ns *net = net_ns_of(n->proc ? n->proc : curproc);
	char *buf;
	int r = -ENOMEM;

	for (;;) {
		buf = kmalloc(cap);
		if (!buf)
			goto out;
		len = gen(net, buf, cap);
		if (len < cap)
			break;
		kfree(buf);
		cap = len * 2;
	}
	pout_raw(o, buf, len);
	kfree(buf);
	r = 0;
out:
	net_ns_put(net);
	return r;
}

int proc_net_register(const char *name, size_t (*gen)(const struct net_ns *net, char *buf, size_t n))
{
	if (nfiles == MAX_FILES)
		return -ENOSPC;
	table[nfiles] = (struct pent){.name = name, .mode = S_IFREG | 0444, .text = net_text};
	generator[nfiles++] = gen;
	return 0;
}

static int net_lookup(struct inode *dir, const char *name, u32 len, struct inode **out)
{
	return proc_lookup_table(dir, table, name, len, out);
}

static int net_readdir(struct file *f, struct dir_ctx *c)
{
	proc_emit_table(c, table, 2, f->inode->ino);
	return 0;
}

const struct inode_ops proc_net_iops = {.lookup = net_lookup, .no_cache = true};
const struct file_ops proc_net_fops = {.readdir = net_readdir, .llseek = proc_dir_llseek};
