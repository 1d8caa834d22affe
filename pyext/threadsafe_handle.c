/* SPDX-License-Identifier: Apache-2.0 */
/* threadsafe_handle.c - what call_soon_threadsafe() returns.
 *
 * Without a GIL it carries the message by which it reaches the loop. From 3.14
 * on it is an asyncio._ThreadSafeHandle, which promises that cancel() and
 * cancelled(), called by another thread while the callback runs, wait until it
 * has ended.
 * asyncio takes a lock for each run; here a run marks itself, and only who
 * finds the mark waits. */
#include "handle.h"

#include <pthread.h>
#include <stddef.h>

#if PY_VERSION_HEX >= 0x030E0000

/* Waiting is rare, so all handles of the process share one place for it. */
static pthread_mutex_t wait_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wait_ended = PTHREAD_COND_INITIALIZER;
static atomic_uint waiters;

/* Pairs with threadsafe_wait(): here `running` is cleared, then `waiters` read;
 * there `waiters` is raised, then `running` read. All seq_cst: either we see
 * the waiter and broadcast under its lock, or it sees that the run ended. */
static void
threadsafe_run_ended(ThreadSafeHandleObject *self)
{
    atomic_store(&self->running, 0);
    if (atomic_load(&waiters) != 0) {
        pthread_mutex_lock(&wait_lock);
        pthread_cond_broadcast(&wait_ended);
        pthread_mutex_unlock(&wait_lock);
    }
}

static void
threadsafe_wait(ThreadSafeHandleObject *self)
{
    Py_BEGIN_ALLOW_THREADS
    atomic_fetch_add(&waiters, 1);
    pthread_mutex_lock(&wait_lock);
    while (atomic_load(&self->running) != 0) {
        pthread_cond_wait(&wait_ended, &wait_lock);
    }
    pthread_mutex_unlock(&wait_lock);
    atomic_fetch_sub(&waiters, 1);
    Py_END_ALLOW_THREADS
}

static bool
threadsafe_runs_elsewhere(ThreadSafeHandleObject *self)
{
    unsigned long thread = atomic_load(&self->running);
    return thread != 0 && thread != PyThread_get_thread_ident();
}

PyDoc_STRVAR(threadsafe_cancel_doc,
"cancel($self, /)\n--\n\n"
"Cancel the callback. While another thread runs it, wait until it has ended.");

static PyObject *
threadsafe_cancel(ThreadSafeHandleObject *self, PyObject *Py_UNUSED(ignored))
{
    int status = 0;
    bool busy = true;
    while (busy) {
        Py_BEGIN_CRITICAL_SECTION(self);
        busy = threadsafe_runs_elsewhere(self);
        if (!busy) {
            status = pyrsl_handle_cancel_locked(&self->handle);
        }
        Py_END_CRITICAL_SECTION();
        if (busy) {
            threadsafe_wait(self);
        }
    }
    if (status < 0) {
        return NULL;
    }
    Py_RETURN_NONE;
}

PyDoc_STRVAR(threadsafe_cancelled_doc,
"cancelled($self, /)\n--\n\n"
"Whether cancel() was called. While another thread runs the callback, wait\n"
"until it has ended.");

static PyObject *
threadsafe_cancelled(ThreadSafeHandleObject *self, PyObject *Py_UNUSED(ignored))
{
    while (threadsafe_runs_elsewhere(self)) {
        threadsafe_wait(self);
    }
    return PyBool_FromLong(self->handle.cancelled == Py_True);
}

int
pyrsl_threadsafe_handle_run(LoopObject *loop, PyObject *object)
{
    ThreadSafeHandleObject *self = (ThreadSafeHandleObject *)object;
    unsigned long before;
    Py_BEGIN_CRITICAL_SECTION(self);
    before = atomic_load(&self->running);
    atomic_store(&self->running, PyThread_get_thread_ident());
    Py_END_CRITICAL_SECTION();
    int status = pyrsl_handle_run_plain(loop, object);
    if (before == 0) {
        threadsafe_run_ended(self); /* else _run() was called by itself */
    }
    return status;
}

