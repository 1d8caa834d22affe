/* SPDX-License-Identifier: Apache-2.0 */
/* id_table.h - slots named by generation-tagged ids.
 *
 * Role:    a completion that arrives for a closed object finds nothing instead
 *          of somebody else's object.
 * Thread:  whoever owns the table.
 * Memory:  stores borrowed pointers. Slot storage never moves while it is
 *          looked up under the owner's lock; it grows by doubling. */
#ifndef RSL_BASE_ID_TABLE_H
#define RSL_BASE_ID_TABLE_H

#include <stdint.h>

#include <rsl/status.h>

/* 56 bits: 24 of generation over 32 of slot. Never 0. */
typedef struct rsl_id_slot {
    void *object;        /* NULL when free */
    uint32_t generation; /* of the current or next occupant, 1 .. 2^24-1 */
    uint32_t next_free;
} rsl_id_slot;

typedef struct rsl_id_table {
    rsl_id_slot *slots;
    uint32_t cap, count, free_head;
} rsl_id_table;

void rsl_id_table_init(rsl_id_table *table);
void rsl_id_table_fini(rsl_id_table *table);

/* RSL_NOMEM leaves the table as it was. */
rsl_status rsl_id_table_add(rsl_id_table *table, void *object, uint64_t *out);

/* The object, or NULL for an id that was removed. */
void *rsl_id_table_find(const rsl_id_table *table, uint64_t id);

void rsl_id_table_remove(rsl_id_table *table, uint64_t id);

/* Slots 0 .. cap-1 for walking; NULL for free ones. */
static inline void *
rsl_id_table_at(const rsl_id_table *table, uint32_t slot)
{
    return table->slots[slot].object;
}

#endif
