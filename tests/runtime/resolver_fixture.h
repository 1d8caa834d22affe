/* SPDX-License-Identifier: Apache-2.0 */
/* resolver_fixture.h - a libc that waits at a gate, and a loop that counts.
 *
 * Role:    what the tests of the resolver have in common.
 * Thread:  libc under its lock; a test_loop on the thread that opened it.
 * Memory:  a test_loop frees at close what it was given and did not finish. */
#ifndef RSL_TESTS_RESOLVER_FIXTURE_H
#define RSL_TESTS_RESOLVER_FIXTURE_H

#include <pthread.h>
#include <stdbool.h>

#include "core/pool.h"
#include "net/resolver_impl.h"

#define OWNERS_MAX 64

/* What look-ups of a test call instead of libc. */
struct fake_libc {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool closed;                /* look-ups wait at the gate */
    int waiting, begun;         /* at the gate; in all */
    int made, freed;            /* results */
    int error, sys_errno;       /* what the next ones say */
    bool signals_blocked;       /* in the last thread that called */
    char host[64], service[64]; /* of the last one */
    struct addrinfo hints;
};

extern struct fake_libc libc;

void libc_set_gate(bool closed);
void libc_await_waiting(int count);
/* Until every result that was made has been freed and nobody runs. */
void libc_await_freed(void);

typedef struct test_loop {
    rsl_runtime *rt;
    rsl_sink sink;
    rsl_lookup *arrived[OWNERS_MAX]; /* from `finished` on, not yet freed */
    rsl_lookup *last;                /* the oldest of those, after await */
    int delivered, finished, abandoned;
    int owners[OWNERS_MAX]; /* times each was given back */
    int started;
} test_loop;

extern test_loop *current; /* whose owners are abandoned now */

void loop_open(test_loop *loop);
void loop_close(test_loop *loop);
void loop_emit(rsl_sink *sink, rsl_event event);
void loop_abandon(void *object);
rsl_job_owner loop_owner(test_loop *loop);

/* Start a look-up of `host`; wait for the next result; claim and free it. */
rsl_status loop_look_up(test_loop *loop, const char *host);
void loop_await(test_loop *loop);
void loop_finish(test_loop *loop);

void await_no_threads(void);
int set_up(void **state);
int tear_down(void **state);

#endif
