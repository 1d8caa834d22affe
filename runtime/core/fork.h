/* SPDX-License-Identifier: Apache-2.0 */
/* fork.h - telling a process from the one that it was forked from.
 *
 * Role:    a generation that grows in every forked child.
 * Thread:  any.
 * Memory:  none. */
#ifndef RSL_CORE_FORK_H
#define RSL_CORE_FORK_H

#include <stdint.h>

#include <rsl/status.h>

/* Start counting, once a process. */
rsl_status rsl_fork_watch(rsl_err *err);

/* How many forks are between this process and the first one that watched. */
uint32_t rsl_fork_generation(void);

#endif
