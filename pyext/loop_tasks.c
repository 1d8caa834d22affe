/* SPDX-License-Identifier: Apache-2.0 */
/* loop_tasks.c - create_future() and create_task(). */
#include "loop.h"

PyDoc_STRVAR(loop_create_future_doc,
"create_future($self, /)\n--\n\n"
"A new asyncio.Future of this loop.");

static PyObject *
loop_create_future(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    module_state *st = ((LoopObject *)self)->st;
    PyObject *cls = pyrsl_state_look_up(st->futures_names, st->str_Future);
    if (cls == NULL) {
        return NULL;
    }
    PyObject *args[] = {self};
    PyObject *future = PyObject_Vectorcall(cls, args, 0, st->kwnames_loop);
    Py_DECREF(cls);
    return future;
}

/* Arguments that every supported asyncio.Task takes; others go to CPython's
 * create_task(), which knows its own version. */
static bool
loop_task_keywords_known(LoopObject *self, PyObject *kwnames)
{
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *keyword = PyTuple_GET_ITEM(kwnames, i);
        if (keyword == self->st->str_name) {
            continue;
        }
#if PY_VERSION_HEX >= 0x030B0000
        if (keyword == self->st->str_context) {
            continue;
        }
#endif
        return false;
    }
    return true;
}

enum { TASK_KEYWORDS_MAX = 2 };

/* cls(coro, loop=self, **given) */
static PyObject *
loop_new_task(LoopObject *self, PyObject *cls, PyObject *coro,
              PyObject *const *values, PyObject *kwnames)
{
    Py_ssize_t given = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    PyObject *stack[2 + TASK_KEYWORDS_MAX] = {coro, (PyObject *)self};
    if (given == 0) {
        return PyObject_Vectorcall(cls, stack, 1, self->st->kwnames_loop);
    }
    PyObject *names = PyTuple_New(given + 1);
    if (names == NULL) {
        return NULL;
    }
    PyTuple_SET_ITEM(names, 0, Py_NewRef(self->st->str_loop));
    for (Py_ssize_t i = 0; i < given; i++) {
        PyTuple_SET_ITEM(names, i + 1, Py_NewRef(PyTuple_GET_ITEM(kwnames, i)));
        stack[2 + i] = values[i];
    }
    PyObject *task = PyObject_Vectorcall(cls, stack, 1, names);
    Py_DECREF(names);
    return task;
}

/* BaseEventLoop.create_task(self, *args, **kwargs) */
static PyObject *
loop_inherited_create_task(LoopObject *self, PyObject *const *args,
                           Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *method =
        PyObject_GetAttr(self->st->BaseEventLoop, self->st->str_create_task);
    if (method == NULL) {
        return NULL;
    }
    Py_ssize_t total =
        nargs + (kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames));
    PyObject **stack = PyMem_Malloc((size_t)(total + 1) * sizeof(*stack));
    if (stack == NULL) {
        Py_DECREF(method);
        return PyErr_NoMemory();
    }
    stack[0] = (PyObject *)self;
    for (Py_ssize_t i = 0; i < total; i++) {
        stack[i + 1] = args[i];
    }
    PyObject *task =
        PyObject_Vectorcall(method, stack, (size_t)nargs + 1, kwnames);
    PyMem_Free(stack);
    Py_DECREF(method);
    return task;
}

/* asyncio's signature on this Python. */
#if PY_VERSION_HEX >= 0x030E0000
#define CREATE_TASK_SIGNATURE "create_task($self, coro, **kwargs)\n--\n\n"
#elif PY_VERSION_HEX >= 0x030D0300
#define CREATE_TASK_SIGNATURE                                          \
    "create_task($self, coro, *, name=None, context=None, **kwargs)\n" \
    "--\n\n"
#elif PY_VERSION_HEX >= 0x030B0000
#define CREATE_TASK_SIGNATURE \
    "create_task($self, coro, *, name=None, context=None)\n--\n\n"
#else
#define CREATE_TASK_SIGNATURE "create_task($self, coro, *, name=None)\n--\n\n"
#endif

PyDoc_STRVAR(loop_create_task_doc,
CREATE_TASK_SIGNATURE
"Schedule a coroutine; returns its Task (or what the task factory makes).\n\n"
"Keywords are those of asyncio's create_task() on this Python.");

static PyObject *
loop_create_task(LoopObject *self, PyObject *const *args, Py_ssize_t nargs,
                 PyObject *kwnames)
{
    Py_ssize_t given = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    if (nargs != 1 || self->task_factory != Py_None || given > TASK_KEYWORDS_MAX
        || (given > 0 && !loop_task_keywords_known(self, kwnames))) {
        return loop_inherited_create_task(self, args, nargs, kwnames);
    }
    if (pyrsl_loop_check_closed(self) < 0) {
        return NULL;
    }
    PyObject *cls =
        pyrsl_state_look_up(self->st->tasks_names, self->st->str_Task);
    if (cls == NULL) {
        return NULL;
    }
    PyObject *task = loop_new_task(self, cls, args[0], args + 1, kwnames);
    Py_DECREF(cls);
    return task;
}

PyMethodDef pyrsl_loop_task_methods[] = {
    {"create_task", (PyCFunction)(void (*)(void))loop_create_task,
     METH_FASTCALL | METH_KEYWORDS, loop_create_task_doc},
    {"create_future", loop_create_future, METH_NOARGS, loop_create_future_doc},
    {NULL, NULL, 0, NULL},
};
