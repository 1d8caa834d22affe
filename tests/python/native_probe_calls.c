/* SPDX-License-Identifier: Apache-2.0 */
/* native_probe_calls.c - awaits, calls, sources, and many threads at once. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <rsloop_c.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "native_probe.h"

/* --- Awaits --- */

static PyObject *
await_make(void *recorder)
{
    return PyObject_CallFunction(recorder, "s", "make");
}

static void
await_done(void *recorder, PyObject *result, PyObject *exception)
{
    Py_XDECREF(PyObject_CallFunction(recorder, "sOO", "done",
                                     result == NULL ? Py_None : result,
                                     exception == NULL ? Py_None : exception));
    Py_DECREF((PyObject *)recorder);
}

static const rsloop_await_ops await_ops = {await_make, await_done};

/* into_future(locals, awaitable, recorder, keep) -> handle */
static PyObject *
probe_into_future(PyObject *module, PyObject *args)
{
    unsigned long long locals;
    PyObject *awaitable, *recorder;
    rsloop_await *handle = NULL;
    int keep;

    (void)module;
    if (!PyArg_ParseTuple(args, "KOOp", &locals, &awaitable, &recorder,
                          &keep)) {
        return NULL;
    }
    Py_INCREF(recorder);
    if (rsloop_into_future_with_locals((rsloop_locals *)(uintptr_t)locals,
                                       awaitable, &await_ops, recorder,
                                       keep ? &handle : NULL)
        < 0) {
        Py_DECREF(recorder);
        return NULL;
    }
    return PyLong_FromUnsignedLongLong((uintptr_t)handle);
}

typedef struct soon {
    rsloop_locals *locals;
    void *data;
    rsloop_await *handle;
    const rsloop_source_calls *calls;
    int64_t delay_ns, period_ns;
    int fd;
    uint32_t events;
    rsloop_source *source;
    int handleless;
} soon;

static int
await_soon_run(void *arg)
{
    soon *self = arg;

    return (int)rsloop_await_soon(self->locals, &await_ops, self->data,
                                  self->handleless ? NULL : &self->handle);
}

/* (locals, recorder, native): lend `post` a recorder by `self`; what it said,
 * or -1 with an exception. */
static int
probe_post(PyObject *args, soon *self, int (*post)(void *arg))
{
    unsigned long long locals;
    PyObject *recorder;
    int native;

    if (!PyArg_ParseTuple(args, "KOp", &locals, &recorder, &native)) {
        return -1;
    }
    self->locals = (rsloop_locals *)(uintptr_t)locals;
    self->data = recorder;
    Py_INCREF(recorder);
    int status = probe_without_gil(native, post, self);
    if (status != RSLOOP_OK) {
        Py_DECREF(recorder);
    }
    return status;
}

static PyObject *
await_soon_how(PyObject *args, int handleless)
{
    soon self = {.handleless = handleless};
    int status = probe_post(args, &self, await_soon_run);

    if (status < 0) {
        return NULL;
    }
    return Py_BuildValue("NK", probe_status(status),
                         (unsigned long long)(uintptr_t)self.handle);
}

/* await_soon(locals, recorder, native) -> (status, handle) */
static PyObject *
probe_await_soon(PyObject *module, PyObject *args)
{
    (void)module;
    return await_soon_how(args, 0);
}

/* The same without a handle, which is then 0. */
static PyObject *
probe_await_soon_alone(PyObject *module, PyObject *args)
{
    (void)module;
    return await_soon_how(args, 1);
}

static int
nulls_run(void *arg)
{
    (void)arg;
    rsloop_locals_unref(NULL);
    rsloop_future_release(NULL);
    rsloop_await_release(NULL);
    rsloop_source_close(NULL);
    return 0;
}

/* What ignores NULL gets it. */
static PyObject *
probe_nulls(PyObject *module, PyObject *native)
{
    (void)module;
    return PyLong_FromLong(
        probe_without_gil(PyObject_IsTrue(native), nulls_run, NULL));
}

static int
await_cancel_run(void *arg)
{
    return (int)rsloop_await_cancel(arg);
}

static int
await_release_run(void *arg)
{
    rsloop_await_release(arg);
    return 0;
}

