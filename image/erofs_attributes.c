// SPDX-License-Identifier: Apache-2.0
// Owners, modes and extended attributes into an EROFS image (Linux fs/erofs/erofs_fs.h) that mkfs.erofs made without them: it would take them from
// files that whoever builds cannot make. Owners and modes are changed where the inode lies. An inode with extended attributes is longer: it moves,
// with the tail of its content, behind all else, and the names that lead to it get its new number. The image is checked as if it came from elsewhere.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/attributes.h"

enum { BLOCK = 4096, SUPER = 1024, SLOT = 32, XATTR_HEADER = 12, PLAIN = 0, INLINE = 2, MOST_DEPTH = 2048 };
enum { SUPER_CHECKSUM = 4, SUPER_COMPAT = 8, SUPER_BITS = 12, SUPER_ROOT = 14, SUPER_BLOCKS = 36, SUPER_META = 40, SUPER_INCOMPAT = 80 };
enum { INODE_ICOUNT = 2, INODE_MODE = 4, INODE_SIZE = 8, INODE_BLOCK = 16, INODE_UID = 24 };
#define MAGIC 0xe0f5e1e2u
#define HAS_CHECKSUM 1u

struct image {
	uint8_t *map;
	uint64_t size, end;		// of the map, and of what is used of it
	uint64_t meta;			// byte offset of inode 0
	struct move {
		uint64_t from, to;	// inode numbers; from 0: free
	} *moves;			// an open-addressing table
	size_t move_count, move_room;
	struct attributes_list *list;
	uint64_t names;			// visited in this pass: no more than there is room for
};

struct inode {
	uint64_t at;			// byte offset
	uint64_t size, data, tail;	// bytes of content; offset of its whole blocks; offset of its tail, 0: none
	uint32_t head, xattrs, mode;
};

static uint64_t get(const struct image *m, uint64_t at, unsigned int bytes)
{
	uint64_t v = 0;

	memcpy(&v, m->map + at, bytes); // little-endian, as the machine
	return v;
}

static void put(const struct image *m, uint64_t at, uint64_t v, unsigned int bytes) { memcpy(m->map + at, &v, bytes); }

