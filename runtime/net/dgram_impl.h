/* SPDX-License-Identifier: Apache-2.0 */
/* dgram_impl.h - the inside of rsl_dgram, for net/ and io/.
 *
 * Role:    one datagram fd and what is wanted of it.
 * Thread:  loop thread.
 * Memory:  lives in the runtime's id table from open to close. */
#ifndef RSL_NET_DGRAM_IMPL_H
#define RSL_NET_DGRAM_IMPL_H

#include <rsl/dgram.h>

#include "base/list.h"

struct rsl_dgram {
    rsl_runtime *rt;   /* [K] */
    void *owner;       /* [K] */
    uint64_t id;       /* [K] */
    int fd;            /* [K] */
    unsigned wants;    /* [L] mask of RSL_WATCH_* */
    uint32_t io_flags; /* [L] backend's own */
    rsl_list io_link;  /* [L] backend's own */
};

#endif