/* await_op(handle, op, native) -> status */
static PyObject *
probe_await_op(PyObject *module, PyObject *args)
{
    unsigned long long handle;
    const char *op;
    int native;

    (void)module;
    if (!PyArg_ParseTuple(args, "Ksp", &handle, &op, &native)) {
        return NULL;
    }
    return probe_status(probe_without_gil(
        native,
        strcmp(op, "cancel") == 0 ? await_cancel_run : await_release_run,
        (void *)(uintptr_t)handle));
}

/* --- Calls on the loop's thread --- */

static int
call_run(void *recorder)
{
    PyObject *none = PyObject_CallFunction(recorder, "s", "run");

    Py_XDECREF(none);
    Py_DECREF((PyObject *)recorder);
    return none == NULL ? -1 : 0;
}

static void
call_drop(void *recorder)
{
    Py_XDECREF(PyObject_CallFunction(recorder, "s", "drop"));
    Py_DECREF((PyObject *)recorder);
}

static const rsloop_call_ops call_ops = {call_run, call_drop};

static int
call_soon_run(void *arg)
{
    soon *self = arg;

    return (int)rsloop_call_soon(self->locals, &call_ops, self->data);
}

/* call_soon(locals, recorder, native) -> status */
static PyObject *
probe_call_soon(PyObject *module, PyObject *args)
{
    soon self = {0};
    int status = probe_post(args, &self, call_soon_run);

    (void)module;
    return status < 0 ? NULL : probe_status(status);
}

/* --- The runtime thread and the pool: counted, for there is no Python --- */

typedef struct tally {
    atomic_ullong events, overs, last;
    atomic_int tid;
    int read_fd; /* -1, or where a byte is read from */
} tally;

static void
tally_event(void *data, uint64_t what)
{
    tally *self = data;
    char byte;

    if (self->read_fd >= 0 && read(self->read_fd, &byte, 1) < 0) {
        return;
    }
    atomic_store(&self->last, what);
    atomic_store(&self->tid, (int)gettid());
    atomic_fetch_add(&self->events, 1);
}

static void
tally_over(void *data)
{
    atomic_fetch_add(&((tally *)data)->overs, 1);
}

static int
watch_run(void *arg)
{
    soon *self = arg;

    return (int)rsloop_runtime_watch(self->locals, self->fd, self->events,
                                     self->calls, &self->source);
}

static int
timer_run(void *arg)
{
    soon *self = arg;

    return (int)rsloop_runtime_timer(self->locals, self->delay_ns,
                                     self->period_ns, self->calls,
                                     self->handleless ? NULL : &self->source);
}

static int
post_run(void *arg)
{
    soon *self = arg;

    return (int)rsloop_runtime_post(self->locals, self->calls);
}

static int
pool_run(void *arg)
{
    soon *self = arg;

    return (int)rsloop_run_blocking(probe_api, tally_over, self->calls->data);
}

