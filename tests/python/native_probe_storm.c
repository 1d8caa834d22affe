/* SPDX-License-Identifier: Apache-2.0 */
/* native_probe_storm.c - threads without the GIL that use all there is for them
 * at once, while the loop runs, closes, or the interpreter ends. What was taken
 * has to be over exactly once. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <errno.h>
#include <pthread.h>
#include <rsloop_c.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "native_probe.h"

enum { CALLS, AWAITS, POSTS, TIMERS, WATCHES, JOBS, KINDS, THREADS_MAX = 8 };

#define HOUR_NS INT64_C(3600000000000)

typedef struct storm {
    rsloop_locals *locals;
    int fd; /* readable for good, or -1 */
    unsigned threads;
    unsigned long rounds;
    atomic_ulong taken[KINDS];
    atomic_ulong over[KINDS];
    atomic_ulong odd; /* statuses that nothing explains */
    pthread_t ids[THREADS_MAX];
} storm;

static void
storm_over(storm *self, int kind)
{
    atomic_fetch_add(&self->over[kind], 1);
}

/* Whether `status` says that it was taken. Of its place in `taken` the caller
 * has made use before: it may be over by now. */
static int
storm_took(storm *self, int kind, rsloop_status status)
{
    if (status == RSLOOP_OK) {
        return 1;
    }
    atomic_fetch_sub(&self->taken[kind], 1);
    /* EEXIST: another thread watches the same descriptor. */
    if (status != RSLOOP_CLOSED
        && !(kind == WATCHES && status == RSLOOP_OS && errno == EEXIST)) {
        atomic_fetch_add(&self->odd, 1);
    }
    return 0;
}

static int
storm_run(void *data)
{
    storm_over(data, CALLS);
    return 0;
}

static void
storm_drop(void *data)
{
    storm_over(data, CALLS);
}

/* A future that is done: a task would complain when its loop is closed. */
static PyObject *
storm_make(void *data)
{
    PyObject *loop = rsloop_locals_loop(((storm *)data)->locals);
    PyObject *made = NULL, *none = NULL;

    if (loop != NULL) {
        made = PyObject_CallMethod(loop, "create_future", NULL);
        Py_DECREF(loop);
    }
    if (made != NULL) {
        none = PyObject_CallMethod(made, "set_result", "O", Py_None);
    }
    if (none == NULL) {
        Py_CLEAR(made);
    }
    Py_XDECREF(none);
    return made;
}

static void
storm_done(void *data, PyObject *result, PyObject *exception)
{
    (void)result;
    (void)exception;
    storm_over(data, AWAITS);
}

static void
storm_event(void *data, uint64_t what)
{
    (void)data;
    (void)what;
}

static void
storm_post_over(void *data)
{
    storm_over(data, POSTS);
}

static void
storm_timer_over(void *data)
{
    storm_over(data, TIMERS);
}

static void
storm_watch_over(void *data)
{
    storm_over(data, WATCHES);
}

static void
storm_job(void *data)
{
    storm_over(data, JOBS);
}

static const rsloop_call_ops storm_call_ops = {storm_run, storm_drop};
static const rsloop_await_ops storm_await_ops = {storm_make, storm_done};

static void
storm_loop_thread(storm *self, unsigned long round)
{
    rsloop_await *handle = NULL;

    atomic_fetch_add(&self->taken[CALLS], 1);
    (void)storm_took(self, CALLS,
                     rsloop_call_soon(self->locals, &storm_call_ops, self));
    atomic_fetch_add(&self->taken[AWAITS], 1);
    if (storm_took(
            self, AWAITS,
            rsloop_await_soon(self->locals, &storm_await_ops, self, &handle))) {
        if (round % 2 == 0) {
            (void)rsloop_await_cancel(handle);
        }
        rsloop_await_release(handle);
    }
}

