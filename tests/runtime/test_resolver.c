/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "resolver_fixture.h"

static void
resolver_delivers_addresses_with_the_query_it_was_given(void **state)
{
    (void)state;
    test_loop loop;
    loop_open(&loop);
    assert_int_equal(loop_look_up(&loop, "name.test"), RSL_OK);
    loop_await(&loop);
    assert_int_equal(loop.last->gai_error, 0);
    assert_int_equal(loop.last->addresses->ai_family, AF_INET);
    assert_ptr_equal(rsl_lookup_claim(loop.last), &loop.owners[0]);
    assert_null(rsl_lookup_claim(loop.last));
    loop_finish(&loop);
    assert_string_equal(libc.host, "name.test");
    assert_string_equal(libc.service, "http");
    assert_int_equal(libc.hints.ai_family, AF_INET);
    assert_int_equal(libc.hints.ai_socktype, SOCK_STREAM);
    assert_int_equal(libc.hints.ai_protocol, IPPROTO_TCP);
    assert_int_equal(libc.hints.ai_flags, AI_PASSIVE);
    assert_true(libc.signals_blocked);
    loop_close(&loop);
    assert_int_equal(libc.freed, 1);
    assert_int_equal(loop.abandoned, 0);
}

static void
resolver_passes_absent_host_and_service_as_null(void **state)
{
    (void)state;
    test_loop loop;
    loop_open(&loop);
    rsl_address_query query = {.host = NULL, .service = NULL};
    rsl_err err;
    assert_int_equal(
        rsl_resolve_address(loop.rt, &query, loop_owner(&loop), &err), RSL_OK);
    loop_await(&loop);
    loop_finish(&loop);
    assert_string_equal(libc.host, "(null)");
    assert_string_equal(libc.service, "(null)");
    loop_close(&loop);
}

static void
resolver_reports_the_code_and_errno_of_a_failure(void **state)
{
    (void)state;
    test_loop loop;
    loop_open(&loop);
    libc.error = EAI_NONAME;
    libc.sys_errno = ENOENT;
    assert_int_equal(loop_look_up(&loop, "a"), RSL_OK);
    loop_await(&loop);
    assert_int_equal(loop.last->gai_error, EAI_NONAME);
    assert_int_equal(loop.last->sys_errno, 0);
    assert_null(loop.last->addresses);
    loop_finish(&loop);
    pthread_mutex_lock(&libc.lock);
    libc.error = EAI_SYSTEM;
    pthread_mutex_unlock(&libc.lock);
    assert_int_equal(loop_look_up(&loop, "b"), RSL_OK);
    loop_await(&loop);
    assert_int_equal(loop.last->gai_error, EAI_SYSTEM);
    assert_int_equal(loop.last->sys_errno, ENOENT);
    loop_finish(&loop);
    loop_close(&loop);
}

static void
resolver_delivers_names_as_long_as_libc_makes_them(void **state)
{
    (void)state;
    test_loop loop;
    loop_open(&loop);
    struct sockaddr_in in = {.sin_family = AF_INET};
    rsl_name_query query = {(struct sockaddr *)&in, sizeof(in), NI_NUMERICSERV};
    rsl_err err;
    assert_int_equal(rsl_resolve_name(loop.rt, &query, loop_owner(&loop), &err),
                     RSL_OK);
    loop_await(&loop);
    assert_int_equal(strlen(loop.last->host), NI_MAXHOST - 1);
    assert_int_equal(strlen(loop.last->service), NI_MAXSERV - 1);
    loop_finish(&loop);
    loop_close(&loop);
}

static void
resolver_gives_what_libc_gives(void **state)
{
    (void)state;
    rsl_resolver_set_libc(NULL);
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_CANONNAME};
    struct addrinfo *expected;
    assert_int_equal(getaddrinfo("127.0.0.1", "80", &hints, &expected), 0);
    test_loop loop;
    loop_open(&loop);
    rsl_address_query query = {
        .host = "127.0.0.1", .service = "80", .flags = hints.ai_flags};
    rsl_err err;
    assert_int_equal(
        rsl_resolve_address(loop.rt, &query, loop_owner(&loop), &err), RSL_OK);
    loop_await(&loop);
    struct addrinfo *found = loop.last->addresses;
    for (struct addrinfo *one = expected; one != NULL; one = one->ai_next) {
        assert_non_null(found);
        assert_int_equal(found->ai_socktype, one->ai_socktype);
        assert_int_equal(found->ai_addrlen, one->ai_addrlen);
        assert_memory_equal(found->ai_addr, one->ai_addr, one->ai_addrlen);
        found = found->ai_next;
    }
    assert_null(found);
    assert_string_equal(loop.last->addresses->ai_canonname, "127.0.0.1");
    freeaddrinfo(expected);
    loop_finish(&loop);
    loop_close(&loop);
}

