/* SPDX-License-Identifier: Apache-2.0 */
#include "args.h"
#include "errors.h"
#include "handle.h"
#include "loop.h"

int
pyrsl_loop_call_soon(LoopObject *self, PyObject *callback, PyObject *args,
                     PyObject *context)
{
    pyrsl_callback call = {callback, &PyTuple_GET_ITEM(args, 0),
                           PyTuple_GET_SIZE(args), context};
    PyObject *handle =
        pyrsl_handle_new_pending(self, self->st->HandleType, &call);
    return handle == NULL ? -1 : pyrsl_loop_queue(self, handle);
}

/* asyncio's debug-mode checks, in its own Python. */
static int
loop_debug_checks(LoopObject *self, PyObject *callback, const char *method,
                  bool check_thread)
{
    PyObject *result;
    if (check_thread) {
        result = PyObject_CallMethodNoArgs((PyObject *)self,
                                           self->st->str_check_thread);
        if (result == NULL) {
            return -1;
        }
        Py_DECREF(result);
    }
    PyObject *name = PyUnicode_FromString(method);
    if (name == NULL) {
        return -1;
    }
    result = PyObject_CallMethodObjArgs(
        (PyObject *)self, self->st->str_check_callback, callback, name, NULL);
    Py_DECREF(name);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static const char *const callback_names[] = {"callback", NULL};
static const char *const call_later_names[] = {"delay", "callback", NULL};
static const char *const call_at_names[] = {"when", "callback", NULL};
static const pyrsl_params call_soon_params = {"call_soon", callback_names, 1,
                                              1};
static const pyrsl_params threadsafe_params = {"call_soon_threadsafe",
                                               callback_names, 1, 1};
static const pyrsl_params call_later_params = {"call_later", call_later_names,
                                               2, 2};
static const pyrsl_params call_at_params = {"call_at", call_at_names, 2, 2};

/* What call_soon() and call_soon_threadsafe() share: checks and a Handle. */
static PyObject *
loop_make_call(LoopObject *self, const pyrsl_params *params,
               PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    pyrsl_call call = {.context_name = self->st->str_context};
    if (pyrsl_args_call(params, args, nargs, kwnames, &call) < 0
        || pyrsl_loop_check_closed(self) < 0) {
        return NULL;
    }
    if (self->debug
        && loop_debug_checks(self, call.args[0], params->function,
                             params == &call_soon_params)
               < 0) {
        return NULL;
    }
    PyTypeObject *type = params == &call_soon_params
                             ? self->st->HandleType
                             : self->st->ThreadSafeHandleType;
    pyrsl_callback callback = {call.args[0], call.args + 1, call.nargs - 1,
                               call.context};
    return pyrsl_handle_new_pending(self, type, &callback);
}

PyDoc_STRVAR(loop_call_soon_doc,
"call_soon($self, callback, *args, context=None)\n--\n\n"
"Arrange for callback(*args) to run on the next turn of the loop.\n\n"
"Returns a Handle; its cancel() removes the call. Runs in context, or in a\n"
"copy of the current one. Raises RuntimeError when the loop is closed.");

static PyObject *
loop_call_soon(LoopObject *self, PyObject *const *args, Py_ssize_t nargs,
               PyObject *kwnames)
{
    PyObject *handle =
        loop_make_call(self, &call_soon_params, args, nargs, kwnames);
    if (handle == NULL || pyrsl_loop_queue(self, Py_NewRef(handle)) < 0) {
        Py_XDECREF(handle);
        return NULL;
    }
    return handle;
}

/* --- From other threads --- */

PyDoc_STRVAR(loop_call_soon_threadsafe_doc,
"call_soon_threadsafe($self, callback, *args, context=None)\n--\n\n"
"call_soon() for other threads; wakes the loop when it sleeps.\n\n"
"Takes no lock. Calls of one thread run in the order they were made.\n"
"Raises RuntimeError when the loop is closed.");

static PyObject *
loop_call_soon_threadsafe(LoopObject *self, PyObject *const *args,
                          Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *handle =
        loop_make_call(self, &threadsafe_params, args, nargs, kwnames);
    if (handle == NULL) {
        return NULL;
    }
    if (pyrsl_loop_queue_threadsafe(self, Py_NewRef(handle)) < 0) {
        Py_DECREF(handle);
        return NULL;
    }
    return handle;
}

/* --- Timers --- */

/* A TimerHandle for args[1](*args[2:]) at `when` (taken), in the heap. */
static PyObject *
loop_make_timer(LoopObject *self, PyObject *when, const pyrsl_call *call)
{
    double seconds = PyFloat_AsDouble(when);
    if (seconds == -1.0 && PyErr_Occurred()) {
        Py_DECREF(when);
        return NULL;
    }
    pyrsl_callback callback = {call->args[1], call->args + 2, call->nargs - 2,
                               call->context};
    TimerHandleObject *timer = (TimerHandleObject *)pyrsl_handle_new_pending(
        self, self->st->TimerHandleType, &callback);
    if (timer == NULL) {
        Py_DECREF(when);
        return NULL;
    }
    timer->when = when;
    int status;
    Py_BEGIN_CRITICAL_SECTION(self);
    status = pyrsl_timers_add(&self->timers, timer, seconds);
    if (status == 0) {
        Py_XSETREF(timer->scheduled, Py_NewRef(Py_True));
        pyrsl_handle_joins(self, (PyObject *)timer);
    }
    Py_END_CRITICAL_SECTION();
    if (status < 0) {
        Py_DECREF(timer);
        return NULL;
    }
    return (PyObject *)timer;
}

PyDoc_STRVAR(loop_call_at_doc,
"call_at($self, when, callback, *args, context=None)\n--\n\n"
"Arrange for callback(*args) to run when time() reaches when (seconds).\n\n"
"Returns a TimerHandle; its cancel() removes the call at once.");

static PyObject *
loop_call_at(LoopObject *self, PyObject *const *args, Py_ssize_t nargs,
             PyObject *kwnames)
{
    pyrsl_call call = {.context_name = self->st->str_context};
    if (pyrsl_args_call(&call_at_params, args, nargs, kwnames, &call) < 0) {
        return NULL;
    }
    if (call.args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, "when cannot be None");
        return NULL;
    }
    if (pyrsl_loop_check_closed(self) < 0
        || (self->debug
            && loop_debug_checks(self, call.args[1], "call_at", true) < 0)) {
        return NULL;
    }
    return loop_make_timer(self, Py_NewRef(call.args[0]), &call);
}

