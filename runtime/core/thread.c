/* SPDX-License-Identifier: Apache-2.0 */
/*            kick, and not stopping
 *  PARKED -----------------------------> TICKING
 *     ^                                     |
 *     +-------------------------------------+
 *       stopping, or idle for long enough
 *
 * `ticking` changes under the lock only, and `stopping` is set under it: so a
 * loop thread that has seen PARKED after it set `stopping` knows that the
 * runtime thread touches nothing until rsl_thread_allow(). */
#include "core/thread.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/tick.h"

/* Enough for steal(), whose buffers are on the heap; the 8 MiB default would
 * count against container limits once for each loop. */
enum { THREAD_STACK_BYTES = 256 << 10 };

/* A takeover that has found nothing worth it by now ends early. */
enum { TRIAL_TICKS = 3 };

struct rsl_thread {
    rsl_runtime *rt; /* [K] */
    pthread_t handle;
    int kick_fd; /* [K] eventfd, non-blocking */
    pthread_mutex_t lock;
    pthread_cond_t parked;             /* `ticking` became false */
    bool exiting;                      /* under the lock */
    atomic_bool ticking;               /* [A] written under the lock */
    atomic_bool wanted;                /* [A] a kick that was not answered */
    atomic_int_fast64_t kick_after_ns; /* [A] back-off of useless takeovers */
};

/* Sleep until signalled, or for `timeout_ns` when that is not negative. Watches
 * that become ready are served, and end the sleep as well. */
static void
thread_pause(rsl_thread *thread, int64_t timeout_ns)
{
    struct pollfd fds[2] = {
        {.fd = thread->kick_fd, .events = POLLIN},
        /* ppoll() ignores -1 */
        {.fd = atomic_load(&thread->rt->rwatches.epfd), .events = POLLIN},
    };
    struct timespec timeout = {.tv_nsec = timeout_ns};
    uint64_t count;

    /* Every signal is blocked and the arguments are good: a failure could only
     * end the pause early. */
    if (ppoll(fds, 2, timeout_ns < 0 ? NULL : &timeout, NULL) <= 0) {
        return;
    }
    if (fds[1].revents != 0) {
        rsl_rwatches_serve(thread->rt);
    }
    if (fds[0].revents != 0
        && read(thread->kick_fd, &count, sizeof count) < 0) {
        return; /* another look costs nothing */
    }
}

/* Tick until that is of no more use. */
static void
thread_help(rsl_thread *thread)
{
    rsl_runtime *rt = thread->rt;
    bool always = rt->takeover == RSL_TAKEOVER_ALWAYS;
    bool was_worth_it = false;
    unsigned idle = 0;

    while (!atomic_load(&rt->stopping)) {
        bool worth_it = rsl_tick(rt, always) >= RSL_TICK_WORTH_BYTES;

        was_worth_it |= worth_it;
        idle = worth_it ? 0 : idle + 1;
        atomic_store(&rt->sticky, worth_it || (was_worth_it && idle < 2));
        if (!always
            && idle >= (was_worth_it ? RSL_IDLE_TICKS_MAX : TRIAL_TICKS)) {
            break;
        }
        thread_pause(thread, always ? RSL_TICK_ALWAYS_NS : RSL_TICK_NS);
    }
    atomic_store(&rt->sticky, false);
    if (!was_worth_it) {
        atomic_store(&thread->kick_after_ns,
                     rsl_clock_now_ns() + RSL_KICK_BACKOFF_NS);
    }
}

static void *
thread_main(void *arg)
{
    rsl_thread *thread = arg;
    rsl_runtime *rt = thread->rt;
    bool exiting = false;

    atomic_store(&rt->runtime_tid, (int)gettid());
    while (!exiting) {
        bool go;

        thread_pause(thread, -1);
        go = atomic_exchange(&thread->wanted, false);
        pthread_mutex_lock(&thread->lock);
        exiting = thread->exiting;
        go = go && !exiting && !atomic_load(&rt->stopping);
        atomic_store(&thread->ticking, go);
        pthread_mutex_unlock(&thread->lock);
        if (!go) {
            continue;
        }
        thread_help(thread);
        pthread_mutex_lock(&thread->lock);
        atomic_store(&thread->ticking, false);
        pthread_cond_signal(&thread->parked);
        pthread_mutex_unlock(&thread->lock);
    }
    return NULL;
}

