/* SPDX-License-Identifier: Apache-2.0 */
#include "resolver_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/list.h"

#define IDLE_NS INT64_C(20000000)

/* --- A libc of our own: it waits at a gate, and counts --- */

struct fake_libc libc = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .changed = PTHREAD_COND_INITIALIZER,
};

static bool
signals_are_blocked(void)
{
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    return sigismember(&mask, SIGINT) == 1 && sigismember(&mask, SIGTERM) == 1
           && sigismember(&mask, SIGALRM) == 1
           && sigismember(&mask, SIGPROF) == 1;
}

static int
libc_pass_gate(void)
{
    pthread_mutex_lock(&libc.lock);
    libc.begun++;
    libc.waiting++;
    libc.signals_blocked = signals_are_blocked();
    pthread_cond_broadcast(&libc.changed);
    while (libc.closed) {
        pthread_cond_wait(&libc.changed, &libc.lock);
    }
    libc.waiting--;
    int error = libc.error;
    int sys_errno = libc.sys_errno;
    pthread_mutex_unlock(&libc.lock);
    errno = sys_errno;
    return error;
}

void
libc_set_gate(bool closed)
{
    pthread_mutex_lock(&libc.lock);
    libc.closed = closed;
    pthread_cond_broadcast(&libc.changed);
    pthread_mutex_unlock(&libc.lock);
}

void
libc_await_waiting(int count)
{
    pthread_mutex_lock(&libc.lock);
    while (libc.waiting < count) {
        pthread_cond_wait(&libc.changed, &libc.lock);
    }
    pthread_mutex_unlock(&libc.lock);
}

/* Until every result that was made has been freed and nobody runs. */
void
libc_await_freed(void)
{
    pthread_mutex_lock(&libc.lock);
    while (libc.waiting > 0 || libc.freed < libc.made) {
        pthread_cond_wait(&libc.changed, &libc.lock);
    }
    pthread_mutex_unlock(&libc.lock);
}

static int
fake_getaddrinfo(const char *host, const char *service,
                 const struct addrinfo *hints, struct addrinfo **out)
{
    pthread_mutex_lock(&libc.lock);
    strcpy(libc.host, host == NULL ? "(null)" : host);
    strcpy(libc.service, service == NULL ? "(null)" : service);
    libc.hints = *hints;
    libc.made++;
    pthread_mutex_unlock(&libc.lock);
    /* Also what a failing libc leaves in the result must do no harm. */
    *out = (struct addrinfo *)(uintptr_t)0xdead;
    int error = libc_pass_gate();
    pthread_mutex_lock(&libc.lock);
    if (error != 0) {
        libc.made--;
    }
    pthread_cond_broadcast(&libc.changed);
    pthread_mutex_unlock(&libc.lock);
    if (error != 0) {
        errno = libc.sys_errno;
        return error;
    }
    *out = calloc(1, sizeof(**out));
    (*out)->ai_family = AF_INET;
    return 0;
}

static void
fake_freeaddrinfo(struct addrinfo *addresses)
{
    free(addresses);
    pthread_mutex_lock(&libc.lock);
    libc.freed++;
    pthread_cond_broadcast(&libc.changed);
    pthread_mutex_unlock(&libc.lock);
}

static int
fake_getnameinfo(const struct sockaddr *address, socklen_t length, char *host,
                 socklen_t host_bytes, char *service, socklen_t service_bytes,
                 int flags)
{
    assert_int_equal(address->sa_family, AF_INET);
    assert_int_equal(length, sizeof(struct sockaddr_in));
    assert_int_equal(flags, NI_NUMERICSERV);
    memset(host, 'h', host_bytes - 1);
    host[host_bytes - 1] = '\0';
    memset(service, 's', service_bytes - 1);
    service[service_bytes - 1] = '\0';
    return libc_pass_gate();
}

/* --- A loop thread --- */

test_loop *current;

void
loop_emit(rsl_sink *sink, rsl_event event)
{
    test_loop *loop = RSL_LIST_ENTRY(sink, test_loop, sink);
    assert_int_equal(rsl_tag_kind(event.tag), RSL_EV_MESSAGE);
    assert_int_equal(rsl_tag_id(event.tag), 0);
    loop->arrived[loop->delivered++] = event.u.ptr;
}

void
loop_abandon(void *object)
{
    ++*(int *)object;
    current->abandoned++;
}

void
loop_open(test_loop *loop)
{
    memset(loop, 0, sizeof(*loop));
    loop->sink.emit = loop_emit;
    current = loop;
    rsl_config config = {.backend = RSL_BACKEND_EPOLL,
                         .takeover = RSL_TAKEOVER_NEVER};
    rsl_err err;
    assert_int_equal(rsl_runtime_new(&config, &loop->rt, &err), RSL_OK);
    assert_int_equal(rsl_runtime_enter(loop->rt, &err), RSL_OK);
}

void
loop_close(test_loop *loop)
{
    rsl_runtime_leave(loop->rt);
    rsl_runtime_free(loop->rt);
    loop->rt = NULL;
    while (loop->finished < loop->delivered) {
        rsl_lookup *lookup = loop->arrived[loop->finished++];
        assert_null(rsl_lookup_claim(lookup));
        rsl_lookup_free(lookup);
    }
}

rsl_job_owner
loop_owner(test_loop *loop)
{
    assert_true(loop->started < OWNERS_MAX);
    return (rsl_job_owner){&loop->owners[loop->started++], loop_abandon};
}

rsl_status
loop_look_up(test_loop *loop, const char *host)
{
    rsl_address_query query = {.host = host,
                               .service = "http",
                               .family = AF_INET,
                               .type = SOCK_STREAM,
                               .proto = IPPROTO_TCP,
                               .flags = AI_PASSIVE};
    rsl_err err;
    return rsl_resolve_address(loop->rt, &query, loop_owner(loop), &err);
}

void
loop_await(test_loop *loop)
{
    rsl_err err;
    rsl_runtime_drain(loop->rt, &loop->sink);
    while (loop->finished == loop->delivered) {
        assert_int_equal(rsl_runtime_sleep(loop->rt, -1, &err), RSL_OK);
        rsl_runtime_drain(loop->rt, &loop->sink);
    }
    loop->last = loop->arrived[loop->finished];
}

void
loop_finish(test_loop *loop)
{
    int *owner = rsl_lookup_claim(loop->last);
    if (owner != NULL) {
        ++*owner;
    }
    rsl_lookup_free(loop->last);
    loop->last = NULL;
    loop->finished++;
}

int
set_up(void **state)
{
    static const rsl_resolver_libc fake = {fake_getaddrinfo, fake_freeaddrinfo,
                                           fake_getnameinfo};
    (void)state;
    libc.closed = false;
    libc.begun = libc.made = libc.freed = libc.error = libc.sys_errno = 0;
    rsl_resolver_set_libc(&fake);
    rsl_pool_set_idle_ns(&rsl_pool_of_look_ups, IDLE_NS);
    return 0;
}

void
await_no_threads(void)
{
    struct timespec pause = {0, 1000000};
    while (rsl_pool_threads(&rsl_pool_of_look_ups) > 0) {
        nanosleep(&pause, NULL);
    }
}

/* The next test replaces libc, so no look-up may be left. */
int
tear_down(void **state)
{
    (void)state;
    await_no_threads();
    rsl_resolver_set_libc(NULL);
    return 0;
}
