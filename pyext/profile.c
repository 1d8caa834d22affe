/* SPDX-License-Identifier: Apache-2.0 */
#include "profile.h"

#include <pthread.h>
#include <stdlib.h>

enum { NAMES_MAX = 1 << 14, RECORDS_MIN = 1 << 6, RECORDS_MAX = 1 << 24 };

#define CAPSULE "rsloop_c._core.profile"

/* An open hash table by address; each entry has a reference, so that an address
 * means one object until the end of the profile. */
typedef struct profile_names {
    PyObject *task_type;
    uint32_t count;
    PyObject *objects[NAMES_MAX];   /* by number - 1 */
    uint32_t places[2 * NAMES_MAX]; /* numbers; 0 is free */
} profile_names;

/* Of the process: only one interpreter profiles. */
static struct {
    pthread_mutex_t lock;
    PyObject *profile;
    void *interpreter;
} taken = {.lock = PTHREAD_MUTEX_INITIALIZER};

PyObject *
pyrsl_profile_now(void *interpreter)
{
    PyObject *profile = NULL;
    pthread_mutex_lock(&taken.lock);
    if (taken.interpreter == interpreter) {
        profile = Py_XNewRef(taken.profile);
    }
    pthread_mutex_unlock(&taken.lock);
    return profile;
}

static profile_names *
profile_names_of(PyObject *profile)
{
    return PyCapsule_GetPointer(profile, CAPSULE);
}

