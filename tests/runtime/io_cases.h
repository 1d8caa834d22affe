/* SPDX-License-Identifier: Apache-2.0 */
/* io_cases.h - what every backend must do alike.
 *
 * Role:    tests of streams and of the backend's life, run by test_epoll and
 *          test_uring on the backend that io_backend names.
 * Thread:  the test's.
 * Memory:  a case is its test's, from setup to teardown. */
#ifndef IO_CASES_H
#define IO_CASES_H

#include "io_loop.h"

/* What most cases start with: a loop that keeps the token, and one stream. */
typedef struct io_case {
    io_loop loop;
    io_stream stream;
} io_case;

int io_case_setup_tcp(void **state);
int io_case_setup_unix(void **state);
int io_case_teardown(void **state);

#define io_tcp_test(name) \
    cmocka_unit_test_setup_teardown(name, io_case_setup_tcp, io_case_teardown)
#define io_unix_test(name) \
    cmocka_unit_test_setup_teardown(name, io_case_setup_unix, io_case_teardown)

/* Each returns the number of failed tests. */
int io_run_stream_cases(void);
int io_run_write_cases(void);
int io_run_life_cases(void);
int io_run_door_cases(void);
int io_run_watch_cases(void);

#endif
