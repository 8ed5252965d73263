// SPDX-License-Identifier: Apache-2.0
// Owners, modes and extended attributes of files, in memory and as text (see attributes.h). The text is read as strictly as if it came with the
// archive. No locks: one process works on a project at a time.
#include "image/attributes.h"

#include <errno.h>
#include <fts.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/tree.h"
#include "lib/encode.h"

enum { MOST_TEXT = 1 << 30, MOST_NAME = 255 };

// ---- one file's ----

static bool is_kept(const char *name)
{
	// Labels that belong to the machine on which they were made, and marks of overlay file systems, which would hide files in another one.
	static const char *const machine[] = {"security.selinux", "security.ima", "security.evm"};

	for (int i = 0; i < 3; i++)
		if (!strcmp(name, machine[i]))
			return false;
	if (starts_with(name, "trusted.overlay.") || starts_with(name, "user.overlay."))
		return false;
	return (starts_with(name, "user.") && name[5]) || (starts_with(name, "trusted.") && name[8]) || (starts_with(name, "security.") && name[9]);
}

int file_attributes_add(struct file_attributes *a, const char *name, const void *value, size_t len, struct fault *p)
{
	size_t at = 0, room = (4 + strlen(name) + len + 3) & ~(size_t)3; // an upper bound: the image has the name without its prefix

	if (!is_kept(name))
		return 0;
	if (strlen(name) > MOST_NAME || len > UINT16_MAX || a->xattr_bytes + room > ATTRIBUTES_MAX_XATTRS)
		return fault_set(p, -E2BIG, "the extended attribute %.100s is too large: an image keeps %d bytes of them a file", name, ATTRIBUTES_MAX_XATTRS);
	while (at < a->xattr_count && strcmp(a->xattrs[at].name, name) < 0)
		at++;
	if (at < a->xattr_count && !strcmp(a->xattrs[at].name, name)) {
		if (a->xattrs[at].len == len && (!len || !memcmp(a->xattrs[at].value, value, len))) // some archives have each in two forms
			return 1;
		return fault_set(p, -EINVAL, "the extended attribute %.100s has two values", name);
	}
	a->xattrs = xrealloc(a->xattrs, (a->xattr_count + 1) * sizeof(*a->xattrs));
	memmove(a->xattrs + at + 1, a->xattrs + at, (a->xattr_count - at) * sizeof(*a->xattrs));
	a->xattrs[at] = (struct file_xattr){xstrdup(name), xmalloc(len + 1), (uint16_t)len};
	if (len)
		memcpy(a->xattrs[at].value, value, len);
	a->xattr_count++;
	a->xattr_bytes += room;
	return 1;
}

bool file_attributes_plain(const struct file_attributes *a)
{
	return !a->uid && !a->gid && !a->xattr_count && (a->kind == 'l' || a->mode == 0755 || (a->kind == 'f' && a->mode == 0644));
}

void file_attributes_free(struct file_attributes *a)
{
	for (size_t i = 0; i < a->xattr_count; i++) {
		free(a->xattrs[i].name);
		free(a->xattrs[i].value);
	}
	free(a->xattrs);
	*a = (struct file_attributes){0};
}

// ---- by inode ----

static struct attributes_slot *slot_of(const struct attributes_map *m, uint64_t inode)
{
	size_t i = (inode * 0x9e3779b97f4a7c15u >> 20) & (m->capacity - 1);

	while (m->slots[i].inode && m->slots[i].inode != inode)
		i = (i + 1) & (m->capacity - 1);
	return m->slots + i;
}

static void grow(struct attributes_map *m)
{
	struct attributes_map larger = {.capacity = m->capacity ? m->capacity * 2 : 1024};

	larger.slots = xmalloc(larger.capacity * sizeof(*larger.slots));
	memset(larger.slots, 0, larger.capacity * sizeof(*larger.slots));
	for (size_t i = 0; i < m->capacity; i++)
		if (m->slots[i].a) {
			*slot_of(&larger, m->slots[i].inode) = m->slots[i];
			larger.count++;
		}
	free(m->slots);
	*m = larger;
}

