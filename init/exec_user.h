// SPDX-License-Identifier: Apache-2.0
// Inside init/: as whom a program that the host asked for runs.
#ifndef COFFER_INIT_EXEC_USER_H
#define COFFER_INIT_EXEC_USER_H

#include <sys/types.h>

#include "lib/fault.h"

struct exec_user {
	uid_t uid;
	gid_t gid, *groups;	// groups: supplementary
	size_t group_count;
	char *home;		// NULL: the user is in no list
};

// `spec` is NAME, UID, NAME:GROUP or UID:GID, in any mixture, looked up in files of the form of passwd(5) and group(5). Without a group: the user's own
// and the supplementary ones; a number that is in no list has group 0. With one: that alone. -ENOENT: no such user or group, -EINVAL, -ENOMEM.
// exec_user_free in any case.
int exec_user_find(struct exec_user *u, const char *spec, const char *passwd, const char *group, struct fault *f);
// This process becomes that user. 0 or -errno.
int exec_user_become(const struct exec_user *u);
void exec_user_free(struct exec_user *u);

#endif