static uint32_t crc32c(const uint8_t *p, size_t n)
{
	uint32_t crc = ~0u;

	while (n--) {
		crc ^= *p++;
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return crc;
}

static uint32_t super_checksum(const struct image *m)
{
	uint32_t was = (uint32_t)get(m, SUPER + SUPER_CHECKSUM, 4), crc;

	put(m, SUPER + SUPER_CHECKSUM, 0, 4);
	crc = crc32c(m->map + SUPER, BLOCK - SUPER);
	put(m, SUPER + SUPER_CHECKSUM, was, 4);
	return crc;
}

// -EIO: not where or what it should be.
static int get_inode(const struct image *m, uint64_t number, struct inode *i)
{
	uint32_t format, icount;
	uint64_t whole;

	*i = (struct inode){0};
	if (number > m->end / SLOT)
		return -EIO;
	i->at = m->meta + number * SLOT;
	if (i->at + SLOT > m->end)
		return -EIO;
	format = (uint32_t)get(m, i->at, 2);
	icount = (uint32_t)get(m, i->at + INODE_ICOUNT, 2);
	i->head = format & 1 ? 64 : 32;
	i->xattrs = icount ? XATTR_HEADER + (icount - 1) * 4 : 0;
	if (i->at + i->head + i->xattrs > m->end || ((format >> 1 & 7) != PLAIN && (format >> 1 & 7) != INLINE))
		return -EIO;
	i->mode = (uint32_t)get(m, i->at + INODE_MODE, 2);
	if (!S_ISREG(i->mode) && !S_ISDIR(i->mode) && !S_ISLNK(i->mode))
		return -EIO;
	i->size = get(m, i->at + INODE_SIZE, format & 1 ? 8 : 4);
	if (i->size > m->end)
		return -EIO;
	whole = (i->size + BLOCK - 1) / BLOCK * BLOCK;
	if ((format >> 1 & 7) == INLINE && i->size) {
		whole = (i->size - 1) / BLOCK * BLOCK;
		i->tail = i->at + i->head + i->xattrs;
		if (i->tail + (i->size - whole) > m->end)
			return -EIO;
	}
	i->data = get(m, i->at + INODE_BLOCK, 4) * BLOCK;
	return whole && (i->data > m->end || whole > m->end - i->data) ? -EIO : 0;
}

// ---- numbers that changed ----

static struct move *find_move(const struct image *m, uint64_t from)
{
	size_t i = (from * 0x9e3779b97f4a7c15u >> 20) & (m->move_room - 1);

	while (m->moves[i].from && m->moves[i].from != from)
		i = (i + 1) & (m->move_room - 1);
	return m->moves + i;
}

static unsigned int prefix_index(const char *name, size_t *skip)
{
	*skip = starts_with(name, "user.") ? 5 : starts_with(name, "trusted.") ? 8 : 9;
	return *skip == 5 ? 1 : *skip == 8 ? 4 : 6; // EROFS_XATTR_INDEX_USER, _TRUSTED, _SECURITY
}

static uint32_t xattrs_size(const struct file_attributes *a)
{
	uint32_t n = XATTR_HEADER;
	size_t skip;

	for (size_t i = 0; i < a->xattr_count; i++) {
		prefix_index(a->xattrs[i].name, &skip);
		n += (uint32_t)(4 + strlen(a->xattrs[i].name) - skip + a->xattrs[i].len + 3) & ~3u;
	}
	return n;
}

// Behind all else; the tail of the content must not cross a block's end.
static int move_inode(struct image *m, uint64_t number, const struct inode *i, const struct file_attributes *a)
{
	uint32_t tail = i->tail ? (uint32_t)(i->size - (i->size - 1) / BLOCK * BLOCK) : 0, size = xattrs_size(a);
	uint64_t to = (m->end + SLOT - 1) / SLOT * SLOT, at;

	if (i->xattrs || tail > BLOCK - SLOT || m->move_count + 1 >= m->move_room)
		return -EIO;
	while (tail && (to + i->head + size) % BLOCK + tail > BLOCK)
		to += SLOT;
	if (to + i->head + size + tail > m->size)
		return -EIO;
	memcpy(m->map + to, m->map + i->at, i->head);
	put(m, to + INODE_ICOUNT, 1 + (size - XATTR_HEADER) / 4, 2);
	at = to + i->head + XATTR_HEADER;
	for (size_t k = 0; k < a->xattr_count; k++) {
		const struct file_xattr *x = a->xattrs + k;
		unsigned int index;
		size_t skip, n;

		index = prefix_index(x->name, &skip);
		n = strlen(x->name) - skip;
		put(m, at, n, 1);
		put(m, at + 1, index, 1);
		put(m, at + 2, x->len, 2);
		memcpy(m->map + at + 4, x->name + skip, n);
		memcpy(m->map + at + 4 + n, x->value, x->len);
		at += (4 + n + x->len + 3) & ~(uint64_t)3;
	}
	memcpy(m->map + at, m->map + i->tail, tail);
	m->end = at + tail;
	*find_move(m, number) = (struct move){number, (to - m->meta) / SLOT};
	m->move_count++;
	return 0;
}

// ---- the tree ----

typedef int visit_name(struct image *m, uint64_t dirent, const char *path, int depth);

static int set_one(struct image *m, uint64_t number, const char *path)
{
	struct attributes_row *row = attributes_find(m->list, path);
	struct inode i;
	int err = get_inode(m, number, &i);
	unsigned int wide;

	if (err || !row || row->a.kind != (S_ISDIR(i.mode) ? 'd' : S_ISLNK(i.mode) ? 'l' : 'f'))
		return err;
	wide = i.head == 64 ? 4 : 2;
	if (wide == 2 && (row->a.uid > UINT16_MAX || row->a.gid > UINT16_MAX))
		return -EIO; // mkfs.erofs was told to make the longer inodes
	if (!S_ISLNK(i.mode))
		put(m, i.at + INODE_MODE, (i.mode & S_IFMT) | row->a.mode, 2);
	put(m, i.at + INODE_UID, row->a.uid, wide);
	put(m, i.at + INODE_UID + wide, row->a.gid, wide);
	row->used = true;
	// Another name of it may have been here before: the first one's attributes count, as they are the same.
	return row->a.xattr_count && find_move(m, number)->from != number ? move_inode(m, number, &i, &row->a) : 0;
}

// Calls `visit` for each name in a folder, with the place of its entry.
static int each_name(struct image *m, uint64_t number, const char *path, int depth, visit_name *visit)
{
	struct inode dir;
	int err = depth > MOST_DEPTH ? -ELOOP : get_inode(m, number, &dir);

	if (!err && !S_ISDIR(dir.mode))
		err = -EIO;
	for (uint64_t done = 0; !err && done < dir.size; done += BLOCK) {
		uint64_t n = dir.size - done < BLOCK ? dir.size - done : BLOCK, at = dir.tail && dir.size - done <= BLOCK ? dir.tail : dir.data + done;
		uint64_t first = n >= 12 ? get(m, at + 8, 2) : 0, count = first / 12;

		if (!count || first % 12 || first > n)
			return -EIO;
		for (uint64_t k = 0; !err && k < count; k++) {
			uint64_t from = get(m, at + k * 12 + 8, 2), to = k + 1 < count ? get(m, at + (k + 1) * 12 + 8, 2) : n;
			char *name, *inner;

			if (from < first || to > n || from >= to || ++m->names > m->size / 12)
				return -EIO;
			name = xstrndup((const char *)m->map + at + from, to - from);
			inner = !strcmp(name, ".") || !strcmp(name, "..") ? NULL : xasprintf("%s/%s", path, name);
			err = visit(m, at + k * 12, inner, depth);
			free(inner);
			free(name);
		}
	}
	return err;
}

static int set_name(struct image *m, uint64_t dirent, const char *path, int depth)
{
	uint64_t number = get(m, dirent, 8);
	int err = path ? set_one(m, number, path) : 0;
	struct inode i;

	if (path && !err)
		err = get_inode(m, number, &i);
	return path && !err && S_ISDIR(i.mode) ? each_name(m, number, path, depth + 1, set_name) : err;
}

static int renumber_name(struct image *m, uint64_t dirent, const char *path, int depth)
{
	const struct move *moved = find_move(m, get(m, dirent, 8));
	struct inode i;
	int err;

	if (moved->from)
		put(m, dirent, moved->to, 8);
	err = path ? get_inode(m, get(m, dirent, 8), &i) : 0;
	return path && !err && S_ISDIR(i.mode) ? each_name(m, get(m, dirent, 8), path, depth + 1, renumber_name) : err;
}

// Longest that the moved inodes can become.
static uint64_t room_for(const struct attributes_list *l, size_t *moves)
{
	uint64_t room = BLOCK;

	for (size_t i = 0; i < l->count; i++)
		if (l->rows[i].a.xattr_count) {
			room += 2 * BLOCK + 64 + xattrs_size(&l->rows[i].a);
			++*moves;
		}
	return room;
}

static int set_all(struct image *m)
{
	uint64_t root;
	int err;

	if (get(m, SUPER, 4) != MAGIC || get(m, SUPER + SUPER_BITS, 1) != 12 || get(m, SUPER + SUPER_INCOMPAT, 4) & ~1u)
		return -EIO;
	if (get(m, SUPER + SUPER_COMPAT, 4) & HAS_CHECKSUM && super_checksum(m) != get(m, SUPER + SUPER_CHECKSUM, 4))
		return -EIO;
	m->meta = get(m, SUPER + SUPER_META, 4) * BLOCK;
	root = get(m, SUPER + SUPER_ROOT, 2);
	err = set_one(m, root, "/");
	if (!err)
		err = each_name(m, root, "", 0, set_name);
	m->names = 0;
	if (!err && m->move_count) {
		err = each_name(m, root, "", 0, renumber_name);
		m->end = (m->end + BLOCK - 1) / BLOCK * BLOCK;
		put(m, SUPER + SUPER_BLOCKS, m->end / BLOCK, 4);
	}
	if (get(m, SUPER + SUPER_COMPAT, 4) & HAS_CHECKSUM)
		put(m, SUPER + SUPER_CHECKSUM, super_checksum(m), 4);
	return err;
}

int erofs_set_attributes(const char *image, struct attributes_list *l, struct fault *p)
{
	struct image m = {.list = l, .move_room = 16};
	int fd = l->count ? open(image, O_RDWR | O_CLOEXEC) : -1, err = 0;
	size_t moves = 0;
	struct stat st;

	if (!l->count)
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0) {
		err = fault_errno(p, errno, "cannot open %s", image);
		goto out;
	}
	m.end = (uint64_t)st.st_size;
	m.size = m.end + room_for(l, &moves);
	while (m.move_room < 2 * moves + 2)
		m.move_room *= 2;
	m.moves = xmalloc(m.move_room * sizeof(*m.moves));
	memset(m.moves, 0, m.move_room * sizeof(*m.moves));
	if (ftruncate(fd, (off_t)m.size) < 0) {
		err = fault_errno(p, errno, "cannot write %s", image);
		goto out;
	}
	m.map = mmap(NULL, m.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (m.map == MAP_FAILED) {
		err = fault_errno(p, errno, "cannot map %s", image);
		goto out;
	}
	err = m.end < BLOCK ? -EIO : set_all(&m);
	munmap(m.map, m.size);
	if (err)
		fault_set(p, err, "%s is not as mkfs.erofs makes an image: owners and attributes cannot be set in it", image);
	else if (ftruncate(fd, (off_t)m.end) < 0)
		err = fault_errno(p, errno, "cannot write %s", image);
out:
	if (fd >= 0)
		close(fd);
	free(m.moves);
	return err;
}