static void
running_look_ups_free_themselves_after_their_runtime(void **state)
{
    (void)state;
    test_loop loop;
    loop_open(&loop);
    libc_set_gate(true);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(loop_look_up(&loop, "slow.test"), RSL_OK);
    }
    libc_await_waiting(3);
    loop_close(&loop);
    assert_int_equal(loop.abandoned, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(loop.owners[i], 1);
    }
    assert_int_equal(libc.freed, 0);
    libc_set_gate(false);
    libc_await_freed();
    assert_int_equal(libc.freed, 3);
}

static void
look_ups_in_the_mailbox_are_abandoned_once(void **state)
{
    (void)state;
    test_loop loop;
    loop_open(&loop);
    assert_int_equal(loop_look_up(&loop, "a"), RSL_OK);
    assert_int_equal(loop_look_up(&loop, "b"), RSL_OK);
    await_no_threads(); /* so both are in the mailbox */
    loop_close(&loop);
    assert_int_equal(loop.abandoned, 2);
    assert_int_equal(loop.owners[0], 1);
    assert_int_equal(loop.owners[1], 1);
    assert_int_equal(libc.freed, 2);
}

static void
a_delivered_look_up_outlives_the_close(void **state)
{
    (void)state;
    test_loop loop;
    loop_open(&loop);
    assert_int_equal(loop_look_up(&loop, "a"), RSL_OK);
    loop_await(&loop);
    loop_close(&loop);
    assert_int_equal(loop.abandoned, 1);
    assert_int_equal(loop.delivered, 1);
    assert_int_equal(libc.freed, 1);
}

static void
look_ups_that_never_began_go_with_their_runtime(void **state)
{
    (void)state;
    test_loop other, loop;
    loop_open(&other);
    libc_set_gate(true);
    for (int i = 0; i < RSL_RESOLVER_THREADS_MAX; i++) {
        assert_int_equal(loop_look_up(&other, "slow.test"), RSL_OK);
    }
    libc_await_waiting(RSL_RESOLVER_THREADS_MAX);
    loop_open(&loop);
    assert_int_equal(loop_look_up(&loop, "late"), RSL_OK);
    assert_int_equal(loop_look_up(&loop, "late"), RSL_OK);
    current = &other;
    assert_int_equal(loop_look_up(&other, "later"), RSL_OK);
    assert_int_equal(rsl_pool_threads(&rsl_pool_of_look_ups),
                     RSL_RESOLVER_THREADS_MAX);
    current = &loop;
    loop_close(&loop);
    assert_int_equal(loop.abandoned, 2);
    libc_set_gate(false);
    for (int i = 0; i < RSL_RESOLVER_THREADS_MAX + 1; i++) {
        loop_await(&other);
        loop_finish(&other);
    }
    assert_int_equal(libc.begun, RSL_RESOLVER_THREADS_MAX + 1);
    current = &other;
    loop_close(&other);
    assert_int_equal(other.abandoned, 0);
}

static void
idle_threads_end_and_new_ones_are_made(void **state)
{
    (void)state;
    test_loop loop;
    loop_open(&loop);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(loop_look_up(&loop, "a"), RSL_OK);
        loop_await(&loop);
        loop_finish(&loop);
        assert_true(rsl_pool_threads(&rsl_pool_of_look_ups) <= 1);
        await_no_threads();
    }
    loop_close(&loop);
}

static int
count_owner(void *owner, void *arg)
{
    int *seen = arg;
    *seen += *(int *)owner == 0;
    return *seen == 2 ? 7 : 0;
}

