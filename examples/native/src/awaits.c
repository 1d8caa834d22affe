/* SPDX-License-Identifier: Apache-2.0 */
/* A thread of one's own that awaits a coroutine of Python's, without ever
 * having the GIL, and answers with its result. */
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

#include "example.h"

typedef struct question {
    rsloop_locals *locals;
    rsloop_future *future;
    rsloop_await *answer;
    PyObject *function; /* touched on the loop's thread only, as the next two */
    PyObject *result;
    PyObject *exception;
    sem_t answered;
} question;

/* --- The loop's thread, with the GIL --- */

static PyObject *
question_make(void *data)
{
    return PyObject_CallNoArgs(((question *)data)->function);
}

static void
question_done(void *data, PyObject *result, PyObject *exception)
{
    question *self = data;

    Py_XINCREF(result);
    Py_XINCREF(exception);
    self->result = result;
    self->exception = exception;
    sem_post(&self->answered);
}

static const rsloop_await_ops question_await = {question_make, question_done};

static PyObject *
question_convert(void *data)
{
    question *self = data;

    if (self->result != NULL) {
        Py_INCREF(self->result);
        return self->result;
    }
    if (self->exception != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(self->exception), self->exception);
    } else {
        PyErr_SetString(PyExc_RuntimeError, "nobody answered");
    }
    return NULL;
}

/* Who cancels ask() cancels what it awaits. */
static void
question_cancel(void *data, rsloop_status why)
{
    question *self = data;

    if (why == RSLOOP_CANCELLED && self->answer != NULL) {
        (void)rsloop_await_cancel(self->answer);
    }
}

static void
question_free(void *data)
{
    question *self = data;

    rsloop_await_release(self->answer);
    rsloop_locals_unref(self->locals);
    Py_XDECREF(self->function);
    Py_XDECREF(self->result);
    Py_XDECREF(self->exception);
    sem_destroy(&self->answered);
    free(self);
}

static const rsloop_future_ops question_ops = {
    .convert = question_convert,
    .cancel = question_cancel,
    .free = question_free,
};

/* --- The thread: no GIL --- */

static void *
question_thread(void *data)
{
    question *self = data;

    while (sem_wait(&self->answered) != 0) {
        continue; /* EINTR */
    }
    (void)rsloop_future_complete(self->future);
    rsloop_future_release(self->future);
    return NULL;
}

PyObject *
example_ask(PyObject *module, PyObject *function)
{
    question *self = calloc(1, sizeof(*self));
    PyObject *awaitable;
    pthread_t thread;

    (void)module;
    if (self == NULL) {
        return PyErr_NoMemory();
    }
    sem_init(&self->answered, 0, 0);
    self->locals = rsloop_get_current_locals(example_api);
    awaitable = self->locals == NULL
                    ? NULL
                    : rsloop_future_into_py_with_locals(
                          self->locals, &question_ops, self, &self->future);
    if (awaitable == NULL) {
        question_free(self);
        return NULL;
    }
    Py_INCREF(function);
    self->function = function;
    if (pthread_create(&thread, NULL, question_thread, self) != 0) {
        (void)rsloop_future_fail(self->future, 0, "can't start new thread");
        rsloop_future_release(self->future);
        return awaitable;
    }
    pthread_detach(thread);
    /* Any thread may ask; this one, so that cancel() cannot come before there
     * is something to cancel. */
    if (rsloop_await_soon(self->locals, &question_await, self, &self->answer)
        != RSLOOP_OK) {
        sem_post(&self->answered); /* "nobody answered" */
    }
    return awaitable;
}
