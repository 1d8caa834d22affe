/* SPDX-License-Identifier: Apache-2.0 */
#include <time.h>

#include <rsl/runtime.h>

int64_t
rsl_clock_now_ns(void)
{
    struct timespec now;

    /* Cannot fail: the clock exists and the pointer is good. */
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
