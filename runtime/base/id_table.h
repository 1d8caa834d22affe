/* SPDX-License-Identifier: Apache-2.0 */
/* id_table.h - slots named by generation-tagged ids.
 *
 * Role:    a completion that arrives for a closed object finds nothing instead
 *          of somebody else's object.
 * Thread:  one owner adds and removes. Another thread may find an id while
 *          the owner adds others, never while the owner removes that one.
 * Memory:  stores borrowed pointers. Slots never move: the table grows by
 *          segments that double, and its count may be read by anybody. */
#ifndef RSL_BASE_ID_TABLE_H
#define RSL_BASE_ID_TABLE_H

#include <stdatomic.h>
#include <stdint.h>

#include <rsl/status.h>

/* 56 bits: 24 of generation over 32 of slot. Never 0. */
typedef struct rsl_id_slot {
    void *object;        /* NULL when free */
    uint32_t generation; /* of the current or next occupant, 1 .. 2^24-1 */
    uint32_t next_free;  /* slot + 1; 0 ends the list */
} rsl_id_slot;

enum {
    RSL_ID_SEGMENT_MIN = 64, /* slots of segment 0; each next one doubles */
    RSL_ID_SEGMENTS = 24,    /* 2^30 slots: far past any RLIMIT_NOFILE */
};

typedef struct rsl_id_table {
    rsl_id_slot *segments[RSL_ID_SEGMENTS];
    uint32_t cap;       /* slots of all segments */
    uint32_t fresh;     /* slots from here on were never used */
    uint32_t free_head; /* slot + 1 */
    atomic_uint count;  /* objects */
} rsl_id_table;

void rsl_id_table_init(rsl_id_table *table);
void rsl_id_table_fini(rsl_id_table *table);

/* RSL_NOMEM leaves the table as it was. */
rsl_status rsl_id_table_add(rsl_id_table *table, void *object, uint64_t *out);

/* The object, or NULL for an id that was removed. */
void *rsl_id_table_find(const rsl_id_table *table, uint64_t id);

void rsl_id_table_remove(rsl_id_table *table, uint64_t id);

/* Slots 0 .. cap-1 for walking; NULL for free ones. */
void *rsl_id_table_at(const rsl_id_table *table, uint32_t slot);

#endif
