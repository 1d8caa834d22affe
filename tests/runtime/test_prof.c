/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include <rsl/prof.h>

enum { RECORDS = 64, ROUNDS = 200 };

static void
add(uint64_t amount)
{
    rsl_prof_record record = {.start_ns = 1, .end_ns = 2, .amount = amount};

    rsl_prof_add(&record);
}

static void
nothing_is_recorded_while_it_is_off(void **state)
{
    rsl_prof_thread *threads;

    (void)state;
    assert_false(rsl_prof_is_on());
    assert_int_equal(rsl_prof_begin(), 0);
    add(1);
    assert_false(rsl_prof_stop(&threads));
    assert_null(threads);
}

static void
records_come_back_in_order(void **state)
{
    rsl_prof_thread *threads;

    (void)state;
    assert_int_equal(rsl_prof_start(RECORDS), RSL_OK);
    assert_int_equal(rsl_prof_start(RECORDS), RSL_BUSY);
    for (uint64_t i = 0; i < 10; i++) {
        add(i);
    }
    rsl_prof_end(RSL_PROF_SEND, rsl_prof_begin(), 10);
    assert_true(rsl_prof_stop(&threads));
    add(11); /* too late */
    assert_non_null(threads);
    assert_null(threads->next);
    assert_int_equal(threads->tid, gettid());
    assert_int_equal(threads->lost, 0);
    assert_int_equal(threads->count, 11);
    for (uint64_t i = 0; i <= 10; i++) {
        assert_int_equal(threads->records[i].amount, i);
    }
    assert_int_equal(threads->records[10].kind, RSL_PROF_SEND);
    assert_true(threads->records[10].end_ns >= threads->records[10].start_ns);
    rsl_prof_free(threads);
}

static void
a_full_ring_forgets_its_oldest(void **state)
{
    rsl_prof_thread *threads;

    (void)state;
    assert_int_equal(rsl_prof_start(RECORDS), RSL_OK);
    for (uint64_t i = 0; i < 1000; i++) {
        add(i);
    }
    assert_true(rsl_prof_stop(&threads));
    assert_int_equal(threads->count, RECORDS - 1);
    assert_int_equal(threads->lost, 1000 - (RECORDS - 1));
    assert_int_equal(threads->records[RECORDS - 2].amount, 999);
    rsl_prof_free(threads);
}

static void *
add_three(void *arg)
{
    (void)arg;
    add(1);
    add(2);
    add(3);
    return NULL;
}

static void
a_thread_that_has_ended_is_there(void **state)
{
    rsl_prof_thread *threads;
    pthread_t thread;

    (void)state;
    assert_int_equal(rsl_prof_start(RECORDS), RSL_OK);
    assert_int_equal(pthread_create(&thread, NULL, add_three, NULL), 0);
    pthread_join(thread, NULL);
    assert_true(rsl_prof_stop(&threads));
    assert_non_null(threads);
    assert_int_equal(threads->count, 3);
    assert_int_not_equal(threads->tid, gettid());
    rsl_prof_free(threads);
}

static atomic_bool ending;

static void *
add_until_the_end(void *arg)
{
    for (uint64_t i = 0; !atomic_load(&ending); i++) {
        add(i);
    }
    return arg;
}

/* The thread sanitizer watches too. */
static void
threads_write_while_profiles_begin_and_end(void **state)
{
    pthread_t writers[2];

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(
            pthread_create(&writers[i], NULL, add_until_the_end, NULL), 0);
    }
    for (int i = 0; i < ROUNDS; i++) {
        size_t capacity = i % 2 == 0 ? RECORDS : 2 * RECORDS;
        rsl_prof_thread *threads;

        assert_int_equal(rsl_prof_start(capacity), RSL_OK);
        usleep(100); /* so that some are written: none need be */
        assert_true(rsl_prof_stop(&threads));
        for (rsl_prof_thread *t = threads; t != NULL; t = t->next) {
            for (size_t k = 1; k < t->count; k++) {
                assert_int_equal(t->records[k].amount,
                                 t->records[k - 1].amount + 1);
            }
        }
        rsl_prof_free(threads);
    }
    atomic_store(&ending, true);
    for (int i = 0; i < 2; i++) {
        pthread_join(writers[i], NULL);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_recorded_while_it_is_off),
        cmocka_unit_test(records_come_back_in_order),
        cmocka_unit_test(a_full_ring_forgets_its_oldest),
        cmocka_unit_test(a_thread_that_has_ended_is_there),
        cmocka_unit_test(threads_write_while_profiles_begin_and_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
