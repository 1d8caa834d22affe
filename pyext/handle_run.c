/* SPDX-License-Identifier: Apache-2.0 */
/* handle_run.c - a Handle's context and its run. */
#include "errors.h"
#include "handle.h"

/* --- The context --- */

int
pyrsl_handle_own_context(HandleObject *self)
{
    handle_tail *tail = pyrsl_handle_tail(self);
    if (!tail->shares) {
        return 0;
    }
    PyObject *copy = PyContext_Copy(self->context);
    if (copy == NULL) {
        return -1;
    }
    if (tail->shares) { /* no finalizer did it meanwhile */
        tail->shares = false;
        Py_SETREF(self->context, copy);
    } else {
        Py_DECREF(copy);
    }
    return 0;
}

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

/* What is called, with references of its own: cancel() drops the handle's. */
typedef struct handle_target {
    PyObject *callback;
    PyObject *args; /* a tuple; or NULL, and they are in `stack` */
    PyObject *stack[1 + HANDLE_ARGS_MAX]; /* the first place is the callee's */
    size_t count;
} handle_target;

static bool
handle_is_live(HandleObject *self)
{
    return self->cancelled == Py_False
           && (pyrsl_handle_tail(self)->count > 0
               || (self->args != NULL && PyTuple_CheckExact(self->args)));
}

/* Borrows everything from `self`. */
static inline void
target_of(HandleObject *self, handle_target *target)
{
    const handle_tail *tail = pyrsl_handle_tail(self);
    target->callback = self->callback;
    target->args = self->args;
    target->count = tail->count;
    for (size_t i = 0; i < tail->count; i++) {
        target->stack[1 + i] = tail->args[i];
    }
}

static inline PyObject *
target_call(handle_target *target)
{
    if (target->count > 0) {
        return PyObject_Vectorcall(
            target->callback, target->stack + 1,
            target->count | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    return PyObject_Vectorcall(target->callback,
                               &PyTuple_GET_ITEM(target->args, 0),
                               (size_t)PyTuple_GET_SIZE(target->args), NULL);
}

static void
target_keep(const handle_target *target)
{
    Py_INCREF(target->callback);
    Py_XINCREF(target->args);
    for (size_t i = 0; i < target->count; i++) {
        Py_INCREF(target->stack[1 + i]);
    }
}

static void
target_drop(const handle_target *target)
{
    Py_DECREF(target->callback);
    Py_XDECREF(target->args);
    for (size_t i = 0; i < target->count; i++) {
        Py_DECREF(target->stack[1 + i]);
    }
}

static PyObject *
target_call_in(handle_target *target, PyObject *context)
{
    if (PyContext_Enter(context) < 0) {
        return NULL;
    }
    PyObject *result = target_call(target);
    if (PyContext_Exit(context) < 0) {
        Py_CLEAR(result);
    }
    return result;
}

int
pyrsl_handle_run_plain(LoopObject *loop, PyObject *object)
{
    HandleObject *self = (HandleObject *)object;
    /* Whoever has the handle may ask for its context. */
    if (pyrsl_handle_own_context(self) < 0) {
        return pyrsl_handle_failed(loop, object);
    }
    handle_target target;
    PyObject *context;
    bool live;
    Py_BEGIN_CRITICAL_SECTION(self);
    live = handle_is_live(self);
    if (live) {
        target_of(self, &target);
        target_keep(&target);
        context = Py_NewRef(self->context);
    }
    Py_END_CRITICAL_SECTION();
    if (!live) {
        return 0;
    }
    int status = 0;
    PyObject *result = target_call_in(&target, context);
    if (result != NULL) {
        Py_DECREF(result);
    } else {
        status = pyrsl_handle_failed(loop, object);
    }
    target_drop(&target);
    Py_DECREF(context);
    return status;
}

#ifdef Py_GIL_DISABLED
bool
pyrsl_handle_is_alone(PyObject *Py_UNUSED(object))
{
    return false;
}

int
pyrsl_handle_run_alone(LoopObject *loop, PyObject *object)
{
    return pyrsl_handle_run(loop, object);
}
#else
/* In a context that callbacks before and after it may be in as well. It is the
 * handle's own only if the callback fails, for the report is made in it. */
static int
handle_run_sharing(LoopObject *loop, HandleObject *self)
{
    PyObject *context = pyrsl_contexts_enter(&loop->contexts, &self->context);
    if (context == NULL) {
        return pyrsl_handle_failed(loop, (PyObject *)self);
    }
    pyrsl_handle_tail(self)->shares = false;
    handle_target target;
    target_of(self, &target);
    PyObject *result = target_call(&target);
    if (result != NULL && pyrsl_contexts_keep(&loop->contexts, context)) {
        Py_DECREF(result);
        return 0;
    }
    if (PyContext_Exit(context) < 0) {
        Py_CLEAR(result);
    }
    if (result == NULL) {
        self->context = context;
        return pyrsl_handle_failed(loop, (PyObject *)self);
    }
    Py_DECREF(context);
    Py_DECREF(result);
    return 0;
}

bool
pyrsl_handle_is_alone(PyObject *object)
{
    const char *weak =
        (const char *)object + Py_TYPE(object)->tp_weaklistoffset;
    return Py_REFCNT(object) == 1
           && *(PyObject *const *)(const void *)weak == NULL;
}

int
pyrsl_handle_run_alone(LoopObject *loop, PyObject *object)
{
    HandleObject *self = (HandleObject *)object;
    handle_tail *tail = pyrsl_handle_tail(self);
    if (tail->tracked) { /* or gc.get_objects() would find it */
        PyObject_GC_UnTrack(object);
        tail->tracked = false;
    }
    int status = 0;
    if (!handle_is_live(self)) {
        /* nothing to run */
    } else if (tail->shares) {
        status = handle_run_sharing(loop, self);
    } else {
        handle_target target;
        target_of(self, &target);
        pyrsl_contexts_leave(&loop->contexts);
        PyObject *result = target_call_in(&target, self->context);
        if (result != NULL) {
            Py_DECREF(result);
        } else {
            status = pyrsl_handle_failed(loop, object);
        }
    }
    if (pyrsl_handle_is_alone(object)) {
        pyrsl_handle_recycle(loop, self);
    } else { /* a report kept it */
        pyrsl_handle_leaves(object);
    }
    return status;
}
#endif