/* A new thread inherits the mask of its maker: with a signal open, the kernel
 * could deliver SIGINT here and leave the loop thread asleep. */
static int
thread_create(rsl_thread *thread)
{
    sigset_t all, before;
    pthread_attr_t attr;
    int code = pthread_attr_init(&attr);

    if (code != 0) {
        return code;
    }
    /* Refused where thread-local storage needs more: the default serves. */
    (void)pthread_attr_setstacksize(&attr, THREAD_STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    code = pthread_create(&thread->handle, &attr, thread_main, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
    if (code == 0) {
        (void)pthread_setname_np(thread->handle, "rsloop_c"); /* cosmetic */
    }
    return code;
}

rsl_status
rsl_thread_new(rsl_runtime *rt, rsl_thread **out, rsl_err *err)
{
    rsl_thread *thread = calloc(1, sizeof *thread);
    int code;

    if (thread == NULL) {
        return RSL_NOMEM;
    }
    thread->rt = rt;
    thread->kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (thread->kick_fd < 0) {
        *err = (rsl_err){.code = errno, .call = "eventfd"};
        goto fail_free;
    }
    pthread_mutex_init(&thread->lock, NULL);
    pthread_cond_init(&thread->parked, NULL);
    code = thread_create(thread);
    if (code != 0) {
        *err = (rsl_err){.code = code, .call = "pthread_create"};
        goto fail_close;
    }
    *out = thread;
    return RSL_OK;

fail_close:
    pthread_cond_destroy(&thread->parked);
    pthread_mutex_destroy(&thread->lock);
    close(thread->kick_fd);
fail_free:
    free(thread);
    return RSL_OS;
}

static void
thread_signal(rsl_thread *thread)
{
    static const uint64_t one = 1;

    if (write(thread->kick_fd, &one, sizeof one) < 0) {
        return; /* EAGAIN: the count is full, so it is readable */
    }
}

void
rsl_thread_free(rsl_thread *thread, bool forked)
{
    if (!forked) {
        pthread_mutex_lock(&thread->lock);
        thread->exiting = true;
        pthread_mutex_unlock(&thread->lock);
        thread_signal(thread);
        pthread_join(thread->handle, NULL);
        pthread_cond_destroy(&thread->parked);
        pthread_mutex_destroy(&thread->lock);
    }
    close(thread->kick_fd);
    free(thread);
}

bool
rsl_thread_has_cpu(void)
{
    cpu_set_t cpus;

    /* Refused where there are more CPUs than the set has room for. */
    return sched_getaffinity(0, sizeof cpus, &cpus) < 0 || CPU_COUNT(&cpus) > 1;
}

void
rsl_thread_kick(rsl_thread *thread)
{
    if (!atomic_load(&thread->ticking)) {
        atomic_store(&thread->wanted, true);
        thread_signal(thread);
    }
}

void
rsl_thread_look(rsl_thread *thread)
{
    thread_signal(thread);
}

void
rsl_thread_park(rsl_thread *thread)
{
    pthread_mutex_lock(&thread->lock);
    atomic_store(&thread->rt->stopping, true);
    if (atomic_load(&thread->ticking)) {
        thread_signal(thread); /* it may be between two ticks */
        while (atomic_load(&thread->ticking)) {
            pthread_cond_wait(&thread->parked, &thread->lock);
        }
    }
    pthread_mutex_unlock(&thread->lock);
}

void
rsl_thread_allow(rsl_thread *thread)
{
    pthread_mutex_lock(&thread->lock);
    atomic_store(&thread->rt->stopping, false);
    pthread_mutex_unlock(&thread->lock);
}

int64_t
rsl_thread_kick_after_ns(const rsl_thread *thread)
{
    return atomic_load(&thread->kick_after_ns);
}
