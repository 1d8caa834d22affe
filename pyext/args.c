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
                              args[nargs + i], out)
            < 0) {
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

static int
args_missing(const pyrsl_params *params, int place)
{
    PyErr_Format(PyExc_TypeError,
                 "%s() missing required positional argument: '%s'",
                 params->function, params->names[place]);
    return -1;
}

/* Leading arguments by keyword: they move to out->store. */
static int
args_call_keyword(const pyrsl_params *params, PyObject *keyword,
                  PyObject *value, pyrsl_call *out)
{
    int place = args_find(params, keyword);
    if (place >= 0 && place < out->nargs) {
        PyErr_Format(PyExc_TypeError,
                     "%s() got multiple values for argument '%U'",
                     params->function, keyword);
        return -1;
    }
    if (place < 0) {
        PyErr_Format(PyExc_TypeError,
                     "%s() got an unexpected keyword argument '%U'",
                     params->function, keyword);
        return -1;
    }
    out->store[place] = value;
    return 0;
}

static int
args_call_complete(const pyrsl_params *params, pyrsl_call *out)
{
    for (int i = 0; i < params->required; i++) {
        if (i < out->nargs) {
            out->store[i] = out->args[i];
        } else if (out->store[i] == NULL) {
            return args_missing(params, i);
        }
    }
    out->args = out->store;
    out->nargs = params->required;
    return 0;
}

int
pyrsl_args_call_any(const pyrsl_params *params, PyObject *const *args,
                    Py_ssize_t nargs, PyObject *kwnames, pyrsl_call *out)
{
    out->args = args;
    out->nargs = nargs;
    out->context = NULL;
    if (kwnames != NULL) {
        for (int i = 0; i < params->required; i++) {
            out->store[i] = NULL;
        }
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(kwnames); i++) {
            PyObject *keyword = PyTuple_GET_ITEM(kwnames, i);
            PyObject *value = args[nargs + i];
            if (keyword == out->context_name
                || PyUnicode_Compare(keyword, out->context_name) == 0) {
                out->context = value == Py_None ? NULL : value;
            } else if (PyErr_Occurred()
                       || args_call_keyword(params, keyword, value, out) < 0) {
                return -1;
            }
        }
    }
    if (nargs >= params->required) {
        return 0;
    }
    if (kwnames == NULL) {
        return args_missing(params, (int)nargs);
    }
    return args_call_complete(params, out);
}

/* --- descriptors --- */

/* What int() makes of fileno()'s result, as in the selectors module. */
static PyObject *
args_converted(PyObject *object, PyObject *number)
{
    PyObject *converted = PyNumber_Long(number);
    if (converted == NULL
        && (PyErr_ExceptionMatches(PyExc_TypeError)
            || PyErr_ExceptionMatches(PyExc_ValueError)
            || PyErr_ExceptionMatches(PyExc_AttributeError))) {
        PyErr_Clear();
        PyErr_Format(PyExc_ValueError, "Invalid file object: %R", object);
    }
    return converted;
}

int
pyrsl_args_fd(PyObject *object, PyObject *number)
{
    if (!PyLong_Check(number)) {
        PyObject *converted = args_converted(object, number);
        int fd = converted == NULL ? -1 : pyrsl_args_fd(object, converted);
        Py_XDECREF(converted);
        return fd;
    }
    int overflow;
    long value = PyLong_AsLongAndOverflow(number, &overflow);
    if (value == -1 && overflow == 0 && PyErr_Occurred()) {
        return -1;
    }
    if (overflow > 0 || value > INT_MAX) {
        PyErr_SetString(PyExc_OverflowError,
                        "signed integer is greater than maximum");
        return -1;
    }
    if (value < 0) {
        PyErr_Format(PyExc_ValueError, "Invalid file descriptor: %S", number);
        return -1;
    }
    return (int)value;
}

int
pyrsl_args_socket_fd(PyObject *sock, PyObject *fileno_name)
{
    PyObject *number = PyObject_CallMethodNoArgs(sock, fileno_name);
    if (number == NULL) {
        return -1;
    }
    int fd = pyrsl_args_fd(sock, number);
    Py_DECREF(number);
    return fd;
}
