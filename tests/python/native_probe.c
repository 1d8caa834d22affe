/* SPDX-License-Identifier: Apache-2.0 */
/* native_probe.c - a module that hands rsloop_c.h to the tests, function by
 * function: handles are ints, callbacks call a Python `recorder`, and what may
 * be called by any thread is called by one without the GIL when asked to. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <rsloop_c.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "native_probe.h"

const rsloop_api *probe_api;

static sem_t work_gate;
static atomic_int work_begun, work_status;

/* --- Calls without the GIL, on a thread of Python's or one of its own --- */

typedef struct errand {
    int (*run)(void *arg);
    void *arg;
    int result;
} errand;

static void *
errand_main(void *arg)
{
    errand *self = arg;

    self->result = self->run(self->arg);
    return NULL;
}

int
probe_without_gil(int native, int (*run)(void *arg), void *arg)
{
    errand self = {run, arg, -1};
    pthread_t thread;

    Py_BEGIN_ALLOW_THREADS
    if (!native) {
        (void)errand_main(&self);
    } else if (pthread_create(&thread, NULL, errand_main, &self) == 0) {
        pthread_join(thread, NULL);
    }
    Py_END_ALLOW_THREADS
    return self.result;
}

PyObject *
probe_status(int status)
{
    return PyUnicode_FromString(rsloop_status_name((rsloop_status)status));
}

/* --- Futures --- */

static PyObject *
record(void *recorder, const char *what)
{
    return PyObject_CallFunction(recorder, "s", what);
}

static PyObject *
future_convert(void *recorder)
{
    return record(recorder, "convert");
}

static void
future_cancel(void *recorder, rsloop_status why)
{
    Py_XDECREF(PyObject_CallFunction(recorder, "ss", "cancel",
                                     rsloop_status_name(why)));
}

static void
future_free(void *recorder)
{
    Py_XDECREF(record(recorder, "free"));
    Py_DECREF((PyObject *)recorder);
}

static int
future_poll(rsloop_future *future, void *recorder)
{
    PyObject *answer = record(recorder, "poll");
    long value = answer == NULL ? -1 : PyLong_AsLong(answer);

    Py_XDECREF(answer);
    if (value == 2) { /* as 0, and to be asked again */
        (void)rsloop_future_wake(future);
    }
    return value < 0 ? -1 : value == 1;
}

static void
future_work(rsloop_future *future, void *recorder)
{
    (void)recorder;
    atomic_fetch_add(&work_begun, 1);
    while (sem_wait(&work_gate) != 0) {
        continue;
    }
    atomic_store(&work_status, (int)rsloop_future_status(future));
    if (atomic_load(&work_begun) < 0) { /* asked to fail */
        atomic_store(&work_begun, 0);
        (void)rsloop_future_fail(future, 2, NULL);
    }
}

static const rsloop_future_ops future_ops = {
    .convert = future_convert,
    .cancel = future_cancel,
    .free = future_free,
    .work = future_work,
    .poll = future_poll,
};

static const rsloop_future_ops bare_ops = {.free = future_free};

/* make(kind, locals, recorder) -> (awaitable, handle); "bare" has no convert,
 * "local-" no handle. */
static PyObject *
probe_make(PyObject *module, PyObject *args)
{
    const char *kind;
    unsigned long long locals;
    PyObject *recorder, *awaitable;
    rsloop_future *handle = NULL;

    (void)module;
    if (!PyArg_ParseTuple(args, "sKO", &kind, &locals, &recorder)) {
        return NULL;
    }
    rsloop_locals *place = (rsloop_locals *)(uintptr_t)locals;
    const rsloop_future_ops *ops =
        strncmp(kind, "bare", 4) == 0 ? &bare_ops : &future_ops;
    Py_INCREF(recorder);
    if (strstr(kind, "local") != NULL) {
        rsloop_future **out = strchr(kind, '-') != NULL ? NULL : &handle;
        awaitable =
            place == NULL
                ? rsloop_local_future_into_py(probe_api, ops, recorder, out)
                : rsloop_local_future_into_py_with_locals(place, ops, recorder,
                                                          out);
    } else if (strstr(kind, "blocking") != NULL) {
        awaitable =
            place == NULL
                ? rsloop_blocking_into_py(probe_api, ops, recorder)
                : rsloop_blocking_into_py_with_locals(place, ops, recorder);
    } else {
        awaitable =
            place == NULL
                ? rsloop_future_into_py(probe_api, ops, recorder, &handle)
                : rsloop_future_into_py_with_locals(place, ops, recorder,
                                                    &handle);
    }
    if (awaitable == NULL) {
        Py_DECREF(recorder);
        return NULL;
    }
    return Py_BuildValue("NK", awaitable,
                         (unsigned long long)(uintptr_t)handle);
}

typedef struct future_op {
    rsloop_future *future;
    const char *name;
    int code;
    const char *text;
} future_op;

