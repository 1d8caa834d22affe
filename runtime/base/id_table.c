/* SPDX-License-Identifier: Apache-2.0 */
#include "base/id_table.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum { ID_GENERATION_MAX = (1 << 24) - 1 };

/* Segment 0 holds slots 0 .. 63, segment k > 0 holds 64 * 2^(k-1) of them from
 * that number on. */
static unsigned
segment_of(uint32_t slot)
{
    uint32_t block = slot / RSL_ID_SEGMENT_MIN;

    return block == 0 ? 0 : 32u - (unsigned)__builtin_clz(block);
}

static uint32_t
segment_first(unsigned segment)
{
    return segment == 0 ? 0 : (uint32_t)RSL_ID_SEGMENT_MIN << (segment - 1);
}

static uint32_t
segment_size(unsigned segment)
{
    return segment == 0 ? RSL_ID_SEGMENT_MIN : segment_first(segment);
}

static rsl_id_slot *
table_slot(const rsl_id_table *table, uint32_t slot)
{
    unsigned segment = segment_of(slot);

    if (segment >= RSL_ID_SEGMENTS || table->segments[segment] == NULL) {
        return NULL;
    }
    return &table->segments[segment][slot - segment_first(segment)];
}

void
rsl_id_table_init(rsl_id_table *table)
{
    memset(table->segments, 0, sizeof table->segments);
    table->cap = 0;
    table->fresh = 0;
    table->free_head = 0;
    atomic_init(&table->count, 0);
}

void
rsl_id_table_fini(rsl_id_table *table)
{
    for (unsigned i = 0; i < RSL_ID_SEGMENTS; i++) {
        free(table->segments[i]);
    }
    rsl_id_table_init(table);
}

static rsl_status
table_grow(rsl_id_table *table)
{
    unsigned segment = segment_of(table->cap);
    uint32_t size = segment_size(segment);
    rsl_id_slot *slots;

    if (segment >= RSL_ID_SEGMENTS) {
        return RSL_NOMEM;
    }
    slots = calloc(size, sizeof *slots);
    if (slots == NULL) {
        return RSL_NOMEM;
    }
    table->segments[segment] = slots;
    table->cap += size;
    return RSL_OK;
}

/* A slot that was used before, or else the lowest that never was: memory is
 * touched as it is needed. */
static rsl_status
table_take_slot(rsl_id_table *table, uint32_t *out)
{
    rsl_status status;

    if (table->free_head != 0) {
        *out = table->free_head - 1;
        table->free_head = table_slot(table, *out)->next_free;
        return RSL_OK;
    }
    if (table->fresh == table->cap) {
        status = table_grow(table);
        if (status != RSL_OK) {
            return status;
        }
    }
    *out = table->fresh++;
    table_slot(table, *out)->generation = 1;
    return RSL_OK;
}

rsl_status
rsl_id_table_add(rsl_id_table *table, void *object, uint64_t *out)
{
    rsl_id_slot *slot;
    uint32_t number;
    rsl_status status;

    assert(object != NULL);
    status = table_take_slot(table, &number);
    if (status != RSL_OK) {
        return status;
    }
    slot = table_slot(table, number);
    assert(slot->object == NULL);
    slot->object = object;
    atomic_fetch_add(&table->count, 1);
    *out = ((uint64_t)slot->generation << 32) | number;
    return RSL_OK;
}

static rsl_id_slot *
table_find(const rsl_id_table *table, uint64_t id)
{
    rsl_id_slot *slot = table_slot(table, (uint32_t)id);

    if (slot == NULL || slot->object == NULL
        || slot->generation != (uint32_t)(id >> 32)) {
        return NULL;
    }
    return slot;
}

void *
rsl_id_table_find(const rsl_id_table *table, uint64_t id)
{
    rsl_id_slot *slot = table_find(table, id);

    return slot == NULL ? NULL : slot->object;
}

void
rsl_id_table_remove(rsl_id_table *table, uint64_t id)
{
    rsl_id_slot *slot = table_find(table, id);

    assert(slot != NULL);
    slot->object = NULL;
    slot->generation =
        slot->generation == ID_GENERATION_MAX ? 1 : slot->generation + 1;
    slot->next_free = table->free_head;
    table->free_head = (uint32_t)id + 1;
    atomic_fetch_sub(&table->count, 1);
}

void *
rsl_id_table_at(const rsl_id_table *table, uint32_t slot)
{
    return slot < table->cap ? table_slot(table, slot)->object : NULL;
}
