/* SPDX-License-Identifier: Apache-2.0 */
#include "ready.h"

#include <string.h>

enum { READY_CAPACITY_MIN = 256 };

int
pyrsl_ready_init(pyrsl_ready *ready)
{
    memset(ready, 0, sizeof(*ready));
    ready->ring = malloc(READY_CAPACITY_MIN * sizeof(rsl_event));
    if (ready->ring == NULL) {
        return -1;
    }
    ready->mask = READY_CAPACITY_MIN - 1;
    return 0;
}

int
pyrsl_ready_grow(pyrsl_ready *ready)
{
    size_t capacity = ready->mask + 1;
    rsl_event *ring = malloc(2 * capacity * sizeof(rsl_event));
    if (ring == NULL) {
        return -1;
    }
    size_t start = ready->head & ready->mask;
    size_t first = capacity - start;
    memcpy(ring, ready->ring + start, first * sizeof(rsl_event));
    memcpy(ring + first, ready->ring, start * sizeof(rsl_event));
    free(ready->ring);
    ready->ring = ring;
    ready->mask = 2 * capacity - 1;
    ready->head = 0;
    return 0;
}
