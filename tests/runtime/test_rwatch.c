/* SPDX-License-Identifier: Apache-2.0 */
/* Fds that the runtime thread watches: when, for how long, and for whom. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

#include <rsl/rwatch.h>

#include "fake_backend.h"

typedef struct bell {
    rsl_rwatch watch; /* first */
    rsl_runtime *rt;
    sem_t rung;
    atomic_uint count;
    atomic_int tid;
    struct bell *other; /* removed by this one's callback, or NULL */
} bell;

static void
bell_wait(bell *self)
{
    while (sem_wait(&self->rung) != 0) {
        assert_int_equal(errno, EINTR);
    }
}

static void
bell_ring(const bell *self)
{
    assert_int_equal(eventfd_write(self->watch.fd, 1), 0);
}

static void
bell_ready(rsl_rwatch *watch, uint32_t events)
{
    bell *self = (bell *)(void *)watch;
    eventfd_t value;

    if ((events & EPOLLIN) != 0) {
        (void)eventfd_read(watch->fd, &value);
    }
    atomic_store(&self->tid, (int)gettid());
    atomic_fetch_add(&self->count, 1);
    if (self->other != NULL) {
        rsl_rwatch_remove(self->rt, &self->other->watch);
        rsl_rwatch_remove(self->rt, watch);
    }
    sem_post(&self->rung);
}

static void
bell_init(bell *self, rsl_runtime *rt)
{
    *self = (bell){.rt = rt, .watch = {.ready = bell_ready}};
    self->watch.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    assert_true(self->watch.fd >= 0);
    assert_int_equal(sem_init(&self->rung, 0, 0), 0);
}

static void
bell_fini(bell *self)
{
    close(self->watch.fd);
    sem_destroy(&self->rung);
}

static void
bell_add(bell *self)
{
    rsl_err err = {0};

    assert_int_equal(rsl_rwatch_add(self->rt, &self->watch, EPOLLIN, &err),
                     RSL_OK);
}

/* Whether the loop runs or not, and also where nothing is taken over. */
static void
a_watch_is_served_by_the_runtime_thread(void **state)
{
    static const rsl_takeover takeovers[] = {
        RSL_TAKEOVER_AUTO, RSL_TAKEOVER_NEVER, RSL_TAKEOVER_ALWAYS};

    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        rsl_runtime *rt = fake_runtime(takeovers[i], NULL);
        rsl_info info;
        bell self;

        bell_init(&self, rt);
        bell_add(&self);
        bell_ring(&self);
        bell_wait(&self);
        rsl_runtime_info(rt, &info);
        assert_int_equal(atomic_load(&self.tid), info.runtime_tid);
        assert_int_not_equal(info.runtime_tid, gettid());
        rsl_runtime_leave(rt);
        bell_ring(&self);
        bell_wait(&self);
        rsl_runtime_free(rt);
        bell_ring(&self); /* nobody hears it */
        assert_int_equal(atomic_load(&self.count), 2);
        bell_fini(&self);
    }
}

static void
a_removed_watch_is_silent_and_another_goes_on(void **state)
{
    rsl_runtime *rt = fake_runtime(RSL_TAKEOVER_AUTO, NULL);
    bell gone, stays;

    (void)state;
    bell_init(&gone, rt);
    bell_init(&stays, rt);
    bell_add(&gone);
    bell_add(&stays);
    rsl_rwatch_remove(rt, &gone.watch);
    rsl_rwatch_remove(rt, &gone.watch); /* once more does no harm */
    bell_ring(&gone);
    bell_ring(&stays);
    bell_wait(&stays);
    assert_int_equal(atomic_load(&gone.count), 0);
    rsl_runtime_leave(rt);
    rsl_runtime_free(rt);
    bell_fini(&gone);
    bell_fini(&stays);
}

/* Both are ready before the thread looks: whichever it takes first removes the
 * other, which is then not called. */
static void
a_callback_removes_itself_and_another(void **state)
{
    rsl_runtime *rt = fake_runtime(RSL_TAKEOVER_AUTO, NULL);
    bell one, two;

    (void)state;
    bell_init(&one, rt);
    bell_init(&two, rt);
    one.other = &two;
    two.other = &one;
    bell_ring(&one);
    bell_ring(&two);
    pthread_mutex_lock(&rt->rwatches.lock);
    bell_add(&one);
    bell_add(&two);
    pthread_mutex_unlock(&rt->rwatches.lock);
    while (atomic_load(&one.count) + atomic_load(&two.count) == 0) {
        sched_yield();
    }
    rsl_runtime_leave(rt);
    rsl_runtime_free(rt);
    assert_int_equal(atomic_load(&one.count) + atomic_load(&two.count), 1);
    bell_fini(&one);
    bell_fini(&two);
}

static void
a_watch_changes_what_it_waits_for(void **state)
{
    rsl_runtime *rt = fake_runtime(RSL_TAKEOVER_AUTO, NULL);
    rsl_err err = {0};
    bell self;

    (void)state;
    bell_init(&self, rt);
    bell_add(&self);
    assert_int_equal(rsl_rwatch_change(rt, &self.watch, 0, &err), RSL_OK);
    bell_ring(&self);
    assert_int_equal(
        rsl_rwatch_change(rt, &self.watch, EPOLLOUT | EPOLLONESHOT, &err),
        RSL_OK);
    bell_wait(&self);
    assert_int_equal(rsl_rwatch_change(rt, &self.watch, EPOLLIN, &err), RSL_OK);
    bell_wait(&self);
    rsl_runtime_leave(rt);
    rsl_runtime_close(rt);
    assert_int_equal(rsl_rwatch_add(rt, &self.watch, EPOLLIN, &err),
                     RSL_CLOSED);
    rsl_rwatch_remove(rt, &self.watch);
    rsl_runtime_free(rt);
    bell_fini(&self);
}

static void
a_bad_fd_is_an_error(void **state)
{
    rsl_runtime *rt = fake_runtime(RSL_TAKEOVER_AUTO, NULL);
    rsl_rwatch watch = {.fd = -1, .ready = bell_ready};
    rsl_err err = {0};

    (void)state;
    assert_int_equal(rsl_rwatch_add(rt, &watch, EPOLLIN, &err), RSL_OS);
    assert_int_equal(err.code, EBADF);
    rsl_runtime_leave(rt);
    rsl_runtime_free(rt);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_watch_is_served_by_the_runtime_thread),
        cmocka_unit_test(a_removed_watch_is_silent_and_another_goes_on),
        cmocka_unit_test(a_callback_removes_itself_and_another),
        cmocka_unit_test(a_watch_changes_what_it_waits_for),
        cmocka_unit_test(a_bad_fd_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