void attributes_drop(struct attributes_map *m, uint64_t inode)
{
	struct attributes_slot *s = m->capacity && inode ? slot_of(m, inode) : NULL;

	if (!s || !s->a)
		return;
	file_attributes_free(s->a);
	free(s->a);
	s->a = NULL;
}

void attributes_set(struct attributes_map *m, uint64_t inode, struct file_attributes *a)
{
	struct attributes_slot *s;

	attributes_drop(m, inode);
	if (file_attributes_plain(a) || !inode) {
		file_attributes_free(a);
		return;
	}
	if (m->count * 2 >= m->capacity)
		grow(m);
	s = slot_of(m, inode);
	m->count += !s->inode;
	s->inode = inode;
	s->a = xmalloc(sizeof(*a));
	*s->a = *a;
	*a = (struct file_attributes){0};
}

void attributes_free(struct attributes_map *m)
{
	for (size_t i = 0; i < m->capacity; i++)
		if (m->slots[i].a) {
			file_attributes_free(m->slots[i].a);
			free(m->slots[i].a);
		}
	free(m->slots);
	*m = (struct attributes_map){0};
}

// ---- as text ----

static void put_name(struct text *t, const char *name)
{
	for (; *name; name++) {
		unsigned char c = (unsigned char)*name;

		if (c <= ' ' || c == '\\' || c == '=' || c == 0x7f)
			text_printf(t, "\\%03o", c);
		else
			text_add(t, name, 1);
	}
}

static void put_row(struct text *t, const char *path, const struct file_attributes *a)
{
	text_puts(t, ".");
	put_name(t, path);
	text_printf(t, " type=%s uid=%u gid=%u", a->kind == 'f' ? "file" : a->kind == 'd' ? "dir" : "link", a->uid, a->gid);
	if (a->kind != 'l')
		text_printf(t, " mode=%04o", a->mode);
	for (size_t i = 0; i < a->xattr_count; i++) {
		char *value = xmalloc(BASE64_SIZE((size_t)a->xattrs[i].len));

		base64_encode(value, a->xattrs[i].value, a->xattrs[i].len, BASE64_STD);
		text_puts(t, " xattr.");
		put_name(t, a->xattrs[i].name);
		text_printf(t, "=%s", value);
		free(value);
	}
	text_puts(t, "\n");
}

static int by_name(const FTSENT **a, const FTSENT **b) { return strcmp((*a)->fts_name, (*b)->fts_name); }

int attributes_write(const struct attributes_map *m, struct tree *t, struct fault *p)
{
	char *paths[] = {t->path, NULL};
	FTS *fts = m->count ? fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, by_name) : NULL;
	struct text out = {0};
	size_t rows = 0;
	FTSENT *e;
	int err = 0;

	if (m->count && !fts)
		return fault_errno(p, errno, "cannot read %s", t->path);
	text_puts(&out, "#mtree\n# Made by coffer import, read by coffer build: what has another owner than root, another mode than 0755 and 0644, or attributes\n");
	while (fts && !err && (errno = 0, e = fts_read(fts))) {
		const struct file_attributes *a;

		if (e->fts_info == FTS_DP)
			continue;
		if (e->fts_info == FTS_DNR || e->fts_info == FTS_ERR || e->fts_info == FTS_NS) {
			err = fault_errno(p, e->fts_errno, "cannot read %s", e->fts_path);
			continue;
		}
		a = slot_of(m, e->fts_statp->st_ino)->a;
		if (!a || a->kind != (S_ISDIR(e->fts_statp->st_mode) ? 'd' : S_ISLNK(e->fts_statp->st_mode) ? 'l' : 'f'))
			continue;
		put_row(&out, e->fts_path + strlen(t->path), a);
		rows++;
	}
	if (fts && !err && errno)
		err = fault_errno(p, errno, "cannot read %s", t->path);
	if (fts)
		fts_close(fts);
	if (!err && out.len > MOST_TEXT) // else nobody could read it
		err = fault_set(p, -E2BIG, "owners and attributes of so many files take more than %d MiB (--all-root leaves them out)", MOST_TEXT >> 20);
	if (!err)
		err = rows ? tree_write_file(t, ATTRIBUTES_FILE, out.data, out.len, false, p) : tree_remove(t, ATTRIBUTES_FILE, p);
	text_free(&out);
	return err;
}

