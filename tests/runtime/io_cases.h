/* SPDX-License-Identifier: Apache-2.0 */
/* io_cases.h - what every backend must do alike.
 *
 * Role:    tests of streams and of the backend's life, run by test_epoll and
 *          test_uring on the backend that io_backend names.
 * Thread:  the test's.
 * Memory:  none. */
#ifndef IO_CASES_H
#define IO_CASES_H

#include "io_loop.h"

/* Each returns the number of failed tests. */
int io_run_stream_cases(void);
int io_run_write_cases(void);
int io_run_life_cases(void);
int io_run_door_cases(void);

#endif
