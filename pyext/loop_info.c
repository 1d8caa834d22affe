/* SPDX-License-Identifier: Apache-2.0 */
/* loop_info.c - figures of a loop, and what a new one would use. */
#include <string.h>

#include "loop.h"

static PyObject *
info_dict(const rsl_info *info)
{
    return Py_BuildValue("{s:s, s:s, s:i, s:I, s:i, s:K, s:K, s:K, s:I}",
                         "backend", info->backend, "reason", info->reason,
                         "reason_errno", info->reason_errno, "ring_features",
                         (unsigned)info->ring_features, "runtime_tid",
                         info->runtime_tid, "polls",
                         (unsigned long long)info->polls, "takeovers",
                         (unsigned long long)info->takeovers, "stolen_bytes",
                         (unsigned long long)info->stolen_bytes, "connections",
                         (unsigned)info->conns);
}

PyDoc_STRVAR(loop_runtime_info_doc,
"_runtime_info($self, /)\n--\n\n"
"Figures of the native side and of the queues, as a dict.");

static PyObject *
loop_runtime_info(LoopObject *self, PyObject *Py_UNUSED(ignored))
{
    if (self->rt == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "the event loop is not open");
        return NULL;
    }
    rsl_info info;
    rsl_runtime_info(self->rt, &info);
    PyObject *dict = info_dict(&info);
    if (dict == NULL) {
        return NULL;
    }
    PyObject *own = Py_BuildValue(
        "{s:n, s:n, s:K, s:K}", "ready", (Py_ssize_t)self->ready.count,
        "timers", (Py_ssize_t)pyrsl_timers_count(&self->timers), "turns",
        (unsigned long long)rsl_stat_get(self->stats, RSL_STAT_TURNS),
        "callbacks",
        (unsigned long long)rsl_stat_get(self->stats, RSL_STAT_CALLBACKS));
    if (own == NULL || PyDict_Update(dict, own) < 0) {
        Py_CLEAR(dict);
    }
    Py_XDECREF(own);
    return dict;
}

PyObject *
pyrsl_probe(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored))
{
    rsl_backend_kind wanted;
    if (pyrsl_loop_backend_choice(NULL, &wanted) < 0) {
        return NULL;
    }
    rsl_info info;
    memset(&info, 0, sizeof(info));
    rsl_backend_probe(wanted, &info);
    return Py_BuildValue("{s:s, s:s, s:i, s:I}", "backend", info.backend,
                         "reason", info.reason, "reason_errno",
                         info.reason_errno, "ring_features",
                         (unsigned)info.ring_features);
}

PyMethodDef pyrsl_loop_info_methods[] = {
    {"_runtime_info", (PyCFunction)(void (*)(void))loop_runtime_info,
     METH_NOARGS, loop_runtime_info_doc},
    {NULL, NULL, 0, NULL},
};
