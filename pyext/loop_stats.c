/* SPDX-License-Identifier: Apache-2.0 */
/* loop_stats.c - the figures of stats.h as Python objects. */
#include <limits.h>
#include <math.h>

#include <rsl/metrics.h>

#include "errors.h"
#include "loop.h"

static int
stats_put(PyObject *dict, const char *name, PyObject *value)
{
    int status = value == NULL ? -1 : PyDict_SetItemString(dict, name, value);
    Py_XDECREF(value);
    return status;
}

static int
stats_put_value(PyObject *dict, rsl_stat stat, uint64_t value)
{
    const rsl_stat_info *info = rsl_stat_of(stat);
    const char *engine = rsl_stat_engine_name(rsl_stat_engine_of(stat));
    char name[64];
    if (info == NULL) {
        return 0;
    }
    if (engine != NULL) {
        PyOS_snprintf(name, sizeof(name), "%s_%s", info->name, engine);
    }
    return stats_put(dict, engine == NULL ? info->name : name,
                     PyLong_FromUnsignedLongLong(value));
}

static int
stats_put_values(PyObject *dict, const uint64_t *values)
{
    for (int i = 0; i < RSL_STAT_COUNT; i++) {
        if (stats_put_value(dict, (rsl_stat)i, values[i]) < 0) {
            return -1;
        }
    }
    return 0;
}

static PyObject *
stats_seconds(int64_t ns)
{
    return PyFloat_FromDouble((double)ns / 1e9);
}

