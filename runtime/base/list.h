/* SPDX-License-Identifier: Apache-2.0 */
/* list.h - circular intrusive list.
 *
 * Role:    O(1) insert and remove of things that know their place.
 * Thread:  whoever owns the list.
 * Memory:  none; links live in their owners. */
#ifndef RSL_BASE_LIST_H
#define RSL_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

typedef struct rsl_list {
    struct rsl_list *prev, *next;
} rsl_list;

#define RSL_LIST_ENTRY(link, type, field) \
    ((type *)(void *)((char *)(link) - offsetof(type, field)))

static inline void
rsl_list_init(rsl_list *list)
{
    list->prev = list->next = list;
}

static inline bool
rsl_list_is_empty(const rsl_list *list)
{
    return list->next == list;
}

/* True for a link that is in some list (or a list that is not empty). */
static inline bool
rsl_list_is_linked(const rsl_list *link)
{
    return link->next != link;
}

static inline void
rsl_list_push(rsl_list *list, rsl_list *link)
{
    link->prev = list->prev;
    link->next = list;
    list->prev->next = link;
    list->prev = link;
}

/* Safe on an unlinked link. */
static inline void
rsl_list_remove(rsl_list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    rsl_list_init(link);
}

/* Move everything in `from` to the end of `to`. */
static inline void
rsl_list_splice(rsl_list *to, rsl_list *from)
{
    if (rsl_list_is_empty(from)) {
        return;
    }
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    rsl_list_init(from);
}

#endif
