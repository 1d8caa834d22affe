/* SPDX-License-Identifier: Apache-2.0 */
#include "watchdog.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rsl/runtime.h>

#include "stack_signal.h"

/* A beat is looked for so often in a bound: a stall is found at 1 to 1 1/8 of
 * it. */
enum { LOOKS_IN_BOUND = 8, STACK_BYTES_MAX = 32 << 10 };

#define BOUND_SECONDS_MIN 0.001
#define BOUND_SECONDS_MAX 86400.0

typedef struct stall {
    int64_t stuck_ns;
    bool wants_gil;
    ssize_t stack_bytes; /* -1: the thread did not answer */
    char *stack;
} stall;

void
pyrsl_watchdog_set_running(WatchdogObject *self, bool running)
{
    if (self == NULL) {
        return;
    }
    pyrsl_watchdog_beat(self, LOOP_RUNS);
    /* Nobody asks a thread for its stack that may be gone. */
    pthread_mutex_lock(&self->lock);
    self->tid = running ? (int)gettid() : 0;
    pthread_mutex_unlock(&self->lock);
}

void
pyrsl_watchdog_end(WatchdogObject *self)
{
    if (self == NULL) {
        return;
    }
    pthread_mutex_lock(&self->lock);
    self->ending = true;
    pthread_cond_broadcast(&self->changed);
    pthread_mutex_unlock(&self->lock);
}

/* --- Without the GIL --- */

static void
watchdog_pause(WatchdogObject *self)
{
    int64_t until_ns = rsl_clock_now_ns() + self->bound_ns / LOOKS_IN_BOUND;
    struct timespec until = {.tv_sec = until_ns / 1000000000,
                             .tv_nsec = until_ns % 1000000000};
    (void)pthread_cond_timedwait(&self->changed, &self->lock, &until);
}

/* Wait, lock held, until no beat came for the bound; false when ending. A stall
 * is reported once. */
static bool
watchdog_wait_for_stall(WatchdogObject *self, stall *out)
{
    uint_fast64_t seen = atomic_load(&self->beat);
    int64_t since_ns = rsl_clock_now_ns();
    while (!self->ending) {
        watchdog_pause(self);
        uint_fast64_t beat = atomic_load(&self->beat);
        int64_t now_ns = rsl_clock_now_ns();
        loop_activity doing = (loop_activity)(beat % BEAT_STEP);
        if (beat != seen || beat == self->reported || self->tid == 0
            || doing == LOOP_WAITS) {
            seen = beat;
            since_ns = now_ns;
        } else if (!self->ending && now_ns - since_ns >= self->bound_ns) {
            out->stuck_ns = now_ns - since_ns;
            out->wants_gil = doing == LOOP_WANTS_GIL;
            self->reported = beat;
            atomic_store(&self->asked, true);
            return true;
        }
    }
    return false;
}

static void
watchdog_write(int fd, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = write(fd, text, length);
        if (written <= 0) {
            return; /* nobody is left to be told */
        }
        text += written;
        length -= (size_t)written;
    }
}

static void
watchdog_tell(const WatchdogObject *self, const stall *found)
{
    char head[160];
    int length = snprintf(
        head, sizeof(head),
        "rsloop_c: the loop's thread %d has been stuck for %.3f s%s\n",
        self->tid, (double)found->stuck_ns * 1e-9,
        found->wants_gil ? ": it waits for the GIL, which another thread has"
                         : "");
    watchdog_write(self->fd, head, (size_t)length);
    if (found->stack_bytes > 0) {
        watchdog_write(self->fd, found->stack, (size_t)found->stack_bytes);
    }
}

/* False when ending. */
static bool
watchdog_watch(WatchdogObject *self, stall *out)
{
    pthread_mutex_lock(&self->lock);
    bool found = watchdog_wait_for_stall(self, out);
    if (found) {
        out->stack_bytes =
            pyrsl_stack_signal_ask(self->tid, out->stack, STACK_BYTES_MAX);
        if (self->fd >= 0) {
            watchdog_tell(self, out);
        }
    }
    pthread_mutex_unlock(&self->lock);
    return found;
}

/* --- The type --- */

void
pyrsl_watchdog_answer(WatchdogObject *self, PyObject *callback)
{
    if (atomic_exchange(&self->asked, false)) {
        Py_BEGIN_CRITICAL_SECTION(self);
        Py_XSETREF(self->culprit, Py_NewRef(callback));
        Py_END_CRITICAL_SECTION();
    }
}

static void
watchdog_drop_signal(WatchdogObject *self)
{
    if (self->has_signal) {
        self->has_signal = false;
        pyrsl_stack_signal_release();
    }
}

