// SPDX-License-Identifier: Apache-2.0
// The mounts as /proc/PID/mounts and mountinfo show them. Locks: dcache_lock.
#include "kernel/fs/mounts.h"

#define OWN_OPTIONS (4 * PAGE_SIZE + 2) // of a file system: a page, escaped

static void opts_text(char *buf, size_t n, u32 flags, bool ro)
{
	snprintf(buf, n, "%s%s%s%s%s%s", ro || (flags & MS_RDONLY) ? "ro" : "rw", flags & MS_NOSUID ? ",nosuid" : "",
		 flags & MS_NODEV ? ",nodev" : "", flags & MS_NOEXEC ? ",noexec" : "",
		 flags & MS_NOATIME ? ",noatime" : flags & MS_RELATIME ? ",relatime" : "",
		 flags & MS_NODIRATIME ? ",nodiratime" : "");
}

// White space and backslashes as octal numbers, in place.
static void escape(char *s, size_t n)
{
	for (size_t len = strlen(s); *s; s++) {
		if (*s != ' ' && *s != '\t' && *s != '\n' && *s != '\\')
			continue;
		size_t rest = strlen(s + 1) + 1;
		if (len + 4 > n)
			return;
		u8 c = (u8)*s;
		memmove(s + 4, s + 1, rest);
		s[0] = '\\';
		s[1] = (char)('0' + (c >> 6));
		s[2] = (char)('0' + (c >> 3 & 7));
		s[3] = (char)('0' + (c & 7));
		s += 3;
		len += 3;
	}
}

const char *mount_root_name(const struct mount *m, char *buf, size_t n)
{
	char *s = buf + n;

	*--s = 0;
	read_lock(&dcache_lock);
	for (struct dentry *d = m->root, *up; d->parent != d; d = up) {
		u32 len;
		up = d_name_locked(d, s, (u32)(s - buf), &len);
		if ((size_t)(s - buf) <= len + 1u)
			break;
		s -= len;
		*--s = '/';
	}
	read_unlock(&dcache_lock);
	return *s ? s : "/";
}

// The type as it is shown, and the file system's own options: ",key=value...", escaped.
static void super_text(struct super *sb, char *type, size_t tn, char *opts, size_t n)
{
	snprintf(type, tn, "%s%s%s", sb->fstype, *sb->subtype ? "." : "", sb->subtype);
	*opts = 0;
	if (sb->ops && sb->ops->options) {
		*opts = ',';
		sb->ops->options(sb, opts + 1, n - 1);
	}
	escape(opts, n);
}

static struct mount *next_mount(struct mnt_ns *ns, int id)
{
	struct mount *m, *next = NULL;

	read_lock(&dcache_lock);
	list_for_each(m, &mounts, link)
		if (m->ns == ns && m->id > id && (!next || m->id < next->id) && mount_reached_locked(m, &cur_fs()->root))
			next = m;
	if (next)
		mount_get_locked(next);
	read_unlock(&dcache_lock);
	return next;
}

static int line(struct mount *m, const char *at, char *buf, size_t n, bool mountinfo)
{
	char opts[80], tag[32] = "", type[48], *root, *place, *own;
	int len = -ENOMEM;

	opts_text(opts, sizeof(opts), m->flags, m->sb->read_only);
	place = kmalloc(2 * PATH_BUF);
	root = kmalloc(PATH_BUF);
	own = kmalloc(OWN_OPTIONS);
	if (!place || !root || !own)
		goto out;
	super_text(m->sb, type, sizeof(type), own, OWN_OPTIONS);
	strlcpy(place, at, PATH_BUF);
	escape(place, PATH_BUF);
	if (m->propagation == MS_SHARED || m->propagation == MS_SLAVE)
		snprintf(tag, sizeof(tag), "%s:%d ", m->propagation == MS_SHARED ? "shared" : "master", m->id);
	else if (m->propagation == MS_UNBINDABLE)
		strlcpy(tag, "unbindable ", sizeof(tag));
	if (mountinfo)
		len = scnprintf(buf, n, "%d %d %lu:%lu %s %s %s %s- %s %s %s%s\n", m->id, m->parent ? m->parent->id : 1, m->sb->dev >> 8,
				m->sb->dev & 255, mount_root_name(m, root, PATH_BUF), place, opts, tag, type, m->source,
				m->sb->read_only ? "ro" : "rw", own);
	else
		len = scnprintf(buf, n, "%s %s %s %s%s 0 0\n", m->source, place, type, opts, own);
out:
	kfree(place);
	kfree(root);
	kfree(own);
	return len;
}

int mounts_line(struct mnt_ns *ns, int *id, char *buf, size_t n, bool mountinfo)
{
	char *tmp = kmalloc(PATH_BUF);
	struct mount *m;
	int len = 0;

	if (!tmp)
		return -ENOMEM;
	while (!len && (m = next_mount(ns, *id))) {
		struct path p = {m, m->root};
		char *name = path_name(&p, tmp, PATH_BUF);
		*id = m->id;
		if (!IS_ERR(name) && *name == '/') // else out of the reader's sight
			len = line(m, name, buf, n, mountinfo);
		mount_put(m);
	}
	kfree(tmp);
	return len;
}
