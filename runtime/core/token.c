/* SPDX-License-Identifier: Apache-2.0 */
/* token.c - the try-lock that guards poll and read.
 *
 * Stream order: the runtime thread pushes what it read before its release
 * exchange; the loop thread's successful take reads that exchange's value, so
 * its next drain sees those pushes, before it reads the sockets itself.
 * Liveness: see rsl_token_release() and rsl_runtime_sleep(). */
#include "core/token.h"

#include <assert.h>

void
rsl_token_init(rsl_token *token)
{
    atomic_init(&token->holder, RSL_TOKEN_FREE);
}

bool
rsl_token_try_take(rsl_token *token, rsl_token_holder self)
{
    int expected = RSL_TOKEN_FREE;

    assert(self != RSL_TOKEN_FREE);
    return atomic_compare_exchange_strong(&token->holder, &expected, (int)self);
}

/* Pairs with rsl_runtime_sleep(): the loop thread sets `asleep`, then reads
 * `holder`; we change `holder`, then the caller reads `asleep`. One of the
 * two sees the other. It has to be an RMW (or a fence) and seq_cst: a plain
 * release store may pass the caller's load, and did lose a wake-up. */
void
rsl_token_release(rsl_token *token, rsl_token_holder self)
{
    int holder = atomic_exchange(&token->holder, RSL_TOKEN_FREE);

    assert(holder == (int)self);
    (void)holder, (void)self; /* only assert() reads them */
}

rsl_token_holder
rsl_token_holder_now(const rsl_token *token)
{
    return (rsl_token_holder)atomic_load(&token->holder);
}