/* {upper bound in seconds: how many} */
static PyObject *
stats_buckets(const rsl_stats_taken *taken)
{
    PyObject *dict = PyDict_New();
    for (int i = 0; dict != NULL && i < RSL_LAG_BUCKETS; i++) {
        PyObject *bound = i < RSL_LAG_BUCKETS - 1
                              ? stats_seconds(rsl_lag_bounds_ns[i])
                              : PyFloat_FromDouble(INFINITY);
        PyObject *count = PyLong_FromUnsignedLongLong(taken->lag[i]);
        if (bound == NULL || count == NULL
            || PyDict_SetItem(dict, bound, count) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(bound);
        Py_XDECREF(count);
    }
    return dict;
}

static PyObject *
stats_lag(const rsl_stats_taken *taken)
{
    PyObject *dict = PyDict_New();
    if (dict == NULL) {
        return NULL;
    }
    if (stats_put(dict, "count", PyLong_FromUnsignedLongLong(taken->lag_count))
            < 0
        || stats_put(dict, "sum", stats_seconds(taken->lag_sum_ns)) < 0
        || stats_put(dict, "max", stats_seconds(taken->lag_max_ns)) < 0
        || stats_put(dict, "now", stats_seconds(taken->awake_ns)) < 0
        || stats_put(dict, "buckets", stats_buckets(taken)) < 0) {
        Py_CLEAR(dict);
    }
    return dict;
}

PyDoc_STRVAR(loop_stats_doc,
"stats($self, /)\n--\n\n"
"Figures of the loop since it was made, as a dict. From any thread.\n\n"
"Counters and gauges are ints; 'lag' says in seconds how long turns took.");

static PyObject *
loop_stats(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    if (self->rt == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the event loop is not open");
        return NULL;
    }
    rsl_stats_taken taken;
    rsl_stats_take(self->rt, &taken);
    PyObject *dict = PyDict_New();
    if (dict != NULL
        && (stats_put_values(dict, taken.values) < 0
            || stats_put(dict, "lag", stats_lag(&taken)) < 0)) {
        Py_CLEAR(dict);
    }
    return dict;
}

PyObject *
pyrsl_stats_total(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    uint64_t values[RSL_STAT_COUNT];
    rsl_stats_total(values);
    PyObject *dict = PyDict_New();
    if (dict != NULL && stats_put_values(dict, values) < 0) {
        Py_CLEAR(dict);
    }
    return dict;
}

/* What is no number, or not above 0, is for asyncio's own code to judge. */
void
pyrsl_loop_set_slow_duration(LoopObject *self, PyObject *value)
{
    double seconds = value == NULL ? -1.0 : PyFloat_AsDouble(value);
    PyErr_Clear();
    if (self->stats == NULL) {
        return;
    }
    int64_t slow_ns = RSL_SLOW_TURN_NS;
    if (seconds > 0) {
        slow_ns = seconds < 1e9 ? (int64_t)(seconds * 1e9) : INT64_MAX;
    }
    atomic_store(&self->stats->slow_turn_ns, slow_ns);
}

PyDoc_STRVAR(loop_count_python_tls_doc,
"_count_python_tls($self, what, /)\n--\n\n"
"One more handshake of asyncio's sslproto: what is 'started', 'finished',\n"
"'failed' or 'resumed'.");

static PyObject *
loop_count_python_tls(LoopObject *self, PyObject *what)
{
    static const struct {
        const char *name;
        rsl_stat stat;
    } counts[] = {
        {"started", RSL_STAT_TLS_STARTED},
        {"finished", RSL_STAT_TLS_FINISHED},
        {"failed", RSL_STAT_TLS_FAILED},
        {"resumed", RSL_STAT_TLS_RESUMED},
    };
    if (self->stats == NULL || pyrsl_loop_check_owner(self) < 0) {
        return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    }
    for (size_t i = 0; i < Py_ARRAY_LENGTH(counts); i++) {
        if (PyUnicode_Check(what)
            && PyUnicode_CompareWithASCIIString(what, counts[i].name) == 0) {
            rsl_stat_add(self->stats,
                         rsl_stat_by_engine(counts[i].stat, RSL_STAT_PYTHON),
                         1);
            Py_RETURN_NONE;
        }
    }
    return PyErr_Format(PyExc_ValueError, "no such figure: %R", what);
}

/* --- The endpoint --- */

PyDoc_STRVAR(loop_serve_metrics_doc,
"_serve_metrics($self, fd, /)\n--\n\n"
"Answer GET /metrics on the listening socket fd, which is taken. Returns the\n"
"endpoint's number.");

static PyObject *
loop_serve_metrics(LoopObject *self, PyObject *value)
{
    long fd = PyLong_AsLong(value);
    if ((fd == -1 && PyErr_Occurred()) || pyrsl_loop_check_closed(self) < 0
        || pyrsl_loop_check_owner(self) < 0) {
        return NULL;
    }
    uint64_t name;
    rsl_err err = {0, NULL};
    rsl_status status = fd < INT_MIN || fd > INT_MAX
                            ? RSL_UNSUPPORTED
                            : rsl_metrics_open(self->rt, (int)fd, &name, &err);
    if (status != RSL_OK) {
        return pyrsl_raise(status, &err);
    }
    return PyLong_FromUnsignedLongLong(name);
}

PyDoc_STRVAR(loop_stop_metrics_doc,
"_stop_metrics($self, number, /)\n--\n\n"
"Close an endpoint; nothing for one that is closed.");

static PyObject *
loop_stop_metrics(LoopObject *self, PyObject *value)
{
    unsigned long long name = PyLong_AsUnsignedLongLong(value);
    if (PyErr_Occurred() || pyrsl_loop_check_owner(self) < 0) {
        return NULL;
    }
    if (self->rt != NULL) {
        rsl_metrics_close(self->rt, name);
    }
    Py_RETURN_NONE;
}

PyMethodDef pyrsl_loop_stats_methods[] = {
    {"_count_python_tls", (PyCFunction)(void (*)(void))loop_count_python_tls,
     METH_O, loop_count_python_tls_doc},
    {"_serve_metrics", (PyCFunction)(void (*)(void))loop_serve_metrics, METH_O,
     loop_serve_metrics_doc},
    {"_stop_metrics", (PyCFunction)(void (*)(void))loop_stop_metrics, METH_O,
     loop_stop_metrics_doc},
    {"stats", (PyCFunction)(void (*)(void))loop_stats, METH_NOARGS,
     loop_stats_doc},
    {NULL, NULL, 0, NULL},
};
