/* SPDX-License-Identifier: Apache-2.0 */
#include "handle.h"

#include <stddef.h>
#include <string.h>

static void
handle_slots_clear(HandleObject *self)
{
    pyrsl_handle_clear_args(self);
    Py_CLEAR(self->callback);
    Py_CLEAR(self->cancelled);
    Py_CLEAR(self->context);
    Py_CLEAR(self->loop);
    Py_CLEAR(self->repr);
    Py_CLEAR(self->source_traceback);
}

int
pyrsl_handle_clear(HandleObject *self)
{
    handle_slots_clear(self);
    return 0;
}

int
pyrsl_handle_traverse(HandleObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->args);
    Py_VISIT(self->callback);
    Py_VISIT(self->context);
    Py_VISIT(self->loop);
    Py_VISIT(self->repr);
    Py_VISIT(self->source_traceback);
    const handle_tail *tail = pyrsl_handle_tail(self);
    for (int i = 0; i < tail->count; i++) {
        Py_VISIT(tail->args[i]);
    }
    return 0;
}

void
pyrsl_handle_dealloc(HandleObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    PyObject_ClearWeakRefs((PyObject *)self);
    LoopObject *loop = (LoopObject *)self->loop;
    self->loop = NULL;
    if (!pyrsl_handle_keep(loop, self)) {
        handle_slots_clear(self);
        PyObject_GC_Del(self);
        Py_DECREF(type);
    }
    Py_XDECREF(loop);
}

static int
timer_clear(TimerHandleObject *self)
{
    Py_CLEAR(self->scheduled);
    Py_CLEAR(self->when);
    return pyrsl_handle_clear(&self->handle);
}

static void
timer_dealloc(TimerHandleObject *self)
{
    PyObject_GC_UnTrack(self);
    Py_CLEAR(self->scheduled);
    Py_CLEAR(self->when);
    pyrsl_handle_dealloc(&self->handle);
}

static PyObject *
handle_debug_repr(HandleObject *self)
{
    LoopObject *loop = (LoopObject *)self->loop;
    if (loop == NULL || !loop->debug) {
        return NULL;
    }
    return PyObject_Repr((PyObject *)self);
}

/* asyncio.Handle.cancel(): in debug mode remembers the repr, then drops the
 * callback so that it cannot keep anything alive. */
int
pyrsl_handle_cancel_locked(HandleObject *self)
{
    if (self->cancelled == Py_True) {
        return 0;
    }
    Py_XSETREF(self->cancelled, Py_NewRef(Py_True));
    PyObject *repr = handle_debug_repr(self);
    if (repr == NULL && PyErr_Occurred()) {
        return -1;
    }
    if (repr != NULL) {
        Py_XSETREF(self->repr, repr);
    }
    Py_XSETREF(self->callback, Py_NewRef(Py_None));
    pyrsl_handle_clear_args(self);
    if (self->args == NULL) { /* no finalizer set it */
        self->args = Py_NewRef(Py_None);
    }
    return 0;
}

PyDoc_STRVAR(handle_cancel_doc,
"cancel($self, /)\n--\n\n"
"Cancel the callback. Cancelling twice, or after it ran, does nothing.");

