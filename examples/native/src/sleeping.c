/* SPDX-License-Identifier: Apache-2.0 */
/* Timers of the runtime thread that complete futures, and a state machine on
 * the loop's thread. */
#include <stdlib.h>
#include <string.h>

#include "example.h"

/* --- sleep_and_tag(): who holds what ---
 *
 * `data` is freed by the future when it is over and its handle released. The
 * handle is released when the timer is over, however it came to that. */

typedef struct nap {
    rsloop_future *future;
    rsloop_source *timer;
    char *label;
} nap;

/* The loop's thread, with the GIL: the only place where Python objects are. */
static PyObject *
nap_convert(void *data)
{
    return PyUnicode_FromFormat("native finished: %s", ((nap *)data)->label);
}

/* Nobody waits any more, so nobody needs the timer. */
static void
nap_cancel(void *data, rsloop_status why)
{
    nap *self = data;

    (void)why; /* RSLOOP_CANCELLED, or RSLOOP_CLOSED */
    rsloop_source_close(self->timer);
    self->timer = NULL;
}

static void
nap_free(void *data)
{
    nap *self = data;

    rsloop_source_close(self->timer);
    free(self->label);
    free(self);
}

static const rsloop_future_ops nap_ops = {
    .convert = nap_convert,
    .cancel = nap_cancel,
    .free = nap_free,
};

/* The runtime thread: no GIL, no Python, no waiting. */
static void
nap_event(void *data, uint64_t periods)
{
    (void)periods;
    (void)rsloop_future_complete(((nap *)data)->future);
}

static void
nap_over(void *data)
{
    rsloop_future_release(((nap *)data)->future);
}

PyObject *
example_sleep_and_tag(PyObject *module, PyObject *args)
{
    const char *label;
    double seconds;
    rsloop_locals *locals;
    PyObject *awaitable = NULL;
    nap *self;
    rsloop_source_calls calls = {nap_event, nap_over, NULL};

    (void)module;
    if (!PyArg_ParseTuple(args, "sd:sleep_and_tag", &label, &seconds)) {
        return NULL;
    }
    locals = rsloop_get_current_locals(example_api);
    if (locals == NULL) {
        return NULL; /* RuntimeError: no running event loop */
    }
    self = calloc(1, sizeof(*self));
    if (self == NULL || (self->label = strdup(label)) == NULL) {
        free(self);
        PyErr_NoMemory();
        goto done;
    }
    if (rsloop_runtime_start(locals) == 0) {
        awaitable = rsloop_future_into_py_with_locals(locals, &nap_ops, self,
                                                      &self->future);
    }
    if (awaitable == NULL) {
        nap_free(self);
        goto done;
    }
    calls.data = self;
    if (rsloop_runtime_timer(locals, (int64_t)(seconds * 1e9), 0, &calls,
                             &self->timer)
        != RSLOOP_OK) {
        /* The awaitable raises; who releases is this thread. */
        (void)rsloop_future_fail(self->future, 0, "there is no timer");
        nap_over(self);
    }

done:
    rsloop_locals_unref(locals);
    return awaitable;
}

/* --- count_down(): a local future --- */

typedef struct countdown {
    long steps, left;
} countdown;

static int
countdown_poll(rsloop_future *future, void *data)
{
    countdown *self = data;

    if (self->left == 0) {
        return 1; /* convert() follows */
    }
    self->left--;
    (void)rsloop_future_wake(future); /* others run in between */
    return 0;
}

static PyObject *
countdown_convert(void *data)
{
    return PyLong_FromLong(((countdown *)data)->steps);
}

static const rsloop_future_ops countdown_ops = {
    .convert = countdown_convert,
    .free = free,
    .poll = countdown_poll,
};

PyObject *
example_count_down(PyObject *module, PyObject *args)
{
    countdown *self;
    PyObject *awaitable;
    long steps;

    (void)module;
    if (!PyArg_ParseTuple(args, "l:count_down", &steps)) {
        return NULL;
    }
    if (steps < 0) {
        PyErr_SetString(PyExc_ValueError, "steps must not be negative");
        return NULL;
    }
    self = calloc(1, sizeof(*self));
    if (self == NULL) {
        return PyErr_NoMemory();
    }
    self->steps = self->left = steps;
    awaitable =
        rsloop_local_future_into_py(example_api, &countdown_ops, self, NULL);
    if (awaitable == NULL) {
        free(self);
    }
    return awaitable;
}