static int
future_op_run(void *arg)
{
    future_op *op = arg;

    if (strcmp(op->name, "complete") == 0) {
        return (int)rsloop_future_complete(op->future);
    }
    if (strcmp(op->name, "fail") == 0) {
        return (int)rsloop_future_fail(op->future, op->code, op->text);
    }
    if (strcmp(op->name, "wake") == 0) {
        return (int)rsloop_future_wake(op->future);
    }
    if (strcmp(op->name, "status") == 0) {
        return (int)rsloop_future_status(op->future);
    }
    rsloop_future_release(op->future);
    return 0;
}

/* future(handle, op, native[, code, text]) -> status */
static PyObject *
probe_future(PyObject *module, PyObject *args)
{
    unsigned long long handle;
    int native;
    future_op op = {.text = NULL};

    (void)module;
    if (!PyArg_ParseTuple(args, "Ksp|iz", &handle, &op.name, &native, &op.code,
                          &op.text)) {
        return NULL;
    }
    op.future = (rsloop_future *)(uintptr_t)handle;
    return probe_status(probe_without_gil(native, future_op_run, &op));
}

/* work(op) -> int: go, fail, begun, status */
static PyObject *
probe_work(PyObject *module, PyObject *arg)
{
    const char *op = PyUnicode_AsUTF8(arg);

    (void)module;
    if (op == NULL) {
        return NULL;
    }
    if (strcmp(op, "fail") == 0) {
        atomic_store(&work_begun, -1);
    }
    if (strcmp(op, "go") == 0 || strcmp(op, "fail") == 0) {
        sem_post(&work_gate);
    } else if (strcmp(op, "begun") == 0) {
        return PyLong_FromLong(atomic_exchange(&work_begun, 0));
    } else if (strcmp(op, "status") == 0) {
        return PyLong_FromLong(atomic_load(&work_status));
    }
    Py_RETURN_NONE;
}

/* --- Locals --- */

static PyObject *
locals_made(rsloop_locals *locals)
{
    return locals == NULL ? NULL
                          : PyLong_FromUnsignedLongLong((uintptr_t)locals);
}

static PyObject *
probe_current_locals(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    return locals_made(rsloop_get_current_locals(probe_api));
}

static PyObject *
probe_locals_new(PyObject *module, PyObject *args)
{
    PyObject *loop, *context = NULL;

    (void)module;
    if (!PyArg_ParseTuple(args, "O|O", &loop, &context)) {
        return NULL;
    }
    return locals_made(rsloop_locals_new(probe_api, loop, context));
}

static int
locals_unref_run(void *arg)
{
    rsloop_locals_unref(rsloop_locals_ref(arg));
    rsloop_locals_unref(arg);
    return 0;
}

static PyObject *
probe_locals_unref(PyObject *module, PyObject *args)
{
    unsigned long long locals;
    int native;

    (void)module;
    if (!PyArg_ParseTuple(args, "Kp", &locals, &native)) {
        return NULL;
    }
    probe_without_gil(native, locals_unref_run, (void *)(uintptr_t)locals);
    Py_RETURN_NONE;
}

static PyObject *
probe_locals_get(PyObject *module, PyObject *args)
{
    unsigned long long value;
    const char *what;

    (void)module;
    if (!PyArg_ParseTuple(args, "Ks", &value, &what)) {
        return NULL;
    }
    rsloop_locals *locals = (rsloop_locals *)(uintptr_t)value;
    return strcmp(what, "loop") == 0 ? rsloop_locals_loop(locals)
                                     : rsloop_locals_context(locals);
}

/* --- The module --- */

/* The header's own complaint about a table that it does not fit. */
static PyObject *
probe_import_other(PyObject *module, PyObject *args)
{
    static rsloop_api other;
    unsigned version, size;

    (void)module;
    if (!PyArg_ParseTuple(args, "II", &version, &size)) {
        return NULL;
    }
    other = *probe_api;
    other.abi_version = version;
    other.size = size;
    return PyCapsule_New(&other, "rsloop_c._core._C_API", NULL);
}

static PyObject *
probe_import_again(PyObject *module, PyObject *unused)
{
    (void)module;
    (void)unused;
    const rsloop_api *api = rsloop_import();
    return api == NULL ? NULL : PyBool_FromLong(api == probe_api);
}

static int
module_exec(PyObject *module)
{
    sem_init(&work_gate, 0, 0);
    probe_api = rsloop_import();
    return probe_api == NULL || PyModule_AddFunctions(module, probe_more) < 0
               ? -1
               : PyModule_AddFunctions(module, probe_storms);
}

static PyMethodDef methods[] = {
    {"make", probe_make, METH_VARARGS, NULL},
    {"future", probe_future, METH_VARARGS, NULL},
    {"work", probe_work, METH_O, NULL},
    {"current_locals", probe_current_locals, METH_NOARGS, NULL},
    {"locals_new", probe_locals_new, METH_VARARGS, NULL},
    {"locals_unref", probe_locals_unref, METH_VARARGS, NULL},
    {"locals_get", probe_locals_get, METH_VARARGS, NULL},
    {"other_table", probe_import_other, METH_VARARGS, NULL},
    {"import_again", probe_import_again, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef module_def = {
    PyModuleDef_HEAD_INIT,
    .m_name = "native_probe",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC
PyInit_native_probe(void)
{
    return PyModuleDef_Init(&module_def);
}
