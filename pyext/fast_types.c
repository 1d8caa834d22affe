/* SPDX-License-Identifier: Apache-2.0 */
/* fast_types.c - the stream types for the module, and what they share. */
#include "fast_streams.h"

PyObject *
pyrsl_fast_get(PyObject *self, void *closure)
{
    PyObject **place = (PyObject **)(void *)((char *)self + (size_t)closure);
    return Py_NewRef(*place == NULL ? Py_None : *place);
}

int
pyrsl_fast_set(PyObject *self, PyObject *value, void *closure)
{
    PyObject **place = (PyObject **)(void *)((char *)self + (size_t)closure);
    Py_XSETREF(*place,
               value == NULL || value == Py_None ? NULL : Py_NewRef(value));
    return 0;
}

/* `object`.name, or NULL without an exception where there is none. */
static int
fast_attribute(PyObject *object, const char *name, PyObject **out)
{
    *out = PyObject_GetAttrString(object, name);
    if (*out == NULL && !PyErr_ExceptionMatches(PyExc_AttributeError)) {
        return -1;
    }
    PyErr_Clear();
    return 0;
}

int
pyrsl_fast_has_own(PyTypeObject *type, const char *const *names, PyObject *own,
                   PyObject *inherited)
{
    for (; *names != NULL; names++) {
        PyObject *found, *expected;
        if (fast_attribute((PyObject *)type, *names, &found) < 0) {
            return -1;
        }
        int status = fast_attribute(own, *names, &expected);
        if (status == 0 && expected == NULL) {
            status = fast_attribute(inherited, *names, &expected);
        }
        bool same = found == expected;
        Py_XDECREF(found);
        Py_XDECREF(expected);
        if (status < 0 || !same) {
            return status;
        }
    }
    return 1;
}

int
pyrsl_fast_setattr(PyObject *self, PyObject *name, PyObject *value,
                   const char *const *names, bool *plain)
{
    for (; PyUnicode_Check(name) && *names != NULL; names++) {
        if (PyUnicode_CompareWithASCIIString(name, *names) == 0) {
            *plain = false;
        }
    }
    return PyObject_GenericSetAttr(self, name, value);
}

int
pyrsl_fast_types(PyObject *module, module_state *st)
{
    st->FastCallType = pyrsl_fast_call_type(module);
    return st->FastCallType == NULL
                   || pyrsl_fast_reader_type(module, st) == NULL
                   || pyrsl_fast_writer_type(module, st) == NULL
                   || pyrsl_fast_protocol_type(module, st) == NULL
                   || PyModule_AddType(module, st->FastReaderType) < 0
                   || PyModule_AddType(module, st->FastWriterType) < 0
                   || PyModule_AddType(module, st->FastProtocolType) < 0
               ? -1
               : 0;
}
