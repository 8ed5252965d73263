// SPDX-License-Identifier: Apache-2.0
// Intrusive doubly linked lists. Locking is the caller's.
#pragma once
#include "kernel/include/types.h"

struct list {
	struct list *next, *prev;
};

#define LIST_INIT(name) { &(name), &(name) }
static inline void list_init(struct list *l) { l->next = l->prev = l; }
static inline bool list_empty(const struct list *l) { return l->next == l; }
static inline void list_insert(struct list *n, struct list *prev, struct list *next)
{
	n->prev = prev;
	n->next = next;
	prev->next = n;
	next->prev = n;
}
static inline void list_add(struct list *n, struct list *head) { list_insert(n, head, head->next); }
static inline void list_add_tail(struct list *n, struct list *head) { list_insert(n, head->prev, head); }
// Removes and re-initialises, so that list_empty(n) tells whether n is on a list.
static inline void list_del(struct list *n)
{
	n->prev->next = n->next;
	n->next->prev = n->prev;
	list_init(n);
}
static inline void list_splice_tail(struct list *from, struct list *head)
{
	if (list_empty(from))
		return;
	from->next->prev = head->prev;
	head->prev->next = from->next;
	from->prev->next = head;
	head->prev = from->prev;
	list_init(from);
}
#define list_entry(p, t, m) container_of(p, t, m)
#define list_first(head, t, m) list_entry((head)->next, t, m)
#define list_for_each(pos, head, m)                                                                \
	for (pos = list_entry((head)->next, __typeof__(*pos), m); &pos->m != (head);                 \
	     pos = list_entry(pos->m.next, __typeof__(*pos), m))
#define list_for_each_safe(pos, tmp, head, m)                                                      \
	for (pos = list_entry((head)->next, __typeof__(*pos), m),                                    \
	    tmp = list_entry(pos->m.next, __typeof__(*pos), m);                                      \
	     &pos->m != (head); pos = tmp, tmp = list_entry(tmp->m.next, __typeof__(*tmp), m))