static PyObject *
handle_cancel(HandleObject *self, PyObject *Py_UNUSED(ignored))
{
    int status;
    Py_BEGIN_CRITICAL_SECTION(self);
    status = pyrsl_handle_cancel_locked(self);
    Py_END_CRITICAL_SECTION();
    if (status < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(timer_cancel_doc,
"cancel($self, /)\n--\n\n"
"Cancel the call. What it refers to is free at once.");

static PyObject *
timer_cancel(TimerHandleObject *self, PyObject *Py_UNUSED(ignored))
{
    /* NULL once the garbage collector has taken the handle apart. */
    LoopObject *loop = (LoopObject *)self->handle.loop;
    bool was_cancelled = self->handle.cancelled == Py_True;
    Py_INCREF(self);
    PyObject *result = handle_cancel(&self->handle, NULL);
    if (loop != NULL && !was_cancelled) {
        Py_BEGIN_CRITICAL_SECTION(loop);
        if (self->scheduled == Py_True) {
            pyrsl_timers_cancelled(&loop->timers, self);
        }
        Py_END_CRITICAL_SECTION();
    }
    Py_DECREF(self);
    return result;
}

const char pyrsl_handle_run_doc[] = PyDoc_STR(
    "_run($self, /)\n--\n\n"
    "Call callback(*args) in the handle's context, as asyncio.Handle._run().");

PyObject *
pyrsl_handle_run_method(PyObject *self, PyObject *Py_UNUSED(ignored))
{
    LoopObject *loop = (LoopObject *)((HandleObject *)self)->loop;
    if (loop != NULL && pyrsl_handle_run(loop, self) < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyMethodDef pyrsl_handle_methods[] = {
    PYRSL_HANDLE_GET_CONTEXT{"cancel",
                             (PyCFunction)(void (*)(void))handle_cancel,
                             METH_NOARGS, handle_cancel_doc},
    {"_run", pyrsl_handle_run_method, METH_NOARGS, pyrsl_handle_run_doc},
    {NULL, NULL, 0, NULL},
};

static PyMethodDef timer_methods[] = {
    PYRSL_HANDLE_GET_CONTEXT{"cancel",
                             (PyCFunction)(void (*)(void))timer_cancel,
                             METH_NOARGS, timer_cancel_doc},
    {"_run", pyrsl_handle_run_method, METH_NOARGS, pyrsl_handle_run_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot handle_slots[] = {
    {Py_tp_doc, "A callback that call_soon() has queued."},
    {Py_tp_dealloc, pyrsl_handle_dealloc},
    {Py_tp_traverse, pyrsl_handle_traverse},
    {Py_tp_clear, pyrsl_handle_clear},
    {Py_tp_methods, pyrsl_handle_methods},
    {Py_tp_getset, pyrsl_handle_getset},
    {0, NULL},
};

static int
timer_traverse(TimerHandleObject *self, visitproc visit, void *arg)
{
    Py_VISIT(self->when);
    return pyrsl_handle_traverse(&self->handle, visit, arg);
}

static PyType_Slot timer_slots[] = {
    {Py_tp_doc, "A callback that call_later() or call_at() has scheduled."},
    {Py_tp_dealloc, timer_dealloc},
    {Py_tp_traverse, timer_traverse},
    {Py_tp_clear, timer_clear},
    {Py_tp_methods, timer_methods},
    {Py_tp_getset, pyrsl_handle_getset},
    {0, NULL},
};

static PyType_Spec handle_spec = {
    .name = "rsloop_c._core.Handle",
    .basicsize = sizeof(PlainHandleObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = handle_slots,
};

static PyType_Spec timer_spec = {
    .name = "rsloop_c._core.TimerHandle",
    .basicsize = sizeof(TimerHandleObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = timer_slots,
};

static const pyrsl_slot_place handle_places[] = {
    {"_args", offsetof(HandleObject, args)},
    {"_callback", offsetof(HandleObject, callback)},
    {"_cancelled", offsetof(HandleObject, cancelled)},
    {"_context", offsetof(HandleObject, context)},
    {"_loop", offsetof(HandleObject, loop)},
    {"_repr", offsetof(HandleObject, repr)},
    {"_source_traceback", offsetof(HandleObject, source_traceback)},
    {NULL, 0},
};

static const pyrsl_slot_place timer_places[] = {
    {"_scheduled", offsetof(TimerHandleObject, scheduled)},
    {"_when", offsetof(TimerHandleObject, when)},
    {NULL, 0},
};

int
pyrsl_layout_check(PyObject *base, const pyrsl_slot_place *places, size_t size)
{
    PyTypeObject *type = (PyTypeObject *)base;
    bool same = type->tp_basicsize == (Py_ssize_t)size;
    for (; same && places->name != NULL; places++) {
        PyObject *member = PyObject_GetAttrString(base, places->name);
        if (member == NULL) {
            return -1;
        }
        same = Py_IS_TYPE(member, &PyMemberDescr_Type)
               && ((PyMemberDescrObject *)member)->d_member->offset
                      == (Py_ssize_t)places->offset;
        Py_DECREF(member);
    }
    if (!same) {
        PyErr_Format(PyExc_ImportError,
                     "rsloop_c does not know the layout of %s on this Python",
                     type->tp_name);
        return -1;
    }
    return 0;
}

/* Where weak references to a Handle are kept. */
static bool
layout_weakrefs_known(PyTypeObject *type)
{
#if PY_VERSION_HEX < 0x030C0000
    return type->tp_weaklistoffset
           == (Py_ssize_t)offsetof(HandleObject, weakreflist);
#else
    return (type->tp_flags & Py_TPFLAGS_MANAGED_WEAKREF) != 0;
#endif
}

PyTypeObject *
pyrsl_type_on(PyObject *module, PyType_Spec *spec, PyObject *base)
{
    PyObject *bases = PyTuple_Pack(1, base);
    if (bases == NULL) {
        return NULL;
    }
    PyObject *type = PyType_FromModuleAndSpec(module, spec, bases);
    Py_DECREF(bases);
    return (PyTypeObject *)type;
}

int
pyrsl_handle_types(PyObject *module, module_state *st)
{
    if (pyrsl_layout_check(st->AsyncioHandle, handle_places,
                           sizeof(HandleObject))
            < 0
        || !layout_weakrefs_known((PyTypeObject *)st->AsyncioHandle)
        || pyrsl_layout_check(st->AsyncioTimerHandle, timer_places,
                              offsetof(TimerHandleObject, tail))
               < 0) {
        if (!PyErr_Occurred()) {
            PyErr_SetString(PyExc_ImportError,
                            "rsloop_c does not know this asyncio.Handle");
        }
        return -1;
    }
    st->HandleType = pyrsl_type_on(module, &handle_spec, st->AsyncioHandle);
    if (st->HandleType == NULL) {
        return -1;
    }
    st->TimerHandleType =
        pyrsl_type_on(module, &timer_spec, st->AsyncioTimerHandle);
    return st->TimerHandleType == NULL
               ? -1
               : pyrsl_threadsafe_handle_type(module, st);
}
