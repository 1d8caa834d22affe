/* SPDX-License-Identifier: Apache-2.0 */
/* registry.h - the runtimes of this process.
 *
 * Role:    lets one endpoint show all loops, and keeps the sums of those that
 *          are gone.
 * Thread:  any; a lock, which is held for as long as figures are copied.
 * Memory:  linked into rsl_runtime, from new to free. */
#ifndef RSL_SIGHT_REGISTRY_H
#define RSL_SIGHT_REGISTRY_H

#include <stddef.h>

#include <rsl/stats.h>

/* Give `rt` its number, and know it until rsl_registry_remove(). */
void rsl_registry_add(rsl_runtime *rt);
void rsl_registry_remove(rsl_runtime *rt);

typedef struct rsl_registry_entry {
    uint64_t number; /* 1 is the first loop of the process */
    const char *backend;
    rsl_stats_taken taken;
} rsl_registry_entry;

/* It is closed, and shown no more; its figures still count. */
void rsl_registry_hide(rsl_runtime *rt);

/* The figures of at most `cap` open runtimes, oldest first; how many there
 * are. */
size_t rsl_registry_take(rsl_registry_entry *out, size_t cap);

#endif