static void
storm_runtime_thread(storm *self)
{
    const rsloop_source_calls post = {storm_event, storm_post_over, self};
    const rsloop_source_calls timer = {storm_event, storm_timer_over, self};
    const rsloop_source_calls watch = {storm_event, storm_watch_over, self};
    rsloop_source *source = NULL;

    atomic_fetch_add(&self->taken[POSTS], 1);
    (void)storm_took(self, POSTS, rsloop_runtime_post(self->locals, &post));
    atomic_fetch_add(&self->taken[TIMERS], 1);
    (void)storm_took(self, TIMERS,
                     rsloop_runtime_timer(self->locals, 1, 0, &timer, NULL));
    atomic_fetch_add(&self->taken[TIMERS], 1);
    if (storm_took(self, TIMERS,
                   rsloop_runtime_timer(self->locals, HOUR_NS, HOUR_NS, &timer,
                                        &source))) {
        rsloop_source_close(source);
    }
    atomic_fetch_add(&self->taken[WATCHES], 1);
    if (self->fd < 0) {
        atomic_fetch_sub(&self->taken[WATCHES], 1);
    } else if (storm_took(self, WATCHES,
                          rsloop_runtime_watch(self->locals, self->fd, EPOLLIN,
                                               &watch, &source))) {
        (void)rsloop_source_change(source, EPOLLIN | EPOLLONESHOT);
        rsloop_source_close(source);
    }
}

static void *
storm_thread(void *arg)
{
    storm *self = arg;

    for (unsigned long round = 0; round < self->rounds; round++) {
        rsloop_locals *locals = rsloop_locals_ref(self->locals);

        storm_loop_thread(self, round);
        storm_runtime_thread(self);
        atomic_fetch_add(&self->taken[JOBS], 1);
        (void)storm_took(self, JOBS,
                         rsloop_run_blocking(probe_api, storm_job, self));
        rsloop_locals_unref(locals);
    }
    rsloop_locals_unref(self->locals);
    return NULL;
}

/* storm(locals, fd, threads, rounds) -> storm, of a runtime thread that runs */
static PyObject *
probe_storm(PyObject *module, PyObject *args)
{
    unsigned long long locals;
    storm *self = calloc(1, sizeof(*self));

    (void)module;
    if (self == NULL) {
        return PyErr_NoMemory();
    }
    if (!PyArg_ParseTuple(args, "KiIk", &locals, &self->fd, &self->threads,
                          &self->rounds)
        || self->threads > THREADS_MAX) {
        free(self);
        return NULL;
    }
    self->locals = (rsloop_locals *)(uintptr_t)locals;
    for (unsigned i = 0; i < self->threads; i++) {
        (void)rsloop_locals_ref(self->locals);
        if (pthread_create(&self->ids[i], NULL, storm_thread, self) != 0) {
            Py_FatalError("no thread");
        }
    }
    return PyLong_FromUnsignedLongLong((uintptr_t)self);
}

/* storm_join(storm): wait for its threads. */
static PyObject *
probe_storm_join(PyObject *module, PyObject *arg)
{
    storm *self = (storm *)(uintptr_t)PyLong_AsUnsignedLongLong(arg);

    (void)module;
    Py_BEGIN_ALLOW_THREADS
    for (unsigned i = 0; i < self->threads; i++) {
        pthread_join(self->ids[i], NULL);
    }
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

/* storm_left(storm) -> [taken, over] of each kind, and how much is odd */
static PyObject *
probe_storm_left(PyObject *module, PyObject *arg)
{
    storm *self = (storm *)(uintptr_t)PyLong_AsUnsignedLongLong(arg);
    PyObject *list = PyList_New(0);

    (void)module;
    for (int kind = 0; list != NULL && kind < KINDS; kind++) {
        PyObject *pair = Py_BuildValue("(kk)", atomic_load(&self->taken[kind]),
                                       atomic_load(&self->over[kind]));
        if (pair == NULL || PyList_Append(list, pair) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(pair);
    }
    return list == NULL ? NULL
                        : Py_BuildValue("(Nk)", list, atomic_load(&self->odd));
}

static PyObject *
probe_storm_free(PyObject *module, PyObject *arg)
{
    (void)module;
    free((void *)(uintptr_t)PyLong_AsUnsignedLongLong(arg));
    Py_RETURN_NONE;
}

PyMethodDef probe_storms[] = {
    {"storm", probe_storm, METH_VARARGS, NULL},
    {"storm_join", probe_storm_join, METH_O, NULL},
    {"storm_left", probe_storm_left, METH_O, NULL},
    {"storm_free", probe_storm_free, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
