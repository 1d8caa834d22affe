/* SPDX-License-Identifier: Apache-2.0 */
/* handle_run.c - a Handle in the ready queue, its context, its run. */
#include "errors.h"
#include "handle.h"

/* --- In the ready queue --- */

#ifdef Py_GIL_DISABLED
/* There the collector stops the world and looks at all objects, tracked or
 * not, and reference counts are split between threads. */
void
pyrsl_handle_leave_queue(LoopObject *Py_UNUSED(loop), PyObject *handle)
{
    Py_DECREF(handle);
}

int
pyrsl_handle_traverse_queued(LoopObject *Py_UNUSED(loop), PyObject *handle,
                             visitproc visit, void *arg)
{
    Py_VISIT(handle);
    return 0;
}
#else
void
pyrsl_handle_leave_queue(LoopObject *loop, PyObject *handle)
{
    /* Somebody kept it, maybe in a cycle through its own callback. */
    if (Py_REFCNT(handle) > 1 && pyrsl_handle_is_ours(loop->st, handle)
        && !PyObject_GC_IsTracked(handle)) {
        PyObject_GC_Track(handle);
    }
    Py_DECREF(handle);
}

int
pyrsl_handle_traverse_queued(LoopObject *loop, PyObject *handle,
                             visitproc visit, void *arg)
{
    if (!pyrsl_handle_is_ours(loop->st, handle)
        || PyObject_GC_IsTracked(handle)) {
        Py_VISIT(handle);
        return 0;
    }
    /* Ours alone: its references are as good as the loop's own. Shared: the
     * other owner may be alive, so they count as held from outside. */
    return Py_REFCNT(handle) == 1
               ? pyrsl_handle_traverse((HandleObject *)handle, visit, arg)
               : 0;
}
#endif

/* --- The context --- */

int
pyrsl_handle_own_context(HandleObject *self)
{
    uintptr_t *shares = pyrsl_handle_shares(self);
    if (*shares == 0) {
        return 0;
    }
    PyObject *copy = PyContext_Copy(self->context);
    if (copy == NULL) {
        return -1;
    }
    if (*shares != 0) { /* no finalizer did it meanwhile */
        *shares = 0;
        Py_SETREF(self->context, copy);
    } else {
        Py_DECREF(copy);
    }
    return 0;
}

static PyObject *
handle_get_context(PyObject *object, void *Py_UNUSED(closure))
{
    HandleObject *self = (HandleObject *)object;
    if (pyrsl_handle_own_context(self) < 0) {
        return NULL;
    }
    if (self->context == NULL) {
        PyErr_SetString(PyExc_AttributeError, "_context");
        return NULL;
    }
    return Py_NewRef(self->context);
}

/* In front of asyncio's slot, which would show what is shared. */
PyGetSetDef pyrsl_handle_getset[] = {
    {"_context", handle_get_context, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

#if PY_VERSION_HEX >= 0x030C0000
const char pyrsl_handle_get_context_doc[] =
    PyDoc_STR("get_context($self, /)\n--\n\n"
              "The context that the callback runs in.");

PyObject *
pyrsl_handle_get_context(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    return handle_get_context(self, NULL);
}
#endif

/* --- The run --- */

int
pyrsl_handle_is_cancelled(const module_state *st, PyObject *handle)
{
    if (pyrsl_handle_is_ours(st, handle)) {
        return ((HandleObject *)handle)->cancelled == Py_True;
    }
    PyObject *value = PyObject_GetAttr(handle, st->str_cancelled_attr);
    if (value == NULL) {
        return -1;
    }
    int result = PyObject_IsTrue(value);
    Py_DECREF(value);
    return result;
}

int
pyrsl_handle_failed(LoopObject *loop, PyObject *handle)
{
    if (pyrsl_exception_leaves_loop()) {
        return -1;
    }
    PyObject *exc = PyErr_GetRaisedException();
    PyObject *result = PyObject_CallMethodObjArgs(
        (PyObject *)loop, loop->st->str_on_handle_error, handle, exc, NULL);
    Py_DECREF(exc);
    if (result == NULL) {
        return -1;
    }
    Py_DECREF(result);
    return 0;
}

static PyObject *
handle_call(PyObject *callback, PyObject *args, PyObject *context)
{
    if (PyContext_Enter(context) < 0) {
        return NULL;
    }
    PyObject *result =
        PyObject_Vectorcall(callback, &PyTuple_GET_ITEM(args, 0),
                            (size_t)PyTuple_GET_SIZE(args), NULL);
    if (PyContext_Exit(context) < 0) {
        Py_CLEAR(result);
    }
    return result;
}

int
pyrsl_handle_run(LoopObject *loop, PyObject *object)
{
#if PY_VERSION_HEX >= 0x030E0000
    if (Py_IS_TYPE(object, loop->st->ThreadSafeHandleType)) {
        return pyrsl_threadsafe_handle_run(loop, object);
    }
#endif
    return pyrsl_handle_run_plain(loop, object);
}

static bool
handle_is_live(const HandleObject *self)
{
    return self->cancelled == Py_False && PyTuple_CheckExact(self->args);
}

/* Whoever else has the handle may ask for its context: it has one of its own
 * then. Else it runs in a borrowed one, and keeps that only if it fails, for
 * the report is made in the handle's context. */
static int
handle_run_sharing(LoopObject *loop, HandleObject *self)
{
    PyObject *context = pyrsl_contexts_take(&loop->contexts, self->context);
    if (context == NULL) {
        return pyrsl_handle_failed(loop, (PyObject *)self);
    }
    self->context = NULL;
    *pyrsl_handle_shares(self) = 0;
    PyObject *callback = Py_NewRef(self->callback);
    PyObject *args = Py_NewRef(self->args);
    PyObject *result = handle_call(callback, args, context);
    Py_DECREF(callback);
    Py_DECREF(args);
    if (result == NULL) {
        self->context = context;
        return pyrsl_handle_failed(loop, (PyObject *)self);
    }
    Py_DECREF(result);
    pyrsl_contexts_give(&loop->contexts, context);
    return 0;
}

int
pyrsl_handle_run_plain(LoopObject *loop, PyObject *object)
{
    HandleObject *self = (HandleObject *)object;
    if (*pyrsl_handle_shares(self) != 0) {
        if (Py_REFCNT(object) == 1) {
            return handle_is_live(self) ? handle_run_sharing(loop, self) : 0;
        }
        if (pyrsl_handle_own_context(self) < 0) {
            return pyrsl_handle_failed(loop, object);
        }
    }
    PyObject *callback, *args, *context;
    bool live;
    Py_BEGIN_CRITICAL_SECTION(self);
    live = handle_is_live(self);
    callback = Py_NewRef(self->callback);
    args = Py_NewRef(self->args);
    context = Py_NewRef(self->context);
    Py_END_CRITICAL_SECTION();

    int status = 0;
    if (live) {
        PyObject *result = handle_call(callback, args, context);
        if (result != NULL) {
            Py_DECREF(result);
        } else {
            status = pyrsl_handle_failed(loop, object);
        }
    }
    Py_DECREF(callback);
    Py_DECREF(args);
    Py_DECREF(context);
    return status;
}
