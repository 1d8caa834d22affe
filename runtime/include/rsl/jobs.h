/* SPDX-License-Identifier: Apache-2.0 */
/* jobs.h - blocking work on native threads.
 *
 * Role:    a bounded pool of the process for calls that block or compute for
 *          long. Look-ups have their own (resolver.h).
 * Thread:  any.
 * Memory:  what is queued in a parent is forgotten by a forked child. */
#ifndef RSL_JOBS_H
#define RSL_JOBS_H

#include <rsl/status.h>

/* Call run(arg) on a thread of the pool, once. RSL_NOMEM, or RSL_OS when there
 * is no thread and none can be made: run() is not called. */
rsl_status rsl_job_submit(void (*run)(void *arg), void *arg, rsl_err *err);

#endif
