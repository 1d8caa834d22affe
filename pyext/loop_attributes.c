/* SPDX-License-Identifier: Apache-2.0 */
/* loop_attributes.c - a loop's state as CPython's own loop code reads and
 * writes it. */
#include "flight.h"
#include "loop.h"
#include "watchdog.h"

static PyObject *
loop_get_closed(LoopObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(atomic_load(&self->closed));
}

static int
loop_set_flag(PyObject *value, atomic_bool *flag)
{
    int truth = value == NULL ? 0 : PyObject_IsTrue(value);
    if (truth < 0) {
        return -1;
    }
    atomic_store(flag, truth != 0);
    return 0;
}

static int
loop_set_closed(LoopObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    /* BaseEventLoop.__init__ stores False before there is a runtime. */
    if (self->rt == NULL) {
        return 0;
    }
    return loop_set_flag(value, &self->closed);
}

static PyObject *
loop_get_stopping(LoopObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(atomic_load(&self->stopping));
}

static int
loop_set_stopping(LoopObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    return loop_set_flag(value, &self->stopping);
}

static PyObject *
loop_get_debug(LoopObject *self, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(self->debug);
}

static int
loop_set_debug(LoopObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    int truth = value == NULL ? 0 : PyObject_IsTrue(value);
    if (truth < 0) {
        return -1;
    }
    self->debug = truth != 0;
    return 0;
}

static PyObject *
loop_get_thread_id(LoopObject *self, void *Py_UNUSED(closure))
{
    unsigned long id = atomic_load(&self->thread_id);
    if (id == 0) {
        Py_RETURN_NONE;
    }
    return PyLong_FromUnsignedLong(id);
}

void
pyrsl_loop_set_thread(LoopObject *self, unsigned long id)
{
    /* Whoever appends to the ready queue of an idle loop has finished. What was
     * posted until a run's end comes before what is appended afterwards. */
    pyrsl_watchdog_set_running(self->watchdog, id != 0);
    Py_BEGIN_CRITICAL_SECTION(self);
    atomic_store(&self->thread_id, id);
    if (id == 0 && self->rt != NULL && !rsl_runtime_is_forked(self->rt)) {
        rsl_runtime_drain(self->rt, &self->sink);
    }
    Py_END_CRITICAL_SECTION();
}

static int
loop_set_thread_id(LoopObject *self, PyObject *value, void *Py_UNUSED(closure))
{
    unsigned long id = 0;
    if (value != NULL && value != Py_None) {
        id = PyLong_AsUnsignedLong(value);
        if (PyErr_Occurred()) {
            return -1;
        }
    }
    pyrsl_loop_set_thread(self, id);
    return 0;
}

static PyObject *
loop_get_task_factory(LoopObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->task_factory == NULL ? Py_None : self->task_factory);
}

static int
loop_set_task_factory(LoopObject *self, PyObject *value,
                      void *Py_UNUSED(closure))
{
    Py_XSETREF(self->task_factory, Py_NewRef(value == NULL ? Py_None : value));
    return 0;
}

static PyObject *
loop_get_current_handle(LoopObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->current_handle == NULL ? Py_None
                                                  : self->current_handle);
}

static int
loop_set_current_handle(LoopObject *self, PyObject *value,
                        void *Py_UNUSED(closure))
{
    Py_XSETREF(self->current_handle, Py_XNewRef(value));
    return 0;
}

static PyObject *
loop_get_backend(LoopObject *self, void *Py_UNUSED(closure))
{
    if (self->rt == NULL) {
        Py_RETURN_NONE;
    }
    rsl_info info;
    rsl_runtime_info(self->rt, &info);
    return PyUnicode_FromString(info.backend);
}

/* The names under which CPython's own loop code keeps this state. */
static PyObject *
loop_get_spin_ns(LoopObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromLongLong(self->spin_ns);
}

static PyObject *
loop_get_limits(LoopObject *self, void *Py_UNUSED(closure))
{
    return Py_NewRef(self->limits == NULL ? Py_None : self->limits);
}

static PyObject *
loop_get_flight_recorder(LoopObject *self, void *Py_UNUSED(closure))
{
    return PyLong_FromUnsignedLong(self->flight_events);
}

static int
loop_set_flight_recorder(LoopObject *self, PyObject *value,
                         void *Py_UNUSED(closure))
{
    long events = value == NULL ? 0 : PyLong_AsLong(value);
    if (events == -1 && PyErr_Occurred()) {
        return -1;
    }
    if (events < 0 || events > FLIGHT_EVENTS_MAX) {
        PyErr_Format(PyExc_ValueError,
                     "flight_recorder must be from 0 to %d, not %R",
                     FLIGHT_EVENTS_MAX, value);
        return -1;
    }
    self->flight_events = (uint32_t)events;
    return 0;
}

PyGetSetDef pyrsl_loop_getset[] = {
    {"flight_recorder", (getter)loop_get_flight_recorder,
     (setter)loop_set_flight_recorder,
     "How many events of each new stream connection are kept: 0 to 65536.",
     NULL},
    {"_closed", (getter)loop_get_closed, (setter)loop_set_closed, NULL, NULL},
    {"_stopping", (getter)loop_get_stopping, (setter)loop_set_stopping, NULL,
     NULL},
    {"_debug", (getter)loop_get_debug, (setter)loop_set_debug, NULL, NULL},
    {"_thread_id", (getter)loop_get_thread_id, (setter)loop_set_thread_id, NULL,
     NULL},
    {"_task_factory", (getter)loop_get_task_factory,
     (setter)loop_set_task_factory, NULL, NULL},
    {"_current_handle", (getter)loop_get_current_handle,
     (setter)loop_set_current_handle, NULL, NULL},
    {"_spin_ns", (getter)loop_get_spin_ns, NULL, NULL, NULL},
    {"limits", (getter)loop_get_limits, NULL,
     "What the loop takes on: see docs/limits.md.", NULL},
    {"backend", (getter)loop_get_backend, NULL,
     "The I/O backend in use: 'io_uring' or 'epoll'.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