static PyObject *
probe_runtime_start(PyObject *module, PyObject *arg)
{
    rsloop_locals *locals =
        (rsloop_locals *)(uintptr_t)PyLong_AsUnsignedLongLong(arg);

    (void)module;
    if (rsloop_runtime_start(locals) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

/* begin(what, locals, fd, events, delay_ns, period_ns, native)
 * -> (status, source, tally); "timer-" has no handle */
static PyObject *
probe_begin(PyObject *module, PyObject *args)
{
    const char *what;
    unsigned long long locals;
    long long delay_ns, period_ns;
    int native;
    soon self = {0};

    (void)module;
    if (!PyArg_ParseTuple(args, "sKiILLp", &what, &locals, &self.fd,
                          &self.events, &delay_ns, &period_ns, &native)) {
        return NULL;
    }
    tally *counts = calloc(1, sizeof(*counts));
    rsloop_source_calls calls = {tally_event, tally_over, counts};
    counts->read_fd = what[0] == 'w' ? self.fd : -1;
    self.handleless = strchr(what, '-') != NULL;
    self.locals = (rsloop_locals *)(uintptr_t)locals;
    self.calls = &calls;
    self.delay_ns = delay_ns;
    self.period_ns = period_ns;
    int status = probe_without_gil(native,
                                   what[0] == 'w'   ? watch_run
                                   : what[0] == 't' ? timer_run
                                   : what[0] == 'p' ? post_run
                                                    : pool_run,
                                   &self);
    return Py_BuildValue("NKK", probe_status(status),
                         (unsigned long long)(uintptr_t)self.source,
                         (unsigned long long)(uintptr_t)counts);
}

/* tally(tally) -> (events, overs, last, tid) */
static PyObject *
probe_tally(PyObject *module, PyObject *arg)
{
    tally *self = (tally *)(uintptr_t)PyLong_AsUnsignedLongLong(arg);

    (void)module;
    return Py_BuildValue("KKKi", atomic_load(&self->events),
                         atomic_load(&self->overs), atomic_load(&self->last),
                         atomic_load(&self->tid));
}

static PyObject *
probe_tally_free(PyObject *module, PyObject *arg)
{
    (void)module;
    free((void *)(uintptr_t)PyLong_AsUnsignedLongLong(arg));
    Py_RETURN_NONE;
}

static int
source_close_run(void *arg)
{
    rsloop_source_close(arg);
    return 0;
}

static int
source_change_run(void *arg)
{
    soon *self = arg;

    return (int)rsloop_source_change(self->source, self->events);
}

/* source(handle, events or 0 to close, native) -> status */
static PyObject *
probe_source(PyObject *module, PyObject *args)
{
    unsigned long long handle;
    int native;
    soon self = {0};

    (void)module;
    if (!PyArg_ParseTuple(args, "KIp", &handle, &self.events, &native)) {
        return NULL;
    }
    self.source = (rsloop_source *)(uintptr_t)handle;
    return probe_status(
        self.events == 0
            ? probe_without_gil(native, source_close_run, self.source)
            : probe_without_gil(native, source_change_run, &self));
}

/* --- Many at once --- */

typedef struct burst {
    atomic_uint left; /* threads, and the maker */
    size_t count;
    unsigned threads;
    atomic_uint next;
    rsloop_future *futures[];
} burst;

static void
burst_unref(burst *self)
{
    if (atomic_fetch_sub(&self->left, 1) == 1) {
        free(self);
    }
}

/* Each thread completes every n-th; also what another has completed. */
static void *
burst_thread(void *arg)
{
    burst *self = arg;
    unsigned mine = atomic_fetch_add(&self->next, 1);

    for (size_t i = mine; i < self->count; i += self->threads) {
        (void)rsloop_future_complete(self->futures[i]);
        (void)rsloop_future_fail(self->futures[i], 0, "too late");
        rsloop_future_release(self->futures[i]);
    }
    burst_unref(self);
    return NULL;
}

static PyObject *
burst_convert(void *data)
{
    return PyLong_FromSize_t((size_t)(uintptr_t)data);
}

static const rsloop_future_ops burst_ops = {.convert = burst_convert};

/* burst(count, threads) -> awaitables of 0..count-1 */
static PyObject *
probe_burst(PyObject *module, PyObject *args)
{
    Py_ssize_t count;
    unsigned threads;

    (void)module;
    if (!PyArg_ParseTuple(args, "nI", &count, &threads)) {
        return NULL;
    }
    burst *self =
        calloc(1, sizeof(*self) + (size_t)count * sizeof(self->futures[0]));
    PyObject *list = PyList_New(count);
    self->count = (size_t)count;
    self->threads = threads;
    atomic_init(&self->left, threads + 1);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *awaitable = rsloop_future_into_py(
            probe_api, &burst_ops, (void *)(uintptr_t)i, &self->futures[i]);
        if (awaitable == NULL) {
            Py_DECREF(list);
            return NULL; /* what there is leaks: a test fails anyway */
        }
        PyList_SET_ITEM(list, i, awaitable);
    }
    for (unsigned i = 0; i < threads; i++) {
        pthread_t thread;

        if (pthread_create(&thread, NULL, burst_thread, self) == 0) {
            pthread_detach(thread);
        }
    }
    burst_unref(self);
    return list;
}

PyMethodDef probe_more[] = {
    {"into_future", probe_into_future, METH_VARARGS, NULL},
    {"await_soon", probe_await_soon, METH_VARARGS, NULL},
    {"await_soon_alone", probe_await_soon_alone, METH_VARARGS, NULL},
    {"nulls", probe_nulls, METH_O, NULL},
    {"await_op", probe_await_op, METH_VARARGS, NULL},
    {"call_soon", probe_call_soon, METH_VARARGS, NULL},
    {"runtime_start", probe_runtime_start, METH_O, NULL},
    {"begin", probe_begin, METH_VARARGS, NULL},
    {"tally", probe_tally, METH_O, NULL},
    {"tally_free", probe_tally_free, METH_O, NULL},
    {"source", probe_source, METH_VARARGS, NULL},
    {"burst", probe_burst, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
