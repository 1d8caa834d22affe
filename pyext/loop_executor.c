/* SPDX-License-Identifier: Apache-2.0 */
/* loop_executor.c - run_in_executor().
 *
 * Jobs for the default executor that _executor.py has made are queued here.
 * Everything else is asyncio's own code: other executors, the first job, debug
 * mode, whatever has to raise. */
#include "work.h"

/* loop._run_in_executor(*args, **kwargs) */
static PyObject *
executor_cold(LoopObject *self, PyObject *const *args, Py_ssize_t nargs,
              PyObject *kwnames)
{
    Py_ssize_t total =
        nargs + (kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames));
    PyObject **stack = PyMem_Malloc((size_t)(total + 1) * sizeof(*stack));
    if (stack == NULL) {
        return PyErr_NoMemory();
    }
    stack[0] = (PyObject *)self;
    for (Py_ssize_t i = 0; i < total; i++) {
        stack[i + 1] = args[i];
    }
    PyObject *future = PyObject_VectorcallMethod(
        self->st->str_run_in_executor, stack, (size_t)nargs + 1, kwnames);
    PyMem_Free(stack);
    return future;
}

/* The default executor, or NULL without an exception where asyncio's code is to
 * look. */
static PyObject *
executor_default(LoopObject *self)
{
    PyObject *shut = PyObject_GetAttr((PyObject *)self,
                                      self->st->str_executor_shutdown_called);
    Py_XDECREF(shut);
    if (shut != Py_False) {
        PyErr_Clear();
        return NULL;
    }
    PyObject *executor =
        PyObject_GetAttr((PyObject *)self, self->st->str_default_executor);
    if (executor == NULL) {
        PyErr_Clear();
    }
    return executor;
}

/* Its queue, if it is ours and takes jobs; likewise. */
static WorkQueueObject *
executor_queue(LoopObject *self, PyObject *executor)
{
    PyObject *queue = PyObject_GetAttr(executor, self->st->str_work_queue);
    if (queue == NULL) {
        PyErr_Clear();
        return NULL;
    }
    if (Py_IS_TYPE(queue, self->st->WorkQueueType)) {
        int accepts =
            pyrsl_work_queue_accepts((WorkQueueObject *)queue, executor);
        if (accepts == 1) {
            return (WorkQueueObject *)queue;
        }
        PyErr_Clear();
    }
    Py_DECREF(queue);
    return NULL;
}

/* 1, 0 when the queue was closed meanwhile, -1 with an exception. */
static int
executor_put(LoopObject *self, PyObject *executor, WorkQueueObject *queue,
             PyObject *item)
{
    bool short_of_workers;
    int status = pyrsl_work_queue_put(queue, item, &short_of_workers);
    if (status != 1 || !short_of_workers) {
        return status;
    }
    PyObject *none =
        PyObject_CallMethodNoArgs(executor, self->st->str_start_worker);
    Py_XDECREF(none);
    return none == NULL ? -1 : 1;
}

/* The future of call[0](*call[1:]), NULL with an exception, or NULL without
 * one where asyncio's code is to do it. */
static PyObject *
executor_submit(LoopObject *self, PyObject *const *call, Py_ssize_t count)
{
    PyObject *future = NULL, *item = NULL;
    WorkQueueObject *queue = NULL;
    int status = 0;
    PyObject *executor = executor_default(self);
    if (executor == NULL || executor == Py_None) {
        goto done;
    }
    queue = executor_queue(self, executor);
    if (queue == NULL) {
        goto done;
    }
    status = -1;
    future = PyObject_CallMethodNoArgs((PyObject *)self,
                                       self->st->str_create_future);
    if (future == NULL) {
        goto done;
    }
    item = pyrsl_work_item_new(self, future, call, count);
    if (item != NULL) {
        status = executor_put(self, executor, queue, item);
    }

done:
    if (status != 1) {
        Py_CLEAR(future);
    }
    Py_XDECREF(item);
    Py_XDECREF(queue);
    Py_XDECREF(executor);
    return future;
}

PyDoc_STRVAR(loop_run_in_executor_doc,
"run_in_executor($self, executor, func, *args)\n--\n\n"
"Run func(*args) in executor, or in the default one if that is None.\n\n"
"Returns a Future of the loop. Raises RuntimeError when the loop is closed or\n"
"the default executor was shut down.");

static PyObject *
loop_run_in_executor(LoopObject *self, PyObject *const *args, Py_ssize_t nargs,
                     PyObject *kwnames)
{
    if (nargs >= 2 && kwnames == NULL && args[0] == Py_None && !self->debug
        && !atomic_load(&self->closed)) {
        PyObject *future = executor_submit(self, args + 1, nargs - 1);
        if (future != NULL || PyErr_Occurred()) {
            return future;
        }
    }
    return executor_cold(self, args, nargs, kwnames);
}

PyMethodDef pyrsl_loop_executor_methods[] = {
    {"run_in_executor", (PyCFunction)(void (*)(void))loop_run_in_executor,
     METH_FASTCALL | METH_KEYWORDS, loop_run_in_executor_doc},
    {NULL, NULL, 0, NULL},
};
