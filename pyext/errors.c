/* SPDX-License-Identifier: Apache-2.0 */
#include "errors.h"

#include <string.h>

PyObject *
pyrsl_os_error(int code)
{
    /* OSError(errno, text) picks the subclass (ConnectionResetError, ...). */
    return PyObject_CallFunction(PyExc_OSError, "is", code, strerror(code));
}

PyObject *
pyrsl_raise(rsl_status status, const rsl_err *err)
{
    switch (status) {
    case RSL_NOMEM:
        return PyErr_NoMemory();
    case RSL_OS: {
        PyObject *exc = pyrsl_os_error(err->code);
        if (exc != NULL) {
            PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
            Py_DECREF(exc);
        }
        return NULL;
    }
    case RSL_FORKED:
        PyErr_SetString(PyExc_RuntimeError,
                        "the event loop belongs to the parent of this "
                        "process: make a new one after fork()");
        return NULL;
    case RSL_OK:
    case RSL_AGAIN:
    case RSL_EOF:
    case RSL_CLOSED:
    case RSL_BUSY:
    case RSL_UNSUPPORTED:
    case RSL_TLS:
        break;
    }
    PyErr_Format(PyExc_SystemError, "rsloop_c runtime: unexpected %s",
                 rsl_status_name(status));
    return NULL;
}
