/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.h - what rsl_runtime_close() needs of the endpoints.
 *
 * Thread:  the loop's owner.
 * Memory:  see rsl/metrics.h. */
#ifndef RSL_SIGHT_METRICS_H
#define RSL_SIGHT_METRICS_H

#include <rsl/metrics.h>

/* The runtime thread is gone: close all endpoints. */
void rsl_metrics_fini(rsl_runtime *rt);

#endif