static void
a_closed_runtime_takes_no_look_up(void **state)
{
    (void)state;
    test_loop loop;
    loop_open(&loop);
    rsl_runtime_leave(loop.rt);
    rsl_runtime_close(loop.rt);
    assert_int_equal(loop_look_up(&loop, "a"), RSL_CLOSED);
    rsl_runtime_free(loop.rt);
    assert_int_equal(loop.abandoned, 0);
}

static void
visit_shows_owners_until_it_is_told_to_stop(void **state)
{
    (void)state;
    test_loop loop;
    int seen = 0;
    loop_open(&loop);
    assert_int_equal(rsl_resolver_visit(loop.rt, count_owner, &seen), 0);
    libc_set_gate(true);
    assert_int_equal(loop_look_up(&loop, "a"), RSL_OK);
    assert_int_equal(rsl_resolver_visit(loop.rt, count_owner, &seen), 0);
    assert_int_equal(seen, 1);
    seen = 0;
    assert_int_equal(loop_look_up(&loop, "b"), RSL_OK);
    assert_int_equal(loop_look_up(&loop, "c"), RSL_OK);
    assert_int_equal(rsl_resolver_visit(loop.rt, count_owner, &seen), 7);
    libc_set_gate(false);
    loop_close(&loop);
    libc_await_freed();
}

static int abandon_again_left;

static void
abandon_and_start_again(void *object)
{
    loop_abandon(object);
    if (abandon_again_left-- > 0) {
        rsl_address_query query = {.host = "again"};
        rsl_job_owner owner = loop_owner(current);
        owner.abandon = abandon_and_start_again;
        rsl_err err;
        assert_int_equal(rsl_resolve_address(current->rt, &query, owner, &err),
                         RSL_OK);
        rsl_resolver_fini(current->rt);
    }
}

static void
a_look_up_started_by_an_abandoned_owner_is_abandoned_too(void **state)
{
    (void)state;
    test_loop loop;
    loop_open(&loop);
    libc_set_gate(true);
    abandon_again_left = 2;
    rsl_address_query query = {.host = "first"};
    rsl_job_owner owner = loop_owner(&loop);
    owner.abandon = abandon_and_start_again;
    rsl_err err;
    assert_int_equal(rsl_resolve_address(loop.rt, &query, owner, &err), RSL_OK);
    rsl_resolver_fini(loop.rt);
    assert_int_equal(loop.abandoned, 3);
    loop_close(&loop);
    assert_int_equal(loop.abandoned, 3);
    libc_set_gate(false);
    libc_await_freed();
}

/* Closes at every stage of a look-up; the sanitizers judge. */
static void
closing_while_results_arrive_loses_no_owner(void **state)
{
    (void)state;
    rsl_pool_set_idle_ns(&rsl_pool_of_look_ups,
                         0); /* threads come and go, too */
    for (int round = 0; round < 400; round++) {
        test_loop loop;
        loop_open(&loop);
        for (int i = 0; i < 8; i++) {
            assert_int_equal(loop_look_up(&loop, "a"), RSL_OK);
        }
        for (int i = 0; i < round % 8; i++) {
            loop_await(&loop);
            loop_finish(&loop);
        }
        for (int i = 0; i < round % 50; i++) {
            sched_yield();
        }
        int finished = loop.finished;
        loop_close(&loop);
        assert_int_equal(finished + loop.abandoned, 8);
        for (int i = 0; i < 8; i++) {
            assert_int_equal(loop.owners[i], 1);
        }
    }
    libc_await_freed();
}

static void *
loop_thread(void *unused)
{
    (void)unused;
    for (int i = 0; i < 100; i++) {
        rsl_config config = {.backend = RSL_BACKEND_EPOLL,
                             .takeover = RSL_TAKEOVER_NEVER};
        test_loop loop = {.sink.emit = loop_emit};
        rsl_err err;
        assert_int_equal(rsl_runtime_new(&config, &loop.rt, &err), RSL_OK);
        assert_int_equal(rsl_runtime_enter(loop.rt, &err), RSL_OK);
        assert_int_equal(loop_look_up(&loop, "a"), RSL_OK);
        loop_await(&loop);
        loop_finish(&loop);
        loop_close(&loop);
    }
    return NULL;
}

static void
loops_on_several_threads_share_the_pool(void **state)
{
    (void)state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, loop_thread, NULL),
                         0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
    }
    assert_true(rsl_pool_threads(&rsl_pool_of_look_ups)
                <= RSL_RESOLVER_THREADS_MAX);
}

