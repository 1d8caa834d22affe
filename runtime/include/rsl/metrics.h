/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.h - the figures of all loops of the process, over HTTP.
 *
 * Role:    answers GET /metrics in OpenMetrics text on the runtime thread, also
 *          while the loop thread is stuck.
 * Thread:  the loop's owner.
 * Memory:  an endpoint belongs to its runtime, and ends with it. */
#ifndef RSL_METRICS_H
#define RSL_METRICS_H

#include <rsl/runtime.h>

/* Answer whoever connects to `fd`, a listening stream socket, which is adopted
 * and made non-blocking. *out names the endpoint. RSL_OS with *err,
 * RSL_CLOSED, RSL_FORKED, RSL_NOMEM. */
rsl_status
rsl_metrics_open(rsl_runtime *rt, int fd, uint64_t *out, rsl_err *err);

/* Close the endpoint and its connections. Nothing for a name that is gone. */
void rsl_metrics_close(rsl_runtime *rt, uint64_t name);

#endif