// Takes the escapes out of [s, s+n). False: none that put_name makes, or a control character.
static bool get_name(const char *s, size_t n, char *out, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c == '\\') {
			unsigned int v = 0;

			if (n - i < 4)
				return false;
			for (int k = 1; k < 4; k++) {
				if (s[i + (size_t)k] < '0' || s[i + (size_t)k] > '7')
					return false;
				v = v * 8 + (unsigned int)(s[i + (size_t)k] - '0');
			}
			if (!v || v > 255)
				return false;
			c = (unsigned char)v;
			i += 3;
		} else if (c <= ' ' || c == 0x7f) {
			return false;
		}
		if (used + 1 >= size)
			return false;
		out[used++] = (char)c;
	}
	out[used] = '\0';
	return used;
}

// "./usr/bin" is "/usr/bin": parts that are names, and none of Coffer's own folder.
static char *get_path(const char *s, size_t n)
{
	char path[PATH_MAX];

	if (n == 1 && *s == '.')
		return xstrdup("/");
	if (n < 3 || s[0] != '.' || s[1] != '/' || !get_name(s + 1, n - 1, path, sizeof(path)))
		return NULL;
	for (const char *part = path; *part;) {
		size_t k = strcspn(++part, "/");

		if (!k || k > NAME_MAX || (k <= 2 && !strncmp(part, "..", k)))
			return NULL;
		part += k;
	}
	return starts_with(path, "/.coffer") && (!path[8] || path[8] == '/') ? NULL : xstrdup(path);
}

static bool get_number(const char *s, size_t n, unsigned int base, uint32_t most, uint32_t *out)
{
	uint64_t v = 0;

	if (!n || n > 10)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (s[i] < '0' || s[i] >= (char)('0' + base))
			return false;
		v = v * base + (unsigned int)(s[i] - '0');
	}
	*out = (uint32_t)v;
	return v <= most;
}

static int get_xattr(struct file_attributes *a, const char *word, size_t key, size_t n, struct fault *p)
{
	const char *text = word + key + 1;
	size_t len = n - key - 1;
	uint8_t *value = xmalloc(len + 1);
	char name[MOST_NAME + 1];
	ssize_t size = get_name(word + 6, key - 6, name, sizeof(name)) ? base64_decode(value, len, text, len, BASE64_STD) : -EINVAL;
	int err = size < 0 ? -EINVAL : file_attributes_add(a, name, value, (size_t)size, p);

	free(value);
	return err > 0 ? 0 : err ? err : -EINVAL;
}

enum { HAS_TYPE = 1, HAS_UID = 2, HAS_GID = 4, HAS_MODE = 8 };

static int get_word(struct file_attributes *a, unsigned int *has, const char *word, size_t n, struct fault *p)
{
	static const char *const keys[] = {"type", "uid", "gid", "mode"};
	const char *eq = memchr(word, '=', n);
	size_t key = eq ? (size_t)(eq - word) : 0, k = 0;
	const char *value = word + key + 1;
	size_t len = n - key - 1;
	uint32_t mode;

	if (!eq)
		return -EINVAL;
	if (key > 6 && !memcmp(word, "xattr.", 6))
		return get_xattr(a, word, key, n, p);
	while (k < 4 && (strlen(keys[k]) != key || memcmp(keys[k], word, key)))
		k++;
	if (k == 4 || *has & 1u << k)
		return -EINVAL;
	*has |= 1u << k;
	switch (1u << k) {
	case HAS_TYPE:
		a->kind = len == 4 && !memcmp(value, "file", 4) ? 'f' : len == 3 && !memcmp(value, "dir", 3) ? 'd' : 0;
		if (len == 4 && !memcmp(value, "link", 4))
			a->kind = 'l';
		return a->kind ? 0 : -EINVAL;
	case HAS_UID: return get_number(value, len, 10, UINT32_MAX - 1, &a->uid) ? 0 : -EINVAL;
	case HAS_GID: return get_number(value, len, 10, UINT32_MAX - 1, &a->gid) ? 0 : -EINVAL;
	default:
		if (!get_number(value, len, 8, 07777, &mode))
			return -EINVAL;
		a->mode = (uint16_t)mode;
		return 0;
	}
}

