/* SPDX-License-Identifier: Apache-2.0 */
#include "sight/registry.h"

#include <pthread.h>
#include <string.h>

#include "core/fork.h"
#include "core/runtime_impl.h"

static struct {
    pthread_mutex_t lock;
    atomic_uint fork_generation; /* of the process in which `lock` is good */
    rsl_list runtimes;           /* oldest first */
    uint64_t last_number;
    uint64_t gone[RSL_STAT_COUNT]; /* sums of those that were freed */
} registry = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .runtimes = {&registry.runtimes, &registry.runtimes},
};

/* In a forked child the lock may be held, and the list be changed, by a thread
 * that is not here: it begins anew, and never touches what was the parent's.
 * Its loop threads are made by its first one, which came here before. */
static void
registry_lock(void)
{
    unsigned generation = rsl_fork_generation();

    if (atomic_load(&registry.fork_generation) != generation) {
        pthread_mutex_init(&registry.lock, NULL);
        rsl_list_init(&registry.runtimes);
        memset(registry.gone, 0, sizeof registry.gone);
        atomic_store(&registry.fork_generation, generation);
    }
    pthread_mutex_lock(&registry.lock);
}

static void
registry_unlock(void)
{
    pthread_mutex_unlock(&registry.lock);
}

void
rsl_registry_add(rsl_runtime *rt)
{
    registry_lock();
    rt->number = ++registry.last_number;
    rsl_list_push(&registry.runtimes, &rt->registry_link);
    registry_unlock();
}

static void
registry_sum(const rsl_runtime *rt, uint64_t out[RSL_STAT_COUNT])
{
    rsl_stats_taken taken;

    rsl_stats_take(rt, &taken);
    for (int i = 0; i < RSL_STAT_COUNT; i++) {
        out[i] += taken.values[i];
    }
}

void
rsl_registry_remove(rsl_runtime *rt)
{
    if (rsl_runtime_is_forked(rt)) {
        return;
    }
    registry_lock();
    registry_sum(rt, registry.gone);
    rsl_list_remove(&rt->registry_link);
    registry_unlock();
}

void
rsl_registry_hide(rsl_runtime *rt)
{
    if (rsl_runtime_is_forked(rt)) {
        return;
    }
    registry_lock();
    rt->hidden = true;
    registry_unlock();
}

size_t
rsl_registry_take(rsl_registry_entry *out, size_t cap)
{
    size_t count = 0;

    registry_lock();
    for (rsl_list *link = registry.runtimes.next; link != &registry.runtimes;
         link = link->next) {
        const rsl_runtime *rt =
            RSL_LIST_ENTRY(link, rsl_runtime, registry_link);

        if (rt->hidden) {
            continue;
        }
        if (count < cap) {
            out[count].number = rt->number;
            out[count].backend = rt->backend_name;
            rsl_stats_take(rt, &out[count].taken);
        }
        count++;
    }
    registry_unlock();
    return count;
}

void
rsl_stats_total(uint64_t out[RSL_STAT_COUNT])
{
    registry_lock();
    memcpy(out, registry.gone, sizeof registry.gone);
    for (rsl_list *link = registry.runtimes.next; link != &registry.runtimes;
         link = link->next) {
        registry_sum(RSL_LIST_ENTRY(link, rsl_runtime, registry_link), out);
    }
    registry_unlock();
}
