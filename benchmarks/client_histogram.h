// SPDX-License-Identifier: Apache-2.0
/* client_histogram.h - latencies in buckets that are 1/32 of their value wide,
 * so that a quantile is right to 3 % from nanoseconds to hours. */

#ifndef CLIENT_HISTOGRAM_H
#define CLIENT_HISTOGRAM_H

#include <stdint.h>
#include <string.h>

#define HISTOGRAM_SUB_BITS 5
#define HISTOGRAM_SUB      (1u << HISTOGRAM_SUB_BITS)
#define HISTOGRAM_BUCKETS  ((64 - HISTOGRAM_SUB_BITS) * HISTOGRAM_SUB)

typedef struct {
    uint64_t count;
    uint64_t max_ns;
    uint64_t buckets[HISTOGRAM_BUCKETS];
} histogram;

static inline void
histogram_clear(histogram *h)
{
    memset(h, 0, sizeof(*h));
}

/* Values below 32 have a bucket each; above, the highest 6 bits choose it. */
static inline unsigned
histogram_index(uint64_t ns)
{
    unsigned shift;

    if (ns < HISTOGRAM_SUB) {
        return (unsigned)ns;
    }
    shift = 63u - (unsigned)__builtin_clzll(ns) - HISTOGRAM_SUB_BITS;
    return (unsigned)(ns >> shift) + shift * HISTOGRAM_SUB;
}

/* The middle of a bucket. */
static inline double
histogram_value_ns(unsigned index)
{
    unsigned shift;

    if (index < HISTOGRAM_SUB) {
        return index;
    }
    shift = index / HISTOGRAM_SUB - 1;
    return ((double)(index - shift * HISTOGRAM_SUB) + 0.5)
           * (double)(UINT64_C(1) << shift);
}

static inline void
histogram_add(histogram *h, uint64_t ns)
{
    h->count++;
    h->buckets[histogram_index(ns)]++;
    if (ns > h->max_ns) {
        h->max_ns = ns;
    }
}

static inline double
histogram_quantile_us(const histogram *h, double quantile)
{
    uint64_t wanted = (uint64_t)((double)h->count * quantile);
    uint64_t seen = 0;

    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->buckets[i];
        if (seen > wanted) {
            return histogram_value_ns(i) / 1e3;
        }
    }
    return (double)h->max_ns / 1e3;
}

#endif
