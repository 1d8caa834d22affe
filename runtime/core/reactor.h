/* SPDX-License-Identifier: Apache-2.0 */
/* reactor.h - the runtime thread's side of rsl/reactor.h.
 *
 * Role:    one watch of the runtime thread's (rsl/rwatch.h).
 * Thread:  loop thread.
 * Memory:  rsl_reactor_new() .. rsl_reactor_free(). */
#ifndef RSL_CORE_REACTOR_H
#define RSL_CORE_REACTOR_H

#include <stdbool.h>

#include <rsl/reactor.h>

rsl_status rsl_reactor_new(rsl_runtime *rt, rsl_reactor **out, rsl_err *err);

/* The runtime thread is gone. Every source is over, unless this is a forked
 * child, where they are forgotten. */
void rsl_reactor_free(rsl_reactor *reactor, bool forked);

#endif
