/* SPDX-License-Identifier: Apache-2.0 */
#include "args.h"

#include <string.h>

static int
args_find(const pyrsl_params *params, PyObject *keyword)
{
    for (int i = 0; params->names[i] != NULL; i++) {
        if (PyUnicode_CompareWithASCIIString(keyword, params->names[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static int
args_bind_keyword(const pyrsl_params *params, PyObject *keyword,
                  PyObject *value, PyObject **out)
{
    int place = args_find(params, keyword);
    if (place < 0) {
        PyErr_Format(PyExc_TypeError,
                     "%s() got an unexpected keyword argument '%U'",
                     params->function, keyword);
        return -1;
    }
    if (out[place] != NULL) {
        PyErr_Format(PyExc_TypeError,
                     "%s() got multiple values for argument '%U'",
                     params->function, keyword);
        return -1;
    }
    out[place] = value;
    return 0;
}

int
pyrsl_args_bind(const pyrsl_params *params, PyObject *const *args,
                Py_ssize_t nargs, PyObject *kwnames, PyObject **out)
{
    for (int i = 0; params->names[i] != NULL; i++) {
        out[i] = NULL;
    }
    if (nargs > params->positional) {
        PyErr_Format(PyExc_TypeError,
                     "%s() takes %d positional arguments but %zd were given",
                     params->function, params->positional, nargs);
        return -1;
    }
    for (Py_ssize_t i = 0; i < nargs; i++) {
        out[i] = args[i];
    }
    Py_ssize_t keywords = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t i = 0; i < keywords; i++) {
        if (args_bind_keyword(params, PyTuple_GET_ITEM(kwnames, i),
                              args[nargs + i], out) < 0) {
            return -1;
        }
    }
    for (int i = 0; i < params->required; i++) {
        if (out[i] == NULL) {
            PyErr_Format(PyExc_TypeError,
                         "%s() missing required argument: '%s'",
                         params->function, params->names[i]);
            return -1;
        }
    }
    return 0;
}

int
pyrsl_args_context(const char *function, PyObject *const *args,
                   Py_ssize_t nargs, PyObject *kwnames,
                   PyObject *context_name, PyObject **out)
{
    *out = NULL;
    if (kwnames == NULL) {
        return 0;
    }
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); i++) {
        PyObject *keyword = PyTuple_GET_ITEM(kwnames, i);
        if (keyword != context_name
            && PyUnicode_Compare(keyword, context_name) != 0) {
            if (PyErr_Occurred()) {
                return -1;
            }
            PyErr_Format(PyExc_TypeError,
                         "%s() got an unexpected keyword argument '%U'",
                         function, keyword);
            return -1;
        }
        *out = args[nargs + i] == Py_None ? NULL : args[nargs + i];
    }
    return 0;
}
