/* SPDX-License-Identifier: Apache-2.0 */
/* openmetrics.h - the figures of loops as OpenMetrics text, version 1.0.0.
 *
 * Thread:  any.
 * Memory:  the text is the caller's. */
#ifndef RSL_SIGHT_OPENMETRICS_H
#define RSL_SIGHT_OPENMETRICS_H

#include "sight/registry.h"
#include "sight/text.h"

#define RSL_OPENMETRICS_TYPE \
    "application/openmetrics-text; version=1.0.0; charset=utf-8"

/* Append those of `count` loops. */
void rsl_openmetrics_write(rsl_text *text, const rsl_registry_entry *loops,
                           size_t count);

#endif