static PyMethodDef threadsafe_methods[] = {
    PYRSL_HANDLE_GET_CONTEXT{"cancel",
                             (PyCFunction)(void (*)(void))threadsafe_cancel,
                             METH_NOARGS, threadsafe_cancel_doc},
    {"cancelled", (PyCFunction)(void (*)(void))threadsafe_cancelled,
     METH_NOARGS, threadsafe_cancelled_doc},
    {"_run", pyrsl_handle_run_method, METH_NOARGS, pyrsl_handle_run_doc},
    {NULL, NULL, 0, NULL},
};

static const pyrsl_slot_place threadsafe_places[] = {
    {"_lock", offsetof(ThreadSafeHandleObject, lock)},
    {NULL, 0},
};

/* asyncio._ThreadSafeHandle; NULL with an exception. */
static PyObject *
threadsafe_base(module_state *Py_UNUSED(st))
{
    PyObject *events = PyImport_ImportModule("asyncio.events");
    if (events == NULL) {
        return NULL;
    }
    PyObject *base = PyObject_GetAttrString(events, "_ThreadSafeHandle");
    Py_DECREF(events);
    if (base != NULL
        && pyrsl_layout_check(base, threadsafe_places,
                              offsetof(ThreadSafeHandleObject, running))
               < 0) {
        Py_CLEAR(base);
    }
    return base;
}

#define THREADSAFE_NAME    "rsloop_c._core.ThreadSafeHandle"
#define THREADSAFE_METHODS threadsafe_methods

#else

/* What users see is a Handle. */
static PyObject *
threadsafe_base(module_state *st)
{
    return Py_NewRef(st->AsyncioHandle);
}

#define THREADSAFE_NAME    "rsloop_c._core.Handle"
#define THREADSAFE_METHODS pyrsl_handle_methods

#endif

static PyType_Slot threadsafe_slots[] = {
    {Py_tp_doc, "A callback that call_soon_threadsafe() has queued."},
    {Py_tp_dealloc, pyrsl_handle_dealloc},
    {Py_tp_traverse, pyrsl_handle_traverse},
    {Py_tp_clear, pyrsl_handle_clear},
    {Py_tp_methods, THREADSAFE_METHODS},
    {Py_tp_getset, pyrsl_handle_getset},
    {0, NULL},
};

static PyType_Spec threadsafe_spec = {
    .name = THREADSAFE_NAME,
    .basicsize = sizeof(ThreadSafeHandleObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC
             | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = threadsafe_slots,
};

int
pyrsl_threadsafe_handle_type(PyObject *module, module_state *st)
{
    PyObject *base = threadsafe_base(st);
    if (base == NULL) {
        return -1;
    }
    st->ThreadSafeHandleType = pyrsl_type_on(module, &threadsafe_spec, base);
    Py_DECREF(base);
    return st->ThreadSafeHandleType == NULL ? -1 : 0;
}

#ifdef Py_GIL_DISABLED
/* rsl_msg.discard: the mailbox is drained for good, the GIL is held. */
static void
threadsafe_discard(rsl_msg *msg)
{
    Py_DECREF(pyrsl_threadsafe_handle_of(msg));
}
#endif

void
pyrsl_threadsafe_handle_init(ThreadSafeHandleObject *self)
{
#if PY_VERSION_HEX >= 0x030E0000
    self->lock = NULL;
    atomic_init(&self->running, 0);
#endif
#ifdef Py_GIL_DISABLED
    self->msg.event.tag = rsl_tag(RSL_EV_MESSAGE, PYRSL_MSG_CALL);
    self->msg.event.u.ptr = &self->msg;
    self->msg.discard = threadsafe_discard;
#endif
    (void)self;
}