/* The exit code names the first thing that went wrong in the child. */
static int
look_up_in_child(test_loop *inherited)
{
    rsl_address_query query = {.host = "a"};
    rsl_err err;
    if (rsl_resolve_address(inherited->rt, &query, loop_owner(inherited), &err)
        != RSL_FORKED) {
        return 1;
    }
    rsl_runtime_free(inherited->rt);
    if (inherited->abandoned != 1
        || rsl_pool_threads(&rsl_pool_of_look_ups) != 0) {
        return 2;
    }
    pthread_mutex_init(&libc.lock, NULL);
    pthread_cond_init(&libc.changed, NULL);
    libc.closed = false;
    test_loop loop;
    loop_open(&loop);
    if (loop_look_up(&loop, "a") != RSL_OK) {
        return 3;
    }
    loop_await(&loop);
    loop_finish(&loop);
    loop_close(&loop);
    return loop.owners[0] == 1 ? 0 : 4;
}

static void
a_forked_child_starts_with_a_pool_of_its_own(void **state)
{
    (void)state;
#ifdef __SANITIZE_THREAD__
    skip(); /* TSan allows no thread after a fork with threads */
#endif
    test_loop loop;
    loop_open(&loop);
    libc_set_gate(true);
    assert_int_equal(loop_look_up(&loop, "slow.test"), RSL_OK);
    libc_await_waiting(1);
    pid_t child = fork();
    if (child == 0) {
        alarm(20);
        _exit(look_up_in_child(&loop));
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    libc_set_gate(false);
    loop_await(&loop);
    loop_finish(&loop);
    loop_close(&loop);
}

static void *
open_the_gate(void *unused)
{
    (void)unused;
    libc_set_gate(false);
    return NULL;
}

/* Else the child would inherit libc's locks from a thread that it lacks. */
static void
a_fork_waits_until_look_ups_have_left_libc(void **state)
{
    (void)state;
    test_loop loop;
    loop_open(&loop);
    libc_set_gate(true);
    assert_int_equal(loop_look_up(&loop, "soon.test"), RSL_OK);
    libc_await_waiting(1);
    pthread_t opener;
    assert_int_equal(pthread_create(&opener, NULL, open_the_gate, NULL), 0);
    pid_t child = fork();
    if (child == 0) {
        _exit(libc.waiting);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_int_equal(pthread_join(opener, NULL), 0);
    assert_int_equal(loop_look_up(&loop, "later.test"), RSL_OK);
    loop_await(&loop);
    loop_finish(&loop);
    loop_await(&loop);
    loop_finish(&loop);
    loop_close(&loop);
}

#define RESOLVER_TEST(name) \
    cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
    const struct CMUnitTest tests[] = {
        RESOLVER_TEST(resolver_delivers_addresses_with_the_query_it_was_given),
        RESOLVER_TEST(resolver_passes_absent_host_and_service_as_null),
        RESOLVER_TEST(resolver_reports_the_code_and_errno_of_a_failure),
        RESOLVER_TEST(resolver_delivers_names_as_long_as_libc_makes_them),
        RESOLVER_TEST(resolver_gives_what_libc_gives),
        RESOLVER_TEST(running_look_ups_free_themselves_after_their_runtime),
        RESOLVER_TEST(look_ups_in_the_mailbox_are_abandoned_once),
        RESOLVER_TEST(a_delivered_look_up_outlives_the_close),
        RESOLVER_TEST(look_ups_that_never_began_go_with_their_runtime),
        RESOLVER_TEST(idle_threads_end_and_new_ones_are_made),
        RESOLVER_TEST(a_closed_runtime_takes_no_look_up),
        RESOLVER_TEST(visit_shows_owners_until_it_is_told_to_stop),
        RESOLVER_TEST(a_look_up_started_by_an_abandoned_owner_is_abandoned_too),
        RESOLVER_TEST(closing_while_results_arrive_loses_no_owner),
        RESOLVER_TEST(loops_on_several_threads_share_the_pool),
        RESOLVER_TEST(a_forked_child_starts_with_a_pool_of_its_own),
        RESOLVER_TEST(a_fork_waits_until_look_ups_have_left_libc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
