/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs on the process's pool; look-ups, the other pool's, have test_resolver.c.
 */
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/pool.h"

#include <rsl/jobs.h>

enum { JOBS = 100 };

static sem_t done, gate;
static pthread_t main_thread;
static bool on_main, saw_signals;

static void
await(sem_t *event)
{
    while (sem_wait(event) != 0) {
        continue; /* EINTR */
    }
}

static void
job_look(void *arg)
{
    sigset_t mask;

    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    if (pthread_equal(pthread_self(), main_thread)) {
        on_main = true;
    }
    if (!sigismember(&mask, SIGINT)) {
        saw_signals = true;
    }
    sem_post(arg);
}

static void
jobs_run_on_threads_without_signals(void **state)
{
    rsl_err err = {0};

    (void)state;
    main_thread = pthread_self();
    for (unsigned i = 0; i < JOBS; i++) {
        assert_int_equal(rsl_job_submit(job_look, &done, &err), RSL_OK);
    }
    for (unsigned i = 0; i < JOBS; i++) {
        await(&done);
    }
    assert_false(on_main);
    assert_false(saw_signals);
}

static void
job_wait(void *arg)
{
    sem_post(arg);
    await(&gate);
    sem_post(arg);
}

/* As many as there may be hold their threads; one more has to wait for them. */
static void
threads_are_bounded_and_shared_in_order(void **state)
{
    unsigned most = rsl_pool_of_jobs.threads_max;
    rsl_err err = {0};

    (void)state;
    for (unsigned i = 0; i < most; i++) {
        assert_int_equal(rsl_job_submit(job_wait, &done, &err), RSL_OK);
    }
    for (unsigned i = 0; i < most; i++) {
        await(&done);
    }
    assert_int_equal(rsl_job_submit(job_look, &done, &err), RSL_OK);
    assert_int_equal(rsl_pool_threads(&rsl_pool_of_jobs), most);
    assert_int_not_equal(sem_trywait(&done), 0);
    for (unsigned i = 0; i < most; i++) {
        sem_post(&gate);
    }
    for (unsigned i = 0; i < most + 1; i++) {
        await(&done);
    }
}

/* The parent's threads do not exist there; the pool makes others. */
static void
a_forked_child_has_a_pool_of_its_own(void **state)
{
    rsl_err err = {0};
    pid_t child;
    int status;

    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* TSan allows no thread after a fork with threads */
#endif
    assert_int_equal(rsl_job_submit(job_wait, &done, &err), RSL_OK);
    await(&done); /* it is in its call, which no fork waits for */
    child = fork();
    if (child == 0) {
        sem_t mine;

        sem_init(&mine, 0, 0);
        if (rsl_job_submit(job_look, &mine, &err) != RSL_OK) {
            _exit(1);
        }
        await(&mine);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    sem_post(&gate);
    await(&done);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_run_on_threads_without_signals),
        cmocka_unit_test(threads_are_bounded_and_shared_in_order),
        cmocka_unit_test(a_forked_child_has_a_pool_of_its_own),
    };

    sem_init(&done, 0, 0);
    sem_init(&gate, 0, 0);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