PyDoc_STRVAR(loop_call_later_doc,
"call_later($self, delay, callback, *args, context=None)\n--\n\n"
"Arrange for callback(*args) to run after delay seconds.\n\n"
"Returns a TimerHandle; its cancel() removes the call at once.");

static PyObject *
loop_call_later(LoopObject *self, PyObject *const *args, Py_ssize_t nargs,
                PyObject *kwnames)
{
    pyrsl_call call = {.context_name = self->st->str_context};
    if (pyrsl_args_call(&call_later_params, args, nargs, kwnames, &call) < 0) {
        return NULL;
    }
    if (call.args[0] == Py_None) {
        PyErr_SetString(PyExc_TypeError, "delay must not be None");
        return NULL;
    }
    PyObject *when = pyrsl_loop_deadline(self, call.args[0]);
    if (when == NULL) {
        return NULL;
    }
    if (pyrsl_loop_check_closed(self) < 0
        || (self->debug
            && loop_debug_checks(self, call.args[1], "call_at", true) < 0)) {
        Py_DECREF(when);
        return NULL;
    }
    return loop_make_timer(self, when, &call);
}

/* --- What CPython's own loop code calls --- */

PyDoc_STRVAR(loop_add_callback_doc,
"_add_callback($self, handle, /)\n--\n\n"
"Append a Handle to the ready queue unless it was cancelled.");

static PyObject *
loop_add_callback(LoopObject *self, PyObject *handle)
{
    if (!PyObject_TypeCheck(handle, (PyTypeObject *)self->st->AsyncioHandle)) {
        PyErr_Format(PyExc_TypeError, "a Handle is required, not %.200s",
                     Py_TYPE(handle)->tp_name);
        return NULL;
    }
    if (pyrsl_handle_is_ours(self->st, handle)) {
        pyrsl_handle_show(handle);
    }
    int cancelled = pyrsl_handle_is_cancelled(self->st, handle);
    if (cancelled < 0
        || (cancelled == 0 && pyrsl_loop_queue(self, Py_NewRef(handle)) < 0)) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(loop_timer_handle_cancelled_doc,
"_timer_handle_cancelled($self, handle, /)\n--\n\n"
"asyncio.TimerHandle's notice of its cancellation. Our TimerHandle leaves the\n"
"heap in cancel() itself.");

static PyObject *
loop_timer_handle_cancelled(PyObject *Py_UNUSED(self),
                            PyObject *Py_UNUSED(handle))
{
    Py_RETURN_NONE;
}

PyDoc_STRVAR(loop_write_to_self_doc,
"_write_to_self($self, /)\n--\n\n"
"Wake the loop if it sleeps. Any thread.");

static PyObject *
loop_write_to_self(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    if (self->rt != NULL) {
        rsl_runtime_wake(self->rt);
    }
    Py_RETURN_NONE;
}

#define FASTCALL(name, function, doc)             \
    {name, (PyCFunction)(void (*)(void))function, \
     METH_FASTCALL | METH_KEYWORDS, doc}

PyMethodDef pyrsl_loop_schedule_methods[] = {
    FASTCALL("call_soon", loop_call_soon, loop_call_soon_doc),
    FASTCALL("call_soon_threadsafe", loop_call_soon_threadsafe,
             loop_call_soon_threadsafe_doc),
    FASTCALL("call_later", loop_call_later, loop_call_later_doc),
    FASTCALL("call_at", loop_call_at, loop_call_at_doc),
    {"_add_callback", (PyCFunction)(void (*)(void))loop_add_callback, METH_O,
     loop_add_callback_doc},
    {"_timer_handle_cancelled", loop_timer_handle_cancelled, METH_O,
     loop_timer_handle_cancelled_doc},
    {"_write_to_self", (PyCFunction)(void (*)(void))loop_write_to_self,
     METH_NOARGS, loop_write_to_self_doc},
    {NULL, NULL, 0, NULL},
};
