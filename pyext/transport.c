/* SPDX-License-Identifier: Apache-2.0 */
#include "transport.h"

#include <stdlib.h>

uint8_t *
pyrsl_transport_scratch(LoopObject *loop)
{
    if (loop->read_scratch == NULL) {
        loop->read_scratch = malloc(PYRSL_READ_MAX);
    }
    return loop->read_scratch;
}

int
pyrsl_context_leave(PyObject *context, int status)
{
    PyObject *raised = status < 0 ? PyErr_GetRaisedException() : NULL;
    if (PyContext_Exit(context) < 0) {
        status = -1;
    }
    if (raised != NULL) {
        PyErr_SetRaisedException(raised);
    }
    return status;
}

int
pyrsl_transport_call_soon(LoopObject *loop, PyObject *object, PyObject *name,
                          PyObject *args)
{
    PyObject *method = PyObject_GetAttr(object, name);
    if (method == NULL) {
        return -1;
    }
    int status = pyrsl_loop_call_soon(loop, method, args, NULL);
    Py_DECREF(method);
    return status;
}

int
pyrsl_transport_announce(LoopObject *loop, PyObject *transport,
                         PyObject *protocol, PyObject *start_name,
                         PyObject *waiter)
{
    module_state *st = loop->st;
    PyObject *args = PyTuple_Pack(1, transport);
    if (args == NULL) {
        return -1;
    }
    int status = pyrsl_transport_call_soon(loop, protocol,
                                           st->str_connection_made, args);
    Py_DECREF(args);
    if (status == 0 && start_name != NULL) {
        status = pyrsl_transport_call_soon(loop, transport, start_name,
                                           st->empty_tuple);
    }
    if (status < 0 || waiter == NULL || waiter == Py_None) {
        return status;
    }
    args = PyTuple_Pack(2, waiter, Py_None);
    if (args == NULL) {
        return -1;
    }
    status =
        pyrsl_loop_call_soon(loop, st->set_result_unless_cancelled, args, NULL);
    Py_DECREF(args);
    return status;
}

int
pyrsl_type_add_methods(PyTypeObject *type, PyMethodDef *const *tables)
{
    for (size_t t = 0; tables[t] != NULL; t++) {
        for (PyMethodDef *def = tables[t]; def->ml_name != NULL; def++) {
            PyObject *method = PyDescr_NewMethod(type, def);
            if (method == NULL) {
                return -1;
            }
            int status =
                PyObject_SetAttrString((PyObject *)type, def->ml_name, method);
            Py_DECREF(method);
            if (status < 0) {
                return -1;
            }
        }
    }
    return 0;
}