static int get_row(struct attributes_row *r, const char *line, size_t n, struct fault *p)
{
	const char *end = line + n, *space = memchr(line, ' ', n), *at = space ? space : end;
	unsigned int has = 0;
	int err = 0;

	r->path = get_path(line, (size_t)(at - line));
	if (!r->path)
		return -EINVAL;
	while (!err && at < end) {
		const char *word = at + 1;

		space = memchr(word, ' ', (size_t)(end - word));
		at = space ? space : end;
		err = get_word(&r->a, &has, word, (size_t)(at - word), p);
	}
	if (err)
		return err;
	if (!(has & HAS_TYPE) || (r->a.kind == 'l') == !!(has & HAS_MODE)) // all but links have a mode
		return -EINVAL;
	if (r->a.kind == 'l')
		r->a.mode = 0777;
	if (!strcmp(r->path, "/") && (r->a.kind != 'd' || r->a.xattr_count))
		return fault_set(p, -EINVAL, "the root is a folder, and has no extended attributes");
	return 0;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct attributes_row *)a)->path, ((const struct attributes_row *)b)->path);
}

int attributes_parse(struct attributes_list *l, const char *text, size_t len, struct fault *p)
{
	const char *end = text + len;
	size_t room = 0, number = 0;
	struct fault why = {0};
	int err = 0;

	*l = (struct attributes_list){0};
	for (const char *line = text, *next; line < end && !err; line = next) {
		const char *newline = memchr(line, '\n', (size_t)(end - line));
		size_t n = (size_t)((newline ? newline : end) - line);

		next = newline ? newline + 1 : end;
		number++;
		if (!n || *line == '#')
			continue;
		if (l->count == room)
			l->rows = xrealloc(l->rows, (room = room ? room * 2 : 64) * sizeof(*l->rows));
		l->rows[l->count] = (struct attributes_row){0};
		err = get_row(l->rows + l->count++, line, n, &why);
	}
	if (err) {
		fault_set(p, err, "line %zu of image" ATTRIBUTES_FILE " %s%s: %s", number, why.text[0] ? "cannot be: " : "is not understood",
			  why.text, "a line is ./PATH type=file|dir|link [uid=N] [gid=N] [mode=OCTAL, but of links] [xattr.NAME=BASE64]...");
		goto out;
	}
	if (l->count)
		qsort(l->rows, l->count, sizeof(*l->rows), by_path);
	for (size_t i = 1; i < l->count && !err; i++)
		if (!by_path(l->rows + i - 1, l->rows + i))
			err = fault_set(p, -EINVAL, "image" ATTRIBUTES_FILE " has two lines for %.200s", l->rows[i].path);
out:
	if (err)
		attributes_list_free(l);
	return err;
}

int attributes_read(struct attributes_list *l, const char *root, struct fault *p)
{
	char *path = xasprintf("%s%s", root, ATTRIBUTES_FILE);
	struct text text = {0};
	int err = 0;

	*l = (struct attributes_list){0};
	if (!access(path, F_OK)) {
		err = text_read_file(&text, path, MOST_TEXT, p);
		if (!err)
			err = attributes_parse(l, text.data, text.len, p);
	}
	text_free(&text);
	free(path);
	return err;
}

struct attributes_row *attributes_find(const struct attributes_list *l, const char *path)
{
	const struct attributes_row key = {.path = (char *)path};

	return l->count ? bsearch(&key, l->rows, l->count, sizeof(*l->rows), by_path) : NULL;
}

bool attributes_wide(const struct attributes_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		if (l->rows[i].a.uid > UINT16_MAX || l->rows[i].a.gid > UINT16_MAX)
			return true;
	return false;
}

void attributes_list_free(struct attributes_list *l)
{
	for (size_t i = 0; i < l->count; i++) {
		free(l->rows[i].path);
		file_attributes_free(&l->rows[i].a);
	}
	free(l->rows);
	*l = (struct attributes_list){0};
}
