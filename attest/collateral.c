// SPDX-License-Identifier: Apache-2.0
// The store: a folder of items. See collateral.h. Files are made whole beside their place and renamed; who writes holds a lock on the
// folder (flock), so that of two writers the newer item stays. Readers take no lock but that of what was read lately (store.lock).
#include "attest/collateral.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attest/json.h"
#include "lib/encode.h"
#include "lib/file.h"

// Base64 of the body, and the rest.
#define MAX_FILE (2 * COLLATERAL_MAX_BODY)

// Who verifies much asks for the same items each time: those read lately are kept with the file's inode, time and size, which a rename
// changes. Checking an item anew costs more than all of the verification that it is for.
#define CACHE_ITEMS 64
#define CACHE_MAX_BODY (256u << 10)

struct collateral_store {
	char dir[PATH_MAX - 256];
	pthread_mutex_t lock;	// guards what is below; held for comparing names
	struct {
		struct stat st;
		struct collateral_kept *kept;	// NULL: empty
	} cache[CACHE_ITEMS];
	unsigned int next;	// to be replaced
};

static int make_dirs(const char *path, struct fault *f)
{
	char p[PATH_MAX];
	size_t len = strlen(path);
	memcpy(p, path, len + 1);
	for (size_t i = 1; i <= len; i++) {
		if (p[i] != '/' && p[i])
			continue;
		char c = p[i];
		p[i] = '\0';
		if (mkdir(p, 0755) < 0 && errno != EEXIST)
			return fault_errno(f, errno, "cannot make the folder %s", p);
		p[i] = c;
	}
	return 0;
}

int collateral_open(struct collateral_store **out, const char *dir, bool make, struct fault *f)
{
	struct collateral_store *s = calloc(1, sizeof *s);
	struct stat st;
	int err = 0;
	if (!s)
		return fault_set(f, -ENOMEM, "out of memory");
	if (dir && strlen(dir) < sizeof s->dir && *dir)
		strcpy(s->dir, dir);
	else if (dir || file_data_dir(s->dir, sizeof s->dir, "COFFER_COLLATERAL_DIR", "collateral"))
		err = fault_set(f, -ENOENT, "no place for collateral: name a folder, or set COFFER_COLLATERAL_DIR or HOME");
	if (!err && make)
		err = make_dirs(s->dir, f);
	if (!err && stat(s->dir, &st) < 0)
		err = fault_errno(f, errno, "cannot use the folder %s", s->dir);
	else if (!err && !S_ISDIR(st.st_mode))
		err = fault_errno(f, ENOTDIR, "cannot use %s as a store of collateral", s->dir);
	if (err) {
		free(s);
		return err;
	}
	pthread_mutex_init(&s->lock, NULL);
	*out = s;
	return 0;
}

