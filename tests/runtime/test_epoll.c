/* SPDX-License-Identifier: Apache-2.0 */
#include "io_cases.h"

int
main(void)
{
    io_backend = RSL_BACKEND_EPOLL;
    return io_run_stream_cases() + io_run_write_cases() + io_run_life_cases()
           + io_run_door_cases();
}
