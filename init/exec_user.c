// SPDX-License-Identifier: Apache-2.0
// See exec_user.h. The lists are the image's own; libc's name services, which need shared libraries, are not asked. No locks.
#include "init/exec_user.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MOST_GROUPS 65536u

// 1: a number, 0: a name, -EINVAL: neither.
static int number(const char *s, unsigned int *out)
{
	char *end;
	if (!*s || strlen(s) > 255)
		return -EINVAL;
	if (strspn(s, "0123456789") != strlen(s))
		return 0;
	errno = 0;
	unsigned long v = strtoul(s, &end, 10);
	*out = (unsigned int)v;
	return errno || v >= 0xffffffffu ? -EINVAL : 1; // -1 means "leave it" to setuid and its like
}

// The user's own entry. 1: there is one.
static int find_user(struct exec_user *u, const char *name, bool by_number, const char *passwd, char **login)
{
	FILE *list = fopen(passwd, "re");
	struct passwd *p = NULL;
	while (list && (p = fgetpwent(list)))
		if (by_number ? p->pw_uid == u->uid : !strcmp(p->pw_name, name))
			break;
	int found = p != NULL;
	if (p) {
		u->uid = p->pw_uid;
		u->gid = p->pw_gid;
		u->home = strdup(p->pw_dir);
		*login = strdup(p->pw_name);
		found = u->home && *login ? 1 : -ENOMEM;
	}
	if (list)
		fclose(list);
	return found;
}

static int find_group(gid_t *gid, const char *name, const char *group)
{
	FILE *list = fopen(group, "re");
	struct group *g = NULL;
	while (list && (g = fgetgrent(list)) && strcmp(g->gr_name, name))
		;
	if (g)
		*gid = g->gr_gid;
	if (list)
		fclose(list);
	return g ? 0 : -ENOENT;
}

static int add_group(struct exec_user *u, gid_t gid)
{
	gid_t *more = u->group_count < MOST_GROUPS ? realloc(u->groups, (u->group_count + 1) * sizeof *more) : NULL;
	if (!more)
		return -ENOMEM;
	u->groups = more;
	u->groups[u->group_count++] = gid;
	return 0;
}

static int add_groups(struct exec_user *u, const char *login, const char *group)
{
	FILE *list = fopen(group, "re");
	struct group *g;
	int err = add_group(u, u->gid);
	while (!err && login && list && (g = fgetgrent(list)))
		for (char **m = g->gr_mem; *m && !err; m++)
			if (!strcmp(*m, login) && g->gr_gid != u->gid)
				err = add_group(u, g->gr_gid);
	if (list)
		fclose(list);
	return err;
}

int exec_user_find(struct exec_user *u, const char *spec, const char *passwd, const char *group, struct fault *f)
{
	char *user = strdup(spec), *colon = user ? strchr(user, ':') : NULL, *login = NULL;
	int kind, err;
	memset(u, 0, sizeof *u);
	if (colon)
		*colon = '\0';
	kind = user ? number(user, &u->uid) : -ENOMEM;
	err = kind < 0 ? kind : find_user(u, user, kind, passwd, &login);
	if (err == 0 && !kind)
		err = fault_set(f, -ENOENT, "no user '%.100s' in the enclave's %s", user, passwd);
	else if (err == -EINVAL)
		fault_set(f, err, "'%.100s' is no user: NAME or UID, and :GROUP or :GID", spec);
	if (err >= 0 && colon) {
		kind = number(colon + 1, &u->gid);
		err = kind ? kind < 0 ? kind : 0 : find_group(&u->gid, colon + 1, group);
		if (err == -ENOENT)
			fault_set(f, err, "no group '%.100s' in the enclave's %s", colon + 1, group);
		else if (err)
			fault_set(f, err, "'%.100s' is no group: a name or a number", colon + 1);
	}
	if (err >= 0)
		err = add_groups(u, colon ? NULL : login, group);
	if (err == -ENOMEM)
		fault_set(f, err, "out of memory");
	free(login);
	free(user);
	return err;
}

int exec_user_become(const struct exec_user *u)
{
	return setgroups(u->group_count, u->groups) || setresgid(u->gid, u->gid, u->gid) || setresuid(u->uid, u->uid, u->uid) ? -errno : 0;
}

void exec_user_free(struct exec_user *u)
{
	free(u->groups);
	free(u->home);
	memset(u, 0, sizeof *u);
}
