/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "io_cases.h"

int
main(void)
{
    rsl_info info;

    io_backend = RSL_BACKEND_IO_URING;
    rsl_backend_probe(io_backend, &info);
    if (strcmp(info.backend, "io_uring") != 0) {
        printf("skipped: %s\n", info.reason);
        return 77;
    }
    return io_run_stream_cases() + io_run_write_cases() + io_run_life_cases()
           + io_run_door_cases();
}
