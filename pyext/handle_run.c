/* SPDX-License-Identifier: Apache-2.0 */
/* handle_run.c - a Handle in the ready queue, and out of it: its run. */
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

/* A callback raised. The report is asyncio's, made by Loop._on_handle_error()
 * in Python: message, exception, handle, source_traceback. */
static int
handle_failed(LoopObject *loop, PyObject *handle)
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

int
pyrsl_handle_run_plain(LoopObject *loop, PyObject *object)
{
    HandleObject *self = (HandleObject *)object;
    PyObject *callback, *args, *context;
    bool live;
    Py_BEGIN_CRITICAL_SECTION(self);
    live = self->cancelled == Py_False && PyTuple_CheckExact(self->args);
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
            status = handle_failed(loop, object);
        }
    }
    Py_DECREF(callback);
    Py_DECREF(args);
    Py_DECREF(context);
    return status;
}