void collateral_close(struct collateral_store *s)
{
	if (!s)
		return;
	for (unsigned int i = 0; i < CACHE_ITEMS; i++)
		collateral_release(s->cache[i].kept);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

const char *collateral_dir(const struct collateral_store *s)
{
	return s->dir;
}

static const char *file_of(const struct collateral_store *s, const char *name, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/%s.json", s->dir, name);
	return path;
}

static int copy_item(struct collateral_item *to, const struct collateral_item *from)
{
	*to = *from;
	to->body = malloc(from->body_len + 1);
	to->chain = from->chain ? malloc(from->chain_len + 1) : NULL;
	if (!to->body || (from->chain && !to->chain)) {
		collateral_item_free(to);
		return -ENOMEM;
	}
	memcpy(to->body, from->body, from->body_len + 1);
	if (from->chain)
		memcpy(to->chain, from->chain, from->chain_len + 1);
	return 0;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec && a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

void collateral_release(struct collateral_kept *k)
{
	if (!k || atomic_fetch_sub(&k->refs, 1) != 1)
		return;
	json_decref(k->body);
	json_decref(k->chain);
	collateral_item_free(&k->item);
	free(k);
}

// Takes the item over, also when there is no memory.
static struct collateral_kept *keep(struct collateral_item *i)
{
	struct collateral_kept *k = calloc(1, sizeof *k);
	if (!k) {
		collateral_item_free(i);
		return NULL;
	}
	atomic_init(&k->refs, 1);
	k->item = *i;
	k->body = collateral_body_text(i);
	k->chain = i->chain ? json_stringn(i->chain, i->chain_len) : NULL;
	if (k->body && (k->chain || !i->chain))
		return k;
	collateral_release(k);
	return NULL;
}

static struct collateral_kept *cache_get(struct collateral_store *s, const char *name, const struct stat *st)
{
	struct collateral_kept *found = NULL;
	pthread_mutex_lock(&s->lock);
	for (unsigned int n = 0; n < CACHE_ITEMS && !found; n++) {
		if (s->cache[n].kept && same_file(&s->cache[n].st, st) && !strcmp(s->cache[n].kept->item.key.name, name))
			found = s->cache[n].kept;
	}
	if (found)
		atomic_fetch_add(&found->refs, 1);
	pthread_mutex_unlock(&s->lock);
	return found;
}

static void cache_put(struct collateral_store *s, const struct stat *st, struct collateral_kept *k)
{
	if (k->item.body_len > CACHE_MAX_BODY)
		return;
	atomic_fetch_add(&k->refs, 1);
	pthread_mutex_lock(&s->lock);
	unsigned int at = s->next;
	for (unsigned int n = 0; n < CACHE_ITEMS; n++) {	// an older state of the same item first
		if (s->cache[n].kept && !strcmp(s->cache[n].kept->item.key.name, k->item.key.name))
			at = n;
	}
	if (at == s->next)
		s->next = (s->next + 1) % CACHE_ITEMS;
	struct collateral_kept *old = s->cache[at].kept;
	s->cache[at].kept = k;
	s->cache[at].st = *st;
	pthread_mutex_unlock(&s->lock);
	collateral_release(old);
}

int collateral_borrow(struct collateral_store *s, const struct collateral_key *k, struct collateral_kept **out, struct fault *f)
{
	char path[PATH_MAX], *text;
	struct collateral_item i = {.body = NULL};
	struct fault why = {""};
	struct stat st;
	size_t len;
	// Looked at before it is read: a change in between shows the next time.
	if (stat(file_of(s, k->name, path), &st) < 0)
		return fault_errno(f, errno, "cannot open %s", path);
	*out = cache_get(s, k->name, &st);
	if (*out)
		return 0;
	int err = file_read(path, MAX_FILE, &text, &len, f);
	if (err)
		return err;
	err = collateral_item_read(&i, text, len, &why);
	free(text);
	if (!err && strcmp(i.key.name, k->name)) {
		collateral_item_free(&i);
		err = fault_set(&why, -EINVAL, "it holds another item (%s)", i.key.name);
	}
	if (err)
		return fault_set(f, err, "%s is damaged: %s", path, why.text);
	*out = keep(&i);
	if (!*out)
		return fault_set(f, -ENOMEM, "out of memory");
	cache_put(s, &st, *out);
	return 0;
}

int collateral_get(struct collateral_store *s, const struct collateral_key *k, struct collateral_item *i, struct fault *f)
{
	struct collateral_kept *kept;
	memset(i, 0, sizeof *i);
	int err = collateral_borrow(s, k, &kept, f);
	if (err)
		return err;
	if (copy_item(i, &kept->item))
		err = fault_set(f, -ENOMEM, "out of memory");
	collateral_release(kept);
	return err;
}

// A file's text; free() by the caller.
static char *item_text(const struct collateral_item *i)
{
	char stamp[32], *base64 = NULL, *text = NULL;
	json_t *o = json_object(), *body = i->key.kind == COLLATERAL_VCEK ? NULL : json_stringn(i->body, i->body_len);
	set_text(o, "format", COLLATERAL_FORMAT);
	set_text(o, "path", i->key.path);
	set_text(o, "source", i->source);
	set_text(o, "fetched", time_text(stamp, i->fetched));
	if (i->chain)
		json_object_set_new(o, "issuer_chain", json_stringn(i->chain, i->chain_len));
	if (body) {	// readable where it is text
		json_object_set_new(o, "text", body);
	} else if ((base64 = malloc(BASE64_SIZE(i->body_len)))) {
		base64_encode(base64, i->body, i->body_len, BASE64_STD);
		set_text(o, "bytes", base64);
	}
	if (body || base64)
		text = json_dumps(o, JSON_INDENT(2));
	free(base64);
	json_decref(o);
	return text;
}

// Lists of roots and certificates of chips come without a chain: nothing here proves their dates. One that lies ahead neither pushes out
// what is there nor keeps out what comes.
static bool ahead(const struct collateral_item *i)
{
	return !i->maker_root && i->issued > time(NULL) + 86400;
}

// The one that `i` would replace is newer.
static bool is_older(const struct collateral_item *i, const struct collateral_item *there)
{
	if (ahead(i) != ahead(there))
		return ahead(i);
	if (i->evaluation >= 0 && there->evaluation >= 0 && i->evaluation != there->evaluation)
		return i->evaluation < there->evaluation;
	return i->issued >= 0 && i->issued < there->issued;
}

int collateral_put(struct collateral_store *s, const struct collateral_item *i, struct fault *f)
{
	char path[PATH_MAX], mine[32], theirs[32], *text = NULL;
	struct collateral_item there;
	int err = 0, fd = open(s->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return fault_errno(f, errno, "cannot open %s", s->dir);
	if (flock(fd, LOCK_EX) < 0) {
		err = fault_errno(f, errno, "cannot lock %s", s->dir);
		goto out;
	}
	if (!collateral_get(s, &i->key, &there, NULL)) {	// a damaged one may be replaced by anything
		// A root that is the maker's is not pushed out by one that is not.
		if (there.maker_root && !i->maker_root)
			err = fault_set(f, -ESTALE, "it is signed under '%s', which is not its maker's root as of the one that is there", i->signer);
		else if (is_older(i, &there) && there.maker_root == i->maker_root)
			err = fault_set(f, -ESTALE, ahead(i) ? "it is from %s, which has not come, and one from %s is there already" :
					"it is from %s, and a newer one, from %s, is there already", time_text(mine, i->issued), time_text(theirs, there.issued));
		collateral_item_free(&there);
	}
	if (err)
		goto out;
	text = item_text(i);
	err = text ? file_write(file_of(s, i->key.name, path), text, strlen(text), 0644, false, f) : fault_set(f, -ENOMEM, "out of memory");
out:
	free(text);
	close(fd);
	return err;
}

int collateral_remove(struct collateral_store *s, const struct collateral_key *k, struct fault *f)
{
	char path[PATH_MAX];
	return unlink(file_of(s, k->name, path)) < 0 ? fault_errno(f, errno, "cannot remove %s", path) : 0;
}

static int is_item(const struct dirent *d)
{
	size_t n = strlen(d->d_name);
	return n > 5 && !strcmp(d->d_name + n - 5, ".json") && d->d_name[0] != '.';
}

int collateral_each(struct collateral_store *s, int (*each)(void *ctx, const char *file, const struct collateral_item *i, const char *why),
		    void *ctx, struct fault *f)
{
	struct dirent **names;
	int result = 0, count = scandir(s->dir, &names, is_item, alphasort);
	if (count < 0)
		return fault_errno(f, errno, "cannot read %s", s->dir);
	for (int n = 0; n < count; n++) {
		char path[PATH_MAX], *text = NULL;
		struct collateral_item item = {.body = NULL};
		struct fault why = {""};
		size_t len;
		const char *name = names[n]->d_name;
		snprintf(path, sizeof path, "%s/%s", s->dir, name);
		int err = file_read(path, MAX_FILE, &text, &len, &why);
		if (!err)
			err = collateral_item_read(&item, text, len, &why);
		if (!err && (strncmp(item.key.name, name, strlen(name) - 5) || item.key.name[strlen(name) - 5]))
			err = fault_set(&why, -EINVAL, "it holds another item (%s)", item.key.name);
		if (!result)
			result = each(ctx, name, err ? NULL : &item, why.text);
		collateral_item_free(&item);
		free(text);
		free(names[n]);
	}
	free(names);
	return result;
}
