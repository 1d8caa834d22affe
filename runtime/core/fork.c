/* SPDX-License-Identifier: Apache-2.0 */
#include "core/fork.h"

#include "core/runtime_impl.h"

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static int fork_watch_code; /* written inside the once */
static atomic_uint fork_generation;

/* The child has one thread and perhaps the locks of others: an increment is
 * all that is done here. */
static void
fork_in_child(void)
{
    atomic_fetch_add(&fork_generation, 1);
}

static void
fork_watch_once(void)
{
    fork_watch_code = pthread_atfork(NULL, NULL, fork_in_child);
}

rsl_status
rsl_fork_watch(rsl_err *err)
{
    pthread_once(&fork_once, fork_watch_once);
    if (fork_watch_code != 0) {
        *err = (rsl_err){.code = fork_watch_code, .call = "pthread_atfork"};
        return RSL_OS;
    }
    return RSL_OK;
}

uint32_t
rsl_fork_generation(void)
{
    return atomic_load(&fork_generation);
}

bool
rsl_runtime_is_forked(const rsl_runtime *rt)
{
    return rt->fork_generation != rsl_fork_generation();
}
