/* SPDX-License-Identifier: Apache-2.0 */
/* A child that was forked in the middle of a run: its copy of the runtime is
 * dead, costs nothing to free, and the parent notices nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "fake_backend.h"
#include "fake_loop.h"

typedef struct fixture {
    rsl_runtime *rt;
    fake_loop loop;
    fake_reader reader;
    rsl_conn *conn;
    int peer;
} fixture;

static unsigned loans;

static void
count_loan(void *loan)
{
    (void)loan;
    loans++;
}

static int
set_up(void **state)
{
    static const rsl_hooks hooks = {.loan_return = count_loan};
    static fixture f;

    memset(&f, 0, sizeof f);
    loans = 0;
    f.rt = fake_runtime(RSL_TAKEOVER_ALWAYS, &hooks);
    fake_loop_init(&f.loop, f.rt);
    f.conn = fake_conn(f.rt, &f.reader, &f.peer);
    assert_int_equal(rsl_conn_read_start(f.conn), RSL_OK);
    *state = &f;
    return 0;
}

static int
tear_down(void **state)
{
    fixture *f = *state;

    fake_loop_fini(&f->loop);
    rsl_runtime_leave(f->rt);
    rsl_runtime_free(f->rt);
    fake_reader_fini(&f->reader);
    close(f->peer);
    return 0;
}

/* Runs `body` in a child; its result is the child's exit code. */
static int
in_child(int (*body)(fixture *f), fixture *f)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        alarm(20);
        _exit(body(f));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int
child_looks(fixture *f)
{
    rsl_err err;

    if (!rsl_runtime_is_forked(f->rt)) {
        return 1;
    }
    rsl_runtime_leave(f->rt); /* what unwinding in the child does */
    return rsl_runtime_enter(f->rt, &err) == RSL_FORKED ? 0 : 2;
}

static void
a_child_knows_that_it_is_one(void **state)
{
    fixture *f = *state;

    assert_false(rsl_runtime_is_forked(f->rt));
    assert_int_equal(in_child(child_looks, f), 0);
    assert_false(rsl_runtime_is_forked(f->rt));
}

static int
child_frees(fixture *f)
{
    int fd = rsl_conn_fd(f->conn);

    rsl_runtime_leave(f->rt);
    rsl_runtime_free(f->rt);
    if (loans != 1) {
        return 1;
    }
    return dup(fd) < 0 ? 0 : 2; /* it was closed here */
}

static void
the_parent_goes_on(fixture *f)
{
    char sent[8];

    fake_feed(fake_of(f->rt), f->conn, "abc", 3);
    for (int i = 0; i < 1000 && f->reader.len < 3; i++) {
        fake_loop_turn(&f->loop, 1000000);
    }
    assert_int_equal(f->reader.len, 3);
    assert_memory_equal(f->reader.bytes, "abc", 3);
    assert_int_equal(fake_take_sent(fake_of(f->rt), f->conn, sent, 8), 3);
}

static void
a_child_frees_its_copy_and_the_parent_goes_on(void **state)
{
    fixture *f = *state;

    assert_int_equal(rsl_conn_write(f->conn, "xyz", 3, f), RSL_OK);
    assert_int_equal(in_child(child_frees, f), 0);
    the_parent_goes_on(f);
}

static int
child_frees_with_the_token_taken(fixture *f)
{
    /* As if the runtime thread, or this one, had been reading; and a thread
     * of the parent's had been about to signal. */
    rsl_token_init(&f->rt->token);
    if (!rsl_token_try_take(&f->rt->token, RSL_TOKEN_RUNTIME)) {
        return 3;
    }
    atomic_store(&f->rt->mailbox.wakers, 2);
    return child_frees(f);
}

static void
a_child_does_not_wait_for_threads_of_its_parent(void **state)
{
    fixture *f = *state;

    assert_int_equal(rsl_conn_write(f->conn, "xyz", 3, f), RSL_OK);
    assert_int_equal(in_child(child_frees_with_the_token_taken, f), 0);
    the_parent_goes_on(f);
}

static int
child_makes_another(fixture *f)
{
    void *state = NULL;

    rsl_runtime_leave(f->rt);
    rsl_runtime_free(f->rt);
    if (set_up(&state) != 0 || rsl_runtime_is_forked(f->rt)) {
        return 1; /* the fixture is static: it is the new one */
    }
    return in_child(child_looks, state);
}

static void
a_child_may_make_its_own_runtime_and_fork_again(void **state)
{
#ifdef __SANITIZE_THREAD__
    skip(); /* it cannot start threads in the child of many threads */
#endif
    assert_int_equal(in_child(child_makes_another, *state), 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_child_knows_that_it_is_one),
        TEST(a_child_frees_its_copy_and_the_parent_goes_on),
        TEST(a_child_does_not_wait_for_threads_of_its_parent),
        TEST(a_child_may_make_its_own_runtime_and_fork_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
