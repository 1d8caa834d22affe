/* SPDX-License-Identifier: Apache-2.0 */
/* work_item.c - one job of run_in_executor(), there and back. */
#include <sched.h>

#include "future.h"
#include "work.h"

/* --- Made --- */

/* rsl_msg.discard: the loop is closed and the GIL is held. */
static void
item_discard(rsl_msg *msg)
{
    Py_DECREF(pyrsl_work_item_of(msg));
}

static PyObject *
item_args(PyObject *const *args, Py_ssize_t count)
{
    PyObject *tuple = PyTuple_New(count);
    for (Py_ssize_t i = 0; tuple != NULL && i < count; i++) {
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    }
    return tuple;
}

PyObject *
pyrsl_work_item_new(LoopObject *loop, PyObject *future, PyObject *const *call,
                    Py_ssize_t count)
{
    PyObject *args = count == 1 ? Py_NewRef(loop->st->empty_tuple)
                                : item_args(call + 1, count - 1);
    if (args == NULL) {
        return NULL;
    }
    WorkItemObject *self =
        PyObject_GC_New(WorkItemObject, loop->st->WorkItemType);
    if (self == NULL) {
        Py_DECREF(args);
        return NULL;
    }
    self->loop = (LoopObject *)Py_NewRef((PyObject *)loop);
    self->future = Py_NewRef(future);
    self->func = Py_NewRef(call[0]);
    self->args = args;
    self->outcome = NULL;
    self->failed = false;
    self->msg.event.tag = rsl_tag(RSL_EV_MESSAGE, PYRSL_MSG_WORK);
    self->msg.event.u.ptr = &self->msg;
    self->msg.discard = item_discard;
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

/* --- Run --- */

/* 1, 0 or -1 with an exception. */
static int
item_is_cancelled(WorkItemObject *self)
{
    return pyrsl_ask(self->future, self->loop->st->str_cancelled);
}

/* The function and its arguments die here, as ThreadPoolExecutor's do: on the
 * worker's thread and before anybody hears of the outcome. */
static void
item_call(WorkItemObject *self)
{
    PyObject *func = self->func, *args = self->args;
    self->func = NULL;
    self->args = NULL;
    PyObject *result = PyObject_Call(func, args, NULL);
    if (result == NULL) {
        self->failed = true;
        result = PyErr_GetRaisedException();
    }
    self->outcome = result;
    Py_DECREF(func);
    Py_DECREF(args);
}

/* Pairs with pyrsl_work_wait_for_posters(): here a poster counts itself in,
 * then reads `closed`; there `closed` is set, then the count read. All seq_cst:
 * either we see that the loop is closed, or it waits for us. */
static bool
item_enter_posting(LoopObject *loop)
{
    atomic_fetch_add(&loop->posters, 1);
    if (!atomic_load(&loop->closed)) {
        return true;
    }
    atomic_fetch_sub(&loop->posters, 1);
    return false;
}

WorkItemObject *
pyrsl_work_item_run(WorkItemObject *self)
{
    int cancelled = item_is_cancelled(self);
    if (cancelled < 0) {
        PyErr_WriteUnraisable(self->future);
    } else if (cancelled == 0) {
        item_call(self);
        if (item_enter_posting(self->loop)) {
            return self;
        }
    }
    Py_DECREF(self);
    return NULL;
}

/* From the push on the loop thread has the item, and with it maybe the last
 * reference to the loop; only the count keeps the loop's memory. */
void
pyrsl_work_item_post(WorkItemObject *self)
{
    if (self != NULL) {
        LoopObject *loop = self->loop;
        rsl_runtime_post(loop->rt, &self->msg);
        atomic_fetch_sub(&loop->posters, 1);
    }
}

/* A poster is between two instructions or in a non-blocking write(), and needs
 * no GIL. */
void
pyrsl_work_wait_for_posters(LoopObject *loop)
{
    while (atomic_load(&loop->posters) != 0) {
        sched_yield();
    }
}

/* --- Settled --- */

/* What is not a plain result goes the way of asyncio's own code. */
static void
item_settle_cold(WorkItemObject *self)
{
    PyObject *args[] = {(PyObject *)self->loop, self->future, self->outcome,
                        self->failed ? Py_True : Py_False};
    PyObject *none = PyObject_VectorcallMethod(self->loop->st->str_settle_work,
                                               args, 4, NULL);
    if (none == NULL) {
        PyErr_WriteUnraisable(self->future);
    }
    Py_XDECREF(none);
}

void
pyrsl_work_item_settle(rsl_msg *msg)
{
    WorkItemObject *self = (WorkItemObject *)pyrsl_work_item_of(msg);
    PyObject *none = NULL;
    if (!self->failed) {
        PyObject *args[] = {self->future, self->outcome};
        none = PyObject_VectorcallMethod(self->loop->st->str_set_result, args,
                                         2, NULL);
    }
    if (none == NULL) {
        PyErr_Clear(); /* a future that is done: the cold way says so again */
        if (item_is_cancelled(self) != 1) {
            PyErr_Clear();
            item_settle_cold(self);
        }
    }
    Py_XDECREF(none);
    Py_DECREF(self);
}

/* --- The type --- */

PyDoc_STRVAR(item_cancel_doc,
"cancel($self, /)\n--\n\n"
"Cancel the job's asyncio.Future, from any thread: the executor shuts down.");

static PyObject *
item_cancel(WorkItemObject *self, PyObject *Py_UNUSED(ignored))
{
    PyObject *args[] = {(PyObject *)self->loop, self->future};
    return PyObject_VectorcallMethod(self->loop->st->str_cancel_work, args, 2,
                                     NULL);
}

/* ThreadPoolExecutor says work_item.future.cancel(). */
static PyObject *
item_get_future(PyObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self);
}

static int
item_clear(WorkItemObject *self)
{
    Py_CLEAR(self->future);
    Py_CLEAR(self->func);
    Py_CLEAR(self->args);
    Py_CLEAR(self->outcome);
    return 0;
}

static int
item_traverse(WorkItemObject *self, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(self->loop);
    Py_VISIT(self->future);
    Py_VISIT(self->func);
    Py_VISIT(self->args);
    Py_VISIT(self->outcome);
    return 0;
}

static void
item_dealloc(WorkItemObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    (void)item_clear(self);
    Py_CLEAR(self->loop);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

static PyMethodDef item_methods[] = {
    {"cancel", (PyCFunction)(void (*)(void))item_cancel, METH_NOARGS,
     item_cancel_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef item_getset[] = {
    {"future", item_get_future, NULL, "The item itself, for its cancel().",
     NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot item_slots[] = {
    {Py_tp_doc, "A job of run_in_executor()."},
    {Py_tp_dealloc, item_dealloc},
    {Py_tp_traverse, item_traverse},
    {Py_tp_clear, item_clear},
    {Py_tp_methods, item_methods},
    {Py_tp_getset, item_getset},
    {0, NULL},
};

static PyType_Spec item_spec = {
    .name = "rsloop_c._core.WorkItem",
    .basicsize = sizeof(WorkItemObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = item_slots,
};

PyTypeObject *
pyrsl_work_item_type(PyObject *module)
{
    return (PyTypeObject *)PyType_FromModuleAndSpec(module, &item_spec, NULL);
}
