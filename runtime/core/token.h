/* SPDX-License-Identifier: Apache-2.0 */
/* token.h - who may poll and read: nobody, the loop thread, the runtime thread.
 *
 * Role:    a try-lock with two named holders; nobody ever waits for it.
 * Thread:  try_take and release by the two threads named.
 * Memory:  embedded. */
#ifndef RSL_CORE_TOKEN_H
#define RSL_CORE_TOKEN_H

#include <stdatomic.h>
#include <stdbool.h>

typedef enum rsl_token_holder {
    RSL_TOKEN_FREE = 0,
    RSL_TOKEN_LOOP,
    RSL_TOKEN_RUNTIME,
} rsl_token_holder;

typedef struct rsl_token {
    atomic_int holder;
} rsl_token;

void rsl_token_init(rsl_token *token);

/* True when the token was free and is now `self`'s. */
bool rsl_token_try_take(rsl_token *token, rsl_token_holder self);

/* Give it back. The seq_cst exchange pairs with rsl_mailbox_park(): the caller
 * then looks at mailbox.asleep and wakes a sleeper that has no driver. */
void rsl_token_release(rsl_token *token, rsl_token_holder self);

rsl_token_holder rsl_token_holder_now(const rsl_token *token);

#endif
