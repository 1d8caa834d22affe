/* SPDX-License-Identifier: Apache-2.0 */
/* wrap.h - libc functions that fail when told to.
 *
 * Role:    linked with --wrap, it stands between the runtime and libc.
 * Thread:  the counters belong to the thread that runs the test.
 * Memory:  none. */
#ifndef WRAP_H
#define WRAP_H

#include <stdbool.h>

/* The `nth` allocation from now on (1: the next) fails, on this thread. 0:
 * none does. */
void wrap_fail_allocation(unsigned nth);

/* True when it has failed meanwhile. */
bool wrap_failed_allocation(void);

/* pthread_create() answers `code` until this is called with 0. */
void wrap_fail_pthread_create(int code);

#endif
