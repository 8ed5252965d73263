// SPDX-License-Identifier: Apache-2.0
// Runs mkfs.erofs (Debian's erofs-utils) so that its output depends on nothing but the tree, and then sets owners and attributes.
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "image/attributes.h"
#include "image/build.h"
#include "image/tree.h"

static const char *find_mkfs(void)
{
	static const char *const places[] = {"/usr/bin/mkfs.erofs", "/usr/sbin/mkfs.erofs", "/sbin/mkfs.erofs",
					     "/usr/local/bin/mkfs.erofs", NULL};

	for (int i = 0; places[i]; i++)
		if (!access(places[i], X_OK))
			return places[i];
	return NULL;
}

// wide: inodes with room for owners beyond 65535
static int run_mkfs(const char *root, const char *output, bool wide, struct fault *p)
{
	static char *environment[] = {"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC", NULL};
	const char *program = find_mkfs();
	posix_spawn_file_actions_t actions;
	char said[1024] = "";
	size_t used = 0;
	int pipe_fds[2], status, err;
	pid_t pid;
	ssize_t n;

	if (!program)
		return fault_set(p, -ENOENT, "mkfs.erofs is not on this machine: apt-get install erofs-utils");
	if (pipe2(pipe_fds, O_CLOEXEC) < 0)
		return fault_errno(p, errno, "cannot make a pipe");
	// No times, no owners, no extended attributes, no UUID of its own: none of them may reach the digest unless the image's own file names them.
	char time[16];
	snprintf(time, sizeof(time), "-T%u", IMAGE_TIME);
	char *arguments[] = {(char *)program, "--quiet", time, "--all-root", "-x-1", "-U", "00000000-0000-0000-0000-000000000000",
			     "--exclude-path=.coffer/attributes", wide ? "-Eforce-inode-extended" : (char *)output, (char *)(wide ? output : root),
			     (char *)(wide ? root : NULL), NULL};

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], 1);
	posix_spawn_file_actions_adddup2(&actions, pipe_fds[1], 2);
	err = posix_spawn(&pid, program, &actions, NULL, arguments, environment);
	posix_spawn_file_actions_destroy(&actions);
	close(pipe_fds[1]);
	if (err) {
		close(pipe_fds[0]);
		return fault_errno(p, err, "cannot start %s", program);
	}
	while ((n = read(pipe_fds[0], said + used, sizeof(said) - 1 - used)) > 0 || (n < 0 && errno == EINTR)) {
		used += n > 0 ? (size_t)n : 0;
		// The end of what it says is what matters.
		if (used == sizeof(said) - 1) {
			memmove(said, said + used / 2, used - used / 2);
			used -= used / 2;
		}
	}
	said[used] = '\0';
	close(pipe_fds[0]);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return fault_errno(p, errno, "cannot wait for mkfs.erofs");
	if (!WIFEXITED(status) || WEXITSTATUS(status))
		return fault_set(p, -EIO, "mkfs.erofs failed (is the disk full?): %s", said);
	return 0;
}

int image_mkfs(const char *root, const char *output, struct image_attributes *said, struct fault *p)
{
	struct attributes_list l;
	int err = attributes_read(&l, root, p);

	*said = (struct image_attributes){0};
	if (!err)
		err = run_mkfs(root, output, attributes_wide(&l), p);
	if (!err)
		err = erofs_set_attributes(output, &l, p);
	for (size_t i = 0; i < l.count && !err; i++)
		++*(l.rows[i].used ? &said->set : &said->stale);
	attributes_list_free(&l);
	return err;
}