static PyObject *
watchdog_report(WatchdogObject *self, const stall *found)
{
    atomic_store(&self->asked, false);
    PyObject *culprit;
    Py_BEGIN_CRITICAL_SECTION(self);
    culprit = self->culprit;
    self->culprit = NULL;
    Py_END_CRITICAL_SECTION();
    if (culprit == NULL) {
        culprit = Py_NewRef(Py_None);
    }
    PyObject *stack =
        found->stack_bytes < 0
            ? Py_NewRef(Py_None)
            : PyBytes_FromStringAndSize(found->stack, found->stack_bytes);
    if (stack == NULL) {
        Py_DECREF(culprit);
        return NULL;
    }
    return Py_BuildValue("(dNNN)", (double)found->stuck_ns * 1e-9,
                         PyBool_FromLong(found->wants_gil), stack, culprit);
}

PyDoc_STRVAR(watchdog_wait_doc,
"wait($self, /)\n--\n\n"
"Until the loop is stuck: seconds, whether it wants the GIL, the stack or\n"
"None, and the callback that ran if it has ended since, or None.\n\n"
"The report for the file has been written by then. None after end().");

static PyObject *
watchdog_wait(WatchdogObject *self, PyObject *Py_UNUSED(ignored))
{
    stall found = {.stack = PyMem_RawMalloc(STACK_BYTES_MAX)};
    if (found.stack == NULL) {
        return PyErr_NoMemory();
    }
    bool any;
    Py_BEGIN_ALLOW_THREADS
    any = watchdog_watch(self, &found);
    Py_END_ALLOW_THREADS
    PyObject *result = NULL;
    if (any) {
        result = watchdog_report(self, &found);
    } else {
        watchdog_drop_signal(self);
        result = Py_NewRef(Py_None);
    }
    PyMem_RawFree(found.stack);
    return result;
}

PyDoc_STRVAR(watchdog_end_doc,
"end($self, /)\n--\n\n"
"Let wait() return None, now and from now on.");

static PyObject *
watchdog_end(WatchdogObject *self, PyObject *Py_UNUSED(ignored))
{
    pyrsl_watchdog_end(self);
    Py_RETURN_NONE;
}

static PyObject *
watchdog_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    double bound;
    int fd;
    if (kwargs != NULL && PyDict_GET_SIZE(kwargs) > 0) {
        PyErr_SetString(PyExc_TypeError,
                        "Watchdog() takes no keyword arguments");
        return NULL;
    }
    if (!PyArg_ParseTuple(args, "di:Watchdog", &bound, &fd)) {
        return NULL;
    }
    if (!(bound >= BOUND_SECONDS_MIN && bound <= BOUND_SECONDS_MAX)) {
        PyErr_Format(PyExc_ValueError,
                     "watchdog must be a number of seconds from 0.001 to "
                     "86400, not %R",
                     PyTuple_GET_ITEM(args, 0));
        return NULL;
    }
    if (pyrsl_stack_signal_acquire() < 0) {
        return NULL;
    }
    WatchdogObject *self = (WatchdogObject *)type->tp_alloc(type, 0);
    if (self == NULL) {
        pyrsl_stack_signal_release();
        return NULL;
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&self->lock, NULL);
    pthread_cond_init(&self->changed, &attr);
    pthread_condattr_destroy(&attr);
    atomic_init(&self->beat, 0);
    self->reported = UINT_FAST64_MAX;
    self->bound_ns = (int64_t)(bound * 1e9);
    self->fd = fd;
    self->has_signal = true;
    atomic_init(&self->asked, false);
    return (PyObject *)self;
}

static void
watchdog_dealloc(WatchdogObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    pthread_cond_destroy(&self->changed);
    pthread_mutex_destroy(&self->lock);
    watchdog_drop_signal(self);
    Py_CLEAR(self->culprit);
    type->tp_free(self);
    Py_DECREF(type);
}

static PyMethodDef watchdog_methods[] = {
    {"wait", (PyCFunction)(void (*)(void))watchdog_wait, METH_NOARGS,
     watchdog_wait_doc},
    {"end", (PyCFunction)(void (*)(void))watchdog_end, METH_NOARGS,
     watchdog_end_doc},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot watchdog_slots[] = {
    {Py_tp_doc,
     "Watchdog(seconds, fd, /)\n--\n\n"
     "Notices a loop that does nothing for so long; fd gets the report."},
    {Py_tp_new, watchdog_new},
    {Py_tp_dealloc, watchdog_dealloc},
    {Py_tp_methods, watchdog_methods},
    {0, NULL},
};

static PyType_Spec watchdog_spec = {
    .name = "rsloop_c._core.Watchdog",
    .basicsize = sizeof(WatchdogObject),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = watchdog_slots,
};

int
pyrsl_watchdog_type(PyObject *module, module_state *st)
{
    st->WatchdogType =
        (PyTypeObject *)PyType_FromModuleAndSpec(module, &watchdog_spec, NULL);
    return st->WatchdogType == NULL
                   || PyModule_AddType(module, st->WatchdogType) < 0
               ? -1
               : 0;
}
