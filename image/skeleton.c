// SPDX-License-Identifier: Apache-2.0
// What each root file system has, whatever was copied into it: mount points, merged /usr links, a minimal /etc.
#include <string.h>

#include "image/build.h"
#include "image/tree.h"

static const char *const folders[] = {
	"/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64", "/etc", "/dev", "/proc", "/sys", "/tmp", "/run", "/root", "/home",
	"/mnt", "/opt", "/srv", "/var/tmp", "/var/lib", "/var/log", "/var/cache", NULL,
};

static const char *const links[][2] = {
	{"/bin", "usr/bin"}, {"/sbin", "usr/sbin"}, {"/lib", "usr/lib"}, {"/lib64", "usr/lib64"}, {"/var/run", "/run"},
	{"/var/lock", "/run/lock"}, {"/etc/mtab", "/proc/self/mounts"},
};

// The machine's own files would make the digest differ from machine to machine.
static const char *const files[][2] = {
	{"/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"},
	{"/etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"},
	{"/etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n"
			       "protocols: files\nservices: files\n"},
	{"/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 coffer\n::1 localhost\n"},
	{"/etc/hostname", "coffer\n"},
};

const char *image_skeleton_file(const char *path)
{
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		if (!strcmp(files[i][0], path))
			return files[i][1];
	return "";
}

int image_skeleton(const struct config *c, struct tree *t, struct fault *p)
{
	struct stat st;
	int err = 0;

	for (int i = 0; folders[i] && !err; i++)
		err = tree_mkdirs(t, folders[i], p);
	for (size_t i = 0; i < sizeof(links) / sizeof(*links) && !err; i++)
		if (!tree_stat(t, links[i][0], &st))
			err = tree_symlink(t, links[i][0], links[i][1], p);
	for (size_t i = 0; i < sizeof(files) / sizeof(*files) && !err; i++)
		if (!tree_stat(t, files[i][0], &st))
			err = tree_write_file(t, files[i][0], files[i][1], strlen(files[i][1]), false, p);
	if (!err)
		err = tree_mkdirs(t, c->working_directory, p);
	for (size_t i = 0; i < c->volume_count && !err; i++)
		err = tree_mkdirs(t, c->volumes[i].path, p);
	return err;
}
