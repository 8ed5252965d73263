// SPDX-License-Identifier: Apache-2.0
// What files of an image have that the image/ folder cannot show, as whoever imports need not be root: owners, modes other than 0755 and 0644,
// extended attributes. `coffer import` writes it into image/.coffer/attributes, in the words of mtree(5); `coffer build` puts it into the image.
#ifndef COFFER_IMAGE_ATTRIBUTES_H
#define COFFER_IMAGE_ATTRIBUTES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "image/text.h"
#include "lib/fault.h"

#define ATTRIBUTES_FILE "/.coffer/attributes"	// in image/; not part of the measured image, which has what it says

enum { ATTRIBUTES_MAX_XATTRS = 1 << 16 };	// bytes of one file's extended attributes, as they lie in the image
#define ATTRIBUTES_MAX_ALL (256u << 20)	// of all files of an archive

struct file_xattr {
	char *name;
	uint8_t *value;
	uint16_t len;
};

struct file_attributes {
	char kind;			// 'f'ile, 'd' folder, 'l'ink
	uint16_t mode;			// of links 0777
	uint32_t uid, gid;
	struct file_xattr *xattrs;	// sorted by name
	size_t xattr_count, xattr_bytes;
};

// Adds an extended attribute. 1: kept; 0: none that an image keeps (ACLs, labels and marks of the machine where the file was);
// -E2BIG: too many or too large; -EINVAL: it has another value already.
int file_attributes_add(struct file_attributes *a, const char *name, const void *value, size_t len, struct fault *p);
// The same as what any file of an image has: root's, of a regular mode?
bool file_attributes_plain(const struct file_attributes *a);
void file_attributes_free(struct file_attributes *a);

// Those of a folder that is being filled, by the inode numbers of its files.
struct attributes_map {
	struct attributes_slot {
		uint64_t inode;
		struct file_attributes *a;	// NULL: nothing special
	} *slots;
	size_t count, capacity;		// a power of two, or 0
};

// Takes over what `a` holds. What that inode had before is forgotten.
void attributes_set(struct attributes_map *m, uint64_t inode, struct file_attributes *a);
void attributes_drop(struct attributes_map *m, uint64_t inode);
void attributes_free(struct attributes_map *m);

struct tree;
// Writes the file for all that the tree holds, or removes it where there is nothing to say. Errors: -errno with a message.
int attributes_write(const struct attributes_map *m, struct tree *t, struct fault *p);

// Those of an image that is to be built, by path.
struct attributes_list {
	struct attributes_row {
		char *path;		// "/usr/bin/su"; "/" is the root itself
		struct file_attributes a;
		bool used;
	} *rows;			// sorted by path
	size_t count;
};

// Reads the file's text. -EINVAL with a message that names the line.
int attributes_parse(struct attributes_list *l, const char *text, size_t len, struct fault *p);
// The same of the file in the folder `root`; an empty list where there is none.
int attributes_read(struct attributes_list *l, const char *root, struct fault *p);
struct attributes_row *attributes_find(const struct attributes_list *l, const char *path);
// Is there an owner that needs more than 16 bits?
bool attributes_wide(const struct attributes_list *l);
void attributes_list_free(struct attributes_list *l);

// erofs_attributes.c: puts them into an EROFS image as mkfs.erofs made it, all root's and without extended attributes. Marks the rows that it
// used: those whose path is there, and of that kind. The same image and list give the same bytes. Errors: -errno with a message.
int erofs_set_attributes(const char *image, struct attributes_list *l, struct fault *p);

#endif
