// SPDX-License-Identifier: Apache-2.0
// Doubly linked lists, as the kernel's: a node within what is listed. Pure; no locks.
#ifndef COFFER_TUNNEL_LIST_H
#define COFFER_TUNNEL_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list_node {
	struct list_node *next, *prev;	// of one that is in no list: NULL
};

#define list_entry(node_, type_, member_) ((type_ *)((char *)(node_) - offsetof(type_, member_)))
#define list_each(node_, head_) for (struct list_node *node_ = (head_)->next; node_ != (head_); node_ = node_->next)
// While members leave the list.
#define list_each_safe(node_, head_) \
	for (struct list_node *node_ = (head_)->next, *next_ = node_->next; node_ != (head_); node_ = next_, next_ = node_->next)

static inline void list_head(struct list_node *h)
{
	h->next = h->prev = h;
}

static inline bool list_empty(const struct list_node *h)
{
	return h->next == h;
}

static inline bool list_has(const struct list_node *n)
{
	return n->next;
}

static inline void list_add_last(struct list_node *h, struct list_node *n)
{
	n->prev = h->prev;
	n->next = h;
	h->prev->next = n;
	h->prev = n;
}

// Fine when it is in none.
static inline void list_remove(struct list_node *n)
{
	if (!n->next)
		return;
	n->prev->next = n->next;
	n->next->prev = n->prev;
	n->next = n->prev = NULL;
}

#endif
