/* SPDX-License-Identifier: Apache-2.0 */
#include "contexts.h"

#include <string.h>

#if !defined(Py_GIL_DISABLED) && PY_VERSION_HEX < 0x030F0000

/* How contextvars.Context begins, from 3.7 to 3.14. */
typedef struct context_layout {
    PyObject_HEAD
    PyObject *previous;
    PyObject *map;
} context_layout;

/* Only ever compared. */
static const void *
context_map(PyObject *context)
{
    return ((const context_layout *)context)->map;
}

static PyObject *
context_current(void)
{
    return PyThreadState_Get()->context;
}

/* Set a variable inside `context`. */
static int
context_change(PyObject *context)
{
    PyObject *variable = PyContextVar_New("rsloop_c", NULL);
    if (variable == NULL || PyContext_Enter(context) < 0) {
        Py_XDECREF(variable);
        return -1;
    }
    PyObject *token = PyContextVar_Set(variable, Py_None);
    Py_DECREF(variable);
    Py_XDECREF(token);
    return PyContext_Exit(context) < 0 || token == NULL ? -1 : 0;
}

int
pyrsl_contexts_probe(module_state *st)
{
    if (PyContext_Type.tp_basicsize < (Py_ssize_t)sizeof(context_layout)) {
        return 0;
    }
    PyObject *first = PyContext_New();
    if (first == NULL || context_change(first) < 0) {
        Py_XDECREF(first);
        return -1;
    }
    PyObject *second = PyContext_Copy(first);
    const void *map = context_map(first);
    bool same = second != NULL && map != NULL && context_map(second) == map;
    if (second == NULL || context_change(second) < 0) {
        Py_DECREF(first);
        Py_XDECREF(second);
        return -1;
    }
    st->contexts_known =
        same && context_map(first) == map && context_map(second) != map;
    Py_DECREF(first);
    Py_DECREF(second);
    return 0;
}

PyObject *
pyrsl_contexts_of_now(pyrsl_contexts *self, const module_state *st,
                      bool *out_shared)
{
    PyObject *current = context_current();
    *out_shared = st->contexts_known;
    if (self->snapshot != NULL && current != NULL
        && context_map(current) == context_map(self->snapshot)) {
        return Py_NewRef(self->snapshot);
    }
    PyObject *copy = PyContext_CopyCurrent();
    if (copy != NULL && st->contexts_known) {
        Py_XSETREF(self->snapshot, Py_NewRef(copy));
    }
    return copy;
}

bool
pyrsl_contexts_is_now(const module_state *st, PyObject *other)
{
    PyObject *current = context_current();
    return st->contexts_known && current != NULL
           && context_map(current) == context_map(other);
}

/* A context to run in, not entered, that holds what `snapshot` does. Adopts
 * `snapshot`; NULL with MemoryError. */
static PyObject *
contexts_take(pyrsl_contexts *self, PyObject *snapshot)
{
    pyrsl_contexts_leave(self);
    PyObject *context = self->spare;
    if (context != NULL && context_map(context) == context_map(snapshot)) {
        self->spare = NULL;
        Py_DECREF(snapshot);
        return context;
    }
    if (self->snapshot == snapshot && Py_REFCNT(snapshot) == 2) {
        Py_CLEAR(self->snapshot); /* nobody else shares it */
    }
    if (Py_REFCNT(snapshot) == 1) {
        return snapshot;
    }
    context = PyContext_Copy(snapshot);
    if (context != NULL) {
        Py_DECREF(snapshot);
    }
    return context;
}

void
pyrsl_contexts_give(pyrsl_contexts *self, PyObject *context)
{
    /* A token or a greenlet may have kept it. */
    if (Py_REFCNT(context) == 1 && self->spare == NULL) {
        self->spare = context;
    } else {
        Py_DECREF(context);
    }
}

/* While a callback runs, its context is not `spare`: a loop that is run from
 * inside of it takes another. */
PyObject *
pyrsl_contexts_enter(pyrsl_contexts *self, PyObject **snapshot)
{
    PyObject *context = self->spare;
    if (self->inside && context_map(context) == context_map(*snapshot)) {
        self->spare = NULL;
        self->inside = false;
        Py_CLEAR(*snapshot);
        return context;
    }
    context = contexts_take(self, *snapshot);
    if (context == NULL) {
        return NULL;
    }
    *snapshot = NULL;
    if (PyContext_Enter(context) < 0) {
        *snapshot = context;
        return NULL;
    }
    return context;
}

/* Two references are ours and the thread's: a token or a greenlet may have
 * kept it. */
bool
pyrsl_contexts_keep(pyrsl_contexts *self, PyObject *context)
{
    if (Py_REFCNT(context) != 2 || self->spare != NULL
        || context_current() != context) {
        return false;
    }
    self->spare = context;
    self->inside = true;
    return true;
}

void
pyrsl_contexts_exit(pyrsl_contexts *self)
{
    self->inside = false;
    if (PyContext_Exit(self->spare) < 0) {
        /* An extension changed the thread's context behind our back. */
        PyErr_WriteUnraisable(self->spare);
        Py_CLEAR(self->spare);
    }
}

#else

int
pyrsl_contexts_probe(module_state *st)
{
    st->contexts_known = false;
    return 0;
}

PyObject *
pyrsl_contexts_of_now(pyrsl_contexts *Py_UNUSED(self),
                      const module_state *Py_UNUSED(st), bool *out_shared)
{
    *out_shared = false;
    return PyContext_CopyCurrent();
}

bool
pyrsl_contexts_is_now(const module_state *Py_UNUSED(st),
                      PyObject *Py_UNUSED(other))
{
    return false;
}

static PyObject *
contexts_take(pyrsl_contexts *Py_UNUSED(self), PyObject *snapshot)
{
    return snapshot;
}

void
pyrsl_contexts_give(pyrsl_contexts *Py_UNUSED(self), PyObject *context)
{
    Py_DECREF(context);
}

void
pyrsl_contexts_exit(pyrsl_contexts *Py_UNUSED(self))
{
}

#endif

PyObject *
pyrsl_contexts_borrow(pyrsl_contexts *self, const module_state *st,
                      PyObject *source)
{
    if (!st->contexts_known) {
        return PyContext_Copy(source);
    }
    PyObject *context = contexts_take(self, Py_NewRef(source));
    if (context == NULL) {
        Py_DECREF(source);
    }
    return context;
}

void
pyrsl_contexts_clear(pyrsl_contexts *self)
{
    pyrsl_contexts_leave(self);
    Py_CLEAR(self->snapshot);
    Py_CLEAR(self->spare);
}

int
pyrsl_contexts_traverse(pyrsl_contexts *self, visitproc visit, void *arg)
{
    Py_VISIT(self->snapshot);
    Py_VISIT(self->spare);
    return 0;
}
