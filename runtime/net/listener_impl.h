/* SPDX-License-Identifier: Apache-2.0 */
/* listener_impl.h - the inside of rsl_listener, for net/ and io/.
 *
 * Role:    one listening fd and whether it accepts.
 * Thread:  loop thread.
 * Memory:  lives in the runtime's id table from open to close. */
#ifndef RSL_NET_LISTENER_IMPL_H
#define RSL_NET_LISTENER_IMPL_H

#include <stdbool.h>

#include <rsl/listener.h>

#include "base/list.h"

/*             pause                      close, from both: gone
 *  ACCEPTING <------> PAUSED
 *             resume */
typedef enum rsl_listener_state {
    RSL_LISTENER_PAUSED,
    RSL_LISTENER_ACCEPTING,
} rsl_listener_state;

struct rsl_listener {
    rsl_runtime *rt;          /* [K] */
    void *owner;              /* [K] */
    uint64_t id;              /* [K] */
    int fd;                   /* [K] */
    rsl_listener_state state; /* [L] a backend that reports ACCEPT_ERROR sets
                               * PAUSED */
    uint32_t io_flags;        /* [L] backend's own */
    rsl_list io_link;         /* [L] backend's own */
};

#endif