static uint32_t
names_number(profile_names *names, PyObject *object)
{
    size_t place =
        ((uintptr_t)object >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 32;
    for (;; place++) {
        uint32_t *number = &names->places[place % (2 * NAMES_MAX)];
        if (*number == 0) {
            if (names->count == NAMES_MAX) {
                return 0;
            }
            names->objects[names->count] = Py_NewRef(object);
            *number = ++names->count;
            return *number;
        }
        if (names->objects[*number - 1] == object) {
            return *number;
        }
    }
}

uint32_t
pyrsl_profile_number(PyObject *profile, PyObject *object)
{
    uint32_t number;
    Py_BEGIN_CRITICAL_SECTION(profile);
    number = names_number(profile_names_of(profile), object);
    Py_END_CRITICAL_SECTION();
    return number;
}

/* A new reference, or NULL without an exception. */
static PyObject *
profile_attribute(PyObject *object, const char *name)
{
    PyObject *value = PyObject_GetAttrString(object, name);
    if (value == NULL) {
        PyErr_Clear();
    }
    return value;
}

/* The code that a task runs; a new reference, or NULL. */
static PyObject *
profile_task_code(PyObject *task)
{
    PyObject *coro = PyObject_CallMethod(task, "get_coro", NULL);
    if (coro == NULL) {
        PyErr_Clear();
        return NULL;
    }
    PyObject *code = profile_attribute(coro, "cr_code");
    if (code == NULL) {
        code = profile_attribute(coro, "gi_code");
    }
    if (code == NULL) { /* such as our streams' own coroutines */
        code = Py_NewRef((PyObject *)Py_TYPE(coro));
    }
    Py_DECREF(coro);
    return code;
}

/* What is called: its code, or its type; a new reference. */
static PyObject *
profile_target(const profile_names *names, PyObject *callback,
               rsl_prof_kind *kind)
{
    if (PyMethod_Check(callback)) {
        callback = PyMethod_GET_FUNCTION(callback);
    }
    if (PyFunction_Check(callback)) {
        return Py_NewRef(PyFunction_GET_CODE(callback));
    }
    PyObject *bound = profile_attribute(callback, "__self__");
    if (bound == NULL) {
        return Py_NewRef((PyObject *)Py_TYPE(callback));
    }
    PyObject *target = NULL;
    if (PyObject_TypeCheck(bound, (PyTypeObject *)names->task_type)) {
        *kind = RSL_PROF_TASK;
        target = profile_task_code(bound);
    }
    if (target == NULL) {
        target = Py_NewRef((PyObject *)Py_TYPE(bound));
    }
    Py_DECREF(bound);
    return target;
}

uint32_t
pyrsl_profile_callback(PyObject *profile, PyObject *callback,
                       rsl_prof_kind *kind)
{
    *kind = RSL_PROF_CALL;
    PyObject *target =
        profile_target(profile_names_of(profile), callback, kind);
    uint32_t number = pyrsl_profile_number(profile, target);
    Py_DECREF(target);
    return number;
}

/* --- Taking one --- */

static void
profile_free(PyObject *capsule)
{
    profile_names *names = profile_names_of(capsule);
    for (uint32_t i = 0; i < names->count; i++) {
        Py_DECREF(names->objects[i]);
    }
    Py_XDECREF(names->task_type);
    free(names);
}

static PyObject *
profile_new(module_state *st)
{
    profile_names *names = calloc(1, sizeof(*names));
    if (names == NULL) {
        return PyErr_NoMemory();
    }
    names->task_type = pyrsl_state_look_up(st->tasks_names, st->str_Task);
    if (names->task_type != NULL && !PyType_Check(names->task_type)) {
        Py_SETREF(names->task_type, Py_NewRef((PyObject *)&PyBaseObject_Type));
    }
    PyObject *capsule = names->task_type == NULL
                            ? NULL
                            : PyCapsule_New(names, CAPSULE, profile_free);
    if (capsule == NULL) {
        Py_XDECREF(names->task_type);
        free(names);
    }
    return capsule;
}

PyDoc_STRVAR(profiler_start_doc,
"_profiler_start($module, records, /)\n--\n\n"
"Record what loops do, up to `records` (a power of two) for each thread.\n\n"
"RuntimeError when a profile is being taken.");

static PyObject *
profiler_start(PyObject *module, PyObject *arg)
{
    module_state *st = PyModule_GetState(module);
    size_t records = PyLong_AsSize_t(arg);
    if (PyErr_Occurred()) {
        return NULL;
    }
    if (records < RECORDS_MIN || records > RECORDS_MAX
        || (records & (records - 1)) != 0) {
        PyErr_SetString(PyExc_ValueError,
                        "records must be a power of two from 64 to 2**24");
        return NULL;
    }
    PyObject *profile = profile_new(st);
    if (profile == NULL) {
        return NULL;
    }
    pthread_mutex_lock(&taken.lock);
    bool started = rsl_prof_start(records) == RSL_OK;
    if (started) {
        taken.profile = profile;
        taken.interpreter = st;
    }
    pthread_mutex_unlock(&taken.lock);
    if (!started) {
        Py_DECREF(profile);
        PyErr_SetString(PyExc_RuntimeError, "the profiler is running already");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyObject *
profile_threads(const rsl_prof_thread *threads)
{
    PyObject *list = PyList_New(0);
    for (; list != NULL && threads != NULL; threads = threads->next) {
        PyObject *item = Py_BuildValue(
            "(isKy#)", threads->tid, threads->name,
            (unsigned long long)threads->lost, (const char *)threads->records,
            (Py_ssize_t)(threads->count * sizeof(rsl_prof_record)));
        if (item == NULL || PyList_Append(list, item) < 0) {
            Py_CLEAR(list);
        }
        Py_XDECREF(item);
    }
    return list;
}

static PyObject *
profile_objects(PyObject *profile)
{
    PyObject *list = PyList_New(0);
    Py_BEGIN_CRITICAL_SECTION(profile);
    profile_names *names = profile_names_of(profile);
    for (uint32_t i = 0; list != NULL && i < names->count; i++) {
        if (PyList_Append(list, names->objects[i]) < 0) {
            Py_CLEAR(list);
        }
    }
    Py_END_CRITICAL_SECTION();
    return list;
}

PyDoc_STRVAR(profiler_stop_doc,
"_profiler_stop($module, /)\n--\n\n"
"End the profile: [(tid, name, records lost, records)], [what ran].\n\n"
"A record is packed as in rsl/prof.h; its name is a place in the second list,\n"
"from 1 on. RuntimeError when this interpreter takes no profile.");

static PyObject *
profiler_stop(PyObject *module, PyObject *Py_UNUSED(ignored))
{
    PyObject *profile = NULL;
    rsl_prof_thread *threads = NULL;
    pthread_mutex_lock(&taken.lock);
    if (taken.interpreter == PyModule_GetState(module)) {
        (void)rsl_prof_stop(&threads); /* it runs: see profiler_start() */
        profile = taken.profile;
        taken.profile = NULL;
        taken.interpreter = NULL;
    }
    pthread_mutex_unlock(&taken.lock);
    if (profile == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the profiler is not running");
        return NULL;
    }
    PyObject *list = profile_threads(threads);
    rsl_prof_free(threads);
    PyObject *objects = list == NULL ? NULL : profile_objects(profile);
    Py_DECREF(profile);
    if (objects == NULL) {
        Py_XDECREF(list);
        return NULL;
    }
    return Py_BuildValue("(NN)", list, objects);
}

PyDoc_STRVAR(profiler_running_doc,
"profiler_running($module, /)\n--\n\n"
"Whether a profile is being taken in this process.");

static PyObject *
profiler_running(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    return PyBool_FromLong(rsl_prof_is_on());
}

PyMethodDef pyrsl_profile_functions[] = {
    {"_profiler_start", profiler_start, METH_O, profiler_start_doc},
    {"_profiler_stop", profiler_stop, METH_NOARGS, profiler_stop_doc},
    {"profiler_running", profiler_running, METH_NOARGS, profiler_running_doc},
    {NULL, NULL, 0, NULL},
};
